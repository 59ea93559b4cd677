// SPDX-License-Identifier: GPL-2.0
/*
 * Measuring module for device memory: the HMM toolbox with a driver that copies
 * with the CPU.  Built only where the kernel has the toolbox.
 */
#include <linux/hmm.h>
#include <linux/mm.h>
#include <linux/pfn.h>
#include <linux/sched.h>
#include <linux/timekeeping.h>
#include <linux/topology.h>

#include "hmm_bench_devmem_kind.h"

/* Much longer than anything takes: a timeout is a failure. */
#define BENCH_TIMEOUT_MS	10000

static unsigned long bench_frame(const struct bench_devmem *bd,
				 const struct page *page)
{
	return PHYS_PFN(hmm_devmem_offset(bd->devmem, page_to_pfn(page)));
}

/* The device's page table, as far as it is needed here: what is where. */
static void bench_arrived(struct bench_devmem *bd, struct page *page)
{
	struct bench_piece *piece = bd->arriving;
	unsigned long pfn = page_to_pfn(page);

	if (!piece)
		return;
	bd->piece_of[bench_frame(bd, page)] = piece;
	if (!piece->present++) {
		piece->first = pfn;
		piece->end = pfn + 1;
	} else {
		piece->first = min(piece->first, pfn);
		piece->end = max(piece->end, pfn + 1);
	}
}

static void bench_left(struct bench_devmem *bd, struct page *page)
{
	struct bench_piece **piece;

	if (!bd->piece_of)
		return;
	piece = &bd->piece_of[bench_frame(bd, page)];
	if (*piece)
		(*piece)->present--;
	*piece = NULL;
}

static void bench_copy_page(struct bench_devmem *bd,
			    enum dma_data_direction direction, struct page *dst,
			    struct page *src)
{
	if (direction == DMA_TO_DEVICE) {
		bench_copy_in(bd, bench_frame(bd, dst), src);
		bench_arrived(bd, dst);
	} else {
		bench_copy_out(bd, bench_frame(bd, src), dst);
		bench_left(bd, src);
	}
}

/* Is there anything to do for each page? */
static bool bench_works(const struct bench_devmem *bd)
{
	return bd->storage || bd->piece_of;
}

static ktime_t bench_job_time(const struct bench_devmem *bd,
			      const struct hmm_devmem_batch *batch)
{
	unsigned long nr = 0;
	unsigned int i;

	for (i = 0; i < batch->nr; i++)
		nr += 1UL << batch->pages[i].order;
	return ns_to_ktime(nr * bd->copy_ns);
}

static enum hrtimer_restart bench_engine_done(struct hrtimer *timer)
{
	struct bench_devmem *bd = container_of(timer, struct bench_devmem,
					       engine.timer);
	struct bench_engine *engine = &bd->engine;
	struct hmm_devmem_batch *batch, *next;

	guard(spinlock)(&engine->lock);
	batch = list_first_entry(&engine->jobs, struct hmm_devmem_batch, link);
	list_del(&batch->link);
	next = list_first_entry_or_null(&engine->jobs, struct hmm_devmem_batch,
					link);
	hmm_devmem_batch_done(batch, 0);
	if (!next)
		return HRTIMER_NORESTART;
	hrtimer_forward_now(timer, bench_job_time(bd, next));
	return HRTIMER_RESTART;
}

/* Nothing is stored, but it takes its time. */
static int bench_engine_start(struct bench_devmem *bd,
			      struct hmm_devmem_batch *batch)
{
	struct bench_engine *engine = &bd->engine;
	bool idle;

	guard(spinlock_irqsave)(&engine->lock);
	idle = list_empty(&engine->jobs);
	list_add_tail(&batch->link, &engine->jobs);
	if (idle)
		hrtimer_start(&engine->timer, bench_job_time(bd, batch),
			      HRTIMER_MODE_REL_HARD);
	return 0;
}

static int bench_devmem_copy(struct hmm_devmem *devmem,
			     struct hmm_devmem_batch *batch)
{
	struct bench_devmem *bd = hmm_devmem_private(devmem);
	unsigned int i, page;

	if (bd->copy_ns && batch->direction == DMA_TO_DEVICE)
		return bench_engine_start(bd, batch);

	for (i = 0; bench_works(bd) && i < batch->nr; i++) {
		const struct hmm_devmem_copy *copy = &batch->pages[i];

		for (page = 0; page < 1U << copy->order; page++)
			bench_copy_page(bd, batch->direction, copy->dst + page,
					copy->src + page);
	}
	hmm_devmem_batch_done(batch, 0);
	return 0;
}

static int bench_devmem_clear(struct hmm_devmem *devmem,
			      struct hmm_devmem_batch *batch)
{
	struct bench_devmem *bd = hmm_devmem_private(devmem);
	unsigned int i, page;

	for (i = 0; bench_works(bd) && i < batch->nr; i++) {
		const struct hmm_devmem_copy *copy = &batch->pages[i];

		for (page = 0; page < 1U << copy->order; page++) {
			bench_clear(bd, bench_frame(bd, copy->dst + page));
			bench_arrived(bd, copy->dst + page);
		}
	}
	hmm_devmem_batch_done(batch, 0);
	return 0;
}

static const struct hmm_devmem_ops bench_devmem_ops = {
	.copy = bench_devmem_copy,
	.clear = bench_devmem_clear,
};

static int bench_toolbox_attach(struct bench_devmem *bd, u64 *ns)
{
	const struct hmm_devmem_desc desc = {
		.ops = &bench_devmem_ops,
		.owner = bd,
		.private = bd,
		.name = "hmm_bench_devmem",
		.nid = numa_mem_id(),
	};
	struct hmm_devmem *devmem;
	u64 start;

	spin_lock_init(&bd->engine.lock);
	INIT_LIST_HEAD(&bd->engine.jobs);
	hrtimer_setup(&bd->engine.timer, bench_engine_done, CLOCK_MONOTONIC,
		      HRTIMER_MODE_REL_HARD);
	start = ktime_get_ns();
	devmem = hmm_devmem_add(&desc, (u64)bd->nr_pages << PAGE_SHIFT);
	*ns = ktime_get_ns() - start;
	if (IS_ERR(devmem))
		return PTR_ERR(devmem);
	bd->devmem = devmem;
	return 0;
}

static void bench_toolbox_detach(struct bench_devmem *bd)
{
	hmm_devmem_remove(bd->devmem, BENCH_TIMEOUT_MS, NULL);
	hrtimer_cancel(&bd->engine.timer);
	bd->devmem = NULL;
}

static int bench_toolbox_in(struct bench_devmem *bd, unsigned long addr,
			    unsigned long length, bool compound)
{
	struct hmm_migrate_result result;

	return hmm_migrate_to_device(bd->devmem, current->mm, addr,
				     addr + length, BENCH_TIMEOUT_MS, &result);
}

static int bench_toolbox_evict(struct bench_devmem *bd, unsigned long nr_pages)
{
	struct hmm_devmem_evict_result result;

	return hmm_devmem_evict(bd->devmem, nr_pages, BENCH_TIMEOUT_MS, &result);
}

/* Nobody else's: of what lies together it is one call. */
static void bench_toolbox_touch(struct bench_devmem *bd,
				struct bench_piece *piece)
{
	unsigned long pfn;

	if (piece->end - piece->first == piece->present) {
		hmm_devmem_touch(bd->devmem, piece->first, piece->present);
		return;
	}
	for (pfn = piece->first; pfn < piece->end; pfn++)
		if (bd->piece_of[bench_frame(bd, pfn_to_page(pfn))] == piece)
			hmm_devmem_touch(bd->devmem, pfn, 1);
}

static int bench_toolbox_use(struct bench_devmem *bd, struct bench_piece *piece,
			     unsigned long addr, bool compound)
{
	int ret;

	if (piece->present == bd->piece_pages) {
		bench_toolbox_touch(bd, piece);
		return 0;
	}
	bd->arriving = piece;
	ret = bench_toolbox_in(bd, addr, bd->piece_pages << PAGE_SHIFT,
			       compound);
	bd->arriving = NULL;
	if (ret)
		return ret;
	return piece->present == bd->piece_pages ? 0 : -EBUSY;
}

static void bench_toolbox_stats(struct bench_devmem *bd, u64 *in, u64 *out)
{
	struct hmm_devmem_stats stats;

	hmm_devmem_get_stats(bd->devmem, &stats);
	*in = stats.migrated_in;
	*out = stats.migrated_out;
}

const struct bench_devmem_kind bench_devmem_toolbox = {
	.attach = bench_toolbox_attach,
	.detach = bench_toolbox_detach,
	.in = bench_toolbox_in,
	.evict = bench_toolbox_evict,
	.use = bench_toolbox_use,
	.stats = bench_toolbox_stats,
	.alloc = bench_toolbox_alloc,
	.free = bench_toolbox_free,
};
