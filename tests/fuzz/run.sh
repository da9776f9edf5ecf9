#!/usr/bin/env bash
# Fuzzes for so many seconds, then says how much of the target's lines was reached. Fails on a finding
# (its bytes stay in $COPPER_BUILD/fuzz), and below 90 % of the lines.
#
#   tests/fuzz/run.sh fuzz_pprof_read 600
set -u
. "$(dirname "$0")/common.sh"

least=90

if ! fuzz "$target"; then
    grep -vE '^#[0-9]+' "$work/log" | tail -n 80
    for found in "$work"/found-*; do
        [ -f "$found" ] || continue
        cp "$found" "$copper_build/fuzz/"
        echo "FAIL: found by $target: $copper_build/fuzz/$(basename "$found")"
        head -c 1024 "$found" | od -A d -t x1z
    done
    exit 1
fi
grep -E '^stat::(number_of_executed_units|average_exec_per_sec|peak_rss_mb)' "$work/log"
echo "corpus: $(find "$work/corpus" -type f | wc -l) inputs after $seconds s"

tool() {
    "${COPPER_CLANG:-clang}" -print-prog-name="$1"
}
"$(tool llvm-profdata)" merge -sparse "$work/profraw" -o "$work/profdata" || exit 1
files=()
for file in $covered; do
    files+=("$copper_source/$file")
done
"$(tool llvm-cov)" report "$copper_build/fuzz/$target" -instr-profile="$work/profdata" \
    -show-branch-summary=false "${files[@]}" >"$work/report" || exit 1
# columns: file, regions missed cover, functions missed executed, lines missed cover
awk '$10 ~ /%$/ { printf "%-28s %5d lines, reached %s\n", $1, $8, $10 }' "$work/report"
reached=$(awk '$1 == "TOTAL" { sub("%", "", $10); print $10 }' "$work/report")
if ! awk -v reached="$reached" -v least=$least 'BEGIN { exit !(reached >= least) }'; then
    echo "FAIL: $target reached $reached % of the lines, $least % are asked for; not reached:"
    "$(tool llvm-cov)" show "$copper_build/fuzz/$target" -instr-profile="$work/profdata" \
        "${files[@]}" | grep -E '^ +[0-9]+\| +0\|'
    exit 1
fi
