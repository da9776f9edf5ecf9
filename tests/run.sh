#!/usr/bin/env bash
# All tests, on a bare Debian 12, as the first command: installs what is missing (and says so), builds
# every preset, runs every suite, and ends with one line: "N passed, N failed, N skipped".
#
# Many tests watch other processes on a machine that may be busy with something else. Where a few of a
# preset fail they run once more, alone; those that pass then are listed as UNSTEADY: a fault to find,
# of the test or of what it tests, but no reason to think the change at hand broke it. What a sanitizer
# reports counts at once: no busy machine makes that.
#
#   tests/run.sh                 everything, short forms of the long runs (under 25 minutes, 2 cores)
#   tests/run.sh release asan    only these presets
set -u
cd "$(dirname "$0")/.."
. cmake/packages.sh

copper_need_packages build demo test
copper_need_go
export PATH

# The sanitizer builds run what can tell them something; programs judged from outside need no second
# look under a sanitizer.
sanitizer_labels='unit|behaviour|stress|leak'
declare -A labels=([asan]=$sanitizer_labels [tsan]=$sanitizer_labels [ubsan]=$sanitizer_labels)
presets=("${@:-}")
[ -n "${presets[0]}" ] || presets=(release clang asan tsan) # asan looks for undefined behaviour too

passed=0
failed=0
skipped=0
failures=()
unsteady=()
again_most=3 # that many failures of a preset may be chance
never_chance='WARNING: ThreadSanitizer|ERROR: (Address|Leak)Sanitizer|: runtime error: '

# Adds up what ctest's own summary file says.
count_results() {
    local preset=$1 junit=$2 name
    passed=$((passed + $(grep -c 'status="run"' "$junit")))
    failed=$((failed + $(grep -c 'status="fail"' "$junit")))
    skipped=$((skipped + $(grep -cE 'status="(notrun|disabled)"' "$junit")))
    while read -r name; do
        failures+=("$preset: $name")
    done < <(names_of fail "$junit")
}

names_of() {
    sed -n 's/.*<testcase name="\([^"]*\)".*status="'"$1"'".*/\1/p' "$2"
}

# The failures that the first results hold, once more. What passes now counts as passed.
run_again() {
    local preset=$1 junit=$2 name
    [[ $(names_of fail "$junit" | wc -l) =~ ^[1-$again_most]$ ]] || return
    grep -qE "$never_chance" "$junit" && return
    copper_say "$preset: what failed, once more"
    ctest --test-dir "build/$preset" --rerun-failed --output-on-failure --output-junit "$junit.again"
    while read -r name; do
        sed -i "/<testcase name=\"$name\"/s/status=\"fail\"/status=\"run\"/" "$junit"
        unsteady+=("$preset: $name failed at first")
    done < <(names_of run "$junit.again")
}

build() {
    local preset=$1 log=build/$1.log
    mkdir -p build
    cmake --preset "$preset" -DCOPPER_BUILD_TESTS=ON >"$log" 2>&1 && cmake --build --preset "$preset" >>"$log" 2>&1 && return
    tail -60 "$log"
    failed=$((failed + 1))
    failures+=("$preset: build, see $log")
    return 1
}

run_tests() {
    local preset=$1 junit=$PWD/build/$1/junit.xml
    rm -f "$junit"
    ctest --test-dir "build/$preset" --output-on-failure --output-junit "$junit" \
        ${labels[$preset]:+-L "${labels[$preset]}"}
    [ -s "$junit" ] && run_again "$preset" "$junit"
    [ -s "$junit" ] && count_results "$preset" "$junit" && return
    failed=$((failed + 1))
    failures+=("$preset: ctest did not run")
}

# The demo is what a newcomer sees first, so it is a test too.
run_demo() {
    copper_say "examples/demo.sh"
    if timeout 300 ./examples/demo.sh; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        failures+=("examples/demo.sh")
    fi
}

for preset in "${presets[@]}"; do
    copper_say "$preset: building"
    build "$preset" || continue
    # the clang build proves that it compiles without a warning there too
    [ "$preset" = clang ] && { passed=$((passed + 1)); continue; }
    copper_say "$preset: testing"
    run_tests "$preset"
    [ "$preset" = release ] && run_demo
done

for name in "${unsteady[@]+"${unsteady[@]}"}"; do
    echo "UNSTEADY  $name"
done
for failure in "${failures[@]+"${failures[@]}"}"; do
    echo "FAILED  $failure"
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
