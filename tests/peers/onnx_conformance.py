# SPDX-License-Identifier: BSD-3-Clause
"""Runs the node cases of the package `onnx` whose operators libattn has: onnx_conformance.py LIBATTN_SO

onnx makes their data anew, from a seed. A case passes if every output has the type and shape of onnx's and is within
the case's own tolerances, of bfloat16 two units in the last place, as ONNX tests its backends. Prints one line a case,
with the largest error as it is and as share of the tolerance, and how many of each operator passed.
"""

import collections
import math
import sys

import libattn
import numpy as np
import onnx
from onnx.backend.test.case.node import collect_testcases

VERSION = tuple(map(int, onnx.__version__.split(".")[:2]))
OTHERS = {
    "Gelu": 4,
    "LayerNormalization": 19,  # Y: libattn does not tell Mean and InvStdDev
    "RMSNormalization": 19,
    "RotaryEmbedding": 8,
    "Softmax": 7,
    "Swish": 1,
    "TensorScatter": 3,
}
CASES = {(1, 22): {"Attention": 64, **OTHERS}, (1, 23): {"Attention": 93, **OTHERS}}[VERSION]

INPUTS = ("Q", "K", "V", "attn_mask", "past_key", "past_value", "nonpad_kv_seqlen")
OUTPUTS = ("Y", "present_key", "present_value", "qk_matmul_output")
STAGES = ("ATTN_STAGE_RAW", "ATTN_STAGE_CAPPED", "ATTN_STAGE_BIASED", "ATTN_STAGE_PROBABILITIES")


def unwritten(shape, dtype):
    return np.full(shape, np.nan, dtype)


def split_heads(x, heads):
    """[B,T,H·D] as a view [B,H,T,D]; what has four dimensions stays as it is."""
    return x if x.ndim == 4 else x.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2)


def append(attn, past, new):
    """past [B,G,P,D] and then new [B,G,T,D], dense."""
    B, G, P, D = past.shape
    present = unwritten((B, G, P + new.shape[2], D), new.dtype)
    attn.copy(past, present[:, :, :P])
    attn.copy(new, present[:, :, P:])
    return present


def offsets(inputs, B, Tq):
    """Where query 0 of each sequence stands among its keys. In onnx 1.22 nonpad_kv_seqlen moves nothing."""
    if "past_key" in inputs:
        return [inputs["past_key"].shape[2]] * B
    if "nonpad_kv_seqlen" in inputs and VERSION > (1, 22):
        return [int(length) - Tq for length in inputs["nonpad_kv_seqlen"]]
    return [0] * B


def visible(attn, starts, is_causal, left, right):
    """The fields that say which keys a query sees, by place."""
    if not is_causal and left < 0 and right < 0:
        return {}
    return {
        "causal" if is_causal else "alignment": attn.c.ATTN_CAUSAL_OFFSET,
        "causal_offset": attn.int64(starts),
        "window": attn.init("attn_window", left=left, right=right),
    }


def attention(
    attn,
    inputs,
    outputs,
    *,
    is_causal=0,
    kv_num_heads=0,
    q_num_heads=0,
    qk_matmul_output_mode=0,
    softmax_precision=0,  # f32 it is, whatever is asked for
    left_window_size=-1,
    right_window_size=-1,
    **fields,
):
    """The operator: arrays by name of ONNX's in `inputs`, those out that are named in `outputs`. The attributes `scale`
    and `softcap` are fields of attn_sdpa_params; one that is not known here or there is an error."""
    q = split_heads(inputs["Q"], q_num_heads)
    k = split_heads(inputs["K"], kv_num_heads)
    v = split_heads(inputs["V"], kv_num_heads)
    if "past_key" in inputs:
        k = append(attn, inputs["past_key"], k)
        v = append(attn, inputs["past_value"], v)
    (B, H, Tq, _), (Tk, E) = q.shape, v.shape[2:]
    fields |= visible(attn, offsets(inputs, B, Tq), is_causal, left_window_size, right_window_size)
    if "attn_mask" in inputs:
        mask = inputs["attn_mask"]
        mask = mask.reshape((1,) * (4 - mask.ndim) + mask.shape)
        fields["mask" if mask.dtype == bool else "bias"] = attn.view(mask)
    if "nonpad_kv_seqlen" in inputs:
        fields["key_lengths"] = attn.int64(inputs["nonpad_kv_seqlen"])

    y = unwritten((B, H, Tq, E) if inputs["Q"].ndim == 4 else (B, Tq, H * E), q.dtype)
    scores = unwritten((B, H, Tq, Tk), q.dtype)
    if "qk_matmul_output" in outputs:
        fields["weights"] = attn.view(scores)
        fields["weights_stage"] = getattr(attn.c, STAGES[qk_matmul_output_mode])
    attn.sdpa(q, k, v, split_heads(y, H), "ATTN_PRESET_ONNX", **fields)
    return {"Y": y, "present_key": k, "present_value": v, "qk_matmul_output": scores}


def rotary_embedding(attn, inputs, _, *, interleaved=0, rotary_embedding_dim=0, num_heads=0):
    x, cos, sin = inputs["X"], inputs["cos_cache"], inputs["sin_cache"]
    y, heads = unwritten(x.shape, x.dtype), split_heads(x, num_heads)
    # Without ids the tables have a row for each token of each sequence.
    ids = inputs.get("position_ids", np.arange(math.prod(cos.shape[:-1])))
    rotary = attn.init(
        "attn_rotary",
        kind=attn.c.ATTN_ROTARY_INTERLEAVED if interleaved else attn.c.ATTN_ROTARY_HALF,
        width=rotary_embedding_dim,
        positions=math.prod(cos.shape[:-1]),
        cos=attn.floats(cos),
        sin=attn.floats(sin),
    )
    attn.call("attn_rotate", heads, split_heads(y, num_heads), rotary, attn.int64(ids.flat))
    return {"Y": y}


def norm(kind, attn, inputs, _, *, axis=-1, epsilon=1e-5):
    x, weight, bias = inputs["X"], inputs["Scale"], inputs.get("B")
    y, width = unwritten(x.shape, x.dtype), math.prod(x.shape[axis:])
    params = attn.init(
        "attn_norm_params",
        kind=getattr(attn.c, kind),
        eps=epsilon,
        weight=attn.floats(weight),
        bias=None if bias is None else attn.floats(bias),
    )
    attn.call("attn_norm", *(array.reshape(1, 1, -1, width) for array in (x, y)), params)
    return {"Y": y}


def layer_normalization(*arguments, **attributes):
    return norm("ATTN_LAYER_NORM", *arguments, **attributes)


def rms_normalization(*arguments, **attributes):
    return norm("ATTN_RMS_NORM", *arguments, **attributes)


def activate(kind, attn, x):
    y = unwritten(x.shape, x.dtype)
    attn.call("attn_activate", getattr(attn.c, kind), x.reshape(1, 1, 1, -1), y.reshape(1, 1, 1, -1))
    return {"Y": y}


def gelu(attn, inputs, _, *, approximate=b"none"):
    return activate({b"none": "ATTN_GELU", b"tanh": "ATTN_GELU_TANH"}[approximate], attn, inputs["X"])


def swish(attn, inputs, _, *, alpha=1.0):
    return activate({1.0: "ATTN_SILU"}[alpha], attn, inputs["X"])


def softmax(attn, inputs, _, *, axis=-1):
    x = np.ascontiguousarray(np.moveaxis(inputs["X"], axis, -1))
    y, columns = unwritten(x.shape, x.dtype), x.shape[-1]
    rows = math.prod(x.shape[:-1])
    attn.call("attn_softmax", rows, columns, attn.floats(x), columns, attn.floats(y), columns, None)
    return {"Y": np.moveaxis(y, -1, axis)}


def tensor_scatter(attn, inputs, _, *, axis=-2, mode=b"linear"):
    """A cache of the caller's, as attn_sdpa reads one: tokens are copied to where they belong."""
    past, update = inputs["past_cache"], inputs["update"]
    present = unwritten(past.shape, past.dtype)
    attn.copy(*(array.reshape(1, 1, 1, -1) for array in (past, present)))
    for to, tokens, start in zip(present, update, inputs["write_indices"]):
        to, tokens = np.moveaxis(to, axis, 0), np.moveaxis(tokens, axis, 0)
        for t, token in enumerate(tokens):
            place = (start + t) % len(to) if mode == b"circular" else start + t
            attn.copy(*(array.reshape(1, 1, -1, array.shape[-1]) for array in (token, to[place])))
    return {"Y": present}


# For each operator: the call, and the names of its inputs and outputs here.
OPERATORS = {
    "Attention": (attention, INPUTS, OUTPUTS),
    "Gelu": (gelu, ("X",), ("Y",)),
    "LayerNormalization": (layer_normalization, ("X", "Scale", "B"), ("Y",)),
    "RMSNormalization": (rms_normalization, ("X", "Scale"), ("Y",)),
    "RotaryEmbedding": (rotary_embedding, ("X", "cos_cache", "sin_cache", "position_ids"), ("Y",)),
    "Softmax": (softmax, ("X",), ("Y",)),
    "Swish": (swish, ("X",), ("Y",)),
    "TensorScatter": (tensor_scatter, ("past_cache", "update", "write_indices"), ("Y",)),
}


def cases():
    """(case, node) of every node case that is one of the operators alone: not those that ONNX expands."""
    np.random.seed(5)
    for case in collect_testcases(None):
        nodes = case.model.graph.node
        if len(nodes) == 1 and nodes[0].op_type in OPERATORS and not nodes[0].domain:
            yield case, nodes[0]


def by_role(roles, names, arrays):
    """arrays, which are in the order of the names that are not empty, by ONNX's names of a node's inputs or outputs."""
    return dict(zip((role for role, name in zip(roles, names) if name), arrays))


def errors(got, want, rtol, atol):
    """Largest difference, and largest share of the tolerance; values that are not finite must be equal."""
    if (got.dtype, got.shape) != (want.dtype, want.shape):
        raise AssertionError(f"{got.dtype}{got.shape} instead of {want.dtype}{want.shape}")
    got, want = got.astype(np.float64), want.astype(np.float64)
    differ = ~((got == want) | (np.isnan(got) & np.isnan(want)))
    difference = np.abs(got[differ] - want[differ])
    if not np.isfinite(difference).all():
        raise AssertionError("NaN or infinity in the wrong place")
    share = difference / (atol + rtol * np.abs(want[differ]))
    return difference.max(initial=0), share.max(initial=0)


def run(attn, case, node):
    """The largest errors of a case, over its data sets and outputs."""
    operator, inputs, outputs = OPERATORS[node.op_type]
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    worst = []
    for given, wanted in case.data_sets:
        want = by_role(outputs, node.output, wanted)
        got = operator(attn, by_role(inputs, node.input, given), want, **attributes)
        for name, array in want.items():
            rtol = max(case.rtol, 2**-6) if array.dtype.name == "bfloat16" else case.rtol
            worst.append(errors(got[name], array, rtol, case.atol))
    return tuple(map(max, zip(*worst)))


def main(library):
    attn = libattn.Library(library)
    found, passed = collections.Counter(), collections.Counter()
    for case, node in cases():
        found[node.op_type] += 1
        try:
            error, share = run(attn, case, node)
            result = f"error {error:.1e}, {share:.3f} of the tolerance"
            ok = share <= 1
        except Exception as problem:  # whatever it is, the case failed
            result, ok = f"{type(problem).__name__}: {problem}", False
        passed[node.op_type] += ok
        print("ok  " if ok else "FAIL", case.name, result)
    for name, count in CASES.items():
        print(f"{name}: {passed[name]} of {count}" + (found[name] != count) * f", FAIL: there are {found[name]}")
    print(f"onnx {onnx.__version__}: {passed.total()} of {sum(CASES.values())}")
    return not passed == found == CASES


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
