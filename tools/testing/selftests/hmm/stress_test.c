// SPDX-License-Identifier: GPL-2.0
/*
 * Two devices and the CPU add to words in memory that is moved, evicted, paged
 * out, protected, shared with children or dropped at the same time. No addition
 * may be lost or done twice.
 *
 * HMM_STRESS_ITERATIONS: disturbances per test, 30 without it
 */
#define _GNU_SOURCE
#include "dmirror_test.h"

#define PAGES		16
#define NR_ADDERS	3

/* Adds to the word with its number in each page, in turn. */
struct adder {
	pthread_t thread;
	struct stress *stress;
	struct dmirror *dev;		/* NULL: the CPU */
	unsigned int number;
	uint64_t done[PAGES];		/* additions that succeeded */
	uint64_t stopped;		/* that ended with an allowed status */
	int failure;			/* the first other result */
};

struct stress {
	struct dmirror dev, other;
	struct adder adders[NR_ADDERS];
	size_t page;
	size_t length;
	char *data;
	bool stop;
	unsigned int nr_adders;
	int allowed;			/* status that a disturbance explains */
};

FIXTURE(stress)
{
	struct stress stress;
	unsigned int iterations;
};

FIXTURE_VARIANT(stress)
{
	enum hmm_dmirror_memory memory, other;
};

FIXTURE_VARIANT_ADD(stress, private_and_private)
{
	.memory = PRIVATE,
	.other = PRIVATE,
};

FIXTURE_VARIANT_ADD(stress, private_and_cdm)
{
	.memory = PRIVATE,
	.other = CDM,
};

FIXTURE_VARIANT_ADD(stress, cdm_and_none)
{
	.memory = CDM,
	.other = NONE,
};

static uint64_t *word_of(struct stress *stress, unsigned int page,
			 unsigned int number)
{
	return (uint64_t *)(stress->data + page * stress->page) + number;
}

static void *add(void *arg)
{
	struct adder *adder = arg;
	struct stress *stress = adder->stress;
	unsigned int page = adder->number;
	uint64_t value;
	int ret = 0;

	while (!__atomic_load_n(&stress->stop, __ATOMIC_RELAXED)) {
		uint64_t *word;

		page = (page + 1) % PAGES;
		word = word_of(stress, page, adder->number);
		if (adder->dev)
			ret = dmirror_atomic_add(adder->dev, word, 1, 1,
						 &value);
		else
			__atomic_fetch_add(word, 1, __ATOMIC_SEQ_CST);
		if (!ret) {
			__atomic_fetch_add(&adder->done[page], 1,
					   __ATOMIC_RELAXED);
		} else if (ret == stress->allowed) {
			adder->stopped++;
		} else {
			adder->failure = ret;
			break;
		}
	}
	return NULL;
}

FIXTURE_SETUP(stress)
{
	const char *iterations = getenv("HMM_STRESS_ITERATIONS");
	struct stress *stress = &self->stress;
	unsigned int i;

	OPEN_OR_SKIP(return, &stress->dev, variant->memory, 0);
	OPEN_OR_SKIP(return, &stress->other, variant->other,
		     variant->memory == variant->other ? 1U : 0U);
	self->iterations = iterations ? atoi(iterations) : 30;
	ASSERT_LT(0, self->iterations);
	stress->page = page_size();
	stress->length = PAGES * stress->page;
	stress->data = map_pages(PAGES);
	ASSERT_NE(NULL, stress->data);
	memset(stress->data, 0, stress->length);
	for (i = 0; i < NR_ADDERS; i++) {
		stress->adders[i].stress = stress;
		stress->adders[i].number = i;
	}
	stress->adders[0].dev = &stress->dev;
	stress->adders[1].dev = &stress->other;
}

FIXTURE_TEARDOWN(stress)
{
	dmirror_close(&self->stress.dev);
	dmirror_close(&self->stress.other);
}

static int start(struct stress *stress, unsigned int nr)
{
	unsigned int i;
	int ret = 0;

	stress->nr_adders = nr;
	for (i = 0; i < nr && !ret; i++)
		ret = pthread_create(&stress->adders[i].thread, NULL, add,
				     &stress->adders[i]);
	return ret;
}

/* Additions so far, so that disturbances can wait for the adders. */
static uint64_t additions(struct stress *stress)
{
	uint64_t sum = 0;
	unsigned int i, page;

	for (i = 0; i < stress->nr_adders; i++)
		for (page = 0; page < PAGES; page++)
			sum += __atomic_load_n(&stress->adders[i].done[page],
					       __ATOMIC_RELAXED);
	return sum;
}

static void let_them_add(struct stress *stress)
{
	uint64_t before = additions(stress);
	int i;

	for (i = 0; i < 1000 && additions(stress) < before + 4; i++)
		usleep(100);
}

static void stop(struct stress *stress)
{
	unsigned int i;

	__atomic_store_n(&stress->stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < stress->nr_adders; i++)
		pthread_join(stress->adders[i].thread, NULL);
}

/* All adders worked, and each word is what its adder made it. */
#define EXPECT_ALL_THERE() do { \
	unsigned int __i, __page; \
	for (__i = 0; __i < stress->nr_adders; __i++) { \
		struct adder *__adder = &stress->adders[__i]; \
		EXPECT_EQ(0, __adder->failure) { \
			TH_LOG("adder %u: %s", __i, \
			       dmirror_strerror(__adder->failure)); \
		} \
		for (__page = 0; __page < PAGES; __page++) \
			EXPECT_EQ(__adder->done[__page], \
				  *word_of(stress, __page, __i)); \
	} \
	EXPECT_LT(PAGES, additions(stress)); \
} while (0)

TEST_F(stress, migrate)
{
	struct stress *stress = &self->stress;
	struct hmm_dmirror_migrate result;
	uint64_t moved = 0;
	unsigned int i;

	ASSERT_EQ(0, start(stress, NR_ADDERS));
	for (i = 0; i < self->iterations; i++) {
		EXPECT_EQ(0, migrate(&stress->dev, stress->data,
				     stress->length, HMM_DMIRROR_TO_DEVICE,
				     &result));
		moved += result.moved;
		let_them_add(stress);
		EXPECT_EQ(0, migrate(&stress->dev, stress->data,
				     stress->length, HMM_DMIRROR_TO_RAM,
				     &result));
	}
	stop(stress);
	EXPECT_LT(0, moved);
	EXPECT_ALL_THERE();
}

TEST_F(stress, migrate_to_both)
{
	struct stress *stress = &self->stress;
	struct hmm_dmirror_migrate result;
	unsigned int i;

	ASSERT_EQ(0, start(stress, NR_ADDERS));
	for (i = 0; i < self->iterations; i++) {
		struct dmirror *dev = i % 2 ? &stress->dev : &stress->other;
		int expected = dev->info.memory == NONE ? -EOPNOTSUPP : 0;
		size_t half = stress->length / 2;

		EXPECT_EQ(expected, migrate(dev, stress->data, half,
					    HMM_DMIRROR_TO_DEVICE, &result));
		EXPECT_EQ(expected, migrate(dev, stress->data + half, half,
					    HMM_DMIRROR_TO_RAM, &result));
		let_them_add(stress);
	}
	stop(stress);
	EXPECT_ALL_THERE();
}

TEST_F(stress, evict)
{
	struct stress *stress = &self->stress;
	struct hmm_dmirror_migrate result;
	uint64_t evicted, all = 0;
	unsigned int i;

	ASSERT_EQ(0, start(stress, 2));	/* the CPU would bring it back */
	for (i = 0; i < self->iterations; i++) {
		EXPECT_EQ(0, migrate(&stress->dev, stress->data,
				     stress->length, HMM_DMIRROR_TO_DEVICE,
				     &result));
		let_them_add(stress);
		EXPECT_EQ(0, dmirror_evict(&stress->dev, ~0ULL, &evicted));
		all += evicted;
	}
	stop(stress);
	EXPECT_LT(0, all);
	EXPECT_ALL_THERE();
}

TEST_F(stress, mprotect)
{
	struct stress *stress = &self->stress;
	struct hmm_dmirror_migrate result;
	unsigned int i;

	stress->allowed = HMM_DMIRROR_STATUS_READ_ONLY;
	ASSERT_EQ(0, start(stress, 2));	/* the CPU would get a signal */
	for (i = 0; i < self->iterations; i++) {
		if (i % 4 == 0)
			EXPECT_EQ(0, migrate(&stress->dev, stress->data,
					     stress->length,
					     HMM_DMIRROR_TO_DEVICE, &result));
		EXPECT_EQ(0, mprotect(stress->data, stress->length,
				      PROT_READ));
		usleep(500);
		EXPECT_EQ(0, mprotect(stress->data, stress->length,
				      PROT_READ | PROT_WRITE));
		let_them_add(stress);
	}
	stop(stress);
	EXPECT_ALL_THERE();
}

TEST_F(stress, page_out)
{
	struct stress *stress = &self->stress;
	struct hmm_dmirror_migrate result;
	unsigned int i;

	ASSERT_EQ(0, start(stress, NR_ADDERS));
	for (i = 0; i < self->iterations; i++) {
		EXPECT_EQ(0, madvise(stress->data, stress->length,
				     MADV_PAGEOUT));
		let_them_add(stress);
		if (i % 8 == 7)
			EXPECT_EQ(0, migrate(&stress->dev, stress->data,
					     stress->length,
					     HMM_DMIRROR_TO_DEVICE, &result));
	}
	stop(stress);
	EXPECT_ALL_THERE();
}

TEST_F(stress, fork)
{
	struct stress *stress = &self->stress;
	struct hmm_dmirror_migrate result;
	unsigned int i, page;
	pid_t child;

	ASSERT_EQ(0, start(stress, NR_ADDERS));
	for (i = 0; i < self->iterations; i++) {
		if (i % 4 == 0)
			EXPECT_EQ(0, migrate(&stress->dev, stress->data,
					     stress->length,
					     HMM_DMIRROR_TO_DEVICE, &result));
		child = fork();
		ASSERT_LE(0, child);
		if (!child) {
			uint64_t word = *word_of(stress, 0, 0);

			/* Nobody adds to the child's memory. */
			for (page = 0; page < PAGES; page++)
				*word_of(stress, page, 3) = page;
			_exit(word != *word_of(stress, 0, 0));
		}
		let_them_add(stress);
		EXPECT_EQ(0, child_status(child));
	}
	stop(stress);
	EXPECT_ALL_THERE();
	for (page = 0; page < PAGES; page++)
		EXPECT_EQ(0, *word_of(stress, page, 3));
}

/* What is dropped is lost; but nothing else appears, and it goes on after. */
TEST_F(stress, madvise_dontneed)
{
	struct stress *stress = &self->stress;
	struct hmm_dmirror_migrate result;
	unsigned int i, page;

	ASSERT_EQ(0, start(stress, NR_ADDERS));
	for (i = 0; i < self->iterations; i++) {
		if (i % 2)
			EXPECT_EQ(0, migrate(&stress->dev, stress->data,
					     stress->length,
					     HMM_DMIRROR_TO_DEVICE, &result));
		EXPECT_EQ(0, madvise(stress->data, stress->length,
				     MADV_DONTNEED));
		let_them_add(stress);
	}
	stop(stress);
	for (i = 0; i < NR_ADDERS; i++) {
		EXPECT_EQ(0, stress->adders[i].failure);
		for (page = 0; page < PAGES; page++)
			EXPECT_GE(stress->adders[i].done[page],
				  *word_of(stress, page, i));
	}
	for (page = 0; page < PAGES; page++)
		EXPECT_EQ(0, others(word_of(stress, page, NR_ADDERS),
				    stress->page - 8 * NR_ADDERS, 0));
}

TEST_F(stress, munmap)
{
	struct stress *stress = &self->stress;
	struct hmm_dmirror_migrate result;
	unsigned int i;
	uint64_t sum = 1;

	stress->allowed = HMM_DMIRROR_STATUS_NO_ACCESS;
	ASSERT_EQ(0, start(stress, 2));
	for (i = 0; i < self->iterations; i++) {
		EXPECT_EQ(0, munmap(stress->data, stress->length));
		usleep(300);
		EXPECT_EQ(stress->data,
			  mmap(stress->data, stress->length,
			       PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
			       0));
		EXPECT_EQ(0, migrate(&stress->dev, stress->data,
				     stress->length, HMM_DMIRROR_TO_DEVICE,
				     &result));
		let_them_add(stress);
	}
	stop(stress);
	EXPECT_EQ(0, stress->adders[0].failure);
	EXPECT_EQ(0, stress->adders[1].failure);
	EXPECT_EQ(0, munmap(stress->data, stress->length));
	EXPECT_EQ(0, mapped(&stress->dev, stress->data, stress->length,
			    MAPPED));
	EXPECT_EQ(HMM_DMIRROR_STATUS_NO_ACCESS,
		  dmirror_sum(&stress->dev, stress->data, stress->length,
			      &sum));
}

FIXTURE(split)
{
	struct dmirror dev;
	char *data;
	unsigned int iterations;
	bool stop;
	char old_64k[16], old_2m[16];	/* settings to restore */
};

FIXTURE_VARIANT(split)
{
	enum hmm_dmirror_memory memory;
};

FIXTURE_VARIANT_ADD(split, private)
{
	.memory = PRIVATE,
};

FIXTURE_VARIANT_ADD(split, cdm)
{
	.memory = CDM,
};

static bool set_thp(const char *path, const char *value)
{
	int file = open(path, O_WRONLY | O_CLOEXEC);
	bool written = file >= 0 &&
		       write(file, value, strlen(value)) == strlen(value);

	if (file >= 0)
		close(file);
	return written;
}

/* The chosen one in "always inherit [madvise] never". */
static bool get_thp(const char *path, char value[16])
{
	FILE *file = fopen(path, "r");
	bool found = file && fscanf(file, "%*[^[][%15[a-z]", value) == 1;

	if (file && !found) {
		rewind(file);
		found = fscanf(file, "[%15[a-z]", value) == 1;
	}
	if (file)
		fclose(file);
	return found;
}

FIXTURE_SETUP(split)
{
	const char *iterations = getenv("HMM_STRESS_ITERATIONS");

	OPEN_OR_SKIP(return, &self->dev, variant->memory, 0);
	self->iterations = iterations ? atoi(iterations) : 30;
	if (!get_thp(THP_64K, self->old_64k) || !get_thp(THP_2M, self->old_2m))
		SKIP(return, "the kernel has no huge pages of 64 KiB");
	ASSERT_TRUE(set_thp(THP_64K, "madvise"));
	ASSERT_TRUE(set_thp(THP_2M, "never"));
	self->data = map_huge(HUGE);
	ASSERT_NE(NULL, self->data);
}

FIXTURE_TEARDOWN(split)
{
	set_thp(THP_64K, self->old_64k);
	set_thp(THP_2M, self->old_2m);
	dmirror_close(&self->dev);
}

static void *drop(void *arg)
{
	struct _test_data_split *self = arg;
	unsigned int seed = 1;

	while (!__atomic_load_n(&self->stop, __ATOMIC_RELAXED)) {
		usleep(rand_r(&seed) % 3000);
		madvise(self->data, HUGE, MADV_DONTNEED);
	}
	return NULL;
}

/*
 * While migration splits folios of 64 KiB somebody drops the page table: the
 * walk must not count the entries before it twice.
 */
TEST_F(split, while_dropped)
{
	struct hmm_dmirror_migrate result;
	struct hmm_dmirror_info info;
	pthread_t dropper;
	unsigned int i;

	ASSERT_EQ(0, pthread_create(&dropper, NULL, drop, self));
	for (i = 0; i < 2 * self->iterations; i++) {
		memset(self->data, 1, HUGE);
		EXPECT_EQ(0, migrate(&self->dev, self->data, HUGE,
				     HMM_DMIRROR_TO_DEVICE, &result));
		EXPECT_EQ(HUGE / page_size(), result.moved + result.filled +
					      result.left);
	}
	__atomic_store_n(&self->stop, true, __ATOMIC_RELAXED);
	ASSERT_EQ(0, pthread_join(dropper, NULL));
	fill(self->data, HUGE, 3);
	ASSERT_EQ(0, migrate(&self->dev, self->data, HUGE,
			     HMM_DMIRROR_TO_DEVICE, &result));
	EXPECT_EQ(0, differences(self->data, HUGE, 3));
	ASSERT_EQ(0, munmap(self->data, HUGE));
	ASSERT_EQ(0, dmirror_info(&self->dev, &info));
	EXPECT_EQ(0, info.memory_used);
}

TEST_HARNESS_MAIN
