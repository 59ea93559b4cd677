// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of migration.
 */
#include <linux/delay.h>
#include <linux/mman.h>
#include <linux/mm.h>

#include "test_device.h"

#define NR	32
#define LENGTH	(NR * PAGE_SIZE)
#define HUGE_NR	(PMD_SIZE / PAGE_SIZE)

static int migrate_test_init(struct kunit *test)
{
	test->priv = test_device_create(test);
	return 0;
}

static void migrate_test_exit(struct kunit *test)
{
	test_device_destroy(test->priv);
}

static void migrate_test_expect(struct kunit *test,
				const struct hmm_migrate_result *result,
				unsigned long moved, unsigned long filled,
				unsigned long left)
{
	KUNIT_EXPECT_EQ(test, result->moved, moved);
	KUNIT_EXPECT_EQ(test, result->filled, filled);
	KUNIT_EXPECT_EQ(test, result->left, left);
	KUNIT_EXPECT_EQ(test, result->left,
			result->already + result->elsewhere + result->absent +
			result->unsupported + result->merged + result->busy +
			result->no_room + result->failed + result->untried);
}

static void migrate_test_args(struct kunit *test)
{
	struct test_device *device = test->priv;
	struct hmm_migrate_result result;
	unsigned long addr;

	test_device_add_memory(test, device);
	addr = test_fill_pages(test, NR, 1);

	KUNIT_EXPECT_EQ(test, -EINVAL,
			hmm_migrate_to_device(device->devmem, current->mm, addr,
					      addr, 0, &result));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			hmm_migrate_to_device(device->devmem, current->mm,
					      addr + LENGTH, addr, 0, &result));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			hmm_migrate_to_device(device->devmem, current->mm,
					      addr + 1, addr + LENGTH, 0, &result));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			hmm_migrate_to_ram(current->mm, device, addr,
					   addr + LENGTH - 1, &result));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			hmm_migrate_to_ram(current->mm, NULL, addr,
					   addr + LENGTH, &result));
	migrate_test_expect(test, &result, 0, 0, 0);
	KUNIT_EXPECT_EQ(test, 0, test_device_used(device));
}

static void migrate_test_there_and_back(struct kunit *test)
{
	struct test_device *device = test->priv;
	struct hmm_migrate_result result;
	unsigned long addr;

	test_device_add_memory(test, device);
	addr = test_fill_pages(test, NR, 100);

	KUNIT_EXPECT_EQ(test, 0,
			hmm_migrate_to_device(device->devmem, current->mm, addr,
					      addr + LENGTH, 0, &result));
	migrate_test_expect(test, &result, NR, 0, 0);
	KUNIT_EXPECT_EQ(test, NR, test_device_used(device));

	/* There already: nothing to do, and no frame is taken for it. */
	KUNIT_EXPECT_EQ(test, 0,
			hmm_migrate_to_device(device->devmem, current->mm, addr,
					      addr + LENGTH, 0, &result));
	migrate_test_expect(test, &result, 0, 0, NR);
	KUNIT_EXPECT_EQ(test, NR, result.already);
	KUNIT_EXPECT_EQ(test, NR, test_device_used(device));

	KUNIT_EXPECT_EQ(test, 0,
			hmm_migrate_to_ram(current->mm, device, addr,
					   addr + LENGTH, &result));
	migrate_test_expect(test, &result, NR, 0, 0);
	KUNIT_EXPECT_EQ(test, 0, test_device_used(device));
	test_verify_pages(test, addr, NR, 100);
}

/* The CPU touches pages on the device: they come back with what they hold. */
static void migrate_test_cpu_fault(struct kunit *test)
{
	struct test_device *device = test->priv;
	struct hmm_devmem_stats stats;
	unsigned long addr;

	test_device_add_memory(test, device);
	addr = test_fill_pages(test, NR, 200);
	test_device_move_in(test, device, addr, NR);

	/* One failed copy is tried again, with the faulting page alone. */
	device->copy_errors = 1;
	test_verify_pages(test, addr, NR, 200);
	hmm_devmem_get_stats(device->devmem, &stats);
	KUNIT_EXPECT_EQ(test, stats.used, 0);
	KUNIT_EXPECT_EQ(test, stats.migrated_in, NR);
	KUNIT_EXPECT_EQ(test, stats.migrated_out, NR);
	KUNIT_EXPECT_GT(test, stats.cpu_faults, 0);
	KUNIT_EXPECT_LT(test, stats.cpu_faults, NR);
}

/* The driver bounds what a CPU fault brings back. */
static void migrate_test_cpu_fault_around(struct kunit *test)
{
	const unsigned long sizes[] = { PAGE_SIZE, SZ_64K, 0 };
	const unsigned long pages = 256;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct test_device *device = test_device_create_another(test);
		struct hmm_devmem_desc desc = test_devmem_desc(device);
		unsigned long addr, least, size = sizes[i];
		struct hmm_migrate_result result;
		struct hmm_devmem_stats stats;

		desc.cpu_fault_around = size;
		test_device_add_memory_as(test, device, &desc, TEST_DEVICE_SIZE);
		addr = test_fill_pages(test, pages, 900);
		KUNIT_ASSERT_EQ(test, 0,
				hmm_migrate_to_device(device->devmem,
						      current->mm, addr, addr +
						      pages * PAGE_SIZE, 0,
						      &result));
		KUNIT_ASSERT_EQ(test, pages, result.moved);
		test_verify_pages(test, addr, pages, 900);
		hmm_devmem_get_stats(device->devmem, &stats);
		KUNIT_EXPECT_EQ(test, pages, stats.migrated_out);
		/* A few windows are smaller, at the beginning and the end. */
		least = size ? pages * PAGE_SIZE / size : 1;
		KUNIT_EXPECT_GE(test, stats.cpu_faults, least);
		KUNIT_EXPECT_LE(test, stats.cpu_faults,
				size == PAGE_SIZE ? pages : least + 7);
	}
}

static void migrate_test_desc(struct kunit *test)
{
	const unsigned long sizes[] = { 1, PAGE_SIZE / 2, 3 * PAGE_SIZE,
					2 * PMD_SIZE, ULONG_MAX };
	struct hmm_devmem_desc desc = test_devmem_desc(test->priv);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		desc.cpu_fault_around = sizes[i];
		KUNIT_EXPECT_EQ(test, -EINVAL,
				PTR_ERR(hmm_devmem_add(&desc,
						       TEST_DEVICE_SIZE)));
	}
}

/* To the device, unasked or not; expect that all or nothing moves. */
static void migrate_test_move(struct kunit *test, unsigned long addr,
			      bool unasked, bool moves)
{
	struct test_device *device = test->priv;
	struct hmm_migrate_result result;
	int err;

	if (unasked)
		err = hmm_migrate_unasked(device->devmem, current->mm, addr,
					  addr + PAGE_SIZE, 0, &result);
	else
		err = hmm_migrate_to_device(device->devmem, current->mm, addr,
					    addr + PAGE_SIZE, 0, &result);
	KUNIT_EXPECT_EQ(test, 0, err);
	migrate_test_expect(test, &result, moves, 0, !moves);
}

/* What a CPU takes back soon stays in RAM, unless somebody asks for it. */
static void migrate_test_bounce(struct kunit *test)
{
	struct test_device *device = test->priv;
	struct hmm_devmem_desc desc = test_devmem_desc(device);
	struct hmm_devmem_stats stats;
	unsigned long addr;

	desc.residency_ms = 600000;
	test_device_add_memory_as(test, device, &desc, TEST_DEVICE_SIZE);
	addr = test_fill_pages(test, 1, 77);
	migrate_test_move(test, addr, true, true);
	test_verify_pages(test, addr, 1, 77);
	migrate_test_move(test, addr, true, false);
	migrate_test_move(test, addr, true, false);
	hmm_devmem_get_stats(device->devmem, &stats);
	KUNIT_EXPECT_EQ(test, 1, stats.bounces);
	KUNIT_EXPECT_EQ(test, 2, stats.suppressed);
	migrate_test_move(test, addr, false, true);
	test_verify_pages(test, addr, 1, 77);
	hmm_devmem_get_stats(device->devmem, &stats);
	KUNIT_EXPECT_EQ(test, 2, stats.bounces);
	KUNIT_EXPECT_EQ(test, 2, stats.suppressed);
}

/* What stayed long enough may go again at once, and what bounced after a while. */
static void migrate_test_no_bounce(struct kunit *test)
{
	struct test_device *device = test->priv;
	struct hmm_devmem_desc desc = test_devmem_desc(device);
	struct hmm_devmem_stats stats;
	unsigned long addr;
	unsigned int i;

	desc.residency_ms = 1;
	test_device_add_memory_as(test, device, &desc, TEST_DEVICE_SIZE);
	addr = test_fill_pages(test, 1, 78);
	for (i = 0; i < 3; i++) {
		migrate_test_move(test, addr, true, true);
		msleep(100);
		test_verify_pages(test, addr, 1, 78);
	}
	hmm_devmem_get_stats(device->devmem, &stats);
	KUNIT_EXPECT_EQ(test, 0, stats.bounces);
	migrate_test_move(test, addr, true, true);
	test_verify_pages(test, addr, 1, 78);
	msleep(100);
	migrate_test_move(test, addr, true, true);
	hmm_devmem_get_stats(device->devmem, &stats);
	KUNIT_EXPECT_EQ(test, 0, stats.suppressed);
}

/* The driver decides instead, and is told what happened. */
static void migrate_test_policy(struct kunit *test)
{
	struct test_device *device = test->priv;
	struct hmm_devmem_desc desc = test_devmem_desc(device);
	struct hmm_devmem_stats stats;
	unsigned long addr;

	desc.ops = &test_policy_ops;
	desc.residency_ms = 600000;
	test_device_add_memory_as(test, device, &desc, TEST_DEVICE_SIZE);
	addr = test_fill_pages(test, 1, 79);
	device->may_not_migrate = true;
	migrate_test_move(test, addr, true, false);
	KUNIT_EXPECT_EQ(test, 1, device->asks);
	KUNIT_EXPECT_PTR_EQ(test, current->mm, device->asked.mm);
	KUNIT_EXPECT_EQ(test, addr, device->asked.start);
	KUNIT_EXPECT_EQ(test, addr + PAGE_SIZE, device->asked.end);
	KUNIT_EXPECT_EQ(test, 0, device->asked.bounces);
	KUNIT_EXPECT_EQ(test, UINT_MAX, device->asked.ram_ms);

	/* Nobody asks about what a process wants. */
	migrate_test_move(test, addr, false, true);
	KUNIT_EXPECT_EQ(test, 1, device->asks);
	test_verify_pages(test, addr, 1, 79);
	device->may_not_migrate = false;
	migrate_test_move(test, addr, true, true);
	KUNIT_EXPECT_EQ(test, 1, device->asked.bounces);
	KUNIT_EXPECT_GT(test, 600000, device->asked.ram_ms);
	test_verify_pages(test, addr, 1, 79);
	migrate_test_move(test, addr, true, true);
	KUNIT_EXPECT_EQ(test, 2, device->asked.bounces);
	hmm_devmem_get_stats(device->devmem, &stats);
	KUNIT_EXPECT_EQ(test, 1, stats.suppressed);
}

/* A device fault takes the page and what is around it to the device. */
static void migrate_test_fault_move(struct kunit *test)
{
	struct test_device *another = test_device_create_another(test);
	struct test_device *device = test->priv;
	struct hmm_devmem_desc desc = test_devmem_desc(device);
	struct hmm_mirror_move move = { .size = SZ_64K };
	const unsigned long sizes[] = { 0, 1, PAGE_SIZE / 2, 3 * PAGE_SIZE,
					2 * PMD_SIZE, ULONG_MAX };
	unsigned long addr, i;

	desc.residency_ms = 600000;
	test_device_add_memory_as(test, device, &desc, TEST_DEVICE_SIZE);
	test_device_add_memory(test, another);
	test_device_mirror(test, device);
	addr = ALIGN(test_mmap(test, 2 * SZ_64K, PROT_READ | PROT_WRITE),
		     SZ_64K);
	test_write_word(test, addr + PAGE_SIZE, 5);

	move.devmem = another->devmem;
	KUNIT_EXPECT_EQ(test, -EINVAL,
			hmm_mirror_fault_move(&device->mirror, addr, 0, &move));
	move.devmem = device->devmem;
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		move.size = sizes[i];
		KUNIT_EXPECT_EQ(test, -EINVAL,
				hmm_mirror_fault_move(&device->mirror, addr, 0,
						      &move));
	}
	move.size = SZ_64K;
	KUNIT_EXPECT_EQ(test, -EINVAL,
			hmm_mirror_fault_move(&device->mirror, addr,
					      HMM_MIRROR_EXCLUSIVE, &move));
	KUNIT_EXPECT_EQ(test, 0, test_device_used(device));

	KUNIT_EXPECT_EQ(test, 0,
			hmm_mirror_fault_move(&device->mirror, addr, 0, &move));
	KUNIT_EXPECT_EQ(test, SZ_64K >> PAGE_SHIFT, test_device_used(device));
	KUNIT_EXPECT_EQ(test, SZ_64K >> PAGE_SHIFT,
			test_device_count(device, addr, SZ_64K >> PAGE_SHIFT,
					  HMM_MIRROR_PRIVATE));
	KUNIT_EXPECT_EQ(test, 5, test_read_word(test, addr + PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, 0, test_read_word(test, addr));

	/* It bounced: this time it is mapped where it is. */
	KUNIT_EXPECT_EQ(test, 0,
			hmm_mirror_fault_move(&device->mirror, addr, 0, &move));
	KUNIT_EXPECT_NE(test, 0, test_device_pfn(device, addr));
	KUNIT_EXPECT_EQ(test, 0, test_device_count(device, addr, 1,
						   HMM_MIRROR_PRIVATE));
}

/* Untouched memory becomes zeroed device memory, whatever was stored there. */
static void migrate_test_holes(struct kunit *test)
{
	struct test_device *device = test->priv;
	struct hmm_migrate_result result;
	unsigned long addr, i;

	test_device_add_memory(test, device);
	addr = test_mmap(test, LENGTH, PROT_READ | PROT_WRITE);
	test_write_word(test, addr + 3 * PAGE_SIZE, 33);

	KUNIT_EXPECT_EQ(test, 0,
			hmm_migrate_to_device(device->devmem, current->mm, addr,
					      addr + LENGTH, 0, &result));
	migrate_test_expect(test, &result, 1, NR - 1, 0);
	for (i = 0; i < LENGTH; i += sizeof(u64))
		if (test_read_word(test, addr + i) !=
		    (i == 3 * PAGE_SIZE ? 33 : 0))
			KUNIT_FAIL(test, "old device data at offset %lu", i);
}

static void migrate_test_full(struct kunit *test)
{
	const unsigned long fits = TEST_DEVICE_SIZE >> PAGE_SHIFT;
	struct test_device *device = test->priv;
	struct hmm_migrate_result result;
	unsigned long addr;

	test_device_add_memory(test, device);
	addr = test_fill_pages(test, fits + NR, 300);

	KUNIT_EXPECT_EQ(test, -ENOSPC,
			hmm_migrate_to_device(device->devmem, current->mm, addr,
					      addr + (fits + NR) * PAGE_SIZE, 0,
					      &result));
	migrate_test_expect(test, &result, fits, 0, NR);
	KUNIT_EXPECT_EQ(test, NR, result.no_room);
	KUNIT_EXPECT_EQ(test, fits, test_device_used(device));
	test_verify_pages(test, addr, fits + NR, 300);
}

/* A device that fails to copy or to clear changes nothing. */
static void migrate_test_device_errors(struct kunit *test)
{
	struct test_device *device = test->priv;
	struct hmm_migrate_result result;
	unsigned long addr, hole;

	test_device_add_memory(test, device);
	addr = test_fill_pages(test, NR, 400);
	hole = test_mmap(test, LENGTH, PROT_READ | PROT_WRITE);

	device->copy_errors = 1;
	KUNIT_EXPECT_EQ(test, -EIO,
			hmm_migrate_to_device(device->devmem, current->mm, addr,
					      addr + LENGTH, 0, &result));
	migrate_test_expect(test, &result, 0, 0, NR);
	KUNIT_EXPECT_EQ(test, 0, test_device_used(device));
	test_verify_pages(test, addr, NR, 400);

	device->clear_errors = 1;
	KUNIT_EXPECT_EQ(test, -EIO,
			hmm_migrate_to_device(device->devmem, current->mm, hole,
					      hole + PAGE_SIZE, 0, &result));
	migrate_test_expect(test, &result, 0, 0, 1);
	KUNIT_EXPECT_EQ(test, 1, result.failed);
	KUNIT_EXPECT_EQ(test, 0, test_device_used(device));

	KUNIT_ASSERT_EQ(test, 0,
			hmm_migrate_to_device(device->devmem, current->mm, addr,
					      addr + LENGTH, 0, &result));
	device->copy_errors = 1;
	KUNIT_EXPECT_EQ(test, -EIO,
			hmm_migrate_to_ram(current->mm, device, addr,
					   addr + LENGTH, &result));
	migrate_test_expect(test, &result, 0, 0, NR);
	KUNIT_EXPECT_EQ(test, NR, result.failed);
	KUNIT_EXPECT_EQ(test, NR, test_device_used(device));
	test_verify_pages(test, addr, NR, 400);
}

/* A huge page, each base page of which holds its number. */
static unsigned long migrate_test_new_huge(struct kunit *test)
{
	unsigned long addr, pfn, i;

	addr = test_mmap_huge(test, &pfn);
	for (i = 0; i < HUGE_NR; i++)
		test_write_word(test, addr + i * PAGE_SIZE, 1 + i);
	return addr;
}

/*
 * All of a huge page moves to the device, in small pages if it has no memory for so
 * large a job; or skip.
 */
static void migrate_test_huge_in(struct kunit *test, unsigned long addr,
				 bool no_memory)
{
	struct test_device *device = test->priv;
	struct hmm_devmem_stats stats;

	device->no_memory = no_memory;
	test_device_move_in(test, device, addr, HUGE_NR);
	hmm_devmem_get_stats(device->devmem, &stats);
	if (device->no_memory || (!no_memory && !stats.huge))
		kunit_skip(test, "no huge folios in device memory");
	KUNIT_EXPECT_EQ(test, stats.huge, no_memory ? 0 : HUGE_NR);
	KUNIT_EXPECT_EQ(test, stats.used, HUGE_NR);
	KUNIT_EXPECT_EQ(test, stats.failed, 0);
}

/* Nothing is on the device any more, and the device did notice. */
static void migrate_test_huge_out(struct kunit *test, unsigned long addr)
{
	struct test_device *device = test->priv;

	KUNIT_EXPECT_EQ(test, 0, device->no_memory);
	KUNIT_EXPECT_EQ(test, 0, test_device_used(device));
	test_verify_pages(test, addr, HUGE_NR, 1);
}

/* The device has no memory to copy or to clear a huge page as one. */
static void migrate_test_no_memory_huge(struct kunit *test)
{
	struct test_device *device = test->priv;
	struct hmm_devmem_evict_result evicted;
	struct hmm_migrate_result result;
	unsigned long addr;

	test_device_add_memory(test, device);

	/* To the device; all of its memory is needed for it. */
	addr = migrate_test_new_huge(test);
	migrate_test_huge_in(test, addr, true);
	KUNIT_ASSERT_EQ(test, 0, hmm_devmem_evict(device->devmem, ULONG_MAX,
						  TEST_TIMEOUT_MS, &evicted));
	migrate_test_huge_out(test, addr);

	/* To RAM, for a range. */
	addr = migrate_test_new_huge(test);
	migrate_test_huge_in(test, addr, false);
	device->no_memory = 1;
	KUNIT_EXPECT_EQ(test, 0,
			hmm_migrate_to_ram(current->mm, device, addr,
					   addr + PMD_SIZE, &result));
	migrate_test_expect(test, &result, HUGE_NR, 0, 0);
	migrate_test_huge_out(test, addr);

	/* For a CPU fault. */
	addr = migrate_test_new_huge(test);
	migrate_test_huge_in(test, addr, false);
	device->no_memory = 1;
	test_verify_pages(test, addr, HUGE_NR, 1);
	migrate_test_huge_out(test, addr);

	/* For an eviction. */
	addr = migrate_test_new_huge(test);
	migrate_test_huge_in(test, addr, false);
	device->no_memory = 1;
	KUNIT_EXPECT_EQ(test, 0, hmm_devmem_evict(device->devmem, ULONG_MAX,
						  TEST_TIMEOUT_MS, &evicted));
	KUNIT_EXPECT_EQ(test, HUGE_NR, evicted.evicted);
	migrate_test_huge_out(test, addr);
}

/* The same for a hole that a huge page would fill. */
static void migrate_test_no_memory_hole_huge(struct kunit *test)
{
	struct test_device *device = test->priv;
	unsigned long addr, i;

	test_device_add_memory(test, device);
	addr = test_mmap_thp(test);
	migrate_test_huge_in(test, addr, true);
	for (i = 0; i < HUGE_NR; i++)
		KUNIT_EXPECT_EQ(test, 0,
				test_read_word(test, addr + i * PAGE_SIZE));
}

static void migrate_test_evict(struct kunit *test)
{
	struct test_device *device = test->priv;
	struct hmm_devmem_evict_result evicted;
	unsigned long addr;

	test_device_add_memory(test, device);
	addr = test_fill_pages(test, NR, 500);
	test_device_move_in(test, device, addr, NR);

	KUNIT_EXPECT_EQ(test, 0,
			hmm_devmem_evict(device->devmem, 5, TEST_TIMEOUT_MS,
					 &evicted));
	KUNIT_EXPECT_EQ(test, 5, evicted.evicted);
	KUNIT_EXPECT_EQ(test, NR - 5, test_device_used(device));
	device->copy_errors = 1;
	KUNIT_EXPECT_EQ(test, 0,
			hmm_devmem_evict(device->devmem, ULONG_MAX,
					 TEST_TIMEOUT_MS, &evicted));
	KUNIT_EXPECT_EQ(test, NR - 5, evicted.evicted);
	KUNIT_EXPECT_EQ(test, 0, evicted.failed);
	KUNIT_EXPECT_EQ(test, 0, test_device_used(device));
	test_verify_pages(test, addr, NR, 500);
}

/* Removal brings the pages back; the process does not notice. */
static void migrate_test_remove(struct kunit *test)
{
	struct test_device *device = test->priv;
	unsigned long addr;

	test_device_add_memory(test, device);
	addr = test_fill_pages(test, NR, 600);
	test_device_move_in(test, device, addr, NR);
	KUNIT_EXPECT_EQ(test, 0, hmm_devmem_remove(device->devmem,
						   TEST_TIMEOUT_MS, NULL));
	device->devmem = NULL;
	test_verify_pages(test, addr, NR, 600);
}

/* The device is gone and copies nothing: its pages are lost, and only those. */
static void migrate_test_remove_gone(struct kunit *test)
{
	struct test_device *device = test->priv;
	struct hmm_devmem_evict_result evicted;
	unsigned long addr, in_ram, i;
	u64 word;

	test_device_add_memory(test, device);
	in_ram = test_fill_pages(test, NR, 700);
	addr = test_fill_pages(test, NR, 800);
	test_device_move_in(test, device, addr, NR);
	device->copy_errors = UINT_MAX;
	KUNIT_EXPECT_EQ(test, -EBUSY, hmm_devmem_remove(device->devmem, 0,
							&evicted));
	device->devmem = NULL;
	KUNIT_EXPECT_EQ(test, 0, evicted.evicted);
	KUNIT_EXPECT_LT(test, 0, evicted.failed);
	KUNIT_EXPECT_EQ(test, NR, evicted.failed + evicted.untried);
	for (i = 0; i < NR; i++)
		KUNIT_EXPECT_NE(test, 0,
				copy_from_user(&word, (void __user *)addr +
					       i * PAGE_SIZE, sizeof(word)));
	test_verify_pages(test, in_ram, NR, 700);
	/* The memory is unplugged with the last of its pages. */
	KUNIT_EXPECT_EQ(test, 0, vm_munmap(addr, LENGTH));
}

static struct kunit_case migrate_test_cases[] = {
	KUNIT_CASE(migrate_test_args),
	KUNIT_CASE(migrate_test_there_and_back),
	KUNIT_CASE(migrate_test_cpu_fault),
	KUNIT_CASE(migrate_test_cpu_fault_around),
	KUNIT_CASE(migrate_test_desc),
	KUNIT_CASE(migrate_test_bounce),
	KUNIT_CASE(migrate_test_no_bounce),
	KUNIT_CASE(migrate_test_policy),
	KUNIT_CASE(migrate_test_fault_move),
	KUNIT_CASE(migrate_test_holes),
	KUNIT_CASE(migrate_test_full),
	KUNIT_CASE(migrate_test_device_errors),
	KUNIT_CASE(migrate_test_no_memory_huge),
	KUNIT_CASE(migrate_test_no_memory_hole_huge),
	KUNIT_CASE(migrate_test_evict),
	KUNIT_CASE(migrate_test_remove),
	KUNIT_CASE(migrate_test_remove_gone),
	{}
};

static struct kunit_suite migrate_test_suite = {
	.name = "hmm_migrate",
	.init = migrate_test_init,
	.exit = migrate_test_exit,
	.test_cases = migrate_test_cases,
};

kunit_test_suite(migrate_test_suite);
