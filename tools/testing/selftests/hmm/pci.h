/* SPDX-License-Identifier: GPL-2.0 */
/*
 * PCI devices that HMM dummy devices sit on, and the BAR that is device memory.
 */
#ifndef _SELFTESTS_HMM_PCI_H
#define _SELFTESTS_HMM_PCI_H

#include <glob.h>
#include <inttypes.h>

#include "memory.h"

#define PCI_DRIVER	"/sys/bus/pci/drivers/hmm_dmirror/"
#define PCI_DEVICES	"/sys/bus/pci/devices/"
#define PCI_MEMORY	2	/* the BAR that the driver takes */

struct pci_bar {
	char address[32];	/* of the PCI device */
	uint64_t start;
	uint64_t end;		/* the last byte */
};

/* N of the hmm_dmirror<N> that sits on the PCI device; -ENODEV without. */
static inline int device_number(const struct pci_bar *bar)
{
	int number = -ENODEV;
	char pattern[128];
	glob_t files;

	snprintf(pattern, sizeof(pattern),
		 PCI_DEVICES "%s/misc/hmm_dmirror[0-9]*", bar->address);
	if (glob(pattern, 0, NULL, &files))
		return -ENODEV;
	if (files.gl_pathc == 1)
		number = atoi(strrchr(files.gl_pathv[0], '/') +
			      strlen("/hmm_dmirror"));
	globfree(&files);
	return number;
}

/* Open the device that sits on the PCI device; 0 or -errno. */
static inline int open_on(const struct pci_bar *bar, struct dmirror *dev)
{
	int number = device_number(bar);

	dev->fd = -1;
	return number < 0 ? number : dmirror_open(dev, number);
}

static inline bool read_bar(struct pci_bar *bar)
{
	char path[128], line[128] = "";
	FILE *file;
	int i;

	snprintf(path, sizeof(path), PCI_DEVICES "%s/resource", bar->address);
	file = fopen(path, "r");
	if (!file)
		return false;
	for (i = 0; i <= PCI_MEMORY; i++)
		if (!fgets(line, sizeof(line), file))
			line[0] = 0;
	fclose(file);
	return sscanf(line, "%" SCNx64 " %" SCNx64, &bar->start,
		      &bar->end) == 2;
}

/* The first PCI device with a dummy device that has @memory; -ENODEV without. */
static inline int find_pci(struct pci_bar *bar, enum hmm_dmirror_memory memory)
{
	int ret = -ENODEV;
	struct dmirror dev;
	glob_t links;
	size_t i;

	if (glob(PCI_DRIVER "*:*:*.*", 0, NULL, &links))
		return -ENODEV;
	for (i = 0; ret && i < links.gl_pathc; i++) {
		snprintf(bar->address, sizeof(bar->address), "%s",
			 links.gl_pathv[i] + strlen(PCI_DRIVER));
		if (open_on(bar, &dev))
			continue;
		if (dev.info.memory == memory && read_bar(bar))
			ret = 0;
		dmirror_close(&dev);
	}
	globfree(&links);
	return ret;
}

static inline int unbind_device(const struct pci_bar *bar)
{
	return write_text(PCI_DRIVER "unbind", bar->address);
}

static inline int bind_device(const struct pci_bar *bar)
{
	return write_text(PCI_DRIVER "bind", bar->address);
}

static inline bool is_bound(const struct pci_bar *bar)
{
	char link[128];

	snprintf(link, sizeof(link), PCI_DRIVER "%s", bar->address);
	return !access(link, F_OK);
}

/* Does a claim of the whole BAR for device memory show in /proc/iomem? */
static inline bool is_claimed(const struct pci_bar *bar)
{
	FILE *file = fopen("/proc/iomem", "r");
	uint64_t start, end;
	bool found = false;
	char line[256];
	int name;

	while (file && !found && fgets(line, sizeof(line), file))
		found = sscanf(line, " %" SCNx64 "-%" SCNx64 " : %n", &start,
			       &end, &name) == 2 &&
			start == bar->start && end == bar->end &&
			!strncmp(line + name, "hmm_dmirror", 11);
	if (file)
		fclose(file);
	return found;
}

/* Neither driver nor dummy device nor claim. */
static inline bool is_gone(const struct pci_bar *bar)
{
	return !is_bound(bar) && device_number(bar) < 0 && !is_claimed(bar);
}

/* Pages whose frames lie in the BAR, or -EIO. */
static inline long in_bar(const struct pci_bar *bar, const void *start,
			  size_t length)
{
	size_t nr = length / page_size(), i;
	uint64_t *entries = calloc(nr, sizeof(*entries));
	long found = 0;

	if (!entries || !read_pagemap(start, nr, entries))
		found = -EIO;
	for (i = 0; found >= 0 && i < nr; i++) {
		uint64_t at = (entries[i] & PM_FRAME) * page_size();

		found += (entries[i] & PM_PRESENT) && at >= bar->start &&
			 at < bar->end;
	}
	free(entries);
	return found;
}

/* The device works for a new file, with memory in the BAR. */
static inline void expect_bar_works(struct __test_metadata *_metadata,
				    const struct pci_bar *bar, uint64_t seed)
{
	size_t nr = 16, length = nr * page_size();
	char *data = map_alone(length, false);
	struct dmirror dev;
	uint64_t sum;

	ASSERT_NE(NULL, data);
	ASSERT_EQ(0, open_on(bar, &dev));
	EXPECT_EQ(0, dev.info.memory_used);
	fill(data, length, seed);
	EXPECT_TRUE(move_in(&dev, data, length));
	EXPECT_EQ(nr, in_bar(bar, data, length));
	EXPECT_EQ(0, dmirror_sum(&dev, data, length, &sum));
	EXPECT_EQ(pattern_sum(length, seed), sum);
	EXPECT_EQ(0, differences(data, length, seed));
	dmirror_close(&dev);
	munmap(data, length);
}

#endif /* _SELFTESTS_HMM_PCI_H */
