#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes one page from each public header, which is the manual, and a page that lists them.

usage: docs/api/generate.py            writes docs/api/*.md
       docs/api/generate.py --check    changes nothing; 1 if a page is not what its header says
"""
import html
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PAGES = os.path.join(ROOT, "docs", "api")
# Libraries in the order in which a reader meets them, and where their headers are.
LIBRARIES = [("runtime", "runtime"), ("profiler", "profiler"), ("heap", "profiler/heap"),
             ("leakcheck", "leakcheck"), ("proto", "proto"), ("stacks", "profiler/stacks")]
FIRST = ["copper", "go", "chan", "select", "context", "sync", "errgroup", "pool", "time", "timer"]
# Lines of a header that tell a reader nothing.
NOISE = re.compile(r"\s*#\s*(include|pragma|ifndef COPPER_\w+_H$|define COPPER_\w+_H$|endif|if\b|ifdef"
                   r"|else)")
WORD = re.compile(r"(?<![\w`])(cu_\w+(?:\(\)|\\\*)?|COPPER_\w+(?:=\w+)?|-E[A-Z]+|NULL|struct cu_\w+|errno)(?![\w`])")


def prose(comment):
    """The text of a block comment as Markdown; what is indented is code."""
    lines = [re.sub(r"^ ?\*? ?", "", line) for line in comment.strip()[2:-2].rstrip().split("\n")]
    lines[0] = lines[0].strip()
    out, is_code = [], False
    for i, line in enumerate(lines):
        starts_code = line.startswith("    ") and (is_code or i == 0 or not lines[i - 1].strip())
        if line.strip() and starts_code != is_code:
            if is_code:
                out.append("```\n")
            else:
                out.append("```c")
            is_code = starts_code
        if is_code:
            out.append(line[4:])
        else:
            out.append(WORD.sub(r"`\1`", html.escape(line, quote=False).replace("*", r"\*")))
    if is_code:
        out.append("```")
    text = "\n".join(out)
    return re.sub(r"\n+(```\n)", r"\n\1", re.sub(r"\n{3,}", "\n\n", text)).strip()


def heading(text):
    """'---- mutex ----' at the start of a comment becomes a heading."""
    return re.sub(r"\A---- (.*?) ----\s*", r"## \1\n\n", text)


def parts(text):
    """The header's comments at the margin and the code between them, in turn."""
    at, code = 0, []
    for found in re.finditer(r"^/\*.*?\*/[ \t]*$", text, re.S | re.M):
        code = text[at:found.start()]
        yield "code", code
        yield "comment", found.group(0)
        at = found.end()
    yield "code", text[at:]


def tidy(code):
    lines = [line.rstrip() for line in code.split("\n")]
    kept, skips = [], False
    for line in lines:
        if re.match(r"#ifdef __cplusplus", line):
            skips = True
        if not skips and not NOISE.match(line):
            kept.append(line)
        if re.match(r"#endif", line):
            skips = False
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip("\n")


def page_of(header, library):
    with open(header, encoding="utf-8") as file:
        text = file.read()
    name = os.path.basename(header)
    pieces = list(parts(text))
    about = prose(next(piece for kind, piece in pieces if kind == "comment"))
    about = re.sub(r"\ASPDX-License-Identifier: \S+\s*", "", about)
    summary, _, rest = about.partition("\n\n")
    summary = re.sub(r"\A(`?)copper/\w+\.h\1: ", "", summary)
    out = [f"# copper/{name}", summary[0].upper() + summary[1:]]
    out.append(f"`#include <copper/{name}>` · library `copper::{library}`")
    if rest.strip():
        out.append(rest.strip())
    for kind, piece in pieces[2:]:
        if kind == "comment":
            out.append(heading(prose(piece)))
        elif tidy(piece):
            out.append(f"```c\n{tidy(piece)}\n```")
    return "\n\n".join(out) + "\n", " ".join(summary.split()).split(". ")[0].rstrip(".:")


def all_headers():
    for library, folder in LIBRARIES:
        where = os.path.join(ROOT, folder, "include", "copper")
        names = os.listdir(where) if os.path.isdir(where) else []
        stems = sorted(name[:-2] for name in names if name.endswith(".h"))
        for stem in sorted(stems, key=lambda s: FIRST.index(s) if s in FIRST else len(FIRST)):
            yield library, stem, os.path.join(where, stem + ".h")


def make():
    pages, rows = {}, []
    for library, stem, header in all_headers():
        pages[f"{stem}.md"], summary = page_of(header, library)
        rows.append(f"| [copper/{stem}.h]({stem}.md) | {library} | {summary} |")
    pages["README.md"] = ("# The public headers\n\nMade from the headers by "
                          "[generate.py](generate.py); what is said there is said here.\n\n"
                          "| header | library | what for |\n|---|---|---|\n" + "\n".join(rows) + "\n")
    return pages


def main():
    pages, wrong = make(), []
    existing = {name for name in os.listdir(PAGES) if name.endswith(".md")}
    for name, text in pages.items():
        path = os.path.join(PAGES, name)
        old = open(path, encoding="utf-8").read() if name in existing else None
        if old != text:
            wrong.append(name)
            if "--check" not in sys.argv:
                with open(path, "w", encoding="utf-8") as file:
                    file.write(text)
    for name in sorted(existing - set(pages)):
        wrong.append(name)
        if "--check" not in sys.argv:
            os.remove(os.path.join(PAGES, name))
    if "--check" in sys.argv and wrong:
        print(f"docs/api is not what the headers say: {', '.join(wrong)}; run docs/api/generate.py")
        return 1
    print(f"{len(pages)} pages, {len(wrong)} changed" if "--check" not in sys.argv
          else f"{len(pages)} pages are what the headers say")
    return 0 if len(pages) > 10 else 1


sys.exit(main())
