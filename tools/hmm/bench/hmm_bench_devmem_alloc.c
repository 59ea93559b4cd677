// SPDX-License-Identifier: GPL-2.0
/*
 * Measuring module for device memory: the toolbox's allocator, as a migration uses
 * it.  Drivers do not call it; it is exported for KUnit, which the measured kernels
 * have.
 */
#include <linux/errno.h>
#include <linux/minmax.h>
#include <linux/module.h>

#include "internal.h"
#include "hmm_bench_devmem_kind.h"

static long bench_alloc_huge(struct bench_devmem *bd, struct page **pages,
			     unsigned long nr_pages, int *err)
{
	unsigned long nr;

	for (nr = 0; nr < nr_pages / HMM_PMD_PAGES; nr++) {
		struct folio *folio = hmm_devmem_alloc_huge(bd->devmem, NULL, err);

		if (!folio)
			break;
		pages[nr] = &folio->page;
	}
	return nr;
}

static long bench_alloc_small(struct bench_devmem *bd, struct page **pages,
			      unsigned long nr_pages, unsigned long step,
			      int *err)
{
	unsigned long nr = 0;

	while (nr < nr_pages) {
		unsigned int want = min(step, nr_pages - nr), got;

		got = hmm_devmem_alloc_pages(bd->devmem, NULL, want, pages + nr, err);
		nr += got;
		if (got < want)
			break;
	}
	return nr;
}

/* As a migration does: huge folios where there may be some. */
long bench_toolbox_alloc(struct bench_devmem *bd, struct page **pages,
			 unsigned long nr_pages, unsigned int flags)
{
	bool huge = flags & HMM_BENCH_DEVMEM_COMPOUND &&
		    hmm_devmem_huge_ok(bd->devmem);
	unsigned long wanted = huge ? nr_pages / HMM_PMD_PAGES : nr_pages;
	int idx, err = 0;
	long nr;

	if (!hmm_devmem_enter(bd->devmem, HMM_DEVMEM_LIVE, &idx))
		return -ENODEV;
	if (huge)
		nr = bench_alloc_huge(bd, pages, nr_pages, &err);
	else
		nr = bench_alloc_small(bd, pages, nr_pages,
				       flags ? bd->piece_pages : 1, &err);
	hmm_devmem_leave(bd->devmem, idx);
	if (nr == wanted)
		return nr;
	hmm_devmem_free_pages(pages, nr);
	return err ? err : -ENOSPC;
}

void bench_toolbox_free(struct bench_devmem *bd, struct page **pages, long nr)
{
	hmm_devmem_free_pages(pages, nr);
}

MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");
