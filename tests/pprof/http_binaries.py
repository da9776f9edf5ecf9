# SPDX-License-Identifier: Apache-2.0
"""Whatever way a program was built or started, the client gets names without a warning: PIE, fixed
address, stripped, C++, deleted since, started through ld.so, replaced, preloaded, linked by gold,
hidden in a mount namespace."""
import re
import shutil
import subprocess

from http_support import *

MOVED = {"LD_LIBRARY_PATH": os.path.join(BUILD, "lib")}  # copies do not find our libraries beside them


def examine(pprof, s, what, exe, names):
    """A CPU profile by URL, the goroutine profile from a file. names: functions that must be seen.
    Returns both, taken apart."""
    saved = os.path.join(pprof.home, "saved.pb.gz")
    open(saved, "wb").write(s.get("goroutine")[2])
    raws = []
    for source in (s.url + "/profile?seconds=1", saved):
        raw = Raw(pprof.clean("-raw", source))
        check(raw.mappings[1][3].split(" ")[0] == exe, "%s %s: the main binary is %s" % (
            what, source, raw.mappings[1][3]))
        check("(deleted)" not in raw.text, "%s: no (deleted)" % what)
        unnamed = [l for l, (_, m, lines) in raw.locations.items() if m is None or not lines]
        check(not unnamed, "%s %s: locations without a name" % (what, source))
        raws.append(raw)
    seen = {f for l in raws[0].locations for f in raws[0].functions(l)}
    for name in names:
        check(name in seen, "%s: %s is not in %s" % (what, name, sorted(seen)))
    return raws


def linked(pprof, name, folder, names):
    exe = os.path.realpath(program(name))
    with Server(exe, "60") as s:
        examine(pprof, s, name, exe, names)
    # the client cannot read the file any more, or finds another one in its place
    copy = os.path.join(folder, name)
    shutil.copy(exe, copy)
    with Server(copy, "60", env=MOVED) as s:
        os.unlink(copy)
        examine(pprof, s, name + " deleted", copy, names)
        shutil.copy("/bin/true", copy)
        examine(pprof, s, name + " replaced", copy, names)
    stripped = os.path.join(folder, name + "-stripped")
    subprocess.run(["strip", "-o", stripped, exe], check=True)
    with Server(stripped, "60", env=MOVED) as s:
        raw = examine(pprof, s, name + " stripped", stripped, ())[0]
        own = {f for l, (_, m, _) in raw.locations.items() if m == 1 for f in raw.functions(l)}
        check(own and all(re.match(r"\S*%s-stripped\+0x[0-9a-f]+$" % name, f) or
                          f in ("main", "_start") for f in own),
              "%s stripped: offsets, not the names of neighbours: %s" % (name, sorted(own)[:5]))


def namespaced(pprof, folder):
    """The client sees none of the program's files, and another file system in their place."""
    if not shutil.which("unshare") or subprocess.run(["unshare", "-rm", "true"],
                                                     capture_output=True).returncode:
        print("no mount namespaces here")
        return
    hidden = os.path.join(folder, "hidden")
    copy = os.path.join(hidden, "http_threads")
    os.mkdir(hidden)
    script = 'mount -t tmpfs none "$1" && cp "$2" "$3" && exec "$3" 60'
    with Server("unshare", "-rm", "sh", "-c", script, "sh", hidden,
                os.path.realpath(program("http_threads")), copy, env=MOVED) as s:
        check(not os.path.exists(copy), "the program is hidden")
        examine(pprof, s, "in a mount namespace", copy, ("burn_once", "hot_leaf", "inlined_mixing"))


def through_loader(pprof):
    exe = os.path.realpath(program("http_threads"))
    loader = re.search(r"\[Requesting program interpreter: (.*)\]", subprocess.run(
        ["readelf", "-l", exe], capture_output=True, text=True).stdout).group(1)
    with Server(loader, exe, "60") as s:
        examine(pprof, s, "through ld.so", exe, ("burn_once", "hot_leaf"))


def preloaded(pprof, folder):
    copper = os.path.join(BUILD, "bin/copper")
    if not os.path.exists(copper):
        print("the command copper was not built: nothing preloaded")
        return

    def address(server):
        line = server.process.stderr.readline().decode()
        found = re.match(r"copper: (\S+)\[(\d+)\] http://(127\.0\.0\.1:\d+)/debug/pprof/\n$", line)
        check(found is not None, "the announcement: %r" % line)
        return found.group(3)
    for name in ("http_plain", "http_plain_fixed"):
        exe = os.path.realpath(program(name))
        for gone in (False, True):
            path = exe
            if gone:
                path = os.path.join(folder, name)
                shutil.copy(exe, path)
            with Server(copper, "run", "--", path, "60", address=address) as s:
                if gone:
                    os.unlink(path)
                what = name + " preloaded" + (" deleted" if gone else "")
                raw = examine(pprof, s, what, path, ("burn_once", "hot_leaf", "inlined_mixing"))[1]
                check(sum(v[0] for v, _ in raw.samples) == 5,
                      "%s: the program's threads and none of ours: %s" % (
                          what, [raw.stack(i)[:1] for i in range(len(raw.samples))]))
                check(s.get("cmdline")[2].split(b"\0") == [path.encode(), b"60"],
                      what + ": cmdline")


def main():
    c_names = ("burn_once", "hot_leaf", "inlined_mixing", "sort_in_libc")
    with Pprof() as pprof, tempfile.TemporaryDirectory() as folder:
        linked(pprof, "http_threads", folder, c_names)
        linked(pprof, "http_threads_fixed", folder, c_names)
        exe = os.path.realpath(program("http_shapes"))
        with Server(exe, "60") as s:
            examine(pprof, s, "C++", exe, ())
            text = pprof.clean("-top", "-nodefraction=0", s.url + "/profile?seconds=1")
            check("shapes::measure" in text and "shapes::Box" in text, "C++ names: " + text)
        gold = os.path.realpath(program("http_threads_gold"))
        if os.path.exists(gold):
            with Server(gold, "60") as s:
                examine(pprof, s, "linked by gold", gold, c_names)
        namespaced(pprof, folder)
        through_loader(pprof)
        preloaded(pprof, folder)
    finish()


main()
