#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs our programs and their Go twins in turn, several rounds, at one and at two P, and prints
#   P  name  ours  Go's  ratio  unit
# with medians. Times mean something only as ratios of one run on one machine.
#
# usage: bench/compare.sh [BUILD_DIRECTORY [ROUNDS [PROGRAM...]]]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=${1:-$here/../build/release}
rounds=${2:-5}
shift $(($# < 2 ? $# : 2))
programs=${*:-yield spawn pingpong skynet park_many}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

command -v go >/dev/null || { echo "compare.sh: go is not installed" >&2; exit 1; }
go build -o "$work/peer" "$here/go/peer.go"

for procs in 1 2; do
    for ((round = 0; round < rounds; round++)); do
        for program in $programs; do
            COPPER_MAXPROCS=$procs timeout 120 "$build/bench/bench_$program" 2>/dev/null |
                sed "s/^/$procs\tours\t/" >>"$work/all"
            GOMAXPROCS=$procs timeout 120 "$work/peer" "$program" |
                sed "s/^/$procs\tgo\t/" >>"$work/all"
        done
    done
done

# sorted by value within each (P, name, side), so that the middle line is the median
sort -t $'\t' -k1,1 -k3,3 -k2,2 -k4,4g "$work/all" | awk -F '\t' '
    function close_group() { if (count) median[key] = values[int((count + 1) / 2)] }
    { k = $1 FS $3 FS $2
      if (k != key) { close_group(); key = k; count = 0 }
      values[++count] = $4
      name = $1 FS $3; unit[name] = $5
      if (!(name in seen)) { seen[name] = 1; order[++names] = name } }
    END { close_group()
      print "P\tname\tours\tgo\tratio\tunit"
      for (i = 1; i <= names; i++) {
        n = order[i]; ours = median[n FS "ours"]; go = median[n FS "go"]
        printf "%s\t%s\t%s\t%s\t%s\n", n, ours, go == "" ? "-" : go,
               go == "" ? "-" : sprintf("%.2f", ours / go), unit[n] } }'
