# SPDX-License-Identifier: BSD-3-Clause
"""libattn's gradients against PyTorch's autograd: torch_gradients.py LIBATTN_SO

scaled_dot_product_attention, nn.MultiheadAttention, nn.TransformerEncoderLayer and nn.TransformerDecoderLayer, in double
precision, from the same inputs and weights, all N(0,1) or as PyTorch begins with them. Prints a line for each kind.
"""

import itertools
import sys

import libattn
import numpy as np
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

ABSOLUTE, RELATIVE = 2e-5, 1e-5
SHAPES = ((2, 4, 4, 37, 70, 16), (1, 6, 2, 128, 128, 64), (3, 4, 1, 5, 200, 40), (2, 2, 2, 65, 33, 8))  # B H G Tq Tk D
MASKS = ("none", "causal", "bool, empty rows", "float", "float of all heads")
B, T, TE, M, HEADS, HIDDEN = 2, 37, 23, 48, 4, 96


def normal(*size):
    """In single precision."""
    return torch.randn(*size)


def doubled(x):
    return x.double().requires_grad_()


def share_of_tolerance(ours, want):
    """The largest error; 1 is all that is allowed."""
    want = want.numpy().reshape(ours.shape)
    error = np.abs(ours - want) / (ABSOLUTE + RELATIVE * np.abs(want))
    return float(np.where(np.isnan(error), np.inf, error).max())


class Gradients:
    """Arrays of NaN that libattn fills, each beside what PyTorch says, as fields of libattn's structs."""

    def __init__(self, attn):
        self.attn, self.pairs = attn, []

    def _array(self, want):
        array = np.full(want.shape, np.nan, np.float32)
        self.pairs.append((array, want))
        return array

    def tensor(self, want):
        """Of an input [B,T,M] or [B,H,T,D]."""
        array = self._array(want)
        return self.attn.view(array if array.ndim == 4 else array[:, None])

    def floats(self, want):
        """Of a parameter."""
        return self.attn.floats(self._array(want))

    def worst(self):
        return max(share_of_tolerance(*pair) for pair in self.pairs)


# -- attention --


def mask_of(kind, H, Tq, Tk, batch):
    """PyTorch's attn_mask."""
    if kind == "bool, empty rows":
        mask = torch.rand(batch, H, Tq, Tk) < 0.5
        mask[:, :, ::3] = False
        return mask
    if kind.startswith("float"):
        return normal(batch, 1 if kind.endswith("heads") else H, Tq, Tk)
    return None


def attention(attn, shape, kind):
    batch, H, G, Tq, Tk, D = shape
    q, k, v, d_out = normal(batch, H, Tq, D), normal(batch, G, Tk, D), normal(batch, G, Tk, D), normal(batch, H, Tq, D)
    mask, causal = mask_of(kind, H, Tq, Tk, batch), kind == "causal"
    theirs = [doubled(x) for x in (q, k, v)]
    bias = doubled(mask) if kind.startswith("float") else mask
    scaled_dot_product_attention(*theirs, bias, is_causal=causal, enable_gqa=H != G).backward(d_out.double())
    gradients, out, lse = Gradients(attn), np.zeros((batch, H, Tq, D), np.float32), np.zeros((batch, H, Tq), np.float32)
    fields = {name: gradients.tensor(x.grad) for name, x in zip(("dq", "dk", "dv"), theirs)}
    params = {"lse": attn.floats(lse), "causal": attn.c.ATTN_CAUSAL_TOP_LEFT if causal else attn.c.ATTN_CAUSAL_NONE}
    if kind.startswith("float"):
        params["bias"], fields["d_bias"] = attn.view(mask.numpy()), gradients.tensor(bias.grad)
    elif mask is not None:
        params["mask"], params["polarity"] = attn.view(mask.numpy()), attn.c.ATTN_KEEP
    params = attn.init("attn_sdpa_params", **params)
    arrays = [x.numpy() for x in (q, k, v)]
    attn.call("attn_sdpa", *arrays, out, params)
    attn.call("attn_sdpa_backward", *arrays, out, d_out.numpy(), params, attn.init("attn_sdpa_gradients", **fields))
    return gradients.worst()


# -- layers and blocks --


def of_layer(attn, layer):
    """The params of an nn.MultiheadAttention."""
    fields = {name: attn.floats(x.detach().float().numpy()) for name, x in weights_of(layer).items()}
    return attn.init("attn_mha_params", model_width=layer.embed_dim, heads=layer.num_heads,
                     key_input_width=layer.kdim, value_input_width=layer.vdim, **fields)


def weights_of(layer):
    """By the fields of libattn that they are."""
    named = {"in_weight": layer.in_proj_weight, "q_weight": layer.q_proj_weight, "k_weight": layer.k_proj_weight,
             "v_weight": layer.v_proj_weight, "out_weight": layer.out_proj.weight, "out_bias": layer.out_proj.bias}
    if layer.in_proj_weight is not None:
        named["in_bias"] = layer.in_proj_bias
    else:
        named |= zip(("q_bias", "k_bias", "v_bias"), layer.in_proj_bias.chunk(3))
    return {name: x for name, x in named.items() if x is not None}


def of_layer_gradients(attn, layer, gradients, **inputs):
    fields = {}
    for name, x in weights_of(layer).items():
        grad = x.grad if x.is_leaf else layer.in_proj_bias.grad.chunk(3)["qkv".index(name[0])]
        fields["d_" + name] = gradients.floats(grad)
    return attn.init("attn_mha_gradients", **fields, **inputs)


def causal_mask(attn, causal, length):
    mask = torch.triu(torch.full((length, length), float("-inf"), dtype=torch.double), 1) if causal else None
    return mask, attn.init("attn_sdpa_params", causal=attn.c.ATTN_CAUSAL_TOP_LEFT if causal else attn.c.ATTN_CAUSAL_NONE)


def layer(attn, causal, widths):
    torch_layer = nn.MultiheadAttention(M, HEADS, batch_first=True, kdim=widths[0], vdim=widths[1])
    nn.init.normal_(torch_layer.in_proj_bias, 0, 1)
    torch_layer.double()
    x, d_out = [normal(B, T, width) for width in (M, *widths)], normal(B, T, M)
    theirs = [doubled(each) for each in x]
    mask, params = causal_mask(attn, causal, T)
    torch_layer(*theirs, attn_mask=mask, need_weights=False)[0].backward(d_out.double())
    gradients, mha = Gradients(attn), attn.create_of("mha", of_layer(attn, torch_layer))
    inputs = {name: gradients.tensor(each.grad) for name, each in zip(("d_query", "d_key", "d_value"), theirs)}
    attn.call("attn_mha_backward", mha, *(each.numpy()[:, None] for each in x), d_out.numpy()[:, None], params, None,
              of_layer_gradients(attn, torch_layer, gradients, **inputs))
    return gradients.worst()


def of_norm(attn, norm):
    weight, bias = (attn.floats(x.detach().float().numpy()) for x in (norm.weight, norm.bias))
    return attn.init("attn_norm_params", eps=norm.eps, weight=weight, bias=bias)


def of_norm_gradients(attn, norm, gradients):
    return attn.init("attn_norm_gradients", d_weight=gradients.floats(norm.weight.grad),
                     d_bias=gradients.floats(norm.bias.grad))


def block_parts(block, crosses):
    """nn modules by the fields of libattn that they are."""
    parts = {"self_attention": block.self_attn, "self_norm": block.norm1,
             "feed_norm": block.norm3 if crosses else block.norm2}
    return parts | ({"cross_attention": block.multihead_attn, "cross_norm": block.norm2} if crosses else {})


def of_block(attn, block, crosses, activation):
    feed = {"up": block.linear1, "down": block.linear2}
    arrays = {f"{name}_{kind}": attn.floats(getattr(linear, kind).detach().float().numpy())
              for name, linear in feed.items() for kind in ("weight", "bias")}
    parts = {name: of_norm(attn, part) if name.endswith("norm") else of_layer(attn, part)
             for name, part in block_parts(block, crosses).items()}
    place = attn.c.ATTN_PRE_NORM if block.norm_first else attn.c.ATTN_POST_NORM
    return attn.init("attn_block_params", norm_place=place, **parts,
                     feed=attn.init("attn_feed_params", hidden_width=HIDDEN, activation=activation, **arrays))


def of_block_gradients(attn, block, crosses, gradients, **inputs):
    feed = {f"d_{name}_{kind}": gradients.floats(getattr(linear, kind).grad)
            for name, linear in (("up", block.linear1), ("down", block.linear2)) for kind in ("weight", "bias")}
    parts = {name: of_norm_gradients(attn, part, gradients) if name.endswith("norm")
             else of_layer_gradients(attn, part, gradients) for name, part in block_parts(block, crosses).items()}
    return attn.init("attn_block_gradients", **parts, feed=attn.init("attn_feed_gradients", **feed), **inputs)


def block(attn, crosses, norm_first, activation, causal):
    kind = nn.TransformerDecoderLayer if crosses else nn.TransformerEncoderLayer
    theirs = kind(M, HEADS, HIDDEN, 0, activation, batch_first=True, norm_first=norm_first).double()
    x, memory, d_out = normal(B, T, M), normal(B, TE, M), normal(B, T, M)
    inputs = [doubled(each) for each in ((x, memory) if crosses else (x,))]
    mask, params = causal_mask(attn, causal, T)
    theirs(*inputs, mask).backward(d_out.double())
    gradients = Gradients(attn)
    ours = attn.create_of("block", of_block(attn, theirs, crosses, getattr(attn.c, "ATTN_" + activation.upper())))
    fields = {name: gradients.tensor(each.grad) for name, each in zip(("dx", "d_encoded"), inputs)}
    encoded = attn.view(memory.numpy()[:, None]) if crosses else None
    attn.call("attn_block_backward", ours, x.numpy()[:, None], d_out.numpy()[:, None],
              attn.init("attn_block_inputs", self_params=params, encoded=encoded), None,
              of_block_gradients(attn, theirs, crosses, gradients, **fields))
    return gradients.worst()


def kinds():
    """A name, a function, and the arguments of its cases."""
    yes = (False, True)
    for mask in MASKS:
        yield f"scaled_dot_product_attention, {mask}", attention, [(shape, mask) for shape in SHAPES]
    yield "nn.MultiheadAttention", layer, [*itertools.product(yes, ((M, M), (40, 33)))]
    for crosses, name in ((False, "nn.TransformerEncoderLayer"), (True, "nn.TransformerDecoderLayer")):
        yield name, block, [*itertools.product((crosses,), yes, ("relu", "gelu"), yes)]


def main():
    attn = libattn.Library(sys.argv[1])
    torch.manual_seed(0)
    lines = ((name, [check(attn, *each) for each in arguments]) for name, check, arguments in kinds())
    libattn.check_lines(lines, f"PyTorch {torch.__version__}")


main()
