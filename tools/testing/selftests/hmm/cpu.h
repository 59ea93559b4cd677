/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The CPU that an HMM kselftest runs on.  Needs _GNU_SOURCE.
 */
#ifndef _SELFTESTS_HMM_CPU_H
#define _SELFTESTS_HMM_CPU_H

#include <sched.h>
#include <stdbool.h>

/*
 * Run on the @nth CPU, from 0 on, of those that the program might use at the first
 * call; false if there is none.
 */
static inline bool run_on(int nth)
{
	static cpu_set_t allowed;
	cpu_set_t one;
	int cpu;

	if (!CPU_COUNT(&allowed) &&
	    sched_getaffinity(0, sizeof(allowed), &allowed))
		return false;
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &allowed) && !nth--)
			break;
	CPU_ZERO(&one);
	CPU_SET(cpu % CPU_SETSIZE, &one);
	return cpu < CPU_SETSIZE && !sched_setaffinity(0, sizeof(one), &one);
}

#endif /* _SELFTESTS_HMM_CPU_H */
