// SPDX-License-Identifier: GPL-2.0
/*
 * The kernel walks over memory that lies on the device because somebody gives advice,
 * asks what is there, or wants to see writes: it takes the memory for neither absent
 * nor its own, and device writes show.
 */
#define _GNU_SOURCE
#include <poll.h>

#include "kernel_access.h"
#include "numa.h"
#include "userfaultfd.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#define MADV_POPULATE_WRITE	23
#endif

#ifndef UFFDIO_MOVE
struct uffdio_move {
	__u64 dst;
	__u64 src;
	__u64 len;
	__u64 mode;
	__s64 move;
};

#define UFFDIO_MOVE		_IOWR(UFFDIO, 0x05, struct uffdio_move)
#endif

#ifndef PAGEMAP_SCAN
struct page_region {
	__u64 start;
	__u64 end;
	__u64 categories;
};

struct pm_scan_arg {
	__u64 size;
	__u64 flags;
	__u64 start;
	__u64 end;
	__u64 walk_end;
	__u64 vec;
	__u64 vec_len;
	__u64 max_pages;
	__u64 category_inverted;
	__u64 category_mask;
	__u64 category_anyof_mask;
	__u64 return_mask;
};

#define PAGEMAP_SCAN		_IOWR('f', 16, struct pm_scan_arg)
#define PAGE_IS_PRESENT		(1 << 3)
#define PAGE_IS_SWAPPED		(1 << 4)
#endif

#define PM_SOFT_DIRTY		(1ULL << 55)
#define PM_SWAP			(1ULL << 62)

#define NR_PAGES		(self->length / self->page)

/* All data is what fill() with @seed wrote, for the device and then for the CPU. */
#define EXPECT_DATA(seed) do { \
	EXPECT_TRUE(device_sees(self, pattern_sum(self->length, seed))); \
	EXPECT_EQ(0, differences(self->data, self->length, seed)); \
} while (0)

TEST_F(kernel_access, populate)
{
	static const int advice[] = { MADV_POPULATE_READ, MADV_POPULATE_WRITE };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(advice); i++) {
		ASSERT_TRUE(READY(i));
		ASSERT_EQ(0, madvise(self->data + self->page, self->page,
				     advice[i]));
		EXPECT_EQ(stays(self, self->page, self->page),
			  memory_used(&self->dev));
		ASSERT_EQ(0, madvise(self->data, self->length, advice[i]));
		EXPECT_STAYS(0, self->length);
		EXPECT_DATA(i);
	}
}

/* Advice about how memory in RAM will be used changes nothing here. */
TEST_F(kernel_access, advice)
{
	static const int advice[] = {
		MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_COLD,
		MADV_PAGEOUT, MADV_FREE, MADV_DONTDUMP, MADV_DODUMP,
		MADV_MERGEABLE, MADV_UNMERGEABLE, MADV_DONTFORK, MADV_DOFORK,
		MADV_WIPEONFORK, MADV_KEEPONFORK,
	};
	size_t part = self->length / 2, i;

	ASSERT_TRUE(READY(1));
	for (i = 0; i < ARRAY_SIZE(advice); i++) {
		EXPECT_EQ(0, madvise(self->data, self->length, advice[i]));
		EXPECT_EQ(self->length, memory_used(&self->dev));
		EXPECT_TRUE(device_sees(self, pattern_sum(self->length, 1)));
	}
	for (i = 0; i < ARRAY_SIZE(advice); i++) {
		EXPECT_EQ(0, madvise(self->data + part, self->page, advice[i]));
		EXPECT_EQ(self->length, memory_used(&self->dev));
		EXPECT_TRUE(device_sees(self, pattern_sum(self->length, 1)));
	}
	EXPECT_DATA(1);
}

TEST_F(kernel_access, mincore)
{
	unsigned char *pages = calloc(NR_PAGES, 1);
	size_t i, resident = 0;

	ASSERT_NE(NULL, pages);
	ASSERT_TRUE(READY(1));
	ASSERT_EQ(0, mincore(self->data, self->length, pages));
	for (i = 0; i < NR_PAGES; i++)
		resident += pages[i] & 1;
	EXPECT_EQ(NR_PAGES, resident);
	EXPECT_EQ(self->length, memory_used(&self->dev));
	EXPECT_DATA(1);
	free(pages);
}

/* What is locked is never paged out; it may move, as between nodes. */
TEST_F(kernel_access, mlock)
{
	ASSERT_TRUE(READY(1));
	ASSERT_EQ(0, mlock(self->data, self->length));
	EXPECT_STAYS(0, self->length);
	EXPECT_TRUE(device_sees(self, pattern_sum(self->length, 1)));
	ASSERT_EQ(0, TO_DEVICE());
	EXPECT_EQ(self->length, memory_used(&self->dev));
	ASSERT_EQ(0, mlock2(self->data, self->length, MLOCK_ONFAULT));
	EXPECT_EQ(self->length, memory_used(&self->dev));
	ASSERT_EQ(0, munlock(self->data, self->length));
	EXPECT_EQ(self->length, memory_used(&self->dev));
	EXPECT_DATA(1);
	ASSERT_EQ(0, mlock(self->data, self->length));
	ASSERT_TRUE(READY(2));
	EXPECT_DATA(2);
	ASSERT_EQ(0, munlock(self->data, self->length));
}

/* Device memory is on no node that move_pages() knows. */
TEST_F(kernel_access, move_pages)
{
	void **pages = calloc(NR_PAGES, sizeof(*pages));
	int *nodes = calloc(NR_PAGES, sizeof(*nodes));
	int *status = calloc(NR_PAGES, sizeof(*status));
	bool move;
	size_t i;

	ASSERT_TRUE(pages && nodes && status);
	for (i = 0; i < NR_PAGES; i++)
		pages[i] = self->data + i * self->page;
	ASSERT_TRUE(READY(1));
	for (move = false; ; move = true) {
		EXPECT_LE(0, syscall(__NR_move_pages, 0, NR_PAGES, pages,
				     move ? nodes : NULL, status, POLICY_MOVE));
		for (i = 0; i < NR_PAGES; i++)
			ASSERT_EQ(-ENOENT, status[i]);
		EXPECT_EQ(self->length, memory_used(&self->dev));
		if (move)
			break;
	}
	EXPECT_DATA(1);
	free(pages);
	free(nodes);
	free(status);
}

TEST_F(kernel_access, mbind)
{
	unsigned long node_0 = 1;

	ASSERT_TRUE(READY(1));
	if (syscall(__NR_mbind, self->data, self->length, POLICY_BIND, &node_0,
		    64, POLICY_MOVE))
		SKIP(return, "mbind: %s", strerror(errno));
	EXPECT_EQ(self->length, memory_used(&self->dev));
	EXPECT_DATA(1);
	ASSERT_TRUE(READY(2));
	EXPECT_DATA(2);
}

/* All of a file; false if it cannot be read to its end. */
static bool read_all(const char *path)
{
	int file = open(path, O_RDONLY | O_CLOEXEC);
	static char buffer[65536];
	ssize_t got, all = 0;

	if (file < 0)
		return false;
	while ((got = read(file, buffer, sizeof(buffer))) > 0)
		all += got;
	close(file);
	return !got && all;
}

TEST_F(kernel_access, proc_files)
{
	static const char * const files[] = {
		"/proc/self/maps", "/proc/self/smaps", "/proc/self/smaps_rollup",
		"/proc/self/numa_maps", "/proc/self/status",
	};
	unsigned int i;

	ASSERT_TRUE(READY(1));
	for (i = 0; i < ARRAY_SIZE(files); i++) {
		EXPECT_TRUE(read_all(files[i]));
		EXPECT_EQ(self->length, memory_used(&self->dev));
	}
	/* What was referenced: anything, anonymous, files; the peak of RSS. */
	EXPECT_EQ(0, write_text("/proc/self/clear_refs", "1"));
	EXPECT_EQ(0, write_text("/proc/self/clear_refs", "2"));
	EXPECT_EQ(0, write_text("/proc/self/clear_refs", "3"));
	EXPECT_EQ(0, write_text("/proc/self/clear_refs", "5"));
	EXPECT_EQ(self->length, memory_used(&self->dev));
	EXPECT_DATA(1);
}

/* Pages of which the entry in pagemap has @flag. */
static size_t entries_with(struct _test_data_kernel_access *self, uint64_t flag)
{
	uint64_t *entries = calloc(NR_PAGES, sizeof(*entries));
	size_t i, nr = 0;

	if (!entries || !read_pagemap(self->data, NR_PAGES, entries))
		return ~0UL;
	for (i = 0; i < NR_PAGES; i++)
		nr += !!(entries[i] & flag);
	free(entries);
	return nr;
}

/* Private memory looks as if it were swapped out. */
TEST_F(kernel_access, pagemap)
{
	bool cdm = self->memory == CDM;
	struct page_region region = {};
	struct pm_scan_arg scan = {
		.size = sizeof(scan),
		.start = (uintptr_t)self->data,
		.end = (uintptr_t)self->data + self->length,
		.vec = (uintptr_t)&region,
		.vec_len = 1,
		.category_mask = cdm ? PAGE_IS_PRESENT : PAGE_IS_SWAPPED,
		.return_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
	};
	int file = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	ASSERT_LE(0, file);
	ASSERT_TRUE(READY(1));
	EXPECT_EQ(cdm ? NR_PAGES : 0, entries_with(self, PM_PRESENT));
	EXPECT_EQ(cdm ? 0 : NR_PAGES, entries_with(self, PM_SWAP));
	ASSERT_EQ(1, ioctl(file, PAGEMAP_SCAN, &scan));
	EXPECT_EQ(scan.start, region.start);
	EXPECT_EQ(scan.end, region.end);
	EXPECT_EQ(scan.category_mask, region.categories);
	EXPECT_EQ(self->length, memory_used(&self->dev));
	EXPECT_DATA(1);
	close(file);
}

/* Who looks for pages written since finds those that the device wrote. */
TEST_F(kernel_access, soft_dirty)
{
	char *page = self->data + self->length / 2;

	ASSERT_TRUE(READY(1));
	if (entries_with(self, PM_SOFT_DIRTY) != NR_PAGES)
		SKIP(return, "the kernel keeps no soft-dirty bits");
	ASSERT_EQ(0, write_text("/proc/self/clear_refs", "4"));
	ASSERT_EQ(0, dmirror_fill(&self->dev, page, self->page, 5));
	/* Of private memory nothing is known: see copy_nonpresent_pte(). */
	if (self->memory == CDM)
		EXPECT_LE(1, entries_with(self, PM_SOFT_DIRTY));
	ASSERT_EQ(0, TO_RAM());
	if (self->memory == CDM)
		EXPECT_LE(1, entries_with(self, PM_SOFT_DIRTY));
	EXPECT_EQ(0, others(page, self->page, 5));
	EXPECT_EQ(self->page / 8, differences(self->data, self->length, 1));
}

struct opener {
	int uffd;
	unsigned int opened;
	unsigned int failures;
};

/* Let the writes go on, page by page. */
static void *open_pages(void *arg)
{
	struct opener *opener = arg;
	struct uffd_msg msg;

	while (read(opener->uffd, &msg, sizeof(msg)) == sizeof(msg)) {
		uint64_t addr = msg.arg.pagefault.address;
		struct uffdio_writeprotect open = {
			.range.start = addr & ~(page_size() - 1),
			.range.len = page_size(),
		};

		if (!(msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP))
			opener->failures++;
		__atomic_fetch_add(&opener->opened, 1, __ATOMIC_SEQ_CST);
		opener->failures += !!ioctl(opener->uffd, UFFDIO_WRITEPROTECT,
					    &open);
	}
	return NULL;
}

#define OPENED()	__atomic_load_n(&opener.opened, __ATOMIC_SEQ_CST)

/* Memory that is write-protected on the device: a handler sees each first write. */
TEST_F(kernel_access, userfaultfd_protect)
{
	struct uffdio_writeprotect protect = {
		.range.start = (uintptr_t)self->data,
		.range.len = self->length,
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};
	char *page = self->data + self->length / 2;
	struct opener opener = {};
	pthread_t thread;

	ASSERT_TRUE(READY(1));
	opener.uffd = open_userfaultfd(self->data, self->length,
				       UFFDIO_REGISTER_MODE_WP, 0);
	if (opener.uffd < 0)
		SKIP(return, "userfaultfd: %s", strerror(-opener.uffd));
	ASSERT_EQ(0, ioctl(opener.uffd, UFFDIO_WRITEPROTECT, &protect));
	EXPECT_EQ(self->length, memory_used(&self->dev));
	EXPECT_TRUE(device_sees(self, pattern_sum(self->length, 1)));
	EXPECT_EQ(0, mapped(&self->dev, self->data, self->length,
			    MAPPED | WRITE));
	ASSERT_EQ(0, pthread_create(&thread, NULL, open_pages, &opener));

	/* The device writes a page, the CPU another, each twice. */
	EXPECT_EQ(0, dmirror_fill(&self->dev, page, self->page, 5));
	EXPECT_EQ(1, OPENED());
	EXPECT_EQ(0, dmirror_fill(&self->dev, page, self->page, 6));
	EXPECT_EQ(1, OPENED());
	*(volatile uint64_t *)(page + self->page) = 7;
	*(volatile uint64_t *)(page + self->page) = 8;
	EXPECT_EQ(2, OPENED());

	/* Protection moves with the page. */
	ASSERT_EQ(0, TO_RAM());
	*(volatile uint64_t *)(page + 2 * self->page) = 9;
	EXPECT_EQ(3, OPENED());
	ASSERT_EQ(0, TO_DEVICE());
	EXPECT_EQ(0, dmirror_fill(&self->dev, page + 3 * self->page, 8, 10));
	EXPECT_EQ(4, OPENED());
	EXPECT_EQ(0, others(page, self->page, 6));
	EXPECT_EQ(self->page / 8 + 3, differences(self->data, self->length, 1));
	EXPECT_EQ(4, OPENED());
	EXPECT_EQ(0, opener.failures);
	pthread_cancel(thread);
	pthread_join(thread, NULL);
	close(opener.uffd);
}

/* UFFDIO_MOVE takes coherent memory along, and refuses private memory. */
TEST_F(kernel_access, userfaultfd_move)
{
	char *to = map_alone(self->length, self->huge);
	struct uffdio_move move = {
		.dst = (uintptr_t)to,
		.src = (uintptr_t)self->data,
		.len = self->length,
	};
	uint64_t sum;
	int uffd, ret;

	ASSERT_NE(NULL, to);
	uffd = open_userfaultfd(to, self->length, UFFDIO_REGISTER_MODE_MISSING,
				0);
	if (uffd < 0)
		SKIP(return, "userfaultfd: %s", strerror(-uffd));
	ASSERT_TRUE(READY(1));
	ret = ioctl(uffd, UFFDIO_MOVE, &move) ? -errno : 0;
	EXPECT_EQ(self->length, memory_used(&self->dev));
	if (self->memory == CDM) {
		ASSERT_EQ(0, ret);
		EXPECT_EQ(self->length, move.move);
		EXPECT_EQ(0, dmirror_sum(&self->dev, to, self->length, &sum));
		EXPECT_EQ(pattern_sum(self->length, 1), sum);
		EXPECT_EQ(0, differences(to, self->length, 1));
		ASSERT_EQ(0, migrate(&self->dev, to, self->length,
				     HMM_DMIRROR_TO_RAM, &self->result));
		EXPECT_EQ(NR_PAGES, self->result.moved);
		EXPECT_EQ(0, differences(to, self->length, 1));
	} else {
		EXPECT_TRUE(ret == -EFAULT || ret == -ENOENT);
		EXPECT_DATA(1);
	}
	EXPECT_EQ(0, memory_used(&self->dev));
	close(uffd);
}

TEST_HARNESS_MAIN
