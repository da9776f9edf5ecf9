#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs our benchmarks and their twins (Go always; Boost.Fiber where it has the feature and is
# installed; plain C on one thread where that says what the kernel alone takes) in turn, several
# rounds, at one and at two P, and prints, tab-separated,
#   name  P  peer  ours_ns  peer_ns  ratio
# with medians. Times mean something only as ratios of one run on one machine. Rows whose name has a
# dot are no times: name.switches is how often our scheduler switched for one operation.
#
# usage: bench/compare.sh [NAME...]
#   COPPER_BUILD=build/release  ROUNDS=5  PROCS="1 2"
#   RUN="chrt -r 5"   a command in front of each program; this one keeps other work off its CPUs
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=${COPPER_BUILD:-$here/../build/release}
rounds=${ROUNDS:-5}
programs=("$@")
[ $# -gt 0 ] || for program in "$build"/bench/bench_*; do
    name=${program##*/bench_}
    grep -qx "copper_bench($name)" "$here/CMakeLists.txt" && programs+=("$name")
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

command -v go >/dev/null || { echo "compare.sh: go is not installed" >&2; exit 1; }
go build -o "$work/go" "$here"/go/*.go
c++ -O2 -o "$work/boost" "$here/boost/peer.cc" -lboost_fiber -lboost_context -lpthread \
    2>/dev/null || echo "compare.sh: no Boost.Fiber (libboost-fiber-dev): left out" >&2
cc -O2 -o "$work/plain" "$here/plain/peer.c"

# one program's lines, with P and side in front; a twin that does not have it prints nothing
run_one() {
    local procs=$1 side=$2
    shift 2
    # shellcheck disable=SC2086
    ${RUN:-} timeout 120 "$@" 2>/dev/null | sed "s/^/$procs\t$side\t/" >>"$work/all" || true
}

for procs in ${PROCS:-1 2}; do
    for ((round = 0; round < rounds; round++)); do
        for name in "${programs[@]}"; do
            [ -x "$build/bench/bench_$name" ] ||
                { echo "compare.sh: $build/bench/bench_$name was not built" >&2; exit 1; }
            COPPER_MAXPROCS=$procs run_one "$procs" ours "$build/bench/bench_$name"
            GOMAXPROCS=$procs run_one "$procs" go "$work/go" "$name"
            [ ! -x "$work/boost" ] || PROCS=$procs run_one "$procs" boost.fiber "$work/boost" "$name"
            [ "$procs" != 1 ] || run_one 1 plain "$work/plain" "$name"
        done
    done
done

# sorted by value within each (P, name, side), so that the middle line is the median
sort -t $'\t' -k1,1 -k3,3 -k2,2 -k4,4g "$work/all" | awk -F '\t' '
    function close_group() { if (count) median[key] = values[int((count + 1) / 2)] }
    { k = $1 FS $3 FS $2
      if (k != key) { close_group(); key = k; count = 0 }
      values[++count] = $4
      name = $3 FS $1
      if (!(name in seen)) { seen[name] = 1; order[++names] = name; p[names] = $1; n[names] = $3 } }
    function row(i, peer, ours, theirs) {
        printf "%s\t%s\t%s\t%s\t%s\t%s\n", n[i], p[i], peer, ours, theirs == "" ? "-" : theirs,
               theirs == "" || theirs == 0 ? "-" : sprintf("%.2f", ours / theirs)
    }
    END { close_group()
      print "name\tP\tpeer\tours_ns\tpeer_ns\tratio"
      for (i = 1; i <= names; i++) {
        at = p[i] FS n[i] FS
        ours = median[at "ours"]
        if (ours == "") continue
        if ((at "go") in median) row(i, "go", ours, median[at "go"])
        if ((at "boost.fiber") in median) row(i, "boost.fiber", ours, median[at "boost.fiber"])
        if ((at "plain") in median) row(i, "plain", ours, median[at "plain"])
        if (!((at "go") in median) && !((at "boost.fiber") in median)) row(i, "-", ours, "")
      } }'
