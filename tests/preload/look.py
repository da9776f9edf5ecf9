# SPDX-License-Identifier: Apache-2.0
"""`copper top` and `copper dump`: what a running process does, read as a person would."""
import fcntl
import os
import pty
import re
import struct
import subprocess
import tempfile
import termios

from support import BUILD, COPPER, PROGRAMS, Profile, Serving, check, equal, fetch, finish, run

BUSY = f"{PROGRAMS}/preload.loops"


def top_of_a_busy_program():
    with Serving(BUSY, "busy", "60") as program:
        result = run([COPPER, "top", "-n", "2", "-d", "0.5", str(program.pid)])
        equal("top: status", result.returncode, 0)
        tables = result.stdout.count("last 0.5 s")
        equal("top: as many tables as asked for", tables, 2)
        check("top: the loop is the hottest", re.search(r"flat%.*\n +[0-9.]+s +[0-9.]+% .* burn\n",
                                                      result.stdout), result.stdout)
        threads = re.findall(r"^ +([0-9.]+)% +(\d+)  (.+)$", result.stdout, re.M)
        check("top: its thread is busy", (str(program.pid), "preload.loops") in
              [t[1:] for t in threads] and float(threads[0][0]) > 5, threads)
        check("top: what the threads do", re.search(r"^ +1  running", result.stdout, re.M),
              result.stdout)


def on_a_terminal(command, rows, columns, **environment):
    """What a command prints on a terminal of that size."""
    main, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal,
                               env={**os.environ, **environment})
    os.close(terminal)
    printed = b""
    try:
        while more := os.read(main, 65536):
            printed += more
    except OSError:  # its end, to a terminal's reader
        pass
    os.close(main)
    equal("top on a terminal: status", process.wait(), 0)
    return printed.decode()


def top_fits_the_terminal():
    with Serving(f"{BUILD}/examples/pipeline", "--stay", options=["--http", "127.0.0.1:0"]) as program:
        top = [COPPER, "top", "-n", "2", "-d", "0.3", str(program.pid)]
        for rows in (12, 24):
            tables = on_a_terminal(top, rows, 60, TERM="xterm").split("\033[H\033[J")[1:]
            equal("top: each table clears the one before", len(tables), 2)
            for table in tables:
                check(f"top: fits {rows} lines", table.count("\n") < rows and " in all" in table, table)
                check("top: long lines are cut, and wrapped again after it",
                      table.startswith("\033[?7l") and table.endswith("\033[?7h"), table)
        for environment in ({"TERM": "dumb"}, {"TERM": ""}):
            plain = on_a_terminal(top, 12, 60, **environment)
            check("top: no control sequences where they mean nothing",
                  "\033" not in plain and plain.count("the last 0.3 s") == 2, plain)


def top_counts_coroutines():
    process = f"{BUILD}/examples/pipeline"
    with Serving(process, "--stay", options=["--http", "127.0.0.1:0"]) as program:
        result = run([COPPER, "top", "-n", "1", "-d", "0.3", str(program.pid)])
        groups = re.findall(r"^ +(\d+)  (chan (?:send|receive)|sleep|runnable|running|select) .*, by (\w+) ",
                            result.stdout, re.M)
        check("top: coroutines by state and spawn site", sum(int(g[0]) for g in groups) > 2,
              result.stdout)


def dump_of_blocked_threads():
    with Serving(BUSY, "blocked", "60") as program:
        result = run([COPPER, "dump", str(program.pid)])
        equal("dump: status", result.returncode, 0)
        blocks = [b for b in result.stdout.split("\n\n") if b.startswith("goroutine ")]
        check("dump: every thread", len(blocks) >= 4, result.stdout)
        check("dump: with its stack", any("block(...)" in b or "block_beside_busy" in b for b in blocks),
              result.stdout)
        served = fetch(program.url + "goroutine?debug=2&threads=1").decode()
        equal("dump: the same threads as served", len(re.findall("^goroutine ", served, re.M)),
              len(blocks))


def recording_every_event():
    """A coroutine program under each event: a file that holds something, and its kind in its name."""
    with tempfile.TemporaryDirectory() as folder, \
            Serving(f"{BUILD}/examples/pipeline", "--stay") as program:
        for event in ("wall", "block", "schedule"):
            path = f"{folder}/{event}"
            result = run([COPPER, "record", "-e", event, "-d", "0.6", "-o", path, str(program.pid)])
            equal(f"record -e {event}: status", result.returncode, 0)
            check(f"record -e {event}: says how much", re.search(rf"{path}: [0-9.]+s .* samples",
                                                              result.stderr), result.stderr)
            with open(path, "rb") as f:
                kind = {"wall": "time"}.get(event, "delay")
                check(f"record -e {event}: has samples", Profile(f.read()).total(kind) > 0)


def recording_waits():
    with Serving(BUSY, "busy", "60") as program:
        window = fetch(program.url + "goroutine?ms=200")
        check("ms= gives a difference", window[:2] == b"\x1f\x8b", window[:20])
    result = run([COPPER, "record", "-e", "nothing", "--", "true"])
    equal("record -e: what it cannot record", result.returncode, 125)
    check("record -e: says what it can", re.search("-e nothing: .*cpu.*wall.*heap", result.stderr),
          result.stderr)


def nobody():
    for verb in ("top", "dump"):
        result = run([COPPER, verb, "no-such-process"])
        equal(f"{verb}: nobody", (result.returncode, result.stdout), (125, ""))
        check(f"{verb}: says so", "no process called no-such-process serves" in result.stderr,
              result.stderr)
        equal(f"{verb}: no operand", run([COPPER, verb]).returncode, 125)
    equal("top -n 0", run([COPPER, "top", "-n", "0", "x"]).returncode, 125)


def main():
    for test in (top_of_a_busy_program, top_fits_the_terminal, top_counts_coroutines, dump_of_blocked_threads,
                 recording_every_event, recording_waits, nobody):
        test()
    finish()


main()
