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

#include "internal.h"

/* A search skips what is full in such steps. */
#define HMM_DEVMEM_CHUNK	SZ_1G

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

/* Charge the caller's cgroup.  0, -ENOSPC at the limit, or -ENOMEM. */
static int hmm_devmem_try_charge(struct hmm_devmem *devmem, unsigned long nr,
				 struct dmem_cgroup_pool_state **pool)
{
	int err = dmem_cgroup_try_charge(devmem->region, nr << PAGE_SHIFT, pool,
					 NULL);

	if (!err)
		return 0;
	return err == -EAGAIN ? -ENOSPC : -ENOMEM;
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

int hmm_devmem_init_pool(struct hmm_devmem *devmem, phys_addr_t start, u64 size)
{
	u64 offset, nr_longs = BITS_TO_LONGS(size >> PAGE_SHIFT);
	int nid = devmem->desc.nid;

	devmem->pool = gen_pool_create(PAGE_SHIFT, nid);
	devmem->resident = kvcalloc(nr_longs, sizeof(long), GFP_KERNEL);
	if (!devmem->pool || !devmem->resident)
		return -ENOMEM;
	for (offset = 0; offset < size; offset += HMM_DEVMEM_CHUNK)
		if (gen_pool_add(devmem->pool, start + offset,
				 min(size - offset, HMM_DEVMEM_CHUNK), nid))
			return -ENOMEM;
	return 0;
}

void hmm_devmem_destroy_pool(struct hmm_devmem *devmem)
{
	if (devmem->pool)
		gen_pool_destroy(devmem->pool);
	kvfree(devmem->resident);
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
static int hmm_devmem_init_page(struct hmm_devmem *devmem, struct page *page)
{
	struct dmem_cgroup_pool_state *pool;
	int err;

	err = hmm_devmem_try_charge(devmem, 1, &pool);
	if (err)
		return err;
	zone_device_page_init(page, &devmem->pgmap, 0);
	/* The accessors are for private pages only. */
	page->zone_device_data = pool;
	return 0;
}

/**
 * hmm_devmem_alloc_pages() - take page frames
 * @devmem: device memory
 * @nr: number of base pages wanted, at most HMM_PMD_PAGES
 * @pages: filled with order-0 pages, locked and with one reference each, charged to
 *	the cgroup of the caller; their content is undefined, so clear it or
 *	overwrite it before use
 * @err: out, why there are no more for this caller: -ENOSPC at the limit of its
 *	cgroup, -ENOMEM; otherwise 0
 *
 * Context: any sleeping context; between hmm_devmem_enter(@devmem,
 * HMM_DEVMEM_LIVE) and hmm_devmem_leave().
 * Return: number of pages taken, less than @nr if device memory runs out or @err.
 */
unsigned int hmm_devmem_alloc_pages(struct hmm_devmem *devmem, unsigned int nr,
				    struct page **pages, int *err)
{
	unsigned int chunk = nr, done = 0, i;

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

		for (i = 0; i < chunk; i++) {
			struct page *page = pfn_to_page(PHYS_PFN(phys) + i);

			*err = hmm_devmem_init_page(devmem, page);
			if (*err)
				break;
			pages[done++] = page;
		}
		hmm_devmem_count_used(devmem, i);
		if (i < chunk)
			gen_pool_free(devmem->pool, phys + PFN_PHYS(i),
				      (size_t)(chunk - i) << PAGE_SHIFT);
	}
	return done;
}
EXPORT_SYMBOL_IF_KUNIT(hmm_devmem_alloc_pages);

/* Give back pages that hmm_devmem_alloc_pages() took and nobody saw. */
void hmm_devmem_free_pages(struct page **pages, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		unlock_page(pages[i]);
		put_page(pages[i]);
	}
}
EXPORT_SYMBOL_IF_KUNIT(hmm_devmem_free_pages);

/**
 * hmm_devmem_alloc_huge() - take a huge folio
 * @devmem: device memory, hmm_devmem_huge_ok()
 * @err: as for hmm_devmem_alloc_pages()
 *
 * Context: as for hmm_devmem_alloc_pages().
 * Return: a folio of PMD order, locked, with one reference, charged and of
 * undefined content, or NULL if no such piece is free or @err.
 */
struct folio *hmm_devmem_alloc_huge(struct hmm_devmem *devmem, int *err)
{
	struct genpool_data_align data = { .align = PMD_SIZE };
	struct hmm_devmem_charge *charge;
	struct folio *folio;
	unsigned long phys;

	*err = 0;
	phys = gen_pool_alloc_algo(devmem->pool, PMD_SIZE,
				   gen_pool_first_fit_align, &data);
	if (!phys)
		return NULL;

	charge = kmalloc_obj(*charge, GFP_KERNEL);
	*err = charge ? hmm_devmem_try_charge(devmem, HMM_PMD_PAGES,
					      &charge->pool) : -ENOMEM;
	if (*err) {
		kfree(charge);
		gen_pool_free(devmem->pool, phys, PMD_SIZE);
		return NULL;
	}
	atomic_set(&charge->pages, HMM_PMD_PAGES);
	charge->whole = true;

	folio = pfn_folio(PHYS_PFN(phys));
	zone_device_folio_init(folio, &devmem->pgmap, HMM_PMD_ORDER);
	folio->page.zone_device_data =
		(void *)((unsigned long)charge | HMM_CHARGE_HUGE);
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
	return split_huge_page(page);
#else
	return -EOPNOTSUPP;
#endif
}

/* A tail that was split off is as its head; under locks, interrupts are off. */
void hmm_devmem_folio_split(struct folio *head, struct folio *tail)
{
	struct hmm_devmem *devmem = hmm_devmem_from_folio(head);
	struct hmm_devmem_charge *charge = hmm_devmem_charge(head);

	if (tail) {
		tail->pgmap = head->pgmap;
		tail->page.mapping = head->page.mapping;
		tail->page.zone_device_data = head->page.zone_device_data;
	} else if (charge->whole) {
		charge->whole = false;
		atomic_long_sub(HMM_PMD_PAGES, &devmem->huge);
	}
}

/* Any context: the last put of a folio happens under page-table locks too. */
void hmm_devmem_folio_free(struct folio *folio)
{
	struct hmm_devmem *devmem = hmm_devmem_from_folio(folio);
	unsigned long nr = folio_nr_pages(folio);

	hmm_devmem_clear_resident(devmem, hmm_devmem_index(devmem, &folio->page),
				  nr);
	hmm_devmem_uncharge(devmem, folio, nr);
	gen_pool_free(devmem->pool, PFN_PHYS(folio_pfn(folio)), nr << PAGE_SHIFT);
	hmm_devmem_put_pages(devmem, nr);
}
