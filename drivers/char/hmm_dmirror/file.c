// SPDX-License-Identifier: GPL-2.0
/*
 * Open files of the HMM dummy device and their ioctls.
 */
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/overflow.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "hmm_dmirror.h"

#define DMIRROR_FAULT_AROUND		SZ_64K
#define DMIRROR_FAULT_TIMEOUT_MS	10000	/* emulated CPUs are slow */
#define DMIRROR_SNAPSHOT_CHUNK		256	/* pages */
#define DMIRROR_SNAPSHOT_MAX		SZ_1G
#define DMIRROR_EVICT_MAX_MS		60000
#define DMIRROR_DELAY_MAX_MS		10000

struct workqueue_struct *dmirror_wq;
static bool dmirror_open_allowed;

/*
 * Module init can still fail after the first device was registered; no context
 * may exist then.  misc_deregister() waits for an open() in progress.
 */
void dmirror_allow_open(bool allow)
{
	WRITE_ONCE(dmirror_open_allowed, allow);
}

static void dmirror_ctx_destroy(struct dmirror_ctx *ctx)
{
	/*
	 * No run is left, so the fault worker has no fault to wait for, but it
	 * may still be about to notice.
	 */
	cancel_work_sync(&ctx->fault_work);
	hmm_mirror_unregister(&ctx->mirror);
	dmirror_pgtable_free(&ctx->pgtable);
	mmdrop(ctx->mm);
	kfree(ctx);
	/* The caller is a file's release or work that module exit flushes. */
	module_put(THIS_MODULE);
}

static void dmirror_ctx_destroy_work(struct work_struct *work)
{
	dmirror_ctx_destroy(container_of(work, struct dmirror_ctx,
					 destroy_work));
}

static int dmirror_open(struct inode *inode, struct file *file)
{
	/* Set by misc_open(). */
	struct dmirror_device *dev = container_of(file->private_data,
						  struct dmirror_device, misc);
	struct hmm_mirror_desc desc = {
		.ops = &dmirror_mirror_ops,
		.owner = dev->devmem ? dev : NULL,
		.page_sizes = PAGE_SIZE | PMD_SIZE,
		.fault_around = max(DMIRROR_FAULT_AROUND, PAGE_SIZE),
		.timeout_ms = DMIRROR_FAULT_TIMEOUT_MS,
	};
	struct dmirror_ctx *ctx;
	int ret;

	if (!READ_ONCE(dmirror_open_allowed))
		return -ENODEV;
	if (!current->mm)
		return -EPERM;

	ctx = kzalloc_obj(*ctx, GFP_KERNEL_ACCOUNT);
	if (!ctx)
		return -ENOMEM;
	ctx->dev = dev;
	ctx->mm = current->mm;
	refcount_set(&ctx->refs, 1);
	spin_lock_init(&ctx->fault_lock);
	INIT_LIST_HEAD(&ctx->fault_queue);
	INIT_WORK(&ctx->fault_work, dmirror_fault_work);
	INIT_WORK(&ctx->destroy_work, dmirror_ctx_destroy_work);

	desc.end = PAGE_ALIGN_DOWN(ctx->mm->task_size);
	ret = dmirror_pgtable_init(&ctx->pgtable, desc.end);
	if (ret)
		goto free_ctx;
	ret = hmm_mirror_register(&ctx->mirror, ctx->mm, &desc);
	if (ret)
		goto free_pgtable;

	mmgrab(ctx->mm);
	__module_get(THIS_MODULE);
	spin_lock(&dev->inject_lock);
	dev->open_files++;
	spin_unlock(&dev->inject_lock);
	file->private_data = ctx;
	return nonseekable_open(inode, file);

free_pgtable:
	dmirror_pgtable_free(&ctx->pgtable);
free_ctx:
	kfree(ctx);
	return ret;
}

static int dmirror_release(struct inode *inode, struct file *file)
{
	struct dmirror_ctx *ctx = file->private_data;
	struct dmirror_device *dev = ctx->dev;

	spin_lock(&dev->inject_lock);
	if (!--dev->open_files)
		memset(dev->inject, 0, sizeof(dev->inject));
	spin_unlock(&dev->inject_lock);

	/*
	 * Runs that are left were cancelled.  Do not wait for them: one may be
	 * in a CPU fault that ends only when this process closes its next file
	 * (userfaultfd).
	 */
	if (refcount_dec_and_test(&ctx->refs))
		dmirror_ctx_destroy(ctx);
	return 0;
}

static long dmirror_ioctl_info(struct dmirror_ctx *ctx, void __user *arg)
{
	struct dmirror_device *dev = ctx->dev;
	struct hmm_dmirror_info info = {
		.memory = dev->memory,
		.engines = dev->nr_engines,
		.memory_size = dev->size,
	};
	struct hmm_devmem_stats stats;

	if (dev->devmem) {
		hmm_devmem_get_stats(dev->devmem, &stats);
		info.memory_used = stats.used * PAGE_SIZE;
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

	refcount_set(&run->refs, 2);
	refcount_inc(&ctx->refs);
	run->ctx = ctx;
	init_completion(&run->done);
	dmirror_run_queue(ctx->dev, run);

	if (wait_for_completion_killable(&run->done)) {
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

/* Check a page-aligned range that is not empty; false if it is not one. */
static bool dmirror_range_valid(u64 addr, u64 length)
{
	u64 end;

	return length && PAGE_ALIGNED(addr | length) &&
	       !check_add_overflow(addr, length, &end);
}

static long dmirror_ioctl_migrate(struct dmirror_ctx *ctx, void __user *arg)
{
	struct dmirror_device *dev = ctx->dev;
	struct hmm_migrate_result result = {};
	struct hmm_dmirror_migrate args;
	u64 end;
	int ret;

	if (copy_from_user(&args, arg, sizeof(args)))
		return -EFAULT;
	if (!dmirror_range_valid(args.addr, args.length) || args.flags ||
	    args.target > HMM_DMIRROR_TO_DEVICE)
		return -EINVAL;
	result.left = args.length >> PAGE_SHIFT;
	end = args.addr + args.length;

	if (!dev->devmem)
		ret = -EOPNOTSUPP;
	else if (args.target == HMM_DMIRROR_TO_DEVICE)
		ret = hmm_migrate_to_device(dev->devmem, ctx->mm, args.addr,
					    end, &result);
	else
		ret = hmm_migrate_to_ram(ctx->mm, dev, args.addr, end, &result);

	args.moved = result.moved;
	args.filled = result.filled;
	args.left = result.left;
	if (copy_to_user(arg, &args, sizeof(args)))
		return -EFAULT;
	return ret;
}

static long dmirror_ioctl_evict(struct dmirror_ctx *ctx, void __user *arg)
{
	struct hmm_devmem *devmem = ctx->dev->devmem;
	struct hmm_dmirror_evict args;

	if (copy_from_user(&args, arg, sizeof(args)))
		return -EFAULT;
	if (args.timeout_ms > DMIRROR_EVICT_MAX_MS || args.flags)
		return -EINVAL;
	if (!devmem)
		return -EOPNOTSUPP;

	args.evicted = hmm_devmem_evict(devmem, args.nr_pages, args.timeout_ms);
	return copy_to_user(arg, &args, sizeof(args)) ? -EFAULT : 0;
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

static long dmirror_ioctl_stats(struct dmirror_ctx *ctx, void __user *arg)
{
	struct dmirror_device *dev = ctx->dev;
	struct hmm_dmirror_stats args = {};
	struct hmm_mirror_stats mirror;
	struct hmm_devmem_stats devmem;

	hmm_mirror_get_stats(&ctx->mirror, &mirror);
	args.faults = atomic64_read(&ctx->faults);
	args.retries = mirror.retries;
	args.invalidations = mirror.invalidations;
	args.mapped_pages = mirror.mapped_pages;
	if (dev->devmem) {
		hmm_devmem_get_stats(dev->devmem, &devmem);
		args.migrated_in = devmem.migrated_in;
		args.migrated_out = devmem.migrated_out;
		args.cpu_faults = devmem.cpu_faults;
		args.bytes_copied = atomic64_read(&dev->copy.bytes_copied);
		args.bytes_cleared = atomic64_read(&dev->copy.bytes_cleared);
	}
	return copy_to_user(arg, &args, sizeof(args)) ? -EFAULT : 0;
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
	case HMM_DMIRROR_INJECT_COPY_DELAY:
		max_value = DMIRROR_DELAY_MAX_MS;
		fallthrough;
	case HMM_DMIRROR_INJECT_COPY_ERROR:
	case HMM_DMIRROR_INJECT_COPY_REFUSE:
		if (args.value > max_value)
			return -EINVAL;
		if (!dev->devmem)
			return -EOPNOTSUPP;
		break;
	case HMM_DMIRROR_INJECT_MAP_ERROR:
	case HMM_DMIRROR_INJECT_PREPARE_ERROR:
		if (args.value)
			return -EINVAL;
		break;
	default:
		return -EINVAL;
	}

	injection = &dev->inject[args.what];
	spin_lock(&dev->inject_lock);
	injection->after = args.after;
	injection->count = args.count;
	injection->value = args.value;
	spin_unlock(&dev->inject_lock);
	return 0;
}

static long dmirror_ioctl(struct file *file, unsigned int cmd,
			  unsigned long arg)
{
	struct dmirror_ctx *ctx = file->private_data;
	void __user *user = (void __user *)arg;

	/* ctx pins the mm, so no other one can have its address. */
	if (current->mm != ctx->mm)
		return -EPERM;

	switch (cmd) {
	case HMM_DMIRROR_INFO:
		return dmirror_ioctl_info(ctx, user);
	case HMM_DMIRROR_RUN:
		return dmirror_ioctl_run(ctx, user);
	case HMM_DMIRROR_MIGRATE:
		return dmirror_ioctl_migrate(ctx, user);
	case HMM_DMIRROR_EVICT:
		return dmirror_ioctl_evict(ctx, user);
	case HMM_DMIRROR_SNAPSHOT:
		return dmirror_ioctl_snapshot(ctx, user);
	case HMM_DMIRROR_STATS:
		return dmirror_ioctl_stats(ctx, user);
	case HMM_DMIRROR_INJECT:
		return dmirror_ioctl_inject(ctx, user);
	default:
		return -ENOTTY;
	}
}

const struct file_operations dmirror_fops = {
	.owner = THIS_MODULE,
	.open = dmirror_open,
	.release = dmirror_release,
	.unlocked_ioctl = dmirror_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};
