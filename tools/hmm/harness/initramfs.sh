#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Packs the initramfs of a guest: static busybox, our init, one job.
#
#   initramfs.sh --out FILE --job FILE [option]...
#
#   --out FILE         the initramfs (cpio, gzip)
#   --job FILE         shell script that the guest runs
#   --module FILE      kernel module, to /lib/hmm/; may be repeated
#   --program FILE     static program, to /bin-tests/; may be repeated
#   --file SRC:DEST    any file, to the absolute path DEST; may be repeated
#   --env NAME=VALUE   environment of the job; may be repeated
#
# In the guest: busybox runs the job as "sh /job" with PATH=/bin-tests:/bin,
# working directory /, standard output the result port (it ends up in
# OUT/result of boot.sh), standard error the console.  /proc, /sys,
# /sys/kernel/debug, /dev, /dev/pts, /dev/shm and /tmp are mounted, swap is on
# if there is a swap disk (HMM_SWAP=0 in --env or --append prevents that).
# ". /lib/hmm/guest.sh" gives the job the functions described in that file
# (tools/testing/selftests/hmm/qemu/guest.sh).  When the job ends init appends
# the final line "# hmm-guest: end exit=STATUS" and powers off.
#
# Exit status: 0, 1 on failure, 2 wrong arguments.

. "$(dirname "$0")/lib.sh"

usage()
{
	sed -n '5,/^# Exit/p' "$0" | sed 's/^# \{0,1\}//'
}

out='' job=''
modules=() programs=() files=() envs=()

while [ $# -gt 0 ]; do
	case $1 in
	--out | --job | --module | --program | --file | --env)
		need_arg "$1" $# ;;
	esac
	case $1 in
	--out) out=$2 ;;
	--job) job=$2 ;;
	--module) modules+=("$2") ;;
	--program) programs+=("$2") ;;
	--file) files+=("$2") ;;
	--env) envs+=("$2") ;;
	*) usage_error "unknown argument: $1" ;;
	esac
	shift 2
done
if [ -z "$out" ] || [ -z "$job" ]; then
	usage_error "--out and --job are required"
fi
need_tools busybox-static cpio gzip

stage=$out.stage
on_exit "rm -rf '$stage' '$out.new'"
rm -rf "$stage"
mkdir -p "$stage"/{bin,bin-tests,lib/hmm,dev,proc,sys,tmp,etc,root}

copy()
{
	[ -f "$1" ] || die "initramfs: no such file: $1"
	mkdir -p "$(dirname "$stage$2")"
	cp "$1" "$stage$2"
}

copy "${HMM_BUSYBOX:-/bin/busybox}" /bin/busybox
for applet in $("$stage/bin/busybox" --list); do
	[ "$applet" = busybox ] || ln -s busybox "$stage/bin/$applet"
done
copy "$HMM_QEMU/init" /init
copy "$HMM_QEMU/guest.sh" /lib/hmm/guest.sh
copy "$job" /job
chmod 755 "$stage/init"
echo 'root:x:0:0:root:/root:/bin/sh' >"$stage/etc/passwd"
echo 'root:x:0:' >"$stage/etc/group"

for f in ${modules[@]+"${modules[@]}"}; do
	copy "$f" "/lib/hmm/$(basename "$f")"
done
for f in ${programs[@]+"${programs[@]}"}; do
	copy "$f" "/bin-tests/$(basename "$f")"
	chmod 755 "$stage/bin-tests/$(basename "$f")"
done
for f in ${files[@]+"${files[@]}"}; do
	case $f in
	*:/*) copy "${f%%:/*}" "/${f#*:/}" ;;
	*) usage_error "--file $f is not SRC:/DEST" ;;
	esac
done
: >"$stage/job.env"
for e in ${envs[@]+"${envs[@]}"}; do
	case $e in
	[A-Z_]*=*) ;;
	*) usage_error "--env $e is not NAME=VALUE" ;;
	esac
	printf "export %s='%s'\n" "${e%%=*}" \
		"$(printf '%s' "${e#*=}" | sed "s/'/'\\\\''/g")" >>"$stage/job.env"
done

(cd "$stage" && find . -print0 | sort -z |
 cpio --null --quiet -o -H newc -R 0:0 | gzip -1 -n) >"$out.new"
mv "$out.new" "$out"
