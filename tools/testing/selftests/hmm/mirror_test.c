// SPDX-License-Identifier: GPL-2.0
/*
 * The device computes on the process's own memory, and its page table follows
 * the process's.
 */
#define _GNU_SOURCE
#include <linux/userfaultfd.h>

#include "dmirror_test.h"

#define PAGES	64

FIXTURE(mirror)
{
	struct dmirror dev;
	size_t page;
	size_t length;
	char *data;	/* PAGES pages with pattern 1 */
	unsigned char before[PAGES];
};

FIXTURE_VARIANT(mirror)
{
	enum hmm_dmirror_memory memory;
};

FIXTURE_VARIANT_ADD(mirror, none)
{
	.memory = NONE,
};

FIXTURE_VARIANT_ADD(mirror, private)
{
	.memory = PRIVATE,
};

FIXTURE_VARIANT_ADD(mirror, cdm)
{
	.memory = CDM,
};

FIXTURE_SETUP(mirror)
{
	OPEN_OR_SKIP(return, &self->dev, variant->memory, 0);
	self->page = page_size();
	self->length = PAGES * self->page;
	self->data = map_pages(PAGES);
	ASSERT_NE(NULL, self->data);
	fill(self->data, self->length, 1);
}

FIXTURE_TEARDOWN(mirror)
{
	dmirror_close(&self->dev);
}

TEST_F(mirror, read_and_write)
{
	size_t half = self->length / 2;
	uint64_t sum;

	ASSERT_EQ(0, dmirror_read(&self->dev, self->data + 1, 3));
	ASSERT_EQ(0, dmirror_sum(&self->dev, self->data, self->length, &sum));
	EXPECT_EQ(pattern_sum(self->length, 1), sum);

	/* What the CPU writes now, the device reads. */
	fill(self->data, self->length, 2);
	ASSERT_EQ(0, dmirror_sum(&self->dev, self->data, self->length, &sum));
	EXPECT_EQ(pattern_sum(self->length, 2), sum);

	/* What the device writes, and only that, the CPU reads. */
	ASSERT_EQ(0, dmirror_fill(&self->dev, self->data + 8, half - 16, 77));
	EXPECT_EQ(pattern(2, 0), *(uint64_t *)self->data);
	EXPECT_EQ(0, others(self->data + 8, half - 16, 77));
	EXPECT_EQ(pattern(2, half / 8 - 1), ((uint64_t *)self->data)[half / 8 - 1]);
	EXPECT_EQ(pattern(2, half / 8), ((uint64_t *)self->data)[half / 8]);

	fill(self->data, half, 3);
	ASSERT_EQ(0, dmirror_copy(&self->dev, self->data + half, self->data,
				  half));
	EXPECT_EQ(0, differences(self->data, half, 3));
	EXPECT_EQ(0, differences(self->data + half, half, 3));
}

TEST_F(mirror, counts_faults)
{
	struct hmm_dmirror_run run = {
		.program = HMM_DMIRROR_SUM,
		.addr = (uintptr_t)self->data,
		.length = self->length,
	};
	struct hmm_dmirror_stats before, after;

	ASSERT_EQ(0, dmirror_stats(&self->dev, &before));
	ASSERT_EQ(0, dmirror_run(&self->dev, &run));
	ASSERT_EQ(0, dmirror_stats(&self->dev, &after));
	EXPECT_LT(0, run.faults);
	EXPECT_GE(PAGES, run.faults);
	EXPECT_LE(run.faults, after.faults - before.faults);
	EXPECT_LE(PAGES, after.mapped_pages - before.mapped_pages);
	EXPECT_EQ(PAGES, mapped(&self->dev, self->data, self->length, MAPPED));

	/* Mapped is mapped. */
	ASSERT_EQ(0, dmirror_run(&self->dev, &run));
	EXPECT_EQ(0, run.faults);
}

TEST_F(mirror, empty_memory)
{
	char *empty = map_pages(PAGES);
	uint64_t sum = 1;

	ASSERT_NE(NULL, empty);
	ASSERT_EQ(0, dmirror_sum(&self->dev, empty, self->length / 2, &sum));
	EXPECT_EQ(0, sum);
	ASSERT_EQ(0, dmirror_fill(&self->dev, empty, self->length, 5));
	EXPECT_EQ(0, others(empty, self->length, 5));
}

/* A page of zeroes that the device has read is not the one that it writes. */
TEST_F(mirror, zero_page)
{
	char *zeroes = map_pages(2);
	uint64_t sum = 1;

	ASSERT_NE(NULL, zeroes);
	EXPECT_EQ(0, *(volatile char *)zeroes);
	EXPECT_EQ(0, *(volatile char *)(zeroes + self->page));
	ASSERT_EQ(0, dmirror_sum(&self->dev, zeroes, 2 * self->page, &sum));
	EXPECT_EQ(0, sum);
	EXPECT_EQ(0, mapped(&self->dev, zeroes, 2 * self->page,
			    HMM_DMIRROR_PAGE_WRITE));
	ASSERT_EQ(0, dmirror_fill(&self->dev, zeroes, self->page, 5));
	EXPECT_EQ(0, others(zeroes, self->page, 5));
	EXPECT_EQ(0, others(zeroes + self->page, self->page, 0));
}

TEST_F(mirror, text_programs)
{
	uint64_t histogram[256] = {}, *counts = (uint64_t *)self->data;
	char *text = self->data + self->page;
	size_t length = self->length - self->page - 3, i, words = 0;
	bool inside = false, was;
	uint64_t result;

	for (i = 0; i < length; i++)
		text[i] = i % 7 ? 'a' + i % 26 : ' ' + i % 95;
	for (i = 0; i < length; i++) {
		was = inside;
		inside = strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
				text[i]);
		words += inside && !was;
		histogram[(unsigned char)text[i]]++;
	}
	memset(counts, 0, 2048);
	ASSERT_EQ(0, dmirror_word_count(&self->dev, text, length, &result));
	EXPECT_EQ(words, result);
	ASSERT_EQ(0, dmirror_histogram(&self->dev, text, length, counts));
	EXPECT_EQ(0, memcmp(counts, histogram, sizeof(histogram)));
	/* It adds. */
	ASSERT_EQ(0, dmirror_histogram(&self->dev, text, length, counts));
	EXPECT_EQ(2 * histogram['b'], counts['b']);
}

struct node {
	uint64_t word;
	struct node *next;
};

TEST_F(mirror, chase)
{
	struct node *nodes = (void *)self->data, **heads;
	size_t nr = 1000, i;
	uint64_t sum, found, expected = 0;
	struct hmm_dmirror_run run = {
		.program = HMM_DMIRROR_CHASE,
		.length = 10,
		.count = 8,
		.operand = offsetof(struct node, next),
		.operand2 = offsetof(struct node, word),
	};

	heads = (void *)(self->data + self->length - self->page);
	memset(heads, 0, self->page);
	for (i = 0; i < nr; i++) {
		size_t j = i * 7 % nr;

		nodes[j].word = i;
		nodes[j].next = heads[1 + i % 5];
		heads[1 + i % 5] = &nodes[j];
		expected += i;
	}
	ASSERT_EQ(0, dmirror_chase(&self->dev, heads, 8,
				   offsetof(struct node, next),
				   offsetof(struct node, word), nr, &sum,
				   &found));
	EXPECT_EQ(expected, sum);
	EXPECT_EQ(nr, found);

	/* One node too many; a chain without end; a pointer to nowhere. */
	run.addr = (uintptr_t)heads;
	run.length = nr - 1;
	EXPECT_EQ(HMM_DMIRROR_STATUS_LIMIT, dmirror_run(&self->dev, &run));
	EXPECT_EQ(nr - 1, run.result2);
	nodes[0].next = &nodes[0];
	run.length = 10 * nr;
	EXPECT_EQ(HMM_DMIRROR_STATUS_LIMIT, dmirror_run(&self->dev, &run));
	nodes[0].next = (struct node *)((char *)&nodes[1] + 4);
	EXPECT_EQ(HMM_DMIRROR_STATUS_UNALIGNED, dmirror_run(&self->dev, &run));
	nodes[0].next = (struct node *)8;
	EXPECT_EQ(HMM_DMIRROR_STATUS_NO_ACCESS, dmirror_run(&self->dev, &run));
	EXPECT_LE(8, run.fault_addr);
	EXPECT_GE(16, run.fault_addr);
}

/* Memory that a file backs; @file decides how. */
static void file_memory(struct __test_metadata *_metadata,
			struct _test_data_mirror *self, int file)
{
	char *map, *other;
	uint64_t word, sum;

	ASSERT_LE(0, file);
	ASSERT_EQ(0, ftruncate(file, self->length));
	map = mmap(NULL, self->length, PROT_READ | PROT_WRITE, MAP_SHARED,
		   file, 0);
	ASSERT_NE(MAP_FAILED, map);
	fill(map, self->length, 4);
	ASSERT_EQ(0, dmirror_sum(&self->dev, map, self->length, &sum));
	EXPECT_EQ(pattern_sum(self->length, 4), sum);
	ASSERT_EQ(0, dmirror_fill(&self->dev, map, self->length / 2, 6));
	ASSERT_EQ(8, pread(file, &word, 8, self->length / 2 - 8));
	EXPECT_EQ(6, word);
	ASSERT_EQ(8, pread(file, &word, 8, self->length / 2));
	EXPECT_EQ(pattern(4, self->length / 16), word);

	/* A private mapping of it: the device writes to copies. */
	other = mmap(NULL, self->length, PROT_READ | PROT_WRITE, MAP_PRIVATE,
		     file, 0);
	ASSERT_NE(MAP_FAILED, other);
	ASSERT_EQ(0, dmirror_fill(&self->dev, other, self->page, 9));
	EXPECT_EQ(0, others(other, self->page, 9));
	EXPECT_EQ(0, others(map, self->page, 6));

	/* Truncated away under the device. */
	ASSERT_EQ(PAGES, mapped(&self->dev, map, self->length, MAPPED));
	ASSERT_EQ(0, dmirror_snapshot(&self->dev, map, self->length,
				      self->before));
	ASSERT_EQ(0, ftruncate(file, self->page));
	EXPECT_TRUE(zapped_leaves(&self->dev, map, PAGES, self->before,
				  map + self->page, self->length - self->page));
	EXPECT_EQ(HMM_DMIRROR_STATUS_NO_ACCESS,
		  dmirror_read(&self->dev, map, self->length));
	close(file);
}

TEST_F(mirror, shared_memory)
{
	file_memory(_metadata, self, memfd_create("hmm", MFD_CLOEXEC));
}

TEST_F(mirror, file)
{
	char path[] = "/tmp/hmm-mirror-XXXXXX";
	int file = mkstemp(path);

	if (file < 0)
		SKIP(return, "no file in /tmp: %s", strerror(errno));
	unlink(path);
	file_memory(_metadata, self, file);
}

#define MIDDLE	20

/* Pages MIDDLE and MIDDLE + 1 were zapped, with their leaves, and nothing else. */
#define EXPECT_ZAPPED() \
	EXPECT_TRUE(zapped_leaves(&self->dev, self->data, PAGES, self->before, \
				  self->data + MIDDLE * self->page, \
				  2 * self->page))

/* All pages are mapped on the device: note how. */
#define ASSERT_ALL_MAPPED() do { \
	ASSERT_EQ(PAGES, mapped(&self->dev, self->data, self->length, MAPPED)); \
	ASSERT_EQ(0, dmirror_snapshot(&self->dev, self->data, self->length, \
				      self->before)); \
} while (0)

TEST_F(mirror, zap_munmap)
{
	char *middle = self->data + MIDDLE * self->page;

	ASSERT_EQ(0, dmirror_read(&self->dev, self->data, self->length));
	ASSERT_ALL_MAPPED();
	ASSERT_EQ(0, munmap(middle, 2 * self->page));
	EXPECT_ZAPPED();
	EXPECT_EQ(HMM_DMIRROR_STATUS_NO_ACCESS,
		  dmirror_read(&self->dev, middle, 8));
}

TEST_F(mirror, zap_madvise)
{
	char *middle = self->data + MIDDLE * self->page;
	uint64_t sum;

	ASSERT_EQ(0, dmirror_read(&self->dev, self->data, self->length));
	ASSERT_ALL_MAPPED();
	ASSERT_EQ(0, madvise(middle, 2 * self->page, MADV_DONTNEED));
	EXPECT_ZAPPED();
	ASSERT_EQ(0, dmirror_sum(&self->dev, middle, 2 * self->page, &sum));
	EXPECT_EQ(0, sum);
}

TEST_F(mirror, zap_mprotect)
{
	char *middle = self->data + MIDDLE * self->page;

	ASSERT_EQ(0, dmirror_fill(&self->dev, self->data, self->length, 3));
	ASSERT_EQ(PAGES, mapped(&self->dev, self->data, self->length,
				MAPPED | HMM_DMIRROR_PAGE_WRITE));
	ASSERT_ALL_MAPPED();
	ASSERT_EQ(0, mprotect(middle, 2 * self->page, PROT_READ));
	EXPECT_ZAPPED();
	EXPECT_EQ(0, dmirror_read(&self->dev, middle, 2 * self->page));
	EXPECT_EQ(0, mapped(&self->dev, middle, 2 * self->page,
			    HMM_DMIRROR_PAGE_WRITE));
	EXPECT_EQ(HMM_DMIRROR_STATUS_READ_ONLY,
		  dmirror_fill(&self->dev, middle, 8, 4));
	ASSERT_EQ(0, mprotect(middle, 2 * self->page, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, dmirror_fill(&self->dev, middle, 8, 4));
	EXPECT_EQ(4, *(uint64_t *)middle);
}

TEST_F(mirror, zap_mremap)
{
	char *middle = self->data + MIDDLE * self->page, *moved;
	char *room = map_pages(2);
	uint64_t sum, expected = 0;
	size_t i;

	for (i = 0; i < 2 * self->page / 8; i++)
		expected += ((uint64_t *)middle)[i];
	ASSERT_NE(NULL, room);
	ASSERT_EQ(0, dmirror_read(&self->dev, self->data, self->length));
	ASSERT_ALL_MAPPED();
	moved = mremap(middle, 2 * self->page, 2 * self->page,
		       MREMAP_MAYMOVE | MREMAP_FIXED, room);
	ASSERT_EQ(room, moved);
	EXPECT_ZAPPED();
	ASSERT_EQ(0, dmirror_sum(&self->dev, moved, 2 * self->page, &sum));
	EXPECT_EQ(expected, sum);
	EXPECT_EQ(HMM_DMIRROR_STATUS_NO_ACCESS,
		  dmirror_read(&self->dev, middle, 8));
}

/* A huge page would fit around the change, but there is none. */
TEST_F(mirror, zap_in_large_area)
{
	size_t nr = HUGE / self->page, at = MIDDLE * self->page;
	unsigned char *before = malloc(nr);
	char *area = map_huge(2 * HUGE);

	ASSERT_NE(NULL, before);
	ASSERT_NE(NULL, area);
	ASSERT_EQ(0, madvise(area, 2 * HUGE, MADV_NOHUGEPAGE));
	fill(area, HUGE, 1);
	ASSERT_EQ(0, dmirror_read(&self->dev, area, HUGE));
	ASSERT_EQ(nr, mapped(&self->dev, area, HUGE, MAPPED));
	ASSERT_EQ(0, dmirror_snapshot(&self->dev, area, HUGE, before));
	ASSERT_EQ(0, munmap(area + at, self->page));
	EXPECT_EQ(0, page_flags(&self->dev, area + at));
	/* The unmodified kernel invalidates as if there were one. */
	if (!getenv("HMM_UNMODIFIED_KERNEL"))
		EXPECT_TRUE(zapped_leaves(&self->dev, area, nr, before,
					  area + at, self->page));
	free(before);
}

TEST_F(mirror, huge_page)
{
	unsigned char *huge = map_huge(HUGE);
	size_t nr = HUGE / self->page;
	uint64_t sum;

	ASSERT_NE(NULL, huge);
	fill(huge, HUGE, 8);
	if (!is_huge(huge))
		SKIP(return, "the kernel gave no transparent huge page");
	ASSERT_EQ(0, dmirror_sum(&self->dev, huge, HUGE, &sum));
	EXPECT_EQ(pattern_sum(HUGE, 8), sum);
	EXPECT_EQ(nr, mapped(&self->dev, huge, HUGE, MAPPED | LARGE));
	ASSERT_EQ(0, dmirror_fill(&self->dev, huge + HUGE / 2, HUGE / 2, 4));
	EXPECT_EQ(0, differences(huge, HUGE / 2, 8));
	EXPECT_EQ(0, others(huge + HUGE / 2, HUGE / 2, 4));

	/* A leaf is zapped whole; what comes back is small where it must. */
	ASSERT_EQ(0, munmap(huge + HUGE / 2, self->page));
	EXPECT_EQ(0, mapped(&self->dev, huge, HUGE, MAPPED));
	ASSERT_EQ(0, dmirror_sum(&self->dev, huge, HUGE / 2, &sum));
	EXPECT_EQ(pattern_sum(HUGE / 2, 8), sum);
	EXPECT_EQ(0, mapped(&self->dev, huge, HUGE, LARGE));
	EXPECT_EQ(0, mapped(&self->dev, huge + HUGE / 2, self->page, MAPPED));
}

TEST_F(mirror, two_devices)
{
	size_t half = self->length / 2;
	struct dmirror other;
	uint64_t sum;
	int ret;

	/* One of another kind, so that it is another device. */
	ret = dmirror_open_memory(&other, variant->memory == PRIVATE ? CDM :
				  PRIVATE, 0);
	if (ret == -ENODEV)
		SKIP(return, "there is no second device");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, dmirror_fill(&self->dev, self->data, half, 10));
	ASSERT_EQ(0, dmirror_fill(&other, self->data + half, half, 20));
	ASSERT_EQ(0, dmirror_sum(&self->dev, self->data, self->length, &sum));
	EXPECT_EQ(half / 8 * 30, sum);
	ASSERT_EQ(0, dmirror_sum(&other, self->data, self->length, &sum));
	EXPECT_EQ(half / 8 * 30, sum);

	/* Both page tables follow. */
	ASSERT_EQ(PAGES, mapped(&other, self->data, self->length, MAPPED));
	ASSERT_ALL_MAPPED();
	ASSERT_EQ(0, munmap(self->data, self->page));
	EXPECT_TRUE(zapped_leaves(&self->dev, self->data, PAGES, self->before,
				  self->data, self->page));
	EXPECT_EQ(0, page_flags(&other, self->data));
	dmirror_close(&other);

	/* A closed one does not disturb. */
	ASSERT_EQ(0, dmirror_snapshot(&self->dev, self->data, self->length,
				      self->before));
	ASSERT_EQ(0, munmap(self->data + self->page, self->page));
	EXPECT_TRUE(zapped_leaves(&self->dev, self->data, PAGES, self->before,
				  self->data + self->page, self->page));
}

/* Two open files of one device are two address spaces on it. */
TEST_F(mirror, two_files)
{
	struct dmirror again;

	ASSERT_EQ(0, dmirror_open(&again, self->dev.number));
	ASSERT_EQ(0, dmirror_read(&again, self->data, self->length));
	EXPECT_EQ(PAGES, mapped(&again, self->data, self->length, MAPPED));
	EXPECT_EQ(0, mapped(&self->dev, self->data, self->length, MAPPED));
	dmirror_close(&again);
	EXPECT_EQ(0, dmirror_read(&self->dev, self->data, self->length));
}

#define ADDITIONS	2000

struct adder {
	pthread_t thread;
	struct dmirror *dev;	/* NULL: the CPU adds */
	uint64_t *word;
	int result;
};

static void *add(void *arg)
{
	struct adder *adder = arg;
	uint64_t value;
	int i;

	if (adder->dev)
		adder->result = dmirror_atomic_add(adder->dev, adder->word, 3,
						   ADDITIONS, &value);
	for (i = 0; !adder->dev && i < ADDITIONS; i++)
		__atomic_fetch_add(adder->word, 5, __ATOMIC_SEQ_CST);
	return NULL;
}

TEST_F(mirror, atomics)
{
	struct adder adders[4] = {};
	struct hmm_dmirror_migrate result;
	uint64_t *word = (uint64_t *)self->data + 5, before = *word, value;
	int i;

	ASSERT_EQ(0, dmirror_atomic_add(&self->dev, word, 7, 3, &value));
	EXPECT_EQ(before + 21, value);
	EXPECT_EQ(before + 21, *word);

	/* From wherever the page is. */
	if (variant->memory != NONE)
		ASSERT_EQ(0, migrate(&self->dev, self->data, self->page,
				     HMM_DMIRROR_TO_DEVICE, &result));
	for (i = 0; i < 4; i++) {
		adders[i].dev = i % 2 ? &self->dev : NULL;
		adders[i].word = word;
		ASSERT_EQ(0, pthread_create(&adders[i].thread, NULL, add,
					    &adders[i]));
	}
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, pthread_join(adders[i].thread, NULL));
		EXPECT_EQ(0, adders[i].result);
	}
	EXPECT_EQ(before + 21 + 2 * ADDITIONS * 3 + 2 * ADDITIONS * 5, *word);
}

struct userfaults {
	int fd;
	char *content;		/* a page */
	unsigned int served;
};

static void *serve_userfaults(void *arg)
{
	struct userfaults *user = arg;
	struct uffdio_copy copy = {
		.src = (uintptr_t)user->content,
		.len = page_size(),
	};
	struct uffd_msg msg;

	while (read(user->fd, &msg, sizeof(msg)) == sizeof(msg)) {
		copy.dst = msg.arg.pagefault.address & ~(page_size() - 1);
		user->served += !ioctl(user->fd, UFFDIO_COPY, &copy);
	}
	return NULL;
}

/* A hole that a userfaultfd handler fills when the device faults. */
TEST_F(mirror, userfaultfd)
{
	char *hole = map_pages(2);
	struct userfaults user = { .content = self->data };
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register area = {
		.range.len = self->page,
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	struct hmm_dmirror_run run = {
		.program = HMM_DMIRROR_SUM,
		.length = self->page,
	};
	pthread_t handler;

	ASSERT_NE(NULL, hole);
	user.fd = syscall(__NR_userfaultfd, O_CLOEXEC);
	if (user.fd < 0)
		SKIP(return, "userfaultfd: %s", strerror(errno));
	ASSERT_EQ(0, ioctl(user.fd, UFFDIO_API, &api));
	area.range.start = (uintptr_t)hole;
	ASSERT_EQ(0, ioctl(user.fd, UFFDIO_REGISTER, &area));
	ASSERT_EQ(0, pthread_create(&handler, NULL, serve_userfaults, &user));

	run.addr = (uintptr_t)hole;
	EXPECT_EQ(0, dmirror_run(&self->dev, &run));
	EXPECT_EQ(pattern_sum(self->page, 1), run.result);
	EXPECT_EQ(0, differences(hole, self->page, 1));

	/* Without the handler the neighbour is a hole like any other. */
	run.addr += self->page;
	EXPECT_EQ(0, dmirror_run(&self->dev, &run));
	EXPECT_EQ(0, run.result);
	pthread_cancel(handler);
	ASSERT_EQ(0, pthread_join(handler, NULL));
	EXPECT_EQ(1, user.served);
	close(user.fd);
}

TEST_HARNESS_MAIN
