# SPDX-License-Identifier: BSD-3-Clause
"""Logits and greedy answers against a graph in PyTorch: check_model.py ATTN_CHAT MODEL

The graph is built here, in double precision, from the weights as the gguf package dequantises them. Logits of fixed
texts with f32 weights must agree to 1e-4 of the largest, and answers of 64 tokens be the same."""
import subprocess
import sys
import tempfile

import numpy as np
import torch
from gguf import GGUFReader, dequantize

import vocabulary

TEXTS = ["The capital of France is", "def fibonacci(n):\n    if n < 2:\n        return n\n    return",
         "<|im_start|>user\nWhat is 2 + 2?<|im_end|>\n<|im_start|>assistant\n", "Once upon a time, " * 40]
PROMPTS = ["Tell me about the sea.", "What is the capital of Italy, and what can I see there?", "Write a short poem."]
ANSWER = 64


class Llama:
    def __init__(self, path):
        reader = GGUFReader(path)
        field = {name: f.contents() for name, f in reader.fields.items() if not name.startswith("tokenizer")}
        self.template = reader.fields["tokenizer.chat_template"].contents()
        self.layers, self.heads, self.groups = (field["llama." + name] for name in
                                                ("block_count", "attention.head_count", "attention.head_count_kv"))
        self.eps, self.base = field["llama.attention.layer_norm_rms_epsilon"], field["llama.rope.freq_base"]
        self.weight = {t.name: torch.from_numpy(dequantize(t.data, t.tensor_type).astype(np.float64))
                       for t in reader.tensors}

    def norm(self, x, name):
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + self.eps) * self.weight[name]

    def turn(self, x):  # [heads, tokens, width], neighbours are pairs
        width = x.shape[-1]
        angle = torch.arange(x.shape[1], dtype=x.dtype)[:, None] * self.base ** (
            -torch.arange(0, width, 2, dtype=x.dtype) / width)
        a, b = x[..., 0::2], x[..., 1::2]
        return torch.stack((a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()), -1).flatten(-2)

    def attend(self, x, prefix):
        def heads(name, count):
            return (x @ self.weight[f"{prefix}{name}.weight"].T).view(len(x), count, -1).transpose(0, 1)

        q, k, v = self.turn(heads("attn_q", self.heads)), self.turn(heads("attn_k", self.groups)), heads("attn_v", self.groups)
        k, v = (t.repeat_interleave(self.heads // self.groups, 0) for t in (k, v))
        scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
        scores = scores.masked_fill(torch.ones(len(x), len(x)).triu(1).bool(), -torch.inf)
        return (scores.softmax(-1) @ v).transpose(0, 1).flatten(1) @ self.weight[prefix + "attn_output.weight"].T

    def logits(self, ids):
        x = self.weight["token_embd.weight"][ids]
        for layer in range(self.layers):
            prefix = f"blk.{layer}."
            x = x + self.attend(self.norm(x, prefix + "attn_norm.weight"), prefix)
            y = self.norm(x, prefix + "ffn_norm.weight")
            gate, up = (y @ self.weight[f"{prefix}ffn_{name}.weight"].T for name in ("gate", "up"))
            x = x + (torch.nn.functional.silu(gate) * up) @ self.weight[prefix + "ffn_down.weight"].T
        head = self.weight.get("output.weight", self.weight["token_embd.weight"])
        return self.norm(x, "output_norm.weight") @ head.T


def run(*arguments):
    return subprocess.run(arguments, check=True, capture_output=True).stdout


def check_logits(chat, path, model, tokenizer):
    worst = 0
    for text in TEXTS:
        with tempfile.NamedTemporaryFile("wb") as file, tempfile.NamedTemporaryFile("rb") as out:
            file.write(text.encode())
            file.flush()
            run(chat, "logits", file.name, "--out", out.name, "--model", path, "--weights", "f32", "--cache", "f32")
            got = np.fromfile(out.name, np.float32)
        want = model.logits(tokenizer.encode(text).ids).numpy()
        error = np.abs(got.reshape(want.shape) - want).max() / np.abs(want).max()
        print(f"{len(want)} tokens: largest error {error:.1e} of the largest logit")
        worst = max(worst, error)
    return worst < 1e-4


def greedy(model, tokenizer, ids, text):
    """The likeliest tokens for as long as they spell `text`, and whether they end with it. Many are tried at once: the
    tokens that the rest of the text has, up to the first that is not the likeliest."""
    known = []
    while True:
        guess = known + tokenizer.encode(text[len(tokenizer.decode(known)):]).ids
        want = model.logits(ids + guess)[len(ids) - 1:].argmax(-1).tolist()
        right = next((i for i, (a, b) in enumerate(zip(guess, want)) if a != b), len(guess))
        known = guess[:right]
        if right == len(guess):
            return known, right == ANSWER or want[right] == tokenizer.token_to_id("<|im_end|>")
        known.append(want[right])
        if not text.startswith(tokenizer.decode(known)):
            return known, False
        if len(known) == ANSWER:
            return known, tokenizer.decode(known) == text


def check_answers(chat, path, model, tokenizer):
    good = True
    system = model.template.split("<|im_start|>system\n")[1].split("<|im_end|>")[0]
    for prompt in PROMPTS:
        ids = tokenizer.encode(f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{prompt}<|im_end|>\n"
                               "<|im_start|>assistant\n").ids
        got = run(chat, "chat", "-p", prompt, "--most", str(ANSWER), "--model", path, "--weights", "f32", "--cache",
                  "f32").decode()[:-1]
        answer, same = greedy(model, tokenizer, ids, got)
        print(f"{prompt} {len(answer)} tokens: {'the same' if same else 'they differ'}")
        good &= same
    return good


def main(chat, path):
    torch.set_grad_enabled(False)
    model, tokenizer = Llama(path), vocabulary.load(path)
    good = check_logits(chat, path, model, tokenizer)
    return 0 if check_answers(chat, path, model, tokenizer) and good else 1


sys.exit(main(*sys.argv[1:]))
