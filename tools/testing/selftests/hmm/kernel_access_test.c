// SPDX-License-Identifier: GPL-2.0
/*
 * The kernel reads and writes memory that lies on the device: for system calls, for
 * another process, for a signal, for a lock, for a core dump.  All of them find what is
 * there; private memory comes back to RAM for that, coherent memory stays.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <linux/futex.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/uio.h>

#include "kernel_access.h"

#define DISK_FILE	"/disk/hmm_kernel_access_test"
#define CORE_PATTERN	"/proc/sys/kernel/core_pattern"
#define CORE		"/tmp/hmm_core"

/* Words of @copy that are not those that fill() of all data wrote at @from. */
static size_t wrong_copy(const char *copy, size_t from, size_t length,
			 uint64_t seed)
{
	const uint64_t *words = (const uint64_t *)copy;
	size_t i, nr = 0;

	for (i = 0; i < length / 8; i++)
		nr += words[i] != pattern(seed, from / 8 + i);
	return nr;
}

/* What SUM finds where fill() wrote all with @seed, and then a part with @other. */
static uint64_t sum_of_both(size_t all, uint64_t seed, size_t from,
			    size_t length, uint64_t other)
{
	return pattern_sum(all, seed) - pattern_sum(from + length, seed) +
	       pattern_sum(from, seed) + pattern_sum(length, other);
}

/* Copy between memory of process @pid and @buffer, which is in RAM; true if it did. */
typedef bool (*accessor)(pid_t pid, char *memory, char *buffer, size_t length,
			 bool put);

/*
 * Run it in a child that has no share in the memory: it begins with nothing there,
 * and waits until it is.
 */
static pid_t start_access(struct _test_data_kernel_access *self, accessor access,
			  size_t from, size_t length, bool put, int go)
{
	pid_t parent = getpid(), child = fork();
	char byte;

	if (child)
		return child;
	/* Not to wait for a parent that has given up. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	munmap(self->data, self->length);
	if (read(go, &byte, 1) != 1)
		_exit(2);
	_exit(!access(parent, self->data + from, self->buffer, length, put));
}

static void check_access(struct __test_metadata *_metadata,
			 struct _test_data_kernel_access *self, accessor access,
			 bool other_process)
{
	/* Neither at the beginning nor at the end of a page. */
	size_t from = self->length / 2 - self->page - 24;
	size_t length = 2 * self->page + 48;
	char *start = self->data + from;
	int go[2];
	pid_t child = -1;
	bool put;

	ASSERT_EQ(0, pipe(go));
	for (put = false; ; put = true) {
		if (other_process) {
			child = start_access(self, access, from, length, put,
					     go[0]);
			ASSERT_LE(0, child);
		}
		ASSERT_TRUE(READY(1));
		memset(self->buffer, 0, length);
		if (put)
			fill(self->buffer, length, 2);
		if (other_process) {
			ASSERT_EQ(1, write(go[1], "", 1));
			ASSERT_EQ(0, child_status(child));
		} else {
			ASSERT_TRUE(access(getpid(), start, self->buffer, length,
					   put));
		}
		EXPECT_STAYS(from, length);
		if (put)
			break;
		EXPECT_EQ(0, wrong_copy(self->buffer, from, length, 1));
		EXPECT_TRUE(device_sees(self, pattern_sum(self->length, 1)));
		EXPECT_EQ(0, differences(self->data, self->length, 1));
	}
	EXPECT_TRUE(device_sees(self, sum_of_both(self->length, 1, from, length,
						  2)));
	EXPECT_EQ(0, differences(start, length, 2));
	EXPECT_EQ(length / 8, differences(self->data, self->length, 1));
	close(go[0]);
	close(go[1]);
}

static bool by_pipe(pid_t pid, char *memory, char *buffer, size_t length, bool put)
{
	char *from = put ? buffer : memory, *to = put ? memory : buffer;
	ssize_t size = length;
	int pipes[2];
	bool done;

	(void)pid;
	if (pipe(pipes))
		return false;
	done = write(pipes[1], from, size) == size &&
	       read(pipes[0], to, size) == size;
	close(pipes[0]);
	close(pipes[1]);
	return done;
}

TEST_F(kernel_access, pipe)
{
	check_access(_metadata, self, by_pipe, false);
}

/* A file in memory, in one piece and in several. */
static bool by_file(pid_t pid, char *memory, char *buffer, size_t length, bool put)
{
	char *from = put ? buffer : memory, *to = put ? memory : buffer;
	struct iovec vec[2] = {
		{ .iov_base = to, .iov_len = 1000 },
		{ .iov_base = to + 1000, .iov_len = length - 1000 },
	};
	int file = memfd_create("hmm", MFD_CLOEXEC);
	ssize_t size = length;
	bool done;

	(void)pid;
	done = file >= 0 && pwrite(file, from, size, 5) == size &&
	       preadv(file, vec, 2, 5) == size;
	close(file);
	return done;
}

TEST_F(kernel_access, file)
{
	check_access(_metadata, self, by_file, false);
}

static bool by_process_vm(pid_t pid, char *memory, char *buffer, size_t length,
			  bool put)
{
	struct iovec theirs = { .iov_base = memory, .iov_len = length };
	struct iovec ours = { .iov_base = buffer, .iov_len = length };

	return (put ? process_vm_writev(pid, &ours, 1, &theirs, 1, 0) :
		      process_vm_readv(pid, &ours, 1, &theirs, 1, 0)) ==
	       (ssize_t)length;
}

TEST_F(kernel_access, process_vm)
{
	check_access(_metadata, self, by_process_vm, true);
}

static bool by_proc_mem(pid_t pid, char *memory, char *buffer, size_t length,
			bool put)
{
	off_t at = (uintptr_t)memory;
	char path[64];
	ssize_t done;
	int file;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	file = open(path, O_RDWR | O_CLOEXEC);
	if (file < 0)
		return false;
	done = put ? pwrite(file, buffer, length, at) :
		     pread(file, buffer, length, at);
	close(file);
	return done == (ssize_t)length;
}

TEST_F(kernel_access, proc_mem)
{
	check_access(_metadata, self, by_proc_mem, true);
}

/* The disk reads and writes the memory itself. */
TEST_F(kernel_access, direct_io)
{
	size_t from = 3 * self->page, length = 4 * self->page;
	char *start = self->data + from;
	int file = open(DISK_FILE, O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);

	if (file < 0)
		SKIP(return, "%s: %s", DISK_FILE, strerror(errno));
	unlink(DISK_FILE);
	ASSERT_TRUE(READY(1));
	ASSERT_EQ(length, pwrite(file, start, length, 0));
	EXPECT_STAYS(from, length);
	EXPECT_TRUE(device_sees(self, pattern_sum(self->length, 1)));
	ASSERT_EQ(length, pread(file, self->buffer, length, 0));
	EXPECT_EQ(0, wrong_copy(self->buffer, from, length, 1));

	fill(self->buffer, length, 2);
	ASSERT_EQ(length, pwrite(file, self->buffer, length, 0));
	ASSERT_TRUE(READY(1));
	ASSERT_EQ(length, pread(file, start, length, 0));
	EXPECT_STAYS(from, length);
	EXPECT_TRUE(device_sees(self, sum_of_both(self->length, 1, from, length,
						  2)));
	EXPECT_EQ(0, differences(start, length, 2));
	EXPECT_EQ(length / 8, differences(self->data, self->length, 1));
	close(file);
}

/* A path of which the end lies on the next page. */
TEST_F(kernel_access, path)
{
	char *path = self->data + self->page - 6;

	memset(self->data, 0, self->length);
	strcpy(path, "/proc/self/status");
	ASSERT_EQ(0, ALL_TO_DEVICE());
	EXPECT_EQ(0, access(path, R_OK));
	EXPECT_STAYS(self->page - 6, 12);
	EXPECT_EQ(0, strcmp(path, "/proc/self/status"));
}

static char *volatile handler_stack;

static void note_stack(int signal)
{
	(void)signal;
	handler_stack = __builtin_frame_address(0);
}

/* The stack of a signal handler, which begins with what the kernel writes there. */
TEST_F(kernel_access, signal_stack)
{
	stack_t stack = { .ss_sp = self->data, .ss_size = self->length };
	struct sigaction action = {
		.sa_handler = note_stack,
		.sa_flags = SA_ONSTACK,
	};
	unsigned int i;

	ASSERT_EQ(0, sigaltstack(&stack, NULL));
	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
	for (i = 0; i < 4; i++) {
		ASSERT_TRUE(READY(i));
		handler_stack = NULL;
		ASSERT_EQ(0, raise(SIGUSR1));
		EXPECT_TRUE(handler_stack > self->data &&
			    handler_stack < self->data + self->length);
		EXPECT_EQ(0, differences(self->data, self->length / 4, i));
	}
	stack.ss_flags = SS_DISABLE;
	ASSERT_EQ(0, sigaltstack(&stack, NULL));
}

/* A child with all of its memory on a device of its own; NULL if that fails. */
static char *child_memory(struct _test_data_kernel_access *self,
			  struct dmirror *own)
{
	char *data = map_alone(self->length, self->huge);

	if (!data || dmirror_open(own, self->dev.number) ||
	    !ready(self, own, data, 1))
		return NULL;
	return data;
}

/* What the tracer changes of the first page and of one that may not be written. */
#define POKED		0x1122334455667788L

static int be_traced(struct _test_data_kernel_access *self, size_t read_only)
{
	struct dmirror own;
	char *data = child_memory(self, &own);
	uint64_t sum, expected = pattern_sum(self->length, 1);

	if (!data || mprotect(data + read_only, self->page, PROT_READ))
		return 1;
	memcpy(self->buffer, &data, sizeof(data));
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) || raise(SIGSTOP))
		return 2;
	expected += 2 * POKED - pattern(1, 0) - pattern(1, read_only / 8);
	if (dmirror_sum(&own, data, self->length, &sum) || sum != expected)
		return 3;
	return *(long *)data != POKED || *(long *)(data + read_only) != POKED ||
	       differences(data, self->length, 1) != 2;
}

TEST_F(kernel_access, ptrace)
{
	size_t read_only = self->length / 2, at, i;
	int status;
	char *data;
	pid_t child;

	child = fork();
	ASSERT_LE(0, child);
	if (!child)
		_exit(be_traced(self, read_only));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	ASSERT_TRUE(WIFSTOPPED(status));
	memcpy(&data, self->buffer, sizeof(data));
	EXPECT_EQ(self->length, memory_used(&self->dev));
	for (i = 0; i < self->length / self->page; i++) {
		at = i * self->page + i % 64 * 8;
		errno = 0;
		EXPECT_EQ(pattern(1, at / 8),
			  ptrace(PTRACE_PEEKDATA, child, data + at, NULL));
		EXPECT_EQ(0, errno);
	}
	EXPECT_STAYS(0, self->length);
	EXPECT_EQ(0, ptrace(PTRACE_POKEDATA, child, data, POKED));
	EXPECT_EQ(0, ptrace(PTRACE_POKEDATA, child, data + read_only, POKED));
	ASSERT_EQ(0, ptrace(PTRACE_CONT, child, NULL, NULL));
	EXPECT_EQ(0, child_status(child));
}

/* Where the core file has @addr; 0 if it has not. */
static off_t find_in_core(int file, uintptr_t addr)
{
	Elf64_Ehdr head;
	Elf64_Phdr part;
	unsigned int i;

	if (pread(file, &head, sizeof(head), 0) != sizeof(head) ||
	    memcmp(head.e_ident, ELFMAG, SELFMAG) || head.e_type != ET_CORE)
		return 0;
	for (i = 0; i < head.e_phnum; i++) {
		if (pread(file, &part, sizeof(part),
			  head.e_phoff + i * sizeof(part)) != sizeof(part))
			return 0;
		if (part.p_type == PT_LOAD && addr >= part.p_vaddr &&
		    addr < part.p_vaddr + part.p_filesz)
			return part.p_offset + addr - part.p_vaddr;
	}
	return 0;
}

/* A process dies with its memory on the device: the core file has it. */
TEST_F(kernel_access, core_dump)
{
	struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };
	struct dmirror own;
	char old[128] = {};
	char *data;
	pid_t child;
	int file;
	off_t at;

	unlink(CORE);
	if (!set_control(CORE_PATTERN, CORE, old, sizeof(old)))
		SKIP(return, "the kernel dumps no core");
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		data = child_memory(self, &own);
		memcpy(self->buffer, &data, sizeof(data));
		if (!data || setrlimit(RLIMIT_CORE, &limit))
			_exit(1);
		abort();
	}
	EXPECT_EQ(256 + SIGABRT, child_status(child));
	set_control(CORE_PATTERN, old, NULL, 0);
	EXPECT_EQ(0, memory_used(&self->dev));
	memcpy(&data, self->buffer, sizeof(data));
	file = open(CORE, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, file);
	unlink(CORE);
	at = find_in_core(file, (uintptr_t)data);
	ASSERT_LT(0, at);
	ASSERT_EQ(self->length, pread(file, self->buffer, self->length, at));
	EXPECT_EQ(0, differences(self->buffer, self->length, 1));
	close(file);
}

static long futex(uint32_t *word, int op, uint32_t value, void *timeout,
		  uint32_t *word2, uint32_t value3)
{
	long ret = syscall(__NR_futex, word, op, value, timeout, word2, value3);

	return ret < 0 ? -errno : ret;
}

struct waiter {
	uint32_t *word;
	int private_flag;
	pid_t tid;
	long result;
};

static void *wait_for_wake(void *arg)
{
	struct waiter *waiter = arg;

	__atomic_store_n(&waiter->tid, gettid(), __ATOMIC_SEQ_CST);
	waiter->result = futex(waiter->word, FUTEX_WAIT | waiter->private_flag,
			       0, NULL, NULL, 0);
	return NULL;
}

/* Does the thread wait?  @tid: 0 as long as it does not exist. */
static bool asleep(const pid_t *tid)
{
	char path[64], line[256] = {};
	int file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat",
		 __atomic_load_n(tid, __ATOMIC_SEQ_CST));
	file = open(path, O_RDONLY | O_CLOEXEC);
	if (file >= 0 && read(file, line, sizeof(line) - 1) < 0)
		line[0] = 0;
	close(file);
	return strstr(line, ") S ");
}

/* The word moves while somebody waits for it, and the device writes it. */
TEST_F(kernel_access, futex_wait)
{
	struct waiter waiter = {
		.word = (uint32_t *)(self->data + self->page),
	};
	uint64_t value, end;
	pthread_t thread;
	unsigned int i;
	long woken;

	for (i = 0; i < 2; i++) {
		waiter.private_flag = i ? FUTEX_PRIVATE_FLAG : 0;
		waiter.tid = 0;
		ASSERT_EQ(0, TO_RAM());
		memset(self->data, 0, self->length);
		ASSERT_EQ(0, ALL_TO_DEVICE());
		/* The value is read from device memory. */
		EXPECT_EQ(-EAGAIN, futex(waiter.word, FUTEX_WAIT |
					 waiter.private_flag, 1, NULL, NULL, 0));
		EXPECT_STAYS(self->page, 4);
		ASSERT_EQ(0, pthread_create(&thread, NULL, wait_for_wake,
					    &waiter));
		for (end = now_us() + 20000000; now_us() < end; usleep(1000))
			if (asleep(&waiter.tid))
				break;
		ASSERT_EQ(0, TO_RAM());
		ASSERT_EQ(0, ALL_TO_DEVICE());
		ASSERT_EQ(0, dmirror_atomic_add(&self->dev,
						(uint64_t *)waiter.word, 1, 1,
						&value));
		end = now_us() + 20000000;
		do {
			woken = futex(waiter.word, FUTEX_WAKE |
				      waiter.private_flag, 1, NULL, NULL, 0);
		} while (!woken && now_us() < end);
		EXPECT_EQ(1, woken);
		ASSERT_EQ(0, pthread_join(thread, NULL));
		EXPECT_EQ(0, waiter.result);
	}
}

/* The kernel changes words in device memory itself. */
TEST_F(kernel_access, futex_write)
{
	uint32_t *words = (uint32_t *)(self->data + self->page);
	uint32_t add_3 = FUTEX_OP(FUTEX_OP_ADD, 3, FUTEX_OP_CMP_EQ, 0);
	uint64_t value;

	memset(self->data, 0, self->length);
	ASSERT_EQ(0, ALL_TO_DEVICE());
	EXPECT_EQ(0, futex(words, FUTEX_WAKE_OP, 1, NULL, words + 2, add_3));
	EXPECT_STAYS(self->page, 12);
	EXPECT_EQ(0, TO_DEVICE());
	EXPECT_EQ(0, futex(words, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
	ASSERT_EQ(0, dmirror_atomic_add(&self->dev, (uint64_t *)words + 1, 4, 1,
					&value));
	EXPECT_EQ(7, value);
	EXPECT_EQ(gettid(), words[0]);
	EXPECT_EQ(0, TO_DEVICE());
	EXPECT_EQ(0, futex(words, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
	EXPECT_EQ(0, words[0]);
}

/* A list of locks that a thread holds when it exits. */
struct held {
	struct _test_data_kernel_access *self;
	struct robust_list_head *head;
	struct robust_list *lock;	/* followed by the lock's word */
	int result;
};

static void *exit_with_lock(void *arg)
{
	struct held *held = arg;

	*(uint32_t *)(held->lock + 1) = gettid();
	held->result = migrate_all(&held->self->dev, held->self->data,
				   held->self->length, HMM_DMIRROR_TO_DEVICE);
	syscall(__NR_set_robust_list, held->head, sizeof(*held->head));
	return NULL;
}

TEST_F(kernel_access, robust_list)
{
	struct held held = {
		.self = self,
		.head = (struct robust_list_head *)self->data,
		.lock = (struct robust_list *)(self->data + 3 * self->page),
	};
	pthread_t thread;

	memset(self->data, 0, self->length);
	held.head->list.next = held.lock;
	held.head->futex_offset = sizeof(*held.lock);
	held.lock->next = &held.head->list;
	ASSERT_EQ(0, pthread_create(&thread, NULL, exit_with_lock, &held));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(0, held.result);
	EXPECT_EQ(FUTEX_OWNER_DIED,
		  *(volatile uint32_t *)(held.lock + 1) & FUTEX_OWNER_DIED);
}

TEST_HARNESS_MAIN
