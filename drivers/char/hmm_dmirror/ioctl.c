// SPDX-License-Identifier: GPL-2.0
/*
 * The ioctls of the HMM dummy device.
 */
#include <linux/bitops.h>
#include <linux/file.h>
#include <linux/freezer.h>
#include <linux/fs.h>
#include <linux/log2.h>
#include <linux/overflow.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "hmm_dmirror.h"

#define DMIRROR_SNAPSHOT_CHUNK		256	/* pages */
#define DMIRROR_SNAPSHOT_MAX		SZ_1G
#define DMIRROR_EVICT_MAX_MS		60000
#define DMIRROR_EVICT_SLICE_MS		1000
#define DMIRROR_DELAY_MAX_MS		10000
#define DMIRROR_POISON_MAX		SZ_2M

static int dmirror_memory_stats(struct dmirror_device *dev,
				struct hmm_devmem_stats *stats)
{
	int ret = dmirror_memory_enter(dev);

	if (ret)
		return ret;
	hmm_devmem_get_stats(dev->devmem, stats);
	dmirror_memory_leave(dev);
	return 0;
}

static long dmirror_ioctl_info(struct dmirror_ctx *ctx, void __user *arg)
{
	struct dmirror_device *dev = ctx->dev;
	struct hmm_dmirror_info info = {
		.memory = dev->memory,
		.engines = dev->nr_engines,
		.memory_size = dev->size,
		.page_sizes = DMIRROR_PAGE_SIZES,
		.fault_timeout_ms = dmirror_fault_timeout_ms,
		.flags = (dev->dma_dev ? HMM_DMIRROR_INFO_DMA : 0) |
			 (dev->shared ? HMM_DMIRROR_INFO_SHARED : 0),
	};
	struct hmm_devmem_stats stats;
	int ret;

	if (dev->memory != HMM_DMIRROR_MEMORY_NONE) {
		ret = dmirror_memory_stats(dev, &stats);
		if (ret)
			return ret;
		info.memory_used = stats.used * PAGE_SIZE;
		info.memory_huge = stats.huge * PAGE_SIZE;
	}
	return copy_to_user(arg, &info, sizeof(info)) ? -EFAULT : 0;
}

static long dmirror_ioctl_run(struct dmirror_ctx *ctx, void __user *arg)
{
	struct dmirror_run *run;
	long ret = 0;

	run = kzalloc_obj(*run, GFP_KERNEL_ACCOUNT);
	if (!run)
		return -ENOMEM;
	if (copy_from_user(&run->args, arg, sizeof(run->args))) {
		ret = -EFAULT;
		goto free_run;
	}
	if (!dmirror_program_valid(&run->args)) {
		ret = -EINVAL;
		goto free_run;
	}
	run->args.status = HMM_DMIRROR_STATUS_DONE;
	run->args.result = 0;
	run->args.result2 = 0;
	run->args.fault_addr = 0;
	run->args.faults = 0;
	run->stuck_page = U64_MAX;

	refcount_set(&run->refs, 2);
	refcount_inc(&ctx->refs);
	run->ctx = ctx;
	init_completion(&run->done);
	dmirror_run_queue(ctx->dev, run);

	/* A program may take long, and a system that goes to sleep does not wait. */
	if (wait_for_completion_state(&run->done,
				      TASK_KILLABLE | TASK_FREEZABLE)) {
		WRITE_ONCE(run->cancelled, true);
		ret = -EINTR;
	} else if (copy_to_user(arg, &run->args, sizeof(run->args))) {
		ret = -EFAULT;
	}
	dmirror_run_put(run);
	return ret;

free_run:
	kfree(run);
	return ret;
}

/* The mirror ends when the device is removed. */
static long dmirror_removed(long err)
{
	return err == -ESHUTDOWN ? -ENODEV : err;
}

/* Check a page-aligned range that is not empty; false if it is not one. */
static bool dmirror_range_valid(u64 addr, u64 length)
{
	u64 end;

	return length && PAGE_ALIGNED(addr | length) &&
	       !check_add_overflow(addr, length, &end);
}

static int dmirror_migrate_to_device(struct dmirror_ctx *ctx, u64 start,
				     u64 end, unsigned int evict_timeout_ms,
				     struct hmm_migrate_result *result)
{
	struct dmirror_device *dev = ctx->dev;
	int ret = dmirror_memory_enter(dev);

	if (ret)
		return ret;
	ret = hmm_migrate_to_device(dev->devmem, ctx->mm, start, end,
				    evict_timeout_ms, result);
	dmirror_memory_leave(dev);
	return ret;
}

/* An open file of a device with memory, until fput(). */
static struct file *dmirror_get_another(struct dmirror_ctx *ctx, int fd)
{
	struct file *file = fget(fd);
	struct dmirror_ctx *other;
	int err = -EBADF;

	if (!file)
		return ERR_PTR(err);
	if (file->f_op == &dmirror_fops) {
		other = file->private_data;
		if (other->mm != ctx->mm)
			err = -EPERM;
		else if (other->dev->memory == HMM_DMIRROR_MEMORY_NONE)
			err = -EOPNOTSUPP;
		else
			return file;
	}
	fput(file);
	return ERR_PTR(err);
}

static int dmirror_migrate_between(struct dmirror_ctx *ctx, int fd, u64 start,
				   u64 end, unsigned int evict_timeout_ms,
				   struct hmm_migrate_result *result)
{
	struct file *file = dmirror_get_another(ctx, fd);
	struct dmirror_device *dev = ctx->dev, *to;
	int ret;

	if (IS_ERR(file))
		return PTR_ERR(file);
	to = ((struct dmirror_ctx *)file->private_data)->dev;
	ret = to == dev ? -EINVAL : dmirror_memory_enter(dev);
	if (ret)
		goto put;
	ret = dmirror_memory_enter_another(to);
	if (!ret) {
		ret = hmm_migrate_between(dev->devmem, to->devmem, ctx->mm,
					  start, end, evict_timeout_ms, result);
		dmirror_memory_leave(to);
	}
	dmirror_memory_leave(dev);
put:
	fput(file);
	return ret;
}

static long dmirror_ioctl_migrate(struct dmirror_ctx *ctx, void __user *arg)
{
	struct dmirror_device *dev = ctx->dev;
	struct hmm_migrate_result result = {};
	struct hmm_dmirror_migrate args;
	unsigned int ms;
	u64 end;
	int ret;

	if (copy_from_user(&args, arg, sizeof(args)))
		return -EFAULT;
	if (!dmirror_range_valid(args.addr, args.length) ||
	    args.target > HMM_DMIRROR_TO_ANOTHER || args.reserved ||
	    (args.another && args.target != HMM_DMIRROR_TO_ANOTHER) ||
	    (args.flags && (args.flags != HMM_DMIRROR_MIGRATE_MAKE_ROOM ||
			    args.target == HMM_DMIRROR_TO_RAM)))
		return -EINVAL;
	ms = args.flags ? DMIRROR_ROOM_MS : 0;
	result.left = args.length >> PAGE_SHIFT;
	result.untried = result.left;
	end = args.addr + args.length;

	if (dev->memory == HMM_DMIRROR_MEMORY_NONE)
		ret = -EOPNOTSUPP;
	else if (args.target == HMM_DMIRROR_TO_DEVICE)
		ret = dmirror_migrate_to_device(ctx, args.addr, end, ms, &result);
	else if (args.target == HMM_DMIRROR_TO_ANOTHER)
		ret = dmirror_migrate_between(ctx, args.another, args.addr, end,
					      ms, &result);
	else
		ret = hmm_migrate_to_ram(ctx->mm, dev, args.addr, end, &result);

	args.moved = result.moved;
	args.filled = result.filled;
	args.left = result.left;
	args.already = result.already;
	args.elsewhere = result.elsewhere;
	args.absent = result.absent;
	args.unsupported = result.unsupported;
	args.merged = result.merged;
	args.busy = result.busy;
	args.no_room = result.no_room;
	args.failed = result.failed;
	args.untried = result.untried;
	if (copy_to_user(arg, &args, sizeof(args)))
		return -EFAULT;
	return ret;
}

static long dmirror_ioctl_on_miss(struct dmirror_ctx *ctx, void __user *arg)
{
	struct hmm_dmirror_on_miss args;

	if (copy_from_user(&args, arg, sizeof(args)))
		return -EFAULT;
	if (args.reserved || args.flags & ~HMM_DMIRROR_MIGRATE_MAKE_ROOM ||
	    (args.size ? !is_power_of_2(args.size) || args.size < PAGE_SIZE ||
			 args.size > PMD_SIZE : args.flags))
		return -EINVAL;
	if (ctx->dev->memory == HMM_DMIRROR_MEMORY_NONE)
		return -EOPNOTSUPP;

	WRITE_ONCE(ctx->move_room, args.flags);
	WRITE_ONCE(ctx->move_size, args.size);
	return 0;
}

static int dmirror_evict_to(struct dmirror_device *dev,
			    struct dmirror_device *target,
			    unsigned long nr_pages, u32 ms,
			    struct hmm_devmem_evict_result *result)
{
	int ret;

	if (target == dev)
		return -EINVAL;
	ret = dmirror_memory_enter_another(target);
	if (ret)
		return ret;
	ret = hmm_devmem_evict_to(dev->devmem, target->devmem, nr_pages, ms,
				  result);
	dmirror_memory_leave(target);
	return ret;
}

/* A part of an eviction; &hmm_dmirror_evict.evicted: what was done before. */
static int dmirror_evict_slice(struct dmirror_device *dev,
			       struct dmirror_device *target,
			       const struct hmm_dmirror_evict *args, u32 ms,
			       struct hmm_devmem_evict_result *result)
{
	int ret = dmirror_memory_enter(dev);

	*result = (struct hmm_devmem_evict_result){};
	if (ret)
		return ret;
	if (args->flags & HMM_DMIRROR_EVICT_RANGE)
		ret = hmm_devmem_evict_range(dev->devmem, args->offset,
					     args->nr_pages << PAGE_SHIFT, ms,
					     result);
	else if (target)
		ret = dmirror_evict_to(dev, target,
				       args->nr_pages - args->evicted, ms,
				       result);
	else
		ret = hmm_devmem_evict(dev->devmem,
				       args->nr_pages - args->evicted, ms,
				       result);
	dmirror_memory_leave(dev);
	return ret;
}

static long dmirror_ioctl_evict(struct dmirror_ctx *ctx, void __user *arg)
{
	struct dmirror_device *dev = ctx->dev, *target = NULL;
	struct hmm_devmem_evict_result result;
	struct hmm_dmirror_evict args;
	struct dmirror_ctx *other;
	struct file *file = NULL;
	u32 left_ms, ms;
	int ret;

	if (copy_from_user(&args, arg, sizeof(args)))
		return -EFAULT;
	if (args.timeout_ms > DMIRROR_EVICT_MAX_MS || args.reserved ||
	    args.flags & ~(HMM_DMIRROR_EVICT_RANGE | HMM_DMIRROR_EVICT_TO) ||
	    hweight32(args.flags) > 1 ||
	    (args.flags != HMM_DMIRROR_EVICT_RANGE && args.offset) ||
	    (args.flags != HMM_DMIRROR_EVICT_TO && args.target))
		return -EINVAL;
	if (dev->memory == HMM_DMIRROR_MEMORY_NONE)
		return -EOPNOTSUPP;
	if (args.flags == HMM_DMIRROR_EVICT_RANGE &&
	    args.nr_pages > U64_MAX >> PAGE_SHIFT)
		return -EINVAL;
	if (args.flags == HMM_DMIRROR_EVICT_TO) {
		file = dmirror_get_another(ctx, args.target);
		if (IS_ERR(file))
			return PTR_ERR(file);
		other = file->private_data;
		target = other->dev;
	}

	/* A removal of the device waits for a slice, not for all of the time. */
	args.evicted = 0;
	left_ms = args.timeout_ms;
	do {
		ms = min(left_ms, DMIRROR_EVICT_SLICE_MS);
		left_ms -= ms;
		ret = dmirror_evict_slice(dev, target, &args, ms, &result);
		args.evicted += result.evicted;
		try_to_freeze();
	} while (ret == -ETIME && left_ms);
	if (file)
		fput(file);

	args.kept = result.kept;
	args.busy = result.busy;
	args.no_ram = result.no_ram;
	args.failed = result.failed;
	args.untried = result.untried;
	args.no_room = result.no_room;
	return copy_to_user(arg, &args, sizeof(args)) ? -EFAULT : ret;
}

static long dmirror_ioctl_snapshot(struct dmirror_ctx *ctx, void __user *arg)
{
	struct hmm_dmirror_snapshot args;
	u8 pages[DMIRROR_SNAPSHOT_CHUNK];
	unsigned int nr;
	u64 left;

	if (copy_from_user(&args, arg, sizeof(args)))
		return -EFAULT;
	if (!dmirror_range_valid(args.addr, args.length) ||
	    args.length > DMIRROR_SNAPSHOT_MAX || args.reserved)
		return -EINVAL;

	for (left = args.length >> PAGE_SHIFT; left; left -= nr) {
		nr = min_t(u64, left, DMIRROR_SNAPSHOT_CHUNK);
		nr = dmirror_pgtable_snapshot(ctx, args.addr, pages, nr);
		if (copy_to_user(u64_to_user_ptr(args.pages), pages, nr))
			return -EFAULT;
		args.addr += (u64)nr << PAGE_SHIFT;
		args.pages += nr;
		cond_resched();
	}
	return 0;
}

static long dmirror_ioctl_prefetch(struct dmirror_ctx *ctx, void __user *arg)
{
	struct hmm_dmirror_prefetch args;
	struct hmm_mirror_result result = {};
	u64 end;
	int ret;

	if (copy_from_user(&args, arg, sizeof(args)))
		return -EFAULT;
	if (!dmirror_range_valid(args.addr, args.length) || args.reserved ||
	    args.flags & ~(HMM_DMIRROR_PREFETCH_WRITE |
			   HMM_DMIRROR_PREFETCH_PRESENT) ||
	    hweight32(args.flags) > 1)
		return -EINVAL;
	end = args.addr + args.length;

	if (args.flags & HMM_DMIRROR_PREFETCH_PRESENT)
		ret = hmm_mirror_snapshot(&ctx->mirror, args.addr, end, &result);
	else
		ret = hmm_mirror_prefetch(&ctx->mirror, args.addr, end,
					  args.flags ? HMM_MIRROR_WRITE : 0,
					  &result);
	args.mapped = result.mapped;
	args.missing = result.missing;
	args.refused = result.refused;
	args.left = ret == -ERANGE ? args.length >> PAGE_SHIFT : result.left;
	if (copy_to_user(arg, &args, sizeof(args)))
		return -EFAULT;
	return ret;
}

static long dmirror_ioctl_exclusive(struct dmirror_ctx *ctx, void __user *arg)
{
	struct hmm_dmirror_exclusive args;
	unsigned long mapped = 0;
	int ret;

	if (copy_from_user(&args, arg, sizeof(args)))
		return -EFAULT;
	if (!dmirror_range_valid(args.addr, args.length) || args.reserved)
		return -EINVAL;

	ret = hmm_mirror_fault_exclusive(&ctx->mirror, args.addr,
					 args.addr + args.length, &mapped);
	args.mapped = mapped;
	if (copy_to_user(arg, &args, sizeof(args)))
		return -EFAULT;
	return ret;
}

/* Take the files of @args; each fills in a target. */
static int dmirror_get_targets(struct dmirror_ctx *ctx,
			       const struct hmm_dmirror_fault *args,
			       struct file **files,
			       struct hmm_mirror_target *targets)
{
	struct hmm_dmirror_file __user *user = u64_to_user_ptr(args->files);
	struct hmm_dmirror_file entry;
	struct dmirror_ctx *other;
	unsigned int i;

	for (i = 0; i < args->nr_files; i++) {
		if (copy_from_user(&entry, &user[i], sizeof(entry)))
			return -EFAULT;
		files[i] = fget(entry.fd);
		if (!files[i] || files[i]->f_op != &dmirror_fops)
			return -EBADF;
		other = files[i]->private_data;
		if (other->mm != ctx->mm)
			return -EPERM;
		targets[i].mirror = &other->mirror;
	}
	return 0;
}

static long dmirror_ioctl_fault(struct dmirror_ctx *ctx, void __user *arg)
{
	struct hmm_mirror_target targets[HMM_DMIRROR_MAX_FILES] = {};
	struct file *files[HMM_DMIRROR_MAX_FILES] = {};
	struct hmm_dmirror_file __user *user;
	struct hmm_dmirror_fault args;
	unsigned int i;
	int ret;

	if (copy_from_user(&args, arg, sizeof(args)))
		return -EFAULT;
	if (!args.nr_files || args.nr_files > HMM_DMIRROR_MAX_FILES ||
	    args.flags & ~HMM_DMIRROR_PREFETCH_WRITE)
		return -EINVAL;

	ret = dmirror_get_targets(ctx, &args, files, targets);
	if (!ret) {
		ret = hmm_mirror_fault_many(targets, args.nr_files, args.addr,
					    args.flags ? HMM_MIRROR_WRITE : 0);
		user = u64_to_user_ptr(args.files);
		for (i = 0; i < args.nr_files; i++)
			if (put_user(dmirror_removed(targets[i].error),
				     &user[i].error))
				ret = -EFAULT;
	}
	for (i = 0; i < args.nr_files; i++)
		if (files[i])
			fput(files[i]);
	return ret;
}

static long dmirror_ioctl_stats(struct dmirror_ctx *ctx, void __user *arg)
{
	struct dmirror_device *dev = ctx->dev;
	struct hmm_dmirror_stats args = {};
	struct hmm_mirror_stats mirror;
	struct hmm_devmem_stats devmem;
	int ret;

	hmm_mirror_get_stats(&ctx->mirror, &mirror);
	args.faults = atomic64_read(&ctx->faults);
	args.retries = mirror.retries;
	args.invalidations = mirror.invalidations;
	args.mapped_pages = mirror.mapped_pages;
	args.timeouts = mirror.timeouts;
	args.flushes = mirror.flushes;
	args.mapped_entries = mirror.mapped_entries;
	args.dma_retries = mirror.dma_retries;
	if (dev->memory != HMM_DMIRROR_MEMORY_NONE) {
		ret = dmirror_memory_stats(dev, &devmem);
		if (ret)
			return ret;
		args.migrated_in = devmem.migrated_in;
		args.migrated_out = devmem.migrated_out;
		args.cpu_faults = devmem.cpu_faults;
		args.poisoned = devmem.poisoned;
		args.from_peers = devmem.from_peers;
		args.through_ram = devmem.through_ram;
		args.bounces = devmem.bounces;
		args.suppressed = devmem.suppressed;
		args.bytes_copied = atomic64_read(&dev->copy.bytes_copied);
		args.bytes_cleared = atomic64_read(&dev->copy.bytes_cleared);
	}
	return copy_to_user(arg, &args, sizeof(args)) ? -EFAULT : 0;
}

static long dmirror_ioctl_perf(struct dmirror_ctx *ctx, void __user *arg)
{
	struct hmm_dmirror_perf args = {};
	struct hmm_devmem_performance perf = {};
	struct dmirror_device *dev = ctx->dev;
	int ret;

	if (dev->memory == HMM_DMIRROR_MEMORY_NONE)
		return -EOPNOTSUPP;
	ret = dmirror_memory_enter(dev);
	if (ret)
		return ret;
	args.node = hmm_devmem_get_node(dev->devmem);
	args.error = hmm_devmem_get_performance(dev->devmem, &perf);
	dmirror_memory_leave(dev);

	args.read_latency = perf.read_latency;
	args.write_latency = perf.write_latency;
	args.read_bandwidth = perf.read_bandwidth;
	args.write_bandwidth = perf.write_bandwidth;
	return copy_to_user(arg, &args, sizeof(args)) ? -EFAULT : 0;
}

static long dmirror_ioctl_poison(struct dmirror_ctx *ctx, void __user *arg)
{
	struct dmirror_device *dev = ctx->dev;
	struct hmm_dmirror_poison args;
	int ret;

	if (copy_from_user(&args, arg, sizeof(args)))
		return -EFAULT;
	if (!dmirror_range_valid(args.addr, args.length) ||
	    args.length > DMIRROR_POISON_MAX || args.reserved ||
	    args.flags & ~HMM_DMIRROR_POISON_OFFSET)
		return -EINVAL;
	if (dev->memory == HMM_DMIRROR_MEMORY_NONE)
		return -EOPNOTSUPP;

	ret = dmirror_memory_enter(dev);
	if (ret)
		return ret;
	ret = dmirror_poison(ctx, &args);
	dmirror_memory_leave(dev);
	return copy_to_user(arg, &args, sizeof(args)) ? -EFAULT : ret;
}

static bool dmirror_buffer_valid(const struct dmirror_device *dev,
				 const struct hmm_dmirror_buffer *args)
{
	bool brings_in = args->op == HMM_DMIRROR_BUFFER_ALLOC ||
			 args->op == HMM_DMIRROR_BUFFER_USE;

	if (args->op > HMM_DMIRROR_BUFFER_STATE ||
	    args->timeout_ms > (brings_in ? DMIRROR_EVICT_MAX_MS : 0))
		return false;
	if (args->op != HMM_DMIRROR_BUFFER_ALLOC)
		return !args->flags && !args->size &&
		       (args->id || args->op == HMM_DMIRROR_BUFFER_STATE);
	return !(args->flags & ~HMM_DMIRROR_BUFFER_PINNED) && !args->id &&
	       args->size && args->size <= dev->size &&
	       IS_ALIGNED(args->size, DMIRROR_MEMORY_GRAIN);
}

static long dmirror_ioctl_buffer(struct dmirror_ctx *ctx, void __user *arg)
{
	struct dmirror_device *dev = ctx->dev;
	struct hmm_dmirror_buffer args;
	u32 left_ms, ms;
	int ret;

	if (copy_from_user(&args, arg, sizeof(args)))
		return -EFAULT;
	if (!dev->shared)
		return -EOPNOTSUPP;
	if (!dmirror_buffer_valid(dev, &args))
		return -EINVAL;

	/* As in an eviction. */
	left_ms = args.timeout_ms;
	do {
		ms = min(left_ms, DMIRROR_EVICT_SLICE_MS);
		left_ms -= ms;
		ret = dmirror_memory_enter(dev);
		if (ret)
			break;
		ret = dmirror_buffer(ctx, &args, ms, !left_ms);
		dmirror_memory_leave(dev);
		try_to_freeze();
	} while (ret == -ETIME && left_ms);
	return copy_to_user(arg, &args, sizeof(args)) ? -EFAULT : ret;
}

static long dmirror_ioctl_inject(struct dmirror_ctx *ctx, void __user *arg)
{
	struct dmirror_device *dev = ctx->dev;
	struct dmirror_injection *injection;
	struct hmm_dmirror_inject args;
	u32 max_value = 0;

	if (copy_from_user(&args, arg, sizeof(args)))
		return -EFAULT;

	switch (args.what) {
	case HMM_DMIRROR_INJECT_FLUSH_DELAY:
	case HMM_DMIRROR_INJECT_COPY_DELAY:
		max_value = DMIRROR_DELAY_MAX_MS;
		break;
	case HMM_DMIRROR_INJECT_COPY_ERROR:
	case HMM_DMIRROR_INJECT_COPY_NO_MEMORY:
		max_value = PMD_SIZE / PAGE_SIZE;
		break;
	}
	if (args.what >= DMIRROR_NR_INJECTIONS || args.value > max_value)
		return -EINVAL;
	/* Only these three have nothing to do with memory. */
	if (args.what != HMM_DMIRROR_INJECT_FLUSH_DELAY &&
	    args.what != HMM_DMIRROR_INJECT_MAP_ERROR &&
	    args.what != HMM_DMIRROR_INJECT_PREPARE_ERROR &&
	    dev->memory == HMM_DMIRROR_MEMORY_NONE)
		return -EOPNOTSUPP;

	injection = &dev->inject[args.what];
	spin_lock(&dev->inject_lock);
	injection->after = args.after;
	injection->count = args.count;
	injection->value = args.value;
	spin_unlock(&dev->inject_lock);
	return 0;
}

static long dmirror_ioctl_dispatch(struct dmirror_ctx *ctx, unsigned int cmd,
				   void __user *arg)
{
	switch (cmd) {
	case HMM_DMIRROR_INFO:
		return dmirror_ioctl_info(ctx, arg);
	case HMM_DMIRROR_RUN:
		return dmirror_ioctl_run(ctx, arg);
	case HMM_DMIRROR_MIGRATE:
		return dmirror_ioctl_migrate(ctx, arg);
	case HMM_DMIRROR_EVICT:
		return dmirror_ioctl_evict(ctx, arg);
	case HMM_DMIRROR_SNAPSHOT:
		return dmirror_ioctl_snapshot(ctx, arg);
	case HMM_DMIRROR_STATS:
		return dmirror_ioctl_stats(ctx, arg);
	case HMM_DMIRROR_INJECT:
		return dmirror_ioctl_inject(ctx, arg);
	case HMM_DMIRROR_PREFETCH:
		return dmirror_ioctl_prefetch(ctx, arg);
	case HMM_DMIRROR_EXCLUSIVE:
		return dmirror_ioctl_exclusive(ctx, arg);
	case HMM_DMIRROR_FAULT:
		return dmirror_ioctl_fault(ctx, arg);
	case HMM_DMIRROR_PERF:
		return dmirror_ioctl_perf(ctx, arg);
	case HMM_DMIRROR_POISON:
		return dmirror_ioctl_poison(ctx, arg);
	case HMM_DMIRROR_BUFFER:
		return dmirror_ioctl_buffer(ctx, arg);
	case HMM_DMIRROR_ON_MISS:
		return dmirror_ioctl_on_miss(ctx, arg);
	default:
		return -ENOTTY;
	}
}

long dmirror_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct dmirror_ctx *ctx = file->private_data;

	/* ctx pins the mm, so no other one can have its address. */
	if (current->mm != ctx->mm)
		return -EPERM;
	if (READ_ONCE(ctx->dev->removed))
		return -ENODEV;
	return dmirror_removed(dmirror_ioctl_dispatch(ctx, cmd,
						      (void __user *)arg));
}
