# SPDX-License-Identifier: BSD-3-Clause
"""Reads libattn's public headers, which are the manual: each declaration with the comment before it, and members of
structs and enums with theirs. What the headers keep to: a comment that is followed by a blank line belongs to all that
comes; one on the line of a member belongs to that member, one before members to those up to the next blank line."""
import dataclasses
import os
import pathlib
import re

TOKEN = re.compile(r"/\*.*?\*/|\n[ \t]*\n|[^\s]", re.S)


@dataclasses.dataclass
class Member:
    code: str  # "" for a comment that belongs to all that comes
    comment: str = ""
    group: int = 0  # members of one group have no blank line between them


@dataclasses.dataclass
class Item:
    kind: str  # function, struct, enum, type or macro
    name: str
    code: str
    comment: str
    members: list


@dataclasses.dataclass
class Header:
    file: str
    comment: str
    items: list


def plain(comment):
    """The text of a comment, without its stars; what its lines are indented by stays."""
    lines = comment[2:-2].rstrip().split("\n")
    first = lines[0].strip()
    rest = [re.sub(r"^\s*\* ?", "", line) if re.match(r"\s*\*", line) else line.strip() for line in lines[1:]]
    return "\n".join([first] + [line.rstrip() for line in rest]).strip("\n")


def statements(body, end):
    """Splits the body of a struct or an enum: (text, position) of statements, comments and blank lines."""
    begin, depth = None, 0
    for token in TOKEN.finditer(body):
        text = token.group()
        if text.startswith("/*") or (text.isspace() and begin is None):
            if begin is not None:  # the last of an enum has no comma
                yield body[begin : token.start()].rstrip(), begin, token.start()
                begin = None
            yield text, token.start(), token.end()
            continue
        if begin is None:
            begin = token.start()
        depth += (text in "({[") - (text in ")}]")
        if text == end and depth == 0:
            yield body[begin : token.start()], begin, token.start()
            begin = None
    if begin is not None and body[begin:].strip():
        yield body[begin:].rstrip(), begin, len(body.rstrip())


def members(body, end):
    found, group, before = [], 0, 0
    for text, begin, stop in statements(body, end):
        if text.isspace():
            group += 1
            continue
        if text.startswith("/*"):
            if found and found[-1].code and "\n" not in body[before:begin]:
                found[-1].comment = plain(text)
            else:
                found.append(Member("", plain(text), group))
        else:
            found.append(Member(re.sub(r"\s+", " ", text).replace("* ", "*"), "", group))
        before = stop
    return found


def expand(code, call, table):
    """An enum that a table of X(name, value, "text") makes, written out."""
    rows = re.findall(r'X\((\w+), (\d+), "(.*?)"\)', table)
    lines = [f"    {name} = {value}, /* {text} */" for name, value, text in rows]
    return code.replace(call, "\n".join(["{"] + lines + ["}"]))


def common(values):
    """What the names of an enum without a name begin with."""
    return os.path.commonprefix([value.code for value in values if value.code]).rstrip("_")


def body(code):
    return code[code.index("{") + 1 : code.rindex("}")]


def item(comment, code, macros):
    """What a declaration declares."""
    if code.startswith("#define"):
        name = re.match(r"#define (\w+)", code).group(1)
        macros[name] = Item("macro", name, code, comment, [])
        return macros[name]
    if code.startswith("ATTN_API"):
        code = code.removeprefix("ATTN_API ").replace("\n         ", "\n")
        return Item("function", re.search(r"(\w+)\(", code).group(1), code, comment, [])
    if "{" not in code:
        return Item("type", re.search(r"\(\*(\w+)\)\(|(\w+);$", code).expand(r"\1\2"), code, comment, [])
    name = re.search(r"\} ?(\w*);[^;]*$", code).group(1)
    if not re.match(r"(typedef )?enum", code):
        return Item("struct", name, code, comment, members(body(code), ";"))
    table = re.search(r"\{ (\w+)\(\w+\) \}", code)
    if table:
        comment = macros[table.group(1)].comment
        macros[table.group(1)].comment = ""
        code = expand(code, table.group(), macros[table.group(1)].code)
    values = members(body(code), ",")
    return Item("enum", name or common(values), code, comment, values)


def read(path):
    """A header whose declarations have a blank line between them."""
    text = path.read_text(encoding="utf-8").split("*/\n", 1)[1]  # behind the licence
    comment, text = re.match(r"(?:(/\*.*?\*/)\n)?#ifndef \w+\n#define \w+\n(.*)", text, re.S).groups()
    text = re.sub(r"#ifdef __cplusplus\n((?!#endif).)*?(#else\n(.*?))?#endif\n", r"\3", text, flags=re.S)
    text = re.sub(r"^#(include|ifndef|ifdef|if|else|endif|undef)\b.*\n", "", text, flags=re.M)
    items, macros, notes = [], {}, []
    for block in blocks(text):
        found = item_of(block, macros)
        if found is None:
            notes.append(plain(block))
        else:
            items.extend(found)
    overview = "\n\n".join(([plain(comment)] if comment else []) + notes)
    return Header(path.name, overview, [i for i in items if i.kind != "macro" or i.comment])


def blocks(text):
    """Comments and declarations as they follow each other, up to blank lines outside of both."""
    block, depth, inside = [], 0, False
    for line in text.split("\n"):
        bare = re.sub(r"/\*.*?\*/", "", line)
        inside = (inside or "/*" in bare) and "*/" not in bare
        depth += 0 if inside or "*/" in bare else bare.count("{") - bare.count("}")
        if line.strip() or inside or depth:
            block.append(line)
        elif block:
            yield "\n".join(block)
            block = []
    if block:
        yield "\n".join(block)


def item_of(block, macros):
    comment, rest = re.match(r"(/\*.*?\*/)?\n?(.*)", block, re.S).groups()
    if not rest.strip():
        return None
    text = plain(comment) if comment else ""
    define = r"#define (?:[^\n]*\\\n)*[^\n]*\n?"
    parts = re.findall(define, rest)
    rest = re.sub(define, "", rest)
    parts += [rest] if "{" in rest else re.findall(r"[^;]+;", rest)
    return [item(text, part.strip(), macros) for part in parts]


def read_all(folder):
    """All C headers, in the order in which attn.h names them, which comes first."""
    folder = pathlib.Path(folder)
    top = read_overview(folder / "attn.h")
    files = [f for f in re.findall(r"^    (\w+\.h) ", top.comment, re.M) if f != "attn.h"]
    return [top] + [read(folder / file) for file in files]


def read_overview(path):
    comment = re.search(r"\*/\n(/\*.*?\*/)\n", path.read_text(encoding="utf-8"), re.S).group(1)
    return Header(path.name, plain(comment), [])
