#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The network of train.c in PyTorch, from the same initial weights, on the same batches, with PyTorch's own AdamW: the
losses of each step agree to 1e-3. From the root of the project:

    sh tests/peers/venv.sh python3 build/torch tests/peers/torch_requirements.txt
    build/torch/bin/python examples/train/same.py build/release/examples/example_train [--steps 200]
    build/torch/bin/python examples/train/same.py build/release/examples/example_train --time [--threads 1 2]

--time compares the time of a whole step (forward, backward, AdamW) of 6 layers, M = 384, B = 8, T = 256, in turns.
"""
import argparse
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
import torch.nn.functional as F

RATE, LOSS = 0, 1


def run(program, record, *options):
    """Trains; returns seconds a step."""
    texts = sorted(pathlib.Path(__file__).parents[2].glob("include/attn/*.h"))
    done = subprocess.run([program, *options, "--letters", "0", "--record", record, *texts], check=True,
                          capture_output=True, text=True)
    sizes = np.fromfile(record, np.uint64, 7)
    return int(sizes[2] * sizes[3]) / float(re.search(r"([0-9]+) tokens/s", done.stderr)[1])


class Record:
    """What train.c wrote: sizes, initial weights, then of each step its tokens and targets, rate and loss."""

    def __init__(self, path):
        data = pathlib.Path(path).read_bytes()
        self.V, self.L, self.B, self.T, self.M, self.H, count = np.frombuffer(data, np.uint64, 7).astype(int).tolist()
        self.weights = torch.tensor(np.frombuffer(data, np.float32, count, 56))
        step = [("ids", np.int64, (2, self.B, self.T)), ("numbers", np.float64, 2)]
        self.steps = np.frombuffer(data, step, offset=56 + 4 * count)


class Gpt:
    def __init__(self, record):
        V, L, T, M = record.V, record.L, record.T, record.M
        norm, shapes = [(M,), (M,)], [(V, M), (T, M)]
        for _ in range(L):
            shapes += norm + [(3 * M,), (3 * M, M), (M,), (M, M)] + norm + [(4 * M,), (4 * M, M), (M,), (M, 4 * M)]
        shapes += norm + [(V, M)]
        pieces = record.weights.split([int(np.prod(shape)) for shape in shapes])
        self.weights = [torch.nn.Parameter(p.reshape(shape).clone()) for p, shape in zip(pieces, shapes)]
        self.M, self.H = M, record.H
        self.adamw = torch.optim.AdamW(self.weights, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.01)

    def block(self, x, n1, c1, qkv_bias, qkv, out_bias, out, n2, c2, up_bias, up, down_bias, down):
        B, T, M = x.shape
        heads = F.linear(F.layer_norm(x, (M,), n1, c1), qkv, qkv_bias).view(B, T, 3, self.H, M // self.H)
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(B, T, M)
        x = x + F.linear(seen, out, out_bias)
        return x + F.linear(F.gelu(F.linear(F.layer_norm(x, (M,), n2, c2), up, up_bias)), down, down_bias)

    def step(self, ids, targets, rate):
        tokens, positions, *layers, norm, shift, head = self.weights
        x = F.embedding(ids, tokens) + positions
        for layer in range(0, len(layers), 12):
            x = self.block(x, *layers[layer : layer + 12])
        logits = F.linear(F.layer_norm(x, (self.M,), norm, shift), head)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        self.adamw.param_groups[0]["lr"] = rate
        self.adamw.zero_grad()
        loss.backward()
        self.adamw.step()
        return loss.item()

    def replay(self, steps):
        """Losses, and seconds a step."""
        begin = time.perf_counter()
        losses = [self.step(*torch.tensor(step["ids"]), step["numbers"][RATE]) for step in steps]
        return np.array(losses), (time.perf_counter() - begin) / len(steps)


def compare_losses(program, path, steps):
    run(program, path, "--steps", steps)
    record = Record(path)
    losses, _ = Gpt(record).replay(record.steps)
    apart = np.abs(losses - record.steps["numbers"][:, LOSS])
    for step in range(0, len(losses), max(1, len(losses) // 10)):
        print(f"step {step + 1:4}: libattn {record.steps['numbers'][step, LOSS]:.6f}, PyTorch {losses[step]:.6f}")
    print(f"{len(losses)} steps: the losses are at most {apart.max():.1e} apart")
    return not apart.max() <= 1e-3


def compare_times(program, path, threads, rounds=5):
    sizes = "--layers 6 --width 384 --heads 6 --batch 8 --tokens 256 --steps 3".split()
    run(program, path, *sizes)
    record = Record(path)
    gpt = Gpt(record)
    for n in threads:
        torch.set_num_threads(int(n))
        gpt.replay(record.steps)
        times = [(run(program, path, *sizes, "--threads", n), gpt.replay(record.steps)[1]) for _ in range(rounds)]
        ours, theirs = (statistics.median(t) for t in zip(*times))
        ratio = statistics.median(theirs / ours for ours, theirs in times)
        print(f"{n} threads: libattn {ours * 1e3:.0f} ms a step, PyTorch {theirs * 1e3:.0f} ms, {ratio:.2f} times")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--steps", default="200")
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--threads", nargs="+", default=["1", "2"])
    options = parser.parse_args()
    with tempfile.NamedTemporaryFile() as record:
        if options.time:
            compare_times(options.program, record.name, options.threads)
        else:
            sys.exit(compare_losses(options.program, record.name, options.steps))


if __name__ == "__main__":
    main()
