# SPDX-License-Identifier: Apache-2.0
"""What the trace tests share: `go tool trace` as the judge, and what it says parsed."""
import collections
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

from http_support import BUILD, SKIPPED, check, finish, go_tool, program  # noqa: F401 (for the tests)

GO = shutil.which("go") or "/usr/local/go/bin/go"


def require_go():
    """Prints which version judges; skips when it cannot read the format."""
    try:
        text = subprocess.run([GO, "version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        print("skipped: there is no go tool")
        sys.exit(SKIPPED)
    version = tuple(int(n) for n in re.search(r"go(\d+)\.(\d+)", text).groups())
    print("judged by", text.strip(), flush=True)
    if version < (1, 22):
        print("skipped: the format needs go 1.22 or newer")
        sys.exit(SKIPPED)
    return version


def new_folder():
    return tempfile.TemporaryDirectory(prefix="copper-trace-")


def run(*arguments, env=None, timeout=120):
    """Runs trace_program; returns what it printed. Without hand-off unless asked for, so that what a known
    program does does not depend on how busy the machine is."""
    done = subprocess.run([program("trace_program"), *[str(a) for a in arguments]],
                          capture_output=True, text=True, timeout=timeout,
                          env=dict(os.environ, **{"COPPER_HANDOFF": "0", **(env or {})}))
    if done.returncode != 0:
        raise SystemExit("trace_program %s: status %d\n%s" % (
            arguments, done.returncode, done.stderr[-2000:]))
    return done.stdout, done.stderr


def counts_in(text):
    return {name: int(n) for name, n in re.findall(r"^count (\w+) (\d+)$", text, re.M)}


def go_trace(*arguments, timeout=120):
    """A trace, the last argument, over which the tool does not end is kept, to be looked into."""
    try:
        return subprocess.run([*go_tool("trace"), *arguments], capture_output=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        kept = os.path.join(BUILD, "tests", "unread-%d.trace" % os.getpid())
        shutil.copy(arguments[-1], kept)
        raise SystemExit("go tool trace %s: no end after %d s; the trace is kept as %s" % (
            arguments[0], timeout, kept))


class Parsed:
    """Events of a trace as `go tool trace -d=parsed` prints them, counted on the way."""

    def __init__(self, path):
        self.transitions = collections.Counter()  # (from, to) of coroutines
        self.reasons = collections.Counter()  # of Running -> Waiting
        self.kinds = collections.Counter()
        self.roots = collections.defaultdict(set)  # coroutine -> outermost functions of its stacks
        self.lines = []
        self.functions = set()
        done = go_trace("-d=parsed", path)
        self.error = done.stderr.decode().strip()
        self.status = done.returncode
        g = None
        for line in done.stdout.decode(errors="replace").splitlines():
            event = line[:2] == "M=" and re.match(
                r"M=(-?\d+) P=(-?\d+) G=(-?\d+) (\w+) Time=(\d+)(.*)", line)
            if event:
                self.kinds[event.group(4)] += 1
                self.lines.append(line)
                g = int(event.group(3))
                change = re.search(r' GoID=(\d+) (\w+)->(\w+) Reason="(.*)"', line)
                if change:
                    self.transitions[change.group(2), change.group(3)] += 1
                    if change.group(2, 3) == ("Running", "Waiting"):
                        self.reasons[change.group(4)] += 1
                function = None
            elif line.startswith("\t") and not line.startswith("\t\t"):
                function = line.split(" @ ")[0].strip()
                self.functions.add(function)
            elif line == "" and g and g > 0 and function:
                self.roots[g].add(function)
            elif line.startswith("Stack=") or line.startswith("TransitionStack="):
                function = None

    def is_accepted(self):
        return self.status == 0 and not self.error


    def durations(self):
        """What coroutines waited, ns, by what the tool calls its profiles: our own reading. Of states that
        ended in the trace; what came before a coroutine's first run there is not counted, as by the tool."""
        since, sums, have_run = {}, collections.Counter(), set()
        for line in self.lines:
            change = re.search(r'Time=(\d+) GoID=(\d+) (\w+)->(\w+) Reason="(.*)"', line)
            if not change:
                continue
            now, g, was, to, reason = int(change.group(1)), *change.group(2, 3, 4, 5)
            began, kind = since.pop(g, (0, None))
            if kind and was != to:
                sums[kind] += now - began
            elif kind:
                since[g] = (began, kind)  # told again at the beginning of a generation
            if to == "Running":
                have_run.add(g)
            kind = {"Runnable": "sched", "Syscall": "syscall"}.get(to)
            if to == "Waiting":
                kind = ("net" if reason == "network" else
                        "sync" if re.search("chan|sync|select", reason) else None)
            if kind and g in have_run and was != to:
                since[g] = (now, kind)
        return sums


def can_tool(kind, version):
    """Is this version's own profile right? Before 1.26 it overlooks what ends without a stack."""
    return version >= (1, 26) or kind in ("sync", "net")


def judge(path, what):
    """Parses a trace; a refusal is a failure of the test."""
    parsed = Parsed(path)
    check(parsed.is_accepted(), "%s: go tool trace says: %s" % (what, parsed.error[:600]))
    check(parsed.kinds["StateTransition"] > 0, "%s: there is nothing in it" % what)
    return parsed


def profile_total(path, kind):
    """The sum of one of the tool's own profiles, ns, and what `go tool pprof -top` says."""
    done = go_trace("-pprof=" + kind, path)
    if done.returncode != 0:
        check(False, "-pprof=%s: %s" % (kind, done.stderr.decode()[-500:]))
        return 0, ""
    with tempfile.NamedTemporaryFile(suffix=".pb.gz") as f:
        f.write(done.stdout)
        f.flush()
        raw = subprocess.run([*go_tool("pprof"), "-raw", f.name], capture_output=True, text=True)
        top = subprocess.run([*go_tool("pprof"), "-top", f.name], capture_output=True, text=True)
    total = 0
    samples = raw.stdout.partition("Samples:")[2].partition("Locations")[0]
    for line in samples.splitlines():
        values = re.match(r"\s*(\d+)\s+(\d+):", line)
        total += int(values.group(2)) if values else 0
    return total, top.stdout


def views_answer(path, what):
    """Every page of the tool's server, and the feed of its timeline."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    server = subprocess.Popen([*go_tool("trace"), "-http=127.0.0.1:%d" % port, path],
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                              start_new_session=True,
                              env=dict(os.environ, BROWSER="true", DISPLAY=""))
    try:
        url = "http://127.0.0.1:%d" % port
        for _ in range(300):
            try:
                urllib.request.urlopen(url, timeout=60).read()
                break
            except OSError:
                if server.poll() is not None:
                    break
                time.sleep(0.1)
        # raw: the profile itself, for which the tool needs no graphviz
        for view in ("/", "/goroutines", "/usertasks", "/userregions", "/mmu", "/io?raw=1",
                     "/block?raw=1", "/syscall?raw=1", "/sched?raw=1", "/jsontrace",
                     "/jsontrace?view=thread"):
            try:
                answer = urllib.request.urlopen(url + view, timeout=120)
                body = answer.read()
                check(answer.status == 200 and body, "%s: view %s is empty" % (what, view))
            except OSError as e:
                check(False, "%s: view %s: %s" % (what, view, e))
        check(server.poll() is None, "%s: the tool died over it" % what)
    finally:
        # where go runs the tool, as a child, that would outlive it
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        server.stderr.close()
