# SPDX-License-Identifier: BSD-3-Clause
"""Writes golden/quants.txt and golden/ids.txt: golden.py TINY

A block of each number format, random bytes in hexadecimal, and its numbers as the gguf package has them. The token ids
of golden/lines.txt, as the tokenizers package has them with the vocabulary of TINY, which chat_make_tiny writes."""
import os
import sys

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize

import vocabulary

folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden")
HALVES = {"Q4_0": [0], "Q4_1": [0, 2], "Q8_0": [0], "Q4_K": [0, 2], "Q6_K": [208], "F16": [0], "BF16": [], "F32": []}

random = np.random.default_rng(5)
with open(os.path.join(folder, "quants.txt"), "w", encoding="utf-8", newline="\n") as file:
    for name, halves in HALVES.items():
        kind = GGMLQuantizationType[name]
        block = random.integers(0, 256, GGML_QUANT_SIZES[kind][1], dtype=np.uint8)
        for at in halves:
            block[at:at + 2] = np.frombuffer(np.float16(random.normal()).tobytes(), np.uint8)
        if name in ("BF16", "F32"):
            block = np.frombuffer(np.float32(random.normal()).tobytes(), np.uint8)[-len(block):]
        numbers = dequantize(block, kind).astype(np.float32).ravel()
        file.write(f"{int(kind)} {bytes(block).hex()} {len(numbers)}")
        file.write("".join(f" {x:.9g}" for x in numbers) + "\n")

tokenizer = vocabulary.load(sys.argv[1])
with open(os.path.join(folder, "lines.txt"), encoding="utf-8", newline="\n") as file:
    lines = file.read().split("\n")[:-1]
with open(os.path.join(folder, "ids.txt"), "w", encoding="utf-8", newline="\n") as file:
    for line in lines:
        file.write(" ".join(map(str, tokenizer.encode(line).ids)) + "\n")
