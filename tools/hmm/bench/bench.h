/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The measuring program: shared declarations.
 */
#ifndef _BENCH_H
#define _BENCH_H

#include <stddef.h>
#include <stdint.h>

#include "hmm_bench.h"

#define ARRAY_SIZE(array)	(sizeof(array) / sizeof((array)[0]))

#define PAGE		4096UL
#define CHUNK		(2UL << 20)	/* every sample covers one PMD */
#define CHUNK_PAGES	(CHUNK / PAGE)
#define REGION		(32UL << 20)	/* memory of one round */
#define SPARSE		(1UL << 30)	/* regions from here on are hardly filled */
#define ROUNDS		3
#define MAX_SAMPLES	256

/* Accesses that the compiler cannot leave out. */
static inline void touch(const char *byte)
{
	__atomic_load_n(byte, __ATOMIC_RELAXED);
}

static inline uint64_t load(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static inline void store(uint64_t *word, uint64_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELAXED);
}

enum kind { KIND_4K, KIND_64K, KIND_THP };

struct row {
	const char *name;
	const char *group;
	unsigned int cpus;
	const char *title;
	/* 0, or -1 after fail() */
	int (*measure)(const struct row *row, int parameter);
	int parameter;
};

/* Pages cleared and copied in a unit of the result. */
struct contents {
	double zeroed;		/* clear_page() */
	double copied;		/* copy_page() */
	double memcpied;	/* memcpy() */
	double to_user;		/* copy_to_user() */
	double apart;		/* nanoseconds left out already */
};

/* Samples of one result. */
struct series {
	double sample[MAX_SAMPLES];
	unsigned int nr;
	double flushes;		/* TLB flushes per unit, summed up */
};

/* rows.c */
extern const struct row rows[];
extern const size_t nr_rows;

/* bench.c */
[[gnu::format(printf, 2, 3)]]
int fail(const struct row *row, const char *format, ...);
void sample(struct series *series, double value, double flushes);
double median(const struct series *series);
void emit(const struct row *row, const char *part, const char *unit,
	  const struct series *series, const struct contents *contents);
void emit_target(const struct row *row, const char *part, const char *unit,
		 const struct series *series, double most);
uint64_t now(void);
uint64_t elapsed(uint64_t start);
double flush_count(void);
char *region_new(const struct row *row, enum kind kind, size_t size);
int region_populate(const struct row *row, char *region, enum kind kind,
		    size_t size);
void region_free(char *region, size_t size);
long kind_allocations(enum kind kind);
long kind_folios(enum kind kind, size_t size);
int bench_run(const struct row *row, struct hmm_bench_run *run);

/* core.c */
int measure_yardstick(const struct row *row, int op);
int measure_snapshot(const struct row *row, int kind);
int measure_fault(const struct row *row, int kind);
int measure_fault_missing(const struct row *row, int page);
int measure_fault_zero(const struct row *row, int pmds);
int measure_to_device(const struct row *row, int kind);
int measure_to_ram(const struct row *row, int kind);
int measure_mprotect(const struct row *row, int notifiers);
int measure_hotplug(const struct row *row, int unused);
int measure_shootdown(const struct row *row, int kind);

/* driver.c */
int measure_driver_read(const struct row *row, int kind);
int measure_driver_to_device(const struct row *row, int kind);
int measure_driver_to_ram(const struct row *row, int kind);
int measure_driver_cpu_fault(const struct row *row, int kind);
int driver_select(const char *name);
int driver_toolbox(const struct row *row);

/* mirror.c */
enum mirror_fault { MIRROR_4K, MIRROR_AROUND, MIRROR_64K, MIRROR_2M };
enum mirror_prefetch {
	PREFETCH_4K, PREFETCH_THP, PREFETCH_HOLES_4K, PREFETCH_HOLES_THP
};

int measure_mirror_fault(const struct row *row, int size);
int measure_mirror_prefetch(const struct row *row, int what);
int measure_mirror_invalidate(const struct row *row, int pieces);
int measure_mirror_threads(const struct row *row, int shared);

/* devmem.c */
enum devmem_alloc { ALLOC_4K, ALLOC_BATCH, ALLOC_2M };
enum devmem_use {
	USE_2X_64K, USE_2X_64K_RANDOM, USE_4X_64K, USE_4X_64K_RANDOM,
	USE_2X_2M, USE_2X_2M_RANDOM, USE_4X_2M, USE_4X_2M_RANDOM
};

int measure_devmem_add(const struct row *row, int unused);
int measure_devmem_alloc(const struct row *row, int which);
int measure_devmem_fill(const struct row *row, int kind);
int measure_devmem_evict(const struct row *row, int kind);
int measure_devmem_copy(const struct row *row, int kind);
int measure_devmem_use(const struct row *row, int which);

/*
 * A driver under test.  Each operation works on one whole range and returns 0
 * or -1 with errno set; @contents is what it copied and cleared for each page.
 * @moved receives the number of pages migrated.
 */
struct driver_ops {
	const char *name;
	int toolbox;		/* uses the HMM toolbox */
	int (*open)(void);
	void (*close)(void);
	int (*read)(void *addr, size_t length);
	int (*to_device)(void *addr, size_t length, size_t *moved,
			 struct contents *contents);
	int (*to_ram)(void *addr, size_t length, size_t *moved,
		      struct contents *contents);
	/* what a CPU fault on a page in device memory copies and clears */
	struct contents cpu_fault;
};

extern const struct driver_ops driver_test_hmm;		/* driver_test_hmm.c */
extern const struct driver_ops driver_dmirror;		/* driver_dmirror.c */

#endif /* _BENCH_H */
