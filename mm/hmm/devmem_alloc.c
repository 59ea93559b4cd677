// SPDX-License-Identifier: GPL-2.0
/*
 * Page frames of device memory: small ones, and huge ones that the core may split.
 *
 * Free frames are kept in a genalloc pool: it takes and gives back frames
 * without a lock, so that folio_free can be called from any context, and it
 * accepts back any part of what it handed out as one.  Free neighbours need no
 * merging: the pool is a bitmap.
 */
#include <linux/cgroup_dmem.h>
#include <linux/export.h>
#include <linux/genalloc.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <kunit/visibility.h>

#include "lifecycle.h"

/**
 * struct hmm_devmem_charge - the dmem charge of a huge folio
 * @pool: what is charged
 * @pages: base pages that are still in use, of the folio or of what it was split to
 * @whole: the folio was not split
 *
 * The controller takes back a charge as it was made: when the last page is freed.
 */
struct hmm_devmem_charge {
	struct dmem_cgroup_pool_state *pool;
	atomic_t pages;
	bool whole;
};

/* In a page's zone_device_data: a charge, not the pool of a small page. */
#define HMM_CHARGE_HUGE		1UL

static struct hmm_devmem_charge *hmm_devmem_charge(const struct folio *folio)
{
	unsigned long data = (unsigned long)folio->page.zone_device_data;

	if (!(data & HMM_CHARGE_HUGE))
		return NULL;
	return (struct hmm_devmem_charge *)(data & ~HMM_CHARGE_HUGE);
}

/*
 * Charge the cgroup of the process, or if the kernel cannot do that the caller's.
 * 0, -ENOSPC at the limit, or -ENOMEM.
 */
static int hmm_devmem_try_charge(struct hmm_devmem *devmem, struct mm_struct *mm,
				 unsigned long nr,
				 struct dmem_cgroup_pool_state **pool)
{
	u64 size = nr << PAGE_SHIFT;
	int err;

#ifdef dmem_cgroup_try_charge_mm
	if (mm)
		err = dmem_cgroup_try_charge_mm(devmem->region, size, mm, pool,
						NULL);
	else
#endif
		err = dmem_cgroup_try_charge(devmem->region, size, pool, NULL);
	if (!err)
		return 0;
	return err == -EAGAIN ? -ENOSPC : -ENOMEM;
}

/* Is the page, which may be freed any time, charged to @pool or to one below? */
bool hmm_devmem_charged_to(struct page *page,
			   struct dmem_cgroup_pool_state *pool)
{
	struct folio *folio = page_folio(page);
	struct hmm_devmem_charge *charge;
	bool charged, hit_low;

	/* A reference keeps the charge. */
	if (!folio_try_get(folio))
		return false;
	charge = hmm_devmem_charge(folio);
	charged = dmem_cgroup_state_evict_valuable(pool, charge ? charge->pool :
						   folio->page.zone_device_data,
						   true, &hit_low);
	folio_put(folio);
	return charged;
}

static void hmm_devmem_uncharge(struct hmm_devmem *devmem, struct folio *folio,
				unsigned long nr)
{
	struct hmm_devmem_charge *charge = hmm_devmem_charge(folio);

	if (!charge) {
		dmem_cgroup_uncharge(folio->page.zone_device_data,
				     nr << PAGE_SHIFT);
		return;
	}
	if (charge->whole && nr == HMM_PMD_PAGES)
		atomic_long_sub(HMM_PMD_PAGES, &devmem->huge);
	if (!atomic_sub_and_test(nr, &charge->pages))
		return;
	dmem_cgroup_uncharge(charge->pool, PMD_SIZE);
	kfree(charge);
}

/*
 * A genpool_algo_t: the first fit, but not from the beginning each time, where all
 * has been taken for long.
 */
static unsigned long hmm_devmem_find(unsigned long *map, unsigned long size,
				     unsigned long start, unsigned int nr,
				     void *data, struct gen_pool *pool,
				     unsigned long start_addr)
{
	struct hmm_devmem *devmem = data;
	unsigned long from = READ_ONCE(devmem->search_from), at;

	from = find_next_zero_bit(map, size, from);
	WRITE_ONCE(devmem->search_from, from);
	at = hmm_block_find(devmem, map, size, max(from, start), nr, 0);
	if (at >= size && start < from)
		at = hmm_block_find(devmem, map, size, start, nr, 0);
	return at;
}

/* The same for a huge page; the memory begins at a multiple of its size. */
static unsigned long hmm_devmem_find_huge(unsigned long *map, unsigned long size,
					  unsigned long start, unsigned int nr,
					  void *data, struct gen_pool *pool,
					  unsigned long start_addr)
{
	return hmm_block_find(data, map, size, start, nr, nr - 1);
}

/* Frames from @index on were freed. */
void hmm_devmem_search_from(struct hmm_devmem *devmem, unsigned long index)
{
	if (index < READ_ONCE(devmem->search_from))
		WRITE_ONCE(devmem->search_from, index);
}

int hmm_devmem_init_pool(struct hmm_devmem *devmem, phys_addr_t start, u64 size)
{
	u64 nr_longs = BITS_TO_LONGS(size >> PAGE_SHIFT);
	int nid = devmem->desc.nid;

	devmem->pool = gen_pool_create(PAGE_SHIFT, nid);
	devmem->resident = kvcalloc(nr_longs, sizeof(long), GFP_KERNEL);
	devmem->poisoned = kvcalloc(nr_longs, sizeof(long), GFP_KERNEL);
	if (!devmem->pool || !devmem->resident || !devmem->poisoned)
		return -ENOMEM;
	gen_pool_set_algo(devmem->pool, hmm_devmem_find, devmem);
	return gen_pool_add(devmem->pool, start, size, nid);
}

void hmm_devmem_destroy_pool(struct hmm_devmem *devmem)
{
	if (devmem->pool)
		gen_pool_destroy(devmem->pool);
	kvfree(devmem->resident);
	kvfree(devmem->poisoned);
}

/*
 * Pages of one folio begin to hold process memory.  Those of a huge one fill whole
 * words of the bitmap, in which others only clear bits, for poison.
 */
void hmm_devmem_set_resident(struct hmm_devmem *devmem, unsigned long index,
			     unsigned long nr)
{
	unsigned long end = index + nr;

	if (nr == 1)
		set_bit(index, devmem->resident);
	else
		bitmap_set(devmem->resident, index, nr);
	/* Pairs with the test_and_set_bit() in hmm_poison_mark(). */
	smp_mb();
	/* Poisoned since they were taken: there is nothing to bring back. */
	if (hmm_poison_any(devmem))
		for_each_set_bit_from(index, devmem->poisoned, end)
			clear_bit(index, devmem->resident);
}

/* They do not any more. */
void hmm_devmem_clear_resident(struct hmm_devmem *devmem, unsigned long index,
			       unsigned long nr)
{
	if (nr == 1)
		clear_bit(index, devmem->resident);
	else
		bitmap_clear(devmem->resident, index, nr);
}

/* Pages in use.  The counters are not read at one instant, therefore the limit. */
unsigned long hmm_devmem_nr_used(struct hmm_devmem *devmem)
{
	long out = hmm_block_nr_taken(devmem);

	return max(out - atomic_long_read(&devmem->nr_poisoned) +
		   atomic_long_read(&devmem->lost), 0);
}

unsigned long hmm_devmem_nr_free(struct hmm_devmem *devmem)
{
	return gen_pool_avail(devmem->pool) >> PAGE_SHIFT;
}
EXPORT_SYMBOL_IF_KUNIT(hmm_devmem_nr_free);

/* May the memory have folios of PMD order? */
bool hmm_devmem_huge_ok(const struct hmm_devmem *devmem)
{
#ifdef DEVICE_COHERENT_LARGE_FOLIOS
	return HMM_HUGE_DEVICE_FOLIOS;
#else
	return HMM_HUGE_DEVICE_FOLIOS &&
	       devmem->pgmap.type == MEMORY_DEVICE_PRIVATE;
#endif
}
EXPORT_SYMBOL_IF_KUNIT(hmm_devmem_huge_ok);

/* Take references for pages in use. */
static void hmm_devmem_count_used(struct hmm_devmem *devmem, unsigned int nr)
{
	long used = atomic_long_add_return(nr, &devmem->refs) - 1;
	long peak = atomic_long_read(&devmem->peak);

	while (used > peak &&
	       !atomic_long_try_cmpxchg(&devmem->peak, &peak, used))
		;
}

/* Charge a page and make it ready for use.  Returns as hmm_devmem_try_charge(). */
static int hmm_devmem_init_page(struct hmm_devmem *devmem, struct mm_struct *mm,
				struct page *page)
{
	struct dmem_cgroup_pool_state *pool;
	int err;

	err = hmm_devmem_try_charge(devmem, mm, 1, &pool);
	if (err)
		return err;
	hmm_life_check_free(devmem, page, 1);
	/*
	 * Whoever gets a reference finds the charge, see hmm_devmem_charged_to().
	 * The accessors are for private pages only.
	 */
	page->zone_device_data = pool;
	smp_wmb();	/* before the reference count */
	zone_device_page_init(page, &devmem->pgmap, 0);
	hmm_life_check_taken(devmem, page_folio(page));
	return 0;
}

/**
 * hmm_devmem_alloc_pages() - take page frames
 * @devmem: device memory
 * @mm: the process that they are for; NULL: the caller is charged
 * @nr: number of base pages wanted, at most HMM_PMD_PAGES
 * @pages: filled with order-0 pages, locked and with one reference each, charged to
 *	the cgroup of @mm; their content is undefined, so clear it or
 *	overwrite it before use
 * @err: out, why there are no more for this caller: -ENOSPC at the limit of its
 *	cgroup, -ENOMEM; otherwise 0
 *
 * Context: any sleeping context; between hmm_devmem_enter(@devmem,
 * HMM_DEVMEM_LIVE) and hmm_devmem_leave().
 * Return: number of pages taken, less than @nr if device memory runs out or @err.
 */
unsigned int hmm_devmem_alloc_pages(struct hmm_devmem *devmem,
				    struct mm_struct *mm, unsigned int nr,
				    struct page **pages, int *err)
{
	unsigned long base = PHYS_PFN(devmem->pgmap.range.start);
	unsigned int chunk = nr, done = 0, poisoned, i;

	*err = 0;
	/* Few large searches of the pool instead of one for each page. */
	while (done < nr && chunk && !*err) {
		unsigned long phys;

		chunk = min(chunk, nr - done);
		phys = gen_pool_alloc(devmem->pool, (size_t)chunk << PAGE_SHIFT);
		if (!phys) {
			chunk /= 2;
			continue;
		}

		poisoned = 0;
		for (i = 0; i < chunk; i++) {
			struct page *page = pfn_to_page(PHYS_PFN(phys) + i);

			if (hmm_poison_keep(devmem, page)) {
				poisoned++;
				continue;
			}
			*err = hmm_devmem_init_page(devmem, mm, page);
			if (*err)
				break;
			pages[done++] = page;
		}
		hmm_devmem_count_used(devmem, i - poisoned);
		if (i < chunk)
			hmm_poison_free(devmem, PHYS_PFN(phys) - base + i,
					chunk - i);
	}
	return done;
}
EXPORT_SYMBOL_IF_KUNIT(hmm_devmem_alloc_pages);

/* Give back pages that hmm_devmem_alloc_pages() took and nobody saw. */
void hmm_devmem_free_pages(struct page **pages, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		struct folio *folio = page_folio(pages[i]);

		hmm_life_check_taken(folio_to_devmem(folio), folio);
		unlock_page(pages[i]);
		put_page(pages[i]);
	}
}
EXPORT_SYMBOL_IF_KUNIT(hmm_devmem_free_pages);

/**
 * hmm_devmem_alloc_huge() - take a huge folio
 * @devmem: device memory, hmm_devmem_huge_ok()
 * @mm: as for hmm_devmem_alloc_pages()
 * @err: as for hmm_devmem_alloc_pages()
 *
 * Context: as for hmm_devmem_alloc_pages().
 * Return: a folio of PMD order, locked, with one reference, charged and of
 * undefined content, or NULL if no such piece is free or @err.
 */
struct folio *hmm_devmem_alloc_huge(struct hmm_devmem *devmem,
				    struct mm_struct *mm, int *err)
{
	struct hmm_devmem_charge *charge;
	unsigned long phys, index;
	struct folio *folio;

	*err = 0;
	phys = gen_pool_alloc_algo(devmem->pool, PMD_SIZE,
				   hmm_devmem_find_huge, devmem);
	if (!phys)
		return NULL;
	folio = pfn_folio(PHYS_PFN(phys));
	index = hmm_devmem_index(devmem, &folio->page);
	if (hmm_devmem_any_set(devmem->poisoned, index, HMM_PMD_PAGES)) {
		/* Just now, or it would not be in the pool. */
		hmm_poison_free(devmem, index, HMM_PMD_PAGES);
		return NULL;
	}

	charge = kmalloc_obj(*charge, GFP_KERNEL);
	*err = charge ? hmm_devmem_try_charge(devmem, mm, HMM_PMD_PAGES,
					      &charge->pool) : -ENOMEM;
	if (*err) {
		kfree(charge);
		hmm_poison_free(devmem, index, HMM_PMD_PAGES);
		return NULL;
	}
	atomic_set(&charge->pages, HMM_PMD_PAGES);
	charge->whole = true;

	hmm_life_check_free(devmem, &folio->page, HMM_PMD_PAGES);
	folio->page.zone_device_data =
		(void *)((unsigned long)charge | HMM_CHARGE_HUGE);
	smp_wmb();	/* as in hmm_devmem_init_page() */
	zone_device_folio_init(folio, &devmem->pgmap, HMM_PMD_ORDER);
	hmm_life_check_taken(devmem, folio);
	hmm_devmem_count_used(devmem, HMM_PMD_PAGES);
	atomic_long_add(HMM_PMD_PAGES, &devmem->huge);
	return folio;
}
EXPORT_SYMBOL_IF_KUNIT(hmm_devmem_alloc_huge);

/**
 * hmm_devmem_split() - split a huge folio of device memory
 * @page: of the folio; the caller holds the folio's lock and one reference, which
 *	are @page's afterwards
 *
 * Context: process context, may sleep.
 * Return: 0, or a negative errno if somebody else holds the folio.
 */
int hmm_devmem_split(struct page *page)
{
#ifdef SPLIT_HUGE_PAGE_EXPORTED
	int err = split_huge_page(page);
	struct folio *folio = page_folio(page);

	if (!err)
		hmm_life_check_resident(folio_to_devmem(folio), folio, 1);
	return err;
#else
	return -EOPNOTSUPP;
#endif
}

/* A tail that was split off is as its head; under locks, interrupts are off. */
void hmm_devmem_folio_split(struct folio *head, struct folio *tail)
{
	struct hmm_devmem *devmem = folio_to_devmem(head);
	struct hmm_devmem_charge *charge = hmm_devmem_charge(head);

	if (tail) {
		tail->pgmap = head->pgmap;
		tail->page.mapping = head->page.mapping;
		tail->page.zone_device_data = head->page.zone_device_data;
		hmm_life_check_split(devmem, tail);
	} else if (charge->whole) {
		charge->whole = false;
		atomic_long_sub(HMM_PMD_PAGES, &devmem->huge);
	}
}

/* Any context: the last put of a folio happens under page-table locks too. */
void hmm_devmem_folio_free(struct folio *folio)
{
	struct hmm_devmem *devmem = folio_to_devmem(folio);
	unsigned long index = hmm_devmem_index(devmem, &folio->page);
	unsigned long nr = folio_nr_pages(folio);

	hmm_life_check_last_put(devmem, folio);
	hmm_devmem_clear_resident(devmem, index, nr);
	hmm_devmem_uncharge(devmem, folio, nr);
	hmm_life_forget_charge(folio);
	hmm_poison_free(devmem, index, nr);
	hmm_devmem_put_pages(devmem, nr);
}
