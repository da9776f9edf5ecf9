# SPDX-License-Identifier: Apache-2.0
"""`copper record -e trace`: a trace that go tool trace takes, however the recording ends."""
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

from support import (COPPER, LIMIT, PROGRAMS, check, environment, equal, finish, kill_quietly, run)

WORK = [f"{PROGRAMS}/continuous_program", "work"]
HEADER = b"go 1.22 trace\0\0\0"
CUT = "copper: its end is missing, up to the last second: the answer ends early\n"
GO = shutil.which("go")


def judge(name, path, stderr):
    """The bytes, and what the tool says if it is new enough for the format."""
    check(f"{name}: it is there", os.path.exists(path), stderr)
    if not os.path.exists(path):
        return
    with open(path, "rb") as f:
        data = f.read()
    check(f"{name}: is a trace", data.startswith(HEADER) and len(data) > 100, data[:20], len(data))
    check(f"{name}: says so", re.search(rf"^copper: {re.escape(path)}: \S+ of trace in \d+\.\d\d s; see: "
                                        rf"go tool trace {re.escape(path)}$", stderr, re.M), stderr)
    version = subprocess.run([GO, "version"], capture_output=True, text=True).stdout if GO else ""
    found = re.search(r"go(\d+)\.(\d+)", version)
    if not found or (int(found.group(1)), int(found.group(2))) < (1, 22):
        print(f"{name}: no tool that reads the format")
        return
    tool = subprocess.run([GO, "tool", "trace", "-d=parsed", path], capture_output=True, text=True,
                          timeout=120)
    check(f"{name}: go tool trace takes it", tool.returncode == 0 and "StateTransition" in tool.stdout,
          tool.stderr[-500:])


def child_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as f:
        return [int(p) for p in f.read().split()]


def record(*arguments, **options):
    return subprocess.Popen([COPPER, "record", "-e", "trace", *arguments], stderr=subprocess.PIPE,
                            text=True, env=environment(), **options)


def patiently(attempt):
    """A busy machine may need more time before there is something to keep."""
    for seconds in (1.5, 5, 15):
        if attempt(seconds):
            return


def to_the_end(folder):
    def attempt(seconds):
        process = record("-o", f"{folder}/end", "--", *WORK, stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(seconds)
        _, attempt.stderr = process.communicate(timeout=LIMIT)
        equal("to the end: status", process.returncode, 0)
        return os.path.exists(f"{folder}/end")
    patiently(attempt)
    judge("to the end", f"{folder}/end", attempt.stderr)
    check("to the end: nothing is missing", CUT not in attempt.stderr, attempt.stderr)


def killed(folder):
    """What came before is kept: parts of a trace are whole by themselves, and about a second long."""
    def attempt(seconds):
        process = record("-o", f"{folder}/killed", "--", *WORK, stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE)
        process.stdout.readline()
        pid = child_of(process.pid)[0]
        time.sleep(seconds + 1.5)
        kill_quietly(pid)
        _, attempt.stderr = process.communicate(timeout=LIMIT)
        equal("killed: status", process.returncode, 128 + signal.SIGKILL)
        # only the header came: that is no trace yet
        return os.path.exists(f"{folder}/killed") and os.path.getsize(f"{folder}/killed") > 100
    patiently(attempt)
    judge("killed", f"{folder}/killed", attempt.stderr)
    check("killed: its end is missing, and that is said", CUT in attempt.stderr, attempt.stderr)


def attached(folder):
    served = subprocess.Popen(WORK, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              env=dict(environment(), COPPER_HTTP="127.0.0.1:0"))

    def stop(seconds):
        process = record("-o", f"{folder}/stopped", str(served.pid))
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        stop.stderr = process.communicate(timeout=LIMIT)[1]
        return process.returncode == 0 and os.path.exists(f"{folder}/stopped")
    try:
        check("attached: serves", b"127.0.0.1:" in served.stdout.readline())
        result = run([COPPER, "record", "-e", "trace", "-d", "0.5", "-o", f"{folder}/limited",
                      str(served.pid)])
        equal("-d: status", result.returncode, 0)
        judge("-d", f"{folder}/limited", result.stderr)
        patiently(stop)
        judge("Ctrl-C", f"{folder}/stopped", stop.stderr)
        equal("... and the process alone", served.poll(), None)
    finally:
        served.communicate(timeout=LIMIT)


def refused(folder):
    result = run([COPPER, "record", "-e", "trace", "-o", f"{folder}/none", "--",
                  f"{PROGRAMS}/preload.loops", "busy", "0.7"])
    equal("no runtime: status", result.returncode, 0)
    check("no runtime: why", "there is no copper runtime in this program" in result.stderr,
          result.stderr)
    check("no runtime: no file", not os.path.exists(f"{folder}/none"))
    result = run([COPPER, "record", "-e", "trce", "--", "true"])
    check("the list of events", re.search(r"these are: cpu, wall, .*, trace$", result.stderr, re.M),
          result.stderr)


def main():
    for test in (to_the_end, killed, attached, refused):
        with tempfile.TemporaryDirectory() as folder:
            test(folder)
    finish()


main()
