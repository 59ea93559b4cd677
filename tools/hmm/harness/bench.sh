#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Measures what memory operations cost on the unmodified kernel ("mainline") and
# on the patched one ("ours").
#
#   bench.sh [--verify] [--list] [--help]
#
#   BENCH="NAME..."  only these rows or groups of rows; --list shows them
#   --verify         boot every guest a second time; fails unless all figures of
#                    all boots agree within 1 %
#
# Both kernels have the same configuration, without debug options, and run the
# same programs and the same measuring modules (tools/hmm/bench) in virtual time
# (QEMU -icount shift=0): a nanosecond is an instruction, and figures do not
# depend on how busy or how fast the machine is.  One virtual CPU, but two where
# TLB shootdowns are counted and eight where threads meet.  The rows of whole
# drivers use lib/test_hmm on mainline and hmm_dmirror on ours; those of mirrors
# and of device memory use the toolbox on ours and on mainline the bare core calls
# that it makes.  What the rows are about stands in tools/hmm/bench/rows.c.
#
# Result, in $HMM_BUILD/bench: table.txt (printed, too), bench.json, bench.svg.
#
# Exit status: 0, 1 a step or a measurement failed, 2 wrong arguments.

. "$(dirname "$0")/lib.sh"

usage()
{
	sed -n '5,/^# Exit/p' "$0" | sed 's/^# \{0,1\}//'
}

BENCH_SRC=$HMM_ROOT/tools/hmm/bench
BENCH_OUT=$HMM_BUILD/bench
PASSES=2

report()
{
	python3 "$HMM_HARNESS/bench_report.py" --rows "$BENCH_SRC/rows.c" "$@"
}

verify=0
while [ $# -gt 0 ]; do
	case $1 in
	--verify) verify=1 ;;
	--list)
		need_tools python3
		report list
		exit 0 ;;
	--help)
		usage
		exit 0 ;;
	*) usage_error "unknown argument: $1" ;;
	esac
	shift
done

need_tools python3
# Names what is wrong with BENCH, and what would be right.
rows=$(report select "${BENCH:-}") || exit 2
need_tools qemu-system-x86_64 gcc make libc-static busybox-static
rows_of()
{
	printf '%s\n' "$rows" | awk -v cpus="$1" '$2 == cpus { printf "%s ", $1 }'
}

cpu_counts=$(printf '%s\n' "$rows" | awk '{ print $2 }' | sort -nu)

build_lock
"$HMM_HARNESS/get-kernel.sh"
"$HMM_HARNESS/overlay.sh"
"$HMM_HARNESS/build.sh" pristine release
"$HMM_HARNESS/build.sh" patched release

# build_modules TREE: $BENCH_OUT/TREE/hmm_bench{,_mirror,_devmem}.ko; all but the
# first measure the toolbox, too, if TREE has it
build_modules()
{
	mkdir -p "$BENCH_OUT/$1"
	run_logged "building the measuring modules for $1" \
		"$HMM_LOG/bench-module-$1.log" \
		kmake -C "$HMM_BUILD/$1" O=release M="$BENCH_SRC" \
		MO="$BENCH_OUT/$1" modules || exit 1
}

build_program()
{
	local selftests=$HMM_ROOT/tools/testing/selftests/hmm

	run_logged "building the measuring program" "$HMM_LOG/bench-program.log" \
		gcc -O2 -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare \
		-static -pthread -I "$HMM_ROOT/drivers/char/hmm_dmirror" \
		-I "$selftests" -iquote "$HMM_BUILD/pristine/lib" \
		-o "$BENCH_OUT/bench" "$BENCH_SRC"/{bench,rows,core,driver,mirror,devmem}.c \
		"$BENCH_SRC"/driver_{test_hmm,dmirror}.c "$selftests/dmirror.c" || exit 1
}

build_modules pristine
build_modules patched
build_program

# measure TREE CPUS ROUND: the guest's results in $BENCH_OUT/guest-.../result
measure()
{
	local tree=$1 cpus=$2 name=$1-$2cpu-$3 obj=$HMM_BUILD/$1/release
	local label driver modules

	if [ "$tree" = pristine ]; then
		label=mainline driver=test_hmm
		modules=(--module "$obj/lib/test_hmm.ko")
	else
		label=ours driver=hmm_dmirror
		modules=(--module "$obj/mm/hmm/hmm_helpers.ko"
			 --module "$obj/drivers/char/hmm_dmirror/hmm_dmirror.ko")
	fi
	# An explicit return: the caller tests our status, which disables set -e.
	"$HMM_HARNESS/initramfs.sh" --out "$BENCH_OUT/$name.cpio.gz" \
		--job "$BENCH_SRC/job" --program "$BENCH_OUT/bench" \
		--module "$BENCH_OUT/$tree/hmm_bench.ko" \
		--module "$BENCH_OUT/$tree/hmm_bench_mirror.ko" \
		--module "$BENCH_OUT/$tree/hmm_bench_devmem.ko" "${modules[@]}" \
		--env HMM_BENCH_DRIVER="$driver" --env HMM_BENCH_PASSES="$PASSES" \
		--env HMM_BENCH_ROWS="$(rows_of "$cpus")" \
		--env HMM_DEVICES=private:256M || return 1
	exec "$HMM_HARNESS/boot.sh" --kernel "$obj/arch/x86/boot/bzImage" \
		--initrd "$BENCH_OUT/$name.cpio.gz" --out "$BENCH_OUT/$name" \
		--icount --cpus "$cpus" --swap 0 --timeout 1800 \
		--append nokaslr --append norandmaps > >(sed -u "s/^/$label: /")
}

# Both kernels at the same time, if there are CPUs for that: virtual time does
# not mind.
measure_both()
{
	local cpus=$1 round=$2 tree pids=() rc=0

	for tree in pristine patched; do
		measure "$tree" "$cpus" "$round" &
		pids+=($!)
		track_child $!
		if [ "$JOBS" -eq 1 ]; then
			wait $! || rc=1
		fi
	done
	if [ "$JOBS" -gt 1 ]; then
		wait "${pids[0]}" || rc=1
		wait "${pids[1]}" || rc=1
	fi
	hmm_children=()
	return $rc
}

rm -rf "$BENCH_OUT"/pristine-* "$BENCH_OUT"/patched-*
failed=0
for round in $(seq 1 $((1 + verify))); do
	for cpus in $cpu_counts; do
		say "measuring with $cpus CPU(s), $PASSES passes, boot $round of $((1 + verify))"
		measure_both "$cpus" "$round" || failed=1
	done
done

options=()
if [ "$verify" = 1 ]; then
	options=(--verify)
fi
printf '%s\n' "$rows" >"$BENCH_OUT/rows"
report table --out "$BENCH_OUT" --expect "$BENCH_OUT/rows" \
	${options[@]+"${options[@]}"} || failed=1
say "chart: $(short_path "$BENCH_OUT/bench.svg"), data: $(short_path "$BENCH_OUT/bench.json")"
if [ "$failed" -ne 0 ]; then
	die "not every measurement succeeded" \
	    "consoles: $(short_path "$BENCH_OUT")/*/console.log"
fi
