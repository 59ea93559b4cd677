# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2154
# judge.sh: what is green, and above all what is not.

# A guest's result with nested documents, all green.
green()
{
	cat <<-'END'
		KTAP version 1
		1..2
		    KTAP version 1
		    1..1
		        # Subtest: suite
		        1..2
		        ok 1 one
		        ok 2 two
		    ok 1 suite
		ok 1 kunit:suite
		    TAP version 13
		    1..1
		    # text
		    ok 1 global.test
		ok 2 selftest:program
		# hmm-guest: end exit=0
	END
}

judge()
{
	"$harness/judge.sh" --guest --job full --result result --console console "$@"
}

good_console()
{
	echo '[    0.000000] Linux version' >console
	echo 'guest: | WARNING: a program may say so' >>console
}

test_judge_green()
{
	green >result
	good_console
	status 0 judge
	says '^counts: 3 0 0$'
}

test_judge_expect()
{
	green >result
	good_console
	printf '# all\none\ntwo\nglobal.test\n' >all
	status 0 judge --expect all
	says '^counts: 3 0 0$'

	printf 'one\ntwo\nthree\nglobal.test\n' >one_more
	status 1 judge --expect one_more
	says 'three: is missing' '^counts: 3 1 0$'

	printf 'one\nglobal.test\n' >one_less
	status 1 judge --expect one_less
	says 'two: is not expected' '^counts: 3 1 0$'

	sed 's/ok 2 two/not ok 2 two/; s/ok 1 suite/not ok 1 suite/' result >failed
	mv failed result
	status 1 judge --expect all
	says 'not ok: two' '^counts: 2 1 0$'
	status 1 judge --expect none
	says 'no such file: none'
}

test_judge_empty()
{
	: >result
	good_console
	status 1 judge
	says 'did not report its end' '^counts: 0 [1-9]'
}

test_judge_truncated()
{
	local n total

	good_console
	green >all
	total=$(wc -l <all)
	for n in $(seq 1 $((total - 1))); do
		head -n "$n" all >result
		status 1 judge
	done
	# a plan that is not met counts every missing result
	{ head -n 1 all; echo 1..9; tail -n +3 all; } >result
	status 1 judge
	says '7 of 9 results are missing' '^counts: 3 7 0$'
}

test_judge_failures()
{
	good_console
	green | sed 's/        ok 2 two/        not ok 2 two/' >result
	status 1 judge
	says 'not ok: two' '^counts: 2 1 0$'
	# the children are fine, the program's exit status is not
	green | sed 's/^ok 2 selftest/not ok 2 selftest/' >result
	status 1 judge
	says 'selftest:program: failed as a whole' '^counts: 3 1 0$'
	green | sed 's/exit=0/exit=1/' >result
	status 1 judge
	says 'did not report its end'
}

test_judge_numbers()
{
	good_console
	green | sed 's/        ok 2 two/        ok 3 two/' >result
	status 1 judge
	says 'result 3 \(two\) where 2 was due'
	green | sed '/^    1\.\.1/d' >result
	status 1 judge
	says 'has no plan'
	green | sed '/        ok 2 two/a\        ok 3 three' >result
	status 1 judge
	says '3 results where 2 were planned'
}

test_judge_skips()
{
	good_console
	green | sed 's/ok 1 global.test/ok 1 global.test # SKIP no reason/' >result
	status 1 judge
	says 'selftest:program .*skipped, which is not expected' '^counts: 2 1 0$'
	sed -n '/^[^#]/p' "$harness/expected-skips" | while IFS='|' read -r job regex why; do
		if [ -z "$job" ] || [ -z "$regex" ] || [ -z "${why# }" ]; then
			fail "expected-skips: a line without a reason: $job $regex"
		fi
	done
}

test_judge_splats()
{
	local text

	green >result
	for text in 'WARNING: CPU: 0 PID: 1 at mm/hmm/devmem.c:1 f+0x1/0x2' \
		'BUG: KASAN: slab-out-of-bounds in f+0x1/0x2' \
		'WARNING: possible circular locking dependency detected' \
		'INFO: task test:12 blocked for more than 120 seconds.' \
		'BUG: sleeping function called from invalid context' \
		'Kernel panic - not syncing: Fatal exception' \
		'Oops: general protection fault' \
		'ODEBUG: free active object type: timer_list'; do
		good_console
		printf '[   18.664647] %s\n' "$text" >>console
		status 1 judge
		says 'the kernel complained' '^counts: 3 1 0$'
	done
	: >console
	status 1 judge
	says 'is empty'
}
