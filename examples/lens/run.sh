#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Installs what is missing, builds attn-lens, fetches the model and runs: run.sh [attn-lens arguments]
# Without arguments it shows the sentence of the README and draws build/lens/cat.svg. Paths are relative to the caller's
# folder.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

sh "$root/cmake/build-target.sh" attn-lens lens
model=$(bash "$root/examples/lens/get-model.sh")

lens() { "$root/build/release/examples/lens/attn-lens" "$@" --model "$model"; }

if [ $# -gt 0 ]; then
    lens "$@"
else
    lens show "The cat sat on mat" --word cat --layer 6 --svg "$root/build/lens/cat.svg" --html "$root/build/lens/cat.html"
    echo "wrote build/lens/cat.svg and build/lens/cat.html"
fi
