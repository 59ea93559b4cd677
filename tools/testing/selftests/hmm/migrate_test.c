// SPDX-License-Identifier: GPL-2.0
/*
 * Memory moves to device memory and back, exactly what should, with its data.
 */
#define _GNU_SOURCE
#include "dmirror_test.h"
#include "numa.h"

#define PAGES	64

FIXTURE(migrate)
{
	struct dmirror dev;
	struct hmm_dmirror_migrate result;
	struct hmm_dmirror_stats before, after;
	size_t page;
	size_t length;
	char *data;	/* PAGES pages with pattern 1 */
};

FIXTURE_VARIANT(migrate)
{
	enum hmm_dmirror_memory memory;
};

FIXTURE_VARIANT_ADD(migrate, private)
{
	.memory = PRIVATE,
};

FIXTURE_VARIANT_ADD(migrate, cdm)
{
	.memory = CDM,
};

FIXTURE_SETUP(migrate)
{
	struct hmm_dmirror_info info;

	OPEN_OR_SKIP(return, &self->dev, variant->memory, 0);
	self->page = page_size();
	self->length = PAGES * self->page;
	self->data = map_pages(PAGES);
	ASSERT_NE(NULL, self->data);
	fill(self->data, self->length, 1);
	/* What others left behind would spoil the counts. */
	ASSERT_EQ(0, dmirror_info(&self->dev, &info));
	ASSERT_EQ(0, info.memory_used);
	ASSERT_EQ(0, dmirror_stats(&self->dev, &self->before));
}

FIXTURE_TEARDOWN(migrate)
{
	dmirror_close(&self->dev);
}

#define EXPECT_COUNTS(n_moved, n_filled, n_left) do { \
	EXPECT_EQ(n_moved, self->result.moved); \
	EXPECT_EQ(n_filled, self->result.filled); \
	EXPECT_EQ(n_left, self->result.left); \
} while (0)

#define TO_DEVICE(start, size) \
	migrate(&self->dev, start, size, HMM_DMIRROR_TO_DEVICE, &self->result)
#define TO_RAM(start, size) \
	migrate(&self->dev, start, size, HMM_DMIRROR_TO_RAM, &self->result)

/* How much a counter grew since the test began, or ~0. */
static uint64_t grown(struct _test_data_migrate *self, size_t counter)
{
	const char *before = (char *)&self->before;
	const char *after = (char *)&self->after;

	if (dmirror_stats(&self->dev, &self->after))
		return ~0ULL;
	return *(uint64_t *)(after + counter) - *(uint64_t *)(before + counter);
}

#define GREW(member) grown(self, offsetof(struct hmm_dmirror_stats, member))

/* Pages of the range that the device reaches in its own memory. */
static long in_device(struct dmirror *dev, const void *start, size_t length)
{
	int kind = dev->info.memory == PRIVATE ? HMM_DMIRROR_PAGE_PRIVATE :
						 HMM_DMIRROR_PAGE_CDM;

	if (dmirror_read(dev, start, length))
		return -EIO;
	return mapped(dev, start, length, MAPPED | kind);
}

TEST_F(migrate, there_and_back)
{
	uint64_t sum;

	ASSERT_EQ(0, TO_DEVICE(self->data, self->length));
	EXPECT_COUNTS(PAGES, 0, 0);
	EXPECT_EQ(self->length, memory_used(&self->dev));
	EXPECT_EQ(PAGES, GREW(migrated_in));
	EXPECT_EQ(self->length, GREW(bytes_copied));

	/* The device table is empty until the device touches. */
	EXPECT_EQ(0, mapped(&self->dev, self->data, self->length, MAPPED));
	EXPECT_EQ(PAGES, in_device(&self->dev, self->data, self->length));
	ASSERT_EQ(0, dmirror_sum(&self->dev, self->data, self->length, &sum));
	EXPECT_EQ(pattern_sum(self->length, 1), sum);

	/* There already. */
	ASSERT_EQ(0, TO_DEVICE(self->data, self->length));
	EXPECT_COUNTS(0, 0, PAGES);

	ASSERT_EQ(0, dmirror_fill(&self->dev, self->data, self->page, 9));
	EXPECT_EQ(PAGES, in_device(&self->dev, self->data, self->length));
	EXPECT_EQ(0, GREW(migrated_out));
	EXPECT_EQ(0, GREW(cpu_faults));
	ASSERT_EQ(0, TO_RAM(self->data, self->length));
	EXPECT_COUNTS(PAGES, 0, 0);
	EXPECT_EQ(0, GREW(cpu_faults));
	EXPECT_EQ(PAGES, GREW(migrated_out));
	EXPECT_EQ(2 * self->length, GREW(bytes_copied));
	EXPECT_EQ(0, memory_used(&self->dev));
	EXPECT_EQ(0, others(self->data, self->page, 9));
	fill(self->data, self->page, 1);
	EXPECT_EQ(0, differences(self->data, self->length, 1));
	EXPECT_EQ(0, in_device(&self->dev, self->data, self->length));

	/* In RAM already. */
	ASSERT_EQ(0, TO_RAM(self->data, self->length));
	EXPECT_COUNTS(0, 0, PAGES);
}

TEST_F(migrate, cpu_reads_it)
{
	ASSERT_EQ(0, TO_DEVICE(self->data, self->length));
	ASSERT_EQ(PAGES, in_device(&self->dev, self->data, self->length));
	EXPECT_EQ(0, differences(self->data, self->length, 1));
	if (variant->memory == CDM) {
		/* The CPU reads it where it is. */
		EXPECT_EQ(0, GREW(migrated_out));
		EXPECT_EQ(self->length, memory_used(&self->dev));
		EXPECT_EQ(PAGES, in_device(&self->dev, self->data,
					   self->length));
		return;
	}
	EXPECT_LT(0, GREW(cpu_faults));
	EXPECT_GE(PAGES, GREW(cpu_faults));
	EXPECT_EQ(PAGES, GREW(migrated_out));
	EXPECT_EQ(0, memory_used(&self->dev));
	EXPECT_EQ(0, in_device(&self->dev, self->data, self->length));
}

TEST_F(migrate, cpu_writes_it)
{
	uint64_t sum;

	ASSERT_EQ(0, TO_DEVICE(self->data, self->length));
	ASSERT_EQ(PAGES, in_device(&self->dev, self->data, self->length));
	fill(self->data, self->length, 2);
	ASSERT_EQ(0, dmirror_sum(&self->dev, self->data, self->length, &sum));
	EXPECT_EQ(pattern_sum(self->length, 2), sum);
}

/* The kernel touches it for a system call. */
TEST_F(migrate, system_call_reads_it)
{
	char *copy = map_pages(1);
	int ends[2];

	ASSERT_NE(NULL, copy);
	ASSERT_EQ(0, pipe(ends));
	ASSERT_EQ(0, TO_DEVICE(self->data, self->length));
	ASSERT_EQ(self->page, write(ends[1], self->data, self->page));
	ASSERT_EQ(self->page, read(ends[0], copy, self->page));
	EXPECT_EQ(0, differences(copy, self->page, 1));
	ASSERT_EQ(self->page, write(ends[1], copy, self->page));
	ASSERT_EQ(self->page, read(ends[0], self->data + self->length / 2,
				   self->page));
	EXPECT_EQ(0, differences(self->data + self->length / 2, self->page,
				 1));
}

TEST_F(migrate, part_of_it)
{
	char *middle = self->data + 10 * self->page;
	uint64_t sum;

	ASSERT_EQ(0, TO_DEVICE(middle, 5 * self->page));
	EXPECT_COUNTS(5, 0, 0);
	EXPECT_EQ(5, in_device(&self->dev, self->data, self->length));
	ASSERT_EQ(0, dmirror_sum(&self->dev, self->data, self->length, &sum));
	EXPECT_EQ(pattern_sum(self->length, 1), sum);
	ASSERT_EQ(0, TO_DEVICE(self->data, self->length));
	EXPECT_COUNTS(PAGES - 5, 0, 5);
	ASSERT_EQ(0, TO_RAM(middle, 5 * self->page));
	EXPECT_COUNTS(5, 0, 0);
	EXPECT_EQ(PAGES - 5, in_device(&self->dev, self->data, self->length));
	ASSERT_EQ(0, TO_RAM(self->data, self->length));
	EXPECT_COUNTS(PAGES - 5, 0, 5);
	EXPECT_EQ(0, differences(self->data, self->length, 1));
}

/*
 * Memory comes back to the node that a policy names: of its VMA, of the thread that
 * asks for it, or of the thread that evicts it.
 */
TEST_F(migrate, numa_policy)
{
	enum { OF_VMA, OF_THREAD, OF_EVICTOR, NR_POLICIES } whose;
	unsigned long node_1 = 2;
	uint64_t evicted;
	int err;

	for (whose = OF_VMA; whose < NR_POLICIES; whose++) {
		if (whose > OF_VMA)
			self->data = map_pages(PAGES);
		ASSERT_NE(NULL, self->data);
		fill(self->data, self->length, 1);
		if (pages_on_node(self->data, PAGES, 0) != PAGES)
			SKIP(return, "this CPU is not on node 0");
		ASSERT_EQ(0, TO_DEVICE(self->data, self->length));
		if (whose == OF_VMA)
			err = syscall(__NR_mbind, self->data, self->length,
				      POLICY_BIND, &node_1, 64, 0);
		else
			err = syscall(__NR_set_mempolicy, POLICY_BIND, &node_1, 64);
		if (err)
			SKIP(return, "no memory on node 1");
		if (whose == OF_EVICTOR) {
			ASSERT_EQ(0, dmirror_evict(&self->dev, PAGES, &evicted));
		} else {
			ASSERT_EQ(0, TO_RAM(self->data, self->length / 2));
			EXPECT_EQ(0, differences(self->data, self->length, 1));
			ASSERT_EQ(0, TO_RAM(self->data, self->length));
		}
		ASSERT_EQ(0, syscall(__NR_set_mempolicy, POLICY_DEFAULT, NULL, 0));
		EXPECT_EQ(PAGES, pages_on_node(self->data, PAGES, 1));
		EXPECT_EQ(0, differences(self->data, self->length, 1));
	}
}

TEST_F(migrate, holes)
{
	char *sparse = map_pages(PAGES);
	uint64_t sum = 1;
	size_t i;

	/* Every third page has content, one in the rest is read only. */
	ASSERT_NE(NULL, sparse);
	for (i = 0; i < PAGES; i += 3)
		fill(sparse + i * self->page, self->page, i);
	ASSERT_EQ(0, TO_DEVICE(sparse, self->length));
	EXPECT_COUNTS(22, 42, 0);
	EXPECT_EQ(22 * self->page, GREW(bytes_copied));
	EXPECT_EQ(42 * self->page, GREW(bytes_cleared));
	EXPECT_EQ(PAGES, GREW(migrated_in));
	EXPECT_EQ(PAGES, in_device(&self->dev, sparse, self->length));
	ASSERT_EQ(0, dmirror_sum(&self->dev, sparse + self->page,
				 2 * self->page, &sum));
	EXPECT_EQ(0, sum);
	for (i = 0; i < PAGES; i++)
		EXPECT_EQ(0, i % 3 ? others(sparse + i * self->page,
					    self->page, 0) :
			     differences(sparse + i * self->page, self->page,
					 i));
}

TEST_F(migrate, what_cannot_move)
{
	int file = memfd_create("hmm", MFD_CLOEXEC);
	char *map, *shared;

	/* Data, shared memory, nothing, PROT_NONE, data: in one range. */
	ASSERT_LE(0, file);
	ASSERT_EQ(0, ftruncate(file, 4 * self->page));
	map = self->data;
	shared = mmap(map + 4 * self->page, 4 * self->page,
		      PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0);
	ASSERT_EQ(map + 4 * self->page, shared);
	fill(shared, 4 * self->page, 5);
	ASSERT_EQ(0, munmap(map + 8 * self->page, 4 * self->page));
	ASSERT_EQ(map + 12 * self->page,
		  mmap(map + 12 * self->page, 4 * self->page, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	ASSERT_EQ(0, TO_DEVICE(map, 20 * self->page));
	EXPECT_EQ(20, self->result.moved + self->result.filled +
		      self->result.left);
	EXPECT_EQ(8, self->result.moved);
	EXPECT_LE(8, self->result.left);
	EXPECT_EQ(4, in_device(&self->dev, map, 4 * self->page));
	EXPECT_EQ(0, in_device(&self->dev, shared, 4 * self->page));
	EXPECT_EQ(0, differences(shared, 4 * self->page, 5));
	EXPECT_EQ(0, differences(map, 4 * self->page, 1));
	close(file);
}

TEST_F(migrate, read_only)
{
	uint64_t sum;

	ASSERT_EQ(0, mprotect(self->data, self->length, PROT_READ));
	ASSERT_EQ(0, TO_DEVICE(self->data, self->length));
	EXPECT_COUNTS(PAGES, 0, 0);
	EXPECT_EQ(PAGES, in_device(&self->dev, self->data, self->length));
	EXPECT_EQ(0, mapped(&self->dev, self->data, self->length,
			    HMM_DMIRROR_PAGE_WRITE));
	EXPECT_EQ(HMM_DMIRROR_STATUS_READ_ONLY,
		  dmirror_fill(&self->dev, self->data, 8, 7));
	ASSERT_EQ(0, dmirror_sum(&self->dev, self->data, self->length, &sum));
	EXPECT_EQ(pattern_sum(self->length, 1), sum);
	ASSERT_EQ(0, mprotect(self->data, self->length,
			      PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, dmirror_fill(&self->dev, self->data, 8, 7));
	EXPECT_EQ(7, *(uint64_t *)self->data);
}

TEST_F(migrate, zero_pages)
{
	char *zeroes = map_pages(8);
	uint64_t sum = 1;
	size_t i;

	ASSERT_NE(NULL, zeroes);
	for (i = 0; i < 8; i++)
		ASSERT_EQ(0, others(zeroes + i * self->page, 8, 0));
	ASSERT_EQ(0, TO_DEVICE(zeroes, 8 * self->page));
	EXPECT_EQ(8, self->result.moved + self->result.filled);
	ASSERT_EQ(0, dmirror_sum(&self->dev, zeroes, 8 * self->page, &sum));
	EXPECT_EQ(0, sum);
	EXPECT_EQ(8, in_device(&self->dev, zeroes, 8 * self->page));
	ASSERT_EQ(0, dmirror_fill(&self->dev, zeroes, self->page, 3));
	EXPECT_EQ(0, others(zeroes, self->page, 3));
	EXPECT_EQ(0, others(zeroes + self->page, 7 * self->page, 0));
}

TEST_F(migrate, huge_page)
{
	char *huge = map_huge(HUGE);
	size_t nr = HUGE / self->page, half = HUGE / 2;
	uint64_t sum;

	ASSERT_NE(NULL, huge);
	fill(huge, HUGE, 6);
	if (!is_huge(huge))
		SKIP(return, "the kernel gave no transparent huge page");
	ASSERT_EQ(0, dmirror_read(&self->dev, huge, HUGE));
	ASSERT_EQ(0, TO_DEVICE(huge, HUGE));
	EXPECT_COUNTS(nr, 0, 0);
	ASSERT_EQ(0, dmirror_sum(&self->dev, huge, HUGE, &sum));
	EXPECT_EQ(pattern_sum(HUGE, 6), sum);
	EXPECT_EQ(nr, in_device(&self->dev, huge, HUGE));
	ASSERT_EQ(0, TO_RAM(huge, half));
	EXPECT_COUNTS(nr / 2, 0, 0);
	EXPECT_EQ(0, differences(huge, HUGE, 6));
}

/* Half of a huge page moves, the other one keeps its data. */
TEST_F(migrate, half_a_huge_page)
{
	char *huge = map_huge(HUGE);
	size_t nr = HUGE / self->page, half = HUGE / 2;
	uint64_t sum;

	ASSERT_NE(NULL, huge);
	fill(huge, HUGE, 6);
	if (!is_huge(huge))
		SKIP(return, "the kernel gave no transparent huge page");
	ASSERT_EQ(0, TO_DEVICE(huge + half, half));
	EXPECT_COUNTS(nr / 2, 0, 0);
	EXPECT_EQ(nr / 2, in_device(&self->dev, huge, HUGE));
	ASSERT_EQ(0, dmirror_sum(&self->dev, huge, HUGE, &sum));
	EXPECT_EQ(pattern_sum(HUGE, 6), sum);
	EXPECT_EQ(0, differences(huge, HUGE, 6));
}

/* Memory in one device's memory is left by another one and used through RAM. */
TEST_F(migrate, other_device)
{
	struct dmirror other;
	uint64_t sum;
	int ret = dmirror_open_memory(&other, PRIVATE,
				      variant->memory == PRIVATE);

	if (ret == -ENODEV)
		SKIP(return, "there is no other device with private memory");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, TO_DEVICE(self->data, self->length));
	ASSERT_EQ(0, migrate(&other, self->data, self->length,
			     HMM_DMIRROR_TO_DEVICE, &self->result));
	EXPECT_COUNTS(0, 0, PAGES);
	ASSERT_EQ(0, migrate(&other, self->data, self->length,
			     HMM_DMIRROR_TO_RAM, &self->result));
	EXPECT_COUNTS(0, 0, PAGES);
	EXPECT_EQ(self->length, memory_used(&self->dev));
	EXPECT_EQ(0, memory_used(&other));

	/* The other one computes on it and its writes arrive. */
	ASSERT_EQ(0, dmirror_sum(&other, self->data, self->length, &sum));
	EXPECT_EQ(pattern_sum(self->length, 1), sum);
	EXPECT_EQ(variant->memory == PRIVATE ? 0 : self->length,
		  memory_used(&self->dev));
	ASSERT_EQ(0, dmirror_fill(&other, self->data, self->length, 4));
	ASSERT_EQ(0, dmirror_sum(&self->dev, self->data, self->length, &sum));
	EXPECT_EQ(self->length / 8 * 4, sum);
	EXPECT_EQ(0, others(self->data, self->length, 4));
	dmirror_close(&other);
}

TEST_F(migrate, full)
{
	size_t size = self->dev.info.memory_size, extra = 8 * self->page;
	char *much;

	much = mmap(NULL, size + extra, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ASSERT_NE(MAP_FAILED, much);
	madvise(much, size + extra, MADV_NOHUGEPAGE);
	fill(much + size, extra, 3);
	EXPECT_EQ(-ENOSPC, TO_DEVICE(much, size + extra));
	EXPECT_EQ(size / self->page, self->result.moved + self->result.filled);
	EXPECT_EQ(8, self->result.left);
	EXPECT_EQ(size, memory_used(&self->dev));
	EXPECT_EQ(0, differences(much + size, extra, 3));

	/* Not one page more; but again after one became free. */
	EXPECT_EQ(-ENOSPC, TO_DEVICE(self->data, self->length));
	EXPECT_COUNTS(0, 0, PAGES);
	EXPECT_EQ(0, differences(self->data, self->length, 1));
	ASSERT_EQ(0, munmap(much + self->page, self->page));
	EXPECT_EQ(-ENOSPC, TO_DEVICE(self->data, self->length));
	EXPECT_COUNTS(1, 0, PAGES - 1);
	EXPECT_EQ(0, differences(self->data, self->length, 1));
	ASSERT_EQ(0, munmap(much, size + extra));
	ASSERT_EQ(0, TO_RAM(self->data, self->length));
	EXPECT_EQ(0, memory_used(&self->dev));
}

TEST_F(migrate, eviction)
{
	uint64_t evicted, sum;

	ASSERT_EQ(0, TO_DEVICE(self->data, self->length));
	ASSERT_EQ(0, dmirror_fill(&self->dev, self->data, self->page, 4));
	ASSERT_EQ(0, dmirror_evict(&self->dev, 10, &evicted));
	EXPECT_EQ(10, evicted);
	EXPECT_EQ(self->length - 10 * self->page, memory_used(&self->dev));
	EXPECT_EQ(PAGES - 10, in_device(&self->dev, self->data, self->length));
	ASSERT_EQ(0, dmirror_evict(&self->dev, ~0ULL, &evicted));
	EXPECT_EQ(PAGES - 10, evicted);
	EXPECT_EQ(0, memory_used(&self->dev));
	EXPECT_EQ(PAGES, GREW(migrated_out));
	EXPECT_EQ(0, GREW(cpu_faults));
	EXPECT_EQ(0, mapped(&self->dev, self->data, self->length, IN_DEVICE));
	ASSERT_EQ(0, dmirror_sum(&self->dev, self->data, self->length, &sum));
	EXPECT_EQ(pattern_sum(self->length, 1) - pattern_sum(self->page, 1) +
		  self->page / 8 * 4, sum);
	EXPECT_EQ(0, others(self->data, self->page, 4));
	fill(self->data, self->page, 1);
	EXPECT_EQ(0, differences(self->data, self->length, 1));
}

/* What one user left in device memory never becomes visible to the next. */
TEST_F(migrate, no_stale_data)
{
	size_t size = self->dev.info.memory_size;
	char *much = mmap(NULL, size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint64_t sum = 1;

	ASSERT_NE(MAP_FAILED, much);
	madvise(much, size, MADV_NOHUGEPAGE);
	ASSERT_EQ(0, TO_DEVICE(much, size));
	EXPECT_COUNTS(0, size / self->page, 0);
	ASSERT_EQ(0, dmirror_fill(&self->dev, much, size,
				  0xdeadbeefdeadbeefull));
	ASSERT_EQ(0, madvise(much, size, MADV_DONTNEED));
	ASSERT_EQ(0, memory_used(&self->dev));
	ASSERT_EQ(0, TO_DEVICE(much, size));
	EXPECT_COUNTS(0, size / self->page, 0);
	/* On the unmodified kernel NUMA balancing brings back what is written to. */
	if (!getenv("HMM_UNMODIFIED_KERNEL"))
		EXPECT_EQ(0, GREW(migrated_out));
	ASSERT_EQ(0, dmirror_sum(&self->dev, much, size, &sum));
	EXPECT_EQ(0, sum);
	/* The CPU sees the same. */
	EXPECT_EQ(0, others(much, MIB, 0));
	EXPECT_EQ(0, others(much + size - MIB, MIB, 0));
}

TEST_HARNESS_MAIN
