"""The example programs do what their headers say."""
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request

BUILD = os.environ["COPPER_BUILD"]
SOURCE = os.environ["COPPER_SOURCE"]
errors = []


def expect(what, is_good, text):
    if not is_good:
        errors.append(f"{what}:\n{text}")


def command(name, *args, **env):
    env = {**{k: v for k, v in os.environ.items() if not k.startswith("COPPER_")}, **env}
    return dict(args=[f"{BUILD}/examples/{name}", *args], env=env, text=True)


def run(name, *args, **env):
    done = subprocess.run(**command(name, *args, **env), timeout=60, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    return done.returncode, done.stdout


def hello():
    status, text = run("hello", COPPER_LEAKCHECK="1")
    expect("hello", status == 0, text)
    expect("hello", sorted(text.splitlines()) ==
           ["hello from brass", "hello from bronze", "hello from copper"], text)


def workers():
    for arguments in ([], ["1"], ["30"]):
        status, text = run("workers", *arguments, COPPER_LEAKCHECK="1")
        expect("workers", status == 0 and text == "78498 primes below 1000000, in 100 tasks\n", text)
    expect("workers, nonsense", run("workers", "x")[0] == 2, "")


def fetch():
    for arguments in ([], ["1000"]):
        status, text = run("fetch", *arguments, COPPER_LEAKCHECK="1")
        expect("fetch", status == 0 and text == "1000 pages, 27890 bytes\n", text)
    expect("fetch, nonsense", run("fetch", "0")[0] == 2, "")


def deadline():
    status, text = run("deadline", COPPER_LEAKCHECK="1", COPPER_SCHED_SEED="1")
    expect(f"deadline: status {status}", status == 0 and text == (
        "cache answers\ndisk answers\n...\nreplica answers\n...\n"
        "3 of 4, Connection timed out\n"), text)
    status, text = run("deadline", "100000", COPPER_LEAKCHECK="1", COPPER_SCHED_SEED="1")
    expect("deadline, much time", status == 0 and text.endswith("\n4 of 4, complete\n"), text)
    status, text = run("deadline", "15", COPPER_LEAKCHECK="1")
    expect(f"deadline, as time passes: status {status}",
           status == 0 and re.search(r"^[0-3] of 4, Connection timed out\n\Z", text, re.M), text)
    expect("deadline, nonsense", run("deadline", "x")[0] == 2, "")


def talk(process):
    """Many connections at once; each gets back what it says, in parts."""
    found = re.search(r"listening on ([\d.]+):(\d+)", process.stdout.readline())
    expect("echo: where it listens", found, "")
    if not found:
        return
    clients = [socket.create_connection((found.group(1), int(found.group(2))), 20)
               for _ in range(60)]
    said = [f"client {i} ".encode() * 3000 for i in range(len(clients))]
    for client, words in zip(clients, said):
        client.sendall(words[:10])
    for client, words in zip(clients, said):
        client.sendall(words[10:])
        client.shutdown(socket.SHUT_WR)
    for client, words in zip(clients, said):
        heard = b"".join(iter(lambda: client.recv(65536), b""))
        expect("echo: what comes back", heard == words, f"{len(heard)} of {len(words)} bytes")
        client.close()


def echo():
    process = subprocess.Popen(**command("echo", "127.0.0.1:0", COPPER_LEAKCHECK="1"),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        talk(process)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=40)[1]
        expect(f"echo: status {process.returncode}",
               process.returncode == 0 and said == "echo: Terminated, closing\n", said)
    finally:
        process.kill()
        process.communicate()
    expect("echo, nonsense", run("echo", "nowhere")[0] == 1, "")


def pipeline():
    status, text = run("pipeline", "--seconds", "1", COPPER_LEAKCHECK="1")
    expect("pipeline", status == 0 and re.fullmatch(r"\d+ blocks, \d+ words\n", text), text)
    status, text = run("pipeline", "--leak", COPPER_LEAKCHECK="1")
    expect(f"pipeline --leak: status {status}", status == 23, text)
    expect("pipeline --leak: 7 stranded, 3 groups",
           re.search(r"^copper: 7 coroutines stranded at exit, 3 groups$", text, re.M), text)
    for group in (r"4 x chan send on channel 'digested' \(cap 4, 4 buffered, made at ",
                  r"2 x chan send on channel 'parsed' \(cap 4, 4 buffered, made at ",
                  r"1 x chan send on channel 'raw' \(cap 4, 4 buffered, made at "):
        expect("pipeline --leak", re.search(group + r"pipeline\.c:\d+\), \w+ pipeline\.c:\d+, "
                                            r"spawned at pipeline\.c:\d+$", text, re.M), text)
    expect("pipeline --leak, not asked", run("pipeline", "--leak")[0] == 0, "")
    expect("pipeline, nonsense", run("pipeline", "--nonsense")[0] == 2, "")


def url_of(process, stream):
    found = re.search(r"http://([\d.]+:\d+)/debug/pprof/", stream.readline())
    expect(process, found, "no address printed")
    return found and f"http://{found.group(1)}/debug/pprof/"


def serving(name, stream, *args, **env):
    """The first bytes of a CPU profile of an example that serves."""
    process = subprocess.Popen(**command(name, *args, **env), stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    try:
        url = url_of(name, getattr(process, stream))
        if url:
            with urllib.request.urlopen(url + "profile?seconds=1", timeout=30) as answer:
                expect(f"{name}: a profile", answer.read(2) == b"\x1f\x8b", url)
    finally:
        process.kill()
        process.communicate()


def suite():
    status, text = run("leak_in_test")
    expect(f"leak_in_test: status {status}", status == 1, text)
    for line in (r"\[       OK \] listens", r"\[  FAILED  \] gives_up",
                 r"\[       OK \] starts_afresh",
                 r"gives_up: 1 coroutine stranded: chan send on channel \(cap 0, made at "
                 r"leak_in_test\.c:\d+\), ask leak_in_test\.c:\d+, spawned at leak_in_test\.c:\d+"):
        expect("leak_in_test", re.search(line, text), text)


def sizes():
    for name in os.listdir(f"{SOURCE}/examples"):
        if name.endswith(".c"):
            with open(f"{SOURCE}/examples/{name}", encoding="utf-8") as f:
                lines = len(f.readlines())
            expect(f"{name} has {lines} lines", lines < 100, "")


hello()
workers()
fetch()
deadline()
echo()
pipeline()
serving("pipeline", "stderr", "--stay", COPPER_HTTP="127.0.0.1:0")
serving("profile_me", "stdout", "30")
suite()
sizes()
print("\n".join(errors))
sys.exit(1 if errors else 0)
