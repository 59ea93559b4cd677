// SPDX-License-Identifier: GPL-2.0
/*
 * An ordinary C program: reads text with stdio, keeps it and its words in
 * memory from malloc(), computes. It knows nothing of devices.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "textdata.h"

#define MANY_CHAINS	(1 << 15)

static bool in_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9');
}

static void *more(void *old, size_t size)
{
	void *new = realloc(old, size);

	if (!new) {
		fprintf(stderr, "out of memory\n");
		exit(EXIT_FAILURE);
	}
	return new;
}

static int read_file(struct textdata *data, size_t *room, const char *path)
{
	FILE *file = fopen(path, "r");
	size_t got;
	int failed;

	if (!file) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return -1;
	}

	do {
		if (*room - data->length < BUFSIZ) {
			*room = *room ? 2 * *room : 1 << 20;
			data->text = more(data->text, *room);
		}
		got = fread(data->text + data->length, 1,
			    *room - data->length, file);
		data->length += got;
	} while (got);

	failed = ferror(file);
	if (failed)
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
	fclose(file);
	return failed ? -1 : 0;
}

static struct textdata_word **chain_of(const struct textdata *data,
				       const char *word, size_t length)
{
	uint64_t hash = 14695981039346656037ull;

	while (length--)
		hash = (hash ^ (unsigned char)*word++) * 1099511628211ull;
	return &data->chains[hash % data->nr_chains];
}

static struct textdata_word *find(const struct textdata *data,
				  const char *word, size_t length)
{
	struct textdata_word *node = *chain_of(data, word, length);

	while (node && (strncmp(node->spelling, word, length) ||
			node->spelling[length]))
		node = node->next;
	return node;
}

static void add(struct textdata *data, const char *word, size_t length)
{
	struct textdata_word *node = find(data, word, length);
	struct textdata_word **chain;

	if (!node) {
		chain = chain_of(data, word, length);
		node = more(NULL, sizeof(*node));
		node->spelling = more(NULL, length + 1);
		memcpy(node->spelling, word, length);
		node->spelling[length] = '\0';
		node->count = 0;
		node->next = *chain;
		*chain = node;
		data->nr_nodes++;
	}
	node->count++;
}

/* The first word at or after *@at: its length, or 0; *@at is where it is. */
static size_t next_word(const char *text, size_t length, size_t *at)
{
	size_t end;

	while (*at < length && !in_word(text[*at]))
		++*at;
	for (end = *at; end < length && in_word(text[end]);)
		end++;
	return end - *at;
}

int textdata_read(struct textdata *data, char **files, int nr)
{
	size_t room = 0, at = 0, many = 0, length;
	int i;

	memset(data, 0, sizeof(*data));
	for (i = 0; i < nr; i++)
		if (read_file(data, &room, files[i]))
			return -1;

	data->nr_chains = MANY_CHAINS;
	data->chains = calloc(data->nr_chains, sizeof(*data->chains));
	data->counters = calloc(TEXTDATA_COUNTERS, sizeof(*data->counters));
	if (!data->chains || !data->counters) {
		fprintf(stderr, "out of memory\n");
		return -1;
	}

	while ((length = next_word(data->text, data->length, &at))) {
		if (data->nr_words == many) {
			many = many ? 2 * many : 1 << 16;
			data->offsets = more(data->offsets,
					     many * sizeof(*data->offsets));
		}
		data->offsets[data->nr_words++] = at;
		add(data, data->text + at, length);
		at += length;
	}
	if (!data->nr_words) {
		fprintf(stderr, "there is no word in the text\n");
		return -1;
	}
	data->text = more(data->text, data->length);
	data->offsets = more(data->offsets,
			     data->nr_words * sizeof(*data->offsets));
	return 0;
}

void textdata_free(struct textdata *data)
{
	struct textdata_word *node;
	size_t i;

	for (i = 0; data->chains && i < data->nr_chains; i++) {
		while ((node = data->chains[i])) {
			data->chains[i] = node->next;
			free(node->spelling);
			free(node);
		}
	}
	free(data->chains);
	free(data->counters);
	free(data->offsets);
	free(data->text);
	memset(data, 0, sizeof(*data));
}

bool textdata_in(const struct textdata *data, const void *start,
		 const void *end)
{
	const struct {
		const void *start;
		size_t size;
	} array[] = {
		{ data->text, data->length },
		{ data->chains, data->nr_chains * sizeof(*data->chains) },
		{ data->offsets, data->nr_words * sizeof(*data->offsets) },
		{ data->counters, TEXTDATA_COUNTERS * sizeof(*data->counters) },
	};
	const struct textdata_word *node;
	size_t i;

	for (i = 0; i < sizeof(array) / sizeof(array[0]); i++)
		if (array[i].start < end &&
		    (const char *)array[i].start + array[i].size >
		    (const char *)start)
			return true;

	for (i = 0; i < data->nr_chains; i++)
		for (node = data->chains[i]; node; node = node->next)
			if (((void *)node >= start && (void *)node < end) ||
			    ((void *)node->spelling >= start &&
			     (void *)node->spelling < end))
				return true;
	return false;
}

uint64_t textdata_count_words(const char *text, size_t length)
{
	uint64_t words = 0;
	size_t at = 0, word;

	while ((word = next_word(text, length, &at))) {
		words++;
		at += word;
	}
	return words;
}

uint64_t textdata_chase(struct textdata_word *const *chains, size_t nr,
			uint64_t *nodes)
{
	const struct textdata_word *node;
	uint64_t sum = 0;
	size_t i;

	*nodes = 0;
	for (i = 0; i < nr; i++) {
		for (node = chains[i]; node; node = node->next) {
			sum += node->count;
			++*nodes;
		}
	}
	return sum;
}

void textdata_histogram(const char *text, size_t length, uint64_t *histogram)
{
	while (length--)
		histogram[(unsigned char)*text++]++;
}

uint64_t textdata_sum(const uint64_t *numbers, size_t nr)
{
	uint64_t sum = 0;

	while (nr--)
		sum += *numbers++;
	return sum;
}

bool textdata_verify(const struct textdata *data)
{
	uint64_t counted = 0, nodes, total;
	struct textdata_word *node;
	const char *word;
	size_t i, length;

	total = textdata_chase(data->chains, data->nr_chains, &nodes);
	if (total != data->nr_words || nodes != data->nr_nodes)
		return false;

	for (i = 0; i < data->nr_words; i++) {
		size_t at = data->offsets[i];

		word = data->text + at;
		length = next_word(data->text, data->length, &at);
		if (word != data->text + at)
			return false;
		node = find(data, word, length);
		if (!node)
			return false;
		counted += length;
	}

	/* The letters and digits of the text are those of its words. */
	for (i = 0; i < data->length; i++)
		counted -= in_word(data->text[i]);
	return counted == 0;
}
