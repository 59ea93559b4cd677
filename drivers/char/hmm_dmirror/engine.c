// SPDX-License-Identifier: GPL-2.0
/*
 * The engines of the HMM dummy device and its page faults.
 *
 * An engine takes a run from the device's queue and steps its program until it
 * ends, its time slice is over or it misses a page.  At a miss the run goes to
 * the fault queue of its address space and the engine takes another run.  Once
 * the toolbox has served the fault the run is queued again, and the access is
 * replayed.  It may miss again if the page was invalidated in between.
 */
#include <linux/kthread.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "hmm_dmirror.h"

#define DMIRROR_TIME_SLICE	256	/* steps */

void dmirror_run_put(struct dmirror_run *run)
{
	if (refcount_dec_and_test(&run->refs))
		kfree(run);
}

static void dmirror_run_finish(struct dmirror_run *run)
{
	struct dmirror_ctx *ctx = run->ctx;

	/*
	 * Before the ioctl returns, so that a close() right after it is the
	 * last.  Otherwise the file is closed already, and this may be a fault
	 * worker of ctx, which cannot wait for itself.
	 */
	if (refcount_dec_and_test(&ctx->refs))
		queue_work(dmirror_wq, &ctx->destroy_work);
	complete(&run->done);
	dmirror_run_put(run);
}

void dmirror_run_queue(struct dmirror_device *dev, struct dmirror_run *run)
{
	spin_lock(&dev->run_lock);
	list_add_tail(&run->link, &dev->runs);
	spin_unlock(&dev->run_lock);
	wake_up(&dev->run_wait);
}

static struct dmirror_run *dmirror_run_pop(struct dmirror_device *dev)
{
	struct dmirror_run *run;

	spin_lock(&dev->run_lock);
	run = list_first_entry_or_null(&dev->runs, struct dmirror_run, link);
	if (run)
		list_del(&run->link);
	spin_unlock(&dev->run_lock);
	return run;
}

static void dmirror_fault_queue(struct dmirror_run *run)
{
	struct dmirror_ctx *ctx = run->ctx;
	unsigned int idle;

	run->args.faults++;
	atomic64_inc(&ctx->faults);
	/* Once the lock is dropped, a worker may free both run and ctx. */
	spin_lock(&ctx->fault_lock);
	list_add_tail(&run->link, &ctx->fault_queue);
	idle = find_first_zero_bit(&ctx->busy_workers,
				   DMIRROR_MAX_FAULT_WORKERS);
	if (idle < DMIRROR_MAX_FAULT_WORKERS) {
		__set_bit(idle, &ctx->busy_workers);
		queue_work(dmirror_wq, &ctx->workers[idle].work);
	}
	spin_unlock(&ctx->fault_lock);
}

/* The next one, or NULL: then the worker is not busy any more. */
static struct dmirror_run *dmirror_fault_pop(struct dmirror_fault_worker *worker)
{
	struct dmirror_ctx *ctx = worker->ctx;
	struct dmirror_run *run;

	spin_lock(&ctx->fault_lock);
	run = list_first_entry_or_null(&ctx->fault_queue, struct dmirror_run,
				       link);
	if (run)
		list_del(&run->link);
	else
		__clear_bit(worker - ctx->workers, &ctx->busy_workers);
	spin_unlock(&ctx->fault_lock);
	return run;
}

static u32 dmirror_fault_status(int err)
{
	switch (err) {
	case -EFAULT:
	case -ERANGE:	/* outside the mirror */
	case -EINVAL:	/* its last page ends at the end of the address space */
	case -ESRCH:	/* the process is gone */
		return HMM_DMIRROR_STATUS_NO_ACCESS;
	case -EPERM:
		return HMM_DMIRROR_STATUS_READ_ONLY;
	case -ENOMEM:
		return HMM_DMIRROR_STATUS_NO_MEMORY;
	case -ETIME:
		return HMM_DMIRROR_STATUS_TIMEOUT;
	default:
		return HMM_DMIRROR_STATUS_DEVICE;
	}
}

/*
 * A page that is served and lost again before the access is replayed, over and
 * over, is a timeout, too.  The time counts from when it was served first to when
 * a replay succeeds.
 */
static bool dmirror_run_stuck(const struct dmirror_run *run)
{
	return run->stuck_page == run->miss_addr >> PAGE_SHIFT &&
	       time_after(jiffies, run->stuck_until);
}

static void dmirror_run_served(struct dmirror_run *run)
{
	u64 page = run->miss_addr >> PAGE_SHIFT;

	if (run->stuck_page == page)
		return;
	run->stuck_page = page;
	run->stuck_until = jiffies + msecs_to_jiffies(dmirror_fault_timeout_ms);
}

static int dmirror_fault_page(struct dmirror_ctx *ctx,
			      const struct dmirror_run *run)
{
	/* Not used if the device was removed: that ends the mirror first. */
	const struct hmm_mirror_move move = {
		.devmem = READ_ONCE(ctx->dev->devmem),
		.size = READ_ONCE(ctx->move_size),
		.evict_timeout_ms = READ_ONCE(ctx->move_room) ?
				    DMIRROR_ROOM_MS : 0,
	};

	if (!move.size)
		return hmm_mirror_fault(&ctx->mirror, run->miss_addr,
					run->miss_access);
	return hmm_mirror_fault_move(&ctx->mirror, run->miss_addr,
				     run->miss_access, &move);
}

/*
 * The CPU fault in here may take as long as userspace likes (userfaultfd).  The
 * work of another context does not wait for it, nor does a close of the file.
 */
static void dmirror_fault_serve(struct dmirror_ctx *ctx,
				struct dmirror_run *run)
{
	unsigned long nr;
	int err;

	if (READ_ONCE(run->cancelled)) {
		dmirror_run_finish(run);
		return;
	}
	if (dmirror_run_stuck(run))
		err = -ETIME;
	else if (run->miss_access & HMM_MIRROR_EXCLUSIVE)
		err = hmm_mirror_fault_exclusive(&ctx->mirror,
						 PAGE_ALIGN_DOWN(run->miss_addr),
						 PAGE_ALIGN(run->miss_addr + 1),
						 &nr);
	else
		err = dmirror_fault_page(ctx, run);
	if (err) {
		run->args.status = dmirror_fault_status(err);
		run->args.fault_addr = run->miss_addr;
		dmirror_run_finish(run);
		return;
	}
	dmirror_run_served(run);
	dmirror_run_queue(ctx->dev, run);
}

void dmirror_fault_work(struct work_struct *work)
{
	struct dmirror_fault_worker *worker =
		container_of(work, struct dmirror_fault_worker, work);
	struct dmirror_run *run;

	/*
	 * The last run may drop the last reference to the context in here: the
	 * work that then destroys it waits for this one.
	 */
	while ((run = dmirror_fault_pop(worker)))
		dmirror_fault_serve(worker->ctx, run);
}

static void dmirror_run_execute(struct dmirror_engine *engine,
				struct dmirror_run *run)
{
	unsigned int i;

	run->engine = engine;

	for (i = 0; i < DMIRROR_TIME_SLICE; i++) {
		if (READ_ONCE(run->cancelled)) {
			dmirror_run_finish(run);
			return;
		}
		switch (dmirror_program_step(run)) {
		case DMIRROR_STEP_DONE:
			dmirror_run_finish(run);
			return;
		case DMIRROR_STEP_FAULT:
			dmirror_fault_queue(run);
			return;
		case DMIRROR_STEP_MORE:
			cond_resched();
			break;
		}
	}
	dmirror_run_queue(engine->dev, run);
}

static int dmirror_engine_main(void *data)
{
	struct dmirror_engine *engine = data;
	struct dmirror_device *dev = engine->dev;
	struct dmirror_run *run;

	while (!kthread_should_stop()) {
		wait_event_idle_exclusive(dev->run_wait,
					  (run = dmirror_run_pop(dev)) ||
					  kthread_should_stop());
		if (run)
			dmirror_run_execute(engine, run);
	}
	return 0;
}

int dmirror_engines_start(struct dmirror_device *dev, unsigned int nr)
{
	struct dmirror_engine *engine;
	struct task_struct *thread;

	while (dev->nr_engines < nr) {
		engine = &dev->engines[dev->nr_engines];
		engine->dev = dev;
		spin_lock_init(&engine->lock);
		thread = kthread_run(dmirror_engine_main, engine, "%s/engine%u",
				     dev->name, dev->nr_engines);
		if (IS_ERR(thread))
			return PTR_ERR(thread);
		engine->thread = thread;
		dev->nr_engines++;
	}
	return 0;
}

/* Only when no context exists: then there is no run either. */
void dmirror_engines_stop(struct dmirror_device *dev)
{
	while (dev->nr_engines)
		kthread_stop(dev->engines[--dev->nr_engines].thread);
	WARN_ON_ONCE(!list_empty(&dev->runs));
}
