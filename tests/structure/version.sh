#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# version.sh ROOT: CITATION.cff and the first heading of CHANGELOG.md have the version of version.h.
set -eu
cd "$1"

version=$(sed -n 's/^#define ATTN_VERSION_[A-Z]* \([0-9]*\)$/\1/p' include/attn/version.h | paste -sd.)
cited=$(sed -n 's/^version: //p' CITATION.cff)
changed=$(sed -n 's/^## \[\(.*\)\].*/\1/p' CHANGELOG.md | head -n 1)
[ "$cited" = "$version" ] && [ "$changed" = "$version" ] || {
    echo "version.sh: version.h has $version, CITATION.cff $cited, CHANGELOG.md $changed"
    exit 1
}
