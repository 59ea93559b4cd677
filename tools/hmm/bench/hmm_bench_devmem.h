/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * Interface of the measuring module for device memory, /dev/hmm_bench_devmem.
 *
 * The module is a driver of a device with private memory, twice: once with the HMM
 * toolbox, if the kernel has it, and once by hand, with the bare core calls that
 * no driver can do without and an allocator that does no more than it must.  An
 * open file has device memory of its own, in one of the two ways.  The device
 * copies with the CPU, the same in both.
 */
#ifndef _HMM_BENCH_DEVMEM_H
#define _HMM_BENCH_DEVMEM_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Largest device memory, in bytes, the unit of its size, and the largest piece. */
#define HMM_BENCH_DEVMEM_MAX_SIZE	(1024UL << 20)
#define HMM_BENCH_DEVMEM_UNIT		(2UL << 20)
/* Largest device memory with storage. */
#define HMM_BENCH_DEVMEM_MAX_STORAGE	(64UL << 20)
/* Longest range of one operation, in bytes, and most pieces used. */
#define HMM_BENCH_DEVMEM_MAX_LENGTH	(256UL << 20)
#define HMM_BENCH_DEVMEM_MAX_USES	65536U
/* Longest time that the device may take for a base page, in nanoseconds. */
#define HMM_BENCH_DEVMEM_MAX_COPY_NS	1000000U

/**
 * enum hmm_bench_devmem_kind - who manages the device memory
 * @HMM_BENCH_DEVMEM_BARE: the module.  Memory is handed out in slots of one piece
 *	each, as drivers do that back a range with a buffer object; a slot is free
 *	again with its last page.  The slot used longest ago is evicted first
 * @HMM_BENCH_DEVMEM_TOOLBOX: hmm_devmem_*(), hmm_migrate_*()
 */
enum hmm_bench_devmem_kind {
	HMM_BENCH_DEVMEM_BARE = 0,
	HMM_BENCH_DEVMEM_TOOLBOX = 1,
};

/*
 * Flag of HMM_BENCH_DEVMEM_ATTACH: there is storage behind the device memory, to
 * which the device copies.  Without it nothing is copied or cleared, and what
 * moves there is lost.
 */
#define HMM_BENCH_DEVMEM_STORAGE	0x1

/**
 * struct hmm_bench_devmem_attach - HMM_BENCH_DEVMEM_ATTACH, add device memory
 * @kind: in, &enum hmm_bench_devmem_kind
 * @flags: in, HMM_BENCH_DEVMEM_STORAGE or 0
 * @size: in, bytes, a multiple of HMM_BENCH_DEVMEM_UNIT
 * @piece: in, bytes that the device moves at once, a power of two from 4 KiB to
 *	HMM_BENCH_DEVMEM_UNIT
 * @copy_ns: in, nanoseconds that the device takes to move a base page in, while the
 *	CPU does something else; 0: the CPU copies.  Not with
 *	HMM_BENCH_DEVMEM_STORAGE
 * @ns: out, nanoseconds that adding it took: hmm_devmem_add(), or
 *	request_free_mem_region() and memremap_pages()
 *
 * Closing the file brings back to RAM what is in the memory, and removes it.
 *
 * Errors: EINVAL a member has a value that is not allowed; EBUSY the file has
 * device memory already; EOPNOTSUPP this kernel has no toolbox; ENOMEM no memory;
 * ERANGE no free physical range.
 */
struct hmm_bench_devmem_attach {
	__u32 kind;
	__u32 flags;
	__u64 size;
	__u64 piece;
	__u64 copy_ns;
	__u64 ns;
};

/**
 * enum hmm_bench_devmem_op - what to measure
 * @HMM_BENCH_DEVMEM_IN: move @length bytes at @addr to device memory and fill holes
 *	with it: hmm_migrate_to_device().  Bare: for each piece a slot and
 *	migrate_vma_setup(), _pages(), _finalize()
 * @HMM_BENCH_DEVMEM_EVICT: bring @length bytes back to RAM, those that moved in
 *	longest ago; 0: all.  hmm_devmem_evict().  Bare: for each slot
 *	migrate_device_range(), _pages(), _finalize()
 * @HMM_BENCH_DEVMEM_USE: the device uses one piece after the other of the @length
 *	bytes at @addr, as @uses lists them.  What is in the memory is reported
 *	to be used, what is not moves in, and if there is no room, what was used
 *	longest ago moves out.  Once for each HMM_BENCH_DEVMEM_ATTACH
 * @HMM_BENCH_DEVMEM_ALLOC: allocate @length bytes of device memory, which nobody
 *	maps, and then free them: base pages one by one, or as the flags say.
 *	Bare: the next page frame of a slot, zone_device_page_init() and a put.
 *	Toolbox: what a migration calls for it, a charge to the dmem cgroup
 *	included
 */
enum hmm_bench_devmem_op {
	HMM_BENCH_DEVMEM_IN = 0,
	HMM_BENCH_DEVMEM_EVICT = 1,
	HMM_BENCH_DEVMEM_USE = 2,
	HMM_BENCH_DEVMEM_ALLOC = 3,
};

/*
 * Flags of HMM_BENCH_DEVMEM_RUN: a bare driver moves PMD-sized folios whole, and
 * for ALLOC: allocate in units of 2 MiB; for ALLOC: base pages, as many at once as
 * are in a piece.
 */
#define HMM_BENCH_DEVMEM_COMPOUND	0x1
#define HMM_BENCH_DEVMEM_BATCH		0x2

/**
 * struct hmm_bench_devmem_run - HMM_BENCH_DEVMEM_RUN, measure one operation
 * @op: in, &enum hmm_bench_devmem_op
 * @flags: in, HMM_BENCH_DEVMEM_COMPOUND or 0; for ALLOC HMM_BENCH_DEVMEM_BATCH, too
 * @addr: in, first byte, a multiple of the piece's size; 0 for EVICT and ALLOC
 * @length: in, bytes, a multiple of the piece's size, not 0 but for EVICT;
 *	for ALLOC at most the size of the device memory
 * @uses: in, for USE: address of an array of 32-bit numbers of pieces, the one at
 *	@addr is 0; otherwise 0
 * @nr_uses: in, elements of @uses; otherwise 0
 * @warm: in, how many of them come first and are not measured; otherwise 0
 * @ns: out, nanoseconds; for ALLOC without the freeing
 * @ns_free: out, nanoseconds that freeing took; for ALLOC only
 * @in: out, base pages that moved in or were filled meanwhile
 * @out: out, base pages that moved out meanwhile
 *
 * Errors: ENXIO the file has no device memory; EINVAL a member has a value that is
 * not allowed; EFAULT memory that is not mapped; ENOSPC no room; ENOMEM no memory;
 * EBUSY a page could not be moved, or USE ran before; or as from
 * hmm_migrate_to_device() and hmm_devmem_evict().
 */
struct hmm_bench_devmem_run {
	__u32 op;
	__u32 flags;
	__u64 addr;
	__u64 length;
	__u64 uses;
	__u32 nr_uses;
	__u32 warm;
	__u64 ns;
	__u64 ns_free;
	__u64 in;
	__u64 out;
};

#define HMM_BENCH_DEVMEM_ATTACH \
	_IOWR(0xdb, 4, struct hmm_bench_devmem_attach)
#define HMM_BENCH_DEVMEM_RUN	_IOWR(0xdb, 5, struct hmm_bench_devmem_run)

#endif /* _HMM_BENCH_DEVMEM_H */
