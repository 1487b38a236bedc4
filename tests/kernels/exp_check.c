/* SPDX-License-Identifier: BSD-3-Clause */
#include "exp_check.h"

#include <math.h>
#include <string.h>

#include <attn/attn.h>

enum { BLOCK = 2048 };

/* Floats, their true exponentials, and how many of these are a unit in the last place of a float there, inverted. */
struct block {
    size_t n;
    float x[BLOCK], got[BLOCK];
    double want[BLOCK], per_ulp[BLOCK];
};

size_t exp_kernels(const attni_kernels *kernels[EXP_ISAS]) {
    static const uint32_t isas[EXP_ISAS] = {ATTN_ISA_GENERIC, ATTN_ISA_NEON, ATTN_ISA_AVX2, ATTN_ISA_AVX512};
    size_t n = 0;
    for (size_t i = 0; i < EXP_ISAS; i++) {
        kernels[n] = attni_kernels_select(isas[i]);
        n += kernels[n] != NULL;
    }
    return n;
}

/* Of a normal `want` in [2^e, 2^(e+1)): 1 / 2^(e − 23); below 2^-126 floats are 2^-149 apart. */
static double per_ulp(double want) {
    uint64_t bits;
    memcpy(&bits, &want, sizeof bits);
    const uint64_t exponent = bits >> 52, least = 1023 - 126;
    const uint64_t inverse = (2 * 1023 + 23 - (exponent > least ? exponent : least)) << 52;
    double result;
    memcpy(&result, &inverse, sizeof result);
    return result;
}

/* Returns how far it got, in steps of one in the floats' bits. */
static uint64_t fill_block(struct block *b, uint64_t first, uint32_t last, uint32_t step) {
    uint64_t next = first;
    for (b->n = 0; b->n < BLOCK && next <= last; b->n++, next += step) {
        const uint32_t bits = (uint32_t)next;
        memcpy(&b->x[b->n], &bits, sizeof bits);
        b->want[b->n] = exp((double)b->x[b->n]);
        b->per_ulp[b->n] = per_ulp(b->want[b->n]);
    }
    return next;
}

static void check_block(const attni_kernels *kernels, struct block *b, struct exp_error *worst) {
    kernels->exp(b->n, b->x, b->got);
    for (size_t i = 0; i < b->n; i++) {
        const double ulps = fabs((double)b->got[i] - b->want[i]) * b->per_ulp[i];
        if (!(ulps <= worst->ulps)) {
            worst->ulps = isnan(ulps) ? (double)INFINITY : ulps;
            worst->x = b->x[i];
            worst->got = b->got[i];
        }
    }
    worst->count += b->n;
}

void exp_check(const attni_kernels *const *kernels, size_t n, uint32_t first, uint32_t last, uint32_t step,
               struct exp_error *errors) {
    struct block b;
    for (uint64_t next = first; next <= last;) {
        next = fill_block(&b, next, last, step);
        for (size_t i = 0; i < n; i++)
            check_block(kernels[i], &b, &errors[i]);
    }
}

void exp_add(struct exp_error *total, const struct exp_error *errors, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const uint64_t count = total[i].count + errors[i].count;
        if (errors[i].ulps > total[i].ulps)
            total[i] = errors[i];
        total[i].count = count;
    }
}
