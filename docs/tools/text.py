# SPDX-License-Identifier: BSD-3-Clause
"""What the text of a comment consists of: (kind, content) of
    para    lines that are filled
    quote   the same, indented: formulas
    list    [(name, text)]: lines of two columns
    points  [text]: lines that begin with a dash
    code    lines as they are: code, and tables of more columns"""
import re

ROW = re.compile(r"(\S.*?) {2,}(\S.*)")
WIDTH = 117  # of the text of a comment
NEW = re.compile(r"(Errors|Source|Scratch)\b")  # begin a paragraph of their own


def indent(line):
    return len(line) - len(line.lstrip())


def joined(lines):
    return " ".join(line.strip() for line in lines)


def groups(lines):
    """Puts lines that are indented further than the first one of all behind the ones they belong to."""
    base, found = indent(lines[0]), []
    for line in lines:
        if indent(line) > base and found:
            found[-1].append(line)
        else:
            found.append([line])
    return found


def points(lines):
    return "points", [joined([group[0].strip()[2:]] + group[1:]) for group in groups(lines)]


def indented(lines):
    """A block that is indented."""
    rows = [(ROW.fullmatch(group[0].strip()), group[1:]) for group in groups(lines)]
    level = indent(lines[0]) == min(map(indent, lines))
    if level and all(row for row, _ in rows):
        return "list", [(row.group(1), " ".join(joined([row.group(2)] + rest).split())) for row, rest in rows]
    if not level or any(ROW.search(line.strip()) or line.endswith((";", "{", "}")) for line in lines):
        base = min(map(indent, lines))
        return "code", "\n".join(line[base:] for line in lines)
    return "quote", joined(lines)


def kind(line):
    return "points" if re.match(r" *- ", line) else "indented" if line.startswith("  ") else "para"


def ended(line, following):
    """Whether a line is the last one of a paragraph: it ends a sentence, and the next word would have fitted."""
    return line.endswith(".") and len(line) + len(following.split()[0]) < WIDTH


def chunks(lines):
    """Lines of one kind; those behind a point that are indented belong to it."""
    chunk = []
    for line in lines:
        its = kind(chunk[0]) if chunk else None
        goes_on = kind(line) == its or (its == "points" and kind(line) == "indented")
        if chunk and (not goes_on or NEW.match(line) or (its == "para" and ended(chunk[-1], line))):
            yield its, chunk
            chunk = []
        chunk.append(line)
    yield kind(chunk[0]), chunk


def parts(comment):
    of = {"points": points, "indented": indented, "para": lambda lines: ("para", joined(lines))}
    for paragraph in re.split(r"\n\n", comment):
        for its, lines in chunks(paragraph.split("\n")):
            yield of[its](lines)


def brief(comment):
    """The first sentence, or what it says before a colon or a formula, for lists of names."""
    first = re.split(r"(?<=[\w\])”’)])(?:[.;:](?:\s|$)|,? = exp)", joined(comment.split("\n")), maxsplit=1)[0]
    return first.strip()


def grouped(members):
    """Members as (declarations, text); without declarations the text is about those that come. A comment before members
    of which none has its own is that of all of them."""
    found, group = [], None
    for member in members:
        shares = found and member.group == group and not member.comment and (len(found[-1][0]) != 1 or shares)
        group = member.group
        if member.code and shares:
            found[-1][0].append(member.code)
        else:
            found.append(([member.code] if member.code else [], member.comment))
    return found
