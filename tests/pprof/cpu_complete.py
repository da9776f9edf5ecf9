"""Programs that nobody rebuilt, under preload and load: what share of the CPU samples reaches the real
start of the program or thread, judged from the fetched profile by `go tool pprof -raw`. Samples that
were dropped or cut count as incomplete. Prints the share, and what share of the time is in frames
that no symbol names. For redis-server the sum is held against the kernel's clock as well.

    cpu_complete.py redis|xz|python|throw [SECONDS]
"""
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

BUILD = os.environ["COPPER_BUILD"]
SOURCE = os.environ["COPPER_SOURCE"]
sys.path.insert(0, f"{SOURCE}/tests/support")
from cpu_profile import CpuClock, Profile, go_tool  # noqa: E402

COMPLETE = 0.99
TOLERANCE = 0.05
HZ = 250
ENOUGH_NS, TRIES = 1_500_000_000, 5
START_BYTES = 64 # a stripped program's _start is within so many bytes of its entry point
# Where the programs' stacks begin, as far as they can be named: the first function of a program and
# of a thread. A stack that ends elsewhere was not followed to its end.
ROOTS = {"_start", "clone3", "__clone3", "clone", "__clone"}
PYTHON_WORK = """
import json, re, time
end = time.time() + float({seconds})
def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
while time.time() < end:
    fib(16)
    json.loads(json.dumps([dict(a=i, b=str(i)) for i in range(200)]))
    re.findall(r'(a+)+b', 'aaaaaaaaaaab' * 20)
    sorted((i * 7919) % 1009 for i in range(2000))
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def is_open(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


class Program:
    """A program under `copper run`, and what loads it."""

    def __init__(self, name, seconds):
        self.http, self.others, redis = free_port(), [], free_port()
        commands = {
            "redis": ["redis-server", "--port", str(redis), "--save", "", "--appendonly", "no"],
            "xz": ["xz", "-6", "-T1", "-c", "/dev/urandom"],
            "python": [sys.executable, "-c", PYTHON_WORK.format(seconds=seconds + 60)],
            "throw": [f"{BUILD}/tests/cpu_throw", str(seconds + 60)],
        }
        self.process = self.start([f"{BUILD}/bin/copper", "run", "--quiet", "--http",
                                   f"127.0.0.1:{self.http}", "--"] + commands[name])
        ports = [self.http] + ([redis] if name == "redis" else [])
        deadline = time.time() + 20
        while not all(is_open(port) for port in ports):
            if time.time() > deadline or self.process.poll() is not None:
                self.stop()
                sys.exit(f"{name} does not serve")
            time.sleep(0.05)
        if name == "redis":
            self.start(["redis-benchmark", "-p", str(redis), "-q", "-c", "20", "-n", "1000000000",
                        "-t", "get,set,lrange,zadd"])
            time.sleep(0.3)

    def start(self, command):
        self.others.append(subprocess.Popen(command, stdin=subprocess.DEVNULL,
                                            stdout=subprocess.DEVNULL,
                                            stderr=subprocess.DEVNULL))
        return self.others[-1]

    def fetch(self, seconds, path):
        url = f"http://127.0.0.1:{self.http}/debug/pprof/profile?seconds={seconds}&hz={HZ}"
        with urllib.request.urlopen(url, timeout=seconds + 60) as answer, open(path, "wb") as out:
            out.write(answer.read())

    def stop(self):
        for process in reversed(self.others):
            process.kill()
        for process in self.others:
            process.wait()


def is_start(root, executable):
    """Whether the name of an outermost frame is that of a real start, by its address if need be."""
    if root in ROOTS:
        return True
    found = re.match(re.escape(os.path.basename(executable)) + r"\+0x([0-9a-f]+)$", root)
    with open(executable, "rb") as file:
        entry = int.from_bytes(file.read(32)[24:32], "little")
    return found is not None and 0 <= int(found[1], 16) - entry < START_BYTES


def judge(name, profile, kernel_ns, executable):
    errors = profile.check()
    bad, everything = profile.incomplete()
    share = 1 - bad / everything if everything else 0
    at_root = sum(ns for root, ns in profile.roots().items() if is_start(root, executable))
    print(f"{name}: {profile.total_count()} samples, {100 * share:.2f} % complete, "
          f"{100 * at_root / max(profile.total_ns(), 1):.2f} % end where programs and threads start; "
          f"{100 * profile.unnamed_share():.2f} % of the time in module+0x frames")
    print(f"{name}: samples {profile.total_ns() / 1e9:.3f} s, kernel {kernel_ns / 1e9:.3f} s")
    # of so many samples, what chance may take from a share of 99 %: three standard errors
    chance = 3 * (COMPLETE * (1 - COMPLETE) / max(profile.total_count(), 1)) ** 0.5
    if share < COMPLETE - chance:
        errors.append("too many incomplete stacks")
    if at_root < (COMPLETE - chance) * profile.total_ns():
        errors.append(f"stacks that end elsewhere: {profile.roots()}")
    if name == "redis" and abs(profile.total_ns() / kernel_ns - 1) > TOLERANCE:
        errors.append("the sum is off")
    return errors


def main():
    name = sys.argv[1]
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    if not go_tool() or (name == "redis" and not shutil.which("redis-server")):
        print("tools are missing")
        return 77
    program = Program(name, seconds)
    try:
        with tempfile.TemporaryDirectory() as folder:
            executable = os.readlink(f"/proc/{program.process.pid}/exe")
            for _ in range(TRIES): # a crowded machine gives the program little time to look at
                clock = CpuClock(program.process.pid)
                program.fetch(seconds, f"{folder}/cpu.pb.gz")
                clock.stop()
                profile = Profile(f"{folder}/cpu.pb.gz")
                if profile.total_ns() >= ENOUGH_NS:
                    break
    finally:
        program.stop()
    errors = judge(name, profile, clock.between(profile.start_ns, profile.duration_s),
                   executable)
    print("\n".join(profile.comments + errors))
    return 1 if errors else 0


sys.exit(main())
