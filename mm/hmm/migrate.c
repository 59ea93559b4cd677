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

#include "migrate.h"

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

void hmm_migration_free(struct hmm_migration *m)
{
	if (m->huge)
		folio_put(m->huge);
	kvfree(m);
}

/* Add up a step; what is neither moved nor filled was left. */
void hmm_migrate_account(struct hmm_migrate_result *result, unsigned long moved,
			 unsigned long filled, unsigned long nr)
{
	result->moved += moved;
	result->filled += filled;
	result->left += nr - moved - filled;
}

void hmm_batch_init(struct hmm_devmem_batch *batch,
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

int hmm_batch_wait(struct hmm_devmem_batch *batch, int err)
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
 * hmm_migration); they hold no page and are dropped.  A huge entry that the second
 * go begins with stands for other addresses than its place says: it stays.
 */
int hmm_migrate_collect(struct hmm_migration *m, struct migrate_vma *args)
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
	for (i = 1; i < min(args->npages, nr); i++)
		if (m->src[i] & MIGRATE_PFN_COMPOUND)
			m->src[i] &= ~(MIGRATE_PFN_COMPOUND |
				       MIGRATE_PFN_MIGRATE);
	for (i = nr; i < args->npages; i++)
		m->src[i] = 0;
	args->npages = min(args->npages, nr);
	args->end = args->start + (args->npages << PAGE_SHIFT);
	return 0;
}

/* Give up on a destination: the source page stays. */
void hmm_migrate_drop_dst(struct hmm_migration *m, unsigned long i)
{
	struct page *page = migrate_pfn_to_page(m->dst[i]);

	m->dst[i] = 0;
	unlock_page(page);
	put_page(page);
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
		hmm_migration_free(m);
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
		if (missing && (evict_timeout_ms || devmem->sharing) &&
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
	hmm_migration_free(m);
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
 * * -EAGAIN - @devmem is about to lose power, see devmem.rst; the walk stopped there
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
