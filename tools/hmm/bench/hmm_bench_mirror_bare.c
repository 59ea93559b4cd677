// SPDX-License-Identifier: GPL-2.0
/*
 * Measuring module for mirrors: by hand, with the bare core calls that no driver
 * can do without.
 */
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/processor.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "hmm_bench_mirror_kind.h"

/* 2 MiB of a mirror. */
struct bench_piece {
	struct mmu_interval_notifier notifier;
	struct mutex update_lock;	/* of the device page table */
	struct bench_mirror *bm;
};

static bool bench_bare_invalidate(struct mmu_interval_notifier *notifier,
				  const struct mmu_notifier_range *range,
				  unsigned long cur_seq)
{
	struct bench_piece *piece = container_of(notifier, struct bench_piece,
						 notifier);

	if (mmu_notifier_range_blockable(range))
		mutex_lock(&piece->update_lock);
	else if (!mutex_trylock(&piece->update_lock))
		return false;
	mmu_interval_set_seq(notifier, cur_seq);
	atomic64_inc(&piece->bm->invalidations);
	mutex_unlock(&piece->update_lock);
	return true;
}

static const struct mmu_interval_notifier_ops bench_bare_notifier_ops = {
	.invalidate = bench_bare_invalidate,
};

static void bench_bare_detach(struct bench_mirror *bm)
{
	while (bm->nr_pieces) {
		struct bench_piece *piece = &bm->pieces[--bm->nr_pieces];

		mmu_interval_notifier_remove(&piece->notifier);
		mutex_destroy(&piece->update_lock);
	}
	kvfree(bm->pieces);
	bm->pieces = NULL;
}

static int bench_bare_attach(struct bench_mirror *bm)
{
	unsigned long nr = (bm->end - bm->start) >> PMD_SHIFT, i;
	int ret;

	atomic64_set(&bm->invalidations, 0);
	atomic64_set(&bm->retries, 0);
	bm->pieces = kvcalloc(nr, sizeof(*bm->pieces), GFP_KERNEL);
	if (!bm->pieces)
		return -ENOMEM;
	for (i = 0; i < nr; i++) {
		struct bench_piece *piece = &bm->pieces[i];

		piece->bm = bm;
		mutex_init(&piece->update_lock);
		ret = mmu_interval_notifier_insert(&piece->notifier, bm->mm,
						   bm->start + i * PMD_SIZE,
						   PMD_SIZE,
						   &bench_bare_notifier_ops);
		if (ret) {
			bench_bare_detach(bm);
			return ret;
		}
		bm->nr_pieces++;
	}
	return 0;
}

/* What each driver does, for a range within one piece. */
static int bench_bare_walk(struct bench_work *work, unsigned long start,
			   unsigned long end, unsigned long flags)
{
	struct bench_mirror *bm = work->bm;
	struct bench_piece *piece =
		&bm->pieces[(start - bm->start) >> PMD_SHIFT];
	struct hmm_range range = {
		.notifier = &piece->notifier,
		.start = start,
		.end = end,
		.hmm_pfns = work->pfns,
		.default_flags = flags,
	};
	int ret;

	for (;;) {
		range.notifier_seq = mmu_interval_read_begin(range.notifier);
		mmap_read_lock(bm->mm);
		ret = hmm_range_fault(&range);
		mmap_read_unlock(bm->mm);
		if (ret && ret != -EBUSY)
			return ret;
		if (!ret) {
			mutex_lock(&piece->update_lock);
			if (!mmu_interval_read_retry(range.notifier,
						     range.notifier_seq)) {
				if (bm->yield)
					cpu_relax();
				mutex_unlock(&piece->update_lock);
				return 0;
			}
			mutex_unlock(&piece->update_lock);
		}
		atomic64_inc(&bm->retries);
		if (fatal_signal_pending(current))
			return -EINTR;
	}
}

static int bench_bare_fault(struct bench_work *work)
{
	unsigned long around = work->bm->around, addr, start;
	unsigned int i;
	int ret;

	work->nr_pfns = around >> PAGE_SHIFT;
	for (i = 0; i < work->loops; i++) {
		for (addr = work->start; addr < work->end; addr += work->step) {
			start = ALIGN_DOWN(addr, around);
			ret = bench_bare_walk(work, start, start + around, 0);
			if (ret)
				return ret;
		}
	}
	return 0;
}

static int bench_bare_prefetch(struct bench_work *work)
{
	unsigned long flags = HMM_PFN_REQ_FAULT, addr;
	int ret;

	if (work->write)
		flags |= HMM_PFN_REQ_WRITE;
	work->nr_pfns = BENCH_PIECE_PAGES;
	for (addr = work->start; addr < work->end; addr += PMD_SIZE) {
		ret = bench_bare_walk(work, addr, addr + PMD_SIZE, flags);
		if (ret)
			return ret;
	}
	return 0;
}

static void bench_bare_stats(struct bench_mirror *bm,
			     struct hmm_bench_mirror_stats *stats)
{
	stats->invalidations = atomic64_read(&bm->invalidations);
	stats->retries = atomic64_read(&bm->retries);
}

const struct bench_kind bench_bare = {
	.attach = bench_bare_attach,
	.detach = bench_bare_detach,
	.fault = bench_bare_fault,
	.prefetch = bench_bare_prefetch,
	.stats = bench_bare_stats,
};
