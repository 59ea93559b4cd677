/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM hmm

#if !defined(_TRACE_HMM_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_HMM_H

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

#endif /* _TRACE_HMM_H */

#include <trace/define_trace.h>
