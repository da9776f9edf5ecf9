#!/usr/bin/env bash
# Shows what copper does, on a bare Debian 12, as the first command: installs what is missing (and says
# so), builds, profiles a program that nobody rebuilt, profiles a coroutine pipeline, and lets a leaky
# one name what it strands. Ends by itself.
#
#   examples/demo.sh           about a minute, exit status 0
#   examples/demo.sh --stay    keeps the pipeline and its endpoint up at the end, until Ctrl-C
set -eu
cd "$(dirname "$0")/.."
. cmake/packages.sh

stay=
case "${1:-}" in
"") ;;
--stay) stay=1 ;;
*) echo "usage: examples/demo.sh [--stay]" >&2; exit 2 ;;
esac

scratch=$(mktemp -d)
export PPROF_TMPDIR=$scratch
children=()
clean_up() {
    for child in "${children[@]+"${children[@]}"}"; do
        kill "$child" 2>/dev/null || true
    done
    wait 2>/dev/null || true
    rm -rf "$scratch"
}
trap clean_up EXIT

show() { printf '\n$ %s\n' "$*"; }

# Waits for a line of the log that matches, and prints the match.
await() {
    local log=$1 pattern=$2 found
    for _ in $(seq 100); do
        found=$(grep -oE "$pattern" "$log" | head -1) && [ -n "$found" ] && { echo "$found"; return; }
        sleep 0.1
    done
    echo "demo: no '$pattern' in:" >&2
    cat "$log" >&2
    exit 1
}

# A quiet copy of `go tool pprof`: its progress lines are not what is shown.
pprof() {
    show go tool pprof "$@"
    go tool pprof "$@" 2>"$scratch/pprof.err" | head -"${lines:-16}" || {
        cat "$scratch/pprof.err" >&2
        exit 1
    }
}

copper_need_packages build demo
copper_need_go
export PATH
go version

copper_say "building"
cmake --preset release -DCOPPER_BUILD_TESTS=OFF >"$scratch/build.log" 2>&1 &&
    cmake --build --preset release >>"$scratch/build.log" 2>&1 || { tail -40 "$scratch/build.log"; exit 1; }
copper=build/release/bin/copper
examples=build/release/examples

copper_say "1. a program nobody rebuilt: Debian's redis-server under load"
port=$((20000 + RANDOM % 20000))
show copper run -- redis-server --port $port
$copper run -- redis-server --port $port --bind 127.0.0.1 --save '' --daemonize no \
    >"$scratch/redis.out" 2>"$scratch/redis.log" &
children+=($!)
url=$(await "$scratch/redis.log" 'http://[0-9.:]+/debug/pprof/')
grep '^copper:' "$scratch/redis.log"
await "$scratch/redis.out" 'Ready to accept connections' >/dev/null
redis-benchmark -h 127.0.0.1 -p $port -q -l -t set,get,lpush,sort -P 4 >/dev/null 2>&1 &
children+=($!)
pprof -top "${url}profile?seconds=4"
show copper list
$copper list

copper_say "2. a coroutine program: examples/pipeline, one stage is hot"
show COPPER_HTTP=127.0.0.1:0 examples/pipeline --stay
COPPER_HTTP=127.0.0.1:0 $examples/pipeline --stay >"$scratch/pipeline.out" 2>"$scratch/pipeline.log" &
pipeline=$!
children+=($pipeline)
for _ in $(seq 50); do
    url=$($copper list | awk -v pid=$pipeline '$0 ~ pid' | grep -oE 'http://[0-9.:]+/debug/pprof/') && break
    sleep 0.1
done
pprof -top "${url}profile?seconds=3"
lines=12 pprof -tags "${url}profile?seconds=1"
lines=24 pprof -traces "${url}goroutine"
show curl "${url}goroutine?debug=2"
curl -s "${url}goroutine?debug=2" | head -16

copper_say "3. the same program, made to strand its workers"
show COPPER_LEAKCHECK=1 examples/pipeline --leak
status=0
COPPER_LEAKCHECK=1 $examples/pipeline --leak || status=$?
echo "exit status $status"
[ "$status" = 23 ]

if [ -n "$stay" ]; then
    copper_say "$url stays up until Ctrl-C"
    wait "$pipeline"
fi
copper_say "done"
