/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Devmem: hotplug device memory and manage its pages, for memory that the CPU
 * cannot address (private) and for cache-coherent memory (CDM) alike.
 */
#ifndef _LINUX_HMM_DEVMEM_H
#define _LINUX_HMM_DEVMEM_H

#include <linux/completion.h>
#include <linux/dma-direction.h>
#include <linux/types.h>

struct hmm_devmem;
struct folio;
struct mm_struct;
struct page;
struct resource;

/**
 * struct hmm_devmem_copy - one piece of memory to copy or to clear
 * @dst: the first page to fill
 * @src: the first page to copy from; NULL in a batch of the clear operation
 * @order: the piece has PAGE_SIZE << @order bytes, contiguous on both sides; 0, or
 *	the order of a PMD
 */
struct hmm_devmem_copy {
	struct page *dst;
	struct page *src;
	unsigned int order;
};

/**
 * struct hmm_devmem_batch - what the device copies or clears as one job
 * @direction: DMA_TO_DEVICE: every dst lies in this devmem and every src in
 *	RAM, or in the peer of the copy_peer operation; DMA_FROM_DEVICE: the other
 *	way round
 * @nr: number of entries in @pages
 * @pages: the pieces to work on
 * @link: for the driver, to queue the batch; undefined at first
 *
 * Lives in the caller of the operation until hmm_devmem_batch_done().
 */
struct hmm_devmem_batch {
	enum dma_data_direction direction;
	unsigned int nr;
	struct hmm_devmem_copy *pages;
	struct list_head link;
	/* private: */
	struct completion done;
	u64 started_ns;
	u64 done_ns;
	int status;
};

void hmm_devmem_batch_done(struct hmm_devmem_batch *batch, int status);
void hmm_devmem_job_begin(void);
void hmm_devmem_job_end(void);

/**
 * struct hmm_migrate_history - what is known of memory that could move to the device
 * @mm: the process
 * @start: first byte of what could move, within 2 MiB
 * @end: exclusive
 * @bounces: times in a row that a CPU took memory of these 2 MiB back sooner than
 *	&hmm_devmem_desc.residency_ms after it had moved in
 * @ram_ms: when a CPU took some of it back last, milliseconds ago; UINT_MAX:
 *	never, or not known any more
 */
struct hmm_migrate_history {
	struct mm_struct *mm;
	unsigned long start;
	unsigned long end;
	unsigned int bounces;
	unsigned int ram_ms;
};

/**
 * struct hmm_devmem_ops - what a driver supplies to manage device memory
 *
 * The first three operations are asynchronous: they start the work and return, and
 * whoever finishes it calls hmm_devmem_batch_done(), exactly once, from any
 * context.  A driver that works synchronously calls it before it returns.
 * After 0 the batch must be done within bounded time, whatever userspace does
 * (the rule of struct dma_fence).
 *
 * Context: called with mmap_lock and the folio locks of source and destination
 * held.  May sleep; must not take a lock under which mmap_lock, dma_resv or a
 * folio lock is taken, nor allocate memory with a reclaiming gfp mask.
 * Return: 0 if the batch was started, or a negative errno if nothing was, in
 * which case hmm_devmem_batch_done() must not be called.  -ENOMEM, here and as
 * the status of a batch, stands for want of memory: a huge page of a range that is
 * migrated is then tried again in small pages, once; what a CPU waits for or an
 * eviction wants, page by page and again later.  The toolbox takes every other errno
 * for a device that fails.
 */
struct hmm_devmem_ops {
	/** @copy: copy each src to its dst. */
	int (*copy)(struct hmm_devmem *devmem, struct hmm_devmem_batch *batch);
	/** @clear: fill each dst, which lies in @devmem, with zeroes. */
	int (*clear)(struct hmm_devmem *devmem, struct hmm_devmem_batch *batch);
	/**
	 * @copy_peer: optional.  Copy each src to its dst, one in @devmem and the other
	 * in @peer: memory of any kind, of this driver (hmm_devmem_get_ops()) or another
	 * one, which is not removed before the batch is done.  The driver of the
	 * destination is asked first, then that of the source.
	 *
	 * Return: also -EOPNOTSUPP if the device does not reach @peer, now or ever: if
	 * neither does the pages go through RAM, by the copy operation of each.
	 */
	int (*copy_peer)(struct hmm_devmem *devmem, struct hmm_devmem *peer,
			 struct hmm_devmem_batch *batch);
	/**
	 * @may_evict: optional.  May the pages among @size bytes from @offset
	 * leave, to make room or because the driver evicts?  Not asked when the memory is
	 * removed or about to lose power.
	 *
	 * Context: process context, no lock of the toolbox or of mm held; may
	 * sleep; must not wait for hmm_devmem_remove() or a sleep state.
	 * Return: false to keep them.
	 */
	bool (*may_evict)(struct hmm_devmem *devmem, u64 offset, u64 size);
	/**
	 * @get_block: optional, with @put_block.  For a driver that allocates the
	 * memory itself, for buffers of its own, too: lend one more block of 2 MiB.
	 * The toolbox then has no block at first, and asks for one each time there
	 * is no frame for a page that is to move in, before it evicts pages.
	 *
	 * The driver may evict buffers of its own for at most @timeout_ms
	 * milliseconds; 0: it evicts none.  It keeps the device awake as long as the
	 * block is lent: here is the place for pm_runtime_resume_and_get().  Sets
	 * *@offset to the first byte of the block, from the start of the memory.  It
	 * does not matter what the block contains.
	 *
	 * Context: process context, no lock of the toolbox or of mm held, but those
	 * that the caller of hmm_migrate_to_device() holds; may sleep; must not wait
	 * for hmm_devmem_remove() or a sleep state.
	 * Return: 0, or a negative errno if the driver lends none.
	 */
	int (*get_block)(struct hmm_devmem *devmem, unsigned int timeout_ms,
			 u64 *offset);
	/**
	 * @put_block: with @get_block: take back the block at @offset bytes.  No page
	 * lies in it any more, but what processes had there does: it has to be
	 * cleared before somebody else sees it.  Here is the place for
	 * pm_runtime_put_autosuspend().
	 *
	 * Context: process context, no lock of the toolbox or of mm held; may sleep;
	 * must not wait for hmm_devmem_remove() or a sleep state.  Called by a worker
	 * about half a second after the block became free, before tasks are frozen
	 * for a sleep state, and in hmm_devmem_reclaim_blocks() and
	 * hmm_devmem_remove(): it must neither call these nor take a lock of the
	 * driver under which they are called.
	 */
	void (*put_block)(struct hmm_devmem *devmem, u64 offset);
	/**
	 * @may_migrate: optional, the driver's own policy for moves that nobody
	 * asked for, hmm_migrate_unasked() and hmm_mirror_fault_move().  Without,
	 * memory that bounces stays in RAM until &hmm_devmem_desc.residency_ms after
	 * a CPU took some of it back.
	 *
	 * Context: process context, no lock of the toolbox or of mm held, but those
	 * that the caller of the two holds; may sleep; must not wait for
	 * hmm_devmem_remove() or a sleep state.
	 * Return: false to leave the memory in RAM.
	 */
	bool (*may_migrate)(struct hmm_devmem *devmem,
			    const struct hmm_migrate_history *history);
};

/**
 * struct hmm_devmem_desc - describes device memory to hmm_devmem_add()
 * @ops: driver operations; not called any more once hmm_devmem_remove()
 *	has returned
 * @owner: tag that says which device reaches this memory by itself, usually
 *	the driver's device object.  Several devmems may share one.  Compared,
 *	never dereferenced
 * @private: for the driver, see hmm_devmem_private()
 * @name: shown in /proc/iomem, and the name of the region of the dmem cgroup
 *	controller, after "hmm/"; not empty; copied
 * @nid: online NUMA node near the device, or NUMA_NO_NODE
 * @loses_power: the memory forgets what it holds when the system is suspended; when
 *	it hibernates all memory does.  All pages are brought back to RAM before
 *	tasks are frozen, or the transition is aborted; until tasks run again
 *	hmm_migrate_to_device() moves nothing in and returns -EAGAIN
 * @cpu_fault_around: the most that a CPU fault on a private page brings back, in
 *	bytes, a power of two from PAGE_SIZE to PMD_SIZE; 0: PMD_SIZE.  A huge page
 *	comes back as one all the same
 * @residency_ms: how long memory that moved in should stay, in milliseconds; 0: 100.
 *	What a CPU takes back sooner bounces, see may_migrate
 */
struct hmm_devmem_desc {
	const struct hmm_devmem_ops *ops;
	void *owner;
	void *private;
	const char *name;
	int nid;
	bool loses_power;
	unsigned long cpu_fault_around;
	unsigned int residency_ms;
};

/**
 * struct hmm_devmem_stats - state and counters of one devmem
 * @total: size, in base pages
 * @owned: those among them in blocks that the driver has lent (get_block), or all
 * @used: base pages in use now
 * @huge: those among them in huge folios, of PMD order; the others are single
 * @peak: the most that @used has been
 * @migrated_in: base pages moved in from RAM or from another devmem, or filled
 * @migrated_out: base pages that left for RAM or for another devmem, for any reason
 * @evicted: those among them that were evicted, at the driver's request, to make
 *	room, for the removal or for a sleep state
 * @failed: base pages that the device failed to copy or to clear, each time
 * @cpu_faults: CPU faults on private pages of this devmem
 * @busy_ns: nanoseconds from the beginning of each copy or clear job to its end, added
 *	up; jobs may overlap
 * @idle_ns: nanoseconds that the device was without a job between two jobs of the same
 *	hmm_migrate_to_device(), hmm_migrate_to_ram() or, if it copies from or to its
 *	peer, hmm_migrate_between(), added up
 * @poisoned: base pages that are not used again, see hmm_devmem_memory_failure();
 *	among @total, and among @used as long as they are in use
 * @from_peers: base pages that one of the devices copied from another devmem
 * @through_ram: base pages that were copied from another devmem by way of RAM
 * @bounces: times that a CPU took private memory back sooner than
 *	&hmm_devmem_desc.residency_ms after it had moved in
 * @suppressed: moves, of 2 MiB at most, that nobody asked for and that the policy
 *	forbade
 */
struct hmm_devmem_stats {
	u64 total;
	u64 owned;
	u64 used;
	u64 huge;
	u64 peak;
	u64 migrated_in;
	u64 migrated_out;
	u64 evicted;
	u64 failed;
	u64 cpu_faults;
	u64 busy_ns;
	u64 idle_ns;
	u64 poisoned;
	u64 from_peers;
	u64 through_ram;
	u64 bounces;
	u64 suppressed;
};

/**
 * struct hmm_devmem_performance - how the nearest initiator accesses the memory
 * @read_latency: nanoseconds
 * @write_latency: nanoseconds
 * @read_bandwidth: MB/s
 * @write_bandwidth: MB/s
 *
 * 0 stands for what firmware does not report.
 */
struct hmm_devmem_performance {
	unsigned int read_latency;
	unsigned int write_latency;
	unsigned int read_bandwidth;
	unsigned int write_bandwidth;
};

/**
 * struct hmm_devmem_evict_result - what an eviction did, in base pages
 * @evicted: brought back to RAM, or to the target
 * @kept: stayed because the may_evict operation said so
 * @busy: stayed because somebody holds them or they are on the move
 * @no_ram: stayed because RAM ran out
 * @no_room: stayed because the target has no room, see hmm_devmem_evict_to()
 * @failed: stayed because the device failed to copy them, or because they are
 *	poisoned and in use
 * @untried: stayed because the eviction ended before it came to them in its last
 *	round
 *
 * Pages that stayed are counted as they were found in the last round over the
 * memory; 0 if the eviction returned 0, but for poisoned ones.
 */
struct hmm_devmem_evict_result {
	unsigned long evicted;
	unsigned long kept;
	unsigned long busy;
	unsigned long no_ram;
	unsigned long no_room;
	unsigned long failed;
	unsigned long untried;
};

struct hmm_devmem *hmm_devmem_add(const struct hmm_devmem_desc *desc, u64 size);
struct hmm_devmem *hmm_devmem_add_resource(const struct hmm_devmem_desc *desc,
					   const struct resource *res);
int hmm_devmem_remove(struct hmm_devmem *devmem, unsigned int timeout_ms,
		      struct hmm_devmem_evict_result *result);
int hmm_devmem_evict(struct hmm_devmem *devmem, unsigned long nr_pages,
		     unsigned int timeout_ms,
		     struct hmm_devmem_evict_result *result);
int hmm_devmem_evict_range(struct hmm_devmem *devmem, u64 offset, u64 size,
			   unsigned int timeout_ms,
			   struct hmm_devmem_evict_result *result);
int hmm_devmem_evict_to(struct hmm_devmem *devmem, struct hmm_devmem *target,
			unsigned long nr_pages, unsigned int timeout_ms,
			struct hmm_devmem_evict_result *result);
int hmm_devmem_reclaim_blocks(struct hmm_devmem *devmem, unsigned long nr_blocks,
			      unsigned int timeout_ms, unsigned long *reclaimed);
int hmm_devmem_memory_failure(struct hmm_devmem *devmem, u64 offset, u64 size);
void hmm_devmem_touch(struct hmm_devmem *devmem, unsigned long pfn,
		      unsigned long nr_pages);

void *hmm_devmem_private(const struct hmm_devmem *devmem);
const struct hmm_devmem_ops *hmm_devmem_get_ops(const struct hmm_devmem *devmem);
struct hmm_devmem *hmm_devmem_from_folio(const struct folio *folio) __pure;
struct hmm_devmem *hmm_devmem_from_pfn(unsigned long pfn) __pure;
u64 hmm_devmem_offset(const struct hmm_devmem *devmem, unsigned long pfn);
void hmm_devmem_get_stats(struct hmm_devmem *devmem,
			  struct hmm_devmem_stats *stats);

int hmm_devmem_get_node(const struct hmm_devmem *devmem);
int hmm_devmem_get_performance(const struct hmm_devmem *devmem,
			       struct hmm_devmem_performance *perf);

#endif /* _LINUX_HMM_DEVMEM_H */
