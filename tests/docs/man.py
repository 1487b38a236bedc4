# SPDX-License-Identifier: BSD-3-Clause
"""man.py ROOT OUT: writes the man pages of ROOT to OUT. Every exported function and public type has one, no word of the
headers' comments is lost, and groff has nothing to say."""
import collections
import pathlib
import re
import shutil
import subprocess
import sys

ESCAPES = {r"\-": "-", r"\%": "", r"\(aq": "'", r"\(ga": "`", r"\(ha": "^", r"\(ti": "~", r"\e": "\\", r"\&": "",
           r"\fB": "", r"\fP": "", r"\(bu": ""}


def words(text):
    return collections.Counter(re.findall(r"\w+", text))


def shown(page):
    return re.sub("|".join(map(re.escape, ESCAPES)), lambda escape: ESCAPES[escape.group()], page)


def documented(root):
    """The headers that have pages."""
    return [file for file in (root / "include" / "attn").glob("*.h") if file.name != "export.h"]


def exported(root):
    text = (root / "tests" / "structure" / "exported.txt").read_text(encoding="utf-8")
    return re.findall(r"^(\w+)@", text, re.M)


def wanted(root):
    """Names that a page is for: symbols, and types by their declarations."""
    names = exported(root)
    for file in documented(root):
        names += re.findall(r"^(?:typedef .*?|\} ?)\(?\*?(attn_\w+)(?:;|\)\()", file.read_text(encoding="utf-8"), re.M)
    return names


def faults(root, out):
    pages = {file.stem: shown(file.read_text(encoding="utf-8")) for file in out.glob("man?/*")}
    for name in wanted(root):
        if name not in pages:
            yield f"{name} has no page"
    for name in exported(root):
        if ".SH DESCRIPTION" not in pages.get(name, ""):
            yield f"{name} is not described"
    comments = "\n".join("\n".join(re.findall(r"/\*.*?\*/", file.read_text(encoding="utf-8").split("*/", 1)[1], re.S))
                         for file in documented(root) if file.name != "dlpack.h")
    for word, lost in (words(comments) - words("\n".join(pages.values()))).items():
        yield f"'{word}' is lost {lost} times"
    said = subprocess.run(["groff", "-k", "-t", "-man", "-ww", "-Tutf8", "-z", *sorted(out.glob("man?/*"))],
                          capture_output=True, text=True, check=True).stderr
    yield from said.splitlines()


def main(root, out):
    if not shutil.which("groff"):
        print("man.py: no groff here")
        return 77
    shutil.rmtree(out, ignore_errors=True)
    tool = root / "docs" / "tools" / "man.py"
    subprocess.run([sys.executable, "-B", tool, root / "include" / "attn", out], check=True)
    found = list(faults(root, out))
    print("\n".join(found) or f"{len(wanted(root))} names have pages")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(*map(pathlib.Path, sys.argv[1:])))
