# SPDX-License-Identifier: Apache-2.0
"""Runs one case of runtime_cases.c in a process of its own and checks how it ended and what it said.

usage: runtime_cases.py PROGRAM CASE        or: runtime_cases.py --list
"""
import os
import re
import signal
import subprocess
import sys

SEGV, ABRT = -signal.SIGSEGV, -signal.SIGABRT
WHO = r'coroutine \d+( "\w+")? \((started by cu_run|spawned by \w+ at \S+runtime_cases\.c:\d+)\)'
# Under a sanitizer a fault is reported by it, and ends with its status.
DEADLY = {SEGV, 1, 66}
# case -> (statuses, what standard error must say, environment, what standard output must say)
NOTHING = r"\A\Z"
CASES = {
    "overflow": (DEADLY, r'copper: stack overflow: coroutine \d+ "deep" \(spawned by run_overflow at '
                 r"\S+runtime_cases\.c:\d+\) needs more than its 256 KiB of stack", {}, ""),
    "overflow_printer": (DEADLY, r"needs more than its 256 KiB.*\nPRINTED\n", {}, ""),
    "overflow_mprotect": (DEADLY, r"needs more than its 256 KiB", {}, ""),
    "overflow_canary": ({ABRT}, r"needs more than its 256 KiB", {}, ""),
    "guard_madvise": (DEADLY, r"needs more than its 256 KiB", {"COPPER_STACK_GUARD": "madvise"}, ""),
    "guard_mprotect": (DEADLY, r"needs more than its 256 KiB", {"COPPER_STACK_GUARD": "mprotect"}, ""),
    "guard_canary": ({ABRT}, r"needs more than its 256 KiB", {"COPPER_STACK_GUARD": "canary"}, ""),
    "guard_leaves_mappings": ({0}, NOTHING, {"COPPER_STACK_GUARD": "mprotect"}, r"\Aguard canary\n"),
    "guard_unknown": ({0}, r"\Acopper: COPPER_STACK_GUARD=fence is not one of madvise, mprotect, "
                      r"canary, auto; using auto\n\Z", {"COPPER_STACK_GUARD": "fence"}, ""),
    "null_dereference": (DEADLY, r"\A(?!copper:)", {}, ""),
    "chained_handler": ({42}, NOTHING, {}, ""),
    "close_twice": ({ABRT}, r"copper: close of closed channel 'jobs' \(cap 3, made at "
                    r"\S+runtime_cases\.c:\d+\)\ncopper: " + WHO + r", running\n", {}, ""),
    "close_null": ({ABRT}, r"copper: close of a NULL channel\ncopper: plain thread \d+\n", {}, ""),
    "close_timer": ({ABRT}, r"copper: close of the channel of a timer, made at "
                    r"\S+runtime_cases\.c:\d+: it is for receiving\ncopper: plain thread \d+\n", {}, ""),
    "send_to_ticker": ({ABRT}, r"copper: send to the channel of a ticker, made at "
                       r"\S+runtime_cases\.c:\d+: it is for receiving\ncopper: " + WHO, {}, ""),
    "ticker_of_zero": ({ABRT}, r"copper: cu_ticker_new with a period of 0 ns, which is not positive\n",
                       {}, ""),
    "wg_negative": ({ABRT}, r"copper: negative counter in the wait group at 0x\w+\n", {}, ""),
    "unlock_unlocked": ({ABRT}, r"copper: unlock of a mutex at 0x\w+ that is not locked\n", {}, ""),
    "runlock_unlocked": ({ABRT}, r"copper: unlock of a rwmutex at 0x\w+ that no reader holds\n", {}, ""),
    "wunlock_rlocked": ({ABRT}, r"copper: unlock of a rwmutex at 0x\w+ that no writer holds\n", {}, ""),
    "sem_over_limit": ({ABRT}, r"copper: release of 2 units to the semaphore at 0x\w+, which has 1 of 2\n",
                       {}, ""),
    "once_in_itself": ({ABRT}, r"copper: cu_once_do called from its own function, for the once at 0x", {},
                       ""),
    "pool_frees_itself": ({ABRT}, r"copper: cu_pool_free called from a job of the pool itself", {}, ""),
    "limit_of_running": ({ABRT}, r"copper: limit of the error group at 0x\w+ changed while 1 of", {}, ""),
    "exit_in_main": ({ABRT}, r"copper: cu_exit called in the main coroutine", {}, ""),
    "exit_in_thread": ({ABRT}, r"copper: cu_exit called on a plain thread", {}, ""),
    "last_reference": ({0}, r"copper: the last reference to channel \(cap 0, made at \S+\) was "
                       r"dropped while 2 waited on it; they got -EPIPE\n", {}, ""),
    "exit_status": ({7}, NOTHING, {}, ""),
    "run_in_run": ({0}, NOTHING, {}, ""),
    "fork_in_thread": ({0}, NOTHING, {}, ""),
    "fork_in_coroutine": ({0}, NOTHING, {}, ""),
    "print_procs": ({0}, NOTHING, {"COPPER_MAXPROCS": "3"}, r"\Aprocs 3\n\Z"),
    "affinity": ({0}, NOTHING, {}, r"\Aprocs 1\n\Z"),
    "too_many": ({0}, NOTHING, {"COPPER_MAXCOROUTINES": "500"}, ""),
    "no_address_space": ({0}, NOTHING, {"COPPER_MAXPROCS": "2"}, ""),
    "signal_masks": ({0}, NOTHING, {}, ""),
    "unwind_ends": ({0}, NOTHING, {}, r"frames \d+\n"),
    "here_in_handler": ({0}, NOTHING, {}, r"samples \d+, bad 0\n"),
    "procs_in_replay": ({0}, NOTHING, {"COPPER_SCHED_SEED": "3"}, ""),
    "parked_100k": ({0}, NOTHING, {}, r"parked 100000"),
    "plain_threads": ({0}, NOTHING, {}, ""),
}
# values of COPPER_MAXPROCS that are refused
BAD_PROCS = ["x", "0", "-1", "257", "2x", ""]
# What a sanitizer cannot run: it needs the address space, makes those system calls itself, (thread)
# starts no threads in a forked child, or (address) leaves its allocator locked there for ever when
# another thread allocated at the moment of the fork.
NOT_UNDER = {
    "address": {"no_address_space", "overflow_canary", "overflow_mprotect", "guard_canary",
                "guard_leaves_mappings", "fork_in_thread", "fork_in_coroutine"},
    "thread": {"no_address_space", "overflow_canary", "overflow_mprotect", "guard_canary",
               "parked_100k", "guard_leaves_mappings", "fork_in_thread", "fork_in_coroutine"},
}


def run(program, case, environment):
    return subprocess.run([program, case], env={**os.environ, **environment}, timeout=100,
                          capture_output=True, text=True)


def bad_procs(program):
    for value in BAD_PROCS:
        result = run(program, "print_procs", {"COPPER_MAXPROCS": value})
        procs = re.match(r"procs (\d+)\n", result.stdout).group(1)
        expected = f"copper: COPPER_MAXPROCS={value} is not a number from 1 to 256; using {procs}\n"
        if result.stderr != expected or result.returncode != 0:
            print(f"COPPER_MAXPROCS={value}: {result.returncode}\n{result.stderr}{expected}")
            return 1
    return 0


def main():
    if sys.argv[1] == "--list":
        print(";".join([*CASES, "bad_procs"]), end="")
        return 0
    program, case = sys.argv[1:]
    if case == "bad_procs":
        return bad_procs(program)
    with open(f"{os.environ['COPPER_BUILD']}/CMakeCache.txt", encoding="utf-8") as file:
        sanitizer = re.search(r"^COPPER_SANITIZE:\w+=(\w*)$", file.read(), re.M)
    if sanitizer and case in NOT_UNDER.get(sanitizer.group(1), ()):
        return 77
    statuses, says, environment, prints = CASES[case]
    result = run(program, case, environment)
    print(result.stdout, result.stderr, f"status {result.returncode}")
    good = (result.returncode in statuses and re.search(says, result.stderr)
            and re.search(prints, result.stdout))
    return 0 if good else 1


sys.exit(main())
