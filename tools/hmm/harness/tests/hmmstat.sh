# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2154
# hmmstat: what it shows of files like those in debugfs, and every error.

hmmstat_build()
{
	gcc -O2 -Wall -Wextra -Werror -o hmmstat "$repo/tools/hmm/hmmstat/hmmstat.c"
	mkdir d
	cat >d/devmems <<-'END'
		devmem name kind node start end total owned used huge peak migrated_in migrated_out evicted failed cpu_faults poisoned
		0 dmirror0 private -1 0x140000000 0x144000000 16384 8192 3277 512 4096 123456 120179 17 2 99 0
		1 coherent cdm 2 0x180000000 0x1c0000000 262144 262144 1 0 262144 7 8 9 10 11 3
	END
	cat >d/mirrors <<-'END'
		mirror device start end faults retries timeouts invalidations flushes mapped_pages mapped_entries dma_retries
		0 - 0 0x7ffffffff000 120 1 2 33 30 16384 40 3
		4 0000:00:04.0 0x7f0000000000 0x7f0040000000 5 6 7 8 9 10 11 12
	END
}

# json EXPRESSION: of the last output, as "doc", must be true
json()
{
	python3 -c 'import json, sys
doc = json.load(open("output"))
sys.exit(not eval(sys.argv[1]))' "$1" || fail "not so in JSON: $1"
}

lacks()
{
	! grep -q -e "$1" output || fail "the output has: $1"
}

test_hmmstat_tables()
{
	hmmstat_build
	status 0 ./hmmstat --dir d
	says '^Device memories \(in, out, evicted, failed: pages\)$' \
	     '^devmem  name      kind     node  size  owned  used  use%  huge  peak  poisoned +in +out  evicted  failed  cpu faults$' \
	     '^0       dmirror0  private  -1     64M    32M   13M   20%    2M   16M        0B  123456  120179 +17 +2 +99$' \
	     '^1       coherent  cdm      2       1G     1G    4K    0%    0B    1G       12K +7 +8 +9 +10 +11$' \
	     '^Mirrors' \
	     '^mirror  device        start +end +faults  retries  timeouts  invals  flushes  pages  entries  dma retries$' \
	     '^0       -             0 +0x7ffffffff000 +120 +1 +2 +33 +30 +16384 +40 +3$' \
	     '^4       0000:00:04\.0  0x7f0000000000  0x7f0040000000 +5 +6 +7 +8 +9 +10 +11 +12$'
	[ "$(wc -l <output)" -eq 9 ] || fail "not nine lines"
	lacks 'per second'
	lacks $'\033'

	# nothing there; no devmems in an older toolbox
	sed -i '2,$d' d/devmems d/mirrors
	status 0 ./hmmstat --dir d/
	says '^Device memories .*: none$' '^Mirrors .*: none$'
	rm d/devmems
	status 0 ./hmmstat --dir d
	says '^Device memories .*: none$' '^Mirrors .*: none$'
}

test_hmmstat_other_columns()
{
	hmmstat_build
	# another order, a new one, some missing; sizes of all kinds
	printf 'used total new devmem name peak\n%s\n%s\n%s\n%s\n' \
		'0 384 77777 3 a 0x180' '1 0 77777 4 b 1' '- 5 77777 5 c -1' \
		'6 5  77777 6 d 4503599627370496 ' >d/devmems
	printf 'mirror device\n0 \033[2Jx\n1 \303\274' >d/mirrors
	status 0 ./hmmstat --dir d
	says '^3       a     -     -     1\.5M      -    0B    0%     -  1\.5M         -   -    -        -       -           -$' \
	     '^4       b     -     - +-      -     -     -     -     - ' \
	     '^5       c     -     - +20K      -     -     -     -     - ' \
	     '^6       d     -     - +20K      -   24K  120%     -   16E ' \
	     '^0       \?\[2Jx   -      -    ' '^1       \?\?      - '
	lacks 77777
	status 0 ./hmmstat --dir d --json
	json '[m["new"] for m in doc["devmems"]] == 4 * [77777]'
	json 'doc["devmems"][0] == dict(used=0, total=384, new=77777, devmem=3, name="a", peak=384)'
	json 'doc["mirrors"][0] == {"mirror": 0, "device": "\x1b[2Jx"}'
	json 'doc["mirrors"][1]["device"] == "\xc3\xbc"'
}

test_hmmstat_json()
{
	hmmstat_build
	status 0 ./hmmstat --json --dir d
	[ "$(wc -l <output)" -eq 1 ] || fail "not one line"
	json 'list(doc) == ["devmems", "mirrors"] and [len(l) for l in doc.values()] == [2, 2]'
	json 'doc["devmems"][0] == dict(devmem=0, name="dmirror0", kind="private", node=-1,
		start=0x140000000, end=0x144000000, total=16384, owned=8192, used=3277, huge=512, peak=4096,
		migrated_in=123456, migrated_out=120179, evicted=17, failed=2,
		cpu_faults=99, poisoned=0)'
	json 'doc["mirrors"][0] == dict(mirror=0, device=None, start=0, end=0x7ffffffff000,
		faults=120, retries=1, timeouts=2, invalidations=33, flushes=30,
		mapped_pages=16384, mapped_entries=40, dma_retries=3)'
	json 'doc["mirrors"][1]["device"] == "0000:00:04.0"'

	# numbers and what only looks like one
	cat >d/mirrors <<-'END'
		mirror a b c d e f"g\h i
		1 18446744073709551615 18446744073709551616 0xffffffffffffffff 007 -8 0x q"\
		2 1.5 +1 0xG 1x -- 1-1 --1
	END
	# names stay strings
	printf 'devmem name device kind\n0 0 0x10 -\n' >d/devmems
	status 0 ./hmmstat --json --dir d
	json 'list(doc["mirrors"][0].values()) == [1, 2**64 - 1, str(2**64), 2**64 - 1, 7, -8, "0x", "q\"\\"]'
	json 'list(doc["mirrors"][1].values()) == [2, "1.5", "+1", "0xG", "1x", "--", "1-1", "--1"]'
	json '"f\"g\\h" in doc["mirrors"][0]'
	json 'doc["devmems"] == [dict(devmem=0, name="0", device="0x10", kind=None)]'

	rm d/devmems
	sed -i 1q d/mirrors
	status 0 ./hmmstat --json --dir d
	json 'doc == {"devmems": [], "mirrors": []}'
}

test_hmmstat_interval()
{
	local start

	hmmstat_build
	start=${EPOCHREALTIME/./}
	status 0 ./hmmstat --dir d --interval .25 --count 3
	[ $((${EPOCHREALTIME/./} - start)) -ge 500000 ] || fail "did not wait"
	[ "$(grep -c '^Device memories' output)" -eq 3 ] || fail "not three times"
	[ "$(grep -c '^        per second  ' output)" -eq 12 ] || fail "not 12 lines of rates"
	# none at first, then nothing happens
	[ "$(grep -cE 'per second( +-){5,8}$' output)" -eq 4 ] || fail "not 4 without rates"
	[ "$(grep -cE 'per second( +0){5,8}$' output)" -eq 8 ] || fail "not 8 with rate 0"
	lacks $'\033'

	status 0 ./hmmstat --dir d --json --interval 0.1 --count 3
	python3 - output <<-'END' || fail "not three documents"
		import json, sys
		lines = [json.loads(line) for line in open(sys.argv[1])]
		sys.exit(len(lines) != 3 or any(list(doc) != ["devmems", "mirrors"] for doc in lines))
	END
	status 0 ./hmmstat --dir d --json --interval 3600 --count 1
	[ "$(wc -l <output)" -eq 1 ] || fail "not one line"
}

# until COMMAND...: waits for its success, for 20 seconds
hmmstat_until()
{
	for _ in {1..200}; do
		"$@" && return
		sleep 0.1
	done
	fail "waited in vain: $*"
}

test_hmmstat_rates()
{
	local start us pid

	hmmstat_build
	start=${EPOCHREALTIME/./}
	./hmmstat --dir d --interval 0.5 --count 100 >output 2>&1 &
	pid=$!
	# shellcheck disable=SC2064
	trap "kill $pid 2>/dev/null || :" EXIT
	hmmstat_until grep -q '^4 ' output
	# one has grown, one began anew, one is new
	sed '2s/123456/173456/; 2s/ 2 99/ 3 99/; 3s/ 7 8/ 6 8/; $a 2 new cdm 0 0 4096 1 1 1 1 1 1 1 1 1 1 0' \
		d/devmems >new
	mv new d/devmems
	hmmstat_until grep -q '^2 ' output
	hmmstat_until awk '/^2 / { new = 1 } /^4 / && new { whole = 1 } END { exit !whole }' output
	us=$((${EPOCHREALTIME/./} - start))
	kill $pid
	wait $pid || :
	# 50000 pages in at least the interval and at most all the time
	awk -v seconds=$us 'BEGIN { seconds /= 1000000 }
		/^Device/ { now = 0 }
		/^0 / { line = "grown" } /^1 / { line = "anew" } /^2 / { line = "new"; found++ }
		$1 == "per" { rates[line] = $3 " " $4 " " $6 " " $7 }
		found == 1 && line == "new" && $1 == "per" {
			split(rates["grown"], r)
			good = r[1] >= 50000 / seconds - 1 && r[1] <= 100000 && r[2] == 0 &&
			       r[3] >= 1 / seconds - 0.1 && r[3] <= 2 && r[4] == 0 &&
			       rates["anew"] == "- 0 0 0" && rates["new"] == "- - - -"
			print good ? "good" : "bad", rates["grown"], rates["anew"], rates["new"]
			exit !good
		}' output >verdict || fail "rates: $(cat verdict)"
	grep -q '^good ' verdict || fail "no rates"
	# the toolbox goes while we watch
	./hmmstat --dir d --interval 0.1 --count 200 >watched 2>&1 &
	pid=$!
	hmmstat_until grep -q '^4 ' watched
	rm d/mirrors
	status 1 wait $pid
	mv watched output
	says '^hmmstat: cannot read d/mirrors: No such file'
}

test_hmmstat_terminal()
{
	local on_terminal='import os, pty, sys
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))'

	hmmstat_build
	status 0 python3 -c "$on_terminal" ./hmmstat --dir d --interval 0.1 --count 2
	[ "$(grep -c $'^\033\[H\033\[JDevice memories' output)" -eq 2 ] ||
		fail "the screen was not cleared twice"
	status 0 python3 -c "$on_terminal" ./hmmstat --dir d
	lacks $'\033'
	status 0 python3 -c "$on_terminal" ./hmmstat --dir d --json --interval 0.1 --count 2
	lacks $'\033'
}

test_hmmstat_bad_files()
{
	local file lines

	hmmstat_build
	cp -r d good
	for file in mirrors devmems; do
		lines=$(wc -l <good/$file)
		echo 1 2 3 >>d/$file
		status 1 ./hmmstat --dir d
		says "^hmmstat: d/$file:$((lines + 1)): 3 fields, but 1[27] columns$"
		sed '2s/$/ 5/' good/$file >d/$file
		status 1 ./hmmstat --dir d --json
		says "^hmmstat: d/$file:2: 1[38] fields, but 1[27] columns$"
		[ "$(wc -l <output)" -eq 1 ] || fail "it also printed something"
		sed '2s/^/\n/' good/$file >d/$file
		status 1 ./hmmstat --dir d
		says "^hmmstat: d/$file:2: 0 fields, but 1[27] columns$"
		: >d/$file
		status 1 ./hmmstat --dir d
		says "^hmmstat: d/$file:1: not a text$"
		printf 'a\0b\n' >d/$file
		status 1 ./hmmstat --dir d
		says "^hmmstat: d/$file:1: not a text$"
		printf '\na b\n' >d/$file
		status 1 ./hmmstat --dir d
		says "^hmmstat: d/$file:1: 0 names of columns, not 1 to 64$"
		seq -s ' ' 65 >d/$file
		status 1 ./hmmstat --dir d
		says "^hmmstat: d/$file:1: 65 names of columns, not 1 to 64$"
		seq -s ' ' 64 >d/$file
		status 0 ./hmmstat --dir d
		rm d/$file
		mkdir d/$file
		status 1 ./hmmstat --dir d
		says "^hmmstat: cannot read d/$file: Is a directory$"
		rmdir d/$file
		cp good/$file d
	done
}

# hmmstat_meets ERRNO FILE-SYSTEM USER ARGUMENT...: it cannot open any file
hmmstat_meets()
{
	status 1 env "ERROR=$1" "MAGIC=$2" "USER_ID=$3" "LD_PRELOAD=$dir/shim.so" \
		./hmmstat "${@:4}"
}

test_hmmstat_no_files()
{
	local hmm=/sys/kernel/debug/hmm

	hmmstat_build
	status 1 ./hmmstat --dir nowhere
	says '^hmmstat: cannot read nowhere/mirrors: No such file or directory: --dir takes'
	status 1 ./hmmstat --dir hmmstat
	says '^hmmstat: cannot read hmmstat/.*: Not a directory: --dir takes'
	rm d/mirrors
	status 1 ./hmmstat --dir d
	says '^hmmstat: cannot read d/mirrors: No such file or directory: --dir takes'

	# What only some machine and some user would meet.
	cat >shim.c <<-'END'
		#include <errno.h>
		#include <stdio.h>
		#include <stdlib.h>
		#include <sys/vfs.h>
		#include <unistd.h>

		FILE *fopen(const char *path, const char *mode)
		{
			(void)path, (void)mode;
			errno = atoi(getenv("ERROR"));
			return NULL;
		}

		int statfs(const char *path, struct statfs *fs)
		{
			(void)path;
			fs->f_type = strtol(getenv("MAGIC"), NULL, 16);
			return 0;
		}

		uid_t geteuid(void)
		{
			return atoi(getenv("USER_ID"));
		}
	END
	gcc -O2 -Wall -Wextra -Werror -shared -fPIC -o shim.so shim.c
	hmmstat_meets 2 62656572 0
	says "^hmmstat: cannot read $hmm/mirrors: No such file.*: debugfs is not mounted, try: mount -t debugfs "
	hmmstat_meets 2 64626720 0
	says "^hmmstat: cannot read $hmm/mirrors: No such file.*: the HMM toolbox is not loaded, try: modprobe "
	hmmstat_meets 2 64626720 0 --dir /mnt/hmm/
	says '^hmmstat: cannot read /mnt/hmm//mirrors: .* is not loaded, try: modprobe '
	hmmstat_meets 13 64626720 1000
	says "^hmmstat: cannot read $hmm/devmems: Permission denied: run hmmstat as root$"
	hmmstat_meets 13 64626720 0
	says "^hmmstat: cannot read $hmm/devmems: Permission denied$"
	hmmstat_meets 1 64626720 0
	says '^hmmstat: .*: the kernel is locked down'
	hmmstat_meets 5 64626720 0
	says '^hmmstat: .*: Input/output error: was the HMM toolbox unloaded'
	hmmstat_meets 24 64626720 0
	says '^hmmstat: .*: Too many open files$'
}

test_hmmstat_write_errors()
{
	hmmstat_build
	status 1 bash -c './hmmstat --dir d >/dev/full'
	says '^hmmstat: cannot write: No space left on device$'
	status 1 bash -c './hmmstat --dir d --json >/dev/full'
	says '^hmmstat: cannot write: No space left on device$'
	status 1 bash -c './hmmstat --help >/dev/full'
	says '^hmmstat: cannot write: No space left on device$'
	status 1 bash -c './hmmstat --dir d >&-'
	says '^hmmstat: cannot write: Bad file descriptor$'
	# more than the buffer
	for _ in {1..500}; do echo 0 - 0 0 1 2 3 4 5 6 7 8; done >>d/mirrors
	status 1 bash -c './hmmstat --dir d >/dev/full'
	says '^hmmstat: cannot write'
	status 1 bash -o pipefail -c './hmmstat --dir d --interval 0.1 | head -n 1'
	says '^Device memories' '^hmmstat: cannot write: Broken pipe$'
}

# wrong REGEX ARGUMENT...
hmmstat_wrong()
{
	local regex=$1

	shift
	status 2 ./hmmstat --dir d "$@"
	says "hmmstat: .*$regex"
	lacks '^Mirrors'
}

test_hmmstat_arguments()
{
	local value long

	hmmstat_build
	for value in 0 0.09 3600.1 -1 1s '' . 1.2.3 inf nan 1e1 0x1 ' 1' 99999999999; do
		hmmstat_wrong "--interval takes 0\.1 to 3600, not \"$value\"$" \
			--interval "$value"
	done
	for value in 0 -1 +1 1.5 two '' 0x1 ' 1' 99999999999999999999; do
		hmmstat_wrong "--count takes 1 to 1000000000, not \"${value/+/[+]}\"$" \
			--interval 1 --count "$value"
	done
	hmmstat_wrong '--count 3 needs --interval$' --count 3
	hmmstat_wrong 'unexpected argument "now"$' now
	hmmstat_wrong "unrecognized option '--nope'" --nope
	hmmstat_wrong "invalid option -- 'j'" -j
	hmmstat_wrong "'--interval' requires an argument" --interval
	hmmstat_wrong "'--count' requires an argument" --count
	hmmstat_wrong "'--json' doesn't allow an argument" --json=yes
	hmmstat_wrong '--dir takes a path.*""' --dir ''
	long=$(printf 'x%.0s' {1..4090})
	hmmstat_wrong '--dir takes a path.*"x+"$' --dir "$long"
	status 2 ./hmmstat --dir
	says "'--dir' requires an argument" 'see hmmstat --help'
	status 0 ./hmmstat --help
	says '^usage: hmmstat' '--json' '--interval' '--count' '--dir'
	status 0 ./hmmstat --dir=d --interval=0.1 --count=1
}

test_hmmstat_make()
{
	local make=(make -s -C "$repo/tools/hmm/hmmstat" "O=$dir/o")

	status 0 "${make[@]}" CFLAGS="-O1 -Werror" LDFLAGS=-static
	hmmstat_build
	status 0 o/hmmstat --dir d
	says '^Mirrors'
	status 0 "${make[@]}" install "DESTDIR=$dir/root" PREFIX=/opt
	status 0 "$dir/root/opt/sbin/hmmstat" --dir d
	status 0 "${make[@]}" clean
	[ ! -e o/hmmstat ] || fail "not cleaned"
	fake mycc 'echo "mycc: $*" >&2; exit 1'
	status 2 "${make[@]}" CC=mycc
	says '^mycc: .*-Wall -Wextra .*hmmstat\.c'
}
