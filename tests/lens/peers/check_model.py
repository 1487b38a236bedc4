# SPDX-License-Identifier: BSD-3-Clause
"""Hidden states, attention weights and embeddings against ONNX Runtime: check_model.py ATTN_LENS MODEL"""
import os
import subprocess
import sys
import tempfile

import numpy as np

import reference

LIMIT = 1e-5
SENTENCES = [
    "The cat sat on mat",
    "A cat sat on the mat because it was tired of the unbelievably long walk home.",
    "Attention is all you need.",
    "x",
    "",
    "naïve café 東京 тест 🙂 antidisestablishmentarianism",
    "word " * 200,
]


def largest(name, got, wanted):
    assert got.shape == wanted.shape, (name, got.shape, wanted.shape)
    error = float(np.max(np.abs(got - wanted))) if np.isfinite(got).all() else float("nan")
    return error


def main(lens, folder):
    session = reference.plain_session(folder)
    tokenizer = reference.tokenizer(folder)
    layers = reference.config(folder)["num_hidden_layers"]
    worst = {"hidden states": 0.0, "attention weights": 0.0, "embeddings": 0.0}
    with tempfile.TemporaryDirectory() as scratch:
        embeddings = []
        for sentence in SENTENCES:
            subprocess.run([lens, "trace", sentence, "--model", folder, "--out", scratch], check=True)
            ids = np.array([tokenizer.encode(sentence).ids], np.int64)
            *states, embedding = session.run(None, {"ids": ids, "mask": np.ones_like(ids)})
            pairs = [("hidden states", "hidden.npy", np.stack([s[0] for s in states[: layers + 1]])),
                     ("attention weights", "attention.npy", np.stack([s[0] for s in states[layers + 1 :]]))]
            for name, file, wanted in pairs:
                error = largest(name, np.load(os.path.join(scratch, file)), wanted)
                worst[name] = max(worst[name], error) if error == error else error
            embeddings.append(embedding[0])
        vectors = os.path.join(scratch, "vectors.npy")
        subprocess.run([lens, "embed", "--model", folder, "--npy", vectors], check=True,
                       input="\n".join(SENTENCES).encode() + b"\n")
        worst["embeddings"] = largest("embeddings", np.load(vectors), np.stack(embeddings))
    for name, error in worst.items():
        print(f"{name}: largest difference from ONNX Runtime {error:.2e}")
    return 0 if all(error <= LIMIT for error in worst.values()) else 1


sys.exit(main(*sys.argv[1:]))
