// SPDX-License-Identifier: GPL-2.0
/*
 * The device goes away while it is in use: the driver is unbound from the PCI
 * device that it sits on.  Files stay open, but for them the device is gone; their
 * processes go on.
 */
#define _GNU_SOURCE
#include <poll.h>

#include "pci.h"
#include "userfaultfd.h"

#define PAGES		32
#define DEVICE_FAILED	HMM_DMIRROR_STATUS_DEVICE

/* What is quick may be slow on a debug kernel, and what is slower hangs. */
#define WAIT_S		20
/* Less than the driver waits for memory that it cannot bring back. */
#define UNBIND_US	9000000

/* Like pthread_join(), but not for ever. */
static int join_in_time(pthread_t thread)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WAIT_S;
	return pthread_timedjoin_np(thread, NULL, &until);
}

FIXTURE(removal)
{
	struct dmirror dev;
	struct pci_bar pci;
	long users;		/* of the module, before the device was opened */
	size_t page;
	size_t length;
	char *data;
};

FIXTURE_SETUP(removal)
{
	if (find_pci(&self->pci, NONE))
		SKIP(return, "hmm_dmirror is bound to no PCI device");
	self->users = module_users();
	OPEN_KIND_OR_SKIP(return, &self->dev, NONE, true);
	self->page = page_size();
	self->length = PAGES * self->page;
	self->data = map_pages(PAGES);
	ASSERT_NE(NULL, self->data);
	fill(self->data, self->length, 1);
}

/* In the parent, so that the device comes back whatever became of the test. */
FIXTURE_TEARDOWN_PARENT(removal)
{
	if (!is_bound(&self->pci))
		EXPECT_EQ(0, bind_device(&self->pci));
	EXPECT_TRUE(is_bound(&self->pci));
	/* By now nothing of the test keeps the module. */
	EXPECT_TRUE(wait_module_users(self->users));
}

/* The device works for a new file. */
static void expect_works(struct __test_metadata *_metadata, char *data,
			 size_t length, uint64_t word)
{
	struct dmirror dev;
	uint64_t sum;

	ASSERT_EQ(0, open_dma(&dev));
	EXPECT_EQ(0, dmirror_fill(&dev, data, length, word));
	EXPECT_EQ(0, others(data, length, word));
	fill(data, length, word);
	EXPECT_EQ(0, dmirror_sum(&dev, data, length, &sum));
	EXPECT_EQ(pattern_sum(length, word), sum);
	EXPECT_EQ(0, close(dev.fd));
}

TEST_F(removal, every_ioctl)
{
	struct hmm_dmirror_migrate result;
	struct hmm_dmirror_stats stats;
	struct hmm_dmirror_info info;
	struct dmirror *dev = &self->dev, again;
	uint64_t number;

	ASSERT_EQ(0, dmirror_read(dev, self->data, self->length));
	ASSERT_EQ(PAGES, mapped(dev, self->data, self->length, MAPPED));
	ASSERT_EQ(0, unbind_device(&self->pci));
	EXPECT_FALSE(is_bound(&self->pci));
	EXPECT_EQ(-ENOENT, dmirror_open(&again, dev->number));

	EXPECT_EQ(-ENODEV, dmirror_info(dev, &info));
	EXPECT_EQ(-ENODEV, dmirror_stats(dev, &stats));
	EXPECT_EQ(-ENODEV, dmirror_read(dev, self->data, self->length));
	EXPECT_EQ(-ENODEV, dmirror_fill(dev, self->data, self->length, 7));
	EXPECT_EQ(-ENODEV, dmirror_exclusive_add(dev, (uint64_t *)self->data, 1,
						 1, &number));
	EXPECT_EQ(-ENODEV, mapped(dev, self->data, self->length, MAPPED));
	EXPECT_EQ(-ENODEV, dmirror_prefetch(dev, self->data, self->length, 0,
					    NULL));
	EXPECT_EQ(-ENODEV, dmirror_exclusive(dev, self->data, self->length,
					     NULL));
	EXPECT_EQ(-ENODEV, dmirror_fault_many(dev, 1, self->data, 0, NULL));
	EXPECT_EQ(-ENODEV, migrate(dev, self->data, self->length,
				   HMM_DMIRROR_TO_DEVICE, &result));
	EXPECT_EQ(-ENODEV, dmirror_evict(dev, ~0ULL, &number));
	EXPECT_EQ(-ENODEV, dmirror_inject(dev, HMM_DMIRROR_INJECT_MAP_ERROR, 0,
					  1, 0));
	EXPECT_EQ(0, differences(self->data, self->length, 1));
	EXPECT_EQ(0, close(dev->fd));
}

TEST_F(removal, process_goes_on)
{
	char *out = map_pages(PAGES);
	pid_t child;

	ASSERT_NE(NULL, out);
	ASSERT_EQ(0, dmirror_fill(&self->dev, out, self->length, 7));
	ASSERT_EQ(0, dmirror_read(&self->dev, self->data, self->length));
	ASSERT_EQ(0, unbind_device(&self->pci));

	EXPECT_EQ(0, others(out, self->length, 7));
	EXPECT_EQ(0, differences(self->data, self->length, 1));
	fill(self->data, self->length, 2);
	child = fork();
	ASSERT_LE(0, child);
	if (!child)
		_exit(!!differences(self->data, self->length, 2));
	EXPECT_EQ(0, child_status(child));
	/* All this would invalidate on the device. */
	EXPECT_EQ(0, mprotect(self->data, self->length, PROT_READ));
	EXPECT_EQ(0, madvise(out, self->length, MADV_DONTNEED));
	EXPECT_EQ(0, others(out, self->length, 0));
	EXPECT_EQ(0, munmap(out, self->length));
	EXPECT_EQ(0, differences(self->data, self->length, 2));
	EXPECT_EQ(0, close(self->dev.fd));
}

/* A new device, and for those who had the old one open that is still gone. */
TEST_F(removal, bind_again)
{
	char *more = map_pages(PAGES);

	ASSERT_NE(NULL, more);
	ASSERT_EQ(0, dmirror_read(&self->dev, self->data, self->length));
	ASSERT_EQ(0, unbind_device(&self->pci));
	ASSERT_EQ(0, bind_device(&self->pci));
	expect_works(_metadata, more, self->length, 3);
	EXPECT_EQ(-ENODEV, dmirror_read(&self->dev, more, self->length));
	EXPECT_EQ(0, differences(self->data, self->length, 1));
	EXPECT_EQ(0, close(self->dev.fd));
	expect_works(_metadata, self->data, self->length, 4);
}

/* A fault for a device that is there and for one that is gone. */
TEST_F(removal, fault_many)
{
	struct dmirror devs[2];
	int errors[2] = {};

	ASSERT_EQ(0, dmirror_open_memory(&devs[0], NONE, 0));
	if (devs[0].info.flags & HMM_DMIRROR_INFO_DMA)
		SKIP(return, "hmm_dmirror has no device that stays");
	devs[1] = self->dev;
	ASSERT_EQ(0, dmirror_fault_many(devs, 2, self->data, 0, NULL));
	EXPECT_LT(0, mapped(&devs[1], self->data, self->page, MAPPED));
	ASSERT_EQ(0, unbind_device(&self->pci));
	ASSERT_EQ(0, mprotect(self->data, self->length, PROT_READ));
	ASSERT_EQ(0, mprotect(self->data, self->length, PROT_READ | PROT_WRITE));

	EXPECT_EQ(-ENODEV, dmirror_fault_many(devs, 2, self->data, 1, errors));
	EXPECT_EQ(0, errors[0]);
	EXPECT_NE(0, errors[1]);
	EXPECT_EQ(1, mapped(&devs[0], self->data, self->page,
			    MAPPED | HMM_DMIRROR_PAGE_WRITE));
	dmirror_close(&devs[0]);
}

/* The process never notices that the device is gone. */
TEST_F(removal, process_exits)
{
	char byte = 0;
	int ready[2], go[2];
	pid_t child;

	ASSERT_EQ(0, pipe(ready));
	ASSERT_EQ(0, pipe(go));
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		struct dmirror own;

		if (dmirror_open(&own, self->dev.number) ||
		    dmirror_read(&own, self->data, self->length) ||
		    write(ready[1], &byte, 1) != 1 ||
		    read(go[0], &byte, 1) != 1)
			_exit(1);
		_exit(0);
	}
	close(ready[1]);
	ASSERT_EQ(1, read(ready[0], &byte, 1));
	EXPECT_EQ(0, unbind_device(&self->pci));
	ASSERT_EQ(1, write(go[1], &byte, 1));
	EXPECT_EQ(0, child_status(child));
	dmirror_close(&self->dev);
	EXPECT_TRUE(wait_module_users(self->users));
}

#define WORKERS		4
#define ROUNDS		5

/* Runs programs until one does not succeed. */
struct worker {
	pthread_t thread;
	struct dmirror *dev;
	char *words;
	size_t length;
	bool faults;		/* let the device fault each time */
	bool stop;
	unsigned int runs;
	int result;		/* of the last run */
	uint64_t wrong;		/* words, and sums */
};

static void *run_until_gone(void *arg)
{
	struct worker *worker = arg;
	uint64_t word = 0, sum;
	struct hmm_dmirror_run run;

	while (!__atomic_load_n(&worker->stop, __ATOMIC_RELAXED)) {
		run = (struct hmm_dmirror_run) {
			.program = HMM_DMIRROR_FILL,
			.addr = (uintptr_t)worker->words,
			.length = worker->length,
			.operand = word + 1,
		};
		worker->result = dmirror_run(worker->dev, &run);
		/* The new word as far as the device got, and then the old one. */
		if (worker->result) {
			size_t done = run.result * sizeof(word);

			worker->wrong += others(worker->words, done, word + 1);
			worker->wrong += others(worker->words + done,
						worker->length - done, word);
			break;
		}
		word++;
		worker->wrong += others(worker->words, worker->length, word);
		worker->result = dmirror_sum(worker->dev, worker->words,
					     worker->length, &sum);
		if (worker->result)
			break;
		worker->wrong += sum != word * (worker->length / sizeof(word));
		if (worker->faults) {
			mprotect(worker->words, worker->length, PROT_READ);
			mprotect(worker->words, worker->length,
				 PROT_READ | PROT_WRITE);
		}
		__atomic_add_fetch(&worker->runs, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Until *@count is at least @least, but not for ever. */
static bool wait_count(unsigned int *count, unsigned int least)
{
	uint64_t end = now_us() + WAIT_S * 1000000ull;

	while (__atomic_load_n(count, __ATOMIC_RELAXED) < least &&
	       now_us() < end)
		usleep(500);
	return __atomic_load_n(count, __ATOMIC_RELAXED) >= least;
}

TEST_F(removal, programs_run)
{
	struct worker workers[WORKERS];
	unsigned int round, i, number = self->dev.number;
	struct dmirror devs[2];
	uint64_t start;
	int unbound;

	dmirror_close(&self->dev);
	for (round = 0; round < ROUNDS; round++) {
		ASSERT_EQ(0, dmirror_open(&devs[0], number));
		ASSERT_EQ(0, dmirror_open(&devs[1], number));
		memset(self->data, 0, self->length);
		for (i = 0; i < WORKERS; i++) {
			workers[i] = (struct worker) {
				.dev = &devs[i / 2],
				.length = self->length / WORKERS,
				.faults = i % 2,
			};
			workers[i].words = self->data + i * workers[i].length;
			ASSERT_EQ(0, pthread_create(&workers[i].thread, NULL,
						    run_until_gone,
						    &workers[i]));
		}
		for (i = 0; i < WORKERS; i++)
			EXPECT_TRUE(wait_count(&workers[i].runs, 1));
		usleep(round * 700);

		start = now_us();
		unbound = unbind_device(&self->pci);
		EXPECT_EQ(0, unbound);
		EXPECT_GT(UNBIND_US, now_us() - start);
		for (i = 0; i < WORKERS && unbound; i++)
			__atomic_store_n(&workers[i].stop, true,
					 __ATOMIC_RELAXED);
		for (i = 0; i < WORKERS; i++) {
			ASSERT_EQ(0, join_in_time(workers[i].thread));
			EXPECT_TRUE(workers[i].result == -ENODEV ||
				    workers[i].result == DEVICE_FAILED)
				TH_LOG("%s",
				       dmirror_strerror(workers[i].result));
			EXPECT_EQ(0, workers[i].wrong);
			EXPECT_EQ(-ENODEV, dmirror_read(workers[i].dev,
							self->data, 8));
		}
		EXPECT_EQ(0, close(devs[0].fd));
		EXPECT_EQ(0, close(devs[1].fd));
		ASSERT_EQ(0, bind_device(&self->pci));
	}
	expect_works(_metadata, self->data, self->length, 5);
}

/* Ways into a CPU fault. */
enum blocked_in {
	IN_PROGRAM,
	IN_EXCLUSIVE_PROGRAM,
	IN_PREFETCH,
};

struct blocked {
	struct dmirror *dev;
	char *hole;
	enum blocked_in in;
	int result;
};

static void *access_hole(void *arg)
{
	struct blocked *blocked = arg;
	uint64_t *word = (uint64_t *)blocked->hole, value;

	switch (blocked->in) {
	case IN_PROGRAM:
		blocked->result = dmirror_read(blocked->dev, blocked->hole,
					       page_size());
		break;
	case IN_EXCLUSIVE_PROGRAM:
		blocked->result = dmirror_exclusive_add(blocked->dev, word, 1,
							1, &value);
		break;
	case IN_PREFETCH:
		blocked->result = dmirror_prefetch(blocked->dev, blocked->hole,
						   page_size(), 0, NULL);
		break;
	}
	return NULL;
}

/* Neither unbind nor a new device waits for a fault that nobody serves. */
static void unbind_while_blocked(struct __test_metadata *_metadata,
				 struct _test_data_removal *self,
				 enum blocked_in in, int result)
{
	struct blocked blocked = {
		.dev = &self->dev,
		.hole = map_pages(1),
		.in = in,
	};
	struct pollfd event = { .events = POLLIN };
	pthread_t thread;
	uint64_t start;

	ASSERT_NE(NULL, blocked.hole);
	event.fd = open_userfaultfd(blocked.hole, self->page,
				    UFFDIO_REGISTER_MODE_MISSING, O_NONBLOCK);
	if (event.fd < 0)
		SKIP(return, "userfaultfd: %s", strerror(-event.fd));
	ASSERT_EQ(0, dmirror_read(&self->dev, self->data, self->length));
	ASSERT_EQ(0, pthread_create(&thread, NULL, access_hole, &blocked));
	ASSERT_EQ(1, poll(&event, 1, WAIT_S * 1000));
	ASSERT_EQ(POLLIN, event.revents);

	start = now_us();
	EXPECT_EQ(0, unbind_device(&self->pci));
	EXPECT_GT(UNBIND_US, now_us() - start);
	EXPECT_EQ(-ENODEV, dmirror_read(&self->dev, self->data, self->length));
	EXPECT_EQ(0, bind_device(&self->pci));
	expect_works(_metadata, self->data, self->length, 6);
	ASSERT_EQ(EBUSY, pthread_tryjoin_np(thread, NULL));

	close(event.fd);
	ASSERT_EQ(0, join_in_time(thread));
	EXPECT_EQ(result, blocked.result)
		TH_LOG("%s", dmirror_strerror(blocked.result));
	EXPECT_EQ(0, others(blocked.hole, self->page, 0));
	EXPECT_EQ(0, close(self->dev.fd));
}

TEST_F(removal, blocked_program)
{
	unbind_while_blocked(_metadata, self, IN_PROGRAM, DEVICE_FAILED);
}

TEST_F(removal, blocked_exclusive_program)
{
	unbind_while_blocked(_metadata, self, IN_EXCLUSIVE_PROGRAM,
			     DEVICE_FAILED);
}

TEST_F(removal, blocked_prefetch)
{
	unbind_while_blocked(_metadata, self, IN_PREFETCH, -ENODEV);
}

#define OPENERS		2
#define TIMES		20

struct opener {
	pthread_t thread;
	unsigned int number;
	char *words;
	bool *stop;
	unsigned int *opened;
	int failure;		/* the first result that is not allowed */
	uint64_t wrong;
};

static void note_failure(struct opener *opener, int result)
{
	if (!opener->failure)
		opener->failure = result;
}

static void *open_and_close(void *arg)
{
	struct opener *opener = arg;
	size_t length = 2 * page_size();
	struct dmirror dev;
	uint64_t word = 0;
	int ret;

	while (!__atomic_load_n(opener->stop, __ATOMIC_RELAXED)) {
		ret = dmirror_open(&dev, opener->number);
		if (ret) {
			if (ret != -ENOENT && ret != -ENODEV)
				note_failure(opener, ret);
			usleep(500);
			continue;
		}
		ret = dmirror_fill(&dev, opener->words, length, ++word);
		if (!ret)
			opener->wrong += others(opener->words, length, word);
		else if (ret != -ENODEV && ret != DEVICE_FAILED)
			note_failure(opener, ret);
		if (close(dev.fd))
			note_failure(opener, -errno);
		__atomic_add_fetch(opener->opened, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

TEST_F(removal, open_and_close)
{
	struct opener openers[OPENERS] = {};
	unsigned int opened = 0, seen, i;
	bool stop = false;

	for (i = 0; i < OPENERS; i++) {
		openers[i].number = self->dev.number;
		openers[i].words = self->data + 2 * i * self->page;
		openers[i].stop = &stop;
		openers[i].opened = &opened;
		ASSERT_EQ(0, pthread_create(&openers[i].thread, NULL,
					    open_and_close, &openers[i]));
	}
	for (i = 0; i < TIMES; i++) {
		seen = __atomic_load_n(&opened, __ATOMIC_RELAXED);
		EXPECT_TRUE(wait_count(&opened, seen + 1));
		usleep(i * 100);
		EXPECT_EQ(0, unbind_device(&self->pci));
		EXPECT_EQ(0, bind_device(&self->pci));
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < OPENERS; i++) {
		ASSERT_EQ(0, join_in_time(openers[i].thread));
		EXPECT_EQ(0, openers[i].failure)
			TH_LOG("%s", dmirror_strerror(openers[i].failure));
		EXPECT_EQ(0, openers[i].wrong);
	}
	EXPECT_EQ(-ENODEV, dmirror_read(&self->dev, self->data, 8));
	expect_works(_metadata, self->data, self->length, 8);
}

TEST_HARNESS_MAIN
