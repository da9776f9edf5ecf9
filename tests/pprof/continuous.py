#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""COPPER_CONTINUOUS: files of the whole life of a process, that any reader takes; bounded; whatever
happens to their folder."""
import gzip
import os
import re
import resource
import select
import shutil
import subprocess
import tempfile
import time

from http_support import BUILD, Pprof, check, finish, program, until
from strict import group, integers, strict

NAME = re.compile(r"(\d{8}T\d{6}\.\d{3}Z)-(\w[\w.]*)-(\d+)-(\w+)\.pb\.gz$")
PROGRAM = program("continuous_program")


class Recorded:
    """A program that is recorded into a folder."""

    def __init__(self, folder, fields, *command, **env):
        self.folder, self.said = folder, b""
        self.process = subprocess.Popen(
            command or [PROGRAM, "work"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=dict(os.environ, COPPER_CONTINUOUS=folder + fields, **env))
        self.pid = self.process.pid

    def files(self, kind="cpu"):
        try:
            names = sorted(os.listdir(self.folder))
        except OSError:
            return []
        return [n for n in names if n.endswith("-%s.pb.gz" % kind)]

    def wait_for(self, n, kind="cpu"):
        check(until(lambda: len(self.files(kind)) >= n, 60), "%d files of %s: %s" % (
            n, kind, self.files(kind)))

    def says(self):
        """What it wrote to its standard error so far."""
        while select.select([self.process.stderr], [], [], 0)[0]:
            piece = os.read(self.process.stderr.fileno(), 4096)
            if not piece:
                break
            self.said += piece
        return self.said.decode()

    def end(self):
        """Returns when the program was told to end, and its standard error."""
        told = time.time()
        _, rest = self.process.communicate(timeout=60)
        return told, (self.said + rest).decode()


def load(folder, name):
    with open("%s/%s" % (folder, name), "rb") as f:
        return gzip.decompress(f.read())


def times(folder, name):
    """Begin and end of a profile, seconds."""
    p = group(load(folder, name))
    begin, length = integers(p[9])[0] / 1e9, integers(p.get(10, [0]))[0] / 1e9
    return begin, begin + length


def judge(r, names):
    """No gap between files, names in order of time, strict."""
    spans = [times(r.folder, n) for n in names]
    check(spans == sorted(spans), "names sort by time: %s" % spans[:9])
    gaps = [begin - end for (_, end), (begin, _) in zip(spans, spans[1:])]
    check(max(gaps, default=0) < 0.02, "nothing is missing in between: %s" % spans[:9])
    for n in names:
        strict(n, load(r.folder, n))
    return spans


def all_that_is_on(folder, pprof):
    r = Recorded(folder + "/a/b", ",300ms", COPPER_BLOCK_RATE="1us")
    r.wait_for(3)
    told, stderr = r.end()
    names = sorted(os.listdir(r.folder))
    found = [NAME.match(n) for n in names]
    check(all(found), "names: %s" % names)
    check({m.group(2) for m in found} == {"continuous_program"} and
          {m.group(3) for m in found} == {str(r.pid)}, "program and pid: %s" % names)
    check({m.group(4) for m in found} == {"cpu", "goroutine", "block"}, "kinds: %s" % names)
    check(stderr == "" and r.process.returncode == 0, "says nothing: %s" % stderr)
    spans = judge(r, r.files())
    check(spans[-1][1] >= told, "the last interval is there: %s, told at %f" % (spans, told))
    judge(r, r.files("block"))
    for n in r.files("goroutine"):
        strict(n, load(r.folder, n))
    top = pprof.clean("-top", *["%s/%s" % (r.folder, n) for n in r.files()])
    check("hot_leaf" in top, "merged by go tool pprof: " + top[:500])
    top = pprof.clean("-top", "%s/%s" % (r.folder, r.files("block")[-1]))
    check("cu_mutex_lock" in top, "a difference of waits: " + top[:500])


def listed(folder, _):
    r = Recorded(folder, ",200ms,cpu+wall+mutex+threadcreate")
    r.wait_for(2, "wall")
    r.end()
    kinds = {NAME.match(n).group(4) for n in os.listdir(folder)}
    check(kinds == {"cpu", "wall", "mutex", "threadcreate"}, "those of the list: %s" % kinds)
    for kind in ("cpu", "mutex"):
        judge(r, r.files(kind))
    for n in r.files("wall"):
        strict(n, load(folder, n))
    sums, _ = strict("mutex", load(folder, r.files("mutex")[-2]))
    check(sums["contentions"] > 0, "mutex was turned on: %s" % sums)


def bounded(folder, _):
    for name in ("notes.txt", "20200101T000000.000Z.pb.gz", "2020-heap.pb.gz"):
        open("%s/%s" % (folder, name), "w").close()
    old = "20200101T000000.000Z-other-1-cpu.pb.gz"
    open("%s/%s" % (folder, old), "w").close()
    open(folder + "/20200101T000001.000Z-other-1-cpu.pb.gz.1.2.tmp", "w").close()
    r = Recorded(folder, ",100ms,goroutine", COPPER_CONTINUOUS_KEEP="4,1GiB")
    seen, most = set(), 0

    def look():
        names = r.files("goroutine")
        seen.update(names)
        nonlocal most
        most = max(most, len(names))
        return len(seen) >= 9
    check(until(look, 60), "files come: %s" % sorted(seen))
    r.end()
    left = sorted(os.listdir(folder))
    check(most <= 5 and len(r.files("goroutine")) == 4, "four are kept: %d, %s" % (most, left))
    check(set(left) - set(r.files("goroutine")) ==
          {"notes.txt", "20200101T000000.000Z.pb.gz", "2020-heap.pb.gz"},
          "older ones of ours go, whoever wrote them; nothing else: %s" % left)
    r = Recorded(folder, ",100ms,goroutine", COPPER_CONTINUOUS_KEEP="1KiB")
    check(until(lambda: any("-%d-" % r.pid in n for n in r.files("goroutine")), 60), "it writes")
    r.end()
    check(1 <= len(r.files("goroutine")) <= 2, "a size is a bound: %s" % os.listdir(folder))


def full_disk(folder, _):
    """A file that may not grow is the disk that is full; what could not be written comes later."""
    r = Recorded(folder, ",200ms,cpu+schedule+goroutine")
    r.wait_for(2)
    resource.prlimit(r.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    at_full = r.files()
    failing = time.time()
    check(until(lambda: "continuous profiles" in r.says(), 60), "it is said")
    check(until(lambda: time.time() > failing + 1.2, 60), "several intervals pass")
    resource.prlimit(r.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    check(until(lambda: len(r.files()) >= len(at_full) + 3, 60), "it goes on: %s" % r.files())
    told, stderr = r.end()
    check(re.fullmatch(r"copper: continuous profiles: %s: File too large; trying again\n" %
                       re.escape(folder), stderr), "said once: %r" % stderr)
    spans = judge(r, r.files())
    check(max(end - begin for begin, end in spans) > 0.6, "it was made up for: %s" % spans)
    check(spans[-1][1] >= told, "to the end: %s" % spans)
    judge(r, r.files("schedule"))
    check(not [n for n in os.listdir(folder) if n.endswith(".tmp")], "nothing half written")


def half_full(folder, _):
    """What still fits does not end the outage of what does not."""
    r = Recorded(folder, ",1s,cpu+goroutine")  # in a second there is something in each
    r.wait_for(3, "goroutine")
    sizes = {k: [os.path.getsize("%s/%s" % (folder, n)) for n in r.files(k)[1:]]
             for k in ("cpu", "goroutine")}
    fits = max(sizes["goroutine"]) + 100
    check(fits < min(sizes["cpu"]), "one is larger: %s" % sizes)
    resource.prlimit(r.pid, resource.RLIMIT_FSIZE, (fits, resource.RLIM_INFINITY))
    check(until(lambda: "continuous profiles" in r.says(), 60), "it is said")
    before = len(r.files("goroutine"))
    check(until(lambda: len(r.files("goroutine")) >= before + 4, 60), "the small ones are written")
    check(r.says().count("\n") == 1, "one outage, one line: %r" % r.says()[:400])
    resource.prlimit(r.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    before = len(r.files())
    check(until(lambda: len(r.files()) >= before + 3, 60), "it goes on: %s" % r.files())
    resource.prlimit(r.pid, resource.RLIMIT_FSIZE, (fits, resource.RLIM_INFINITY))
    check(until(lambda: r.says().count("\n") == 2, 60), "another outage is said again: %r" % r.says()[:400])
    resource.prlimit(r.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    r.end()


def vanished(folder, _):
    r = Recorded(folder + "/x", ",100ms,cpu")
    r.wait_for(2)
    shutil.rmtree(folder + "/x", ignore_errors=True)
    check(until(lambda: len(r.files()) >= 2, 60), "the folder is made again")
    _, stderr = r.end()
    check(stderr == "" or stderr.count("\n") == 1, "at most one line: %r" % stderr)


def ends(folder, _):
    """Short programs, forked children, and those that end with a report of what they left behind."""
    r = Recorded(folder + "/short", ",60s", PROGRAM, "short")
    _, stderr = r.end()
    check(r.process.returncode == 0 and len(r.files()) == 1 and stderr == "",
          "short: %s %r" % (r.files(), stderr))
    r = Recorded(folder + "/fork", ",60s,cpu+goroutine", PROGRAM, "fork")
    r.end()
    check([NAME.match(n).group(3) for n in sorted(os.listdir(r.folder))] == 2 * [str(r.pid)],
          "a forked child writes nothing: %s" % os.listdir(r.folder))
    r = Recorded(folder + "/strand", ",60s,goroutine", PROGRAM, "strand", COPPER_LEAKCHECK="1")
    _, stderr = r.end()
    check(r.process.returncode == 23 and len(r.files("goroutine")) == 1,
          "strand: %d %s %s" % (r.process.returncode, r.files("goroutine"), stderr[-300:]))


def preloaded(folder, pprof):
    with open(program("http_plain"), "rb") as f:
        if re.search(rb"__[at]san_init", f.read()):
            print("preloaded: left out: a sanitizer wants to be the first library")
            return
    r = Recorded(folder, ",300ms,cpu", BUILD + "/bin/copper", "run", "--quiet", "--",
                 program("http_plain"))
    r.wait_for(3)
    told, stderr = r.end()
    check(stderr == "" and r.process.returncode == 0, "preloaded: %s" % stderr)
    names = r.files()
    check({NAME.match(n).group(2) for n in names} == {"http_plain"}, "its name: %s" % names)
    spans = judge(r, names)
    check(spans[-1][1] >= told, "to the end: %s, told at %f" % (spans, told))
    check("hot_leaf" in pprof.clean("-top", *["%s/%s" % (folder, n) for n in names]), "its functions")


def values(folder, _):
    kinds = "cpu, wall, heap, allocs, goroutine, threadcreate, block, mutex, schedule, hog"
    for value, keep, said in (
            (folder + ",60", "", "COPPER_CONTINUOUS: 60 has no unit; write 60s"),
            (folder + ",soon", "", "COPPER_CONTINUOUS: soon is no time from 100ms to 1h; write 60s"),
            (folder + ",1ms", "", "COPPER_CONTINUOUS: 1ms is no time from 100ms to 1h; write 60s"),
            (folder + ",2h", "", "COPPER_CONTINUOUS: 2h is no time from 100ms to 1h; write 60s"),
            (folder + ",1s,cpu+disk", "",
             "COPPER_CONTINUOUS: disk is no profile; these are: " + kinds),
            (folder + ",1s,", "", "COPPER_CONTINUOUS:  is no profile; these are: " + kinds),
            (",60s", "", "COPPER_CONTINUOUS=,60s names no folder; write FOLDER,60s"),
            (folder, "lots", "COPPER_CONTINUOUS_KEEP=lots: write a number of files, a size, or "
                             "both: 4096,256MiB"),
            ("/proc/no", "", "continuous profiles: /proc/no: No such file or directory; trying again"),
            (folder + "/ok", "10,5MiB", None)):
        r = subprocess.run([PROGRAM, "short"], capture_output=True, text=True, timeout=60,
                           env=dict(os.environ, COPPER_CONTINUOUS=value, COPPER_CONTINUOUS_KEEP=keep))
        check(r.returncode == 0 and r.stderr == ("copper: %s\n" % said if said else ""),
              "%s %s: %r" % (value, keep, r.stderr))
    r = subprocess.run([program("http_threads")], stdin=subprocess.DEVNULL, capture_output=True,
                       text=True, timeout=60,
                       env=dict(os.environ, COPPER_CONTINUOUS=folder + "/t,1s,cpu+block"))
    check(r.stderr == "copper: COPPER_CONTINUOUS: no block: there is no copper runtime in this program\n",
          "without a runtime: %r" % r.stderr)
    check([NAME.match(n).group(4) for n in os.listdir(folder + "/t")] == ["cpu"], "... the rest goes on")


def main():
    with Pprof() as pprof:
        for part in (all_that_is_on, listed, bounded, full_disk, half_full, vanished, ends, preloaded, values):
            begin = time.monotonic()
            with tempfile.TemporaryDirectory() as folder:
                part(folder, pprof)
            print("%s: %.1f s" % (part.__name__, time.monotonic() - begin), flush=True)
    finish()


main()
