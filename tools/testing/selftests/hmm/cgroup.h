/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A cgroup for what the HMM kselftests look at there.
 */
#ifndef _SELFTESTS_HMM_CGROUP_H
#define _SELFTESTS_HMM_CGROUP_H

#include <sys/mount.h>

#include "dmirror_test.h"

/* A cgroup below a mount of its own. */
struct group {
	char root[64];
	char path[128];
};

static inline int write_control(const char *directory, const char *name,
				const char *text)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return write_text(path, text);
}

static inline long read_control(const char *directory, const char *name,
				const char *line)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return read_number(path, line);
}

/* 0, or -errno if there is no cgroup file system or @controller is not there. */
static inline int open_group(struct group *group, const char *controller)
{
	char enable[32];
	int err;

	snprintf(group->root, sizeof(group->root), "/tmp/hmm-cgroup-XXXXXX");
	if (!mkdtemp(group->root))
		return -errno;
	if (mount("none", group->root, "cgroup2", 0, NULL)) {
		err = -errno;
		rmdir(group->root);
		return err;
	}
	snprintf(group->path, sizeof(group->path), "%s/hmm-test",
		 group->root);
	snprintf(enable, sizeof(enable), "+%s", controller);
	err = write_control(group->root, "cgroup.subtree_control", enable);
	if (!err && mkdir(group->path, 0700))
		err = -errno;
	if (err) {
		umount(group->root);
		rmdir(group->root);
	}
	return err;
}

static inline void close_group(struct group *group)
{
	unsigned int i;

	/* What the child has left may take a moment to go. */
	for (i = 0; i < 1000 && rmdir(group->path); i++)
		usleep(10000);
	umount(group->root);
	rmdir(group->root);
}

#endif
