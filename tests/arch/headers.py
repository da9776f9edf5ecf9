"""Every public header compiles alone, as C17 and as C++17, with warnings as errors."""
import glob
import os
import subprocess
import sys

ROOT = os.environ["COPPER_SOURCE"]
FOLDERS = ["runtime", "proto", "profiler", "profiler/stacks", "profiler/heap", "leakcheck"]
INCLUDES = [f"-I{ROOT}/{folder}/include" for folder in FOLDERS]


def compiles(header, command):
    # cmocka's own header asks its user to include these first
    first = "#include <stdarg.h>\n#include <stddef.h>\n#include <setjmp.h>\n#include <stdint.h>\n"
    source = (first if "cmocka" in header else "") + f"#include <copper/{header}>\n"
    result = subprocess.run(command + INCLUDES + ["-fsyntax-only", "-"], input=source, text=True,
                            capture_output=True)
    if result.returncode:
        print(f"{' '.join(command[:3])}: {header}\n{result.stderr}")
    return result.returncode == 0


def main():
    headers = sorted(os.path.basename(path) for folder in FOLDERS
                     for path in glob.glob(f"{ROOT}/{folder}/include/copper/*.h"))
    warnings = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-Wno-gnu-statement-expression"]
    good = len(headers) > 10
    for header in headers:
        good &= compiles(header, ["gcc", "-x", "c", "-std=c17"] + warnings[:-1])
        good &= compiles(header, ["g++", "-x", "c++", "-std=c++17"] + warnings[:-1])
    print(f"{len(headers)} headers")
    return 0 if good else 1


sys.exit(main())
