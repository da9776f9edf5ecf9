"""Writes the first inputs for fuzz_http: three bytes of switches, then a request as text.

    http_seeds.py DIRECTORY
"""
import base64
import itertools
import os
import sys

P = "/debug/pprof/"
TOKEN = "0123456789abcdef0123456789abcdef"
LOOPBACK, WITH_TOKEN, PUBLIC, HTTP_1_1 = 1, 2, 7 << 2, 1 << 5
NO_BODY, BREAKS, TRICKLES, HUGE = 3 << 6, 3 << 8, 1 << 10, 7 << 11
LEAVES, WRITE_FAILS = 3 << 14, 3 << 16


def maker(number):
    return number << 18


def requests():
    targets = ["", "my.own", "my.own?debug=1", "my.own?seconds=1", "goroutine", "goroutine?debug=1", "goroutine?debug=2&threads=1",
               "goroutine?seconds=5", "goroutine?seconds=-1", "goroutine?seconds=99999",
               "goroutine?seconds=1&debug=1", "threadcreate", "threadcreate?debug=1",
               "threadcreate?seconds=2", "profile", "profile?seconds=1&hz=500",
               "profile?seconds=9999", "profile?hz=0", "profile?hz=%31%30+", "cmdline",
               "symbol", "symbol?0x1234+0x401000", "unknown", "symbol?0x1000+017+0b11+0o17+zz"]
    for method, target in itertools.product(("GET", "HEAD", "POST", "PUT"), targets):
        yield 0, f"{method} {P}{target}\n\n"
    for path in ("/", "/debug/pprof", "/debug", "/debug/pprof/?a", "*", ""):
        yield 0, f"GET {path}\n\n"
    body = "+".join(f"0x{pc:x}" for pc in range(0x500000, 0x540000, 0x1000))
    for switches in (0, NO_BODY, BREAKS, TRICKLES, HUGE):
        yield switches, f"POST {P}symbol\n\n{body}+0x1800+0x{'f' * 30}"
    for number in range(8):
        for target in ("goroutine", "goroutine?debug=1", "goroutine?seconds=3", "profile"):
            for switches in (0, LEAVES, WRITE_FAILS):
                yield maker(number) | switches, f"GET {P}{target}\n\n"
    hosts = ["localhost", "localhost:80", "127.0.0.1:6060", "[::1]:1", "[::1]", "evil.example",
             "[::1", "[::1]x", "a:b", "[::1]:x", "", "10.1.2.3:1", "h" * 300]
    for host in hosts:
        yield LOOPBACK | HTTP_1_1, f"GET {P}\nHost: {host}\n\n"
    yield LOOPBACK | HTTP_1_1, f"GET {P}\n\n"
    yield LOOPBACK | HTTP_1_1, f"GET {P}\nHost: a\nHost: b\n\n"
    yield LOOPBACK, f"GET {P}\nHost: localhost\nOrigin: http://evil.example\n\n"
    basic = base64.b64encode(f"user:{TOKEN}".encode()).decode()
    for secret in (f"Bearer {TOKEN}", f"bearer  {TOKEN}x", f"Basic {basic}", "Basic !!", "Basic YWJj",
                   "Basic YQ==x", "Digest x", "Bearer " + "x" * 2000, "Basic " + "QUFB" * 700):
        for switches in (WITH_TOKEN, WITH_TOKEN | LOOPBACK, WITH_TOKEN | PUBLIC):
            yield switches, f"GET {P}\nHost: localhost\nAuthorization: {secret}\n\n{TOKEN}\n"
    yield WITH_TOKEN, f"GET {P}\n\nshort"
    yield WITH_TOKEN, f"GET {P}\n\nwith a blank in the middle of it"
    yield WITH_TOKEN, f"GET {P}\n\n" + "t" * 600


def main():
    os.makedirs(sys.argv[1], exist_ok=True)
    for number, (switches, text) in enumerate(requests()):
        with open(os.path.join(sys.argv[1], f"{number:03}"), "wb") as file:
            file.write(switches.to_bytes(3, "little") + text.encode())


main()
