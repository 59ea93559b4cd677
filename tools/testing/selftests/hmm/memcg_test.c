// SPDX-License-Identifier: GPL-2.0
/*
 * Device page faults of a process with a memory limit: what they bring in is
 * charged to the process, and what exceeds the limit goes to swap and comes back.
 */
#define _GNU_SOURCE
#include <sys/mount.h>

#include "dmirror_test.h"

#define LIMIT		(6 * MIB)
#define AREA		(10 * MIB)
#define CHUNK		MIB		/* has the same word everywhere */

FIXTURE(memcg)
{
	struct dmirror dev;
	char root[64];		/* where the cgroup file system is mounted */
	char group[128];
};

static int write_control(const char *directory, const char *name,
			 const char *text)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return write_text(path, text);
}

static long read_control(const char *directory, const char *name,
			 const char *line)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return read_number(path, line);
}

FIXTURE_SETUP(memcg)
{
	char limit[24];

	OPEN_OR_SKIP(return, &self->dev, NONE, 0);
	if (read_number("/proc/meminfo", "SwapFree:") < (long)(2 * AREA / KIB))
		SKIP(return, "there is not enough swap space");
	snprintf(self->root, sizeof(self->root), "/tmp/hmm-memcg-XXXXXX");
	ASSERT_NE(NULL, mkdtemp(self->root));
	if (mount("none", self->root, "cgroup2", 0, NULL)) {
		int err = errno;

		rmdir(self->root);
		SKIP(return, "cgroup2: %s", strerror(err));
	}
	if (write_control(self->root, "cgroup.subtree_control", "+memory")) {
		umount(self->root);
		rmdir(self->root);
		SKIP(return, "there is no memory controller");
	}
	snprintf(self->group, sizeof(self->group), "%s/hmm-memcg-test",
		 self->root);
	ASSERT_EQ(0, mkdir(self->group, 0700));
	snprintf(limit, sizeof(limit), "%lu", LIMIT);
	ASSERT_EQ(0, write_control(self->group, "memory.max", limit));
}

FIXTURE_TEARDOWN(memcg)
{
	unsigned int i;

	dmirror_close(&self->dev);
	/* What the child has left may take a moment to go. */
	for (i = 0; i < 1000 && rmdir(self->group); i++)
		usleep(10000);
	umount(self->root);
	rmdir(self->root);
}

/* In the group, on a device of its own; 0 or where it failed. */
static int work_in_group(struct _test_data_memcg *self)
{
	char *area = map_pages(AREA / page_size());
	struct dmirror own;
	uint64_t sum;
	size_t at;

	if (write_control(self->group, "cgroup.procs", "0"))
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
	EXPECT_LT(0, read_control(self->group, "memory.events", "max "));
	EXPECT_EQ(0, read_control(self->group, "memory.events", "oom_kill "));
	EXPECT_LE((long)(AREA - LIMIT) / 2,
		  read_control(self->group, "memory.swap.peak", NULL));
	/* A little of the kernel's own may exceed it. */
	EXPECT_GE((long)(LIMIT + MIB),
		  read_control(self->group, "memory.peak", NULL));
}

TEST_HARNESS_MAIN
