/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of the mirror share.
 *
 *   mirror.c            registration, pieces, invalidation, statistics
 *   mirror_map.c        from what the CPU page table says to device entries
 *   mirror_dma.c        DMA addresses of a piece
 *   mirror_fault.c      a device page fault, for one mirror or for many
 *   mirror_populate.c   ranges: prefetch and snapshot
 *   mirror_exclusive.c  pages that only the device may access
 */
#ifndef _MM_HMM_MIRROR_H
#define _MM_HMM_MIRROR_H

#include <linux/dma-mapping.h>
#include <linux/fs.h>
#include <linux/hmm.h>
#include <linux/hmm/mirror.h>
#include <linux/jiffies.h>
#include <linux/magic.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/sched/mm.h>

#include "internal.h"

/* Entries handed to the driver at once; they live on the stack. */
#define HMM_MIRROR_ENTRIES	16

/* Pages that a fault walks without allocating memory. */
#define HMM_MIRROR_INLINE_PFNS	16

/* As HMM_PMD_PAGES, where that is no constant. */
#define HMM_MAX_PMD_PAGES	MAX_PTRS_PER_PTE

/**
 * enum hmm_mirror_again - why a step has to be repeated; its caller does so
 * @HMM_MIRROR_COLLIDED: an invalidation came in between
 * @HMM_MIRROR_NO_DMA: no memory for DMA mappings at the moment
 * @HMM_MIRROR_ABSENT: the CPU page table does not map the page
 * @HMM_MIRROR_WIDEN: a wider walk gives a larger entry
 * @HMM_MIRROR_MOVE: the page should move to device memory first
 *
 * Positive, as drivers return what errno they like.
 */
enum hmm_mirror_again {
	HMM_MIRROR_COLLIDED = 1,
	HMM_MIRROR_NO_DMA,
	HMM_MIRROR_ABSENT,
	HMM_MIRROR_WIDEN,
	HMM_MIRROR_MOVE,
};

/**
 * struct hmm_mirror_dma - DMA addresses of a piece
 * @iova: PMD_SIZE bytes of DMA address space, for the aligned piece; unused if
 *	the device sees physical addresses
 * @linked: a bit for each base page of the aligned piece that is linked
 * @first: a bit for each base page at which a link begins
 */
struct hmm_mirror_dma {
	struct dma_iova_state iova;
	DECLARE_BITMAP(linked, HMM_MAX_PMD_PAGES);
	DECLARE_BITMAP(first, HMM_MAX_PMD_PAGES);
};

/**
 * struct hmm_mirror_finish - second pass of an invalidation of a piece
 * @base: the core's
 * @busy: in use
 * @ticket: flush to wait for
 * @start: what was zapped
 * @end: exclusive
 */
struct hmm_mirror_finish {
	struct mmu_interval_notifier_finish base;
	bool busy;
	u64 ticket;
	unsigned long start;
	unsigned long end;
};

/**
 * struct hmm_mirror_piece - one PMD_SIZE-aligned piece of a mirror
 * @sub: the core's notifier; covers the piece, clipped to the mirror
 * @mirror: the mirror
 * @update_lock: held while the device page table of the piece changes; protects
 *	all that follows
 * @finish: of the invalidation that came first; others do without
 * @foreign: counts invalidations but those that make a page exclusive for
 *	this mirror
 * @dma: NULL on a mirror without a DMA device
 */
struct hmm_mirror_piece {
	struct mmu_interval_notifier sub;
	struct hmm_mirror *mirror;
	struct mutex update_lock;	/* of the device page table */
	struct hmm_mirror_finish finish;
	unsigned long foreign;
	struct hmm_mirror_dma *dma;
};

static inline unsigned long piece_start(const struct hmm_mirror_piece *piece)
{
	return piece->sub.interval_tree.start;
}

/* Exclusive. */
static inline unsigned long piece_end(const struct hmm_mirror_piece *piece)
{
	return piece->sub.interval_tree.last + 1;
}

/**
 * struct hmm_mirror_window - what a walk of the CPU page table found
 * @start: first byte walked, page aligned; within one PMD_SIZE-aligned range
 * @end: exclusive
 * @pfns: as hmm_range_fault() gave them, one for each base page
 * @addr: page that the device waits for
 * @write: the device writes to it now
 * @all: the device waits for every page, not only for @addr
 * @touch: @addr counts as accessed; a CPU fault has not said so already
 * @may_widen: the walk can be repeated for a larger entry
 * @wider_order: out, with %HMM_MIRROR_WIDEN, the size that this takes
 */
struct hmm_mirror_window {
	unsigned long start;
	unsigned long end;
	unsigned long *pfns;
	unsigned long addr;
	bool write;
	bool all;
	bool touch;
	bool may_widen;
	unsigned int wider_order;
};

/* What was found at the page that the device waits for. */
static inline unsigned long
hmm_mirror_window_pfn(const struct hmm_mirror_window *window)
{
	return window->pfns[(window->addr - window->start) >> PAGE_SHIFT];
}

static inline bool hmm_mirror_pfn_ok(unsigned long hmm_pfn, bool write)
{
	unsigned long need = HMM_PFN_VALID | (write ? HMM_PFN_WRITE : 0);

	return (hmm_pfn & need) == need;
}

/* Memory that is kept even from the kernel; its file system says so. */
static inline bool hmm_mirror_secret(const struct address_space *mapping)
{
	return mapping && mapping->host->i_sb->s_magic == SECRETMEM_MAGIC;
}

/* mirror.c */
struct hmm_mirror_piece *hmm_mirror_find_piece(struct hmm_mirror *mirror,
					       unsigned long addr);
void hmm_mirror_drop(struct hmm_mirror_piece *piece, unsigned long start,
		     unsigned long end);
void hmm_mirror_block(struct hmm_mirror_target *target);
bool hmm_mirror_unblock(struct hmm_mirror_target *target);

/* mirror_map.c */
unsigned int hmm_mirror_entry_order(const struct hmm_mirror *mirror,
				    unsigned long addr, unsigned long pfn,
				    unsigned long nr);
unsigned int hmm_mirror_wider_order(const struct hmm_mirror_piece *piece,
				    unsigned long bytes,
				    const struct folio *folio);
int hmm_mirror_map_window(struct hmm_mirror_piece *piece,
			  struct hmm_mirror_window *window);
int hmm_mirror_map_exclusive(struct hmm_mirror_piece *piece,
			     unsigned long addr, struct page *page);

/* mirror_dma.c */
int hmm_mirror_dma_check(struct device *dev);
struct hmm_mirror_dma *hmm_mirror_dma_alloc(struct device *dev);
void hmm_mirror_dma_free(struct device *dev, struct hmm_mirror_dma *dma);
int hmm_mirror_dma_link(struct hmm_mirror_piece *piece,
			struct hmm_mirror_entry *entries, unsigned int nr);
void hmm_mirror_dma_widen(const struct hmm_mirror_piece *piece,
			  unsigned long *start, unsigned long *end);
void hmm_mirror_dma_unlink(struct hmm_mirror_piece *piece, unsigned long start,
			   unsigned long end);

/* mirror_fault.c */
int hmm_mirror_fault_range_in(struct hmm_mirror_target *target,
			      struct hmm_range *range, unsigned long deadline);
int hmm_mirror_fault_page_in(struct hmm_mirror_target *target,
			     unsigned long addr, bool write, void *owner,
			     unsigned long deadline, unsigned long *hmm_pfn);

/*
 * What each fault does on its way in and out is short enough to be worth no
 * call.
 */

/* Keep the mirror and its process's memory for a call. */
static inline int hmm_mirror_enter(struct hmm_mirror_target *target,
				   struct hmm_mirror *mirror)
{
	*target = (struct hmm_mirror_target){ .mirror = mirror };
	if (!percpu_ref_tryget_live(&mirror->users)) {
		target->error = -ESHUTDOWN;
		return -ESHUTDOWN;
	}
	if (!mmget_not_zero(mirror->mm)) {
		percpu_ref_put(&mirror->users);
		target->error = -ESRCH;
		return -ESRCH;
	}
	target->mm = mirror->mm;
	target->entered = true;
	return 0;
}

static inline void hmm_mirror_leave(struct hmm_mirror_target *target)
{
	if (target->entered)
		percpu_ref_put(&target->mirror->users);
	/* The last one ends the process's files, which may unregister us. */
	if (target->mm)
		mmput(target->mm);
}

/* Find or create the piece for @addr.  The caller holds a reference to mm. */
static inline struct hmm_mirror_piece *
hmm_mirror_get_piece(struct hmm_mirror *mirror, unsigned long addr)
{
	/* The next fault is often near the last one; pieces stay. */
	struct hmm_mirror_piece *piece = READ_ONCE(mirror->last_piece);

	if (piece && addr >= piece_start(piece) && addr < piece_end(piece))
		return piece;
	return hmm_mirror_find_piece(mirror, addr);
}

/* Get everything ready to map what lies at @addr. */
static inline int hmm_mirror_prepare(struct hmm_mirror_target *target,
				     unsigned long addr)
{
	struct hmm_mirror *mirror = target->mirror;
	const struct hmm_mirror_ops *ops = mirror->desc.ops;
	struct hmm_mirror_piece *piece;

	piece = hmm_mirror_get_piece(mirror, addr);
	if (IS_ERR(piece))
		return PTR_ERR(piece);
	target->piece = piece;
	return ops->prepare ? ops->prepare(mirror, piece_start(piece),
					   piece_end(piece)) : 0;
}

/* Jiffies, at least 1. */
static inline unsigned long hmm_mirror_time_left(unsigned long deadline)
{
	unsigned long now = jiffies;

	return time_before(now, deadline) ? deadline - now : 1;
}

/**
 * hmm_mirror_begin() - begin to read the CPU page table of a piece
 * @piece: the piece
 * @timeout: in jiffies, at least 1; kept by kernels with
 *	mmu_interval_read_begin_timeout()
 * @seq: out, for mmu_interval_read_retry()
 *
 * Return: 0, -ETIME, or -EINTR for a fatal signal.
 */
static inline int hmm_mirror_begin(struct hmm_mirror_piece *piece,
				   unsigned long timeout, unsigned long *seq)
{
#ifdef mmu_interval_read_begin_timeout
	int err = mmu_interval_read_begin_timeout(&piece->sub, seq, timeout);

	return err == -EBUSY ? -ETIME : err;
#else
	*seq = mmu_interval_read_begin(&piece->sub);
	return 0;
#endif
}

/* debugfs.c */
void hmm_debugfs_add_mirror(struct hmm_mirror *mirror);
void hmm_debugfs_remove_mirror(struct hmm_mirror *mirror);

#endif /* _MM_HMM_MIRROR_H */
