#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Removes what the harness generated.
#
#   clean.sh clean       all but the kernel source, its pristine objects and the
#                        downloads
#   clean.sh distclean   everything
#
# Exit status: 0, 1 on failure, 2 wrong arguments.

. "$(dirname "$0")/lib.sh"

usage()
{
	sed -n '5,/^# Exit/p' "$0" | sed 's/^# \{0,1\}//'
}

[ $# -eq 1 ] || usage_error "clean or distclean?"
# Only names of ours: HMM_BUILD may be a directory with other things.
names="bench check config ext guest log patched patched.new patched.stage
       pristine.new pristine.old programs series"
case $1 in
clean) ;;
distclean) names+=" apt download pristine .lock" ;;
*) usage_error "unknown argument: $1" ;;
esac
[ -d "$HMM_BUILD" ] || exit 0
build_lock
for name in $names; do
	rm -rf "${HMM_BUILD:?}/$name"
done
rmdir --ignore-fail-on-non-empty "$HMM_BUILD"
