// SPDX-License-Identifier: GPL-2.0
/*
 * What happened lately to the memory of processes that went to a device memory, for
 * each PMD_SIZE region of an address space: what a CPU fault brought back last,
 * when memory moved in, and when a CPU took it back.
 *
 * Only hints are made of it: how much a CPU fault brings back, and whether a
 * move that nobody asked for is worth it.  So it is a table of fixed size in which
 * regions overwrite each other.  Address spaces are compared and not looked at; one
 * that is where another one was inherits its hints, until they are out of date.
 */
#include <linux/hash.h>
#include <linux/jiffies.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "internal.h"

/* A window is a page, 64 KiB, 1 MiB or all of a page table; from one to the next: */
#define HMM_WINDOW_ORDERS	4
#define HMM_WINDOW_STEPS	DIV_ROUND_UP(HMM_PMD_ORDER, HMM_WINDOW_ORDERS)

/* How long a move is to last unless the driver says otherwise. */
#define HMM_RESIDENCY_MS	100

#define HMM_HISTORY_MIN		64UL
#define HMM_HISTORY_MAX		4096UL

/**
 * struct hmm_region - PMD_SIZE bytes of an address space
 * @mm: the address space, never dereferenced
 * @addr: first byte
 * @moved: when memory moved in last, in jiffies; 0: not since @returned
 * @returned: when a CPU took memory back last, in jiffies; 0: never
 * @bounces: times in a row that this was too soon after @moved
 * @first: the first page that a CPU fault was to bring back last
 * @end: exclusive; 0: none
 * @step: the size of that window, 0 for a page
 */
struct hmm_region {
	const struct mm_struct *mm;
	unsigned long addr;
	u64 moved;
	u64 returned;
	unsigned int bounces;
	u16 first;
	u16 end;
	u8 step;
};

/**
 * struct hmm_history - the regions of a devmem
 * @lock: protects @regions
 * @bits: there are 1 << @bits of them
 * @regions: by a hash of address space and address
 */
struct hmm_history {
	spinlock_t lock;	/* protects regions */
	unsigned int bits;
	struct hmm_region regions[];
};

int hmm_history_init(struct hmm_devmem *devmem, u64 size)
{
	unsigned long nr = clamp(2 * (size >> PMD_SHIFT), HMM_HISTORY_MIN,
				 HMM_HISTORY_MAX);
	struct hmm_history *history;

	nr = roundup_pow_of_two(nr);
	history = kvzalloc(struct_size(history, regions, nr), GFP_KERNEL);
	if (!history)
		return -ENOMEM;
	spin_lock_init(&history->lock);
	history->bits = ilog2(nr);
	devmem->history = history;
	return 0;
}

void hmm_history_destroy(struct hmm_devmem *devmem)
{
	kvfree(devmem->history);
}

static struct hmm_region *hmm_region_slot(struct hmm_history *history,
					  const struct mm_struct *mm,
					  unsigned long addr)
{
	return &history->regions[hash_long((unsigned long)mm +
					   (addr >> PMD_SHIFT),
					   history->bits)];
}

/* What is known of the region at @addr, or NULL. */
static struct hmm_region *hmm_region_find(struct hmm_history *history,
					  const struct mm_struct *mm,
					  unsigned long addr)
{
	struct hmm_region *region = hmm_region_slot(history, mm, addr);

	return region->mm == mm && region->addr == addr ? region : NULL;
}

/* The same; forget another one for it. */
static struct hmm_region *hmm_region_get(struct hmm_history *history,
					 const struct mm_struct *mm,
					 unsigned long addr)
{
	struct hmm_region *region = hmm_region_slot(history, mm, addr);

	if (region->mm != mm || region->addr != addr)
		*region = (struct hmm_region){ .mm = mm, .addr = addr };
	return region;
}

static unsigned int hmm_residency_ms(const struct hmm_devmem *devmem)
{
	return devmem->desc.residency_ms ?: HMM_RESIDENCY_MS;
}

static unsigned int hmm_ms_since(u64 then)
{
	return min_t(u64, jiffies64_to_msecs(get_jiffies_64() - then), UINT_MAX);
}

/* The next window of the region if the CPU goes on at @page where it was last. */
static unsigned int hmm_region_next_step(struct hmm_history *history,
					 const struct mm_struct *mm,
					 unsigned long base, unsigned long page)
{
	const struct hmm_region *region = hmm_region_find(history, mm, base);
	unsigned int step = region ? region->step : 0;

	if (region && region->end &&
	    (page == region->end || page + 1 == region->first))
		return min(step + 1, HMM_WINDOW_STEPS);

	/* It may come from the region before or from the one after. */
	region = NULL;
	if (!page)
		region = hmm_region_find(history, mm, base - PMD_SIZE);
	else if (page == HMM_PMD_PAGES - 1)
		region = hmm_region_find(history, mm, base + PMD_SIZE);
	if (region && region->end &&
	    (page ? !region->first : region->end == HMM_PMD_PAGES))
		return min(region->step + 1, HMM_WINDOW_STEPS);
	return step ? step - 1 : 0;
}

/**
 * hmm_history_cpu_fault() - note a CPU fault, and choose what it brings back
 * @devmem: device memory in which the page is
 * @vma: the fault's VMA
 * @addr: the page
 * @huge: it is part of a huge folio, which comes back as a whole
 * @start: out, first byte to bring back, not before the VMA
 * @end: out, exclusive, not beyond the VMA
 *
 * The window is an aligned one around the page.  It grows when the page is next to the
 * last window of its region, above or below, and then ends at the page on that side;
 * it shrinks otherwise, also if the last one could not be brought back as a whole.
 */
void hmm_history_cpu_fault(struct hmm_devmem *devmem,
			   const struct vm_area_struct *vma, unsigned long addr,
			   bool huge, unsigned long *start, unsigned long *end)
{
	unsigned long base = addr & PMD_MASK, bytes;
	unsigned long page = (addr - base) >> PAGE_SHIFT;
	struct hmm_history *history = devmem->history;
	const struct mm_struct *mm = vma->vm_mm;
	struct hmm_region *region;
	unsigned int step;
	bool up, down;

	guard(spinlock)(&history->lock);
	step = huge ? HMM_WINDOW_STEPS :
		      hmm_region_next_step(history, mm, base, page);
	region = hmm_region_get(history, mm, base);

	if (region->moved &&
	    hmm_ms_since(region->moved) < hmm_residency_ms(devmem)) {
		region->bounces++;
		atomic64_inc(&devmem->bounces);
	} else if (region->moved) {
		region->bounces = 0;
	}
	region->moved = 0;
	region->returned = get_jiffies_64();

	bytes = PAGE_SIZE << min(step * HMM_WINDOW_ORDERS, HMM_PMD_ORDER);
	if (!huge && devmem->desc.cpu_fault_around)
		bytes = min(bytes, devmem->desc.cpu_fault_around);
	/* What is behind is there already: do not disturb who uses it. */
	up = !huge && region->end && page == region->end;
	down = !huge && region->end && page + 1 == region->first;
	*start = up ? addr : max(ALIGN_DOWN(addr, bytes), vma->vm_start);
	*end = down ? addr + PAGE_SIZE :
		      min(ALIGN_DOWN(addr, bytes) + bytes, vma->vm_end);

	region->step = step;
	region->first = (*start - base) >> PAGE_SHIFT;
	region->end = (*end - base) >> PAGE_SHIFT;
}

/* Memory of the region at @addr has moved in; how the CPU will touch it is open. */
void hmm_history_moved(struct hmm_devmem *devmem, const struct mm_struct *mm,
		       unsigned long addr)
{
	struct hmm_history *history = devmem->history;
	struct hmm_region *region;

	guard(spinlock)(&history->lock);
	region = hmm_region_get(history, mm, addr & PMD_MASK);
	region->moved = get_jiffies_64();
	region->first = 0;
	region->end = 0;
	region->step = 0;
}

/*
 * By default a region stays in RAM for a while after a CPU took memory back sooner than
 * that.  So nothing moves in twice within this time if a CPU uses it, too.
 */
static bool hmm_history_settled(const struct hmm_devmem *devmem,
				const struct hmm_migrate_history *past)
{
	return !past->bounces || past->ram_ms >= hmm_residency_ms(devmem);
}

/**
 * hmm_history_may_migrate() - is a move to the device worth it that nobody asked for?
 * @devmem: destination
 * @mm: the process
 * @start: first byte
 * @end: exclusive, within the same region
 *
 * Context: process context, may sleep, no lock that the may_migrate operation takes.
 * Return: false to leave the memory in RAM.
 */
bool hmm_history_may_migrate(struct hmm_devmem *devmem, struct mm_struct *mm,
			     unsigned long start, unsigned long end)
{
	const struct hmm_devmem_ops *ops = devmem->desc.ops;
	struct hmm_migrate_history past = {
		.mm = mm,
		.start = start,
		.end = end,
		.ram_ms = UINT_MAX,
	};
	struct hmm_history *history = devmem->history;
	const struct hmm_region *region;
	bool may = true;
	int idx;

	scoped_guard(spinlock, &history->lock) {
		region = hmm_region_find(history, mm, start & PMD_MASK);
		if (region && region->returned) {
			past.ram_ms = hmm_ms_since(region->returned);
			past.bounces = region->bounces;
		}
	}
	if (!ops->may_migrate) {
		may = hmm_history_settled(devmem, &past);
	} else if (hmm_devmem_enter(devmem, HMM_DEVMEM_LIVE, &idx)) {
		may = ops->may_migrate(devmem, &past);
		hmm_devmem_leave(devmem, idx);
	}
	if (!may)
		atomic64_inc(&devmem->suppressed);
	return may;
}
