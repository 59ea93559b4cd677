#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Configures and builds, whatever is out of date.
#
#   build.sh pristine debug|release   $HMM_BUILD/pristine/{debug,release}
#   build.sh patched debug|release    $HMM_BUILD/patched/{debug,release}; starts
#                                     from a copy of the pristine objects
#   build.sh ext debug|release        our modules alone, for the pristine kernel:
#                                     $HMM_BUILD/ext/{debug,release}
#   build.sh programs                 the static test programs and hmmstat, to
#                                     $HMM_BUILD/programs; "tests" there lists
#                                     those that are kselftests
#   build.sh upstream                 mainline's own hmm-tests, from the unmodified
#                                     tree, static, with longer time limits
#                                     (qemu/patience.h), to $HMM_BUILD/upstream
#   build.sh config pristine|patched debug|release
#                                     only configure
#
# Each kernel: object tree O, image O/arch/x86/boot/bzImage, modules in place;
# ours are O/mm/hmm/hmm_helpers.ko, O/mm/hmm/tests/hmm_kunit.ko,
# O/drivers/char/hmm_dmirror/hmm_dmirror.ko and O/samples/hmm/hmm_sample.ko.  In
# build/ext the same paths.
#
# The caller runs get-kernel.sh and, for patched and programs, overlay.sh first.
# The configuration is allnoconfig with kernel.config, debug.config (debug),
# hmm.config (patched) and hmm-debug.config (both) of tools/testing/selftests/hmm/qemu
# merged; each of their lines is then verified (verify-config.sh).
#
# Exit status: 0, 1 on failure, 2 wrong arguments.

. "$(dirname "$0")/lib.sh"

usage()
{
	sed -n '5,/^# Exit/p' "$0" | sed 's/^# \{0,1\}//'
}

need_tools gcc make ld flex bison bc perl libelf-headers

cc=gcc
if have_tool ccache; then
	cc="ccache gcc"
fi

# Our Kconfig symbols as make variables, for builds outside the kernel tree.
ext_config="CONFIG_HMM_HELPERS=m CONFIG_HMM_DMIRROR=m CONFIG_HMM_KUNIT_TEST=m"
ext_config+=" CONFIG_SAMPLE_HMM=m"
ext_dirs="mm/hmm include/linux/hmm include/trace/events drivers/char/hmm_dmirror"
ext_dirs+=" samples/hmm"

kernel_tree()
{
	[ -f "$HMM_BUILD/$1/Makefile" ] ||
		die "no kernel source in $HMM_BUILD/$1" "run get-kernel.sh and overlay.sh first"
}

# merge OBJ TREE FRAGMENT...: a complete configuration in OBJ/.config
merge()
{
	local obj=$1 tree=$2

	shift 2
	kmake -s -C "$tree" O="$obj" CC="$cc" allnoconfig
	(cd "$tree" && scripts/kconfig/merge_config.sh -m -O "$obj" "$obj/.config" "$@")
	kmake -s -C "$tree" O="$obj" CC="$cc" olddefconfig
}

# configure TREE VARIANT: TREE/VARIANT/.config, touched only if it changes
configure()
{
	local name=$1 variant=$2 tree=$HMM_BUILD/$1 obj=$HMM_BUILD/$1/$2
	local work=$HMM_BUILD/config/$1-$2 stamp kconfigs
	local fragments=("$HMM_QEMU/kernel.config")

	[ "$variant" = release ] || fragments+=("$HMM_QEMU/debug.config")
	[ "$name" = pristine ] || fragments+=("$HMM_QEMU/hmm.config")
	[ "$name-$variant" != patched-debug ] || fragments+=("$HMM_QEMU/hmm-debug.config")
	# Kconfig files that the overlay touches decide as well.
	kconfigs=$(sed -n '/Kconfig/p' "$tree/.hmm-overlay" 2>/dev/null || :)
	# shellcheck disable=SC2086
	stamp="$(cat "$tree/.hmm-source") $cc $(gcc -dumpfullversion) \
		$(cd "$tree" && file_stamp "${fragments[@]}" $kconfigs)"
	if [ -f "$obj/.config" ] && [ "$stamp" = "$(cat "$obj/.hmm-config" 2>/dev/null)" ]; then
		return
	fi
	rm -rf "$work"
	mkdir -p "$work" "$obj"
	run_logged "configuring $name $variant" "$HMM_LOG/config-$name-$variant.log" \
		merge "$work" "$tree" "${fragments[@]}" || exit 1
	"$HMM_HARNESS/verify-config.sh" "$work/.config" "${fragments[@]}"
	cmp -s "$work/.config" "$obj/.config" || cp "$work/.config" "$obj/.config"
	printf '%s\n' "$stamp" >"$obj/.hmm-config"
	rm -rf "$work"
}

build_kernel()
{
	local name=$1 variant=$2 tree=$HMM_BUILD/$1 obj=$HMM_BUILD/$1/$2
	local old=$HMM_BUILD/pristine/$2

	kernel_tree "$name"
	if [ "$name" = patched ] && [ ! -f "$obj/.hmm-built" ]; then
		build_kernel pristine "$variant"
		rm -rf "$obj" "$obj.new"
		on_exit "rm -rf '$obj.new'"
		run_logged "copying the pristine objects" "$HMM_LOG/objects.log" \
			cp -a "$old" "$obj.new" || exit 1
		mv "$obj.new" "$obj"
		# What a patch changed must be newer than the objects from before.
		(cd "$tree" && sed -n 's|^+++ b/||p' "$HMM_ROOT"/patches/*.patch |
			sort -u | xargs -r touch -c)
	fi
	configure "$name" "$variant"
	run_logged "building $name $variant" "$HMM_LOG/build-$name-$variant.log" \
		kmake -C "$tree" O="$variant" CC="$cc" -j "$JOBS" bzImage modules || exit 1
	: >"$obj/.hmm-built"
}

# Copies only what differs, removes what is gone.
stage_ext()
{
	local dir=$1 file

	mkdir -p "$dir"
	# shellcheck disable=SC2086
	(cd "$HMM_ROOT" && find $ext_dirs -type f \( -name '*.[chS]' -o -name Makefile \
		-o -name Kbuild \)) | sort >"$dir/.files"
	while IFS= read -r file; do
		mkdir -p "$dir/$(dirname "$file")"
		cmp -s "$HMM_ROOT/$file" "$dir/$file" || cp "$HMM_ROOT/$file" "$dir/$file"
	done <"$dir/.files"
	# shellcheck disable=SC2086
	(cd "$dir" && find $ext_dirs -type f \( -name '*.[hS]' -o -name '*.c' ! -name '*.mod.c' \
		-o -name Makefile -o -name Kbuild \) | sort) |
	comm -23 - "$dir/.files" | while IFS= read -r file; do
		rm -f "$dir/$file"
	done
	cat >"$dir/Kbuild.new" <<-'END'
		# SPDX-License-Identifier: GPL-2.0
		subdir-ccflags-y := -I$(src)/include
		# As hmm-debug.config, for a kernel without that option.
		subdir-ccflags-$(CONFIG_DEBUG_VM) += -DCONFIG_HMM_DEBUG
		obj-m += mm/hmm/ drivers/char/hmm_dmirror/ samples/hmm/
	END
	cmp -s "$dir/Kbuild.new" "$dir/Kbuild" || cp "$dir/Kbuild.new" "$dir/Kbuild"
	rm "$dir/Kbuild.new"
}

build_ext()
{
	local variant=$1 dir=$HMM_BUILD/ext/$1

	build_kernel pristine "$variant"
	stage_ext "$dir"
	# shellcheck disable=SC2086
	run_logged "building our modules for pristine $variant" \
		"$HMM_LOG/build-ext-$variant.log" \
		kmake -C "$HMM_BUILD/pristine" O="$variant" CC="$cc" M="$dir" \
		-j "$JOBS" $ext_config modules || exit 1
}

build_programs()
{
	local dir=$HMM_BUILD/programs
	local src=$HMM_BUILD/patched/tools/testing/selftests/hmm

	kernel_tree patched
	need_tools libc-static
	mkdir -p "$dir"
	run_logged "building the test programs" "$HMM_LOG/build-programs.log" \
		kmake -C "$src" OUTPUT="$dir" CC="$cc" -j "$JOBS" all || exit 1
	run_logged "building hmmstat" "$HMM_LOG/build-hmmstat.log" \
		make -C "$HMM_ROOT/tools/hmm/hmmstat" O="$dir" CC="$cc" \
		LDFLAGS=-static || exit 1
	kmake -s -C "$src" OUTPUT="$dir" emit_tests |
		sed -n 's/^[^:]*:\([^ ]*\)$/\1/p' >"$dir/tests.new"
	[ -s "$dir/tests.new" ] || die "the selftest Makefile lists no program"
	mv "$dir/tests.new" "$dir/tests"
}

build_upstream()
{
	local dir=$HMM_BUILD/upstream src=$HMM_BUILD/pristine/tools/testing/selftests/mm

	kernel_tree pristine
	need_tools libc-static
	mkdir -p "$dir"
	run_logged "building hmm-tests of the unmodified tree" \
		"$HMM_LOG/build-upstream.log" \
		gcc -O2 -static -pthread -D_GNU_SOURCE -I "$HMM_BUILD/pristine" \
		-I "$src/.." -isystem "$HMM_BUILD/pristine/tools/include/uapi" \
		-include "$HMM_QEMU/patience.h" -o "$dir/hmm-tests" \
		"$src"/{hmm-tests,vm_util,hugepage_settings}.c || exit 1
}

variant_arg()
{
	list_has "${1:-}" "debug release" || usage_error "unknown variant: '${1:-}'"
}

build_lock
case ${1:-} in
pristine | patched)
	[ $# -eq 2 ] || usage_error "wrong number of arguments"
	variant_arg "$2"
	build_kernel "$1" "$2" ;;
ext)
	[ $# -eq 2 ] || usage_error "wrong number of arguments"
	variant_arg "$2"
	build_ext "$2" ;;
programs)
	[ $# -eq 1 ] || usage_error "wrong number of arguments"
	build_programs ;;
upstream)
	[ $# -eq 1 ] || usage_error "wrong number of arguments"
	build_upstream ;;
config)
	[ $# -eq 3 ] || usage_error "wrong number of arguments"
	list_has "$2" "pristine patched" || usage_error "unknown tree: $2"
	variant_arg "$3"
	kernel_tree "$2"
	configure "$2" "$3" ;;
*) usage_error "what to build? '${1:-}'" ;;
esac
