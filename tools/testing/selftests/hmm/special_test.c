// SPDX-License-Identifier: GPL-2.0
/*
 * The device works on memory that the kernel or another part of userspace does
 * something special with: the data is right or the access is refused.
 */
#define _GNU_SOURCE
#include <poll.h>

#include "cpu.h"
#include "dmirror_test.h"
#include "userfaultfd.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL	102
#define MADV_GUARD_REMOVE	103
#endif

#ifndef MPOL_MF_MOVE
#define MPOL_MF_MOVE		(1 << 1)
#endif

#define PAGES		32
#define WRITABLE	HMM_DMIRROR_PAGE_WRITE

FIXTURE(special)
{
	struct dmirror dev;
	size_t page;
	size_t length;
	char *data;		/* PAGES pages with pattern 1 */
};

FIXTURE_VARIANT(special)
{
	enum hmm_dmirror_memory memory;
	bool dma;
};

FIXTURE_VARIANT_ADD(special, none)
{
	.memory = NONE,
};

FIXTURE_VARIANT_ADD(special, dma)
{
	.memory = NONE,
	.dma = true,
};

FIXTURE_VARIANT_ADD(special, private)
{
	.memory = PRIVATE,
};

FIXTURE_SETUP(special)
{
	OPEN_KIND_OR_SKIP(return, &self->dev, variant->memory, variant->dma);
	self->page = page_size();
	self->length = PAGES * self->page;
	self->data = map_pages(PAGES);
	ASSERT_NE(NULL, self->data);
	fill(self->data, self->length, 1);
}

FIXTURE_TEARDOWN(special)
{
	dmirror_close(&self->dev);
}

static char *page_of(struct _test_data_special *self, unsigned int page)
{
	return self->data + page * self->page;
}

/* Page @page has what fill() of all pages with @seed writes there. */
static bool page_is(struct _test_data_special *self, unsigned int page,
		    uint64_t seed)
{
	const volatile uint64_t *words = (uint64_t *)page_of(self, page);
	size_t nr = self->page / sizeof(*words), i;

	for (i = 0; i < nr; i++)
		if (words[i] != pattern(seed, page * nr + i))
			return false;
	return true;
}

struct userfaults {
	int fd;
	char *content;		/* for missing pages */
	unsigned int missing;	/* pages to be filled */
	unsigned int protected;	/* pages to be opened for writing */
	unsigned int failures;
};

static void serve_userfault(struct userfaults *user, struct uffd_msg *msg)
{
	uint64_t addr = msg->arg.pagefault.address & ~(page_size() - 1);
	struct uffdio_copy copy = {
		.dst = addr,
		.src = (uintptr_t)user->content,
		.len = page_size(),
	};
	struct uffdio_writeprotect open = {
		.range.start = addr,
		.range.len = page_size(),
	};

	/* Count first: the ioctl lets the test go on. */
	if (msg->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP) {
		__atomic_fetch_add(&user->protected, 1, __ATOMIC_SEQ_CST);
		user->failures += !!ioctl(user->fd, UFFDIO_WRITEPROTECT, &open);
	} else {
		__atomic_fetch_add(&user->missing, 1, __ATOMIC_SEQ_CST);
		user->failures += !!ioctl(user->fd, UFFDIO_COPY, &copy);
	}
}

static void *serve_userfaults(void *arg)
{
	struct userfaults *user = arg;
	struct uffd_msg msg;

	while (read(user->fd, &msg, sizeof(msg)) == sizeof(msg))
		serve_userfault(user, &msg);
	return NULL;
}

static void stop_serving(struct userfaults *user, pthread_t thread)
{
	pthread_cancel(thread);
	pthread_join(thread, NULL);
	close(user->fd);
}

/* A range of which userspace fills a part. */
TEST_F(special, userfaultfd_prefetch)
{
	char *area = map_pages(PAGES), *mine = area + 8 * self->page;
	struct userfaults user = { .content = self->data };
	struct hmm_dmirror_prefetch result;
	pthread_t thread;
	unsigned int i;

	ASSERT_NE(NULL, area);
	user.fd = open_userfaultfd(mine, 8 * self->page,
				   UFFDIO_REGISTER_MODE_MISSING, 0);
	if (user.fd < 0)
		SKIP(return, "userfaultfd: %s", strerror(-user.fd));
	fill(area, 8 * self->page, 2);

	/* What is present only: nobody is asked. */
	ASSERT_EQ(0, dmirror_prefetch(&self->dev, area, self->length,
				      HMM_DMIRROR_PREFETCH_PRESENT, &result));
	EXPECT_EQ(8, result.mapped);
	EXPECT_EQ(PAGES - 8, result.missing);
	EXPECT_EQ(0, result.refused + result.left);

	ASSERT_EQ(0, pthread_create(&thread, NULL, serve_userfaults, &user));
	ASSERT_EQ(0, dmirror_prefetch(&self->dev, area, self->length,
				      HMM_DMIRROR_PREFETCH_WRITE, &result));
	EXPECT_EQ(PAGES, result.mapped);
	EXPECT_EQ(0, result.missing + result.refused + result.left);
	EXPECT_EQ(PAGES, mapped(&self->dev, area, self->length,
				MAPPED | WRITABLE));
	stop_serving(&user, thread);
	EXPECT_EQ(8, user.missing);
	EXPECT_EQ(0, user.failures);
	EXPECT_EQ(0, differences(area, 8 * self->page, 2));
	for (i = 0; i < 8; i++)
		EXPECT_EQ(0, differences(mine + i * self->page, self->page, 1));
	EXPECT_EQ(0, others(mine + 8 * self->page, 16 * self->page, 0));
}

struct sum {
	struct dmirror *dev;
	void *start;
	uint64_t sum;
	int result;
};

static void *sum_page(void *arg)
{
	struct sum *sum = arg;

	sum->result = dmirror_sum(sum->dev, sum->start, page_size(), &sum->sum);
	return NULL;
}

/* Nobody serves the fault any more: the page is a hole like any other. */
TEST_F(special, userfaultfd_closes)
{
	char *hole = map_pages(1);
	struct sum sum = { .dev = &self->dev, .start = hole };
	struct pollfd event = { .events = POLLIN };
	pthread_t thread;

	ASSERT_NE(NULL, hole);
	event.fd = open_userfaultfd(hole, self->page,
				    UFFDIO_REGISTER_MODE_MISSING, 0);
	if (event.fd < 0)
		SKIP(return, "userfaultfd: %s", strerror(-event.fd));
	ASSERT_EQ(0, pthread_create(&thread, NULL, sum_page, &sum));
	/* Without O_NONBLOCK poll() does not wait. */
	ASSERT_EQ(0, fcntl(event.fd, F_SETFL, O_NONBLOCK));
	ASSERT_EQ(1, poll(&event, 1, 60000));
	ASSERT_EQ(POLLIN, event.revents);
	close(event.fd);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(0, sum.result);
	EXPECT_EQ(0, sum.sum);
}

/* A device write asks the handler as a CPU write does, a read does not. */
TEST_F(special, userfaultfd_write_protect)
{
	struct uffdio_writeprotect protect = {
		.range.start = (uintptr_t)page_of(self, 4),
		.range.len = 4 * self->page,
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};
	struct userfaults user = {};
	struct hmm_dmirror_migrate moved;
	pthread_t thread;
	uint64_t sum;

	user.fd = open_userfaultfd(self->data, self->length,
				   UFFDIO_REGISTER_MODE_WP, 0);
	if (user.fd < 0)
		SKIP(return, "userfaultfd: %s", strerror(-user.fd));
	if (variant->memory != NONE)
		ASSERT_EQ(0, migrate(&self->dev, self->data, self->length,
				     HMM_DMIRROR_TO_DEVICE, &moved));
	ASSERT_EQ(0, dmirror_copy(&self->dev, self->data, self->data,
				  self->length));
	EXPECT_EQ(PAGES, mapped(&self->dev, self->data, self->length,
				WRITABLE));
	ASSERT_EQ(0, ioctl(user.fd, UFFDIO_WRITEPROTECT, &protect));
	EXPECT_EQ(0, mapped(&self->dev, page_of(self, 4), 4 * self->page,
			    WRITABLE));

	/* There is no handler yet: this would wait for ever. */
	ASSERT_EQ(0, dmirror_sum(&self->dev, self->data, self->length, &sum));
	EXPECT_EQ(pattern_sum(self->length, 1), sum);
	EXPECT_EQ(0, mapped(&self->dev, page_of(self, 4), 4 * self->page,
			    WRITABLE));

	ASSERT_EQ(0, pthread_create(&thread, NULL, serve_userfaults, &user));
	ASSERT_EQ(0, dmirror_fill(&self->dev, page_of(self, 5), self->page, 7));
	EXPECT_EQ(1, __atomic_load_n(&user.protected, __ATOMIC_SEQ_CST));
	EXPECT_EQ(0, mapped(&self->dev, page_of(self, 6), 2 * self->page,
			    WRITABLE));
	ASSERT_EQ(0, dmirror_fill(&self->dev, page_of(self, 3), 3 * self->page,
				  8));
	EXPECT_EQ(2, __atomic_load_n(&user.protected, __ATOMIC_SEQ_CST));
	EXPECT_EQ(0, others(page_of(self, 3), 3 * self->page, 8));
	EXPECT_TRUE(page_is(self, 2, 1));
	EXPECT_TRUE(page_is(self, 6, 1));
	stop_serving(&user, thread);
	EXPECT_EQ(0, user.missing);
	EXPECT_EQ(0, user.failures);
}

TEST_F(special, guard_pages)
{
	char *guard = page_of(self, 10);
	struct hmm_dmirror_prefetch result;
	struct hmm_dmirror_run run = {
		.program = HMM_DMIRROR_SUM,
		.addr = (uintptr_t)self->data,
		.length = self->length,
	};

	ASSERT_EQ(0, dmirror_copy(&self->dev, self->data, self->data,
				  self->length));
	if (madvise(guard, 2 * self->page, MADV_GUARD_INSTALL)) {
		ASSERT_EQ(EINVAL, errno);
		SKIP(return, "the kernel has no guard pages");
	}
	EXPECT_EQ(0, mapped(&self->dev, guard, 2 * self->page, MAPPED));
	EXPECT_EQ(PAGES - 2, mapped(&self->dev, self->data, self->length,
				    MAPPED));
	EXPECT_EQ(HMM_DMIRROR_STATUS_NO_ACCESS, dmirror_run(&self->dev, &run));
	EXPECT_EQ((uintptr_t)guard, run.fault_addr);
	EXPECT_EQ(pattern_sum(10 * self->page, 1), run.result);
	EXPECT_EQ(HMM_DMIRROR_STATUS_NO_ACCESS,
		  dmirror_fill(&self->dev, guard + self->page, 8, 2));
	ASSERT_EQ(0, dmirror_prefetch(&self->dev, self->data, self->length, 0,
				      &result));
	EXPECT_EQ(PAGES - 2, result.mapped);
	EXPECT_EQ(2, result.refused);

	ASSERT_EQ(0, madvise(guard, 2 * self->page, MADV_GUARD_REMOVE));
	ASSERT_EQ(0, dmirror_fill(&self->dev, guard, 8, 2));
	EXPECT_EQ(2, *(uint64_t *)guard);
	EXPECT_EQ(0, others(guard + 8, 2 * self->page - 8, 0));
	EXPECT_TRUE(page_is(self, 9, 1));
	EXPECT_TRUE(page_is(self, 12, 1));
}

#define KSM	"/sys/kernel/mm/ksm/"

/* How many pages of this process are merged. */
static long merged_pages(void)
{
	return read_number("/proc/self/ksm_merging_pages", NULL);
}

TEST_F(special, ksm)
{
	long run = read_number(KSM "run", NULL);
	long pages = read_number(KSM "pages_to_scan", NULL);
	uint64_t end, sum;
	unsigned int i;

	if (run < 0 || merged_pages() < 0)
		SKIP(return, "the kernel has no KSM");
	/* All the same, and the device could write until they are merged. */
	ASSERT_EQ(0, dmirror_fill(&self->dev, self->data, self->length, 5));
	EXPECT_EQ(PAGES, mapped(&self->dev, self->data, self->length,
				WRITABLE));
	ASSERT_EQ(0, madvise(self->data, self->length, MADV_MERGEABLE));
	ASSERT_EQ(0, write_text(KSM "pages_to_scan", "2000"));
	ASSERT_EQ(0, write_text(KSM "run", "1"));
	end = now_us() + 60000000;
	while (merged_pages() < PAGES && now_us() < end)
		usleep(10000);
	write_number(KSM "run", run);
	write_number(KSM "pages_to_scan", pages);
	ASSERT_EQ(PAGES, merged_pages());
	EXPECT_EQ(0, mapped(&self->dev, self->data, self->length, WRITABLE));

	ASSERT_EQ(0, dmirror_sum(&self->dev, self->data, self->length, &sum));
	EXPECT_EQ(self->length / 8 * 5, sum);
	EXPECT_EQ(0, mapped(&self->dev, self->data, self->length, WRITABLE));

	/* A write gives the page a frame of its own again. */
	ASSERT_EQ(0, dmirror_fill(&self->dev, page_of(self, 3), 8, 6));
	EXPECT_EQ(1, mapped(&self->dev, self->data, self->length, WRITABLE));
	EXPECT_EQ(WRITABLE, page_flags(&self->dev, page_of(self, 3)) & WRITABLE);
	EXPECT_EQ(6, *(uint64_t *)page_of(self, 3));
	EXPECT_EQ(0, others(page_of(self, 3) + 8, self->page - 8, 5));
	for (i = 0; i < PAGES; i++)
		if (i != 3)
			EXPECT_EQ(0, others(page_of(self, i), self->page, 5));
	EXPECT_EQ(0, madvise(self->data, self->length, MADV_UNMERGEABLE));
	ASSERT_EQ(0, dmirror_sum(&self->dev, self->data, self->length, &sum));
	EXPECT_EQ(self->length / 8 * 5 + 1, sum);
}

/* Adds to each page's first word in turn, while somebody moves the pages. */
struct adder {
	struct dmirror *dev;
	char *data;
	uint64_t done[PAGES];
	bool stop;
	int result;
};

static void *add_in_turn(void *arg)
{
	struct adder *adder = arg;
	unsigned int page = 0;
	uint64_t value;

	while (!__atomic_load_n(&adder->stop, __ATOMIC_RELAXED)) {
		adder->result = dmirror_atomic_add(adder->dev, (uint64_t *)
						   (adder->data +
						    page * page_size()),
						   1, 1, &value);
		if (adder->result)
			break;
		adder->done[page]++;
		page = (page + 1) % PAGES;
	}
	return NULL;
}

/* Nothing was lost, on any page. */
static bool additions_are_right(const struct adder *adder)
{
	unsigned int page;

	for (page = 0; page < PAGES; page++) {
		char *at = adder->data + page * page_size();

		if (*(volatile uint64_t *)at != adder->done[page] ||
		    others(at + 8, page_size() - 8, 0))
			return false;
	}
	return !adder->result && adder->done[0];
}

TEST_F(special, moves_between_nodes)
{
	uint64_t end = now_us() + race_ms() * 1000ull;
	struct adder adder = { .dev = &self->dev, .data = self->data };
	int nodes[2][PAGES], status[PAGES];
	unsigned int i, page, moves = 0;
	void *pages[PAGES];
	pthread_t thread;

	if (access("/sys/devices/system/node/node1", F_OK))
		SKIP(return, "the machine has one node");
	memset(self->data, 0, self->length);
	for (page = 0; page < PAGES; page++) {
		pages[page] = page_of(self, page);
		nodes[0][page] = 0;
		nodes[1][page] = 1;
	}
	ASSERT_EQ(0, pthread_create(&thread, NULL, add_in_turn, &adder));
	for (i = 0; now_us() < end || i < 4; i++) {
		long left = syscall(__NR_move_pages, 0, PAGES, pages,
				    nodes[i % 2], status, MPOL_MF_MOVE);

		EXPECT_LE(0, left);
		for (page = 0; page < PAGES; page++)
			moves += status[page] == (int)(i % 2);
		usleep(2000);
	}
	__atomic_store_n(&adder.stop, true, __ATOMIC_RELAXED);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	TH_LOG("%u moves", moves);
	EXPECT_LT(0, moves);
	EXPECT_TRUE(additions_are_right(&adder));
}

#define BALANCING	"/proc/sys/kernel/numa_balancing"
#define SCAN		"/sys/kernel/debug/sched/numa_balancing/"

/*
 * The kernel takes access rights away to see who comes: hints, no changes.  What
 * is in device memory has none to take.
 */
TEST_F(special, numa_balancing)
{
	struct adder adder = { .dev = &self->dev, .data = self->data };
	char *away = map_pages(PAGES);
	struct hmm_dmirror_migrate moved;
	long old = read_number(BALANCING, NULL), before, after;
	long delay = read_number(SCAN "scan_delay_ms", NULL);
	long period = read_number(SCAN "scan_period_min_ms", NULL);
	uint64_t end = now_us() + 3 * race_ms() * 1000ull;
	pthread_t thread;

	if (old < 0 || access("/sys/devices/system/node/node1", F_OK))
		SKIP(return, "the kernel does not balance nodes");
	ASSERT_NE(NULL, away);
	fill(away, self->length, 2);
	if (variant->memory == PRIVATE) {
		ASSERT_EQ(0, migrate(&self->dev, away, self->length,
				     HMM_DMIRROR_TO_DEVICE, &moved));
		ASSERT_EQ(PAGES, moved.moved);
	}
	memset(self->data, 0, self->length);
	/* Sooner and more often, where the kernel lets us choose. */
	write_number(SCAN "scan_delay_ms", 1);
	write_number(SCAN "scan_period_min_ms", 1);
	ASSERT_EQ(0, write_text(BALANCING, "1"));
	before = read_number("/proc/vmstat", "numa_pte_updates");
	ASSERT_EQ(0, pthread_create(&thread, NULL, add_in_turn, &adder));
	/* The kernel scans when a thread of the process uses its time. */
	while (now_us() < end)
		others(self->data, self->length, 0);
	__atomic_store_n(&adder.stop, true, __ATOMIC_RELAXED);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	after = read_number("/proc/vmstat", "numa_pte_updates");
	write_number(BALANCING, old);
	write_number(SCAN "scan_delay_ms", delay);
	write_number(SCAN "scan_period_min_ms", period);
	TH_LOG("%ld hints", after - before);
	EXPECT_LT(0, after - before);
	EXPECT_TRUE(additions_are_right(&adder));

	ASSERT_EQ(0, dmirror_fill(&self->dev, away, self->length, 3));
	if (variant->memory == PRIVATE && !getenv("HMM_UNMODIFIED_KERNEL"))
		EXPECT_EQ(PAGES, mapped(&self->dev, away, self->length,
					HMM_DMIRROR_PAGE_PRIVATE | WRITABLE));
	EXPECT_EQ(0, others(away, self->length, 3));
}

/* What khugepaged does, at once: small pages become a huge one. */
TEST_F(special, collapse)
{
	char *area = map_huge(HUGE);
	size_t nr = HUGE / self->page;
	int ret = -1, i;
	uint64_t sum;

	ASSERT_NE(NULL, area);
	ASSERT_EQ(0, madvise(area, HUGE, MADV_NOHUGEPAGE));
	fill(area, HUGE, 6);
	ASSERT_EQ(0, dmirror_copy(&self->dev, area, area, HUGE));
	EXPECT_EQ(nr, mapped(&self->dev, area, HUGE, MAPPED | WRITABLE));
	EXPECT_EQ(0, mapped(&self->dev, area, HUGE, LARGE));

	/* From here on khugepaged may be faster. */
	ASSERT_EQ(0, madvise(area, HUGE, MADV_HUGEPAGE));
	/* Others may hold a page for a moment. */
	for (i = 0; i < 20 && ret; i++) {
		ret = madvise(area, HUGE, MADV_COLLAPSE) ? -errno : 0;
		if (ret && ret != -EAGAIN)
			break;
		usleep(ret ? 20000 : 0);
	}
	if (ret == -ENOMEM)
		SKIP(return, "no huge page is free");
	ASSERT_EQ(0, ret);
	ASSERT_TRUE(is_huge(area));
	EXPECT_EQ(0, mapped(&self->dev, area, HUGE, MAPPED));
	ASSERT_EQ(0, dmirror_sum(&self->dev, area, HUGE, &sum));
	EXPECT_EQ(pattern_sum(HUGE, 6), sum);
	EXPECT_EQ(nr, mapped(&self->dev, area, HUGE, MAPPED | LARGE));
	ASSERT_EQ(0, dmirror_fill(&self->dev, area, HUGE / 2, 3));
	EXPECT_EQ(0, others(area, HUGE / 2, 3));
	ASSERT_EQ(0, dmirror_sum(&self->dev, area + HUGE / 2, HUGE / 2, &sum));
	EXPECT_EQ(pattern_sum(HUGE, 6) - pattern_sum(HUGE / 2, 6), sum);
}

#define SOFT_DIRTY	(1ULL << 55)

/* Was the page written to since the last clear_refs? */
static bool soft_dirty(const void *page)
{
	off_t at = (uintptr_t)page / page_size() * sizeof(uint64_t);
	int file = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry = 0;

	if (file < 0)
		return false;
	if (pread(file, &entry, sizeof(entry), at) != sizeof(entry))
		entry = 0;
	close(file);
	return entry & SOFT_DIRTY;
}

TEST_F(special, soft_dirty)
{
	unsigned int i;
	uint64_t sum;

	ASSERT_EQ(0, dmirror_copy(&self->dev, self->data, self->data,
				  self->length));
	if (!soft_dirty(self->data))
		SKIP(return, "the kernel keeps no soft-dirty bits");
	ASSERT_EQ(0, write_text("/proc/self/clear_refs", "4"));
	for (i = 0; i < PAGES; i++)
		EXPECT_FALSE(soft_dirty(page_of(self, i)));
	EXPECT_EQ(0, mapped(&self->dev, self->data, self->length, WRITABLE));

	/* Reading does nothing; writing does it to the page written. */
	ASSERT_EQ(0, dmirror_sum(&self->dev, self->data, self->length, &sum));
	EXPECT_EQ(pattern_sum(self->length, 1), sum);
	EXPECT_FALSE(soft_dirty(page_of(self, 7)));
	ASSERT_EQ(0, dmirror_fill(&self->dev, page_of(self, 7), 8, 2));
	for (i = 0; i < PAGES; i++)
		EXPECT_EQ(i == 7, soft_dirty(page_of(self, i)));
	EXPECT_EQ(2, *(uint64_t *)page_of(self, 7));
}

static char *poisoned;		/* where a SIGBUS came from */

static void note_poisoned(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)context;
	poisoned = info->si_addr;
}

/* A page with a memory error is nobody's; those beside it are as before. */
TEST_F(special, hwpoison)
{
	struct sigaction action = {
		.sa_sigaction = note_poisoned,
		.sa_flags = SA_SIGINFO,
	};
	char *bad = page_of(self, 9);
	struct hmm_dmirror_prefetch result;
	unsigned int i;

	ASSERT_EQ(0, dmirror_copy(&self->dev, self->data, self->data,
				  self->length));
	ASSERT_EQ(0, sigaction(SIGBUS, &action, NULL));
	if (madvise(bad, self->page, MADV_HWPOISON)) {
		ASSERT_TRUE(errno == EINVAL || errno == EPERM);
		SKIP(return, "memory errors: %s", strerror(errno));
	}
	/* The kernel may tell at once or at the next access. */
	EXPECT_TRUE(!poisoned || poisoned == bad);
	EXPECT_EQ(0, mapped(&self->dev, bad, self->page, MAPPED));
	EXPECT_EQ(PAGES - 1, mapped(&self->dev, self->data, self->length,
				    MAPPED));
	EXPECT_EQ(HMM_DMIRROR_STATUS_NO_ACCESS,
		  dmirror_read(&self->dev, bad, self->page));
	EXPECT_EQ(HMM_DMIRROR_STATUS_NO_ACCESS,
		  dmirror_fill(&self->dev, bad, 8, 1));
	EXPECT_EQ(0, dmirror_read(&self->dev, bad - self->page, self->page));
	EXPECT_EQ(0, dmirror_fill(&self->dev, bad + self->page, self->page, 4));
	ASSERT_EQ(0, dmirror_prefetch(&self->dev, self->data, self->length, 0,
				      &result));
	EXPECT_EQ(PAGES - 1, result.mapped);
	EXPECT_EQ(1, result.refused);
	for (i = 0; i < PAGES; i++)
		if (i != 9 && i != 10)
			EXPECT_TRUE(page_is(self, i, 1));
	EXPECT_EQ(0, others(bad + self->page, self->page, 4));

	/* Something else can be mapped there. */
	ASSERT_EQ(bad, mmap(bad, self->page, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	EXPECT_EQ(0, dmirror_fill(&self->dev, bad, self->page, 5));
	EXPECT_EQ(0, others(bad, self->page, 5));
}

/* A page that the kernel may drop stays once the device has written to it. */
TEST_F(special, madvise_free)
{
	unsigned int i;

	ASSERT_EQ(0, dmirror_fill(&self->dev, self->data, self->length, 5));
	ASSERT_EQ(0, madvise(self->data, self->length, MADV_FREE));
	EXPECT_EQ(0, mapped(&self->dev, self->data, self->length, MAPPED));
	ASSERT_EQ(0, dmirror_fill(&self->dev, page_of(self, 4), self->page, 7));
	ASSERT_EQ(0, madvise(self->data, self->length, MADV_PAGEOUT));
	EXPECT_EQ(0, others(page_of(self, 4), self->page, 7));
	for (i = 0; i < PAGES; i++) {
		char *page = page_of(self, i);

		/* As it was or empty, and as a whole. */
		if (i != 4)
			EXPECT_EQ(0, others(page, self->page,
					    *(uint64_t *)page ? 5 : 0));
	}
}

static bool all_resident(char *start, unsigned int nr)
{
	unsigned char pages[PAGES];
	unsigned int i;

	if (mincore(start, nr * page_size(), pages))
		return false;
	for (i = 0; i < nr; i++)
		if (!(pages[i] & 1))
			return false;
	return true;
}

TEST_F(special, mlock)
{
	char *empty = map_pages(PAGES);
	struct hmm_dmirror_migrate result;

	ASSERT_NE(NULL, empty);
	/* The unmodified kernel drains the batch of one CPU only. */
	ASSERT_TRUE(run_on(0));
	ASSERT_EQ(0, mlock(self->data, self->length));
	ASSERT_EQ(0, mlock2(empty, self->length, MLOCK_ONFAULT));

	/* The device's faults are those of the process. */
	ASSERT_EQ(0, dmirror_copy(&self->dev, empty, self->data, self->length));
	EXPECT_TRUE(all_resident(empty, PAGES));
	EXPECT_NE(0, madvise(empty, self->length, MADV_PAGEOUT));
	EXPECT_EQ(PAGES, mapped(&self->dev, empty, self->length,
				MAPPED | WRITABLE));
	if (variant->memory != NONE) {
		EXPECT_EQ(0, migrate(&self->dev, empty, self->length,
				     HMM_DMIRROR_TO_DEVICE, &result));
		EXPECT_EQ(0, dmirror_fill(&self->dev, empty, self->page, 3));
		EXPECT_EQ(0, others(empty, self->page, 3));
		ASSERT_EQ(0, dmirror_copy(&self->dev, empty, self->data,
					  self->page));
	}
	EXPECT_EQ(0, differences(empty, self->length, 1));
	ASSERT_EQ(0, munlock(empty, self->length));
	ASSERT_EQ(0, munlock(self->data, self->length));
	EXPECT_EQ(0, differences(self->data, self->length, 1));
}

TEST_HARNESS_MAIN
