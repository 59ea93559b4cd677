// SPDX-License-Identifier: GPL-2.0
/*
 * What the process may not do the device may not do: each such access ends the
 * program with a status and the address, and nothing hangs.
 */
#define _GNU_SOURCE
#include "dmirror_test.h"

#define PAGES	16

FIXTURE(access)
{
	struct dmirror dev;
	size_t page;
	size_t length;
	char *data;	/* PAGES pages with pattern 1 */
};

FIXTURE_VARIANT(access)
{
	enum hmm_dmirror_memory memory;
};

FIXTURE_VARIANT_ADD(access, none)
{
	.memory = NONE,
};

FIXTURE_VARIANT_ADD(access, private)
{
	.memory = PRIVATE,
};

FIXTURE_VARIANT_ADD(access, cdm)
{
	.memory = CDM,
};

FIXTURE_SETUP(access)
{
	OPEN_OR_SKIP(return, &self->dev, variant->memory, 0);
	self->page = page_size();
	self->length = PAGES * self->page;
	self->data = map_pages(PAGES);
	ASSERT_NE(NULL, self->data);
	fill(self->data, self->length, 1);
}

FIXTURE_TEARDOWN(access)
{
	dmirror_close(&self->dev);
}

/*
 * A program that ends with @status at @address after @done bytes, words or
 * whatever it counts.
 */
#define EXPECT_ENDS(status, address, done, ...) do { \
	struct hmm_dmirror_run __run = { __VA_ARGS__ }; \
	EXPECT_EQ(status, dmirror_run(&self->dev, &__run)); \
	EXPECT_EQ((uintptr_t)(address), __run.fault_addr); \
	EXPECT_EQ(done, __run.result); \
} while (0)

#define EXPECT_READ_ENDS(address, start, size) do { \
	uintptr_t __address = (uintptr_t)(address); \
	uintptr_t __start = (uintptr_t)(start); \
	EXPECT_ENDS(HMM_DMIRROR_STATUS_NO_ACCESS, __address, \
		    __address - __start, .program = HMM_DMIRROR_READ, \
		    .addr = __start, .length = size); \
} while (0)

#define EXPECT_FILL_ENDS(status, address, start, size) do { \
	uintptr_t __address = (uintptr_t)(address); \
	uintptr_t __start = (uintptr_t)(start); \
	EXPECT_ENDS(status, __address, (__address - __start) / 8, \
		    .program = HMM_DMIRROR_FILL, .addr = __start, \
		    .length = size, .operand = 55); \
} while (0)

TEST_F(access, read_only)
{
	char *forbidden = self->data + 3 * self->page;
	uint64_t sum, value;

	ASSERT_EQ(0, mprotect(forbidden, self->page, PROT_READ));
	ASSERT_EQ(0, dmirror_sum(&self->dev, self->data, self->length, &sum));
	EXPECT_EQ(pattern_sum(self->length, 1), sum);
	EXPECT_FILL_ENDS(HMM_DMIRROR_STATUS_READ_ONLY, forbidden, self->data,
			 self->length);
	EXPECT_FILL_ENDS(HMM_DMIRROR_STATUS_READ_ONLY, forbidden + 8,
			 forbidden + 8, 8);
	EXPECT_EQ(HMM_DMIRROR_STATUS_READ_ONLY,
		  dmirror_atomic_add(&self->dev, (uint64_t *)forbidden, 1, 1,
				     &value));
	EXPECT_EQ(HMM_DMIRROR_STATUS_READ_ONLY,
		  dmirror_copy(&self->dev, forbidden, self->data, 8));
	EXPECT_EQ(HMM_DMIRROR_STATUS_READ_ONLY,
		  dmirror_histogram(&self->dev, self->data, 8,
				    (uint64_t *)forbidden));

	/* What was allowed before it was done, the rest was not. */
	EXPECT_EQ(0, others(self->data, 3 * self->page, 55));
	EXPECT_EQ(pattern(1, 3 * self->page / 8), *(uint64_t *)forbidden);
	EXPECT_EQ(pattern(1, 4 * self->page / 8),
		  *(uint64_t *)(forbidden + self->page));
}

/* Memory that was never touched, and a file opened for reading. */
TEST_F(access, read_only_empty_and_file)
{
	char *empty = mmap(NULL, self->page, PROT_READ,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	uint64_t sum = 1, expected = 0;
	char *code;
	size_t i;

	ASSERT_NE(MAP_FAILED, empty);
	EXPECT_FILL_ENDS(HMM_DMIRROR_STATUS_READ_ONLY, empty, empty,
			 self->page);
	ASSERT_EQ(0, dmirror_sum(&self->dev, empty, self->page, &sum));
	EXPECT_EQ(0, sum);

	ASSERT_LE(0, file);
	code = mmap(NULL, self->page, PROT_READ, MAP_SHARED, file, 0);
	ASSERT_NE(MAP_FAILED, code);
	EXPECT_FILL_ENDS(HMM_DMIRROR_STATUS_READ_ONLY, code, code, self->page);
	for (i = 0; i < self->page / 8; i++)
		expected += ((uint64_t *)code)[i];
	ASSERT_EQ(0, dmirror_sum(&self->dev, code, self->page, &sum));
	EXPECT_EQ(expected, sum);
	close(file);
}

/* What is kept even from the kernel is not for devices either. */
TEST_F(access, secret_memory)
{
	int file = syscall(__NR_memfd_secret, O_CLOEXEC);
	struct hmm_dmirror_prefetch result;
	char *secret;

	if (file < 0)
		SKIP(return, "memfd_secret: %s", strerror(errno));
	ASSERT_EQ(0, ftruncate(file, page_size()));
	secret = mmap(NULL, page_size(), PROT_READ | PROT_WRITE, MAP_SHARED,
		      file, 0);
	ASSERT_NE(MAP_FAILED, secret);
	fill(secret, page_size(), 1);
	EXPECT_EQ(HMM_DMIRROR_STATUS_NO_ACCESS,
		  dmirror_read(&self->dev, secret, 8));
	EXPECT_EQ(HMM_DMIRROR_STATUS_NO_ACCESS,
		  dmirror_fill(&self->dev, secret, 8, 2));
	ASSERT_EQ(0, dmirror_prefetch(&self->dev, secret, page_size(), 0,
				      &result));
	EXPECT_EQ(0, result.mapped);
	EXPECT_EQ(1, result.refused);
	EXPECT_NE(0, dmirror_exclusive(&self->dev, secret, page_size(), NULL));
	EXPECT_EQ(0, mapped(&self->dev, secret, page_size(), MAPPED));
	EXPECT_EQ(0, differences(secret, page_size(), 1));
	close(file);
}

TEST_F(access, prot_none)
{
	char *forbidden = self->data + 5 * self->page;
	char *empty = mmap(NULL, self->page, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t sum;

	ASSERT_NE(MAP_FAILED, empty);
	EXPECT_READ_ENDS(empty, empty, self->page);
	EXPECT_FILL_ENDS(HMM_DMIRROR_STATUS_NO_ACCESS, empty, empty,
			 self->page);

	/* Mapped on the device before; taken away; given back. */
	ASSERT_EQ(0, dmirror_read(&self->dev, self->data, self->length));
	ASSERT_EQ(0, mprotect(forbidden, 2 * self->page, PROT_NONE));
	EXPECT_READ_ENDS(forbidden, self->data, self->length);
	EXPECT_READ_ENDS(forbidden + self->page + 3,
			 forbidden + self->page + 3, 1);
	EXPECT_FILL_ENDS(HMM_DMIRROR_STATUS_NO_ACCESS, forbidden, forbidden,
			 self->page);
	ASSERT_EQ(0, mprotect(forbidden, 2 * self->page,
			      PROT_READ | PROT_WRITE));
	ASSERT_EQ(0, dmirror_sum(&self->dev, self->data, self->length, &sum));
	EXPECT_EQ(pattern_sum(self->length, 1), sum);
}

TEST_F(access, unmapped)
{
	char *gone = self->data + 7 * self->page;

	ASSERT_EQ(0, dmirror_read(&self->dev, self->data, self->length));
	ASSERT_EQ(0, munmap(gone, self->page));
	EXPECT_READ_ENDS(gone, self->data, self->length);
	EXPECT_READ_ENDS(gone, self->data + 9, self->length - 9);
	EXPECT_READ_ENDS(gone + 1, gone + 1, 1);
	EXPECT_FILL_ENDS(HMM_DMIRROR_STATUS_NO_ACCESS, gone, self->data,
			 self->length);
	EXPECT_EQ(0, others(self->data, 7 * self->page, 55));
	EXPECT_READ_ENDS(8, 8, 8);
	EXPECT_READ_ENDS(0, 0, 8);
}

TEST_F(access, outside)
{
	/* The last user address of two kinds, the kernel, between both, top. */
	static const uint64_t addresses[] = {
		0x00007ffffffff000, 0x0000800000000000, 0x00fffffffffff000,
		0x0100000000000000, 0x7ffffffffffff000, 0x8000000000000000,
		0xff11000000000000, 0xffff888000000000, 0xffffffff81000000,
		0xffffffffffffe000, 0xfffffffffffffff0,
	};
	uint64_t sum, nodes;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(addresses); i++) {
		EXPECT_READ_ENDS(addresses[i], addresses[i], 8);
		EXPECT_FILL_ENDS(HMM_DMIRROR_STATUS_NO_ACCESS, addresses[i],
				 addresses[i], 8);
	}

	/* A pointer to there that the device finds on its way. */
	memset(self->data, 0, self->page);
	for (i = 0; i < ARRAY_SIZE(addresses); i++) {
		((uint64_t *)self->data)[0] = addresses[i];
		EXPECT_EQ(HMM_DMIRROR_STATUS_NO_ACCESS,
			  dmirror_chase(&self->dev, self->data, 1, 0, 8, 10,
					&sum, &nodes));
		EXPECT_EQ(0, nodes);
	}
}

/* Memory of a file past its end, where the CPU gets SIGBUS. */
TEST_F(access, past_the_end)
{
	int file = memfd_create("hmm", MFD_CLOEXEC);
	char *map;

	ASSERT_LE(0, file);
	ASSERT_EQ(0, ftruncate(file, self->page));
	map = mmap(NULL, 3 * self->page, PROT_READ | PROT_WRITE, MAP_SHARED,
		   file, 0);
	ASSERT_NE(MAP_FAILED, map);
	EXPECT_READ_ENDS(map + self->page, map, 3 * self->page);
	EXPECT_FILL_ENDS(HMM_DMIRROR_STATUS_NO_ACCESS, map + self->page,
			 map, 3 * self->page);
	EXPECT_EQ(0, others(map, self->page, 55));
	close(file);
}

/* Mappings without struct page: the kernel's own time page. */
TEST_F(access, not_memory)
{
	unsigned long start, end;
	char line[512], name[64];
	char *special = NULL;
	FILE *maps = fopen("/proc/self/maps", "r");

	ASSERT_NE(NULL, maps);
	while (!special && fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %63s", &start, &end,
			   name) == 3 && !strcmp(name, "[vvar]"))
			special = (char *)start;
	}
	fclose(maps);
	if (!special)
		SKIP(return, "the process has no [vvar]");
	EXPECT_READ_ENDS(special, special, 8);
}

/* The engine and the fault queue are free for others after all of this. */
TEST_F(access, many_failures)
{
	struct hmm_dmirror_info info;
	unsigned int i;
	uint64_t sum;

	ASSERT_EQ(0, dmirror_info(&self->dev, &info));
	for (i = 0; i < 20 * info.engines; i++)
		ASSERT_EQ(HMM_DMIRROR_STATUS_NO_ACCESS,
			  dmirror_read(&self->dev, NULL, 8));
	ASSERT_EQ(0, dmirror_sum(&self->dev, self->data, self->length, &sum));
	EXPECT_EQ(pattern_sum(self->length, 1), sum);
}

TEST_F(access, injected_map_error)
{
	uint64_t sum;

	ASSERT_EQ(0, dmirror_inject(&self->dev, HMM_DMIRROR_INJECT_MAP_ERROR,
				    0, 1, 0));
	EXPECT_LT(0, dmirror_read(&self->dev, self->data, self->length));
	EXPECT_EQ(0, mapped(&self->dev, self->data, self->length, MAPPED));
	ASSERT_EQ(0, dmirror_sum(&self->dev, self->data, self->length, &sum));
	EXPECT_EQ(pattern_sum(self->length, 1), sum);
}

TEST_F(access, injected_prepare_error)
{
	struct dmirror fresh;
	uint64_t sum;

	/* A new file has no page tables yet. */
	ASSERT_EQ(0, dmirror_open(&fresh, self->dev.number));
	ASSERT_EQ(0, dmirror_inject(&fresh, HMM_DMIRROR_INJECT_PREPARE_ERROR,
				    0, 1, 0));
	EXPECT_EQ(HMM_DMIRROR_STATUS_NO_MEMORY,
		  dmirror_read(&fresh, self->data, self->length));
	EXPECT_EQ(0, mapped(&fresh, self->data, self->length, MAPPED));
	ASSERT_EQ(0, dmirror_sum(&fresh, self->data, self->length, &sum));
	EXPECT_EQ(pattern_sum(self->length, 1), sum);
	dmirror_close(&fresh);
}

/* Some succeed first; what was injected ends with its count. */
TEST_F(access, injected_later)
{
	struct hmm_dmirror_run run = {
		.program = HMM_DMIRROR_READ,
		.length = 2 * self->page,
	};
	char *huge = map_huge(2 * HUGE);

	/* Two PMD ranges, so two maps. */
	ASSERT_NE(NULL, huge);
	ASSERT_EQ(0, dmirror_inject(&self->dev, HMM_DMIRROR_INJECT_MAP_ERROR,
				    1, 1, 0));
	run.addr = (uintptr_t)huge + HUGE - self->page;
	EXPECT_LT(0, dmirror_run(&self->dev, &run));
	EXPECT_EQ((uintptr_t)huge + HUGE, run.fault_addr);
	EXPECT_EQ(self->page, run.result);
	EXPECT_EQ(0, dmirror_run(&self->dev, &run));
	EXPECT_EQ(2 * self->page, run.result);

	/* Taken back before it acts. */
	ASSERT_EQ(0, dmirror_inject(&self->dev, HMM_DMIRROR_INJECT_MAP_ERROR,
				    0, 1, 0));
	ASSERT_EQ(0, dmirror_inject(&self->dev, HMM_DMIRROR_INJECT_MAP_ERROR,
				    0, 0, 0));
	EXPECT_EQ(0, dmirror_read(&self->dev, self->data, self->length));
}

/* The last close of the device ends an injection. */
TEST_F(access, injection_ends_with_close)
{
	unsigned int number = self->dev.number;

	ASSERT_EQ(0, dmirror_inject(&self->dev, HMM_DMIRROR_INJECT_MAP_ERROR,
				    0, 1000, 0));
	EXPECT_LT(0, dmirror_read(&self->dev, self->data, 8));
	dmirror_close(&self->dev);
	ASSERT_EQ(0, dmirror_open(&self->dev, number));
	EXPECT_EQ(0, dmirror_read(&self->dev, self->data, 8));
}

TEST_HARNESS_MAIN
