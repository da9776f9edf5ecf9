# SPDX-License-Identifier: Apache-2.0
"""Many clients, slow ones, rude ones: the program and the quick clients must not notice. Duration as
the first argument, in seconds (default 6), for the part that mixes everything."""
import random
import re
import select
import socket
import sys
import threading
import time

from http_support import *

GET = b"GET /debug/pprof/%s HTTP/1.1\r\nHost: localhost\r\n\r\n"
WAITING = 16  # requests with ?seconds= at once


def quickest(s, n=5):
    """A quick request's time: the best of n, since the machine is shared."""
    times = []
    for _ in range(n):
        start = time.monotonic()
        check(s.get("cmdline")[0] == 200, "a quick request is answered")
        times.append(time.monotonic() - start)
    return min(times)


def parallel(s, n, path):
    results = []

    def one():
        try:
            results.append(s.get(path, timeout=60)[0])
        except OSError as e:
            results.append(str(e))
    threads = [threading.Thread(target=one) for _ in range(n)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    return results


def many(s):
    for path in ("cmdline", "goroutine", "goroutine?debug=2", "", "threadcreate"):
        results = parallel(s, 64, path)
        check(results == [200] * 64, "64 at once of %r: %s" % (path, set(results)))


def slow_requests(s):
    """Half a request each: they hold workers until the time for reading is over."""
    for n in (8, 16):
        clients = [s.connect() for _ in range(n)]
        for c in clients:
            c.sendall(b"GET /debug/pprof/cmdline HTTP/1.1\r\nHost: local")
        took = quickest(s)
        check(took < 1, "beside %d half requests a quick one takes %.2f s" % (n, took))
        [c.close() for c in clients]
    clients = [s.connect(15) for _ in range(4)]
    for c in clients:
        c.sendall(b"GET /debug/")
    start = time.monotonic()
    got = [receive_all(c) for c in clients]
    took = time.monotonic() - start
    check(took < 12, "half requests are given up after %.1f s" % took)
    check(not any(g.startswith(b"HTTP/1.1 200") for g in got), "and not answered: %s" % got)


def waiting(s):
    """16 may wait; one more is told so; quick ones go through; who hangs up makes room."""
    def ask(i):
        c = s.connect()
        c.sendall(GET % (b"profile?seconds=60" if i % 2 else b"goroutine?seconds=60"))
        return c

    clients = [ask(i) for i in range(WAITING)]

    def all_wait():
        for i, c in enumerate(clients):
            if select.select([c], [], [], 0)[0]:  # refused itself: a place was not free again yet
                c.close()
                clients[i] = ask(i)
        return refused()

    def refused():
        got, headers, body = s.get("goroutine?seconds=1")
        return got == 503 and b"try again" in body and headers.get("x-go-pprof") == "1"
    check(until(all_wait, 30), "the 17th waiting request gets 503")
    took = quickest(s)
    check(took < 1, "beside 16 waiting requests a quick one takes %.2f s" % took)
    check(s.get("goroutine")[0] == 200, "a dump is quick")
    for c in clients[:8]:
        c.close()
    for c in clients[8:]:
        c.shutdown(socket.SHUT_WR)  # says goodbye but still listens
    start = time.monotonic()

    check(until(lambda: not refused(), 15), "those who hung up made room")
    print("room again after %.1f s (asking takes one)" % (time.monotonic() - start))
    check(parallel(s, WAITING, "goroutine?seconds=1") == [200] * WAITING, "for 16 again")
    [c.close() for c in clients]
    got, _, body = s.get("profile?seconds=1")
    check(got == 200 and body[:2] == b"\x1f\x8b", "profiling works after the hang-ups")


def slow_readers(s):
    """They ask for much and read nothing: quick ones pass, and the slow ones are let go."""
    clients = []
    for _ in range(20):
        c = socket.socket()
        c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        c.settimeout(20)
        c.connect((s.host, s.port))
        c.sendall(GET % b"goroutine?debug=2")
        clients.append(c)
    time.sleep(1.5)
    took = quickest(s)
    check(took < 1, "beside 20 slow readers a quick request takes %.2f s" % took)
    check(s.get("goroutine?debug=2")[0] == 200, "and a big answer comes through to who reads it")
    got = receive_all(clients[0])
    check(not got.endswith(b"0\r\n\r\n") or b"goroutine" in got, "cut answers have no proper end")
    [c.close() for c in clients]


def rude(s):
    reply = s.raw(b"GET /debug/pprof/cmdline HTTP/1.0\r\n\r\n")
    check(b" 200 OK\r\n" in reply and b"http_coroutines" in reply, "HTTP/1.0: %r" % reply[:80])
    check(b"chunked" not in s.raw(b"GET /debug/pprof/goroutine?debug=2 HTTP/1.0\r\n\r\n")[:2000],
          "no chunks for HTTP/1.0")
    big = s.raw(b"GET /debug/pprof/ HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 65536 + b"\r\n\r\n")
    check(b" 200 " not in big[:20], "64 KB of header: %r" % big[:60])
    for junk in (b"\r\n\r\n", b"\0" * 1000, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
                 b"G" * 100000, b"GET /%zz%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
                 b"GET /debug/pprof/../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
                 b"GET http://localhost/debug/pprof/cmdline HTTP/1.1\r\nHost: localhost\r\n\r\n",
                 b"GET * HTTP/1.1\r\nHost: localhost\r\n\r\n",
                 b"GET /debug/pprof/cmdline HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * 200 + b"\r\n",
                 b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256))):
        reply = s.raw(junk + GET % b"cmdline" * 2, timeout=8)
        check(b"root:" not in reply, "no files are served")
    pipelined = s.raw(GET % b"cmdline" + b"\xff\xfe junk \r\n\r\n" * 50)
    check(pipelined.count(b"HTTP/1.1 200 OK") == 1, "one answer, then the connection closes")
    check(b"Connection: close" in pipelined, "connections are not kept")
    # promises a body and goes away
    for _ in range(5):
        with s.connect() as c:
            c.sendall(b"POST /debug/pprof/symbol HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n"
                      b"\r\n0x1+")
    check(b"413" in s.raw(b"POST /debug/pprof/symbol HTTP/1.1\r\nHost: localhost\r\n"
                          b"Content-Length: 5000000\r\n\r\n" + b"0" * 5000000)[:20], "5 MB are refused")
    reply = s.raw(b"POST /debug/pprof/symbol HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n"
                  b"Expect: 100-continue\r\n\r\n0x1")
    check(b"num_symbols" in reply, "100-continue: %r" % reply[:80])
    reply = s.raw(b"POST /debug/pprof/symbol HTTP/1.1\r\nHost: localhost\r\n"
                  b"Transfer-Encoding: chunked\r\n\r\n3\r\n0x1\r\n0\r\n\r\n")
    check(b"num_symbols" in reply, "a chunked body: %r" % reply[:80])
    with s.connect() as idle:  # a client's first connection stays open while it opens a second one
        start = time.monotonic()
        check(s.get("symbol", "POST", body=b"0x1")[0] == 200, "POST beside an idle connection")
        check(time.monotonic() - start < 2, "at once")


def mixture(s, seconds):
    """Everything at the same time, from seeded random clients."""
    seed = random.randrange(1 << 30)
    print("seed", seed)
    end = time.monotonic() + seconds
    odd = []

    def client(number):
        r = random.Random(seed + number)
        while time.monotonic() < end:
            path = r.choice(["cmdline", "goroutine", "goroutine?debug=1", "goroutine?debug=2",
                             "threadcreate", "profile?seconds=1", "goroutine?seconds=1",
                             "symbol?0x1", "nosuch", ""])
            how = r.random()
            try:
                if how < 0.7:
                    got = s.get(path, r.choice(["GET", "GET", "HEAD"]), timeout=30)[0]
                    if got not in (200, 404, 503):
                        odd.append((path, got))
                else:
                    with s.connect() as c:
                        line = GET % path.encode()
                        c.sendall(line[:r.randrange(len(line) + 1)])
                        if how > 0.85:
                            c.recv(r.randrange(1, 2000))
            except OSError as e:
                if how < 0.7:
                    odd.append((path, repr(e)))
    threads = [threading.Thread(target=client, args=(i,)) for i in range(12)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    check(odd == [], "answers in the mixture: %s" % odd[:10])


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 6
    limit = str(int(seconds) + 170)
    with Server(program("http_coroutines"), "300", limit) as s:
        rude(s)
        many(s)
        slow_requests(s)
        waiting(s)
        mixture(s, seconds)
        check(s.is_alive(), "the program lives on")
        check(s.stop() == 0, "and ends well")
    # enough coroutines for an answer that does not fit the kernel's buffers
    with Server(program("http_coroutines"), "20000", limit) as s:
        slow_readers(s)
        check(s.is_alive() and s.stop() == 0, "the program ends well after slow readers")
    finish()


main()
