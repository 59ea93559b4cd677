// SPDX-License-Identifier: GPL-2.0
/*
 * CPU faults on private device memory: the page comes back to RAM, and with it as many
 * of its neighbours as the CPU seems to want.
 */
#include <linux/memremap.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include <trace/events/hmm.h>

#include "lifecycle.h"
#include "migrate.h"

/* Working memory for @nr pages that come back: nothing is cleared or reserved. */
static struct hmm_migration *hmm_fault_alloc(unsigned long nr, gfp_t gfp)
{
	void *memory = kmalloc(hmm_migration_size(nr), gfp);

	return memory ? hmm_migration_init(memory, nr) : NULL;
}

/*
 * Bring [start, end) around the faulting page back to RAM; with @m->huge all of a
 * huge folio.  Returns 0, -EIO if the faulting page could not be copied, or -EAGAIN if
 * the driver had no memory to do it.
 */
static int hmm_fault_step(struct hmm_migration *m, struct vm_fault *vmf,
			  unsigned long start, unsigned long end)
{
	unsigned long i = (vmf->address - start) >> PAGE_SHIFT;
	struct migrate_vma args = {
		.vma = vmf->vma,
		.start = start,
		.end = end,
		.pgmap_owner = page_pgmap(vmf->page)->owner,
		.flags = MIGRATE_VMA_SELECT_DEVICE_PRIVATE,
		.fault_page = vmf->page,
	};
	const struct hmm_devmem *devmem =
		folio_to_devmem(page_folio(vmf->page));
	unsigned long moved;
	int err, ret = 0;
	bool copied;
	u64 began;

	m->cause = HMM_MIGRATE_CPU_FAULT;
	if (m->huge)
		args.flags |= MIGRATE_VMA_SELECT_COMPOUND;
	if (hmm_migrate_collect(m, &args, devmem))
		return -EIO;
	if (hmm_migration_huge(m))
		i = 0;

	hmm_migrate_choose_ram(m, args.npages, &args);
	/* Not copied: the page is gone or held for a moment; fault again. */
	copied = i < args.npages && m->dst[i];
	err = hmm_migrate_fill_ram(m, args.npages);
	if (copied && !m->dst[i])
		ret = err == -ENOMEM ? -EAGAIN : -EIO;

	began = hmm_trace_begin(hmm_migrate_commit);
	migrate_vma_pages(&args);
	moved = hmm_migrate_book_ram(m, args.npages);
	migrate_vma_finalize(&args);
	hmm_migrate_trace_commit(m, NULL, args.npages, moved, began);
	return ret;
}

/*
 * Neighbours are left out if there is no memory for the work.  Returns as
 * hmm_fault_step(), or -ENOMEM if there is no RAM for the page.
 */
static int hmm_fault_range(struct vm_fault *vmf, unsigned long start,
			   unsigned long end)
{
	unsigned long addr = vmf->address & PAGE_MASK;
	struct hmm_migration *m = NULL;
	int ret = -ENOMEM;

	if (end - start > PAGE_SIZE)
		m = hmm_fault_alloc((end - start) >> PAGE_SHIFT,
				    GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN);
	if (!m) {
		start = addr;
		end = addr + PAGE_SIZE;
		m = hmm_fault_alloc(1, GFP_KERNEL);
		if (!m)
			return ret;
	}
	/* What may take long is had before others wait for the neighbours. */
	m->ram = vma_alloc_folio(GFP_HIGHUSER_MOVABLE, 0, vmf->vma, addr);
	if (m->ram)
		ret = hmm_fault_step(m, vmf, start, end);
	hmm_migration_free(m);
	return ret;
}

/*
 * A huge folio comes back as one.  If there is no huge page for it or it cannot be
 * copied as one it is split; the CPU faults again, on what it needs of it.
 */
static void hmm_fault_huge(struct vm_fault *vmf)
{
	unsigned long start = vmf->address & PMD_MASK;
	struct hmm_migration *m;
	bool split = true;

	m = hmm_fault_alloc(HMM_PMD_PAGES,
			    GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN);
	/* What is poisoned cannot be copied. */
	if (m && !hmm_poison_hits(folio_pfn(page_folio(vmf->page)),
				  HMM_PMD_PAGES))
		m->huge = vma_alloc_folio(HMM_GFP_HUGE, HMM_PMD_ORDER,
					  vmf->vma, start);
	if (m && m->huge)
		split = hmm_fault_step(m, vmf, start, start + PMD_SIZE);
	if (split && folio_test_large(page_folio(vmf->page)))
		hmm_devmem_split(vmf->page);
	if (m)
		hmm_migration_free(m);
}

/* Can a signal or the end of the process no longer wait for this fault? */
static bool hmm_fault_is_over(void)
{
	return fatal_signal_pending(current) || (current->flags & PF_EXITING);
}

/*
 * What the fault becomes.  A driver that has no memory for a single page will have
 * some: a CPU access of the kernel would fail for VM_FAULT_OOM, so fault again, but
 * not at once.  khugepaged, and a GUP that must not wait, rather go on without.
 */
static vm_fault_t hmm_fault_result(const struct vm_fault *vmf, int err)
{
	const unsigned int waits = FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_KILLABLE;

	switch (err) {
	case 0:
		return 0;
	case -EAGAIN:
		if ((vmf->flags & waits) == FAULT_FLAG_ALLOW_RETRY)
			return VM_FAULT_OOM;
		if (!hmm_fault_is_over())
			schedule_timeout_killable(1);
		return hmm_fault_is_over() ? VM_FAULT_SIGBUS : 0;
	case -ENOMEM:
		return VM_FAULT_OOM;
	default:
		return VM_FAULT_SIGBUS;
	}
}

static vm_fault_t hmm_fault_serve(struct vm_fault *vmf)
{
	struct folio *folio = page_folio(vmf->page);
	struct hmm_devmem *devmem = folio_to_devmem(folio);
	/* do_huge_pmd_device_private() has no PTE. */
	bool huge = folio_test_large(folio) && !vmf->pte;
	unsigned long addr = vmf->address & PAGE_MASK;
	unsigned long start, end;
	int err;

	hmm_life_check_resident(devmem, folio, 1);
	atomic64_inc(&devmem->cpu_faults);
	if (!folio_test_large(folio) && hmm_poison_hits(folio_pfn(folio), 1))
		return VM_FAULT_HWPOISON;

	hmm_history_cpu_fault(devmem, vmf->vma, addr, huge, &start, &end);
	if (huge) {
		hmm_fault_huge(vmf);
		return 0;
	}
	/* The lock stays with the page.  Who holds it lets go: again. */
	if (folio_test_large(folio) && hmm_devmem_split(vmf->page))
		return 0;

	err = hmm_fault_range(vmf, start, end);
	/* A neighbour may be the one that cannot be copied, or one too many. */
	if (err == -EIO || err == -EAGAIN)
		err = hmm_fault_range(vmf, addr, addr + PAGE_SIZE);
	return hmm_fault_result(vmf, err);
}

/*
 * A CPU access to a private page, in whatever process maps it: the page says
 * which devmem it is in, the fault says which VMA.  The core holds the lock of the
 * page's folio and a reference to it.
 */
vm_fault_t hmm_migrate_cpu_fault(struct vm_fault *vmf)
{
	u64 began = hmm_trace_begin(hmm_cpu_fault);
	/* The memory may be gone with its last page. */
	int id = folio_to_devmem(page_folio(vmf->page))->id;
	vm_fault_t ret = hmm_fault_serve(vmf);

	trace_hmm_cpu_fault(id, vmf->address, (__force unsigned int)ret, began);
	return ret;
}
