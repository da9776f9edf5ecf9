# SPDX-License-Identifier: Apache-2.0
"""A deadlock in a program with all the libraries: frames have names, threads of the profiler do not
hide it, the leak report follows, the status is 2. A dump of many is not slow. An overflow shows
who recursed."""
import os
import re
import signal
import subprocess
import sys

PROGRAM = f"{os.environ['COPPER_BUILD']}/tests/debug_dead_named"


def run(*arguments, **environment):
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=60,
                          env={**os.environ, **environment})


plain = run()
print(plain.stderr)
assert plain.returncode == 2, plain.returncode
assert re.match(r"fatal error: all coroutines are asleep - deadlock!\n\n"
                r"coroutine \d+ \[chan receive\] \{name: \"main\", .*\}:\n(  .*\n)*  wait_for_jobs \S+:\d+\n"
                r"  app \S+:\d+\n", plain.stderr)
assert re.search(r"  wait_for_jobs \S+:\d+\n  worker \S+:\d+\n(  .*\n)*created by app in coroutine \d+\n",
                 plain.stderr)
served = run(COPPER_HTTP="127.0.0.1:0", COPPER_LEAKCHECK="1")
print(served.stderr)
assert served.returncode == 2, served.returncode
dead, leaks = served.stderr.find("fatal error: all"), served.stderr.find("stranded at exit")
assert 0 <= dead < leaks
many = run("many")
assert many.returncode == 0, many.stderr
assert len(re.findall(r"^  wait_for_jobs ", many.stdout, re.M)) == 2000
print(many.stderr)
deep = run("overflow")
print(deep.stderr[:1000])
assert deep.returncode == -signal.SIGSEGV, deep.returncode
assert len(re.findall(r"^  recurse ", deep.stderr, re.M)) > 100
sys.exit(0)
