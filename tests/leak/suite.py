"""The cmocka adapter: in a suite with planted failures exactly the guilty tests fail, each for its
own reason, and the next test still runs."""
import os
import re
import subprocess
import sys

BUILD = os.environ["COPPER_BUILD"]
errors = []

# What each test that must not pass has to say for itself.
REASONS = {
    "bad_leak": r"bad_leak: 1 coroutine stranded: chan send on channel \(cap 0, made at "
                r"suite_prog\.c:\d+\), send_one suite_prog\.c:\d+, spawned at suite_prog\.c:\d+",
    "bad_body": r"0x11 != 0x47",
    "bad_child": r'"in a child" != "somewhere else"',
    "bad_grandchild": r"1 == 2",
    "bad_late_child": r"late, after the body has ended",
    "bad_thread": r"difference at offset 2",
    "plain_bad": r"0x3 != 0x4",
    "bad_fixture_body": r"f == \(?\(?(NULL|void)",
    "bad_fixture_leak": r"bad_fixture_leak: 1 coroutine stranded: chan receive .*, serve suite_",
    "bad_setup": r"",
    "bad_mock": r"expected 0x6|0x5 != 0x6",
    "bad_unused_mock": r"\(\) has remaining non-returned values",
    "bad_memory": r"leaked|Test failed",
}


def run(*args, **env):
    env = {**{k: v for k, v in os.environ.items() if not k.startswith("COPPER_")}, **env}
    done = subprocess.run([f"{BUILD}/tests/leak.suite_prog", *args], env=env, text=True,
                          timeout=100, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout


def expect(what, is_good, text):
    if not is_good:
        errors.append(f"{what} in:\n{text}")


def tests_of(text):
    """name -> (verdicts, what was printed between its [ RUN ] and the next one's)"""
    found, name = {}, None
    for line in text.splitlines():
        start = re.match(r"\[ RUN      \] (\w+)", line)
        if start:
            name = start.group(1)
            found[name] = (set(), [])
        if name is None or line.startswith("[==========]"):
            name = None
            continue
        verdict = re.match(r"\[  ?(     OK|FAILED |SKIPPED|ERROR  ) +\] (\w+)", line)
        if verdict and verdict.group(2) == name:
            found[name][0].add(verdict.group(1).strip())
        found[name][1].append(line)
    return {n: (v, "\n".join(lines)) for n, (v, lines) in found.items()}


def suite():
    status, text = run()
    tests = tests_of(text)
    expect("23 tests run", len(tests) == 23, text)
    bad = [name for name in tests if "bad" in name]
    expect(f"status {status} is not the number of failed tests", status == len(bad), text)
    for name, (verdicts, said) in tests.items():
        if name.startswith("good") or name == "plain_good":
            expect(f"{name} passed: {verdicts}", verdicts == {"OK"}, said)
        elif name.startswith("skip"):
            expect(f"{name} skipped: {verdicts}", verdicts == {"SKIPPED"}, said)
        else:
            expect(f"{name} failed: {verdicts}",
                   verdicts and verdicts <= {"FAILED", "ERROR"}, said)
            expect(f"{name} says why", re.search(REASONS[name], said), said)
    expect("a body after a failed setup", "must not run" not in text, text)
    expect("leaks of failed tests are not told", text.count("stranded") == 2, text)


def group():
    status, text = run("group")
    expect("group passes", status == 0, text)
    expect("group teardown", "group teardown of group" in text, text)


def hang():
    status, text = run("hang", COPPER_TEST_TIMEOUT="300ms")
    expect(f"hang: status {status}", status == 1, text)
    expect("hang is told", "hangs did not end within 0.3 s" in text, text)
    expect("hang: all coroutines", re.search(r"^hangs: 2 coroutines stranded, 2 groups$", text,
                                             re.M), text)
    expect("hang: the body", re.search(r"chan receive on channel 'answers'.*, hangs suite_prog",
                                       text), text)
    expect("hang: the child", re.search(r"chan send on channel .*, send_one suite_prog", text),
           text)
    _, text = run("group", COPPER_TEST_TIMEOUT="10")
    expect("timeout without a unit",
           "copper: COPPER_TEST_TIMEOUT=10 has no unit; write 10s" in text, text)
    _, text = run("group", COPPER_TEST_TIMEOUT="soon")
    expect("nonsense timeout", "copper: COPPER_TEST_TIMEOUT=soon is no time such as 60s" in text,
           text)


for part in (suite, group, hang):
    part()
print("\n".join(errors))
sys.exit(1 if errors else 0)
