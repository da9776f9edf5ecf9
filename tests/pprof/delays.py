#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""block, mutex, schedule and hog tell what the program measured itself; every profile is strict."""
import re
import os

from http_support import Pprof, Raw, Server, SOURCE, check, finish, program, until
from strict import strict

HOLDERS = ("unlock_late", "write_unlock_late", "read_unlock_late", "release_late")
NAMED = ("block", "mutex", "schedule", "hog")


def profile_of(pprof, server, name, query=""):
    return Raw(pprof.clean("-raw", "%s/%s%s" % (server.url, name, query)))


def delay_through(raw, function, **labels):
    return sum(values[1] for i, (values, _) in enumerate(raw.samples)
               if function in raw.stack(i) and
               all(raw.labels[i].get(k) == v for k, v in labels.items()))


def near(name, got, expected, share):
    check(abs(got - expected) <= share * expected,
          "%s: %.3f ms, the program measured %.3f ms" % (name, got / 1e6, expected / 1e6))
    print("%s: %.3f ms, measured %.3f ms" % (name, got / 1e6, expected / 1e6))


with Server(program("delay_program")) as server, Pprof() as pprof:
    expected = {}
    for _ in range(4):
        name, value = server.process.stdout.readline().split()
        expected[name.decode()] = int(value)
    raws = {name: profile_of(pprof, server, name) for name in NAMED}
    block, mutex = raws["block"], raws["mutex"]
    check(block.types == ["contentions/count", "delay/nanoseconds"], "types of block")
    check(block.period_type == "contentions count" and block.period == 1, "period of block")
    near("block", delay_through(block, "wait_for_number", reason="chan receive"),
         expected["block"], 0.05)
    near("mutex", delay_through(mutex, "unlock_late"), expected["mutex"], 0.05)
    for holder in HOLDERS:
        check(delay_through(mutex, holder) > 0, "mutex blames %s" % holder)
    for i, (values, _) in enumerate(mutex.samples):
        check(set(HOLDERS) & set(mutex.stack(i)), "a mutex stack is the holder's: %s" % mutex.stack(i))
        check(not [f for f in mutex.stack(i) if f.startswith(("cu__emit_", "on_"))],
              "our own frames are left out: %s" % mutex.stack(i))
    near("schedule", delay_through(raws["schedule"], "delayed"), expected["schedule"], 0.10)
    wakers = {raws["schedule"].labels[i].get("waker") for i in range(len(raws["schedule"].samples))
              if "delayed" in raws["schedule"].stack(i)}
    check(wakers == {"run"}, "who woke the delayed: %s" % wakers)
    near("hog", delay_through(raws["hog"], "hog_the_p"), expected["hog"], 0.10)
    # labels of who waited, held or was delayed (and inherited them); ours win over the same key
    for raw, function, labels in ((block, "wait_for_number", {"stage": 'receives"all"', "reason": "chan receive"}),
                                  (mutex, "unlock_late", {"stage": "contends"}),
                                  (raws["schedule"], "delayed", {"stage": "hogs"}),
                                  (raws["hog"], "hog_the_p", {"stage": "hogs"})):
        check(delay_through(raw, function) == delay_through(raw, function, **labels) > 0,
              "%s has the labels %s" % (function, labels))
    status, _, body = server.get("block?debug=1")
    check(status == 200 and b'{"reason":"chan receive", "stage":"receives\\"all\\""}' in body, "labels in the text")

    # who has left its frame by a jump is named all the same
    for name in ("block", "hog", "schedule"):
        check(delay_through(raws[name], "hog_then_sleep") > 0, "%s names who sleeps at its end" % name)
    raw = profile_of(pprof, server, "goroutine")
    check(any("sleep_for_ever" in raw.stack(i) for i in range(len(raw.samples))),
          "goroutine names who sleeps at its end")

    # cumulative, and the text forms agree
    for name in NAMED:
        text = server.get(name + "?debug=1")[2].decode()
        delays = [int(d) for d in re.findall(r"^(\d+) \d+ @", text, re.M)]
        check(delays == sorted(delays, reverse=True), "%s: most delay first: %s" % (name, delays))
        total = sum(delays)
        again = sum(v[1] for v, _ in profile_of(pprof, server, name).samples)
        before = sum(v[1] for v, _ in raws[name].samples)
        check(before <= again, "%s only grows" % name)
        check(total == again, "%s: debug=1 says %d, binary %d" % (name, total, again))
        first = pprof.run("-top", "%s/%s?debug=1" % (server.url, name))
        check(first.returncode == 0, "pprof reads %s?debug=1: %s" % (name, first.stderr[-300:]))

    # a window turns them on
    for name in ("block", "mutex"):
        window = profile_of(pprof, server, name, "?seconds=1")
        check(sum(v[1] for v, _ in window.samples) > 0, "%s?seconds=1 sees waits" % name)
    quiet = sum(v[1] for v, _ in profile_of(pprof, server, "mutex").samples)
    check(quiet == sum(v[1] for v, _ in profile_of(pprof, server, "mutex").samples),
          "nothing counts when no window is open")

    # every profile that there is
    text = open(os.path.join(SOURCE, "profiler/profile_kinds.def")).read()
    kinds = re.findall(r"^COPPER_KIND_(ROUTE|NAMED|DELAY)\((\w+), (\w+|\"\w+\")", text, re.M)
    check(len(kinds) >= 9, "profile_kinds.def was read")
    for form, name, kind in kinds:
        if kind != "NULL":
            query = "?seconds=1" if form == "ROUTE" else ""
            strict(name, server.profile(name + query))
            if form != "ROUTE":
                strict(name + " delta", server.profile(name + "?seconds=1"), is_delta=True)
    check(server.is_alive(), "the program still runs")
finish()
