// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of eviction from one device memory to another.
 */
#include <linux/mman.h>
#include <linux/mm.h>

#include "test_device.h"

#define TEST_PAGES	(TEST_DEVICE_SIZE >> PAGE_SHIFT)
#define NR		32
#define LENGTH		(NR * PAGE_SIZE)

/**
 * struct evict_to_test - two devices with memory
 * @from: the first one, which has what is at @addr
 * @to: the other one
 * @addr: NR pages that hold their number plus 1
 * @result: of the last eviction
 */
struct evict_to_test {
	struct test_device *from;
	struct test_device *to;
	unsigned long addr;
	struct hmm_devmem_evict_result result;
};

static int evict_to_test_init(struct kunit *test)
{
	struct evict_to_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, t);
	test->priv = t;
	t->from = test_device_create_another(test);
	t->to = test_device_create_another(test);
	test_device_add_memory(test, t->from);
	test_device_add_memory(test, t->to);
	t->addr = test_fill_pages(test, NR, 1);
	return 0;
}

static int evict_to_test_evict(struct evict_to_test *t, unsigned long pages,
			       unsigned int timeout_ms)
{
	return hmm_devmem_evict_to(t->from->devmem, t->to->devmem, pages,
				   timeout_ms, &t->result);
}

static void evict_to_test_expect(struct kunit *test, unsigned long evicted,
				 unsigned long from, unsigned long to)
{
	struct evict_to_test *t = test->priv;

	KUNIT_EXPECT_EQ(test, evicted, t->result.evicted);
	KUNIT_EXPECT_EQ(test, from, test_device_used(t->from));
	KUNIT_EXPECT_EQ(test, to, test_device_used(t->to));
}

static void evict_to_test_args(struct kunit *test)
{
	struct evict_to_test *t = test->priv;

	test_device_move_in(test, t->from, t->addr, NR);
	KUNIT_EXPECT_EQ(test, -EINVAL,
			hmm_devmem_evict_to(t->from->devmem, NULL, ULONG_MAX,
					    TEST_TIMEOUT_MS, &t->result));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			hmm_devmem_evict_to(t->from->devmem, t->from->devmem,
					    ULONG_MAX, TEST_TIMEOUT_MS,
					    &t->result));
	KUNIT_EXPECT_EQ(test, 0, evict_to_test_evict(t, 0, TEST_TIMEOUT_MS));
	evict_to_test_expect(test, 0, NR, 0);
}

static void evict_to_test_there_and_back(struct kunit *test)
{
	struct evict_to_test *t = test->priv;
	struct hmm_devmem_stats from, to;

	test_device_move_in(test, t->from, t->addr, NR);
	KUNIT_EXPECT_EQ(test, 0, evict_to_test_evict(t, 5, TEST_TIMEOUT_MS));
	evict_to_test_expect(test, 5, NR - 5, 5);
	KUNIT_EXPECT_EQ(test, 0, evict_to_test_evict(t, ULONG_MAX,
						     TEST_TIMEOUT_MS));
	evict_to_test_expect(test, NR - 5, 0, NR);

	hmm_devmem_get_stats(t->from->devmem, &from);
	hmm_devmem_get_stats(t->to->devmem, &to);
	KUNIT_EXPECT_EQ(test, NR, from.migrated_out);
	KUNIT_EXPECT_EQ(test, NR, from.evicted);
	KUNIT_EXPECT_EQ(test, NR, to.migrated_in);
	KUNIT_EXPECT_EQ(test, 0, to.migrated_out);
	KUNIT_EXPECT_EQ(test, 0, from.failed + to.failed);
	KUNIT_EXPECT_EQ(test, 0, from.cpu_faults + to.cpu_faults);

	KUNIT_EXPECT_EQ(test, 0,
			hmm_devmem_evict_to(t->to->devmem, t->from->devmem,
					    ULONG_MAX, TEST_TIMEOUT_MS,
					    &t->result));
	evict_to_test_expect(test, NR, NR, 0);
	test_verify_pages(test, t->addr, NR, 1);
	evict_to_test_expect(test, NR, 0, 0);
}

/* The CPU finds it in the other memory, too; that memory may go as well. */
static void evict_to_test_target_removed(struct kunit *test)
{
	struct evict_to_test *t = test->priv;

	test_device_move_in(test, t->from, t->addr, NR);
	KUNIT_EXPECT_EQ(test, 0, evict_to_test_evict(t, ULONG_MAX,
						     TEST_TIMEOUT_MS));
	KUNIT_EXPECT_EQ(test, 1, test_read_word(test, t->addr));
	KUNIT_EXPECT_GT(test, NR, test_device_used(t->to));
	KUNIT_EXPECT_EQ(test, 0, hmm_devmem_remove(t->to->devmem,
						   TEST_TIMEOUT_MS, NULL));
	t->to->devmem = NULL;
	test_verify_pages(test, t->addr, NR, 1);
}

static void evict_to_test_full(struct kunit *test)
{
	struct evict_to_test *t = test->priv;
	unsigned long rest = test_mmap(test, TEST_DEVICE_SIZE - 3 * PAGE_SIZE,
				       PROT_READ | PROT_WRITE);

	test_device_move_in(test, t->to, rest, TEST_PAGES - 3);
	test_device_move_in(test, t->from, t->addr, NR);
	KUNIT_EXPECT_EQ(test, -ENOSPC, evict_to_test_evict(t, ULONG_MAX,
							   TEST_TIMEOUT_MS));
	evict_to_test_expect(test, 3, NR - 3, TEST_PAGES);
	KUNIT_EXPECT_EQ(test, NR - 3, t->result.no_room + t->result.untried);
	KUNIT_EXPECT_LT(test, 0, t->result.no_room);
	KUNIT_EXPECT_EQ(test, 0, t->result.no_ram + t->result.busy +
				 t->result.failed + t->result.kept);
	KUNIT_EXPECT_EQ(test, -ENOSPC, evict_to_test_evict(t, 1,
							   TEST_TIMEOUT_MS));
	evict_to_test_expect(test, 0, NR - 3, TEST_PAGES);
	KUNIT_EXPECT_EQ(test, NR - 3, t->result.no_room + t->result.untried);
	KUNIT_EXPECT_EQ(test, 0, test_read_word(test, rest));
	test_verify_pages(test, t->addr, NR, 1);
	/* While its address space is there. */
	KUNIT_EXPECT_EQ(test, 0, hmm_devmem_evict(t->to->devmem, ULONG_MAX,
						  TEST_TIMEOUT_MS, &t->result));
}

/* Either device fails once, and then again and again. */
static void evict_to_test_errors(struct kunit *test)
{
	struct evict_to_test *t = test->priv;
	struct test_device *failing[] = { t->from, t->to };
	struct hmm_devmem_stats stats;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(failing); i++) {
		test_device_move_in(test, t->from, t->addr, NR);
		failing[i]->copy_errors = UINT_MAX;
		KUNIT_EXPECT_EQ(test, -ETIME,
				evict_to_test_evict(t, ULONG_MAX, 50));
		evict_to_test_expect(test, 0, NR, 0);
		KUNIT_EXPECT_LT(test, 0, t->result.failed);
		KUNIT_EXPECT_EQ(test, NR, t->result.failed + t->result.busy +
					  t->result.untried);

		failing[i]->copy_errors = 1;
		KUNIT_EXPECT_EQ(test, 0,
				evict_to_test_evict(t, ULONG_MAX,
						    TEST_TIMEOUT_MS));
		evict_to_test_expect(test, NR, 0, NR);
		KUNIT_EXPECT_EQ(test, 0, t->result.failed);
		hmm_devmem_get_stats(failing[i]->devmem, &stats);
		KUNIT_EXPECT_LT(test, 0, stats.failed);
		test_verify_pages(test, t->addr, NR, 1);
	}
}

static struct kunit_case evict_to_test_cases[] = {
	KUNIT_CASE(evict_to_test_args),
	KUNIT_CASE(evict_to_test_there_and_back),
	KUNIT_CASE(evict_to_test_target_removed),
	KUNIT_CASE(evict_to_test_full),
	KUNIT_CASE(evict_to_test_errors),
	{}
};

static struct kunit_suite evict_to_test_suite = {
	.name = "hmm_evict_to",
	.init = evict_to_test_init,
	.test_cases = evict_to_test_cases,
};

kunit_test_suite(evict_to_test_suite);
