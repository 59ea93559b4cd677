// SPDX-License-Identifier: GPL-2.0
/*
 * Long-term pins (FOLL_LONGTERM), as RDMA, VFIO and io_uring take them, of memory that
 * lies on the device: it goes to RAM first and stays there until the pin ends, where
 * CPU, device and whoever pinned it see the same.  Other pins leave coherent memory
 * where it is.
 *
 * Follows Documentation/core-api/pin_user_pages.rst and mm/gup_test.c.
 */
#define _GNU_SOURCE
#include <sys/uio.h>

#include "fail_nth.h"
#include "memory.h"
#include "../../../../mm/gup_test.h"

#define GUP_TEST	"/sys/kernel/debug/gup_test"
#define SMALL_PAGES	64UL
#define HUGE_PAGES	(HUGE / page_size())

/* Flags of a pin, of which each combination is one kind. */
#define PIN_WRITE	PIN_LONGTERM_TEST_FLAG_USE_WRITE
#define PIN_FAST	PIN_LONGTERM_TEST_FLAG_USE_FAST
#define PIN_KINDS	4

/* The kernel's own, for pins that are short. */
#define FOLL_WRITE	0x01

FIXTURE(longterm)
{
	struct dmirror dev;
	struct hmm_dmirror_migrate result;
	int gup;
	size_t page;
	size_t length;		/* two huge pages, or SMALL_PAGES */
	size_t unit;		/* bytes that leave the device as one */
	unsigned int kind_step;	/* from one kind of pin to the next that is tried */
	char *data;
	char *copy;		/* room for what is pinned */
	long scan_ms;		/* how often khugepaged looked before */
};

FIXTURE_VARIANT(longterm)
{
	enum hmm_dmirror_memory memory;
	bool huge;
};

FIXTURE_VARIANT_ADD(longterm, private)
{
	.memory = PRIVATE,
};

FIXTURE_VARIANT_ADD(longterm, private_huge)
{
	.memory = PRIVATE,
	.huge = true,
};

FIXTURE_VARIANT_ADD(longterm, cdm)
{
	.memory = CDM,
};

FIXTURE_VARIANT_ADD(longterm, cdm_huge)
{
	.memory = CDM,
	.huge = true,
};

FIXTURE_SETUP(longterm)
{
	OPEN_OR_SKIP(return, &self->dev, variant->memory, 0);
	ASSERT_EQ(0, self->dev.info.memory_used);
	self->gup = open(GUP_TEST, O_RDWR | O_CLOEXEC);
	if (self->gup < 0)
		SKIP(return, "%s: %s", GUP_TEST, strerror(errno));
	/* What was split is to stay so. */
	self->scan_ms = read_number(SCAN_MS, NULL);
	ASSERT_EQ(0, write_number(SCAN_MS, 600000));
	self->page = page_size();
	self->length = variant->huge ? 2 * HUGE : SMALL_PAGES * self->page;
	/* Huge pages move as one only with the patches of the series. */
	self->unit = variant->huge && !getenv("HMM_UNMODIFIED_KERNEL") ?
		     HUGE : self->page;
	/* One by one, so many pages take long: by no flag and by all. */
	self->kind_step = variant->huge && self->unit != HUGE ? PIN_KINDS - 1 : 1;
	self->data = map_memory(self->length, variant->huge);
	self->copy = map_pages(self->length / self->page);
	ASSERT_NE(NULL, self->data);
	ASSERT_NE(NULL, self->copy);
	memset(self->copy, 0, self->length);
}

FIXTURE_TEARDOWN(longterm)
{
	if (self->gup >= 0) {
		write_number(SCAN_MS, self->scan_ms);
		close(self->gup);
	}
	dmirror_close(&self->dev);
}

static int pin_by(int gup, char *start, size_t length, unsigned int flags)
{
	struct pin_longterm_test args = {
		.addr = (uintptr_t)start,
		.size = length,
		.flags = flags,
	};

	return ioctl(gup, PIN_LONGTERM_TEST_START, &args) ? -errno : 0;
}

/* A pin and what follows are of [@start, @start + @length) within @self->data. */
static int pin(struct _test_data_longterm *self, char *start, size_t length,
	       unsigned int flags)
{
	return pin_by(self->gup, start, length, flags);
}

static int unpin(struct _test_data_longterm *self)
{
	return ioctl(self->gup, PIN_LONGTERM_TEST_STOP) ? -errno : 0;
}

/* @copy: receives what whoever pinned the memory sees. */
static bool read_pin(int gup, char *copy)
{
	uint64_t to = (uintptr_t)copy;

	return !ioctl(gup, PIN_LONGTERM_TEST_READ, &to);
}

/* Does whoever pinned the range see what the CPU sees? */
static bool pin_sees(struct _test_data_longterm *self, const char *start,
		     size_t length)
{
	return read_pin(self->gup, self->copy) &&
	       !memcmp(self->copy, start, length);
}

static bool device_sees(struct _test_data_longterm *self, uint64_t seed)
{
	uint64_t sum;

	return !dmirror_sum(&self->dev, self->data, self->length, &sum) &&
	       sum == pattern_sum(self->length, seed);
}

static int to_device(struct _test_data_longterm *self)
{
	/* A pin leaves pages in a batch of its CPU, from where others cannot move them. */
	if (getenv("HMM_UNMODIFIED_KERNEL"))
		drain_lru();
	return migrate(&self->dev, self->data, self->length,
		       HMM_DMIRROR_TO_DEVICE, &self->result);
}

/* Pattern @seed, all of it in device memory.  Others may hold a page for a moment. */
static bool fill_device(struct _test_data_longterm *self, uint64_t seed)
{
	size_t huge = self->unit == HUGE ? self->length : 0;
	struct hmm_dmirror_info info = {};
	int i;

	if (migrate(&self->dev, self->data, self->length, HMM_DMIRROR_TO_RAM,
		    &self->result))
		return false;
	fill(self->data, self->length, seed);
	if (self->length % HUGE == 0 && !make_huge(self->data, self->length))
		return false;
	for (i = 0; i < 50; i++) {
		if (to_device(self) || dmirror_info(&self->dev, &info))
			return false;
		if (self->result.left == self->result.already &&
		    info.memory_used == self->length && info.memory_huge == huge)
			return true;
		usleep(10000);
	}
	printf("# left %llu, already there %llu, busy %llu; used %llu, huge %llu\n",
	       (unsigned long long)self->result.left,
	       (unsigned long long)self->result.already,
	       (unsigned long long)self->result.busy,
	       (unsigned long long)info.memory_used,
	       (unsigned long long)info.memory_huge);
	return false;
}

/* Pages of the range that the device reaches, and those of them in its memory. */
#define EXPECT_IN_RAM(start, length) do { \
	EXPECT_EQ(0, dmirror_read(&self->dev, start, length)); \
	EXPECT_EQ((length) / self->page, \
		  mapped(&self->dev, start, length, MAPPED)); \
	EXPECT_EQ(0, mapped(&self->dev, start, length, \
			    MAPPED | HMM_DMIRROR_PAGE_PRIVATE)); \
	EXPECT_EQ(0, mapped(&self->dev, start, length, \
			    MAPPED | HMM_DMIRROR_PAGE_CDM)); \
} while (0)

TEST_F(longterm, all)
{
	size_t nr = self->length / self->page;
	unsigned int kind;

	for (kind = 0; kind < PIN_KINDS; kind += self->kind_step) {
		ASSERT_TRUE(fill_device(self, 10 + kind));
		ASSERT_EQ(0, pin(self, self->data, self->length, kind));
		EXPECT_EQ(0, memory_used(&self->dev));
		EXPECT_IN_RAM(self->data, self->length);
		if (self->unit == HUGE)
			EXPECT_TRUE(is_huge(self->data));
		ASSERT_TRUE(read_pin(self->gup, self->copy));
		EXPECT_EQ(0, differences(self->copy, self->length, 10 + kind));
		EXPECT_EQ(0, differences(self->data, self->length, 10 + kind));

		/* It stays there, where all see the same. */
		ASSERT_EQ(0, to_device(self));
		EXPECT_EQ(0, self->result.moved);
		EXPECT_EQ(nr, self->result.left);
		EXPECT_EQ(0, memory_used(&self->dev));
		ASSERT_EQ(0, dmirror_fill(&self->dev, self->data, self->length,
					  kind));
		ASSERT_TRUE(read_pin(self->gup, self->copy));
		EXPECT_EQ(0, others(self->copy, self->length, kind));
		fill(self->data, self->length, 20 + kind);
		ASSERT_TRUE(read_pin(self->gup, self->copy));
		EXPECT_EQ(0, differences(self->copy, self->length, 20 + kind));
		EXPECT_TRUE(device_sees(self, 20 + kind));

		/* Until the pin ends. */
		ASSERT_EQ(0, unpin(self));
		ASSERT_EQ(0, to_device(self));
		EXPECT_EQ(nr, self->result.moved);
		EXPECT_EQ(self->length, memory_used(&self->dev));
		EXPECT_TRUE(device_sees(self, 20 + kind));
		EXPECT_EQ(0, differences(self->data, self->length, 20 + kind));
	}
}

/* What shares a huge page with what is pinned goes with it, the rest stays. */
static void pin_part(struct __test_metadata *_metadata,
		     struct _test_data_longterm *self, size_t from, size_t length)
{
	size_t units = (from + length - 1) / self->unit - from / self->unit + 1;
	size_t rest = self->length - units * self->unit;
	char *start = self->data + from;
	unsigned int kind;

	for (kind = 0; kind < PIN_KINDS; kind += self->kind_step) {
		ASSERT_TRUE(fill_device(self, 10 + kind));
		ASSERT_EQ(0, pin(self, start, length, kind));
		/* CPU faults one after the other bring back more and more. */
		EXPECT_GE(rest, memory_used(&self->dev));
		if (self->dev.info.memory == CDM || length == self->page)
			EXPECT_EQ(rest, memory_used(&self->dev));
		EXPECT_IN_RAM(start, length);
		EXPECT_TRUE(pin_sees(self, start, length));
		EXPECT_TRUE(device_sees(self, 10 + kind));

		ASSERT_EQ(0, to_device(self));
		EXPECT_IN_RAM(start, length);
		ASSERT_EQ(0, dmirror_fill(&self->dev, start, length, kind));
		ASSERT_TRUE(read_pin(self->gup, self->copy));
		EXPECT_EQ(0, others(self->copy, length, kind));

		ASSERT_EQ(0, unpin(self));
		ASSERT_EQ(0, to_device(self));
		EXPECT_EQ(self->length, memory_used(&self->dev));
		EXPECT_EQ(0, others(start, length, kind));
		EXPECT_EQ(length / 8, differences(self->data, self->length,
						  10 + kind));
	}
}

TEST_F(longterm, one_page)
{
	pin_part(_metadata, self, self->length / 4 + self->page, self->page);
}

TEST_F(longterm, pages_of_both)
{
	pin_part(_metadata, self, self->length / 2 - self->page, 2 * self->page);
}

TEST_F(longterm, half_of_both)
{
	pin_part(_metadata, self, self->length / 4, self->length / 2);
}

TEST_F(longterm, without_huge_pages)
{
	char *page = self->data + self->length / 4 + 3 * self->page;
	unsigned int kind;
	int ret;

	for (kind = 0; kind < PIN_KINDS; kind += self->kind_step) {
		ASSERT_TRUE(fill_device(self, 10 + kind));
		FAIL_HUGE_OR_SKIP();
		ret = pin(self, self->data, self->length, kind);
		fail_pages(FAIL_NONE);
		ASSERT_EQ(0, ret);
		EXPECT_EQ(0, memory_used(&self->dev));
		EXPECT_IN_RAM(self->data, self->length);
		EXPECT_FALSE(is_huge(self->data));
		EXPECT_TRUE(pin_sees(self, self->data, self->length));
		ASSERT_EQ(0, dmirror_fill(&self->dev, self->data, self->page, 3));
		EXPECT_TRUE(pin_sees(self, self->data, self->length));
		EXPECT_EQ(self->page / 8, differences(self->data, self->length,
						      10 + kind));
		ASSERT_EQ(0, unpin(self));

		/* One page: the rest of its huge page may stay. */
		ASSERT_TRUE(fill_device(self, 10 + kind));
		FAIL_HUGE_OR_SKIP();
		ret = pin(self, page, self->page, kind);
		fail_pages(FAIL_NONE);
		ASSERT_EQ(0, ret);
		EXPECT_IN_RAM(page, self->page);
		EXPECT_LE(self->length - self->unit, memory_used(&self->dev));
		EXPECT_TRUE(pin_sees(self, page, self->page));
		EXPECT_TRUE(device_sees(self, 10 + kind));
		EXPECT_EQ(0, differences(self->data, self->length, 10 + kind));
		ASSERT_EQ(0, unpin(self));
	}
}

/* Whichever allocation fails: the pin does, or it works, and nothing is lost. */
TEST_F(longterm, allocation_fails)
{
	size_t length = self->unit == HUGE ? self->length : 4 * self->page;
	int file = fail_open(), ret;
	unsigned int nth, refused = 0;
	bool failed;

	if (file < 0)
		SKIP(return, "no fault injection in this kernel");
	for (nth = 1; nth < FAIL_LIMIT; nth++) {
		ASSERT_TRUE(fill_device(self, nth));
		fail_nth(file, nth);
		ret = pin(self, self->data, length, nth % PIN_KINDS);
		failed = fail_end(file);
		if (ret) {
			EXPECT_TRUE(ret == -ENOMEM || ret == -EBUSY);
			ASSERT_TRUE(failed);
			refused++;
			ASSERT_EQ(0, pin(self, self->data, length,
					 nth % PIN_KINDS));
		}
		EXPECT_IN_RAM(self->data, length);
		EXPECT_TRUE(pin_sees(self, self->data, length));
		EXPECT_TRUE(device_sees(self, nth));
		ASSERT_EQ(0, unpin(self));
		EXPECT_EQ(0, differences(self->data, self->length, nth));
		if (!failed)
			break;
	}
	TH_LOG("%u allocations failed, %u pins with them", nth - 1, refused);
	EXPECT_LT(1, nth);
	EXPECT_GT(FAIL_LIMIT, nth);
	close(file);
}

/* Pins that end soon leave coherent memory where it is. */
TEST_F(longterm, short_pins)
{
	static const unsigned long kinds[] = {
		GUP_FAST_BENCHMARK, PIN_FAST_BENCHMARK,
		GUP_BASIC_TEST, PIN_BASIC_TEST,
	};
	size_t stays = variant->memory == CDM ? self->length : 0;
	struct gup_test args;
	unsigned int i;

	for (i = 0; i < 2 * ARRAY_SIZE(kinds); i++) {
		ASSERT_TRUE(fill_device(self, 10 + i));
		args = (struct gup_test){
			.addr = (uintptr_t)self->data,
			.size = self->length,
			.nr_pages_per_call = self->length / self->page,
			.gup_flags = i % 2 ? FOLL_WRITE : 0,
		};
		ASSERT_EQ(0, ioctl(self->gup, kinds[i / 2], &args));
		EXPECT_EQ(self->length, args.size);
		EXPECT_EQ(stays, memory_used(&self->dev));
		EXPECT_TRUE(device_sees(self, 10 + i));
		EXPECT_EQ(0, differences(self->data, self->length, 10 + i));
	}
}

/* A pipe holds a page; what comes out of it is what the device writes meanwhile. */
TEST_F(longterm, pipe)
{
	char *page = self->data + self->length / 4;
	struct iovec vec = {
		.iov_base = page,
		.iov_len = self->page,
	};
	struct hmm_dmirror_info before, after;
	int pipes[2];

	ASSERT_EQ(0, pipe(pipes));
	ASSERT_TRUE(fill_device(self, 1));
	ASSERT_EQ(self->page, vmsplice(pipes[1], &vec, 1, 0));
	ASSERT_EQ(0, dmirror_info(&self->dev, &before));
	EXPECT_EQ(variant->memory == CDM ? self->length :
					   self->length - self->unit,
		  before.memory_used);
	ASSERT_EQ(0, dmirror_fill(&self->dev, page, self->page, 5));
	ASSERT_EQ(0, dmirror_info(&self->dev, &after));
	EXPECT_EQ(before.memory_used, after.memory_used);
	ASSERT_EQ(self->page, read(pipes[0], self->copy, self->page));
	EXPECT_EQ(0, others(self->copy, self->page, 5));
	EXPECT_EQ(self->page / 8, differences(self->data, self->length, 1));
	close(pipes[0]);
	close(pipes[1]);
}

/* The pin outlives the mapping. */
TEST_F(longterm, unmapped)
{
	unsigned int kind;

	for (kind = 0; kind < PIN_KINDS; kind += self->kind_step) {
		ASSERT_TRUE(fill_device(self, 10 + kind));
		ASSERT_EQ(0, pin(self, self->data, self->length, kind));
		ASSERT_EQ(0, madvise(self->data, self->length, MADV_DONTNEED));
		EXPECT_EQ(0, memory_used(&self->dev));
		ASSERT_TRUE(read_pin(self->gup, self->copy));
		EXPECT_EQ(0, differences(self->copy, self->length, 10 + kind));
		EXPECT_EQ(0, others(self->data, self->length, 0));
		ASSERT_EQ(0, unpin(self));
	}
}

/* What is pinned stays the parent's, a child gets a copy. */
TEST_F(longterm, fork_pinned)
{
	unsigned int kind;
	int go[2];
	pid_t child;
	char byte;

	ASSERT_EQ(0, pipe(go));
	for (kind = 0; kind < PIN_KINDS; kind += self->kind_step) {
		ASSERT_TRUE(fill_device(self, 10 + kind));
		ASSERT_EQ(0, pin(self, self->data, self->length, kind));
		child = fork();
		ASSERT_LE(0, child);
		if (!child)
			_exit(read(go[0], &byte, 1) != 1 ||
			      differences(self->data, self->length, 10 + kind));
		ASSERT_EQ(0, dmirror_fill(&self->dev, self->data, self->length,
					  kind));
		EXPECT_EQ(1, write(go[1], "", 1));
		EXPECT_EQ(0, child_status(child));
		ASSERT_TRUE(read_pin(self->gup, self->copy));
		EXPECT_EQ(0, others(self->copy, self->length, kind));
		EXPECT_EQ(0, others(self->data, self->length, kind));
		ASSERT_EQ(0, unpin(self));
	}
	close(go[0]);
	close(go[1]);
}

/* A child pins what it shares with the parent, and exits with it pinned. */
static int pin_in_child(struct _test_data_longterm *self, unsigned int kind)
{
	int gup = open(GUP_TEST, O_RDWR | O_CLOEXEC);

	if (gup < 0 || pin_by(gup, self->data, self->length, kind))
		return 1;
	if (!read_pin(gup, self->copy) ||
	    differences(self->copy, self->length, 10 + kind))
		return 2;
	/* It sees what the child writes, and the parent does not. */
	fill(self->data, self->length, 20 + kind);
	if (!read_pin(gup, self->copy) ||
	    differences(self->copy, self->length, 20 + kind))
		return 3;
	return 0;
}

TEST_F(longterm, child_pins)
{
	unsigned int kind;
	pid_t child;

	for (kind = 0; kind < PIN_KINDS; kind += self->kind_step) {
		ASSERT_TRUE(fill_device(self, 10 + kind));
		child = fork();
		ASSERT_LE(0, child);
		if (!child)
			_exit(pin_in_child(self, kind));
		EXPECT_EQ(0, child_status(child));
		EXPECT_TRUE(device_sees(self, 10 + kind));
		ASSERT_EQ(0, dmirror_fill(&self->dev, self->data, self->page, 4));
		EXPECT_EQ(0, others(self->data, self->page, 4));
		EXPECT_EQ(self->page / 8, differences(self->data, self->length,
						      10 + kind));
	}
}

struct racer {
	struct _test_data_longterm *self;
	enum hmm_dmirror_memory memory;
	bool stop;
	unsigned long rounds, pins, busy, wrong;
	int failure;		/* the first unexpected result */
};

static bool going(struct racer *racer)
{
	return !__atomic_load_n(&racer->stop, __ATOMIC_RELAXED);
}

/* Keep the data moving, all of it or a part. */
static void *move(void *arg)
{
	struct racer *racer = arg;
	struct _test_data_longterm *self = racer->self;
	struct hmm_dmirror_migrate result;
	unsigned int seed = 1;
	uint64_t evicted;

	while (going(racer)) {
		size_t nr = self->length / self->page;
		size_t from = rand_r(&seed) % 2 ? 0 : rand_r(&seed) % nr;
		char *start = self->data + from * self->page;
		size_t length = self->length - from * self->page;

		migrate(&self->dev, start, length, HMM_DMIRROR_TO_DEVICE,
			&result);
		if (!(rand_r(&seed) % 4))
			migrate(&self->dev, start, length, HMM_DMIRROR_TO_RAM,
				&result);
		else if (!(rand_r(&seed) % 4))
			dmirror_evict(&self->dev, nr, &evicted);
		racer->rounds++;
	}
	return NULL;
}

/* Pin some pages, of each of which the first word is a counter. */
static void pin_some(struct racer *racer, uint64_t *count, unsigned int *seed)
{
	struct _test_data_longterm *self = racer->self;
	size_t nr = self->length / self->page;
	size_t first = rand_r(seed) % nr, i;
	size_t pages = 1 + rand_r(seed) % (nr - first);
	char *start = self->data + first * self->page;
	uint64_t value;
	int ret;

	if (!(rand_r(seed) % 4) && self->length % HUGE == 0)
		madvise(self->data, self->length, MADV_COLLAPSE);
	ret = pin(self, start, pages * self->page, rand_r(seed) % PIN_KINDS);
	if (ret) {
		/* Coherent memory that somebody else is moving. */
		if (ret == -EBUSY && racer->memory == CDM)
			racer->busy++;
		else if (!racer->failure)
			racer->failure = ret;
		return;
	}
	racer->pins++;
	if (rand_r(seed) % 2) {
		++*(volatile uint64_t *)start;
		count[first]++;
	} else if (!dmirror_atomic_add(&self->dev, (uint64_t *)start, 1, 1,
				       &value)) {
		count[first]++;
	}
	if (!read_pin(self->gup, self->copy))
		racer->wrong++;
	for (i = 0; i < pages; i++)
		racer->wrong += *(uint64_t *)(self->copy + i * self->page) !=
				count[first + i];
	if (unpin(self))
		racer->wrong++;
}

TEST_F(longterm, race)
{
	struct racer racer = { .self = self, .memory = variant->memory };
	size_t nr = self->length / self->page, i;
	uint64_t *count = calloc(nr, sizeof(*count));
	uint64_t end = now_us() + 2 * race_ms() * 1000ull;
	unsigned int seed = 2;
	pthread_t mover;

	ASSERT_NE(NULL, count);
	memset(self->data, 0, self->length);
	ASSERT_EQ(0, pthread_create(&mover, NULL, move, &racer));
	while (now_us() < end)
		pin_some(&racer, count, &seed);
	__atomic_store_n(&racer.stop, true, __ATOMIC_RELAXED);
	ASSERT_EQ(0, pthread_join(mover, NULL));
	TH_LOG("%lu moves, %lu pins, %lu busy", racer.rounds, racer.pins,
	       racer.busy);
	EXPECT_EQ(0, racer.failure);
	EXPECT_EQ(0, racer.wrong);
	EXPECT_LT(0, racer.pins);
	EXPECT_LT(0, racer.rounds);
	for (i = 0; i < nr; i++)
		EXPECT_EQ(count[i], *(volatile uint64_t *)
				    (self->data + i * self->page));
	free(count);
}

TEST_HARNESS_MAIN
