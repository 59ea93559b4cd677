// SPDX-License-Identifier: GPL-2.0
/*
 * The device vanishes with all that lies in its memory: the driver is unbound from
 * the PCI device that the memory is a BAR of, and nothing can be copied any more.
 */
#define _GNU_SOURCE
#include "lost.h"

/* What is quick may be slow on a debug kernel, and what is slower hangs. */
#define WAIT_US		20000000

#define PAGES		32

/* So long the driver tries to bring its memory back to RAM. */
#define REMOVE_US	10000000

FIXTURE(gone)
{
	struct dmirror dev;
	struct pci_bar bar;
	long users;		/* of the module, before the device was opened */
	size_t page;
	size_t length;
	char *data;		/* filled, in the BAR */
	char *ram;		/* filled, in RAM */
};

FIXTURE_SETUP(gone)
{
	if (find_pci(&self->bar, CDM))
		SKIP(return, "hmm_dmirror has no memory of a PCI device");
	self->users = module_users();
	ASSERT_EQ(0, open_on(&self->bar, &self->dev));
	self->page = page_size();
	self->length = PAGES * self->page;
	self->data = map_alone(self->length, false);
	self->ram = map_alone(self->length, false);
	ASSERT_NE(NULL, self->data);
	ASSERT_NE(NULL, self->ram);
	fill_pages(self->data, PAGES);
	fill_pages(self->ram, PAGES);
	ASSERT_TRUE(move_in(&self->dev, self->data, self->length));
	ASSERT_EQ(0, dmirror_prefetch(&self->dev, self->data, self->length, 0,
				      NULL));
}

/* In the parent, so that the device comes back whatever became of the test. */
FIXTURE_TEARDOWN_PARENT(gone)
{
	if (!is_bound(&self->bar))
		EXPECT_EQ(0, bind_device(&self->bar));
	EXPECT_TRUE(is_claimed(&self->bar));
	EXPECT_TRUE(wait_module_users(self->users));
}

static bool wait_unclaimed(const struct pci_bar *bar)
{
	uint64_t end = now_us() + WAIT_US;

	while (is_claimed(bar) && now_us() < end)
		usleep(1000);
	return !is_claimed(bar);
}

/* Unbind a device that has vanished: that does not take the usual time. */
static void vanish(struct __test_metadata *_metadata,
		   struct _test_data_gone *self)
{
	uint64_t start;

	ASSERT_EQ(0, dmirror_inject(&self->dev, HMM_DMIRROR_INJECT_GONE, 0, 1,
				    0));
	start = now_us();
	ASSERT_EQ(0, unbind_device(&self->bar));
	EXPECT_GT(REMOVE_US, now_us() - start);
	EXPECT_EQ(-ENODEV, dmirror_poison(&self->dev, self->data, self->page,
					  NULL));
}

/*
 * Its pages are lost for all processes, and no others.  The kernel that cannot say so
 * leaves them what is still there, and the memory with them.
 */
TEST_F(gone, lost)
{
	long lost = can_unmap() ? PAGES : 0;
	char byte = 0;
	int go[2];
	pid_t child;

	ASSERT_EQ(0, pipe(go));
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		close(go[1]);
		if (read(go[0], &byte, 1))
			_exit(100);
		if (lost_pages(self->ram, PAGES))
			_exit(101);
		_exit(lost_pages(self->data, PAGES));
	}
	vanish(_metadata, self);
	EXPECT_EQ(!can_unmap(), is_claimed(&self->bar));
	EXPECT_EQ(lost, lost_pages(self->data, PAGES));
	EXPECT_EQ(0, lost_pages(self->ram, PAGES));
	close(go[1]);
	EXPECT_EQ(lost, child_status(child));

	if (!can_unmap()) {
		EXPECT_EQ(PAGES, in_bar(&self->bar, self->data, self->length));
		ASSERT_EQ(0, munmap(self->data, self->length));
		EXPECT_TRUE(wait_unclaimed(&self->bar));
	}
	ASSERT_EQ(0, bind_device(&self->bar));
	expect_bar_works(_metadata, &self->bar, 1);
	if (can_unmap()) {
		/* What lies there now is not what was lost. */
		EXPECT_EQ(PAGES, lost_pages(self->data, PAGES));
		EXPECT_EQ(0, munmap(self->data, self->length));
	}
}

/* A page that somebody holds keeps the memory, but no process maps it. */
TEST_F(gone, held)
{
	struct iovec vec = { .iov_base = self->data, .iov_len = self->page };
	int holder[2];

	ASSERT_EQ(0, pipe(holder));
	ASSERT_EQ(self->page, vmsplice(holder[1], &vec, 1, 0));
	vanish(_metadata, self);
	EXPECT_TRUE(is_claimed(&self->bar));
	EXPECT_EQ(can_unmap() ? PAGES : 0, lost_pages(self->data, PAGES));
	if (!can_unmap())
		ASSERT_EQ(0, munmap(self->data, self->length));
	EXPECT_EQ(-EBUSY, bind_device(&self->bar));
	close(holder[0]);
	close(holder[1]);
	EXPECT_TRUE(wait_unclaimed(&self->bar));
	ASSERT_EQ(0, bind_device(&self->bar));
	expect_bar_works(_metadata, &self->bar, 2);
}

/* A poisoned page does not keep the others from coming back, nor for long. */
TEST_F(gone, one_poisoned)
{
	struct iovec vec = { .iov_base = self->data, .iov_len = self->page };
	uint64_t start;
	int holder[2];

	if (!can_unmap())
		return;
	/* Held, it is in use. */
	ASSERT_EQ(0, pipe(holder));
	ASSERT_EQ(self->page, vmsplice(holder[1], &vec, 1, 0));
	ASSERT_EQ(0, dmirror_poison(&self->dev, self->data, 2 * self->page,
				    NULL));
	start = now_us();
	ASSERT_EQ(0, unbind_device(&self->bar));
	EXPECT_GT(REMOVE_US, now_us() - start);
	EXPECT_EQ(2, lost_pages(self->data, PAGES));
	EXPECT_EQ(0, in_bar(&self->bar, self->data, self->length));
	EXPECT_TRUE(is_claimed(&self->bar));
	close(holder[0]);
	close(holder[1]);
	EXPECT_TRUE(wait_unclaimed(&self->bar));
	ASSERT_EQ(0, bind_device(&self->bar));
	expect_bar_works(_metadata, &self->bar, 3);
}

TEST_HARNESS_MAIN
