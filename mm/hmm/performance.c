// SPDX-License-Identifier: GPL-2.0
/*
 * Device memory: where firmware says that it lies, and how fast it is.
 *
 * Nothing else in the toolbox depends on it.  Firmware describes memory by its
 * physical address, so it can describe only what the CPU addresses: not private
 * memory, whose range is made up.
 */
#include <linux/export.h>
#include <linux/ioport.h>
#include <linux/memory-tiers.h>
#include <linux/node.h>
#include <linux/numa.h>

#include "internal.h"

/*
 * Is it memory that firmware has told of?  What the ranges of a node span is not: the
 * kernel makes one of several, with the windows of PCI buses between them.
 */
static bool hmm_devmem_described(const struct hmm_devmem *devmem)
{
	const struct resource *parent = devmem->res->parent;

	return parent == &iomem_resource || parent->desc == IORES_DESC_RESERVED ||
	       parent->desc == IORES_DESC_SOFT_RESERVED;
}

/*
 * The node of the proximity domain that the memory lies in, or NUMA_NO_NODE.
 * Without CONFIG_NUMA_MEMBLKS phys_to_target_node() knows nothing and says 0.
 */
static int hmm_devmem_firmware_node(const struct hmm_devmem *devmem)
{
	if (!IS_ENABLED(CONFIG_NUMA_MEMBLKS) ||
	    devmem->pgmap.type != MEMORY_DEVICE_COHERENT ||
	    !hmm_devmem_described(devmem))
		return NUMA_NO_NODE;
	return phys_to_target_node(devmem->pgmap.range.start);
}

/**
 * hmm_devmem_get_node() - the NUMA node of device memory
 * @devmem: device memory
 *
 * For CDM in a proximity domain of the firmware it is the node of that domain.
 * If drivers use all the memory that it has, that node is never online.
 *
 * Context: any.
 * Return: the node, possible but not always online; for other memory
 * &hmm_devmem_desc.nid, the node near the device, or NUMA_NO_NODE.
 */
int hmm_devmem_get_node(const struct hmm_devmem *devmem)
{
	int nid = hmm_devmem_firmware_node(devmem);

	return nid == NUMA_NO_NODE ? devmem->desc.nid : nid;
}
EXPORT_SYMBOL_GPL(hmm_devmem_get_node);

/**
 * hmm_devmem_get_performance() - what firmware says of the speed of device memory
 * @devmem: device memory
 * @perf: filled, if the call succeeds
 *
 * The source is the HMAT, for the memory's own proximity domain and the initiator
 * that is nearest to it: a CPU, or a device that firmware calls an initiator.  The
 * values of a node that is merely near the device are not those of its memory.
 *
 * Context: process context, may sleep.
 * Return:
 * * 0 - @perf has at least one value
 * * -EOPNOTSUPP - the kernel lacks hmat_get_coordinates() or CONFIG_ACPI_HMAT
 * * -ENODATA - firmware reported nothing for this memory
 */
int hmm_devmem_get_performance(const struct hmm_devmem *devmem,
			       struct hmm_devmem_performance *perf)
{
#ifdef hmat_get_coordinates
	struct access_coordinate coord;
	int err;

	err = hmat_get_coordinates(hmm_devmem_firmware_node(devmem),
				   ACCESS_COORDINATE_LOCAL, &coord);
	if (err)
		return err == -EOPNOTSUPP ? -EOPNOTSUPP : -ENODATA;
	if (!coord.read_latency && !coord.write_latency &&
	    !coord.read_bandwidth && !coord.write_bandwidth)
		return -ENODATA;

	*perf = (struct hmm_devmem_performance){
		.read_latency = coord.read_latency,
		.write_latency = coord.write_latency,
		.read_bandwidth = coord.read_bandwidth,
		.write_bandwidth = coord.write_bandwidth,
	};
	return 0;
#else
	return -EOPNOTSUPP;
#endif
}
EXPORT_SYMBOL_GPL(hmm_devmem_get_performance);
