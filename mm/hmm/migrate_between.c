// SPDX-License-Identifier: GPL-2.0
/*
 * From one device memory to another: the copies, for evictions and for the
 * migration of a range, and that migration.
 *
 * It is a migration to device memory whose sources are device pages.  Two may
 * run in opposite directions: with sources locked, frames of the target are
 * waited for, but whoever has one of these locked found it by its number and
 * waits for no other lock, see evict_to_device.c.
 */
#include <linux/export.h>
#include <linux/gfp.h>
#include <linux/hmm/migrate.h>
#include <linux/migrate.h>
#include <linux/overflow.h>
#include <linux/slab.h>

#include <trace/events/hmm.h>

#include "migrate.h"

/* A copy goes through so many pages of RAM at a time, if they are at hand. */
#define HMM_BOUNCE_PAGES	128

void hmm_between_free(struct hmm_between *between)
{
	unsigned int i;

	for (i = 0; i < between->nr_bounce; i++)
		__free_page(between->bounce[i]);
	kvfree(between);
}

/*
 * Get ready to copy at most @nr_pages at a time.  With fewer pages of RAM than
 * that it takes more jobs; there has to be one, for none is allocated later,
 * with folios locked.
 */
struct hmm_between *hmm_between_alloc(struct hmm_devmem *from,
				      struct hmm_devmem *to,
				      unsigned long nr_pages)
{
	unsigned int wanted = clamp(nr_pages, 1UL, HMM_BOUNCE_PAGES), before;
	gfp_t gfp = GFP_KERNEL | __GFP_RETRY_MAYFAIL | __GFP_NOWARN;
	struct hmm_between *between;

	between = kvzalloc(struct_size(between, bounce, wanted), GFP_KERNEL);
	if (!between)
		return NULL;
	between->from = from;
	between->to = to;
	do {
		before = between->nr_bounce;
		between->nr_bounce = alloc_pages_bulk(gfp, wanted,
						      between->bounce);
		gfp = GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN;
	} while (between->nr_bounce > before && between->nr_bounce < wanted);
	if (between->nr_bounce)
		return between;
	kvfree(between);
	return NULL;
}

/* Of what the core collected only pages of the source move, and no holes. */
void hmm_between_select(const struct hmm_between *between,
			struct hmm_migration *m, struct migrate_vma *args)
{
	unsigned long i;

	args->cpages = 0;
	for (i = 0; i < args->npages; i++) {
		struct page *src = migrate_pfn_to_page(m->src[i]);

		if (!(m->src[i] & MIGRATE_PFN_MIGRATE))
			continue;
		if (src && hmm_migrate_src_ok(page_folio(src), NULL) &&
		    folio_to_devmem(page_folio(src)) == between->from)
			args->cpages++;
		else
			m->src[i] &= ~MIGRATE_PFN_MIGRATE;
	}
}

/* Base page @i of what is to be copied. */
static struct hmm_devmem_copy hmm_between_piece(const struct hmm_migration *m,
						unsigned long i)
{
	if (!m->copies->order)
		return m->copies[i];
	return (struct hmm_devmem_copy){
		.dst = m->copies->dst + i,
		.src = m->copies->src + i,
	};
}

/*
 * Wait for a job of @nr base pages whose operation returned @err.  Returns 0,
 * -ENOMEM or -EIO.
 */
static int hmm_between_wait_job(struct hmm_devmem *devmem,
				struct hmm_devmem_batch *batch, int err,
				unsigned long nr, u64 *last_done_ns)
{
	err = hmm_batch_wait(devmem, batch, err, last_done_ns);
	if (err == -EIO)
		atomic64_add(nr, &devmem->failed);
	return err;
}

static int hmm_between_copy(struct hmm_devmem *devmem,
			    enum dma_data_direction direction,
			    struct hmm_devmem_copy *pages, unsigned int nr)
{
	struct hmm_devmem_batch batch;
	int err;

	hmm_batch_init(&batch, direction, pages, nr);
	err = hmm_batch_copy(devmem, &batch);
	return hmm_between_wait_job(devmem, &batch, err, nr, NULL);
}

/* Let @devmem copy from or to @peer; -EOPNOTSUPP if it does not reach that. */
static int hmm_between_start_peer(struct hmm_devmem *devmem,
				  struct hmm_devmem *peer,
				  enum dma_data_direction direction,
				  struct hmm_migration *m)
{
	int err;

	if (!devmem->desc.ops->copy_peer)
		return -EOPNOTSUPP;
	hmm_batch_init(&m->copy, direction, m->copies, m->nr_copies);
	err = hmm_batch_copy_peer(devmem, peer, &m->copy);
	if (err != -EOPNOTSUPP)
		m->copier = devmem;
	return err;
}

/* Copy by way of RAM.  Uses @m->clears. */
static int hmm_between_copy_bounce(struct hmm_between *between,
				   struct hmm_migration *m)
{
	unsigned long total = hmm_migration_nr_jobs(m), done, nr, i;
	struct hmm_devmem_copy *pages = m->clears;
	int err = 0;

	for (done = 0; done < total && !err; done += nr) {
		nr = min(total - done, between->nr_bounce);
		for (i = 0; i < nr; i++) {
			pages[i] = hmm_between_piece(m, done + i);
			pages[i].dst = between->bounce[i];
		}
		err = hmm_between_copy(between->from, DMA_FROM_DEVICE, pages,
				       nr);
		if (err)
			break;
		for (i = 0; i < nr; i++) {
			pages[i] = hmm_between_piece(m, done + i);
			pages[i].src = between->bounce[i];
		}
		err = hmm_between_copy(between->to, DMA_TO_DEVICE, pages, nr);
	}
	return err;
}

/*
 * Start to copy @m->copies if one device reaches the other one: what goes through RAM
 * is copied later.  hmm_between_wait() comes next.
 */
void hmm_between_start(struct hmm_between *between, struct hmm_migration *m)
{
	struct hmm_devmem *from = between->from, *to = between->to;

	m->copier = NULL;
	if (!m->nr_copies)
		return;
	m->copy_err = hmm_between_start_peer(to, from, DMA_TO_DEVICE, m);
	if (m->copy_err == -EOPNOTSUPP)
		m->copy_err = hmm_between_start_peer(from, to, DMA_FROM_DEVICE,
						     m);
	hmm_migrate_set_async(to, m,
			      m->copier && hmm_batch_runs(&m->copy, m->copy_err));
}

/* Wait for that.  Returns 0, -ENOMEM or -EIO. */
static int hmm_between_wait_copies(struct hmm_between *between,
				   struct hmm_migration *m)
{
	if (!m->copier)
		return hmm_between_copy_bounce(between, m);
	return hmm_between_wait_job(m->copier, &m->copy, m->copy_err,
				    hmm_migration_nr_jobs(m), m->last_done_ns);
}

/*
 * The same; drops all destinations if it failed.  In a step of a range, a huge page that
 * a device has no memory to copy as one is tried again in small pages.
 */
int hmm_between_wait(struct hmm_between *between, struct hmm_migration *m,
		     unsigned long npages)
{
	struct hmm_devmem *from = between->from, *to = between->to;
	u64 began = hmm_trace_begin(hmm_migrate_copy);
	unsigned long chosen, dropped;
	int err;

	if (!m->nr_copies)
		return 0;
	if (m->copier)
		began = m->copy.started_ns;
	err = hmm_between_wait_copies(between, m);
	if (err == -ENOMEM && m->between &&
	    (m->dst[0] & MIGRATE_PFN_COMPOUND) &&
	    hmm_migrate_choose_again(to, m)) {
		hmm_between_start(between, m);
		err = hmm_between_wait_copies(between, m);
	}
	chosen = hmm_migration_nr_jobs(m);
	if (!err)
		atomic64_add(chosen, m->copier ? &to->from_peers :
						 &to->through_ram);
	dropped = hmm_migrate_drop_poisoned(to, m, npages);
	m->step.failed += dropped;
	if (err)
		dropped += hmm_migrate_drop_failed(m, 0, npages, err);
	hmm_migrate_trace_copy(m, from, 0, npages, chosen - dropped, dropped,
			       began);
	return err;
}

/**
 * hmm_migrate_between() - move process memory from device memory to another one
 * @from: source, of whatever kind, driver and owner
 * @to: destination, the same
 * @mm: the process
 * @start: first byte, page aligned
 * @end: exclusive, page aligned
 * @evict_timeout_ms: as for hmm_migrate_to_device(), of @to; what is evicted
 *	goes to RAM
 * @result: filled, after every error but -EINVAL too; nothing is
 *	&hmm_migrate_result.filled; may be NULL
 *
 * Moves the pages of the range that lie in @from, by the copy_peer operation of
 * one of the two, and otherwise by way of RAM.  Everything else is left, holes
 * and what lies in RAM or in a third device memory.  Huge pages move as one if
 * @to has a free one for them.  Device page tables lose what they map of the
 * range; the next device fault maps it again.
 *
 * Context: process context, may sleep, takes mmap_lock for reading.  For
 * hmm_devmem_remove() it is a call with either devmem.
 * Return: 0 if all that can move did, or:
 * * -EINVAL - the range is empty or misaligned, or @from is @to
 * * -ENOSPC - @to or cgroup full, no room in time; the walk stopped there
 * * -EIO - a device failed to copy; the pages concerned were left
 * * -ENOMEM - RAM ran out; the walk stopped there
 * * -ENODEV - one of the memories is being removed; the walk stopped there
 * * -EAGAIN - @to is about to lose power; the walk stopped there
 * * -EINTR - a fatal signal arrived; the walk stopped there
 * * -ESRCH - the process has exited
 */
int hmm_migrate_between(struct hmm_devmem *from, struct hmm_devmem *to,
			struct mm_struct *mm, unsigned long start,
			unsigned long end, unsigned int evict_timeout_ms,
			struct hmm_migrate_result *result)
{
	struct hmm_migrate_walk walk = {
		.devmem = to,
		.mm = mm,
		.owner = from->desc.owner,
		.addr = start,
		.end = end,
		.evict_timeout_ms = evict_timeout_ms,
		.result = result,
	};
	struct hmm_migrate_result unwanted;
	int ret;

	if (!result)
		walk.result = &unwanted;
	*walk.result = (struct hmm_migrate_result){};
	if (from == to || hmm_migrate_check(&walk))
		return -EINVAL;
	walk.between = hmm_between_alloc(from, to, walk.result->left);
	if (!walk.between)
		return -ENOMEM;
	ret = hmm_migrate_range(&walk);
	hmm_between_free(walk.between);
	return ret;
}
EXPORT_SYMBOL_GPL(hmm_migrate_between);
