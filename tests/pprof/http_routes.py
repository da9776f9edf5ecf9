# SPDX-License-Identifier: Apache-2.0
"""Paths, parameters, statuses, headers and text layouts of /debug/pprof."""
import gzip
import re
import socket
import threading
import time

from http_support import *


def kinds():
    """Names and forms from the table that the library itself is made from."""
    text = open(os.path.join(SOURCE, "profiler/profile_kinds.def")).read()
    return {m.group(2): m.group(1) for m in
            re.finditer(r"^COPPER_KIND_(ROUTE|NAMED|DELAY)\((\w+)", text, re.M)}


def is_error(reply, status, text):
    got, headers, body = reply
    check(got == status and body == (text + "\n").encode(), "want %d %r, got %d %r" % (
        status, text, got, body[:200]))
    check(headers.get("x-go-pprof") == "1", "%r lacks X-Go-Pprof" % text)
    check(headers.get("content-type") == "text/plain; charset=utf-8", "%r: type" % text)
    check(headers.get("x-content-type-options") == "nosniff", "%r: nosniff" % text)
    check("content-disposition" not in headers, "%r has a disposition" % text)


def index_page(s, names):
    status, headers, body = s.get("")
    page = body.decode()
    check(status == 200 and headers["content-type"] == "text/html; charset=utf-8", "index type")
    check("<title>/debug/pprof/</title>" in page, "index title")
    check("Types of profiles available:" in page, "index words")
    links = re.findall(r"<tr><td>(\d+)</td><td><a href='(\w+)\?debug=1'>\2</a></td></tr>", page)
    check([l[1] for l in links] == sorted(names), "index links %s" % links)
    check('<a href="goroutine?debug=2">full goroutine stack dump</a>' in page, "full dump link")
    check("cpu sampler" in page, "the profiler's own cost is on the index page")
    status, headers, body = s.get("/debug/pprof")
    check(status == 301 and headers["location"] == "/debug/pprof/", "301 without the slash")
    return dict((name, int(count)) for count, name in links)


def headers_of(s, names):
    for name, form in names.items():
        if name in ("symbol", "cmdline"):
            continue
        path = name + ("?seconds=1" if form == "ROUTE" else "")
        for method in ("HEAD", "GET"):
            status, headers, body = s.get(path, method)
            check(status == 200, "%s %s: %d" % (method, path, status))
            check(headers.get("content-type") == "application/octet-stream", path + " type")
            check(headers.get("content-disposition") == 'attachment; filename="%s"' % name,
                  path + " disposition")
            check(headers.get("x-content-type-options") == "nosniff", path + " nosniff")
            check("content-encoding" not in headers, path + " content encoding")
            check("date" in headers, path + " date")
            check((body == b"") == (method == "HEAD"), "%s %s body" % (method, path))
            if method == "GET" and name == "trace":
                check(body[:2] == b"go", path + " is a Go trace")
            elif method == "GET":
                check(body[:2] == b"\x1f\x8b" and len(gzip.decompress(body)) > 0, path + " gzip")
    for name, form in names.items():
        if form != "NAMED":
            continue
        for debug, binary in (("abc", True), ("0", True), ("1", False), ("2", False),
                              ("", True), ("99999999999999999999", True)):
            status, headers, body = s.get("%s?debug=%s" % (name, debug))
            check((body[:2] == b"\x1f\x8b") == binary, "%s?debug=%s form" % (name, debug))
            check(headers["content-type"] == ("application/octet-stream" if binary else
                                              "text/plain; charset=utf-8"),
                  "%s?debug=%s type" % (name, debug))
            check(("content-disposition" in headers) == binary, "%s?debug=%s disp." % (name, debug))


def errors(s):
    is_error(s.get("nosuch"), 404, "Unknown profile")
    is_error(s.get("goroutine/x"), 404, "Unknown profile")
    check(s.get("/debug/other")[0] == 404 and s.get("/debug/pprofx")[0] == 404, "other paths")
    for bad in ("0", "abc", "-1", "1.5", "99999999999999999999"):
        for name in ("goroutine", "threadcreate"):
            is_error(s.get("%s?seconds=%s" % (name, bad)), 400,
                     'invalid value for "seconds" - must be a positive integer')
    is_error(s.get("goroutine?seconds=1&debug=1"), 400, "seconds and debug params are incompatible")
    is_error(s.get("goroutine?seconds=3601"), 400, "seconds=3601 is over the limit of 3600")
    is_error(s.get("profile?seconds=3601"), 400, "seconds=3601 is over the limit of 3600")
    for hz in ("0", "x", "-5", "10001", "1.5"):
        is_error(s.get("profile?seconds=1&hz=" + hz), 400,
                 'invalid value for "hz" - must be an integer from 1 to 10000')
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        reply = s.get("goroutine", method, body=b"x")
        is_error(reply, 405, "Method Not Allowed")
        check(reply[1].get("allow") == "GET, HEAD", method + " Allow")
    reply = s.get("symbol", "PUT", body=b"x")
    check(reply[0] == 405 and reply[1].get("allow") == "GET, HEAD, POST", "symbol Allow")


def durations(s):
    """An unparsable `seconds` of profile means 30 s; another client leaving early frees its run."""
    with s.connect() as c:
        c.sendall(b"GET /debug/pprof/profile?seconds=x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        c.settimeout(2.5)
        try:
            got = c.recv(1)
            check(False, "profile?seconds=x answered at once: %r" % got)
        except socket.timeout:
            pass
    start = time.monotonic()
    raw = s.get("profile?seconds=1")
    took = time.monotonic() - start
    check(raw[0] == 200 and 0.9 <= took, "profile?seconds=1 took %.2f s" % took)
    results = []
    threads = [threading.Thread(target=lambda: results.append(s.get("profile?seconds=1")[0]))
               for _ in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    check(results == [200] * 4, "profiles at the same time: %s" % results)


def deltas(s):
    status, headers, body = s.get("goroutine?seconds=1")
    check(status == 200 and headers["content-disposition"] ==
          'attachment; filename="goroutine-delta"', "delta disposition")
    check(len(gzip.decompress(body)) > 0, "delta body")


def command_line(s, arguments):
    status, headers, body = s.get("cmdline")
    check(status == 200 and headers["content-type"] == "text/plain; charset=utf-8", "cmdline type")
    check(body.split(b"\0") == [a.encode() for a in arguments], "cmdline %r" % body)
    exact = open("/proc/%d/cmdline" % s.pid, "rb").read()
    check(body + b"\0" == exact, "cmdline is the whole line without the last NUL")


def symbols(s):
    text = s.get("goroutine?debug=1")[2].decode()
    addresses = [int(a, 16) for a in re.findall(r"^#\t(0x[0-9a-f]+)\t[a-z_]", text, re.M)]
    check(len(addresses) >= 5, "addresses to ask for")
    names = dict((int(a, 16), n) for a, n in
                 reversed(re.findall(r"^#\t(0x[0-9a-f]+)\t([^\s+]+)", text, re.M)))
    words = "+".join("%#x" % a for a in addresses) + "+0x1+junk+0+-5+0x+99999999999999999999999"
    for reply in (s.get("symbol", "POST", body=words.encode()), s.get("symbol?" + words),
                  s.get("symbol", "POST", body=words.encode(),
                        headers={"Content-Type": "application/octet-stream"})):
        status, headers, body = reply
        check(status == 200 and headers["content-type"] == "text/plain; charset=utf-8", "symbol")
        check(body.endswith(b"\n"), "last symbol line ends")
        lines = body.decode().splitlines()
        check(re.match(r"num_symbols: [1-9]", lines[0]) is not None, "num_symbols: " + lines[0])
        answer = dict(l.split(" ", 1) for l in lines[1:])
        check([int(l.split(" ")[0], 16) for l in lines[1:]] == addresses, "symbols are complete")
        check(all(answer["%#x" % a] == names[a] for a in addresses), "symbols agree with debug=1")
        check("0x1" not in answer, "no line for 0x1")
    decimal = s.get("symbol?%d" % addresses[0])[2].decode()
    check("%#x %s\n" % (addresses[0], names[addresses[0]]) in decimal, "decimal address")
    many = "+".join("%#x" % addresses[i % len(addresses)] for i in range(20000))
    status, _, body = s.get("symbol", "POST", body=many.encode())
    check(status == 200 and body.count(b"\n") == 20001, "20000 addresses: %d lines" %
          body.count(b"\n"))
    check(s.get("symbol", "POST", body=b"0x1+" * (2 << 20))[0] == 413, "8 MiB of addresses")
    check(s.get("symbol", "POST", body=b"")[2].startswith(b"num_symbols:"), "empty body")


def text_forms(s, counts):
    text = s.get("goroutine?debug=1")[2].decode()
    total = int(re.match(r"goroutine profile: total (\d+)\n", text).group(1))
    records = [l for l in text.splitlines() if l and not l.startswith("#")][1:]
    check(all(re.match(r"^\d+ @( 0x[0-9a-f]+)+$", r) for r in records), "records of debug=1")
    numbers = [int(r.split(" ")[0]) for r in records]
    check(sum(numbers) == total and numbers == sorted(numbers, reverse=True), "sum and order")
    check(abs(total - counts["goroutine"]) <= 2, "index count %d, total %d" % (
        counts["goroutine"], total))
    check(r'"quote":"a \"b\" \\ c"' in text, "quoted labels")
    threads = [int(n) for n in re.findall(r"^(\d+) @", s.get("threadcreate?debug=1")[2].decode(), re.M)]
    check(threads == sorted(threads, reverse=True), "threads in order: %s" % threads)
    for record, comment in re.findall(r"^\d+ @ (0x\w+).*\n(?:# labels: .*\n)?#\t(0x\w+)\t", text,
                                      re.M):
        check(int(record, 16) == int(comment, 16) + 1, "return address and call %s %s" % (
            record, comment))
    dump = s.get("goroutine?debug=2")[2].decode()
    blocks = dump.rstrip("\n").split("\n\n")
    check(abs(len(blocks) - total) <= 2, "debug=2 blocks: %d of %d" % (len(blocks), total))
    for b in blocks[:200]:
        lines = b.split("\n")
        check(re.match(r"^goroutine \d+ \[[^\]]+\]( \{.*\})?:$", lines[0]) is not None,
              "header %r" % lines[0])
        check(len(lines) % 2 == 1, "function and place alternate: %r" % b)
        check(all(re.match(r"^\t\S.*:\d+( \+0x[0-9a-f]+)?$", l) for l in lines[2::2]),
              "places of %r" % b)
    check("created by start_coroutines\n\t" in dump, "spawn sites")
    check('{name: "the sleeper"}' in dump, "names")
    check(dump.count("[sleep, locked to thread] {name: \"the sleeper\"}:") == 1 and
          dump.count("locked to thread") == 1, "the coroutine that is locked to its thread")
    check("channel 'never' (cap 0, made at " in dump, "objects")
    check(re.search(r"goroutine \d+ \[read\]:\n(.*\n)*?block_in_kernel\(", dump) is not None,
          "a coroutine in a system call has its stack")
    with_threads = s.get("goroutine?debug=2&threads=1")[2].decode()
    check(with_threads.count("locked to thread]") > 1 and
          "{thread: http_coroutines}" in with_threads, "threads=1 adds threads")


def main():
    names = kinds()
    check(len(names) >= 5, "profile_kinds.def was read")
    arguments = [program("http_coroutines"), "300", "60"]
    with Server(*arguments) as s:
        counts = index_page(s, names)
        headers_of(s, names)
        errors(s)
        durations(s)
        deltas(s)
        command_line(s, arguments)
        symbols(s)
        text_forms(s, counts)
        check(s.is_alive(), "the program lives on")
        check(s.stop() == 0, "and ends well")
    finish()


main()
