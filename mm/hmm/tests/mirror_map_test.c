// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of how pages become device entries: sizes, runs and rights.
 */
#include <linux/gfp.h>
#include <linux/log2.h>
#include <linux/mm.h>

#include "../mirror.h"
#include "test_device.h"

#define ORDER_64K	(ilog2(SZ_64K) - PAGE_SHIFT)
#define ORDER_PMD	PMD_ORDER
#define SIZES_SMALL	(PAGE_SIZE | SZ_64K)
#define SIZES_ALL	(PAGE_SIZE | SZ_64K | PMD_SIZE)
#define SIZES_ODD	(PAGE_SIZE | SZ_8K | SZ_256K)
#define SIZES_EVERY	((PMD_SIZE << 1) - PAGE_SIZE)

/* Where the pieces made up here lie. */
#define MAP_ADDR	((unsigned long)SZ_1G)

/* A piece without a process, and a walk that found pages of one folio there. */
struct map_test {
	struct hmm_mirror_piece piece;
	struct hmm_mirror_window window;
	unsigned long pfns[HMM_PMD_PAGES];
	struct folio *folio;
};

/* @count entries that follow each other, frames @shift pages after their place. */
struct map_expect {
	unsigned long page;
	unsigned int order;
	unsigned int count;
	unsigned int flags;
	unsigned long shift;
};

KUNIT_DEFINE_ACTION_WRAPPER(map_test_put_folio, folio_put, struct folio *);

static int map_test_init(struct kunit *test)
{
	test->priv = test_device_create(test);
	return 0;
}

static void map_test_exit(struct kunit *test)
{
	test_device_destroy(test->priv);
}

static struct folio *map_test_folio(struct kunit *test, unsigned int order)
{
	struct folio *folio = folio_alloc(GFP_KERNEL | __GFP_NOWARN, order);

	if (!folio)
		kunit_skip(test, "no folio of order %u to be had", order);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test,
							   map_test_put_folio,
							   folio));
	return folio;
}

static struct map_test *map_test_create(struct kunit *test, unsigned long sizes)
{
	struct map_test *map = kunit_kzalloc(test, sizeof(*map), GFP_KERNEL);
	struct test_device *device = test->priv;

	KUNIT_ASSERT_NOT_NULL(test, map);
	map->folio = map_test_folio(test, ORDER_PMD);
	device->mirror.desc.ops = &test_mirror_ops;
	device->mirror.desc.page_sizes = sizes;
	mutex_init(&map->piece.update_lock);
	map->piece.mirror = &device->mirror;
	map->piece.sub.interval_tree.start = MAP_ADDR;
	map->piece.sub.interval_tree.last = MAP_ADDR + PMD_SIZE - 1;
	map->window.start = MAP_ADDR;
	map->window.end = MAP_ADDR + PMD_SIZE;
	map->window.pfns = map->pfns;
	map->window.addr = MAP_ADDR;
	map->window.all = true;
	KUNIT_ASSERT_EQ(test, 0, test_mirror_ops.prepare(&device->mirror,
							 MAP_ADDR,
							 MAP_ADDR + PMD_SIZE));
	return map;
}

/* The walk found @nr pages of the folio, @shift pages after their own place. */
static void map_test_found(struct map_test *map, unsigned long page,
			   unsigned long nr, unsigned long shift,
			   unsigned long hmm_flags)
{
	unsigned long i;

	for (i = page; i < page + nr; i++)
		map->pfns[i] = (folio_pfn(map->folio) + i + shift) |
			       HMM_PFN_VALID | hmm_flags;
}

/* Map it, with a new record of what the device gets. */
static int map_test_map(struct kunit *test, struct map_test *map)
{
	test_device_forget(test->priv);
	guard(mutex)(&map->piece.update_lock);
	return hmm_mirror_map_window(&map->piece, &map->window);
}

/* The device got exactly this; page 0 is @pfn at @addr. */
static void map_test_expect_on(struct kunit *test, struct test_device *device,
			       unsigned long addr, unsigned long pfn,
			       const struct map_expect *expect, unsigned int nr)
{
	unsigned int i, j, n = 0;

	for (i = 0; i < nr; i++) {
		for (j = 0; j < expect[i].count; j++, n++) {
			unsigned long page = expect[i].page +
					     ((unsigned long)j << expect[i].order);
			const struct hmm_mirror_entry *entry =
				&device->entries[n];

			KUNIT_ASSERT_LT(test, n, TEST_ENTRIES);
			if (entry->addr == addr + page * PAGE_SIZE &&
			    entry->pfn == pfn + page + expect[i].shift &&
			    entry->order == expect[i].order &&
			    entry->flags == expect[i].flags)
				continue;
			KUNIT_FAIL(test,
				   "entry %u: page %lu, frame %lu, order %u, flags %#x; not as %u of page %lu",
				   n, (entry->addr - addr) >> PAGE_SHIFT,
				   entry->pfn - pfn, entry->order, entry->flags,
				   i, page);
		}
	}
	KUNIT_EXPECT_EQ(test, n, device->nr_entries);
}

static void map_test_expect(struct kunit *test, unsigned long addr,
			    unsigned long pfn, const struct map_expect *expect,
			    unsigned int nr)
{
	map_test_expect_on(test, test->priv, addr, pfn, expect, nr);
}

static void map_test_order(struct kunit *test)
{
	static const struct {
		unsigned long sizes, addr, pfn, nr;
		unsigned int order;
	} cases[] = {
		/* as large as all three allow */
		{ SIZES_ALL, 0, 0, 512, 9 },
		{ SIZES_ALL, SZ_2M, 512, 512, 9 },
		{ SIZES_ALL, SZ_2M, 512, 1024, 9 },
		/* too few pages */
		{ SIZES_ALL, SZ_2M, 512, 511, 4 },
		{ SIZES_ALL, SZ_2M, 512, 16, 4 },
		{ SIZES_ALL, SZ_2M, 512, 15, 0 },
		{ SIZES_ALL, SZ_2M, 512, 1, 0 },
		/* the address is not aligned so far */
		{ SIZES_ALL, SZ_2M + SZ_64K, 512, 512, 4 },
		{ SIZES_ALL, SZ_2M + SZ_4K, 512, 512, 0 },
		{ SIZES_ALL, SZ_2M + SZ_1M, 512, 512, 4 },
		/* the frame is not */
		{ SIZES_ALL, SZ_2M, 512 + 16, 512, 4 },
		{ SIZES_ALL, SZ_2M, 512 + 1, 512, 0 },
		{ SIZES_ALL, SZ_2M, 512 + 256, 512, 4 },
		{ SIZES_ALL, 0, 24, 512, 0 },
		/* both lie next to a boundary, but do not meet there */
		{ SIZES_ALL, SZ_2M - SZ_4K, 511, 512, 0 },
		/* other devices */
		{ PAGE_SIZE, SZ_2M, 512, 512, 0 },
		{ PAGE_SIZE | PMD_SIZE, SZ_2M, 512, 511, 0 },
		{ SIZES_ODD, SZ_2M, 512, 512, 6 },
		{ SIZES_ODD, SZ_2M, 512, 63, 1 },
		{ SIZES_ODD, SZ_2M + SZ_128K, 512, 512, 1 },
		{ SIZES_ODD, SZ_2M, 512 + 1, 512, 0 },
		{ SIZES_ODD, SZ_2M + SZ_8K, 2, 2, 1 },
		{ SIZES_EVERY, SZ_2M, 512, 300, 8 },
		{ SIZES_EVERY, SZ_2M + SZ_32K, 512 + 4, 300, 2 },
	};
	struct test_device *device = test->priv;
	unsigned int i;

	if (PAGE_SIZE != SZ_4K || PMD_SIZE != SZ_2M)
		kunit_skip(test, "written for pages of 4 KiB");
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		device->mirror.desc.page_sizes = cases[i].sizes;
		KUNIT_EXPECT_EQ_MSG(test, cases[i].order,
				    hmm_mirror_entry_order(&device->mirror,
							   cases[i].addr,
							   cases[i].pfn,
							   cases[i].nr),
				    "case %u", i);
	}
}

static void map_test_wider(struct kunit *test)
{
	static const struct {
		unsigned long sizes;
		unsigned int bytes;
		unsigned int folio;	/* which one */
		unsigned int order;
		bool clipped;
	} cases[] = {
		{ SIZES_ALL, SZ_64K, 2, ORDER_PMD },
		{ SIZES_ALL, PAGE_SIZE, 2, ORDER_PMD },
		{ SIZES_ALL, PAGE_SIZE, 1, ORDER_64K },
		{ SIZES_ALL, PAGE_SIZE, 0, 0 },
		{ SIZES_ALL, SZ_64K, 1, 0 },		/* walked as a whole */
		{ SIZES_ALL, SZ_64K, 0, 0 },
		{ SIZES_ALL, PMD_SIZE, 2, 0 },
		{ SIZES_SMALL, SZ_64K, 2, 0 },		/* the device has none */
		{ SIZES_SMALL, PAGE_SIZE, 2, ORDER_64K },
		{ PAGE_SIZE | SZ_1M, SZ_64K, 2, ilog2(SZ_1M) - PAGE_SHIFT },
		{ PAGE_SIZE, PAGE_SIZE, 2, 0 },
		{ SIZES_ALL, SZ_64K, 2, 0, true },
		{ SIZES_ALL, PAGE_SIZE, 2, ORDER_64K, true },
	};
	struct map_test *map = map_test_create(test, SIZES_ALL);
	struct test_device *device = test->priv;
	struct folio *folios[] = {
		map_test_folio(test, 0),
		map_test_folio(test, ORDER_64K),
		map_test_folio(test, ORDER_PMD),
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		struct folio *folio = folios[cases[i].folio];

		device->mirror.desc.page_sizes = cases[i].sizes;
		map->piece.sub.interval_tree.start = MAP_ADDR;
		if (cases[i].clipped)
			map->piece.sub.interval_tree.start += PAGE_SIZE;
		KUNIT_EXPECT_EQ_MSG(test, cases[i].order,
				    hmm_mirror_wider_order(&map->piece,
							   cases[i].bytes,
							   folio),
				    "case %u", i);
	}
}

/* The same contiguous 2 MiB for devices with different page sizes. */
static void map_test_sizes(struct kunit *test)
{
	const struct map_expect pmd = { 0, ORDER_PMD, 1 };
	const struct map_expect mid = { 0, ORDER_64K, HMM_PMD_PAGES >> ORDER_64K };
	const struct map_expect small = { 0, 0, HMM_PMD_PAGES };
	struct map_test *map = map_test_create(test, SIZES_ALL);
	unsigned long pfn = folio_pfn(map->folio);
	struct test_device *device = test->priv;

	map_test_found(map, 0, HMM_PMD_PAGES, 0, 0);
	KUNIT_EXPECT_EQ(test, 0, map_test_map(test, map));
	map_test_expect(test, MAP_ADDR, pfn, &pmd, 1);
	KUNIT_EXPECT_EQ(test, device->maps, 1);

	device->mirror.desc.page_sizes = SIZES_SMALL;
	KUNIT_EXPECT_EQ(test, 0, map_test_map(test, map));
	map_test_expect(test, MAP_ADDR, pfn, &mid, 1);

	/* The driver gets them in batches. */
	device->mirror.desc.page_sizes = PAGE_SIZE;
	KUNIT_EXPECT_EQ(test, 0, map_test_map(test, map));
	map_test_expect(test, MAP_ADDR, pfn, &small, 1);
	KUNIT_EXPECT_EQ(test, device->maps,
			DIV_ROUND_UP(HMM_PMD_PAGES, HMM_MIRROR_ENTRIES));
}

/* Frames that are contiguous, but lie at other offsets than the addresses. */
static void map_test_shifted(struct kunit *test)
{
	const unsigned long nr = HMM_PMD_PAGES - 32;
	const struct map_expect mid = { 0, ORDER_64K, nr >> ORDER_64K, 0, 16 };
	const struct map_expect small = { 0, 0, nr, 0, 1 };
	struct map_test *map = map_test_create(test, SIZES_ALL);
	unsigned long pfn = folio_pfn(map->folio);

	map_test_found(map, 0, nr, 16, 0);
	KUNIT_EXPECT_EQ(test, 0, map_test_map(test, map));
	map_test_expect(test, MAP_ADDR, pfn, &mid, 1);

	map_test_found(map, 0, nr, 1, 0);
	KUNIT_EXPECT_EQ(test, 0, map_test_map(test, map));
	map_test_expect(test, MAP_ADDR, pfn, &small, 1);
}

/*
 * Runs that neither begin nor end at a boundary: a hole ends them, and frames that
 * do not follow each other.
 */
static void map_test_runs(struct kunit *test)
{
	const struct map_expect expect[] = {
		{ 3, 0, 13 }, { 16, ORDER_64K, 2 }, { 48, 0, 5 },
		{ 54, 0, 10 }, { 64, ORDER_64K, 1 }, { 80, 0, 1 },
		{ 81, 0, 15, 0, 32 }, { 96, ORDER_64K, 1, 0, 32 },
	};
	struct map_test *map = map_test_create(test, SIZES_ALL);

	map_test_found(map, 3, 78, 0, 0);
	map->pfns[53] = HMM_PFN_ERROR;
	map_test_found(map, 81, 31, 32, 0);
	KUNIT_EXPECT_EQ(test, 0, map_test_map(test, map));
	map_test_expect(test, MAP_ADDR, folio_pfn(map->folio), expect,
			ARRAY_SIZE(expect));
}

/* Pages with different rights do not share an entry. */
static void map_test_rights(struct kunit *test)
{
	const struct map_expect expect[] = {
		{ 0, 0, 8 }, { 8, 0, 8, HMM_MIRROR_WRITE },
		{ 16, ORDER_64K, 1, HMM_MIRROR_WRITE }, { 32, ORDER_64K, 1 },
	};
	struct map_test *map = map_test_create(test, SIZES_ALL);

	map->window.write = true;
	map_test_found(map, 0, 48, 0, 0);
	map_test_found(map, 8, 24, 0, HMM_PFN_WRITE);
	KUNIT_EXPECT_EQ(test, 0, map_test_map(test, map));
	map_test_expect(test, MAP_ADDR, folio_pfn(map->folio), expect,
			ARRAY_SIZE(expect));
}

/* A clean page that is not anonymous: writing is for the page that asks. */
static void map_test_clean(struct kunit *test)
{
	const struct map_expect clean = { 0, ORDER_64K, 2 };
	const struct map_expect one[] = {
		{ 0, ORDER_64K, 1 }, { 16, 0, 15 }, { 31, 0, 1, HMM_MIRROR_WRITE },
	};
	const struct map_expect dirty = { 0, ORDER_64K, 2, HMM_MIRROR_WRITE };
	struct map_test *map = map_test_create(test, SIZES_ALL);
	unsigned long pfn = folio_pfn(map->folio);

	map_test_found(map, 0, 32, 0, HMM_PFN_WRITE);
	KUNIT_EXPECT_EQ(test, 0, map_test_map(test, map));
	map_test_expect(test, MAP_ADDR, pfn, &clean, 1);
	KUNIT_EXPECT_FALSE(test, folio_test_dirty(map->folio));

	map->window.write = true;
	map->window.all = false;
	map->window.addr = MAP_ADDR + 31 * PAGE_SIZE;
	KUNIT_EXPECT_EQ(test, 0, map_test_map(test, map));
	map_test_expect(test, MAP_ADDR, pfn, one, ARRAY_SIZE(one));
	KUNIT_EXPECT_TRUE(test, folio_test_dirty(map->folio));

	map->window.write = false;
	KUNIT_EXPECT_EQ(test, 0, map_test_map(test, map));
	map_test_expect(test, MAP_ADDR, pfn, &dirty, 1);
}

/* Mapped by the CPU as a whole: no more than one page need have been read. */
static void map_test_whole(struct kunit *test)
{
	const unsigned long huge = (unsigned long)ORDER_PMD << HMM_PFN_ORDER_SHIFT;
	const struct map_expect pmd = { 0, ORDER_PMD, 1 };
	const struct map_expect mid = { 32, ORDER_64K, 1 };
	const struct map_expect rest = { 33, 0, 15 };
	struct map_test *map = map_test_create(test, SIZES_ALL);
	unsigned long pfn = folio_pfn(map->folio);
	struct test_device *device = test->priv;

	map_test_found(map, 32, 16, 0, huge);
	map->window.start = MAP_ADDR + 32 * PAGE_SIZE;
	map->window.end = MAP_ADDR + 48 * PAGE_SIZE;
	map->window.addr = MAP_ADDR + 40 * PAGE_SIZE;
	map->window.pfns = map->pfns + 32;
	KUNIT_EXPECT_EQ(test, 0, map_test_map(test, map));
	map_test_expect(test, MAP_ADDR, pfn, &pmd, 1);

	/* A device without such entries, */
	device->mirror.desc.page_sizes = SIZES_SMALL;
	KUNIT_EXPECT_EQ(test, 0, map_test_map(test, map));
	map_test_expect(test, MAP_ADDR, pfn, &mid, 1);

	/* and a mirror that begins in the middle. */
	device->mirror.desc.page_sizes = SIZES_ALL;
	map->piece.sub.interval_tree.start = MAP_ADDR + 33 * PAGE_SIZE;
	KUNIT_EXPECT_EQ(test, 0, map_test_map(test, map));
	map_test_expect(test, MAP_ADDR, pfn, &rest, 1);
}

/* What one of several calls fails to map takes all of the window with it. */
static void map_test_error(struct kunit *test)
{
	struct map_test *map = map_test_create(test, PAGE_SIZE);
	struct test_device *device = test->priv;
	unsigned long i;

	map_test_found(map, 0, 3 * HMM_MIRROR_ENTRIES, 0, 0);
	device->map_skip = 1;
	device->map_errors = 1;
	KUNIT_EXPECT_EQ(test, -EIO, map_test_map(test, map));
	KUNIT_EXPECT_EQ(test, device->maps, 2);
	for (i = 0; i < HMM_PMD_PAGES; i++)
		if (test_device_entry(device, MAP_ADDR + i * PAGE_SIZE))
			KUNIT_FAIL(test, "page %lu is mapped", i);
	KUNIT_EXPECT_EQ(test, device->zapped_start, MAP_ADDR);
	KUNIT_EXPECT_EQ(test, device->zapped_end, MAP_ADDR + PMD_SIZE);
}

static void map_test_fault_huge(struct kunit *test)
{
	const struct map_expect pmd = { 0, ORDER_PMD, 1, HMM_MIRROR_WRITE };
	const struct map_expect split[] = {
		{ 0, ORDER_64K, 6, HMM_MIRROR_WRITE },
		{ 96, 0, 4, HMM_MIRROR_WRITE },
		{ 101, 0, 11, HMM_MIRROR_WRITE },
		{ 112, ORDER_64K, (HMM_PMD_PAGES - 112) >> ORDER_64K,
		  HMM_MIRROR_WRITE },
	};
	struct test_device *device = test->priv;
	unsigned long addr, pfn;

	test_device_mirror(test, device);
	addr = test_mmap_huge(test, &pfn);
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_fault(&device->mirror,
						  addr + 77 * PAGE_SIZE + 8, 0));
	map_test_expect(test, addr, pfn, &pmd, 1);
	KUNIT_EXPECT_EQ(test, 1, test_device_read_word(device, addr));

	/* Then by page tables, with a hole: still as large as can be. */
	KUNIT_ASSERT_EQ(test, 0, vm_munmap(addr + 100 * PAGE_SIZE, PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, 0, test_device_entry(device, addr +
						   100 * PAGE_SIZE));
	test_device_forget(device);
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_fault(&device->mirror,
						  addr + 77 * PAGE_SIZE, 0));
	map_test_expect(test, addr, pfn, split, ARRAY_SIZE(split));
}

/* A part of a huge page: for lack of page sizes, or of mirrored addresses. */
static void map_test_fault_part(struct kunit *test)
{
	const struct map_expect mid = { 64, ORDER_64K, 1, HMM_MIRROR_WRITE };
	const struct map_expect small = { 24, 0, 8, HMM_MIRROR_WRITE };
	struct test_device *another = test_device_create_another(test);
	struct test_device *device = test->priv;
	struct hmm_mirror_desc desc;
	unsigned long addr, pfn;

	addr = test_mmap_huge(test, &pfn);
	desc = test_mirror_desc(another);
	desc.page_sizes = SIZES_SMALL;
	desc.fault_around = PAGE_SIZE;
	test_device_mirror_as(test, another, &desc);
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_fault(&another->mirror,
						  addr + 77 * PAGE_SIZE, 0));
	map_test_expect_on(test, another, addr, pfn, &mid, 1);

	desc = test_mirror_desc(device);
	desc.start = addr + 24 * PAGE_SIZE;
	desc.end = addr + PMD_SIZE;
	test_device_mirror_as(test, device, &desc);
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_fault(&device->mirror,
						  addr + 77 * PAGE_SIZE, 0));
	map_test_expect(test, addr, pfn, &mid, 1);
	test_device_forget(device);
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_fault(&device->mirror,
						  addr + 25 * PAGE_SIZE, 0));
	map_test_expect(test, addr, pfn, &small, 1);
}

static struct kunit_case map_test_cases[] = {
	KUNIT_CASE(map_test_order),
	KUNIT_CASE(map_test_wider),
	KUNIT_CASE(map_test_sizes),
	KUNIT_CASE(map_test_shifted),
	KUNIT_CASE(map_test_runs),
	KUNIT_CASE(map_test_rights),
	KUNIT_CASE(map_test_clean),
	KUNIT_CASE(map_test_whole),
	KUNIT_CASE(map_test_error),
	KUNIT_CASE(map_test_fault_huge),
	KUNIT_CASE(map_test_fault_part),
	{}
};

static struct kunit_suite map_test_suite = {
	.name = "hmm_mirror_map",
	.init = map_test_init,
	.exit = map_test_exit,
	.test_cases = map_test_cases,
};

kunit_test_suite(map_test_suite);
