// SPDX-License-Identifier: GPL-2.0
/*
 * Sleep states: what lies in device memory that loses power then is brought back to
 * RAM before tasks are frozen, and nothing moves there until they run again.
 *
 * The driver's own suspend callback comes too late for that.  Tasks are frozen then,
 * perhaps with a page that has to move, and the devices that swap out to are about
 * to go.
 */
#include <linux/bitops.h>
#include <linux/jiffies.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/suspend.h>
#include <linux/wait.h>
#include <kunit/visibility.h>

#include "internal.h"

/* So often an eviction is asked whether it gets on. */
#define HMM_PM_SLICE_MS		100
/* Whoever holds a page has so long to let go, or the transition is aborted. */
#define HMM_PM_STALL_MS		2000

static LIST_HEAD(hmm_pm_devmems);
static DEFINE_MUTEX(hmm_pm_lock);	/* protects all here and devmem.suspended */
/*
 * A bit for each PM_*_PREPARE without its PM_POST_*.  There may be several: an open
 * /dev/snapshot does not keep the system from being suspended.
 */
static unsigned long hmm_pm_transitions;
/* Cannot be removed now. */
static struct hmm_devmem *hmm_pm_evicting;
static DECLARE_WAIT_QUEUE_HEAD(hmm_pm_wait);

/* Hibernation takes the power from all memory, and keeps RAM only. */
static void hmm_pm_update(struct hmm_devmem *devmem)
{
	unsigned long transitions = hmm_pm_transitions;

	lockdep_assert_held(&hmm_pm_lock);
	if (!devmem->desc.loses_power)
		transitions &= ~BIT(PM_SUSPEND_PREPARE);
	WRITE_ONCE(devmem->suspended, !!transitions);
}

/* A new devmem; comes before anybody can allocate there. */
void hmm_pm_add_devmem(struct hmm_devmem *devmem)
{
	guard(mutex)(&hmm_pm_lock);
	hmm_pm_update(devmem);
	list_add_tail(&devmem->pm_link, &hmm_pm_devmems);
}

/* @devmem is draining, which ends an eviction here soon. */
void hmm_pm_remove_devmem(struct hmm_devmem *devmem)
{
	mutex_lock(&hmm_pm_lock);
	while (hmm_pm_evicting == devmem) {
		mutex_unlock(&hmm_pm_lock);
		wait_event(hmm_pm_wait, READ_ONCE(hmm_pm_evicting) != devmem);
		mutex_lock(&hmm_pm_lock);
	}
	list_del(&devmem->pm_link);
	mutex_unlock(&hmm_pm_lock);
}

static void hmm_pm_set_evicting(struct hmm_devmem *devmem)
{
	lockdep_assert_held(&hmm_pm_lock);

	WRITE_ONCE(hmm_pm_evicting, devmem);
	wake_up_all(&hmm_pm_wait);
}

/* The one after @devmem, or the first after NULL; NULL if there is none. */
static struct hmm_devmem *hmm_pm_next(struct hmm_devmem *devmem)
{
	struct list_head *next;

	guard(mutex)(&hmm_pm_lock);
	next = devmem ? devmem->pm_link.next : hmm_pm_devmems.next;
	devmem = next == &hmm_pm_devmems ?
		 NULL : list_entry(next, struct hmm_devmem, pm_link);
	hmm_pm_set_evicting(devmem);
	return devmem;
}

/*
 * Bring back all pages.  What is being removed is left to the removal, which brings
 * them back as well; the freezer or the lock of the device waits for it.
 */
static int hmm_pm_evict(struct hmm_devmem *devmem)
{
	const unsigned long stall = msecs_to_jiffies(HMM_PM_STALL_MS);
	struct hmm_evict_control control = {
		.nr_pages = ULONG_MAX,
		.before = U64_MAX,
		.worst = HMM_DEVMEM_LIVE,
	};
	struct hmm_devmem_evict_result result;
	unsigned long give_up = jiffies + stall;
	int err;

	do {
		control.deadline = jiffies + msecs_to_jiffies(HMM_PM_SLICE_MS);
		err = hmm_evict(devmem, &control, &result);
		if (READ_ONCE(devmem->state) != HMM_DEVMEM_LIVE)
			return 0;
		if (result.evicted)
			give_up = jiffies + stall;
	} while (err == -ETIME && time_before(jiffies, give_up));

	if (err != -ETIME)
		return err;
	if (result.failed > hmm_poison_in_use(devmem, 0,
					      hmm_devmem_nr_pages(devmem)))
		return -EIO;
	return result.no_ram ? -ENOMEM : -EBUSY;
}

static void hmm_pm_set_transition(unsigned long event, bool on)
{
	struct hmm_devmem *devmem;

	guard(mutex)(&hmm_pm_lock);
	__assign_bit(event, &hmm_pm_transitions, on);
	list_for_each_entry(devmem, &hmm_pm_devmems, pm_link)
		hmm_pm_update(devmem);
}

static int hmm_pm_prepare(unsigned long event)
{
	struct hmm_devmem *devmem = NULL;
	int err = 0;

	hmm_pm_set_transition(event, true);
	while ((devmem = hmm_pm_next(devmem))) {
		if (!READ_ONCE(devmem->suspended))
			continue;
		/* From here on nobody is about to move something in. */
		synchronize_srcu(&devmem->srcu);
		err = hmm_pm_evict(devmem);
		if (err)
			break;
		hmm_block_put_free(devmem, ULONG_MAX, HMM_DEVMEM_LIVE);
	}
	if (!err)
		return 0;

	pr_info("hmm: cannot empty the memory of %s: %pe\n", devmem->desc.name,
		ERR_PTR(err));
	scoped_guard(mutex, &hmm_pm_lock)
		hmm_pm_set_evicting(NULL);
	/* No PM_POST_* comes to whoever refuses. */
	hmm_pm_set_transition(event, false);
	return err;
}

/**
 * hmm_pm_notify() - the system goes to sleep or has woken up
 * @nb: unused
 * @event: PM_*_PREPARE: block allocation and evict; PM_POST_*: allow it again
 * @unused: unused
 *
 * Context: process context, before tasks are frozen and after they were thawed; one
 * call at a time, but for PM_POST_*.
 * Return: NOTIFY_DONE or NOTIFY_OK, or a negative errno as notifier_from_errno()
 * makes it, which aborts the transition:
 * * -ENOMEM - RAM ran out
 * * -EBUSY - pages stay because somebody holds them
 * * -EIO - pages stay because the device failed to copy them
 * * -EINTR - a fatal signal arrived
 */
int hmm_pm_notify(struct notifier_block *nb, unsigned long event, void *unused)
{
	switch (event) {
	case PM_HIBERNATION_PREPARE:
	case PM_SUSPEND_PREPARE:
	case PM_RESTORE_PREPARE:
		return notifier_from_errno(hmm_pm_prepare(event));
	case PM_POST_HIBERNATION:
		hmm_pm_set_transition(PM_HIBERNATION_PREPARE, false);
		return NOTIFY_OK;
	case PM_POST_SUSPEND:
		hmm_pm_set_transition(PM_SUSPEND_PREPARE, false);
		return NOTIFY_OK;
	case PM_POST_RESTORE:
		hmm_pm_set_transition(PM_RESTORE_PREPARE, false);
		return NOTIFY_OK;
	default:
		return NOTIFY_DONE;
	}
}
EXPORT_SYMBOL_IF_KUNIT(hmm_pm_notify);

static struct notifier_block hmm_pm_notifier = {
	.notifier_call = hmm_pm_notify,
};

int __init hmm_pm_init(void)
{
	return register_pm_notifier(&hmm_pm_notifier);
}

void hmm_pm_exit(void)
{
	unregister_pm_notifier(&hmm_pm_notifier);
}
