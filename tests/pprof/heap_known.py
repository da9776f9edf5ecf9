# SPDX-License-Identifier: Apache-2.0
"""heap and allocs of a program that allocated 4 GiB over 20 functions, in threads and coroutines, at
the default rate: `go tool pprof` must find what is known. The text form, deltas, labels of the
process, and a program that does not link the wrapper."""
import math

from http_support import *

RATE = 524288


SIGMAS = 4.5
# Numbers of samples are not quite normal: of 48 or so, the upper tail is longer by this many of them
# (the first term of Cornish and Fisher), however large the site.
SKEW = (SIGMAS * SIGMAS - 1) / 6


def judge_site(name, want, size, raw, column):
    """Within 4.5 standard errors of the number of samples that a site should have: each allocation is
    one with the same chance. (Of the number it has, the bound would be too near where that is low.)"""
    got = sum(values[column] for i, (values, _) in enumerate(raw.samples) if name in raw.stack(i)[:3])
    chance = 1 - math.exp(-size / RATE)
    deviation = math.sqrt(want / size * chance * (1 - chance))
    error = (SIGMAS * deviation + (SKEW if want else 0)) * size / chance
    check(abs(got - want) <= error, "%s: %d of %d bytes, allowed %d" % (name, got, want, error))
    return got


def judge(server, pprof, known):
    allocs = Raw(pprof.clean("-raw", server.url + "/allocs"))
    heap = Raw(pprof.clean("-raw", server.url + "/heap"))
    types = ["alloc_objects/count", "alloc_space/bytes", "inuse_objects/count", "inuse_space/bytes"]
    check([t.split("[")[0] for t in allocs.types] == types, "types: %s" % allocs.types)
    check("alloc_space/bytes[dflt]" in allocs.types, "default of allocs: %s" % allocs.types)
    check("inuse_space/bytes[dflt]" in heap.types, "default of heap: %s" % heap.types)
    check((heap.period_type, heap.period) == ("space bytes", RATE), "period %s" % heap.period)
    total = 0
    for name, (allocated, objects, inuse) in known.items():
        total += judge_site(name, allocated, allocated / objects, allocs, 1)
        judge_site(name, inuse, allocated / objects, heap, 3)
    want = sum(k[0] for k in known.values())
    print("total: %.4f of what was allocated, %d samples" % (total / want, len(allocs.samples)))
    check(abs(total - want) <= 0.05 * want, "total %d of %d" % (total, want))
    stacks = [allocs.stack(i) for i in range(len(allocs.samples))]
    check(all(s[0].startswith("site_") for s in stacks if "allocate" in s), "leaves: %s" % stacks[0])
    for i, stack in enumerate(stacks):
        number = re.match(r"site_(\d+)", stack[0])
        if number:
            is_labelled = allocs.labels[i].get("stage") == "coroutine"
            check(is_labelled == (int(number.group(1)) >= 10), "labels of %s" % stack[0])
            check(allocs.labels[i].get("service_name") == "checkout", "process labels missing")
    top = pprof.clean("-top", "-sample_index=alloc_space", server.url + "/allocs")
    check("site_7" in top, "top: %s" % top[:300])


def judge_text(server, pprof):
    status, headers, body = server.get("heap?debug=1&gc=1")
    text = body.decode()
    check(status == 200 and headers["content-type"].startswith("text/plain"), "text form")
    found = re.match(r"heap profile: (\d+): (\d+) \[(\d+): (\d+)\] @ heap/(\d+)\n", text)
    check(found and int(found.group(5)) == 2 * RATE, "header: %s" % text[:80])
    records = re.findall(r"^(\d+): (\d+) \[(\d+): (\d+)\] @( 0x[0-9a-f]+)+$", text, re.M)
    sums = [sum(int(r[i]) for r in records) for i in range(4)]
    check(sums[:3] == [int(found.group(i)) for i in (1, 2, 3)], "sums: %s" % sums)
    in_use = [int(r[1]) for r in records]
    check(in_use == sorted(in_use, reverse=True), "most bytes in use first: %s" % in_use[:20])
    check("# runtime.MemStats\n# Alloc = " in text and "# MaxRSS = " in text, "trailer")
    binary = Raw(pprof.clean("-raw", server.url + "/heap"))
    legacy = Raw(pprof.clean("-raw", server.url + "/heap?debug=1"))
    a, b = (sum(s[0][3] for s in r.samples) for r in (binary, legacy))
    check(abs(a - b) <= 0.01 * max(a, b), "in use: binary %d, text %d" % (a, b))


def judge_unlinked(pprof):
    with Server(program("http_threads")) as server:
        raw = Raw(pprof.clean("-raw", server.url + "/heap"))
        check(raw.samples == [], "samples without the wrapper")
        check("copper::heap" in server.get("heap?debug=1")[2].decode(), "how to link it")
        check("copper::heap" in pprof.clean("-comments", server.url + "/allocs"), "comment")


def main():
    with Pprof() as pprof:
        env = {"COPPER_HEAP_RATE": str(RATE), "COPPER_LABELS": "service=checkout,environment=prod,=x"}
        with Server(program("heap_program"), "4096", env=env) as server:
            known = {}
            for line in iter(lambda: server.process.stdout.readline().decode().strip(), "done"):
                name, *numbers = line.split()
                known[name] = [int(n) for n in numbers]
            if b"comes before" in server.get("heap?debug=1")[2]:
                print("a sanitizer's malloc comes first")
                sys.exit(SKIPPED)
            judge(server, pprof, known)
            judge_text(server, pprof)
            threads = server.get("goroutine?debug=2&threads=1")[2]
            check(b"copper-heap" not in threads, "the wrapper's thread shows as the program's")
            delta = Raw(pprof.clean("-raw", server.url + "/heap?seconds=1"))
            check(sum(abs(v) for s in delta.samples for v in s[0]) < 64 << 20, "idle delta")
            server.process.stdin.close()
            server.process.stdin = None
            server.process.wait(10)
        judge_unlinked(pprof)
    finish()


main()
