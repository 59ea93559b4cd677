# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2154
# Wrong values and missing tools: an error that says what to do.

# rejects REGEX COMMAND...: status 2, the error and the usage
rejects()
{
	local regex=$1

	shift
	status 2 "$@"
	says "^error: .*$regex" 'usage:|--[a-z]+|\.sh|rows'
	[ ! -e build/pristine ] || fail "it began to work"
}

test_arguments_environment()
{
	rejects 'ARCH=arm64' env ARCH=arm64 "$harness/test.sh" all
	rejects 'ACCEL=xen' env ACCEL=xen "$harness/test.sh" all
	rejects 'JOBS=-1' env JOBS=-1 "$harness/build.sh" pristine debug
	rejects 'JOBS=two' env JOBS=two "$harness/build.sh" pristine debug
	rejects 'DEBUG=yes' env DEBUG=yes "$harness/run.sh"
	rejects 'V=2' env V=2 "$harness/run.sh"
	rejects 'TEXT_MIB=0' env TEXT_MIB=0 "$harness/run.sh"
	rejects 'TEXT_MIB=31' env TEXT_MIB=31 "$harness/run.sh"
	rejects 'HMM_BUILD=build' env HMM_BUILD=build "$harness/run.sh"
	rejects 'HMM_BUILD=/a b' env HMM_BUILD='/a b' "$harness/run.sh"
}

test_arguments_selection()
{
	rejects 'SUITE=nope' env SUITE=nope "$harness/test.sh" kunit
	rejects 'SUITE=hmm' env SUITE=hmm "$harness/test.sh" kunit
	rejects 'TEST=nope' env TEST=nope "$harness/test.sh" selftest
	rejects 'DEBUG=0' env DEBUG=0 "$harness/test.sh" all
	rejects 'nope' env BENCH=nope "$harness/bench.sh"
	rejects 'HOURS=0' env HOURS=0 "$harness/test.sh" soak
	rejects 'HOURS=169' env HOURS=169 "$harness/test.sh" soak
	rejects 'SECONDS=1m' env HMM_SOAK_SECONDS=1m "$harness/test.sh" soak
	rejects 'both' env HOURS=1 HMM_SOAK_SECONDS=9 "$harness/test.sh" soak
	rejects 'SEED=-1' env HMM_SOAK_SEED=-1 "$harness/test.sh" soak
}

test_arguments_scripts()
{
	rejects 'unknown argument' "$harness/test.sh" everything
	rejects 'which tests' "$harness/test.sh"
	rejects 'what to build' "$harness/build.sh"
	rejects 'unknown variant' "$harness/build.sh" patched fast
	rejects 'unknown argument' "$harness/boot.sh" --nope
	rejects '--kernel needs a value' "$harness/boot.sh" --kernel
	rejects 'are required' "$harness/boot.sh" --kernel x
	rejects 'not a number' "$harness/boot.sh" --kernel x --initrd y --out z --timeout 1s
	rejects '--hmat has a --memory' "$harness/boot.sh" --kernel x --initrd y --out z --hmat --memory 4G
	rejects 'are required' "$harness/initramfs.sh" --out x
	rejects 'unknown argument' "$harness/overlay.sh" --nope x
	rejects 'unknown argument' "$harness/setup.sh" --nope
	rejects 'unexpected argument' "$harness/get-kernel.sh" x
	rejects 'unexpected argument' "$harness/run.sh" x
	rejects 'required' "$harness/verify-config.sh" x
	rejects '--result is required' "$harness/judge.sh"
	rejects 'clean or distclean' "$harness/clean.sh"
}

test_arguments_make()
{
	status 0 make -s -C "$repo"
	says 'make run' 'make test' 'KERNEL_SRC' 'ACCEL'
	status 2 make -s -C "$repo" test ARCH=sparc
	says '^error: ARCH=sparc is not supported'
	status 2 make -s -C "$repo" selftest TEST=nope
	says '^error: unknown TEST=nope' 'programs: '
	status 2 make -s -C "$repo" soak SECONDS=0
	says '^error: SECONDS=0'
}

test_missing_tool()
{
	path_without flex bison
	linux_tree build/pristine 7 3
	status 1 "$harness/build.sh" pristine debug
	says '^error: missing: flex bison' "make setup" 'apt-get install flex bison'
}

test_missing_qemu()
{
	path_without qemu-system-x86_64
	touch kernel initrd
	status 1 "$harness/boot.sh" --kernel kernel --initrd initrd --out out
	says '^error: missing: qemu-system-x86_64' 'apt-get install qemu-system-x86'
}

test_missing_without_root()
{
	path_without flex
	rm -f "$dir/tools/id"
	printf '#!/bin/sh\necho 1000\n' >"$dir/tools/id"
	chmod 755 "$dir/tools/id"
	status 1 "$harness/setup.sh"
	says 'missing: flex' 'apt-get install .*flex'
}

test_boot_crash()
{
	# a QEMU that ends at once is a guest without a final status
	fake qemu-system-x86_64 'exit 0'
	touch kernel initrd
	status 3 env ACCEL=tcg "$harness/boot.sh" --kernel kernel --initrd initrd --out out
	says 'ended without its final status'
	fake qemu-system-x86_64 'exec sleep 30'
	status 3 env ACCEL=tcg "$harness/boot.sh" --kernel kernel --initrd initrd \
		--out out --timeout 1
	says 'did not end within 1 s'
	fake qemu-system-x86_64 'echo "no such device" >&2; exit 1'
	status 3 env ACCEL=tcg "$harness/boot.sh" --kernel kernel --initrd initrd --out out
	says 'QEMU failed .*no such device'
}

# A guest that hangs before its init runs is booted once more, and only once.
test_boot_again()
{
	fake qemu-system-x86_64 'if [ -e again ]; then
		echo "# hmm-guest: end exit=0" >out/result
	else
		touch again
		exec sleep 30
	fi'
	touch kernel initrd
	status 0 env ACCEL=tcg "$harness/boot.sh" --kernel kernel --initrd initrd \
		--out out --start 1
	says 'no word from the guest for 1 s: booting it again'
	fake qemu-system-x86_64 'exec sleep 30'
	status 3 env ACCEL=tcg "$harness/boot.sh" --kernel kernel --initrd initrd \
		--out out --start 1 --timeout 3
	says 'booting it again' 'did not end within 3 s'
}

# The nodes have all of the memory, and no value of the firmware is there twice.
test_boot_hmat()
{
	local have=0 n

	fake qemu-system-x86_64 'exit 0'
	touch kernel initrd
	status 3 env ACCEL=tcg "$harness/boot.sh" --kernel kernel --initrd initrd \
		--out out --cpus 3 --hmat
	# QEMU's arguments, without the marks of the shell
	sed 's/\\//g' out/qemu.log >output
	says 'q35,hmat=on' ' -smp 3 ' 'nodeid=0,memdev=node0,cpus=0-2' \
		'nodeid=1,memdev=node1,initiator=0' \
		'nodeid=2,memdev=node2,initiator=0' 'memmap=64M%0x200000000-1[+]0xefffffff'
	while read -r n; do
		have=$((have + n))
	done < <(grep -oE 'id=node[0-9],size=[0-9]+M' output | grep -oE '[0-9]+M' | tr -d M)
	says " -m ${have}M "
	[ "$(grep -o 'hmat-lb,' output | wc -l)" -eq 12 ]
	[ "$(grep -oE '(latency|bandwidth)=[0-9]+' output | sort -u | wc -l)" -eq 12 ]

	status 3 env ACCEL=tcg "$harness/boot.sh" --kernel kernel --initrd initrd --out out
	sed 's/\\//g' out/qemu.log >output
	says ' -machine q35 ' ' -m 6G '
	if grep -qE 'numa|0xefffffff' output; then
		fail "nodes without --hmat"
	fi
}

test_clean()
{
	mkdir -p build/log build/patched build/pristine build/mine
	status 0 "$harness/clean.sh" clean
	[ -d build/pristine ] && [ ! -e build/patched ] && [ ! -e build/log ]
	status 0 "$harness/clean.sh" distclean
	[ -d build/mine ] && [ ! -e build/pristine ]
}
