#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What heap profiling adds to a malloc/free pair, ns: ours over three allocators, beside the heap
profilers of jemalloc (same sampling rate) and gperftools (every allocation).

Each way of running is interleaved with its baseline, so that drift of the machine cancels; the
difference of medians is printed.

    bench/heap_overhead.py [--build build/release] [--rounds 7]
"""
import argparse
import os
import statistics
import subprocess
import tempfile

PAIRS = 20_000_000
FEW_PAIRS = 200_000  # for a profiler that takes some microseconds for each
LIBS = "/usr/lib/x86_64-linux-gnu/"
JEMALLOC, TCMALLOC = LIBS + "libjemalloc.so.2", LIBS + "libtcmalloc.so.4"


def ways(build, scratch):
    ours = f"{build}/lib/libcopper_heap.so"
    sampling = {"MALLOC_CONF": "prof:true,prof_active:true,lg_prof_sample:19"}
    return [  # name, pairs, (libraries, environment) without and with
        ("copper, glibc, 512 KiB", PAIRS, ([], {}), ([ours], {})),
        ("copper, glibc, switched off", PAIRS, ([], {}), ([ours], {"COPPER_HEAP_RATE": "0"})),
        ("copper, jemalloc, 512 KiB", PAIRS, ([JEMALLOC], {}), ([ours, JEMALLOC], {})),
        ("copper, tcmalloc, 512 KiB", PAIRS, ([TCMALLOC], {}), ([ours, TCMALLOC], {})),
        ("jemalloc prof, 512 KiB", PAIRS, ([JEMALLOC], {}), ([JEMALLOC], sampling)),
        ("gperftools heap profiler", FEW_PAIRS, ([TCMALLOC], {}),
         ([TCMALLOC], {"HEAPPROFILE": scratch + "/heap"})),
    ]


def run(build, pairs, way):
    libraries, extra = way
    env = {**os.environ, "LD_PRELOAD": ":".join(libraries), **extra}
    out = subprocess.run([f"{build}/bench/bench_heap_overhead", str(pairs)], env=env, check=True,
                         text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    return {name: float(value) for name, value, _ in (line.split("\t") for line in out.split("\n")
                                                      if line)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    build = os.path.abspath(options.build)
    with tempfile.TemporaryDirectory() as scratch:
        print(f"{'':30} {'pair':20} {'without':>9} {'with':>9} {'added ns':>9} {'ratio':>6}")
        for name, pairs, without, with_ in ways(build, scratch):
            if not all(os.path.exists(library) for library in without[0] + with_[0]):
                print(f"{name:30} not installed")
                continue
            runs = [(run(build, pairs, without), run(build, pairs, with_))
                    for _ in range(options.rounds)]
            for pair in runs[0][0]:
                a = statistics.median(r[0][pair] for r in runs)
                b = statistics.median(r[1][pair] for r in runs)
                print(f"{name:30} {pair:20} {a:9.2f} {b:9.2f} {b - a:9.2f} {b / a:6.2f}")


main()
