# SPDX-License-Identifier: BSD-3-Clause
"""Embeds 1,000 sentences of mixed length, in turns with ONNX Runtime: speed.py ATTN_LENS MODEL [ROUNDS]

ONNX Runtime gets its fastest form of the model and batches of 32 padded to their longest sentence, in the order of the
file and, as sentence-transformers does it, sorted by length. Tokenising is left out on both sides."""
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

import reference

BATCH = 32


def sentences(count):
    """Lengths as in real text: many short ones, a tail of long ones (3 to 100 words, median 14)."""
    random = np.random.default_rng(1)
    words = ("the a cat dog river market small old blue reads writes sleeps quickly under over because while when city "
             "music science water engine history paper garden winter attention network question answer").split()
    lengths = np.clip(np.exp(random.normal(2.65, 0.7, count)), 3, 100).astype(int)
    return [" ".join(random.choice(words, length)) + "." for length in lengths]


def run_onnx(session, ids, order):
    start = time.perf_counter()
    vectors = [None] * len(ids)
    for first in range(0, len(order), BATCH):
        batch = order[first : first + BATCH]
        longest = max(len(ids[i]) for i in batch)
        padded = np.zeros((len(batch), longest), np.int64)
        mask = np.zeros_like(padded)
        for row, i in enumerate(batch):
            padded[row, : len(ids[i])] = ids[i]
            mask[row, : len(ids[i])] = 1
        for i, vector in zip(batch, session.run(None, {"ids": padded, "mask": mask})[-1]):
            vectors[i] = vector
    return time.perf_counter() - start, np.stack(vectors)


def run_lens(lens, folder, threads, lines, vectors):
    done = subprocess.run([lens, "embed", lines, "--model", folder, "--threads", str(threads), "--npy", vectors, "--time"],
                          check=True, stderr=subprocess.PIPE, text=True)
    return float(re.search(r"encode ([0-9.]+) s", done.stderr)[1]), np.load(vectors)


def compare(lens, folder, threads, rounds, scratch):
    texts = sentences(1000)
    lines = os.path.join(scratch, "lines.txt")
    with open(lines, "w", encoding="utf-8") as file:
        file.write("\n".join(texts) + "\n")
    ids = [encoding.ids for encoding in reference.tokenizer(folder).encode_batch(texts)]
    session = reference.fused_session(folder, threads)
    in_order = list(range(len(ids)))
    by_length = sorted(in_order, key=lambda i: -len(ids[i]))
    times = {"libattn": [], "padded": [], "sorted": []}
    run_onnx(session, ids, by_length)
    for _ in range(rounds):
        seconds, got = run_lens(lens, folder, threads, lines, os.path.join(scratch, "vectors.npy"))
        times["libattn"].append(seconds)
        for name, order in (("padded", in_order), ("sorted", by_length)):
            seconds, wanted = run_onnx(session, ids, order)
            times[name].append(seconds)
    own = statistics.median(times["libattn"])
    print(f"{threads} thread{'s'[: threads > 1]}: libattn {own:.3f} s", end="")
    for name in ("padded", "sorted"):
        other = statistics.median(times[name])
        print(f"; ONNX Runtime, {name} batches {other:.3f} s, ratio {other / own:.2f}", end="")
    print(f"; largest difference {np.max(np.abs(got - wanted)):.1e}")


def main(lens, folder, rounds="5"):
    with tempfile.TemporaryDirectory() as scratch:
        for threads in (1, 2):
            compare(lens, folder, threads, int(rounds), scratch)


main(*sys.argv[1:])
