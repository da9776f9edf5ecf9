# SPDX-License-Identifier: Apache-2.0
"""What the shim is made of: nothing but a C library, no name that musl lacks, no thread-local data, no
export but the calls it stands in front of; and no frame of it in a thread that a linked program
makes."""
import re
import shutil
import subprocess
import tempfile

from support import BUILD, PROGRAMS, SHIM, check, environment, equal, finish, run

EXPORTS = {"pthread_create", "thrd_create", "dlclose"}
# glibc and musl both have these; weak ones may be absent
USED = {"access", "bcmp", "dladdr", "dlerror", "dlopen", "dlsym", "environ", "__environ", "getpid",
        "memcmp", "memcpy", "memmove", "memset", "program_invocation_short_name", "__progname",
        "secure_getenv", "snprintf", "strcmp", "strcpy", "strcspn", "strlen", "strncmp", "strrchr",
        "strtol", "write", "__errno_location"}


def tool(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def symbols(*options):
    lines = tool("nm", "-D", *options, SHIM).splitlines()
    return {(line.split()[-2], line.split()[-1].split("@")[0]) for line in lines}


def made_of():
    equal("exports", {name for _, name in symbols("--defined-only")}, EXPORTS)
    used = {name for kind, name in symbols("--undefined-only") if kind not in "wv"}
    check("uses only what every C library has", used <= USED, used - USED)
    dynamic = tool("readelf", "-dW", SHIM)
    equal("needs", re.findall(r"NEEDED.*\[(.*)\]", dynamic), ["libc.so.6"])
    check("is never unloaded, bound at once", "NODELETE" in dynamic and "NOW" in dynamic, dynamic)
    segments = tool("readelf", "-lW", SHIM)
    check("no thread-local data", not re.search(r"^\s*TLS", segments, re.M), segments)
    check("no executable stack", re.search(r"GNU_STACK.*RW ", segments), segments)
    definitions = tool("readelf", "--dyn-syms", "-W", SHIM)
    check("exports carry no version", not re.search(r"pthread_create@", definitions), definitions)


def with_musl():
    """A musl program among the children must not be ended by us."""
    if not shutil.which("musl-gcc"):
        print("no musl-gcc: not tried")
        return
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["musl-gcc", "-x", "c", "-", "-o", f"{folder}/a"], text=True, check=True,
                       input='#include <stdio.h>\nint main(void) { puts("musl"); return 4; }\n')
        result = run([f"{folder}/a"], env=environment(LD_PRELOAD=SHIM))
        equal("a musl program", (result.returncode, result.stdout, result.stderr), (4, "musl\n", ""))


def linked():
    result = run([f"{PROGRAMS}/preload.entry_linked"])
    equal("a linked program's threads", (result.returncode, result.stdout, result.stderr),
          (0, "posix\nc11\nfailing good\ncrowd good\n", ""))
    library = f"{BUILD}/lib/libcopper_profiler.so"
    names = tool("nm", "-D", "--defined-only", library)
    check("... are interposed", re.search(r" T pthread_create$", names, re.M), names)
    check("... the shim finds its entry", re.search(r" T cu_preload_activate$", names, re.M), names)
    check("... and its hook", re.search(r" T cu_profiler_thread_started$", names, re.M), names)


def main():
    made_of()
    with_musl()
    linked()
    finish()


main()
