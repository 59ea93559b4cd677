# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2154
# overlay.sh and verify-config.sh.

# A kernel tree, and a repository with one patch and one directory of ours.
toy()
{
	linux_tree pristine 7 3
	echo toy >pristine/.hmm-source
	mkdir -p root/patches root/mm/hmm
	echo ours >root/mm/hmm/ours.c
	cat >root/patches/0001-wire.patch <<-'END'
		--- a/mm/memory.c
		+++ b/mm/memory.c
		@@ -9,4 +9,5 @@
		 9
		 10
		+ten and a half
		 11
		 12
	END
	echo '0001-wire.patch required wiring' >root/patches/series
}

overlay()
{
	"$harness/overlay.sh" --root root --pristine pristine --patched patched
}

test_overlay_applies()
{
	toy
	status 0 overlay
	grep -qx 'ten and a half' patched/mm/memory.c
	cmp root/mm/hmm/ours.c patched/mm/hmm/ours.c
	if grep -q half pristine/mm/memory.c; then
		fail "the pristine tree was patched"
	fi
}

test_overlay_keeps_mtimes()
{
	local before after

	toy
	status 0 overlay
	before=$(find patched -type f ! -name .hmm-overlay -printf '%p %T@\n' | sort)
	sleep 0.1
	status 0 overlay
	after=$(find patched -type f ! -name .hmm-overlay -printf '%p %T@\n' | sort)
	[ "$before" = "$after" ] || fail "an unchanged file was written"
}

test_overlay_takes_back()
{
	toy
	status 0 overlay
	: >root/patches/series
	rm root/mm/hmm/ours.c
	status 0 overlay
	cmp pristine/mm/memory.c patched/mm/memory.c
	[ ! -e patched/mm/hmm ] || fail "a file that we removed is still there"
}

test_overlay_removal_by_patch()
{
	toy
	echo gone >pristine/mm/gone.c
	cat >root/patches/0002-remove.patch <<-'END'
		--- a/mm/gone.c
		+++ /dev/null
		@@ -1 +0,0 @@
		-gone
	END
	echo 0002-remove.patch >>root/patches/series
	status 0 overlay
	[ ! -e patched/mm/gone.c ] || fail "the file is still there"
	echo 0001-wire.patch >root/patches/series
	status 0 overlay
	cmp pristine/mm/gone.c patched/mm/gone.c
}

test_overlay_failed_hunk()
{
	toy
	status 0 overlay
	find patched -type f -exec sha256sum {} + | sort >before
	sed 's/^ 10$/ 10 changed/' root/patches/0001-wire.patch >root/patches/0002-bad.patch
	echo 0002-bad.patch >>root/patches/series
	echo new >root/mm/hmm/new.c
	status 1 overlay
	says 'patch 0002-bad\.patch does not apply' 'mm/memory\.c'
	find patched -type f -exec sha256sum {} + | sort >after
	cmp before after || fail "the patched tree was changed"
	[ ! -e patched.stage ] || fail "the stage was left behind"
}

test_overlay_no_fuzz()
{
	toy
	sed -i 's/^12$/twelve/' pristine/mm/memory.c
	status 1 overlay
	says 'patch 0001-wire\.patch does not apply' 'mm/memory\.c'
}

test_overlay_missing_patch()
{
	toy
	echo 0009-nowhere.patch >>root/patches/series
	status 1 overlay
	says 'names 0009-nowhere\.patch, which does not exist'
}

test_overlay_never_replaces()
{
	toy
	mkdir -p pristine/mm/hmm
	echo theirs >pristine/mm/hmm/ours.c
	status 1 overlay
	says 'our mm/hmm/ours\.c would replace a file of the kernel'
}

test_overlay_new_source()
{
	toy
	status 0 overlay
	touch patched/marker
	echo other >pristine/.hmm-source
	status 0 overlay
	[ ! -e patched/marker ] || fail "the copy of the old source is still used"
}

test_config_sticks()
{
	printf 'CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C="x y"\n' >config
	printf '# a comment\n\nCONFIG_A=y\nCONFIG_B=n\nCONFIG_D=n\nCONFIG_C="x y"\n' >fragment
	status 0 "$harness/verify-config.sh" config fragment
	# the last fragment counts
	printf 'CONFIG_A=m\n' >first
	status 0 "$harness/verify-config.sh" config first fragment
}

test_config_did_not_stick()
{
	printf 'CONFIG_A=y\nCONFIG_B=y\n' >config
	printf 'CONFIG_A=m\nCONFIG_B=n\nCONFIG_E=y\n' >fragment
	status 1 "$harness/verify-config.sh" config fragment
	says 'CONFIG_A=m did not stick, it is y' 'CONFIG_B=n did not stick, it is y' \
		'CONFIG_E=y did not stick, it is n'
	printf 'CONFIG_A=y\nCONFIGB=y\n' >fragment
	status 1 "$harness/verify-config.sh" config fragment
	says 'not an option: CONFIGB=y'
}
