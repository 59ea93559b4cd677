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
#include <linux/ktime.h>
#include <linux/migrate.h>
#include <linux/mmap_lock.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include <trace/events/hmm.h>

#include "migrate.h"

/*
 * Working memory for copies of @nr pages, all that is needed to bring them to RAM.
 * Each step writes what it reads: only the head is zeroed.
 */
struct hmm_migration *hmm_migration_init(void *memory, unsigned long nr)
{
	struct hmm_migration *m = memory;

	*m = (struct hmm_migration){
		.max = nr,
		.src = (unsigned long *)(m + 1),
	};
	m->dst = m->src + 2 * nr;
	m->copies = (struct hmm_devmem_copy *)(m->dst + 2 * nr);
	return m;
}

struct hmm_migration *hmm_migration_alloc(unsigned long nr)
{
	struct hmm_migration *m;

	m = kvmalloc(hmm_migration_size(nr) + nr * (sizeof(*m->clears) +
						    sizeof(*m->reserved)),
		     GFP_KERNEL);
	if (!m)
		return NULL;
	hmm_migration_init(m, nr);
	m->clears = m->copies + nr;
	m->reserved = (struct page **)(m->clears + nr);
	return m;
}

void hmm_migration_free(struct hmm_migration *m)
{
	if (m->huge)
		folio_put(m->huge);
	if (m->ram)
		folio_put(m->ram);
	kvfree(m);
}

void hmm_batch_init(struct hmm_devmem_batch *batch,
		    enum dma_data_direction direction,
		    struct hmm_devmem_copy *pages, unsigned int nr)
{
	batch->direction = direction;
	batch->pages = pages;
	batch->nr = nr;
	batch->status = 0;
	batch->started_ns = ktime_get_ns();
	init_completion(&batch->done);
}

static int hmm_batch_error(int err)
{
	return !err || err == -ENOMEM ? err : -EIO;
}

int hmm_batch_copy(struct hmm_devmem *devmem, struct hmm_devmem_batch *batch)
{
	int err;

	hmm_devmem_job_begin();
	err = devmem->desc.ops->copy(devmem, batch);
	hmm_devmem_job_end();
	return err;
}

int hmm_batch_copy_peer(struct hmm_devmem *devmem, struct hmm_devmem *peer,
			struct hmm_devmem_batch *batch)
{
	int err;

	hmm_devmem_job_begin();
	err = devmem->desc.ops->copy_peer(devmem, peer, batch);
	hmm_devmem_job_end();
	return err;
}

int hmm_batch_clear(struct hmm_devmem *devmem, struct hmm_devmem_batch *batch)
{
	int err;

	hmm_devmem_job_begin();
	err = devmem->desc.ops->clear(devmem, batch);
	hmm_devmem_job_end();
	return err;
}

/*
 * Wait for a job that was started, or was not for @err.  @last_done_ns: when the device
 * was done with the job before, if there was one; when with this one.
 */
int hmm_batch_wait(struct hmm_devmem *devmem, struct hmm_devmem_batch *batch,
		   int err, u64 *last_done_ns)
{
	if (err)
		return hmm_batch_error(err);

	hmm_devmem_job_wait();
	wait_for_completion(&batch->done);
	atomic64_add(batch->done_ns - batch->started_ns, &devmem->busy_ns);
	if (last_done_ns) {
		if (*last_done_ns && batch->started_ns > *last_done_ns)
			atomic64_add(batch->started_ns - *last_done_ns,
				     &devmem->idle_ns);
		*last_done_ns = max(*last_done_ns, batch->done_ns);
	}
	return hmm_batch_error(batch->status);
}

/* The address of entry @i in trace events: eviction has none. */
static unsigned long hmm_migrate_trace_addr(const struct hmm_migration *m,
					    unsigned long i)
{
	return m->start ? m->start + (i << PAGE_SHIFT) : 0;
}

/* Tell what was collected for a step; @devmem: NULL if that is not known yet. */
void hmm_migrate_trace_collect(const struct hmm_migration *m,
			       const struct hmm_devmem *devmem,
			       unsigned long npages, u64 began)
{
	unsigned long i, nr = 0;

	if (!trace_hmm_migrate_collect_enabled())
		return;
	for (i = 0; i < npages; i++)
		if (m->src[i] & MIGRATE_PFN_MIGRATE)
			nr += m->src[i] & MIGRATE_PFN_COMPOUND ?
			      HMM_PMD_PAGES : 1;
	trace_hmm_migrate_collect(m->cause, devmem ? devmem->id : -1,
				  hmm_migrate_trace_addr(m, 0),
				  hmm_migrate_trace_addr(m, npages), nr,
				  npages - nr, began);
}

/* Tell of the jobs for the entries [@first, @end) of a step. */
void hmm_migrate_trace_copy(const struct hmm_migration *m,
			    const struct hmm_devmem *devmem, unsigned long first,
			    unsigned long end, unsigned long pages,
			    unsigned long dropped, u64 began)
{
	trace_hmm_migrate_copy(m->cause, devmem->id,
			       hmm_migrate_trace_addr(m, first),
			       hmm_migrate_trace_addr(m, end), pages, dropped,
			       began);
}

/* Tell what was @committed of the step's destinations; @devmem: NULL for RAM. */
void hmm_migrate_trace_commit(const struct hmm_migration *m,
			      const struct hmm_devmem *devmem,
			      unsigned long npages, unsigned long committed,
			      u64 began)
{
	if (!trace_hmm_migrate_commit_enabled())
		return;
	trace_hmm_migrate_commit(m->cause, devmem ? devmem->id : -1,
				 hmm_migrate_trace_addr(m, 0),
				 hmm_migrate_trace_addr(m, npages), committed,
				 hmm_migration_nr_chosen(m, npages) - committed,
				 began);
}

/*
 * migrate_vma_setup() on at most one page table.  Entries past the step are the
 * core's second go at a range that lost its page table (see struct
 * hmm_migration); they hold no page and are dropped.  A huge entry that the second
 * go begins with stands for other addresses than its place says: it stays.
 * @devmem: for trace events, may be NULL.
 */
int hmm_migrate_collect(struct hmm_migration *m, struct migrate_vma *args,
			const struct hmm_devmem *devmem)
{
	unsigned long i, nr = (args->end - args->start) >> PAGE_SHIFT;
	u64 began = hmm_trace_begin(hmm_migrate_collect);
	int ret;

	args->src = m->src;
	args->dst = m->dst;
	if (m->no_drain)
		args->flags |= HMM_MIGRATE_NO_DRAIN;
	m->nr_copies = 0;
	m->nr_clears = 0;
	m->start = args->start;

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
	hmm_migrate_trace_collect(m, devmem, args->npages, began);
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

/* The same for all destinations of entries [@first, @next), for @err; counts them. */
unsigned long hmm_migrate_drop_failed(struct hmm_migration *m, unsigned long first,
				      unsigned long next, int err)
{
	unsigned long i, nr = 0;

	for (i = first; i < next; i++) {
		if (!m->dst[i])
			continue;
		nr += hmm_migration_dst_pages(m, i);
		hmm_migrate_drop_dst(m, i);
	}
	hmm_migrate_count_failed(m, nr, err);
	return nr;
}

/* May there be anonymous memory, which device memory can stand for? */
static bool hmm_migrate_vma_ok(struct vm_area_struct *vma)
{
	return (vma_is_anonymous(vma) || vma->anon_vma) &&
	       !is_vm_hugetlb_page(vma) && !vma_is_dax(vma) &&
	       !(vma->vm_flags & (VM_SPECIAL | VM_SHARED));
}

/*
 * Begin the step at &hmm_migrate_walk.addr and go past it.  @alone: no other step is
 * under way; -EBUSY if this one has to wait for that.
 */
static int hmm_migrate_begin(struct hmm_migrate_walk *walk, struct hmm_migration *m,
			     bool alone)
{
	struct vm_area_struct *vma = find_vma(walk->mm, walk->addr);
	unsigned long next = walk->end;
	int err = 0;

	walk->missing = 0;
	walk->missing_least = 1;
	m->no_drain = !alone;
	m->last_done_ns = &walk->done_ns;
	m->async = false;
	m->small = false;
	m->between = walk->between;
	m->collected = false;
	m->nr = 0;
	m->no_room = 0;
	m->step = (struct hmm_migrate_result){};
	m->cause = walk->between ? HMM_MIGRATE_BETWEEN :
		   walk->devmem ? HMM_MIGRATE_TO_DEVICE : HMM_MIGRATE_TO_RAM;
	m->began = hmm_trace_begin(hmm_migrate_finish);

	if (!vma || vma->vm_start > walk->addr || !hmm_migrate_vma_ok(vma)) {
		if (vma)
			next = min(next, vma->vm_start > walk->addr ?
					 vma->vm_start : vma->vm_end);
		m->nr = (next - walk->addr) >> PAGE_SHIFT;
		if (vma && vma->vm_start <= walk->addr)
			m->step.unsupported = m->nr;
		else
			m->step.absent = m->nr;
	} else {
		m->args = (struct migrate_vma){
			.vma = vma,
			.start = walk->addr,
			.end = min(vma->vm_end,
				   pmd_addr_end(walk->addr, walk->end)),
			.pgmap_owner = walk->owner,
		};
		if (walk->swap_in)
			err = hmm_migrate_swap_in(&m->args, alone);
		if (!err)
			err = walk->devmem ?
			      hmm_migrate_begin_to_device(walk->devmem, m,
							  &walk->missing) :
			      hmm_migrate_begin_to_ram(m);
		/* Less than all of a huge folio would be of no use. */
		if (walk->missing && hmm_migration_huge(m))
			walk->missing_least = walk->missing;
	}
	walk->addr += m->nr << PAGE_SHIFT;
	return err;
}

/* Returns @err, or what is worse. */
static int hmm_migrate_end(struct hmm_migrate_walk *walk,
			   struct hmm_migration *m, int err)
{
	bool collected = m->collected;
	int end_err;

	if (walk->devmem)
		end_err = hmm_migrate_end_to_device(m, walk->result);
	else
		end_err = hmm_migrate_end_to_ram(m, walk->result);
	if (collected)
		trace_hmm_migrate_finish(m->cause,
					 walk->devmem ? (int)walk->devmem->id : -1,
					 m->start,
					 m->start + (m->nr << PAGE_SHIFT),
					 &m->step, end_err ?: err, m->began);
	if (end_err != -EIO)
		return end_err ? end_err : err;
	walk->io_error = true;
	return err;
}

/* With @last under way: is there more to do meanwhile, and nobody waiting? */
static bool hmm_migrate_goes_on(const struct hmm_migrate_walk *walk,
				const struct hmm_migration *last)
{
	return last->async && walk->m[1] && walk->addr < walk->end &&
	       !walk->unasked &&
	       !mmap_lock_is_contended(walk->mm) &&
	       !fatal_signal_pending(current);
}

/*
 * A step, or if the device works on its own several: while it copies for one, the
 * next is collected, and the one before committed.  mmap_lock is held.
 */
static int hmm_migrate_steps(struct hmm_migrate_walk *walk)
{
	struct hmm_migration *last = walk->m[0];
	int err = hmm_migrate_begin(walk, last, true), end_err;

	while (!err && hmm_migrate_goes_on(walk, last)) {
		struct hmm_migration *m = walk->m[last == walk->m[0]];

		err = hmm_migrate_begin(walk, m, false);
		if (m->collected) {
			end_err = hmm_migrate_end(walk, last, 0);
			err = end_err ?: err;
			last = m;
		} else {
			/* Nothing there: go on to where something is. */
			err = hmm_migrate_end(walk, m, err);
		}
		cond_resched();
	}
	/* What could not begin beside the last one begins alone. */
	return hmm_migrate_end(walk, last, err == -EBUSY ? 0 : err);
}

/* Is there more than a step to do, by a driver that is known to be asynchronous? */
static void hmm_migrate_add_second(struct hmm_migrate_walk *walk, bool async)
{
	if (async && !walk->m[1] && walk->end - walk->addr > PMD_SIZE)
		walk->m[1] = hmm_migration_alloc(walk->m[0]->max);
}

/* What nobody asked for is not done against the policy. */
static bool hmm_migrate_suppressed(struct hmm_migrate_walk *walk)
{
	unsigned long next = pmd_addr_end(walk->addr, walk->end);

	if (!walk->unasked ||
	    hmm_history_may_migrate(walk->devmem, walk->mm, walk->addr, next))
		return false;
	walk->addr = next;
	return true;
}

static int hmm_migrate_walk(struct hmm_migrate_walk *walk)
{
	struct hmm_devmem *devmem = walk->devmem;
	u64 before = devmem ? hmm_devmem_clock(devmem) : 0;
	int err = 0;

	hmm_migrate_add_second(walk, devmem && READ_ONCE(devmem->async));
	for (; walk->addr < walk->end && !err; cond_resched()) {
		if (fatal_signal_pending(current))
			return -EINTR;
		if (hmm_migrate_suppressed(walk))
			continue;
		err = mmap_read_lock_killable(walk->mm);
		if (err)
			return err;
		err = hmm_migrate_steps(walk);
		mmap_read_unlock(walk->mm);

		if (err == -ENOSPC && walk->missing &&
		    (walk->evict_timeout_ms || devmem->sharing))
			err = hmm_evict_for_room(devmem, walk->missing,
						 walk->missing_least, before,
						 walk->evict_timeout_ms);
		if (err)
			walk->result->no_room += walk->missing;
		hmm_migrate_add_second(walk, walk->m[0]->async);
	}
	return !err && walk->io_error ? -EIO : err;
}

/* Is there a range, and an owner?  Then all of it is left, as nothing was tried yet. */
int hmm_migrate_check(struct hmm_migrate_walk *walk)
{
	memset(walk->result, 0, sizeof(*walk->result));
	if (!walk->owner || walk->addr >= walk->end ||
	    !PAGE_ALIGNED(walk->addr | walk->end))
		return -EINVAL;
	hmm_migrate_account_rest(walk->result,
				 (walk->end - walk->addr) >> PAGE_SHIFT);
	return 0;
}

/*
 * Migrate a range of which the caller has filled in the first part, with mmap_lock
 * held for a while at a time.
 */
int hmm_migrate_range(struct hmm_migrate_walk *walk)
{
	struct hmm_migrate_result unwanted;
	unsigned long nr;
	int ret;

	if (!walk->result)
		walk->result = &unwanted;
	ret = hmm_migrate_check(walk);
	if (ret)
		return ret;
	nr = walk->result->left;
	walk->m[0] = hmm_migration_alloc(min(nr, HMM_PMD_PAGES));
	if (!walk->m[0])
		return -ENOMEM;
	if (!mmget_not_zero(walk->mm)) {
		hmm_migration_free(walk->m[0]);
		return -ESRCH;
	}
	/* Sources in device memory are not swapped out. */
	walk->swap_in = walk->devmem && !walk->between &&
			get_mm_counter_sum(walk->mm, MM_SWAPENTS);
	ret = hmm_migrate_walk(walk);
	hmm_migrate_account_rest(walk->result, nr);
	mmput(walk->mm);
	hmm_migration_free(walk->m[0]);
	if (walk->m[1])
		hmm_migration_free(walk->m[1]);
	return ret;
}

static int hmm_migrate_in(struct hmm_devmem *devmem, struct mm_struct *mm,
			  unsigned long start, unsigned long end,
			  unsigned int evict_timeout_ms, bool unasked,
			  struct hmm_migrate_result *result)
{
	struct hmm_migrate_walk walk = {
		.devmem = devmem,
		.mm = mm,
		.owner = devmem->desc.owner,
		.addr = start,
		.end = end,
		.evict_timeout_ms = evict_timeout_ms,
		.unasked = unasked,
		.result = result,
	};

	return hmm_migrate_range(&walk);
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
 * @result: filled, after every error but -EINVAL too; may be NULL
 *
 * Moves anonymous memory that lies in RAM or is swapped out, and fills what has no
 * memory yet with cleared device memory.  Everything else is left: see struct
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
	return hmm_migrate_in(devmem, mm, start, end, evict_timeout_ms, false,
			      result);
}
EXPORT_SYMBOL_GPL(hmm_migrate_to_device);

/**
 * hmm_migrate_unasked() - hmm_migrate_to_device() by the driver's own idea
 * @devmem: as for hmm_migrate_to_device(), with all that follows
 * @mm: the process
 * @start: first byte, page aligned
 * @end: exclusive, page aligned
 * @evict_timeout_ms: how long to evict other pages
 * @result: filled, after every error but -EINVAL too; may be NULL
 *
 * For moves that no process asked for, after a device page fault or by what the
 * driver counted.  Of each 2 MiB of the address space it asks the policy before, see
 * &hmm_devmem_ops.may_migrate, and leaves those that it forbids: memory that bounces
 * between CPU and device stays in RAM for a while, where both can reach it.
 *
 * Context: as hmm_migrate_to_device().
 * Return: as hmm_migrate_to_device(); what the policy forbids is no error.
 */
int hmm_migrate_unasked(struct hmm_devmem *devmem, struct mm_struct *mm,
			unsigned long start, unsigned long end,
			unsigned int evict_timeout_ms,
			struct hmm_migrate_result *result)
{
	return hmm_migrate_in(devmem, mm, start, end, evict_timeout_ms, true,
			      result);
}
EXPORT_SYMBOL_GPL(hmm_migrate_unasked);

/**
 * hmm_migrate_to_ram() - move process memory from device memory to RAM
 * @mm: the process
 * @owner: moves pages of device memory with this owner (struct hmm_devmem_desc)
 * @start: first byte, page aligned
 * @end: exclusive, page aligned
 * @result: filled, after every error but -EINVAL too; may be NULL
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
	struct hmm_migrate_walk walk = {
		.mm = mm,
		.owner = owner,
		.addr = start,
		.end = end,
		.result = result,
	};

	return hmm_migrate_range(&walk);
}
EXPORT_SYMBOL_GPL(hmm_migrate_to_ram);
