# SPDX-License-Identifier: BSD-3-Clause
"""site.py ROOT OUT: writes the site to the folder OUT: docs/*.md, the pages that they lead to, and the headers. Needs
cmark-gfm. Whatever it links to is in OUT: it is read without a network."""
import html
import json
import pathlib
import re
import shutil
import subprocess
import sys

import headers
import text

# Pages of docs/ in the order of the navigation, those that are not named here behind them; and pages from elsewhere.
ORDER = ["start", "layouts", "masks", "decoding", "threads", "accuracy", "determinism", "blas", "performance",
         "training", "models", "design"]
ELSEWHERE = {"README.md": "readme", "src/README.md": "source", "bench/README.md": "bench",
             "examples/chat/README.md": "chat", "examples/lens/README.md": "lens"}


class Site:
    def __init__(self, root):
        self.root = root
        self.top, *self.headers = headers.read_all(root / "include" / "attn")
        self.pages = pages(root)  # file: name of the page
        self.known = {}  # identifier: where it is
        self.pictures = set()
        # What the search looks through: [title, where, text].
        self.found = [["Dimension letters", "index.html#letters", legend(self)],
                      ["attn/attn.hpp", "attn.hpp.html", "C++"]]
        for header in self.headers:
            self.found.append([f"attn/{header.file}", f"{header.file}.html", header.comment])
            for item in header.items:
                self.know(header, item)

    def know(self, header, item):
        where = f"{header.file}.html#{item.name}"
        self.known[item.name] = where
        self.found.append([item.name, where, item.comment])
        above = None
        for member in item.members:
            above = above if member.code else member
            words = member.comment or (above.comment if above and above.group == member.group else "")
            for name in names(member.code):
                value = item.kind == "enum"
                at = f"{header.file}.html#{name if value else item.name + '.' + name}"
                self.known.update({name: at} if value else {})
                self.found.append([name if value else f"{item.name}.{name}", at, words])


def pages(root):
    own = sorted((root / "docs").glob("*.md"), key=lambda file: (ORDER + [file.stem]).index(file.stem))
    found = {file: file.stem for file in own}
    return found | {root / file: name for file, name in ELSEWHERE.items() if (root / file).exists()}


def names(code):
    """What a member, or the members of one declaration, are called."""
    if "(*" in code:
        return re.findall(r"\(\*(\w+)\)", code)
    code = re.sub(r"\[.*?\]| = .*", "", code)
    return [re.search(r"(\w+)$", part.strip()).group(1) for part in code.split(",")] if code else []


def known(site, words):
    """HTML without links, in which what is documented becomes one."""
    def link(name):
        where = site.known.get(name.group())
        return f'<a href="{where}">{name.group()}</a>' if where else name.group()

    return re.sub(r"\b(attn|ATTN)_\w+", link, words)


def linked(site, words):
    """Text as HTML."""
    return known(site, re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(words, quote=False)))


def part(site, kind, content):
    if kind == "para":
        return f"<p>{linked(site, content)}</p>"
    if kind == "quote":
        return f"<blockquote>{linked(site, content)}</blockquote>"
    if kind == "code":
        return f"<pre>{linked(site, content)}</pre>"
    if kind == "points":
        return "<ul>" + "".join(f"<li>{linked(site, point)}</li>" for point in content) + "</ul>"
    rows = (f"<tr><th>{linked(site, name)}</th><td>{linked(site, words)}</td></tr>" for name, words in content)
    return "<table>" + "".join(rows) + "</table>"


def comment(site, words):
    return "\n".join(part(site, kind, content) for kind, content in text.parts(words)) if words else ""


def members(site, item):
    lines = []
    for codes, words in text.grouped(item.members):
        for code in codes:
            ids = [name if item.kind == "enum" else f"{item.name}.{name}" for name in names(code)]
            spans = "".join(f'<span id="{name}"></span>' for name in ids)
            lines.append(f"<dt>{spans}<code>{linked(site, code)}</code></dt>")
        lines.append(f"<dd class={'words' if codes else 'note'}>{comment(site, words)}</dd>")
    return "<dl>" + "\n".join(lines) + "</dl>" if lines else ""


def declared(site, item):
    code = re.sub(r"\{.*\}", "{ … }", item.code, flags=re.S)
    return (f'<section id="{item.name}"><h2>{item.name}</h2>\n<pre>{linked(site, code)}</pre>\n'
            f"{comment(site, item.comment)}\n{members(site, item)}</section>")


def header_page(site, header):
    listed = "".join(f'<tr><th><a href="#{item.name}">{item.name}</a></th>'
                     f"<td>{linked(site, text.brief(item.comment) or item.kind)}</td></tr>" for item in header.items)
    return (f"<h1>attn/{header.file}</h1>\n{comment(site, header.comment)}\n<table>{listed}</table>\n"
            + "\n".join(declared(site, item) for item in header.items))


def source_page(site, file):
    """A header that is shown as it is."""
    code = known(site, html.escape(file.read_text(encoding="utf-8"), quote=False))
    return f"<h1>attn/{file.name}</h1>\n<pre>{code}</pre>"


def slug(heading):
    return re.sub(r"[^\w\- ]", "", html.unescape(re.sub(r"<.*?>", "", heading)).strip().lower()).replace(" ", "-")


def moved(site, file, link):
    """A link of a page of Markdown on the site; None where it leads out of it."""
    path, hash_mark, anchor = link.partition("#")
    if re.match(r"\w+:", link) or not path:
        return link
    target = (file.parent / path).resolve()
    if target in site.pages:
        return site.pages[target] + ".html" + hash_mark + anchor
    if target.parent == site.root / "include" / "attn":
        return "index.html" if target.stem == "attn" else target.name + ".html"
    if target.suffix == ".svg":
        site.pictures.add(target)
        return target.name
    return None


def markdown(site, file):
    """A page of Markdown as HTML, with anchors as GitHub has them."""
    run = subprocess.run(["cmark-gfm", "--unsafe", "-e", "table", file], capture_output=True, check=True)
    body = run.stdout.decode()
    seen = {}

    def heading(match):
        name = slug(match.group(2))
        seen[name] = seen.get(name, -1) + 1
        anchor = f"{name}-{seen[name]}" if seen[name] else name
        return f'<h{match.group(1)} id="{anchor}">{match.group(2)}</h{match.group(1)}>'

    def link(match):
        where = moved(site, file, html.unescape(match.group(1)))
        return f'<a href="{html.escape(where)}">{match.group(2)}</a>' if where else match.group(2)

    def picture(match):
        return f'<img src="{moved(site, file, match.group(1))}"'

    body = re.sub(r"<h(\d)>(.*?)</h\1>", heading, body)
    body = re.sub(r'<a href="(.*?)">(.*?)</a>', link, body, flags=re.S)
    body = re.sub(r"(<a .*?</a>|<h\d.*?</h\d>)|(<code.*?>)(.*?)(?=</code>)",
                  lambda found: found.group(1) or found.group(2) + known(site, found.group(3)), body, flags=re.S)
    return re.sub(r'<img src="(.*?)"', picture, body)


def indexed(site, where, body):
    """Puts the sections of a page of Markdown into what is searched."""
    for section in re.split(r"(?=<h\d id)", body)[1:]:
        anchor, heading = re.match(r'<h\d id="(.*?)">(.*?)</h\d>', section).groups()
        words = html.unescape(re.sub(r"<.*?>", "", section.split("</h", 1)[1].split(">", 1)[1]))
        site.found.append([html.unescape(re.sub(r"<.*?>", "", heading)), f"{where}#{anchor}", words])


def legend(site):
    """What the letters mean: the head of tensor.h."""
    return next(header for header in site.headers if header.file == "tensor.h").comment


def front(site):
    return (f"<h1>libattn</h1>\n{comment(site, site.top.comment)}\n<h2 id=letters>Dimension letters</h2>\n"
            f"{comment(site, legend(site))}")


def title(body):
    return html.unescape(re.sub(r"<.*?>", "", re.search(r"<h1.*?>(.*?)</h1>", body).group(1)))


def navigation(site, bodies, here):
    def entry(where, name):
        return f'<li><a href="{where}"{" class=here" if where == here else ""}>{html.escape(name)}</a></li>'

    written = [entry(f"{name}.html", title(bodies[f"{name}.html"])) for name in site.pages.values()]
    reference = [entry(where, title(bodies[where])) for where in bodies if where.endswith((".h.html", ".hpp.html"))]
    return ('<nav><a href="index.html">libattn</a><input id=search type=search placeholder="Search" aria-label=Search>'
            f"<ul id=found></ul><ul>{''.join(written)}</ul><ul>{''.join(reference)}</ul></nav>")


def main(root, out):
    site = Site(root)
    bodies = {"index.html": front(site)}
    for file, name in site.pages.items():
        bodies[f"{name}.html"] = markdown(site, file)
        indexed(site, f"{name}.html", bodies[f"{name}.html"])
    bodies |= {f"{header.file}.html": header_page(site, header) for header in site.headers}
    bodies["attn.hpp.html"] = source_page(site, root / "include" / "attn" / "attn.hpp")
    out.mkdir(parents=True, exist_ok=True)
    for where, body in bodies.items():
        page = (f'<!doctype html>\n<html lang=en><head><meta charset=utf-8><title>{html.escape(title(body))}</title>'
                '<meta name=viewport content="width=device-width"><link rel=stylesheet href="style.css"></head><body>\n'
                f"{navigation(site, bodies, where)}\n<main>{body}</main>\n"
                '<script src="found.js"></script><script src="search.js"></script></body></html>\n')
        (out / where).write_text(page, encoding="utf-8")
    (out / "found.js").write_text(f"const FOUND = {json.dumps(site.found, ensure_ascii=False)};\n", encoding="utf-8")
    for file in [*site.pictures, *(root / "docs" / "tools").glob("s*.[cj]s*")]:
        shutil.copy(file, out)


if __name__ == "__main__":
    main(*(pathlib.Path(argument).resolve() for argument in sys.argv[1:]))
