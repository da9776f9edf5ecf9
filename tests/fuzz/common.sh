# Sourced by run.sh and planted.sh: where the build and its tools are, a corpus of its own for each run.

copper_source=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
copper_build=${COPPER_BUILD:-$copper_source/build/release}

usage() {
    echo "usage: $(basename "$0") fuzz_pprof_read|fuzz_http SECONDS (build in \$COPPER_BUILD)" >&2
    exit 2
}

[ $# = 2 ] || usage
target=$1
seconds=$2
# what each target is there to reach
case $target in
fuzz_pprof_read) covered="proto/reader.c proto/wire.c proto/gunzip.c proto/idmap.c" ;;
fuzz_http) covered="profiler/http/http_routes.c profiler/http/http_query.c profiler/http/http_answer.c
    profiler/http/http_access.c profiler/http/http_pages.c profiler/http/symbol.c" ;;
*) usage ;;
esac

if [ ! -x "$copper_build/fuzz/$target" ]; then
    echo "$copper_build/fuzz/$target is not there: build it first (clang with libFuzzer is needed)" >&2
    exit 2
fi

work=$(mktemp -d /tmp/copper_fuzz_XXXXXX)
trap 'rm -rf "$work"' EXIT
mkdir "$work/corpus"
cp -r "$copper_build/fuzz/$target.seeds/." "$work/corpus/"

# fuzz PROGRAM: libFuzzer for the given time on the corpus; its output goes to $work/log.
fuzz() {
    local options=(-max_total_time="$seconds" -timeout=20 -rss_limit_mb=2560 -max_len=8192
        -print_final_stats=1 -artifact_prefix="$work/found-")
    [ -f "$copper_source/tests/fuzz/$target.dict" ] &&
        options+=(-dict="$copper_source/tests/fuzz/$target.dict")
    LLVM_PROFILE_FILE="$work/profraw" timeout $((seconds + 60)) \
        "$copper_build/fuzz/$1" "${options[@]}" "$work/corpus" >"$work/log" 2>&1
}
