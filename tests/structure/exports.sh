#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# exports.sh NM LIBRARY SOVERSION: the library exports exactly the symbols in exported.txt, and all begin with attn_ and
# have a version of the soname's.
set -eu
listed=$(dirname "$0")/exported.txt

# The versions themselves are symbols too, unless lld wrote them.
"$1" -D --defined-only "$2" | awk '$2 != "A" { print $3 }' | LC_ALL=C sort | diff -u "$listed" - || {
    echo "exports.sh: $2 differs from $listed"
    exit 1
}
if grep -v "^attn_[a-z0-9_]*@@ATTN_$3\(\.[0-9]*\)\?$" "$listed"; then
    echo "exports.sh: the symbols above do not begin with attn_, or are of another version than $3"
    exit 1
fi
