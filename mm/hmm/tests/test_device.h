/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _MM_HMM_TEST_DEVICE_H
#define _MM_HMM_TEST_DEVICE_H

#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/hmm/devmem.h>
#include <linux/hmm/migrate.h>
#include <linux/hmm/mirror.h>
#include <linux/sizes.h>
#include <linux/spinlock.h>
#include <linux/xarray.h>

#define TEST_DEVICE_SIZE	SZ_2M
#define TEST_TIMEOUT_MS		10000
#define TEST_ENTRIES		512
#define TEST_EVENTS		64

enum test_op {
	TEST_ZAP,
	TEST_FLUSH_START,
	TEST_FLUSH_WAIT,
};

struct test_device;

struct test_event {
	const struct test_device *device;
	enum test_op op;
	unsigned long start;
	unsigned long end;
};

/**
 * struct test_log - what happened on all devices, in this order
 * @lock: protects the log and what the devices know of their flushes
 * @nr: events since test_log_reset(), TEST_EVENTS at most
 * @events: the events
 */
struct test_log {
	spinlock_t lock;	/* see above */
	unsigned int nr;
	struct test_event events[TEST_EVENTS];
};

/**
 * struct test_device - the smallest device: a page table and private memory
 * @mirror: mirrors the test's address space once test_device_mirror() was called
 * @table: page number to frame number and flags, as xarray values
 * @entries: what was handed to map since test_device_forget(), as far as it fits
 * @nr_entries: how many entries that were
 * @maps: in how many calls
 * @map_skip: maps that succeed before some fail
 * @map_errors: maps that fail then
 * @prepares: calls of prepare
 * @prepare_skip: prepares that succeed before some fail
 * @prepare_errors: prepares that fail then
 * @zapped_start: first byte of the last invalidation
 * @zapped_end: its end, exclusive
 * @unflushed_start: first byte zapped since the last flush began
 * @unflushed_end: end of that, exclusive; 0 if there is nothing
 * @flushing: a flush has begun and nobody has waited for it
 * @bad_flushes: flushes that left out something zapped
 * @stall: let the next flush_wait complete @stalled and wait for @resume
 * @stalled: see @stall
 * @resume: see @stall
 * @mirrored: the mirror is registered
 * @devmem: TEST_DEVICE_SIZE bytes of private memory, NULL without
 * @storage: what the device stores there
 * @copy_errors: copies that fail
 * @clear_errors: clears that fail
 * @no_memory: jobs with a huge page that the device has no memory for
 * @may_not_migrate: what test_policy_ops answer
 * @asked: what they were asked last
 * @asks: how often
 */
struct test_device {
	struct hmm_mirror mirror;
	struct xarray table;
	struct hmm_mirror_entry entries[TEST_ENTRIES];
	unsigned int nr_entries;
	unsigned int maps;
	unsigned int map_skip;
	unsigned int map_errors;
	unsigned int prepares;
	unsigned int prepare_skip;
	unsigned int prepare_errors;
	unsigned long zapped_start;
	unsigned long zapped_end;
	unsigned long unflushed_start;
	unsigned long unflushed_end;
	bool flushing;
	unsigned int bad_flushes;
	bool stall;
	struct completion stalled;
	struct completion resume;
	bool mirrored;
	struct hmm_devmem *devmem;
	void *storage;
	unsigned int copy_errors;
	unsigned int clear_errors;
	unsigned int no_memory;
	bool may_not_migrate;
	struct hmm_migrate_history asked;
	unsigned int asks;
};

extern struct test_log test_log;
extern const struct hmm_mirror_ops test_mirror_ops;
extern const struct hmm_mirror_ops test_flush_ops;
extern const struct hmm_devmem_ops test_devmem_ops;
extern const struct hmm_devmem_ops test_policy_ops;

struct test_device *test_device_create(struct kunit *test);
struct test_device *test_device_create_another(struct kunit *test);
void test_device_destroy(struct test_device *device);
struct hmm_mirror_desc test_mirror_desc(struct test_device *device);
void test_device_mirror_as(struct kunit *test, struct test_device *device,
			   const struct hmm_mirror_desc *desc);
void test_device_mirror(struct kunit *test, struct test_device *device);
void *test_frame(struct hmm_devmem *devmem, struct page *page);
int test_copy(struct hmm_devmem *devmem, struct hmm_devmem_batch *batch);
void test_copy_peer(struct hmm_devmem *devmem, struct hmm_devmem *peer,
		    const struct hmm_devmem_batch *batch);
int test_clear(struct hmm_devmem *devmem, struct hmm_devmem_batch *batch);
struct hmm_devmem_desc test_devmem_desc(struct test_device *device);
void test_device_add_memory_as(struct kunit *test, struct test_device *device,
			       const struct hmm_devmem_desc *desc, size_t size);
void test_device_add_memory(struct kunit *test, struct test_device *device);
void test_device_move_in(struct kunit *test, struct test_device *device,
			 unsigned long addr, unsigned long pages);
unsigned long test_device_used(struct test_device *device);
unsigned long test_device_entry(struct test_device *device, unsigned long addr);
unsigned long test_device_pfn(struct test_device *device, unsigned long addr);
unsigned long test_device_count(struct test_device *device, unsigned long addr,
				unsigned long nr, unsigned int flags);
u64 test_device_read_word(struct test_device *device, unsigned long addr);
void test_device_write_word(struct test_device *device, unsigned long addr,
			    u64 value);
void test_device_forget(struct test_device *device);
bool test_device_flushed(struct test_device *device);

void test_log_reset(void);
unsigned int test_log_count(const struct test_device *device, enum test_op op);
int test_log_find(const struct test_device *device, enum test_op op,
		  unsigned int nth);

unsigned long test_mmap(struct kunit *test, unsigned long size, int prot);
void test_mmap_at(struct kunit *test, unsigned long addr, unsigned long size,
		  int prot);
unsigned long test_reserve(struct kunit *test, unsigned long size);
unsigned long test_mmap_thp(struct kunit *test);
unsigned long test_mmap_huge(struct kunit *test, unsigned long *pfn);
void test_write_word(struct kunit *test, unsigned long addr, u64 value);
u64 test_read_word(struct kunit *test, unsigned long addr);
unsigned long test_fill_pages(struct kunit *test, unsigned long pages, u64 base);
void test_verify_pages(struct kunit *test, unsigned long addr,
		       unsigned long pages, u64 base);

#endif /* _MM_HMM_TEST_DEVICE_H */
