// SPDX-License-Identifier: GPL-2.0
/*
 * PCI front of the HMM dummy device: binds to a real PCI device and reaches RAM
 * through DMA addresses made for it.
 *
 * It binds to nothing by itself.  For any device without a driver:
 *
 *   echo VENDOR DEVICE > /sys/bus/pci/drivers/hmm_dmirror/new_id
 *
 * The hardware is left alone: only its place behind the IOMMU counts.
 */
#include <linux/dma-mapping.h>
#include <linux/pci.h>

#include "hmm_dmirror.h"

static int dmirror_pci_probe(struct pci_dev *pdev,
			     const struct pci_device_id *id)
{
	char spec[] = "none";
	struct dmirror_device *dev;
	int ret;

	ret = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	if (ret)
		return ret;
	dev = dmirror_device_add(spec, &pdev->dev);
	if (IS_ERR(dev))
		return PTR_ERR(dev);
	pci_set_drvdata(pdev, dev);
	return 0;
}

static void dmirror_pci_remove(struct pci_dev *pdev)
{
	dmirror_device_remove(pci_get_drvdata(pdev));
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
