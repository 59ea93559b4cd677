#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Checks that every option of the fragments stuck; where two fragments set the
# same option the last one counts.
#
#   verify-config.sh CONFIG FRAGMENT...
#
# "CONFIG_X=n" and "# CONFIG_X is not set" mean that X must be off.
#
# Exit status: 0, 1 an option did not stick, 2 wrong arguments.

. "$(dirname "$0")/lib.sh"

usage()
{
	sed -n '5,/^# Exit/p' "$0" | sed 's/^# \{0,1\}//'
}

[ $# -ge 2 ] || usage_error "a configuration and at least one fragment are required"
for f in "$@"; do
	[ -f "$f" ] || die "no such file: $f"
done

bad=$(awk '
	FNR == 1 { file++ }
	/^# CONFIG_[A-Za-z0-9_]+ is not set$/ { name = $2; value = "n" }
	/^CONFIG_[A-Za-z0-9_]+=/ {
		name = substr($0, 1, index($0, "=") - 1)
		value = substr($0, index($0, "=") + 1)
	}
	name == "" {
		if (file > 1 && $0 !~ /^(#.*)?[ \t]*$/)
			print "not an option: " $0
		next
	}
	{
		if (file == 1)
			have[name] = value
		else
			want[name] = value
		name = ""
	}
	END {
		for (n in want) {
			h = n in have ? have[n] : "n"
			if (h != want[n])
				print n "=" want[n] " did not stick, it is " h
		}
	}
' "$@" | sort)
if [ -n "$bad" ]; then
	mapfile -t lines <<<"$bad"
	die "the kernel configuration $(short_path "$1") is not what was asked for:" \
		"${lines[@]}"
fi
