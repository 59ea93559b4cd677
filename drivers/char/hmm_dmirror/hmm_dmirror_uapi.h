/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * Test interface of the HMM dummy device, /dev/hmm_dmirror<N>.
 *
 * The device has an MMU of its own.  Opening it mirrors the address space of
 * the opener; device programs then use the opener's own pointers.  Each open
 * file is one address space on the device; a file serves only the process
 * (address space) that opened it.
 *
 * This header needs nothing but <linux/types.h> and <linux/ioctl.h>, so that
 * programs outside the kernel tree can use it.  All addresses and lengths are
 * in bytes unless a member says pages; a page is the CPU's base page.
 *
 * Errors that every ioctl shares:
 *   EPERM   the caller's address space is not the one that opened the file
 *           (it was passed on, inherited over fork() or kept over exec())
 *   EFAULT  the argument itself cannot be read or written
 *   EINVAL  a member has a value that its comment does not allow; unknown
 *           flag bits and non-zero reserved members included
 *   ENODEV  the device was removed
 *   ENOMEM  no kernel memory for the call itself
 *   ENOTTY  no such ioctl
 */
#ifndef _HMM_DMIRROR_UAPI_H
#define _HMM_DMIRROR_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

/**
 * enum hmm_dmirror_memory - the memory that a device brings along
 * @HMM_DMIRROR_MEMORY_NONE: none, the device only mirrors
 * @HMM_DMIRROR_MEMORY_PRIVATE: the CPU cannot address it
 * @HMM_DMIRROR_MEMORY_CDM: cache coherent with the CPU
 */
enum hmm_dmirror_memory {
	HMM_DMIRROR_MEMORY_NONE = 0,
	HMM_DMIRROR_MEMORY_PRIVATE = 1,
	HMM_DMIRROR_MEMORY_CDM = 2,
};

/* The device reaches RAM through DMA addresses, behind an IOMMU if there is one. */
#define HMM_DMIRROR_INFO_DMA	0x1
/* The device has its memory for buffers of its own, too: HMM_DMIRROR_BUFFER. */
#define HMM_DMIRROR_INFO_SHARED	0x2

/**
 * struct hmm_dmirror_info - HMM_DMIRROR_INFO, what the device is
 * @memory: out, &enum hmm_dmirror_memory
 * @engines: out, programs that the device runs at the same time
 * @memory_size: out, device memory in bytes
 * @memory_used: out, device memory that holds process memory now, in bytes
 * @memory_huge: out, what of that is in huge pages, in bytes
 * @page_sizes: out, bitmap of the sizes in bytes that a leaf of the device's page
 *	table can have
 * @fault_timeout_ms: out, how long a device page fault retries while its range
 *	keeps changing, in milliseconds
 * @flags: out, HMM_DMIRROR_INFO_*
 */
struct hmm_dmirror_info {
	__u32 memory;
	__u32 engines;
	__u64 memory_size;
	__u64 memory_used;
	__u64 memory_huge;
	__u64 page_sizes;
	__u32 fault_timeout_ms;
	__u32 flags;
};

/**
 * enum hmm_dmirror_program - what a device engine can do
 *
 * A word is a 64-bit integer in CPU byte order, at an address that is a
 * multiple of 8.  "Result" is &hmm_dmirror_run.result.
 *
 * @HMM_DMIRROR_READ: read @length bytes at @addr; result is the number of
 *	bytes read
 * @HMM_DMIRROR_FILL: write the word @operand to each of the @length / 8 words
 *	at @addr; result is the number of words written
 * @HMM_DMIRROR_SUM: result is the sum, modulo 2^64, of the words in the @length
 *	bytes at @addr
 * @HMM_DMIRROR_COPY: copy @length bytes from @addr to @addr2, ascending, both
 *	multiples of 8, as @length; result is the number of bytes copied
 * @HMM_DMIRROR_ATOMIC_ADD: add @operand to the word at @addr, atomically,
 *	@count times; result is the word's value after the last addition
 * @HMM_DMIRROR_CHASE: @addr points to an array of @count pointers, each NULL or
 *	the first node of a chain.  A node holds the pointer to the next one,
 *	or NULL, at byte offset @operand and a word at byte offset @operand2.
 *	Result is the sum of these words over all nodes; &hmm_dmirror_run.result2
 *	is the number of nodes.  Ends with %HMM_DMIRROR_STATUS_LIMIT after
 *	@length nodes
 * @HMM_DMIRROR_HISTOGRAM: for each of the @length bytes at @addr add one to the
 *	word at @addr2 + 8 * byte (256 words); result is @length
 * @HMM_DMIRROR_WORD_COUNT: result is the number of words of text, that is
 *	maximal runs of ASCII letters and digits, in the @length bytes at @addr
 * @HMM_DMIRROR_EXCLUSIVE_ADD: as ATOMIC_ADD, for a device whose bus knows no
 *	atomic operations: it reads the word, waits a little and writes it, and
 *	needs the page for itself meanwhile, so that nobody else can access it.
 *	Anonymous memory only
 */
enum hmm_dmirror_program {
	HMM_DMIRROR_READ = 0,
	HMM_DMIRROR_FILL = 1,
	HMM_DMIRROR_SUM = 2,
	HMM_DMIRROR_COPY = 3,
	HMM_DMIRROR_ATOMIC_ADD = 4,
	HMM_DMIRROR_CHASE = 5,
	HMM_DMIRROR_HISTOGRAM = 6,
	HMM_DMIRROR_WORD_COUNT = 7,
	HMM_DMIRROR_EXCLUSIVE_ADD = 8,
};

/**
 * enum hmm_dmirror_status - how a device program ended
 * @HMM_DMIRROR_STATUS_DONE: it ran to its end
 * @HMM_DMIRROR_STATUS_NO_ACCESS: &hmm_dmirror_run.fault_addr is not mapped, has
 *	no access rights (PROT_NONE), is not memory (device registers), is secret
 *	(memfd_secret()) or lies outside the user address space
 * @HMM_DMIRROR_STATUS_READ_ONLY: the program wrote to
 *	&hmm_dmirror_run.fault_addr, which is mapped read-only
 * @HMM_DMIRROR_STATUS_NO_MEMORY: no memory to resolve a device page fault
 * @HMM_DMIRROR_STATUS_TIMEOUT: a device page fault was not resolved in time
 *	because its range kept changing
 * @HMM_DMIRROR_STATUS_UNALIGNED: the program met a pointer to a word that is
 *	not a multiple of 8
 * @HMM_DMIRROR_STATUS_LIMIT: CHASE met more nodes than allowed
 * @HMM_DMIRROR_STATUS_DEVICE: the device failed in another way
 */
enum hmm_dmirror_status {
	HMM_DMIRROR_STATUS_DONE = 0,
	HMM_DMIRROR_STATUS_NO_ACCESS = 1,
	HMM_DMIRROR_STATUS_READ_ONLY = 2,
	HMM_DMIRROR_STATUS_NO_MEMORY = 3,
	HMM_DMIRROR_STATUS_TIMEOUT = 4,
	HMM_DMIRROR_STATUS_UNALIGNED = 5,
	HMM_DMIRROR_STATUS_LIMIT = 6,
	HMM_DMIRROR_STATUS_DEVICE = 7,
};

/**
 * struct hmm_dmirror_run - HMM_DMIRROR_RUN, run a program on the device
 * @program: in, &enum hmm_dmirror_program
 * @flags: in, 0
 * @addr: in, first operand address; @addr + @length must not overflow
 * @addr2: in, second operand address; 0 for programs without one
 * @length: in, bytes (for CHASE: most nodes allowed); not 0, but for
 *	ATOMIC_ADD and EXCLUSIVE_ADD, where it is 0; a multiple of 8 where words
 *	are meant
 * @count: in, see the program; 0 for programs without one
 * @operand: in, see the program; 0 for programs without one
 * @operand2: in, see the program; 0 for programs without one
 * @status: out, &enum hmm_dmirror_status
 * @reserved: in, 0
 * @result: out, see the program; the part done so far unless DONE
 * @result2: out, see the program, otherwise 0
 * @fault_addr: out, address of the access that ended the program, 0 for DONE
 * @faults: out, device page faults that this run took
 *
 * A fault that cannot be resolved ends the program, not the ioctl: the ioctl
 * returns 0 with @status.
 *
 * Errors: EINTR a fatal signal arrived; the program was stopped.
 */
struct hmm_dmirror_run {
	__u32 program;
	__u32 flags;
	__u64 addr;
	__u64 addr2;
	__u64 length;
	__u64 count;
	__u64 operand;
	__u64 operand2;
	__u32 status;
	__u32 reserved;
	__u64 result;
	__u64 result2;
	__u64 fault_addr;
	__u64 faults;
};

/**
 * enum hmm_dmirror_target - where to migrate to
 * @HMM_DMIRROR_TO_RAM: from this device's memory to RAM
 * @HMM_DMIRROR_TO_DEVICE: from RAM to this device's memory
 * @HMM_DMIRROR_TO_ANOTHER: from this device's memory to that of another device
 */
enum hmm_dmirror_target {
	HMM_DMIRROR_TO_RAM = 0,
	HMM_DMIRROR_TO_DEVICE = 1,
	HMM_DMIRROR_TO_ANOTHER = 2,
};

/* To a device only: evict what was used longest ago if there is no room. */
#define HMM_DMIRROR_MIGRATE_MAKE_ROOM	0x01

/**
 * struct hmm_dmirror_migrate - HMM_DMIRROR_MIGRATE, move memory
 * @addr: in, first byte, page aligned
 * @length: in, bytes, a multiple of the page size, not 0, no overflow
 * @target: in, &enum hmm_dmirror_target
 * @flags: in, HMM_DMIRROR_MIGRATE_*
 * @moved: out, pages whose content was moved
 * @filled: out, pages that were empty and are now zeroed device memory
 * @left: out, all other pages of the range, the sum of the following
 * @already: out, they are in this device's memory, or for TO_RAM in RAM, already
 * @elsewhere: out, they are in another device's memory
 * @absent: out, nothing is mapped there, or it was lost to a memory error; for
 *	TO_RAM also pages that are empty or swapped out
 * @unsupported: out, file-backed, shared or hugetlbfs memory, special mappings
 * @merged: out, KSM has merged them
 * @busy: out, somebody holds them or they are on the move
 * @no_room: out, there was no room for them
 * @failed: out, the device failed to copy or to clear them, or they are poisoned
 * @untried: out, the migration ended before it came to them
 * @another: in, with HMM_DMIRROR_TO_ANOTHER: an open file of the other HMM dummy
 *	device, of the same process; otherwise 0
 * @reserved: in, 0
 *
 * Pages in another device's memory stay: only that device moves them, to RAM or to
 * this one.  The members out are written after these errors as well:
 *
 * Errors: EOPNOTSUPP a device has no memory; ENOSPC device memory ran out;
 * ENOMEM RAM ran out; EIO a device failed to copy, the pages concerned stayed
 * where they were; EAGAIN the system is going to sleep; ENODEV a device is being
 * removed; EINTR a fatal signal arrived; EBADF @another is no file of this driver's;
 * EPERM it is another process's; EINVAL also if it is the same device.
 */
struct hmm_dmirror_migrate {
	__u64 addr;
	__u64 length;
	__u32 target;
	__u32 flags;
	__u64 moved;
	__u64 filled;
	__u64 left;
	__u64 already;
	__u64 elsewhere;
	__u64 absent;
	__u64 unsupported;
	__u64 merged;
	__u64 busy;
	__u64 no_room;
	__u64 failed;
	__u64 untried;
	__s32 another;
	__u32 reserved;
};

/**
 * struct hmm_dmirror_on_miss - HMM_DMIRROR_ON_MISS, move memory to the device
 *	when a program misses it
 * @size: in, how much: the aligned range of so many bytes around the miss, a power
 *	of two from the page size to 2 MiB; 0: map it where it is, as at first
 * @flags: in, 0 or HMM_DMIRROR_MIGRATE_MAKE_ROOM, 0 if @size is
 * @reserved: in, 0
 *
 * For this open file, and programs that miss a page from now on.  Memory that
 * bounces between CPU and device stays in RAM for a while.
 *
 * Errors: EOPNOTSUPP the device has no memory.
 */
struct hmm_dmirror_on_miss {
	__u64 size;
	__u32 flags;
	__u32 reserved;
};

/**
 * struct hmm_dmirror_evict - HMM_DMIRROR_EVICT, empty device memory
 * @nr_pages: in, pages to bring back to RAM or to move to @target, of any process; ~0
 *	for all; with HMM_DMIRROR_EVICT_RANGE: pages of device memory to empty
 * @timeout_ms: in, give up after so many milliseconds, at most 60000
 * @flags: in, at most one of HMM_DMIRROR_EVICT_*
 * @offset: in, with HMM_DMIRROR_EVICT_RANGE: where in the device memory, in bytes,
 *	page aligned; otherwise 0
 * @evicted: out, pages brought back or moved
 * @kept: out, pages that stayed because the device keeps them
 * @busy: out, because somebody holds them or they are on the move
 * @no_ram: out, because RAM ran out
 * @failed: out, because the device failed to copy them
 * @untried: out, because the eviction ended before it came to them
 * @no_room: out, because the target has no room
 * @target: in, with HMM_DMIRROR_EVICT_TO: an open file of another HMM dummy device,
 *	of the same process; otherwise 0
 * @reserved: in, 0
 *
 * The members out are written after these errors as well:
 *
 * Errors: EOPNOTSUPP the device or the target has no memory; EBUSY the device keeps
 * all that is left; ETIME the time is over; ENOMEM RAM ran out; ENOSPC the target's
 * memory ran out; EAGAIN the system is going to sleep, and the target loses power
 * then; ENODEV the device or the target is being removed; EINTR a fatal signal
 * arrived; and, with nothing done, EBADF the target is no file of this driver's;
 * EPERM it is another process's; EINVAL also a range that is not within the device
 * memory, or a target that is the same device.
 */
struct hmm_dmirror_evict {
	__u64 nr_pages;
	__u32 timeout_ms;
	__u32 flags;
	__u64 offset;
	__u64 evicted;
	__u64 kept;
	__u64 busy;
	__u64 no_ram;
	__u64 failed;
	__u64 untried;
	__u64 no_room;
	__s32 target;
	__u32 reserved;
};

/* These pages of the device memory, whenever they were used. */
#define HMM_DMIRROR_EVICT_RANGE		0x01
/* To the memory of another device instead of RAM. */
#define HMM_DMIRROR_EVICT_TO		0x02

/* What HMM_DMIRROR_SNAPSHOT says of a page in the device's page table. */
#define HMM_DMIRROR_PAGE_MAPPED		0x01	/* the device may read it */
#define HMM_DMIRROR_PAGE_WRITE		0x02	/* the device may write it */
#define HMM_DMIRROR_PAGE_PRIVATE	0x04	/* in device private memory */
#define HMM_DMIRROR_PAGE_CDM		0x08	/* in coherent device memory */
#define HMM_DMIRROR_PAGE_LARGE		0x10	/* part of a PMD-sized leaf */
#define HMM_DMIRROR_PAGE_MEDIUM		0x20	/* part of a leaf between these */
#define HMM_DMIRROR_PAGE_EXCLUSIVE	0x40	/* only the device may access it */

/**
 * struct hmm_dmirror_snapshot - HMM_DMIRROR_SNAPSHOT, read the device page table
 * @addr: in, first byte, page aligned
 * @length: in, bytes, a multiple of the page size, not 0, at most 1 GiB
 * @pages: in, address of an array of one byte a page that receives
 *	HMM_DMIRROR_PAGE_*, 0 for a page that is not mapped on the device
 * @reserved: in, 0
 */
struct hmm_dmirror_snapshot {
	__u64 addr;
	__u64 length;
	__u64 pages;
	__u64 reserved;
};

/* Map for writing; map what the CPU page table maps and fault nothing in. */
#define HMM_DMIRROR_PREFETCH_WRITE	0x1
#define HMM_DMIRROR_PREFETCH_PRESENT	0x2

/**
 * struct hmm_dmirror_prefetch - HMM_DMIRROR_PREFETCH, map a range on the device
 * @addr: in, first byte, page aligned
 * @length: in, bytes, a multiple of the page size, not 0, no overflow
 * @flags: in, one of HMM_DMIRROR_PREFETCH_* or 0
 * @reserved: in, 0
 * @mapped: out, pages mapped on the device
 * @missing: out, pages that the CPU page table did not map (PRESENT)
 * @refused: out, pages that the process itself could not access so
 * @left: out, pages not reached because of the error
 *
 * The members out are written after these errors as well:
 *
 * Errors: ERANGE the range is not in the user address space; ETIME part of it
 * kept changing; ENOMEM no memory; EIO the device failed; EINTR a fatal signal
 * arrived.
 */
struct hmm_dmirror_prefetch {
	__u64 addr;
	__u64 length;
	__u32 flags;
	__u32 reserved;
	__u64 mapped;
	__u64 missing;
	__u64 refused;
	__u64 left;
};

/**
 * struct hmm_dmirror_exclusive - HMM_DMIRROR_EXCLUSIVE, give the device sole
 *	access
 * @addr: in, first byte, page aligned
 * @length: in, bytes, a multiple of the page size, not 0, no overflow
 * @mapped: out, pages that became exclusive, counted from @addr
 * @reserved: in, 0
 *
 * An access of the CPU ends it for the page concerned.  @mapped is written after
 * these errors as well:
 *
 * Errors: ERANGE the range is not in the user address space; EOPNOTSUPP memory
 * that is not anonymous; EFAULT nothing there that may be written; EPERM the
 * process may only read; ETIME a page kept changing; ENOMEM no memory; EIO the
 * device failed; EINTR a fatal signal arrived.
 */
struct hmm_dmirror_exclusive {
	__u64 addr;
	__u64 length;
	__u64 mapped;
	__u64 reserved;
};

#define HMM_DMIRROR_MAX_FILES	16

/**
 * struct hmm_dmirror_file - one of several open devices
 * @fd: in, an open file of an HMM dummy device, of the same process
 * @error: out, 0 or a negative errno, see HMM_DMIRROR_FAULT
 */
struct hmm_dmirror_file {
	__s32 fd;
	__s32 error;
};

/**
 * struct hmm_dmirror_fault - HMM_DMIRROR_FAULT, one page fault for several
 *	devices
 * @addr: in, an address
 * @files: in, address of an array of &struct hmm_dmirror_file; the device of the
 *	ioctl itself takes part only if it is listed
 * @nr_files: in, elements of @files, 1 to HMM_DMIRROR_MAX_FILES
 * @flags: in, 0 or HMM_DMIRROR_PREFETCH_WRITE
 *
 * Errors: EBADF one of the files is none of this driver's; EPERM it is another
 * process's; otherwise the first error of a file: EFAULT nothing there that
 * could be read; EPERM it may only be read; ERANGE not in the user address
 * space; ETIME it kept changing; ENOMEM no memory; EIO the device failed; ENODEV
 * it was removed; EINTR a fatal signal arrived.
 */
struct hmm_dmirror_fault {
	__u64 addr;
	__u64 files;
	__u32 nr_files;
	__u32 flags;
};

/* @addr is an offset in the device memory, in bytes. */
#define HMM_DMIRROR_POISON_OFFSET	0x01

/**
 * struct hmm_dmirror_poison - HMM_DMIRROR_POISON, declare device memory lost
 * @addr: in, first byte, page aligned: pages that the device maps and that lie in
 *	its memory; with HMM_DMIRROR_POISON_OFFSET: where in the device memory
 * @length: in, bytes, a multiple of the page size, not 0, at most 2 MiB, no overflow
 * @flags: in, HMM_DMIRROR_POISON_*
 * @reserved: in, 0
 * @offset: out, where in the device memory the first of the pages lies
 *
 * As if the device had found that it cannot read them any more.  They are not used
 * again until the memory is removed, whoever owns them.  @offset is written after
 * these errors as well:
 *
 * Errors: ENXIO a page is not mapped on the device or not in its memory, nothing was
 * done; EOPNOTSUPP the device has no memory, or the kernel cannot do that for its
 * kind of memory, nothing was done; EBUSY a page is poisoned but still in the hands
 * of others; EINTR a fatal signal arrived; EINVAL, with nothing done, also an offset
 * that is not within the device memory.
 */
struct hmm_dmirror_poison {
	__u64 addr;
	__u64 length;
	__u32 flags;
	__u32 reserved;
	__u64 offset;
};

/**
 * struct hmm_dmirror_stats - HMM_DMIRROR_STATS, counters
 * @faults: out, device page faults of this open file
 * @retries: out, page-table walks repeated because the range changed
 * @invalidations: out, device page-table invalidations of this open file
 * @mapped_pages: out, pages handed to the device page table for this open file
 * @migrated_in: out, pages moved or filled into the device's memory
 * @migrated_out: out, pages that left the device's memory
 * @cpu_faults: out, CPU faults on the device's private memory
 * @bytes_copied: out, bytes that the device's copy engine copied
 * @bytes_cleared: out, bytes that the device's copy engine cleared
 *
 * @timeouts: out, device page faults given up because the range kept changing
 * @flushes: out, flushes of the device's TLB because the range changed
 * @mapped_entries: out, leaves written to the device page table
 * @dma_retries: out, device page faults repeated for want of IOMMU memory
 * @poisoned: out, pages of the device's memory that are not used any more
 * @from_peers: out, pages that this or the other device copied from its memory to
 *	this one
 * @through_ram: out, pages that came from another device's memory by way of RAM
 * @bounces: out, times that a CPU took memory back from the device soon after it had
 *	moved there
 * @suppressed: out, moves that were not made because of that
 *
 * The members from @migrated_in to @bytes_cleared, and from @poisoned on, count for
 * the device, the others for the open file.
 */
struct hmm_dmirror_stats {
	__u64 faults;
	__u64 retries;
	__u64 invalidations;
	__u64 mapped_pages;
	__u64 migrated_in;
	__u64 migrated_out;
	__u64 cpu_faults;
	__u64 bytes_copied;
	__u64 bytes_cleared;
	__u64 timeouts;
	__u64 flushes;
	__u64 mapped_entries;
	__u64 dma_retries;
	__u64 poisoned;
	__u64 from_peers;
	__u64 through_ram;
	__u64 bounces;
	__u64 suppressed;
};

/**
 * struct hmm_dmirror_perf - HMM_DMIRROR_PERF, where the device memory lies and how
 *	fast it is
 * @node: out, NUMA node, -1 if it is not known; it may have no RAM and be offline
 * @error: out, 0, or why all values below are 0, a negative errno: -ENODATA
 *	firmware reported nothing for the memory, -EOPNOTSUPP the kernel cannot say
 * @read_latency: out, from the nearest initiator, in nanoseconds
 * @write_latency: out, the same for writing
 * @read_bandwidth: out, from the nearest initiator, in MB/s
 * @write_bandwidth: out, the same for writing
 *
 * 0 stands for what firmware does not report.
 *
 * Errors: EOPNOTSUPP the device has no memory.
 */
struct hmm_dmirror_perf {
	__s32 node;
	__s32 error;
	__u32 read_latency;
	__u32 write_latency;
	__u32 read_bandwidth;
	__u32 write_bandwidth;
};

/**
 * enum hmm_dmirror_injection - faults to inject into the device
 * @HMM_DMIRROR_INJECT_COPY_ERROR: the copy engine copies @value of the job's pages,
 *	at most 512, or half of them if that is 0, and then reports failure; a page of
 *	2 MiB counts as one
 * @HMM_DMIRROR_INJECT_COPY_REFUSE: the copy engine does not accept the job
 * @HMM_DMIRROR_INJECT_COPY_DELAY: the job takes @value milliseconds longer, at
 *	most 10000
 * @HMM_DMIRROR_INJECT_MAP_ERROR: the device fails to map pages
 * @HMM_DMIRROR_INJECT_PREPARE_ERROR: the device has no memory for page tables
 * @HMM_DMIRROR_INJECT_FLUSH_DELAY: a flush of the device's TLB takes @value
 *	milliseconds longer, at most 10000
 * @HMM_DMIRROR_INJECT_EVICT_KEEP: the device keeps 2 MiB that were to be evicted
 * @HMM_DMIRROR_INJECT_GONE: the device has vanished when it is removed: it copies
 *	nothing, and what lies in its memory is lost at once
 * @HMM_DMIRROR_INJECT_NO_PEER: the device does not reach the memory of another one
 * @HMM_DMIRROR_INJECT_COPY_NO_MEMORY: the copy engine has no memory for a job of more
 *	than @value pages of 4 KiB, at most 512; smaller jobs do not count
 */
enum hmm_dmirror_injection {
	HMM_DMIRROR_INJECT_COPY_ERROR = 0,
	HMM_DMIRROR_INJECT_COPY_REFUSE = 1,
	HMM_DMIRROR_INJECT_COPY_DELAY = 2,
	HMM_DMIRROR_INJECT_MAP_ERROR = 3,
	HMM_DMIRROR_INJECT_PREPARE_ERROR = 4,
	HMM_DMIRROR_INJECT_FLUSH_DELAY = 5,
	HMM_DMIRROR_INJECT_EVICT_KEEP = 6,
	HMM_DMIRROR_INJECT_GONE = 7,
	HMM_DMIRROR_INJECT_NO_PEER = 8,
	HMM_DMIRROR_INJECT_COPY_NO_MEMORY = 9,
};

/**
 * struct hmm_dmirror_inject - HMM_DMIRROR_INJECT, make the device fail
 * @what: in, &enum hmm_dmirror_injection
 * @after: in, jobs (copies and clears, maps, prepares, flushes, evictions of
 *	2 MiB, removals, copies from or to another device) that still succeed first
 * @count: in, jobs that fail then; 0 takes the injection back
 * @value: in, see the injection; 0 for those without one
 *
 * Acts on the whole device; ends with @count or with the last close of the
 * device.
 *
 * Errors: EOPNOTSUPP a copy, eviction or removal injection on a device without
 * memory.
 */
struct hmm_dmirror_inject {
	__u32 what;
	__u32 after;
	__u32 count;
	__u32 value;
};

/**
 * enum hmm_dmirror_buffer_op - what to do with a buffer in device memory
 * @HMM_DMIRROR_BUFFER_ALLOC: create one; it is in device memory then
 * @HMM_DMIRROR_BUFFER_USE: bring all of it back there
 * @HMM_DMIRROR_BUFFER_FREE: free it
 * @HMM_DMIRROR_BUFFER_STATE: see where it is
 */
enum hmm_dmirror_buffer_op {
	HMM_DMIRROR_BUFFER_ALLOC = 0,
	HMM_DMIRROR_BUFFER_USE = 1,
	HMM_DMIRROR_BUFFER_FREE = 2,
	HMM_DMIRROR_BUFFER_STATE = 3,
};

/* The buffer stays in device memory. */
#define HMM_DMIRROR_BUFFER_PINNED	0x01

/**
 * struct hmm_dmirror_buffer - HMM_DMIRROR_BUFFER, the device's own use of its memory
 * @op: in, &enum hmm_dmirror_buffer_op
 * @flags: in, for ALLOC HMM_DMIRROR_BUFFER_*, otherwise 0
 * @id: number of the buffer: out for ALLOC, 0 if it was not created; in for the
 *	others, where STATE takes 0 for no buffer; 0 after FREE
 * @timeout_ms: in, for ALLOC and USE: give up after so many milliseconds, at most
 *	60000; otherwise 0
 * @size: of the buffer in bytes: in for ALLOC, a multiple of 2 MiB, not 0, not more
 *	than the device memory; otherwise 0 in, out
 * @resident: out, bytes of the buffer that are in device memory, before FREE
 * @wrong: out, words of the buffer that somebody else has written
 * @free: out, bytes of device memory that nobody has
 * @buffers: out, bytes of it that buffers have
 * @lent: out, bytes of it where process memory may lie
 * @gets: out, blocks of 2 MiB lent so far
 * @puts: out, blocks that came back
 *
 * Buffers take the place of older ones and of process memory, and the other way
 * round, as long as whoever gives way has more than half of the device memory; what
 * gives way goes to RAM.  A buffer belongs to the open file, and is freed when that
 * is closed.  The members out are written after these errors as well, @resident and
 * those after it only if the buffer was found or created:
 *
 * Errors: EOPNOTSUPP the device has no memory that it shares; ENOENT no such buffer;
 * EBUSY another call works with it; ENOSPC everything else in the device memory
 * stays there; ETIME the time is over; ENOMEM RAM ran out; EINTR a fatal signal
 * arrived.
 */
struct hmm_dmirror_buffer {
	__u32 op;
	__u32 flags;
	__u32 id;
	__u32 timeout_ms;
	__u64 size;
	__u64 resident;
	__u64 wrong;
	__u64 free;
	__u64 buffers;
	__u64 lent;
	__u64 gets;
	__u64 puts;
};

#define HMM_DMIRROR_IOC_MAGIC	0xdd

#define HMM_DMIRROR_INFO	_IOR(HMM_DMIRROR_IOC_MAGIC, 0, struct hmm_dmirror_info)
#define HMM_DMIRROR_RUN		_IOWR(HMM_DMIRROR_IOC_MAGIC, 1, struct hmm_dmirror_run)
#define HMM_DMIRROR_MIGRATE	_IOWR(HMM_DMIRROR_IOC_MAGIC, 2, struct hmm_dmirror_migrate)
#define HMM_DMIRROR_EVICT	_IOWR(HMM_DMIRROR_IOC_MAGIC, 3, struct hmm_dmirror_evict)
#define HMM_DMIRROR_SNAPSHOT	_IOW(HMM_DMIRROR_IOC_MAGIC, 4, struct hmm_dmirror_snapshot)
#define HMM_DMIRROR_STATS	_IOR(HMM_DMIRROR_IOC_MAGIC, 5, struct hmm_dmirror_stats)
#define HMM_DMIRROR_INJECT	_IOW(HMM_DMIRROR_IOC_MAGIC, 6, struct hmm_dmirror_inject)
#define HMM_DMIRROR_PREFETCH	_IOWR(HMM_DMIRROR_IOC_MAGIC, 7, struct hmm_dmirror_prefetch)
#define HMM_DMIRROR_EXCLUSIVE	_IOWR(HMM_DMIRROR_IOC_MAGIC, 8, struct hmm_dmirror_exclusive)
#define HMM_DMIRROR_FAULT	_IOW(HMM_DMIRROR_IOC_MAGIC, 9, struct hmm_dmirror_fault)
#define HMM_DMIRROR_PERF	_IOR(HMM_DMIRROR_IOC_MAGIC, 10, struct hmm_dmirror_perf)
#define HMM_DMIRROR_POISON	_IOWR(HMM_DMIRROR_IOC_MAGIC, 11, struct hmm_dmirror_poison)
#define HMM_DMIRROR_BUFFER	_IOWR(HMM_DMIRROR_IOC_MAGIC, 12, struct hmm_dmirror_buffer)
#define HMM_DMIRROR_ON_MISS	_IOW(HMM_DMIRROR_IOC_MAGIC, 13, struct hmm_dmirror_on_miss)

#endif /* _HMM_DMIRROR_UAPI_H */
