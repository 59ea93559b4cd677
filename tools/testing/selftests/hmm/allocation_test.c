// SPDX-License-Identifier: GPL-2.0
/*
 * Each memory allocation of each operation fails, one after the other: the
 * operation works all the same or says so, and no data is lost.
 */
#define _GNU_SOURCE
#include "fail_nth.h"
#include "memory.h"

#define PAGES		8

FIXTURE(allocation)
{
	struct dmirror dev;
	size_t length;
	size_t whole;		/* bytes that move as a huge page, or 0 */
	bool huge;
	int file;		/* the thread's "fail-nth" */
	unsigned int nth;	/* which allocation fails in this round */
	bool failed;		/* it did in the round before */
	unsigned int refused;	/* rounds in which the operation said so */
};

/* With huge pages only what migrates is tried. */
FIXTURE_VARIANT(allocation)
{
	enum hmm_dmirror_memory memory;
	bool dma;
	bool huge;
};

FIXTURE_VARIANT_ADD(allocation, none)
{
	.memory = NONE,
};

FIXTURE_VARIANT_ADD(allocation, dma)
{
	.memory = NONE,
	.dma = true,
};

FIXTURE_VARIANT_ADD(allocation, private)
{
	.memory = PRIVATE,
};

FIXTURE_VARIANT_ADD(allocation, cdm)
{
	.memory = CDM,
};

FIXTURE_VARIANT_ADD(allocation, private_huge)
{
	.memory = PRIVATE,
	.huge = true,
};

FIXTURE_VARIANT_ADD(allocation, cdm_huge)
{
	.memory = CDM,
	.huge = true,
};

FIXTURE_SETUP(allocation)
{
	self->file = fail_open();
	if (self->file < 0)
		SKIP(return, "the kernel does not inject allocation failures");
	OPEN_KIND_OR_SKIP(return, &self->dev, variant->memory, variant->dma);
	/*
	 * Only with the patches of the series: without, there are hundreds of
	 * pages, each with an allocation that can fail.
	 */
	self->huge = variant->huge && !getenv("HMM_UNMODIFIED_KERNEL");
	self->length = self->huge ? HUGE : PAGES * page_size();
	self->whole = self->huge ? HUGE : 0;
	self->failed = true;
}

FIXTURE_TEARDOWN(allocation)
{
	dmirror_close(&self->dev);
}

/* Is there an allocation left to fail?  The last round is one without. */
static bool next_round(struct _test_data_allocation *self)
{
	return self->failed && ++self->nth < FAIL_LIMIT;
}

/* From here on the allocations of this thread count. */
static void inject(struct _test_data_allocation *self)
{
	fail_nth(self->file, self->nth);
}

/* To here; is @ret what the operation may say?  Allocates nothing itself. */
static bool acceptable(struct _test_data_allocation *self, int ret)
{
	self->failed = fail_end(self->file);
	self->refused += !!ret;
	if (!ret || (self->failed && ret == -ENOMEM))
		return true;
	fprintf(stderr, "# allocation %u: %d\n", self->nth, ret);
	return false;
}

/* The operation has worked after all its failures. */
#define EXPECT_ALL_FAILED() do { \
	EXPECT_FALSE(self->failed); \
	TH_LOG("%u allocations, %u not to be spared", self->nth - 1, \
	       self->refused); \
} while (0)

/* Memory where no round before had any: nothing is there from those. */
static char *new_pages(struct _test_data_allocation *self)
{
	char *data = map_alone(self->length, self->huge);

	if (!data)
		return NULL;
	fill(data, self->length, 1);
	return self->huge && !make_huge(data, self->length) ? NULL : data;
}

/* The same in device memory. */
static char *new_device_pages(struct _test_data_allocation *self)
{
	char *data = new_pages(self);
	struct hmm_dmirror_migrate result;
	struct hmm_dmirror_info info;

	if (!data || migrate(&self->dev, data, self->length,
			     HMM_DMIRROR_TO_DEVICE, &result) ||
	    result.moved != self->length / page_size() ||
	    dmirror_info(&self->dev, &info) || info.memory_huge != self->whole)
		return NULL;
	return data;
}

/* The process gives them up; then no device memory is in use. */
static bool nothing_left(struct _test_data_allocation *self, char *data)
{
	struct hmm_dmirror_info info;

	return !munmap(data, self->length) && !dmirror_info(&self->dev, &info) &&
	       !info.memory_used && !info.memory_huge;
}

TEST_F(allocation, open)
{
	struct dmirror another;
	int ret;

	if (variant->huge)
		return;
	while (next_round(self)) {
		inject(self);
		ret = dmirror_open(&another, self->dev.number);
		ASSERT_TRUE(acceptable(self, ret));
		if (!ret)
			dmirror_close(&another);
	}
	EXPECT_ALL_FAILED();
	EXPECT_LT(0, self->refused);
}

TEST_F(allocation, prefetch)
{
	struct hmm_dmirror_prefetch result;
	struct hmm_dmirror_stats stats;
	char *data;
	int ret;

	if (variant->huge)
		return;
	while (next_round(self)) {
		data = new_pages(self);
		ASSERT_NE(NULL, data);
		inject(self);
		ret = dmirror_prefetch(&self->dev, data, self->length,
				       HMM_DMIRROR_PREFETCH_WRITE, &result);
		ASSERT_TRUE(acceptable(self, ret));
		EXPECT_EQ(ret ? 0 : PAGES, result.mapped);
		EXPECT_EQ(0, differences(data, self->length, 1));
		ASSERT_EQ(0, dmirror_fill(&self->dev, data, self->length, 5));
		EXPECT_EQ(0, others(data, self->length, 5));
	}
	EXPECT_ALL_FAILED();
	ASSERT_EQ(0, dmirror_stats(&self->dev, &stats));
	/* None if the IOMMU has tables from before wherever it maps now. */
	if (variant->dma)
		TH_LOG("%llu retries for want of IOMMU memory",
		       (unsigned long long)stats.dma_retries);
}

/* What the CPU has not touched comes with allocations of the core. */
TEST_F(allocation, prefetch_untouched)
{
	struct hmm_dmirror_prefetch result;
	char *data;
	int ret;

	if (variant->huge)
		return;
	while (next_round(self)) {
		data = map_alone(self->length, false);
		ASSERT_NE(NULL, data);
		inject(self);
		ret = dmirror_prefetch(&self->dev, data, self->length,
				       HMM_DMIRROR_PREFETCH_WRITE, &result);
		ASSERT_TRUE(acceptable(self, ret));
		EXPECT_EQ(0, others(data, self->length, 0));
	}
	EXPECT_ALL_FAILED();
}

TEST_F(allocation, fault)
{
	char *data;
	int ret;

	if (variant->huge)
		return;
	while (next_round(self)) {
		data = new_pages(self);
		ASSERT_NE(NULL, data);
		inject(self);
		ret = dmirror_fault_many(&self->dev, 1, data, 1, NULL);
		ASSERT_TRUE(acceptable(self, ret));
		EXPECT_EQ(0, differences(data, self->length, 1));
	}
	EXPECT_ALL_FAILED();
}

TEST_F(allocation, exclusive)
{
	char *data;
	int ret;

	if (variant->huge)
		return;
	while (next_round(self)) {
		data = new_pages(self);
		ASSERT_NE(NULL, data);
		inject(self);
		ret = dmirror_exclusive(&self->dev, data, self->length, NULL);
		ASSERT_TRUE(acceptable(self, ret));
		EXPECT_EQ(0, differences(data, self->length, 1));
	}
	EXPECT_ALL_FAILED();
}

TEST_F(allocation, to_device)
{
	struct hmm_dmirror_migrate result;
	char *data;
	int ret;

	if (variant->memory == NONE)
		return;
	while (next_round(self)) {
		data = new_pages(self);
		ASSERT_NE(NULL, data);
		inject(self);
		ret = dmirror_migrate(&self->dev, data, self->length,
				      HMM_DMIRROR_TO_DEVICE, &result);
		ASSERT_TRUE(acceptable(self, ret));
		EXPECT_EQ(0, differences(data, self->length, 1));
		ASSERT_TRUE(nothing_left(self, data));
	}
	EXPECT_ALL_FAILED();
}

TEST_F(allocation, to_ram)
{
	struct hmm_dmirror_migrate result;
	char *data;
	int ret;

	if (variant->memory == NONE)
		return;
	while (next_round(self)) {
		data = new_device_pages(self);
		ASSERT_NE(NULL, data);
		inject(self);
		ret = dmirror_migrate(&self->dev, data, self->length,
				      HMM_DMIRROR_TO_RAM, &result);
		ASSERT_TRUE(acceptable(self, ret));
		EXPECT_EQ(0, differences(data, self->length, 1));
		ASSERT_TRUE(nothing_left(self, data));
	}
	EXPECT_ALL_FAILED();
}

TEST_F(allocation, evict)
{
	uint64_t evicted;
	char *data;
	int ret;

	if (variant->memory == NONE)
		return;
	while (next_round(self)) {
		data = new_device_pages(self);
		ASSERT_NE(NULL, data);
		inject(self);
		ret = dmirror_evict(&self->dev, ~0ull, &evicted);
		ASSERT_TRUE(acceptable(self, ret));
		EXPECT_EQ(0, differences(data, self->length, 1));
		ASSERT_TRUE(nothing_left(self, data));
	}
	EXPECT_ALL_FAILED();
}

/* The CPU faults again when there was no memory; nobody is told. */
TEST_F(allocation, cpu_touch)
{
	uint64_t word;
	char *data;

	if (variant->memory != PRIVATE)
		return;
	while (next_round(self)) {
		data = new_device_pages(self);
		ASSERT_NE(NULL, data);
		inject(self);
		word = *(volatile uint64_t *)data;
		ASSERT_TRUE(acceptable(self, 0));
		EXPECT_EQ(pattern(1, 0), word);
		EXPECT_EQ(0, differences(data, self->length, 1));
		ASSERT_TRUE(nothing_left(self, data));
	}
	EXPECT_ALL_FAILED();
}

/* To another device and, whatever came of it, back by the CPU's touch. */
TEST_F(allocation, evict_to)
{
	struct hmm_dmirror_evict result;
	struct dmirror target;
	char *data;
	int ret;

	if (variant->memory == NONE)
		return;
	OPEN_OR_SKIP(return, &target, PRIVATE, variant->memory == PRIVATE);
	while (next_round(self)) {
		data = new_device_pages(self);
		ASSERT_NE(NULL, data);
		inject(self);
		ret = dmirror_evict_to(&self->dev, &target, ~0ull, 10000,
				       &result);
		ASSERT_TRUE(acceptable(self, ret));
		EXPECT_EQ(0, differences(data, self->length, 1));
		ASSERT_TRUE(nothing_left(self, data));
	}
	EXPECT_ALL_FAILED();
	dmirror_close(&target);
}

/* The same for a range, and nothing is left there of what did not move. */
TEST_F(allocation, between)
{
	struct hmm_dmirror_migrate result;
	struct dmirror target;
	char *data;
	int ret;

	if (variant->memory == NONE)
		return;
	OPEN_OR_SKIP(return, &target, PRIVATE, variant->memory == PRIVATE);
	while (next_round(self)) {
		data = new_device_pages(self);
		ASSERT_NE(NULL, data);
		inject(self);
		ret = dmirror_migrate_between(&self->dev, &target, data,
					      self->length, 0, &result);
		ASSERT_TRUE(acceptable(self, ret));
		EXPECT_EQ(result.moved * page_size(), memory_used(&target));
		EXPECT_EQ(result.left * page_size(), memory_used(&self->dev));
		EXPECT_EQ(0, differences(data, self->length, 1));
		ASSERT_TRUE(nothing_left(self, data));
		EXPECT_EQ(0, memory_used(&target));
	}
	EXPECT_ALL_FAILED();
	dmirror_close(&target);
}

TEST_HARNESS_MAIN
