#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Makes the source archive of a commit, whose bytes depend on nothing else, and prints its SHA-256:
#     sh packaging/source.sh [COMMIT [FOLDER]]
# The defaults are HEAD and build/. What is not committed is left out.
set -eu
cd "$(dirname "$0")/.."

commit=${1:-HEAD}
folder=${2:-build}
version=$(git show "$commit:include/attn/version.h" |
    sed -n 's/^#define ATTN_VERSION_[A-Z]* \([0-9][0-9]*\)$/\1/p' | paste -sd.)
name=libattn-$version

mkdir -p "$folder"
# Entries have the time of the commit. How many threads xz takes is part of what it writes.
git -c tar.umask=0022 archive --format=tar --prefix="$name/" --output="$folder/$name.tar" "$commit"
xz --force --threads=1 --check=crc64 -9 "$folder/$name.tar"
cd "$folder"
sha256sum "$name.tar.xz"
