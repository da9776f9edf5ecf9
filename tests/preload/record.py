# SPDX-License-Identifier: Apache-2.0
"""`copper record`: a file is left whatever ends the program; the exit status stays the program's."""
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from support import (BUILD, COPPER, LIMIT, PROGRAMS, Profile, Serving, check, environment, equal, finish,
                     kill_quietly, run, wait_until)

BUSY = f"{PROGRAMS}/preload.loops"
KNOWN = f"{PROGRAMS}/preload.known"
PIPELINE = f"{BUILD}/examples/pipeline"
HEAP = f"{BUILD}/lib/libcopper_heap.so.0"


def read(path):
    with open(path, "rb") as f:
        return Profile(f.read())


def cpu_seconds(pid):
    return time.clock_gettime((~pid << 3) | 2)


def burn_until(pid, seconds):
    """Waits until the process has used so much CPU time: how long that takes is the machine's
    business."""
    wait_until(lambda: cpu_seconds(pid) > seconds)


def in_folder(test):
    with tempfile.TemporaryDirectory() as folder:
        test(folder)


def to_the_end(folder):
    result = run([COPPER, "record", "-o", f"{folder}/f", "--", BUSY, "busy", "2"])
    equal("recorded: status", result.returncode, 0)
    cpu = float(re.search(r"cpu=([0-9.]+)", result.stdout).group(1))
    p = read(f"{folder}/f")
    got = p.total() / 1e9
    print(f"a program of {cpu:.2f} s CPU: {got:.2f} s recorded")
    check("all of it", got > 0.9 * cpu - 0.05, got, cpu)
    check("and not more", got < 1.05 * cpu + 0.1, got, cpu)
    check("the table names the loop", re.search(r"%\s+burn$", result.stderr, re.M), result.stderr)
    check("says what it wrote", f"copper: {folder}/f: " in result.stderr, result.stderr)
    rows = re.findall(r"^ +([0-9.]+)s +([0-9.]+)% +([0-9.]+)s +([0-9.]+)%  (.*)$", result.stderr, re.M)
    check("ten rows at most", 1 <= len(rows) <= 10, rows)
    check("hottest first", [float(r[0]) for r in rows] == sorted((float(r[0]) for r in rows),
                                                                reverse=True), rows)
    flat = p.flat()
    check("flat is the profile's", abs(float(rows[0][0]) - flat[rows[0][4]] / 1e9) < 0.006, rows, flat)


def short_program(folder):
    result = run([COPPER, "record", "-o", f"{folder}/f", "--", BUSY, "busy", "0.5"])
    equal("a short program: status", result.returncode, 0)
    check("a short program leaves something", os.path.exists(f"{folder}/f") and
          read(f"{folder}/f").total() > 0, result.stderr)


def statuses(folder):
    result = run([COPPER, "record", "-o", f"{folder}/f", "--", "bash", "-c",
                  f"{BUSY} busy 0.1; exit 37"])
    equal("exit status is the program's", result.returncode, 37)
    result = run([COPPER, "record", "-o", f"{folder}/f", "--", "sh", "-c", "kill -SEGV $$"])
    equal("a signal is 128 + its number", result.returncode, 128 + signal.SIGSEGV)
    result = run([COPPER, "record", "-o", "/no/such/folder/f", "--", BUSY, "busy", "2"])
    equal("a file that cannot be written: status, and nothing has run", (result.returncode, result.stdout),
          (125, ""))
    equal("... and one line", result.stderr, "copper: -o /no/such/folder/f: No such file or directory\n")
    for name, why in ((folder, "Is a directory"), ("", "not the name of a file"), (f"{folder}/", "not the name")):
        result = run([COPPER, "record", "-o", name, "--", "true"])
        check(f"-o '{name}'", result.returncode == 125 and why in result.stderr, result.stderr)


def quiet(folder):
    result = run([COPPER, "record", "--quiet", "-o", f"{folder}/f", "--", BUSY, "busy", "0.7"])
    equal("--quiet", result.stderr, "")
    check("... still records", read(f"{folder}/f").total() > 0)


def patterns(folder):
    result = run([COPPER, "record", "-o", f"{folder}/%e-%h-%p-%%-%x", "--", BUSY, "busy", "0.3"])
    names = os.listdir(folder)
    host = socket.gethostname()
    check("-o's patterns", len(names) == 1 and re.fullmatch(
        rf"preload\.loops-{re.escape(host)}-\d+-%-%x", names[0]), names, result.stderr)
    os.remove(f"{folder}/{names[0]}")
    run([COPPER, "record", "--", BUSY, "busy", "0.3"], cwd=folder)
    names = os.listdir(folder)
    check("the default name", len(names) == 1 and re.fullmatch(
        r"preload\.loops\.\d+\.cpu\.pb\.gz", names[0]), names)


def child_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as f:
        return [int(p) for p in f.read().split()]


def killed(folder):
    """SIGKILL of the program, SIGTERM and Ctrl-C at the recorder: a file each time."""
    for name, send, status in (
            ("SIGKILL of the program", lambda p, c: os.kill(c, signal.SIGKILL), 128 + signal.SIGKILL),
            ("SIGTERM is passed on", lambda p, c: p.send_signal(signal.SIGTERM), 128 + signal.SIGTERM),
            ("SIGINT is passed on", lambda p, c: p.send_signal(signal.SIGINT), 128 + signal.SIGINT)):
        path = f"{folder}/{signal.Signals(status - 128).name}"
        process = subprocess.Popen([COPPER, "record", "-o", path, "--", BUSY, "busy", "60"],
                                   stderr=subprocess.PIPE, text=True, env=environment())
        try:
            wait_until(lambda p=process: child_of(p.pid))
            pid = child_of(process.pid)[0]
            burn_until(pid, 1.7)
            send(process, pid)
            stderr = process.communicate(timeout=LIMIT)[1]
            equal(f"{name}: status", process.returncode, status)
            got = read(path).total() / 1e9 if os.path.exists(path) else 0
            check(f"{name}: the file has the time before", 0.2 < got < 4, got, stderr)
            check(f"{name}: the table", "burn" in stderr, stderr)
        finally:
            process.kill()
            process.communicate()
            kill_quietly(pid)


def taken_along(folder):
    """The window under way when a program is killed is lost, and how much that is, is said."""
    found = None
    for tenths in (13, 21, 27):  # one of them is not at the end of a window
        started = time.monotonic()
        result = run([COPPER, "record", "-o", f"{folder}/f", "--", "bash", "-c",
                      f"{BUSY} busy {tenths / 10} & sleep {tenths / 10}; kill -9 $$"])
        took = time.monotonic() - started
        found = re.search(r"^copper: 1 of \d+ windows are missing, (\d\.\d\d) s: the answer ends early$",
                          result.stderr, re.M)
        if found:
            break
    check("the last window: is said", found, result.stderr)
    missing = float(found.group(1)) if found else 0
    got = read(f"{folder}/f").duration_ns / 1e9
    check("the last window: how much", 0.01 <= missing <= 1.1 and got + missing <= took, missing, got, took)


def from_terminal(folder):
    """Ctrl-C at a terminal reaches both; the recorder outlives the program."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(COPPER, [COPPER, "record", "-o", f"{folder}/tty", "--", BUSY, "busy", "60"],
                  environment())
    seen = b""
    wait_until(lambda: child_of(pid))
    burn_until(child_of(pid)[0], 1.5)
    os.write(terminal, b"\x03")
    try:
        while True:
            piece = os.read(terminal, 65536)
            if not piece:
                break
            seen += piece
    except OSError:
        pass  # the terminal's other side is closed
    _, how = os.waitpid(pid, 0)
    equal("Ctrl-C: status", os.waitstatus_to_exitcode(how), 128 + signal.SIGINT)
    check("Ctrl-C: the file", os.path.exists(f"{folder}/tty") and
          read(f"{folder}/tty").total() > 0.1e9, seen)


def attached(folder):
    name = f"rec{os.getpid()}"  # others may record here too
    shutil.copy(BUSY, f"{folder}/{name}")
    with Serving(f"{folder}/{name}", "busy", "60") as s:
        result = run([COPPER, "record", "-d", "2.0", "--hz", "250", "-o", f"{folder}/pid", str(s.pid)])
        equal("by pid: status", result.returncode, 0)
        p = read(f"{folder}/pid")
        check("by pid: two seconds", 1e9 < p.duration_ns < 2.1e9 and 0 < p.total() < 2.1e9,
              p.duration_ns, p.total(), result.stderr)
        result = run([COPPER, "record", "-d", "1", "-o", f"{folder}/name", name])
        check("by name", result.returncode == 0 and read(f"{folder}/name").total() > 0,
              result.returncode, result.stderr)
        process = subprocess.Popen([COPPER, "record", "-o", f"{folder}/int", str(s.pid)],
                                   stderr=subprocess.PIPE, text=True)
        burn_until(s.pid, cpu_seconds(s.pid) + 1.5)
        process.send_signal(signal.SIGINT)
        stderr = process.communicate(timeout=LIMIT)[1]
        equal("Ctrl-C while attached: status", process.returncode, 0)
        check("... leaves the file", read(f"{folder}/int").total() > 0.1e9, stderr)
        equal("... and the process alone", s.process.poll(), None)
        process = subprocess.Popen([COPPER, "record", "-o", f"{folder}/dead", str(s.pid)],
                                   stderr=subprocess.PIPE, text=True)
        burn_until(s.pid, cpu_seconds(s.pid) + 1.5)
        s.process.kill()
        s.process.wait()
        stderr = process.communicate(timeout=LIMIT)[1]
        equal("the process attached to dies: status", process.returncode, 0)
        check("... the file is there", read(f"{folder}/dead").total() > 0.1e9, stderr)


def limited(folder):
    """-d with a program: the file is there after that time, and the program runs on to its end."""
    started = time.monotonic()
    process = subprocess.Popen([COPPER, "record", "-d", "1", "-o", f"{folder}/f", "--", BUSY, "busy",
                                "4"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env=environment())
    try:
        check("-d: the file comes early", wait_until(lambda: os.path.exists(f"{folder}/f")))
        equal("-d: the program still runs", process.poll(), None)
        stdout, _ = process.communicate(timeout=LIMIT)
        check("-d: to its end", "busy rounds=" in stdout and time.monotonic() - started > 3.5, stdout)
    finally:
        process.kill()
        process.communicate()
    p = read(f"{folder}/f")
    check("-d: one second", 0.5e9 < p.duration_ns < 1.1e9 and 0 < p.total() < 1.1e9, p.duration_ns)


def through_exec(folder):
    result = run([COPPER, "record", "-o", f"{folder}/f", "--", "bash", "-c",
                  f"ls / >/dev/null; exec {BUSY} busy 1.5"])
    equal("through exec: status", result.returncode, 0)
    names = read(f"{folder}/f").flat()
    check("through exec: the program it became", names.get("burn", 0) > 0.5 * sum(names.values()) > 0, names)


def nothing_lost(folder):
    """A recording that cannot be written where it was wanted is kept elsewhere."""
    temporary = f"{folder}/temporary"
    os.mkdir(temporary)
    for event, words in (("cpu", [BUSY, "busy", "0.3"]), ("trace", [PIPELINE, "--seconds", "0.5"])):
        result = run([COPPER, "record", "-e", event, "-o", "/dev/full", "--", *words],
                     env=environment(TMPDIR=temporary))
        equal(f"{event}: the program's status", result.returncode, 0)
        check(f"{event}: why, and where it is", "copper: /dev/full: No space left on device\n" in result.stderr
              and f"copper: the recording is in {temporary}/full instead\n" in result.stderr, result.stderr)
        check(f"{event}: is there", os.path.getsize(f"{temporary}/full") > 100)
        os.remove(f"{temporary}/full")


def total_of(heap):
    return Profile(heap).total("alloc_space", "allocate_pieces")


def totals(folder):
    """Waits longer than a window and whatever is counted since the start: all of it, and once."""
    result = run([COPPER, "record", "-e", "block", "-o", f"{folder}/block", "--", KNOWN, "2.5"])
    waited = float(re.search(r"waited=([0-9.]+)", result.stdout).group(1))
    got = read(f"{folder}/block").total("delay", "wait_once") / 1e9
    check("block: long waits", abs(got - waited) < 0.02 * waited, got, waited)
    result = run([COPPER, "record", "-e", "heap", "-o", f"{folder}/heap", "--", KNOWN, "0.3"],
                 env=environment(LD_PRELOAD=HEAP, COPPER_HEAP_RATE="1"))
    equal("heap: each allocation once, in a program that ends soon",
          read(f"{folder}/heap").total("alloc_space", "allocate_pieces"), 4 << 20)
    with Serving(KNOWN, "60", env=environment(LD_PRELOAD=HEAP, COPPER_HEAP_RATE="1")) as program:
        check("attached: allocated before", wait_until(lambda: total_of(program.fetch("heap")) == 4 << 20))
        command = [COPPER, "record", "-e", "heap", "-o", f"{folder}/later"]
        limited = run([*command, "-d", "0.5", str(program.pid)])
        equal("attached: status", limited.returncode, 0)
        equal("attached: what was before is not in it",
              read(f"{folder}/later").total("alloc_space", "allocate_pieces"), 0)
        os.remove(f"{folder}/later")
        stopped = subprocess.Popen([*command, str(program.pid)], stderr=subprocess.PIPE, env=environment())
        time.sleep(3)
        stopped.send_signal(signal.SIGINT)
        stopped.communicate(timeout=LIMIT)
        equal("Ctrl-C: the same", (stopped.returncode, read(f"{folder}/later").total("alloc_space", "allocate_pieces")),
              (0, 0))


def what_is_missing(folder):
    """What this program has nothing of is said, not shown as nothing."""
    result = run([COPPER, "record", "-e", "heap", "-o", f"{folder}/heap", "--", KNOWN, "0.3"])
    check("no wrapper", "copper: allocations are not profiled: link copper::heap" in result.stderr,
          result.stderr)
    for event in ("block", "mutex", "schedule", "hog"):
        result = run([COPPER, "record", "-e", event, "-o", f"{folder}/x", "--", BUSY, "busy", "0.3"])
        check(f"{event} without coroutines", "there is no copper runtime in this program" in result.stderr,
              result.stderr)


def main():
    for test in (to_the_end, short_program, statuses, quiet, patterns, killed, taken_along, from_terminal, attached,
                 limited, through_exec, nothing_lost, totals,
                 what_is_missing):
        in_folder(test)
    finish()


main()
