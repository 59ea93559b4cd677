#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Makes $HMM_BUILD/pristine, the unmodified kernel source.
#
#   get-kernel.sh
#
# The source, in this order:
#   KERNEL_SRC=DIR       any Linux tree; it is copied, never written to
#   KERNEL_TARBALL=FILE  with KERNEL_SHA256=SUM, its checksum
#   otherwise            Debian's signed package linux-source-7.3 from
#                        trixie-backports, from the mirror that the machine's
#                        apt configuration names (or DEBIAN_MIRROR=URI), with an
#                        apt state of our own: the system's is not touched
#
# A tree that is there already and comes from the same source is kept.  A new
# one appears under its name only when it is complete.  The file .hmm-source in
# it says where it comes from.
#
# Exit status: 0, 1 on failure, 2 wrong arguments.

. "$(dirname "$0")/lib.sh"

usage()
{
	sed -n '5,/^# Exit/p' "$0" | sed 's/^# \{0,1\}//'
}

[ $# -eq 0 ] || usage_error "unexpected argument: $1"

package=linux-source-$HMM_KERNEL_MINOR
suite=trixie-backports
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
pristine=$HMM_BUILD/pristine
temp=$HMM_BUILD/pristine.new
download=$HMM_BUILD/download
# The source with its object trees, the patched copy, and room to work.
space_needed=${HMM_SPACE_NEEDED:-8000}
KERNEL_TARBALL=${KERNEL_TARBALL:-}
KERNEL_SHA256=${KERNEL_SHA256:-}

# Prints the version of the Linux tree DIR, or fails.
kernel_version()
{
	[ -f "$1/Makefile" ] && [ -f "$1/Kbuild" ] && [ -d "$1/mm" ] || return 1
	awk -F' *= *' '
		$1 == "VERSION" { v = $2 }
		$1 == "PATCHLEVEL" { p = $2 }
		$1 == "SUBLEVEL" { s = $2; exit }
		END { if (v == "" || p == "") exit 1; print v "." p "." s }
	' "$1/Makefile"
}

check_version()
{
	local dir=$1 name=$2 version

	version=$(kernel_version "$dir") ||
		die "$name is not a Linux source tree" \
		    "give the top directory of Linux $HMM_KERNEL_MINOR.x"
	case $version in
	"$HMM_KERNEL_MINOR" | "$HMM_KERNEL_MINOR".*) ;;
	*) die "$name is Linux $version, we need $HMM_KERNEL_MINOR.x" ;;
	esac
}

# Puts the finished $temp in place.
finish()
{
	check_version "$temp" "what was unpacked"
	printf '%s\n' "$1" >"$temp/.hmm-source"
	rm -rf "$pristine.old"
	if [ -d "$pristine" ]; then
		say "replacing the source tree that came from $(cat "$pristine/.hmm-source")"
		mv "$pristine" "$pristine.old"
	fi
	mv "$temp" "$pristine"
	rm -rf "$pristine.old"
	say "kernel source: Linux $(kernel_version "$pristine") in $(short_path "$pristine")"
}

# Exits if the tree that is there came from $1 (a prefix of its .hmm-source).
keep_existing()
{
	[ -f "$pristine/.hmm-source" ] || return 0
	case $(cat "$pristine/.hmm-source") in
	"$1"*) exit 0 ;;
	esac
}

start()
{
	need_space "$HMM_BUILD" "$space_needed"
	on_exit "rm -rf '$temp'"
	rm -rf "$temp"
	mkdir -p "$temp" "$download"
}

copy_user_tree()
{
	tar -C "$KERNEL_SRC" --exclude=./.git -cf - . | tar -C "$temp" -xf -
	# It may have been built in place.
	kmake -C "$temp" mrproper
}

unpack_tarball()
{
	tar -C "$temp" --strip-components=1 -xf "$1"
}

unpack_deb()
{
	local member=./usr/src/$package.tar.xz

	dpkg-deb --fsys-tarfile "$1" | tar -xOf - "$member" | xz -dc |
		tar -C "$temp" --strip-components=1 -xf -
}

# The Debian main archive among the machine's apt sources.
debian_mirror()
{
	if [ -n "${DEBIAN_MIRROR:-}" ]; then
		echo "$DEBIAN_MIRROR"
		return
	fi
	# shellcheck disable=SC2016
	apt-get indextargets --format '$(REPO_URI) $(COMPONENT) $(LABEL)' \
		'Created-By: Packages' 2>/dev/null |
	awk '$2 == "main" && ($3 == "Debian" || ($3 == "" && $1 ~ /\/debian\/?$/)) {
		print $1; exit }'
}

apt_setup()
{
	local mirror

	[ -f "$keyring" ] ||
		die "no $keyring" "install the package debian-archive-keyring"
	mirror=$(debian_mirror)
	[ -n "$mirror" ] ||
		die "the machine's apt configuration names no Debian archive" \
		    "set DEBIAN_MIRROR=URI, or KERNEL_SRC= to a Linux $HMM_KERNEL_MINOR.x tree"
	mkdir -p "$apt"/{etc,state/lists/partial,cache/archives/partial}
	cat >"$apt/etc/kernel.sources" <<-END
		Types: deb
		URIs: $mirror
		Suites: $suite
		Components: main
		Signed-By: $keyring
	END
	cat >"$apt/apt.conf" <<-END
		Dir::State "$apt/state";
		Dir::State::status "/dev/null";
		Dir::Cache "$apt/cache";
		Dir::Etc::sourcelist "$apt/etc/kernel.sources";
		Dir::Etc::sourceparts "-";
		APT::Sandbox::User "root";
		APT::Update::Error-Mode "any";
		Acquire::Languages "none";
		Acquire::Retries "2";
	END
}

# The values of one field of the package's newest version, as signed.
package_field()
{
	APT_CONFIG=$apt/apt.conf apt-cache show --no-all-versions "$package" \
		2>/dev/null | sed -n "s/^$1: //p" | head -n 1
}

deb_is_good()
{
	[ -f "$1" ] &&
		[ "$(stat -c %s "$1")" = "$(package_field Size)" ] &&
		[ "$(sha256sum <"$1" | cut -d' ' -f1)" = "$(package_field SHA256)" ]
}

no_network()
{
	die "$1" \
	    "is there a network? the log: $(short_path "$HMM_LOG/download.log")" \
	    "without one, set KERNEL_SRC= to a Linux $HMM_KERNEL_MINOR.x tree"
}

get_deb()
{
	need_tools apt-get dpkg-deb xz
	apt=$HMM_BUILD/apt
	apt_setup
	run_logged "reading the package index of $suite" "$HMM_LOG/download.log" \
		env APT_CONFIG="$apt/apt.conf" apt-get -q update ||
		no_network "cannot read the package index of $suite"
	file=$(package_field Filename)
	[ -n "$file" ] || die "$suite has no package $package"
	deb=$download/$(basename "$file")
	if ! deb_is_good "$deb"; then
		rm -rf "$deb" "$download/partial"
		mkdir -p "$download/partial"
		on_exit "rm -rf '$download/partial'"
		run_logged "downloading $package, $(($(package_field Size) >> 20)) MiB" \
			"$HMM_LOG/download.log" \
			env -C "$download/partial" APT_CONFIG="$apt/apt.conf" \
			apt-get -q download "$package" ||
			no_network "cannot download $package"
		got=$(find "$download/partial" -name '*.deb' | head -n 1)
		deb_is_good "$got" ||
			die "the download of $package is incomplete or wrong: refused" \
			    "run the same command again"
		mv "$got" "$deb"
	fi
	version=$(package_field Version)
}

if [ -n "$KERNEL_SRC" ]; then
	[ -d "$KERNEL_SRC" ] || die "KERNEL_SRC=$KERNEL_SRC is not a directory"
	KERNEL_SRC=$(cd "$KERNEL_SRC" && pwd -P)
	check_version "$KERNEL_SRC" "KERNEL_SRC=$KERNEL_SRC"
	case $(readlink -f "$HMM_BUILD")/ in
	"$KERNEL_SRC"/*) die "HMM_BUILD lies inside KERNEL_SRC, which is never written to" ;;
	esac
	state=$(cd "$KERNEL_SRC" && find . -path ./.git -prune -o -type f \
		-printf '%P %s %T@\n' | sort | sha256sum | cut -c1-16)
	keep_existing "KERNEL_SRC=$KERNEL_SRC $state"
	start
	run_logged "copying $KERNEL_SRC" "$HMM_LOG/unpack.log" copy_user_tree || exit 1
	finish "KERNEL_SRC=$KERNEL_SRC $state"
elif [ -n "$KERNEL_TARBALL" ]; then
	[ -f "$KERNEL_TARBALL" ] || die "no such file: KERNEL_TARBALL=$KERNEL_TARBALL"
	[ -n "$KERNEL_SHA256" ] ||
		die "KERNEL_TARBALL= needs KERNEL_SHA256=, the checksum that kernel.org publishes"
	keep_existing "KERNEL_TARBALL $KERNEL_SHA256"
	[ "$(sha256sum <"$KERNEL_TARBALL" | cut -d' ' -f1)" = "$KERNEL_SHA256" ] ||
		die "$KERNEL_TARBALL does not have the checksum $KERNEL_SHA256" \
		    "the download is incomplete or wrong: refused"
	start
	run_logged "unpacking $KERNEL_TARBALL" "$HMM_LOG/unpack.log" \
		unpack_tarball "$KERNEL_TARBALL" || exit 1
	finish "KERNEL_TARBALL $KERNEL_SHA256"
else
	keep_existing "$package "
	start
	get_deb
	run_logged "unpacking $(basename "$deb")" "$HMM_LOG/unpack.log" \
		unpack_deb "$deb" || exit 1
	finish "$package $version"
fi
