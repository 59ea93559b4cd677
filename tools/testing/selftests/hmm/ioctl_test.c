// SPDX-License-Identifier: GPL-2.0
/*
 * The dummy device validates every argument of every ioctl, answers with the
 * documented errno and changes nothing.
 */
#define _GNU_SOURCE
#include "dmirror_test.h"

#define PAGES	4

FIXTURE(ioctl)
{
	struct dmirror dev;
	struct hmm_dmirror_stats stats;
	char *data;
	size_t length;
	char *forbidden;	/* a PROT_NONE page */
	char *read_only;
};

FIXTURE_VARIANT(ioctl)
{
	enum hmm_dmirror_memory memory;
};

FIXTURE_VARIANT_ADD(ioctl, none)
{
	.memory = NONE,
};

FIXTURE_VARIANT_ADD(ioctl, private)
{
	.memory = PRIVATE,
};

FIXTURE_VARIANT_ADD(ioctl, cdm)
{
	.memory = CDM,
};

FIXTURE_SETUP(ioctl)
{
	OPEN_OR_SKIP(return, &self->dev, variant->memory, 0);
	self->length = PAGES * page_size();
	self->data = map_pages(PAGES);
	ASSERT_NE(NULL, self->data);
	fill(self->data, self->length, 1);
	self->forbidden = mmap(NULL, page_size(), PROT_NONE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->forbidden);
	self->read_only = mmap(NULL, page_size(), PROT_READ,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->read_only);
	ASSERT_EQ(0, dmirror_stats(&self->dev, &self->stats));
}

FIXTURE_TEARDOWN(ioctl)
{
	dmirror_close(&self->dev);
}

/* The data is as before, not on the device, and nothing was counted. */
#define EXPECT_UNCHANGED() do { \
	struct hmm_dmirror_stats now; \
	EXPECT_EQ(0, differences(self->data, self->length, 1)); \
	EXPECT_EQ(0, mapped(&self->dev, self->data, self->length, MAPPED)); \
	EXPECT_EQ(0, dmirror_stats(&self->dev, &now)); \
	EXPECT_EQ(self->stats.faults, now.faults); \
	EXPECT_EQ(self->stats.migrated_in, now.migrated_in); \
	EXPECT_EQ(self->stats.migrated_out, now.migrated_out); \
	EXPECT_EQ(self->stats.bytes_copied, now.bytes_copied); \
	EXPECT_EQ(self->stats.bytes_cleared, now.bytes_cleared); \
} while (0)

/* Copy a good argument, make one change, expect @error from the ioctl. */
#define BAD(error, request, good, change) do { \
	__typeof__(good) arg = good; \
	int __ret; \
	arg.change; \
	__ret = ioctl(self->dev.fd, request, &arg) ? -errno : 0; \
	EXPECT_EQ(error, __ret) { \
		TH_LOG("%s with .%s", #request, #change); \
	} \
} while (0)

#define BAD_RUN(good, change) BAD(-EINVAL, HMM_DMIRROR_RUN, good, change)

TEST_F(ioctl, info)
{
	struct hmm_dmirror_info info;

	memset(&info, 0xff, sizeof(info));
	ASSERT_EQ(0, dmirror_info(&self->dev, &info));
	EXPECT_EQ(variant->memory, info.memory);
	EXPECT_LT(0, info.engines);
	EXPECT_GT(1024, info.engines);
	EXPECT_EQ(variant->memory != NONE, info.memory_size != 0);
	EXPECT_EQ(0, info.memory_size % page_size());
	EXPECT_EQ(0, info.memory_used);
}

TEST_F(ioctl, unknown)
{
	char arg[4096] = {};
	unsigned int nr;

	for (nr = 7; nr < 256; nr++) {
		EXPECT_EQ(-1, ioctl(self->dev.fd, _IOWR(HMM_DMIRROR_IOC_MAGIC,
							nr, uint64_t), arg));
		EXPECT_EQ(ENOTTY, errno);
	}
	/* A known number with another direction or size is another ioctl. */
	for (nr = 0; nr < 7; nr++) {
		EXPECT_EQ(-1, ioctl(self->dev.fd, _IO(HMM_DMIRROR_IOC_MAGIC,
						      nr), arg));
		EXPECT_EQ(ENOTTY, errno);
		EXPECT_EQ(-1, ioctl(self->dev.fd, _IOWR(HMM_DMIRROR_IOC_MAGIC,
							nr, char[200]), arg));
		EXPECT_EQ(ENOTTY, errno);
		EXPECT_EQ(-1, ioctl(self->dev.fd, _IOWR('H', nr, uint64_t),
				    arg));
		EXPECT_EQ(ENOTTY, errno);
	}
	EXPECT_UNCHANGED();
}

TEST_F(ioctl, bad_pointers)
{
	static const unsigned long requests[] = {
		HMM_DMIRROR_INFO, HMM_DMIRROR_RUN, HMM_DMIRROR_MIGRATE,
		HMM_DMIRROR_EVICT, HMM_DMIRROR_SNAPSHOT, HMM_DMIRROR_STATS,
		HMM_DMIRROR_INJECT,
	};
	void *bad[] = {
		NULL, (void *)8, self->forbidden,
		self->forbidden + page_size() - 4,
		(void *)0xffff888000000000, (void *)-8, (void *)(1UL << 63),
	};
	unsigned int i, j;

	for (i = 0; i < ARRAY_SIZE(requests); i++) {
		for (j = 0; j < ARRAY_SIZE(bad); j++) {
			errno = 0;
			EXPECT_EQ(-1, ioctl(self->dev.fd, requests[i], bad[j]));
			EXPECT_EQ(EFAULT, errno) {
				TH_LOG("ioctl %u, pointer %p", i, bad[j]);
			}
		}
	}
	EXPECT_EQ(-1, ioctl(self->dev.fd, HMM_DMIRROR_INFO, self->read_only));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, ioctl(self->dev.fd, HMM_DMIRROR_STATS, self->read_only));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_UNCHANGED();
}

static bool no_length(const struct hmm_dmirror_run *run)
{
	return run->program == HMM_DMIRROR_ATOMIC_ADD ||
	       run->program == HMM_DMIRROR_EXCLUSIVE_ADD;
}

TEST_F(ioctl, run_members)
{
	uint64_t at = (uintptr_t)self->data, top = ~7ULL;
	struct hmm_dmirror_run
	read = {
		.program = HMM_DMIRROR_READ,
		.addr = at,
		.length = self->length,
	}, words = {
		.program = HMM_DMIRROR_SUM,
		.addr = at,
		.length = self->length,
	}, write = {
		.program = HMM_DMIRROR_FILL,
		.addr = at,
		.length = self->length,
	}, copy = {
		.program = HMM_DMIRROR_COPY,
		.addr = at,
		.addr2 = at + self->length / 2,
		.length = self->length / 2,
	}, add = {
		.program = HMM_DMIRROR_ATOMIC_ADD,
		.addr = at,
		.count = 1,
		.operand = 1,
	}, chase = {
		.program = HMM_DMIRROR_CHASE,
		.addr = at,
		.length = 1,
		.count = 1,
	}, histogram = {
		.program = HMM_DMIRROR_HISTOGRAM,
		.addr = at,
		.addr2 = at + self->length / 2,
		.length = 100,
	}, text = {
		.program = HMM_DMIRROR_WORD_COUNT,
		.addr = at,
		.length = self->length,
	}, exclusive = {
		.program = HMM_DMIRROR_EXCLUSIVE_ADD,
		.addr = at,
		.count = 1,
	}, *all[] = {
		&read, &words, &write, &copy, &add, &chase, &histogram, &text,
		&exclusive,
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(all); i++) {
		BAD_RUN(*all[i], program = HMM_DMIRROR_EXCLUSIVE_ADD + 1);
		BAD_RUN(*all[i], program = ~0U);
		BAD_RUN(*all[i], flags = 1);
		BAD_RUN(*all[i], flags = 1U << 31);
		BAD_RUN(*all[i], reserved = 1);
		BAD_RUN(*all[i], length = no_length(all[i]) ? 8 : 0);
		BAD_RUN(*all[i], length = ~7ULL);
		if (all[i] != &copy && all[i] != &histogram)
			BAD_RUN(*all[i], addr2 = at);
		if (!no_length(all[i]) && all[i] != &chase) {
			BAD_RUN(*all[i], addr = top - 8);
			BAD_RUN(*all[i], count = 1);
			if (all[i] != &write)
				BAD_RUN(*all[i], operand = 1);
		}
		if (all[i] != &chase)
			BAD_RUN(*all[i], operand2 = 1);
	}

	BAD_RUN(words, length = 12);
	BAD_RUN(words, addr = at + 4);
	BAD_RUN(write, length = 12);
	BAD_RUN(write, addr = at + 1);
	BAD_RUN(copy, length = 12);
	BAD_RUN(copy, addr = at + 4);
	BAD_RUN(copy, addr2 = at + 4);
	BAD_RUN(copy, addr2 = top - 8);
	BAD_RUN(add, addr = at + 4);
	BAD_RUN(chase, addr = at + 4);
	BAD_RUN(histogram, addr2 = at + 4);
	BAD_RUN(histogram, addr2 = top - 8);
	EXPECT_UNCHANGED();
}

TEST_F(ioctl, run_huge)
{
	uint64_t all, nodes;
	struct hmm_dmirror_run run = {
		.program = HMM_DMIRROR_SUM,
		.addr = (uintptr_t)self->data,
		.length = 1ULL << 46,
	};

	/* No overflow: it runs until there is no more memory. */
	ASSERT_EQ(0, munmap(self->data + self->length - page_size(),
			    page_size()));
	EXPECT_EQ(HMM_DMIRROR_STATUS_NO_ACCESS, dmirror_run(&self->dev, &run));
	EXPECT_EQ((uintptr_t)self->data + self->length - page_size(),
		  run.fault_addr);
	EXPECT_EQ(pattern_sum(self->length - page_size(), 1), run.result);

	/* An array of heads that wraps around the address space. */
	memset(self->data, 0, page_size());
	EXPECT_NE(0, dmirror_chase(&self->dev, self->data, 1ULL << 61, 0, 8,
				   10, &all, &nodes));
	EXPECT_EQ(0, all);
}

TEST_F(ioctl, migrate_members)
{
	uint64_t at = (uintptr_t)self->data;
	size_t page = page_size();
	struct hmm_dmirror_migrate good = {
		.addr = at,
		.length = self->length,
		.target = HMM_DMIRROR_TO_DEVICE,
	};
	unsigned int target;

	for (target = 0; target < 2; target++) {
		good.target = target;
		BAD(-EINVAL, HMM_DMIRROR_MIGRATE, good, addr = at + 8);
		BAD(-EINVAL, HMM_DMIRROR_MIGRATE, good, addr = at + page / 2);
		BAD(-EINVAL, HMM_DMIRROR_MIGRATE, good, length = 0);
		BAD(-EINVAL, HMM_DMIRROR_MIGRATE, good, length = page - 1);
		BAD(-EINVAL, HMM_DMIRROR_MIGRATE, good, length = page + 8);
		BAD(-EINVAL, HMM_DMIRROR_MIGRATE, good, length = -page);
		BAD(-EINVAL, HMM_DMIRROR_MIGRATE, good, length = -2 * page);
		BAD(-EINVAL, HMM_DMIRROR_MIGRATE, good, addr = -page);
		BAD(-EINVAL, HMM_DMIRROR_MIGRATE, good, target = 3);
		BAD(-EINVAL, HMM_DMIRROR_MIGRATE, good, target = ~0U);
		BAD(-EINVAL, HMM_DMIRROR_MIGRATE, good, flags = 2);
		BAD(-EINVAL, HMM_DMIRROR_MIGRATE, good, another = self->dev.fd);
		BAD(-EINVAL, HMM_DMIRROR_MIGRATE, good, reserved = 1);
	}
	good.target = HMM_DMIRROR_TO_RAM;
	BAD(-EINVAL, HMM_DMIRROR_MIGRATE, good,
	    flags = HMM_DMIRROR_MIGRATE_MAKE_ROOM);
	EXPECT_UNCHANGED();
}

/* 64 GiB without a single mapping. */
TEST_F(ioctl, migrate_huge)
{
	int expected = variant->memory == NONE ? -EOPNOTSUPP : 0, target;
	struct hmm_dmirror_migrate result;
	size_t length = 1UL << 36;
	char *empty;

	empty = mmap(NULL, length, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ASSERT_NE(MAP_FAILED, empty);
	ASSERT_EQ(0, munmap(empty, length));
	for (target = 0; target < 2; target++) {
		EXPECT_EQ(expected, migrate(&self->dev, empty, length, target,
					    &result));
		EXPECT_EQ(0, result.moved);
		EXPECT_EQ(0, result.filled);
		EXPECT_EQ(length / page_size(), result.left);
		EXPECT_EQ(expected, migrate(&self->dev, self->forbidden,
					    page_size(), target, &result));
		EXPECT_EQ(0, result.moved);
		EXPECT_EQ(1, result.filled + result.left);
	}
	ASSERT_EQ(0, munmap(self->forbidden, page_size()));
	EXPECT_EQ(0, differences(self->data, self->length, 1));
}

TEST_F(ioctl, evict_members)
{
	struct hmm_dmirror_evict good = {
		.nr_pages = ~0ULL,
		.timeout_ms = 1000,
	};
	uint64_t evicted;

	BAD(-EINVAL, HMM_DMIRROR_EVICT, good, timeout_ms = 60001);
	BAD(-EINVAL, HMM_DMIRROR_EVICT, good, timeout_ms = ~0U);
	BAD(-EINVAL, HMM_DMIRROR_EVICT, good, flags = 4);
	BAD(-EINVAL, HMM_DMIRROR_EVICT, good, flags = 3);
	BAD(-EINVAL, HMM_DMIRROR_EVICT, good, target = self->dev.fd);
	BAD(-EINVAL, HMM_DMIRROR_EVICT, good, reserved = 1);
	BAD(-EINVAL, HMM_DMIRROR_EVICT, good, offset = page_size());
	if (variant->memory != NONE) {
		good.flags = HMM_DMIRROR_EVICT_RANGE;
		BAD(-EINVAL, HMM_DMIRROR_EVICT, good, nr_pages = 0);
		BAD(-EINVAL, HMM_DMIRROR_EVICT, good, nr_pages = ~0ULL);
		good.nr_pages = 1;
		BAD(-EINVAL, HMM_DMIRROR_EVICT, good, offset = 1);
		BAD(-EINVAL, HMM_DMIRROR_EVICT, good, offset = ~0ULL << 12);
		BAD(-EINVAL, HMM_DMIRROR_EVICT, good,
		    offset = self->dev.info.memory_size);
	}
	/* Nothing is there, and that is no error. */
	EXPECT_EQ(variant->memory == NONE ? -EOPNOTSUPP : 0,
		  dmirror_evict(&self->dev, ~0ULL, &evicted));
	EXPECT_EQ(0, evicted);
	EXPECT_UNCHANGED();
}

TEST_F(ioctl, snapshot_members)
{
	size_t page = page_size();
	unsigned char pages[PAGES];
	struct hmm_dmirror_snapshot good = {
		.addr = (uintptr_t)self->data,
		.length = self->length,
		.pages = (uintptr_t)pages,
	};

	memset(pages, 0x5a, sizeof(pages));
	BAD(-EINVAL, HMM_DMIRROR_SNAPSHOT, good, addr += 8);
	BAD(-EINVAL, HMM_DMIRROR_SNAPSHOT, good, length = 0);
	BAD(-EINVAL, HMM_DMIRROR_SNAPSHOT, good, length = page + 8);
	BAD(-EINVAL, HMM_DMIRROR_SNAPSHOT, good, length = 1024 * MIB + page);
	BAD(-EINVAL, HMM_DMIRROR_SNAPSHOT, good, length = -2 * page);
	BAD(-EINVAL, HMM_DMIRROR_SNAPSHOT, good, addr = -page);
	BAD(-EINVAL, HMM_DMIRROR_SNAPSHOT, good, reserved = 1);
	BAD(-EFAULT, HMM_DMIRROR_SNAPSHOT, good, pages = 0);
	BAD(-EFAULT, HMM_DMIRROR_SNAPSHOT, good,
	    pages = (uintptr_t)self->forbidden);
	BAD(-EFAULT, HMM_DMIRROR_SNAPSHOT, good,
	    pages = (uintptr_t)self->read_only);
	EXPECT_EQ(0x5a, pages[0]);
	EXPECT_EQ(0x5a, pages[PAGES - 1]);

	EXPECT_EQ(0, ioctl(self->dev.fd, HMM_DMIRROR_SNAPSHOT, &good));
	EXPECT_EQ(0, pages[0]);
	EXPECT_EQ(0, pages[PAGES - 1]);
	EXPECT_UNCHANGED();
}

TEST_F(ioctl, inject_members)
{
	struct hmm_dmirror_inject good = {
		.what = HMM_DMIRROR_INJECT_MAP_ERROR,
		.count = 1,
	}, delay = {
		.what = HMM_DMIRROR_INJECT_COPY_DELAY,
		.count = 1,
		.value = 1,
	}, copy = {
		.what = HMM_DMIRROR_INJECT_COPY_ERROR,
		.count = 1,
	}, flush = {
		.what = HMM_DMIRROR_INJECT_FLUSH_DELAY,
		.count = 1,
		.value = 1,
	};
	uint64_t sum;
	unsigned int what;

	BAD(-EINVAL, HMM_DMIRROR_INJECT, good,
	    what = HMM_DMIRROR_INJECT_COPY_NO_MEMORY + 1);
	BAD(-EINVAL, HMM_DMIRROR_INJECT, good, what = ~0U);
	BAD(-EINVAL, HMM_DMIRROR_INJECT, good, value = 1);
	BAD(-EINVAL, HMM_DMIRROR_INJECT, delay, value = 10001);
	BAD(-EINVAL, HMM_DMIRROR_INJECT, flush, value = 10001);
	BAD(-EINVAL, HMM_DMIRROR_INJECT, copy, value = 513);
	copy.what = HMM_DMIRROR_INJECT_COPY_NO_MEMORY;
	BAD(-EINVAL, HMM_DMIRROR_INJECT, copy, value = 513);

	for (what = HMM_DMIRROR_INJECT_COPY_ERROR;
	     what <= HMM_DMIRROR_INJECT_COPY_DELAY; what++) {
		int ret = dmirror_inject(&self->dev, what, 0, 1,
					 what == HMM_DMIRROR_INJECT_COPY_DELAY);

		EXPECT_EQ(variant->memory == NONE ? -EOPNOTSUPP : 0, ret);
		EXPECT_EQ(ret, dmirror_inject(&self->dev, what, 0, 0, 0));
	}
	EXPECT_UNCHANGED();

	/* Nothing of the above was injected. */
	EXPECT_EQ(0, dmirror_sum(&self->dev, self->data, self->length, &sum));
	EXPECT_EQ(pattern_sum(self->length, 1), sum);
}

TEST_HARNESS_MAIN
