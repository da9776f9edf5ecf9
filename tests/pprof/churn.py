#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A program of which nothing lasts, under profiles of all kinds at once and all the time: memory, threads
and descriptors stay within bounds, counters never fall and are right in the end, drops are counted.

    churn.py [SECONDS]     5 unless told

From four minutes on it also judges whether memory has levelled off, by thirds of the run: what is in use, by
its median, since answers come and go, and what is resident, by its most. It says where memory is.
"""
import statistics
import threading
import urllib.request

from http_support import *

SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 5
KINDS = ("profile?seconds=1", "profile?seconds=1&hz=1000", "wall?seconds=1", "heap", "allocs", "block", "mutex?seconds=1",
         "schedule", "hog", "goroutine?debug=2", "goroutine", "threadcreate", "trace?seconds=1",
         "block?seconds=1", "heap?seconds=1")
RESIDENT_MAX = 128 << 20                # 16 arenas of the C library, and what is in use: some 70 MiB
SETTLED_S = 240                         # a run of so long has seen everything in its first third
IN_USE_NOISE = 2 << 20                  # of a third's median, ...
RESIDENT_NOISE = 4 << 20                # ... and of its most: twice what was measured, and more
FILES_MAX = 40                          # of COPPER_CONTINUOUS_KEEP
LOOK_S = 10                             # between looks at the mappings
OWN_COROUTINES = 16                     # besides those that the program counts
THREADS_MAX, DESCRIPTORS_MAX = 120, 120


class Metrics:
    """All series of one scrape; which only grow."""

    def __init__(self, server):
        with urllib.request.urlopen("http://%s/metrics" % server.address, timeout=60) as answer:
            text = answer.read().decode()
        kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
        self.values, self.growing, self.kinds = {}, set(), None
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


def resident_by_kind(pid):
    """What is resident in KiB, by kind of mapping."""
    kinds, kind = {}, None
    with open("/proc/%d/smaps" % pid) as f:
        for line in f:
            head = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ *(.*)", line)
            if head:
                low, name = int(head[1], 16), head[4]
                is_arena = name == "[heap]" or (not name and low % (64 << 20) == 0 and head[3][0] == "r")
                kind = "arenas" if is_arena else "files" if name.startswith("/") else \
                    "others" if name else "tables, stacks"
            elif line.startswith("Rss:"):
                kinds[kind] = kinds.get(kind, 0) + int(line.split()[1])
    return kinds


def watch(server, is_over):
    """Scrapes until the time is over: [(share of the time, Metrics)]."""
    seen, began, look = [], time.monotonic(), 0
    while time.monotonic() - began < SECONDS:
        now = Metrics(server)
        if time.monotonic() >= look:
            now.kinds, look = resident_by_kind(server.pid), time.monotonic() + min(LOOK_S, SECONDS / 4)
        if seen:
            last = seen[-1][1]
            for name in last.growing:
                check(now.values.get(name, 0) >= last.values[name], "%s fell from %g to %g" % (
                    name, last.values[name], now.values.get(name, 0)))
        seen.append(((time.monotonic() - began) / SECONDS, now))
        time.sleep(min(1, SECONDS / 20))
    is_over.set()
    return seen


RESIDENT, IN_USE, IDLE = ("process_resident_memory_bytes", "go_memstats_heap_inuse_bytes",
                          "go_memstats_heap_idle_bytes")


def third(seen, i):
    return [m for at, m in seen if i <= 3 * at < i + 1] or [seen[-1][1]]


def say_where_memory_is(seen):
    """A line for each third: what the C library has, mappings by kind, and how full tables are."""
    mib = lambda values: "%.1f" % (statistics.median(values) / 2**20)
    for i in range(3):
        part = third(seen, i)
        kinds = [m.kinds for m in part if m.kinds] or [{}]
        print("third %d: resident at most %.1f MiB; in use %s, idle %s; resident by kind: %s" % (
            i + 1, max(m.sum(RESIDENT) for m in part) / 2**20, mib([m.sum(IN_USE) for m in part]),
            mib([m.sum(IDLE) for m in part]),
            ", ".join("%s %.1f" % (k, v / 1024) for k, v in sorted(kinds[-1].items()))))
        last = part[-1].values
        print("         tables: " + ", ".join("%s %d of %d" % (
            t, n, last['copper_profiler_table_entries_max{table="%s"}' % t]) for t, n in (
                (re.search(r'"(.*)"', k)[1], v) for k, v in last.items() if k.startswith(
                    "copper_profiler_table_entries{"))), flush=True)


def judge_bounds(seen):
    most = lambda name: max(m.sum(name) for _, m in seen)
    say_where_memory_is(seen)
    check(most(RESIDENT) <= RESIDENT_MAX, "resident memory is %d" % most(RESIDENT))
    middle, last = third(seen, 1), third(seen, 2)
    in_use = [statistics.median(m.sum(IN_USE) for m in part) for part in (middle, last)]
    resident = [max(m.sum(RESIDENT) for m in part) for part in (middle, last)]
    if SECONDS >= SETTLED_S:
        check(in_use[1] <= in_use[0] + IN_USE_NOISE, "memory in use grows from %d to %d" % tuple(in_use))
        check(resident[1] <= resident[0] + RESIDENT_NOISE, "resident memory grows from %d to %d" % tuple(
            resident))
    print("at most %d threads, %d descriptors" % (most("go_threads"), most("process_open_fds")))
    check(most("go_threads") <= THREADS_MAX and most("process_open_fds") <= DESCRIPTORS_MAX,
          "threads or descriptors pile up")


def judge_files(folder, end):
    """COPPER_CONTINUOUS: as many as may be kept, none failed."""
    files = 'copper_profiler_continuous_files_total{what="%s"}'
    kept = os.listdir(folder)
    written, failed = end.values[files % "written"], end.values[files % "failed"]
    print("continuous: %d files written, %d there" % (written, len(kept)))
    check(written > 0 and failed == 0, "continuous: %d files failed" % failed)
    check(len(kept) <= FILES_MAX, "continuous: %d files" % len(kept))


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
    folder = tempfile.mkdtemp(prefix="copper-churn-")
    env = {"COPPER_CONTINUOUS": folder + ",1s", "COPPER_CONTINUOUS_KEEP": str(FILES_MAX)}
    libraries = [os.path.join(BUILD, "tests", "libstacks_reload_%s.so" % n) for n in ("one", "two")]
    with Pprof() as pprof, Server(program("churn_program"), *libraries, env=env) as server:
        is_over = threading.Event()
        askers = [Asker(server, query, is_over) for query in KINDS]
        seen = watch(server, is_over)
        for asker in askers:
            asker.join(120)
        judge_bounds(seen)
        for name in ("allocs", "block", "mutex", "schedule", "profile?seconds=1"):
            judge_profile(pprof, server, name)
        judge_end(server, askers)
        judge_files(folder, Metrics(server))
        check(server.stop() == 0, "the program ends well")
    shutil.rmtree(folder)
    finish()


main()
