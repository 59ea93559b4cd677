// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of mirrors with a DMA device that no IOMMU translates for, and of
 * the bookkeeping for those with one.
 */
#include <kunit/device.h>
#include <linux/bitmap.h>
#include <linux/dma-mapping.h>
#include <linux/hmm/migrate.h>
#include <linux/mman.h>
#include <linux/mm.h>
#include <linux/swiotlb.h>

#include "../mirror.h"
#include "test_device.h"

/* Where the pieces made up here lie. */
#define DMA_ADDR	((unsigned long)SZ_1G)

static int dma_test_init(struct kunit *test)
{
	test->priv = test_device_create(test);
	return 0;
}

static void dma_test_exit(struct kunit *test)
{
	test_device_destroy(test->priv);
}

static struct device *dma_test_device(struct kunit *test)
{
	struct device *dev = kunit_device_register(test, "hmm");

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, dev);
	return dev;
}

/* A device that reaches all memory. */
static struct device *dma_test_able_device(struct kunit *test)
{
	struct device *dev = dma_test_device(test);

	KUNIT_ASSERT_EQ(test, 0, dma_coerce_mask_and_coherent(dev,
							      DMA_BIT_MASK(64)));
	if (dma_need_unmap(dev))
		kunit_skip(test, "DMA mappings have state without an IOMMU, too");
	return dev;
}

static struct hmm_mirror_desc dma_test_desc(struct kunit *test,
					    struct device *dev)
{
	struct hmm_mirror_desc desc = test_mirror_desc(test->priv);

	desc.dma_dev = dev;
	return desc;
}

/* Every entry has the DMA address of its frame. */
static void dma_test_expect_entries(struct kunit *test,
				    struct test_device *device)
{
	unsigned int i;

	KUNIT_EXPECT_GT(test, device->nr_entries, 0);
	KUNIT_ASSERT_LE(test, device->nr_entries, TEST_ENTRIES);
	for (i = 0; i < device->nr_entries; i++) {
		KUNIT_EXPECT_TRUE(test, device->entries[i].flags &
					HMM_MIRROR_DMA);
		KUNIT_EXPECT_EQ(test, device->entries[i].dma_addr,
				PFN_PHYS(device->entries[i].pfn));
	}
}

static void dma_test_fault(struct kunit *test)
{
	struct device *dev = dma_test_able_device(test);
	struct hmm_mirror_desc desc = dma_test_desc(test, dev);
	struct test_device *device = test->priv;
	unsigned int refs = kref_read(&dev->kobj.kref);
	struct hmm_mirror_result result;
	struct hmm_mirror_piece *piece;
	unsigned long addr, i;

	test_device_mirror_as(test, device, &desc);
	KUNIT_EXPECT_EQ(test, refs + 1, kref_read(&dev->kobj.kref));
	addr = test_reserve(test, PMD_SIZE);
	test_mmap_at(test, addr, 64 * PAGE_SIZE, PROT_READ | PROT_WRITE);
	for (i = 0; i < 64; i++)
		test_write_word(test, addr + i * PAGE_SIZE, i);

	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_fault(&device->mirror, addr,
						  HMM_MIRROR_WRITE));
	dma_test_expect_entries(test, device);
	KUNIT_ASSERT_EQ(test, 0,
			hmm_mirror_prefetch(&device->mirror, addr,
					    addr + 64 * PAGE_SIZE, 0, &result));
	KUNIT_EXPECT_EQ(test, result.mapped, 64);
	dma_test_expect_entries(test, device);
	KUNIT_EXPECT_EQ(test, 7, test_device_read_word(device,
						       addr + 7 * PAGE_SIZE));

	/* There is nothing to undo. */
	piece = xa_load(&device->mirror.pieces, addr >> PMD_SHIFT);
	KUNIT_ASSERT_NOT_NULL(test, piece);
	KUNIT_ASSERT_NOT_NULL(test, piece->dma);
	KUNIT_EXPECT_FALSE(test, dma_use_iova(&piece->dma->iova));
	KUNIT_EXPECT_TRUE(test, bitmap_empty(piece->dma->linked, HMM_PMD_PAGES));
	KUNIT_ASSERT_EQ(test, 0, vm_munmap(addr, PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, 0, test_device_entry(device, addr));

	hmm_mirror_unregister(&device->mirror);
	device->mirrored = false;
	KUNIT_EXPECT_EQ(test, refs, kref_read(&dev->kobj.kref));
}

static void dma_test_huge(struct kunit *test)
{
	struct device *dev = dma_test_able_device(test);
	struct hmm_mirror_desc desc = dma_test_desc(test, dev);
	struct test_device *device = test->priv;
	unsigned long addr, pfn;

	test_device_mirror_as(test, device, &desc);
	addr = test_mmap_huge(test, &pfn);
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_fault(&device->mirror, addr, 0));
	KUNIT_EXPECT_EQ(test, device->nr_entries, 1);
	KUNIT_EXPECT_EQ(test, device->entries[0].order, PMD_ORDER);
	KUNIT_EXPECT_EQ(test, device->entries[0].pfn, pfn);
	dma_test_expect_entries(test, device);
}

/* The device reaches its own memory without DMA, and no other device's. */
static void dma_test_private(struct kunit *test)
{
	struct device *dev = dma_test_able_device(test);
	struct hmm_mirror_desc desc = dma_test_desc(test, dev);
	struct test_device *device = test->priv;
	struct test_device *another = test_device_create_another(test);
	struct hmm_migrate_result result;
	unsigned long addr, entry;

	test_device_add_memory(test, device);
	test_device_mirror_as(test, device, &desc);
	desc.owner = another;
	test_device_mirror_as(test, another, &desc);
	addr = test_mmap(test, PAGE_SIZE, PROT_READ | PROT_WRITE);
	test_write_word(test, addr, 3);
	KUNIT_ASSERT_EQ(test, 0,
			hmm_migrate_to_device(device->devmem, current->mm, addr,
					      addr + PAGE_SIZE, 0, &result));
	KUNIT_ASSERT_EQ(test, result.moved, 1);

	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_fault(&device->mirror, addr, 0));
	entry = test_device_entry(device, addr);
	KUNIT_EXPECT_TRUE(test, entry & HMM_MIRROR_PRIVATE);
	KUNIT_EXPECT_FALSE(test, entry & HMM_MIRROR_DMA);

	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_fault(&another->mirror, addr, 0));
	KUNIT_EXPECT_EQ(test, 0, test_device_entry(device, addr));
	entry = test_device_entry(another, addr);
	KUNIT_EXPECT_FALSE(test, entry & HMM_MIRROR_PRIVATE);
	KUNIT_EXPECT_TRUE(test, entry & HMM_MIRROR_DMA);
	KUNIT_EXPECT_EQ(test, 3, test_device_read_word(another, addr));
}

static void dma_test_expect_refused(struct kunit *test, struct device *dev)
{
	struct hmm_mirror_desc desc = dma_test_desc(test, dev);
	unsigned int refs = kref_read(&dev->kobj.kref);
	struct test_device *device = test->priv;
	int err = hmm_mirror_register(&device->mirror, current->mm, &desc);

	device->mirrored = !err;
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP, err);
	KUNIT_EXPECT_EQ(test, refs, kref_read(&dev->kobj.kref));
}

/* Memory out of the device's or its bus's reach would take bounce buffers. */
static void dma_test_bounce(struct kunit *test)
{
	struct device *dev = dma_test_able_device(test);
	struct hmm_mirror_desc desc = dma_test_desc(test, dev);

	KUNIT_ASSERT_EQ(test, 0, kunit_attach_mm());
	if (dma_get_required_mask(dev) <= DMA_BIT_MASK(32))
		kunit_skip(test, "no memory above 4 GiB");

	KUNIT_ASSERT_EQ(test, 0, dma_coerce_mask_and_coherent(dev,
							      DMA_BIT_MASK(32)));
	dma_test_expect_refused(test, dev);

	KUNIT_ASSERT_EQ(test, 0, dma_coerce_mask_and_coherent(dev,
							      DMA_BIT_MASK(64)));
	dev->bus_dma_limit = DMA_BIT_MASK(32);
	dma_test_expect_refused(test, dev);

	/* Nothing but that was wrong. */
	dev->bus_dma_limit = 0;
	test_device_mirror_as(test, test->priv, &desc);
}

/* A device whose driver has not said what it can do. */
static void dma_test_no_mask(struct kunit *test)
{
	struct device *dev = dma_test_device(test);

	if (!IS_ENABLED(CONFIG_DMA_NEED_SYNC))
		kunit_skip(test, "no mask is no reason to refuse here");
	KUNIT_ASSERT_EQ(test, 0, kunit_attach_mm());
	dma_test_expect_refused(test, dev);
	dev->dma_mask = NULL;
	dma_test_expect_refused(test, dev);
}

/* Mapping for DMA fails: the device gets nothing. */
static void dma_test_map_error(struct kunit *test)
{
#ifdef CONFIG_SWIOTLB
	struct device *dev = dma_test_able_device(test);
	struct hmm_mirror_desc desc = dma_test_desc(test, dev);
	struct io_tlb_mem *force, *mem = dev->dma_io_tlb_mem;
	struct test_device *device = test->priv;
	struct hmm_mirror_result result;
	unsigned long addr;
	int err, range_err;

	force = kunit_kzalloc(test, sizeof(*force), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, force);
	force->force_bounce = true;
	test_device_mirror_as(test, device, &desc);
	addr = test_mmap(test, PAGE_SIZE, PROT_READ | PROT_WRITE);

	/* Mappings that must be coherent cannot be bounced. */
	dev->dma_io_tlb_mem = force;
	err = hmm_mirror_fault(&device->mirror, addr, HMM_MIRROR_WRITE);
	range_err = hmm_mirror_prefetch(&device->mirror, addr, addr + PAGE_SIZE,
					0, &result);
	dev->dma_io_tlb_mem = mem;
	KUNIT_EXPECT_EQ(test, -EIO, err);
	KUNIT_EXPECT_EQ(test, -EIO, range_err);
	KUNIT_EXPECT_EQ(test, result.left, 1);
	KUNIT_EXPECT_EQ(test, device->maps, 0);

	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_fault(&device->mirror, addr, 0));
	dma_test_expect_entries(test, device);
#else
	kunit_skip(test, "no CONFIG_SWIOTLB, which makes the error");
#endif
}

/* What is unlinked grows to whole links, and no further. */
static void dma_test_widen(struct kunit *test)
{
	static const struct {
		unsigned int first, last;	/* page, and the one after */
	} links[] = {
		{ 0, 1 }, { 1, 2 }, { 8, 16 }, { 16, 20 }, { 20, 21 },
		{ 32, 48 }, { HMM_PMD_PAGES - 16, HMM_PMD_PAGES },
	}, cases[][2] = {
		/* single pages, and what is linked apart */
		{ { 0, 1 }, { 0, 1 } },
		{ { 1, 2 }, { 1, 2 } },
		{ { 0, 2 }, { 0, 2 } },
		/* any part of a link */
		{ { 8, 9 }, { 8, 16 } },
		{ { 15, 16 }, { 8, 16 } },
		{ { 11, 12 }, { 8, 16 } },
		{ { 8, 16 }, { 8, 16 } },
		/* one that follows at once */
		{ { 16, 17 }, { 16, 20 } },
		{ { 15, 17 }, { 8, 20 } },
		{ { 19, 21 }, { 16, 21 } },
		{ { 20, 21 }, { 20, 21 } },
		/* nothing is linked there, or at an end */
		{ { 2, 8 }, { 2, 8 } },
		{ { 2, 9 }, { 2, 16 } },
		{ { 47, 50 }, { 32, 50 } },
		{ { 100, 200 }, { 100, 200 } },
		/* the end of the piece */
		{ { HMM_PMD_PAGES - 1, HMM_PMD_PAGES },
		  { HMM_PMD_PAGES - 16, HMM_PMD_PAGES } },
		{ { 40, HMM_PMD_PAGES - 10 }, { 32, HMM_PMD_PAGES } },
		{ { 0, HMM_PMD_PAGES }, { 0, HMM_PMD_PAGES } },
	};
	struct hmm_mirror_piece *piece;
	struct hmm_mirror_dma *dma;
	unsigned int i;

	piece = kunit_kzalloc(test, sizeof(*piece), GFP_KERNEL);
	dma = kunit_kzalloc(test, sizeof(*dma), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, piece);
	KUNIT_ASSERT_NOT_NULL(test, dma);
	piece->dma = dma;
	for (i = 0; i < ARRAY_SIZE(links); i++) {
		__set_bit(links[i].first, dma->first);
		bitmap_set(dma->linked, links[i].first,
			   links[i].last - links[i].first);
	}

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		unsigned long start = DMA_ADDR + cases[i][0].first * PAGE_SIZE;
		unsigned long end = DMA_ADDR + cases[i][0].last * PAGE_SIZE;

		hmm_mirror_dma_widen(piece, &start, &end);
		KUNIT_EXPECT_EQ_MSG(test, (start - DMA_ADDR) >> PAGE_SHIFT,
				    cases[i][1].first, "case %u", i);
		KUNIT_EXPECT_EQ_MSG(test, (end - DMA_ADDR) >> PAGE_SHIFT,
				    cases[i][1].last, "case %u", i);
	}
}

/* Without a DMA device nothing has to be widened. */
static void dma_test_widen_without(struct kunit *test)
{
	struct hmm_mirror_piece *piece = kunit_kzalloc(test, sizeof(*piece),
						       GFP_KERNEL);
	unsigned long start = DMA_ADDR + PAGE_SIZE;
	unsigned long end = DMA_ADDR + 3 * PAGE_SIZE;

	KUNIT_ASSERT_NOT_NULL(test, piece);
	hmm_mirror_dma_widen(piece, &start, &end);
	KUNIT_EXPECT_EQ(test, start, DMA_ADDR + PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, end, DMA_ADDR + 3 * PAGE_SIZE);
}

static struct kunit_case dma_test_cases[] = {
	KUNIT_CASE(dma_test_fault),
	KUNIT_CASE(dma_test_huge),
	KUNIT_CASE(dma_test_private),
	KUNIT_CASE(dma_test_bounce),
	KUNIT_CASE(dma_test_no_mask),
	KUNIT_CASE(dma_test_map_error),
	KUNIT_CASE(dma_test_widen),
	KUNIT_CASE(dma_test_widen_without),
	{}
};

static struct kunit_suite dma_test_suite = {
	.name = "hmm_mirror_dma",
	.init = dma_test_init,
	.exit = dma_test_exit,
	.test_cases = dma_test_cases,
};

kunit_test_suite(dma_test_suite);
