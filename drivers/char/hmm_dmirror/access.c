// SPDX-License-Identifier: GPL-2.0
/*
 * Memory accesses of the engines of the HMM dummy device.
 *
 * An engine remembers translations in a TLB of its own, and uses them without a
 * look at the page table until they are flushed: a missing flush shows.  A flush
 * gives the address space a new generation, which makes all that was remembered
 * invalid, and is complete when each engine has ended the access that it was in.
 */
#include <linux/delay.h>
#include <linux/highmem.h>
#include <linux/iommu.h>

#include "hmm_dmirror.h"

static struct dmirror_ctx *dmirror_ctx_from_mirror(struct hmm_mirror *mirror)
{
	return container_of(mirror, struct dmirror_ctx, mirror);
}

u64 dmirror_tlb_new_generation(void)
{
	static atomic64_t generation;

	return atomic64_inc_return(&generation);
}

void dmirror_flush_start(struct hmm_mirror *mirror, unsigned long start,
			 unsigned long end)
{
	struct dmirror_ctx *ctx = dmirror_ctx_from_mirror(mirror);
	u32 delay_ms;

	if (dmirror_inject(ctx->dev, HMM_DMIRROR_INJECT_FLUSH_DELAY, &delay_ms))
		WRITE_ONCE(ctx->flushed, ktime_add_ms(ktime_get(), delay_ms));
	/* An engine that sees it sees what was zapped before. */
	smp_store_release(&ctx->tlb_generation, dmirror_tlb_new_generation());
}

void dmirror_flush_wait(struct hmm_mirror *mirror, bool nonblock)
{
	struct dmirror_ctx *ctx = dmirror_ctx_from_mirror(mirror);
	struct dmirror_device *dev = ctx->dev;
	unsigned int i;
	s64 delay_us;

	for (i = 0; i < dev->nr_engines; i++) {
		spin_lock(&dev->engines[i].lock);
		spin_unlock(&dev->engines[i].lock);
	}
	delay_us = ktime_us_delta(READ_ONCE(ctx->flushed), ktime_get());
	if (delay_us > 0 && !nonblock)
		fsleep(delay_us);
}

/* The entry for @addr, remembered or looked up; the engine is locked. */
static u64 dmirror_tlb_lookup(struct dmirror_engine *engine,
			      struct dmirror_ctx *ctx, u64 addr, u64 need)
{
	/* Pairs with dmirror_flush_start(). */
	u64 generation = smp_load_acquire(&ctx->tlb_generation);
	u64 page = addr >> PAGE_SHIFT;
	struct dmirror_tlb_entry *entry = &engine->tlb[page %
						       DMIRROR_TLB_ENTRIES];

	if (entry->generation != generation || entry->page != page ||
	    (entry->pte & need) != need) {
		entry->generation = generation;
		entry->page = page;
		entry->pte = dmirror_pgtable_walk(&ctx->pgtable, addr);
	}
	return entry->pte;
}

/* The page frame that a DMA address leads to, as the IOMMU sees it. */
static unsigned long dmirror_dma_pfn(struct dmirror_device *dev, u64 dma_addr)
{
	struct iommu_domain *domain = iommu_get_domain_for_dev(dev->dma_dev);
	phys_addr_t phys = dma_addr;

	if (domain)
		phys = iommu_iova_to_phys(domain, dma_addr);
	/* A device would be stopped by the IOMMU here. */
	WARN_ONCE(!phys, "%s: no translation of %#llx\n", dev->name, dma_addr);
	return PHYS_PFN(phys);
}

/**
 * dmirror_window_open() - translate an address for a device access
 * @run: the program
 * @addr: first byte
 * @length: bytes wanted, not 0
 * @access: 0, HMM_MIRROR_WRITE or HMM_MIRROR_EXCLUSIVE
 * @window: out, to be given to dmirror_window_close()
 *
 * The access ends at the end of the page, see &dmirror_window.length.
 *
 * Context: on success a spinning lock is held until dmirror_window_close():
 *	at most one at a time, and no more work than one page needs.
 * Return: where the byte is, or NULL if the page is not mapped for such an
 *	access; the run's fault record is filled in then.
 */
void *dmirror_window_open(struct dmirror_run *run, u64 addr, u64 length,
			  unsigned int access, struct dmirror_window *window)
{
	struct dmirror_engine *engine = run->engine;
	struct dmirror_ctx *ctx = run->ctx;
	struct dmirror_device *dev = ctx->dev;
	u64 pte, frame, need = DMIRROR_PTE_PRESENT;
	unsigned long pfn;
	void *page;

	if (access & HMM_MIRROR_WRITE)
		need |= DMIRROR_PTE_WRITE;
	if (access & HMM_MIRROR_EXCLUSIVE)
		need |= DMIRROR_PTE_WRITE | DMIRROR_PTE_EXCLUSIVE;

	spin_lock(&engine->lock);
	pte = dmirror_tlb_lookup(engine, ctx, addr, need);
	if ((pte & need) != need) {
		spin_unlock(&engine->lock);
		run->miss_addr = addr;
		run->miss_access = access;
		return NULL;
	}

	/* A read in between says nothing of the write that was missed. */
	if (run->stuck_page == addr >> PAGE_SHIFT && run->miss_access == access)
		run->stuck_page = U64_MAX;

	window->engine = engine;
	window->length = min_t(u64, length, PAGE_SIZE - offset_in_page(addr));
	frame = pte & PAGE_MASK;
	pfn = pte & DMIRROR_PTE_DMA ? dmirror_dma_pfn(dev, frame) :
				      PHYS_PFN(frame);
	if (pte & DMIRROR_PTE_PRIVATE) {
		window->mapping = NULL;
		page = dev->storage + hmm_devmem_offset(dev->devmem, pfn);
	} else {
		page = kmap_local_page(pfn_to_page(pfn));
		window->mapping = page;
	}
	return page + offset_in_page(addr);
}

void dmirror_window_close(struct dmirror_window *window)
{
	if (window->mapping)
		kunmap_local(window->mapping);
	spin_unlock(&window->engine->lock);
}
