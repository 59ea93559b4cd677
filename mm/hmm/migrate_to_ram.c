// SPDX-License-Identifier: GPL-2.0
/*
 * Migration from device memory to RAM: the steps that a range, an eviction and a CPU
 * fault share.
 */
#include <linux/gfp.h>
#include <linux/hugetlb.h>
#include <linux/memcontrol.h>
#include <linux/memremap.h>
#include <linux/mempolicy.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>

#include <trace/events/hmm.h>

#include "lifecycle.h"
#include "migrate.h"

/* So many base pages of RAM are allocated at a time, if the NUMA policy allows. */
#define HMM_RAM_PAGES	32

/**
 * struct hmm_ram - base pages of RAM, ahead of need
 * @local: no policy says from which node
 * @next: the first in @pages that is not used yet
 * @nr: number of @pages
 * @pages: destinations
 */
struct hmm_ram {
	bool local;
	unsigned int next;
	unsigned int nr;
	struct page *pages[HMM_RAM_PAGES];
};

/*
 * Has the core moved this page by itself, for a pin?  Then its charge has moved, too,
 * and mem_cgroup_migrate() would warn.  Without charges to move again does no harm.
 */
static bool hmm_migrate_src_uncharged(struct folio *src)
{
	return !mem_cgroup_disabled() && !folio_memcg_charged(src);
}

/*
 * May this device page, which the core has unmapped, be copied?  Not one that was
 * reserved only or was moved away just before it was locked, and not one that somebody
 * else holds: the core would refuse that one later, but only if it is held then, too,
 * and it may be written until it is let go.
 */
bool hmm_migrate_src_ok(struct folio *src, struct folio *fault_folio)
{
	struct hmm_devmem *devmem = folio_to_devmem(src);

	return devmem &&
	       test_bit(hmm_devmem_index(devmem, &src->page), devmem->resident) &&
	       !hmm_migrate_src_uncharged(src) &&
	       !hmm_poison_hits_in(devmem, &src->page, folio_nr_pages(src)) &&
	       folio_ref_count(src) == 1 + (src == fault_folio);
}

/* The neighbours of a page that a CPU waits for take what RAM is at hand. */
static gfp_t hmm_migrate_ram_gfp(bool neighbour)
{
	if (neighbour)
		return (GFP_HIGHUSER_MOVABLE & ~__GFP_DIRECT_RECLAIM) |
		       __GFP_NOMEMALLOC | __GFP_NOWARN;
	return GFP_HIGHUSER_MOVABLE | __GFP_RETRY_MAYFAIL | __GFP_NOWARN;
}

/* A destination for a huge device folio, by its VMA's NUMA policy, or NULL. */
static struct folio *hmm_migrate_get_huge(struct hmm_migration *m,
					  const struct migrate_vma *args)
{
	struct folio *dst = m->huge;

	m->huge = NULL;
	/* Eviction has no VMA, and takes care beforehand. */
	if (!dst && args)
		dst = vma_alloc_folio(HMM_GFP_HUGE, HMM_PMD_ORDER, args->vma,
				      args->start);
	return dst;
}

/* Is memory for all addresses taken from the node that is nearest to this CPU? */
static bool hmm_ram_is_local(const struct migrate_vma *args)
{
#ifdef CONFIG_NUMA
	return !current->mempolicy &&
	       (!args || (vma_is_anonymous(args->vma) && !args->vma->vm_policy));
#else
	return true;
#endif
}

/* The pages of @m from @i on that may need a destination, as far as it matters. */
static unsigned int hmm_ram_wanted(const struct hmm_migration *m, unsigned long i,
				   unsigned long npages)
{
	unsigned int nr = 0;

	for (; i < npages && nr < HMM_RAM_PAGES; i++)
		if (hmm_migration_huge(m) || m->src[i] & MIGRATE_PFN_MIGRATE)
			nr++;
	return nr;
}

/* A destination for base page @i of @m, or NULL. */
static struct folio *hmm_ram_get(struct hmm_ram *ram, gfp_t gfp,
				 const struct hmm_migration *m, unsigned long i,
				 unsigned long npages,
				 const struct migrate_vma *args)
{
	if (!ram->local)
		return args ? vma_alloc_folio(gfp, 0, args->vma,
					      args->start + (i << PAGE_SHIFT)) :
			      folio_alloc(gfp, 0);
	if (ram->next == ram->nr) {
		memset(ram->pages, 0, sizeof(ram->pages));
		ram->next = 0;
		/* A longterm pin may wait for the memory: no ZONE_MOVABLE then. */
		ram->nr = alloc_pages_bulk(current_gfp_context(gfp),
					   hmm_ram_wanted(m, i, npages),
					   ram->pages);
		if (!ram->nr)
			return NULL;
	}
	return page_folio(ram->pages[ram->next++]);
}

static void hmm_ram_put(struct hmm_ram *ram)
{
	while (ram->next < ram->nr)
		__free_page(ram->pages[ram->next++]);
}

/*
 * Choose destinations in RAM for the device pages of @m.  With @args they are
 * allocated for their address, by its VMA's NUMA policy.  Huge pages for huge ones;
 * small ones if there are none, but only for a VMA: the core splits the source then.
 * Return 0, or -ENOMEM if a page that was asked for did not get one.  In a CPU fault
 * none is: the page that it waits for has @m->ram.
 */
int hmm_migrate_choose_ram(struct hmm_migration *m, unsigned long npages,
			   const struct migrate_vma *args)
{
	struct folio *fault_folio = args && args->fault_page ?
				    page_folio(args->fault_page) : NULL;
	gfp_t gfp = hmm_migrate_ram_gfp(fault_folio);
	bool huge = hmm_migration_huge(m);
	struct hmm_ram ram = { .local = hmm_ram_is_local(args) };
	unsigned long i;
	int ret = 0;

	for (i = 0; i < npages; i++) {
		struct page *page = hmm_migration_src(m, i);
		struct folio *src, *dst;

		if (!page || !(m->src[huge ? 0 : i] & MIGRATE_PFN_MIGRATE))
			continue;
		src = page_folio(page);
		if (!hmm_migrate_src_ok(src, fault_folio))
			continue;
		hmm_life_check_source(folio_to_devmem(src), src,
				      1 + (src == fault_folio));
		if (huge && !i && !m->small) {
			dst = hmm_migrate_get_huge(m, args);
			if (dst) {
				folio_lock(dst);
				m->dst[0] = migrate_pfn(folio_pfn(dst)) |
					    MIGRATE_PFN_COMPOUND;
				break;
			}
			/* The core cannot split it while the fault holds it. */
			if (!args || fault_folio)
				break;
		}
		if (m->ram && src == fault_folio) {
			dst = m->ram;
			m->ram = NULL;
		} else {
			dst = hmm_ram_get(&ram, gfp, m, i, npages, args);
		}
		if (!dst) {
			if (fault_folio)
				continue;
			ret = -ENOMEM;
			break;
		}
		folio_lock(dst);
		m->dst[i] = migrate_pfn(folio_pfn(dst));
	}
	hmm_ram_put(&ram);
	return ret;
}

/*
 * Start to copy the next device pages that have a destination and lie in the same
 * devmem; &hmm_migration.nr_copies is 0 if there are none left.
 */
static void hmm_migrate_start_run(struct hmm_migration *m, unsigned long npages)
{
	struct hmm_devmem *devmem = NULL;

	m->nr_copies = 0;
	npages = hmm_migration_nr_dst(m, npages);
	for (m->first = m->next; m->next < npages; m->next++) {
		struct page *src = hmm_migration_src(m, m->next);
		struct hmm_devmem *owner;

		if (!m->dst[m->next])
			continue;
		owner = folio_to_devmem(page_folio(src));
		if (m->nr_copies && owner != devmem)
			break;
		devmem = owner;
		m->copies[m->nr_copies++] = (struct hmm_devmem_copy){
			.dst = migrate_pfn_to_page(m->dst[m->next]),
			.src = src,
			.order = m->dst[m->next] & MIGRATE_PFN_COMPOUND ?
				 HMM_PMD_ORDER : 0 };
	}
	m->devmem = NULL;
	if (!m->nr_copies)
		return;

	m->copy_err = -EIO;
	if (!hmm_devmem_enter(devmem, HMM_DEVMEM_DRAINING, &m->idx))
		return;
	m->devmem = devmem;
	hmm_batch_init(&m->copy, DMA_FROM_DEVICE, m->copies, m->nr_copies);
	m->copy_err = hmm_batch_copy(devmem, &m->copy);
	m->async = hmm_batch_runs(&m->copy, m->copy_err);
}

/* Wait for what was started; drop its destinations if it failed. */
static int hmm_migrate_wait_run(struct hmm_migration *m)
{
	struct hmm_devmem *devmem = m->devmem;
	unsigned long nr = 0;
	int err = m->copy_err;

	if (devmem)
		err = hmm_batch_wait(devmem, &m->copy, err, m->last_done_ns);
	if (err)
		nr = hmm_migrate_drop_failed(m, m->first, m->next, err);
	if (devmem) {
		if (err == -EIO)
			atomic64_add(nr, &devmem->failed);
		hmm_migrate_trace_copy(m, devmem, m->first, m->next,
				       hmm_migration_nr_jobs(m) - nr, nr,
				       m->copy.started_ns);
		hmm_devmem_leave(devmem, m->idx);
		m->devmem = NULL;
	}
	return err;
}

/*
 * Start to copy device pages to their destinations in RAM, the pages of each devmem
 * as one job.  hmm_migrate_wait_ram() comes next.
 */
void hmm_migrate_start_ram(struct hmm_migration *m, unsigned long npages)
{
	m->next = 0;
	hmm_migrate_start_run(m, npages);
}

/* Wait for all copies.  Drops the destinations that failed. */
int hmm_migrate_wait_ram(struct hmm_migration *m, unsigned long npages)
{
	int err, ret = 0;

	while (m->nr_copies) {
		err = hmm_migrate_wait_run(m);
		if (err && ret != -EIO)
			ret = err;
		hmm_migrate_start_run(m, npages);
	}
	return ret;
}

int hmm_migrate_fill_ram(struct hmm_migration *m, unsigned long npages)
{
	hmm_migrate_start_ram(m, npages);
	return hmm_migrate_wait_ram(m, npages);
}

/*
 * Wait for the copies of a step of a range.  A huge page that the device has no memory
 * to copy as one is tried again in small pages.
 */
static int hmm_migrate_wait_step(struct hmm_migration *m, unsigned long npages)
{
	bool huge = m->dst[0] & MIGRATE_PFN_COMPOUND;
	int err, ret = hmm_migrate_wait_ram(m, npages);

	if (!huge || ret != -ENOMEM)
		return ret;
	m->step.no_room -= HMM_PMD_PAGES;
	m->small = true;
	err = hmm_migrate_choose_ram(m, npages, &m->args);
	hmm_migrate_count_ram(m, err);
	ret = hmm_migrate_fill_ram(m, npages);
	return ret ? ret : err;
}

/* Book what left device memory, for the caller and for each devmem. */
unsigned long hmm_migrate_book_ram(struct hmm_migration *m,
				   unsigned long npages)
{
	unsigned long i, moved = 0;

	npages = hmm_migration_nr_dst(m, npages);
	for (i = 0; i < npages; i++) {
		struct page *src = migrate_pfn_to_page(m->src[i]);
		unsigned long nr = hmm_migration_committed(m, i);
		struct hmm_devmem *devmem;

		if (!src || !nr)
			continue;
		devmem = folio_to_devmem(page_folio(src));
		hmm_life_check_source(devmem, page_folio(src), 1);
		hmm_devmem_clear_resident(devmem, hmm_devmem_index(devmem, src),
					  nr);
		atomic64_add(nr, &devmem->migrated_out);
		moved += nr;
	}
	return moved;
}

/*
 * As hmm_migrate_begin_to_device(), from device memory with the owner that
 * &hmm_migration.args names.  Returns 0 or -ENOMEM; hmm_migrate_end_to_ram() comes
 * next.
 */
int hmm_migrate_begin_to_ram(struct hmm_migration *m)
{
	struct migrate_vma *args = &m->args;
	int ret;

	m->nr = (args->end - args->start) >> PAGE_SHIFT;
	args->flags = MIGRATE_VMA_SELECT_DEVICE_PRIVATE |
		      MIGRATE_VMA_SELECT_DEVICE_COHERENT;
	if (HMM_HUGE_DEVICE_FOLIOS)
		args->flags |= MIGRATE_VMA_SELECT_COMPOUND;
	m->collected = !hmm_migrate_collect(m, args, NULL);
	if (!m->collected) {
		m->step.unsupported = m->nr;
		return 0;
	}

	ret = hmm_migrate_choose_ram(m, args->npages, args);
	hmm_migrate_count_ram(m, ret);
	hmm_migrate_start_ram(m, args->npages);
	return ret;
}

/* Wait for the devices and commit what they have copied. */
int hmm_migrate_end_to_ram(struct hmm_migration *m,
			   struct hmm_migrate_result *result)
{
	unsigned long npages = m->args.npages;
	int ret = 0;
	u64 began;

	if (m->collected) {
		ret = hmm_migrate_wait_step(m, npages);
		began = hmm_trace_begin(hmm_migrate_commit);
		migrate_vma_pages(&m->args);
		m->step.moved = hmm_migrate_book_ram(m, npages);
		migrate_vma_finalize(&m->args);
		hmm_migrate_trace_commit(m, NULL, npages, m->step.moved, began);
	}
	hmm_migrate_account(result, &m->step, m->nr);
	return ret;
}
