# SPDX-License-Identifier: BSD-3-Clause
"""The f32 error of libattn and of PyTorch's scaled_dot_product_attention against double: torch_accuracy.py LIBATTN_SO

Root mean squares and largest errors of the output, over a grid of widths, numbers of keys and means of q and k. Both
get the same inputs. Prints a line for each shape; fails where libattn's mean error is more than 1.2 times PyTorch's.
"""

import itertools
import sys

import libattn
import torch
from torch.nn.functional import scaled_dot_product_attention

WIDTHS = (16, 64, 96, 128, 192, 256, 512, 576)
KEYS = (16, 256, 2048, 16384, 65536)
MEANS = (0, 10)
MOST = 1.2


def errors_of(attn, D, Tk, mean):
    """Of libattn and of PyTorch. With large means a row has few weights, and errors need many rows."""
    Tq = 64 if mean == 0 or Tk > 16384 else 256
    q, k, v = (torch.randn(1, 1, T, D) + mean for T in (Tq, Tk, Tk))
    ours = torch.empty_like(q)
    attn.sdpa(*(x.numpy() for x in (q, k, v, ours)), "ATTN_PRESET_PYTORCH_SDPA")
    want = scaled_dot_product_attention(q.double(), k.double(), v.double())
    theirs = scaled_dot_product_attention(q, k, v)
    return [(x.double() - want).abs() for x in (ours, theirs)]


def main():
    attn = libattn.Library(sys.argv[1], threads=1)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    cases = passed = 0
    for mean, D, Tk in itertools.product(MEANS, WIDTHS, KEYS):
        ours, theirs = errors_of(attn, D, Tk, mean)
        root = [error.square().mean().sqrt().item() for error in (ours, theirs)]
        good = root[0] <= MOST * root[1]
        cases, passed = cases + 1, passed + good
        print(f"{'ok' if good else 'FAILED':6} mean {mean:2} D {D:3} Tk {Tk:5}: rms {root[0]:.2e} of {root[1]:.2e}, "
              f"ratio {root[0] / root[1]:.2f}; largest {ours.max():.2e} of {theirs.max():.2e}", flush=True)
    print(f"{passed} of {cases}, PyTorch {torch.__version__}")
    sys.exit(passed != cases)


main()
