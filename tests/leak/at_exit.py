"""The report at exit: when it is printed, what it says, and what becomes of the exit status."""
import os
import re
import subprocess
import sys
import tempfile

BUILD = os.environ["COPPER_BUILD"]
errors = []


def run(program, *args, check="1", cwd=None):
    """(status, stdout, stderr) of a program with COPPER_LEAKCHECK=check (None: unset)."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("COPPER_")}
    if check is not None:
        env["COPPER_LEAKCHECK"] = check
    done = subprocess.run([f"{BUILD}/tests/{program}", *args], env=env, text=True, timeout=120,
                          capture_output=True, cwd=cwd)
    return done.returncode, done.stdout, done.stderr


def expect(what, got, wanted):
    if got != wanted:
        errors.append(f"{what}: got {got!r}, wanted {wanted!r}")


def expect_match(what, pattern, text):
    if not re.search(pattern, text, re.M):
        errors.append(f"{what}: no match for {pattern!r} in:\n{text}")


def expect_lines(what, text, count):
    # one more line where a busy machine did not let them all come to rest within the time
    lines = [line for line in text.splitlines() if "others still ran" not in line]
    if len(lines) != count:
        errors.append(f"{what}: not {count} lines:\n{text}")


def workers(n):
    return (rf"^copper: {n} coroutines stranded at exit: chan receive on channel 'jobs' "
            r"\(cap 0, made at exit_prog\.c:\d+\), worker exit_prog\.c:\d+, "
            r"spawned at exit_prog\.c:\d+$")


def statuses():
    for check in ("1", "stranded"):
        status, _, err = run("leak.exit_prog", "workers", check=check)
        expect(f"{check}: status", status, 23)
        expect_match(check, workers(3), err)
        expect_match(check, r"^ +waiting [\d.]+ [um]?s \.\. [\d.]+ [um]?s, ids \d+ \d+ \d+$", err)
        expect_match(check, r"^      at  worker +/.*exit_prog\.c:\d+$", err)
        expect_match(check, r"^      by  strand_workers +/.*exit_prog\.c:\d+$", err)
        expect_lines(check, err, 4)
    status, _, err = run("leak.exit_prog", "workers", "3")
    expect("own status", status, 3)
    expect_match("own status", workers(3), err)
    for kind in ("clean", "daemon", "sleeping", "ticker", "settles"):
        for own in ("0", "3"):
            expect(f"{kind} {own}", run("leak.exit_prog", kind, own), (int(own), "", ""))
    for check in (None, "none", "0", ""):
        expect(f"off: {check}", run("leak.exit_prog", "workers", check=check), (0, "", ""))
        expect(f"off: {check}", run("leak.exit_prog", "workers", "3", check=check), (3, "", ""))
    expect("_exit", run("leak.exit_prog", "_exit"), (0, "", ""))


def stopped_timer():
    status, _, err = run("leak.exit_prog", "stopped-timer")
    expect("stopped timer", status, 23)
    expect_match("stopped timer", r"^copper: 1 coroutine stranded at exit: chan receive on channel "
                 r"'timer' \(cap 0, made at exit_prog\.c:\d+\), worker exit_prog\.c:\d+, "
                 r"spawned at exit_prog\.c:\d+$", err)


def words():
    status, _, err = run("leak.exit_prog", "clean", check="foo")
    expect("bad value: status", status, 0)
    expect("bad value", err, "copper: COPPER_LEAKCHECK=foo is not one of stranded, none\n")


def hundred_thousand():
    with open(f"{BUILD}/CMakeCache.txt", encoding="utf-8") as cache:
        if re.search(r"^COPPER_SANITIZE:\w+=thread$", cache.read(), re.M):
            return  # its shadow stacks take the memory of a small machine
    status, _, err = run("leak.exit_prog", "hundred-thousand")
    expect("100 000: status", status, 23)
    expect_match("100 000", workers(100000), err)
    expect_match("100 000", r"ids \d+ \d+ \d+ \d+ \d+ \d+ \d+ \d+ \.\.\.$", err)
    expect_lines("100 000", err, 4)


def three_kinds():
    status, _, err = run("leak.exit_prog", "three-kinds")
    expect("three kinds: status", status, 23)
    expect_match("three kinds", r"^copper: 7 coroutines stranded at exit, 3 groups$", err)
    heads = re.findall(r"^  (\d+ x .*?) on ", err, re.M)
    expect("three kinds: order", heads,
           ["4 x chan receive", "2 x sync.Mutex.Lock", "1 x sync.WaitGroup.Wait"])
    expect_match("three kinds", r"on wait group \(counter 1, at 0x", err)


def ways_to_end():
    status, out, err = run("leak.exit_prog", "exit-in-coroutine")
    expect("exit in a coroutine", (status, out), (23, "printed without a newline"))
    expect_match("exit in a coroutine", workers(3), err)
    status, _, err = run("leak.exit_prog", "plain")
    expect("plain", status, 23)
    expect_match("plain", workers(3), err)
    status, _, err = run("leak.exit_prog", "fork")
    expect("fork", status, 23)
    expect_match("fork", workers(3), err)
    expect("fork: one report", err.count("stranded at exit"), 1)
    with tempfile.TemporaryDirectory() as scratch:
        status, out, _ = run("leak.exit_prog", "stdio", cwd=scratch)
        expect("stdio", (status, out), (23, "printed without a newline"))
        with open(f"{scratch}/stdio.out", encoding="utf-8") as f:
            expect("stdio: file", f.read(), "buffered")


def other_doors():
    status, _, err = run("leak.exit_prog", "asked-for", check=None)
    expect("asked for", status, 23)
    expect_match("asked for", workers(3), err)
    expect("asked for, none", run("leak.exit_prog", "asked-for", check="none"), (0, "", ""))
    status, _, err = run("leak.linked_prog", "leak", check=None)
    expect("linked", status, 23)
    expect_match("linked", r"^copper: 1 coroutine stranded at exit: chan receive on channel ", err)
    expect("linked, clean", run("leak.linked_prog", check=None), (0, "", ""))
    expect("linked, none", run("leak.linked_prog", "leak", check="none"), (0, "", ""))


for part in (statuses, stopped_timer, words, hundred_thousand, three_kinds, ways_to_end, other_doors):
    part()
print("\n".join(errors))
sys.exit(1 if errors else 0)
