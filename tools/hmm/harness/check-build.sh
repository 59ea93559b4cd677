# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Sourced by check.sh: the checks that compile.  Only mm/hmm and our two drivers are
# compiled, in object trees build/patched/matrix-*, but for the two checks
# that link a kernel: they work on a copy of the object tree that "make test"
# builds, build/patched/matrix-link, so that nothing but the link is left to do.

check_cc=gcc
if have_tool ccache; then
	check_cc="ccache gcc"
fi

# Where our code shows up in a message of a compiler that runs in an object tree.
CHECK_OURS='^(\./|\.\./)*(mm/hmm|include/linux/hmm|drivers/char/hmm_dmirror|samples/hmm)/'

matrix_make()
{
	local variant=$1

	shift
	kmake -C "$PATCHED" O="matrix-$variant" CC="$check_cc" -j"$JOBS" \
		--no-print-directory "$@"
}

# matrix_config VARIANT FRAGMENT...: configure build/patched/matrix-VARIANT
# with these fragments on top of allnoconfig, every line of which must stick.
matrix_config()
{
	local variant=$1 dir=$PATCHED/matrix-$1

	shift
	# Spare each variant the build of the tools.
	if [ ! -d "$dir" ] && [ -e "$PATCHED/matrix-module/.config" ]; then
		cp -a "$PATCHED/matrix-module" "$dir.new"
		mv "$dir.new" "$dir"
	fi
	mkdir -p "$dir"
	matrix_make "$variant" allnoconfig
	(cd "$PATCHED" && scripts/kconfig/merge_config.sh -m -O "$dir" \
		"$dir/.config" "$@")
	matrix_make "$variant" olddefconfig
	"$HMM_HARNESS/verify-config.sh" "$dir/.config" "$@"
}

# Our objects, with W=1; make itself must succeed and nothing may be said of our
# files.  Objects are removed first: a warning is not repeated without compiling.
matrix_objects()
{
	local variant=$1 dir=$PATCHED/matrix-$1 log src object missing=''

	log=$dir/check.log
	shift
	rm -rf "$dir/mm/hmm" "$dir/drivers/char/hmm_dmirror" "$dir/samples/hmm"
	matrix_make "$variant" prepare
	matrix_make "$variant" W=1 "$@" mm/hmm/ drivers/char/hmm_dmirror/ \
		samples/hmm/ 2>&1 | tee "$log"
	expect_none "remarks:" "$(grep -E "$CHECK_OURS.*(warning|note):" \
		"$log" || :)"
	for src in "$PATCHED"/mm/hmm/*.c "$PATCHED"/mm/hmm/tests/*.c \
		   "$PATCHED"/drivers/char/hmm_dmirror/*.c \
		   "$PATCHED"/samples/hmm/*.c; do
		[ -e "$src" ] || continue
		object=${src#"$PATCHED"/}
		object=${object%.c}.o
		# The sample needs private memory.
		case $variant:$object in
		noprivate:samples/*) continue ;;
		esac
		[ -e "$dir/$object" ] || missing="$missing $object"
	done
	expect_none "not compiled:" "$missing"
}

matrix_variant()
{
	local variant=$1 fragment=$HMM_BUILD/check/$1.config

	mkdir -p "$HMM_BUILD/check"
	cat >"$fragment"
	matrix_config "$variant" "$HMM_QEMU/kernel.config" \
		"$HMM_QEMU/hmm.config" "$fragment"
	matrix_objects "$variant"
}

check_module()
{
	matrix_variant module </dev/null
}

# lib/test_hmm needs THP and DEVICE_PRIVATE.
check_thp()
{
	matrix_variant nothp <<-EOF
		CONFIG_TRANSPARENT_HUGEPAGE=n
		CONFIG_TRANSPARENT_HUGEPAGE_MADVISE=n
		CONFIG_TEST_HMM=n
	EOF
}

check_private()
{
	matrix_variant noprivate <<-EOF
		CONFIG_DEVICE_PRIVATE=n
		CONFIG_SAMPLE_HMM=n
		CONFIG_TEST_HMM=n
	EOF
}

check_numa()
{
	matrix_variant nonuma <<-EOF
		CONFIG_NUMA=n
		CONFIG_X86_64_ACPI_NUMA=n
		CONFIG_ACPI_HMAT=n
		CONFIG_NUMA_BALANCING=n
		CONFIG_NUMA_EMU=n
	EOF
}

# sparse 0.6.4 does not know __typeof_unqual__ and then parses nothing.  As
# typeof it keeps qualifiers, which hides no remark.
sparse_command()
{
	local said

	said=$(echo 'static const int a; static __typeof_unqual__(a) b;' |
		sparse - 2>&1 || :)
	case $said in
	*error*) echo "sparse -D__typeof_unqual__=__typeof__" ;;
	*) echo sparse ;;
	esac
}

# judge_sparse LOG DIR: an error anywhere means that sparse gave up before it saw
# our code.  DIR is where the paths in the messages start.  sparse 0.6.4 does not
# take __builtin_strlen() for a constant, as MODULE_*() in 7.3 needs it.
judge_sparse()
{
	grep -q '^  CHECK ' "$1" || {
		echo "sparse did not run"
		return 1
	}
	expect_none "remarks:" "$(
		grep -E "$CHECK_OURS.*: |: error: " "$1" | sort -u |
		while IFS=: read -r file line rest; do
			if [ "${rest#*: }" != "error: bad constant expression" ] ||
			   ! sed -n "${line}p" "$2/$file" | grep -qE '^(MODULE|module)_'; then
				echo "$file:$line:$rest"
			fi
		done)"
}

check_sparse()
{
	local dir=$PATCHED/matrix-module

	[ -e "$dir/.config" ] || matrix_variant module </dev/null
	matrix_objects module C=2 CHECK="$(sparse_command)"
	judge_sparse "$dir/check.log" "$dir"
}

check_bench()
{
	local dir tree

	for tree in "$PRISTINE" "$PATCHED"; do
		dir=$HMM_BUILD/check/bench-$(basename "$tree")
		rm -rf "$dir"
		mkdir -p "$dir"
		cp "$HMM_ROOT"/tools/hmm/bench/{*.[ch],Kbuild} "$dir"
		kmake -C "$tree/debug" M="$dir" CC="$check_cc" \
			--no-print-directory W=1 C=2 CHECK="$(sparse_command)" \
			modules 2>&1 | tee "$dir/check.log"
		judge_sparse "$dir/check.log" "$dir"
		expect_none "remarks:" "$(grep -E \
			'^[^ /]*\.[ch]:[0-9]+.*(warning|note): ' \
			"$dir/check.log" || :)"
	done
}

# --- a whole kernel ----------------------------------------------------------

# A copy of the debug object tree with another value for our options.
link_kernel()
{
	local dir=$PATCHED/matrix-link fragment

	if [ ! -e "$dir/.config" ]; then
		rm -rf "$dir" "$dir.new"
		cp -a "$PATCHED/debug" "$dir.new"
		mv "$dir.new" "$dir"
	fi
	fragment=$HMM_BUILD/check/link.config
	mkdir -p "$HMM_BUILD/check"
	cat >"$fragment"
	cat "$PRISTINE/debug/.config" "$fragment" >"$dir/.config"
	matrix_make link olddefconfig
	"$HMM_HARNESS/verify-config.sh" "$dir/.config" "$fragment"
	matrix_make link KBUILD_BUILD_VERSION=1 vmlinux
}

check_builtin()
{
	sed 's/=m$/=y/' "$HMM_QEMU/hmm.config" | grep '^CONFIG_' | link_kernel
	grep -q ' hmm_mirror_fault$' "$PATCHED/matrix-link/System.map"
}

section_sizes()
{
	size -A "$1" | awk '$1 ~ /^\./ && $1 != ".comment" { print $1, $2 }'
}

# The objects that patches to the core change, as paths in an object tree.
fixed_objects()
{
	awk '!/^#/ && $3 != "wiring" { print $1 }' "$HMM_ROOT/patches/series" |
	while IFS= read -r p; do
		sed -n 's|^+++ b/\(.*\)\.c$|./\1.o|p' "$HMM_ROOT/patches/$p"
	done | sort -u
}

# object_sizes DIR: each object of the kernel proper with the size of its parts.  Not
# what modpost writes, such as which modules another one needs.
object_sizes()
{
	(cd "$1" && find . -name '*.o' ! -name 'vmlinux*' ! -name '.*' \
		! -path './tools/*' ! -path './arch/x86/boot/*' \
		! -path './scripts/*' ! -path './init/version*' \
		! -path './mm/hmm/*' ! -path './drivers/char/hmm_dmirror/*' \
		! -path './samples/hmm/*' ! -name '*.mod.o' \
		-exec size {} +) | awk '$1 ~ /^[0-9]/ { print $6, $1, $2, $3 }' | sort
}

# Every section must be as large as without the series; with patches to the core in
# it, every object that they do not touch.
check_size()
{
	local fixed measure=section_sizes file=/vmlinux ours theirs

	# lib/test_hmm selects the toolbox, as a module: vmlinux is the same.
	sed '/^CONFIG_HMM_HELPERS=/!s/=.*/=n/' "$HMM_QEMU/hmm.config" |
		grep '^CONFIG_' | link_kernel
	fixed=$(fixed_objects)
	if [ -n "$fixed" ]; then
		measure=object_sizes file=
		echo "changed by patches to the core: $fixed"
	fi
	ours=$($measure "$PATCHED/matrix-link$file" | grep -vwF "${fixed:-no such object}")
	theirs=$($measure "$PRISTINE/debug$file" | grep -vwF "${fixed:-no such object}")
	[ -n "$theirs" ]
	size "$PRISTINE/debug/vmlinux" "$PATCHED/matrix-link/vmlinux"
	wc -l <<<"$theirs"
	diff <(echo "$theirs") <(echo "$ours") || {
		echo "the kernel with our options off differs (< unmodified, > ours)"
		return 1
	}
}
