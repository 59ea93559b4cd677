// SPDX-License-Identifier: GPL-2.0
/*
 * The page table of the HMM dummy device.
 *
 * Directories of one page each lead to ranges, the leaf tables.  A range has
 * entries for base pages and one for a large page that covers it whole; a leaf
 * between these has an entry for each of its base pages, and these come and go
 * together.  Directories and ranges are never taken away while the table exists,
 * so engines walk it without a lock.
 */
#include <linux/bitfield.h>
#include <linux/bitops.h>
#include <linux/memremap.h>
#include <linux/slab.h>

#include "hmm_dmirror.h"

#define DMIRROR_DIR_BITS	(PAGE_SHIFT - ilog2(sizeof(void *)))
#define DMIRROR_DIR_SLOTS	BIT(DMIRROR_DIR_BITS)

static struct dmirror_ctx *dmirror_ctx_from_mirror(struct hmm_mirror *mirror)
{
	return container_of(mirror, struct dmirror_ctx, mirror);
}

static unsigned long dmirror_dir_slot(u64 addr, unsigned int level)
{
	return (addr >> (PMD_SHIFT + level * DMIRROR_DIR_BITS)) &
		(DMIRROR_DIR_SLOTS - 1);
}

static unsigned long dmirror_pte_index(u64 addr)
{
	return (addr >> PAGE_SHIFT) & (DMIRROR_RANGE_PAGES - 1);
}

int dmirror_pgtable_init(struct dmirror_pgtable *pgtable, u64 end)
{
	unsigned int bits = fls64(end - 1);

	pgtable->end = end;
	pgtable->levels = 1;
	if (bits > PMD_SHIFT)
		pgtable->levels = DIV_ROUND_UP(bits - PMD_SHIFT,
					       DMIRROR_DIR_BITS);
	pgtable->root = kcalloc(DMIRROR_DIR_SLOTS, sizeof(void *), GFP_KERNEL);
	return pgtable->root ? 0 : -ENOMEM;
}

static void dmirror_range_free(struct dmirror_range *range)
{
	if (!range)
		return;
	kfree(range->ptes);
	kfree(range);
}

static void dmirror_dir_free(void **dir, unsigned int level)
{
	unsigned long i;

	if (!dir)
		return;
	for (i = 0; i < DMIRROR_DIR_SLOTS; i++) {
		if (level)
			dmirror_dir_free(dir[i], level - 1);
		else
			dmirror_range_free(dir[i]);
	}
	kfree(dir);
	cond_resched();
}

void dmirror_pgtable_free(struct dmirror_pgtable *pgtable)
{
	dmirror_dir_free(pgtable->root, pgtable->levels - 1);
	pgtable->root = NULL;
}

static struct dmirror_range *
dmirror_range_find(const struct dmirror_pgtable *pgtable, u64 addr)
{
	unsigned int level = pgtable->levels;
	void **dir = pgtable->root;

	if (addr >= pgtable->end)
		return NULL;
	while (dir && level--)
		dir = READ_ONCE(dir[dmirror_dir_slot(addr, level)]);
	return (struct dmirror_range *)dir;
}

static struct dmirror_range *dmirror_range_alloc(void)
{
	struct dmirror_range *range = kzalloc_obj(*range, GFP_KERNEL_ACCOUNT);

	if (!range)
		return NULL;
	range->ptes = kcalloc(DMIRROR_RANGE_PAGES, sizeof(u64),
			      GFP_KERNEL_ACCOUNT);
	if (!range->ptes) {
		kfree(range);
		return NULL;
	}
	return range;
}

/* Returns false if there is no memory. */
static bool dmirror_range_create(struct dmirror_pgtable *pgtable, u64 addr)
{
	unsigned int level = pgtable->levels;
	void **dir = pgtable->root;
	void **slot, *next;

	while (level--) {
		slot = &dir[dmirror_dir_slot(addr, level)];
		next = READ_ONCE(*slot);
		if (!next) {
			if (level)
				next = kcalloc(DMIRROR_DIR_SLOTS,
					       sizeof(void *),
					       GFP_KERNEL_ACCOUNT);
			else
				next = dmirror_range_alloc();
			if (!next)
				return false;
			/* A fault in the same range may be faster. */
			if (cmpxchg(slot, NULL, next)) {
				if (level)
					kfree(next);
				else
					dmirror_range_free(next);
				next = READ_ONCE(*slot);
			}
		}
		dir = next;
	}
	return true;
}

static int dmirror_prepare(struct hmm_mirror *mirror, unsigned long start,
			   unsigned long end)
{
	struct dmirror_ctx *ctx = dmirror_ctx_from_mirror(mirror);

	if (dmirror_inject(ctx->dev, HMM_DMIRROR_INJECT_PREPARE_ERROR, NULL))
		return -ENOMEM;
	return dmirror_range_create(&ctx->pgtable, start) ? 0 : -ENOMEM;
}

static unsigned int dmirror_pte_order(u64 pte)
{
	return FIELD_GET(DMIRROR_PTE_ORDER, pte);
}

/* Engines may look at any time: whole entries only. */
static void dmirror_range_set(struct dmirror_range *range, unsigned long first,
			      unsigned long nr, u64 pte)
{
	unsigned long i;

	for (i = first; i < first + nr; i++) {
		WRITE_ONCE(range->ptes[i], pte);
		if (pte)
			pte += PAGE_SIZE;
	}
}

/* Turn the leaf that the page is part of into leaves of one page. */
static void dmirror_range_split(struct dmirror_range *range, unsigned long i)
{
	unsigned int order = dmirror_pte_order(range->ptes[i]);
	u64 large = range->large;

	if (large) {
		dmirror_range_set(range, 0, DMIRROR_RANGE_PAGES,
				  large & ~DMIRROR_PTE_ORDER);
		/* An engine must find one or the other. */
		smp_store_release(&range->large, 0);
	} else if (order) {
		i = ALIGN_DOWN(i, 1UL << order);
		dmirror_range_set(range, i, 1UL << order,
				  range->ptes[i] & ~DMIRROR_PTE_ORDER);
	}
}

static u64 dmirror_make_pte(const struct hmm_mirror_entry *entry)
{
	u64 pte = PFN_PHYS(entry->pfn);

	if (entry->flags & HMM_MIRROR_DMA)
		pte = entry->dma_addr | DMIRROR_PTE_DMA;
	if (entry->flags & HMM_MIRROR_WRITE)
		pte |= DMIRROR_PTE_WRITE;
	if (entry->flags & HMM_MIRROR_PRIVATE)
		pte |= DMIRROR_PTE_PRIVATE;
	else if (!(entry->flags & HMM_MIRROR_DMA) &&
		 is_device_coherent_page(pfn_to_page(entry->pfn)))
		pte |= DMIRROR_PTE_CDM;
	if (entry->flags & HMM_MIRROR_EXCLUSIVE)
		pte |= DMIRROR_PTE_EXCLUSIVE;
	return pte | DMIRROR_PTE_PRESENT |
	       FIELD_PREP(DMIRROR_PTE_ORDER, entry->order);
}

/* What the device maps it uses; its own memory shall not be evicted soon. */
static void dmirror_touch(struct dmirror_device *dev,
			  const struct hmm_mirror_entry *entry)
{
	struct hmm_devmem *devmem = hmm_devmem_from_pfn(entry->pfn);

	if (devmem && hmm_devmem_private(devmem) == dev)
		hmm_devmem_touch(devmem, entry->pfn, 1UL << entry->order);
}

static int dmirror_map(struct hmm_mirror *mirror,
		       const struct hmm_mirror_entry *entries, unsigned int nr)
{
	struct dmirror_ctx *ctx = dmirror_ctx_from_mirror(mirror);
	struct dmirror_range *range;
	int ret = 0;

	range = dmirror_range_find(&ctx->pgtable, entries->addr);
	if (WARN_ON_ONCE(!range))
		return -EINVAL;

	/* Fail half way: what is mapped then must not stay. */
	if (dmirror_inject(ctx->dev, HMM_DMIRROR_INJECT_MAP_ERROR, NULL)) {
		nr /= 2;
		ret = -EIO;
	}

	for (; nr; nr--, entries++) {
		unsigned long first = dmirror_pte_index(entries->addr);
		u64 pte = dmirror_make_pte(entries);

		dmirror_touch(ctx->dev, entries);
		if (entries->order == DMIRROR_RANGE_ORDER) {
			WRITE_ONCE(range->large, pte);
			dmirror_range_set(range, 0, DMIRROR_RANGE_PAGES, 0);
			continue;
		}
		if (range->large ||
		    dmirror_pte_order(range->ptes[first]) > entries->order)
			dmirror_range_split(range, first);
		dmirror_range_set(range, first, 1UL << entries->order, pte);
	}
	return ret;
}

/* Zaps whole leaves; the TLBs of the engines are flushed later. */
static bool dmirror_invalidate(struct hmm_mirror *mirror, unsigned long start,
			       unsigned long end, bool nonblock)
{
	struct dmirror_ctx *ctx = dmirror_ctx_from_mirror(mirror);
	unsigned long first = dmirror_pte_index(start);
	unsigned long last = dmirror_pte_index(end - 1) + 1;
	struct dmirror_range *range;

	range = dmirror_range_find(&ctx->pgtable, start);
	if (!range)
		return true;
	WRITE_ONCE(range->large, 0);
	first = ALIGN_DOWN(first, 1UL << dmirror_pte_order(range->ptes[first]));
	last = ALIGN(last, 1UL << dmirror_pte_order(range->ptes[last - 1]));
	dmirror_range_set(range, first, last - first, 0);
	return true;
}

const struct hmm_mirror_ops dmirror_mirror_ops = {
	.prepare = dmirror_prepare,
	.map = dmirror_map,
	.invalidate = dmirror_invalidate,
	.flush_start = dmirror_flush_start,
	.flush_wait = dmirror_flush_wait,
};

static u64 dmirror_range_pte(const struct dmirror_range *range, u64 addr)
{
	unsigned long i = dmirror_pte_index(addr);
	/* Pairs with dmirror_range_split(). */
	u64 large = smp_load_acquire(&range->large);

	return large ? large + ((u64)i << PAGE_SHIFT) :
		       READ_ONCE(range->ptes[i]);
}

/**
 * dmirror_pgtable_walk() - look an address up
 * @pgtable: the page table
 * @addr: any address
 *
 * Context: any.
 * Return: the entry of the page, 0 if it is not mapped.
 */
u64 dmirror_pgtable_walk(const struct dmirror_pgtable *pgtable, u64 addr)
{
	struct dmirror_range *range = dmirror_range_find(pgtable, addr);

	return range ? dmirror_range_pte(range, addr) : 0;
}

static u8 dmirror_pte_describe(u64 pte)
{
	unsigned int order = dmirror_pte_order(pte);
	u8 page = HMM_DMIRROR_PAGE_MAPPED;

	if (!(pte & DMIRROR_PTE_PRESENT))
		return 0;
	if (pte & DMIRROR_PTE_WRITE)
		page |= HMM_DMIRROR_PAGE_WRITE;
	if (pte & DMIRROR_PTE_EXCLUSIVE)
		page |= HMM_DMIRROR_PAGE_EXCLUSIVE;
	if (pte & DMIRROR_PTE_PRIVATE)
		page |= HMM_DMIRROR_PAGE_PRIVATE;
	if (pte & DMIRROR_PTE_CDM)
		page |= HMM_DMIRROR_PAGE_CDM;
	if (order == DMIRROR_RANGE_ORDER)
		page |= HMM_DMIRROR_PAGE_LARGE;
	else if (order)
		page |= HMM_DMIRROR_PAGE_MEDIUM;
	return page;
}

/**
 * dmirror_pgtable_snapshot() - describe pages of the device page table
 * @ctx: the address space
 * @addr: first page
 * @pages: out, HMM_DMIRROR_PAGE_* of each page
 * @nr: elements of @pages, not 0
 *
 * Return: the number of pages described: up to the end of a range at most.
 */
unsigned int dmirror_pgtable_snapshot(struct dmirror_ctx *ctx, u64 addr,
				      u8 *pages, unsigned int nr)
{
	unsigned long first = dmirror_pte_index(addr);
	struct dmirror_range *range;
	unsigned int i;

	nr = min_t(unsigned long, nr, DMIRROR_RANGE_PAGES - first);
	range = dmirror_range_find(&ctx->pgtable, addr);
	if (!range) {
		memset(pages, 0, nr);
		return nr;
	}
	for (i = 0; i < nr; i++)
		pages[i] = dmirror_pte_describe(dmirror_range_pte(range, addr +
								  ((u64)i << PAGE_SHIFT)));
	return nr;
}
