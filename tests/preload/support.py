# SPDX-License-Identifier: Apache-2.0
"""Shared by the tests here: running programs with and without us, fetching from what serves, and a
list of named checks that prints what it saw when one fails."""
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

BUILD = os.environ["COPPER_BUILD"]
COPPER = f"{BUILD}/bin/copper"
SHIM = f"{BUILD}/lib/libcopper_preload.so"
PROGRAMS = f"{BUILD}/tests"
LIMIT = 30  # seconds, for anything that should end by itself
SERVING = re.compile(r"copper: (\S+)\[(\d+)\] (http://[0-9.:]+/debug/pprof/)")

failures = []
checks = 0


def check(name, good, *seen):
    """One named check; prints what was seen when it fails."""
    global checks
    checks += 1
    if not good:
        failures.append(name)
        print(f"FAILED {name}", *(f"\n    {value!r}" for value in seen), flush=True)
    return good


def equal(name, got, expected):
    return check(name, got == expected, got, expected)


def finish():
    print(f"{checks - len(failures)} of {checks} checks passed")
    sys.exit(1 if failures or checks == 0 else 0)


def environment(**changes):
    env = {key: value for key, value in os.environ.items()
           if not key.startswith("COPPER_PRELOAD_") and key != "LD_PRELOAD"}
    env.update(changes)
    return env


def run(command, timeout=LIMIT, **options):
    """The finished process, with stdout and stderr as text."""
    options.setdefault("env", environment())
    options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout,
                          errors="replace", **options)


def outcome(result):
    return result.returncode, result.stdout, result.stderr


class Serving:
    """A program under `copper run`, until the end of the with block."""

    def __init__(self, *command, options=(), log=None, **popen):
        self.log = tempfile.NamedTemporaryFile("w+", delete=False)
        popen.setdefault("env", environment())
        popen.setdefault("stdin", subprocess.DEVNULL)
        popen.setdefault("stdout", subprocess.DEVNULL)
        self.process = subprocess.Popen([COPPER, "run", *options, "--", *command],
                                        stderr=self.log, **popen)
        self.url = None

    def __enter__(self):
        deadline = time.monotonic() + LIMIT
        while self.url is None and time.monotonic() < deadline:
            found = SERVING.search(self.stderr())
            if found:
                self.name, self.pid, self.url = found.group(1), int(found.group(2)), found.group(3)
            elif self.process.poll() is not None:
                break
            else:
                time.sleep(0.01)
        if self.url is None:
            self.__exit__()
            raise RuntimeError(f"does not serve: {self.stderr()}")
        return self

    def stderr(self):
        with open(self.log.name, encoding="utf-8", errors="replace") as log:
            return log.read()

    def fetch(self, path, timeout=LIMIT):
        return fetch(self.url + path, timeout)

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()
        return False


def fetch(url, timeout=LIMIT):
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        return answer.read()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for_port(port, limit=LIMIT):
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        with socket.socket() as s:
            s.settimeout(1)
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.02)
    return False


def wait_until(condition, limit=LIMIT):
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def status_field(pid, name):
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        return re.search(rf"^{name}:\s*(.*)$", status.read(), re.M).group(1)


def descriptors(pid):
    return sorted(os.listdir(f"/proc/{pid}/fd"), key=int)


def have(program):
    return shutil.which(program) is not None


# ---- a reader of pprof bytes that is not ours ----------------------------------------------------

def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7f) << shift
        shift += 7
        if not byte & 0x80:
            return value, at


def fields(data):
    """(number, value) of one message; value is an int or bytes."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        elif key & 7 == 2:
            size, at = varint(data, at)
            value, at = data[at:at + size], at + size
            if len(value) != size:
                raise ValueError("cut short")
        else:
            raise ValueError(f"wire type {key & 7}")
        yield key >> 3, value


def packed(value):
    if isinstance(value, int):
        return [value]
    values, at = [], 0
    while at < len(value):
        number, at = varint(value, at)
        values.append(number)
    return values


class Profile:
    """samples: [(stack of function names, leaf first; values)], types: [(type, unit)]."""

    def __init__(self, data):
        import gzip
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        strings, samples, locations, functions, types = [], [], {}, {}, []
        self.comments, self.start_ns, self.duration_ns = [], 0, 0
        for number, value in fields(data):
            if number == 1:
                types.append(dict(fields(value)))
            elif number == 2:
                samples.append(list(fields(value)))
            elif number == 4:
                parts = list(fields(value))
                lines = [dict(fields(line)) for key, line in parts if key == 4]
                locations[dict(parts)[1]] = [line.get(1) for line in lines]
            elif number == 5:
                parts = dict(fields(value))
                functions[parts[1]] = parts.get(2, 0)
            elif number == 6:
                strings.append(value.decode())
            elif number == 9:
                self.start_ns = value
            elif number == 10:
                self.duration_ns = value
            elif number == 13:
                self.comments += packed(value)
        self.comments = [strings[i] for i in self.comments]
        self.types = [(strings[t.get(1, 0)], strings[t.get(2, 0)]) for t in types]
        self.samples = []
        for parts in samples:
            ids = [i for key, value in parts if key == 1 for i in packed(value)]
            values = [i for key, value in parts if key == 2 for i in packed(value)]
            stack = [strings[functions[f]] for i in ids for f in locations[i]]
            self.samples.append((stack, values))

    def total(self, kind="cpu", through=None):
        """Of all samples, or of those with a function on their stack."""
        index = [t for t, _ in self.types].index(kind)
        return sum(values[index] for stack, values in self.samples if not through or through in stack)

    def flat(self, kind="cpu"):
        index = [t for t, _ in self.types].index(kind)
        sums = {}
        for stack, values in self.samples:
            leaf = stack[0] if stack else ""
            sums[leaf] = sums.get(leaf, 0) + values[index]
        return sums


def kill_quietly(pid, number=signal.SIGKILL):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
