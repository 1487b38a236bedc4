#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# version.sh ROOT: CITATION.cff, the first heading of CHANGELOG.md and the first entry of Debian's changelog have the
# version of version.h.
set -eu
cd "$1"

version=$(sed -n 's/^#define ATTN_VERSION_[A-Z]* \([0-9]*\)$/\1/p' include/attn/version.h | paste -sd.)
cited=$(sed -n 's/^version: //p' CITATION.cff)
changed=$(sed -n 's/^## \[\(.*\)\].*/\1/p' CHANGELOG.md | head -n 1)
packaged=$(sed -n '1s/^libattn (\(.*\)-.*/\1/p' packaging/debian/changelog)
[ "$cited $changed $packaged" = "$version $version $version" ] || {
    echo "version.sh: version.h has $version, CITATION.cff $cited, CHANGELOG.md $changed, Debian's changelog $packaged"
    exit 1
}
