/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Load and unload the modules of drivers.
 *
 * HMM_MODULE_DIR: where they are, /lib/hmm without it
 */
#ifndef _SELFTESTS_HMM_MODULE_H
#define _SELFTESTS_HMM_MODULE_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The file of a module, or -errno. */
static inline int module_open(const char *name)
{
	const char *dir = getenv("HMM_MODULE_DIR");
	char path[4096];
	int file;

	snprintf(path, sizeof(path), "%s/%s.ko", dir ?: "/lib/hmm", name);
	file = open(path, O_RDONLY | O_CLOEXEC);
	return file < 0 ? -errno : file;
}

static inline int module_load(const char *name, const char *params)
{
	int file = module_open(name), ret;

	if (file < 0)
		return file;
	ret = syscall(__NR_finit_module, file, params, 0) ? -errno : 0;
	close(file);
	return ret;
}

static inline int module_unload(const char *name)
{
	return syscall(__NR_delete_module, name, O_NONBLOCK) ? -errno : 0;
}

/* Without a file that is open: one that was closed may be let go of some time later. */
static inline int module_unload_closed(const char *name)
{
	int i, ret;

	for (i = 0; i < 500; i++) {
		ret = module_unload(name);
		if (ret != -EAGAIN)
			break;
		usleep(10000);
	}
	return ret;
}

/* Is it a module, and a file there to load it again?  0 or -errno. */
static inline int module_reloadable(const char *name)
{
	char path[256];
	int file;

	snprintf(path, sizeof(path), "/sys/module/%s/refcnt", name);
	if (access(path, F_OK))
		return -errno;
	file = module_open(name);
	if (file < 0)
		return file;
	close(file);
	return 0;
}

#endif /* _SELFTESTS_HMM_MODULE_H */
