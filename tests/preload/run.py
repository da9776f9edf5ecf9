# SPDX-License-Identifier: Apache-2.0
"""`copper run`: real programs under it do what they do without, serve profiles, keep their pid, exit
status and signals; their children are left alone unless told otherwise."""
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

from support import (COPPER, LIMIT, PROGRAMS, SERVING, SHIM, Profile, Serving, check, environment,
                     equal, finish, free_port, have, run, wait_for_port, wait_until)

BUSY = [f"{PROGRAMS}/preload.loops", "busy"]


def copper(*words, **options):
    return run([COPPER, "run", *words], **options)


def statuses():
    for code in (0, 1, 42, 125, 255):
        equal(f"exit status {code}", copper("--", "sh", "-c", f"exit {code}").returncode, code)
    equal("killed by a signal", copper("--", "sh", "-c", "kill -KILL $$").returncode,
          -signal.SIGKILL)
    for words in (["sh", "-c", "echo out; echo err >&2; exit 3"],
                  [sys.executable, "-c", "print(sorted([3, 1, 2]))"],
                  ["perl", "-e", "print 6 * 7"], ["seq", "5"], ["xz", "--help"],
                  ["git", "--version"]):
        plain, ours = run(words), copper("--quiet", "--", *words)
        equal(f"{words[0]}: as without us", (ours.returncode, ours.stdout, ours.stderr),
              (plain.returncode, plain.stdout, plain.stderr))
    result = copper("sh", "-c", "exit 4")
    equal("without --: status", result.returncode, 4)
    found = SERVING.fullmatch(result.stderr.strip())
    check("the line that says where", found and found.group(1) == "sh", result.stderr)
    result = subprocess.run([COPPER, "run", "--quiet", "cat"], input="through\n",
                            capture_output=True, text=True, timeout=LIMIT, env=environment(),
                            check=False)
    equal("stdin reaches it", result.stdout, "through\n")


def same_process():
    with Serving("sleep", "30") as s:
        equal("execs: same pid", s.pid, s.process.pid)
        equal("... and name", s.name, "sleep")
        s.process.send_signal(signal.SIGINT)
        equal("Ctrl-C", s.process.wait(5), -signal.SIGINT)
    handled = "trap 'echo got; exit 9' TERM; while :; do sleep 0.05; done"
    with Serving("bash", "-c", handled, stdout=subprocess.PIPE, text=True) as s:
        time.sleep(0.3)
        s.process.terminate()
        equal("its own handler", s.process.communicate(timeout=10)[0], "got\n")
        equal("... and status", s.process.returncode, 9)


def start_script():
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/start"
        with open(path, "w", encoding="utf-8") as f:
            f.write("#!/usr/bin/env bash\nls / >/dev/null\ncat /dev/null | sort\n"
                    f"exec {BUSY[0]} busy 30\n")
        os.chmod(path, 0o755)
        with Serving(path) as s:
            check("a start script serves under its last name", wait_until(
                lambda: "preload.loops[" in s.stderr()), s.stderr())
            lines = SERVING.findall(s.stderr())
            equal("only this process", {pid for _, pid, _ in lines}, {str(s.process.pid)})
            s.url = lines[-1][2]
            names = Profile(s.fetch("profile?seconds=1")).flat()
            check("the program it execs is profiled", names.get("burn", 0) > 0.5 * sum(
                names.values()) > 0, names)


def children():
    show = "env | grep -E '^(LD_PRELOAD|COPPER_PRELOAD)' | sort"
    equal("children do not inherit us",
          copper("--", "bash", "-c", f"bash -c \"{show}\"; sh -c \"{show}\"; true").stdout, "")
    result = copper("--", "bash", "-c", f"bash -c \"{show}\"; true",
                    env=environment(LD_PRELOAD="libm.so.6"))
    equal("... but what was there before", result.stdout, "LD_PRELOAD=libm.so.6\n")
    result = copper("bash", "-c", "true; sleep 0.01; ls / | sort | wc -l >/dev/null; exec true")
    equal("nobody else serves", {name for name, _, _ in SERVING.findall(result.stderr)},
          {"bash", "true"})
    result = copper("--follow", "bash", "-c", "sleep 0.01; perl -e 1; exit 3")
    equal("--follow: status", result.returncode, 3)
    equal("--follow: all serve", {name for name, _, _ in SERVING.findall(result.stderr)},
          {"bash", "sleep", "perl"})
    result = copper("--follow=perl,none", "bash", "-c", "sleep 0.01; bash -c 'perl -e 1; true'; exit 3")
    equal("--follow=NAMES: only these", {name for name, _, _ in SERVING.findall(result.stderr)},
          {"bash", "perl"})


def forked_child():
    """A forked child has neither threads nor descriptors of ours, and leaves the parent's files."""
    code = ("import os, sys, time\n"
            "r, w = os.pipe()\n"
            "if os.fork() == 0:\n"
            "    fds = [os.readlink('/proc/self/fd/' + f) for f in os.listdir('/proc/self/fd') "
            "if os.path.islink('/proc/self/fd/' + f)]\n"
            "    state = open('/proc/self/status').read().split('Threads:')[1].split()[0]\n"
            "    os.write(w, repr((state, sorted(f for f in fds if 'socket' in f))).encode())\n"
            "    sys.exit(0)\n"
            "os.wait()\n"
            "print(os.read(r, 9999).decode(), flush=True)\n"
            "time.sleep(30)\n")
    with Serving(sys.executable, "-c", code, stdout=subprocess.PIPE, text=True) as s:
        equal("a forked child: one thread, no socket", s.process.stdout.readline(), "('1', [])\n")
        check("the parent is still listed", s.url in run([COPPER, "list"]).stdout)
        check("... and serves", b"profile" in s.fetch(""))


def listing():
    with Serving("sleep", "30") as a, Serving("tail", "-f", "/dev/null") as b:
        lines = run([COPPER, "list"]).stdout.splitlines()
        for s, name in ((a, "sleep"), (b, "tail")):
            check(f"list shows {name}", f"{name}[{s.pid}] {s.url}" in lines, lines)
    lines = run([COPPER, "list"]).stdout
    check("gone when they end", f"[{a.pid}]" not in lines and f"[{b.pid}]" not in lines, lines)


def ports():
    port = free_port()
    with Serving("sleep", "30", options=["--http", f"127.0.0.1:{port}"]) as s:
        equal("the port asked for", s.url, f"http://127.0.0.1:{port}/debug/pprof/")
        result = copper("--http", f"127.0.0.1:{port}", "true")
        equal("taken: status", result.returncode, 125)
        equal("taken: by whom", result.stderr, f"copper: 127.0.0.1:{port} is taken by "
              f"sleep[{s.pid}]; use --http 127.0.0.1:0\n")


def no_profiler():
    """Without the profiler library beside it the shim says one line, and the program runs."""
    with tempfile.TemporaryDirectory() as folder:
        shim = f"{folder}/libcopper_preload.so"
        with open(SHIM, "rb") as source, open(shim, "wb") as copy:
            copy.write(source.read())
        result = run(["sh", "-c", f"COPPER_PRELOAD_PID=$$ LD_PRELOAD={shim} exec echo runs"])
        equal("without the profiler: runs", (result.returncode, result.stdout), (0, "runs\n"))
        check("... and says so in one line", result.stderr.count("\n") == 1 and
              re.match(r"copper: echo\[\d+\] is not profiled: ", result.stderr), result.stderr)


def profile_of(s, load=None):
    p = Profile(s.fetch("profile?seconds=1"))
    if load:
        check(f"{s.name}: has samples", len(p.samples) > 0 and p.total() > 0, p.comments)
    return p


def redis():
    if not have("redis-server"):
        return
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, \
            Serving("redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "",
                    "--daemonize", "no", "--dir", folder) as s:
        check("redis-server listens", wait_for_port(port))
        with socket.create_connection(("127.0.0.1", port), 5) as c:
            c.sendall(b"SET k v\r\nGET k\r\nBGSAVE\r\n")
            time.sleep(0.3)
            got = c.recv(4096)
        check("redis-server answers", got.startswith(b"+OK\r\n$1\r\nv\r\n+Background"), got)
        load = subprocess.Popen(["redis-benchmark", "-p", str(port), "-q", "-l", "-t", "set"],
                                stdout=subprocess.DEVNULL) if have("redis-benchmark") else None
        try:
            names = profile_of(s, load).flat()
            check("redis-server: named", not load or any("+0x" not in n for n in names), names)
        finally:
            if load:
                load.kill()
                load.wait()
        s.process.terminate()
        equal("redis-server ends as it should", s.process.wait(10), 0)


def nginx():
    if not have("nginx"):
        return
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        conf = f"{folder}/nginx.conf"
        with open(conf, "w", encoding="utf-8") as f:
            f.write(f"pid {folder}/pid; error_log {folder}/error.log; worker_processes 2; user root;\n"
                    "events {} http { access_log off;\n" + "".join(
                        f"{kind}_temp_path {folder}/{kind};\n" for kind in
                        ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")) +
                    f"server {{ listen 127.0.0.1:{port}; location / {{ return 200 'hello'; }} }} }}\n")
        with Serving("nginx", "-e", f"{folder}/error.log", "-c", conf, "-g", "daemon off;") as s:
            check("nginx listens", wait_for_port(port))
            for i in range(3):
                with socket.create_connection(("127.0.0.1", port), 5) as c:
                    c.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    check(f"nginx answers {i}", b"hello" in c.recv(4096))
            profile_of(s)
            s.process.send_signal(signal.SIGHUP)  # workers are replaced
            time.sleep(0.5)
            check("nginx after a reload", wait_for_port(port))
            s.process.send_signal(signal.SIGQUIT)
            equal("nginx ends as it should", s.process.wait(10), 0)


def python_and_xz():
    code = "n = 0\nwhile True:\n    n += sum(range(1000))"
    with Serving(sys.executable, "-c", code) as s:
        profile_of(s, True)
    if have("xz"):
        with tempfile.TemporaryDirectory() as folder:
            data = bytes(range(256)) * 40000 + os.urandom(1 << 20)
            with open(f"{folder}/data", "wb") as f:
                f.write(data)
            result = copper("xz", "-k", "-T2", f"{folder}/data")
            equal("xz under us", result.returncode, 0)
            back = subprocess.run([COPPER, "run", "--quiet", "xz", "-dc", f"{folder}/data.xz"],
                                  capture_output=True, timeout=LIMIT, check=False).stdout
            equal("... both ways", back == data, True)


def threads():
    """New threads have no frame of ours, and are all there, profiled or not."""
    for name, command in {"under run": [COPPER, "run", "--quiet"], "without": []}.items():
        result = run([*command, f"{PROGRAMS}/preload.entry"])
        equal(f"threads {name}", (result.returncode, result.stdout, result.stderr),
              (0, "posix\nc11\nfailing good\ncrowd good\n", ""))


def main():
    statuses()
    same_process()
    start_script()
    children()
    forked_child()
    listing()
    ports()
    no_profiler()
    threads()
    redis()
    nginx()
    python_and_xz()
    finish()


main()
