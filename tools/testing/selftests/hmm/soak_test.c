// SPDX-License-Identifier: GPL-2.0
/*
 * A long random walk.  Several processes of several threads do whatever there is to
 * memory and devices, each thread in a region of its own, of which it keeps a copy
 * elsewhere to compare with; and all of them add to words that they share.
 *
 * HMM_SOAK_SECONDS: how long, 60 without it
 * HMM_SOAK_SEED: what each thread's steps follow from, a new one without it
 */
#define _GNU_SOURCE
#include "cgroup.h"
#include "soak.h"

/* A thread that takes longer for a step hangs. */
#define STUCK_US	(300 * 1000000ull)

static unsigned int all_weights(void)
{
	unsigned int i, all = 0;

	for (i = 0; i < ARRAY_SIZE(operations); i++)
		all += operations[i].weight;
	return all;
}

/* Each step follows from the seed, the thread and its number alone. */
static void *walk(void *arg)
{
	struct worker *w = arg;
	struct control *control = w->process->control;
	bool evicts = !getenv("HMM_UNMODIFIED_KERNEL");
	unsigned int weights = all_weights(), i;
	struct tally *tally = w->tally;
	size_t at;

	while (!__atomic_load_n(&control->stop, __ATOMIC_RELAXED)) {
		w->random = mix(control->seed + tally->steps * WORKERS +
				w->number);
		at = below(w, weights);
		for (i = 0; at >= operations[i].weight; i++)
			at -= operations[i].weight;
		tally->operation = i;
		if (evicts || !operations[i].evicts) {
			operations[i].run(w);
			tally->done[i]++;
		}
		__atomic_fetch_add(&tally->steps, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static bool open_devices(struct process *process)
{
	int ret = 0;

	while (process->nr_devs < MAX_DEVICES && !ret) {
		ret = dmirror_open(&process->devs[process->nr_devs],
				   process->nr_devs);
		process->nr_devs += !ret;
	}
	return process->nr_devs && (!ret || ret == -ENOENT);
}

static bool prepare(struct worker *w)
{
	w->page = page_size();
	w->data = (uint64_t *)map_alone(LENGTH, true);
	w->huge = true;
	w->shadow = (uint64_t *)map_pages(LENGTH / w->page);
	/* A move may end a page later. */
	w->room = reserve(LENGTH + w->page);
	w->buffer = map_pages(PART);
	w->gup = open(GUP_TEST, O_RDWR | O_CLOEXEC);
	return w->data && w->shadow && w->room && w->buffer && !pipe(w->pipes);
}

/* The exit status of a process: 0 if all went well. */
static int run_process(struct control *control, unsigned int number, char *world)
{
	struct process process = { .control = control, .world = world };
	struct worker workers[THREADS] = {};
	struct worker *w;
	size_t page;

	process.shared = map_alone(SHARED_PAGES * page_size(), false);
	if (!process.shared || !open_devices(&process))
		return 2;
	for (w = workers; w < workers + THREADS; w++) {
		w->process = &process;
		w->number = number * THREADS + (w - workers);
		w->tally = &control->tally[w->number];
		if (!prepare(w))
			return 3;
	}
	for (w = workers; w < workers + THREADS; w++)
		if (pthread_create(&w->thread, NULL, walk, w))
			return 4;
	for (w = workers; w < workers + THREADS; w++)
		pthread_join(w->thread, NULL);
	for (w = workers; w < workers + THREADS; w++)
		MUST_BE_RIGHT(((struct words) { 0, WORDS }));
	for (page = 0; page < SHARED_PAGES; page++) {
		uint64_t sum = *(uint64_t *)(process.shared + page * page_size());

		for (w = workers; w < workers + THREADS; w++)
			sum -= w->shared[page];
		w = workers;
		MUST(sum);
	}
	return 0;
}

static uint64_t number_from(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text && *text ? strtoull(text, NULL, 0) : otherwise;
}

/* Steps of all; false if a thread has been at one for too long. */
static bool count_steps(const struct control *control, uint64_t *all)
{
	static uint64_t seen[WORKERS], since[WORKERS];
	unsigned int i;
	bool alive = true;

	for (*all = i = 0; i < WORKERS; i++) {
		uint64_t steps = __atomic_load_n(&control->tally[i].steps,
						 __ATOMIC_RELAXED);

		if (steps != seen[i] || !since[i])
			since[i] = now_us();
		seen[i] = steps;
		*all += steps;
		alive &= now_us() - since[i] < STUCK_US;
	}
	return alive;
}

static void log_operations(struct __test_metadata *_metadata,
			   const struct control *control)
{
	unsigned int i, worker;

	for (i = 0; i < ARRAY_SIZE(operations); i++) {
		uint64_t done = 0, refused = 0;

		for (worker = 0; worker < WORKERS; worker++) {
			done += control->tally[worker].done[i];
			refused += control->tally[worker].refused[i];
		}
		TH_LOG("%-18s %8llu, refused %llu", operations[i].name,
		       (unsigned long long)done, (unsigned long long)refused);
	}
}

FIXTURE(soak)
{
	struct group group;	/* of the processes */
	char old_64k[32];	/* the policy for 64K pages before */
};

FIXTURE_SETUP(soak)
{
	struct dmirror dev;

	if (dmirror_open(&dev, 0))
		SKIP(return, "there is no device");
	dmirror_close(&dev);
	if (open_group(&self->group, "memory"))
		SKIP(return, "there is no memory controller");
	/* Where there is no place for a huge page. */
	set_control(THP_64K, "madvise", self->old_64k,
		    sizeof(self->old_64k));
}

FIXTURE_TEARDOWN(soak)
{
	if (self->old_64k[0])
		set_control(THP_64K, self->old_64k, NULL, 0);
	close_group(&self->group);
}

/* It ends by itself, see STUCK_US. */
TEST_F_TIMEOUT(soak, walk, 8 * 24 * 3600)
{
	uint64_t seconds = number_from("HMM_SOAK_SECONDS", 60), all = 0, sum;
	uint64_t start = now_us(), end = start + seconds * 1000000ull;
	uint64_t every = seconds < 600 ? seconds * 100000ull : 60000000ull;
	uint64_t told = start;
	struct control *control = mmap(NULL, sizeof(*control),
				       PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char *world = mmap(NULL, SHARED_PAGES * page_size(),
			   PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			   -1, 0);
	pid_t children[PROCESSES];
	struct dmirror dev;
	unsigned int i, page;
	bool alive = true;

	ASSERT_NE(MAP_FAILED, control);
	ASSERT_NE(MAP_FAILED, world);
	control->seed = number_from("HMM_SOAK_SEED", mix(start) % 999999999 + 1);
	TH_LOG("HMM_SOAK_SEED=%llu HMM_SOAK_SECONDS=%llu",
	       (unsigned long long)control->seed, (unsigned long long)seconds);
	for (i = 0; i < PROCESSES; i++) {
		children[i] = fork();
		ASSERT_LE(0, children[i]);
		if (!children[i])
			_exit(write_control(self->group.path, "cgroup.procs", "0") ?
			      1 : run_process(control, i, world));
	}
	while (alive && now_us() < end && !control->stop) {
		usleep(200000);
		alive = count_steps(control, &all);
		if (now_us() - told < every)
			continue;
		told = now_us();
		TH_LOG("%llu s, %llu steps",
		       (unsigned long long)(told - start) / 1000000,
		       (unsigned long long)all);
	}
	__atomic_store_n(&control->stop, true, __ATOMIC_RELAXED);
	EXPECT_TRUE(alive);
	for (i = 0; i < PROCESSES; i++) {
		if (!alive)
			kill(children[i], SIGKILL);
		EXPECT_EQ(0, child_status(children[i]));
	}
	log_operations(_metadata, control);
	for (i = 0; i < WORKERS; i++) {
		struct tally *tally = &control->tally[i];

		EXPECT_EQ(0, tally->failure[0]) {
			TH_LOG("thread %u, %s, %s", i,
			       operations[tally->operation].name,
			       tally->failure);
		}
	}
	for (page = 0; page < SHARED_PAGES; page++) {
		sum = *(uint64_t *)(world + page * page_size());
		for (i = 0; i < WORKERS; i++)
			sum -= control->tally[i].world[page];
		EXPECT_EQ(0, sum);
	}
	EXPECT_LT(0, all);

	/* All of it is free again, at the latest some time after the processes. */
	for (i = 0; !dmirror_open(&dev, i); i++) {
		wait_used(&dev, 0, 20000000);
		EXPECT_EQ(0, memory_used(&dev));
		dmirror_close(&dev);
	}
	/* Wherever it went, what was charged for it is as well. */
	end = now_us() + 20000000;
	while (read_control(self->group.path, "memory.stat", "anon ") &&
	       now_us() < end)
		usleep(1000);
	EXPECT_EQ(0, read_control(self->group.path, "memory.stat", "anon "));
	EXPECT_EQ(0, read_control(self->group.path, "memory.stat", "anon_thp "));
}

TEST_HARNESS_MAIN
