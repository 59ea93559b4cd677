/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a thread of the soak test does in one step, to a region of its own, of which it
 * keeps a copy elsewhere to compare with, or to words that it shares.
 */
#ifndef _SELFTESTS_HMM_SOAK_H
#define _SELFTESTS_HMM_SOAK_H

#include "memory.h"
#include "../../../../mm/gup_test.h"

#define GUP_TEST	"/sys/kernel/debug/gup_test"

#define PROCESSES	2
#define THREADS		3
#define WORKERS		(PROCESSES * THREADS)
#define AREAS		2			/* huge pages of a region */
#define LENGTH		(AREAS * HUGE)
#define WORDS		(LENGTH / sizeof(uint64_t))
#define SHARED_PAGES	8			/* of each shared region */
#define PART		16UL			/* pages of most steps, at most */
#define MAX_DEVICES	16
#define MAX_OPERATIONS	40
#define EVICT_MS	2000

/* What a worker did, for the process that looks after all. */
struct tally {
	uint64_t steps;
	unsigned int operation;			/* of the step it is at */
	uint64_t done[MAX_OPERATIONS];
	uint64_t refused[MAX_OPERATIONS];	/* with an error that may be */
	uint64_t world[SHARED_PAGES];		/* added to what all share */
	char failure[200];
};

struct control {
	bool stop;
	uint64_t seed;
	struct tally tally[WORKERS];
};

struct process {
	struct control *control;
	struct dmirror devs[MAX_DEVICES];
	unsigned int nr_devs;
	char *shared;		/* by the threads, may move to devices */
	char *world;		/* by the processes */
};

struct worker {
	struct process *process;
	struct tally *tally;
	unsigned int number;
	uint64_t random;
	size_t page;
	uint64_t *data;		/* the region */
	uint64_t *shadow;	/* what it has */
	char *room;		/* address space of the same length */
	char *buffer;		/* PART pages */
	bool huge;		/* what madvise() said of the region last */
	int pipes[2];
	int gup;		/* for long-term pins, or -1 */
	uint64_t shared[SHARED_PAGES];
	pthread_t thread;
};

/* A part of the region: page-aligned, in words. */
struct words {
	size_t first, nr;
};

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

static uint64_t next(struct worker *w)
{
	w->random += 0x9e3779b97f4a7c15ull;
	return mix(w->random);
}

static size_t below(struct worker *w, size_t limit)
{
	return next(w) % limit;
}

static struct words some_pages(struct worker *w, size_t most)
{
	size_t words = w->page / sizeof(uint64_t), nr = 1 + below(w, most);

	return (struct words) {
		.first = below(w, LENGTH / w->page - nr + 1) * words,
		.nr = nr * words,
	};
}

/* Mostly a few pages, now and then a huge one or all. */
static struct words some(struct worker *w)
{
	size_t kind = below(w, 16);
	struct words range = some_pages(w, PART);

	if (kind == 0)
		return (struct words) { 0, WORDS };
	if (kind == 1)
		return (struct words) { range.first / (WORDS / AREAS) *
					(WORDS / AREAS), WORDS / AREAS };
	return range;
}

static size_t size_of(struct words range)
{
	return range.nr * sizeof(uint64_t);
}

static struct dmirror *some_device(struct worker *w)
{
	return &w->process->devs[below(w, w->process->nr_devs)];
}

static void report(struct worker *w, int line, const char *what, long result)
{
	if (!w->tally->failure[0])
		snprintf(w->tally->failure, sizeof(w->tally->failure),
			 "step %llu, line %d: %ld is the result of %.120s",
			 (unsigned long long)w->tally->steps, line, result,
			 what);
	__atomic_store_n(&w->process->control->stop, true, __ATOMIC_RELAXED);
}

/* @result has to be 0. */
#define MUST(result) do { \
	long __result = (result); \
	if (__result) \
		report(w, __LINE__, #result, __result); \
} while (0)

/* @result has to be 0 or one of the errors; true if it is 0. */
#define MAY(result, ...) ({ \
	const long __errors[] = { __VA_ARGS__ }; \
	long __result = (result); \
	unsigned int __i = 0; \
	while (__i < ARRAY_SIZE(__errors) && __errors[__i] != __result) \
		__i++; \
	if (__result && __i == ARRAY_SIZE(__errors)) \
		report(w, __LINE__, #result, __result); \
	else if (__result) \
		w->tally->refused[w->tally->operation]++; \
	!__result; \
})

/* A device program, which somebody else's eviction may hold up for too long. */
#define RUN(result)	MAY(result, HMM_DMIRROR_STATUS_TIMEOUT)

/* What a system call says, as the library of the device does. */
static long error(long result)
{
	return result < 0 ? -errno : 0;
}

static size_t wrong_words(struct worker *w, const uint64_t *at,
			  struct words range)
{
	const volatile uint64_t *words = at;
	size_t i, wrong = 0;

	for (i = 0; i < range.nr; i++)
		wrong += words[i] != w->shadow[range.first + i];
	return wrong;
}

#define MUST_BE_RIGHT(range) do { \
	const struct words __range = (range); \
	MUST(wrong_words(w, w->data + __range.first, __range)); \
} while (0)

static void set(struct worker *w, struct words range, uint64_t word)
{
	size_t i;

	for (i = range.first; i < range.first + range.nr; i++)
		w->shadow[i] = word;
}

static void cpu_read(struct worker *w)
{
	MUST_BE_RIGHT(some(w));
}

static void write_range(struct worker *w, struct words range)
{
	uint64_t seed = next(w);
	volatile uint64_t *data = w->data;
	size_t i;

	for (i = range.first; i < range.first + range.nr; i++) {
		w->shadow[i] = seed + i;
		data[i] = w->shadow[i];
	}
}

static void cpu_write(struct worker *w)
{
	write_range(w, some(w));
}

static void fill_range(struct worker *w, struct words range)
{
	struct dmirror *dev = some_device(w);
	uint64_t word = next(w);

	/* Not even the words at both ends: a part of a page. */
	range.first++;
	range.nr -= 2;
	if (RUN(dmirror_fill(dev, w->data + range.first, size_of(range), word)))
		set(w, range, word);
	else
		write_range(w, range);
}

static void device_fill(struct worker *w)
{
	fill_range(w, some(w));
}

static void sum_range(struct worker *w, const uint64_t *at, struct words range)
{
	uint64_t sum, expected = 0;
	size_t i;

	for (i = range.first; i < range.first + range.nr; i++)
		expected += w->shadow[i];
	if (RUN(dmirror_sum(some_device(w), at, size_of(range), &sum)))
		MUST(sum != expected);
}

static void device_sum(struct worker *w)
{
	struct words range = some(w);

	sum_range(w, w->data + range.first, range);
}

static void device_copy(struct worker *w)
{
	struct words from = some_pages(w, PART), to = from;

	/* From one half to the other. */
	to.first = (from.first + WORDS / 2) % WORDS;
	if (from.first % (WORDS / 2) + from.nr > WORDS / 2)
		from.nr = WORDS / 2 - from.first % (WORDS / 2);
	to.nr = from.nr;
	if (RUN(dmirror_copy(some_device(w), w->data + to.first,
			     w->data + from.first, size_of(from))))
		memcpy(w->shadow + to.first, w->shadow + from.first,
		       size_of(from));
	else
		write_range(w, to);
}

static void device_add(struct worker *w)
{
	size_t i = below(w, WORDS);
	uint64_t value, add = next(w);

	if (RUN(dmirror_atomic_add(some_device(w), w->data + i, add, 1, &value))) {
		w->shadow[i] += add;
		MUST(value != w->shadow[i]);
	}
}

static void exclusive_add(struct worker *w)
{
	size_t i = below(w, WORDS);
	uint64_t value, add = next(w);

	if (RUN(dmirror_exclusive_add(some_device(w), w->data + i, add, 1,
				      &value))) {
		w->shadow[i] += add;
		MUST(value != w->shadow[i]);
	}
}

static void prefetch(struct worker *w)
{
	struct hmm_dmirror_prefetch result;
	struct words range = some(w);
	unsigned int flags = below(w, 3);

	if (MAY(dmirror_prefetch(some_device(w), w->data + range.first,
				 size_of(range), flags, &result), -ETIME))
		MUST(result.refused || result.left);
}

static void migrate_range(struct worker *w, struct words range, bool to_device,
			  bool make_room)
{
	struct dmirror *dev = some_device(w);
	struct hmm_dmirror_migrate result;
	void *start = w->data + range.first;
	int ret;

	if (make_room)
		ret = dmirror_make_room(dev, start, size_of(range), &result);
	else
		ret = dmirror_migrate(dev, start, size_of(range), to_device ?
				      HMM_DMIRROR_TO_DEVICE :
				      HMM_DMIRROR_TO_RAM, &result);
	if (dev->info.memory == NONE)
		MUST(ret != -EOPNOTSUPP);
	else if (to_device ? MAY(ret, -ENOSPC, -ENOMEM) : MAY(ret, -ENOMEM))
		MUST(result.moved + result.filled + result.left !=
		     size_of(range) / w->page);
}

static void to_device(struct worker *w)
{
	migrate_range(w, some(w), true, false);
}

static void to_ram(struct worker *w)
{
	migrate_range(w, some(w), false, false);
}

static void make_room(struct worker *w)
{
	migrate_range(w, some(w), true, true);
}

static void between(struct worker *w)
{
	struct dmirror *from = some_device(w), *to = some_device(w);
	struct words range = some(w);
	struct hmm_dmirror_migrate result;
	int ret = dmirror_migrate_between(from, to, w->data + range.first,
					  size_of(range), 0, &result);

	if (from->info.memory == NONE || to->info.memory == NONE)
		MAY(ret, -EOPNOTSUPP, -EINVAL);
	else if (from == to)
		MUST(ret != -EINVAL);
	else if (MAY(ret, -ENOSPC, -ENOMEM))
		MUST(result.moved + result.left != size_of(range) / w->page);
}

/* The next copies that are larger than so many pages are too much for a device. */
static void short_of_memory(struct worker *w)
{
	struct dmirror *dev = some_device(w);

	MAY(dmirror_inject(dev, HMM_DMIRROR_INJECT_COPY_NO_MEMORY, 0,
			   1 + below(w, 4), below(w, 100)), -EOPNOTSUPP);
}

/* Of anybody's memory; others may hold it longer than we wait. */
static void evict(struct worker *w)
{
	struct dmirror *dev = some_device(w);
	struct hmm_dmirror_evict evict = {
		.nr_pages = below(w, 4) ? 1 + below(w, 1024) : ~0ull,
		.timeout_ms = EVICT_MS,
	};
	int ret = dmirror_evict_as(dev, &evict);

	if (dev->info.memory == NONE)
		MUST(ret != -EOPNOTSUPP);
	else
		MAY(ret, -ETIME);
}

static void evict_to(struct worker *w)
{
	struct dmirror *dev = some_device(w), *target = some_device(w);
	struct hmm_dmirror_evict result;
	int ret = dmirror_evict_to(dev, target, 1 + below(w, 1024), EVICT_MS,
				   &result);

	if (dev->info.memory == NONE || target->info.memory == NONE)
		MAY(ret, -EOPNOTSUPP, -EINVAL);
	else if (dev == target)
		MUST(ret != -EINVAL);
	else
		MAY(ret, -ETIME, -ENOSPC);
}

static void protect(struct worker *w)
{
	struct words range = some(w), part = { range.first, w->page / 8 };
	bool readable = below(w, 2);
	uint64_t sum;

	MUST(error(mprotect(w->data + range.first, size_of(range),
			    readable ? PROT_READ : PROT_NONE)));
	MAY(dmirror_fill(some_device(w), w->data + range.first, 8, 1) -
	    (readable ? HMM_DMIRROR_STATUS_READ_ONLY :
			HMM_DMIRROR_STATUS_NO_ACCESS),
	    HMM_DMIRROR_STATUS_TIMEOUT - HMM_DMIRROR_STATUS_READ_ONLY,
	    HMM_DMIRROR_STATUS_TIMEOUT - HMM_DMIRROR_STATUS_NO_ACCESS);
	if (readable) {
		MUST_BE_RIGHT(part);
		sum_range(w, w->data + part.first, part);
	} else {
		MAY(dmirror_sum(some_device(w), w->data + range.first, 8, &sum) -
		    HMM_DMIRROR_STATUS_NO_ACCESS,
		    HMM_DMIRROR_STATUS_TIMEOUT - HMM_DMIRROR_STATUS_NO_ACCESS);
	}
	MUST(error(mprotect(w->data + range.first, size_of(range),
			    PROT_READ | PROT_WRITE)));
	MUST_BE_RIGHT(part);
}

static void advise(struct worker *w)
{
	w->huge = below(w, 4);
	MUST(error(madvise(w->data, LENGTH, w->huge ? MADV_HUGEPAGE :
						      MADV_NOHUGEPAGE)));
}

/* Nothing is there for a moment, then something new. */
static void unmap(struct worker *w)
{
	struct words range = some(w);
	void *start = w->data + range.first;

	MUST(error(munmap(start, size_of(range))));
	MAY(dmirror_read(some_device(w), start, 8) -
	    HMM_DMIRROR_STATUS_NO_ACCESS,
	    HMM_DMIRROR_STATUS_TIMEOUT - HMM_DMIRROR_STATUS_NO_ACCESS);
	MUST(mmap(start, size_of(range), PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
		  MAP_FIXED_NOREPLACE, -1, 0) != start);
	MUST(error(madvise(start, size_of(range), w->huge ? MADV_HUGEPAGE :
							    MADV_NOHUGEPAGE)));
	set(w, range, 0);
}

/* There and back; at times by a distance that no huge page can go. */
static void move(struct worker *w)
{
	struct words range = some(w);
	char *start = (char *)(w->data + range.first);
	char *to = w->room + range.first * 8 + (below(w, 2) ? w->page : 0);
	size_t size = size_of(range);
	bool by_device = below(w, 2);

	MUST(mremap(start, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to);
	if (by_device)
		sum_range(w, (uint64_t *)to, range);
	else
		MUST(wrong_words(w, (uint64_t *)to, range));
	MUST(mremap(to, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, start) !=
	     start);
	/* Nobody else is to find room there. */
	MUST(mmap(to, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS |
		  MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0) != to);
}

static void drop(struct worker *w)
{
	struct words range = some(w);

	MUST(error(madvise(w->data + range.first, size_of(range),
			   MADV_DONTNEED)));
	set(w, range, 0);
}

static void page_away(struct worker *w)
{
	struct words range = some(w);

	MUST(error(madvise(w->data + range.first, size_of(range),
			   MADV_PAGEOUT)));
}

/* Others hold pages for a moment, and where huge pages are off it is refused. */
static void collapse(struct worker *w)
{
	MAY(error(madvise(w->data + below(w, AREAS) * (HUGE / 8), HUGE,
			  MADV_COLLAPSE)), -EAGAIN, -EBUSY, -EINVAL, -ENOMEM);
}

/* The child has all as it was while the parent goes on, and the other way round. */
static void share(struct worker *w)
{
	struct words range = some(w), other = some(w);
	pid_t child = fork();
	bool right;

	if (!child) {
		right = !wrong_words(w, w->data, (struct words) { 0, WORDS });
		write_range(w, range);
		_exit(!right || wrong_words(w, w->data + range.first, range));
	}
	if (child < 0) {
		MUST(-errno);
		return;
	}
	write_range(w, range);
	fill_range(w, other);
	MUST(child_status(child));
	MUST_BE_RIGHT(range);
}

/* System calls copy from and to it. */
static void copy_by_kernel(struct worker *w)
{
	struct words range = some_pages(w, PART / 2);
	uint64_t *start = w->data + range.first;
	ssize_t size = size_of(range);

	MUST(write(w->pipes[1], start, size) != size);
	MUST(read(w->pipes[0], w->buffer, size) != size);
	MUST(wrong_words(w, (uint64_t *)w->buffer, range));
	memset(w->buffer, below(w, 256), size);
	MUST(write(w->pipes[1], w->buffer, size) != size);
	MUST(read(w->pipes[0], start, size) != size);
	memcpy(w->shadow + range.first, w->buffer, size);
}

/* Who pins it for long sees what the device writes; then it is in RAM. */
static void pin(struct worker *w)
{
	struct words range = some_pages(w, PART);
	struct pin_longterm_test args = {
		.addr = (uintptr_t)(w->data + range.first),
		.size = size_of(range),
		.flags = below(w, 4),
	};
	uint64_t to = (uintptr_t)w->buffer;

	if (w->gup < 0 ||
	    !MAY(error(ioctl(w->gup, PIN_LONGTERM_TEST_START, &args)), -EBUSY))
		return;
	fill_range(w, range);
	MUST(error(ioctl(w->gup, PIN_LONGTERM_TEST_READ, &to)));
	MUST(wrong_words(w, (uint64_t *)w->buffer, range));
	MUST(error(ioctl(w->gup, PIN_LONGTERM_TEST_STOP)));
}

/* Add to a word that others add to, too. */
static void add_to(struct worker *w, char *pages, uint64_t *added)
{
	size_t page = below(w, SHARED_PAGES);
	uint64_t *word = (uint64_t *)(pages + page * w->page), value;
	uint64_t add = 1 + below(w, 1000);
	struct dmirror *dev = some_device(w);

	if (below(w, 2))
		__atomic_fetch_add(word, add, __ATOMIC_SEQ_CST);
	else if (!RUN(dmirror_atomic_add(dev, word, add, 1, &value)))
		return;
	added[page] += add;
}

static void add_to_shared(struct worker *w)
{
	add_to(w, w->process->shared, w->shared);
}

static void add_to_world(struct worker *w)
{
	add_to(w, w->process->world, w->tally->world);
}

static void move_shared(struct worker *w)
{
	struct dmirror *dev = some_device(w);
	char *shared = w->process->shared;
	size_t length = SHARED_PAGES * w->page;

	switch (below(w, 3)) {
	case 0:
		MAY(dmirror_migrate(dev, shared, length, HMM_DMIRROR_TO_DEVICE,
				    NULL), -ENOSPC, -EOPNOTSUPP, -ENOMEM);
		break;
	case 1:
		MAY(dmirror_migrate(dev, shared, length, HMM_DMIRROR_TO_RAM,
				    NULL), -EOPNOTSUPP, -ENOMEM);
		break;
	default:
		MUST(error(madvise(shared, length, MADV_PAGEOUT)));
	}
}

static const struct operation {
	const char *name;
	unsigned int weight;
	void (*run)(struct worker *w);
	bool evicts;	/* races with exit on the unmodified kernel */
} operations[] = {
	{ "CPU read", 8, cpu_read, false },
	{ "CPU write", 8, cpu_write, false },
	{ "device fill", 8, device_fill, false },
	{ "device sum", 8, device_sum, false },
	{ "device copy", 4, device_copy, false },
	{ "device add", 4, device_add, false },
	{ "exclusive add", 2, exclusive_add, false },
	{ "prefetch", 2, prefetch, false },
	{ "to device", 12, to_device, false },
	{ "to RAM", 4, to_ram, false },
	{ "make room", 3, make_room, true },
	{ "between devices", 3, between, false },
	{ "short of memory", 1, short_of_memory, false },
	{ "evict", 2, evict, true },
	{ "evict to device", 2, evict_to, true },
	{ "mprotect", 3, protect, false },
	{ "huge page advice", 1, advise, false },
	{ "munmap", 2, unmap, false },
	{ "mremap", 2, move, false },
	{ "MADV_DONTNEED", 2, drop, false },
	{ "MADV_PAGEOUT", 2, page_away, false },
	{ "MADV_COLLAPSE", 2, collapse, false },
	{ "fork", 1, share, false },
	{ "read and write", 2, copy_by_kernel, false },
	{ "long-term pin", 2, pin, false },
	{ "add to shared", 8, add_to_shared, false },
	{ "add to world", 4, add_to_world, false },
	{ "move shared", 2, move_shared, false },
};

#endif /* _SELFTESTS_HMM_SOAK_H */
