// SPDX-License-Identifier: GPL-2.0
/*
 * Several devices on the memory of one process: one page fault serves all of
 * them, and their TLBs are flushed at the same time.
 */
#define _GNU_SOURCE
#include "memory.h"

#define PAGES		32
#define NR_DEVS		3
#define DELAY_MS	300

FIXTURE(many)
{
	struct dmirror devs[NR_DEVS];	/* the last: the first device again */
	size_t page;
	size_t length;
	char *data;			/* PAGES pages with pattern 1 */
};

FIXTURE_VARIANT(many)
{
	enum hmm_dmirror_memory memory[2];
	bool dma;			/* the first device is the one with DMA */
};

FIXTURE_VARIANT_ADD(many, none_and_private) { { NONE, PRIVATE }, false };
FIXTURE_VARIANT_ADD(many, private_and_cdm) { { PRIVATE, CDM }, false };
FIXTURE_VARIANT_ADD(many, cdm_and_none) { { CDM, NONE }, false };
FIXTURE_VARIANT_ADD(many, dma_and_cdm) { { NONE, CDM }, true };
FIXTURE_VARIANT_ADD(many, dma_and_private) { { NONE, PRIVATE }, true };

FIXTURE_SETUP(many)
{
	OPEN_KIND_OR_SKIP(return, &self->devs[0], variant->memory[0],
			  variant->dma);
	OPEN_OR_SKIP(return, &self->devs[1], variant->memory[1], 0);
	ASSERT_NE(self->devs[0].number, self->devs[1].number);
	ASSERT_EQ(0, dmirror_open(&self->devs[2], self->devs[0].number));
	self->page = page_size();
	self->length = PAGES * self->page;
	self->data = map_alone(self->length, false);
	ASSERT_NE(NULL, self->data);
	fill(self->data, self->length, 1);
}

FIXTURE_TEARDOWN(many)
{
	int i;

	for (i = 0; i < NR_DEVS; i++)
		dmirror_close(&self->devs[i]);
}

#define FAULT_MANY(addr, write, errors) \
	dmirror_fault_many(self->devs, NR_DEVS, addr, write, errors)

/* Each device has, or has not, all of @flags for the page. */
static unsigned int devices_with(struct dmirror *devs, const char *page,
				 unsigned char flags)
{
	unsigned int i, nr = 0;

	for (i = 0; i < NR_DEVS; i++)
		nr += mapped(&devs[i], page, page_size(), flags) == 1;
	return nr;
}

static bool all_stats(struct dmirror *devs, struct hmm_dmirror_stats *stats)
{
	unsigned int i;

	for (i = 0; i < NR_DEVS; i++)
		if (dmirror_stats(&devs[i], &stats[i]))
			return false;
	return true;
}

TEST_F(many, one_call)
{
	struct hmm_dmirror_stats before[NR_DEVS], after[NR_DEVS];
	int errors[NR_DEVS] = { 1, 1, 1 }, i;
	uint64_t sum;

	ASSERT_TRUE(all_stats(self->devs, before));
	ASSERT_EQ(0, FAULT_MANY(self->data + 3 * self->page + 5, 0, errors));
	ASSERT_TRUE(all_stats(self->devs, after));
	for (i = 0; i < NR_DEVS; i++) {
		EXPECT_EQ(0, errors[i]);
		EXPECT_EQ(0, after[i].retries - before[i].retries);
		/* What is around it comes along. */
		EXPECT_EQ(16, after[i].mapped_pages - before[i].mapped_pages);
		EXPECT_EQ(16, mapped(&self->devs[i], self->data, self->length,
				     MAPPED));
	}

	/* The programs find it there. */
	ASSERT_TRUE(all_stats(self->devs, before));
	for (i = 0; i < NR_DEVS; i++) {
		ASSERT_EQ(0, dmirror_sum(&self->devs[i], self->data,
					 16 * self->page, &sum));
		EXPECT_EQ(pattern_sum(16 * self->page, 1), sum);
	}
	ASSERT_TRUE(all_stats(self->devs, after));
	for (i = 0; i < NR_DEVS; i++)
		EXPECT_EQ(before[i].faults, after[i].faults);
}

TEST_F(many, huge_page)
{
	struct hmm_dmirror_stats before[NR_DEVS], after[NR_DEVS];
	char *huge = map_alone(HUGE, true);
	uint64_t sum;
	int i;

	ASSERT_NE(NULL, huge);
	fill(huge, HUGE, 2);
	if (!is_huge(huge))
		SKIP(return, "the kernel gave no transparent huge page");
	ASSERT_TRUE(all_stats(self->devs, before));
	ASSERT_EQ(0, FAULT_MANY(huge + HUGE / 2, 1, NULL));
	ASSERT_TRUE(all_stats(self->devs, after));
	for (i = 0; i < NR_DEVS; i++) {
		EXPECT_EQ(1, after[i].mapped_entries - before[i].mapped_entries);
		EXPECT_EQ(HUGE / self->page,
			  mapped(&self->devs[i], huge, HUGE,
				 MAPPED | WRITE | LARGE));
	}
	ASSERT_EQ(0, munmap(huge, self->page));
	EXPECT_EQ(0, devices_with(self->devs, huge + HUGE / 2, MAPPED));
	for (i = 0; i < NR_DEVS; i++) {
		ASSERT_EQ(0, dmirror_sum(&self->devs[i], huge + self->page,
					 HUGE - self->page, &sum));
		EXPECT_EQ(pattern_sum(HUGE, 2) - pattern_sum(self->page, 2),
			  sum);
	}
}

/* Memory that nobody has touched, for writing. */
TEST_F(many, write)
{
	struct hmm_dmirror_stats before[NR_DEVS], after[NR_DEVS];
	char *empty = map_alone(2 * self->page, false);
	uint64_t sum, value;
	int i, j;

	ASSERT_NE(NULL, empty);
	ASSERT_EQ(0, FAULT_MANY(empty, 1, NULL));
	EXPECT_EQ(NR_DEVS, devices_with(self->devs, empty, MAPPED | WRITE));
	EXPECT_EQ(0, devices_with(self->devs, empty + self->page, MAPPED));

	/* Each sees what the others and the CPU write, without a fault. */
	ASSERT_TRUE(all_stats(self->devs, before));
	for (i = 0; i < NR_DEVS; i++) {
		ASSERT_EQ(0, dmirror_fill(&self->devs[i], empty, self->page,
					  10 + i));
		EXPECT_EQ(0, others(empty, self->page, 10 + i));
		for (j = 0; j < NR_DEVS; j++) {
			ASSERT_EQ(0, dmirror_sum(&self->devs[j], empty,
						 self->page, &sum));
			EXPECT_EQ(self->page / 8 * (10 + i), sum);
		}
	}
	*(volatile uint64_t *)empty = 5;
	for (i = 0; i < NR_DEVS; i++) {
		ASSERT_EQ(0, dmirror_atomic_add(&self->devs[i],
						(uint64_t *)empty, 1, 1,
						&value));
		EXPECT_EQ(6 + i, value);
	}
	ASSERT_TRUE(all_stats(self->devs, after));
	for (i = 0; i < NR_DEVS; i++)
		EXPECT_EQ(before[i].faults, after[i].faults);

	ASSERT_EQ(0, munmap(empty, self->page));
	EXPECT_EQ(0, devices_with(self->devs, empty, MAPPED));
	for (i = 0; i < NR_DEVS; i++)
		EXPECT_EQ(HMM_DMIRROR_STATUS_NO_ACCESS,
			  dmirror_read(&self->devs[i], empty, 8));
}

/* What the process may not do none of them may do. */
TEST_F(many, refused)
{
	int errors[NR_DEVS], i;

	ASSERT_EQ(0, mprotect(self->data, self->page, PROT_READ));
	EXPECT_EQ(-EPERM, FAULT_MANY(self->data, 1, errors));
	for (i = 0; i < NR_DEVS; i++)
		EXPECT_EQ(-EPERM, errors[i]);
	EXPECT_EQ(0, devices_with(self->devs, self->data, WRITE));
	EXPECT_EQ(0, FAULT_MANY(self->data, 0, errors));
	EXPECT_EQ(NR_DEVS, devices_with(self->devs, self->data, MAPPED));

	ASSERT_EQ(0, munmap(self->data, self->page));
	EXPECT_EQ(-EFAULT, FAULT_MANY(self->data, 0, errors));
	for (i = 0; i < NR_DEVS; i++)
		EXPECT_EQ(-EFAULT, errors[i]);
	EXPECT_EQ(0, devices_with(self->devs, self->data, MAPPED));

	EXPECT_EQ(-ERANGE, FAULT_MANY((char *)(1UL << 63), 0, errors));
	for (i = 0; i < NR_DEVS; i++)
		EXPECT_EQ(-ERANGE, errors[i]);
}

/* A device that fails to map does not keep the page from the others. */
TEST_F(many, one_fails)
{
	int errors[NR_DEVS] = {};

	ASSERT_EQ(0, dmirror_inject(&self->devs[1], HMM_DMIRROR_INJECT_MAP_ERROR,
				    0, 1, 0));
	EXPECT_EQ(-EIO, FAULT_MANY(self->data, 0, errors));
	EXPECT_EQ(0, errors[0]);
	EXPECT_EQ(-EIO, errors[1]);
	EXPECT_EQ(0, errors[2]);
	EXPECT_EQ(1, mapped(&self->devs[0], self->data, self->page, MAPPED));
	EXPECT_EQ(0, mapped(&self->devs[1], self->data, self->length, MAPPED));
	EXPECT_EQ(1, mapped(&self->devs[2], self->data, self->page, MAPPED));

	EXPECT_EQ(0, FAULT_MANY(self->data, 0, errors));
	EXPECT_EQ(NR_DEVS, devices_with(self->devs, self->data, MAPPED));
}

TEST_F(many, other_files)
{
	struct dmirror devs[NR_DEVS];
	char path[64];

	memcpy(devs, self->devs, sizeof(devs));
	devs[1].fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, devs[1].fd);
	EXPECT_EQ(-EBADF, dmirror_fault_many(devs, NR_DEVS, self->data, 0,
					     NULL));
	close(devs[1].fd);
	EXPECT_EQ(-EBADF, dmirror_fault_many(devs, NR_DEVS, self->data, 0,
					     NULL));
	devs[1].fd = -1;
	EXPECT_EQ(-EBADF, dmirror_fault_many(devs, NR_DEVS, self->data, 0,
					     NULL));
	/* The right file, but not opened for access. */
	snprintf(path, sizeof(path), "%s/hmm_dmirror%u", dmirror_directory,
		 self->devs[1].number);
	devs[1].fd = open(path, O_PATH | O_CLOEXEC);
	ASSERT_LE(0, devs[1].fd);
	EXPECT_EQ(-EBADF, dmirror_fault_many(devs, NR_DEVS, self->data, 0,
					     NULL));
	close(devs[1].fd);
	EXPECT_EQ(0, devices_with(self->devs, self->data, MAPPED));
}

/* Files of another process are of no use, whoever has inherited them. */
TEST_F(many, other_process)
{
	struct dmirror devs[2];
	pid_t child = fork();
	int ret = 0;

	ASSERT_LE(0, child);
	if (!child) {
		if (dmirror_open(&devs[0], self->devs[0].number))
			_exit(1);
		devs[1] = self->devs[1];
		ret |= dmirror_fault_many(devs, 2, self->data, 0, NULL) !=
		       -EPERM ? 2 : 0;
		ret |= mapped(&devs[0], self->data, self->page, MAPPED) ?
		       4 : 0;
		ret |= dmirror_fault_many(devs, 1, self->data, 0, NULL) ?
		       8 : 0;
		ret |= mapped(&devs[0], self->data, self->page, MAPPED) != 1 ?
		       16 : 0;
		_exit(ret);
	}
	EXPECT_EQ(0, child_status(child));
	EXPECT_EQ(0, devices_with(self->devs, self->data, MAPPED));
}

TEST_F(many, invalid_arguments)
{
	struct hmm_dmirror_file files[HMM_DMIRROR_MAX_FILES + 1];
	const struct {
		int error;
		struct hmm_dmirror_fault args;
	} cases[] = {
		{ EINVAL, { .nr_files = 0 } },
		{ EINVAL, { .nr_files = ARRAY_SIZE(files) } },
		{ EINVAL, { .nr_files = ~0U } },
		{ EINVAL, { .nr_files = 1,
			    .flags = HMM_DMIRROR_PREFETCH_PRESENT } },
		{ EINVAL, { .nr_files = 1, .flags = 1U << 31 } },
		{ EFAULT, { .nr_files = 1, .files = 8 } },
	};
	struct hmm_dmirror_fault args;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(files); i++)
		files[i].fd = self->devs[i % NR_DEVS].fd;
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		args = cases[i].args;
		args.addr = (uintptr_t)self->data;
		if (!args.files)
			args.files = (uintptr_t)files;
		errno = 0;
		EXPECT_EQ(-1, ioctl(self->devs[0].fd, HMM_DMIRROR_FAULT, &args));
		EXPECT_EQ(cases[i].error, errno) {
			TH_LOG("case %zu", i);
		}
	}
	EXPECT_EQ(0, devices_with(self->devs, self->data, MAPPED));

	/* As many as there may be, some of them twice. */
	args.files = (uintptr_t)files;
	args.nr_files = HMM_DMIRROR_MAX_FILES;
	args.flags = HMM_DMIRROR_PREFETCH_WRITE;
	EXPECT_EQ(0, ioctl(self->devs[0].fd, HMM_DMIRROR_FAULT, &args));
	EXPECT_EQ(NR_DEVS, devices_with(self->devs, self->data, MAPPED | WRITE));
}

/*
 * Private memory of one device comes to RAM if another device wants it, too.
 * Coherent memory is for all.
 */
TEST_F(many, device_memory)
{
	struct dmirror *owner = &self->devs[variant->memory[0] == NONE];
	bool private = owner->info.memory == PRIVATE;
	struct hmm_dmirror_migrate result;
	int there = private ? HMM_DMIRROR_PAGE_PRIVATE : HMM_DMIRROR_PAGE_CDM;
	uint64_t sum;
	int i;

	ASSERT_EQ(0, migrate(owner, self->data, self->length,
			     HMM_DMIRROR_TO_DEVICE, &result));
	ASSERT_EQ(PAGES, result.moved);
	ASSERT_EQ(0, dmirror_fault_many(owner, 1, self->data, 0, NULL));
	EXPECT_EQ(MAPPED | there, page_flags(owner, self->data) &
				  (MAPPED | IN_DEVICE));

	ASSERT_EQ(0, FAULT_MANY(self->data, 1, NULL));
	EXPECT_EQ(NR_DEVS, devices_with(self->devs, self->data, MAPPED | WRITE));
	EXPECT_EQ(private ? 0 : there,
		  page_flags(owner, self->data) & IN_DEVICE);
	for (i = 0; i < NR_DEVS; i++) {
		ASSERT_EQ(0, dmirror_sum(&self->devs[i], self->data,
					 self->length, &sum));
		EXPECT_EQ(pattern_sum(self->length, 1), sum);
	}
}

/*
 * How long it takes to unmap a page that the first two devices have, in
 * milliseconds; their flushes take longer by these delays. Or -errno.
 */
static long unmap_ms(struct dmirror *devs, unsigned int first,
		     unsigned int second)
{
	char *page = map_alone(page_size(), false);
	uint64_t start;
	int ret;

	if (!page)
		return -ENOMEM;
	ret = dmirror_fault_many(devs, 2, page, 1, NULL);
	if (!ret && first)
		ret = dmirror_inject(&devs[0], HMM_DMIRROR_INJECT_FLUSH_DELAY,
				     0, 1, first);
	if (!ret && second)
		ret = dmirror_inject(&devs[1], HMM_DMIRROR_INJECT_FLUSH_DELAY,
				     0, 1, second);
	if (ret)
		return ret;
	start = now_us();
	if (munmap(page, page_size()))
		return -errno;
	return (now_us() - start) / 1000;
}

/* One after the other would take twice the delay, each time. */
TEST_F(many, flush_together)
{
	long none, one, both = 0;
	int i;

	one = unmap_ms(self->devs, DELAY_MS, 0);
	EXPECT_LE(DELAY_MS, one);
	one = unmap_ms(self->devs, 0, DELAY_MS);
	EXPECT_LE(DELAY_MS, one);
	for (i = 0; i < 5; i++) {
		none = unmap_ms(self->devs, 0, 0);
		ASSERT_LE(0, none);
		both = unmap_ms(self->devs, DELAY_MS, DELAY_MS);
		EXPECT_LE(DELAY_MS, both);
		if (both < none + 2 * DELAY_MS - 100)
			break;
	}
	EXPECT_GT(5, i) {
		TH_LOG("%ld ms, and %ld ms with two delays", none, both);
	}
}

TEST_HARNESS_MAIN
