// SPDX-License-Identifier: GPL-2.0
/*
 * The measuring program: lib/test_hmm, the kernel's own test driver.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "test_hmm_uapi.h"

#include "bench.h"

static int test_hmm_fd = -1;
static char *test_hmm_buffer;	/* where the ioctls put what the device read */

static int test_hmm_open(void)
{
	if (!test_hmm_buffer) {
		test_hmm_buffer = aligned_alloc(CHUNK, CHUNK);
		if (!test_hmm_buffer)
			return -1;
		memset(test_hmm_buffer, 0, CHUNK);
	}
	test_hmm_fd = open("/dev/hmm_dmirror0", O_RDWR | O_CLOEXEC);
	return test_hmm_fd < 0 ? -1 : 0;
}

static void test_hmm_close(void)
{
	close(test_hmm_fd);
	test_hmm_fd = -1;
}

static int test_hmm_ioctl(unsigned long request, void *addr, size_t length,
			  size_t *pages)
{
	struct hmm_dmirror_cmd cmd = {
		.addr = (uintptr_t)addr,
		.ptr = (uintptr_t)test_hmm_buffer,
		.npages = length / PAGE,
	};
	int ret = ioctl(test_hmm_fd, request, &cmd);

	*pages = cmd.cpages;
	return ret;
}

static int test_hmm_read(void *addr, size_t length)
{
	size_t pages;

	return test_hmm_ioctl(HMM_DMIRROR_READ, addr, length, &pages);
}

/* This ioctl also hands out the device's copy. */
static int test_hmm_to_device(void *addr, size_t length, size_t *moved,
			      struct contents *contents)
{
	*contents = (struct contents){ .copied = 1, .memcpied = 1, .to_user = 1 };
	return test_hmm_ioctl(HMM_DMIRROR_MIGRATE_TO_DEV, addr, length, moved);
}

static int test_hmm_to_ram(void *addr, size_t length, size_t *moved,
			   struct contents *contents)
{
	*contents = (struct contents){ .copied = 1 };
	return test_hmm_ioctl(HMM_DMIRROR_MIGRATE_TO_SYS, addr, length, moved);
}

const struct driver_ops driver_test_hmm = {
	.name = "test_hmm",
	.open = test_hmm_open,
	.close = test_hmm_close,
	.read = test_hmm_read,
	.to_device = test_hmm_to_device,
	.to_ram = test_hmm_to_ram,
	.cpu_fault = { .copied = 1 },
};
