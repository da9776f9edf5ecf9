#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A tiny COPPER_BUDGET lowers the rates that nobody asked for, and totals stay what the program measured
itself, within 5 standard errors at the rate that was left. What was spent is told."""
import math
import threading
import urllib.request

from http_support import *

WORK_MS = 2000
SIGMAS = 5
SLACK = 0.03  # of what is measured: the program's clock beside the hooks'


def number(pattern, text, group=1):
    found = re.search(pattern, text)
    return float(found.group(group)) if found else None


class Window(threading.Thread):
    """A profile that is taken while the program works."""

    def __init__(self, pprof, server, query):
        super().__init__()
        self.pprof, self.url, self.raw = pprof, server.url + "/" + query, None
        self.start()

    def run(self):
        self.raw = Raw(self.pprof.clean("-raw", self.url))


def total(raw, function, column=1):
    return sum(values[column] for i, (values, _) in enumerate(raw.samples) if function in raw.stack(i))


def near(name, got, want, error):
    print("%s: %.4g, measured %.4g, allowed +- %.3g" % (name, got, want, error))
    check(abs(got - want) <= error, "%s: %.4g of %.4g, allowed +- %.3g" % (name, got, want, error))


def work(server):
    server.process.stdin.write(b"%d\n" % WORK_MS)
    server.process.stdin.flush()
    words = server.process.stdout.readline().split()
    return int(words[1]), int(words[2]), int(words[4])


def judge_block(raw, waits, waited_ns):
    rate = number(r"# rate: waits of (\d+) ns", raw.text)
    check("coarser to stay within COPPER_BUDGET" in raw.text, "the rate of block: %s" % raw.text[:600])
    got = total(raw, "wait_for_number")
    near("block, one in %.0f ns" % rate, got, waited_ns,
         SIGMAS * math.sqrt(waited_ns * rate) + SLACK * waited_ns)
    mean = waited_ns / waits
    near("contentions", total(raw, "wait_for_number", 0), waits,
         SIGMAS * math.sqrt(waits * max(rate / mean, 1)) + SLACK * waits)


def judge_wall(raw, seconds):
    check("lowered to stay within COPPER_BUDGET" in raw.text, "the rate of wall: %s" % raw.text[:600])
    duration = number(r"Duration: ([\d.]+)", raw.text) * 1e9
    check(duration >= seconds * 1e9, "duration %d" % duration)
    near("wall", total(raw, "sleeper"), duration, 0.05 * duration)


def judge_cpu(raw):
    check("lowered to stay within COPPER_BUDGET" in raw.text, "the rate of cpu: %s" % raw.text[:600])
    kernel, samples = (number(r"# cpu time: ([\d.]+) s by the kernel.*, ([\d.]+) s in", raw.text, i)
                       for i in (1, 2))
    near("cpu", samples, kernel, 0.05 * kernel + 0.2)  # a period is 0.1 s then


def judge_heap(raw, allocated):
    rate = number(r"# rate: one sample in (\d+) bytes", raw.text)
    check("lowered to stay within COPPER_BUDGET" in raw.text, "the rate of heap: %s" % raw.text[:600])
    near("allocs, one in %.0f bytes" % rate, total(raw, "allocate"), allocated,
         SIGMAS * math.sqrt(allocated * rate))


def judge_told(server):
    with urllib.request.urlopen("http://%s/metrics" % server.address, timeout=20) as answer:
        text = answer.read().decode()
    for kind in ("cpu", "heap", "wall", "delay"):
        spent = number(r'copper_profiler_cost_seconds_total\{kind="%s"\} (\S+)' % kind, text)
        check(spent is not None and spent > 0, "nothing spent on %s" % kind)
    check(number(r"\ncopper_profiler_budget_ratio (\S+)", text) == 1e-6, "the budget in the metrics")
    page = server.get("")[2].decode()
    check("budget: 0.0001 % of the program" in page, "the budget on the index page")


def main():
    with Pprof() as pprof, Server(program("budget_program"), env={"COPPER_BUDGET": "0.0001%"}) as server:
        if b"comes before" in server.get("heap?debug=1")[2]:
            print("a sanitizer's malloc comes first")
            sys.exit(SKIPPED)
        windows = {q.split("?")[0]: Window(pprof, server, q)
                   for q in ("block?seconds=4", "wall?seconds=4", "profile?seconds=4")}
        check(until(lambda: "rate: off" not in pprof.run("-comments", server.url + "/block").stdout),
              "the window of block opens")
        waits, waited_ns, allocated = work(server)
        for window in windows.values():
            window.join()
        judge_block(windows["block"].raw, waits, waited_ns)
        judge_wall(windows["wall"].raw, 4)
        judge_cpu(windows["profile"].raw)
        judge_heap(Raw(pprof.clean("-raw", server.url + "/allocs")), allocated)
        judge_told(server)
    finish()


main()
