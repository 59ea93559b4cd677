# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2154
# get-kernel.sh: every wrong source is refused and nothing half-done stays.

no_tree()
{
	[ ! -e build/pristine ] || fail "build/pristine exists"
	[ ! -e build/pristine.new ] || fail "build/pristine.new exists"
}

test_source_missing()
{
	status 1 env KERNEL_SRC="$dir/nowhere" "$harness/get-kernel.sh"
	says 'KERNEL_SRC=.*nowhere is not a directory'
	no_tree
}

test_source_not_linux()
{
	mkdir tree
	status 1 env KERNEL_SRC="$dir/tree" "$harness/get-kernel.sh"
	says 'is not a Linux source tree' '7\.3'
	no_tree
}

test_source_wrong_version()
{
	linux_tree tree 6 1
	status 1 env KERNEL_SRC="$dir/tree" "$harness/get-kernel.sh"
	says 'is Linux 6\.1\.4, we need 7\.3\.x'
	no_tree
}

test_source_user_tree()
{
	local before after

	linux_tree tree 7 3
	before=$(find tree -printf '%p %T@\n' | sort)
	status 0 env HMM_SPACE_NEEDED=1 KERNEL_SRC="$dir/tree" "$harness/get-kernel.sh"
	says 'Linux 7\.3\.4'
	after=$(find tree -printf '%p %T@\n' | sort)
	[ "$before" = "$after" ] || fail "the user's tree was written to"
	cmp tree/mm/memory.c build/pristine/mm/memory.c
	# unchanged: kept; changed: copied anew
	touch build/pristine/marker
	status 0 env HMM_SPACE_NEEDED=1 KERNEL_SRC="$dir/tree" "$harness/get-kernel.sh"
	[ -e build/pristine/marker ] || fail "the tree was copied again"
	echo changed >>tree/mm/memory.c
	status 0 env HMM_SPACE_NEEDED=1 KERNEL_SRC="$dir/tree" "$harness/get-kernel.sh"
	cmp tree/mm/memory.c build/pristine/mm/memory.c
}

test_source_inside()
{
	linux_tree tree 7 3
	status 1 env KERNEL_SRC="$dir/tree" HMM_BUILD="$dir/tree/build" \
		"$harness/get-kernel.sh"
	says 'lies inside KERNEL_SRC'
	[ ! -e tree/build/pristine ] || fail "wrote to the user's tree"
}

test_source_tarball()
{
	local sum

	linux_tree tree/linux-7.3.4 7 3
	tar -C tree -czf t.tar.gz linux-7.3.4
	sum=$(sha256sum <t.tar.gz | cut -d' ' -f1)
	status 1 env KERNEL_TARBALL=t.tar.gz "$harness/get-kernel.sh"
	says 'KERNEL_SHA256'
	head -c 100 t.tar.gz >short.tar.gz
	status 1 env KERNEL_TARBALL=short.tar.gz KERNEL_SHA256="$sum" "$harness/get-kernel.sh"
	says 'refused'
	no_tree
	status 0 env HMM_SPACE_NEEDED=1 KERNEL_TARBALL=t.tar.gz KERNEL_SHA256="$sum" \
		"$harness/get-kernel.sh"
	[ -f build/pristine/mm/memory.c ]
}

test_source_no_space()
{
	fake df 'printf "F 1024-blocks Used Available Capacity M\n/dev/x 9 9 204800 9%% /\n"'
	linux_tree tree 7 3
	status 1 env KERNEL_SRC="$dir/tree" "$harness/get-kernel.sh"
	says 'not enough disk space.*8000 MiB, 200 MiB are free' 'HMM_BUILD'
	no_tree
}

# A Debian archive made of shell: APT_PACKAGE is what "download" delivers.
fake_apt()
{
	echo "the whole package" >package.deb
	fake apt-cache "printf 'Version: 7.3.4-1\nFilename: pool/linux-source.deb\nSize: %s\nSHA256: %s\n' \
		$(stat -c %s package.deb) $(sha256sum <package.deb | cut -d' ' -f1)"
	fake apt-get "case \"\$*\" in
		*indextargets*) echo 'http://mirror.invalid/debian/ main Debian' ;;
		*update*) exit ${1:-0} ;;
		*download*) cp '$dir/$2' ./linux-source.deb ;;
		esac"
	fake dpkg-deb 'exit 1'
}

need_keyring()
{
	[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] && return
	status 1 "$harness/get-kernel.sh"
	says 'debian-archive-keyring'
	return 1
}

test_source_no_network()
{
	fake_apt 100 package.deb
	need_keyring || return 0
	status 1 env HMM_SPACE_NEEDED=1 "$harness/get-kernel.sh"
	says 'cannot read the package index' 'is there a network' 'KERNEL_SRC='
	no_tree
}

test_source_truncated_download()
{
	echo "the whole pack" >short.deb
	fake_apt 0 short.deb
	need_keyring || return 0
	status 1 env HMM_SPACE_NEEDED=1 "$harness/get-kernel.sh"
	says 'incomplete or wrong: refused'
	no_tree
	[ -z "$(find build/download -name '*.deb')" ] || fail "the download was kept"
}

test_source_broken_package()
{
	fake_apt 0 package.deb
	need_keyring || return 0
	status 1 env HMM_SPACE_NEEDED=1 "$harness/get-kernel.sh"
	says 'unpacking .*failed'
	no_tree
}

test_source_no_mirror()
{
	fake_apt 0 package.deb
	need_keyring || return 0
	fake apt-get 'exit 0'
	status 1 env HMM_SPACE_NEEDED=1 "$harness/get-kernel.sh"
	says 'names no Debian archive' 'KERNEL_SRC='
	no_tree
}
