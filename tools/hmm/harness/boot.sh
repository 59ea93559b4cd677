#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Boots one guest and waits for its end.
#
#   boot.sh --kernel IMAGE --initrd FILE --out DIR [option]...
#
#   --kernel IMAGE   bzImage
#   --initrd FILE    made by initramfs.sh
#   --out DIR        created and emptied of earlier files; afterwards holds
#                      result       what the guest's job wrote to its standard
#                                   output (virtio-serial port "hmm.result")
#                      console.log  the serial console
#                      qemu.log     messages of QEMU itself, and its command line
#   --timeout SEC    for the whole guest, default 600
#   --start SEC      boot it again, once, if its init says nothing for so long;
#                    default 300; 0: do not
#   --memory SIZE    default 6G
#   --cpus N         default 2
#   --append TEXT    added to the kernel command line; may be repeated.
#                    NAME=value reaches init and the job as environment variable
#   --swap MIB       size of the swap disk /dev/vda, default 1024; 0: no disk.
#                    The guest's init makes it swap and enables it
#   --icount         virtual time: one instruction is one nanosecond, one CPU
#                    runs at a time.  Implies TCG
#   --disk MIB       size of a scratch disk with an ext2 file system, default 0,
#                    none.  The guest's init mounts it at /disk
#   --iommu          an Intel IOMMU, and the PCI device "edu" behind it
#   --ivshmem MIB    the PCI device "ivshmem-plain" with so much memory in BAR 2, a
#                    power of two, 2 to 4096; default 0: no such device
#   --hmat           three NUMA nodes, and what firmware says of their speed (HMAT),
#                    see below; not together with --memory
#   --qemu ARG       one more argument for QEMU; may be repeated
#   --no-panic-on-warn  a kernel warning does not end the guest
#   --follow         copy the result to the terminal while it arrives
#   --interactive    connect the console to the terminal
#
# 5 GiB of the 6 GiB are RAM; 0x140000000..0x17fffffff is reserved for coherent
# device memory.  With --hmat node 0 has all CPUs and the first 3 GiB, up to
# 0x13fffffff; node 1 has no CPU, the reserved region and the 2 GiB of RAM behind it.
# 64 MiB more, 0x200000000..0x203ffffff, are all that node 2 has.  They are
# soft-reserved, memory for a specific purpose, so that this node is never online.
#
# ACCEL=auto|kvm|tcg selects the accelerator; auto tries KVM with a tiny guest
# (15 s at most) and remembers the answer.
#
# Exit status: 0 the guest delivered its final line with exit=0;
# 1 it delivered another exit status; 3 it ended without one (crash, timeout);
# 2 wrong arguments.

. "$(dirname "$0")/lib.sh"

usage()
{
	sed -n '5,/^# Exit/p' "$0" | sed 's/^# \{0,1\}//'
}

kernel='' initrd='' out='' timeout=600 start=300 memory='' cpus=2 swap=1024
icount=0 follow=0 interactive=0 warn=1 probe=0 iommu=0 ivshmem=0 disk=0 hmat=0
append=() extra=()

while [ $# -gt 0 ]; do
	case $1 in
	--kernel | --initrd | --out | --timeout | --start | --memory | --cpus | --append | \
	--swap | --disk | --ivshmem | --qemu)
		need_arg "$1" $# ;;
	esac
	case $1 in
	--kernel) kernel=$2; shift ;;
	--initrd) initrd=$2; shift ;;
	--out) out=$2; shift ;;
	--timeout) timeout=$2; shift ;;
	--start) start=$2; shift ;;
	--memory) memory=$2; shift ;;
	--cpus) cpus=$2; shift ;;
	--append) append+=("$2"); shift ;;
	--swap) swap=$2; shift ;;
	--disk) disk=$2; shift ;;
	--iommu) iommu=1 ;;
	--ivshmem) ivshmem=$2; shift ;;
	--hmat) hmat=1 ;;
	--icount) icount=1 ;;
	--qemu) extra+=("$2"); shift ;;
	--no-panic-on-warn) warn=0 ;;
	--follow) follow=1 ;;
	--interactive) interactive=1 ;;
	--probe) probe=1 ;;	# internal: the KVM probe itself
	*) usage_error "unknown argument: $1" ;;
	esac
	shift
done
if [ -z "$kernel" ] || [ -z "$initrd" ] || [ -z "$out" ]; then
	usage_error "--kernel, --initrd and --out are required"
fi
for n in "$timeout" "$start" "$cpus" "$swap" "$disk" "$ivshmem"; do
	case $n in
	'' | *[!0-9]*) usage_error "not a number: $n" ;;
	esac
done
case $ivshmem in
0 | 2 | 4 | 8 | 16 | 32 | 64 | 128 | 256 | 512 | 1024 | 2048 | 4096) ;;
*) usage_error "--ivshmem $ivshmem: not a power of two, 2 to 4096" ;;
esac
[ "$hmat" = 0 ] || [ -z "$memory" ] || usage_error "--hmat has a --memory of its own"
[ -f "$kernel" ] || die "no kernel image $kernel"
[ -f "$initrd" ] || die "no initramfs $initrd"
need_tools qemu-system-x86_64 timeout

# Prints kvm or tcg.  The answer holds until the next boot of this machine or
# another QEMU.
choose_accel()
{
	local stamp dir=$HMM_BUILD/guest/probe cache=$HMM_BUILD/guest/accel answer

	case $ACCEL in
	kvm | tcg)
		echo "$ACCEL"
		return ;;
	esac
	if [ ! -w /dev/kvm ]; then
		echo tcg
		return
	fi
	stamp="$(cat /proc/sys/kernel/random/boot_id) $(qemu-system-x86_64 --version | head -n 1)"
	if [ -f "$cache" ] && [ "$(head -n 1 "$cache")" = "$stamp" ]; then
		sed -n 2p "$cache"
		return
	fi
	mkdir -p "$HMM_BUILD/guest"
	answer=tcg
	if "$HMM_HARNESS/initramfs.sh" --out "$dir.cpio.gz" \
			--job "$HMM_QEMU/jobs/probe" >/dev/null &&
	   ACCEL=kvm "$0" --probe --kernel "$kernel" --initrd "$dir.cpio.gz" \
			--out "$dir" --timeout 15 --swap 0 >/dev/null 2>&1; then
		answer=kvm
	fi
	printf '%s\n%s\n' "$stamp" "$answer" >"$cache.new"
	mv "$cache.new" "$cache"
	echo "$answer"
}

if [ "$icount" = 1 ]; then
	accel=icount
else
	accel=$(choose_accel)
fi
# Without 5-level paging: while the kernel reads the features of the first CPU
# anew, LA57 is off for a moment; KASAN calls an access by an interrupt wild then.
case $accel in
icount) machine=(-accel 'tcg,thread=single' -icount 'shift=0,sleep=off'
		 -cpu 'max,la57=off') ;;
tcg) machine=(-accel 'tcg,thread=multi' -cpu 'max,la57=off') ;;
kvm) machine=(-accel kvm -cpu 'host,la57=off') ;;
*) die "no accelerator: the probe answered '$accel'" ;;
esac

mkdir -p "$out"
rm -f "$out/result" "$out/console.log" "$out/qemu.log" "$out/swap.img"
: >"$out/result"

cmdline="console=ttyS0 panic=-1 oops=panic log_buf_len=4M kunit.enable=1"
# shellcheck disable=SC2016
cmdline+=' memmap=1G$0x140000000'
if [ "$warn" = 1 ]; then
	cmdline+=' panic_on_warn=1 hung_task_panic=1'
fi
# TCG hands the host's TSC through, but a guest on a busy host measures it wrong,
# by a factor of 40, and its clock runs as fast.  Bogomips are twice the TSC's MHz.
if [ "$accel" = tcg ]; then
	cmdline+=" $(awk -F: '/^bogomips/ {
		printf "tsc_early_khz=%d", $2 * 500; exit }' /proc/cpuinfo)"
fi
if [ "$ivshmem" -gt 0 ]; then
	extra=(-object "memory-backend-ram,id=ivshmem,size=${ivshmem}M,share=on"
	       -device "ivshmem-plain,memdev=ivshmem" ${extra[@]+"${extra[@]}"})
fi
if [ "$iommu" = 1 ]; then
	cmdline+=" intel_iommu=on"
	# It has to come before the devices behind it.
	extra=(-device intel-iommu -device edu ${extra[@]+"${extra[@]}"})
fi
board=q35 numa=()
# numa_node ID MIB WHOSE NS-READ NS-WRITE GIB-READ GIB-WRITE: a node of so much
# memory, the next in the order of addresses; WHOSE: its CPUs, or the node with the
# nearest ones.  Each value is another one, so that none is taken for another.
numa_node()
{
	local lb=hmat-lb,initiator=0,target=$1,hierarchy=memory

	nodes+=(-object "memory-backend-ram,id=node$1,size=$2M"
		-numa "node,nodeid=$1,memdev=node$1,$3")
	speed+=(-numa "$lb,data-type=read-latency,latency=$4"
		-numa "$lb,data-type=write-latency,latency=$5"
		-numa "$lb,data-type=read-bandwidth,bandwidth=$6G"
		-numa "$lb,data-type=write-bandwidth,bandwidth=$7G")
}
if [ "$hmat" = 1 ]; then
	board+=,hmat=on memory=6208M nodes=() speed=()
	numa_node 0 3072 "cpus=0-$((cpus - 1))" 10 20 100 90
	numa_node 1 3072 initiator=0 50 60 80 70
	numa_node 2 64 initiator=0 150 170 40 30
	# QEMU wants to know all nodes before it hears of their speed.
	numa=("${nodes[@]}" "${speed[@]}")
	cmdline+=' memmap=64M%0x200000000-1+0xefffffff'
fi
cmdline+=" ${append[*]-}"

cmd=(qemu-system-x86_64 -machine "$board" -nodefaults -no-user-config -display none
     -no-reboot "${machine[@]}" -m "${memory:-6G}" -smp "$cpus"
     ${numa[@]+"${numa[@]}"}
     -kernel "$kernel" -initrd "$initrd" -append "$cmdline"
     ${extra[@]+"${extra[@]}"}
     -device virtio-serial-pci
     -chardev "file,id=result,path=$out/result"
     -device 'virtserialport,chardev=result,name=hmm.result')
# The guest knows its disks by their serial numbers.
add_disk()
{
	cmd+=(-drive "file=$out/$1.img,format=raw,if=none,id=$1,cache=unsafe"
	      -device "virtio-blk-pci,drive=$1,serial=$1")
}
if [ "$swap" -gt 0 ]; then
	on_exit "rm -f '$out/swap.img'"
	truncate -s "${swap}M" "$out/swap.img"
	add_disk swap
fi
if [ "$disk" -gt 0 ]; then
	need_tools mke2fs
	on_exit "rm -f '$out/scratch.img'"
	truncate -s "${disk}M" "$out/scratch.img"
	PATH=$PATH:/usr/sbin:/sbin mke2fs -q -t ext2 "$out/scratch.img" ||
		die "cannot make a file system in $out/scratch.img"
	add_disk scratch
fi

if [ "$interactive" = 1 ]; then
	say "booting ($accel); 'exit' or Ctrl-A X ends the guest"
	"${cmd[@]}" -serial mon:stdio 2>"$out/qemu.log" ||
		die "QEMU failed: $(tail -n 1 "$out/qemu.log")"
	exit 0
fi

cmd+=(-serial "file:$out/console.log")
printf '%q ' "${cmd[@]}" >"$out/qemu.log"
echo >>"$out/qemu.log"
[ "$probe" = 1 ] ||
	say "booting ($accel, at most ${timeout}s; console: $(short_path "$out/console.log"))"
start_guest()
{
	: >"$out/console.log"
	timeout --kill-after=5 "$timeout" "${cmd[@]}" </dev/null >>"$out/qemu.log" 2>&1 &
	qemu=$!
	track_child "$qemu"
}
start_guest
# On a busy host a guest was seen to hang in its first seconds, when its CPUs had come
# up and before anything of ours ran.
for ((second = 0; second < start; second++)); do
	if [ -s "$out/result" ] || ! kill -0 "$qemu" 2>/dev/null; then
		break
	fi
	sleep 1
done
if [ "$start" -gt 0 ] && [ "$second" -eq "$start" ]; then
	say "no word from the guest for $start s: booting it again; its console ended with:"
	tail -n 3 "$out/console.log" | tr -d '\r' | sed 's/^/  | /'
	kill "$qemu"
	wait "$qemu" 2>/dev/null || :
	hmm_children=()
	start_guest
fi
if [ "$follow" = 1 ]; then
	tail -n +1 -f --pid="$qemu" "$out/result" | grep --line-buffered -v '^# hmm-guest:' &
	ticker=$!
else
	hmm_ticker guest "$out/result" &
	ticker=$!
	track_child "$ticker"
fi
rc=0
wait "$qemu" || rc=$?
if [ "$follow" = 1 ]; then
	wait "$ticker" || :
else
	kill "$ticker" 2>/dev/null || :
	wait "$ticker" 2>/dev/null || :
fi
hmm_children=()

status=$(tail -n 1 "$out/result" | sed -n 's/^# hmm-guest: end exit=\([0-9][0-9]*\)$/\1/p')
if [ -n "$status" ] && [ "$rc" -eq 0 ]; then
	[ "$status" -eq 0 ] && exit 0
	exit 1
fi
[ "$probe" = 0 ] || exit 3
case $rc in
124 | 137) hmm_complain "the guest did not end within $timeout s" ;;
0) hmm_complain "the guest ended without its final status" ;;
*) hmm_complain "QEMU failed (status $rc): $(tail -n 1 "$out/qemu.log")" ;;
esac
# The first complaint explains more than the end.
first=$(grep -anE -m 1 'cut here|BUG:|WARNING:|Kernel panic|Oops' "$out/console.log" |
	cut -d: -f1) || :
if [ -n "$first" ]; then
	[ "$first" -le 5 ] || first=$((first - 5))
	hmm_complain "from $(short_path "$out/console.log"), line $first:"
	excerpt=(sed -n "$first,$((first + 34))p")
else
	hmm_complain "the end of $(short_path "$out/console.log"):"
	excerpt=(tail -n 30)
fi
"${excerpt[@]}" "$out/console.log" | tr -d '\r' | sed 's/^/  | /' >&2
exit 3
