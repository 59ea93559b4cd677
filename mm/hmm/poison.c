// SPDX-License-Identifier: GPL-2.0
/*
 * Memory errors: page frames that are not used any more, and pages whose content is
 * lost.
 *
 * A frame is poisoned for good.  Whoever has it out of the pool when its bit in
 * &hmm_devmem.poisoned is set keeps it: hmm_poison_mark() if it was free, otherwise
 * whoever is about to use it or frees it.  The bit is set before, and looked at
 * after, the frame is taken or given back, so that one of them sees the other.  The
 * pool may hide a free frame for an instant, while others take and give back: then it
 * stays there until somebody takes it or hmm_poison_settle().
 *
 * A page in use is taken from all page tables, which keep a marker, if the kernel
 * can do that.  If not, a private page stays where it is, and a CPU access finds
 * that it is poisoned.
 */
#include <linux/export.h>
#include <linux/genalloc.h>
#include <linux/jiffies.h>
#include <linux/migrate.h>
#include <linux/page-flags.h>
#include <linux/pagemap.h>
#include <linux/sched.h>

#include "internal.h"

/* How long to try to get the lock of a page that others work on. */
#define HMM_POISON_WAIT		HZ

#ifdef migrate_device_poison_markers
#define HMM_POISON_UNMAPS	IS_ENABLED(CONFIG_MEMORY_FAILURE)
#else
#define HMM_POISON_UNMAPS	false
#endif

/**
 * hmm_poison_keep() - keep a frame that was just taken from the pool?
 * @devmem: device memory
 * @page: the frame, which nobody else knows of
 *
 * Context: any.
 * Return: true if it is poisoned: it must neither be used nor given back.
 */
bool hmm_poison_keep(struct hmm_devmem *devmem, const struct page *page)
{
	if (likely(!test_bit(hmm_devmem_index(devmem, page), devmem->poisoned)))
		return false;
	atomic_long_dec(&devmem->lost);
	return true;
}

/* Take a frame out of the pool, if it is there. */
static void hmm_poison_take(struct hmm_devmem *devmem, unsigned long index)
{
	struct genpool_data_fixed at = { .offset = index << PAGE_SHIFT };

	if (gen_pool_alloc_algo(devmem->pool, PAGE_SIZE, gen_pool_fixed_alloc,
				&at))
		atomic_long_dec(&devmem->lost);
}

/**
 * hmm_poison_free() - give frames back to the pool, but for those poisoned
 * @devmem: device memory
 * @index: of the first one
 * @nr: number of frames
 *
 * Context: any.
 */
void hmm_poison_free(struct hmm_devmem *devmem, unsigned long index,
		     unsigned long nr)
{
	unsigned long first = index, end = index + nr, bad;
	phys_addr_t start = devmem->pgmap.range.start;

	while (index < end) {
		bad = hmm_poison_any(devmem) ?
		      find_next_bit(devmem->poisoned, end, index) : end;
		if (bad > index)
			gen_pool_free(devmem->pool, start + PFN_PHYS(index),
				      (bad - index) << PAGE_SHIFT);
		if (bad < end)
			atomic_long_dec(&devmem->lost);
		index = bad + 1;
	}
	/* Pairs with the test_and_set_bit() in hmm_poison_mark(). */
	smp_mb();
	/* Those poisoned meanwhile. */
	if (hmm_poison_any(devmem))
		for_each_set_bit_from(first, devmem->poisoned, end)
			hmm_poison_take(devmem, first);
	hmm_devmem_search_from(devmem, end - nr);
	hmm_block_freed(devmem);
}

/**
 * hmm_poison_settle() - take the poisoned frames that were left in the pool
 * @devmem: device memory
 *
 * While nobody takes frames, &hmm_devmem.lost is exact from here on.
 *
 * Context: any.
 */
void hmm_poison_settle(struct hmm_devmem *devmem)
{
	unsigned long i;

	if (atomic_long_read(&devmem->lost) <= 0)
		return;
	for_each_set_bit(i, devmem->poisoned, hmm_devmem_nr_pages(devmem))
		hmm_poison_take(devmem, i);
}

/* Nobody uses the memory any more: give back what the pool lacks. */
void hmm_poison_release(struct hmm_devmem *devmem)
{
	phys_addr_t start = devmem->pgmap.range.start;
	unsigned long i;

	if (!devmem->poisoned)
		return;
	for_each_set_bit(i, devmem->poisoned, hmm_devmem_nr_pages(devmem))
		gen_pool_free(devmem->pool, start + PFN_PHYS(i), PAGE_SIZE);
}

/**
 * hmm_poison_hits() - is any of these frames poisoned device memory?
 * @pfn: page frame number of the first one; its page cannot be freed during the call
 * @nr: number of frames, all in the same folio
 *
 * Context: any.
 * Return: true if so.
 */
bool hmm_poison_hits(unsigned long pfn, unsigned long nr)
{
	struct hmm_devmem *devmem = hmm_devmem_from_pfn(pfn);

	return devmem && hmm_poison_hits_in(devmem, pfn_to_page(pfn), nr);
}

/* A free frame still looks like part of the huge folio that it was part of. */
static bool hmm_poison_part_of(const struct page *page, const struct folio *folio)
{
	return &folio->page == page || folio_test_large(folio);
}

/* Poisoned pages among [first, end) that are still in use. */
unsigned long hmm_poison_in_use(const struct hmm_devmem *devmem,
				unsigned long first, unsigned long end)
{
	unsigned long nr = 0;

	if (atomic_long_read(&devmem->lost) <= 0)
		return 0;
	for_each_set_bit_from(first, devmem->poisoned, end) {
		struct page *page = hmm_devmem_page(devmem, first);
		struct folio *folio = page_folio(page);

		nr += folio_ref_count(folio) && hmm_poison_part_of(page, folio);
	}
	return nr;
}

/* The folio that a frame is part of, with a reference; NULL if it is free. */
static struct folio *hmm_poison_get_folio(struct page *page)
{
	for (;;) {
		struct folio *folio = page_folio(page);

		if (!folio_try_get(folio))
			return NULL;
		if (folio == page_folio(page)) {
			if (hmm_poison_part_of(page, folio))
				return folio;
			folio_put(folio);
			return NULL;
		}
		folio_put(folio);
	}
}

/*
 * Replace what maps the page by markers, if the kernel can.  A huge folio that it is
 * part of is split: only this page is lost.  False if somebody else works on it.
 */
static bool hmm_poison_try_unmap(struct page *page)
{
	struct folio *folio = page_folio(page);
	unsigned long src, dst = 0;
	bool done;

	/*
	 * While it is locked it may be copied, or was taken and is not mapped yet.
	 * Whoever locks it from now on sees that it is poisoned.
	 */
	if (!folio_trylock(folio))
		return false;
	if (folio_test_large(folio)) {
		if (hmm_devmem_split(page)) {
			folio_unlock(folio);
			return false;
		}
		folio = page_folio(page);
	}
	if (HMM_POISON_UNMAPS)
		SetPageHWPoison(page);
	done = !HMM_POISON_UNMAPS || !folio_mapped(folio);
	folio_unlock(folio);
	if (done)
		return true;

	src = page_to_pfn(page);
	migrate_device_pfns(&src, 1);
	done = src;
	migrate_device_finalize(&src, &dst, 1);
	return done;
}

/* The caller has a reference to the page. */
static bool hmm_poison_unmap(struct page *page, unsigned long deadline)
{
	while (!hmm_poison_try_unmap(page)) {
		if (time_after(jiffies, deadline))
			return false;
		schedule_timeout_uninterruptible(1);
	}
	return true;
}

/* The frame is not used again. */
void hmm_poison_mark(struct hmm_devmem *devmem, unsigned long index)
{
	/* Whoever finds the bit set finds it counted. */
	atomic_long_inc(&devmem->nr_poisoned);
	if (test_and_set_bit(index, devmem->poisoned)) {
		atomic_long_dec(&devmem->nr_poisoned);
		return;
	}
	atomic_long_inc(&devmem->lost);
	hmm_poison_take(devmem, index);
}

/*
 * Poison a frame.  0, -EBUSY if others still work on it, or -ENXIO if the driver has
 * its block.
 */
static int hmm_poison_frame(struct hmm_devmem *devmem, unsigned long index,
			    unsigned long deadline)
{
	struct page *page = hmm_devmem_page(devmem, index);
	int ret = 0;

	if (!hmm_block_poison(devmem, index))
		return -ENXIO;
	/* There is nothing to bring back. */
	clear_bit(index, devmem->resident);
	if (hmm_poison_get_folio(page)) {
		if (!hmm_poison_unmap(page, deadline))
			ret = -EBUSY;
		put_page(page);
	} else if (HMM_POISON_UNMAPS) {
		SetPageHWPoison(page);
	}
	return ret;
}

static int hmm_poison_frames(struct hmm_devmem *devmem, unsigned long index,
			     unsigned long nr)
{
	unsigned long deadline = jiffies + HMM_POISON_WAIT;
	int ret = 0;

	for (; nr; nr--) {
		int err = hmm_poison_frame(devmem, index++, deadline);

		if (err)
			ret = err;
		cond_resched();
	}
	return ret;
}

/* CDM would stay mapped for the CPU. */
static bool hmm_poison_supported(const struct hmm_devmem *devmem)
{
	return HMM_POISON_UNMAPS ||
	       devmem->pgmap.type == MEMORY_DEVICE_PRIVATE;
}

/**
 * hmm_devmem_memory_failure() - declare device memory lost and unusable
 * @devmem: device memory
 * @offset: first byte, from the start of the device memory, page aligned
 * @size: bytes, a multiple of PAGE_SIZE
 *
 * For a driver that learns of an uncorrectable error in its memory.  The page
 * frames are never used again, at once if they are free and otherwise once they are
 * freed.  The pages that lie there are neither copied nor mapped on a device any
 * more, and whoever touches one gets SIGBUS; until then, or until it unmaps the
 * page, a process is not concerned.  memory_failure() does the same for a page
 * frame, for example when a CPU has met the error.
 *
 * The pages are taken from all page tables, of devices too, by way of their
 * mirrors.  That is by a patch of the series (migrate_device_poison_markers).  On a
 * kernel without it a device keeps what it maps of private pages until that is
 * invalidated, which the driver has to see to, and CDM cannot be poisoned.
 *
 * What the driver has not lent (get_block) it must not use nor lend.  After -EBUSY
 * all else was done, and the call may be repeated.
 *
 * After what memory_failure() does for RAM.
 *
 * Context: process context, may sleep, no folio lock held and nothing under which
 * reclaim or MMU notifiers are ruled out.  Not during hmm_devmem_remove().
 * Return: 0, also if it was poisoned before, or:
 * * -EINVAL - the range is empty, misaligned or not within the memory
 * * -EOPNOTSUPP - CDM, and the kernel cannot unmap it; nothing was done
 * * -ENXIO - part of it lies in blocks that the driver has not lent: left alone
 * * -EBUSY - others have kept some page locked, it may still be mapped or copied
 */
int hmm_devmem_memory_failure(struct hmm_devmem *devmem, u64 offset, u64 size)
{
	if (!hmm_devmem_range_valid(devmem, offset, size))
		return -EINVAL;
	if (!hmm_poison_supported(devmem))
		return -EOPNOTSUPP;
	return hmm_poison_frames(devmem, offset >> PAGE_SHIFT,
				 size >> PAGE_SHIFT);
}
EXPORT_SYMBOL_GPL(hmm_devmem_memory_failure);

/*
 * The same for memory_failure(), which keeps the memory plugged meanwhile.  For an
 * -EOPNOTSUPP it would take the page for one of a file.
 */
int hmm_poison_pagemap_failure(struct dev_pagemap *pgmap, unsigned long pfn,
			       unsigned long nr_pages, int mf_flags)
{
	struct hmm_devmem *devmem = pgmap_to_devmem(pgmap);

	if (!hmm_poison_supported(devmem))
		return -ENXIO;
	return hmm_poison_frames(devmem,
				 hmm_devmem_index(devmem, pfn_to_page(pfn)),
				 nr_pages);
}

/**
 * hmm_poison_lose() - the device is gone with the pages that are left
 * @devmem: device memory, detached
 *
 * Takes them from all page tables, if the kernel can: an access gets SIGBUS, and
 * the memory need not wait for the processes.
 *
 * Context: process context, may sleep, no folio lock held.
 * Return: how many base pages were lost so.
 */
unsigned long hmm_poison_lose(struct hmm_devmem *devmem)
{
	unsigned long deadline = jiffies + HMM_POISON_WAIT, lost = 0, i;

	if (!HMM_POISON_UNMAPS)
		return 0;
	for_each_set_bit(i, devmem->resident, hmm_devmem_nr_pages(devmem)) {
		struct page *page = hmm_devmem_page(devmem, i);

		if (!hmm_poison_get_folio(page))
			continue;
		hmm_poison_unmap(page, deadline);
		lost++;
		put_page(page);
		cond_resched();
	}
	return lost;
}
