#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""User and total CPU of redis-server for the same requests, with and without a running CPU profile.

Both halves of a pair run on one preloaded server, back to back and in random order, so that the
machine's drift cancels in the ratio. Prints each pair, then the median ratio and a 95 % bootstrap
interval.

    bench/redis_overhead.py [--build build/release] [--pairs 20] [--requests 200000] [--hz 100]
"""
import argparse
import os
import random
import re
import socket
import statistics
import subprocess
import threading
import time
import urllib.request


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def cpu_seconds(pid):
    """(user, user + system) of a process, from the kernel's accounting."""
    fields = open(f"/proc/{pid}/stat", encoding="utf-8").read().rsplit(")", 1)[1].split()
    tick = os.sysconf("SC_CLK_TCK")
    return int(fields[11]) / tick, (int(fields[11]) + int(fields[12])) / tick


def start_server(build):
    port = free_port()
    server = subprocess.Popen(
        [f"{build}/bin/copper", "run", "--", "redis-server", "--port", str(port),
         "--save", "", "--bind", "127.0.0.1"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    line = server.stderr.readline()
    url = re.search(r"http://\S+", line)
    if not url:
        raise SystemExit(f"redis_overhead: no address in {line!r}")
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return server, port, url.group(0)
        except OSError:
            time.sleep(0.05)
    raise SystemExit("redis_overhead: redis-server did not come up")


def run_load(port, requests):
    subprocess.run(["redis-benchmark", "-h", "127.0.0.1", "-p", str(port), "-q", "-t", "get",
                    "-n", str(requests), "-P", "8"], check=True, stdout=subprocess.DEVNULL)


class Profile:
    """Profiles back to back for as long as it is open."""

    def __init__(self, url, hz):
        self.url = f"{url}profile?seconds=1&hz={hz}"
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.loop)

    def loop(self):
        while not self.stop.is_set():
            urllib.request.urlopen(self.url).read()

    def __enter__(self):
        self.thread.start()
        time.sleep(0.3)

    def __exit__(self, *unused):
        self.stop.set()
        self.thread.join()


def measure(server, port, requests):
    before = cpu_seconds(server.pid)
    run_load(port, requests)
    after = cpu_seconds(server.pid)
    return after[0] - before[0], after[1] - before[1]


def interval(ratios, rounds=5000):
    medians = sorted(statistics.median(random.choices(ratios, k=len(ratios)))
                     for _ in range(rounds))
    return medians[int(rounds * 0.025)], medians[int(rounds * 0.975)]


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--build", default="build/release")
    options.add_argument("--pairs", type=int, default=20)
    options.add_argument("--requests", type=int, default=400000)
    options.add_argument("--hz", type=int, default=100)
    a = options.parse_args()
    server, port, url = start_server(a.build)
    user, total = [], []
    try:
        run_load(port, a.requests)
        for pair in range(a.pairs):
            seconds = {}
            for profiled in random.sample([False, True], 2):
                if profiled:
                    with Profile(url, a.hz):
                        seconds[True] = measure(server, port, a.requests)
                else:
                    seconds[False] = measure(server, port, a.requests)
            user.append(seconds[True][0] / seconds[False][0])
            total.append(seconds[True][1] / seconds[False][1])
            print(f"pair {pair + 1:2}  user {seconds[False][0]:.2f} s -> {seconds[True][0]:.2f} s"
                  f"  ratio {user[-1]:.3f}   user+system ratio {total[-1]:.3f}", flush=True)
    finally:
        server.kill()
        server.wait()
    for name, ratios in (("user", user), ("user+system", total)):
        low, high = interval(ratios)
        print(f"{name} CPU with a {a.hz} Hz profile / without: median {statistics.median(ratios):.3f}"
              f", 95 % interval [{low:.3f}, {high:.3f}], {len(ratios)} pairs")


main()
