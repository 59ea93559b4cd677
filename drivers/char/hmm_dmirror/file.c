// SPDX-License-Identifier: GPL-2.0
/*
 * Open files of the HMM dummy device: address spaces on it.
 */
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "hmm_dmirror.h"

#define DMIRROR_FAULT_AROUND		SZ_64K

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

/* The device is there no more, or nobody uses the context. */
static void dmirror_ctx_end_mirror(struct dmirror_ctx *ctx)
{
	lockdep_assert_held(&ctx->dev->ctx_lock);

	if (ctx->mirrored)
		hmm_mirror_unregister(&ctx->mirror);
	ctx->mirrored = false;
}

/* After misc_deregister(): there will be no more contexts. */
void dmirror_end_mirrors(struct dmirror_device *dev)
{
	struct dmirror_ctx *ctx;

	guard(mutex)(&dev->ctx_lock);
	WRITE_ONCE(dev->removed, true);
	list_for_each_entry(ctx, &dev->contexts, link)
		dmirror_ctx_end_mirror(ctx);
}

static void dmirror_ctx_destroy(struct dmirror_ctx *ctx)
{
	struct dmirror_device *dev = ctx->dev;
	unsigned int i;

	/*
	 * No run is left, so the fault workers have no fault to wait for, but
	 * they may still be about to notice.
	 */
	for (i = 0; i < DMIRROR_MAX_FAULT_WORKERS; i++)
		cancel_work_sync(&ctx->workers[i].work);
	scoped_guard(mutex, &dev->ctx_lock) {
		dmirror_ctx_end_mirror(ctx);
		list_del(&ctx->link);
	}
	dmirror_pgtable_free(&ctx->pgtable);
	mmdrop(ctx->mm);
	kfree(ctx);
	dmirror_device_put(dev);
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
		.dma_dev = dev->dma_dev,
		.page_sizes = DMIRROR_PAGE_SIZES,
		.fault_around = DMIRROR_FAULT_AROUND,
		.timeout_ms = dmirror_fault_timeout_ms,
	};
	struct dmirror_ctx *ctx;
	unsigned int i;
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
	for (i = 0; i < DMIRROR_MAX_FAULT_WORKERS; i++) {
		ctx->workers[i].ctx = ctx;
		INIT_WORK(&ctx->workers[i].work, dmirror_fault_work);
	}
	ctx->tlb_generation = dmirror_tlb_new_generation();
	INIT_WORK(&ctx->destroy_work, dmirror_ctx_destroy_work);

	desc.end = PAGE_ALIGN_DOWN(ctx->mm->task_size);
	ret = dmirror_pgtable_init(&ctx->pgtable, desc.end);
	if (ret)
		goto free_ctx;
	ret = hmm_mirror_register(&ctx->mirror, ctx->mm, &desc);
	if (ret)
		goto free_pgtable;

	ctx->mirrored = true;
	mmgrab(ctx->mm);
	__module_get(THIS_MODULE);
	kref_get(&dev->refs);
	scoped_guard(mutex, &dev->ctx_lock)
		list_add_tail(&ctx->link, &dev->contexts);
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

	dmirror_buffers_release(ctx);
	/*
	 * Runs that are left were cancelled.  Do not wait for them: one may be
	 * in a CPU fault that ends only when this process closes its next file
	 * (userfaultfd).
	 */
	if (refcount_dec_and_test(&ctx->refs))
		dmirror_ctx_destroy(ctx);
	return 0;
}

const struct file_operations dmirror_fops = {
	.owner = THIS_MODULE,
	.open = dmirror_open,
	.release = dmirror_release,
	.unlocked_ioctl = dmirror_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};
