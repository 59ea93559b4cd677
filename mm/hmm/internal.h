/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Lock order of the HMM toolbox, outermost first:
 *
 *   mmap_lock
 *     driver's address-space lock, dma_resv
 *       hmm_devmem.srcu (read side; for a CPU fault inside the folio locks; of
 *       two devmems in any order)
 *         folio locks (taken by trylock inside migration)
 *           fs_reclaim
 *             mmu_notifier_invalidate_range_start
 *               hmm_mirror_piece.update_lock
 *                 hmm_mirror.flush_lock, driver's page-table lock,
 *                 hmm_devmem.lru_lock, hmm_devmem_sharing.lock (with
 *                 interrupts off)
 *           hmm_history.lock (nothing is taken under it)
 *
 * What a driver operation may do follows from where it is called:
 * prepare, get_block and put_block run under none of them, copy and clear under the
 * folio locks, invalidate under the update lock, and map under it and at times
 * mmap_lock or a folio lock.
 */
#ifndef _MM_HMM_INTERNAL_H
#define _MM_HMM_INTERNAL_H

#include <linux/bitmap.h>
#include <linux/hmm/devmem.h>
#include <linux/hmm/mirror.h>
#include <linux/log2.h>
#include <linux/memremap.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/srcu.h>
#include <linux/workqueue.h>

struct dmem_cgroup_pool_state;
struct dmem_cgroup_region;
struct gen_pool;
struct hmm_devmem_sharing;
struct hmm_evict_target;
struct hmm_history;
struct hmm_migration;
struct notifier_block;

/* Base pages in the unit of migration and of invalidation, a page table. */
#define HMM_PMD_ORDER	(PMD_SHIFT - PAGE_SHIFT)
#define HMM_PMD_PAGES	(PMD_SIZE >> PAGE_SHIFT)

/* Bytes of an aligned range within a page table? */
static inline bool hmm_range_size_ok(unsigned long bytes)
{
	return is_power_of_2(bytes) && bytes >= PAGE_SIZE && bytes <= PMD_SIZE;
}

/* Device memory has huge folios only if eviction can split them. */
#ifdef SPLIT_HUGE_PAGE_EXPORTED
#define HMM_HUGE_DEVICE_FOLIOS	(thp_migration_supported() && \
				 PMD_SIZE == HMM_DEVMEM_BLOCK_SIZE)
#else
#define HMM_HUGE_DEVICE_FOLIOS	false
#endif

/* How to collect while folios are locked; mainline has no way but to wait. */
#ifdef MIGRATE_VMA_NO_DRAIN
#define HMM_MIGRATE_NO_DRAIN	MIGRATE_VMA_NO_DRAIN
#else
#define HMM_MIGRATE_NO_DRAIN	0
#endif

/* Eviction goes by blocks, the grain in which memory is added. */
#define HMM_DEVMEM_BLOCK_SIZE	SUBSECTION_SIZE
#define HMM_DEVMEM_BLOCK_PAGES	(HMM_DEVMEM_BLOCK_SIZE >> PAGE_SHIFT)

/**
 * struct hmm_devmem_block - HMM_DEVMEM_BLOCK_SIZE bytes of device memory, what a
 *	huge folio fills
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
 * @region: of the dmem cgroup controller; each folio in use has what it is charged
 *	to as its zone_device_data
 * @pool: free page frames, by physical address
 * @search_from: where to look for one first, by index; what was freed before it
 *	meanwhile is found in the second place
 * @resident: a bit for each page frame that holds process memory: set when a
 *	page is committed here, cleared when it is committed elsewhere, freed or
 *	poisoned
 * @poisoned: a bit for each page frame that must not be used again, see poison.c
 * @nr_poisoned: bits set in @poisoned
 * @lost: those among them that are in use; the others have left @pool for good
 * @sharing: what the driver has lent, see devmem_block.c; NULL if all is the
 *	toolbox's
 * @state: &enum hmm_devmem_state
 * @srcu: held by whoever calls a driver operation or takes page frames
 * @refs: 1 for the driver and 1 for each page in use; the last one unplugs
 * @unplug: unplugs when the last page is freed after hmm_devmem_remove()
 * @blocks: one for each HMM_DEVMEM_BLOCK_SIZE bytes
 * @lru_lock: protects @lru, @clock and what @blocks have; taken in any context
 * @lru: blocks with resident pages and some that had, in the order of their use,
 *	the one that was used longest ago first
 * @clock: counts uses of blocks
 * @spare: working memory for an eviction that finds none
 * @spare_lock: held by the eviction that uses it
 * @huge: base pages in use as huge folios
 * @peak: the most pages that were in use
 * @migrated_in: see &struct hmm_devmem_stats
 * @migrated_out: see &struct hmm_devmem_stats
 * @evicted: see &struct hmm_devmem_stats
 * @failed: see &struct hmm_devmem_stats
 * @cpu_faults: see &struct hmm_devmem_stats
 * @async: the driver is known to go on after its operation returned
 * @busy_ns: see &struct hmm_devmem_stats
 * @idle_ns: see &struct hmm_devmem_stats
 * @from_peers: see &struct hmm_devmem_stats
 * @through_ram: see &struct hmm_devmem_stats
 * @bounces: see &struct hmm_devmem_stats
 * @suppressed: see &struct hmm_devmem_stats
 * @history: what happened to whose memory lately, see history.c
 * @link: entry in the list that debugfs shows
 * @id: number in debugfs
 * @pm_link: entry in the list of all, for sleep states
 * @suspended: nothing moves in until the system has woken up; read with @srcu
 */
struct hmm_devmem {
	struct dev_pagemap pgmap;
	struct hmm_devmem_desc desc;
	struct resource *res;
	struct dmem_cgroup_region *region;
	struct gen_pool *pool;
	unsigned long search_from;
	unsigned long *resident;
	unsigned long *poisoned;
	atomic_long_t nr_poisoned;
	atomic_long_t lost;
	struct hmm_devmem_sharing *sharing;
	enum hmm_devmem_state state;
	struct srcu_struct srcu;
	atomic_long_t refs;
	struct work_struct unplug;
	struct hmm_devmem_block *blocks;
	spinlock_t lru_lock;		/* protects lru, clock, *blocks */
	struct list_head lru;
	u64 clock;
	struct hmm_migration *spare;
	struct mutex spare_lock;	/* protects spare */
	atomic_long_t huge;
	atomic_long_t peak;
	atomic64_t migrated_in;
	atomic64_t migrated_out;
	atomic64_t evicted;
	atomic64_t failed;
	atomic64_t cpu_faults;
	bool async;
	atomic64_t busy_ns;
	atomic64_t idle_ns;
	atomic64_t from_peers;
	atomic64_t through_ram;
	atomic64_t bounces;
	atomic64_t suppressed;
	struct hmm_history *history;
	struct list_head link;
	unsigned int id;
	struct list_head pm_link;
	bool suspended;
};

extern const struct dev_pagemap_ops hmm_devmem_pagemap_ops;

static inline struct hmm_devmem *pgmap_to_devmem(struct dev_pagemap *pgmap)
{
	return container_of(pgmap, struct hmm_devmem, pgmap);
}

/* hmm_devmem_from_folio(), for us. */
static inline struct hmm_devmem *folio_to_devmem(const struct folio *folio)
{
	if (!folio_is_zone_device(folio) ||
	    folio->pgmap->ops != &hmm_devmem_pagemap_ops)
		return NULL;
	return pgmap_to_devmem(folio->pgmap);
}

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

/* The page at @index, in base pages. */
static inline struct page *hmm_devmem_page(const struct hmm_devmem *devmem,
					   unsigned long index)
{
	return pfn_to_page(PHYS_PFN(devmem->pgmap.range.start) + index);
}

/* Index of the first page of a block, in base pages. */
static inline unsigned long
hmm_devmem_block_index(const struct hmm_devmem *devmem,
		       const struct hmm_devmem_block *block)
{
	return (block - devmem->blocks) * HMM_DEVMEM_BLOCK_PAGES;
}

/* Has any of these pages a bit in one of the bitmaps of the memory? */
static inline bool hmm_devmem_any_set(const unsigned long *bitmap,
				      unsigned long index, unsigned long nr)
{
	return find_next_bit(bitmap, index + nr, index) < index + nr;
}

/* Is that a range of whole pages in the memory?  In bytes. */
static inline bool hmm_devmem_range_valid(const struct hmm_devmem *devmem,
					  u64 offset, u64 size)
{
	u64 total = (u64)hmm_devmem_nr_pages(devmem) << PAGE_SHIFT;

	return size && PAGE_ALIGNED(offset | size) && offset < total &&
	       size <= total - offset;
}

/* Pages in use, but for those that are poisoned. */
static inline long hmm_devmem_nr_left(const struct hmm_devmem *devmem)
{
	return atomic_long_read(&devmem->refs) - 1 -
	       atomic_long_read(&devmem->lost);
}

void hmm_devmem_job_wait(void);
int hmm_devmem_init(void);
void hmm_devmem_exit(void);
bool hmm_devmem_enter(struct hmm_devmem *devmem, enum hmm_devmem_state worst,
		      int *idx);
void hmm_devmem_leave(struct hmm_devmem *devmem, int idx);
void hmm_devmem_put_pages(struct hmm_devmem *devmem, unsigned long nr);

/* devmem_alloc.c */
void hmm_devmem_set_resident(struct hmm_devmem *devmem, unsigned long index,
			     unsigned long nr);
void hmm_devmem_clear_resident(struct hmm_devmem *devmem, unsigned long index,
			       unsigned long nr);
int hmm_devmem_init_pool(struct hmm_devmem *devmem, phys_addr_t start, u64 size);
void hmm_devmem_destroy_pool(struct hmm_devmem *devmem);
unsigned long hmm_devmem_nr_free(struct hmm_devmem *devmem);
unsigned long hmm_devmem_nr_used(struct hmm_devmem *devmem);
bool hmm_devmem_huge_ok(const struct hmm_devmem *devmem);
unsigned int hmm_devmem_alloc_pages(struct hmm_devmem *devmem,
				    struct mm_struct *mm, unsigned int nr,
				    struct page **pages, int *err);
void hmm_devmem_free_pages(struct page **pages, unsigned int nr);
struct folio *hmm_devmem_alloc_huge(struct hmm_devmem *devmem,
				    struct mm_struct *mm, int *err);
int hmm_devmem_split(struct page *page);
bool hmm_devmem_charged_to(struct page *page,
			   struct dmem_cgroup_pool_state *pool);
void hmm_devmem_folio_split(struct folio *head, struct folio *tail);
void hmm_devmem_folio_free(struct folio *folio);
void hmm_devmem_search_from(struct hmm_devmem *devmem, unsigned long index);

/* devmem_block.c */
int hmm_block_init(struct hmm_devmem *devmem, u64 size);
void hmm_block_destroy(struct hmm_devmem *devmem);
void hmm_block_detach(struct hmm_devmem *devmem);
void hmm_block_put_rest(struct hmm_devmem *devmem);
int hmm_block_get(struct hmm_devmem *devmem, unsigned int timeout_ms);
unsigned long hmm_block_put_free(struct hmm_devmem *devmem, unsigned long nr,
				 enum hmm_devmem_state worst);
void hmm_block_freed(struct hmm_devmem *devmem);
bool hmm_block_emptying(const struct hmm_devmem *devmem);
long hmm_block_nr_taken(struct hmm_devmem *devmem);
unsigned long hmm_block_nr_owned(const struct hmm_devmem *devmem);
bool hmm_block_poison(struct hmm_devmem *devmem, unsigned long index);
unsigned long hmm_block_find(struct hmm_devmem *devmem, unsigned long *map,
			     unsigned long size, unsigned long start,
			     unsigned int nr, unsigned long align_mask);

/* cpu_fault.c */
vm_fault_t hmm_migrate_cpu_fault(struct vm_fault *vmf);

/* history.c */
int hmm_history_init(struct hmm_devmem *devmem, u64 size);
void hmm_history_destroy(struct hmm_devmem *devmem);
void hmm_history_cpu_fault(struct hmm_devmem *devmem,
			   const struct vm_area_struct *vma, unsigned long addr,
			   bool huge, unsigned long *start, unsigned long *end);
void hmm_history_moved(struct hmm_devmem *devmem, const struct mm_struct *mm,
		       unsigned long addr);
bool hmm_history_may_migrate(struct hmm_devmem *devmem, struct mm_struct *mm,
			     unsigned long start, unsigned long end);

/**
 * struct hmm_evict_control - what to evict, and for how long
 * @nr_pages: how many base pages; ULONG_MAX for all
 * @before: only what was not used since then, by hmm_devmem_clock(); U64_MAX for
 *	all, and then until nothing is in use
 * @deadline: in jiffies
 * @worst: the last state of the memory that is good enough; one beyond
 *	%HMM_DEVMEM_LIVE stands for a removal
 * @pool: only what is charged to it or below; then one round has to do.  NULL: all
 * @target: where to; NULL: RAM
 */
struct hmm_evict_control {
	unsigned long nr_pages;
	u64 before;
	unsigned long deadline;
	enum hmm_devmem_state worst;
	struct dmem_cgroup_pool_state *pool;
	struct hmm_evict_target *target;
};

/* evict.c */
bool hmm_evict_allowed(struct hmm_devmem *devmem, unsigned long index,
		       enum hmm_devmem_state worst);
int hmm_evict_alloc_spare(struct hmm_devmem *devmem);
void hmm_evict_free_spare(struct hmm_devmem *devmem);
int hmm_evict(struct hmm_devmem *devmem, const struct hmm_evict_control *control,
	      struct hmm_devmem_evict_result *result);
int hmm_evict_charged(struct hmm_devmem *devmem,
		      struct dmem_cgroup_pool_state *pool, u64 size);
int hmm_evict_for_room(struct hmm_devmem *devmem, unsigned long nr_pages,
		       unsigned long least, u64 before, unsigned int timeout_ms);

/**
 * struct hmm_lru_cursor - a walk along the blocks in the order of their use
 * @before: only blocks that were not used since, by &hmm_devmem.clock
 * @last: block that was taken or passed over last, NULL: none
 * @last_used: when it was used, 0: none
 * @passed_over: somebody else had some block
 */
struct hmm_lru_cursor {
	u64 before;
	struct hmm_devmem_block *last;
	u64 last_used;
	bool passed_over;
};

/* lru.c */
struct hmm_devmem_block *hmm_lru_take(struct hmm_devmem *devmem,
				      struct hmm_lru_cursor *cursor);
void hmm_lru_put(struct hmm_devmem *devmem, struct hmm_devmem_block *block);
u64 hmm_devmem_clock(struct hmm_devmem *devmem);
void hmm_devmem_touch_index(struct hmm_devmem *devmem, unsigned long index);

/* poison.c */
void hmm_poison_mark(struct hmm_devmem *devmem, unsigned long index);
bool hmm_poison_keep(struct hmm_devmem *devmem, const struct page *page);
void hmm_poison_free(struct hmm_devmem *devmem, unsigned long index,
		     unsigned long nr);
void hmm_poison_settle(struct hmm_devmem *devmem);
void hmm_poison_release(struct hmm_devmem *devmem);
bool hmm_poison_hits(unsigned long pfn, unsigned long nr);

/* Is there a poisoned frame at all? */
static inline bool hmm_poison_any(const struct hmm_devmem *devmem)
{
	return unlikely(atomic_long_read(&devmem->nr_poisoned));
}

/* As hmm_poison_hits(), of @nr frames of @devmem from @page on. */
static inline bool hmm_poison_hits_in(const struct hmm_devmem *devmem,
				      const struct page *page, unsigned long nr)
{
	return hmm_poison_any(devmem) &&
	       hmm_devmem_any_set(devmem->poisoned,
				  hmm_devmem_index(devmem, page), nr);
}

unsigned long hmm_poison_in_use(const struct hmm_devmem *devmem,
				unsigned long first, unsigned long end);
int hmm_poison_pagemap_failure(struct dev_pagemap *pgmap, unsigned long pfn,
			       unsigned long nr_pages, int mf_flags);
unsigned long hmm_poison_lose(struct hmm_devmem *devmem);

/* pm.c */
int hmm_pm_init(void);
void hmm_pm_exit(void);
void hmm_pm_add_devmem(struct hmm_devmem *devmem);
void hmm_pm_remove_devmem(struct hmm_devmem *devmem);
int hmm_pm_notify(struct notifier_block *nb, unsigned long event, void *unused);

/* debugfs.c */
void hmm_debugfs_init(void);
void hmm_debugfs_exit(void);
void hmm_debugfs_add_devmem(struct hmm_devmem *devmem);
void hmm_debugfs_remove_devmem(struct hmm_devmem *devmem);

#endif /* _MM_HMM_INTERNAL_H */
