// SPDX-License-Identifier: GPL-2.0
/*
 * The device fails to copy, refuses or takes long: nothing is lost, nothing
 * half copied is seen, nothing leaks.
 */
#define _GNU_SOURCE
#include <setjmp.h>

#include "dmirror_test.h"

#define PAGES	32

FIXTURE(failure)
{
	struct dmirror dev;
	struct hmm_dmirror_migrate result;
	size_t page;
	size_t length;
	char *data;	/* pattern 1, half of it in each of two page tables */
};

FIXTURE_VARIANT(failure)
{
	enum hmm_dmirror_memory memory;
	enum hmm_dmirror_injection what;
};

FIXTURE_VARIANT_ADD(failure, private_error)
{
	.memory = PRIVATE,
	.what = HMM_DMIRROR_INJECT_COPY_ERROR,
};

FIXTURE_VARIANT_ADD(failure, private_refuse)
{
	.memory = PRIVATE,
	.what = HMM_DMIRROR_INJECT_COPY_REFUSE,
};

FIXTURE_VARIANT_ADD(failure, cdm_error)
{
	.memory = CDM,
	.what = HMM_DMIRROR_INJECT_COPY_ERROR,
};

FIXTURE_VARIANT_ADD(failure, cdm_refuse)
{
	.memory = CDM,
	.what = HMM_DMIRROR_INJECT_COPY_REFUSE,
};

FIXTURE_SETUP(failure)
{
	struct hmm_dmirror_info info;
	char *two;

	OPEN_OR_SKIP(return, &self->dev, variant->memory, 0);
	self->page = page_size();
	self->length = PAGES * self->page;
	two = map_huge(2 * HUGE);
	ASSERT_NE(NULL, two);
	ASSERT_EQ(0, madvise(two, 2 * HUGE, MADV_NOHUGEPAGE));
	self->data = two + HUGE - self->length / 2;
	fill(self->data, self->length, 1);
	ASSERT_EQ(0, dmirror_info(&self->dev, &info));
	ASSERT_EQ(0, info.memory_used);
}

FIXTURE_TEARDOWN(failure)
{
	dmirror_close(&self->dev);
}

#define TO_DEVICE(start, size) \
	migrate(&self->dev, start, size, HMM_DMIRROR_TO_DEVICE, &self->result)
#define TO_RAM(start, size) \
	migrate(&self->dev, start, size, HMM_DMIRROR_TO_RAM, &self->result)
#define INJECT(after, count) \
	dmirror_inject(&self->dev, variant->what, after, count, 0)

#define EXPECT_COUNTS(n_moved, n_filled, n_left) do { \
	EXPECT_EQ(n_moved, self->result.moved); \
	EXPECT_EQ(n_filled, self->result.filled); \
	EXPECT_EQ(n_left, self->result.left); \
} while (0)

#define EXPECT_USED(pages) do { \
	struct hmm_dmirror_info __info; \
	EXPECT_EQ(0, dmirror_info(&self->dev, &__info)); \
	EXPECT_EQ((pages) * self->page, __info.memory_used); \
} while (0)

#define EXPECT_INTACT() do { \
	uint64_t __sum; \
	EXPECT_EQ(0, dmirror_sum(&self->dev, self->data, self->length, \
				 &__sum)); \
	EXPECT_EQ(pattern_sum(self->length, 1), __sum); \
	EXPECT_EQ(0, differences(self->data, self->length, 1)); \
} while (0)

TEST_F(failure, to_device)
{
	ASSERT_EQ(0, INJECT(0, 2));
	EXPECT_EQ(-EIO, TO_DEVICE(self->data, self->length));
	EXPECT_COUNTS(0, 0, PAGES);
	EXPECT_USED(0);
	EXPECT_INTACT();
	ASSERT_EQ(0, TO_DEVICE(self->data, self->length));
	EXPECT_COUNTS(PAGES, 0, 0);
	EXPECT_INTACT();
}

/* Whatever the device had copied when it failed, nothing of it is used. */
TEST_F(failure, at_any_page)
{
	const unsigned int pages[] = { 1, 2, PAGES / 4 + 1, PAGES / 2 - 1, PAGES / 2 };
	size_t half = self->length / 2;
	unsigned int i;

	if (variant->what != HMM_DMIRROR_INJECT_COPY_ERROR)
		return;
	for (i = 0; i < ARRAY_SIZE(pages); i++) {
		ASSERT_EQ(0, dmirror_inject(&self->dev, variant->what, 0, 1,
					    pages[i]));
		EXPECT_EQ(-EIO, TO_DEVICE(self->data, half));
		EXPECT_COUNTS(0, 0, PAGES / 2);
		EXPECT_USED(0);
		EXPECT_INTACT();
		ASSERT_EQ(0, TO_DEVICE(self->data, half));
		EXPECT_COUNTS(PAGES / 2, 0, 0);
		ASSERT_EQ(0, dmirror_inject(&self->dev, variant->what, 0, 1,
					    pages[i]));
		EXPECT_EQ(-EIO, TO_RAM(self->data, half));
		EXPECT_COUNTS(0, 0, PAGES / 2);
		EXPECT_USED(PAGES / 2);
		ASSERT_EQ(0, TO_RAM(self->data, half));
		EXPECT_COUNTS(PAGES / 2, 0, 0);
		EXPECT_INTACT();
	}
}

/* Two page tables are two jobs: each may be the one that fails. */
TEST_F(failure, to_device_in_part)
{
	ASSERT_EQ(0, INJECT(1, 1));
	EXPECT_EQ(-EIO, TO_DEVICE(self->data, self->length));
	EXPECT_COUNTS(PAGES / 2, 0, PAGES / 2);
	EXPECT_USED(PAGES / 2);
	EXPECT_INTACT();
	ASSERT_EQ(0, TO_RAM(self->data, self->length));
	ASSERT_EQ(0, INJECT(0, 1));
	EXPECT_EQ(-EIO, TO_DEVICE(self->data, self->length));
	EXPECT_COUNTS(PAGES / 2, 0, PAGES / 2);
	EXPECT_USED(PAGES / 2);
	EXPECT_INTACT();
}

/* Device memory that could not be cleared is not handed out. */
TEST_F(failure, clear)
{
	uint64_t sum = 1;

	/* Leave something behind in the device memory. */
	ASSERT_EQ(0, TO_DEVICE(self->data, self->length));
	ASSERT_EQ(0, dmirror_fill(&self->dev, self->data, self->length, 99));
	ASSERT_EQ(0, madvise(self->data, self->length, MADV_DONTNEED));
	EXPECT_USED(0);
	ASSERT_EQ(0, INJECT(0, 2));
	EXPECT_EQ(-EIO, TO_DEVICE(self->data, self->length));
	EXPECT_COUNTS(0, 0, PAGES);
	EXPECT_USED(0);
	ASSERT_EQ(0, dmirror_sum(&self->dev, self->data, self->length, &sum));
	EXPECT_EQ(0, sum);
	EXPECT_EQ(0, others(self->data, self->length, 0));
}

/* Content and holes in one step: two jobs, either may fail. */
TEST_F(failure, copy_or_clear)
{
	size_t half = self->length / 2;
	uint64_t sum = 1;
	int after;

	for (after = 0; after < 2; after++) {
		ASSERT_EQ(0, madvise(self->data, self->length, MADV_DONTNEED));
		fill(self->data, half / 2, 1);
		ASSERT_EQ(0, INJECT(after, 1));
		EXPECT_EQ(-EIO, TO_DEVICE(self->data, half));
		EXPECT_EQ(PAGES / 4, self->result.left);
		EXPECT_EQ(PAGES / 4, self->result.moved + self->result.filled);
		EXPECT_USED(PAGES / 4);
		ASSERT_EQ(0, dmirror_sum(&self->dev, self->data, half, &sum));
		EXPECT_EQ(pattern_sum(half / 2, 1), sum);
		EXPECT_EQ(0, differences(self->data, half / 2, 1));
		EXPECT_EQ(0, others(self->data + half / 2, half / 2, 0));
	}
}

TEST_F(failure, to_ram)
{
	ASSERT_EQ(0, TO_DEVICE(self->data, self->length));
	ASSERT_EQ(0, INJECT(0, 2));
	EXPECT_EQ(-EIO, TO_RAM(self->data, self->length));
	EXPECT_COUNTS(0, 0, PAGES);
	EXPECT_USED(PAGES);
	ASSERT_EQ(0, INJECT(1, 1));
	EXPECT_EQ(-EIO, TO_RAM(self->data, self->length));
	EXPECT_COUNTS(PAGES / 2, 0, PAGES / 2);
	EXPECT_USED(PAGES / 2);
	ASSERT_EQ(0, TO_RAM(self->data, self->length));
	EXPECT_COUNTS(PAGES / 2, 0, PAGES / 2);
	EXPECT_USED(0);
	EXPECT_INTACT();
}

TEST_F(failure, eviction)
{
	uint64_t evicted;

	ASSERT_EQ(0, TO_DEVICE(self->data, self->length));
	ASSERT_EQ(0, INJECT(0, 1));
	ASSERT_EQ(0, dmirror_evict(&self->dev, ~0ULL, &evicted));
	EXPECT_EQ(PAGES, evicted);
	EXPECT_USED(0);
	EXPECT_INTACT();
}

static sigjmp_buf after_signal;

static void jump(int signal)
{
	siglongjmp(after_signal, signal);
}

/* Read a word; returns the signal that it raised. */
static int try_read(const volatile uint64_t *word, uint64_t *value)
{
	struct sigaction action = { .sa_handler = jump }, old;
	int signal;

	sigaction(SIGBUS, &action, &old);
	signal = sigsetjmp(after_signal, 1);
	if (!signal)
		*value = *word;
	sigaction(SIGBUS, &old, NULL);
	return signal;
}

TEST_F(failure, cpu_fault)
{
	/* The CPU reads coherent memory where it is: nothing is copied. */
	int expected = variant->memory == PRIVATE ? SIGBUS : 0;
	uint64_t value = 0;

	ASSERT_EQ(0, TO_DEVICE(self->data, self->length));

	/* It comes for more than a page; that page alone may do. */
	ASSERT_EQ(0, INJECT(0, 1));
	EXPECT_EQ(0, try_read((uint64_t *)self->data, &value));
	EXPECT_EQ(pattern(1, 0), value);

	/* It cannot be had: SIGBUS, and it is still there later. */
	ASSERT_EQ(0, TO_DEVICE(self->data, self->length));
	ASSERT_EQ(0, INJECT(0, 1000));
	EXPECT_EQ(expected, try_read((uint64_t *)self->data, &value));
	ASSERT_EQ(0, INJECT(0, 0));
	EXPECT_EQ(0, try_read((uint64_t *)self->data, &value));
	EXPECT_EQ(pattern(1, 0), value);
	EXPECT_INTACT();
}

struct toucher {
	pthread_t thread;
	struct dmirror *dev;	/* NULL: the CPU */
	const char *data;
	size_t length;
	size_t wrong;
};

static void *touch(void *arg)
{
	struct toucher *t = arg;
	uint64_t sum = 0;

	if (!t->dev)
		t->wrong = differences(t->data, t->length, 1);
	else if (dmirror_sum(t->dev, t->data, t->length, &sum) ||
		 sum != pattern_sum(t->length, 1))
		t->wrong = 1;
	return NULL;
}

/* Everybody waits for a slow copy, and sees what was copied. */
TEST_F(failure, slow)
{
	struct toucher touchers[2] = {
		{ .dev = &self->dev }, { .dev = NULL },
	};
	int i;

	ASSERT_EQ(0, dmirror_inject(&self->dev, HMM_DMIRROR_INJECT_COPY_DELAY,
				    0, 6, 200));
	for (i = 0; i < 2; i++) {
		touchers[i].data = self->data;
		touchers[i].length = self->length;
		ASSERT_EQ(0, pthread_create(&touchers[i].thread, NULL, touch,
					    &touchers[i]));
	}
	EXPECT_EQ(0, TO_DEVICE(self->data, self->length));
	EXPECT_EQ(0, TO_RAM(self->data, self->length));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, pthread_join(touchers[i].thread, NULL));
		EXPECT_EQ(0, touchers[i].wrong);
	}
	EXPECT_USED(0);
	EXPECT_INTACT();
}

/* The device runs out of memory for its own work. */
FIXTURE(no_memory)
{
	struct dmirror dev;
	struct hmm_dmirror_migrate result;
	size_t page;
	size_t length;
	char *data;	/* PAGES pages in device memory with pattern 1 */
};

FIXTURE_VARIANT(no_memory)
{
	enum hmm_dmirror_memory memory;
};

FIXTURE_VARIANT_ADD(no_memory, private)
{
	.memory = PRIVATE,
};

FIXTURE_VARIANT_ADD(no_memory, cdm)
{
	.memory = CDM,
};

FIXTURE_SETUP(no_memory)
{
	OPEN_OR_SKIP(return, &self->dev, variant->memory, 0);
	self->page = page_size();
	self->length = PAGES * self->page;
	self->data = map_huge(HUGE);
	ASSERT_NE(NULL, self->data);
	ASSERT_EQ(0, madvise(self->data, HUGE, MADV_NOHUGEPAGE));
	fill(self->data, self->length, 1);
	ASSERT_EQ(0, TO_DEVICE(self->data, self->length));
	EXPECT_COUNTS(PAGES, 0, 0);
}

FIXTURE_TEARDOWN(no_memory)
{
	dmirror_close(&self->dev);
}

/* Of the next jobs of more than @pages pages, @count are not done. */
#define LEAVE_MEMORY(pages, count) \
	dmirror_inject(&self->dev, HMM_DMIRROR_INJECT_COPY_NO_MEMORY, 0, count, \
		       pages)

/* What the CPU needs comes in single pages, sooner or later. */
TEST_F(no_memory, cpu_fault)
{
	ASSERT_EQ(0, LEAVE_MEMORY(1, ~0U));
	EXPECT_EQ(0, differences(self->data, self->length, 1));
	ASSERT_EQ(0, LEAVE_MEMORY(0, 0));
	ASSERT_EQ(0, TO_DEVICE(self->data, self->length));
	ASSERT_EQ(0, LEAVE_MEMORY(0, 5));
	EXPECT_EQ(0, differences(self->data, self->length, 1));
	ASSERT_EQ(0, LEAVE_MEMORY(0, 0));
	EXPECT_USED(variant->memory == PRIVATE ? 0 : PAGES);
	EXPECT_INTACT();
}

static uint64_t cpu_faults(struct dmirror *dev)
{
	struct hmm_dmirror_stats stats;

	return dmirror_stats(dev, &stats) ? 0 : stats.cpu_faults;
}

/* The next copies of more than @pages pages are not done; how many CPU faults before. */
#define BEGIN(pages) ({ \
	EXPECT_EQ(0, TO_DEVICE(self->data, self->length)); \
	EXPECT_EQ(0, LEAVE_MEMORY(pages, 5)); \
	cpu_faults(&self->dev); \
})

/* Also what the kernel needs for a system call, which has no way to say "again". */
TEST_F(no_memory, system_call)
{
	size_t part = self->length / 2;
	char *copy = map_pages(PAGES);
	int pipes[2], pages;
	uint64_t before;

	ASSERT_NE(NULL, copy);
	ASSERT_EQ(0, pipe(pipes));
	for (pages = 0; pages < 2; pages++) {
		before = BEGIN(pages);
		EXPECT_EQ(part, write(pipes[1], self->data, part));
		if (variant->memory == PRIVATE)
			EXPECT_LT(before + 1, cpu_faults(&self->dev));
		EXPECT_EQ(part, read(pipes[0], copy, part));
		EXPECT_EQ(0, differences(copy, part, 1));

		before = BEGIN(pages);
		EXPECT_EQ(part, write(pipes[1], copy, part));
		EXPECT_EQ(part, read(pipes[0], self->data, part));
		if (variant->memory == PRIVATE)
			EXPECT_LT(before + 1, cpu_faults(&self->dev));
		ASSERT_EQ(0, LEAVE_MEMORY(0, 0));
		EXPECT_INTACT();
	}
}

/* Whoever waits for such a page can be killed. */
TEST_F(no_memory, killed)
{
	uint64_t before = cpu_faults(&self->dev);
	int pipes[2], i;
	pid_t child;

	if (variant->memory != PRIVATE)
		return;
	ASSERT_EQ(0, pipe(pipes));
	ASSERT_EQ(0, LEAVE_MEMORY(0, ~0U));
	child = fork();
	ASSERT_LE(0, child);
	/* In the kernel, from where a signal alone does not take it. */
	if (!child)
		_exit(write(pipes[1], self->data, 1) != 1);
	for (i = 0; i < 2000 && cpu_faults(&self->dev) < before + 5; i++)
		usleep(10000);
	EXPECT_LE(before + 5, cpu_faults(&self->dev));
	EXPECT_EQ(0, waitpid(child, NULL, WNOHANG));
	EXPECT_EQ(0, kill(child, SIGKILL));
	EXPECT_EQ(256 + SIGKILL, child_status(child));
	ASSERT_EQ(0, LEAVE_MEMORY(0, 0));
	EXPECT_USED(PAGES);
	EXPECT_INTACT();
}

/* An eviction tries smaller jobs, and again, until its time is over. */
TEST_F(no_memory, eviction)
{
	struct hmm_dmirror_evict evict = {
		.nr_pages = ~0ULL,
		.timeout_ms = 100,
	};
	uint64_t evicted;

	ASSERT_EQ(0, LEAVE_MEMORY(0, ~0U));
	EXPECT_EQ(-ETIME, dmirror_evict_as(&self->dev, &evict));
	EXPECT_EQ(0, evict.evicted);
	EXPECT_LT(0, evict.no_ram);
	EXPECT_USED(PAGES);
	ASSERT_EQ(0, LEAVE_MEMORY(1, ~0U));
	ASSERT_EQ(0, dmirror_evict(&self->dev, PAGES / 2, &evicted));
	EXPECT_EQ(PAGES / 2, evicted);
	ASSERT_EQ(0, LEAVE_MEMORY(0, 5));
	ASSERT_EQ(0, dmirror_evict(&self->dev, ~0ULL, &evicted));
	EXPECT_EQ(PAGES / 2, evicted);
	ASSERT_EQ(0, LEAVE_MEMORY(0, 0));
	EXPECT_USED(0);
	EXPECT_INTACT();
}

/* Who asked for a migration is told, and what was there stays. */
TEST_F(no_memory, migrate)
{
	ASSERT_EQ(0, LEAVE_MEMORY(PAGES - 1, 1));
	EXPECT_EQ(-ENOMEM, TO_RAM(self->data, self->length));
	EXPECT_COUNTS(0, 0, PAGES);
	EXPECT_EQ(PAGES, self->result.no_room);
	EXPECT_USED(PAGES);
	ASSERT_EQ(0, TO_RAM(self->data, self->length));
	EXPECT_COUNTS(PAGES, 0, 0);
	ASSERT_EQ(0, LEAVE_MEMORY(PAGES - 1, 1));
	EXPECT_EQ(-ENOMEM, TO_DEVICE(self->data, self->length));
	EXPECT_COUNTS(0, 0, PAGES);
	EXPECT_EQ(PAGES, self->result.no_room);
	EXPECT_USED(0);
	EXPECT_INTACT();
}

TEST_HARNESS_MAIN
