# SPDX-License-Identifier: Apache-2.0
"""`go tool pprof` reads what is served, by URL and from saved files, without a warning; and what it
shows is right: complete stacks, names, inlined calls, mappings, labels."""
import json
import re
import socket
import subprocess
import time
import urllib.request

from http_support import *

PROFILES = ("profile?seconds=1", "goroutine", "threadcreate", "goroutine?threads=1",
            "goroutine?seconds=1", "goroutine?debug=1", "threadcreate?debug=1")


def build_id(path):
    text = subprocess.run(["readelf", "-n", path], capture_output=True, text=True).stdout
    return re.search(r"Build ID: ([0-9a-f]+)", text).group(1)


def mapping_of(pid, path):
    for line in open("/proc/%d/maps" % pid):
        fields = line.split()
        if fields[1][2] == "x" and fields[-1] == path:
            start, limit = (int(x, 16) for x in fields[0].split("-"))
            return start, limit, int(fields[2], 16)
    return None


def structure(s, raw, path):
    """What holds for each binary profile."""
    exe = os.path.realpath(s.process.args[0])
    first = raw.mappings[1]
    check(first[:3] == mapping_of(s.pid, exe), "%s: mapping %s" % (path, first))
    check(first[3].split(" ")[0] == exe and build_id(exe) in first[3] and "[FN]" in first[3],
          "%s: first mapping %s" % (path, first[3]))
    for number, (address, mapping, lines) in raw.locations.items():
        check(mapping is not None, "%s: location %d has no mapping" % (path, number))
        start, limit = raw.mappings[mapping][:2]
        check(start <= address < limit, "%s: %#x is outside its mapping" % (path, address))
        check(lines and lines[0], "%s: %#x has no function" % (path, address))
    for ids in (sorted(raw.locations), sorted(raw.mappings)):
        check(ids == list(range(1, len(ids) + 1)), path + ": ids are not dense")


def types(raw, path):
    name = re.match(r"\w+", path).group()
    if name == "profile":
        check(raw.types == ["samples/count", "cpu/nanoseconds"], "types %s" % raw.types)
        check(raw.period_type == "cpu nanoseconds", "period type %s" % raw.period_type)
        check(all(v[1] == v[0] * raw.period for v, _ in raw.samples), "value[1] is value[0] x period")
    else:
        check(raw.types == [name + "/count"], "types %s" % raw.types)
        check(raw.period_type == name + " count" and raw.period == 1, "%s period" % name)


def reports(pprof, source, path, function):
    """Each kind of report; all of them only for CPU, since the others are made the same way."""
    pprof.clean("-top", source)
    if path.startswith("profile"):
        for option in ("-tree", "-traces", "-raw", "-tags", "-dot", "-callgrind", "-comments"):
            pprof.clean(option, source)
    text = pprof.clean("-peek", function, source)
    check(function in text, "-peek %s %s" % (function, path))


def cpu_contents(s, pprof):
    raw = Raw(pprof.clean("-raw", s.url + "/profile?seconds=2&hz=200"))
    check(raw.period == 5000000, "hz=200 gives period %d" % raw.period)
    duration = float(re.search(r"^Duration: ([\d.]+)", raw.text, re.M).group(1))
    check(1.9 <= duration <= 2.5, "Duration %s" % duration)
    inlined = [l for l, (_, _, lines) in raw.locations.items()
               if lines and lines[0].startswith("inlined_mixing")]
    check(inlined != [], "the inlined function was seen")
    for l in inlined:
        check(raw.functions(l)[:2] == ["inlined_mixing", "hot_leaf"], "inlined, then its caller: %s" %
              raw.functions(l))
    deep = [raw.stack(i) for i in range(len(raw.samples)) if "hot_leaf" in raw.stack(i)]
    check(len(deep) > 0, "hot_leaf was sampled")
    whole = 0
    for stack in deep:
        calls = [f for f in stack if f.startswith("descend")]
        whole += stack[0] in ("inlined_mixing", "hot_leaf") and len(calls) >= 1 and \
            "burn_once" in stack and ("worker" in stack or "burner" in stack)
    check(whole == len(deep), "stacks of hot_leaf from leaf to entry: %d of %d" % (whole, len(deep)))
    flat = sum(v[0] for (v, _), names in zip(raw.samples, map(raw.stack, range(len(raw.samples))))
               if "burn_once" in names)
    total = sum(v[0] for v, _ in raw.samples)
    check(flat >= 0.8 * total, "burn_once has %d of %d samples" % (flat, total))
    return raw


def lists(s, pprof):
    """Line numbers: time is attributed to the line of the call, not to the one after it."""
    source = s.url + "/profile?seconds=1"
    text = pprof.clean("-list", "^burn_once$", source)
    check("ROUTINE ======" in text and "burn_sink += descend(10)" in text, "-list burn_once")
    found = re.search(r"^ +\. +([\d.]+m?s) +\d+: +burn_sink \+= descend\(10\);", text, re.M)
    check(found is not None, "-list: the call line has the time: %s" % text[-300:])
    waiting = pprof.clean("-list", "^wait_for_nothing$|^wait_on_condition$", s.url + "/goroutine")
    check(re.search(r"\d+: +(cu_recv\(never|pthread_cond_wait)", waiting) is not None,
          "-list of a wait")


def labels(s, pprof):
    goroutine = s.url + "/goroutine"
    text = pprof.clean("-tags", goroutine)
    check("state:" in text and "chan receive" in text and "quote:" in text, "-tags")
    text = pprof.clean("-traces", "-tagfocus", "stage=square", goroutine)
    check("stage:" in text and "cube" not in text, "-tagfocus stage=square")
    text = pprof.clean("-top", "-nodefraction=0", "-tagroot", "stage", goroutine)
    check(re.search(r" square$", text, re.M) is not None, "-tagroot stage:\n" + text)
    raw = Raw(pprof.clean("-raw", s.url + "/profile?seconds=1"))
    stages = {l.get("stage") for l in raw.labels}
    check("square" in stages and "cube" in stages, "CPU samples carry labels: %s" % stages)


def web_pages(s, pprof):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ui = subprocess.Popen(["go", "tool", "pprof", "-http=127.0.0.1:%d" % port, "-no_browser",
                           s.url + "/profile?seconds=1"], env=pprof.env, cwd=pprof.home,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        base = "http://127.0.0.1:%d/ui" % port

        def page(path):
            with urllib.request.urlopen(base + path, timeout=20) as r:
                return r.status, r.read().decode()

        def is_up():
            try:
                return page("/top")[0] == 200
            except OSError:
                return False
        check(until(is_up, 60), "the web interface comes up")
        for path in ("/top", "/flamegraph", "/peek?f=burn_once", "/source?f=burn_once"):
            status, text = page(path)
            check(status == 200 and "burn_once" in text, path)
        text = page("/flamegraph")[1]
        at = text.find("stackViewer({")  # older tools draw their flame graph otherwise
        if at >= 0:
            data, _ = json.JSONDecoder().raw_decode(text[at + len("stackViewer("):])
            names = {x.get("FullName") for x in data["Sources"]}
            check("inlined_mixing" in names and not names & {None, ""},
                  "functions in the flame graph: %s" % sorted(map(str, names))[:20])
    finally:
        ui.terminate()
        stderr = ui.communicate()[1]
    odd = [l for l in stderr.splitlines() if l and not l.startswith(
        NORMAL + ("Serving web UI", "go tool pprof: signal: terminated"))]
    check(not odd, "-http warns: %s" % odd[:3])


def base_and_diff(pprof, first, second):
    """Profiles of two runs, at other addresses, meet in one line each."""
    for option in ("-base", "-diff_base"):
        text = pprof.clean("-top", "-addresses", option, first, second)
        lines = re.findall(r"^ *\S+ .*% +0x([0-9a-f]+) (wait_for_nothing|cu__coroutine_main)\b", text, re.M)
        names = [n for _, n in lines]
        check(len(names) == len(set(names)), "%s: addresses of two runs did not meet: %s" % (
            option, lines))
    pprof.clean("-top", "-normalize", "-diff_base", first, second)


def coroutines(pprof):
    saved = []
    for run in range(2):
        with Server(program("http_coroutines"), "1000", "120") as s:
            path = os.path.join(pprof.home, "run%d.pb.gz" % run)
            open(path, "wb").write(s.get("goroutine")[2])
            saved.append(path)
            if run == 1:
                continue
            for path in PROFILES:
                url = s.url + "/" + path
                if "debug" in path:
                    pprof.clean("-top", url)
                    continue
                raw = Raw(pprof.clean("-raw", url))
                if path != "goroutine?seconds=1":  # may be empty
                    structure(s, raw, path)
                types(raw, path)
            # a file that was saved by another program knows no URL to fall back on
            for path in ("profile?seconds=1", "goroutine", "threadcreate"):
                file = os.path.join(pprof.home, "saved")
                open(file, "wb").write(s.get(path)[2])
                function = "burn_once" if path.startswith("profile") else "main"
                reports(pprof, file, path, function)
            counts = []

            def is_one_sample():
                parked = Raw(pprof.clean("-raw", s.url + "/goroutine"))
                counts[:] = [v[0] for i, (v, _) in enumerate(parked.samples)
                             if "wait_for_nothing" in parked.stack(i)]
                return counts == [1000]

            # on a crowded machine one of them may not have come to rest yet
            check(until(is_one_sample, 10),
                  "1000 coroutines at one place are one sample: %s" % counts)
            text = pprof.clean("-top", s.url + "/goroutine?debug=1")
            check("1000 " in text and "wait_for_nothing" in text, "debug=1 agrees: %s" % text[:600])
            cpu_contents(s, pprof)
            lists(s, pprof)
            labels(s, pprof)
            web_pages(s, pprof)
            text = pprof.clean("-top", "-seconds", "1", s.address)
            check("burn_once" in text, "host:port alone is a CPU profile")
            text = pprof.run("-top", s.url + "/nosuch").stderr
            check("server response: 404 Not Found - Unknown profile" in text, "404 shown: " + text)
            text = pprof.clean("-raw", "-seconds", "1", s.url + "/goroutine")
            check("Duration: 1" in text, "-seconds makes a delta: %s" % text[:300])
    base_and_diff(pprof, *saved)


def threads(pprof, name):
    with Server(program(name), "120") as s:
        raw = Raw(pprof.clean("-raw", s.url + "/goroutine"))
        structure(s, raw, "goroutine of threads")
        stacks = [raw.stack(i) for i in range(len(raw.samples))]
        check(sum(v[0] for v, _ in raw.samples) == 5, "five threads, and none of ours: %s" % stacks)
        for function, root in (("wait_on_condition", "start_thread"), ("read_nothing", "start_thread"),
                               ("main", "_start")):
            found = [st for st in stacks if function in st]
            check(len(found) == 1 and (root in found[0] or function == "main"),
                  "thread in %s: %s" % (function, stacks))
        check({l.get("state") for l in raw.labels} & {"read", "futex", "poll"} ==
              {"read", "futex", "poll"}, "states %s" % raw.labels)
        check({l.get("thread") for l in raw.labels} == {name[:15]}, "thread names %s" % raw.labels)
        raw = Raw(pprof.clean("-raw", s.url + "/threadcreate"))
        check(sum(v[0] for v, _ in raw.samples) == 5, "threadcreate counts threads")
        leaves = {raw.stack(i)[0] for i in range(len(raw.samples))}
        check({"main", "waiter", "reader"} <= leaves, "threads by start function: %s" % leaves)
        if name == "http_threads":
            cpu_contents(s, pprof)


def main():
    with Pprof() as pprof:
        coroutines(pprof)
        threads(pprof, "http_threads")
        threads(pprof, "http_threads_slow")  # functions that keep their frames by rbp
    finish()


main()
