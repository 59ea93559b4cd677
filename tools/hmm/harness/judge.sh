#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Judges what a test run has delivered.
#
#   judge.sh --result FILE [--guest] [--console FILE] [--job NAME] [--expect FILE]
#
#   --result FILE    a KTAP (or TAP) document, nested by four blanks a level
#   --guest          it must end with the final line of a guest's init
#   --console FILE   a kernel log that must hold no complaint of the kernel
#   --job NAME       which lines of expected-skips apply
#   --expect FILE    names of tests, one a line: the nested results must be these
#                    and no others
#
# Green takes a complete plan on every level, consecutive numbers, no failure,
# only expected skips, the final line, no complaint.  Whatever is missing counts
# as failed.  Only the innermost results are counted.
#
# Output: what failed and why, then "counts: PASSED FAILED SKIPPED".
# Exit status: 0 nothing failed, 1 something did, 2 wrong arguments.

. "$(dirname "$0")/lib.sh"

usage()
{
	sed -n '5,/^# Exit/p' "$0" | sed 's/^# \{0,1\}//'
}

result='' console='' job='' expect='' guest=0
while [ $# -gt 0 ]; do
	case $1 in
	--result | --console | --job | --expect) need_arg "$1" $# ;;
	esac
	case $1 in
	--result) result=$2; shift ;;
	--console) console=$2; shift ;;
	--job) job=$2; shift ;;
	--expect) expect=$2; shift ;;
	--guest) guest=1 ;;
	*) usage_error "unknown argument: $1" ;;
	esac
	shift
done
[ -n "$result" ] || usage_error "--result is required"
[ -f "$result" ] || die "no such file: $result"
[ -z "$expect" ] || [ -f "$expect" ] || die "no such file: $expect"

splats=0
if [ -n "$console" ]; then
	# The same words as in the guest.
	words=$(sed -n "s/^HMM_SPLATS='\(.*\)'$/\1/p" "$HMM_QEMU/guest.sh")
	[ -n "$words" ] || die "guest.sh defines no HMM_SPLATS"
	if [ ! -s "$console" ]; then
		echo "not ok: the kernel log $(short_path "$console") is empty"
		splats=1
	elif grep -aE '^\[ *[0-9]+\.[0-9]+\]' "$console" | grep -aE "$words" |
			head -n 20 | sed 's/^/# /' | grep .; then
		echo "not ok: the kernel complained, see $(short_path "$console")"
		splats=1
	fi
fi

awk -v guest="$guest" -v job="$job" -v splats="$splats" \
    -v skips="$HMM_HARNESS/expected-skips" -v expect="$expect" '
function fail(text)
{
	failed++
	print "not ok: " text
}

function indent_of(line)
{
	match(line, /^ */)
	return int(RLENGTH / 4)
}

# Ends the documents of level K and deeper.  Sets had_child, child_bad.
function close_from(k,    i)
{
	had_child = child_bad = 0
	for (i = top; i >= k; i--) {
		if (!(i in open))
			continue
		had_child = 1
		finish(i)
		if (bad[i])
			child_bad = 1
		delete open[i]; delete plan[i]; delete nr[i]; delete bad[i]
	}
	if (top >= k)
		top = k - 1
}

function finish(k,    missing, planned)
{
	planned = (k in plan)
	missing = plan[k] - nr[k]
	if (!planned)
		fail("a list of " nr[k] + 0 " results has no plan" where(k))
	else if (missing > 0) {
		fail(missing " of " plan[k] " results are missing" where(k))
		failed += missing - 1
	} else if (missing < 0)
		fail(nr[k] " results where " plan[k] " were planned" where(k))
	if (!planned || missing != 0)
		bad[k] = 1
}

function where(k)
{
	return k > 0 ? ", inside the next result" : ""
}

function enter(l)
{
	if (l > top)
		top = l
	open[l] = 1
}

function judge_skips(parent,    i, j, ok)
{
	for (i = 1; i <= nskips; i++) {
		ok = 0
		for (j = 1; j <= nexpected; j++)
			if ((parent " " skipname[i]) ~ expected[j])
				ok = 1
		if (ok)
			skipped++
		else
			fail(parent " " skipname[i] ": skipped, which is not expected")
	}
	nskips = 0
}

BEGIN {
	while ((getline line < skips) > 0) {
		if (line ~ /^#/ || split(line, field, /[ \t]*\|[ \t]*/) < 3)
			continue
		if (field[1] == job)
			expected[++nexpected] = field[2]
	}
	while (expect && (getline line < expect) > 0)
		if (line !~ /^(#|$)/)
			due[line] = 1
	top = 0
}

{ last = $0 }
/^# hmm-guest: / { next }
{
	l = indent_of($0)
	text = $0
	sub(/^ */, "", text)
}
text ~ /^(K?TAP) version/ {
	enter(l)
	next
}
text ~ /^1\.\.[0-9]+/ {
	enter(l)
	n = substr(text, 4)
	sub(/[^0-9].*/, "", n)
	if (l in plan)
		fail("two plans in one document")
	plan[l] = n + 0
	next
}
text ~ /^(not )?ok [0-9]+( |$)/ {
	close_from(l + 1)
	enter(l)
	good = text ~ /^ok/
	sub(/^(not )?ok /, "", text)
	number = text + 0
	sub(/^[0-9]+ *(- )?/, "", text)
	name = text
	skip = text ~ /# *SKIP/
	sub(/ *# .*/, "", name)
	nr[l]++
	if (number != nr[l]) {
		fail("result " number " (" name ") where " nr[l] " was due")
		bad[l] = 1
	}
	if (had_child) {
		if (!good && !child_bad)
			fail(name ": failed as a whole")
	} else if (skip && good)
		skipname[++nskips] = text
	else if (good)
		passed++
	else {
		for (i = 1; i <= nnotes; i++)
			print notes[i]
		fail(name)
	}
	if (expect && l > 0 && !had_child) {
		if (!(name in due))
			fail(name ": is not expected")
		delete due[name]
	}
	if (!good || child_bad)
		bad[l] = 1
	nnotes = 0
	if (l == 0)
		judge_skips(name)
	next
}
text ~ /^#/ && nnotes < 30 { notes[++nnotes] = "  " text }

END {
	close_from(1)
	judge_skips("?")
	finish(0)
	for (name in due)
		fail(name ": is missing")
	if (guest && last !~ /^# hmm-guest: end exit=0$/)
		fail("the guest did not report its end")
	failed += splats
	printf "counts: %d %d %d\n", passed, failed, skipped
	exit failed > 0
}
' "$result"
