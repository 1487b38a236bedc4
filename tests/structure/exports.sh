#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# exports.sh NM LIBRARY: the library exports exactly the names in exported.txt, and all begin with attn_.
set -eu
listed=$(dirname "$0")/exported.txt

# Sanitized builds export __odr_asan.NAME too, and musl's _init and _fini.
"$1" -D --defined-only "$2" | awk '$3 !~ /^(__odr_asan|_init$|_fini$)/ { print $3 }' | LC_ALL=C sort | diff -u "$listed" - || {
    echo "exports.sh: $2 differs from $listed"
    exit 1
}
if grep -v '^attn_[a-z0-9_]*$' "$listed"; then
    echo "exports.sh: the names above do not begin with attn_"
    exit 1
fi
