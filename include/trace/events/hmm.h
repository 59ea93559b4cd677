/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM hmm

#if !defined(_TRACE_HMM_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_HMM_H

#include <linux/hmm/devmem.h>
#include <linux/hmm/migrate.h>
#include <linux/ktime.h>
#include <linux/tracepoint.h>

/* Mirrors are named by the number that debugfs shows, hmm/mirrors. */

TRACE_EVENT(hmm_mirror_fault,
	TP_PROTO(unsigned int mirror, unsigned long addr, unsigned int access),
	TP_ARGS(mirror, addr, access),
	TP_STRUCT__entry(
		__field(unsigned int, mirror)
		__field(unsigned long, addr)
		__field(unsigned int, access)
	),
	TP_fast_assign(
		__entry->mirror = mirror;
		__entry->addr = addr;
		__entry->access = access;
	),
	TP_printk("mirror=%u addr=%#lx access=%u", __entry->mirror,
		  __entry->addr, __entry->access)
);

TRACE_EVENT(hmm_mirror_fault_end,
	TP_PROTO(unsigned int mirror, unsigned long addr, unsigned int retries,
		 int ret),
	TP_ARGS(mirror, addr, retries, ret),
	TP_STRUCT__entry(
		__field(unsigned int, mirror)
		__field(unsigned long, addr)
		__field(unsigned int, retries)
		__field(int, ret)
	),
	TP_fast_assign(
		__entry->mirror = mirror;
		__entry->addr = addr;
		__entry->retries = retries;
		__entry->ret = ret;
	),
	TP_printk("mirror=%u addr=%#lx retries=%u ret=%d", __entry->mirror,
		  __entry->addr, __entry->retries, __entry->ret)
);

/* @no_dma: no memory for DMA mappings; otherwise it was invalidated meanwhile */
TRACE_EVENT(hmm_mirror_retry,
	TP_PROTO(unsigned int mirror, unsigned long addr, bool no_dma),
	TP_ARGS(mirror, addr, no_dma),
	TP_STRUCT__entry(
		__field(unsigned int, mirror)
		__field(unsigned long, addr)
		__field(bool, no_dma)
	),
	TP_fast_assign(
		__entry->mirror = mirror;
		__entry->addr = addr;
		__entry->no_dma = no_dma;
	),
	TP_printk("mirror=%u addr=%#lx no_dma=%d", __entry->mirror,
		  __entry->addr, __entry->no_dma)
);

/* @addr is that of the first of @entries, which cover @pages base pages. */
TRACE_EVENT(hmm_mirror_map,
	TP_PROTO(unsigned int mirror, unsigned long addr, unsigned int entries,
		 unsigned long pages),
	TP_ARGS(mirror, addr, entries, pages),
	TP_STRUCT__entry(
		__field(unsigned int, mirror)
		__field(unsigned long, addr)
		__field(unsigned int, entries)
		__field(unsigned long, pages)
	),
	TP_fast_assign(
		__entry->mirror = mirror;
		__entry->addr = addr;
		__entry->entries = entries;
		__entry->pages = pages;
	),
	TP_printk("mirror=%u addr=%#lx entries=%u pages=%lu", __entry->mirror,
		  __entry->addr, __entry->entries, __entry->pages)
);

/* @event is enum mmu_notifier_event; !@done: it must not block and has to. */
TRACE_EVENT(hmm_mirror_invalidate,
	TP_PROTO(unsigned int mirror, unsigned long start, unsigned long end,
		 unsigned int event, bool done),
	TP_ARGS(mirror, start, end, event, done),
	TP_STRUCT__entry(
		__field(unsigned int, mirror)
		__field(unsigned long, start)
		__field(unsigned long, end)
		__field(unsigned int, event)
		__field(bool, done)
	),
	TP_fast_assign(
		__entry->mirror = mirror;
		__entry->start = start;
		__entry->end = end;
		__entry->event = event;
		__entry->done = done;
	),
	TP_printk("mirror=%u start=%#lx end=%#lx event=%u done=%d",
		  __entry->mirror, __entry->start, __entry->end,
		  __entry->event, __entry->done)
);

/*
 * Device memory is named by its number in hmm/devmems.  Counts are base pages.  The
 * argument @began is a time of ktime_get_ns(), 0 if nobody listened then; @ns is how
 * long it took since, or 0.
 */
#define hmm_show_cause(cause)						\
	__print_symbolic(cause, { 0, "to_device" }, { 1, "to_ram" },	\
			 { 2, "cpu_fault" }, { 3, "evict" },		\
			 { 4, "between" })

/*
 * A stage of a migration step of [@start, @end); both are 0 for an eviction, which
 * goes by page frame.  @devmem: destination, or what pages leave; -1 if not known
 * yet.  @pages: how many came through the stage; @dropped: how many did not.
 */
DECLARE_EVENT_CLASS(hmm_migrate_stage,
	TP_PROTO(unsigned int cause, int devmem, unsigned long start,
		 unsigned long end, unsigned long pages, unsigned long dropped,
		 u64 began),
	TP_ARGS(cause, devmem, start, end, pages, dropped, began),
	TP_STRUCT__entry(
		__field(unsigned int, cause)
		__field(int, devmem)
		__field(unsigned long, start)
		__field(unsigned long, end)
		__field(unsigned long, pages)
		__field(unsigned long, dropped)
		__field(u64, ns)
	),
	TP_fast_assign(
		__entry->cause = cause;
		__entry->devmem = devmem;
		__entry->start = start;
		__entry->end = end;
		__entry->pages = pages;
		__entry->dropped = dropped;
		__entry->ns = began ? ktime_get_ns() - began : 0;
	),
	TP_printk("cause=%s devmem=%d start=%#lx end=%#lx pages=%lu dropped=%lu ns=%llu",
		  hmm_show_cause(__entry->cause), __entry->devmem,
		  __entry->start, __entry->end, __entry->pages,
		  __entry->dropped, __entry->ns)
);

/* Pages were isolated and unmapped; or the core could not. */
DEFINE_EVENT(hmm_migrate_stage, hmm_migrate_collect,
	TP_PROTO(unsigned int cause, int devmem, unsigned long start,
		 unsigned long end, unsigned long pages, unsigned long dropped,
		 u64 began),
	TP_ARGS(cause, devmem, start, end, pages, dropped, began)
);

/* The device has copied or cleared pages, from submission on; or it has failed. */
DEFINE_EVENT(hmm_migrate_stage, hmm_migrate_copy,
	TP_PROTO(unsigned int cause, int devmem, unsigned long start,
		 unsigned long end, unsigned long pages, unsigned long dropped,
		 u64 began),
	TP_ARGS(cause, devmem, start, end, pages, dropped, began)
);

/* Pages were mapped where they are now; or the core has refused them. */
DEFINE_EVENT(hmm_migrate_stage, hmm_migrate_commit,
	TP_PROTO(unsigned int cause, int devmem, unsigned long start,
		 unsigned long end, unsigned long pages, unsigned long dropped,
		 u64 began),
	TP_ARGS(cause, devmem, start, end, pages, dropped, began)
);

/*
 * A step of a range is over.  What of [@start, @end) has not been counted in @step
 * comes again in the next one, or there was no room for it.
 */
TRACE_EVENT(hmm_migrate_finish,
	TP_PROTO(unsigned int cause, int devmem, unsigned long start,
		 unsigned long end, const struct hmm_migrate_result *step,
		 int ret, u64 began),
	TP_ARGS(cause, devmem, start, end, step, ret, began),
	TP_STRUCT__entry(
		__field(unsigned int, cause)
		__field(int, devmem)
		__field(unsigned long, start)
		__field(unsigned long, end)
		__field(unsigned long, moved)
		__field(unsigned long, filled)
		__field(unsigned long, already)
		__field(unsigned long, elsewhere)
		__field(unsigned long, absent)
		__field(unsigned long, unsupported)
		__field(unsigned long, merged)
		__field(unsigned long, busy)
		__field(unsigned long, no_room)
		__field(unsigned long, failed)
		__field(int, ret)
		__field(u64, ns)
	),
	TP_fast_assign(
		__entry->cause = cause;
		__entry->devmem = devmem;
		__entry->start = start;
		__entry->end = end;
		__entry->moved = step->moved;
		__entry->filled = step->filled;
		__entry->already = step->already;
		__entry->elsewhere = step->elsewhere;
		__entry->absent = step->absent;
		__entry->unsupported = step->unsupported;
		__entry->merged = step->merged;
		__entry->busy = step->busy;
		__entry->no_room = step->no_room;
		__entry->failed = step->failed;
		__entry->ret = ret;
		__entry->ns = began ? ktime_get_ns() - began : 0;
	),
	TP_printk("cause=%s devmem=%d start=%#lx end=%#lx moved=%lu filled=%lu already=%lu elsewhere=%lu absent=%lu unsupported=%lu merged=%lu busy=%lu no_room=%lu failed=%lu ret=%d ns=%llu",
		  hmm_show_cause(__entry->cause), __entry->devmem,
		  __entry->start, __entry->end, __entry->moved,
		  __entry->filled, __entry->already, __entry->elsewhere,
		  __entry->absent, __entry->unsupported, __entry->merged,
		  __entry->busy, __entry->no_room, __entry->failed,
		  __entry->ret, __entry->ns)
);

/* @ret is a vm_fault_t. */
TRACE_EVENT(hmm_cpu_fault,
	TP_PROTO(int devmem, unsigned long addr, unsigned int ret, u64 began),
	TP_ARGS(devmem, addr, ret, began),
	TP_STRUCT__entry(
		__field(int, devmem)
		__field(unsigned long, addr)
		__field(unsigned int, ret)
		__field(u64, ns)
	),
	TP_fast_assign(
		__entry->devmem = devmem;
		__entry->addr = addr;
		__entry->ret = ret;
		__entry->ns = began ? ktime_get_ns() - began : 0;
	),
	TP_printk("devmem=%d addr=%#lx ret=%#x ns=%llu", __entry->devmem,
		  __entry->addr, __entry->ret, __entry->ns)
);

/* A round of an eviction to @target, -1 for RAM, is over. */
TRACE_EVENT(hmm_evict_round,
	TP_PROTO(int devmem, int target,
		 const struct hmm_devmem_evict_result *round, u64 began),
	TP_ARGS(devmem, target, round, began),
	TP_STRUCT__entry(
		__field(int, devmem)
		__field(int, target)
		__field(unsigned long, evicted)
		__field(unsigned long, kept)
		__field(unsigned long, busy)
		__field(unsigned long, no_ram)
		__field(unsigned long, no_room)
		__field(unsigned long, failed)
		__field(unsigned long, untried)
		__field(u64, ns)
	),
	TP_fast_assign(
		__entry->devmem = devmem;
		__entry->target = target;
		__entry->evicted = round->evicted;
		__entry->kept = round->kept;
		__entry->busy = round->busy;
		__entry->no_ram = round->no_ram;
		__entry->no_room = round->no_room;
		__entry->failed = round->failed;
		__entry->untried = round->untried;
		__entry->ns = began ? ktime_get_ns() - began : 0;
	),
	TP_printk("devmem=%d target=%d evicted=%lu kept=%lu busy=%lu no_ram=%lu no_room=%lu failed=%lu untried=%lu ns=%llu",
		  __entry->devmem, __entry->target, __entry->evicted,
		  __entry->kept, __entry->busy, __entry->no_ram,
		  __entry->no_room, __entry->failed, __entry->untried,
		  __entry->ns)
);

#endif /* _TRACE_HMM_H */

#include <trace/define_trace.h>
