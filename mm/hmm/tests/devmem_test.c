// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of device memory.
 */
#include <linux/io.h>
#include <linux/ioport.h>
#include <linux/memory-tiers.h>
#include <linux/mm.h>
#include <linux/pagemap.h>

#include "../internal.h"
#include "test_device.h"

#define TEST_PAGES	(TEST_DEVICE_SIZE >> PAGE_SHIFT)

static int devmem_test_init(struct kunit *test)
{
	test->priv = test_device_create(test);
	return 0;
}

static void devmem_test_exit(struct kunit *test)
{
	test_device_destroy(test->priv);
}

static struct hmm_devmem_desc devmem_test_desc(struct test_device *device)
{
	return (struct hmm_devmem_desc){
		.ops = &test_devmem_ops,
		.owner = device,
		.private = device,
		.name = "hmm_kunit",
		.nid = NUMA_NO_NODE,
	};
}

static void devmem_test_add_args(struct kunit *test)
{
	struct hmm_devmem_desc good = devmem_test_desc(test->priv);
	const struct hmm_devmem_ops no_copy = { .clear = test_devmem_ops.clear };
	const struct hmm_devmem_ops no_clear = { .copy = test_devmem_ops.copy };
	struct hmm_devmem_desc bad[7];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++)
		bad[i] = good;
	bad[0].ops = NULL;
	bad[1].ops = &no_copy;
	bad[2].ops = &no_clear;
	bad[3].owner = NULL;
	bad[4].name = NULL;
	bad[5].nid = -2;
	bad[6].nid = MAX_NUMNODES;
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		KUNIT_EXPECT_EQ_MSG(test, -EINVAL,
				    PTR_ERR(hmm_devmem_add(&bad[i], SZ_2M)),
				    "description %u", i);

	KUNIT_EXPECT_EQ(test, -EINVAL, PTR_ERR(hmm_devmem_add(&good, 0)));
	KUNIT_EXPECT_EQ(test, -EINVAL, PTR_ERR(hmm_devmem_add(&good, SZ_2M + 1)));
	KUNIT_EXPECT_EQ(test, -EINVAL, PTR_ERR(hmm_devmem_add(&good, SZ_1M)));
	if (IS_ENABLED(CONFIG_DEVICE_PRIVATE))
		KUNIT_EXPECT_EQ(test, -ERANGE,
				PTR_ERR(hmm_devmem_add(&good, 1ULL << 62)));
}

static void devmem_test_resource_args(struct kunit *test)
{
	struct hmm_devmem_desc desc = devmem_test_desc(test->priv);
	u64 ram = ALIGN(virt_to_phys(test->priv), SZ_2M);
	const struct {
		u64 start, end;
		int err;
	} cases[] = {
		{ SZ_1G, SZ_1G - 1, -EINVAL },			/* empty */
		{ SZ_1G, SZ_1G + SZ_2M - 2, -EINVAL },		/* odd size */
		{ SZ_1G + SZ_1M, SZ_1G + SZ_1M + SZ_2M - 1, -EINVAL },
		{ SZ_2M, SZ_1M, -EINVAL },			/* end first */
		{ 0, U64_MAX, -EINVAL },			/* size overflows */
		{ 1ULL << 60, (1ULL << 60) + SZ_2M - 1, -ERANGE },
		{ ram, ram + SZ_2M - 1, -EBUSY },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		struct resource res = DEFINE_RES_MEM(0, 0);

		res.start = cases[i].start;
		res.end = cases[i].end;
		KUNIT_EXPECT_EQ_MSG(test, cases[i].err,
				    PTR_ERR(hmm_devmem_add_resource(&desc, &res)),
				    "resource %u", i);
	}
}

/* Every frame can be had once, and again after it was freed piece by piece. */
static void devmem_test_alloc(struct kunit *test)
{
	struct test_device *device = test->priv;
	struct page **pages, *more[3];
	unsigned int round, i;
	int err;
	int idx;

	test_device_add_memory(test, device);
	pages = kunit_kcalloc(test, TEST_PAGES, sizeof(*pages), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, pages);

	KUNIT_ASSERT_TRUE(test, hmm_devmem_enter(device->devmem,
						 HMM_DEVMEM_LIVE, &idx));
	for (round = 0; round < 2; round++) {
		KUNIT_EXPECT_EQ(test, TEST_PAGES,
				hmm_devmem_alloc_pages(device->devmem, NULL,
						       TEST_PAGES, pages,
						       &err));
		KUNIT_EXPECT_EQ(test, TEST_PAGES, test_device_used(device));
		KUNIT_EXPECT_EQ(test, 0, hmm_devmem_alloc_pages(device->devmem, NULL,
								1, more,
								&err));

		for (i = 0; i < TEST_PAGES; i++) {
			struct folio *folio = page_folio(pages[i]);

			if (!folio_test_locked(folio) ||
			    folio_ref_count(folio) != 1 ||
			    hmm_devmem_from_folio(folio) != device->devmem ||
			    hmm_devmem_offset(device->devmem, folio_pfn(folio)) >=
			    TEST_DEVICE_SIZE)
				KUNIT_FAIL(test, "bad page %u", i);
		}

		/* Every other page first: what is left is fragmented. */
		for (i = 0; i < TEST_PAGES; i += 2)
			hmm_devmem_free_pages(&pages[i], 1);
		KUNIT_EXPECT_EQ(test, TEST_PAGES / 2, test_device_used(device));
		KUNIT_EXPECT_EQ(test, 3, hmm_devmem_alloc_pages(device->devmem, NULL,
								3, more,
								&err));
		hmm_devmem_free_pages(more, 3);
		for (i = 1; i < TEST_PAGES; i += 2)
			hmm_devmem_free_pages(&pages[i], 1);
		KUNIT_EXPECT_EQ(test, 0, test_device_used(device));
	}
	hmm_devmem_leave(device->devmem, idx);
}

/* Huge folios lie in whole blocks; one small page spoils one of them. */
static void devmem_test_alloc_huge(struct kunit *test)
{
	const unsigned int nr = TEST_DEVICE_SIZE / PMD_SIZE;
	struct test_device *device = test->priv;
	struct folio *folios[TEST_DEVICE_SIZE / PMD_SIZE];
	unsigned int round, i;
	struct page *page;
	int err, idx;

	test_device_add_memory(test, device);
	if (!hmm_devmem_huge_ok(device->devmem))
		kunit_skip(test, "no huge folios in device memory");
	KUNIT_ASSERT_TRUE(test, hmm_devmem_enter(device->devmem,
						 HMM_DEVMEM_LIVE, &idx));
	for (round = 0; round < 2; round++) {
		for (i = 0; i < nr; i++) {
			folios[i] = hmm_devmem_alloc_huge(device->devmem, NULL, &err);
			KUNIT_ASSERT_NOT_NULL(test, folios[i]);
			KUNIT_EXPECT_EQ(test, 0, err);
			KUNIT_EXPECT_EQ(test, HMM_PMD_ORDER,
					folio_order(folios[i]));
			KUNIT_EXPECT_EQ(test, 1, folio_ref_count(folios[i]));
			KUNIT_EXPECT_TRUE(test, folio_test_locked(folios[i]));
			KUNIT_EXPECT_TRUE(test, IS_ALIGNED(folio_pfn(folios[i]),
							   HMM_PMD_PAGES));
		}
		KUNIT_EXPECT_EQ(test, TEST_PAGES, test_device_used(device));
		KUNIT_EXPECT_NULL(test, hmm_devmem_alloc_huge(device->devmem, NULL,
							      &err));
		KUNIT_EXPECT_EQ(test, 0, err);
		for (i = 0; i < nr; i++) {
			folio_unlock(folios[i]);
			folio_put(folios[i]);
		}
		KUNIT_EXPECT_EQ(test, 0, test_device_used(device));
	}

	KUNIT_EXPECT_EQ(test, 1, hmm_devmem_alloc_pages(device->devmem, NULL, 1, &page,
							&err));
	for (i = 0; i < nr - 1; i++) {
		folios[i] = hmm_devmem_alloc_huge(device->devmem, NULL, &err);
		KUNIT_ASSERT_NOT_NULL(test, folios[i]);
	}
	KUNIT_EXPECT_NULL(test, hmm_devmem_alloc_huge(device->devmem, NULL, &err));
	KUNIT_EXPECT_EQ(test, HMM_PMD_PAGES - 1,
			hmm_devmem_nr_free(device->devmem));
	for (i = 0; i < nr - 1; i++) {
		folio_unlock(folios[i]);
		folio_put(folios[i]);
	}
	hmm_devmem_free_pages(&page, 1);
	hmm_devmem_leave(device->devmem, idx);
}

/*
 * Private memory has the node that the driver says, but not the speed of that
 * node's RAM.
 */
static void devmem_test_node(struct kunit *test)
{
	struct hmm_devmem_desc desc = devmem_test_desc(test->priv);
	const int nids[] = { NUMA_NO_NODE, numa_mem_id() };
	struct hmm_devmem_performance perf;
	struct hmm_devmem *devmem;
	int unknown = -EOPNOTSUPP;
	unsigned int i;

#ifdef hmat_get_coordinates
	if (IS_ENABLED(CONFIG_ACPI_HMAT))
		unknown = -ENODATA;
#endif
	for (i = 0; i < ARRAY_SIZE(nids); i++) {
		desc.nid = nids[i];
		devmem = hmm_devmem_add(&desc, SZ_2M);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, devmem);
		KUNIT_EXPECT_EQ(test, nids[i], hmm_devmem_get_node(devmem));
		KUNIT_EXPECT_EQ(test, unknown,
				hmm_devmem_get_performance(devmem, &perf));
		KUNIT_EXPECT_EQ(test, 0, hmm_devmem_remove(devmem, 1, NULL));
	}
}

/* A page that somebody holds delays the unplug, not the driver. */
static void devmem_test_remove_busy(struct kunit *test)
{
	struct test_device *device = test->priv;
	struct page *page;
	int err, idx;

	test_device_add_memory(test, device);
	KUNIT_ASSERT_TRUE(test, hmm_devmem_enter(device->devmem,
						 HMM_DEVMEM_LIVE, &idx));
	KUNIT_ASSERT_EQ(test, 1, hmm_devmem_alloc_pages(device->devmem, NULL, 1,
							&page, &err));
	hmm_devmem_leave(device->devmem, idx);

	KUNIT_EXPECT_EQ(test, -EBUSY, hmm_devmem_remove(device->devmem, 1,
							NULL));
	device->devmem = NULL;
	hmm_devmem_free_pages(&page, 1);
}

static struct kunit_case devmem_test_cases[] = {
	KUNIT_CASE(devmem_test_add_args),
	KUNIT_CASE(devmem_test_resource_args),
	KUNIT_CASE(devmem_test_alloc),
	KUNIT_CASE(devmem_test_alloc_huge),
	KUNIT_CASE(devmem_test_node),
	KUNIT_CASE(devmem_test_remove_busy),
	{}
};

static struct kunit_suite devmem_test_suite = {
	.name = "hmm_devmem",
	.init = devmem_test_init,
	.exit = devmem_test_exit,
	.test_cases = devmem_test_cases,
};

kunit_test_suite(devmem_test_suite);
