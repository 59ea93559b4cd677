// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of migration with a device that works while the CPU goes on.
 */
#include <linux/mman.h>
#include <linux/mm.h>
#include <linux/workqueue.h>

#include "test_device.h"

/* So many page tables with a few pages each make as many jobs. */
#define TABLES		6
#define PAGES		16
#define NR		(TABLES * PAGES)

/*
 * The device does a job only when it gets the next one, or if none comes, after
 * &late.ms.
 */
static struct {
	struct hmm_devmem *devmem;
	struct hmm_devmem *peer;	/* that it copies from; NULL: RAM */
	struct hmm_devmem_batch *held;
	struct delayed_work work;
	unsigned int jobs;	/* that it got */
	unsigned int overlaps;	/* of them came while another was held */
	unsigned int done;
	unsigned int fails;	/* the one that fails; 0: none */
	unsigned int ms;
} late;

static void late_finish(struct hmm_devmem_batch *batch)
{
	if (++late.done == late.fails) {
		hmm_devmem_batch_done(batch, -EIO);
	} else if (late.peer) {
		test_copy_peer(late.devmem, late.peer, batch);
		hmm_devmem_batch_done(batch, 0);
	} else {
		test_copy(late.devmem, batch);
	}
}

static void late_work(struct work_struct *work)
{
	struct hmm_devmem_batch *batch = xchg(&late.held, NULL);

	hmm_devmem_job_begin();
	if (batch)
		late_finish(batch);
	hmm_devmem_job_end();
}

static int late_start(struct hmm_devmem *devmem, struct hmm_devmem *peer,
		      struct hmm_devmem_batch *batch)
{
	struct hmm_devmem_batch *before;

	late.jobs++;
	late.devmem = devmem;
	late.peer = peer;
	before = xchg(&late.held, batch);
	if (before) {
		late.overlaps++;
		late_finish(before);
	}
	mod_delayed_work(system_percpu_wq, &late.work,
			 msecs_to_jiffies(late.ms));
	return 0;
}

static int late_copy(struct hmm_devmem *devmem, struct hmm_devmem_batch *batch)
{
	return late_start(devmem, NULL, batch);
}

static int late_copy_peer(struct hmm_devmem *devmem, struct hmm_devmem *peer,
			  struct hmm_devmem_batch *batch)
{
	if (batch->direction != DMA_TO_DEVICE)
		return -EOPNOTSUPP;
	return late_start(devmem, peer, batch);
}

static const struct hmm_devmem_ops late_ops = {
	.copy = late_copy,
	.clear = test_clear,
	.copy_peer = late_copy_peer,
};

static void late_add_memory(struct kunit *test, struct test_device *device)
{
	struct hmm_devmem_desc desc = test_devmem_desc(device);

	desc.ops = &late_ops;
	test_device_add_memory_as(test, device, &desc, TEST_DEVICE_SIZE);
}

static int pipeline_test_init(struct kunit *test)
{
	test->priv = test_device_create(test);
	memset(&late, 0, sizeof(late));
	late.ms = 100;
	INIT_DELAYED_WORK(&late.work, late_work);
	late_add_memory(test, test->priv);
	return 0;
}

static void pipeline_test_exit(struct kunit *test)
{
	test_device_destroy(test->priv);
	cancel_delayed_work_sync(&late.work);
}

static unsigned long pipeline_test_addr(unsigned long base, unsigned long page)
{
	return base + page / PAGES * PMD_SIZE + page % PAGES * PAGE_SIZE;
}

/* NR pages in TABLES page tables, each with its number and @seed. */
static unsigned long pipeline_test_map(struct kunit *test, u64 seed)
{
	unsigned long base = test_reserve(test, TABLES * PMD_SIZE);
	unsigned long i;

	KUNIT_ASSERT_EQ(test, 0, vm_munmap(base, TABLES * PMD_SIZE));
	for (i = 0; i < TABLES; i++)
		test_mmap_at(test, base + i * PMD_SIZE, PAGES * PAGE_SIZE,
			     PROT_READ | PROT_WRITE);
	for (i = 0; i < NR; i++)
		test_write_word(test, pipeline_test_addr(base, i), seed + i);
	return base;
}

static void pipeline_test_verify(struct kunit *test, unsigned long base, u64 seed)
{
	unsigned long i;

	for (i = 0; i < NR; i++)
		KUNIT_EXPECT_EQ_MSG(test, seed + i,
				    test_read_word(test,
						   pipeline_test_addr(base, i)),
				    "page %lu", i);
}

static int pipeline_test_in(struct kunit *test, unsigned long base,
			    struct hmm_migrate_result *result)
{
	struct test_device *device = test->priv;

	return hmm_migrate_to_device(device->devmem, current->mm, base,
				     base + TABLES * PMD_SIZE, 0, result);
}

static int pipeline_test_out(struct kunit *test, unsigned long base,
			     struct hmm_migrate_result *result)
{
	return hmm_migrate_to_ram(current->mm, test->priv, base,
				  base + TABLES * PMD_SIZE, result);
}

/* Nothing is to keep a step from overlapping. */
static void pipeline_test_prepare(struct kunit *test)
{
	/* Pages in the LRU batch of another CPU would. */
	KUNIT_ASSERT_EQ(test, 0,
			set_cpus_allowed_ptr(current,
					     cpumask_of(raw_smp_processor_id())));
	/* However long it takes to collect for the next one. */
	late.ms = 2000;
}

/*
 * Each job comes before the one before it is done.  Not so the second one as long as
 * nobody has seen that the driver is asynchronous, and on the way back.
 */
static void pipeline_test_overlaps(struct kunit *test, unsigned long nr_swapped)
{
	struct test_device *device = test->priv;
	struct percpu_counter *swapped;
	struct hmm_migrate_result result;
	struct hmm_devmem_stats stats;
	unsigned long base;

	pipeline_test_prepare(test);
	base = pipeline_test_map(test, 100);
	swapped = &current->mm->rss_stat[MM_SWAPENTS];
	percpu_counter_add(swapped, nr_swapped);

	KUNIT_EXPECT_EQ(test, 0, pipeline_test_in(test, base, &result));
	KUNIT_EXPECT_EQ(test, NR, result.moved);
	KUNIT_EXPECT_EQ(test, NR, test_device_used(device));
	KUNIT_EXPECT_EQ(test, TABLES, late.jobs);
	KUNIT_EXPECT_EQ(test, TABLES - 2, late.overlaps);

	hmm_devmem_get_stats(device->devmem, &stats);
	KUNIT_EXPECT_LE(test, late.ms * NSEC_PER_MSEC, stats.busy_ns);
	KUNIT_EXPECT_LT(test, 0, stats.idle_ns);

	KUNIT_EXPECT_EQ(test, 0, pipeline_test_out(test, base, &result));
	KUNIT_EXPECT_EQ(test, NR, result.moved);
	KUNIT_EXPECT_EQ(test, 0, test_device_used(device));
	KUNIT_EXPECT_EQ(test, 2 * TABLES, late.jobs);
	KUNIT_EXPECT_EQ(test, 2 * (TABLES - 2), late.overlaps);

	KUNIT_EXPECT_EQ(test, 0, pipeline_test_in(test, base, &result));
	KUNIT_EXPECT_EQ(test, NR, result.moved);
	KUNIT_EXPECT_EQ(test, 2 * (TABLES - 2) + TABLES - 1, late.overlaps);
	percpu_counter_sub(swapped, nr_swapped);
	late.ms = 100;
	pipeline_test_verify(test, base, 100);
}

static void pipeline_test_overlap(struct kunit *test)
{
	pipeline_test_overlaps(test, 0);
}

/* What is swapped out elsewhere makes no difference. */
static void pipeline_test_overlap_swapped(struct kunit *test)
{
	pipeline_test_overlaps(test, 1);
}

/* Whichever job fails: its pages stay, and no others. */
static void pipeline_test_errors(struct kunit *test)
{
	struct test_device *device = test->priv;
	struct hmm_migrate_result result;
	unsigned long base = pipeline_test_map(test, 200);
	unsigned int job;

	for (job = 1; job <= TABLES; job++) {
		late.fails = late.done + job;
		KUNIT_EXPECT_EQ(test, -EIO,
				pipeline_test_in(test, base, &result));
		KUNIT_EXPECT_EQ(test, NR - PAGES, result.moved);
		KUNIT_EXPECT_EQ(test, NR - PAGES, test_device_used(device));
		late.fails = 0;
		KUNIT_EXPECT_EQ(test, 0,
				pipeline_test_in(test, base, &result));
		KUNIT_EXPECT_EQ(test, PAGES, result.moved);

		late.fails = late.done + job;
		KUNIT_EXPECT_EQ(test, -EIO,
				pipeline_test_out(test, base, &result));
		KUNIT_EXPECT_EQ(test, NR - PAGES, result.moved);
		KUNIT_EXPECT_EQ(test, PAGES, test_device_used(device));
		late.fails = 0;
		pipeline_test_verify(test, base, 200);
		KUNIT_EXPECT_EQ(test, 0, test_device_used(device));
	}
}

static int pipeline_test_move(struct test_device *from, struct test_device *to,
			      unsigned long base, struct hmm_migrate_result *result)
{
	return hmm_migrate_between(from->devmem, to->devmem, current->mm, base,
				   base + TABLES * PMD_SIZE, 0, result);
}

/* From one device to another, whose job comes before the one before it is done. */
static void pipeline_test_between(struct kunit *test)
{
	struct test_device *from = test->priv;
	struct test_device *to = test_device_create_another(test);
	struct hmm_migrate_result result;
	struct hmm_devmem_stats stats;
	unsigned long base;
	unsigned int job;

	late_add_memory(test, to);
	pipeline_test_prepare(test);
	base = pipeline_test_map(test, 400);
	KUNIT_ASSERT_EQ(test, 0, pipeline_test_in(test, base, &result));
	late.jobs = 0;
	late.overlaps = 0;

	KUNIT_EXPECT_EQ(test, 0, pipeline_test_move(from, to, base, &result));
	KUNIT_EXPECT_EQ(test, NR, result.moved);
	KUNIT_EXPECT_EQ(test, 0, test_device_used(from));
	KUNIT_EXPECT_EQ(test, NR, test_device_used(to));
	KUNIT_EXPECT_EQ(test, TABLES, late.jobs);
	KUNIT_EXPECT_EQ(test, TABLES - 2, late.overlaps);
	hmm_devmem_get_stats(to->devmem, &stats);
	KUNIT_EXPECT_EQ(test, NR, stats.from_peers);
	KUNIT_EXPECT_LE(test, late.ms * NSEC_PER_MSEC, stats.busy_ns);
	KUNIT_EXPECT_LT(test, 0, stats.idle_ns);
	late.ms = 100;
	pipeline_test_verify(test, base, 400);

	/* Whichever job fails: its pages stay, and no others. */
	KUNIT_ASSERT_EQ(test, 0, pipeline_test_in(test, base, &result));
	for (job = 1; job <= TABLES; job++) {
		late.fails = late.done + job;
		KUNIT_EXPECT_EQ(test, -EIO,
				pipeline_test_move(from, to, base, &result));
		KUNIT_EXPECT_EQ(test, NR - PAGES, result.moved);
		KUNIT_EXPECT_EQ(test, PAGES, result.failed);
		hmm_devmem_get_stats(to->devmem, &stats);
		KUNIT_EXPECT_EQ(test, (job + 1) / 2 * PAGES, stats.failed);
		KUNIT_EXPECT_EQ(test, PAGES, test_device_used(from));
		KUNIT_EXPECT_EQ(test, NR - PAGES, test_device_used(to));
		late.fails = 0;
		KUNIT_EXPECT_EQ(test, 0,
				pipeline_test_move(from, to, base, &result));
		KUNIT_EXPECT_EQ(test, PAGES, result.moved);
		swap(from, to);
	}
	pipeline_test_verify(test, base, 400);
}

/* The room ends in the middle of a step while the one before is under way. */
static void pipeline_test_full(struct kunit *test)
{
	const unsigned long size = TEST_DEVICE_SIZE >> PAGE_SHIFT;
	const unsigned long room = 3 * PAGES + PAGES / 2;
	struct test_device *device = test->priv;
	unsigned long base = pipeline_test_map(test, 300);
	unsigned long others = test_mmap(test, (size - room) * PAGE_SIZE,
					 PROT_READ | PROT_WRITE);
	struct hmm_migrate_result result;

	KUNIT_ASSERT_EQ(test, 0,
			hmm_migrate_to_device(device->devmem, current->mm,
					      others,
					      others + (size - room) * PAGE_SIZE,
					      0, &result));
	KUNIT_ASSERT_EQ(test, size - room, result.filled);

	KUNIT_EXPECT_EQ(test, -ENOSPC, pipeline_test_in(test, base, &result));
	KUNIT_EXPECT_EQ(test, room, result.moved);
	KUNIT_EXPECT_EQ(test, size, test_device_used(device));
	pipeline_test_verify(test, base, 300);

	KUNIT_EXPECT_EQ(test, 0, vm_munmap(others, (size - room) * PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, 0, pipeline_test_in(test, base, &result));
	KUNIT_EXPECT_EQ(test, NR, result.moved);
	pipeline_test_verify(test, base, 300);
}

static struct kunit_case pipeline_test_cases[] = {
	KUNIT_CASE_SLOW(pipeline_test_overlap),
	KUNIT_CASE_SLOW(pipeline_test_overlap_swapped),
	KUNIT_CASE_SLOW(pipeline_test_errors),
	KUNIT_CASE_SLOW(pipeline_test_between),
	KUNIT_CASE_SLOW(pipeline_test_full),
	{}
};

static struct kunit_suite pipeline_test_suite = {
	.name = "hmm_pipeline",
	.init = pipeline_test_init,
	.exit = pipeline_test_exit,
	.test_cases = pipeline_test_cases,
};

kunit_test_suite(pipeline_test_suite);
