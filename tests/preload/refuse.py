# SPDX-License-Identifier: Apache-2.0
"""What the command says, and with which status it ends, when something cannot be done: one clear
sentence before anything is started."""
import os
import socket
import struct
import subprocess
import sys
import tempfile

from support import COPPER, check, environment, equal, finish, free_port, run

SOURCE = "int main(void) { return 9; }\n"


def copper(*words, **options):
    return run([COPPER, *words], **options)


def says(name, result, status, *parts):
    equal(f"{name}: status", result.returncode, status)
    equal(f"{name}: one line", result.stderr.count("\n"), 1)
    check(f"{name}: is ours", result.stderr.startswith("copper: "), result.stderr)
    for part in parts:
        check(f"{name}: says {part}", part in result.stderr, result.stderr)


def write(path, text, mode=0o755):
    with open(path, "w" if isinstance(text, str) else "wb") as f:
        f.write(text)
    os.chmod(path, mode)
    return path


def compile_to(path, *flags):
    subprocess.run(["gcc", "-x", "c", "-", "-o", path, *flags], input=SOURCE, text=True, check=True)
    return path


def programs(folder):
    static = compile_to(f"{folder}/static", "-static")
    says("static", copper("run", "--", static), 125, f"{static} is statically linked, preload cannot "
         "reach it; link copper::profiler instead")
    says("static pie", copper("run", compile_to(f"{folder}/pie", "-static-pie")), 125,
         "is statically linked")
    musl = compile_to(f"{folder}/musl", "-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1")
    says("musl", copper("run", musl), 125, "uses musl, and preload needs glibc")
    other = compile_to(f"{folder}/other", "-Wl,--dynamic-linker=/opt/my/ld.so")
    says("another loader", copper("run", other), 125, "is loaded by /opt/my/ld.so")
    header = struct.pack("<4sBBB9xHHI", b"\x7fELF", 1, 1, 1, 2, 3, 1)
    says("32-bit", copper("run", write(f"{folder}/small", header + bytes(64))), 125,
         "is a 32-bit program")
    header = struct.pack("<4sBBB9xHHI", b"\x7fELF", 2, 1, 1, 2, 183, 1)
    says("another machine", copper("run", write(f"{folder}/arm", header + bytes(64))), 125,
         "is for another machine")
    says("cut off", copper("run", write(f"{folder}/cut", b"\x7fELF\x02\x01")), 126, "is cut off")
    for record in ("run", "record"):
        says(f"{record}: script of a static program",
             copper(record, "--", write(f"{folder}/script", f"#! {static} x\n")), 125,
             f"{static} is statically linked")
    says("script without its interpreter",
         copper("run", write(f"{folder}/lost", "#!/no/such/shell\n")), 126, "/no/such/shell",
         "No such file")


def identities(folder):
    if os.getuid() != 0:
        return
    path = compile_to(f"{folder}/dynamic")
    os.chown(path, 65534, 65534)
    os.chmod(path, 0o4755)
    says("set-user-id", copper("run", path), 125, "is set-user-id", "ignores preload")
    os.chmod(path, 0o2755)
    says("set-group-id", copper("run", path), 125, "is set-group-id")
    os.chmod(path, 0o755)
    equal("neither: runs", copper("run", "--quiet", path).returncode, 9)


def not_to_be_run(folder):
    says("no such program", copper("run", "no-such-program"), 127, "no-such-program: No such file")
    says("no such path", copper("run", f"{folder}/none"), 127, "No such file")
    says("no such folder", copper("record", "--", f"{folder}/none/x"), 127, "No such file")
    says("a folder", copper("run", folder), 126, "Is a directory")
    says("not executable", copper("run", write(f"{folder}/data", "x", 0o644)), 126,
         "Permission denied")
    says("empty name", copper("run", ""), 127, "No such file")


def addresses():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        says("busy port", copper("run", "--http", address, "true"), 125,
             f"{address} is taken by ", f"[{os.getpid()}]; use --http 127.0.0.1:0")
        says("busy port, without a host", copper("run", "--http", address.split(":")[1], "true"), 125,
             f"{address} is taken by ")
    for bad in ("nonsense", "127.0.0.1:99999", "127.0.0.1:", "1.2.3:80", "127.0.0.1:8x", "[::1]:80",
                "a.very.long.host.name.example:80", ":-1"):
        says(f"--http {bad}", copper("run", "--http", bad, "true"), 125, f"--http {bad}: not HOST:PORT")
    says("open to others", copper("run", "--http", f"0.0.0.0:{free_port()}", "true"), 125,
         "COPPER_TOKEN_FILE")
    says("not here", copper("run", "--http", "192.0.2.1:8080", "true",
                            env=environment(COPPER_TOKEN_FILE="/etc/hostname")), 125,
         "cannot serve on 192.0.2.1:8080")


def words():
    for line, parts in {
        "rnu true": ["rnu is not a verb; run?"],
        "xyzzy": ["xyzzy is not a verb; copper help"],
        "run": ["run what?"],
        "run --": ["run what?"],
        "record -d": ["-d needs a value"],
        "record -d x true": ["-d x: not a number of seconds"],
        "record -d -1 true": ["-d -1: not a number"],
        "record -d nan true": ["-d nan: not a number"],
        "record --hz 0 true": ["--hz 0: not a number from 1 to 10000"],
        "record --hz 10001 true": ["--hz 10001"],
        "record --hz 10x true": ["--hz 10x"],
        "record -e heat true": ["-e heat: not something to record"],
        "record --bogus true": ["record has no option --bogus"],
        "run -d 3 true": ["run has no option -d"],
        "list --http 1 x": ["list has no option --http"],
        "list x": ["list takes no x"],
        "record 4194303": ["there is no process 4194303"],
        "record 1": ["process 1 does not serve"],
        "help bogus": ["no help on bogus"],
    }.items():
        says(line, copper(*line.split()), 125, *parts)
    for line in ("help", "--help", "help run", "run --help", "record -h", "list --help", "help record"):
        result = copper(*line.split())
        equal(f"{line}: status", result.returncode, 0)
        check(f"{line}: usage", result.stdout.startswith("usage: copper"), result.stdout)
        equal(f"{line}: stderr", result.stderr, "")
    check("--version", copper("--version").stdout.startswith("copper 0."))
    equal("alone: status", copper().returncode, 125)


def main():
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        programs(folder)
        identities(folder)
        not_to_be_run(folder)
    addresses()
    words()
    finish()


main()
