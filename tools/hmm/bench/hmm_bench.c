// SPDX-License-Identifier: GPL-2.0
/*
 * Neutral measuring module: times the exported HMM and migration functions of
 * the kernel it is loaded into, and nothing of its own.  See hmm_bench.h.
 *
 * Meant for virtual time (QEMU -icount shift=0), where a nanosecond is an
 * instruction.  Only for measuring: migrated memory loses its content.
 */
#include <linux/bitmap.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/hmm.h>
#include <linux/huge_mm.h>
#include <linux/io.h>
#include <linux/ioport.h>
#include <linux/memremap.h>
#include <linux/migrate.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <linux/uaccess.h>
#include <linux/vmstat.h>

#include "hmm_bench.h"

#ifndef CONFIG_DEBUG_TLBFLUSH
#error "hmm_bench counts TLB flushes: build the kernel with CONFIG_DEBUG_TLBFLUSH"
#endif

#define BENCH_DEVMEM_SIZE	HMM_BENCH_HOTPLUG_UNIT
#define BENCH_DEVMEM_PAGES	(BENCH_DEVMEM_SIZE >> PAGE_SHIFT)
#define BENCH_MAX_PAGES		(HMM_BENCH_MAX_LENGTH >> PAGE_SHIFT)

/* One open file: a mirror of the opener's whole address space. */
struct bench_file {
	struct mmu_interval_notifier notifier;
	spinlock_t lock;		/* the notifiers' sequence numbers */
	struct mutex run_lock;		/* one operation at a time; the rest */
	struct mmu_interval_notifier *small; /* those of HMM_BENCH_NOTIFIERS */
	unsigned long nr_small;
	unsigned long *pfns;		/* for hmm_range_fault() */
	unsigned long *src;		/* for migrate_vma_setup() */
	unsigned long *dst;
};

static struct dev_pagemap bench_pgmap;
static struct resource *bench_res;
static DECLARE_BITMAP(bench_used, BENCH_DEVMEM_PAGES);
static unsigned long bench_next;
static DEFINE_SPINLOCK(bench_used_lock);	/* bench_used, bench_next */

/* Device memory */

static struct page *bench_devmem_alloc(unsigned int order)
{
	unsigned long nr = 1UL << order, flags, bit;
	struct page *page;

	spin_lock_irqsave(&bench_used_lock, flags);
	bit = bitmap_find_next_zero_area(bench_used, BENCH_DEVMEM_PAGES,
					 bench_next, nr, nr - 1);
	if (bit >= BENCH_DEVMEM_PAGES)
		bit = bitmap_find_next_zero_area(bench_used, BENCH_DEVMEM_PAGES,
						 0, nr, nr - 1);
	if (bit < BENCH_DEVMEM_PAGES) {
		bitmap_set(bench_used, bit, nr);
		bench_next = bit + nr;
	}
	spin_unlock_irqrestore(&bench_used_lock, flags);
	if (bit >= BENCH_DEVMEM_PAGES)
		return NULL;

	page = pfn_to_page(PHYS_PFN(bench_pgmap.range.start) + bit);
	/* page_folio() would follow what a larger folio left in a free page */
	zone_device_page_init(page, &bench_pgmap, order);
	if (order)
		folio_set_large_rmappable(page_folio(page));
	return page;
}

static void bench_folio_free(struct folio *folio)
{
	unsigned long first = PHYS_PFN(bench_pgmap.range.start), flags;

	spin_lock_irqsave(&bench_used_lock, flags);
	bitmap_clear(bench_used, folio_pfn(folio) - first,
		     folio_nr_pages(folio));
	spin_unlock_irqrestore(&bench_used_lock, flags);
}

static struct page *bench_ram_alloc(unsigned int order)
{
	struct folio *folio;

	folio = folio_alloc(GFP_HIGHUSER_MOVABLE | __GFP_ZERO | __GFP_NOWARN,
			    order);
	if (!folio)
		return NULL;
	folio_lock(folio);
	return folio_page(folio, 0);
}

/*
 * Allocate a destination for each page that migrates.  What gets none stays
 * where it is.  Returns false if any did not.
 */
static bool bench_alloc_dst(const unsigned long *src, unsigned long *dst,
			    unsigned long npages,
			    struct page *(*alloc)(unsigned int order))
{
	unsigned long i, nr;
	bool all = true;

	for (i = 0; i < npages; i += nr) {
		struct page *page = migrate_pfn_to_page(src[i]);
		bool large = src[i] & MIGRATE_PFN_COMPOUND;
		unsigned int order;

		nr = 1;
		if (!page || !(src[i] & MIGRATE_PFN_MIGRATE))
			continue;

		order = large ? folio_order(page_folio(page)) : 0;
		nr = 1UL << order;
		page = alloc(order);
		if (!page) {
			all = false;
			continue;
		}
		dst[i] = migrate_pfn(page_to_pfn(page));
		if (order)
			dst[i] |= MIGRATE_PFN_COMPOUND;
	}
	return all;
}

static unsigned long bench_migrated(const unsigned long *src,
				    const unsigned long *dst,
				    unsigned long npages)
{
	unsigned long i, count = 0;

	for (i = 0; i < npages; i++) {
		struct page *page = migrate_pfn_to_page(dst[i]);

		if (page && (src[i] & MIGRATE_PFN_VALID) &&
		    (src[i] & MIGRATE_PFN_MIGRATE))
			count += folio_nr_pages(page_folio(page));
	}
	return count;
}

static vm_fault_t bench_migrate_to_ram(struct vm_fault *vmf)
{
	unsigned int order = vmf->pte ? 0 : folio_order(page_folio(vmf->page));
	unsigned long size = PAGE_SIZE << order;
	struct migrate_vma args = {
		.vma = vmf->vma,
		.start = ALIGN_DOWN(vmf->address, size),
		.pgmap_owner = &bench_pgmap,
		.flags = MIGRATE_VMA_SELECT_DEVICE_PRIVATE,
		.fault_page = vmf->page,
	};
	vm_fault_t ret = VM_FAULT_OOM;

	args.end = args.start + size;
	if (order)
		args.flags |= MIGRATE_VMA_SELECT_COMPOUND;
	args.src = kcalloc(1UL << order, sizeof(*args.src), GFP_KERNEL);
	args.dst = kcalloc(1UL << order, sizeof(*args.dst), GFP_KERNEL);
	if (!args.src || !args.dst)
		goto out;

	ret = VM_FAULT_SIGBUS;
	if (migrate_vma_setup(&args))
		goto out;
	ret = bench_alloc_dst(args.src, args.dst, args.npages,
			      bench_ram_alloc) ? 0 : VM_FAULT_OOM;
	migrate_vma_pages(&args);
	migrate_vma_finalize(&args);
out:
	kfree(args.dst);
	kfree(args.src);
	return ret;
}

static const struct dev_pagemap_ops bench_pgmap_ops = {
	.folio_free = bench_folio_free,
	.migrate_to_ram = bench_migrate_to_ram,
};

/* Empty the device memory, so that no process keeps the module from going. */
static void bench_evict(unsigned long *src, unsigned long *dst)
{
	unsigned long first = PHYS_PFN(bench_pgmap.range.start), i;

	for (i = 0; i < BENCH_DEVMEM_PAGES; i += BENCH_MAX_PAGES) {
		memset(src, 0, BENCH_MAX_PAGES * sizeof(*src));
		memset(dst, 0, BENCH_MAX_PAGES * sizeof(*dst));
		migrate_device_range(src, first + i, BENCH_MAX_PAGES);
		bench_alloc_dst(src, dst, BENCH_MAX_PAGES, bench_ram_alloc);
		migrate_device_pages(src, dst, BENCH_MAX_PAGES);
		migrate_device_finalize(src, dst, BENCH_MAX_PAGES);
	}
}

/* Notifiers */

static bool bench_invalidate(struct mmu_interval_notifier *notifier,
			     const struct mmu_notifier_range *range,
			     unsigned long cur_seq)
{
	struct bench_file *file = container_of(notifier, struct bench_file,
					       notifier);

	spin_lock(&file->lock);
	mmu_interval_set_seq(notifier, cur_seq);
	spin_unlock(&file->lock);
	return true;
}

/* Nothing is mapped under these, so nobody waits for their lock. */
static bool bench_small_invalidate(struct mmu_interval_notifier *notifier,
				   const struct mmu_notifier_range *range,
				   unsigned long cur_seq)
{
	mmu_interval_set_seq(notifier, cur_seq);
	return true;
}

static const struct mmu_interval_notifier_ops bench_notifier_ops = {
	.invalidate = bench_invalidate,
};

static const struct mmu_interval_notifier_ops bench_small_ops = {
	.invalidate = bench_small_invalidate,
};

static void bench_notifiers_remove(struct bench_file *file)
{
	while (file->nr_small)
		mmu_interval_notifier_remove(&file->small[--file->nr_small]);
	kvfree(file->small);
	file->small = NULL;
}

static int bench_notifiers(struct bench_file *file, struct hmm_bench_run *run)
{
	unsigned long nr = run->length >> PAGE_SHIFT, i;
	int ret;

	bench_notifiers_remove(file);
	if (!nr)
		return 0;

	file->small = kvcalloc(nr, sizeof(*file->small), GFP_KERNEL);
	if (!file->small)
		return -ENOMEM;
	for (i = 0; i < nr; i++) {
		ret = mmu_interval_notifier_insert(&file->small[i],
						   file->notifier.mm,
						   run->addr + i * PAGE_SIZE,
						   PAGE_SIZE, &bench_small_ops);
		if (ret) {
			bench_notifiers_remove(file);
			return ret;
		}
		file->nr_small++;
	}
	run->pages = nr;
	return 0;
}

/* What is measured */

static int bench_yardstick(struct hmm_bench_run *run)
{
	void __user *user = u64_to_user_ptr(run->addr);
	void *page[2];
	int ret = -ENOMEM;
	u64 start, i;

	page[0] = (void *)__get_free_page(GFP_KERNEL | __GFP_ZERO);
	page[1] = (void *)__get_free_page(GFP_KERNEL | __GFP_ZERO);
	if (!page[0] || !page[1])
		goto out;

	ret = -EFAULT;
	start = ktime_get_ns();
	for (i = 0; i < run->length; i++) {
		switch (run->op) {
		case HMM_BENCH_CLEAR:
			clear_page(page[0]);
			break;
		case HMM_BENCH_COPY:
			copy_page(page[0], page[1]);
			break;
		case HMM_BENCH_MEMCPY:
			memcpy(page[0], page[1], PAGE_SIZE);
			barrier_data(page[0]);
			break;
		default:
			if (copy_to_user(user, page[0], PAGE_SIZE))
				goto out;
			break;
		}
	}
	run->ns[HMM_BENCH_NS] = ktime_get_ns() - start;
	run->pages = run->length;
	ret = 0;
out:
	free_page((unsigned long)page[1]);
	free_page((unsigned long)page[0]);
	return ret;
}

static int bench_range_fault(struct bench_file *file, struct hmm_bench_run *run)
{
	struct hmm_range range = {
		.notifier = &file->notifier,
		.start = run->addr,
		.end = run->addr + run->length,
		.hmm_pfns = file->pfns,
		.dev_private_owner = &bench_pgmap,
	};
	unsigned long nr = run->length >> PAGE_SHIFT, i;
	struct mm_struct *mm = file->notifier.mm;
	u64 start;
	int ret;

	if (run->op == HMM_BENCH_FAULT)
		range.default_flags = HMM_PFN_REQ_FAULT;
	if (run->flags & HMM_BENCH_WRITE)
		range.default_flags |= HMM_PFN_REQ_WRITE;
	memset(file->pfns, 0, nr * sizeof(*file->pfns));

	start = ktime_get_ns();
	do {
		range.notifier_seq = mmu_interval_read_begin(range.notifier);
		mmap_read_lock(mm);
		ret = hmm_range_fault(&range);
		mmap_read_unlock(mm);
		run->walks++;
	} while (ret == -EBUSY && !fatal_signal_pending(current));
	run->ns[HMM_BENCH_NS] = ktime_get_ns() - start;
	if (ret)
		return ret == -EBUSY ? -EINTR : ret;

	for (i = 0; i < nr; i++)
		if (file->pfns[i] & HMM_PFN_VALID)
			run->pages++;
	return 0;
}

static int bench_migrate(struct bench_file *file, struct hmm_bench_run *run)
{
	bool to_device = run->op == HMM_BENCH_TO_DEVICE;
	struct mm_struct *mm = file->notifier.mm;
	struct migrate_vma args = {
		.start = run->addr,
		.end = run->addr + run->length,
		.src = file->src,
		.dst = file->dst,
		.pgmap_owner = &bench_pgmap,
		.flags = to_device ? MIGRATE_VMA_SELECT_SYSTEM :
				     MIGRATE_VMA_SELECT_DEVICE_PRIVATE,
	};
	u64 start, setup, pages, copied, finalize;
	bool all;
	int ret;

	if (run->flags & HMM_BENCH_COMPOUND)
		args.flags |= MIGRATE_VMA_SELECT_COMPOUND;

	mmap_read_lock(mm);
	args.vma = vma_lookup(mm, args.start);
	if (!args.vma || args.end > args.vma->vm_end) {
		mmap_read_unlock(mm);
		return -EFAULT;
	}

	start = ktime_get_ns();
	ret = migrate_vma_setup(&args);
	setup = ktime_get_ns();
	if (ret) {
		mmap_read_unlock(mm);
		return ret;
	}

	all = bench_alloc_dst(args.src, args.dst, args.npages,
			      to_device ? bench_devmem_alloc : bench_ram_alloc);

	copied = ktime_get_ns();
	migrate_vma_pages(&args);
	pages = ktime_get_ns();
	run->pages = bench_migrated(args.src, args.dst, args.npages);
	finalize = ktime_get_ns();
	migrate_vma_finalize(&args);
	run->ns[HMM_BENCH_NS_FINALIZE] = ktime_get_ns() - finalize;
	run->ns[HMM_BENCH_NS_PAGES] = pages - copied;
	run->ns[HMM_BENCH_NS_SETUP] = setup - start;
	mmap_read_unlock(mm);

	if (!all)
		return to_device ? -ENOSPC : -ENOMEM;
	return 0;
}

static struct resource *bench_map(struct dev_pagemap *pgmap, u64 size, u64 *ns)
{
	struct resource *res;
	void *addr;
	u64 start;

	res = request_free_mem_region(&iomem_resource, size, "hmm_bench");
	if (IS_ERR(res))
		return res;

	pgmap->type = MEMORY_DEVICE_PRIVATE;
	pgmap->range.start = res->start;
	pgmap->range.end = res->end;
	pgmap->nr_range = 1;
	pgmap->ops = &bench_pgmap_ops;
	pgmap->owner = &bench_pgmap;

	start = ktime_get_ns();
	addr = memremap_pages(pgmap, numa_mem_id());
	*ns = ktime_get_ns() - start;
	if (IS_ERR(addr)) {
		release_mem_region(res->start, resource_size(res));
		return addr;
	}
	return res;
}

static u64 bench_unmap(struct dev_pagemap *pgmap, struct resource *res)
{
	u64 start = ktime_get_ns(), ns;

	memunmap_pages(pgmap);
	ns = ktime_get_ns() - start;
	release_mem_region(res->start, resource_size(res));
	return ns;
}

static int bench_hotplug(struct hmm_bench_run *run)
{
	struct dev_pagemap *pgmap;
	struct resource *res;

	pgmap = kzalloc_obj(*pgmap);
	if (!pgmap)
		return -ENOMEM;
	res = bench_map(pgmap, run->length, &run->ns[HMM_BENCH_NS_ADD]);
	if (!IS_ERR(res)) {
		run->ns[HMM_BENCH_NS_REMOVE] = bench_unmap(pgmap, res);
		run->pages = run->length >> PAGE_SHIFT;
	}
	kfree(pgmap);
	return PTR_ERR_OR_ZERO(res);
}

/* The file */

/* A range of user memory whose pages the file's arrays can hold. */
static bool bench_range_ok(const struct hmm_bench_run *run)
{
	return PAGE_ALIGNED(run->addr) && PAGE_ALIGNED(run->length) &&
	       run->length <= HMM_BENCH_MAX_LENGTH &&
	       run->addr <= TASK_SIZE - run->length;
}

static bool bench_run_ok(const struct hmm_bench_run *run)
{
	switch (run->op) {
	case HMM_BENCH_CLEAR:
	case HMM_BENCH_COPY:
	case HMM_BENCH_MEMCPY:
		return !run->flags && !run->addr && run->length &&
		       run->length <= HMM_BENCH_MAX_LOOPS;
	case HMM_BENCH_TO_USER:
		return !run->flags && PAGE_ALIGNED(run->addr) && run->length &&
		       run->length <= HMM_BENCH_MAX_LOOPS;
	case HMM_BENCH_SNAPSHOT:
		return !run->flags && run->length && bench_range_ok(run);
	case HMM_BENCH_FAULT:
		return !(run->flags & ~HMM_BENCH_WRITE) && run->length &&
		       bench_range_ok(run);
	case HMM_BENCH_TO_DEVICE:
	case HMM_BENCH_TO_RAM:
		return !(run->flags & ~HMM_BENCH_COMPOUND) && run->length &&
		       bench_range_ok(run);
	case HMM_BENCH_NOTIFIERS:
		return !run->flags && bench_range_ok(run);
	case HMM_BENCH_HOTPLUG:
		return !run->flags && !run->addr && run->length &&
		       IS_ALIGNED(run->length, HMM_BENCH_HOTPLUG_UNIT) &&
		       run->length <= HMM_BENCH_MAX_HOTPLUG;
	default:
		return false;
	}
}

static int bench_run(struct bench_file *file, struct hmm_bench_run *run)
{
	switch (run->op) {
	case HMM_BENCH_SNAPSHOT:
	case HMM_BENCH_FAULT:
		return bench_range_fault(file, run);
	case HMM_BENCH_TO_DEVICE:
	case HMM_BENCH_TO_RAM:
		return bench_migrate(file, run);
	case HMM_BENCH_NOTIFIERS:
		return bench_notifiers(file, run);
	case HMM_BENCH_HOTPLUG:
		return bench_hotplug(run);
	default:
		return bench_yardstick(run);
	}
}

static long bench_ioctl(struct file *filp, unsigned int cmd, unsigned long arg)
{
	struct bench_file *file = filp->private_data;
	void __user *user = (void __user *)arg;
	unsigned long *before, *after;
	struct hmm_bench_run run;
	int ret;

	if (cmd != HMM_BENCH_RUN)
		return -ENOTTY;
	if (current->mm != file->notifier.mm)
		return -EPERM;
	if (copy_from_user(&run, user, sizeof(run)))
		return -EFAULT;
	if (!bench_run_ok(&run))
		return -EINVAL;

	before = kcalloc(2 * NR_VM_EVENT_ITEMS, sizeof(*before), GFP_KERNEL);
	if (!before)
		return -ENOMEM;
	after = before + NR_VM_EVENT_ITEMS;

	memset(run.ns, 0, sizeof(run.ns));
	run.pages = 0;
	run.walks = 0;
	mutex_lock(&file->run_lock);
	all_vm_events(before);
	ret = bench_run(file, &run);
	all_vm_events(after);
	mutex_unlock(&file->run_lock);
	run.flush_local = after[NR_TLB_LOCAL_FLUSH_ALL] -
			  before[NR_TLB_LOCAL_FLUSH_ALL] +
			  after[NR_TLB_LOCAL_FLUSH_ONE] -
			  before[NR_TLB_LOCAL_FLUSH_ONE];
	run.flush_remote = after[NR_TLB_REMOTE_FLUSH] -
			   before[NR_TLB_REMOTE_FLUSH];
	kfree(before);

	if (!ret && copy_to_user(user, &run, sizeof(run)))
		ret = -EFAULT;
	return ret;
}

static void bench_file_free(struct bench_file *file)
{
	kvfree(file->dst);
	kvfree(file->src);
	kvfree(file->pfns);
	kfree(file);
}

static int bench_open(struct inode *inode, struct file *filp)
{
	struct bench_file *file;
	int ret = -ENOMEM;

	file = kzalloc_obj(*file);
	if (!file)
		return -ENOMEM;
	spin_lock_init(&file->lock);
	mutex_init(&file->run_lock);
	file->pfns = kvcalloc(BENCH_MAX_PAGES, sizeof(*file->pfns), GFP_KERNEL);
	file->src = kvcalloc(BENCH_MAX_PAGES, sizeof(*file->src), GFP_KERNEL);
	file->dst = kvcalloc(BENCH_MAX_PAGES, sizeof(*file->dst), GFP_KERNEL);
	if (!file->pfns || !file->src || !file->dst)
		goto err;

	ret = mmu_interval_notifier_insert(&file->notifier, current->mm, 0,
					   ULONG_MAX & PAGE_MASK,
					   &bench_notifier_ops);
	if (ret)
		goto err;
	filp->private_data = file;
	return 0;
err:
	bench_file_free(file);
	return ret;
}

static int bench_release(struct inode *inode, struct file *filp)
{
	struct bench_file *file = filp->private_data;

	bench_notifiers_remove(file);
	mmu_interval_notifier_remove(&file->notifier);
	bench_evict(file->src, file->dst);
	bench_file_free(file);
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
	.name = "hmm_bench",
	.fops = &bench_fops,
	.mode = 0600,
};

static int __init bench_init(void)
{
	u64 ns;
	int ret;

	bench_res = bench_map(&bench_pgmap, BENCH_DEVMEM_SIZE, &ns);
	if (IS_ERR(bench_res))
		return PTR_ERR(bench_res);
	ret = misc_register(&bench_misc);
	if (ret)
		bench_unmap(&bench_pgmap, bench_res);
	return ret;
}

static void __exit bench_exit(void)
{
	misc_deregister(&bench_misc);
	bench_unmap(&bench_pgmap, bench_res);
}

module_init(bench_init);
module_exit(bench_exit);
MODULE_DESCRIPTION("Times the HMM and migration functions of the kernel");
MODULE_LICENSE("GPL");
