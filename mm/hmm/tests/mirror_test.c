// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the mirror.
 */
#include <linux/highmem.h>
#include <linux/mman.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>

#include "../mirror.h"
#include "test_device.h"

static int mirror_test_init(struct kunit *test)
{
	test->priv = test_device_create(test);
	return 0;
}

static void mirror_test_exit(struct kunit *test)
{
	test_device_destroy(test->priv);
}

static void mirror_test_register_args(struct kunit *test)
{
	struct test_device *device = test->priv;
	const struct hmm_mirror_desc good = {
		.ops = &test_mirror_ops,
		.start = PAGE_SIZE,
		.end = TASK_SIZE_MAX,
		.page_sizes = PAGE_SIZE,
		.fault_around = PAGE_SIZE,
	};
	const struct hmm_mirror_ops no_map = {
		.invalidate = test_mirror_ops.invalidate };
	const struct hmm_mirror_ops no_invalidate = {
		.map = test_mirror_ops.map };
	const struct hmm_mirror_ops no_start = {
		.map = test_flush_ops.map,
		.invalidate = test_flush_ops.invalidate,
		.flush_wait = test_flush_ops.flush_wait };
	const struct hmm_mirror_ops no_wait = {
		.map = test_flush_ops.map,
		.invalidate = test_flush_ops.invalidate,
		.flush_start = test_flush_ops.flush_start };
	const unsigned int nr_bad = 13;
	struct hmm_mirror_desc *bad;
	unsigned int i;

	KUNIT_ASSERT_EQ(test, kunit_attach_mm(), 0);
	bad = kunit_kcalloc(test, nr_bad, sizeof(*bad), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, bad);
	for (i = 0; i < nr_bad; i++)
		bad[i] = good;
	bad[0].ops = NULL;
	bad[1].ops = &no_map;
	bad[2].ops = &no_invalidate;
	bad[3].start = PAGE_SIZE + 1;
	bad[4].end = TASK_SIZE_MAX - 1;
	bad[5].end = bad[5].start;
	bad[6].end = TASK_SIZE_MAX + PAGE_SIZE;
	bad[7].page_sizes = PMD_SIZE;
	bad[8].page_sizes = PAGE_SIZE | (PMD_SIZE << 1);
	bad[9].fault_around = 3 * PAGE_SIZE;
	bad[10].fault_around = PMD_SIZE << 1;
	bad[11].ops = &no_start;
	bad[12].ops = &no_wait;

	for (i = 0; i < nr_bad; i++)
		KUNIT_EXPECT_EQ_MSG(test, -EINVAL,
				    hmm_mirror_register(&device->mirror,
							current->mm, &bad[i]),
				    "description %u", i);
	KUNIT_EXPECT_EQ(test, -ESRCH,
			hmm_mirror_register(&device->mirror, NULL, &good));

	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_register(&device->mirror,
						     current->mm, &good));
	device->mirrored = true;
	KUNIT_EXPECT_EQ(test, -ERANGE, hmm_mirror_fault(&device->mirror, 0, 0));
	KUNIT_EXPECT_EQ(test, -ERANGE,
			hmm_mirror_fault(&device->mirror, TASK_SIZE_MAX, 0));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			hmm_mirror_fault(&device->mirror, PAGE_SIZE,
					 HMM_MIRROR_PRIVATE));
}

/* What is not said: the whole address space, page by page. */
static void mirror_test_defaults(struct kunit *test)
{
	struct test_device *device = test->priv;
	const struct hmm_mirror_desc desc = { .ops = &test_mirror_ops };
	struct hmm_mirror *mirror = &device->mirror;
	unsigned long addr;

	test_device_mirror_as(test, device, &desc);
	KUNIT_EXPECT_PTR_EQ(test, current->mm, hmm_mirror_mm(mirror));
	KUNIT_EXPECT_EQ(test, -ERANGE,
			hmm_mirror_fault(mirror, TASK_SIZE_MAX, 0));
	KUNIT_EXPECT_EQ(test, -EFAULT,
			hmm_mirror_fault(mirror, TASK_SIZE_MAX - PAGE_SIZE, 0));
	addr = test_fill_pages(test, 16, 1);
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_fault(mirror, addr, 0));
	KUNIT_EXPECT_EQ(test, 1, test_device_count(device, addr, 16, 0));
}

static void mirror_test_access(struct kunit *test)
{
	struct test_device *device = test->priv;
	unsigned long readable, none;

	test_device_mirror(test, device);
	readable = test_mmap(test, PAGE_SIZE, PROT_READ);
	none = test_mmap(test, PAGE_SIZE, PROT_NONE);

	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_fault(&device->mirror, readable, 0));
	KUNIT_EXPECT_NE(test, 0, test_device_entry(device, readable));
	KUNIT_EXPECT_EQ(test, 0,
			test_device_entry(device, readable) & HMM_MIRROR_WRITE);
	KUNIT_EXPECT_EQ(test, -EPERM, hmm_mirror_fault(&device->mirror, readable,
						       HMM_MIRROR_WRITE));
	KUNIT_EXPECT_EQ(test, -EFAULT, hmm_mirror_fault(&device->mirror, none, 0));

	KUNIT_ASSERT_EQ(test, 0, vm_munmap(readable, PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, 0, test_device_entry(device, readable));
	KUNIT_EXPECT_EQ(test, -EFAULT,
			hmm_mirror_fault(&device->mirror, readable, 0));
}

/* One fault maps the aligned 64 KiB around it, as far as the CPU maps them. */
static void mirror_test_around(struct kunit *test)
{
	struct test_device *device = test->priv;
	unsigned long addr, i;

	test_device_mirror(test, device);
	addr = ALIGN(test_mmap(test, 3 * SZ_64K, PROT_READ | PROT_WRITE), SZ_64K);
	for (i = 0; i < 24; i++)
		if (i != 5)
			test_write_word(test, addr + i * PAGE_SIZE, i + 100);

	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_fault(&device->mirror,
						  addr + 7 * PAGE_SIZE + 8, 0));
	for (i = 0; i < 24; i++) {
		unsigned long entry = test_device_entry(device, addr + i * PAGE_SIZE);

		if (i == 5 || i >= 16) {
			KUNIT_EXPECT_EQ_MSG(test, entry, 0, "page %lu", i);
			continue;
		}
		KUNIT_ASSERT_NE_MSG(test, entry, 0, "page %lu", i);
		KUNIT_EXPECT_EQ(test, i + 100,
				test_device_read_word(device, addr + i * PAGE_SIZE));
	}
	KUNIT_EXPECT_EQ(test, device->prepares, 1);
}

/* The device may write: the page is dirty, whatever the CPU page table says. */
static void mirror_test_dirty(struct kunit *test)
{
	struct test_device *device = test->priv;
	unsigned long addr, entry;
	struct folio *folio;

	test_device_mirror(test, device);
	addr = test_mmap(test, PAGE_SIZE, PROT_READ | PROT_WRITE);
	test_write_word(test, addr, 1);

	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_fault(&device->mirror, addr, 0));
	entry = test_device_entry(device, addr);
	folio = page_folio(pfn_to_page(entry >> 8));
	folio_lock(folio);
	folio_clear_dirty(folio);
	folio_unlock(folio);

	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_fault(&device->mirror, addr,
						  HMM_MIRROR_WRITE));
	KUNIT_ASSERT_EQ(test, entry >> 8, test_device_entry(device, addr) >> 8);
	KUNIT_EXPECT_TRUE(test, test_device_entry(device, addr) & HMM_MIRROR_WRITE);
	KUNIT_EXPECT_TRUE(test, folio_test_dirty(folio));
}

/* munmap() of one page takes that page from the device, and no other. */
static void mirror_test_invalidate(struct kunit *test)
{
	struct test_device *device = test->priv;
	unsigned long addr, i;

	test_device_mirror(test, device);
	addr = ALIGN(test_mmap(test, 2 * SZ_64K, PROT_READ | PROT_WRITE), SZ_64K);
	for (i = 0; i < 16; i++)
		test_write_word(test, addr + i * PAGE_SIZE, i);
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_fault(&device->mirror, addr, 0));

	KUNIT_ASSERT_EQ(test, 0, vm_munmap(addr + 3 * PAGE_SIZE, PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, device->zapped_start, addr + 3 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, device->zapped_end, addr + 4 * PAGE_SIZE);
	for (i = 0; i < 16; i++)
		KUNIT_EXPECT_EQ_MSG(test, i == 3,
				    !test_device_entry(device, addr + i * PAGE_SIZE),
				    "page %lu", i);
}

/* One that must not block is refused, with nothing changed, or done at once. */
static void mirror_test_nonblock(struct kunit *test)
{
	struct mmu_notifier_range range = { .event = MMU_NOTIFY_CLEAR };
	struct mmu_interval_notifier_finish *finish = NULL;
	struct test_device *device = test->priv;
	const struct mmu_interval_notifier_ops *ops;
	struct mmu_interval_notifier *sub;
	struct hmm_mirror_piece *piece;
	unsigned long addr, entry;

	test_device_mirror(test, device);
	addr = test_mmap(test, PAGE_SIZE, PROT_READ | PROT_WRITE);
	test_write_word(test, addr, 1);
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_fault(&device->mirror, addr, 0));
	entry = test_device_entry(device, addr);
	KUNIT_ASSERT_NE(test, 0, entry);

	range.mm = current->mm;
	range.start = addr;
	range.end = addr + PAGE_SIZE;
	KUNIT_ASSERT_FALSE(test, mmu_notifier_range_blockable(&range));
	piece = xa_load(&device->mirror.pieces, addr >> PMD_SHIFT);
	KUNIT_ASSERT_NOT_NULL(test, piece);

	sub = &piece->sub;
	ops = sub->ops;

	mutex_lock(&piece->update_lock);
	KUNIT_EXPECT_FALSE(test, ops->invalidate_start(sub, &range,
						       sub->invalidate_seq,
						       &finish));
	mutex_unlock(&piece->update_lock);
	KUNIT_EXPECT_EQ(test, entry, test_device_entry(device, addr));

	KUNIT_EXPECT_TRUE(test, ops->invalidate_start(sub, &range,
						      sub->invalidate_seq,
						      &finish));
	KUNIT_EXPECT_NULL(test, finish);
	KUNIT_EXPECT_EQ(test, 0, test_device_entry(device, addr));
}

/* A map operation that fails half way leaves nothing mapped. */
static void mirror_test_map_error(struct kunit *test)
{
	struct test_device *device = test->priv;
	unsigned long addr, i;

	test_device_mirror(test, device);
	addr = ALIGN(test_mmap(test, 2 * SZ_64K, PROT_READ | PROT_WRITE), SZ_64K);
	for (i = 0; i < 16; i++)
		test_write_word(test, addr + i * PAGE_SIZE, i);

	device->map_errors = 1;
	KUNIT_EXPECT_EQ(test, -EIO, hmm_mirror_fault(&device->mirror, addr, 0));
	for (i = 0; i < 16; i++)
		KUNIT_EXPECT_EQ(test, 0, test_device_entry(device, addr + i * PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_fault(&device->mirror, addr, 0));
	KUNIT_EXPECT_NE(test, 0, test_device_entry(device, addr));
}

static void mirror_test_unregister(struct kunit *test)
{
	struct test_device *device = test->priv;
	unsigned long addr;

	test_device_mirror(test, device);
	addr = test_mmap(test, PAGE_SIZE, PROT_READ | PROT_WRITE);
	test_write_word(test, addr, 1);
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_fault(&device->mirror, addr, 0));

	hmm_mirror_unregister(&device->mirror);
	device->mirrored = false;
	KUNIT_EXPECT_EQ(test, 0, test_device_entry(device, addr));
}

static struct kunit_case mirror_test_cases[] = {
	KUNIT_CASE(mirror_test_register_args),
	KUNIT_CASE(mirror_test_defaults),
	KUNIT_CASE(mirror_test_access),
	KUNIT_CASE(mirror_test_around),
	KUNIT_CASE(mirror_test_dirty),
	KUNIT_CASE(mirror_test_invalidate),
	KUNIT_CASE(mirror_test_nonblock),
	KUNIT_CASE(mirror_test_map_error),
	KUNIT_CASE(mirror_test_unregister),
	{}
};

static struct kunit_suite mirror_test_suite = {
	.name = "hmm_mirror",
	.init = mirror_test_init,
	.exit = mirror_test_exit,
	.test_cases = mirror_test_cases,
};

kunit_test_suite(mirror_test_suite);

MODULE_DESCRIPTION("KUnit tests of the HMM toolbox");
MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");
MODULE_LICENSE("GPL");
