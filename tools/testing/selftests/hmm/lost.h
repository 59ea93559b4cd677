/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Pages whose content is lost, as the HMM kselftests look at them.
 */
#ifndef _SELFTESTS_HMM_LOST_H
#define _SELFTESTS_HMM_LOST_H

#include <setjmp.h>
#include <sys/uio.h>

#include "pci.h"

/* The kernel takes device memory from processes that use it. */
static inline bool can_unmap(void)
{
	return !getenv("HMM_UNMODIFIED_KERNEL");
}

static sigjmp_buf sigbus_jump;
static volatile int sigbus_code;
static void *volatile sigbus_addr;

static inline void on_sigbus(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	sigbus_code = info->si_code;
	sigbus_addr = info->si_addr;
	siglongjmp(sigbus_jump, 1);
}

/* Use a page; 0, or the code of the SIGBUS, which has to be for this address. */
static inline int touch(char *page, bool write)
{
	struct sigaction action = {
		.sa_sigaction = on_sigbus,
		.sa_flags = SA_SIGINFO,
	}, old;

	sigbus_code = 0;
	sigaction(SIGBUS, &action, &old);
	if (!sigsetjmp(sigbus_jump, 1)) {
		if (write)
			*(volatile char *)page = 1;
		else
			(void)*(volatile char *)page;
	} else if (sigbus_addr != page) {
		sigbus_code = -EFAULT;
	}
	sigaction(SIGBUS, &old, NULL);
	return sigbus_code;
}

/* Each page with a pattern of its own. */
static inline void fill_pages(char *data, size_t nr)
{
	size_t i;

	for (i = 0; i < nr; i++)
		fill(data + i * page_size(), page_size(), i + 1);
}

/* How many of the @nr pages give SIGBUS; -EBADMSG if another has other data. */
static inline long lost_pages(char *data, size_t nr)
{
	long lost = 0;
	size_t i;

	for (i = 0; i < nr; i++) {
		char *page = data + i * page_size();

		if (touch(page, false) == BUS_MCEERR_AR)
			lost++;
		else if (sigbus_code || differences(page, page_size(), i + 1))
			return -EBADMSG;
	}
	return lost;
}

#endif /* _SELFTESTS_HMM_LOST_H */
