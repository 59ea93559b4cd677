// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of sleep states: what happens to device memory that loses power.
 *
 * The system does not go to sleep; the toolbox is told so.
 */
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/mman.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/suspend.h>
#include <linux/workqueue.h>

#include "../internal.h"
#include "test_device.h"

#define NR	8
#define LENGTH	(NR * PAGE_SIZE)

/* The device whose copies to RAM fail, and how. */
static struct test_device *pm_test_failing;
static int pm_test_error;

static int pm_test_copy(struct hmm_devmem *devmem,
			struct hmm_devmem_batch *batch)
{
	if (hmm_devmem_private(devmem) == pm_test_failing &&
	    batch->direction == DMA_FROM_DEVICE)
		return pm_test_error;
	return test_copy(devmem, batch);
}

/* A device in use keeps all of its memory, if it is asked. */
static bool pm_test_may_evict(struct hmm_devmem *devmem, u64 offset, u64 size)
{
	return false;
}

static const struct hmm_devmem_ops pm_test_ops = {
	.copy = pm_test_copy,
	.clear = test_clear,
	.may_evict = pm_test_may_evict,
};

static int pm_test_notify(unsigned long event)
{
	return notifier_to_errno(hmm_pm_notify(NULL, event, NULL));
}

static int pm_test_init(struct kunit *test)
{
	pm_test_failing = NULL;
	test->priv = test_device_create(test);
	return 0;
}

static void pm_test_exit(struct kunit *test)
{
	pm_test_notify(PM_POST_HIBERNATION);
	pm_test_notify(PM_POST_SUSPEND);
	pm_test_notify(PM_POST_RESTORE);
	pm_test_failing = NULL;
	test_device_destroy(test->priv);
}

static void pm_test_add_memory(struct kunit *test, struct test_device *device,
			       bool loses_power)
{
	struct hmm_devmem_desc desc = test_devmem_desc(device);

	desc.ops = &pm_test_ops;
	desc.loses_power = loses_power;
	test_device_add_memory_as(test, device, &desc, TEST_DEVICE_SIZE);
}

static void pm_test_move_in(struct kunit *test, struct test_device *device,
			    unsigned long addr)
{
	struct hmm_migrate_result result;

	KUNIT_EXPECT_EQ(test, 0,
			hmm_migrate_to_device(device->devmem, current->mm, addr,
					      addr + LENGTH, 0, &result));
	KUNIT_EXPECT_EQ(test, NR, result.moved);
	KUNIT_EXPECT_EQ(test, NR, test_device_used(device));
}

/* Nothing moves in, whether there is something to move or not. */
static void pm_test_refused(struct kunit *test, struct test_device *device,
			    unsigned long addr)
{
	unsigned long hole = test_mmap(test, LENGTH, PROT_READ | PROT_WRITE);
	struct hmm_migrate_result result;

	KUNIT_EXPECT_EQ(test, -EAGAIN,
			hmm_migrate_to_device(device->devmem, current->mm, addr,
					      addr + LENGTH, TEST_TIMEOUT_MS,
					      &result));
	KUNIT_EXPECT_EQ(test, 0, result.moved + result.filled);
	KUNIT_EXPECT_EQ(test, NR, result.left);
	KUNIT_EXPECT_EQ(test, -EAGAIN,
			hmm_migrate_to_device(device->devmem, current->mm, hole,
					      hole + LENGTH, 0, &result));
	KUNIT_EXPECT_EQ(test, 0, result.moved + result.filled);
	KUNIT_EXPECT_EQ(test, NR, result.left);
	KUNIT_EXPECT_EQ(test, 0, test_device_used(device));
}

static void pm_test_there_and_back(struct kunit *test, unsigned long prepare,
				   unsigned long post)
{
	struct test_device *device = test->priv;
	struct hmm_devmem_stats stats;
	unsigned long addr;

	pm_test_add_memory(test, device, true);
	addr = test_fill_pages(test, NR, prepare);
	pm_test_move_in(test, device, addr);

	/* The device's wish to keep its memory does not count. */
	KUNIT_EXPECT_EQ(test, 0, pm_test_notify(prepare));
	hmm_devmem_get_stats(device->devmem, &stats);
	KUNIT_EXPECT_EQ(test, 0, stats.used);
	KUNIT_EXPECT_EQ(test, NR, stats.evicted);
	KUNIT_EXPECT_EQ(test, 0, stats.cpu_faults);
	test_verify_pages(test, addr, NR, prepare);
	pm_test_refused(test, device, addr);

	KUNIT_EXPECT_EQ(test, 0, pm_test_notify(post));
	pm_test_move_in(test, device, addr);
	KUNIT_EXPECT_EQ(test, 0,
			hmm_migrate_to_ram(current->mm, device, addr,
					   addr + LENGTH,
					   &(struct hmm_migrate_result){}));
	test_verify_pages(test, addr, NR, prepare);
}

static void pm_test_suspend(struct kunit *test)
{
	pm_test_there_and_back(test, PM_SUSPEND_PREPARE, PM_POST_SUSPEND);
}

static void pm_test_hibernation(struct kunit *test)
{
	pm_test_there_and_back(test, PM_HIBERNATION_PREPARE,
			       PM_POST_HIBERNATION);
}

static void pm_test_restore(struct kunit *test)
{
	pm_test_there_and_back(test, PM_RESTORE_PREPARE, PM_POST_RESTORE);
}

/* Memory that keeps its power is left alone, unless the system hibernates. */
static void pm_test_keeps_power(struct kunit *test)
{
	struct test_device *device = test->priv;
	struct hmm_migrate_result result;
	unsigned long addr, other;

	pm_test_add_memory(test, device, false);
	addr = test_fill_pages(test, NR, 1);
	other = test_fill_pages(test, NR, 2);
	pm_test_move_in(test, device, addr);

	KUNIT_EXPECT_EQ(test, 0, pm_test_notify(PM_SUSPEND_PREPARE));
	KUNIT_EXPECT_EQ(test, NR, test_device_used(device));
	KUNIT_EXPECT_EQ(test, 0,
			hmm_migrate_to_device(device->devmem, current->mm, other,
					      other + LENGTH, 0, &result));
	KUNIT_EXPECT_EQ(test, NR, result.moved);
	KUNIT_EXPECT_EQ(test, 0, pm_test_notify(PM_POST_SUSPEND));
	KUNIT_EXPECT_EQ(test, 2 * NR, test_device_used(device));

	KUNIT_EXPECT_EQ(test, 0, pm_test_notify(PM_HIBERNATION_PREPARE));
	pm_test_refused(test, device, addr);
	KUNIT_EXPECT_EQ(test, 0, pm_test_notify(PM_POST_HIBERNATION));
	pm_test_move_in(test, device, addr);
	test_verify_pages(test, addr, NR, 1);
	test_verify_pages(test, other, NR, 2);
}

/* Devices that come and go while the system is about to sleep. */
static void pm_test_hotplug(struct kunit *test)
{
	struct test_device *device = test->priv;
	struct test_device *another = test_device_create_another(test);
	unsigned long addr = test_fill_pages(test, NR, 1);

	pm_test_add_memory(test, device, true);
	KUNIT_EXPECT_EQ(test, 0, pm_test_notify(PM_SUSPEND_PREPARE));
	pm_test_add_memory(test, another, true);
	pm_test_refused(test, another, addr);
	KUNIT_EXPECT_EQ(test, 0, hmm_devmem_remove(device->devmem,
						   TEST_TIMEOUT_MS, NULL));
	device->devmem = NULL;
	KUNIT_EXPECT_EQ(test, 0, pm_test_notify(PM_POST_SUSPEND));
	pm_test_move_in(test, another, addr);
	test_verify_pages(test, addr, NR, 1);
}

/* The system is suspended while a program has begun to hibernate it. */
static void pm_test_nested(struct kunit *test)
{
	struct test_device *device = test->priv;
	unsigned long addr = test_fill_pages(test, NR, 1);

	pm_test_add_memory(test, device, true);
	KUNIT_EXPECT_EQ(test, 0, pm_test_notify(PM_HIBERNATION_PREPARE));
	KUNIT_EXPECT_EQ(test, 0, pm_test_notify(PM_SUSPEND_PREPARE));
	pm_test_refused(test, device, addr);
	KUNIT_EXPECT_EQ(test, 0, pm_test_notify(PM_POST_SUSPEND));
	pm_test_refused(test, device, addr);
	KUNIT_EXPECT_EQ(test, 0, pm_test_notify(PM_POST_HIBERNATION));
	/* Nobody was told of a beginning. */
	KUNIT_EXPECT_EQ(test, 0, pm_test_notify(PM_POST_SUSPEND));
	pm_test_move_in(test, device, addr);
}

/* One device cannot be emptied: all stay in use, and it can be tried again. */
static void pm_test_aborted(struct kunit *test, int error, int expected)
{
	struct test_device *device = test->priv;
	struct test_device *another = test_device_create_another(test);
	unsigned long addr, other;

	pm_test_add_memory(test, device, true);
	pm_test_add_memory(test, another, true);
	addr = test_fill_pages(test, NR, 1);
	other = test_fill_pages(test, NR, 2);
	pm_test_move_in(test, device, addr);
	pm_test_move_in(test, another, other);

	pm_test_error = error;
	pm_test_failing = another;
	KUNIT_EXPECT_EQ(test, expected, pm_test_notify(PM_SUSPEND_PREPARE));
	KUNIT_EXPECT_EQ(test, 0, test_device_used(device));
	KUNIT_EXPECT_EQ(test, NR, test_device_used(another));
	/* No PM_POST_SUSPEND comes. */
	pm_test_move_in(test, device, addr);

	pm_test_failing = NULL;
	KUNIT_EXPECT_EQ(test, 0, pm_test_notify(PM_SUSPEND_PREPARE));
	pm_test_refused(test, device, addr);
	pm_test_refused(test, another, other);
	KUNIT_EXPECT_EQ(test, 0, pm_test_notify(PM_POST_SUSPEND));
	test_verify_pages(test, addr, NR, 1);
	test_verify_pages(test, other, NR, 2);
}

static void pm_test_no_ram(struct kunit *test)
{
	pm_test_aborted(test, -ENOMEM, -ENOMEM);
}

static void pm_test_copy_fails(struct kunit *test)
{
	pm_test_aborted(test, -EREMOTEIO, -EIO);
}

/* Nor does an eviction move anything there before the system is awake again. */
static void pm_test_evict_to(struct kunit *test)
{
	struct test_device *device = test->priv;
	struct test_device *awake = test_device_create_another(test);
	struct hmm_devmem_evict_result result;
	unsigned long addr;

	pm_test_add_memory(test, device, true);
	test_device_add_memory(test, awake);
	addr = test_fill_pages(test, NR, 1);
	pm_test_move_in(test, awake, addr);
	KUNIT_EXPECT_EQ(test, 0, pm_test_notify(PM_SUSPEND_PREPARE));
	KUNIT_EXPECT_EQ(test, -EAGAIN,
			hmm_devmem_evict_to(awake->devmem, device->devmem,
					    ULONG_MAX, TEST_TIMEOUT_MS,
					    &result));
	KUNIT_EXPECT_EQ(test, 0, result.evicted);
	KUNIT_EXPECT_EQ(test, NR, result.untried);
	KUNIT_EXPECT_EQ(test, NR, test_device_used(awake));
	KUNIT_EXPECT_EQ(test, 0, test_device_used(device));

	KUNIT_EXPECT_EQ(test, 0, pm_test_notify(PM_POST_SUSPEND));
	KUNIT_EXPECT_EQ(test, 0,
			hmm_devmem_evict_to(awake->devmem, device->devmem,
					    ULONG_MAX, TEST_TIMEOUT_MS,
					    &result));
	KUNIT_EXPECT_EQ(test, NR, result.evicted);
	KUNIT_EXPECT_EQ(test, NR, test_device_used(device));
	test_verify_pages(test, addr, NR, 1);
}

/* A page that somebody holds. */
static struct page *pm_test_hold(struct kunit *test, struct test_device *device)
{
	struct page *page;
	int err, idx;

	KUNIT_ASSERT_TRUE(test, hmm_devmem_enter(device->devmem,
						 HMM_DEVMEM_LIVE, &idx));
	KUNIT_ASSERT_EQ(test, 1, hmm_devmem_alloc_pages(device->devmem, NULL, 1,
							&page, &err));
	hmm_devmem_leave(device->devmem, idx);
	return page;
}

static void pm_test_busy(struct kunit *test)
{
	struct test_device *device = test->priv;
	unsigned long addr = test_fill_pages(test, NR, 1);
	struct page *page;

	pm_test_add_memory(test, device, true);
	pm_test_move_in(test, device, addr);
	page = pm_test_hold(test, device);
	KUNIT_EXPECT_EQ(test, -EBUSY, pm_test_notify(PM_SUSPEND_PREPARE));
	KUNIT_EXPECT_EQ(test, 1, test_device_used(device));
	hmm_devmem_free_pages(&page, 1);
	pm_test_move_in(test, device, addr);
	KUNIT_EXPECT_EQ(test, 0, pm_test_notify(PM_SUSPEND_PREPARE));
	pm_test_refused(test, device, addr);
	test_verify_pages(test, addr, NR, 1);
}

/* Whoever puts the system to sleep is killed meanwhile. */
static void pm_test_killed(struct kunit *test)
{
	struct test_device *device = test->priv;
	unsigned long addr = test_fill_pages(test, NR, 1);
	struct page *page;

	pm_test_add_memory(test, device, true);
	page = pm_test_hold(test, device);
	allow_signal(SIGKILL);
	send_sig(SIGKILL, current, 1);
	KUNIT_EXPECT_EQ(test, -EINTR, pm_test_notify(PM_SUSPEND_PREPARE));
	flush_signals(current);
	disallow_signal(SIGKILL);
	hmm_devmem_free_pages(&page, 1);
	pm_test_move_in(test, device, addr);
	test_verify_pages(test, addr, NR, 1);
}

struct pm_test_prepare {
	struct work_struct work;
	int ret;
};

static void pm_test_prepare_work(struct work_struct *work)
{
	struct pm_test_prepare *prepare =
		container_of(work, struct pm_test_prepare, work);

	prepare->ret = pm_test_notify(PM_SUSPEND_PREPARE);
}

/* A device is removed while the toolbox waits for a page of it. */
static void pm_test_removed_meanwhile(struct kunit *test)
{
	struct test_device *device = test->priv;
	struct pm_test_prepare prepare = {};
	struct page *page;
	unsigned long start;

	pm_test_add_memory(test, device, true);
	page = pm_test_hold(test, device);
	INIT_WORK_ONSTACK(&prepare.work, pm_test_prepare_work);
	schedule_work(&prepare.work);
	start = jiffies;
	while (!READ_ONCE(device->devmem->suspended) &&
	       time_before(jiffies, start + msecs_to_jiffies(TEST_TIMEOUT_MS)))
		msleep(20);
	KUNIT_EXPECT_TRUE(test, device->devmem->suspended);
	msleep(20);

	/* Neither waits for the other until the page is let go. */
	start = jiffies;
	KUNIT_EXPECT_EQ(test, -EBUSY, hmm_devmem_remove(device->devmem, 1,
							NULL));
	device->devmem = NULL;
	flush_work(&prepare.work);
	destroy_work_on_stack(&prepare.work);
	KUNIT_EXPECT_EQ(test, 0, prepare.ret);
	KUNIT_EXPECT_TRUE(test, time_before(jiffies,
					    start + msecs_to_jiffies(1500)));
	hmm_devmem_free_pages(&page, 1);
}

static struct kunit_case pm_test_cases[] = {
	KUNIT_CASE(pm_test_suspend),
	KUNIT_CASE(pm_test_hibernation),
	KUNIT_CASE(pm_test_restore),
	KUNIT_CASE(pm_test_keeps_power),
	KUNIT_CASE(pm_test_hotplug),
	KUNIT_CASE(pm_test_nested),
	KUNIT_CASE(pm_test_no_ram),
	KUNIT_CASE(pm_test_copy_fails),
	KUNIT_CASE(pm_test_evict_to),
	KUNIT_CASE(pm_test_busy),
	KUNIT_CASE(pm_test_killed),
	KUNIT_CASE(pm_test_removed_meanwhile),
	{}
};

static struct kunit_suite pm_test_suite = {
	.name = "hmm_pm",
	.init = pm_test_init,
	.exit = pm_test_exit,
	.test_cases = pm_test_cases,
};

kunit_test_suite(pm_test_suite);
