// SPDX-License-Identifier: GPL-2.0
/*
 * The programs that an engine of the HMM dummy device can run.
 *
 * A step does at most about one page of work.  Each access goes through the
 * device page table; at a miss the step returns and is repeated once the fault
 * has been served, so progress is recorded only for accesses that were made.
 */
#include <linux/delay.h>
#include <linux/overflow.h>

#include "hmm_dmirror.h"

#define DMIRROR_WORD		sizeof(u64)
#define DMIRROR_STEP_WORDS	512	/* words that a step of CHASE visits */
#define DMIRROR_STEP_ADDS	64	/* additions in a step of ATOMIC_ADD */

static enum dmirror_step dmirror_end(struct dmirror_run *run, u32 status,
				     u64 addr)
{
	run->args.status = status;
	run->args.fault_addr = addr;
	return DMIRROR_STEP_DONE;
}

static enum dmirror_step dmirror_progress(struct dmirror_run *run, u64 bytes)
{
	run->pos += bytes;
	return run->pos < run->args.length ? DMIRROR_STEP_MORE :
					     DMIRROR_STEP_DONE;
}

static enum dmirror_step dmirror_step_read(struct dmirror_run *run)
{
	u64 addr = run->args.addr + run->pos;
	struct dmirror_window window;
	const u8 *p, *end;

	p = dmirror_window_open(run, addr, run->args.length - run->pos, 0,
				&window);
	if (!p)
		return DMIRROR_STEP_FAULT;
	end = p + window.length;
	while (p < end) {
		if (IS_ALIGNED((unsigned long)p, DMIRROR_WORD) &&
		    end - p >= DMIRROR_WORD) {
			(void)READ_ONCE(*(const u64 *)p);
			p += DMIRROR_WORD;
		} else {
			(void)READ_ONCE(*p);
			p++;
		}
	}
	dmirror_window_close(&window);

	run->args.result += window.length;
	return dmirror_progress(run, window.length);
}

static enum dmirror_step dmirror_step_fill(struct dmirror_run *run)
{
	u64 addr = run->args.addr + run->pos;
	struct dmirror_window window;
	u64 *words;
	u32 i, nr;

	words = dmirror_window_open(run, addr, run->args.length - run->pos,
				    HMM_MIRROR_WRITE, &window);
	if (!words)
		return DMIRROR_STEP_FAULT;
	nr = window.length / DMIRROR_WORD;
	for (i = 0; i < nr; i++)
		WRITE_ONCE(words[i], run->args.operand);
	dmirror_window_close(&window);

	run->args.result += nr;
	return dmirror_progress(run, window.length);
}

static enum dmirror_step dmirror_step_sum(struct dmirror_run *run)
{
	u64 addr = run->args.addr + run->pos;
	struct dmirror_window window;
	const u64 *words;
	u32 i, nr;

	words = dmirror_window_open(run, addr, run->args.length - run->pos, 0,
				    &window);
	if (!words)
		return DMIRROR_STEP_FAULT;
	nr = window.length / DMIRROR_WORD;
	for (i = 0; i < nr; i++)
		run->args.result += READ_ONCE(words[i]);
	dmirror_window_close(&window);

	return dmirror_progress(run, window.length);
}

/*
 * Through a buffer, because an access can hold one window only.  Where the
 * destination overlaps the source from above, the buffer takes no more than
 * lies between them, as if the words were copied one by one.
 */
static enum dmirror_step dmirror_step_copy(struct dmirror_run *run)
{
	u64 src = run->args.addr + run->pos;
	u64 dst = run->args.addr2 + run->pos;
	u64 length = min_t(u64, run->args.length - run->pos,
			   sizeof(run->words));
	struct dmirror_window window;
	u64 *words;
	u32 i;

	if (!run->pending) {
		if (dst > src)
			length = min(length, dst - src);
		words = dmirror_window_open(run, src, length, 0, &window);
		if (!words)
			return DMIRROR_STEP_FAULT;
		for (i = 0; i < window.length / DMIRROR_WORD; i++)
			run->words[i] = READ_ONCE(words[i]);
		dmirror_window_close(&window);
		run->pending = window.length;
		run->bin = 0;
	}

	/* The destination may cross a page boundary where the source did not. */
	words = dmirror_window_open(run, dst, run->pending, HMM_MIRROR_WRITE,
				    &window);
	if (!words)
		return DMIRROR_STEP_FAULT;
	for (i = 0; i < window.length / DMIRROR_WORD; i++)
		WRITE_ONCE(words[i], run->words[run->bin + i]);
	dmirror_window_close(&window);
	run->bin += i;
	run->pending -= window.length;

	run->args.result += window.length;
	return dmirror_progress(run, window.length);
}

static enum dmirror_step dmirror_step_atomic_add(struct dmirror_run *run)
{
	u64 i, nr = min_t(u64, run->args.count - run->pos, DMIRROR_STEP_ADDS);
	struct dmirror_window window;
	atomic64_t *word;

	if (!nr)
		return DMIRROR_STEP_DONE;
	word = dmirror_window_open(run, run->args.addr, DMIRROR_WORD,
				   HMM_MIRROR_WRITE, &window);
	if (!word)
		return DMIRROR_STEP_FAULT;
	for (i = 0; i < nr; i++)
		run->args.result = atomic64_add_return(run->args.operand, word);
	dmirror_window_close(&window);

	run->pos += nr;
	return run->pos < run->args.count ? DMIRROR_STEP_MORE :
					    DMIRROR_STEP_DONE;
}

/* What a device does without atomic operations on its bus. */
static enum dmirror_step dmirror_step_exclusive_add(struct dmirror_run *run)
{
	u64 i, value, nr = min_t(u64, run->args.count - run->pos,
				 DMIRROR_STEP_ADDS);
	struct dmirror_window window;
	u64 *word;

	if (!nr)
		return DMIRROR_STEP_DONE;
	word = dmirror_window_open(run, run->args.addr, DMIRROR_WORD,
				   HMM_MIRROR_EXCLUSIVE, &window);
	if (!word)
		return DMIRROR_STEP_FAULT;
	for (i = 0; i < nr; i++) {
		value = READ_ONCE(*word);
		/* Give others time to be in the way. */
		ndelay(500);
		value += run->args.operand;
		WRITE_ONCE(*word, value);
	}
	run->args.result = value;
	dmirror_window_close(&window);

	run->pos += nr;
	return run->pos < run->args.count ? DMIRROR_STEP_MORE :
					    DMIRROR_STEP_DONE;
}

/* Load one word; *word is valid if DMIRROR_STEP_MORE is returned. */
static enum dmirror_step dmirror_load(struct dmirror_run *run, u64 addr,
				      u64 *word)
{
	struct dmirror_window window;
	const u64 *p;

	if (!IS_ALIGNED(addr, DMIRROR_WORD))
		return dmirror_end(run, HMM_DMIRROR_STATUS_UNALIGNED, addr);
	p = dmirror_window_open(run, addr, DMIRROR_WORD, 0, &window);
	if (!p)
		return DMIRROR_STEP_FAULT;
	*word = READ_ONCE(*p);
	dmirror_window_close(&window);
	return DMIRROR_STEP_MORE;
}

/* Visit one word: a chain's head, a node's word or its next pointer. */
static enum dmirror_step dmirror_chase_one(struct dmirror_run *run)
{
	struct hmm_dmirror_run *args = &run->args;
	enum dmirror_step step;
	u64 word;

	if (run->node && !run->word_read) {
		step = dmirror_load(run, run->node + args->operand2, &word);
		if (step != DMIRROR_STEP_MORE)
			return step;
		args->result += word;
		args->result2++;
		run->word_read = true;
		return DMIRROR_STEP_MORE;
	}

	if (run->node) {
		step = dmirror_load(run, run->node + args->operand, &word);
	} else {
		if (run->pos == args->count)
			return DMIRROR_STEP_DONE;
		step = dmirror_load(run, args->addr + run->pos * DMIRROR_WORD,
				    &word);
	}
	if (step != DMIRROR_STEP_MORE)
		return step;
	if (!run->node)
		run->pos++;
	if (word && args->result2 == args->length)
		return dmirror_end(run, HMM_DMIRROR_STATUS_LIMIT, word);
	run->node = word;
	run->word_read = false;
	return DMIRROR_STEP_MORE;
}

static enum dmirror_step dmirror_step_chase(struct dmirror_run *run)
{
	enum dmirror_step step = DMIRROR_STEP_MORE;
	unsigned int i;

	for (i = 0; i < DMIRROR_STEP_WORDS && step == DMIRROR_STEP_MORE; i++)
		step = dmirror_chase_one(run);
	return step;
}

/* Add what was counted to the bins of one page. */
static enum dmirror_step dmirror_histogram_add(struct dmirror_run *run)
{
	struct dmirror_window window;
	atomic64_t *bins;
	u32 i, nr;

	while (run->bin < DMIRROR_BINS && !run->counts[run->bin])
		run->bin++;
	if (run->bin < DMIRROR_BINS) {
		bins = dmirror_window_open(run, run->args.addr2 +
					   run->bin * DMIRROR_WORD,
					   (DMIRROR_BINS - run->bin) *
					   DMIRROR_WORD,
					   HMM_MIRROR_WRITE, &window);
		if (!bins)
			return DMIRROR_STEP_FAULT;
		nr = window.length / DMIRROR_WORD;
		for (i = 0; i < nr; i++)
			if (run->counts[run->bin + i])
				atomic64_add(run->counts[run->bin + i],
					     &bins[i]);
		dmirror_window_close(&window);
		run->bin += nr;
	}
	if (run->bin < DMIRROR_BINS)
		return DMIRROR_STEP_MORE;

	nr = run->pending;
	run->pending = 0;
	run->args.result += nr;
	return dmirror_progress(run, nr);
}

static enum dmirror_step dmirror_step_histogram(struct dmirror_run *run)
{
	u64 addr = run->args.addr + run->pos;
	struct dmirror_window window;
	const u8 *bytes;
	u32 i;

	if (run->pending)
		return dmirror_histogram_add(run);

	bytes = dmirror_window_open(run, addr, run->args.length - run->pos, 0,
				    &window);
	if (!bytes)
		return DMIRROR_STEP_FAULT;
	memset(run->counts, 0, sizeof(run->counts));
	for (i = 0; i < window.length; i++)
		run->counts[READ_ONCE(bytes[i])]++;
	dmirror_window_close(&window);
	run->pending = window.length;
	run->bin = 0;
	return DMIRROR_STEP_MORE;
}

/* isalnum() would take Latin-1 letters too. */
static bool dmirror_in_word(u8 byte)
{
	return (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') ||
	       (byte >= 'a' && byte <= 'z');
}

static enum dmirror_step dmirror_step_word_count(struct dmirror_run *run)
{
	u64 addr = run->args.addr + run->pos;
	struct dmirror_window window;
	const u8 *bytes;
	bool in_word;
	u32 i;

	bytes = dmirror_window_open(run, addr, run->args.length - run->pos, 0,
				    &window);
	if (!bytes)
		return DMIRROR_STEP_FAULT;
	for (i = 0; i < window.length; i++) {
		in_word = dmirror_in_word(READ_ONCE(bytes[i]));
		if (in_word && !run->in_word)
			run->args.result++;
		run->in_word = in_word;
	}
	dmirror_window_close(&window);

	return dmirror_progress(run, window.length);
}

/*
 * What a program's operands must look like; members that it does not use must
 * be 0.
 */
struct dmirror_program {
	enum dmirror_step (*step)(struct dmirror_run *run);
	u32 addr2_length;		/* bytes used at addr2 if constant */
	bool words : 1;			/* addr and length in words */
	bool addr2 : 1;
	bool length : 1;
	bool count : 1;
	bool operand : 1;
	bool operand2 : 1;
};

static const struct dmirror_program dmirror_programs[] = {
	[HMM_DMIRROR_READ] = {
		.step = dmirror_step_read,
		.length = true,
	},
	[HMM_DMIRROR_FILL] = {
		.step = dmirror_step_fill,
		.words = true,
		.length = true,
		.operand = true,
	},
	[HMM_DMIRROR_SUM] = {
		.step = dmirror_step_sum,
		.words = true,
		.length = true,
	},
	[HMM_DMIRROR_COPY] = {
		.step = dmirror_step_copy,
		.words = true,
		.addr2 = true,
		.length = true,
	},
	[HMM_DMIRROR_ATOMIC_ADD] = {
		.step = dmirror_step_atomic_add,
		.words = true,
		.count = true,
		.operand = true,
	},
	[HMM_DMIRROR_EXCLUSIVE_ADD] = {
		.step = dmirror_step_exclusive_add,
		.words = true,
		.count = true,
		.operand = true,
	},
	[HMM_DMIRROR_CHASE] = {
		.step = dmirror_step_chase,
		.length = true,
		.count = true,
		.operand = true,
		.operand2 = true,
	},
	[HMM_DMIRROR_HISTOGRAM] = {
		.step = dmirror_step_histogram,
		.addr2 = true,
		.addr2_length = DMIRROR_BINS * DMIRROR_WORD,
		.length = true,
	},
	[HMM_DMIRROR_WORD_COUNT] = {
		.step = dmirror_step_word_count,
		.length = true,
	},
};

/* Length is a number of nodes here; the array is count pointers. */
static bool dmirror_chase_valid(const struct hmm_dmirror_run *args)
{
	u64 bytes, end;

	return IS_ALIGNED(args->addr, DMIRROR_WORD) &&
	       !check_mul_overflow(args->count, (u64)DMIRROR_WORD, &bytes) &&
	       !check_add_overflow(args->addr, bytes, &end);
}

bool dmirror_program_valid(const struct hmm_dmirror_run *args)
{
	const struct dmirror_program *program;
	u64 end;

	if (args->program >= ARRAY_SIZE(dmirror_programs) || args->flags ||
	    args->reserved)
		return false;
	program = &dmirror_programs[args->program];

	if (program->length != !!args->length ||
	    (!program->addr2 && args->addr2) ||
	    (!program->count && args->count) ||
	    (!program->operand && args->operand) ||
	    (!program->operand2 && args->operand2))
		return false;

	if (check_add_overflow(args->addr, args->length, &end))
		return false;
	if (args->program == HMM_DMIRROR_CHASE)
		return dmirror_chase_valid(args);

	if (program->words && !IS_ALIGNED(args->addr | args->length,
					  DMIRROR_WORD))
		return false;
	return IS_ALIGNED(args->addr2, DMIRROR_WORD) &&
	       !check_add_overflow(args->addr2,
				   program->addr2_length ?: args->length, &end);
}

enum dmirror_step dmirror_program_step(struct dmirror_run *run)
{
	return dmirror_programs[run->args.program].step(run);
}
