// SPDX-License-Identifier: GPL-2.0
/*
 * A device write is never lost, whatever reclaim does with the page.
 *
 * The recipe: page out, read in again (the entry is writable and clean, swap
 * holds a valid copy), let the device write, page out again: if the page is not
 * dirty, reclaim drops it and the old copy comes back from swap.
 */
#define _GNU_SOURCE
#include "memory.h"

#define PAGES		64
#define PM_SWAP		(1ULL << 62)

FIXTURE(dirty)
{
	struct dmirror dev;
	size_t page;
	size_t length;
	char *data;	/* pattern 1 */
	int pagemap;
};

FIXTURE_VARIANT(dirty)
{
	enum hmm_dmirror_memory memory;
};

FIXTURE_VARIANT_ADD(dirty, none)
{
	.memory = NONE,
};

FIXTURE_VARIANT_ADD(dirty, private)
{
	.memory = PRIVATE,
};

FIXTURE_VARIANT_ADD(dirty, cdm)
{
	.memory = CDM,
};

/* Pages of the range whose entry in /proc/self/pagemap has @flag. */
static long pages_with(int pagemap, const char *start, uint64_t flag)
{
	uint64_t entries[PAGES];
	off_t at = (uintptr_t)start / page_size() * sizeof(*entries);
	long nr = 0;
	int i;

	if (pread(pagemap, entries, sizeof(entries), at) != sizeof(entries))
		return -EIO;
	for (i = 0; i < PAGES; i++)
		nr += (entries[i] & flag) != 0;
	return nr;
}

FIXTURE_SETUP(dirty)
{
	OPEN_OR_SKIP(return, &self->dev, variant->memory, 0);
	if (!have_swap())
		SKIP(return, "no swap space");
	self->page = page_size();
	self->length = PAGES * self->page;
	self->data = map_pages(PAGES);
	ASSERT_NE(NULL, self->data);
	fill(self->data, self->length, 1);
	self->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, self->pagemap);
}

FIXTURE_TEARDOWN(dirty)
{
	close(self->pagemap);
	dmirror_close(&self->dev);
}

#define PAGE_OUT(data) page_out(data, self->length)

/* The device writes the first words of each page; the rest stays. */
static int write_each(struct dmirror *dev, char *data)
{
	size_t i;
	int ret = 0;

	for (i = 0; i < PAGES && !ret; i++)
		ret = dmirror_fill(dev, data + i * page_size(), 16, 100 + i);
	return ret;
}

/* How many pages do not have what write_each() wrote, and pattern 1. */
static size_t lost(const char *data)
{
	size_t words = page_size() / 8, i, nr = 0;
	const uint64_t *page;

	for (i = 0; i < PAGES; i++) {
		page = (const uint64_t *)data + i * words;
		nr += page[0] != 100 + i || page[1] != 100 + i ||
		      page[2] != pattern(1, i * words + 2) ||
		      page[words - 1] != pattern(1, (i + 1) * words - 1);
	}
	return nr;
}

TEST_F(dirty, anonymous)
{
	ASSERT_TRUE(PAGE_OUT(self->data));
	ASSERT_EQ(PAGES, pages_with(self->pagemap, self->data, PM_SWAP));
	ASSERT_EQ(0, differences(self->data, self->length, 1));
	ASSERT_EQ(0, write_each(&self->dev, self->data));
	ASSERT_TRUE(PAGE_OUT(self->data));
	EXPECT_EQ(0, lost(self->data));
}

/* The device reads first: the entry that it then writes through is there. */
TEST_F(dirty, device_reads_first)
{
	ASSERT_TRUE(PAGE_OUT(self->data));
	ASSERT_EQ(0, dmirror_read(&self->dev, self->data, self->length));
	ASSERT_EQ(0, write_each(&self->dev, self->data));
	ASSERT_TRUE(PAGE_OUT(self->data));
	EXPECT_EQ(0, lost(self->data));
}

/* Several rounds: dirty must be said each time that an entry is dropped. */
TEST_F(dirty, again)
{
	int round;

	for (round = 0; round < 3; round++) {
		ASSERT_EQ(0, dmirror_fill(&self->dev, self->data, self->length,
					  round + 1));
		ASSERT_TRUE(PAGE_OUT(self->data));
		EXPECT_EQ(0, others(self->data, self->length, round + 1));
		ASSERT_TRUE(PAGE_OUT(self->data));
		EXPECT_EQ(0, others(self->data, self->length, round + 1));
	}
}

TEST_F(dirty, atomics_and_copy)
{
	uint64_t value, *word = (uint64_t *)self->data;
	size_t half = self->length / 2;

	ASSERT_TRUE(PAGE_OUT(self->data));
	ASSERT_EQ(0, differences(self->data, self->length, 1));
	ASSERT_EQ(0, dmirror_atomic_add(&self->dev, word, 5, 4, &value));
	ASSERT_EQ(0, dmirror_copy(&self->dev, self->data + half, self->data,
				  half));
	ASSERT_TRUE(PAGE_OUT(self->data));
	EXPECT_EQ(pattern(1, 0) + 20, word[0]);
	EXPECT_EQ(pattern(1, 0) + 20, word[half / 8]);
	word[0] = pattern(1, 0);
	word[half / 8] = pattern(1, 0);
	EXPECT_EQ(0, differences(self->data, half, 1));
	EXPECT_EQ(0, differences(self->data + half, half, 1));
}

/* Written, then unmapped from the device by its close. */
TEST_F(dirty, close)
{
	ASSERT_TRUE(PAGE_OUT(self->data));
	ASSERT_EQ(0, differences(self->data, self->length, 1));
	ASSERT_EQ(0, write_each(&self->dev, self->data));
	dmirror_close(&self->dev);
	ASSERT_TRUE(PAGE_OUT(self->data));
	EXPECT_EQ(0, lost(self->data));
}

/* Written, then made read-only: the entry is dropped for that. */
TEST_F(dirty, mprotect)
{
	ASSERT_TRUE(PAGE_OUT(self->data));
	ASSERT_EQ(0, differences(self->data, self->length, 1));
	ASSERT_EQ(0, write_each(&self->dev, self->data));
	ASSERT_EQ(0, mprotect(self->data, self->length, PROT_READ));
	ASSERT_TRUE(PAGE_OUT(self->data));
	EXPECT_EQ(0, lost(self->data));
}

/*
 * Written in device memory; paged out from RAM. Pages still on their way to
 * swap are left at first.
 */
TEST_F(dirty, migrated)
{
	int expected = variant->memory == NONE ? -EOPNOTSUPP : 0, i;
	struct hmm_dmirror_migrate result;
	uint64_t moved = 0;

	ASSERT_TRUE(PAGE_OUT(self->data));
	ASSERT_EQ(0, differences(self->data, self->length, 1));
	for (i = 0; i < (expected ? 1 : 100) && moved < PAGES; i++) {
		ASSERT_EQ(expected, migrate(&self->dev, self->data,
					    self->length,
					    HMM_DMIRROR_TO_DEVICE, &result));
		moved += result.moved;
		drain_lru();
	}
	EXPECT_EQ(expected ? 0 : PAGES, moved);
	ASSERT_EQ(0, write_each(&self->dev, self->data));
	ASSERT_EQ(expected, migrate(&self->dev, self->data, self->length,
				    HMM_DMIRROR_TO_RAM, &result));
	ASSERT_TRUE(PAGE_OUT(self->data));
	EXPECT_EQ(0, lost(self->data));
}

TEST_F(dirty, shared)
{
	int file = memfd_create("hmm", MFD_CLOEXEC);
	char *map;

	ASSERT_LE(0, file);
	ASSERT_EQ(0, ftruncate(file, self->length));
	map = mmap(NULL, self->length, PROT_READ | PROT_WRITE, MAP_SHARED,
		   file, 0);
	ASSERT_NE(MAP_FAILED, map);
	fill(map, self->length, 1);
	ASSERT_TRUE(PAGE_OUT(map));
	ASSERT_EQ(0, differences(map, self->length, 1));
	ASSERT_EQ(0, write_each(&self->dev, map));
	ASSERT_TRUE(PAGE_OUT(map));
	EXPECT_EQ(0, lost(map));
	close(file);
}

/* What comes back from swap is dirty there; what was only read is not. */
TEST_F(dirty, shared_hole)
{
	int file = memfd_create("hmm", MFD_CLOEXEC);
	char *map;

	ASSERT_LE(0, file);
	ASSERT_EQ(0, ftruncate(file, self->length));
	map = mmap(NULL, self->length, PROT_READ | PROT_WRITE, MAP_SHARED,
		   file, 0);
	ASSERT_NE(MAP_FAILED, map);
	ASSERT_EQ(0, others(map, self->length, 0));
	ASSERT_EQ(0, dmirror_fill(&self->dev, map, self->length, 42));
	ASSERT_TRUE(PAGE_OUT(map));
	EXPECT_EQ(0, others(map, self->length, 42));
	close(file);
}

/* A write takes MADV_FREE back: reclaim must not drop what it wrote. */
TEST_F(dirty, madvise_free)
{
	size_t i;

	drain_lru();
	ASSERT_EQ(0, madvise(self->data, self->length, MADV_FREE));
	ASSERT_EQ(0, dmirror_fill(&self->dev, self->data, self->length, 42));
	for (i = 0; i < 5; i++) {
		drain_lru();
		ASSERT_EQ(0, madvise(self->data, self->length, MADV_PAGEOUT));
	}
	EXPECT_EQ(0, others(self->data, self->length, 42));
}

/* Without the write it is dropped: the test above means something. */
TEST_F(dirty, madvise_free_drops)
{
	size_t i;

	drain_lru();
	ASSERT_EQ(0, dmirror_fill(&self->dev, self->data, self->length, 41));
	ASSERT_EQ(0, madvise(self->data, self->length, MADV_FREE));
	for (i = 0; i < 5; i++) {
		drain_lru();
		ASSERT_EQ(0, madvise(self->data, self->length, MADV_PAGEOUT));
	}
	EXPECT_EQ(0, others(self->data, self->length, 0));
}

/* The same with a device entry from before. */
TEST_F(dirty, madvise_free_of_mapped)
{
	size_t i;

	ASSERT_EQ(0, dmirror_fill(&self->dev, self->data, self->length, 41));
	drain_lru();
	ASSERT_EQ(0, madvise(self->data, self->length, MADV_FREE));
	ASSERT_EQ(0, dmirror_fill(&self->dev, self->data, self->length, 42));
	for (i = 0; i < 5; i++) {
		drain_lru();
		ASSERT_EQ(0, madvise(self->data, self->length, MADV_PAGEOUT));
	}
	EXPECT_EQ(0, others(self->data, self->length, 42));
}

TEST_HARNESS_MAIN
