// SPDX-License-Identifier: GPL-2.0
/*
 * Device memory that the driver allocates itself, for buffers of its own and for
 * process memory: each takes the place of the other, block by block, and neither is
 * damaged.
 */
#define _GNU_SOURCE
#include "dmirror_test.h"

#define BLOCK_PAGES	(HUGE / page_size())
#define TIMEOUT_MS	10000
/* What is quick may be slow on a debug kernel, and what is slower hangs. */
#define WAIT_MS		20000
/* Processes of each kind that compete, and what each wants. */
#define COMPETITORS	2
#define WANTED		3

FIXTURE(buffer)
{
	struct dmirror dev;
	size_t blocks;		/* of device memory */
};

FIXTURE_VARIANT(buffer)
{
	enum hmm_dmirror_memory memory;
};

FIXTURE_VARIANT_ADD(buffer, private)
{
	.memory = PRIVATE,
};

FIXTURE_VARIANT_ADD(buffer, cdm)
{
	.memory = CDM,
};

/* Create a buffer of @nr blocks; its number, or -errno. */
static long buffer_alloc(struct dmirror *dev, size_t nr, unsigned int flags)
{
	struct hmm_dmirror_buffer buffer = {
		.op = HMM_DMIRROR_BUFFER_ALLOC,
		.flags = flags,
		.timeout_ms = TIMEOUT_MS,
		.size = nr * HUGE,
	};
	int ret = dmirror_buffer(dev, &buffer);

	if (ret)
		return ret;
	return buffer.resident == nr * HUGE && !buffer.wrong ? buffer.id : -EIO;
}

static long buffer_pin(struct dmirror *dev, size_t nr)
{
	return buffer_alloc(dev, nr, HMM_DMIRROR_BUFFER_PINNED);
}

/* An operation on a buffer; 0, -errno, or -EIO if it was damaged. */
static int buffer_do(struct dmirror *dev, enum hmm_dmirror_buffer_op op, long id,
		     struct hmm_dmirror_buffer *buffer)
{
	int ret;

	*buffer = (struct hmm_dmirror_buffer){
		.op = op,
		.id = id,
		.timeout_ms = op == HMM_DMIRROR_BUFFER_USE ? TIMEOUT_MS : 0,
	};
	ret = dmirror_buffer(dev, buffer);
	return !ret && buffer->wrong ? -EIO : ret;
}

/* Bring all of it back to device memory. */
static int buffer_use(struct dmirror *dev, long id)
{
	struct hmm_dmirror_buffer buffer;
	int ret = buffer_do(dev, HMM_DMIRROR_BUFFER_USE, id, &buffer);

	return !ret && buffer.resident != buffer.size ? -EIO : ret;
}

static int buffer_free(struct dmirror *dev, long id)
{
	struct hmm_dmirror_buffer buffer;

	return buffer_do(dev, HMM_DMIRROR_BUFFER_FREE, id, &buffer);
}

/* Bytes of it that are in device memory, or -errno. */
static long buffer_resident(struct dmirror *dev, long id)
{
	struct hmm_dmirror_buffer buffer;
	int ret = buffer_do(dev, HMM_DMIRROR_BUFFER_STATE, id, &buffer);

	return ret ? ret : (long)buffer.resident;
}

/* Who has the device memory; all ~0 if that cannot be seen. */
static struct hmm_dmirror_buffer state(struct dmirror *dev)
{
	struct hmm_dmirror_buffer now;

	if (buffer_do(dev, HMM_DMIRROR_BUFFER_STATE, 0, &now))
		memset(&now, 0xff, sizeof(now));
	return now;
}

/* Wait until no more than @lent bytes are lent. */
static bool wait_lent(struct dmirror *dev, uint64_t lent)
{
	uint64_t end = now_us() + WAIT_MS * 1000ull;

	while (state(dev).lent > lent && now_us() < end)
		usleep(10000);
	return state(dev).lent == lent;
}

/* @nr blocks of process memory with pattern @seed, without huge pages. */
static char *map_blocks(size_t nr, uint64_t seed)
{
	char *map = map_huge(nr * HUGE);

	if (!map || madvise(map, nr * HUGE, MADV_NOHUGEPAGE))
		return NULL;
	fill(map, nr * HUGE, seed);
	return map;
}

/* Move them in, where there is room; how many pages went, or -errno. */
static long move_blocks_in(struct dmirror *dev, char *map, size_t nr)
{
	struct hmm_dmirror_migrate result;
	int ret = migrate(dev, map, nr * HUGE, HMM_DMIRROR_TO_DEVICE, &result);

	return ret ? ret : (long)result.moved;
}

/* The same, and make room. */
static long push_in(struct dmirror *dev, char *map, size_t nr)
{
	struct hmm_dmirror_migrate result;
	int ret = dmirror_make_room(dev, map, nr * HUGE, &result);

	return ret ? ret : (long)result.moved;
}

/* How many pages of a block lie in device memory?  Maps them on the device. */
static long pages_there(struct dmirror *dev, char *map)
{
	unsigned char memory = dev->info.memory == PRIVATE ?
			       HMM_DMIRROR_PAGE_PRIVATE : HMM_DMIRROR_PAGE_CDM;

	if (dmirror_prefetch(dev, map, HUGE, 0, NULL))
		return -1;
	return mapped(dev, map, HUGE, memory);
}

FIXTURE_SETUP(buffer)
{
	int ret = open_shared(&self->dev, variant->memory);
	long all;

	if (ret == -ENODEV)
		SKIP(return, "hmm_dmirror has no such device that shares its memory");
	ASSERT_EQ(0, ret);
	self->blocks = self->dev.info.memory_size / HUGE;
	ASSERT_LE(8, self->blocks);
	ASSERT_EQ(0, self->blocks % 2);
	ASSERT_EQ(0, used_pages(&self->dev));
	/* What other tests have left is free, and comes back when it is needed. */
	all = buffer_pin(&self->dev, self->blocks);
	ASSERT_LT(0, all);
	ASSERT_EQ(0, state(&self->dev).lent);
	ASSERT_EQ(0, buffer_free(&self->dev, all));
	ASSERT_EQ(self->blocks * HUGE, state(&self->dev).free);
}

FIXTURE_TEARDOWN(buffer)
{
	dmirror_close(&self->dev);
}

/* Blocks are lent as they are needed, and come back when they are free. */
TEST_F(buffer, lend_and_give_back)
{
	struct hmm_dmirror_buffer before = state(&self->dev), now;
	char *map = map_blocks(3, 1);

	ASSERT_NE(NULL, map);
	ASSERT_EQ(3 * BLOCK_PAGES, move_blocks_in(&self->dev, map, 3));
	now = state(&self->dev);
	EXPECT_EQ(3 * HUGE, now.lent);
	EXPECT_EQ(before.gets + 3, now.gets);
	EXPECT_EQ(3 * BLOCK_PAGES, used_pages(&self->dev));

	/* A page of the second block is still there. */
	ASSERT_EQ(0, munmap(map, HUGE));
	ASSERT_EQ(0, munmap(map + HUGE + page_size(),
			    2 * HUGE - page_size()));
	EXPECT_TRUE(wait_lent(&self->dev, HUGE));
	EXPECT_EQ(1, used_pages(&self->dev));
	ASSERT_EQ(0, munmap(map + HUGE, page_size()));
	EXPECT_TRUE(wait_lent(&self->dev, 0));
	now = state(&self->dev);
	EXPECT_EQ(before.puts + 3, now.puts);
	EXPECT_EQ(self->blocks * HUGE, now.free);
}

/* A block that is used again and again stays lent. */
TEST_F(buffer, no_bouncing)
{
	struct hmm_dmirror_buffer before, now;
	struct hmm_dmirror_migrate result;
	char *map = map_blocks(1, 1);
	uint64_t start = now_us();
	uint64_t rounds;

	ASSERT_NE(NULL, map);
	before = state(&self->dev);
	for (rounds = 0; rounds < 50 && now_us() < start + 1000000; rounds++) {
		ASSERT_EQ(BLOCK_PAGES, move_blocks_in(&self->dev, map, 1));
		ASSERT_EQ(0, migrate(&self->dev, map, HUGE, HMM_DMIRROR_TO_RAM,
				     &result));
	}
	now = state(&self->dev);
	/* At most each half second. */
	EXPECT_GE(2 + 2 * (now_us() - start) / 1000000, now.gets - before.gets)
		TH_LOG("%llu of %llu rounds", (long long)(now.gets - before.gets),
		       (long long)rounds);
	EXPECT_EQ(0, differences(map, HUGE, 1));
}

TEST_F(buffer, exit)
{
	pid_t child = fork();

	ASSERT_LE(0, child);
	if (!child) {
		struct dmirror own;
		char *map = map_blocks(3, 1);

		if (!map || dmirror_open(&own, self->dev.number))
			_exit(1);
		if (buffer_alloc(&own, 2, 0) <= 0)
			_exit(2);
		_exit(move_blocks_in(&own, map, 3) == 3 * (long)BLOCK_PAGES ? 0 : 3);
	}
	EXPECT_EQ(0, child_status(child));
	EXPECT_TRUE(wait_lent(&self->dev, 0));
	EXPECT_EQ(0, state(&self->dev).buffers);
	EXPECT_EQ(0, used_pages(&self->dev));
}

/* Huge pages, where device memory has them. */
TEST_F(buffer, huge)
{
	char *map = map_huge(2 * HUGE);
	long id;

	ASSERT_NE(NULL, map);
	fill(map, 2 * HUGE, 1);
	id = buffer_pin(&self->dev, 1);
	ASSERT_LT(0, id);
	ASSERT_EQ(2 * BLOCK_PAGES, move_blocks_in(&self->dev, map, 2));
	EXPECT_EQ(2 * HUGE, state(&self->dev).lent);
	EXPECT_EQ(0, differences(map, 2 * HUGE, 1));
	EXPECT_EQ(0, buffer_free(&self->dev, id));
	ASSERT_EQ(0, munmap(map, 2 * HUGE));
	EXPECT_TRUE(wait_lent(&self->dev, 0));
}

/* There is nothing to be had where nothing gives way. */
TEST_F(buffer, all_pinned)
{
	char *map = map_blocks(2, 1);
	long id = buffer_pin(&self->dev, self->blocks);

	ASSERT_NE(NULL, map);
	ASSERT_LT(0, id);
	EXPECT_EQ(-ENOSPC, move_blocks_in(&self->dev, map, 2));
	EXPECT_EQ(-ENOSPC, push_in(&self->dev, map, 2));
	EXPECT_EQ(-ENOSPC, buffer_alloc(&self->dev, 1, 0));
	EXPECT_EQ(0, state(&self->dev).lent);
	EXPECT_EQ(0, used_pages(&self->dev));
	EXPECT_EQ(0, buffer_free(&self->dev, id));
	EXPECT_EQ(2 * BLOCK_PAGES, move_blocks_in(&self->dev, map, 2));
	EXPECT_EQ(0, differences(map, 2 * HUGE, 1));
}

/* Processes have all of the memory, and then half of it. */
TEST_F(buffer, buffer_evicts_processes)
{
	size_t half = self->blocks / 2;
	char *map = map_blocks(self->blocks, 1);
	struct hmm_dmirror_buffer now;
	long id;

	ASSERT_NE(NULL, map);
	ASSERT_EQ(self->blocks * BLOCK_PAGES,
		  move_blocks_in(&self->dev, map, self->blocks));
	EXPECT_EQ(0, state(&self->dev).free);

	id = buffer_alloc(&self->dev, half, 0);
	ASSERT_LT(0, id);
	now = state(&self->dev);
	EXPECT_EQ(half * HUGE, now.buffers);
	EXPECT_EQ(half * HUGE, now.lent);
	EXPECT_EQ(half * BLOCK_PAGES, used_pages(&self->dev));
	EXPECT_EQ(0, differences(map, self->blocks * HUGE, 1));
	EXPECT_EQ(0, buffer_free(&self->dev, id));
}

/* Buffers have all of the memory, and then half of it. */
TEST_F(buffer, process_evicts_buffers)
{
	size_t half = self->blocks / 2;
	char *map = map_blocks(half, 1);
	struct hmm_dmirror_buffer now;
	long old, recent;

	ASSERT_NE(NULL, map);
	old = buffer_alloc(&self->dev, half, 0);
	ASSERT_LT(0, old);
	recent = buffer_alloc(&self->dev, half, 0);
	ASSERT_LT(0, recent);
	EXPECT_EQ(-ENOSPC, move_blocks_in(&self->dev, map, half));
	EXPECT_EQ(half * HUGE, buffer_resident(&self->dev, old));

	ASSERT_EQ(half * BLOCK_PAGES, push_in(&self->dev, map, half));
	now = state(&self->dev);
	EXPECT_EQ(half * HUGE, now.buffers);
	EXPECT_EQ(half * HUGE, now.lent);
	EXPECT_EQ(0, buffer_resident(&self->dev, old));
	EXPECT_EQ(half * HUGE, buffer_resident(&self->dev, recent));

	/* Among themselves, now. */
	EXPECT_EQ(0, buffer_use(&self->dev, old));
	EXPECT_EQ(0, buffer_resident(&self->dev, recent));
	EXPECT_EQ(half * BLOCK_PAGES, used_pages(&self->dev));
	EXPECT_EQ(0, differences(map, half * HUGE, 1));
	EXPECT_EQ(0, buffer_free(&self->dev, old));
	EXPECT_EQ(0, buffer_free(&self->dev, recent));
}

/* Two blocks of process memory and no room for a third. */
static bool two_blocks(struct _test_data_buffer *self, char **map)
{
	int i;

	for (i = 0; i < 2; i++) {
		map[i] = map_blocks(1, i + 1);
		if (!map[i] ||
		    move_blocks_in(&self->dev, map[i], 1) != (long)BLOCK_PAGES)
			return false;
	}
	return buffer_pin(&self->dev, self->blocks - 2) > 0;
}

TEST_F(buffer, oldest_block_first)
{
	char *map[2];
	uint64_t sum;

	ASSERT_TRUE(two_blocks(self, map));
	/* The device uses the first one: now the second one is older. */
	ASSERT_EQ(0, dmirror_sum(&self->dev, map[0], HUGE, &sum));
	EXPECT_EQ(pattern_sum(HUGE, 1), sum);
	ASSERT_LT(0, buffer_alloc(&self->dev, 1, 0));
	EXPECT_EQ(BLOCK_PAGES, pages_there(&self->dev, map[0]));
	EXPECT_EQ(0, pages_there(&self->dev, map[1]));
	EXPECT_EQ(BLOCK_PAGES, used_pages(&self->dev));
	EXPECT_EQ(0, differences(map[0], HUGE, 1));
	EXPECT_EQ(0, differences(map[1], HUGE, 2));
}

/* What the device keeps of process memory is kept from buffers, too. */
TEST_F(buffer, kept)
{
	char *map[2];

	ASSERT_TRUE(two_blocks(self, map));
	ASSERT_EQ(0, dmirror_inject(&self->dev, HMM_DMIRROR_INJECT_EVICT_KEEP,
				    0, ~0U, 0));
	EXPECT_EQ(-ENOSPC, buffer_alloc(&self->dev, 1, 0));
	EXPECT_EQ(2 * BLOCK_PAGES, used_pages(&self->dev));

	/* The first one only. */
	ASSERT_EQ(0, dmirror_inject(&self->dev, HMM_DMIRROR_INJECT_EVICT_KEEP,
				    0, 1, 0));
	ASSERT_LT(0, buffer_alloc(&self->dev, 1, 0));
	EXPECT_EQ(BLOCK_PAGES, pages_there(&self->dev, map[0]));
	EXPECT_EQ(0, pages_there(&self->dev, map[1]));
	EXPECT_EQ(0, differences(map[0], HUGE, 1));
	EXPECT_EQ(0, differences(map[1], HUGE, 2));
}

/* A pipe holds a page of the older block; private pages cannot be held so. */
TEST_F(buffer, held)
{
	size_t page = page_size();
	struct iovec vec = { .iov_len = page };
	char *map[2], *copy = malloc(page);
	int pipes[2];

	if (variant->memory == PRIVATE)
		return;
	ASSERT_NE(NULL, copy);
	ASSERT_TRUE(two_blocks(self, map));
	vec.iov_base = map[0];
	ASSERT_EQ(0, pipe(pipes));
	ASSERT_EQ(page, vmsplice(pipes[1], &vec, 1, 0));
	ASSERT_LT(0, buffer_pin(&self->dev, 1));
	EXPECT_EQ(HUGE, state(&self->dev).lent);
	EXPECT_EQ(1, used_pages(&self->dev));
	ASSERT_EQ(page, read(pipes[0], copy, page));
	EXPECT_EQ(0, differences(copy, page, 1));
	/* Let go, its block can have a buffer, too. */
	ASSERT_LT(0, buffer_pin(&self->dev, 1));
	EXPECT_EQ(0, used_pages(&self->dev));
	EXPECT_EQ(0, differences(map[0], HUGE, 1));
	EXPECT_EQ(0, differences(map[1], HUGE, 2));
}

/* A device that fails to copy what lies in its memory keeps it. */
TEST_F(buffer, failing)
{
	struct hmm_dmirror_buffer buffer = {
		.op = HMM_DMIRROR_BUFFER_ALLOC,
		.timeout_ms = 300,
		.size = HUGE,
	};
	char *map[2];

	ASSERT_TRUE(two_blocks(self, map));
	ASSERT_EQ(0, dmirror_inject(&self->dev, HMM_DMIRROR_INJECT_COPY_REFUSE,
				    0, ~0U, 0));
	EXPECT_EQ(-ETIME, dmirror_buffer(&self->dev, &buffer));
	EXPECT_EQ(0, buffer.id);
	EXPECT_EQ(2 * BLOCK_PAGES, used_pages(&self->dev));
	ASSERT_EQ(0, dmirror_inject(&self->dev, HMM_DMIRROR_INJECT_COPY_REFUSE,
				    0, 0, 0));
	EXPECT_LT(0, buffer_alloc(&self->dev, 1, 0));
	EXPECT_EQ(0, differences(map[0], HUGE, 1));
	EXPECT_EQ(0, differences(map[1], HUGE, 2));
}

/* A buffer belongs to the file. */
TEST_F(buffer, files)
{
	struct dmirror another;
	long id;

	ASSERT_EQ(0, dmirror_open(&another, self->dev.number));
	id = buffer_pin(&another, self->blocks);
	ASSERT_LT(0, id);
	EXPECT_EQ(-ENOENT, buffer_resident(&self->dev, id));
	EXPECT_EQ(-ENOENT, buffer_use(&self->dev, id));
	EXPECT_EQ(-ENOENT, buffer_free(&self->dev, id));
	EXPECT_EQ(self->blocks * HUGE, buffer_resident(&another, id));
	dmirror_close(&another);
	EXPECT_EQ(self->blocks * HUGE, state(&self->dev).free);
}

/* Add 1 to a word of every 64th page, on the device; 0 or what went wrong. */
static int process_round(struct dmirror *dev, char *map, uint64_t *moved)
{
	struct hmm_dmirror_migrate result;
	uint64_t value;
	size_t i;
	int ret;

	ret = dmirror_make_room(dev, map, WANTED * HUGE, &result);
	if (ret && ret != -ENOSPC)
		return 3;
	*moved += result.moved;
	for (i = 0; i < WANTED * HUGE; i += 64 * page_size())
		if (dmirror_atomic_add(dev, (uint64_t *)(map + i), 1, 1, &value))
			return 4;
	return 0;
}

static int compete_as_process(unsigned int device, uint64_t end)
{
	char *map = map_huge(WANTED * HUGE);
	uint64_t rounds, moved = 0, wrong = 0;
	struct dmirror dev;
	size_t i;
	int ret;

	if (!map || dmirror_open(&dev, device))
		return 1;
	/* Small pages in every other process. */
	if (getpid() % 2 && madvise(map, WANTED * HUGE, MADV_NOHUGEPAGE))
		return 2;
	for (i = 0; i < WANTED * HUGE; i += page_size())
		*(uint64_t *)(map + i) = i;
	for (rounds = 0; now_us() < end || !moved; rounds++) {
		ret = process_round(&dev, map, &moved);
		if (ret)
			return ret;
	}
	for (i = 0; i < WANTED * HUGE; i += page_size())
		wrong += *(uint64_t *)(map + i) !=
			 i + (i % (64 * page_size()) ? 0 : rounds);
	dmirror_close(&dev);
	return wrong ? 5 : 0;
}

static int compete_as_buffer(unsigned int device, uint64_t end)
{
	unsigned int got = 0;
	struct dmirror dev;
	long id, ret;

	if (dmirror_open(&dev, device))
		return 11;
	while (now_us() < end || !got) {
		id = buffer_alloc(&dev, WANTED, 0);
		if (id == -ENOSPC || id == -ETIME)
			continue;
		if (id <= 0)
			return 12;
		got++;
		ret = buffer_use(&dev, id);
		if (ret && ret != -ENOSPC && ret != -ETIME)
			return 13;
		if (buffer_free(&dev, id))
			return 14;
	}
	dmirror_close(&dev);
	return 0;
}

/* More than there is: all get something, and nothing is damaged. */
TEST_F(buffer, compete)
{
	uint64_t end = now_us() + race_ms() * 1000ull;
	pid_t children[2 * COMPETITORS];
	int i;

	for (i = 0; i < 2 * COMPETITORS; i++) {
		children[i] = fork();
		ASSERT_LE(0, children[i]);
		if (!children[i])
			_exit(i % 2 ?
			      compete_as_process(self->dev.number, end) :
			      compete_as_buffer(self->dev.number, end));
	}
	for (i = 0; i < 2 * COMPETITORS; i++)
		EXPECT_EQ(0, child_status(children[i]));
	EXPECT_EQ(0, used_pages(&self->dev));
	EXPECT_EQ(0, state(&self->dev).buffers);
	EXPECT_TRUE(wait_lent(&self->dev, 0));
}

/* Copy a good argument, make one change, expect @error from the ioctl. */
#define BAD(error, good, change) do { \
	struct hmm_dmirror_buffer __arg = good; \
	__arg.change; \
	EXPECT_EQ(error, dmirror_buffer(&self->dev, &__arg)) { \
		TH_LOG("%s with .%s", #good, #change); \
	} \
} while (0)

TEST_F(buffer, members)
{
	const struct hmm_dmirror_buffer alloc = {
		.op = HMM_DMIRROR_BUFFER_ALLOC,
		.size = HUGE,
	};
	struct hmm_dmirror_buffer use = { .op = HMM_DMIRROR_BUFFER_USE };
	struct hmm_dmirror_buffer release = { .op = HMM_DMIRROR_BUFFER_FREE };
	long id = buffer_alloc(&self->dev, 1, 0);

	ASSERT_LT(0, id);
	use.id = id;
	release.id = id;
	BAD(-EINVAL, alloc, op = HMM_DMIRROR_BUFFER_STATE + 1);
	BAD(-EINVAL, alloc, op = ~0U);
	BAD(-EINVAL, alloc, flags = 2);
	BAD(-EINVAL, alloc, id = 1);
	BAD(-EINVAL, alloc, size = 0);
	BAD(-EINVAL, alloc, size = HUGE + 1);
	BAD(-EINVAL, alloc, size = page_size());
	BAD(-EINVAL, alloc, size = (self->blocks + 1) * HUGE);
	BAD(-EINVAL, alloc, size = ~0ull << 21);
	BAD(-EINVAL, alloc, timeout_ms = 60001);
	BAD(-EINVAL, use, timeout_ms = 60001);
	BAD(-EINVAL, use, flags = HMM_DMIRROR_BUFFER_PINNED);
	BAD(-EINVAL, use, size = HUGE);
	BAD(-EINVAL, use, id = 0);
	BAD(-ENOENT, use, id = id + 1);
	BAD(-EINVAL, release, timeout_ms = 1);
	BAD(-EINVAL, release, flags = HMM_DMIRROR_BUFFER_PINNED);
	BAD(-EINVAL, release, size = HUGE);
	BAD(-EINVAL, release, id = 0);
	BAD(-ENOENT, release, id = id + 1);
	EXPECT_EQ(-1, ioctl(self->dev.fd, HMM_DMIRROR_BUFFER, NULL));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(HUGE, buffer_resident(&self->dev, id));
	EXPECT_EQ(HUGE, state(&self->dev).buffers);
	EXPECT_EQ(0, buffer_free(&self->dev, id));
	EXPECT_EQ(-ENOENT, buffer_free(&self->dev, id));
}

/* The memory of other devices is the toolbox's alone. */
TEST(not_shared)
{
	struct dmirror dev;
	unsigned int number;
	bool found = false;

	for (number = 0; !dmirror_open(&dev, number); number++) {
		if (!(dev.info.flags & HMM_DMIRROR_INFO_SHARED)) {
			EXPECT_EQ(-EOPNOTSUPP, buffer_alloc(&dev, 1, 0));
			found = true;
		}
		dmirror_close(&dev);
	}
	if (!found)
		SKIP(return, "hmm_dmirror has no such device");
}

TEST_HARNESS_MAIN
