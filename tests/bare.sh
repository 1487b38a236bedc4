#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Runs the README's lines, as they are, on a bare Debian, as a new user does:  bash tests/bare.sh [SUITE [all]]
#   SUITE   of Debian: bookworm (12, the default), trixie (13), …
#   all     also the set-up command that runs all tests
# As root, with debootstrap; packages come from where this machine's apt gets its own. The root is made anew each time in
# build/bare-SUITE.
set -euo pipefail
cd "$(dirname "$0")/.."
. cmake/debian-root.sh

suite=${1:-bookworm}
root=$PWD/build/bare-$suite

fail() {
    echo "bare.sh: $*" >&2
    exit 1
}

# blocks HEADING: the lines of the sh blocks in that section of the README
blocks() {
    awk -v heading="$1" '/^## / { here = substr($0, 4) == heading } !here { next }
        /^```/ { inside = $0 == "```sh"; next } inside' README.md
}

# first LANGUAGE: the README's first block in that language
first() {
    awk -v fence="\`\`\`$1" '$0 == fence { inside = 1; next } inside && /^```/ { exit } inside' README.md
}

trap 'leave_root "$root"' EXIT
make_root "$suite" "$root"
mkdir "$root/root/libattn" "$root/root/example"
tar -c --exclude=./build --exclude=./.git . | tar -x -C "$root/root/libattn"

mapfile -t setup < <(blocks "Set up")
[ ${#setup[@]} = 2 ] || fail "'Set up' has ${#setup[@]} commands, expected 2"
in_root "$root" /root/libattn "${setup[0]}"
in_root "$root" /root/libattn "$(blocks Link)"
first c >"$root/root/example/example.c"
first text >"build/bare-$suite.expected"
in_root "$root" /root/example "$(first sh)" | tee "build/bare-$suite.printed"
tail -n +2 "build/bare-$suite.printed" | diff -u "build/bare-$suite.expected" - || fail "the example prints something else"
[ "${2:-}" != all ] || in_root "$root" /root/libattn "${setup[1]}"
echo "bare.sh: $suite: ok"
