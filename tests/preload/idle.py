# SPDX-License-Identifier: Apache-2.0
"""A preloaded process that nobody asked to be profiled is as it would be without us: same output,
same exit status, no thread, descriptor or signal handler more, and its children do not inherit us."""
import os
import subprocess
import sys
import tempfile
import time

from support import (PROGRAMS, SHIM, check, descriptors, environment, equal, finish, have, outcome,
                     run, status_field, wait_until)

PRELOADED = environment(LD_PRELOAD=SHIM)

COMMANDS = [
    ["true"],
    ["false"],
    ["bash", "-c", "printf '3\\n1\\n2\\n' | sort | tr -d '\\n' | cat; exit 5"],
    ["sh", "-c", "echo out; echo err >&2; exit 3"],
    ["bash", "-c", "for i in 1 2 3 4 5; do (echo $i) & wait; done; ls / | wc -l"],
    ["bash", "-c", "kill -TERM $$"],
    ["bash", "-c", "a=(x y); unset LD_PRELOAD; export A=b; env | grep -c '^A='"],
    [sys.executable, "-c", "import sys; print(sum(range(1000))); sys.exit(7)"],
    [sys.executable, "-c", "import subprocess; print(subprocess.check_output(['echo', 'x']))"],
    [sys.executable, "-c", "import os; print(os.environ.get('COPPER_PRELOAD_PID'))"],
    [sys.executable, "-c", "import threading as t; a=[t.Thread(target=print, args=(i,)) for i in "
                           "range(3)]; [(x.start(), x.join()) for x in a]"],
    ["perl", "-e", "print join(',', map { $_ * 2 } 1..5); exit 4"],
    ["perl", "-e", "print `echo deep`; system('exit 3'); print $? >> 8"],
    ["xz", "--version"],
    ["git", "--version"],
    ["env", "-i", "true"],
    ["nice", "-n", "0", "echo", "nice"],
    ["timeout", "5", "echo", "in time"],
    ["node", "-e", "console.log(6 * 7)"],
]


def same_outcome():
    for command in COMMANDS:
        if not have(command[0]):
            continue
        equal(f"as without us: {' '.join(command)[:60]}", outcome(run(command, env=PRELOADED)),
              outcome(run(command)))


def builds():
    """A build with make's relatives: compiler, assembler and linker, each a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        source = f"{folder}/a.c"
        with open(source, "w", encoding="utf-8") as f:
            f.write("#include <stdio.h>\nint main(void) { puts(\"built\"); return 6; }\n")
        result = run(["gcc", "-O1", source, "-o", f"{folder}/a"], env=PRELOADED)
        equal("gcc under us", outcome(result), (0, "", ""))
        equal("what it built", outcome(run([f"{folder}/a"])), (6, "built\n", ""))
        script = ("git init -q . && git -c user.name=a -c user.email=a@b commit -q --allow-empty "
                  "-m first && git log --format=%s")
        equal("git under us", outcome(run(["sh", "-c", script], env=PRELOADED, cwd=folder)),
              (0, "first\n", ""))


def facts(pid):
    return {name: status_field(pid, name) for name in ("Threads", "SigCgt", "SigIgn", "SigBlk")} | {
        "descriptors": descriptors(pid)}


def looked_at_from_outside():
    for command in (["sleep", "20"], [sys.executable, "-c", "import time; time.sleep(20)"],
                    ["perl", "-e", "sleep 20"]):
        seen = []
        for env in (environment(), PRELOADED):
            process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL,
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            try:
                wait_until(lambda p=process: status_field(p.pid, "State").startswith("S"))
                time.sleep(0.2)
                seen.append(facts(process.pid))
                with open(f"/proc/{process.pid}/maps", encoding="utf-8") as maps:
                    text = maps.read()
                if env is PRELOADED:
                    check(f"{command[0]}: we are in it", SHIM in text or "libcopper_preload" in text)
                    check(f"{command[0]}: the profiler is not", "libcopper_profiler" not in text)
            finally:
                process.kill()
                process.communicate()
        equal(f"{command[0]}: threads, handlers, descriptors", seen[1], seen[0])


def children_are_clean():
    probe = ["bash", "-c", "env | grep -E '^(LD_PRELOAD|COPPER_PRELOAD)'; true"]
    equal("LD_PRELOAD with us alone is gone", run(probe, env=PRELOADED).stdout, "")
    other = "libm.so.6"
    for text in (f"{SHIM}:{other}", f"{other}:{SHIM}", f"{other} {SHIM}", f"{SHIM} {other} {SHIM}"):
        equal(f"others stay: {text}",
              run(probe, env=environment(LD_PRELOAD=text)).stdout, f"LD_PRELOAD={other}\n")
    foreign = environment(LD_PRELOAD=SHIM, COPPER_PRELOAD_PID="1", COPPER_PRELOAD_HTTP="127.0.0.1:1")
    equal("the token of another process goes too", run(probe, env=foreign).stdout, "")
    followed = environment(LD_PRELOAD=SHIM, COPPER_PRELOAD_NAMES="nobody,noone")
    check("told to follow, we stay", SHIM in run(probe, env=followed).stdout)


def spawning():
    """fork, vfork, posix_spawn and exec loops, a thread each, under us and without."""
    for env in (environment(), PRELOADED):
        result = run([f"{PROGRAMS}/preload.loops", "exec", "1"], env=env)
        equal("fork, vfork, posix_spawn and exec", result.returncode, 0)
        equal("... say nothing", result.stderr, "")


def secure():
    """A set-user-id program gets no preload from the loader; nothing may happen."""
    if os.getuid() != 0:
        return
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = f"{folder}/id"
        run(["cp", "/usr/bin/id", path])
        os.chown(path, 65534, 65534)
        os.chmod(path, 0o4755)
        equal("set-user-id", outcome(run([path, "-u"], env=PRELOADED)), (0, "65534\n", ""))


def main():
    same_outcome()
    builds()
    looked_at_from_outside()
    children_are_clean()
    spawning()
    secure()
    finish()


main()
