# SPDX-License-Identifier: BSD-3-Clause
"""Writes golden/vocab.txt and golden/ids.txt for golden/lines.txt: golden.py MODEL

The vocabulary is the model's, less what the lines do not need, so that the test needs no download."""
import os
import sys

from tokenizers import BertWordPieceTokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden")


def encode(vocabulary, lines):
    tokenizer = BertWordPieceTokenizer(vocabulary, lowercase=True)
    return [tokenizer.encode(line) for line in lines]


with open(os.path.join(folder, "lines.txt"), encoding="utf-8", newline="\n") as file:
    lines = file.read().split("\n")[:-1]
used = {token for encoding in encode(os.path.join(sys.argv[1], "vocab.txt"), lines) for token in encoding.tokens}
small = os.path.join(folder, "vocab.txt")
with open(small, "w", encoding="utf-8", newline="\n") as file:
    file.write("\n".join(SPECIAL + sorted(used - set(SPECIAL))) + "\n")
with open(os.path.join(folder, "ids.txt"), "w", encoding="utf-8", newline="\n") as file:
    for encoding in encode(small, lines):
        file.write(" ".join(map(str, encoding.ids)) + "\n")
