// SPDX-License-Identifier: GPL-2.0
/*
 * Measuring module for device memory: by hand, with the bare core calls that no
 * driver can do without.  Eviction is that of lib/test_hmm.
 */
#include <linux/hrtimer.h>
#include <linux/ioport.h>
#include <linux/list.h>
#include <linux/memremap.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/timekeeping.h>

#include "hmm_bench_devmem_kind.h"

#define BENCH_MAX_STEP	(HMM_BENCH_DEVMEM_UNIT >> PAGE_SHIFT)

/* Device memory for one piece. */
struct bench_slot {
	struct list_head link;	/* free or lru; empty while it is worked on */
	unsigned long used;	/* base pages in use */
	struct bench_piece *piece;
};

struct bench_bare {
	struct dev_pagemap pgmap;
	struct resource *res;
	struct bench_devmem *bd;
	spinlock_t lock;	/* the slots' links and used, free and lru */
	struct list_head free;
	struct list_head lru;	/* the one that was used longest ago first */
	struct bench_slot *slots;
	u64 in;
	u64 out;
	unsigned long src[BENCH_MAX_STEP];
	unsigned long dst[BENCH_MAX_STEP];
};

static unsigned long bench_slot_frame(struct bench_bare *bare,
				      struct bench_slot *slot)
{
	return (slot - bare->slots) * bare->bd->piece_pages;
}

static struct bench_slot *bench_slot_take(struct bench_bare *bare,
					  struct list_head *list)
{
	struct bench_slot *slot;

	guard(spinlock_irqsave)(&bare->lock);
	slot = list_first_entry_or_null(list, struct bench_slot, link);
	if (slot)
		list_del_init(&slot->link);
	return slot;
}

static void bench_slot_put(struct bench_bare *bare, struct bench_slot *slot)
{
	guard(spinlock_irqsave)(&bare->lock);
	list_move_tail(&slot->link, slot->used ? &bare->lru : &bare->free);
}

static void bench_slot_use(struct bench_bare *bare, struct bench_slot *slot,
			   unsigned long nr)
{
	guard(spinlock_irqsave)(&bare->lock);
	slot->used += nr;
}

static void bench_bare_folio_free(struct folio *folio)
{
	struct bench_bare *bare = container_of(folio->pgmap, struct bench_bare,
					       pgmap);
	unsigned long frame = folio_pfn(folio) -
			      PHYS_PFN(bare->pgmap.range.start);
	struct bench_slot *slot = &bare->slots[frame / bare->bd->piece_pages];

	guard(spinlock_irqsave)(&bare->lock);
	slot->used -= folio_nr_pages(folio);
	if (!slot->used)
		list_move(&slot->link, &bare->free);
}

/* Nobody looks at the memory before it is back. */
static vm_fault_t bench_bare_cpu_fault(struct vm_fault *vmf)
{
	return VM_FAULT_SIGBUS;
}

static const struct dev_pagemap_ops bench_bare_pgmap_ops = {
	.folio_free = bench_bare_folio_free,
	.migrate_to_ram = bench_bare_cpu_fault,
};

static unsigned long bench_bare_moved(const struct bench_bare *bare,
				      unsigned long nr)
{
	unsigned long i, moved = 0;

	for (i = 0; i < nr; i++) {
		struct page *page = migrate_pfn_to_page(bare->dst[i]);

		if (page && (bare->src[i] & MIGRATE_PFN_MIGRATE))
			moved += folio_nr_pages(page_folio(page));
	}
	return moved;
}

/* Locked, and with one reference; its pages are not counted yet. */
static struct page *bench_bare_page(struct bench_bare *bare,
				    unsigned long frame, unsigned int order)
{
	struct page *page;

	page = pfn_to_page(PHYS_PFN(bare->pgmap.range.start) + frame);
	zone_device_page_init(page, &bare->pgmap, order);
	if (order)
		folio_set_large_rmappable(page_folio(page));
	return page;
}

/* Until the device has copied; from a wait queue, as from a fence. */
static void bench_bare_wait(struct bench_bare *bare, unsigned long nr)
{
	ktime_t time = ns_to_ktime(nr * bare->bd->copy_ns);

	if (!time)
		return;
	set_current_state(TASK_UNINTERRUPTIBLE);
	schedule_hrtimeout(&time, HRTIMER_MODE_REL_HARD);
}

/* Give each page and hole a destination in the slot. */
static void bench_bare_fill(struct bench_bare *bare, struct bench_slot *slot,
			    unsigned long npages)
{
	unsigned long frame = bench_slot_frame(bare, slot), i, j, nr, used = 0;

	for (i = 0; i < npages; i += nr) {
		struct page *src = migrate_pfn_to_page(bare->src[i]), *dst;
		bool large = bare->src[i] & MIGRATE_PFN_COMPOUND;
		unsigned int order = large ? HPAGE_PMD_ORDER : 0;

		nr = 1;
		if (!(bare->src[i] & MIGRATE_PFN_MIGRATE))
			continue;
		nr <<= order;
		dst = bench_bare_page(bare, frame + i, order);
		used += nr;
		for (j = 0; bare->bd->storage && j < nr; j++) {
			if (src)
				bench_copy_in(bare->bd, frame + i + j, src + j);
			else
				bench_clear(bare->bd, frame + i + j);
		}
		bare->dst[i] = migrate_pfn(page_to_pfn(dst));
		if (order)
			bare->dst[i] |= MIGRATE_PFN_COMPOUND;
	}
	bench_slot_use(bare, slot, used);
	bench_bare_wait(bare, used);
}

/* One piece, to a slot that is free.  0, or -EBUSY if not all of it moved. */
static int bench_bare_move_in(struct bench_bare *bare, struct bench_slot *slot,
			      unsigned long addr, bool compound)
{
	unsigned long nr = bare->bd->piece_pages, moved;
	struct mm_struct *mm = current->mm;
	struct migrate_vma args = {
		.start = addr,
		.end = addr + (nr << PAGE_SHIFT),
		.src = bare->src,
		.dst = bare->dst,
		.pgmap_owner = bare,
		.flags = MIGRATE_VMA_SELECT_SYSTEM,
	};
	int ret = -EFAULT;

	if (compound)
		args.flags |= MIGRATE_VMA_SELECT_COMPOUND;
	mmap_read_lock(mm);
	args.vma = vma_lookup(mm, args.start);
	if (args.vma && args.end <= args.vma->vm_end)
		ret = migrate_vma_setup(&args);
	if (ret) {
		mmap_read_unlock(mm);
		return ret;
	}
	bench_bare_fill(bare, slot, args.npages);
	migrate_vma_pages(&args);
	moved = bench_bare_moved(bare, args.npages);
	migrate_vma_finalize(&args);
	mmap_read_unlock(mm);

	bare->in += moved;
	return moved == nr ? 0 : -EBUSY;
}

/* Bring back what is in a slot.  0, -ENOMEM, or -EBUSY if not all of it moved. */
static int bench_bare_move_out(struct bench_bare *bare, struct bench_slot *slot)
{
	unsigned long nr = bare->bd->piece_pages, moved, i, j, step;
	unsigned long frame = bench_slot_frame(bare, slot);
	int ret = 0;

	memset(bare->dst, 0, nr * sizeof(*bare->dst));
	migrate_device_range(bare->src,
			     PHYS_PFN(bare->pgmap.range.start) + frame, nr);
	for (i = 0; i < nr; i += step) {
		struct page *src = migrate_pfn_to_page(bare->src[i]);
		struct folio *dst;
		unsigned int order;

		step = 1;
		if (!src || !(bare->src[i] & MIGRATE_PFN_MIGRATE))
			continue;
		order = folio_order(page_folio(src));
		step <<= order;
		dst = folio_alloc(GFP_HIGHUSER_MOVABLE | __GFP_NOWARN, order);
		if (!dst) {
			ret = -ENOMEM;
			continue;
		}
		folio_lock(dst);
		for (j = 0; j < step; j++)
			bench_copy_out(bare->bd, frame + i + j,
				       folio_page(dst, j));
		bare->dst[i] = migrate_pfn(folio_pfn(dst));
		if (order)
			bare->dst[i] |= MIGRATE_PFN_COMPOUND;
	}
	migrate_device_pages(bare->src, bare->dst, nr);
	moved = bench_bare_moved(bare, nr);
	migrate_device_finalize(bare->src, bare->dst, nr);

	bare->out += moved;
	if (!ret && slot->used)
		ret = -EBUSY;
	return ret;
}

static int bench_bare_evict(struct bench_devmem *bd, unsigned long nr_pages)
{
	struct bench_bare *bare = bd->bare;
	struct bench_slot *slot;
	u64 before = bare->out;
	int ret = 0;

	while (!ret && bare->out - before < nr_pages) {
		slot = bench_slot_take(bare, &bare->lru);
		if (!slot)
			break;
		ret = bench_bare_move_out(bare, slot);
		bench_slot_put(bare, slot);
		cond_resched();
	}
	return ret;
}

/* For a piece of the working set, or NULL. */
static int bench_bare_in_piece(struct bench_bare *bare,
			       struct bench_piece *piece, unsigned long addr,
			       bool compound)
{
	struct bench_slot *slot = bench_slot_take(bare, &bare->free);
	int ret;

	if (!slot) {
		ret = bench_bare_evict(bare->bd, bare->bd->piece_pages);
		if (ret)
			return ret;
		slot = bench_slot_take(bare, &bare->free);
		if (!slot)
			return -ENOSPC;
	}
	ret = bench_bare_move_in(bare, slot, addr, compound);
	slot->piece = piece;
	if (piece)
		piece->slot = slot;
	bench_slot_put(bare, slot);
	return ret;
}

static int bench_bare_in(struct bench_devmem *bd, unsigned long addr,
			 unsigned long length, bool compound)
{
	unsigned long end = addr + length;
	int ret = 0;

	for (; addr < end && !ret; addr += bd->piece_pages << PAGE_SHIFT)
		ret = bench_bare_in_piece(bd->bare, NULL, addr, compound);
	return ret;
}

static int bench_bare_use(struct bench_devmem *bd, struct bench_piece *piece,
			  unsigned long addr, bool compound)
{
	struct bench_slot *slot = piece->slot;

	if (!slot || slot->piece != piece || !slot->used)
		return bench_bare_in_piece(bd->bare, piece, addr, compound);
	bench_slot_put(bd->bare, slot);
	return 0;
}

static void bench_bare_release(struct bench_devmem *bd, struct page **pages,
			       long nr)
{
	long i;

	for (i = 0; i < nr; i++) {
		unlock_page(pages[i]);
		put_page(pages[i]);
	}
}

/* Slot by slot, each of which is whole then. */
static long bench_bare_alloc(struct bench_devmem *bd, struct page **pages,
			     unsigned long nr_pages, unsigned int flags)
{
	bool compound = flags & HMM_BENCH_DEVMEM_COMPOUND;
	unsigned int order = compound ? HPAGE_PMD_ORDER : 0;
	unsigned long left = 0, frame = 0, i;
	struct bench_bare *bare = bd->bare;
	struct bench_slot *slot = NULL;
	long nr = 0;

	for (i = 0; i < nr_pages; i += 1UL << order) {
		if (!left) {
			slot = bench_slot_take(bare, &bare->free);
			if (!slot) {
				bench_bare_release(bd, pages, nr);
				return -ENOSPC;
			}
			frame = bench_slot_frame(bare, slot);
			left = bd->piece_pages;
		}
		pages[nr++] = bench_bare_page(bare, frame, order);
		bench_slot_use(bare, slot, 1UL << order);
		frame += 1UL << order;
		left -= 1UL << order;
	}
	return nr;
}

static void bench_bare_stats(struct bench_devmem *bd, u64 *in, u64 *out)
{
	*in = bd->bare->in;
	*out = bd->bare->out;
}

static void bench_bare_free(struct bench_devmem *bd)
{
	if (bd->bare)
		kvfree(bd->bare->slots);
	kvfree(bd->bare);
	bd->bare = NULL;
}

/* An unplug waits for each page: until the last one is back. */
static void bench_bare_detach(struct bench_devmem *bd)
{
	struct bench_bare *bare = bd->bare;

	while (bench_bare_evict(bd, ULONG_MAX))
		schedule_timeout_uninterruptible(1);
	memunmap_pages(&bare->pgmap);
	release_mem_region(bare->res->start, resource_size(bare->res));
	bench_bare_free(bd);
}

static int bench_bare_plug(struct bench_bare *bare, u64 size)
{
	struct dev_pagemap *pgmap = &bare->pgmap;
	void *addr;

	bare->res = request_free_mem_region(&iomem_resource, size,
					    "hmm_bench_devmem");
	if (IS_ERR(bare->res))
		return PTR_ERR(bare->res);
	pgmap->type = MEMORY_DEVICE_PRIVATE;
	pgmap->range.start = bare->res->start;
	pgmap->range.end = bare->res->end;
	pgmap->nr_range = 1;
	pgmap->ops = &bench_bare_pgmap_ops;
	pgmap->owner = bare;
	addr = memremap_pages(pgmap, numa_mem_id());
	if (IS_ERR(addr))
		release_mem_region(bare->res->start, size);
	return PTR_ERR_OR_ZERO(addr);
}

static int bench_bare_attach(struct bench_devmem *bd, u64 *ns)
{
	unsigned long nr = bd->nr_pages / bd->piece_pages, i;
	struct bench_bare *bare;
	u64 start;
	int ret;

	bd->bare = kvzalloc_obj(*bd->bare);
	if (!bd->bare)
		return -ENOMEM;
	bare = bd->bare;
	bare->bd = bd;
	bare->slots = kvzalloc_objs(*bare->slots, nr);
	if (!bare->slots) {
		bench_bare_free(bd);
		return -ENOMEM;
	}
	spin_lock_init(&bare->lock);
	INIT_LIST_HEAD(&bare->free);
	INIT_LIST_HEAD(&bare->lru);
	for (i = 0; i < nr; i++)
		list_add_tail(&bare->slots[i].link, &bare->free);

	start = ktime_get_ns();
	ret = bench_bare_plug(bare, (u64)bd->nr_pages << PAGE_SHIFT);
	*ns = ktime_get_ns() - start;
	if (ret)
		bench_bare_free(bd);
	return ret;
}

const struct bench_devmem_kind bench_devmem_bare = {
	.attach = bench_bare_attach,
	.detach = bench_bare_detach,
	.in = bench_bare_in,
	.evict = bench_bare_evict,
	.use = bench_bare_use,
	.stats = bench_bare_stats,
	.alloc = bench_bare_alloc,
	.free = bench_bare_release,
};
