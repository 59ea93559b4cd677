// SPDX-License-Identifier: GPL-2.0
/*
 * The measuring program: device memory, by way of the measuring module for device
 * memory, whose device copies with the CPU.
 *
 * With the HMM toolbox what it does is measured, on a kernel without it what a
 * driver by hand does at the least: the bare core calls, and an allocator of whole
 * pieces.  Where the toolbox is, both are measured on memory of the same kind, but
 * for the working sets that do not fit into the device memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"
#include "hmm_bench_devmem.h"

#define PER_PAGE	"instructions/page"
#define MOVED		"moved/page"

#define SIZE_64K	(64UL << 10)
#define COPIED		(64UL << 20)	/* in one call, to a device that copies itself */
#define MEMORY		(16UL << 20)	/* device memory, and what is moved there */

/* One open file of the module. */
struct memory {
	int fd;
	int toolbox;
	uint64_t ns;		/* what adding it took */
};

static int memory_open_timed(const struct row *row, struct memory *memory,
			     int toolbox, unsigned int flags, size_t size,
			     size_t piece, unsigned int copy_ns)
{
	struct hmm_bench_devmem_attach attach = {
		.kind = toolbox ? HMM_BENCH_DEVMEM_TOOLBOX :
				  HMM_BENCH_DEVMEM_BARE,
		.flags = flags,
		.size = size,
		.piece = piece,
		.copy_ns = copy_ns,
	};

	memory->toolbox = toolbox;
	memory->fd = open("/dev/hmm_bench_devmem", O_RDWR | O_CLOEXEC);
	if (memory->fd < 0)
		return fail(row, "/dev/hmm_bench_devmem: %s", strerror(errno));
	if (ioctl(memory->fd, HMM_BENCH_DEVMEM_ATTACH, &attach)) {
		fail(row, "attach: %s", strerror(errno));
		close(memory->fd);
		return -1;
	}
	memory->ns = attach.ns;
	return 0;
}

static int memory_open(const struct row *row, struct memory *memory, int toolbox,
		       unsigned int flags, size_t size, size_t piece)
{
	return memory_open_timed(row, memory, toolbox, flags, size, piece, 0);
}

static void memory_close(const struct memory *memory)
{
	close(memory->fd);
}

static int memory_run(const struct row *row, const struct memory *memory,
		      struct hmm_bench_devmem_run *run)
{
	if (ioctl(memory->fd, HMM_BENCH_DEVMEM_RUN, run))
		return fail(row, "operation %u, %s: %s", run->op,
			    memory->toolbox ? "toolbox" : "bare",
			    strerror(errno));
	return 0;
}

/* All of one chunk has to move in. */
static int move_in(const struct row *row, const struct memory *memory,
		   enum kind kind, const char *chunk,
		   struct hmm_bench_devmem_run *run)
{
	*run = (struct hmm_bench_devmem_run){
		.op = HMM_BENCH_DEVMEM_IN,
		.flags = kind == KIND_THP ? HMM_BENCH_DEVMEM_COMPOUND : 0,
		.addr = (uintptr_t)chunk,
		.length = CHUNK,
	};

	if (memory_run(row, memory, run))
		return -1;
	if (run->in != CHUNK_PAGES || run->out)
		return fail(row, "%llu of %zu pages moved in, %llu out",
			    (unsigned long long)run->in, CHUNK_PAGES,
			    (unsigned long long)run->out);
	return 0;
}

/* Bring back so many bytes, 0 for all. */
static int move_out(const struct row *row, const struct memory *memory,
		    size_t length, struct hmm_bench_devmem_run *run)
{
	*run = (struct hmm_bench_devmem_run){
		.op = HMM_BENCH_DEVMEM_EVICT,
		.length = length,
	};

	if (memory_run(row, memory, run))
		return -1;
	if (run->out < length / PAGE)
		return fail(row, "%llu of %zu pages moved out",
			    (unsigned long long)run->out, length / PAGE);
	return 0;
}

/* What region_populate() wrote must have survived. */
static int verify(const struct row *row, const char *region, size_t size)
{
	size_t i;

	for (i = 0; i < size; i += PAGE)
		if (load((const uint64_t *)(region + i)) != i + 1)
			return fail(row, "wrong data at page %zu", i / PAGE);
	return 0;
}

/* The toolbox's first, where it is. */
static void emit_pair(const struct row *row, const char *part, const char *unit,
		      const struct series *toolbox, const struct series *bare,
		      const char *bare_part, const struct contents *contents)
{
	if (toolbox->nr)
		emit(row, part, unit, toolbox, contents);
	emit(row, toolbox->nr ? bare_part : part, unit, bare, contents);
}

/* Hotplug: see measure_hotplug() */

static int add_difference(const struct row *row, int toolbox,
			  struct series *series)
{
	static const size_t size[2] = { 2 * HMM_BENCH_HOTPLUG_UNIT,
					4 * HMM_BENCH_HOTPLUG_UNIT };
	struct memory memory[2];
	int i;

	for (i = 0; i < 2; i++) {
		if (memory_open(row, &memory[i], toolbox, 0, size[i], CHUNK))
			return -1;
		memory_close(&memory[i]);
	}
	sample(series, ((double)memory[1].ns - (double)memory[0].ns) /
	       ((size[1] - size[0]) / PAGE), 0);
	return 0;
}

int measure_devmem_add(const struct row *row, int unused)
{
	struct series with = { .nr = 0 }, bare = { .nr = 0 };
	int toolbox = driver_toolbox(row), i;

	if (toolbox < 0)
		return -1;
	for (i = 0; i < 5; i++)
		if ((toolbox && add_difference(row, 1, &with)) ||
		    add_difference(row, 0, &bare))
			return -1;
	emit_pair(row, "", PER_PAGE, &with, &bare, "bare calls", NULL);
	return 0;
}

/* Allocation without a migration */

struct alloc_case {
	unsigned int flags;
	size_t unit;
	const char *per_unit;
};

static const struct alloc_case alloc_cases[] = {
	[ALLOC_4K] = { 0, PAGE, PER_PAGE },
	[ALLOC_BATCH] = { HMM_BENCH_DEVMEM_BATCH, PAGE, PER_PAGE },
	[ALLOC_2M] = { HMM_BENCH_DEVMEM_COMPOUND, CHUNK, "instructions/2M" },
};

struct alloc_series {
	struct series total;
	struct series alloc;
	struct series free;
};

/* All of the device memory, so that each frame is found as often as any other. */
static int alloc_rounds(const struct row *row, int toolbox,
			const struct alloc_case *test,
			struct alloc_series *series)
{
	double units = MEMORY / test->unit;
	struct hmm_bench_devmem_run run;
	struct memory memory;
	int err, i;

	err = memory_open(row, &memory, toolbox, 0, MEMORY, CHUNK);
	if (err)
		return err;
	for (i = 0; i < 4 * ROUNDS && !err; i++) {
		run = (struct hmm_bench_devmem_run){
			.op = HMM_BENCH_DEVMEM_ALLOC,
			.flags = test->flags,
			.length = MEMORY,
		};
		err = memory_run(row, &memory, &run);
		sample(&series->total, (run.ns + run.ns_free) / units, 0);
		sample(&series->alloc, run.ns / units, 0);
		sample(&series->free, run.ns_free / units, 0);
	}
	memory_close(&memory);
	return err;
}

int measure_devmem_alloc(const struct row *row, int which)
{
	const struct alloc_case *test = &alloc_cases[which];
	struct alloc_series with = { .total.nr = 0 }, bare = { .total.nr = 0 };
	int toolbox = driver_toolbox(row);

	if (toolbox < 0 || (toolbox && alloc_rounds(row, 1, test, &with)) ||
	    alloc_rounds(row, 0, test, &bare))
		return -1;
	emit_pair(row, "", test->per_unit, &with.total, &bare.total,
		  "bare calls", NULL);
	emit_pair(row, "allocate", test->per_unit, &with.alloc, &bare.alloc,
		  "allocate, bare calls", NULL);
	emit_pair(row, "free", test->per_unit, &with.free, &bare.free,
		  "free, bare calls", NULL);
	return 0;
}

/* Memory that the device is the first to use, and that is dropped again */

static int fill_chunk(const struct row *row, const struct memory *memory,
		      enum kind kind, char *chunk, struct series *fill,
		      struct series *drop)
{
	double flushes = flush_count();
	struct hmm_bench_devmem_run run;
	uint64_t start;
	int err;

	if (move_in(row, memory, kind, chunk, &run))
		return -1;
	sample(fill, (double)run.ns / CHUNK_PAGES,
	       (flush_count() - flushes) / CHUNK_PAGES);

	flushes = flush_count();
	start = now();
	err = madvise(chunk, CHUNK, MADV_DONTNEED);
	sample(drop, (double)elapsed(start) / CHUNK_PAGES,
	       (flush_count() - flushes) / CHUNK_PAGES);
	return err ? fail(row, "madvise: %s", strerror(errno)) : 0;
}

/* Nothing is cleared: the device memory has no storage. */
static int fill_round(const struct row *row, int toolbox, enum kind kind,
		      struct series *fill, struct series *drop)
{
	struct memory memory;
	char *region;
	int err;
	size_t i;

	region = region_new(row, kind, MEMORY);
	if (!region)
		return -1;
	err = memory_open(row, &memory, toolbox, 0, MEMORY, CHUNK);
	if (!err) {
		for (i = 0; i < MEMORY && !err; i += CHUNK)
			err = fill_chunk(row, &memory, kind, region + i, fill,
					 drop);
		memory_close(&memory);
	}
	region_free(region, MEMORY);
	return err;
}

int measure_devmem_fill(const struct row *row, int kind)
{
	struct series with = { .nr = 0 }, drop_with = { .nr = 0 };
	struct series bare = { .nr = 0 }, drop_bare = { .nr = 0 };
	int toolbox = driver_toolbox(row), round;

	if (toolbox < 0)
		return -1;
	for (round = 0; round < ROUNDS; round++)
		if ((toolbox && fill_round(row, 1, kind, &with, &drop_with)) ||
		    fill_round(row, 0, kind, &bare, &drop_bare))
			return -1;
	emit_pair(row, "", PER_PAGE, &with, &bare, "bare calls", NULL);
	emit_pair(row, "drop", PER_PAGE, &drop_with, &drop_bare,
		  "drop, bare calls", NULL);
	return 0;
}

/* Eviction */

static int evict_region(const struct row *row, const struct memory *memory,
			enum kind kind, const char *region,
			struct series *series)
{
	struct hmm_bench_devmem_run run;
	size_t i, out = 0;
	double flushes;

	for (i = 0; i < MEMORY; i += CHUNK)
		if (move_in(row, memory, kind, region + i, &run))
			return -1;
	while (out < MEMORY / PAGE) {
		flushes = flush_count();
		if (move_out(row, memory, CHUNK, &run))
			return -1;
		sample(series, (double)run.ns / run.out,
		       (flush_count() - flushes) / run.out);
		out += run.out;
	}
	return verify(row, region, MEMORY);
}

static int evict_round(const struct row *row, int toolbox, enum kind kind,
		       struct series *series)
{
	struct memory memory;
	char *region;
	int err;

	region = region_new(row, kind, MEMORY);
	if (!region)
		return -1;
	err = region_populate(row, region, kind, MEMORY);
	if (!err)
		err = memory_open(row, &memory, toolbox,
				  HMM_BENCH_DEVMEM_STORAGE, MEMORY, CHUNK);
	if (!err) {
		err = evict_region(row, &memory, kind, region, series);
		memory_close(&memory);
	}
	region_free(region, MEMORY);
	return err;
}

int measure_devmem_evict(const struct row *row, int kind)
{
	static const struct contents contents = { .memcpied = 1 };
	struct series with = { .nr = 0 }, bare = { .nr = 0 };
	int toolbox = driver_toolbox(row), round;

	if (toolbox < 0)
		return -1;
	for (round = 0; round < ROUNDS; round++)
		if ((toolbox && evict_round(row, 1, kind, &with)) ||
		    evict_round(row, 0, kind, &bare))
			return -1;
	emit_pair(row, "", PER_PAGE, &with, &bare, "bare calls", &contents);
	return 0;
}

/* A device that copies while the CPU prepares the next copy */

/* All of the region in one call, nanoseconds for a page. */
static int copy_round(const struct row *row, int toolbox, enum kind kind,
		      unsigned int copy_ns, struct series *series)
{
	struct hmm_bench_devmem_run run = {
		.op = HMM_BENCH_DEVMEM_IN,
		.flags = kind == KIND_THP ? HMM_BENCH_DEVMEM_COMPOUND : 0,
		.length = COPIED,
	};
	struct memory memory;
	char *region;
	int err;

	region = region_new(row, kind, COPIED);
	if (!region)
		return -1;
	run.addr = (uintptr_t)region;
	err = region_populate(row, region, kind, COPIED);
	if (!err)
		err = memory_open_timed(row, &memory, toolbox, 0, COPIED, CHUNK,
					copy_ns);
	if (!err) {
		err = memory_run(row, &memory, &run);
		if (!err && run.in != COPIED / PAGE)
			err = fail(row, "%llu of %zu pages moved in",
				   (unsigned long long)run.in, COPIED / PAGE);
		if (!err)
			sample(series, (double)run.ns / (COPIED / PAGE), 0);
		memory_close(&memory);
	}
	region_free(region, COPIED);
	return err;
}

/*
 * The device takes as long to copy as the CPU for everything else, so that at best
 * half of the time is gained.  Mainline's column has a driver that waits for each
 * copy.
 */
int measure_devmem_copy(const struct row *row, int kind)
{
	struct series core = { .nr = 0 }, all = { .nr = 0 };
	struct series lost = { .nr = 0 };
	int toolbox = driver_toolbox(row), round;
	double serial;

	if (toolbox < 0)
		return -1;
	for (round = 0; round < ROUNDS; round++)
		if (copy_round(row, toolbox, kind, 0, &core))
			return -1;
	for (round = 0; round < ROUNDS; round++)
		if (copy_round(row, toolbox, kind, median(&core), &all))
			return -1;
	serial = 2 * median(&core);
	sample(&lost, 100 * (median(&all) - serial / 2) / (serial / 2), 0);
	emit(row, "", PER_PAGE, &all, NULL);
	emit(row, "without the copy", PER_PAGE, &core, NULL);
	if (toolbox)
		emit_target(row, "gain missed", "percent", &lost, 15);
	return 0;
}

/* Working sets larger than the device memory */

struct use_case {
	enum kind kind;
	size_t piece;
	unsigned int times;	/* the device memory */
	int random;
	unsigned int sweeps;	/* as many uses as pieces, so many times */
};

static const struct use_case use_cases[] = {
	[USE_2X_64K] = { KIND_4K, SIZE_64K, 2, 0, 1 },
	[USE_2X_64K_RANDOM] = { KIND_4K, SIZE_64K, 2, 1, 1 },
	[USE_4X_64K] = { KIND_4K, SIZE_64K, 4, 0, 1 },
	[USE_4X_64K_RANDOM] = { KIND_4K, SIZE_64K, 4, 1, 1 },
	[USE_2X_2M] = { KIND_THP, CHUNK, 2, 0, 2 },
	[USE_2X_2M_RANDOM] = { KIND_THP, CHUNK, 2, 1, 2 },
	[USE_4X_2M] = { KIND_THP, CHUNK, 4, 0, 2 },
	[USE_4X_2M_RANDOM] = { KIND_THP, CHUNK, 4, 1, 2 },
};

#define MAX_PIECES	(4 * MEMORY / SIZE_64K)
#define MAX_USES	(2 * MAX_PIECES)

/* All pieces in order first, which fills the device memory; what then counts. */
struct trace {
	uint32_t uses[MAX_USES];
	unsigned int nr;
	unsigned int warm;
	unsigned int pieces;
	unsigned int room;	/* pieces that the device memory holds */
};

static void trace_make(const struct use_case *test, struct trace *trace)
{
	uint32_t seed = 1;
	unsigned int i;

	trace->pieces = test->times * MEMORY / test->piece;
	trace->room = MEMORY / test->piece;
	trace->warm = trace->pieces;
	trace->nr = trace->warm + test->sweeps * trace->pieces;
	for (i = 0; i < trace->nr; i++) {
		trace->uses[i] = i % trace->pieces;
		if (i < trace->warm || !test->random)
			continue;
		seed = seed * 1664525 + 1013904223;
		trace->uses[i] = (seed >> 16) % trace->pieces;
	}
}

/*
 * Pieces that a policy moves in and out once the memory is warm: evict what was
 * used longest ago, or, with @ideal, from then on what will be used last (Belady),
 * which no policy beats.
 */
static unsigned int trace_moves(const struct trace *trace, int ideal)
{
	unsigned int last[MAX_PIECES], next[MAX_PIECES], next_use[MAX_USES];
	unsigned int resident = 0, moves = 0, i, p, victim;
	char here[MAX_PIECES] = { 0 };

	for (p = 0; p < trace->pieces; p++)
		next[p] = trace->nr;
	for (i = trace->nr; i-- > 0; ) {
		next_use[i] = next[trace->uses[i]];
		next[trace->uses[i]] = i;
	}
	for (i = 0; i < trace->nr; i++) {
		unsigned int used = trace->uses[i];
		int counts = i >= trace->warm;

		if (!here[used] && resident == trace->room) {
			victim = trace->pieces;
			for (p = 0; p < trace->pieces; p++)
				if (here[p] && (victim == trace->pieces ||
						(ideal && counts ?
						 next[p] > next[victim] :
						 last[p] < last[victim])))
					victim = p;
			here[victim] = 0;
			resident--;
			moves += counts;
		}
		if (!here[used]) {
			here[used] = 1;
			resident++;
			moves += counts;
		}
		last[used] = i;
		next[used] = next_use[i];
	}
	return moves;
}

static int use_region(const struct row *row, const struct memory *memory,
		      const struct use_case *test, const struct trace *trace,
		      const char *region, struct hmm_bench_devmem_run *run)
{
	size_t size = test->times * MEMORY;
	struct hmm_bench_devmem_run back;

	*run = (struct hmm_bench_devmem_run){
		.op = HMM_BENCH_DEVMEM_USE,
		.flags = test->kind == KIND_THP ? HMM_BENCH_DEVMEM_COMPOUND : 0,
		.addr = (uintptr_t)region,
		.length = size,
		.uses = (uintptr_t)trace->uses,
		.nr_uses = trace->nr,
		.warm = trace->warm,
	};

	if (memory_run(row, memory, run) || move_out(row, memory, 0, &back))
		return -1;
	return verify(row, region, size);
}

static int use_memory(const struct row *row, int toolbox,
		      const struct use_case *test, const struct trace *trace,
		      struct hmm_bench_devmem_run *run)
{
	size_t size = test->times * MEMORY;
	struct memory memory;
	char *region;
	int err;

	region = region_new(row, test->kind, size);
	if (!region)
		return -1;
	err = region_populate(row, region, test->kind, size);
	if (!err)
		err = memory_open(row, &memory, toolbox,
				  HMM_BENCH_DEVMEM_STORAGE, MEMORY, test->piece);
	if (!err) {
		err = use_region(row, &memory, test, trace, region, run);
		memory_close(&memory);
	}
	region_free(region, size);
	return err;
}

/*
 * Mainline's column has the moves of a driver by hand that evicts what was used
 * longest ago piece by piece, which is checked; the last part is the least that
 * any policy could do.
 */
int measure_devmem_use(const struct row *row, int which)
{
	const struct use_case *test = &use_cases[which];
	struct series time = { .nr = 0 }, moves = { .nr = 0 };
	int toolbox = driver_toolbox(row);
	struct series ideal = { .nr = 0 };
	struct contents contents = { .zeroed = 0 };
	struct hmm_bench_devmem_run run;
	static struct trace trace;
	double moved, pages, uses;

	if (toolbox < 0)
		return -1;
	trace_make(test, &trace);
	uses = trace.nr - trace.warm;
	pages = uses * (test->piece / PAGE);
	if (use_memory(row, toolbox, test, &trace, &run))
		return -1;
	moved = run.in + run.out;
	if (!toolbox && moved != (double)trace_moves(&trace, 0) *
				 (test->piece / PAGE))
		return fail(row, "%.0f pages moved, not those used longest ago",
			    moved);

	contents.memcpied = moved / pages;
	sample(&time, run.ns / pages, 0);
	sample(&moves, moved / pages, 0);
	sample(&ideal, trace_moves(&trace, 1) / uses, 0);
	emit(row, "", PER_PAGE, &time, &contents);
	emit(row, "moved in and out", MOVED, &moves, NULL);
	emit(row, "least possible (Belady)", MOVED, &ideal, NULL);
	return 0;
}
