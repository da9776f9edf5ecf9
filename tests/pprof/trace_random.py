# SPDX-License-Identifier: Apache-2.0
"""Traces of random programs are accepted by go tool trace, and hold as many events as a second table
of hooks counted, with hand-off and without. Arguments: how many programs, the first seed, and "whole" to
leave out the traces that begin and end in the middle."""
import sys

from trace_judge import check, counts_in, finish, judge, new_folder, require_go, run


def compare(parsed, counted, what):
    """A coroutine that lost its P is shown in a system call until it gets another, or parks or ends: for
    that it is shown on one more P. One that is in a call when it returns without its P is in a single
    one, whether the P was taken before or after the call began."""
    t = parsed.transitions
    without_p = counted["parked_lost"] + counted["exited_lost"]
    calls = counted["syscalls"] + counted["handoffs"] - counted["returns_lost"]
    pairs = {
        "created": (t["NotExist", "Runnable"], counted["created"]),
        "ready": (t["Waiting", "Runnable"], counted["ready"]),
        "parked": (t["Running", "Waiting"], counted["parked"]),
        "yielded": (t["Running", "Runnable"], counted["yielded"]),
        "exited": (t["Running", "NotExist"], counted["exited"]),
        "running": (t["Runnable", "Running"], counted["running"] + without_p),
        "calls": (t["Running", "Syscall"], calls),
        "calls ended": (t["Syscall", "Running"] + t["Syscall", "Runnable"], calls),
        "calls ended with a P": (t["Syscall", "Running"], counted["returns"] - counted["returns_lost"]),
        "made up": (counted["mended"], 0),
        "lost": (counted["lost"], 0),
    }
    for name, (traced, hooked) in pairs.items():
        check(traced == hooked, "%s: %s: %d in the trace, %d by the hooks: %s" % (
            what, name, traced, hooked, counted))


def main():
    require_go()
    programs = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    is_whole = sys.argv[3:] == ["whole"]
    events = handoffs = middle_mended = 0
    with new_folder() as folder:
        path = folder + "/t.trace"
        for seed in range(first, first + programs):
            env = {"COPPER_MAXPROCS": str(1 + seed % 4)}
            for handoff in "01":
                env["COPPER_HANDOFF"] = handoff
                what = "seed %d, COPPER_HANDOFF=%s" % (seed, handoff)
                out, _ = run("random", path, seed, env=env)
                parsed = judge(path, what)
                compare(parsed, counts_in(out), what)
                handoffs += counts_in(out)["handoffs"]
                events += sum(parsed.kinds.values())
                if is_whole:
                    continue
                out, _ = run("middle", path, seed, env=env)
                middle_mended += counts_in(out)["mended"]
                events += sum(judge(path, what + ", from the middle").kinds.values())
                events += sum(judge(path + ".2", what + ", later").kinds.values())
    print("%d programs, %d traces each, %d events, %d hand-offs, %d states made up from the middle" % (
        programs, 2 if is_whole else 6, events, handoffs, middle_mended))
    check(events > programs * 1000, "there was little in them")
    finish()


main()
