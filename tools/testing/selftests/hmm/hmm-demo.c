// SPDX-License-Identifier: GPL-2.0
/*
 * The demonstration: an ordinary C program's data (textdata.c) is handed to the
 * HMM dummy device by pointer, with its memory in RAM, in private device
 * memory, in coherent device memory, and half and half over two devices while
 * CPU threads use it. Each result is compared with the CPU's own.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "dmirror.h"
#include "textdata.h"

#define MAX_RANGES	64
#define NR_TOUCHERS	2
#define ADDITIONS	1000
#define COUNTER_STEP	16384		/* counters of phases, far apart */
#define BLOCK		1024		/* numbers that a CPU thread adds up */

/* A part of the address space that holds data, whole pages. */
struct range {
	char *start;
	size_t length;
};

/* What the CPU found. */
struct answers {
	uint64_t words;
	uint64_t sum_of_counts;
	uint64_t nodes;
	uint64_t sum;
	uint64_t histogram[TEXTDATA_BYTES];
};

/* A share of the data and the device that computes on it. */
struct share {
	struct dmirror *dev;
	const char *text;
	size_t length;
	struct textdata_word **chains;
	size_t nr_chains;
	uint64_t *numbers;
	size_t nr_numbers;
	uint64_t *histogram;
	struct answers found;
	int result;
};

static struct textdata data;
static struct answers cpu;
static struct range ranges[MAX_RANGES];
static unsigned int nr_ranges;
static size_t page_size;

static struct dmirror private_dev = { .fd = -1 }, cdm_dev = { .fd = -1 };

static unsigned int phases, steps, wrong;
static struct hmm_dmirror_stats before;
static struct timespec began;

static bool touch_stop;

#define __printf(a, b)	__attribute__((format(printf, a, b)))
#define __noreturn	__attribute__((noreturn))

static void __printf(1, 2) __noreturn die(const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fprintf(stderr, "hmm-demo: ");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\n");
	exit(2);
}

/* The table. */

static void read_stats(struct hmm_dmirror_stats *sum)
{
	struct dmirror *devs[] = { &private_dev, &cdm_dev };
	struct hmm_dmirror_stats stats;
	unsigned int i;
	int ret;

	memset(sum, 0, sizeof(*sum));
	for (i = 0; i < 2; i++) {
		ret = dmirror_stats(devs[i], &stats);
		if (ret)
			die("device %u: statistics: %s", devs[i]->number,
			    dmirror_strerror(ret));
		sum->faults += stats.faults;
		sum->migrated_in += stats.migrated_in;
		sum->migrated_out += stats.migrated_out;
		sum->cpu_faults += stats.cpu_faults;
		sum->bytes_copied += stats.bytes_copied;
	}
}

static uint64_t *counter(void)
{
	return &data.counters[(phases - 1) * COUNTER_STEP];
}

static void phase(const char *name)
{
	char title[64];

	snprintf(title, sizeof(title), "%u %s", ++phases, name);
	printf("\n%-34s %-9s %8s %8s %8s %8s %11s %8s\n", title, "result",
	       "device", "pages to", "pages to", "CPU", "bytes", "time");
	printf("%-34s %-9s %8s %8s %8s %8s %11s %8s\n", "", "", "faults",
	       "device", "RAM", "faults", "copied", "ms");
}

static void begin(void)
{
	read_stats(&before);
	clock_gettime(CLOCK_MONOTONIC, &began);
}

static void finish(const char *step, bool right, const char *yes,
		   const char *no)
{
	struct hmm_dmirror_stats after;
	struct timespec now;
	double ms;

	clock_gettime(CLOCK_MONOTONIC, &now);
	read_stats(&after);
	ms = (now.tv_sec - began.tv_sec) * 1e3 +
	     (now.tv_nsec - began.tv_nsec) / 1e6;
	printf("  %-32s %-9s %8llu %8llu %8llu %8llu %11llu %8.1f\n", step,
	       right ? yes : no, after.faults - before.faults,
	       after.migrated_in - before.migrated_in,
	       after.migrated_out - before.migrated_out,
	       after.cpu_faults - before.cpu_faults,
	       after.bytes_copied - before.bytes_copied, ms);
	fflush(stdout);
	steps++;
	wrong += !right;
}

static void compared(const char *step, bool equal)
{
	finish(step, equal, "equal", "DIFFERENT");
}

/* Memory. */

static void find_ranges(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long start, end, inode;
	char line[512], rights[8], name[256];

	if (!maps)
		die("/proc/self/maps: %s", strerror(errno));
	while (fgets(line, sizeof(line), maps)) {
		name[0] = '\0';
		if (sscanf(line, "%lx-%lx %7s %*x %*s %lu %255s", &start, &end,
			   rights, &inode, name) < 4)
			die("/proc/self/maps: cannot read \"%s\"", line);
		if (strcmp(rights, "rw-p") || inode ||
		    (name[0] && strcmp(name, "[heap]")) ||
		    !textdata_in(&data, (void *)start, (void *)end))
			continue;
		if (nr_ranges == MAX_RANGES)
			die("the data is in more than %d mappings", MAX_RANGES);
		ranges[nr_ranges].start = (void *)start;
		ranges[nr_ranges++].length = end - start;
	}
	fclose(maps);
	if (!nr_ranges)
		die("the data is in no mapping that can be migrated");
}

static size_t range_pages(void)
{
	size_t bytes = 0;
	unsigned int i;

	for (i = 0; i < nr_ranges; i++)
		bytes += ranges[i].length;
	return bytes / page_size;
}

/* Returns the pages left. */
static size_t migrate(struct dmirror *dev, const char *start, size_t length,
		      enum hmm_dmirror_target target)
{
	struct hmm_dmirror_migrate result;
	int ret;

	if (!length)
		return 0;
	ret = dmirror_migrate(dev, start, length, target, &result);
	if (ret == -ENOSPC)
		die("device %u: %llu MiB of %s are too few: give it more, or less text",
		    dev->number, dev->info.memory_size >> 20,
		    dmirror_memory_name(dev->info.memory));
	if (ret)
		die("device %u: migration: %s", dev->number,
		    dmirror_strerror(ret));
	return result.left;
}

/* The first half of each range to @first, the other one to @second. */
static void to_devices(const char *step, struct dmirror *first,
		       struct dmirror *second)
{
	size_t half, left = 0;
	unsigned int i;

	begin();
	for (i = 0; i < nr_ranges; i++) {
		half = ranges[i].length;
		if (second)
			half = half / 2 / page_size * page_size;
		left += migrate(first, ranges[i].start, half,
				HMM_DMIRROR_TO_DEVICE);
		if (second)
			left += migrate(second, ranges[i].start + half,
					ranges[i].length - half,
					HMM_DMIRROR_TO_DEVICE);
	}
	/* Pages that something else holds right now may stay. */
	finish(step, left <= range_pages() / 10, "moved", "NOT MOVED");
}

static void to_ram(void)
{
	struct hmm_dmirror_info info;
	unsigned int i;
	int ret = 0;

	begin();
	for (i = 0; i < nr_ranges; i++) {
		migrate(&private_dev, ranges[i].start, ranges[i].length,
			HMM_DMIRROR_TO_RAM);
		migrate(&cdm_dev, ranges[i].start, ranges[i].length,
			HMM_DMIRROR_TO_RAM);
	}
	ret = dmirror_info(&private_dev, &info);
	if (!ret && !info.memory_used)
		ret = dmirror_info(&cdm_dev, &info);
	finish("migrate to RAM", !ret && !info.memory_used, "moved",
	       "NOT MOVED");
}

/* Does the device reach the text in its own memory? */
static bool text_in_device(struct dmirror *dev, unsigned int flag)
{
	uintptr_t mask = ~(uintptr_t)(page_size - 1);
	char *start = (char *)((uintptr_t)data.text & mask);
	size_t nr, i, there = 0;
	unsigned char *pages;
	int ret;

	nr = (data.text + data.length - start + page_size - 1) / page_size;
	pages = malloc(nr);
	if (!pages)
		die("out of memory");
	ret = dmirror_snapshot(dev, start, nr * page_size, pages);
	if (ret)
		die("device %u: snapshot: %s", dev->number,
		    dmirror_strerror(ret));
	for (i = 0; i < nr; i++)
		there += (pages[i] & flag) != 0;
	free(pages);
	return nr - there <= nr / 10;
}

/* Device programs, each on one share or on two at the same time. */

static void *count_words(void *arg)
{
	struct share *s = arg;

	s->result = dmirror_word_count(s->dev, s->text, s->length,
				       &s->found.words);
	return NULL;
}

static void *chase(void *arg)
{
	struct share *s = arg;

	s->result = dmirror_chase(s->dev, s->chains, s->nr_chains,
				  offsetof(struct textdata_word, next),
				  offsetof(struct textdata_word, count),
				  data.nr_nodes, &s->found.sum_of_counts,
				  &s->found.nodes);
	return NULL;
}

static void *histogram(void *arg)
{
	struct share *s = arg;

	memset(s->histogram, 0, TEXTDATA_BYTES * sizeof(*s->histogram));
	s->result = dmirror_histogram(s->dev, s->text, s->length,
				      s->histogram);
	return NULL;
}

static void *sum(void *arg)
{
	struct share *s = arg;

	s->result = dmirror_sum(s->dev, s->numbers,
				s->nr_numbers * sizeof(*s->numbers),
				&s->found.sum);
	return NULL;
}

static void *increment(void *arg)
{
	struct share *s = arg;
	uint64_t value;

	s->result = dmirror_atomic_add(s->dev, counter(), 1, ADDITIONS, &value);
	return NULL;
}

static void run(void *(*program)(void *), struct share *shares,
		unsigned int nr)
{
	pthread_t other;
	unsigned int i;

	if (nr > 1 && pthread_create(&other, NULL, program, &shares[1]))
		die("cannot create a thread");
	program(&shares[0]);
	if (nr > 1)
		pthread_join(other, NULL);
	for (i = 0; i < nr; i++)
		if (shares[i].result)
			die("device %u: %s", shares[i].dev->number,
			    dmirror_strerror(shares[i].result));
}

static void programs(struct share *s, unsigned int nr)
{
	struct answers total;
	unsigned int i, j;

	begin();
	run(count_words, s, nr);
	total.words = s[0].found.words + (nr > 1 ? s[1].found.words : 0);
	compared("word count", total.words == cpu.words);

	begin();
	run(chase, s, nr);
	total.sum_of_counts = 0;
	total.nodes = 0;
	for (i = 0; i < nr; i++) {
		total.sum_of_counts += s[i].found.sum_of_counts;
		total.nodes += s[i].found.nodes;
	}
	compared("pointer chase through the chains",
		 total.sum_of_counts == cpu.sum_of_counts &&
		 total.nodes == cpu.nodes);

	begin();
	run(histogram, s, nr);
	memset(total.histogram, 0, sizeof(total.histogram));
	for (i = 0; i < nr; i++)
		for (j = 0; j < TEXTDATA_BYTES; j++)
			total.histogram[j] += s[i].histogram[j];
	compared("histogram", !memcmp(total.histogram, cpu.histogram,
				      sizeof(cpu.histogram)));

	begin();
	run(sum, s, nr);
	total.sum = s[0].found.sum + (nr > 1 ? s[1].found.sum : 0);
	compared("sum", total.sum == cpu.sum);
}

static void count_up(struct share *s, unsigned int nr)
{
	begin();
	run(increment, s, nr);
	compared("atomic increments", *counter() == nr * ADDITIONS);
}

/* CPU threads that use the data while devices compute on it. */

struct toucher {
	pthread_t thread;
	const uint64_t *block_sums;
	unsigned int seed;
	uint64_t additions;
	bool differs;
};

static void *touch(void *arg)
{
	struct toucher *t = arg;
	size_t blocks = data.nr_words / BLOCK, block;

	while (!__atomic_load_n(&touch_stop, __ATOMIC_RELAXED)) {
		if (blocks) {
			block = rand_r(&t->seed) % blocks;
			t->differs |= textdata_sum(data.offsets + block * BLOCK,
						   BLOCK) !=
				      t->block_sums[block];
		}
		__atomic_fetch_add(counter(), 1, __ATOMIC_SEQ_CST);
		t->additions++;
		usleep(500);
	}
	return NULL;
}

static void programs_while_touched(struct share *s, unsigned int nr)
{
	struct toucher touchers[NR_TOUCHERS];
	uint64_t *block_sums, expected = nr * ADDITIONS;
	bool differs = false;
	unsigned int i;
	size_t block;

	/* Numbers of its own, or else this would bring the data back. */
	block_sums = malloc((data.nr_words / BLOCK + 1) * sizeof(*block_sums));
	if (!block_sums)
		die("out of memory");
	to_ram();
	for (block = 0; block < data.nr_words / BLOCK; block++)
		block_sums[block] = textdata_sum(data.offsets + block * BLOCK,
						 BLOCK);
	to_devices("migrate half and half", s[0].dev, s[1].dev);

	touch_stop = false;
	for (i = 0; i < NR_TOUCHERS; i++) {
		touchers[i] = (struct toucher) {
			.block_sums = block_sums,
			.seed = i,
		};
		if (pthread_create(&touchers[i].thread, NULL, touch,
				   &touchers[i]))
			die("cannot create a thread");
	}

	programs(s, nr);

	begin();
	run(increment, s, nr);
	__atomic_store_n(&touch_stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < NR_TOUCHERS; i++) {
		pthread_join(touchers[i].thread, NULL);
		expected += touchers[i].additions;
		differs |= touchers[i].differs;
	}
	compared("atomic increments, CPU and both", *counter() == expected);

	begin();
	compared("what the CPU threads read", !differs);
	free(block_sums);
}

static void cpu_reads(void)
{
	begin();
	compared("the CPU reads everything", textdata_verify(&data));
}

static void split(struct share *s, struct dmirror *first,
		  struct dmirror *second)
{
	size_t half = data.nr_words / 2;

	s[0].dev = first;
	s[1].dev = second;
	s[0].length = data.offsets[half];	/* where a word begins */
	s[1].text = data.text + s[0].length;
	s[1].length = data.length - s[0].length;
	s[0].nr_chains = data.nr_chains / 2;
	s[1].chains = data.chains + s[0].nr_chains;
	s[1].nr_chains = data.nr_chains - s[0].nr_chains;
	s[0].nr_numbers = half;
	s[1].numbers = data.offsets + half;
	s[1].nr_numbers = data.nr_words - half;
}

static void open_device(struct dmirror *dev, enum hmm_dmirror_memory memory)
{
	int ret = dmirror_open_memory(dev, memory, 0);

	if (ret == -ENODEV)
		die("no device with %s in %s: give hmm_dmirror one by devices=",
		    dmirror_memory_name(memory), dmirror_directory);
	if (ret)
		die("%s/hmm_dmirror%u: %s", dmirror_directory, dev->number,
		    dmirror_strerror(ret));
	printf("device %u: %llu MiB of %s\n", dev->number,
	       dev->info.memory_size >> 20,
	       dmirror_memory_name(memory));
}

static void usage(FILE *out)
{
	fprintf(out, "Usage: hmm-demo [-d DIR] FILE...\n"
		"Reads text files into ordinary memory and computes on it with HMM dummy devices.\n"
		"\n"
		"  -d, --devices DIR  look for hmm_dmirror0, 1, ... in DIR, not in /dev\n"
		"  -h, --help         print this help\n"
		"\n"
		"Exit status: 0 if each result is that of the CPU, 1 if one differs, 2 if\n"
		"something is missing or wrong.\n");
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "devices", required_argument, NULL, 'd' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	struct share whole, halves[2];
	int option;

	while ((option = getopt_long(argc, argv, "d:h", options, NULL)) >= 0) {
		switch (option) {
		case 'd':
			dmirror_directory = optarg;
			break;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (optind == argc) {
		fprintf(stderr, "hmm-demo: no FILE given\n");
		usage(stderr);
		return 2;
	}

	page_size = sysconf(_SC_PAGESIZE);
	open_device(&private_dev, HMM_DMIRROR_MEMORY_PRIVATE);
	open_device(&cdm_dev, HMM_DMIRROR_MEMORY_CDM);
	if (textdata_read(&data, argv + optind, argc - optind))
		return 2;
	if (data.nr_words < 2)
		die("the text has fewer than two words");

	whole = (struct share) {
		.text = data.text,
		.length = data.length,
		.chains = data.chains,
		.nr_chains = data.nr_chains,
		.numbers = data.offsets,
		.nr_numbers = data.nr_words,
		.histogram = calloc(TEXTDATA_BYTES, sizeof(uint64_t)),
	};
	halves[0] = whole;
	halves[1] = whole;
	halves[1].histogram = calloc(TEXTDATA_BYTES, sizeof(uint64_t));
	if (!halves[0].histogram || !halves[1].histogram)
		die("out of memory");

	cpu.words = textdata_count_words(data.text, data.length);
	cpu.sum_of_counts = textdata_chase(data.chains, data.nr_chains,
					   &cpu.nodes);
	textdata_histogram(data.text, data.length, cpu.histogram);
	cpu.sum = textdata_sum(data.offsets, data.nr_words);
	find_ranges();
	printf("text: %zu bytes, %zu words, %zu different\n", data.length,
	       data.nr_words, data.nr_nodes);
	printf("memory: %zu pages in %u mappings\n", range_pages(), nr_ranges);

	whole.dev = &private_dev;
	phase("memory in RAM");
	programs(&whole, 1);
	count_up(&whole, 1);
	cpu_reads();

	phase("memory in private device memory");
	to_devices("migrate to private memory", &private_dev, NULL);
	programs(&whole, 1);
	begin();
	finish("where the device finds the text",
	       text_in_device(&private_dev, HMM_DMIRROR_PAGE_PRIVATE),
	       "there", "NOT THERE");
	count_up(&whole, 1);
	cpu_reads();

	whole.dev = &cdm_dev;
	phase("memory in coherent device memory");
	to_ram();
	to_devices("migrate to CDM", &cdm_dev, NULL);
	programs(&whole, 1);
	begin();
	finish("where the device finds the text",
	       text_in_device(&cdm_dev, HMM_DMIRROR_PAGE_CDM),
	       "there", "NOT THERE");
	count_up(&whole, 1);
	cpu_reads();

	phase("half and half, CPU threads busy");
	split(halves, &private_dev, &cdm_dev);
	programs_while_touched(halves, 2);
	cpu_reads();

	dmirror_close(&private_dev);
	dmirror_close(&cdm_dev);
	free(halves[0].histogram);
	free(halves[1].histogram);
	textdata_free(&data);

	if (wrong)
		printf("\nhmm-demo: %u of %u steps went wrong\n", wrong, steps);
	else
		printf("\nhmm-demo: all %u steps right\n", steps);
	return wrong != 0;
}
