#!/usr/bin/env bash
# Is the fuzzer any good? It gets a build with a bug planted on purpose (plant.py) and must find it
# within so many seconds.
#
#   tests/fuzz/planted.sh fuzz_pprof_read 90
set -u
. "$(dirname "$0")/common.sh"

start=$SECONDS
if fuzz "${target}_planted"; then
    tail -n 5 "$work/log"
    echo "FAIL: ${target}_planted ran $seconds s and the planted bug was not found"
    exit 1
fi
if ! ls "$work"/found-crash-* >/dev/null 2>&1; then
    tail -n 30 "$work/log"
    echo "FAIL: ${target}_planted ended without a finding"
    exit 1
fi
grep -m 3 -E 'ERROR: (AddressSanitizer|libFuzzer)|runtime error|does not hold' "$work/log"
echo "the planted bug was found in $((SECONDS - start)) s"
