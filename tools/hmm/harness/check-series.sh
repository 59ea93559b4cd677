#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# "make check-series": applies the patches of patches/series one after the other
# to the pristine kernel and builds the whole kernel after each, with those of
# our options on that exist by then.  Slow, so not a part of "make check".
#
#   check-series.sh
#
# Our own directories are there from the first patch on: a patch only wires them
# up or changes existing files.
#
# Exit status: 0, 1 on failure, 2 wrong arguments.

. "$(dirname "$0")/lib.sh"

usage()
{
	sed -n '4,/^# Exit/p' "$0" | sed 's/^# \{0,1\}//'
}

[ $# -eq 0 ] || usage_error "unexpected argument: $1"

series=$HMM_BUILD/series
obj=$series/debug
check_cc=gcc
if have_tool ccache; then
	check_cc="ccache gcc"
fi

"$HMM_HARNESS/setup.sh" --auto
build_lock
"$HMM_HARNESS/get-kernel.sh"
"$HMM_HARNESS/build.sh" pristine debug

# Every patch is in the series, with its mark and its kind.
mapfile -t names < <(awk '!/^[ \t]*(#|$)/ { print $1 }' "$HMM_ROOT/patches/series")
[ ${#names[@]} -gt 0 ] || die "patches/series is empty"
bad=$(awk '!/^[ \t]*(#|$)/ && !(NF == 3 && $2 ~ /^(required|optional)$/ &&
		$3 ~ /^(wiring|fix|export|feature)$/)' "$HMM_ROOT/patches/series")
[ -z "$bad" ] || die "patches/series: a line that its head does not explain:" "$bad"
for patch in "$HMM_ROOT"/patches/*.patch; do
	list_has "$(basename "$patch")" "${names[*]}" ||
		die "patches/series does not list $(basename "$patch")"
done

build()
{
	cat "$HMM_BUILD/pristine/debug/.config" "$HMM_QEMU/hmm.config" >"$obj/.config"
	kmake -C "$series" O=debug CC="$check_cc" olddefconfig || return
	kmake -C "$series" O=debug CC="$check_cc" -j"$JOBS" vmlinux modules
}

built=0
for ((n = 1; n <= ${#names[@]}; n++)); do
	name=${names[n - 1]}
	"$HMM_HARNESS/overlay.sh" --patched "$series" --patches "$n"
	if [ ! -e "$obj/.config" ]; then
		rm -rf "$obj" "$obj.new"
		cp -a "$HMM_BUILD/pristine/debug" "$obj.new"
		mv "$obj.new" "$obj"
	fi
	run_logged "building with $name" "$HMM_LOG/series-$n.log" build ||
		die "the kernel does not build with patches 1 to $n of the series"
	built=$((built + 1))
done
"$HMM_HARNESS/verify-config.sh" "$obj/.config" "$HMM_QEMU/hmm.config"
rm -rf "$series"

echo "check-series: $built of ${#names[@]} patches apply and build"
