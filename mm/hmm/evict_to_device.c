// SPDX-License-Identifier: GPL-2.0
/*
 * Eviction of device memory to another device memory.
 *
 * evict.c leads it: which pages, in which order, for how long.  Here is what differs
 * for a destination in device memory.
 *
 * Two evictions may run in opposite directions.  Neither waits with folios locked
 * that the other one needs: source folios are only tried, and page frames of the
 * target, whose locks may have to be waited for, are taken before.  A step is in the
 * read sections of both devmems, and hmm_devmem_remove() of either waits for it with
 * nothing held.
 */
#include <linux/bitmap.h>
#include <linux/export.h>
#include <linux/jiffies.h>
#include <linux/migrate.h>
#include <linux/overflow.h>
#include <linux/pagemap.h>
#include <linux/slab.h>

#include "evict.h"

static void hmm_evict_target_free(struct hmm_evict_target *target)
{
	if (target->between)
		hmm_between_free(target->between);
	kvfree(target);
}

static struct hmm_evict_target *hmm_evict_target_alloc(struct hmm_devmem *from,
						       struct hmm_devmem *devmem)
{
	struct hmm_evict_target *target;

	target = kvzalloc(struct_size(target, frames, HMM_DEVMEM_BLOCK_PAGES),
			  GFP_KERNEL);
	if (!target)
		return NULL;
	target->devmem = devmem;
	target->between = hmm_between_alloc(from, devmem, HMM_DEVMEM_BLOCK_PAGES);
	if (target->between)
		return target;
	hmm_evict_target_free(target);
	return NULL;
}

/*
 * Until hmm_evict_target_leave() pages can arrive; NULL: in RAM.  Returns 0, -ENODEV or
 * -EAGAIN.
 */
int hmm_evict_target_enter(struct hmm_evict_target *target)
{
	if (!target)
		return 0;
	if (!hmm_devmem_enter(target->devmem, HMM_DEVMEM_LIVE, &target->idx))
		return -ENODEV;
	if (!READ_ONCE(target->devmem->suspended))
		return 0;
	hmm_devmem_leave(target->devmem, target->idx);
	return -EAGAIN;
}

void hmm_evict_target_leave(struct hmm_evict_target *target)
{
	if (target)
		hmm_devmem_leave(target->devmem, target->idx);
}

/* Not within a step: does the target's driver lend more memory, for want of that? */
bool hmm_evict_target_grow(struct hmm_evict_target *target)
{
	return hmm_devmem_nr_free(target->devmem) < HMM_DEVMEM_BLOCK_PAGES &&
	       !hmm_block_get(target->devmem, 0);
}

static void hmm_evict_count_no_room(struct hmm_devmem_evict_result *round, int err,
				    unsigned long nr)
{
	if (err == -ENOSPC)
		round->no_room += nr;
	else
		round->no_ram += nr;
}

/*
 * Take a huge folio for the next step.  NULL with an @err of 0 if there is none, but
 * room for all of its pages; otherwise @err is -ENOSPC or -ENOMEM and @round says that
 * they stay.
 */
struct folio *
hmm_evict_target_take_huge(struct hmm_evict_target *target,
			   struct hmm_devmem_evict_result *round, int *err)
{
	*err = 0;
	if (hmm_devmem_huge_ok(target->devmem))
		target->huge = hmm_devmem_alloc_huge(target->devmem, NULL,
						     err);
	if (!target->huge && !*err &&
	    hmm_devmem_nr_free(target->devmem) < HMM_PMD_PAGES)
		*err = -ENOSPC;
	if (*err)
		hmm_evict_count_no_room(round, *err, HMM_PMD_PAGES);
	return target->huge;
}

/*
 * Take small pages for the next step, unless there is a huge one.  @err: -ENOSPC or
 * -ENOMEM if there are fewer than @nr, otherwise 0.  Returns false if there are none,
 * and @round says that all stay.
 */
bool hmm_evict_target_take(struct hmm_evict_target *target, unsigned long nr,
			   struct hmm_devmem_evict_result *round, int *err)
{
	*err = 0;
	if (target->huge)
		return true;
	target->nr_frames = hmm_devmem_alloc_pages(target->devmem, NULL, nr,
						   target->frames, err);
	if (!*err && target->nr_frames < nr)
		*err = -ENOSPC;
	if (target->nr_frames)
		return true;
	hmm_evict_count_no_room(round, *err, nr);
	return false;
}

/* Give back what the step did not use. */
void hmm_evict_target_release(struct hmm_evict_target *target)
{
	hmm_devmem_free_pages(target->frames + target->nr_used,
			      target->nr_frames - target->nr_used);
	target->nr_frames = 0;
	target->nr_used = 0;
	if (target->huge) {
		folio_unlock(target->huge);
		folio_put(target->huge);
		target->huge = NULL;
	}
}

/*
 * Choose destinations among what was taken.  A folio that was split or has become
 * huge meanwhile is left for the next round.
 */
void hmm_evict_target_choose(struct hmm_evict_target *target,
			     struct hmm_migration *m, unsigned long nr)
{
	unsigned long i;

	m->nr_copies = 0;
	for (i = 0; i < nr; i++) {
		struct page *src = migrate_pfn_to_page(m->src[i]);

		if (!src || !(m->src[i] & MIGRATE_PFN_MIGRATE) ||
		    !hmm_migrate_src_ok(page_folio(src), NULL))
			continue;
		if (!(m->src[i] & MIGRATE_PFN_COMPOUND)) {
			if (target->nr_used < target->nr_frames)
				hmm_migrate_set_dst(m, i,
						    target->frames[target->nr_used++],
						    0);
		} else if (target->huge) {
			hmm_migrate_set_dst(m, i, &target->huge->page,
					    HMM_PMD_ORDER);
			target->huge = NULL;
		}
	}
}

/* Book what arrived; that it left the source is hmm_migrate_book_ram()'s. */
void hmm_evict_target_book(struct hmm_evict_target *target,
			   struct hmm_migration *m, unsigned long nr)
{
	unsigned long moved = 0, filled = 0;

	hmm_migrate_book_device(target->devmem, m, nr, &moved, &filled);
}

/**
 * hmm_devmem_evict_to() - move pages to another device memory, whoever owns them
 * @devmem: device memory
 * @target: device memory to move them to, of whatever kind, driver and owner
 * @nr_pages: how many base pages to move; ULONG_MAX for all
 * @timeout_ms: give up after so many milliseconds
 * @result: filled; 0 after -EINVAL; may be NULL
 *
 * As hmm_devmem_evict(), but to @target.  What has no room there stays where it is;
 * nothing of the target's is evicted for it (get_block is called with a time of 0),
 * and nothing goes to RAM.  To make room
 * evict from the target first, to go on to RAM call hmm_devmem_evict() afterwards.
 * A huge page moves as one if @target has a free one for it; if it has none, but
 * room for all of its pages, it is split; otherwise it stays.  Pages that move are
 * the youngest in @target, charged to the cgroup of the caller.
 *
 * One of the devices copies if it reaches the other one's memory, see the copy_peer
 * operation; otherwise @devmem's driver copies to RAM and @target's driver from there,
 * each with its copy operation.
 *
 * Context: process context, may sleep, no folio lock held.  For hmm_devmem_remove()
 * it is a call with either devmem.
 * Return: 0 if so many were moved or none is left, or:
 * * -EINVAL - @target is NULL or @devmem itself
 * * -ENOSPC - @target or the caller's cgroup there is full
 * * -EBUSY - the driver of @devmem keeps all that is left
 * * -ETIME - the time is over
 * * -ENOMEM - RAM ran out
 * * -ENODEV - one of the memories is being removed
 * * -EAGAIN - the system is going to sleep, and @target loses power then
 * * -EINTR - a fatal signal arrived
 */
int hmm_devmem_evict_to(struct hmm_devmem *devmem, struct hmm_devmem *target,
			unsigned long nr_pages, unsigned int timeout_ms,
			struct hmm_devmem_evict_result *result)
{
	struct hmm_evict_control control = {
		.nr_pages = nr_pages,
		.before = U64_MAX,
		.deadline = jiffies + msecs_to_jiffies(timeout_ms),
		.worst = HMM_DEVMEM_LIVE,
	};
	struct hmm_devmem_evict_result unwanted;
	struct hmm_evict_target *to;
	int err;

	if (!result)
		result = &unwanted;
	*result = (struct hmm_devmem_evict_result){};
	if (!target || target == devmem)
		return -EINVAL;
	to = hmm_evict_target_alloc(devmem, target);
	if (!to) {
		result->untried = bitmap_weight(devmem->resident,
						hmm_devmem_nr_pages(devmem));
		return -ENOMEM;
	}
	control.target = to;
	err = hmm_evict(devmem, &control, result);
	hmm_evict_target_free(to);
	return err;
}
EXPORT_SYMBOL_GPL(hmm_devmem_evict_to);
