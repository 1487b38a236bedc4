# SPDX-License-Identifier: BSD-3-Clause
"""man.py INCLUDE OUT: writes the man pages of the headers in the folder INCLUDE to OUT/man3 and OUT/man7."""
import pathlib
import re
import sys
import textwrap

import headers
import text

ROFF = {"\0": "\\%", "\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti"}


def roff(line):
    """A line of text; each stands behind a macro or by itself."""
    line = re.sub(r"\b(?=\w*_\w)", "\0", line)  # names are not hyphenated
    line = "".join(ROFF.get(letter, letter) for letter in line)
    return "\\&" + line if line.startswith((".", "\\(aq")) else line


def example(code):
    return [".EX", *map(roff, code.split("\n")), ".EE"]


def part(kind, content):
    if kind == "para":
        return [".PP", roff(content)]
    if kind == "quote":
        return [".PP", ".RS 4", roff(content), ".RE"]
    if kind == "code":
        return [".PP", ".RS 4", *example(content), ".RE"]
    if kind == "points":
        return [line for point in content for line in (".IP \\(bu 2", roff(point))]
    return [line for name, words in content for line in (".TP", "\\fB" + roff(name) + "\\fP", roff(words))]


def comment(words):
    return [line for kind, content in text.parts(words) for line in part(kind, content)]


def members(item):
    lines = []
    for codes, words in text.grouped(item.members):
        for number, code in enumerate(codes):
            lines += [".TQ" if number else ".TP", f"\\fB{roff(code)}\\fP"]
        lines += described(words) if codes else comment(words)
    return lines


def described(words):
    """What stands behind a tag: a paragraph, and further ones as far in."""
    if not words:
        return ["\\&"]
    lines = comment(words)
    return lines[1:] if len(lines) == 2 else [lines[1], ".RS", *lines[2:], ".RE"]


def wrapped(code):
    """A declaration in lines of a terminal, those after the first as far in as its parameters."""
    margin = min(code.find("(", code.find("(*") + 2) + 1, 30)
    code = re.sub(r"(?<!,) ", "\0", " ".join(code.split()))  # broken at commas only
    lines = textwrap.wrap(code, 78, subsequent_indent=" " * margin, break_long_words=False, break_on_hyphens=False)
    return [line.replace("\0", " ") for line in lines]


def synopsis(item, header):
    include = "dlpack.h" if header.file == "dlpack.h" else "attn.h"
    code = re.sub(r"\{.*\}", "{ ... }", item.code, flags=re.S)
    lines = code.split("\n") if item.kind == "macro" else wrapped(code)
    return [".SH SYNOPSIS", ".nf", f".B #include <attn/{include}>", ".PP", *(f"\\fB{roff(line)}\\fP" for line in lines),
            ".fi"]


def see(names, own, known):
    """The pages that a page names, and the two that all do."""
    found = [f"{name}(3)" for name in dict.fromkeys(names) if name in known and name != own]
    return [".SH SEE ALSO", roff(", ".join([*found[:24], "attn(7)"]))]


def names(item):
    return re.findall(r"\w+", item.code + " " + item.comment)


def title(name, section, brief):
    manual = {3: "Library Functions", 7: "Miscellaneous Information"}[section]
    return [f'.TH {name} {section} "" "libattn" "{manual} Manual"', ".ad l", ".SH NAME",
            f"{name} \\- {roff(brief)}"]


def page(item, header, known):
    brief = text.brief(item.comment) or f"{item.kind} of attn/{header.file}"
    lines = title(item.name, 3, brief) + synopsis(item, header)
    if item.comment:
        lines += [".SH DESCRIPTION", *comment(item.comment)]
    if item.members:
        lines += [".SH " + ("VALUES" if item.kind == "enum" else "FIELDS"), *members(item)]
    return lines + see([f"attn_{header.file}", *names(item)], item.name, known)


def overview(header):
    """The page of a header: what it says before its declarations, and what it declares."""
    brief = text.brief(header.comment) or "header of libattn"
    lines = title(f"attn_{header.file}", 3, brief)
    lines += [".SH SYNOPSIS", f".B #include <attn/{header.file}>"]
    if header.comment:
        lines += [".SH DESCRIPTION", *comment(header.comment)]
    lines += [".SH CONTENTS"]
    for item in header.items:
        lines += [".TP", f"\\fB{roff(item.name)}\\fP(3)", roff(text.brief(item.comment) or item.kind)]
    return lines + [".SH SEE ALSO", "attn(7)"]


def library(top, others):
    """attn(7)."""
    legend = next(header for header in others if header.file == "tensor.h").comment
    lines = title("attn", 7, top.comment.split(": ", 1)[1].split(". ")[0])
    lines += [".SH DESCRIPTION", *comment(top.comment), ".SH DIMENSION LETTERS", *comment(legend), ".SH HEADERS"]
    for header in others:
        lines += [".TP", f"\\fBattn_{roff(header.file)}\\fP(3)",
                  roff(", ".join(item.name for item in header.items))]
    return lines + [".SH SEE ALSO", "attn\\-bench(1)"]


def pages(include):
    """All man pages: (file, lines)."""
    top, *others = headers.read_all(include)
    for header in others:  # what is the standard's, in dlpack.h, is not libattn's to explain
        header.items = [item for item in header.items if item.name.lower().startswith("attn_")]
    known = {name for h in others for name in [f"attn_{h.file}", *(item.name for item in h.items)]}
    yield "man7/attn.7", library(top, others)
    for header in others:
        yield f"man3/attn_{header.file}.3", overview(header)
        for item in header.items:
            yield f"man3/{item.name}.3", page(item, header, known)


def main(include, out):
    head = ["'\\\" -*- coding: utf-8 -*-", ".\\\" Written by man.py from libattn's headers."]
    for file, lines in pages(include):
        path = pathlib.Path(out) / file
        path.parent.mkdir(parents=True, exist_ok=True)
        page = "\n".join(head + lines) + "\n"
        path.write_text(re.sub(r"(?m)^(\.SH .*\n)\.PP\n", r"\1", page), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
