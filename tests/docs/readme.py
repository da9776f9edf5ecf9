# SPDX-License-Identifier: Apache-2.0
"""The two C programs in README.md compile as they stand there: the test suite (with a main) reports
what the page says, the coroutine program (with a burn) runs to its end."""
import os
import re
import subprocess
import sys
import tempfile

from cookbook import BUILD, FLAGS, SOURCE, compiler

SUITE_MAIN = """
int main(void) {
    const struct CMUnitTest tests[] = {cu_cmocka_test(gives_up)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
"""
CMOCKA = ["-lcopper_cmocka", "-lcopper_leakcheck", "-lcmocka"]
BURN = ["-Dburn(n)=((void)(n))"]


def run(where, program, options):
    """Status and all that it said; what the compiler said when it does not compile."""
    with open(f"{where}/t.c", "w", encoding="utf-8") as file:
        file.write(program)
    includes = [f"-I{SOURCE}/{part}/include" for part in ("runtime", "profiler", "leakcheck")]
    made = subprocess.run(compiler() + FLAGS + includes + ["t.c", "-o", "t", f"-L{BUILD}/lib", *options,
                                                           "-lcopper_profiler", "-lcopper_runtime",
                                                           f"-Wl,-rpath,{BUILD}/lib"],
                          capture_output=True, text=True, cwd=where)
    if made.returncode:
        return -1, made.stderr
    done = subprocess.run(["./t"], capture_output=True, text=True, timeout=60, cwd=where)
    return done.returncode, done.stdout + done.stderr


def main():
    with open(f"{SOURCE}/README.md", encoding="utf-8") as file:
        text = file.read()
    suite, program = re.findall(r"^```c\n(.*?)^```\n", text, re.S | re.M)
    promised = re.search(r"^gives_up: 1 coroutine stranded.*$", text, re.M).group(0)
    with tempfile.TemporaryDirectory() as where:
        suite_status, suite_said = run(where, suite + SUITE_MAIN, CMOCKA)
        status, said = run(where, program, BURN)
    print(suite_said, said, sep="\n")
    return 0 if suite_status == 1 and promised in suite_said and status == 0 else 1


sys.exit(main())
