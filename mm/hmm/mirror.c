// SPDX-License-Identifier: GPL-2.0
/*
 * Mirror of a process page table in a device page table.
 *
 * The mirrored range is cut at PMD_SIZE boundaries.  A piece that the device
 * has touched has an interval notifier and an update lock of its own, so that
 * an invalidation makes nobody retry but the faults on the same piece.
 */
#include <linux/export.h>
#include <linux/hmm.h>
#include <linux/hmm/devmem.h>
#include <linux/hmm/mirror.h>
#include <linux/jiffies.h>
#include <linux/mmap_lock.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "internal.h"

/* Entries handed to the driver at once; they live on the stack. */
#define HMM_MIRROR_ENTRIES	16

/**
 * struct hmm_mirror_notifier - one PMD_SIZE-aligned piece of a mirror
 * @sub: the core's notifier; covers the piece, clipped to the mirror
 * @mirror: the mirror
 * @update_lock: held while the device page table of the piece changes
 */
struct hmm_mirror_notifier {
	struct mmu_interval_notifier sub;
	struct hmm_mirror *mirror;
	struct mutex update_lock;	/* of the device page table */
};

static unsigned long notifier_start(const struct hmm_mirror_notifier *notifier)
{
	return notifier->sub.interval_tree.start;
}

static unsigned long notifier_end(const struct hmm_mirror_notifier *notifier)
{
	return notifier->sub.interval_tree.last + 1;
}

static bool hmm_mirror_invalidate(struct mmu_interval_notifier *sub,
				  const struct mmu_notifier_range *range,
				  unsigned long cur_seq)
{
	struct hmm_mirror_notifier *notifier =
		container_of(sub, struct hmm_mirror_notifier, sub);
	struct hmm_mirror *mirror = notifier->mirror;
	bool nonblock = !mmu_notifier_range_blockable(range);

	bool done;

	if (!nonblock)
		mutex_lock(&notifier->update_lock);
	else if (!mutex_trylock(&notifier->update_lock))
		return false;

	mmu_interval_set_seq(sub, cur_seq);
	/*
	 * Migrations of our own are not spared: while a page is copied the
	 * device must not write to it.
	 */
	done = mirror->desc.ops->invalidate(mirror,
					    max(range->start,
						notifier_start(notifier)),
					    min(range->end,
						notifier_end(notifier)),
					    nonblock);
	atomic64_inc(&mirror->invalidations);
	mutex_unlock(&notifier->update_lock);
	return done;
}

static const struct mmu_interval_notifier_ops hmm_mirror_notifier_ops = {
	.invalidate = hmm_mirror_invalidate,
};

/* Find or create the notifier for @addr.  The caller holds a reference to mm. */
static struct hmm_mirror_notifier *
hmm_mirror_get_notifier(struct hmm_mirror *mirror, unsigned long addr)
{
	unsigned long index = addr >> PMD_SHIFT;
	unsigned long start = max(addr & PMD_MASK, mirror->desc.start);
	unsigned long end = pmd_addr_end(addr, mirror->desc.end);
	struct hmm_mirror_notifier *notifier;
	int err;

	notifier = xa_load(&mirror->notifiers, index);
	if (notifier)
		return notifier;

	/* Two for one piece would have two update locks. */
	guard(mutex)(&mirror->create_lock);
	notifier = xa_load(&mirror->notifiers, index);
	if (notifier)
		return notifier;

	notifier = kzalloc_obj(*notifier, GFP_KERNEL);
	if (!notifier)
		return ERR_PTR(-ENOMEM);
	notifier->mirror = mirror;
	mutex_init(&notifier->update_lock);
	/* Memory reclaim invalidates: teach lockdep before it happens. */
	fs_reclaim_acquire(GFP_KERNEL);
	might_lock(&notifier->update_lock);
	fs_reclaim_release(GFP_KERNEL);

	err = xa_reserve(&mirror->notifiers, index, GFP_KERNEL);
	if (!err)
		err = mmu_interval_notifier_insert(&notifier->sub, mirror->mm,
						   start, end - start,
						   &hmm_mirror_notifier_ops);
	if (err) {
		xa_release(&mirror->notifiers, index);
		kfree(notifier);
		return ERR_PTR(err);
	}
	xa_store(&mirror->notifiers, index, notifier, GFP_KERNEL);
	return notifier;
}

/* Kind and rights of a valid entry; @wanted: the device writes to it now. */
static unsigned int hmm_mirror_entry_flags(unsigned long hmm_pfn, bool wanted)
{
	struct folio *folio = page_folio(hmm_pfn_to_page(hmm_pfn));
	unsigned int flags = 0;

	if (folio_is_device_private(folio))
		flags |= HMM_MIRROR_PRIVATE;
	/*
	 * A clean file page gets write access when the device writes, not
	 * before: it makes the page dirty.
	 */
	if ((hmm_pfn & HMM_PFN_WRITE) &&
	    (wanted || folio_test_anon(folio) || folio_test_dirty(folio)))
		flags |= HMM_MIRROR_WRITE;
	return flags;
}

/*
 * The device may write from now on.  Whoever cleans the page later invalidates
 * the range first, so this is the time to say that it is dirty; the CPU page
 * table may say clean.
 */
static void hmm_mirror_mark_dirty(unsigned long hmm_pfn)
{
	struct folio *folio = page_folio(hmm_pfn_to_page(hmm_pfn));

	if (!folio_test_dirty(folio))
		folio_mark_dirty(folio);
}

/* A fault on its way through the steps. */
struct hmm_mirror_walk {
	struct hmm_mirror *mirror;
	struct hmm_mirror_notifier *notifier;
	unsigned long addr;		/* page of the fault */
	bool write;
	unsigned long start;		/* what may be mapped, end exclusive */
	unsigned long end;
	unsigned long *pfns;		/* of [start, end) */
	struct hmm_mirror_entry entries[HMM_MIRROR_ENTRIES];
	unsigned int nr_entries;
};

static int hmm_mirror_flush_entries(struct hmm_mirror_walk *walk)
{
	struct hmm_mirror *mirror = walk->mirror;
	unsigned int i, nr = walk->nr_entries;
	u64 pages = 0;

	if (!nr)
		return 0;
	for (i = 0; i < nr; i++)
		pages += 1UL << walk->entries[i].order;
	atomic64_add(pages, &mirror->mapped_pages);
	walk->nr_entries = 0;
	return mirror->desc.ops->map(mirror, walk->entries, nr);
}

static int hmm_mirror_add_entry(struct hmm_mirror_walk *walk,
				unsigned long addr, unsigned long pfn,
				unsigned int order, unsigned int flags)
{
	walk->entries[walk->nr_entries++] = (struct hmm_mirror_entry){
		.addr = addr, .pfn = pfn, .order = order, .flags = flags };
	if (walk->nr_entries < HMM_MIRROR_ENTRIES)
		return 0;
	return hmm_mirror_flush_entries(walk);
}

/*
 * The largest order that the device knows, that address and frame are aligned
 * to and that does not exceed @nr pages.
 */
static unsigned int hmm_mirror_entry_order(const struct hmm_mirror *mirror,
					   unsigned long addr, unsigned long pfn,
					   unsigned long nr)
{
	unsigned long sizes = mirror->desc.page_sizes;
	unsigned long align = addr | (pfn << PAGE_SHIFT);

	sizes &= GENMASK(__fls(nr << PAGE_SHIFT), PAGE_SHIFT);
	if (align)
		sizes &= GENMASK(__ffs(align), 0);
	return __fls(sizes) - PAGE_SHIFT;
}

/* Cut a run of contiguous frames with the same rights into device entries. */
static int hmm_mirror_map_run(struct hmm_mirror_walk *walk, unsigned long addr,
			      unsigned long pfn, unsigned long nr,
			      unsigned int flags)
{
	while (nr) {
		unsigned int order = hmm_mirror_entry_order(walk->mirror, addr,
							    pfn, nr);
		int err;

		err = hmm_mirror_add_entry(walk, addr, pfn, order, flags);
		if (err)
			return err;
		addr += PAGE_SIZE << order;
		pfn += 1UL << order;
		nr -= 1UL << order;
	}
	return 0;
}

/* Map what @walk->pfns says, under the update lock and with the range valid. */
static int hmm_mirror_map_pages(struct hmm_mirror_walk *walk)
{
	unsigned long nr = (walk->end - walk->start) >> PAGE_SHIFT;
	unsigned long target = (walk->addr - walk->start) >> PAGE_SHIFT;
	unsigned long run = 0, run_pfn = 0, i;
	unsigned int run_flags = 0;
	int err;

	walk->nr_entries = 0;
	for (i = 0; i < nr; i++) {
		unsigned long hmm_pfn = walk->pfns[i];
		unsigned long pfn = hmm_pfn & ~HMM_PFN_FLAGS;
		bool valid = hmm_pfn & HMM_PFN_VALID;
		unsigned int flags = 0;

		if (valid) {
			flags = hmm_mirror_entry_flags(hmm_pfn, walk->write &&
						       i == target);
			if (flags & HMM_MIRROR_WRITE)
				hmm_mirror_mark_dirty(hmm_pfn);
		}
		if (valid && run && pfn == run_pfn + run && flags == run_flags) {
			run++;
			continue;
		}
		err = hmm_mirror_map_run(walk,
					 walk->start + ((i - run) << PAGE_SHIFT),
					 run_pfn, run, run_flags);
		if (err)
			return err;
		run = valid;
		run_pfn = pfn;
		run_flags = flags;
	}
	err = hmm_mirror_map_run(walk, walk->start + ((i - run) << PAGE_SHIFT),
				 run_pfn, run, run_flags);
	return err ? err : hmm_mirror_flush_entries(walk);
}

/* The CPU maps the whole piece as one page: one entry, no array. */
static int hmm_mirror_map_huge(struct hmm_mirror_walk *walk,
			       unsigned long hmm_pfn)
{
	unsigned long pfn = hmm_pfn & ~HMM_PFN_FLAGS;
	unsigned int flags = hmm_mirror_entry_flags(hmm_pfn, walk->write);

	if (flags & HMM_MIRROR_WRITE)
		hmm_mirror_mark_dirty(hmm_pfn);
	walk->nr_entries = 0;
	walk->start = walk->addr & PMD_MASK;
	walk->end = walk->start + PMD_SIZE;
	return hmm_mirror_map_run(walk, walk->start,
				  ALIGN_DOWN(pfn, HMM_PMD_PAGES), HMM_PMD_PAGES,
				  flags) ?: hmm_mirror_flush_entries(walk);
}

/* Map what the walk found, or nothing. */
static int hmm_mirror_map(struct hmm_mirror_walk *walk, unsigned long hmm_pfn,
			  bool huge)
{
	struct hmm_mirror *mirror = walk->mirror;
	int err;

	lockdep_assert_held(&walk->notifier->update_lock);

	if (huge)
		err = hmm_mirror_map_huge(walk, hmm_pfn);
	else
		err = hmm_mirror_map_pages(walk);
	if (err)
		mirror->desc.ops->invalidate(mirror, walk->start, walk->end,
					     false);
	return err;
}

static bool hmm_mirror_can_map_huge(const struct hmm_mirror_walk *walk,
				    unsigned long hmm_pfn)
{
	return hmm_pfn_to_map_order(hmm_pfn) >= PMD_SHIFT - PAGE_SHIFT &&
	       (walk->mirror->desc.page_sizes & PMD_SIZE) &&
	       notifier_end(walk->notifier) -
	       notifier_start(walk->notifier) == PMD_SIZE;
}

/*
 * Make the CPU page table map the faulting page with the right asked for, and
 * read its entry.  Sets *@seq to the sequence that the entry is valid for.
 */
static int hmm_mirror_fault_page(struct hmm_mirror_walk *walk,
				 unsigned long deadline, unsigned long *seq,
				 unsigned long *hmm_pfn)
{
	struct hmm_range range = {
		.notifier = &walk->notifier->sub,
		.start = walk->addr,
		.end = walk->addr + PAGE_SIZE,
		.hmm_pfns = hmm_pfn,
		.default_flags = HMM_PFN_REQ_FAULT |
				 (walk->write ? HMM_PFN_REQ_WRITE : 0),
		.dev_private_owner = walk->mirror->desc.owner,
	};
	int ret;

	for (;;) {
		unsigned long now = jiffies, timeout = 1;

		if (time_before(now, deadline))
			timeout = deadline - now;
		*hmm_pfn = 0;
		ret = hmm_range_fault_unlocked_timeout(&range, timeout);
		if (ret || !walk->write || (*hmm_pfn & HMM_PFN_WRITE) ||
		    !range.dev_private_owner)
			break;
		/*
		 * The walk takes a read-only private page of ours for good
		 * enough.  It is shared or write-protected, which only a CPU
		 * fault can resolve: ask as a stranger.
		 */
		range.dev_private_owner = NULL;
	}
	*seq = range.notifier_seq;
	return ret;
}

/* Read what the CPU maps around the faulting page, without faulting. */
static int hmm_mirror_snapshot_around(struct hmm_mirror_walk *walk,
				      unsigned long seq)
{
	struct mm_struct *mm = walk->mirror->mm;
	struct hmm_range range = {
		.notifier = &walk->notifier->sub,
		.notifier_seq = seq,
		.start = walk->start,
		.end = walk->end,
		.hmm_pfns = walk->pfns,
		.dev_private_owner = walk->mirror->desc.owner,
	};
	int ret;

	memset(walk->pfns, 0, ((walk->end - walk->start) >> PAGE_SHIFT) *
			      sizeof(*walk->pfns));
	ret = mmap_read_lock_killable(mm);
	if (ret)
		return ret;
	ret = hmm_range_fault(&range);
	mmap_read_unlock(mm);
	return ret;
}

static int hmm_mirror_resolve(struct hmm_mirror_walk *walk)
{
	struct hmm_mirror *mirror = walk->mirror;
	struct hmm_mirror_notifier *notifier = walk->notifier;
	unsigned long deadline = jiffies +
				 msecs_to_jiffies(mirror->desc.timeout_ms);
	unsigned long hmm_pfn, seq;
	bool huge;
	int ret;

	for (;;) {
		ret = hmm_mirror_fault_page(walk, deadline, &seq, &hmm_pfn);
		if (ret)
			break;

		huge = hmm_mirror_can_map_huge(walk, hmm_pfn);
		if (!huge && walk->end - walk->start > PAGE_SIZE)
			ret = hmm_mirror_snapshot_around(walk, seq);
		if (ret && ret != -EBUSY)
			break;
		if (!ret) {
			walk->pfns[(walk->addr - walk->start) >> PAGE_SHIFT] =
				hmm_pfn;

			mutex_lock(&notifier->update_lock);
			if (!mmu_interval_read_retry(&notifier->sub, seq)) {
				ret = hmm_mirror_map(walk, hmm_pfn, huge);
				mutex_unlock(&notifier->update_lock);
				return ret;
			}
			mutex_unlock(&notifier->update_lock);
		}

		atomic64_inc(&mirror->retries);
		if (time_after(jiffies, deadline))
			return -ETIME;
		cond_resched();
	}
	/* The core gave up on a range that kept changing. */
	return ret == -EBUSY ? -ETIME : ret;
}

/**
 * hmm_mirror_fault() - resolve a device page fault, start to end
 * @mirror: the mirror
 * @addr: the address that the device missed, in bytes; need not be aligned
 * @access: 0 to read, %HMM_MIRROR_WRITE to write
 *
 * Makes the CPU page table map the page, in RAM, in coherent device memory or in
 * private memory of the mirror's owner, and hands it to the map operation,
 * together with what the CPU page table maps around it.  Private memory of
 * other owners is brought to RAM.  A page that the device may write is marked
 * dirty before the map operation is called.  Follows hmm_range_fault() and
 * kvm_faultin_pfn().
 *
 * Context: process context of any thread, kernel threads included; may sleep
 * for as long as a CPU fault may; no lock held under which mmap_lock or memory
 * reclaim is ruled out.
 * Return: 0 if the page was mapped on the device, though it may be invalidated
 * again by now, or:
 * * -EFAULT - there is nothing at @addr that the process itself could read
 * * -EPERM - a write to an address that the process may only read
 * * -ERANGE - @addr lies outside the mirror
 * * -EINVAL - @access has unknown bits
 * * -ENOMEM - no memory for the page or for the mirror
 * * -ETIME - the range was invalidated again and again until the timeout
 * * -ESRCH - the process has exited
 * * -ESHUTDOWN - the mirror is being unregistered
 * * -EINTR - a fatal signal arrived
 * * what the prepare or the map operation returned
 */
int hmm_mirror_fault(struct hmm_mirror *mirror, unsigned long addr,
		     unsigned int access)
{
	const struct hmm_mirror_ops *ops = mirror->desc.ops;
	struct hmm_mirror_walk walk = {
		.mirror = mirror,
		.addr = addr & PAGE_MASK,
		.write = access & HMM_MIRROR_WRITE,
	};
	struct mm_struct *mm = mirror->mm;
	unsigned long around;
	int ret;

	if (access & ~HMM_MIRROR_WRITE)
		return -EINVAL;
	if (addr < mirror->desc.start || addr >= mirror->desc.end)
		return -ERANGE;
	if (!percpu_ref_tryget_live(&mirror->users))
		return -ESHUTDOWN;

	atomic64_inc(&mirror->faults);
	if (!mmget_not_zero(mm)) {
		percpu_ref_put(&mirror->users);
		return -ESRCH;
	}

	walk.notifier = hmm_mirror_get_notifier(mirror, addr);
	if (IS_ERR(walk.notifier)) {
		ret = PTR_ERR(walk.notifier);
		goto put_mm;
	}

	around = ALIGN_DOWN(walk.addr, mirror->desc.fault_around);
	walk.start = max(around, notifier_start(walk.notifier));
	walk.end = min(around + mirror->desc.fault_around,
		       notifier_end(walk.notifier));
	walk.pfns = kmalloc_array((walk.end - walk.start) >> PAGE_SHIFT,
				  sizeof(*walk.pfns), GFP_KERNEL);
	if (!walk.pfns) {
		ret = -ENOMEM;
		goto put_mm;
	}

	ret = 0;
	if (ops->prepare)
		ret = ops->prepare(mirror, notifier_start(walk.notifier),
				   notifier_end(walk.notifier));
	if (!ret)
		ret = hmm_mirror_resolve(&walk);
	kfree(walk.pfns);
put_mm:
	percpu_ref_put(&mirror->users);
	/* The last one ends the process's files, which may unregister us. */
	mmput(mm);
	return ret;
}
EXPORT_SYMBOL_GPL(hmm_mirror_fault);

static void hmm_mirror_idle(struct percpu_ref *users)
{
	complete(&container_of(users, struct hmm_mirror, users)->idle);
}

static bool hmm_mirror_desc_ok(const struct hmm_mirror_desc *desc)
{
	return desc->ops && desc->ops->map && desc->ops->invalidate &&
	       desc->start < desc->end && PAGE_ALIGNED(desc->start | desc->end) &&
	       desc->end <= TASK_SIZE_MAX &&
	       (desc->page_sizes & PAGE_SIZE) &&
	       !(desc->page_sizes & ~GENMASK(PMD_SHIFT, PAGE_SHIFT)) &&
	       is_power_of_2(desc->fault_around) &&
	       desc->fault_around >= PAGE_SIZE && desc->fault_around <= PMD_SIZE;
}

/**
 * hmm_mirror_register() - start to mirror a process address range
 * @mirror: the mirror, zeroed or unregistered before
 * @mm: the process's address space; the mirror keeps the struct, not the
 *	process
 * @desc: what to mirror and how; copied
 *
 * Nothing is mapped on the device yet: hmm_mirror_fault() does that.  A process
 * may have any number of mirrors.  A child does not inherit them.  When the
 * process exits all device mappings are invalidated; the mirror stays
 * registered.
 *
 * Context: process context, may sleep.
 * Return: 0, or:
 * * -EINVAL - @desc breaks a rule given with struct hmm_mirror_desc
 * * -ESRCH - the process has exited
 * * -EINTR - a signal is pending
 * * -ENOMEM - no memory
 */
int hmm_mirror_register(struct hmm_mirror *mirror, struct mm_struct *mm,
			const struct hmm_mirror_desc *desc)
{
	int err;

	if (!hmm_mirror_desc_ok(desc))
		return -EINVAL;
	if (!mmget_not_zero(mm))
		return -ESRCH;

	memset(mirror, 0, sizeof(*mirror));
	mirror->desc = *desc;
	if (!mirror->desc.timeout_ms)
		mirror->desc.timeout_ms = HMM_MIRROR_DEFAULT_TIMEOUT_MS;
	xa_init(&mirror->notifiers);
	mutex_init(&mirror->create_lock);
	init_completion(&mirror->idle);
	/* The first notifier of an mm minds signals: not in a device fault. */
	err = mmu_notifier_register(NULL, mm);
	if (!err)
		err = percpu_ref_init(&mirror->users, hmm_mirror_idle, 0,
				      GFP_KERNEL);
	if (!err) {
		mmgrab(mm);
		mirror->mm = mm;
	}
	mmput(mm);
	return err;
}
EXPORT_SYMBOL_GPL(hmm_mirror_register);

/**
 * hmm_mirror_unregister() - stop to mirror
 * @mirror: a registered mirror
 *
 * Waits for faults in flight and lets new ones fail, then invalidates all that
 * is mapped on the device.  When it returns no operation runs or will be
 * called.
 *
 * Context: process context, may sleep for as long as a CPU fault may; not from
 * an operation of the mirror, and no lock held that one of them takes.
 */
void hmm_mirror_unregister(struct hmm_mirror *mirror)
{
	struct hmm_mirror_notifier *notifier;
	unsigned long index;

	percpu_ref_kill(&mirror->users);
	wait_for_completion(&mirror->idle);

	xa_for_each(&mirror->notifiers, index, notifier) {
		mutex_lock(&notifier->update_lock);
		mirror->desc.ops->invalidate(mirror, notifier_start(notifier),
					     notifier_end(notifier), false);
		mutex_unlock(&notifier->update_lock);
		mmu_interval_notifier_remove(&notifier->sub);
		kfree(notifier);
	}
	xa_destroy(&mirror->notifiers);
	percpu_ref_exit(&mirror->users);
	mmdrop(mirror->mm);
	mirror->mm = NULL;
}
EXPORT_SYMBOL_GPL(hmm_mirror_unregister);

/**
 * hmm_mirror_get_stats() - read the counters
 * @mirror: a registered mirror
 * @stats: filled; the counters are not read at one instant
 *
 * Context: any.
 */
void hmm_mirror_get_stats(struct hmm_mirror *mirror,
			  struct hmm_mirror_stats *stats)
{
	stats->faults = atomic64_read(&mirror->faults);
	stats->retries = atomic64_read(&mirror->retries);
	stats->invalidations = atomic64_read(&mirror->invalidations);
	stats->mapped_pages = atomic64_read(&mirror->mapped_pages);
}
EXPORT_SYMBOL_GPL(hmm_mirror_get_stats);
