// SPDX-License-Identifier: GPL-2.0
/*
 * What a migration of a range leaves where it is, and why; and what is swapped
 * out, which is brought in first.
 *
 * migrate_vma_setup() does not say why it has not collected a page.  The page
 * table does.  It is read as perf_get_page_size() reads it, without a lock and
 * with interrupts off, so that no page table is freed meanwhile, and only for
 * pages that were left.  What changes at that moment is counted as what it was or
 * as what it has become.
 */
#include <linux/leafops.h>
#include <linux/memremap.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/pgtable.h>
#include <linux/sched/signal.h>

#include "migrate.h"

/* Pages of which it is known what became of them. */
static unsigned long hmm_migrate_known(const struct hmm_migrate_result *result)
{
	return result->moved + result->filled + result->already +
	       result->elsewhere + result->absent + result->unsupported +
	       result->merged + result->busy + result->no_room + result->failed;
}

/*
 * Add up a step of @nr pages.  What had a destination and was refused by the core
 * after the copy is counted nowhere yet: somebody held it.
 */
void hmm_migrate_account(struct hmm_migrate_result *result,
			 struct hmm_migrate_result *step, unsigned long nr)
{
	step->busy += nr - hmm_migrate_known(step);
	result->moved += step->moved;
	result->filled += step->filled;
	result->already += step->already;
	result->elsewhere += step->elsewhere;
	result->absent += step->absent;
	result->unsupported += step->unsupported;
	result->merged += step->merged;
	result->busy += step->busy;
	result->no_room += step->no_room;
	result->failed += step->failed;
}

/* The walk of @nr pages is over. */
void hmm_migrate_account_rest(struct hmm_migrate_result *result,
			      unsigned long nr)
{
	result->untried = nr - hmm_migrate_known(result);
	result->left = nr - result->moved - result->filled;
}

/*
 * What the page table has at @addr: true and @pfn if a page is mapped there,
 * otherwise @entry, which may be none.  @nr: it is the same for so many pages.  With
 * interrupts off.
 */
static bool hmm_migrate_look_up(struct mm_struct *mm, unsigned long addr,
				unsigned long *pfn, softleaf_t *entry,
				unsigned long *nr)
{
	pgd_t *pgdp, pgd;
	p4d_t *p4dp, p4d;
	pud_t *pudp, pud;
	pmd_t *pmdp, pmd;
	pte_t pte;

	*entry = softleaf_mk_none();
	*nr = HMM_PMD_PAGES - ((addr & ~PMD_MASK) >> PAGE_SHIFT);
	pgdp = pgd_offset(mm, addr);
	pgd = pgdp_get(pgdp);
	if (!pgd_present(pgd))
		return false;
	p4dp = p4d_offset_lockless(pgdp, pgd, addr);
	p4d = p4dp_get(p4dp);
	if (!p4d_present(p4d))
		return false;
	pudp = pud_offset_lockless(p4dp, p4d, addr);
	pud = pudp_get(pudp);
	/* Only hugetlbfs and DAX have leaves here, and they do not migrate. */
	if (!pud_present(pud) || pud_leaf(pud))
		return false;
	pmdp = pmd_offset_lockless(pudp, pud, addr);
	pmd = pmdp_get_lockless(pmdp);
	if (!pmd_present(pmd)) {
		*entry = softleaf_from_pmd(pmd);
		return false;
	}
	if (pmd_leaf(pmd)) {
		*pfn = pmd_pfn(pmd) + ((addr & ~PMD_MASK) >> PAGE_SHIFT);
		return true;
	}
	*nr = 1;
	pte = ptep_get_lockless(pte_offset_kernel(&pmd, addr));
	if (!pte_present(pte)) {
		*entry = softleaf_from_pte(pte);
		return false;
	}
	*pfn = pte_pfn(pte);
	return true;
}

/**
 * struct hmm_left - what pages of a step were left
 * @m: the step
 * @vma: where
 * @devmem: destination; NULL: RAM
 * @from: the source, if both are device memory
 * @owner: of the device memory that pages come to RAM from
 * @step: where they are counted
 */
struct hmm_left {
	const struct hmm_migration *m;
	struct vm_area_struct *vma;
	struct hmm_devmem *devmem;
	struct hmm_devmem *from;
	void *owner;
	struct hmm_migrate_result *step;
};

/* The counter for a page that is mapped. */
static unsigned long *hmm_left_page(const struct hmm_left *left,
				    struct page *page)
{
	struct hmm_migrate_result *step = left->step;

	if (is_zone_device_page(page)) {
		struct dev_pagemap *pgmap = page_pgmap(page);

		if (left->devmem && pgmap == &left->devmem->pgmap)
			return &step->already;
		if (left->from && pgmap == &left->from->pgmap)
			return &step->busy;
		return !left->devmem && pgmap->owner == left->owner ?
		       &step->busy : &step->elsewhere;
	}
	if (!PageAnon(page) && !vma_is_anonymous(left->vma))
		return &step->unsupported;
	if (!left->devmem)
		return &step->already;
	if (left->from)
		return &step->elsewhere;
	return folio_test_ksm(page_folio(page)) ? &step->merged : &step->busy;
}

/* The counter for what is there instead. */
static unsigned long *hmm_left_entry(const struct hmm_left *left,
				     softleaf_t entry)
{
	struct hmm_migrate_result *step = left->step;

	/* The step itself may have unmapped a page that KSM mapped several times. */
	if (softleaf_is_device_private(entry) || softleaf_is_migration(entry))
		return hmm_left_page(left,
				     pfn_to_page(softleaf_to_pfn(entry)));
	if (softleaf_is_none(entry))
		return vma_is_anonymous(left->vma) ? &step->absent :
						     &step->unsupported;
	/* Guard pages, and what was lost to memory errors. */
	if (softleaf_is_marker(entry) || softleaf_is_hwpoison(entry))
		return &step->absent;
	if (softleaf_is_swap(entry) && (!left->devmem || left->from))
		return &step->absent;
	/* On its way to swap, or a device has it for itself. */
	return &step->busy;
}

/*
 * Count page @i of a step up to @end, which was not collected, and those after it of
 * which the same can be said.  Returns how many.
 */
static unsigned long hmm_left_count(const struct hmm_left *left,
				    const struct migrate_vma *args,
				    unsigned long i, unsigned long end)
{
	unsigned long flags, pfn, same, nr = 1, *counter;
	softleaf_t entry;

	local_irq_save(flags);
	if (hmm_migrate_look_up(left->vma->vm_mm,
				args->start + (i << PAGE_SHIFT), &pfn, &entry,
				&same))
		counter = hmm_left_page(left, pfn_to_page(pfn));
	else
		counter = hmm_left_entry(left, entry);
	local_irq_restore(flags);

	while (nr < same && i + nr < end && !left->m->dst[i + nr] &&
	       !hmm_migration_src(left->m, i + nr))
		nr++;
	*counter += nr;
	return nr;
}

/*
 * Count those of the first @nr pages of a step to @devmem that got no destination;
 * not for want of room, such pages are not among them.
 */
void hmm_migrate_count_device(struct hmm_devmem *devmem, struct hmm_migration *m,
			      unsigned long nr)
{
	const struct migrate_vma *args = &m->args;
	const struct hmm_left left = {
		.m = m,
		.vma = args->vma,
		.devmem = devmem,
		.from = m->between ? m->between->from : NULL,
		.step = &m->step,
	};
	unsigned long i, n;

	nr = min(nr, args->npages);
	if (hmm_migration_nr_jobs(m) == nr)
		return;
	for (i = 0; i < nr; i += n) {
		struct page *src = hmm_migration_src(m, i);

		n = 1;
		/* What was collected is behind a migration entry. */
		if (m->dst[i])
			n = hmm_migration_dst_pages(m, i);
		else if (!src)
			n = hmm_left_count(&left, args, i, nr);
		else if (left.from && hmm_poison_hits(page_to_pfn(src), 1))
			m->step.failed++;
		else
			++*hmm_left_page(&left, src);
	}
}

/* The same for a step to RAM; @no_ram: there was none after the last destination. */
void hmm_migrate_count_ram(struct hmm_migration *m, bool no_ram)
{
	const struct migrate_vma *args = &m->args;
	struct hmm_migrate_result *step = &m->step;
	const struct hmm_left left = {
		.m = m,
		.vma = args->vma,
		.owner = args->pgmap_owner,
		.step = step,
	};
	unsigned long i, n, last = 0;

	for (i = 0; i < args->npages; i++)
		if (m->dst[i])
			last = i;
	for (i = 0; i < args->npages; i += n) {
		struct page *src = hmm_migration_src(m, i);

		n = 1;
		if (m->dst[i])
			n = hmm_migration_dst_pages(m, i);
		else if (!src)
			n = hmm_left_count(&left, args, i, args->npages);
		else if (hmm_poison_hits(page_to_pfn(src), 1))
			step->failed++;
		else if (no_ram && (i > last || !m->dst[last]))
			step->no_room++;
		else
			step->busy++;
	}
}

/* @nr base pages lost their destination for @err. */
void hmm_migrate_count_failed(struct hmm_migration *m, unsigned long nr, int err)
{
	if (err == -ENOMEM)
		m->step.no_room += nr;
	else
		m->step.failed += nr;
}

/*
 * Bring in what is swapped out of a step, as the process would by touching it: the
 * core leaves it otherwise.  Each page may have to be read: if somebody waits for
 * mmap_lock meanwhile the step ends there.  @alone: no other step, with its folio locks,
 * is under way.  Returns 0, -EBUSY if that has to end first, -ENOMEM or -EINTR.
 */
int hmm_migrate_swap_in(struct migrate_vma *args, bool alone)
{
	unsigned long addr, flags, pfn, nr;
	softleaf_t entry;
	bool swapped;

	for (addr = args->start; addr < args->end; addr += nr << PAGE_SHIFT) {
		local_irq_save(flags);
		swapped = !hmm_migrate_look_up(args->vma->vm_mm, addr, &pfn,
					       &entry, &nr) &&
			  softleaf_is_swap(entry);
		local_irq_restore(flags);
		if (!swapped)
			continue;
		if (!alone)
			return -EBUSY;
		if (fatal_signal_pending(current))
			return -EINTR;
		if (handle_mm_fault(args->vma, addr, FAULT_FLAG_REMOTE, NULL) &
		    VM_FAULT_OOM)
			return -ENOMEM;
		if (mmap_lock_is_contended(args->vma->vm_mm))
			args->end = addr + PAGE_SIZE;
		cond_resched();
	}
	return 0;
}
