#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""wall and fgprof: who sleeps all the time shows all of it, whatever the rate of looks was."""
import gzip
import re

from http_support import Pprof, Raw, Server, check, finish, program
from strict import strict

with Server(program("http_coroutines"), "50") as server, Pprof() as pprof:
    for path in ("/debug/pprof/wall?seconds=2", "/debug/fgprof?seconds=2"):
        raw = Raw(pprof.clean("-raw", "http://%s%s" % (server.address, path)))
        check(raw.types == ["samples/count", "time/nanoseconds"], "types: %s" % raw.types)
        check(raw.period_type == "wallclock nanoseconds", "period: %s" % raw.period_type)
        duration = float(re.search(r"^Duration: ([\d.]+)", raw.text, re.M).group(1))
        asleep = sum(v[1] for i, (v, _) in enumerate(raw.samples) if "sleeper" in raw.stack(i))
        waiting = sum(v[1] for i, (v, _) in enumerate(raw.samples)
                      if "wait_for_nothing" in raw.stack(i))
        print("%s: %.2f s, asleep %.3f s, 50 waiting %.3f s" % (
            path, duration, asleep / 1e9, waiting / 1e9))
        check(abs(asleep / 1e9 - duration) < 0.05 * duration, "the sleeper sleeps all the time")
        thread = sum(v[1] for i, (v, _) in enumerate(raw.samples)
                     if "thread_of_coroutine" in raw.stack(i))
        check(abs(thread / 1e9 - duration) < 0.05 * duration,
              "a thread made by a coroutine is a thread as others")
        check(not any("cu__find_work" in raw.stack(i) for i in range(len(raw.samples))),
              "threads that run coroutines are none")
        check(abs(waiting / 1e9 - 50 * duration) < 2.5 * duration, "50 wait all the time")
    strict("wall", server.profile("wall?seconds=1"))
    status, _, body = server.get("/debug/fgprof?seconds=1&format=folded")
    check(status == 200 and re.search(rb"^cu__coroutine_entry;\S*wait_for_nothing\S* \d+$", body, re.M),
          "folded lines are root first: %r" % body[:300])
    strict("detail", server.profile("goroutine?detail=1"))
    detail = Raw(pprof.clean("-raw", server.url + "/goroutine?detail=1"))
    ids = [l.get("id") for l in detail.labels]
    check(len(set(ids)) == len(ids) >= 56 and None not in ids, "one sample for each: %s" % ids[:5])
    check(all(v == [1] for v, _ in detail.samples), "each counts one")
    check(all(i.isdigit() for i in ids), "the id is the coroutine's, whatever its labels: %s" % ids)
    check(server.get("/debug/fgprof?seconds=0")[0] == 400, "seconds=0 is refused")
finish()
