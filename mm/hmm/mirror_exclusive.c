// SPDX-License-Identifier: GPL-2.0
/*
 * Pages that only the device may access, for atomic operations of devices whose
 * bus has none.
 *
 * make_device_exclusive() invalidates the page on all devices, this one included,
 * so the sequence count cannot tell its own invalidation from another one's; the
 * piece counts the latter.  The CPU faults that it takes before, to split a huge
 * page, to copy one or to end an exclusive access, are among those: a second try
 * finds that all done.
 */
#include <linux/export.h>
#include <linux/mmap_lock.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/sched/signal.h>
#include <trace/events/hmm.h>

#include "mirror.h"

/* Map one page that the CPU page table maps writable. */
static int hmm_mirror_try_exclusive(struct hmm_mirror_piece *piece,
				    unsigned long addr, unsigned long deadline)
{
	struct hmm_mirror *mirror = piece->mirror;
	unsigned long foreign, seq;
	struct vm_area_struct *vma;
	struct folio *folio;
	struct page *page;
	int ret;

	/* Those that have been counted have ended when this has begun. */
	mutex_lock(&piece->update_lock);
	foreign = piece->foreign;
	mutex_unlock(&piece->update_lock);
	ret = hmm_mirror_begin(piece, hmm_mirror_time_left(deadline), &seq);
	if (ret)
		return ret;
	ret = mmap_read_lock_killable(mirror->mm);
	if (ret)
		return ret;
	vma = vma_lookup(mirror->mm, addr);
	if (vma && vma->vm_file && hmm_mirror_secret(vma->vm_file->f_mapping))
		page = ERR_PTR(-EOPNOTSUPP);
	else
		page = make_device_exclusive(mirror->mm, addr, mirror, &folio);
	if (IS_ERR(page)) {
		mmap_read_unlock(mirror->mm);
		ret = PTR_ERR(page);
		/* It was there a moment ago. */
		return ret == -EFAULT || ret == -EBUSY ? HMM_MIRROR_COLLIDED :
							 ret;
	}

	mutex_lock(&piece->update_lock);
	if (piece->foreign == foreign)
		ret = hmm_mirror_map_exclusive(piece, addr, page);
	else
		ret = HMM_MIRROR_COLLIDED;
	mutex_unlock(&piece->update_lock);
	folio_unlock(folio);
	folio_put(folio);
	mmap_read_unlock(mirror->mm);
	return ret;
}

static int hmm_mirror_exclusive_page(struct hmm_mirror_target *target,
				     unsigned long addr)
{
	struct hmm_mirror *mirror = target->mirror;
	unsigned long hmm_pfn, deadline = jiffies + mirror->timeout;
	unsigned int tries;
	int ret;

	ret = hmm_mirror_prepare(target, addr);
	if (ret)
		return ret;
	for (tries = 0; ; tries++) {
		/*
		 * First an ordinary fault, which may drop mmap_lock, says why
		 * there is nothing to access, and ends an exclusive access.
		 */
		hmm_pfn = 0;
		ret = hmm_mirror_fault_page_in(target, addr, true, NULL, deadline,
					       &hmm_pfn);
		if (!tries)
			deadline = jiffies + mirror->timeout;
		if (!ret)
			ret = hmm_mirror_try_exclusive(target->piece, addr,
						       deadline);
		if (ret == -ETIME)
			atomic64_inc(&mirror->timeouts);
		if (ret <= 0)
			return ret;

		atomic64_inc(ret == HMM_MIRROR_NO_DMA ? &mirror->dma_retries :
							&mirror->retries);
		trace_hmm_mirror_retry(mirror->id, addr,
				       ret == HMM_MIRROR_NO_DMA);
		if (fatal_signal_pending(current))
			return -EINTR;
		if (percpu_ref_is_dying(&mirror->users))
			return -ESHUTDOWN;
		if (time_after(jiffies, deadline)) {
			if (ret == HMM_MIRROR_NO_DMA)
				return -ENOMEM;
			atomic64_inc(&mirror->timeouts);
			return -ETIME;
		}
		if (ret == HMM_MIRROR_NO_DMA)
			schedule_timeout_killable(1);
		else
			cond_resched();
	}
}

/**
 * hmm_mirror_fault_exclusive() - give the device sole access to pages
 * @mirror: the mirror
 * @start: first byte, page aligned
 * @end: exclusive, page aligned
 * @nr_mapped: out, number of base pages that were handed to the map operation,
 *	counted from @start; written after every error but -EINVAL and -ERANGE
 *
 * Hands each page to the map operation with %HMM_MIRROR_EXCLUSIVE and
 * %HMM_MIRROR_WRITE, in RAM.  Until it is invalidated no CPU and no other device
 * can access it: a CPU access invalidates it first.  The pages become exclusive
 * one by one, and the first may be lost again when the last one is mapped.
 * Follows make_device_exclusive() and nouveau_atomic_range_fault().
 *
 * Context: as hmm_mirror_fault().
 * Return: 0 if all pages were mapped, or:
 * * -EINVAL - the range is empty or misaligned
 * * -ERANGE - the range is not within the mirror
 * * -EOPNOTSUPP - not anonymous memory, hugetlb, or no CONFIG_DEVICE_PRIVATE
 * * -EFAULT - there is nothing that the process itself could write
 * * -EPERM - the process may only read
 * * -ENOMEM, -ETIME, -EIO, -ESRCH, -ESHUTDOWN, -EINTR - see hmm_mirror_fault()
 * * what the prepare or the map operation returned
 */
int hmm_mirror_fault_exclusive(struct hmm_mirror *mirror, unsigned long start,
			       unsigned long end, unsigned long *nr_mapped)
{
	struct hmm_mirror_target target;
	unsigned long addr;
	int err;

	if (start >= end || !PAGE_ALIGNED(start | end))
		return -EINVAL;
	if (start < mirror->desc.start || end > mirror->desc.end)
		return -ERANGE;

	*nr_mapped = 0;
	if (!IS_ENABLED(CONFIG_DEVICE_PRIVATE))
		return -EOPNOTSUPP;
	err = hmm_mirror_enter(&target, mirror);
	if (err)
		return err;
	for (addr = start; addr < end && !err; addr += PAGE_SIZE) {
		atomic64_inc(&mirror->faults);
		trace_hmm_mirror_fault(mirror->id, addr, HMM_MIRROR_EXCLUSIVE);
		err = hmm_mirror_exclusive_page(&target, addr);
		trace_hmm_mirror_fault_end(mirror->id, addr, 0, err);
		if (!err)
			++*nr_mapped;
		cond_resched();
	}
	hmm_mirror_leave(&target);
	return err;
}
EXPORT_SYMBOL_GPL(hmm_mirror_fault_exclusive);
