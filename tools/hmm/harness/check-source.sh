# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Sourced by check.sh: the checks that read sources.  Each check_*() prints its
# findings and returns non-zero if there are any.

CHECK_MAX_LINES=700
PRISTINE=$HMM_BUILD/pristine
PATCHED=$HMM_BUILD/patched

# Directories that go into the kernel tree as they are.
CHECK_KERNEL_DIRS="mm/hmm include/linux/hmm drivers/char/hmm_dmirror samples/hmm"

# Files under version control, or about to be, among the arguments or in all.
our_files()
{
	git -C "$HMM_ROOT" ls-files --cached --others --exclude-standard -- "$@" |
		while read -r f; do
			if [ -f "$HMM_ROOT/$f" ]; then
				echo "$f"
			fi
		done
}

# Succeeds if the list of files is empty, else prints it under a title.
expect_none()
{
	[ -z "$2" ] || {
		printf '%s\n%s\n' "$1" "$2"
		return 1
	}
}

our_files_in()
{
	local dirs

	read -r -d '' -a dirs <<<"$1" || :
	our_files "${dirs[@]}"
}

check_length()
{
	local found

	found=$(cd "$HMM_ROOT" && our_files | grep -v '^patches/' |
		xargs awk -v max="$CHECK_MAX_LINES" \
			'FNR == max + 1 { print FILENAME }')
	expect_none "longer than $CHECK_MAX_LINES lines:" "$found"
}

# run_checkpatch IGNORE ARGUMENT...
#
# FILE_PATH_CHANGES asks for a MAINTAINERS entry with each new file; the existing
# entry for HMM gets its lines in one patch.  GIT_DIR: there is no history of the
# kernel to look into.  checkpatch leaves a cache where it runs: not in our tree.
run_checkpatch()
{
	local ignore=$1 dir=$HMM_BUILD/check/checkpatch

	shift
	mkdir -p "$dir"
	ln -sfn -t "$dir" "$HMM_ROOT"/{Documentation,drivers,include,mm,patches,samples,tools}
	(cd "$dir" &&
	 GIT_DIR=none perl "$PRISTINE/scripts/checkpatch.pl" --root="$PRISTINE" \
		--strict --terse --no-summary --show-types --color=never \
		--ignore "FILE_PATH_CHANGES$ignore" "$@")
}

# What does not hold for programs: advice to use macros of the kernel (BIT_MACRO,
# ARRAY_SIZE, PREFER_DEFINED_ATTRIBUTE_MACRO) or not to use names of the C library
# (CAMELCASE: PRIu64); VOLATILE, as tests have to touch memory just so;
# EMBEDDED_FUNCTION_NAME, as they print the names of operations; MACRO_ARG_REUSE
# and MACRO_WITH_FLOW_CONTROL, as what wraps ASSERT and SKIP of the kselftest
# harness has to be a macro.  Scripts are not C: shellcheck reads them.
check_programs_ignore=,BIT_MACRO,ARRAY_SIZE,PREFER_DEFINED_ATTRIBUTE_MACRO
check_programs_ignore+=,CAMELCASE,VOLATILE,EMBEDDED_FUNCTION_NAME
check_programs_ignore+=,MACRO_ARG_REUSE,MACRO_WITH_FLOW_CONTROL

check_checkpatch()
{
	local kernel programs rc=0

	mapfile -t kernel < <(our_files_in "$CHECK_KERNEL_DIRS Documentation/mm/hmm")
	mapfile -t programs < <(our_files_in "tools/testing/selftests/hmm
		tools/hmm/bench tools/hmm/hmmstat" | grep -E '\.[ch]$|Makefile$|Kbuild$')
	[ ${#kernel[@]} -gt 0 ]
	[ ${#programs[@]} -gt 0 ]
	run_checkpatch '' -f "${kernel[@]}" || rc=1
	run_checkpatch "$check_programs_ignore" -f "${programs[@]}" || rc=1
	return $rc
}

# Signed-off-by: whoever posts the series adds it.  UNKNOWN_COMMIT_ID: the commit of
# a Fixes: tag is looked up in a history of the kernel, and none is here.
check_patches()
{
	local files

	mapfile -t files < <(our_files 'patches/*.patch')
	[ ${#files[@]} -gt 0 ]
	run_checkpatch ,UNKNOWN_COMMIT_ID --no-signoff "${files[@]}"
}

check_kernel_doc()
{
	local files

	mapfile -t files < <(our_files_in "$CHECK_KERNEL_DIRS" | grep '\.[ch]$')
	[ ${#files[@]} -gt 0 ]
	cd "$HMM_ROOT" || return
	PYTHONDONTWRITEBYTECODE=1 KBUILD_VERBOSE=0 \
		python3 "$PRISTINE/scripts/kernel-doc" -Wall -Werror -none \
		"${files[@]}"
}

# kernel-doc wants neither "Context:" nor a comment on exported functions.
check_contract()
{
	local files found

	mapfile -t files < <(our_files 'mm/hmm/*.c')
	[ ${#files[@]} -gt 0 ]
	found=$(cd "$HMM_ROOT" && awk '
		function end_file(	name) {
			for (name in exported) {
				if (!(name in documented))
					print exported[name] ": " name "() has no kernel-doc"
				else if (!(name in context))
					print exported[name] ": " name "() has no Context:"
			}
			split("", exported); split("", documented); split("", context)
		}
		FNR == 1 { end_file(); doc = "" }
		/^ \* [a-z0-9_]+\(\) - / {
			doc = $2; sub(/\(\)/, "", doc); documented[doc] = 1
		}
		/^ \* Context: / && doc != "" { context[doc] = 1 }
		/^ \*\/$/ { doc = "" }
		/^EXPORT_SYMBOL_GPL\(/ {
			name = $0; gsub(/^EXPORT_SYMBOL_GPL\(|\);$/, "", name)
			exported[name] = FILENAME ":" FNR; total++
		}
		END { end_file(); if (!total) print "no exported function found" }
		' "${files[@]}")
	expect_none "incomplete contracts:" "$found"
}

# Links that lead out of the part that is built cannot be resolved: the check
# judges what is said about our files only.
check_rst()
{
	local out=$HMM_BUILD/check/rst log=$HMM_BUILD/check/rst.log found

	[ -e "$PATCHED/Documentation/mm/hmm/index.rst" ]
	rm -rf "$out"
	mkdir -p "$out"
	PYTHONDONTWRITEBYTECODE=1 kmake -C "$PATCHED" O="$out" \
		SPHINXDIRS=mm/hmm htmldocs 2>&1 | tee "$log"
	[ -e "$out/Documentation/output/mm/hmm/index.html" ]
	found=$(grep -E '(mm/hmm|hmm_dmirror|samples/hmm)[^ ]*:[0-9]* ?.*(WARNING|ERROR|warning|error)' \
		"$log" || :)
	expect_none "remarks:" "$found"
}

# SC1091: what a script of the guest sources exists in the guest only.
check_shellcheck()
{
	local scripts

	mapfile -t scripts < <(cd "$HMM_ROOT" && our_files |
		xargs awk 'FNR > 5 { nextfile }
			FNR == 1 && /^#!.*sh( |$)/ || /^# shellcheck shell=/ {
				print FILENAME; nextfile }')
	[ ${#scripts[@]} -gt 0 ]
	cd "$HMM_ROOT" || return
	shellcheck --external-sources --exclude=SC1091 --source-path=SCRIPTDIR "${scripts[@]}"
}
