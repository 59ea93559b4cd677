// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the mirror beyond one fault: ranges, several mirrors and
 * exclusive access.
 */
#include <linux/file.h>
#include <linux/mman.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/shmem_fs.h>

#include "test_device.h"

#define PMD_PAGES	(PMD_SIZE >> PAGE_SHIFT)
#define RW		(PROT_READ | PROT_WRITE)

static int range_test_init(struct kunit *test)
{
	test->priv = test_device_create(test);
	return 0;
}

static void range_test_exit(struct kunit *test)
{
	test_device_destroy(test->priv);
}

static void range_test_expect(struct kunit *test,
			      const struct hmm_mirror_result *result,
			      unsigned long mapped, unsigned long missing,
			      unsigned long refused, unsigned long left)
{
	KUNIT_EXPECT_EQ(test, result->mapped, mapped);
	KUNIT_EXPECT_EQ(test, result->missing, missing);
	KUNIT_EXPECT_EQ(test, result->refused, refused);
	KUNIT_EXPECT_EQ(test, result->left, left);
}

static void range_test_args(struct kunit *test)
{
	struct test_device *device = test->priv;
	struct hmm_mirror *mirror = &device->mirror;
	struct hmm_mirror_desc desc = test_mirror_desc(device);
	const unsigned long start = PMD_SIZE, end = 2 * PMD_SIZE;
	const struct {
		unsigned long start, end;
		unsigned int access;
		int err;
	} cases[] = {
		{ start, start, 0, -EINVAL },
		{ end, start, 0, -EINVAL },
		{ start + 1, end, 0, -EINVAL },
		{ start, end - 1, 0, -EINVAL },
		{ start, end, HMM_MIRROR_EXCLUSIVE, -EINVAL },
		{ start, end, HMM_MIRROR_WRITE | HMM_MIRROR_PRIVATE, -EINVAL },
		{ start - PAGE_SIZE, end, 0, -ERANGE },
		{ start, end + PAGE_SIZE, 0, -ERANGE },
		{ end, end + PAGE_SIZE, 0, -ERANGE },
	};
	struct hmm_mirror_result result;
	unsigned int i;

	desc.start = start;
	desc.end = end;
	test_device_mirror_as(test, device, &desc);
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		KUNIT_EXPECT_EQ_MSG(test, cases[i].err,
				    hmm_mirror_prefetch(mirror, cases[i].start,
							cases[i].end,
							cases[i].access,
							&result), "case %u", i);
		if (cases[i].access)
			continue;
		KUNIT_EXPECT_EQ_MSG(test, cases[i].err,
				    hmm_mirror_snapshot(mirror, cases[i].start,
							cases[i].end, &result),
				    "case %u", i);
	}
	KUNIT_EXPECT_EQ(test, device->prepares, 0);
}

/* Everything a range may span, and a boundary between two pieces. */
static void range_test_mixed(struct kunit *test)
{
	struct test_device *device = test->priv;
	struct hmm_mirror *mirror = &device->mirror;
	struct hmm_mirror_result result;
	unsigned long start, end, i;

	test_device_mirror(test, device);
	start = test_reserve(test, 2 * PMD_SIZE) + PMD_SIZE - 16 * PAGE_SIZE;
	end = start + 32 * PAGE_SIZE;
	test_mmap_at(test, start, 8 * PAGE_SIZE, RW);
	for (i = 4; i < 8; i++)
		test_write_word(test, start + i * PAGE_SIZE, i);
	KUNIT_ASSERT_EQ(test, 0, vm_munmap(start + 8 * PAGE_SIZE, 2 * PAGE_SIZE));
	/* 10 to 13 are PROT_NONE. */
	test_mmap_at(test, start + 14 * PAGE_SIZE, 4 * PAGE_SIZE, PROT_READ);
	test_mmap_at(test, start + 18 * PAGE_SIZE, 14 * PAGE_SIZE, RW);

	/* The second time finds as much missing: nothing was faulted in. */
	for (i = 0; i < 2; i++) {
		KUNIT_EXPECT_EQ(test, 0, hmm_mirror_snapshot(mirror, start, end,
							     &result));
		range_test_expect(test, &result, 4, 22, 6, 0);
		KUNIT_EXPECT_EQ(test, start + 8 * PAGE_SIZE, result.refused_at);
	}
	KUNIT_EXPECT_EQ(test, test_device_count(device, start, 32, 0), 4);
	KUNIT_EXPECT_EQ(test, test_device_read_word(device, start +
						    5 * PAGE_SIZE), 5);

	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_prefetch(mirror, start, end, 0,
						     &result));
	range_test_expect(test, &result, 26, 0, 6, 0);
	KUNIT_EXPECT_EQ(test, test_device_count(device, start, 32, 0), 26);

	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_prefetch(mirror, start, end,
						     HMM_MIRROR_WRITE, &result));
	range_test_expect(test, &result, 22, 0, 10, 0);
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_prefetch(mirror, start + 10 * PAGE_SIZE,
						     end, HMM_MIRROR_WRITE, NULL));
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_prefetch(mirror, start + 18 * PAGE_SIZE,
						     end, 0, &result));
	range_test_expect(test, &result, 14, 0, 0, 0);
	KUNIT_EXPECT_EQ(test, 0, result.refused_at);
	KUNIT_EXPECT_EQ(test, 22, test_device_count(device, start, 32,
						    HMM_MIRROR_WRITE));

	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_snapshot(mirror, start, end,
						     &result));
	range_test_expect(test, &result, 26, 0, 6, 0);
}

/* No work for addresses at which nothing is mapped. */
static void range_test_hole(struct kunit *test)
{
	struct test_device *device = test->priv;
	struct hmm_mirror_result result;
	unsigned long addr, size = 64 * PMD_SIZE;

	test_device_mirror(test, device);
	addr = test_reserve(test, size);
	KUNIT_ASSERT_EQ(test, 0, vm_munmap(addr, size));
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_prefetch(&device->mirror, addr,
						     addr + size, 0, &result));
	range_test_expect(test, &result, 0, 0, size >> PAGE_SHIFT, 0);
	KUNIT_EXPECT_EQ(test, addr, result.refused_at);
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_snapshot(&device->mirror, addr,
						     addr + size, NULL));
	KUNIT_EXPECT_EQ(test, device->prepares, 0);
}

/* Eight pages in each of three pieces; the range ends with the last of them. */
static unsigned long range_test_three(struct kunit *test, unsigned long *end)
{
	unsigned long start, base = test_reserve(test, 3 * PMD_SIZE);

	start = base + PMD_SIZE - 8 * PAGE_SIZE;
	test_mmap_at(test, start, 16 * PAGE_SIZE, RW);
	test_mmap_at(test, base + 2 * PMD_SIZE, 8 * PAGE_SIZE, RW);
	*end = base + 2 * PMD_SIZE + 8 * PAGE_SIZE;
	return start;
}

/* An error in the second piece: the first one stays, the others are left. */
static void range_test_errors(struct kunit *test)
{
	struct test_device *device = test->priv;
	struct hmm_mirror_desc desc = test_mirror_desc(device);
	struct hmm_mirror *mirror = &device->mirror;
	struct hmm_mirror_result result;
	unsigned long start, end;

	desc.ops = &test_flush_ops;
	test_device_mirror_as(test, device, &desc);
	start = range_test_three(test, &end);

	device->prepare_skip = 1;
	device->prepare_errors = 1;
	KUNIT_EXPECT_EQ(test, -EREMOTEIO,
			hmm_mirror_prefetch(mirror, start, end,
					    HMM_MIRROR_WRITE, &result));
	range_test_expect(test, &result, 8, 0, 0, PMD_PAGES + 8);
	KUNIT_EXPECT_EQ(test, test_device_count(device, start, 8, 0), 8);

	device->map_skip = 1;
	device->map_errors = 1;
	KUNIT_EXPECT_EQ(test, -EIO,
			hmm_mirror_prefetch(mirror, start, end,
					    HMM_MIRROR_WRITE, &result));
	range_test_expect(test, &result, 8, 0, 0, PMD_PAGES + 8);
	KUNIT_EXPECT_EQ(test, test_device_count(device, start, 16, 0), 8);
	KUNIT_EXPECT_TRUE(test, test_device_flushed(device));

	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_prefetch(mirror, start, end,
						     HMM_MIRROR_WRITE, &result));
	range_test_expect(test, &result, 24, 0, PMD_PAGES - 8, 0);
}

static void range_test_many(struct kunit *test)
{
	struct test_device *a = test->priv, *b = test_device_create_another(test);
	struct test_device *c = test_device_create_another(test);
	struct hmm_mirror_target targets[] = {
		{ &a->mirror }, { &b->mirror }, { &c->mirror } };
	struct hmm_mirror_desc desc = test_mirror_desc(b);
	struct hmm_mirror_stats stats;
	unsigned long addr;

	test_device_mirror(test, a);
	desc.page_sizes = PAGE_SIZE;
	test_device_mirror_as(test, b, &desc);
	desc = test_mirror_desc(c);
	desc.end = PMD_SIZE;
	test_device_mirror_as(test, c, &desc);
	addr = test_mmap(test, PAGE_SIZE, RW);

	/* What one of them cannot do is no matter to the others. */
	a->map_errors = 1;
	KUNIT_EXPECT_EQ(test, -EIO, hmm_mirror_fault_many(targets, 3, addr,
							  HMM_MIRROR_WRITE));
	KUNIT_EXPECT_EQ(test, targets[0].error, -EIO);
	KUNIT_EXPECT_EQ(test, targets[1].error, 0);
	KUNIT_EXPECT_EQ(test, targets[2].error, -ERANGE);
	KUNIT_EXPECT_EQ(test, test_device_entry(a, addr), 0);
	KUNIT_EXPECT_NE(test, test_device_entry(b, addr), 0);
	KUNIT_EXPECT_EQ(test, c->maps, 0);

	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_fault_many(targets, 2, addr, 0));
	KUNIT_EXPECT_EQ(test, targets[0].error, 0);
	KUNIT_EXPECT_EQ(test, test_device_pfn(a, addr), test_device_pfn(b, addr));
	hmm_mirror_get_stats(&b->mirror, &stats);
	KUNIT_EXPECT_EQ(test, stats.faults, 2);
	KUNIT_EXPECT_EQ(test, stats.mapped_pages, 2);
}

static void range_test_many_args(struct kunit *test)
{
	struct test_device *a = test->priv, *b = test_device_create_another(test);
	struct hmm_mirror_target targets[] = { { &a->mirror }, { &b->mirror } };
	struct hmm_mirror_desc desc = test_mirror_desc(b);
	struct mm_struct *other;
	unsigned long addr;
	int err;

	test_device_mirror(test, a);
	addr = test_mmap(test, PAGE_SIZE, RW);
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_mirror_fault_many(targets, 0, addr, 0));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			hmm_mirror_fault_many(targets, 1, addr,
					      HMM_MIRROR_EXCLUSIVE));

	/* Mirrors of different processes. */
	other = mm_alloc();
	KUNIT_ASSERT_NOT_NULL(test, other);
	err = hmm_mirror_register(&b->mirror, other, &desc);
	b->mirrored = !err;
	KUNIT_EXPECT_EQ(test, err, 0);
	if (!err)
		KUNIT_EXPECT_EQ(test, -EINVAL,
				hmm_mirror_fault_many(targets, 2, addr, 0));
	mmput(other);
	KUNIT_EXPECT_EQ(test, a->prepares, 0);
}

/* The process is gone, the mirror is not. */
static void range_test_no_process(struct kunit *test)
{
	struct test_device *a = test->priv, *b = test_device_create_another(test);
	struct hmm_mirror_target target = { &a->mirror };
	struct hmm_mirror_desc desc = test_mirror_desc(a);
	struct hmm_mirror_result result;
	struct mm_struct *mm = mm_alloc();
	unsigned long nr = 1;
	int err, again;

	KUNIT_ASSERT_NOT_NULL(test, mm);
	mmgrab(mm);
	err = hmm_mirror_register(&a->mirror, mm, &desc);
	a->mirrored = !err;
	mmput(mm);
	again = hmm_mirror_register(&b->mirror, mm, &desc);
	mmdrop(mm);
	KUNIT_ASSERT_EQ(test, err, 0);
	KUNIT_EXPECT_EQ(test, again, -ESRCH);

	KUNIT_EXPECT_EQ(test, -ESRCH, hmm_mirror_fault(&a->mirror, PMD_SIZE, 0));
	KUNIT_EXPECT_EQ(test, -ESRCH,
			hmm_mirror_fault_many(&target, 1, PMD_SIZE, 0));
	KUNIT_EXPECT_EQ(test, target.error, -ESRCH);
	KUNIT_EXPECT_EQ(test, -ESRCH,
			hmm_mirror_prefetch(&a->mirror, PMD_SIZE, 2 * PMD_SIZE,
					    0, &result));
	range_test_expect(test, &result, 0, 0, 0, PMD_PAGES);
	KUNIT_EXPECT_EQ(test, IS_ENABLED(CONFIG_DEVICE_PRIVATE) ? -ESRCH :
								  -EOPNOTSUPP,
			hmm_mirror_fault_exclusive(&a->mirror, PMD_SIZE,
						   2 * PMD_SIZE, &nr));
	KUNIT_EXPECT_EQ(test, nr, 0);
}

static void range_test_need_exclusive(struct kunit *test)
{
	if (!IS_ENABLED(CONFIG_DEVICE_PRIVATE))
		kunit_skip(test, "no CONFIG_DEVICE_PRIVATE");
}

static void range_test_exclusive(struct kunit *test)
{
	const unsigned long flags = HMM_MIRROR_EXCLUSIVE | HMM_MIRROR_WRITE;
	struct test_device *device = test->priv;
	unsigned long addr, nr = 0;

	range_test_need_exclusive(test);
	test_device_mirror(test, device);
	addr = test_mmap(test, 3 * PAGE_SIZE, RW);
	test_write_word(test, addr, 1);
	KUNIT_EXPECT_EQ(test, 0,
			hmm_mirror_fault_exclusive(&device->mirror, addr,
						   addr + 3 * PAGE_SIZE, &nr));
	KUNIT_EXPECT_EQ(test, nr, 3);
	KUNIT_ASSERT_EQ(test, test_device_count(device, addr, 3, flags), 3);
	KUNIT_EXPECT_EQ(test, 0, device->entries[0].order);

	/* The CPU sees what the device wrote, and has the page back. */
	test_device_write_word(device, addr, 99);
	KUNIT_EXPECT_EQ(test, 99, test_read_word(test, addr));
	KUNIT_EXPECT_EQ(test, 0, test_device_entry(device, addr));
	test_write_word(test, addr + PAGE_SIZE, 3);
	KUNIT_EXPECT_EQ(test, 0, test_device_entry(device, addr + PAGE_SIZE));
	/* Its neighbour stays with the device, which may ask for it again. */
	KUNIT_EXPECT_EQ(test, test_device_count(device, addr, 3, flags), 1);
	KUNIT_EXPECT_EQ(test, 0,
			hmm_mirror_fault_exclusive(&device->mirror,
						   addr + PAGE_SIZE,
						   addr + 3 * PAGE_SIZE, &nr));
	KUNIT_EXPECT_EQ(test, test_device_count(device, addr, 3, flags), 2);
	KUNIT_EXPECT_EQ(test, 3, test_read_word(test, addr + PAGE_SIZE));
}

/* Exclusive against other devices, too. */
static void range_test_exclusive_devices(struct kunit *test)
{
	struct test_device *a = test->priv, *b = test_device_create_another(test);
	unsigned long addr, nr;

	range_test_need_exclusive(test);
	test_device_mirror(test, a);
	test_device_mirror(test, b);
	addr = test_mmap(test, PAGE_SIZE, RW);
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_fault_exclusive(&a->mirror, addr,
							    addr + PAGE_SIZE,
							    &nr));
	test_device_write_word(a, addr, 5);
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_fault(&b->mirror, addr,
						  HMM_MIRROR_WRITE));
	KUNIT_EXPECT_EQ(test, 0, test_device_entry(a, addr));
	KUNIT_EXPECT_EQ(test, 5, test_device_read_word(b, addr));

	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_fault_exclusive(&a->mirror, addr,
							    addr + PAGE_SIZE,
							    &nr));
	KUNIT_EXPECT_EQ(test, 0, test_device_entry(b, addr));
	KUNIT_EXPECT_NE(test, 0, test_device_entry(a, addr));
}

/* @nr pages are mapped before the error, if the arguments are good. */
static void range_test_exclusive_fails(struct kunit *test, unsigned long start,
				       unsigned long end, int err,
				       unsigned long nr)
{
	struct test_device *device = test->priv;
	unsigned long mapped = 0;

	KUNIT_EXPECT_EQ(test, err, hmm_mirror_fault_exclusive(&device->mirror,
							      start, end,
							      &mapped));
	KUNIT_EXPECT_EQ(test, nr, mapped);
}

static void range_test_exclusive_errors(struct kunit *test)
{
	struct test_device *device = test->priv;
	struct hmm_mirror_desc desc = test_mirror_desc(device);
	unsigned long addr, shared, writable, end;
	struct file *file;

	range_test_need_exclusive(test);
	file = shmem_file_setup("hmm_kunit", PAGE_SIZE, EMPTY_VMA_FLAGS);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, file);
	shared = kunit_vm_mmap(test, file, 0, PAGE_SIZE, RW, MAP_SHARED, 0);
	fput(file);
	KUNIT_ASSERT_NE(test, shared, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(shared));

	/* Two pages to write, one to read, one that is not there. */
	addr = test_reserve(test, PMD_SIZE);
	writable = addr + 2 * PAGE_SIZE;
	end = writable + PAGE_SIZE;
	test_mmap_at(test, addr, 2 * PAGE_SIZE, RW);
	test_mmap_at(test, writable, PAGE_SIZE, PROT_READ);
	KUNIT_ASSERT_EQ(test, 0, vm_munmap(end, PAGE_SIZE));

	desc.start = min(shared, addr);
	test_device_mirror_as(test, device, &desc);
	range_test_exclusive_fails(test, addr, addr, -EINVAL, 0);
	range_test_exclusive_fails(test, writable, addr, -EINVAL, 0);
	range_test_exclusive_fails(test, addr + 1, end, -EINVAL, 0);
	range_test_exclusive_fails(test, addr, end - 1, -EINVAL, 0);
	range_test_exclusive_fails(test, desc.start - PAGE_SIZE, end, -ERANGE, 0);
	range_test_exclusive_fails(test, addr, TASK_SIZE_MAX + PAGE_SIZE,
				   -ERANGE, 0);
	KUNIT_EXPECT_EQ(test, device->prepares, 0);

	range_test_exclusive_fails(test, shared, shared + PAGE_SIZE,
				   -EOPNOTSUPP, 0);
	KUNIT_EXPECT_EQ(test, 0, test_device_entry(device, shared));
	range_test_exclusive_fails(test, end, end + PAGE_SIZE, -EFAULT, 0);
	range_test_exclusive_fails(test, addr, end, -EPERM, 2);
	device->map_skip = 1;
	device->map_errors = 1;
	range_test_exclusive_fails(test, addr, writable, -EIO, 1);
	KUNIT_EXPECT_EQ(test, 0, test_device_entry(device, addr + PAGE_SIZE));
}

static struct kunit_case range_test_cases[] = {
	KUNIT_CASE(range_test_args),
	KUNIT_CASE(range_test_mixed),
	KUNIT_CASE(range_test_hole),
	KUNIT_CASE(range_test_errors),
	KUNIT_CASE(range_test_many),
	KUNIT_CASE(range_test_many_args),
	KUNIT_CASE(range_test_no_process),
	KUNIT_CASE(range_test_exclusive),
	KUNIT_CASE(range_test_exclusive_devices),
	KUNIT_CASE(range_test_exclusive_errors),
	{}
};

static struct kunit_suite range_test_suite = {
	.name = "hmm_mirror_range",
	.init = range_test_init,
	.exit = range_test_exit,
	.test_cases = range_test_cases,
};

kunit_test_suite(range_test_suite);
