/* SPDX-License-Identifier: BSD-3-Clause */
/* SIMD kernels: one body (body.h), compiled once for each instruction set over the same few vector operations
 * (simd_*.h). Each compilation is one constant table; a context picks one when it is created. All matrices are
 * row-major f32. */
#ifndef ATTNI_KERNELS_H
#define ATTNI_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attn/norm.h"

/* A normalisation, defaults resolved. */
typedef struct attni_norm {
    attn_norm_kind kind;
    float eps;
    const float *weight, *bias; /* or NULL */
} attni_norm;

/* The columns [begin, end) of a row that are visible; the others are masked. begin ≤ end ≤ columns. */
typedef struct attni_range {
    size_t begin, end;
} attni_range;

/* The running state of the online softmax of one row: p = 2^(s - max), sum = Σ p. `max` may lag behind the true maximum
 * by up to ATTNI_MAX_LAG, which saves nearly all rescaling and costs no accuracy; −∞ before the first visible score. */
typedef struct attni_row {
    double sum;
    float max;
} attni_row;

#define ATTNI_MAX_LAG 8.0F

typedef struct attni_kernels {
    const char *name;
    uint32_t isa; /* ATTN_ISA_* */

    /* Transposes x [rows, depth] with row stride ldx (any sign) into block[d·ldb + r]. Columns up to `columns`, a
     * multiple of 16 and at least `rows`, are filled with zeros. */
    void (*transpose)(size_t rows, size_t depth, const float *x, ptrdiff_t ldx, size_t columns, float *block,
                      size_t ldb);

    /* y[r,:] = x[r,:] for [rows, columns]. */
    void (*copy)(size_t rows, size_t columns, const float *x, ptrdiff_t ldx, float *y, ptrdiff_t ldy);

    /* Begins to bring x [rows, columns] into the L2 cache. */
    void (*prefetch)(size_t rows, size_t columns, const float *x, ptrdiff_t ldx);

    /* One step of the online softmax: s [rows, columns], scores in base 2, becomes p = 2^(s - max), 0 where masked.
     * `range` [rows] tells what is visible; NULL: everything. Where a row's max moves that was not −∞ before, its sum
     * and its row of o [rows, width] are rescaled. */
    void (*softmax_step)(size_t rows, size_t columns, float *s, size_t lds, const attni_range *range, attni_row *state,
                         float *o, size_t width);

    /* The probabilities once the state is final: y = 2^(s - max) / sum, 0 where masked. */
    void (*softmax_final)(size_t rows, size_t columns, const float *s, size_t lds, const attni_range *range,
                          const attni_row *state, float *y, ptrdiff_t ldy);

    /* Adds to o [rows, width] and its state the part of the same rows over other keys, o2 and state2. o2 is not read
     * where state2 has seen no key. */
    void (*merge)(size_t rows, size_t width, float *o, attni_row *state, const float *o2, const attni_row *state2);

    /* y[r,:] = o[r,:] / state[r].sum for [rows, width], 0 where the sum is 0. */
    void (*normalize)(size_t rows, size_t width, const float *o, size_t ldo, const attni_row *state, float *y,
                      ptrdiff_t ldy);

    /* Softmax of one row of n scores in base e, x = y allowed. Returns its log-sum-exp. */
    float (*softmax_row)(size_t n, const float *x, float *y);

    /* y[j] = e^x[j] for x ≤ 0, within 1 ULP. */
    void (*exp)(size_t n, const float *x, float *y);

    /* True if no element of x [rows, columns] is Inf or NaN. */
    bool (*all_finite)(size_t rows, size_t columns, const float *x, ptrdiff_t ldx);

    /* y[r,:] = activation(x[r,:]) · factor[r,:] for [rows, columns]; factor may be NULL: 1. y = x is allowed. */
    void (*activate)(attn_activation kind, size_t rows, size_t columns, const float *x, ptrdiff_t ldx,
                     const float *factor, ptrdiff_t ldf, float *y, ptrdiff_t ldy);

    /* Normalises each row of x [rows, width]. y = x is allowed. */
    void (*norm)(const attni_norm *norm, size_t rows, size_t width, const float *x, ptrdiff_t ldx, float *y,
                 ptrdiff_t ldy);
} attni_kernels;

/* The best table that this CPU has among those in `mask` (ATTN_ISA_*; 0: all), or NULL if it has none of them. */
const attni_kernels *attni_kernels_select(uint32_t mask);

extern const attni_kernels attni_kernels_generic;
#if defined(__x86_64__)
extern const attni_kernels attni_kernels_avx2;
extern const attni_kernels attni_kernels_avx512;
#elif defined(__aarch64__)
extern const attni_kernels attni_kernels_neon;
#endif

#endif
