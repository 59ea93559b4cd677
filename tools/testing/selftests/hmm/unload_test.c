// SPDX-License-Identifier: GPL-2.0
/*
 * The driver's module is not unloaded while a file is open. Without one it is,
 * with process memory on its devices: that comes back with its data.
 *
 * HMM_DMIRROR_PARAMS: its parameters
 */
#define _GNU_SOURCE
#include <sys/prctl.h>

#include "dmirror_test.h"
#include "module.h"

#define MODULE		"hmm_dmirror"
#define DEFAULT_PARAMS	\
	"devices=private:64M,private:64M,cdm@0x140000000:64M,none," \
	"private:16M:shared,cdm@0x150000000:16M:shared"
#define PAGES		64
#define USERS		2
/* In use while the driver goes: more than the users can bring back at once. */
#define MUCH		(16 * MIB)

static int load_module(void)
{
	return module_load(MODULE, getenv("HMM_DMIRROR_PARAMS") ?: DEFAULT_PARAMS);
}

FIXTURE(unload)
{
	char *data;
	size_t length;
	bool unloaded;
};

/* With huge pages only what they make a difference for is tried. */
FIXTURE_VARIANT(unload)
{
	enum hmm_dmirror_memory memory;
	bool huge;
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

FIXTURE_VARIANT_ADD(unload, private_huge)
{
	.memory = PRIVATE,
	.huge = true,
};

FIXTURE_VARIANT_ADD(unload, cdm_huge)
{
	.memory = CDM,
	.huge = true,
};

FIXTURE_SETUP(unload)
{
	int ret = module_reloadable(MODULE);

	if (ret)
		SKIP(return, "no " MODULE " to unload and load again: %s",
		     strerror(-ret));
	self->length = variant->huge ? 2 * HUGE : PAGES * page_size();
	self->data = map_memory(self->length, variant->huge);
	ASSERT_NE(NULL, self->data);
	fill(self->data, self->length, 1);
	if (variant->huge)
		ASSERT_TRUE(make_huge(self->data, self->length));
}

FIXTURE_TEARDOWN(unload)
{
	if (self->unloaded)
		load_module();
}

TEST_F(unload, refused_while_open)
{
	struct dmirror dev;

	if (variant->huge)
		return;
	OPEN_OR_SKIP(return, &dev, variant->memory, 0);
	EXPECT_EQ(-EAGAIN, module_unload(MODULE));
	/* And its library while it is used. */
	EXPECT_EQ(-EAGAIN, module_unload("hmm_helpers"));
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
		ASSERT_EQ(self->length / page_size(), result.moved);
	}
	ASSERT_EQ(0, dmirror_read(&dev, self->data, self->length));
	dmirror_close(&dev);

	ASSERT_EQ(0, module_unload_closed(MODULE));
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
		EXPECT_EQ(self->length / page_size(), result.moved);
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

	if (variant->huge)
		return;
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
	ASSERT_EQ(0, module_unload_closed(MODULE));
	self->unloaded = true;
	ASSERT_EQ(1, write(go[1], &byte, 1));
	EXPECT_EQ(0, child_status(child));
	EXPECT_EQ(0, differences(self->data, self->length, 1));
	ASSERT_EQ(0, load_module());
	self->unloaded = false;
}

/* What the users share with the test. */
struct use {
	unsigned int rounds[USERS];
	bool stop;
};

/*
 * Each user goes through its copy of all pages, in a direction of its own: the first
 * word is the number of the page, the one behind it how often the user was there.
 */
static int use_all(struct use *use, unsigned int user, char *map)
{
	size_t nr = MUCH / page_size(), i;
	unsigned int round;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (round = 0; !__atomic_load_n(&use->stop, __ATOMIC_RELAXED); round++) {
		for (i = 0; i < nr; i++) {
			size_t page = user ? nr - 1 - i : i;
			volatile uint64_t *words = (uint64_t *)
						   (map + page * page_size());

			if (words[0] != page || words[1] != round)
				return 1;
			words[1] = round + 1;
			__atomic_store_n(&use->rounds[user], round * nr + i,
					 __ATOMIC_RELAXED);
		}
	}
	return 0;
}

static bool all_go_on(struct use *use)
{
	uint64_t end = now_us() + 20000000;
	unsigned int before[USERS], user;

	memcpy(before, use->rounds, sizeof(before));
	for (user = 0; user < USERS && now_us() < end; usleep(100))
		if (__atomic_load_n(&use->rounds[user], __ATOMIC_RELAXED) !=
		    before[user])
			user++;
	return user == USERS;
}

/* Its processes use the memory all the time. */
TEST_F(unload, while_in_use)
{
	char *map = map_memory(MUCH, variant->huge);
	struct hmm_dmirror_migrate result;
	struct hmm_dmirror_info info;
	pid_t children[USERS];
	struct dmirror dev;
	struct use *use;
	size_t i;

	/* It does not survive an eviction while a process exits. */
	if (getenv("HMM_UNMODIFIED_KERNEL"))
		return;
	if (variant->memory == NONE)
		return;
	ASSERT_NE(NULL, map);
	use = mmap(NULL, sizeof(*use), PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, use);
	for (i = 0; i < MUCH; i += page_size())
		*(uint64_t *)(map + i) = i / page_size();
	if (variant->huge)
		ASSERT_TRUE(make_huge(map, MUCH));
	OPEN_OR_SKIP(return, &dev, variant->memory, 0);
	ASSERT_EQ(0, migrate(&dev, map, MUCH, HMM_DMIRROR_TO_DEVICE, &result));
	ASSERT_EQ(MUCH / page_size(), result.moved);
	ASSERT_EQ(0, dmirror_info(&dev, &info));
	if (!getenv("HMM_UNMODIFIED_KERNEL"))
		EXPECT_EQ(variant->huge ? MUCH : 0, info.memory_huge);

	for (i = 0; i < USERS; i++) {
		children[i] = fork();
		ASSERT_LE(0, children[i]);
		if (!children[i]) {
			dmirror_close(&dev);
			_exit(use_all(use, i, map));
		}
	}
	dmirror_close(&dev);
	ASSERT_EQ(0, module_unload_closed(MODULE));
	self->unloaded = true;
	EXPECT_TRUE(all_go_on(use));
	__atomic_store_n(&use->stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < USERS; i++)
		EXPECT_EQ(0, child_status(children[i]));
	for (i = 0; i < MUCH; i += page_size())
		EXPECT_EQ(i / page_size(), *(uint64_t *)(map + i));
	ASSERT_EQ(0, load_module());
	self->unloaded = false;
}

TEST_HARNESS_MAIN
