#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A program does what no table has room for: what keeps something of all that ever was has an end, what
comes then is counted as dropped, and memory grows no more; what need not end goes on.

    bounds.py stacks|threads|labels|libraries [TIMES]     TIMES as much of it; 1 unless told
"""
import threading

from http_support import *

WHAT = sys.argv[1]
TIMES = int(sys.argv[2]) if len(sys.argv) > 2 else 1
WINDOWS = 3             # of one second each, open at one time
SAMPLES = 7000          # deep stacks; the table has room for some 4200
DROPPED_MAX = 0.05      # of the samples: on a crowded machine, rings are read late
GROWTH_MAX = 2 << 20    # bytes in use, where nothing should be kept
MODULE_BYTES = 1500     # that each library's load is remembered with


class Windows:
    """CPU profiles without end: of each window the next is open before it is closed."""

    def __init__(self, server, hz):
        self.server, self.hz, self.bodies = server, hz, []
        self.is_over = threading.Event()
        self.threads = [threading.Thread(target=self.take, args=(i,)) for i in range(WINDOWS)]

    def take(self, i):
        self.is_over.wait(i / WINDOWS)
        while not self.is_over.is_set():
            try:
                self.bodies.append(self.server.profile("profile?seconds=1&hz=%d" % self.hz))
            except (OSError, http.client.HTTPException) as e:
                check(False, "a window: %s" % e)
                return

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *exception):
        self.is_over.set()
        for t in self.threads:
            t.join()


class Program(Server):
    """Does N times what it is there for, and tells what of /metrics matters."""

    def __init__(self, **env):
        libraries = [os.path.join(BUILD, "tests", "libstacks_reload_%s.so" % n) for n in ("one", "two")]
        super().__init__(program("bounds_program"), WHAT, *libraries, env=env)

    def __exit__(self, *exception):
        check(self.stop() == 0, "%s: the program ends well" % WHAT)

    def act(self, n):
        self.process.stdin.write(b"%d\n" % n)
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        check(answer == b"done\n", "%s: %r" % (WHAT, answer))

    def look(self):
        status, _, body = self.get("/metrics")
        check(status == 200, "metrics: %d" % status)
        values = {k: float(v) for k, v in re.findall(r"^([a-z]\S*) (\S+)$", body.decode(), re.M)}
        table = lambda what, name: values['copper_profiler_%s{table="%s"}' % (what, name)]
        return {"in use": values.get("go_memstats_heap_inuse_bytes", 0), "fds": values["process_open_fds"],
                "threads": values["go_threads"], "samples": values["copper_profiler_cpu_samples_total"],
                "table": lambda name: table("table_entries", name),
                "most": lambda name: table("table_entries_max", name),
                "dropped": lambda name: table("dropped_total", name)}


def judge_growth(before, after, most=GROWTH_MAX):
    grown = after["in use"] - before["in use"]
    print("%s: in use %.1f MiB, then %.1f" % (WHAT, before["in use"] / 2**20, after["in use"] / 2**20))
    check(grown <= most, "%s: memory in use grew by %d bytes" % (WHAT, grown))
    check(after["fds"] <= before["fds"] + 8, "%s: %d descriptors" % (WHAT, after["fds"]))


def judge_samples(now):
    dropped, samples = now["dropped"]("cpu"), now["samples"]
    print("%s: %d samples, %d dropped" % (WHAT, samples, dropped))
    check(dropped <= DROPPED_MAX * samples, "%s: %d of %d samples dropped" % (WHAT, dropped, samples))


def stacks():
    with Program() as p:
        end = time.monotonic() + 120
        with Windows(p, 500):
            while p.look()["samples"] < SAMPLES and time.monotonic() < end:
                p.act(1)
        now = p.look()
        check(now["samples"] >= SAMPLES, "stacks: only %d samples" % now["samples"])
        judge_samples(now)


def threads():
    with Program() as p:
        with Windows(p, 100):
            p.act(4000 * TIMES)
        before = p.look()
        with Windows(p, 100):
            p.act(16000 * TIMES)
        after = p.look()
        judge_samples(after)
        judge_growth(before, after)
        check(after["threads"] < 10, "threads: %d are left" % after["threads"])


def labels():
    with Program(COPPER_HEAP_RATE="1", COPPER_BUDGET="100%") as p:
        p.act(100000)
        before = p.look()
        p.act(1000000)
        after = p.look()
        for table in ("label", "heap"):
            print("%s: %d of %d, dropped %d, then %d" % (table, after["table"](table), after["most"](
                table), before["dropped"](table), after["dropped"](table)))
            check(before["dropped"](table) > 0, "labels: %s is not full" % table)
            check(before["table"](table) <= after["table"](table) <= after["most"](table),
                  "labels: %s goes on" % table)
        check(after["table"]("label") == after["most"]("label"), "labels: there is room")
        check(after["dropped"]("label") - before["dropped"]("label") == 1000000,
              "labels: what is dropped is not counted")
        judge_growth(before, after)


def libraries():
    with Program() as p:
        with Windows(p, 100):
            p.act(500 * TIMES)
        before = p.look()
        with Windows(p, 100) as windows:
            p.act(2500 * TIMES)
        after = p.look()
        loads = after["table"]("unwind") - before["table"]("unwind")
        print("libraries: %d modules before, %d after" % (before["table"]("unwind"), after["table"]("unwind")))
        check(loads >= 1000, "libraries: only %d places" % loads)
        judge_growth(before, after, GROWTH_MAX + loads * MODULE_BYTES)
        last = b"".join(windows.bodies[-2 * WINDOWS:])
        for name in (b"helper_one", b"helper_two"):
            check(name in last, "libraries: the last profiles do not name %s" % name)


{"stacks": stacks, "threads": threads, "labels": labels, "libraries": libraries}[WHAT]()
finish()
