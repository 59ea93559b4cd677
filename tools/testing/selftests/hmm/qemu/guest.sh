# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Functions for the jobs that init runs in the guest; sourced by them.
#
#   plan N              starts the KTAP document: N results follow
#   check NAME CMD...   runs CMD, its output as the nested document; result "ok"
#                       for status 0, "ok # SKIP" for 4, otherwise "not ok"
#   load_modules        hmm_helpers, hmm_sample if it is there and, with $HMM_DEVICES,
#                       hmm_dmirror, also with a device in a soft-reserved region if
#                       there is one
#   unload_modules      all of ours; fails if one stays
#   kunit_suite SUITE   prints the results of a KUnit suite that has run
#   hmmstat_check       fails if hmmstat does not show the devices' memory
#   splat_check         fails if the kernel complained since boot
#   leak_check          fails if kmemleak finds something; skips without it
#
# A line of a nested document reaches the console too, so that a crash shows
# what was running.

HMM_NR=0
HMM_DEVICES=${HMM_DEVICES-private:64M,private:64M,cdm@0x140000000:64M,none,\
private:16M:shared,cdm@0x150000000:16M:shared}

plan()
{
	echo "KTAP version 1"
	echo "1..$1"
}

check()
{
	_name=$1
	shift
	HMM_NR=$((HMM_NR + 1))
	echo "guest: $_name" >/dev/console
	rm -f /tmp/.status
	{ "$@" 2>&1; echo $? >/tmp/.status; } |
	while IFS= read -r _line || [ -n "$_line" ]; do
		printf '    %s\n' "$_line"
		printf 'guest: | %s\n' "$_line" >/dev/console
	done
	_status=$(cat /tmp/.status)
	case $_status in
	0) echo "ok $HMM_NR $_name" ;;
	4) echo "ok $HMM_NR $_name # SKIP" ;;
	*)
		echo "# $_name: exit status $_status"
		echo "not ok $HMM_NR $_name" ;;
	esac
}

# A device with coherent memory in the RAM that the kernel command line makes
# soft-reserved, if it does.
soft_reserved_device()
{
	sed -n 's/.*memmap=\([^% ]*\)%\([^- ]*\)-1+0xefffffff.*/,cdm@\2:\1/p' \
		/proc/cmdline
}

load_modules()
{
	insmod /lib/hmm/hmm_helpers.ko || return 1
	[ ! -f /lib/hmm/hmm_sample.ko ] || insmod /lib/hmm/hmm_sample.ko || return 1
	[ -n "$HMM_DEVICES" ] || return 0
	insmod /lib/hmm/hmm_dmirror.ko \
		devices="$HMM_DEVICES$(soft_reserved_device)" || return 1
	# If they are there, QEMU's "edu", a device behind the IOMMU, and
	# "ivshmem-plain", one with memory.
	for _d in /sys/bus/pci/devices/*; do
		_id=$(sed 's/^0x//' "$_d/vendor" "$_d/device" | tr '\n' ' ')
		case $_id in
		"1234 11e8 " | "1af4 1110 ")
			echo "$_id" >/sys/bus/pci/drivers/hmm_dmirror/new_id || return 1 ;;
		esac
	done
}

unload_modules()
{
	_rc=0
	for _m in hmm_kunit hmm_sample hmm_dmirror hmm_helpers; do
		# An engine may let go of a closed file some time later.
		_i=0
		while grep -q "^$_m " /proc/modules && ! rmmod $_m; do
			_i=$((_i + 1))
			[ $_i -lt 50 ] || return 1
			usleep 100000
		done
	done
	if grep '^hmm_' /proc/modules | sed 's/^/# still loaded: /' | grep .; then
		_rc=1
	fi
	return $_rc
}

hmmstat_check()
{
	hmmstat || return 1
	hmmstat --json >/tmp/hmmstat || return 1
	# Each memory of the devices with its size, and no address space any more.
	_n=$(grep -o '"name":' /tmp/hmmstat | wc -l)
	_m=$(($(wc -l </sys/kernel/debug/hmm/devmems) - 1))
	if [ "$_n" -ne $_m ] || [ $_m -lt 1 ] ||
	   ! grep -q '"name": *"hmm_dmirror0".*"total": *16384' /tmp/hmmstat; then
		sed 's/^/# /' /tmp/hmmstat
		return 1
	fi
}

kunit_suite()
{
	if [ ! -f "/sys/kernel/debug/kunit/$1/results" ]; then
		echo "# no such suite in the module: $1"
		return 1
	fi
	cat "/sys/kernel/debug/kunit/$1/results"
}

# The words of a kernel complaint; harness/judge.sh looks for them, too.
HMM_SPLATS='WARNING:|BUG:|Oops|KASAN|possible .* detected|suspicious RCU|INFO: (task|rcu|trying|possible)|ODEBUG|cut here|refcount_t:|general protection|unable to handle|Kernel panic|bad: scheduling|held lock freed|invoked oom-killer'

splat_check()
{
	_rc=0
	if dmesg | grep -E "$HMM_SPLATS" | sed 's/^/# /' | grep .; then
		_rc=1
	fi
	# Bits: bad page, oops, warning, soft lockup.
	_taint=$(cat /proc/sys/kernel/tainted)
	if [ $((_taint & (1 << 5 | 1 << 7 | 1 << 9 | 1 << 14))) -ne 0 ]; then
		echo "# the kernel is tainted: $_taint"
		_rc=1
	fi
	# lockdep turns itself off with its first report
	if [ -f /proc/lockdep_stats ] &&
	   ! grep -q 'debug_locks: *1$' /proc/lockdep_stats; then
		echo "# lockdep is off"
		_rc=1
	fi
	return $_rc
}

leak_check()
{
	_f=/sys/kernel/debug/kmemleak
	if [ ! -f $_f ]; then
		echo "# this kernel has no kmemleak"
		return 4
	fi
	# An object must be some seconds old, and unreferenced in two scans.
	sleep 6
	echo scan >$_f || return 1
	sleep 1
	echo scan >$_f || return 1
	if sed 's/^/# /' $_f | head -n 200 | grep .; then
		return 1
	fi
}
