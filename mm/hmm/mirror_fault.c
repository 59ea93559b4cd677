// SPDX-License-Identifier: GPL-2.0
/*
 * A device page fault, start to end, for one mirror or for several of one
 * process.
 *
 * What the CPU page table maps is read without faulting first: memory that a
 * device touches has mostly been touched by the CPU.  Only what is missing is
 * faulted in, page by page as the device asks.
 *
 * The first try of a single mirror lets go of mmap_lock as soon as it has read.
 * All others hold it until the page is mapped on the device, which keeps out most
 * of those who invalidate.  If a walk collides with an invalidation all the same,
 * a page that had to be faulted in is mapped by itself from then on: so that the
 * device makes progress where others change the range all the time.
 */
#include <linux/export.h>
#include <linux/hmm/migrate.h>
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
	const struct hmm_mirror_move *move;	/* NULL: not, or done */
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

static inline void hmm_mirror_end_walk(struct hmm_mirror_walk *walk,
				       struct hmm_mirror_target *target,
				       int error)
{
	trace_hmm_mirror_fault_end(target->mirror->id, walk->window.addr,
				   walk->retries, error);
	hmm_mirror_end_target(target, error);
}

static void hmm_mirror_free_pfns(struct hmm_mirror_walk *walk)
{
	if (walk->window.pfns == walk->inline_pfns)
		return;
	kfree(walk->window.pfns);
	walk->window.pfns = walk->inline_pfns;
}

/* Returns how many bytes can be walked. */
static noinline unsigned long hmm_mirror_alloc_pfns(struct hmm_mirror_walk *walk,
						    unsigned long bytes)
{
	struct hmm_mirror_window *window = &walk->window;

	hmm_mirror_free_pfns(walk);
	window->pfns = kmalloc_array(bytes >> PAGE_SHIFT, sizeof(*window->pfns),
				     GFP_KERNEL | __GFP_NOWARN);
	if (window->pfns)
		return bytes;
	window->pfns = walk->inline_pfns;
	return HMM_MIRROR_INLINE_PFNS << PAGE_SHIFT;
}

/* Walk @bytes around the page next time, or less if there is no memory. */
static void hmm_mirror_set_window(struct hmm_mirror_walk *walk,
				  unsigned long bytes)
{
	struct hmm_mirror_window *window = &walk->window;

	if (bytes >> PAGE_SHIFT > HMM_MIRROR_INLINE_PFNS)
		bytes = hmm_mirror_alloc_pfns(walk, bytes);
	window->start = ALIGN_DOWN(window->addr, bytes);
	window->end = window->start + bytes;
}

/* Is it in RAM?  Looked at while the walk is valid. */
static bool hmm_mirror_movable(const struct hmm_mirror_window *window)
{
	unsigned long hmm_pfn = hmm_mirror_window_pfn(window);

	return !is_zone_device_page(hmm_pfn_to_page(hmm_pfn));
}

/* Map what was read for one mirror. */
static inline int hmm_mirror_map_target(struct hmm_mirror_walk *walk,
					struct hmm_mirror_target *target)
{
	struct hmm_mirror_piece *piece = target->piece;
	int ret = HMM_MIRROR_COLLIDED;

	mutex_lock(&piece->update_lock);
	if (!mmu_interval_read_retry(&piece->sub, target->seq))
		ret = unlikely(walk->move) &&
		      hmm_mirror_movable(&walk->window) ? HMM_MIRROR_MOVE :
		      hmm_mirror_map_window(piece, &walk->window);
	mutex_unlock(&piece->update_lock);
	return ret;
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
		err = hmm_mirror_begin(target->piece,
				       hmm_mirror_time_left(walk->deadline),
				       &target->seq);
		if (err)
			return err;
	}
	return 0;
}

/* Read what the CPU maps, without faulting. */
static inline int hmm_mirror_read(struct hmm_mirror_walk *walk,
				  const struct hmm_mirror_target *first)
{
	struct hmm_mirror_window *window = &walk->window;
	unsigned long nr = (window->end - window->start) >> PAGE_SHIFT;
	struct hmm_range range = {
		.notifier = &first->piece->sub,
		.notifier_seq = first->seq,
		.start = window->start,
		.end = window->end,
		.hmm_pfns = window->pfns,
		.default_flags = 0,
		.pfn_flags_mask = 0,
		.dev_private_owner = walk->owner,
	};
	int ret;

	if (nr == 1)
		window->pfns[0] = 0;
	else
		memset(window->pfns, 0, nr * sizeof(*window->pfns));
	ret = hmm_range_fault(&range);
	return ret == -EBUSY ? HMM_MIRROR_COLLIDED : ret;
}

static bool hmm_mirror_found(const struct hmm_mirror_window *window)
{
	return hmm_mirror_pfn_ok(hmm_mirror_window_pfn(window), window->write);
}

/* A page that must not be written is shared: only a CPU fault gives us our own. */
static inline int hmm_mirror_not_found(const struct hmm_mirror_walk *walk)
{
	return walk->move &&
	       !hmm_mirror_pfn_ok(hmm_mirror_window_pfn(&walk->window), false) ?
	       HMM_MIRROR_MOVE : HMM_MIRROR_ABSENT;
}

/* Read and map for a single mirror. */
static int hmm_mirror_try_one(struct hmm_mirror_walk *walk)
{
	struct hmm_mirror_target *target = walk->targets;
	int ret;

	ret = hmm_mirror_begin(target->piece, walk->timeout, &target->seq);
	if (ret)
		return ret;
	ret = mmap_read_lock_killable(walk->mm);
	if (ret)
		return ret;
	ret = hmm_mirror_read(walk, target);
	mmap_read_unlock(walk->mm);
	if (ret)
		return ret;
	if (!hmm_mirror_found(&walk->window))
		return hmm_mirror_not_found(walk);
	return hmm_mirror_map_target(walk, target);
}

/* Read and map for all that wait, with mmap_lock held meanwhile. */
static int hmm_mirror_try(struct hmm_mirror_walk *walk)
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
		ret = hmm_mirror_read(walk, hmm_mirror_first_pending(walk));
	if (!ret)
		ret = hmm_mirror_found(&walk->window) ?
		      hmm_mirror_map_targets(walk) :
		      hmm_mirror_not_found(walk);
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
	window->may_widen = false;
	if (!hmm_mirror_pfn_ok(hmm_pfn, window->write))
		return HMM_MIRROR_COLLIDED;
	return hmm_mirror_map_targets(walk);
}

/*
 * Move the page and what lies around it, holes as well, which need no page in RAM.
 * Whatever is left is mapped where it is.
 */
static int hmm_mirror_move_in(struct hmm_mirror_walk *walk)
{
	const struct hmm_mirror_desc *desc = &walk->targets->mirror->desc;
	const struct hmm_mirror_move *move = walk->move;
	unsigned long start = ALIGN_DOWN(walk->window.addr, move->size);
	unsigned long end = min(start + move->size, desc->end);
	struct hmm_migrate_result result;
	int err;

	walk->move = NULL;
	err = hmm_migrate_unasked(move->devmem, walk->mm,
				  max(start, desc->start), end,
				  move->evict_timeout_ms, &result);
	walk->deadline = jiffies + walk->timeout;
	return err == -EINTR || err == -ESRCH ? err : 0;
}

/* Do what the result of a try asks for.  Returns 0 if a new try is worth it. */
static int hmm_mirror_after_try(struct hmm_mirror_walk *walk, int ret)
{
	struct hmm_mirror *mirror = hmm_mirror_first_pending(walk)->mirror;

	if (ret == HMM_MIRROR_WIDEN) {
		hmm_mirror_set_window(walk,
				      PAGE_SIZE << walk->window.wider_order);
		walk->window.may_widen = false;
		return 0;
	}
	if (ret == HMM_MIRROR_MOVE)
		return hmm_mirror_move_in(walk);
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
	if (ret <= 0)
		return ret;

	walk->retries++;
	walk->window.may_widen = false;
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
	return 0;
}

/* Leave out those that are being unregistered: that waits for us. */
static bool hmm_mirror_any_pending(struct hmm_mirror_walk *walk)
{
	struct hmm_mirror_target *first;

	while ((first = hmm_mirror_first_pending(walk))) {
		if (!walk->retries ||
		    !percpu_ref_is_dying(&first->mirror->users))
			return true;
		hmm_mirror_end_walk(walk, first, -ESHUTDOWN);
	}
	return false;
}

/* Serve those that wait; @ret is the result of a first try, or 0. */
static int hmm_mirror_serve(struct hmm_mirror_walk *walk, int ret)
{
	for (;;) {
		if (ret > 0)
			ret = hmm_mirror_after_try(walk, ret);
		if (ret || !hmm_mirror_any_pending(walk))
			return ret;
		ret = hmm_mirror_try(walk);
	}
}

/* As the first of @targets wants it. */
static inline void hmm_mirror_init_walk(struct hmm_mirror_walk *walk,
					struct hmm_mirror_target *targets,
					unsigned int nr, unsigned long addr,
					unsigned int access)
{
	const struct hmm_mirror *first = targets->mirror;

	walk->mm = first->mm;
	walk->targets = targets;
	walk->nr = nr;
	walk->owner = first->desc.owner;
	walk->timeout = first->timeout;
	walk->retries = 0;
	walk->faulted = false;
	walk->move = NULL;
	walk->window.addr = addr & PAGE_MASK;
	walk->window.pfns = walk->inline_pfns;
	walk->window.write = access;
	walk->window.all = false;
	walk->window.touch = true;
	walk->window.may_widen = true;
}

static inline int hmm_mirror_start_target(struct hmm_mirror_walk *walk,
					  struct hmm_mirror_target *target,
					  unsigned int access)
{
	struct hmm_mirror *mirror = target->mirror;
	unsigned long addr = walk->window.addr;
	int err;

	atomic64_inc(&mirror->faults);
	trace_hmm_mirror_fault(mirror->id, addr, access);
	err = hmm_mirror_prepare(target, addr);
	if (unlikely(err))
		hmm_mirror_end_walk(walk, target, err);
	else
		target->pending = true;
	return err;
}

static inline void hmm_mirror_finish_target(struct hmm_mirror_walk *walk,
					    struct hmm_mirror_target *target,
					    int ret)
{
	if (!target->pending)
		return;
	if (ret == -ETIME)
		atomic64_inc(&target->mirror->timeouts);
	hmm_mirror_end_walk(walk, target, ret);
}

static __always_inline int
hmm_mirror_fault_one(struct hmm_mirror *mirror, unsigned long addr,
		     unsigned int access, const struct hmm_mirror_move *move)
{
	struct hmm_mirror_walk walk __uninitialized;
	struct hmm_mirror_target target;
	int ret;

	if (access & ~HMM_MIRROR_WRITE)
		return -EINVAL;
	ret = hmm_mirror_enter(&target, mirror);
	if (ret)
		return ret;
	/* The device memory stays as long as the mirror is entered. */
	if (move && move->devmem->desc.owner != mirror->desc.owner) {
		hmm_mirror_leave(&target);
		return -EINVAL;
	}
	hmm_mirror_init_walk(&walk, &target, 1, addr, access);
	walk.move = move;
	if (!hmm_mirror_start_target(&walk, &target, access)) {
		hmm_mirror_set_window(&walk, mirror->desc.fault_around);
		walk.deadline = jiffies + walk.timeout;
		ret = hmm_mirror_try_one(&walk);
		if (ret > 0)
			ret = hmm_mirror_serve(&walk, ret);
		hmm_mirror_finish_target(&walk, &target, ret);
		hmm_mirror_free_pfns(&walk);
	}
	hmm_mirror_leave(&target);
	return target.error;
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
	return hmm_mirror_fault_one(mirror, addr, access, NULL);
}
EXPORT_SYMBOL_GPL(hmm_mirror_fault);

/**
 * hmm_mirror_fault_move() - resolve a device page fault in device memory
 * @mirror: as for hmm_mirror_fault()
 * @addr: as for hmm_mirror_fault()
 * @access: as for hmm_mirror_fault()
 * @move: what to move to which device memory; not NULL
 *
 * If the page is not in device memory the range around it moves there first, what
 * has no memory yet included: it is not faulted in before.  That is a move that
 * nobody asked for, see hmm_migrate_unasked(): if the policy forbids it, or the
 * memory cannot move for whatever reason, the page is mapped where it is.  Otherwise
 * the same as hmm_mirror_fault().
 *
 * Context: as hmm_mirror_fault(), and as hmm_migrate_to_device().  The device memory
 * must stay until the mirror was unregistered, but is not used after that.
 * Return: as hmm_mirror_fault(), and:
 * * -EINVAL - also if @move has a wrong size or device memory of another owner
 */
int hmm_mirror_fault_move(struct hmm_mirror *mirror, unsigned long addr,
			  unsigned int access,
			  const struct hmm_mirror_move *move)
{
	if (!hmm_range_size_ok(move->size))
		return -EINVAL;
	return hmm_mirror_fault_one(mirror, addr, access, move);
}
EXPORT_SYMBOL_GPL(hmm_mirror_fault_move);

/* Serve those that were entered; all are of one process. */
static void hmm_mirror_fault_targets(struct hmm_mirror_target *targets,
				     unsigned int nr, unsigned long addr,
				     unsigned int access)
{
	struct hmm_mirror_walk walk __uninitialized;
	unsigned long around = PAGE_SIZE;
	bool first = true;
	unsigned int i;
	int ret;

	hmm_mirror_init_walk(&walk, targets, nr, addr, access);
	for (i = 0; i < nr; i++) {
		const struct hmm_mirror *mirror = targets[i].mirror;

		if (targets[i].error ||
		    hmm_mirror_start_target(&walk, &targets[i], access))
			continue;
		around = max(around, mirror->desc.fault_around);
		walk.timeout = max(walk.timeout, mirror->timeout);
		if (first)
			walk.owner = mirror->desc.owner;
		else if (mirror->desc.owner != walk.owner)
			walk.owner = NULL;
		first = false;
	}
	hmm_mirror_set_window(&walk, around);
	walk.deadline = jiffies + walk.timeout;

	ret = hmm_mirror_serve(&walk, 0);
	for (i = 0; i < nr; i++)
		hmm_mirror_finish_target(&walk, &targets[i], ret);
	hmm_mirror_free_pfns(&walk);
}

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
	bool same_mm = true;
	unsigned int i;
	int err = 0;

	if (!nr || access & ~HMM_MIRROR_WRITE)
		return -EINVAL;
	for (i = 0; i < nr; i++) {
		hmm_mirror_enter(&targets[i], targets[i].mirror);
		if (targets[i].mirror->mm != targets->mirror->mm)
			same_mm = false;
	}
	if (same_mm)
		hmm_mirror_fault_targets(targets, nr, addr, access);
	for (i = 0; i < nr; i++) {
		hmm_mirror_leave(&targets[i]);
		if (!same_mm)
			targets[i].error = -EINVAL;
		if (!err)
			err = targets[i].error;
	}
	return err;
}
EXPORT_SYMBOL_GPL(hmm_mirror_fault_many);
