#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Installs what is missing, builds, and runs the bench over the BLAS backends found: run.sh [attn-bench options]
# Options come after those below, so that they win; paths in them are relative to the caller's folder.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

build="$root/build/release"
(
    cd "$root"
    sh cmake/install-deps.sh build bench
    cmake --preset release -DATTN_BUILD_TESTS=OFF # which need more to be installed; tests/run.sh turns them on
    cmake --build "$build" --target attn-bench --parallel
) >&2

"$build/bench/attn-bench" --json "$root/build/attn-bench.json" --svg "$root/build/attn-bench.svg" "$@"
