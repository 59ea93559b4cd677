#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# "make check": what can be judged without booting a kernel.  See usage().

. "$(dirname "$0")/lib.sh"
. "$HMM_HARNESS/check-source.sh"
. "$HMM_HARNESS/check-build.sh"

usage()
{
	cat <<EOF
usage: check.sh [CHECK...]

Runs the checks named, or all of them:

  length       no source file is longer than $CHECK_MAX_LINES lines
  checkpatch   checkpatch --strict on everything that goes into the tree
  patches      checkpatch --strict on patches/*.patch
  kernel-doc   kernel-doc -Wall on the toolbox, its headers and the drivers
  contract     every exported function documents its context and its result
  rst          the documentation builds without a warning
  shellcheck   shellcheck on every script
  module       our objects with W=1, the toolbox as modules
  sparse       our objects with C=2
  bench        the benchmark's modules with W=1 and C=2 on both kernels
  thp          our objects without transparent huge pages
  private      our objects without DEVICE_PRIVATE
  numa         our objects without NUMA
  builtin      the kernel linked with the toolbox built in
  size         with our options off, the toolbox a module, vmlinux is as large as the
               unmodified one

The last line is "check: N passed, N failed, N skipped"; the exit status is 1 if
a check failed.  A check that lacks its tool is skipped.
EOF
}

# CHECK, the tools it needs, what must be there before, the function that does it
CHECKS="
length      -            source   check_length
checkpatch  perl         source   check_checkpatch
patches     perl         source   check_patches
kernel-doc  python3      source   check_kernel_doc
contract    -            source   check_contract
shellcheck  shellcheck   source   check_shellcheck
rst         sphinx-build overlay  check_rst
module      gcc          overlay  check_module
sparse      sparse,gcc   overlay  check_sparse
thp         gcc          overlay  check_thp
private     gcc          overlay  check_private
numa        gcc          overlay  check_numa
bench       sparse,gcc   patched  check_bench
builtin     gcc          patched  check_builtin
size        gcc,size     patched  check_size
"

# prepare source|overlay|pristine|patched: see "what must be there" above
prepared=' '
prepare()
{
	! list_has "$1" "$prepared" || return 0
	case $1 in
	source) "$HMM_HARNESS/get-kernel.sh" ;;
	overlay)
		prepare source &&
		"$HMM_HARNESS/overlay.sh" ;;
	pristine)
		prepare source &&
		"$HMM_HARNESS/build.sh" pristine debug ;;
	patched)
		prepare overlay && prepare pristine &&
		"$HMM_HARNESS/build.sh" patched debug ;;
	esac || return
	prepared="$prepared$1 "
}

nr_passed=0
nr_failed=0
nr_skipped=0

# Failures inside a check must end it; bash ignores -e where a status is tested.
strictly()
{
	set -e
	"$@"
}

run_check()
{
	local name=$1 tools=$2 function=$4 tool missing='' rc=0

	for tool in ${tools//,/ }; do
		if [ "$tool" != - ] && ! have_tool "$tool"; then
			missing="$missing $tool"
		fi
	done
	if [ -n "$missing" ]; then
		say "SKIP $name:$missing not installed"
		nr_skipped=$((nr_skipped + 1))
		return
	fi

	prepare "$3" || rc=$?
	if [ "$rc" -eq 0 ]; then
		set +e
		run_logged "check $name" "$HMM_LOG/check-$name.log" \
			strictly "$function"
		rc=$?
		set -e
	fi
	if [ "$rc" -eq 0 ]; then
		say "PASS $name"
		nr_passed=$((nr_passed + 1))
	else
		say "FAIL $name"
		nr_failed=$((nr_failed + 1))
	fi
}

wanted=
for arg in "$@"; do
	case $arg in
	-h | --help)
		usage
		exit 0
		;;
	esac
	grep -q "^$arg " <<<"$CHECKS" || usage_error "there is no check '$arg'"
	wanted="$wanted $arg"
done

"$HMM_HARNESS/setup.sh" --auto
build_lock
while read -r -u 3 name tools needs function; do
	if [ -n "$name" ] && { [ -z "$wanted" ] || list_has "$name" "$wanted"; }; then
		run_check "$name" "$tools" "$needs" "$function"
	fi
done 3<<<"$CHECKS"

echo "check: $nr_passed passed, $nr_failed failed, $nr_skipped skipped"
[ "$nr_failed" -eq 0 ]
