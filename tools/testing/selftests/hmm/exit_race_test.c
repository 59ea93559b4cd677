// SPDX-License-Identifier: GPL-2.0
/*
 * Device programs and migrations race with the end of the process that started
 * them, or with the close of its device file.  What a child did until then is
 * in memory that it shares with the test.
 *
 * HMM_RACE_MS: how long each race takes, 1000 without it
 */
#define _GNU_SOURCE
#include "dmirror_test.h"

#define PAGES		32
#define WORDS		64	/* of each party in each page */
#define BLOCK		(WORDS * sizeof(uint64_t))
#define WAIT_US		20000000	/* for a child to do something */

enum role { ADDER, FILLER, NR_ROLES };

enum ending { EXITS, KILLED, EXECS, CLOSES };

/* What a child did until it ended, in memory shared with the test. */
struct book {
	uint64_t started[NR_ROLES][PAGES];	/* for FILLER: the last number */
	uint64_t done[NR_ROLES][PAGES];
	int failure;
};

FIXTURE(ending)
{
	struct dmirror dev;	/* the test's own */
	struct dmirror own;	/* the child's */
	size_t page;
	size_t length;
	char *data;		/* shared with the child */
	char *private_data;
	struct book *book;
	long users;
};

FIXTURE_VARIANT(ending)
{
	enum hmm_dmirror_memory memory;
	bool dma;
};

FIXTURE_VARIANT_ADD(ending, none)
{
	.memory = NONE,
};

FIXTURE_VARIANT_ADD(ending, dma)
{
	.memory = NONE,
	.dma = true,
};

FIXTURE_VARIANT_ADD(ending, private)
{
	.memory = PRIVATE,
};

/* The program that a child becomes. */
#define EXEC_ENV	"HMM_EXIT_RACE_TEST_EXEC"

static void __attribute__((constructor)) after_exec(void)
{
	if (getenv(EXEC_ENV))
		_exit(0);
}

FIXTURE_SETUP(ending)
{
	OPEN_KIND_OR_SKIP(return, &self->dev, variant->memory, variant->dma);
	self->page = page_size();
	self->length = PAGES * self->page;
	self->private_data = map_pages(PAGES);
	ASSERT_NE(NULL, self->private_data);
	self->data = mmap(NULL, self->length, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->data);
	self->book = mmap(NULL, sizeof(*self->book), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->book);
	self->users = module_users();
}

FIXTURE_TEARDOWN(ending)
{
	dmirror_close(&self->dev);
}

static uint64_t *shared_words(struct _test_data_ending *self, enum role role,
			      unsigned int page)
{
	return (uint64_t *)(self->data + page * self->page) + role * WORDS;
}

/* Also in memory that goes away with the process. */
static int run_in_child(struct _test_data_ending *self, enum role role,
			unsigned int page)
{
	uint64_t *words = shared_words(self, role, page);
	uint64_t nr = ++self->book->started[role][page], value;
	size_t offset = page * self->page + role * BLOCK;
	int ret;

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (role == ADDER)
		ret = dmirror_atomic_add(&self->own, words, 1, 1, &value);
	else
		ret = dmirror_fill(&self->own, words, BLOCK, nr);
	if (!ret)
		self->book->done[role][page] = nr;
	if (!ret)
		ret = dmirror_fill(&self->own, self->private_data + offset,
				   BLOCK, nr);
	return ret;
}

static void run_until_end(struct _test_data_ending *self, enum role role)
{
	unsigned int page;
	int ret = 0;

	for (page = 0; !ret; page = (page + 1) % PAGES)
		ret = run_in_child(self, role, page);
	if (ret != -EBADF)
		self->book->failure = ret;
}

static void *add_until_end(void *arg)
{
	run_until_end(arg, ADDER);
	return NULL;
}

static void *fill_until_end(void *arg)
{
	run_until_end(arg, FILLER);
	return NULL;
}

static void *migrate_until_end(void *arg)
{
	struct _test_data_ending *self = arg;
	unsigned int i;
	int ret = 0;

	for (i = 0; ret != -EBADF && ret != -EOPNOTSUPP; i++)
		ret = dmirror_migrate(&self->own, self->private_data,
				      self->length, i % 2 ? HMM_DMIRROR_TO_RAM :
							    HMM_DMIRROR_TO_DEVICE,
				      NULL);
	return NULL;
}

/* Does not return. */
static void child_ends(struct _test_data_ending *self, enum ending ending,
		       unsigned int delay_us, bool keep_file, int ready)
{
	void *(*work[])(void *) = {
		add_until_end, fill_until_end, migrate_until_end,
	};
	pthread_t threads[ARRAY_SIZE(work)];
	unsigned int i;

	fill(self->private_data, self->length, 1);
	if (dmirror_open(&self->own, self->dev.number))
		_exit(2);
	for (i = 0; i < ARRAY_SIZE(work); i++)
		if (pthread_create(&threads[i], NULL, work[i], self))
			_exit(3);
	if (write(ready, "", 1) != 1)
		_exit(4);
	usleep(delay_us);
	switch (ending) {
	case EXITS:
		_exit(0);
	case KILLED:
		break;
	case EXECS:
		if (keep_file)
			fcntl(self->own.fd, F_SETFD, 0);
		setenv(EXEC_ENV, "", 1);
		execl("/proc/self/exe", "exit_race_test", NULL);
		_exit(5);
	case CLOSES:
		close(self->own.fd);
		for (i = 0; i < ARRAY_SIZE(work); i++)
			pthread_join(threads[i], NULL);
		_exit(0);
	}
	for (;;)
		pause();
}

/* Words that disagree with the book. */
static unsigned int wrong_words(struct _test_data_ending *self, uint64_t *done)
{
	unsigned int role, page, i, wrong = 0;

	for (role = 0; role < NR_ROLES; role++) {
		for (page = 0; page < PAGES; page++) {
			uint64_t *words = shared_words(self, role, page);

			*done += self->book->done[role][page];
			for (i = 0; i < (role == ADDER ? 1 : WORDS); i++)
				wrong += words[i] < self->book->done[role][page] ||
					 words[i] > self->book->started[role][page];
		}
	}
	return wrong;
}

/* When nothing holds the file any more, nobody writes; nothing stays behind. */
static void run_children(struct __test_metadata *_metadata,
			 struct _test_data_ending *self, enum ending ending)
{
	uint64_t start = now_us(), end = start + race_ms() * 1000ull, done = 0;
	bool killed = ending == KILLED;
	unsigned int seed = 1, i;

	/* Longer and longer, until something was done. */
	for (i = 0; now_us() < (done ? end : start + WAIT_US) || i < 3; i++) {
		unsigned int delay_us = rand_r(&seed) %
					(30000 * (done ? 1 : 1 + i / 3));
		int ready[2];
		char byte;
		pid_t child;

		memset(self->data, 0, self->length);
		memset(self->book, 0, sizeof(*self->book));
		ASSERT_EQ(0, pipe(ready));
		child = fork();
		ASSERT_LE(0, child);
		if (!child)
			child_ends(self, ending, delay_us, i % 2,
				   ready[1]);
		close(ready[1]);
		EXPECT_EQ(1, read(ready[0], &byte, 1));
		close(ready[0]);
		usleep(killed ? delay_us : 0);
		if (killed)
			EXPECT_EQ(0, kill(child, SIGKILL));
		EXPECT_EQ(killed ? 256 + SIGKILL : 0, child_status(child));
		EXPECT_TRUE(wait_module_users(self->users));
		EXPECT_EQ(0, self->book->failure);
		EXPECT_EQ(0, wrong_words(self, &done));
	}
	TH_LOG("%u children, %llu runs", i, (unsigned long long)done);
	EXPECT_LT(0, done);

	wait_used(&self->dev, 0, 10000000);
	EXPECT_EQ(0, memory_used(&self->dev));
}

TEST_F(ending, exit)
{
	run_children(_metadata, self, EXITS);
}

TEST_F(ending, kill)
{
	run_children(_metadata, self, KILLED);
}

TEST_F(ending, exec)
{
	run_children(_metadata, self, EXECS);
}

TEST_F(ending, close)
{
	run_children(_metadata, self, CLOSES);
}

TEST_HARNESS_MAIN
