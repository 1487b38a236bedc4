#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# One test of tests/consumers: run.sh NAME. CMakeLists.txt sets CC, CXX, CMAKE, SOURCE, BUILD, WORK, LIBDIR,
# and OPENBLAS: whether that is linked.
set -eu

here=$SOURCE/tests/consumers
prefix=$WORK/prefix
strict='-pedantic -Wall -Wextra -Werror'

fail() {
    echo "consumers: $*"
    exit 1
}

# expect_ok PROGRAM: it prints ok
expect_ok() {
    printed=$("$@") || fail "$* failed: $printed"
    [ "$printed" = ok ] || fail "$* printed: $printed"
    echo "ok: $*"
}

# build_and_run DIRECTORY CFLAGS LIBS: the consumer in each language
build_and_run() {
    rm -rf "$1"
    mkdir -p "$1"
    $CC -std=c99 $strict $2 "$here/consumer.c" -o "$1/c99" $3 -lm
    $CC -std=c11 $strict $2 "$here/consumer.c" -o "$1/c11" $3 -lm
    $CXX -std=c++17 $strict $2 "$here/consumer.cpp" -o "$1/cxx17" $3 -lm
    for program in c99 c11 cxx17; do
        expect_ok "$1/$program"
    done
}

# build_in DIRECTORY SOURCE [OPTION...]: the same through CMake, which may have built there before
build_in() {
    directory=$1 source=$2
    shift 2
    "$CMAKE" -S "$source" -B "$directory" -DCMAKE_C_COMPILER="$CC" -DCMAKE_CXX_COMPILER="$CXX" "$@"
    "$CMAKE" --build "$directory" --parallel 2
    for program in shared_c99 shared_c11 shared_cxx17 static_c99 static_c11 static_cxx17; do
        expect_ok "$directory/$program"
    done
}

# cmake_and_run DIRECTORY SOURCE [OPTION...]: from nothing
cmake_and_run() {
    rm -rf "$1"
    build_in "$@"
}

# use PREFIX: pkg-config finds the libattn installed there
use() {
    PKG_CONFIG_PATH=$1/$LIBDIR/pkgconfig
    LD_LIBRARY_PATH=$1/$LIBDIR${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    export PKG_CONFIG_PATH LD_LIBRARY_PATH
}

# needs_libattn PROGRAM: does it load libattn.so?
needs_libattn() {
    readelf -d "$1" | grep -q 'NEEDED.*libattn'
}

# expect_openblas FILE: it loads OpenBLAS where it should, and only there
expect_openblas() {
    needs=OFF
    ! readelf -d "$1" | grep -q 'NEEDED.*blas' || needs=ON
    [ "$needs" = "$OPENBLAS" ] || fail "$1 loads OpenBLAS: $needs, expected $OPENBLAS"
}

install() {
    rm -rf "$prefix"
    "$CMAKE" --install "$BUILD" --prefix "$prefix"
    [ -L "$prefix/$LIBDIR/libattn.so.0.1" ] || fail "no libattn.so.0.1"
    readelf -d "$prefix/$LIBDIR/libattn.so" | grep -q 'SONAME.*\[libattn\.so\.0\.1\]' || fail "the soname is another"
    if readelf -d "$prefix/$LIBDIR/libattn.so" | grep -E 'RPATH|RUNPATH'; then
        fail "libattn.so has a run path"
    fi
    expect_openblas "$prefix/$LIBDIR/libattn.so"
    if grep -rIl -e "$BUILD" -e "$SOURCE" "$prefix"; then
        fail "the files above name the build"
    fi
}

# compiles LINE...: a file of these lines, in each language. ISO C wants a declaration in it.
compiles() {
    printf '%s\n' "$@" 'extern int unit;' >"$WORK/unit"
    for standard in c99 c11; do
        $CC -std=$standard $strict -I "$prefix/include" -fsyntax-only -x c "$WORK/unit"
    done
    $CXX -std=c++17 $strict -I "$prefix/include" -fsyntax-only -x c++ "$WORK/unit"
}

# Each header by itself, and dlpack.h behind the standard's.
headers() {
    for header in "$prefix"/include/attn/*.h; do
        echo "$header"
        compiles "#include <attn/${header##*/}>"
    done
    compiles '#include <dlpack/dlpack.h>' '#include <attn/dlpack.h>'
}

# attn.hpp by each compiler and standard, and without exceptions.
cxx() {
    use "$prefix"
    mkdir -p "$WORK/cxx"
    for compiler in g++ clang++; do
        command -v $compiler >/dev/null || fail "no $compiler"
        for standard in c++17 c++20; do
            program=$WORK/cxx/$compiler-$standard
            $compiler -std=$standard $strict -Wconversion -Wshadow $(pkg-config --cflags attn) "$here/cxx.cpp" \
                -o "$program" $(pkg-config --libs attn)
            expect_ok "$program"
        done
        echo '#include <attn/attn.hpp>' | $compiler -std=c++17 -fno-exceptions $strict $(pkg-config --cflags attn) \
            -fsyntax-only -x c++ -
    done
}

pkgconfig_shared() {
    use "$prefix"
    build_and_run "$WORK/pkgconfig_shared" "$(pkg-config --cflags attn)" "$(pkg-config --libs attn)"
    needs_libattn "$WORK/pkgconfig_shared/c99" || fail "the program does not load libattn.so"
}

# From a moved tree.
pkgconfig_static() {
    rm -rf "$WORK/moved"
    cp -R "$prefix" "$WORK/moved"
    use "$WORK/moved"
    build_and_run "$WORK/pkgconfig_static" "$(pkg-config --cflags attn-static)" "$(pkg-config --libs attn-static)"
    ! needs_libattn "$WORK/pkgconfig_static/c99" || fail "the program loads libattn.so"
    expect_openblas "$WORK/pkgconfig_static/c99"
}

find_package() {
    cmake_and_run "$WORK/find_package" "$here/find_package" -DCMAKE_PREFIX_PATH="$prefix"
    needs_libattn "$WORK/find_package/shared_c99" || fail "attn::attn is not the shared library"
    ! needs_libattn "$WORK/find_package/static_c99" || fail "attn::static is the shared library"
    expect_openblas "$WORK/find_package/static_c99"
}

# Static, and fast, unless the other project says otherwise; with flags of its own, which libattn leaves alone, shared if
# it says so. What it installs starts.
add_subdirectory() {
    directory=$WORK/add_subdirectory
    flags=$directory/libattn/src/CMakeFiles/attn_objects.dir/flags.make
    rm -rf "$directory"
    "$CMAKE" -S "$here/add_subdirectory" -B "$directory" -DCMAKE_C_COMPILER="$CC"
    grep -q -e -O3 "$flags" || fail "no -O3"
    cmake_and_run "$directory" "$here/add_subdirectory" -DCMAKE_C_FLAGS=-O0 -DCMAKE_UNITY_BUILD=ON \
        -DATTN_OPENBLAS="$OPENBLAS"
    ! grep -q -e -O3 "$flags" || fail "-O3 overrides -O0"
    "$CMAKE" --install "$directory" --prefix "$directory/prefix"
    installed=$(cd "$directory/prefix" && find . -type f)
    [ "$installed" = ./bin/shared_c99 ] || fail "more than the consumer was installed: $installed"
    expect_ok "$directory/prefix/bin/shared_c99"
    build_in "$directory" "$here/add_subdirectory" -DBUILD_SHARED_LIBS=ON -UATTN_INSTALL
    "$CMAKE" --install "$directory" --prefix "$directory/prefix"
    needs_libattn "$directory/prefix/bin/shared_c99" || fail "BUILD_SHARED_LIBS is ignored"
    use "$directory/prefix"
    expect_ok "$directory/prefix/bin/shared_c99"
}

static_only() {
    source=$WORK/static_only/source
    copy_source "$source"
    "$CMAKE" -S "$source" -B "$source/build" -DCMAKE_C_COMPILER="$CC" -DCMAKE_BUILD_TYPE=Debug -DBUILD_SHARED_LIBS=OFF \
        -DATTN_BUILD_BENCH=OFF -DATTN_WERROR=ON -DATTN_OPENBLAS="$OPENBLAS"
    "$CMAKE" --build "$source/build" --parallel 2
    "$CMAKE" --install "$source/build" --prefix "$WORK/static_only/prefix"
    [ ! -e "$WORK/static_only/prefix/$LIBDIR/libattn.so" ] || fail "BUILD_SHARED_LIBS=OFF is ignored"
    use "$WORK/static_only/prefix"
    build_and_run "$WORK/static_only/pkgconfig" "$(pkg-config --cflags attn)" "$(pkg-config --libs attn)"
    cmake_and_run "$WORK/static_only/cmake" "$here/find_package" -DCMAKE_PREFIX_PATH="$WORK/static_only/prefix"
}

# As a packager does: installed below DESTDIR for a prefix where it does not stand yet.
staged() {
    stage=$WORK/stage
    rm -rf "$stage"
    DESTDIR=$stage "$CMAKE" --install "$BUILD" --prefix /opt/attn
    [ "$(ls "$stage" "$stage/opt")" = "$(printf '%s:\nopt\n\n%s:\nattn' "$stage" "$stage/opt")" ] ||
        fail "files outside of the prefix"
    if grep -rIl "$stage" "$stage"; then
        fail "the files above name DESTDIR"
    fi
    use "$stage/opt/attn"
    build_and_run "$WORK/staged" "$(pkg-config --cflags attn)" "$(pkg-config --libs attn)"
    cmake_and_run "$WORK/staged_find_package" "$here/find_package" -DCMAKE_PREFIX_PATH="$stage/opt/attn"
}

# copy_source DIRECTORY: what libattn is built from
copy_source() {
    rm -rf "$1"
    mkdir -p "$1"
    cp -R "$SOURCE/CMakeLists.txt" "$SOURCE/cmake" "$SOURCE/include" "$SOURCE/src" "$1"
}

# The next version of libattn, whose structs have one more field, runs programs of this one, and this one runs its, but
# those that call a function which only the next one has, in a node of attn.map as docs/abi.md writes it.
abi() {
    next=$WORK/abi/next
    copy_source "$next"
    for header in "$next"/include/attn/*.h; do
        awk '/^typedef struct/ { sized = 0 } /^    size_t struct_size;$/ { sized = 1; structs++ }
            /^}/ && sized { print "    void *appended;"; sized = 0 } { print }' "$header" >"$header.next"
        mv "$header.next" "$header"
    done
    fields=$(cat "$next"/include/attn/*.h | grep -c 'void \*appended;')
    structs=$(cat "$next"/include/attn/*.h | grep -c '    size_t struct_size;')
    [ "$fields" = "$structs" ] || fail "$fields of $structs structs have one more field"
    used=$(grep -o 'GUARDED(attn_[a-z_]*' "$here/abi.c" | sort -u | wc -l)
    [ "$used" = "$structs" ] || fail "abi.c goes through $used of $structs structs"
    grep '^ATTN_.*attn_new' "$SOURCE/docs/abi.md" >>"$next/src/attn.map"
    printf '#include "attn/export.h"\nATTN_API int attn_new(void);\nint attn_new(void) { return 0; }\n' \
        >"$next/src/api/new.c"
    "$CMAKE" -S "$next" -B "$next/build" -DCMAKE_C_COMPILER="$CC" -DCMAKE_C_FLAGS=-O0 -DCMAKE_BUILD_TYPE=None \
        -DATTN_BUILD_TESTS=OFF -DATTN_BUILD_BENCH=OFF -DATTN_BUILD_EXAMPLES=OFF -DATTN_OPENBLAS="$OPENBLAS"
    "$CMAKE" --build "$next/build" --target attn --parallel 2
    $CC -std=c99 $strict -I "$SOURCE/include" "$here/abi.c" "$next/build/src/libattn.so" -o "$WORK/abi/old_program"
    $CC -std=c99 $strict -I "$next/include" "$here/abi.c" "$BUILD/src/libattn.so" -o "$WORK/abi/new_program"
    LD_LIBRARY_PATH=$next/build/src expect_ok "$WORK/abi/old_program"
    LD_LIBRARY_PATH=$BUILD/src expect_ok "$WORK/abi/new_program"
    printf 'int attn_new(void);\nint main(void) { return attn_new(); }\n' >"$WORK/abi/calls_new.c"
    $CC "$WORK/abi/calls_new.c" "$next/build/src/libattn.so" -o "$WORK/abi/calls_new"
    LD_LIBRARY_PATH=$next/build/src "$WORK/abi/calls_new"
    ! message=$(LD_LIBRARY_PATH=$BUILD/src "$WORK/abi/calls_new" 2>&1) || fail "attn_new is in no version"
    case $message in *ATTN_0.1.1*) ;; *) fail "the loader does not name the version: $message" ;; esac
}

# block LANGUAGE: the first block of README.md in that language
block() {
    awk -v fence="\`\`\`$1" '$0 == fence { inside = 1; next } inside && /^```/ { exit } inside' "$SOURCE/README.md"
}

# The C example of README.md, compiled by the command that it gives, prints what it says.
readme() {
    use "$prefix"
    rm -rf "$WORK/readme"
    mkdir "$WORK/readme"
    cd "$WORK/readme"
    block c >example.c
    command=$(grep '^cc example\.c ' "$SOURCE/README.md")
    echo "$command"
    eval "$command" >printed
    block text | diff -u - printed
    serial=/usr/lib/$LIBRARY_ARCHITECTURE/openblas-serial
    if [ "$OPENBLAS" = ON ] && [ -d "$serial" ]; then # which is refused, and the program says so
        ! message=$(LD_LIBRARY_PATH=$serial:$LD_LIBRARY_PATH ./example 2>&1) || fail "a serial OpenBLAS was taken"
        case $message in *serial*) ;; *) fail "the example does not say what is wrong: $message" ;; esac
    fi
    lines=$(grep -c . example.c)
    [ "$lines" -le 12 ] || fail "the example has $lines lines"
    $CC -std=c99 $strict $(pkg-config --cflags attn) -fsyntax-only example.c
}

"$1"
