// SPDX-License-Identifier: GPL-2.0
/*
 * The sample driver, samples/hmm: its device finds the memory of processes wherever it
 * is, and what it writes is there when a CPU looks.
 */
#define _GNU_SOURCE
#include "hmm_sample_uapi.h"
#include "memory.h"
#include "module.h"

#define MODULE		"hmm_sample"
#define PAGES		64
#define WAIT_US		20000000ull	/* for one word */
#define DEVICE_MEMORY	(4 * MIB)
#define TO_DEVICE	HMM_SAMPLE_TO_DEVICE

static int sample_open(void)
{
	int file = open("/dev/hmm_sample", O_RDWR | O_CLOEXEC);

	return file < 0 ? -errno : file;
}

static int sample_ioctl(int file, struct hmm_sample_add *add)
{
	return ioctl(file, HMM_SAMPLE_ADD, add) ? -errno : 0;
}

/* The device adds @value to each word; @add: what it says of that. */
static int sample_add(int file, void *start, size_t length, uint64_t value,
		      uint64_t flags, struct hmm_sample_add *add)
{
	*add = (struct hmm_sample_add){
		.addr = (uintptr_t)start,
		.size = length,
		.value = value,
		.flags = flags,
	};
	return sample_ioctl(file, add);
}

/* The number of words that are not what fill() wrote with @value added. */
static size_t not_added(const void *start, size_t length, uint64_t seed,
			uint64_t value)
{
	const volatile uint64_t *words = start;
	size_t i, nr = 0;

	for (i = 0; i < length / sizeof(*words); i++)
		nr += words[i] != pattern(seed, i) + value;
	return nr;
}

static uint64_t added_sum(size_t length, uint64_t seed, uint64_t value)
{
	return pattern_sum(length, seed) + length / sizeof(uint64_t) * value;
}

FIXTURE(sample)
{
	int file;
	size_t length;
	char *data;		/* pattern 1, in RAM */
	struct hmm_sample_add add;
};

FIXTURE_VARIANT(sample)
{
	bool huge;
};

FIXTURE_VARIANT_ADD(sample, small)
{
};

FIXTURE_VARIANT_ADD(sample, huge)
{
	.huge = true,
};

FIXTURE_SETUP(sample)
{
	self->file = sample_open();
	if (self->file == -ENOENT)
		SKIP(return, MODULE " is not there");
	ASSERT_LE(0, self->file);
	self->length = variant->huge ? HUGE : PAGES * page_size();
	self->data = map_memory(self->length, variant->huge);
	ASSERT_NE(NULL, self->data);
	fill(self->data, self->length, 1);
	if (variant->huge)
		ASSERT_TRUE(make_huge(self->data, self->length));
}

FIXTURE_TEARDOWN(sample)
{
	close(self->file);
}

/* The device writes to RAM as it is asked to, and nothing moves. */
TEST_F(sample, in_ram)
{
	ASSERT_EQ(0, sample_add(self->file, self->data, self->length, 0, 0,
				&self->add));
	EXPECT_EQ(self->length, self->add.done);
	EXPECT_EQ(pattern_sum(self->length, 1), self->add.sum);
	EXPECT_EQ(0, self->add.on_device);
	EXPECT_EQ(0, differences(self->data, self->length, 1));

	ASSERT_EQ(0, sample_add(self->file, self->data, self->length, 5, 0,
				&self->add));
	EXPECT_EQ(added_sum(self->length, 1, 5), self->add.sum);
	EXPECT_EQ(0, self->add.on_device);
	EXPECT_EQ(0, not_added(self->data, self->length, 1, 5));
}

/* To the device, changed there, and back when the CPU looks. */
TEST_F(sample, to_device_and_back)
{
	ASSERT_EQ(0, sample_add(self->file, self->data, self->length, 5, TO_DEVICE,
				&self->add));
	EXPECT_EQ(self->length, self->add.done);
	EXPECT_EQ(added_sum(self->length, 1, 5), self->add.sum);
	EXPECT_EQ(self->length, self->add.on_device);
	EXPECT_EQ(0, pages_present(self->data, self->length));

	/* It stays there. */
	ASSERT_EQ(0, sample_add(self->file, self->data, self->length, 0, 0,
				&self->add));
	EXPECT_EQ(self->length, self->add.on_device);

	EXPECT_EQ(0, not_added(self->data, self->length, 1, 5));
	EXPECT_EQ(self->length / page_size(),
		  pages_present(self->data, self->length));
	ASSERT_EQ(0, sample_add(self->file, self->data, self->length, 0, 0,
				&self->add));
	EXPECT_EQ(added_sum(self->length, 1, 5), self->add.sum);
	EXPECT_EQ(0, self->add.on_device);
}

/* What the CPU writes meanwhile is there when the memory moves again. */
TEST_F(sample, to_and_fro)
{
	uint64_t round;

	for (round = 0; round < 10; round++) {
		ASSERT_EQ(0, sample_add(self->file, self->data, self->length, round,
					TO_DEVICE, &self->add));
		ASSERT_EQ(added_sum(self->length, 1 + round, round),
			  self->add.sum);
		ASSERT_EQ(self->length, self->add.on_device);
		ASSERT_EQ(0, not_added(self->data, self->length, 1 + round, round));
		fill(self->data, self->length, 2 + round);
	}
}

/* Only the words of the range change, and only its pages move. */
TEST_F(sample, part)
{
	size_t page = page_size(), words = page / sizeof(uint64_t), i;
	size_t first = 2 * words - 3, nr = 2 * words + 7;
	uint64_t *data = (uint64_t *)self->data, sum = 0;

	/* A collapse would bring back what has moved. */
	ASSERT_EQ(0, madvise(data, self->length, MADV_NOHUGEPAGE));
	ASSERT_EQ(0, sample_add(self->file, data + first, nr * sizeof(*data), 9,
				TO_DEVICE, &self->add));
	for (i = first; i < first + nr; i++)
		sum += pattern(1, i) + 9;
	EXPECT_EQ(nr * sizeof(*data), self->add.done);
	EXPECT_EQ(sum, self->add.sum);
	EXPECT_EQ(self->add.done, self->add.on_device);
	EXPECT_EQ(1, pages_present(data, page));
	EXPECT_EQ(0, pages_present(data + words, 4 * page));
	EXPECT_EQ(self->length / page - 5,
		  pages_present(data + 5 * words, self->length - 5 * page));

	for (i = 0; i < self->length / sizeof(*data); i++) {
		bool inside = i >= first && i < first + nr;

		ASSERT_EQ(pattern(1, i) + (inside ? 9 : 0),
			  ((volatile uint64_t *)data)[i]);
	}
}

/* Memory that was never used begins with zeroes, whatever was there before. */
TEST_F(sample, unused_memory_is_zero)
{
	char *map;

	ASSERT_EQ(0, sample_add(self->file, self->data, self->length, 1, TO_DEVICE,
				&self->add));
	ASSERT_EQ(self->length, self->add.on_device);
	ASSERT_EQ(0, munmap(self->data, self->length));

	map = map_memory(DEVICE_MEMORY, variant->huge);
	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, sample_add(self->file, map, DEVICE_MEMORY, 3, TO_DEVICE,
				&self->add));
	EXPECT_EQ(DEVICE_MEMORY, self->add.on_device);
	EXPECT_EQ(DEVICE_MEMORY / sizeof(uint64_t) * 3, self->add.sum);
	EXPECT_EQ(0, others(map, DEVICE_MEMORY, 3));
}

/* After fork() each has its memory, and the device that of the parent. */
TEST_F(sample, fork)
{
	struct hmm_sample_add add;
	int go[2];
	char byte = 0;
	pid_t child;

	ASSERT_EQ(0, pipe(go));
	ASSERT_EQ(0, sample_add(self->file, self->data, self->length, 0, TO_DEVICE,
				&self->add));
	ASSERT_EQ(self->length, self->add.on_device);
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		if (sample_add(self->file, self->data, 8, 0, 0, &add) != -EPERM)
			_exit(1);
		if (read(go[0], &byte, 1) != 1)
			_exit(2);
		if (differences(self->data, self->length, 1))
			_exit(3);
		fill(self->data, self->length, 2);
		_exit(0);
	}
	ASSERT_EQ(0, sample_add(self->file, self->data, self->length, 7, TO_DEVICE,
				&self->add));
	EXPECT_EQ(added_sum(self->length, 1, 7), self->add.sum);
	ASSERT_EQ(1, write(go[1], &byte, 1));
	EXPECT_EQ(0, child_status(child));
	ASSERT_EQ(0, sample_add(self->file, self->data, self->length, 0, 0,
				&self->add));
	EXPECT_EQ(added_sum(self->length, 1, 7), self->add.sum);
	EXPECT_EQ(0, not_added(self->data, self->length, 1, 7));
}

/* The parent is gone, the memory that it had on the device is not. */
TEST_F(sample, parent_exits)
{
	int go[2], status[2];
	char byte = 0;
	pid_t parent;

	ASSERT_EQ(0, pipe(go));
	ASSERT_EQ(0, pipe(status));
	parent = fork();
	ASSERT_LE(0, parent);
	if (!parent) {
		int file = sample_open();
		struct hmm_sample_add add;

		/* Pages of its own, that the device can write to where they are. */
		fill(self->data, self->length, 1);
		if (file < 0 || sample_add(file, self->data, self->length, 7,
					   TO_DEVICE, &add))
			_exit(1);
		if (!fork()) {
			close(file);
			if (read(go[0], &byte, 1) != 1)
				_exit(1);
			byte = !not_added(self->data, self->length, 1, 7);
			_exit(write(status[1], &byte, 1) != 1);
		}
		_exit(add.on_device != self->length);
	}
	EXPECT_EQ(0, child_status(parent));
	ASSERT_EQ(1, write(go[1], &byte, 1));
	close(status[1]);
	ASSERT_EQ(1, read(status[0], &byte, 1));
	EXPECT_EQ(1, byte);
	EXPECT_EQ(0, differences(self->data, self->length, 1));
}

/* What was on the device leaves for what comes; what has no room is used in RAM. */
TEST_F(sample, more_than_the_device_has)
{
	size_t length = 2 * DEVICE_MEMORY;
	char *old = map_memory(DEVICE_MEMORY, variant->huge);
	char *map = map_memory(length, variant->huge);

	ASSERT_NE(NULL, old);
	ASSERT_NE(NULL, map);
	fill(old, DEVICE_MEMORY, 2);
	ASSERT_EQ(0, sample_add(self->file, old, DEVICE_MEMORY, 3, TO_DEVICE,
				&self->add));
	EXPECT_EQ(DEVICE_MEMORY, self->add.on_device);
	fill(map, length, 4);
	ASSERT_EQ(0, sample_add(self->file, map, length, 5, TO_DEVICE, &self->add));
	EXPECT_EQ(length, self->add.done);
	EXPECT_EQ(added_sum(length, 4, 5), self->add.sum);
	EXPECT_EQ(DEVICE_MEMORY, self->add.on_device);
	EXPECT_EQ(0, not_added(old, DEVICE_MEMORY, 2, 3));
	EXPECT_EQ(0, not_added(map, length, 4, 5));
}

/* The device stops where there is no memory. */
TEST_F(sample, hole)
{
	size_t page = page_size(), half = self->length / 2;
	char *hole = self->data + half;

	ASSERT_EQ(0, sample_add(self->file, self->data, self->length, 0, TO_DEVICE,
				&self->add));
	ASSERT_EQ(0, munmap(hole, page));
	EXPECT_EQ(-EFAULT, sample_add(self->file, self->data, self->length, 5, 0,
				      &self->add));
	EXPECT_EQ(half, self->add.done);
	EXPECT_EQ(added_sum(half, 1, 5), self->add.sum);

	/* And goes on from there. */
	ASSERT_EQ(hole, mmap(hole, page, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	ASSERT_EQ(0, sample_ioctl(self->file, &self->add));
	EXPECT_EQ(self->length, self->add.done);
	EXPECT_EQ(added_sum(self->length, 1, 5) - pattern_sum(half + page, 1) +
		  pattern_sum(half, 1), self->add.sum);
	EXPECT_EQ(0, not_added(self->data, half, 1, 5));
	EXPECT_EQ(0, others(hole, page, 5));
}

/* What the process may only read the device may only read, wherever it is. */
TEST_F(sample, read_only)
{
	uint64_t flags;

	for (flags = 0; flags <= TO_DEVICE; flags += TO_DEVICE) {
		ASSERT_EQ(0, mprotect(self->data, self->length, PROT_READ));
		EXPECT_EQ(0, sample_add(self->file, self->data, self->length, 0,
					flags, &self->add));
		EXPECT_EQ(pattern_sum(self->length, 1), self->add.sum);
		EXPECT_EQ(-EPERM, sample_add(self->file, self->data, self->length,
					     1, flags, &self->add));
		EXPECT_EQ(0, self->add.done);
		ASSERT_EQ(0, mprotect(self->data, self->length, PROT_NONE));
		EXPECT_EQ(-EFAULT, sample_add(self->file, self->data, self->length,
					      0, flags, &self->add));
	}
	ASSERT_EQ(0, mprotect(self->data, self->length, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, differences(self->data, self->length, 1));
}

TEST_F(sample, arguments)
{
	uint64_t addr = (uintptr_t)self->data, size = self->length;
	const struct {
		int error;
		struct hmm_sample_add add;
	} tries[] = {
		{ -EINVAL, { .addr = addr + 1, .size = 8 } },
		{ -EINVAL, { .addr = addr + 4, .size = 8 } },
		{ -EINVAL, { .addr = addr, .size = 0 } },
		{ -EINVAL, { .addr = addr, .size = 12 } },
		{ -EINVAL, { .addr = addr, .size = -addr } },
		{ -EINVAL, { .addr = addr, .size = -8ULL } },
		{ -EINVAL, { .addr = -8ULL, .size = 8 } },
		{ -EINVAL, { .addr = addr, .size = size, .done = 4 } },
		{ -EINVAL, { .addr = addr, .size = size, .done = size + 8 } },
		{ -EINVAL, { .addr = addr, .size = size, .flags = 2 } },
		{ -EINVAL, { .addr = addr, .size = size, .flags = 1ULL << 32 } },
		{ -ERANGE, { .addr = 1ULL << 63, .size = 8 } },
		{ -ERANGE, { .addr = -16ULL, .size = 8, .flags = TO_DEVICE } },
		{ -EFAULT, { .addr = 0, .size = 8 } },
	};
	struct hmm_sample_add add;
	size_t i;

	for (i = 0; i < sizeof(tries) / sizeof(*tries); i++) {
		add = tries[i].add;
		add.value = 1;
		EXPECT_EQ(tries[i].error, sample_ioctl(self->file, &add)) {
			TH_LOG("try %zu", i);
		}
		EXPECT_EQ(tries[i].add.done, add.done);
		EXPECT_EQ(0, add.sum);
	}
	EXPECT_EQ(-EFAULT, sample_ioctl(self->file, NULL));
	EXPECT_EQ(-1, ioctl(self->file, HMM_SAMPLE_ADD + 1, &add));
	EXPECT_EQ(ENOTTY, errno);

	/* All was done before: there is nothing to do. */
	add = (struct hmm_sample_add){ .addr = addr, .size = 8, .value = 1, .done = 8 };
	EXPECT_EQ(0, sample_ioctl(self->file, &add));
	EXPECT_EQ(0, differences(self->data, self->length, 1));
}

/* The argument can be read but not written: the device has worked all the same. */
TEST_F(sample, argument_read_only)
{
	struct hmm_sample_add *add = map_pages(1);

	ASSERT_NE(NULL, add);
	*add = (struct hmm_sample_add){
		.addr = (uintptr_t)self->data,
		.size = self->length,
		.value = 1,
	};
	ASSERT_EQ(0, mprotect(add, page_size(), PROT_READ));
	EXPECT_EQ(-EFAULT, sample_ioctl(self->file, add));
	EXPECT_EQ(0, not_added(self->data, self->length, 1, 1));
}

/* Who holds the file over exec() cannot use it, nor who was handed it. */
TEST_F(sample, other_address_space)
{
	struct hmm_sample_add add;
	pid_t child = fork();

	ASSERT_LE(0, child);
	if (!child) {
		int file = sample_open();

		if (file < 0 || sample_add(file, self->data, 8, 0, 0, &add))
			_exit(1);
		_exit(sample_add(self->file, self->data, 8, 1, TO_DEVICE, &add) !=
		      -EPERM);
	}
	EXPECT_EQ(0, child_status(child));
	EXPECT_EQ(0, differences(self->data, self->length, 1));
}

struct racer {
	pthread_t thread;
	int file;
	char *data;
	size_t length;
	uint64_t rounds;	/* of the device */
	bool stop;
	int result;
};

/* The first word of each page is the device's, one at a time. */
/* A word is added to or not, however long others disturb. */
static int add_to_word(int file, void *word, uint64_t flags)
{
	uint64_t end = now_us() + WAIT_US;
	struct hmm_sample_add add;
	int ret;

	do {
		ret = sample_add(file, word, 8, 1, flags, &add);
	} while (ret == -ETIME && now_us() < end);
	return ret;
}

static void *device_adds(void *arg)
{
	struct racer *racer = arg;
	size_t i;

	while (!__atomic_load_n(&racer->stop, __ATOMIC_RELAXED)) {
		for (i = 0; i < racer->length && !racer->result; i += page_size())
			racer->result = add_to_word(racer->file, racer->data + i,
						    i % (2 * page_size()) ?
						    TO_DEVICE : 0);
		racer->rounds++;
	}
	return NULL;
}

/*
 * The second word of each page is the CPU's; meanwhile children come and go, for which
 * all pages become read-only.  Nobody's addition is lost.
 */
TEST_F(sample, race)
{
	uint64_t end = now_us() + 1000ULL * race_ms(), rounds = 0;
	struct racer racer = {
		.file = self->file,
		.data = self->data,
		.length = self->length,
	};
	volatile uint64_t *words;
	size_t i;
	pid_t child;

	memset(self->data, 0, self->length);
	ASSERT_EQ(0, pthread_create(&racer.thread, NULL, device_adds, &racer));
	while (now_us() < end) {
		for (i = 0; i < self->length; i += page_size()) {
			words = (uint64_t *)(self->data + i);
			words[1]++;
		}
		rounds++;
		child = fork();
		if (!child)
			_exit(0);
		EXPECT_EQ(0, child_status(child));
	}
	__atomic_store_n(&racer.stop, true, __ATOMIC_RELAXED);
	ASSERT_EQ(0, pthread_join(racer.thread, NULL));
	EXPECT_EQ(0, racer.result);
	EXPECT_NE(0, racer.rounds);
	for (i = 0; i < self->length; i += page_size()) {
		words = (uint64_t *)(self->data + i);
		ASSERT_EQ(racer.rounds, words[0]);
		ASSERT_EQ(rounds, words[1]);
	}
}

/* Processes are killed while the device works for them: nothing is left behind. */
TEST_F(sample, killed)
{
	struct hmm_sample_add add;
	char *map;
	int i;

	for (i = 0; i < 10; i++) {
		pid_t child = fork();

		ASSERT_LE(0, child);
		if (!child) {
			int file = sample_open();

			fill(self->data, self->length, 2);
			while (!sample_add(file, self->data, self->length, 1,
					   TO_DEVICE, &add))
				;
			_exit(1);
		}
		usleep(1000 + 10000 * i);
		ASSERT_EQ(0, kill(child, SIGKILL));
		EXPECT_EQ(256 + SIGKILL, child_status(child));
	}
	map = map_memory(DEVICE_MEMORY, variant->huge);
	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, sample_add(self->file, map, DEVICE_MEMORY, 0, TO_DEVICE,
				&self->add));
	EXPECT_EQ(DEVICE_MEMORY, self->add.on_device);
	EXPECT_EQ(0, differences(self->data, self->length, 1));
}

/*
 * The module is not unloaded while a file is open.  Without one it is, and the memory
 * on the device comes back, for all its processes.
 */
TEST_F(sample, unload)
{
	int go[2], ret = module_reloadable(MODULE);
	char byte = 0;
	pid_t child;

	if (ret)
		SKIP(return, "no " MODULE " to unload and load again: %s",
		     strerror(-ret));
	ASSERT_EQ(0, pipe(go));
	ASSERT_EQ(0, sample_add(self->file, self->data, self->length, 5, TO_DEVICE,
				&self->add));
	ASSERT_EQ(self->length, self->add.on_device);
	EXPECT_EQ(-EAGAIN, module_unload(MODULE));
	/* And its library while it is loaded. */
	EXPECT_EQ(-EAGAIN, module_unload("hmm_helpers"));

	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		close(self->file);
		byte = read(go[0], &byte, 1) != 1;
		_exit(byte || not_added(self->data, self->length, 1, 5));
	}
	ASSERT_EQ(0, close(self->file));
	ASSERT_EQ(0, module_unload_closed(MODULE));
	EXPECT_EQ(-ENOENT, sample_open());
	EXPECT_EQ(0, not_added(self->data, self->length, 1, 5));
	ASSERT_EQ(1, write(go[1], &byte, 1));
	EXPECT_EQ(0, child_status(child));

	ASSERT_EQ(0, module_load(MODULE, ""));
	self->file = sample_open();
	ASSERT_LE(0, self->file);
	ASSERT_EQ(0, sample_add(self->file, self->data, self->length, 0, TO_DEVICE,
				&self->add));
	EXPECT_EQ(added_sum(self->length, 1, 5), self->add.sum);
	EXPECT_EQ(self->length, self->add.on_device);
}

TEST_HARNESS_MAIN
