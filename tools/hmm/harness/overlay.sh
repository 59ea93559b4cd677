#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Makes the patched kernel source: a copy of the pristine one, with our
# directories copied in and patches/series applied.
#
#   overlay.sh [--root DIR] [--pristine DIR] [--patched DIR] [--patches N]
#
#   --root DIR       has patches/ and our directories, default the repository
#   --pristine DIR   default $HMM_BUILD/pristine; read only
#   --patched DIR    default $HMM_BUILD/patched; made if it does not exist
#   --patches N      only the first N patches of the series
#
# A patch must apply as it is: "git apply --check" first, no fuzz.  The first
# that does not stops everything, and the patched tree stays as it was.
#
# Repeated runs write only files whose content differs, so that kbuild rebuilds
# only what they concern; files that we no longer have or patch are removed or
# restored.  .hmm-overlay in the patched tree lists every file concerned.
# Object trees (the O= directories debug and release) are not copied: see
# build.sh.
#
# Exit status: 0, 1 on failure, 2 wrong arguments.

. "$(dirname "$0")/lib.sh"

# What goes into the kernel tree, and nothing else.
overlay_dirs="
	mm/hmm
	include/linux/hmm
	include/trace/events/hmm.h
	drivers/char/hmm_dmirror
	samples/hmm
	tools/testing/selftests/hmm
	Documentation/mm/hmm
"

usage()
{
	sed -n '5,/^# Exit/p' "$0" | sed 's/^# \{0,1\}//'
}

root=$HMM_ROOT pristine=$HMM_BUILD/pristine patched=$HMM_BUILD/patched limit=''
while [ $# -gt 0 ]; do
	case $1 in
	--root | --pristine | --patched | --patches) need_arg "$1" $# ;;
	esac
	case $1 in
	--root) root=$2 ;;
	--pristine) pristine=$2 ;;
	--patched) patched=$2 ;;
	--patches) limit=$2 ;;
	*) usage_error "unknown argument: $1" ;;
	esac
	shift 2
done
case $limit in
*[!0-9]*) usage_error "--patches $limit is not a number" ;;
esac
for dir in "$root" "$pristine"; do
	[ -d "$dir" ] || die "no such directory: $dir"
done
root=$(cd "$root" && pwd) pristine=$(cd "$pristine" && pwd)
need_tools git find
build_lock

stage=$patched.stage
on_exit "rm -rf '$stage'"
rm -rf "$stage"
mkdir -p "$stage"
stage=$(cd "$stage" && pwd -P)
# git must not take the stage for a part of the repository around it.
export GIT_CEILING_DIRECTORIES=${stage%/*}

series=()
if [ -f "$root/patches/series" ]; then
	# The other fields of a line are for people and for check-series.
	mapfile -t series < <(awk '!/^#/ && NF { print $1 }' "$root/patches/series")
fi
if [ -n "$limit" ]; then
	series=("${series[@]:0:limit}")
fi

# 1. In the stage: every file that a patch touches, then the patches in order.
touched=()
for name in ${series[@]+"${series[@]}"}; do
	patch=$root/patches/$name
	[ -f "$patch" ] || die "patches/series names $name, which does not exist"
	files=$(cd "$stage" && git apply --numstat "$patch" 2>&1) ||
		die "patch $name is damaged:" "$files"
	renamed=$(sed -n 's/^rename from /-\t-\t/p' "$patch")
	while IFS=$'\t' read -r _ _ file; do
		[ -n "$file" ] || continue
		touched+=("$file")
		if [ -f "$pristine/$file" ] && [ ! -e "$stage/$file" ]; then
			mkdir -p "$(dirname "$stage/$file")"
			cp -p "$pristine/$file" "$stage/$file"
		fi
	done <<<"$files"$'\n'"$renamed"
done
for name in ${series[@]+"${series[@]}"}; do
	patch=$root/patches/$name
	if ! message=$(cd "$stage" && git apply --check --whitespace=nowarn "$patch" 2>&1); then
		mapfile -t lines <<<"$message"
		die "patch $name does not apply:" "${lines[@]}"
	fi
	(cd "$stage" && git apply --whitespace=nowarn "$patch")
done

# 2. Our own files.
for dir in $overlay_dirs; do
	[ -e "$root/$dir" ] || continue
	while IFS= read -r file; do
		if [ -e "$pristine/$file" ] || [ -e "$stage/$file" ]; then
			die "our $file would replace a file of the kernel"
		fi
		mkdir -p "$(dirname "$stage/$file")"
		cp -p "$root/$file" "$stage/$file"
	done < <(cd "$root" && find "$dir" -type f ! -name '*.o' ! -name '*.ko' \
		 ! -name '*.cmd' ! -name '*.mod*' ! -name '*~' ! -name '*.orig' \
		 ! -name '*.rej' ! -name '.*.swp')
done

# 3. The copy of the kernel, made once.
if [ -d "$patched" ] && ! cmp -s "$pristine/.hmm-source" "$patched/.hmm-source"; then
	say "the kernel source has changed: starting $(short_path "$patched") anew"
	rm -rf "$patched"
fi
copy_tree()
{
	find "$pristine" -mindepth 1 -maxdepth 1 ! -name debug ! -name release \
		-exec cp -a -t "$patched.new" {} +
}
if [ ! -d "$patched" ]; then
	on_exit "rm -rf '$patched.new'"
	rm -rf "$patched.new"
	mkdir -p "$patched.new"
	run_logged "copying the kernel source" "$HMM_LOG/overlay.log" copy_tree || exit 1
	mv "$patched.new" "$patched"
fi

# 4. Bring the copy up to date.  The list is written first, and holds old and
# new files until the end: an interrupted run is repaired by the next one.
list=$patched/.hmm-overlay
old=$(cat "$list" 2>/dev/null || :)
new=$({ (cd "$stage" && find . -type f -printf '%P\n')
	[ ${#touched[@]} -eq 0 ] || printf '%s\n' "${touched[@]}"; } | sort -u)
printf '%s\n%s\n' "$old" "$new" | sed '/^$/d' | sort -u >"$list.new"
mv "$list.new" "$list"

changed=0
put()
{
	mkdir -p "$(dirname "$patched/$2")"
	cp --preserve=mode "$1" "$patched/$2.hmm-new"
	mv "$patched/$2.hmm-new" "$patched/$2"
	changed=$((changed + 1))
}
while IFS= read -r file; do
	[ -n "$file" ] || continue
	if [ -f "$stage/$file" ]; then
		cmp -s "$stage/$file" "$patched/$file" || put "$stage/$file" "$file"
	elif grep -qxF -e "$file" <<<"$new"; then
		# a patch removes it
		if [ -e "$patched/$file" ]; then
			rm -f "$patched/$file"
			changed=$((changed + 1))
		fi
	elif [ -f "$pristine/$file" ]; then
		cmp -s "$pristine/$file" "$patched/$file" || put "$pristine/$file" "$file"
	elif [ -e "$patched/$file" ]; then
		rm -f "$patched/$file"
		rmdir -p --ignore-fail-on-non-empty "$(dirname "$patched/$file")" 2>/dev/null || :
		changed=$((changed + 1))
	fi
done <"$list"
printf '%s\n' "$new" | sed '/^$/d' >"$list.new"
mv "$list.new" "$list"
[ "$changed" -eq 0 ] || say "overlay: $changed files changed in $(short_path "$patched")"
