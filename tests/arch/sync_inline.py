#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What copper/sync_inline.h is for: optimised code of each compiler has the fast paths in it, calls the
library for the rest only, and stays on the stack meanwhile.

usage: sync_inline.py [COMPILER...]      by default gcc and clang, those that are there
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

SOURCE = os.environ["COPPER_SOURCE"]
FAST = ("mutex_lock", "mutex_try_lock", "mutex_unlock", "rwmutex_rlock", "rwmutex_runlock")
SLOW_ONLY = ("rwmutex_unlock",)
CODE = "#include <copper/sync.h>\n" + "".join(
    "%s at_%s(cu_%s *o) { return cu_%s(o); }\n" % (
        "_Bool" if "try" in name else "void", name, name.split("_", 1)[0], name)
    for name in FAST + SLOW_ONLY) + """
void at_sem_release(cu_sem *s) { cu_sem_release(s, 1); }
void at_once_do(cu_once *o, void (*f)(void *)) { cu_once_do(o, f, o); }
"""


def in_cxx(code):
    include, rest = code.split("\n", 1)
    return '%s\nextern "C" {\n%s}\n' % (include, rest.replace("_Bool", "bool"))


def disassembled(compiler, language, level):
    """name -> the text of its instructions."""
    text = CODE if language == "c" else in_cxx(CODE)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([compiler, "-x", language, level, "-fno-pic", "-I", SOURCE + "/runtime/include",
                        "-c", "-o", folder + "/a.o", "-"], input=text, check=True, text=True)
        out = subprocess.run(["objdump", "-dr", "--no-show-raw-insn", folder + "/a.o"], check=True,
                             capture_output=True, text=True).stdout
    return dict(re.findall(r"<at_(\w+)>:\n(.*?)(?=\n\n|\Z)", out, re.S))


def judge(compiler, language, level):
    """What is wrong."""
    wrong = []
    functions = disassembled(compiler, language, level)
    for name, body in functions.items():
        for instruction, callee in re.findall(r"\t(\w+) [^\n]*\n[^\n]*R_X86_64_PLT32\s+(\w+)", body):
            if callee != "cu_%s_called" % name:
                wrong.append("%s calls %s" % (name, callee))
            if instruction != "call":
                wrong.append("%s leaves its frame by %s %s" % (name, instruction, callee))
        if name in FAST and "lock cmpxchg" not in body:
            wrong.append("%s has no fast path" % name)
    if len(functions) != len(FAST + SLOW_ONLY) + 2:
        wrong.append("functions: %s" % sorted(functions))
    return ["%s -x %s %s: %s" % (compiler, language, level, w) for w in wrong]


def main():
    wrong = []
    for compiler in sys.argv[1:] or [c for c in ("gcc", "clang") if shutil.which(c)]:
        for language in ("c", "c++"):
            for level in ("-O1", "-O2", "-O3"):
                wrong += judge(compiler, language, level)
    print("\n".join(wrong) or "inlined")
    sys.exit(bool(wrong))


main()
