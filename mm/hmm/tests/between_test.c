// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of migration between device memories.
 */
#include <linux/mman.h>
#include <linux/mm.h>
#include <linux/string.h>
#include <linux/suspend.h>

#include "../internal.h"
#include "test_device.h"

#define TEST_PAGES	(TEST_DEVICE_SIZE >> PAGE_SHIFT)
#define NR		32
#define LENGTH		(NR * PAGE_SIZE)
#define BAD		5	/* the page of NR that is poisoned */

/**
 * struct between_test - two devices with memory of one owner
 * @from: the first one, which has what is at @addr
 * @to: the other one
 * @addr: NR pages that hold their number plus 1
 * @result: of the last migration
 * @reaches: the device that reaches the memory of the other one, or NULL
 * @asked: it was called for so many copies
 * @direction: of the last one
 * @error: which it refuses with that, unless 0
 * @status: or ends with that
 * @poison: the page at BAD of the destination goes bad meanwhile
 */
struct between_test {
	struct test_device *from;
	struct test_device *to;
	unsigned long addr;
	struct hmm_migrate_result result;
	struct test_device *reaches;
	unsigned int asked;
	enum dma_data_direction direction;
	int error;
	int status;
	bool poison;
};

/* The operations have no other way to the test that runs. */
static struct between_test *between_test;

static int between_test_copy_peer(struct hmm_devmem *devmem,
				  struct hmm_devmem *peer,
				  struct hmm_devmem_batch *batch)
{
	struct between_test *t = between_test;
	u64 offset;

	if (t->reaches != hmm_devmem_private(devmem))
		return -EOPNOTSUPP;
	t->asked++;
	t->direction = batch->direction;
	if (t->error)
		return t->error;
	test_copy_peer(devmem, peer, batch);
	if (t->poison) {
		offset = hmm_devmem_offset(devmem,
					   page_to_pfn(batch->pages[BAD].dst));
		/* As the page is locked. */
		if (hmm_devmem_memory_failure(devmem, offset, PAGE_SIZE) !=
		    -EBUSY)
			t->poison = false;
	}
	hmm_devmem_batch_done(batch, t->status);
	return 0;
}

static const struct hmm_devmem_ops between_test_ops = {
	.copy = test_copy,
	.clear = test_clear,
	.copy_peer = between_test_copy_peer,
};

static struct test_device *between_test_device(struct kunit *test,
					       bool loses_power)
{
	struct test_device *device = test_device_create_another(test);
	struct hmm_devmem_desc desc = test_devmem_desc(device);

	desc.ops = &between_test_ops;
	desc.owner = &between_test;
	desc.loses_power = loses_power;
	test_device_add_memory_as(test, device, &desc, TEST_DEVICE_SIZE);
	return device;
}

static int between_test_init(struct kunit *test)
{
	struct between_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, t);
	test->priv = t;
	between_test = t;
	t->from = between_test_device(test, false);
	t->to = between_test_device(test, true);
	t->addr = test_fill_pages(test, NR, 1);
	test_device_move_in(test, t->from, t->addr, NR);
	return 0;
}

static int between_test_migrate(struct between_test *t)
{
	return hmm_migrate_between(t->from->devmem, t->to->devmem, current->mm,
				   t->addr, t->addr + LENGTH, 0, &t->result);
}

/* So many pages moved, and so many lie in each memory. */
static void between_test_expect(struct kunit *test, unsigned long moved,
				unsigned long from, unsigned long to)
{
	struct between_test *t = test->priv;

	KUNIT_EXPECT_EQ(test, moved, t->result.moved);
	KUNIT_EXPECT_EQ(test, 0, t->result.filled);
	KUNIT_EXPECT_EQ(test, NR - moved, t->result.left);
	KUNIT_EXPECT_EQ(test, from, test_device_used(t->from));
	KUNIT_EXPECT_EQ(test, to, test_device_used(t->to));
}

static void between_test_args(struct kunit *test)
{
	struct between_test *t = test->priv;
	struct hmm_devmem *from = t->from->devmem, *to = t->to->devmem;
	unsigned long end = t->addr + LENGTH;

	KUNIT_EXPECT_EQ(test, -EINVAL,
			hmm_migrate_between(from, from, current->mm, t->addr, end,
					    0, &t->result));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			hmm_migrate_between(from, to, current->mm, t->addr,
					    t->addr, 0, &t->result));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			hmm_migrate_between(from, to, current->mm, end, t->addr,
					    0, &t->result));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			hmm_migrate_between(from, to, current->mm, t->addr + 1,
					    end, 0, &t->result));
	KUNIT_EXPECT_EQ(test, 0, t->result.left);
	KUNIT_EXPECT_EQ(test, NR, test_device_used(t->from));
	test_verify_pages(test, t->addr, NR, 1);
}

/* By the one, by the other, or by none. */
static void between_test_ways(struct kunit *test)
{
	struct between_test *t = test->priv;
	struct hmm_devmem_stats stats;

	t->reaches = t->to;
	KUNIT_EXPECT_EQ(test, 0, between_test_migrate(t));
	between_test_expect(test, NR, 0, NR);
	KUNIT_EXPECT_EQ(test, 1, t->asked);
	KUNIT_EXPECT_EQ(test, DMA_TO_DEVICE, t->direction);

	swap(t->from, t->to);
	KUNIT_EXPECT_EQ(test, 0, between_test_migrate(t));
	between_test_expect(test, NR, 0, NR);
	KUNIT_EXPECT_EQ(test, 2, t->asked);
	KUNIT_EXPECT_EQ(test, DMA_FROM_DEVICE, t->direction);

	swap(t->from, t->to);
	t->reaches = NULL;
	KUNIT_EXPECT_EQ(test, 0, between_test_migrate(t));
	between_test_expect(test, NR, 0, NR);
	KUNIT_EXPECT_EQ(test, 2, t->asked);
	hmm_devmem_get_stats(t->to->devmem, &stats);
	KUNIT_EXPECT_EQ(test, NR, stats.from_peers);
	KUNIT_EXPECT_EQ(test, NR, stats.through_ram);
	KUNIT_EXPECT_EQ(test, 2 * NR, stats.migrated_in);
	KUNIT_EXPECT_EQ(test, NR, stats.migrated_out);
	hmm_devmem_get_stats(t->from->devmem, &stats);
	KUNIT_EXPECT_EQ(test, NR, stats.from_peers);
	KUNIT_EXPECT_EQ(test, 0, stats.through_ram);
	KUNIT_EXPECT_EQ(test, 0, stats.failed + stats.cpu_faults);
	test_verify_pages(test, t->addr, NR, 1);
}

static void between_test_evict_to(struct kunit *test)
{
	struct between_test *t = test->priv;
	struct hmm_devmem_evict_result result;

	t->reaches = t->to;
	KUNIT_EXPECT_EQ(test, 0,
			hmm_devmem_evict_to(t->from->devmem, t->to->devmem,
					    ULONG_MAX, TEST_TIMEOUT_MS, &result));
	KUNIT_EXPECT_EQ(test, NR, result.evicted);
	KUNIT_EXPECT_LT(test, 0, t->asked);
	KUNIT_EXPECT_EQ(test, NR, test_device_used(t->to));
	test_verify_pages(test, t->addr, NR, 1);
}

/* Another memory of the same owner is not the source. */
static void between_test_same_owner(struct kunit *test)
{
	struct between_test *t = test->priv;
	struct test_device *third = between_test_device(test, false);

	KUNIT_EXPECT_EQ(test, 0,
			hmm_migrate_to_ram(current->mm, &between_test, t->addr,
					   t->addr + NR / 2 * PAGE_SIZE,
					   &t->result));
	test_device_move_in(test, third, t->addr, NR / 2);
	KUNIT_EXPECT_EQ(test, 0, between_test_migrate(t));
	between_test_expect(test, NR / 2, 0, NR / 2);
	KUNIT_EXPECT_EQ(test, NR / 2, test_device_used(third));
	test_verify_pages(test, t->addr, NR, 1);
}

/* Who does not want to know what became of the pages passes NULL. */
static void between_test_no_result(struct kunit *test)
{
	struct between_test *t = test->priv;
	struct hmm_devmem *from = t->from->devmem, *to = t->to->devmem;
	unsigned long end = t->addr + LENGTH;

	KUNIT_EXPECT_EQ(test, -EINVAL,
			hmm_migrate_between(from, from, current->mm, t->addr, end,
					    0, NULL));
	KUNIT_EXPECT_EQ(test, 0, hmm_migrate_between(from, to, current->mm, t->addr,
						     end, 0, NULL));
	KUNIT_EXPECT_EQ(test, NR, test_device_used(t->to));
	KUNIT_EXPECT_EQ(test, 0, hmm_devmem_evict_to(to, from, ULONG_MAX,
						     TEST_TIMEOUT_MS, NULL));
	KUNIT_EXPECT_EQ(test, NR, test_device_used(t->from));
	KUNIT_EXPECT_EQ(test, 0, hmm_migrate_to_ram(current->mm, &between_test,
						    t->addr, end, NULL));
	KUNIT_EXPECT_EQ(test, 0, test_device_used(t->from));
	KUNIT_EXPECT_EQ(test, 0, hmm_migrate_to_device(from, current->mm, t->addr,
						       end, 0, NULL));
	KUNIT_EXPECT_EQ(test, 0, hmm_devmem_evict_range(from, 0, TEST_DEVICE_SIZE,
							TEST_TIMEOUT_MS, NULL));
	KUNIT_EXPECT_EQ(test, 0, test_device_used(t->from));
	KUNIT_EXPECT_EQ(test, 0, hmm_migrate_unasked(from, current->mm, t->addr,
						     end, 0, NULL));
	KUNIT_EXPECT_EQ(test, NR, test_device_used(t->from));
	KUNIT_EXPECT_EQ(test, 0, hmm_devmem_evict(from, ULONG_MAX, TEST_TIMEOUT_MS,
						  NULL));
	test_verify_pages(test, t->addr, NR, 1);
}

/* A peer that fails is not replaced by RAM. */
static void between_test_errors(struct kunit *test)
{
	struct between_test *t = test->priv;
	struct test_device *reaching[] = { t->to, t->from };
	struct hmm_devmem_stats stats;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(reaching); i++) {
		t->reaches = reaching[i];
		t->error = -EREMOTEIO;
		KUNIT_EXPECT_EQ(test, -EIO, between_test_migrate(t));
		between_test_expect(test, 0, NR, 0);
		t->error = -ENOMEM;
		KUNIT_EXPECT_EQ(test, -ENOMEM, between_test_migrate(t));
		between_test_expect(test, 0, NR, 0);
		t->error = 0;
		/* Only the operation may say so. */
		t->status = -EOPNOTSUPP;
		KUNIT_EXPECT_EQ(test, -EIO, between_test_migrate(t));
		between_test_expect(test, 0, NR, 0);
		t->status = 0;
		hmm_devmem_get_stats(reaching[i]->devmem, &stats);
		KUNIT_EXPECT_EQ(test, 2 * NR, stats.failed);
	}
	t->reaches = NULL;
	for (i = 0; i < ARRAY_SIZE(reaching); i++) {
		reaching[i]->copy_errors = 1;
		KUNIT_EXPECT_EQ(test, -EIO, between_test_migrate(t));
		between_test_expect(test, 0, NR, 0);
	}
	KUNIT_EXPECT_EQ(test, 0, between_test_migrate(t));
	between_test_expect(test, NR, 0, NR);
	test_verify_pages(test, t->addr, NR, 1);
}

static void between_test_full(struct kunit *test)
{
	struct between_test *t = test->priv;
	unsigned long rest = test_mmap(test, TEST_DEVICE_SIZE - 3 * PAGE_SIZE,
				       PROT_READ | PROT_WRITE);

	test_device_move_in(test, t->to, rest, TEST_PAGES - 3);
	KUNIT_EXPECT_EQ(test, -ENOSPC, between_test_migrate(t));
	between_test_expect(test, 3, NR - 3, TEST_PAGES);
	KUNIT_EXPECT_EQ(test, -ENOSPC, between_test_migrate(t));
	between_test_expect(test, 0, NR - 3, TEST_PAGES);

	KUNIT_EXPECT_EQ(test, 0,
			hmm_migrate_between(t->from->devmem, t->to->devmem,
					    current->mm, t->addr,
					    t->addr + LENGTH, TEST_TIMEOUT_MS,
					    &t->result));
	KUNIT_EXPECT_EQ(test, NR - 3, t->result.moved);
	KUNIT_EXPECT_EQ(test, 0, test_device_used(t->from));
	test_verify_pages(test, t->addr, NR, 1);
}

/* What is lost does not move. */
static void between_test_poisoned_source(struct kunit *test)
{
	struct between_test *t = test->priv;

	KUNIT_EXPECT_EQ(test, 0,
			hmm_devmem_memory_failure(t->from->devmem,
						  BAD * PAGE_SIZE, PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, 0, between_test_migrate(t));
	KUNIT_EXPECT_EQ(test, NR - 1, t->result.moved);
	KUNIT_EXPECT_EQ(test, NR - 1, test_device_used(t->to));
}

/* A page that goes bad when it has been filled is not used: its source stays. */
static void between_test_poisoned_destination(struct kunit *test)
{
	struct between_test *t = test->priv;
	struct hmm_devmem_stats stats;

	t->reaches = t->to;
	t->poison = true;
	KUNIT_EXPECT_EQ(test, 0, between_test_migrate(t));
	KUNIT_EXPECT_TRUE(test, t->poison);
	between_test_expect(test, NR - 1, 1, NR - 1);
	hmm_devmem_get_stats(t->to->devmem, &stats);
	KUNIT_EXPECT_EQ(test, 1, stats.poisoned);
	test_verify_pages(test, t->addr, NR, 1);
}

/* Nothing moves to memory that is about to lose power. */
static void between_test_suspended(struct kunit *test)
{
	struct between_test *t = test->priv;

	KUNIT_EXPECT_EQ(test, NOTIFY_OK,
			hmm_pm_notify(NULL, PM_SUSPEND_PREPARE, NULL));
	KUNIT_EXPECT_EQ(test, -EAGAIN, between_test_migrate(t));
	between_test_expect(test, 0, NR, 0);
	hmm_pm_notify(NULL, PM_POST_SUSPEND, NULL);
	KUNIT_EXPECT_EQ(test, 0, between_test_migrate(t));
	between_test_expect(test, NR, 0, NR);
	test_verify_pages(test, t->addr, NR, 1);
}

static struct kunit_case between_test_cases[] = {
	KUNIT_CASE(between_test_args),
	KUNIT_CASE(between_test_ways),
	KUNIT_CASE(between_test_evict_to),
	KUNIT_CASE(between_test_same_owner),
	KUNIT_CASE(between_test_no_result),
	KUNIT_CASE(between_test_errors),
	KUNIT_CASE(between_test_full),
	KUNIT_CASE(between_test_poisoned_source),
	KUNIT_CASE(between_test_poisoned_destination),
	KUNIT_CASE(between_test_suspended),
	{}
};

static struct kunit_suite between_test_suite = {
	.name = "hmm_between",
	.init = between_test_init,
	.test_cases = between_test_cases,
};

kunit_test_suite(between_test_suite);
