// SPDX-License-Identifier: GPL-2.0
/*
 * The measuring program: drivers/char/hmm_dmirror, the dummy device.
 */
#include <errno.h>

#include "dmirror.h"

#include "bench.h"

static struct dmirror dmirror = { .fd = -1 };

/* The library returns -errno, or what the device says of a failed program. */
static int dmirror_result(int ret)
{
	if (!ret)
		return 0;
	errno = ret < 0 ? -ret : EIO;
	return -1;
}

static int dmirror_ops_open(void)
{
	return dmirror_result(dmirror_open_memory(&dmirror,
						  HMM_DMIRROR_MEMORY_PRIVATE, 0));
}

static void dmirror_ops_close(void)
{
	dmirror_close(&dmirror);
}

static int dmirror_ops_read(void *addr, size_t length)
{
	return dmirror_result(dmirror_read(&dmirror, addr, length));
}

static int dmirror_ops_migrate(void *addr, size_t length,
			       enum hmm_dmirror_target target, size_t *moved)
{
	struct hmm_dmirror_migrate result = { .moved = 0 };
	int ret = dmirror_migrate(&dmirror, addr, length, target, &result);

	*moved = result.moved;
	return dmirror_result(ret);
}

static int dmirror_ops_to_device(void *addr, size_t length, size_t *moved,
				 struct contents *contents)
{
	*contents = (struct contents){ .copied = 1 };
	return dmirror_ops_migrate(addr, length, HMM_DMIRROR_TO_DEVICE, moved);
}

static int dmirror_ops_to_ram(void *addr, size_t length, size_t *moved,
			      struct contents *contents)
{
	*contents = (struct contents){ .copied = 1 };
	return dmirror_ops_migrate(addr, length, HMM_DMIRROR_TO_RAM, moved);
}

const struct driver_ops driver_dmirror = {
	.name = "hmm_dmirror",
	.toolbox = 1,
	.open = dmirror_ops_open,
	.close = dmirror_ops_close,
	.read = dmirror_ops_read,
	.to_device = dmirror_ops_to_device,
	.to_ram = dmirror_ops_to_ram,
	.cpu_fault = { .copied = 1 },
};
