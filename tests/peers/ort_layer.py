# SPDX-License-Identifier: BSD-3-Clause
"""libattn's layer, attention and what is around it against ONNX Runtime's nodes of the same: ort_layer.py LIBATTN_SO"""

import itertools
import sys

import numpy as np
import ort

B, M = 3, 40
HEADS = ((4, 16, 16), (3, 24, 10))  # H, D, E
MASKS = ("none", "lengths", "keys", "scores")
BIASES = ("none", "shared", "heads")


class Random:
    """Arrays N(0, 1)."""

    def __init__(self, random):
        self.random = random

    def __call__(self, *shape):
        return self.random.standard_normal(shape, dtype=np.float32)

    def weight(self, width, size):
        """[width, size], by which N(0, 1) stays N(0, 1)."""
        return self(width, size) / np.float32(np.sqrt(width))

    def mask(self, kind, T, Tk):
        """ONNX Runtime's mask of T queries and Tk keys; no row is without a key, which would be an average there."""
        if kind == "none":
            return None
        if kind == "lengths":
            return self.random.integers(1, Tk + 1, B).astype(np.int32)
        keep = self.random.random((B, Tk) if kind == "keys" else (B, T, Tk)) < 0.7
        keep[..., 0] = True
        return keep.astype(np.int32)

    def bias(self, kind, H, T, Tk):
        return None if kind == "none" else self(*((1, 1) if kind == "shared" else (B, H)), T, Tk)


def options(attn, mask, bias, causal=0, **fields):
    """attn_sdpa_params of the same."""
    if mask is not None and mask.ndim == 1:
        fields["key_lengths"] = attn.int64(mask)
    elif mask is not None:
        keep = mask.astype(bool).reshape(B, 1, -1, mask.shape[-1])
        fields["key_mask" if mask.ndim == 2 else "mask"] = attn.view(keep)
        fields["polarity"] = attn.c.ATTN_KEEP
    return attn.init("attn_sdpa_params", bias=None if bias is None else attn.view(bias),
                     causal=attn.c.ATTN_CAUSAL_TOP_LEFT if causal else attn.c.ATTN_CAUSAL_NONE, **fields)


def layer_of(attn, weights, biases, **fields):
    """attn_mha of weights [in, out] by name."""
    return attn.create("mha", model_width=M, order=attn.c.ATTN_IN_OUT, **fields,
                       **{f"{name}_weight": attn.floats(w) for name, w in weights.items()},
                       **{f"{name}_bias": attn.floats(b) for name, b in biases.items()})


def multi_head(attn, random):
    """projections around MultiHeadAttention and attn_mha"""
    normal = Random(random)
    grid = itertools.product((False, True), HEADS, (False, True), MASKS, BIASES, (0, 1), (0.0, 0.4))
    for cross, (H, D, E), biased, mask, bias, causal, scale in grid:
        if cross and causal:
            continue
        name = f"cross={cross} H={H} E={E} biased={biased} mask={mask} bias={bias} causal={causal} scale={scale}"
        T, Tk, width = 9, 13 if cross else 9, 21 if cross else M
        x = normal(B, T, M)
        y = normal(B, Tk, width) if cross else x
        weights = {"q": normal.weight(M, H * D), "k": normal.weight(width, H * D), "v": normal.weight(width, H * E),
                   "out": normal.weight(H * E, M)}
        biases = {name: normal(w.shape[1]) for name, w in weights.items()} if biased else {}
        mask, bias, graph = normal.mask(mask, T, Tk), normal.bias(bias, H, T, Tk), ort.Graph()
        attended = graph.node("MultiHeadAttention", graph.linear(x, weights["q"]), graph.linear(y, weights["k"]),
                              graph.linear(y, weights["v"]), np.hstack([biases[n] for n in "qkv"]) if biased else None,
                              mask, bias, num_heads=H, unidirectional=causal, scale=scale)
        want = graph.run(graph.linear(attended, weights["out"], biases.get("out")))[0]
        layer = layer_of(attn, weights, biases, heads=H, head_width=D, value_width=E, key_input_width=width,
                         value_input_width=width)
        got = ort.unwritten(*x.shape)
        attn.call("attn_mha_forward", layer, ort.tokens(x), ort.tokens(y), None, ort.tokens(got),
                  options(attn, mask, bias, causal, scale=scale))
        yield name, got, want


def packed(attn, random):
    """Attention, its weights packed, and attn_mha"""
    normal = Random(random)
    for (H, D, E), mask, bias, causal, scale in itertools.product(HEADS, MASKS, BIASES, (0, 1), (0.0, 0.4)):
        name = f"H={H} E={E} mask={mask} bias={bias} causal={causal} scale={scale}"
        x, weight, offset = normal(B, 11, M), normal.weight(M, H * (2 * D + E)), normal(H * (2 * D + E))
        out = {"out": normal.weight(H * E, M)}
        mask, bias, graph = normal.mask(mask, 11, 11), normal.bias(bias, H, 11, 11), ort.Graph()
        attended = graph.node("Attention", x, weight, offset, mask, None, bias, num_heads=H, unidirectional=causal,
                              scale=scale, qkv_hidden_sizes=[H * D, H * D, H * E])
        want = graph.run(graph.linear(attended, out["out"]))[0]
        layer = layer_of(attn, {"in": weight, **out}, {"in": offset}, heads=H, head_width=D, value_width=E)
        got = ort.unwritten(*x.shape)
        attn.call("attn_mha_forward", layer, ort.tokens(x), None, None, ort.tokens(got),
                  options(attn, mask, bias, causal, scale=scale))
        yield name, got, want


def views(attn, random):
    """MultiHeadAttention and attn_sdpa of views of packed heads"""
    normal = Random(random)
    for form, as_heads, (H, D, _), mask, bias in itertools.product(("qkv", "kv"), (0, 1), HEADS, MASKS, BIASES):
        name = f"{form} as_heads={as_heads} H={H} D={D} mask={mask} bias={bias}"
        T, Tk = 9, 9 if form == "qkv" else 14
        buffer = normal(B, Tk, H, 3, D)
        q = buffer[:, :, :, 0] if form == "qkv" else normal(B, T, H, D)
        k, v = buffer[:, :, :, 1], buffer[:, :, :, 2]
        mask, bias = normal.mask(mask, T, Tk), normal.bias(bias, H, T, Tk)
        inputs = [x.swapaxes(1, 2) if as_heads else x.reshape(B, Tk, -1) for x in (k, v)]
        want = ort.run_node("MultiHeadAttention", q.reshape(B, T, -1), *inputs, None, mask, bias, num_heads=H)
        got = ort.unwritten(B, T, H * D)
        attn.call("attn_sdpa", *(x.swapaxes(1, 2) for x in (q, k, v)), ort.split(got, H), options(attn, mask, bias))
        yield name, got, want


def parts(attn, random):
    """norms, activations and rotary embedding"""
    normal, kinds = Random(random), attn.c
    for width in (7, 64, 300):
        x, skip, weight, offset = 3 * normal(2, 5, width) + 1, normal(2, 5, width), 1 + normal(width), normal(width)
        norms = (
            ("LayerNormalization", kinds.ATTN_LAYER_NORM, x, (weight, offset), "", dict(epsilon=1e-3)),
            ("RMSNormalization", kinds.ATTN_RMS_NORM, x, (weight,), "", dict(epsilon=1e-3)),
            ("SimplifiedLayerNormalization", kinds.ATTN_RMS_NORM, x, (weight,), "", dict(epsilon=1e-3)),
            ("SkipLayerNormalization", kinds.ATTN_LAYER_NORM, x + skip, (weight, offset), "com.microsoft",
             dict(epsilon=1e-3)),
            ("LpNormalization", kinds.ATTN_L2_NORM, x, (), "", dict(axis=-1, p=2)),
        )
        for name, kind, of, arrays, domain, attributes in norms:
            inputs = (x, skip, *arrays) if name.startswith("Skip") else (x, *arrays)
            want = ort.run_node(name, *inputs, domain=domain, **attributes)
            params = attn.init("attn_norm_params", kind=kind, eps=attributes.get("epsilon", 0),
                               **{field: attn.floats(array) for field, array in zip(("weight", "bias"), arrays)})
            got = ort.unwritten(*x.shape)
            attn.call("attn_norm", ort.tokens(of), ort.tokens(got), params)
            yield f"{name} width={width}", got, want
    wide = np.linspace(-12, 12, 4001, dtype=np.float32).reshape(1, 1, -1)
    for name, domain, kind, attributes in (("Gelu", "", kinds.ATTN_GELU, {}), ("Relu", "", kinds.ATTN_RELU, {}),
                                           ("Gelu", "", kinds.ATTN_GELU_TANH, dict(approximate="tanh")),
                                           ("QuickGelu", "com.microsoft", kinds.ATTN_GELU_SIGMOID, dict(alpha=1.702)),
                                           ("QuickGelu", "com.microsoft", kinds.ATTN_SILU, dict(alpha=1.0))):
        got = ort.unwritten(*wide.shape)
        attn.call("attn_activate", kind, ort.tokens(wide), ort.tokens(got))
        yield f"{name} {attributes}", got, ort.run_node(name, wide, domain=domain, **attributes)
    for D, width, interleaved in itertools.product((16, 64), (0, 8), (0, 1)):
        x, angle = normal(B, 4, 6, D), random.uniform(-3, 3, (20, (width or D) // 2)).astype(np.float32)
        positions, tables = random.integers(0, 20, (B, 6)), (np.cos(angle), np.sin(angle))
        partial = dict(num_heads=4, rotary_embedding_dim=width) if width else {}
        want = ort.run_node("RotaryEmbedding", x, positions, *tables, interleaved=interleaved, **partial)
        kind = kinds.ATTN_ROTARY_INTERLEAVED if interleaved else kinds.ATTN_ROTARY_HALF
        rotary = attn.init("attn_rotary", kind=kind, width=width, positions=20, cos=attn.floats(tables[0]),
                           sin=attn.floats(tables[1]))
        got = ort.unwritten(*x.shape)
        attn.call("attn_rotate", x, got, rotary, attn.int64(positions.ravel()))
        yield f"RotaryEmbedding D={D} width={width} interleaved={interleaved}", got, want


if __name__ == "__main__":
    sys.exit(ort.main([multi_head, packed, views, parts]))
