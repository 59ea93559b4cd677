// SPDX-License-Identifier: GPL-2.0
/*
 * Buffers of the HMM dummy device: objects of its own in the memory that it shares
 * with the toolbox, block by block.
 *
 * Whoever has more than half of the memory, buffers or processes, gives way to the
 * other; otherwise a buffer takes the place of an older one, and process memory that
 * of older process memory.  What gives way goes to RAM.
 *
 * A buffer has a word of its own in each DMIRROR_BUFFER_STRIDE bytes, so that it
 * shows if somebody else uses one of its blocks.
 */
#include <linux/bitmap.h>
#include <linux/highmem.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "hmm_dmirror.h"

#define DMIRROR_BUFFER_STRIDE		64
#define DMIRROR_NO_BLOCK		U32_MAX

/**
 * struct dmirror_buffer_part - a block's worth of a buffer
 * @block: where it is in device memory, or DMIRROR_NO_BLOCK
 * @ram: what it contains, if it was evicted, otherwise NULL
 *
 * Without either it was not made yet, or lost with the device.
 */
struct dmirror_buffer_part {
	u32 block;
	void *ram;
};

/**
 * struct dmirror_buffer - a buffer
 * @link: entry in &dmirror_buffers.list
 * @ctx: the open file that it belongs to
 * @id: number
 * @pinned: it is not evicted but for a sleep state
 * @busy: a call works with it: it is neither evicted nor freed
 * @nr: parts
 * @parts: what it consists of
 */
struct dmirror_buffer {
	struct list_head link;
	struct dmirror_ctx *ctx;
	u32 id;
	bool pinned;
	bool busy;
	u32 nr;
	struct dmirror_buffer_part parts[] __counted_by(nr);
};

static void *dmirror_memory_map(struct dmirror_device *dev, u64 offset)
{
	if (dev->memory == HMM_DMIRROR_MEMORY_PRIVATE)
		return dev->storage + offset;
	return kmap_local_page(pfn_to_page(PHYS_PFN(dev->phys + offset)));
}

static void dmirror_memory_unmap(struct dmirror_device *dev, void *kaddr)
{
	if (dev->memory != HMM_DMIRROR_MEMORY_PRIVATE)
		kunmap_local(kaddr);
}

/* The word of a buffer's part @i at @offset. */
static u64 dmirror_buffer_word(const struct dmirror_buffer *buffer, u32 i,
			       u32 offset)
{
	return ((u64)buffer->id << 32 | i) * 0x9e3779b97f4a7c15ULL + offset;
}

/* What to do with each page of a part. */
enum dmirror_part_job {
	DMIRROR_PART_FILL,
	DMIRROR_PART_CHECK,
	DMIRROR_PART_SAVE,
	DMIRROR_PART_RESTORE,
};

static u64 dmirror_part_page(const struct dmirror_buffer *buffer, u32 i,
			     u32 offset, enum dmirror_part_job job, void *data)
{
	void *ram = buffer->parts[i].ram;
	u64 wrong = 0;
	u32 at;

	switch (job) {
	case DMIRROR_PART_FILL:
		for (at = 0; at < PAGE_SIZE; at += DMIRROR_BUFFER_STRIDE)
			*(u64 *)(data + at) =
				dmirror_buffer_word(buffer, i, offset + at);
		break;
	case DMIRROR_PART_CHECK:
		for (at = 0; at < PAGE_SIZE; at += DMIRROR_BUFFER_STRIDE)
			wrong += *(u64 *)(data + at) !=
				 dmirror_buffer_word(buffer, i, offset + at);
		break;
	case DMIRROR_PART_SAVE:
		memcpy(ram + offset, data, PAGE_SIZE);
		break;
	case DMIRROR_PART_RESTORE:
		memcpy(data, ram + offset, PAGE_SIZE);
		break;
	}
	return wrong;
}

/* Do a job on a part in device memory; returns the number of wrong words. */
static u64 dmirror_part_do(struct dmirror_device *dev,
			   const struct dmirror_buffer *buffer, u32 i,
			   enum dmirror_part_job job)
{
	u64 base = (u64)buffer->parts[i].block * DMIRROR_MEMORY_GRAIN;
	u64 wrong = 0;
	u32 offset;

	for (offset = 0; offset < DMIRROR_MEMORY_GRAIN; offset += PAGE_SIZE) {
		void *data = dmirror_memory_map(dev, base + offset);

		wrong += dmirror_part_page(buffer, i, offset, job, data);
		dmirror_memory_unmap(dev, data);
		cond_resched();
	}
	return wrong;
}

/* The number of wrong words in a buffer, wherever its parts are. */
static u64 dmirror_buffer_check(struct dmirror_device *dev,
				const struct dmirror_buffer *buffer)
{
	u64 wrong = 0;
	u32 i, offset;

	lockdep_assert_held(&dev->buffers.lock);

	for (i = 0; i < buffer->nr; i++) {
		const struct dmirror_buffer_part *part = &buffer->parts[i];

		if (part->block != DMIRROR_NO_BLOCK)
			wrong += dmirror_part_do(dev, buffer, i,
						 DMIRROR_PART_CHECK);
		for (offset = 0; part->ram && offset < DMIRROR_MEMORY_GRAIN;
		     offset += PAGE_SIZE)
			wrong += dmirror_part_page(buffer, i, offset,
						   DMIRROR_PART_CHECK,
						   part->ram + offset);
	}
	return wrong;
}

/* A block with nobody in it; DMIRROR_NO_BLOCK if there is none. */
static u32 dmirror_block_take(struct dmirror_buffers *buffers)
{
	unsigned long block = find_first_bit(buffers->free, buffers->nr_blocks);

	lockdep_assert_held(&buffers->lock);

	if (block >= buffers->nr_blocks)
		return DMIRROR_NO_BLOCK;
	__clear_bit(block, buffers->free);
	buffers->nr_free--;
	return block;
}

static void dmirror_block_release(struct dmirror_buffers *buffers, u32 block)
{
	lockdep_assert_held(&buffers->lock);

	__set_bit(block, buffers->free);
	buffers->nr_free++;
}

/* Save a part to RAM; its block is nobody's then.  0 or -ENOMEM. */
static int dmirror_part_evict(struct dmirror_device *dev,
			      struct dmirror_buffer *buffer, u32 i)
{
	struct dmirror_buffer_part *part = &buffer->parts[i];

	part->ram = kvmalloc(DMIRROR_MEMORY_GRAIN, GFP_KERNEL);
	if (!part->ram)
		return -ENOMEM;
	dmirror_part_do(dev, buffer, i, DMIRROR_PART_SAVE);
	dmirror_block_release(&dev->buffers, part->block);
	part->block = DMIRROR_NO_BLOCK;
	return 0;
}

/* Evict a part of the buffer that was used longest ago; false if there is none. */
static bool dmirror_buffers_evict(struct dmirror_device *dev)
{
	struct dmirror_buffer *buffer;
	u32 i;

	lockdep_assert_held(&dev->buffers.lock);

	list_for_each_entry(buffer, &dev->buffers.list, link) {
		if (buffer->pinned || buffer->busy)
			continue;
		for (i = 0; i < buffer->nr; i++)
			if (buffer->parts[i].block != DMIRROR_NO_BLOCK)
				return !dmirror_part_evict(dev, buffer, i);
	}
	return false;
}

static u32 dmirror_buffers_nr(const struct dmirror_buffers *buffers)
{
	return buffers->nr_blocks - buffers->nr_free - buffers->nr_lent;
}

/* &hmm_devmem_ops.get_block */
int dmirror_get_block(struct hmm_devmem *devmem, unsigned int timeout_ms,
		      u64 *offset)
{
	struct dmirror_device *dev = hmm_devmem_private(devmem);
	struct dmirror_buffers *buffers = &dev->buffers;
	u32 block;

	guard(mutex)(&buffers->lock);
	if (!buffers->nr_free && timeout_ms &&
	    2 * dmirror_buffers_nr(buffers) > buffers->nr_blocks)
		dmirror_buffers_evict(dev);
	block = dmirror_block_take(buffers);
	if (block == DMIRROR_NO_BLOCK)
		return -ENOSPC;
	__set_bit(block, buffers->lent);
	buffers->nr_lent++;
	buffers->gets++;
	*offset = (u64)block * DMIRROR_MEMORY_GRAIN;
	return 0;
}

/* &hmm_devmem_ops.put_block */
void dmirror_put_block(struct hmm_devmem *devmem, u64 offset)
{
	struct dmirror_device *dev = hmm_devmem_private(devmem);
	struct dmirror_buffers *buffers = &dev->buffers;
	u32 block = offset / DMIRROR_MEMORY_GRAIN;

	guard(mutex)(&buffers->lock);
	if (WARN_ON_ONCE(block >= buffers->nr_blocks ||
			 !__test_and_clear_bit(block, buffers->lent)))
		return;
	buffers->nr_lent--;
	buffers->puts++;
	dmirror_block_release(buffers, block);
}

/* Get a block back from processes.  0, or an errno of HMM_DMIRROR_BUFFER. */
static int dmirror_reclaim(struct dmirror_device *dev, unsigned int ms)
{
	unsigned long reclaimed;
	int err;

	err = hmm_devmem_reclaim_blocks(dev->devmem, 1, ms, &reclaimed);
	if (reclaimed)
		return 0;
	return !err || err == -EBUSY ? -ENOSPC : err;
}

/*
 * A block for a buffer, with the lock held, which it lets go of.  0, or an errno of
 * HMM_DMIRROR_BUFFER.
 */
static int dmirror_block_get(struct dmirror_device *dev, unsigned long deadline,
			     u32 *block)
{
	struct dmirror_buffers *buffers = &dev->buffers;
	unsigned long now;
	int ret;

	for (;;) {
		if (!buffers->nr_free &&
		    2 * buffers->nr_lent <= buffers->nr_blocks)
			dmirror_buffers_evict(dev);
		*block = dmirror_block_take(buffers);
		if (*block != DMIRROR_NO_BLOCK)
			return 0;

		mutex_unlock(&buffers->lock);
		now = jiffies;
		ret = dmirror_reclaim(dev, time_before(now, deadline) ?
				      jiffies_to_msecs(deadline - now) : 0);
		mutex_lock(&buffers->lock);
		/* Others may have been faster to take it, or brought another. */
		if (buffers->nr_free)
			continue;
		if (!ret && time_after(jiffies, deadline))
			ret = -ETIME;
		if (ret == -ENOSPC && dmirror_buffers_evict(dev))
			ret = 0;
		if (ret)
			return ret;
	}
}

/* Bring all of a buffer into device memory; what it lacks is made. */
static int dmirror_buffer_populate(struct dmirror_device *dev,
				   struct dmirror_buffer *buffer,
				   unsigned long deadline)
{
	u32 i, block;
	int ret;

	for (i = 0; i < buffer->nr; i++) {
		struct dmirror_buffer_part *part = &buffer->parts[i];

		if (part->block != DMIRROR_NO_BLOCK)
			continue;
		ret = dmirror_block_get(dev, deadline, &block);
		if (ret)
			return ret;
		part->block = block;
		dmirror_part_do(dev, buffer, i, part->ram ?
				DMIRROR_PART_RESTORE : DMIRROR_PART_FILL);
		kvfree(part->ram);
		part->ram = NULL;
	}
	return 0;
}

static void dmirror_buffer_free(struct dmirror_device *dev,
				struct dmirror_buffer *buffer)
{
	u32 i;

	lockdep_assert_held(&dev->buffers.lock);

	for (i = 0; i < buffer->nr; i++) {
		if (buffer->parts[i].block != DMIRROR_NO_BLOCK)
			dmirror_block_release(&dev->buffers,
					      buffer->parts[i].block);
		kvfree(buffer->parts[i].ram);
	}
	list_del(&buffer->link);
	kfree(buffer);
}

static struct dmirror_buffer *dmirror_buffer_create(struct dmirror_ctx *ctx,
						    u64 size, bool pinned)
{
	struct dmirror_buffers *buffers = &ctx->dev->buffers;
	u32 nr = size / DMIRROR_MEMORY_GRAIN, i;
	struct dmirror_buffer *buffer;

	lockdep_assert_held(&buffers->lock);

	buffer = kzalloc_flex(*buffer, parts, nr, GFP_KERNEL_ACCOUNT);
	if (!buffer)
		return NULL;
	buffer->nr = nr;
	buffer->ctx = ctx;
	buffer->pinned = pinned;
	for (i = 0; i < nr; i++)
		buffer->parts[i].block = DMIRROR_NO_BLOCK;
	/* 0 stands for none. */
	if (!++buffers->last_id)
		buffers->last_id++;
	buffer->id = buffers->last_id;
	list_add_tail(&buffer->link, &buffers->list);
	return buffer;
}

/* The buffer of this number, or an ERR_PTR: -ENOENT, or -EBUSY. */
static struct dmirror_buffer *dmirror_buffer_find(struct dmirror_ctx *ctx,
						  u32 id)
{
	struct dmirror_buffer *buffer;

	list_for_each_entry(buffer, &ctx->dev->buffers.list, link)
		if (buffer->id == id && buffer->ctx == ctx)
			return buffer->busy ? ERR_PTR(-EBUSY) : buffer;
	return ERR_PTR(-ENOENT);
}

/* What is to be known of a buffer. */
static void dmirror_buffer_report(struct dmirror_device *dev,
				  const struct dmirror_buffer *buffer,
				  struct hmm_dmirror_buffer *args)
{
	u32 i;

	args->size = (u64)buffer->nr * DMIRROR_MEMORY_GRAIN;
	for (i = 0; i < buffer->nr; i++)
		if (buffer->parts[i].block != DMIRROR_NO_BLOCK)
			args->resident += DMIRROR_MEMORY_GRAIN;
	args->wrong = dmirror_buffer_check(dev, buffer);
}

/* And of the device. */
static void dmirror_buffers_report(const struct dmirror_buffers *buffers,
				   struct hmm_dmirror_buffer *args)
{
	args->free = (u64)buffers->nr_free * DMIRROR_MEMORY_GRAIN;
	args->lent = (u64)buffers->nr_lent * DMIRROR_MEMORY_GRAIN;
	args->buffers = (u64)dmirror_buffers_nr(buffers) * DMIRROR_MEMORY_GRAIN;
	args->gets = buffers->gets;
	args->puts = buffers->puts;
}

static int dmirror_buffer_use(struct dmirror_device *dev,
			      struct dmirror_buffer *buffer, unsigned int ms)
{
	int ret;

	buffer->busy = true;
	ret = dmirror_buffer_populate(dev, buffer,
				      jiffies + msecs_to_jiffies(ms));
	buffer->busy = false;
	list_move_tail(&buffer->link, &dev->buffers.list);
	return ret;
}

/**
 * dmirror_buffer() - one step of HMM_DMIRROR_BUFFER
 * @ctx: the open file
 * @args: as the ioctl got it, checked; what is out is filled.  With
 *	%HMM_DMIRROR_BUFFER_ALLOC @args->id is set by the first step
 * @ms: how long to try, in milliseconds
 * @last: there is no time for another step
 *
 * Context: the device memory is kept.
 * Return: 0, or the errno of HMM_DMIRROR_BUFFER; after -ETIME it may be called again.
 */
int dmirror_buffer(struct dmirror_ctx *ctx, struct hmm_dmirror_buffer *args,
		   unsigned int ms, bool last)
{
	struct dmirror_device *dev = ctx->dev;
	struct dmirror_buffers *buffers = &dev->buffers;
	struct dmirror_buffer *buffer = NULL;
	int ret = 0;

	guard(mutex)(&buffers->lock);
	args->resident = 0;
	args->wrong = 0;
	if (args->op == HMM_DMIRROR_BUFFER_ALLOC && !args->id) {
		buffer = dmirror_buffer_create(ctx, args->size, args->flags &
					       HMM_DMIRROR_BUFFER_PINNED);
		if (!buffer)
			return -ENOMEM;
		args->id = buffer->id;
	} else if (args->op != HMM_DMIRROR_BUFFER_STATE || args->id) {
		buffer = dmirror_buffer_find(ctx, args->id);
		if (IS_ERR(buffer))
			return PTR_ERR(buffer);
	}

	if (args->op == HMM_DMIRROR_BUFFER_ALLOC ||
	    args->op == HMM_DMIRROR_BUFFER_USE)
		ret = dmirror_buffer_use(dev, buffer, ms);
	if (buffer)
		dmirror_buffer_report(dev, buffer, args);
	/* A new one that does not get all of its memory is none. */
	if (args->op == HMM_DMIRROR_BUFFER_FREE ||
	    (args->op == HMM_DMIRROR_BUFFER_ALLOC && ret &&
	     (ret != -ETIME || last))) {
		dmirror_buffer_free(dev, buffer);
		args->id = 0;
	}
	dmirror_buffers_report(buffers, args);
	return ret;
}

/* The file is closed: nobody else will look at what its buffers contain. */
void dmirror_buffers_release(struct dmirror_ctx *ctx)
{
	struct dmirror_device *dev = ctx->dev;
	struct dmirror_buffer *buffer, *next;

	guard(mutex)(&dev->buffers.lock);
	list_for_each_entry_safe(buffer, next, &dev->buffers.list, link) {
		if (buffer->ctx != ctx)
			continue;
		WARN_ON_ONCE(dmirror_buffer_check(dev, buffer));
		dmirror_buffer_free(dev, buffer);
	}
}

int dmirror_buffers_init(struct dmirror_device *dev)
{
	struct dmirror_buffers *buffers = &dev->buffers;
	unsigned long nr = dev->size / DMIRROR_MEMORY_GRAIN;

	buffers->free = bitmap_alloc(nr, GFP_KERNEL);
	buffers->lent = bitmap_zalloc(nr, GFP_KERNEL);
	if (!buffers->free || !buffers->lent)
		return -ENOMEM;
	bitmap_fill(buffers->free, nr);
	buffers->nr_blocks = nr;
	buffers->nr_free = nr;
	return 0;
}

/*
 * The memory was removed: buffers that are left have lost what they had there.
 * @all_back: no page was left in it.
 */
void dmirror_buffers_drop(struct dmirror_device *dev, bool all_back)
{
	struct dmirror_buffers *buffers = &dev->buffers;
	struct dmirror_buffer *buffer;
	u32 i;

	guard(mutex)(&buffers->lock);
	WARN_ON_ONCE(all_back && buffers->nr_lent);
	list_for_each_entry(buffer, &buffers->list, link)
		for (i = 0; i < buffer->nr; i++)
			buffer->parts[i].block = DMIRROR_NO_BLOCK;
	bitmap_free(buffers->free);
	bitmap_free(buffers->lent);
	buffers->free = NULL;
	buffers->lent = NULL;
	buffers->nr_blocks = 0;
	buffers->nr_free = 0;
	buffers->nr_lent = 0;
}

/*
 * The memory is about to lose power: save all buffers.  The caller has the lock, so
 * that none comes back before that.  0 or -ENOMEM.
 */
int dmirror_buffers_save(struct dmirror_device *dev)
{
	struct dmirror_buffer *buffer;
	u32 i;

	lockdep_assert_held(&dev->buffers.lock);

	list_for_each_entry(buffer, &dev->buffers.list, link)
		for (i = 0; i < buffer->nr; i++)
			if (buffer->parts[i].block != DMIRROR_NO_BLOCK &&
			    dmirror_part_evict(dev, buffer, i))
				return -ENOMEM;
	return 0;
}
