// SPDX-License-Identifier: GPL-2.0
/*
 * The measuring program: operations of the kernel's core, by way of the
 * measuring module.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#define PER_PAGE	"instructions/page"
#define PER_CALL	"instructions/call"
#define PER_2M		"instructions/2M"

/* One operation on a chunk, or on as many bytes as length says. */
static int run_op(const struct row *row, struct hmm_bench_run *run,
		  enum hmm_bench_op op, unsigned int flags, void *addr,
		  size_t length, size_t pages)
{
	memset(run, 0, sizeof(*run));
	run->op = op;
	run->flags = flags;
	run->addr = (uintptr_t)addr;
	run->length = length;
	if (bench_run(row, run))
		return -1;
	if (run->pages != pages)
		return fail(row, "operation %u did %llu of %zu pages", op,
			    (unsigned long long)run->pages, pages);
	return 0;
}

static double flushes(const struct hmm_bench_run *run)
{
	return (double)(run->flush_local + run->flush_remote) / CHUNK_PAGES;
}

int measure_yardstick(const struct row *row, int op)
{
	struct series series = { .nr = 0 };
	struct hmm_bench_run run;
	char *page = NULL;
	int i, err = 0;

	if (op == HMM_BENCH_TO_USER) {
		page = region_new(row, KIND_4K, CHUNK);
		if (!page)
			return -1;
		err = region_populate(row, page, KIND_4K, CHUNK);
	}
	for (i = 0; i < 32 && !err; i++) {
		err = run_op(row, &run, op, 0, page, CHUNK_PAGES, CHUNK_PAGES);
		if (!err)
			sample(&series, (double)run.ns[HMM_BENCH_NS] / CHUNK_PAGES,
			       0);
	}
	if (page)
		region_free(page, CHUNK);
	if (!err)
		emit(row, "", PER_PAGE, &series, NULL);
	return err;
}

int measure_snapshot(const struct row *row, int kind)
{
	struct series series = { .nr = 0 };
	char *region = region_new(row, kind, REGION);
	struct hmm_bench_run run;
	int err, round;
	size_t i;

	if (!region)
		return -1;
	err = region_populate(row, region, kind, REGION);
	for (round = 0; round < ROUNDS && !err; round++) {
		for (i = 0; i < REGION && !err; i += CHUNK) {
			err = run_op(row, &run, HMM_BENCH_SNAPSHOT, 0,
				     region + i, CHUNK, CHUNK_PAGES);
			if (!err)
				sample(&series, (double)run.ns[HMM_BENCH_NS] /
				       CHUNK_PAGES, flushes(&run));
		}
	}
	region_free(region, REGION);
	if (!err)
		emit(row, "", PER_PAGE, &series, NULL);
	return err;
}

int measure_fault(const struct row *row, int kind)
{
	static const struct contents contents = { .zeroed = 1 };
	struct series series = { .nr = 0 };
	struct hmm_bench_run run;
	int err = 0, round;
	size_t i;

	for (round = 0; round < ROUNDS && !err; round++) {
		char *region = region_new(row, kind, REGION);
		long before = kind_allocations(kind), got;

		if (!region)
			return -1;
		for (i = 0; i < REGION && !err; i += CHUNK) {
			err = run_op(row, &run, HMM_BENCH_FAULT, HMM_BENCH_WRITE,
				     region + i, CHUNK, CHUNK_PAGES);
			if (!err)
				sample(&series, (double)run.ns[HMM_BENCH_NS] /
				       CHUNK_PAGES, flushes(&run));
		}
		got = kind_allocations(kind) - before;
		if (!err && got != kind_folios(kind, REGION))
			err = fail(row, "%ld of %ld large folios allocated",
				   got, kind_folios(kind, REGION));
		region_free(region, REGION);
	}
	if (!err)
		emit(row, "", PER_PAGE, &series, &contents);
	return err;
}

int measure_fault_missing(const struct row *row, int page)
{
	static const struct contents contents = { .zeroed = 1 };
	struct series series = { .nr = 0 };
	char *region = region_new(row, KIND_4K, REGION);
	struct hmm_bench_run run;
	int err, round;
	size_t i;

	if (!region)
		return -1;
	err = region_populate(row, region, KIND_4K, REGION);
	for (round = 0; round < ROUNDS && !err; round++) {
		for (i = 0; i < REGION && !err; i += CHUNK) {
			if (madvise(region + i + page * PAGE, PAGE,
				    MADV_DONTNEED)) {
				err = fail(row, "madvise: %s", strerror(errno));
				break;
			}
			err = run_op(row, &run, HMM_BENCH_FAULT, HMM_BENCH_WRITE,
				     region + i, CHUNK, CHUNK_PAGES);
			if (!err)
				sample(&series, run.ns[HMM_BENCH_NS],
				       flushes(&run) * CHUNK_PAGES);
		}
	}
	region_free(region, REGION);
	if (!err)
		emit(row, "", PER_2M, &series, &contents);
	return err;
}

/* Read each page, then fault all for writing in one go. */
int measure_fault_zero(const struct row *row, int pmds)
{
	static const struct contents contents = { .zeroed = 1 };
	struct series time = { .nr = 0 }, walks = { .nr = 0 };
	size_t size = pmds * CHUNK, pages = pmds * CHUNK_PAGES, i;
	struct hmm_bench_run run;
	int err = 0, round;

	for (round = 0; round < 2 * ROUNDS && !err; round++) {
		char *region = region_new(row, KIND_4K, size);

		if (!region)
			return -1;
		for (i = 0; i < size; i += PAGE)
			touch(region + i);
		err = run_op(row, &run, HMM_BENCH_FAULT, HMM_BENCH_WRITE, region,
			     size, pages);
		if (!err) {
			sample(&time, (double)run.ns[HMM_BENCH_NS] / pages,
			       flushes(&run) / pmds);
			sample(&walks, run.walks, 0);
		}
		region_free(region, size);
	}
	if (!err) {
		emit(row, "", PER_PAGE, &time, &contents);
		emit(row, "walks", "walks", &walks, NULL);
	}
	return err;
}

struct phases {
	struct series phase[HMM_BENCH_PHASES];
	struct series total;
};

static void phases_sample(struct phases *p, const struct hmm_bench_run *run)
{
	uint64_t total = 0;
	int i;

	for (i = 0; i < HMM_BENCH_PHASES; i++) {
		sample(&p->phase[i], (double)run->ns[i] / CHUNK_PAGES, 0);
		total += run->ns[i];
	}
	sample(&p->total, (double)total / CHUNK_PAGES, flushes(run));
}

static void phases_emit(const struct row *row, const struct phases *p)
{
	static const char * const name[HMM_BENCH_PHASES] = {
		[HMM_BENCH_NS_SETUP] = "setup",
		[HMM_BENCH_NS_PAGES] = "pages",
		[HMM_BENCH_NS_FINALIZE] = "finalize",
	};
	int i;

	emit(row, "", PER_PAGE, &p->total, NULL);
	for (i = 0; i < HMM_BENCH_PHASES; i++)
		emit(row, name[i], PER_PAGE, &p->phase[i], NULL);
}

/* There and back, chunk by chunk, in fresh memory each round. */
static int round_trips(const struct row *row, enum kind kind,
		       struct phases *to_device, struct phases *to_ram)
{
	struct hmm_bench_run run;
	int err = 0, round;
	size_t i;

	for (round = 0; round < ROUNDS && !err; round++) {
		char *region = region_new(row, kind, REGION);

		if (!region)
			return -1;
		err = region_populate(row, region, kind, REGION);
		for (i = 0; i < REGION && !err; i += CHUNK) {
			err = run_op(row, &run, HMM_BENCH_TO_DEVICE,
				     HMM_BENCH_COMPOUND, region + i, CHUNK,
				     CHUNK_PAGES);
			if (err)
				break;
			phases_sample(to_device, &run);
			err = run_op(row, &run, HMM_BENCH_TO_RAM,
				     HMM_BENCH_COMPOUND, region + i, CHUNK,
				     CHUNK_PAGES);
			if (!err)
				phases_sample(to_ram, &run);
		}
		region_free(region, REGION);
	}
	return err;
}

int measure_to_device(const struct row *row, int kind)
{
	struct phases to_device = { .total.nr = 0 }, to_ram = { .total.nr = 0 };

	if (round_trips(row, kind, &to_device, &to_ram))
		return -1;
	phases_emit(row, &to_device);
	return 0;
}

int measure_to_ram(const struct row *row, int kind)
{
	struct phases to_device = { .total.nr = 0 }, to_ram = { .total.nr = 0 };

	if (round_trips(row, kind, &to_device, &to_ram))
		return -1;
	phases_emit(row, &to_ram);
	return 0;
}

/* The first page of a mapping, so that one mapping becomes two and one again. */
int measure_mprotect(const struct row *row, int notifiers)
{
	struct series protect = { .nr = 0 }, unprotect = { .nr = 0 };
	char *page = region_new(row, KIND_4K, CHUNK), *region = page;
	struct hmm_bench_run run;
	uint64_t start;
	int err, i;

	if (!region)
		return -1;
	err = region_populate(row, region, KIND_4K, CHUNK);
	if (!err && notifiers)
		err = run_op(row, &run, HMM_BENCH_NOTIFIERS, 0, region,
			     notifiers * PAGE, notifiers);
	for (i = 0; i < 64 && !err; i++) {
		start = now();
		err = mprotect(page, PAGE, PROT_READ);
		sample(&protect, elapsed(start), 0);
		if (err)
			break;
		start = now();
		err = mprotect(page, PAGE, PROT_READ | PROT_WRITE);
		sample(&unprotect, elapsed(start), 0);
		/* make the entry writable again for the next turn */
		store((uint64_t *)page, i);
	}
	if (i < 64 && err)
		fail(row, "mprotect: %s", strerror(errno));
	if (notifiers && run_op(row, &run, HMM_BENCH_NOTIFIERS, 0, region, 0, 0))
		err = -1;
	region_free(region, CHUNK);
	if (!err) {
		emit(row, "read-only", PER_CALL, &protect, NULL);
		emit(row, "writable", PER_CALL, &unprotect, NULL);
	}
	return err ? -1 : 0;
}

/*
 * The difference of two sizes leaves out what each call costs however large
 * the memory is.
 */
int measure_hotplug(const struct row *row, int unused)
{
	static const size_t small = 2 * HMM_BENCH_HOTPLUG_UNIT;
	static const size_t large = 4 * HMM_BENCH_HOTPLUG_UNIT;
	struct series add = { .nr = 0 };
	struct hmm_bench_run a, b;
	int i;

	for (i = 0; i < 7; i++) {
		if (run_op(row, &a, HMM_BENCH_HOTPLUG, 0, NULL, small,
			   small / PAGE) ||
		    run_op(row, &b, HMM_BENCH_HOTPLUG, 0, NULL, large,
			   large / PAGE))
			return -1;
		sample(&add, ((double)b.ns[HMM_BENCH_NS_ADD] -
			      (double)a.ns[HMM_BENCH_NS_ADD]) /
			     ((large - small) / PAGE), 0);
	}
	emit(row, "", PER_PAGE, &add, NULL);
	return 0;
}

static uint64_t spin_stop, spin_count;

/* Keeps the address space in use on the second CPU. */
static void *spin(void *unused)
{
	while (!load(&spin_stop)) {
		store(&spin_count, spin_count + 1);
		__builtin_ia32_pause();
	}
	return NULL;
}

static int spin_start(const struct row *row, pthread_t *thread)
{
	pthread_attr_t attr;
	cpu_set_t cpu;
	int err;

	store(&spin_stop, 0);
	CPU_ZERO(&cpu);
	CPU_SET(1, &cpu);
	pthread_attr_init(&attr);
	pthread_attr_setaffinity_np(&attr, sizeof(cpu), &cpu);
	err = pthread_create(thread, &attr, spin, NULL);
	pthread_attr_destroy(&attr);
	if (err)
		return fail(row, "second thread: %s", strerror(err));
	return 0;
}

/* Until the second CPU is in user space, not in a kernel thread. */
static void spin_wait(void)
{
	uint64_t count = load(&spin_count);

	while (load(&spin_count) - count < 2)
		__builtin_ia32_pause();
}

int measure_shootdown(const struct row *row, int kind)
{
	struct series series = { .nr = 0 };
	struct hmm_bench_run run;
	pthread_t thread;
	char *region;
	int err;
	size_t i;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		return fail(row, "needs two CPUs");
	region = region_new(row, kind, REGION);
	if (!region)
		return -1;
	err = region_populate(row, region, kind, REGION);
	if (!err)
		err = spin_start(row, &thread);
	if (!err) {
		for (i = 0; i < REGION && !err; i += CHUNK) {
			spin_wait();
			err = run_op(row, &run, HMM_BENCH_TO_DEVICE,
				     HMM_BENCH_COMPOUND, region + i, CHUNK,
				     CHUNK_PAGES);
			if (!err)
				sample(&series, run.flush_remote, 0);
		}
		store(&spin_stop, 1);
		pthread_join(thread, NULL);
	}
	region_free(region, REGION);
	if (!err)
		emit(row, "", "shootdowns/2M", &series, NULL);
	return err;
}
