/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Lock order of the HMM toolbox, outermost first:
 *
 *   mmap_lock
 *     driver's address-space lock, dma_resv
 *       hmm_devmem.srcu (read side; for a CPU fault inside the folio locks)
 *         folio locks (taken by trylock inside migration)
 *           fs_reclaim
 *             mmu_notifier_invalidate_range_start
 *               hmm_mirror_piece.update_lock
 *                 hmm_mirror.flush_lock, driver's page-table lock,
 *                 hmm_devmem.lru_lock (with interrupts off)
 *
 * What a driver operation may do follows from where it is called:
 * prepare runs under none of them, copy and clear under the folio locks,
 * invalidate under the update lock, and map under it and at times mmap_lock or a
 * folio lock.
 */
#ifndef _MM_HMM_INTERNAL_H
#define _MM_HMM_INTERNAL_H

#include <linux/hmm/devmem.h>
#include <linux/hmm/mirror.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/srcu.h>
#include <linux/workqueue.h>

struct dmem_cgroup_region;
struct gen_pool;
struct migrate_vma;

/* Base pages in the unit of migration and of invalidation, a page table. */
#define HMM_PMD_PAGES	(PMD_SIZE >> PAGE_SHIFT)

/* Eviction goes by blocks, the grain in which memory is added. */
#define HMM_DEVMEM_BLOCK_SIZE	SUBSECTION_SIZE
#define HMM_DEVMEM_BLOCK_PAGES	(HMM_DEVMEM_BLOCK_SIZE >> PAGE_SHIFT)

/**
 * struct hmm_devmem_block - HMM_DEVMEM_BLOCK_SIZE bytes of device memory
 * @lru: entry in &hmm_devmem.lru; on the list if a page of the block is resident
 * @used: &hmm_devmem.clock of its last use
 * @evicting: an eviction works on it
 */
struct hmm_devmem_block {
	struct list_head lru;
	u64 used;
	bool evicting;
};

/**
 * enum hmm_devmem_state - what a devmem still does
 * @HMM_DEVMEM_LIVE: everything
 * @HMM_DEVMEM_DRAINING: pages leave, none arrive
 * @HMM_DEVMEM_DETACHED: the driver is gone: what is left is lost
 *
 * Written by hmm_devmem_remove(), which waits for the readers of the state
 * before, hmm_devmem_enter().
 */
enum hmm_devmem_state {
	HMM_DEVMEM_LIVE,
	HMM_DEVMEM_DRAINING,
	HMM_DEVMEM_DETACHED,
};

/**
 * struct hmm_devmem - a range of device memory with struct pages
 * @pgmap: the core's view; a folio's pgmap leads here
 * @desc: what the driver gave, with a copy of the name
 * @res: the physical range, claimed by the toolbox
 * @region: of the dmem cgroup controller; each page in use has the pool that it is
 *	charged to as its zone_device_data
 * @pool: free page frames, by physical address
 * @resident: a bit for each page frame that holds process memory: set when a
 *	page is committed here, cleared when it is committed elsewhere or freed
 * @state: &enum hmm_devmem_state
 * @srcu: held by whoever calls a driver operation or takes page frames
 * @refs: 1 for the driver and 1 for each page in use; the last one unplugs
 * @unplug: unplugs when the last page is freed after hmm_devmem_remove()
 * @blocks: one for each HMM_DEVMEM_BLOCK_SIZE bytes
 * @lru_lock: protects @lru, @clock and what @blocks have; taken in any context
 * @lru: blocks with resident pages and some that had, in the order of their use,
 *	the one that was used longest ago first
 * @clock: counts uses of blocks
 * @peak: the most pages that were in use
 * @migrated_in: see &struct hmm_devmem_stats
 * @migrated_out: see &struct hmm_devmem_stats
 * @evicted: see &struct hmm_devmem_stats
 * @failed: see &struct hmm_devmem_stats
 * @cpu_faults: see &struct hmm_devmem_stats
 * @link: entry in the list that debugfs shows
 * @id: number in debugfs
 */
struct hmm_devmem {
	struct dev_pagemap pgmap;
	struct hmm_devmem_desc desc;
	struct resource *res;
	struct dmem_cgroup_region *region;
	struct gen_pool *pool;
	unsigned long *resident;
	enum hmm_devmem_state state;
	struct srcu_struct srcu;
	atomic_long_t refs;
	struct work_struct unplug;
	struct hmm_devmem_block *blocks;
	spinlock_t lru_lock;		/* protects lru, clock, *blocks */
	struct list_head lru;
	u64 clock;
	atomic_long_t peak;
	atomic64_t migrated_in;
	atomic64_t migrated_out;
	atomic64_t evicted;
	atomic64_t failed;
	atomic64_t cpu_faults;
	struct list_head link;
	unsigned int id;
};

static inline unsigned long hmm_devmem_nr_pages(const struct hmm_devmem *devmem)
{
	return range_len(&devmem->pgmap.range) >> PAGE_SHIFT;
}

/* Index of a page of the devmem, in base pages. */
static inline unsigned long hmm_devmem_index(const struct hmm_devmem *devmem,
					     const struct page *page)
{
	return page_to_pfn(page) - PHYS_PFN(devmem->pgmap.range.start);
}

int hmm_devmem_init(void);
void hmm_devmem_exit(void);
bool hmm_devmem_enter(struct hmm_devmem *devmem, enum hmm_devmem_state worst,
		      int *idx);
void hmm_devmem_leave(struct hmm_devmem *devmem, int idx);
unsigned int hmm_devmem_alloc_pages(struct hmm_devmem *devmem, unsigned int nr,
				    struct page **pages, int *err);
void hmm_devmem_free_pages(struct page **pages, unsigned int nr);

/**
 * struct hmm_migration - working memory for one migration step
 * @max: base pages in a step at most
 * @src: core's source entries, see below
 * @dst: core's destination entries
 * @reserved: device pages taken for the step, or those to evict
 * @copies: pages to copy, one run for each devmem
 * @clears: pages to clear
 * @nr_copies: entries in @copies
 * @nr_clears: entries in @clears
 *
 * @src and @dst are twice as long as the step: if the page table vanishes while
 * migrate_vma_collect_pmd() splits a folio in it, the core enters the range a
 * second time, after the entries it has.
 */
struct hmm_migration {
	unsigned long max;
	unsigned long *src;
	unsigned long *dst;
	struct page **reserved;
	struct hmm_devmem_copy *copies;
	struct hmm_devmem_copy *clears;
	unsigned int nr_copies;
	unsigned int nr_clears;
};

struct hmm_migration *hmm_migration_alloc(unsigned long nr);
int hmm_migrate_choose_ram(struct hmm_migration *m, unsigned long npages,
			   const struct migrate_vma *args);
int hmm_migrate_fill_ram(struct hmm_migration *m, unsigned long npages);
unsigned long hmm_migrate_book_ram(struct hmm_migration *m,
				   unsigned long npages);

vm_fault_t hmm_migrate_cpu_fault(struct vm_fault *vmf);

int hmm_evict(struct hmm_devmem *devmem, unsigned long nr_pages, u64 before,
	      unsigned long deadline, enum hmm_devmem_state worst,
	      struct hmm_devmem_evict_result *result);
int hmm_evict_for_room(struct hmm_devmem *devmem, unsigned long nr_pages,
		       u64 before, unsigned int timeout_ms);
u64 hmm_devmem_clock(struct hmm_devmem *devmem);
void hmm_devmem_touch_index(struct hmm_devmem *devmem, unsigned long index);

/* debugfs.c */
void hmm_debugfs_init(void);
void hmm_debugfs_exit(void);
void hmm_debugfs_add_devmem(struct hmm_devmem *devmem);
void hmm_debugfs_remove_devmem(struct hmm_devmem *devmem);

#endif /* _MM_HMM_INTERNAL_H */
