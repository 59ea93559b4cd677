// SPDX-License-Identifier: GPL-2.0
/*
 * What the toolbox shows in debugfs, below hmm/.
 *
 * mirrors: a line for each registered mirror, after a line with the names of the
 * columns.
 */
#include <linux/debugfs.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/seq_file.h>

#include "mirror.h"

static struct dentry *hmm_debugfs_dir;
static LIST_HEAD(hmm_mirrors);
static DEFINE_MUTEX(hmm_mirrors_lock);	/* protects hmm_mirrors, next_id */
static unsigned int next_id;

static int mirrors_show(struct seq_file *m, void *unused)
{
	struct hmm_mirror *mirror;

	seq_puts(m, "mirror device start end faults retries timeouts invalidations flushes mapped_pages mapped_entries dma_retries\n");
	guard(mutex)(&hmm_mirrors_lock);
	list_for_each_entry(mirror, &hmm_mirrors, link) {
		struct device *dev = mirror->desc.dma_dev;
		struct hmm_mirror_stats stats;

		hmm_mirror_get_stats(mirror, &stats);
		seq_printf(m, "%u %s %#lx %#lx %llu %llu %llu %llu %llu %llu %llu %llu\n",
			   mirror->id, dev ? dev_name(dev) : "-",
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
	mirror->id = next_id++;
	list_add_tail(&mirror->link, &hmm_mirrors);
}

void hmm_debugfs_remove_mirror(struct hmm_mirror *mirror)
{
	guard(mutex)(&hmm_mirrors_lock);
	list_del(&mirror->link);
}

void hmm_debugfs_init(void)
{
	hmm_debugfs_dir = debugfs_create_dir("hmm", NULL);
	debugfs_create_file("mirrors", 0400, hmm_debugfs_dir, NULL,
			    &mirrors_fops);
}

void hmm_debugfs_exit(void)
{
	debugfs_remove(hmm_debugfs_dir);
}
