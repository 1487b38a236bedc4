/* SPDX-License-Identifier: BSD-3-Clause */
/* As dot_body.h, by instructions that multiply matrices: two columns by two rows, two groups deep, over the operations
 * of the mmla_*.h included before. A row that is left over is both rows. */

#include "kernels/dot_task.h"

enum { MOST_ROWS = 6, MOST_VECTORS = 4, MOST_PAIRS = MOST_ROWS / 2 };

/* So many bytes ahead of what is read are fetched meanwhile. */
enum { AHEAD = 32768 };

static inline __attribute__((always_inline)) size_t vectors_for(size_t rows) {
    (void)rows;
    return MOST_VECTORS;
}

/* sum[r][j] += a · b for two rows and VL columns, of which sums [0] are 0 and 1, and [1] 2 and 3: two groups deep, or
 * the last ones, of which `left` elements count. */
static inline __attribute__((always_inline)) void add_groups(size_t R, size_t N, const task *x, const element *a,
                                                             const char *b, size_t left,
                                                             S sum[MOST_PAIRS][MOST_VECTORS][2]) {
    const size_t bytes = left * sizeof *a;
    Q rows[MOST_PAIRS], columns[2];
#pragma GCC unroll 4
    for (size_t at = 0; at < N * VL * GROUP_BYTES; at += 64) {
        fetch(b, at + AHEAD);
        fetch(b + x->step, at + AHEAD);
    }
#pragma GCC unroll 3
    for (size_t r = 0; r < R; r += 2) {
        const element *first = a + r * x->lda;
        rows[r / 2] = s_rows(first, r + 1 < R ? first + x->lda : first, bytes);
    }
#pragma GCC unroll 4
    for (size_t j = 0; j < N; j++) {
        s_columns(b + j * VL * GROUP_BYTES, x->step, bytes, columns);
#pragma GCC unroll 3
        for (size_t r = 0; r < R; r += 2) {
            s_add_dots(&sum[r / 2][j][0], columns[0], rows[r / 2]);
            s_add_dots(&sum[r / 2][j][1], columns[1], rows[r / 2]);
        }
        __asm__ volatile("" : : : "memory"); /* all columns at once would not fit the registers */
    }
}

static inline __attribute__((always_inline)) void sum_groups(size_t R, size_t N, const task *of, const element *a,
                                                             S sum[MOST_PAIRS][MOST_VECTORS][2]) {
    const task x = *of; /* in registers */
    const char *b = x.b;
    size_t k = 0;
#pragma GCC unroll 3
    for (size_t r = 0; r < R; r += 2)
#pragma GCC unroll 4
        for (size_t j = 0; j < N; j++)
            sum[r / 2][j][0] = sum[r / 2][j][1] = s_zero();
    for (; k + 2 * GROUP <= x.depth; k += 2 * GROUP, b += 2 * x.step)
        add_groups(R, N, &x, a + k, b, 2 * GROUP, sum);
    if (k < x.depth)
        add_groups(R, N, &x, a + k, b, x.depth - k, sum);
}

/* R rows from `row` on and N vectors of columns, of which `columns` are there. */
static inline __attribute__((always_inline)) void dot_tile(size_t R, size_t N, const task *x, size_t row,
                                                           size_t columns) {
    const V zero = v_set(0.0F);
    S sum[MOST_PAIRS][MOST_VECTORS][2];
    sum_groups(R, N, x, x->a + row * x->lda, sum);
#pragma GCC unroll 4
    for (size_t j = 0; j < N; j++) {
        const size_t n = N > 1 ? VL : columns;
        const V factor = factor_of(&x->by, x->column + j * VL, n);
        float *c = x->c + row * x->ldc + j * VL;
#pragma GCC unroll 6
        for (size_t r = 0; r < R; r++, c += x->ldc) {
            const V value = value_of(&x->by, row + r, s_row(sum[r / 2][j], r % 2));
            store_up_to(c, n, v_fma(value, factor, x->add ? load_up_to(c, n, zero) : zero));
        }
    }
}

#include "kernels/stripe_body.h"
