// SPDX-License-Identifier: GPL-2.0
/*
 * From what the CPU page table says to device entries: rights, sizes, and the
 * dirty state of what the device may write.
 */
#include <linux/memremap.h>
#include <linux/pagemap.h>
#include <linux/swap.h>
#include <kunit/visibility.h>
#include <trace/events/hmm.h>

#include "mirror.h"

/* Entries on their way to the driver, which cover @pages base pages. */
struct hmm_mirror_batch {
	struct hmm_mirror_piece *piece;
	unsigned int nr;
	unsigned int pages;
	struct hmm_mirror_entry entries[HMM_MIRROR_ENTRIES];
};

/*
 * May the device write before it asks?  It makes the page dirty: not a clean page
 * of a file or of swap, nor one that was given up with MADV_FREE.
 */
static bool hmm_mirror_write_in_advance(struct folio *folio)
{
	return folio_test_anon(folio) && folio_test_swapbacked(folio) &&
	       !folio_test_swapcache(folio);
}

/* Memory of devices: of which kind, and is it the mirror's own? */
static int hmm_mirror_describe_device(const struct hmm_mirror *mirror,
				      struct folio *folio, unsigned int *flags)
{
	if (folio_is_device_private(folio))
		*flags |= HMM_MIRROR_PRIVATE;
	if (mirror->desc.owner && folio->pgmap->owner == mirror->desc.owner)
		*flags &= ~HMM_MIRROR_DMA;
	/* Peer-to-peer memory has DMA addresses of another kind. */
	else if ((*flags & HMM_MIRROR_DMA) &&
		 folio->pgmap->type == MEMORY_DEVICE_PCI_P2PDMA)
		return -EOPNOTSUPP;
	return 0;
}

/*
 * Kind and rights of an entry for a valid page; @wanted: the device writes to it
 * now.  Returns 0, or the errno of a fault on it.
 *
 * From now on the device may write.  Whoever cleans the page later invalidates the
 * range first, so this is the time to say that it is dirty; the CPU page table may
 * say clean.
 */
static inline int hmm_mirror_describe(const struct hmm_mirror *mirror,
				      struct folio *folio,
				      unsigned long hmm_pfn, bool wanted,
				      unsigned int *flags)
{
	int err;

	*flags = mirror->desc.dma_dev ? HMM_MIRROR_DMA : 0;
	if (unlikely(folio_is_zone_device(folio))) {
		if (hmm_poison_hits(hmm_pfn & ~HMM_PFN_FLAGS, 1))
			return -EFAULT;
		err = hmm_mirror_describe_device(mirror, folio, flags);
		if (err)
			return err;
	}
	/* Some kernels' walk does not mind. */
	if (!folio_test_anon(folio) && hmm_mirror_secret(folio->mapping))
		return -EFAULT;

	if (!(hmm_pfn & HMM_PFN_WRITE))
		return 0;
	if (!folio_test_dirty(folio)) {
		if (!wanted && !hmm_mirror_write_in_advance(folio))
			return 0;
		folio_mark_dirty(folio);
	}
	*flags |= HMM_MIRROR_WRITE;
	return 0;
}

/* The device uses the page: keep it from memory reclaim as a CPU would. */
static void hmm_mirror_mark_accessed(struct folio *folio)
{
	/* Once is enough: what reclaim finds referenced twice it activates itself. */
	if (!folio_test_referenced(folio) && !folio_is_zone_device(folio) &&
	    !is_zero_folio(folio))
		folio_mark_accessed(folio);
}

/* Hand entries, which cover @pages base pages, to the driver. */
static inline int hmm_mirror_map_entries(struct hmm_mirror_piece *piece,
					 struct hmm_mirror_entry *entries,
					 unsigned int nr, unsigned int pages)
{
	struct hmm_mirror *mirror = piece->mirror;
	int err;

	if (piece->dma) {
		err = hmm_mirror_dma_link(piece, entries, nr);
		if (err)
			return err;
	}
	atomic64_add(pages, &mirror->mapped_pages);
	atomic64_add(nr, &mirror->mapped_entries);
	trace_hmm_mirror_map(mirror->id, entries[0].addr, nr, pages);
	return mirror->desc.ops->map(mirror, entries, nr);
}

static int hmm_mirror_flush_entries(struct hmm_mirror_batch *batch)
{
	unsigned int nr = batch->nr, pages = batch->pages;

	if (!nr)
		return 0;
	batch->nr = 0;
	batch->pages = 0;
	return hmm_mirror_map_entries(batch->piece, batch->entries, nr, pages);
}

static int hmm_mirror_add_entry(struct hmm_mirror_batch *batch,
				unsigned long addr, unsigned long pfn,
				unsigned int order, unsigned int flags)
{
	batch->entries[batch->nr++] = (struct hmm_mirror_entry){
		.addr = addr,
		.pfn = pfn,
		.order = order,
		.flags = flags,
	};
	batch->pages += 1U << order;
	if (batch->nr < HMM_MIRROR_ENTRIES)
		return 0;
	return hmm_mirror_flush_entries(batch);
}

/**
 * hmm_mirror_entry_order() - how large an entry may be
 * @mirror: its device page sizes count
 * @addr: virtual address
 * @pfn: page frame number
 * @nr: base pages that may be covered, at least 1
 *
 * Return: the largest order that the device knows, that address and frame are
 * aligned to and that does not exceed @nr pages.
 */
unsigned int hmm_mirror_entry_order(const struct hmm_mirror *mirror,
				    unsigned long addr, unsigned long pfn,
				    unsigned long nr)
{
	unsigned long sizes = mirror->desc.page_sizes;
	unsigned long align = addr | (pfn << PAGE_SHIFT);

	sizes &= GENMASK(__fls(nr << PAGE_SHIFT), PAGE_SHIFT);
	if (align)
		sizes &= GENMASK(__ffs(align), 0);
	return __fls(sizes) - PAGE_SHIFT;
}
EXPORT_SYMBOL_IF_KUNIT(hmm_mirror_entry_order);

/* Not clipped to the mirror. */
static bool hmm_mirror_piece_whole(const struct hmm_mirror_piece *piece)
{
	return piece_end(piece) - piece_start(piece) == PMD_SIZE;
}

/**
 * hmm_mirror_wider_order() - would a wider walk give a larger entry?
 * @piece: where the folio is mapped
 * @bytes: how much was walked
 * @folio: a folio that the walk found
 *
 * Context: update lock held, the walk valid: the folio cannot change.
 * Return: the order of the largest device page that the folio might fill, if
 * that is more than @bytes, or 0.
 */
unsigned int hmm_mirror_wider_order(const struct hmm_mirror_piece *piece,
				    unsigned long bytes,
				    const struct folio *folio)
{
	unsigned long sizes = piece->mirror->desc.page_sizes &
			      ~(bytes | (bytes - 1));

	if (!hmm_mirror_piece_whole(piece))
		sizes &= ~PMD_SIZE;
	sizes &= GENMASK(PAGE_SHIFT + folio_order(folio), 0);
	return sizes ? __fls(sizes) - PAGE_SHIFT : 0;
}
EXPORT_SYMBOL_IF_KUNIT(hmm_mirror_wider_order);

/* Cut a run of contiguous frames with the same rights into device entries. */
static int hmm_mirror_map_run(struct hmm_mirror_batch *batch,
			      unsigned long addr, unsigned long pfn,
			      unsigned long nr, unsigned int flags)
{
	while (nr) {
		unsigned int order = 0;
		int err;

		if (nr > 1)
			order = hmm_mirror_entry_order(batch->piece->mirror,
						       addr, pfn, nr);

		err = hmm_mirror_add_entry(batch, addr, pfn, order, flags);
		if (err)
			return err;
		addr += PAGE_SIZE << order;
		pfn += 1UL << order;
		nr -= 1UL << order;
	}
	return 0;
}

/* Map the valid pages among [start, end) of the window. */
static noinline_for_stack int
hmm_mirror_map_pages(struct hmm_mirror_piece *piece,
		     const struct hmm_mirror_window *window,
		     unsigned long start, unsigned long end)
{
	const unsigned long *pfns = window->pfns +
				    ((start - window->start) >> PAGE_SHIFT);
	const struct hmm_mirror *mirror = piece->mirror;
	struct hmm_mirror_batch batch __uninitialized;
	unsigned long run = 0, run_pfn = 0, addr;
	unsigned int run_flags = 0;
	int err;

	batch.piece = piece;
	batch.nr = 0;
	batch.pages = 0;

	for (addr = start; addr < end; addr += PAGE_SIZE) {
		unsigned long hmm_pfn = *pfns++;
		unsigned long pfn = hmm_pfn & ~HMM_PFN_FLAGS;
		bool valid = hmm_pfn & HMM_PFN_VALID;
		bool wanted = window->all || addr == window->addr;
		unsigned int flags = 0;

		if (valid) {
			struct page *page = hmm_pfn_to_page(hmm_pfn);

			err = hmm_mirror_describe(mirror, page_folio(page),
						  hmm_pfn,
						  window->write && wanted,
						  &flags);
			if (err && wanted)
				return err;
			valid = !err;
		}
		if (valid && run && pfn == run_pfn + run && flags == run_flags) {
			run++;
			continue;
		}
		if (run) {
			err = hmm_mirror_map_run(&batch,
						 addr - (run << PAGE_SHIFT),
						 run_pfn, run, run_flags);
			if (err)
				return err;
		}
		run = valid;
		run_pfn = pfn;
		run_flags = flags;
	}
	err = hmm_mirror_map_run(&batch, addr - (run << PAGE_SHIFT), run_pfn,
				 run, run_flags);
	return err ? err : hmm_mirror_flush_entries(&batch);
}

/* Map a single entry; no array is needed. */
static int hmm_mirror_map_one(struct hmm_mirror_piece *piece,
			      struct folio *folio, unsigned long hmm_pfn,
			      unsigned long addr, unsigned int order, bool write,
			      unsigned int more_flags)
{
	struct hmm_mirror_entry entry = {
		.addr = addr,
		.pfn = ALIGN_DOWN(hmm_pfn & ~HMM_PFN_FLAGS, 1UL << order),
		.order = order,
	};
	int err;

	err = hmm_mirror_describe(piece->mirror, folio, hmm_pfn, write,
				  &entry.flags);
	if (err)
		return err;
	entry.flags |= more_flags;
	return hmm_mirror_map_entries(piece, &entry, 1, 1U << order);
}

/* Does the CPU map all of a piece as one page, and can the device? */
static bool hmm_mirror_can_map_huge(const struct hmm_mirror_piece *piece,
				    unsigned long hmm_pfn)
{
	return hmm_pfn_to_map_order(hmm_pfn) >= PMD_SHIFT - PAGE_SHIFT &&
	       (piece->mirror->desc.page_sizes & PMD_SIZE) &&
	       hmm_mirror_piece_whole(piece) &&
	       !hmm_poison_hits(ALIGN_DOWN(hmm_pfn & ~HMM_PFN_FLAGS,
					   HMM_PMD_PAGES), HMM_PMD_PAGES);
}

/**
 * hmm_mirror_map_window() - map what a walk found, or nothing
 * @piece: the piece that contains &hmm_mirror_window.addr
 * @window: what was walked; what lies beyond the piece is left out
 *
 * Context: update lock held, and the walk is still valid.
 * Return: 0, %HMM_MIRROR_NO_DMA, %HMM_MIRROR_WIDEN, or a negative errno: what the
 * map operation returned, -EIO, -EOPNOTSUPP or -EFAULT.
 */
int hmm_mirror_map_window(struct hmm_mirror_piece *piece,
			  struct hmm_mirror_window *window)
{
	unsigned long start = max(window->start, piece_start(piece));
	unsigned long end = min(window->end, piece_end(piece));
	unsigned long hmm_pfn = hmm_mirror_window_pfn(window);
	unsigned long bytes = window->end - window->start;
	struct folio *folio = NULL;
	unsigned int order = 0;
	int err;

	lockdep_assert_held(&piece->update_lock);

	if (hmm_pfn & HMM_PFN_VALID) {
		folio = page_folio(hmm_pfn_to_page(hmm_pfn));
		if (hmm_mirror_can_map_huge(piece, hmm_pfn)) {
			start = piece_start(piece);
			end = piece_end(piece);
			order = PMD_SHIFT - PAGE_SHIFT;
		} else if (window->may_widen && folio_test_large(folio)) {
			window->wider_order =
				hmm_mirror_wider_order(piece, bytes, folio);
			if (window->wider_order)
				return HMM_MIRROR_WIDEN;
		}
	}
	if (folio && end - start == PAGE_SIZE << order)
		err = hmm_mirror_map_one(piece, folio, hmm_pfn, start, order,
					 window->write, 0);
	else
		err = hmm_mirror_map_pages(piece, window, start, end);
	if (err)
		hmm_mirror_drop(piece, start, end);
	else if (window->touch && folio)
		hmm_mirror_mark_accessed(folio);
	return err;
}
EXPORT_SYMBOL_IF_KUNIT(hmm_mirror_map_window);

/**
 * hmm_mirror_map_exclusive() - map a page that make_device_exclusive() returned
 * @piece: the piece that contains @addr
 * @addr: its virtual address, page aligned
 * @page: the page
 *
 * Context: update lock and folio lock held.
 * Return: as hmm_mirror_map_window().
 */
int hmm_mirror_map_exclusive(struct hmm_mirror_piece *piece,
			     unsigned long addr, struct page *page)
{
	int err;

	lockdep_assert_held(&piece->update_lock);

	err = hmm_mirror_map_one(piece, page_folio(page),
				 page_to_pfn(page) | HMM_PFN_VALID | HMM_PFN_WRITE,
				 addr, 0, true, HMM_MIRROR_EXCLUSIVE);
	if (err)
		hmm_mirror_drop(piece, addr, addr + PAGE_SIZE);
	return err;
}
