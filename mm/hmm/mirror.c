// SPDX-License-Identifier: GPL-2.0
/*
 * Mirror of a process page table in a device page table.
 *
 * The mirrored range is cut at PMD_SIZE boundaries.  A piece that the device
 * has touched has an interval notifier and an update lock of its own, so that
 * an invalidation makes nobody retry but the faults on the same piece.
 */
#include <linux/device.h>
#include <linux/export.h>
#include <linux/mmap_lock.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#define CREATE_TRACE_POINTS
#include <trace/events/hmm.h>

#include "mirror.h"

/* Start the flush of all that was zapped. */
static void hmm_mirror_start_flush(struct hmm_mirror *mirror)
{
	lockdep_assert_held(&mirror->flush_lock);

	if (mirror->flush_started == mirror->zapped)
		return;
	mirror->desc.ops->flush_start(mirror, mirror->flush_from,
				      mirror->flush_to);
	mirror->flush_started = mirror->zapped;
	atomic64_inc(&mirror->flushes);
}

/*
 * Note that [start, end) was zapped.  Returns the ticket to wait for; @last: the
 * invalidation touches nothing more of this mirror, so the flush can start.
 */
static u64 hmm_mirror_zapped(struct hmm_mirror *mirror, unsigned long start,
			     unsigned long end, bool last)
{
	guard(spinlock)(&mirror->flush_lock);
	if (mirror->flush_started == mirror->zapped) {
		mirror->flush_from = start;
		mirror->flush_to = end;
	} else {
		mirror->flush_from = min(mirror->flush_from, start);
		mirror->flush_to = max(mirror->flush_to, end);
	}
	mirror->zapped++;
	if (last)
		hmm_mirror_start_flush(mirror);
	return mirror->zapped;
}

/* Wait until what the ticket stands for is flushed. */
static void hmm_mirror_wait_flush(struct hmm_mirror *mirror, u64 ticket,
				  bool nonblock)
{
	u64 started;

	spin_lock(&mirror->flush_lock);
	if (mirror->flush_done >= ticket) {
		spin_unlock(&mirror->flush_lock);
		return;
	}
	/* Who was to be the last may have been spared. */
	if (mirror->flush_started < ticket)
		hmm_mirror_start_flush(mirror);
	started = mirror->flush_started;
	spin_unlock(&mirror->flush_lock);

	mirror->desc.ops->flush_wait(mirror, nonblock);

	spin_lock(&mirror->flush_lock);
	mirror->flush_done = max(mirror->flush_done, started);
	spin_unlock(&mirror->flush_lock);
}

/* Take [start, end) of a piece from the device. */
void hmm_mirror_drop(struct hmm_mirror_piece *piece, unsigned long start,
		     unsigned long end)
{
	struct hmm_mirror *mirror = piece->mirror;

	lockdep_assert_held(&piece->update_lock);

	hmm_mirror_dma_widen(piece, &start, &end);
	mirror->desc.ops->invalidate(mirror, start, end, false);
	if (mirror->desc.ops->flush_start)
		hmm_mirror_wait_flush(mirror,
				      hmm_mirror_zapped(mirror, start, end,
							true), false);
	hmm_mirror_dma_unlink(piece, start, end);
}

static bool hmm_mirror_own_exclusive(const struct hmm_mirror *mirror,
				     const struct mmu_notifier_range *range)
{
	return range->event == MMU_NOTIFY_EXCLUSIVE && range->owner == mirror;
}

/* Does the invalidation touch a later piece of the mirror, too? */
static bool hmm_mirror_more_pieces(struct hmm_mirror_piece *piece,
				   const struct mmu_notifier_range *range)
{
	unsigned long index = piece_start(piece) >> PMD_SHIFT;

	return range->end > piece_end(piece) &&
	       xa_find_after(&piece->mirror->pieces, &index,
			     (range->end - 1) >> PMD_SHIFT, XA_PRESENT);
}

/*
 * Flush after a zap: in a second pass, so that other pieces and other devices
 * join in, unless it must not block or the piece is in a second pass already.
 * What our own exclusive access invalidates is mapped again without a look at
 * the sequence: no second pass may come after that.
 */
static void hmm_mirror_flush_zapped(struct hmm_mirror_piece *piece,
				    const struct mmu_notifier_range *range,
				    unsigned long start, unsigned long end,
				    struct mmu_interval_notifier_finish **finish)
{
	bool nonblock = !mmu_notifier_range_blockable(range);
	struct hmm_mirror *mirror = piece->mirror;
	bool two_pass = !nonblock && !piece->finish.busy &&
			!hmm_mirror_own_exclusive(mirror, range);
	u64 ticket;

	ticket = hmm_mirror_zapped(mirror, start, end, !two_pass ||
				   !hmm_mirror_more_pieces(piece, range));
	if (two_pass) {
		piece->finish.busy = true;
		piece->finish.ticket = ticket;
		piece->finish.start = start;
		piece->finish.end = end;
		*finish = &piece->finish.base;
		return;
	}
	hmm_mirror_wait_flush(mirror, ticket, nonblock);
	hmm_mirror_dma_unlink(piece, start, end);
}

static bool hmm_mirror_invalidate(struct mmu_interval_notifier *sub,
				  const struct mmu_notifier_range *range,
				  unsigned long cur_seq,
				  struct mmu_interval_notifier_finish **finish)
{
	struct hmm_mirror_piece *piece =
		container_of(sub, struct hmm_mirror_piece, sub);
	bool nonblock = !mmu_notifier_range_blockable(range);
	struct hmm_mirror *mirror = piece->mirror;
	unsigned long start, end;
	bool done;

	if (!nonblock)
		mutex_lock(&piece->update_lock);
	else if (!mutex_trylock(&piece->update_lock))
		return false;

	mmu_interval_set_seq(sub, cur_seq);
	if (!hmm_mirror_own_exclusive(mirror, range))
		piece->foreign++;
	/*
	 * Migrations of our own are not spared: while a page is copied the
	 * device must not write to it.
	 */
	start = max(range->start, piece_start(piece));
	end = min(range->end, piece_end(piece));
	hmm_mirror_dma_widen(piece, &start, &end);
	done = mirror->desc.ops->invalidate(mirror, start, end, nonblock);
	if (done && mirror->desc.ops->flush_start)
		hmm_mirror_flush_zapped(piece, range, start, end, finish);
	else if (done)
		hmm_mirror_dma_unlink(piece, start, end);
	atomic64_inc(&mirror->invalidations);
	trace_hmm_mirror_invalidate(mirror->id, start, end, range->event, done);
	mutex_unlock(&piece->update_lock);
	return done;
}

/*
 * The sequence was set in the first pass, so that nothing is mapped between the
 * passes.
 */
static void hmm_mirror_invalidate_finish(struct mmu_interval_notifier_finish *f)
{
	struct hmm_mirror_finish *finish =
		container_of(f, struct hmm_mirror_finish, base);
	struct hmm_mirror_piece *piece =
		container_of(finish, struct hmm_mirror_piece, finish);

	hmm_mirror_wait_flush(piece->mirror, finish->ticket, false);
	mutex_lock(&piece->update_lock);
	hmm_mirror_dma_unlink(piece, finish->start, finish->end);
	finish->busy = false;
	mutex_unlock(&piece->update_lock);
}

static const struct mmu_interval_notifier_ops hmm_mirror_notifier_ops = {
	.invalidate_start = hmm_mirror_invalidate,
	.invalidate_finish = hmm_mirror_invalidate_finish,
};

/* One place, one lock class. */
static void hmm_mirror_init_update_lock(struct mutex *update_lock)
{
	mutex_init(update_lock);
}

/* Memory reclaim invalidates: teach lockdep before it happens. */
static void hmm_mirror_prime_lockdep(void)
{
	struct mutex lock;	/* of the class of the update locks */

	if (!IS_ENABLED(CONFIG_LOCKDEP))
		return;
	hmm_mirror_init_update_lock(&lock);
	fs_reclaim_acquire(GFP_KERNEL);
	mutex_lock(&lock);
	mutex_unlock(&lock);
	fs_reclaim_release(GFP_KERNEL);
	mutex_destroy(&lock);
}

static void hmm_mirror_free_piece(struct hmm_mirror_piece *piece)
{
	hmm_mirror_dma_free(piece->mirror->desc.dma_dev, piece->dma);
	mutex_destroy(&piece->update_lock);
	kfree(piece);
}

/* Of an unregistered mirror. */
static void hmm_mirror_free_pieces(struct hmm_mirror *mirror)
{
	struct hmm_mirror_piece *piece;
	unsigned long index;

	xa_for_each(&mirror->pieces, index, piece)
		hmm_mirror_free_piece(piece);
	xa_destroy(&mirror->pieces);
}

static struct hmm_mirror_piece *hmm_mirror_new_piece(struct hmm_mirror *mirror)
{
	struct hmm_mirror_piece *piece = kzalloc_obj(*piece, GFP_KERNEL_ACCOUNT);

	if (!piece)
		return NULL;
	piece->mirror = mirror;
	hmm_mirror_init_update_lock(&piece->update_lock);
	if (mirror->desc.dma_dev) {
		piece->dma = hmm_mirror_dma_alloc(mirror->desc.dma_dev);
		if (!piece->dma) {
			hmm_mirror_free_piece(piece);
			return NULL;
		}
	}
	return piece;
}

/* Find or create the piece for @addr; the slow part of hmm_mirror_get_piece(). */
struct hmm_mirror_piece *hmm_mirror_find_piece(struct hmm_mirror *mirror,
					       unsigned long addr)
{
	unsigned long index = addr >> PMD_SHIFT;
	unsigned long start = max(addr & PMD_MASK, mirror->desc.start);
	unsigned long end = pmd_addr_end(addr, mirror->desc.end);
	struct hmm_mirror_piece *piece;
	int err;

	if (addr < mirror->desc.start || addr >= mirror->desc.end)
		return ERR_PTR(-ERANGE);
	piece = xa_load(&mirror->pieces, index);
	if (piece) {
		WRITE_ONCE(mirror->last_piece, piece);
		return piece;
	}

	/* Two for one piece would have two update locks. */
	guard(mutex)(&mirror->create_lock);
	piece = xa_load(&mirror->pieces, index);
	if (piece)
		return piece;

	piece = hmm_mirror_new_piece(mirror);
	if (!piece)
		return ERR_PTR(-ENOMEM);
	err = xa_reserve(&mirror->pieces, index, GFP_KERNEL);
	if (!err)
		err = mmu_interval_notifier_insert(&piece->sub, mirror->mm,
						   start, end - start,
						   &hmm_mirror_notifier_ops);
	if (err) {
		xa_release(&mirror->pieces, index);
		hmm_mirror_free_piece(piece);
		return ERR_PTR(err);
	}
	xa_store(&mirror->pieces, index, piece, GFP_KERNEL);
	return piece;
}

/*
 * Let the mirror go while a CPU fault may block, for as long as userspace likes:
 * only the pieces stay, as memory.
 */
void hmm_mirror_block(struct hmm_mirror_target *target)
{
	atomic_inc(&target->mirror->blocked);
	percpu_ref_put(&target->mirror->users);
}

/* Returns false if it was unregistered meanwhile; then the pieces are gone, too. */
bool hmm_mirror_unblock(struct hmm_mirror_target *target)
{
	struct hmm_mirror *mirror = target->mirror;

	target->entered = percpu_ref_tryget_live(&mirror->users);
	if (atomic_dec_and_test(&mirror->blocked))
		hmm_mirror_free_pieces(mirror);
	return target->entered;
}

static void hmm_mirror_idle(struct percpu_ref *users)
{
	complete(&container_of(users, struct hmm_mirror, users)->idle);
}

static bool hmm_mirror_desc_ok(const struct hmm_mirror_desc *desc)
{
	const struct hmm_mirror_ops *ops = desc->ops;

	return ops && ops->map && ops->invalidate &&
	       !ops->flush_start == !ops->flush_wait &&
	       desc->start < desc->end && PAGE_ALIGNED(desc->start | desc->end) &&
	       desc->end <= TASK_SIZE_MAX &&
	       (desc->page_sizes & PAGE_SIZE) &&
	       !(desc->page_sizes & ~GENMASK(PMD_SHIFT, PAGE_SHIFT)) &&
	       hmm_range_size_ok(desc->fault_around);
}

/* What the driver left at 0. */
static void hmm_mirror_set_defaults(struct hmm_mirror_desc *desc)
{
	if (!desc->end)
		desc->end = TASK_SIZE_MAX;
	if (!desc->page_sizes)
		desc->page_sizes = PAGE_SIZE;
	if (!desc->fault_around)
		desc->fault_around = PAGE_SIZE;
	if (!desc->timeout_ms)
		desc->timeout_ms = HMM_MIRROR_DEFAULT_TIMEOUT_MS;
}

/**
 * hmm_mirror_register() - start to mirror a process address range
 * @mirror: the mirror, zeroed or unregistered before
 * @mm: the process's address space; the mirror keeps the struct, not the
 *	process.  NULL, the mm of a kernel thread, is no process
 * @desc: what to mirror and how; copied
 *
 * Nothing is mapped on the device yet: faults and hmm_mirror_prefetch() do that.
 * A process may have any number of mirrors.  A child does not inherit them.
 * When the process exits all device mappings are invalidated; the mirror stays
 * registered.
 *
 * Context: process context, may sleep.
 * Return: 0, or:
 * * -EINVAL - @desc breaks a rule given with it or with struct hmm_mirror_ops
 * * -EOPNOTSUPP - the DMA device needs bounce buffers or bookkeeping for each page
 * * -ESRCH - there is no process, or it has exited
 * * -EINTR - a signal is pending
 * * -ENOMEM - no memory
 */
int hmm_mirror_register(struct hmm_mirror *mirror, struct mm_struct *mm,
			const struct hmm_mirror_desc *desc)
{
	struct hmm_mirror_desc full = *desc;
	int err;

	hmm_mirror_set_defaults(&full);
	if (!hmm_mirror_desc_ok(&full))
		return -EINVAL;
	if (full.dma_dev) {
		err = hmm_mirror_dma_check(full.dma_dev);
		if (err)
			return err;
	}
	if (!mm || !mmget_not_zero(mm))
		return -ESRCH;

	hmm_mirror_prime_lockdep();
	memset(mirror, 0, sizeof(*mirror));
	mirror->desc = full;
	mirror->timeout = msecs_to_jiffies(full.timeout_ms);
	xa_init(&mirror->pieces);
	mutex_init(&mirror->create_lock);
	spin_lock_init(&mirror->flush_lock);
	init_completion(&mirror->idle);
	atomic_set(&mirror->blocked, 1);
	/* The first notifier of an mm minds signals: not in a device fault. */
	err = mmu_notifier_register(NULL, mm);
	if (!err)
		err = percpu_ref_init(&mirror->users, hmm_mirror_idle, 0,
				      GFP_KERNEL);
	if (!err) {
		mmgrab(mm);
		mirror->mm = mm;
		get_device(full.dma_dev);
		hmm_debugfs_add_mirror(mirror);
	}
	mmput(mm);
	return err;
}
EXPORT_SYMBOL_GPL(hmm_mirror_register);

/**
 * hmm_mirror_unregister() - stop to mirror
 * @mirror: a registered mirror
 *
 * Waits for calls in flight, unless they are in a CPU fault, and lets them fail,
 * then invalidates all that is mapped on the device.  When it returns no operation
 * runs or will be called.  Calls that were in a CPU fault return later, with
 * -ESHUTDOWN; keep the mirror's memory until then, and do not register it again.
 *
 * Context: process context, may sleep; not from an operation of the mirror, and
 * no lock held that one of them takes.
 */
void hmm_mirror_unregister(struct hmm_mirror *mirror)
{
	struct hmm_mirror_piece *piece;
	unsigned long index;
	u64 ticket = 0;

	hmm_debugfs_remove_mirror(mirror);
	percpu_ref_kill(&mirror->users);
	wait_for_completion(&mirror->idle);

	/* Nobody maps any more. */
	xa_for_each(&mirror->pieces, index, piece) {
		mutex_lock(&piece->update_lock);
		mirror->desc.ops->invalidate(mirror, piece_start(piece),
					     piece_end(piece), false);
		if (mirror->desc.ops->flush_start)
			ticket = hmm_mirror_zapped(mirror, piece_start(piece),
						   piece_end(piece), false);
		mutex_unlock(&piece->update_lock);
	}
	if (ticket)
		hmm_mirror_wait_flush(mirror, ticket, false);
	xa_for_each(&mirror->pieces, index, piece) {
		mmu_interval_notifier_remove(&piece->sub);
		mutex_lock(&piece->update_lock);
		hmm_mirror_dma_unlink(piece, piece_start(piece),
				      piece_end(piece));
		mutex_unlock(&piece->update_lock);
		hmm_mirror_dma_free(mirror->desc.dma_dev, piece->dma);
		piece->dma = NULL;
	}
	percpu_ref_exit(&mirror->users);
	put_device(mirror->desc.dma_dev);
	mmdrop(mirror->mm);
	if (atomic_dec_and_test(&mirror->blocked))
		hmm_mirror_free_pieces(mirror);
}
EXPORT_SYMBOL_GPL(hmm_mirror_unregister);

/**
 * hmm_mirror_get_stats() - read the counters
 * @mirror: a registered mirror
 * @stats: filled; the counters are not read at one instant
 *
 * Context: any.
 */
void hmm_mirror_get_stats(struct hmm_mirror *mirror,
			  struct hmm_mirror_stats *stats)
{
	stats->faults = atomic64_read(&mirror->faults);
	stats->retries = atomic64_read(&mirror->retries);
	stats->timeouts = atomic64_read(&mirror->timeouts);
	stats->invalidations = atomic64_read(&mirror->invalidations);
	stats->flushes = atomic64_read(&mirror->flushes);
	stats->mapped_pages = atomic64_read(&mirror->mapped_pages);
	stats->mapped_entries = atomic64_read(&mirror->mapped_entries);
	stats->dma_retries = atomic64_read(&mirror->dma_retries);
}
EXPORT_SYMBOL_GPL(hmm_mirror_get_stats);
