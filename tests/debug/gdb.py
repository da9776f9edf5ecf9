# SPDX-License-Identifier: Apache-2.0
"""gdb on a live process and on its core file, with the library stripped of all debug information:
what copper-gdb.py shows of coroutines. Skipped where gdb or ptrace is not there."""
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile

SCRIPT = f"{os.environ['COPPER_SOURCE']}/runtime/gdb/copper-gdb.py"
BUILD = os.environ["COPPER_BUILD"]
COMMANDS = ["print locked_tid", "info coroutines", "coroutine apply all bt", "coroutine 999999 bt"]


def gdb(*arguments, env=None):
    return subprocess.run(["gdb", "-nx", "-batch", *arguments], capture_output=True, text=True,
                          timeout=100, env={**os.environ, **(env or {})})


def run_in_gdb(commands):
    return [word for c in commands for word in ("-ex", c)]


def check_locked(what, text):
    """The thread that it is locked to is the one that it saw."""
    seen = re.search(r"^\$1 = (\d+)$", text, re.M)
    return check(what, text, [rf"chan receive, locked to thread {seen.group(1) if seen else '?'} "])


def check(what, text, patterns):
    wrong = [p for p in patterns if not re.search(p, text, re.M)]
    for p in wrong:
        print(f"{what}: not found: {p}")
    return len(wrong)


LISTED = [
    r"^\* \d+ +running, thread \d+ .* main +\(started by cu_run\)",
    r"^  \d+ +chan receive .* first +worker +app at \S+stopped\.c:\d+",
    r"^  \d+ +chan receive .* second +worker +app at \S+stopped\.c:\d+",
    r"^  \d+ +sleep .* sleeper +app at \S+stopped\.c:\d+",
    r"^  \d+ +chan receive .* ticking +app at \S+stopped\.c:\d+",
    r"^  \d+ +runnable .* never_runs +app at \S+stopped\.c:\d+",
    r"^  \d+ +chan receive, locked to thread \d+ .* locked +app at \S+stopped\.c:\d+",
]
FRAMES = r"(#\d+ .*\n)*?"
SHOWN = [
    r'^coroutine \d+ "second" \[chan receive\]: worker, spawned by app at \S+stopped\.c:\d+\n'
    + FRAMES + r"#\d+ .*wait_deeply \(depth=0\).*\n#\d+ .*wait_deeply \(depth=1\).*\n"
    r"#\d+ .*wait_deeply \(depth=2\).*\n#\d+ .*wait_deeply \(depth=3\).*\n#\d+ .*worker \(arg=",
    r"^coroutine \d+ \[chan receive, locked to thread \d+\]: locked, .*\n" + FRAMES + r"#\d+ .*locked \(",
    r"^coroutine \d+ \[sleep\]: sleeper.*\n" + FRAMES + r"#\d+ .*sleeper \(",
    r"^coroutine \d+ \[runnable\]: never_runs.*\n  \(not started\)",
    r'^coroutine \d+ "main" \[running, thread \d+\].*\n#0 .*(stop_here|abort|pthread|raise).*\n(#.*\n)*#\d+ .*app \(',
]


def look_at_core(what, program, core, folder):
    dead = gdb("-ex", f"set solib-search-path {folder}", "-ex", f"core-file {core}", "-ex",
               f"source {SCRIPT}", *run_in_gdb(COMMANDS), program)
    print(dead.stdout, dead.stderr)
    return check(what, dead.stdout, [*LISTED, *SHOWN]) + check_locked(what, dead.stdout)


def live_and_gcore(program, folder):
    """gdb writes whole megabytes or nothing, and cannot read guards that have no mapping of their
    own: hence mprotect for a core file of gdb's making."""
    core = f"{folder}/core.gdb"
    live = gdb("-ex", "set disable-randomization off", "-ex", "break stop_here",
               "-ex", f"set environment LD_LIBRARY_PATH {folder}",
               "-ex", "set environment COPPER_STACK_GUARD mprotect",
               "-ex", "set environment COPPER_MAXPROCS 1",
               "-ex", "run", "-ex", f"source {SCRIPT}", *run_in_gdb(COMMANDS),
               "-ex", "coroutine 2 frame function worker", "-ex", "coroutine 2 bt 2",
               "-ex", "info sharedlibrary", "-ex", f"generate-core-file {core}",
               "-ex", "set var is_told = 1", "-ex", "continue", program)
    print(live.stdout, live.stderr)
    if "Couldn't" in live.stderr and "ptrace" in live.stderr:
        sys.exit(77)
    wrong = check("live", live.stdout, [
        *LISTED, *SHOWN, re.escape(folder), "exited normally",
        r'"first" \[chan receive\].*\n#\d+ .* worker \(arg=', r"^#1 .*depth=1.*\nFrom "])
    wrong += check_locked("live", live.stdout)
    wrong += check("live", live.stderr, ["no coroutine 999999; see info coroutines"])
    return wrong + look_at_core("core by gdb", program, core, folder)


def kernel_core(program, folder):
    """The kernel's core file, with the guards that are the default."""
    with open("/proc/sys/kernel/core_pattern", encoding="ascii") as file:
        pattern = file.read().strip()
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    if "/" in pattern or "|" in pattern or hard not in (resource.RLIM_INFINITY,):
        print(f"no core file of the kernel's: pattern {pattern}, limit {hard}")
        return 0

    def unlimited():
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    result = subprocess.run([program, "crash"], cwd=folder, preexec_fn=unlimited, timeout=60,
                            env={**os.environ, "LD_LIBRARY_PATH": folder, "COPPER_MAXPROCS": "1"})
    cores = [f for f in os.listdir(folder) if re.match(r"core(\.\d+)?$", f)]
    if not cores:
        print(f"no core file came up: status {result.returncode}")
        return 0
    return look_at_core("core by the kernel", program, f"{folder}/{cores[0]}", folder)


def main():
    if not shutil.which("gdb") or not shutil.which("strip"):
        return 77
    with tempfile.TemporaryDirectory() as folder:
        # a stripped library: what the script reads must not need debug information
        library = f"{BUILD}/lib/libcopper_runtime.so"
        dynamic = subprocess.run(["readelf", "-d", library], capture_output=True, text=True, check=True)
        name = re.search(r"SONAME.*\[(.*)\]", dynamic.stdout).group(1)
        subprocess.run(["strip", "-o", f"{folder}/{name}", os.path.realpath(library)], check=True)
        program = f"{BUILD}/tests/debug_stopped"
        wrong = live_and_gcore(program, folder) + kernel_core(program, folder)
        other = gdb("-ex", f"source {SCRIPT}", "-ex", "info coroutines", "/bin/true")
        wrong += check("no runtime", other.stderr, ["no copper runtime in this program"])
    return 1 if wrong else 0


sys.exit(main())
