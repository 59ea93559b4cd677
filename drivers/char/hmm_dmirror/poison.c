// SPDX-License-Identifier: GPL-2.0
/*
 * Memory errors of the HMM dummy device: pages of its memory that it declares lost.
 */
#include <linux/highmem.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "hmm_dmirror.h"

/* What is left of a page: seen by a process, it shows that the page was used. */
#define DMIRROR_POISON_DATA		0x5a

/* Where in its memory the device finds the page at @addr; -ENXIO if elsewhere. */
static s64 dmirror_memory_offset(struct dmirror_ctx *ctx, u64 addr)
{
	struct dmirror_device *dev = ctx->dev;
	struct dmirror_engine *engine = &dev->engines[0];
	s64 offset = -ENXIO;
	unsigned long pfn;
	u64 pte;

	/* As an access of the engine: until it ends the page is not freed. */
	spin_lock(&engine->lock);
	pte = dmirror_pgtable_walk(&ctx->pgtable, addr);
	if ((pte & (DMIRROR_PTE_PRIVATE | DMIRROR_PTE_CDM)) &&
	    !(pte & DMIRROR_PTE_DMA)) {
		pfn = PHYS_PFN(pte & PAGE_MASK);
		if (hmm_devmem_from_pfn(pfn) == dev->devmem)
			offset = hmm_devmem_offset(dev->devmem, pfn);
	}
	spin_unlock(&engine->lock);
	return offset;
}

static void dmirror_poison_data(struct dmirror_device *dev, u64 offset, u64 size)
{
	u64 end = offset + size;
	void *kaddr;

	for (; offset < end; offset += PAGE_SIZE) {
		if (dev->memory == HMM_DMIRROR_MEMORY_PRIVATE) {
			memset(dev->storage + offset, DMIRROR_POISON_DATA,
			       PAGE_SIZE);
			continue;
		}
		kaddr = kmap_local_page(pfn_to_page(PHYS_PFN(dev->phys +
							     offset)));
		memset(kaddr, DMIRROR_POISON_DATA, PAGE_SIZE);
		kunmap_local(kaddr);
	}
}

static int dmirror_poison_range(struct dmirror_device *dev, u64 offset, u64 size)
{
	int ret = hmm_devmem_memory_failure(dev->devmem, offset, size);

	if (!ret)
		dmirror_poison_data(dev, offset, size);
	return ret;
}

static int dmirror_poison_mapped(struct dmirror_ctx *ctx, const s64 *offsets,
				 unsigned long nr)
{
	unsigned long i;
	int ret = 0;

	for (i = 0; i < nr && !ret; i++) {
		if (fatal_signal_pending(current))
			return -EINTR;
		ret = dmirror_poison_range(ctx->dev, offsets[i], PAGE_SIZE);
	}
	return ret;
}

/**
 * dmirror_poison() - declare device memory lost
 * @ctx: the address space
 * @args: as HMM_DMIRROR_POISON got it, checked; &hmm_dmirror_poison.offset is filled
 *
 * Context: the device memory is kept.
 * Return: 0, or the errno of HMM_DMIRROR_POISON.
 */
int dmirror_poison(struct dmirror_ctx *ctx, struct hmm_dmirror_poison *args)
{
	unsigned long nr = args->length >> PAGE_SHIFT, i;
	s64 *offsets;
	int ret = 0;

	args->offset = args->addr;
	if (args->flags & HMM_DMIRROR_POISON_OFFSET)
		return dmirror_poison_range(ctx->dev, args->addr, args->length);

	args->offset = 0;
	/* All before the first is poisoned: that can take a whole leaf away. */
	offsets = kvmalloc_array(nr, sizeof(*offsets), GFP_KERNEL_ACCOUNT);
	if (!offsets)
		return -ENOMEM;
	for (i = 0; i < nr && !ret; i++) {
		offsets[i] = dmirror_memory_offset(ctx, args->addr +
						   ((u64)i << PAGE_SHIFT));
		if (offsets[i] < 0)
			ret = offsets[i];
	}
	if (!ret) {
		args->offset = offsets[0];
		ret = dmirror_poison_mapped(ctx, offsets, nr);
	}
	kvfree(offsets);
	return ret;
}
