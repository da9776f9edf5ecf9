# SPDX-License-Identifier: Apache-2.0
"""Known programs: what their traces show in go tool trace, over HTTP and from the flight recorder, and
that every view of the tool answers."""
import collections
import concurrent.futures
import glob
import os
import re
import subprocess
import sys
import time

from trace_judge import (BUILD, can_tool, check, counts_in, finish, judge, new_folder, profile_total,
                         program, require_go, run, views_answer)
from http_support import Pprof, Raw, Server

HEADER = b"go 1.22 trace\0\0\0"


def save(folder, name, body):
    path = "%s/%s" % (folder, name)
    with open(path, "wb") as f:
        f.write(body)
    return path


def blocks(folder, version):
    """The tool's profile of waits is what the program measured."""
    out, _ = run("blocks", folder + "/t")
    waited = int(re.search(r"^waited (\d+)$", out, re.M).group(1))
    parsed = judge(folder + "/t", "blocks")
    for reason in ("chan receive", "sync.Mutex.Lock", "sync.WaitGroup.Wait", "sleep"):
        check(parsed.reasons[reason] > 0, "blocks: nobody waits for %r" % reason)
    check("run_blocks" in parsed.functions, "blocks: functions are named")
    check(not any(f.startswith("cu__") for f in parsed.functions),
          "blocks: frames of the runtime's inside: %s" % parsed.functions)
    # before 1.26 the tool leaves out what ends without a stack
    total, top = profile_total(folder + "/t", "sync")
    print("blocks: the program waited %.1f ms, -pprof=sync says %.1f ms" % (
        waited / 1e6, total / 1e6))
    check(abs(total - waited) < 0.1 * waited, "blocks: -pprof=sync %d, measured %d" % (total, waited))
    check("run_blocks" in top, "blocks: -pprof=sync names the function: " + top)
    if version >= (1, 26):
        ready, _ = profile_total(folder + "/t", "sched")
        check(ready > 0, "blocks: -pprof=sched is empty")
    views_answer(folder + "/t", "blocks")


def compare_profiles(folder, version, handoff):
    """What differs by more than a tenth."""
    env = {"COPPER_MAXPROCS": "1", "COPPER_HANDOFF": handoff}
    with Server(program("trace_program"), "waits", folder + "/t", env=env) as s, Pprof() as pprof:
        block = Raw(pprof.clean("-raw", s.url + "/block"))
        schedule = Raw(pprof.clean("-raw", s.url + "/schedule"))
    ours = collections.Counter(sched=sum(values[1] for values, _ in schedule.samples))
    for (values, _), labels in zip(block.samples, block.labels):
        kind = {"IO wait": "net", "syscall": "syscall", "sleep": None}.get(labels["reason"], "sync")
        ours[kind] += values[1]
    read = judge(folder + "/t", "profiles").durations()
    odd = []
    for kind in ("sync", "net", "syscall", "sched"):
        if kind == "syscall" and handoff == "1":
            continue  # in the trace also those whose P was taken without a call
        said = [("our reading", read[kind])]
        if can_tool(kind, version):
            said.append(("-pprof=" + kind, profile_total(folder + "/t", kind)[0]))
        for who, ns in said:
            print("profiles, hand-off %s: %s: %s %.2f ms, our profile %.2f ms" % (
                handoff, kind, who, ns / 1e6, ours[kind] / 1e6))
            if ours[kind] < 10e6 or abs(ns - ours[kind]) > 0.1 * ours[kind]:
                odd.append("%s: %s %d, our profile %d" % (kind, who, ns, ours[kind]))
    return odd


def profiles(folder, version):
    """The tool's profiles of a trace, our own reading of it, and our own profiles say the same. Delays
    before a coroutine's first run are in ours only: on a machine that lets all wait just then, once more."""
    for handoff in "01":
        for _ in range(5):
            odd = compare_profiles(folder, version, handoff)
            if not odd:
                break
        check(not odd, "profiles, hand-off %s: %s" % (handoff, odd))


def tasks(folder, _):
    out, _ = run("tasks", folder + "/t")
    parsed = judge(folder + "/t", "tasks")
    text = "\n".join(parsed.lines)
    check(parsed.kinds["TaskBegin"] == 10 and parsed.kinds["TaskEnd"] == 10, "tasks: %s" % parsed.kinds)
    check(parsed.kinds["RegionBegin"] == 22, "tasks: regions begun: %s" % parsed.kinds)
    # 20 by the workers, one from before the trace, and two that one end has closed
    check(parsed.kinds["RegionEnd"] == 23, "tasks: regions ended: %s" % parsed.kinds)
    check(parsed.kinds["Log"] == 11, "tasks: logs: %s" % parsed.kinds)
    check(len(re.findall(r'TaskBegin .*Parent=\d+ Type="request"', text)) == 10, "tasks: names")
    check('Category="step" Message="begin"' in text, "tasks: the log's text")
    check("x" * 1024 in text and "x" * 1025 not in text, "tasks: a long text is cut to 1024 bytes")
    check(counts_in(out)["dropped"] == 1, "tasks: the end of a region that never began is dropped")
    views_answer(folder + "/t", "tasks")


def calls(folder, _):
    """What a coroutine does in the middle of an announced call is in the trace, with its P and without."""
    for handoff in "01":
        out, _ = run("calls", folder + "/t", env={"COPPER_HANDOFF": handoff})
        parsed, counted = judge(folder + "/t", "calls"), counts_in(out)
        t = parsed.transitions
        check(parsed.kinds["Log"] == 20, "calls: logs: %s" % parsed.kinds)
        check(t["NotExist", "Runnable"] == 20, "calls: spawned: %s" % t)
        waits = parsed.reasons["chan receive"] + parsed.reasons["chan send"]
        check(waits == 20, "calls: waits: %s" % parsed.reasons)
        # each is in two parts, the log between them, where the coroutine has a P in it or borrows one
        check(t["Running", "Syscall"] >= 40, "calls: calls: %s" % t)
        check(counted["mended"] == 0 and counted["dropped"] == 0, "calls: made up or dropped: " + out)


def procs(folder, _):
    """How many P there are is told at the beginning, in each generation, and when it changes."""
    out, _ = run("procs", folder + "/t", env={"COPPER_MAXPROCS": "2"})
    parsed = judge(folder + "/t", "procs")
    told = [(int(m.group(1)), int(m.group(2))) for m in (
        re.search(r'P=(-?\d+) .*Name="?/sched/gomaxprocs:threads"? Value=.*?(\d+)\W*$', line)
        for line in parsed.lines if " Metric " in line) if m]
    values = [value for _, value in told]
    changes = [v for i, v in enumerate(values) if i == 0 or v != values[i - 1]]
    check(changes == [2, 4, 1, 3, 5], "procs: told %s" % values)
    again = counts_in(out)["generations"] - 1
    check(again >= 2, "procs: one generation only")
    check(len(values) - len(changes) == again, "procs: %d generations, told %s" % (again + 1, values))
    # by who changes it, with the stack: three of the four
    check("run_procs" in parsed.functions, "procs: %s" % parsed.functions)
    check(max(used_ps(parsed)) > 2 and counts_in(out)["mended"] == 0, "procs: " + out)


def used_ps(parsed):
    return {int(re.match(r"M=-?\d+ P=(-?\d+)", line).group(1)) for line in parsed.lines}


def size(otherwise):
    """How many coroutines: the last argument, if it is a number."""
    return int(sys.argv[-1]) if sys.argv[-1].isdigit() else otherwise


def running_at_start(folder, _):
    """Coroutines that do not stop are shown as running, through the generations."""
    out, _ = run("hog", folder + "/t", env={"COPPER_MAXPROCS": "2"})
    parsed = judge(folder + "/t", "hog")
    check(parsed.transitions["Undetermined", "Running"] >= 2, "hog: %s" % parsed.transitions)
    check(parsed.transitions["Running", "Running"] >= 1, "hog: repeated in later generations")
    check(counts_in(out)["generations"] >= 2, "hog: several generations")
    check(counts_in(out)["mended"] == 0, "hog: nothing is made up: " + out)


def many(folder, _):
    """Many coroutines that were parked before."""
    count = size(20000)
    out, _ = run("many", folder + "/t", count)
    parsed = judge(folder + "/t", "many")
    t = parsed.transitions
    check(t["Waiting", "Runnable"] >= count, "many: woken: %s" % t)
    # the trace may end before the last of them has
    check(t["Running", "NotExist"] >= count - 10, "many: ended: %s" % t)
    check(counts_in(out)["mended"] == 0, "many: nothing is made up: " + out)
    views_answer(folder + "/t", "many")


def flight_write(folder, program_name, *arguments):
    """Runs a program with the flight recorder on from its start, and returns where late files are."""
    pattern = folder + "/late-%p-%n.trace"
    done = subprocess.run([program_name, *arguments], capture_output=True, text=True, timeout=120,
                          env=dict(os.environ, COPPER_FLIGHT="2s", COPPER_FLIGHT_ON="20ms",
                                   COPPER_FLIGHT_FILE=pattern, COPPER_MAXPROCS="1",
                                   COPPER_HANDOFF="0"))
    check(done.returncode == 0, "flight: %s" % done.stderr)
    return done


def flight(folder, _):
    before = time.monotonic()
    done = flight_write(folder, program("trace_program"), "late", folder + "/asked")
    most = 1 + (time.monotonic() - before) // 2
    judge(folder + "/asked", "flight, asked for")
    late = glob.glob(folder + "/late-*.trace")
    check(1 <= len(late) <= most, "flight: one file by itself, within the time kept: %s" % late)
    check(re.search(r"^copper: coroutine \d+ waited \d+\.\d ms for a P; see: go tool trace ",
                    done.stderr, re.M), "flight: says so: " + done.stderr)
    for path in late:
        parsed = judge(path, "flight, by itself")
        waits = longest_ready(parsed)
        check(waits >= 20e6, "flight: the delay is in it: %d ns" % waits)
    check(not glob.glob(folder + "/*.tmp"), "flight: nothing is left beside it")
    for value, said in (("10", "COPPER_FLIGHT=10 has no unit; write 10s"),
                        ("soon", "COPPER_FLIGHT=soon is no time; write 10s or 5ms")):
        out, err = run("tasks", folder + "/t", env={"COPPER_FLIGHT": value})
        check("copper: " + said in err, "flight: %r said %r" % (value, err))


def flight_from_c(folder, _):
    """What happens after cu_flight_start has returned is kept."""
    out, _ = run("kept", folder + "/kept", 300)
    parsed = judge(folder + "/kept", "flight from C")
    created = parsed.transitions["NotExist", "Runnable"]
    check(created == 300, "flight from C: %d of 300 coroutines" % created)
    for line in ("started again: 0", "stopped: 0", "nothing kept: No such file or directory",
                 "negative: Invalid argument"):
        check(line in out, "flight from C: %s: %s" % (line, out))


def longest_ready(parsed):
    """The longest time from ready to running in a trace, ns: our own reading."""
    since, longest = {}, 0
    for line in parsed.lines:
        change = re.search(r"Time=(\d+) GoID=(\d+) (\w+)->(\w+)", line)
        if change and change.group(3) != change.group(4):  # a generation says again how things are
            now, g, to = int(change.group(1)), change.group(2), change.group(4)
            if to == "Running" and g in since:
                longest = max(longest, now - since[g])
            since.pop(g, None)
            if to == "Runnable":
                since[g] = now
    return longest


def over_http(folder, _):
    env = {"COPPER_FLIGHT": "5s"}
    with Server(program("trace_program"), "serve", "-", env=env) as s:
        status, headers, body = s.get("trace?seconds=0.3")
        check(status == 200 and body.startswith(HEADER), "http: %s %r" % (status, body[:16]))
        check(headers["content-type"] == "application/octet-stream", "http: type")
        check(headers["content-disposition"] == 'attachment; filename="trace"', "http: disposition")
        check(headers["x-content-type-options"] == "nosniff", "http: nosniff")
        judge(save(folder, "one", body), "http")
        since = time.monotonic()
        for bad in ("x", "-1", "0"):
            status, _, body = s.get("trace?seconds=" + bad)
            check(status == 200, "http: seconds=%s is one second: %d" % (bad, status))
        check(time.monotonic() - since >= 3, "http: what is no number is one second")
        check(s.get("trace?seconds=1e9")[0] == 400, "http: too long is refused")
        check(s.get("trace?seconds=5", method="HEAD")[0] == 200, "http: HEAD")
        # several at once, of different lengths, beside a CPU profile
        with concurrent.futures.ThreadPoolExecutor() as pool:
            profile = pool.submit(s.get, "profile?seconds=2")
            traces = [pool.submit(s.get, "trace?seconds=%g" % n) for n in (0.2, 0.5, 1.3, 1.5)]
            bodies = [t.result()[2] for t in traces]
            check(profile.result()[0] == 200, "http: the profile beside")
        sampled, functions = 0, set()
        for i, body in enumerate(bodies):
            parsed = judge(save(folder, "many%d" % i, body), "http, client %d" % i)
            sampled += parsed.kinds["StackSample"]
            functions |= parsed.functions
        check(sampled > 0, "http: CPU samples are in the trace")
        check(any(f.startswith("burn") for f in functions), "http: the hot function is named")
        views_answer(folder + "/many3", "http")
        # a client that hangs up; the next one is served
        c = s.connect()
        c.sendall(b"GET /debug/pprof/trace?seconds=100 HTTP/1.1\r\nHost: %s\r\n\r\n"
                  % s.address.encode())
        time.sleep(0.3)
        c.close()
        status, _, body = s.get("trace?flight=1")
        check(status == 200, "http: flight=1: %d %r" % (status, body[:100]))
        parsed = judge(save(folder, "flight", body), "http, flight")
        check(parsed.kinds["StateTransition"] > 100, "http: flight=1 has the past")
    with Server(program("trace_program"), "serve", "-") as s:
        status, _, body = s.get("trace?flight=1")
        check(status == 404 and b"COPPER_FLIGHT" in body, "http: flight off: %d %r" % (status, body))
    with Server(program("http_threads")) as s:
        status, headers, body = s.get("trace?seconds=0.1")
        check(status == 500 and body.startswith(b"Could not enable tracing: "),
              "http: without a runtime: %d %r" % (status, body))
        check("x-go-pprof" in headers, "http: the error is for go tool pprof")


def from_environment(folder, name, *command):
    """Programs that know nothing of traces: what the flight recorder had at their end."""
    pattern = folder + "/" + name + ".%n"
    done = subprocess.run(command, capture_output=True, text=True, timeout=120,
                          env=dict(os.environ, COPPER_FLIGHT="30s", COPPER_FLIGHT_ON="1us",
                                   COPPER_FLIGHT_FILE=pattern))
    check(done.returncode == 0, "%s: %s" % (name, done.stderr[-500:]))
    check(os.path.exists(folder + "/" + name + ".1"), "%s: %s" % (name, done.stderr[-500:]))
    if os.path.exists(folder + "/" + name + ".1"):
        judge(folder + "/" + name + ".1", name)
        views_answer(folder + "/" + name + ".1", name)


def demo(folder, _):
    from_environment(folder, "pipeline", BUILD + "/examples/pipeline", "--seconds", "1")


def skynet(folder, _):
    """Faster than any recorder: whatever is lost, what is written is valid."""
    leaves = size(10000)
    out, _ = run("skynet", folder + "/t", leaves, env={"COPPER_HANDOFF": "1"})
    counted = counts_in(out)
    parsed = judge(folder + "/t", "skynet")
    print("skynet: %s" % counted)
    if counted["lost"] == 0:
        check(parsed.transitions["NotExist", "Runnable"] == (10 * leaves - 1) // 9,
              "skynet: %s" % parsed.transitions)
        check(counted["mended"] == 0, "skynet: nothing is made up")
    views_answer(folder + "/t", "skynet")


def lossy(folder, _):
    """A recorder that is too small: how much is too much for it is the machine's affair."""
    for leaves in (10000, 30000, 100000, 300000):
        out, _ = run("skynet", folder + "/t", leaves, env={"COPPER_TRACE_BUFFER": "256KiB"})
        counted = counts_in(out)
        print("lossy: %s" % counted)
        if counted["lost"] > 0 and counted["mended"] > 0:
            break
    parsed = judge(folder + "/t", "lossy")
    check(counted["lost"] > 0, "lossy: nothing was lost")
    check(counted["mended"] > 0, "lossy: nothing had to be made up")
    check(re.search(r'Log .*Category="copper" Message="\d+ events of this thread lost"',
                    "\n".join(parsed.lines)), "lossy: a log line says so")


def main():
    version = require_go()
    parts = [blocks, profiles, tasks, procs, calls, running_at_start, many, flight, flight_from_c, over_http, demo, skynet, lossy]
    wanted = [name for name in sys.argv[1:] if not name.isdigit()]
    for part in parts:
        if not wanted or part.__name__ in wanted:
            before = time.monotonic()
            with new_folder() as folder:
                part(folder, version)
            print("%s: %.1f s" % (part.__name__, time.monotonic() - before), flush=True)
    finish()


main()
