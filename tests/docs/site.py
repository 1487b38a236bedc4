# SPDX-License-Identifier: BSD-3-Clause
"""site.py ROOT OUT: writes the site of ROOT to OUT. Its links lead somewhere, and nothing that it loads is elsewhere;
each page of docs/ is in the navigation of each page; the search knows each symbol, type, field and value of the
headers."""
import json
import pathlib
import re
import shutil
import subprocess
import sys

import links
import man


def declared(root):
    """Names by their declarations: values and fields, and what has a man page."""
    for file in man.documented(root):
        text = re.sub(r"/\*.*?\*/", "", file.read_text(encoding="utf-8"), flags=re.S)
        for body, name in re.findall(r"^typedef struct \w+ \{(.*?)^\} (\w+);", text, re.M | re.S):
            for field in re.findall(r"(\w+)\)?(?:\[\w*\]|\([^;]*\))?(?=[;,])", re.sub(r"\(.*?\)(?=;)", "", body)):
                yield f"{name}.{field}"
        for body in re.findall(r"enum \w* ?\{(.*?)\}", text, re.S):
            yield from re.findall(r"(\w+) =", body)
    yield from man.wanted(root)


def faults(root, out):
    pages = {file.name: file.read_text(encoding="utf-8") for file in out.glob("*.html")}
    found = json.loads((out / "found.js").read_text(encoding="utf-8").split("=", 1)[1].rstrip(";\n"))
    titles = {title: words for title, _, words in found}
    if "ATTN_BLAS" not in titles["attn_context_options.blas"]:
        yield "the search does not know what is said above a field"
    yield from (f"the search does not know {name}" for name in declared(root) if name not in titles)
    for title, where, _ in found:
        page, _, anchor = where.partition("#")
        if anchor and f'id="{anchor}"' not in pages[page] and f"id={anchor}>" not in pages[page]:
            yield f"{title} is not at {where}"
    for name, page in pages.items():
        navigation = page.split("</nav>")[0]
        yield from (f"{file.name} is not in the navigation of {name}" for file in (root / "docs").glob("*.md")
                    if f'href="{file.stem}.html"' not in navigation)
        yield from (f"{name} loads {what}" for what in re.findall(r'(?:src|stylesheet href)="(\w+:[^"]*)"', page))


def main(root, out):
    if not shutil.which("cmark-gfm"):
        print("site.py: no cmark-gfm here")
        return 77
    shutil.rmtree(out, ignore_errors=True)
    subprocess.run([sys.executable, "-B", root / "docs" / "tools" / "site.py", root, out], check=True)
    found = list(faults(root, out))
    print("\n".join(found) or f"{len(set(declared(root)))} names are found")
    return bool(found) | links.main([out])


if __name__ == "__main__":
    sys.exit(main(*(pathlib.Path(argument).resolve() for argument in sys.argv[1:])))
