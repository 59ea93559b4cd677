// SPDX-License-Identifier: GPL-2.0
/*
 * Device page faults while other threads change the page tables all the time: in
 * the faulting range the device waits no longer than its timeout, beside it the
 * device makes progress.  A process whose fault waits for ever holds up nobody
 * else.
 */
#define _GNU_SOURCE
#include <linux/userfaultfd.h>
#include <poll.h>

#include "dmirror_test.h"

#define FAULTS		100	/* to measure */
#define LIMIT_US	15000000ull	/* less of them if they take so long */
#define WAIT_US	120000000ull	/* for all of them where none may fail */
#define SLACK_MS	10000	/* for the scheduler of an emulated machine */

/* A thread that changes a range again and again. */
struct hammer {
	pthread_t thread;
	char *start;
	size_t length;
	bool protect;	/* mprotect(), otherwise MADV_DONTNEED */
	bool *stop;
	uint64_t blows;
	int error;
};

static void *hammer(void *arg)
{
	struct hammer *hammer = arg;
	int err = 0;

	while (!err && !__atomic_load_n(hammer->stop, __ATOMIC_RELAXED)) {
		if (hammer->protect)
			err = mprotect(hammer->start, hammer->length,
				       PROT_READ) ||
			      mprotect(hammer->start, hammer->length,
				       PROT_READ | PROT_WRITE);
		else
			err = madvise(hammer->start, hammer->length,
				      MADV_DONTNEED);
		__atomic_fetch_add(&hammer->blows, 1, __ATOMIC_RELAXED);
	}
	hammer->error = err ? errno : 0;
	return NULL;
}

struct measured {
	unsigned int done, timeouts, others;
	uint64_t faults;
	uint64_t longest_us, all_us;
};

/* Count a call that began at @start and ended with @ret. */
static void count(struct measured *measured, uint64_t start, int ret)
{
	uint64_t us = now_us() - start;

	measured->all_us += us;
	if (us > measured->longest_us)
		measured->longest_us = us;
	if (!ret)
		measured->done++;
	else if (ret == -ETIME || ret == HMM_DMIRROR_STATUS_TIMEOUT)
		measured->timeouts++;
	else
		measured->others++;
}

#define LOG_MEASURED(what, measured) \
	TH_LOG("%s: %u done, %u timed out, %u failed; %llu faults, %llu/s; longest %llu us", \
	       what, (measured)->done, (measured)->timeouts, \
	       (measured)->others, (unsigned long long)(measured)->faults, \
	       (unsigned long long)((measured)->faults * 1000000 / \
				    ((measured)->all_us + 1)), \
	       (unsigned long long)(measured)->longest_us)

/* The kernel has none of our patches, see the tests for what that changes. */
static bool unmodified_kernel(void)
{
	return getenv("HMM_UNMODIFIED_KERNEL");
}

FIXTURE(fairness)
{
	struct dmirror dev;
	size_t page;
	char *data;		/* 4 * HUGE, small pages */
	struct hammer hammers[3];
	unsigned int nr_hammers;
	bool stop;
};

FIXTURE_VARIANT(fairness)
{
	enum hmm_dmirror_memory memory;
	bool dma;
};

FIXTURE_VARIANT_ADD(fairness, none)
{
	.memory = NONE,
};

FIXTURE_VARIANT_ADD(fairness, dma)
{
	.memory = NONE,
	.dma = true,
};

FIXTURE_SETUP(fairness)
{
	OPEN_KIND_OR_SKIP(return, &self->dev, variant->memory, variant->dma);
	self->page = page_size();
	self->data = map_huge(4 * HUGE);
	ASSERT_NE(NULL, self->data);
	ASSERT_EQ(0, madvise(self->data, 4 * HUGE, MADV_NOHUGEPAGE));
}

FIXTURE_TEARDOWN(fairness)
{
	dmirror_close(&self->dev);
}

static int start_hammer(struct _test_data_fairness *self, char *start,
			size_t length, bool protect)
{
	struct hammer *new = &self->hammers[self->nr_hammers];
	int ret;

	new->start = start;
	new->length = length;
	new->protect = protect;
	new->stop = &self->stop;
	ret = pthread_create(&new->thread, NULL, hammer, new);
	if (ret)
		return ret;
	self->nr_hammers++;
	while (!__atomic_load_n(&new->blows, __ATOMIC_RELAXED))
		usleep(100);
	return 0;
}

/* Returns how often they changed something, or 0 if one of them failed. */
static uint64_t stop_hammers(struct _test_data_fairness *self)
{
	uint64_t blows = 0;
	bool failed = false;
	unsigned int i;

	__atomic_store_n(&self->stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < self->nr_hammers; i++) {
		pthread_join(self->hammers[i].thread, NULL);
		blows += self->hammers[i].blows;
		failed |= self->hammers[i].error;
	}
	return failed ? 0 : blows;
}

/* One fault at a time, without a program that may miss again at its replay. */
static void measure_faults(struct dmirror *dev, char *addr, bool write,
			   struct measured *measured)
{
	uint64_t end = now_us() + LIMIT_US;

	while (measured->faults < FAULTS && now_us() < end) {
		uint64_t start = now_us();

		count(measured, start,
		      dmirror_fault_many(dev, 1, addr, write, NULL));
		measured->faults++;
	}
}

/* Programs that read or write one word, until they have taken enough faults. */
static void measure_runs(struct dmirror *dev, char *addr, bool write,
			 struct measured *measured)
{
	uint64_t end = now_us() + LIMIT_US;

	while (measured->faults < FAULTS && now_us() < end) {
		struct hmm_dmirror_run run = {
			.program = write ? HMM_DMIRROR_FILL : HMM_DMIRROR_READ,
			.addr = (uintptr_t)addr,
			.length = 8,
		};
		uint64_t start = now_us();

		count(measured, start, dmirror_run(dev, &run));
		measured->faults += run.faults;
	}
}

/*
 * The hammer hits what the device faults on.  On the unmodified kernel a fault
 * waits in mmu_interval_read_begin() for as long as invalidations overlap, so
 * that its time has no bound there.
 */
#define EXPECT_FAIR(what, measured, nr_waits) do { \
	LOG_MEASURED(what, measured); \
	EXPECT_EQ(0, (measured)->others); \
	EXPECT_LT(0, (measured)->done); \
	if (!unmodified_kernel()) { \
		EXPECT_GT(((nr_waits) * self->dev.info.fault_timeout_ms + \
			   SLACK_MS) * 1000ull, (measured)->longest_us); \
	} \
} while (0)

static void hit_same_range(struct __test_metadata *_metadata,
			   struct _test_data_fairness *self, size_t length,
			   bool protect)
{
	char *addr = self->data + length / 2 / self->page * self->page;
	struct hmm_dmirror_stats before, after;
	struct measured faults = {}, programs = {};
	bool write = !protect;	/* where it is allowed at any time */

	memset(self->data, 0, length);
	ASSERT_EQ(0, dmirror_stats(&self->dev, &before));
	ASSERT_EQ(0, start_hammer(self, self->data, length, protect));
	measure_faults(&self->dev, addr, write, &faults);
	measure_runs(&self->dev, addr, write, &programs);
	EXPECT_LT(0, stop_hammers(self));
	ASSERT_EQ(0, dmirror_stats(&self->dev, &after));

	EXPECT_FAIR("faults", &faults, 1);
	EXPECT_LT(faults.timeouts, faults.done);
	/* A fault, its page lost before each replay, and a last fault. */
	EXPECT_FAIR("programs", &programs, 3);
	TH_LOG("%llu changes, %llu retries",
	       (unsigned long long)self->hammers[0].blows,
	       (unsigned long long)(after.retries - before.retries));
	EXPECT_LE(faults.timeouts, after.timeouts - before.timeouts);
	EXPECT_GE(faults.timeouts + programs.timeouts,
		  after.timeouts - before.timeouts);
}

TEST_F(fairness, same_page_dontneed)
{
	hit_same_range(_metadata, self, self->page, false);
}

TEST_F(fairness, same_page_mprotect)
{
	hit_same_range(_metadata, self, self->page, true);
}

TEST_F(fairness, same_range_dontneed)
{
	hit_same_range(_metadata, self, HUGE, false);
}

TEST_F(fairness, same_range_mprotect)
{
	hit_same_range(_metadata, self, HUGE, true);
}

/*
 * The page at @stable is changed by nobody but this thread, before it lets the
 * device fault on it: each time the device has to see the word written last.
 */
static void fault_beside(struct dmirror *dev, uint64_t *stable,
			 struct measured *measured, unsigned int *wrong)
{
	uint64_t end = now_us() + (unmodified_kernel() ? LIMIT_US : WAIT_US), sum;

	while (measured->faults < FAULTS && now_us() < end) {
		uint64_t start;
		int ret;

		madvise(stable, page_size(), MADV_DONTNEED);
		*(volatile uint64_t *)stable = ++measured->faults;
		start = now_us();
		ret = dmirror_sum(dev, stable, page_size(), &sum);
		count(measured, start, ret);
		*wrong += !ret && sum != measured->faults;
	}
}

TEST_F(fairness, neighbours)
{
	char *stable = self->data + HUGE + 100 * self->page;
	struct hmm_dmirror_stats before, after;
	struct measured measured = {};
	unsigned int wrong = 0;

	memset(stable - self->page, 0, 3 * self->page);
	ASSERT_EQ(0, dmirror_stats(&self->dev, &before));
	ASSERT_EQ(0, start_hammer(self, stable + self->page, self->page,
				  false));
	ASSERT_EQ(0, start_hammer(self, stable - self->page, self->page, true));
	ASSERT_EQ(0, start_hammer(self, self->data + 2 * HUGE, HUGE, false));
	fault_beside(&self->dev, (uint64_t *)stable, &measured, &wrong);
	EXPECT_LT(0, stop_hammers(self));
	ASSERT_EQ(0, dmirror_stats(&self->dev, &after));

	LOG_MEASURED("programs", &measured);
	TH_LOG("%llu retries",
	       (unsigned long long)(after.retries - before.retries));
	EXPECT_EQ(measured.faults, measured.done);
	EXPECT_EQ(0, wrong);
	/* As in EXPECT_FAIR(): there it may take longer, but it must not fail. */
	EXPECT_LE(unmodified_kernel() ? 1 : FAULTS, measured.faults);
	EXPECT_EQ(0, after.timeouts - before.timeouts);
}

/* What happens in one piece of 2 MiB makes nobody retry in another. */
TEST_F(fairness, other_pieces)
{
	char *stable = self->data + HUGE + 100 * self->page;
	struct hmm_dmirror_stats before, after;
	struct measured measured = {};
	unsigned int wrong = 0;

	memset(self->data, 0, self->page);
	ASSERT_EQ(0, dmirror_stats(&self->dev, &before));
	ASSERT_EQ(0, start_hammer(self, self->data, HUGE, false));
	ASSERT_EQ(0, start_hammer(self, self->data + 2 * HUGE, HUGE, true));
	ASSERT_EQ(0, start_hammer(self, self->data + 3 * HUGE, self->page,
				  false));
	fault_beside(&self->dev, (uint64_t *)stable, &measured, &wrong);
	EXPECT_LT(0, stop_hammers(self));
	ASSERT_EQ(0, dmirror_stats(&self->dev, &after));

	LOG_MEASURED("programs", &measured);
	EXPECT_EQ(measured.faults, measured.done);
	EXPECT_LE(unmodified_kernel() ? 1 : FAULTS, measured.faults);
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(0, after.retries - before.retries);
	EXPECT_EQ(0, after.timeouts - before.timeouts);
}

/* More than a device has engines. */
#define BLOCKED		4

/* Tells that a fault waits for the userfaultfd, and serves nothing. */
static void *tell_of_fault(void *arg)
{
	const int *fds = arg;
	struct pollfd event = { .fd = fds[0], .events = POLLIN };

	if (poll(&event, 1, -1) == 1 && write(fds[1], "", 1) != 1)
		_exit(5);
	return NULL;
}

/* A child whose device program waits for ever. */
static void wait_for_ever(struct _test_data_fairness *self, int ready)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register area = {
		.range.len = self->page,
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	struct dmirror own;
	char *hole = map_pages(1);
	pthread_t teller;
	int fds[2];

	/* Without O_NONBLOCK poll() does not wait. */
	fds[0] = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	fds[1] = ready;
	area.range.start = (uintptr_t)hole;
	if (!hole || fds[0] < 0 || ioctl(fds[0], UFFDIO_API, &api) ||
	    ioctl(fds[0], UFFDIO_REGISTER, &area))
		_exit(2);
	if (dmirror_open(&own, self->dev.number))
		_exit(3);
	if (pthread_create(&teller, NULL, tell_of_fault, fds))
		_exit(4);
	dmirror_read(&own, hole, self->page);
	_exit(6);
}

/* How the child ended, or -ETIMEDOUT if it does not within 20 seconds. */
static int status_in_time(pid_t child)
{
	uint64_t end = now_us() + 20000000;
	siginfo_t info = {};

	while (!info.si_pid && now_us() < end) {
		if (waitid(P_PID, child, &info, WEXITED | WNOWAIT | WNOHANG))
			return -errno;
		usleep(1000);
	}
	return info.si_pid ? child_status(child) : -ETIMEDOUT;
}

TEST_F(fairness, blocked_process)
{
	int uffd = syscall(__NR_userfaultfd, O_CLOEXEC);
	struct measured measured = {};
	pid_t children[BLOCKED];
	long users = module_users();
	unsigned int i;
	int ready[2];
	char byte;

	if (uffd < 0)
		SKIP(return, "userfaultfd: %s", strerror(errno));
	close(uffd);
	for (i = 0; i < BLOCKED; i++) {
		ASSERT_EQ(0, pipe(ready));
		children[i] = fork();
		ASSERT_LE(0, children[i]);
		if (!children[i])
			wait_for_ever(self, ready[1]);
		close(ready[1]);
		ASSERT_EQ(1, read(ready[0], &byte, 1));
		close(ready[0]);
	}

	for (i = 0; i < FAULTS / 2; i++) {
		char *addr = self->data + i * 16 * self->page;
		uint64_t start = now_us();

		count(&measured, start,
		      dmirror_fill(&self->dev, addr, 8, i + 1));
		measured.faults++;
		EXPECT_EQ(i + 1, *(uint64_t *)addr);
	}
	LOG_MEASURED("programs", &measured);
	EXPECT_EQ(FAULTS / 2, measured.done);
	EXPECT_GT(self->dev.info.fault_timeout_ms * 1000ull,
		  measured.longest_us);

	for (i = 0; i < BLOCKED; i++) {
		EXPECT_EQ(0, waitpid(children[i], NULL, WNOHANG));
		EXPECT_EQ(0, kill(children[i], SIGKILL));
		EXPECT_EQ(256 + SIGKILL, status_in_time(children[i]));
	}
	/* Nothing of them keeps the module. */
	EXPECT_TRUE(wait_module_users(users));
	EXPECT_EQ(0, dmirror_fill(&self->dev, self->data, self->page, 7));
}

TEST_HARNESS_MAIN
