// SPDX-License-Identifier: GPL-2.0
/*
 * Pages that only the device may access: how they become so, who takes them
 * back, and that nothing is lost when CPUs and devices without atomic operations
 * contend for them.
 */
#define _GNU_SOURCE
#include <linux/userfaultfd.h>

#include "dmirror_test.h"

#define PAGES		32
#define EXCLUSIVE	(HMM_DMIRROR_PAGE_MAPPED | HMM_DMIRROR_PAGE_WRITE | \
			 HMM_DMIRROR_PAGE_EXCLUSIVE)

FIXTURE(exclusive)
{
	struct dmirror dev;
	size_t page;
	size_t length;
	char *data;		/* PAGES pages with pattern 1 */
};

FIXTURE_VARIANT(exclusive)
{
	enum hmm_dmirror_memory memory;
	bool dma;
};

FIXTURE_VARIANT_ADD(exclusive, none)
{
	.memory = NONE,
};

FIXTURE_VARIANT_ADD(exclusive, dma)
{
	.memory = NONE,
	.dma = true,
};

FIXTURE_VARIANT_ADD(exclusive, private)
{
	.memory = PRIVATE,
};

FIXTURE_SETUP(exclusive)
{
	OPEN_KIND_OR_SKIP(return, &self->dev, variant->memory, variant->dma);
	self->page = page_size();
	self->length = PAGES * self->page;
	self->data = map_pages(PAGES);
	ASSERT_NE(NULL, self->data);
	fill(self->data, self->length, 1);
}

FIXTURE_TEARDOWN(exclusive)
{
	dmirror_close(&self->dev);
}

static uint64_t *word(struct _test_data_exclusive *self, unsigned int page,
		      unsigned int nr)
{
	return (uint64_t *)(self->data + page * self->page) + nr;
}

/* How many of the test's pages are exclusive. */
static long nr_exclusive(struct _test_data_exclusive *self)
{
	return mapped(&self->dev, self->data, self->length, EXCLUSIVE);
}

static int make_all_exclusive(struct _test_data_exclusive *self)
{
	uint64_t nr = 0;
	int ret;

	ret = dmirror_exclusive(&self->dev, self->data, self->length, &nr);
	return !ret && nr != PAGES ? -EBUSY : ret;
}

TEST_F(exclusive, cpu_takes_back)
{
	uint64_t sum, nr;

	ASSERT_EQ(0, make_all_exclusive(self));
	EXPECT_EQ(PAGES, nr_exclusive(self));
	EXPECT_EQ(0, mapped(&self->dev, self->data, self->length, IN_DEVICE));

	/* A read and a write take one page each, with what is in it. */
	EXPECT_EQ(pattern(1, 3 * self->page / 8),
		  *(volatile uint64_t *)word(self, 3, 0));
	EXPECT_EQ(0, page_flags(&self->dev, word(self, 3, 0)));
	EXPECT_EQ(PAGES - 1, nr_exclusive(self));
	*(volatile uint64_t *)word(self, 5, 1) = 77;
	EXPECT_EQ(PAGES - 2, nr_exclusive(self));

	/* The device goes on with all of them. */
	ASSERT_EQ(0, dmirror_sum(&self->dev, self->data, self->length, &sum));
	EXPECT_EQ(pattern_sum(self->length, 1) -
		  pattern(1, 5 * self->page / 8 + 1) + 77, sum);
	EXPECT_EQ(PAGES - 2, nr_exclusive(self));
	ASSERT_EQ(0, dmirror_fill(&self->dev, self->data, self->length, 9));
	EXPECT_EQ(0, others(self->data, self->length, 9));
	EXPECT_EQ(0, nr_exclusive(self));

	/* And they can become exclusive again, when they are already, too. */
	ASSERT_EQ(0, make_all_exclusive(self));
	EXPECT_EQ(0, dmirror_exclusive(&self->dev, self->data, 3 * self->page,
				       &nr));
	EXPECT_EQ(3, nr);
	EXPECT_EQ(PAGES, nr_exclusive(self));
	EXPECT_EQ(0, others(self->data, self->length, 9));
}

TEST_F(exclusive, empty_memory)
{
	char *empty = map_pages(PAGES);
	uint64_t nr, value;

	ASSERT_NE(NULL, empty);
	/* Zero pages among them. */
	EXPECT_EQ(0, *(volatile char *)empty);
	EXPECT_EQ(0, dmirror_exclusive(&self->dev, empty, self->length, &nr));
	EXPECT_EQ(PAGES, nr);
	EXPECT_EQ(PAGES, mapped(&self->dev, empty, self->length, EXCLUSIVE));
	EXPECT_EQ(0, dmirror_exclusive_add(&self->dev, (uint64_t *)empty, 2, 5,
					   &value));
	EXPECT_EQ(10, value);
	EXPECT_EQ(10, *(uint64_t *)empty);
	EXPECT_EQ(0, others(empty + 8, self->length - 8, 0));
}

/* What cannot become exclusive ends a range, and what is before it counts. */
TEST_F(exclusive, refused)
{
	char *hole = self->data + 20 * self->page;
	char *read_only = self->data + 10 * self->page;
	uint64_t nr = 99, value;

	ASSERT_EQ(0, munmap(hole, self->page));
	ASSERT_EQ(0, mprotect(read_only, self->page, PROT_READ));

	EXPECT_EQ(-EPERM, dmirror_exclusive(&self->dev, self->data,
					    self->length, &nr));
	EXPECT_EQ(10, nr);
	EXPECT_EQ(10, mapped(&self->dev, self->data, 20 * self->page,
			     EXCLUSIVE));
	EXPECT_EQ(-EFAULT, dmirror_exclusive(&self->dev, hole - 5 * self->page,
					     10 * self->page, &nr));
	EXPECT_EQ(5, nr);
	EXPECT_EQ(-EFAULT, dmirror_exclusive(&self->dev, hole, self->page,
					     &nr));
	EXPECT_EQ(0, nr);

	EXPECT_EQ(HMM_DMIRROR_STATUS_READ_ONLY,
		  dmirror_exclusive_add(&self->dev, (uint64_t *)read_only, 1, 1,
					&value));
	EXPECT_EQ(HMM_DMIRROR_STATUS_NO_ACCESS,
		  dmirror_exclusive_add(&self->dev, (uint64_t *)hole, 1, 1,
					&value));
	EXPECT_EQ(0, differences(self->data, 20 * self->page, 1));
}

/* Exclusive pages whose protection or mapping goes are as any others. */
TEST_F(exclusive, protected_and_unmapped)
{
	uint64_t value;

	ASSERT_EQ(0, make_all_exclusive(self));
	ASSERT_EQ(0, mprotect(self->data, self->page, PROT_READ));
	EXPECT_EQ(PAGES - 1, nr_exclusive(self));
	EXPECT_EQ(HMM_DMIRROR_STATUS_READ_ONLY,
		  dmirror_exclusive_add(&self->dev, word(self, 0, 0), 1, 1,
					&value));
	EXPECT_EQ(0, differences(self->data, self->page, 1));
	ASSERT_EQ(0, munmap(self->data + 4 * self->page, 2 * self->page));
	EXPECT_EQ(PAGES - 3, nr_exclusive(self));
	EXPECT_EQ(HMM_DMIRROR_STATUS_NO_ACCESS,
		  dmirror_exclusive_add(&self->dev, word(self, 4, 0), 1, 1,
					&value));
}

TEST_F(exclusive, file_memory)
{
	int file = memfd_create("hmm", MFD_CLOEXEC);
	char *shared, *copied;
	uint64_t nr = 99, value;

	ASSERT_LE(0, file);
	ASSERT_EQ(0, ftruncate(file, 2 * self->page));
	shared = mmap(NULL, 2 * self->page, PROT_READ | PROT_WRITE, MAP_SHARED,
		      file, 0);
	ASSERT_NE(MAP_FAILED, shared);
	fill(shared, 2 * self->page, 4);
	EXPECT_EQ(-EOPNOTSUPP, dmirror_exclusive(&self->dev, shared, self->page,
						 &nr));
	EXPECT_EQ(0, nr);
	EXPECT_EQ(HMM_DMIRROR_STATUS_DEVICE,
		  dmirror_exclusive_add(&self->dev, (uint64_t *)shared, 1, 1,
					&value));
	EXPECT_EQ(0, differences(shared, 2 * self->page, 4));

	/* A private mapping gets an anonymous copy. */
	copied = mmap(NULL, 2 * self->page, PROT_READ | PROT_WRITE, MAP_PRIVATE,
		      file, 0);
	ASSERT_NE(MAP_FAILED, copied);
	EXPECT_EQ(0, dmirror_exclusive_add(&self->dev, (uint64_t *)copied, 1, 1,
					   &value));
	EXPECT_EQ(pattern(4, 0) + 1, *(uint64_t *)copied);
	EXPECT_EQ(0, differences(shared, 2 * self->page, 4));
	close(file);
}

static int raw_exclusive(struct _test_data_exclusive *self, uint64_t addr,
			 uint64_t length, uint64_t reserved)
{
	struct hmm_dmirror_exclusive args = {
		.addr = addr,
		.length = length,
		.reserved = reserved,
	};

	return ioctl(self->dev.fd, HMM_DMIRROR_EXCLUSIVE, &args) ? -errno : 0;
}

TEST_F(exclusive, invalid)
{
	uint64_t addr = (uintptr_t)self->data, page = self->page;

	EXPECT_EQ(-EINVAL, raw_exclusive(self, addr, 0, 0));
	EXPECT_EQ(-EINVAL, raw_exclusive(self, addr + 8, page, 0));
	EXPECT_EQ(-EINVAL, raw_exclusive(self, addr, page + 8, 0));
	EXPECT_EQ(-EINVAL, raw_exclusive(self, addr, page, 1));
	EXPECT_EQ(-EINVAL, raw_exclusive(self, -page, page, 0));
	EXPECT_EQ(-EINVAL, raw_exclusive(self, addr, -page, 0));
	EXPECT_EQ(-ERANGE, raw_exclusive(self, 0xffff888000000000, page, 0));
	EXPECT_EQ(-ERANGE, raw_exclusive(self, addr, 1ULL << 62, 0));
	EXPECT_EQ(0, nr_exclusive(self));
	EXPECT_EQ(0, raw_exclusive(self, addr, page, 0));
	EXPECT_EQ(1, nr_exclusive(self));
}

TEST_F(exclusive, fork)
{
	uint64_t sum;
	pid_t child;

	ASSERT_EQ(0, make_all_exclusive(self));
	ASSERT_EQ(0, dmirror_fill(&self->dev, self->data, self->page, 3));
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		char *rest = self->data + self->page;
		uint64_t *words = (uint64_t *)rest;

		if (others(self->data, self->page, 3) ||
		    words[0] != pattern(1, self->page / 8))
			_exit(1);
		fill(self->data, self->length, 2);
		_exit(differences(self->data, self->length, 2) != 0);
	}
	/* The child has a copy of what is exclusive no longer. */
	EXPECT_EQ(0, child_status(child));
	EXPECT_EQ(0, nr_exclusive(self));
	EXPECT_EQ(0, others(self->data, self->page, 3));
	ASSERT_EQ(0, make_all_exclusive(self));
	ASSERT_EQ(0, dmirror_sum(&self->dev, self->data, self->length, &sum));
	EXPECT_EQ(pattern_sum(self->length, 1) - pattern_sum(self->page, 1) +
		  self->page / 8 * 3, sum);
}

/* Memory that is still shared with a child is copied first. */
TEST_F(exclusive, shared_with_child)
{
	int go[2];
	pid_t child;
	char byte;

	ASSERT_EQ(0, pipe(go));
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		if (read(go[0], &byte, 1) != 1)
			_exit(2);
		_exit(differences(self->data, self->length, 1) != 0);
	}
	EXPECT_EQ(0, make_all_exclusive(self));
	EXPECT_EQ(0, dmirror_fill(&self->dev, self->data, self->length, 8));
	EXPECT_EQ(PAGES, nr_exclusive(self));
	ASSERT_EQ(1, write(go[1], "", 1));
	EXPECT_EQ(0, child_status(child));
	EXPECT_EQ(0, others(self->data, self->length, 8));
}

TEST_F(exclusive, huge_page)
{
	char *huge = map_huge(HUGE), *middle = huge + HUGE / 2;
	uint64_t nr, sum, value;

	ASSERT_NE(NULL, huge);
	fill(huge, HUGE, 5);
	if (!is_huge(huge))
		SKIP(return, "the kernel gave no transparent huge page");
	ASSERT_EQ(0, dmirror_read(&self->dev, huge, HUGE));
	EXPECT_EQ(HUGE / self->page, mapped(&self->dev, huge, HUGE, LARGE));

	/* What is split stays so: khugepaged would take the pages back. */
	ASSERT_EQ(0, madvise(huge, HUGE, MADV_NOHUGEPAGE));
	ASSERT_EQ(0, dmirror_exclusive(&self->dev, middle, 2 * self->page,
				       &nr));
	EXPECT_EQ(2, nr);
	EXPECT_FALSE(is_huge(huge));
	EXPECT_EQ(2, mapped(&self->dev, huge, HUGE, EXCLUSIVE));
	EXPECT_EQ(0, mapped(&self->dev, middle, 2 * self->page, LARGE));
	EXPECT_EQ(0, dmirror_exclusive_add(&self->dev, (uint64_t *)middle, 1, 7,
					   &value));
	EXPECT_EQ(pattern(5, HUGE / 16) + 7, value);

	/* The rest of it is as before, for both. */
	ASSERT_EQ(0, dmirror_sum(&self->dev, huge, HUGE, &sum));
	EXPECT_EQ(pattern_sum(HUGE, 5) + 7, sum);
	EXPECT_EQ(2, mapped(&self->dev, huge, HUGE, EXCLUSIVE));
	EXPECT_EQ(1, differences(huge, HUGE, 5));
	EXPECT_EQ(0, mapped(&self->dev, huge, HUGE, EXCLUSIVE));
}

TEST_F(exclusive, device_memory)
{
	struct hmm_dmirror_migrate result;
	struct hmm_dmirror_info info;
	struct dmirror owner;
	uint64_t sum;

	/* Its own memory, if it has some. */
	OPEN_OR_SKIP(return, &owner, PRIVATE, 0);
	ASSERT_EQ(0, migrate(&owner, self->data, self->length,
			     HMM_DMIRROR_TO_DEVICE, &result));
	ASSERT_EQ(PAGES, result.moved);
	ASSERT_EQ(0, dmirror_fill(&owner, self->data, self->page, 6));
	ASSERT_EQ(0, make_all_exclusive(self));
	EXPECT_EQ(PAGES, nr_exclusive(self));
	EXPECT_EQ(0, mapped(&self->dev, self->data, self->length, IN_DEVICE));
	ASSERT_EQ(0, dmirror_info(&owner, &info));
	EXPECT_EQ(0, info.memory_used);
	ASSERT_EQ(0, dmirror_sum(&self->dev, self->data, self->length, &sum));
	EXPECT_EQ(pattern_sum(self->length, 1) - pattern_sum(self->page, 1) +
		  self->page / 8 * 6, sum);

	/* The way back: they move or they stay, with what is in them. */
	EXPECT_EQ(0, migrate(&owner, self->data, self->length,
			     HMM_DMIRROR_TO_DEVICE, &result));
	EXPECT_EQ(PAGES, result.moved + result.left);
	ASSERT_EQ(0, dmirror_sum(&self->dev, self->data, self->length, &sum));
	EXPECT_EQ(pattern_sum(self->length, 1) - pattern_sum(self->page, 1) +
		  self->page / 8 * 6, sum);
	EXPECT_EQ(0, others(self->data, self->page, 6));
	dmirror_close(&owner);
}

/* What the device wrote is there after it has closed, and after reclaim. */
TEST_F(exclusive, close_and_page_out)
{
	ASSERT_EQ(0, make_all_exclusive(self));
	ASSERT_EQ(0, dmirror_fill(&self->dev, self->data, self->length, 4));
	EXPECT_EQ(0, madvise(self->data, self->length, MADV_PAGEOUT));
	EXPECT_EQ(0, others(self->data, self->length / 2, 4));
	EXPECT_EQ(0, madvise(self->data, self->length, MADV_PAGEOUT));
	dmirror_close(&self->dev);
	EXPECT_EQ(0, others(self->data, self->length, 4));
}

static void *serve_one_fault(void *arg)
{
	int uffd = *(int *)arg;
	struct uffdio_zeropage zero = { .range.len = page_size() };
	struct uffd_msg msg;

	if (read(uffd, &msg, sizeof(msg)) != sizeof(msg))
		return "read";
	zero.range.start = msg.arg.pagefault.address & ~(page_size() - 1);
	return ioctl(uffd, UFFDIO_ZEROPAGE, &zero) ? "UFFDIO_ZEROPAGE" : NULL;
}

/* A fault that has to drop mmap_lock while userspace serves it. */
TEST_F(exclusive, userfaultfd)
{
	char *hole = map_pages(1);
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register area = {
		.range.start = (uintptr_t)hole,
		.range.len = self->page,
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int uffd = syscall(__NR_userfaultfd, O_CLOEXEC);
	uint64_t value;
	void *failure;
	pthread_t thread;

	ASSERT_NE(NULL, hole);
	if (uffd < 0)
		SKIP(return, "userfaultfd: %s", strerror(errno));
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_API, &api));
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_REGISTER, &area));
	ASSERT_EQ(0, pthread_create(&thread, NULL, serve_one_fault, &uffd));
	EXPECT_EQ(0, dmirror_exclusive_add(&self->dev, (uint64_t *)hole, 3, 4,
					   &value));
	EXPECT_EQ(12, value);
	/* Wakes the thread if it was not asked. */
	EXPECT_EQ(12, *(volatile uint64_t *)hole);
	ASSERT_EQ(0, pthread_join(thread, &failure));
	EXPECT_EQ(NULL, failure);
	close(uffd);
}

#define ADDITIONS	10000	/* of each device */
#define ADD_TIME_US	10000000ull

/* Adds @operand to a word again and again. */
struct adder {
	pthread_t thread;
	struct dmirror *dev;	/* NULL: the CPU adds until it is stopped */
	bool atomic;		/* a device with atomic operations */
	uint64_t *word;
	uint64_t operand;
	uint64_t done;
	bool *stop;
	int result;
};

static void *add(void *arg)
{
	struct adder *adder = arg;
	uint64_t end = now_us() + ADD_TIME_US, value;
	unsigned int i;

	if (adder->dev) {
		adder->result = (adder->atomic ? dmirror_atomic_add :
						 dmirror_exclusive_add)
			(adder->dev, adder->word, adder->operand, ADDITIONS,
			 &value);
		adder->done = ADDITIONS;
		return NULL;
	}
	do {
		for (i = 0; i < 8; i++)
			__atomic_fetch_add(adder->word, adder->operand,
					   __ATOMIC_SEQ_CST);
		adder->done += i;
		/* A CPU that spins here would leave nothing to a device. */
		usleep(200);
	} while (!__atomic_load_n(adder->stop, __ATOMIC_RELAXED) &&
		 now_us() < end);
	return NULL;
}

/*
 * Let them add, the @nr_devices first are devices; each word must be exact.
 * Returns the faults of the first device.
 */
static uint64_t contend_once(struct __test_metadata *_metadata,
			     struct adder *adders, unsigned int nr_devices,
			     unsigned int nr)
{
	struct hmm_dmirror_stats before, after;
	unsigned int i, j;
	bool stop = false;

	ASSERT_EQ(0, dmirror_stats(adders->dev, &before));
	for (i = 0; i < nr; i++) {
		*adders[i].word = 0;
		adders[i].stop = &stop;
		adders[i].operand = 1ULL << 16 * i;
	}
	for (i = 0; i < nr; i++)
		ASSERT_EQ(0, pthread_create(&adders[i].thread, NULL, add,
					    &adders[i]));
	for (i = 0; i < nr; i++) {
		if (i == nr_devices)
			__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
		ASSERT_EQ(0, pthread_join(adders[i].thread, NULL));
		EXPECT_EQ(0, adders[i].result) {
			TH_LOG("adder %u: %s", i,
			       dmirror_strerror(adders[i].result));
		}
	}
	ASSERT_EQ(0, dmirror_stats(adders->dev, &after));
	TH_LOG("%llu faults of the first device, %llu retries",
	       (unsigned long long)(after.faults - before.faults),
	       (unsigned long long)(after.retries - before.retries));
	for (i = 0; i < nr; i++) {
		uint64_t expected = 0;

		for (j = 0; j < nr; j++)
			if (adders[j].word == adders[i].word)
				expected += adders[j].operand * adders[j].done;
		EXPECT_EQ(expected, *adders[i].word);
	}
	return after.faults - before.faults;
}

#define CONTEND_ROUNDS	10

/* On a busy machine the first may be done before the others begin: try again. */
static void contend(struct __test_metadata *_metadata, struct adder *adders,
		    unsigned int nr_devices, unsigned int nr)
{
	unsigned int round, i;
	uint64_t faults = 0;

	for (round = 0; round < CONTEND_ROUNDS && faults < 2; round++) {
		for (i = 0; i < nr; i++)
			adders[i].done = 0;
		faults = contend_once(_metadata, adders, nr_devices, nr);
	}
	/* They were in each other's way. */
	EXPECT_LT(1, faults);
}

/* Two files, as the engines of one share what is exclusive to it. */
TEST_F(exclusive, same_word)
{
	struct dmirror again;
	struct adder adders[] = {
		{ .dev = &self->dev, .word = word(self, 0, 7) },
		{ .dev = &again, .word = word(self, 0, 7) },
		{ .word = word(self, 0, 7) },
		{ .word = word(self, 0, 7) },
	};

	ASSERT_EQ(0, dmirror_open(&again, self->dev.number));
	contend(_metadata, adders, 2, ARRAY_SIZE(adders));
	dmirror_close(&again);
	EXPECT_EQ(pattern(1, 6), *word(self, 0, 6));
	EXPECT_EQ(pattern(1, 8), *word(self, 0, 8));
}

TEST_F(exclusive, neighbouring_words)
{
	struct adder adders[] = {
		{ .dev = &self->dev, .word = word(self, 0, 7) },
		{ .dev = &self->dev, .word = word(self, 0, 8) },
		{ .word = word(self, 0, 9) },
		{ .word = word(self, 0, 10) },
	};

	contend(_metadata, adders, 2, ARRAY_SIZE(adders));
	EXPECT_EQ(pattern(1, 6), *word(self, 0, 6));
	EXPECT_EQ(pattern(1, 11), *word(self, 0, 11));
}

/* The device that adds to the same word has atomic operations, or not. */
static void contend_two_devices(struct __test_metadata *_metadata,
				struct _test_data_exclusive *self, bool atomic)
{
	struct dmirror other;
	struct adder adders[] = {
		{ .dev = &self->dev, .word = word(self, 1, 3) },
		{ .dev = &other, .word = word(self, 1, 3), .atomic = atomic },
		{ .word = word(self, 1, 3) },
	};
	int ret;

	/* Of another kind, so that it is another device. */
	ret = dmirror_open_memory(&other, self->dev.info.memory == PRIVATE ?
				  NONE : PRIVATE, 0);
	if (ret == -ENODEV)
		SKIP(return, "there is no second device");
	ASSERT_EQ(0, ret);
	contend(_metadata, adders, 2, ARRAY_SIZE(adders));
	dmirror_close(&other);
}

TEST_F(exclusive, two_devices)
{
	contend_two_devices(_metadata, self, false);
}

TEST_F(exclusive, two_devices_one_atomic)
{
	contend_two_devices(_metadata, self, true);
}

TEST_HARNESS_MAIN
