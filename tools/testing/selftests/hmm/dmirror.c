// SPDX-License-Identifier: GPL-2.0
/*
 * User library of the HMM dummy device, see dmirror.h.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "dmirror.h"

/* No more devices than this are looked at. */
#define MAX_DEVICES	64

#define EVICT_TIMEOUT_MS	60000

const char *dmirror_directory = "/dev";

static uint64_t address(const void *pointer)
{
	return (uint64_t)(uintptr_t)pointer;
}

static int control(struct dmirror *dev, unsigned long request, void *arg)
{
	return ioctl(dev->fd, request, arg) < 0 ? -errno : 0;
}

int dmirror_open(struct dmirror *dev, unsigned int number)
{
	char path[4096];
	int ret;

	dev->fd = -1;
	dev->number = number;
	ret = snprintf(path, sizeof(path), "%s/hmm_dmirror%u",
		       dmirror_directory, number);
	if (ret >= (int)sizeof(path))
		return -ENAMETOOLONG;

	dev->fd = open(path, O_RDWR | O_CLOEXEC);
	if (dev->fd < 0)
		return -errno;

	ret = dmirror_info(dev, &dev->info);
	if (ret)
		dmirror_close(dev);
	return ret;
}

int dmirror_open_memory(struct dmirror *dev, enum hmm_dmirror_memory memory,
			unsigned int nth)
{
	unsigned int number;
	int ret;

	for (number = 0; number < MAX_DEVICES; number++) {
		ret = dmirror_open(dev, number);
		if (ret == -ENOENT)
			break;
		if (ret)
			return ret;
		if (dev->info.memory == memory && nth-- == 0)
			return 0;
		dmirror_close(dev);
	}
	return -ENODEV;
}

void dmirror_close(struct dmirror *dev)
{
	if (dev->fd >= 0)
		close(dev->fd);
	dev->fd = -1;
}

int dmirror_run(struct dmirror *dev, struct hmm_dmirror_run *run)
{
	int ret = control(dev, HMM_DMIRROR_RUN, run);

	return ret ? ret : (int)run->status;
}

int dmirror_read(struct dmirror *dev, const void *addr, size_t length)
{
	struct hmm_dmirror_run run = {
		.program = HMM_DMIRROR_READ,
		.addr = address(addr),
		.length = length,
	};

	return dmirror_run(dev, &run);
}

int dmirror_fill(struct dmirror *dev, void *addr, size_t length, uint64_t word)
{
	struct hmm_dmirror_run run = {
		.program = HMM_DMIRROR_FILL,
		.addr = address(addr),
		.length = length,
		.operand = word,
	};

	return dmirror_run(dev, &run);
}

int dmirror_sum(struct dmirror *dev, const void *addr, size_t length,
		uint64_t *sum)
{
	struct hmm_dmirror_run run = {
		.program = HMM_DMIRROR_SUM,
		.addr = address(addr),
		.length = length,
	};
	int ret = dmirror_run(dev, &run);

	*sum = run.result;
	return ret;
}

int dmirror_copy(struct dmirror *dev, void *dst, const void *src,
		 size_t length)
{
	struct hmm_dmirror_run run = {
		.program = HMM_DMIRROR_COPY,
		.addr = address(src),
		.addr2 = address(dst),
		.length = length,
	};

	return dmirror_run(dev, &run);
}

int dmirror_atomic_add(struct dmirror *dev, uint64_t *addr, uint64_t operand,
		       uint64_t count, uint64_t *value)
{
	struct hmm_dmirror_run run = {
		.program = HMM_DMIRROR_ATOMIC_ADD,
		.addr = address(addr),
		.operand = operand,
		.count = count,
	};
	int ret = dmirror_run(dev, &run);

	*value = run.result;
	return ret;
}

int dmirror_exclusive_add(struct dmirror *dev, uint64_t *addr, uint64_t operand,
			  uint64_t count, uint64_t *value)
{
	struct hmm_dmirror_run run = {
		.program = HMM_DMIRROR_EXCLUSIVE_ADD,
		.addr = address(addr),
		.operand = operand,
		.count = count,
	};
	int ret = dmirror_run(dev, &run);

	*value = run.result;
	return ret;
}

int dmirror_chase(struct dmirror *dev, const void *heads, size_t count,
		  size_t next, size_t word, size_t limit, uint64_t *sum,
		  uint64_t *nodes)
{
	struct hmm_dmirror_run run = {
		.program = HMM_DMIRROR_CHASE,
		.addr = address(heads),
		.length = limit,
		.count = count,
		.operand = next,
		.operand2 = word,
	};
	int ret = dmirror_run(dev, &run);

	*sum = run.result;
	*nodes = run.result2;
	return ret;
}

int dmirror_histogram(struct dmirror *dev, const void *text, size_t length,
		      uint64_t *histogram)
{
	struct hmm_dmirror_run run = {
		.program = HMM_DMIRROR_HISTOGRAM,
		.addr = address(text),
		.addr2 = address(histogram),
		.length = length,
	};

	return dmirror_run(dev, &run);
}

int dmirror_word_count(struct dmirror *dev, const void *text, size_t length,
		       uint64_t *words)
{
	struct hmm_dmirror_run run = {
		.program = HMM_DMIRROR_WORD_COUNT,
		.addr = address(text),
		.length = length,
	};
	int ret = dmirror_run(dev, &run);

	*words = run.result;
	return ret;
}

int dmirror_migrate(struct dmirror *dev, const void *addr, size_t length,
		    enum hmm_dmirror_target target,
		    struct hmm_dmirror_migrate *result)
{
	struct hmm_dmirror_migrate migrate = {
		.addr = address(addr),
		.length = length,
		.target = target,
	};
	int ret = control(dev, HMM_DMIRROR_MIGRATE, &migrate);

	if (result)
		*result = migrate;
	return ret;
}

int dmirror_migrate_between(struct dmirror *dev, struct dmirror *to,
			    const void *addr, size_t length, unsigned int flags,
			    struct hmm_dmirror_migrate *result)
{
	struct hmm_dmirror_migrate migrate = {
		.addr = address(addr),
		.length = length,
		.target = HMM_DMIRROR_TO_ANOTHER,
		.flags = flags,
		.another = to->fd,
	};
	int ret = control(dev, HMM_DMIRROR_MIGRATE, &migrate);

	if (result)
		*result = migrate;
	return ret;
}

int dmirror_make_room(struct dmirror *dev, const void *addr, size_t length,
		      struct hmm_dmirror_migrate *result)
{
	struct hmm_dmirror_migrate migrate = {
		.addr = address(addr),
		.length = length,
		.target = HMM_DMIRROR_TO_DEVICE,
		.flags = HMM_DMIRROR_MIGRATE_MAKE_ROOM,
	};
	int ret = control(dev, HMM_DMIRROR_MIGRATE, &migrate);

	if (result)
		*result = migrate;
	return ret;
}

int dmirror_evict_as(struct dmirror *dev, struct hmm_dmirror_evict *evict)
{
	return control(dev, HMM_DMIRROR_EVICT, evict);
}

int dmirror_evict(struct dmirror *dev, uint64_t nr_pages, uint64_t *evicted)
{
	struct hmm_dmirror_evict evict = {
		.nr_pages = nr_pages,
		.timeout_ms = EVICT_TIMEOUT_MS,
	};
	int ret = dmirror_evict_as(dev, &evict);

	*evicted = evict.evicted;
	return ret;
}

int dmirror_evict_to(struct dmirror *dev, struct dmirror *target,
		     uint64_t nr_pages, unsigned int timeout_ms,
		     struct hmm_dmirror_evict *result)
{
	*result = (struct hmm_dmirror_evict){
		.nr_pages = nr_pages,
		.timeout_ms = timeout_ms,
		.flags = HMM_DMIRROR_EVICT_TO,
		.target = target->fd,
	};
	return dmirror_evict_as(dev, result);
}

int dmirror_prefetch(struct dmirror *dev, const void *addr, size_t length,
		     unsigned int flags, struct hmm_dmirror_prefetch *result)
{
	struct hmm_dmirror_prefetch prefetch = {
		.addr = address(addr),
		.length = length,
		.flags = flags,
	};
	int ret = control(dev, HMM_DMIRROR_PREFETCH, &prefetch);

	if (result)
		*result = prefetch;
	return ret;
}

int dmirror_exclusive(struct dmirror *dev, void *addr, size_t length,
		      uint64_t *mapped)
{
	struct hmm_dmirror_exclusive exclusive = {
		.addr = address(addr),
		.length = length,
	};
	int ret = control(dev, HMM_DMIRROR_EXCLUSIVE, &exclusive);

	if (mapped)
		*mapped = exclusive.mapped;
	return ret;
}

int dmirror_fault_many(struct dmirror *devs, unsigned int nr, const void *addr,
		       int write, int *errors)
{
	struct hmm_dmirror_file files[HMM_DMIRROR_MAX_FILES] = {};
	struct hmm_dmirror_fault fault = {
		.addr = address(addr),
		.files = address(files),
		.nr_files = nr,
		.flags = write ? HMM_DMIRROR_PREFETCH_WRITE : 0,
	};
	unsigned int i;
	int ret;

	if (nr > HMM_DMIRROR_MAX_FILES)
		return -EINVAL;
	for (i = 0; i < nr; i++)
		files[i].fd = devs[i].fd;
	ret = control(devs, HMM_DMIRROR_FAULT, &fault);
	for (i = 0; i < nr && errors; i++)
		errors[i] = files[i].error;
	return ret;
}

int dmirror_snapshot(struct dmirror *dev, const void *addr, size_t length,
		     unsigned char *pages)
{
	struct hmm_dmirror_snapshot snapshot = {
		.addr = address(addr),
		.length = length,
		.pages = address(pages),
	};

	return control(dev, HMM_DMIRROR_SNAPSHOT, &snapshot);
}

int dmirror_move_on_miss(struct dmirror *dev, size_t size, unsigned int flags)
{
	struct hmm_dmirror_on_miss move = {
		.size = size,
		.flags = flags,
	};

	return control(dev, HMM_DMIRROR_ON_MISS, &move);
}

int dmirror_poison(struct dmirror *dev, const void *addr, size_t length,
		   uint64_t *offset)
{
	struct hmm_dmirror_poison poison = {
		.addr = address(addr),
		.length = length,
	};
	int ret = control(dev, HMM_DMIRROR_POISON, &poison);

	if (offset)
		*offset = poison.offset;
	return ret;
}

int dmirror_poison_offset(struct dmirror *dev, uint64_t offset, size_t length)
{
	struct hmm_dmirror_poison poison = {
		.addr = offset,
		.length = length,
		.flags = HMM_DMIRROR_POISON_OFFSET,
	};

	return control(dev, HMM_DMIRROR_POISON, &poison);
}

int dmirror_buffer(struct dmirror *dev, struct hmm_dmirror_buffer *buffer)
{
	return control(dev, HMM_DMIRROR_BUFFER, buffer);
}

int dmirror_stats(struct dmirror *dev, struct hmm_dmirror_stats *stats)
{
	return control(dev, HMM_DMIRROR_STATS, stats);
}

int dmirror_info(struct dmirror *dev, struct hmm_dmirror_info *info)
{
	return control(dev, HMM_DMIRROR_INFO, info);
}

int dmirror_perf(struct dmirror *dev, struct hmm_dmirror_perf *perf)
{
	return control(dev, HMM_DMIRROR_PERF, perf);
}

int dmirror_inject(struct dmirror *dev, enum hmm_dmirror_injection what,
		   unsigned int after, unsigned int count, unsigned int value)
{
	struct hmm_dmirror_inject inject = {
		.what = what,
		.after = after,
		.count = count,
		.value = value,
	};

	return control(dev, HMM_DMIRROR_INJECT, &inject);
}

const char *dmirror_strerror(int result)
{
	static const char * const text[] = {
		[HMM_DMIRROR_STATUS_DONE] = "done",
		[HMM_DMIRROR_STATUS_NO_ACCESS] = "no access to the address",
		[HMM_DMIRROR_STATUS_READ_ONLY] = "write to a read-only mapping",
		[HMM_DMIRROR_STATUS_NO_MEMORY] = "no memory for a device page fault",
		[HMM_DMIRROR_STATUS_TIMEOUT] = "device page fault timed out",
		[HMM_DMIRROR_STATUS_UNALIGNED] = "pointer to a word is not aligned",
		[HMM_DMIRROR_STATUS_LIMIT] = "more nodes than allowed",
		[HMM_DMIRROR_STATUS_DEVICE] = "the device failed",
	};

	if (result < 0)
		return strerror(-result);
	if (result >= (int)(sizeof(text) / sizeof(text[0])))
		return "unknown status";
	return text[result];
}

const char *dmirror_memory_name(enum hmm_dmirror_memory memory)
{
	switch (memory) {
	case HMM_DMIRROR_MEMORY_NONE:
		return "no memory";
	case HMM_DMIRROR_MEMORY_PRIVATE:
		return "private memory";
	case HMM_DMIRROR_MEMORY_CDM:
		return "CDM";
	}
	return "unknown memory";
}
