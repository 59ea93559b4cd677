// SPDX-License-Identifier: GPL-2.0
/*
 * DMA addresses of a mirror, through the kernel's IOVA-linking interface.
 *
 * With an IOMMU each piece owns PMD_SIZE bytes of DMA address space, and a page
 * has its place in it by its virtual address.  What is linked by one call is
 * remembered, because it can be unlinked as a whole only: the IOMMU may have
 * mapped it with one large entry.
 *
 * Without an IOMMU DMA addresses follow from physical ones, and there is
 * nothing to undo.
 */
#include <linux/bitmap.h>
#include <linux/hmm-dma.h>
#include <linux/slab.h>
#include <kunit/visibility.h>

#include "mirror.h"

/* The mirror cannot transfer ownership: no bounce buffers, no cache flushes. */
#define HMM_MIRROR_DMA_ATTRS	DMA_ATTR_REQUIRE_COHERENT

static unsigned long dma_index(unsigned long addr)
{
	return (addr & ~PMD_MASK) >> PAGE_SHIFT;
}

/* Index of an end, which is exclusive: HMM_PMD_PAGES for that of the piece. */
static unsigned long dma_end_index(unsigned long end)
{
	return dma_index(end - 1) + 1;
}

/**
 * hmm_mirror_dma_check() - can memory be mapped for a device?
 * @dev: the device
 *
 * Follows hmm_dma_map_alloc().
 *
 * Return: 0, -ENOMEM, or -EOPNOTSUPP if it would take bounce buffers, large
 * IOMMU pages or bookkeeping for each page.
 */
int hmm_mirror_dma_check(struct device *dev)
{
	struct hmm_dma_map map = {};
	bool iova;
	int err;

	err = hmm_dma_map_alloc(dev, &map, 1, PAGE_SIZE);
	if (err)
		return err;
	iova = dma_use_iova(&map.state);
	hmm_dma_map_free(dev, &map);
	/* Single pages have to be linked, and without bookkeeping of our own. */
	if (iova ? dma_get_merge_boundary(dev) & PAGE_MASK : dma_need_unmap(dev))
		return -EOPNOTSUPP;
	return 0;
}

/* For a device that hmm_mirror_dma_check() accepted; NULL without memory. */
struct hmm_mirror_dma *hmm_mirror_dma_alloc(struct device *dev)
{
	struct hmm_mirror_dma *dma = kzalloc_obj(*dma, GFP_KERNEL_ACCOUNT);

	if (!dma)
		return NULL;
	if (!dma_iova_try_alloc(dev, &dma->iova, 0, PMD_SIZE) &&
	    dma_need_unmap(dev)) {
		kfree(dma);
		return NULL;
	}
	return dma;
}

/* Nothing is linked any more. */
void hmm_mirror_dma_free(struct device *dev, struct hmm_mirror_dma *dma)
{
	if (!dma)
		return;
	if (dma_use_iova(&dma->iova))
		dma_iova_free(dev, &dma->iova);
	kfree(dma);
}

/* Link what is missing of an entry; the range that is new grows *from, *to. */
static int hmm_mirror_dma_link_entry(struct device *dev,
				     struct hmm_mirror_dma *dma,
				     const struct hmm_mirror_entry *entry,
				     unsigned long *from, unsigned long *to)
{
	unsigned long start = dma_index(entry->addr);
	unsigned long end = start + (1UL << entry->order), i, next;
	int err;

	for (i = start; ; i = next) {
		i = find_next_zero_bit(dma->linked, end, i);
		if (i >= end)
			return 0;
		next = find_next_bit(dma->linked, end, i);
		err = dma_iova_link(dev, &dma->iova,
				    PFN_PHYS(entry->pfn + i - start),
				    i << PAGE_SHIFT, (next - i) << PAGE_SHIFT,
				    DMA_BIDIRECTIONAL, HMM_MIRROR_DMA_ATTRS);
		if (err)
			return err;
		bitmap_set(dma->linked, i, next - i);
		__set_bit(i, dma->first);
		*from = min(*from, i);
		*to = max(*to, next);
	}
}

/**
 * hmm_mirror_dma_link() - give entries their DMA addresses
 * @piece: the piece that all of them lie in
 * @entries: those with %HMM_MIRROR_DMA are linked
 * @nr: how many entries
 *
 * What is linked when an error is returned stays so until hmm_mirror_dma_unlink().
 *
 * Context: update lock held.
 * Return: 0, %HMM_MIRROR_NO_DMA, or -EIO if the device cannot address the memory.
 */
int hmm_mirror_dma_link(struct hmm_mirror_piece *piece,
			struct hmm_mirror_entry *entries, unsigned int nr)
{
	struct device *dev = piece->mirror->desc.dma_dev;
	unsigned long from = HMM_PMD_PAGES, to = 0;
	struct hmm_mirror_dma *dma = piece->dma;
	unsigned int i;
	int err = 0;

	lockdep_assert_held(&piece->update_lock);

	for (i = 0; i < nr && !err; i++) {
		struct hmm_mirror_entry *entry = &entries[i];

		if (!(entry->flags & HMM_MIRROR_DMA))
			continue;
		if (!dma_use_iova(&dma->iova)) {
			entry->dma_addr = dma_map_phys(dev,
						       PFN_PHYS(entry->pfn),
						       PAGE_SIZE << entry->order,
						       DMA_BIDIRECTIONAL,
						       HMM_MIRROR_DMA_ATTRS);
			if (dma_mapping_error(dev, entry->dma_addr))
				err = -EIO;
			continue;
		}
		entry->dma_addr = dma->iova.addr + (entry->addr & ~PMD_MASK);
		err = hmm_mirror_dma_link_entry(dev, dma, entry, &from, &to);
	}
	if (!err && from < to)
		err = dma_iova_sync(dev, &dma->iova, from << PAGE_SHIFT,
				    (to - from) << PAGE_SHIFT);
	/* It allocates page tables with GFP_ATOMIC. */
	if (err == -ENOMEM)
		return HMM_MIRROR_NO_DMA;
	return err ? -EIO : 0;
}

/* Let [*start, *end) take in whole links. */
void hmm_mirror_dma_widen(const struct hmm_mirror_piece *piece,
			  unsigned long *start, unsigned long *end)
{
	const struct hmm_mirror_dma *dma = piece->dma;
	unsigned long first = dma_index(*start);
	unsigned long last = dma_end_index(*end);
	unsigned long base = *start & PMD_MASK;

	if (!dma)
		return;
	if (test_bit(first, dma->linked))
		while (!test_bit(first, dma->first))
			first--;
	while (last < HMM_PMD_PAGES && test_bit(last, dma->linked) &&
	       !test_bit(last, dma->first))
		last++;
	*start = base + (first << PAGE_SHIFT);
	*end = base + (last << PAGE_SHIFT);
}
EXPORT_SYMBOL_IF_KUNIT(hmm_mirror_dma_widen);

/**
 * hmm_mirror_dma_unlink() - take DMA addresses back
 * @piece: the piece
 * @start: first byte, as hmm_mirror_dma_widen() gave it
 * @end: exclusive
 *
 * Context: update lock held; the device does not use the addresses any more.
 */
void hmm_mirror_dma_unlink(struct hmm_mirror_piece *piece, unsigned long start,
			   unsigned long end)
{
	struct device *dev = piece->mirror->desc.dma_dev;
	struct hmm_mirror_dma *dma = piece->dma;
	unsigned long i, next, last;

	if (!dma)
		return;
	lockdep_assert_held(&piece->update_lock);

	last = dma_end_index(end);
	for (i = dma_index(start); ; i = next) {
		i = find_next_bit(dma->linked, last, i);
		if (i >= last)
			return;
		next = find_next_zero_bit(dma->linked, last, i);
		dma_iova_unlink(dev, &dma->iova, i << PAGE_SHIFT,
				(next - i) << PAGE_SHIFT, DMA_BIDIRECTIONAL,
				HMM_MIRROR_DMA_ATTRS);
		bitmap_clear(dma->linked, i, next - i);
		bitmap_clear(dma->first, i, next - i);
	}
}
