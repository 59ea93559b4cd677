// SPDX-License-Identifier: GPL-2.0
/*
 * Device memory in the BAR of a PCI device: processes and the device use it
 * together, and it comes and goes with the driver, whatever lies in it.
 *
 * HMM_RACE_MS: how long the race takes, 1000 without it
 */
#define _GNU_SOURCE
#include <sys/prctl.h>

#include "lost.h"

#define PAGES		32
#define DEVICE_FAILED	HMM_DMIRROR_STATUS_DEVICE
#define IN_CDM		HMM_DMIRROR_PAGE_CDM

/* What is quick may be slow on a debug kernel, and what is slower hangs. */
#define WAIT_US		20000000
/* So long the driver tries to bring its memory back to RAM. */
#define REMOVE_US	10000000

FIXTURE(pci)
{
	struct dmirror dev;
	struct pci_bar bar;
	long users;		/* of the module, before the device was opened */
	size_t page;
	size_t length;
	char *data;		/* pattern 1 */
};

FIXTURE_SETUP(pci)
{
	if (find_pci(&self->bar, CDM))
		SKIP(return, "hmm_dmirror has no memory of a PCI device");
	self->users = module_users();
	ASSERT_EQ(0, open_on(&self->bar, &self->dev));
	self->page = page_size();
	self->length = PAGES * self->page;
	self->data = map_alone(self->length, false);
	ASSERT_NE(NULL, self->data);
	fill(self->data, self->length, 1);
}

/* In the parent, so that the device comes back whatever became of the test. */
FIXTURE_TEARDOWN_PARENT(pci)
{
	if (!is_bound(&self->bar))
		EXPECT_EQ(0, bind_device(&self->bar));
	EXPECT_TRUE(is_bound(&self->bar));
	EXPECT_TRUE(is_claimed(&self->bar));
	/* By now nothing of the test keeps the module. */
	EXPECT_TRUE(wait_module_users(self->users));
}

/* The CPU and the device see the same words, and they are in the BAR. */
TEST_F(pci, memory_is_the_bar)
{
	struct dmirror *dev = &self->dev;
	struct hmm_dmirror_migrate result;
	uint64_t sum;

	EXPECT_EQ(self->bar.end - self->bar.start + 1, dev->info.memory_size);
	EXPECT_TRUE(dev->info.flags & HMM_DMIRROR_INFO_DMA);
	EXPECT_TRUE(is_claimed(&self->bar));

	ASSERT_EQ(0, in_bar(&self->bar, self->data, self->length));
	ASSERT_TRUE(move_in(dev, self->data, self->length));
	EXPECT_EQ(PAGES, in_bar(&self->bar, self->data, self->length));
	EXPECT_EQ(0, differences(self->data, self->length, 1));
	ASSERT_EQ(0, dmirror_sum(dev, self->data, self->length, &sum));
	EXPECT_EQ(pattern_sum(self->length, 1), sum);
	EXPECT_EQ(PAGES, mapped(dev, self->data, self->length, IN_CDM));

	fill(self->data, self->length, 2);
	ASSERT_EQ(0, dmirror_sum(dev, self->data, self->length, &sum));
	EXPECT_EQ(pattern_sum(self->length, 2), sum);
	ASSERT_EQ(0, dmirror_fill(dev, self->data, self->length, 3));
	EXPECT_EQ(0, others(self->data, self->length, 3));
	fill(self->data, self->length, 4);
	EXPECT_EQ(PAGES, in_bar(&self->bar, self->data, self->length));

	ASSERT_EQ(0, migrate(dev, self->data, self->length, HMM_DMIRROR_TO_RAM,
			     &result));
	EXPECT_EQ(PAGES, result.moved);
	EXPECT_EQ(0, in_bar(&self->bar, self->data, self->length));
	EXPECT_EQ(PAGES, pages_present(self->data, self->length));
	EXPECT_EQ(0, differences(self->data, self->length, 4));
}

/* Its own memory without DMA addresses, beside RAM with them. */
TEST_F(pci, own_memory_beside_ram)
{
	struct dmirror *dev = &self->dev;
	size_t half = self->length / 2;
	uint64_t sum;

	ASSERT_TRUE(move_in(dev, self->data, half));
	ASSERT_EQ(0, dmirror_sum(dev, self->data, self->length, &sum));
	EXPECT_EQ(pattern_sum(self->length, 1), sum);
	EXPECT_EQ(PAGES, mapped(dev, self->data, self->length, MAPPED));
	EXPECT_EQ(PAGES / 2, mapped(dev, self->data, self->length, IN_CDM));
	EXPECT_EQ(PAGES / 2, mapped(dev, self->data, half, IN_CDM));

	fill(self->data + half, half, 2);
	ASSERT_EQ(0, dmirror_copy(dev, self->data, self->data + half, half));
	EXPECT_EQ(0, differences(self->data, half, 2));
	fill(self->data, half, 3);
	ASSERT_EQ(0, dmirror_copy(dev, self->data + half, self->data, half));
	EXPECT_EQ(0, differences(self->data + half, half, 3));
	/* The DMA addresses of what moves in go. */
	ASSERT_TRUE(move_in(dev, self->data + half, half));
	ASSERT_EQ(0, dmirror_fill(dev, self->data, self->length, 4));
	EXPECT_EQ(0, others(self->data, self->length, 4));
	EXPECT_EQ(PAGES, in_bar(&self->bar, self->data, self->length));
}

#define ADDITIONS	20000

static void *add_with_cpu(void *word)
{
	int i;

	for (i = 0; i < ADDITIONS; i++)
		__atomic_fetch_add((uint64_t *)word, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

TEST_F(pci, atomic_additions)
{
	uint64_t *word = (uint64_t *)self->data, value;
	pthread_t thread;

	ASSERT_TRUE(move_in(&self->dev, self->data, self->page));
	*word = 0;
	ASSERT_EQ(0, pthread_create(&thread, NULL, add_with_cpu, word));
	EXPECT_EQ(0, dmirror_atomic_add(&self->dev, word, 1, ADDITIONS,
					&value));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(2 * ADDITIONS, *word);
	EXPECT_EQ(1, in_bar(&self->bar, self->data, self->page));
}

/* Another device maps the memory as it maps RAM, until it goes. */
static void other_device(struct __test_metadata *_metadata,
			 struct _test_data_pci *self, bool dma)
{
	struct dmirror other;
	uint64_t sum;

	OPEN_KIND_OR_SKIP(return, &other, NONE, dma);
	ASSERT_TRUE(move_in(&self->dev, self->data, self->length));
	ASSERT_EQ(0, dmirror_sum(&other, self->data, self->length, &sum));
	EXPECT_EQ(pattern_sum(self->length, 1), sum);
	EXPECT_EQ(PAGES, mapped(&other, self->data, self->length, MAPPED));
	EXPECT_EQ(PAGES, in_bar(&self->bar, self->data, self->length));

	ASSERT_EQ(0, unbind_device(&self->bar));
	EXPECT_EQ(0, mapped(&other, self->data, self->length, MAPPED));
	EXPECT_EQ(0, in_bar(&self->bar, self->data, self->length));
	ASSERT_EQ(0, dmirror_sum(&other, self->data, self->length, &sum));
	EXPECT_EQ(pattern_sum(self->length, 1), sum);
	ASSERT_EQ(0, dmirror_fill(&other, self->data, self->length, 2));
	EXPECT_EQ(0, others(self->data, self->length, 2));
	dmirror_close(&other);
}

TEST_F(pci, other_device)
{
	other_device(_metadata, self, false);
}

TEST_F(pci, other_device_with_dma)
{
	other_device(_metadata, self, true);
}

#define CHILDREN	3

/* What a child has there, from itself and from its parent, comes back. */
static int child_with_memory(struct _test_data_pci *self, int ready, int go,
			     unsigned int seed)
{
	char *own = map_alone(self->length, false), byte = 0;
	struct dmirror dev;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!own)
		return 1;
	fill(own, self->length, seed);
	if (open_on(&self->bar, &dev) ||
	    !move_in(&dev, own, self->length) ||
	    in_bar(&self->bar, own, self->length) != PAGES ||
	    in_bar(&self->bar, self->data, self->length) != PAGES)
		return 2;
	if (write(ready, &byte, 1) != 1 || read(go, &byte, 1) != 1)
		return 3;
	if (in_bar(&self->bar, own, self->length) ||
	    in_bar(&self->bar, self->data, self->length))
		return 4;
	if (differences(own, self->length, seed) ||
	    differences(self->data, self->length, 1))
		return 5;
	if (dmirror_read(&dev, own, self->length) != -ENODEV)
		return 6;
	fill(self->data, self->length, seed);
	return differences(self->data, self->length, seed) ? 7 : 0;
}

TEST_F(pci, unbind_in_use)
{
	struct dmirror *dev = &self->dev;
	struct hmm_dmirror_migrate result;
	struct hmm_dmirror_stats stats;
	struct hmm_dmirror_info info;
	pid_t children[CHILDREN];
	int ready[2], go[2];
	uint64_t number;
	char byte = 0;
	int i;

	ASSERT_EQ(0, pipe(ready));
	ASSERT_EQ(0, pipe(go));
	ASSERT_TRUE(move_in(dev, self->data, self->length));
	ASSERT_EQ(0, dmirror_read(dev, self->data, self->length));
	for (i = 0; i < CHILDREN; i++) {
		children[i] = fork();
		ASSERT_LE(0, children[i]);
		if (!children[i])
			_exit(child_with_memory(self, ready[1], go[0], 10 + i));
	}
	close(ready[1]);
	for (i = 0; i < CHILDREN; i++)
		ASSERT_EQ(1, read(ready[0], &byte, 1));

	ASSERT_EQ(0, unbind_device(&self->bar));
	EXPECT_TRUE(is_gone(&self->bar));
	EXPECT_EQ(0, in_bar(&self->bar, self->data, self->length));
	EXPECT_EQ(0, differences(self->data, self->length, 1));
	ASSERT_EQ(CHILDREN, write(go[1], "go!", CHILDREN));
	for (i = 0; i < CHILDREN; i++)
		EXPECT_EQ(0, child_status(children[i]));
	EXPECT_EQ(0, differences(self->data, self->length, 1));

	for (i = 0; i < 2; i++) {
		EXPECT_EQ(-ENODEV, dmirror_info(dev, &info));
		EXPECT_EQ(-ENODEV, dmirror_stats(dev, &stats));
		EXPECT_EQ(-ENODEV, dmirror_evict(dev, ~0ULL, &number));
		EXPECT_EQ(-ENODEV, migrate(dev, self->data, self->length,
					   HMM_DMIRROR_TO_DEVICE, &result));
		EXPECT_EQ(-ENODEV, migrate(dev, self->data, self->length,
					   HMM_DMIRROR_TO_RAM, &result));
		EXPECT_EQ(-ENODEV, mapped(dev, self->data, self->length,
					  MAPPED));
		EXPECT_EQ(-ENODEV, dmirror_read(dev, self->data, self->length));
		/* A new device is not that of the old file. */
		if (!i)
			ASSERT_EQ(0, bind_device(&self->bar));
	}
	expect_bar_works(_metadata, &self->bar, 4);
	EXPECT_EQ(0, close(dev->fd));
	expect_bar_works(_metadata, &self->bar, 5);
}

/* As much as the device has, but not so much that it takes long. */
TEST_F(pci, unbind_with_thousands)
{
	size_t length = self->dev.info.memory_size, nr, i, wrong = 0;
	struct hmm_dmirror_migrate result;
	uint64_t *word;
	char *map;

	if (length > 16 * MIB)
		length = 16 * MIB;
	nr = length / self->page;
	map = map_alone(length, false);
	ASSERT_NE(NULL, map);
	/* Half of them moves, the rest is new. */
	for (i = 0; i < nr / 2; i++)
		*(uint64_t *)(map + i * self->page) = i + 1;
	ASSERT_EQ(0, migrate(&self->dev, map, length, HMM_DMIRROR_TO_DEVICE,
			     &result));
	EXPECT_EQ(nr / 2, result.moved);
	EXPECT_EQ(nr - nr / 2, result.filled);
	EXPECT_EQ(nr, in_bar(&self->bar, map, length));
	for (i = nr / 2; i < nr; i++)
		*(uint64_t *)(map + i * self->page) = i + 1;

	ASSERT_EQ(0, unbind_device(&self->bar));
	EXPECT_TRUE(is_gone(&self->bar));
	EXPECT_EQ(0, in_bar(&self->bar, map, length));
	/* What was new began empty. */
	for (i = 0; i < nr; i++) {
		word = (uint64_t *)(map + i * self->page);
		wrong += *word != i + 1;
		wrong += others(word + 1, self->page - sizeof(*word), 0);
	}
	EXPECT_EQ(0, wrong);
}

#define AREAS		4

/* What a child has of huge pages that it shares with its parent. */
static int child_with_huge_pages(const struct pci_bar *bar, char *map, int go)
{
	char byte;
	int i;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (read(go, &byte, 1) || in_bar(bar, map, AREAS * HUGE))
		return 1;
	for (i = 0; i < AREAS; i++)
		if (differences(map + i * HUGE, HUGE, i + 1))
			return 2;
	fill(map, HUGE, 9);
	return differences(map, HUGE, 9) ? 3 : 0;
}

/* They come back as a whole, or what is left of them, to all their processes. */
TEST_F(pci, unbind_with_huge_pages)
{
	char *map = map_alone(AREAS * HUGE, true), *parts[AREAS];
	struct hmm_dmirror_info info;
	pid_t child;
	int go[2], i;

	ASSERT_NE(NULL, map);
	for (i = 0; i < AREAS; i++) {
		parts[i] = map + i * HUGE;
		fill(parts[i], HUGE, i + 1);
	}
	ASSERT_TRUE(make_huge(map, AREAS * HUGE));
	ASSERT_TRUE(move_in(&self->dev, map, AREAS * HUGE));
	ASSERT_EQ(0, dmirror_info(&self->dev, &info));
	EXPECT_EQ(can_unmap() ? AREAS * HUGE : 0, info.memory_huge);
	ASSERT_EQ(0, dmirror_read(&self->dev, map, AREAS * HUGE));

	ASSERT_EQ(0, pipe(go));
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		close(go[1]);
		_exit(child_with_huge_pages(&self->bar, map, go[0]));
	}
	ASSERT_EQ(0, madvise(parts[1], HUGE / 2, MADV_DONTNEED));
	ASSERT_EQ(0, mprotect(parts[2], HUGE / 2, PROT_READ));
	ASSERT_EQ(0, dmirror_fill(&self->dev, parts[3], self->page, 7));

	ASSERT_EQ(0, unbind_device(&self->bar));
	EXPECT_TRUE(is_gone(&self->bar));
	EXPECT_EQ(0, in_bar(&self->bar, map, AREAS * HUGE));
	EXPECT_EQ(can_unmap(), is_huge(parts[0]));
	close(go[1]);
	EXPECT_EQ(0, child_status(child));

	EXPECT_EQ(0, differences(parts[0], HUGE, 1));
	EXPECT_EQ(0, others(parts[1], HUGE / 2, 0));
	fill(parts[1], HUGE / 2, 2);
	EXPECT_EQ(0, differences(parts[1], HUGE, 2));
	EXPECT_EQ(0, differences(parts[2], HUGE, 3));
	EXPECT_EQ(0, others(parts[3], self->page, 7));
	fill(parts[3], self->page, 4);
	EXPECT_EQ(0, differences(parts[3], HUGE, 4));
}

#define TIMES		100
#define FEW		8

TEST_F(pci, hundred_times)
{
	size_t length = FEW * self->page;
	struct dmirror dev;
	unsigned int i;

	dmirror_close(&self->dev);
	for (i = 0; i < TIMES; i++) {
		ASSERT_EQ(0, open_on(&self->bar, &dev));
		fill(self->data, length, i);
		ASSERT_TRUE(move_in(&dev, self->data, length));
		ASSERT_EQ(FEW, in_bar(&self->bar, self->data, length));
		ASSERT_EQ(0, unbind_device(&self->bar));
		ASSERT_EQ(0, in_bar(&self->bar, self->data, length));
		ASSERT_EQ(0, differences(self->data, length, i));
		ASSERT_EQ(-ENODEV, dmirror_read(&dev, self->data, length));
		dmirror_close(&dev);
		ASSERT_EQ(0, bind_device(&self->bar));
	}
}

struct caller {
	struct dmirror *dev;
	char *data;
	size_t length;
	struct hmm_dmirror_migrate result;
	uint64_t evicted;
	int ret;
};

static void *move_slowly(void *arg)
{
	struct caller *caller = arg;

	caller->ret = migrate(caller->dev, caller->data, caller->length,
			      HMM_DMIRROR_TO_DEVICE, &caller->result);
	return NULL;
}

static void *evict_all(void *arg)
{
	struct caller *caller = arg;

	caller->ret = dmirror_evict(caller->dev, ~0ULL, &caller->evicted);
	return NULL;
}

/* A removal waits for a call that is about to fill the memory. */
TEST_F(pci, unbind_while_moving_in)
{
	struct caller caller = {
		.dev = &self->dev,
		.data = self->data,
		.length = self->length,
	};
	pthread_t thread;

	ASSERT_EQ(0, dmirror_inject(&self->dev, HMM_DMIRROR_INJECT_COPY_DELAY,
				    0, 1, 500));
	ASSERT_EQ(0, pthread_create(&thread, NULL, move_slowly, &caller));
	ASSERT_TRUE(wait_used(&self->dev, self->length, WAIT_US));
	ASSERT_EQ(0, unbind_device(&self->bar));
	EXPECT_TRUE(is_gone(&self->bar));
	EXPECT_EQ(0, in_bar(&self->bar, self->data, self->length));
	EXPECT_EQ(0, differences(self->data, self->length, 1));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(0, caller.ret);
	EXPECT_EQ(PAGES, caller.result.moved);
	EXPECT_EQ(0, differences(self->data, self->length, 1));
}

/*
 * A page that somebody holds stays behind and keeps the BAR.  Who waits for the
 * page with a long timeout holds up nobody.  Its processes have lost it, if the kernel
 * can say so.
 */
TEST_F(pci, held_page)
{
	struct iovec first = { .iov_base = self->data, .iov_len = self->page };
	struct caller caller = { .dev = &self->dev };
	bool keeps = !can_unmap();
	uint64_t start, end;
	pthread_t thread;
	int holder[2];

	ASSERT_EQ(0, pipe(holder));
	fill_pages(self->data, PAGES);
	ASSERT_TRUE(move_in(&self->dev, self->data, self->length));
	ASSERT_EQ(self->page, vmsplice(holder[1], &first, 1, 0));
	ASSERT_EQ(0, pthread_create(&thread, NULL, evict_all, &caller));
	ASSERT_TRUE(wait_used(&self->dev, self->page, WAIT_US));

	start = now_us();
	ASSERT_EQ(0, unbind_device(&self->bar));
	EXPECT_GT(REMOVE_US + WAIT_US, now_us() - start);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(-ENODEV, caller.ret);
	EXPECT_EQ(keeps, in_bar(&self->bar, self->data, self->length));
	EXPECT_EQ(keeps, in_bar(&self->bar, self->data, self->page));
	EXPECT_EQ(!keeps, lost_pages(self->data, PAGES));
	EXPECT_TRUE(is_claimed(&self->bar));
	EXPECT_EQ(-EBUSY, bind_device(&self->bar));
	EXPECT_FALSE(is_bound(&self->bar));

	/* Let go of, it is still there for its process. */
	close(holder[0]);
	close(holder[1]);
	if (keeps) {
		EXPECT_TRUE(is_claimed(&self->bar));
		EXPECT_EQ(1, in_bar(&self->bar, self->data, self->page));
		EXPECT_EQ(0, lost_pages(self->data, PAGES));
		ASSERT_EQ(0, munmap(self->data, self->length));
	}
	end = now_us() + WAIT_US;
	while (is_claimed(&self->bar) && now_us() < end)
		usleep(1000);
	ASSERT_EQ(0, bind_device(&self->bar));
	expect_bar_works(_metadata, &self->bar, 3);
}

enum role {
	RUNNER,			/* lets the device write to its memory */
	MOVER,			/* moves memory, and lets the device fault */
	NR_ROLES,
};

/* What the children of the race share with their parent. */
struct race {
	unsigned int rounds[NR_ROLES];
	bool stop;
};

/* Until the device is gone: returns -ENODEV then, otherwise what went wrong. */
static int run_programs(struct dmirror *dev, char *data, size_t length,
			unsigned int *rounds)
{
	uint64_t nr = length / sizeof(uint64_t), word, sum;
	struct hmm_dmirror_run run;
	size_t done;
	int ret;

	memset(data, 0, length);
	ret = dmirror_migrate(dev, data, length, HMM_DMIRROR_TO_DEVICE, NULL);
	for (word = 1; !ret; word++) {
		run = (struct hmm_dmirror_run) {
			.program = HMM_DMIRROR_FILL,
			.addr = (uintptr_t)data,
			.length = length,
			.operand = word,
		};
		ret = dmirror_run(dev, &run);
		/* The new word as far as the device got, and then the old one. */
		done = ret ? run.result * sizeof(word) : length;
		if (others(data, done, word) ||
		    others(data + done, length - done, word - 1))
			return -EBADMSG;
		if (ret)
			break;
		ret = dmirror_sum(dev, data, length, &sum);
		if (!ret && sum != nr * word)
			return -EBADMSG;
		__atomic_add_fetch(rounds, 1, __ATOMIC_RELAXED);
	}
	return ret == DEVICE_FAILED ? -ENODEV : ret;
}

static int move_around(struct dmirror *dev, char *data, size_t length,
		       unsigned int *rounds)
{
	uint64_t seed;
	int ret = 0;

	for (seed = 1; !ret; seed++) {
		fill(data, length, seed);
		ret = dmirror_migrate(dev, data, length, HMM_DMIRROR_TO_DEVICE,
				      NULL);
		if (!ret)
			ret = dmirror_prefetch(dev, data, length,
					       HMM_DMIRROR_PREFETCH_WRITE, NULL);
		if (differences(data, length, seed))
			return -EBADMSG;
		fill(data, length, ++seed);
		if (!ret)
			ret = dmirror_fault_many(dev, 1, data, 1, NULL);
		if (!ret)
			ret = dmirror_migrate(dev, data, length,
					      HMM_DMIRROR_TO_RAM, NULL);
		if (differences(data, length, seed))
			return -EBADMSG;
		__atomic_add_fetch(rounds, 1, __ATOMIC_RELAXED);
	}
	return ret;
}

/* Opens the device each time that it is there; the exit status of a process. */
static int take_part(const struct _test_data_pci *self, struct race *race,
		     enum role role)
{
	struct dmirror dev;
	int ret;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (!__atomic_load_n(&race->stop, __ATOMIC_RELAXED)) {
		ret = open_on(&self->bar, &dev);
		if (!ret) {
			ret = (role == RUNNER ? run_programs : move_around)
				(&dev, self->data, self->length,
				 &race->rounds[role]);
			dmirror_close(&dev);
		}
		if (ret != -ENODEV && ret != -ENOENT) {
			fprintf(stderr, "# role %d: %s\n", role,
				dmirror_strerror(ret));
			return 1;
		}
		usleep(500);
	}
	return 0;
}

/* Wait until *@count has grown by some. */
static bool wait_growth(unsigned int *count)
{
	unsigned int from = __atomic_load_n(count, __ATOMIC_RELAXED);
	uint64_t end = now_us() + WAIT_US;

	while (__atomic_load_n(count, __ATOMIC_RELAXED) - from < 2 &&
	       now_us() < end)
		usleep(500);
	return __atomic_load_n(count, __ATOMIC_RELAXED) - from >= 2;
}

static void race_with_unbind(struct __test_metadata *_metadata,
			     struct _test_data_pci *self)
{
	uint64_t end = now_us() + race_ms() * 1000ull;
	struct race *shared;
	pid_t children[NR_ROLES];
	unsigned int rounds = 0;
	int role;

	dmirror_close(&self->dev);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, shared);
	for (role = 0; role < NR_ROLES; role++) {
		children[role] = fork();
		ASSERT_LE(0, children[role]);
		if (!children[role])
			_exit(take_part(self, shared, role));
	}
	do {
		for (role = 0; role < NR_ROLES; role++)
			ASSERT_TRUE(wait_growth(&shared->rounds[role]));
		usleep(rounds % 8 * 700);
		ASSERT_EQ(0, unbind_device(&self->bar));
		EXPECT_TRUE(is_gone(&self->bar));
		ASSERT_EQ(0, bind_device(&self->bar));
		rounds++;
	} while (now_us() < end || rounds < 3);
	__atomic_store_n(&shared->stop, true, __ATOMIC_RELAXED);
	/* They notice when the device goes. */
	ASSERT_EQ(0, unbind_device(&self->bar));
	for (role = 0; role < NR_ROLES; role++)
		EXPECT_EQ(0, child_status(children[role]));
	ASSERT_EQ(0, bind_device(&self->bar));
	TH_LOG("%u rounds, %u of programs, %u of moves", rounds,
	       shared->rounds[RUNNER], shared->rounds[MOVER]);
	expect_bar_works(_metadata, &self->bar, 6);
}

TEST_F(pci, race_with_unbind)
{
	race_with_unbind(_metadata, self);
}

/* Each process begins with none, or it would copy its parent's in small pages. */
TEST_F(pci, race_with_unbind_huge)
{
	self->length = HUGE;
	self->data = map_alone(self->length, true);
	ASSERT_NE(NULL, self->data);
	race_with_unbind(_metadata, self);
}

TEST_HARNESS_MAIN
