/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory on a device, in base pages and as a huge page, for tests of what the kernel
 * does with it.
 */
#ifndef _SELFTESTS_HMM_KERNEL_ACCESS_H
#define _SELFTESTS_HMM_KERNEL_ACCESS_H

#include "memory.h"

#define SMALL_PAGES	16UL

FIXTURE(kernel_access)
{
	struct dmirror dev;
	struct hmm_dmirror_migrate result;
	enum hmm_dmirror_memory memory;
	size_t page;
	size_t length;		/* a huge page, or SMALL_PAGES */
	size_t unit;		/* bytes that leave the device as one */
	bool huge;
	char *data;
	char *buffer;		/* as long, in RAM, shared with children */
};

FIXTURE_VARIANT(kernel_access)
{
	enum hmm_dmirror_memory memory;
	bool huge;
};

FIXTURE_VARIANT_ADD(kernel_access, private)
{
	.memory = PRIVATE,
};

FIXTURE_VARIANT_ADD(kernel_access, private_huge)
{
	.memory = PRIVATE,
	.huge = true,
};

FIXTURE_VARIANT_ADD(kernel_access, cdm)
{
	.memory = CDM,
};

FIXTURE_VARIANT_ADD(kernel_access, cdm_huge)
{
	.memory = CDM,
	.huge = true,
};

FIXTURE_SETUP(kernel_access)
{
	OPEN_OR_SKIP(return, &self->dev, variant->memory, 0);
	ASSERT_EQ(0, self->dev.info.memory_used);
	self->memory = variant->memory;
	self->huge = variant->huge;
	self->page = page_size();
	self->length = self->huge ? HUGE : SMALL_PAGES * self->page;
	/* Huge pages move as one only with the patches of the series. */
	self->unit = self->huge && !getenv("HMM_UNMODIFIED_KERNEL") ?
		     HUGE : self->page;
	self->data = map_alone(self->length, self->huge);
	ASSERT_NE(NULL, self->data);
	self->buffer = mmap(NULL, self->length, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->buffer);
}

FIXTURE_TEARDOWN(kernel_access)
{
	dmirror_close(&self->dev);
}

#define TO_DEVICE() \
	migrate(&self->dev, self->data, self->length, HMM_DMIRROR_TO_DEVICE, \
		&self->result)
/* All of it that is not there yet. */
#define ALL_TO_DEVICE() \
	migrate_all(&self->dev, self->data, self->length, HMM_DMIRROR_TO_DEVICE)
#define TO_RAM() \
	migrate(&self->dev, self->data, self->length, HMM_DMIRROR_TO_RAM, \
		&self->result)

/* Pattern @seed, all of it in the memory of @dev. */
static inline bool ready(struct _test_data_kernel_access *self,
			 struct dmirror *dev, char *data, uint64_t seed)
{
	if (migrate_all(dev, data, self->length, HMM_DMIRROR_TO_RAM))
		return false;
	fill(data, self->length, seed);
	if (self->huge && !make_huge(data, self->length))
		return false;
	return !migrate_all(dev, data, self->length, HMM_DMIRROR_TO_DEVICE);
}

#define READY(seed) ready(self, &self->dev, self->data, seed)

/* Bytes in device memory after an access to @length bytes at @from of all of them. */
static inline size_t stays(struct _test_data_kernel_access *self, size_t from,
			   size_t length)
{
	size_t units = (from + length - 1) / self->unit - from / self->unit + 1;

	return self->memory == CDM ? self->length :
				     self->length - units * self->unit;
}

/* The same for small pages of private memory, of which CPU faults may take more. */
#define EXPECT_STAYS(from, length) do { \
	EXPECT_GE(stays(self, from, length), memory_used(&self->dev)); \
	if (self->memory == CDM || self->unit > self->page) \
		EXPECT_EQ(stays(self, from, length), memory_used(&self->dev)); \
} while (0)

/* The device adds up all data to @expected. */
static inline bool device_sees(struct _test_data_kernel_access *self,
			       uint64_t expected)
{
	uint64_t sum;

	return !dmirror_sum(&self->dev, self->data, self->length, &sum) &&
	       sum == expected;
}

#endif /* _SELFTESTS_HMM_KERNEL_ACCESS_H */
