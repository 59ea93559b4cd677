// SPDX-License-Identifier: GPL-2.0
/*
 * The HMM toolbox as a module.
 */
#include <linux/init.h>
#include <linux/module.h>

#include "mirror.h"

static int __init hmm_helpers_init(void)
{
	int err = hmm_devmem_init();

	if (err)
		return err;
	err = hmm_pm_init();
	if (err) {
		hmm_devmem_exit();
		return err;
	}
	hmm_debugfs_init();
	return 0;
}
subsys_initcall(hmm_helpers_init); /* before drivers that are built in */

static void __exit hmm_helpers_exit(void)
{
	hmm_debugfs_exit();
	hmm_pm_exit();
	hmm_devmem_exit();
}
module_exit(hmm_helpers_exit);

MODULE_DESCRIPTION("Heterogeneous memory management toolbox for drivers");
MODULE_LICENSE("GPL");
