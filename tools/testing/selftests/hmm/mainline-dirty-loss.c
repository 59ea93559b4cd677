// SPDX-License-Identifier: GPL-2.0
/*
 * Shows that mainline's HMM loses device writes: the recipe of dirty_test.c
 * with lib/test_hmm. Needs test_hmm.ko, not hmm_dmirror.ko, loaded, and swap. Where
 * lib/test_hmm uses the toolbox it shows that they are not lost any more.
 *
 * Exit status: 0 if no write is lost, 1 if some are, 2 if it cannot be tried.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "test_hmm_uapi.h"

#define PAGES		64
#define PM_PRESENT	(1ULL << 63)
#define OLD		0x11
#define NEW		0x22

static void die(const char *what)
{
	fprintf(stderr, "mainline-dirty-loss: %s: %s\n", what,
		errno ? strerror(errno) : "failed");
	exit(2);
}

/* A node for the first device of lib/test_hmm, whose driver has HMM_DMIRROR. */
static int open_device(void)
{
	static const char path[] = "/tmp/mainline-dirty-loss";
	unsigned int major, found = 0;
	char line[128], name[64];
	FILE *devices = fopen("/proc/devices", "r");
	int fd;

	while (devices && fgets(line, sizeof(line), devices))
		if (sscanf(line, "%u %63s", &major, name) == 2 &&
		    !strcmp(name, "HMM_DMIRROR"))
			found = major;
	if (devices)
		fclose(devices);
	errno = ENODEV;
	if (!found)
		die("test_hmm is not loaded");

	unlink(path);
	if (mknod(path, S_IFCHR | 0600, makedev(found, 0)))
		die(path);
	fd = open(path, O_RDWR);
	if (fd < 0)
		die(path);
	unlink(path);
	return fd;
}

static unsigned int present(int pagemap, const char *data, size_t page)
{
	off_t at = (uintptr_t)data / page * sizeof(uint64_t);
	uint64_t entries[PAGES];
	unsigned int i, nr = 0;

	if (pread(pagemap, entries, sizeof(entries), at) != sizeof(entries))
		die("/proc/self/pagemap");
	for (i = 0; i < PAGES; i++)
		nr += (entries[i] & PM_PRESENT) != 0;
	return nr;
}

/* Pages on their way to an LRU list of some CPU cannot be paged out. */
static void drain_lru(void)
{
	int file = open("/proc/sys/vm/drop_caches", O_WRONLY);

	if (file < 0 || write(file, "1", 1) != 1)
		usleep(10000);
	close(file);
}

static void page_out(int pagemap, char *data, size_t page)
{
	int i;

	for (i = 0; i < 100; i++) {
		if (madvise(data, PAGES * page, MADV_PAGEOUT))
			die("MADV_PAGEOUT");
		if (!present(pagemap, data, page))
			return;
		drain_lru();
	}
	errno = 0;
	die("paging out (is there swap?)");
}

int main(void)
{
	int device = open_device();
	int pagemap = open("/proc/self/pagemap", O_RDONLY);
	size_t page = sysconf(_SC_PAGESIZE), length = PAGES * page;
	struct hmm_dmirror_cmd cmd = { .npages = PAGES };
	unsigned int i, lost = 0, wrong = 0;
	char *data, *from;

	if (pagemap < 0)
		die("/proc/self/pagemap");
	data = mmap(NULL, length, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	from = malloc(length);
	if (data == MAP_FAILED || !from)
		die("memory");
	madvise(data, length, MADV_NOHUGEPAGE);
	memset(data, OLD, length);
	memset(from, NEW, length);

	page_out(pagemap, data, page);
	for (i = 0; i < PAGES; i++)
		wrong += data[i * page] != OLD;
	errno = 0;
	if (wrong || present(pagemap, data, page) != PAGES)
		die("reading in again");

	cmd.addr = (uintptr_t)data;
	cmd.ptr = (uintptr_t)from;
	if (ioctl(device, HMM_DMIRROR_WRITE, &cmd) || cmd.cpages != PAGES)
		die("HMM_DMIRROR_WRITE");

	page_out(pagemap, data, page);
	for (i = 0; i < PAGES; i++)
		lost += data[i * page] != NEW;
	printf("mainline-dirty-loss: %u of %u device writes lost\n", lost,
	       PAGES);
	return lost != 0;
}
