/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Mirror: keep a device page table equal to a process page table.
 *
 * See Documentation/mm/hmm/overview.rst for how the pieces fit together and
 * Documentation/mm/hmm/locking.rst for the lock order.
 */
#ifndef _LINUX_HMM_MIRROR_H
#define _LINUX_HMM_MIRROR_H

#include <linux/atomic.h>
#include <linux/bits.h>
#include <linux/completion.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/percpu-refcount.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/xarray.h>

struct device;
struct hmm_devmem;
struct hmm_mirror;
struct hmm_mirror_piece;
struct mm_struct;

/**
 * enum hmm_mirror_flags - access rights and kind of a device page-table entry
 * @HMM_MIRROR_WRITE: the device may write through the entry.  As the access
 *	argument of hmm_mirror_fault(): the device wants to write.
 * @HMM_MIRROR_PRIVATE: the entry points to device private memory of the
 *	mirror's owner; hmm_devmem_from_pfn() and hmm_devmem_offset() say where.
 *	Without it the page frame is memory that the CPU can address as well,
 *	RAM or coherent device memory.
 * @HMM_MIRROR_DMA: &hmm_mirror_entry.dma_addr is where the device reaches the
 *	memory.  Set on a mirror with a DMA device, except for entries that
 *	point to memory of the mirror's owner, private or coherent.
 * @HMM_MIRROR_EXCLUSIVE: no CPU can access the page before the entry is
 *	invalidated: what the device does to it is atomic for everyone.
 */
enum hmm_mirror_flags {
	HMM_MIRROR_WRITE	= BIT(0),
	HMM_MIRROR_PRIVATE	= BIT(1),
	HMM_MIRROR_DMA		= BIT(2),
	HMM_MIRROR_EXCLUSIVE	= BIT(3),
};

/**
 * struct hmm_mirror_entry - one device page-table entry to install
 * @addr: first virtual address, a multiple of the entry's size
 * @pfn: first page frame number, a multiple of 1 << @order
 * @dma_addr: DMA address of the first byte if @flags has %HMM_MIRROR_DMA; the
 *	entry is contiguous in DMA addresses and aligned to its size
 * @order: the entry covers PAGE_SIZE << @order bytes, one of the device's page
 *	sizes
 * @flags: &enum hmm_mirror_flags
 */
struct hmm_mirror_entry {
	unsigned long addr;
	unsigned long pfn;
	dma_addr_t dma_addr;
	unsigned int order;
	unsigned int flags;
};

/**
 * struct hmm_mirror_ops - what a driver supplies to mirror an address space
 */
struct hmm_mirror_ops {
	/**
	 * @prepare: optional.  Allocate the device page tables that a later
	 * @map of [start, end) needs, so that @map does not allocate.
	 * The range never crosses a PMD_SIZE boundary; end is exclusive.
	 *
	 * Context: process context, no lock of the toolbox or of mm held; may
	 * sleep and may allocate with GFP_KERNEL.  Called once per fault,
	 * concurrently with every other operation.
	 * Return: 0, or a negative errno that the fault hands on.
	 */
	int (*prepare)(struct hmm_mirror *mirror, unsigned long start,
		       unsigned long end);

	/**
	 * @map: install @nr entries, replacing what is mapped at their
	 * addresses.  All of them lie in one PMD_SIZE-aligned range.  Where an
	 * entry is smaller than the leaf that is there, the driver splits the
	 * leaf or drops the rest of it.
	 *
	 * Context: update lock of that range held, sometimes mmap_lock and,
	 * with %HMM_MIRROR_EXCLUSIVE, the page's folio lock as well.  May
	 * sleep, must not allocate memory with a reclaiming gfp mask, must not
	 * take mmap_lock, dma_resv, a folio lock or a lock under which any of
	 * these is taken: invalidations, which memory reclaim waits for, take
	 * the update lock too.
	 * Return: 0, or a negative errno that the fault hands on; the toolbox
	 * then invalidates what it had asked to map.
	 */
	int (*map)(struct hmm_mirror *mirror,
		   const struct hmm_mirror_entry *entries, unsigned int nr);

	/**
	 * @invalidate: zap every entry that touches [start, end), whole
	 * entries, and, unless there is @flush_start, flush the device TLB.
	 * Without @flush_start the device has no access in flight to the pages
	 * that were mapped there when it returns true.  end is exclusive; the
	 * range never crosses a PMD_SIZE boundary.
	 *
	 * Context: update lock of that range held.  Called from memory
	 * reclaim: the rules of @map apply.  If @nonblock, must not sleep.
	 * Return: true; or false if @nonblock and it would have to sleep,
	 * before anything was changed.
	 */
	bool (*invalidate)(struct hmm_mirror *mirror, unsigned long start,
			   unsigned long end, bool nonblock);

	/**
	 * @flush_start: optional, together with @flush_wait.  Start to flush
	 * the device TLB for [start, end), end exclusive, and do not wait.
	 * Called once for an invalidation, after @invalidate has zapped all
	 * that it touches, so that several devices flush at the same time.
	 *
	 * Context: a spinlock of the toolbox held, must not sleep.
	 */
	void (*flush_start)(struct hmm_mirror *mirror, unsigned long start,
			    unsigned long end);

	/**
	 * @flush_wait: wait until every flush that was started before the call
	 * is complete: the device has no access in flight that used what these
	 * flushes dropped.
	 *
	 * Context: with or without an update lock, at times in several threads
	 * at once; otherwise as @invalidate.  If @nonblock, must poll instead
	 * of sleep.
	 */
	void (*flush_wait)(struct hmm_mirror *mirror, bool nonblock);
};

/**
 * struct hmm_mirror_desc - describes a mirror to hmm_mirror_register()
 * @ops: driver operations; must outlive the mirror
 * @owner: tag of the device private memory that this device reaches by itself:
 *	the owner given to hmm_devmem_add(); NULL if there is none
 * @dma_dev: device to map the memory for; NULL if the device uses page frame
 *	numbers.  The mirror keeps a reference.  The device must stay bound to
 *	its driver until hmm_mirror_unregister()
 * @start: first virtual address mirrored, page aligned
 * @end: end of the mirrored range, exclusive, page aligned; 0: TASK_SIZE_MAX
 * @page_sizes: bitmap of the device's page sizes in bytes (as iommu's
 *	pgsize_bitmap), a subset of PAGE_SIZE .. PMD_SIZE that includes
 *	PAGE_SIZE; 0: PAGE_SIZE
 * @fault_around: bytes around a fault that are mapped too if the CPU page
 *	table already maps them: a power of two from PAGE_SIZE to PMD_SIZE; 0: PAGE_SIZE
 * @timeout_ms: how long, in milliseconds, a fault retries when the range is
 *	invalidated again and again; 0 selects HMM_MIRROR_DEFAULT_TIMEOUT_MS
 */
struct hmm_mirror_desc {
	const struct hmm_mirror_ops *ops;
	void *owner;
	struct device *dma_dev;
	unsigned long start;
	unsigned long end;
	unsigned long page_sizes;
	unsigned long fault_around;
	unsigned int timeout_ms;
};

#define HMM_MIRROR_DEFAULT_TIMEOUT_MS	1000

/**
 * struct hmm_mirror_stats - counters of one mirror since its registration
 * @faults: calls of hmm_mirror_fault(), as target of hmm_mirror_fault_many(),
 *	and pages asked for with hmm_mirror_fault_exclusive()
 * @retries: walks repeated because an invalidation collided with them
 * @timeouts: faults given up for that reason
 * @invalidations: calls of the invalidate operation because the process's
 *	page table changed
 * @flushes: calls of the flush_start operation for that reason
 * @mapped_pages: base pages (PAGE_SIZE) handed to the map operation
 * @mapped_entries: entries handed to the map operation
 * @dma_retries: faults repeated because the IOMMU had no memory
 */
struct hmm_mirror_stats {
	u64 faults;
	u64 retries;
	u64 timeouts;
	u64 invalidations;
	u64 flushes;
	u64 mapped_pages;
	u64 mapped_entries;
	u64 dma_retries;
};

/**
 * struct hmm_mirror - one process address range mirrored by one device page
 *	table
 *
 * Embed it in the driver's own object, and keep that until all calls that were
 * given the mirror have returned: hmm_mirror_unregister() does not wait for those
 * that are in a CPU fault.  All members are private to the toolbox.
 */
struct hmm_mirror {
	/* private: */
	struct mm_struct *mm;
	struct hmm_mirror_desc desc;
	unsigned long timeout;		/* in jiffies */
	struct percpu_ref users;
	struct completion idle;
	atomic_t blocked;
	struct xarray pieces;
	struct hmm_mirror_piece *last_piece;
	struct mutex create_lock;	/* to add to pieces */
	struct list_head link;
	unsigned int id;

	/* Zapped and not flushed yet; for drivers with flush_start. */
	spinlock_t flush_lock;		/* protects the next five */
	unsigned long flush_from;
	unsigned long flush_to;
	u64 zapped;
	u64 flush_started;
	u64 flush_done;

	atomic64_t faults;
	atomic64_t retries;
	atomic64_t timeouts;
	atomic64_t invalidations;
	atomic64_t flushes;
	atomic64_t mapped_pages;
	atomic64_t mapped_entries;
	atomic64_t dma_retries;
};

/**
 * hmm_mirror_mm() - the address space that a mirror mirrors
 * @mirror: a registered mirror
 *
 * Context: any.
 * Return: the address space; the mirror keeps the struct, but not what is in it,
 * see mmget_not_zero().
 */
static inline struct mm_struct *hmm_mirror_mm(const struct hmm_mirror *mirror)
{
	return mirror->mm;
}

/**
 * struct hmm_mirror_move - what hmm_mirror_fault_move() moves to device memory
 * @devmem: where to; of the mirror's owner
 * @size: how much: the aligned range of so many bytes around the address, a power of
 *	two from PAGE_SIZE to PMD_SIZE
 * @evict_timeout_ms: as for hmm_migrate_to_device()
 */
struct hmm_mirror_move {
	struct hmm_devmem *devmem;
	unsigned long size;
	unsigned int evict_timeout_ms;
};

/**
 * struct hmm_mirror_target - one of several mirrors to serve with one walk
 * @mirror: a registered mirror
 * @error: out, 0 or a negative errno as from hmm_mirror_fault()
 */
struct hmm_mirror_target {
	struct hmm_mirror *mirror;
	int error;
	/* private: */
	struct mm_struct *mm;
	struct hmm_mirror_piece *piece;
	unsigned long seq;
	bool entered;
	bool pending;
};

/**
 * struct hmm_mirror_result - what became of each base page of a range
 * @mapped: pages that were handed to the map operation, with the access asked
 *	for
 * @missing: pages that the protection allows to access so, but that the page
 *	table did not map so.  hmm_mirror_prefetch() brings them in, or finds
 *	that they are lost
 * @refused: pages that the process itself could not access so: nothing is
 *	mapped there, the protection forbids it, it is not memory, or the memory
 *	is lost
 * @left: pages not reached because of the error returned
 * @refused_at: the address of the first page refused, 0 if none was: there
 *	hmm_mirror_fault() says why
 *
 * The first four add up to the length of the range in base pages.
 */
struct hmm_mirror_result {
	unsigned long mapped;
	unsigned long missing;
	unsigned long refused;
	unsigned long left;
	unsigned long refused_at;
};

int hmm_mirror_register(struct hmm_mirror *mirror, struct mm_struct *mm,
			const struct hmm_mirror_desc *desc);
void hmm_mirror_unregister(struct hmm_mirror *mirror);
int hmm_mirror_fault(struct hmm_mirror *mirror, unsigned long addr,
		     unsigned int access);
int hmm_mirror_fault_move(struct hmm_mirror *mirror, unsigned long addr,
			  unsigned int access,
			  const struct hmm_mirror_move *move);
int hmm_mirror_fault_many(struct hmm_mirror_target *targets, unsigned int nr,
			  unsigned long addr, unsigned int access);
int hmm_mirror_fault_exclusive(struct hmm_mirror *mirror, unsigned long start,
			       unsigned long end, unsigned long *nr_mapped);
int hmm_mirror_prefetch(struct hmm_mirror *mirror, unsigned long start,
			unsigned long end, unsigned int access,
			struct hmm_mirror_result *result);
int hmm_mirror_snapshot(struct hmm_mirror *mirror, unsigned long start,
			unsigned long end, struct hmm_mirror_result *result);
void hmm_mirror_get_stats(struct hmm_mirror *mirror,
			  struct hmm_mirror_stats *stats);

#endif /* _LINUX_HMM_MIRROR_H */
