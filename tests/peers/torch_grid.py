# SPDX-License-Identifier: BSD-3-Clause
"""libattn against PyTorch's scaled_dot_product_attention over a grid of its options: torch_grid.py LIBATTN_SO

PyTorch computes in double precision from the same inputs, so the differences are libattn's own: those that its
documentation promises for N(0,1), and half an ulp of the output's type. Prints a line for each type and kind of mask.
"""

import itertools
import sys

import libattn
import torch
from torch.nn.functional import scaled_dot_product_attention

ABSOLUTE, RELATIVE = 1e-5, 5e-6
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
SHAPES = (  # B, H, G, Tq, Tk, D, E
    (2, 4, 4, 37, 70, 16, 24),
    (1, 6, 2, 128, 128, 64, 64),
    (3, 4, 1, 1, 200, 40, 8),
    (2, 2, 2, 65, 33, 8, 8),
    (1, 2, 1, 300, 257, 24, 72),
    (2, 1, 1, 1, 1, 1, 1),
)
SCALES = (None, 0.3, -0.05)
LAYOUTS = ("BHTD", "BTHD")
MASKS = ("none", "causal", "bool", "bool, empty rows", "float", "float with -inf", "float with finfo.min", "2-D", "keys")


class Library(libattn.Library):
    def view(self, array):
        """A torch tensor of up to four dimensions as attn_tensor *, in place. It must outlive the call."""
        array = array[(None,) * (4 - array.dim())]
        tensor = self.ffi.new("attn_tensor *")
        tensor.data = self.ffi.cast("void *", array.data_ptr())
        tensor.dtype = getattr(self.c, libattn.DTYPES[str(array.dtype).removeprefix("torch.")])
        tensor.size = array.shape
        tensor.stride = array.stride()
        return tensor


def normal(layout, dtype, B, H, T, D):
    if layout == "BTHD":
        return torch.randn(B, T, H, D).to(dtype).transpose(1, 2)
    return torch.randn(B, H, T, D).to(dtype)


def mask_of(kind, dtype, B, H, Tq, Tk):
    """PyTorch's attn_mask."""
    if kind in ("none", "causal"):
        return None
    if kind == "2-D":
        return torch.rand(Tq, Tk) < 0.6
    if kind == "keys":
        return torch.rand(B, 1, 1, Tk) < 0.6
    if kind.startswith("bool"):
        mask = torch.rand(B, H, Tq, Tk) < 0.5
        mask[:, :, ::3] &= kind == "bool"
        return mask
    mask = torch.randn(B, H, Tq, Tk)
    if kind != "float":
        low = float("-inf") if kind.endswith("-inf") else torch.finfo(dtype).min
        mask[torch.rand(B, H, Tq, Tk) < 0.5] = low
        if low < -1e30:  # in half precision it is -65504, which leaves something of the scores
            mask[:, :, 1::3] = low  # whole rows: empty, or uniform
    return mask.to(dtype)


def ours(attn, q, k, v, out, mask, is_causal, scale):
    fields = {"scale": scale or 0}
    if mask is not None:
        fields["mask" if mask.dtype == torch.bool else "bias"] = attn.view(mask)
    attn.sdpa(q, k, v, out, "ATTN_PRESET_PYTORCH_SDPA", is_causal, **fields)


def share_of_tolerance(out, want):
    """The largest error; 1 is all that is allowed."""
    rounding = torch.finfo(out.dtype).eps / 2 if out.dtype != torch.float32 else 0
    smallest = torch.finfo(out.dtype).smallest_normal * torch.finfo(out.dtype).eps
    allowed = ABSOLUTE + smallest + (RELATIVE + rounding) * want.abs()
    error = (out.double() - want).abs() / allowed
    return torch.where(error.isnan(), torch.inf, error).max().item()


def run(attn, kind, dtype, shape, scale, layout):
    B, H, G, Tq, Tk, D, E = shape
    q, k, v = (normal(layout, dtype, *size) for size in ((B, H, Tq, D), (B, G, Tk, D), (B, G, Tk, E)))
    out = torch.full_like(normal(layout, dtype, B, H, Tq, E), torch.nan)
    mask, is_causal = mask_of(kind, dtype, B, H, Tq, Tk), kind == "causal"
    ours(attn, q, k, v, out, mask, is_causal, scale)
    in_double = mask if mask is None or mask.dtype == torch.bool else mask.double()
    if kind == "float with finfo.min":  # in single precision, as the sums of it are
        in_double = torch.where(in_double < -6e4, -1e300, in_double)
    sign = -1 if scale and scale < 0 else 1  # PyTorch 2.15 has NaN for a negative scale with is_causal
    want = scaled_dot_product_attention(sign * q.double(), k.double(), v.double(), in_double, is_causal=is_causal,
                                        scale=scale and sign * scale, enable_gqa=H != G)
    return share_of_tolerance(out, want)


def main():
    attn = Library(sys.argv[1])
    torch.manual_seed(0)
    cases = [*itertools.product(SHAPES, SCALES, LAYOUTS)]
    lines = ((f"{dtype}, {kind}", [run(attn, kind, dtype, *case) for case in cases])
             for dtype, kind in itertools.product(DTYPES, MASKS))
    libattn.check_lines(lines, f"PyTorch {torch.__version__}")


main()
