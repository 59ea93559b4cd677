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

/* The toolbox's memory has base pages only: 2 MiB are 512 of them. */
long bench_toolbox_alloc(struct bench_devmem *bd, struct page **pages,
			 unsigned long nr_pages, unsigned int flags)
{
	unsigned long step = flags ? bd->piece_pages : 1, nr = 0;
	int idx, err = 0;

	if (!hmm_devmem_enter(bd->devmem, HMM_DEVMEM_LIVE, &idx))
		return -ENODEV;
	while (nr < nr_pages) {
		unsigned int want = min(step, nr_pages - nr), got;

		got = hmm_devmem_alloc_pages(bd->devmem, want, pages + nr, &err);
		nr += got;
		if (got < want)
			break;
	}
	hmm_devmem_leave(bd->devmem, idx);
	if (nr == nr_pages)
		return nr;
	hmm_devmem_free_pages(pages, nr);
	return err ? err : -ENOSPC;
}

void bench_toolbox_free(struct bench_devmem *bd, struct page **pages, long nr)
{
	hmm_devmem_free_pages(pages, nr);
}

MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");
