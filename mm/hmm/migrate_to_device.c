// SPDX-License-Identifier: GPL-2.0
/*
 * One step of a migration to device memory: choose destinations for what the core
 * has collected, let the device copy and clear, commit.
 */
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/pagemap.h>

#include <trace/events/hmm.h>

#include "lifecycle.h"
#include "migrate.h"

/*
 * The core refuses file pages after the copy: spare it.  KSM reads its pages with
 * the CPU, the core does not mind.
 */
static bool hmm_migrate_src_movable(const struct folio *folio)
{
	return folio_test_anon(folio) && !folio_test_ksm(folio);
}

/* Choose a destination for entry @i, and what is to be copied or cleared for it. */
void hmm_migrate_set_dst(struct hmm_migration *m, unsigned long i,
			 struct page *dst, unsigned int order)
{
	struct page *src = hmm_migration_src(m, i);
	struct folio *folio = page_folio(dst);
	struct hmm_devmem_copy entry = {
		.dst = dst,
		.src = src,
		.order = order,
	};

	hmm_life_check_taken(folio_to_devmem(folio), folio);
	m->dst[i] = migrate_pfn(page_to_pfn(dst));
	if (order)
		m->dst[i] |= MIGRATE_PFN_COMPOUND;
	if (src)
		m->copies[m->nr_copies++] = entry;
	else
		m->clears[m->nr_clears++] = entry;
}

/* Go on with a huge hole as with so many small ones. */
static void hmm_migrate_split_hole(struct hmm_migration *m,
				   struct migrate_vma *args)
{
	unsigned long i;

	for (i = 0; i < args->npages; i++)
		m->src[i] = MIGRATE_PFN_MIGRATE;
	args->cpages = args->npages;
}

/*
 * Choose a huge page for a huge folio or hole.  Returns false if small ones have to
 * do; for a folio only if there are enough for all of it.
 */
static bool hmm_migrate_choose_huge(struct hmm_devmem *devmem,
				    struct hmm_migration *m,
				    struct migrate_vma *args, int *no_more,
				    unsigned long *missing)
{
	struct page *src = hmm_migration_src(m, 0);
	struct folio *dst;

	if (!(m->src[0] & MIGRATE_PFN_MIGRATE))
		return true;
	if (src && !hmm_migrate_src_movable(page_folio(src)))
		return true;

	/* The core reports a huge hole only where a CPU fault would fill it so. */
	dst = hmm_devmem_alloc_huge(devmem, args->vma->vm_mm, no_more);
	if (dst) {
		hmm_migrate_set_dst(m, 0, &dst->page, HMM_PMD_ORDER);
		return true;
	}
	if (!src) {
		*no_more = 0;
		hmm_migrate_split_hole(m, args);
		return false;
	}
	if (*no_more || hmm_devmem_nr_free(devmem) < HMM_PMD_PAGES) {
		*missing = HMM_PMD_PAGES;
		return true;
	}
	/* The core splits the folio when it finds small destinations. */
	args->cpages = HMM_PMD_PAGES;
	return false;
}

/*
 * Choose small pages.  Returns how many of the step's first pages are settled, less
 * than @npages if @missing more would have been needed.
 */
static unsigned long hmm_migrate_choose_small(struct hmm_migration *m,
					      unsigned long npages,
					      unsigned int nr_reserved,
					      unsigned long *missing)
{
	bool huge = hmm_migration_huge(m);
	unsigned long settled = npages, i;
	unsigned int taken = 0;

	for (i = 0; i < npages; i++) {
		struct page *src = hmm_migration_src(m, i);

		if (!(m->src[huge ? 0 : i] & MIGRATE_PFN_MIGRATE))
			continue;
		if (src && !hmm_migrate_src_movable(page_folio(src)))
			continue;
		if (taken == nr_reserved) {
			settled = min(settled, i);
			++*missing;
			continue;
		}
		hmm_migrate_set_dst(m, i, m->reserved[taken++], 0);
	}

	hmm_devmem_free_pages(m->reserved + taken, nr_reserved - taken);
	return settled;
}

/*
 * Choose destinations in device memory, now that it is known how many are needed:
 * frames kept by those who need none would be missing elsewhere.
 * Returns as hmm_migrate_choose_small(); @no_more: see hmm_devmem_alloc_pages().
 */
static unsigned long hmm_migrate_choose_device(struct hmm_devmem *devmem,
					       struct hmm_migration *m,
					       struct migrate_vma *args,
					       int *no_more,
					       unsigned long *missing)
{
	unsigned int nr_reserved;

	*missing = 0;
	*no_more = 0;
	if (hmm_migration_huge(m) &&
	    hmm_migrate_choose_huge(devmem, m, args, no_more, missing))
		return *missing ? 0 : args->npages;

	nr_reserved = hmm_devmem_alloc_pages(devmem, args->vma->vm_mm,
					     min(args->cpages, args->npages),
					     m->reserved, no_more);
	if (hmm_migration_huge(m) && nr_reserved < args->npages) {
		/* Others were faster: leave the huge folio whole. */
		hmm_devmem_free_pages(m->reserved, nr_reserved);
		*missing = args->npages;
		return 0;
	}
	return hmm_migrate_choose_small(m, args->npages, nr_reserved, missing);
}

/*
 * Destinations that were poisoned since they were taken: the sources stay.  Returns
 * how many base pages.
 */
unsigned long hmm_migrate_drop_poisoned(struct hmm_devmem *devmem,
					struct hmm_migration *m,
					unsigned long npages)
{
	unsigned long i, nr, dropped = 0;

	/* Pairs with the test_and_set_bit() in hmm_poison_mark(). */
	smp_mb();
	if (!hmm_poison_any(devmem))
		return 0;
	for (i = 0; i < npages; i++) {
		nr = hmm_migration_dst_pages(m, i);
		if (nr &&
		    hmm_poison_hits(page_to_pfn(migrate_pfn_to_page(m->dst[i])),
				    nr)) {
			hmm_migrate_drop_dst(m, i);
			dropped += nr;
		}
	}
	return dropped;
}

/* Does the device go on with the jobs that a step to @devmem has given it? */
void hmm_migrate_set_async(struct hmm_devmem *devmem, struct hmm_migration *m,
			   bool async)
{
	m->async = async;
	if (async && !READ_ONCE(devmem->async))
		WRITE_ONCE(devmem->async, true);
}

/* Start to copy and to clear, both at the same time. */
static void hmm_migrate_start_device(struct hmm_devmem *devmem,
				     struct hmm_migration *m)
{
	m->copy_err = 0;
	m->clear_err = 0;
	hmm_batch_init(&m->copy, DMA_TO_DEVICE, m->copies, m->nr_copies);
	hmm_batch_init(&m->clear, DMA_TO_DEVICE, m->clears, m->nr_clears);
	if (m->nr_copies)
		m->copy_err = hmm_batch_copy(devmem, &m->copy);
	if (m->nr_clears)
		m->clear_err = hmm_batch_clear(devmem, &m->clear);
	hmm_migrate_set_async(devmem, m,
			      (m->nr_copies &&
			       hmm_batch_runs(&m->copy, m->copy_err)) ||
			      (m->nr_clears &&
			       hmm_batch_runs(&m->clear, m->clear_err)));
}

static void hmm_migrate_wait_jobs(struct hmm_devmem *devmem,
				  struct hmm_migration *m)
{
	if (m->nr_copies)
		m->copy_err = hmm_batch_wait(devmem, &m->copy, m->copy_err,
					     m->last_done_ns);
	if (m->nr_clears)
		m->clear_err = hmm_batch_wait(devmem, &m->clear, m->clear_err,
					      m->last_done_ns);
}

/*
 * The device has no memory to fill a huge page as one: choose small ones, in its place.
 * False if that is too late.
 */
bool hmm_migrate_choose_again(struct hmm_devmem *devmem, struct hmm_migration *m)
{
	struct migrate_vma *args = &m->args;
	unsigned long missing = 0;
	unsigned int nr_reserved;
	int no_more;

	hmm_migrate_drop_dst(m, 0);
	m->nr_copies = 0;
	m->nr_clears = 0;
	nr_reserved = hmm_devmem_alloc_pages(devmem, args->vma->vm_mm,
					     args->npages, m->reserved, &no_more);
	if (nr_reserved < args->npages) {
		/* Others were faster. */
		hmm_devmem_free_pages(m->reserved, nr_reserved);
		hmm_migrate_count_failed(m, args->npages, -ENOMEM);
		return false;
	}
	if (!hmm_migration_src(m, 0))
		hmm_migrate_split_hole(m, args);
	hmm_migrate_choose_small(m, args->npages, nr_reserved, &missing);
	return true;
}

/* Wait for that; drop the destinations that failed, and count them. */
static int hmm_migrate_wait_device(struct hmm_devmem *devmem,
				   struct hmm_migration *m, unsigned long npages)
{
	unsigned long i, nr, failed = 0;
	int copy_err, clear_err, err;

	hmm_migrate_wait_jobs(devmem, m);
	if ((m->dst[0] & MIGRATE_PFN_COMPOUND) &&
	    (m->copy_err == -ENOMEM || m->clear_err == -ENOMEM) &&
	    hmm_migrate_choose_again(devmem, m)) {
		hmm_migrate_start_device(devmem, m);
		hmm_migrate_wait_jobs(devmem, m);
	}
	copy_err = m->copy_err;
	clear_err = m->clear_err;

	m->step.failed += hmm_migrate_drop_poisoned(devmem, m, npages);
	for (i = 0; i < npages && (copy_err || clear_err); i++) {
		nr = hmm_migration_dst_pages(m, i);
		if (!nr)
			continue;
		err = hmm_migration_src(m, i) ? copy_err : clear_err;
		if (!err)
			continue;
		hmm_migrate_drop_dst(m, i);
		failed += nr;
		hmm_migrate_count_failed(m, nr, err);
	}
	if (copy_err == -EIO || clear_err == -EIO)
		atomic64_add(failed, &devmem->failed);
	if (trace_hmm_migrate_copy_enabled())
		hmm_migrate_trace_copy(m, devmem, 0, npages,
				       hmm_migration_nr_chosen(m, npages),
				       failed, m->copy.started_ns);
	return copy_err ? copy_err : clear_err;
}

/* Note that the committed pages are the device's; their blocks are in use. */
void hmm_migrate_book_device(struct hmm_devmem *devmem, struct hmm_migration *m,
			     unsigned long npages, unsigned long *moved,
			     unsigned long *filled)
{
	unsigned long i, last = ULONG_MAX;

	npages = hmm_migration_nr_dst(m, npages);
	for (i = 0; i < npages; i++) {
		struct page *dst = migrate_pfn_to_page(m->dst[i]);
		unsigned long nr = hmm_migration_committed(m, i), index;

		if (!nr)
			continue;
		hmm_life_check_committed(devmem, page_folio(dst),
					 migrate_pfn_to_page(m->src[i]));
		index = hmm_devmem_index(devmem, dst);
		/* After the last page: one that has none resident leaves the list. */
		if (last != ULONG_MAX && last / HMM_DEVMEM_BLOCK_PAGES !=
					 index / HMM_DEVMEM_BLOCK_PAGES)
			hmm_devmem_touch_index(devmem, last);
		last = index;
		hmm_devmem_set_resident(devmem, index, nr);
		if (migrate_pfn_to_page(m->src[i]))
			*moved += nr;
		else
			*filled += nr;
	}
	if (last != ULONG_MAX)
		hmm_devmem_touch_index(devmem, last);
	atomic64_add(*moved + *filled, &devmem->migrated_in);
}

/* Until hmm_migrate_leave_device() pages can arrive; -ENODEV or -EAGAIN if not. */
static int hmm_migrate_enter_device(struct hmm_devmem *devmem,
				    struct hmm_migration *m)
{
	struct hmm_between *between = m->between;
	int err = -ENODEV;

	if (between && !hmm_devmem_enter(between->from, HMM_DEVMEM_LIVE,
					 &m->from_idx))
		return err;
	if (hmm_devmem_enter(devmem, HMM_DEVMEM_LIVE, &m->idx)) {
		if (!READ_ONCE(devmem->suspended))
			return 0;
		hmm_devmem_leave(devmem, m->idx);
		err = -EAGAIN;
	}
	if (between)
		hmm_devmem_leave(between->from, m->from_idx);
	return err;
}

static void hmm_migrate_leave_device(struct hmm_devmem *devmem,
				     struct hmm_migration *m)
{
	hmm_devmem_leave(devmem, m->idx);
	if (m->between)
		hmm_devmem_leave(m->between->from, m->from_idx);
}

/*
 * Begin a step of &hmm_migration.args, which is at most one page table and within
 * one VMA, from RAM or with &hmm_migration.between from another device memory: all up
 * to the copy, which the device may still be at on return.  &hmm_migration.nr becomes
 * how far the step goes, for want of room not to the end; @missing: if pages of others
 * were evicted, how many would do.  Whatever this returns,
 * hmm_migrate_end_to_device() comes next.
 */
int hmm_migrate_begin_to_device(struct hmm_devmem *devmem,
				struct hmm_migration *m, unsigned long *missing)
{
	struct hmm_between *between = m->between;
	struct migrate_vma *args = &m->args;
	unsigned long settled;
	int no_more, ret;

	ret = hmm_migrate_enter_device(devmem, m);
	if (ret)
		return ret;

	m->nr = (args->end - args->start) >> PAGE_SHIFT;
	args->flags = between ? MIGRATE_VMA_SELECT_DEVICE_PRIVATE |
				MIGRATE_VMA_SELECT_DEVICE_COHERENT :
				MIGRATE_VMA_SELECT_SYSTEM;
	if (hmm_devmem_huge_ok(devmem))
		args->flags |= MIGRATE_VMA_SELECT_COMPOUND;
	ret = hmm_migrate_collect(m, args, devmem);
	if (ret) {
		hmm_migrate_leave_device(devmem, m);
		if (ret == -EBUSY) {
			m->nr = 0;
			return ret;
		}
		/* A VMA that the core does not migrate: left. */
		m->step.unsupported = m->nr;
		return 0;
	}

	m->collected = true;
	m->devmem = devmem;
	if (between)
		hmm_between_select(between, m, args);
	settled = hmm_migrate_choose_device(devmem, m, args, &no_more, missing);
	if (*missing) {
		ret = no_more ? no_more : -ENOSPC;
		m->nr = settled;
	}
	hmm_migrate_count_device(devmem, m, m->nr);
	if (between)
		hmm_between_start(between, m);
	else
		hmm_migrate_start_device(devmem, m);

	/* What others have would not help. */
	if (no_more) {
		m->no_room = *missing;
		*missing = 0;
	}
	return ret;
}

/* Wait for the device and commit what it has copied. */
int hmm_migrate_end_to_device(struct hmm_migration *m,
			      struct hmm_migrate_result *result)
{
	struct hmm_migrate_result *step = &m->step;
	int ret = 0;
	u64 began;

	if (m->collected) {
		struct hmm_devmem *devmem = m->devmem;

		if (m->between)
			ret = hmm_between_wait(m->between, m, m->args.npages);
		else
			ret = hmm_migrate_wait_device(devmem, m, m->args.npages);
		began = hmm_trace_begin(hmm_migrate_commit);
		migrate_vma_pages(&m->args);
		if (m->between)
			hmm_migrate_book_ram(m, m->args.npages);
		hmm_migrate_book_device(devmem, m, m->args.npages, &step->moved,
					&step->filled);
		migrate_vma_finalize(&m->args);
		hmm_migrate_trace_commit(m, devmem, m->args.npages,
					 step->moved + step->filled, began);
		if (step->moved + step->filled)
			hmm_history_moved(devmem, m->args.vma->vm_mm,
					  m->args.start);
		hmm_migrate_leave_device(devmem, m);
	}
	hmm_migrate_account(result, step, m->nr);
	result->no_room += m->no_room;
	return ret;
}
