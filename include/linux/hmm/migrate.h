/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Migrate: move process memory to, from and between device memories.
 */
#ifndef _LINUX_HMM_MIGRATE_H
#define _LINUX_HMM_MIGRATE_H

struct hmm_devmem;
struct mm_struct;

/**
 * struct hmm_migrate_result - what became of each base page of a range
 * @moved: pages whose content now lies in the destination
 * @filled: pages that had no memory yet and got cleared device memory
 * @left: all other pages, the sum of the following
 * @already: pages that lie in the destination already; on the way to RAM: in RAM
 * @elsewhere: pages in the memory of another device, or for RAM of another owner;
 *	from device to device also pages in RAM
 * @absent: addresses without a mapping, guard pages, what was lost to memory
 *	errors; but on the way from RAM also what has no memory yet or is swapped out
 * @unsupported: file-backed, shared and hugetlbfs memory, and special mappings
 * @merged: pages merged by KSM
 * @busy: pages that somebody holds: pinned, locked, under writeback, on the move,
 *	in exclusive use by a device, or in the hands of userfaultfd
 * @no_room: pages for which device memory, a cgroup or RAM had no room
 * @failed: pages that the device failed to copy or to clear, or that are poisoned
 * @untried: pages not reached because of the error returned, or left by the policy
 *
 * @moved, @filled and @left add up to the length of the range in base pages.  Each
 * page is counted once, as what it was when the walk came by.
 */
struct hmm_migrate_result {
	unsigned long moved;
	unsigned long filled;
	unsigned long left;
	unsigned long already;
	unsigned long elsewhere;
	unsigned long absent;
	unsigned long unsupported;
	unsigned long merged;
	unsigned long busy;
	unsigned long no_room;
	unsigned long failed;
	unsigned long untried;
};

int hmm_migrate_to_device(struct hmm_devmem *devmem, struct mm_struct *mm,
			  unsigned long start, unsigned long end,
			  unsigned int evict_timeout_ms,
			  struct hmm_migrate_result *result);
int hmm_migrate_between(struct hmm_devmem *from, struct hmm_devmem *to,
			struct mm_struct *mm, unsigned long start,
			unsigned long end, unsigned int evict_timeout_ms,
			struct hmm_migrate_result *result);
int hmm_migrate_unasked(struct hmm_devmem *devmem, struct mm_struct *mm,
			unsigned long start, unsigned long end,
			unsigned int evict_timeout_ms,
			struct hmm_migrate_result *result);
int hmm_migrate_to_ram(struct mm_struct *mm, void *owner, unsigned long start,
		       unsigned long end, struct hmm_migrate_result *result);

#endif /* _LINUX_HMM_MIGRATE_H */
