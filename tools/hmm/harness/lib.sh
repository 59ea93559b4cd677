# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
#
# Sourced by every script of the harness.  It sets shell options, validates the
# environment and offers:
#
#   $HMM_ROOT            top of this repository
#   $HMM_BUILD           everything generated, $HMM_ROOT/build unless given
#   say TEXT             one line with the elapsed time
#   die TEXT...          "error:" and exit 1; further arguments are further lines
#   usage_error TEXT...  "error:", the script's usage() and exit 2
#   need_arg OPT COUNT   usage error unless option OPT still has a value
#   need_tools TOOL...   die naming each missing tool and the remedy
#   need_space DIR MIB   die unless DIR's file system has MIB free
#   on_exit COMMAND      run COMMAND when the script ends, however it ends
#   track_child PID      kill PID when the script ends early
#   run_logged TITLE LOG COMMAND...  run with all output in LOG, show progress
#   kmake ARGS...        make with an environment that cannot disturb kbuild
#   built_modules OBJ    the modules in an object tree that a guest can load
#   built_programs       the test programs and tools that build.sh has built
#   list_has WORD LIST   true if the blank-separated LIST has WORD
#   file_stamp FILE...   checksum over the contents of FILEs that exist
#   build_lock           allow one harness at a time in $HMM_BUILD
#
# Variables, each validated here: ARCH JOBS DEBUG ACCEL V KERNEL_SRC HMM_BUILD.

set -euo pipefail

HMM_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
HMM_HARNESS=$HMM_ROOT/tools/hmm/harness
HMM_QEMU=$HMM_ROOT/tools/testing/selftests/hmm/qemu
HMM_BUILD=${HMM_BUILD:-$HMM_ROOT/build}
HMM_LOG=$HMM_BUILD/log
HMM_KERNEL_MINOR=7.3
# Elapsed time counts from the first script of the chain.
export HMM_START=${HMM_START:-$(date +%s)}
export LC_ALL=C

hmm_exit_commands=()
hmm_children=()

# make and QEMU are children of the children that we know.
kill_tree()
{
	local pid pids=()

	read -r -a pids 2>/dev/null <"/proc/$1/task/$1/children" || :
	for pid in ${pids[@]+"${pids[@]}"}; do
		kill_tree "$pid"
	done
	kill "$1" 2>/dev/null || :
}

hmm_at_exit()
{
	local pid i

	# A child that is ended before it has traps of its own comes here, too.
	[ "$BASHPID" = "$$" ] || return 0
	for pid in ${hmm_children[@]+"${hmm_children[@]}"}; do
		kill_tree "$pid"
	done
	for ((i = ${#hmm_exit_commands[@]} - 1; i >= 0; i--)); do
		eval "${hmm_exit_commands[i]}" || :
	done
}
trap hmm_at_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

on_exit()
{
	hmm_exit_commands+=("$1")
}

track_child()
{
	hmm_children+=("$1")
}

say()
{
	local t=$(($(date +%s) - HMM_START))

	printf '[%3d:%02d] %s\n' $((t / 60)) $((t % 60)) "$*"
}

hmm_complain()
{
	local line

	printf 'error: %s\n' "$1" >&2
	shift
	for line in "$@"; do
		printf '       %s\n' "$line" >&2
	done
}

die()
{
	hmm_complain "$@"
	exit 1
}

usage_error()
{
	hmm_complain "$@"
	if declare -F usage >/dev/null; then
		usage >&2
	else
		echo "usage: see 'make help' for the variables and their values" >&2
	fi
	exit 2
}

need_arg()
{
	[ "$2" -ge 2 ] || usage_error "$1 needs a value"
}

list_has()
{
	case " $2 " in
	*" $1 "*) return 0 ;;
	esac
	return 1
}

# The Debian package of each tool that the harness calls.
tool_package()
{
	case $1 in
	qemu-system-x86_64) echo qemu-system-x86 ;;
	busybox-static) echo busybox-static ;;
	xz) echo xz-utils ;;
	libelf-headers) echo libelf-dev ;;
	libssl-headers) echo libssl-dev ;;
	libc-static) echo libc6-dev ;;
	awk) echo mawk ;;
	apt-get) echo apt ;;
	dpkg-deb) echo dpkg ;;
	find) echo findutils ;;
	ld | readelf) echo binutils ;;
	flock) echo util-linux ;;
	timeout) echo coreutils ;;
	sphinx-build) echo python3-sphinx ;;
	mke2fs) echo e2fsprogs ;;
	*) echo "$1" ;;
	esac
}

have_tool()
{
	case $1 in
	busybox-static)
		[ -x "${HMM_BUSYBOX:-/bin/busybox}" ] &&
			! readelf -lW "${HMM_BUSYBOX:-/bin/busybox}" | grep -q INTERP ;;
	libelf-headers) [ -e /usr/include/libelf.h ] ;;
	libssl-headers) [ -e /usr/include/openssl/ssl.h ] ;;
	mke2fs) PATH=$PATH:/usr/sbin:/sbin command -v mke2fs >/dev/null ;;
	libc-static) gcc -print-file-name=libc.a 2>/dev/null | grep -q / ;;
	*) command -v "$1" >/dev/null ;;
	esac
}

need_tools()
{
	local tool absent=() pkgs=()

	for tool in "$@"; do
		if ! have_tool "$tool"; then
			absent+=("$tool")
			pkgs+=("$(tool_package "$tool")")
		fi
	done
	[ ${#absent[@]} -eq 0 ] ||
		die "missing: ${absent[*]}" \
		    "run 'make setup', or as root: apt-get install ${pkgs[*]}"
}

need_space()
{
	local dir=$1 mib=$2 free

	while [ ! -d "$dir" ]; do
		dir=$(dirname "$dir")
	done
	free=$(df -Pk "$dir" | awk 'NR == 2 { print int($4 / 1024) }')
	[ -n "$free" ] || die "cannot tell the free disk space of $dir"
	[ "$free" -ge "$mib" ] ||
		die "not enough disk space: $1 needs $mib MiB, $free MiB are free" \
		    "free some, or set HMM_BUILD to a directory on another disk"
}

file_stamp()
{
	local f

	for f in "$@"; do
		if [ -e "$f" ]; then
			sha256sum <"$f"
		fi
	done | sha256sum | cut -d' ' -f1
}

short_path()
{
	printf '%s' "${1#"$HMM_ROOT"/}"
}

hmm_ticker()
{
	local title=$1 log=$2 last

	trap - EXIT
	trap 'kill "$!" 2>/dev/null; exit 0' TERM
	while :; do
		sleep 15 &
		wait $!
		last=$(tail -n 1 "$log" 2>/dev/null | tr -d '\r' | tr -s ' \t' ' ' |
		       cut -c1-60) || :
		say "  $title: $(wc -l <"$log") lines, last: $last"
	done
}

run_logged()
{
	local title=$1 log=$2 pid ticker rc=0

	shift 2
	mkdir -p "$(dirname "$log")"
	: >"$log"
	say "$title (log: $(short_path "$log"))"
	if [ "$V" = 1 ]; then
		"$@" </dev/null > >(tee "$log") 2>&1 &
	else
		"$@" </dev/null >"$log" 2>&1 &
	fi
	pid=$!
	track_child "$pid"
	hmm_ticker "$title" "$log" &
	ticker=$!
	track_child "$ticker"
	wait "$pid" || rc=$?
	kill "$ticker" 2>/dev/null || :
	wait "$ticker" 2>/dev/null || :
	hmm_children=()
	if [ "$rc" -ne 0 ]; then
		hmm_complain "$title failed (status $rc), the end of $(short_path "$log"):"
		tail -n 25 "$log" | sed 's/^/  | /' >&2
	fi
	return "$rc"
}

built_modules()
{
	local f

	for f in "$1"/{mm/hmm,mm/hmm/tests,drivers/char/hmm_dmirror,samples/hmm,lib}/*.ko; do
		[ ! -f "$f" ] || printf '%s\n' "$f"
	done
}

built_programs()
{
	find "$HMM_BUILD/programs" -maxdepth 1 -type f -perm -u+x
}

kmake()
{
	local v

	for v in MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES GNUMAKEFLAGS \
		 KBUILD_OUTPUT KCFLAGS KCPPFLAGS KBUILD_EXTMOD KBUILD_VERBOSE O M \
		 W C CF CC HOSTCC LLVM CROSS_COMPILE DEBUG V TEST SUITE BENCH ACCEL \
		 KERNEL_SRC OUTPUT CFLAGS CPPFLAGS LDFLAGS TARGETS SIGNOFF; do
		unset "$v"
	done
	ARCH=x86 make "$@"
}

build_lock()
{
	[ -z "${HMM_LOCKED:-}" ] || return 0
	mkdir -p "$HMM_BUILD"
	exec 9>"$HMM_BUILD/.lock"
	if ! flock -n 9; then
		say "waiting for another make in $HMM_BUILD"
		flock 9
	fi
	export HMM_LOCKED=1
}

# --- the environment ---------------------------------------------------------

ARCH=${ARCH:-x86_64}
JOBS=${JOBS:-$(nproc)}
ACCEL=${ACCEL:-auto}
V=${V:-0}
KERNEL_SRC=${KERNEL_SRC:-}

[ "$ARCH" = x86_64 ] ||
	usage_error "ARCH=$ARCH is not supported, the only one is x86_64"
case $JOBS in
'' | *[!0-9]* | 0*) usage_error "JOBS=$JOBS is not a positive number" ;;
esac
case ${DEBUG:-} in
'' | 0 | 1) ;;
*) usage_error "DEBUG=$DEBUG is neither 0 nor 1" ;;
esac
list_has "$ACCEL" "auto kvm tcg" ||
	usage_error "ACCEL=$ACCEL is none of auto, kvm, tcg"
case $V in
0 | 1) ;;
*) usage_error "V=$V is neither 0 nor 1" ;;
esac
case $HMM_BUILD in
*[!-A-Za-z0-9_./+,@]*)
	usage_error "HMM_BUILD=$HMM_BUILD: kbuild cannot work in such a path" ;;
/*) ;;
*) usage_error "HMM_BUILD=$HMM_BUILD is not an absolute path" ;;
esac
export ARCH JOBS ACCEL V KERNEL_SRC HMM_BUILD
