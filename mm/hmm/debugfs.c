// SPDX-License-Identifier: GPL-2.0
/*
 * What the toolbox shows in debugfs, below hmm/.
 *
 * mirrors: a line for each registered mirror; devmems: a line for each device
 * memory that has struct pages, counts in base pages.  Both after a line with the
 * names of the columns.
 */
#include <linux/debugfs.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/seq_file.h>

#include "mirror.h"

static struct dentry *hmm_debugfs_dir;
static LIST_HEAD(hmm_mirrors);
static DEFINE_MUTEX(hmm_mirrors_lock);	/* protects hmm_mirrors, next_mirror */
static unsigned int next_mirror;
static LIST_HEAD(hmm_devmems);
static DEFINE_MUTEX(hmm_devmems_lock);	/* protects hmm_devmems, next_devmem */
static unsigned int next_devmem;

static int mirrors_show(struct seq_file *m, void *unused)
{
	struct hmm_mirror *mirror;

	seq_puts(m, "mirror device start end faults retries timeouts invalidations flushes mapped_pages mapped_entries dma_retries\n");
	guard(mutex)(&hmm_mirrors_lock);
	list_for_each_entry(mirror, &hmm_mirrors, link) {
		struct device *dev = mirror->desc.dma_dev;
		struct hmm_mirror_stats stats;

		hmm_mirror_get_stats(mirror, &stats);
		seq_printf(m, "%u ", mirror->id);
		seq_escape(m, dev ? dev_name(dev) : "-", " \t\n\\");
		seq_printf(m, " %#lx %#lx %llu %llu %llu %llu %llu %llu %llu %llu\n",
			   mirror->desc.start, mirror->desc.end, stats.faults,
			   stats.retries, stats.timeouts, stats.invalidations,
			   stats.flushes, stats.mapped_pages,
			   stats.mapped_entries, stats.dma_retries);
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(mirrors);

void hmm_debugfs_add_mirror(struct hmm_mirror *mirror)
{
	guard(mutex)(&hmm_mirrors_lock);
	mirror->id = next_mirror++;
	list_add_tail(&mirror->link, &hmm_mirrors);
}

void hmm_debugfs_remove_mirror(struct hmm_mirror *mirror)
{
	guard(mutex)(&hmm_mirrors_lock);
	list_del(&mirror->link);
}

static int devmems_show(struct seq_file *m, void *unused)
{
	struct hmm_devmem *devmem;

	seq_puts(m, "devmem name kind node start end total owned used huge peak migrated_in migrated_out evicted failed cpu_faults poisoned from_peers through_ram busy_ns idle_ns bounces suppressed\n");
	guard(mutex)(&hmm_devmems_lock);
	list_for_each_entry(devmem, &hmm_devmems, link) {
		const struct range *range = &devmem->pgmap.range;
		struct hmm_devmem_stats stats;

		hmm_devmem_get_stats(devmem, &stats);
		seq_printf(m, "%u ", devmem->id);
		seq_escape(m, devmem->desc.name, " \t\n\\");
		seq_printf(m, " %s %d %#llx %#llx %llu %llu %llu %llu %llu %llu %llu %llu %llu %llu %llu %llu %llu %llu %llu %llu %llu\n",
			   devmem->pgmap.type == MEMORY_DEVICE_PRIVATE ?
			   "private" : "cdm", devmem->desc.nid, range->start,
			   range->end + 1, stats.total, stats.owned,
			   stats.used, stats.huge,
			   stats.peak, stats.migrated_in, stats.migrated_out, stats.evicted,
			   stats.failed, stats.cpu_faults, stats.poisoned,
			   stats.from_peers, stats.through_ram,
			   stats.busy_ns, stats.idle_ns,
			   stats.bounces, stats.suppressed);
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(devmems);

void hmm_debugfs_add_devmem(struct hmm_devmem *devmem)
{
	guard(mutex)(&hmm_devmems_lock);
	devmem->id = next_devmem++;
	list_add_tail(&devmem->link, &hmm_devmems);
}

void hmm_debugfs_remove_devmem(struct hmm_devmem *devmem)
{
	guard(mutex)(&hmm_devmems_lock);
	list_del(&devmem->link);
}

void hmm_debugfs_init(void)
{
	hmm_debugfs_dir = debugfs_create_dir("hmm", NULL);
	debugfs_create_file("mirrors", 0400, hmm_debugfs_dir, NULL,
			    &mirrors_fops);
	debugfs_create_file("devmems", 0400, hmm_debugfs_dir, NULL,
			    &devmems_fops);
}

void hmm_debugfs_exit(void)
{
	debugfs_remove(hmm_debugfs_dir);
}
