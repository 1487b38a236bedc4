# SPDX-License-Identifier: BSD-3-Clause
"""libattn.so for tests that compare it with other projects.

The public headers are preprocessed and given to cffi, so no struct, enum or prototype is written down a second time.
"""

import os
import pathlib
import re
import shlex
import subprocess
import sys
import weakref

import cffi
import numpy as np

HEADERS = pathlib.Path(__file__).resolve().parents[2] / "include"
DTYPES = {"float32": "ATTN_F32", "float16": "ATTN_F16", "bfloat16": "ATTN_BF16", "bool": "ATTN_BOOL"}


class Error(Exception):
    """A call failed: the library's status and message."""


def declarations():
    """What the public headers declare, without what they include."""
    compiler = shlex.split(os.environ.get("CC") or "cc")
    command = [*compiler, "-E", "-D__attribute__(x)=", HEADERS / "attn" / "attn.h"]
    lines, ours = [], False
    for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines():
        marker = re.match(r'# \d+ "(.*?)"', line)
        if marker:
            ours = HEADERS in pathlib.Path(marker[1]).parents
        elif ours:
            lines.append(line)
    return "\n".join(lines)


class Library:
    """libattn.so and one context. Fields, constants and functions have the names of the headers."""

    def __init__(self, path, threads=0):
        self.ffi = cffi.FFI()
        self.ffi.cdef(declarations())
        self.c = self.ffi.dlopen(str(pathlib.Path(path).resolve()))
        self._memory = weakref.WeakKeyDictionary()
        self._context = self.ffi.NULL
        place = self.ffi.new("attn_context **")
        self._check(self.c.attn_context_create(self.init("attn_context_options", threads=threads), place))
        self._context = self.ffi.gc(place[0], self.c.attn_context_destroy)

    def view(self, array):
        """The 4-D numpy array as attn_tensor *, in place, whatever its strides."""
        tensor = self.ffi.new("attn_tensor *")
        tensor.data = self.ffi.cast("void *", array.ctypes.data)
        tensor.dtype = getattr(self.c, DTYPES[array.dtype.name])
        tensor.size = array.shape
        tensor.stride = [stride // array.itemsize for stride in array.strides]
        self._memory[tensor] = array
        return tensor

    def int64(self, values):
        """An int64_t array."""
        return self.ffi.new("int64_t[]", [int(value) for value in values])

    def floats(self, array):
        """A numpy array as const float *, in place."""
        return self.ffi.from_buffer("float[]", array)

    def init(self, struct, **fields):
        """A struct after ATTN_INIT, and then these fields, None being left out; it keeps alive what they point to."""
        fields = {name: value for name, value in fields.items() if value is not None}
        result = self.ffi.new(struct + " *")
        if "struct_size" in dir(result):
            result.struct_size = self.ffi.sizeof(struct)
        for name, value in fields.items():
            setattr(result, name, value)
        self._memory[result] = fields
        return result

    def create(self, kind, **fields):
        """attn_KIND_create with these fields of its params; destroyed with the result."""
        return self.create_of(kind, self.init(f"attn_{kind}_params", **fields))

    def create_of(self, kind, params):
        """The same of params that are there."""
        place = self.ffi.new(f"attn_{kind} **")
        self.call(f"attn_{kind}_create", params, place)
        return self.ffi.gc(place[0], getattr(self.c, f"attn_{kind}_destroy"))

    def call(self, name, *arguments):
        """The function of that name: numpy arrays become views, None is NULL."""
        views = [self.view(x) if isinstance(x, np.ndarray) else self.ffi.NULL if x is None else x for x in arguments]
        self._check(getattr(self.c, name)(self._context, *views))

    def copy(self, source, destination):
        """attn_tensor_copy between numpy arrays."""
        self.call("attn_tensor_copy", source, destination)

    def sdpa(self, q, k, v, out, preset, is_causal=False, **fields):
        """attn_sdpa of numpy arrays, with the preset of that name (ATTN_PRESET_*) and then these fields of params."""
        params = self.init("attn_sdpa_params")
        self._check(self.c.attn_sdpa_preset(getattr(self.c, preset), is_causal, params))
        for name, value in fields.items():
            setattr(params, name, value)
        self._check(self.c.attn_sdpa(self._context, *map(self.view, (q, k, v, out)), params))

    def _check(self, status):
        if status != self.c.ATTN_OK:
            texts = self.c.attn_status_text(status), self.c.attn_context_last_error(self._context)
            raise Error(": ".join(self.ffi.string(text).decode() for text in texts))


def check_lines(lines, peer):
    """Prints a line for each name and its cases' shares of the tolerance, 1 being all that is allowed; then exits."""
    cases = passed = 0
    for name, shares in lines:
        good = sum(share <= 1 for share in shares)
        cases, passed = cases + len(shares), passed + good
        print(f"{'ok' if good == len(shares) else 'FAILED':6} {name:50} {good} of {len(shares)}, "
              f"largest error {max(shares):.2f} of the tolerance")
    print(f"{passed} of {cases}, {peer}")
    sys.exit(passed != cases)
