// SPDX-License-Identifier: GPL-2.0
/*
 * The measuring program: runs the rows it is asked for and prints one JSON
 * object a line for each result.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#define THP_DIR "/sys/kernel/mm/transparent_hugepage/"

static int bench_fd = -1;
static uint64_t clock_cost;	/* of now(), in ns */
static unsigned int pass;

int fail(const struct row *row, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "bench: %s: ", row->name);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return -1;
}

void sample(struct series *series, double value, double flushes)
{
	if (series->nr == MAX_SAMPLES)
		abort();
	series->sample[series->nr++] = value;
	series->flushes += flushes;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

double median(const struct series *series)
{
	double sorted[MAX_SAMPLES];
	unsigned int nr = series->nr;

	memcpy(sorted, series->sample, nr * sizeof(sorted[0]));
	qsort(sorted, nr, sizeof(sorted[0]), compare);
	return (sorted[(nr - 1) / 2] + sorted[nr / 2]) / 2;
}

static void emit_line(const struct row *row, const char *part, const char *unit,
		      const struct series *series,
		      const struct contents *contents, double most)
{
	static const struct contents nothing;
	double least = series->sample[0], greatest = least;
	unsigned int i;

	if (!contents)
		contents = &nothing;
	for (i = 1; i < series->nr; i++) {
		if (series->sample[i] < least)
			least = series->sample[i];
		if (series->sample[i] > greatest)
			greatest = series->sample[i];
	}
	printf("{\"row\": \"%s\", \"part\": \"%s\", \"group\": \"%s\", ",
	       row->name, part, row->group);
	printf("\"title\": \"%s%s%s\", \"unit\": \"%s\", \"pass\": %u, ",
	       row->title, *part ? ", " : "", part, unit, pass);
	printf("\"median\": %.4f, \"min\": %.4f, \"max\": %.4f, \"samples\": %u, ",
	       median(series), least, greatest, series->nr);
	printf("\"flushes\": %.4f, \"zeroed\": %.6f, \"copied\": %.6f, ",
	       series->flushes / series->nr, contents->zeroed, contents->copied);
	if (most > 0)
		printf("\"target\": %.4f, ", most);
	printf("\"memcpied\": %.6f, \"to_user\": %.6f, \"apart\": %.4f}\n",
	       contents->memcpied, contents->to_user, contents->apart);
	fflush(stdout);
}

void emit(const struct row *row, const char *part, const char *unit,
	  const struct series *series, const struct contents *contents)
{
	emit_line(row, part, unit, series, contents, 0);
}

/* A result that is to be @most at most, if that is above 0. */
void emit_target(const struct row *row, const char *part, const char *unit,
		 const struct series *series, double most)
{
	emit_line(row, part, unit, series, NULL, most);
}

/* Nanoseconds; in virtual time: instructions. */
uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

/* Since start, without the clock's own cost. */
uint64_t elapsed(uint64_t start)
{
	uint64_t ns = now() - start;

	return ns > clock_cost ? ns - clock_cost : 0;
}

static void clock_calibrate(void)
{
	uint64_t best = ~0ULL;
	int i;

	for (i = 0; i < 1000; i++) {
		uint64_t start = now(), ns = now() - start;

		if (ns < best)
			best = ns;
	}
	clock_cost = best;
}

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	ssize_t n = -1;

	if (fd >= 0) {
		n = write(fd, text, strlen(text));
		close(fd);
	}
	return n == (ssize_t)strlen(text) ? 0 : -1;
}

static long read_number(const char *path)
{
	FILE *f = fopen(path, "r");
	long value = -1;

	if (f) {
		if (fscanf(f, "%ld", &value) != 1)
			value = -1;
		fclose(f);
	}
	return value;
}

/* Fresh memory, aligned to a chunk, that will be backed by folios of a kind. */
char *region_new(const struct row *row, enum kind kind, size_t size)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS;
	uintptr_t start;
	char *map;

	if (size >= SPARSE)
		flags |= MAP_NORESERVE;
	if (write_file(THP_DIR "hugepages-64kB/enabled",
		       kind == KIND_64K ? "madvise" : "never") ||
	    write_file(THP_DIR "hugepages-2048kB/enabled",
		       kind == KIND_THP ? "madvise" : "never")) {
		fail(row, "cannot select the folio size: %s", strerror(errno));
		return NULL;
	}
	map = mmap(NULL, size + CHUNK, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (map == MAP_FAILED) {
		fail(row, "mmap: %s", strerror(errno));
		return NULL;
	}
	start = ((uintptr_t)map + CHUNK - 1) & ~(CHUNK - 1);
	if (start > (uintptr_t)map)
		munmap(map, start - (uintptr_t)map);
	munmap((char *)start + size, (uintptr_t)map + CHUNK - start);
	if (madvise((char *)start, size, kind == KIND_4K ? MADV_NOHUGEPAGE :
							   MADV_HUGEPAGE)) {
		fail(row, "madvise: %s", strerror(errno));
		munmap((char *)start, size);
		return NULL;
	}
	return (char *)start;
}

void region_free(char *region, size_t size)
{
	munmap(region, size);
}

/* TLB flushes since boot, a CPU's own and those it sent to others. */
double flush_count(void)
{
	double sum = 0, value;
	char name[64];
	FILE *f = fopen("/proc/vmstat", "r");

	if (!f)
		return 0;
	while (fscanf(f, "%63s %lf", name, &value) == 2)
		if (!strncmp(name, "nr_tlb_local_flush_", 19) ||
		    !strcmp(name, "nr_tlb_remote_flush"))
			sum += value;
	fclose(f);
	return sum;
}

/* Large folios of the kind that page faults have allocated since boot. */
long kind_allocations(enum kind kind)
{
	switch (kind) {
	case KIND_64K:
		return read_number(THP_DIR "hugepages-64kB/stats/anon_fault_alloc");
	case KIND_THP:
		return read_number(THP_DIR "hugepages-2048kB/stats/anon_fault_alloc");
	default:
		return 0;
	}
}

long kind_folios(enum kind kind, size_t size)
{
	switch (kind) {
	case KIND_64K:
		return size >> 16;
	case KIND_THP:
		return size / CHUNK;
	default:
		return 0;
	}
}

/* Write each page, and see that the folios are what the row is about. */
int region_populate(const struct row *row, char *region, enum kind kind,
		    size_t size)
{
	long before = kind_allocations(kind), got;
	size_t i;

	for (i = 0; i < size; i += PAGE)
		store((uint64_t *)(region + i), i + 1);
	got = kind_allocations(kind) - before;
	if (got != kind_folios(kind, size))
		return fail(row, "%ld of %ld large folios allocated", got,
			    kind_folios(kind, size));
	return 0;
}

int bench_run(const struct row *row, struct hmm_bench_run *run)
{
	if (ioctl(bench_fd, HMM_BENCH_RUN, run))
		return fail(row, "operation %u: %s", run->op, strerror(errno));
	return 0;
}

static void list(void)
{
	size_t i;

	for (i = 0; i < nr_rows; i++)
		printf("%s %s %u\n", rows[i].name, rows[i].group, rows[i].cpus);
}

static const struct row *find_row(const char *name)
{
	size_t i;

	for (i = 0; i < nr_rows; i++)
		if (!strcmp(rows[i].name, name))
			return &rows[i];
	return NULL;
}

/*
 * Each row in a process of its own, so that no address space bears traces of
 * earlier rows.
 */
static int run_row(const struct row *row)
{
	int status;
	pid_t pid;

	fprintf(stderr, "bench: pass %u: %s\n", pass, row->name);
	pid = fork();
	if (pid < 0)
		return fail(row, "fork: %s", strerror(errno));
	if (!pid) {
		bench_fd = open("/dev/hmm_bench", O_RDWR | O_CLOEXEC);
		if (bench_fd < 0) {
			fail(row, "/dev/hmm_bench: %s", strerror(errno));
			_exit(1);
		}
		_exit(row->measure(row, row->parameter) ? 1 : 0);
	}
	if (waitpid(pid, &status, 0) != pid)
		return fail(row, "waitpid: %s", strerror(errno));
	if (WIFSIGNALED(status))
		return fail(row, "killed by signal %d", WTERMSIG(status));
	return WEXITSTATUS(status) ? -1 : 0;
}

static int usage(void)
{
	fputs("Usage: bench --list\n"
	      "       bench [--driver test_hmm|hmm_dmirror] [--passes N] ROW...\n",
	      stderr);
	return 2;
}

int main(int argc, char **argv)
{
	unsigned int passes = 1, errors = 0;
	cpu_set_t cpu;
	int i, first;

	if (argc == 2 && !strcmp(argv[1], "--list")) {
		list();
		return 0;
	}
	for (i = 1; i + 1 < argc && !strncmp(argv[i], "--", 2); i += 2) {
		if (!strcmp(argv[i], "--driver") && !driver_select(argv[i + 1]))
			continue;
		if (!strcmp(argv[i], "--passes") && atoi(argv[i + 1]) > 0) {
			passes = atoi(argv[i + 1]);
			continue;
		}
		return usage();
	}
	first = i;
	if (first == argc)
		return usage();
	for (i = first; i < argc; i++) {
		if (!find_row(argv[i])) {
			fprintf(stderr, "bench: no such row: %s\n", argv[i]);
			return usage();
		}
	}

	CPU_ZERO(&cpu);
	CPU_SET(0, &cpu);
	if (sched_setaffinity(0, sizeof(cpu), &cpu)) {
		perror("bench: sched_setaffinity");
		return 1;
	}
	clock_calibrate();
	for (pass = 1; pass <= passes; pass++)
		for (i = first; i < argc; i++)
			if (run_row(find_row(argv[i])))
				errors++;
	return errors ? 1 : 0;
}
