// SPDX-License-Identifier: GPL-2.0
/*
 * Device programs race with what a process does to the memory that they work on.
 * Each party writes to words of its own in the same pages and keeps a record,
 * which the memory must agree with.  A device with memory gets a third party
 * that migrates.
 *
 * HMM_RACE_MS: how long each race takes, 1000 without it
 */
#define _GNU_SOURCE
#include "dmirror_test.h"

#define PAGES		32
#define WORDS		64	/* of each party in each page */
#define BLOCK		(WORDS * sizeof(uint64_t))
#define BLOCKS		32	/* that the copier takes in turn */

enum role {
	ADDER,		/* adds 1 to its first word */
	FILLER,		/* writes its words, each time with the next number */
	COPIER,		/* copies the next block to its words and adds them up */
	CPU_ADDER,	/* as ADDER, without a device */
	NR_ROLES,
};

struct party {
	pthread_t thread;
	struct race *race;
	enum role role;
	uint64_t done[PAGES];	/* runs that succeeded */
	bool open[PAGES];	/* one more since then may have done a part */
	int failure;		/* the first result that is not allowed */
	uint64_t wrong;		/* sums of copied blocks */
};

struct race {
	struct dmirror dev;
	struct party parties[NR_ROLES];
	pthread_t migrator;
	size_t page;
	size_t length;
	char *data;		/* PAGES pages; huge if the race is about that */
	char *room;		/* as long; a place to move to */
	uint64_t *blocks;	/* nobody disturbs these */
	uint64_t block_sum[BLOCKS];
	unsigned int allowed;	/* bits: status that the disturbance explains */
	bool lossy;		/* the disturbance takes the data away */
	bool cpu;		/* and lets a CPU access the memory */
	bool evicts;		/* the migrator also evicts */
	bool collapses;		/* nothing keeps the disturbance from a collapse */
	bool stop;
	unsigned int errors;	/* of the disturbing thread */
	unsigned int collapsed;
	uint64_t moved;
};

static uint64_t *words_of(struct race *race, enum role role, unsigned int page)
{
	return (uint64_t *)(race->data + page * race->page) + role * WORDS;
}

static uint64_t *block(struct race *race, uint64_t number)
{
	return race->blocks + number % BLOCKS * WORDS;
}

static int run_one(struct party *party, unsigned int page)
{
	struct race *race = party->race;
	uint64_t *words = words_of(race, party->role, page);
	uint64_t next = party->done[page] + 1, result;
	int ret;

	switch (party->role) {
	case ADDER:
		return dmirror_atomic_add(&race->dev, words, 1, 1, &result);
	case FILLER:
		return dmirror_fill(&race->dev, words, BLOCK, next);
	case COPIER:
		ret = dmirror_copy(&race->dev, words, block(race, next), BLOCK);
		if (ret)
			return ret;
		ret = dmirror_sum(&race->dev, words, BLOCK, &result);
		if (!ret && !race->lossy &&
		    result != race->block_sum[next % BLOCKS])
			party->wrong++;
		return ret;
	default:
		__atomic_fetch_add(words, 1, __ATOMIC_SEQ_CST);
		return 0;
	}
}

static void record(struct party *party, unsigned int page, int ret)
{
	if (!ret) {
		party->open[page] = false;
		__atomic_fetch_add(&party->done[page], 1, __ATOMIC_RELAXED);
	} else if (ret > 0 && party->race->allowed & 1u << ret) {
		party->open[page] = true;
	} else if (!party->failure) {
		party->failure = ret;
	}
}

static void *run_in_turn(void *arg)
{
	struct party *party = arg;
	unsigned int page = party->role;

	while (!__atomic_load_n(&party->race->stop, __ATOMIC_RELAXED) &&
	       !party->failure) {
		page = (page + 1) % PAGES;
		record(party, page, run_one(party, page));
	}
	return NULL;
}

static void *migrate_all_the_time(void *arg)
{
	struct race *race = arg;
	struct hmm_dmirror_migrate result;
	uint64_t evicted;
	unsigned int i;

	for (i = 0; !__atomic_load_n(&race->stop, __ATOMIC_RELAXED); i++) {
		/* What is not mapped at the moment is left, or an error. */
		result.moved = 0;
		dmirror_migrate(&race->dev, race->data, race->length,
				i % 2 ? HMM_DMIRROR_TO_RAM :
					HMM_DMIRROR_TO_DEVICE, &result);
		if (i % 2 == 0)
			__atomic_fetch_add(&race->moved, result.moved,
					   __ATOMIC_RELAXED);
		usleep(2000);
		if (race->evicts && i % 6 == 4)
			dmirror_evict(&race->dev, ~0ULL, &evicted);
	}
	return NULL;
}

/* How long a race goes on for what has not happened yet, in microseconds. */
#define WAIT_US	20000000

static uint64_t runs(struct party *party)
{
	uint64_t sum = 0;
	unsigned int page;

	for (page = 0; page < PAGES; page++)
		sum += __atomic_load_n(&party->done[page], __ATOMIC_RELAXED);
	return sum;
}

/* Wait until each device program has run once more, but not for ever. */
static void let_them_run(struct race *race)
{
	uint64_t before[CPU_ADDER];
	unsigned int role, i;

	for (role = 0; role < CPU_ADDER; role++)
		before[role] = runs(&race->parties[role]);
	for (role = 0, i = 0; role < CPU_ADDER && i < 200; i++) {
		if (runs(&race->parties[role]) == before[role])
			usleep(500);
		else
			role++;
	}
}

#define CHECK(condition) (race->errors += !(condition))

/* Frames that the device should have let go of may be reused for this. */
static void reuse_memory(struct race *race, unsigned int seed)
{
	madvise(race->room, race->length, MADV_DONTNEED);
	fill(race->room, race->length, seed);
	usleep(300);
	CHECK(differences(race->room, race->length, seed) == 0);
}

static void unmap(struct race *race, unsigned int i)
{
	size_t length = i % 2 ? race->length : race->length / 2;

	CHECK(!munmap(race->data, length));
	reuse_memory(race, i);
	CHECK(mmap(race->data, length, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
	      race->data);
	madvise(race->data, length, MADV_NOHUGEPAGE);
}

static void move(struct race *race, unsigned int i)
{
	size_t length = i % 2 ? race->length : race->length / 2;

	CHECK(mremap(race->data, length, length, MREMAP_MAYMOVE | MREMAP_FIXED,
		     race->room) == race->room);
	usleep(300);
	CHECK(mremap(race->room, length, length, MREMAP_MAYMOVE | MREMAP_FIXED,
		     race->data) == race->data);
}

static void protect(struct race *race, unsigned int i)
{
	size_t length = i % 4 < 2 ? race->length : race->page;

	CHECK(!mprotect(race->data, length, i % 2 ? PROT_READ : PROT_NONE));
	usleep(300);
	CHECK(!mprotect(race->data, length, PROT_READ | PROT_WRITE));
}

static uint64_t cpu_sum(struct race *race)
{
	const volatile uint64_t *words = (uint64_t *)race->data;
	uint64_t sum = 0;
	size_t i;

	for (i = 0; i < race->length / sizeof(*words); i++)
		sum += words[i];
	return sum;
}

/* Nobody may write to a child's memory, and its writes are its own. */
static void fork_child(struct race *race, unsigned int i)
{
	pid_t child = fork();

	if (!child) {
		uint64_t sum = cpu_sum(race);

		usleep(300);
		if (sum != cpu_sum(race))
			_exit(1);
		if (i % 2)
			memset(race->data, 0xee, race->length);
		_exit(0);
	}
	CHECK(child > 0);
	let_them_run(race);
	if (child > 0)
		CHECK(child_status(child) == 0);
}

static void drop(struct race *race, unsigned int i)
{
	unsigned int first = i * 7 % PAGES;
	unsigned int nr = 1 + i * 5 % (PAGES - first);

	CHECK(!madvise(race->data + first * race->page, nr * race->page,
		       MADV_DONTNEED));
	if (i % 4 == 0)
		reuse_memory(race, i);
}

static void page_out(struct race *race, unsigned int i)
{
	size_t half = race->length / 2;

	CHECK(!madvise(race->data + i % 2 * half, half, MADV_PAGEOUT));
}

/* What khugepaged does, and then back to small pages. */
static void collapse(struct race *race, unsigned int i)
{
	if (!madvise(race->data, HUGE, MADV_COLLAPSE))
		race->collapsed++;
	let_them_run(race);
	CHECK(!madvise(race->data + race->length, HUGE - race->length,
		       MADV_DONTNEED));
	if (i % 4 == 3)
		page_out(race, i / 4);
}

#define ALLOW(status)	(1u << HMM_DMIRROR_STATUS_##status)

FIXTURE(race)
{
	struct race race;
};

FIXTURE_VARIANT(race)
{
	enum hmm_dmirror_memory memory;
	bool dma;
};

FIXTURE_VARIANT_ADD(race, none)
{
	.memory = NONE,
};

FIXTURE_VARIANT_ADD(race, dma)
{
	.memory = NONE,
	.dma = true,
};

FIXTURE_VARIANT_ADD(race, private)
{
	.memory = PRIVATE,
};

static int make_blocks(struct race *race)
{
	unsigned int i, j;

	race->blocks = map_pages(BLOCKS * BLOCK / race->page);
	if (!race->blocks)
		return -ENOMEM;
	for (i = 0; i < BLOCKS; i++) {
		race->block_sum[i] = 0;
		for (j = 0; j < WORDS; j++) {
			block(race, i)[j] = pattern(100 + i, j);
			race->block_sum[i] += pattern(100 + i, j);
		}
	}
	return 0;
}

FIXTURE_SETUP(race)
{
	struct race *race = &self->race;
	unsigned int role;

	OPEN_KIND_OR_SKIP(return, &race->dev, variant->memory, variant->dma);
	race->page = page_size();
	race->length = PAGES * race->page;
	ASSERT_EQ(0, make_blocks(race));
	race->room = map_pages(PAGES);
	ASSERT_NE(NULL, race->room);

	/* Small pages, where a huge one may come. */
	race->data = map_huge(HUGE);
	ASSERT_NE(NULL, race->data);
	ASSERT_EQ(0, madvise(race->data, HUGE, MADV_NOHUGEPAGE));
	memset(race->data, 0, race->length);
	race->evicts = true;

	for (role = 0; role < NR_ROLES; role++) {
		race->parties[role].race = race;
		race->parties[role].role = role;
	}
}

FIXTURE_TEARDOWN(race)
{
	dmirror_close(&self->race.dev);
}

static unsigned int nr_parties(struct race *race)
{
	return race->cpu ? NR_ROLES : CPU_ADDER;
}

static int start_parties(struct race *race)
{
	unsigned int role;
	int ret = 0;

	for (role = 0; role < nr_parties(race) && !ret; role++)
		ret = pthread_create(&race->parties[role].thread, NULL,
				     run_in_turn, &race->parties[role]);
	if (!ret && race->dev.info.memory != NONE)
		ret = pthread_create(&race->migrator, NULL,
				     migrate_all_the_time, race);
	return ret;
}

static void stop_parties(struct race *race)
{
	unsigned int role;

	__atomic_store_n(&race->stop, true, __ATOMIC_RELAXED);
	for (role = 0; role < nr_parties(race); role++)
		pthread_join(race->parties[role].thread, NULL);
	if (race->dev.info.memory != NONE)
		pthread_join(race->migrator, NULL);
}

/* What a word of a party is after @done runs. */
static uint64_t word_after(struct party *party, uint64_t done, unsigned int i)
{
	switch (party->role) {
	case FILLER:
		return done;
	case COPIER:
		return done ? block(party->race, done)[i] : 0;
	default:
		return i ? 0 : done;
	}
}

/* Could the word be so?  After a loss it is empty, or younger than the loss. */
static bool word_possible(struct party *party, unsigned int page,
			  unsigned int i, uint64_t word)
{
	uint64_t done = party->done[page], nr;

	/* A run that was stopped has done a part; an addition has none. */
	if (party->open[page] && party->role != ADDER &&
	    word == word_after(party, done + 1, i))
		return true;
	if (!party->race->lossy)
		return word == word_after(party, done, i);

	if (party->role != COPIER)
		return word <= word_after(party, done, i);
	for (nr = 0; nr <= done && nr <= BLOCKS; nr++)
		if (word == word_after(party, nr, i))
			return true;
	return false;
}

/* Words that nobody can have written. */
static uint64_t impossible_words(struct race *race)
{
	unsigned int role, page, i;
	uint64_t nr = 0;

	for (page = 0; page < PAGES; page++) {
		for (role = 0; role < nr_parties(race); role++)
			for (i = 0; i < WORDS; i++)
				nr += !word_possible(&race->parties[role], page,
						     i, words_of(race, role,
								 page)[i]);
		nr += others(words_of(race, NR_ROLES, page),
			     race->page - NR_ROLES * BLOCK, 0);
	}
	return nr;
}

/* Afterwards each page works as if nothing had been, with the CPU's data. */
static int run_again(struct race *race)
{
	unsigned int role, page;
	int ret = 0;

	memset(race->data, 0, race->length);
	race->lossy = false;
	race->allowed = 0;
	for (role = 0; role < nr_parties(race); role++) {
		struct party *party = &race->parties[role];

		memset(party->done, 0, sizeof(party->done));
		memset(party->open, 0, sizeof(party->open));
		for (page = 0; page < PAGES && !ret; page++) {
			ret = run_one(party, page);
			record(party, page, ret);
		}
	}
	return ret;
}

/* Did each do something? */
static bool raced_enough(struct race *race)
{
	unsigned int role;

	for (role = 0; role < nr_parties(race); role++)
		if (!runs(&race->parties[role]) &&
		    !__atomic_load_n(&race->parties[role].failure, __ATOMIC_RELAXED))
			return false;
	return (race->collapsed || !race->collapses) &&
	       (race->dev.info.memory == NONE ||
		__atomic_load_n(&race->moved, __ATOMIC_RELAXED));
}

/* Let the parties run while @disturb is called again and again. */
static void run_race(struct __test_metadata *_metadata, struct race *race,
		     void (*disturb)(struct race *race, unsigned int i))
{
	uint64_t end = now_us() + race_ms() * 1000ull;
	unsigned int role, i;

	ASSERT_EQ(0, start_parties(race));
	for (i = 0; now_us() < end || !raced_enough(race); i++) {
		if (now_us() > end + WAIT_US)
			break;
		disturb(race, i);
		let_them_run(race);
	}
	stop_parties(race);

	EXPECT_EQ(0, race->errors);
	EXPECT_EQ(0, impossible_words(race));
	for (role = 0; role < nr_parties(race); role++) {
		struct party *party = &race->parties[role];

		EXPECT_EQ(0, party->failure) {
			TH_LOG("party %u: %s", role,
			       dmirror_strerror(party->failure));
		}
		EXPECT_EQ(0, party->wrong);
		EXPECT_LT(0, runs(party));
	}
	TH_LOG("%u disturbances, %llu, %llu and %llu runs, %llu pages moved", i,
	       (unsigned long long)runs(&race->parties[ADDER]),
	       (unsigned long long)runs(&race->parties[FILLER]),
	       (unsigned long long)runs(&race->parties[COPIER]),
	       (unsigned long long)race->moved);
	if (race->dev.info.memory != NONE)
		EXPECT_LT(0, race->moved);

	EXPECT_EQ(0, run_again(race));
	EXPECT_EQ(0, impossible_words(race));
}

TEST_F(race, munmap_and_mmap)
{
	self->race.allowed = ALLOW(NO_ACCESS);
	self->race.lossy = true;
	/* The unmodified kernel frees the anon_vma of what is being evicted. */
	self->race.evicts = !getenv("HMM_UNMODIFIED_KERNEL");
	run_race(_metadata, &self->race, unmap);
}

TEST_F(race, mremap_and_back)
{
	self->race.allowed = ALLOW(NO_ACCESS);
	run_race(_metadata, &self->race, move);
}

TEST_F(race, mprotect)
{
	self->race.allowed = ALLOW(NO_ACCESS) | ALLOW(READ_ONLY);
	run_race(_metadata, &self->race, protect);
}

TEST_F(race, fork)
{
	self->race.cpu = true;
	run_race(_metadata, &self->race, fork_child);
}

TEST_F(race, madvise_dontneed)
{
	self->race.lossy = true;
	self->race.cpu = true;
	run_race(_metadata, &self->race, drop);
}

/* The kernel moves what is in RAM, too. */
static void compact(struct race *race, unsigned int i)
{
	CHECK(!write_number("/proc/sys/vm/compact_memory", 1));
	if (i % 4 == 3)
		page_out(race, i / 4);
}

TEST_F(race, compaction)
{
	self->race.cpu = true;
	run_race(_metadata, &self->race, compact);
}

TEST_F(race, page_out)
{
	self->race.cpu = true;
	run_race(_metadata, &self->race, page_out);
}

TEST_F(race, collapse)
{
	self->race.cpu = true;
	ASSERT_EQ(0, madvise(self->race.data, HUGE, MADV_HUGEPAGE));
	/* With some of its pages on a device a range need not collapse. */
	self->race.collapses = variant->memory == NONE;
	run_race(_metadata, &self->race, collapse);
	if (self->race.collapses)
		EXPECT_LT(0, self->race.collapsed);
}

TEST_HARNESS_MAIN
