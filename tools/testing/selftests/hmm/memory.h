/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Process memory as the HMM kselftests look at it: where it lies, what the CPU
 * page table says of it, and how large the device's leaves can be.
 */
#ifndef _SELFTESTS_HMM_MEMORY_H
#define _SELFTESTS_HMM_MEMORY_H

#include "dmirror_test.h"

#define WRITE			HMM_DMIRROR_PAGE_WRITE

/* Of an entry of /proc/self/pagemap. */
#define PM_FRAME		((1ULL << 55) - 1)
#define PM_PRESENT		(1ULL << 63)

/*
 * Address space at a multiple of HUGE, with inaccessible space before and behind
 * it, so that what is mapped there with MAP_FIXED merges with nothing else.
 * NULL without.
 */
static inline char *reserve(size_t length)
{
	char *map = mmap(NULL, length + 2 * HUGE, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (map == MAP_FAILED)
		return NULL;
	return (char *)(((uintptr_t)map + HUGE) & ~(HUGE - 1));
}

/* Like map_pages() or map_huge(), alone in a reservation of its own. */
static inline char *map_alone(size_t length, bool huge)
{
	char *start = reserve(length);

	if (!start ||
	    mmap(start, length, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
		 0) != start)
		return NULL;
	madvise(start, length, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	return start;
}

/* Read the entries of @nr pages; false if they cannot be read. */
static inline bool read_pagemap(const void *start, size_t nr, uint64_t *entries)
{
	int file = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	ssize_t size = nr * sizeof(*entries);
	bool done;

	done = file >= 0 &&
	       pread(file, entries, size, (uintptr_t)start / page_size() *
					  sizeof(*entries)) == size;
	close(file);
	return done;
}

static inline long pages_present(const void *start, size_t length)
{
	size_t nr = length / page_size(), i;
	uint64_t *entries = calloc(nr, sizeof(*entries));
	long found = 0;

	if (!entries || !read_pagemap(start, nr, entries))
		found = -EIO;
	for (i = 0; found >= 0 && i < nr; i++)
		found += !!(entries[i] & PM_PRESENT);
	free(entries);
	return found;
}

/* Pages on their way to an LRU list of some CPU cannot be paged out. */
static inline void drain_lru(void)
{
	int file = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);

	if (file < 0 || write(file, "1", 1) != 1)
		usleep(10000);
	close(file);
}

/* Page all of it out; false if something stays. */
static inline bool page_out(char *start, size_t length)
{
	int i;

	for (i = 0; i < 100; i++) {
		if (madvise(start, length, MADV_PAGEOUT))
			return false;
		if (!pages_present(start, length))
			return true;
		drain_lru();
	}
	return false;
}

static inline bool have_swap(void)
{
	FILE *swaps = fopen("/proc/swaps", "r");
	char line[256];
	int lines = 0;

	while (swaps && fgets(line, sizeof(line), swaps))
		lines++;
	if (swaps)
		fclose(swaps);
	return lines > 1;
}

/* Are the @nr pages present, and their frames contiguous and aligned? */
static inline bool contiguous(const uint64_t *entries, size_t nr)
{
	uint64_t first = entries[0] & PM_FRAME;
	size_t i;

	for (i = 0; i < nr; i++)
		if (!(entries[i] & PM_PRESENT) ||
		    (entries[i] & PM_FRAME) != first + i)
			return false;
	return first % nr == 0;
}

/*
 * The largest leaf of the device's that page @i of @nr can be part of; @entries:
 * pagemap of the memory, which begins at a multiple of HUGE.
 */
static inline size_t largest_leaf(const struct dmirror *dev,
				  const uint64_t *entries, size_t nr, size_t i)
{
	size_t size, pages, first;

	for (size = HUGE; size > page_size(); size /= 2) {
		pages = size / page_size();
		first = i - i % pages;
		if ((dev->info.page_sizes & size) && first + pages <= nr &&
		    contiguous(entries + first, pages))
			break;
	}
	return size;
}

/* Write @value to a control file; @old: what it selected before, if not NULL. */
static inline bool set_control(const char *path, const char *value, char *old,
			       size_t size)
{
	int file = open(path, O_RDWR | O_CLOEXEC);
	char text[256] = {};
	char *from, *to;
	bool done;

	if (file < 0)
		return false;
	if (old && read(file, text, sizeof(text) - 1) > 0) {
		/* Either the word in brackets, or all of the line. */
		from = strchr(text, '[');
		from = from ? from + 1 : text;
		to = from + strcspn(from, "]\n");
		snprintf(old, size, "%.*s", (int)(to - from), from);
	}
	done = pwrite(file, value, strlen(value), 0) == (ssize_t)strlen(value);
	close(file);
	return done;
}

#endif /* _SELFTESTS_HMM_MEMORY_H */
