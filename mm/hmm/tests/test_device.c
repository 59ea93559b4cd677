// SPDX-License-Identifier: GPL-2.0
/*
 * The device behind the KUnit tests.  Memory, page tables and migrations are
 * real; only the device is made up.
 */
#include <linux/highmem.h>
#include <linux/mman.h>
#include <linux/mm.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "test_device.h"

static struct test_device *to_device(struct hmm_mirror *mirror)
{
	return container_of(mirror, struct test_device, mirror);
}

static int test_prepare(struct hmm_mirror *mirror, unsigned long start,
			unsigned long end)
{
	struct test_device *device = to_device(mirror);
	unsigned long index;

	device->prepares++;
	for (index = start >> PAGE_SHIFT; index < end >> PAGE_SHIFT; index++)
		if (xa_reserve(&device->table, index, GFP_KERNEL))
			return -ENOMEM;
	return 0;
}

static int test_map(struct hmm_mirror *mirror,
		    const struct hmm_mirror_entry *entries, unsigned int nr)
{
	struct test_device *device = to_device(mirror);
	unsigned int i;

	for (i = 0; i < nr; i++) {
		unsigned long index = entries[i].addr >> PAGE_SHIFT;
		unsigned long page;

		for (page = 0; page < 1UL << entries[i].order; page++)
			xa_store(&device->table, index + page,
				 xa_mk_value(((entries[i].pfn + page) << 8) |
					     entries[i].flags), GFP_NOWAIT);
	}
	if (!device->map_errors)
		return 0;
	device->map_errors--;
	return -EIO;
}

static bool test_invalidate(struct hmm_mirror *mirror, unsigned long start,
			    unsigned long end, bool nonblock)
{
	struct test_device *device = to_device(mirror);
	unsigned long index;
	void *entry;

	device->zapped_start = start;
	device->zapped_end = end;
	xa_for_each_range(&device->table, index, entry, start >> PAGE_SHIFT,
			  (end - 1) >> PAGE_SHIFT)
		xa_store(&device->table, index, XA_ZERO_ENTRY, GFP_NOWAIT);
	return true;
}

const struct hmm_mirror_ops test_mirror_ops = {
	.prepare = test_prepare,
	.map = test_map,
	.invalidate = test_invalidate,
};

static void *test_frame(struct hmm_devmem *devmem, struct page *page)
{
	struct test_device *device = hmm_devmem_private(devmem);

	return device->storage + hmm_devmem_offset(devmem, page_to_pfn(page));
}

static int test_copy(struct hmm_devmem *devmem, struct hmm_devmem_batch *batch)
{
	struct test_device *device = hmm_devmem_private(devmem);
	unsigned int i;

	for (i = 0; i < batch->nr; i++) {
		if (batch->direction == DMA_TO_DEVICE)
			memcpy_from_page(test_frame(devmem, batch->pages[i].dst),
					 batch->pages[i].src, 0, PAGE_SIZE);
		else
			memcpy_to_page(batch->pages[i].dst, 0,
				       test_frame(devmem, batch->pages[i].src),
				       PAGE_SIZE);
	}
	if (device->copy_errors) {
		device->copy_errors--;
		hmm_devmem_batch_done(batch, -EREMOTEIO);
	} else {
		hmm_devmem_batch_done(batch, 0);
	}
	return 0;
}

static int test_clear(struct hmm_devmem *devmem, struct hmm_devmem_batch *batch)
{
	struct test_device *device = hmm_devmem_private(devmem);
	unsigned int i;

	if (device->clear_errors) {
		device->clear_errors--;
		return -EREMOTEIO;
	}
	for (i = 0; i < batch->nr; i++)
		memset(test_frame(devmem, batch->pages[i].dst), 0, PAGE_SIZE);
	hmm_devmem_batch_done(batch, 0);
	return 0;
}

const struct hmm_devmem_ops test_devmem_ops = {
	.copy = test_copy,
	.clear = test_clear,
};

struct test_device *test_device_create(struct kunit *test)
{
	struct test_device *device = kzalloc_obj(*device, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, device);
	xa_init(&device->table);
	return device;
}

void test_device_destroy(struct test_device *device)
{
	if (!device)
		return;
	if (device->mirrored)
		hmm_mirror_unregister(&device->mirror);
	if (device->devmem)
		hmm_devmem_remove(device->devmem, TEST_TIMEOUT_MS);
	vfree(device->storage);
	xa_destroy(&device->table);
	kfree(device);
}

/* Mirror the test's whole address space. */
void test_device_mirror(struct kunit *test, struct test_device *device)
{
	const struct hmm_mirror_desc desc = {
		.ops = &test_mirror_ops,
		.owner = device,
		.start = 0,
		.end = TASK_SIZE_MAX,
		.page_sizes = PAGE_SIZE | PMD_SIZE,
		.fault_around = SZ_64K,
	};

	KUNIT_ASSERT_EQ(test, kunit_attach_mm(), 0);
	KUNIT_ASSERT_EQ(test, hmm_mirror_register(&device->mirror, current->mm,
						  &desc), 0);
	device->mirrored = true;
}

/* The memory comes with old content, as real memory does. */
void test_device_add_memory(struct kunit *test, struct test_device *device)
{
	const struct hmm_devmem_desc desc = {
		.ops = &test_devmem_ops,
		.owner = device,
		.private = device,
		.name = "hmm_kunit",
		.nid = NUMA_NO_NODE,
	};
	struct hmm_devmem *devmem;

	device->storage = vmalloc(TEST_DEVICE_SIZE);
	KUNIT_ASSERT_NOT_NULL(test, device->storage);
	memset(device->storage, 0xa5, TEST_DEVICE_SIZE);

	devmem = hmm_devmem_add(&desc, TEST_DEVICE_SIZE);
	if (PTR_ERR(devmem) == -EOPNOTSUPP)
		kunit_skip(test, "no CONFIG_DEVICE_PRIVATE");
	KUNIT_ASSERT_FALSE(test, IS_ERR(devmem));
	device->devmem = devmem;
}

unsigned long test_device_used(struct test_device *device)
{
	struct hmm_devmem_stats stats;

	hmm_devmem_get_stats(device->devmem, &stats);
	return stats.used;
}

/* Anonymous memory of the test's own address space. */
unsigned long test_mmap(struct kunit *test, unsigned long size, int prot)
{
	unsigned long addr = kunit_vm_mmap(test, NULL, 0, size, prot,
					   MAP_ANONYMOUS | MAP_PRIVATE, 0);

	KUNIT_ASSERT_NE(test, addr, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(addr));
	return addr;
}

void test_write_word(struct kunit *test, unsigned long addr, u64 value)
{
	KUNIT_ASSERT_EQ(test, copy_to_user((void __user *)addr, &value,
					   sizeof(value)), 0);
}

u64 test_read_word(struct kunit *test, unsigned long addr)
{
	u64 value = 0;

	KUNIT_ASSERT_EQ(test, copy_from_user(&value, (void __user *)addr,
					     sizeof(value)), 0);
	return value;
}
