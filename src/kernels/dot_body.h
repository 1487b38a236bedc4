/* SPDX-License-Identifier: BSD-3-Clause */
/* Products whose factors lie in groups along the depth, pairs of bf16 or quads of int8, on panels as they lie, where a
 * lane of a vector is a sum of one row and one column: over the operations of the dot_*.h included before, and what
 * int8_body.h or bf16_body.h makes of the sums. As in product_body.h, sums stay in registers. */

#include "kernels/dot_task.h"

/* Rows that are too many for one pass are cut into passes of 3 at least, which all take as many vectors. */
enum { MOST_ROWS = 6, MOST_VECTORS = VL == 1 ? 2 : 4 };

/* So many bytes ahead of what is read are fetched meanwhile. */
enum { AHEAD = 32768 };

static inline __attribute__((always_inline)) size_t vectors_for(size_t rows) {
    return VL < 16 && rows > 2 ? 2 : MOST_VECTORS;
}

/* sum += a · b for a group, perhaps the last one, beyond whose rows there may be anything. */
static inline __attribute__((always_inline)) void add_group(size_t R, size_t N, const task *x, const element *a,
                                                            const char *b, bool last, S sum[MOST_ROWS][MOST_VECTORS]) {
#pragma GCC unroll 4
    for (size_t at = 0; at < N * VL * GROUP_BYTES; at += 64)
        fetch(b, at + AHEAD);
#pragma GCC unroll 4
    for (int part = 0; part < PARTS; part++) {
        Q groups[MOST_VECTORS];
#pragma GCC unroll 4
        for (size_t j = 0; j < N; j++)
            groups[j] = s_load(b + j * VL * GROUP_BYTES, part, last);
#pragma GCC unroll 6
        for (size_t r = 0; r < R; r++) {
            const Q row = s_spread(a + r * x->lda, part);
#pragma GCC unroll 4
            for (size_t j = 0; j < N; j++)
                s_add_dot(&sum[r][j], groups[j], row);
        }
    }
}

/* sum [R, N] of R rows and N vectors. R and N are constants wherever this is inlined. */
static inline __attribute__((always_inline)) void sum_groups(size_t R, size_t N, const task *of, const element *a,
                                                             S sum[MOST_ROWS][MOST_VECTORS]) {
    const task x = *of; /* in registers */
    const char *b = x.b;
    size_t k = 0;
#pragma GCC unroll 6
    for (size_t r = 0; r < R; r++)
#pragma GCC unroll 4
        for (size_t j = 0; j < N; j++)
            sum[r][j] = s_zero();
    for (; k + GROUP <= x.depth; k += GROUP, b += x.step)
        add_group(R, N, &x, a + k, b, false, sum);
    if (k < x.depth)
        add_group(R, N, &x, a + k, b, true, sum);
}

/* R rows from `row` on and N vectors of columns, of which `columns` are there. */
static inline __attribute__((always_inline)) void dot_tile(size_t R, size_t N, const task *x, size_t row,
                                                           size_t columns) {
    const V zero = v_set(0.0F);
    S sum[MOST_ROWS][MOST_VECTORS];
    sum_groups(R, N, x, x->a + row * x->lda, sum);
#pragma GCC unroll 4
    for (size_t j = 0; j < N; j++) {
        const size_t n = N > 1 ? VL : columns;
        const V factor = factor_of(&x->by, x->column + j * VL, n);
        float *c = x->c + row * x->ldc + j * VL;
#pragma GCC unroll 6
        for (size_t r = 0; r < R; r++, c += x->ldc)
            store_up_to(c, n,
                        v_fma(value_of(&x->by, row + r, sum[r][j]), factor, x->add ? load_up_to(c, n, zero) : zero));
    }
}

#include "kernels/stripe_body.h"
