/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzzers in libFuzzer's form: an input is bytes, which are read as choices. The numbers in tensors come from a seed
 * among them. Assertions are those of the tests.
 *
 * Built as they are (driver.c), they replay files or inputs made of seeds, as ctest does with some seeds and with the
 * files in corpus; a failure names its seed or file:
 *     build/asan/tests/fuzz/fuzz_sdpa --seeds 1 100000
 *     build/asan/tests/fuzz/fuzz_sdpa FILE...
 * With clang and -DATTN_LIBFUZZER=ON they are libFuzzer's programs. UndefinedBehaviorSanitizer, with which clang takes
 * many minutes for the kernels, is left to the asan build:
 *     cmake -B build/fuzz -DCMAKE_C_COMPILER=clang -DCMAKE_BUILD_TYPE=None -DATTN_LIBFUZZER=ON \
 *           -DATTN_SANITIZE=address -DCMAKE_C_FLAGS="-O1 -g1 -fsanitize=fuzzer-no-link" \
 *           -DATTN_BUILD_TESTS=ON -DATTN_BUILD_EXAMPLES=ON
 *     cmake --build build/fuzz --target fuzzers
 *     mkdir -p corpus && build/fuzz/tests/fuzz/fuzz_sdpa -max_total_time=3600 corpus
 * fuzz_chat, fuzz_lens and fuzz_json damage files; how an input is a file itself, damage.h tells. */
#ifndef ATTN_TESTS_FUZZ_H
#define ATTN_TESTS_FUZZ_H

#include "support/input.h"
#include "support/sdpa_case.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Small ones, those around powers of two, the ends of their types; any. */
int64_t take_integer(struct input *in);
double take_number(struct input *in); /* NaN and Inf too */

/* Contexts of any instruction set, made at the first call: of F32 on the default backend and on libattn's own products,
 * of BF16 on the one and of INT8 on the other; with one thread, or three that are started for each call. */
enum { FUZZ_CONTEXTS = 4 * ISAS };
size_t fuzz_contexts(attn_context *made[FUZZ_CONTEXTS], size_t threads);
attn_context_options fuzz_options(size_t which, size_t threads);

/* Makes of a case what a context multiplies that rounds q, k, v and the weights to bf16. */
void fuzz_round(struct sdpa_case *c);

#endif
