// SPDX-License-Identifier: GPL-2.0
/*
 * A CPU touches device memory: as much comes back as it seems to want, and what both
 * sides use does not bounce.
 */
#define _GNU_SOURCE
#include <sys/prctl.h>

#include "fail_nth.h"

#define AREAS		4
#define LENGTH		(AREAS * HUGE)
#define AREA_PAGES	(HUGE / page_size())
#define PAGES		(LENGTH / page_size())
/* More faults than a sequential walk takes: a few to begin, then one an area. */
#define FEW		16

/* How long memory that moved in is to stay, the toolbox's default. */
#define RESIDENCY_MS	100

FIXTURE(cpu_fault)
{
	struct dmirror dev;
	struct hmm_dmirror_migrate result;
	struct hmm_dmirror_stats before;
	size_t page;
	char *data;	/* LENGTH bytes at a multiple of HUGE, pattern 1, on the device */
};

/* All of it on the device. */
static int setup_data(struct dmirror *dev, char **data)
{
	struct hmm_dmirror_migrate result;
	int ret;

	*data = map_huge(LENGTH);
	if (!*data || madvise(*data, LENGTH, MADV_NOHUGEPAGE))
		return -ENOMEM;
	fill(*data, LENGTH, 1);
	ret = migrate(dev, *data, LENGTH, HMM_DMIRROR_TO_DEVICE, &result);
	return ret ? ret : result.left;
}

FIXTURE_SETUP(cpu_fault)
{
	OPEN_OR_SKIP(return, &self->dev, PRIVATE, 0);
	self->page = page_size();
	ASSERT_EQ(0, memory_used(&self->dev));
	ASSERT_EQ(0, setup_data(&self->dev, &self->data));
	ASSERT_EQ(0, dmirror_stats(&self->dev, &self->before));
}

FIXTURE_TEARDOWN(cpu_fault)
{
	dmirror_close(&self->dev);
}

/* How much a counter grew since the test began, or ~0. */
static uint64_t grown(struct _test_data_cpu_fault *self, size_t counter)
{
	struct hmm_dmirror_stats after;

	if (dmirror_stats(&self->dev, &after))
		return ~0ULL;
	return *(uint64_t *)((char *)&after + counter) -
	       *(uint64_t *)((char *)&self->before + counter);
}

#define GREW(member) grown(self, offsetof(struct hmm_dmirror_stats, member))

/* Touch a page of what setup_data() made; false if it is not what was there. */
static bool touch(const char *data, size_t nth)
{
	size_t word = nth * page_size() / 8;

	return ((const volatile uint64_t *)data)[word] == pattern(1, word);
}

/* The pages from @first to before @end, one after the other. */
static bool touch_all(const char *data, size_t first, size_t end)
{
	for (; first < end; first++)
		if (!touch(data, first))
			return false;
	return true;
}

TEST_F(cpu_fault, ascending)
{
	EXPECT_TRUE(touch_all(self->data, 0, PAGES));
	EXPECT_LE(AREAS, GREW(cpu_faults));
	EXPECT_GE(FEW, GREW(cpu_faults));
	EXPECT_EQ(PAGES, GREW(migrated_out));
	EXPECT_EQ(0, memory_used(&self->dev));
	EXPECT_EQ(0, differences(self->data, LENGTH, 1));
}

TEST_F(cpu_fault, descending)
{
	size_t i;

	for (i = PAGES; i--; )
		ASSERT_TRUE(touch(self->data, i));
	EXPECT_GE(FEW, GREW(cpu_faults));
	EXPECT_EQ(0, memory_used(&self->dev));
	EXPECT_EQ(0, differences(self->data, LENGTH, 1));
}

/* Steps of 37 pages within an area: none is next to another. */
TEST_F(cpu_fault, scattered)
{
	size_t i;

	for (i = 0; i < 128; i++)
		ASSERT_TRUE(touch(self->data, i * 37 % AREA_PAGES));
	EXPECT_EQ(128, GREW(cpu_faults));
	EXPECT_EQ(128, GREW(migrated_out));
	EXPECT_EQ(0, differences(self->data, LENGTH, 1));
}

/* A walk that ends, and then single pages: what they bring becomes less. */
TEST_F(cpu_fault, walk_then_scattered)
{
	uint64_t out;
	size_t i;

	ASSERT_TRUE(touch_all(self->data, 0, 20));
	out = GREW(migrated_out);
	EXPECT_LE(AREA_PAGES / 2, out);
	for (i = 0; i < 64; i++)
		ASSERT_TRUE(touch(self->data, 2 * AREA_PAGES +
				  i * 37 % AREA_PAGES));
	EXPECT_EQ(out + 64, GREW(migrated_out));
}

/* Where a walk has ended, within its area, the next ones bring less each time. */
TEST_F(cpu_fault, walk_then_shrinking)
{
	/* A page, the rest of 64 KiB, the rest of 1 MiB. */
	ASSERT_TRUE(touch_all(self->data, 0, 17));
	EXPECT_EQ(AREA_PAGES / 2, GREW(migrated_out));
	ASSERT_TRUE(touch(self->data, 300));
	EXPECT_EQ(AREA_PAGES / 2 + 16, GREW(migrated_out));
	ASSERT_TRUE(touch(self->data, 400));
	EXPECT_EQ(AREA_PAGES / 2 + 17, GREW(migrated_out));
	ASSERT_TRUE(touch(self->data, 450));
	EXPECT_EQ(AREA_PAGES / 2 + 18, GREW(migrated_out));
}

/* Only of the VMA that the page is in, which may be read only. */
TEST_F(cpu_fault, within_the_vma)
{
	char *part = self->data + 100 * self->page;
	pid_t child;

	ASSERT_EQ(0, mprotect(part, 300 * self->page, PROT_READ));
	ASSERT_TRUE(touch_all(self->data, 100, 400));
	EXPECT_GE(FEW, GREW(cpu_faults));
	EXPECT_EQ(300, GREW(migrated_out));
	EXPECT_EQ(PAGES - 300, used_pages(&self->dev));

	/* It is as read only as before. */
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		signal(SIGSEGV, SIG_DFL);
		*(volatile char *)part = 0;
		_exit(0);
	}
	EXPECT_EQ(256 + SIGSEGV, child_status(child));
	EXPECT_EQ(0, differences(self->data, LENGTH, 1));
}

TEST_F(cpu_fault, moved_mapping)
{
	char *to = map_pages(PAGES + 1), *at;

	/* Not at the same place in a page table as before. */
	ASSERT_NE(NULL, to);
	if (!((uintptr_t)to & (HUGE - 1)))
		to += self->page;
	at = mremap(self->data, LENGTH, LENGTH, MREMAP_MAYMOVE | MREMAP_FIXED,
		    to);
	ASSERT_EQ(to, at);
	EXPECT_TRUE(touch_all(at, 0, PAGES));
	EXPECT_GE(FEW, GREW(cpu_faults));
	EXPECT_EQ(0, memory_used(&self->dev));
	EXPECT_EQ(0, differences(at, LENGTH, 1));
}

/* A child reads what its parent had moved; both have all of it. */
TEST_F(cpu_fault, forked_child)
{
	pid_t child = fork();

	ASSERT_LE(0, child);
	if (!child)
		_exit(!touch_all(self->data, 0, PAGES) ||
		      differences(self->data, LENGTH, 1));
	EXPECT_EQ(0, child_status(child));
	EXPECT_GE(FEW, GREW(cpu_faults));
	EXPECT_TRUE(touch_all(self->data, 0, PAGES));
	EXPECT_GE(2 * FEW, GREW(cpu_faults));
	EXPECT_EQ(0, differences(self->data, LENGTH, 1));
}

/* Who moved it has closed the device and is gone. */
TEST_F(cpu_fault, owner_gone)
{
	int gone[2], status;
	pid_t owner;
	char byte;

	ASSERT_EQ(0, prctl(PR_SET_CHILD_SUBREAPER, 1));
	ASSERT_EQ(0, pipe(gone));
	owner = fork();
	ASSERT_LE(0, owner);
	if (!owner) {
		struct dmirror dev;
		char *data;

		if (dmirror_open(&dev, self->dev.number) ||
		    setup_data(&dev, &data))
			_exit(2);
		dmirror_close(&dev);
		if (fork())
			_exit(0);
		close(gone[1]);
		/* Ends when the test has seen the owner's end. */
		if (read(gone[0], &byte, 1) != 1)
			_exit(3);
		_exit(!touch_all(data, 0, PAGES) ||
		      differences(data, LENGTH, 1));
	}
	EXPECT_EQ(0, child_status(owner));
	EXPECT_EQ(2 * PAGES, used_pages(&self->dev));
	ASSERT_EQ(1, write(gone[1], "", 1));
	ASSERT_LE(0, wait(&status));
	EXPECT_EQ(0, status);
	EXPECT_GE(FEW, GREW(cpu_faults));
	EXPECT_EQ(PAGES, used_pages(&self->dev));
}

/* The page that the CPU waits for comes back by itself. */
TEST_F(cpu_fault, no_memory_for_neighbours)
{
	bool right;

	if (fail_pages(FAIL_WITHOUT_WAIT))
		SKIP(return, "no fault injection in this kernel");
	right = touch_all(self->data, 0, 100);
	fail_pages(FAIL_NONE);
	EXPECT_TRUE(right);
	EXPECT_EQ(100, GREW(cpu_faults));
	EXPECT_EQ(100, GREW(migrated_out));
	EXPECT_TRUE(touch_all(self->data, 100, PAGES));
	EXPECT_GE(100 + FEW, GREW(cpu_faults));
	EXPECT_EQ(0, memory_used(&self->dev));
	EXPECT_EQ(0, differences(self->data, LENGTH, 1));
}

/* No memory at all is no reason for a SIGBUS: the CPU faults again. */
TEST_F(cpu_fault, no_memory)
{
	bool right;

	if (fail_pages(FAIL_ALL_FOR_A_WHILE))
		SKIP(return, "no fault injection in this kernel");
	right = touch(self->data, 5);
	fail_pages(FAIL_NONE);
	EXPECT_TRUE(right);
	EXPECT_LT(1, GREW(cpu_faults));
}

struct hammer {
	pthread_t thread;
	uint64_t *word;
	uint64_t adds;
	bool stop;
};

static void *hammer(void *arg)
{
	struct hammer *h = arg;

	while (!__atomic_load_n(&h->stop, __ATOMIC_RELAXED)) {
		__atomic_add_fetch(h->word, 1, __ATOMIC_RELAXED);
		h->adds++;
	}
	return NULL;
}

/*
 * The CPU and the device add to one word, and each device page fault would like to
 * have it on the device.  Each time the device is opened it knows no page.
 */
TEST_F(cpu_fault, both_sides)
{
	uint64_t *word = map_pages(1), start, ms, device_adds = 0, value;
	struct hammer h = { .word = word };
	struct dmirror dev;

	ASSERT_NE(NULL, word);
	*word = 0;
	ASSERT_EQ(0, pthread_create(&h.thread, NULL, hammer, &h));
	start = now_us();
	do {
		ASSERT_EQ(0, dmirror_open(&dev, self->dev.number));
		ASSERT_EQ(0, dmirror_move_on_miss(&dev, self->page, 0));
		ASSERT_EQ(0, dmirror_atomic_add(&dev, word, 1, 64, &value));
		device_adds += 64;
		dmirror_close(&dev);
		ms = (now_us() - start) / 1000;
	} while (ms < race_ms() || device_adds < 20 * 64);
	__atomic_store_n(&h.stop, true, __ATOMIC_RELAXED);
	ASSERT_EQ(0, pthread_join(h.thread, NULL));

	EXPECT_LT(0, h.adds);
	EXPECT_EQ(h.adds + device_adds, *word);
	EXPECT_LT(0, GREW(migrated_out));
	EXPECT_LT(0, GREW(bounces));
	EXPECT_LT(0, GREW(suppressed));
	/* The first one at once; jiffies are coarse. */
	EXPECT_GE(ms / (RESIDENCY_MS * 9 / 10) + 2, GREW(migrated_in));
	TH_LOG("%llu ms: CPU %llu, device %llu, moves %llu, suppressed %llu",
	       (unsigned long long)ms, (unsigned long long)h.adds,
	       (unsigned long long)device_adds,
	       (unsigned long long)GREW(migrated_in),
	       (unsigned long long)GREW(suppressed));
}

/* What has bounced stays in RAM for the device's faults, but not if asked for. */
TEST_F(cpu_fault, asked_for)
{
	uint64_t bounces, suppressed, in;
	int tries = 0;

	ASSERT_EQ(0, dmirror_move_on_miss(&self->dev, self->page, 0));
	do {
		/* The machine may be slower than the residency is long. */
		if (++tries == 50)
			SKIP(return, "too slow");
		ASSERT_EQ(0, migrate(&self->dev, self->data, self->page,
				     HMM_DMIRROR_TO_DEVICE, &self->result));
		bounces = GREW(bounces);
		suppressed = GREW(suppressed);
		ASSERT_TRUE(touch(self->data, 0));
		in = GREW(migrated_in);
		ASSERT_EQ(0, dmirror_read(&self->dev, self->data, self->page));
	} while (GREW(bounces) == bounces || GREW(suppressed) == suppressed);
	EXPECT_EQ(in, GREW(migrated_in));
	EXPECT_EQ(MAPPED, page_flags(&self->dev, self->data) &
			  (MAPPED | IN_DEVICE));
	ASSERT_EQ(0, migrate(&self->dev, self->data, self->page,
			     HMM_DMIRROR_TO_DEVICE, &self->result));
	EXPECT_EQ(1, self->result.moved);
	EXPECT_EQ(0, differences(self->data, LENGTH, 1));
}

FIXTURE(fault_move)
{
	struct dmirror dev;
	struct hmm_dmirror_stats before, after;
	size_t page;
	char *data;	/* LENGTH bytes at a multiple of HUGE, nothing there */
};

FIXTURE_VARIANT(fault_move)
{
	enum hmm_dmirror_memory memory;
};

FIXTURE_VARIANT_ADD(fault_move, private)
{
	.memory = PRIVATE,
};

FIXTURE_VARIANT_ADD(fault_move, cdm)
{
	.memory = CDM,
};

FIXTURE_SETUP(fault_move)
{
	OPEN_OR_SKIP(return, &self->dev, variant->memory, 0);
	self->page = page_size();
	ASSERT_EQ(0, memory_used(&self->dev));
	self->data = map_huge(LENGTH);
	ASSERT_NE(NULL, self->data);
	ASSERT_EQ(0, madvise(self->data, LENGTH, MADV_NOHUGEPAGE));
	ASSERT_EQ(0, dmirror_stats(&self->dev, &self->before));
}

FIXTURE_TEARDOWN(fault_move)
{
	dmirror_close(&self->dev);
}

/* Holes become device memory, with no page in RAM in between. */
TEST_F(fault_move, holes)
{
	ASSERT_EQ(0, dmirror_move_on_miss(&self->dev, MEDIUM_SIZE, 0));
	ASSERT_EQ(0, dmirror_fill(&self->dev, self->data + self->page, 8, 5));
	EXPECT_EQ(MEDIUM_SIZE, memory_used(&self->dev));
	ASSERT_EQ(0, dmirror_move_on_miss(&self->dev, HUGE, 0));
	ASSERT_EQ(0, dmirror_fill(&self->dev, self->data + HUGE, HUGE, 6));
	EXPECT_EQ(MEDIUM_SIZE + HUGE, memory_used(&self->dev));
	ASSERT_EQ(0, dmirror_stats(&self->dev, &self->after));
	EXPECT_EQ(0, self->after.bytes_copied - self->before.bytes_copied);
	EXPECT_EQ(MEDIUM_SIZE + HUGE,
		  self->after.bytes_cleared - self->before.bytes_cleared);
	EXPECT_EQ(0, others(self->data, self->page, 0));
	EXPECT_EQ(5, *(volatile uint64_t *)(self->data + self->page));
	EXPECT_EQ(0, others(self->data + HUGE, HUGE, 6));
}

/* What is there already is not touched again: nothing is unmapped on the device. */
TEST_F(fault_move, there_already)
{
	uint64_t sum, invalidations;

	fill(self->data, LENGTH, 1);
	ASSERT_EQ(0, dmirror_move_on_miss(&self->dev, HUGE, 0));
	ASSERT_EQ(0, dmirror_sum(&self->dev, self->data, 8, &sum));
	ASSERT_EQ(pattern(1, 0), sum);
	EXPECT_EQ(HUGE, memory_used(&self->dev));
	ASSERT_EQ(0, dmirror_stats(&self->dev, &self->before));
	invalidations = self->before.invalidations;
	ASSERT_EQ(0, dmirror_sum(&self->dev, self->data, HUGE, &sum));
	EXPECT_EQ(pattern_sum(HUGE, 1), sum);
	ASSERT_EQ(0, dmirror_stats(&self->dev, &self->after));
	EXPECT_LT(self->before.faults, self->after.faults);
	EXPECT_EQ(invalidations, self->after.invalidations);
	EXPECT_EQ(self->before.migrated_in, self->after.migrated_in);
	EXPECT_EQ(AREA_PAGES, mapped(&self->dev, self->data, HUGE, MAPPED));
	EXPECT_EQ(0, differences(self->data, LENGTH, 1));
}

/* The device uses what cannot move where it is. */
TEST_F(fault_move, stays)
{
	int file = memfd_create("hmm", MFD_CLOEXEC);
	struct hmm_dmirror_migrate result;
	uint64_t sum;
	size_t size;
	char *map;

	ASSERT_LE(0, file);
	ASSERT_EQ(0, ftruncate(file, MEDIUM_SIZE));
	map = mmap(NULL, MEDIUM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file,
		   0);
	ASSERT_NE(MAP_FAILED, map);
	ASSERT_EQ(0, dmirror_move_on_miss(&self->dev, MEDIUM_SIZE, 0));
	ASSERT_EQ(0, dmirror_fill(&self->dev, map, MEDIUM_SIZE, 7));
	EXPECT_EQ(0, others(map, MEDIUM_SIZE, 7));
	EXPECT_EQ(0, memory_used(&self->dev));

	/* There is no room. */
	fill(self->data, HUGE, 1);
	size = self->dev.info.memory_size;
	map = mmap(NULL, size, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ASSERT_NE(MAP_FAILED, map);
	madvise(map, size, MADV_NOHUGEPAGE);
	ASSERT_EQ(0, migrate(&self->dev, map, size, HMM_DMIRROR_TO_DEVICE,
			     &result));
	ASSERT_EQ(size, memory_used(&self->dev));
	ASSERT_EQ(0, dmirror_sum(&self->dev, self->data, HUGE, &sum));
	EXPECT_EQ(pattern_sum(HUGE, 1), sum);
	ASSERT_EQ(0, dmirror_fill(&self->dev, self->data + HUGE, HUGE, 8));
	EXPECT_EQ(0, others(self->data + HUGE, HUGE, 8));
	EXPECT_EQ(size, memory_used(&self->dev));
	ASSERT_EQ(0, munmap(map, size));

	/* A copy that fails does not fail the device's access. */
	ASSERT_EQ(0, dmirror_inject(&self->dev, HMM_DMIRROR_INJECT_COPY_ERROR,
				    0, 1000, 0));
	fill(self->data + 2 * HUGE, HUGE, 3);
	ASSERT_EQ(0, dmirror_sum(&self->dev, self->data + 2 * HUGE, HUGE,
				 &sum));
	EXPECT_EQ(pattern_sum(HUGE, 3), sum);
	EXPECT_EQ(0, memory_used(&self->dev));
	ASSERT_EQ(0, dmirror_inject(&self->dev, HMM_DMIRROR_INJECT_COPY_ERROR,
				    0, 0, 0));
}

TEST_F(fault_move, bad_arguments)
{
	const struct hmm_dmirror_on_miss bad[] = {
		{ .size = 1 }, { .size = self->page / 2 },
		{ .size = 3 * self->page }, { .size = 2 * HUGE },
		{ .size = 1ULL << 63 }, { .size = ~0ULL },
		{ .size = self->page, .flags = 2 },
		{ .flags = HMM_DMIRROR_MIGRATE_MAKE_ROOM },
		{ .reserved = 1 },
	};
	struct dmirror none;
	unsigned int i;

	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		EXPECT_EQ(-1, ioctl(self->dev.fd, HMM_DMIRROR_ON_MISS,
				    &bad[i]));
		EXPECT_EQ(EINVAL, errno);
	}
	/* Nothing changed. */
	ASSERT_EQ(0, dmirror_read(&self->dev, self->data, HUGE));
	EXPECT_EQ(0, memory_used(&self->dev));
	EXPECT_EQ(0, dmirror_move_on_miss(&self->dev, HUGE,
					  HMM_DMIRROR_MIGRATE_MAKE_ROOM));
	EXPECT_EQ(0, dmirror_move_on_miss(&self->dev, 0, 0));
	if (!dmirror_open_memory(&none, NONE, 0)) {
		EXPECT_EQ(-EOPNOTSUPP, dmirror_move_on_miss(&none, HUGE, 0));
		dmirror_close(&none);
	}
}

TEST_HARNESS_MAIN
