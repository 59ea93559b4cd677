#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A shell in the guest, toolbox and dummy device loaded, test programs in PATH.
#
#   shell.sh
#
# DEBUG=1 takes the debug kernel.
#
# Exit status: 0, 1 on failure, 2 wrong arguments.

. "$(dirname "$0")/lib.sh"

usage()
{
	sed -n '5,/^# Exit/p' "$0" | sed 's/^# \{0,1\}//'
}

[ $# -eq 0 ] || usage_error "unexpected argument: $1"
variant=release
[ "${DEBUG:-0}" = 0 ] || variant=debug

"$HMM_HARNESS/setup.sh" --auto
"$HMM_HARNESS/get-kernel.sh"
"$HMM_HARNESS/overlay.sh"
"$HMM_HARNESS/build.sh" patched $variant
"$HMM_HARNESS/build.sh" programs

objects=$HMM_BUILD/patched/$variant
out=$HMM_BUILD/guest/shell
args=()
while IFS= read -r f; do
	args+=(--module "$f")
done < <(built_modules "$objects")
while IFS= read -r f; do
	args+=(--program "$f")
done < <(built_programs)
"$HMM_HARNESS/initramfs.sh" --out "$out.cpio.gz" --job "$HMM_QEMU/jobs/shell" \
	"${args[@]}"
"$HMM_HARNESS/boot.sh" --kernel "$objects/arch/x86/boot/bzImage" \
	--initrd "$out.cpio.gz" --out "$out" --no-panic-on-warn --interactive \
	--append quiet
