#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs tests and prints the verdict.
#
#   test.sh all          everything: KUnit and kselftests in the patched debug
#                        kernel, the same but the longest with our modules in the
#                        unmodified debug kernel, the tests of these scripts
#   test.sh kunit        KUnit only, one suite with SUITE=
#   test.sh selftest     kselftests only, one program with TEST=
#   test.sh upstream     mainline's own hmm-tests, unmodified, with lib/test_hmm in
#                        the patched debug kernel: exactly the tests in
#                        upstream-expected must pass, and no other may be there
#   test.sh soak         the random walk of soak_test only, in the patched debug
#                        kernel, for HOURS= (default: 1) or HMM_SOAK_SECONDS=, with
#                        progress; HMM_SOAK_SEED= repeats the steps of an earlier one
#   test.sh scripts      the tests of these scripts only
#
# DEBUG=0 takes the release kernels (not for "all").
#
# The last line is "hmm: N passed, N failed, N skipped".  Exit status: 0 nothing
# failed, 1 something did or could not run, 2 wrong arguments.

. "$(dirname "$0")/lib.sh"

usage()
{
	sed -n '5,/^# failed/p' "$0" | sed 's/^# \{0,1\}//'
	echo
	echo "suites:   $(suites)"
	echo "programs: $(programs)"
}

# The KUnit suites, from their source.
suites()
{
	find "$HMM_ROOT/mm/hmm/tests" -name '*.c' -exec awk -F'"' '
		/^static struct kunit_suite / { inside = 1 }
		/^}/ { inside = 0 }
		inside && /\.name = / { print $2 }' {} + | sort | tr '\n' ' '
}

# The kselftests, from their Makefile.
programs()
{
	sed -n 's/^TEST_GEN_PROGS *[:+]*= *//p' \
		"$HMM_ROOT/tools/testing/selftests/hmm/Makefile" | tr '\n' ' '
}

# Without those that take minutes and depend little on the kernel's patches, and what
# the unmodified kernel does not survive.
short_programs()
{
	local program
	local left="memory_test fairness_test memcg_test evict_test pci_test"

	left+=" evict_race_test evict_to_test buffer_test suspend_test vanish_test"
	left+=" between_test ring_test soak_test kernel_walk_test stress_test many_test"
	for program in $(programs); do
		list_has "$program" "$left" || printf '%s ' "$program"
	done
}

mode=${1:-}
[ $# -eq 1 ] || usage_error "which tests?"
list_has "$mode" "all kunit selftest upstream soak scripts" || usage_error "unknown argument: $mode"
SUITE=${SUITE:-} TEST=${TEST:-}
if [ -n "$SUITE" ] && ! list_has "$SUITE" "$(suites)"; then
	usage_error "unknown SUITE=$SUITE"
fi
if [ -n "$TEST" ] && ! list_has "$TEST" "$(programs)"; then
	usage_error "unknown TEST=$TEST"
fi
variant=debug
if [ "${DEBUG:-1}" = 0 ]; then
	[ "$mode" != all ] || usage_error "test.sh all takes the debug kernel: DEBUG=0 is for the others"
	variant=release
fi

# within NAME VALUE MOST: usage error unless VALUE is a number from 1 to MOST
within()
{
	case $2 in
	'' | *[!0-9]* | 0* | ??????????*) usage_error "$1=$2 is not a number from 1 to $3" ;;
	esac
	[ "$2" -le "$3" ] || usage_error "$1=$2 is not a number from 1 to $3"
}

# A week at most.
HOURS=${HOURS:-} soak_seconds=${HMM_SOAK_SECONDS:-} soak_seed=${HMM_SOAK_SEED:-}
if [ "$mode" = soak ]; then
	[ -z "$HOURS" ] || [ -z "$soak_seconds" ] ||
		usage_error "HOURS= and SECONDS= are both given"
	[ -z "$HOURS" ] || within HOURS "$HOURS" 168
	soak_seconds=${soak_seconds:-$((${HOURS:-1} * 3600))}
	within SECONDS "$soak_seconds" 604800
	[ -z "$soak_seed" ] || within SEED "$soak_seed" 999999999
fi

passed=0 failed=0 skipped=0 finished=0
verdict()
{
	# What stopped us half-way is a failure.
	[ "$finished" = 1 ] || failed=$((failed + 1))
	printf 'hmm: %d passed, %d failed, %d skipped\n' $passed $failed $skipped
}
on_exit verdict

# add TITLE JUDGE-ARGS...
add()
{
	local title=$1 out p f s

	shift
	out=$("$HMM_HARNESS/judge.sh" "$@") || :
	read -r p f s < <(sed -n 's/^counts: //p' <<<"$out") || p=0 f=1 s=0
	sed '/^counts: /d; s/^/  /' <<<"$out" | grep . || :
	say "$title: $p passed, $f failed, $s skipped"
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
}

# More options of boot.sh.
boot_options=()

# guest JOB OBJECTS KERNEL SUITES PROGRAMS TIMEOUT ENV...
guest()
{
	local job=$1 objects=$2 image=$3/arch/x86/boot/bzImage out=$HMM_BUILD/guest/$1
	local args=() p

	args=(--env "HMM_SUITES=$4" --env "HMM_PROGRAMS=$5")
	while IFS= read -r p; do
		args+=(--module "$p")
	done < <(built_modules "$objects"
		 [ "$objects" = "$3" ] || built_modules "$3")
	if [ -n "$5" ]; then
		while IFS= read -r p; do
			args+=(--program "$p")
		done < <(built_programs)
	fi
	for p in "${@:7}"; do
		args+=(--env "$p")
	done
	"$HMM_HARNESS/initramfs.sh" --out "$out.cpio.gz" --job "$HMM_QEMU/jobs/test" \
		"${args[@]}"
	say "tests \"$job\":${4:+ $4}${5:+ $5}"
	"$HMM_HARNESS/boot.sh" --kernel "$image" --initrd "$out.cpio.gz" \
		--out "$out" --timeout "$6" --iommu --ivshmem 64 --disk 512 \
		--hmat --append hugepagesz=1G --append hugepages=1 \
		${boot_options[@]+"${boot_options[@]}"} || :
	add "tests \"$job\"" --result "$out/result" --console "$out/console.log" \
		--guest --job "$job"
}

upstream()
{
	local out=$HMM_BUILD/guest/upstream

	"$HMM_HARNESS/initramfs.sh" --out "$out.cpio.gz" \
		--job "$HMM_QEMU/jobs/upstream" \
		--module "$patched/mm/hmm/hmm_helpers.ko" \
		--module "$patched/lib/test_hmm.ko" \
		--program "$HMM_BUILD/upstream/hmm-tests"
	say "mainline's hmm-tests"
	"$HMM_HARNESS/boot.sh" --kernel "$patched/arch/x86/boot/bzImage" \
		--initrd "$out.cpio.gz" --out "$out" --timeout 2400 || :
	add "mainline's hmm-tests" --result "$out/result" \
		--console "$out/console.log" --guest --job "$job" \
		--expect "$HMM_HARNESS/upstream-expected"
}

scripts()
{
	local log=$HMM_LOG/scripts.tap

	run_logged "tests of the scripts" "$log" "$HMM_HARNESS/tests/run" || :
	add "tests of the scripts" --result "$log"
}

patched=$HMM_BUILD/patched/$variant
if [ "$mode" != scripts ]; then
	"$HMM_HARNESS/setup.sh" --auto
	"$HMM_HARNESS/get-kernel.sh"
	"$HMM_HARNESS/overlay.sh"
	"$HMM_HARNESS/build.sh" patched $variant
	case $mode in
	kunit) ;;
	upstream) "$HMM_HARNESS/build.sh" upstream ;;
	*) "$HMM_HARNESS/build.sh" programs ;;
	esac
fi
job=full
[ $variant = debug ] || job=release
case $mode in
all)
	"$HMM_HARNESS/build.sh" ext debug
	guest full "$patched" "$patched" "$(suites)" "$(programs)" 3600
	guest external "$HMM_BUILD/ext/debug" "$HMM_BUILD/pristine/debug" \
		"$(suites)" "$(short_programs)" 3600 HMM_UNMODIFIED_KERNEL=1
	scripts ;;
kunit)
	guest $job "$patched" "$patched" "${SUITE:-$(suites)}" "" 900 ;;
selftest)
	guest $job "$patched" "$patched" "" "${TEST:-$(programs)}" 3600 ;;
upstream)
	upstream ;;
soak)
	boot_options=(--follow)
	guest $job "$patched" "$patched" "" soak_test $((soak_seconds + 900)) \
		"HMM_SOAK_SECONDS=$soak_seconds" "HMM_SOAK_SEED=$soak_seed" ;;
scripts)
	scripts ;;
esac
finished=1
[ "$failed" -eq 0 ]
