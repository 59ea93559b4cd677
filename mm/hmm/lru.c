// SPDX-License-Identifier: GPL-2.0
/*
 * The order in which blocks of device memory were used, which eviction follows.
 */
#include <linux/bitmap.h>
#include <linux/export.h>
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

/* Where to look on: after the block taken last, if it was not used since. */
static struct list_head *hmm_lru_position(struct hmm_devmem *devmem,
					  const struct hmm_lru_cursor *cursor)
{
	if (cursor->last && cursor->last->used == cursor->last_used &&
	    !list_empty(&cursor->last->lru))
		return &cursor->last->lru;
	return &devmem->lru;
}

/**
 * hmm_lru_take() - take the next block to evict, the one that was used longest ago
 * @devmem: device memory
 * @cursor: how far the caller has come
 *
 * Empty blocks leave the list, and one that somebody else has taken is passed over.
 *
 * Context: any.
 * Return: a block for hmm_lru_put(), or NULL if all were tried.
 */
struct hmm_devmem_block *hmm_lru_take(struct hmm_devmem *devmem,
				      struct hmm_lru_cursor *cursor)
{
	struct hmm_devmem_block *block, *next;

	guard(spinlock_irqsave)(&devmem->lru_lock);
	block = list_entry(hmm_lru_position(devmem, cursor),
			   struct hmm_devmem_block, lru);
	block = list_next_entry(block, lru);
	list_for_each_entry_safe_from(block, next, &devmem->lru, lru) {
		/* In the order of their use: all that follow are younger. */
		if (block->used > cursor->before)
			return NULL;
		if (block->used <= cursor->last_used)
			continue;
		if (!hmm_devmem_any_set(devmem->resident,
					hmm_devmem_block_index(devmem, block),
					HMM_DEVMEM_BLOCK_PAGES)) {
			list_del_init(&block->lru);
			continue;
		}
		cursor->last = block;
		cursor->last_used = block->used;
		if (!block->evicting) {
			block->evicting = true;
			return block;
		}
		cursor->passed_over = true;
	}
	return NULL;
}

/* Others may take the block again. */
void hmm_lru_put(struct hmm_devmem *devmem, struct hmm_devmem_block *block)
{
	guard(spinlock_irqsave)(&devmem->lru_lock);
	block->evicting = false;
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
		if (hmm_devmem_any_set(devmem->resident, index, next - index))
			hmm_devmem_touch_index(devmem, index);
	}
}
EXPORT_SYMBOL_GPL(hmm_devmem_touch);
