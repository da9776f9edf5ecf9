# SPDX-License-Identifier: Apache-2.0
"""block, mutex and schedule while many clients open and close windows, and rates go on and off: against
what the program counted itself, nothing is missing and nothing counts twice; no counter ever falls."""
import collections
import sys
import threading
import time

from http_support import Server, check, finish, program, until
from strict import group, integers

KINDS = ("block", "mutex", "schedule")
ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 100
WINDOW_RATE_NS = 10000  # of shorter waits a window draws some
# A budget that nothing reaches: rates of windows stay as fine as they are at first.
ENVIRONMENT = {"COPPER_BUDGET": "100%", "COPPER_MAXPROCS": "2"}


def samples_of(data):
    """(labels, [count, ns]) of each sample."""
    p = group(data)
    texts = [s.decode() for s in p[6]]
    for raw in p.get(2, []):
        sample = group(raw)
        labels = {}
        for label in map(group, sample.get(3, [])):
            labels[texts[label[1][0]]] = texts[label.get(2, [0])[0]]
        yield labels, integers(sample[2])


def totals(server, name, query=""):
    """Sums by the labels `reason` and `cause`, and of all under None."""
    sums = collections.defaultdict(lambda: [0, 0])
    for labels, values in samples_of(server.profile(name + query)):
        for key in {None, labels.get("reason") or labels.get("cause")}:
            sums[key] = [a + b for a, b in zip(sums[key], values)]
    return sums


def order(server, line):
    """What the program has counted by then: {kind: (count, ns)}."""
    server.process.stdin.write(line.encode() + b"\n")
    server.process.stdin.flush()
    words = server.process.stdout.readline().decode().split()
    return {words[i]: (int(words[i + 1]), int(words[i + 2])) for i in range(0, len(words), 3)}


class Clients:
    """Threads that take windows over HTTP, and one that reads the totals."""

    def __init__(self, server, windows):
        self.server, self.ends = server, threading.Event()
        self.taken = self.looks = 0
        self.threads = [threading.Thread(target=self.take, args=(i,)) for i in range(windows)]
        self.threads.append(threading.Thread(target=self.look))

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *exception):
        self.ends.set()
        for t in self.threads:
            t.join()

    def take(self, number):
        turn = number
        while not self.ends.is_set():
            name, ms = KINDS[turn % 3], 1 + turn * 7 % 40
            began = time.monotonic()
            sums = totals(self.server, name, "?ms=%d" % ms)
            took_ns = (time.monotonic() - began) * 1e9
            for key, (count, ns) in sums.items():
                check(count >= 0 and ns >= 0, "%s: a window has %d, %d of %s" % (name, count, ns, key))
            # four wait in a lock or hold it, one at a time for half a millisecond
            check(name != "mutex" or sums[None][0] <= took_ns / 500000 + 1,
                  "mutex: %d unlocks in %.1f ms" % (sums[None][0], took_ns / 1e6))
            turn += 1
            self.taken += 1

    def look(self):
        before = {name: {} for name in KINDS}
        while not self.ends.is_set():
            for name in KINDS:
                now = totals(self.server, name)
                for key, sums in before[name].items():
                    check(all(n >= b for n, b in zip(now[key], sums)),
                          "%s of %s fell from %s to %s" % (name, key, sums, now[key]))
                before[name] = now
            self.looks += 1


def growth(server):
    """What came while the program worked: (by its profiles, by its own count, brief sleeps)."""
    before = {name: totals(server, name) for name in KINDS}
    counted = order(server, "count 0")
    worked = order(server, "work %d" % ROUNDS)
    after = {name: totals(server, name) for name in KINDS}

    def grown(name, key):
        return [a - b for a, b in zip(after[name][key], before[name][key])]
    said = {name: grown(name, None) for name in KINDS}
    said["sleep"] = grown("block", "sleep")
    true = {kind: [a - b for a, b in zip(worked[kind], counted[kind])] for kind in worked}
    return said, true, true.pop("brief")


def growth_amid(server, windows, switch):
    """The same with `windows` clients here and as many in the program, and the switch on: the clients,
    and what came."""
    order(server, "%s 1" % switch)
    order(server, "clients %d" % windows)
    with Clients(server, windows) as clients:
        grown = growth(server)
    order(server, "clients 0")
    order(server, "%s 0" % switch)
    return clients, *grown


def print_both(what, said, true):
    for kind in true:
        print("%s: %s: profile %d, %.3f ms; the program %d, %.3f ms" % (
            what, kind, said[kind][0], said[kind][1] / 1e6, true[kind][0], true[kind][1] / 1e6),
            flush=True)


def is_off(server, name):
    p = group(server.profile(name))
    return any(b"rate: off" in p[6][i] for i in integers(p.get(13, [])))


def hold_open(server, name):
    """A window that lasts until the connection is closed."""
    c = server.connect(timeout=60)
    c.sendall(b"GET /debug/pprof/%s?seconds=100 HTTP/1.1\r\nHost: %s\r\n\r\n" % (
        name.encode(), server.address.encode()))
    check(until(lambda: not is_off(server, name)), "%s: the window does not open" % name)
    return c


def always_on(server):
    """At rate 1 windows come and go beside it: each wait, contention and delay counts once."""
    clients, said, true, _ = growth_amid(server, 6, "rates")
    print_both("at rate 1, %d windows" % clients.taken, said, true)
    for kind in true:
        check(said[kind] == true[kind], "at rate 1: %s: profile %s, the program %s" % (
            kind, said[kind], true[kind]))
    check(clients.taken > 20 and clients.looks > 5, "at rate 1: clients had their turns")


def in_a_window(server):
    """One window is open all the time, others and rates come and go: what is not drawn counts once, and
    of waits that are drawn the sum is right."""
    held = [hold_open(server, name) for name in KINDS]
    clients, said, true, brief = growth_amid(server, 6, "toggle")
    for c in held:
        c.close()
    print_both("in a window, %d others" % clients.taken, said, true)
    check(said["mutex"] == true["mutex"], "in a window: mutex: profile %s, the program %s" % (
        said["mutex"], true["mutex"]))
    least = [t - b for t, b in zip(true["sleep"], brief)]
    most = least[1] + brief[0] * WINDOW_RATE_NS
    check(all(s >= l for s, l in zip(said["sleep"], least)) and said["sleep"][1] <= most and
          (brief[0] or said["sleep"] == least), "in a window: sleep: profile %s, the program %s, brief %s"
          % (said["sleep"], true["sleep"], brief))
    for kind in ("block", "schedule"):
        ns, expected = said[kind][1], true[kind][1]
        check(abs(ns - expected) <= 0.05 * expected + 5e6, "in a window: %s: profile %d ns, the program %d"
              % (kind, ns, expected))


def on_and_off(server):
    """With gaps between: no more than there was, and not nothing."""
    for name in KINDS:
        check(until(lambda n=name: is_off(server, n)), "%s: the windows do not close" % name)
    clients, said, true, brief = growth_amid(server, 3, "toggle")
    print_both("on and off, %d windows" % clients.taken, said, true)
    check(all(0 < s <= t for s, t in zip(said["mutex"], true["mutex"])),
          "on and off: mutex: profile %s, the program %s" % (said["mutex"], true["mutex"]))
    check(0 < said["sleep"][1] <= true["sleep"][1] + brief[0] * WINDOW_RATE_NS and
          (brief[0] or 0 < said["sleep"][0] <= true["sleep"][0]),
          "on and off: sleep: profile %s, the program %s" % (said["sleep"], true["sleep"]))
    for kind in ("block", "schedule"):
        check(0 < said[kind][1] <= 1.05 * true[kind][1] + 5e6,
              "on and off: %s: profile %s, the program %s" % (kind, said[kind], true[kind]))


def off(server):
    """Nothing counts when nobody wants it."""
    for name in KINDS:
        check(until(lambda n=name: is_off(server, n)), "%s: the windows do not close" % name)
    said, true, _ = growth(server)
    check(not any(v for sums in said.values() for v in sums), "off: %s" % said)
    check(all(v > 0 for sums in true.values() for v in sums), "off: the program counts: %s" % true)


def main():
    with Server(program("windows_program"), env=ENVIRONMENT) as server:
        for part in (always_on, in_a_window, on_and_off, off):
            part(server)
        check(server.is_alive(), "the program still runs")
    finish()


main()
