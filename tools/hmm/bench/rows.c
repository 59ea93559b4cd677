// SPDX-License-Identifier: GPL-2.0
/*
 * What is measured: name, group, CPUs of the guest, title, function, parameter.
 * bench_report.py reads this table too: name to title on one line.
 *
 * Mainline has nothing that compares to a mirror of the toolbox: its column has
 * the bare core calls that a driver by hand cannot do without.  So it is with
 * device memory; there the driver by hand also has the simplest allocator that
 * does, one slot for each piece that moves in:
 *
 * - allocate and free: 16M, which is all of the memory, without a migration.  The
 *   toolbox's own functions, which also charge the dmem cgroup.
 * - fill, first use by the device of memory that nobody used: a device page is
 *   allocated for each hole and put there; drop: MADV_DONTNEED, which frees them.
 *   Nothing is cleared, not even by the toolbox's driver.
 * - evict: the copy back is in "copying".
 * - asynchronous: 64M of pages in one call, to a device that takes as long for the
 *   copy of a page as the CPU for the rest ("without the copy"); the driver by hand
 *   waits for each 2M.  "gain missed" is 0 if it takes no longer than the rest
 *   alone, and 100 if as long as both one after the other.
 * - oversubscribed: the device has 16M and uses a working set of so many times
 *   that, piece by piece, in order or at random with a fixed seed.  A piece that is
 *   missing moves in, and others move out to make room.  All is for each page of
 *   work, a page of a piece each time that the piece is used.  The driver by hand
 *   evicts the piece used longest ago.  Work done per page moved is 1 by what
 *   "moved in and out" says.
 */
#include "bench.h"

const struct row rows[] = {
	{ "zero", "yardstick", 1, "clear_page()",
	  measure_yardstick, HMM_BENCH_CLEAR },
	{ "copy", "yardstick", 1, "copy_page()",
	  measure_yardstick, HMM_BENCH_COPY },
	{ "memcpy", "yardstick", 1, "memcpy() of a page",
	  measure_yardstick, HMM_BENCH_MEMCPY },
	{ "to-user", "yardstick", 1, "copy_to_user() of a page",
	  measure_yardstick, HMM_BENCH_TO_USER },

	{ "snapshot-4k", "core", 1, "snapshot, 4K pages",
	  measure_snapshot, KIND_4K },
	{ "snapshot-64k", "core", 1, "snapshot, 64K mTHP",
	  measure_snapshot, KIND_64K },
	{ "snapshot-thp", "core", 1, "snapshot, THP",
	  measure_snapshot, KIND_THP },
	{ "fault-4k", "core", 1, "fault holes, 4K pages",
	  measure_fault, KIND_4K },
	{ "fault-64k", "core", 1, "fault holes, 64K mTHP",
	  measure_fault, KIND_64K },
	{ "fault-thp", "core", 1, "fault holes, THP",
	  measure_fault, KIND_THP },
	{ "fault-first", "core", 1, "fault 2M of which the first page is missing",
	  measure_fault_missing, 0 },
	{ "fault-last", "core", 1, "fault 2M of which the last page is missing",
	  measure_fault_missing, 511 },
	{ "fault-zero", "core", 1, "write fault on zero pages of 8 PMDs",
	  measure_fault_zero, 8 },
	{ "to-device-4k", "core", 1, "to device, 4K pages",
	  measure_to_device, KIND_4K },
	{ "to-device-64k", "core", 1, "to device, 64K mTHP, first move",
	  measure_to_device, KIND_64K },
	{ "to-device-thp", "core", 1, "to device, THP",
	  measure_to_device, KIND_THP },
	{ "to-ram-4k", "core", 1, "to RAM, 4K pages",
	  measure_to_ram, KIND_4K },
	{ "to-ram-64k", "core", 1, "to RAM, what was 64K mTHP",
	  measure_to_ram, KIND_64K },
	{ "to-ram-thp", "core", 1, "to RAM, THP",
	  measure_to_ram, KIND_THP },
	{ "mprotect", "core", 1, "mprotect of 4K",
	  measure_mprotect, 0 },
	{ "mprotect-512", "core", 1, "mprotect of 4K beside 512 small notifiers",
	  measure_mprotect, 512 },
	{ "hotplug", "core", 1, "add device memory",
	  measure_hotplug, 0 },

	{ "shootdown-4k", "tlb", 2, "TLB shootdowns, 2M of 4K pages to device",
	  measure_shootdown, KIND_4K },
	{ "shootdown-64k", "tlb", 2, "TLB shootdowns, 2M of 64K mTHP to device",
	  measure_shootdown, KIND_64K },
	{ "shootdown-thp", "tlb", 2, "TLB shootdowns, 2M of THP to device",
	  measure_shootdown, KIND_THP },

	{ "mirror-4k", "mirror", 1, "device fault, 4K page (mainline: bare)",
	  measure_mirror_fault, MIRROR_4K },
	{ "mirror-around", "mirror", 1, "device fault, 16 4K pages (mainline: bare)",
	  measure_mirror_fault, MIRROR_AROUND },
	{ "mirror-64k", "mirror", 1, "device fault, 64K mTHP (mainline: bare)",
	  measure_mirror_fault, MIRROR_64K },
	{ "mirror-2m", "mirror", 1, "device fault, 2M THP (mainline: bare)",
	  measure_mirror_fault, MIRROR_2M },
	{ "prefetch-4k", "mirror", 1, "prefetch 64M, 4K pages (mainline: bare)",
	  measure_mirror_prefetch, PREFETCH_4K },
	{ "prefetch-thp", "mirror", 1, "prefetch 64M, THP (mainline: bare)",
	  measure_mirror_prefetch, PREFETCH_THP },
	{ "prefetch-holes-4k", "mirror", 1, "prefetch 64M, holes, 4K pages (mainline: bare)",
	  measure_mirror_prefetch, PREFETCH_HOLES_4K },
	{ "prefetch-holes-thp", "mirror", 1, "prefetch 64M, holes, THP (mainline: bare)",
	  measure_mirror_prefetch, PREFETCH_HOLES_THP },
	{ "invalidate-0", "mirror", 1, "MADV_DONTNEED of 4K, nothing mirrored",
	  measure_mirror_invalidate, 0 },
	{ "invalidate-1", "mirror", 1, "MADV_DONTNEED of 4K, 1 piece (mainline: bare)",
	  measure_mirror_invalidate, 1 },
	{ "invalidate-512", "mirror", 1, "MADV_DONTNEED of 4K, 512 pieces (mainline: bare)",
	  measure_mirror_invalidate, 512 },
	{ "invalidate-100k", "mirror", 1, "MADV_DONTNEED of 4K, 100k pieces (mainline: bare)",
	  measure_mirror_invalidate, 100000 },
	{ "threads", "mirror", 8, "8 threads fault, 2M each (mainline: bare)",
	  measure_mirror_threads, 0 },
	{ "threads-shared", "mirror", 8, "8 threads fault in the same 2M (mainline: bare)",
	  measure_mirror_threads, 1 },

	{ "devmem-add", "devmem", 1, "add private memory (mainline: memremap_pages())",
	  measure_devmem_add, 0 },
	{ "alloc-4k", "devmem", 1, "allocate and free 4K, one by one (mainline: bare)",
	  measure_devmem_alloc, ALLOC_4K },
	{ "alloc-batch", "devmem", 1, "allocate and free 4K, 512 at once (mainline: bare)",
	  measure_devmem_alloc, ALLOC_BATCH },
	{ "alloc-2m", "devmem", 1, "allocate and free 2M (mainline: bare)",
	  measure_devmem_alloc, ALLOC_2M },
	{ "fill-4k", "devmem", 1, "fill 2M of holes, 4K pages (mainline: bare)",
	  measure_devmem_fill, KIND_4K },
	{ "fill-thp", "devmem", 1, "fill 2M of holes, THP (mainline: bare)",
	  measure_devmem_fill, KIND_THP },
	{ "evict-4k", "devmem", 1, "evict 2M, 4K pages (mainline: bare)",
	  measure_devmem_evict, KIND_4K },
	{ "evict-thp", "devmem", 1, "evict 2M, THP (mainline: bare)",
	  measure_devmem_evict, KIND_THP },
	{ "copy-4k", "devmem", 1, "to an asynchronous device, 4K pages (mainline: bare)",
	  measure_devmem_copy, KIND_4K },
	{ "copy-thp", "devmem", 1, "to an asynchronous device, THP (mainline: bare)",
	  measure_devmem_copy, KIND_THP },
	{ "oversub-2x-64k", "devmem", 1, "oversubscribed 2x, 64K in order (mainline: bare)",
	  measure_devmem_use, USE_2X_64K },
	{ "oversub-2x-64k-random", "devmem", 1, "oversubscribed 2x, 64K at random (mainline: bare)",
	  measure_devmem_use, USE_2X_64K_RANDOM },
	{ "oversub-4x-64k", "devmem", 1, "oversubscribed 4x, 64K in order (mainline: bare)",
	  measure_devmem_use, USE_4X_64K },
	{ "oversub-4x-64k-random", "devmem", 1, "oversubscribed 4x, 64K at random (mainline: bare)",
	  measure_devmem_use, USE_4X_64K_RANDOM },
	{ "oversub-2x-2m", "devmem", 1, "oversubscribed 2x, 2M in order (mainline: bare)",
	  measure_devmem_use, USE_2X_2M },
	{ "oversub-2x-2m-random", "devmem", 1, "oversubscribed 2x, 2M at random (mainline: bare)",
	  measure_devmem_use, USE_2X_2M_RANDOM },
	{ "oversub-4x-2m", "devmem", 1, "oversubscribed 4x, 2M in order (mainline: bare)",
	  measure_devmem_use, USE_4X_2M },
	{ "oversub-4x-2m-random", "devmem", 1, "oversubscribed 4x, 2M at random (mainline: bare)",
	  measure_devmem_use, USE_4X_2M_RANDOM },

	{ "driver-read-4k", "driver", 1, "driver: device read, 4K pages",
	  measure_driver_read, KIND_4K },
	{ "driver-read-64k", "driver", 1, "driver: device read, 64K mTHP",
	  measure_driver_read, KIND_64K },
	{ "driver-read-thp", "driver", 1, "driver: device read, THP",
	  measure_driver_read, KIND_THP },
	{ "driver-to-device-4k", "driver", 1, "driver: to device, 4K pages",
	  measure_driver_to_device, KIND_4K },
	{ "driver-to-device-64k", "driver", 1, "driver: to device, 64K mTHP, first move",
	  measure_driver_to_device, KIND_64K },
	{ "driver-to-device-thp", "driver", 1, "driver: to device, THP",
	  measure_driver_to_device, KIND_THP },
	{ "driver-to-ram-4k", "driver", 1, "driver: to RAM, 4K pages",
	  measure_driver_to_ram, KIND_4K },
	{ "driver-to-ram-64k", "driver", 1, "driver: to RAM, 64K mTHP, first move",
	  measure_driver_to_ram, KIND_64K },
	{ "driver-to-ram-thp", "driver", 1, "driver: to RAM, THP",
	  measure_driver_to_ram, KIND_THP },
	{ "driver-cpu-fault-4k", "driver", 1, "driver: CPU fault back, 4K pages",
	  measure_driver_cpu_fault, KIND_4K },
	{ "driver-cpu-fault-64k", "driver", 1, "driver: CPU fault back, 64K mTHP, first move",
	  measure_driver_cpu_fault, KIND_64K },
	{ "driver-cpu-fault-thp", "driver", 1, "driver: CPU fault back, THP",
	  measure_driver_cpu_fault, KIND_THP },
};

const size_t nr_rows = ARRAY_SIZE(rows);
