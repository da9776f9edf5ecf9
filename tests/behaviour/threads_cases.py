# SPDX-License-Identifier: Apache-2.0
"""Runs threads_cases.c where no more threads are to be had: by COPPER_MAXTHREADS, or because
pthread_create fails or takes long (SHIM makes it). All must go on in the end, and the runtime must
have said who kept the thread, or why there was none.

usage: threads_cases.py PROGRAM CASE [SHIM]      or: threads_cases.py --list
"""
import os
import re
import subprocess
import sys

WHO = r'\Acopper: coroutine \d+ "{}" \(spawned by keep at \S+threads_cases\.c:\d+\) {} while ' \
      r"others wait, and there may be no more than {} threads; see COPPER_MAXTHREADS\n\Z"
NO_THREAD = r"\Acopper: cannot start another thread: Resource temporarily unavailable; trying on\n\Z"
# case -> (arguments, COPPER_MAXTHREADS, FAIL, what standard error must say). The first threads
# are the worker of the one P, the one that watches it, and the one that looks for deadlocks.
CASES = {
    "cap_hog": (["compute"], "1", None, WHO.format("spinner", "computes on", 1)),
    "cap_hogs": (["compute", "3"], "3", None, WHO.format("spinner", "computes on", 3)),
    "cap_read": (["block", "2"], "2", None, WHO.format("reader", "blocks its thread", 2)),
    "cap_blocking": (["announce", "2"], "2", None,
                     WHO.format("reader", "computes on or blocks its thread", 2)),
    "clone_fails_hog": (["compute"], "", "pthread_create:4+", NO_THREAD),
    "clone_fails_read": (["block"], "", "pthread_create:4+", NO_THREAD),
    "clone_fails_blocking": (["announce"], "", "pthread_create:4+", NO_THREAD),
    "clone_fails_once": (["retry"], "", "pthread_create:4", NO_THREAD),
    "clone_is_late": (["late"], "", "pthread_create:4~900", r"\A\Z"),
}


def main():
    if sys.argv[1] == "--list":
        print(";".join(CASES), end="")
        return 0
    program, case = sys.argv[1:3]
    arguments, most, fail, says = CASES[case]
    environment = {**os.environ, "COPPER_MAXPROCS": "1"}
    if most:
        environment["COPPER_MAXTHREADS"] = most
    if fail:
        if not "".join(sys.argv[3:]): # a sanitizer starts threads by itself
            return 77
        environment |= {"LD_PRELOAD": sys.argv[3], "FAIL": fail, "FAIL_IN": "libcopper_runtime"}
    result = subprocess.run([program, *arguments], env=environment, timeout=100,
                            capture_output=True, text=True)
    print(result.stdout, result.stderr, f"status {result.returncode}")
    good = (result.returncode == 0 and result.stdout == "all went on\n"
            and re.search(says, result.stderr))
    return 0 if good else 1


sys.exit(main())
