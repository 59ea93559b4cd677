// SPDX-License-Identifier: GPL-2.0
/*
 * Each memory allocation of a driver's binding to a PCI device with memory fails,
 * one after the other: the device is there then, or nothing of it is.
 *
 * What the core allocates to plug memory is spared: it does not survive that, see
 * alloc_low_pages() and add_pages() of arch/x86/mm.
 */
#define _GNU_SOURCE
#include "fail_nth.h"
#include "pci.h"

/* The functions to spare lie side by side. */
#define SPARE_MAX	0x10000ul

FIXTURE(bind)
{
	struct pci_bar bar;
	int fail_nth;		/* open files: the thread's "fail-nth" */
	int bind;		/* and the driver's "bind" */
};

/* Where a function begins, and where the next one does; 0 if it is not there. */
static bool find_function(const char *name, unsigned long *start,
			  unsigned long *end)
{
	FILE *file = fopen("/proc/kallsyms", "r");
	char line[512], symbol[256], type;
	unsigned long at;

	*start = 0;
	*end = 0;
	while (file && !*end && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx %c %255s", &at, &type, symbol) != 3)
			continue;
		if (*start && at > *start)
			*end = at;
		else if (!strcmp(symbol, name))
			*start = at;
	}
	if (file)
		fclose(file);
	return *start && *end;
}

static bool write_address(const char *path, unsigned long address)
{
	char text[24];

	snprintf(text, sizeof(text), "%#lx", address);
	return !write_text(path, text);
}

/* No allocation fails that a function in this range of addresses wants. */
static bool spare(unsigned long start, unsigned long end)
{
	return write_address(FAIL_DEBUGFS "failslab/reject-start", start) &&
	       write_address(FAIL_DEBUGFS "failslab/reject-end", end) &&
	       write_address(FAIL_DEBUGFS "fail_page_alloc/reject-start", start) &&
	       write_address(FAIL_DEBUGFS "fail_page_alloc/reject-end", end);
}

/* False if the kernel cannot do so. */
static bool spare_plugging(void)
{
	unsigned long start, end, start2, end2;

	if (!find_function("add_pages", &start, &end) ||
	    !find_function("arch_add_memory", &start2, &end2))
		return false;
	start = start < start2 ? start : start2;
	end = end > end2 ? end : end2;
	return end - start <= SPARE_MAX && spare(start, end);
}

/*
 * Let the PCI device be enabled in any case, so that finding its interrupt, which
 * is the work of the ACPI interpreter, is no part of binding.  Not while it is
 * bound.
 */
static int keep_enabled(const struct pci_bar *bar, bool enabled)
{
	char path[128];

	snprintf(path, sizeof(path), PCI_DEVICES "%s/enable", bar->address);
	return write_number(path, enabled);
}

FIXTURE_SETUP(bind)
{
	self->fail_nth = fail_open();
	if (self->fail_nth < 0)
		SKIP(return, "the kernel does not inject allocation failures");
	if (!spare_plugging())
		SKIP(return, "the kernel cannot say where no allocation fails");
	if (find_pci(&self->bar, CDM))
		SKIP(return, "hmm_dmirror has no memory of a PCI device");
	self->bind = open(PCI_DRIVER "bind", O_WRONLY | O_CLOEXEC);
	ASSERT_LE(0, self->bind);
}

/* In the parent, so that the device comes back whatever became of the test. */
FIXTURE_TEARDOWN_PARENT(bind)
{
	spare(0, 0);
	if (!is_bound(&self->bar))
		EXPECT_EQ(0, bind_device(&self->bar));
	EXPECT_TRUE(is_claimed(&self->bar));
}

/* Bind; the @nth allocation on the way fails, *@failed: if there is one. */
static int bind_failing(struct _test_data_bind *self, unsigned int nth,
			bool *failed)
{
	size_t length = strlen(self->bar.address);
	int ret;

	fail_nth(self->fail_nth, nth);
	ret = pwrite(self->bind, self->bar.address, length, 0) < 0 ? -errno : 0;
	*failed = fail_end(self->fail_nth);
	return ret;
}

static size_t count_files(const char *pattern)
{
	glob_t files;
	size_t nr;

	if (glob(pattern, 0, NULL, &files))
		return 0;
	nr = files.gl_pathc;
	globfree(&files);
	return nr;
}

/* Engines of all dummy devices, copy engines included. */
static size_t count_threads(void)
{
	char name[64];
	size_t nr = 0, i;
	glob_t files;
	FILE *file;

	if (glob("/proc/[0-9]*/comm", 0, NULL, &files))
		return 0;
	for (i = 0; i < files.gl_pathc; i++) {
		file = fopen(files.gl_pathv[i], "r");
		if (!file)
			continue;
		if (fgets(name, sizeof(name), file))
			nr += !strncmp(name, "hmm_dmirror", 11);
		fclose(file);
	}
	globfree(&files);
	return nr;
}

/* Those that have ended are there for a moment yet. */
static bool wait_threads(size_t expected)
{
	int i;

	for (i = 0; i < 2000 && count_threads() != expected; i++)
		usleep(10000);
	return count_threads() == expected;
}

TEST_F(bind, each_allocation_fails)
{
	size_t nodes, threads;
	unsigned int nth, refused = 0;
	bool failed = true;
	int ret;

	ASSERT_EQ(0, unbind_device(&self->bar));
	ASSERT_TRUE(is_gone(&self->bar));
	ASSERT_EQ(0, keep_enabled(&self->bar, true));
	nodes = count_files("/dev/hmm_dmirror*");
	do {
		threads = count_threads();
		usleep(100000);
	} while (count_threads() != threads);

	for (nth = 1; failed && nth < FAIL_LIMIT; nth++) {
		ret = bind_failing(self, nth, &failed);
		/* The core takes want of memory for a claim of someone else. */
		ASSERT_TRUE(!ret ||
			    (failed && (ret == -ENOMEM || ret == -EBUSY)))
			TH_LOG("allocation %u: %s", nth, strerror(-ret));
		refused += !!ret;
		if (!ret) {
			ASSERT_TRUE(is_bound(&self->bar));
			EXPECT_TRUE(is_claimed(&self->bar));
			EXPECT_LE(0, device_number(&self->bar));
			ASSERT_EQ(0, unbind_device(&self->bar));
		}
		ASSERT_TRUE(is_gone(&self->bar))
			TH_LOG("allocation %u: %s", nth, strerror(-ret));
		ASSERT_EQ(nodes, count_files("/dev/hmm_dmirror*"));
	}
	EXPECT_FALSE(failed);
	EXPECT_LT(0, refused);
	EXPECT_TRUE(wait_threads(threads));
	TH_LOG("%u allocations, %u not to be spared", nth - 2, refused);

	ASSERT_EQ(0, keep_enabled(&self->bar, false));
	ASSERT_EQ(0, bind_device(&self->bar));
	expect_bar_works(_metadata, &self->bar, 1);
}

TEST_HARNESS_MAIN
