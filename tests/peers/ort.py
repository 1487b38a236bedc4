# SPDX-License-Identifier: BSD-3-Clause
"""ONNX Runtime's answers, and the count of those that libattn agrees with."""

import sys

import libattn
import numpy as np
import onnxruntime
from onnx import helper

TOLERANCE = 1e-5  # of the largest number of a result


class Graph:
    """Nodes, whose inputs are arrays, names of outputs of other nodes, or None."""

    def __init__(self):
        self.nodes, self.feeds = [], {}

    def node(self, kind, *inputs, outputs=1, domain="com.microsoft", **attributes):
        """The names of its outputs, or the one that it has."""
        number = len(self.nodes)
        names = [f"n{number}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, [self._name(x) for x in inputs], names, domain=domain, **attributes))
        return names if outputs > 1 else names[0]

    def linear(self, x, weight, bias=None):
        """x · weight + bias."""
        product = self.node("MatMul", x, weight, domain="")
        return product if bias is None else self.node("Add", product, bias, domain="")

    def run(self, *outputs):
        """Their arrays."""
        kind = helper.np_dtype_to_tensor_dtype
        inputs = [helper.make_tensor_value_info(name, kind(x.dtype), x.shape) for name, x in self.feeds.items()]
        results = [helper.make_tensor_value_info(name, kind(np.dtype("float32")), None) for name in outputs]
        opsets = [helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)]
        graph = helper.make_graph(self.nodes, "graph", inputs, results)
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        return session.run(outputs, self.feeds)

    def _name(self, x):
        if x is None or isinstance(x, str):
            return x or ""
        name = f"x{len(self.feeds)}"
        self.feeds[name] = np.ascontiguousarray(x)
        return name


def run_node(kind, *inputs, **attributes):
    """The first output of one node."""
    graph = Graph()
    outputs = graph.node(kind, *inputs, **attributes)
    return graph.run(outputs if isinstance(outputs, str) else outputs[0])[0]


def split(x, heads):
    """[B,T,heads·width] as a view [B,heads,T,width]."""
    return x.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2)


def tokens(x):
    """[B,T,M] as a view [B,1,T,M]."""
    return x[:, None]


def unwritten(*shape):
    return np.full(shape, np.nan, np.float32)


def main(groups):
    """Runs generators of (name, libattn's result, ONNX Runtime's), each being given a libattn.Library and a random
    generator; prints what differs, `N of M` for each group and for all. Returns whether any does."""
    onnxruntime.set_default_logger_severity(3)
    attn, cases, passed = libattn.Library(sys.argv[1], threads=2), 0, 0
    for group in groups:
        errors = []
        for name, got, want in group(attn, np.random.default_rng(7)):
            errors.append(float(np.abs(got - want).max() / np.abs(want).max()))
            if not errors[-1] <= TOLERANCE:
                print(f"FAIL {name}: relative error {errors[-1]:.1e}")
        good = sum(error <= TOLERANCE for error in errors)
        print(f"{group.__doc__}: {good} of {len(errors)}, largest relative error {max(errors):.1e}")
        cases, passed = cases + len(errors), passed + good
    print(f"{passed} of {cases}, ONNX Runtime {onnxruntime.__version__}")
    return passed != cases
