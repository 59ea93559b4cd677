// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of memory errors.
 */
#include <linux/genalloc.h>
#include <linux/migrate.h>
#include <linux/mman.h>
#include <linux/mm.h>
#include <linux/pagemap.h>

#include "../internal.h"
#include "test_device.h"

#define TEST_PAGES	(TEST_DEVICE_SIZE >> PAGE_SHIFT)
#define NR		32
#define LENGTH		(NR * PAGE_SIZE)
#define BAD		5	/* the page of NR that is poisoned */

/* The kernel takes poisoned pages from page tables. */
#ifdef migrate_device_poison_markers
#define TEST_UNMAPS	IS_ENABLED(CONFIG_MEMORY_FAILURE)
#else
#define TEST_UNMAPS	false
#endif

static int poison_test_init(struct kunit *test)
{
	test->priv = test_device_create(test);
	return 0;
}

static void poison_test_exit(struct kunit *test)
{
	test_device_destroy(test->priv);
}

static void poison_test_expect(struct kunit *test, u64 poisoned, u64 used)
{
	struct test_device *device = test->priv;
	struct hmm_devmem_stats stats;

	hmm_devmem_get_stats(device->devmem, &stats);
	KUNIT_EXPECT_EQ(test, stats.total, TEST_PAGES);
	KUNIT_EXPECT_EQ(test, stats.poisoned, poisoned);
	KUNIT_EXPECT_EQ(test, stats.used, used);
}

/* Take as many frames as there are, at most TEST_PAGES. */
static unsigned int poison_test_take(struct kunit *test, struct page **pages)
{
	struct test_device *device = test->priv;
	unsigned int nr;
	int err, idx;

	KUNIT_ASSERT_TRUE(test, hmm_devmem_enter(device->devmem,
						 HMM_DEVMEM_LIVE, &idx));
	nr = hmm_devmem_alloc_pages(device->devmem, NULL, TEST_PAGES, pages, &err);
	hmm_devmem_leave(device->devmem, idx);
	KUNIT_EXPECT_EQ(test, 0, err);
	return nr;
}

static u64 poison_test_offset(struct kunit *test, const struct page *page)
{
	struct test_device *device = test->priv;

	return hmm_devmem_offset(device->devmem, page_to_pfn(page));
}

static void poison_test_args(struct kunit *test)
{
	struct test_device *device = test->priv;
	struct hmm_devmem *devmem;

	test_device_add_memory(test, device);
	devmem = device->devmem;
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_devmem_memory_failure(devmem, 0, 0));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			hmm_devmem_memory_failure(devmem, 1, PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			hmm_devmem_memory_failure(devmem, 0, PAGE_SIZE - 1));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			hmm_devmem_memory_failure(devmem, TEST_DEVICE_SIZE,
						  PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			hmm_devmem_memory_failure(devmem, PAGE_SIZE,
						  TEST_DEVICE_SIZE));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			hmm_devmem_memory_failure(devmem, PAGE_SIZE,
						  -(u64)PAGE_SIZE));
	poison_test_expect(test, 0, 0);
}

/* Free frames are there no more, whoever asks and however often. */
static void poison_test_free_frames(struct kunit *test)
{
	const u64 start = 7 * PAGE_SIZE, end = 10 * PAGE_SIZE;
	struct test_device *device = test->priv;
	struct page **pages;
	unsigned int round, i;

	test_device_add_memory(test, device);
	pages = kunit_kcalloc(test, TEST_PAGES, sizeof(*pages), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, pages);

	for (round = 0; round < 2; round++) {
		KUNIT_EXPECT_EQ(test, 0,
				hmm_devmem_memory_failure(device->devmem, start,
							  end - start));
		poison_test_expect(test, 3, 0);
		KUNIT_ASSERT_EQ(test, TEST_PAGES - 3,
				poison_test_take(test, pages));
		poison_test_expect(test, 3, TEST_PAGES - 3);
		for (i = 0; i < TEST_PAGES - 3; i++) {
			u64 offset = poison_test_offset(test, pages[i]);

			if (offset >= start && offset < end)
				KUNIT_FAIL(test, "page at %llu", offset);
		}
		hmm_devmem_free_pages(pages, TEST_PAGES - 3);
		poison_test_expect(test, 3, 0);
	}
}

/* A frame in use goes when it is freed; its neighbours come back. */
static void poison_test_used_frame(struct kunit *test)
{
	struct test_device *device = test->priv;
	struct page **pages;
	unsigned int i;
	u64 bad;

	test_device_add_memory(test, device);
	pages = kunit_kcalloc(test, TEST_PAGES, sizeof(*pages), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, pages);
	KUNIT_ASSERT_EQ(test, TEST_PAGES, poison_test_take(test, pages));
	bad = poison_test_offset(test, pages[BAD]);
	/* A locked page is one on the move. */
	unlock_page(pages[BAD]);
	KUNIT_EXPECT_EQ(test, 0, hmm_devmem_memory_failure(device->devmem, bad,
							   PAGE_SIZE));
	poison_test_expect(test, 1, TEST_PAGES);
	put_page(pages[BAD]);
	poison_test_expect(test, 1, TEST_PAGES - 1);
	KUNIT_EXPECT_EQ(test, 0, hmm_devmem_memory_failure(device->devmem, bad,
							   PAGE_SIZE));
	poison_test_expect(test, 1, TEST_PAGES - 1);
	for (i = 0; i < TEST_PAGES; i++)
		if (i != BAD)
			hmm_devmem_free_pages(&pages[i], 1);
	poison_test_expect(test, 1, 0);

	KUNIT_ASSERT_EQ(test, TEST_PAGES - 1, poison_test_take(test, pages));
	for (i = 0; i < TEST_PAGES - 1; i++)
		if (poison_test_offset(test, pages[i]) == bad)
			KUNIT_FAIL(test, "taken as page %u", i);
	hmm_devmem_free_pages(pages, TEST_PAGES - 1);
	/* What was kept does not keep the memory. */
	KUNIT_EXPECT_EQ(test, 0, hmm_devmem_remove(device->devmem,
						   TEST_TIMEOUT_MS, NULL));
	device->devmem = NULL;
}

/* What nobody could take from the pool is found there before it is counted on. */
static void poison_test_left_in_pool(struct kunit *test)
{
	struct test_device *device = test->priv;
	struct hmm_devmem *devmem;
	struct hmm_devmem_evict_result result;

	test_device_add_memory(test, device);
	devmem = device->devmem;
	KUNIT_ASSERT_EQ(test, 0, hmm_devmem_memory_failure(devmem, 0, PAGE_SIZE));
	/* As it is if the pool hid the frame from all who looked for it. */
	gen_pool_free(devmem->pool, devmem->pgmap.range.start, PAGE_SIZE);
	atomic_long_inc(&devmem->lost);

	KUNIT_EXPECT_EQ(test, 0, hmm_devmem_evict(devmem, TEST_PAGES,
						  TEST_TIMEOUT_MS, &result));
	KUNIT_EXPECT_EQ(test, 0, atomic_long_read(&devmem->lost));

	gen_pool_free(devmem->pool, devmem->pgmap.range.start, PAGE_SIZE);
	atomic_long_inc(&devmem->lost);
	KUNIT_EXPECT_EQ(test, 0, hmm_devmem_remove(devmem, TEST_TIMEOUT_MS, NULL));
	device->devmem = NULL;
}

/* NR pages in device memory that hold their number plus 1, page BAD is poisoned. */
static unsigned long poison_test_in_use(struct kunit *test)
{
	struct test_device *device = test->priv;
	struct hmm_migrate_result result;
	unsigned long addr, bad;
	u64 offset;

	test_device_add_memory(test, device);
	test_device_mirror(test, device);
	addr = test_fill_pages(test, NR, 1);
	KUNIT_ASSERT_EQ(test, 0,
			hmm_migrate_to_device(device->devmem, current->mm, addr,
					      addr + LENGTH, 0, &result));
	KUNIT_ASSERT_EQ(test, NR, result.moved);

	bad = addr + BAD * PAGE_SIZE;
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_fault(&device->mirror, bad, 0));
	KUNIT_ASSERT_NE(test, 0, test_device_pfn(device, bad));
	offset = hmm_devmem_offset(device->devmem, test_device_pfn(device, bad));
	KUNIT_ASSERT_EQ(test, 0,
			hmm_devmem_memory_failure(device->devmem, offset,
						  PAGE_SIZE));
	if (TEST_UNMAPS)
		KUNIT_EXPECT_EQ(test, 0, test_device_pfn(device, bad));
	return addr;
}

/* All pages but BAD hold what they should, and that one cannot be read. */
static void poison_test_verify(struct kunit *test, unsigned long addr)
{
	unsigned long i;
	u64 word;

	for (i = 0; i < NR; i++) {
		if (i == BAD)
			KUNIT_EXPECT_NE(test, 0,
					copy_from_user(&word,
						       (void __user *)addr +
						       i * PAGE_SIZE,
						       sizeof(word)));
		else
			KUNIT_EXPECT_EQ(test, i + 1,
					test_read_word(test, addr +
						       i * PAGE_SIZE));
	}
}

static void poison_test_touch(struct kunit *test)
{
	struct test_device *device = test->priv;
	unsigned long addr = poison_test_in_use(test);
	struct hmm_mirror_result result;

	/* Where the kernel cannot unmap it: the device unmaps and asks again. */
	KUNIT_EXPECT_EQ(test, -EFAULT,
			hmm_mirror_fault(&device->mirror, addr + BAD * PAGE_SIZE,
					 0));
	KUNIT_EXPECT_EQ(test, 0, test_device_pfn(device,
						 addr + BAD * PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_prefetch(&device->mirror, addr,
						     addr + LENGTH, 0, &result));
	KUNIT_EXPECT_EQ(test, NR - 1, result.mapped);
	KUNIT_EXPECT_EQ(test, 1, result.refused);
	poison_test_verify(test, addr);
	KUNIT_EXPECT_EQ(test, 0, vm_munmap(addr, LENGTH));
	poison_test_expect(test, 1, 0);
}

/* Neither an eviction nor a removal waits for what cannot be brought back. */
static void poison_test_evict(struct kunit *test)
{
	struct test_device *device = test->priv;
	unsigned long addr = poison_test_in_use(test), stays = !TEST_UNMAPS, end;
	struct hmm_devmem_evict_result evicted;

	end = jiffies + msecs_to_jiffies(TEST_TIMEOUT_MS / 2);
	KUNIT_EXPECT_EQ(test, 0,
			hmm_devmem_evict(device->devmem, ULONG_MAX,
					 TEST_TIMEOUT_MS, &evicted));
	KUNIT_EXPECT_EQ(test, NR - 1, evicted.evicted);
	KUNIT_EXPECT_EQ(test, stays, evicted.failed);
	KUNIT_EXPECT_EQ(test, 0, evicted.kept + evicted.busy + evicted.no_ram +
				 evicted.untried);
	poison_test_expect(test, 1, stays);
	poison_test_verify(test, addr);

	hmm_mirror_unregister(&device->mirror);
	device->mirrored = false;
	KUNIT_EXPECT_EQ(test, stays ? -EBUSY : 0,
			hmm_devmem_remove(device->devmem, TEST_TIMEOUT_MS,
					  &evicted));
	device->devmem = NULL;
	KUNIT_EXPECT_EQ(test, stays, evicted.failed);
	KUNIT_EXPECT_TRUE(test, time_before(jiffies, end));
	poison_test_verify(test, addr);
	KUNIT_EXPECT_EQ(test, 0, vm_munmap(addr, LENGTH));
}

static struct kunit_case poison_test_cases[] = {
	KUNIT_CASE(poison_test_args),
	KUNIT_CASE(poison_test_free_frames),
	KUNIT_CASE(poison_test_used_frame),
	KUNIT_CASE(poison_test_left_in_pool),
	KUNIT_CASE(poison_test_touch),
	KUNIT_CASE(poison_test_evict),
	{}
};

static struct kunit_suite poison_test_suite = {
	.name = "hmm_poison",
	.init = poison_test_init,
	.exit = poison_test_exit,
	.test_cases = poison_test_cases,
};

kunit_test_suite(poison_test_suite);
