# SPDX-License-Identifier: Apache-2.0
"""Lines of conformance.md that no other test has: what go tool pprof asks for and how often, with a server
that has no symbol handler; profiles cut short; several windows at once; promtool; a client that hangs up."""
import concurrent.futures
import http.client
import http.server
import shutil
import subprocess
import tarfile
import threading
import urllib.request

from http_support import *

sys.path.insert(0, os.path.join(SOURCE, "tests/support"))
from cpu_profile import CpuClock, Profile  # noqa: E402

BINARY = ("profile", "heap", "allocs", "goroutine", "block", "mutex", "threadcreate")


class Proxy:
    """Between a client and the server: notes requests, answers none for symbols, and makes 30 s one."""

    def __init__(self, server):
        self.asked = asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append((self.command, self.path))
                c = http.client.HTTPConnection(server.host, server.port, timeout=60)
                c.request("GET", self.path.replace("seconds=30", "seconds=1"))
                r = c.getresponse()
                body = r.read()
                c.close()
                self.send_response(404 if "/symbol" in self.path else r.status)
                for name in ("Content-Type", "Content-Disposition", "X-Go-Pprof"):
                    if r.getheader(name):
                        self.send_header(name, r.getheader(name))
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self):
                asked.append((self.command, self.path))
                self.send_error(404)

            def log_message(self, *_):
                pass
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base = "http://127.0.0.1:%d" % self.http.server_address[1]
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()


def no_symbols_needed(pprof, s):
    """The names are in the profiles: the client posts nothing, and needs no symbol handler."""
    with Proxy(s) as proxy:
        for name in BINARY:
            query = "?seconds=1" if name == "profile" else ""
            pprof.clean("-raw", "%s/debug/pprof/%s%s" % (proxy.base, name, query))
        check([m for m, _ in proxy.asked] == ["GET"] * len(BINARY), "one GET for each: %s" % proxy.asked)
        del proxy.asked[:]
        text = pprof.clean("-raw", "-seconds", "1", proxy.base + "/debug/pprof/goroutine")
        check(proxy.asked == [("GET", "/debug/pprof/goroutine?seconds=1")] and "Duration: 1" in text,
              "-seconds reaches the server: %s" % proxy.asked)


def forced_symbols(pprof, s):
    """With its own look into the binaries the client makes the same of it."""
    done = pprof.run("-top", "-symbolize=force", s.url + "/profile?seconds=1")
    check(done.returncode == 0 and "burn_once" in done.stdout,
          "-symbolize=force: %s" % (done.stdout + done.stderr)[-400:])


def cut_short(pprof, s):
    """A reply that ended early is refused with a message."""
    whole = s.get("profile?seconds=1")[2]
    file = os.path.join(pprof.home, "cut")
    for n in (0, 1, 2, 9, 18, len(whole) // 2, len(whole) - 8, len(whole) - 1):
        with open(file, "wb") as f:
            f.write(whole[:n])
        done = pprof.run("-raw", file)
        check(done.returncode not in (0, -11) and "panic" not in done.stderr and done.stderr.strip(),
              "%d of %d bytes: status %d, %r" % (n, len(whole), done.returncode, done.stderr[-200:]))


def windows(pprof, s):
    """Four at once, of different lengths and rates: each has what the kernel counted in its time."""
    clock = CpuClock(s.pid)
    asked = [(1, 100), (2, 250), (1.5, 100), (2.5, 200)]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        replies = [pool.submit(s.get, "profile?ms=%d&hz=%d" % (seconds * 1000, hz), timeout=60)
                   for seconds, hz in asked]
        replies = [r.result() for r in replies]
    clock.stop()
    for (seconds, hz), (status, _, body) in zip(asked, replies):
        file = os.path.join(pprof.home, "window")
        with open(file, "wb") as f:
            f.write(body)
        profile = Profile(file)
        kernel_ns = clock.between(profile.start_ns, profile.duration_s)
        print("window of %.1f s: %.3f s, kernel %.3f s" % (seconds, profile.total_ns() / 1e9, kernel_ns / 1e9))
        check(status == 200 and not profile.warnings, "window %s: %d %s" % (seconds, status, profile.warnings))
        check(abs(profile.duration_s - seconds) < 0.5 + seconds, "window %s: %s s" % (
            seconds, profile.duration_s))
        # chance: three standard errors of the samples, and where the window's ends fall
        allowed = 0.1 * kernel_ns + 3 * (kernel_ns * 1e9 / hz) ** 0.5 + 5e7
        check(abs(profile.total_ns() - kernel_ns) < allowed, "window %s: %d ns, kernel %d ns" % (
            seconds, profile.total_ns(), kernel_ns))


def hang_up(s):
    """A client that goes away frees its run: the sampler stops."""
    def rate():
        with urllib.request.urlopen("http://%s/metrics" % s.address, timeout=20) as r:
            return float(re.search(r"^copper_profiler_hz (\S+)$", r.read().decode(), re.M).group(1))
    c = s.connect()
    c.sendall(b"GET /debug/pprof/profile?seconds=60&hz=97 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    check(until(lambda: rate() > 0), "the sampler runs")
    c.close()
    since = time.monotonic()
    check(until(lambda: rate() == 0, 30), "who hangs up frees its run")
    print("freed after %.2f s" % (time.monotonic() - since))


def promtool(s):
    """Prometheus's own tool for fetching profiles accepts them all."""
    tool = shutil.which("promtool")
    if not tool:
        print("no promtool")
        return
    with Proxy(s) as proxy, tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([tool, "debug", "pprof", proxy.base], cwd=folder, capture_output=True,
                              text=True, timeout=120)
        check(done.returncode == 0, "promtool: %d %s" % (done.returncode, done.stdout + done.stderr))
        with tarfile.open(os.path.join(folder, "debug.tar.gz")) as tar:
            names = {os.path.basename(m.name) for m in tar.getmembers() if m.size > 0}
        kinds = {re.match(r"/debug/pprof/(\w+)", path).group(1) for _, path in proxy.asked}
        check({"profile", "block", "goroutine", "heap", "mutex", "threadcreate"} <= kinds and
              len(names) >= len(kinds), "promtool fetched %s as %s" % (kinds, names))


def main():
    with Pprof() as pprof, Server(program("http_coroutines"), "100", "170") as s:
        no_symbols_needed(pprof, s)
        forced_symbols(pprof, s)
        cut_short(pprof, s)
        windows(pprof, s)
        hang_up(s)
        promtool(s)
        check(s.is_alive() and s.stop() == 0, "the program ends well")
    finish()


main()
