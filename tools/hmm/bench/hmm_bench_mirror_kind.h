/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of the measuring module for mirrors share.
 */
#ifndef _HMM_BENCH_MIRROR_KIND_H
#define _HMM_BENCH_MIRROR_KIND_H

#include <linux/atomic.h>
#include <linux/hmm.h>
#include <linux/huge_mm.h>
#include <linux/mm.h>
#include <linux/mutex.h>

#include "hmm_bench_mirror.h"

#define BENCH_PIECE_PAGES	(PMD_SIZE >> PAGE_SHIFT)

struct bench_mirror;
struct bench_piece;
struct bench_team;
struct bench_work;

/* One way to mirror. */
struct bench_kind {
	int (*attach)(struct bench_mirror *bm);
	void (*detach)(struct bench_mirror *bm);
	int (*fault)(struct bench_work *work);
	int (*prefetch)(struct bench_work *work);
	void (*stats)(struct bench_mirror *bm,
		      struct hmm_bench_mirror_stats *stats);
};

/* One open file. */
struct bench_mirror {
	struct mutex run_lock;		/* one operation at a time; the rest */
	const struct bench_kind *kind;	/* NULL: nothing is mirrored */
	struct mm_struct *mm;		/* pinned by whoever mirrors it */
	unsigned long start;
	unsigned long end;
	unsigned long around;
	bool yield;

	/* bare only */
	struct bench_piece *pieces;
	unsigned long nr_pieces;
	atomic64_t invalidations;
	atomic64_t retries;

#if IS_ENABLED(CONFIG_HMM_HELPERS)
	struct hmm_mirror mirror;
#endif
};

/* What one thread has to do. */
struct bench_work {
	struct bench_mirror *bm;
	struct bench_team *team;
	struct task_struct *task;
	int (*run)(struct bench_work *work);
	unsigned long start;
	unsigned long end;
	unsigned long step;
	unsigned int loops;
	bool write;
	unsigned long *pfns;	/* what the last walk of a bare mirror found */
	unsigned long nr_pfns;
	u64 waits;
	u64 begin;		/* ns */
	u64 finish;
	int err;
};

extern const struct bench_kind bench_bare;	/* hmm_bench_mirror_bare.c */
extern const struct bench_kind bench_toolbox;	/* hmm_bench_mirror_toolbox.c */

#endif /* _HMM_BENCH_MIRROR_KIND_H */
