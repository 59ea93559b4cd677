/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory in pages of several sizes, for HMM kselftests.
 */
#ifndef _SELFTESTS_HMM_ORDERS_H
#define _SELFTESTS_HMM_ORDERS_H

#include "memory.h"

/* Begin to leave huge pages as they are; what end_orders() takes. */
static inline long begin_orders(void)
{
	long scan_ms = read_number(SCAN_MS, NULL);

	write_number(SCAN_MS, 600000);
	return scan_ms;
}

static inline void end_orders(long scan_ms)
{
	write_number(SCAN_MS, scan_ms);
}

/*
 * 2 MiB in pages of 4 KiB, 2 MiB in pages of 64 KiB and 2 MiB in one, with the pattern
 * @seed, in that order; NULL if it is not so.
 */
static inline char *map_orders(uint64_t seed)
{
	long before = read_number(THP "hugepages-64kB/stats/anon_fault_alloc", NULL);
	char *area = map_alone(3 * HUGE, true), *half;
	char old[32] = "";
	bool done;

	if (!area || madvise(area, HUGE, MADV_NOHUGEPAGE) ||
	    !set_control(THP_64K, "madvise", old, sizeof(old)))
		return NULL;
	/* Two mappings, that there be no place for a huge page. */
	half = mmap(area + HUGE, HUGE / 2, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	done = half == area + HUGE;
	half = mmap(area + HUGE + HUGE / 2, HUGE / 2,
		    PROT_READ | PROT_EXEC | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	done = done && half == area + HUGE + HUGE / 2 &&
	       !madvise(area + HUGE, HUGE, MADV_HUGEPAGE);
	fill(area, 2 * HUGE, seed);
	done = set_control(THP_64K, old, NULL, 0) && done;
	done = done && read_number(THP "hugepages-64kB/stats/anon_fault_alloc", NULL) -
		       before == HUGE / (64 << 10);
	fill(area, 3 * HUGE, seed);
	return done && make_huge(area + 2 * HUGE, HUGE) &&
	       is_huge(area + 2 * HUGE) ? area : NULL;
}

#endif /* _SELFTESTS_HMM_ORDERS_H */
