# SPDX-License-Identifier: Apache-2.0
"""Every C program in docs/cookbook.md compiles without a warning, runs, prints what the page says it
prints, and leaves no coroutine behind."""
import concurrent.futures
import os
import re
import subprocess
import sys
import tempfile

BUILD, SOURCE = os.environ["COPPER_BUILD"], os.environ["COPPER_SOURCE"]
# What stands around each program; the page says so.
BEFORE = """#include <copper/copper.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
"""
AFTER = "\nint main(void) { return cu_run(app, NULL); }\n"
FLAGS = ["-std=gnu17", "-D_GNU_SOURCE", "-O1", "-g", "-Wall", "-Wextra", "-Wshadow", "-Werror",
         "-Wno-unused-parameter"]


def programs(text):
    """(title, program, what it prints) for each C block."""
    for section in re.split(r"^## ", text, flags=re.M)[1:]:
        title = section.split("\n", 1)[0]
        for found in re.finditer(r"^```c\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", section,
                                 re.S | re.M):
            yield title, found.group(1), found.group(2)


def compiler():
    """The build's own, with its sanitizer."""
    with open(f"{BUILD}/CMakeCache.txt", encoding="utf-8") as file:
        cache = file.read()
    found = re.search(r"^CMAKE_C_COMPILER:\w+=(.+)$", cache, re.M)
    sanitizer = re.search(r"^COPPER_SANITIZE:\w+=(\w+)$", cache, re.M)
    return [found.group(1)] + ([f"-fsanitize={sanitizer.group(1)}"] if sanitizer else [])


def try_one(arguments):
    title, program, prints, where, number = arguments
    source, binary = f"{where}/{number}.c", f"{where}/{number}"
    with open(source, "w", encoding="utf-8") as file:
        file.write(BEFORE + program + AFTER)
    made = subprocess.run(
        compiler() + FLAGS + [f"-I{SOURCE}/runtime/include", source, "-o", binary,
                              f"-L{BUILD}/lib", "-lcopper_runtime", "-Wl,--no-as-needed",
                              "-lcopper_leakcheck", f"-Wl,-rpath,{BUILD}/lib"],
        capture_output=True, text=True)
    if made.returncode:
        return f"{title}: does not compile:\n{made.stderr}"
    done = subprocess.run([binary], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "COPPER_LEAKCHECK": "1"})
    if done.returncode or done.stderr or done.stdout != prints:
        return f"{title}: status {done.returncode}\n{done.stdout}{done.stderr}"
    return None


def main():
    with open(f"{SOURCE}/docs/cookbook.md", encoding="utf-8") as file:
        all_programs = list(programs(file.read()))
    with tempfile.TemporaryDirectory() as where:
        work = [(*program, where, i) for i, program in enumerate(all_programs)]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            errors = [error for error in pool.map(try_one, work) if error]
    print(f"{len(all_programs)} programs")
    print("\n".join(errors))
    return 1 if errors or len(all_programs) < 10 else 0


if __name__ == "__main__":
    sys.exit(main())
