// SPDX-License-Identifier: GPL-2.0
/*
 * The driver's module is not unloaded while a file is open. Without one it is,
 * with process memory on its devices: that comes back with its data.
 *
 * HMM_MODULE_DIR: where hmm_dmirror.ko is, /lib/hmm without it
 * HMM_DMIRROR_PARAMS: its parameters
 */
#define _GNU_SOURCE
#include "dmirror_test.h"

#define MODULE		"hmm_dmirror"
#define DEFAULT_PARAMS	\
	"devices=private:64M,private:64M,cdm@0x140000000:64M,none"
#define PAGES		64

static int open_module(void)
{
	const char *dir = getenv("HMM_MODULE_DIR");
	char path[4096];
	int file;

	snprintf(path, sizeof(path), "%s/" MODULE ".ko", dir ?: "/lib/hmm");
	file = open(path, O_RDONLY | O_CLOEXEC);
	return file < 0 ? -errno : file;
}

static int load_module(void)
{
	const char *params = getenv("HMM_DMIRROR_PARAMS");
	int file = open_module(), ret;

	if (file < 0)
		return file;
	ret = syscall(__NR_finit_module, file, params ?: DEFAULT_PARAMS, 0);
	ret = ret ? -errno : 0;
	close(file);
	return ret;
}

static int unload_module(const char *name)
{
	return syscall(__NR_delete_module, name, O_NONBLOCK) ? -errno : 0;
}

/* An engine may let go of a finished program some time after its file closed. */
static int unload_driver(void)
{
	int i, ret;

	for (i = 0; i < 500; i++) {
		ret = unload_module(MODULE);
		if (ret != -EAGAIN)
			break;
		usleep(10000);
	}
	return ret;
}

FIXTURE(unload)
{
	char *data;
	size_t length;
	bool unloaded;
};

FIXTURE_VARIANT(unload)
{
	enum hmm_dmirror_memory memory;
};

FIXTURE_VARIANT_ADD(unload, none)
{
	.memory = NONE,
};

FIXTURE_VARIANT_ADD(unload, private)
{
	.memory = PRIVATE,
};

FIXTURE_VARIANT_ADD(unload, cdm)
{
	.memory = CDM,
};

FIXTURE_SETUP(unload)
{
	int file;

	if (access("/sys/module/" MODULE "/refcnt", F_OK))
		SKIP(return, MODULE " is not loaded as a module");
	file = open_module();
	if (file < 0)
		SKIP(return, "no " MODULE ".ko to load again: %s",
		     strerror(-file));
	close(file);
	self->length = PAGES * page_size();
	self->data = map_pages(PAGES);
	ASSERT_NE(NULL, self->data);
	fill(self->data, self->length, 1);
}

FIXTURE_TEARDOWN(unload)
{
	if (self->unloaded)
		load_module();
}

TEST_F(unload, refused_while_open)
{
	struct dmirror dev;

	OPEN_OR_SKIP(return, &dev, variant->memory, 0);
	EXPECT_EQ(-EAGAIN, unload_module(MODULE));
	/* And its library while it is used. */
	EXPECT_EQ(-EAGAIN, unload_module("hmm_helpers"));
	EXPECT_EQ(0, dmirror_read(&dev, self->data, self->length));
	dmirror_close(&dev);
}

TEST_F(unload, with_memory_on_the_device)
{
	struct hmm_dmirror_migrate result;
	struct dmirror dev;
	uint64_t sum;

	OPEN_OR_SKIP(return, &dev, variant->memory, 0);
	if (variant->memory != NONE) {
		ASSERT_EQ(0, migrate(&dev, self->data, self->length,
				     HMM_DMIRROR_TO_DEVICE, &result));
		ASSERT_EQ(PAGES, result.moved);
	}
	ASSERT_EQ(0, dmirror_read(&dev, self->data, self->length));
	dmirror_close(&dev);

	ASSERT_EQ(0, unload_driver());
	self->unloaded = true;
	EXPECT_EQ(-ENOENT, dmirror_open(&dev, 0));
	EXPECT_EQ(0, differences(self->data, self->length, 1));
	fill(self->data, self->length, 2);

	/* As good as new. */
	ASSERT_EQ(0, load_module());
	self->unloaded = false;
	ASSERT_EQ(0, dmirror_open_memory(&dev, variant->memory, 0));
	ASSERT_EQ(0, dev.info.memory_used);
	if (variant->memory != NONE) {
		ASSERT_EQ(0, migrate(&dev, self->data, self->length,
				     HMM_DMIRROR_TO_DEVICE, &result));
		EXPECT_EQ(PAGES, result.moved);
	}
	ASSERT_EQ(0, dmirror_sum(&dev, self->data, self->length, &sum));
	EXPECT_EQ(pattern_sum(self->length, 2), sum);
	dmirror_close(&dev);
}

/* The memory is shared with a child: it comes back for both. */
TEST_F(unload, with_memory_of_two)
{
	struct hmm_dmirror_migrate result;
	struct dmirror dev;
	int go[2];
	char byte = 0;
	pid_t child;

	OPEN_OR_SKIP(return, &dev, variant->memory, 0);
	ASSERT_EQ(0, pipe(go));
	ASSERT_EQ(variant->memory == NONE ? -EOPNOTSUPP : 0,
		  migrate(&dev, self->data, self->length,
			  HMM_DMIRROR_TO_DEVICE, &result));
	ASSERT_EQ(0, dmirror_fill(&dev, self->data, 8, pattern(1, 0)));
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		dmirror_close(&dev);
		byte = read(go[0], &byte, 1) != 1;
		_exit(byte || differences(self->data, self->length, 1));
	}
	dmirror_close(&dev);
	ASSERT_EQ(0, unload_driver());
	self->unloaded = true;
	ASSERT_EQ(1, write(go[1], &byte, 1));
	EXPECT_EQ(0, child_status(child));
	EXPECT_EQ(0, differences(self->data, self->length, 1));
	ASSERT_EQ(0, load_module());
	self->unloaded = false;
}

TEST_HARNESS_MAIN
