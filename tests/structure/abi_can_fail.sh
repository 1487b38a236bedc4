#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# abi_can_fail.sh DIRECTORY: changes copies of the public headers there, and holds abi.sh to finding each change.
set -eu
here=$(dirname "$0")
command -v abidiff >/dev/null || {
    echo "abi_can_fail.sh: skipped, there is no abidiff"
    exit 77
}

while read -r header change; do
    rm -rf "$1"
    cp -R "$here/../../include/attn" "$1"
    sed "$change" "$1/$header" >"$1/changed"
    if cmp -s "$1/changed" "$1/$header"; then
        echo "abi_can_fail.sh: changes nothing: $header $change"
        exit 1
    fi
    mv "$1/changed" "$1/$header"
    if sh "$here/abi.sh" compare "$1"; then
        echo "abi_can_fail.sh: not found: $header $change"
        exit 1
    fi
done <<'END'
mha.h s/^} attn_mha_inputs;/    void *appended;\n&/
rotary.h s/^    float eps;/    int inserted;\n&/
tensor.h s/ATTN_BOOL = 3/ATTN_BOOL = 6/
softmax.h s/size_t rows/int rows/
version.h /^ATTN_API/d
dlpack.h s/int32_t ndim/int64_t ndim/
END
