"""Names in files of every kind: PIE, non-PIE, stripped, with a separate debug file (beside the file and
by debug link), deleted, replaced by another program. A stack is always walked to its root; names are
there exactly where the file has them."""
import os
import re
import shutil
import subprocess
import sys
import tempfile

BUILD, SOURCE = os.environ["COPPER_BUILD"], os.environ["COPPER_SOURCE"]
HERE = os.path.join(SOURCE, "tests", "signal")
failures = []


def sh(*command, **options):
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, **options)


def compile_self(where, name, *flags):
    path = os.path.join(where, name)
    sh(os.environ.get("CC", "cc"), "-O2", "-D_GNU_SOURCE", os.path.join(HERE, "stacks_self.c"), "-o", path,
       "-I" + os.path.join(SOURCE, "profiler/stacks/include"), "-L" + os.path.join(BUILD, "lib"),
       "-lcopper_stacks", "-Wl,-rpath," + os.path.join(BUILD, "lib"), "-Wl,--build-id", *flags)
    return path


def frames_of(path, *args):
    out = sh(path, *args).stdout
    return [line.strip() for line in out.splitlines()]


def check(what, condition, lines):
    if not condition:
        failures.append(what)
        print(f"FAILED: {what}\n  " + "\n  ".join(lines))


def expect(kind, lines, exported, hidden, with_lines, base):
    text = "\n".join(lines)
    check(f"{kind}: reached the root", "end 0" in lines[-1], lines)
    check(f"{kind}: main's path", f"/{base}," in lines[-1] and "(deleted)" not in lines[-1], lines)
    check(f"{kind}: raise is named", re.search(r"^raise\b", text, re.M), lines)
    for name, is_there in (("exported_function", exported), ("hidden_function", hidden)):
        found = re.search(rf"^{name}\b", text, re.M)
        check(f"{kind}: {name} {'named' if is_there else 'not named'}", bool(found) == is_there, lines)
    if not hidden:
        check(f"{kind}: unnamed frames say where", re.search(rf"^{base}\+0x[0-9a-f]+$", text, re.M), lines)
    has_line = re.search(r"^exported_function /\S*stacks_self\.c:\d+$", text, re.M)
    check(f"{kind}: lines {'shown' if with_lines else 'absent'}", bool(has_line) == with_lines, lines)


def main():
    where = tempfile.mkdtemp(prefix="stacks_files.")
    try:
        for kind, flags in (("pie", ["-g"]), ("no-pie", ["-g", "-no-pie"]),
                            ("dwarf4", ["-g", "-gdwarf-4"])):
            path = compile_self(where, kind, *flags)
            expect(kind, frames_of(path), True, True, True, kind)
        path = compile_self(where, "symtab-only")
        expect("symtab-only", frames_of(path), True, True, False, "symtab-only")
        path = compile_self(where, "stripped", "-g")
        sh("strip", path)
        expect("stripped", frames_of(path), False, False, False, "stripped")
        path = compile_self(where, "exporting", "-g", "-rdynamic")
        sh("strip", path)
        expect("exporting", frames_of(path), True, False, False, "exporting")

        path = compile_self(where, "linked", "-g")
        sh("objcopy", "--only-keep-debug", path, path + ".debug")
        sh("strip", path)
        sh("objcopy", "--add-gnu-debuglink=" + path + ".debug", path)
        expect("debug link", frames_of(path), True, True, True, "linked")
        os.mkdir(os.path.join(where, ".debug"))
        shutil.move(path + ".debug", os.path.join(where, ".debug", "linked.debug"))
        expect("debug link in .debug", frames_of(path), True, True, True, "linked")
        # a debug file of some other build must not be believed
        other = compile_self(where, "other", "-g", "-DOTHER", "-O1")
        sh("objcopy", "--only-keep-debug", other, os.path.join(where, ".debug", "linked.debug"))
        expect("foreign debug file", frames_of(path), False, False, False, "linked")

        path = compile_self(where, "deleted", "-g")
        expect("deleted", frames_of(path, "unlink", path), True, True, True, "deleted")
        path = compile_self(where, "replaced", "-g")
        # another program takes the file's name before names are looked up: its names are not taken
        copy = compile_self(where, "replacement", "-g", "-O1", "-DOTHER")
        expect("replaced", frames_of(path, "rename", copy, path), True, True, True, "replaced")
    finally:
        shutil.rmtree(where)
    print(f"{len(failures)} failures")
    return 1 if failures else 0


sys.exit(main())
