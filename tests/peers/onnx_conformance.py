# SPDX-License-Identifier: BSD-3-Clause
"""Runs every Attention node case that the package `onnx` ships through libattn: onnx_conformance.py LIBATTN_SO

A case passes if every output has the type and shape of the stored one and is within the case's own tolerances, as ONNX
tests its backends. Prints one line a case, with the largest error as it is and as share of the tolerance.
"""

import pathlib
import sys

import libattn
import numpy as np
import onnx
from onnx.backend.test.loader import load_model_tests

CASES = 64  # in onnx 1.22.0

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


def attention(attn, inputs, outputs, *, is_causal=0, kv_num_heads=0, q_num_heads=0, qk_matmul_output_mode=0, **fields):
    """The operator: arrays by name of ONNX's in `inputs`, those out that are named in `outputs`. The attributes `scale`
    and `softcap` are fields of attn_sdpa_params; one that is not known here or there is an error."""
    q = split_heads(inputs["Q"], q_num_heads)
    k = split_heads(inputs["K"], kv_num_heads)
    v = split_heads(inputs["V"], kv_num_heads)
    if "past_key" in inputs:
        k = append(attn, inputs["past_key"], k)
        v = append(attn, inputs["past_value"], v)
        if is_causal:
            fields["causal"] = attn.c.ATTN_CAUSAL_OFFSET
            fields["causal_offset"] = attn.int64([inputs["past_key"].shape[2]] * len(q))
    if "attn_mask" in inputs:
        mask = inputs["attn_mask"]
        mask = mask.reshape((1,) * (4 - mask.ndim) + mask.shape)
        fields["mask" if mask.dtype == bool else "bias"] = attn.view(mask)
    if "nonpad_kv_seqlen" in inputs:
        fields["key_lengths"] = attn.int64(inputs["nonpad_kv_seqlen"])

    (B, H, Tq, _), (Tk, E) = q.shape, v.shape[2:]
    y = unwritten((B, H, Tq, E) if inputs["Q"].ndim == 4 else (B, Tq, H * E), q.dtype)
    scores = unwritten((B, H, Tq, Tk), q.dtype)
    if "qk_matmul_output" in outputs:
        fields["weights"] = attn.view(scores)
        fields["weights_stage"] = getattr(attn.c, STAGES[qk_matmul_output_mode])
    attn.sdpa(q, k, v, split_heads(y, H), "ATTN_PRESET_ONNX", is_causal and "causal" not in fields, **fields)
    return {"Y": y, "present_key": k, "present_value": v, "qk_matmul_output": scores}


def cases():
    """(case, node, graph) of every node case whose graph is one Attention node: not those that ONNX expands."""
    for case in sorted(load_model_tests(kind="node"), key=lambda case: case.name):
        graph = onnx.load(pathlib.Path(case.model_dir, "model.onnx")).graph
        if [node.op_type for node in graph.node] == ["Attention"]:
            yield case, graph.node[0], graph


def stored(folder, kind, names):
    """The arrays of a data set, by name: its files are numbered as the graph's inputs or outputs."""
    tensors = [onnx.load_tensor(folder / f"{kind}_{i}.pb") for i in range(len(names))]
    return {value.name: onnx.numpy_helper.to_array(tensor) for value, tensor in zip(names, tensors)}


def by_role(roles, names, arrays):
    """arrays by ONNX's names of a node's inputs or outputs, without those that the node leaves out."""
    return {role: arrays[name] for role, name in zip(roles, names) if name}


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


def run(attn, case, node, graph):
    """The largest errors of a case, over its data sets and outputs."""
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    worst = []
    for folder in pathlib.Path(case.model_dir).glob("test_data_set_*"):
        want = by_role(OUTPUTS, node.output, stored(folder, "output", graph.output))
        inputs = by_role(INPUTS, node.input, stored(folder, "input", graph.input))
        got = attention(attn, inputs, want, **attributes)
        worst += [errors(got[name], want[name], case.rtol, case.atol) for name in want]
    return tuple(map(max, zip(*worst)))


def main(library):
    attn = libattn.Library(library)
    found = passed = 0
    for case, node, graph in cases():
        found += 1
        try:
            error, share = run(attn, case, node, graph)
            result = f"error {error:.1e}, {share:.3f} of the tolerance"
            ok = share <= 1
        except Exception as problem:  # whatever it is, the case failed
            result, ok = f"{type(problem).__name__}: {problem}", False
        passed += ok
        print("ok  " if ok else "FAIL", case.name, result)
    if found != CASES:
        print(f"FAIL this onnx has {found} Attention cases")
    print(f"{passed} of {CASES}")
    return not passed == found == CASES


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
