// SPDX-License-Identifier: GPL-2.0
/* The smallest complete driver on the HMM toolbox, explained in driver-guide.rst. */
#include <linux/hmm/devmem.h>
#include <linux/hmm/migrate.h>
#include <linux/hmm/mirror.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "device.h"

static struct hmm_devmem *sample_devmem;

struct sample_vm {			/* an open file */
	struct hmm_mirror mirror;
	struct sample_space space;
};

#define to_space(m) (&container_of(m, struct sample_vm, mirror)->space)

static u64 sample_address(struct page *page)
{
	if (is_device_private_page(page))
		return SAMPLE_LOCAL | hmm_devmem_offset(sample_devmem, page_to_pfn(page));
	return page_to_phys(page);
}

static int sample_copy(struct hmm_devmem *devmem, struct hmm_devmem_batch *batch)
{
	struct hmm_devmem_copy *copy = batch->pages;

	for (; copy < batch->pages + batch->nr; copy++, cond_resched())
		sample_device_copy(sample_address(copy->dst),
				   copy->src ? sample_address(copy->src) : SAMPLE_ZEROES,
				   PAGE_SIZE << copy->order);
	hmm_devmem_batch_done(batch, 0);
	return 0;
}

static const struct hmm_devmem_ops sample_devmem_ops = {
	.copy = sample_copy,
	.clear = sample_copy,		/* without sources */
};

static int sample_prepare(struct hmm_mirror *mirror, unsigned long start,
			  unsigned long end)
{
	return sample_space_alloc(to_space(mirror), start);
}

static int sample_map(struct hmm_mirror *mirror,
		      const struct hmm_mirror_entry *entries, unsigned int nr)
{
	for (; nr; nr--, entries++)
		sample_space_set(to_space(mirror), entries->addr,
				 sample_address(pfn_to_page(entries->pfn)),
				 entries->flags & HMM_MIRROR_WRITE);
	return 0;
}

static bool sample_invalidate(struct hmm_mirror *mirror, unsigned long start,
			      unsigned long end, bool nonblock)
{
	sample_space_clear(to_space(mirror), start, end);
	sample_space_flush(to_space(mirror));
	return true;
}

static const struct hmm_mirror_ops sample_mirror_ops = {
	.prepare = sample_prepare,
	.map = sample_map,
	.invalidate = sample_invalidate,
};

static long sample_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct sample_vm *vm = file->private_data;
	struct hmm_sample_add add;
	int err = 0;

	if (cmd != HMM_SAMPLE_ADD)
		return -ENOTTY;
	if (current->mm != hmm_mirror_mm(&vm->mirror))
		return -EPERM;
	if (copy_from_user(&add, (void __user *)arg, sizeof(add)))
		return -EFAULT;
	if (!sample_add_valid(&add))
		return -EINVAL;

	/* What does not move is used where it is. */
	if (add.flags & HMM_SAMPLE_TO_DEVICE)
		hmm_migrate_to_device(sample_devmem, current->mm,
				      PAGE_ALIGN_DOWN(add.addr),
				      PAGE_ALIGN(add.addr + add.size), 1000, NULL);
	for (; !err && add.done < add.size; cond_resched()) {
		if (fatal_signal_pending(current))
			err = -EINTR;
		else if (!sample_device_add(&vm->space, &add))
			err = hmm_mirror_fault(&vm->mirror, add.addr + add.done,
					       add.value ? HMM_MIRROR_WRITE : 0);
	}
	return copy_to_user((void __user *)arg, &add, sizeof(add)) ? -EFAULT : err;
}

static int sample_open(struct inode *inode, struct file *file)
{
	const struct hmm_mirror_desc desc = {
		.ops = &sample_mirror_ops, .owner = &sample_devmem,
		.fault_around = SZ_64K,
	};
	struct sample_vm *vm = kzalloc_obj(*vm, GFP_KERNEL_ACCOUNT);
	int err;

	if (!vm)
		return -ENOMEM;
	sample_space_init(&vm->space);
	file->private_data = vm;
	err = hmm_mirror_register(&vm->mirror, current->mm, &desc);
	if (err)
		kfree(vm);
	return err;
}

/* Each ioctl holds the file: none is left. */
static int sample_release(struct inode *inode, struct file *file)
{
	struct sample_vm *vm = file->private_data;

	hmm_mirror_unregister(&vm->mirror);
	sample_space_destroy(&vm->space);
	kfree(vm);
	return 0;
}

static const struct file_operations sample_fops = {
	.owner = THIS_MODULE,
	.open = sample_open,
	.release = sample_release,
	.unlocked_ioctl = sample_ioctl,
};

static struct miscdevice sample_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "hmm_sample",
	.fops = &sample_fops,
};

static int __init sample_init(void)
{
	const struct hmm_devmem_desc desc = {
		.ops = &sample_devmem_ops, .owner = &sample_devmem,
		.name = "hmm_sample", .nid = NUMA_NO_NODE,
	};
	int err;

	sample_devmem = hmm_devmem_add(&desc, SAMPLE_MEMORY_SIZE);
	if (IS_ERR(sample_devmem))
		return PTR_ERR(sample_devmem);
	err = misc_register(&sample_misc);
	if (err)
		hmm_devmem_remove(sample_devmem, 0, NULL);
	return err;
}

/* No file is open, but memory of processes may still lie on the device. */
static void __exit sample_exit(void)
{
	misc_deregister(&sample_misc);
	if (hmm_devmem_remove(sample_devmem, 10000, NULL))
		pr_warn("hmm_sample: memory of processes was in use, and is lost\n");
}

module_init(sample_init);
module_exit(sample_exit);
MODULE_DESCRIPTION("The smallest complete driver on the HMM toolbox");
MODULE_LICENSE("GPL");
