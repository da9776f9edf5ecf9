"""Every #include in the tree goes along an arrow of the architecture, and each third-party library
is used in the files that fence it in. See docs/architecture.md for the picture."""
import os
import re
import sys

ROOT = os.environ.get("COPPER_SOURCE") or os.path.dirname(os.path.dirname(os.path.dirname(__file__)))

# Which folder owns each public header; found by looking, so that a new header needs no entry.
COMPONENTS = {
    "runtime": "runtime",
    "proto": "proto",
    "stacks": "profiler/stacks",
    "heap": "profiler/heap",
    "preload": "profiler/preload",
    "cli": "profiler/cli",
    "profiler": "profiler",
    "leakcheck": "leakcheck",
}
# Who may include whose public headers (its own always).
ARROWS = {
    "runtime": set(),
    "proto": set(),
    "stacks": set(),
    "heap": {"stacks", "runtime"},
    "profiler": {"proto", "stacks", "runtime", "heap"},
    "preload": set(),
    "cli": {"profiler", "proto"},
    "leakcheck": {"runtime", "stacks"},
}
# The umbrella header may look for all of them.
UMBRELLA = "runtime/include/copper/copper.h"
# Third-party headers: pattern -> files (regular expression) that may include them.
FENCES = {
    r"protobuf-c/|.*\.pb-c\.h": r"proto/[a-z_]+\.[ch]$",
    r"zlib\.h": r"proto/[a-z_]+\.c$",
    r"libunwind.*\.h": r"profiler/stacks/\w+\.c$",
    r"elfutils/|dwarf\.h|libdw.*": r"profiler/stacks/\w+\.c$",
    r"civetweb\.h": r"profiler/http/http_civetweb\.c$",
    r"cmocka\.h": r"leakcheck/(include/copper/)?cmocka[a-z_]*\.[ch]$",
}
# ... and how many files each may touch.
FENCE_FILES = {"libunwind.*\\.h": 1, "elfutils/|dwarf\\.h|libdw.*": 1, "civetweb\\.h": 1}


def component_of(path):
    best = None
    for name, folder in COMPONENTS.items():
        if path.startswith(folder + "/") and (best is None or len(folder) > len(COMPONENTS[best])):
            best = name
    return best


def source_files():
    for folder in ("runtime", "proto", "profiler", "leakcheck", "examples", "bench"):
        for where, _, names in os.walk(os.path.join(ROOT, folder)):
            for name in names:
                if name.endswith((".c", ".h", ".S", ".def")):
                    yield os.path.relpath(os.path.join(where, name), ROOT)


def main():
    files = sorted(source_files())
    owner = {}
    for path in files:
        found = re.search(r"include/(copper/\w+\.h)$", path)
        if found:
            owner[found.group(1)] = component_of(path)
    errors, fenced = [], {}
    for path in files:
        me = component_of(path)
        text = open(os.path.join(ROOT, path), encoding="utf-8").read()
        if "SPDX-License-Identifier: Apache-2.0" not in text[:200]:
            errors.append(f"{path}: no license line at the top")
        for number, line in enumerate(text.splitlines(), 1):
            found = re.match(r'\s*#\s*include\s+[<"]([^>"]+)[>"]', line)
            if not found:
                continue
            header = found.group(1)
            where = f"{path}:{number}: "
            if header in owner:
                other = owner[header]
                if me and other != me and other not in ARROWS[me] and path != UMBRELLA:
                    errors.append(where + f"{me} may not include {header} of {other}")
            elif header.startswith("copper/") and path != UMBRELLA:
                errors.append(where + f"no folder has {header}")
            if header.startswith("../") or ("/" in header and not header.startswith(
                    ("copper/", "sys/", "linux/", "arpa/", "netinet/", "net/", "asm/", "protobuf-c/",
                     "elfutils/", "sanitizer/", "boost/", "valgrind/", "bits/"))):
                errors.append(where + f"{header} reaches into another folder")
            for pattern, allowed in FENCES.items():
                if re.match(pattern, header):
                    fenced.setdefault(pattern, set()).add(path)
                    if not re.match(allowed, path) and not path.startswith(("examples/", "bench/")):
                        errors.append(where + f"{header} is fenced in: only {allowed}")
    for pattern, most in FENCE_FILES.items():
        users = {p for p in fenced.get(pattern, ()) if not p.startswith("bench/")}
        if len(users) > most:
            errors.append(f"{pattern} is used by {sorted(users)}: at most {most} file")
    if len(files) < 20:
        errors.append(f"only {len(files)} files seen: the test looks in the wrong place")
    print(f"{len(files)} files, {len(owner)} public headers")
    print("\n".join(errors))
    return 1 if errors else 0


sys.exit(main())
