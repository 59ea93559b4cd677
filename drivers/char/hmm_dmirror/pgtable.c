// SPDX-License-Identifier: GPL-2.0
/*
 * The page table of the HMM dummy device, and device accesses through it.
 *
 * Directories of one page each lead to ranges, the leaf tables.  A range has
 * entries for base pages and one for a large page that covers it whole.
 * Directories and ranges are never taken away while the table exists, so
 * finding a range needs no lock; its entries are protected by its own lock.
 */
#include <linux/bitops.h>
#include <linux/highmem.h>
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
	struct dmirror_range *range = kzalloc_obj(*range);

	if (!range)
		return NULL;
	range->ptes = kcalloc(DMIRROR_RANGE_PAGES, sizeof(u64), GFP_KERNEL);
	if (!range->ptes) {
		kfree(range);
		return NULL;
	}
	rwlock_init(&range->lock);
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
					       sizeof(void *), GFP_KERNEL);
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

static void dmirror_range_split(struct dmirror_range *range)
{
	unsigned long i;

	for (i = 0; i < DMIRROR_RANGE_PAGES; i++)
		range->ptes[i] = range->large + ((u64)i << PAGE_SHIFT);
	range->large = 0;
}

static void dmirror_range_clear_ptes(struct dmirror_range *range,
				     unsigned long first, unsigned long nr)
{
	memset(range->ptes + first, 0, nr * sizeof(*range->ptes));
}

static int dmirror_map(struct hmm_mirror *mirror,
		       const struct hmm_mirror_entry *entries, unsigned int nr)
{
	struct dmirror_ctx *ctx = dmirror_ctx_from_mirror(mirror);
	struct dmirror_range *range;
	int ret = 0;
	u64 pte;

	range = dmirror_range_find(&ctx->pgtable, entries->addr);
	if (WARN_ON_ONCE(!range))
		return -EINVAL;

	/* Fail half way: what is mapped then must not stay. */
	if (dmirror_inject(ctx->dev, HMM_DMIRROR_INJECT_MAP_ERROR, NULL)) {
		nr /= 2;
		ret = -EIO;
	}

	write_lock(&range->lock);
	for (; nr; nr--, entries++) {
		pte = ((u64)entries->pfn << PAGE_SHIFT) | DMIRROR_PTE_PRESENT;
		if (entries->flags & HMM_MIRROR_WRITE)
			pte |= DMIRROR_PTE_WRITE;
		if (entries->flags & HMM_MIRROR_PRIVATE)
			pte |= DMIRROR_PTE_PRIVATE;

		if (entries->order) {
			dmirror_range_clear_ptes(range, 0, DMIRROR_RANGE_PAGES);
			range->large = pte;
			continue;
		}
		if (range->large)
			dmirror_range_split(range);
		range->ptes[dmirror_pte_index(entries->addr)] = pte;
	}
	write_unlock(&range->lock);
	return ret;
}

/*
 * Engines hold the lock for each access as long as it lasts, so having held it
 * for writing is what a TLB flush is on a real device.
 */
static bool dmirror_invalidate(struct hmm_mirror *mirror, unsigned long start,
			       unsigned long end, bool nonblock)
{
	struct dmirror_ctx *ctx = dmirror_ctx_from_mirror(mirror);
	struct dmirror_range *range;

	range = dmirror_range_find(&ctx->pgtable, start);
	if (!range)
		return true;
	write_lock(&range->lock);
	range->large = 0;
	dmirror_range_clear_ptes(range, dmirror_pte_index(start),
				 (end - start) >> PAGE_SHIFT);
	write_unlock(&range->lock);
	return true;
}

const struct hmm_mirror_ops dmirror_mirror_ops = {
	.prepare = dmirror_prepare,
	.map = dmirror_map,
	.invalidate = dmirror_invalidate,
};

static u64 dmirror_range_pte(const struct dmirror_range *range, u64 addr)
{
	unsigned long i = dmirror_pte_index(addr);

	if (range->large)
		return range->large + ((u64)i << PAGE_SHIFT);
	return range->ptes[i];
}

/**
 * dmirror_window_open() - translate an address for a device access
 * @run: the program
 * @addr: first byte
 * @length: bytes wanted, not 0
 * @access: HMM_MIRROR_WRITE or 0
 * @window: out, to be given to dmirror_window_close()
 *
 * The access ends at the end of the page, see &dmirror_window.length.
 *
 * Context: on success a spinning lock is held until dmirror_window_close():
 *	at most one at a time, and no more work than one page needs.
 * Return: where the byte is, or NULL if the page is not mapped for such an
 *	access; the run's fault record is filled in then.
 */
void *dmirror_window_open(struct dmirror_run *run, u64 addr, u64 length,
			  unsigned int access, struct dmirror_window *window)
{
	struct dmirror_device *dev = run->ctx->dev;
	u64 pte, need = DMIRROR_PTE_PRESENT;
	struct dmirror_range *range;
	unsigned long pfn;
	void *page;

	if (access & HMM_MIRROR_WRITE)
		need |= DMIRROR_PTE_WRITE;

	range = dmirror_range_find(&run->ctx->pgtable, addr);
	if (!range)
		goto miss;
	read_lock(&range->lock);
	pte = dmirror_range_pte(range, addr);
	if ((pte & need) != need) {
		read_unlock(&range->lock);
		goto miss;
	}

	window->range = range;
	window->length = min_t(u64, length, PAGE_SIZE - offset_in_page(addr));
	pfn = pte >> PAGE_SHIFT;
	if (pte & DMIRROR_PTE_PRIVATE) {
		window->mapping = NULL;
		page = dev->storage + hmm_devmem_offset(dev->devmem, pfn);
	} else {
		page = kmap_local_page(pfn_to_page(pfn));
		window->mapping = page;
	}
	return page + offset_in_page(addr);

miss:
	run->miss_addr = addr;
	run->miss_access = access;
	return NULL;
}

void dmirror_window_close(struct dmirror_window *window)
{
	if (window->mapping)
		kunmap_local(window->mapping);
	read_unlock(&window->range->lock);
}

static u8 dmirror_pte_describe(u64 pte, bool large)
{
	u8 page = HMM_DMIRROR_PAGE_MAPPED;

	if (!(pte & DMIRROR_PTE_PRESENT))
		return 0;
	if (pte & DMIRROR_PTE_WRITE)
		page |= HMM_DMIRROR_PAGE_WRITE;
	if (pte & DMIRROR_PTE_PRIVATE)
		page |= HMM_DMIRROR_PAGE_PRIVATE;
	else if (is_device_coherent_page(pfn_to_page(pte >> PAGE_SHIFT)))
		page |= HMM_DMIRROR_PAGE_CDM;
	if (large)
		page |= HMM_DMIRROR_PAGE_LARGE;
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
	read_lock(&range->lock);
	for (i = 0; i < nr; i++)
		pages[i] = dmirror_pte_describe(dmirror_range_pte(range,
								  addr + ((u64)i << PAGE_SHIFT)),
						range->large);
	read_unlock(&range->lock);
	return nr;
}
