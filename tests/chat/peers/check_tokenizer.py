# SPDX-License-Identifier: BSD-3-Clause
"""Token ids against the `tokenizers` package: check_tokenizer.py ATTN_CHAT MODEL

2,000 lines of words, code, numbers, white space, special tokens and mixed scripts. Digits and spaces that Unicode got
after the version that the package knows are not among them."""
import subprocess
import sys
import tempfile

import numpy as np

import vocabulary

# First and last code points of characters to mix.
SCRIPTS = [(0x20, 0x7E), (0xA0, 0x17F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x52F), (0x5D0, 0x5EA), (0x620, 0x669),
           (0x900, 0x97F), (0xE01, 0xE5B), (0x1E00, 0x1FFF), (0x2000, 0x206F), (0x20A0, 0x20BE), (0x2100, 0x2BFF),
           (0x3000, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xF900, 0xFAD9), (0xFF01, 0xFFEE), (0x1F300, 0x1F64F),
           (0x20000, 0x2A6D6), (0x00, 0x1F), (0x7F, 0x9F), (0xE000, 0xE010)]
PIECES = ["don't", "it's", "I'll", "we've", "'re", "'S", "3.14159", "1,000", "x2", "U.S.A.", "e\u0301", "👩‍👩‍👧", "ﬃ", "½", "²",
          "٣", "x" * 100, "é" * 101, "z" * 5000, "for (int i = 0; i < n; i++) {", "https://a.b/c?d=e", "<|im_start|>",
          "<|im_end|>", "<|im_start", "<|endoftext|>", "    return x;", "\t\tif"]
SPACES = ["", " ", " ", " ", "  ", "   ", "\t", "\u3000", "\u00a0", "\r"]


def mixed_lines(count, words):
    random = np.random.default_rng(3)
    for _ in range(count):
        line = []
        for _ in range(random.integers(0, 20)):
            kind = random.integers(0, 10)
            if kind < 5:
                line.append(words[random.integers(len(words))])
            elif kind < 7:
                line.append(PIECES[random.integers(len(PIECES))])
            else:
                low, high = SCRIPTS[random.integers(len(SCRIPTS))]
                line.append("".join(chr(c) for c in random.integers(low, high + 1, random.integers(1, 12))))
            line.append(SPACES[random.integers(len(SPACES))])
        yield "".join(line).replace("\n", "").rstrip("\r")


def main(chat, model):
    tokenizer = vocabulary.load(model)
    words = [tokenizer.decode([i]).replace("\n", " ") for i in range(100, tokenizer.get_vocab_size(), 7)]
    lines = list(mixed_lines(2000, words))
    with tempfile.NamedTemporaryFile("wb") as file:
        file.write("".join(line + "\n" for line in lines).encode())
        file.flush()
        done = subprocess.run([chat, "tokens", file.name, "--model", model], check=True, capture_output=True, text=True)
    got = done.stdout.split("\n")[:-1]
    assert len(got) == len(lines), (len(got), len(lines))
    bad = [line for line, ids in zip(lines, got) if ids != " ".join(map(str, tokenizer.encode(line).ids))]
    print(f"{len(lines)} lines, {sum(len(ids.split()) for ids in got)} tokens: {len(bad)} lines differ")
    for line in bad[:5]:
        print(ascii(line[:200]))
    return 1 if bad else 0


sys.exit(main(*sys.argv[1:]))
