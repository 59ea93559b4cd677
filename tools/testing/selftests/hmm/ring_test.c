// SPDX-License-Identifier: GPL-2.0
/*
 * Three devices in a ring hand memory on, round and round, while CPU and devices write
 * to it.
 */
#define _GNU_SOURCE
#include "pci.h"
#include "peers.h"

#define PAGES		64
#define RING	3

FIXTURE(ring)
{
	struct dmirror devs[RING];
};

FIXTURE_VARIANT(ring)
{
	bool huge;
	unsigned int rounds;
};

FIXTURE_VARIANT_ADD(ring, small)
{
	.rounds = 30 * RING,
};

FIXTURE_VARIANT_ADD(ring, huge)
{
	.huge = true,
	.rounds = 4 * RING,
};

FIXTURE_SETUP(ring)
{
	OPEN_OR_SKIP(return, &self->devs[0], PRIVATE, 0);
	OPEN_OR_SKIP(return, &self->devs[1], CDM, 0);
	OPEN_OR_SKIP(return, &self->devs[2], PRIVATE, 1);
}

FIXTURE_TEARDOWN(ring)
{
	int i;

	for (i = 0; i < RING; i++)
		dmirror_close(&self->devs[i]);
}

/*
 * Round and round, by peers and through RAM in turn.  Each time the device writes to a
 * page, and the CPU to another one, which it may bring back for that.
 */
TEST_F(ring, around)
{
	size_t length = variant->huge ? HUGE : PAGES * page_size();
	size_t words = page_size() / sizeof(uint64_t), word, i;
	char *data = map_memory(length, variant->huge);
	struct hmm_dmirror_migrate result;
	volatile uint64_t *at;
	unsigned int round;
	uint64_t value;

	ASSERT_NE(NULL, data);
	fill(data, length, 1);
	ASSERT_TRUE(move_in(&self->devs[0], data, length));
	for (round = 0; round < variant->rounds; round++) {
		struct dmirror *from = &self->devs[round % RING];
		struct dmirror *to = &self->devs[(round + 1) % RING];

		ASSERT_EQ(0, reach_peers(to, round % 2));
		ASSERT_EQ(0, reach_peers(from, round % 4));
		ASSERT_EQ(0, dmirror_migrate_between(from, to, data, length, 0,
						     &result));
		ASSERT_EQ(length / page_size(), result.moved);
		ASSERT_EQ(0, memory_used(from));
		ASSERT_EQ(length, memory_used(to));

		/* Each round one word of a page further. */
		word = round % PAGES * words + round;
		ASSERT_EQ(0, dmirror_atomic_add(to, (uint64_t *)data + word, 1, 1,
						&value));
		EXPECT_EQ(pattern(1, word) + 1, value);
		at = (uint64_t *)data + word + words / 2;
		*at += 1;
		if (to->info.memory == PRIVATE)
			migrate(to, data, length, HMM_DMIRROR_TO_DEVICE, &result);
		ASSERT_EQ(length, memory_used(to));
	}
	EXPECT_EQ(2 * variant->rounds, differences(data, length, 1));
	for (round = 0; round < variant->rounds; round++) {
		word = round % PAGES * words + round;
		for (i = 0; i < 2; i++, word += words / 2)
			EXPECT_EQ(pattern(1, word) + 1,
				  ((volatile uint64_t *)data)[word]);
	}
}

TEST_HARNESS_MAIN
