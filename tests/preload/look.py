# SPDX-License-Identifier: Apache-2.0
"""`copper top` and `copper dump`: what a running process does, read as a person would."""
import re
import tempfile

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
    for test in (top_of_a_busy_program, top_counts_coroutines, dump_of_blocked_threads,
                 recording_every_event, recording_waits, nobody):
        test()
    finish()


main()
