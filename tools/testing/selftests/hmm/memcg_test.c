// SPDX-License-Identifier: GPL-2.0
/*
 * Device page faults of a process with a memory limit: what they bring in is
 * charged to the process, and what exceeds the limit goes to swap and comes back.
 * Device memory with a limit of its own: whose memory it is, is charged.
 */
#define _GNU_SOURCE
#include <sched.h>

#include "cgroup.h"

#define LIMIT		(6 * MIB)
#define AREA		(10 * MIB)
#define CHUNK		MIB		/* has the same word everywhere */

FIXTURE(memcg)
{
	struct dmirror dev;
	struct group group;
};

FIXTURE_SETUP(memcg)
{
	char limit[24];

	OPEN_OR_SKIP(return, &self->dev, NONE, 0);
	if (read_number("/proc/meminfo", "SwapFree:") < (long)(2 * AREA / KIB))
		SKIP(return, "there is not enough swap space");
	if (open_group(&self->group, "memory"))
		SKIP(return, "there is no memory controller");
	snprintf(limit, sizeof(limit), "%lu", LIMIT);
	ASSERT_EQ(0, write_control(self->group.path, "memory.max", limit));
}

FIXTURE_TEARDOWN(memcg)
{
	dmirror_close(&self->dev);
	close_group(&self->group);
}

/* In the group, on a device of its own; 0 or where it failed. */
static int work_in_group(struct _test_data_memcg *self)
{
	char *area = map_pages(AREA / page_size());
	struct dmirror own;
	uint64_t sum;
	size_t at;

	if (write_control(self->group.path, "cgroup.procs", "0"))
		return 10;
	if (!area || dmirror_open(&own, self->dev.number))
		return 11;
	for (at = 0; at < AREA; at += CHUNK)
		if (dmirror_fill(&own, area + at, CHUNK, at + 1))
			return 12;
	for (at = 0; at < AREA; at += CHUNK)
		if (dmirror_sum(&own, area + at, CHUNK, &sum) ||
		    sum != CHUNK / 8 * (at + 1))
			return 13;
	for (at = 0; at < AREA; at += CHUNK)
		if (others(area + at, CHUNK, at + 1))
			return 14;
	dmirror_close(&own);
	return 0;
}

TEST_F(memcg, swaps)
{
	pid_t child = fork();

	ASSERT_LE(0, child);
	if (!child)
		_exit(work_in_group(self));
	EXPECT_EQ(0, child_status(child));
	/* The device's faults met the limit, and nobody was killed for it. */
	EXPECT_LT(0, read_control(self->group.path, "memory.events", "max "));
	EXPECT_EQ(0, read_control(self->group.path, "memory.events", "oom_kill "));
	EXPECT_LE((long)(AREA - LIMIT) / 2,
		  read_control(self->group.path, "memory.swap.peak", NULL));
	/* A little of the kernel's own may exceed it. */
	EXPECT_GE((long)(LIMIT + MIB),
		  read_control(self->group.path, "memory.peak", NULL));
}

/* Pages that move from memory to memory belong to the same group all the time. */
FIXTURE(charge)
{
	struct dmirror dev;
	struct dmirror peer;
	struct group group;
	bool huge;
};

FIXTURE_VARIANT(charge)
{
	enum hmm_dmirror_memory memory;
	bool huge;
};

FIXTURE_VARIANT_ADD(charge, private)
{
	.memory = PRIVATE,
};

FIXTURE_VARIANT_ADD(charge, cdm)
{
	.memory = CDM,
};

FIXTURE_VARIANT_ADD(charge, private_huge)
{
	.memory = PRIVATE,
	.huge = true,
};

FIXTURE_VARIANT_ADD(charge, cdm_huge)
{
	.memory = CDM,
	.huge = true,
};

FIXTURE_SETUP(charge)
{
	OPEN_OR_SKIP(return, &self->dev, variant->memory, 0);
	OPEN_OR_SKIP(return, &self->peer, PRIVATE, variant->memory == PRIVATE);
	self->huge = variant->huge;
	if (open_group(&self->group, "memory"))
		SKIP(return, "there is no memory controller");
}

FIXTURE_TEARDOWN(charge)
{
	dmirror_close(&self->dev);
	dmirror_close(&self->peer);
	close_group(&self->group);
}

#define CHARGE		(4 * MIB)
/* The kernel counts in batches. */
#define CHARGE_SLACK	((long)MIB)

static bool charge_is(struct _test_data_charge *self, long current, long anon)
{
	current -= read_control(self->group.path, "memory.current", NULL);
	anon -= read_control(self->group.path, "memory.stat", "anon ");
	return labs(current) < CHARGE_SLACK && labs(anon) < CHARGE_SLACK;
}

/* Each way out of device memory in turn; 0, or where it failed. */
static int move_back(struct dmirror *own, struct dmirror *peer, char *area,
		     unsigned int way)
{
	struct hmm_dmirror_migrate result;
	struct hmm_dmirror_evict evict;
	uint64_t evicted;

	switch (way) {
	case 0:
		break;
	case 1:
		return dmirror_evict(own, ~0ull, &evicted) ? 30 : 0;
	case 2:
		if (dmirror_migrate_between(own, peer, area, CHARGE, 0, &result) ||
		    result.left)
			return 31;
		own = peer;
		break;
	default:
		if (dmirror_evict_to(own, peer, ~0ull, 10000, &evict))
			return 32;
		own = peer;
	}
	/* From private memory by CPU faults, for the most part. */
	if (others(area, CHARGE / 2, 1) == 0)
		return 33;
	return migrate(own, area, CHARGE, HMM_DMIRROR_TO_RAM, &result) ? 34 : 0;
}

static int move_in_group(struct _test_data_charge *self)
{
	char *area = map_memory(CHARGE, self->huge);
	size_t nr = CHARGE / page_size(), i;
	struct hmm_dmirror_migrate result;
	struct dmirror own, peer;
	long current, anon;
	int ret;

	if (write_control(self->group.path, "cgroup.procs", "0"))
		return 10;
	if (!area || dmirror_open(&own, self->dev.number) ||
	    dmirror_open(&peer, self->peer.number))
		return 11;
	fill(area, CHARGE, 1);
	if (self->huge && !make_huge(area, CHARGE))
		return 20;
	current = read_control(self->group.path, "memory.current", NULL);
	anon = read_control(self->group.path, "memory.stat", "anon ");
	if (current < (long)CHARGE || anon < (long)CHARGE - CHARGE_SLACK)
		return 12;
	for (i = 0; i < 8; i++) {
		if (migrate(&own, area, CHARGE, HMM_DMIRROR_TO_DEVICE,
			    &result) || result.moved != nr)
			return 13;
		if (!charge_is(self, current, anon))
			return 14;
		ret = move_back(&own, &peer, area, i % 4);
		if (ret)
			return ret;
		if (!charge_is(self, current, anon))
			return 16;
	}
	if (differences(area, CHARGE, 1))
		return 17;
	if (migrate(&own, area, CHARGE, HMM_DMIRROR_TO_DEVICE, &result))
		return 18;
	munmap(area, CHARGE);
	if (!charge_is(self, current - CHARGE, anon - CHARGE))
		return 19;
	dmirror_close(&own);
	dmirror_close(&peer);
	return 0;
}

TEST_F(charge, moves)
{
	pid_t child = fork();

	ASSERT_LE(0, child);
	if (!child)
		_exit(move_in_group(self));
	EXPECT_EQ(0, child_status(child));
}

FIXTURE(dmem)
{
	struct dmirror dev;
	struct group group;
	char region[32];
};

FIXTURE_VARIANT(dmem)
{
	enum hmm_dmirror_memory memory;
};

FIXTURE_VARIANT_ADD(dmem, private)
{
	.memory = PRIVATE,
};

FIXTURE_VARIANT_ADD(dmem, cdm)
{
	.memory = CDM,
};

#define DMEM_LIMIT	(2 * MIB)

FIXTURE_SETUP(dmem)
{
	char limit[64];

	OPEN_OR_SKIP(return, &self->dev, variant->memory, 0);
	if (open_group(&self->group, "dmem"))
		SKIP(return, "there is no dmem controller");
	snprintf(self->region, sizeof(self->region), "hmm/hmm_dmirror%u ",
		 self->dev.number);
	snprintf(limit, sizeof(limit), "%s%lu", self->region, DMEM_LIMIT);
	ASSERT_EQ(0, write_control(self->group.path, "dmem.max", limit));
}

FIXTURE_TEARDOWN(dmem)
{
	dmirror_close(&self->dev);
	close_group(&self->group);
}

#define CHARGED(self) \
	read_control((self)->group.path, "dmem.current", (self)->region)

/* In the group: twice the limit, first as it is and then with room made. */
static int migrate_in_group(struct _test_data_dmem *self, char *others_data)
{
	struct hmm_dmirror_migrate result;
	size_t length = 2 * DMEM_LIMIT;
	size_t allowed = DMEM_LIMIT / page_size();
	char *area = map_pages(length / page_size());
	struct dmirror own;

	if (write_control(self->group.path, "cgroup.procs", "0"))
		return 10;
	if (!area || dmirror_open(&own, self->dev.number))
		return 11;
	fill(area, length, 1);
	if (migrate(&own, area, length, HMM_DMIRROR_TO_DEVICE, &result) !=
	    -ENOSPC || result.moved != allowed)
		return 12;
	if (CHARGED(self) != DMEM_LIMIT)
		return 13;
	/* There is room; what others have is not taken for want of a right. */
	if (dmirror_make_room(&own, area, length, &result) != -ENOSPC ||
	    result.moved || CHARGED(self) != DMEM_LIMIT)
		return 14;
	if (differences(others_data, DMEM_LIMIT, 3) ||
	    differences(area, length, 1))
		return 15;
	munmap(area, DMEM_LIMIT / 2);
	if (own.info.memory == CDM && CHARGED(self) != DMEM_LIMIT / 2)
		return 16;
	munmap(area + DMEM_LIMIT / 2, length - DMEM_LIMIT / 2);
	if (CHARGED(self))
		return 17;
	dmirror_close(&own);
	return 0;
}

TEST_F(dmem, limit)
{
	struct hmm_dmirror_migrate result;
	char *data = map_pages(DMEM_LIMIT / page_size());
	struct hmm_dmirror_info info;
	pid_t child;

	ASSERT_NE(NULL, data);
	fill(data, DMEM_LIMIT, 3);
	ASSERT_EQ(0, migrate(&self->dev, data, DMEM_LIMIT,
			     HMM_DMIRROR_TO_DEVICE, &result));
	EXPECT_EQ(DMEM_LIMIT / page_size(), result.moved);
	/* That is not the group's. */
	EXPECT_EQ(0, CHARGED(self));
	child = fork();
	ASSERT_LE(0, child);
	if (!child)
		_exit(migrate_in_group(self, data));
	EXPECT_EQ(0, child_status(child));
	EXPECT_EQ(0, CHARGED(self));
	ASSERT_EQ(0, munmap(data, DMEM_LIMIT));
	ASSERT_EQ(0, dmirror_info(&self->dev, &info));
	EXPECT_EQ(0, info.memory_used);
}

static int set_limit(struct _test_data_dmem *self, size_t limit)
{
	char text[64];

	snprintf(text, sizeof(text), "%s%zu", self->region, limit);
	return write_control(self->group.path, "dmem.max", text);
}

/* A limit below what is used: the group's own pages go to RAM, huge ones, too. */
TEST_F(dmem, lower_limit)
{
	char *data = map_pages(DMEM_LIMIT / page_size());
	struct hmm_dmirror_migrate result;
	struct hmm_dmirror_info info;
	int ready[2], done[2];
	pid_t child;
	char byte;

	ASSERT_NE(NULL, data);
	ASSERT_EQ(0, pipe(ready));
	ASSERT_EQ(0, pipe(done));
	fill(data, DMEM_LIMIT, 3);
	ASSERT_EQ(0, migrate(&self->dev, data, DMEM_LIMIT,
			     HMM_DMIRROR_TO_DEVICE, &result));
	ASSERT_EQ(0, set_limit(self, 4 * HUGE));
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		char *area = map_huge(3 * HUGE);
		struct dmirror own;

		if (!area || madvise(area, HUGE, MADV_NOHUGEPAGE) ||
		    write_control(self->group.path, "cgroup.procs", "0") ||
		    dmirror_open(&own, self->dev.number))
			_exit(10);
		fill(area, 3 * HUGE, 1);
		if (migrate(&own, area, 3 * HUGE, HMM_DMIRROR_TO_DEVICE,
			    &result) || CHARGED(self) != 3 * HUGE)
			_exit(11);
		if (write(ready[1], "", 1) != 1 || read(done[0], &byte, 1) != 1)
			_exit(12);
		_exit(differences(area, 3 * HUGE, 1) ? 13 : 0);
	}
	ASSERT_EQ(1, read(ready[0], &byte, 1));
	ASSERT_EQ(0, set_limit(self, HUGE / 2));
	EXPECT_GE(HUGE / 2, CHARGED(self));
	/* Others have not lost any. */
	ASSERT_EQ(0, dmirror_info(&self->dev, &info));
	EXPECT_LE(DMEM_LIMIT, info.memory_used);
	ASSERT_EQ(1, write(done[1], "", 1));
	EXPECT_EQ(0, child_status(child));
	EXPECT_EQ(0, CHARGED(self));
	EXPECT_EQ(0, differences(data, DMEM_LIMIT, 3));
}

struct worker {
	struct _test_data_dmem *self;
	char *data;
	struct hmm_dmirror_migrate result;
	int ret;
	long charged;
};

/* Another process with the same address space. */
static int migrate_as_worker(void *arg)
{
	struct worker *worker = arg;
	struct _test_data_dmem *self = worker->self;

	if (write_control(self->group.path, "cgroup.procs", "0"))
		return 1;
	worker->ret = migrate(&self->dev, worker->data, 2 * DMEM_LIMIT,
			      HMM_DMIRROR_TO_DEVICE, &worker->result);
	worker->charged = CHARGED(self);
	return 0;
}

/* Memory is charged to whom it belongs, whoever moves it. */
TEST_F(dmem, owner)
{
	struct worker worker = { .self = self };
	size_t stack = 64 * KIB;
	char *top = (char *)malloc(stack) + stack;
	pid_t child;

	worker.data = map_pages(2 * DMEM_LIMIT / page_size());
	ASSERT_NE(NULL, worker.data);
	fill(worker.data, 2 * DMEM_LIMIT, 1);
	child = clone(migrate_as_worker, top, CLONE_VM | SIGCHLD, &worker);
	ASSERT_LE(0, child);
	ASSERT_EQ(0, child_status(child));
	if (getenv("HMM_UNMODIFIED_KERNEL")) {
		EXPECT_EQ(-ENOSPC, worker.ret);
		EXPECT_EQ(DMEM_LIMIT, worker.charged);
	} else {
		EXPECT_EQ(0, worker.ret);
		EXPECT_EQ(2 * DMEM_LIMIT / page_size(), worker.result.moved);
		EXPECT_EQ(0, worker.charged);
	}
	EXPECT_EQ(0, differences(worker.data, 2 * DMEM_LIMIT, 1));
}

TEST_HARNESS_MAIN
