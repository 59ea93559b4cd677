// SPDX-License-Identifier: GPL-2.0
/*
 * A range with all sorts of memory in it is migrated: what can move does, and of
 * the rest it is said why it stays.
 */
#define _GNU_SOURCE
#include <linux/mman.h>
#include <sys/uio.h>

#include "cpu.h"
#include "memory.h"
#include "orders.h"
#include "userfaultfd.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL	102
#endif

#define PAGES		64
#define KSM		"/sys/kernel/mm/ksm/"
#define HUGETLB_PAGES	"/proc/sys/vm/nr_hugepages"

FIXTURE(range)
{
	struct dmirror dev;
	struct hmm_dmirror_migrate result;
	size_t page;
	size_t length;
	char *data;	/* PAGES pages with pattern 1, alone in a reservation */
};

FIXTURE_VARIANT(range)
{
	enum hmm_dmirror_memory memory;
};

FIXTURE_VARIANT_ADD(range, private)
{
	.memory = PRIVATE,
};

FIXTURE_VARIANT_ADD(range, cdm)
{
	.memory = CDM,
};

FIXTURE_SETUP(range)
{
	OPEN_OR_SKIP(return, &self->dev, variant->memory, 0);
	ASSERT_EQ(0, self->dev.info.memory_used);
	self->page = page_size();
	self->length = PAGES * self->page;
	self->data = map_alone(self->length, false);
	ASSERT_NE(NULL, self->data);
	fill(self->data, self->length, 1);
}

FIXTURE_TEARDOWN(range)
{
	dmirror_close(&self->dev);
}

#define TO_DEVICE(start, size) \
	migrate(&self->dev, start, size, HMM_DMIRROR_TO_DEVICE, &self->result)
#define TO_RAM(start, size) \
	migrate(&self->dev, start, size, HMM_DMIRROR_TO_RAM, &self->result)

/* The counts of the last migration, those that are not named are 0. */
#define EXPECT_RESULT(...) do { \
	const struct hmm_dmirror_migrate __e = { __VA_ARGS__ }; \
	const struct hmm_dmirror_migrate *__r = &self->result; \
	EXPECT_EQ(__e.moved, __r->moved); \
	EXPECT_EQ(__e.filled, __r->filled); \
	EXPECT_EQ(__e.already, __r->already); \
	EXPECT_EQ(__e.elsewhere, __r->elsewhere); \
	EXPECT_EQ(__e.absent, __r->absent); \
	EXPECT_EQ(__e.unsupported, __r->unsupported); \
	EXPECT_EQ(__e.merged, __r->merged); \
	EXPECT_EQ(__e.busy, __r->busy); \
	EXPECT_EQ(__e.no_room, __r->no_room); \
	EXPECT_EQ(__e.failed, __r->failed); \
	EXPECT_EQ(__e.untried, __r->untried); \
	EXPECT_EQ(__r->already + __r->elsewhere + __r->absent + \
		  __r->unsupported + __r->merged + __r->busy + __r->no_room + \
		  __r->failed + __r->untried, __r->left); \
	EXPECT_EQ(__r->length / self->page, \
		  __r->moved + __r->filled + __r->left); \
} while (0)

static char *page_of(struct _test_data_range *self, unsigned int page)
{
	return self->data + page * self->page;
}

/* @nr pages from @first on have what fill() of all of them writes there. */
static bool pages_are(struct _test_data_range *self, unsigned int first,
		      unsigned int nr, uint64_t seed)
{
	const volatile uint64_t *words = (uint64_t *)self->data;
	size_t i = first * self->page / sizeof(*words);
	size_t end = (first + nr) * self->page / sizeof(*words);

	for (; i < end; i++)
		if (words[i] != pattern(seed, i))
			return false;
	return true;
}

static bool map_over(struct _test_data_range *self, unsigned int first,
		     unsigned int nr, int flags, int file)
{
	return mmap(page_of(self, first), nr * self->page,
		    PROT_READ | PROT_WRITE, flags | MAP_FIXED, file, 0) ==
	       page_of(self, first);
}

/* Memory with every protection, nothing, no memory yet, and shared memory. */
TEST_F(range, several_vmas)
{
	int file = memfd_create("hmm", MFD_CLOEXEC), pass;

	ASSERT_LE(0, file);
	ASSERT_EQ(0, ftruncate(file, 4 * self->page));
	ASSERT_EQ(0, munmap(page_of(self, 8), 4 * self->page));
	ASSERT_EQ(0, mprotect(page_of(self, 12), 4 * self->page, PROT_READ));
	ASSERT_EQ(0, mprotect(page_of(self, 16), 4 * self->page, PROT_NONE));
	ASSERT_EQ(0, mprotect(page_of(self, 20), 4 * self->page,
			      PROT_READ | PROT_EXEC));
	ASSERT_TRUE(map_over(self, 24, 8, MAP_PRIVATE | MAP_ANONYMOUS, -1));
	ASSERT_EQ(0, mprotect(page_of(self, 24), 4 * self->page, PROT_NONE));
	ASSERT_TRUE(map_over(self, 32, 4, MAP_SHARED, file));
	fill(page_of(self, 32), 4 * self->page, 5);

	for (pass = 0; pass < 2; pass++) {
		ASSERT_EQ(0, TO_DEVICE(self->data, self->length));
		/* What had no memory has some now. */
		EXPECT_RESULT(.moved = pass ? 56 : 48, .filled = pass ? 0 : 8,
			      .absent = 4, .unsupported = 4);
		EXPECT_EQ(56 * self->page, memory_used(&self->dev));
		ASSERT_EQ(0, TO_DEVICE(self->data, self->length));
		EXPECT_RESULT(.already = 56, .absent = 4, .unsupported = 4);
		ASSERT_EQ(0, TO_RAM(self->data, self->length));
		EXPECT_RESULT(.moved = 56, .absent = 4, .unsupported = 4);
		EXPECT_EQ(0, memory_used(&self->dev));
		ASSERT_EQ(0, TO_RAM(self->data, self->length));
		EXPECT_RESULT(.already = 56, .absent = 4, .unsupported = 4);
	}

	ASSERT_EQ(0, TO_DEVICE(self->data, self->length));
	EXPECT_EQ(HMM_DMIRROR_STATUS_NO_ACCESS,
		  dmirror_read(&self->dev, page_of(self, 16), self->page));
	EXPECT_EQ(HMM_DMIRROR_STATUS_READ_ONLY,
		  dmirror_fill(&self->dev, page_of(self, 12), 8, 1));
	EXPECT_EQ(HMM_DMIRROR_STATUS_READ_ONLY,
		  dmirror_fill(&self->dev, page_of(self, 20), 8, 1));
	ASSERT_EQ(0, mprotect(page_of(self, 12), 20 * self->page,
			      PROT_READ | PROT_WRITE));
	EXPECT_TRUE(pages_are(self, 0, 8, 1));
	EXPECT_TRUE(pages_are(self, 12, 12, 1));
	EXPECT_EQ(0, others(page_of(self, 24), 8 * self->page, 0));
	EXPECT_EQ(0, differences(page_of(self, 32), 4 * self->page, 5));
	EXPECT_TRUE(pages_are(self, 36, 28, 1));
	close(file);
}

TEST_F(range, parts_and_other_device)
{
	struct dmirror other;
	int ret = dmirror_open_memory(&other, PRIVATE,
				      variant->memory == PRIVATE);

	if (ret == -ENODEV)
		SKIP(return, "there is no other device with private memory");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, TO_DEVICE(page_of(self, 8), 8 * self->page));
	EXPECT_RESULT(.moved = 8);
	ASSERT_EQ(0, migrate(&other, page_of(self, 20), 10 * self->page,
			     HMM_DMIRROR_TO_DEVICE, &self->result));
	EXPECT_RESULT(.moved = 10);

	ASSERT_EQ(0, TO_DEVICE(self->data, self->length));
	EXPECT_RESULT(.moved = PAGES - 18, .already = 8, .elsewhere = 10);
	EXPECT_EQ(10 * self->page, memory_used(&other));
	ASSERT_EQ(0, TO_RAM(page_of(self, 4), 20 * self->page));
	EXPECT_RESULT(.moved = 16, .elsewhere = 4);
	ASSERT_EQ(0, migrate(&other, self->data, self->length,
			     HMM_DMIRROR_TO_RAM, &self->result));
	EXPECT_RESULT(.moved = 10, .already = 16,
		      .elsewhere = PAGES - 26);
	ASSERT_EQ(0, TO_RAM(self->data, self->length));
	EXPECT_RESULT(.moved = PAGES - 26, .already = 26);
	EXPECT_EQ(0, differences(self->data, self->length, 1));
	dmirror_close(&other);
}

/* Until all is on disk it cannot leave the swap cache. */
static bool written_back(void)
{
	int i;

	for (i = 0; i < 1000; i++) {
		/* A few pages may be noted for a CPU only. */
		write_text("/proc/sys/vm/stat_refresh", "1");
		if (!read_number("/proc/vmstat", "nr_writeback")) {
			drain_lru();
			return true;
		}
		usleep(10000);
	}
	return false;
}

TEST_F(range, swapped_out)
{
	uint64_t sum;

	if (!have_swap())
		SKIP(return, "there is no swap space");
	ASSERT_TRUE(page_out(page_of(self, 4), 16 * self->page));
	ASSERT_TRUE(written_back());
	/* Not worth reading for RAM. */
	ASSERT_EQ(0, TO_RAM(self->data, self->length));
	EXPECT_RESULT(.already = PAGES - 16, .absent = 16);
	EXPECT_EQ(0, pages_present(page_of(self, 4), 16 * self->page));

	ASSERT_EQ(0, TO_DEVICE(self->data, self->length));
	EXPECT_RESULT(.moved = PAGES);
	EXPECT_EQ(0, read_number("/proc/self/status", "VmSwap:"));
	ASSERT_EQ(0, dmirror_sum(&self->dev, self->data, self->length, &sum));
	EXPECT_EQ(pattern_sum(self->length, 1), sum);

	/* Together with what lies there already, and what may not be read. */
	ASSERT_EQ(0, TO_RAM(page_of(self, 8), 8 * self->page));
	ASSERT_TRUE(page_out(page_of(self, 8), 8 * self->page));
	ASSERT_TRUE(written_back());
	ASSERT_EQ(0, mprotect(page_of(self, 8), 4 * self->page, PROT_NONE));
	ASSERT_EQ(0, TO_DEVICE(self->data, self->length));
	EXPECT_RESULT(.moved = 8, .already = PAGES - 8);
	ASSERT_EQ(0, mprotect(page_of(self, 8), 4 * self->page,
			      PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, differences(self->data, self->length, 1));
}

/* A child has not touched it yet: the swap space has it, and so it stays in RAM. */
TEST_F(range, swapped_out_and_shared)
{
	int go[2];
	pid_t child;
	char byte;

	if (!have_swap())
		SKIP(return, "there is no swap space");
	ASSERT_TRUE(page_out(page_of(self, 4), 16 * self->page));
	ASSERT_TRUE(written_back());
	ASSERT_EQ(0, pipe(go));
	child = fork();
	ASSERT_LE(0, child);
	if (!child)
		_exit(read(go[0], &byte, 1) != 1 ||
		      differences(self->data, self->length, 1));
	ASSERT_EQ(0, TO_DEVICE(self->data, self->length));
	EXPECT_RESULT(.moved = PAGES - 16, .busy = 16);
	EXPECT_EQ(0, differences(self->data, self->length, 1));
	ASSERT_EQ(1, write(go[1], "", 1));
	EXPECT_EQ(0, child_status(child));
	ASSERT_EQ(0, TO_DEVICE(page_of(self, 4), 16 * self->page));
	EXPECT_RESULT(.moved = 16);
	EXPECT_EQ(0, differences(self->data, self->length, 1));
}

/* The kernel holds pages for a pipe: in RAM, and in memory that it can address. */
TEST_F(range, held)
{
	struct iovec four = { page_of(self, 8), 4 * self->page };
	char *copy = map_pages(4);
	int ends[2];

	ASSERT_NE(NULL, copy);
	ASSERT_EQ(0, pipe(ends));
	ASSERT_EQ(four.iov_len, vmsplice(ends[1], &four, 1, 0));
	ASSERT_EQ(0, TO_DEVICE(self->data, self->length));
	EXPECT_RESULT(.moved = PAGES - 4, .busy = 4);
	/* They are still the process's own. */
	fill(page_of(self, 8), 4 * self->page, 7);
	ASSERT_EQ(four.iov_len, read(ends[0], copy, four.iov_len));
	EXPECT_EQ(0, differences(copy, four.iov_len, 7));
	ASSERT_EQ(0, TO_DEVICE(self->data, self->length));
	EXPECT_RESULT(.moved = 4, .already = PAGES - 4);

	ASSERT_EQ(four.iov_len, vmsplice(ends[1], &four, 1, 0));
	ASSERT_EQ(0, TO_RAM(page_of(self, 8), 4 * self->page));
	/* For the pipe, private memory had to come to RAM. */
	EXPECT_RESULT(.busy = variant->memory == CDM ? 4 : 0,
		      .already = variant->memory == CDM ? 0 : 4);
	ASSERT_EQ(four.iov_len, read(ends[0], copy, four.iov_len));
	EXPECT_EQ(0, differences(copy, four.iov_len, 7));
	ASSERT_EQ(0, TO_RAM(self->data, self->length));
	EXPECT_EQ(0, self->result.busy);
	EXPECT_EQ(0, memory_used(&self->dev));
	EXPECT_TRUE(pages_are(self, 0, 8, 1));
	EXPECT_EQ(0, differences(page_of(self, 8), 4 * self->page, 7));
	EXPECT_TRUE(pages_are(self, 12, PAGES - 12, 1));
}

/*
 * Write to pages that another CPU has in a batch, to free them lazily; the test then
 * runs on the first one.
 */
static bool write_lazily_free(char *start, size_t length)
{
	drain_lru();
	if (!run_on(1) || madvise(start, length, MADV_FREE))
		return false;
	fill(start, length, 7);
	return run_on(0);
}

/* Fewer pages than a CPU collects before it moves them from one LRU list to another. */
TEST_F(range, in_batch_of_another_cpu)
{
	char *lazily = page_of(self, 8);

	if (!run_on(1))
		SKIP(return, "there is one CPU only");
	ASSERT_TRUE(write_lazily_free(lazily, 8 * self->page));
	ASSERT_EQ(0, TO_DEVICE(self->data, self->length));
	/* The unmodified kernel leaves them where they are for as long as they are few. */
	if (!getenv("HMM_UNMODIFIED_KERNEL"))
		EXPECT_RESULT(.moved = PAGES);
	EXPECT_TRUE(pages_are(self, 0, 8, 1));
	EXPECT_EQ(0, differences(lazily, 8 * self->page, 7));
	EXPECT_TRUE(pages_are(self, 16, PAGES - 16, 1));
}

/* The same where the device copies one huge page's worth while the next is collected. */
TEST_F(range, in_batch_of_another_cpu_later)
{
	size_t length = 3 * HUGE;
	char *area = map_alone(length, false);
	char *lazily = area + 2 * HUGE;

	ASSERT_NE(NULL, area);
	fill(area, length, 3);
	if (!run_on(1))
		SKIP(return, "there is one CPU only");
	ASSERT_TRUE(write_lazily_free(lazily, 8 * self->page));
	ASSERT_EQ(0, TO_DEVICE(area, length));
	if (!getenv("HMM_UNMODIFIED_KERNEL"))
		EXPECT_RESULT(.moved = length / self->page);
	EXPECT_EQ(0, differences(lazily, 8 * self->page, 7));
	EXPECT_EQ(8 * self->page / 8, differences(area, length, 3));
}

/* Memory that was locked is free when it is unmapped, whatever that CPU does next. */
TEST_F(range, unmapped_by_another_cpu)
{
	if (!run_on(1))
		SKIP(return, "there is one CPU only");
	ASSERT_EQ(0, mlock(page_of(self, 8), 8 * self->page));
	ASSERT_EQ(0, TO_DEVICE(self->data, self->length));
	EXPECT_RESULT(.moved = PAGES);
	ASSERT_EQ(0, munmap(page_of(self, 8), 8 * self->page));
	ASSERT_TRUE(run_on(0));
	/* The unmodified kernel keeps them until somebody drains that CPU. */
	if (getenv("HMM_UNMODIFIED_KERNEL"))
		drain_lru();
	EXPECT_EQ((PAGES - 8) * self->page, memory_used(&self->dev));
	EXPECT_TRUE(pages_are(self, 0, 8, 1));
	EXPECT_TRUE(pages_are(self, 16, PAGES - 16, 1));
}

/* Of a private mapping of a file, the process's own copies move. */
TEST_F(range, private_file)
{
	int file = memfd_create("hmm", MFD_CLOEXEC);
	char *whole;

	ASSERT_LE(0, file);
	ASSERT_EQ(0, ftruncate(file, 16 * self->page));
	whole = mmap(NULL, 16 * self->page, PROT_READ | PROT_WRITE, MAP_SHARED,
		     file, 0);
	ASSERT_NE(MAP_FAILED, whole);
	fill(whole, 16 * self->page, 5);
	ASSERT_TRUE(map_over(self, 16, 16, MAP_PRIVATE, file));
	ASSERT_EQ(0, TO_DEVICE(self->data, self->length));
	EXPECT_RESULT(.moved = PAGES - 16, .unsupported = 16);

	/* Four copied, four read, the rest not touched. */
	fill(page_of(self, 20), 4 * self->page, 6);
	others(page_of(self, 24), 4 * self->page, 0);
	ASSERT_EQ(0, TO_DEVICE(self->data, self->length));
	EXPECT_RESULT(.moved = 4, .already = PAGES - 16, .unsupported = 12);
	ASSERT_EQ(0, TO_RAM(self->data, self->length));
	EXPECT_RESULT(.moved = PAGES - 12, .unsupported = 12);
	EXPECT_EQ(0, differences(page_of(self, 20), 4 * self->page, 6));
	EXPECT_EQ(0, differences(whole, 16 * self->page, 5));
	EXPECT_EQ(0, memcmp(page_of(self, 16), whole, 4 * self->page));
	EXPECT_EQ(0, memcmp(page_of(self, 24), whole + 8 * self->page,
			    8 * self->page));
	close(file);
}

TEST_F(range, hugetlb)
{
	char *area = reserve(2 * HUGE), old[32] = "0";
	size_t nr = HUGE / self->page;

	ASSERT_NE(NULL, area);
	ASSERT_TRUE(set_control(HUGETLB_PAGES, "1", old, sizeof(old)));
	ASSERT_EQ(area, mmap(area, HUGE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED |
			     MAP_HUGETLB | MAP_HUGE_2MB, -1, 0));
	ASSERT_EQ(area + HUGE, mmap(area + HUGE, self->length,
				    PROT_READ | PROT_WRITE, MAP_PRIVATE |
				    MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	fill(area, HUGE + self->length, 3);
	ASSERT_EQ(0, TO_DEVICE(area, HUGE + self->length));
	EXPECT_RESULT(.moved = PAGES, .unsupported = nr);
	ASSERT_EQ(0, TO_RAM(area, HUGE + self->length));
	EXPECT_RESULT(.moved = PAGES, .unsupported = nr);
	EXPECT_EQ(0, differences(area, HUGE + self->length, 3));
	munmap(area, HUGE);
	set_control(HUGETLB_PAGES, old, NULL, 0);
}

TEST_F(range, merged)
{
	long run = read_number(KSM "run", NULL);
	long scan = read_number(KSM "pages_to_scan", NULL);
	const char *count = "/proc/self/ksm_merging_pages";
	uint64_t end = now_us() + 60000000;
	unsigned int i;

	if (run < 0 || read_number(count, NULL) < 0)
		SKIP(return, "the kernel has no KSM");
	for (i = 0; i < 8; i++)
		fill(page_of(self, 8 + i), self->page, 9);
	ASSERT_EQ(0, madvise(page_of(self, 8), 8 * self->page,
			     MADV_MERGEABLE));
	write_number(KSM "pages_to_scan", 2000);
	ASSERT_EQ(0, write_text(KSM "run", "1"));
	while (read_number(count, NULL) < 8 && now_us() < end)
		usleep(10000);
	write_number(KSM "run", run);
	write_number(KSM "pages_to_scan", scan);
	ASSERT_EQ(8, read_number(count, NULL));

	ASSERT_EQ(0, TO_DEVICE(self->data, self->length));
	EXPECT_RESULT(.moved = PAGES - 8, .merged = 8);
	ASSERT_EQ(0, TO_RAM(self->data, self->length));
	EXPECT_RESULT(.moved = PAGES - 8, .already = 8);
	/* A page of its own again. */
	fill(page_of(self, 10), self->page, 4);
	ASSERT_EQ(0, TO_DEVICE(self->data, self->length));
	EXPECT_RESULT(.moved = PAGES - 7, .merged = 7);
	for (i = 0; i < 8; i++)
		EXPECT_EQ(0, differences(page_of(self, 8 + i), self->page,
					 i == 2 ? 4 : 9));
	EXPECT_TRUE(pages_are(self, 0, 8, 1));
}

TEST_F(range, locked_in_memory)
{
	/* The unmodified kernel drains the batch of one CPU only. */
	ASSERT_TRUE(run_on(0));
	ASSERT_EQ(0, mlock(page_of(self, 8), 8 * self->page));
	ASSERT_EQ(0, TO_DEVICE(self->data, self->length));
	EXPECT_RESULT(.moved = PAGES);
	EXPECT_EQ(8 * self->page / KIB,
		  read_number("/proc/self/status", "VmLck:"));
	ASSERT_EQ(0, TO_RAM(self->data, self->length));
	EXPECT_RESULT(.moved = PAGES);
	EXPECT_EQ(8, pages_present(page_of(self, 8), 8 * self->page));
	ASSERT_EQ(0, munlock(page_of(self, 8), 8 * self->page));
	EXPECT_EQ(0, differences(self->data, self->length, 1));
}

/* Userspace fills in what is missing, and the kernel keeps what is guarded. */
TEST_F(range, userfaultfd_and_guards)
{
	int uffd;

	ASSERT_TRUE(map_over(self, 8, 4, MAP_PRIVATE | MAP_ANONYMOUS, -1));
	uffd = open_userfaultfd(page_of(self, 8), 4 * self->page,
				UFFDIO_REGISTER_MODE_MISSING, 0);
	if (uffd < 0)
		SKIP(return, "userfaultfd: %s", strerror(-uffd));
	ASSERT_EQ(0, madvise(page_of(self, 20), 4 * self->page,
			     MADV_GUARD_INSTALL));
	ASSERT_EQ(0, TO_DEVICE(self->data, self->length));
	EXPECT_RESULT(.moved = PAGES - 8, .busy = 4, .absent = 4);
	close(uffd);
	ASSERT_EQ(0, TO_DEVICE(self->data, self->length));
	EXPECT_RESULT(.filled = 4, .already = PAGES - 8, .absent = 4);
	EXPECT_TRUE(pages_are(self, 0, 8, 1));
	EXPECT_EQ(0, others(page_of(self, 8), 4 * self->page, 0));
	EXPECT_TRUE(pages_are(self, 12, 8, 1));
	EXPECT_TRUE(pages_are(self, 24, PAGES - 24, 1));
}

/* Anonymous memory of three sizes, one beside the other. */
TEST_F(range, orders)
{
	size_t nr = HUGE / self->page;
	long scan_ms = begin_orders();
	char *area = map_orders(6);
	uint64_t sum;

	ASSERT_NE(NULL, area);

	/* From the middle of one to the middle of another. */
	ASSERT_EQ(0, TO_DEVICE(area + HUGE / 2, 2 * HUGE));
	EXPECT_RESULT(.moved = 2 * nr);
	ASSERT_EQ(0, TO_DEVICE(area, 3 * HUGE));
	EXPECT_RESULT(.moved = nr, .already = 2 * nr);
	ASSERT_EQ(0, dmirror_sum(&self->dev, area, 3 * HUGE, &sum));
	EXPECT_EQ(pattern_sum(3 * HUGE, 6), sum);
	ASSERT_EQ(0, TO_RAM(area + self->page, 3 * HUGE - 2 * self->page));
	EXPECT_RESULT(.moved = 3 * nr - 2);
	ASSERT_EQ(0, TO_RAM(area, 3 * HUGE));
	EXPECT_RESULT(.moved = 2, .already = 3 * nr - 2);
	EXPECT_EQ(0, differences(area, 3 * HUGE, 6));

	/* And a huge one as one, where that is possible. */
	ASSERT_TRUE(make_huge(area + 2 * HUGE, HUGE));
	ASSERT_EQ(0, TO_DEVICE(area + 2 * HUGE - self->page,
			       HUGE + self->page));
	EXPECT_RESULT(.moved = nr + 1);
	ASSERT_EQ(0, TO_DEVICE(area + 2 * HUGE, HUGE));
	EXPECT_RESULT(.already = nr);
	ASSERT_EQ(0, TO_RAM(area, 3 * HUGE));
	EXPECT_RESULT(.moved = nr + 1, .already = 2 * nr - 1);
	EXPECT_EQ(0, differences(area, 3 * HUGE, 6));
	end_orders(scan_ms);
}

TEST_F(range, device_fails)
{
	ASSERT_EQ(0, TO_DEVICE(page_of(self, 60), 4 * self->page));
	ASSERT_EQ(0, munmap(page_of(self, 8), 4 * self->page));
	/* Each of the two VMAs is a job of its own. */
	ASSERT_EQ(0, dmirror_inject(&self->dev, HMM_DMIRROR_INJECT_COPY_ERROR,
				    0, 1, 0));
	EXPECT_EQ(-EIO, TO_DEVICE(self->data, self->length));
	EXPECT_RESULT(.moved = 48, .already = 4, .absent = 4, .failed = 8);
	ASSERT_EQ(0, dmirror_inject(&self->dev, HMM_DMIRROR_INJECT_COPY_ERROR,
				    0, 1, 0));
	EXPECT_EQ(-EIO, TO_RAM(self->data, self->length));
	EXPECT_RESULT(.already = 8, .absent = 4, .failed = 52);
	ASSERT_EQ(0, TO_RAM(self->data, self->length));
	EXPECT_RESULT(.moved = 52, .already = 8, .absent = 4);
	EXPECT_TRUE(pages_are(self, 0, 8, 1));
	EXPECT_TRUE(pages_are(self, 12, PAGES - 12, 1));
}

TEST_F(range, no_room)
{
	size_t size = self->dev.info.memory_size - 16 * self->page;
	char *much = mmap(NULL, size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *area = map_alone(2 * HUGE, false);

	ASSERT_NE(MAP_FAILED, much);
	ASSERT_NE(NULL, area);
	madvise(much, size, MADV_NOHUGEPAGE);
	ASSERT_EQ(0, TO_DEVICE(much, size));
	ASSERT_EQ(0, munmap(self->data, 8 * self->page));
	EXPECT_EQ(-ENOSPC, TO_DEVICE(self->data, self->length));
	EXPECT_RESULT(.moved = 16, .absent = 8, .no_room = PAGES - 24);
	ASSERT_EQ(0, TO_RAM(self->data, self->length));
	EXPECT_RESULT(.moved = 16, .absent = 8, .already = PAGES - 24);
	/* It ends with the first page table for which there is no room. */
	EXPECT_EQ(-ENOSPC, TO_DEVICE(area, 2 * HUGE));
	EXPECT_RESULT(.filled = 16, .no_room = HUGE / self->page - 16,
		      .untried = HUGE / self->page);
	EXPECT_TRUE(pages_are(self, 8, PAGES - 8, 1));
}

static long rss(const char *name)
{
	return read_number("/proc/self/status", name);
}

/* Anonymous memory is the process's, wherever it lies. */
TEST_F(range, resident_set)
{
	long anon, all, swap, i;

	others(self->data, self->length, 0);
	rss("RssAnon:");
	anon = rss("RssAnon:");
	all = rss("VmRSS:");
	swap = rss("VmSwap:");
	for (i = 0; i < 16; i++) {
		char *start = page_of(self, i);
		size_t length = self->length - 2 * i * self->page;

		ASSERT_EQ(0, TO_DEVICE(start, length));
		EXPECT_EQ(anon, rss("RssAnon:"));
		ASSERT_EQ(0, TO_RAM(self->data, self->length));
		EXPECT_EQ(PAGES, self->result.moved + self->result.already);
		EXPECT_EQ(anon, rss("RssAnon:"));
	}
	/* 8 pages of something that the test itself has read. */
	EXPECT_GE(all + 8 * (long)(self->page / KIB), rss("VmRSS:"));
	EXPECT_LE(all, rss("VmRSS:"));
	EXPECT_EQ(swap, rss("VmSwap:"));
	ASSERT_EQ(0, TO_DEVICE(self->data, self->length));
	ASSERT_EQ(0, munmap(self->data, self->length));
	EXPECT_EQ(anon - (long)(self->length / KIB), rss("RssAnon:"));
	EXPECT_EQ(0, memory_used(&self->dev));
}

TEST_HARNESS_MAIN
