#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Installs what is missing, builds and trains: run.sh [--OPTION NUMBER]... [FILE...]; see train.c
# Without files it learns libattn's headers. The loss is drawn in build/train/loss.svg. Paths are relative to the
# caller's folder.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

sh "$root/cmake/build-target.sh" example_train
mkdir -p "$root/build/train"

text=("$root"/include/attn/*.h)
for ((i = 1; i <= $#; i += 2)); do # options are pairs, so that the first file is at an odd place
    [[ ${!i} == --* ]] || text=()
done
"$root/build/release/examples/example_train" --svg "$root/build/train/loss.svg" "$@" "${text[@]}"
echo "wrote build/train/loss.svg" >&2
