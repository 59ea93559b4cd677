// SPDX-License-Identifier: GPL-2.0
/*
 * What an administrator sees of mirrors: debugfs hmm/mirrors and trace events.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <sys/mount.h>

#include "dmirror_test.h"

#define DEBUGFS		"/sys/kernel/debug"
#define MIRRORS		DEBUGFS "/hmm/mirrors"
#define DEVMEMS		DEBUGFS "/hmm/devmems"
#define TRACEFS		"/sys/kernel/tracing"
#define OLD_TRACEFS	DEBUGFS "/tracing"
#define INSTANCE	"hmm_observe_test"
#define COLUMNS		"mirror device start end faults retries timeouts " \
			"invalidations flushes mapped_pages mapped_entries " \
			"dma_retries\n"
#define PAGES		16

/* Mount for the test alone, if @file is not there; 0 or -errno. */
static int mount_for_test(const char *type, const char *dir, const char *file)
{
	if (!access(file, F_OK))
		return 0;
	if (unshare(CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return -errno;
	/* It is there already, then: without the file. */
	if (mount(type, dir, type, 0, NULL) && errno != EBUSY)
		return -errno;
	return 0;
}

/* The line of mirror @id; false if there is none. */
static bool mirror_line(long id, char *line, int size)
{
	FILE *file = fopen(MIRRORS, "r");
	bool found = false;
	long number;

	while (file && !found && fgets(line, size, file))
		found = sscanf(line, "%ld ", &number) == 1 && number == id;
	if (file)
		fclose(file);
	return found;
}

/* The number of the mirror that was registered last, or -ENOENT. */
static long last_mirror(void)
{
	FILE *file = fopen(MIRRORS, "r");
	long last = -ENOENT, number;
	char line[512];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "%ld ", &number) == 1)
			last = number;
	if (file)
		fclose(file);
	return last;
}

static bool has_line(long id)
{
	char line[512];

	return mirror_line(id, line, sizeof(line));
}

/* The text below @name in the line of mirror @id; empty if there is none. */
static void column(long id, const char *name, char *text, size_t size)
{
	char names[] = COLUMNS, line[512], *name_at, *text_at, *word, *value;

	text[0] = 0;
	if (!mirror_line(id, line, sizeof(line)))
		return;
	word = strtok_r(names, "\n ", &name_at);
	value = strtok_r(line, "\n ", &text_at);
	while (word && value && strcmp(word, name)) {
		word = strtok_r(NULL, "\n ", &name_at);
		value = strtok_r(NULL, "\n ", &text_at);
	}
	if (word && value)
		snprintf(text, size, "%s", value);
}

/* The same for a number; ~0 if it is none. */
static uint64_t number(long id, const char *name)
{
	char text[64], *end;
	uint64_t value;

	column(id, name, text, sizeof(text));
	value = strtoull(text, &end, 0);
	return !text[0] || *end ? ~0ULL : value;
}

/* @nr pages with a pattern, at a multiple of HUGE: one piece of the mirror. */
static char *map_aligned(size_t nr)
{
	char *map = map_pages(2 * HUGE / page_size()), *start;

	if (!map)
		return NULL;
	start = (char *)(((uintptr_t)map + HUGE - 1) & ~(HUGE - 1));
	fill(start, nr * page_size(), 1);
	return start;
}

FIXTURE(mirrors)
{
	struct dmirror dev;
	long id;
	size_t page;
	size_t length;
	char *data;
};

FIXTURE_VARIANT(mirrors)
{
	bool dma;
};

FIXTURE_VARIANT_ADD(mirrors, none)
{
	.dma = false,
};

FIXTURE_VARIANT_ADD(mirrors, dma)
{
	.dma = true,
};

FIXTURE_SETUP(mirrors)
{
	int ret = mount_for_test("debugfs", DEBUGFS, MIRRORS);

	if (ret)
		SKIP(return, "debugfs: %s", strerror(-ret));
	self->page = page_size();
	self->length = PAGES * self->page;
	self->data = map_aligned(PAGES);
	ASSERT_NE(NULL, self->data);
	OPEN_KIND_OR_SKIP(return, &self->dev, NONE, variant->dma);
	ASSERT_EQ(0, access(MIRRORS, R_OK));
	self->id = last_mirror();
	ASSERT_LE(0, self->id);
}

FIXTURE_TEARDOWN(mirrors)
{
	dmirror_close(&self->dev);
}

TEST_F(mirrors, what_it_is)
{
	char header[512] = "", device[64], path[128];
	FILE *file = fopen(MIRRORS, "r");

	ASSERT_NE(NULL, file);
	ASSERT_NE(NULL, fgets(header, sizeof(header), file));
	fclose(file);
	ASSERT_STREQ(COLUMNS, header);

	column(self->id, "device", device, sizeof(device));
	snprintf(path, sizeof(path), "/sys/bus/pci/drivers/hmm_dmirror/%s",
		 device);
	EXPECT_EQ(variant->dma ? 0 : -1, access(path, F_OK));
	if (!variant->dma)
		EXPECT_STREQ("-", device);
	EXPECT_EQ(0, number(self->id, "start"));
	EXPECT_LT((uintptr_t)self->data, number(self->id, "end"));
	EXPECT_NE(~0ULL, number(self->id, "end"));
	EXPECT_EQ(0, number(self->id, "faults"));
	EXPECT_EQ(0, number(self->id, "retries"));
	EXPECT_EQ(0, number(self->id, "timeouts"));
	EXPECT_EQ(0, number(self->id, "invalidations"));
	EXPECT_EQ(0, number(self->id, "flushes"));
	EXPECT_EQ(0, number(self->id, "mapped_pages"));
	EXPECT_EQ(0, number(self->id, "mapped_entries"));
	EXPECT_EQ(0, number(self->id, "dma_retries"));
}

/* @value is between what the device said before and what it says now. */
#define EXPECT_BETWEEN(name) do { \
	uint64_t __value = number(self->id, #name); \
	ASSERT_EQ(0, dmirror_stats(&self->dev, &after)); \
	EXPECT_LE(before.name, __value); \
	EXPECT_GE(after.name, __value); \
} while (0)

TEST_F(mirrors, counters)
{
	uint64_t faults, pages, entries, invalidations, flushes;
	struct hmm_dmirror_stats before, after;
	char *half = self->data + self->length / 2;

	ASSERT_EQ(0, dmirror_read(&self->dev, self->data, self->length));
	faults = number(self->id, "faults");
	pages = number(self->id, "mapped_pages");
	entries = number(self->id, "mapped_entries");
	invalidations = number(self->id, "invalidations");
	flushes = number(self->id, "flushes");
	EXPECT_LE(1, faults);
	EXPECT_LE(PAGES, pages);
	EXPECT_LE(1, entries);
	EXPECT_GE(pages, entries);

	ASSERT_EQ(0, munmap(half, self->length / 2));
	EXPECT_LT(invalidations, number(self->id, "invalidations"));
	EXPECT_LT(flushes, number(self->id, "flushes"));
	/* These count what was mapped, not what is. */
	EXPECT_LE(pages, number(self->id, "mapped_pages"));

	ASSERT_EQ(HMM_DMIRROR_STATUS_NO_ACCESS,
		  dmirror_read(&self->dev, half, self->page));
	EXPECT_LT(faults, number(self->id, "faults"));
	faults = number(self->id, "faults");
	/* The device may have been allowed to write all the time. */
	ASSERT_EQ(0, mprotect(self->data, self->page, PROT_READ));
	ASSERT_EQ(0, mprotect(self->data, self->page, PROT_READ | PROT_WRITE));
	ASSERT_EQ(0, dmirror_fill(&self->dev, self->data, 8, 7));
	EXPECT_LT(faults, number(self->id, "faults"));
	EXPECT_LT(pages, number(self->id, "mapped_pages"));
	EXPECT_LT(entries, number(self->id, "mapped_entries"));

	ASSERT_EQ(0, dmirror_stats(&self->dev, &before));
	EXPECT_BETWEEN(retries);
	EXPECT_BETWEEN(timeouts);
	EXPECT_BETWEEN(invalidations);
	EXPECT_BETWEEN(flushes);
	EXPECT_BETWEEN(mapped_pages);
	EXPECT_BETWEEN(mapped_entries);
	EXPECT_BETWEEN(dma_retries);
}

/* A line for each file, as long as that is open, with counters of its own. */
TEST_F(mirrors, two_files)
{
	struct dmirror second;
	long id;

	ASSERT_EQ(0, dmirror_open(&second, self->dev.number));
	id = last_mirror();
	ASSERT_LT(self->id, id);
	ASSERT_EQ(0, dmirror_read(&second, self->data, self->length));
	EXPECT_LE(1, number(id, "faults"));
	EXPECT_EQ(0, number(self->id, "faults"));

	dmirror_close(&self->dev);
	EXPECT_FALSE(has_line(self->id));
	EXPECT_TRUE(has_line(id));
	dmirror_close(&second);
	EXPECT_FALSE(has_line(id));
}

TEST_F(mirrors, process_exits)
{
	int ready[2], go[2];
	char byte = 0;
	pid_t child;
	long id;

	ASSERT_EQ(0, pipe(ready));
	ASSERT_EQ(0, pipe(go));
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		struct dmirror own;

		if (dmirror_open(&own, self->dev.number) ||
		    dmirror_read(&own, self->data, self->length) ||
		    write(ready[1], &byte, 1) != 1 ||
		    read(go[0], &byte, 1) != 1)
			_exit(1);
		_exit(0);
	}
	close(ready[1]);
	ASSERT_EQ(1, read(ready[0], &byte, 1));
	id = last_mirror();
	EXPECT_LT(self->id, id);
	EXPECT_LE(1, number(id, "faults"));
	ASSERT_EQ(1, write(go[1], &byte, 1));
	EXPECT_EQ(0, child_status(child));
	EXPECT_FALSE(has_line(id));
	EXPECT_TRUE(has_line(self->id));
}

/* Events in an instance of their own: other tracing goes on undisturbed. */
FIXTURE(trace)
{
	struct dmirror dev;
	long id;
	size_t page;
	size_t length;
	char *data;
	char dir[64];
};

FIXTURE_VARIANT(trace)
{
	enum hmm_dmirror_memory memory;
};

FIXTURE_VARIANT_ADD(trace, none)
{
	.memory = NONE,
};

FIXTURE_VARIANT_ADD(trace, private)
{
	.memory = PRIVATE,
};

FIXTURE_VARIANT_ADD(trace, cdm)
{
	.memory = CDM,
};

FIXTURE_SETUP(trace)
{
	const char *tracefs = TRACEFS;
	char path[128];
	int ret;

	ret = mount_for_test("debugfs", DEBUGFS, MIRRORS);
	if (ret)
		SKIP(return, "debugfs: %s", strerror(-ret));
	if (access(TRACEFS "/trace", F_OK) &&
	    !access(OLD_TRACEFS "/trace", F_OK))
		tracefs = OLD_TRACEFS;
	else
		ret = mount_for_test("tracefs", TRACEFS, TRACEFS "/trace");
	if (ret)
		SKIP(return, "tracefs: %s", strerror(-ret));
	snprintf(path, sizeof(path), "%s/events", tracefs);
	if (access(path, F_OK))
		SKIP(return, "tracefs has no events");
	snprintf(path, sizeof(path), "%s/events/hmm", tracefs);
	ASSERT_EQ(0, access(path, F_OK));

	self->page = page_size();
	self->length = PAGES * self->page;
	self->data = map_aligned(PAGES);
	ASSERT_NE(NULL, self->data);
	OPEN_OR_SKIP(return, &self->dev, variant->memory, 0);
	self->id = last_mirror();
	ASSERT_LE(0, self->id);

	snprintf(self->dir, sizeof(self->dir), "%s/instances/" INSTANCE,
		 tracefs);
	rmdir(self->dir);
	ASSERT_EQ(0, mkdir(self->dir, 0700));
}

FIXTURE_TEARDOWN(trace)
{
	dmirror_close(&self->dev);
	EXPECT_EQ(0, rmdir(self->dir));
}

static int trace_events(struct _test_data_trace *self, bool on)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/events/hmm/enable", self->dir);
	return write_text(path, on ? "1" : "0");
}

/* What the events say of a mirror and a range. */
struct seen {
	unsigned int faults;
	unsigned int writes;	/* of these */
	unsigned int ends;
	unsigned int failed;	/* of these */
	long error;		/* of the last that failed */
	unsigned int maps;
	uint64_t pages;		/* by these */
	uint64_t entries;
	unsigned int invalidations;	/* that are done, of the whole range */
};

/* The value of a field of an event, or -ENOENT. */
static long long field(const char *line, const char *name)
{
	char text[32];
	const char *at;

	snprintf(text, sizeof(text), " %s=", name);
	at = strstr(line, text);
	return at ? strtoll(at + strlen(text), NULL, 0) : -ENOENT;
}

static bool is_event(const char *line, const char *name)
{
	char text[64];

	snprintf(text, sizeof(text), ": %s: ", name);
	return strstr(line, text);
}

static void count_event(const char *line, long long start, long long end,
			struct seen *seen)
{
	long long addr = field(line, "addr");

	if (is_event(line, "hmm_mirror_invalidate"))
		seen->invalidations += field(line, "start") <= start &&
				       field(line, "end") >= end &&
				       field(line, "done") == 1;
	if (addr < start || addr >= end)
		return;
	if (is_event(line, "hmm_mirror_fault")) {
		seen->faults++;
		seen->writes += field(line, "access") == 1;
	} else if (is_event(line, "hmm_mirror_fault_end")) {
		seen->ends++;
		if (field(line, "ret")) {
			seen->failed++;
			seen->error = field(line, "ret");
		}
	} else if (is_event(line, "hmm_mirror_map")) {
		seen->maps++;
		seen->pages += field(line, "pages");
		seen->entries += field(line, "entries");
	}
}

/* Sort what was traced; -errno if it cannot be read. */
static int read_trace(struct _test_data_trace *self, long id, const void *start,
		      size_t length, struct seen *seen)
{
	char path[128], line[512];
	FILE *file;

	memset(seen, 0, sizeof(*seen));
	snprintf(path, sizeof(path), "%s/trace", self->dir);
	file = fopen(path, "r");
	if (!file)
		return -errno;
	while (fgets(line, sizeof(line), file))
		if (field(line, "mirror") == id)
			count_event(line, (uintptr_t)start,
				    (uintptr_t)start + length, seen);
	fclose(file);
	return 0;
}

TEST_F(trace, life_of_a_mapping)
{
	struct seen seen;

	ASSERT_EQ(0, trace_events(self, true));
	ASSERT_EQ(0, dmirror_read(&self->dev, self->data, self->length));
	ASSERT_EQ(0, munmap(self->data, self->length));
	ASSERT_EQ(0, trace_events(self, false));

	ASSERT_EQ(0, read_trace(self, self->id, self->data, self->length,
				&seen));
	EXPECT_LE(1, seen.faults);
	EXPECT_EQ(0, seen.writes);
	EXPECT_EQ(seen.faults, seen.ends);
	EXPECT_EQ(0, seen.failed);
	EXPECT_LE(1, seen.maps);
	EXPECT_LE(PAGES, seen.pages);
	EXPECT_LE(seen.maps, seen.entries);
	EXPECT_GE(seen.pages, seen.entries);
	EXPECT_LE(1, seen.invalidations);
}

TEST_F(trace, failures)
{
	char *gone = self->data + 2 * self->page;
	char *read_only = self->data + 4 * self->page;
	struct seen seen;

	ASSERT_EQ(0, munmap(gone, self->page));
	ASSERT_EQ(0, mprotect(read_only, self->page, PROT_READ));
	ASSERT_EQ(0, trace_events(self, true));
	ASSERT_EQ(HMM_DMIRROR_STATUS_NO_ACCESS,
		  dmirror_read(&self->dev, gone, self->page));
	ASSERT_EQ(HMM_DMIRROR_STATUS_READ_ONLY,
		  dmirror_fill(&self->dev, read_only, self->page, 7));
	ASSERT_EQ(0, trace_events(self, false));

	ASSERT_EQ(0, read_trace(self, self->id, gone, self->page, &seen));
	EXPECT_EQ(1, seen.faults);
	EXPECT_EQ(0, seen.writes);
	EXPECT_EQ(1, seen.ends);
	EXPECT_EQ(1, seen.failed);
	EXPECT_EQ(-EFAULT, seen.error);
	EXPECT_EQ(0, seen.maps);

	ASSERT_EQ(0, read_trace(self, self->id, read_only, self->page, &seen));
	EXPECT_EQ(1, seen.faults);
	EXPECT_EQ(1, seen.writes);
	EXPECT_EQ(1, seen.ends);
	EXPECT_EQ(1, seen.failed);
	EXPECT_EQ(-EPERM, seen.error);
}

/* Each event names its mirror, by the number that debugfs shows. */
TEST_F(trace, two_mirrors)
{
	struct dmirror second;
	struct seen seen;
	long id;

	ASSERT_EQ(0, dmirror_open(&second, self->dev.number));
	id = last_mirror();
	ASSERT_LT(self->id, id);
	ASSERT_EQ(0, trace_events(self, true));
	ASSERT_EQ(0, dmirror_read(&second, self->data, self->length));
	ASSERT_EQ(0, munmap(self->data, self->length));
	ASSERT_EQ(0, trace_events(self, false));
	dmirror_close(&second);

	ASSERT_EQ(0, read_trace(self, id, self->data, self->length, &seen));
	EXPECT_LE(1, seen.faults);
	EXPECT_LE(1, seen.maps);
	EXPECT_LE(1, seen.invalidations);
	ASSERT_EQ(0, read_trace(self, self->id, self->data, self->length,
				&seen));
	EXPECT_EQ(0, seen.faults);
	EXPECT_EQ(0, seen.ends);
	EXPECT_EQ(0, seen.maps);
	EXPECT_EQ(0, seen.invalidations);
}

/* The number of the memory of device @number in hmm/devmems, or -ENOENT. */
static long devmem_id(unsigned int number)
{
	FILE *file = fopen(DEVMEMS, "r");
	char line[512], name[32], wanted[32];
	long id = -ENOENT, at;

	snprintf(wanted, sizeof(wanted), "hmm_dmirror%u", number);
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "%ld %31s ", &at, name) == 2 &&
		    !strcmp(name, wanted))
			id = at;
	if (file)
		fclose(file);
	return id;
}

/*
 * Is the range of an event absent, or as it should be: that of the data, none, or for
 * a CPU fault one that has to do with the data?
 */
static bool is_range(struct _test_data_trace *self, const char *line)
{
	long long start = (uintptr_t)self->data, end = start + self->length;

	if (strstr(line, " cause=evict "))
		return !field(line, "start") && !field(line, "end");
	if (strstr(line, " cause=cpu_fault "))
		return field(line, "start") < end && field(line, "end") > start;
	return !strstr(line, " cause=") ||
	       (field(line, "start") == start && field(line, "end") == end);
}

/*
 * Add up field @name, or if it is NULL the events themselves, of all events @event
 * with @text in them.  All of them have to be about the data and to have lasted.
 * -errno if the trace cannot be read, -ERANGE if an event is wrong.
 */
static long sum(struct _test_data_trace *self, const char *event,
		const char *text, const char *name)
{
	char path[128], line[512];
	long total = 0;
	FILE *file;

	snprintf(path, sizeof(path), "%s/trace", self->dir);
	file = fopen(path, "r");
	if (!file)
		return -errno;
	while (fgets(line, sizeof(line), file)) {
		if (!is_event(line, event) || !strstr(line, text))
			continue;
		if (!is_range(self, line) || field(line, "ns") <= 0)
			total = -ERANGE;
		if (total >= 0)
			total += name ? field(line, name) : 1;
	}
	fclose(file);
	return total;
}

/* What came through the stages of a migration, and what did not. */
#define EXPECT_STAGES(text, n_events, n_pages, n_failed, n_refused) do { \
	EXPECT_EQ(n_events, sum(self, "hmm_migrate_collect", text, NULL)); \
	EXPECT_EQ((n_pages) + (n_failed), \
		  sum(self, "hmm_migrate_collect", text, "pages")); \
	EXPECT_EQ(n_refused, \
		  sum(self, "hmm_migrate_collect", text, "dropped")); \
	EXPECT_EQ(n_pages, sum(self, "hmm_migrate_copy", text, "pages")); \
	EXPECT_EQ(n_failed, sum(self, "hmm_migrate_copy", text, "dropped")); \
	EXPECT_EQ(n_events, sum(self, "hmm_migrate_commit", text, NULL)); \
	EXPECT_EQ(n_pages, sum(self, "hmm_migrate_commit", text, "pages")); \
	EXPECT_EQ(0, sum(self, "hmm_migrate_commit", text, "dropped")); \
} while (0)

/* Each step to the device, by a CPU fault, to RAM and by eviction, in its stages. */
TEST_F(trace, migration)
{
	bool private = variant->memory == PRIVATE;
	struct hmm_dmirror_migrate result;
	char in[48], out[48];
	long faults, refused, id;
	uint64_t evicted;

	if (variant->memory == NONE)
		return;
	id = devmem_id(self->dev.number);
	ASSERT_LE(0, id);
	snprintf(in, sizeof(in), " devmem=%ld ", id);
	snprintf(out, sizeof(out), "=evict devmem=%ld ", id);
#define MIGRATE(target) \
	migrate(&self->dev, self->data, self->length, target, &result)

	ASSERT_EQ(0, trace_events(self, true));
	ASSERT_EQ(0, dmirror_inject(&self->dev, HMM_DMIRROR_INJECT_COPY_ERROR,
				    0, 1, 0));
	EXPECT_EQ(-EIO, MIGRATE(HMM_DMIRROR_TO_DEVICE));
	ASSERT_EQ(0, MIGRATE(HMM_DMIRROR_TO_DEVICE));
	/* Private memory comes back for the CPU, in a few faults. */
	EXPECT_EQ(0, differences(self->data, self->length, 1));
	ASSERT_EQ(0, MIGRATE(HMM_DMIRROR_TO_DEVICE));
	ASSERT_EQ(0, MIGRATE(HMM_DMIRROR_TO_RAM));
	ASSERT_EQ(0, MIGRATE(HMM_DMIRROR_TO_DEVICE));
	ASSERT_EQ(0, dmirror_evict(&self->dev, ~0ull, &evicted));
	EXPECT_EQ(PAGES, evicted);
	ASSERT_EQ(0, trace_events(self, false));

	EXPECT_STAGES("=to_device ", 4, private ? 3 * PAGES : 2 * PAGES, PAGES,
		      private ? 0 : PAGES);
	EXPECT_EQ(4, sum(self, "hmm_migrate_finish", in, NULL));
	EXPECT_EQ(private ? 3 * PAGES : 2 * PAGES,
		  sum(self, "hmm_migrate_finish", in, "moved"));
	EXPECT_EQ(PAGES, sum(self, "hmm_migrate_finish", in, "failed"));
	EXPECT_EQ(private ? 0 : PAGES,
		  sum(self, "hmm_migrate_finish", in, "already"));
	EXPECT_EQ(-EIO, sum(self, "hmm_migrate_finish", in, "ret"));
	EXPECT_EQ(0, sum(self, "hmm_migrate_finish", in, "busy"));

	faults = sum(self, "hmm_cpu_fault", in, NULL);
	EXPECT_EQ(private, faults > 0);
	EXPECT_EQ(0, sum(self, "hmm_cpu_fault", in, "ret"));
	/* A window may begin before the page and find others there already. */
	refused = sum(self, "hmm_migrate_collect", "=cpu_fault ", "dropped");
	EXPECT_LE(0, refused);
	EXPECT_STAGES("=cpu_fault ", faults, private ? PAGES : 0, 0, refused);

	EXPECT_STAGES("=to_ram ", 1, PAGES, 0, 0);
	EXPECT_EQ(PAGES, sum(self, "hmm_migrate_finish", "=to_ram ", "moved"));

	EXPECT_STAGES("=evict ", 1, PAGES, 0, 0);
	EXPECT_EQ(PAGES, sum(self, "hmm_migrate_copy", out, "pages"));
	EXPECT_EQ(PAGES, sum(self, "hmm_evict_round", in, "evicted"));
	EXPECT_EQ(0, sum(self, "hmm_evict_round", in, "busy"));
#undef MIGRATE
}

TEST_HARNESS_MAIN
