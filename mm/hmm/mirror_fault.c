// SPDX-License-Identifier: GPL-2.0
/*
 * A device page fault, start to end, for one mirror or for several of one
 * process.
 *
 * What the CPU page table maps is read without faulting first: memory that a
 * device touches has mostly been touched by the CPU.  Only what is missing is
 * faulted in, page by page as the device asks.
 *
 * A walk that collides with an invalidation is repeated.  From the second time on
 * mmap_lock is held until the page is mapped on the device, which keeps out
 * most of those who invalidate, and a page that had to be faulted in is mapped by
 * itself: so that the device makes progress where others change the range all
 * the time.
 */
#include <linux/export.h>
#include <linux/memremap.h>
#include <linux/mmap_lock.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <trace/events/hmm.h>

#include "mirror.h"

/* A fault on its way through the steps. */
struct hmm_mirror_walk {
	struct mm_struct *mm;
	struct hmm_mirror_target *targets;
	unsigned int nr;
	void *owner;			/* of private memory that all reach */
	struct hmm_mirror_window window;
	unsigned long timeout;		/* in jiffies */
	unsigned long deadline;
	unsigned int retries;
	bool faulted;			/* in by us, and absent again */
	unsigned int wider_order;
	unsigned long inline_pfns[HMM_MIRROR_INLINE_PFNS];
};

static struct hmm_mirror_target *
hmm_mirror_first_pending(struct hmm_mirror_walk *walk)
{
	unsigned int i;

	for (i = 0; i < walk->nr; i++)
		if (walk->targets[i].pending)
			return &walk->targets[i];
	return NULL;
}

/* Let go of the mirror, too: others may still wait for a CPU fault. */
static void hmm_mirror_end_target(struct hmm_mirror_target *target, int error)
{
	target->error = error;
	target->pending = false;
	if (target->entered)
		percpu_ref_put(&target->mirror->users);
	target->entered = false;
}

static void hmm_mirror_end_walk(struct hmm_mirror_walk *walk,
				struct hmm_mirror_target *target, int error)
{
	trace_hmm_mirror_fault_end(target->mirror->id, walk->window.addr,
				   walk->retries, error);
	hmm_mirror_end_target(target, error);
}

static unsigned long hmm_mirror_window_pfn(const struct hmm_mirror_window *window)
{
	return window->pfns[(window->addr - window->start) >> PAGE_SHIFT];
}

static void hmm_mirror_free_pfns(struct hmm_mirror_walk *walk)
{
	if (walk->window.pfns != walk->inline_pfns)
		kfree(walk->window.pfns);
	walk->window.pfns = walk->inline_pfns;
}

/* Walk @bytes around the page next time, or less if there is no memory. */
static void hmm_mirror_set_window(struct hmm_mirror_walk *walk,
				  unsigned long bytes)
{
	struct hmm_mirror_window *window = &walk->window;

	hmm_mirror_free_pfns(walk);
	if (bytes >> PAGE_SHIFT > HMM_MIRROR_INLINE_PFNS) {
		window->pfns = kmalloc_array(bytes >> PAGE_SHIFT,
					     sizeof(*window->pfns),
					     GFP_KERNEL | __GFP_NOWARN);
		if (!window->pfns) {
			window->pfns = walk->inline_pfns;
			bytes = HMM_MIRROR_INLINE_PFNS << PAGE_SHIFT;
		}
	}
	window->start = ALIGN_DOWN(window->addr, bytes);
	window->end = window->start + bytes;
}

/* Map what was read for one mirror. */
static int hmm_mirror_map_target(struct hmm_mirror_walk *walk,
				 struct hmm_mirror_target *target)
{
	const struct hmm_mirror_window *window = &walk->window;
	struct hmm_mirror_piece *piece = target->piece;
	unsigned long bytes = window->end - window->start;
	unsigned long hmm_pfn = hmm_mirror_window_pfn(window);

	guard(mutex)(&piece->update_lock);
	if (mmu_interval_read_retry(&piece->sub, target->seq))
		return HMM_MIRROR_COLLIDED;
	/* One that the CPU maps as a whole needs no further look. */
	if (!walk->retries && !walk->wider_order &&
	    hmm_pfn_to_map_order(hmm_pfn) < PMD_SHIFT - PAGE_SHIFT) {
		walk->wider_order = hmm_mirror_wider_order(piece->mirror, bytes,
							   hmm_pfn);
		if (walk->wider_order)
			return HMM_MIRROR_WIDEN;
	}
	return hmm_mirror_map_window(piece, window);
}

/* The same for all that wait; each under its own lock. */
static int hmm_mirror_map_targets(struct hmm_mirror_walk *walk)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; i < walk->nr; i++) {
		struct hmm_mirror_target *target = &walk->targets[i];
		int err;

		if (!target->pending)
			continue;
		err = hmm_mirror_map_target(walk, target);
		if (err == HMM_MIRROR_WIDEN)
			return err;
		if (err > 0)
			ret = err;
		else
			hmm_mirror_end_walk(walk, target, err);
	}
	return ret;
}

static int hmm_mirror_begin_targets(struct hmm_mirror_walk *walk)
{
	unsigned int i;
	int err;

	for (i = 0; i < walk->nr; i++) {
		struct hmm_mirror_target *target = &walk->targets[i];

		if (!target->pending)
			continue;
		err = hmm_mirror_begin(target->piece, walk->deadline,
				       &target->seq);
		if (err)
			return err;
	}
	return 0;
}

/* Read what the CPU maps, without faulting, and map it if the page is there. */
static int hmm_mirror_read(struct hmm_mirror_walk *walk)
{
	struct hmm_mirror_target *first = hmm_mirror_first_pending(walk);
	struct hmm_mirror_window *window = &walk->window;
	struct hmm_range range = {
		.notifier = &first->piece->sub,
		.notifier_seq = first->seq,
		.start = window->start,
		.end = window->end,
		.hmm_pfns = window->pfns,
		.dev_private_owner = walk->owner,
	};
	int ret;

	memset(window->pfns, 0, ((window->end - window->start) >> PAGE_SHIFT) *
				sizeof(*window->pfns));
	ret = hmm_range_fault(&range);
	return ret == -EBUSY ? HMM_MIRROR_COLLIDED : ret;
}

/* Map what was read, if the page is there. */
static int hmm_mirror_map_read(struct hmm_mirror_walk *walk)
{
	struct hmm_mirror_window *window = &walk->window;

	if (!hmm_mirror_pfn_ok(hmm_mirror_window_pfn(window), window->write))
		return HMM_MIRROR_ABSENT;
	return hmm_mirror_map_targets(walk);
}

static int hmm_mirror_try(struct hmm_mirror_walk *walk)
{
	int ret;

	ret = hmm_mirror_begin_targets(walk);
	if (ret)
		return ret;
	ret = mmap_read_lock_killable(walk->mm);
	if (ret)
		return ret;
	ret = hmm_mirror_read(walk);
	mmap_read_unlock(walk->mm);
	return ret ? ret : hmm_mirror_map_read(walk);
}

/* The same with those kept out who change the range under mmap_lock. */
static int hmm_mirror_try_again(struct hmm_mirror_walk *walk)
{
	int ret;

	/* Most of the wait for invalidations is without the lock. */
	ret = hmm_mirror_begin_targets(walk);
	if (ret)
		return ret;
	ret = mmap_read_lock_killable(walk->mm);
	if (ret)
		return ret;
	ret = hmm_mirror_begin_targets(walk);
	if (!ret)
		ret = hmm_mirror_read(walk);
	if (!ret)
		ret = hmm_mirror_map_read(walk);
	mmap_read_unlock(walk->mm);
	return ret;
}

/**
 * hmm_mirror_fault_range_in() - make the CPU page table map a range
 * @target: the mirror, entered, and the piece that contains @range
 * @range: all but notifier is set
 * @deadline: in jiffies
 *
 * Context: may sleep for as long as a CPU fault may; the mirror can be
 * unregistered meanwhile.
 * Return: 0, with the sequence that the result is valid for in @target; or a
 * negative errno as from hmm_mirror_fault().  After -ESHUTDOWN the target may
 * not be entered any more.
 */
int hmm_mirror_fault_range_in(struct hmm_mirror_target *target,
			      struct hmm_range *range, unsigned long deadline)
{
	int ret;

	range->notifier = &target->piece->sub;
	hmm_mirror_block(target);
	ret = hmm_range_fault_unlocked_timeout(range,
					       hmm_mirror_time_left(deadline));
	target->seq = range->notifier_seq;
	if (!hmm_mirror_unblock(target))
		return -ESHUTDOWN;
	return ret == -EBUSY ? -ETIME : ret;
}

/**
 * hmm_mirror_fault_page_in() - make the CPU page table map a page
 * @target: as for hmm_mirror_fault_range_in()
 * @addr: the page
 * @write: with write access
 * @owner: leave private memory of this owner where it is
 * @deadline: in jiffies
 * @hmm_pfn: in, what a walk has found there; out, what the page is
 *
 * Return: as hmm_mirror_fault_range_in().
 */
int hmm_mirror_fault_page_in(struct hmm_mirror_target *target,
			     unsigned long addr, bool write, void *owner,
			     unsigned long deadline, unsigned long *hmm_pfn)
{
	struct hmm_range range = {
		.start = addr,
		.end = addr + PAGE_SIZE,
		.hmm_pfns = hmm_pfn,
		.default_flags = HMM_PFN_REQ_FAULT |
				 (write ? HMM_PFN_REQ_WRITE : 0),
		/*
		 * A walk takes a read-only private page of the owner for good
		 * enough.  It is shared or write-protected, which only a CPU
		 * fault can resolve: ask as a stranger.
		 */
		.dev_private_owner = *hmm_pfn & HMM_PFN_VALID ? NULL : owner,
	};

	*hmm_pfn = 0;
	return hmm_mirror_fault_range_in(target, &range, deadline);
}

/* Fault the page in for @first; the other mirrors are let go as well meanwhile. */
static int hmm_mirror_fault_in_first(struct hmm_mirror_walk *walk,
				     struct hmm_mirror_target *first,
				     unsigned long *hmm_pfn)
{
	struct hmm_mirror_target *target, *end = walk->targets + walk->nr;
	const struct hmm_mirror_window *window = &walk->window;
	int ret;

	for (target = first + 1; target < end; target++)
		if (target->pending)
			hmm_mirror_block(target);
	ret = hmm_mirror_fault_page_in(first, window->addr, window->write,
				       walk->owner, walk->deadline, hmm_pfn);
	for (target = first + 1; target < end; target++)
		if (target->pending && !hmm_mirror_unblock(target))
			hmm_mirror_end_walk(walk, target, -ESHUTDOWN);
	if (first->entered)
		return ret;
	hmm_mirror_end_walk(walk, first, -ESHUTDOWN);
	return hmm_mirror_first_pending(walk) ? HMM_MIRROR_COLLIDED : 0;
}

static int hmm_mirror_fault_in(struct hmm_mirror_walk *walk)
{
	struct hmm_mirror_window *window = &walk->window;
	unsigned long hmm_pfn = hmm_mirror_window_pfn(window);
	int ret;

	ret = hmm_mirror_fault_in_first(walk, hmm_mirror_first_pending(walk),
					&hmm_pfn);
	if (ret || !walk->retries || !hmm_mirror_first_pending(walk))
		return ret;

	/* It was lost before: do not read it a second time. */
	hmm_mirror_free_pfns(walk);
	window->start = window->addr;
	window->end = window->addr + PAGE_SIZE;
	window->pfns[0] = hmm_pfn;
	if (!hmm_mirror_pfn_ok(hmm_pfn, window->write))
		return HMM_MIRROR_COLLIDED;
	return hmm_mirror_map_targets(walk);
}

static int hmm_mirror_serve(struct hmm_mirror_walk *walk)
{
	struct hmm_mirror_target *first;
	int ret;

	while ((first = hmm_mirror_first_pending(walk))) {
		struct hmm_mirror *mirror = first->mirror;

		if (walk->retries && percpu_ref_is_dying(&mirror->users)) {
			hmm_mirror_end_walk(walk, first, -ESHUTDOWN);
			continue;
		}

		ret = walk->retries ? hmm_mirror_try_again(walk) :
				      hmm_mirror_try(walk);
		if (ret == HMM_MIRROR_WIDEN) {
			hmm_mirror_set_window(walk,
					      PAGE_SIZE << walk->wider_order);
			continue;
		}
		if (ret == HMM_MIRROR_ABSENT) {
			/* The second time others took it away. */
			if (walk->faulted)
				walk->retries++;
			walk->window.touch = false;
			ret = hmm_mirror_fault_in(walk);
			/* A CPU fault may block; that is not held against it. */
			if (!walk->faulted)
				walk->deadline = jiffies + walk->timeout;
			walk->faulted = true;
		}
		if (!ret)
			continue;
		if (ret < 0)
			return ret;

		walk->retries++;
		atomic64_inc(ret == HMM_MIRROR_NO_DMA ? &mirror->dma_retries :
							&mirror->retries);
		trace_hmm_mirror_retry(mirror->id, walk->window.addr,
				       ret == HMM_MIRROR_NO_DMA);
		if (fatal_signal_pending(current))
			return -EINTR;
		if (time_after(jiffies, walk->deadline))
			return ret == HMM_MIRROR_NO_DMA ? -ENOMEM : -ETIME;
		if (ret == HMM_MIRROR_NO_DMA)
			schedule_timeout_killable(1);
		else
			cond_resched();
	}
	return 0;
}

/* Get everything ready for one mirror. */
static int hmm_mirror_start_target(struct hmm_mirror_target *target,
				   unsigned long addr)
{
	struct hmm_mirror *mirror = target->mirror;
	const struct hmm_mirror_ops *ops = mirror->desc.ops;
	struct hmm_mirror_piece *piece;
	int err;

	if (addr < mirror->desc.start || addr >= mirror->desc.end)
		return -ERANGE;
	piece = hmm_mirror_get_piece(mirror, addr);
	if (IS_ERR(piece))
		return PTR_ERR(piece);
	if (ops->prepare) {
		err = ops->prepare(mirror, piece_start(piece), piece_end(piece));
		if (err)
			return err;
	}
	target->piece = piece;
	target->pending = true;
	return 0;
}

/*
 * Serve the targets that have no error yet; their mirrors are entered and are of
 * the process of the @first.
 */
static void hmm_mirror_fault_targets(struct hmm_mirror_target *targets,
				     unsigned int nr,
				     const struct hmm_mirror *first,
				     unsigned long addr, unsigned int access)
{
	struct hmm_mirror_walk walk __uninitialized;
	unsigned int timeout_ms = 0, i;
	unsigned long around = PAGE_SIZE;
	int ret;

	walk.mm = first->mm;
	walk.targets = targets;
	walk.nr = nr;
	walk.owner = first->desc.owner;
	walk.retries = 0;
	walk.faulted = false;
	walk.wider_order = 0;
	walk.window.addr = addr & PAGE_MASK;
	walk.window.write = access & HMM_MIRROR_WRITE;
	walk.window.all = false;
	walk.window.touch = true;
	walk.window.pfns = walk.inline_pfns;

	for (i = 0; i < nr; i++) {
		struct hmm_mirror *mirror = targets[i].mirror;

		if (targets[i].error)
			continue;
		atomic64_inc(&mirror->faults);
		trace_hmm_mirror_fault(mirror->id, addr, access);
		around = max(around, mirror->desc.fault_around);
		timeout_ms = max(timeout_ms, mirror->desc.timeout_ms);
		if (mirror->desc.owner != walk.owner)
			walk.owner = NULL;
		targets[i].error = hmm_mirror_start_target(&targets[i], addr);
		if (!targets[i].error)
			continue;
		trace_hmm_mirror_fault_end(mirror->id, addr, 0,
					   targets[i].error);
		hmm_mirror_end_target(&targets[i], targets[i].error);
	}
	walk.timeout = msecs_to_jiffies(timeout_ms);
	walk.deadline = jiffies + walk.timeout;
	hmm_mirror_set_window(&walk, around);

	ret = hmm_mirror_serve(&walk);
	for (i = 0; i < nr; i++) {
		if (!targets[i].pending)
			continue;
		if (ret == -ETIME)
			atomic64_inc(&targets[i].mirror->timeouts);
		hmm_mirror_end_walk(&walk, &targets[i], ret);
	}
	hmm_mirror_free_pfns(&walk);
}

/**
 * hmm_mirror_fault() - resolve a device page fault, start to end
 * @mirror: the mirror
 * @addr: the address that the device missed, in bytes; need not be aligned
 * @access: 0 to read, %HMM_MIRROR_WRITE to write
 *
 * Makes the CPU page table map the page, in RAM, in coherent device memory or in
 * private memory of the mirror's owner, and hands it to the map operation,
 * together with what the CPU page table maps around it, in the largest entries
 * that the folio, its alignment and the device allow.  Private memory of other
 * owners is brought to RAM.  A page that the device may write is marked dirty
 * before the map operation is called.  Follows hmm_range_fault() and
 * kvm_faultin_pfn().
 *
 * Context: process context of any thread, kernel threads included; may sleep
 * for as long as a CPU fault may; no lock held under which mmap_lock or memory
 * reclaim is ruled out.
 * Return: 0 if the page was mapped on the device, though it may be invalidated
 * again by now, or:
 * * -EFAULT - there is nothing at @addr that the process itself could read
 * * -EPERM - a write to an address that the process may only read
 * * -ERANGE - @addr lies outside the mirror
 * * -EINVAL - @access has unknown bits
 * * -ENOMEM - no memory for the page, for the mirror or for DMA mappings
 * * -ETIME - the range was invalidated again and again until the timeout
 * * -EOPNOTSUPP - peer-to-peer memory on a mirror with a DMA device
 * * -EIO - the DMA device cannot address the page
 * * -ESRCH - the process has exited
 * * -ESHUTDOWN - the mirror is being unregistered
 * * -EINTR - a fatal signal arrived
 * * what the prepare or the map operation returned
 */
int hmm_mirror_fault(struct hmm_mirror *mirror, unsigned long addr,
		     unsigned int access)
{
	struct hmm_mirror_target target = { .mirror = mirror };
	int err;

	if (access & ~HMM_MIRROR_WRITE)
		return -EINVAL;
	err = hmm_mirror_enter(&target);
	if (err)
		return err;
	hmm_mirror_fault_targets(&target, 1, mirror, addr, access);
	hmm_mirror_leave(&target);
	return target.error;
}
EXPORT_SYMBOL_GPL(hmm_mirror_fault);

/**
 * hmm_mirror_fault_many() - resolve the same page fault for several mirrors
 * @targets: the mirrors, all of one process; the error of each is set
 * @nr: elements of @targets, at least 1
 * @addr: as for hmm_mirror_fault()
 * @access: as for hmm_mirror_fault()
 *
 * Walks the CPU page table once and maps the page on each device, under its own
 * lock, with its own page sizes and DMA mapping.  Only the mirrors whose piece
 * was invalidated meanwhile are tried again, and one that fails does not keep
 * the others from being served.  If the mirrors have different
 * owners, the page is brought to RAM from whatever private memory.
 *
 * Context: as hmm_mirror_fault().
 * Return: 0 if the page was mapped on all devices; -EINVAL, with nothing done,
 * if @nr is 0, the mirrors are of different processes or @access has unknown
 * bits; otherwise the first error among @targets, each with the meaning that it
 * has for hmm_mirror_fault().
 */
int hmm_mirror_fault_many(struct hmm_mirror_target *targets, unsigned int nr,
			  unsigned long addr, unsigned int access)
{
	struct hmm_mirror *first = NULL;
	unsigned int i;
	int err = 0;

	if (!nr || access & ~HMM_MIRROR_WRITE)
		return -EINVAL;
	for (i = 0; i < nr; i++) {
		struct hmm_mirror *mirror = targets[i].mirror;

		targets[i].pending = false;
		targets[i].error = hmm_mirror_enter(&targets[i]);
		if (targets[i].error)
			continue;
		if (!first)
			first = mirror;
		if (targets[i].mm != first->mm)
			err = -EINVAL;
	}
	if (!err && first)
		hmm_mirror_fault_targets(targets, nr, first, addr, access);
	for (i = 0; i < nr; i++) {
		hmm_mirror_leave(&targets[i]);
		if (err == -EINVAL && !targets[i].error)
			targets[i].error = err;
		if (!err)
			err = targets[i].error;
	}
	return err;
}
EXPORT_SYMBOL_GPL(hmm_mirror_fault_many);
