/* SPDX-License-Identifier: GPL-2.0 */
/*
 * An ordinary C program's data: a text, its words in a hash table with chained
 * nodes, and arrays of numbers about them. Everything comes from malloc().
 */
#ifndef _SELFTESTS_HMM_TEXTDATA_H
#define _SELFTESTS_HMM_TEXTDATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TEXTDATA_BYTES		256	/* values that a byte can have */
#define TEXTDATA_COUNTERS	65536

/* One different word of the text. */
struct textdata_word {
	struct textdata_word *next;	/* in the same chain */
	uint64_t count;			/* how often it occurs */
	char *spelling;
};

struct textdata {
	char *text;			/* all files, one after the other */
	size_t length;

	struct textdata_word **chains;
	size_t nr_chains;
	size_t nr_nodes;		/* different words */

	uint64_t *offsets;		/* where in the text each word begins */
	size_t nr_words;		/* all words */

	uint64_t *counters;		/* TEXTDATA_COUNTERS, all 0 */
};

/*
 * Read @nr files into @data.
 * Return: 0, or -1 after printing what is wrong.
 */
int textdata_read(struct textdata *data, char **files, int nr);
void textdata_free(struct textdata *data);

/* Is any part of the data at @start or above, and below @end? */
bool textdata_in(const struct textdata *data, const void *start,
		 const void *end);

/* What this program computes from its data. */
uint64_t textdata_count_words(const char *text, size_t length);
uint64_t textdata_chase(struct textdata_word *const *chains, size_t nr,
			uint64_t *nodes);
void textdata_histogram(const char *text, size_t length, uint64_t *histogram);
uint64_t textdata_sum(const uint64_t *numbers, size_t nr);

/* Does each node still hold the spelling and the count that the text has? */
bool textdata_verify(const struct textdata *data);

#endif /* _SELFTESTS_HMM_TEXTDATA_H */
