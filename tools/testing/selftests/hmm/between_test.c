// SPDX-License-Identifier: GPL-2.0
/*
 * Migration of a range from one device's memory to another's, copied by one of the
 * devices or by way of RAM: the data is there and nowhere else, and what finds no
 * room or cannot be copied stays where it was.
 */
#define _GNU_SOURCE
#include "orders.h"
#include "pci.h"
#include "peers.h"

#define PAGES		64
/* In the tests with whole page tables. */
#define AREAS		2
#define LENGTH		(AREAS * HUGE)
#define HUGE_PAGES	(HUGE / page_size())

FIXTURE(between)
{
	struct dmirror from, to;
	struct hmm_dmirror_migrate result;
	size_t page;
	size_t length;		/* of PAGES */
	size_t whole;		/* bytes that a huge page takes as one, or 0 */
	char *data;		/* so many bytes with pattern 1 */
};

FIXTURE_VARIANT(between)
{
	enum hmm_dmirror_memory from, to;
	bool peers;		/* each device reaches the memory of the other one */
};

FIXTURE_VARIANT_ADD(between, private_to_private)
{
	.from = PRIVATE,
	.to = PRIVATE,
	.peers = true,
};

FIXTURE_VARIANT_ADD(between, private_to_cdm)
{
	.from = PRIVATE,
	.to = CDM,
	.peers = true,
};

FIXTURE_VARIANT_ADD(between, cdm_to_private)
{
	.from = CDM,
	.to = PRIVATE,
	.peers = true,
};

FIXTURE_VARIANT_ADD(between, cdm_to_cdm)
{
	.from = CDM,
	.to = CDM,
	.peers = true,
};

FIXTURE_VARIANT_ADD(between, private_to_cdm_by_ram)
{
	.from = PRIVATE,
	.to = CDM,
};

FIXTURE_VARIANT_ADD(between, cdm_to_private_by_ram)
{
	.from = CDM,
	.to = PRIVATE,
};

FIXTURE_SETUP(between)
{
	OPEN_OR_SKIP(return, &self->from, variant->from, 0);
	OPEN_OR_SKIP(return, &self->to, variant->to,
		     variant->from == variant->to ? 1U : 0U);
	ASSERT_EQ(0, self->from.info.memory_used);
	ASSERT_EQ(0, self->to.info.memory_used);
	ASSERT_EQ(0, reach_peers(&self->from, variant->peers));
	ASSERT_EQ(0, reach_peers(&self->to, variant->peers));
	self->page = page_size();
	self->length = PAGES * self->page;
	/* Only with the patches of the series. */
	self->whole = getenv("HMM_UNMODIFIED_KERNEL") ? 0 : HUGE;
	self->data = map_pages(PAGES);
	ASSERT_NE(NULL, self->data);
	fill(self->data, self->length, 1);
}

FIXTURE_TEARDOWN(between)
{
	dmirror_close(&self->from);
	dmirror_close(&self->to);
}

/* From one device to the other, and the other way. */
#define FORTH(start, length) \
	dmirror_migrate_between(&self->from, &self->to, start, length, 0, \
				&self->result)
#define BACK(start, length) \
	dmirror_migrate_between(&self->to, &self->from, start, length, 0, \
				&self->result)

#define EXPECT_MOVED(pages, pages_left) do { \
	EXPECT_EQ(pages, self->result.moved); \
	EXPECT_EQ(0, self->result.filled); \
	EXPECT_EQ(pages_left, self->result.left); \
} while (0)

TEST_F(between, there_and_back)
{
	struct hmm_dmirror_stats from[2], to[2];

	ASSERT_EQ(0, dmirror_stats(&self->from, &from[0]));
	ASSERT_EQ(0, dmirror_stats(&self->to, &to[0]));
	ASSERT_TRUE(move_in(&self->from, self->data, self->length));
	ASSERT_TRUE(device_has(&self->from, self->data, self->length, 1));
	EXPECT_EQ(0, FORTH(self->data, self->length));
	EXPECT_MOVED(PAGES, 0);
	EXPECT_USED(0, self->length);
	/* Device page tables let go of the old place. */
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
	EXPECT_TRUE(device_has(&self->to, self->data, self->length, 1));

	/* All of it is there already, or half of it. */
	EXPECT_EQ(0, FORTH(self->data, self->length));
	EXPECT_MOVED(0, PAGES);
	EXPECT_EQ(0, BACK(self->data, self->length / 2));
	EXPECT_MOVED(PAGES / 2, 0);
	EXPECT_EQ(0, BACK(self->data, self->length));
	EXPECT_MOVED(PAGES / 2, PAGES / 2);
	EXPECT_USED(self->length, 0);
	EXPECT_TRUE(device_has(&self->from, self->data, self->length, 1));

	EXPECT_EQ(0, FORTH(self->data, self->length));
	EXPECT_EQ(0, differences(self->data, self->length, 1));
	fill(self->data, self->length, 2);
	EXPECT_EQ(0, differences(self->data, self->length, 2));
	EXPECT_USED(0, variant->to == CDM ? self->length : 0);
}

/* The source copies if the destination cannot, and RAM is not touched. */
TEST_F(between, source_copies)
{
	struct hmm_dmirror_stats from[2], to[2];

	ASSERT_EQ(0, reach_peers(&self->from, true));
	ASSERT_EQ(0, reach_peers(&self->to, false));
	ASSERT_TRUE(move_in(&self->from, self->data, self->length));
	ASSERT_EQ(0, dmirror_stats(&self->from, &from[0]));
	ASSERT_EQ(0, dmirror_stats(&self->to, &to[0]));
	EXPECT_EQ(0, FORTH(self->data, self->length));
	EXPECT_MOVED(PAGES, 0);
	ASSERT_EQ(0, dmirror_stats(&self->from, &from[1]));
	ASSERT_EQ(0, dmirror_stats(&self->to, &to[1]));
	EXPECT_EQ(PAGES, to[1].from_peers - to[0].from_peers);
	EXPECT_EQ(0, to[1].through_ram - to[0].through_ram);
	EXPECT_EQ(self->length, from[1].bytes_copied - from[0].bytes_copied);
	EXPECT_EQ(0, to[1].bytes_copied - to[0].bytes_copied);
	EXPECT_TRUE(device_has(&self->to, self->data, self->length, 1));
	EXPECT_EQ(0, differences(self->data, self->length, 1));
}

/* Only what lies in the source moves: not RAM, nor a third device's, nor holes. */
TEST_F(between, others_stay)
{
	size_t part = self->length / 4, half = self->length / 2;
	struct dmirror third;

	OPEN_OR_SKIP(return, &third, PRIVATE,
		     (variant->from == PRIVATE) + (variant->to == PRIVATE));
	ASSERT_TRUE(move_in(&self->from, self->data, part));
	ASSERT_TRUE(move_in(&third, self->data + part, part));
	ASSERT_EQ(0, madvise(self->data + half, part, MADV_DONTNEED));
	EXPECT_EQ(0, FORTH(self->data, self->length));
	EXPECT_MOVED(PAGES / 4, 3 * PAGES / 4);
	EXPECT_USED(0, part);
	EXPECT_EQ(part, memory_used(&third));
	EXPECT_TRUE(device_has(&self->to, self->data, part, 1));
	EXPECT_EQ(0, differences(self->data, half, 1));
	EXPECT_EQ(0, others(self->data + half, part, 0));
	dmirror_close(&third);
}

TEST_F(between, full)
{
	size_t size = self->to.info.memory_size;
	char *rest = fill_memory(&self->to, 7, true);

	ASSERT_NE(NULL, rest);
	ASSERT_TRUE(move_in(&self->from, self->data, self->length));
	EXPECT_EQ(-ENOSPC, FORTH(self->data, self->length));
	EXPECT_MOVED(7, PAGES - 7);
	EXPECT_USED(self->length - 7 * self->page, size);
	EXPECT_EQ(-ENOSPC, FORTH(self->data, self->length));
	EXPECT_MOVED(0, PAGES);
	EXPECT_USED(self->length - 7 * self->page, size);

	/* What is there gives way. */
	EXPECT_EQ(0, dmirror_migrate_between(&self->from, &self->to, self->data,
					     self->length,
					     HMM_DMIRROR_MIGRATE_MAKE_ROOM,
					     &self->result));
	EXPECT_MOVED(PAGES - 7, 7);
	EXPECT_EQ(0, memory_used(&self->from));
	EXPECT_TRUE(device_has(&self->to, self->data, self->length, 1));
	EXPECT_EQ(0, differences(self->data, self->length, 1));
}

/*
 * A copy fails on the way, for the first of two page tables: all of that stays where it
 * was, the destination takes nothing of it, and it moves the next time.
 */
static void fails(struct __test_metadata *_metadata,
		  struct _test_data_between *self, struct dmirror *dev,
		  enum hmm_dmirror_injection what, unsigned int after)
{
	char *data = map_huge(LENGTH);

	ASSERT_NE(NULL, data);
	ASSERT_EQ(0, madvise(data, LENGTH, MADV_NOHUGEPAGE));
	fill(data, LENGTH, 3);
	ASSERT_TRUE(move_in(&self->from, data, LENGTH));
	ASSERT_EQ(0, dmirror_inject(dev, what, after, 1, 0));
	EXPECT_EQ(-EIO, FORTH(data, LENGTH));
	EXPECT_MOVED(HUGE_PAGES, HUGE_PAGES);
	EXPECT_USED(HUGE, HUGE);
	EXPECT_TRUE(device_has(&self->from, data, HUGE, 3));
	EXPECT_EQ(0, FORTH(data, LENGTH));
	EXPECT_MOVED(HUGE_PAGES, HUGE_PAGES);
	EXPECT_USED(0, LENGTH);
	EXPECT_TRUE(device_has(&self->to, data, LENGTH, 3));
	EXPECT_EQ(0, differences(data, LENGTH, 3));
}

TEST_F(between, destination_fails)
{
	fails(_metadata, self, &self->to, HMM_DMIRROR_INJECT_COPY_ERROR,
	      variant->peers ? 0 : 2);
}

TEST_F(between, destination_refuses)
{
	fails(_metadata, self, &self->to, HMM_DMIRROR_INJECT_COPY_REFUSE,
	      variant->peers ? 0 : 2);
}

TEST_F(between, source_fails)
{
	ASSERT_EQ(0, reach_peers(&self->to, false));
	fails(_metadata, self, &self->from, HMM_DMIRROR_INJECT_COPY_ERROR,
	      variant->peers ? 0 : 2);
}

TEST_F(between, source_refuses)
{
	ASSERT_EQ(0, reach_peers(&self->to, false));
	fails(_metadata, self, &self->from, HMM_DMIRROR_INJECT_COPY_REFUSE,
	      variant->peers ? 0 : 2);
}

#define EXPECT_HUGE(from_bytes, to_bytes) do { \
	EXPECT_EQ(from_bytes, used_huge(&self->from)); \
	EXPECT_EQ(to_bytes, used_huge(&self->to)); \
} while (0)

TEST_F(between, huge)
{
	char *data = huge_in(&self->from, LENGTH, AREAS * self->whole);

	ASSERT_NE(NULL, data);
	EXPECT_EQ(0, FORTH(data, LENGTH));
	EXPECT_MOVED(AREAS * HUGE_PAGES, 0);
	EXPECT_USED(0, LENGTH);
	EXPECT_HUGE(0, AREAS * self->whole);
	EXPECT_TRUE(device_has(&self->to, data, LENGTH, 4));
	EXPECT_EQ(self->whole ? AREAS * HUGE_PAGES : 0,
		  mapped(&self->to, data, LENGTH, LARGE | own_memory(&self->to)));
	EXPECT_EQ(0, BACK(data, LENGTH));
	EXPECT_HUGE(AREAS * self->whole, 0);
	EXPECT_EQ(0, differences(data, LENGTH, 4));
}

/* Pages of all sizes, from the middle of one to the middle of another, and all. */
TEST_F(between, orders)
{
	long scan_ms = begin_orders();
	size_t nr = HUGE / self->page;
	char *area = map_orders(5);

	ASSERT_NE(NULL, area);
	ASSERT_TRUE(move_in(&self->from, area, 3 * HUGE));
	EXPECT_HUGE(self->whole, 0);
	EXPECT_EQ(0, FORTH(area + HUGE / 2, 3 * HUGE - HUGE / 2));
	EXPECT_MOVED(3 * nr - nr / 2, 0);
	EXPECT_HUGE(0, self->whole);
	EXPECT_EQ(0, BACK(area + HUGE + HUGE / 2, HUGE));
	EXPECT_MOVED(nr, 0);
	EXPECT_HUGE(0, 0);
	EXPECT_EQ(0, FORTH(area, 3 * HUGE));
	EXPECT_MOVED(nr / 2 + nr, 2 * nr - nr / 2);
	EXPECT_USED(0, 3 * HUGE);
	EXPECT_TRUE(device_has(&self->to, area, 3 * HUGE, 5));
	EXPECT_EQ(0, differences(area, 3 * HUGE, 5));
	end_orders(scan_ms);
}

/* Part of a huge page moves, the core splits it. */
TEST_F(between, huge_part)
{
	char *data = huge_in(&self->from, LENGTH, AREAS * self->whole);

	ASSERT_NE(NULL, data);
	EXPECT_EQ(0, FORTH(data + HUGE / 2, HUGE));
	EXPECT_MOVED(HUGE_PAGES, 0);
	EXPECT_USED(HUGE, HUGE);
	EXPECT_HUGE(0, 0);
	EXPECT_TRUE(device_has(&self->from, data, HUGE / 2, 4));
	EXPECT_EQ(0, differences(data, LENGTH, 4));
}

/* Half of the destination is free, but nowhere 2M in a row. */
TEST_F(between, huge_fragmented)
{
	size_t size = self->to.info.memory_size;
	char *data;

	ASSERT_TRUE(fragment_memory(&self->to));
	data = huge_in(&self->from, LENGTH, AREAS * self->whole);
	ASSERT_NE(NULL, data);
	EXPECT_EQ(0, FORTH(data, LENGTH));
	EXPECT_MOVED(AREAS * HUGE_PAGES, 0);
	EXPECT_USED(0, size / 2 + LENGTH);
	EXPECT_HUGE(0, 0);
	EXPECT_TRUE(device_has(&self->to, data, LENGTH, 4));
	EXPECT_EQ(0, differences(data, LENGTH, 4));
}

/* Where not all of a huge page fits it stays whole. */
TEST_F(between, huge_full)
{
	char *data;

	ASSERT_NE(NULL, fill_memory(&self->to, 100, false));
	data = huge_in(&self->from, LENGTH, AREAS * self->whole);
	ASSERT_NE(NULL, data);
	EXPECT_EQ(-ENOSPC, FORTH(data, LENGTH));
	EXPECT_MOVED(self->whole ? 0 : 100,
		     AREAS * HUGE_PAGES - (self->whole ? 0 : 100));
	EXPECT_HUGE(AREAS * self->whole, 0);
	EXPECT_EQ(0, differences(data, LENGTH, 4));
}

/* The device has no memory to copy a huge page as one: it moves in small pages. */
TEST_F(between, huge_no_memory)
{
	char *data = huge_in(&self->from, LENGTH, AREAS * self->whole);

	ASSERT_NE(NULL, data);
	if (!self->whole)
		SKIP(return, "the unmodified kernel moves no huge pages");
	ASSERT_EQ(0, dmirror_inject(&self->to, HMM_DMIRROR_INJECT_COPY_NO_MEMORY,
				    0, 1, 1));
	EXPECT_EQ(0, FORTH(data, LENGTH));
	EXPECT_MOVED(AREAS * HUGE_PAGES, 0);
	EXPECT_USED(0, LENGTH);
	EXPECT_HUGE(0, LENGTH - HUGE);
	EXPECT_TRUE(device_has(&self->to, data, LENGTH, 4));
	EXPECT_EQ(0, differences(data, LENGTH, 4));
}

/* The copy of a huge page fails in the middle: it stays whole. */
TEST_F(between, huge_fails)
{
	char *data = huge_in(&self->from, LENGTH, AREAS * self->whole);

	ASSERT_NE(NULL, data);
	ASSERT_EQ(0, dmirror_inject(&self->to, HMM_DMIRROR_INJECT_COPY_ERROR,
				    variant->peers ? 0 : 2, 1, 0));
	EXPECT_EQ(-EIO, FORTH(data, LENGTH));
	EXPECT_MOVED(HUGE_PAGES, HUGE_PAGES);
	EXPECT_HUGE(self->whole, self->whole);
	EXPECT_TRUE(device_has(&self->from, data, HUGE, 4));
	EXPECT_EQ(0, differences(data, LENGTH, 4));
}

/* Memory shared with the parent, moved back by the child; 0 if that is right. */
static int child_main(struct _test_data_between *self)
{
	struct dmirror from, to;

	/* The parent's files are the parent's. */
	if (FORTH(self->data, self->length) != -EPERM ||
	    dmirror_open(&from, self->from.number) ||
	    dmirror_open(&to, self->to.number))
		return 1;
	if (dmirror_migrate_between(&to, &self->from, self->data, self->length, 0,
				    &self->result) != -EPERM ||
	    memory_used(&to) != self->length)
		return 2;
	if (dmirror_migrate_between(&to, &from, self->data, self->length, 0,
				    &self->result) ||
	    self->result.moved != PAGES || memory_used(&to))
		return 3;
	if (!device_has(&from, self->data, self->length, 1) ||
	    differences(self->data, self->length, 1))
		return 4;
	fill(self->data, self->length / 2, 5);
	return differences(self->data, self->length / 2, 5) ? 5 : 0;
}

/* A page that several processes map moves once and for all of them. */
TEST_F(between, shared)
{
	int ready[2];
	pid_t child;
	char byte;

	ASSERT_EQ(0, pipe(ready));
	ASSERT_TRUE(move_in(&self->from, self->data, self->length));
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		if (read(ready[0], &byte, 1) != 1)
			_exit(100);
		_exit(child_main(self));
	}
	EXPECT_EQ(0, FORTH(self->data, self->length));
	EXPECT_MOVED(PAGES, 0);
	EXPECT_USED(0, self->length);
	ASSERT_EQ(1, write(ready[1], "", 1));
	EXPECT_EQ(0, child_status(child));
	EXPECT_EQ(0, differences(self->data, self->length, 1));
}

TEST_F(between, arguments)
{
	struct dmirror bad = { .fd = -1 }, none;

#define EXPECT_REFUSED(error, from, to) do { \
	EXPECT_EQ(error, dmirror_migrate_between(from, to, self->data, \
						 self->length, 0, \
						 &self->result)); \
	EXPECT_MOVED(0, PAGES); \
} while (0)

	ASSERT_TRUE(move_in(&self->from, self->data, self->length));
	EXPECT_REFUSED(-EBADF, &self->from, &bad);
	bad.fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, bad.fd);
	EXPECT_REFUSED(-EBADF, &self->from, &bad);
	close(bad.fd);
	/* By this file or another one, it is the same device. */
	EXPECT_REFUSED(-EINVAL, &self->from, &self->from);
	ASSERT_EQ(0, dmirror_open(&bad, self->from.number));
	EXPECT_REFUSED(-EINVAL, &self->from, &bad);
	dmirror_close(&bad);
	if (!dmirror_open_memory(&none, NONE, 0)) {
		EXPECT_REFUSED(-EOPNOTSUPP, &self->from, &none);
		EXPECT_REFUSED(-EOPNOTSUPP, &none, &self->to);
		dmirror_close(&none);
	}
	EXPECT_USED(self->length, 0);
	EXPECT_EQ(0, differences(self->data, self->length, 1));
}

/* Keep the data moving from one device to the other. */
static void *mover(void *arg)
{
	struct racer *racer = arg;
	struct hmm_dmirror_migrate result;
	unsigned int round;
	size_t part;
	int ret;

	for (round = 0; !*racer->stop; round++) {
		if (!(round % 4))
			migrate(racer->from, racer->data, racer->length,
				HMM_DMIRROR_TO_DEVICE, &result);
		part = round % 2 ? racer->length / 2 : 0;
		ret = dmirror_migrate_between(racer->from, racer->to,
					      racer->data + part,
					      racer->length - part, 0, &result);
		if (ret)
			racer->failure = ret;
		racer->moved += result.moved;
	}
	return NULL;
}

/* Take it away from them, to RAM or to the other device. */
static void *evictor(void *arg)
{
	struct racer *racer = arg;
	struct hmm_dmirror_evict evict;
	unsigned int round;
	int ret;

	for (round = 0; !*racer->stop; round++) {
		evict = (struct hmm_dmirror_evict){
			.nr_pages = 20,
			.timeout_ms = 20,
		};
		if (round % 2)
			ret = dmirror_evict_to(racer->from, racer->to, 20, 20,
					       &evict);
		else
			ret = dmirror_evict_as(racer->from, &evict);
		if (ret && ret != -ETIME)
			racer->failure = ret;
		usleep(1000);
	}
	return NULL;
}

TEST_F(between, race)
{
	expect_race(_metadata, &self->from, &self->to, self->data, self->length,
		    mover, evictor);
}

TEST_F(between, race_huge)
{
	char *data = map_huge(LENGTH);

	ASSERT_NE(NULL, data);
	expect_race(_metadata, &self->from, &self->to, data, LENGTH, mover,
		    evictor);
}

FIXTURE(between_removal)
{
	struct dmirror staying, leaving;
	struct pci_bar bar;
	long users;		/* of the module, before a device was opened */
};

FIXTURE_SETUP(between_removal)
{
	if (find_pci(&self->bar, CDM))
		SKIP(return, "hmm_dmirror has no memory of a PCI device");
	self->users = module_users();
	OPEN_OR_SKIP(return, &self->staying, PRIVATE, 0);
	ASSERT_EQ(0, open_on(&self->bar, &self->leaving));
}

/* In the parent, so that the device comes back whatever became of the test. */
FIXTURE_TEARDOWN_PARENT(between_removal)
{
	if (!is_bound(&self->bar))
		EXPECT_EQ(0, bind_device(&self->bar));
	EXPECT_TRUE(is_claimed(&self->bar));
	EXPECT_TRUE(wait_module_users(self->users));
}

/* To the other device and back, until that is gone. */
static void *shuttle(void *arg)
{
	struct racer *racer = arg;
	struct hmm_dmirror_migrate result;
	int ret = 0;

	while (!ret) {
		ret = migrate(racer->from, racer->data, racer->length,
			      HMM_DMIRROR_TO_DEVICE, &result);
		if (!ret)
			ret = dmirror_migrate_between(racer->from, racer->to,
						      racer->data,
						      racer->length, 0, &result);
		if (!ret)
			__atomic_fetch_add(&racer->moved, result.moved,
					   __ATOMIC_RELAXED);
		if (!ret)
			ret = dmirror_migrate_between(racer->to, racer->from,
						      racer->data,
						      racer->length, 0, &result);
	}
	__atomic_store_n(&racer->failure, ret, __ATOMIC_RELAXED);
	return NULL;
}

/* One device is removed while memory moves to and from it. */
TEST_F(between_removal, in_use)
{
	struct racer racer = {
		.from = &self->staying,
		.to = &self->leaving,
		.data = map_pages(PAGES),
		.length = PAGES * page_size(),
	};
	pthread_t thread;
	int i;

	ASSERT_NE(NULL, racer.data);
	fill(racer.data, racer.length, 6);
	ASSERT_EQ(0, pthread_create(&thread, NULL, shuttle, &racer));
	for (i = 0; i < 2000; i++) {
		if (__atomic_load_n(&racer.moved, __ATOMIC_RELAXED) ||
		    __atomic_load_n(&racer.failure, __ATOMIC_RELAXED))
			break;
		usleep(10000);
	}
	EXPECT_EQ(0, unbind_device(&self->bar));
	pthread_join(thread, NULL);
	EXPECT_EQ(-ENODEV, racer.failure);
	EXPECT_LT(0, racer.moved);
	EXPECT_TRUE(is_gone(&self->bar));
	EXPECT_EQ(0, differences(racer.data, racer.length, 6));
	EXPECT_EQ(0, memory_used(&self->staying));
}

TEST_HARNESS_MAIN
