"""Functions whose names end in _sig run in signal handlers: in the machine code of our libraries
they may call only each other, a short list of safe libc functions, and nothing through a pointer
that the loader resolves lazily (all our libraries are bound at load time)."""
import os
import re
import subprocess
import sys

BUILD = os.environ["COPPER_BUILD"]
# libc and compiler calls that take no lock and allocate nothing.
SAFE = {
    "memcpy", "memset", "memmove", "memcmp", "syscall", "__errno_location", "_dl_find_object",
    "_exit", "clock_gettime", "cu_inspect_here", "cu_now", "__stack_chk_fail", "sigaction",
}
LIBRARIES = ["stacks", "profiler"]


def calls_of(path):
    """function -> names it calls or jumps to."""
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", path], check=True,
                          capture_output=True, text=True).stdout
    calls, current = {}, None
    for line in text.splitlines():
        head = re.match(r"[0-9a-f]+ <(.+)>:$", line)
        if head:
            current = re.split(r"\.(?:part|constprop|isra|cold)", head.group(1))[0]
            calls.setdefault(current, set())
            continue
        target = re.search(r"\b(?:call|jmp|j[a-z]+)q?\s+[0-9a-f]+ <([^>+]+)(\+0x[0-9a-f]+)?>", line)
        if target and current:
            name = re.split(r"\.(?:part|constprop|isra|cold)", target.group(1))[0]
            if name != current:
                calls[current].add(name)
    return calls


def main():
    cache = open(f"{BUILD}/CMakeCache.txt", encoding="utf-8").read()
    if re.search(r"^COPPER_SANITIZE:\w+=.+$", cache, re.M):
        print("sanitizers add calls of their own: looked at in the release build")
        return 77
    errors, seen = [], 0
    for name in LIBRARIES:
        for function, callees in calls_of(f"{BUILD}/lib/libcopper_{name}.so").items():
            if not function.endswith("_sig"):
                continue
            seen += 1
            for callee in callees:
                bare = re.sub(r"(@@?.*|@plt)$", "", callee)
                if not (bare.endswith("_sig") or bare in SAFE):
                    errors.append(f"{name}: {function} calls {bare}")
    if seen < 3:
        errors.append(f"only {seen} handler functions seen")
    print(f"{seen} functions that run in signal handlers")
    print("\n".join(errors))
    return 1 if errors else 0


sys.exit(main())
