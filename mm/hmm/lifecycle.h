/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What is true of a page of device memory in each state of its life, checked with
 * CONFIG_HMM_DEBUG: see "Life of a device page" in Documentation/mm/hmm/devmem.rst.
 *
 * An eviction, memory_failure() or GUP-fast may take a reference to any page that has
 * one, and then find that it came too late.  So counts are checked from below.
 */
#ifndef _MM_HMM_LIFECYCLE_H
#define _MM_HMM_LIFECYCLE_H

#include <linux/genalloc.h>
#include <linux/mmdebug.h>
#include <linux/once_lite.h>
#include <linux/pagemap.h>
#include <linux/percpu-refcount.h>

#include "internal.h"

/* Warn once if @condition does not hold, and show the page. */
#define HMM_LIFE(condition, page) do { \
	if (IS_ENABLED(CONFIG_HMM_DEBUG) && \
	    DO_ONCE_LITE_IF(!(condition), dump_page, page, \
			    "hmm: not " #condition)) \
		WARN_ON_ONCE(1); \
} while (0)

/* Has none of these pages process memory? */
static inline bool hmm_life_none_resident(const struct hmm_devmem *devmem,
					  unsigned long index, unsigned long nr)
{
	return !hmm_devmem_any_set(devmem->resident, index, nr);
}

/* Has each of them?  What was poisoned counts as if. */
static inline bool hmm_life_all_resident(const struct hmm_devmem *devmem,
					 unsigned long index, unsigned long nr)
{
	unsigned long end = index + nr;

	for_each_clear_bit_from(index, devmem->resident, end) {
		/* Pairs with the test_and_set_bit() in hmm_poison_mark(). */
		smp_rmb();
		if (!test_bit(index, devmem->poisoned))
			return false;
	}
	return true;
}

/* Free -> taken: @nr frames from the pool, nothing is left of their last use. */
static inline void hmm_life_check_free(const struct hmm_devmem *devmem,
				       const struct page *page, unsigned long nr)
{
	unsigned long i;

	if (!IS_ENABLED(CONFIG_HMM_DEBUG))
		return;
	/* They need not be pages of one folio, or may still look like one. */
	for (i = 0; i < nr; i++, page++) {
		HMM_LIFE(!page_ref_count(page), page);
		HMM_LIFE(atomic_read(&page->_mapcount) == -1, page);
		HMM_LIFE(hmm_life_none_resident(devmem,
						hmm_devmem_index(devmem, page),
						1), page);
	}
}

/* In any state but free. */
static inline void hmm_life_check_used(struct hmm_devmem *devmem,
				       const struct folio *folio)
{
	unsigned long index = hmm_devmem_index(devmem, &folio->page);
	unsigned long nr = folio_nr_pages(folio);

	HMM_LIFE(folio->pgmap == &devmem->pgmap, &folio->page);
	HMM_LIFE(!percpu_ref_is_zero(&devmem->pgmap.ref), &folio->page);
	HMM_LIFE(index + nr <= hmm_devmem_nr_pages(devmem), &folio->page);
	HMM_LIFE(IS_ALIGNED(index, nr), &folio->page);
	HMM_LIFE(!IS_ENABLED(CONFIG_CGROUP_DMEM) ||
		 folio->page.zone_device_data, &folio->page);
	HMM_LIFE(!folio_test_lru(folio), &folio->page);
	HMM_LIFE(!folio_test_swapcache(folio), &folio->page);
}

/* Taken: charged and locked, and nobody but its owner knows of it. */
static inline void hmm_life_check_taken(struct hmm_devmem *devmem,
					const struct folio *folio)
{
	if (!IS_ENABLED(CONFIG_HMM_DEBUG))
		return;
	hmm_life_check_used(devmem, folio);
	HMM_LIFE(!folio_order(folio) || folio_order(folio) == HMM_PMD_ORDER,
		 &folio->page);
	HMM_LIFE(folio_test_locked(folio), &folio->page);
	HMM_LIFE(folio_ref_count(folio) >= 1, &folio->page);
	HMM_LIFE(!folio_mapped(folio), &folio->page);
	HMM_LIFE(!folio->mapping, &folio->page);
	HMM_LIFE(hmm_life_none_resident(devmem,
					hmm_devmem_index(devmem, &folio->page),
					folio_nr_pages(folio)), &folio->page);
}

/*
 * Taken -> committed, before the bits are set: the content is there.  What fills a
 * hole is mapped, unless it was unmapped again; what was moved (@moved) is not yet.
 */
static inline void hmm_life_check_committed(struct hmm_devmem *devmem,
					    const struct folio *folio, bool moved)
{
	if (!IS_ENABLED(CONFIG_HMM_DEBUG))
		return;
	hmm_life_check_used(devmem, folio);
	HMM_LIFE(folio_test_locked(folio), &folio->page);
	HMM_LIFE(folio_ref_count(folio) >= 1, &folio->page);
	HMM_LIFE(folio_test_anon(folio), &folio->page);
	HMM_LIFE(folio_test_uptodate(folio), &folio->page);
	HMM_LIFE(!moved || !folio_mapped(folio), &folio->page);
	HMM_LIFE(hmm_life_none_resident(devmem,
					hmm_devmem_index(devmem, &folio->page),
					folio_nr_pages(folio)), &folio->page);
}

/* Committed, and locked by the caller, who has @refs references. */
static inline void hmm_life_check_resident(struct hmm_devmem *devmem,
					   const struct folio *folio, int refs)
{
	if (!IS_ENABLED(CONFIG_HMM_DEBUG))
		return;
	hmm_life_check_used(devmem, folio);
	HMM_LIFE(folio_test_locked(folio), &folio->page);
	HMM_LIFE(folio_ref_count(folio) >= refs, &folio->page);
	HMM_LIFE(folio_test_anon(folio), &folio->page);
	HMM_LIFE(hmm_life_all_resident(devmem,
				       hmm_devmem_index(devmem, &folio->page),
				       folio_nr_pages(folio)), &folio->page);
}

/* Committed -> source of a migration: there are migration entries only. */
static inline void hmm_life_check_source(struct hmm_devmem *devmem,
					 const struct folio *folio, int refs)
{
	hmm_life_check_resident(devmem, folio, refs);
	HMM_LIFE(!folio_mapped(folio), &folio->page);
}

/* What was split off a huge folio is as the rest; not all of it may be locked. */
static inline void hmm_life_check_split(struct hmm_devmem *devmem,
					const struct folio *tail)
{
	if (!IS_ENABLED(CONFIG_HMM_DEBUG))
		return;
	hmm_life_check_used(devmem, tail);
	HMM_LIFE(hmm_life_all_resident(devmem,
				       hmm_devmem_index(devmem, &tail->page),
				       folio_nr_pages(tail)), &tail->page);
}

/* Any state -> free: in folio_free, all or none of it had process memory. */
static inline void hmm_life_check_last_put(struct hmm_devmem *devmem,
					   const struct folio *folio)
{
	unsigned long index = hmm_devmem_index(devmem, &folio->page);
	unsigned long nr = folio_nr_pages(folio);

	if (!IS_ENABLED(CONFIG_HMM_DEBUG))
		return;
	hmm_life_check_used(devmem, folio);
	HMM_LIFE(!folio_ref_count(folio), &folio->page);
	HMM_LIFE(!folio_test_locked(folio), &folio->page);
	HMM_LIFE(!folio_mapped(folio), &folio->page);
	HMM_LIFE(!folio->mapping, &folio->page);
	HMM_LIFE(hmm_life_none_resident(devmem, index, nr) ||
		 hmm_life_all_resident(devmem, index, nr), &folio->page);
}

/* Uncharged, so that a second time shows. */
static inline void hmm_life_forget_charge(struct folio *folio)
{
	if (IS_ENABLED(CONFIG_HMM_DEBUG))
		folio->page.zone_device_data = NULL;
}

/* Pages were freed, @refs are left: the driver's own goes last. */
static inline void hmm_life_check_refs(const struct hmm_devmem *devmem, long refs)
{
	if (!IS_ENABLED(CONFIG_HMM_DEBUG))
		return;
	/* A page that is being freed still keeps the memory plugged. */
	WARN_ON_ONCE(refs < (READ_ONCE(devmem->state) != HMM_DEVMEM_DETACHED));
}

/* Unplugged: each frame was given back, or is poisoned, and none is resident. */
static inline void hmm_life_check_unplugged(struct hmm_devmem *devmem)
{
	unsigned long total = hmm_devmem_nr_pages(devmem);

	if (!IS_ENABLED(CONFIG_HMM_DEBUG))
		return;
	WARN_ON_ONCE(gen_pool_size(devmem->pool) != total << PAGE_SHIFT);
	WARN_ON_ONCE(hmm_devmem_nr_free(devmem) +
		     bitmap_weight(devmem->poisoned, total) !=
		     hmm_block_nr_owned(devmem));
	WARN_ON_ONCE(atomic_long_read(&devmem->lost));
	WARN_ON_ONCE(atomic_long_read(&devmem->huge));
	WARN_ON_ONCE(atomic_long_read(&devmem->refs));
	WARN_ON_ONCE(!bitmap_empty(devmem->resident, total));
}

#endif /* _MM_HMM_LIFECYCLE_H */
