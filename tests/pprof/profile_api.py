#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Profiles taken from C and profiles of the program's own, judged by go tool pprof; labels for a while."""
import gzip
import os
import re
import tempfile

from http_support import Pprof, Raw, Server, check, finish, program
from strict import strict
from trace_judge import judge, require_go

LISTS = ("allocs", "goroutine", "heap", "hog", "mutex", "schedule", "threadcreate", "my-connections")
OWN = "my-connections"


def files(folder, pprof):
    """Each file is read without a warning, by the strictest reader too."""
    names = sorted(os.listdir(folder))
    check(not [n for n in names if n.endswith(".tmp")], "nothing is left beside the files: %s" % names)
    for name in LISTS + ("profile", "block", "wall"):
        path = "%s/%s.pb.gz" % (folder, name)
        with open(path, "rb") as f:
            strict(name, gzip.decompress(f.read()))
    for name in ("block.pb.gz", "wall.pb.gz", "goroutine.pb.gz"):
        pprof.clean("-top", "%s/%s" % (folder, name))
    r = pprof.run("-top", folder + "/goroutine.txt")  # a text has no mappings: that is warned of
    check(r.returncode == 0, "the text is read: " + r.stderr[-300:])
    with open("%s/goroutine.dump" % folder, encoding="utf-8") as f:
        dump = f.read()
    check(len(re.findall(r"^goroutine \d+ \[chan receive.*stage: waiting", dump, re.M)) == 3,
          "the dump has the coroutines and their labels: " + dump[:600])


def through(raw, function):
    return [i for i in range(len(raw.samples)) if function in raw.stack(i)]


def labels(folder, pprof):
    path = folder + "/profile.pb.gz"
    focused = Raw(pprof.clean("-raw", "-tagfocus", "stage=hot", path))
    rest = Raw(pprof.clean("-raw", "-tagignore", "stage=hot", path))
    check(sum(focused.samples[i][0][1] for i in through(focused, "burn_labelled")) > 500e6,
          "two coroutines burn 400 ms each with the label")
    check(any("burn_in_scopes" in focused.stack(i) for i in through(focused, "burn_labelled")) and
          any("burn_in_scopes" not in focused.stack(i) for i in through(focused, "burn_labelled")),
          "both who set it and who inherited it have it")
    check(not through(focused, "burn_plain"), "after the scope the label is gone")
    check(through(rest, "burn_plain") and not through(rest, "burn_labelled"), "... and only then")
    top = pprof.clean("-top", "-tagfocus", "stage=hot", path)
    check("burn_labelled" in top and "burn_plain" not in top, "-top -tagfocus: " + top[:600])
    check("hot" in pprof.clean("-tags", path), "-tags lists it")


def own_profile(server, pprof):
    url = "%s/%s" % (server.url, OWN)
    raw = Raw(pprof.clean("-raw", url))
    check(raw.types == ["my_connections/count"], "types: %s" % raw.types)
    check(raw.period_type == "my_connections count" and raw.period == 1, "period")
    counts = sorted((v[0], raw.stack(i)[0], raw.stack(i)[-1]) for i, (v, _) in enumerate(raw.samples))
    check([c[:2] for c in counts] == [(3, "open_connection"), (4, "open_connection")],
          "counted by stack, from the caller of add on: %s" % counts)
    top = pprof.clean("-top", url)
    check(re.search(r"^ +7 +100% .* open_connection$", top, re.M), "-top: " + top[:400])
    strict(OWN, server.profile(OWN))

    status, headers, body = server.get(OWN)
    check(status == 200 and headers.get("content-disposition") == 'attachment; filename="%s"' % OWN and
          headers["content-type"] == "application/octet-stream", "headers: %s" % headers)
    status, headers, text = server.get(OWN + "?debug=1")
    check(status == 200 and headers["content-type"].startswith("text/plain") and
          "content-disposition" not in headers, "debug=1: %s" % headers)
    check(text.startswith(b"my_connections profile: total 7\n4 @ 0x"), "debug=1: %r" % text[:80])
    check(server.get(OWN + "?debug=2")[2] == text, "debug=2 is debug=1")
    r = pprof.run("-top", url + "?debug=1")
    check(r.returncode == 0 and "7" in r.stdout, "pprof reads the text: " + r.stderr[-300:])
    for query, said in (("seconds=1", '"seconds" parameter is not supported for this profile type'),
                        ("ms=5", '"seconds" parameter is not supported for this profile type'),
                        ("seconds=x", 'invalid value for "seconds" - must be a positive integer'),
                        ("seconds=0", 'invalid value for "seconds" - must be a positive integer'),
                        ("seconds=1&debug=1",
                         '"seconds" parameter is not supported for this profile type')):
        status, headers, body = server.get("%s?%s" % (OWN, query))
        check(status == 400 and body.decode() == said + "\n" and headers.get("x-go-pprof") == "1",
              "%s: %d %r" % (query, status, body))
    status, _, body = server.get(OWN, method="HEAD")
    check(status == 200 and body == b"", "HEAD")
    check(server.get(OWN, method="POST")[0] == 405, "POST")
    check(server.get(OWN + "x")[0] == 404, "another name")

    index = server.get("")[2].decode()
    rows = re.findall(r"<tr><td>(\d+)</td><td><a href='([^']*)\?debug=1'>([^<]*)</a></td></tr>", index)
    names = [r[1] for r in rows]
    check(names == sorted(names) and ("7", OWN, OWN) in rows, "the index: %s" % rows)
    check("%s: </div> Held by the program" % OWN in index, "its description")
    server.process.stdin.write(b"x")
    server.process.stdin.flush()
    server.process.stdout.readline()
    check(server.get(OWN + "?debug=1")[2].startswith(b"my_connections profile: total 6\n"), "removed")


def main():
    require_go()
    with tempfile.TemporaryDirectory() as folder, Pprof() as pprof:
        with Server(program("profile_program"), folder) as server:
            files(folder, pprof)
            labels(folder, pprof)
            own_profile(server, pprof)
            check(server.is_alive(), "the program still runs")
        for name in ("trace", "trace.window"):
            parsed = judge("%s/%s" % (folder, name), name)
            check(parsed.lines, "%s has events" % name)
    finish()


main()
