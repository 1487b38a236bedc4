#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Writes the recipes for vcpkg, Conan and Meson of a source archive, which source.sh made, to build/recipes, with its
# version and hashes:  sh packaging/recipes.sh ARCHIVE URL
#   URL  where the archive can be had
set -eu

archive=$(realpath "$1")
url=$2
cd "$(dirname "$0")/.."
name=${archive##*/libattn-}
version=${name%.tar.xz}
sha256=$(sha256sum "$archive" | cut -d ' ' -f 1)
sha512=$(sha512sum "$archive" | cut -d ' ' -f 1)

rm -rf build/recipes
mkdir -p build/recipes
cp -R packaging/vcpkg packaging/conan packaging/meson build/recipes
find build/recipes -type f -exec \
    sed -i "s|@VERSION@|$version|; s|@URL@|$url|; s|@SHA256@|$sha256|; s|@SHA512@|$sha512|" {} +
