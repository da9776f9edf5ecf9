# SPDX-License-Identifier: Apache-2.0
"""profiler/env_names.h lists exactly the COPPER_ variables that our sources read."""
import re

from http_support import *

FOLDERS = ("runtime", "proto", "profiler", "leakcheck")
# Read by tests and scripts only.
BESIDE = {"BUILD", "SOURCE"}


def main():
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
