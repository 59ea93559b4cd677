/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The device of the HMM sample driver: what would be hardware, and how it is programmed.
 *
 * A device address is a physical address of RAM or, with SAMPLE_LOCAL, an offset in the
 * memory of the device.
 */
#ifndef _HMM_SAMPLE_DEVICE_H
#define _HMM_SAMPLE_DEVICE_H

#include <linux/bits.h>
#include <linux/limits.h>
#include <linux/sizes.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/xarray.h>

#include "hmm_sample_uapi.h"

#define SAMPLE_MEMORY_SIZE	SZ_4M
#define SAMPLE_LOCAL		BIT_ULL(63)
#define SAMPLE_ZEROES		U64_MAX	/* to copy zeroes from */

/* A page-table entry is the device address of the page, and these. */
#define SAMPLE_PTE_VALID	BIT_ULL(0)
#define SAMPLE_PTE_WRITE	BIT_ULL(1)

/**
 * struct sample_space - an address space on the device
 * @tables: page tables of PTRS_PER_PTE entries, by address / PMD_SIZE
 * @access: lock
 */
struct sample_space {
	struct xarray tables;
	spinlock_t access;	/* held by the device during an access */
};

static inline bool sample_add_valid(const struct hmm_sample_add *add)
{
	return add->addr < add->addr + add->size && add->done <= add->size &&
	       !((add->addr | add->size | add->done) % sizeof(u64)) &&
	       !(add->flags & ~HMM_SAMPLE_TO_DEVICE);
}

void sample_space_init(struct sample_space *space);
void sample_space_destroy(struct sample_space *space);
int sample_space_alloc(struct sample_space *space, unsigned long addr);
u64 *sample_space_pte(struct sample_space *space, unsigned long addr);
void sample_space_set(struct sample_space *space, unsigned long addr, u64 page,
		      bool write);
void sample_space_clear(struct sample_space *space, unsigned long start,
			unsigned long end);
void sample_space_flush(struct sample_space *space);

void sample_device_copy(u64 dst, u64 src, size_t size);
bool sample_device_add(struct sample_space *space, struct hmm_sample_add *add);

#endif /* _HMM_SAMPLE_DEVICE_H */
