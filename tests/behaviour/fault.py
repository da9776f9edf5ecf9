# SPDX-License-Identifier: Apache-2.0
"""Whatever the runtime asks the system for fails, at each call once, alone and with all after it:
the program gets an announced error, or goes on without, or ends with a clear report. It never
crashes, hangs, or loses a coroutine.

usage: fault.py SHIM PROGRAM CALL
"""
import os
import re
import signal
import subprocess
import sys
import tempfile

# How many of the calls are tried at most, so that it stays short.
MOST = 60
# Interrupted for ever they would never see an event: they fail alone only.
WAITS = ("epoll_wait", "futex_wait")
# What a call may not do without: then the program ends by abort(), and says this.
REPORTS = r"copper: .*(cannot|could not|failed|out of memory|no memory)"


def attempt(shim, program, fail):
    """(reached, what is wrong or None, errors that the program counted)"""
    with tempfile.NamedTemporaryFile("r", encoding="utf-8") as report:
        env = {**os.environ, "LD_PRELOAD": shim, "FAIL": fail, "FAIL_IN": "libcopper_runtime",
               "FAIL_REPORT": report.name, "COPPER_MAXPROCS": "2"}
        try:
            done = subprocess.run([program], env=env, timeout=30, capture_output=True, text=True)
        except subprocess.TimeoutExpired:
            return True, f"{fail}: hangs", 0
        was_reached = report.read() != ""
    said = f"{fail}: status {done.returncode}\n{done.stdout}{done.stderr}"
    found = re.fullmatch(r"(\d+) errors\n", done.stdout)
    if done.returncode == 0 and found:
        return was_reached, None, int(found.group(1))
    if done.returncode == -signal.SIGABRT and re.search(REPORTS, done.stderr):
        return was_reached, None, 1
    return was_reached, said, 0


def main():
    shim, program, call = sys.argv[1:]
    wrong, tried, noticed = [], 0, 0
    for after in ("",) if call in WAITS else ("", "+"):
        for n in range(1, MOST + 1):
            reached, error, errors = attempt(shim, program, f"{call}:{n}{after}")
            if error:
                wrong.append(error)
            if not reached:
                if errors:
                    wrong.append(f"{call}:{n}{after}: {errors} errors, though nothing failed")
                break
            tried += 1
            noticed += errors > 0
    print(f"{call}: {tried} failures, {noticed} of them noticed by the program")
    print("\n".join(wrong[:10]))
    return 1 if wrong or tried == 0 else 0


sys.exit(main())
