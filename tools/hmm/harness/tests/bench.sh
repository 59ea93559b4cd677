# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2154
# bench_report.py: which rows, what is subtracted, what counts as repeated.

report()
{
	python3 "$harness/bench_report.py" --rows "$repo/tools/hmm/bench/rows.c" "$@"
}

# result TREE ROW PASS MEDIAN ZEROED [PART TARGET]
result()
{
	mkdir -p "out/$1-1cpu-1"
	printf '{"row": "%s", "part": "%s", "group": "core", ' "$2" "${6:-}"
	printf '"title": "%s", ' "$2${6:+, $6}"
	[ -z "${7:-}" ] || printf '"target": %s, ' "$7"
	printf '"unit": "u", "pass": %s, "median": %s, "min": 1, "max": 2, ' "$3" "$4"
	printf '"samples": 1, "flushes": 0, "zeroed": %s, "copied": 0, ' "$5"
	printf '"memcpied": 0, "to_user": 0, "apart": 0}\n'
}

# results MEDIAN...: of fault-4k in each pass of ours; mainline has 6000
results()
{
	local median pass=0

	rm -rf out
	mkdir -p out/pristine-1cpu-1 out/patched-1cpu-1
	for median in "$@"; do
		pass=$((pass + 1))
		result pristine zero $pass 4000 0 >>out/pristine-1cpu-1/result
		result patched zero $pass 4000 0 >>out/patched-1cpu-1/result
		result pristine fault-4k $pass 6000 1 >>out/pristine-1cpu-1/result
		result patched fault-4k $pass "$median" 1 >>out/patched-1cpu-1/result
	done
	printf 'zero 1\nfault-4k 1\n' >expect
}

test_bench_select()
{
	status 0 report select fault-4k
	says '^zero 1$' '^fault-4k 1$'
	! grep -q snapshot output || fail "a row that was not asked for"
	status 0 report select tlb
	says '^shootdown-4k 2$'
	status 2 report select "core nope"
	says '^error: .*: nope$' '^tlb:$' '^  fault-4k '
}

test_bench_table()
{
	results 5000 5010
	status 0 report table --out out --expect expect --verify
	says '^fault-4k +u +2000 +1000 +2\.00 +4000 +- +- +0\.20 %$' '^All figures repeat'
	cmp -s out/table.txt <(grep -v '^All figures' output) || fail "table.txt differs"
	python3 -m json.tool out/bench.json >/dev/null
	python3 -c 'import sys, xml.dom.minidom as x; x.parse(sys.argv[1])' out/bench.svg
}

test_bench_not_repeated()
{
	results 5000 5100
	status 0 report table --out out --expect expect
	says '^warning: not repeated within 1 %: fault-4k \(ours: 2\.00 %\)$'
	status 1 report table --out out --expect expect --verify
	says '^error: not repeated'
}

test_bench_missing()
{
	results 5000 5000
	sed -i '/fault-4k/d' out/patched-1cpu-1/result
	status 1 report table --out out --expect expect
	says '^error: no result on ours: fault-4k$' '^fault-4k +u +2000 +failed '
	rm out/*/result
	status 1 report table --out out --expect expect
	says '^error: no result on mainline: zero fault-4k$'
}

# Parts that mainline has not, one that is what it is to be and one that is not.
test_bench_target()
{
	local pass

	results 5000 5000
	for pass in 1 2; do
		result patched fault-4k $pass 290 0 "first share" 300
		result patched fault-4k $pass 1001 0 "second share" 1000
		result patched fault-4k $pass 1 0 "no share"
	done >>out/patched-1cpu-1/result
	status 0 report table --out out --expect expect --verify
	says '^    first share +u +- +290\.0 +- +- +- +- +0\.00 % +300 met$' \
	     '^    second share +u +- +1001 .* 0\.00 % +1000 MISSED$' \
	     '^    no share +u +- +1 .* 0\.00 %$' \
	     '^warning: target missed: fault-4k, second share$' \
	     '^All figures repeat'
	python3 -m json.tool out/bench.json >/dev/null
	python3 -c 'import sys, xml.dom.minidom as x; x.parse(sys.argv[1])' out/bench.svg
}

test_bench_next_to_nothing()
{
	local pass

	results 5000 5000
	for pass in 1 2; do
		result patched fault-4k $pass 0.00$pass 0 waits
		result pristine fault-4k $pass 0 0 waits >>out/pristine-1cpu-1/result
	done >>out/patched-1cpu-1/result
	status 0 report table --out out --expect expect --verify
	says '^    waits +u +0 +0\.001 .* 0\.00 %$' '^All figures repeat'
}

test_bench_groups()
{
	status 0 report select mirror
	says '^zero 1$' '^mirror-4k 1$' '^prefetch-holes-thp 1$' \
	     '^invalidate-100k 1$' '^threads 8$'
	! grep -q '^fault-4k' output || fail "a row that was not asked for"
	status 0 report select devmem
	says '^devmem-add 1$' '^alloc-2m 1$' '^evict-thp 1$' \
	     '^oversub-4x-2m-random 1$'
}
