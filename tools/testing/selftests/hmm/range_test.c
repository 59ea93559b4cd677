// SPDX-License-Identifier: GPL-2.0
/*
 * Ranges: prefetch and snapshot over whatever may lie in a range; what an
 * invalidation of one range does to others and how often it flushes.
 */
#define _GNU_SOURCE
#include <linux/mman.h>

#include "memory.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL	102
#endif

/* Pages on both sides of a PMD boundary; BEFORE of them before it. */
#define BEFORE			24

/*
 * A letter for each page:
 *   p  read, write; populated with pattern 1 by the CPU
 *   r  the same, then protected against writing
 *   -  the same, then PROT_NONE
 *   .  nothing mapped
 *   e  read, write; never touched
 *   g  the same, with a guard
 *   f  shared memory of a file, never touched
 *   x  the same, behind the end of the file
 *   c  private memory of the file, never touched
 */
static const char layout[] = "pppppppp....----rrrrrrrreeeeeeeegeeeeeeefffffxxxccccpp";

#define NR			(sizeof(layout) - 1)

/* How many pages of the layout are of the kinds in @letters. */
static size_t count(const char *letters)
{
	size_t i, nr = 0;

	for (i = 0; i < NR; i++)
		nr += !!strchr(letters, layout[i]);
	return nr;
}

/* Map a run of pages, or change it, as their letter says. */
static bool build_run(char *start, size_t length, char letter, int file)
{
	int flags = MAP_FIXED | MAP_PRIVATE | (file < 0 ? MAP_ANONYMOUS : 0);

	if (letter == '.')
		return !munmap(start, length);
	if (letter == 'f')
		flags ^= MAP_PRIVATE | MAP_SHARED;
	if (letter == 'g')
		return !madvise(start, length, MADV_GUARD_INSTALL);
	if (mmap(start, length, PROT_READ | PROT_WRITE, flags, file, 0) != start)
		return false;
	if (file < 0)
		madvise(start, length, MADV_NOHUGEPAGE);
	if (letter == 'p' || letter == 'r' || letter == '-')
		fill(start, length, 1);
	if (letter == 'r')
		return !mprotect(start, length, PROT_READ);
	if (letter == '-')
		return !mprotect(start, length, PROT_NONE);
	return true;
}

/* Returns the first page, or NULL. @file: has as many pages as there are 'f'. */
static char *build(int file)
{
	char *base = reserve(2 * HUGE), *start;
	size_t page = page_size(), i, end;
	bool of_file;

	if (!base)
		return NULL;
	start = base + HUGE - BEFORE * page;
	for (i = 0; i < NR; i = end) {
		for (end = i + 1; end < NR; end++) {
			/* These are part of a mapping. */
			if (layout[end] != layout[i] &&
			    !(layout[i] == 'e' && layout[end] == 'g') &&
			    !(layout[i] == 'f' && layout[end] == 'x'))
				break;
		}
		of_file = layout[i] == 'f' || layout[i] == 'c';
		if (!build_run(start + i * page, (end - i) * page, layout[i],
			       of_file ? file : -1))
			return NULL;
	}
	for (i = 0; i < NR; i++)
		if (layout[i] == 'g' &&
		    !build_run(start + i * page, page, 'g', -1))
			return NULL;
	return start;
}

FIXTURE(range)
{
	struct dmirror dev;
	size_t page;
};

FIXTURE_VARIANT(range)
{
	enum hmm_dmirror_memory memory;
	bool dma;
};

FIXTURE_VARIANT_ADD(range, none) { NONE, false };
FIXTURE_VARIANT_ADD(range, dma) { NONE, true };
FIXTURE_VARIANT_ADD(range, private) { PRIVATE, false };
FIXTURE_VARIANT_ADD(range, cdm) { CDM, false };

FIXTURE_SETUP(range)
{
	OPEN_KIND_OR_SKIP(return, &self->dev, variant->memory, variant->dma);
	self->page = page_size();
}

FIXTURE_TEARDOWN(range)
{
	dmirror_close(&self->dev);
}

#define EXPECT_RESULT(_mapped, _missing, _refused, result) do { \
	EXPECT_EQ(_mapped, (result).mapped); \
	EXPECT_EQ(_missing, (result).missing); \
	EXPECT_EQ(_refused, (result).refused); \
	EXPECT_EQ(0, (result).left); \
} while (0)

/* The device page table has exactly the pages of these kinds. */
static void expect_pages(struct __test_metadata *_metadata,
			 struct dmirror *dev, const char *start,
			 const char *readable, const char *writable)
{
	unsigned char pages[NR];
	size_t i;

	ASSERT_EQ(0, dmirror_snapshot(dev, start, NR * page_size(), pages));
	for (i = 0; i < NR; i++) {
		EXPECT_EQ(!!strchr(readable, layout[i]),
			  !!(pages[i] & MAPPED)) {
			TH_LOG("page %zu, %c: %#x", i, layout[i], pages[i]);
		}
		/* What must not be written is checked at each prefetch. */
		if (strchr(writable, layout[i]))
			EXPECT_NE(0, pages[i] & WRITE);
		if (strchr(".-gxr", layout[i]))
			EXPECT_EQ(0, pages[i] & WRITE);
	}
}

static int file_of_layout(void)
{
	int file = memfd_create("hmm", MFD_CLOEXEC);

	if (file >= 0 && ftruncate(file, count("f") * page_size())) {
		close(file);
		return -1;
	}
	return file;
}

TEST_F(range, prefetch_mixed)
{
	int file = file_of_layout();
	struct hmm_dmirror_prefetch result;
	char *start;
	uint64_t sum;

	ASSERT_LE(0, file);
	start = build(file);
	ASSERT_NE(NULL, start);
	ASSERT_EQ(0, dmirror_prefetch(&self->dev, start, NR * self->page, 0,
				      &result));
	EXPECT_RESULT(count("prefc"), 0, count(".-gx"), result);
	expect_pages(_metadata, &self->dev, start, "prefc", "");
	ASSERT_EQ(0, dmirror_sum(&self->dev, start, 8 * self->page, &sum));
	EXPECT_EQ(pattern_sum(8 * self->page, 1), sum);

	/* The second time the same, though all is there. */
	ASSERT_EQ(0, dmirror_prefetch(&self->dev, start, NR * self->page, 0,
				      &result));
	EXPECT_RESULT(count("prefc"), 0, count(".-gx"), result);

	/* One side of the boundary at a time. */
	ASSERT_EQ(0, dmirror_prefetch(&self->dev, start, BEFORE * self->page,
				      0, &result));
	EXPECT_RESULT(16, 0, 8, result);
	close(file);
}

TEST_F(range, prefetch_mixed_for_writing)
{
	int file = file_of_layout();
	struct hmm_dmirror_prefetch result;
	struct hmm_dmirror_run run = {
		.program = HMM_DMIRROR_FILL,
		.length = self->page,
		.operand = 7,
	};
	char *start, *empty;

	ASSERT_LE(0, file);
	start = build(file);
	ASSERT_NE(NULL, start);
	ASSERT_EQ(0, dmirror_prefetch(&self->dev, start, NR * self->page,
				      HMM_DMIRROR_PREFETCH_WRITE, &result));
	EXPECT_RESULT(count("pefc"), 0, count("r.-gx"), result);
	/* Pages that may only be read are passed over. */
	expect_pages(_metadata, &self->dev, start, "pefc", "pefc");

	/* The device has no fault there any more. */
	empty = start + (strchr(layout, 'e') - layout) * self->page;
	run.addr = (uintptr_t)empty;
	ASSERT_EQ(0, dmirror_run(&self->dev, &run));
	EXPECT_EQ(0, run.faults);
	EXPECT_EQ(0, others(empty, self->page, 7));
	EXPECT_EQ(HMM_DMIRROR_STATUS_READ_ONLY,
		  dmirror_fill(&self->dev, start + 16 * self->page, 8, 7));
	close(file);
}

TEST_F(range, snapshot_brings_nothing_in)
{
	int file = file_of_layout();
	struct hmm_dmirror_prefetch result;
	uint64_t before[NR], after[NR];
	struct stat status;
	char *start;

	ASSERT_LE(0, file);
	start = build(file);
	ASSERT_NE(NULL, start);
	ASSERT_TRUE(read_pagemap(start, NR, before));
	ASSERT_EQ(0, dmirror_prefetch(&self->dev, start, NR * self->page,
				      HMM_DMIRROR_PREFETCH_PRESENT, &result));
	ASSERT_TRUE(read_pagemap(start, NR, after));
	EXPECT_EQ(0, memcmp(before, after, sizeof(before)));
	ASSERT_EQ(0, fstat(file, &status));
	EXPECT_EQ(0, status.st_blocks);

	/* Of a page that is not there only a fault can tell that it is lost. */
	EXPECT_EQ(count("pr"), result.mapped);
	EXPECT_EQ(NR - count("pr"), result.missing + result.refused);
	EXPECT_LE(count("efc"), result.missing);
	EXPECT_LE(count(".-"), result.refused);
	EXPECT_EQ(0, result.left);
	expect_pages(_metadata, &self->dev, start, "pr", "");
	close(file);
}

/* Zeroed huge pages come in as leaves of the same size, whole. */
TEST_F(range, prefetch_huge)
{
	struct hmm_dmirror_stats before, after;
	struct hmm_dmirror_prefetch result;
	size_t length = 2 * HUGE;
	char *map = map_alone(length, true);
	uint64_t entries[2 * HUGE / 4096];

	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, dmirror_stats(&self->dev, &before));
	ASSERT_EQ(0, dmirror_prefetch(&self->dev, map, length,
				      HMM_DMIRROR_PREFETCH_WRITE, &result));
	ASSERT_EQ(0, dmirror_stats(&self->dev, &after));
	EXPECT_RESULT(length / self->page, 0, 0, result);
	ASSERT_TRUE(read_pagemap(map, length / self->page, entries));
	if (!contiguous(entries, HUGE / self->page) ||
	    !contiguous(entries + HUGE / self->page, HUGE / self->page))
		SKIP(return, "the kernel gave no transparent huge pages");
	EXPECT_EQ(length / self->page, mapped(&self->dev, map, length,
					      MAPPED | WRITE | LARGE));
	EXPECT_EQ(2, after.mapped_entries - before.mapped_entries);
	ASSERT_EQ(0, dmirror_fill(&self->dev, map, length, 3));
	EXPECT_EQ(0, others(map, length, 3));
}

/* A hole costs nothing: 256 GiB between two pages. */
TEST_F(range, prefetch_over_a_hole)
{
	size_t length = 256 * 1024 * MIB;
	char *start = mmap(NULL, length, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct hmm_dmirror_prefetch result;

	if (start == MAP_FAILED)
		SKIP(return, "no such address space: %s", strerror(errno));
	ASSERT_EQ(0, munmap(start + self->page, length - 2 * self->page));
	ASSERT_EQ(0, dmirror_prefetch(&self->dev, start, length, 0, &result));
	EXPECT_RESULT(2, 0, length / self->page - 2, result);
	EXPECT_EQ(1, mapped(&self->dev, start, self->page, MAPPED));
	EXPECT_EQ(1, mapped(&self->dev, start + length - self->page, self->page,
			    MAPPED));
}

TEST_F(range, invalid_prefetch)
{
	char *map = map_alone(2 * HUGE, false);
	uint64_t at = (uintptr_t)map, page = self->page;
	const struct {
		int error;
		struct hmm_dmirror_prefetch args;
	} cases[] = {
		{ EINVAL, { .addr = at + 1, .length = page } },
		{ EINVAL, { .addr = at + page / 2, .length = page } },
		{ EINVAL, { .addr = at, .length = page - 1 } },
		{ EINVAL, { .addr = at, .length = page + 8 } },
		{ EINVAL, { .addr = at, .length = 0 } },
		{ EINVAL, { .addr = at, .length = -page } },
		{ EINVAL, { .addr = -page, .length = 2 * page } },
		{ EINVAL, { .addr = at, .length = page, .flags = 4 } },
		{ EINVAL, { .addr = at, .length = page, .flags = 1U << 31 } },
		{ EINVAL, { .addr = at, .length = page,
			    .flags = HMM_DMIRROR_PREFETCH_WRITE |
				     HMM_DMIRROR_PREFETCH_PRESENT } },
		{ EINVAL, { .addr = at, .length = page, .reserved = 1 } },
		{ ERANGE, { .addr = 1ULL << 63, .length = page } },
		{ ERANGE, { .addr = -2 * page, .length = page } },
		{ ERANGE, { .addr = at, .length = 1ULL << 62 } },
		{ ERANGE, { .addr = at, .length = 1ULL << 62,
			    .flags = HMM_DMIRROR_PREFETCH_PRESENT } },
	};
	struct hmm_dmirror_prefetch args;
	struct hmm_dmirror_stats before, after;
	size_t i;

	ASSERT_NE(NULL, map);
	fill(map, 4 * page, 1);
	ASSERT_EQ(0, dmirror_stats(&self->dev, &before));
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		args = cases[i].args;
		errno = 0;
		EXPECT_EQ(-1, ioctl(self->dev.fd, HMM_DMIRROR_PREFETCH, &args));
		EXPECT_EQ(cases[i].error, errno) {
			TH_LOG("case %zu", i);
		}
	}
	errno = 0;
	EXPECT_EQ(-1, ioctl(self->dev.fd, HMM_DMIRROR_PREFETCH, NULL));
	EXPECT_EQ(EFAULT, errno);
	ASSERT_EQ(0, dmirror_stats(&self->dev, &after));
	EXPECT_EQ(before.mapped_entries, after.mapped_entries);
	EXPECT_EQ(0, mapped(&self->dev, map, 2 * HUGE, MAPPED));
	EXPECT_EQ(0, differences(map, 4 * page, 1));
	EXPECT_EQ(4, pages_present(map, 2 * HUGE));

	/* The same file is as good as before. */
	EXPECT_EQ(0, dmirror_prefetch(&self->dev, map, page, 0, NULL));
}

/* Drops the pages of one piece as fast as it can. */
struct hammer {
	pthread_t thread;
	char *start;
	size_t length;
	bool stop;
	uint64_t done;
	int error;
};

static void *hammer(void *arg)
{
	struct hammer *hammer = arg;

	while (!__atomic_load_n(&hammer->stop, __ATOMIC_RELAXED)) {
		*(volatile char *)hammer->start = 1;
		if (madvise(hammer->start, hammer->length, MADV_DONTNEED))
			hammer->error = errno;
		__atomic_fetch_add(&hammer->done, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

#define ROUNDS		200

/* Invalidations of one piece make nobody retry but the faults on it. */
TEST_F(range, neighbours_do_not_disturb)
{
	struct hmm_dmirror_stats before, after;
	char *map = map_alone(2 * HUGE, false), *quiet = map + HUGE;
	struct hammer disturber = {
		.start = map,
		.length = HUGE,
	};
	uint64_t faults, hammered;
	unsigned int i;

	/* One mirror with both pieces: it hears of all invalidations. */
	ASSERT_NE(NULL, map);
	fill(map, 16 * self->page, 1);
	ASSERT_EQ(0, dmirror_read(&self->dev, map, 16 * self->page));
	ASSERT_EQ(0, dmirror_read(&self->dev, quiet, 2 * self->page));
	ASSERT_EQ(0, pthread_create(&disturber.thread, NULL, hammer,
				    &disturber));
	while (!__atomic_load_n(&disturber.done, __ATOMIC_RELAXED))
		usleep(1000);

	ASSERT_EQ(0, dmirror_stats(&self->dev, &before));
	hammered = __atomic_load_n(&disturber.done, __ATOMIC_RELAXED);
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, madvise(quiet, 2 * self->page, MADV_DONTNEED));
		ASSERT_EQ(0, dmirror_fill(&self->dev, quiet, 2 * self->page,
					  i + 1));
		ASSERT_EQ(0, others(quiet, 2 * self->page, i + 1));
	}
	hammered = __atomic_load_n(&disturber.done, __ATOMIC_RELAXED) - hammered;
	ASSERT_EQ(0, dmirror_stats(&self->dev, &after));
	__atomic_store_n(&disturber.stop, true, __ATOMIC_RELAXED);
	ASSERT_EQ(0, pthread_join(disturber.thread, NULL));

	EXPECT_EQ(0, disturber.error);
	faults = after.faults - before.faults;
	EXPECT_LE(ROUNDS, faults);
	EXPECT_LT(100 * (after.retries - before.retries), faults);
	EXPECT_EQ(before.timeouts, after.timeouts);
	/* There was something to be disturbed by. */
	EXPECT_LT(1, hammered);
	EXPECT_LE(ROUNDS + hammered - 1,
		  after.invalidations - before.invalidations);
}

/* One invalidation is one flush, however many pieces it covers. */
TEST_F(range, one_flush)
{
	struct hmm_dmirror_stats before, after;
	struct hmm_dmirror_prefetch result;
	size_t length = 4 * HUGE, i;
	char *map = map_alone(length, true);

	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, dmirror_prefetch(&self->dev, map, length,
				      HMM_DMIRROR_PREFETCH_WRITE, &result));
	ASSERT_EQ(0, dmirror_stats(&self->dev, &before));
	ASSERT_EQ(0, madvise(map, length, MADV_DONTNEED));
	ASSERT_EQ(0, dmirror_stats(&self->dev, &after));
	EXPECT_EQ(1, after.flushes - before.flushes);
	EXPECT_LE(4, after.invalidations - before.invalidations);
	EXPECT_EQ(0, mapped(&self->dev, map, length, MAPPED));

	/* Of two pieces out of four. */
	ASSERT_EQ(0, dmirror_prefetch(&self->dev, map, length,
				      HMM_DMIRROR_PREFETCH_WRITE, &result));
	ASSERT_EQ(0, dmirror_stats(&self->dev, &before));
	ASSERT_EQ(0, madvise(map + HUGE, 2 * HUGE, MADV_DONTNEED));
	ASSERT_EQ(0, dmirror_stats(&self->dev, &after));
	EXPECT_EQ(1, after.flushes - before.flushes);
	EXPECT_LE(2, after.invalidations - before.invalidations);
	EXPECT_EQ(2 * HUGE / self->page, mapped(&self->dev, map, length,
						MAPPED));

	/* Four invalidations are four flushes. */
	ASSERT_EQ(0, dmirror_prefetch(&self->dev, map, length,
				      HMM_DMIRROR_PREFETCH_WRITE, &result));
	ASSERT_EQ(0, dmirror_stats(&self->dev, &before));
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, madvise(map + i * HUGE, HUGE, MADV_DONTNEED));
	ASSERT_EQ(0, dmirror_stats(&self->dev, &after));
	EXPECT_EQ(4, after.flushes - before.flushes);

	ASSERT_EQ(0, dmirror_prefetch(&self->dev, map, length,
				      HMM_DMIRROR_PREFETCH_WRITE, &result));
	EXPECT_RESULT(length / self->page, 0, 0, result);
	ASSERT_EQ(0, dmirror_stats(&self->dev, &before));
	ASSERT_EQ(0, munmap(map, length));
	ASSERT_EQ(0, dmirror_stats(&self->dev, &after));
	EXPECT_EQ(1, after.flushes - before.flushes);
	EXPECT_LE(4, after.invalidations - before.invalidations);
	EXPECT_EQ(0, mapped(&self->dev, map, length, MAPPED));
}

/* A page larger than any leaf: it fills the largest ones. */
TEST(gigantic_page)
{
	const size_t length = 1UL << 30, nr = length / page_size();
	struct hmm_dmirror_prefetch result;
	char *map, *last;
	struct dmirror dev;

	map = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE |
		   MAP_ANONYMOUS | MAP_HUGETLB | MAP_HUGE_1GB, -1, 0);
	if (map == MAP_FAILED)
		SKIP(return, "no page of 1 GiB");
	OPEN_OR_SKIP(return, &dev, NONE, 0);
	last = map + length - HUGE;
	fill(map, HUGE, 1);
	fill(last, HUGE, 2);
	ASSERT_EQ(0, dmirror_prefetch(&dev, map, length,
				      HMM_DMIRROR_PREFETCH_WRITE, &result));
	EXPECT_EQ(nr, result.mapped);
	EXPECT_EQ(nr, mapped(&dev, map, length, WRITE | LARGE));
	ASSERT_EQ(0, dmirror_copy(&dev, map + length / 2, last, HUGE));
	EXPECT_EQ(0, differences(map + length / 2, HUGE, 2));
	EXPECT_EQ(0, differences(map, HUGE, 1));
	ASSERT_EQ(0, munmap(map, length));
	EXPECT_EQ(0, mapped(&dev, map, length, MAPPED));
	dmirror_close(&dev);
}

TEST_HARNESS_MAIN
