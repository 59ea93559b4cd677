// SPDX-License-Identifier: GPL-2.0
/*
 * The device of the HMM sample driver, in software: page tables, memory with a copy
 * engine, and an engine that adds.
 */
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "device.h"

static u8 sample_memory[SAMPLE_MEMORY_SIZE];

void sample_space_init(struct sample_space *space)
{
	xa_init(&space->tables);
	spin_lock_init(&space->access);
}

void sample_space_destroy(struct sample_space *space)
{
	unsigned long index;
	u64 *table;

	xa_for_each(&space->tables, index, table)
		kfree(table);
	xa_destroy(&space->tables);
}

/* Have a page table for @addr, until the space is destroyed.  0 or -ENOMEM. */
int sample_space_alloc(struct sample_space *space, unsigned long addr)
{
	u64 *table;
	int err;

	if (sample_space_pte(space, addr))
		return 0;
	table = kcalloc(PTRS_PER_PTE, sizeof(*table), GFP_KERNEL_ACCOUNT);
	if (!table)
		return -ENOMEM;
	err = xa_insert(&space->tables, addr / PMD_SIZE, table, GFP_KERNEL_ACCOUNT);
	if (err)
		kfree(table);
	/* Another thread may have been faster. */
	return err == -EBUSY ? 0 : err;
}

/* The entry of @addr, followed by those up to the next PMD_SIZE; NULL: no table. */
u64 *sample_space_pte(struct sample_space *space, unsigned long addr)
{
	u64 *table = xa_load(&space->tables, addr / PMD_SIZE);

	return table ? table + addr % PMD_SIZE / PAGE_SIZE : NULL;
}

void sample_space_set(struct sample_space *space, unsigned long addr, u64 page,
		      bool write)
{
	u64 pte = page | SAMPLE_PTE_VALID | (write ? SAMPLE_PTE_WRITE : 0);

	/* After what the page contains: the device may use it at once. */
	smp_store_release(sample_space_pte(space, addr), pte);
}

/* Take entries away, within the same PMD_SIZE; an access may still use them. */
void sample_space_clear(struct sample_space *space, unsigned long start,
			unsigned long end)
{
	u64 *pte = sample_space_pte(space, start);
	u64 *last = sample_space_pte(space, end - 1);

	for (; pte && pte <= last; pte++)
		WRITE_ONCE(*pte, 0);
}

/* Without a TLB, an entry is used by the access in flight at most. */
void sample_space_flush(struct sample_space *space)
{
	spin_lock(&space->access);
	spin_unlock(&space->access);
}

static void *sample_bus(u64 address)
{
	if (address & SAMPLE_LOCAL)
		return sample_memory + (address & ~SAMPLE_LOCAL);
	return phys_to_virt(address);
}

void sample_device_copy(u64 dst, u64 src, size_t size)
{
	if (src == SAMPLE_ZEROES)
		memset(sample_bus(dst), 0, size);
	else
		memcpy(sample_bus(dst), sample_bus(src), size);
}

/* Work on the next part of a job, within a page.  False: page fault at its address. */
bool sample_device_add(struct sample_space *space, struct hmm_sample_add *add)
{
	u64 need = SAMPLE_PTE_VALID | (add->value ? SAMPLE_PTE_WRITE : 0);
	u64 addr = add->addr + add->done;
	u64 size = min(add->size - add->done, PAGE_SIZE - offset_in_page(addr));
	u64 *pte, entry, *word, value;

	guard(spinlock)(&space->access);
	pte = sample_space_pte(space, addr);
	/* Pairs with sample_space_set(). */
	entry = pte ? smp_load_acquire(pte) : 0;
	if ((entry & need) != need)
		return false;
	add->done += size;
	if (entry & SAMPLE_LOCAL)
		add->on_device += size;
	word = sample_bus((entry & PAGE_MASK) + offset_in_page(addr));
	for (; size; size -= sizeof(*word), word++) {
		value = READ_ONCE(*word) + add->value;
		if (add->value)
			WRITE_ONCE(*word, value);
		add->sum += value;
	}
	return true;
}
