# SPDX-License-Identifier: BSD-3-Clause
"""libattn's cache and decoder block against ONNX Runtime's attention with a past: ort_cache.py LIBATTN_SO

Keys are rotated as they enter the cache; sequences of a batch are of different lengths from the prompt on.
"""

import itertools
import sys

import numpy as np
import ort

CAPACITY = 40
# Tokens of each sequence at first, and then of each at a time; ONNX Runtime takes several of one sequence only.
CALLS = (((7, 4, 1), (1, 1, 1)), ((5,), (3, 1, 4)))
SHAPES = ((6, 2, 32), (4, 1, 64), (3, 3, 48))  # H, G, D
ROTARY = ("none", "half", "interleaved", "partial")
SINKS = ("none", "smooth", "heads")


def angles(attn, kind, D, random):
    """Tables [CAPACITY, width/2] and attn_rotary, or None twice."""
    if kind == "none":
        return (None, None), None
    width = D if kind != "partial" else 16  # the least that ONNX Runtime can do
    angle = random.uniform(-3, 3, (CAPACITY, width // 2)).astype(np.float32)
    tables = np.cos(angle), np.sin(angle)
    kinds = {"interleaved": attn.c.ATTN_ROTARY_INTERLEAVED}
    rotary = attn.init("attn_rotary", kind=kinds.get(kind, attn.c.ATTN_ROTARY_HALF), width=width, positions=CAPACITY,
                       cos=attn.floats(tables[0]), sin=attn.floats(tables[1]))
    return tables, rotary


class Peer:
    """ONNX Runtime's GroupQueryAttention and its past."""

    def __init__(self, B, H, G, D, tables, sinks, **attributes):
        self.inputs = (*tables, None, None, sinks)
        self.attributes = dict(num_heads=H, kv_num_heads=G, **attributes)
        self.past = [np.zeros((B, G, 0, D), np.float32)] * 2

    def node(self, graph, q, k, v, lengths):
        """The name of the output, and of the present keys and values, once the sequences are so long."""
        return graph.node("GroupQueryAttention", q, k, v, *self.past, np.array(lengths - 1, np.int32),
                          np.array(max(lengths), np.int32), *self.inputs, outputs=3, **self.attributes)

    def __call__(self, q, k, v, lengths):
        graph = ort.Graph()
        out, *self.past = graph.run(*self.node(graph, q, k, v, lengths))
        return out


def calls(prompt, steps):
    """How many tokens each sequence gets at a time, and how long they are then."""
    lengths = np.array(prompt)
    yield lengths, lengths
    for count in steps:
        lengths = lengths + count
        yield np.full(len(prompt), count), lengths


def live(x, counts):
    """The tokens that are there, of [B,T,M]."""
    return np.concatenate([row[:count] for row, count in zip(x, counts)])


def group_query(attn, random):
    """GroupQueryAttention and attn_cache"""
    grid = itertools.product(CALLS, SHAPES, ROTARY, (0, 3), (0.0, 2.0), (0.0, -0.3), SINKS)
    for (prompt, steps), (H, G, D), kind, window, softcap, scale, sinks in grid:
        B, (tables, rotary) = len(prompt), angles(attn, kind, D, random)
        sink = random.standard_normal(H).astype(np.float32) * (sinks == "heads")
        peer = Peer(B, H, G, D, tables, sink if sinks == "heads" else None, do_rotary=int(kind != "none"),
                    rotary_interleaved=int(kind == "interleaved"), local_window_size=window or -1, softcap=softcap,
                    scale=scale, smooth_softmax=int(sinks == "smooth"))
        options = dict(causal=attn.c.ATTN_CAUSAL_BOTTOM_RIGHT, softcap=softcap, scale=scale, rotary=rotary,
                       sinks=attn.floats(sink) if sinks != "none" else None)
        caches = [attn.create("cache", batch=B, capacity=CAPACITY, kv_heads=G, head_width=D, window=w)
                  for w in sorted({0, window})]
        for counts, lengths in calls(prompt, steps):
            q, k, v = (random.standard_normal((B, max(counts), n * D), dtype=np.float32) for n in (H, G, G))
            want = live(peer(q, k, v, lengths), counts)
            of_append = attn.init("attn_cache_append_params", counts=attn.int64(counts), rotary=rotary)
            for cache, rolls in zip(caches, (False, True)):
                shown = attn.init("attn_window", left=window - 1, right=-1) if window and not rolls else None
                params = attn.init("attn_sdpa_params", query_lengths=attn.int64(counts), window=shown, **options)
                out = ort.unwritten(*q.shape)
                attn.call("attn_cache_append", cache, ort.split(k, G), ort.split(v, G), of_append)
                attn.call("attn_cache_attend", cache, ort.split(q, H), ort.split(out, H), params)
                yield (f"H={H} G={G} D={D} rotary={kind} window={window} rolls={rolls} softcap={softcap} scale={scale} "
                       f"sinks={sinks} lengths={lengths}", live(out, counts), want)


def with_past(attn, random):
    """MultiHeadAttention with a past and attn_cache"""
    B, P, CAUSAL = 3, 5, (attn.c.ATTN_CAUSAL_NONE, attn.c.ATTN_CAUSAL_BOTTOM_RIGHT)
    grid = itertools.product((1, 4), ((4, 16), (3, 24)), (0, 1), ("none", "shared", "heads"), (False, True), (0.0, 0.4))
    for T, (H, D), causal, bias, padded, scale in grid:
        def normal(*shape):
            return random.standard_normal(shape, dtype=np.float32)

        q, k, v, past_k, past_v = *(normal(B, T, H * D) for _ in "qkv"), normal(B, H, P, D), normal(B, H, P, D)
        scores = {"none": None, "shared": normal(1, 1, T, P + T), "heads": normal(B, H, T, P + T)}[bias]
        keep = random.random((B, P + T)) < 0.7
        keep[:, 0] = True  # a row without keys is the average of them in ONNX Runtime
        want = ort.run_node("MultiHeadAttention", q, k, v, None, keep.astype(np.int32) if padded else None, scores,
                            past_k, past_v, outputs=3, num_heads=H, unidirectional=causal, scale=scale)
        cache = attn.create("cache", batch=B, capacity=P + T, kv_heads=H, head_width=D)
        out = ort.unwritten(*q.shape)
        attn.call("attn_cache_append", cache, past_k, past_v, None)
        attn.call("attn_cache_append", cache, ort.split(k, H), ort.split(v, H), None)
        params = attn.init("attn_sdpa_params", causal=CAUSAL[causal], scale=scale, polarity=attn.c.ATTN_KEEP,
                           bias=None if scores is None else attn.view(scores),
                           key_mask=attn.view(keep[:, None, None]) if padded else None)
        attn.call("attn_cache_attend", cache, ort.split(q, H), ort.split(out, H), params)
        yield f"T={T} H={H} D={D} causal={causal} bias={bias} padded={padded} scale={scale}", out, want


def decoder(attn, random):
    """a layer around GroupQueryAttention and attn_block"""
    M = 40
    for (B, *counts), (H, G, D), kind in itertools.product(((2, 6, 1, 1, 1), (1, 5, 3, 1, 4)), SHAPES, ROTARY):

        def weight(width, size):
            return random.standard_normal((width, size), dtype=np.float32) / np.float32(np.sqrt(width))

        weights = {"q": weight(M, H * D), "k": weight(M, G * D), "v": weight(M, G * D), "out": weight(H * D, M)}
        biases = {name: weight(1, w.shape[1])[0] for name, w in weights.items()}
        tables, rotary = angles(attn, kind, D, random)
        peer = Peer(B, H, G, D, tables, None, do_rotary=int(kind != "none"),
                    rotary_interleaved=int(kind == "interleaved"))
        layer = attn.init("attn_mha_params", model_width=M, heads=H, kv_heads=G, head_width=D, order=attn.c.ATTN_IN_OUT,
                          **{f"{name}_weight": attn.floats(w) for name, w in weights.items()},
                          **{f"{name}_bias": attn.floats(b) for name, b in biases.items()})
        block = attn.create("block", self_attention=layer)
        cache = attn.create("cache", batch=B, capacity=CAPACITY, kv_heads=G, head_width=D)
        options = attn.init("attn_sdpa_params", causal=attn.c.ATTN_CAUSAL_BOTTOM_RIGHT, rotary=rotary)
        inputs = attn.init("attn_block_inputs", self_params=options, cache=cache)
        length = 0
        for count in counts:
            length += count
            x, graph = random.standard_normal((B, count, M), dtype=np.float32), ort.Graph()
            q, k, v = (graph.linear(x, weights[name], biases[name]) for name in "qkv")
            attended, *present = peer.node(graph, q, k, v, np.full(B, length))
            out = graph.node("Add", x, graph.linear(attended, weights["out"], biases["out"]), domain="")
            want, *peer.past = graph.run(out, *present)
            got = ort.unwritten(*x.shape)
            attn.call("attn_block_forward", block, ort.tokens(x), ort.tokens(got), inputs)
            yield f"B={B} H={H} G={G} D={D} rotary={kind} length={length}", got, want


if __name__ == "__main__":
    sys.exit(ort.main([group_query, with_past, decoder]))
