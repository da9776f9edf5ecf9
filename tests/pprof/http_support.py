# SPDX-License-Identifier: Apache-2.0
"""What the tests of /debug/pprof share: start a program that serves, ask it, ask `go tool pprof`."""
import functools
import gzip
import http.client
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

BUILD = os.environ.get("COPPER_BUILD", "/nonexistent")
SOURCE = os.environ.get("COPPER_SOURCE", os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__)))))
SKIPPED = 77
# Lines that `go tool pprof` prints when all is well.
NORMAL = ("Fetching profile", "Please wait", "Saved profile", "Generating report")

failures = []


def check(condition, text):
    """Notes a failure and goes on: one run shows them all."""
    if not condition:
        failures.append(text)
        print("FAIL:", text, flush=True)


def finish():
    print("%d failures" % len(failures))
    sys.exit(1 if failures else 0)


def program(name):
    return os.path.join(BUILD, "tests", name)


class Server:
    """A running program and where it serves. Its first line of output is the address."""

    def __init__(self, *command, env=None, address=None, **options):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=dict(os.environ, **(env or {})), **options)
        line = self.process.stdout.readline().decode().strip()
        self.address = address(self) if address else line
        if ":" not in self.address:
            self.process.kill()
            raise SystemExit("%s does not serve: %r %r" % (
                command, line, self.process.stderr.read()[-500:]))
        self.host, port = self.address.split(":")
        self.port = int(port)
        self.url = "http://%s/debug/pprof" % self.address
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.stop()

    def stop(self):
        """Ends it by closing its input; returns its exit status."""
        if self.process.stdin:
            self.process.stdin.close()
        try:
            status = self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()
        return status

    def is_alive(self):
        return self.process.poll() is None

    def connect(self, timeout=10):
        return socket.create_connection((self.host, self.port), timeout=timeout)

    def get(self, path, method="GET", body=None, headers=None, timeout=30):
        """One request: (status, headers with lower-case names, body)."""
        c = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        try:
            c.request(method, path if path.startswith("/") else "/debug/pprof/" + path,
                      body=body, headers=headers or {})
            r = c.getresponse()
            return r.status, {k.lower(): v for k, v in r.getheaders()}, r.read()
        except (OSError, http.client.HTTPException):
            print("%s %s failed; exit status of the program: %s" % (
                method, path, "none, it runs" if self.is_alive() else self.process.returncode))
            raise
        finally:
            c.close()

    def raw(self, data, timeout=10):
        """Sends bytes as they are and returns all that comes back."""
        with self.connect(timeout) as s:
            s.sendall(data)
            return receive_all(s)

    def profile(self, path):
        """The unpacked bytes of a binary profile."""
        status, _, body = self.get(path)
        if status != 200:
            raise SystemExit("%s: %d %r" % (path, status, body[:200]))
        return gzip.decompress(body)


def receive_all(s):
    got = b""
    try:
        while True:
            piece = s.recv(65536)
            if not piece:
                return got
            got += piece
    except OSError:
        return got


@functools.cache
def go_tool(name):
    """The command that is `go tool NAME`: the program itself where that is known, as `go` takes longer to
    find it than it takes, up to half a minute on a crowded machine."""
    go = shutil.which("go") or "/usr/local/go/bin/go"
    subprocess.run([go, "tool", name, "-h"], capture_output=True)  # builds it, since 1.25
    said = subprocess.run([go, "tool", "-n", name], capture_output=True, text=True).stdout.strip()
    return [said] if os.access(said, os.X_OK) else [go, "tool", name]


class Pprof:
    """`go tool pprof` with a home of its own."""

    def __init__(self):
        if not shutil.which("go"):
            print("no go tool to judge with")
            sys.exit(SKIPPED)
        cache = subprocess.run(["go", "env", "GOCACHE"], capture_output=True, text=True).stdout
        self.home = tempfile.mkdtemp(prefix="copper-pprof-")
        self.env = dict(os.environ, HOME=self.home, PPROF_TMPDIR=self.home,
                        GOCACHE=cache.strip(), GOFLAGS="-mod=mod")
        self.env.pop("PPROF_BINARY_PATH", None)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        shutil.rmtree(self.home, ignore_errors=True)

    def run(self, *arguments, cwd=None, timeout=90):
        return subprocess.run([*go_tool("pprof"), *arguments], capture_output=True, text=True,
                              env=self.env, cwd=cwd or self.home, timeout=timeout)

    def clean(self, *arguments, cwd=None):
        """Runs and demands success without any warning; returns the output."""
        r = self.run(*arguments, cwd=cwd)
        name = " ".join(arguments)
        check(r.returncode == 0, "pprof %s: status %d: %s" % (name, r.returncode, r.stderr[-400:]))
        odd = [l for l in r.stderr.splitlines() if l and not l.startswith(NORMAL)]
        check(not odd, "pprof %s warns: %s" % (name, odd[:5]))
        return r.stdout


class Raw:
    """The output of `pprof -raw`, taken apart."""

    def __init__(self, text):
        self.text = text
        self.period_type = self._one(r"^PeriodType: (.*)$")
        self.period = int(self._one(r"^Period: (\d+)$") or 0)
        lines = text.splitlines()
        at = lines.index("Samples:")
        self.types = lines[at + 1].split()
        middle, end = lines.index("Locations"), lines.index("Mappings")
        self.samples, self.labels = [], []
        for line in lines[at + 2:middle]:
            found = re.match(r"^ *((?:-?\d+ +)*-?\d+): ([\d ]*)$", line)
            if found:
                self.samples.append(([int(v) for v in found.group(1).split()],
                                     [int(l) for l in found.group(2).split()]))
                self.labels.append({})
            elif self.labels:
                self.labels[-1].update(re.findall(r"(\S+?):\[(.*?)\](?: |$)", line.strip()))
        self.locations = {}  # id -> (address, mapping or None, [line, ...] innermost first)
        for line in lines[middle + 1:end]:
            found = re.match(r"^ *(\d+): (0x[0-9a-f]+)(?: M=(\d+))?(.*)$", line)
            if found:
                last = int(found.group(1))
                rest = found.group(4).replace("[F]", "").strip()
                self.locations[last] = (int(found.group(2), 16),
                                        int(found.group(3)) if found.group(3) else None,
                                        [rest] if rest else [])
            elif line.strip():
                self.locations[last][2].append(line.strip())
        self.mappings = {}
        for line in lines[end + 1:]:
            found = re.match(r"^(\d+): (0x[0-9a-f]+)/(0x[0-9a-f]+)/(0x[0-9a-f]+) (.*)$", line)
            if found:
                self.mappings[int(found.group(1))] = (
                    int(found.group(2), 16), int(found.group(3), 16), int(found.group(4), 16),
                    found.group(5))

    def _one(self, pattern):
        found = re.search(pattern, self.text, re.M)
        return found.group(1) if found else None

    def functions(self, location):
        """Names of a location's lines, innermost first."""
        return [l.split(" ")[0] for l in self.locations[location][2]]

    def stack(self, sample):
        """Names of a sample's frames, leaf first."""
        return [f for l in self.samples[sample][1] for f in self.functions(l)]


def until(condition, seconds=10):
    """Waits until condition() is true; false when the time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False
