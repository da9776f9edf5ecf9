"""Copies a source file with one piece of text replaced: a bug planted on purpose, for the fuzzer to
find. The text must be there once, so that the plant fails loudly when the source has moved on.

    plant.py FROM TO OLD NEW
"""
import sys

source, target, old, new = sys.argv[1:]
text = open(source, encoding="utf-8").read()
if text.count(old) != 1:
    sys.exit(f"plant.py: {source}: {old!r} is there {text.count(old)} times, not once; "
             "choose another place for the planted bug in tests/fuzz/CMakeLists.txt")
open(target, "w", encoding="utf-8").write(text.replace(old, new))
