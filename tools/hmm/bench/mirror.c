// SPDX-License-Identifier: GPL-2.0
/*
 * The measuring program: mirrors of process memory for a device that does
 * nothing, by way of the measuring module for mirrors.
 *
 * With the HMM toolbox what it does is measured, on a kernel without it what a
 * driver by hand does at the least: the bare core calls.  On a kernel that has the
 * toolbox both are measured on the same memory, one after the other, and the
 * difference is the toolbox's share.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"
#include "hmm_bench_mirror.h"

#define PER_FAULT	"instructions/fault"
#define PER_PAGE	"instructions/page"
#define PER_CALL	"instructions/call"

#define SIZE_64K	(64UL << 10)
#define PREFETCH	(64UL << 20)
#define THREADS		HMM_BENCH_MIRROR_MAX_THREADS

/* One open file of the module. */
struct mirror {
	int fd;
	int toolbox;
};

static int mirror_open(const struct row *row, struct mirror *mirror,
		       int toolbox, unsigned int flags, const char *start,
		       size_t size, size_t around)
{
	struct hmm_bench_mirror_register reg = {
		.kind = toolbox ? HMM_BENCH_MIRROR_TOOLBOX :
				  HMM_BENCH_MIRROR_BARE,
		.flags = flags,
		.start = (uintptr_t)start,
		.end = (uintptr_t)start + size,
		.around = around,
	};

	mirror->toolbox = toolbox;
	mirror->fd = open("/dev/hmm_bench_mirror", O_RDWR | O_CLOEXEC);
	if (mirror->fd < 0)
		return fail(row, "/dev/hmm_bench_mirror: %s", strerror(errno));
	if (ioctl(mirror->fd, HMM_BENCH_MIRROR_REGISTER, &reg)) {
		fail(row, "register: %s", strerror(errno));
		close(mirror->fd);
		return -1;
	}
	return 0;
}

static void mirror_close(const struct mirror *mirror)
{
	close(mirror->fd);
}

static int mirror_stats(const struct row *row, const struct mirror *mirror,
			struct hmm_bench_mirror_stats *stats)
{
	if (ioctl(mirror->fd, HMM_BENCH_MIRROR_STATS, stats))
		return fail(row, "statistics: %s", strerror(errno));
	return 0;
}

static int mirror_run(const struct row *row, const struct mirror *mirror,
		      struct hmm_bench_mirror_run *run)
{
	if (ioctl(mirror->fd, HMM_BENCH_MIRROR_RUN, run))
		return fail(row, "operation %u: %s", run->op, strerror(errno));
	return 0;
}

static double nr_faults(const struct hmm_bench_mirror_run *run)
{
	return (double)run->length / run->step * run->loops;
}

/*
 * Faults; 0 threads are the caller.  @pages and @entries, for each fault, is what
 * the toolbox has to map; 0 entries: any number.
 */
static int mirror_fault(const struct row *row, const struct mirror *mirror,
			struct hmm_bench_mirror_run *run, size_t pages,
			size_t entries)
{
	struct hmm_bench_mirror_stats before, after;
	double faults = nr_faults(run);

	run->op = HMM_BENCH_MIRROR_FAULT;
	if (mirror_stats(row, mirror, &before) ||
	    mirror_run(row, mirror, run) ||
	    mirror_stats(row, mirror, &after))
		return -1;
	if (after.retries != before.retries)
		return fail(row, "%llu walks repeated",
			    (unsigned long long)(after.retries - before.retries));
	if (!mirror->toolbox)
		return 0;
	if (after.pages - before.pages != faults * pages ||
	    (entries && after.entries - before.entries != faults * entries))
		return fail(row, "%llu pages in %llu entries mapped by %.0f faults",
			    (unsigned long long)(after.pages - before.pages),
			    (unsigned long long)(after.entries - before.entries),
			    faults);
	return 0;
}

/* Device faults on memory that is present */

struct fault_case {
	enum kind kind;
	size_t around;
	size_t step;
	unsigned int loops;
	size_t entries;		/* for each fault; 0: any number */
	double target;		/* for the toolbox's share; 0: none */
};

static const struct fault_case fault_cases[] = {
	[MIRROR_4K] = { KIND_4K, PAGE, PAGE, 1, 1, 300 },
	[MIRROR_AROUND] = { KIND_4K, SIZE_64K, SIZE_64K, 8, 0, 0 },
	[MIRROR_64K] = { KIND_64K, SIZE_64K, SIZE_64K, 8, 1, 0 },
	[MIRROR_2M] = { KIND_THP, SIZE_64K, CHUNK, 128, 1, 1000 },
};

/* One chunk; returns instructions per fault or -1. */
static double fault_chunk(const struct row *row, const struct mirror *mirror,
			  const struct fault_case *test, const char *chunk)
{
	struct hmm_bench_mirror_run run = {
		.flags = HMM_BENCH_MIRROR_WRITE,
		.addr = (uintptr_t)chunk,
		.length = CHUNK,
		.step = test->step,
		.loops = test->loops,
	};

	if (mirror_fault(row, mirror, &run, test->step / PAGE, test->entries))
		return -1;
	return (double)run.ns / nr_faults(&run);
}

struct fault_series {
	struct series toolbox;
	struct series bare;
	struct series share;
};

/* The first round makes what is made once for each 2 MiB, and is not counted. */
static int fault_rounds(const struct row *row, const struct fault_case *test,
			const struct mirror *toolbox, const struct mirror *bare,
			const char *region, struct fault_series *series)
{
	double with = 0, without;
	int round;
	size_t i;

	for (round = 0; round < 1 + ROUNDS; round++) {
		for (i = 0; i < REGION; i += CHUNK) {
			if (toolbox)
				with = fault_chunk(row, toolbox, test, region + i);
			without = fault_chunk(row, bare, test, region + i);
			if (with < 0 || without < 0)
				return -1;
			if (!round)
				continue;
			sample(&series->toolbox, with, 0);
			sample(&series->bare, without, 0);
			sample(&series->share, with - without, 0);
		}
	}
	return 0;
}

int measure_mirror_fault(const struct row *row, int size)
{
	const struct fault_case *test = &fault_cases[size];
	struct fault_series series = { .toolbox.nr = 0 };
	int toolbox = driver_toolbox(row), err;
	struct mirror with, bare;
	char *region;

	if (toolbox < 0)
		return -1;
	region = region_new(row, test->kind, REGION);
	if (!region)
		return -1;
	err = region_populate(row, region, test->kind, REGION);
	if (!err)
		err = mirror_open(row, &bare, 0, 0, region, REGION,
				  test->around);
	if (err)
		goto free;
	if (toolbox)
		err = mirror_open(row, &with, 1, 0, region, REGION,
				  test->around);
	if (!err) {
		err = fault_rounds(row, test, toolbox ? &with : NULL, &bare,
				   region, &series);
		if (toolbox)
			mirror_close(&with);
	}
	mirror_close(&bare);
free:
	region_free(region, REGION);
	if (err)
		return -1;
	if (!toolbox) {
		emit(row, "", PER_FAULT, &series.bare, NULL);
		return 0;
	}
	emit(row, "", PER_FAULT, &series.toolbox, NULL);
	emit(row, "bare calls", PER_FAULT, &series.bare, NULL);
	emit_target(row, "toolbox's share", PER_FAULT, &series.share,
		    test->target);
	return 0;
}

/* Prefetch */

struct prefetch_case {
	enum kind kind;
	int populated;
};

static const struct prefetch_case prefetch_cases[] = {
	[PREFETCH_4K] = { KIND_4K, 1 },
	[PREFETCH_THP] = { KIND_THP, 1 },
	[PREFETCH_HOLES_4K] = { KIND_4K, 0 },
	[PREFETCH_HOLES_THP] = { KIND_THP, 0 },
};

/* The whole region; returns instructions per page or -1. */
static double prefetch(const struct row *row, const struct mirror *mirror,
		       const char *region)
{
	struct hmm_bench_mirror_run run = {
		.op = HMM_BENCH_MIRROR_PREFETCH,
		.flags = HMM_BENCH_MIRROR_WRITE,
		.addr = (uintptr_t)region,
		.length = PREFETCH,
	};
	struct hmm_bench_mirror_stats before, after;

	if (mirror_stats(row, mirror, &before) ||
	    mirror_run(row, mirror, &run) ||
	    mirror_stats(row, mirror, &after))
		return -1;
	if (mirror->toolbox && after.pages - before.pages != PREFETCH / PAGE)
		return fail(row, "%llu pages mapped",
			    (unsigned long long)(after.pages - before.pages));
	return (double)run.ns / (PREFETCH / PAGE);
}

/* In fresh memory. */
static int prefetch_round(const struct row *row,
			  const struct prefetch_case *test, int toolbox,
			  struct series *series)
{
	long before = kind_allocations(test->kind), got;
	struct mirror mirror;
	double result = 0;
	char *region;
	int err = 0;

	region = region_new(row, test->kind, PREFETCH);
	if (!region)
		return -1;
	if (test->populated)
		err = region_populate(row, region, test->kind, PREFETCH);
	if (!err)
		err = mirror_open(row, &mirror, toolbox, 0, region, PREFETCH,
				  PAGE);
	if (!err) {
		/* What is made once for each 2 MiB is there the second time. */
		if (test->populated)
			result = prefetch(row, &mirror, region);
		if (result >= 0)
			result = prefetch(row, &mirror, region);
		mirror_close(&mirror);
		err = result < 0;
	}
	got = kind_allocations(test->kind) - before;
	if (!err && got != kind_folios(test->kind, PREFETCH))
		err = fail(row, "%ld of %ld large folios allocated", got,
			   kind_folios(test->kind, PREFETCH));
	region_free(region, PREFETCH);
	if (!err)
		sample(series, result, 0);
	return err ? -1 : 0;
}

int measure_mirror_prefetch(const struct row *row, int what)
{
	const struct prefetch_case *test = &prefetch_cases[what];
	const struct contents contents = { .zeroed = !test->populated };
	int toolbox = driver_toolbox(row), round;
	struct series series = { .nr = 0 };

	if (toolbox < 0)
		return -1;
	for (round = 0; round < 2 * ROUNDS; round++)
		if (prefetch_round(row, test, toolbox, &series))
			return -1;
	emit(row, "", PER_PAGE, &series, &contents);
	return 0;
}

/* Invalidation */

/* Let the device map the first page of each of so many chunks. */
static int map_pieces(const struct row *row, const struct mirror *mirror,
		      const char *first, int pieces)
{
	struct hmm_bench_mirror_run run = {
		.addr = (uintptr_t)first,
		.length = pieces * CHUNK,
		.step = CHUNK,
		.loops = 1,
	};

	return mirror_fault(row, mirror, &run, 1, 1);
}

/* The page at @page is written and mapped; time how long it takes to drop it. */
static int drop_page(const struct row *row, const struct mirror *mirror,
		     char *page, struct series *series)
{
	struct hmm_bench_mirror_stats before, after;
	uint64_t start;
	int err;

	if (mirror && mirror_stats(row, mirror, &before))
		return -1;
	start = now();
	err = madvise(page, PAGE, MADV_DONTNEED);
	sample(series, elapsed(start), 0);
	if (err)
		return fail(row, "madvise: %s", strerror(errno));
	if (!mirror)
		return 0;
	if (mirror_stats(row, mirror, &after))
		return -1;
	if (after.invalidations - before.invalidations != 1)
		return fail(row, "%llu pieces were invalidated",
			    (unsigned long long)(after.invalidations -
						 before.invalidations));
	return 0;
}

static int drop_pages(const struct row *row, const struct mirror *mirror,
		      char *region, int pieces, struct series *series)
{
	int err = 0, i;

	for (i = 0; i < 64 && !err; i++) {
		/* here and there; a prime, so that it comes to all of them */
		char *page = region + (i * 7919UL % (pieces ? pieces : 1)) * CHUNK;

		store((uint64_t *)page, i);
		if (mirror)
			err = map_pieces(row, mirror, page, 1);
		if (!err)
			err = drop_page(row, mirror, page, series);
	}
	return err;
}

/* Of one page, while so many chunks are mapped; 0: without a mirror. */
int measure_mirror_invalidate(const struct row *row, int pieces)
{
	size_t size = (pieces ? pieces : 1) * CHUNK, i;
	struct series series = { .nr = 0 };
	int toolbox = driver_toolbox(row);
	struct mirror mirror;
	char *region;
	int err = 0;

	if (toolbox < 0)
		return -1;
	region = region_new(row, KIND_4K, size);
	if (!region)
		return -1;
	/* the zero page everywhere */
	for (i = 0; i < size; i += CHUNK)
		touch(region + i);
	if (!pieces) {
		err = drop_pages(row, NULL, region, 0, &series);
	} else {
		err = mirror_open(row, &mirror, toolbox, 0, region, size, PAGE);
		if (!err) {
			err = map_pieces(row, &mirror, region, pieces);
			if (!err)
				err = drop_pages(row, &mirror, region, pieces,
						 &series);
			mirror_close(&mirror);
		}
	}
	region_free(region, size);
	if (!err)
		emit(row, "", PER_CALL, &series, NULL);
	return err;
}

/* Threads */

struct thread_series {
	struct series one;
	struct series all;
	struct series ratio;
	struct series waits;
};

/*
 * Each thread has as much to do as the only one.  Only what the locks cost makes
 * a difference: in virtual time one instruction takes as long as any other.
 */
static int thread_rounds(const struct row *row, const struct mirror *mirror,
			 const char *region, int shared,
			 struct thread_series *series)
{
	size_t part = shared ? CHUNK / THREADS : CHUNK;
	struct hmm_bench_mirror_run one = {
		.flags = HMM_BENCH_MIRROR_WRITE,
		.addr = (uintptr_t)region,
		.length = part,
		.step = PAGE,
		.loops = shared ? 4 * THREADS : 4,
		.threads = 1,
	};
	struct hmm_bench_mirror_run all = one;
	double of_one, of_all;
	int round;

	all.length = THREADS * part;
	all.threads = THREADS;
	for (round = 0; round < 1 + 4 * ROUNDS; round++) {
		if (mirror_fault(row, mirror, &one, 1, 1) ||
		    mirror_fault(row, mirror, &all, 1, 1))
			return -1;
		/* The first makes what is made once for each 2 MiB. */
		if (!round)
			continue;
		of_one = one.ns / nr_faults(&one);
		of_all = all.ns / nr_faults(&all);
		sample(&series->one, of_one, 0);
		sample(&series->all, of_all, 0);
		sample(&series->ratio, of_all / of_one, 0);
		sample(&series->waits, all.waits / nr_faults(&all), 0);
	}
	return 0;
}

int measure_mirror_threads(const struct row *row, int shared)
{
	size_t size = shared ? CHUNK : THREADS * CHUNK;
	struct thread_series series = { .one.nr = 0 };
	int toolbox = driver_toolbox(row), err;
	struct mirror mirror;
	char *region;

	if (toolbox < 0)
		return -1;
	if (sysconf(_SC_NPROCESSORS_ONLN) < (long)THREADS)
		return fail(row, "needs %u CPUs", THREADS);
	region = region_new(row, KIND_4K, size);
	if (!region)
		return -1;
	err = region_populate(row, region, KIND_4K, size);
	if (!err)
		err = mirror_open(row, &mirror, toolbox, HMM_BENCH_MIRROR_YIELD,
				  region, size, PAGE);
	if (!err) {
		err = thread_rounds(row, &mirror, region, shared, &series);
		mirror_close(&mirror);
	}
	region_free(region, size);
	if (err)
		return -1;
	emit(row, "", PER_FAULT, &series.all, NULL);
	emit(row, "1 thread", PER_FAULT, &series.one, NULL);
	emit_target(row, "8 threads : 1", "ratio", &series.ratio, 1.3);
	emit(row, "lock waits", "waits/fault", &series.waits, NULL);
	return 0;
}
