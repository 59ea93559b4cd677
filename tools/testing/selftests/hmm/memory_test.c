// SPDX-License-Identifier: GPL-2.0
/*
 * Every kind of process memory on every kind of device: what is read and
 * written, how large the device's leaves are, which of them a change takes
 * away, and that no write is lost.
 *
 * File systems differ in how they lay out a file: memory of a regular file may
 * have leaves of any size.
 */
#define _GNU_SOURCE
#include <linux/mman.h>

#include "memory.h"

#define DISK		"/disk"
#define FILE_SEED	9	/* what fill() writes to files */
#define SMALL_LENGTH	(4 * MEDIUM_SIZE)
#define MAX_PAGES	(2 * HUGE / 4096)

/* Where memory comes from. */
enum source {
	ANONYMOUS,
	SHMEM,
	REGULAR,		/* a file on DISK */
	HUGETLB,
};

/**
 * struct kind - a kind of memory
 * @source: where it comes from
 * @shared: the mapping is
 * @leaf: largest leaf that the device must have for it, 0: see above
 * @control: file to which @value is written to get it, or NULL
 */
struct kind {
	enum source source;
	bool shared;
	size_t leaf;
	const char *control;
	const char *value;
};

static const struct kind anon = {
	.source = ANONYMOUS,
	.leaf = 4 * KIB,
};

static const struct kind anon_medium = {
	.source = ANONYMOUS,
	.leaf = MEDIUM_SIZE,
	.control = THP_64K,
	.value = "madvise",
};

static const struct kind anon_huge = {
	.source = ANONYMOUS,
	.leaf = HUGE,
};

static const struct kind shmem = {
	.source = SHMEM,
	.shared = true,
	.leaf = 4 * KIB,
};

static const struct kind shmem_huge = {
	.source = SHMEM,
	.shared = true,
	.leaf = HUGE,
	.control = THP "shmem_enabled",
	.value = "advise",
};

static const struct kind file_shared = {
	.source = REGULAR,
	.shared = true,
};

static const struct kind file_private = {
	.source = REGULAR,
};

static const struct kind hugetlb = {
	.source = HUGETLB,
	.leaf = HUGE,
	.control = "/proc/sys/vm/nr_hugepages",
	.value = "4",
};

/**
 * struct memory - memory of a kind, mapped
 * @kind: which
 * @map: first byte, at a multiple of HUGE
 * @length: bytes, at most MAX_PAGES pages
 * @unit: bytes of the smallest part that munmap() and the like accept
 * @file: behind it, or -1
 * @control: what to give back to the control file
 */
struct memory {
	const struct kind *kind;
	char *map;
	size_t length;
	size_t unit;
	int file;
	char control[64];
};

/* Give each file other content than the process will write to its memory. */
static bool memory_open_file(struct memory *memory)
{
	char path[] = DISK "/hmm-memory-XXXXXX";
	char *content = malloc(memory->length);
	ssize_t length = memory->length;
	bool done;

	if (memory->kind->source == SHMEM) {
		memory->file = memfd_create("hmm", MFD_CLOEXEC);
		free(content);
		return memory->file >= 0 &&
		       !ftruncate(memory->file, memory->length);
	}
	memory->file = mkstemp(path);
	unlink(path);
	if (content)
		fill(content, memory->length, FILE_SEED);
	done = content && memory->file >= 0 &&
	       pwrite(memory->file, content, length, 0) == length;
	free(content);
	return done;
}

/* Touch the pages in an order that makes no frames of base pages contiguous. */
static void memory_populate(struct memory *memory)
{
	size_t nr = memory->length / page_size(), i;

	for (i = 0; i < nr; i++)
		((volatile char *)memory->map)[i * 7 % nr * page_size()] = 1;
	fill(memory->map, memory->length, 1);
}

/*
 * Returns what the system lacks for such memory, or NULL; @memory->map is NULL
 * after other failures.
 */
static const char *memory_create(struct memory *memory, const struct kind *kind)
{
	int flags = MAP_FIXED | (kind->shared ? MAP_SHARED : MAP_PRIVATE);
	struct stat disk, root;
	char *map;

	memory->kind = kind;
	memory->length = kind->leaf == HUGE ? 2 * HUGE : SMALL_LENGTH;
	memory->unit = kind->source == HUGETLB ? HUGE : page_size();
	if (kind->source == REGULAR &&
	    (stat(DISK, &disk) || stat("/", &root) ||
	     disk.st_dev == root.st_dev))
		return "no file system at " DISK;
	if (kind->control && !set_control(kind->control, kind->value,
					  memory->control,
					  sizeof(memory->control)))
		return "the kernel has no control for such pages";
	if ((kind->source == SHMEM || kind->source == REGULAR) &&
	    !memory_open_file(memory))
		return NULL;
	if (memory->file < 0)
		flags |= MAP_ANONYMOUS;
	if (kind->source == HUGETLB)
		flags |= MAP_HUGETLB | MAP_HUGE_2MB;

	map = reserve(memory->length);
	if (!map || mmap(map, memory->length, PROT_READ | PROT_WRITE, flags,
			 memory->file, 0) != map)
		return kind->source == HUGETLB ? "too few huge pages" : NULL;
	memory->map = map;
	if (kind->source == ANONYMOUS || kind->source == SHMEM)
		madvise(memory->map, memory->length,
			kind->leaf > page_size() ? MADV_HUGEPAGE :
						   MADV_NOHUGEPAGE);
	memory_populate(memory);
	return NULL;
}

static void memory_destroy(struct memory *memory)
{
	if (memory->map)
		munmap(memory->map, memory->length);
	if (memory->file >= 0)
		close(memory->file);
	if (memory->control[0])
		set_control(memory->kind->control, memory->control, NULL, 0);
}

/* The largest leaf possible at each page; false if it cannot be found out. */
static bool memory_leaves(const struct memory *memory,
			  const struct dmirror *dev, size_t *leaves)
{
	size_t nr = memory->length / page_size(), i;
	uint64_t entries[MAX_PAGES];

	if (!read_pagemap(memory->map, nr, entries))
		return false;
	for (i = 0; i < nr; i++)
		leaves[i] = largest_leaf(dev, entries, nr, i);
	return true;
}

FIXTURE(memory)
{
	struct dmirror dev;
	struct memory memory;
	char *map;		/* pattern 1 */
	size_t length;
	size_t page;
	size_t nr;		/* pages */
};

FIXTURE_VARIANT(memory)
{
	const struct kind *kind;
	enum hmm_dmirror_memory memory;
	bool dma;
};

FIXTURE_VARIANT_ADD(memory, anon_none) { &anon, NONE, false };
FIXTURE_VARIANT_ADD(memory, anon_dma) { &anon, NONE, true };
FIXTURE_VARIANT_ADD(memory, anon_private) { &anon, PRIVATE, false };
FIXTURE_VARIANT_ADD(memory, anon_cdm) { &anon, CDM, false };

FIXTURE_VARIANT_ADD(memory, anon_medium_none) { &anon_medium, NONE, false };
FIXTURE_VARIANT_ADD(memory, anon_medium_dma) { &anon_medium, NONE, true };
FIXTURE_VARIANT_ADD(memory, anon_medium_private) { &anon_medium, PRIVATE, false };
FIXTURE_VARIANT_ADD(memory, anon_medium_cdm) { &anon_medium, CDM, false };

FIXTURE_VARIANT_ADD(memory, anon_huge_none) { &anon_huge, NONE, false };
FIXTURE_VARIANT_ADD(memory, anon_huge_dma) { &anon_huge, NONE, true };
FIXTURE_VARIANT_ADD(memory, anon_huge_private) { &anon_huge, PRIVATE, false };

FIXTURE_VARIANT_ADD(memory, shmem_none) { &shmem, NONE, false };
FIXTURE_VARIANT_ADD(memory, shmem_dma) { &shmem, NONE, true };
FIXTURE_VARIANT_ADD(memory, shmem_private) { &shmem, PRIVATE, false };
FIXTURE_VARIANT_ADD(memory, shmem_cdm) { &shmem, CDM, false };

FIXTURE_VARIANT_ADD(memory, shmem_huge_none) { &shmem_huge, NONE, false };
FIXTURE_VARIANT_ADD(memory, shmem_huge_dma) { &shmem_huge, NONE, true };

FIXTURE_VARIANT_ADD(memory, file_shared_none) { &file_shared, NONE, false };
FIXTURE_VARIANT_ADD(memory, file_shared_dma) { &file_shared, NONE, true };
FIXTURE_VARIANT_ADD(memory, file_shared_private) { &file_shared, PRIVATE, false };
FIXTURE_VARIANT_ADD(memory, file_shared_cdm) { &file_shared, CDM, false };

FIXTURE_VARIANT_ADD(memory, file_private_none) { &file_private, NONE, false };
FIXTURE_VARIANT_ADD(memory, file_private_dma) { &file_private, NONE, true };

FIXTURE_VARIANT_ADD(memory, hugetlb_none) { &hugetlb, NONE, false };
FIXTURE_VARIANT_ADD(memory, hugetlb_dma) { &hugetlb, NONE, true };

FIXTURE_SETUP(memory)
{
	const struct kind *kind = variant->kind;
	size_t leaves[MAX_PAGES], i;
	const char *missing;

	self->memory.file = -1;
	OPEN_KIND_OR_SKIP(return, &self->dev, variant->memory, variant->dma);
	missing = memory_create(&self->memory, kind);
	self->map = self->memory.map;
	self->length = self->memory.length;
	self->page = page_size();
	self->nr = self->length / self->page;
	if (!missing) {
		ASSERT_NE(NULL, self->map);
		ASSERT_TRUE(memory_leaves(&self->memory, &self->dev, leaves));
		for (i = 0; kind->leaf > self->page && i < self->nr; i++)
			if (leaves[i] < kind->leaf)
				missing = "the kernel gave smaller pages";
	}
	if (missing) {
		memory_destroy(&self->memory);
		SKIP(return, "%s", missing);
	}
}

FIXTURE_TEARDOWN(memory)
{
	dmirror_close(&self->dev);
	memory_destroy(&self->memory);
}

/* The number of words of the file that are not what fill() or FILL wrote. */
static ssize_t file_differences(const struct memory *memory, size_t start,
				size_t length, bool filled, uint64_t word)
{
	char *content = malloc(memory->length);
	ssize_t size = memory->length, nr = -1;

	if (content && pread(memory->file, content, size, 0) == size)
		nr = filled ? others(content + start, length, word) :
			      differences(content + start, length, word);
	free(content);
	return nr;
}

#define EXPECT_FILE_FILLED(word, start, size) \
	EXPECT_EQ(0, file_differences(&self->memory, start, size, true, word))

#define EXPECT_FILE_UNCHANGED() \
	EXPECT_EQ(0, file_differences(&self->memory, 0, self->length, false, \
				      FILE_SEED))

#define EXPECT_DEVICE_SUM(expected, start, size) do { \
	uint64_t __sum = 0; \
	EXPECT_EQ(0, dmirror_sum(&self->dev, start, size, &__sum)); \
	EXPECT_EQ((uint64_t)(expected), __sum); \
} while (0)

TEST_F(memory, read_and_write)
{
	size_t half = self->length / 2;

	EXPECT_DEVICE_SUM(pattern_sum(self->length, 1), self->map,
			  self->length);

	/* What the CPU writes now, the device reads. */
	fill(self->map, self->length, 2);
	EXPECT_DEVICE_SUM(pattern_sum(self->length, 2), self->map,
			  self->length);

	/* What the device writes, and only that, the CPU reads. */
	ASSERT_EQ(0, dmirror_fill(&self->dev, self->map, half, 77));
	EXPECT_EQ(0, others(self->map, half, 77));
	EXPECT_EQ(pattern(2, half / 8), *(uint64_t *)(self->map + half));
	EXPECT_EQ(self->nr, mapped(&self->dev, self->map, self->length,
				   MAPPED));

	if (self->memory.file >= 0 && variant->kind->shared)
		EXPECT_FILE_FILLED(77, 0, half);
	if (self->memory.file >= 0 && !variant->kind->shared)
		EXPECT_FILE_UNCHANGED();
}

/* Memory that no CPU has touched. */
TEST_F(memory, device_first)
{
	size_t half = self->length / 2;
	uint64_t sum = 0;

	if (self->memory.file >= 0 && !variant->kind->shared)
		sum = pattern_sum(self->length, FILE_SEED);
	if (variant->kind->shared)
		sum = pattern_sum(self->length, 1);
	ASSERT_EQ(0, madvise(self->map, self->length, MADV_DONTNEED));
	EXPECT_DEVICE_SUM(sum, self->map, self->length);
	ASSERT_EQ(0, dmirror_fill(&self->dev, self->map, half, 78));
	EXPECT_EQ(0, others(self->map, half, 78));

	ASSERT_EQ(0, madvise(self->map, self->length, MADV_DONTNEED));
	ASSERT_EQ(0, dmirror_fill(&self->dev, self->map, self->length, 79));
	EXPECT_EQ(0, others(self->map, self->length, 79));
	if (variant->kind->source == REGULAR && !variant->kind->shared)
		EXPECT_FILE_UNCHANGED();
}

TEST_F(memory, read_only)
{
	struct hmm_dmirror_run run = {
		.program = HMM_DMIRROR_FILL,
		.addr = (uintptr_t)self->map + self->length / 2 + 8,
		.length = self->page,
		.operand = 55,
	};

	/* The device may write to all of it before. */
	ASSERT_EQ(0, dmirror_fill(&self->dev, self->map, self->length, 33));
	ASSERT_EQ(self->nr, mapped(&self->dev, self->map, self->length,
				   MAPPED | WRITE));
	ASSERT_EQ(0, mprotect(self->map, self->length, PROT_READ));
	EXPECT_EQ(HMM_DMIRROR_STATUS_READ_ONLY,
		  dmirror_run(&self->dev, &run));
	EXPECT_EQ(run.addr, run.fault_addr);
	EXPECT_EQ(0, run.result);
	EXPECT_DEVICE_SUM(33 * (self->length / 8), self->map, self->length);
	EXPECT_EQ(self->nr, mapped(&self->dev, self->map, self->length,
				   MAPPED));
	EXPECT_EQ(0, mapped(&self->dev, self->map, self->length, WRITE));

	/* Mapped by now, and still not for writing. */
	EXPECT_EQ(HMM_DMIRROR_STATUS_READ_ONLY,
		  dmirror_run(&self->dev, &run));
	EXPECT_EQ(0, others(self->map, self->length, 33));
	ASSERT_EQ(0, mprotect(self->map, self->length, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, dmirror_run(&self->dev, &run));
	EXPECT_EQ(55, *(uint64_t *)(uintptr_t)run.addr);
}

/* Leaves are as large as frames, addresses and the device allow. */
TEST_F(memory, largest_leaf)
{
	size_t leaves[MAX_PAGES], i, wrong = 0, small = 0;
	unsigned char pages[MAX_PAGES] = {};
	struct hmm_dmirror_prefetch result;

	ASSERT_EQ(0, dmirror_prefetch(&self->dev, self->map, self->length,
				      HMM_DMIRROR_PREFETCH_WRITE, &result));
	EXPECT_EQ(self->nr, result.mapped);
	ASSERT_TRUE(memory_leaves(&self->memory, &self->dev, leaves));
	ASSERT_EQ(0, dmirror_snapshot(&self->dev, self->map, self->length,
				      pages));
	for (i = 0; i < self->nr; i++) {
		wrong += (pages[i] & (MAPPED | WRITE)) != (MAPPED | WRITE) ||
			 leaf_size(pages[i]) != leaves[i];
		small += variant->kind->leaf &&
			 leaf_size(pages[i]) != variant->kind->leaf;
	}
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(0, small);
}

/* One fault maps one large leaf, or the small ones around it. */
TEST_F(memory, one_fault)
{
	size_t leaves[MAX_PAGES], middle = self->nr / 2 + 5, around;
	struct hmm_dmirror_run run = {
		.program = HMM_DMIRROR_READ,
		.addr = (uintptr_t)self->map + middle * self->page,
		.length = 8,
	};
	struct hmm_dmirror_stats before, after;
	char *start;

	ASSERT_TRUE(memory_leaves(&self->memory, &self->dev, leaves));
	around = leaves[middle] == HUGE ? HUGE : MEDIUM_SIZE;
	ASSERT_EQ(0, dmirror_stats(&self->dev, &before));
	ASSERT_EQ(0, dmirror_run(&self->dev, &run));
	ASSERT_EQ(0, dmirror_stats(&self->dev, &after));
	EXPECT_EQ(1, run.faults);
	EXPECT_EQ(1, after.faults - before.faults);
	EXPECT_EQ(around / leaves[middle],
		  after.mapped_entries - before.mapped_entries);
	EXPECT_EQ(around / self->page, after.mapped_pages - before.mapped_pages);

	start = (char *)(uintptr_t)(run.addr & ~(around - 1));
	EXPECT_EQ(around / self->page, mapped(&self->dev, start, around, MAPPED));
	EXPECT_EQ(around / self->page, mapped(&self->dev, self->map,
					      self->length, MAPPED));
	EXPECT_EQ(leaves[middle], leaf_size(page_flags(&self->dev,
						       self->map +
						       middle * self->page)));
}

/*
 * The device has written 44 to all of the memory. Change a small part of it,
 * @change, in the middle of a leaf: this leaf goes, those beside it stay, and so
 * does what was written. Returns the part.
 */
static char *change_part(struct __test_metadata *_metadata,
			 struct _test_data_memory *self,
			 int (*change)(char *part, size_t length))
{
	size_t i, first, last, zapped = 0, kept = 0, middle = self->nr / 2;
	unsigned char before[MAX_PAGES] = {}, after[MAX_PAGES] = {};
	size_t unit = self->memory.unit, leaf;
	char *part, *rest, *end = self->map + self->length;

	middle += unit == self->page ? 5 : 0;
	part = self->map + middle * self->page;
	rest = part + unit;
	ASSERT_EQ(0, dmirror_fill(&self->dev, self->map, self->length, 44));
	ASSERT_EQ(0, dmirror_prefetch(&self->dev, self->map, self->length,
				      HMM_DMIRROR_PREFETCH_WRITE, NULL));
	ASSERT_EQ(0, dmirror_snapshot(&self->dev, self->map, self->length,
				      before));
	leaf = leaf_size(before[middle]) / self->page;
	first = middle - middle % leaf;
	last = first + leaf;

	ASSERT_EQ(0, change(part, unit));
	ASSERT_EQ(0, dmirror_snapshot(&self->dev, self->map, self->length,
				      after));
	for (i = 0; i < self->nr; i++) {
		if (i >= first && i < last)
			zapped += after[i] == 0;
		else
			kept += (before[i] & MAPPED) && after[i] == before[i];
	}
	EXPECT_EQ(leaf, zapped);
	EXPECT_EQ(self->nr - leaf, kept);

	EXPECT_EQ(0, others(self->map, part - self->map, 44));
	EXPECT_EQ(0, others(rest, end - rest, 44));
	EXPECT_DEVICE_SUM(44 * ((part - self->map) / 8), self->map,
			  part - self->map);
	if (rest < end)
		EXPECT_DEVICE_SUM(44 * ((end - rest) / 8), rest, end - rest);
	return part;
}

static int unmap_part(char *part, size_t length)
{
	return munmap(part, length);
}

TEST_F(memory, unmap_part)
{
	char *part = change_part(_metadata, self, unmap_part);

	EXPECT_EQ(HMM_DMIRROR_STATUS_NO_ACCESS,
		  dmirror_read(&self->dev, part, 8));
	EXPECT_EQ(HMM_DMIRROR_STATUS_NO_ACCESS,
		  dmirror_fill(&self->dev, part + self->memory.unit - 8, 8, 1));
	EXPECT_EQ(0, mapped(&self->dev, part, self->memory.unit, MAPPED));
}

static int protect_part(char *part, size_t length)
{
	return mprotect(part, length, PROT_READ);
}

TEST_F(memory, protect_part)
{
	char *part = change_part(_metadata, self, protect_part);
	size_t unit = self->memory.unit;

	EXPECT_DEVICE_SUM(44 * (unit / 8), part, unit);
	EXPECT_EQ(HMM_DMIRROR_STATUS_READ_ONLY,
		  dmirror_fill(&self->dev, part, 8, 45));
	EXPECT_EQ(0, mapped(&self->dev, part, unit, WRITE));
	EXPECT_EQ(0, others(part, unit, 44));

	/* What lies beside it may be written. */
	EXPECT_EQ(0, dmirror_fill(&self->dev, part - self->page, self->page,
				  46));
	EXPECT_EQ(0, others(part - self->page, self->page, 46));
	ASSERT_EQ(0, mprotect(part, unit, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, dmirror_fill(&self->dev, part, unit, 47));
	EXPECT_EQ(0, others(part, unit, 47));
}

static int forget_part(char *part, size_t length)
{
	return madvise(part, length, MADV_DONTNEED);
}

TEST_F(memory, forget_part)
{
	char *part = change_part(_metadata, self, forget_part);
	size_t unit = self->memory.unit;
	uint64_t sum = 0;
	size_t i;

	/* Back comes what is in the file, if there is one. */
	if (variant->kind->shared)
		sum = 44 * (unit / 8);
	else if (variant->kind->source == REGULAR)
		for (i = 0; i < unit / 8; i++)
			sum += pattern(FILE_SEED, (part - self->map) / 8 + i);
	EXPECT_DEVICE_SUM(sum, part, unit);
	EXPECT_EQ(0, dmirror_fill(&self->dev, part, unit, 45));
	EXPECT_EQ(0, others(part, unit, 45));
}

/* The device writes the first words of each page; the rest is pattern 1. */
static int write_each(struct dmirror *dev, char *map, size_t nr)
{
	size_t i;
	int ret = 0;

	for (i = 0; i < nr && !ret; i++)
		ret = dmirror_fill(dev, map + i * page_size(), 16, 100 + i);
	return ret;
}

/* How many pages do not have what write_each() wrote, and pattern 1. */
static size_t lost(const char *map, size_t nr)
{
	size_t words = page_size() / 8, found = 0, i;
	const uint64_t *page;

	for (i = 0; i < nr; i++) {
		page = (const uint64_t *)map + i * words;
		found += page[0] != 100 + i || page[1] != 100 + i ||
			 page[2] != pattern(1, i * words + 2) ||
			 page[words - 1] != pattern(1, (i + 1) * words - 1);
	}
	return found;
}

/* Paged out and read again, a page is clean: the device's write must be noticed. */
static void survive_page_out(struct __test_metadata *_metadata,
			     struct _test_data_memory *self)
{
	ASSERT_TRUE(page_out(self->map, self->length));
	ASSERT_EQ(0, differences(self->map, self->length, 1));
	ASSERT_EQ(0, write_each(&self->dev, self->map, self->nr));
	ASSERT_TRUE(page_out(self->map, self->length));
	EXPECT_EQ(0, mapped(&self->dev, self->map, self->length, MAPPED));
	EXPECT_EQ(0, lost(self->map, self->nr));
}

/* A write after MADV_FREE keeps the page. */
static void survive_free(struct __test_metadata *_metadata,
			 struct _test_data_memory *self)
{
	size_t half = self->length / 2;
	int i;

	ASSERT_EQ(0, dmirror_fill(&self->dev, self->map, self->length, 61));
	drain_lru();
	ASSERT_EQ(0, madvise(self->map, self->length, MADV_FREE));
	ASSERT_EQ(0, dmirror_fill(&self->dev, self->map, half, 62));
	for (i = 0; i < 3; i++) {
		drain_lru();
		ASSERT_EQ(0, madvise(self->map, self->length, MADV_PAGEOUT));
	}
	EXPECT_EQ(0, others(self->map, half, 62));
}

/* Pages of the file that are in the page cache. */
static long pages_cached(const struct memory *memory)
{
	char *map = mmap(NULL, memory->length, PROT_READ, MAP_SHARED,
			 memory->file, 0);
	size_t nr = memory->length / page_size(), i;
	unsigned char pages[MAX_PAGES] = {};
	long found = 0;

	if (map == MAP_FAILED || mincore(map, memory->length, pages))
		return -EIO;
	for (i = 0; i < nr; i++)
		found += pages[i] & 1;
	munmap(map, memory->length);
	return found;
}

/* Written back, a page is clean; the device's next write must be noticed. */
static void survive_writeback(struct __test_metadata *_metadata,
			      struct _test_data_memory *self)
{
	struct memory *memory = &self->memory;
	int i;

	ASSERT_EQ(0, dmirror_fill(&self->dev, self->map, self->length, 71));
	ASSERT_EQ(0, msync(self->map, self->length, MS_SYNC));
	EXPECT_EQ(0, mapped(&self->dev, self->map, self->length, WRITE));
	ASSERT_EQ(0, dmirror_fill(&self->dev, self->map, self->length / 2, 72));
	ASSERT_EQ(0, munmap(self->map, self->length));
	self->map = NULL;
	memory->map = NULL;
	ASSERT_EQ(0, fsync(memory->file));
	for (i = 0; i < 50 && pages_cached(memory); i++) {
		drain_lru();
		posix_fadvise(memory->file, 0, 0, POSIX_FADV_DONTNEED);
		usleep(10000);
	}
	ASSERT_EQ(0, pages_cached(memory));
	EXPECT_FILE_FILLED(72, 0, self->length / 2);
	EXPECT_FILE_FILLED(71, self->length / 2, self->length / 2);
}

/* Whatever takes a page away, what the device wrote comes back. */
TEST_F(memory, keeps_writes)
{
	const struct kind *kind = variant->kind;

	if (kind->source == HUGETLB) {
		/* Not reclaimed, but unmapped from the device by its close. */
		ASSERT_EQ(0, write_each(&self->dev, self->map, self->nr));
		dmirror_close(&self->dev);
		EXPECT_EQ(0, lost(self->map, self->nr));
		return;
	}
	if (kind->source == REGULAR && kind->shared) {
		survive_writeback(_metadata, self);
		return;
	}
	if (!have_swap())
		SKIP(return, "no swap space");
	survive_page_out(_metadata, self);
	if (kind->source == ANONYMOUS)
		survive_free(_metadata, self);
}

TEST_HARNESS_MAIN
