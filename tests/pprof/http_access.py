# SPDX-License-Identifier: Apache-2.0
"""Who may ask, how a serving process is found, and what is said when serving fails."""
import base64
import os
import re
import stat
import subprocess
import tempfile
import time

from http_support import *

TOKEN = "correct-horse-battery-staple"


def request(host=None, extra="", version="1.1"):
    lines = ["GET /debug/pprof/cmdline HTTP/" + version]
    if host is not None:
        lines.append("Host: " + host)
    return ("\r\n".join(lines) + "\r\n" + extra + "\r\n").encode()


def status(reply):
    return int(reply.split(b" ")[1]) if reply.startswith(b"HTTP/1.") else reply[:80]


def hosts(s):
    """A web page can reach 127.0.0.1 through a name of its own, but then Host is that name."""
    for host in ("localhost", "127.0.0.1", "[::1]", "LOCALHOST", s.address, "localhost:1", "[::1]:99"):
        check(status(s.raw(request(host))) == 200, "Host %s" % host)
    for host in ("evil.example", "evil.example:%d" % s.port, "127.0.0.1.evil.example", "10.0.0.1",
                 "localhost.evil.example", "127.0.0.2", "", "[::1", "localhost:1:2", "localhost:x",
                 "xlocalhost", "a" * 300, "localhost evil"):
        reply = s.raw(request(host))
        check(status(reply) in (400, 403), "Host %r is refused: %r" % (host, reply[:60]))
        check(b"X-Go-Pprof: 1" in reply, "Host %r: the client shows why" % host)
    check(status(s.raw(request(None, version="1.0"))) == 200, "HTTP/1.0 without Host")
    check(status(s.raw(request(None))) == 400, "HTTP/1.1 without Host")
    check(status(s.raw(request("localhost", "Host: evil.example\r\n"))) == 400, "two Hosts")
    for origin in ("http://evil.example", "null", "http://localhost", ""):
        check(status(s.raw(request("localhost", "Origin: %s\r\n" % origin))) == 403,
              "Origin %r is refused" % origin)
    reply = s.raw(b"OPTIONS /debug/pprof/profile HTTP/1.1\r\nHost: localhost\r\nOrigin: http://a\r\n"
                  b"Access-Control-Request-Method: GET\r\n\r\n")
    check(status(reply) == 403 and b"Access-Control" not in reply, "preflight: %r" % reply[:200])
    check(b"Access-Control" not in s.raw(request("localhost")), "no CORS headers")


def token_file(folder, content=TOKEN + "\n", mode=0o600, name="token"):
    path = os.path.join(folder, name)
    with open(path, "w") as f:
        f.write(content)
    os.chmod(path, mode)
    return path


def tokens(folder):
    env = {"COPPER_TOKEN_FILE": token_file(folder), "COPPER_HTTP": "0.0.0.0:0"}
    with Server(program("http_threads"), "60", env=env) as s:
        check(s.address.startswith("0.0.0.0:"), "beyond loopback with a token: " + s.address)
        s.host = "127.0.0.1"

        def basic(user, password):
            return "Basic " + base64.b64encode((user + ":" + password).encode()).decode()
        for value, want in ((None, 401), ("Bearer " + TOKEN, 200), ("bearer " + TOKEN, 200),
                            (basic("x", TOKEN), 200), (basic("", TOKEN), 200),
                            ("Bearer " + TOKEN[:-1], 401), ("Bearer " + TOKEN + "x", 401),
                            ("Bearer ", 401), ("Bearer", 401), (TOKEN, 401), (basic(TOKEN, ""), 401),
                            ("Basic !!!", 401), ("Basic ", 401), (basic("x", TOKEN * 60), 401),
                            ("Digest " + TOKEN, 401)):
            got, headers, body = s.get("cmdline", headers={"Authorization": value} if value else {})
            check(got == want, "Authorization %r: %d" % (value, got))
            if got == 401:
                check(headers.get("www-authenticate", "").startswith("Basic"), "401 asks for Basic")
                check(TOKEN.encode() not in body, "the token is not told")
        reply = s.raw(request("some.name", "Authorization: Bearer %s\r\n" % TOKEN))
        check(status(reply) == 200, "with a token any Host will do beyond loopback")
        with Pprof() as pprof:
            pprof.clean("-top", "http://x:%s@127.0.0.1:%d/debug/pprof/goroutine" % (TOKEN, s.port))
            # the text form makes the client ask for symbols, with the same credentials
            r = pprof.run("-top", "http://127.0.0.1:%d/debug/pprof/goroutine" % s.port)
            check("401 Unauthorized - a token is required" in r.stderr, "the client shows 401")


def fails_with(env, pattern, name="http_threads"):
    """Runs with the environment; the program goes on and exactly one line says why."""
    p = subprocess.run([program(name), "1"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                       env=dict(os.environ, **env), timeout=30)
    check(p.returncode == 0, "%s: the program goes on: %d" % (env, p.returncode))
    lines = p.stderr.splitlines()
    check(len(lines) == 1 and re.fullmatch(pattern, lines[0]) is not None,
          "%s: %s does not say %s" % (env, lines, pattern))


def failures_to_start(folder, s):
    taken = r"copper: %s is taken by http_coroutines?\[%d\]; use 127\.0\.0\.1:0" % (
        re.escape(s.address), s.pid)
    fails_with({"COPPER_HTTP": s.address}, taken)
    fails_with({"COPPER_HTTP": "0.0.0.0:0"},
               r"copper: 0\.0\.0\.0:0 is not loopback: that needs a token; set COPPER_TOKEN_FILE")
    fails_with({"COPPER_HTTP": "6060"}, r"copper: 6060 is no address; write HOST:PORT.*")
    # an error of the token file keeps the program's own cu_pprof_serve from working, too: it ends
    for path, pattern in (
            (token_file(folder, mode=0o644, name="open"), r"must be readable for its owner alone"),
            (token_file(folder, "short\n", name="short"), r"must hold one word of at least 16"),
            (token_file(folder, "two words, but long enough\n", name="words"), r"must hold one word"),
            (folder + "/missing", r"No such file")):
        p = subprocess.run([program("http_threads"), "1"], stdin=subprocess.DEVNULL, text=True,
                           capture_output=True, timeout=30, env=dict(
                               os.environ, COPPER_HTTP="127.0.0.1:0", COPPER_TOKEN_FILE=path))
        check(re.search(r"\Acopper: .*%s.*\n\Z" % pattern, p.stderr) is not None,
              "%s: %r" % (pattern, p.stderr))
    for name, said in (("COPPER_LEAKCHEK", "copper: COPPER_LEAKCHEK is unknown; COPPER_LEAKCHECK?"),
                       ("COPPER_HTPT", "copper: COPPER_HTPT is unknown; COPPER_HTTP?"),
                       ("COPPER_XYZZYXYZZY", "copper: COPPER_XYZZYXYZZY is unknown")):
        fails_with({"COPPER_HTTP": "127.0.0.1:0", name: "1"}, re.escape(said))
    quiet = subprocess.run([program("http_threads"), "1"], stdin=subprocess.DEVNULL, text=True,
                           capture_output=True, timeout=30,
                           env=dict(os.environ, COPPER_HTTP="127.0.0.1:0"))
    check(quiet.stderr == "" and quiet.returncode == 0, "nothing is printed: %r" % quiet.stderr)


def entry_of(path):
    return dict(l.split(" ", 1) for l in open(path).read().splitlines())


def discovery(folder):
    runtime = os.path.join(folder, "run")
    os.mkdir(runtime, 0o700)
    with Server(program("http_threads"), "60", env={"XDG_RUNTIME_DIR": runtime}) as s:
        path = "%s/copper/%d" % (runtime, s.pid)
        e = entry_of(path)
        start = open("/proc/%d/stat" % s.pid).read().rsplit(")", 1)[1].split()[19]
        check(e["copper"] == "1" and e["pid"] == str(s.pid) and e["start"] == start and
              e["address"] == s.address and e["exe"] == os.path.realpath(program("http_threads")),
              "entry %s" % e)
        check(stat.S_IMODE(os.stat(runtime + "/copper").st_mode) == 0o700, "directory mode")
        check(stat.S_IMODE(os.stat(path).st_mode) == 0o600, "file mode")
        check(os.listdir(runtime + "/copper") == [str(s.pid)], "nothing else is left there")
        s.stop()
        check(not os.path.exists(path), "the entry goes with the process")
    victim = os.path.join(folder, "victim")
    os.mkdir(victim)
    linked = os.path.join(folder, "linked")
    os.mkdir(linked, 0o700)
    os.symlink(victim, linked + "/copper")
    with Server(program("http_threads"), "60", env={"XDG_RUNTIME_DIR": linked}) as s:
        check(s.get("cmdline")[0] == 200 and os.listdir(victim) == [], "links are not followed")
    loose = os.path.join(folder, "loose")
    os.mkdir(loose, 0o700)
    os.mkdir(loose + "/copper")
    os.chmod(loose + "/copper", 0o777)
    with Server(program("http_threads"), "60", env={"XDG_RUNTIME_DIR": loose}) as s:
        check(s.get("cmdline")[0] == 200 and os.listdir(loose + "/copper") == [],
              "a directory that others can write is not used")


def main():
    with tempfile.TemporaryDirectory() as folder:
        with Server(program("http_coroutines"), "10", "60") as s:
            hosts(s)
            failures_to_start(folder, s)
        tokens(folder)
        discovery(folder)
    finish()


main()
