# SPDX-License-Identifier: Apache-2.0
"""Runs one case of io_cases.c in a process of its own and checks how it ended and what it said.

usage: io_cases.py PROGRAM CASE        or: io_cases.py --list
"""
import os
import re
import subprocess
import sys

NOTHING = r"\A\Z"
# case -> (what standard error must say, what standard output must say)
CASES = {
    "fork_beside_the_poller": (NOTHING, ""),
    "fork_beside_signals": (NOTHING, ""),
    # standard input, output, error, and none of ours
    "exec_closes": (NOTHING, r"\A(?!.*(eventpoll|eventfd|socket:))(?!(.*pipe:.*\n){4})"),
    "signal_is_no_deadlock": (NOTHING, ""),
    "io_is_no_deadlock": (NOTHING, ""),
    "no_descriptors": (NOTHING, ""),
    "watch_refused": (NOTHING, ""),
    "no_pwait2": (NOTHING, ""),
    "no_nowait": (NOTHING, ""),
    "poller_closed": (r"\Acopper: the poller's descriptor \d+ was closed by somebody else \(errno \d+\)"
                      r": coroutines can no longer wait for I/O; [^\n]*\n\Z", ""),
    "thousands": (NOTHING, r"answered 3000 threads \d{1,2}\n"),
}
# What a sanitizer cannot run: it has threads or a lock of its own in a forked child, closed under it
# what it needs, or delivers no signal to a thread in a futex.
NOT_UNDER = {
    "address": {"fork_beside_the_poller", "fork_beside_signals", "poller_closed"},
    "thread": {"fork_beside_the_poller", "fork_beside_signals", "signal_is_no_deadlock",
               "io_is_no_deadlock", "poller_closed"},
}


def main():
    if sys.argv[1] == "--list":
        print(";".join(CASES), end="")
        return 0
    program, case = sys.argv[1:]
    with open(f"{os.environ['COPPER_BUILD']}/CMakeCache.txt", encoding="utf-8") as file:
        sanitizer = re.search(r"^COPPER_SANITIZE:\w+=(\w*)$", file.read(), re.M)
    if sanitizer and case in NOT_UNDER.get(sanitizer.group(1), ()):
        return 77
    says, prints = CASES[case]
    for procs in ("1", "2"):
        result = subprocess.run([program, case], env={**os.environ, "COPPER_MAXPROCS": procs},
                                timeout=100, capture_output=True, text=True, close_fds=True,
                                stdin=subprocess.DEVNULL)
        print(result.stdout, result.stderr, f"P {procs} status {result.returncode}")
        if result.returncode == 77:
            return 77
        if (result.returncode != 0 or not re.search(says, result.stderr)
                or not re.search(prints, result.stdout, re.S)):
            return 1
    return 0


sys.exit(main())
