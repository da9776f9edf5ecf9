"""What our shared libraries show to the world: cu_ names, and the few calls that are interposed on
purpose. Nothing of the libraries we link statically (zlib, protobuf-c) leaks out, and no library
needs more than its arrows allow."""
import os
import re
import subprocess
import sys

BUILD = os.environ["COPPER_BUILD"]
INTERPOSED = {"pthread_create", "thrd_create", "dlclose"}
ALLOCATOR = {"malloc", "calloc", "realloc", "reallocarray", "posix_memalign", "aligned_alloc",
             "memalign", "valloc", "pvalloc", "free"}
# library -> (names besides cu_*, our libraries it may need, other libraries it may need)
LIBRARIES = {
    "runtime": (set(), set(), set()),
    "proto": (set(), set(), set()),
    "stacks": (set(), set(), {"libdw", "libelf", "libunwind-x86_64", "libunwind"}),
    "heap": (ALLOCATOR, {"stacks", "runtime"}, set()),
    "profiler": (INTERPOSED, {"proto", "stacks", "runtime"}, {"libcivetweb"}),
    "leakcheck": (set(), {"runtime", "stacks"}, set()),
    "preload": (INTERPOSED, set(), set()),
}
SYSTEM = {"libc", "libm", "libpthread", "ld-linux-x86-64"}
SANITIZER = {"libasan", "libtsan", "libubsan", "libgcc_s", "libstdc++", "librt", "libdl", "libresolv"}


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def check(name, path):
    extra, ours, others = LIBRARIES[name]
    errors = []
    symbols = {line.split()[-1].split("@")[0] for line in run("nm", "-D", "--defined-only", path)
               .splitlines()}
    for symbol in sorted(symbols):
        if not (symbol.startswith("cu_") or symbol in extra):
            errors.append(f"{name} exports {symbol}")
        if symbol.startswith("cu__"):
            errors.append(f"{name} exports the private name {symbol}")
    for needed in re.findall(r"NEEDED.*\[(.*?)\]", run("readelf", "-d", path)):
        base = needed.split(".so")[0]
        if base.startswith("libcopper_"):
            if base[len("libcopper_"):] not in ours:
                errors.append(f"{name} needs {needed}: no such arrow")
        elif base not in SYSTEM | others | SANITIZER:
            errors.append(f"{name} needs {needed}")
    if name == "profiler" and "libcopper_runtime" in run("readelf", "-d", path):
        errors.append("profiler links the runtime hard")
    print(f"{name}: {len(symbols)} exports")
    return errors


def main():
    errors = []
    for name in LIBRARIES:
        path = f"{BUILD}/lib/libcopper_{name}.so"
        if not os.path.exists(path):
            errors.append(f"{path} was not built")
            continue
        errors += check(name, path)
    print("\n".join(errors))
    return 1 if errors else 0


sys.exit(main())
