/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the HMM kselftests share. Include it once in each test program.
 */
#ifndef _SELFTESTS_HMM_DMIRROR_TEST_H
#define _SELFTESTS_HMM_DMIRROR_TEST_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "dmirror.h"

/* A debug kernel under emulation is slow: this only ends what hangs. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	600

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif

#define KIB			1024UL
#define MIB			(1024 * KIB)
#define HUGE			(2 * MIB)

#define NONE			HMM_DMIRROR_MEMORY_NONE
#define PRIVATE			HMM_DMIRROR_MEMORY_PRIVATE
#define CDM			HMM_DMIRROR_MEMORY_CDM

#define MAPPED			HMM_DMIRROR_PAGE_MAPPED
#define LARGE			HMM_DMIRROR_PAGE_LARGE
#define MEDIUM			HMM_DMIRROR_PAGE_MEDIUM
#define MEDIUM_SIZE		(64 * KIB)
#define IN_DEVICE		(HMM_DMIRROR_PAGE_PRIVATE | \
				 HMM_DMIRROR_PAGE_CDM)

/*
 * Open the @nth device with @memory in a fixture's setup; if there is none,
 * skip the test with @statement (return).
 */
#define OPEN_OR_SKIP(statement, dev, memory, nth) do { \
	int __open = dmirror_open_memory(dev, memory, nth); \
	if (__open == -ENODEV) \
		SKIP(statement, "hmm_dmirror has too few devices: %s, %s", \
		     #memory, #nth); \
	ASSERT_EQ(0, __open); \
} while (0)

/* The first device that uses DMA addresses; -ENODEV if there is none. */
static inline int open_dma(struct dmirror *dev)
{
	unsigned int nth;
	int ret;

	for (nth = 0; ; nth++) {
		ret = dmirror_open_memory(dev, NONE, nth);
		if (ret || dev->info.flags & HMM_DMIRROR_INFO_DMA)
			return ret;
		dmirror_close(dev);
	}
}

/*
 * The first device that has its @memory for buffers of its own, too; -ENODEV if
 * there is none.
 */
static inline int open_shared(struct dmirror *dev, enum hmm_dmirror_memory memory)
{
	unsigned int nth;
	int ret;

	for (nth = 0; ; nth++) {
		ret = dmirror_open_memory(dev, memory, nth);
		if (ret || dev->info.flags & HMM_DMIRROR_INFO_SHARED)
			return ret;
		dmirror_close(dev);
	}
}

/*
 * As OPEN_OR_SKIP() for the first device with @memory, or with @dma for the first
 * one that uses DMA addresses.
 */
#define OPEN_KIND_OR_SKIP(statement, dev, memory, dma) do { \
	int __kind = (dma) ? open_dma(dev) : \
			     dmirror_open_memory(dev, memory, 0); \
	if (__kind == -ENODEV) \
		SKIP(statement, "hmm_dmirror has no device with %s", \
		     (dma) ? "DMA addresses" : dmirror_memory_name(memory)); \
	ASSERT_EQ(0, __kind); \
} while (0)

static inline size_t page_size(void)
{
	return sysconf(_SC_PAGESIZE);
}

/* A private anonymous mapping without huge pages, or NULL. */
static inline void *map_pages(size_t nr)
{
	size_t length = nr * page_size();
	void *map = mmap(NULL, length, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED)
		return NULL;
	madvise(map, length, MADV_NOHUGEPAGE);
	return map;
}

/* Like map_pages(), but @length bytes at a multiple of HUGE, with huge pages. */
static inline void *map_huge(size_t length)
{
	char *map = mmap(NULL, length + HUGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *start;

	if (map == MAP_FAILED)
		return NULL;
	start = (char *)(((uintptr_t)map + HUGE - 1) & ~(HUGE - 1));
	if (start != map)
		munmap(map, start - map);
	munmap(start + length, map + HUGE - start);
	return madvise(start, length, MADV_HUGEPAGE) ? NULL : start;
}

/* Words that are different at each place and for each @seed. */
static inline uint64_t pattern(uint64_t seed, size_t word)
{
	return (seed << 32) + word * 0x9e3779b97f4a7c15ull + 1;
}

static inline void fill(void *start, size_t length, uint64_t seed)
{
	volatile uint64_t *words = start;
	size_t i;

	for (i = 0; i < length / sizeof(*words); i++)
		words[i] = pattern(seed, i);
}

/* The number of words that are not what fill() wrote. */
static inline size_t differences(const void *start, size_t length,
				 uint64_t seed)
{
	const volatile uint64_t *words = start;
	size_t i, nr = 0;

	for (i = 0; i < length / sizeof(*words); i++)
		nr += words[i] != pattern(seed, i);
	return nr;
}

/* The number of words that are not @word. */
static inline size_t others(const void *start, size_t length, uint64_t word)
{
	const volatile uint64_t *words = start;
	size_t i, nr = 0;

	for (i = 0; i < length / sizeof(*words); i++)
		nr += words[i] != word;
	return nr;
}

/* What SUM finds in what fill() wrote. */
static inline uint64_t pattern_sum(size_t length, uint64_t seed)
{
	uint64_t sum = 0;
	size_t i;

	for (i = 0; i < length / sizeof(uint64_t); i++)
		sum += pattern(seed, i);
	return sum;
}

/* How many pages have all of @flags in the device page table, or -errno. */
static inline long mapped(struct dmirror *dev, const void *start,
			  size_t length, unsigned char flags)
{
	size_t nr = length / page_size(), i;
	unsigned char *pages = malloc(nr);
	long found = 0;
	int ret;

	if (!pages)
		return -ENOMEM;
	ret = dmirror_snapshot(dev, start, length, pages);
	for (i = 0; i < nr; i++)
		found += (pages[i] & flags) == flags;
	free(pages);
	return ret ? ret : found;
}

/* Bytes of the leaf that a page is part of, from what a snapshot says of it. */
static inline size_t leaf_size(unsigned char page)
{
	if (page & LARGE)
		return HUGE;
	return page & MEDIUM ? MEDIUM_SIZE : page_size();
}

/*
 * Since the snapshot @before of the @nr pages at @start: is everything gone that
 * shares a leaf with [@from, @from + @length), and all else still mapped as it
 * was?
 */
static inline bool zapped_leaves(struct dmirror *dev, const char *start,
				 size_t nr, const unsigned char *before,
				 const char *from, size_t length)
{
	unsigned char *now = malloc(nr);
	bool right;
	size_t i;

	right = now && !dmirror_snapshot(dev, start, nr * page_size(), now);
	for (i = 0; right && i < nr; i++) {
		uintptr_t size = leaf_size(before[i]);
		uintptr_t leaf = (uintptr_t)(start + i * page_size()) & -size;
		bool hit = leaf < (uintptr_t)from + length &&
			   leaf + size > (uintptr_t)from;

		right = now[i] == (hit ? 0 : before[i]);
	}
	free(now);
	return right;
}

/* The HMM_DMIRROR_PAGE_* of one page, or -errno. */
static inline int page_flags(struct dmirror *dev, const void *page)
{
	unsigned char flags = 0;
	int ret = dmirror_snapshot(dev, page, page_size(), &flags);

	return ret ? ret : flags;
}

/* Migrate; the counts go to the three pointers. */
static inline int migrate(struct dmirror *dev, void *start, size_t length,
			  enum hmm_dmirror_target target,
			  struct hmm_dmirror_migrate *result)
{
	memset(result, 0xff, sizeof(*result));
	return dmirror_migrate(dev, start, length, target, result);
}

/* Move all of it to device memory; false if something stays. */
static inline bool move_in(struct dmirror *dev, char *data, size_t length)
{
	struct hmm_dmirror_migrate result;

	return !migrate(dev, data, length, HMM_DMIRROR_TO_DEVICE, &result) &&
	       result.moved == length / page_size();
}

/*
 * Migrate until there is nothing left to move.  Others may hold a page for a moment: 0,
 * -EBUSY if it takes longer than 200 ms, or as dmirror_migrate().
 */
static inline int migrate_all(struct dmirror *dev, void *start, size_t length,
			      enum hmm_dmirror_target target)
{
	struct hmm_dmirror_migrate result;
	uint64_t done;
	int i, ret;

	for (i = 0; i < 20; i++) {
		ret = migrate(dev, start, length, target, &result);
		if (ret)
			return ret;
		/* Empty pages come to no RAM. */
		done = result.already;
		if (target == HMM_DMIRROR_TO_RAM)
			done += result.absent;
		if (result.left == done)
			return 0;
		usleep(10000);
	}
	return -EBUSY;
}

/* Memory without pages yet, huge ones if @huge; NULL without. */
static inline void *map_memory(size_t length, bool huge)
{
	return huge ? map_huge(length) : map_pages(length / page_size());
}

/* Take all of the device's memory but @left pages; the mapping, or NULL. */
static inline char *fill_memory(struct dmirror *dev, size_t left, bool huge)
{
	size_t length = dev->info.memory_size - left * page_size();
	char *map = map_memory(length, huge);
	struct hmm_dmirror_migrate result;

	return map && !migrate(dev, map, length, HMM_DMIRROR_TO_DEVICE, &result) &&
	       result.filled == length / page_size() ? map : NULL;
}

#define THP		"/sys/kernel/mm/transparent_hugepage/"
#define THP_64K		THP "hugepages-64kB/enabled"
#define THP_2M		THP "hugepages-2048kB/enabled"
#define SCAN_MS		THP "khugepaged/scan_sleep_millisecs"

/* Are there pages of the kind @name where smaps has this address? */
static inline bool has_pages(const void *addr, const char *name)
{
	unsigned long start, end, at = (unsigned long)addr;
	bool here = false, found = false;
	FILE *smaps = fopen("/proc/self/smaps", "r");
	size_t length = strlen(name);
	char line[512];

	while (smaps && fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = at >= start && at < end;
		else if (here && !strncmp(line, name, length) &&
			 line[length] == ':')
			found = atol(line + length + 1) != 0;
	}
	if (smaps)
		fclose(smaps);
	return found;
}

/* Is the kernel's own page for this address a transparent huge page? */
static inline bool is_huge(const void *addr)
{
	return has_pages(addr, "AnonHugePages");
}

/* Make huge pages of what is there; false if that fails for one. */
static inline bool make_huge(char *start, size_t length)
{
	size_t at;
	int i;

	for (at = 0; at < length; at += HUGE) {
		/* Others may hold a page for a moment. */
		for (i = 0; madvise(start + at, HUGE, MADV_COLLAPSE); i++) {
			if (i == 20)
				return false;
			usleep(10000);
		}
	}
	return true;
}

/* Bytes of the device's memory that are in use; ~0 if it does not say. */
static inline uint64_t memory_used(struct dmirror *dev)
{
	struct hmm_dmirror_info info;

	return dmirror_info(dev, &info) ? ~0ull : info.memory_used;
}

/* The same in base pages, or -errno. */
static inline long used_pages(struct dmirror *dev)
{
	struct hmm_dmirror_info info;
	int ret = dmirror_info(dev, &info);

	return ret ? ret : (long)(info.memory_used / page_size());
}

/* Half of the device's memory becomes free, but nowhere 2M in a row. */
static inline bool fragment_memory(struct dmirror *dev)
{
	size_t size = dev->info.memory_size, i;
	char *map = fill_memory(dev, 0, false);

	for (i = 0; map && i < size; i += HUGE)
		if (madvise(map + i, HUGE / 2, MADV_DONTNEED))
			return false;
	return map && memory_used(dev) == size / 2;
}

static inline uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000ull + now.tv_nsec / 1000;
}

/* Write to a control file; 0 or -errno. */
static inline int write_text(const char *path, const char *text)
{
	int file = open(path, O_WRONLY | O_CLOEXEC), ret;

	if (file < 0)
		return -errno;
	ret = write(file, text, strlen(text)) < 0 ? -errno : 0;
	close(file);
	return ret;
}

static inline int write_number(const char *path, long number)
{
	char text[24];

	snprintf(text, sizeof(text), "%ld", number);
	return write_text(path, text);
}

/*
 * The first number in a control file, or the one after @name at the beginning of a
 * line; -ENOENT if there is none.
 */
static inline long read_number(const char *path, const char *name)
{
	FILE *file = fopen(path, "r");
	long number = -ENOENT, value;
	char line[256], *at;

	while (file && number == -ENOENT && fgets(line, sizeof(line), file)) {
		at = line;
		if (name && strncmp(line, name, strlen(name)))
			continue;
		if (name)
			at += strlen(name);
		if (sscanf(at, " %ld", &value) == 1)
			number = value;
	}
	if (file)
		fclose(file);
	return number;
}

/* How long to let parties race, in milliseconds. */
static inline unsigned int race_ms(void)
{
	const char *ms = getenv("HMM_RACE_MS");

	return ms ? atoi(ms) : 1000;
}

/* What keeps the driver's module loaded: open files and those not released yet. */
static inline long module_users(void)
{
	return read_number("/sys/module/hmm_dmirror/refcnt", NULL);
}

/* A device lets go of a file some time after its process: give it 20 seconds. */
static inline bool wait_module_users(long users)
{
	uint64_t end = now_us() + 20000000;

	while (module_users() > users && now_us() < end)
		usleep(1000);
	return module_users() <= users;
}

/* Wait until so many bytes of the device's memory are in use, for @most_us at most. */
static inline bool wait_used(struct dmirror *dev, uint64_t bytes, uint64_t most_us)
{
	uint64_t end = now_us() + most_us;

	do {
		if (memory_used(dev) == bytes)
			return true;
		usleep(1000);
	} while (now_us() < end);
	return false;
}

/* How a child ended: its exit status, or 256 plus the signal. */
static inline int child_status(pid_t child)
{
	int status;

	if (waitpid(child, &status, 0) != child)
		return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) :
				   256 + WTERMSIG(status);
}

#endif /* _SELFTESTS_HMM_DMIRROR_TEST_H */
