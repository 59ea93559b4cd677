// SPDX-License-Identifier: GPL-2.0
/*
 * The device behind the KUnit tests.  Memory, page tables and migrations are
 * real; only the device is made up.
 */
#include <linux/delay.h>
#include <linux/highmem.h>
#include <linux/mman.h>
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "test_device.h"

static struct test_device *to_device(struct hmm_mirror *mirror)
{
	return container_of(mirror, struct test_device, mirror);
}

struct test_log test_log = {
	.lock = __SPIN_LOCK_UNLOCKED(test_log.lock),
};

static void test_log_add(struct test_device *device, enum test_op op,
			 unsigned long start, unsigned long end)
{
	guard(spinlock)(&test_log.lock);
	if (test_log.nr < TEST_EVENTS)
		test_log.events[test_log.nr++] = (struct test_event){
			.device = device, .op = op, .start = start, .end = end };

	switch (op) {
	case TEST_ZAP:
		device->unflushed_start = min(device->unflushed_start, start);
		device->unflushed_end = max(device->unflushed_end, end);
		break;
	case TEST_FLUSH_START:
		if (start > device->unflushed_start ||
		    end < device->unflushed_end)
			device->bad_flushes++;
		device->unflushed_start = ULONG_MAX;
		device->unflushed_end = 0;
		device->flushing = true;
		break;
	case TEST_FLUSH_WAIT:
		device->flushing = false;
		break;
	}
}

void test_log_reset(void)
{
	guard(spinlock)(&test_log.lock);
	test_log.nr = 0;
}

/* Events of a kind on one device, or on all if @device is NULL. */
unsigned int test_log_count(const struct test_device *device, enum test_op op)
{
	unsigned int i, n = 0;

	guard(spinlock)(&test_log.lock);
	for (i = 0; i < test_log.nr; i++)
		n += test_log.events[i].op == op &&
		     (!device || test_log.events[i].device == device);
	return n;
}

/* Index of one of these events, counted from 0; -1 if there are fewer. */
int test_log_find(const struct test_device *device, enum test_op op,
		  unsigned int nth)
{
	unsigned int i;

	guard(spinlock)(&test_log.lock);
	for (i = 0; i < test_log.nr; i++)
		if (test_log.events[i].op == op &&
		    (!device || test_log.events[i].device == device) && !nth--)
			return i;
	return -1;
}

/* Is this call one of those that are to fail? */
static bool test_fails(unsigned int *skip, unsigned int *errors)
{
	if (!*errors)
		return false;
	if (*skip) {
		--*skip;
		return false;
	}
	--*errors;
	return true;
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
	return test_fails(&device->prepare_skip, &device->prepare_errors) ?
	       -EREMOTEIO : 0;
}

static int test_map(struct hmm_mirror *mirror,
		    const struct hmm_mirror_entry *entries, unsigned int nr)
{
	struct test_device *device = to_device(mirror);
	unsigned int i;

	device->maps++;
	for (i = 0; i < nr; i++) {
		unsigned long index = entries[i].addr >> PAGE_SHIFT;
		unsigned long page;

		if (device->nr_entries < TEST_ENTRIES)
			device->entries[device->nr_entries] = entries[i];
		device->nr_entries++;
		for (page = 0; page < 1UL << entries[i].order; page++)
			xa_store(&device->table, index + page,
				 xa_mk_value(((entries[i].pfn + page) << 8) |
					     entries[i].flags), GFP_NOWAIT);
	}
	return test_fails(&device->map_skip, &device->map_errors) ? -EIO : 0;
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
	test_log_add(device, TEST_ZAP, start, end);
	return true;
}

static void test_flush_start(struct hmm_mirror *mirror, unsigned long start,
			     unsigned long end)
{
	test_log_add(to_device(mirror), TEST_FLUSH_START, start, end);
}

static void test_flush_wait(struct hmm_mirror *mirror, bool nonblock)
{
	struct test_device *device = to_device(mirror);

	if (device->stall && !nonblock) {
		device->stall = false;
		complete(&device->stalled);
		wait_for_completion_timeout(&device->resume,
					    msecs_to_jiffies(TEST_TIMEOUT_MS));
	}
	test_log_add(device, TEST_FLUSH_WAIT, 0, 0);
}

const struct hmm_mirror_ops test_mirror_ops = {
	.prepare = test_prepare,
	.map = test_map,
	.invalidate = test_invalidate,
};

/* A device that flushes its TLB on its own. */
const struct hmm_mirror_ops test_flush_ops = {
	.prepare = test_prepare,
	.map = test_map,
	.invalidate = test_invalidate,
	.flush_start = test_flush_start,
	.flush_wait = test_flush_wait,
};

/* Where the device keeps a page of its memory. */
void *test_frame(struct hmm_devmem *devmem, struct page *page)
{
	struct test_device *device = hmm_devmem_private(devmem);

	return device->storage + hmm_devmem_offset(devmem, page_to_pfn(page));
}

static bool test_no_memory(struct test_device *device,
			   const struct hmm_devmem_batch *batch)
{
	if (!device->no_memory || !batch->pages[0].order)
		return false;
	device->no_memory--;
	return true;
}

int test_copy(struct hmm_devmem *devmem, struct hmm_devmem_batch *batch)
{
	struct test_device *device = hmm_devmem_private(devmem);
	unsigned int i;

	/* It notices late, and in test_clear() at once. */
	if (test_no_memory(device, batch)) {
		hmm_devmem_batch_done(batch, -ENOMEM);
		return 0;
	}
	for (i = 0; i < batch->nr; i++) {
		const struct hmm_devmem_copy *piece = &batch->pages[i];
		unsigned int page;

		for (page = 0; page < 1U << piece->order; page++) {
			if (batch->direction == DMA_TO_DEVICE)
				memcpy_from_page(test_frame(devmem,
							    piece->dst + page),
						 piece->src + page, 0,
						 PAGE_SIZE);
			else
				memcpy_to_page(piece->dst + page, 0,
					       test_frame(devmem,
							  piece->src + page),
					       PAGE_SIZE);
		}
	}
	if (device->copy_errors) {
		device->copy_errors--;
		hmm_devmem_batch_done(batch, -EREMOTEIO);
	} else {
		hmm_devmem_batch_done(batch, 0);
	}
	return 0;
}

/* Copy from or to another test device; the caller says when the batch is done. */
void test_copy_peer(struct hmm_devmem *devmem, struct hmm_devmem *peer,
		    const struct hmm_devmem_batch *batch)
{
	bool here = batch->direction == DMA_TO_DEVICE;
	unsigned int i;

	for (i = 0; i < batch->nr; i++)
		memcpy(test_frame(here ? devmem : peer, batch->pages[i].dst),
		       test_frame(here ? peer : devmem, batch->pages[i].src),
		       PAGE_SIZE << batch->pages[i].order);
}

int test_clear(struct hmm_devmem *devmem, struct hmm_devmem_batch *batch)
{
	struct test_device *device = hmm_devmem_private(devmem);
	unsigned int i;

	if (test_no_memory(device, batch))
		return -ENOMEM;
	if (device->clear_errors) {
		device->clear_errors--;
		return -EREMOTEIO;
	}
	for (i = 0; i < batch->nr; i++)
		memset(test_frame(devmem, batch->pages[i].dst), 0,
		       PAGE_SIZE << batch->pages[i].order);
	hmm_devmem_batch_done(batch, 0);
	return 0;
}

const struct hmm_devmem_ops test_devmem_ops = {
	.copy = test_copy,
	.clear = test_clear,
};

static bool test_may_migrate(struct hmm_devmem *devmem,
			     const struct hmm_migrate_history *history)
{
	struct test_device *device = hmm_devmem_private(devmem);

	device->asked = *history;
	device->asks++;
	return !device->may_not_migrate;
}

/* A driver with a policy of its own. */
const struct hmm_devmem_ops test_policy_ops = {
	.copy = test_copy,
	.clear = test_clear,
	.may_migrate = test_may_migrate,
};

struct test_device *test_device_create(struct kunit *test)
{
	struct test_device *device = kzalloc_obj(*device, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, device);
	xa_init(&device->table);
	device->unflushed_start = ULONG_MAX;
	init_completion(&device->stalled);
	init_completion(&device->resume);
	return device;
}

/*
 * The test's address space goes away with its thread, perhaps only now: the
 * unmodified kernel does not survive an eviction at the same time.
 */
static void test_device_wait_unused(struct test_device *device)
{
	unsigned int ms;

	for (ms = 0; ms < TEST_TIMEOUT_MS && test_device_used(device); ms += 20)
		msleep(20);
}

void test_device_destroy(struct test_device *device)
{
	if (!device)
		return;
	if (device->devmem)
		test_device_wait_unused(device);
	if (device->mirrored)
		hmm_mirror_unregister(&device->mirror);
	if (device->devmem)
		hmm_devmem_remove(device->devmem, TEST_TIMEOUT_MS, NULL);
	vfree(device->storage);
	xa_destroy(&device->table);
	kfree(device);
}

KUNIT_DEFINE_ACTION_WRAPPER(test_device_destroy_action, test_device_destroy,
			    struct test_device *);

/* One more device, destroyed with the test. */
struct test_device *test_device_create_another(struct kunit *test)
{
	struct test_device *device = test_device_create(test);

	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test,
						  test_device_destroy_action,
						  device));
	return device;
}

/* The whole address space, and what mirrors are by default here. */
struct hmm_mirror_desc test_mirror_desc(struct test_device *device)
{
	return (struct hmm_mirror_desc){
		.ops = &test_mirror_ops,
		.owner = device,
		.start = 0,
		.end = TASK_SIZE_MAX,
		.page_sizes = PAGE_SIZE | SZ_64K | PMD_SIZE,
		.fault_around = SZ_64K,
		.timeout_ms = TEST_TIMEOUT_MS,
	};
}

/* Mirror the test's address space. */
void test_device_mirror_as(struct kunit *test, struct test_device *device,
			   const struct hmm_mirror_desc *desc)
{
	KUNIT_ASSERT_EQ(test, kunit_attach_mm(), 0);
	KUNIT_ASSERT_EQ(test, hmm_mirror_register(&device->mirror, current->mm,
						  desc), 0);
	device->mirrored = true;
}

void test_device_mirror(struct kunit *test, struct test_device *device)
{
	const struct hmm_mirror_desc desc = test_mirror_desc(device);

	test_device_mirror_as(test, device, &desc);
}

/* What the device maps at @addr: frame << 8 | flags, 0 if nothing. */
unsigned long test_device_entry(struct test_device *device, unsigned long addr)
{
	void *entry = xa_load(&device->table, addr >> PAGE_SHIFT);

	return entry ? xa_to_value(entry) : 0;
}

unsigned long test_device_pfn(struct test_device *device, unsigned long addr)
{
	return test_device_entry(device, addr) >> 8;
}

/* How many of @nr pages the device maps with all of @flags. */
unsigned long test_device_count(struct test_device *device, unsigned long addr,
				unsigned long nr, unsigned int flags)
{
	unsigned long i, n = 0;

	for (i = 0; i < nr; i++) {
		unsigned long entry = test_device_entry(device,
							addr + i * PAGE_SIZE);

		n += entry && (entry & flags) == flags;
	}
	return n;
}

u64 test_device_read_word(struct test_device *device, unsigned long addr)
{
	struct page *page = pfn_to_page(test_device_pfn(device, addr));
	u64 value;

	memcpy_from_page((char *)&value, page, offset_in_page(addr),
			 sizeof(value));
	return value;
}

void test_device_write_word(struct test_device *device, unsigned long addr,
			    u64 value)
{
	struct page *page = pfn_to_page(test_device_pfn(device, addr));

	memcpy_to_page(page, offset_in_page(addr), (char *)&value,
		       sizeof(value));
}

/* Start a new record of the entries that are mapped. */
void test_device_forget(struct test_device *device)
{
	device->nr_entries = 0;
	device->maps = 0;
}

/* Nothing that was zapped is left in the TLB of a device with test_flush_ops. */
bool test_device_flushed(struct test_device *device)
{
	guard(spinlock)(&test_log.lock);
	return !device->unflushed_end && !device->flushing &&
	       !device->bad_flushes;
}

/* What memory is by default here. */
struct hmm_devmem_desc test_devmem_desc(struct test_device *device)
{
	return (struct hmm_devmem_desc){
		.ops = &test_devmem_ops,
		.owner = device,
		.private = device,
		.name = "hmm_kunit",
		.nid = NUMA_NO_NODE,
	};
}

/* The memory comes with old content, as real memory does. */
void test_device_add_memory_as(struct kunit *test, struct test_device *device,
			       const struct hmm_devmem_desc *desc, size_t size)
{
	struct hmm_devmem *devmem;

	device->storage = vmalloc(size);
	KUNIT_ASSERT_NOT_NULL(test, device->storage);
	memset(device->storage, 0xa5, size);

	devmem = hmm_devmem_add(desc, size);
	if (PTR_ERR(devmem) == -EOPNOTSUPP)
		kunit_skip(test, "no CONFIG_DEVICE_PRIVATE");
	KUNIT_ASSERT_FALSE(test, IS_ERR(devmem));
	device->devmem = devmem;
}

void test_device_add_memory(struct kunit *test, struct test_device *device)
{
	const struct hmm_devmem_desc desc = test_devmem_desc(device);

	test_device_add_memory_as(test, device, &desc, TEST_DEVICE_SIZE);
}

/* All of it has to move, or be filled. */
void test_device_move_in(struct kunit *test, struct test_device *device,
			 unsigned long addr, unsigned long pages)
{
	struct hmm_migrate_result result;

	KUNIT_ASSERT_EQ(test, 0,
			hmm_migrate_to_device(device->devmem, current->mm, addr,
					      addr + pages * PAGE_SIZE, 0,
					      &result));
	KUNIT_ASSERT_EQ(test, pages, result.moved + result.filled);
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

/* The same at an address, in place of what is there. */
void test_mmap_at(struct kunit *test, unsigned long addr, unsigned long size,
		  int prot)
{
	KUNIT_ASSERT_EQ(test, addr,
			kunit_vm_mmap(test, NULL, addr, size, prot,
				      MAP_ANONYMOUS | MAP_PRIVATE | MAP_FIXED,
				      0));
}

/* PMD_SIZE-aligned addresses that nobody can access. */
unsigned long test_reserve(struct kunit *test, unsigned long size)
{
	return ALIGN(test_mmap(test, size + PMD_SIZE, PROT_NONE), PMD_SIZE);
}

/* PMD_SIZE bytes for which a huge page is wanted, without memory yet. */
unsigned long test_mmap_thp(struct kunit *test)
{
	unsigned long addr = ALIGN(test_mmap(test, 2 * PMD_SIZE,
					     PROT_READ | PROT_WRITE), PMD_SIZE);
	struct vm_area_struct *vma;

	/* As madvise(MADV_HUGEPAGE), which modules cannot call. */
	mmap_write_lock(current->mm);
	vma = find_vma(current->mm, addr);
	if (vma)
		vm_flags_set(vma, VM_HUGEPAGE);
	mmap_write_unlock(current->mm);
	KUNIT_ASSERT_NOT_NULL(test, vma);
	return addr;
}

/* The same that the CPU maps as one page, which is @pfn; or skip. */
unsigned long test_mmap_huge(struct kunit *test, unsigned long *pfn)
{
	unsigned long addr = test_mmap_thp(test);
	unsigned int order;
	struct page *page;

	test_write_word(test, addr, 1);
	KUNIT_ASSERT_EQ(test, 1,
			get_user_pages_fast(addr, 1, FOLL_WRITE, &page));
	order = folio_order(page_folio(page));
	*pfn = page_to_pfn(page);
	put_page(page);
	if (order != PMD_ORDER)
		kunit_skip(test, "no transparent huge page to be had");
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

/* @pages pages that hold their number plus @base. */
unsigned long test_fill_pages(struct kunit *test, unsigned long pages, u64 base)
{
	unsigned long addr = test_mmap(test, pages * PAGE_SIZE,
				       PROT_READ | PROT_WRITE);
	unsigned long i;

	for (i = 0; i < pages; i++)
		test_write_word(test, addr + i * PAGE_SIZE, base + i);
	return addr;
}

void test_verify_pages(struct kunit *test, unsigned long addr,
		       unsigned long pages, u64 base)
{
	unsigned long i;

	for (i = 0; i < pages; i++)
		KUNIT_EXPECT_EQ_MSG(test, base + i,
				    test_read_word(test, addr + i * PAGE_SIZE),
				    "page %lu", i);
}
