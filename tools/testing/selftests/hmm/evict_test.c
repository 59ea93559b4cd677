// SPDX-License-Identifier: GPL-2.0
/*
 * Eviction: what goes first, what the device keeps, what stays and why, and
 * working sets that are larger than the device memory.
 */
#define _GNU_SOURCE
#include "dmirror_test.h"

#define AREAS		3
#define BLOCK_PAGES	(HUGE / page_size())
/* Processes that share a device, each with as much as it has. */
#define OWNERS		2

FIXTURE(evict)
{
	struct dmirror dev;
	size_t page;
	char *area[AREAS];	/* HUGE bytes each, with pattern 1, 2, 3 */
};

FIXTURE_VARIANT(evict)
{
	enum hmm_dmirror_memory memory;
};

FIXTURE_VARIANT_ADD(evict, private)
{
	.memory = PRIVATE,
};

FIXTURE_VARIANT_ADD(evict, cdm)
{
	.memory = CDM,
};

FIXTURE_SETUP(evict)
{
	int i;

	OPEN_OR_SKIP(return, &self->dev, variant->memory, 0);
	self->page = page_size();
	ASSERT_EQ(0, used_pages(&self->dev));
	for (i = 0; i < AREAS; i++) {
		self->area[i] = map_huge(HUGE);
		ASSERT_NE(NULL, self->area[i]);
		ASSERT_EQ(0, madvise(self->area[i], HUGE, MADV_NOHUGEPAGE));
		fill(self->area[i], HUGE, i + 1);
	}
}

FIXTURE_TEARDOWN(evict)
{
	dmirror_close(&self->dev);
}

/* Move the areas in, one after the other. */
static bool areas_in(struct _test_data_evict *self)
{
	struct hmm_dmirror_migrate result;
	int i;

	for (i = 0; i < AREAS; i++)
		if (migrate(&self->dev, self->area[i], HUGE,
			    HMM_DMIRROR_TO_DEVICE, &result) ||
		    result.moved != BLOCK_PAGES)
			return false;
	return true;
}

/* How many pages of an area are in device memory?  Maps them on the device. */
static long area_pages(struct _test_data_evict *self, int area)
{
	unsigned char memory = self->dev.info.memory == PRIVATE ?
			       HMM_DMIRROR_PAGE_PRIVATE : HMM_DMIRROR_PAGE_CDM;

	if (dmirror_prefetch(&self->dev, self->area[area], HUGE, 0, NULL))
		return -1;
	return mapped(&self->dev, self->area[area], HUGE, memory);
}

static bool areas_intact(struct _test_data_evict *self)
{
	int i;

	for (i = 0; i < AREAS; i++)
		if (differences(self->area[i], HUGE, i + 1))
			return false;
	return true;
}

TEST_F(evict, oldest_first)
{
	uint64_t evicted, sum;

	ASSERT_TRUE(areas_in(self));
	ASSERT_EQ(0, dmirror_evict(&self->dev, 1, &evicted));
	EXPECT_EQ(1, evicted);
	ASSERT_EQ(0, dmirror_evict(&self->dev, BLOCK_PAGES - 1, &evicted));
	EXPECT_EQ(BLOCK_PAGES - 1, evicted);
	EXPECT_EQ(0, area_pages(self, 0));

	/* The device uses the second one: now the third is the oldest. */
	ASSERT_EQ(0, dmirror_sum(&self->dev, self->area[1], HUGE, &sum));
	EXPECT_EQ(pattern_sum(HUGE, 2), sum);
	ASSERT_EQ(0, dmirror_evict(&self->dev, BLOCK_PAGES, &evicted));
	EXPECT_EQ(BLOCK_PAGES, evicted);
	EXPECT_EQ(BLOCK_PAGES, area_pages(self, 1));
	EXPECT_EQ(0, area_pages(self, 2));
	EXPECT_EQ(BLOCK_PAGES, used_pages(&self->dev));
	EXPECT_TRUE(areas_intact(self));
}

TEST_F(evict, keep)
{
	struct hmm_dmirror_evict evict = {
		.nr_pages = BLOCK_PAGES,
		.timeout_ms = 10000,
	};

	ASSERT_TRUE(areas_in(self));
	ASSERT_EQ(0, dmirror_inject(&self->dev, HMM_DMIRROR_INJECT_EVICT_KEEP,
				    0, 1, 0));
	ASSERT_EQ(0, dmirror_evict_as(&self->dev, &evict));
	EXPECT_EQ(BLOCK_PAGES, evict.evicted);
	EXPECT_EQ(0, area_pages(self, 1));
	EXPECT_EQ(BLOCK_PAGES, area_pages(self, 0));

	/* The device keeps all there is: no need to wait for the time to end. */
	ASSERT_EQ(0, dmirror_inject(&self->dev, HMM_DMIRROR_INJECT_EVICT_KEEP,
				    0, ~0U, 0));
	evict.nr_pages = ~0ull;
	EXPECT_EQ(-EBUSY, dmirror_evict_as(&self->dev, &evict));
	EXPECT_EQ(0, evict.evicted);
	EXPECT_EQ(2 * BLOCK_PAGES, evict.kept);
	EXPECT_EQ(0, evict.busy + evict.no_ram + evict.failed + evict.untried);
	ASSERT_EQ(0, dmirror_inject(&self->dev, HMM_DMIRROR_INJECT_EVICT_KEEP,
				    0, 0, 0));
	EXPECT_EQ(0, dmirror_evict_as(&self->dev, &evict));
	EXPECT_EQ(2 * BLOCK_PAGES, evict.evicted);
	EXPECT_EQ(0, evict.kept);
	EXPECT_TRUE(areas_intact(self));
}

TEST_F(evict, range)
{
	size_t total = self->dev.info.memory_size / self->page, i;
	struct hmm_dmirror_evict evict = {
		.timeout_ms = 10000,
		.flags = HMM_DMIRROR_EVICT_RANGE,
		.nr_pages = 1,
	};
	uint64_t before;
	size_t found = 0;

	ASSERT_TRUE(areas_in(self));
	/* Page by page, as far as the first block goes. */
	for (i = 0; i < BLOCK_PAGES; i++) {
		before = used_pages(&self->dev);
		evict.offset = i * self->page;
		ASSERT_EQ(0, dmirror_evict_as(&self->dev, &evict));
		EXPECT_EQ(before - evict.evicted, used_pages(&self->dev));
		found += evict.evicted;
	}
	evict.nr_pages = BLOCK_PAGES;
	evict.offset = 0;
	ASSERT_EQ(0, dmirror_evict_as(&self->dev, &evict));
	EXPECT_EQ(0, evict.evicted);

	evict.nr_pages = total - BLOCK_PAGES;
	evict.offset = HUGE;
	ASSERT_EQ(0, dmirror_evict_as(&self->dev, &evict));
	EXPECT_EQ(AREAS * BLOCK_PAGES, found + evict.evicted);
	EXPECT_EQ(0, used_pages(&self->dev));
	EXPECT_TRUE(areas_intact(self));
}

/* A copy that fails again and again: all others leave, and the result tells. */
TEST_F(evict, failing)
{
	struct hmm_dmirror_evict evict = {
		.nr_pages = ~0ull,
		.timeout_ms = 300,
	};

	ASSERT_TRUE(areas_in(self));
	ASSERT_EQ(0, dmirror_inject(&self->dev, HMM_DMIRROR_INJECT_COPY_REFUSE,
				    0, ~0U, 0));
	EXPECT_EQ(-ETIME, dmirror_evict_as(&self->dev, &evict));
	EXPECT_EQ(0, evict.evicted);
	EXPECT_LT(0, evict.failed);
	EXPECT_EQ(AREAS * BLOCK_PAGES, evict.failed + evict.untried + evict.busy);
	ASSERT_EQ(0, dmirror_inject(&self->dev, HMM_DMIRROR_INJECT_COPY_REFUSE,
				    0, 0, 0));
	evict.timeout_ms = 10000;
	EXPECT_EQ(0, dmirror_evict_as(&self->dev, &evict));
	EXPECT_EQ(AREAS * BLOCK_PAGES, evict.evicted);
	EXPECT_TRUE(areas_intact(self));
}

/* A pipe holds a page; private pages cannot be held so. */
TEST_F(evict, held)
{
	struct iovec vec = { .iov_base = self->area[1], .iov_len = self->page };
	struct hmm_dmirror_evict evict = {
		.nr_pages = ~0ull,
		.timeout_ms = 500,
	};
	char *copy = malloc(self->page);
	uint64_t evicted = 0;
	int pipes[2], i;

	if (variant->memory == PRIVATE)
		return;
	ASSERT_NE(NULL, copy);
	ASSERT_TRUE(areas_in(self));
	ASSERT_EQ(0, pipe(pipes));
	ASSERT_EQ(self->page, vmsplice(pipes[1], &vec, 1, 0));
	/* However slow the machine is, in the end only that one is left. */
	for (i = 0; i < 20 && (!i || evict.evicted || evict.untried); i++) {
		ASSERT_EQ(-ETIME, dmirror_evict_as(&self->dev, &evict));
		evicted += evict.evicted;
	}
	EXPECT_EQ(AREAS * BLOCK_PAGES - 1, evicted);
	EXPECT_EQ(1, evict.busy);
	EXPECT_EQ(0, evict.kept + evict.no_ram + evict.failed + evict.untried);
	EXPECT_EQ(1, used_pages(&self->dev));
	ASSERT_EQ(self->page, read(pipes[0], copy, self->page));
	EXPECT_EQ(0, differences(copy, self->page, 2));
	evict.timeout_ms = 10000;
	EXPECT_EQ(0, dmirror_evict_as(&self->dev, &evict));
	EXPECT_EQ(1, evict.evicted);
	EXPECT_TRUE(areas_intact(self));
}

/* Pages with their offset in the first word. */
static char *map_numbered(size_t length)
{
	char *map = map_pages(length / page_size());
	size_t i;

	for (i = 0; map && i < length; i += page_size())
		*(uint64_t *)(map + i) = i;
	return map;
}

static bool is_numbered(const char *map, size_t length)
{
	size_t i;

	for (i = 0; i < length; i += page_size())
		if (*(const volatile uint64_t *)(map + i) != i)
			return false;
	return true;
}

/* More in one call than the device has: it does not evict what it moved in. */
TEST_F(evict, too_much)
{
	size_t size = self->dev.info.memory_size;
	struct hmm_dmirror_migrate result;
	char *map;

	ASSERT_TRUE(areas_in(self));
	map = map_numbered(size + HUGE);
	ASSERT_NE(NULL, map);
	EXPECT_EQ(-ENOSPC, dmirror_make_room(&self->dev, map, size + HUGE,
					     &result));
	EXPECT_EQ((size + HUGE) / self->page, result.moved + result.left);
	EXPECT_LE(size / self->page - BLOCK_PAGES, result.moved);
	EXPECT_GE(size / self->page, result.moved);
	EXPECT_TRUE(is_numbered(map, size + HUGE));
	EXPECT_TRUE(areas_intact(self));
}

/* Room for a few pages at a time, more often than there are blocks. */
TEST_F(evict, small_steps)
{
	size_t size = self->dev.info.memory_size, step = 4 * self->page, i;
	size_t length = 3 * size / HUGE * step;
	struct hmm_dmirror_migrate result;
	char *old, *map;

	old = map_numbered(size);
	ASSERT_NE(NULL, old);
	ASSERT_EQ(0, migrate(&self->dev, old, size, HMM_DMIRROR_TO_DEVICE,
			     &result));
	ASSERT_EQ(size / self->page, result.moved);

	/* As many VMAs, and so steps. */
	map = map_numbered(length);
	ASSERT_NE(NULL, map);
	for (i = 0; i < length; i += 2 * step)
		ASSERT_EQ(0, mprotect(map + i, step, PROT_READ));
	EXPECT_EQ(0, dmirror_make_room(&self->dev, map, length, &result));
	EXPECT_EQ(length / self->page, result.moved);
	EXPECT_EQ(0, result.left);
	EXPECT_TRUE(is_numbered(map, length));
	EXPECT_TRUE(is_numbered(old, size));
}

/*
 * Work on as much as the device has, beside another one that does, block by block,
 * each moved in first: add 1 to a word of every 64th page.  Returns 0, or the number of
 * the check that failed.
 */
static int work_on_too_much(unsigned int device)
{
	struct hmm_dmirror_migrate result;
	size_t size, i, j, moved = 0, stride = 64 * page_size();
	struct dmirror dev;
	uint64_t value;
	char *map;
	int ret;

	if (dmirror_open(&dev, device))
		return 1;
	size = dev.info.memory_size;
	map = map_numbered(size);
	if (!map)
		return 2;
	for (i = 0; i < size; i += HUGE) {
		ret = dmirror_make_room(&dev, map + i, HUGE, &result);
		/* Another one may have been faster each time. */
		if (ret && ret != -ENOSPC)
			return 3;
		moved += result.moved;
		for (j = 0; j < HUGE; j += stride)
			if (dmirror_atomic_add(&dev, (uint64_t *)(map + i + j),
					       1, 1, &value))
				return 4;
	}
	for (i = 0; i < size; i += page_size())
		if (*(uint64_t *)(map + i) != i + !(i % stride))
			return 5;
	/* Most of it has been in device memory. */
	if (moved < size / page_size() / 2)
		return 6;
	dmirror_close(&dev);
	return 0;
}

TEST_F(evict, oversubscription)
{
	pid_t owners[OWNERS];
	int i, status;

	for (i = 0; i < OWNERS; i++) {
		owners[i] = fork();
		ASSERT_LE(0, owners[i]);
		if (!owners[i])
			_exit(work_on_too_much(self->dev.number));
	}
	for (i = 0; i < OWNERS; i++) {
		ASSERT_EQ(owners[i], waitpid(owners[i], &status, 0));
		EXPECT_EQ(0, status);
	}
	EXPECT_EQ(0, used_pages(&self->dev));
}

TEST_HARNESS_MAIN
