// SPDX-License-Identifier: GPL-2.0
/*
 * Eviction of device memory: by page frame, whoever maps it, without mmap_lock.
 */
#include <linux/jiffies.h>
#include <linux/migrate.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "internal.h"

/* One step of eviction: the page frames in @m->src, whoever maps them. */
static unsigned long hmm_migrate_evict_step(struct hmm_migration *m,
					    unsigned long nr, int *err)
{
	unsigned long moved;
	int ret;

	memset(m->dst, 0, nr * sizeof(*m->dst));
	migrate_device_pfns(m->src, nr);

	*err = hmm_migrate_choose_ram(m, nr, NULL);
	ret = hmm_migrate_fill_ram(m, nr);
	if (ret)
		*err = ret;

	migrate_device_pages(m->src, m->dst, nr);
	moved = hmm_migrate_book_ram(m, nr);
	migrate_device_finalize(m->src, m->dst, nr);
	return moved;
}

/* Is it time to give up?  A devmem that is being removed minds no signal. */
static bool hmm_evict_expired(unsigned long deadline, bool removing)
{
	return time_after(jiffies, deadline) ||
	       (!removing && fatal_signal_pending(current));
}

/* Evict the @nr pages in @m->reserved. */
static unsigned long hmm_migrate_evict_pages(struct hmm_migration *m,
					     unsigned long nr,
					     unsigned long deadline,
					     bool removing, int *err)
{
	unsigned long moved, i;

	for (i = 0; i < nr; i++)
		m->src[i] = page_to_pfn(m->reserved[i]);
	moved = hmm_migrate_evict_step(m, nr, err);
	if (*err != -EIO || nr == 1)
		return moved;

	/* One bad page must not keep the others. */
	for (i = 0; i < nr && *err != -ENOMEM; i++) {
		if (hmm_evict_expired(deadline, removing))
			break;
		m->src[0] = page_to_pfn(m->reserved[i]);
		moved += hmm_migrate_evict_step(m, 1, err);
	}
	return moved;
}

/*
 * Evict @nr_pages, beginning where the last eviction ended.  Goes round until
 * enough is evicted, nothing is in use, the time is over or the devmem leaves
 * the state @worst.  A devmem that is being removed does not give up early.
 */
unsigned long hmm_migrate_evict(struct hmm_devmem *devmem,
				unsigned long nr_pages, unsigned long deadline,
				enum hmm_devmem_state worst)
{
	unsigned long total = hmm_devmem_nr_pages(devmem);
	unsigned long base = PHYS_PFN(devmem->pgmap.range.start);
	bool removing = worst != HMM_DEVMEM_LIVE;
	unsigned long evicted = 0, round_evicted = 0;
	struct hmm_migration *m;
	int idx;

	m = hmm_migration_alloc(HMM_PMD_PAGES);
	if (!m)
		m = hmm_migration_alloc(1);
	if (!m)
		return 0;

	while (evicted < nr_pages && atomic_long_read(&devmem->refs) > 1) {
		unsigned long index = READ_ONCE(devmem->evict_cursor);
		unsigned long wanted = min(m->max, nr_pages - evicted);
		unsigned long nr = 0, moved = 0;
		int err = 0;

		if (!hmm_devmem_enter(devmem, worst, &idx))
			break;
		while (nr < wanted) {
			index = find_next_bit(devmem->resident, total, index);
			if (index >= total)
				break;
			m->reserved[nr++] = pfn_to_page(base + index++);
		}
		if (nr)
			moved = hmm_migrate_evict_pages(m, nr, deadline,
							removing, &err);
		hmm_devmem_leave(devmem, idx);

		evicted += moved;
		round_evicted += moved;
		WRITE_ONCE(devmem->evict_cursor, index < total ? index : 0);
		if (hmm_evict_expired(deadline, removing) ||
		    (!removing && err == -ENOMEM))
			break;

		if (index >= total) {
			/* Whoever holds what is left needs time to let go. */
			if (!round_evicted)
				schedule_timeout_uninterruptible(1);
			round_evicted = 0;
		}
		cond_resched();
	}
	kvfree(m);
	return evicted;
}
