/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * Interface of the neutral measuring module, /dev/hmm_bench.
 *
 * The module calls the exported HMM and migration functions of the kernel it
 * is loaded into and reports how long each took.  It is built from the same
 * source for every kernel that is measured.
 */
#ifndef _HMM_BENCH_H
#define _HMM_BENCH_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Longest range of one operation, in bytes. */
#define HMM_BENCH_MAX_LENGTH	(64UL << 20)
/* Most pages that HMM_BENCH_CLEAR, _COPY, _MEMCPY and _TO_USER repeat. */
#define HMM_BENCH_MAX_LOOPS	65536UL
/* Largest range of HMM_BENCH_HOTPLUG, in bytes, and the unit of its length. */
#define HMM_BENCH_MAX_HOTPLUG	(1024UL << 20)
#define HMM_BENCH_HOTPLUG_UNIT	(128UL << 20)

/**
 * enum hmm_bench_op - what to measure
 *
 * The first four are the yardsticks for what the other figures contain; they
 * handle one page again and again, &hmm_bench_run.length times.
 *
 * @HMM_BENCH_CLEAR: clear_page()
 * @HMM_BENCH_COPY: copy_page()
 * @HMM_BENCH_MEMCPY: memcpy() of a page
 * @HMM_BENCH_TO_USER: copy_to_user() of a page to the page at @addr
 * @HMM_BENCH_SNAPSHOT: hmm_range_fault() that faults nothing in
 * @HMM_BENCH_FAULT: hmm_range_fault() that faults everything in, repeated while
 *	it returns -EBUSY; for writing with %HMM_BENCH_WRITE
 * @HMM_BENCH_TO_DEVICE: migrate_vma_*() of what is present to device memory.
 *	Allocating the destination is not timed, and nothing is copied: the
 *	module's device memory has no storage behind it, so the content of the
 *	range is lost and reads as zeroes later
 * @HMM_BENCH_TO_RAM: migrate_vma_*() from device memory to zeroed pages;
 *	allocating them is not timed
 * @HMM_BENCH_NOTIFIERS: put one interval notifier on each page of the range, in
 *	place of those put before; a length of 0 removes them all
 * @HMM_BENCH_HOTPLUG: memremap_pages() and memunmap_pages() of @length bytes of
 *	device private memory
 */
enum hmm_bench_op {
	HMM_BENCH_CLEAR = 0,
	HMM_BENCH_COPY = 1,
	HMM_BENCH_MEMCPY = 2,
	HMM_BENCH_TO_USER = 3,
	HMM_BENCH_SNAPSHOT = 4,
	HMM_BENCH_FAULT = 5,
	HMM_BENCH_TO_DEVICE = 6,
	HMM_BENCH_TO_RAM = 7,
	HMM_BENCH_NOTIFIERS = 8,
	HMM_BENCH_HOTPLUG = 9,
};

/* Flags: fault for writing; migrate PMD-sized folios whole. */
#define HMM_BENCH_WRITE		0x1
#define HMM_BENCH_COMPOUND	0x2

/* Which time is which in &hmm_bench_run.ns. */
enum hmm_bench_phase {
	HMM_BENCH_NS = 0,		/* every operation without phases */
	HMM_BENCH_NS_SETUP = 0,		/* migrate_vma_setup() */
	HMM_BENCH_NS_PAGES = 1,		/* migrate_vma_pages() */
	HMM_BENCH_NS_FINALIZE = 2,	/* migrate_vma_finalize() */
	HMM_BENCH_NS_ADD = 0,		/* memremap_pages() */
	HMM_BENCH_NS_REMOVE = 1,	/* memunmap_pages() */
	HMM_BENCH_PHASES = 3,
};

/**
 * struct hmm_bench_run - HMM_BENCH_RUN, measure one operation
 * @op: in, &enum hmm_bench_op
 * @flags: in, HMM_BENCH_WRITE with %HMM_BENCH_FAULT, HMM_BENCH_COMPOUND with
 *	%HMM_BENCH_TO_DEVICE and %HMM_BENCH_TO_RAM
 * @addr: in, first byte, page aligned; 0 for operations without a range
 * @length: in, bytes, a multiple of the page size, not 0 but for
 *	%HMM_BENCH_NOTIFIERS; of HMM_BENCH_HOTPLUG_UNIT for %HMM_BENCH_HOTPLUG;
 *	number of pages to handle for the yardsticks
 * @ns: out, nanoseconds, &enum hmm_bench_phase
 * @pages: out, base pages that were found present, migrated or handled
 * @walks: out, calls of hmm_range_fault()
 * @flush_local: out, TLB flushes that a CPU did for itself meanwhile
 * @flush_remote: out, TLB flushes that were sent to other CPUs meanwhile
 *
 * Errors: EPERM the caller's address space is not the one that opened the file;
 * EINVAL a member has a value that is not allowed, or the kernel refused the
 * range; EFAULT memory that is not mapped; ENOSPC the device memory is full;
 * ENOMEM no memory; EINTR a fatal signal arrived.
 */
struct hmm_bench_run {
	__u32 op;
	__u32 flags;
	__u64 addr;
	__u64 length;
	__u64 ns[HMM_BENCH_PHASES];
	__u64 pages;
	__u64 walks;
	__u64 flush_local;
	__u64 flush_remote;
};

#define HMM_BENCH_RUN	_IOWR(0xdb, 0, struct hmm_bench_run)

#endif /* _HMM_BENCH_H */
