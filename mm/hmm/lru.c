// SPDX-License-Identifier: GPL-2.0
/*
 * The order in which blocks of device memory were used, which eviction follows.
 */
#include <linux/export.h>
#include <linux/bitmap.h>
#include <linux/list.h>
#include <linux/spinlock.h>

#include "internal.h"

/* Page @index is in use: its block is the youngest now. */
void hmm_devmem_touch_index(struct hmm_devmem *devmem, unsigned long index)
{
	struct hmm_devmem_block *block =
		&devmem->blocks[index / HMM_DEVMEM_BLOCK_PAGES];

	guard(spinlock_irqsave)(&devmem->lru_lock);
	block->used = ++devmem->clock;
	list_move_tail(&block->lru, &devmem->lru);
}

/* What is used from now on has a later time. */
u64 hmm_devmem_clock(struct hmm_devmem *devmem)
{
	guard(spinlock_irqsave)(&devmem->lru_lock);
	return devmem->clock;
}

/**
 * hmm_devmem_touch() - report that the device has used pages
 * @devmem: device memory
 * @pfn: page frame number of a page in it
 * @nr_pages: base pages from there on
 *
 * Eviction takes what was migrated in or touched longest ago first, in blocks of
 * 2 MiB.
 *
 * Context: any.
 */
void hmm_devmem_touch(struct hmm_devmem *devmem, unsigned long pfn,
		      unsigned long nr_pages)
{
	unsigned long index = pfn - PHYS_PFN(devmem->pgmap.range.start);
	unsigned long total = hmm_devmem_nr_pages(devmem), end, next;

	if (index >= total)
		return;
	end = index + min(nr_pages, total - index);
	for (; index < end; index = next) {
		next = round_down(index, HMM_DEVMEM_BLOCK_PAGES) +
		       HMM_DEVMEM_BLOCK_PAGES;
		/* What holds nothing is no victim.  Blocks are whole. */
		if (find_next_bit(devmem->resident, next, index) < next)
			hmm_devmem_touch_index(devmem, index);
	}
}
EXPORT_SYMBOL_GPL(hmm_devmem_touch);
