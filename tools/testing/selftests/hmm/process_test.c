// SPDX-License-Identifier: GPL-2.0
/*
 * Processes fork, exec, exit and are killed while memory is on the device;
 * files are passed on.
 */
#define _GNU_SOURCE
#include "dmirror_test.h"

#define PAGES	32
#define WAIT_US	20000000ull

/* Names the file to try after exec(); see after_exec(). */
#define EXEC_ENV	"HMM_PROCESS_TEST_FD"

FIXTURE(process)
{
	struct dmirror dev;
	size_t page;
	size_t length;
	char *data;	/* pattern 1, in RAM */
};

FIXTURE_VARIANT(process)
{
	enum hmm_dmirror_memory memory;
};

FIXTURE_VARIANT_ADD(process, private)
{
	.memory = PRIVATE,
};

FIXTURE_VARIANT_ADD(process, cdm)
{
	.memory = CDM,
};

FIXTURE_SETUP(process)
{
	OPEN_OR_SKIP(return, &self->dev, variant->memory, 0);
	ASSERT_EQ(0, self->dev.info.memory_used);
	self->page = page_size();
	self->length = PAGES * self->page;
	self->data = map_pages(PAGES);
	ASSERT_NE(NULL, self->data);
	fill(self->data, self->length, 1);
}

FIXTURE_TEARDOWN(process)
{
	dmirror_close(&self->dev);
}

/*
 * A child answers with its exit status; 0 is right. One that migrates fills its
 * memory first: what it still shared with the test would move for both.
 */
#define CHILD_CHECK(condition) do { \
	if (!(condition)) { \
		fprintf(stderr, "# child, line %d: %s\n", __LINE__, \
			#condition); \
		_exit(1); \
	} \
} while (0)

static int to_device(struct dmirror *dev, char *data, size_t length)
{
	struct hmm_dmirror_migrate result;
	int ret = migrate(dev, data, length, HMM_DMIRROR_TO_DEVICE, &result);

	if (ret)
		return ret;
	return result.moved == length / page_size() ? 0 : -EBUSY;
}

/* Is every ioctl of the file refused with EPERM? */
static bool refused(struct dmirror *dev, char *data)
{
	struct hmm_dmirror_stats stats;
	struct hmm_dmirror_info info;
	uint64_t evicted;
	unsigned char flags;

	return dmirror_info(dev, &info) == -EPERM &&
	       dmirror_stats(dev, &stats) == -EPERM &&
	       dmirror_read(dev, data, 8) == -EPERM &&
	       dmirror_fill(dev, data, 8, 0) == -EPERM &&
	       dmirror_migrate(dev, data, page_size(), HMM_DMIRROR_TO_DEVICE,
			       NULL) == -EPERM &&
	       dmirror_migrate(dev, data, page_size(), HMM_DMIRROR_TO_RAM,
			       NULL) == -EPERM &&
	       dmirror_snapshot(dev, data, page_size(), &flags) == -EPERM &&
	       dmirror_evict(dev, ~0ULL, &evicted) == -EPERM &&
	       dmirror_inject(dev, HMM_DMIRROR_INJECT_MAP_ERROR, 0, 1, 0) ==
	       -EPERM;
}

/* The new program after exec() with a file of the old one. */
static void __attribute__((constructor)) after_exec(void)
{
	const char *fd = getenv(EXEC_ENV);
	struct dmirror dev;

	if (!fd)
		return;
	dev.fd = atoi(fd);
	_exit(refused(&dev, map_pages(1)) ? 0 : 1);
}

TEST_F(process, child_has_no_access)
{
	pid_t child;

	ASSERT_EQ(0, to_device(&self->dev, self->data, self->length));
	child = fork();
	ASSERT_LE(0, child);
	if (!child)
		_exit(!refused(&self->dev, self->data));
	EXPECT_EQ(0, child_status(child));
	EXPECT_EQ(0, dmirror_read(&self->dev, self->data, self->length));
	EXPECT_EQ(0, differences(self->data, self->length, 1));
}

/* The other way round: what a thread of the opener does is allowed. */
static void *read_in_thread(void *arg)
{
	struct dmirror *dev = arg;
	static uint64_t word = 1;

	return (void *)(long)dmirror_read(dev, &word, 8);
}

TEST_F(process, thread_has_access)
{
	pthread_t thread;
	void *result = (void *)1;

	ASSERT_EQ(0, pthread_create(&thread, NULL, read_in_thread, &self->dev));
	ASSERT_EQ(0, pthread_join(thread, &result));
	EXPECT_EQ(NULL, result);
}

TEST_F(process, child_reads)
{
	pid_t child;

	ASSERT_EQ(0, to_device(&self->dev, self->data, self->length));
	ASSERT_EQ(0, dmirror_read(&self->dev, self->data, self->length));
	child = fork();
	ASSERT_LE(0, child);
	if (!child)
		_exit(differences(self->data, self->length, 1) != 0);
	EXPECT_EQ(0, child_status(child));
	EXPECT_EQ(0, differences(self->data, self->length, 1));
}

TEST_F(process, child_writes)
{
	uint64_t sum;
	pid_t child;

	ASSERT_EQ(0, to_device(&self->dev, self->data, self->length));
	ASSERT_EQ(0, dmirror_fill(&self->dev, self->data, self->page, 3));
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		CHILD_CHECK(!others(self->data, self->page, 3));
		fill(self->data, self->length, 2);
		CHILD_CHECK(!differences(self->data, self->length, 2));
		_exit(0);
	}
	EXPECT_EQ(0, child_status(child));
	EXPECT_EQ(0, others(self->data, self->page, 3));
	ASSERT_EQ(0, dmirror_sum(&self->dev, self->data, self->length, &sum));
	EXPECT_EQ(pattern_sum(self->length, 1) - pattern_sum(self->page, 1) +
		  self->page / 8 * 3, sum);
}

/* The parent's device writes; the child keeps what was. */
TEST_F(process, device_writes_after_fork)
{
	int ready[2];
	char go = 0;
	pid_t child;

	ASSERT_EQ(0, pipe(ready));
	ASSERT_EQ(0, to_device(&self->dev, self->data, self->length));
	ASSERT_EQ(0, dmirror_fill(&self->dev, self->data, self->page, 3));
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		CHILD_CHECK(read(ready[0], &go, 1) == 1);
		CHILD_CHECK(!others(self->data, self->page, 3));
		CHILD_CHECK(((uint64_t *)self->data)[self->page / 8] ==
			    pattern(1, self->page / 8));
		_exit(0);
	}
	EXPECT_EQ(0, dmirror_fill(&self->dev, self->data, self->length, 4));
	ASSERT_EQ(1, write(ready[1], &go, 1));
	EXPECT_EQ(0, child_status(child));
	EXPECT_EQ(0, others(self->data, self->length, 4));
}

/* A child opens the device for itself and takes over the pages it inherited. */
TEST_F(process, child_opens)
{
	uint64_t sum;
	pid_t child;

	ASSERT_EQ(0, to_device(&self->dev, self->data, self->length));
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		struct dmirror own;

		CHILD_CHECK(!dmirror_open(&own, self->dev.number));
		CHILD_CHECK(!dmirror_sum(&own, self->data, self->length,
					 &sum));
		CHILD_CHECK(sum == pattern_sum(self->length, 1));
		CHILD_CHECK(!dmirror_fill(&own, self->data, self->length, 7));
		CHILD_CHECK(!others(self->data, self->length, 7));
		CHILD_CHECK(refused(&self->dev, self->data));
		_exit(0);
	}
	EXPECT_EQ(0, child_status(child));
	ASSERT_EQ(0, dmirror_sum(&self->dev, self->data, self->length, &sum));
	EXPECT_EQ(pattern_sum(self->length, 1), sum);
	EXPECT_EQ(0, differences(self->data, self->length, 1));
}

/* Memory that two processes share moves for both. */
TEST_F(process, child_migrates_shared)
{
	uint64_t sum;
	pid_t child = fork();

	ASSERT_LE(0, child);
	if (!child) {
		struct dmirror own;

		CHILD_CHECK(!dmirror_open(&own, self->dev.number));
		CHILD_CHECK(!to_device(&own, self->data, self->length));
		CHILD_CHECK(!dmirror_sum(&own, self->data, self->length,
					 &sum));
		CHILD_CHECK(sum == pattern_sum(self->length, 1));
		CHILD_CHECK(!dmirror_fill(&own, self->data, self->page, 9));
		CHILD_CHECK(!others(self->data, self->page, 9));
		_exit(0);
	}
	EXPECT_EQ(0, child_status(child));
	ASSERT_EQ(0, dmirror_sum(&self->dev, self->data, self->length, &sum));
	EXPECT_EQ(pattern_sum(self->length, 1), sum);
	EXPECT_EQ(0, differences(self->data, self->length, 1));
}

/* Whoever migrated has exited; its child reads. */
TEST_F(process, parent_exits)
{
	int answer[2];
	pid_t parent;
	char right = 0;

	ASSERT_EQ(0, pipe(answer));
	parent = fork();
	ASSERT_LE(0, parent);
	if (!parent) {
		struct dmirror own;

		fill(self->data, self->length, 1);
		CHILD_CHECK(!dmirror_open(&own, self->dev.number));
		CHILD_CHECK(!to_device(&own, self->data, self->length));
		parent = getpid();
		if (fork())
			_exit(0);
		dmirror_close(&own);
		while (getppid() == parent)
			sched_yield();
		right = !differences(self->data, self->length, 1);
		CHILD_CHECK(write(answer[1], &right, 1) == 1);
		_exit(0);
	}
	close(answer[1]);
	EXPECT_EQ(0, child_status(parent));
	ASSERT_EQ(1, read(answer[0], &right, 1));
	EXPECT_EQ(1, right);
	/* End of file: the grandchild is no more, either. */
	EXPECT_EQ(0, read(answer[0], &right, 1));
}

TEST_F(process, exit)
{
	pid_t child = fork();

	ASSERT_LE(0, child);
	if (!child) {
		struct dmirror own;

		fill(self->data, self->length, 1);
		CHILD_CHECK(!dmirror_open(&own, self->dev.number));
		CHILD_CHECK(!to_device(&own, self->data, self->length));
		CHILD_CHECK(!dmirror_read(&own, self->data, self->length));
		CHILD_CHECK(used_pages(&self->dev) == -EPERM);
		CHILD_CHECK(used_pages(&own) == PAGES);
		_exit(0);
	}
	EXPECT_EQ(0, child_status(child));
	EXPECT_EQ(0, used_pages(&self->dev));
	EXPECT_EQ(0, differences(self->data, self->length, 1));
}

TEST_F(process, exec)
{
	char number[16];
	pid_t child = fork();

	ASSERT_LE(0, child);
	if (!child) {
		struct dmirror own;

		fill(self->data, self->length, 1);
		CHILD_CHECK(!dmirror_open(&own, self->dev.number));
		CHILD_CHECK(!to_device(&own, self->data, self->length));
		CHILD_CHECK(!fcntl(own.fd, F_SETFD, 0));
		snprintf(number, sizeof(number), "%d", own.fd);
		setenv(EXEC_ENV, number, 1);
		execl("/proc/self/exe", "process_test", NULL);
		_exit(2);
	}
	EXPECT_EQ(0, child_status(child));
	EXPECT_EQ(0, used_pages(&self->dev));
}

/* What passing a file over a socket does, without CONFIG_NET. */
static int take_file(pid_t from, int fd)
{
	int process = syscall(__NR_pidfd_open, from, 0), taken;

	if (process < 0)
		return -errno;
	taken = syscall(__NR_pidfd_getfd, process, fd, 0);
	if (taken < 0)
		taken = -errno;
	close(process);
	return taken;
}

TEST_F(process, file_is_passed)
{
	pid_t parent = getpid(), child;
	struct dmirror passed;

	ASSERT_EQ(0, to_device(&self->dev, self->data, self->length));
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		int fd = self->dev.fd;

		dmirror_close(&self->dev);
		passed.fd = take_file(parent, fd);
		CHILD_CHECK(passed.fd >= 0);
		CHILD_CHECK(refused(&passed, self->data));
		_exit(0);
	}
	EXPECT_EQ(0, child_status(child));
	EXPECT_EQ(0, dmirror_read(&self->dev, self->data, self->length));
}

/* The opener is gone, somebody else still holds its file. */
TEST_F(process, file_survives)
{
	struct dmirror passed;
	int fds[2], go[2], fd;
	pid_t child;

	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(0, pipe(go));
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		struct dmirror own;

		fill(self->data, self->length, 1);
		CHILD_CHECK(!dmirror_open(&own, self->dev.number));
		CHILD_CHECK(!to_device(&own, self->data, self->length));
		CHILD_CHECK(!dmirror_read(&own, self->data, self->length));
		fd = own.fd;
		CHILD_CHECK(write(fds[1], &fd, sizeof(fd)) == sizeof(fd));
		CHILD_CHECK(read(go[0], &fd, 1) == 1);
		_exit(0);
	}
	ASSERT_EQ(sizeof(fd), read(fds[0], &fd, sizeof(fd)));
	passed.fd = take_file(child, fd);
	ASSERT_LE(0, passed.fd);
	EXPECT_TRUE(refused(&passed, self->data));
	EXPECT_EQ(PAGES, used_pages(&self->dev));
	ASSERT_EQ(1, write(go[1], "", 1));
	EXPECT_EQ(0, child_status(child));
	EXPECT_TRUE(refused(&passed, self->data));
	EXPECT_EQ(0, used_pages(&self->dev));
	dmirror_close(&passed);
}

/* Tell the parent that it starts, then do it for a very long time. */
static void run_for_ever(struct dmirror *dev, char *data, int ready)
{
	uint64_t value;

	CHILD_CHECK(write(ready, "", 1) == 1);
	dmirror_atomic_add(dev, (uint64_t *)data, 1, ~0ULL >> 8, &value);
	_exit(3);
}

static void migrate_for_ever(struct dmirror *dev, char *data, size_t length,
			     int ready)
{
	struct hmm_dmirror_migrate result;
	int target = HMM_DMIRROR_TO_DEVICE;

	CHILD_CHECK(write(ready, "", 1) == 1);
	for (;;) {
		migrate(dev, data, length, target, &result);
		target = !target;
	}
}

static void kill_child(struct __test_metadata *_metadata,
		       struct _test_data_process *self, bool migrating,
		       unsigned int delay_ms)
{
	struct dmirror own;
	int ready[2], i;
	char byte;
	pid_t child;
	uint64_t sum;

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, pipe(ready));
		child = fork();
		ASSERT_LE(0, child);
		if (!child) {
			fill(self->data, self->length, 1);
			CHILD_CHECK(!dmirror_open(&own, self->dev.number));
			if (migrating)
				migrate_for_ever(&own, self->data,
						 self->length, ready[1]);
			CHILD_CHECK(!to_device(&own, self->data, self->length));
			run_for_ever(&own, self->data, ready[1]);
		}
		if (delay_ms)
			ASSERT_EQ(0, dmirror_inject(&self->dev,
						    HMM_DMIRROR_INJECT_COPY_DELAY,
						    0, 3, delay_ms));
		ASSERT_EQ(1, read(ready[0], &byte, 1));
		usleep(20000 + 30000 * i);
		ASSERT_EQ(0, kill(child, SIGKILL));
		EXPECT_EQ(256 + SIGKILL, child_status(child));
		/* Who worked for it may be the last to let go of its memory. */
		wait_used(&self->dev, 0, WAIT_US);
		EXPECT_EQ(0, used_pages(&self->dev));
		close(ready[0]);
		close(ready[1]);
	}

	/* The engines work for others. */
	ASSERT_EQ(0, dmirror_inject(&self->dev, HMM_DMIRROR_INJECT_COPY_DELAY,
				    0, 0, 0));
	ASSERT_EQ(0, to_device(&self->dev, self->data, self->length));
	ASSERT_EQ(0, dmirror_sum(&self->dev, self->data, self->length, &sum));
	EXPECT_EQ(pattern_sum(self->length, 1), sum);
}

TEST_F(process, killed_while_running)
{
	kill_child(_metadata, self, false, 0);
}

TEST_F(process, killed_while_migrating)
{
	kill_child(_metadata, self, true, 0);
}

TEST_F(process, killed_while_copying)
{
	kill_child(_metadata, self, true, 300);
}

/*
 * The last process that maps the pages is gone before the device has copied
 * them. It maps memory of its own, so that no rmap object outlives it.
 */
TEST_F(process, evicted_while_exiting)
{
	struct dmirror own;
	uint64_t evicted;
	int ready[2];
	char byte, *data;
	pid_t owner, killer;

	if (getenv("HMM_UNMODIFIED_KERNEL"))
		SKIP(return, "the unmodified kernel uses freed memory here");

	ASSERT_EQ(0, pipe(ready));
	owner = fork();
	ASSERT_LE(0, owner);
	if (!owner) {
		data = map_pages(PAGES);
		CHILD_CHECK(data);
		fill(data, self->length, 1);
		CHILD_CHECK(!dmirror_open(&own, self->dev.number));
		CHILD_CHECK(!to_device(&own, data, self->length));
		CHILD_CHECK(write(ready[1], "", 1) == 1);
		pause();
		_exit(1);
	}
	ASSERT_EQ(1, read(ready[0], &byte, 1));
	ASSERT_EQ(0, dmirror_inject(&self->dev, HMM_DMIRROR_INJECT_COPY_DELAY,
				    0, 1, 6000));
	killer = fork();
	ASSERT_LE(0, killer);
	if (!killer) {
		usleep(1500000);
		_exit(kill(owner, SIGKILL) ? 1 : 0);
	}
	ASSERT_EQ(0, dmirror_evict(&self->dev, ~0ULL, &evicted));
	EXPECT_EQ(PAGES, evicted);
	EXPECT_EQ(0, child_status(killer));
	EXPECT_EQ(256 + SIGKILL, child_status(owner));
	EXPECT_EQ(0, used_pages(&self->dev));
	close(ready[0]);
	close(ready[1]);
}

TEST_HARNESS_MAIN
