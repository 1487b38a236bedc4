# SPDX-License-Identifier: BSD-3-Clause
"""Runs combinations of Attention's options through libattn and ONNX's reference evaluator: onnx_reference.py LIBATTN_SO

The cases that ONNX ships (onnx_conformance.py) leave most combinations untested, as windows beside a cache whose
sequences differ. libattn differs from the reference by its manual in one thing, which is held here too: raw and capped
scores are 0 beyond the length of a sequence, where ONNX has those of the padding. Prints the cases that differ and
`N of M`.
"""

import itertools
import sys

import libattn
import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from onnx_conformance import INPUTS, OUTPUTS, attention, errors

B, H, G, Tq, Tk, D, E, P = 2, 6, 3, 5, 7, 8, 9, 3

OPTIONS = {
    "ndim": (3, 4),
    "past": (0, P),
    "mask": ("none", "bool", "float", "bool_short", "float_short"),
    "lengths": (False, True),
    "is_causal": (0, 1),
    "window": ((-1, -1), (2, 1), (-1, 0), (1, -1)),
    "softcap": (0.0, 1.5),
    "qk_matmul_output_mode": (0, 1, 2, 3),
}


def computes(past, lengths, softcap, qk_matmul_output_mode, **_):
    """Whether the reference does what ONNX says: its raw scores are those after the soft cap. ONNX forbids lengths
    beside a past."""
    return not (lengths and past) and not (softcap and qk_matmul_output_mode == 0)


def random_inputs(random, ndim, past, mask, lengths, **_):
    def normal(*shape):
        return random.standard_normal(shape, dtype=np.float32)

    def tokens(heads, count, width):
        return normal(B, heads, count, width) if ndim == 4 else normal(B, count, heads * width)

    inputs = {"Q": tokens(H, Tq, D), "K": tokens(G, Tk, D), "V": tokens(G, Tk, E)}
    if past:
        inputs.update(past_key=normal(B, G, past, D), past_value=normal(B, G, past, E))
    if mask != "none":
        shape = (B, 1, Tq, past + Tk - 2 * mask.endswith("short"))
        keep = random.random(shape) < 0.5
        keep[0, 0, 1] = False  # an empty row
        inputs["attn_mask"] = keep if "bool" in mask else np.where(keep, normal(*shape), np.float32(-np.inf))
    if lengths:
        inputs["nonpad_kv_seqlen"] = np.array([Tk, 2])
    return inputs


def reference(inputs, attributes):
    node = onnx.helper.make_node("Attention", [n if n in inputs else "" for n in INPUTS], OUTPUTS, **attributes)
    want = dict(zip(OUTPUTS, ReferenceEvaluator(node).run(None, inputs)))
    if "nonpad_kv_seqlen" in inputs and attributes["qk_matmul_output_mode"] < 2:
        for scores, length in zip(want["qk_matmul_output"], inputs["nonpad_kv_seqlen"]):
            scores[:, :, length:] = 0
    return want


def main(library):
    attn, random = libattn.Library(library), np.random.default_rng(5)
    options = [dict(zip(OPTIONS, values)) for values in itertools.product(*OPTIONS.values())]
    options = [option for option in options if computes(**option)]
    passed = 0
    for option in options:
        inputs = random_inputs(random, **option)
        attributes = {name: option[name] for name in ("is_causal", "softcap", "qk_matmul_output_mode")}
        attributes["left_window_size"], attributes["right_window_size"] = option["window"]
        if option["ndim"] == 3:
            attributes.update(q_num_heads=H, kv_num_heads=G)
        try:
            got, want = attention(attn, inputs, OUTPUTS, **attributes), reference(inputs, attributes)
            # As for f32 elsewhere in the tests: 1e-5 absolute and 5e-6 relative.
            worst = max(OUTPUTS, key=lambda name: errors(got[name], want[name], 5e-6, 1e-5)[1])
            error, share = errors(got[worst], want[worst], 5e-6, 1e-5)
            problem = share > 1 and f"{worst}: error {error:.1e}, {share:.3f} of the tolerance"
        except Exception as exception:  # whatever it is, the case failed
            problem = f"{type(exception).__name__}: {exception}"
        if problem:
            print("FAIL", option, problem)
        passed += not problem
    print(f"{passed} of {len(options)}")
    return passed != len(options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
