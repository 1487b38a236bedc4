# SPDX-License-Identifier: BSD-3-Clause
"""Token ids against the `tokenizers` package: check_tokenizer.py ATTN_LENS MODEL

Thousands of lines of mixed scripts, then every code point of Unicode. That package knows the categories of Unicode 8, of
2015, and starts one range of CJK 256 code points late; where later characters differ for that reason is counted and
limited, and must be outside of the blocks that text is made of."""
import os
import subprocess
import sys
import tempfile
import unicodedata

import numpy as np

import reference

# First and last code points of characters to mix.
SCRIPTS = [(0x20, 0x7E), (0xA0, 0x17F), (0x180, 0x24F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x52F), (0x5D0, 0x5EA),
           (0x620, 0x669), (0x900, 0x97F), (0xE01, 0xE5B), (0x1E00, 0x1FFF), (0x2000, 0x206F), (0x20A0, 0x20BE),
           (0x2100, 0x2BFF), (0x3000, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xF900, 0xFAFF), (0xFF00, 0xFFEF),
           (0x1F300, 0x1F64F), (0x20000, 0x2A6DF), (0x00, 0x1F), (0x7F, 0x9F), (0xE000, 0xE010)]
# No differences are excused in these.
PLAIN = [(0, 0x5FF), (0x1E00, 0x2E42), (0x3000, 0xA63F), (0xAC00, 0xFFFF), (0x1F000, 0x1FAFF), (0x20000, 0x2B81F)]
EXCUSED = 850
PIECES = ["[CLS]", "[SEP]", "[MASK]", "[UNK]", "##s", "don't", "U.S.A.", "e\u0301", "👩‍👩‍👧", "ﬃ", "İ", "ß", "x" * 100,
          "y" * 101, "é" * 101, "z" * 5000]


def mixed_lines(count):
    random = np.random.default_rng(3)
    words = [w for w in open(os.path.join(sys.argv[2], "vocab.txt"), encoding="utf-8").read().split("\n") if w]
    for _ in range(count):
        line = []
        for _ in range(random.integers(0, 20)):
            kind = random.integers(0, 10)
            if kind < 4:
                line.append(words[random.integers(len(words))].replace("##", "" if kind else "##"))
            elif kind < 5:
                line.append(PIECES[random.integers(len(PIECES))])
            else:
                low, high = SCRIPTS[random.integers(len(SCRIPTS))]
                line.append("".join(chr(c) for c in random.integers(low, high + 1, random.integers(1, 12))))
            line.append(("", " ", "  ", "\t", "\u3000")[min(random.integers(0, 12), 4) if random.integers(2) else 1])
        yield "".join(line).replace("\n", "").rstrip("\r")


def lens_ids(lens, folder, lines):
    with tempfile.NamedTemporaryFile("wb") as file:
        file.write("".join(line + "\n" for line in lines).encode())
        file.flush()
        done = subprocess.run([lens, "tokens", file.name, "--model", folder], check=True, capture_output=True, text=True)
    return done.stdout.split("\n")[:-1]


def differences(lens, folder, lines):
    tokenizer = reference.tokenizer(folder)
    got = lens_ids(lens, folder, lines)
    assert len(got) == len(lines), (len(got), len(lines))
    for first in range(0, len(lines), 20000):
        part = slice(first, first + 20000)
        for line, ids, encoding in zip(lines[part], got[part], tokenizer.encode_batch(lines[part])):
            if ids != " ".join(map(str, encoding.ids)):
                yield line


def main(lens, folder):
    lines = list(mixed_lines(5000))
    bad = list(differences(lens, folder, lines))
    print(f"{len(lines)} mixed lines: {len(bad)} differ")
    for line in bad[:5]:
        print(ascii(line))
    codes = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000 and c != 10]
    odd = [ord(line[1]) for line in differences(lens, folder, [f"a{chr(c)}b C{chr(c)}d" for c in codes])]
    plain = [c for c in odd if any(low <= c <= high for low, high in PLAIN)]
    print(f"{len(codes)} code points: {len(odd)} differ (at most {EXCUSED}), {len(plain)} of them in common blocks")
    for c in plain[:5]:
        print(hex(c), unicodedata.name(chr(c), "?"))
    return 1 if bad or plain or len(odd) > EXCUSED else 0


sys.exit(main(*sys.argv[1:]))
