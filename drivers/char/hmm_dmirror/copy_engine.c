// SPDX-License-Identifier: GPL-2.0
/*
 * The copy engine of the HMM dummy device: takes jobs from the toolbox and
 * completes them later, from its own thread.
 */
#include <linux/highmem.h>
#include <linux/kthread.h>
#include <linux/memremap.h>
#include <linux/sched.h>
#include <linux/string.h>

#include "hmm_dmirror.h"

/**
 * struct dmirror_copy_side - where the CPU finds the destinations, or the sources, of a
 *	job, which lie in the private memory of one device, or in none
 * @storage: what stands for that memory: the job's device's or a peer's; NULL: none
 * @first_pfn: page frame number of its first page
 */
struct dmirror_copy_side {
	void *storage;
	unsigned long first_pfn;
};

static struct dmirror_copy_side dmirror_copy_side(struct page *page)
{
	struct dmirror_copy_side side = {};
	struct dmirror_device *dev;
	struct hmm_devmem *devmem;

	if (!page || !is_device_private_page(page))
		return side;
	devmem = hmm_devmem_from_folio(page_folio(page));
	dev = hmm_devmem_private(devmem);
	side.storage = dev->storage;
	side.first_pfn = page_to_pfn(page) -
			 PHYS_PFN(hmm_devmem_offset(devmem, page_to_pfn(page)));
	return side;
}

static void *dmirror_page_map(const struct dmirror_copy_side *side,
			      struct page *page)
{
	if (!side->storage)
		return kmap_local_page(page);
	return side->storage + PFN_PHYS(page_to_pfn(page) - side->first_pfn);
}

static void dmirror_page_unmap(const struct dmirror_copy_side *side, void *kaddr)
{
	if (!side->storage)
		kunmap_local(kaddr);
}

static void dmirror_copy_page(const struct dmirror_copy_side *to,
			      struct page *dst_page,
			      const struct dmirror_copy_side *from,
			      struct page *src_page)
{
	void *dst = dmirror_page_map(to, dst_page);
	void *src;

	if (src_page) {
		src = dmirror_page_map(from, src_page);
		copy_page(dst, src);
		dmirror_page_unmap(from, src);
	} else {
		clear_page(dst);
	}
	dmirror_page_unmap(to, dst);
}

static void dmirror_copy_pages(struct dmirror_device *dev,
			       const struct hmm_devmem_copy *copies, unsigned int nr)
{
	const struct dmirror_copy_side to = dmirror_copy_side(copies->dst);
	const struct dmirror_copy_side from = dmirror_copy_side(copies->src);
	const struct hmm_devmem_copy *copy;
	unsigned int i;

	for (copy = copies; copy < copies + nr; copy++) {
		for (i = 0; i < 1U << copy->order; i++) {
			dmirror_copy_page(&to, copy->dst + i, &from,
					  copy->src ? copy->src + i : NULL);
			cond_resched();
		}
		atomic64_add(PAGE_SIZE << copy->order, copy->src ?
			     &dev->copy.bytes_copied : &dev->copy.bytes_cleared);
	}
}

static void dmirror_copy_job(struct dmirror_device *dev,
			     struct hmm_devmem_batch *batch)
{
	unsigned int nr = batch->nr;
	int status = 0;
	u32 delay_ms, most;

	hmm_devmem_job_begin();
	if (dmirror_inject(dev, HMM_DMIRROR_INJECT_COPY_DELAY, &delay_ms))
		schedule_timeout_idle(msecs_to_jiffies(delay_ms));
	if (dmirror_inject(dev, HMM_DMIRROR_INJECT_COPY_ERROR, &most)) {
		nr = most ? min(nr, most) : nr / 2;
		status = -EIO;
	}
	dmirror_copy_pages(dev, batch->pages, nr);
	hmm_devmem_batch_done(batch, status);
	hmm_devmem_job_end();
}

static struct hmm_devmem_batch *
dmirror_copy_pop(struct dmirror_copy_engine *copy)
{
	struct hmm_devmem_batch *batch;

	spin_lock(&copy->lock);
	batch = list_first_entry_or_null(&copy->jobs, struct hmm_devmem_batch,
					 link);
	if (batch)
		list_del(&batch->link);
	spin_unlock(&copy->lock);
	return batch;
}

static int dmirror_copy_main(void *data)
{
	struct dmirror_device *dev = data;
	struct hmm_devmem_batch *batch;

	while (!kthread_should_stop()) {
		wait_event_idle(dev->copy.wait,
				(batch = dmirror_copy_pop(&dev->copy)) ||
				kthread_should_stop());
		if (batch)
			dmirror_copy_job(dev, batch);
	}
	return 0;
}

/* Is this job too much for the memory that an injection leaves the engine? */
static bool dmirror_copy_no_memory(struct dmirror_device *dev,
				   const struct hmm_devmem_batch *batch)
{
	const struct dmirror_injection *injection =
		&dev->inject[HMM_DMIRROR_INJECT_COPY_NO_MEMORY];
	unsigned long nr_pages = 0;
	unsigned int i;

	if (!READ_ONCE(injection->count))
		return false;
	for (i = 0; i < batch->nr; i++)
		nr_pages += 1UL << batch->pages[i].order;
	return nr_pages > READ_ONCE(injection->value) &&
	       dmirror_inject(dev, HMM_DMIRROR_INJECT_COPY_NO_MEMORY, NULL);
}

/* Clears are batches without sources, so one queue serves both operations. */
static int dmirror_copy_submit(struct hmm_devmem *devmem,
			       struct hmm_devmem_batch *batch)
{
	struct dmirror_device *dev = hmm_devmem_private(devmem);

	if (READ_ONCE(dev->gone) ||
	    dmirror_inject(dev, HMM_DMIRROR_INJECT_COPY_REFUSE, NULL))
		return -EIO;
	if (dmirror_copy_no_memory(dev, batch))
		return -ENOMEM;
	spin_lock(&dev->copy.lock);
	list_add_tail(&batch->link, &dev->copy.jobs);
	spin_unlock(&dev->copy.lock);
	wake_up(&dev->copy.wait);
	return 0;
}

/* One dummy device reaches the memory of all others. */
static int dmirror_copy_peer(struct hmm_devmem *devmem, struct hmm_devmem *peer,
			     struct hmm_devmem_batch *batch)
{
	const struct hmm_devmem_ops *ops = hmm_devmem_get_ops(peer);
	struct dmirror_device *other;

	if ((ops != &dmirror_devmem_ops && ops != &dmirror_shared_devmem_ops) ||
	    dmirror_inject(hmm_devmem_private(devmem),
			   HMM_DMIRROR_INJECT_NO_PEER, NULL))
		return -EOPNOTSUPP;
	other = hmm_devmem_private(peer);
	if (READ_ONCE(other->gone))
		return -EIO;
	return dmirror_copy_submit(devmem, batch);
}

static bool dmirror_may_evict(struct hmm_devmem *devmem, u64 offset, u64 size)
{
	return !dmirror_inject(hmm_devmem_private(devmem),
			       HMM_DMIRROR_INJECT_EVICT_KEEP, NULL);
}

const struct hmm_devmem_ops dmirror_devmem_ops = {
	.copy = dmirror_copy_submit,
	.clear = dmirror_copy_submit,
	.copy_peer = dmirror_copy_peer,
	.may_evict = dmirror_may_evict,
};

/* Of a device that shares its memory with the toolbox. */
const struct hmm_devmem_ops dmirror_shared_devmem_ops = {
	.copy = dmirror_copy_submit,
	.clear = dmirror_copy_submit,
	.copy_peer = dmirror_copy_peer,
	.may_evict = dmirror_may_evict,
	.get_block = dmirror_get_block,
	.put_block = dmirror_put_block,
};

int dmirror_copy_engine_start(struct dmirror_device *dev)
{
	struct task_struct *thread;

	thread = kthread_run(dmirror_copy_main, dev, "%s/copy", dev->name);
	if (IS_ERR(thread))
		return PTR_ERR(thread);
	dev->copy.thread = thread;
	return 0;
}

/* Only after hmm_devmem_remove(): no job can be left then. */
void dmirror_copy_engine_stop(struct dmirror_device *dev)
{
	if (!dev->copy.thread)
		return;
	kthread_stop(dev->copy.thread);
	dev->copy.thread = NULL;
	WARN_ON_ONCE(!list_empty(&dev->copy.jobs));
}
