// SPDX-License-Identifier: GPL-2.0
/*
 * The system is put to sleep as far as the freezing of tasks (pm_test), with process
 * memory in device memory: what loses power there, is emptied before; it loses what
 * is left in it, and whoever used it goes on.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <sys/uio.h>

#include "fail_nth.h"
#include "pci.h"
#include "userfaultfd.h"

#define PAGES		64
#define WORKERS		2
#define WORK_PAGES	8
#define ADDITIONS	500
#define SLEEPS		3
/* What is quick may be slow on a debug kernel, and what is slower hangs. */
#define WAIT_MS		60000

#define PM_TEST		"/sys/power/pm_test"
#define PM_TEST_DELAY	"/sys/module/suspend/parameters/pm_test_delay"
#define PM_STATE	"/sys/power/state"

FIXTURE(suspend)
{
	struct dmirror dev;
	size_t page;
	size_t length;
	char *data;		/* pattern 1 */
};

FIXTURE_VARIANT(suspend)
{
	enum hmm_dmirror_memory memory;
	bool pci;
	bool loses_power;
};

FIXTURE_VARIANT_ADD(suspend, private)
{
	.memory = PRIVATE,
	.loses_power = true,
};

/* In a BAR. */
FIXTURE_VARIANT_ADD(suspend, pci)
{
	.memory = CDM,
	.pci = true,
	.loses_power = true,
};

/* A reserved region. */
FIXTURE_VARIANT_ADD(suspend, cdm)
{
	.memory = CDM,
};

/* The first device with @memory that sits on a PCI device, or on none. */
static int open_variant(struct dmirror *dev, enum hmm_dmirror_memory memory,
			bool pci)
{
	unsigned int nth;
	int ret;

	for (nth = 0; ; nth++) {
		ret = dmirror_open_memory(dev, memory, nth);
		if (ret || pci == !!(dev->info.flags & HMM_DMIRROR_INFO_DMA))
			return ret;
		dmirror_close(dev);
	}
}

FIXTURE_SETUP(suspend)
{
	int ret;

	if (access(PM_TEST, W_OK))
		SKIP(return, "the kernel has no " PM_TEST);
	ret = open_variant(&self->dev, variant->memory, variant->pci);
	if (ret == -ENODEV)
		SKIP(return, "hmm_dmirror has no such device");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, write_text(PM_TEST, "freezer"));
	ASSERT_EQ(0, write_number(PM_TEST_DELAY, 0));
	self->page = page_size();
	self->length = PAGES * self->page;
	self->data = map_pages(PAGES);
	ASSERT_NE(NULL, self->data);
	fill(self->data, self->length, 1);
}

/* In the parent, so that it is undone whatever became of the test. */
FIXTURE_TEARDOWN_PARENT(suspend)
{
	if (access(PM_TEST, W_OK))
		return;
	EXPECT_EQ(0, write_text(PM_TEST, "none"));
	EXPECT_EQ(0, write_number(PM_TEST_DELAY, 5));
}

/* Freeze all tasks and thaw them; 0 or -errno. */
static int go_to_sleep(void)
{
	return write_text(PM_STATE, "freeze");
}

/* All of it was moved in, and now is in RAM or, if it keeps its power, where it was. */
static void expect_woken_up(struct __test_metadata *_metadata,
			    struct _test_data_suspend *self, bool loses_power)
{
	uint64_t sum;

	EXPECT_EQ(loses_power ? 0 : PAGES, used_pages(&self->dev));
	EXPECT_EQ(0, dmirror_sum(&self->dev, self->data, self->length, &sum));
	EXPECT_EQ(pattern_sum(self->length, 1), sum);
	EXPECT_EQ(0, differences(self->data, self->length, 1));
}

TEST_F(suspend, memory)
{
	struct hmm_dmirror_stats before, after;
	int i;

	for (i = 0; i < SLEEPS; i++) {
		struct hmm_dmirror_migrate result;

		ASSERT_TRUE(move_in(&self->dev, self->data, self->length));
		ASSERT_EQ(PAGES, used_pages(&self->dev));
		ASSERT_EQ(0, dmirror_stats(&self->dev, &before));
		ASSERT_EQ(0, go_to_sleep());
		ASSERT_EQ(0, dmirror_stats(&self->dev, &after));
		EXPECT_EQ(variant->loses_power ? PAGES : 0,
			  after.migrated_out - before.migrated_out);
		EXPECT_EQ(before.cpu_faults, after.cpu_faults);
		expect_woken_up(_metadata, self, variant->loses_power);
		ASSERT_EQ(0, migrate(&self->dev, self->data, self->length,
				     HMM_DMIRROR_TO_RAM, &result));
	}
}

/* A device that wants to keep its memory is not asked. */
TEST_F(suspend, kept)
{
	ASSERT_TRUE(move_in(&self->dev, self->data, self->length));
	ASSERT_EQ(0, dmirror_inject(&self->dev, HMM_DMIRROR_INJECT_EVICT_KEEP,
				    0, ~0U, 0));
	EXPECT_EQ(0, go_to_sleep());
	expect_woken_up(_metadata, self, variant->loses_power);
}

/* A pipe holds a page; private pages cannot be held so. */
TEST_F(suspend, held)
{
	struct iovec vec = { .iov_base = self->data, .iov_len = self->page };
	char *copy = map_pages(1), *more = map_pages(1);
	int pipes[2];

	if (variant->memory == PRIVATE)
		return;
	ASSERT_NE(NULL, copy);
	ASSERT_NE(NULL, more);
	ASSERT_TRUE(move_in(&self->dev, self->data, self->length));
	ASSERT_EQ(0, pipe(pipes));
	ASSERT_EQ(self->page, vmsplice(pipes[1], &vec, 1, 0));

	EXPECT_EQ(variant->loses_power ? -EBUSY : 0, go_to_sleep());
	EXPECT_EQ(variant->loses_power ? 1 : PAGES, used_pages(&self->dev));
	/* The system stays awake, so memory moves in. */
	fill(more, self->page, 2);
	EXPECT_TRUE(move_in(&self->dev, more, self->page));
	EXPECT_EQ(0, differences(more, self->page, 2));

	ASSERT_EQ(self->page, read(pipes[0], copy, self->page));
	EXPECT_EQ(0, differences(copy, self->page, 1));
	ASSERT_EQ(0, munmap(more, self->page));
	EXPECT_EQ(0, go_to_sleep());
	expect_woken_up(_metadata, self, variant->loses_power);
}

/* The system stays awake rather than lose what the device does not copy. */
TEST_F(suspend, failing_copies)
{
	ASSERT_TRUE(move_in(&self->dev, self->data, self->length));
	ASSERT_EQ(0, dmirror_inject(&self->dev, HMM_DMIRROR_INJECT_COPY_REFUSE,
				    0, ~0U, 0));
	EXPECT_EQ(variant->loses_power ? -EIO : 0, go_to_sleep());
	EXPECT_EQ(PAGES, used_pages(&self->dev));
	ASSERT_EQ(0, dmirror_inject(&self->dev, HMM_DMIRROR_INJECT_COPY_REFUSE,
				    0, 0, 0));
	EXPECT_EQ(0, go_to_sleep());
	expect_woken_up(_metadata, self, variant->loses_power);
}

/* Each allocation fails, one after the other; RAM for a page is among them. */
TEST_F(suspend, no_ram)
{
	/* More than destinations are allocated at a time. */
	size_t length = 40 * self->page;
	unsigned int nth, aborted = 0;
	bool failed = true;
	int file, ret;

	/* Once is enough. */
	if (variant->memory != PRIVATE)
		return;
	file = fail_open();
	if (file < 0)
		SKIP(return, "the kernel does not inject allocation failures");
	for (nth = 1; failed && nth < FAIL_LIMIT; nth++) {
		ASSERT_TRUE(move_in(&self->dev, self->data, length));
		fail_nth(file, nth);
		ret = go_to_sleep();
		failed = fail_end(file);
		ASSERT_TRUE(!ret || (failed && ret == -ENOMEM))
			TH_LOG("allocation %u: %s", nth, strerror(-ret));
		/* Nothing was begun, or not all was brought back. */
		aborted += ret && used_pages(&self->dev) > 0 &&
			   used_pages(&self->dev) < length / self->page;
		if (!ret)
			EXPECT_EQ(0, used_pages(&self->dev));
		EXPECT_EQ(0, differences(self->data, length, 1));
	}
	EXPECT_FALSE(failed);
	EXPECT_LT(0, aborted);
	close(file);
}

struct work {
	unsigned int rounds;
	bool stop;
};

/*
 * Move pages in and let the device add to a word of each, over and over.  Returns
 * 0, or the number of the check that failed.
 */
static int work(unsigned int device, struct work *work)
{
	size_t page = page_size(), length = WORK_PAGES * page, i;
	struct hmm_dmirror_migrate result;
	char *map = map_pages(WORK_PAGES);
	uint64_t value, sum = 0;
	struct dmirror dev;
	int ret;

	if (!map || dmirror_open(&dev, device))
		return 1;
	while (!__atomic_load_n(&work->stop, __ATOMIC_RELAXED)) {
		ret = migrate(&dev, map, length, HMM_DMIRROR_TO_DEVICE,
			      &result);
		if (ret && ret != -EAGAIN)
			return 2;
		sum += ADDITIONS;
		for (i = 0; i < length; i += page) {
			ret = dmirror_atomic_add(&dev, (uint64_t *)(map + i), 1,
						 ADDITIONS, &value);
			if (ret)
				return 3;
			if (value != sum)
				return 4;
		}
		__atomic_fetch_add(&work->rounds, 1, __ATOMIC_RELAXED);
	}
	for (i = 0; i < length; i += page)
		if (*(uint64_t *)(map + i) != sum)
			return 5;
	dmirror_close(&dev);
	return 0;
}

/* A round that begins from now on is over. */
static bool wait_round(struct work *work)
{
	unsigned int before = __atomic_load_n(&work->rounds, __ATOMIC_RELAXED);
	uint64_t end = now_us() + WAIT_MS * 1000ull;

	while (__atomic_load_n(&work->rounds, __ATOMIC_RELAXED) < before + 2) {
		if (now_us() > end)
			return false;
		usleep(1000);
	}
	return true;
}

/* Other processes and the device are at work. */
TEST_F(suspend, workers)
{
	struct work *works;
	pid_t workers[WORKERS];
	int i, j;

	works = mmap(NULL, sizeof(*works) * WORKERS, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, works);
	for (i = 0; i < WORKERS; i++) {
		workers[i] = fork();
		ASSERT_LE(0, workers[i]);
		if (!workers[i])
			_exit(work(self->dev.number, &works[i]));
	}
	for (i = 0; i < SLEEPS; i++) {
		for (j = 0; j < WORKERS; j++)
			EXPECT_TRUE(wait_round(&works[j]));
		EXPECT_EQ(0, go_to_sleep());
	}
	for (i = 0; i < WORKERS; i++) {
		EXPECT_TRUE(wait_round(&works[i]));
		__atomic_store_n(&works[i].stop, true, __ATOMIC_RELAXED);
		EXPECT_EQ(0, child_status(workers[i]));
	}
	EXPECT_EQ(0, used_pages(&self->dev));
}

struct reader {
	struct dmirror *dev;
	char *start;
	int result;
};

static void *read_page(void *arg)
{
	struct reader *reader = arg;

	reader->result = dmirror_read(reader->dev, reader->start, page_size());
	return NULL;
}

/* A program that goes on for longer than the system waits for tasks to freeze. */
TEST_F(suspend, long_program)
{
	struct reader reader = { .dev = &self->dev, .start = map_pages(1) };
	struct pollfd event = { .events = POLLIN };
	struct uffdio_zeropage zero = {
		.range.start = (uintptr_t)reader.start,
		.range.len = self->page,
	};
	pthread_t thread;

	ASSERT_NE(NULL, reader.start);
	event.fd = open_userfaultfd(reader.start, self->page,
				    UFFDIO_REGISTER_MODE_MISSING, O_NONBLOCK);
	if (event.fd < 0)
		SKIP(return, "userfaultfd: %s", strerror(-event.fd));
	ASSERT_TRUE(move_in(&self->dev, self->data, self->length));
	ASSERT_EQ(0, pthread_create(&thread, NULL, read_page, &reader));
	ASSERT_EQ(1, poll(&event, 1, WAIT_MS));
	ASSERT_EQ(POLLIN, event.revents);

	EXPECT_EQ(0, go_to_sleep());
	EXPECT_EQ(EBUSY, pthread_tryjoin_np(thread, NULL));
	EXPECT_EQ(0, ioctl(event.fd, UFFDIO_ZEROPAGE, &zero));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(0, reader.result);
	close(event.fd);
	expect_woken_up(_metadata, self, variant->loses_power);
}

struct evictor {
	struct dmirror *dev;
	struct hmm_dmirror_evict evict;
	int result;
};

static void *evict_all(void *arg)
{
	struct evictor *evictor = arg;

	evictor->result = dmirror_evict_as(evictor->dev, &evictor->evict);
	return NULL;
}

/* The same for an eviction that waits for a page, in memory that keeps its power. */
TEST_F(suspend, long_eviction)
{
	struct iovec vec = { .iov_base = self->data, .iov_len = self->page };
	struct evictor evictor = {
		.dev = &self->dev,
		.evict.nr_pages = ~0ull,
		.evict.timeout_ms = 60000,
	};
	uint64_t end = now_us() + WAIT_MS * 1000ull;
	pthread_t thread;
	int pipes[2];

	if (variant->loses_power)
		return;
	ASSERT_TRUE(move_in(&self->dev, self->data, self->length));
	ASSERT_EQ(0, pipe(pipes));
	ASSERT_EQ(self->page, vmsplice(pipes[1], &vec, 1, 0));
	ASSERT_EQ(0, pthread_create(&thread, NULL, evict_all, &evictor));
	while (used_pages(&self->dev) > 1 && now_us() < end)
		usleep(1000);
	ASSERT_EQ(1, used_pages(&self->dev));

	EXPECT_EQ(0, go_to_sleep());
	EXPECT_EQ(EBUSY, pthread_tryjoin_np(thread, NULL));
	EXPECT_EQ(1, used_pages(&self->dev));
	close(pipes[0]);
	close(pipes[1]);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(0, evictor.result);
	EXPECT_EQ(PAGES, evictor.evict.evicted);
	EXPECT_EQ(0, differences(self->data, self->length, 1));
}

/* Buffers of the device's own, in private memory that it shares. */
FIXTURE(shared)
{
	struct dmirror dev;
};

FIXTURE_SETUP(shared)
{
	int ret;

	if (access(PM_TEST, W_OK))
		SKIP(return, "the kernel has no " PM_TEST);
	ret = open_shared(&self->dev, PRIVATE);
	if (ret == -ENODEV)
		SKIP(return, "hmm_dmirror has no device that shares its memory");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, write_text(PM_TEST, "freezer"));
	ASSERT_EQ(0, write_number(PM_TEST_DELAY, 0));
}

FIXTURE_TEARDOWN_PARENT(shared)
{
	if (access(PM_TEST, W_OK))
		return;
	EXPECT_EQ(0, write_text(PM_TEST, "none"));
	EXPECT_EQ(0, write_number(PM_TEST_DELAY, 5));
}

/* The driver has all of its memory back before it saves what lies there. */
TEST_F(shared, buffer)
{
	struct hmm_dmirror_buffer buffer = {
		.op = HMM_DMIRROR_BUFFER_ALLOC,
		.flags = HMM_DMIRROR_BUFFER_PINNED,
		.timeout_ms = 10000,
		.size = 2 * HUGE,
	};
	struct hmm_dmirror_buffer now = { .op = HMM_DMIRROR_BUFFER_STATE };
	size_t length = PAGES * page_size();
	char *data = map_pages(PAGES);

	ASSERT_NE(NULL, data);
	fill(data, length, 1);
	ASSERT_EQ(0, dmirror_buffer(&self->dev, &buffer));
	ASSERT_TRUE(move_in(&self->dev, data, length));
	ASSERT_EQ(0, dmirror_buffer(&self->dev, &now));
	ASSERT_LE(HUGE, now.lent);

	ASSERT_EQ(0, go_to_sleep());
	now.id = buffer.id;
	now.size = 0;
	ASSERT_EQ(0, dmirror_buffer(&self->dev, &now));
	EXPECT_EQ(0, now.lent);
	EXPECT_EQ(0, now.resident);
	EXPECT_EQ(0, now.wrong);
	EXPECT_EQ(0, differences(data, length, 1));

	now.op = HMM_DMIRROR_BUFFER_USE;
	now.size = 0;
	ASSERT_EQ(0, dmirror_buffer(&self->dev, &now));
	EXPECT_EQ(2 * HUGE, now.resident);
	EXPECT_EQ(0, now.wrong);
	EXPECT_TRUE(move_in(&self->dev, data, length));
	EXPECT_EQ(0, differences(data, length, 1));
}

TEST_HARNESS_MAIN
