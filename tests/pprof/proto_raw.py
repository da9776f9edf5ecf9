"""go tool pprof reads what our writer writes, and sees in it what was put in: no warning, every
field, also when the file was read and written again by us."""
import os
import subprocess
import sys
import tempfile

BUILD = os.environ["COPPER_BUILD"]
EXPECTED = """\
Comment: made by proto_sample
Doc: https://example.org/doc
PeriodType: cpu nanoseconds
Period: 10000000
Time: 2023-11-14 22:13:20 +0000 UTC
Duration: 1s
Samples:
samples/count cpu/nanoseconds[dflt]
          3   30000000: 1 2
                coro:[w7]
                sz:[4096 bytes]
          1   10000000: 2
                queue:[0 queue]
Locations
     1: 0x401010 M=1 inl x.c:5 s=4
             outer x.c:9 s=8
     2: 0x40102f M=1 main x.c:20 s=18
Mappings
1: 0x401000/0x402000/0x1000 /bin/x abcd [FN]
"""
TOP = """\
      flat  flat%   sum%        cum   cum%
      30ms 75.00% 75.00%       30ms 75.00%  inl (inline)
      10ms 25.00%   100%       40ms   100%  main
         0     0%   100%       30ms 75.00%  outer
"""


def go(*arguments):
    environment = dict(os.environ, TZ="UTC", PPROF_TMPDIR=tempfile.gettempdir())
    done = subprocess.run(["go", "tool", "pprof", *arguments], capture_output=True, text=True,
                          timeout=60, env=environment)
    if done.returncode or done.stderr:
        sys.exit(f"FAIL: go tool pprof {' '.join(arguments)}: {done.returncode}: {done.stderr}")
    return done.stdout


def normal(text):
    """Newer tools show a column after each line number, and older ones know no Doc line."""
    lines = [line.rstrip().replace(":5:0", ":5").replace(":9:0", ":9").replace(":20:0", ":20")
             for line in text.splitlines()]
    return [line for line in lines if not line.startswith("Doc:")]


def compare(what, have, want):
    if have != want:
        sys.exit(f"FAIL: {what}:\n" + "\n".join(have) + "\n--- instead of\n" + "\n".join(want))


def main():
    with tempfile.TemporaryDirectory(prefix="copper_proto_") as where:
        file, again = where + "/first.pb.gz", where + "/again.pb.gz"
        subprocess.run([f"{BUILD}/tests/proto_sample", file, again], check=True, timeout=60)
        for path in (file, again):
            compare(path, normal(go("-raw", path)), normal(EXPECTED))
        table = go("-top", "-nodecount=9", file)
        rows = table[table.index("      flat"):].splitlines()
        compare("-top", [" ".join(r.split()) for r in rows],
                [" ".join(r.split()) for r in TOP.splitlines()])
        if os.path.getsize(file) != os.path.getsize(again):
            sys.exit("FAIL: read and written again, the profile has another size")
    print("go tool pprof agrees")


main()
