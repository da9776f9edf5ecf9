# SPDX-License-Identifier: Apache-2.0
"""Runs one case of debug_cases.c in a process of its own and checks how it ended and what it said.

usage: debug_cases.py PROGRAM CASE        or: debug_cases.py --list
"""
import os
import re
import signal
import subprocess
import sys

NOTHING = r"\A\Z"
DEAD = r"\Afatal error: all coroutines are asleep - deadlock!\n\ncoroutine \d+ \["
RECEIVES = (r"coroutine \d+ \[chan receive\] \{on: \"channel 0x\w+ \(cap 0, len 0, made by main at "
            r"\S+debug_cases\.c:\d+\)\"\}:\n(  .*\n)+created by ")
# case -> (status, what standard error must say, environment, what standard output must say)
CASES = {
    "dead": (2, DEAD + r"chan receive\] \{name: \"main\", on: \"channel 0x\w+ 'gate' \(cap 0, len 0, "
             r"made by main at \S+debug_cases\.c:\d+\)\", stage: \"waiting\"\}:\n  .*\n\n"
             r"coroutine \d+ \[chan receive\] \{on: .*, stage: \"waiting\"\}:\n  .*\ncreated by main_waits in coroutine "
             r"\d+\n\t\S+debug_cases\.c:\d+\n\n\Z", {}, r"\Asaid before\n\Z"),
    "dead_thread": (2, DEAD + ".*made by main", {}, ""),
    "dead_without_coroutines": (2, r"\Afatal error: all coroutines are asleep - deadlock!\n\n"
                                r"no coroutine is left; threads of the program wait", {}, ""),
    "dead_late": (2, r"no coroutine is left; threads of the program wait", {}, ""),
    "dead_when_thread_ends": (2, DEAD, {}, ""),
    "dead_beside_service": (2, DEAD, {}, ""),
    "alive_by_thread": (0, NOTHING, {}, ""),
    "alive_by_sleep": (0, NOTHING, {}, ""),
    "alive_by_running": (0, NOTHING, {}, ""),
    "alive_by_signal": (0, NOTHING, {}, ""),
    "alive_by_pipe": (0, NOTHING, {}, ""),
    "alive_by_call": (0, NOTHING, {}, ""),
    "alive_daemons": (0, NOTHING, {}, ""),
    "alive_ping": (0, NOTHING, {}, ""),
    "dump": (0, NOTHING, {}, r"\Acopper: 2 coroutines, \d+ P, \d+ worker threads?, stack guard: \w+\n\n"
             r"coroutine \d+ \[running\] \{name: \"main\", stage: \"parse\"\}:\n  .*\n\n"
             r"coroutine \d+ \[chan receive\] \{name: \"child .\"one.\"\", on: .*, stage: \"parse\"\}:\n"
             r"  .*\ncreated by child in coroutine \d+\n\t\S+debug_cases\.c:\d+\n"
             r"\[its parent created by run_family at \S+debug_cases\.c:\d+\]\n"
             r"\n\Z"),
    "origins_repeat": (0, NOTHING, {}, ""),
}
HELD = r"  coroutine \d+ waits for a lock held by coroutine \d+"
CIRCLE = (r"copper: deadlock: coroutines wait for each other\n(" + HELD + r"\n){3}\n"
          r"(coroutine \d+ \[sync.Mutex.Lock\].*held by coroutine \d+\)\"\}:\n  .*\ncreated by \w+ in .*\n"
          r"\t.*debug_cases\.c:\d+\n\n){3}")
CASES.update({
    # found once, by the program's own look or by the runtime's
    "cycle_of_locks": (0, r"", {"COPPER_DEADLOCK": "off"}, r"\A(found 0\n)*" + CIRCLE
                       + r"found 1\n(found 0\n)*\Z"),
    "no_cycle_of_locks": (0, NOTHING, {}, r"\A(found 0\n){4}\Z"),
    "cycles_of_other_kinds": (
        0, r"", {"COPPER_DEADLOCK": "off"},
        r"(?s)\A(?=.*wait for each other\n(?=.*  coroutine \d+ waits for the end of coroutine \d+\n)"
        r"(?=.*" + HELD + r"\n))(?=.*never go on\n" + HELD + r", which has ended\n)"
        r"(?=.*never go on\n" + HELD + r", which waits for ever\n).*found 3\n\Z"),
    "no_cycle_in_churn": (0, NOTHING, {}, NOTHING),
    "cycle_is_noticed": (0, r"\A" + CIRCLE + r"\Z", {}, ""),
})
# the report is whole, and the status is not main's
CASES["misuse_as_main_ends"] = (-signal.SIGABRT, r"that is not locked\n.*\nPRINTED\n\Z", {}, "")
SPECIAL = ["report_hangs", "off_hangs", "dump_quit", "dump_quit_ignored", "bad_values"]
# clang's thread sanitizer has a thread of its own, which might wake somebody for all we know, and
# delivers a signal only when the main thread makes a call that it knows
NOT_UNDER = {"thread": {"alive_by_signal", "dump_quit", "dump_quit_ignored",
                        "dead", "dead_thread", "dead_without_coroutines", "dead_late",
                        "dead_when_thread_ends", "dead_beside_service", "report_hangs", "bad_values"}}


def run(program, case, environment, timeout=50):
    return subprocess.run([program, case], env={**os.environ, **environment}, timeout=timeout,
                          capture_output=True, text=True)


def hangs(program, mode, expected):
    """The program is dead and stays; what it said until then is complete."""
    try:
        result = run(program, "dead", {"COPPER_DEADLOCK": mode}, timeout=3)
    except subprocess.TimeoutExpired as late:
        said = (late.stderr or b"").decode()
        print(said)
        return 0 if said.count("fatal error") == expected else 1
    print(f"ended with {result.returncode}")
    return 1


def dump_quit(program, before_exec=None):
    with subprocess.Popen([program, "dump_quit"], env={**os.environ, "COPPER_DUMP": "quit"},
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          preexec_fn=before_exec) as child:
        assert child.stdout.readline() == "ready\n"
        dumps = []
        # between saying that it is ready and sleeping, and from one nap to the next, main runs
        while sum("[sleep]" in dump for dump in dumps) < 2 and len(dumps) < 50:
            child.send_signal(signal.SIGQUIT)
            dumps.append("")
            while "created by run_until_told" not in dumps[-1]:
                dumps[-1] += child.stderr.readline()
        child.send_signal(signal.SIGTERM)
        said = "".join(dumps) + child.communicate(timeout=20)[1]
        print(said, child.returncode)
        in_each = ("copper: 2 coroutines", "[chan receive]")
        good = (child.returncode == 7 and said.count("[sleep]") == 2
                and all(said.count(part) == len(dumps) for part in in_each))
        return 0 if good else 1


def dump_quit_ignored(program):
    """As a shell's script starts what it puts into the background."""
    return dump_quit(program, lambda: signal.signal(signal.SIGQUIT, signal.SIG_IGN))


def bad_values(program):
    result = run(program, "dead", {"COPPER_DEADLOCK": "maybe", "COPPER_DUMP": "term"})
    good = (result.returncode == 2 and
            "copper: COPPER_DEADLOCK=maybe is not one of exit, report, off; using exit\n"
            in result.stderr and
            "copper: COPPER_DUMP=term is not one of quit, off; using off\n" in result.stderr)
    print(result.stderr)
    return 0 if good else 1


def main():
    if sys.argv[1] == "--list":
        print(";".join([*CASES, *SPECIAL]), end="")
        return 0
    program, case = sys.argv[1:]
    with open(f"{os.environ['COPPER_BUILD']}/CMakeCache.txt", encoding="utf-8") as file:
        sanitizer = re.search(r"^COPPER_SANITIZE:\w+=(\w*)$", file.read(), re.M)
    if sanitizer and case in NOT_UNDER.get(sanitizer.group(1), ()):
        return 77
    if case == "report_hangs":
        return hangs(program, "report", 1)
    if case == "off_hangs":
        return hangs(program, "off", 0)
    if case in SPECIAL:
        return globals()[case](program)
    status, says, environment, prints = CASES[case]
    try:
        result = run(program, case, {"ASAN_OPTIONS": "detect_leaks=0", **environment})
    except subprocess.TimeoutExpired:
        print("it hangs, and nothing was said: is there a thread of ours that is counted in neither "
              "cu__sched.workers_count nor by cu_service_thread_begin()?")
        return 1
    print(result.stdout, result.stderr, f"status {result.returncode}")
    good = (result.returncode == status and re.search(says, result.stderr)
            and re.search(prints, result.stdout))
    return 0 if good else 1


sys.exit(main())
