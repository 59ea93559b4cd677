/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory that moves from one dummy device to another.
 */
#ifndef _SELFTESTS_HMM_PEERS_H
#define _SELFTESTS_HMM_PEERS_H

#include "dmirror_test.h"

/* Bytes of the device's memory that are in use as huge pages. */
static inline uint64_t used_huge(struct dmirror *dev)
{
	struct hmm_dmirror_info info;

	return dmirror_info(dev, &info) ? ~0ull : info.memory_huge;
}

static inline unsigned char own_memory(const struct dmirror *dev)
{
	return dev->info.memory == PRIVATE ? HMM_DMIRROR_PAGE_PRIVATE :
					     HMM_DMIRROR_PAGE_CDM;
}

/* The device finds what fill() wrote, all of it in its own memory. */
static inline bool device_has(struct dmirror *dev, char *start, size_t length,
			      uint64_t seed)
{
	uint64_t sum;

	return !dmirror_sum(dev, start, length, &sum) &&
	       sum == pattern_sum(length, seed) &&
	       !dmirror_prefetch(dev, start, length, 0, NULL) &&
	       mapped(dev, start, length, MAPPED | own_memory(dev)) ==
	       (long)(length / page_size());
}

/* Let the device reach the memory of others or not; 0 or -errno. */
static inline int reach_peers(struct dmirror *dev, bool reach)
{
	return dmirror_inject(dev, HMM_DMIRROR_INJECT_NO_PEER, 0,
			      reach ? 0 : ~0U, 0);
}

/* Huge pages with pattern 4, @whole bytes of them as such in device memory, or NULL. */
static inline char *huge_in(struct dmirror *dev, size_t length, size_t whole)
{
	char *data = map_huge(length);

	if (!data)
		return NULL;
	fill(data, length, 4);
	return make_huge(data, length) && move_in(dev, data, length) &&
	       used_huge(dev) == whole ? data : NULL;
}

#define EXPECT_USED(from_bytes, to_bytes) do { \
	EXPECT_EQ(from_bytes, memory_used(&self->from)); \
	EXPECT_EQ(to_bytes, memory_used(&self->to)); \
} while (0)

/* Of those who move data between devices while others use it. */
struct racer {
	struct dmirror *from, *to;
	char *data;
	size_t length;
	volatile bool *stop;
	volatile unsigned long moved;
	int failure;		/* a result that is not to be expected */
};

#define RACERS		3
#define RACE_WORDS	32
/* How long both directions may take to move something, in microseconds. */
#define RACE_WAIT_US	20000000

/*
 * Both ways at the same time by @mover, and what @evictor does unless it is NULL, while
 * the CPU and both devices write: no write gets lost, nobody waits for ever, and all
 * memory is free in the end.
 */
static inline void expect_race(struct __test_metadata *_metadata,
			       struct dmirror *from, struct dmirror *to,
			       char *data, size_t length, void *(*mover)(void *),
			       void *(*evictor)(void *))
{
	volatile bool stop = false;
	struct racer racers[RACERS] = {
		{ .from = from, .to = to },
		{ .from = to, .to = from },
		{ .from = to, .to = from },
	};
	uint64_t start = now_us(), end = start + 1000ull * race_ms();
	uint64_t count[RACE_WORDS] = {}, value, evicted;
	unsigned int seed = 1, wrong = 0, nr = evictor ? 3 : 2, i;
	size_t stride = length / RACE_WORDS, middle = page_size() / 2;
	pthread_t threads[RACERS];

	memset(data, 0, length);
	for (i = 0; i < nr; i++) {
		racers[i].data = data;
		racers[i].length = length;
		racers[i].stop = &stop;
		ASSERT_EQ(0, pthread_create(&threads[i], NULL,
					    i < 2 ? mover : evictor,
					    &racers[i]));
	}
	while (now_us() < end || ((!racers[0].moved || !racers[1].moved) &&
				  now_us() < start + RACE_WAIT_US)) {
		uint64_t *word;
		int how = rand_r(&seed) % 4;

		i = rand_r(&seed) % RACE_WORDS;
		word = (uint64_t *)(data + i * stride + middle);
		if (how < 2)
			wrong += *(volatile uint64_t *)word != count[i];
		if (!how)
			*(volatile uint64_t *)word = ++count[i];
		else if (how > 1 &&
			 !dmirror_atomic_add(how == 2 ? from : to, word, 1, 1,
					     &value))
			wrong += value != ++count[i];
	}
	stop = true;
	for (i = 0; i < nr; i++) {
		pthread_join(threads[i], NULL);
		EXPECT_EQ(0, racers[i].failure);
	}
	EXPECT_LT(0, racers[0].moved);
	EXPECT_LT(0, racers[1].moved);
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(0, dmirror_evict(from, ~0ull, &evicted));
	EXPECT_EQ(0, dmirror_evict(to, ~0ull, &evicted));
	EXPECT_EQ(0, memory_used(from));
	EXPECT_EQ(0, memory_used(to));
	for (i = 0; i < RACE_WORDS; i++)
		EXPECT_EQ(count[i], *(uint64_t *)(data + i * stride + middle));
}

#endif /* _SELFTESTS_HMM_PEERS_H */
