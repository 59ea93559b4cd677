// SPDX-License-Identifier: GPL-2.0
/*
 * Migration of process memory to device memory and back.
 *
 * Every way takes the same steps: the core collects, locks and unmaps source
 * pages (migrate_vma_setup() or migrate_device_range()), destination pages are
 * chosen, the device copies, and only what was copied is committed.  An entry
 * whose destination is 0 goes back to its source.
 */
#include <linux/export.h>
#include <linux/fs.h>
#include <linux/hmm/migrate.h>
#include <linux/hugetlb.h>
#include <linux/jiffies.h>
#include <linux/migrate.h>
#include <linux/mmap_lock.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "internal.h"

/* A CPU fault brings back what lies beside the faulting page, too. */
#define HMM_CPU_FAULT_AROUND	SZ_64K

struct hmm_migration *hmm_migration_alloc(unsigned long nr)
{
	struct hmm_migration *m;

	m = kvzalloc(sizeof(*m) + nr * (4 * sizeof(*m->src) +
					sizeof(*m->reserved) +
					2 * sizeof(*m->copies)), GFP_KERNEL);
	if (!m)
		return NULL;
	m->max = nr;
	m->src = (unsigned long *)(m + 1);
	m->dst = m->src + 2 * nr;
	m->copies = (struct hmm_devmem_copy *)(m->dst + 2 * nr);
	m->clears = m->copies + nr;
	m->reserved = (struct page **)(m->clears + nr);
	return m;
}

/* Add up a step; what is neither moved nor filled was left. */
static void hmm_migrate_account(struct hmm_migrate_result *result,
				unsigned long moved, unsigned long filled,
				unsigned long nr)
{
	result->moved += moved;
	result->filled += filled;
	result->left += nr - moved - filled;
}

static void hmm_batch_init(struct hmm_devmem_batch *batch,
			   enum dma_data_direction direction,
			   struct hmm_devmem_copy *pages, unsigned int nr)
{
	batch->direction = direction;
	batch->pages = pages;
	batch->nr = nr;
	batch->status = 0;
	init_completion(&batch->done);
}

static int hmm_batch_error(int err)
{
	return !err || err == -ENOMEM ? err : -EIO;
}

static int hmm_batch_wait(struct hmm_devmem_batch *batch, int err)
{
	if (!err) {
		wait_for_completion(&batch->done);
		err = batch->status;
	}
	return hmm_batch_error(err);
}

/*
 * migrate_vma_setup() on at most one page table.  Entries past the step are the
 * core's second go at a range that lost its page table (see struct
 * hmm_migration); they hold no page and are dropped.
 */
static int hmm_migrate_collect(struct hmm_migration *m, struct migrate_vma *args)
{
	unsigned long i, nr = (args->end - args->start) >> PAGE_SHIFT;
	int ret;

	args->src = m->src;
	args->dst = m->dst;
	m->nr_copies = 0;
	m->nr_clears = 0;

	ret = migrate_vma_setup(args);
	if (ret)
		return ret;
	for (i = nr; i < args->npages; i++)
		m->src[i] = 0;
	args->npages = min(args->npages, nr);
	args->end = args->start + (args->npages << PAGE_SHIFT);
	return 0;
}

/* Give up on a destination: the source page stays. */
static void hmm_migrate_drop_dst(struct hmm_migration *m, unsigned long i)
{
	struct page *page = migrate_pfn_to_page(m->dst[i]);

	m->dst[i] = 0;
	unlock_page(page);
	put_page(page);
}

static bool hmm_migrate_committed(struct hmm_migration *m, unsigned long i)
{
	return m->dst[i] && (m->src[i] & MIGRATE_PFN_MIGRATE);
}

/*
 * Choose destinations in device memory.  Returns how many of the step's first
 * pages are settled, less than @npages if @missing more would have been needed.
 */
static unsigned long hmm_migrate_choose_device(struct hmm_migration *m,
					       unsigned long npages,
					       unsigned int nr_reserved,
					       unsigned long *missing)
{
	unsigned long settled = npages, i;
	unsigned int taken = 0;

	*missing = 0;

	for (i = 0; i < npages; i++) {
		struct page *src = migrate_pfn_to_page(m->src[i]);
		struct page *dst;

		if (!(m->src[i] & MIGRATE_PFN_MIGRATE))
			continue;
		/*
		 * The core refuses file pages after the copy: spare it.  KSM
		 * reads its pages with the CPU, the core does not mind.
		 */
		if (src && (!folio_test_anon(page_folio(src)) ||
			    folio_test_ksm(page_folio(src))))
			continue;
		if (taken == nr_reserved) {
			settled = min(settled, i);
			++*missing;
			continue;
		}
		dst = m->reserved[taken++];
		m->dst[i] = migrate_pfn(page_to_pfn(dst));
		if (src)
			m->copies[m->nr_copies++] = (struct hmm_devmem_copy){
				.dst = dst, .src = src };
		else
			m->clears[m->nr_clears++] = (struct hmm_devmem_copy){
				.dst = dst };
	}

	hmm_devmem_free_pages(m->reserved + taken, nr_reserved - taken);
	return settled;
}

/* Copy and clear at the same time; drop the destinations that failed. */
static int hmm_migrate_fill_device(struct hmm_devmem *devmem,
				   struct hmm_migration *m, unsigned long npages)
{
	const struct hmm_devmem_ops *ops = devmem->desc.ops;
	struct hmm_devmem_batch copy, clear;
	int copy_err = 0, clear_err = 0;
	unsigned long i, failed = 0;

	hmm_batch_init(&copy, DMA_TO_DEVICE, m->copies, m->nr_copies);
	hmm_batch_init(&clear, DMA_TO_DEVICE, m->clears, m->nr_clears);

	if (m->nr_copies)
		copy_err = ops->copy(devmem, &copy);
	if (m->nr_clears)
		clear_err = ops->clear(devmem, &clear);
	if (m->nr_copies)
		copy_err = hmm_batch_wait(&copy, copy_err);
	if (m->nr_clears)
		clear_err = hmm_batch_wait(&clear, clear_err);

	if (!copy_err && !clear_err)
		return 0;

	for (i = 0; i < npages; i++) {
		bool has_src = migrate_pfn_to_page(m->src[i]);

		if (m->dst[i] && (has_src ? copy_err : clear_err)) {
			hmm_migrate_drop_dst(m, i);
			failed++;
		}
	}
	if (copy_err == -EIO || clear_err == -EIO)
		atomic64_add(failed, &devmem->failed);
	return copy_err ? copy_err : clear_err;
}

/* Note that the committed pages are the device's; their blocks are in use. */
static void hmm_migrate_book_device(struct hmm_devmem *devmem,
				    struct hmm_migration *m,
				    unsigned long npages, unsigned long *moved,
				    unsigned long *filled)
{
	unsigned long i, last_block = ULONG_MAX;

	for (i = 0; i < npages; i++) {
		unsigned long index;

		if (!hmm_migrate_committed(m, i))
			continue;
		index = hmm_devmem_index(devmem, migrate_pfn_to_page(m->dst[i]));
		set_bit(index, devmem->resident);
		if (index / HMM_DEVMEM_BLOCK_PAGES != last_block)
			hmm_devmem_touch_index(devmem, index);
		last_block = index / HMM_DEVMEM_BLOCK_PAGES;
		if (migrate_pfn_to_page(m->src[i]))
			++*moved;
		else
			++*filled;
	}
	atomic64_add(*moved + *filled, &devmem->migrated_in);
}

/*
 * One step of at most one page table and within one VMA.  &migrate_vma.end is how
 * far it came, for want of room not to the end; @missing: if pages of others were
 * evicted, how many would do.
 */
static int hmm_migrate_step_to_device(struct hmm_devmem *devmem,
				      struct hmm_migration *m,
				      struct migrate_vma *args,
				      struct hmm_migrate_result *result,
				      unsigned long *missing)
{
	unsigned long nr = (args->end - args->start) >> PAGE_SHIFT;
	unsigned long moved = 0, filled = 0, end = args->end, settled;
	unsigned int nr_reserved;
	int err, no_more, ret = 0;

	args->flags = MIGRATE_VMA_SELECT_SYSTEM;

	if (hmm_migrate_collect(m, args)) {
		/* A VMA that the core does not migrate: left. */
		hmm_migrate_account(result, 0, 0, nr);
		args->end = end;
		return 0;
	}

	/*
	 * Now that it is known how many are needed: frames kept by those who
	 * need none would be missing elsewhere.
	 */
	nr_reserved = hmm_devmem_alloc_pages(devmem,
					     min(args->cpages, args->npages),
					     m->reserved, &no_more);

	settled = hmm_migrate_choose_device(m, args->npages, nr_reserved,
					    missing);
	if (*missing)
		ret = no_more ? no_more : -ENOSPC;
	err = hmm_migrate_fill_device(devmem, m, args->npages);
	if (err)
		ret = err;

	migrate_vma_pages(args);
	hmm_migrate_book_device(devmem, m, args->npages, &moved, &filled);
	migrate_vma_finalize(args);

	args->end = end;
	if (*missing) {
		nr = settled;
		args->end = args->start + (settled << PAGE_SHIFT);
	}
	/* What others have would not help. */
	if (no_more)
		*missing = 0;
	hmm_migrate_account(result, moved, filled, nr);
	return ret;
}

/*
 * May this device page be copied?  Not one that was reserved only or was moved
 * away just before it was locked, and not one that somebody else holds: the core
 * would refuse that one later, but only if it is held then, too, and it may be
 * written until it is let go.
 */
static bool hmm_migrate_src_ok(struct folio *src, struct folio *fault_folio)
{
	struct hmm_devmem *devmem = hmm_devmem_from_folio(src);

	return devmem &&
	       test_bit(hmm_devmem_index(devmem, &src->page), devmem->resident) &&
	       folio_ref_count(src) == folio_expected_ref_count(src) + 1 +
				       (src == fault_folio);
}

/*
 * Choose destinations in RAM for the device pages of @m.  With @args they are
 * allocated for their address, by its VMA's NUMA policy.
 * Return 0, or -ENOMEM if a page that was asked for did not get one.
 */
int hmm_migrate_choose_ram(struct hmm_migration *m, unsigned long npages,
			   const struct migrate_vma *args)
{
	struct folio *fault_folio = args && args->fault_page ?
				    page_folio(args->fault_page) : NULL;
	unsigned long i;
	int ret = 0;

	for (i = 0; i < npages; i++) {
		struct page *page = migrate_pfn_to_page(m->src[i]);
		gfp_t gfp = GFP_HIGHUSER_MOVABLE;
		struct folio *src, *dst;

		if (!page || !(m->src[i] & MIGRATE_PFN_MIGRATE))
			continue;
		src = page_folio(page);
		if (!hmm_migrate_src_ok(src, fault_folio))
			continue;
		/* Only the page that a CPU waits for is worth an OOM kill. */
		if (!fault_folio)
			gfp |= __GFP_RETRY_MAYFAIL | __GFP_NOWARN;
		else if (src != fault_folio)
			gfp |= __GFP_NORETRY | __GFP_NOWARN;
		if (args)
			dst = vma_alloc_folio(gfp, 0, args->vma,
					      args->start + (i << PAGE_SHIFT));
		else
			dst = folio_alloc(gfp, 0);
		if (!dst) {
			if (gfp & __GFP_NORETRY)
				continue;
			ret = -ENOMEM;
			break;
		}
		folio_lock(dst);
		m->dst[i] = migrate_pfn(folio_pfn(dst));
	}
	return ret;
}

/*
 * Copy device pages to their destinations in RAM, the pages of each devmem as
 * one job.  Drops the destinations that failed.
 */
int hmm_migrate_fill_ram(struct hmm_migration *m, unsigned long npages)
{
	unsigned long i = 0;
	int ret = 0;

	while (i < npages) {
		struct hmm_devmem *devmem = NULL;
		struct hmm_devmem_batch copy;
		unsigned long first, end;
		int idx, err = -EIO;

		m->nr_copies = 0;
		for (first = end = i; end < npages; end++) {
			struct page *src = migrate_pfn_to_page(m->src[end]);
			struct hmm_devmem *owner;

			if (!m->dst[end])
				continue;
			owner = hmm_devmem_from_folio(page_folio(src));
			if (m->nr_copies && owner != devmem)
				break;
			devmem = owner;
			m->copies[m->nr_copies++] = (struct hmm_devmem_copy){
				.dst = migrate_pfn_to_page(m->dst[end]),
				.src = src };
		}
		i = end;
		if (!m->nr_copies)
			break;

		if (hmm_devmem_enter(devmem, HMM_DEVMEM_DRAINING, &idx)) {
			hmm_batch_init(&copy, DMA_FROM_DEVICE, m->copies,
				       m->nr_copies);
			err = devmem->desc.ops->copy(devmem, &copy);
			err = hmm_batch_wait(&copy, err);
			if (err == -EIO)
				atomic64_add(m->nr_copies, &devmem->failed);
			hmm_devmem_leave(devmem, idx);
		}
		if (!err)
			continue;

		if (ret != -EIO)
			ret = err;
		for (; first < end; first++)
			if (m->dst[first])
				hmm_migrate_drop_dst(m, first);
	}
	return ret;
}

/* Book what was committed, for the caller and for each devmem. */
unsigned long hmm_migrate_book_ram(struct hmm_migration *m,
				   unsigned long npages)
{
	unsigned long i, moved = 0;

	for (i = 0; i < npages; i++) {
		struct page *src = migrate_pfn_to_page(m->src[i]);
		struct hmm_devmem *devmem;

		if (!src || !hmm_migrate_committed(m, i))
			continue;
		devmem = hmm_devmem_from_folio(page_folio(src));
		clear_bit(hmm_devmem_index(devmem, src), devmem->resident);
		atomic64_inc(&devmem->migrated_out);
		moved++;
	}
	return moved;
}

static int hmm_migrate_step_to_ram(struct hmm_migration *m,
				   struct migrate_vma *args,
				   struct hmm_migrate_result *result)
{
	unsigned long nr = (args->end - args->start) >> PAGE_SHIFT;
	unsigned long moved;
	int err, ret;

	args->flags = MIGRATE_VMA_SELECT_DEVICE_PRIVATE |
		      MIGRATE_VMA_SELECT_DEVICE_COHERENT;
	if (hmm_migrate_collect(m, args)) {
		hmm_migrate_account(result, 0, 0, nr);
		return 0;
	}

	ret = hmm_migrate_choose_ram(m, args->npages, args);
	err = hmm_migrate_fill_ram(m, args->npages);
	if (err)
		ret = err;

	migrate_vma_pages(args);
	moved = hmm_migrate_book_ram(m, args->npages);
	migrate_vma_finalize(args);

	hmm_migrate_account(result, moved, 0, nr);
	return ret;
}

/* May there be anonymous memory, which device memory can stand for? */
static bool hmm_migrate_vma_ok(struct vm_area_struct *vma)
{
	return (vma_is_anonymous(vma) || vma->anon_vma) &&
	       !is_vm_hugetlb_page(vma) && !vma_is_dax(vma) &&
	       !(vma->vm_flags & (VM_SPECIAL | VM_SHARED));
}

/*
 * Walk [start, end) step by step, each within a page table and a VMA, with
 * mmap_lock held for the step only: to @devmem, or if it is NULL to RAM, from
 * memory of @owner.
 */
static int hmm_migrate_range(struct hmm_devmem *devmem, struct mm_struct *mm,
			     void *owner, unsigned long start, unsigned long end,
			     unsigned int evict_timeout_ms,
			     struct hmm_migrate_result *result)
{
	u64 before = devmem ? hmm_devmem_clock(devmem) : 0;
	struct hmm_migration *m;
	unsigned long addr = start;
	int idx, ret = 0;

	memset(result, 0, sizeof(*result));
	if (start >= end || !PAGE_ALIGNED(start | end))
		return -EINVAL;

	result->left = (end - start) >> PAGE_SHIFT;
	m = hmm_migration_alloc(min(result->left, HMM_PMD_PAGES));
	if (!m)
		return -ENOMEM;
	if (!mmget_not_zero(mm)) {
		kvfree(m);
		return -ESRCH;
	}
	result->left = 0;

	while (addr < end) {
		unsigned long next = end, missing = 0;
		struct vm_area_struct *vma;
		int err;

		if (fatal_signal_pending(current)) {
			ret = -EINTR;
			break;
		}
		err = mmap_read_lock_killable(mm);
		if (err) {
			ret = err;
			break;
		}
		vma = find_vma(mm, addr);
		if (!vma || vma->vm_start > addr || !hmm_migrate_vma_ok(vma)) {
			if (vma)
				next = min(next, vma->vm_start > addr ?
						 vma->vm_start : vma->vm_end);
			hmm_migrate_account(result, 0, 0,
					    (next - addr) >> PAGE_SHIFT);
		} else {
			struct migrate_vma args = {
				.vma = vma,
				.start = addr,
				.end = min(vma->vm_end, pmd_addr_end(addr, end)),
				.pgmap_owner = owner,
			};

			next = args.end;
			if (!devmem) {
				err = hmm_migrate_step_to_ram(m, &args, result);
			} else if (hmm_devmem_enter(devmem, HMM_DEVMEM_LIVE,
						    &idx)) {
				err = hmm_migrate_step_to_device(devmem, m,
								 &args, result,
								 &missing);
				hmm_devmem_leave(devmem, idx);
				next = args.end;
			} else {
				next = addr;
				err = -ENODEV;
			}
		}
		mmap_read_unlock(mm);
		addr = next;
		if (missing && evict_timeout_ms &&
		    (err == -ENOSPC || err == -EIO)) {
			if (err == -EIO)
				ret = err;
			err = hmm_evict_for_room(devmem, missing, before,
						 evict_timeout_ms);
		}

		/* The device failed here; elsewhere it may not. */
		if (err)
			ret = err;
		if (err && err != -EIO)
			break;
		cond_resched();
	}

	hmm_migrate_account(result, 0, 0, (end - addr) >> PAGE_SHIFT);
	mmput(mm);
	kvfree(m);
	return ret;
}

/**
 * hmm_migrate_to_device() - move process memory into device memory
 * @devmem: destination
 * @mm: the process
 * @start: first byte, page aligned
 * @end: exclusive, page aligned
 * @evict_timeout_ms: how long to evict other pages, of whatever process, each time
 *	there is no room, in milliseconds; 0: evict none.  What was used since the
 *	call began is not evicted for it
 * @result: filled, after every error but -EINVAL too
 *
 * Moves anonymous memory that lies in RAM, and fills what has no memory yet with
 * cleared device memory.  Everything else is left: see struct
 * hmm_migrate_result.  Device page tables lose what they map of the range; the
 * next device fault maps it again.  Follows migrate_vma_setup() and
 * drm_pagemap_migrate_to_devmem().
 *
 * Context: process context, may sleep, takes mmap_lock for reading.
 * Return: 0 if all that can move did, or:
 * * -EINVAL - the range is empty or misaligned
 * * -ENOSPC - device memory or cgroup full, no room in time; the walk stopped there
 * * -EIO - the device failed to copy; the pages concerned were left
 * * -ENOMEM - RAM ran out; the walk stopped there
 * * -ENODEV - @devmem is being removed; the walk stopped there
 * * -EINTR - a fatal signal arrived; the walk stopped there
 * * -ESRCH - the process has exited
 */
int hmm_migrate_to_device(struct hmm_devmem *devmem, struct mm_struct *mm,
			  unsigned long start, unsigned long end,
			  unsigned int evict_timeout_ms,
			  struct hmm_migrate_result *result)
{
	return hmm_migrate_range(devmem, mm, devmem->desc.owner, start, end,
				 evict_timeout_ms, result);
}
EXPORT_SYMBOL_GPL(hmm_migrate_to_device);

/**
 * hmm_migrate_to_ram() - move process memory from device memory to RAM
 * @mm: the process
 * @owner: moves pages of device memory with this owner (struct hmm_devmem_desc)
 * @start: first byte, page aligned
 * @end: exclusive, page aligned
 * @result: filled, after every error but -EINVAL too
 *
 * Context: process context, may sleep, takes mmap_lock for reading.
 * Return: 0 if all that can move did, or:
 * * -EINVAL - the range is empty or misaligned, or @owner is NULL
 * * -ENOMEM - RAM ran out; the walk stopped there
 * * -EIO - the device failed to copy; the pages concerned were left
 * * -EINTR - a fatal signal arrived; the walk stopped there
 * * -ESRCH - the process has exited
 */
int hmm_migrate_to_ram(struct mm_struct *mm, void *owner, unsigned long start,
		       unsigned long end, struct hmm_migrate_result *result)
{
	if (!owner) {
		memset(result, 0, sizeof(*result));
		return -EINVAL;
	}
	return hmm_migrate_range(NULL, mm, owner, start, end, 0, result);
}
EXPORT_SYMBOL_GPL(hmm_migrate_to_ram);

/* Bring [start, end) around the faulting page back to RAM. */
static vm_fault_t hmm_migrate_fault_range(struct vm_fault *vmf,
					  unsigned long start, unsigned long end)
{
	unsigned long i = (vmf->address - start) >> PAGE_SHIFT;
	struct migrate_vma args = {
		.vma = vmf->vma,
		.start = start,
		.end = end,
		.pgmap_owner = page_pgmap(vmf->page)->owner,
		.flags = MIGRATE_VMA_SELECT_DEVICE_PRIVATE,
		.fault_page = vmf->page,
	};
	struct hmm_migration *m;
	int no_ram, copy_err;
	vm_fault_t ret = 0;
	bool copied;

	m = hmm_migration_alloc((end - start) >> PAGE_SHIFT);
	if (!m)
		return VM_FAULT_OOM;

	if (hmm_migrate_collect(m, &args)) {
		ret = VM_FAULT_SIGBUS;
		goto out;
	}

	no_ram = hmm_migrate_choose_ram(m, args.npages, &args);
	/* Not copied: the page is gone or held for a moment; fault again. */
	copied = i < args.npages && m->dst[i];
	copy_err = hmm_migrate_fill_ram(m, args.npages);
	if (no_ram || (copied && !m->dst[i] && copy_err == -ENOMEM))
		ret = VM_FAULT_OOM;
	else if (copied && !m->dst[i])
		ret = VM_FAULT_SIGBUS;

	migrate_vma_pages(&args);
	hmm_migrate_book_ram(m, args.npages);
	migrate_vma_finalize(&args);
out:
	kvfree(m);
	return ret;
}

/*
 * A CPU access to a private page, in whatever process maps it: the page says
 * which devmem it is in, the fault says which VMA.  do_swap_page() holds the
 * page's lock and a reference to it.
 */
vm_fault_t hmm_migrate_cpu_fault(struct vm_fault *vmf)
{
	struct hmm_devmem *devmem = hmm_devmem_from_folio(page_folio(vmf->page));
	unsigned long addr = vmf->address & PAGE_MASK;
	unsigned long start = ALIGN_DOWN(addr, HMM_CPU_FAULT_AROUND);
	unsigned long end = start + HMM_CPU_FAULT_AROUND;
	vm_fault_t ret;

	atomic64_inc(&devmem->cpu_faults);

	start = max(start, vmf->vma->vm_start);
	end = min(end, vmf->vma->vm_end);
	ret = hmm_migrate_fault_range(vmf, start, end);
	/* A neighbour may be the one that cannot be copied. */
	if (ret == VM_FAULT_SIGBUS)
		ret = hmm_migrate_fault_range(vmf, addr, addr + PAGE_SIZE);
	return ret;
}
