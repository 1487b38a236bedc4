/* SPDX-License-Identifier: BSD-3-Clause */
#include <float.h>
#include <math.h>

#include "fuzz.h"
#include "support/pools.h"

int64_t take_integer(struct input *in) {
    static const int64_t ends[] = {INT64_MIN, INT64_MAX, INT32_MIN, INT32_MAX, UINT32_MAX, 4096, 65536};
    switch (take_below(in, 8)) {
    case 0:
        return take_pick(in, ends);
    case 1:
        return (int64_t)((UINT64_C(1) << take_below(in, 64)) - take_below(in, 2));
    case 2:
        return (int64_t)take_bits(in);
    default:
        return (int64_t)take_below(in, 12) - 3;
    }
}

double take_number(struct input *in) {
    static const double ends[] = {(double)NAN,
                                  (double)INFINITY,
                                  -(double)INFINITY,
                                  -0.0,
                                  1e-45,
                                  1e-38,
                                  1e38,
                                  (double)FLT_MAX,
                                  -(double)FLT_MAX,
                                  1,
                                  0.5,
                                  -1,
                                  1e-300,
                                  1e300,
                                  2,
                                  10000};
    return take_below(in, 4) ? take_pick(in, ends) : ((double)take_below(in, 65536) - 32768) / 64;
}

attn_context_options fuzz_options(size_t which, size_t threads) {
    static size_t three = 3;
    attn_context_options options;
    uint32_t isas[ISAS];
    const size_t n = list_isas(isas);
    ATTN_INIT(&options);
    options.threads = threads;
    options.isa = isas[which % n];
    options.blas = which / n % 2 ? "builtin" : NULL;
    options.precision = which / n < 2 ? ATTN_PRECISION_F32 : which / n < 3 ? ATTN_PRECISION_BF16 : ATTN_PRECISION_INT8;
    if (threads > 1) {
        options.threads = three;
        options.parallel_for = run_on_pthreads;
        options.parallel_for_data = &three;
    }
    return options;
}

size_t fuzz_contexts(attn_context *made[FUZZ_CONTEXTS], size_t threads) {
    uint32_t isas[ISAS];
    const size_t n = 4 * list_isas(isas);
    for (size_t i = 0; i < n && !made[n - 1]; i++) {
        const attn_context_options options = fuzz_options(i, threads);
        made[i] = new_context(&options);
    }
    return n;
}

void fuzz_round(struct sdpa_case *c) {
    c->q = new_copy_of(ATTN_BF16, c->q);
    c->k = new_copy_of(ATTN_BF16, c->k);
    c->v = new_copy_of(ATTN_BF16, c->v);
    c->weight_error += 0x1p-9;
}
