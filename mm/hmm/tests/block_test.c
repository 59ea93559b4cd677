// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of device memory that its driver allocates and lends in blocks.
 */
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/mman.h>
#include <linux/mm.h>
#include <linux/spinlock.h>
#include <linux/suspend.h>

#include "../internal.h"
#include "test_device.h"

#define BLOCKS		4
#define SIZE		(BLOCKS * HMM_DEVMEM_BLOCK_SIZE)
#define NR		HMM_DEVMEM_BLOCK_PAGES
#define WAIT_MS		50

/**
 * struct block_test - the driver's side
 * @lock: protects all of it
 * @lent: the toolbox has the block
 * @kept: may_evict refuses
 * @limit: lend no more than so many
 * @nr_lent: how many are
 * @gets: blocks lent so far
 * @puts: blocks that came back
 * @mistakes: blocks that came back but were not lent
 * @timeout_ms: of the last call of get_block
 */
struct block_test {
	spinlock_t lock;	/* protects all */
	bool lent[BLOCKS];
	bool kept[BLOCKS];
	unsigned int limit;
	unsigned int nr_lent;
	unsigned int gets;
	unsigned int puts;
	unsigned int mistakes;
	unsigned int timeout_ms;
};

static struct block_test driver;

static bool block_test_may_evict(struct hmm_devmem *devmem, u64 offset, u64 size)
{
	guard(spinlock)(&driver.lock);
	return !driver.kept[offset / HMM_DEVMEM_BLOCK_SIZE];
}

/* The first ones first. */
static int block_test_get(struct hmm_devmem *devmem, unsigned int timeout_ms,
			  u64 *offset)
{
	unsigned int i;

	guard(spinlock)(&driver.lock);
	driver.timeout_ms = timeout_ms;
	for (i = 0; i < BLOCKS && driver.lent[i]; i++)
		;
	if (i == BLOCKS || driver.nr_lent >= driver.limit)
		return -EDQUOT;
	driver.lent[i] = true;
	driver.nr_lent++;
	driver.gets++;
	*offset = (u64)i * HMM_DEVMEM_BLOCK_SIZE;
	return 0;
}

static void block_test_put(struct hmm_devmem *devmem, u64 offset)
{
	u64 i = offset / HMM_DEVMEM_BLOCK_SIZE;

	guard(spinlock)(&driver.lock);
	if (offset % HMM_DEVMEM_BLOCK_SIZE || i >= BLOCKS || !driver.lent[i]) {
		driver.mistakes++;
		return;
	}
	driver.lent[i] = false;
	driver.nr_lent--;
	driver.puts++;
}

static const struct hmm_devmem_ops block_test_ops = {
	.copy = test_copy,
	.clear = test_clear,
	.may_evict = block_test_may_evict,
	.get_block = block_test_get,
	.put_block = block_test_put,
};

static struct hmm_devmem_desc block_test_desc(struct test_device *device)
{
	struct hmm_devmem_desc desc = test_devmem_desc(device);

	desc.ops = &block_test_ops;
	desc.loses_power = true;
	return desc;
}

static int block_test_init(struct kunit *test)
{
	struct test_device *device = test_device_create(test);
	struct hmm_devmem_desc desc = block_test_desc(device);

	test->priv = device;
	memset(&driver, 0, sizeof(driver));
	spin_lock_init(&driver.lock);
	driver.limit = BLOCKS;
	test_device_add_memory_as(test, device, &desc, SIZE);
	return 0;
}

/* However a test ends, the driver has all of its memory back. */
static void block_test_exit(struct kunit *test)
{
	hmm_pm_notify(NULL, PM_POST_SUSPEND, NULL);
	test_device_destroy(test->priv);
	KUNIT_EXPECT_EQ(test, 0, driver.mistakes);
}

/* The worker may do what the test does, and not be ready. */
static bool block_test_wait_lent(unsigned int nr)
{
	unsigned long end = jiffies + msecs_to_jiffies(TEST_TIMEOUT_MS);

	while (READ_ONCE(driver.nr_lent) != nr && time_before(jiffies, end))
		msleep(20);
	return READ_ONCE(driver.nr_lent) == nr;
}

static void block_test_expect(struct kunit *test, unsigned int blocks,
			      unsigned long used)
{
	struct test_device *device = test->priv;
	struct hmm_devmem_stats stats;

	KUNIT_EXPECT_TRUE(test, block_test_wait_lent(blocks));
	hmm_devmem_get_stats(device->devmem, &stats);
	KUNIT_EXPECT_EQ(test, BLOCKS * NR, stats.total);
	KUNIT_EXPECT_EQ(test, blocks * NR, stats.owned);
	KUNIT_EXPECT_EQ(test, used, stats.used);
	KUNIT_EXPECT_EQ(test, driver.gets - driver.puts, blocks);
}

/* Give back what is free; then @blocks are lent and @used pages in use. */
static void block_test_give_back(struct kunit *test, unsigned int blocks,
				 unsigned long used)
{
	struct test_device *device = test->priv;

	hmm_block_put_free(device->devmem, ULONG_MAX, HMM_DEVMEM_LIVE);
	block_test_expect(test, blocks, used);
}

/* A block's worth of memory without pages. */
static unsigned long block_test_map(struct kunit *test)
{
	unsigned long addr = test_reserve(test, PMD_SIZE);

	test_mmap_at(test, addr, PMD_SIZE, PROT_READ | PROT_WRITE);
	return addr;
}

static int block_test_fill(struct kunit *test, unsigned long addr,
			   unsigned int timeout_ms, unsigned long *filled)
{
	struct test_device *device = test->priv;
	struct hmm_migrate_result result;
	int ret;

	ret = hmm_migrate_to_device(device->devmem, current->mm, addr,
				    addr + PMD_SIZE, timeout_ms, &result);
	*filled = result.filled;
	return ret;
}

/* A block's worth of process memory in device memory. */
static unsigned long block_test_map_there(struct kunit *test)
{
	unsigned long addr = block_test_map(test), filled;

	KUNIT_ASSERT_EQ(test, 0, block_test_fill(test, addr, 0, &filled));
	KUNIT_ASSERT_EQ(test, NR, filled);
	return addr;
}

static void block_test_unmap(struct kunit *test, unsigned long addr)
{
	KUNIT_ASSERT_EQ(test, 0, vm_munmap(addr, PMD_SIZE));
}

/* A page in a block of its own that somebody holds. */
static struct page *block_test_hold(struct kunit *test)
{
	struct test_device *device = test->priv;
	struct page *page = NULL;
	int err, idx;

	KUNIT_ASSERT_EQ(test, 0, hmm_block_get(device->devmem, 0));
	KUNIT_ASSERT_TRUE(test, hmm_devmem_enter(device->devmem,
						 HMM_DEVMEM_LIVE, &idx));
	KUNIT_EXPECT_EQ(test, 1, hmm_devmem_alloc_pages(device->devmem, NULL, 1,
							&page, &err));
	hmm_devmem_leave(device->devmem, idx);
	KUNIT_ASSERT_NOT_NULL(test, page);
	return page;
}

static void block_test_args(struct kunit *test)
{
	struct hmm_devmem_desc desc = block_test_desc(test->priv);
	struct hmm_devmem_ops ops = block_test_ops;

	desc.ops = &ops;
	ops.get_block = NULL;
	KUNIT_EXPECT_EQ(test, -EINVAL, PTR_ERR(hmm_devmem_add(&desc, SIZE)));
	ops.get_block = block_test_get;
	ops.put_block = NULL;
	KUNIT_EXPECT_EQ(test, -EINVAL, PTR_ERR(hmm_devmem_add(&desc, SIZE)));
}

static void block_test_none_at_first(struct kunit *test)
{
	struct test_device *device = test->priv;
	struct page *page;
	int err, idx;

	block_test_expect(test, 0, 0);
	KUNIT_EXPECT_EQ(test, 0, hmm_devmem_nr_free(device->devmem));
	KUNIT_ASSERT_TRUE(test, hmm_devmem_enter(device->devmem,
						 HMM_DEVMEM_LIVE, &idx));
	KUNIT_EXPECT_EQ(test, 0, hmm_devmem_alloc_pages(device->devmem, NULL, 1,
							&page, &err));
	hmm_devmem_leave(device->devmem, idx);
	KUNIT_EXPECT_EQ(test, 0, driver.gets);
}

static void block_test_lend(struct kunit *test)
{
	unsigned long addr[2];

	addr[0] = block_test_map_there(test);
	block_test_expect(test, 1, NR);
	KUNIT_EXPECT_EQ(test, 0, driver.timeout_ms);
	addr[1] = block_test_map_there(test);
	block_test_expect(test, 2, 2 * NR);
	KUNIT_EXPECT_EQ(test, 2, driver.gets);
	/* They are in use. */
	block_test_give_back(test, 2, 2 * NR);

	KUNIT_ASSERT_EQ(test, 0, vm_munmap(addr[0], PMD_SIZE - PAGE_SIZE));
	block_test_give_back(test, 2, NR + 1);
	KUNIT_ASSERT_EQ(test, 0, vm_munmap(addr[0] + PMD_SIZE - PAGE_SIZE,
					   PAGE_SIZE));
	block_test_give_back(test, 1, NR);
	KUNIT_EXPECT_FALSE(test, driver.lent[0]);
	KUNIT_EXPECT_TRUE(test, driver.lent[1]);
	block_test_unmap(test, addr[1]);
	block_test_give_back(test, 0, 0);
}

/* What the device clears is what the process sees. */
static void block_test_cleared(struct kunit *test)
{
	struct test_device *device = test->priv;
	unsigned long addr;

	memset(device->storage, 0xa5, SIZE);
	addr = block_test_map_there(test);
	KUNIT_EXPECT_EQ(test, 0, test_read_word(test, addr));
	KUNIT_EXPECT_EQ(test, 0, test_read_word(test, addr + PMD_SIZE -
						      sizeof(u64)));
}

/* A worker does it, too. */
static void block_test_worker(struct kunit *test)
{
	unsigned long addr = block_test_map_there(test);

	block_test_expect(test, 1, NR);
	block_test_unmap(test, addr);
	block_test_expect(test, 0, 0);
	/* One that nothing has moved into. */
	KUNIT_EXPECT_EQ(test, 0,
			hmm_block_get(((struct test_device *)test->priv)->devmem,
				      0));
	block_test_expect(test, 0, 0);
	KUNIT_EXPECT_EQ(test, 2, driver.gets);
}

/* A driver that lends no more: process memory takes the place of older. */
static void block_test_refused(struct kunit *test)
{
	unsigned long addr = block_test_map(test), filled;

	driver.limit = 0;
	KUNIT_EXPECT_EQ(test, -ENOSPC, block_test_fill(test, addr, 0, &filled));
	KUNIT_EXPECT_EQ(test, 0, filled);
	KUNIT_EXPECT_EQ(test, -ENOSPC, block_test_fill(test, addr, WAIT_MS,
						       &filled));
	KUNIT_EXPECT_EQ(test, WAIT_MS, driver.timeout_ms);
	KUNIT_EXPECT_EQ(test, 0, filled);
	block_test_expect(test, 0, 0);

	driver.limit = 1;
	block_test_map_there(test);
	KUNIT_EXPECT_EQ(test, -ENOSPC, block_test_fill(test, addr, 0, &filled));
	KUNIT_EXPECT_EQ(test, 0, filled);
	KUNIT_EXPECT_EQ(test, 0, block_test_fill(test, addr, TEST_TIMEOUT_MS,
						 &filled));
	KUNIT_EXPECT_EQ(test, NR, filled);
	block_test_expect(test, 1, NR);
}

static void block_test_huge(struct kunit *test)
{
	struct test_device *device = test->priv;
	struct folio *folio;
	int err, idx;

	if (!hmm_devmem_huge_ok(device->devmem))
		kunit_skip(test, "no huge folios in device memory");
	KUNIT_ASSERT_EQ(test, 0, hmm_block_get(device->devmem, 0));
	KUNIT_ASSERT_TRUE(test, hmm_devmem_enter(device->devmem,
						 HMM_DEVMEM_LIVE, &idx));
	folio = hmm_devmem_alloc_huge(device->devmem, NULL, &err);
	KUNIT_EXPECT_NULL(test, hmm_devmem_alloc_huge(device->devmem, NULL,
						      &err));
	hmm_devmem_leave(device->devmem, idx);
	KUNIT_ASSERT_NOT_NULL(test, folio);
	block_test_give_back(test, 1, NR);
	folio_unlock(folio);
	folio_put(folio);
	block_test_give_back(test, 0, 0);
}

static int block_test_reclaim(struct kunit *test, unsigned long nr,
			      unsigned int timeout_ms, unsigned long *reclaimed)
{
	struct test_device *device = test->priv;

	return hmm_devmem_reclaim_blocks(device->devmem, nr, timeout_ms,
					 reclaimed);
}

static void block_test_reclaim_oldest(struct kunit *test)
{
	struct test_device *device = test->priv;
	unsigned long filled, reclaimed, addr[3];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(addr); i++) {
		addr[i] = block_test_map(test);
		test_write_word(test, addr[i], i + 1);
		KUNIT_ASSERT_EQ(test, 0, block_test_fill(test, addr[i], 0,
							 &filled));
	}
	block_test_expect(test, 3, 3 * NR);
	KUNIT_EXPECT_EQ(test, 0, block_test_reclaim(test, 0, 0, &reclaimed));
	KUNIT_EXPECT_EQ(test, 0, reclaimed);

	hmm_devmem_touch(device->devmem,
			 PHYS_PFN(device->devmem->pgmap.range.start), 1);
	KUNIT_EXPECT_EQ(test, 0, block_test_reclaim(test, 1, TEST_TIMEOUT_MS,
						    &reclaimed));
	KUNIT_EXPECT_EQ(test, 1, reclaimed);
	KUNIT_EXPECT_FALSE(test, driver.lent[1]);
	block_test_expect(test, 2, 2 * NR);

	driver.kept[2] = true;
	KUNIT_EXPECT_EQ(test, 0, block_test_reclaim(test, 1, TEST_TIMEOUT_MS,
						    &reclaimed));
	KUNIT_EXPECT_EQ(test, 1, reclaimed);
	KUNIT_EXPECT_FALSE(test, driver.lent[0]);
	KUNIT_EXPECT_EQ(test, -EBUSY, block_test_reclaim(test, 1,
							 TEST_TIMEOUT_MS,
							 &reclaimed));
	KUNIT_EXPECT_EQ(test, 0, reclaimed);
	block_test_expect(test, 1, NR);

	driver.kept[2] = false;
	KUNIT_EXPECT_EQ(test, 0, block_test_reclaim(test, 2, TEST_TIMEOUT_MS,
						    &reclaimed));
	KUNIT_EXPECT_EQ(test, 1, reclaimed);
	block_test_expect(test, 0, 0);
	for (i = 0; i < ARRAY_SIZE(addr); i++)
		KUNIT_EXPECT_EQ(test, i + 1, test_read_word(test, addr[i]));
}

/* What is free goes first; a block with a page that somebody holds stays. */
static void block_test_reclaim_held(struct kunit *test)
{
	struct page *page = block_test_hold(test);
	unsigned long reclaimed;

	KUNIT_EXPECT_EQ(test, -ETIME, block_test_reclaim(test, 1, WAIT_MS,
							 &reclaimed));
	KUNIT_EXPECT_EQ(test, 0, reclaimed);

	/* Of its pages all but one move into the held page's block. */
	block_test_map_there(test);
	block_test_expect(test, 2, NR + 1);
	KUNIT_EXPECT_EQ(test, 0, block_test_reclaim(test, 1, TEST_TIMEOUT_MS,
						    &reclaimed));
	KUNIT_EXPECT_EQ(test, 1, reclaimed);
	KUNIT_EXPECT_TRUE(test, driver.lent[0]);
	block_test_expect(test, 1, 1);
	hmm_devmem_free_pages(&page, 1);
	KUNIT_EXPECT_EQ(test, 0, block_test_reclaim(test, 1, TEST_TIMEOUT_MS,
						    &reclaimed));
	block_test_expect(test, 0, 0);
}

static void block_test_reclaim_plain(struct kunit *test)
{
	struct test_device *plain = test_device_create_another(test);
	struct hmm_devmem_stats stats;
	unsigned long reclaimed = 1;

	test_device_add_memory(test, plain);
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP,
			hmm_devmem_reclaim_blocks(plain->devmem, 1, 0,
						  &reclaimed));
	KUNIT_EXPECT_EQ(test, 0, reclaimed);
	hmm_devmem_get_stats(plain->devmem, &stats);
	KUNIT_EXPECT_EQ(test, stats.total, stats.owned);
}

/* Pages of another device find room, if the driver lends some. */
static void block_test_evict_to(struct kunit *test)
{
	struct test_device *plain = test_device_create_another(test);
	const unsigned long length = 8 * PAGE_SIZE;
	struct test_device *device = test->priv;
	struct hmm_devmem_evict_result evicted;
	unsigned long addr;

	test_device_add_memory(test, plain);
	addr = test_mmap(test, length, PROT_READ | PROT_WRITE);
	test_write_word(test, addr, 7);
	test_device_move_in(test, plain, addr, length / PAGE_SIZE);
	driver.limit = 0;
	KUNIT_EXPECT_EQ(test, -ENOSPC,
			hmm_devmem_evict_to(plain->devmem, device->devmem,
					    ULONG_MAX, TEST_TIMEOUT_MS,
					    &evicted));
	KUNIT_EXPECT_EQ(test, 8, evicted.no_room);
	driver.limit = BLOCKS;
	KUNIT_EXPECT_EQ(test, 0,
			hmm_devmem_evict_to(plain->devmem, device->devmem,
					    ULONG_MAX, TEST_TIMEOUT_MS,
					    &evicted));
	KUNIT_EXPECT_EQ(test, 8, evicted.evicted);
	KUNIT_EXPECT_EQ(test, 0, evicted.no_room);
	block_test_expect(test, 1, 8);
	KUNIT_EXPECT_EQ(test, 7, test_read_word(test, addr));
}

static void block_test_remove(struct kunit *test)
{
	struct test_device *device = test->priv;
	unsigned long addr = block_test_map(test), filled;

	test_write_word(test, addr, 7);
	KUNIT_ASSERT_EQ(test, 0, block_test_fill(test, addr, 0, &filled));
	KUNIT_EXPECT_EQ(test, 1, driver.nr_lent);
	KUNIT_EXPECT_EQ(test, 0, hmm_devmem_remove(device->devmem,
						   TEST_TIMEOUT_MS, NULL));
	device->devmem = NULL;
	KUNIT_EXPECT_EQ(test, 0, driver.nr_lent);
	KUNIT_EXPECT_EQ(test, 7, test_read_word(test, addr));
}

/* After the removal nobody calls the driver, whatever is freed. */
static void block_test_remove_busy(struct kunit *test)
{
	struct page *page = block_test_hold(test);
	struct test_device *device = test->priv;

	KUNIT_ASSERT_EQ(test, 0, hmm_block_get(device->devmem, 0));
	KUNIT_EXPECT_EQ(test, 2, driver.nr_lent);
	KUNIT_EXPECT_EQ(test, -EBUSY, hmm_devmem_remove(device->devmem, 1,
							NULL));
	device->devmem = NULL;
	KUNIT_EXPECT_EQ(test, 1, driver.nr_lent);
	KUNIT_EXPECT_TRUE(test, driver.lent[0]);
	hmm_devmem_free_pages(&page, 1);
	msleep(20);
	KUNIT_EXPECT_EQ(test, 1, driver.nr_lent);
}

/* The driver cares for its own; a poisoned block of the toolbox's stays there. */
static void block_test_poison(struct kunit *test)
{
	struct test_device *device = test->priv;
	struct hmm_devmem_stats stats;
	unsigned long reclaimed;

	KUNIT_EXPECT_EQ(test, -ENXIO,
			hmm_devmem_memory_failure(device->devmem, 0, PAGE_SIZE));
	KUNIT_ASSERT_EQ(test, 0, hmm_block_get(device->devmem, 0));
	KUNIT_EXPECT_EQ(test, -ENXIO,
			hmm_devmem_memory_failure(device->devmem,
						  HMM_DEVMEM_BLOCK_SIZE,
						  PAGE_SIZE));
	hmm_devmem_get_stats(device->devmem, &stats);
	KUNIT_EXPECT_EQ(test, 0, stats.poisoned);

	KUNIT_EXPECT_EQ(test, 0,
			hmm_devmem_memory_failure(device->devmem, PAGE_SIZE,
						  PAGE_SIZE));
	block_test_give_back(test, 1, 0);
	KUNIT_EXPECT_EQ(test, NR - 1, hmm_devmem_nr_free(device->devmem));
	/* It is no block to wait for. */
	KUNIT_EXPECT_EQ(test, 0, block_test_reclaim(test, 1, TEST_TIMEOUT_MS,
						    &reclaimed));
	KUNIT_EXPECT_EQ(test, 0, reclaimed);
	KUNIT_EXPECT_EQ(test, 0, hmm_devmem_remove(device->devmem,
						   TEST_TIMEOUT_MS, NULL));
	device->devmem = NULL;
	KUNIT_EXPECT_EQ(test, 0, driver.nr_lent);
}

/* Before tasks are frozen all is the driver's again, and stays so. */
static void block_test_suspend(struct kunit *test)
{
	struct test_device *device = test->priv;
	unsigned long addr = block_test_map_there(test), filled;

	KUNIT_EXPECT_EQ(test, 0,
			notifier_to_errno(hmm_pm_notify(NULL, PM_SUSPEND_PREPARE,
							NULL)));
	KUNIT_EXPECT_EQ(test, 0, driver.nr_lent);
	KUNIT_EXPECT_EQ(test, -EAGAIN, hmm_block_get(device->devmem, 0));
	KUNIT_EXPECT_EQ(test, -EAGAIN, block_test_fill(test, addr,
						       TEST_TIMEOUT_MS,
						       &filled));
	KUNIT_EXPECT_EQ(test, 1, driver.gets);
	hmm_pm_notify(NULL, PM_POST_SUSPEND, NULL);
	block_test_map_there(test);
	block_test_expect(test, 1, NR);
}

static struct kunit_case block_test_cases[] = {
	KUNIT_CASE(block_test_args),
	KUNIT_CASE(block_test_none_at_first),
	KUNIT_CASE(block_test_lend),
	KUNIT_CASE(block_test_cleared),
	KUNIT_CASE(block_test_worker),
	KUNIT_CASE(block_test_refused),
	KUNIT_CASE(block_test_huge),
	KUNIT_CASE(block_test_reclaim_oldest),
	KUNIT_CASE(block_test_reclaim_held),
	KUNIT_CASE(block_test_reclaim_plain),
	KUNIT_CASE(block_test_evict_to),
	KUNIT_CASE(block_test_remove),
	KUNIT_CASE(block_test_remove_busy),
	KUNIT_CASE(block_test_poison),
	KUNIT_CASE(block_test_suspend),
	{}
};

static struct kunit_suite block_test_suite = {
	.name = "hmm_block",
	.init = block_test_init,
	.exit = block_test_exit,
	.test_cases = block_test_cases,
};

kunit_test_suite(block_test_suite);
