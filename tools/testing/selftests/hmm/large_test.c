// SPDX-License-Identifier: GPL-2.0
/*
 * Huge pages in device memory: they move as one where both sides have one, are split
 * where one side has none or something needs a part, and lose nothing.
 */
#define _GNU_SOURCE
#include "fail_nth.h"
#include "memory.h"

#define AREAS		3
#define LENGTH		(AREAS * HUGE)
#define HUGE_PAGES	(HUGE / page_size())

FIXTURE(large)
{
	struct dmirror dev;
	struct hmm_dmirror_migrate result;
	struct hmm_dmirror_stats before;
	char *data;		/* LENGTH bytes of huge pages, with pattern 1 */
	size_t page;
	size_t whole;		/* bytes that a huge page takes as one, or 0 */
	long scan_ms;		/* how often khugepaged looked before */
};

FIXTURE_VARIANT(large)
{
	enum hmm_dmirror_memory memory;
};

FIXTURE_VARIANT_ADD(large, private)
{
	.memory = PRIVATE,
};

FIXTURE_VARIANT_ADD(large, cdm)
{
	.memory = CDM,
};

FIXTURE_SETUP(large)
{
	OPEN_OR_SKIP(return, &self->dev, variant->memory, 0);
	ASSERT_EQ(0, self->dev.info.memory_used);
	self->page = page_size();
	/* What was split is to stay so. */
	self->scan_ms = read_number(SCAN_MS, NULL);
	ASSERT_EQ(0, write_number(SCAN_MS, 600000));
	/* Only with the patches of the series. */
	self->whole = getenv("HMM_UNMODIFIED_KERNEL") ? 0 : HUGE;
	self->data = map_huge(LENGTH);
	ASSERT_NE(NULL, self->data);
	fill(self->data, LENGTH, 1);
	ASSERT_TRUE(make_huge(self->data, LENGTH));
	ASSERT_EQ(0, dmirror_stats(&self->dev, &self->before));
}

FIXTURE_TEARDOWN(large)
{
	write_number(SCAN_MS, self->scan_ms);
	dmirror_close(&self->dev);
}

#define TO_DEVICE(start, size) \
	migrate(&self->dev, start, size, HMM_DMIRROR_TO_DEVICE, &self->result)
#define TO_RAM(start, size) \
	migrate(&self->dev, start, size, HMM_DMIRROR_TO_RAM, &self->result)

/* Bytes of device memory in use, and in huge pages. */
#define EXPECT_MEMORY(used, huge) do { \
	struct hmm_dmirror_info __info; \
	EXPECT_EQ(0, dmirror_info(&self->dev, &__info)); \
	EXPECT_EQ(used, __info.memory_used); \
	EXPECT_EQ(huge, __info.memory_huge); \
} while (0)

/* Pages of the range that the device reaches in its memory by a leaf of 2M. */
static long large_leaves(struct dmirror *dev, void *start, size_t length)
{
	unsigned char kind = dev->info.memory == PRIVATE ?
			     HMM_DMIRROR_PAGE_PRIVATE : HMM_DMIRROR_PAGE_CDM;

	if (dmirror_read(dev, start, length))
		return -EIO;
	return mapped(dev, start, length, MAPPED | LARGE | kind);
}

/* The device sees what fill() wrote. */
static bool device_reads(struct dmirror *dev, const void *start, size_t length,
			 uint64_t seed)
{
	uint64_t sum;

	return !dmirror_sum(dev, start, length, &sum) &&
	       sum == pattern_sum(length, seed);
}

/* All of @self->data goes to the device, as huge pages where that is possible. */
static bool all_in(struct _test_data_large *self)
{
	struct hmm_dmirror_info info;

	return !TO_DEVICE(self->data, LENGTH) &&
	       self->result.moved == AREAS * HUGE_PAGES &&
	       !dmirror_info(&self->dev, &info) && info.memory_used == LENGTH &&
	       info.memory_huge == AREAS * self->whole;
}

TEST_F(large, there_and_back)
{
	ASSERT_TRUE(all_in(self));
	EXPECT_EQ(self->whole ? AREAS * HUGE_PAGES : 0,
		  large_leaves(&self->dev, self->data, LENGTH));
	EXPECT_TRUE(device_reads(&self->dev, self->data, LENGTH, 1));

	ASSERT_EQ(0, TO_DEVICE(self->data, LENGTH));
	EXPECT_EQ(AREAS * HUGE_PAGES, self->result.left);
	ASSERT_EQ(0, TO_RAM(self->data, LENGTH));
	EXPECT_EQ(AREAS * HUGE_PAGES, self->result.moved);
	EXPECT_MEMORY(0, 0);
	if (self->whole)
		EXPECT_TRUE(is_huge(self->data));
	EXPECT_EQ(0, differences(self->data, LENGTH, 1));
}

TEST_F(large, part_of_a_range)
{
	/* A half, a whole and a half: only the whole one moves as one. */
	ASSERT_EQ(0, TO_DEVICE(self->data + HUGE / 2, 2 * HUGE));
	EXPECT_EQ(2 * HUGE_PAGES, self->result.moved);
	EXPECT_MEMORY(2 * HUGE, self->whole);
	EXPECT_TRUE(device_reads(&self->dev, self->data, LENGTH, 1));
	ASSERT_EQ(0, TO_RAM(self->data + HUGE, HUGE / 2));
	EXPECT_EQ(HUGE_PAGES / 2, self->result.moved);
	EXPECT_MEMORY(3 * HUGE / 2, 0);
	EXPECT_EQ(0, differences(self->data, LENGTH, 1));
}

TEST_F(large, cpu_touch)
{
	struct hmm_dmirror_stats after;

	ASSERT_TRUE(all_in(self));
	if (variant->memory != PRIVATE) {
		/* The CPU reads it where it is. */
		EXPECT_EQ(0, differences(self->data, LENGTH, 1));
		EXPECT_MEMORY(LENGTH, AREAS * self->whole);
		return;
	}
	EXPECT_EQ(pattern(1, 0), *(volatile uint64_t *)self->data);
	ASSERT_EQ(0, dmirror_stats(&self->dev, &after));
	EXPECT_EQ(1, after.cpu_faults - self->before.cpu_faults);
	EXPECT_EQ(0, differences(self->data, LENGTH, 1));
	ASSERT_EQ(0, dmirror_stats(&self->dev, &after));
	if (self->whole)
		EXPECT_EQ(AREAS, after.cpu_faults - self->before.cpu_faults);
	if (self->whole)
		EXPECT_TRUE(is_huge(self->data));
	EXPECT_MEMORY(0, 0);
}

TEST_F(large, cpu_touch_without_huge_pages)
{
	ASSERT_TRUE(all_in(self));
	FAIL_HUGE_OR_SKIP();
	EXPECT_EQ(0, differences(self->data, LENGTH, 1));
	fail_pages(FAIL_NONE);
	if (variant->memory == PRIVATE) {
		EXPECT_MEMORY(0, 0);
		EXPECT_FALSE(is_huge(self->data));
	}
}

TEST_F(large, to_ram_without_huge_pages)
{
	int ret;

	ASSERT_TRUE(all_in(self));
	FAIL_HUGE_OR_SKIP();
	ret = TO_RAM(self->data, LENGTH);
	fail_pages(FAIL_NONE);
	ASSERT_EQ(0, ret);
	EXPECT_EQ(AREAS * HUGE_PAGES, self->result.moved);
	EXPECT_MEMORY(0, 0);
	EXPECT_FALSE(is_huge(self->data));
	EXPECT_EQ(0, differences(self->data, LENGTH, 1));
}

TEST_F(large, evict)
{
	uint64_t evicted;

	ASSERT_TRUE(all_in(self));
	/* One page is asked for: a huge page goes as a whole. */
	ASSERT_EQ(0, dmirror_evict(&self->dev, 1, &evicted));
	EXPECT_EQ(self->whole ? HUGE_PAGES : 1, evicted);
	if (self->whole)
		EXPECT_TRUE(is_huge(self->data));
	ASSERT_EQ(0, dmirror_evict(&self->dev, ~0ull, &evicted));
	EXPECT_MEMORY(0, 0);
	if (self->whole)
		EXPECT_TRUE(is_huge(self->data));
	EXPECT_EQ(0, differences(self->data, LENGTH, 1));
}

TEST_F(large, evict_without_huge_pages)
{
	uint64_t evicted = 0;
	int ret;

	ASSERT_TRUE(all_in(self));
	FAIL_HUGE_OR_SKIP();
	ret = dmirror_evict(&self->dev, ~0ull, &evicted);
	fail_pages(FAIL_NONE);
	ASSERT_EQ(0, ret);
	EXPECT_EQ(AREAS * HUGE_PAGES, evicted);
	EXPECT_MEMORY(0, 0);
	EXPECT_FALSE(is_huge(self->data));
	EXPECT_EQ(0, differences(self->data, LENGTH, 1));
}

/* A range that begins and ends within a huge page takes all of it. */
TEST_F(large, evict_range)
{
	struct hmm_dmirror_evict evict = {
		.flags = HMM_DMIRROR_EVICT_RANGE,
		.offset = self->page,
		.nr_pages = 2,
		.timeout_ms = 1000,
	};

	ASSERT_TRUE(all_in(self));
	ASSERT_EQ(0, dmirror_evict_as(&self->dev, &evict));
	EXPECT_EQ(self->whole ? HUGE_PAGES : 2, evict.evicted);
	EXPECT_EQ(0, differences(self->data, LENGTH, 1));
}

/* Holes: by what the VMA says of huge pages, and cleared. */
TEST_F(large, holes)
{
	char *holes = map_huge(LENGTH);

	ASSERT_NE(NULL, holes);
	/* What is there before must not show. */
	ASSERT_TRUE(all_in(self));
	ASSERT_EQ(0, munmap(self->data, LENGTH));
	EXPECT_MEMORY(0, 0);

	ASSERT_EQ(0, madvise(holes + HUGE, HUGE, MADV_NOHUGEPAGE));
	ASSERT_EQ(0, TO_DEVICE(holes, LENGTH));
	EXPECT_EQ(LENGTH / self->page, self->result.filled);
	EXPECT_MEMORY(LENGTH, 2 * self->whole);
	EXPECT_EQ(self->whole ? 2 * HUGE_PAGES : 0,
		  large_leaves(&self->dev, holes, LENGTH));
	ASSERT_EQ(0, dmirror_fill(&self->dev, holes + LENGTH - self->page,
				  self->page, 7));
	EXPECT_EQ(0, others(holes, LENGTH - self->page, 0));
	EXPECT_EQ(0, others(holes + LENGTH - self->page, self->page, 7));
}

/* Or by what the system says of them. */
TEST_F(large, holes_by_policy)
{
	const struct {
		const char *policy;
		int advice;
		bool huge;
	} rules[] = {
		{ "never", MADV_HUGEPAGE, false },
		{ "madvise", MADV_HUGEPAGE, true },
		{ "madvise", MADV_NORMAL, false },
		{ "always", MADV_NORMAL, true },
		{ "always", MADV_NOHUGEPAGE, false },
	};
	char old[32] = "";
	unsigned int i;

	if (!self->whole)
		return;
	for (i = 0; i < sizeof(rules) / sizeof(*rules); i++) {
		char *holes = map_alone(HUGE, true);

		ASSERT_NE(NULL, holes);
		ASSERT_EQ(holes, mmap(holes, HUGE, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
				      -1, 0));
		ASSERT_EQ(0, madvise(holes, HUGE, rules[i].advice));
		ASSERT_TRUE(set_control(THP "enabled", rules[i].policy, old,
					sizeof(old)));
		EXPECT_EQ(0, TO_DEVICE(holes, HUGE));
		EXPECT_TRUE(set_control(THP "enabled", old, NULL, 0));
		EXPECT_EQ(HUGE_PAGES, self->result.filled);
		EXPECT_MEMORY(HUGE, rules[i].huge ? HUGE : 0);
		EXPECT_EQ(0, others(holes, HUGE, 0));
		ASSERT_EQ(0, munmap(holes, HUGE));
	}
}

/* Of a private mapping of a huge page of a file: not even its size changes. */
TEST_F(large, file)
{
	int file = memfd_create("hmm", MFD_CLOEXEC);
	volatile char *word;
	char *shared, *own;

	ASSERT_LE(0, file);
	ASSERT_EQ(0, ftruncate(file, HUGE));
	shared = map_alone(HUGE, true);
	own = map_alone(HUGE, true);
	ASSERT_EQ(shared, mmap(shared, HUGE, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_FIXED, file, 0));
	ASSERT_EQ(own, mmap(own, HUGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_FIXED, file, 0));
	fill(shared, HUGE, 9);
	if (madvise(shared, HUGE, MADV_COLLAPSE))
		SKIP(return, "the kernel makes no huge pages of files");
	EXPECT_TRUE(has_pages(shared, "ShmemPmdMapped"));
	/* A page of its own, so that it is no stranger to anonymous memory. */
	word = own + 3 * self->page;
	*word = *word;
	EXPECT_EQ(0, differences(own, HUGE, 9));
	EXPECT_EQ(0, TO_DEVICE(own, HUGE));
	EXPECT_EQ(1, self->result.moved);
	EXPECT_EQ(HUGE_PAGES - 1, self->result.unsupported);
	/* The unmodified kernel splits it. */
	if (!getenv("HMM_UNMODIFIED_KERNEL"))
		EXPECT_TRUE(has_pages(shared, "ShmemPmdMapped"));
	EXPECT_EQ(0, differences(own, HUGE, 9));
	EXPECT_EQ(0, differences(shared, HUGE, 9));
	close(file);
}

/* The huge zero page is as good as a hole. */
TEST_F(large, zero_page)
{
	char *zeroes = map_huge(LENGTH);

	ASSERT_NE(NULL, zeroes);
	EXPECT_EQ(0, others(zeroes, LENGTH, 0));
	ASSERT_EQ(0, TO_DEVICE(zeroes, LENGTH));
	EXPECT_EQ(LENGTH / self->page, self->result.filled);
	EXPECT_EQ(0, TO_RAM(self->data, LENGTH));
	ASSERT_EQ(0, dmirror_fill(&self->dev, zeroes, LENGTH, 5));
	EXPECT_EQ(0, others(zeroes, LENGTH, 5));
}

/* Parts of a huge page go, change or move; the rest stays what it was. */
TEST_F(large, parts)
{
	char *data = self->data, *room = map_huge(HUGE);

	ASSERT_NE(NULL, room);
	ASSERT_TRUE(all_in(self));
	ASSERT_EQ(0, munmap(data + 16 * self->page, self->page));
	ASSERT_EQ(0, madvise(data + 32 * self->page, self->page,
			     MADV_DONTNEED));
	ASSERT_EQ(0, mprotect(data + HUGE, 16 * self->page, PROT_READ));
	ASSERT_EQ(room, mremap(data + 2 * HUGE + HUGE / 2, HUGE / 2, HUGE / 2,
			       MREMAP_MAYMOVE | MREMAP_FIXED, room));

	/* The device sees the same, and cannot write what the CPU may not. */
	EXPECT_EQ(HMM_DMIRROR_STATUS_READ_ONLY,
		  dmirror_fill(&self->dev, data + HUGE, self->page, 3));
	EXPECT_EQ(0, dmirror_fill(&self->dev, data + HUGE + 16 * self->page,
				  self->page, 3));
	EXPECT_EQ(0, dmirror_read(&self->dev, data, 16 * self->page));
	EXPECT_EQ(0, dmirror_read(&self->dev, room, HUGE / 2));

	EXPECT_EQ(0, others(data + 32 * self->page, self->page, 0));
	EXPECT_EQ(0, others(data + HUGE + 16 * self->page, self->page, 3));
	fill(room + HUGE / 2, HUGE / 2, 9);
	ASSERT_EQ(0, TO_RAM(data, LENGTH));
	ASSERT_EQ(0, TO_RAM(room, HUGE));
	EXPECT_MEMORY(0, 0);

	/* Put it together again. */
	ASSERT_NE(MAP_FAILED, mmap(data + 16 * self->page, self->page,
				   PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
				   -1, 0));
	ASSERT_NE(MAP_FAILED, mremap(room, HUGE / 2, HUGE / 2,
				     MREMAP_MAYMOVE | MREMAP_FIXED,
				     data + 2 * HUGE + HUGE / 2));
	ASSERT_EQ(0, mprotect(data + HUGE, HUGE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(3 * self->page / 8, differences(data, LENGTH, 1));
}

/* What is left of huge pages of which the process gave up parts is freed, too. */
TEST_F(large, unmapped_in_parts)
{
	size_t i;

	ASSERT_TRUE(all_in(self));
	for (i = 0; i < LENGTH; i += 2 * self->page)
		ASSERT_EQ(0, madvise(self->data + i, self->page,
				     MADV_DONTNEED));
	EXPECT_TRUE(!dmirror_read(&self->dev, self->data, LENGTH));
	for (i = self->page; i < LENGTH; i += 2 * self->page)
		ASSERT_EQ(0, madvise(self->data + i, self->page,
				     MADV_DONTNEED));
	EXPECT_MEMORY(0, 0);
}

/* Parent and child share, then both write. */
TEST_F(large, fork)
{
	int to_child[2], to_parent[2];
	char byte = 0;
	pid_t child;

	ASSERT_EQ(0, pipe(to_child));
	ASSERT_EQ(0, pipe(to_parent));
	ASSERT_TRUE(all_in(self));
	child = fork();
	ASSERT_GE(child, 0);
	if (!child) {
		if (read(to_child[0], &byte, 1) != 1 ||
		    differences(self->data, HUGE, 1))
			_exit(1);
		fill(self->data, 2 * HUGE, 2);
		if (write(to_parent[1], "", 1) != 1 ||
		    read(to_child[0], &byte, 1) != 1)
			_exit(2);
		_exit(differences(self->data, 2 * HUGE, 2) ||
		      differences(self->data, LENGTH, 1) !=
		      2 * HUGE / sizeof(uint64_t) ? 3 : 0);
	}
	/* The device still reads what is shared, and writes a copy. */
	EXPECT_TRUE(device_reads(&self->dev, self->data, LENGTH, 1));
	EXPECT_EQ(0, dmirror_fill(&self->dev, self->data + 2 * HUGE, self->page,
				  4));
	ASSERT_EQ(1, write(to_child[1], "", 1));
	ASSERT_EQ(1, read(to_parent[0], &byte, 1));
	EXPECT_EQ(0, differences(self->data, 2 * HUGE, 1));
	fill(self->data, HUGE, 5);
	ASSERT_EQ(1, write(to_child[1], "", 1));
	EXPECT_EQ(0, child_status(child));
	EXPECT_EQ(0, others(self->data + 2 * HUGE, self->page, 4));
	EXPECT_EQ(0, differences(self->data, HUGE, 5));
}

TEST_F(large, device_fragmented)
{
	ASSERT_TRUE(fragment_memory(&self->dev));
	EXPECT_MEMORY(self->dev.info.memory_size / 2, 0);
	ASSERT_EQ(0, TO_DEVICE(self->data, LENGTH));
	EXPECT_EQ(AREAS * HUGE_PAGES, self->result.moved);
	EXPECT_MEMORY(self->dev.info.memory_size / 2 + LENGTH, 0);
	EXPECT_TRUE(device_reads(&self->dev, self->data, LENGTH, 1));
	EXPECT_EQ(0, differences(self->data, LENGTH, 1));
}

/* So a huge page is split that two processes map as one. */
TEST_F(large, device_fragmented_fork)
{
	int to_child[2], to_parent[2];
	char byte = 0;
	pid_t child;

	ASSERT_EQ(0, pipe(to_child));
	ASSERT_EQ(0, pipe(to_parent));
	ASSERT_TRUE(fragment_memory(&self->dev));
	EXPECT_MEMORY(self->dev.info.memory_size / 2, 0);
	child = fork();
	ASSERT_GE(child, 0);
	if (!child) {
		if (read(to_child[0], &byte, 1) != 1 ||
		    differences(self->data, LENGTH, 1))
			_exit(1);
		fill(self->data, LENGTH, 2);
		if (write(to_parent[1], "", 1) != 1 ||
		    read(to_child[0], &byte, 1) != 1)
			_exit(2);
		_exit(differences(self->data, LENGTH, 2) ? 3 : 0);
	}
	EXPECT_TRUE(is_huge(self->data));
	EXPECT_EQ(0, TO_DEVICE(self->data, LENGTH));
	EXPECT_EQ(AREAS * HUGE_PAGES, self->result.moved);
	EXPECT_TRUE(device_reads(&self->dev, self->data, LENGTH, 1));
	ASSERT_EQ(1, write(to_child[1], "", 1));
	EXPECT_EQ(1, read(to_parent[0], &byte, 1));
	EXPECT_EQ(0, differences(self->data, LENGTH, 1));
	fill(self->data, LENGTH, 3);
	ASSERT_EQ(1, write(to_child[1], "", 1));
	EXPECT_EQ(0, child_status(child));
	EXPECT_EQ(0, differences(self->data, LENGTH, 3));
}

/* A huge page that does not fit stays whole, or pushes others out. */
TEST_F(large, device_full)
{
	size_t size = self->dev.info.memory_size;
	char *small = map_pages(size / self->page);

	ASSERT_NE(NULL, small);
	ASSERT_EQ(0, TO_DEVICE(small, size - HUGE / 2));
	EXPECT_EQ(-ENOSPC, TO_DEVICE(self->data, LENGTH));
	if (self->whole) {
		EXPECT_EQ(0, self->result.moved);
		EXPECT_TRUE(is_huge(self->data));
	}
	EXPECT_EQ(0, TO_RAM(self->data, LENGTH));

	fill(self->data, LENGTH, 1);
	ASSERT_TRUE(make_huge(self->data, LENGTH));
	ASSERT_EQ(0, dmirror_make_room(&self->dev, self->data, LENGTH,
				       &self->result));
	EXPECT_EQ(AREAS * HUGE_PAGES, self->result.moved);
	EXPECT_EQ(self->whole ? AREAS * HUGE_PAGES : 0,
		  large_leaves(&self->dev, self->data, LENGTH));
	EXPECT_TRUE(device_reads(&self->dev, self->data, LENGTH, 1));
	EXPECT_EQ(0, others(small, size, 0));
	EXPECT_EQ(0, differences(self->data, LENGTH, 1));
}

TEST_F(large, copy_fails_to_device)
{
	ASSERT_EQ(0, dmirror_inject(&self->dev, HMM_DMIRROR_INJECT_COPY_ERROR,
				    0, 1000, 0));
	EXPECT_EQ(-EIO, TO_DEVICE(self->data, LENGTH));
	EXPECT_EQ(AREAS * HUGE_PAGES, self->result.left);
	ASSERT_EQ(0, dmirror_inject(&self->dev, HMM_DMIRROR_INJECT_COPY_ERROR,
				    0, 0, 0));
	EXPECT_MEMORY(0, 0);
	if (self->whole)
		EXPECT_TRUE(is_huge(self->data));
	EXPECT_EQ(0, differences(self->data, LENGTH, 1));
	EXPECT_TRUE(device_reads(&self->dev, self->data, LENGTH, 1));
}

/* The copy of the whole fails, those of its pages succeed: nobody notices. */
TEST_F(large, copy_fails_to_ram)
{
	uint64_t evicted = 0;

	ASSERT_TRUE(all_in(self));
	ASSERT_EQ(0, dmirror_inject(&self->dev, HMM_DMIRROR_INJECT_COPY_ERROR,
				    0, 1, 0));
	EXPECT_EQ(0, differences(self->data, HUGE, 1));
	ASSERT_EQ(0, dmirror_inject(&self->dev, HMM_DMIRROR_INJECT_COPY_ERROR,
				    0, 1, 0));
	EXPECT_EQ(0, dmirror_evict(&self->dev, ~0ull, &evicted));
	EXPECT_MEMORY(0, 0);
	EXPECT_EQ(0, differences(self->data, LENGTH, 1));
}

struct racer {
	struct _test_data_large *self;
	volatile bool stop;
	unsigned long rounds, wrong;
};

/* Keep the data moving in and out, as a whole and in parts. */
static void *mover(void *arg)
{
	struct racer *racer = arg;
	struct dmirror *dev = &racer->self->dev;
	char *data = racer->self->data;
	struct hmm_dmirror_migrate result;
	unsigned int seed = 1;
	uint64_t evicted;

	while (!racer->stop) {
		size_t start = rand_r(&seed) % 4 ? 0 : HUGE / 4;

		migrate(dev, data + start, LENGTH - start, HMM_DMIRROR_TO_DEVICE,
			&result);
		switch (rand_r(&seed) % 4) {
		case 0:
			migrate(dev, data + HUGE / 2, HUGE, HMM_DMIRROR_TO_RAM,
				&result);
			break;
		case 1:
			dmirror_evict(dev, HUGE_PAGES, &evicted);
			break;
		}
		racer->rounds++;
	}
	return NULL;
}

/* Each word of a page counts how often its page was written. */
static void *toucher(void *arg)
{
	struct racer *racer = arg;
	struct _test_data_large *self = racer->self;
	uint64_t count[LENGTH / HUGE * 8] = {};
	unsigned int seed = 2, n = sizeof(count) / sizeof(*count), i;

	while (!racer->stop) {
		size_t stride = LENGTH / n;
		uint64_t *word, sum;

		i = rand_r(&seed) % n;
		word = (uint64_t *)(self->data + i * stride + self->page / 2);
		if (count[i] != *(volatile uint64_t *)word)
			racer->wrong++;
		if (rand_r(&seed) % 2)
			*(volatile uint64_t *)word = ++count[i];
		else if (!dmirror_atomic_add(&self->dev, word, 1, 1, &sum))
			count[i]++;
		racer->rounds++;
		if (!(rand_r(&seed) % 16))
			madvise(self->data + (rand_r(&seed) % AREAS) * HUGE,
				HUGE, MADV_COLLAPSE);
	}
	for (i = 0; i < n; i++)
		if (count[i] != *(volatile uint64_t *)
		    (self->data + i * (LENGTH / n) + self->page / 2))
			racer->wrong++;
	return NULL;
}

TEST_F(large, race)
{
	struct racer move = { .self = self }, touch = { .self = self };
	pthread_t threads[2];

	memset(self->data, 0, LENGTH);
	ASSERT_EQ(0, pthread_create(&threads[0], NULL, mover, &move));
	ASSERT_EQ(0, pthread_create(&threads[1], NULL, toucher, &touch));
	usleep(2 * race_ms() * 1000);
	move.stop = true;
	pthread_join(threads[0], NULL);
	touch.stop = true;
	pthread_join(threads[1], NULL);
	EXPECT_LT(0, move.rounds);
	EXPECT_LT(0, touch.rounds);
	EXPECT_EQ(0, touch.wrong);
	ASSERT_EQ(0, TO_RAM(self->data, LENGTH));
	EXPECT_MEMORY(0, 0);
}

TEST_HARNESS_MAIN
