#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Installs what is missing and builds a program into build/release: build-target.sh TARGET [LIST]...
# The lists are install-deps.sh's, besides build. What is printed goes to stderr.
set -eu
exec >&2
target=$1
shift
cd "$(dirname "$0")/.."
sh cmake/install-deps.sh build "$@"
cmake --preset release -DATTN_BUILD_TESTS=OFF # which need more to be installed; tests/run.sh turns them on
cmake --build build/release --target "$target" --parallel
