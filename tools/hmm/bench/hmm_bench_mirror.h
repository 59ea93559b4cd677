/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * Interface of the measuring module for mirrors, /dev/hmm_bench_mirror.
 *
 * The module is a driver of a device that does nothing, twice: once with the
 * HMM toolbox, if the kernel has it, and once by hand, with the bare core calls
 * that no driver can do without.  What the first takes longer is the toolbox's
 * share.  An open file mirrors one range of the opener's memory in one of the
 * two ways; nothing is kept of what was mapped, so each fault costs as much as
 * the one before.
 */
#ifndef _HMM_BENCH_MIRROR_H
#define _HMM_BENCH_MIRROR_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Most pieces of 2 MiB in a mirrored range. */
#define HMM_BENCH_MIRROR_MAX_PIECES	131072UL
/* Most threads, repetitions and faults of one run. */
#define HMM_BENCH_MIRROR_MAX_THREADS	8U
#define HMM_BENCH_MIRROR_MAX_LOOPS	1024U
#define HMM_BENCH_MIRROR_MAX_FAULTS	(1UL << 20)

/**
 * enum hmm_bench_mirror_kind - who does the work
 * @HMM_BENCH_MIRROR_BARE: the module: one interval notifier and one mutex for
 *	each 2 MiB, put there by HMM_BENCH_MIRROR_REGISTER
 * @HMM_BENCH_MIRROR_TOOLBOX: hmm_mirror_*(), with page sizes of 4K, 64K and 2M
 */
enum hmm_bench_mirror_kind {
	HMM_BENCH_MIRROR_BARE = 0,
	HMM_BENCH_MIRROR_TOOLBOX = 1,
};

/*
 * Flag of HMM_BENCH_MIRROR_REGISTER: mapping, with the lock of the device page
 * table held, pauses the CPU once.  An emulator that runs one CPU at a time goes
 * on with the next one then, so that locks meet as they do where CPUs run at
 * once and mapping takes its time.
 */
#define HMM_BENCH_MIRROR_YIELD		0x1

/**
 * struct hmm_bench_mirror_register - HMM_BENCH_MIRROR_REGISTER, mirror a range
 * @kind: &enum hmm_bench_mirror_kind
 * @flags: HMM_BENCH_MIRROR_YIELD or 0
 * @start: first byte, a multiple of 2 MiB
 * @end: exclusive, a multiple of 2 MiB
 * @around: bytes that a fault reads of the CPU page table, aligned to that size:
 *	a power of two from 4 KiB to 2 MiB
 *
 * Replaces what the file mirrored before.
 *
 * Errors: EINVAL a member has a value that is not allowed; EOPNOTSUPP this
 * kernel has no toolbox; ENOMEM no memory; EINTR a signal is pending.
 */
struct hmm_bench_mirror_register {
	__u32 kind;
	__u32 flags;
	__u64 start;
	__u64 end;
	__u64 around;
};

/**
 * enum hmm_bench_mirror_op - what to measure
 * @HMM_BENCH_MIRROR_FAULT: a device fault every @step bytes.  Bare:
 *	mmu_interval_read_begin(), mmap_lock, hmm_range_fault() that faults
 *	nothing in, the mutex, mmu_interval_read_retry(); the toolbox, too,
 *	reads what is present without faulting
 * @HMM_BENCH_MIRROR_PREFETCH: hmm_mirror_prefetch().  Bare: the same calls for
 *	2 MiB at a time, with hmm_range_fault() faulting in what is missing
 */
enum hmm_bench_mirror_op {
	HMM_BENCH_MIRROR_FAULT = 0,
	HMM_BENCH_MIRROR_PREFETCH = 1,
};

/* Flag of HMM_BENCH_MIRROR_RUN: for writing. */
#define HMM_BENCH_MIRROR_WRITE		0x1

/**
 * struct hmm_bench_mirror_run - HMM_BENCH_MIRROR_RUN, measure one operation
 * @op: in, &enum hmm_bench_mirror_op
 * @flags: in, HMM_BENCH_MIRROR_WRITE or 0
 * @addr: in, first byte, page aligned; for prefetch a multiple of 2 MiB
 * @length: in, bytes, not 0, a multiple of @step; for prefetch of 2 MiB
 * @step: in, bytes from fault to fault, page aligned; 0 for prefetch
 * @loops: in, how often each thread goes over its part; 0 for prefetch
 * @threads: in, kernel threads, each on a CPU of its own while there are CPUs
 *	left; they get equal parts of the range.  0: the caller; so for prefetch
 * @ns: out, nanoseconds from the start of the first thread to the end of the
 *	last
 * @waits: out, locks that the threads had to wait for; not counted for 0 threads
 *
 * Errors: ENXIO the file mirrors nothing; EPERM the caller's address space is
 * not the one that is mirrored; EINVAL a member has a value that is not allowed;
 * EFAULT memory that is not mapped, or not so; ENOMEM no memory; EINTR a fatal
 * signal arrived; or as from hmm_mirror_fault() and hmm_range_fault().
 */
struct hmm_bench_mirror_run {
	__u32 op;
	__u32 flags;
	__u64 addr;
	__u64 length;
	__u64 step;
	__u32 loops;
	__u32 threads;
	__u64 ns;
	__u64 waits;
};

/**
 * struct hmm_bench_mirror_stats - HMM_BENCH_MIRROR_STATS, since registration
 * @invalidations: calls that invalidated a piece
 * @retries: walks repeated
 * @pages: base pages handed to the driver; toolbox only, else 0
 * @entries: device page-table entries handed to it; toolbox only, else 0
 *
 * Errors: ENXIO the file mirrors nothing.
 */
struct hmm_bench_mirror_stats {
	__u64 invalidations;
	__u64 retries;
	__u64 pages;
	__u64 entries;
};

#define HMM_BENCH_MIRROR_REGISTER \
	_IOW(0xdb, 1, struct hmm_bench_mirror_register)
#define HMM_BENCH_MIRROR_RUN	_IOWR(0xdb, 2, struct hmm_bench_mirror_run)
#define HMM_BENCH_MIRROR_STATS	_IOR(0xdb, 3, struct hmm_bench_mirror_stats)

#endif /* _HMM_BENCH_MIRROR_H */
