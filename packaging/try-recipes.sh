#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Builds libattn and a program by each recipe, from the source archive of a commit:
#     bash packaging/try-recipes.sh meson|conan|vcpkg [COMMIT]
# meson needs Meson 1.0, conan Conan 2. vcpkg is not run: stand-ins for its functions, in try-vcpkg.cmake, do what its
# manual says.
set -euo pipefail
cd "$(dirname "$0")/.."

recipe=$1
here=$PWD
work=$here/build/try-$recipe
archive=$here/build/$(sh packaging/source.sh "${2:-HEAD}" | sed 's/.* //')
sh packaging/recipes.sh "$archive" "file://$archive"
rm -rf "$work"
mkdir "$work"
cd "$work"

# expect_ok PROGRAM: it prints ok
expect_ok() {
    [ "$("$@")" = ok ] || { echo "try-recipes.sh: $* does not print ok" >&2; exit 1; }
    echo "ok: $*"
}

# With OpenBLAS, shared, and without, static.
meson() {
    mkdir -p app/subprojects
    cp -R "$here"/build/recipes/meson/* app/subprojects
    cp "$here/packaging/conan/test_package/example.c" app
    cat >app/meson.build <<'END'
project('app', 'c')
executable('example', 'example.c', dependencies: dependency('attn', version: '>=0.1'))
END
    command meson setup app with --buildtype=release
    command meson compile -j 2 -C with
    expect_ok with/example
    sh "$here/tests/structure/exports.sh" nm with/subprojects/libattn-*/libattn.so 0.1
    command meson setup app without --buildtype=release -Ddefault_library=static -Dlibattn:openblas=false
    command meson compile -j 2 -C without
    expect_ok without/example
}

# Without OpenBLAS, which would come from Conan's server.
conan() {
    export CONAN_HOME=$work/home
    command conan profile detect
    for shared in True False; do
        command conan create "$here/build/recipes/conan" -o "libattn/*:openblas=False" -o "libattn/*:shared=$shared"
    done
}

vcpkg() {
    cmake -DPORT_FOLDER="$here/build/recipes/vcpkg/libattn" -DWORK="$work" -P "$here/packaging/try-vcpkg.cmake"
    cmake -S "$here/packaging/conan/test_package" -B app -DCMAKE_PREFIX_PATH="$work/packages"
    cmake --build app
    expect_ok app/example
}

"$recipe"
