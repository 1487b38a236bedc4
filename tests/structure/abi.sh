#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# abi.sh compare|accept [HEADERS]: compares what the public headers declare with attn.abi, or writes that anew. They are
# compiled, by CC, as a library whose functions are empty, so that nothing else counts.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
headers=${2:-$here/../../include/attn}
if ! command -v abidiff >/dev/null; then
    echo "abi.sh: skipped, there is no abidiff (Debian: abigail-tools)"
    exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir "$work/attn"
for header in "$headers"/*.h; do
    awk '/^ATTN_API/ { inside = 1 } inside && sub(/;$/, " { __builtin_trap(); }") { inside = 0 } { print }' \
        "$header" >"$work/attn/${header##*/}"
done
printf '#include <attn/%s>\n' attn.h dlpack.h >"$work/attn.c"
(cd "$work" && ${CC:-cc} -g -O0 -w -fPIC -shared -nostdlib -I . -Wl,--version-script="$here/../../src/attn.map" \
    attn.c -o libattn.so)
abidw --no-architecture --no-corpus-path --no-comp-dir-path \
    --no-show-locs --no-elf-needed --no-parameter-names --type-id-style hash "$work/libattn.so" >"$work/attn.abi"

case $1 in
accept) cp "$work/attn.abi" "$here/attn.abi" ;;
compare)
    abidiff --harmless --leaf-changes-only --no-architecture "$here/attn.abi" "$work/attn.abi" || {
        echo "abi.sh: the binary interface changed. docs/abi.md tells which may be, and how one is accepted."
        exit 1
    }
    ;;
*)
    echo "abi.sh: compare or accept" >&2
    exit 2
    ;;
esac
