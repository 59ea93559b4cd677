// SPDX-License-Identifier: GPL-2.0
/*
 * Each memory allocation of each operation fails, one after the other: the
 * operation works all the same or says so, and no data is lost.
 *
 * Follows tools/testing/fault-injection/failcmd.sh and "fail-nth" of
 * Documentation/fault-injection/fault-injection.rst.
 */
#define _GNU_SOURCE
#include "memory.h"

#define PAGES		8
#define DEBUGFS		"/sys/kernel/debug/"
#define FAIL_NTH	"/proc/thread-self/fail-nth"
/* More than any operation allocates. */
#define LIMIT		2000

FIXTURE(allocation)
{
	struct dmirror dev;
	size_t length;
	int file;		/* the thread's "fail-nth" */
	unsigned int nth;	/* which allocation fails in this round */
	bool failed;		/* it did in the round before */
	unsigned int refused;	/* rounds in which the operation said so */
};

FIXTURE_VARIANT(allocation)
{
	enum hmm_dmirror_memory memory;
	bool dma;
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

/* Allocations that may sleep fail, too, and the log stays short. */
static bool may_inject(void)
{
	return !write_text(DEBUGFS "failslab/ignore-gfp-wait", "N") &&
	       !write_text(DEBUGFS "failslab/verbose", "0") &&
	       !write_text(DEBUGFS "fail_page_alloc/ignore-gfp-wait", "N") &&
	       !write_text(DEBUGFS "fail_page_alloc/ignore-gfp-highmem", "N") &&
	       !write_text(DEBUGFS "fail_page_alloc/min-order", "0") &&
	       !write_text(DEBUGFS "fail_page_alloc/verbose", "0");
}

FIXTURE_SETUP(allocation)
{
	self->file = open(FAIL_NTH, O_RDWR | O_CLOEXEC);
	if (self->file < 0 || !may_inject())
		SKIP(return, "the kernel does not inject allocation failures");
	OPEN_KIND_OR_SKIP(return, &self->dev, variant->memory, variant->dma);
	self->length = PAGES * page_size();
	self->failed = true;
}

FIXTURE_TEARDOWN(allocation)
{
	dmirror_close(&self->dev);
}

/* Let the @nth allocation of this thread from now on fail; 0: none. */
static void fail_nth(struct _test_data_allocation *self, unsigned int nth)
{
	char text[16];
	int length = snprintf(text, sizeof(text), "%u", nth);

	if (pwrite(self->file, text, length, 0) != length)
		abort();
}

/* Is there an allocation left to fail?  The last round is one without. */
static bool next_round(struct _test_data_allocation *self)
{
	return self->failed && ++self->nth < LIMIT;
}

/* From here on the allocations of this thread count. */
static void inject(struct _test_data_allocation *self)
{
	fail_nth(self, self->nth);
}

/* To here; is @ret what the operation may say?  Allocates nothing itself. */
static bool acceptable(struct _test_data_allocation *self, int ret)
{
	char left = '?';

	if (pread(self->file, &left, 1, 0) != 1)
		abort();
	fail_nth(self, 0);
	self->failed = left == '0';
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
	char *data = map_alone(self->length, false);

	if (data)
		fill(data, self->length, 1);
	return data;
}

/* The same in device memory. */
static char *new_device_pages(struct _test_data_allocation *self)
{
	char *data = new_pages(self);
	struct hmm_dmirror_migrate result;

	if (!data || migrate(&self->dev, data, self->length,
			     HMM_DMIRROR_TO_DEVICE, &result) ||
	    result.moved != PAGES)
		return NULL;
	return data;
}

TEST_F(allocation, open)
{
	struct dmirror another;
	int ret;

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
	if (variant->dma)
		EXPECT_LT(0, stats.dma_retries);
}

/* What the CPU has not touched comes with allocations of the core. */
TEST_F(allocation, prefetch_untouched)
{
	struct hmm_dmirror_prefetch result;
	char *data;
	int ret;

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
	}
	EXPECT_ALL_FAILED();
}

TEST_HARNESS_MAIN
