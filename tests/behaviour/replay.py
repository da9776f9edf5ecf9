# SPDX-License-Identifier: Apache-2.0
"""COPPER_SCHED_SEED: the same seed does the same twice, seeds differ, and sleeping takes no time."""
import itertools
import os
import subprocess
import sys
import time

PROGRAM = sys.argv[1]
SEEDS = 100


# a program of clang's thread sanitizer sleeps for a second when it ends
FIXED = {**os.environ, "TSAN_OPTIONS": "atexit_sleep_ms=0"}


def run(seed, **environment):
    result = subprocess.run([PROGRAM], env={**FIXED, "COPPER_SCHED_SEED": str(seed), **environment},
                            capture_output=True, text=True, timeout=60)
    assert result.returncode == 0 and result.stderr == "", (seed, result.returncode, result.stderr)
    return result.stdout


begin = time.monotonic()
first = [run(seed) for seed in range(SEEDS)]
elapsed = time.monotonic() - begin
again = [run(seed, COPPER_MAXPROCS="2") for seed in range(SEEDS)]
print(f"{len(set(first))} different outcomes of {SEEDS} seeds; {elapsed:.1f} s")
changed = [seed for seed in range(SEEDS) if first[seed] != again[seed]]
for seed in changed:
    pairs = enumerate(itertools.zip_longest(first[seed].splitlines(), again[seed].splitlines()), 1)
    number, lines = next((number, pair) for number, pair in pairs if pair[0] != pair[1])
    print(f"seed {seed} changed from one run to the next, event {number}: {lines[0]} | {lines[1]}")
virtual = sum(int(output.splitlines()[-1].split()[0]) for output in first) / 1e9
print(f"slept for {virtual:.0f} s")
assert not changed, "is a P taken away, or a coroutine held still, while cu__replay_is_on()?"
assert len(set(first)) >= SEEDS // 2
assert virtual > SEEDS and elapsed < virtual
bad = subprocess.run([PROGRAM], env={**FIXED, "COPPER_SCHED_SEED": "x", "COPPER_MAXPROCS": "1"},
                     capture_output=True, text=True, timeout=100)
assert bad.returncode == 0, bad
assert bad.stderr == "copper: COPPER_SCHED_SEED=x is not a number; nothing is replayed\n", bad.stderr
