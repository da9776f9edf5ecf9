# SPDX-License-Identifier: Apache-2.0
"""The flags of copper_preemptible put a safe point into every function and every cycle of the code that
each compiler makes: in the disassembly, without the safe points, there is no way to run in a circle, and
none from a function's entry to its end. The exception is gcc's code for an endless loop without a body.

usage: safe_points.py [COMPILER...]      by default gcc and clang, those that are there
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

SOURCE = os.environ["COPPER_SOURCE"]
CALL = "__sanitizer_cov_trace_pc"
LEVELS = ["-O0", "-O1", "-O2", "-O3", "-Os", "-O3 -march=haswell", "-O2 -fPIC", "-O2 -flto"]


def flags_of(compiler):
    """What cmake/preempt.cmake gives a C source."""
    name = "Clang" if "clang" in compiler else "GNU"
    with open(f"{SOURCE}/cmake/preempt.cmake", encoding="utf-8") as file:
        return re.search(rf"COMPILE_LANG_AND_ID:C,{name}>:(\S+)>", file.read()).group(1)


def functions(path):
    """name -> its instructions: address, text, what a relocation says."""
    text = subprocess.run(["objdump", "-dr", "--no-show-raw-insn", path], check=True,
                          capture_output=True, text=True).stdout
    out, current = {}, []
    for line in text.splitlines():
        if found := re.match(r"[0-9a-f]+ <([^>]+)>:$", line):
            current = out.setdefault(found.group(1), [])
        elif found := re.match(r"\s+([0-9a-f]+):\t(?:data16 |cs |notrack |bnd )*(.*)$", line):
            current.append([int(found.group(1), 16), found.group(2).strip(), ""])
        elif found := re.match(r"\s+[0-9a-f]+: R_X86_64_\w+\t(\S+)", line):
            current[-1][2] = found.group(1)
    return out


def graph(name, code):
    """address -> where it may go next inside of the function; safe points go nowhere."""
    after, inside = {}, {i[0] for i in code}
    for (at, text, target), following in zip(code, code[1:] + [[None, "", ""]]):
        nexts = [following[0]] if following[0] is not None else []
        jump = re.match(r"(j\w+)\s+([0-9a-f]+)", text)
        if CALL in target or CALL in text:
            nexts = []
        elif jump and not target:
            nexts = ([] if jump.group(1) == "jmp" else nexts) + [int(jump.group(2), 16)]
        elif text.startswith("jmp") and target.startswith(name + "-"):
            nexts = [code[0][0]]
        elif re.match(r"(jmp|ret|hlt|ud2)", text):
            assert not re.match(r"jmp\s+\*", text), f"{name}: an indirect jump: {text}"
            nexts = []
        after[at] = [n for n in nexts if n in inside]
    return after


def cycle(after):
    """An address on a cycle; None."""
    colour = {}
    for start in after:
        stack = [(start, iter(after[start]))] if start not in colour else []
        colour.setdefault(start, 1)
        while stack:
            at, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                colour[at] = 2
                stack.pop()
            elif colour.get(following) == 1:
                return following
            elif following not in colour:
                colour[following] = 1
                stack.append((following, iter(after[following])))
    return None


def leaves_without(code, after):
    """True if the function can be left from its entry without a safe point."""
    ends = {at for at, text, target in code
            if text.startswith("ret") or (text.startswith("jmp") and target and CALL not in target)}
    seen, todo = set(), [code[0][0]]
    while todo:
        at = todo.pop()
        if at in ends:
            return True
        if at not in seen:
            seen.add(at)
            todo += after[at]
    return False


def check(compiler, level, scratch):
    path = os.path.join(scratch, "code.o")
    command = [compiler, *level.split(), flags_of(compiler), "-fno-jump-tables", "-c",
               f"{SOURCE}/tests/arch/safe_points.c", "-o", path]
    if "-flto" in level:
        whole = [compiler, "-flto", "-O2", "-nostdlib", "-shared", "-fPIC", *command[2:]]
        whole = [word for word in whole if word != "-c"]
        subprocess.run(whole, check=True)
    else:
        subprocess.run(command, check=True)
    errors, calls, count = [], 0, 0
    for name, code in functions(path).items():
        if "@plt" in name or name.startswith(("_init", "_fini", ".plt")) or CALL in name:
            continue
        count += 1
        calls += sum(CALL in target or CALL in text for _, text, target in code)
        after = graph(name, code)
        at = cycle(after)
        if at is not None and not (name == "for_ever" and compiler == "gcc"):
            errors.append(f"{compiler} {level}: {name}: a cycle without safe point at {at:#x}")
        if leaves_without(code, after):
            errors.append(f"{compiler} {level}: {name}: a way through without safe point")
    print(f"{compiler} {level}: {count} functions, {calls} safe points")
    if count < 15 or calls < count:
        errors.append(f"{compiler} {level}: only {calls} safe points in {count} functions")
    return errors


def main():
    compilers = sys.argv[1:] or [c for c in ("gcc", "clang") if shutil.which(c)]
    errors = []
    with tempfile.TemporaryDirectory() as scratch:
        for compiler in compilers:
            for level in LEVELS:
                errors += check(compiler, level, scratch)
    print("\n".join(errors))
    return 1 if errors else 0


sys.exit(main())
