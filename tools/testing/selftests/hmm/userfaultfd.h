/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory that a userfaultfd stands for.
 */
#ifndef _SELFTESTS_HMM_USERFAULTFD_H
#define _SELFTESTS_HMM_USERFAULTFD_H

#include <linux/userfaultfd.h>

#include "dmirror_test.h"

/*
 * A userfaultfd for @length bytes at @start, or -errno.  @mode:
 * UFFDIO_REGISTER_MODE_*; @flags: O_NONBLOCK for poll(), which wants one that does
 * not block, or 0.
 */
static inline int open_userfaultfd(char *start, size_t length, uint64_t mode,
				   int flags)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register area = {
		.range.start = (uintptr_t)start,
		.range.len = length,
		.mode = mode,
	};
	int uffd = syscall(__NR_userfaultfd, O_CLOEXEC | flags);

	if (uffd < 0)
		return -errno;
	if (!ioctl(uffd, UFFDIO_API, &api) &&
	    !ioctl(uffd, UFFDIO_REGISTER, &area))
		return uffd;
	close(uffd);
	return -EOPNOTSUPP;
}

#endif /* _SELFTESTS_HMM_USERFAULTFD_H */
