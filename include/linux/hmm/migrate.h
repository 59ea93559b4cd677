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
 * @left: all other pages: already there or elsewhere, without a mapping,
 *	file-backed, pinned, busy, or not reached because of the error returned
 *
 * The three add up to the length of the range in base pages.
 */
struct hmm_migrate_result {
	unsigned long moved;
	unsigned long filled;
	unsigned long left;
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
