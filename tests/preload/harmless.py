# SPDX-License-Identifier: Apache-2.0
"""See harmless.sh. For each loop: one window over the whole time, whose sum is compared with the
kernel's CPU time of the process over the same time, and beside it short windows back to back."""
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time

from support import PROGRAMS, Profile, Serving, check, equal, fetch, finish

LOOPS = ["dl", "malloc", "throw", "fork", "exec", "thread", "blocked", "mixed"]
HZ = 10000
SHARE = 0.9
TICK = 0.004  # seconds
HANG = 60  # seconds more than asked for


def own_seconds(pid):
    """CPU time of the profiler's own threads."""
    total = 0
    for tid in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{tid}/comm", encoding="utf-8") as f:
                is_ours = f.read().startswith("copper")
            if is_ours:
                with open(f"/proc/{pid}/task/{tid}/schedstat", encoding="utf-8") as f:
                    total += int(f.read().split()[0]) / 1e9
        except (OSError, ProcessLookupError):
            pass  # it ended meanwhile
    return total


class Clock:
    """CPU time of a process by the kernel's clock, without the profiler's own threads, read all the
    time, so that it can be told for any moment."""

    def __init__(self, pid):
        self.pid, self.seen, self.stopped = pid, [], False
        self.thread = threading.Thread(target=self.go)
        self.thread.start()
        while not self.seen and self.thread.is_alive():
            time.sleep(0.001)

    def go(self):
        while not self.stopped:
            try:
                own = own_seconds(self.pid)
                self.seen.append((time.time_ns(), time.clock_gettime((~self.pid << 3) | 2) - own))
            except OSError:
                return
            time.sleep(0.02)

    def at(self, wall_ns):
        """Between two readings the time is taken to run evenly."""
        for (t0, c0), (t1, c1) in zip(self.seen, self.seen[1:]):
            if t0 <= wall_ns <= t1:
                return c0 + (c1 - c0) * (wall_ns - t0) / (t1 - t0)
        raise ValueError("not read then")

    def between(self, start_ns, end_ns):
        while self.seen[-1][0] < end_ns and self.thread.is_alive():
            time.sleep(0.02)
        self.stopped = True
        self.thread.join()
        return self.at(end_ns) - self.at(start_ns)


class Windows:
    """Short windows back to back, until stopped."""

    def __init__(self, url):
        self.url, self.done, self.errors, self.stopped = url, 0, [], False
        self.thread = threading.Thread(target=self.go)
        self.thread.start()

    def go(self):
        while not self.stopped:
            try:
                Profile(fetch(f"{self.url}profile?hz={HZ}&seconds=1"))
                self.done += 1
            except Exception as error:  # noqa: whatever it is, it is reported
                if not self.stopped:
                    self.errors.append(repr(error))
                    time.sleep(0.1)

    def stop(self):
        self.stopped = True
        self.thread.join()


def measure(s, seconds):
    """(CPU time by the kernel, CPU time in samples, the profile) over one window."""
    clock = Clock(s.pid)
    try:
        profile = Profile(fetch(f"{s.url}profile?hz={HZ}&seconds={seconds}", seconds + HANG))
        kernel = clock.between(profile.start_ns, profile.start_ns + profile.duration_ns)
    finally:
        clock.stopped = True
    return kernel, profile.total() / 1e9, profile


def judge(name, seconds, kernel, sampled, profile):
    share = sampled / kernel
    # short-lived threads are sampled by ticks, and few ticks are a small sample
    chance = 3 / math.sqrt(kernel / TICK)
    check(f"{name}: at least {100 * SHARE:.0f} % of the CPU time is in samples",
          share >= SHARE - chance, kernel, sampled, chance, profile.comments)
    check(f"{name}: and not more than there was", share <= 2 - SHARE + chance, kernel, sampled,
          chance, profile.comments)
    losses = [c for c in profile.comments if "cost" not in c and "table" not in c]
    return (f"kernel CPU {kernel:7.3f} s, in samples {sampled:7.3f} s ({100 * share:5.1f} %); "
            f"{'; '.join(losses)}")


def one_loop(name, seconds):
    command = [f"{PROGRAMS}/preload.loops", name, str(seconds + HANG)]
    with Serving(*command, stdout=subprocess.PIPE, text=True) as s:
        windows, figures = Windows(s.url), "no figures"
        try:
            figures = judge(name, seconds, *measure(s, seconds))
        except Exception as error:  # noqa: whatever it is, it is reported
            check(f"{name}: the window over the whole time", False, repr(error))
        windows.stop()
        s.process.send_signal(signal.SIGUSR1)  # loops.c ends at the next step
        try:
            stdout, _ = s.process.communicate(timeout=HANG)
        except subprocess.TimeoutExpired:
            stdout = ""
            check(f"{name}: ends", False)
        equal(f"{name}: status", s.process.returncode, 0)
        rounds = re.search(r"rounds=(\d+)", stdout)
        check(f"{name}: did its rounds", rounds and int(rounds.group(1)) > 0, stdout)
        equal(f"{name}: nothing but our line on stderr", s.stderr().count("\n"), 1)
        check(f"{name}: windows beside it", windows.done > 0 and not windows.errors, windows.errors)
        print(f"{name:8} {seconds} s: {rounds.group(1) if rounds else '?':>9} rounds, "
              f"{windows.done} windows beside, {figures}", flush=True)


def main():
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    for name in sys.argv[2:] or LOOPS:
        one_loop(name, seconds)
    finish()


if __name__ == "__main__":
    main()
