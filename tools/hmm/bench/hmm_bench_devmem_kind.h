/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of the measuring module for device memory share.
 */
#ifndef _HMM_BENCH_DEVMEM_KIND_H
#define _HMM_BENCH_DEVMEM_KIND_H

#include <linux/highmem.h>
#include <linux/hrtimer.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/string.h>

#include "hmm_bench_devmem.h"

struct bench_bare;
struct bench_devmem;
struct bench_slot;
struct hmm_devmem;

/* A piece of the working set of HMM_BENCH_DEVMEM_USE, and where it is. */
struct bench_piece {
	/* bare: its slot, if that has it still */
	struct bench_slot *slot;
	/* toolbox: its base pages in device memory are among [first, end) */
	unsigned long first;
	unsigned long end;
	unsigned long present;
};

/* One way to manage device memory. */
struct bench_devmem_kind {
	int (*attach)(struct bench_devmem *bd, u64 *ns);
	void (*detach)(struct bench_devmem *bd);
	/* the arguments are in bytes; @nr_pages: ULONG_MAX for all */
	int (*in)(struct bench_devmem *bd, unsigned long addr,
		  unsigned long length, bool compound);
	int (*evict)(struct bench_devmem *bd, unsigned long nr_pages);
	int (*use)(struct bench_devmem *bd, struct bench_piece *piece,
		   unsigned long addr, bool compound);
	void (*stats)(struct bench_devmem *bd, u64 *in, u64 *out);
	/*
	 * Take @nr_pages base pages, in any units: returns how many units are in
	 * @pages, which has room for single pages, or an errno.
	 */
	long (*alloc)(struct bench_devmem *bd, struct page **pages,
		      unsigned long nr_pages, unsigned int flags);
	void (*free)(struct bench_devmem *bd, struct page **pages, long nr);
};

/* Toolbox only: a copy engine that is done with a job when its time has passed. */
struct bench_engine {
	spinlock_t lock;		/* the rest */
	struct list_head jobs;
	struct hrtimer timer;		/* the end of the first one */
};

/* One open file. */
struct bench_devmem {
	struct mutex run_lock;		/* one operation at a time; the rest */
	const struct bench_devmem_kind *kind;	/* NULL: no device memory */
	unsigned long nr_pages;
	unsigned long piece_pages;
	void *storage;			/* NULL: none */
	u64 copy_ns;			/* for a base page; 0: the CPU copies */
	struct bench_piece *pieces;	/* NULL: not used piece by piece yet */

	struct bench_bare *bare;	/* bare only */

	/* toolbox only */
	struct hmm_devmem *devmem;
	struct bench_piece **piece_of;	/* whose base page of device memory it is */
	struct bench_piece *arriving;	/* the piece that moves in */
	struct bench_engine engine;
};

extern const struct bench_devmem_kind bench_devmem_bare;
extern const struct bench_devmem_kind bench_devmem_toolbox;

/* hmm_bench_devmem_alloc.c */
long bench_toolbox_alloc(struct bench_devmem *bd, struct page **pages,
			 unsigned long nr_pages, unsigned int flags);
void bench_toolbox_free(struct bench_devmem *bd, struct page **pages, long nr);

/* What the device does with base page @frame of its memory. */
static inline void bench_copy_in(struct bench_devmem *bd, unsigned long frame,
				 struct page *src)
{
	if (bd->storage)
		memcpy_from_page(bd->storage + (frame << PAGE_SHIFT), src, 0,
				 PAGE_SIZE);
}

static inline void bench_copy_out(struct bench_devmem *bd, unsigned long frame,
				  struct page *dst)
{
	if (bd->storage)
		memcpy_to_page(dst, 0, bd->storage + (frame << PAGE_SHIFT),
			       PAGE_SIZE);
}

static inline void bench_clear(struct bench_devmem *bd, unsigned long frame)
{
	if (bd->storage)
		memset(bd->storage + (frame << PAGE_SHIFT), 0, PAGE_SIZE);
}

#endif /* _HMM_BENCH_DEVMEM_KIND_H */
