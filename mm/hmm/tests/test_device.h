/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _MM_HMM_TEST_DEVICE_H
#define _MM_HMM_TEST_DEVICE_H

#include <kunit/test.h>
#include <linux/hmm/devmem.h>
#include <linux/hmm/migrate.h>
#include <linux/hmm/mirror.h>
#include <linux/sizes.h>
#include <linux/xarray.h>

#define TEST_DEVICE_SIZE	SZ_2M
#define TEST_TIMEOUT_MS		10000

/**
 * struct test_device - the smallest device: a page table and private memory
 * @mirror: mirrors the test's address space once test_device_mirror() was called
 * @table: page number to frame number and flags, as xarray values
 * @map_errors: maps that fail
 * @prepares: calls of prepare
 * @zapped_start: first byte of the last invalidation
 * @zapped_end: its end, exclusive
 * @mirrored: the mirror is registered
 * @devmem: TEST_DEVICE_SIZE bytes of private memory, NULL without
 * @storage: what the device stores there
 * @copy_errors: copies that fail
 * @clear_errors: clears that fail
 */
struct test_device {
	struct hmm_mirror mirror;
	struct xarray table;
	unsigned int map_errors;
	unsigned int prepares;
	unsigned long zapped_start;
	unsigned long zapped_end;
	bool mirrored;
	struct hmm_devmem *devmem;
	void *storage;
	unsigned int copy_errors;
	unsigned int clear_errors;
};

extern const struct hmm_mirror_ops test_mirror_ops;
extern const struct hmm_devmem_ops test_devmem_ops;

struct test_device *test_device_create(struct kunit *test);
void test_device_destroy(struct test_device *device);
void test_device_mirror(struct kunit *test, struct test_device *device);
void test_device_add_memory(struct kunit *test, struct test_device *device);
unsigned long test_device_used(struct test_device *device);

unsigned long test_mmap(struct kunit *test, unsigned long size, int prot);
void test_write_word(struct kunit *test, unsigned long addr, u64 value);
u64 test_read_word(struct kunit *test, unsigned long addr);

#endif /* _MM_HMM_TEST_DEVICE_H */
