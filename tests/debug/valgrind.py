# SPDX-License-Identifier: Apache-2.0
"""memcheck has nothing to say of a coroutine program, and finds the mistake of one that has one.
Skipped where valgrind is not there."""
import os
import shutil
import subprocess
import sys

PROGRAM = f"{os.environ['COPPER_BUILD']}/tests/debug_checked"


def run(*arguments, **environment):
    return subprocess.run(["valgrind", "--error-exitcode=9", PROGRAM, *arguments], timeout=200,
                          capture_output=True, text=True,
                          env={**os.environ, "COPPER_MAXPROCS": "2", **environment})


def main():
    if not shutil.which("valgrind"):
        return 77
    for guard in "auto", "mprotect", "canary":
        good = run(COPPER_STACK_GUARD=guard)
        print(good.stderr)
        if good.returncode != 0 or "ERROR SUMMARY: 0 errors" not in good.stderr:
            print(f"{guard}: status {good.returncode}")
            return 1
        if "switching stacks" in good.stderr or "unhandled" in good.stderr:
            return 1
    bad = run("mistake")
    print(bad.stderr)
    found = bad.returncode == 9 and "uninitialised value" in bad.stderr and "decide_by_nothing" in bad.stderr
    return 0 if found else 1


sys.exit(main())
