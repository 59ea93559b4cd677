// SPDX-License-Identifier: GPL-2.0
/*
 * The measuring program: whole drivers, by their own system calls, in time that
 * user space sees.
 */
#include <errno.h>
#include <string.h>

#include "bench.h"

#define PER_PAGE	"instructions/page"

/* With the copy, of 4K pages one after the other: a third of mainline's lib/test_hmm. */
#define CPU_FAULT_TARGET	3300

static const struct driver_ops *driver;

int driver_select(const char *name)
{
	static const struct driver_ops * const drivers[] = {
		&driver_test_hmm, &driver_dmirror,
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(drivers); i++) {
		if (!strcmp(name, drivers[i]->name)) {
			driver = drivers[i];
			return 0;
		}
	}
	return -1;
}

/* Does this kernel have the HMM toolbox?  -1 if nobody said. */
int driver_toolbox(const struct row *row)
{
	if (!driver)
		return fail(row, "no --driver given");
	return driver->toolbox;
}

/* Written memory, and the driver open. */
static char *driver_start(const struct row *row, enum kind kind)
{
	char *region;

	if (!driver) {
		fail(row, "no --driver given");
		return NULL;
	}
	region = region_new(row, kind, REGION);
	if (!region)
		return NULL;
	if (region_populate(row, region, kind, REGION)) {
		region_free(region, REGION);
		return NULL;
	}
	if (driver->open()) {
		fail(row, "%s: open: %s", driver->name, strerror(errno));
		region_free(region, REGION);
		return NULL;
	}
	return region;
}

static void driver_end(char *region)
{
	driver->close();
	region_free(region, REGION);
}

/* Of one chunk, per page. */
struct stopwatch {
	double flushes;
	uint64_t start;
};

static void stopwatch_start(struct stopwatch *watch)
{
	watch->flushes = flush_count();
	watch->start = now();
}

static void stopwatch_stop(const struct stopwatch *watch, struct series *series)
{
	double ns = elapsed(watch->start);

	sample(series, ns / CHUNK_PAGES,
	       (flush_count() - watch->flushes) / CHUNK_PAGES);
}

/* What region_populate() wrote must have survived. */
static int verify(const struct row *row, const char *region)
{
	size_t i;

	for (i = 0; i < REGION; i += PAGE)
		if (*(const uint64_t *)(region + i) != i + 1)
			return fail(row, "%s: wrong data at page %zu",
				    driver->name, i / PAGE);
	return 0;
}

/*
 * The second time everything is in the device page table: the difference is
 * what the device's page faults cost.  The second time itself is what the
 * device does with the data, and counts as copying.
 */
int measure_driver_read(const struct row *row, int kind)
{
	struct series first = { .nr = 0 }, again = { .nr = 0 };
	struct series fault = { .nr = 0 };
	struct contents contents = { .zeroed = 0 };
	int err = 0, round;
	struct stopwatch watch;
	size_t i;

	for (round = 0; round < ROUNDS && !err; round++) {
		char *region = driver_start(row, kind);

		if (!region)
			return -1;
		for (i = 0; i < REGION && !err; i += CHUNK) {
			stopwatch_start(&watch);
			err = driver->read(region + i, CHUNK);
			stopwatch_stop(&watch, &first);
			if (err)
				break;
			stopwatch_start(&watch);
			err = driver->read(region + i, CHUNK);
			stopwatch_stop(&watch, &again);
			sample(&fault, first.sample[first.nr - 1] -
			       again.sample[again.nr - 1], 0);
		}
		if (err)
			fail(row, "%s: read: %s", driver->name, strerror(errno));
		driver_end(region);
	}
	if (!err) {
		contents.apart = median(&again);
		emit(row, "", PER_PAGE, &fault, &contents);
	}
	return err;
}

/* A driver may count a large folio as one. */
static int migrated(const struct row *row, const char *what, int err,
		    size_t moved)
{
	if (err)
		return fail(row, "%s: %s: %s", driver->name, what,
			    strerror(errno));
	if (moved != CHUNK_PAGES && !(row->parameter == KIND_THP && moved == 1))
		return fail(row, "%s: %s moved %zu of %zu pages", driver->name,
			    what, moved, CHUNK_PAGES);
	return 0;
}

int measure_driver_to_device(const struct row *row, int kind)
{
	struct contents contents = { .zeroed = 0 };
	struct series series = { .nr = 0 };
	int err = 0, round;
	struct stopwatch watch;
	size_t i, moved;

	for (round = 0; round < ROUNDS && !err; round++) {
		char *region = driver_start(row, kind);

		if (!region)
			return -1;
		for (i = 0; i < REGION && !err; i += CHUNK) {
			moved = 0;
			stopwatch_start(&watch);
			err = driver->to_device(region + i, CHUNK, &moved,
						&contents);
			stopwatch_stop(&watch, &series);
			err = migrated(row, "to device", err, moved);
		}
		if (!err)
			err = verify(row, region);
		driver_end(region);
	}
	if (!err)
		emit(row, "", PER_PAGE, &series, &contents);
	return err;
}

int measure_driver_to_ram(const struct row *row, int kind)
{
	struct contents contents = { .zeroed = 0 }, there = { .zeroed = 0 };
	struct series series = { .nr = 0 };
	int err = 0, round;
	struct stopwatch watch;
	size_t i, moved;

	for (round = 0; round < ROUNDS && !err; round++) {
		char *region = driver_start(row, kind);

		if (!region)
			return -1;
		for (i = 0; i < REGION && !err; i += CHUNK) {
			moved = 0;
			err = driver->to_device(region + i, CHUNK, &moved,
						&there);
			err = migrated(row, "to device", err, moved);
			if (err)
				break;
			moved = 0;
			stopwatch_start(&watch);
			err = driver->to_ram(region + i, CHUNK, &moved,
					     &contents);
			stopwatch_stop(&watch, &series);
			err = migrated(row, "to RAM", err, moved);
		}
		if (!err)
			err = verify(row, region);
		driver_end(region);
	}
	if (!err)
		emit(row, "", PER_PAGE, &series, &contents);
	return err;
}

int measure_driver_cpu_fault(const struct row *row, int kind)
{
	struct contents there = { .zeroed = 0 };
	struct series series = { .nr = 0 };
	int err = 0, round;
	struct stopwatch watch;
	size_t i, page, moved;

	for (round = 0; round < ROUNDS && !err; round++) {
		char *region = driver_start(row, kind);

		if (!region)
			return -1;
		for (i = 0; i < REGION && !err; i += CHUNK) {
			moved = 0;
			err = driver->to_device(region + i, CHUNK, &moved,
						&there);
			err = migrated(row, "to device", err, moved);
			if (err)
				break;
			stopwatch_start(&watch);
			for (page = 0; page < CHUNK; page += PAGE)
				touch(region + i + page);
			stopwatch_stop(&watch, &series);
		}
		if (!err)
			err = verify(row, region);
		driver_end(region);
	}
	if (!err) {
		emit(row, "", PER_PAGE, &series, &driver->cpu_fault);
		emit_target(row, "all of it", PER_PAGE, &series,
			    kind == KIND_4K ? CPU_FAULT_TARGET : 0);
	}
	return err;
}
