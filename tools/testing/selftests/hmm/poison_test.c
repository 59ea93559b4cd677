// SPDX-License-Identifier: GPL-2.0
/*
 * Memory errors: the device declares pages of its memory lost.  Whoever uses one gets
 * SIGBUS, nobody else notices, and the page frame is never used again.
 *
 * Frames stay poisoned until the module is unloaded: run this late.
 *
 * HMM_RACE_MS: how long the race takes, 1000 without it
 */
#define _GNU_SOURCE
#include "lost.h"

#define BAD		5	/* the page that is poisoned */
#define NO_ACCESS	HMM_DMIRROR_STATUS_NO_ACCESS

#define PAGES		32

/* So long the driver tries to bring its memory back to RAM. */
#define REMOVE_US	10000000

static uint64_t poisoned_pages(struct dmirror *dev)
{
	struct hmm_dmirror_stats stats;

	if (dmirror_stats(dev, &stats))
		return ~0ull;
	return stats.poisoned;
}

FIXTURE(poison)
{
	struct dmirror dev;
	size_t page;
	size_t length;
	char *data;		/* filled, in device memory and mapped there */
	char *bad;
	uint64_t before;	/* pages poisoned by others */
	bool can;		/* the kernel can do it for this memory */
};

FIXTURE_VARIANT(poison)
{
	enum hmm_dmirror_memory memory;
};

FIXTURE_VARIANT_ADD(poison, private)
{
	.memory = PRIVATE,
};

FIXTURE_VARIANT_ADD(poison, cdm)
{
	.memory = CDM,
};

FIXTURE_SETUP(poison)
{
	OPEN_OR_SKIP(return, &self->dev, variant->memory, 0);
	self->page = page_size();
	self->length = PAGES * self->page;
	self->before = poisoned_pages(&self->dev);
	self->can = variant->memory == PRIVATE || can_unmap();
	ASSERT_EQ(0, used_pages(&self->dev));
	self->data = map_alone(self->length, false);
	ASSERT_NE(NULL, self->data);
	self->bad = self->data + BAD * self->page;
	fill_pages(self->data, PAGES);
	ASSERT_TRUE(move_in(&self->dev, self->data, self->length));
	ASSERT_EQ(0, dmirror_prefetch(&self->dev, self->data, self->length, 0,
				      NULL));
	ASSERT_EQ(PAGES, used_pages(&self->dev));
}

FIXTURE_TEARDOWN(poison)
{
	dmirror_close(&self->dev);
}

/* Poison page BAD; false, and nothing has changed, where that cannot be done. */
static bool poison_bad(struct __test_metadata *_metadata,
		       struct _test_data_poison *self)
{
	if (self->can) {
		EXPECT_EQ(0, dmirror_poison(&self->dev, self->bad, self->page,
					    NULL));
		EXPECT_EQ(self->before + 1, poisoned_pages(&self->dev));
		return true;
	}
	EXPECT_EQ(-EOPNOTSUPP, dmirror_poison(&self->dev, self->bad, self->page,
					      NULL));
	EXPECT_EQ(self->before, poisoned_pages(&self->dev));
	EXPECT_EQ(PAGES, used_pages(&self->dev));
	EXPECT_EQ(0, lost_pages(self->data, PAGES));
	return false;
}

TEST_F(poison, one_of_many)
{
	if (!poison_bad(_metadata, self))
		return;
	/* Taken from its process, it is used by nobody any more. */
	EXPECT_EQ(PAGES - can_unmap(), used_pages(&self->dev));
	EXPECT_EQ(BUS_MCEERR_AR, touch(self->bad, true));
	EXPECT_EQ(BUS_MCEERR_AR, touch(self->bad, false));
	EXPECT_EQ(1, lost_pages(self->data, PAGES));
	ASSERT_EQ(0, munmap(self->data, self->length));
	EXPECT_EQ(0, used_pages(&self->dev));
	EXPECT_EQ(self->before + 1, poisoned_pages(&self->dev));
}

/* Without a handler it is the end of the process, and of no other. */
TEST_F(poison, fatal)
{
	pid_t child;

	if (!poison_bad(_metadata, self))
		return;
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		signal(SIGBUS, SIG_DFL);
		_exit(*(volatile char *)self->bad);
	}
	EXPECT_EQ(256 + SIGBUS, child_status(child));
	EXPECT_EQ(1, lost_pages(self->data, PAGES));
}

/* The same page in two processes, of which one came later. */
TEST_F(poison, shared)
{
	pid_t sooner, later;
	int ready[2];
	char byte;

	ASSERT_EQ(0, pipe(ready));
	sooner = fork();
	ASSERT_LE(0, sooner);
	if (!sooner) {
		close(ready[1]);
		if (read(ready[0], &byte, 1))
			_exit(100);
		_exit(lost_pages(self->data, PAGES));
	}
	/* Read-only since the fork: the device maps them anew. */
	EXPECT_EQ(0, dmirror_prefetch(&self->dev, self->data, self->length, 0,
				      NULL));
	if (poison_bad(_metadata, self)) {
		later = fork();
		ASSERT_LE(0, later);
		if (!later)
			_exit(lost_pages(self->data, PAGES));
		EXPECT_EQ(1, child_status(later));
	}
	close(ready[1]);
	EXPECT_EQ(self->can, child_status(sooner));
	EXPECT_EQ(self->can, lost_pages(self->data, PAGES));
	ASSERT_EQ(0, munmap(self->data, self->length));
	EXPECT_EQ(0, used_pages(&self->dev));
}

/* Another process has other pages in the same device memory. */
TEST_F(poison, others)
{
	int ready[2], go[2];
	char byte = 0;
	pid_t child;

	ASSERT_EQ(0, pipe(ready));
	ASSERT_EQ(0, pipe(go));
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		char *own = map_alone(self->length, false);
		struct dmirror dev;

		close(go[1]);
		if (!own || dmirror_open(&dev, self->dev.number))
			_exit(100);
		fill_pages(own, PAGES);
		if (!move_in(&dev, own, self->length) ||
		    write(ready[1], &byte, 1) != 1 || read(go[0], &byte, 1))
			_exit(101);
		_exit(lost_pages(own, PAGES));
	}
	close(ready[1]);
	ASSERT_EQ(1, read(ready[0], &byte, 1));
	ASSERT_EQ(2 * PAGES, used_pages(&self->dev));
	/* The frames of both processes lie side by side, so poison all of one's. */
	EXPECT_EQ(0, dmirror_prefetch(&self->dev, self->data, self->length, 0,
				      NULL));
	EXPECT_EQ(self->can ? 0 : -EOPNOTSUPP,
		  dmirror_poison(&self->dev, self->data, self->length, NULL));
	EXPECT_EQ(self->before + (self->can ? PAGES : 0),
		  poisoned_pages(&self->dev));
	close(go[1]);
	EXPECT_EQ(0, child_status(child));
	EXPECT_EQ(self->can ? PAGES : 0, lost_pages(self->data, PAGES));
}

/* The address can be used again as soon as the page is given up. */
TEST_F(poison, new_memory)
{
	char *next = self->bad + self->page, *moved = self->bad + 2 * self->page;
	char *to = map_pages(1);

	if (!poison_bad(_metadata, self))
		return;
	ASSERT_NE(NULL, to);
	/* The first may have taken a leaf with it. */
	ASSERT_EQ(0, dmirror_prefetch(&self->dev, next, 2 * self->page, 0,
				      NULL));
	ASSERT_EQ(0, dmirror_poison(&self->dev, next, 2 * self->page, NULL));
	ASSERT_EQ(self->bad, mmap(self->bad, self->page, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
				  0));
	ASSERT_EQ(0, madvise(next, self->page, MADV_DONTNEED));
	ASSERT_EQ(0, touch(self->bad, false));
	EXPECT_EQ(0, others(self->bad, self->page, 0));
	ASSERT_EQ(0, touch(next, false));
	EXPECT_EQ(0, others(next, self->page, 0));

	ASSERT_EQ(to, mremap(moved, self->page, self->page,
			     MREMAP_MAYMOVE | MREMAP_FIXED, to));
	EXPECT_EQ(BUS_MCEERR_AR, touch(to, false));
	ASSERT_EQ(0, munmap(to, self->page));

	fill(self->bad, self->page, 7);
	EXPECT_TRUE(move_in(&self->dev, self->bad, self->page));
	EXPECT_EQ(0, dmirror_fill(&self->dev, next, self->page, 8));
	EXPECT_EQ(0, differences(self->bad, self->page, 7));
	EXPECT_EQ(0, others(next, self->page, 8));
	EXPECT_EQ(self->before + 3, poisoned_pages(&self->dev));
}

/* Frames that were in use and frames that were free: none is had again. */
TEST_F(poison, never_again)
{
	size_t total = self->dev.info.memory_size / self->page;
	struct hmm_dmirror_migrate result;
	uint64_t offset, poisoned;
	char *map;

	if (!poison_bad(_metadata, self))
		return;
	EXPECT_EQ(0, dmirror_read(&self->dev, self->bad + self->page, 1));
	ASSERT_EQ(0, dmirror_poison(&self->dev, self->bad + self->page,
				    self->page, &offset));
	ASSERT_EQ(0, munmap(self->data, self->length));
	ASSERT_EQ(0, used_pages(&self->dev));
	/* Once more, and now they are free; then all others around. */
	EXPECT_EQ(0, dmirror_poison_offset(&self->dev, offset, self->page));
	EXPECT_EQ(self->before + 2, poisoned_pages(&self->dev));
	offset = offset / (16 * self->page) * (16 * self->page);
	EXPECT_EQ(0, dmirror_poison_offset(&self->dev, offset, 16 * self->page));
	poisoned = poisoned_pages(&self->dev);
	EXPECT_LE(self->before + 2, poisoned);
	EXPECT_GE(self->before + 17, poisoned);

	map = map_pages(total);
	ASSERT_NE(NULL, map);
	EXPECT_EQ(-ENOSPC, migrate(&self->dev, map, total * self->page,
				   HMM_DMIRROR_TO_DEVICE, &result));
	EXPECT_EQ(total - poisoned, result.moved + result.filled);
	EXPECT_EQ(total - poisoned, used_pages(&self->dev));
	ASSERT_EQ(0, munmap(map, total * self->page));
	EXPECT_EQ(0, used_pages(&self->dev));
	EXPECT_EQ(poisoned, poisoned_pages(&self->dev));
}

/* All others are evicted, and nobody waits for that one. */
TEST_F(poison, evict)
{
	struct hmm_dmirror_evict evict = {
		.nr_pages = ~0ull,
		.timeout_ms = 20000,
	};
	uint64_t start;

	if (!poison_bad(_metadata, self))
		return;
	start = now_us();
	EXPECT_EQ(0, dmirror_evict_as(&self->dev, &evict));
	EXPECT_GT(REMOVE_US, now_us() - start);
	EXPECT_EQ(PAGES - 1, evict.evicted);
	EXPECT_EQ(!can_unmap(), evict.failed);
	EXPECT_EQ(0, evict.kept + evict.busy + evict.no_ram + evict.untried);
	EXPECT_EQ(!can_unmap(), used_pages(&self->dev));
	EXPECT_EQ(1, lost_pages(self->data, PAGES));
}

TEST_F(poison, migrate)
{
	struct hmm_dmirror_migrate result;

	if (!poison_bad(_metadata, self))
		return;
	EXPECT_EQ(0, migrate(&self->dev, self->data, self->length,
			     HMM_DMIRROR_TO_RAM, &result));
	EXPECT_EQ(PAGES - 1, result.moved);
	EXPECT_EQ(1, result.left);
	EXPECT_EQ(1, lost_pages(self->data, PAGES));
	EXPECT_EQ(0, migrate(&self->dev, self->data, self->length,
			     HMM_DMIRROR_TO_DEVICE, &result));
	EXPECT_EQ(PAGES - 1, result.moved);
	EXPECT_EQ(1, result.left);
	EXPECT_EQ(1, lost_pages(self->data, PAGES));
}

/* The device cannot use it either. */
TEST_F(poison, device)
{
	struct hmm_dmirror_prefetch prefetch;

	if (!poison_bad(_metadata, self))
		return;
	EXPECT_EQ(!can_unmap(), mapped(&self->dev, self->bad, self->page,
				       MAPPED));
	/* Where the kernel does not, let something else invalidate it. */
	ASSERT_EQ(0, mprotect(self->data, self->length, PROT_READ));
	EXPECT_EQ(NO_ACCESS, dmirror_read(&self->dev, self->bad, 1));
	EXPECT_EQ(0, dmirror_read(&self->dev, self->bad + self->page,
				  self->page));
	ASSERT_EQ(0, mprotect(self->data, self->length, PROT_READ | PROT_WRITE));
	EXPECT_EQ(NO_ACCESS, dmirror_fill(&self->dev, self->bad, self->page, 9));
	EXPECT_EQ(-EFAULT, dmirror_fault_many(&self->dev, 1, self->bad, 0,
					      NULL));
	EXPECT_EQ(0, dmirror_prefetch(&self->dev, self->data, self->length, 0,
				      &prefetch));
	EXPECT_EQ(PAGES - 1, prefetch.mapped);
	EXPECT_EQ(1, prefetch.refused);
	EXPECT_EQ(0, prefetch.missing + prefetch.left);
	EXPECT_EQ(PAGES - 1, mapped(&self->dev, self->data, self->length,
				    MAPPED));
	EXPECT_EQ(1, lost_pages(self->data, PAGES));
}

/* As if a CPU had met the error.  The CPU can only meet it in CDM. */
TEST_F(poison, memory_failure)
{
	int ret;

	if (variant->memory == PRIVATE)
		return;
	ret = madvise(self->bad, self->page, MADV_HWPOISON) ? -errno : 0;
	if (ret == -EINVAL)
		SKIP(return, "the kernel does not inject memory failures");
	EXPECT_EQ(self->can ? 0 : -ENXIO, ret);
	EXPECT_EQ(self->before + self->can, poisoned_pages(&self->dev));
	EXPECT_EQ(PAGES - self->can, used_pages(&self->dev));
	EXPECT_EQ(self->can, lost_pages(self->data, PAGES));
}

/* A pipe holds the page: its frame is in use until it lets go, but not mapped. */
TEST_F(poison, held)
{
	struct iovec vec = { .iov_base = self->bad, .iov_len = self->page };
	struct hmm_dmirror_evict evict = {
		.nr_pages = ~0ull,
		.timeout_ms = 20000,
	};
	int holder[2];
	uint64_t start;

	/* Private pages cannot be held so. */
	if (variant->memory == PRIVATE)
		return;
	ASSERT_EQ(0, pipe(holder));
	ASSERT_EQ(self->page, vmsplice(holder[1], &vec, 1, 0));
	if (!poison_bad(_metadata, self))
		return;
	EXPECT_EQ(PAGES, used_pages(&self->dev));
	EXPECT_EQ(1, lost_pages(self->data, PAGES));
	start = now_us();
	EXPECT_EQ(0, dmirror_evict_as(&self->dev, &evict));
	EXPECT_GT(REMOVE_US, now_us() - start);
	EXPECT_EQ(PAGES - 1, evict.evicted);
	EXPECT_EQ(1, evict.failed);
	EXPECT_EQ(1, used_pages(&self->dev));
	close(holder[0]);
	close(holder[1]);
	EXPECT_EQ(0, used_pages(&self->dev));
	EXPECT_EQ(self->before + 1, poisoned_pages(&self->dev));
	EXPECT_EQ(1, lost_pages(self->data, PAGES));
}

struct mover {
	pthread_t thread;
	struct dmirror *dev;
	char *data;
	size_t length;
	bool stop;
	unsigned int rounds;
	int result;		/* the first that is not allowed */
};

/* To the device and back, and the device maps what is there. */
static void *move_about(void *arg)
{
	struct mover *mover = arg;
	int ret = 0;

	while (!ret && !__atomic_load_n(&mover->stop, __ATOMIC_RELAXED)) {
		ret = dmirror_migrate(mover->dev, mover->data, mover->length,
				      HMM_DMIRROR_TO_DEVICE, NULL);
		if (!ret)
			ret = dmirror_prefetch(mover->dev, mover->data,
					       mover->length, 0, NULL);
		usleep(500);
		if (!ret)
			ret = dmirror_migrate(mover->dev, mover->data,
					      mover->length, HMM_DMIRROR_TO_RAM,
					      NULL);
		__atomic_add_fetch(&mover->rounds, 1, __ATOMIC_RELAXED);
	}
	mover->result = ret;
	return NULL;
}

/* Pages on the move: each is lost, or it is what it was. */
TEST_F(poison, race)
{
	uint64_t end = now_us() + race_ms() * 1000ull;
	struct mover mover = {
		.dev = &self->dev,
		.data = self->data,
		.length = self->length,
	};
	unsigned int i = 0, hits = 0;
	long lost;
	int ret;

	if (!self->can)
		return;
	ASSERT_EQ(0, pthread_create(&mover.thread, NULL, move_about, &mover));
	while ((now_us() < end ||
		__atomic_load_n(&mover.rounds, __ATOMIC_RELAXED) < 2) &&
	       hits < PAGES) {
		ret = dmirror_poison(&self->dev, self->data + i * self->page,
				     self->page, NULL);
		hits += !ret;
		EXPECT_TRUE(!ret || ret == -ENXIO || ret == -EBUSY)
			TH_LOG("%s", strerror(-ret));
		i = (i + 1) % PAGES;
	}
	__atomic_store_n(&mover.stop, true, __ATOMIC_RELAXED);
	ASSERT_EQ(0, pthread_join(mover.thread, NULL));
	EXPECT_EQ(0, mover.result);
	lost = lost_pages(self->data, PAGES);
	EXPECT_LE(0, lost);
	EXPECT_GE(poisoned_pages(&self->dev) - self->before, lost);
	TH_LOG("%u rounds, %u hits, %ld pages lost", mover.rounds, hits, lost);
	ASSERT_EQ(0, munmap(self->data, self->length));
	EXPECT_EQ(0, used_pages(&self->dev));
}

TEST_F(poison, arguments)
{
	struct hmm_dmirror_poison good = {
		.addr = (uintptr_t)self->data,
		.length = self->page,
	}, args;
	uint64_t size = self->dev.info.memory_size;
	char *ram = map_pages(1);
	struct dmirror none;

#define REFUSED(error, member) do { \
	args = good; \
	args.member; \
	EXPECT_EQ(-1, ioctl(self->dev.fd, HMM_DMIRROR_POISON, &args)); \
	EXPECT_EQ(error, errno) \
		TH_LOG("%s", #member); \
} while (0)
	REFUSED(EINVAL, length = 0);
	REFUSED(EINVAL, length = 1);
	REFUSED(EINVAL, length = HUGE + self->page);
	REFUSED(EINVAL, length = -self->page);
	REFUSED(EINVAL, addr++);
	REFUSED(EINVAL, addr = -self->page);
	REFUSED(EINVAL, flags = 2);
	REFUSED(EINVAL, reserved = 1);
#undef REFUSED
	EXPECT_EQ(-1, ioctl(self->dev.fd, HMM_DMIRROR_POISON, NULL));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-EINVAL, dmirror_poison_offset(&self->dev, size, self->page));
	EXPECT_EQ(-EINVAL, dmirror_poison_offset(&self->dev, size - self->page,
						 2 * self->page));

	ASSERT_NE(NULL, ram);
	EXPECT_EQ(-ENXIO, dmirror_poison(&self->dev, ram, self->page, NULL));
	*ram = 1;
	ASSERT_EQ(0, dmirror_read(&self->dev, ram, self->page));
	EXPECT_EQ(-ENXIO, dmirror_poison(&self->dev, ram, self->page, NULL));
	if (!dmirror_open_memory(&none, NONE, 0)) {
		EXPECT_EQ(-EOPNOTSUPP, dmirror_poison(&none, self->data,
						      self->page, NULL));
		EXPECT_EQ(-EOPNOTSUPP,
			  dmirror_inject(&none, HMM_DMIRROR_INJECT_GONE, 0, 1,
					 0));
		dmirror_close(&none);
	}
	EXPECT_EQ(self->before, poisoned_pages(&self->dev));
	EXPECT_EQ(0, lost_pages(self->data, PAGES));
}

TEST_HARNESS_MAIN
