#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""libattn's blocks beside ONNX Runtime's graph of the same: time, or with --check the difference of their results.

    encoder_vs_ort.py LIBRARY [--threads 1 2] [--tokens 128] [--rounds 15]
    encoder_vs_ort.py LIBRARY --check

LIBRARY is build/release/bench/libattn_encoder.so. Needs numpy, onnx and onnxruntime."""
import argparse
import ctypes
import os
import statistics
import sys
import time

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

GELU, GELU_TANH, SILU = 0, 1, 4


class Shape(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in
                "layers batch tokens width heads hidden post rms gated activation causal".split()]

    def __str__(self):
        return " ".join(f"{name}={getattr(self, name)}" for name, _ in self._fields_)


def layer_shapes(s):
    M, F = s.width, s.hidden
    shapes = {"in_weight": (3 * M, M), "in_bias": (3 * M,), "out_weight": (M, M), "out_bias": (M,),
              "norm1_weight": (M,), "norm1_bias": (M,), "norm2_weight": (M,), "norm2_bias": (M,)}
    if s.gated:
        shapes.update({"gate_weight": (F, M), "gate_bias": (F,)})
    shapes.update({"up_weight": (F, M), "up_bias": (F,), "down_weight": (M, F), "down_bias": (M,)})
    return shapes


def random_weights(s, random):
    """The weights of each layer by name, and all of them as one array."""
    layers = []
    for _ in range(s.layers):
        layer = {}
        for name, shape in layer_shapes(s).items():
            size = 1 / np.sqrt(shape[1]) if len(shape) == 2 else 0.1
            layer[name] = (size * random.standard_normal(shape) + name.startswith("norm") * name.endswith("weight"))
            layer[name] = layer[name].astype(np.float32)
        layers.append(layer)
    return layers, np.concatenate([w.ravel() for layer in layers for w in layer.values()])


class Libattn:
    def __init__(self, library, shape, weights, threads):
        self.run_ = library.encoder_run
        self.free = library.encoder_free
        library.encoder_new.restype = ctypes.c_void_p
        pointer = weights.ctypes.data_as(ctypes.c_void_p)
        self.encoder = ctypes.c_void_p(library.encoder_new(ctypes.byref(shape), pointer, threads))
        if not self.encoder:
            sys.exit("encoder_vs_ort: libattn could not make the encoder")
        library.encoder_choice.restype = ctypes.c_char_p
        self.choice = library.encoder_choice(self.encoder).decode()
        self.out = np.empty((shape.batch, shape.tokens, shape.width), np.float32)

    def __call__(self, x):
        status = self.run_(self.encoder, x.ctypes.data_as(ctypes.c_void_p), self.out.ctypes.data_as(ctypes.c_void_p))
        if status:
            sys.exit(f"encoder_vs_ort: attn_block_forward failed with status {status}")
        return self.out

    def __del__(self):
        self.free(self.encoder)


class Graph:
    """Names and nodes of an ONNX graph."""

    def __init__(self):
        self.nodes, self.weights = [], []

    def weight(self, array):
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), f"w{len(self.weights)}"))
        return self.weights[-1].name

    def node(self, kind, *inputs, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [f"n{len(self.nodes)}"], **attributes))
        return self.nodes[-1].output[0]

    def linear(self, x, weight, bias):
        return self.node("Add", self.node("MatMul", x, self.weight(weight.T)), self.weight(bias))

    def norm(self, s, x, weight, bias):
        if s.rms:
            return self.node("RMSNormalization", x, self.weight(weight), epsilon=1e-5)
        return self.node("LayerNormalization", x, self.weight(weight), self.weight(bias), epsilon=1e-5)

    def activation(self, s, x):
        if s.activation == SILU:
            return self.node("Mul", x, self.node("Sigmoid", x))
        return self.node("Gelu", x, approximate="tanh" if s.activation == GELU_TANH else "none")

    def attention(self, s, x, w):
        attended = self.node("Attention", x, self.weight(w["in_weight"].T), self.weight(w["in_bias"]),
                             domain="com.microsoft", num_heads=s.heads, unidirectional=s.causal)
        return self.linear(attended, w["out_weight"], w["out_bias"])

    def feed(self, s, x, w):
        hidden = self.linear(x, w["up_weight"], w["up_bias"])
        if s.gated:
            gate = self.activation(s, self.linear(x, w["gate_weight"], w["gate_bias"]))
            hidden = self.node("Mul", gate, hidden)
        else:
            hidden = self.activation(s, hidden)
        return self.linear(hidden, w["down_weight"], w["down_bias"])

    def sublayer(self, s, x, function, w, number):
        norm = lambda y: self.norm(s, y, w[f"norm{number}_weight"], w[f"norm{number}_bias"])
        if s.post:
            return norm(self.node("Add", x, function(s, x, w)))
        return self.node("Add", x, function(s, norm(x), w))


def onnx_runtime(s, layers, threads):
    """A callable of the graph. ONNX Runtime fuses what it can: it is left at its highest level of optimisation."""
    graph, x = Graph(), "x"
    for w in layers:
        x = graph.sublayer(s, x, graph.attention, w, 1)
        x = graph.sublayer(s, x, graph.feed, w, 2)
    info = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [s.batch, s.tokens, s.width])
    model = helper.make_model(helper.make_graph(graph.nodes, "encoder", [info("x")], [info(x)], graph.weights),
                              opset_imports=[helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)],
                              ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda value: session.run(None, {"x": value})[0]


def pair(library, s, threads):
    random = np.random.default_rng(1)
    layers, weights = random_weights(s, random)
    x = random.standard_normal((s.batch, s.tokens, s.width)).astype(np.float32)
    return Libattn(library, s, weights, threads), onnx_runtime(s, layers, threads), x


def difference(got, want):
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))


def check(library):
    """Relative error of whole results; where single numbers are near 0 they have no accuracy of their own."""
    cases = good = 0
    for post, rms, gated, activation in ((1, 0, 0, GELU), (0, 0, 0, GELU), (0, 0, 0, GELU_TANH), (0, 1, 1, SILU),
                                         (0, 0, 1, GELU), (1, 1, 0, SILU)):
        for causal in (0, 1):
            for batch, tokens, width, heads, hidden in ((1, 16, 64, 4, 256), (2, 77, 96, 3, 200), (3, 1, 48, 6, 64)):
                s = Shape(3, batch, tokens, width, heads, hidden, post, rms, gated, activation, causal)
                attn, ort, x = pair(library, s, 2)
                error = difference(attn(x), ort(x))
                cases, good = cases + 1, good + (error <= 1e-5)
                print(f"{'ok  ' if error <= 1e-5 else 'FAIL'} {s}: relative error {error:.1e}")
    print(f"{good} of {cases}, ONNX Runtime {onnxruntime.__version__}")
    return good != cases


def median_times(calls, x, rounds):
    """Medians of interleaved rounds. Idle threads of either library spin for a while and would take a core from the other:
    each gets a pause, and a call to warm up in, first."""
    times = [[] for _ in calls]
    for _ in range(rounds):
        for call, mine in zip(calls, times):
            time.sleep(0.2)
            call(x)
            start = time.perf_counter()
            call(x)
            mine.append(time.perf_counter() - start)
    return [statistics.median(t) for t in times], statistics.median(b / a for a, b in zip(*times))


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("library")
    arguments.add_argument("--check", action="store_true")
    arguments.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    arguments.add_argument("--tokens", type=int, nargs="+", default=[128])
    arguments.add_argument("--layers", type=int, default=12)
    arguments.add_argument("--rounds", type=int, default=15)
    a = arguments.parse_args()
    library = ctypes.CDLL(os.path.abspath(a.library))
    if a.check:
        return check(library)
    for threads in a.threads:
        for tokens in a.tokens:
            s = Shape(a.layers, 1, tokens, 768, 12, 3072, 1, 0, 0, GELU, 0)
            attn, ort, x = pair(library, s, threads)
            error = difference(attn(x), ort(x))
            if (threads, tokens) == (a.threads[0], a.tokens[0]):
                print(f"libattn: {attn.choice}")
            (mine, theirs), ratio = median_times((attn, ort), x, a.rounds)
            print(f"threads={threads} {s}: libattn {mine * 1e3:.1f} ms, onnxruntime {onnxruntime.__version__} "
                  f"{theirs * 1e3:.1f} ms, ratio {ratio:.3f}, relative error {error:.1e}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
