/* SPDX-License-Identifier: GPL-2.0 */
/*
 * NUMA policies and where pages are, without libnuma.
 */
#ifndef _SELFTESTS_HMM_NUMA_H
#define _SELFTESTS_HMM_NUMA_H

#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of <linux/mempolicy.h>. */
#define POLICY_DEFAULT		0
#define POLICY_BIND		2
#define POLICY_MOVE		2

/* Pages of [data, data + nr pages) that lie on @node, or -1. */
static inline long pages_on_node(char *data, size_t nr, int node)
{
	long size = sysconf(_SC_PAGESIZE), found = 0;
	void *page;
	int status;
	size_t i;

	for (i = 0; i < nr; i++) {
		page = data + i * size;
		if (syscall(__NR_move_pages, 0, 1, &page, NULL, &status, 0))
			return -1;
		found += status == node;
	}
	return found;
}

#endif /* _SELFTESTS_HMM_NUMA_H */
