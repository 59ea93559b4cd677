// SPDX-License-Identifier: GPL-2.0
/*
 * What migration collects while other threads and other CPUs are at the same memory:
 * the walk survives a page table that goes away, pages that a CPU has just made move
 * like all others, a page table is flushed once, and what was dropped meanwhile does
 * not come back.
 *
 * HMM_RACE_MS: how long each race takes, 1000 without it
 */
#define _GNU_SOURCE
#include "cpu.h"
#include "memory.h"

/*
 * The first page table is dropped as a whole.  What the test has of the second one is
 * dropped in parts, and the rest is kept.
 */
#define PARTS		(256 * KIB)
#define PART		32
#define KEPT		(256 * KIB)
#define LENGTH		(HUGE + PARTS + KEPT)
/* Words from one that is looked at to the next, where things are dropped. */
#define STRIDE		64
/* Less than a CPU gathers before it puts pages on a list. */
#define FRESH		5
/* Each page on its own would take 512. */
#define FLUSHES		32
#define SLOW_MS		500	/* for a copy that others are to come before */

FIXTURE(collect)
{
	struct dmirror dev;
	struct hmm_dmirror_migrate result;
	char *data;
	size_t page;
	char old_64k[16], old_2m[16];	/* settings to restore */
	bool mthp;

	pthread_barrier_t start, end;	/* of the time in which things are dropped */
	unsigned int within_us;		/* how long that is */
	bool stop;
};

FIXTURE_VARIANT(collect)
{
	enum hmm_dmirror_memory memory;
};

FIXTURE_VARIANT_ADD(collect, private)
{
	.memory = PRIVATE,
};

FIXTURE_VARIANT_ADD(collect, cdm)
{
	.memory = CDM,
};

FIXTURE_SETUP(collect)
{
	OPEN_OR_SKIP(return, &self->dev, variant->memory, 0);
	self->page = page_size();
	/* Folios of 64 KiB, which migration splits. */
	self->mthp = set_control(THP_64K, "always", self->old_64k,
				 sizeof(self->old_64k)) &&
		     set_control(THP_2M, "never", self->old_2m,
				 sizeof(self->old_2m));
	self->data = reserve(LENGTH);
	ASSERT_NE(NULL, self->data);
	ASSERT_EQ(self->data, mmap(self->data, LENGTH, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
				   0));
}

FIXTURE_TEARDOWN(collect)
{
	if (self->mthp) {
		set_control(THP_64K, self->old_64k, NULL, 0);
		set_control(THP_2M, self->old_2m, NULL, 0);
	}
	dmirror_close(&self->dev);
}

static void drop_once(struct _test_data_collect *self, char *start, size_t length,
		      unsigned int *seed)
{
	pthread_barrier_wait(&self->start);
	if (!self->stop) {
		usleep(rand_r(seed) % self->within_us);
		madvise(start, length, MADV_DONTNEED);
		pthread_barrier_wait(&self->end);
	}
}

static void *drop_table(void *arg)
{
	struct _test_data_collect *self = arg;
	unsigned int seed = 1;

	while (!self->stop)
		drop_once(self, self->data, HUGE, &seed);
	return NULL;
}

static void *drop_parts(void *arg)
{
	struct _test_data_collect *self = arg;
	size_t nr = PARTS / self->page, first;
	unsigned int seed = 2;

	while (!self->stop) {
		first = rand_r(&seed) % (nr - PART);
		drop_once(self, self->data + HUGE + first * self->page,
			  (1 + rand_r(&seed) % PART) * self->page, &seed);
	}
	return NULL;
}

static void fill_some(char *start, size_t length, uint64_t seed)
{
	uint64_t *words = (uint64_t *)start;
	size_t i;

	for (i = 0; i < length / sizeof(*words); i += STRIDE)
		words[i] = pattern(seed, i);
}

/* Pages that have neither what fill_some() wrote nor nothing at all. */
static size_t wrong_pages(const char *start, size_t length, uint64_t seed,
			  size_t *dropped)
{
	size_t nr = page_size() / sizeof(uint64_t), first, i, wrong = 0;
	const uint64_t *words = (const uint64_t *)start;
	bool empty, right;

	for (first = 0; first < length / sizeof(*words); first += nr) {
		empty = !words[first];
		right = true;
		for (i = first; right && i < first + nr; i += STRIDE)
			right = words[i] == (empty ? 0 : pattern(seed, i));
		wrong += !right;
		*dropped += empty;
	}
	return wrong;
}

/*
 * Migration splits a folio and finds no page table when it goes on: what it has
 * collected up to there counts once, and there is nothing behind.
 */
TEST_F(collect, while_dropped)
{
	uint64_t end = now_us() + race_ms() * 1000ull, begin, sum, moved = 0;
	char *kept = self->data + HUGE + PARTS;
	size_t dropped = 0;
	pthread_t table, parts;
	unsigned int round;

	self->within_us = 10000;
	ASSERT_EQ(0, pthread_barrier_init(&self->start, NULL, 3));
	ASSERT_EQ(0, pthread_barrier_init(&self->end, NULL, 3));
	ASSERT_EQ(0, pthread_create(&table, NULL, drop_table, self));
	ASSERT_EQ(0, pthread_create(&parts, NULL, drop_parts, self));
	for (round = 1; now_us() < end || round <= 3; round++) {
		/* New folios. */
		ASSERT_EQ(0, madvise(self->data, LENGTH, MADV_DONTNEED));
		fill_some(self->data, LENGTH - KEPT, round);
		fill(kept, KEPT, round);

		pthread_barrier_wait(&self->start);
		begin = now_us();
		EXPECT_EQ(0, migrate(&self->dev, self->data, LENGTH,
				     HMM_DMIRROR_TO_DEVICE, &self->result));
		self->within_us = now_us() - begin + 1;
		pthread_barrier_wait(&self->end);

		EXPECT_EQ(LENGTH / self->page, self->result.moved +
			  self->result.filled + self->result.left);
		moved += self->result.moved;
		EXPECT_EQ(0, wrong_pages(self->data, LENGTH - KEPT, round,
					 &dropped));
		EXPECT_EQ(0, dmirror_sum(&self->dev, kept, KEPT, &sum));
		EXPECT_EQ(pattern_sum(KEPT, round), sum);
		EXPECT_EQ(0, differences(kept, KEPT, round));
	}
	self->stop = true;
	pthread_barrier_wait(&self->start);
	ASSERT_EQ(0, pthread_join(table, NULL));
	ASSERT_EQ(0, pthread_join(parts, NULL));
	TH_LOG("%u rounds, %llu pages moved, %zu dropped", round - 1,
	       (unsigned long long)moved, dropped);
	EXPECT_LT(0, moved);
	EXPECT_LT(0, dropped);
	ASSERT_EQ(0, munmap(self->data, LENGTH));
	EXPECT_EQ(0, memory_used(&self->dev));
}

struct other {
	char *data;
	bool spin;
	bool ready;
	bool stop;
};

/* Write on another CPU than the test, and stay there if wanted. */
static void *on_other_cpu(void *arg)
{
	struct other *other = arg;

	if (!run_on(1))
		return NULL;
	if (!other->spin)
		fill(other->data, FRESH * page_size(), 1);
	__atomic_store_n(&other->ready, true, __ATOMIC_RELEASE);
	while (other->spin && !__atomic_load_n(&other->stop, __ATOMIC_RELAXED))
		;
	return other;
}

/* Another CPU has not yet put its new pages on a list of the system's. */
TEST_F(collect, fresh_on_another_cpu)
{
	struct other other = {};
	pthread_t thread;
	void *done;
	int i;

	if (!run_on(1) || !run_on(0))
		SKIP(return, "needs two CPUs");
	for (i = 0; i < 20; i++) {
		other.data = map_pages(FRESH);
		ASSERT_NE(NULL, other.data);
		ASSERT_EQ(0, pthread_create(&thread, NULL, on_other_cpu,
					    &other));
		ASSERT_EQ(0, pthread_join(thread, &done));
		ASSERT_NE(NULL, done);
		EXPECT_EQ(0, migrate(&self->dev, other.data, FRESH * self->page,
				     HMM_DMIRROR_TO_DEVICE, &self->result));
		EXPECT_EQ(FRESH, self->result.moved);
		EXPECT_EQ(0, differences(other.data, FRESH * self->page, 1));
		ASSERT_EQ(0, munmap(other.data, FRESH * self->page));
	}
}

/* Another CPU has the pages in its TLB. */
TEST_F(collect, flushes)
{
	struct other other = { .spin = true };
	long before, flushes;
	pthread_t thread;
	void *done;

	if (read_number("/proc/vmstat", "nr_tlb_remote_flush ") < 0)
		SKIP(return, "the kernel does not count flushes of the TLB");
	if (!run_on(1) || !run_on(0))
		SKIP(return, "needs two CPUs");
	ASSERT_EQ(0, madvise(self->data, HUGE, MADV_NOHUGEPAGE));
	fill(self->data, HUGE, 1);
	ASSERT_EQ(0, pthread_create(&thread, NULL, on_other_cpu, &other));
	while (!__atomic_load_n(&other.ready, __ATOMIC_ACQUIRE))
		sched_yield();

	before = read_number("/proc/vmstat", "nr_tlb_remote_flush ");
	EXPECT_EQ(0, migrate(&self->dev, self->data, HUGE, HMM_DMIRROR_TO_DEVICE,
			     &self->result));
	flushes = read_number("/proc/vmstat", "nr_tlb_remote_flush ") - before;

	__atomic_store_n(&other.stop, true, __ATOMIC_RELAXED);
	ASSERT_EQ(0, pthread_join(thread, &done));
	ASSERT_NE(NULL, done);
	EXPECT_EQ(HUGE / self->page, self->result.moved);
	TH_LOG("%ld flushes for %llu pages", flushes,
	       (unsigned long long)self->result.moved);
	/* Only with the patches of the series. */
	if (!getenv("HMM_UNMODIFIED_KERNEL"))
		EXPECT_GE(FLUSHES, flushes);
	EXPECT_EQ(0, differences(self->data, HUGE, 1));
}

struct mover {
	pthread_t thread;
	struct _test_data_collect *test;
	bool go;
	bool done;
	int err;
};

static void *move_some(void *arg)
{
	struct mover *mover = arg;
	struct hmm_dmirror_migrate result;
	struct _test_data_collect *self = mover->test;

	while (!__atomic_load_n(&mover->go, __ATOMIC_ACQUIRE))
		usleep(1000);
	mover->err = migrate(&self->dev, self->data, FRESH * self->page,
			     HMM_DMIRROR_TO_DEVICE, &result);
	__atomic_store_n(&mover->done, true, __ATOMIC_RELEASE);
	return NULL;
}

/*
 * Move the same range twice at a time, with copies that take @slow_ms, and other pages
 * there the second time.  True if both have collected before the first was done.
 */
static bool move_twice(struct __test_metadata *_metadata,
		       struct _test_data_collect *self, unsigned int slow_ms)
{
	struct mover movers[2] = {};
	size_t length = FRESH * self->page;
	bool both = false;
	int i;

	EXPECT_EQ(0, dmirror_inject(&self->dev, HMM_DMIRROR_INJECT_COPY_DELAY, 0,
				    2, slow_ms));
	/* A new thread needs memory, for which it would wait until the copy is done. */
	for (i = 0; i < 2; i++) {
		movers[i].test = self;
		ASSERT_EQ(0, pthread_create(&movers[i].thread, NULL, move_some,
					    &movers[i]));
	}
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(0, madvise(self->data, length, MADV_DONTNEED));
		fill(self->data, length, i + 1);
		__atomic_store_n(&movers[i].go, true, __ATOMIC_RELEASE);
		while (!__atomic_load_n(&movers[i].done, __ATOMIC_ACQUIRE) &&
		       pages_present(self->data, length) == FRESH)
			usleep(1000);
		both = !__atomic_load_n(&movers[0].done, __ATOMIC_ACQUIRE);
	}
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, pthread_join(movers[i].thread, NULL));
		EXPECT_EQ(0, movers[i].err);
	}
	return both;
}

/*
 * While pages are copied they are dropped, and what comes in their place is collected,
 * too: each migration ends with its own pages.
 */
TEST_F(collect, dropped_and_collected_again)
{
	size_t length = FRESH * self->page;
	unsigned int slow_ms;
	bool both = false;
	uint64_t sum;

	ASSERT_EQ(0, madvise(self->data, HUGE, MADV_NOHUGEPAGE));
	for (slow_ms = SLOW_MS; !both && slow_ms <= 16 * SLOW_MS; slow_ms *= 2)
		both = move_twice(_metadata, self, slow_ms);
	EXPECT_TRUE(both);
	EXPECT_EQ(0, dmirror_sum(&self->dev, self->data, length, &sum));
	EXPECT_EQ(pattern_sum(length, 2), sum);
	EXPECT_EQ(0, differences(self->data, length, 2));
	ASSERT_EQ(0, munmap(self->data, LENGTH));
	EXPECT_EQ(0, memory_used(&self->dev));
}

TEST_HARNESS_MAIN
