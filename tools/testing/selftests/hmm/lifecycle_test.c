// SPDX-License-Identifier: GPL-2.0
/*
 * Mappings and files come and go while memory is on the device.
 */
#define _GNU_SOURCE
#include "dmirror_test.h"

#define PAGES	32

FIXTURE(lifecycle)
{
	struct dmirror dev;
	struct dmirror watch;	/* stays open */
	size_t page;
	size_t length;
	char *data;		/* pattern 1, in device memory */
};

FIXTURE_VARIANT(lifecycle)
{
	enum hmm_dmirror_memory memory;
};

FIXTURE_VARIANT_ADD(lifecycle, private)
{
	.memory = PRIVATE,
};

FIXTURE_VARIANT_ADD(lifecycle, cdm)
{
	.memory = CDM,
};

FIXTURE_SETUP(lifecycle)
{
	struct hmm_dmirror_migrate result;

	OPEN_OR_SKIP(return, &self->dev, variant->memory, 0);
	ASSERT_EQ(0, dmirror_open(&self->watch, self->dev.number));
	ASSERT_EQ(0, self->watch.info.memory_used);
	self->page = page_size();
	self->length = PAGES * self->page;
	self->data = map_pages(PAGES);
	ASSERT_NE(NULL, self->data);
	fill(self->data, self->length, 1);
	ASSERT_EQ(0, migrate(&self->dev, self->data, self->length,
			     HMM_DMIRROR_TO_DEVICE, &result));
	ASSERT_EQ(PAGES, result.moved);
	ASSERT_EQ(0, dmirror_read(&self->dev, self->data, self->length));
	ASSERT_EQ(PAGES, mapped(&self->dev, self->data, self->length, MAPPED));
}

FIXTURE_TEARDOWN(lifecycle)
{
	dmirror_close(&self->dev);
	dmirror_close(&self->watch);
}

TEST_F(lifecycle, munmap)
{
	char *middle = self->data + 5 * self->page;

	ASSERT_EQ(0, munmap(middle, 3 * self->page));
	EXPECT_EQ(PAGES - 3, used_pages(&self->watch));
	EXPECT_EQ(HMM_DMIRROR_STATUS_NO_ACCESS,
		  dmirror_read(&self->dev, middle, 8));

	/* Mapped again, it is other memory. */
	ASSERT_EQ(middle, mmap(middle, 3 * self->page, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
			       0));
	EXPECT_EQ(0, others(middle, 3 * self->page, 0));
	EXPECT_EQ(0, differences(self->data, 5 * self->page, 1));
	ASSERT_EQ(0, munmap(self->data, self->length));
	EXPECT_EQ(0, used_pages(&self->watch));
}

TEST_F(lifecycle, madvise)
{
	uint64_t sum = 1;

	ASSERT_EQ(0, madvise(self->data, self->length, MADV_DONTNEED));
	EXPECT_EQ(0, used_pages(&self->watch));
	ASSERT_EQ(0, dmirror_sum(&self->dev, self->data, self->length, &sum));
	EXPECT_EQ(0, sum);
}

static char *move(char *from, size_t length)
{
	char *room = mmap(NULL, length, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (room == MAP_FAILED)
		return room;
	return mremap(from, length, length, MREMAP_MAYMOVE | MREMAP_FIXED,
		      room);
}

TEST_F(lifecycle, mremap_then_cpu)
{
	char *moved = move(self->data, self->length);

	ASSERT_NE(MAP_FAILED, moved);
	EXPECT_EQ(PAGES, used_pages(&self->watch));
	EXPECT_EQ(0, differences(moved, self->length, 1));
	fill(moved, self->length, 2);
	EXPECT_EQ(0, differences(moved, self->length, 2));
	EXPECT_EQ(HMM_DMIRROR_STATUS_NO_ACCESS,
		  dmirror_read(&self->dev, self->data, 8));
}

TEST_F(lifecycle, mremap_then_device)
{
	char *moved = move(self->data, self->length);
	uint64_t sum;

	ASSERT_NE(MAP_FAILED, moved);
	EXPECT_EQ(0, mapped(&self->dev, self->data, self->length, MAPPED));
	ASSERT_EQ(0, dmirror_sum(&self->dev, moved, self->length, &sum));
	EXPECT_EQ(pattern_sum(self->length, 1), sum);
	EXPECT_EQ(PAGES, used_pages(&self->watch));
	ASSERT_EQ(0, dmirror_fill(&self->dev, moved, self->length, 5));
	EXPECT_EQ(0, others(moved, self->length, 5));
	EXPECT_EQ(HMM_DMIRROR_STATUS_NO_ACCESS,
		  dmirror_read(&self->dev, self->data, 8));
}

/* Moved by a distance that is no multiple of what one page table maps. */
TEST_F(lifecycle, mremap_part)
{
	char *moved = move(self->data + 3 * self->page, 7 * self->page);
	size_t words = 3 * self->page / 8, i, wrong = 0;
	struct hmm_dmirror_migrate result;

	ASSERT_NE(MAP_FAILED, moved);
	ASSERT_EQ(0, migrate(&self->dev, moved, 2 * self->page,
			     HMM_DMIRROR_TO_RAM, &result));
	EXPECT_EQ(2, result.moved);
	for (i = 0; i < 7 * self->page / 8; i++)
		wrong += ((uint64_t *)moved)[i] != pattern(1, words + i);
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(0, differences(self->data, 3 * self->page, 1));
}

TEST_F(lifecycle, mprotect)
{
	uint64_t sum;

	ASSERT_EQ(0, mprotect(self->data, self->length, PROT_NONE));
	EXPECT_EQ(0, mapped(&self->dev, self->data, self->length, MAPPED));
	EXPECT_EQ(HMM_DMIRROR_STATUS_NO_ACCESS,
		  dmirror_read(&self->dev, self->data, 8));
	ASSERT_EQ(0, mprotect(self->data, self->length, PROT_READ));
	ASSERT_EQ(0, dmirror_sum(&self->dev, self->data, self->length, &sum));
	EXPECT_EQ(pattern_sum(self->length, 1), sum);
	EXPECT_EQ(HMM_DMIRROR_STATUS_READ_ONLY,
		  dmirror_fill(&self->dev, self->data, 8, 2));
	EXPECT_EQ(PAGES, used_pages(&self->watch));
	EXPECT_EQ(0, differences(self->data, self->length, 1));
	ASSERT_EQ(0, mprotect(self->data, self->length,
			      PROT_READ | PROT_WRITE));
	ASSERT_EQ(0, dmirror_fill(&self->dev, self->data, self->length, 2));
	EXPECT_EQ(0, others(self->data, self->length, 2));
}

/* The file is closed, its memory is still in use. */
TEST_F(lifecycle, close_then_cpu)
{
	dmirror_close(&self->dev);
	EXPECT_EQ(PAGES, used_pages(&self->watch));
	EXPECT_EQ(0, differences(self->data, self->length, 1));
	EXPECT_EQ(variant->memory == PRIVATE ? 0 : PAGES,
		  used_pages(&self->watch));
	fill(self->data, self->length, 2);
	EXPECT_EQ(0, differences(self->data, self->length, 2));
}

TEST_F(lifecycle, close_all_then_cpu)
{
	dmirror_close(&self->dev);
	dmirror_close(&self->watch);
	EXPECT_EQ(0, differences(self->data, self->length, 1));
	ASSERT_EQ(0, dmirror_open(&self->watch, self->watch.number));
	EXPECT_EQ(variant->memory == PRIVATE ? 0 : PAGES,
		  used_pages(&self->watch));
}

TEST_F(lifecycle, close_then_munmap)
{
	dmirror_close(&self->dev);
	ASSERT_EQ(0, munmap(self->data, self->length));
	EXPECT_EQ(0, used_pages(&self->watch));
}

TEST_F(lifecycle, close_then_evict)
{
	uint64_t evicted;

	dmirror_close(&self->dev);
	ASSERT_EQ(0, dmirror_evict(&self->watch, ~0ULL, &evicted));
	EXPECT_EQ(PAGES, evicted);
	EXPECT_EQ(0, used_pages(&self->watch));
	EXPECT_EQ(0, differences(self->data, self->length, 1));
}

struct runner {
	pthread_t thread;
	struct dmirror *dev;
	char *data;
	size_t length;
	int result;
};

static void *run_long(void *arg)
{
	struct runner *runner = arg;
	uint64_t value;

	runner->result = dmirror_atomic_add(runner->dev,
					    (uint64_t *)runner->data, 1,
					    20000, &value);
	return NULL;
}

/* Closed while a program runs: it runs to its end, the file is alive. */
TEST_F(lifecycle, close_while_running)
{
	struct dmirror copy = self->dev;
	struct runner runner = { .dev = &copy, .data = self->data };
	uint64_t before = pattern(1, 0);

	ASSERT_EQ(0, pthread_create(&runner.thread, NULL, run_long, &runner));
	dmirror_close(&self->dev);
	ASSERT_EQ(0, pthread_join(runner.thread, NULL));
	/* Unless the file was closed first. */
	if (runner.result != -EBADF) {
		EXPECT_EQ(0, runner.result);
		before += 20000;
	}
	EXPECT_EQ(before, *(uint64_t *)self->data);
}

/* Unmapped under a running program: it ends. */
TEST_F(lifecycle, munmap_while_running)
{
	struct runner runner = { .dev = &self->dev, .data = self->data };
	uint64_t *word = (uint64_t *)self->data;

	ASSERT_EQ(0, pthread_create(&runner.thread, NULL, run_long, &runner));
	while (__atomic_load_n(word, __ATOMIC_RELAXED) == pattern(1, 0))
		sched_yield();
	ASSERT_EQ(0, munmap(self->data, self->length));
	ASSERT_EQ(0, pthread_join(runner.thread, NULL));
	EXPECT_EQ(runner.result ? HMM_DMIRROR_STATUS_NO_ACCESS : 0,
		  runner.result);
	EXPECT_EQ(0, used_pages(&self->watch));
}

TEST_HARNESS_MAIN
