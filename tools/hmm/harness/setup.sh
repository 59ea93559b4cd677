#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Installs what the harness needs.
#
#   setup.sh            install what is missing: apt-get as root on Debian,
#                       otherwise print the exact line to run
#   setup.sh --auto     the same, silent when nothing is missing
#   setup.sh --list     print each tool, its package and whether it is there
#
# Exit status: 0 everything is there, 1 something is still missing, 2 wrong
# arguments.

. "$(dirname "$0")/lib.sh"

usage()
{
	sed -n '5,/^# Exit/p' "$0" | sed 's/^# \{0,1\}//'
}

# Without these nothing works...
required="gcc make ld flex bison bc perl python3 git awk cpio gzip xz flock
	  timeout find readelf libelf-headers libssl-headers libc-static
	  busybox-static qemu-system-x86_64 mke2fs"
# ... and these are used if they are there.
optional="ccache sparse shellcheck sphinx-build"
# Only the kernel source package needs these.
debian="apt-get dpkg-deb debian-archive-keyring"

missing_of()
{
	local tool

	for tool in "$@"; do
		case $tool in
		debian-archive-keyring)
			[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] ||
				echo "$tool" ;;
		*) have_tool "$tool" || echo "$tool" ;;
		esac
	done
}

mode=${1:-install}
[ $# -le 1 ] || usage_error "too many arguments"
case $mode in
install | --auto) ;;
--list)
	for tool in $required $optional; do
		if have_tool "$tool"; then state=yes; else state=missing; fi
		printf '%-20s %-20s %s\n' "$tool" "$(tool_package "$tool")" "$state"
	done
	exit 0 ;;
*) usage_error "unknown argument: $mode" ;;
esac

wanted="$required $optional"
[ -n "$KERNEL_SRC" ] || wanted+=" $debian"
# shellcheck disable=SC2086
missing=$(missing_of $wanted)
if [ -z "$missing" ]; then
	[ "$mode" = --auto ] || say "everything needed is installed"
	exit 0
fi

# shellcheck disable=SC2086
missing_required=$(missing_of $required)
packages=$(for tool in $missing; do tool_package "$tool"; done | sort -u | tr '\n' ' ')
missing=$(tr '\n' ' ' <<<"$missing")
say "missing: $missing"
line="apt-get install --no-install-recommends ${packages% }"
if [ "$(id -u)" -ne 0 ] || ! have_tool apt-get; then
	if [ -z "$missing_required" ]; then
		say "it works without; to install them, as root: $line"
		exit 0
	fi
	die "please install what is missing; on Debian, as root:" "$line"
fi

install()
{
	export DEBIAN_FRONTEND=noninteractive
	apt-get -q update || return 1
	# shellcheck disable=SC2086
	apt-get -q -y install --no-install-recommends $packages
}
failed=0
run_logged "installing $packages" "$HMM_LOG/setup.log" install || failed=1
# shellcheck disable=SC2086
missing=$(missing_of $required)
[ -z "$missing" ] ||
	die "still missing: $(tr '\n' ' ' <<<"$missing")" "install it by hand: $line"
if [ "$failed" = 1 ]; then
	[ "$mode" = --auto ] || exit 1
	say "going on with what is there"
fi
