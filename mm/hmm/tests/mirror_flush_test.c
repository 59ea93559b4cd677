// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of invalidations: flushes in batches, and faults that wait.
 */
#include <linux/kthread.h>
#include <linux/mman.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/workqueue.h>

#include "test_device.h"

static int flush_test_init(struct kunit *test)
{
	test->priv = test_device_create(test);
	return 0;
}

static void flush_test_exit(struct kunit *test)
{
	test_device_destroy(test->priv);
}

/* One munmap() over four of five pieces, with @nr devices. */
static void flush_test_unmap(struct kunit *test, struct test_device **devices,
			     unsigned int nr)
{
	const unsigned long size = 4 * PMD_SIZE;
	unsigned long base = test_reserve(test, 5 * PMD_SIZE);
	unsigned long left;
	int start, wait, zap;
	unsigned int i, j;

	test_mmap_at(test, base, 5 * PMD_SIZE, PROT_READ | PROT_WRITE);
	for (i = 0; i < nr; i++) {
		struct hmm_mirror_desc desc = test_mirror_desc(devices[i]);

		desc.ops = &test_flush_ops;
		test_device_mirror_as(test, devices[i], &desc);
		for (j = 0; j < 5; j++)
			KUNIT_ASSERT_EQ(test, 0,
					hmm_mirror_fault(&devices[i]->mirror,
							 base + j * PMD_SIZE,
							 HMM_MIRROR_WRITE));
	}

	test_log_reset();
	KUNIT_ASSERT_EQ(test, 0, vm_munmap(base, size));
	wait = test_log_find(NULL, TEST_FLUSH_WAIT, 0);
	for (i = 0; i < nr; i++) {
		KUNIT_EXPECT_EQ(test, test_log_count(devices[i], TEST_ZAP), 4);
		KUNIT_EXPECT_EQ(test, 1, test_log_count(devices[i],
							TEST_FLUSH_START));
		KUNIT_EXPECT_TRUE(test, test_device_flushed(devices[i]));
		zap = test_log_find(devices[i], TEST_ZAP, 3);
		start = test_log_find(devices[i], TEST_FLUSH_START, 0);
		KUNIT_ASSERT_GE(test, start, 0);
		/* All devices flush before anybody waits. */
		KUNIT_EXPECT_LT(test, zap, start);
		KUNIT_EXPECT_LT(test, start, wait);
		KUNIT_EXPECT_EQ(test, test_log.events[start].start, base);
		KUNIT_EXPECT_EQ(test, test_log.events[start].end, base + size);
		left = test_device_count(devices[i], base, size >> PAGE_SHIFT, 0);
		KUNIT_EXPECT_EQ(test, left, 0);
		left = test_device_count(devices[i], base + size, 1, 0);
		KUNIT_EXPECT_EQ(test, left, 1);
	}
}

static void flush_test_pieces(struct kunit *test)
{
	struct test_device *device = test->priv;
	struct hmm_mirror_stats stats;

	flush_test_unmap(test, &device, 1);
	hmm_mirror_get_stats(&device->mirror, &stats);
	KUNIT_EXPECT_GE(test, stats.invalidations, 4);
	KUNIT_EXPECT_EQ(test, stats.timeouts, 0);

	hmm_mirror_unregister(&device->mirror);
	device->mirrored = false;
	KUNIT_EXPECT_TRUE(test, test_device_flushed(device));
}

static void flush_test_devices(struct kunit *test)
{
	struct test_device *devices[] = {
		test->priv, test_device_create_another(test) };

	flush_test_unmap(test, devices, ARRAY_SIZE(devices));
}

#ifdef mmu_interval_read_begin_timeout
struct flush_test_worker {
	struct work_struct work;
	struct mm_struct *mm;
	unsigned long addr;
};

static void flush_test_work(struct work_struct *work)
{
	struct flush_test_worker *unmap =
		container_of(work, struct flush_test_worker, work);

	kthread_use_mm(unmap->mm);
	vm_munmap(unmap->addr, PAGE_SIZE);
	kthread_unuse_mm(unmap->mm);
}

/* An invalidation next to the page that takes longer than a fault may. */
static void flush_test_deadline(struct kunit *test)
{
	struct test_device *device = test->priv;
	struct hmm_mirror_desc desc = test_mirror_desc(device);
	struct flush_test_worker unmap;
	struct hmm_mirror_stats stats;
	unsigned long addr, since;
	unsigned int ms;
	int err;

	desc.ops = &test_flush_ops;
	desc.timeout_ms = 200;
	test_device_mirror_as(test, device, &desc);
	addr = test_reserve(test, PMD_SIZE);
	test_mmap_at(test, addr, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE);
	test_write_word(test, addr, 1);
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_fault(&device->mirror, addr, 0));

	/* No assertion until the worker has left: unmap is on the stack. */
	unmap.mm = current->mm;
	unmap.addr = addr + PAGE_SIZE;
	INIT_WORK_ONSTACK(&unmap.work, flush_test_work);
	device->stall = true;
	schedule_work(&unmap.work);
	KUNIT_EXPECT_NE(test, 0,
			wait_for_completion_timeout(&device->stalled,
						    msecs_to_jiffies(TEST_TIMEOUT_MS)));
	since = jiffies;
	err = hmm_mirror_fault(&device->mirror, addr, 0);
	ms = jiffies_to_msecs(jiffies - since);
	complete(&device->resume);
	flush_work(&unmap.work);
	destroy_work_on_stack(&unmap.work);

	KUNIT_EXPECT_EQ(test, err, -ETIME);
	KUNIT_EXPECT_GE(test, ms, desc.timeout_ms / 2);
	KUNIT_EXPECT_LT(test, ms, TEST_TIMEOUT_MS / 2);
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_fault(&device->mirror, addr, 0));
	hmm_mirror_get_stats(&device->mirror, &stats);
	KUNIT_EXPECT_EQ(test, stats.timeouts, 1);
}
#else
static void flush_test_deadline(struct kunit *test)
{
	kunit_skip(test, "this kernel has no mmu_interval_read_begin_timeout()");
}
#endif

static struct kunit_case flush_test_cases[] = {
	KUNIT_CASE(flush_test_pieces),
	KUNIT_CASE(flush_test_devices),
	KUNIT_CASE(flush_test_deadline),
	{}
};

static struct kunit_suite flush_test_suite = {
	.name = "hmm_mirror_flush",
	.init = flush_test_init,
	.exit = flush_test_exit,
	.test_cases = flush_test_cases,
};

kunit_test_suite(flush_test_suite);
