#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Installs what is missing, builds, and compares the BLAS backends found, in about a minute: run.sh [attn-bench command]
# [option...]. Without a command: compare. Options come after those below, so that they win; paths in them are relative
# to the caller's folder.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

build="$root/build/release"
(
    cd "$root"
    sh cmake/install-deps.sh build bench
    cmake --preset release -DATTN_BUILD_TESTS=OFF # which need more to be installed; tests/run.sh turns them on
    cmake --build "$build" --target attn-bench --parallel
) >&2

command=compare
if [ $# -gt 0 ] && [[ $1 != -* ]]; then
    command=$1
    shift
fi
case $command in
machine | explain | diff) exec "$build/bench/attn-bench" "$command" "$@" ;;
esac
"$build/bench/attn-bench" "$command" --budget 50 --json "$root/build/attn-bench.json" \
    --svg "$root/build/attn-bench.svg" --html "$root/build/attn-bench.html" "$@"
