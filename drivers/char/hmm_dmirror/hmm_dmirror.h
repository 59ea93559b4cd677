/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The HMM dummy device: internal interfaces.
 *
 * Lock order, outermost first:
 *
 *   dmirror_device.ctx_lock, dmirror_device.memory_lock (never both; that of a
 *   second device is only tried)
 *     dmirror_buffers.lock		(not while the toolbox reclaims blocks)
 *     mmap_lock, folio locks, fs_reclaim, mmu notifier	(mm)
 *       mirror update lock		(toolbox, around map and invalidate)
 *         dmirror_engine.lock		(an access in flight)
 *
 * The other locks are leaves, nothing but workqueue internals is taken under
 * them: dmirror_device.run_lock, dmirror_device.inject_lock,
 * dmirror_ctx.fault_lock, dmirror_copy_engine.lock.  No memory is allocated
 * under any lock of the driver but the first three.  Nothing waits for userspace
 * under memory_lock.
 *
 * Who holds what: an open file holds its dmirror_ctx, and so does each
 * dmirror_run until the device has let go of it, which can be later than the
 * file's release if a fatal signal ended the ioctl.  A dmirror_ctx holds the
 * module and its dmirror_device.  A device that is removed ends the mirrors of
 * its contexts, brings what is in its memory back to RAM and lets go of the
 * memory; what is left of it goes with the last context.
 */
#ifndef _HMM_DMIRROR_H
#define _HMM_DMIRROR_H

#include <linux/atomic.h>
#include <linux/completion.h>
#include <linux/hmm/devmem.h>
#include <linux/hmm/migrate.h>
#include <linux/hmm/mirror.h>
#include <linux/kref.h>
#include <linux/ktime.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/pgtable.h>
#include <linux/refcount.h>
#include <linux/rwsem.h>
#include <linux/sizes.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "hmm_dmirror_uapi.h"

#define DMIRROR_MAX_DEVICES		16
#define DMIRROR_MAX_ENGINES		8
#define DMIRROR_MAX_FAULT_WORKERS	8
#define DMIRROR_NR_INJECTIONS		(HMM_DMIRROR_INJECT_COPY_NO_MEMORY + 1)
#define DMIRROR_TLB_ENTRIES		16
/* Device memory starts and ends at multiples of this. */
#define DMIRROR_MEMORY_GRAIN		SZ_2M

#define DMIRROR_BINS			256
#define DMIRROR_COPY_CHUNK		1024
/* How long to evict memory for other memory, in milliseconds. */
#define DMIRROR_ROOM_MS			3000

/* Device page table: one range is a leaf table, as large as a CPU PMD. */
#define DMIRROR_RANGE_ORDER		(PMD_SHIFT - PAGE_SHIFT)
#define DMIRROR_RANGE_PAGES		BIT(DMIRROR_RANGE_ORDER)

/*
 * Device page-table entry: the page frame's address, DMA or physical, and these
 * bits.  The order is that of the leaf, which has an entry for each base page.
 */
#define DMIRROR_PTE_PRESENT		BIT_ULL(0)
#define DMIRROR_PTE_WRITE		BIT_ULL(1)
#define DMIRROR_PTE_PRIVATE		BIT_ULL(2)
#define DMIRROR_PTE_DMA			BIT_ULL(3)
#define DMIRROR_PTE_EXCLUSIVE		BIT_ULL(4)
#define DMIRROR_PTE_CDM			BIT_ULL(5)
#define DMIRROR_PTE_ORDER		GENMASK_ULL(9, 6)

/**
 * struct dmirror_copy_engine - copies and clears device memory, one job at a
 *	time, in a thread of its own
 * @thread: the engine; NULL if the device has no memory
 * @lock: protects @jobs
 * @jobs: batches accepted and not started
 * @wait: where the engine waits for jobs
 * @bytes_copied: since the module was loaded
 * @bytes_cleared: since the module was loaded
 */
struct dmirror_copy_engine {
	struct task_struct *thread;
	spinlock_t lock;		/* protects jobs */
	struct list_head jobs;
	wait_queue_head_t wait;
	atomic64_t bytes_copied;
	atomic64_t bytes_cleared;
};

/**
 * struct dmirror_buffers - the blocks of device memory that is shared with the
 *	toolbox, and the buffers there
 * @lock: protects all of this, and the buffers
 * @nr_blocks: blocks of DMIRROR_MEMORY_GRAIN that there are; 0 without
 * @nr_free: bits set in @free
 * @nr_lent: bits set in @lent
 * @free: a bit for each block that nobody has
 * @lent: a bit for each block that the toolbox has
 * @list: buffers of all contexts, the one that was used longest ago first
 * @last_id: number of the buffer that was created last
 * @gets: blocks lent
 * @puts: blocks that came back
 */
struct dmirror_buffers {
	struct mutex lock;		/* protects all */
	u32 nr_blocks;
	u32 nr_free;
	u32 nr_lent;
	unsigned long *free;
	unsigned long *lent;
	struct list_head list;
	u32 last_id;
	u64 gets;
	u64 puts;
};

/**
 * struct dmirror_injection - state of one kind of injection
 * @after: jobs that still succeed
 * @count: jobs that fail then
 * @value: argument
 */
struct dmirror_injection {
	u32 after;
	u32 count;
	u32 value;
};

/**
 * struct dmirror_tlb_entry - a translation that an engine remembers
 * @generation: &dmirror_ctx.tlb_generation when it was read; another one makes
 *	the entry invalid.  No two contexts ever have the same
 * @page: page number
 * @pte: device page-table entry
 */
struct dmirror_tlb_entry {
	u64 generation;
	u64 page;
	u64 pte;
};

/**
 * struct dmirror_engine - runs programs
 * @dev: the device
 * @thread: the engine
 * @lock: held during an access to memory: having had it is to know that no
 *	access is in flight
 * @tlb: by page number
 */
struct dmirror_engine {
	struct dmirror_device *dev;
	struct task_struct *thread;
	spinlock_t lock;		/* an access in flight; protects tlb */
	struct dmirror_tlb_entry tlb[DMIRROR_TLB_ENTRIES];
};

/**
 * struct dmirror_device - one /dev/hmm_dmirror<N>
 * @misc: the character device
 * @name: its name
 * @refs: its creator and each context
 * @ctx_lock: protects @contexts and @removed, and the end of their mirrors
 * @contexts: open address spaces
 * @removed: the hardware is gone
 * @dma_dev: the device that DMA addresses are for; NULL without
 * @memory: kind of device memory
 * @shared: the device allocates its memory itself, for buffers of its own, too
 * @phys: physical address of coherent device memory
 * @size: bytes of device memory
 * @storage: the private device memory itself
 * @memory_lock: held for reading by ioctls that use @devmem; once it was taken for
 *	writing, after @removed, none does
 * @devmem: device memory; NULL without and when it was removed
 * @gone: the hardware vanished: nothing can be copied any more
 * @buffers: what is in the memory, with @shared
 * @copy: the copy engine
 * @run_lock: protects @runs
 * @runs: programs that an engine can continue
 * @run_wait: where idle engines wait
 * @engines: the engine threads
 * @nr_engines: how many
 * @inject_lock: protects @inject and @open_files
 * @inject: indexed by &enum hmm_dmirror_injection
 * @open_files: open files, at the last close of which injections end
 */
struct dmirror_device {
	struct miscdevice misc;
	char name[16];
	struct kref refs;
	struct mutex ctx_lock;		/* protects contexts, removed */
	struct list_head contexts;
	bool removed;
	struct device *dma_dev;
	enum hmm_dmirror_memory memory;
	bool shared;
	u64 phys;
	u64 size;
	void *storage;
	struct rw_semaphore memory_lock;	/* keeps devmem */
	struct hmm_devmem *devmem;
	bool gone;
	struct dmirror_buffers buffers;
	struct dmirror_copy_engine copy;

	spinlock_t run_lock;		/* protects runs */
	struct list_head runs;
	wait_queue_head_t run_wait;
	struct dmirror_engine engines[DMIRROR_MAX_ENGINES];
	unsigned int nr_engines;

	spinlock_t inject_lock;		/* protects inject, open_files */
	struct dmirror_injection inject[DMIRROR_NR_INJECTIONS];
	unsigned int open_files;
};

/**
 * struct dmirror_range - leaf table of the device for one PMD_SIZE range
 * @large: entry for the whole range, or 0
 * @ptes: entries for single pages, all 0 if @large is set
 *
 * Changed under the mirror's update lock of the range, read by engines at any
 * time.
 */
struct dmirror_range {
	u64 large;
	u64 *ptes;
};

/**
 * struct dmirror_pgtable - a device page table
 * @root: the top directory
 * @levels: number of directory levels, the last one points to ranges
 * @end: first address beyond the table
 *
 * Directories and ranges are installed with cmpxchg and freed with the table.
 */
struct dmirror_pgtable {
	void **root;
	unsigned int levels;
	u64 end;
};

/**
 * struct dmirror_fault_worker - serves the fault queue of a context
 * @work: the work
 * @ctx: the context
 */
struct dmirror_fault_worker {
	struct work_struct work;
	struct dmirror_ctx *ctx;
};

/**
 * struct dmirror_ctx - an address space on the device, one for each open file
 * @dev: the device
 * @mm: the opener's address space, pinned with mmgrab()
 * @mirror: keeps @pgtable equal to @mm's page table
 * @pgtable: the device page table
 * @tlb_generation: what engines remember from before is invalid
 * @flushed: when the last TLB flush is complete
 * @link: entry in &dmirror_device.contexts
 * @mirrored: @mirror is registered
 * @refs: the file and each run
 * @faults: device page faults
 * @move_size: bytes to move to the device at a fault, 0: none
 * @move_room: evict other memory for that
 * @fault_lock: protects @fault_queue and @busy_workers
 * @fault_queue: runs stopped at a page fault
 * @busy_workers: a bit for each of @workers that looks at @fault_queue
 * @workers: serve @fault_queue; each address space has its own, so that none
 *	waits for another one's CPU faults
 * @destroy_work: tears the context down if the last reference is a run's
 */
struct dmirror_ctx {
	struct dmirror_device *dev;
	struct mm_struct *mm;
	struct hmm_mirror mirror;
	struct dmirror_pgtable pgtable;
	u64 tlb_generation;
	ktime_t flushed;
	struct list_head link;
	bool mirrored;
	refcount_t refs;
	atomic64_t faults;
	unsigned long move_size;
	bool move_room;

	spinlock_t fault_lock;		/* protects fault_queue, busy_workers */
	struct list_head fault_queue;
	unsigned long busy_workers;
	struct dmirror_fault_worker workers[DMIRROR_MAX_FAULT_WORKERS];
	struct work_struct destroy_work;
};

/**
 * struct dmirror_run - one run of a device program
 * @refs: one for the ioctl, one for the device
 * @ctx: the address space; referenced
 * @engine: the engine that runs it at the moment
 * @link: entry in the device's queue of runs or in the context's fault queue
 * @done: the program ended; @args can be read
 * @cancelled: nobody waits any more, stop at the next step
 * @args: operands and, once @done, results
 * @miss_addr: fault record: the address that the program missed
 * @miss_access: fault record: 0, HMM_MIRROR_WRITE or HMM_MIRROR_EXCLUSIVE
 * @stuck_page: page that was served and not accessed yet, U64_MAX for none
 * @stuck_until: when to give up if it is missed again and again, in jiffies
 * @pos: progress: bytes, words or items done
 * @pending: HISTOGRAM: bytes counted in @counts; COPY: bytes in @words
 * @bin: HISTOGRAM: next element of @counts to add
 * @node: CHASE: the current node, 0 for none
 * @word_read: CHASE: the node's word was added already
 * @in_word: WORD_COUNT: the last byte was a letter or digit
 * @counts: HISTOGRAM: counted, to be added to memory
 * @words: COPY: read, to be written to memory
 *
 * Programs keep all their state here: a page fault takes a run off its engine,
 * and any engine may replay the access later.
 */
struct dmirror_run {
	refcount_t refs;
	struct dmirror_ctx *ctx;
	struct dmirror_engine *engine;
	struct list_head link;
	struct completion done;
	bool cancelled;
	struct hmm_dmirror_run args;

	u64 miss_addr;
	unsigned int miss_access;
	u64 stuck_page;
	unsigned long stuck_until;

	u64 pos;
	u32 pending;
	u32 bin;
	u64 node;
	bool word_read;
	bool in_word;
	union {
		u32 counts[DMIRROR_BINS];
		u64 words[DMIRROR_COPY_CHUNK / sizeof(u64)];
	};
};

/**
 * struct dmirror_window - what a device access reaches, at most one page
 * @engine: engine locked for the access
 * @mapping: kmap_local_page() address, NULL for private device memory
 * @length: bytes that may be accessed
 */
struct dmirror_window {
	struct dmirror_engine *engine;
	void *mapping;
	u32 length;
};

/**
 * enum dmirror_step - what to do with a run after one step
 * @DMIRROR_STEP_MORE: step again
 * @DMIRROR_STEP_FAULT: serve the fault record, then step again
 * @DMIRROR_STEP_DONE: the program ended
 */
enum dmirror_step {
	DMIRROR_STEP_MORE,
	DMIRROR_STEP_FAULT,
	DMIRROR_STEP_DONE,
};

/* device.c */
extern unsigned int dmirror_fault_timeout_ms;
bool dmirror_inject(struct dmirror_device *dev, enum hmm_dmirror_injection what,
		    u32 *value);
int dmirror_memory_enter(struct dmirror_device *dev);
int dmirror_memory_enter_another(struct dmirror_device *dev);
void dmirror_memory_leave(struct dmirror_device *dev);
struct dmirror_device *dmirror_device_add(char *spec, struct device *dma_dev);
void dmirror_device_remove(struct dmirror_device *dev);
void dmirror_device_put(struct dmirror_device *dev);

/* file.c */
extern const struct file_operations dmirror_fops;
extern struct workqueue_struct *dmirror_wq;
void dmirror_allow_open(bool allow);
void dmirror_end_mirrors(struct dmirror_device *dev);

/* ioctl.c */
long dmirror_ioctl(struct file *file, unsigned int cmd, unsigned long arg);

/* pgtable.c */
#define DMIRROR_PAGE_SIZES		(PAGE_SIZE | SZ_64K | PMD_SIZE)
extern const struct hmm_mirror_ops dmirror_mirror_ops;
int dmirror_pgtable_init(struct dmirror_pgtable *pgtable, u64 end);
void dmirror_pgtable_free(struct dmirror_pgtable *pgtable);
u64 dmirror_pgtable_walk(const struct dmirror_pgtable *pgtable, u64 addr);
unsigned int dmirror_pgtable_snapshot(struct dmirror_ctx *ctx, u64 addr,
				      u8 *pages, unsigned int nr);

/* access.c */
u64 dmirror_tlb_new_generation(void);
void dmirror_flush_start(struct hmm_mirror *mirror, unsigned long start,
			 unsigned long end);
void dmirror_flush_wait(struct hmm_mirror *mirror, bool nonblock);
void *dmirror_window_open(struct dmirror_run *run, u64 addr, u64 length,
			  unsigned int access, struct dmirror_window *window);
void dmirror_window_close(struct dmirror_window *window);

/* engine.c */
int dmirror_engines_start(struct dmirror_device *dev, unsigned int nr);
void dmirror_engines_stop(struct dmirror_device *dev);
void dmirror_run_queue(struct dmirror_device *dev, struct dmirror_run *run);
void dmirror_run_put(struct dmirror_run *run);
void dmirror_fault_work(struct work_struct *work);

/* program.c */
bool dmirror_program_valid(const struct hmm_dmirror_run *args);
enum dmirror_step dmirror_program_step(struct dmirror_run *run);

/* pci.c */
#ifdef CONFIG_PCI
int dmirror_pci_register(void);
void dmirror_pci_unregister(void);
#else
static inline int dmirror_pci_register(void) { return 0; }
static inline void dmirror_pci_unregister(void) { }
#endif

/* copy_engine.c */
extern const struct hmm_devmem_ops dmirror_devmem_ops;
extern const struct hmm_devmem_ops dmirror_shared_devmem_ops;
int dmirror_copy_engine_start(struct dmirror_device *dev);
void dmirror_copy_engine_stop(struct dmirror_device *dev);

/* poison.c */
int dmirror_poison(struct dmirror_ctx *ctx, struct hmm_dmirror_poison *args);

/* buffer.c */
int dmirror_get_block(struct hmm_devmem *devmem, unsigned int timeout_ms,
		      u64 *offset);
void dmirror_put_block(struct hmm_devmem *devmem, u64 offset);
int dmirror_buffer(struct dmirror_ctx *ctx, struct hmm_dmirror_buffer *args,
		   unsigned int ms, bool last);
int dmirror_buffers_init(struct dmirror_device *dev);
int dmirror_buffers_save(struct dmirror_device *dev);
void dmirror_buffers_drop(struct dmirror_device *dev, bool all_back);
void dmirror_buffers_release(struct dmirror_ctx *ctx);

#endif /* _HMM_DMIRROR_H */
