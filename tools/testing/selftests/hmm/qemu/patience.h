/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For tests that set time limits for real machines, with gcc's -include: a debug kernel
 * in an emulator is slower than these, and not for what is tested.
 * kselftest_harness.h waits for each test by one poll().
 */
#ifndef _SELFTESTS_HMM_PATIENCE_H
#define _SELFTESTS_HMM_PATIENCE_H

#include <limits.h>
#include <poll.h>

/* As much longer does any wait take that has a limit. */
#define PATIENCE	10

static inline int patient_poll(struct pollfd *fds, nfds_t nr, int timeout_ms)
{
	if (timeout_ms > 0)
		timeout_ms = timeout_ms < INT_MAX / PATIENCE ?
			     timeout_ms * PATIENCE : INT_MAX;
	return poll(fds, nr, timeout_ms);
}

#define poll(fds, nr, timeout_ms) patient_poll(fds, nr, timeout_ms)

#endif /* _SELFTESTS_HMM_PATIENCE_H */
