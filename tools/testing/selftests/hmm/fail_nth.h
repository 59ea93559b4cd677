/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Let the kernel's memory allocations fail, one by one or those of huge pages.
 *
 * Follows "fail-nth" of Documentation/fault-injection/fault-injection.rst.
 */
#ifndef _SELFTESTS_HMM_FAIL_NTH_H
#define _SELFTESTS_HMM_FAIL_NTH_H

#include "dmirror_test.h"

#define FAIL_DEBUGFS	"/sys/kernel/debug/"
/* More than any operation allocates. */
#define FAIL_LIMIT	2000

/*
 * The thread's file, or -1 if the kernel does not inject failures.  Allocations that
 * may sleep fail, too, and the log stays short.
 */
static inline int fail_open(void)
{
	if (write_text(FAIL_DEBUGFS "failslab/ignore-gfp-wait", "N") ||
	    write_text(FAIL_DEBUGFS "failslab/verbose", "0") ||
	    write_text(FAIL_DEBUGFS "fail_page_alloc/ignore-gfp-wait", "N") ||
	    write_text(FAIL_DEBUGFS "fail_page_alloc/ignore-gfp-highmem", "N") ||
	    write_text(FAIL_DEBUGFS "fail_page_alloc/min-order", "0") ||
	    write_text(FAIL_DEBUGFS "fail_page_alloc/verbose", "0"))
		return -1;
	return open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
}

/* Let the @nth allocation of this thread from now on fail; 0: none. */
static inline void fail_nth(int file, unsigned int nth)
{
	char text[16];
	int length = snprintf(text, sizeof(text), "%u", nth);

	if (pwrite(file, text, length, 0) != length)
		abort();
}

/* End it; did an allocation fail?  Allocates nothing itself. */
static inline bool fail_end(int file)
{
	char left = '?';

	if (pread(file, &left, 1, 0) != 1)
		abort();
	fail_nth(file, 0);
	return left == '0';
}

enum fail_pages {
	FAIL_NONE,
	FAIL_HUGE,		/* this thread finds no huge page */
	FAIL_WITHOUT_WAIT,	/* nor any page that it may not wait for */
	FAIL_ALL_FOR_A_WHILE,	/* nor any page at all, eight times */
};

/* Which allocations of pages by this thread fail from now on.  0 or -1. */
static inline int fail_pages(enum fail_pages which)
{
	bool on = which != FAIL_NONE, all = which == FAIL_ALL_FOR_A_WHILE;
	const struct {
		const char *name, *on, *off;
	} knobs[] = {
		{ "task-filter", "Y", "N" },
		{ "ignore-gfp-wait", which == FAIL_WITHOUT_WAIT ? "Y" : "N", "N" },
		{ "ignore-gfp-highmem", "N", "N" },
		{ "min-order", which == FAIL_HUGE ? "9" : "0", "0" },
		{ "verbose", "0", "0" },
		{ "times", all ? "8" : "-1", "1" },
		{ "probability", "100", "0" },
	};
	const unsigned int nr = sizeof(knobs) / sizeof(*knobs);
	char path[128];
	unsigned int i, k;

	if (write_text("/proc/thread-self/make-it-fail", on ? "1" : "0"))
		return -1;
	/* The probability last, and first when it ends: all others are limits. */
	for (i = 0; i < nr; i++) {
		k = on ? i : nr - 1 - i;
		snprintf(path, sizeof(path), FAIL_DEBUGFS "fail_page_alloc/%s",
			 knobs[k].name);
		if (write_text(path, on ? knobs[k].on : knobs[k].off))
			return -1;
	}
	return 0;
}

#define FAIL_HUGE_OR_SKIP() do { \
	if (fail_pages(FAIL_HUGE)) \
		SKIP(return, "no fault injection in this kernel"); \
} while (0)

#endif /* _SELFTESTS_HMM_FAIL_NTH_H */
