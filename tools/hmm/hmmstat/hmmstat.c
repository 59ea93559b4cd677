// SPDX-License-Identifier: GPL-2.0
/*
 * hmmstat: shows the device memories and the mirrors that the HMM toolbox lists in
 * debugfs.  Each file there is a line with the names of the columns, then a line for
 * each object.  Tables show the columns of the views below, JSON has all.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define DEBUGFS			"/sys/kernel/debug"
#define DEFAULT_DIR		DEBUGFS "/hmm"
#define DEBUGFS_MAGIC		0x64626720
#define MAX_COLUMNS		64
#define CELL_SIZE		256

#define ARRAY_SIZE(a)		(sizeof(a) / sizeof((a)[0]))

enum { EXIT_IO = 1, EXIT_USAGE };

/* A file; the strings lie in text. */
struct table {
	char *text;
	const char *columns[MAX_COLUMNS];
	size_t nr_columns;
	const char **fields;		/* nr_rows * nr_columns */
	size_t nr_rows;
};

enum kind {
	TEXT,		/* as it is */
	PAGES,		/* base pages, shown as bytes */
	SHARE,		/* base pages, shown as percentage of the column total */
	COUNTER,	/* only grows: has a rate */
};

struct view_column {
	const char *title;
	enum kind kind;
	const char *name;
};

/* The first column of a view tells the objects apart. */
static const struct view_column devmem_view[] = {
	{ "devmem",	TEXT,		"devmem" },
	{ "name",	TEXT,		"name" },
	{ "kind",	TEXT,		"kind" },
	{ "node",	TEXT,		"node" },
	{ "size",	PAGES,		"total" },
	{ "owned",	PAGES,		"owned" },
	{ "used",	PAGES,		"used" },
	{ "use%",	SHARE,		"used" },
	{ "huge",	PAGES,		"huge" },
	{ "peak",	PAGES,		"peak" },
	{ "poisoned",	PAGES,		"poisoned" },
	{ "in",		COUNTER,	"migrated_in" },
	{ "out",	COUNTER,	"migrated_out" },
	{ "evicted",	COUNTER,	"evicted" },
	{ "failed",	COUNTER,	"failed" },
	{ "cpu faults",	COUNTER,	"cpu_faults" },
};

static const struct view_column mirror_view[] = {
	{ "mirror",	TEXT,		"mirror" },
	{ "device",	TEXT,		"device" },
	{ "start",	TEXT,		"start" },
	{ "end",	TEXT,		"end" },
	{ "faults",	COUNTER,	"faults" },
	{ "retries",	COUNTER,	"retries" },
	{ "timeouts",	COUNTER,	"timeouts" },
	{ "invals",	COUNTER,	"invalidations" },
	{ "flushes",	COUNTER,	"flushes" },
	{ "pages",	COUNTER,	"mapped_pages" },
	{ "entries",	COUNTER,	"mapped_entries" },
	{ "dma retries", COUNTER,	"dma_retries" },
};

static const struct file {
	const char *name, *title;
	const struct view_column *view;
	int nr_columns;
	bool optional;
} files[] = {
	/* An older toolbox has no devmems. */
	{ "devmems", "Device memories (in, out, evicted, failed: pages)",
	  devmem_view, ARRAY_SIZE(devmem_view), true },
	{ "mirrors", "Mirrors (pages, entries: mapped so far)",
	  mirror_view, ARRAY_SIZE(mirror_view), false },
};

/* What to do about a file of the toolbox that cannot be read. */
static const char *advice(const char *dir, int error)
{
	char parent[PATH_MAX];
	struct statfs fs;

	if (error == EACCES && geteuid())
		return ": run hmmstat as root";
	if (error == EPERM)
		return ": the kernel is locked down, see kernel_lockdown(7)";
	if (error == EIO)
		return ": was the HMM toolbox unloaded just now?";
	if (error != ENOENT && error != ENOTDIR)
		return "";
	snprintf(parent, sizeof(parent), "%s", dir);
	if (!statfs(dirname(parent), &fs) && fs.f_type == DEBUGFS_MAGIC)
		return ": the HMM toolbox is not loaded, try: modprobe hmm_helpers";
	if (!strcmp(dir, DEFAULT_DIR))
		return ": debugfs is not mounted, try: mount -t debugfs none " DEBUGFS;
	return ": --dir takes the directory hmm in debugfs";
}

/* Returns the content as a string, or NULL if there is no file and may be none. */
static char *read_file(const char *dir, const char *path, bool optional)
{
	FILE *f = fopen(path, "re");
	char *text = NULL;
	size_t size = 0;
	ssize_t n;

	if (!f && optional && errno == ENOENT)
		return NULL;
	n = f ? getdelim(&text, &size, '\0', f) : -1;
	if (!f || ferror(f))
		errx(EXIT_IO, "cannot read %s: %s%s", path, strerror(errno), advice(dir, errno));
	if (n < 0 || !feof(f))
		errx(EXIT_IO, "%s:1: not a text", path);
	fclose(f);
	return text;
}

/* Puts up to @max fields of a line into @fields, returns how many it has. */
static size_t split(char *line, const char **fields, size_t max)
{
	size_t nr = 0;
	char *field;

	while ((field = strsep(&line, " \t"))) {
		if (*field && nr++ < max)
			fields[nr - 1] = field;
	}
	return nr;
}

static void read_table(struct table *table, const char *dir, const struct file *file)
{
	char path[PATH_MAX], *rest;
	size_t nr;

	if (!*dir || snprintf(path, sizeof(path), "%s/%s", dir, file->name) >= PATH_MAX)
		errx(EXIT_USAGE, "--dir takes a path, neither empty nor as long as \"%s\"", dir);
	memset(table, 0, sizeof(*table));
	table->text = read_file(dir, path, file->optional);
	if (!table->text)
		return;

	/* A field takes two bytes of the text at least. */
	table->fields = calloc(strlen(table->text) + 1, sizeof(char *));
	if (!table->fields)
		errx(EXIT_IO, "out of memory");
	rest = table->text;
	nr = split(strsep(&rest, "\n"), table->columns, MAX_COLUMNS);
	if (!nr || nr > MAX_COLUMNS)
		errx(EXIT_IO, "%s:1: %zu names of columns, not 1 to %d", path, nr, MAX_COLUMNS);
	table->nr_columns = nr;

	while (rest && *rest) {
		nr = split(strsep(&rest, "\n"),
			   table->fields + table->nr_rows * table->nr_columns,
			   table->nr_columns);
		table->nr_rows++;
		if (nr != table->nr_columns)
			errx(EXIT_IO, "%s:%zu: %zu fields, but %zu columns", path,
			     table->nr_rows + 1, nr, table->nr_columns);
	}
}

/* Decimal, or hexadecimal with 0x. */
static bool parse_number(const char *s, unsigned long long *magnitude, bool *negative)
{
	char *end;

	*negative = *s == '-';
	s += *negative;
	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	*magnitude = strtoull(s, &end, strncmp(s, "0x", 2) ? 10 : 16);
	return !*end && !errno;
}

/* "-", as for what has no value, if the table lacks the column. */
static const char *field(const struct table *table, size_t row, const char *column)
{
	size_t i;

	for (i = 0; i < table->nr_columns; i++) {
		if (!strcmp(table->columns[i], column))
			return table->fields[row * table->nr_columns + i];
	}
	return "-";
}

static bool get_count(const struct table *table, size_t row, const char *name,
		      unsigned long long *value)
{
	bool negative;

	return parse_number(field(table, row, name), value, &negative) && !negative;
}

/* Bytes beyond ASCII are taken for Latin-1: any file gives valid JSON. */
static void json_string(const char *s)
{
	putchar('"');
	for (; *s; s++) {
		if (*s < ' ' || *s > '~' || *s == '"' || *s == '\\')
			printf("\\u%04x", (unsigned char)*s);
		else
			putchar(*s);
	}
	putchar('"');
}

static void json_table(const struct file *file, const struct table *table)
{
	unsigned long long magnitude;
	const char *column, *value;
	bool negative;
	size_t i;

	printf("\"%s\": [", file->name);
	for (i = 0; i < table->nr_rows * table->nr_columns; i++) {
		column = table->columns[i % table->nr_columns];
		value = table->fields[i];
		printf(i % table->nr_columns ? ", " : i ? "}, {" : "{");
		json_string(column);
		printf(": ");
		/* A driver may name its memory "0": a string all the same. */
		if (!strcmp(value, "-"))
			printf("null");
		else if (strcmp(column, "name") && strcmp(column, "device") &&
			 parse_number(value, &magnitude, &negative))
			printf("%s%llu", negative ? "-" : "", magnitude);
		else
			json_string(value);
	}
	printf(i ? "}]" : "]");
}

static void format_bytes(char *cell, double bytes)
{
	const char *unit = "BKMGTPEZY";

	for (; bytes >= 1024 && unit[1]; unit++)
		bytes /= 1024;
	snprintf(cell, CELL_SIZE, "%.*f%c", bytes < 10 && bytes != (int)bytes, bytes, *unit);
}

static void format_value(char *cell, const struct view_column *column,
			 const struct table *table, size_t row)
{
	unsigned long long value, total;
	char *c;

	snprintf(cell, CELL_SIZE, "%s", field(table, row, column->name));
	/* No escape sequence of a name reaches the terminal. */
	for (c = cell; *c; c++) {
		if (*c < ' ' || *c > '~')
			*c = '?';
	}
	if (column->kind == TEXT || column->kind == COUNTER)
		return;
	if (!get_count(table, row, column->name, &value) ||
	    !get_count(table, row, "total", &total) || !total)
		snprintf(cell, CELL_SIZE, "-");
	else if (column->kind == SHARE)
		snprintf(cell, CELL_SIZE, "%.0f%%", 100.0 * value / total);
	else
		format_bytes(cell, (double)value * sysconf(_SC_PAGESIZE));
}

/* "-" for an object that is new, or whose counter began anew. */
static void format_rate(char *cell, const struct view_column *column,
			const struct table *table, size_t row,
			const struct table *old, const char *key, double seconds)
{
	const char *id = field(table, row, key);
	unsigned long long now, before;
	size_t i = 0;

	snprintf(cell, CELL_SIZE, column->kind == COUNTER ? "-" : "");
	while (i < old->nr_rows && strcmp(field(old, i, key), id))
		i++;
	if (column->kind == COUNTER && i < old->nr_rows &&
	    get_count(table, row, column->name, &now) &&
	    get_count(old, i, column->name, &before) && now >= before) {
		double rate = (now - before) / seconds;

		snprintf(cell, CELL_SIZE, "%.*f", rate > 0 && rate < 9.95, rate);
	}
}

/* With @old there is a second line for each object, the rates. */
static void print_table(const struct file *file, const struct table *table,
			const struct table *old, double seconds)
{
	size_t line, row, per_row = old ? 2 : 1;
	const struct view_column *column;
	int width[MAX_COLUMNS] = { 0 };
	char cell[CELL_SIZE];
	int i, pass;

	printf("%s%s", file->title, table->nr_rows ? "" : ": none");
	/* The first pass finds the widths. */
	for (pass = 0; table->nr_rows && pass < 2; pass++) {
		for (line = 0; line <= per_row * table->nr_rows; line++) {
			for (i = 0; i < file->nr_columns; i++) {
				column = file->view + i;
				row = (line - 1) / per_row;
				if (!line)
					snprintf(cell, sizeof(cell), "%s", column->title);
				else if ((line - 1) % per_row == 0)
					format_value(cell, column, table, row);
				else if (i == 1)
					snprintf(cell, sizeof(cell), "per second");
				else
					format_rate(cell, column, table, row, old,
						    file->view->name, seconds);
				if (width[i] < (int)strlen(cell))
					width[i] = strlen(cell);
				if (pass)
					printf(column->kind == TEXT ? "%s%-*s" : "%s%*s",
					       i ? "  " : "\n", width[i], cell);
			}
		}
	}
	putchar('\n');
}

static double number_option(const char *name, const char *s, const char *allowed,
			    double min, double max)
{
	char *end;
	double value = strtod(s, &end);

	/* strtod() alone also takes inf, nan, 1e1 and 0x1. */
	if (s[strspn(s, allowed)] || *end || value < min || value > max)
		errx(EXIT_USAGE, "%s takes %g to %.0f, not \"%s\"", name, min, max, s);
	return value;
}

static int finish_output(void)
{
	if (fflush(stdout) || ferror(stdout))
		err(EXIT_IO, "cannot write");
	return 0;
}

static int print_help(void)
{
	printf("usage: hmmstat [OPTION]...\n"
	       "Shows the device memories and the mirrors of the HMM toolbox.\n\n"
	       "  --json              as JSON, with all that the kernel shows\n"
	       "  --interval SECONDS  again and again, with rates; 0.1 to 3600\n"
	       "  --count N           with --interval: stop after N times\n"
	       "  --dir DIR           where to read; default: " DEFAULT_DIR "\n"
	       "  --help              this text\n\n"
	       "Exit status: 0, 1 cannot read or write, 2 wrong arguments.\n");
	return finish_output();
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "dir", required_argument, NULL, 'd' },
		{ "interval", required_argument, NULL, 'i' },
		{ "count", required_argument, NULL, 'c' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	const char *dir = DEFAULT_DIR;
	struct table now[ARRAY_SIZE(files)], old[ARRAY_SIZE(files)] = { };
	unsigned long count = 0, nr;
	double interval = 0, then = 0, seconds;
	bool json = false, clear;
	struct timespec time;
	size_t i;
	int c;

	/* A reader that is gone is an error of writing. */
	signal(SIGPIPE, SIG_IGN);
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'h')
			return print_help();
		if (c == 'd')
			dir = optarg;
		else if (c == 'i')
			interval = number_option("--interval", optarg, ".0123456789",
						 0.1, 3600);
		else if (c == 'c')
			count = number_option("--count", optarg, "0123456789", 1, 1e9);
		else if (c == 'j')
			json = true;
		else
			errx(EXIT_USAGE, "see hmmstat --help");
	}
	if (optind < argc)
		errx(EXIT_USAGE, "unexpected argument \"%s\"", argv[optind]);
	if (count && !interval)
		errx(EXIT_USAGE, "--count %lu needs --interval", count);

	setvbuf(stdout, NULL, _IOFBF, BUFSIZ);
	clear = interval && isatty(STDOUT_FILENO);
	for (nr = 0; !nr || (interval && nr != count); nr++) {
		if (nr)
			usleep(interval * 1e6);
		for (i = 0; i < ARRAY_SIZE(files); i++)
			read_table(&now[i], dir, &files[i]);
		clock_gettime(CLOCK_MONOTONIC, &time);
		seconds = time.tv_sec + time.tv_nsec / 1e9 - then;

		printf(json ? "{" : clear ? "\033[H\033[J" : nr ? "\n" : "");
		for (i = 0; i < ARRAY_SIZE(files); i++) {
			printf(!i ? "" : json ? ", " : "\n");
			if (json)
				json_table(&files[i], &now[i]);
			else
				print_table(&files[i], &now[i],
					    interval ? &old[i] : NULL, seconds);
			free(old[i].fields);
			free(old[i].text);
		}
		printf(json ? "}\n" : "");
		finish_output();
		memcpy(old, now, sizeof(old));
		then += seconds;
	}
	return 0;
}
