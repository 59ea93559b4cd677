/* SPDX-License-Identifier: GPL-2.0 */
/*
 * User library of the HMM dummy device: what the demonstration, the kselftests
 * and the benchmarks share.
 *
 * Every function returns 0 (or what its comment says) on success and a negative
 * errno on failure, see hmm_dmirror_uapi.h for what each errno means.
 * Functions that run a device program return 0 if it ran to its end, a positive
 * enum hmm_dmirror_status if the device stopped it, or a negative errno.
 */
#ifndef _SELFTESTS_HMM_DMIRROR_H
#define _SELFTESTS_HMM_DMIRROR_H

#include <stddef.h>
#include <stdint.h>

#include "hmm_dmirror_uapi.h"

/* Directory of the device nodes, "/dev" unless a program changes it. */
extern const char *dmirror_directory;

/* An open device: one address space on it. */
struct dmirror {
	int fd;				/* -1 when closed */
	unsigned int number;		/* N of /dev/hmm_dmirrorN */
	struct hmm_dmirror_info info;	/* as it was when opened */
};

/* Open device @number. -ENOENT if there is no such device. */
int dmirror_open(struct dmirror *dev, unsigned int number);

/*
 * Open the @nth device, counted from 0, that has @memory. -ENODEV if there are
 * not so many, otherwise the errno of a device that could not be opened.
 */
int dmirror_open_memory(struct dmirror *dev, enum hmm_dmirror_memory memory,
			unsigned int nth);

/* Close the device; nothing happens if it is closed already. */
void dmirror_close(struct dmirror *dev);

/* Run a device program as described by @run. */
int dmirror_run(struct dmirror *dev, struct hmm_dmirror_run *run);

/* Read @length bytes at @addr and forget them. */
int dmirror_read(struct dmirror *dev, const void *addr, size_t length);

/* Write @word to each of the @length / 8 words at @addr. */
int dmirror_fill(struct dmirror *dev, void *addr, size_t length, uint64_t word);

/* Add up the @length / 8 words at @addr. */
int dmirror_sum(struct dmirror *dev, const void *addr, size_t length,
		uint64_t *sum);

/* Copy @length bytes from @src to @dst. */
int dmirror_copy(struct dmirror *dev, void *dst, const void *src,
		 size_t length);

/* Add @operand to the word at @addr @count times; @value: after the last one. */
int dmirror_atomic_add(struct dmirror *dev, uint64_t *addr, uint64_t operand,
		       uint64_t count, uint64_t *value);

/*
 * As dmirror_atomic_add(), by a device without atomic operations that needs the
 * page for itself.
 */
int dmirror_exclusive_add(struct dmirror *dev, uint64_t *addr, uint64_t operand,
			  uint64_t count, uint64_t *value);

/*
 * Follow the @count chains whose first nodes @heads points to, at most @limit
 * nodes. A node has its next pointer at byte @next and a word at byte @word.
 * @sum: of these words, @nodes: how many nodes there are.
 */
int dmirror_chase(struct dmirror *dev, const void *heads, size_t count,
		  size_t next, size_t word, size_t limit, uint64_t *sum,
		  uint64_t *nodes);

/* Add the number of occurrences of each byte to the 256 words at @histogram. */
int dmirror_histogram(struct dmirror *dev, const void *text, size_t length,
		      uint64_t *histogram);

/* Count the words, runs of ASCII letters and digits. */
int dmirror_word_count(struct dmirror *dev, const void *text, size_t length,
		       uint64_t *words);

/*
 * Migrate whole pages. @result receives the counts, after a failure as well;
 * it may be NULL.
 */
int dmirror_migrate(struct dmirror *dev, const void *addr, size_t length,
		    enum hmm_dmirror_target target,
		    struct hmm_dmirror_migrate *result);

/* As dmirror_migrate() to the device, which evicts what is old to make room. */
int dmirror_make_room(struct dmirror *dev, const void *addr, size_t length,
		      struct hmm_dmirror_migrate *result);

/*
 * Migrate what lies in the memory of @dev to that of @to, which makes room with
 * @flags HMM_DMIRROR_MIGRATE_MAKE_ROOM; @result as for dmirror_migrate().
 */
int dmirror_migrate_between(struct dmirror *dev, struct dmirror *to,
			    const void *addr, size_t length, unsigned int flags,
			    struct hmm_dmirror_migrate *result);

/*
 * Move the aligned range of @size bytes around it to the device when a program misses
 * a page from now on; 0: do not. @flags: 0 or HMM_DMIRROR_MIGRATE_MAKE_ROOM.
 */
int dmirror_move_on_miss(struct dmirror *dev, size_t size, unsigned int flags);

/* Evict as described by @evict, which receives the counts, after a failure too. */
int dmirror_evict_as(struct dmirror *dev, struct hmm_dmirror_evict *evict);

/* Bring @nr_pages (~0: all) of the device's memory back to RAM. */
int dmirror_evict(struct dmirror *dev, uint64_t nr_pages, uint64_t *evicted);

/*
 * Move @nr_pages (~0: all) of the device's memory to that of @target within
 * @timeout_ms. @result receives the counts, after a failure as well.
 */
int dmirror_evict_to(struct dmirror *dev, struct dmirror *target,
		     uint64_t nr_pages, unsigned int timeout_ms,
		     struct hmm_dmirror_evict *result);

/*
 * Map whole pages on the device; @flags: HMM_DMIRROR_PREFETCH_*. @result receives
 * the counts, after a failure as well; it may be NULL.
 */
int dmirror_prefetch(struct dmirror *dev, const void *addr, size_t length,
		     unsigned int flags, struct hmm_dmirror_prefetch *result);

/* Give the device sole access to whole pages; @mapped: to how many, may be NULL. */
int dmirror_exclusive(struct dmirror *dev, void *addr, size_t length,
		      uint64_t *mapped);

/*
 * One page fault for the @nr devices at @devs, 1 to HMM_DMIRROR_MAX_FILES, all of
 * this process; @write: for writing. @errors: a negative errno or 0 for each
 * device, may be NULL.
 */
int dmirror_fault_many(struct dmirror *devs, unsigned int nr, const void *addr,
		       int write, int *errors);

/* Read the device page table: one byte of HMM_DMIRROR_PAGE_* for each page. */
int dmirror_snapshot(struct dmirror *dev, const void *addr, size_t length,
		     unsigned char *pages);

/*
 * Declare whole pages lost that the device maps in its memory; @offset: where the
 * first of them lies there, may be NULL.
 */
int dmirror_poison(struct dmirror *dev, const void *addr, size_t length,
		   uint64_t *offset);

/* The same for what lies at @offset in the device memory. */
int dmirror_poison_offset(struct dmirror *dev, uint64_t offset, size_t length);

/* Work with a buffer of the device's own as described by @buffer, which is filled. */
int dmirror_buffer(struct dmirror *dev, struct hmm_dmirror_buffer *buffer);

/* Read the counters. */
int dmirror_stats(struct dmirror *dev, struct hmm_dmirror_stats *stats);

/* Read what the device is and how much of its memory is in use now. */
int dmirror_info(struct dmirror *dev, struct hmm_dmirror_info *info);

/* Read where the device memory lies and, if @perf->error is 0, how fast it is. */
int dmirror_perf(struct dmirror *dev, struct hmm_dmirror_perf *perf);

/* Make @count jobs fail after @after that succeed; @count 0 ends it. */
int dmirror_inject(struct dmirror *dev, enum hmm_dmirror_injection what,
		   unsigned int after, unsigned int count, unsigned int value);

/*
 * What the result of a function that runs a device program means: the text of
 * the status, or of the errno if it is negative.
 */
const char *dmirror_strerror(int result);

/* The name of a kind of device memory. */
const char *dmirror_memory_name(enum hmm_dmirror_memory memory);

#endif /* _SELFTESTS_HMM_DMIRROR_H */
