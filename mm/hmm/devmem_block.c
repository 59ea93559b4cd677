// SPDX-License-Identifier: GPL-2.0
/*
 * Device memory that its driver allocates: the toolbox has the blocks of it that the
 * driver lends, and gives them back.
 *
 * The pool covers all of the memory.  The frames of a block that the driver has are
 * taken out of it, as if they were in use.  A block comes when they are freed, and
 * goes when all of them can be taken at once.
 *
 * The toolbox keeps blocks with poisoned frames until the memory is removed, and
 * leaves it to the driver what is wrong with its own: poison.c sees none of those.
 */
#include <linux/bitmap.h>
#include <linux/cleanup.h>
#include <linux/export.h>
#include <linux/genalloc.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <kunit/visibility.h>

#include "internal.h"

/* A block that became free is kept so long: the next page may not be far. */
#define HMM_BLOCK_DELAY		(HZ / 2)
/* Whoever holds a page has so long before the next block is tried. */
#define HMM_BLOCK_WAIT_MS	20

/**
 * struct hmm_devmem_sharing - what the driver has lent of a devmem
 * @devmem: device memory
 * @nr_blocks: how many blocks it has
 * @lock: a block comes or goes: protects @nr_owned, and @owned together with the
 *	frames of the block; taken in any context
 * @put_lock: held while a block is on its way to the driver
 * @nr_owned: bits set in @owned
 * @owned: a bit for each block that the toolbox has
 * @young: a bit for each block that came after @give_back ran last
 * @emptying: a bit for each block that nothing may move into
 * @nr_emptying: bits set in @emptying
 * @give_back: returns blocks that are free
 */
struct hmm_devmem_sharing {
	struct hmm_devmem *devmem;
	unsigned long nr_blocks;
	spinlock_t lock;		/* see above */
	struct mutex put_lock;		/* see above */
	unsigned long nr_owned;
	unsigned long *owned;
	unsigned long *young;
	unsigned long *emptying;
	atomic_t nr_emptying;
	struct delayed_work give_back;
};

/**
 * struct hmm_block_reclaim - a reclaim on its way
 * @devmem: device memory
 * @deadline: in jiffies
 * @cursor: how far this round has come
 * @kept: the driver kept some block in this round
 * @tried: some block was not kept
 */
struct hmm_block_reclaim {
	struct hmm_devmem *devmem;
	unsigned long deadline;
	struct hmm_lru_cursor cursor;
	bool kept;
	bool tried;
};

static u64 hmm_block_offset(unsigned long block)
{
	return (u64)block * HMM_DEVMEM_BLOCK_SIZE;
}

/* Is a block being emptied?  Nothing can move into what is free there. */
bool hmm_block_emptying(const struct hmm_devmem *devmem)
{
	return devmem->sharing && atomic_read(&devmem->sharing->nr_emptying);
}

static bool hmm_block_poisoned(const struct hmm_devmem *devmem,
			       unsigned long block)
{
	return hmm_devmem_any_set(devmem->poisoned,
				  block * HMM_DEVMEM_BLOCK_PAGES,
				  HMM_DEVMEM_BLOCK_PAGES);
}

static bool hmm_block_resident(const struct hmm_devmem *devmem,
			       unsigned long block)
{
	return hmm_devmem_any_set(devmem->resident,
				  block * HMM_DEVMEM_BLOCK_PAGES,
				  HMM_DEVMEM_BLOCK_PAGES);
}

static void hmm_block_queue(struct hmm_devmem_sharing *sharing)
{
	/* Pages are freed often. */
	if (delayed_work_pending(&sharing->give_back))
		return;
	/* Not while tasks are frozen: the device may sleep. */
	queue_delayed_work(system_freezable_wq, &sharing->give_back,
			   HMM_BLOCK_DELAY);
}

/* Frames are free again; any context. */
void hmm_block_freed(struct hmm_devmem *devmem)
{
	if (devmem->sharing)
		hmm_block_queue(devmem->sharing);
}

/**
 * hmm_block_find() - find free frames where pages may move in
 * @devmem: device memory
 * @map: bitmap of the frames in use
 * @size: bits in @map
 * @start: where to begin
 * @nr: how many frames
 * @align_mask: of the first one
 *
 * Context: any.
 * Return: index of the first frame, or @size or more if there is no such place.
 */
unsigned long hmm_block_find(struct hmm_devmem *devmem, unsigned long *map,
			     unsigned long size, unsigned long start,
			     unsigned int nr, unsigned long align_mask)
{
	struct hmm_devmem_sharing *sharing = devmem->sharing;

	for (;;) {
		unsigned long at = bitmap_find_next_zero_area(map, size, start,
							      nr, align_mask);
		unsigned long block, end;

		if (at >= size || !sharing ||
		    !atomic_read(&sharing->nr_emptying))
			return at;
		end = (at + nr - 1) / HMM_DEVMEM_BLOCK_PAGES + 1;
		block = find_next_bit(sharing->emptying, end,
				      at / HMM_DEVMEM_BLOCK_PAGES);
		if (block >= end)
			return at;
		start = (block + 1) * HMM_DEVMEM_BLOCK_PAGES;
	}
}

/* The pool's frames that are not free, of blocks that the toolbox has. */
long hmm_block_nr_taken(struct hmm_devmem *devmem)
{
	struct hmm_devmem_sharing *sharing = devmem->sharing;

	if (!sharing)
		return hmm_devmem_nr_pages(devmem) - hmm_devmem_nr_free(devmem);
	guard(spinlock_irqsave)(&sharing->lock);
	return sharing->nr_owned * HMM_DEVMEM_BLOCK_PAGES -
	       hmm_devmem_nr_free(devmem);
}

/* Base pages of the blocks that the toolbox has. */
unsigned long hmm_block_nr_owned(const struct hmm_devmem *devmem)
{
	if (!devmem->sharing)
		return hmm_devmem_nr_pages(devmem);
	return READ_ONCE(devmem->sharing->nr_owned) * HMM_DEVMEM_BLOCK_PAGES;
}

/* Poison a frame while its block cannot go; false if the driver has it. */
bool hmm_block_poison(struct hmm_devmem *devmem, unsigned long index)
{
	struct hmm_devmem_sharing *sharing = devmem->sharing;

	if (!sharing) {
		hmm_poison_mark(devmem, index);
		return true;
	}
	guard(spinlock_irqsave)(&sharing->lock);
	if (!test_bit(index / HMM_DEVMEM_BLOCK_PAGES, sharing->owned))
		return false;
	hmm_poison_mark(devmem, index);
	return true;
}

/* A block comes; false if the driver is mistaken. */
static bool hmm_block_add(struct hmm_devmem_sharing *sharing, u64 offset)
{
	unsigned long block = offset / HMM_DEVMEM_BLOCK_SIZE;
	struct hmm_devmem *devmem = sharing->devmem;

	if (WARN_ON_ONCE(!IS_ALIGNED(offset, HMM_DEVMEM_BLOCK_SIZE) ||
			 block >= sharing->nr_blocks))
		return false;
	guard(spinlock_irqsave)(&sharing->lock);
	if (WARN_ON_ONCE(test_and_set_bit(block, sharing->owned)))
		return false;
	sharing->nr_owned++;
	set_bit(block, sharing->young);
	gen_pool_free(devmem->pool, devmem->res->start + offset,
		      HMM_DEVMEM_BLOCK_SIZE);
	hmm_devmem_search_from(devmem, block * HMM_DEVMEM_BLOCK_PAGES);
	return true;
}

/**
 * hmm_block_get() - ask the driver for one more block
 * @devmem: device memory
 * @timeout_ms: how long the driver may evict its own buffers for it, in
 *	milliseconds; 0: it may not
 *
 * Context: process context, may sleep, no lock held that the get_block operation
 * may take.
 * Return:
 * * 0 - there is one more
 * * -ENOSPC - the driver has none to lend
 * * -EAGAIN - the memory is about to lose power
 * * -ENODEV - it is being removed
 */
int hmm_block_get(struct hmm_devmem *devmem, unsigned int timeout_ms)
{
	struct hmm_devmem_sharing *sharing = devmem->sharing;
	int idx, err = -EAGAIN;
	u64 offset;

	if (!sharing)
		return -ENOSPC;
	if (!hmm_devmem_enter(devmem, HMM_DEVMEM_LIVE, &idx))
		return -ENODEV;
	if (!READ_ONCE(devmem->suspended)) {
		err = devmem->desc.ops->get_block(devmem, timeout_ms, &offset);
		if (err || !hmm_block_add(sharing, offset))
			err = -ENOSPC;
	}
	hmm_devmem_leave(devmem, idx);
	/* It goes again if it turns out that nothing moves in. */
	if (!err)
		hmm_block_queue(sharing);
	return err;
}
EXPORT_SYMBOL_IF_KUNIT(hmm_block_get);

/* A block goes, if all of it is free; false if not. */
static bool hmm_block_take(struct hmm_devmem_sharing *sharing,
			   unsigned long block)
{
	struct genpool_data_fixed at = { .offset = hmm_block_offset(block) };

	guard(spinlock_irqsave)(&sharing->lock);
	/* A frame may be back in the pool just after it was poisoned. */
	if (!test_bit(block, sharing->owned) ||
	    hmm_block_poisoned(sharing->devmem, block) ||
	    !gen_pool_alloc_algo(sharing->devmem->pool, HMM_DEVMEM_BLOCK_SIZE,
				 gen_pool_fixed_alloc, &at))
		return false;
	clear_bit(block, sharing->owned);
	sharing->nr_owned--;
	return true;
}

/* The same, and back to the driver; false also if @devmem is beyond @worst. */
static bool hmm_block_put(struct hmm_devmem *devmem, unsigned long block,
			  enum hmm_devmem_state worst)
{
	bool done = false;
	int idx;

	if (hmm_block_resident(devmem, block) ||
	    !hmm_devmem_enter(devmem, worst, &idx))
		return false;
	scoped_guard(mutex, &devmem->sharing->put_lock) {
		done = hmm_block_take(devmem->sharing, block);
		if (done)
			devmem->desc.ops->put_block(devmem,
						    hmm_block_offset(block));
	}
	hmm_devmem_leave(devmem, idx);
	return done;
}

/* What others have taken to give it back has arrived. */
static void hmm_block_wait(struct hmm_devmem_sharing *sharing)
{
	mutex_lock(&sharing->put_lock);
	mutex_unlock(&sharing->put_lock);
}

/**
 * hmm_block_put_free() - give back blocks that are free
 * @devmem: device memory
 * @nr: how many at most
 * @worst: the last state of @devmem that is good enough
 *
 * Context: process context, may sleep, no lock held that the put_block operation
 * may take.
 * Return: how many went; others may have given back more.
 */
unsigned long hmm_block_put_free(struct hmm_devmem *devmem, unsigned long nr,
				 enum hmm_devmem_state worst)
{
	struct hmm_devmem_sharing *sharing = devmem->sharing;
	unsigned long block, done = 0;

	if (!sharing)
		return 0;
	for_each_set_bit(block, sharing->owned, sharing->nr_blocks) {
		if (done == nr)
			break;
		done += hmm_block_put(devmem, block, worst);
		cond_resched();
	}
	hmm_block_wait(sharing);
	return done;
}
EXPORT_SYMBOL_IF_KUNIT(hmm_block_put_free);

/* What has come just now waits for its first page: the next time. */
static void hmm_block_give_back_work(struct work_struct *work)
{
	struct hmm_devmem_sharing *sharing =
		container_of(to_delayed_work(work), struct hmm_devmem_sharing,
			     give_back);
	bool again = false;
	unsigned long block;

	for_each_set_bit(block, sharing->owned, sharing->nr_blocks) {
		if (test_and_clear_bit(block, sharing->young))
			again = true;
		else if (!test_bit(block, sharing->emptying))
			hmm_block_put(sharing->devmem, block, HMM_DEVMEM_LIVE);
		cond_resched();
	}
	if (again)
		hmm_block_queue(sharing);
}

/* The next block to empty, without poison; NULL if all were tried. */
static struct hmm_devmem_block *hmm_block_next_victim(struct hmm_block_reclaim *r)
{
	struct hmm_devmem *devmem = r->devmem;
	struct hmm_devmem_block *victim;

	while ((victim = hmm_lru_take(devmem, &r->cursor))) {
		if (!hmm_block_poisoned(devmem, victim - devmem->blocks))
			break;
		hmm_lru_put(devmem, victim);
	}
	return victim;
}

/*
 * Empty a block and give it back; *@done counts those.  Returns 0 also if some page
 * stays, or -ENOMEM, -ENODEV, -EINTR.
 */
static int hmm_block_empty(struct hmm_block_reclaim *r, unsigned long block,
			   unsigned long *done)
{
	struct hmm_devmem *devmem = r->devmem;
	struct hmm_devmem_sharing *sharing = devmem->sharing;
	struct hmm_devmem_evict_result result;
	int err;

	r->tried = true;
	set_bit(block, sharing->emptying);
	atomic_inc(&sharing->nr_emptying);
	err = hmm_devmem_evict_range(devmem, hmm_block_offset(block),
				     HMM_DEVMEM_BLOCK_SIZE, HMM_BLOCK_WAIT_MS,
				     &result);
	if (!err)
		*done += hmm_block_put(devmem, block, HMM_DEVMEM_LIVE);
	atomic_dec(&sharing->nr_emptying);
	clear_bit(block, sharing->emptying);
	return err == -ETIME ? 0 : err;
}

/* Is it time to give up?  0, -ENODEV, -EINTR or -ETIME. */
static int hmm_block_expired(const struct hmm_block_reclaim *r)
{
	if (READ_ONCE(r->devmem->state) != HMM_DEVMEM_LIVE)
		return -ENODEV;
	if (fatal_signal_pending(current))
		return -EINTR;
	return time_after(jiffies, r->deadline) ? -ETIME : 0;
}

/* Try each block once, until @nr have gone.  Returns 0 or a negative errno. */
static int hmm_block_reclaim_round(struct hmm_block_reclaim *r,
				   unsigned long nr, unsigned long *done)
{
	struct hmm_devmem *devmem = r->devmem;
	struct hmm_devmem_block *victim;
	int err = 0;

	r->cursor = (struct hmm_lru_cursor){
		.before = hmm_devmem_clock(devmem) };
	r->kept = false;
	r->tried = false;
	*done += hmm_block_put_free(devmem, nr - *done, HMM_DEVMEM_LIVE);
	while (*done < nr && !err && (victim = hmm_block_next_victim(r))) {
		if (hmm_evict_allowed(devmem,
				      hmm_devmem_block_index(devmem, victim),
				      HMM_DEVMEM_LIVE))
			err = hmm_block_empty(r, victim - devmem->blocks, done);
		else
			r->kept = true;
		hmm_lru_put(devmem, victim);
		if (!err && *done < nr)
			err = hmm_block_expired(r);
		cond_resched();
	}
	return err;
}

/* Does the toolbox have a block that it could give back some day? */
static bool hmm_block_any(const struct hmm_devmem_sharing *sharing)
{
	unsigned long block;

	for_each_set_bit(block, sharing->owned, sharing->nr_blocks)
		if (!hmm_block_poisoned(sharing->devmem, block))
			return true;
	return false;
}

/**
 * hmm_devmem_reclaim_blocks() - get blocks back that were lent by get_block
 * @devmem: device memory
 * @nr_blocks: how many blocks of 2 MiB
 * @timeout_ms: give up after so many milliseconds
 * @reclaimed: out, how many this call has given back, after an error as well
 *
 * For a driver that needs room for buffers of its own.  Takes blocks that are free,
 * then those whose pages were migrated in or touched longest ago, as far as the
 * may_evict operation allows; nothing moves into a block that is being emptied.
 * A block with a page that somebody holds is left for the next one, and tried again.
 * The put_block operation is called for each of them before this returns.
 * Meanwhile others may get a block, or give one back: what counts in the end is what
 * the driver has.
 *
 * Context: process context, may sleep, no folio lock held and no lock that the
 * put_block operation takes.
 * Return: 0 if so many were given back or there are no more, or:
 * * -EOPNOTSUPP - the memory has no get_block operation
 * * -EBUSY - the driver keeps all that is left
 * * -ETIME - the time is over
 * * -ENOMEM - RAM ran out
 * * -ENODEV - the memory is being removed
 * * -EINTR - a fatal signal arrived
 */
int hmm_devmem_reclaim_blocks(struct hmm_devmem *devmem, unsigned long nr_blocks,
			      unsigned int timeout_ms, unsigned long *reclaimed)
{
	struct hmm_block_reclaim r = {
		.devmem = devmem,
		.deadline = jiffies + msecs_to_jiffies(timeout_ms),
	};
	int err = 0;

	*reclaimed = 0;
	if (!devmem->sharing)
		return -EOPNOTSUPP;
	while (*reclaimed < nr_blocks && !err) {
		unsigned long before = *reclaimed;

		err = hmm_block_reclaim_round(&r, nr_blocks, reclaimed);
		if (err || *reclaimed == nr_blocks ||
		    !hmm_block_any(devmem->sharing))
			break;
		if (r.kept && !r.tried && !r.cursor.passed_over)
			err = -EBUSY;
		else
			err = hmm_block_expired(&r);
		/* Whoever holds what is left needs time to let go. */
		if (!err && *reclaimed == before)
			schedule_timeout_uninterruptible(1);
	}
	hmm_block_wait(devmem->sharing);
	return err;
}
EXPORT_SYMBOL_GPL(hmm_devmem_reclaim_blocks);

/* If the driver allocates the memory: all of it is the driver's. */
int hmm_block_init(struct hmm_devmem *devmem, u64 size)
{
	unsigned long nr_blocks = size / HMM_DEVMEM_BLOCK_SIZE;
	unsigned long nr_longs = BITS_TO_LONGS(nr_blocks);
	struct hmm_devmem_sharing *sharing;

	if (!devmem->desc.ops->get_block)
		return 0;
	sharing = kvzalloc(sizeof(*sharing) + 3 * nr_longs * sizeof(long),
			   GFP_KERNEL);
	if (!sharing)
		return -ENOMEM;
	sharing->devmem = devmem;
	sharing->nr_blocks = nr_blocks;
	spin_lock_init(&sharing->lock);
	mutex_init(&sharing->put_lock);
	sharing->owned = (unsigned long *)(sharing + 1);
	sharing->young = sharing->owned + nr_longs;
	sharing->emptying = sharing->young + nr_longs;
	INIT_DELAYED_WORK(&sharing->give_back, hmm_block_give_back_work);
	/* The pool is whole. */
	gen_pool_alloc(devmem->pool, size);
	devmem->sharing = sharing;
	return 0;
}

/* The driver goes, and takes what is free; no other operation runs or will run. */
void hmm_block_detach(struct hmm_devmem *devmem)
{
	if (!devmem->sharing)
		return;
	disable_delayed_work_sync(&devmem->sharing->give_back);
	hmm_block_put_free(devmem, ULONG_MAX, HMM_DEVMEM_DETACHED);
}

/* After that the last page was freed: all that is left, with poisoned frames, too. */
void hmm_block_put_rest(struct hmm_devmem *devmem)
{
	struct hmm_devmem_sharing *sharing = devmem->sharing;
	unsigned long block;

	if (!sharing)
		return;
	/* As the pool has these frames their bits stay. */
	for_each_set_bit(block, sharing->owned, sharing->nr_blocks)
		devmem->desc.ops->put_block(devmem, hmm_block_offset(block));
}

/* Nobody uses the memory any more: give the pool what it lacks. */
void hmm_block_destroy(struct hmm_devmem *devmem)
{
	struct hmm_devmem_sharing *sharing = devmem->sharing;
	unsigned long block;

	if (!sharing)
		return;
	for_each_clear_bit(block, sharing->owned, sharing->nr_blocks)
		gen_pool_free(devmem->pool,
			      devmem->res->start + hmm_block_offset(block),
			      HMM_DEVMEM_BLOCK_SIZE);
	mutex_destroy(&sharing->put_lock);
	devmem->sharing = NULL;
	kvfree(sharing);
}
