#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A program of which nothing lasts, under profiles of all kinds at once and all the time: memory, threads
and descriptors stay within bounds, counters never fall and are right in the end, drops are counted.

    churn.py [SECONDS]     5 unless told
"""
import threading
import urllib.request

from http_support import *

SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 5
KINDS = ("profile?seconds=1", "profile?seconds=1&hz=1000", "wall?seconds=1", "heap", "allocs", "block", "mutex?seconds=1",
         "schedule", "hog", "goroutine?debug=2", "goroutine", "threadcreate", "trace?seconds=1",
         "block?seconds=1", "heap?seconds=1")
RESIDENT_MAX = 256 << 20                # 16 arenas of the C library, and what is in use: some 100 MiB
SETTLED_S = 60                          # a run of so long has seen everything in its first half
GROWTH, GROWTH_BYTES = 1.1, 16 << 20    # of resident memory from there on
OWN_COROUTINES = 16                     # besides those that the program counts
THREADS_MAX, DESCRIPTORS_MAX = 120, 120


class Metrics:
    """All series of one scrape; which only grow."""

    def __init__(self, server):
        with urllib.request.urlopen("http://%s/metrics" % server.address, timeout=60) as answer:
            text = answer.read().decode()
        kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
        self.values, self.growing = {}, set()
        for name, value in re.findall(r"^([^#\s][^ ]*(?:\{.*?\})?) (\S+)$", text, re.M):
            family = re.sub(r"(_bucket|_sum|_count)?(\{.*)?$", "", name)
            self.values[name] = float(value)
            if "counter" in (kinds.get(re.sub(r"\{.*", "", name)), kinds.get(family)) or \
               kinds.get(family) == "histogram":
                self.growing.add(name)

    def sum(self, name):
        return sum(v for k, v in self.values.items() if re.sub(r"\{.*", "", k) == name)


class Asker(threading.Thread):
    """Asks for one kind over and over."""

    def __init__(self, server, query, is_over):
        super().__init__(daemon=True)
        self.server, self.query, self.is_over, self.count, self.objects = server, query, is_over, 0, 0
        self.start()

    def run(self):
        while not self.is_over.is_set():
            try:
                status, _, body = self.server.get(self.query, timeout=120)
            except (OSError, http.client.HTTPException) as e:
                check(False, "%s: %s" % (self.query, e))
                return
            check(status == 200 and body, "%s: %d %r" % (self.query, status, body[:200]))
            self.count += 1
            self.is_over.wait(0.2)


def watch(server, is_over):
    """Scrapes until the time is over: [(share of the time, Metrics)]."""
    seen, began = [], time.monotonic()
    while time.monotonic() - began < SECONDS:
        now = Metrics(server)
        if seen:
            last = seen[-1][1]
            for name in last.growing:
                check(now.values.get(name, 0) >= last.values[name], "%s fell from %g to %g" % (
                    name, last.values[name], now.values.get(name, 0)))
        seen.append(((time.monotonic() - began) / SECONDS, now))
        time.sleep(min(1, SECONDS / 20))
    is_over.set()
    return seen


def judge_bounds(seen):
    def most(name, low, high):
        return max([m.sum(name) for at, m in seen if low <= at <= high] or [0])
    rss = "process_resident_memory_bytes"
    first, last = most(rss, 0, 0.5), most(rss, 0.5, 1)
    print("resident: at most %.1f MiB in the first half, %.1f in the second" % (
        first / 2**20, last / 2**20))
    check(max(first, last) <= RESIDENT_MAX, "resident memory is %d" % max(first, last))
    check(SECONDS < SETTLED_S or last <= GROWTH * first + GROWTH_BYTES,
          "resident memory grows from %d to %d" % (first, last))
    threads, fds = most("go_threads", 0, 1), most("process_open_fds", 0, 1)
    print("at most %d threads, %d descriptors" % (threads, fds))
    check(threads <= THREADS_MAX and fds <= DESCRIPTORS_MAX, "threads or descriptors pile up")


def judge_profile(pprof, server, name):
    """Says how long the answer and the tool took, so that a slow one is not a riddle."""
    began = time.monotonic()
    status, _, body = server.get(name, timeout=60)
    answered = time.monotonic()
    check(status == 200, "%s: %d %r" % (name, status, body[:200]))
    path = os.path.join(pprof.home, "churn.pb.gz")
    with open(path, "wb") as f:
        f.write(body)
    Raw(pprof.clean("-raw", path))
    print("%s: %d bytes in %.2f s, read by the tool in %.2f s" % (
        name, len(body), answered - began, time.monotonic() - answered), flush=True)


def judge_end(server, askers):
    server.process.stdin.write(b"stop\n")
    server.process.stdin.flush()
    words = server.process.stdout.readline().decode().split()
    known = dict(zip(words[::2], map(int, words[1::2])))
    print(known, {a.query: a.count for a in askers})
    check(known and all(v > 0 for v in known.values()), "nothing was done: %s" % words)
    end = Metrics(server)
    created = end.sum("copper_coroutines_created_total")
    check(0 <= created - known["coroutines"] <= OWN_COROUTINES, "created %d, program says %d" % (
        created, known["coroutines"]))
    check(created - end.sum("copper_coroutines_exited_total") <= OWN_COROUTINES, "coroutines left over")
    dropped = {k: v for k, v in end.values.items() if k.startswith("copper_profiler_dropped_total")}
    print("dropped:", dropped, "samples:", end.sum("copper_profiler_cpu_samples_total"))
    check(dropped, "drops are not counted")
    for kind in ("cpu", "wall", "delay", "trace"):
        check(end.values['copper_profiler_cost_seconds_total{kind="%s"}' % kind] > 0,
              "%s cost nothing" % kind)
    for asker in askers:
        check(asker.count > 0, "%s: no answer" % asker.query)


def main():
    libraries = [os.path.join(BUILD, "tests", "libstacks_reload_%s.so" % n) for n in ("one", "two")]
    with Pprof() as pprof, Server(program("churn_program"), *libraries) as server:
        is_over = threading.Event()
        askers = [Asker(server, query, is_over) for query in KINDS]
        seen = watch(server, is_over)
        for asker in askers:
            asker.join(120)
        judge_bounds(seen)
        for name in ("allocs", "block", "mutex", "schedule", "profile?seconds=1"):
            judge_profile(pprof, server, name)
        judge_end(server, askers)
        check(server.stop() == 0, "the program ends well")
    finish()


main()
