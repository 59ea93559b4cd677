// SPDX-License-Identifier: GPL-2.0
/*
 * Device memory: hotplug and removal.
 */
#include <linux/cgroup_dmem.h>
#include <linux/export.h>
#include <linux/ioport.h>
#include <linux/jiffies.h>
#include <linux/ktime.h>
#include <linux/lockdep.h>
#include <linux/memory_hotplug.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <kunit/visibility.h>

#include "lifecycle.h"

static struct workqueue_struct *hmm_devmem_wq;

/* Undo hmm_devmem_create() and what came after it but the unplug. */
static void hmm_devmem_free(struct hmm_devmem *devmem)
{
	dmem_cgroup_unregister_region(devmem->region);
	hmm_poison_release(devmem);
	hmm_block_destroy(devmem);
	hmm_devmem_destroy_pool(devmem);
	hmm_evict_free_spare(devmem);
	hmm_history_destroy(devmem);
	kvfree(devmem->blocks);
	if (devmem->res)
		release_mem_region(devmem->res->start,
				   resource_size(devmem->res));
	cleanup_srcu_struct(&devmem->srcu);
	kfree(devmem->desc.name);
	kfree(devmem);
}

static void hmm_devmem_unplug(struct hmm_devmem *devmem)
{
	hmm_debugfs_remove_devmem(devmem);
	memunmap_pages(&devmem->pgmap);
	hmm_poison_settle(devmem);
	hmm_life_check_unplugged(devmem);
	hmm_devmem_free(devmem);
	module_put(THIS_MODULE);
}

static void hmm_devmem_unplug_work(struct work_struct *work)
{
	hmm_devmem_unplug(container_of(work, struct hmm_devmem, unplug));
}

/* Pages are free again; any context. */
void hmm_devmem_put_pages(struct hmm_devmem *devmem, unsigned long nr)
{
	long refs = atomic_long_sub_return(nr, &devmem->refs);

	hmm_life_check_refs(devmem, refs);
	if (!refs)
		queue_work(hmm_devmem_wq, &devmem->unplug);
}

const struct dev_pagemap_ops hmm_devmem_pagemap_ops = {
	.folio_free	= hmm_devmem_folio_free,
	.folio_split	= hmm_devmem_folio_split,
	.migrate_to_ram	= hmm_migrate_cpu_fault,
	.memory_failure	= hmm_poison_pagemap_failure,
};

/**
 * hmm_devmem_enter() - keep a devmem in a usable state
 * @devmem: device memory
 * @worst: the last state that is good enough
 * @idx: for hmm_devmem_leave()
 *
 * While entered, hmm_devmem_remove() does not pass the state after @worst.
 * Context: may sleep.
 * Return: true if entered.
 */
bool hmm_devmem_enter(struct hmm_devmem *devmem, enum hmm_devmem_state worst,
		      int *idx)
{
	*idx = srcu_read_lock(&devmem->srcu);
	if (READ_ONCE(devmem->state) <= worst)
		return true;
	srcu_read_unlock(&devmem->srcu, *idx);
	return false;
}
EXPORT_SYMBOL_IF_KUNIT(hmm_devmem_enter);

void hmm_devmem_leave(struct hmm_devmem *devmem, int idx)
{
	srcu_read_unlock(&devmem->srcu, idx);
}
EXPORT_SYMBOL_IF_KUNIT(hmm_devmem_leave);

static void hmm_devmem_set_state(struct hmm_devmem *devmem,
				 enum hmm_devmem_state state)
{
	WRITE_ONCE(devmem->state, state);
	synchronize_srcu(&devmem->srcu);
}

static int hmm_devmem_check_desc(const struct hmm_devmem_desc *desc)
{
	if (!desc->ops || !desc->ops->copy || !desc->ops->clear ||
	    !desc->owner || !desc->name || !*desc->name ||
	    !desc->ops->get_block != !desc->ops->put_block)
		return -EINVAL;
	if (desc->nid != NUMA_NO_NODE &&
	    (desc->nid < 0 || desc->nid >= MAX_NUMNODES ||
	     !node_online(desc->nid)))
		return -EINVAL;
	if (desc->cpu_fault_around && !hmm_range_size_ok(desc->cpu_fault_around))
		return -EINVAL;
	return 0;
}

/* A devmem without memory yet. */
static struct hmm_devmem *hmm_devmem_create(const struct hmm_devmem_desc *desc)
{
	struct hmm_devmem *devmem;

	devmem = kzalloc_obj(*devmem, GFP_KERNEL);
	if (!devmem)
		return ERR_PTR(-ENOMEM);
	devmem->desc = *desc;
	/* The memory may outlive the driver. */
	devmem->desc.name = kstrdup(desc->name, GFP_KERNEL);
	if (!devmem->desc.name || init_srcu_struct(&devmem->srcu)) {
		kfree(devmem->desc.name);
		kfree(devmem);
		return ERR_PTR(-ENOMEM);
	}
	atomic_long_set(&devmem->refs, 1);
	INIT_WORK(&devmem->unplug, hmm_devmem_unplug_work);
	spin_lock_init(&devmem->lru_lock);
	INIT_LIST_HEAD(&devmem->lru);
	mutex_init(&devmem->spare_lock);
	return devmem;
}

/* A cgroup's limit was set below what it uses. */
static int hmm_devmem_reclaim(struct dmem_cgroup_pool_state *pool, u64 size,
			      void *priv)
{
	return hmm_evict_charged(priv, pool, size);
}

static const struct dmem_cgroup_ops hmm_devmem_dmem_ops = {
	.reclaim = hmm_devmem_reclaim,
};

/* Let the dmem controller know the memory, by the driver's name for it. */
static int hmm_devmem_register_region(struct hmm_devmem *devmem, u64 size)
{
	const struct dmem_cgroup_init init = {
		.size = size,
		.ops = &hmm_devmem_dmem_ops,
		.reclaim_priv = devmem,
	};
	struct dmem_cgroup_region *region;

	region = dmem_cgroup_register_region(&init, "hmm/%s",
					     devmem->desc.name);
	if (IS_ERR(region))
		return -ENOMEM;
	devmem->region = region;
	return 0;
}

/* Give struct pages to the first @size bytes of what @devmem has claimed. */
static int hmm_devmem_plug(struct hmm_devmem *devmem, u64 size,
			   enum memory_type type)
{
	phys_addr_t start = devmem->res->start;
	unsigned long nr_blocks = size / HMM_DEVMEM_BLOCK_SIZE, i;
	int nid = devmem->desc.nid;
	void *addr;

	if (hmm_devmem_init_pool(devmem, start, size) ||
	    hmm_block_init(devmem, size) ||
	    hmm_history_init(devmem, size) ||
	    hmm_evict_alloc_spare(devmem))
		return -ENOMEM;
	devmem->blocks = kvmalloc_objs(*devmem->blocks, nr_blocks, GFP_KERNEL);
	if (!devmem->blocks)
		return -ENOMEM;
	for (i = 0; i < nr_blocks; i++)
		devmem->blocks[i] = (struct hmm_devmem_block){
			.lru = LIST_HEAD_INIT(devmem->blocks[i].lru) };
	if (hmm_devmem_register_region(devmem, size))
		return -ENOMEM;

	devmem->pgmap.type = type;
	devmem->pgmap.ops = &hmm_devmem_pagemap_ops;
	devmem->pgmap.owner = devmem->desc.owner;
	devmem->pgmap.range.start = start;
	devmem->pgmap.range.end = start + size - 1;
	devmem->pgmap.nr_range = 1;

	addr = memremap_pages(&devmem->pgmap, nid);
	if (!IS_ERR(addr)) {
		__module_get(THIS_MODULE);
		hmm_debugfs_add_devmem(devmem);
		hmm_pm_add_devmem(devmem);
		return 0;
	}
	/* What is not want of memory is a range that the core refuses. */
	return PTR_ERR(addr) == -ENOMEM ? -ENOMEM : -ERANGE;
}

/**
 * hmm_devmem_add() - hotplug device memory that the CPU cannot address
 * @desc: the driver's side; copied
 * @size: bytes, a multiple of 2 MiB
 *
 * Pages in use are charged to the cgroup of the process that they belong to, or if
 * the kernel cannot do that (dmem_cgroup_try_charge_mm()), and in
 * hmm_devmem_evict_to(), to the caller's, in the dmem controller's region "hmm/" and
 * the name in @desc.
 *
 * Gives the memory struct pages at a free physical address range, which no
 * device decodes.  After "mm/hmm: heterogeneous memory management" v25,
 * hmm_devmem_add().
 *
 * Context: process context, may sleep, takes the memory hotplug lock.
 * Return: the device memory, or an ERR_PTR:
 * * -EINVAL - @size is 0 or misaligned, or @desc is incomplete or wrong
 * * -EOPNOTSUPP - the kernel lacks CONFIG_DEVICE_PRIVATE
 * * -ERANGE - no free physical address range of that size
 * * -ENOMEM - no memory for the struct pages
 */
struct hmm_devmem *hmm_devmem_add(const struct hmm_devmem_desc *desc, u64 size)
{
	struct hmm_devmem *devmem;
	struct resource *res;
	int err;

	err = hmm_devmem_check_desc(desc);
	if (err)
		return ERR_PTR(err);
	if (!size || !IS_ALIGNED(size, SUBSECTION_SIZE))
		return ERR_PTR(-EINVAL);
	if (!IS_ENABLED(CONFIG_DEVICE_PRIVATE))
		return ERR_PTR(-EOPNOTSUPP);
	if (size > BIT_ULL(MAX_PHYSMEM_BITS))
		return ERR_PTR(-ERANGE);

	devmem = hmm_devmem_create(desc);
	if (IS_ERR(devmem))
		return devmem;

	res = request_free_mem_region(&iomem_resource, size, devmem->desc.name);
	if (IS_ERR(res)) {
		err = PTR_ERR(res) == -ENOMEM ? -ENOMEM : -ERANGE;
	} else {
		devmem->res = res;
		err = hmm_devmem_plug(devmem, size, MEMORY_DEVICE_PRIVATE);
	}
	if (err) {
		hmm_devmem_free(devmem);
		return ERR_PTR(err);
	}
	return devmem;
}
EXPORT_SYMBOL_GPL(hmm_devmem_add);

/**
 * hmm_devmem_add_resource() - hotplug cache-coherent device memory (CDM)
 * @desc: the driver's side; copied
 * @res: physical range of the memory: a PCI BAR, a reserved or a
 *	specific-purpose (soft-reserved) region; its start and size are multiples of
 *	2 MiB.  Read, not kept; nobody may have claimed the range
 *	(request_mem_region()), the toolbox does
 *
 * After "mm/hmm: heterogeneous memory management" v25, "add new helper to
 * hotplug CDM memory region".
 *
 * Context: process context, may sleep, takes the memory hotplug lock.
 * Return: the device memory, or an ERR_PTR:
 * * -EINVAL - @res is empty or misaligned, or @desc is incomplete or wrong
 * * -EBUSY - part of the range is RAM or claimed by someone else
 * * -ERANGE - the range is beyond what the kernel can map
 * * -ENOMEM - no memory for the struct pages
 */
struct hmm_devmem *hmm_devmem_add_resource(const struct hmm_devmem_desc *desc,
					   const struct resource *res)
{
	struct hmm_devmem *devmem;
	u64 size;
	int err;

	err = hmm_devmem_check_desc(desc);
	if (err)
		return ERR_PTR(err);
	if (res->end < res->start)
		return ERR_PTR(-EINVAL);
	size = resource_size(res);
	if (!size || !IS_ALIGNED(res->start | size, SUBSECTION_SIZE))
		return ERR_PTR(-EINVAL);
	if (res->end >> MAX_PHYSMEM_BITS)
		return ERR_PTR(-ERANGE);
	if (region_intersects(res->start, size, IORESOURCE_SYSTEM_RAM,
			      IORES_DESC_NONE) != REGION_DISJOINT)
		return ERR_PTR(-EBUSY);

	devmem = hmm_devmem_create(desc);
	if (IS_ERR(devmem))
		return devmem;

	devmem->res = request_mem_region(res->start, size, devmem->desc.name);
	if (devmem->res)
		err = hmm_devmem_plug(devmem, size, MEMORY_DEVICE_COHERENT);
	else
		err = -EBUSY;
	if (err) {
		hmm_devmem_free(devmem);
		return ERR_PTR(err);
	}
	return devmem;
}
EXPORT_SYMBOL_GPL(hmm_devmem_add_resource);

/**
 * hmm_devmem_remove() - unplug device memory
 * @devmem: device memory; must not be used after the call
 * @timeout_ms: how long to try to bring pages back to RAM, in milliseconds
 * @result: out, what was brought back and why others were not; may be NULL
 *
 * Stops allocation, evicts all pages, detaches the driver and unplugs the
 * memory.  Cannot fail: when it returns no operation of the driver runs or will
 * be called.  Pages that could not be brought back in time are lost: an access to
 * one gives SIGBUS.  The memory is unplugged when nobody holds one of them.  On a
 * kernel without migrate_device_poison_markers, a patch of the series, CDM stays
 * mapped instead, and the memory is unplugged when processes have freed the last
 * page.  Unregister the mirrors of the same owner first.
 *
 * Blocks that the driver has lent go back to it by put_block before this returns: all
 * of them if no page is left, otherwise those in which none is.  A driver whose
 * pages were left behind drops for itself what it holds for the other blocks.
 *
 * Context: process context, may sleep, no lock held that a driver operation or
 * a page fault takes.  The caller sees to it that no other call with @devmem is in
 * progress; what comes by way of pages, as CPU faults, is no such call.  Waits beyond
 * @timeout_ms only for driver operations that run already and, while the system goes
 * to sleep, for the end of a step of that eviction, and a second at most to take
 * lost pages from processes.
 * Return:
 * * 0 - all pages were brought back, the memory is unplugged
 * * -EBUSY - pages were left behind; their content is lost
 */
int hmm_devmem_remove(struct hmm_devmem *devmem, unsigned int timeout_ms,
		      struct hmm_devmem_evict_result *result)
{
	struct hmm_evict_control control = {
		.nr_pages = ULONG_MAX,
		.before = U64_MAX,
		.worst = HMM_DEVMEM_DRAINING,
	};
	struct hmm_devmem_evict_result unwanted;
	unsigned long lost;

	if (!result)
		result = &unwanted;
	hmm_devmem_set_state(devmem, HMM_DEVMEM_DRAINING);
	hmm_pm_remove_devmem(devmem);
	control.deadline = jiffies + msecs_to_jiffies(timeout_ms);
	hmm_evict(devmem, &control, result);
	hmm_devmem_set_state(devmem, HMM_DEVMEM_DETACHED);
	/* The next device may have the same owner; what is left is not its. */
	WRITE_ONCE(devmem->pgmap.owner, devmem);
	lost = hmm_poison_lose(devmem);
	hmm_block_detach(devmem);

	/* So may its name; pages in use know what they are charged to. */
	dmem_cgroup_unregister_region(devmem->region);
	devmem->region = NULL;

	if (!atomic_long_dec_and_test(&devmem->refs))
		return -EBUSY;

	/* What stayed has gone since. */
	if (!lost)
		*result = (struct hmm_devmem_evict_result){
			.evicted = result->evicted };
	hmm_block_put_rest(devmem);
	hmm_devmem_unplug(devmem);
	return lost ? -EBUSY : 0;
}
EXPORT_SYMBOL_GPL(hmm_devmem_remove);

/**
 * hmm_devmem_private() - the driver's pointer
 * @devmem: device memory
 *
 * Context: any.
 * Return: &hmm_devmem_desc.private.
 */
void *hmm_devmem_private(const struct hmm_devmem *devmem)
{
	return devmem->desc.private;
}
EXPORT_SYMBOL_GPL(hmm_devmem_private);

/**
 * hmm_devmem_get_ops() - the driver's operations
 * @devmem: device memory
 *
 * By them a driver knows its own memory.
 *
 * Context: any.
 * Return: &hmm_devmem_desc.ops.
 */
const struct hmm_devmem_ops *hmm_devmem_get_ops(const struct hmm_devmem *devmem)
{
	return devmem->desc.ops;
}
EXPORT_SYMBOL_GPL(hmm_devmem_get_ops);

/**
 * hmm_devmem_from_folio() - the device memory that a folio lies in
 * @folio: any folio that cannot be freed during the call
 *
 * Context: any.
 * Return: the device memory, or NULL if the folio is not the toolbox's.
 */
struct hmm_devmem *hmm_devmem_from_folio(const struct folio *folio)
{
	return folio_to_devmem(folio);
}
EXPORT_SYMBOL_GPL(hmm_devmem_from_folio);

/**
 * hmm_devmem_from_pfn() - the device memory that a page frame lies in
 * @pfn: page frame number with a struct page that cannot be freed during the
 *	call, for example one in a &struct hmm_mirror_entry
 *
 * Context: any.
 * Return: the device memory, or NULL if the page is not the toolbox's.
 */
struct hmm_devmem *hmm_devmem_from_pfn(unsigned long pfn)
{
	return folio_to_devmem(page_folio(pfn_to_page(pfn)));
}
EXPORT_SYMBOL_GPL(hmm_devmem_from_pfn);

/**
 * hmm_devmem_offset() - where in the device memory a page frame lies
 * @devmem: device memory
 * @pfn: page frame number of a page in it
 *
 * Context: any.
 * Return: bytes from the start of the device memory.
 */
u64 hmm_devmem_offset(const struct hmm_devmem *devmem, unsigned long pfn)
{
	return PFN_PHYS(pfn) - devmem->pgmap.range.start;
}
EXPORT_SYMBOL_GPL(hmm_devmem_offset);

/**
 * hmm_devmem_get_stats() - read the counters
 * @devmem: device memory
 * @stats: filled; the counters are not read at one instant
 *
 * Context: any.
 */
void hmm_devmem_get_stats(struct hmm_devmem *devmem,
			  struct hmm_devmem_stats *stats)
{
	stats->total = hmm_devmem_nr_pages(devmem);
	stats->owned = hmm_block_nr_owned(devmem);
	stats->used = hmm_devmem_nr_used(devmem);
	stats->huge = atomic_long_read(&devmem->huge);
	stats->peak = atomic_long_read(&devmem->peak);
	stats->migrated_in = atomic64_read(&devmem->migrated_in);
	stats->migrated_out = atomic64_read(&devmem->migrated_out);
	stats->evicted = atomic64_read(&devmem->evicted);
	stats->failed = atomic64_read(&devmem->failed);
	stats->cpu_faults = atomic64_read(&devmem->cpu_faults);
	stats->busy_ns = atomic64_read(&devmem->busy_ns);
	stats->idle_ns = atomic64_read(&devmem->idle_ns);
	stats->poisoned = atomic_long_read(&devmem->nr_poisoned);
	stats->from_peers = atomic64_read(&devmem->from_peers);
	stats->through_ram = atomic64_read(&devmem->through_ram);
	stats->bounces = atomic64_read(&devmem->bounces);
	stats->suppressed = atomic64_read(&devmem->suppressed);
}
EXPORT_SYMBOL_GPL(hmm_devmem_get_stats);

/**
 * hmm_devmem_batch_done() - report the end of a copy or clear job
 * @batch: the job; must not be touched after the call
 * @status: 0, or a negative errno if any page may be wrong
 *
 * Context: any.
 */
void hmm_devmem_batch_done(struct hmm_devmem_batch *batch, int status)
{
	batch->status = status;
	batch->done_ns = ktime_get_ns();
	complete(&batch->done);
}
EXPORT_SYMBOL_GPL(hmm_devmem_batch_done);

#ifdef CONFIG_LOCKDEP
static struct lock_class_key hmm_devmem_job_key;
static struct lockdep_map hmm_devmem_job_map =
	STATIC_LOCKDEP_MAP_INIT("hmm_devmem_job", &hmm_devmem_job_key);
#endif

/**
 * hmm_devmem_job_begin() - a driver works on jobs from here on
 *
 * For a thread or worker of the driver that has batches to do: until
 * hmm_devmem_job_end() lockdep complains of what the toolbox, which waits for them
 * with mmap_lock and folio locks held, could not survive: taking a lock under which
 * mmap_lock, dma_resv or a folio lock is taken, allocating memory with a reclaiming
 * gfp mask, waiting for another job.  The operations themselves are watched like
 * that anyway.  May be nested.  Follows dma_fence_begin_signalling().
 *
 * Context: any.
 */
void hmm_devmem_job_begin(void)
{
	lock_map_acquire_read(&hmm_devmem_job_map);
}
EXPORT_SYMBOL_GPL(hmm_devmem_job_begin);

/**
 * hmm_devmem_job_end() - the end of what hmm_devmem_job_begin() began
 *
 * Context: that of hmm_devmem_job_begin().
 */
void hmm_devmem_job_end(void)
{
	lock_map_release(&hmm_devmem_job_map);
}
EXPORT_SYMBOL_GPL(hmm_devmem_job_end);

/* Tell lockdep that the caller is going to wait for a job. */
void hmm_devmem_job_wait(void)
{
	lock_map_acquire(&hmm_devmem_job_map);
	lock_map_release(&hmm_devmem_job_map);
}

/* All that wait for a job may be memory reclaim, or hold what it waits for. */
static void __init hmm_devmem_prime_lockdep(void)
{
	fs_reclaim_acquire(GFP_KERNEL);
	hmm_devmem_job_wait();
	fs_reclaim_release(GFP_KERNEL);
}

int __init hmm_devmem_init(void)
{
	hmm_devmem_prime_lockdep();
	hmm_devmem_wq = alloc_workqueue("hmm_devmem", WQ_UNBOUND, 0);
	return hmm_devmem_wq ? 0 : -ENOMEM;
}

void hmm_devmem_exit(void)
{
	/* An unplug that dropped the last module reference may still return. */
	destroy_workqueue(hmm_devmem_wq);
}
