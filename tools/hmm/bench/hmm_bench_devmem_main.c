// SPDX-License-Identifier: GPL-2.0
/*
 * Measuring module for device memory: times the HMM toolbox, where the kernel has
 * it, and the bare core calls that a driver without it makes.  See
 * hmm_bench_devmem.h.
 *
 * Meant for virtual time (QEMU -icount shift=0), where a nanosecond is an
 * instruction.
 */
#include <linux/fs.h>
#include <linux/log2.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "hmm_bench_devmem_kind.h"

/* What is measured */

static int bench_uses(struct bench_devmem *bd,
		      const struct hmm_bench_devmem_run *run, const u32 *uses,
		      u32 first, u32 end)
{
	bool compound = run->flags & HMM_BENCH_DEVMEM_COMPOUND;
	unsigned long size = bd->piece_pages << PAGE_SHIFT;
	int ret = 0;
	u32 i;

	for (i = first; i < end && !ret; i++) {
		ret = bd->kind->use(bd, &bd->pieces[uses[i]],
				    run->addr + uses[i] * size, compound);
		if (fatal_signal_pending(current))
			ret = -EINTR;
	}
	return ret;
}

static int bench_use(struct bench_devmem *bd, struct hmm_bench_devmem_run *run)
{
	unsigned long nr = (run->length >> PAGE_SHIFT) / bd->piece_pages;
	u32 *uses, i;
	u64 in, out;
	int ret = 0;

	if (bd->pieces)
		return -EBUSY;
	uses = vmemdup_array_user(u64_to_user_ptr(run->uses), run->nr_uses,
				  sizeof(*uses));
	if (IS_ERR(uses))
		return PTR_ERR(uses);
	for (i = 0; i < run->nr_uses; i++)
		if (uses[i] >= nr)
			ret = -EINVAL;
	if (!ret) {
		bd->pieces = kvzalloc_objs(*bd->pieces, nr);
		bd->piece_of = kvzalloc_objs(*bd->piece_of, bd->nr_pages);
		if (!bd->pieces || !bd->piece_of)
			ret = -ENOMEM;
	}
	if (!ret)
		ret = bench_uses(bd, run, uses, 0, run->warm);
	if (!ret) {
		bd->kind->stats(bd, &in, &out);
		run->ns = ktime_get_ns();
		ret = bench_uses(bd, run, uses, run->warm, run->nr_uses);
		run->ns = ktime_get_ns() - run->ns;
		bd->kind->stats(bd, &run->in, &run->out);
		run->in -= in;
		run->out -= out;
	}
	kvfree(uses);
	return ret;
}

static int bench_move(struct bench_devmem *bd, struct hmm_bench_devmem_run *run)
{
	bool compound = run->flags & HMM_BENCH_DEVMEM_COMPOUND;
	unsigned long nr = run->length ? run->length >> PAGE_SHIFT : ULONG_MAX;
	u64 in, out;
	int ret;

	bd->kind->stats(bd, &in, &out);
	run->ns = ktime_get_ns();
	if (run->op == HMM_BENCH_DEVMEM_IN)
		ret = bd->kind->in(bd, run->addr, run->length, compound);
	else
		ret = bd->kind->evict(bd, nr);
	run->ns = ktime_get_ns() - run->ns;
	bd->kind->stats(bd, &run->in, &run->out);
	run->in -= in;
	run->out -= out;
	return ret;
}

static int bench_alloc(struct bench_devmem *bd, struct hmm_bench_devmem_run *run)
{
	unsigned long nr_pages = run->length >> PAGE_SHIFT;
	struct page **pages = kvzalloc_objs(*pages, nr_pages);
	long nr;

	if (!pages)
		return -ENOMEM;
	run->ns = ktime_get_ns();
	nr = bd->kind->alloc(bd, pages, nr_pages, run->flags);
	run->ns = ktime_get_ns() - run->ns;
	if (nr > 0) {
		run->ns_free = ktime_get_ns();
		bd->kind->free(bd, pages, nr);
		run->ns_free = ktime_get_ns() - run->ns_free;
	}
	kvfree(pages);
	return min(nr, 0L);
}

/* The file */

static bool bench_attach_ok(const struct hmm_bench_devmem_attach *attach)
{
	u64 most = attach->flags & HMM_BENCH_DEVMEM_STORAGE ?
		   HMM_BENCH_DEVMEM_MAX_STORAGE : HMM_BENCH_DEVMEM_MAX_SIZE;

	return (attach->kind == HMM_BENCH_DEVMEM_BARE ||
		attach->kind == HMM_BENCH_DEVMEM_TOOLBOX) &&
	       !(attach->flags & ~HMM_BENCH_DEVMEM_STORAGE) &&
	       attach->copy_ns <= HMM_BENCH_DEVMEM_MAX_COPY_NS &&
	       !(attach->copy_ns && attach->flags) &&
	       attach->size && attach->size <= most &&
	       IS_ALIGNED(attach->size, HMM_BENCH_DEVMEM_UNIT) &&
	       is_power_of_2(attach->piece) && attach->piece >= PAGE_SIZE &&
	       attach->piece <= HMM_BENCH_DEVMEM_UNIT;
}

static bool bench_run_ok(const struct bench_devmem *bd,
			 const struct hmm_bench_devmem_run *run)
{
	u64 piece = (u64)bd->piece_pages << PAGE_SHIFT;

	if (run->flags & ~(HMM_BENCH_DEVMEM_COMPOUND | HMM_BENCH_DEVMEM_BATCH) ||
	    (run->flags & HMM_BENCH_DEVMEM_COMPOUND &&
	     piece != HMM_BENCH_DEVMEM_UNIT) ||
	    !IS_ALIGNED(run->addr | run->length, piece) ||
	    run->length > HMM_BENCH_DEVMEM_MAX_LENGTH ||
	    run->addr > TASK_SIZE - run->length)
		return false;
	if (run->op == HMM_BENCH_DEVMEM_ALLOC)
		return !run->addr && run->length && !run->uses &&
		       !run->nr_uses && !run->warm &&
		       run->length >> PAGE_SHIFT <= bd->nr_pages;
	if (run->flags & HMM_BENCH_DEVMEM_BATCH)
		return false;
	if (run->op == HMM_BENCH_DEVMEM_USE)
		return run->length && run->nr_uses &&
		       run->nr_uses <= HMM_BENCH_DEVMEM_MAX_USES &&
		       run->warm <= run->nr_uses;
	if (run->uses || run->nr_uses || run->warm)
		return false;
	switch (run->op) {
	case HMM_BENCH_DEVMEM_IN:
		return run->length;
	case HMM_BENCH_DEVMEM_EVICT:
		return !run->addr && !run->flags;
	default:
		return false;
	}
}

static const struct bench_devmem_kind *bench_kind(u32 kind)
{
	if (kind == HMM_BENCH_DEVMEM_BARE)
		return &bench_devmem_bare;
#if IS_ENABLED(CONFIG_HMM_HELPERS)
	return &bench_devmem_toolbox;
#else
	return NULL;
#endif
}

static int bench_attach(struct bench_devmem *bd,
			struct hmm_bench_devmem_attach *attach)
{
	const struct bench_devmem_kind *kind = bench_kind(attach->kind);
	int ret;

	if (!kind)
		return -EOPNOTSUPP;
	guard(mutex)(&bd->run_lock);
	if (bd->kind)
		return -EBUSY;
	if (attach->flags & HMM_BENCH_DEVMEM_STORAGE) {
		bd->storage = vzalloc(attach->size);
		if (!bd->storage)
			return -ENOMEM;
	}
	bd->nr_pages = attach->size >> PAGE_SHIFT;
	bd->piece_pages = attach->piece >> PAGE_SHIFT;
	bd->copy_ns = attach->copy_ns;
	ret = kind->attach(bd, &attach->ns);
	if (ret) {
		vfree(bd->storage);
		bd->storage = NULL;
		return ret;
	}
	bd->kind = kind;
	return 0;
}

static int bench_ioctl_attach(struct bench_devmem *bd, void __user *user)
{
	struct hmm_bench_devmem_attach attach;
	int ret;

	if (copy_from_user(&attach, user, sizeof(attach)))
		return -EFAULT;
	if (!bench_attach_ok(&attach))
		return -EINVAL;
	ret = bench_attach(bd, &attach);
	if (!ret && copy_to_user(user, &attach, sizeof(attach)))
		ret = -EFAULT;
	return ret;
}

static int bench_run_locked(struct bench_devmem *bd,
			    struct hmm_bench_devmem_run *run)
{
	guard(mutex)(&bd->run_lock);
	if (!bd->kind)
		return -ENXIO;
	if (!bench_run_ok(bd, run))
		return -EINVAL;
	run->ns_free = 0;
	run->in = 0;
	run->out = 0;
	if (run->op == HMM_BENCH_DEVMEM_USE)
		return bench_use(bd, run);
	if (run->op == HMM_BENCH_DEVMEM_ALLOC)
		return bench_alloc(bd, run);
	return bench_move(bd, run);
}

static int bench_ioctl_run(struct bench_devmem *bd, void __user *user)
{
	struct hmm_bench_devmem_run run;
	int ret;

	if (copy_from_user(&run, user, sizeof(run)))
		return -EFAULT;
	ret = bench_run_locked(bd, &run);
	if (!ret && copy_to_user(user, &run, sizeof(run)))
		ret = -EFAULT;
	return ret;
}

static long bench_ioctl(struct file *filp, unsigned int cmd, unsigned long arg)
{
	void __user *user = (void __user *)arg;

	switch (cmd) {
	case HMM_BENCH_DEVMEM_ATTACH:
		return bench_ioctl_attach(filp->private_data, user);
	case HMM_BENCH_DEVMEM_RUN:
		return bench_ioctl_run(filp->private_data, user);
	default:
		return -ENOTTY;
	}
}

static int bench_open(struct inode *inode, struct file *filp)
{
	struct bench_devmem *bd = kzalloc_obj(*bd);

	if (!bd)
		return -ENOMEM;
	mutex_init(&bd->run_lock);
	filp->private_data = bd;
	return 0;
}

static int bench_release(struct inode *inode, struct file *filp)
{
	struct bench_devmem *bd = filp->private_data;

	if (bd->kind)
		bd->kind->detach(bd);
	kvfree(bd->piece_of);
	kvfree(bd->pieces);
	vfree(bd->storage);
	mutex_destroy(&bd->run_lock);
	kfree(bd);
	return 0;
}

static const struct file_operations bench_fops = {
	.owner = THIS_MODULE,
	.open = bench_open,
	.release = bench_release,
	.unlocked_ioctl = bench_ioctl,
};

static struct miscdevice bench_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "hmm_bench_devmem",
	.fops = &bench_fops,
	.mode = 0600,
};

module_misc_device(bench_misc);
MODULE_DESCRIPTION("Times device memory of the HMM toolbox and without it");
MODULE_LICENSE("GPL");
