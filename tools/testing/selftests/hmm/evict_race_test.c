// SPDX-License-Identifier: GPL-2.0
/*
 * One thread moves memory to the device and evicts all that lies there, again and
 * again.  Meanwhile the process uses the memory in every way that there is, and keeps
 * a record of what must be in each page.
 *
 * HMM_RACE_MS: twice as long as each race takes, 1000 without it
 */
#define _GNU_SOURCE
#include <sys/uio.h>

#include "memory.h"

#define DISK		"/disk"
#define KSM		"/sys/kernel/mm/ksm/"

#define SMALL_PAGES	128
#define HUGE_AREAS	2
/* Pages that a step of a race concerns, at most. */
#define PART		8

/* Pages that somebody holds stay: do not wait long for them. */
#define EVICT_MS	200
/* So long, at most, the memory is left where it is. */
#define LEFT_US		2000
/* Slow or not, each party has to get on. */
#define LEAST_ROUNDS	3
#define WAIT_US		20000000

/* What a page has: a pattern, or the same word everywhere. */
struct content {
	uint64_t value;
	uint64_t added;		/* to the first word */
	bool same;
};

struct race {
	struct dmirror dev;
	char *data;
	size_t page;
	size_t length;
	size_t nr;		/* pages */
	bool huge;
	struct content *content;	/* of each page */
	unsigned int seed;
	unsigned int ram_us;	/* how long it is left in RAM at most */
	unsigned int steps;
	unsigned int errors;	/* what went wrong in the process */
	long merged;		/* the most pages that KSM had merged */
	char *room;		/* a place to move to */
	int file;		/* for direct I/O, or -1 */
	int pipes[2];

	pthread_t evictor;
	bool stop;
	unsigned int rounds;
	uint64_t moved;
	uint64_t evicted;
	int failure;		/* the evictor's first one */
};

#define CHECK(condition) do { \
	if (!(condition) && !race->errors++) \
		fprintf(stderr, "# line %d, step %u: %s: not %s\n", __LINE__, \
			race->steps, strerror(errno), #condition); \
} while (0)

static unsigned int random_below(struct race *race, unsigned int limit)
{
	return rand_r(&race->seed) % limit;
}

static uint64_t word_of(const struct content *content, size_t i)
{
	uint64_t word = content->same ? content->value :
					pattern(content->value, i);

	return i ? word : word + content->added;
}

static char *page_of(const struct race *race, size_t page)
{
	return race->data + page * race->page;
}

/* Has the memory at @at what belongs in page @page? */
static bool is_page(const struct race *race, const void *at, size_t page)
{
	const volatile uint64_t *words = at;
	size_t i;

	for (i = 0; i < race->page / sizeof(*words); i++)
		if (words[i] != word_of(&race->content[page], i))
			return false;
	return true;
}

static bool page_is_right(const struct race *race, size_t page)
{
	return is_page(race, page_of(race, page), page);
}

static size_t wrong_pages(const struct race *race)
{
	size_t page, wrong = 0;

	for (page = 0; page < race->nr; page++)
		wrong += !page_is_right(race, page);
	return wrong;
}

/* With the CPU, something new. */
static void write_page(struct race *race, size_t page)
{
	race->content[page] = (struct content) {
		.value = race->content[page].value + race->steps + 1,
	};
	fill(page_of(race, page), race->page, race->content[page].value);
}

static void set_same(struct race *race, size_t first, size_t nr, uint64_t word)
{
	for (; nr; nr--)
		race->content[first++] = (struct content) {
			.value = word,
			.same = true,
		};
}

/* Some pages in a row: returns the first one. */
static size_t some_pages(struct race *race, size_t *nr)
{
	*nr = 1 + random_below(race, PART);
	return random_below(race, race->nr - *nr + 1);
}

/* What other threads do not change is what it was. */
static void *evict_all_the_time(void *arg)
{
	struct race *race = arg;
	struct hmm_dmirror_migrate result;
	struct hmm_dmirror_evict evict;
	unsigned int seed = 1;
	size_t at;
	int ret;

	while (!__atomic_load_n(&race->stop, __ATOMIC_RELAXED)) {
		ret = migrate(&race->dev, race->data, race->length,
			      HMM_DMIRROR_TO_DEVICE, &result);
		if (ret) {
			race->failure = ret;
			break;
		}
		race->moved += result.moved + result.filled;
		/* Let the others find it there, and then in RAM. */
		usleep(rand_r(&seed) % LEFT_US);

		evict = (struct hmm_dmirror_evict) {
			.nr_pages = ~0ULL,
			.timeout_ms = EVICT_MS,
		};
		ret = dmirror_evict_as(&race->dev, &evict);
		if (ret && ret != -ETIME) {
			race->failure = ret;
			break;
		}
		race->evicted += evict.evicted;
		/* What was split is to move as one again. */
		for (at = 0; race->huge && race->rounds % 2 && at < race->length;
		     at += HUGE)
			madvise(race->data + at, HUGE, MADV_COLLAPSE);
		usleep(rand_r(&seed) % race->ram_us);
		__atomic_fetch_add(&race->rounds, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

FIXTURE(evict_race)
{
	struct race race;
};

FIXTURE_VARIANT(evict_race)
{
	enum hmm_dmirror_memory memory;
	bool huge;
};

FIXTURE_VARIANT_ADD(evict_race, private)
{
	.memory = PRIVATE,
};

FIXTURE_VARIANT_ADD(evict_race, private_huge)
{
	.memory = PRIVATE,
	.huge = true,
};

FIXTURE_VARIANT_ADD(evict_race, cdm)
{
	.memory = CDM,
};

FIXTURE_VARIANT_ADD(evict_race, cdm_huge)
{
	.memory = CDM,
	.huge = true,
};

FIXTURE_SETUP(evict_race)
{
	struct race *race = &self->race;
	size_t page;

	if (getenv("HMM_UNMODIFIED_KERNEL"))
		SKIP(return, "the unmodified kernel uses freed memory here");
	OPEN_OR_SKIP(return, &race->dev, variant->memory, 0);
	ASSERT_EQ(0, race->dev.info.memory_used);
	race->huge = variant->huge;
	race->page = page_size();
	race->length = race->huge ? HUGE_AREAS * HUGE :
				    SMALL_PAGES * race->page;
	race->nr = race->length / race->page;
	race->file = -1;
	race->ram_us = LEFT_US;
	race->content = calloc(race->nr, sizeof(*race->content));
	ASSERT_NE(NULL, race->content);
	race->data = map_alone(race->length, race->huge);
	ASSERT_NE(NULL, race->data);
	race->room = reserve(race->length + race->page);
	ASSERT_NE(NULL, race->room);
	for (page = 0; page < race->nr; page++)
		write_page(race, page);
}

FIXTURE_TEARDOWN(evict_race)
{
	dmirror_close(&self->race.dev);
}

/* All moves to the device once, huge pages as such. */
static void expect_moves(struct __test_metadata *_metadata, struct race *race)
{
	struct hmm_dmirror_migrate result;
	struct hmm_dmirror_info info;

	if (race->huge)
		ASSERT_TRUE(make_huge(race->data, race->length));
	ASSERT_EQ(0, migrate(&race->dev, race->data, race->length,
			     HMM_DMIRROR_TO_DEVICE, &result));
	EXPECT_EQ(race->nr, result.moved);
	ASSERT_EQ(0, dmirror_info(&race->dev, &info));
	EXPECT_EQ(race->length, info.memory_used);
	EXPECT_EQ(race->huge ? race->length : 0, info.memory_huge);
}

static bool raced_enough(struct race *race)
{
	return race->steps >= LEAST_ROUNDS &&
	       __atomic_load_n(&race->rounds, __ATOMIC_RELAXED) >= LEAST_ROUNDS &&
	       __atomic_load_n(&race->evicted, __ATOMIC_RELAXED);
}

static void run_race(struct __test_metadata *_metadata, struct race *race,
		     void (*step)(struct race *race))
{
	uint64_t start = now_us(), end = start + race_ms() * 500ull;

	expect_moves(_metadata, race);
	ASSERT_EQ(0, pthread_create(&race->evictor, NULL, evict_all_the_time,
				    race));
	do {
		step(race);
		race->steps++;
	} while (now_us() < end ||
		 (!raced_enough(race) && now_us() < start + WAIT_US));
	__atomic_store_n(&race->stop, true, __ATOMIC_RELAXED);
	ASSERT_EQ(0, pthread_join(race->evictor, NULL));

	TH_LOG("%u steps; %u rounds, %llu pages moved in, %llu evicted",
	       race->steps, race->rounds, (unsigned long long)race->moved,
	       (unsigned long long)race->evicted);
	EXPECT_LE(LEAST_ROUNDS, race->steps);
	EXPECT_LE(LEAST_ROUNDS, race->rounds);
	EXPECT_LT(0, race->moved);
	EXPECT_LT(0, race->evicted);
	EXPECT_EQ(0, race->failure) {
		TH_LOG("the evictor: %s", dmirror_strerror(race->failure));
	}
	EXPECT_EQ(0, race->errors);
	EXPECT_EQ(0, wrong_pages(race));

	/* A file's last users may let go of it some time after their process. */
	ASSERT_EQ(0, munmap(race->data, race->length));
	wait_used(&race->dev, 0, WAIT_US);
	EXPECT_EQ(0, memory_used(&race->dev));
}

static void use_by_cpu(struct race *race)
{
	size_t page = random_below(race, race->nr);

	CHECK(page_is_right(race, page));
	if (race->steps % 2)
		write_page(race, page);
	CHECK(page_is_right(race, page));
}

TEST_F(evict_race, cpu)
{
	run_race(_metadata, &self->race, use_by_cpu);
}

/* The device's sum of some pages is that of the record. */
static bool device_sum_is_right(struct race *race, size_t first, size_t nr)
{
	uint64_t sum, expected = 0;
	size_t page, i;

	for (page = first; page < first + nr; page++)
		for (i = 0; i < race->page / sizeof(sum); i++)
			expected += word_of(&race->content[page], i);
	return !dmirror_sum(&race->dev, page_of(race, first), nr * race->page,
			    &sum) && sum == expected;
}

static void use_by_device(struct race *race)
{
	struct content *content = race->content;
	size_t nr, first = some_pages(race, &nr), from;
	uint64_t value;

	switch (race->steps % 4) {
	case 0:
		CHECK(!dmirror_fill(&race->dev, page_of(race, first),
				    nr * race->page, race->steps));
		set_same(race, first, nr, race->steps);
		break;
	case 1:
		content[first].added += 3;
		CHECK(!dmirror_atomic_add(&race->dev,
					  (uint64_t *)page_of(race, first), 1, 3,
					  &value));
		CHECK(value == word_of(&content[first], 0));
		break;
	case 2:
		from = random_below(race, race->nr);
		CHECK(!dmirror_copy(&race->dev, page_of(race, first),
				    page_of(race, from), race->page));
		content[first] = content[from];
		break;
	case 3:
		CHECK(page_is_right(race, first));
		break;
	}
	CHECK(device_sum_is_right(race, first, nr));
}

TEST_F(evict_race, device_programs)
{
	run_race(_metadata, &self->race, use_by_device);
}

/* What a child sees is its parent's, what it writes its own. */
static int child_with_copy(struct race *race)
{
	size_t page;
	int i;

	for (i = 0; i < 4 * PART; i++) {
		page = random_below(race, race->nr);
		if (!page_is_right(race, page))
			return 1;
		if (i % 4)
			continue;
		write_page(race, page);
		if (!page_is_right(race, page))
			return 2;
	}
	return 0;
}

static void fork_and_write(struct race *race)
{
	pid_t child = fork();

	if (!child)
		_exit(child_with_copy(race));
	CHECK(child > 0);
	write_page(race, random_below(race, race->nr));
	if (child > 0)
		CHECK(child_status(child) == 0);
	CHECK(page_is_right(race, random_below(race, race->nr)));
}

TEST_F(evict_race, fork)
{
	run_race(_metadata, &self->race, fork_and_write);
}

static void take_away(struct race *race)
{
	size_t nr, first = some_pages(race, &nr), length = nr * race->page;
	char *start = page_of(race, first);

	if (race->steps % 2) {
		CHECK(!madvise(start, length, MADV_DONTNEED));
	} else {
		CHECK(!munmap(start, length));
		CHECK(mmap(start, length, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
			   MAP_FIXED, -1, 0) == start);
		madvise(start, length,
			race->huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	}
	set_same(race, first, nr, 0);
	CHECK(page_is_right(race, first));
	write_page(race, random_below(race, race->nr));
	CHECK(page_is_right(race, random_below(race, race->nr)));
}

TEST_F(evict_race, munmap_and_dontneed)
{
	run_race(_metadata, &self->race, take_away);
}

/* Moves memory of its own, which the test's thread evicts, until it is killed. */
static int child_with_memory(struct race *race, int ready)
{
	size_t length = race->huge ? HUGE : PART * race->page;
	struct dmirror own;
	char *data;
	int ret = 0;
	uint64_t i;

	data = map_alone(length, race->huge);
	if (!data || dmirror_open(&own, race->dev.number))
		return 1;
	for (i = 0; !ret; i++) {
		fill(data, race->page, i);
		ret = dmirror_migrate(&own, data, length, HMM_DMIRROR_TO_DEVICE,
				      NULL);
		if (!i && write(ready, "", 1) != 1)
			return 2;
		if (!ret)
			ret = dmirror_read(&own, data, race->page);
		if (differences(data, race->page, i))
			return 3;
	}
	return 4;
}

static void kill_child(struct race *race)
{
	int ready[2];
	char byte;
	pid_t child;

	CHECK(!pipe(ready));
	child = fork();
	if (!child)
		_exit(child_with_memory(race, ready[1]));
	close(ready[1]);
	/* It tells when it has had memory on the device. */
	CHECK(read(ready[0], &byte, 1) == 1);
	close(ready[0]);
	CHECK(child > 0);
	if (child < 0)
		return;
	usleep(random_below(race, 5000));
	CHECK(!kill(child, SIGKILL));
	CHECK(child_status(child) == 256 + SIGKILL);
	use_by_cpu(race);
}

TEST_F(evict_race, exit)
{
	long users = module_users();

	run_race(_metadata, &self->race, kill_child);
	EXPECT_TRUE(wait_module_users(users));
}

/* How many pages of this process are merged. */
static long merged_pages(void)
{
	return read_number("/proc/self/ksm_merging_pages", NULL);
}

/* One of few words, so that many pages are the same. */
static void write_same(struct race *race, size_t page)
{
	volatile uint64_t *words = (uint64_t *)page_of(race, page);
	uint64_t word = 1 + random_below(race, 2);
	size_t i;

	for (i = 0; i < race->page / sizeof(*words); i++)
		words[i] = word;
	set_same(race, page, 1, word);
}

/* A write takes a page out of those that are merged. */
static void merge(struct race *race)
{
	uint64_t end = now_us() + WAIT_US;
	size_t page = random_below(race, race->nr);
	long merged;

	if (!race->steps)
		CHECK(!madvise(race->data, race->length, MADV_MERGEABLE));
	do {
		/* It does not take long, but may do so on a slow machine. */
		usleep(2000);
		merged = merged_pages();
		if (merged > race->merged)
			race->merged = merged;
	} while (!race->merged && now_us() < end);
	CHECK(page_is_right(race, page));
	write_same(race, page);
	CHECK(page_is_right(race, random_below(race, race->nr)));
}

TEST_F(evict_race, ksm)
{
	struct race *race = &self->race;
	long run = read_number(KSM "run", NULL);
	long pages = read_number(KSM "pages_to_scan", NULL);
	size_t page;

	if (run < 0 || merged_pages() < 0)
		SKIP(return, "the kernel has no KSM");
	for (page = 0; page < race->nr; page++)
		write_same(race, page);
	/* KSM merges what it meets in RAM. */
	race->ram_us = 100 * LEFT_US;
	ASSERT_EQ(0, write_text(KSM "pages_to_scan", "2000"));
	ASSERT_EQ(0, write_text(KSM "run", "1"));
	run_race(_metadata, race, merge);
	write_number(KSM "run", run);
	write_number(KSM "pages_to_scan", pages);
	TH_LOG("%ld pages merged at most", race->merged);
	EXPECT_LT(0, race->merged);
}

/* A pipe holds some pages for a while. */
static void hold_in_pipe(struct race *race, size_t first, size_t nr, char *buffer)
{
	struct iovec vec = {
		.iov_base = page_of(race, first),
		.iov_len = nr * race->page,
	};
	ssize_t held = vmsplice(race->pipes[1], &vec, 1, 0);
	size_t page;

	CHECK(held == (ssize_t)vec.iov_len);
	usleep(random_below(race, 5000));
	if (held <= 0)
		return;
	CHECK(read(race->pipes[0], buffer, held) == held);
	for (page = 0; page < held / race->page; page++)
		CHECK(is_page(race, buffer + page * race->page, first + page));
}

/* Another process would hold them for the time of a copy. */
static void copy_as_debugger(struct race *race, size_t first, size_t nr,
			     char *buffer)
{
	struct iovec theirs = {
		.iov_base = page_of(race, first),
		.iov_len = nr * race->page,
	}, ours = {
		.iov_base = buffer,
		.iov_len = nr * race->page,
	};
	ssize_t length = ours.iov_len;
	size_t page;

	CHECK(process_vm_readv(getpid(), &ours, 1, &theirs, 1, 0) == length);
	for (page = 0; page < nr; page++) {
		CHECK(is_page(race, buffer + page * race->page, first + page));
		race->content[first + page] = (struct content) {
			.value = race->steps,
		};
		fill(buffer + page * race->page, race->page, race->steps);
	}
	CHECK(process_vm_writev(getpid(), &ours, 1, &theirs, 1, 0) == length);
}

/* The disk reads from some pages and writes to others. */
static void direct_io(struct race *race, size_t first, size_t nr)
{
	ssize_t length = nr * race->page;
	size_t to = random_below(race, race->nr - nr + 1);
	struct content content[PART];

	CHECK(pwrite(race->file, page_of(race, first), length, 0) == length);
	CHECK(pread(race->file, page_of(race, to), length, 0) == length);
	memcpy(content, race->content + first, nr * sizeof(*content));
	memcpy(race->content + to, content, nr * sizeof(*content));
	CHECK(page_is_right(race, to));
}

static void hold(struct race *race)
{
	static char buffer[PART * 4096];
	size_t nr, first = some_pages(race, &nr);
	unsigned int kind = race->steps % (race->file < 0 ? 2 : 3);

	if (kind == 0)
		hold_in_pipe(race, first, nr, buffer);
	else if (kind == 1)
		copy_as_debugger(race, first, nr, buffer);
	else
		direct_io(race, first, nr);
	write_page(race, random_below(race, race->nr));
	CHECK(page_is_right(race, first));
}

TEST_F(evict_race, held)
{
	struct race *race = &self->race;

	ASSERT_EQ(0, pipe(race->pipes));
	race->file = open(DISK "/hmm_evict_race_test",
			  O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
	if (race->file < 0)
		TH_LOG("no direct I/O: %s", strerror(errno));
	else
		unlink(DISK "/hmm_evict_race_test");
	run_race(_metadata, race, hold);
}

static void protect(struct race *race, size_t first, size_t nr)
{
	char *start = page_of(race, first);
	bool readable = random_below(race, 2);

	CHECK(!mprotect(start, nr * race->page,
			readable ? PROT_READ : PROT_NONE));
	usleep(random_below(race, 1000));
	if (readable)
		CHECK(page_is_right(race, first));
	CHECK(!mprotect(start, nr * race->page, PROT_READ | PROT_WRITE));
}

/* There and back; at times by a distance that no huge page can go. */
static void move(struct race *race, size_t first, size_t nr)
{
	char *start = page_of(race, first);
	char *to = race->room + (start - race->data) +
		   (random_below(race, 2) ? race->page : 0);
	size_t length = nr * race->page;

	CHECK(mremap(start, length, length, MREMAP_MAYMOVE | MREMAP_FIXED,
		     to) == to);
	if (random_below(race, 2))
		CHECK(is_page(race, to, first));
	CHECK(mremap(to, length, length, MREMAP_MAYMOVE | MREMAP_FIXED,
		     start) == start);
}

static void protect_and_move(struct race *race)
{
	size_t nr, first = some_pages(race, &nr);

	/* Now and then a huge page as a whole. */
	if (race->huge && !random_below(race, 4)) {
		nr = HUGE / race->page;
		first = random_below(race, HUGE_AREAS) * nr;
	}
	if (race->steps % 2)
		protect(race, first, nr);
	else
		move(race, first, nr);
	CHECK(page_is_right(race, first));
	write_page(race, first);
	CHECK(page_is_right(race, random_below(race, race->nr)));
}

TEST_F(evict_race, mprotect_and_mremap)
{
	run_race(_metadata, &self->race, protect_and_move);
}

TEST_HARNESS_MAIN
