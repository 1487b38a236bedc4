# SPDX-License-Identifier: BSD-3-Clause
"""The BERT encoder of a folder as an ONNX graph, straight from its safetensors file and the papers: no transformers."""
import json
import os
import struct

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


def weights(folder):
    with open(os.path.join(folder, "model.safetensors"), "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
        data = file.read()
    types = {"F32": np.float32, "F16": np.float16, "I64": np.int64}
    return {
        name: np.frombuffer(data[slice(*about["data_offsets"])], types[about["dtype"]]).reshape(about["shape"])
        for name, about in header.items()
        if name != "__metadata__"
    }


def config(folder):
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        return json.load(file)


class Graph:
    """Nodes and initializers under construction; every method returns the name of its output."""

    def __init__(self, folder):
        self.w = weights(folder)
        self.c = config(folder)
        self.nodes, self.initializers, self.names = [], [], 0

    def op(self, kind, *inputs, domain="", **attributes):
        self.names += 1
        output = f"v{self.names}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], domain=domain, **attributes))
        return output

    def constant(self, value):
        self.names += 1
        name = f"c{self.names}"
        self.initializers.append(numpy_helper.from_array(np.array(value, order="C"), name))
        return name

    def weight(self, name):
        return self.constant(self.w[name].astype(np.float32))

    def linear(self, x, name):
        product = self.op("MatMul", x, self.constant(self.w[name + ".weight"].astype(np.float32).T))
        return self.op("Add", product, self.weight(name + ".bias"))

    def norm(self, x, name):
        return self.op("LayerNormalization", x, self.weight(name + ".weight"), self.weight(name + ".bias"), axis=-1,
                       epsilon=self.c["layer_norm_eps"])

    def embed(self, ids):
        token = self.op("Gather", self.weight("embeddings.word_embeddings.weight"), ids)
        length = self.op("Gather", self.op("Shape", ids), self.constant(np.int64(1)))
        positions = self.op("Range", self.constant(np.int64(0)), length, self.constant(np.int64(1)))
        position = self.op("Gather", self.weight("embeddings.position_embeddings.weight"), positions)
        first_type = self.constant(self.w["embeddings.token_type_embeddings.weight"][0].astype(np.float32))
        return self.norm(self.op("Add", self.op("Add", token, position), first_type), "embeddings.LayerNorm")

    def gelu(self, x):
        erf = self.op("Erf", self.op("Div", x, self.constant(np.float32(np.sqrt(2)))))
        half = self.op("Mul", x, self.constant(np.float32(0.5)))
        return self.op("Mul", half, self.op("Add", erf, self.constant(np.float32(1))))

    def split(self, x, order):
        width = self.c["hidden_size"] // self.c["num_attention_heads"]
        shape = self.constant(np.array([0, 0, self.c["num_attention_heads"], width], np.int64))
        return self.op("Transpose", self.op("Reshape", x, shape), perm=order)

    def plain_attention(self, x, name, bias):
        """Returns what goes into the output projection, and the weights."""
        q = self.split(self.linear(x, name + "query"), [0, 2, 1, 3])
        k = self.split(self.linear(x, name + "key"), [0, 2, 3, 1])
        v = self.split(self.linear(x, name + "value"), [0, 2, 1, 3])
        scale = np.float32(1 / np.sqrt(self.c["hidden_size"] / self.c["num_attention_heads"]))
        scores = self.op("Add", self.op("Mul", self.op("MatMul", q, k), self.constant(scale)), bias)
        attention = self.op("Softmax", scores, axis=-1)
        joined = self.op("Transpose", self.op("MatMul", attention, v), perm=[0, 2, 1, 3])
        return self.op("Reshape", joined, self.constant(np.array([0, 0, self.c["hidden_size"]], np.int64))), attention

    def plain(self):
        """Standard operators; hidden states and attention weights are outputs too."""
        one = self.constant(np.float32(1))
        mask = self.op("Unsqueeze", self.op("Cast", "mask", to=TensorProto.FLOAT), self.constant(np.array([1, 2])))
        bias = self.op("Mul", self.op("Sub", one, mask), self.constant(np.float32(-1e9)))
        x = self.embed("ids")
        hidden, attention = [x], []
        for n in range(self.c["num_hidden_layers"]):
            layer = f"encoder.layer.{n}."
            joined, probabilities = self.plain_attention(x, layer + "attention.self.", bias)
            x = self.norm(self.op("Add", x, self.linear(joined, layer + "attention.output.dense")),
                          layer + "attention.output.LayerNorm")
            inner = self.gelu(self.linear(x, layer + "intermediate.dense"))
            x = self.norm(self.op("Add", x, self.linear(inner, layer + "output.dense")), layer + "output.LayerNorm")
            hidden.append(x)
            attention.append(probabilities)
        return hidden, attention

    def skip_norm(self, x, y, bias, name):
        return self.op("SkipLayerNormalization", x, y, self.weight(name + ".weight"), self.weight(name + ".bias"),
                       self.weight(bias), domain="com.microsoft", epsilon=self.c["layer_norm_eps"])

    def fused(self):
        """The operators that ONNX Runtime's own optimizer makes of BERT: its fastest form."""
        mask = self.op("Cast", "mask", to=TensorProto.INT32)
        x = self.embed("ids")
        for n in range(self.c["num_hidden_layers"]):
            layer = f"encoder.layer.{n}."
            three = [layer + "attention.self." + part for part in ("query", "key", "value")]
            weight = np.concatenate([self.w[part + ".weight"].astype(np.float32).T for part in three], axis=1)
            bias = np.concatenate([self.w[part + ".bias"].astype(np.float32) for part in three])
            joined = self.op("Attention", x, self.constant(weight), self.constant(bias), mask, domain="com.microsoft",
                             num_heads=self.c["num_attention_heads"])
            y = self.op("MatMul", joined, self.constant(self.w[layer + "attention.output.dense.weight"].T))
            x = self.skip_norm(y, x, layer + "attention.output.dense.bias", layer + "attention.output.LayerNorm")
            y = self.op("MatMul", x, self.constant(self.w[layer + "intermediate.dense.weight"].T))
            y = self.op("BiasGelu", y, self.weight(layer + "intermediate.dense.bias"), domain="com.microsoft")
            y = self.op("MatMul", y, self.constant(self.w[layer + "output.dense.weight"].T))
            x = self.skip_norm(y, x, layer + "output.dense.bias", layer + "output.LayerNorm")
        return [x], []

    def pool(self, x):
        mask = self.op("Unsqueeze", self.op("Cast", "mask", to=TensorProto.FLOAT), self.constant(np.array([2])))
        total = self.op("ReduceSum", self.op("Mul", x, mask), self.constant(np.array([1])), keepdims=0)
        return self.op("LpNormalization", total, axis=-1, p=2)

    def session(self, hidden, attention, threads):
        outputs = hidden + attention + [self.pool(hidden[-1])]
        graph = helper.make_graph(
            self.nodes, "bert", [helper.make_tensor_value_info(n, TensorProto.INT64, ["B", "T"]) for n in ("ids", "mask")],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs], self.initializers)
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def plain_session(folder, threads=1):
    graph = Graph(folder)
    return graph.session(*graph.plain(), threads)


def fused_session(folder, threads=1):
    graph = Graph(folder)
    return graph.session(*graph.fused(), threads)


def tokenizer(folder):
    from tokenizers import Tokenizer

    made = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    made.no_padding()
    made.no_truncation()
    return made
