#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Installs what is missing, builds, and compares the BLAS backends found, in about a minute: run.sh [attn-bench command]
# [option...]. Without a command: compare. Options come after those below, so that they win; paths in them are relative
# to the caller's folder.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

sh "$root/cmake/build-target.sh" attn-bench bench
program="$root/build/release/bench/attn-bench"

command=compare
if [ $# -gt 0 ] && [[ $1 != -* ]]; then
    command=$1
    shift
fi
case $command in
machine | explain | diff) exec "$program" "$command" "$@" ;;
esac
"$program" "$command" --budget 50 --json "$root/build/attn-bench.json" \
    --svg "$root/build/attn-bench.svg" --html "$root/build/attn-bench.html" "$@"
