#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What each kind of profile adds to a program's CPU time, beside Go's own; and what gperftools' CPU
profiler adds to ours. Each is measured with and without in turn, and ours and Go's in turn, so that
the machine's drift cancels in the ratios. (Heap profilers of other allocators: heap_overhead.py.)

    bench/overhead.py [--build build/release] [--rounds 3] [--ms 300]
"""
import argparse
import glob
import os
import re
import statistics
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
LIBPROFILER = "/usr/lib/x86_64-linux-gnu/libprofiler.so.0"


def rows(command, env=None):
    """name -> (without, with, ratio)"""
    out = subprocess.run(command, env={**os.environ, **(env or {})}, check=True, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    return {f[0]: tuple(map(float, f[1:])) for f in (l.split("\t") for l in out.splitlines())
            if f[0].startswith("overhead.") and len(f) == 4}


def middle(all_rows, name, column):
    values = [r[name][column] for r in all_rows if name in r]
    return statistics.median(values) if values else None


def gperftools(ours, ms, scratch):
    """ns of each work without any profile, under libprofiler at 100 Hz: in `none`, both halves are so."""
    env = {"LD_PRELOAD": LIBPROFILER, "CPUPROFILE": scratch + "/cpu", "CPUPROFILE_FREQUENCY": "100"}
    return {n: v[1] for n, v in rows([ours, str(ms), "1", "none"], env).items()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ms", type=int, default=300)
    options = parser.parse_args()
    ours = os.path.join(os.path.abspath(options.build), "bench/bench_overhead")
    with tempfile.TemporaryDirectory() as scratch:
        go = scratch + "/go"
        subprocess.run(["go", "build", "-o", go, *glob.glob(HERE + "/go/*.go")], check=True)
        mine, theirs, plain, gperf = [], [], [], []
        for _ in range(options.rounds):
            mine.append(rows([ours, str(options.ms), "3"]))
            theirs.append(rows([go, "overhead", str(options.ms)]))
            if os.path.exists(LIBPROFILER):
                plain.append({n: v[1] for n, v in rows([ours, str(options.ms), "1", "none"]).items()})
                gperf.append(gperftools(ours, options.ms, scratch))
        print("work\tprofile\tours ns\twith\tratio\tGo ns\twith\tratio")
        for name in mine[0]:
            _, work, profile = name.split(".")
            cells = [middle(side, name, c) for side in (mine, theirs) for c in (0, 1, 2)]
            print("\t".join([work, profile] + [
                "-" if v is None else f"{v:.3f}" if i % 3 == 2 else f"{v:.1f}"
                for i, v in enumerate(cells)]))
        for name in gperf[0] if gperf else ():
            a, b = (statistics.median(r[name] for r in side) for side in (plain, gperf))
            work = re.sub(r"^overhead\.|\.none$", "", name)
            print(f"{work}\tgperftools_100\t{a:.1f}\t{b:.1f}\t{b / a:.3f}\t-\t-\t-")


main()
