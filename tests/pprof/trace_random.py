# SPDX-License-Identifier: Apache-2.0
"""Traces of random programs are accepted by go tool trace, and hold as many events as a second table
of hooks counted. Arguments: how many programs, and the first seed."""
import sys

from trace_judge import check, counts_in, finish, judge, new_folder, require_go, run


def compare(parsed, counted, what):
    t = parsed.transitions
    pairs = {
        "created": t["NotExist", "Runnable"],
        "ready": t["Waiting", "Runnable"],
        "parked": t["Running", "Waiting"],
        "exited": t["Running", "NotExist"],
        "running": t["Runnable", "Running"],
        "syscalls": t["Running", "Syscall"],
        "returns": t["Syscall", "Running"] + t["Syscall", "Runnable"],
    }
    for name, traced in pairs.items():
        if name == "syscalls" or name == "returns":
            # a coroutine that lost its P without a call is shown in one
            check(counted[name] <= traced <= counted[name] + counted["handoffs"],
                  "%s: %d %s in the trace, %d counted" % (what, traced, name, counted[name]))
            continue
        check(traced == counted[name],
              "%s: %d %s in the trace, %d counted" % (what, traced, name, counted[name]))
    stopped = t["Running", "Runnable"]
    check(counted["yielded"] <= stopped <= counted["yielded"] + counted["preempted"],
          "%s: %d stops in the trace, %d yields counted" % (what, stopped, counted["yielded"]))
    check(counted["mended"] == 0, "%s: %d states were made up" % (what, counted["mended"]))
    check(counted["lost"] == 0, "%s: %d events lost" % (what, counted["lost"]))


def main():
    require_go()
    programs = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    events = 0
    with new_folder() as folder:
        path = folder + "/t.trace"
        for seed in range(first, first + programs):
            what = "seed %d" % seed
            env = {"COPPER_MAXPROCS": str(1 + seed % 4)}
            out, _ = run("random", path, seed, env=env)
            parsed = judge(path, what)
            compare(parsed, counts_in(out), what)
            events += sum(parsed.kinds.values())
            out, _ = run("middle", path, seed, env=env)
            events += sum(judge(path, what + ", from the middle").kinds.values())
            events += sum(judge(path + ".2", what + ", later").kinds.values())
            run("random", path, seed, env={**env, "COPPER_HANDOFF": "1"})
            events += sum(judge(path, what + ", with hand-off").kinds.values())
    print("%d programs, four traces each, %d events" % (programs, events))
    check(events > programs * 1000, "there was little in them")
    finish()


main()
