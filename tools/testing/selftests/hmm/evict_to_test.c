// SPDX-License-Identifier: GPL-2.0
/*
 * Eviction from one device's memory to another's: the data is there and nowhere else,
 * what finds no room or cannot be copied stays, and who moves it back at the same time
 * does no harm.
 */
#define _GNU_SOURCE
#include "peers.h"

#define PAGES		64
/* In the tests with whole blocks. */
#define AREAS		2
#define LENGTH		(AREAS * HUGE)
#define HUGE_PAGES	(HUGE / page_size())
#define TIMEOUT_MS	10000
#define CHILDREN	2

FIXTURE(evict_to)
{
	struct dmirror from, to;
	struct hmm_dmirror_evict result;
	size_t page;
	size_t length;		/* of PAGES */
	size_t whole;		/* bytes that a huge page takes as one, or 0 */
	char *data;		/* so many bytes with pattern 1 */
};

FIXTURE_VARIANT(evict_to)
{
	enum hmm_dmirror_memory from, to;
	bool peers;		/* each device reaches the memory of the other one */
};

FIXTURE_VARIANT_ADD(evict_to, private_to_private)
{
	.from = PRIVATE,
	.to = PRIVATE,
};

FIXTURE_VARIANT_ADD(evict_to, private_to_cdm)
{
	.from = PRIVATE,
	.to = CDM,
};

FIXTURE_VARIANT_ADD(evict_to, cdm_to_private)
{
	.from = CDM,
	.to = PRIVATE,
};

FIXTURE_VARIANT_ADD(evict_to, private_to_peer)
{
	.from = PRIVATE,
	.to = PRIVATE,
	.peers = true,
};

FIXTURE_VARIANT_ADD(evict_to, cdm_to_peer)
{
	.from = CDM,
	.to = PRIVATE,
	.peers = true,
};

FIXTURE_SETUP(evict_to)
{
	OPEN_OR_SKIP(return, &self->from, variant->from, 0);
	OPEN_OR_SKIP(return, &self->to, variant->to,
		     variant->from == variant->to ? 1U : 0U);
	ASSERT_EQ(0, reach_peers(&self->from, variant->peers));
	ASSERT_EQ(0, reach_peers(&self->to, variant->peers));
	ASSERT_EQ(0, self->from.info.memory_used);
	ASSERT_EQ(0, self->to.info.memory_used);
	self->page = page_size();
	self->length = PAGES * self->page;
	/* Only with the patches of the series. */
	self->whole = getenv("HMM_UNMODIFIED_KERNEL") ? 0 : HUGE;
	self->data = map_pages(PAGES);
	ASSERT_NE(NULL, self->data);
	fill(self->data, self->length, 1);
}

FIXTURE_TEARDOWN(evict_to)
{
	dmirror_close(&self->from);
	dmirror_close(&self->to);
}

/* From one device to the other, and the other way. */
#define FORTH(pages, ms) \
	dmirror_evict_to(&self->from, &self->to, pages, ms, &self->result)
#define BACK(pages, ms) \
	dmirror_evict_to(&self->to, &self->from, pages, ms, &self->result)

/* Pages that stayed, for whatever reason. */
static uint64_t stayed(const struct hmm_dmirror_evict *result)
{
	return result->kept + result->busy + result->no_ram + result->no_room +
	       result->failed + result->untried;
}

TEST_F(evict_to, there)
{
	struct hmm_dmirror_stats from[2], to[2];

	ASSERT_EQ(0, dmirror_stats(&self->from, &from[0]));
	ASSERT_EQ(0, dmirror_stats(&self->to, &to[0]));
	ASSERT_TRUE(move_in(&self->from, self->data, self->length));
	/* Device page tables let go of the old place. */
	ASSERT_TRUE(device_has(&self->from, self->data, self->length, 1));
	ASSERT_EQ(0, FORTH(~0ull, TIMEOUT_MS));
	EXPECT_EQ(PAGES, self->result.evicted);
	EXPECT_EQ(0, stayed(&self->result));
	EXPECT_USED(0, self->length);
	EXPECT_EQ(0, mapped(&self->from, self->data, self->length, MAPPED));

	ASSERT_EQ(0, dmirror_stats(&self->from, &from[1]));
	ASSERT_EQ(0, dmirror_stats(&self->to, &to[1]));
	EXPECT_EQ(PAGES, from[1].migrated_out - from[0].migrated_out);
	EXPECT_EQ(PAGES, to[1].migrated_in - to[0].migrated_in);
	EXPECT_EQ(variant->peers ? PAGES : 0,
		  to[1].from_peers - to[0].from_peers);
	EXPECT_EQ(variant->peers ? 0 : PAGES,
		  to[1].through_ram - to[0].through_ram);
	EXPECT_EQ(0, from[1].cpu_faults - from[0].cpu_faults);
	EXPECT_EQ(0, to[1].cpu_faults - to[0].cpu_faults);

	EXPECT_TRUE(device_has(&self->to, self->data, self->length, 1));
	EXPECT_EQ(0, differences(self->data, self->length, 1));
	/* The CPU writes where it is, or brings it back. */
	fill(self->data, self->length, 2);
	EXPECT_EQ(variant->to == CDM ? self->length : 0, memory_used(&self->to));
	EXPECT_EQ(0, differences(self->data, self->length, 2));
}

/* There is nothing to move. */
TEST_F(evict_to, empty)
{
	EXPECT_EQ(0, FORTH(~0ull, TIMEOUT_MS));
	EXPECT_EQ(0, self->result.evicted + stayed(&self->result));
	ASSERT_TRUE(move_in(&self->from, self->data, self->length));
	EXPECT_EQ(0, FORTH(0, TIMEOUT_MS));
	EXPECT_EQ(0, self->result.evicted + stayed(&self->result));
	EXPECT_USED(self->length, 0);
}

/* Round and round, each device writes to what it has got. */
TEST_F(evict_to, ring)
{
	uint64_t i;

	ASSERT_TRUE(move_in(&self->from, self->data, self->length));
	for (i = 2; i < 6; i++) {
		ASSERT_EQ(0, FORTH(~0ull, TIMEOUT_MS));
		EXPECT_EQ(PAGES, self->result.evicted);
		EXPECT_USED(0, self->length);
		ASSERT_EQ(0, dmirror_fill(&self->to, self->data, self->page, i));
		ASSERT_EQ(0, BACK(~0ull, TIMEOUT_MS));
		EXPECT_EQ(PAGES, self->result.evicted);
		EXPECT_USED(self->length, 0);
		ASSERT_EQ(0, dmirror_fill(&self->from, self->data + i * self->page,
					  self->page, i));
	}
	EXPECT_EQ(5 * self->page / sizeof(uint64_t),
		  differences(self->data, self->length, 1));
	EXPECT_EQ(0, others(self->data, self->page, 5));
	for (i = 2; i < 6; i++)
		EXPECT_EQ(0, others(self->data + i * self->page, self->page, i));
}

/* As many as asked for, those that were used longest ago. */
TEST_F(evict_to, oldest_first)
{
	char *data = map_huge(LENGTH);
	uint64_t sum;

	ASSERT_NE(NULL, data);
	ASSERT_EQ(0, madvise(data, LENGTH, MADV_NOHUGEPAGE));
	fill(data, LENGTH, 3);
	ASSERT_TRUE(move_in(&self->from, data, HUGE));
	ASSERT_TRUE(move_in(&self->from, data + HUGE, HUGE));
	/* Now the second one is the older one. */
	ASSERT_EQ(0, dmirror_sum(&self->from, data, HUGE, &sum));
	ASSERT_EQ(0, FORTH(7, TIMEOUT_MS));
	EXPECT_EQ(7, self->result.evicted);
	ASSERT_EQ(0, FORTH(HUGE_PAGES - 7, TIMEOUT_MS));
	EXPECT_EQ(HUGE_PAGES - 7, self->result.evicted);
	EXPECT_USED(HUGE, HUGE);
	EXPECT_EQ(HUGE_PAGES, mapped(&self->from, data, HUGE, MAPPED));
	ASSERT_EQ(0, dmirror_prefetch(&self->to, data + HUGE, HUGE, 0, NULL));
	EXPECT_EQ(HUGE_PAGES, mapped(&self->to, data + HUGE, HUGE,
				     own_memory(&self->to)));
	EXPECT_EQ(0, differences(data, LENGTH, 3));
}

/* The device may keep its memory from other devices as well. */
TEST_F(evict_to, keep)
{
	ASSERT_TRUE(move_in(&self->from, self->data, self->length));
	ASSERT_EQ(0, dmirror_inject(&self->from, HMM_DMIRROR_INJECT_EVICT_KEEP,
				    0, ~0U, 0));
	EXPECT_EQ(-EBUSY, FORTH(~0ull, TIMEOUT_MS));
	EXPECT_EQ(PAGES, self->result.kept);
	EXPECT_EQ(PAGES, stayed(&self->result));
	EXPECT_USED(self->length, 0);
}

/* What a child does with memory that it shares with its parent; 0 if it is right. */
static int child_main(char *data, size_t length, int number, int ready, int go)
{
	char byte;

	if (write(ready, "", 1) != 1 || read(go, &byte, 1) != 1)
		return 1;
	if (differences(data, length, 1))
		return 2;
	fill(data, length / 2, 10 + number);
	if (differences(data, length / 2, 10 + number))
		return 3;
	return differences(data, length, 1) == length / 2 / sizeof(uint64_t) ? 0 : 4;
}

/* A page that several processes map moves once and for all of them. */
TEST_F(evict_to, shared)
{
	pid_t children[CHILDREN];
	int ready[2], go[2], i;
	char byte;

	ASSERT_EQ(0, pipe(ready));
	ASSERT_EQ(0, pipe(go));
	ASSERT_TRUE(move_in(&self->from, self->data, self->length));
	for (i = 0; i < CHILDREN; i++) {
		children[i] = fork();
		ASSERT_LE(0, children[i]);
		if (!children[i])
			_exit(child_main(self->data, self->length, i, ready[1],
					 go[0]));
		ASSERT_EQ(1, read(ready[0], &byte, 1));
	}
	ASSERT_EQ(0, FORTH(~0ull, TIMEOUT_MS));
	EXPECT_EQ(PAGES, self->result.evicted);
	EXPECT_USED(0, self->length);
	/* Before and after the others have made copies. */
	EXPECT_TRUE(device_has(&self->to, self->data, self->length, 1));
	for (i = 0; i < CHILDREN; i++)
		ASSERT_EQ(1, write(go[1], "", 1));
	for (i = 0; i < CHILDREN; i++)
		EXPECT_EQ(0, child_status(children[i]));
	EXPECT_EQ(0, differences(self->data, self->length, 1));
}

TEST_F(evict_to, target_full)
{
	size_t size = self->to.info.memory_size;
	char *rest = fill_memory(&self->to, 7, false);

	ASSERT_NE(NULL, rest);
	ASSERT_TRUE(move_in(&self->from, self->data, self->length));
	EXPECT_EQ(-ENOSPC, FORTH(~0ull, TIMEOUT_MS));
	EXPECT_EQ(7, self->result.evicted);
	EXPECT_LT(0, self->result.no_room);
	EXPECT_EQ(PAGES - 7, self->result.no_room + self->result.untried);
	EXPECT_EQ(PAGES - 7, stayed(&self->result));
	EXPECT_USED(self->length - 7 * self->page, size);

	/* No page frame is free: nothing is tried. */
	EXPECT_EQ(-ENOSPC, FORTH(1, TIMEOUT_MS));
	EXPECT_EQ(0, self->result.evicted);
	EXPECT_EQ(PAGES - 7, stayed(&self->result));

	/* Room for three; what is asked for fits. */
	ASSERT_EQ(0, madvise(rest, 3 * self->page, MADV_DONTNEED));
	EXPECT_EQ(0, FORTH(3, TIMEOUT_MS));
	EXPECT_EQ(3, self->result.evicted);
	EXPECT_USED(self->length - 10 * self->page, size);
	EXPECT_EQ(0, differences(self->data, self->length, 1));
}

/* One device fails for once: its pages are tried one by one, and nobody notices. */
static void fails_once(struct __test_metadata *_metadata,
		       struct _test_data_evict_to *self, struct dmirror *dev,
		       enum hmm_dmirror_injection what)
{
	ASSERT_TRUE(move_in(&self->from, self->data, self->length));
	ASSERT_EQ(0, dmirror_inject(dev, what, 0, 1, 0));
	EXPECT_EQ(0, FORTH(~0ull, TIMEOUT_MS));
	EXPECT_EQ(PAGES, self->result.evicted);
	EXPECT_EQ(0, stayed(&self->result));
	EXPECT_USED(0, self->length);
	EXPECT_TRUE(device_has(&self->to, self->data, self->length, 1));
	EXPECT_EQ(0, differences(self->data, self->length, 1));
}

TEST_F(evict_to, source_fails_once)
{
	/* Where the source copies from peer to peer. */
	ASSERT_EQ(0, reach_peers(&self->to, false));
	fails_once(_metadata, self, &self->from, HMM_DMIRROR_INJECT_COPY_ERROR);
}

TEST_F(evict_to, target_fails_once)
{
	fails_once(_metadata, self, &self->to, HMM_DMIRROR_INJECT_COPY_ERROR);
}

TEST_F(evict_to, source_refuses_once)
{
	ASSERT_EQ(0, reach_peers(&self->to, false));
	fails_once(_metadata, self, &self->from, HMM_DMIRROR_INJECT_COPY_REFUSE);
}

TEST_F(evict_to, target_refuses_once)
{
	fails_once(_metadata, self, &self->to, HMM_DMIRROR_INJECT_COPY_REFUSE);
}

/* One device fails for good: all stays where it is, and the target takes nothing. */
static void fails(struct __test_metadata *_metadata,
		  struct _test_data_evict_to *self, struct dmirror *dev)
{
	ASSERT_TRUE(move_in(&self->from, self->data, self->length));
	ASSERT_EQ(0, dmirror_inject(dev, HMM_DMIRROR_INJECT_COPY_ERROR, 0, ~0U,
				    0));
	EXPECT_EQ(-ETIME, FORTH(~0ull, 300));
	EXPECT_EQ(0, self->result.evicted);
	EXPECT_LT(0, self->result.failed);
	EXPECT_EQ(0, self->result.no_ram + self->result.no_room);
	EXPECT_EQ(PAGES, stayed(&self->result));
	EXPECT_USED(self->length, 0);
	EXPECT_TRUE(device_has(&self->from, self->data, self->length, 1));

	ASSERT_EQ(0, dmirror_inject(dev, HMM_DMIRROR_INJECT_COPY_ERROR, 0, 0,
				    0));
	EXPECT_EQ(0, FORTH(~0ull, TIMEOUT_MS));
	EXPECT_EQ(PAGES, self->result.evicted);
	EXPECT_TRUE(device_has(&self->to, self->data, self->length, 1));
	EXPECT_EQ(0, differences(self->data, self->length, 1));
}

TEST_F(evict_to, source_fails)
{
	ASSERT_EQ(0, reach_peers(&self->to, false));
	fails(_metadata, self, &self->from);
}

TEST_F(evict_to, target_fails)
{
	fails(_metadata, self, &self->to);
}

/* Called in a child, which has its own file of the source but not of the target. */
static int foreign_target(struct _test_data_evict_to *self)
{
	struct hmm_dmirror_evict result;
	struct dmirror from;

	if (dmirror_open(&from, self->from.number))
		return 1;
	return dmirror_evict_to(&from, &self->to, ~0ull, TIMEOUT_MS, &result) !=
	       -EPERM;
}

TEST_F(evict_to, arguments)
{
	struct dmirror bad = { .fd = -1 }, none;
	struct hmm_dmirror_evict evict = {
		.nr_pages = ~0ull,
		.timeout_ms = TIMEOUT_MS,
		.flags = HMM_DMIRROR_EVICT_TO,
		.target = self->to.fd,
	}, arg;
	pid_t child;

	ASSERT_TRUE(move_in(&self->from, self->data, self->length));
	EXPECT_EQ(-EBADF, dmirror_evict_to(&self->from, &bad, ~0ull, TIMEOUT_MS,
					   &arg));
	bad.fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, bad.fd);
	EXPECT_EQ(-EBADF, dmirror_evict_to(&self->from, &bad, ~0ull, TIMEOUT_MS,
					   &arg));
	close(bad.fd);
	/* By this file or another one, it is the same device. */
	EXPECT_EQ(-EINVAL, dmirror_evict_to(&self->from, &self->from, ~0ull,
					    TIMEOUT_MS, &arg));
	ASSERT_EQ(0, dmirror_open(&bad, self->from.number));
	EXPECT_EQ(-EINVAL, dmirror_evict_to(&self->from, &bad, ~0ull, TIMEOUT_MS,
					    &arg));
	dmirror_close(&bad);
	if (!dmirror_open_memory(&none, NONE, 0)) {
		EXPECT_EQ(-EOPNOTSUPP, dmirror_evict_to(&self->from, &none, ~0ull,
							TIMEOUT_MS, &arg));
		EXPECT_EQ(-EOPNOTSUPP, dmirror_evict_to(&none, &self->to, ~0ull,
							TIMEOUT_MS, &arg));
		dmirror_close(&none);
	}

	arg = evict;
	arg.flags |= HMM_DMIRROR_EVICT_RANGE;
	EXPECT_EQ(-EINVAL, dmirror_evict_as(&self->from, &arg));
	arg = evict;
	arg.offset = self->page;
	EXPECT_EQ(-EINVAL, dmirror_evict_as(&self->from, &arg));
	arg = evict;
	arg.reserved = 1;
	EXPECT_EQ(-EINVAL, dmirror_evict_as(&self->from, &arg));
	arg = evict;
	arg.flags = 0;
	arg.target = 1;
	EXPECT_EQ(-EINVAL, dmirror_evict_as(&self->from, &arg));

	child = fork();
	ASSERT_LE(0, child);
	if (!child)
		_exit(foreign_target(self));
	EXPECT_EQ(0, child_status(child));
	EXPECT_USED(self->length, 0);
	EXPECT_EQ(0, differences(self->data, self->length, 1));
}

TEST_F(evict_to, huge)
{
	char *data = huge_in(&self->from, LENGTH, AREAS * self->whole);

	ASSERT_NE(NULL, data);
	/* One page is asked for: a huge page goes as a whole. */
	ASSERT_EQ(0, FORTH(1, TIMEOUT_MS));
	EXPECT_EQ(self->whole ? HUGE_PAGES : 1, self->result.evicted);
	ASSERT_EQ(0, FORTH(~0ull, TIMEOUT_MS));
	EXPECT_USED(0, LENGTH);
	EXPECT_EQ(AREAS * self->whole, used_huge(&self->to));
	EXPECT_TRUE(device_has(&self->to, data, LENGTH, 4));
	EXPECT_EQ(self->whole ? AREAS * HUGE_PAGES : 0,
		  mapped(&self->to, data, LENGTH, LARGE | own_memory(&self->to)));

	ASSERT_EQ(0, BACK(~0ull, TIMEOUT_MS));
	EXPECT_EQ(AREAS * HUGE_PAGES, self->result.evicted);
	EXPECT_USED(LENGTH, 0);
	EXPECT_EQ(AREAS * self->whole, used_huge(&self->from));
	EXPECT_EQ(0, differences(data, LENGTH, 4));
	if (variant->from == PRIVATE)
		EXPECT_EQ(!!self->whole, is_huge(data));
}

/* Half of the target is free, but nowhere 2M in a row. */
TEST_F(evict_to, huge_target_fragmented)
{
	size_t size = self->to.info.memory_size;
	char *data;

	ASSERT_TRUE(fragment_memory(&self->to));
	data = huge_in(&self->from, LENGTH, AREAS * self->whole);
	ASSERT_NE(NULL, data);
	ASSERT_EQ(0, FORTH(~0ull, TIMEOUT_MS));
	EXPECT_EQ(AREAS * HUGE_PAGES, self->result.evicted);
	EXPECT_USED(0, size / 2 + LENGTH);
	EXPECT_EQ(0, used_huge(&self->to));
	EXPECT_TRUE(device_has(&self->to, data, LENGTH, 4));
	EXPECT_EQ(0, differences(data, LENGTH, 4));
}

/* Where not all of a huge page fits it stays whole. */
TEST_F(evict_to, huge_target_full)
{
	char *data;

	ASSERT_NE(NULL, fill_memory(&self->to, 100, false));
	data = huge_in(&self->from, LENGTH, AREAS * self->whole);
	ASSERT_NE(NULL, data);
	EXPECT_EQ(-ENOSPC, FORTH(~0ull, TIMEOUT_MS));
	EXPECT_EQ(self->whole ? 0 : 100, self->result.evicted);
	EXPECT_LT(0, self->result.no_room);
	EXPECT_EQ(AREAS * HUGE_PAGES, self->result.evicted +
				      self->result.no_room +
				      self->result.untried);
	EXPECT_EQ(AREAS * self->whole, used_huge(&self->from));
	EXPECT_EQ(0, differences(data, LENGTH, 4));
}

/* The copy of a huge page fails in the middle: it moves page by page. */
TEST_F(evict_to, huge_fails_once)
{
	char *data = huge_in(&self->from, LENGTH, AREAS * self->whole);

	ASSERT_NE(NULL, data);
	ASSERT_EQ(0, dmirror_inject(&self->to, HMM_DMIRROR_INJECT_COPY_ERROR,
				    variant->peers ? 0 : 1, 1, 0));
	ASSERT_EQ(0, FORTH(~0ull, TIMEOUT_MS));
	EXPECT_EQ(AREAS * HUGE_PAGES, self->result.evicted);
	EXPECT_USED(0, LENGTH);
	EXPECT_EQ(self->whole ? LENGTH - HUGE : 0, used_huge(&self->to));
	EXPECT_TRUE(device_has(&self->to, data, LENGTH, 4));
	EXPECT_EQ(0, differences(data, LENGTH, 4));
}

/* Keep the data moving from one device to the other. */
static void *mover(void *arg)
{
	struct racer *racer = arg;
	struct hmm_dmirror_migrate in;
	struct hmm_dmirror_evict result;
	unsigned int round;
	int ret;

	for (round = 0; !*racer->stop; round++) {
		if (!(round % 4))
			migrate(racer->from, racer->data, racer->length,
				HMM_DMIRROR_TO_DEVICE, &in);
		ret = dmirror_evict_to(racer->from, racer->to,
				       round % 2 ? 5 : ~0ull, 20, &result);
		if (ret && ret != -ETIME)
			racer->failure = ret;
		racer->moved += result.evicted;
	}
	return NULL;
}

TEST_F(evict_to, race)
{
	expect_race(_metadata, &self->from, &self->to, self->data, self->length,
		    mover, NULL);
}

TEST_F(evict_to, race_huge)
{
	char *data = map_huge(LENGTH);

	ASSERT_NE(NULL, data);
	expect_race(_metadata, &self->from, &self->to, data, LENGTH, mover,
		    NULL);
}

TEST_HARNESS_MAIN
