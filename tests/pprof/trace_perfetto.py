# SPDX-License-Identifier: Apache-2.0
"""trace?format=perfetto is strict JSON whose slices nest, whose flows have both ends, and which says the
same as the form for go tool trace of the same time."""
import bisect
import collections
import concurrent.futures
import json
import re

from http_support import Server
from trace_judge import check, finish, judge, new_folder, program, require_go

UNIT_NS = 16  # of the recorder's times; go's reader tells equal ones apart by some ns


def strict_json(body, what):
    def no_constant(name):
        check(False, "%s: %s is no JSON" % (what, name))

    def no_twice(pairs):
        names = [name for name, _ in pairs]
        check(len(names) == len(set(names)), "%s: a name twice: %s" % (what, names))
        return dict(pairs)
    return json.loads(body.decode("utf-8"), parse_constant=no_constant, object_pairs_hook=no_twice)


def ns(us):
    return round(us * 1000)


class Perfetto:
    def __init__(self, body, what):
        self.what = what
        self.events = strict_json(body, what)["traceEvents"]
        self.by_phase = collections.defaultdict(list)
        for event in self.events:
            check({"ph", "pid", "tid", "ts"} <= set(event), "%s: %s" % (what, event))
            self.by_phase[event["ph"]].append(event)
        check(set(self.by_phase) <= set("MXCsfbei"), "%s: phases %s" % (what, set(self.by_phase)))
        self.tracks = collections.defaultdict(list)  # tid -> (begin, end, event), outermost first
        for event in self.by_phase["X"]:
            begin = ns(event["ts"])
            self.tracks[event["tid"]].append((begin, begin + ns(event["dur"]), event))
        for track in self.tracks.values():
            track.sort(key=lambda s: (s[0], -s[1]))
        times = [ns(e["ts"]) for e in self.events if e["ph"] != "M"]
        self.begin, self.end = min(times), max([s[1] for t in self.tracks.values() for s in t])

    def check_nesting(self):
        for tid, track in self.tracks.items():
            open_ends = []
            for begin, end, event in track:
                check(end >= begin, "%s: ends before it begins: %s" % (self.what, event))
                while open_ends and open_ends[-1] <= begin:
                    open_ends.pop()
                check(not open_ends or end <= open_ends[-1],
                      "%s: track %d: overlaps: %s" % (self.what, tid, event))
                open_ends.append(end)
        named = {e["tid"] for e in self.by_phase["M"] if e["name"] == "thread_name"}
        check(set(self.tracks) <= named, "%s: every track has a name" % self.what)

    def check_flows(self):
        begun, ended = {}, set()
        # what stopped just when the trace began has no length, and goes before who follows it then
        stints = {tid: sorted((s for s in track if s[2]["name"] != "call"), key=lambda s: s[:2])
                  for tid, track in self.tracks.items()}
        begins = {tid: [s[0] for s in track] for tid, track in stints.items()}
        slices = {(tid, begin) for tid, track in self.tracks.items() for begin, _, _ in track}
        for event in self.by_phase["s"]:
            check(event["id"] not in begun, "%s: flow twice: %s" % (self.what, event))
            begun[event["id"]] = event
            now, tid = ns(event["ts"]), event["tid"]
            at = bisect.bisect(begins[tid], now) - 1
            check(at >= 0 and now <= stints[tid][at][1],
                  "%s: a flow begins in no slice: %s" % (self.what, event))
        for event in self.by_phase["f"]:
            source = begun.get(event["id"])
            check(source and event["id"] not in ended and event["bp"] == "e" and
                  source["ts"] < event["ts"] and source["name"] == event["name"],
                  "%s: flow %s from %s" % (self.what, event, source))
            check((event["tid"], ns(event["ts"])) in slices,
                  "%s: a flow ends where nothing begins: %s" % (self.what, event))
            ended.add(event["id"])
        check(len(ended) > 100, "%s: %d flows" % (self.what, len(ended)))
        return {e["name"] for e in self.by_phase["f"]}

    def check_async(self):
        """What ends has begun, the innermost first."""
        open_ones = collections.defaultdict(list)
        for event in self.by_phase["b"] + self.by_phase["e"]:
            check(event["cat"] in ("task", "coroutine"), "%s: %s" % (self.what, event))
        for event in self.events:
            if event["ph"] == "b":
                open_ones[event["cat"], event["id"]].append(event["name"])
            elif event["ph"] == "e":
                names = open_ones[event["cat"], event["id"]]
                check(names and names.pop() == event["name"], "%s: ends: %s" % (self.what, event))
        check(len(self.by_phase["e"]) > 10, "%s: %d ends" % (self.what, len(self.by_phase["e"])))

    def check_counters(self):
        names = collections.Counter(e["name"] for e in self.by_phase["C"])
        check(names["coroutines"] > 10 and names["procs"] and set(names) <= {"coroutines", "heap", "procs"},
              "%s: counters %s" % (self.what, names))
        for event in self.by_phase["C"]:
            check(all(isinstance(v, int) and 0 <= v < 1 << 40 for v in event["args"].values()),
                  "%s: %s" % (self.what, event))

    def stints(self):
        """(coroutine, P, begin, end) in units, of those that began in the trace."""
        found = set()
        for tid, track in self.tracks.items():
            for begin, end, event in track:
                if event["name"] != "call" and "begin" not in event["args"]:
                    found.add((event["args"]["coroutine"], tid - 1, begin // UNIT_NS, end // UNIT_NS))
        return found


def stints_of_go(parsed):
    """The same, from the other form."""
    found, open_ones = set(), {}
    for line in parsed.lines:
        p = int(re.match(r"M=-?\d+ P=(-?\d+)", line).group(1))
        change = re.search(r"Time=(\d+) (GoID|ProcID)=(\d+) (\w+)->(\w+)", line)
        if not change:
            continue
        now, kind, number, was, to = change.groups()
        now, number = int(now), int(number)
        if kind == "ProcID" and to == "Idle":
            p = number
        elif kind == "GoID" and (was, to) == ("Runnable", "Running"):
            open_ones[p] = (number, now)
            continue
        elif not (kind == "GoID" and was == "Running" and to in ("Runnable", "Waiting", "NotExist")):
            continue
        if p in open_ones:
            g, begin = open_ones.pop(p)
            found.add((g, p, begin // UNIT_NS, now // UNIT_NS))
    times = [int(re.search(r"Time=(\d+)", line).group(1)) for line in parsed.lines]
    return found, min(times), max(times)


def within(stints, begin, end):
    return {s for s in stints if begin // UNIT_NS < s[2] and s[3] < end // UNIT_NS}


def both_forms(folder, handoff):
    what = "hand-off " + handoff
    env = {"COPPER_HANDOFF": handoff, "COPPER_MAXPROCS": "2"}
    with Server(program("trace_program"), "serve", "-", "7", env=env) as s, \
            concurrent.futures.ThreadPoolExecutor() as pool:
        one = pool.submit(s.get, "trace?seconds=0.4", timeout=60)
        other = pool.submit(s.get, "trace?seconds=0.4&format=perfetto", timeout=60)
        status, headers, body = other.result()
        check(status == 200 and headers["content-type"] == "application/json" and
              'filename="trace.json"' in headers["content-disposition"], "%s: %s" % (what, headers))
        with open(folder + "/go", "wb") as f:
            f.write(one.result()[2])
    json_form, go_form = Perfetto(body, what), judge(folder + "/go", what)
    json_form.check_nesting()
    check(json_form.check_flows() == {"wakes", "spawns"}, "%s: both kinds of flows" % what)
    json_form.check_async()
    json_form.check_counters()
    texts = " ".join(e["name"] for e in json_form.by_phase["i"])
    check("no UTF-8: \ufffd\ufffd( \ufffd\ufffd\ufffd, UTF-8: \u00e9 \u20ac \x01" in texts,
          "%s: odd texts: %r" % (what, texts[:200]))
    check(any(re.fullmatch(r"G\d+ work", e["name"]) for e in json_form.by_phase["X"]),
          "%s: coroutines are named" % what)
    theirs, begin, end = stints_of_go(go_form)
    begin, end = max(begin, json_form.begin), min(end, json_form.end)
    ours, theirs = within(json_form.stints(), begin, end), within(theirs, begin, end)
    print("%s: %d stints in %.0f ms in both forms, %d bytes of JSON" % (
        what, len(theirs), (end - begin) / 1e6, len(body)))
    check(len(theirs) > 100 and ours == theirs, "%s: only in JSON: %s, only in the other: %s" % (
        what, sorted(ours - theirs)[:3], sorted(theirs - ours)[:3]))


def others():
    with Server(program("trace_program"), "serve", "-", env={"COPPER_FLIGHT": "1s"}) as s:
        status, _, body = s.get("trace?format=xml")
        check(status == 400 and body == b"format=xml: there are go and perfetto\n", "%d %r" % (status, body))
        check(s.get("trace?format=perfetto", method="HEAD")[1]["content-type"] == "application/json",
              "HEAD")
        check(s.get("trace?format=go&seconds=0.1")[2].startswith(b"go 1.22 trace"), "format=go")
        Perfetto(s.get("trace?flight=1&format=perfetto")[2], "flight").check_nesting()
        c = s.connect()
        c.sendall(b"GET /debug/pprof/trace?seconds=100&format=perfetto HTTP/1.1\r\nHost: %s\r\n\r\n"
                  % s.address.encode())
        c.recv(100)
        c.close()
        check(s.get("trace?seconds=0.1&format=perfetto")[0] == 200, "after one that hung up")


require_go()
with new_folder() as scratch:
    both_forms(scratch, "0")
    both_forms(scratch, "1")
others()
finish()
