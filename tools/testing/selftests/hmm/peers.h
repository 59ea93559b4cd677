/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory that moves from one dummy device to another.
 */
#ifndef _SELFTESTS_HMM_PEERS_H
#define _SELFTESTS_HMM_PEERS_H

#include "dmirror_test.h"

/* Bytes of the device's memory that are in use as huge pages. */
static inline uint64_t used_huge(struct dmirror *dev)
{
	struct hmm_dmirror_info info;

	return dmirror_info(dev, &info) ? ~0ull : info.memory_huge;
}

static inline unsigned char own_memory(const struct dmirror *dev)
{
	return dev->info.memory == PRIVATE ? HMM_DMIRROR_PAGE_PRIVATE :
					     HMM_DMIRROR_PAGE_CDM;
}

/* The device finds what fill() wrote, all of it in its own memory. */
static inline bool device_has(struct dmirror *dev, char *start, size_t length,
			      uint64_t seed)
{
	uint64_t sum;

	return !dmirror_sum(dev, start, length, &sum) &&
	       sum == pattern_sum(length, seed) &&
	       !dmirror_prefetch(dev, start, length, 0, NULL) &&
	       mapped(dev, start, length, MAPPED | own_memory(dev)) ==
	       (long)(length / page_size());
}

/* Let the device reach the memory of others or not; 0 or -errno. */
static inline int reach_peers(struct dmirror *dev, bool reach)
{
	return dmirror_inject(dev, HMM_DMIRROR_INJECT_NO_PEER, 0,
			      reach ? 0 : ~0U, 0);
}

#endif /* _SELFTESTS_HMM_PEERS_H */
