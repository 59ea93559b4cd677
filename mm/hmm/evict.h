/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What eviction needs for a destination that is not RAM.
 */
#ifndef _MM_HMM_EVICT_H
#define _MM_HMM_EVICT_H

#include "migrate.h"

/**
 * struct hmm_evict_target - another device memory to evict to
 * @devmem: it
 * @idx: for hmm_devmem_leave(), during a step
 * @huge: huge folio taken for the step, or NULL
 * @between: how it is copied
 * @nr_frames: small pages taken for the step
 * @nr_used: those among them that became destinations, the first ones
 * @frames: the small pages
 *
 * Folios in @huge and @frames are locked and nobody knows them.
 */
struct hmm_evict_target {
	struct hmm_devmem *devmem;
	int idx;
	struct folio *huge;
	struct hmm_between *between;
	unsigned int nr_frames;
	unsigned int nr_used;
	struct page *frames[];
};

int hmm_evict_target_enter(struct hmm_evict_target *target);
bool hmm_evict_target_grow(struct hmm_evict_target *target);
void hmm_evict_target_leave(struct hmm_evict_target *target);
struct folio *
hmm_evict_target_take_huge(struct hmm_evict_target *target,
			   struct hmm_devmem_evict_result *round, int *err);
bool hmm_evict_target_take(struct hmm_evict_target *target, unsigned long nr,
			   struct hmm_devmem_evict_result *round, int *err);
void hmm_evict_target_release(struct hmm_evict_target *target);
void hmm_evict_target_choose(struct hmm_evict_target *target,
			     struct hmm_migration *m, unsigned long nr);
void hmm_evict_target_book(struct hmm_evict_target *target,
			   struct hmm_migration *m, unsigned long nr);

#endif /* _MM_HMM_EVICT_H */
