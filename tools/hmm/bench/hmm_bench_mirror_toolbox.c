// SPDX-License-Identifier: GPL-2.0
/*
 * Measuring module for mirrors: the HMM toolbox with a driver that does nothing.
 * Built only where the kernel has the toolbox.
 */
#include <linux/processor.h>
#include <linux/sizes.h>

#include "hmm_bench_mirror_kind.h"

static int bench_mirror_map(struct hmm_mirror *mirror,
			    const struct hmm_mirror_entry *entries,
			    unsigned int nr)
{
	return 0;
}

static int bench_mirror_map_yield(struct hmm_mirror *mirror,
				  const struct hmm_mirror_entry *entries,
				  unsigned int nr)
{
	cpu_relax();
	return 0;
}

static bool bench_mirror_invalidate(struct hmm_mirror *mirror,
				    unsigned long start, unsigned long end,
				    bool nonblock)
{
	return true;
}

/* The toolbox counts: operations that did would be part of what is measured. */
static const struct hmm_mirror_ops bench_mirror_ops = {
	.map = bench_mirror_map,
	.invalidate = bench_mirror_invalidate,
};

static const struct hmm_mirror_ops bench_mirror_yield_ops = {
	.map = bench_mirror_map_yield,
	.invalidate = bench_mirror_invalidate,
};

static int bench_toolbox_attach(struct bench_mirror *bm)
{
	struct hmm_mirror_desc desc = {
		.ops = bm->yield ? &bench_mirror_yield_ops : &bench_mirror_ops,
		.start = bm->start,
		.end = bm->end,
		.page_sizes = PAGE_SIZE | SZ_64K | PMD_SIZE,
		.fault_around = bm->around,
	};

	return hmm_mirror_register(&bm->mirror, bm->mm, &desc);
}

static void bench_toolbox_detach(struct bench_mirror *bm)
{
	hmm_mirror_unregister(&bm->mirror);
}

static int bench_toolbox_fault(struct bench_work *work)
{
	unsigned int access = work->write ? HMM_MIRROR_WRITE : 0, i;
	struct hmm_mirror *mirror = &work->bm->mirror;
	unsigned long addr;
	int ret;

	for (i = 0; i < work->loops; i++) {
		for (addr = work->start; addr < work->end; addr += work->step) {
			ret = hmm_mirror_fault(mirror, addr, access);
			if (ret)
				return ret;
		}
	}
	return 0;
}

static int bench_toolbox_prefetch(struct bench_work *work)
{
	unsigned int access = work->write ? HMM_MIRROR_WRITE : 0;
	struct hmm_mirror_result result;
	int ret;

	ret = hmm_mirror_prefetch(&work->bm->mirror, work->start, work->end,
				  access, &result);
	if (ret)
		return ret;
	if (result.mapped != (work->end - work->start) >> PAGE_SHIFT)
		return -EFAULT;
	return 0;
}

static void bench_toolbox_stats(struct bench_mirror *bm,
				struct hmm_bench_mirror_stats *stats)
{
	struct hmm_mirror_stats counters;

	hmm_mirror_get_stats(&bm->mirror, &counters);
	stats->invalidations = counters.invalidations;
	stats->retries = counters.retries;
	stats->pages = counters.mapped_pages;
	stats->entries = counters.mapped_entries;
}

const struct bench_kind bench_toolbox = {
	.attach = bench_toolbox_attach,
	.detach = bench_toolbox_detach,
	.fault = bench_toolbox_fault,
	.prefetch = bench_toolbox_prefetch,
	.stats = bench_toolbox_stats,
};
