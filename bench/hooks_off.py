#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What hooks cost while no tool is attached: counts, with callgrind, how often each event's test ran
and how many instructions went into it.

The tests are found in the library's code: what reads the word of events, and the branch after it. A
test that took more than that (a load, a mask, a jump around) would show as more than 2 each.

    bench/hooks_off.py [--build build/release] [PROGRAM [COUNT]]      pingpong 20000, for instance
"""
import argparse
import collections
import os
import re
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))


def event_names():
    """In the order of their bits; the last is no event. Several bits may be tested at once."""
    with open(os.path.join(HERE, "../runtime/events.h"), encoding="utf-8") as file:
        return re.findall(r"^    X\((\w+),", file.read(), re.M) + ["WAITED", "ACCOUNT"]


def find_tests(library):
    """{address: (event, [addresses of its instructions])} of every look at the word of events."""
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", library], check=True,
                          capture_output=True, text=True).stdout
    code = re.findall(r"^ +([0-9a-f]+):\t(.*)$", text, re.M)
    names, tests = event_names(), {}
    for i, (address, instruction) in enumerate(code):
        if "<cu__events_on>" not in instruction or instruction.startswith("xchg"):
            continue  # who attaches exchanges it
        at = int(address, 16)
        test = re.match(r"test[lb] +\$0x([0-9a-f]+),", instruction)
        if not test or not re.match(r"j\w+ ", code[i + 1][1]):
            raise SystemExit(f"hooks_off.py: not a test and a branch, at {address}: {instruction}")
        name = "|".join(n for i, n in enumerate(names) if int(test[1], 16) >> i & 1)
        tests[at] = (name, [at, int(code[i + 1][0], 16)])
    return tests


def run(program, count, library):
    """{address: times executed} in the library, and all instructions of the program."""
    with tempfile.TemporaryDirectory() as work:
        out = os.path.join(work, "out")
        subprocess.run(["valgrind", "--tool=callgrind", "--dump-instr=yes", "--compress-pos=no",
                        "--compress-strings=no", f"--callgrind-out-file={out}", program, count],
                       check=True, capture_output=True, env={**os.environ, "COPPER_MAXPROCS": "1"})
        executed, total, is_ours, is_call = collections.Counter(), 0, False, False
        with open(out, encoding="utf-8") as file:
            for line in file:
                if line.startswith("ob="):
                    is_ours = os.path.realpath(line[3:].strip()) == os.path.realpath(library)
                elif line.startswith("calls="):
                    is_call = True  # the next line is what the callee took
                elif line.startswith("0x"):
                    address, _, cost = line.split()[:3]
                    if not is_call:
                        total += int(cost)
                        if is_ours:
                            executed[int(address, 16)] += int(cost)
                    is_call = False
        return executed, total


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default=os.path.join(HERE, "../build/release"))
    parser.add_argument("program", nargs="?", default="pingpong")
    parser.add_argument("count", nargs="?", default="20000")
    args = parser.parse_args()
    library = os.path.join(args.build, "lib/libcopper_runtime.so")
    executed, total = run(os.path.join(args.build, f"bench/bench_{args.program}"), args.count,
                          library)
    times, instructions = collections.Counter(), collections.Counter()
    for at, (name, addresses) in find_tests(library).items():
        times[name] += executed[at]
        instructions[name] += sum(executed[address] for address in addresses)
    print("event\ttests\tinstructions each")
    for name, count in times.most_common():
        if count:
            print(f"{name}\t{count}\t{instructions[name] / count:.2f}")
    share = 100 * sum(instructions.values()) / total
    print(f"all\t{sum(times.values())}\t{sum(instructions.values()) / sum(times.values()):.2f}"
          f"\t{share:.1f} % of {total} instructions")


main()
