/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the ways of migration share: one step, of at most a page table's worth.
 */
#ifndef _MM_HMM_MIGRATE_H
#define _MM_HMM_MIGRATE_H

#include <linux/dma-direction.h>
#include <linux/huge_mm.h>
#include <linux/hmm/migrate.h>
#include <linux/ktime.h>
#include <linux/migrate.h>

#include "internal.h"

/* One try at a huge page, with some compaction: there is always a way without. */
#define HMM_GFP_HUGE	(GFP_TRANSHUGE | __GFP_NORETRY | __GFP_NOWARN)

/* The argument @began of a trace event: the clock is read only if it is on. */
#define hmm_trace_begin(event)	(trace_##event##_enabled() ? ktime_get_ns() : 0)

/* Who migrates; trace events show it, include/trace/events/hmm.h. */
enum hmm_migrate_cause {
	HMM_MIGRATE_TO_DEVICE,
	HMM_MIGRATE_TO_RAM,
	HMM_MIGRATE_CPU_FAULT,
	HMM_MIGRATE_EVICT,
	HMM_MIGRATE_BETWEEN,
};

/**
 * struct hmm_migration - working memory for one migration step
 * @max: base pages in a step at most
 * @src: core's source entries, see below
 * @dst: core's destination entries
 * @reserved: device pages taken for the step, or those to evict
 * @huge: huge folio in RAM reserved for the step, or NULL
 * @ram: the same for the page that a CPU fault waits for
 * @copies: what to copy, one run for each devmem
 * @clears: what to clear
 * @nr_copies: entries in @copies
 * @nr_clears: entries in @clears
 * @cause: &enum hmm_migrate_cause
 * @start: address of the first page of the step, 0 for an eviction
 * @began: when the step began, for a trace event
 * @args: what the core was asked, in a step of a range
 * @nr: base pages that the step accounts for
 * @step: what became of them, as far as it is known
 * @no_room: base pages behind them that have no room, whoever is evicted
 * @no_drain: another step is under way: nobody may wait for the LRU batches of
 *	other CPUs, who waits for its folios would, too
 * @collected: the core has collected; there is something to finish
 * @devmem: whose driver works for the step, entered with @idx; NULL if none does
 * @idx: for hmm_devmem_leave()
 * @between: the source is another device memory, in a step of a range; or NULL
 * @from_idx: as @idx, for that
 * @copier: between: whose copy_peer operation has @copy; NULL: it goes through RAM
 * @copy: the job that copies
 * @clear: the job that clears
 * @copy_err: why @copy was not started, or 0
 * @clear_err: why @clear was not started, or 0
 * @async: the device went on with the jobs after it was given them
 * @small: to RAM: no huge page is wanted, the device has failed to copy one
 * @last_done_ns: see hmm_batch_wait(); NULL but in a walk
 * @first: to RAM: entries from here on are in @copy
 * @next: to RAM: entries before are in @copy or done
 *
 * @src and @dst are twice as long as the step: if the page table vanishes while
 * migrate_vma_collect_pmd() splits a folio in it, a kernel without our patch enters
 * the whole range after the entries it has.  That happens once: whatever enters a
 * range without its table ends the walk, and what finds a table again goes on
 * where it was.
 *
 * A huge folio, or a hole that a huge page fits in, is the whole step: the first
 * entry stands for all, with MIGRATE_PFN_COMPOUND.
 */
struct hmm_migration {
	unsigned long max;
	unsigned long *src;
	unsigned long *dst;
	struct page **reserved;
	struct folio *huge;
	struct folio *ram;
	struct hmm_devmem_copy *copies;
	struct hmm_devmem_copy *clears;
	unsigned int nr_copies;
	unsigned int nr_clears;
	enum hmm_migrate_cause cause;
	unsigned long start;
	u64 began;
	struct migrate_vma args;
	unsigned long nr;
	struct hmm_migrate_result step;
	unsigned long no_room;
	bool no_drain;
	bool collected;
	struct hmm_devmem *devmem;
	int idx;
	struct hmm_between *between;
	int from_idx;
	struct hmm_devmem *copier;
	struct hmm_devmem_batch copy;
	struct hmm_devmem_batch clear;
	int copy_err;
	int clear_err;
	bool async;
	bool small;
	u64 *last_done_ns;
	unsigned long first;
	unsigned long next;
};

/**
 * struct hmm_between - copies from one device memory to another one
 * @from: the source
 * @to: the destination
 * @nr_bounce: pages in @bounce, at least 1
 * @bounce: pages in RAM that a copy goes through if neither device reaches the other
 *
 * Copies are made in the read sections of both devmems.
 */
struct hmm_between {
	struct hmm_devmem *from;
	struct hmm_devmem *to;
	unsigned int nr_bounce;
	struct page *bounce[];
};

/**
 * struct hmm_migrate_walk - migration of a range, step by step
 * @devmem: destination, or NULL for RAM
 * @between: the source, if both are device memory, or NULL
 * @mm: the process
 * @owner: of the device memory to migrate from, or of @devmem
 * @addr: first byte; then how far the walk has come
 * @end: exclusive
 * @evict_timeout_ms: as for hmm_migrate_to_device()
 * @unasked: to @devmem, as for hmm_migrate_unasked()
 * @result: what became of the pages before @addr, but for a step under way
 * @swap_in: the process may have pages swapped out, which are to be brought in
 * @m: working memory; the second only if there is something to do meanwhile
 * @missing: base pages that the last step had no room for
 * @missing_least: with fewer of them it could not go on
 * @io_error: the device failed somewhere; elsewhere it may not
 * @done_ns: when the device was done with the last job, or 0
 *
 * The caller fills in those up to @result, and zeroes the others.
 */
struct hmm_migrate_walk {
	struct hmm_devmem *devmem;
	struct hmm_between *between;
	struct mm_struct *mm;
	void *owner;
	unsigned long addr;
	unsigned long end;
	unsigned int evict_timeout_ms;
	bool unasked;
	struct hmm_migrate_result *result;
	bool swap_in;
	struct hmm_migration *m[2];
	unsigned long missing;
	unsigned long missing_least;
	bool io_error;
	u64 done_ns;
};

/* Is the source of the step one huge folio or hole? */
static inline bool hmm_migration_huge(const struct hmm_migration *m)
{
	return m->src[0] & MIGRATE_PFN_COMPOUND;
}

/* Source page of entry @i, NULL in a hole; in a huge folio page @i of it. */
static inline struct page *hmm_migration_src(const struct hmm_migration *m,
					     unsigned long i)
{
	struct page *page;

	if (!hmm_migration_huge(m))
		return migrate_pfn_to_page(m->src[i]);
	page = migrate_pfn_to_page(m->src[0]);
	return page ? folio_page(page_folio(page), i) : NULL;
}

/* Base pages that the destination of entry @i takes. */
static inline unsigned long hmm_migration_dst_pages(const struct hmm_migration *m,
						    unsigned long i)
{
	if (!m->dst[i])
		return 0;
	return m->dst[i] & MIGRATE_PFN_COMPOUND ? HMM_PMD_PAGES : 1;
}

/* How many of @nr entries have a destination at most: the first may stand for all. */
static inline unsigned long hmm_migration_nr_dst(const struct hmm_migration *m,
						 unsigned long nr)
{
	return m->dst[0] & MIGRATE_PFN_COMPOUND ? 1 : nr;
}

/* Base pages to copy and to clear: those of one huge page, or small ones. */
static inline unsigned long hmm_migration_nr_jobs(const struct hmm_migration *m)
{
	unsigned long nr = m->nr_copies + m->nr_clears;

	return nr == 1 && (m->nr_copies ? m->copies : m->clears)->order ?
	       HMM_PMD_PAGES : nr;
}

/* Base pages of all destinations. */
static inline unsigned long
hmm_migration_nr_chosen(const struct hmm_migration *m, unsigned long npages)
{
	unsigned long i, nr = 0;

	npages = hmm_migration_nr_dst(m, npages);
	for (i = 0; i < npages; i++)
		nr += hmm_migration_dst_pages(m, i);
	return nr;
}

/* Base pages of entry @i that were committed, after migrate_vma_pages(). */
static inline unsigned long hmm_migration_committed(const struct hmm_migration *m,
						    unsigned long i)
{
	return m->src[i] & MIGRATE_PFN_MIGRATE ? hmm_migration_dst_pages(m, i) : 0;
}

/* Bytes that hmm_migration_init() lays out. */
static inline size_t hmm_migration_size(unsigned long nr)
{
	return sizeof(struct hmm_migration) +
	       nr * (4 * sizeof(unsigned long) + sizeof(struct hmm_devmem_copy));
}

struct hmm_migration *hmm_migration_init(void *memory, unsigned long nr);
struct hmm_migration *hmm_migration_alloc(unsigned long nr);
void hmm_migration_free(struct hmm_migration *m);
int hmm_migrate_collect(struct hmm_migration *m, struct migrate_vma *args,
			const struct hmm_devmem *devmem);
void hmm_migrate_trace_collect(const struct hmm_migration *m,
			       const struct hmm_devmem *devmem,
			       unsigned long npages, u64 began);
void hmm_migrate_trace_copy(const struct hmm_migration *m,
			    const struct hmm_devmem *devmem, unsigned long first,
			    unsigned long end, unsigned long pages,
			    unsigned long dropped, u64 began);
void hmm_migrate_trace_commit(const struct hmm_migration *m,
			      const struct hmm_devmem *devmem,
			      unsigned long npages, unsigned long committed,
			      u64 began);
void hmm_migrate_drop_dst(struct hmm_migration *m, unsigned long i);
unsigned long hmm_migrate_drop_failed(struct hmm_migration *m, unsigned long first,
				      unsigned long next, int err);
void hmm_batch_init(struct hmm_devmem_batch *batch,
		    enum dma_data_direction direction,
		    struct hmm_devmem_copy *pages, unsigned int nr);
int hmm_batch_copy(struct hmm_devmem *devmem, struct hmm_devmem_batch *batch);
int hmm_batch_copy_peer(struct hmm_devmem *devmem, struct hmm_devmem *peer,
			struct hmm_devmem_batch *batch);
int hmm_batch_clear(struct hmm_devmem *devmem, struct hmm_devmem_batch *batch);
int hmm_batch_wait(struct hmm_devmem *devmem, struct hmm_devmem_batch *batch,
		   int err, u64 *last_done_ns);

int hmm_migrate_check(struct hmm_migrate_walk *walk);
int hmm_migrate_range(struct hmm_migrate_walk *walk);

/* Does the device go on with a job that was started, or was not for @err? */
static inline bool hmm_batch_runs(struct hmm_devmem_batch *batch, int err)
{
	return !err && !completion_done(&batch->done);
}

/* migrate_left.c */
void hmm_migrate_account(struct hmm_migrate_result *result,
			 struct hmm_migrate_result *step, unsigned long nr);
void hmm_migrate_account_rest(struct hmm_migrate_result *result,
			      unsigned long nr);
void hmm_migrate_count_device(struct hmm_devmem *devmem, struct hmm_migration *m,
			      unsigned long nr);
void hmm_migrate_count_ram(struct hmm_migration *m, bool no_ram);
void hmm_migrate_count_failed(struct hmm_migration *m, unsigned long nr, int err);
int hmm_migrate_swap_in(struct migrate_vma *args, bool alone);

/* migrate_to_device.c */
unsigned long hmm_migrate_drop_poisoned(struct hmm_devmem *devmem,
					struct hmm_migration *m,
					unsigned long npages);
void hmm_migrate_set_dst(struct hmm_migration *m, unsigned long i,
			 struct page *dst, unsigned int order);
void hmm_migrate_set_async(struct hmm_devmem *devmem, struct hmm_migration *m,
			   bool async);
bool hmm_migrate_choose_again(struct hmm_devmem *devmem, struct hmm_migration *m);
void hmm_migrate_book_device(struct hmm_devmem *devmem, struct hmm_migration *m,
			     unsigned long npages, unsigned long *moved,
			     unsigned long *filled);
int hmm_migrate_begin_to_device(struct hmm_devmem *devmem,
				struct hmm_migration *m,
				unsigned long *missing);
int hmm_migrate_end_to_device(struct hmm_migration *m,
			      struct hmm_migrate_result *result);

/* migrate_to_ram.c */
bool hmm_migrate_src_ok(struct folio *src, struct folio *fault_folio);
int hmm_migrate_choose_ram(struct hmm_migration *m, unsigned long npages,
			   const struct migrate_vma *args);
void hmm_migrate_start_ram(struct hmm_migration *m, unsigned long npages);
int hmm_migrate_wait_ram(struct hmm_migration *m, unsigned long npages);
int hmm_migrate_fill_ram(struct hmm_migration *m, unsigned long npages);
unsigned long hmm_migrate_book_ram(struct hmm_migration *m,
				   unsigned long npages);
int hmm_migrate_begin_to_ram(struct hmm_migration *m);
int hmm_migrate_end_to_ram(struct hmm_migration *m,
			   struct hmm_migrate_result *result);

/* migrate_between.c */
struct hmm_between *hmm_between_alloc(struct hmm_devmem *from,
				      struct hmm_devmem *to,
				      unsigned long nr_pages);
void hmm_between_free(struct hmm_between *between);
void hmm_between_select(const struct hmm_between *between,
			struct hmm_migration *m, struct migrate_vma *args);
void hmm_between_start(struct hmm_between *between, struct hmm_migration *m);
int hmm_between_wait(struct hmm_between *between, struct hmm_migration *m,
		     unsigned long npages);

#endif /* _MM_HMM_MIGRATE_H */
