// SPDX-License-Identifier: GPL-2.0
/*
 * Eviction of device memory: by page frame, whoever maps it, without mmap_lock.
 *
 * Victims are blocks, the one that was used longest ago first.  The list of blocks
 * is in the order of their use; an eviction goes along it as far as what was used
 * when it began, and over and over again.
 */
#include <linux/export.h>
#include <linux/jiffies.h>
#include <linux/migrate.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include <trace/events/hmm.h>

#include "evict.h"

/* For the limit of a cgroup; whoever sets it tries again. */
#define HMM_EVICT_CHARGED_WAIT	HZ

/**
 * struct hmm_eviction - an eviction on its way
 * @devmem: device memory
 * @m: working memory
 * @control: what the caller wants
 * @removing: the memory is being removed: no veto, and no signal ends it
 * @short_of_memory: in this round the driver had none to copy a single page
 * @cursor: how far this round has come
 * @result: what the caller gets; what stayed is that of the round before
 * @round: this round's
 * @round_began: for a trace event
 */
struct hmm_eviction {
	struct hmm_devmem *devmem;
	struct hmm_migration *m;
	struct hmm_evict_control control;
	bool removing;
	bool short_of_memory;
	struct hmm_lru_cursor cursor;
	struct hmm_devmem_evict_result *result;
	struct hmm_devmem_evict_result round;
	u64 round_began;
};

/* @again: not all of it was tried, begin with it the next time. */
static void hmm_evict_put_block(struct hmm_eviction *e,
				struct hmm_devmem_block *block, bool again)
{
	hmm_lru_put(e->devmem, block);
	if (again) {
		e->cursor.last = NULL;
		e->cursor.last_used--;
	}
}

static void hmm_evict_begin_round(struct hmm_eviction *e)
{
	e->cursor = (struct hmm_lru_cursor){
		.before = min(e->control.before, hmm_devmem_clock(e->devmem)) };
	e->round = (struct hmm_devmem_evict_result){};
	e->short_of_memory = false;
	e->round_began = hmm_trace_begin(hmm_evict_round);
}

/* Tell why pages of a step stayed; @chosen of them had a destination. */
static void hmm_evict_count(struct hmm_eviction *e, unsigned long nr,
			    unsigned long chosen, unsigned long no_dst, int err,
			    int copy_err, unsigned long moved)
{
	unsigned long copied = hmm_migration_nr_chosen(e->m, nr);

	e->round.evicted += moved;
	if (err == -ENOSPC)
		e->round.no_room += no_dst;
	else
		e->round.no_ram += no_dst;
	if (copy_err == -ENOMEM)
		e->round.no_ram += chosen - copied;
	else
		e->round.failed += chosen - copied;
	/* Not collected, held, or refused by the core after the copy. */
	e->round.busy += nr - chosen - no_dst + copied - moved;
	atomic64_add(moved, &e->devmem->evicted);
}

/* Split the huge folio that begins with @page, if nobody else holds it. */
static void hmm_evict_split(struct page *page)
{
	struct folio *folio;

	if (!get_page_unless_zero(page))
		return;
	folio = page_folio(page);
	if (folio_trylock(folio)) {
		if (folio_test_large(folio))
			hmm_devmem_split(page);
		folio_unlock(folio);
	}
	folio_put(folio);
}

/* The next page from @index on to evict; @end if there is none before. */
static unsigned long hmm_evict_next(const struct hmm_eviction *e,
				    unsigned long index, unsigned long end)
{
	struct dmem_cgroup_pool_state *pool = e->control.pool;

	do {
		index = find_next_bit(e->devmem->resident, end, index);
	} while (index < end && pool &&
		 !hmm_devmem_charged_to(hmm_devmem_page(e->devmem, index), pool) &&
		 ++index);
	return index;
}

/*
 * Is page @index part of a huge folio that can be evicted as one?  If there is no
 * huge page to take its place it is split; the core could not, without a VMA.  @err:
 * the target has no room for its pages either, it stays.
 */
static bool hmm_evict_reserve_huge(struct hmm_eviction *e, unsigned long index,
				   int *err)
{
	struct folio *huge;
	struct page *page;

	if (!hmm_devmem_huge_ok(e->devmem))
		return false;
	/* It fills a block. */
	page = hmm_devmem_page(e->devmem, round_down(index, HMM_DEVMEM_BLOCK_PAGES));
	/* A free frame may still look like one. */
	if (!page_ref_count(page) || !folio_test_large(page_folio(page)))
		return false;
	if (hmm_poison_hits(page_to_pfn(page), HMM_PMD_PAGES)) {
		hmm_evict_split(page);
		return false;
	}
	if (e->control.target) {
		huge = hmm_evict_target_take_huge(e->control.target, &e->round, err);
	} else {
		huge = folio_alloc(HMM_GFP_HUGE, HMM_PMD_ORDER);
		e->m->huge = huge;
	}
	if (!huge && !*err)
		hmm_evict_split(page);
	return huge;
}

/*
 * One step: the page frames in @m->src, whoever maps them.  Returns 0, -EIO if some
 * could not be copied, -EAGAIN if the driver had no memory for that, or -ENOMEM or
 * -ENOSPC if there is no room for them.
 */
static int hmm_evict_step(struct hmm_eviction *e, unsigned long nr)
{
	unsigned long chosen = 0, no_dst = 0, nr_dst, moved, i;
	struct hmm_evict_target *target = e->control.target;
	struct hmm_migration *m = e->m;
	int err = 0, copy_err;
	u64 began;

	memset(m->dst, 0, nr * sizeof(*m->dst));
	if (target && !hmm_evict_target_take(target, nr, &e->round, &err))
		return err;
	m->cause = HMM_MIGRATE_EVICT;
	began = hmm_trace_begin(hmm_migrate_collect);
	migrate_device_pfns(m->src, nr);
	hmm_migrate_trace_collect(m, e->devmem, nr, began);

	if (target)
		hmm_evict_target_choose(target, m, nr);
	else
		err = hmm_migrate_choose_ram(m, nr, NULL);
	nr_dst = hmm_migration_nr_dst(m, nr);
	for (i = 0; i < nr_dst; i++) {
		if (m->dst[i]) {
			chosen += hmm_migration_dst_pages(m, i);
			no_dst = 0;
		} else if (err && (m->src[i] & MIGRATE_PFN_MIGRATE)) {
			no_dst++;
		}
	}
	if (target) {
		hmm_between_start(target->between, m);
		copy_err = hmm_between_wait(target->between, m, nr);
	} else {
		copy_err = hmm_migrate_fill_ram(m, nr);
	}

	began = hmm_trace_begin(hmm_migrate_commit);
	migrate_device_pages(m->src, m->dst, nr);
	moved = hmm_migrate_book_ram(m, nr);
	if (target)
		hmm_evict_target_book(target, m, nr);
	hmm_evict_count(e, nr, chosen, no_dst, err, copy_err, moved);
	migrate_device_finalize(m->src, m->dst, nr);
	hmm_migrate_trace_commit(m, target ? target->devmem : NULL, nr, moved,
				 began);
	if (target)
		hmm_evict_target_release(target);
	if (m->huge) {
		folio_put(m->huge);
		m->huge = NULL;
	}
	if (copy_err == -ENOMEM)
		return -EAGAIN;
	return copy_err ? copy_err : err;
}

/* Is it time to give up?  0, -ETIME or -EINTR. */
static int hmm_evict_expired(const struct hmm_eviction *e)
{
	if (time_after(jiffies, e->control.deadline))
		return -ETIME;
	return !e->removing && fatal_signal_pending(current) ? -EINTR : 0;
}

/* The driver has no memory for one page: wait, and leave all that is of no use now. */
static int hmm_evict_wait_for_memory(struct hmm_eviction *e)
{
	e->short_of_memory = true;
	schedule_timeout_uninterruptible(1);
	return -EIO;
}

/*
 * Evict the @nr pages in @m->reserved, maybe all of a huge folio.  Returns 0, -ENOMEM,
 * -ENOSPC or -EIO.
 */
static int hmm_evict_pages(struct hmm_eviction *e, unsigned long nr)
{
	struct hmm_devmem_evict_result before = e->round;
	struct hmm_migration *m = e->m;
	unsigned long evicted, i;
	int err;

	for (i = 0; i < nr; i++)
		m->src[i] = page_to_pfn(m->reserved[i]);
	err = hmm_evict_step(e, nr);
	if (err == -EAGAIN && (nr == 1 || e->short_of_memory))
		return hmm_evict_wait_for_memory(e);
	if ((err != -EIO && err != -EAGAIN) || nr == 1)
		return err;
	if (hmm_evict_expired(e))
		return -EIO;

	/*
	 * One bad page must not keep the others, and what is too much for the
	 * device at once may not be in small pages: what stayed is tried again.
	 */
	hmm_evict_split(m->reserved[0]);
	evicted = e->round.evicted;
	e->round = before;
	e->round.evicted = evicted;
	for (i = 0; i < nr; i++) {
		if (!test_bit(hmm_devmem_index(e->devmem, m->reserved[i]),
			      e->devmem->resident))
			continue;
		m->src[0] = page_to_pfn(m->reserved[i]);
		err = hmm_evict_step(e, 1);
		if (err == -EAGAIN)
			return hmm_evict_wait_for_memory(e);
		if (err == -ENOMEM || err == -ENOSPC || hmm_evict_expired(e))
			break;
	}
	return err;
}

/*
 * Evict at most @wanted pages from *@index on, at most a block; *@index is how far
 * it came, @end if no page is left before that.  A huge folio goes as a whole.
 * Returns 0, -ENODEV, -EAGAIN, -ENOMEM, -ENOSPC, or -EIO if some could not be copied.
 */
static int hmm_evict_part(struct hmm_eviction *e, unsigned long *index,
			  unsigned long end, unsigned long wanted)
{
	struct hmm_devmem *devmem = e->devmem;
	unsigned long nr = 0;
	bool huge = false;
	int idx, err;

	if (!hmm_devmem_enter(devmem, e->control.worst, &idx))
		return -ENODEV;
	err = hmm_evict_target_enter(e->control.target);
	if (err)
		goto leave;
	*index = hmm_evict_next(e, *index, end);
	if (*index < end)
		huge = hmm_evict_reserve_huge(e, *index, &err);
	/* The next block may be a huge folio. */
	end = min(end, round_down(*index, HMM_DEVMEM_BLOCK_PAGES) +
		       HMM_DEVMEM_BLOCK_PAGES);
	if (huge) {
		*index = round_down(*index, HMM_DEVMEM_BLOCK_PAGES);
		while (nr < HMM_DEVMEM_BLOCK_PAGES)
			e->m->reserved[nr++] = hmm_devmem_page(e->devmem, (*index)++);
	}
	while (!huge && !err && nr < wanted && *index < end &&
	       nr < HMM_DEVMEM_BLOCK_PAGES) {
		e->m->reserved[nr++] = hmm_devmem_page(e->devmem, *index);
		*index = hmm_evict_next(e, *index + 1, end);
	}
	if (nr)
		err = hmm_evict_pages(e, nr);
	hmm_evict_target_leave(e->control.target);
leave:
	hmm_devmem_leave(devmem, idx);
	return err;
}

/**
 * hmm_evict_allowed() - ask the driver whether a block may be evicted
 * @devmem: device memory
 * @index: of the first page of the block
 * @worst: the last state of @devmem that is good enough
 *
 * Context: process context, may sleep, no lock that the may_evict operation takes.
 * Return: false to keep it.
 */
bool hmm_evict_allowed(struct hmm_devmem *devmem, unsigned long index,
		       enum hmm_devmem_state worst)
{
	bool allowed = true;
	int idx;

	if (devmem->desc.ops->may_evict &&
	    hmm_devmem_enter(devmem, worst, &idx)) {
		allowed = devmem->desc.ops->may_evict(devmem,
						      (u64)index << PAGE_SHIFT,
						      HMM_DEVMEM_BLOCK_SIZE);
		hmm_devmem_leave(devmem, idx);
	}
	return allowed;
}

/* Does the driver keep the block?  What stays for that reason is counted. */
static bool hmm_evict_kept(struct hmm_eviction *e, unsigned long index)
{
	struct hmm_devmem *devmem = e->devmem;
	unsigned long end = index + HMM_DEVMEM_BLOCK_PAGES;

	if (e->removing || READ_ONCE(devmem->suspended) ||
	    hmm_evict_allowed(devmem, index, e->control.worst))
		return false;
	for_each_set_bit_from(index, devmem->resident, end)
		e->round.kept++;
	return true;
}

/*
 * Evict a block, at most @wanted pages of it.  All of it for a migration: what moves
 * in makes the rest young.
 */
static int hmm_evict_block(struct hmm_eviction *e,
			   struct hmm_devmem_block *block, unsigned long wanted)
{
	unsigned long index = hmm_devmem_block_index(e->devmem, block);
	unsigned long end = index + HMM_DEVMEM_BLOCK_PAGES;
	int err = 0;

	if (hmm_evict_kept(e, index))
		index = end;
	if (e->control.before != U64_MAX)
		wanted = HMM_DEVMEM_BLOCK_PAGES;
	while (index < end && wanted) {
		unsigned long before = e->round.evicted, first = index;
		struct hmm_devmem_evict_result round = e->round;

		err = hmm_evict_part(e, &index, end, wanted);
		wanted -= min(wanted, e->round.evicted - before);
		if (err == -ENOSPC && hmm_evict_target_grow(e->control.target)) {
			round.evicted = e->round.evicted;
			e->round = round;
			index = first;
			err = 0;
		}
		/* A page that cannot be copied is passed over. */
		if (err && (err != -EIO || hmm_evict_expired(e)))
			break;
	}
	hmm_evict_put_block(e, block, !err && index < end);
	return err;
}

/* The eviction gave up: what it did not come to in this round stayed, too. */
static void hmm_evict_count_untried(struct hmm_eviction *e, unsigned long first,
				    unsigned long end)
{
	unsigned long stayed = e->round.kept + e->round.busy +
			       e->round.no_ram + e->round.no_room +
			       e->round.failed;
	unsigned long left = 0;

	for_each_set_bit_from(first, e->devmem->resident, end)
		left++;
	if (left > stayed)
		e->round.untried = left - stayed;
}

/* Does the driver keep all that this round has seen? */
static bool hmm_evict_all_kept(const struct hmm_eviction *e)
{
	return e->round.kept && !e->cursor.passed_over && !e->round.evicted &&
	       !e->round.busy && !e->round.no_ram && !e->round.no_room &&
	       !e->round.failed;
}

/* The round is over: it says what stayed. */
static void hmm_evict_end_round(struct hmm_eviction *e)
{
	unsigned long evicted = e->result->evicted + e->round.evicted;

	trace_hmm_evict_round(e->devmem->id,
			      e->control.target ?
			      (int)e->control.target->devmem->id : -1,
			      &e->round, e->round_began);
	*e->result = e->round;
	e->result->evicted = evicted;
}

/*
 * The eviction of [first, end) is over: if it gave up, the result says what stayed.
 * For what is poisoned it does so at any rate.
 */
static int hmm_evict_finish(struct hmm_eviction *e, int err, unsigned long first,
			    unsigned long end)
{
	if (err)
		hmm_evict_count_untried(e, first, end);
	else
		e->round = (struct hmm_devmem_evict_result){
			.evicted = e->round.evicted };
	e->round.failed += hmm_poison_in_use(e->devmem, first, end);
	hmm_evict_end_round(e);
	if (e->m == e->devmem->spare)
		mutex_unlock(&e->devmem->spare_lock);
	else
		hmm_migration_free(e->m);
	return err;
}

int hmm_evict_alloc_spare(struct hmm_devmem *devmem)
{
	devmem->spare = hmm_migration_alloc(HMM_DEVMEM_BLOCK_PAGES);
	return devmem->spare ? 0 : -ENOMEM;
}

void hmm_evict_free_spare(struct hmm_devmem *devmem)
{
	if (devmem->spare)
		hmm_migration_free(devmem->spare);
}

static void hmm_evict_init(struct hmm_eviction *e, struct hmm_devmem *devmem,
			   const struct hmm_evict_control *control,
			   struct hmm_devmem_evict_result *result)
{
	*e = (struct hmm_eviction){
		.devmem = devmem,
		.control = *control,
		.removing = control->worst != HMM_DEVMEM_LIVE,
		.result = result,
	};
	hmm_evict_begin_round(e);
	*result = (struct hmm_devmem_evict_result){};
	e->m = hmm_migration_alloc(HMM_DEVMEM_BLOCK_PAGES);
	if (!e->m) {
		mutex_lock(&devmem->spare_lock);
		e->m = devmem->spare;
	}
}

/* Is a page in use?  What is lost is counted exactly before the answer is no. */
static bool hmm_evict_any_left(struct hmm_devmem *devmem)
{
	if (hmm_devmem_nr_left(devmem) <= 0)
		hmm_poison_settle(devmem);
	return hmm_devmem_nr_left(devmem) > 0;
}

/**
 * hmm_evict() - evict pages, those that were used longest ago first
 * @devmem: device memory
 * @control: which and how many
 * @result: filled
 *
 * Goes round until enough is evicted, nothing is left, the driver keeps all that is
 * left, the time is over or, but for a removal, RAM or the target has run out.
 * With &hmm_evict_control.before more than enough may be evicted, whole blocks.
 *
 * Context: process context, may sleep, no folio lock held.
 * Return: 0, or a negative errno as from hmm_devmem_evict() or
 * hmm_devmem_evict_to().
 */
int hmm_evict(struct hmm_devmem *devmem, const struct hmm_evict_control *control,
	      struct hmm_devmem_evict_result *result)
{
	unsigned long nr_pages = control->nr_pages;
	struct hmm_eviction e;
	int err = 0;

	hmm_evict_init(&e, devmem, control, result);
	while (nr_pages && hmm_evict_any_left(devmem)) {
		struct hmm_devmem_block *block = hmm_lru_take(devmem, &e.cursor);

		if (block) {
			err = hmm_evict_block(&e, block, nr_pages -
					      result->evicted - e.round.evicted);
			if (err && err != -EIO && !(err == -ENOMEM && e.removing))
				break;
			err = 0;
			if (result->evicted + e.round.evicted >= nr_pages)
				break;
			err = hmm_evict_expired(&e);
		} else {
			/* All was used since, or is charged to others. */
			if (control->pool ||
			    (control->before != U64_MAX && !e.cursor.last_used))
				break;
			/* Whoever holds what is left needs time to let go. */
			if (!e.round.evicted)
				schedule_timeout_uninterruptible(1);
			err = hmm_evict_all_kept(&e) ? -EBUSY :
						       hmm_evict_expired(&e);
			if (!err) {
				hmm_evict_end_round(&e);
				hmm_evict_begin_round(&e);
			}
		}
		if (err)
			break;
		cond_resched();
	}
	if (!hmm_evict_any_left(devmem))
		err = 0;
	return hmm_evict_finish(&e, err, 0, hmm_devmem_nr_pages(devmem));
}

/* What an eviction means that has freed nothing: @err, or there is no room. */
static int hmm_evict_no_room(int err)
{
	return !err || err == -ETIME || err == -EBUSY ? -ENOSPC : err;
}

/*
 * Evict @size bytes of what is charged to @pool, as far as they can be moved now.
 * Returns 0 if there was something, -ENOSPC if not, or another negative errno.
 */
int hmm_evict_charged(struct hmm_devmem *devmem,
		      struct dmem_cgroup_pool_state *pool, u64 size)
{
	const struct hmm_evict_control control = {
		.nr_pages = DIV_ROUND_UP(size, PAGE_SIZE),
		.before = U64_MAX,
		.deadline = jiffies + HMM_EVICT_CHARGED_WAIT,
		.worst = HMM_DEVMEM_LIVE,
		.pool = pool,
	};
	struct hmm_devmem_evict_result result;
	int err = hmm_evict(devmem, &control, &result);

	return result.evicted ? 0 : hmm_evict_no_room(err);
}

/*
 * Get a block of the driver's for a migration, or evict so many pages but none that
 * was used since it began; with @timeout_ms 0 neither pages nor buffers are evicted.
 * Returns 0 if there is some room now, @least pages if others made it, or the errno of
 * the migration.
 */
int hmm_evict_for_room(struct hmm_devmem *devmem, unsigned long nr_pages,
		       unsigned long least, u64 before, unsigned int timeout_ms)
{
	const struct hmm_evict_control control = {
		.nr_pages = nr_pages,
		.before = before,
		.deadline = jiffies + msecs_to_jiffies(timeout_ms),
		.worst = HMM_DEVMEM_LIVE,
	};
	struct hmm_devmem_evict_result result;
	int err;

	err = hmm_block_get(devmem, timeout_ms);
	if (!err || !timeout_ms)
		return err;
	err = hmm_evict(devmem, &control, &result);
	if (result.evicted)
		return 0;
	/* Others may have made it meanwhile, but not where a block is emptied. */
	while (hmm_block_emptying(devmem) && time_before(jiffies, control.deadline))
		schedule_timeout_uninterruptible(1);
	if (!hmm_block_emptying(devmem) && hmm_devmem_nr_free(devmem) >= least)
		return 0;
	return hmm_evict_no_room(err);
}

/**
 * hmm_devmem_evict() - bring pages back to RAM, whoever owns them
 * @devmem: device memory
 * @nr_pages: how many base pages to bring back; ULONG_MAX for all
 * @timeout_ms: give up after so many milliseconds
 * @result: filled; may be NULL
 *
 * Takes the blocks of 2 MiB whose pages were migrated in or touched
 * (hmm_devmem_touch()) longest ago first, as far as the may_evict operation
 * allows.  Works by page frame and takes no mmap_lock.  Pages that somebody holds
 * or that are on the move are tried again until the time is over.
 *
 * Context: process context, may sleep, no folio lock held.
 * Return: 0 if so many were brought back or none is left, or:
 * * -EBUSY - the driver keeps all that is left
 * * -ETIME - the time is over
 * * -ENOMEM - RAM ran out
 * * -ENODEV - the memory is being removed
 * * -EINTR - a fatal signal arrived
 */
int hmm_devmem_evict(struct hmm_devmem *devmem, unsigned long nr_pages,
		     unsigned int timeout_ms,
		     struct hmm_devmem_evict_result *result)
{
	const struct hmm_evict_control control = {
		.nr_pages = nr_pages,
		.before = U64_MAX,
		.deadline = jiffies + msecs_to_jiffies(timeout_ms),
		.worst = HMM_DEVMEM_LIVE,
	};
	struct hmm_devmem_evict_result unwanted;

	return hmm_evict(devmem, &control, result ?: &unwanted);
}
EXPORT_SYMBOL_GPL(hmm_devmem_evict);

/**
 * hmm_devmem_evict_range() - bring the pages of a range of device memory to RAM
 * @devmem: device memory
 * @offset: first byte, from the start of the device memory, page aligned
 * @size: bytes, a multiple of PAGE_SIZE
 * @timeout_ms: give up after so many milliseconds
 * @result: filled; may be NULL
 *
 * For a driver that chooses the victims itself.  The may_evict operation is not
 * asked.  Does not keep others from moving pages in.  A huge page that the range
 * begins or ends in goes as a whole.
 *
 * Context: as hmm_devmem_evict().
 * Return: 0 if no page of the range is in use by a process, or:
 * * -EINVAL - the range is empty, misaligned or not within the memory
 * * -ETIME - the time is over
 * * -ENOMEM - RAM ran out
 * * -ENODEV - the memory is being removed
 * * -EINTR - a fatal signal arrived
 */
int hmm_devmem_evict_range(struct hmm_devmem *devmem, u64 offset, u64 size,
			   unsigned int timeout_ms,
			   struct hmm_devmem_evict_result *result)
{
	const struct hmm_evict_control control = {
		.before = U64_MAX,
		.deadline = jiffies + msecs_to_jiffies(timeout_ms),
		.worst = HMM_DEVMEM_LIVE,
	};
	struct hmm_devmem_evict_result unwanted;
	unsigned long first, end, index;
	struct hmm_eviction e;
	int err = 0;

	if (!result)
		result = &unwanted;
	*result = (struct hmm_devmem_evict_result){};
	if (!hmm_devmem_range_valid(devmem, offset, size))
		return -EINVAL;
	first = offset >> PAGE_SHIFT;
	end = (offset + size) >> PAGE_SHIFT;
	hmm_evict_init(&e, devmem, &control, result);
	for (;;) {
		for (index = first; index < end && !err; ) {
			err = hmm_evict_part(&e, &index, end, ULONG_MAX);
			if (!err || err == -EIO)
				err = hmm_evict_expired(&e);
			cond_resched();
		}
		if (!hmm_devmem_any_set(devmem->resident, first, end - first)) {
			err = 0;
			break;
		}
		if (err)
			break;
		/* Whoever holds what is left needs time to let go. */
		if (!e.round.evicted)
			schedule_timeout_uninterruptible(1);
		hmm_evict_end_round(&e);
		hmm_evict_begin_round(&e);
	}
	return hmm_evict_finish(&e, err, first, end);
}
EXPORT_SYMBOL_GPL(hmm_devmem_evict_range);
