// SPDX-License-Identifier: GPL-2.0
/*
 * HMM dummy device: module parameters, devices and their memory.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/device.h>
#include <linux/highmem.h>
#include <linux/init.h>
#include <linux/ioport.h>
#include <linux/kmemleak.h>
#include <linux/module.h>
#include <linux/numa.h>
#include <linux/sched.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/suspend.h>
#include <linux/vmalloc.h>

#include "hmm_dmirror.h"

/* Fills new device memory: seen by a process, it shows that a clear is missing. */
#define DMIRROR_STALE_DATA		0xa5
#define DMIRROR_REMOVE_TIMEOUT_MS	10000
/* Of each page, when the memory loses power: enough to tell. */
#define DMIRROR_LOST_BYTES		64
#define DMIRROR_PRIVATE_MAX		(64ULL * SZ_1G)

static char *devices = "none";
module_param(devices, charp, 0444);
MODULE_PARM_DESC(devices,
		 "Devices, separated by commas: private:<size>[:shared], cdm@<physical address>:<size>[:shared] or none (default none)");

static unsigned int engines = 2;
module_param(engines, uint, 0444);
MODULE_PARM_DESC(engines, "Engines of each device, 1 to 8 (default 2)");

unsigned int dmirror_fault_timeout_ms = 3000;
module_param_named(fault_timeout_ms, dmirror_fault_timeout_ms, uint, 0444);
MODULE_PARM_DESC(fault_timeout_ms,
		 "How long a device page fault retries, in milliseconds, 1 to 600000 (default 3000)");

#define DMIRROR_MAX_TIMEOUT_MS		600000

static DEFINE_MUTEX(dmirror_devices_lock);	/* protects dmirror_devices */
static struct dmirror_device *dmirror_devices[DMIRROR_MAX_DEVICES];

/**
 * dmirror_inject() - ask whether this job is one to fail
 * @dev: the device
 * @what: the kind of job
 * @value: out, the injection's argument; may be NULL
 *
 * Return: true if an injection hits this job.
 */
bool dmirror_inject(struct dmirror_device *dev, enum hmm_dmirror_injection what,
		    u32 *value)
{
	struct dmirror_injection *injection = &dev->inject[what];
	bool hit = false;

	spin_lock(&dev->inject_lock);
	if (!injection->count) {
		;
	} else if (injection->after) {
		injection->after--;
	} else {
		injection->count--;
		if (value)
			*value = injection->value;
		hit = true;
	}
	spin_unlock(&dev->inject_lock);
	return hit;
}

/* A number with an optional suffix K, M or G; overflow is an error. */
static int dmirror_parse_size(char *string, u64 *size)
{
	size_t length = strlen(string);
	unsigned int shift = 0;
	int ret;

	switch (length ? string[length - 1] : 0) {
	case 'G':
	case 'g':
		shift += 10;
		fallthrough;
	case 'M':
	case 'm':
		shift += 10;
		fallthrough;
	case 'K':
	case 'k':
		shift += 10;
		string[length - 1] = 0;
	}
	ret = kstrtou64(string, 0, size);
	if (ret)
		return ret;
	if (*size > U64_MAX >> shift)
		return -ERANGE;
	*size <<= shift;
	return 0;
}

static bool dmirror_memory_valid(const struct dmirror_device *dev)
{
	if (!dev->size || !IS_ALIGNED(dev->size | dev->phys,
				      DMIRROR_MEMORY_GRAIN))
		return false;
	if (dev->memory == HMM_DMIRROR_MEMORY_PRIVATE)
		return dev->size <= DMIRROR_PRIVATE_MAX;
	return dev->phys + dev->size - 1 > dev->phys;
}

static int dmirror_parse_device(struct dmirror_device *dev, char *spec)
{
	char *size, *option;

	if (!strcmp(spec, "none"))
		return 0;

	size = strchr(spec, ':');
	if (!size) {
		pr_err("devices: '%s' is none of private:<size>, cdm@<physical address>:<size>, none\n",
		       spec);
		return -EINVAL;
	}
	*size++ = 0;
	option = strchr(size, ':');
	if (option) {
		*option++ = 0;
		if (strcmp(option, "shared")) {
			pr_err("devices: unknown option '%s'\n", option);
			return -EINVAL;
		}
		dev->shared = true;
	}
	if (!strcmp(spec, "private")) {
		dev->memory = HMM_DMIRROR_MEMORY_PRIVATE;
	} else if (str_has_prefix(spec, "cdm@")) {
		dev->memory = HMM_DMIRROR_MEMORY_CDM;
		if (dmirror_parse_size(spec + strlen("cdm@"), &dev->phys)) {
			pr_err("devices: '%s' has no valid physical address\n",
			       spec);
			return -EINVAL;
		}
	} else {
		pr_err("devices: unknown kind of device '%s'\n", spec);
		return -EINVAL;
	}
	if (dmirror_parse_size(size, &dev->size)) {
		pr_err("devices: '%s' is not a valid size\n", size);
		return -EINVAL;
	}
	if (!dmirror_memory_valid(dev)) {
		pr_err("devices: size and address of %s must be multiples of 2M, the size not 0 and that of private memory at most 64G\n",
		       spec);
		return -EINVAL;
	}
	return 0;
}

/* When the system is suspended; a reserved region is RAM in truth. */
static bool dmirror_loses_power(const struct dmirror_device *dev)
{
	return dev->memory == HMM_DMIRROR_MEMORY_PRIVATE ||
	       (dev->memory == HMM_DMIRROR_MEMORY_CDM && dev->dma_dev);
}

static int dmirror_memory_add(struct dmirror_device *dev)
{
	const struct hmm_devmem_desc desc = {
		.ops = dev->shared ? &dmirror_shared_devmem_ops :
				     &dmirror_devmem_ops,
		.owner = dev,
		.private = dev,
		.name = dev->name,
		.nid = dev->dma_dev ? dev_to_node(dev->dma_dev) : NUMA_NO_NODE,
		.loses_power = dmirror_loses_power(dev),
	};
	struct hmm_devmem *devmem;
	u64 offset;
	int ret;

	if (dev->memory == HMM_DMIRROR_MEMORY_NONE)
		return 0;

	ret = dmirror_copy_engine_start(dev);
	if (!ret && dev->shared)
		ret = dmirror_buffers_init(dev);
	if (ret)
		return ret;

	if (dev->memory == HMM_DMIRROR_MEMORY_CDM) {
		const struct resource res =
			DEFINE_RES_MEM_NAMED(dev->phys, dev->size, desc.name);

		devmem = hmm_devmem_add_resource(&desc, &res);
	} else {
		dev->storage = vmalloc(dev->size);
		if (!dev->storage)
			return -ENOMEM;
		/* What processes left there must not hide a leak. */
		kmemleak_no_scan(dev->storage);
		for (offset = 0; offset < dev->size; offset += SZ_2M) {
			memset(dev->storage + offset, DMIRROR_STALE_DATA, SZ_2M);
			cond_resched();
		}
		devmem = hmm_devmem_add(&desc, dev->size);
	}
	if (IS_ERR(devmem))
		return PTR_ERR(devmem);
	dev->devmem = devmem;
	return 0;
}

/*
 * Undoes any part of dmirror_memory_add().  No mirror is left, so no engine reaches
 * the memory, and no ioctl uses it.
 */
static void dmirror_memory_remove(struct dmirror_device *dev)
{
	unsigned int timeout_ms = DMIRROR_REMOVE_TIMEOUT_MS;
	int ret = 0;

	/* No time brings back what lies in a device that has vanished. */
	if (dmirror_inject(dev, HMM_DMIRROR_INJECT_GONE, NULL)) {
		WRITE_ONCE(dev->gone, true);
		timeout_ms = 0;
	}
	if (dev->devmem)
		ret = hmm_devmem_remove(dev->devmem, timeout_ms, NULL);
	if (ret)
		pr_warn("%s: lost pages that were in use\n", dev->name);
	dev->devmem = NULL;
	dmirror_buffers_drop(dev, !ret);
	dmirror_copy_engine_stop(dev);
	vfree(dev->storage);
	dev->storage = NULL;
}

/*
 * Keep the device memory until dmirror_memory_leave().  A removal of the device
 * waits for that, so it must not wait for userspace.
 */
int dmirror_memory_enter(struct dmirror_device *dev)
{
	int ret = down_read_killable(&dev->memory_lock);

	if (ret)
		return ret;
	if (!READ_ONCE(dev->removed))
		return 0;
	up_read(&dev->memory_lock);
	return -ENODEV;
}

/*
 * The same with the memory of another device kept: there is no order among devices.
 * Only a removal holds the lock for writing or waits for it.
 */
int dmirror_memory_enter_another(struct dmirror_device *dev)
{
	if (!down_read_trylock(&dev->memory_lock))
		return -ENODEV;
	if (!READ_ONCE(dev->removed))
		return 0;
	up_read(&dev->memory_lock);
	return -ENODEV;
}

void dmirror_memory_leave(struct dmirror_device *dev)
{
	up_read(&dev->memory_lock);
}

/* Undoes any part of dmirror_device_create(); no context is left. */
static void dmirror_device_release(struct kref *refs)
{
	struct dmirror_device *dev = container_of(refs, struct dmirror_device,
						  refs);

	dmirror_engines_stop(dev);
	dmirror_memory_remove(dev);
	mutex_destroy(&dev->buffers.lock);
	mutex_destroy(&dev->ctx_lock);
	kfree(dev);
}

void dmirror_device_put(struct dmirror_device *dev)
{
	kref_put(&dev->refs, dmirror_device_release);
}

static struct dmirror_device *dmirror_device_create(char *spec,
						    unsigned int index,
						    struct device *dma_dev)
{
	struct dmirror_device *dev = kzalloc_obj(*dev);
	int ret;

	if (!dev)
		return ERR_PTR(-ENOMEM);
	kref_init(&dev->refs);
	snprintf(dev->name, sizeof(dev->name), "hmm_dmirror%u", index);
	dev->misc.minor = MISC_DYNAMIC_MINOR;
	dev->misc.name = dev->name;
	dev->misc.fops = &dmirror_fops;
	dev->misc.mode = 0600;
	/* Shows in sysfs which device this one sits on. */
	dev->misc.parent = dma_dev;
	dev->dma_dev = dma_dev;
	mutex_init(&dev->ctx_lock);
	INIT_LIST_HEAD(&dev->contexts);
	init_rwsem(&dev->memory_lock);
	mutex_init(&dev->buffers.lock);
	INIT_LIST_HEAD(&dev->buffers.list);
	spin_lock_init(&dev->run_lock);
	INIT_LIST_HEAD(&dev->runs);
	init_waitqueue_head(&dev->run_wait);
	spin_lock_init(&dev->inject_lock);
	spin_lock_init(&dev->copy.lock);
	INIT_LIST_HEAD(&dev->copy.jobs);
	init_waitqueue_head(&dev->copy.wait);

	ret = dmirror_parse_device(dev, spec);
	if (ret)
		goto put;
	ret = dmirror_memory_add(dev);
	if (ret) {
		pr_err("%s: cannot add %llu bytes of memory: %pe\n", dev->name,
		       dev->size, ERR_PTR(ret));
		goto put;
	}
	ret = dmirror_engines_start(dev, engines);
	if (ret)
		goto put;
	return dev;

put:
	dmirror_device_put(dev);
	return ERR_PTR(ret);
}

/**
 * dmirror_device_add() - make a device and its node
 * @spec: what it is, as in the module parameter; modified
 * @dma_dev: device to map memory for, or NULL
 *
 * Return: the device, or an ERR_PTR: -EINVAL for a bad @spec or too many
 * devices, or what went wrong.
 */
struct dmirror_device *dmirror_device_add(char *spec, struct device *dma_dev)
{
	struct dmirror_device *dev;
	unsigned int index;
	int ret;

	guard(mutex)(&dmirror_devices_lock);
	for (index = 0; index < DMIRROR_MAX_DEVICES; index++)
		if (!dmirror_devices[index])
			break;
	if (index == DMIRROR_MAX_DEVICES) {
		pr_err("devices: more than %d\n", DMIRROR_MAX_DEVICES);
		return ERR_PTR(-EINVAL);
	}
	dev = dmirror_device_create(spec, index, dma_dev);
	if (IS_ERR(dev))
		return dev;
	ret = misc_register(&dev->misc);
	if (ret) {
		dmirror_device_put(dev);
		return ERR_PTR(ret);
	}
	dmirror_devices[index] = dev;
	return dev;
}

/*
 * Take a device away.  Files may be open; they find that it is gone.  Afterwards
 * nobody uses the hardware any more, nor its memory, but for pages that could not
 * be brought back.
 */
void dmirror_device_remove(struct dmirror_device *dev)
{
	unsigned int index;

	/* Waits for an open() in progress. */
	misc_deregister(&dev->misc);
	dmirror_end_mirrors(dev);
	/* Wait for the ioctls that use the memory: later ones find it gone. */
	down_write(&dev->memory_lock);
	up_write(&dev->memory_lock);
	dmirror_memory_remove(dev);
	scoped_guard(mutex, &dmirror_devices_lock)
		for (index = 0; index < DMIRROR_MAX_DEVICES; index++)
			if (dmirror_devices[index] == dev)
				dmirror_devices[index] = NULL;
	dmirror_device_put(dev);
}

static void dmirror_devices_remove(void)
{
	unsigned int index = DMIRROR_MAX_DEVICES;

	while (index--)
		if (dmirror_devices[index])
			dmirror_device_remove(dmirror_devices[index]);
}

/*
 * Nothing of a process is in the memory any more: the toolbox has seen to that.
 * 0, or -ENOMEM if the device's own buffers cannot be saved.
 */
static int dmirror_lose_power(struct dmirror_device *dev)
{
	u64 offset;
	int ret;

	guard(rwsem_read)(&dev->memory_lock);
	guard(mutex)(&dev->buffers.lock);
	if (READ_ONCE(dev->removed))
		return 0;
	ret = dmirror_buffers_save(dev);
	if (ret)
		return ret;
	for (offset = 0; offset < dev->size; offset += PAGE_SIZE) {
		if (dev->storage)
			memset(dev->storage + offset, DMIRROR_STALE_DATA,
			       DMIRROR_LOST_BYTES);
		else
			memset_page(pfn_to_page(PHYS_PFN(dev->phys + offset)), 0,
				    DMIRROR_STALE_DATA, DMIRROR_LOST_BYTES);
		cond_resched();
	}
	return 0;
}

/*
 * Hardware would lose its memory later, with tasks frozen.  It could not lose more:
 * nothing moves in from here on.
 */
static int dmirror_pm_notify(struct notifier_block *nb, unsigned long event,
			     void *unused)
{
	struct dmirror_device *dev;
	unsigned int index;
	int ret = 0;

	if (event != PM_SUSPEND_PREPARE && event != PM_HIBERNATION_PREPARE &&
	    event != PM_RESTORE_PREPARE)
		return NOTIFY_DONE;
	guard(mutex)(&dmirror_devices_lock);
	for (index = 0; !ret && index < DMIRROR_MAX_DEVICES; index++) {
		dev = dmirror_devices[index];
		if (dev && (event != PM_SUSPEND_PREPARE ||
			    dmirror_loses_power(dev)))
			ret = dmirror_lose_power(dev);
	}
	return notifier_from_errno(ret);
}

static struct notifier_block dmirror_pm_notifier = {
	.notifier_call = dmirror_pm_notify,
	.priority = -1,		/* after the toolbox */
};

static int __init dmirror_devices_create(void)
{
	char *copy, *rest, *spec;
	struct dmirror_device *dev;
	int ret = 0;

	copy = kstrdup(devices, GFP_KERNEL);
	if (!copy)
		return -ENOMEM;
	rest = copy;
	while ((spec = strsep(&rest, ","))) {
		dev = dmirror_device_add(spec, NULL);
		if (IS_ERR(dev)) {
			ret = PTR_ERR(dev);
			break;
		}
	}
	kfree(copy);
	return ret;
}

static int __init dmirror_init(void)
{
	int ret;

	if (!engines || engines > DMIRROR_MAX_ENGINES) {
		pr_err("engines: %u is not in 1..%d\n", engines,
		       DMIRROR_MAX_ENGINES);
		return -EINVAL;
	}
	if (!dmirror_fault_timeout_ms ||
	    dmirror_fault_timeout_ms > DMIRROR_MAX_TIMEOUT_MS) {
		pr_err("fault_timeout_ms: %u is not in 1..%d\n",
		       dmirror_fault_timeout_ms, DMIRROR_MAX_TIMEOUT_MS);
		return -EINVAL;
	}
	dmirror_wq = alloc_workqueue("hmm_dmirror", WQ_UNBOUND, 0);
	if (!dmirror_wq)
		return -ENOMEM;
	ret = register_pm_notifier(&dmirror_pm_notifier);
	if (ret)
		goto destroy_wq;
	ret = dmirror_devices_create();
	if (!ret)
		ret = dmirror_pci_register();
	if (!ret) {
		dmirror_allow_open(true);
		return 0;
	}
	unregister_pm_notifier(&dmirror_pm_notifier);
	dmirror_devices_remove();
destroy_wq:
	destroy_workqueue(dmirror_wq);
	return ret;
}

static void __exit dmirror_exit(void)
{
	dmirror_pci_unregister();
	unregister_pm_notifier(&dmirror_pm_notifier);
	/* Waits for the end of the work that dropped the last module reference. */
	flush_workqueue(dmirror_wq);
	dmirror_devices_remove();
	destroy_workqueue(dmirror_wq);
}

module_init(dmirror_init);
module_exit(dmirror_exit);
MODULE_DESCRIPTION("HMM dummy device");
MODULE_LICENSE("GPL");
