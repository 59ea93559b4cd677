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
#include <linux/mutex.h>
#include <linux/percpu-refcount.h>
#include <linux/types.h>
#include <linux/xarray.h>

struct hmm_mirror;
struct mm_struct;

/**
 * enum hmm_mirror_flags - access rights and kind of a device page-table entry
 * @HMM_MIRROR_WRITE: the device may write through the entry.  As the access
 *	argument of hmm_mirror_fault(): the device wants to write.
 * @HMM_MIRROR_PRIVATE: the entry points to device private memory of the
 *	mirror's owner; hmm_devmem_from_pfn() and hmm_devmem_offset() say where.
 *	Without it the page frame is memory that the CPU can address as well,
 *	RAM or coherent device memory.
 */
enum hmm_mirror_flags {
	HMM_MIRROR_WRITE	= BIT(0),
	HMM_MIRROR_PRIVATE	= BIT(1),
};

/**
 * struct hmm_mirror_entry - one device page-table entry to install
 * @addr: first virtual address, a multiple of the entry's size
 * @pfn: first page frame number, a multiple of 1 << @order
 * @order: the entry covers PAGE_SIZE << @order bytes, one of the device's page
 *	sizes
 * @flags: &enum hmm_mirror_flags
 */
struct hmm_mirror_entry {
	unsigned long addr;
	unsigned long pfn;
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
	 * Return: 0, or a negative errno that hmm_mirror_fault() hands on.
	 */
	int (*prepare)(struct hmm_mirror *mirror, unsigned long start,
		       unsigned long end);

	/**
	 * @map: install @nr entries, replacing what is mapped at their
	 * addresses.  All of them lie in one PMD_SIZE-aligned range.
	 *
	 * Context: update lock of that range held.  May sleep, must not
	 * allocate memory with a reclaiming gfp mask, must not take mmap_lock,
	 * dma_resv or a lock under which any of these is taken: invalidations,
	 * which memory reclaim waits for, take the update lock too.
	 * Return: 0, or a negative errno that hmm_mirror_fault() hands on; the
	 * toolbox then invalidates the range of the whole fault.
	 */
	int (*map)(struct hmm_mirror *mirror,
		   const struct hmm_mirror_entry *entries, unsigned int nr);

	/**
	 * @invalidate: zap every entry that touches [start, end), whole
	 * entries, and flush the device TLB.  When it returns true the device
	 * has no access in flight to the pages that were mapped there.  end is
	 * exclusive; the range never crosses a PMD_SIZE boundary.
	 *
	 * Context: update lock of that range held.  Called from memory
	 * reclaim: the rules of @map apply.  If @nonblock, must not sleep.
	 * Return: true; or false if @nonblock and it would have to sleep,
	 * before anything was changed.
	 */
	bool (*invalidate)(struct hmm_mirror *mirror, unsigned long start,
			   unsigned long end, bool nonblock);
};

/**
 * struct hmm_mirror_desc - describes a mirror to hmm_mirror_register()
 * @ops: driver operations; must outlive the mirror
 * @owner: tag of the device private memory that this device reaches by itself:
 *	the owner given to hmm_devmem_add(); NULL if there is none
 * @start: first virtual address mirrored, page aligned
 * @end: end of the mirrored range, exclusive, page aligned
 * @page_sizes: bitmap of the device's page sizes in bytes (as iommu's
 *	pgsize_bitmap), a subset of PAGE_SIZE .. PMD_SIZE that includes
 *	PAGE_SIZE
 * @fault_around: bytes around a fault that are mapped too if the CPU page
 *	table already maps them: a power of two from PAGE_SIZE to PMD_SIZE
 * @timeout_ms: how long, in milliseconds, a fault retries when the range is
 *	invalidated again and again; 0 selects HMM_MIRROR_DEFAULT_TIMEOUT_MS
 */
struct hmm_mirror_desc {
	const struct hmm_mirror_ops *ops;
	void *owner;
	unsigned long start;
	unsigned long end;
	unsigned long page_sizes;
	unsigned long fault_around;
	unsigned int timeout_ms;
};

#define HMM_MIRROR_DEFAULT_TIMEOUT_MS	1000

/**
 * struct hmm_mirror_stats - counters of one mirror since its registration
 * @faults: calls of hmm_mirror_fault()
 * @retries: walks repeated because an invalidation collided with them
 * @invalidations: calls of the invalidate operation
 * @mapped_pages: base pages (PAGE_SIZE) handed to the map operation
 */
struct hmm_mirror_stats {
	u64 faults;
	u64 retries;
	u64 invalidations;
	u64 mapped_pages;
};

/**
 * struct hmm_mirror - one process address range mirrored by one device page
 *	table
 *
 * Embed it in the driver's own object.  All members are private to the
 * toolbox.
 */
struct hmm_mirror {
	/* private: */
	struct mm_struct *mm;
	struct hmm_mirror_desc desc;
	struct percpu_ref users;
	struct completion idle;
	struct xarray notifiers;
	struct mutex create_lock;	/* to add to notifiers */
	atomic64_t faults;
	atomic64_t retries;
	atomic64_t invalidations;
	atomic64_t mapped_pages;
};

int hmm_mirror_register(struct hmm_mirror *mirror, struct mm_struct *mm,
			const struct hmm_mirror_desc *desc);
void hmm_mirror_unregister(struct hmm_mirror *mirror);
int hmm_mirror_fault(struct hmm_mirror *mirror, unsigned long addr,
		     unsigned int access);
void hmm_mirror_get_stats(struct hmm_mirror *mirror,
			  struct hmm_mirror_stats *stats);

#endif /* _LINUX_HMM_MIRROR_H */
