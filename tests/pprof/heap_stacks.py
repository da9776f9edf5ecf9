# SPDX-License-Identifier: Apache-2.0
"""Stacks of coroutines in heap and allocs: known amounts, spawned at three places, as `go tool pprof`
reads them; what is left when some have ended, and that no allocated value fell; the sums in the text
form."""
from http_support import *

LEAF = "[coroutine stack]"
RAW_LEAF = LEAF.split(" ")[0]  # class Raw ends names at a space
BYTES = 3
ALLOCATED = (0, 1)  # objects, bytes


def stacks_by_function(raw):
    """Of each spawned function: coroutines, bytes, and the samples' numbers."""
    found = {}
    for i, (values, _) in enumerate(raw.samples):
        stack = raw.stack(i)
        if stack[0] != RAW_LEAF:
            continue
        check(not any(values[v] for v in ALLOCATED), "in use, not allocated: %s" % values)
        sums = found.setdefault(stack[1], [0, 0, []])
        sums[0] += values[2]
        sums[1] += values[BYTES]
        sums[2].append(i)
    return found


def judge(raw, known):
    found = stacks_by_function(raw)
    for name, (count, bytes_each) in known.items():
        got = found.get(name, [0, 0, []])
        check(got[0] == count, "%s: %d coroutines of %d" % (name, got[0], count))
        want = count * bytes_each
        check(abs(got[1] - want) <= 0.05 * want, "%s: %d of %d bytes" % (name, got[1], want))
        for i in got[2]:
            check("spawner" in raw.stack(i)[2:], "who spawned it: %s" % raw.stack(i))
            check(raw.labels[i].get("stage") == "deep", "labels: %s" % raw.labels[i])
            check("spawner" in raw.labels[i].get("spawned_at", ""), "site: %s" % raw.labels[i])
            check("bytes" in raw.labels[i], "bytes: %s" % raw.labels[i])
    return found


def allocated(raw):
    """Objects and bytes of each stack, since the start."""
    sums = {}
    for i, (values, _) in enumerate(raw.samples):
        key = tuple(raw.stack(i))
        before = sums.get(key, (0, 0))
        sums[key] = tuple(before[v] + values[v] for v in ALLOCATED)
    return sums


def judge_growth(before, after):
    check(before and sum(v[1] for v in before.values()) >= 16 << 20, "allocated: %s" % before)
    for key, sums in before.items():
        now = after.get(key, (0, 0))
        check(all(n >= b for n, b in zip(now, sums)), "fell from %s to %s: %s" % (sums, now, key))


def judge_text(server, pprof, found):
    text = server.get("heap?debug=1")[2].decode()
    inuse, size = (re.search(r"^# Stack%s = (\d+)$" % k, text, re.M) for k in ("Inuse", "Sys"))
    check(inuse and size, "lines of stacks: %s" % text[-400:])
    total = sum(v[1] for v in found.values())
    if not (inuse and size):
        return
    got = int(inuse.group(1))
    check(abs(got - total) <= 0.01 * total, "StackInuse: %d, samples %d" % (got, total))
    check(int(size.group(1)) >= 105 * (2 << 20), "StackSys: %s" % size.group(1))
    pprof.clean("-raw", server.url + "/heap?debug=1")


def main():
    with Pprof() as pprof, Server(program("heap_stacks_program")) as server:
        lines = iter(lambda: server.process.stdout.readline().decode().strip(), "done")
        known = {name: (int(count), int(size)) for name, count, size in (l.split() for l in lines)}
        if b"comes before" in server.get("heap?debug=1")[2]:
            check(b"# Stack" not in server.get("heap?debug=1")[2], "stacks without the heap profile")
            print("a sanitizer's malloc comes first")
            sys.exit(SKIPPED)
        heap = Raw(pprof.clean("-raw", server.url + "/heap"))
        found = judge(heap, known)
        blocks = sum(v[BYTES] for i, (v, _) in enumerate(heap.samples) if heap.stack(i)[0] == "block")
        check(blocks == 16 << 20, "from malloc: %d" % blocks)
        allocs = Raw(pprof.clean("-raw", server.url + "/allocs"))
        judge(allocs, known)
        judge_text(server, pprof, found)
        top = pprof.clean("-top", server.url + "/heap")
        check(LEAF in top, "top: %s" % top[:400])
        server.process.stdin.write(b"\n")
        server.process.stdin.flush()
        check(server.process.stdout.readline() == b"ended\n", "the first ones end")
        del known["small"]
        left = judge(Raw(pprof.clean("-raw", server.url + "/heap")), known)
        check("small" not in left, "stacks of coroutines that ended: %s" % left)
        judge_growth(allocated(allocs), allocated(Raw(pprof.clean("-raw", server.url + "/allocs"))))
    finish()


main()
