# SPDX-License-Identifier: Apache-2.0
"""profiler/env_names.h lists exactly the COPPER_ variables that our sources read; a value that cannot
be used is said in one line, one that can is not."""
import re

from http_support import *

FOLDERS = ("runtime", "proto", "profiler", "leakcheck")
# Read by tests and scripts only.
BESIDE = {"BUILD", "SOURCE"}


VALUES = (
    ("BLOCK_RATE", "soon", "is no time; write 10us"),
    ("BLOCK_RATE", "-5", "is no time; write 10us"),
    ("BLOCK_RATE", "99999999999999999999", "is no time; write 10us"),
    ("BLOCK_RATE", "10us", None),
    ("BLOCK_RATE", "1000", None),
    ("BLOCK_RATE", "9223372036854775807", None),
    ("SCHEDULE_RATE", "10 us", "is no time; write 10us"),
    ("SCHEDULE_RATE", "0", None),
    ("MUTEX_FRACTION", "1/5", "is no whole number; write 5 for one unlock in five"),
    ("MUTEX_FRACTION", "5us", "is no whole number; write 5 for one unlock in five"),
    ("MUTEX_FRACTION", "5", None),
    ("BUDGET", "x", "is no share of the CPU time; write 1%"),
    ("BUDGET", "0", "is no share of the CPU time; write 1%"),
    ("BUDGET", "2", "is no share of the CPU time; write 1%"),
    ("BUDGET", "1 %", "is no share of the CPU time; write 1%"),
    ("BUDGET", "-1%", "is no share of the CPU time; write 1%"),
    ("BUDGET", "0.5%", None),
    ("BUDGET", "0.01", None),
    ("BUDGET", "", None),
    ("LABELS", "service=x,environment=prod", None),
)


def values():
    for name, value, complaint in VALUES:
        r = subprocess.run([program("http_threads")], stdin=subprocess.DEVNULL, capture_output=True,
                           env=dict(os.environ, **{"COPPER_" + name: value}), timeout=60)
        want = "copper: COPPER_%s=%s %s\n" % (name, value, complaint) if complaint else ""
        check(r.returncode == 0 and r.stderr.decode() == want,
              "%s=%s: status %d, %r" % (name, value, r.returncode, r.stderr))


def without_server():
    """A name that is no variable is most of all worth a line where COPPER_HTTP was meant."""
    for variable, want in (("COPPER_HTPT=127.0.0.1:0", "COPPER_HTPT is unknown; COPPER_HTTP?"),
                           ("COPPER_LABELS=prod", 'COPPER_LABELS: "prod" has no value; write KEY=VALUE')):
        name, value = variable.split("=")
        r = subprocess.run([program("http_threads")], stdin=subprocess.DEVNULL, capture_output=True,
                           env=dict(os.environ, **{name: value}), timeout=60)
        check(r.stderr.decode() == "copper: %s\n" % want, "%s: %r" % (variable, r.stderr))


def main():
    values()
    without_server()
    text = open(os.path.join(SOURCE, "profiler/env_names.h")).read()
    listed = set(re.findall(r"X\((\w+)\)", text)) - {"X"}
    read = {}
    for folder in FOLDERS:
        for where, _, names in os.walk(os.path.join(SOURCE, folder)):
            for name in names:
                if name.endswith((".c", ".h")) and name != "env_names.h":
                    path = os.path.join(where, name)
                    code = open(path, encoding="utf-8").read()
                    code = re.sub(r"/\*.*?\*/", "", code, flags=re.S)
                    for variable in re.findall(r'"COPPER_([A-Z_]*[A-Z])=?"', code):
                        read.setdefault(variable, path)
    check(len(read) >= 5, "variables were found: %s" % sorted(read))
    for variable in sorted(set(read) - listed):
        check(False, "COPPER_%s is read by %s and not in env_names.h" % (variable, read[variable]))
    for variable in sorted(listed - set(read) - BESIDE):
        check(False, "COPPER_%s is in env_names.h and nobody reads it" % variable)
    finish()


main()
