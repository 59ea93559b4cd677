// SPDX-License-Identifier: GPL-2.0
/*
 * Ranges of a mirror: map on the device what the CPU page table maps, and for
 * a prefetch bring in what is missing before.
 *
 * A range is worked on piece by piece.  It may span anything: the VMAs say which
 * pages the process could access itself, and only these are faulted in.
 */
#include <linux/export.h>
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <trace/events/hmm.h>

#include "mirror.h"

/**
 * enum hmm_mirror_page - what is known of a page
 * @HMM_MIRROR_PAGE_OPEN: the process may access it
 * @HMM_MIRROR_PAGE_REFUSED: it may not
 * @HMM_MIRROR_PAGE_LOST: it may, but its fault has failed
 */
enum hmm_mirror_page {
	HMM_MIRROR_PAGE_OPEN,
	HMM_MIRROR_PAGE_REFUSED,
	HMM_MIRROR_PAGE_LOST,
};

/**
 * struct hmm_mirror_scan - working memory of a walk over a range
 * @target: the mirror, the piece that is worked on, and the sequence that the
 *	walk is valid for
 * @fault: bring in what is missing
 * @window: the part of the range in the piece
 * @deadline: of the piece, in jiffies
 * @mapped: what is valid among @pfns was mapped
 * @pfns: of @window
 * @pages: &enum hmm_mirror_page of each page of @window
 */
struct hmm_mirror_scan {
	struct hmm_mirror_target target;
	bool fault;
	struct hmm_mirror_window window;
	unsigned long deadline;
	bool mapped;
	unsigned long pfns[HMM_MAX_PMD_PAGES];
	u8 pages[HMM_MAX_PMD_PAGES];
};

static unsigned long scan_nr(const struct hmm_mirror_scan *scan)
{
	return (scan->window.end - scan->window.start) >> PAGE_SHIFT;
}

/* Absent, or without the right, though the process may access it so. */
static bool scan_missing(const struct hmm_mirror_scan *scan, unsigned long i)
{
	return scan->pages[i] == HMM_MIRROR_PAGE_OPEN &&
	       !hmm_mirror_pfn_ok(scan->pfns[i], scan->window.write);
}

static bool scan_any_missing(const struct hmm_mirror_scan *scan)
{
	unsigned long i;

	for (i = 0; i < scan_nr(scan); i++)
		if (scan_missing(scan, i))
			return true;
	return false;
}

static void scan_refuse(struct hmm_mirror_scan *scan, unsigned long start,
			unsigned long end)
{
	unsigned long first = (start - scan->window.start) >> PAGE_SHIFT;

	memset(scan->pages + first, HMM_MIRROR_PAGE_REFUSED,
	       (end - start) >> PAGE_SHIFT);
}

/* The same test as hmm_vma_walk_test() and hmm_do_fault(). */
static bool scan_vma_ok(const struct hmm_mirror_scan *scan,
			const struct vm_area_struct *vma)
{
	if (!(vma->vm_flags & VM_READ) || (vma->vm_flags & (VM_IO | VM_PFNMAP)))
		return false;
	if (vma->vm_file && hmm_mirror_secret(vma->vm_file->f_mapping))
		return false;
	return !scan->window.write ||
	       ((vma->vm_flags & VM_WRITE) && !(vma->vm_flags & VM_SHADOW_STACK));
}

/* Find out what the process may access; mmap_lock is held. */
static void scan_vmas(struct hmm_mirror_scan *scan)
{
	unsigned long addr = scan->window.start, end = scan->window.end, next, i;
	struct mm_struct *mm = scan->target.mm;
	struct vm_area_struct *vma;

	for (i = 0; i < scan_nr(scan); i++)
		if (scan->pages[i] == HMM_MIRROR_PAGE_REFUSED)
			scan->pages[i] = HMM_MIRROR_PAGE_OPEN;
	for (; addr < end; addr = next) {
		vma = find_vma(mm, addr);
		next = vma ? min(end, vma->vm_start > addr ? vma->vm_start :
							     vma->vm_end) : end;
		if (!vma || vma->vm_start > addr || !scan_vma_ok(scan, vma))
			scan_refuse(scan, addr, next);
	}
}

/* What a fault at one address says of it; other errors end the whole walk. */
static bool scan_fault_lost(int err)
{
	return err == -EFAULT || err == -EPERM;
}

static int scan_fault_page(struct hmm_mirror_scan *scan, unsigned long i)
{
	int err;

	err = hmm_mirror_fault_page_in(&scan->target,
				       scan->window.start + (i << PAGE_SHIFT),
				       scan->window.write,
				       scan->target.mirror->desc.owner,
				       scan->deadline, &scan->pfns[i]);
	if (!scan_fault_lost(err))
		return err;
	scan->pages[i] = HMM_MIRROR_PAGE_LOST;
	return 0;
}

/*
 * Fault in the run of missing pages [first, end).  The first one alone, as it may
 * bring a huge page that is all of the run, and then the others at once.
 */
static int scan_fault_run(struct hmm_mirror_scan *scan, unsigned long first,
			  unsigned long end)
{
	const struct hmm_mirror_window *window = &scan->window;
	struct hmm_range range = {
		.start = window->start + ((first + 1) << PAGE_SHIFT),
		.end = window->start + (end << PAGE_SHIFT),
		.hmm_pfns = scan->pfns + first + 1,
		.default_flags = HMM_PFN_REQ_FAULT |
				 (window->write ? HMM_PFN_REQ_WRITE : 0),
	};
	unsigned long i, present;
	int err;

	err = scan_fault_page(scan, first);
	if (err || first + 1 == end ||
	    (hmm_mirror_pfn_ok(scan->pfns[first], window->write) &&
	     hmm_pfn_to_map_order(scan->pfns[first]) >= PMD_SHIFT - PAGE_SHIFT))
		return err;

	/* Read-only private pages of the owner need the fault of a stranger. */
	present = scan->pfns[first + 1] & HMM_PFN_VALID;
	if (!present)
		range.dev_private_owner = scan->target.mirror->desc.owner;
	err = hmm_mirror_fault_range_in(&scan->target, &range, scan->deadline);
	if (!scan_fault_lost(err))
		return err;
	/* One of them is lost: find out which. */
	for (i = first + 1, err = 0; i < end && !err; i++) {
		scan->pfns[i] = present;
		err = scan_fault_page(scan, i);
	}
	return err;
}

/* Fault in what is missing.  Runs are alike in being mapped or not. */
static int scan_fault_missing(struct hmm_mirror_scan *scan)
{
	unsigned long nr = scan_nr(scan), first, end;
	int err;

	for (first = 0; first < nr; first = end) {
		end = first + 1;
		if (!scan_missing(scan, first))
			continue;
		while (end < nr && scan_missing(scan, end) &&
		       !((scan->pfns[end] ^ scan->pfns[first]) & HMM_PFN_VALID))
			end++;
		err = scan_fault_run(scan, first, end);
		if (err)
			return err;
	}
	return 0;
}

/* Device memory that is poisoned is lost.  Returns true if there is any. */
static bool scan_lose_poisoned(struct hmm_mirror_scan *scan)
{
	bool found = false;
	unsigned long i;

	for (i = 0; i < scan_nr(scan); i++) {
		if (!(scan->pfns[i] & HMM_PFN_VALID) ||
		    !hmm_poison_hits(scan->pfns[i] & ~HMM_PFN_FLAGS, 1))
			continue;
		scan->pfns[i] = 0;
		scan->pages[i] = HMM_MIRROR_PAGE_LOST;
		found = true;
	}
	return found;
}

/* Map what was read, as far as the process may access it so. */
static int scan_map(struct hmm_mirror_scan *scan)
{
	struct hmm_mirror_piece *piece = scan->target.piece;
	unsigned long i;
	int ret;

	for (i = 0; i < scan_nr(scan); i++)
		if (scan->pages[i] == HMM_MIRROR_PAGE_REFUSED)
			scan->pfns[i] = 0;

	guard(mutex)(&piece->update_lock);
	if (mmu_interval_read_retry(&piece->sub, scan->target.seq))
		return HMM_MIRROR_COLLIDED;
	ret = hmm_mirror_map_window(piece, &scan->window);
	while (ret == -EFAULT && scan_lose_poisoned(scan))
		ret = hmm_mirror_map_window(piece, &scan->window);
	scan->mapped = !ret;
	return ret;
}

/* Read the CPU page table of the window; mmap_lock is held. */
static int scan_read(struct hmm_mirror_scan *scan)
{
	struct hmm_range range = {
		.notifier = &scan->target.piece->sub,
		.notifier_seq = scan->target.seq,
		.start = scan->window.start,
		.end = scan->window.end,
		.hmm_pfns = scan->pfns,
		.dev_private_owner = scan->target.mirror->desc.owner,
	};
	int ret;

	memset(scan->pfns, 0, scan_nr(scan) * sizeof(*scan->pfns));
	scan_vmas(scan);
	ret = hmm_range_fault(&range);
	return ret == -EBUSY ? HMM_MIRROR_COLLIDED : ret;
}

/*
 * Read and map.  HMM_MIRROR_ABSENT: a page is missing, and nothing was mapped;
 * not if @all.  mmap_lock is held all the time, as hmm_mirror_try() does.
 */
static int scan_try(struct hmm_mirror_scan *scan, bool all)
{
	struct mm_struct *mm = scan->target.mm;
	int ret;

	/* Most of the wait for invalidations is without the lock. */
	ret = hmm_mirror_begin(scan->target.piece,
			       hmm_mirror_time_left(scan->deadline),
			       &scan->target.seq);
	if (ret)
		return ret;
	ret = mmap_read_lock_killable(mm);
	if (ret)
		return ret;
	ret = hmm_mirror_begin(scan->target.piece,
			       hmm_mirror_time_left(scan->deadline),
			       &scan->target.seq);
	if (!ret)
		ret = scan_read(scan);
	if (!ret && !all && scan_any_missing(scan))
		ret = HMM_MIRROR_ABSENT;
	else if (!ret)
		ret = scan_map(scan);
	mmap_read_unlock(mm);
	return ret;
}

static int scan_window(struct hmm_mirror_scan *scan)
{
	struct hmm_mirror *mirror = scan->target.mirror;
	bool faulted = false, last = false;
	int ret;

	scan->deadline = jiffies + mirror->timeout;
	for (;;) {
		ret = scan_try(scan, !scan->fault || last);
		if (ret == HMM_MIRROR_ABSENT) {
			ret = scan_fault_missing(scan);
			/* CPU faults may block; that is not held against them. */
			if (!faulted)
				scan->deadline = jiffies + mirror->timeout;
			/* The second time others took some away. */
			if (!ret && faulted)
				ret = HMM_MIRROR_COLLIDED;
			faulted = true;
			if (!ret)
				continue;
		}
		if (last || (ret <= 0 && ret != -ETIME))
			break;

		atomic64_inc(ret == HMM_MIRROR_NO_DMA ? &mirror->dma_retries :
							&mirror->retries);
		trace_hmm_mirror_retry(mirror->id, scan->window.start,
				       ret == HMM_MIRROR_NO_DMA);
		if (fatal_signal_pending(current))
			return -EINTR;
		if (percpu_ref_is_dying(&mirror->users))
			return -ESHUTDOWN;
		/* Then what is there now has to do. */
		last = ret == -ETIME || time_after(jiffies, scan->deadline);
		if (ret == HMM_MIRROR_NO_DMA)
			schedule_timeout_killable(1);
		else
			cond_resched();
	}
	if (ret == HMM_MIRROR_NO_DMA)
		return -ENOMEM;
	if (ret > 0 || (!ret && last && scan->fault && scan_any_missing(scan)))
		ret = -ETIME;
	if (ret == -ETIME)
		atomic64_inc(&mirror->timeouts);
	return ret;
}

static void scan_count_refused(struct hmm_mirror_result *result,
			       unsigned long addr, unsigned long nr)
{
	if (nr && !result->refused)
		result->refused_at = addr;
	result->refused += nr;
}

/* Count the pages of the window, worked on with the result @err. */
static void scan_count(const struct hmm_mirror_scan *scan, int err,
		       struct hmm_mirror_result *result)
{
	unsigned long i;

	for (i = 0; i < scan_nr(scan); i++) {
		if (!scan->mapped)
			result->left++;
		else if (scan->pages[i] != HMM_MIRROR_PAGE_OPEN)
			scan_count_refused(result, scan->window.start +
					   (i << PAGE_SHIFT), 1);
		else if (!scan_missing(scan, i))
			result->mapped++;
		else if (err)
			result->left++;
		else
			result->missing++;
	}
}

/*
 * The next address that the process may access, @addr itself at best, so that no
 * piece is made for a hole.
 */
static int scan_next_open(const struct hmm_mirror_scan *scan,
			  unsigned long addr, unsigned long end,
			  unsigned long *next)
{
	struct mm_struct *mm = scan->target.mm;
	struct vm_area_struct *vma;
	int err;

	err = mmap_read_lock_killable(mm);
	if (err)
		return err;
	vma = find_vma(mm, addr);
	while (vma && vma->vm_start < end && !scan_vma_ok(scan, vma))
		vma = find_vma(mm, vma->vm_end);
	*next = vma ? clamp(vma->vm_start, addr, end) : end;
	mmap_read_unlock(mm);
	return 0;
}

/* Work on the piece at @addr as far as @end; the new position is in the window. */
static int scan_piece(struct hmm_mirror_scan *scan, unsigned long addr,
		      unsigned long end)
{
	int err;

	scan->window.start = addr;
	scan->window.addr = addr;
	scan->window.end = pmd_addr_end(addr, end);
	scan->mapped = false;
	memset(scan->pages, HMM_MIRROR_PAGE_OPEN, sizeof(scan->pages));

	err = hmm_mirror_prepare(&scan->target, addr);
	return err ? err : scan_window(scan);
}

static int hmm_mirror_scan_range(struct hmm_mirror_scan *scan,
				 unsigned long start, unsigned long end,
				 struct hmm_mirror_result *result)
{
	unsigned long addr = start, next;
	int err = 0;

	while (addr < end && !err) {
		if (fatal_signal_pending(current)) {
			err = -EINTR;
			break;
		}
		if (percpu_ref_is_dying(&scan->target.mirror->users)) {
			err = -ESHUTDOWN;
			break;
		}
		err = scan_next_open(scan, addr, end, &next);
		if (err)
			break;
		scan_count_refused(result, addr, (next - addr) >> PAGE_SHIFT);
		addr = next;
		if (addr == end)
			break;

		err = scan_piece(scan, addr, end);
		scan_count(scan, err, result);
		addr = scan->window.end;
		cond_resched();
	}
	result->left += (end - addr) >> PAGE_SHIFT;
	return err;
}

static int hmm_mirror_populate(struct hmm_mirror *mirror, unsigned long start,
			       unsigned long end, unsigned int access,
			       bool fault, struct hmm_mirror_result *result)
{
	struct hmm_mirror_result unwanted;
	struct hmm_mirror_scan *scan;
	int err;

	if (!result)
		result = &unwanted;
	memset(result, 0, sizeof(*result));
	if (start >= end || !PAGE_ALIGNED(start | end) ||
	    access & ~HMM_MIRROR_WRITE)
		return -EINVAL;
	if (start < mirror->desc.start || end > mirror->desc.end)
		return -ERANGE;

	result->left = (end - start) >> PAGE_SHIFT;
	scan = kvmalloc_obj(*scan, GFP_KERNEL);
	if (!scan)
		return -ENOMEM;
	err = hmm_mirror_enter(&scan->target, mirror);
	if (err)
		goto free;
	scan->fault = fault;
	scan->window.pfns = scan->pfns;
	scan->window.write = access & HMM_MIRROR_WRITE;
	scan->window.all = true;
	scan->window.touch = false;
	scan->window.may_widen = false;
	result->left = 0;
	err = hmm_mirror_scan_range(scan, start, end, result);
	hmm_mirror_leave(&scan->target);
free:
	kvfree(scan);
	return err;
}

/**
 * hmm_mirror_prefetch() - map a range on the device before it is accessed
 * @mirror: the mirror
 * @start: first byte, page aligned
 * @end: exclusive, page aligned
 * @access: 0 to read, %HMM_MIRROR_WRITE to write
 * @result: filled, after every error but -EINVAL and -ERANGE too; may be NULL
 *
 * Does for each page what hmm_mirror_fault() does for one.  The range may span
 * VMAs, holes and different protections: what the process itself could not
 * access so is passed over and counted.  Works in steps of PMD_SIZE; after an
 * error the steps before stay mapped.
 *
 * Context: as hmm_mirror_fault().
 * Return: 0 if the whole range was worked on, or:
 * * -EINVAL - the range is empty or misaligned, or @access has unknown bits
 * * -ERANGE - the range is not within the mirror
 * * -ETIME - a step kept changing until the timeout; what was there then is mapped
 * * -ENOMEM - no memory; the walk stopped there
 * * -EINTR - a fatal signal arrived; the walk stopped there
 * * -EOPNOTSUPP, -EIO, -ESRCH, -ESHUTDOWN - see hmm_mirror_fault()
 * * what the prepare or the map operation returned; the walk stopped there
 */
int hmm_mirror_prefetch(struct hmm_mirror *mirror, unsigned long start,
			unsigned long end, unsigned int access,
			struct hmm_mirror_result *result)
{
	return hmm_mirror_populate(mirror, start, end, access, true, result);
}
EXPORT_SYMBOL_GPL(hmm_mirror_prefetch);

/**
 * hmm_mirror_snapshot() - map on the device what the CPU page table maps
 * @mirror: the mirror
 * @start: first byte, page aligned
 * @end: exclusive, page aligned
 * @result: filled, after every error but -EINVAL and -ERANGE too; may be NULL
 *
 * As hmm_mirror_prefetch() for reading, but brings nothing in: what the CPU page
 * table does not map is counted as missing.
 *
 * Context: as hmm_mirror_fault(), but waits for no CPU fault.
 * Return: as hmm_mirror_prefetch().
 */
int hmm_mirror_snapshot(struct hmm_mirror *mirror, unsigned long start,
			unsigned long end, struct hmm_mirror_result *result)
{
	return hmm_mirror_populate(mirror, start, end, 0, false, result);
}
EXPORT_SYMBOL_GPL(hmm_mirror_snapshot);
