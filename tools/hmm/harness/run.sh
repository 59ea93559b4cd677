#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The main job: builds everything, boots the patched kernel and runs the
# demonstration on the kernel's own documentation.
#
#   run.sh
#
# DEBUG=1 takes the debug kernel (much slower, and with less text).
# TEXT_MIB=N sets the size of the text: 1 to 30, default 24, with DEBUG=1 1.
#
# Exit status: 0 each result on the device equals the CPU's, 1 not so or
# something failed, 2 wrong arguments.

. "$(dirname "$0")/lib.sh"

usage()
{
	sed -n '5,/^# Exit/p' "$0" | sed 's/^# \{0,1\}//'
}

[ $# -eq 0 ] || usage_error "unexpected argument: $1"
variant=release default_text=24
if [ "${DEBUG:-0}" = 1 ]; then
	variant=debug default_text=1
fi
TEXT_MIB=${TEXT_MIB:-$default_text}
case $TEXT_MIB in
[1-9] | [12][0-9] | 30) ;;
*) usage_error "TEXT_MIB=$TEXT_MIB is not a number from 1 to 30" ;;
esac
# The text, the data made of it, and room to spare; a multiple of 2 MiB.
memory=$((TEXT_MIB * 4 + 64))M

"$HMM_HARNESS/setup.sh" --auto
"$HMM_HARNESS/get-kernel.sh"
"$HMM_HARNESS/overlay.sh"
"$HMM_HARNESS/build.sh" patched $variant
"$HMM_HARNESS/build.sh" programs

objects=$HMM_BUILD/patched/$variant
out=$HMM_BUILD/guest/demo
mkdir -p "$out"
find "$HMM_BUILD/pristine/Documentation" -name '*.rst' -print0 | sort -z |
	xargs -0 cat >"$out/text.all"
head -c "${TEXT_MIB}M" "$out/text.all" >"$out/text"
rm "$out/text.all"
say "the text: $(wc -c <"$out/text") bytes of the kernel's documentation"

"$HMM_HARNESS/initramfs.sh" --out "$out.cpio.gz" --job "$HMM_QEMU/jobs/demo" \
	--module "$objects/mm/hmm/hmm_helpers.ko" \
	--module "$objects/drivers/char/hmm_dmirror/hmm_dmirror.ko" \
	--program "$HMM_BUILD/programs/hmm-demo" --file "$out/text:/text" \
	--env "HMM_DEVICES=private:$memory,private:$memory,cdm@0x140000000:$memory,none"
rc=0
"$HMM_HARNESS/boot.sh" --kernel "$objects/arch/x86/boot/bzImage" \
	--initrd "$out.cpio.gz" --out "$out" --timeout 1200 --follow || rc=$?
if [ "$rc" -eq 0 ]; then
	say "the demonstration succeeded"
	exit 0
fi
tail -n 12 "$out/console.log" | tr -d '\r' | sed 's/^/  | /' >&2
die "the demonstration failed" "its output: $(short_path "$out/result")" \
    "the kernel's log: $(short_path "$out/console.log")"
