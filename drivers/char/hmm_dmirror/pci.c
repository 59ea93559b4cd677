// SPDX-License-Identifier: GPL-2.0
/*
 * PCI front of the HMM dummy device: binds to a real PCI device, reaches RAM
 * through DMA addresses made for it, and takes its memory for coherent device
 * memory.
 *
 * It binds to nothing by itself.  For any device without a driver:
 *
 *   echo VENDOR DEVICE > /sys/bus/pci/drivers/hmm_dmirror/new_id
 *
 * The device's memory is BAR 2, if that is prefetchable and can be plugged whole,
 * as that of QEMU's ivshmem-plain (1af4:1110).  Apart from it the hardware is left
 * alone: only its place behind the IOMMU counts.
 */
#include <linux/dma-mapping.h>
#include <linux/pci.h>

#include "hmm_dmirror.h"

#define DMIRROR_PCI_BAR		2

/* Prefetchable: not registers. */
static bool dmirror_pci_has_memory(struct pci_dev *pdev)
{
	const unsigned long wanted = IORESOURCE_MEM | IORESOURCE_PREFETCH;
	unsigned long flags = pci_resource_flags(pdev, DMIRROR_PCI_BAR);
	resource_size_t start = pci_resource_start(pdev, DMIRROR_PCI_BAR);
	resource_size_t size = pci_resource_len(pdev, DMIRROR_PCI_BAR);

	return (flags & (wanted | IORESOURCE_UNSET)) == wanted && size &&
	       IS_ALIGNED(start | size, DMIRROR_MEMORY_GRAIN);
}

static int dmirror_pci_probe(struct pci_dev *pdev,
			     const struct pci_device_id *id)
{
	bool memory = dmirror_pci_has_memory(pdev);
	struct dmirror_device *dev;
	char spec[64] = "none";
	int ret;

	ret = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	if (ret)
		return ret;
	if (memory) {
		ret = pci_enable_device_mem(pdev);
		if (ret)
			return ret;
		/* The toolbox claims the range. */
		snprintf(spec, sizeof(spec), "cdm@%#llx:%llu",
			 (u64)pci_resource_start(pdev, DMIRROR_PCI_BAR),
			 (u64)pci_resource_len(pdev, DMIRROR_PCI_BAR));
	}
	dev = dmirror_device_add(spec, &pdev->dev);
	if (IS_ERR(dev)) {
		if (memory)
			pci_disable_device(pdev);
		return PTR_ERR(dev);
	}
	pci_set_drvdata(pdev, dev);
	return 0;
}

static void dmirror_pci_remove(struct pci_dev *pdev)
{
	dmirror_device_remove(pci_get_drvdata(pdev));
	/*
	 * Pages that somebody holds were left behind.  They stay readable: this
	 * does not end the decoding of memory.
	 */
	if (dmirror_pci_has_memory(pdev))
		pci_disable_device(pdev);
}

static struct pci_driver dmirror_pci_driver = {
	.name = "hmm_dmirror",
	.probe = dmirror_pci_probe,
	.remove = dmirror_pci_remove,
};

int dmirror_pci_register(void)
{
	return pci_register_driver(&dmirror_pci_driver);
}

void dmirror_pci_unregister(void)
{
	pci_unregister_driver(&dmirror_pci_driver);
}
