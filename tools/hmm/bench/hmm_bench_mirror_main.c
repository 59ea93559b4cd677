// SPDX-License-Identifier: GPL-2.0
/*
 * Measuring module for mirrors: times the HMM toolbox, where the kernel has it,
 * and the bare core calls that a driver without it makes, for a device that does
 * nothing.  See hmm_bench_mirror.h.
 *
 * Meant for virtual time (QEMU -icount shift=0), where a nanosecond is an
 * instruction, whichever CPU executes it.
 */
#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/log2.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/preempt.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <linux/tracepoint.h>
#include <linux/uaccess.h>
#include <trace/events/lock.h>

#include "hmm_bench_mirror_kind.h"

/* All threads of one operation. */
struct bench_team {
	atomic_t busy;
	struct completion done;
	unsigned int nr;
	struct bench_work work[HMM_BENCH_MIRROR_MAX_THREADS];
};

/* What is measured */

static u64 bench_clock_cost(void)
{
	u64 best = U64_MAX;
	int i;

	for (i = 0; i < 64; i++) {
		u64 start = ktime_get_ns();

		best = min(best, ktime_get_ns() - start);
	}
	return best;
}

static void bench_work(struct bench_work *work)
{
	work->begin = ktime_get_ns();
	work->err = work->run(work);
	work->finish = ktime_get_ns();
}

/*
 * Nobody leaves before all are done: the end of a thread is not what the others
 * measure.
 */
static int bench_thread(void *data)
{
	struct bench_work *work = data;
	struct bench_team *team = work->team;

	bench_work(work);
	if (atomic_dec_and_test(&team->busy))
		complete_all(&team->done);
	else
		wait_for_completion(&team->done);
	return 0;
}

/* Tracepoint: the current task got a lock that it had to wait for. */
static void bench_waited(void *data, void *lock, int ret)
{
	struct bench_team *team = data;
	unsigned int i;

	if (!in_task())
		return;
	for (i = 0; i < team->nr; i++)
		if (team->work[i].task == current && !team->work[i].finish)
			team->work[i].waits++;
}

static void bench_stop_threads(struct bench_team *team)
{
	unsigned int i;

	for (i = 0; i < team->nr; i++)
		if (team->work[i].task)
			kthread_stop_put(team->work[i].task);
}

static int bench_run_threads(struct bench_team *team)
{
	struct task_struct *task;
	unsigned int i;
	int ret;

	for (i = 0; i < team->nr; i++) {
		task = kthread_create(bench_thread, &team->work[i],
				      "hmm_bench/%u", i);
		if (IS_ERR(task)) {
			bench_stop_threads(team);
			return PTR_ERR(task);
		}
		team->work[i].task = get_task_struct(task);
		kthread_bind(task, cpumask_nth(i % num_online_cpus(),
					       cpu_online_mask));
	}
	ret = register_trace_contention_end(bench_waited, team);
	if (ret) {
		bench_stop_threads(team);
		return ret;
	}
	for (i = 0; i < team->nr; i++)
		wake_up_process(team->work[i].task);
	wait_for_completion(&team->done);

	unregister_trace_contention_end(bench_waited, team);
	tracepoint_synchronize_unregister();
	bench_stop_threads(team);
	return 0;
}

/* Did the last walk of a bare mirror find what it was to find? */
static bool bench_pfns_ok(const struct bench_work *work)
{
	unsigned long need = HMM_PFN_VALID | (work->write ? HMM_PFN_WRITE : 0);
	unsigned long i;

	for (i = 0; i < work->nr_pfns; i++)
		if ((work->pfns[i] & need) != need)
			return false;
	return true;
}

static int bench_team_result(const struct bench_team *team,
			     struct hmm_bench_mirror_run *run)
{
	u64 begin = U64_MAX, finish = 0, cost = bench_clock_cost();
	unsigned int i;

	for (i = 0; i < team->nr; i++) {
		const struct bench_work *work = &team->work[i];

		if (work->err)
			return work->err;
		if (!bench_pfns_ok(work))
			return -EFAULT;
		begin = min(begin, work->begin);
		finish = max(finish, work->finish);
		run->waits += work->waits;
	}
	run->ns = finish - begin;
	run->ns -= min(run->ns, cost);
	return 0;
}

static void bench_free_team(struct bench_team *team)
{
	unsigned int i;

	for (i = 0; i < team->nr; i++)
		kfree(team->work[i].pfns);
	kfree(team);
}

static struct bench_team *bench_new_team(struct bench_mirror *bm,
					 const struct hmm_bench_mirror_run *run)
{
	struct bench_team *team = kzalloc_obj(*team);
	unsigned long part;
	unsigned int i;

	if (!team)
		return NULL;
	init_completion(&team->done);
	team->nr = max(run->threads, 1U);
	atomic_set(&team->busy, team->nr);
	part = run->length / team->nr;
	for (i = 0; i < team->nr; i++) {
		struct bench_work *work = &team->work[i];

		work->bm = bm;
		work->team = team;
		work->run = run->op == HMM_BENCH_MIRROR_FAULT ?
			    bm->kind->fault : bm->kind->prefetch;
		work->start = run->addr + i * part;
		work->end = work->start + part;
		work->step = run->step;
		work->loops = run->loops;
		work->write = run->flags & HMM_BENCH_MIRROR_WRITE;
		work->pfns = kcalloc(BENCH_PIECE_PAGES, sizeof(*work->pfns),
				     GFP_KERNEL);
		if (!work->pfns) {
			bench_free_team(team);
			return NULL;
		}
	}
	return team;
}

static int bench_run(struct bench_mirror *bm, struct hmm_bench_mirror_run *run)
{
	struct bench_team *team = bench_new_team(bm, run);
	int ret = 0;

	if (!team)
		return -ENOMEM;
	run->ns = 0;
	run->waits = 0;
	if (run->threads)
		ret = bench_run_threads(team);
	else
		bench_work(&team->work[0]);
	if (!ret)
		ret = bench_team_result(team, run);
	bench_free_team(team);
	return ret;
}

/* The file */

static bool bench_register_ok(const struct hmm_bench_mirror_register *reg)
{
	return (reg->kind == HMM_BENCH_MIRROR_BARE ||
		reg->kind == HMM_BENCH_MIRROR_TOOLBOX) &&
	       !(reg->flags & ~HMM_BENCH_MIRROR_YIELD) &&
	       reg->start < reg->end && reg->end <= TASK_SIZE &&
	       IS_ALIGNED(reg->start | reg->end, PMD_SIZE) &&
	       (reg->end - reg->start) >> PMD_SHIFT <=
			HMM_BENCH_MIRROR_MAX_PIECES &&
	       is_power_of_2(reg->around) &&
	       reg->around >= PAGE_SIZE && reg->around <= PMD_SIZE;
}

static bool bench_run_ok(const struct bench_mirror *bm,
			 const struct hmm_bench_mirror_run *run)
{
	u64 faults;

	if (run->flags & ~HMM_BENCH_MIRROR_WRITE || !run->length ||
	    run->addr < bm->start || run->addr >= bm->end ||
	    run->length > bm->end - run->addr)
		return false;
	switch (run->op) {
	case HMM_BENCH_MIRROR_FAULT:
		if (!run->step || !PAGE_ALIGNED(run->addr | run->step) ||
		    run->length % run->step || !run->loops ||
		    run->loops > HMM_BENCH_MIRROR_MAX_LOOPS ||
		    run->threads > HMM_BENCH_MIRROR_MAX_THREADS)
			return false;
		faults = run->length / run->step;
		return !(faults % max(run->threads, 1U)) &&
		       faults * run->loops <= HMM_BENCH_MIRROR_MAX_FAULTS;
	case HMM_BENCH_MIRROR_PREFETCH:
		return IS_ALIGNED(run->addr | run->length, PMD_SIZE) &&
		       !run->step && !run->loops && !run->threads;
	default:
		return false;
	}
}

static const struct bench_kind *bench_kind(u32 kind)
{
	if (kind == HMM_BENCH_MIRROR_BARE)
		return &bench_bare;
#if IS_ENABLED(CONFIG_HMM_HELPERS)
	return &bench_toolbox;
#else
	return NULL;
#endif
}

static void bench_detach(struct bench_mirror *bm)
{
	if (bm->kind)
		bm->kind->detach(bm);
	bm->kind = NULL;
	bm->mm = NULL;
}

static int bench_ioctl_register(struct bench_mirror *bm, void __user *user)
{
	struct hmm_bench_mirror_register reg;
	const struct bench_kind *kind;
	int ret;

	if (copy_from_user(&reg, user, sizeof(reg)))
		return -EFAULT;
	if (!bench_register_ok(&reg))
		return -EINVAL;
	kind = bench_kind(reg.kind);
	if (!kind)
		return -EOPNOTSUPP;

	guard(mutex)(&bm->run_lock);
	bench_detach(bm);
	bm->mm = current->mm;
	bm->start = reg.start;
	bm->end = reg.end;
	bm->around = reg.around;
	bm->yield = reg.flags & HMM_BENCH_MIRROR_YIELD;
	ret = kind->attach(bm);
	if (ret)
		bm->mm = NULL;
	else
		bm->kind = kind;
	return ret;
}

static int bench_run_locked(struct bench_mirror *bm,
			    struct hmm_bench_mirror_run *run)
{
	guard(mutex)(&bm->run_lock);
	if (!bm->kind)
		return -ENXIO;
	if (current->mm != bm->mm)
		return -EPERM;
	if (!bench_run_ok(bm, run))
		return -EINVAL;
	return bench_run(bm, run);
}

static int bench_ioctl_run(struct bench_mirror *bm, void __user *user)
{
	struct hmm_bench_mirror_run run;
	int ret;

	if (copy_from_user(&run, user, sizeof(run)))
		return -EFAULT;
	ret = bench_run_locked(bm, &run);
	if (!ret && copy_to_user(user, &run, sizeof(run)))
		ret = -EFAULT;
	return ret;
}

static int bench_ioctl_stats(struct bench_mirror *bm, void __user *user)
{
	struct hmm_bench_mirror_stats stats = { .pages = 0 };
	bool known;

	mutex_lock(&bm->run_lock);
	known = bm->kind;
	if (known)
		bm->kind->stats(bm, &stats);
	mutex_unlock(&bm->run_lock);
	if (!known)
		return -ENXIO;
	return copy_to_user(user, &stats, sizeof(stats)) ? -EFAULT : 0;
}

static long bench_ioctl(struct file *filp, unsigned int cmd, unsigned long arg)
{
	struct bench_mirror *bm = filp->private_data;
	void __user *user = (void __user *)arg;

	switch (cmd) {
	case HMM_BENCH_MIRROR_REGISTER:
		return bench_ioctl_register(bm, user);
	case HMM_BENCH_MIRROR_RUN:
		return bench_ioctl_run(bm, user);
	case HMM_BENCH_MIRROR_STATS:
		return bench_ioctl_stats(bm, user);
	default:
		return -ENOTTY;
	}
}

static int bench_open(struct inode *inode, struct file *filp)
{
	struct bench_mirror *bm = kzalloc_obj(*bm);

	if (!bm)
		return -ENOMEM;
	mutex_init(&bm->run_lock);
	filp->private_data = bm;
	return 0;
}

static int bench_release(struct inode *inode, struct file *filp)
{
	struct bench_mirror *bm = filp->private_data;

	bench_detach(bm);
	mutex_destroy(&bm->run_lock);
	kfree(bm);
	return 0;
}

static const struct file_operations bench_fops = {
	.owner = THIS_MODULE,
	.open = bench_open,
	.release = bench_release,
	.unlocked_ioctl = bench_ioctl,
};

static struct miscdevice bench_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "hmm_bench_mirror",
	.fops = &bench_fops,
	.mode = 0600,
};

module_misc_device(bench_misc);
MODULE_DESCRIPTION("Times mirrors of the HMM toolbox and without it");
MODULE_LICENSE("GPL");
