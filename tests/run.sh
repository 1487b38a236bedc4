#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Installs what is missing, builds, and runs the tests:  bash tests/run.sh [LANE]
#   release   every test (default)
#   builtin   the tests of a libattn without OpenBLAS
#   asan      every test but the consumers and peers, under AddressSanitizer and UndefinedBehaviorSanitizer
#   tsan      the same under ThreadSanitizer, but wrong arguments, numbers of one thread, and the second backend
#   coverage  the tests, counting: fails where they run less than 99 % of the lines, or 95 % of the branches, of src/
#   valgrind  the tests with the label "valgrind", of the release lane's build
#   aarch64   tests that need no other BLAS, cross-compiled for 64-bit Arm and run under qemu-user
#   avx512    a few tests of the builtin lane's build with the kernels for AVX-512, on a CPU that Bochs emulates
#   lint      format, cppcheck, clang-tidy, and a clang build without warnings
#   all       all of these, until one fails
set -euo pipefail
cd "$(dirname "$0")/.."

lanes=(release builtin lint asan tsan coverage valgrind aarch64 avx512)
jobs=$(nproc)

configure_and_build() {
    rm -f "build/$1/ctest.log"
    cmake --preset "$1"
    cmake --build --preset "$1" --parallel "$jobs"
}

# run_tests PRESET [COMMAND...]: ctest, through COMMAND
run_tests() {
    local preset=$1
    shift
    "$@" ctest --preset "$preset" --parallel "$jobs" --output-log "build/$preset/ctest.log"
}

# runs SANITIZER [COMMAND...]: can a program built with the sanitizer run here, through COMMAND?
runs() {
    local sanitizer=$1
    shift
    echo 'int main(void) { return 0; }' >build/probe.c
    gcc "-fsanitize=$sanitizer" build/probe.c -o build/probe && "$@" build/probe >/dev/null 2>&1
}

release() {
    configure_and_build release
    run_tests release
    echo "ONNX conformance, cases passed: $(grep -hoE '^onnx [0-9.]+: [0-9]+ of [0-9]+$' \
        build/release/Testing/Temporary/LastTest.log | sort -V | paste -sd, | sed 's/,/, /g')"
}

asan() {
    configure_and_build asan
    if ! runs address; then
        echo "asan: LeakSanitizer cannot trace processes here: no search for leaks"
        export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0"
    fi
    run_tests asan
}

tsan() {
    configure_and_build tsan
    if runs thread; then
        run_tests tsan
    elif runs thread setarch -R; then # ThreadSanitizer of gcc 12 dislikes the addresses that newer kernels give
        run_tests tsan setarch -R
    else
        echo "tsan: ThreadSanitizer does not run on this kernel"
        return 1
    fi
}

builtin() {
    configure_and_build builtin
    run_tests builtin
}

# Of src/, lines and branches. A kernel is written once and compiled for each instruction set: what one of them runs
# counts as run. The kernels for instructions that the CPU has not are left out.
coverage() {
    local objects=build/coverage/src/CMakeFiles/attn_objects.dir left_out=()
    configure_and_build coverage
    find "$objects" -name '*.gcda' -delete
    run_tests coverage
    while read -r instructions kernel header; do
        if ! grep -qw "$instructions" /proc/cpuinfo; then
            rm -f "$objects/kernels/$kernel".c.gc*
            left_out+=(--exclude "src/kernels/$header")
        fi
    done <<END
avx512vl kernels_avx512 simd_avx512.h
avx512vl int4_f32_avx512 simd_avx512.h
avx_vnni int8_avxvnni dot_avxvnni.h
avx_vnni int4_int8_avxvnni dot_avxvnni.h
avx512_bf16 bf16_avx512 dot_avx512bf16.h
avx512_vnni int8_avx512 dot_avx512vnni.h
avx512_vnni int4_int8_avx512 quad_avx512.h
amx_bf16 bf16_amx simd_amx.h
amx_int8 int8_amx simd_amx.h
END
    mkdir -p build/coverage/report
    gcovr --filter src/ "${left_out[@]}" --html-details build/coverage/report/index.html --print-summary \
        --fail-under-line 99 --fail-under-branch 95 "$objects"
}

valgrind() {
    configure_and_build release
    ctest --preset release -L '^valgrind$' -N -V | sed -n 's/^[0-9]*: Test command: //p' |
        ATTN_TEST_SHORT=5 xargs -t -P "$jobs" -L 1 valgrind --quiet --error-exitcode=1 --leak-check=full \
            --errors-for-leak-kinds=definite --show-leak-kinds=definite "--suppressions=$PWD/tests/valgrind.supp"
}

aarch64() {
    configure_and_build aarch64
    run_tests aarch64
}

# Few cases: sums of vectors take a thousand times as long there.
avx512() {
    local tests=$PWD/build/builtin/tests some='ATTN_TEST_ISAS=4 ATTN_TEST_SHORT=40'
    configure_and_build builtin
    mkdir -p build/avx512
    bash tests/emulated.sh build/emulated-root 900 "$tests/test_exponential" "$some $tests/test_softmax" \
        "$some ATTN_TEST_ONLY=random_shapes $tests/test_sdpa" "$some ATTN_TEST_ONLY=all_widths $tests/test_sdpa" \
        "$some $tests/test_masked" "$some $tests/test_cache_types" "$some $tests/test_merge" \
        "$some $tests/test_combinations" "$some ATTN_TEST_ONLY='*narrow*' $tests/test_weights" |
        tee build/avx512/ctest.log
}

lint() {
    local failed=0 sources compiled
    configure_and_build clang
    mapfile -t sources < <(find include src bench examples tests -name '*.[ch]' -o -name '*.[ch]pp' | sort)
    mapfile -t compiled < <(sed -n 's/^ *"file": "\(.*\)".*/\1/p' build/clang/compile_commands.json | sort -u)
    echo "lint: clang-format"
    clang-format --dry-run -Werror "${sources[@]}" || failed=1
    ! LC_ALL=C.UTF-8 grep -nE '^.{121,}' "${sources[@]}" || failed=1 # comments, whose lines it leaves as they are
    echo "lint: cppcheck"
    cppcheck --quiet --error-exitcode=1 -j "$jobs" --enable=warning,performance,portability --inline-suppr \
        --suppress=CastIntegerToAddressAtReturn "--suppress=memleak:tests/*" \
        --project=build/clang/compile_commands.json || failed=1
    echo "lint: clang-tidy"
    printf '%s\0' "${compiled[@]}" |
        xargs -0 -n 1 -P "$jobs" clang-tidy -p build/clang --quiet --warnings-as-errors='*' 2>/dev/null || failed=1
    return $failed
}

all() {
    local lane
    for lane in "${lanes[@]}"; do
        printf '\n== %s\n' "$lane"
        bash tests/run.sh "$lane"
    done
}

mkdir -p build
lane=${1:-release}
case $lane in
lint | builtin | coverage) sh cmake/install-deps.sh "$lane" ;;
aarch64)
    sh cmake/install-deps.sh aarch64
    sh cmake/aarch64-root.sh build/aarch64-root
    ;;
avx512)
    sh cmake/install-deps.sh builtin avx512
    sh cmake/emulated-root.sh build/emulated-root
    ;;
release | asan | tsan | valgrind) sh cmake/install-deps.sh test ;;
all) ;;
*)
    echo "tests/run.sh: no lane '$lane'; there are: ${lanes[*]} all" >&2
    exit 2
    ;;
esac
"$lane"
