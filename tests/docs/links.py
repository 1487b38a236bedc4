# SPDX-License-Identifier: BSD-3-Clause
"""links.py FOLDER...: the links of all pages below these folders, of Markdown or HTML, lead to files that are there,
and to anchors that they have. Those to other machines are not looked at. Folders called build, and hidden ones, are
left out."""
import html.parser
import os
import pathlib
import re
import sys
import urllib.parse


class Page(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.links, self.anchors = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.links += [found[name] for name in ("href", "src") if name in found]
        self.anchors.add(found.get("id"))


def anchors(text):
    """As GitHub makes them of headings."""
    found = {}
    for heading in re.findall(r"^#+ (.*)", text, re.M):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").strip().lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found[slug] = found.get(slug, -1) + 1
    return {f"{slug}-{n}" if n else slug for slug, count in found.items() for n in range(count + 1)}


def read(file):
    """Links and anchors of a page."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".html":
        page = Page(text)
        return page.links, page.anchors
    text = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`(?!\]\()", "", text)), anchors(text)


def pages(folder):
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name != "build" and not name.startswith(".")]
        yield from (pathlib.Path(root, file) for file in files if file.endswith((".md", ".html")) and file[0] != ".")


def fault(file, link, known):
    """What is wrong with a link, or None."""
    path, _, anchor = urllib.parse.unquote(link).partition("#")
    if re.match(r"\w+:", path):
        return None
    target = (file.parent / path).resolve() if path else file
    if not target.exists():
        return "leads nowhere"
    if anchor and target in known and anchor not in known[target][1]:
        return "has no such anchor"
    return None


def main(folders):
    files = [file for folder in folders for file in pages(folder)]
    known = {file: read(file) for file in files}
    faults = [f"{file}: {link} {what}" for file, (links, _) in known.items() for link in links
              if (what := fault(file, link, known))]
    print("\n".join(faults) or f"{sum(len(links) for links, _ in known.values())} links of {len(files)} pages")
    return bool(faults) or not files


if __name__ == "__main__":
    sys.exit(main([pathlib.Path(folder).resolve() for folder in sys.argv[1:]]))
