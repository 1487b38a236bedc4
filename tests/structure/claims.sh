#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# claims.sh PAGE BUILD: each test that a command of docs/claims.md names is there.
set -eu

list=$(mktemp)
trap 'rm -f "$list"' EXIT
# Not by ctest, whose log of the run that this is part of would be lost.
find "$2" -name CTestTestfile.cmake -exec sed -nE 's/^add_test\((\[=*\[)?([^] "]+).*/\2/p' {} + >"$list"
[ -s "$list" ] || { echo "claims.sh: no tests in $2"; exit 1; }

# Each alternative by itself: prefix(a|b)suffix is prefix a suffix and prefix b suffix, a|b is a and b.
sed -n "s/.*ctest --preset release -R '\([^']*\)'.*/\1/p" "$1" | sed 's/\\|/|/g' | awk '{
    if (match($0, /\(.*\)/)) {
        head = substr($0, 1, RSTART - 1); body = substr($0, RSTART + 1, RLENGTH - 2); tail = substr($0, RSTART + RLENGTH)
        count = split(tail, rest, "|")
        n = split(body, part, "|")
        for (i = 1; i <= n; i++) print head part[i] rest[1]
        for (i = 2; i <= count; i++) print rest[i]
    } else {
        n = split($0, part, "|")
        for (i = 1; i <= n; i++) print part[i]
    }
}' | {
    checked=0
    while read -r pattern; do
        grep -qE -e "$pattern" "$list" || { echo "claims.sh: no test is called $pattern"; exit 1; }
        checked=$((checked + 1))
    done
    [ "$checked" -gt 40 ] || { echo "claims.sh: only $checked names were found in $1"; exit 1; }
}
