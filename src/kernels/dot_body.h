/* SPDX-License-Identifier: BSD-3-Clause */
/* Products whose factors lie in groups along the depth, pairs of bf16 or quads of int8, on panels as they lie: over the
 * operations of the dot_*.h included before, and what int8_body.h or bf16_body.h makes of the sums. As in
 * product_body.h, sums stay in registers. */

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

/* R rows by the vectors that fit, N of them or one. */
static inline __attribute__((always_inline)) void dot_rows(size_t R, size_t N, const task *x, size_t row,
                                                           size_t columns) {
    if (N == 1)
        dot_tile(R, 1, x, row, columns);
    else
        dot_tile(R, vectors_for(R), x, row, columns);
}

/* All rows, as evenly cut as can be, by N > 1 or one vector of columns. */
static inline __attribute__((always_inline)) void dot_stripe(size_t N, const task *x, size_t columns) {
    const size_t passes = (x->rows + MOST_ROWS - 1) / MOST_ROWS;
    for (size_t pass = 0, row = 0, some; pass < passes; pass++, row += some) {
        some = (x->rows - 1 - pass) / passes + 1;
        switch (some) {
        case 1:
            dot_rows(1, N, x, row, columns);
            break;
        case 2:
            dot_rows(2, N, x, row, columns);
            break;
        case 3:
            dot_rows(3, N, x, row, columns);
            break;
        case 4:
            dot_rows(4, N, x, row, columns);
            break;
        case 5:
            dot_rows(5, N, x, row, columns);
            break;
        default:
            dot_rows(MOST_ROWS, N, x, row, columns);
            break;
        }
    }
}

/* All columns of a panel, at the columns of c that they are. */
static void multiply_panel(const task *x, size_t columns) {
    const size_t wide = vectors_for(x->rows) * VL;
    task t = *x;
    size_t j = 0;
    for (size_t n; j < columns; j += n) {
        const size_t left = columns - j;
        n = left >= wide ? wide : left < VL ? left : VL;
        t.b = x->b + j * GROUP_BYTES;
        t.column = x->column + j;
        t.c = x->c + j;
        if (n == wide)
            dot_stripe(MOST_VECTORS, &t, n);
        else
            dot_stripe(1, &t, n);
    }
}

static void multiply_panels(const task *x, size_t columns, const attni_panels *b) {
    task t = *x;
    for (size_t j = 0; j < columns; j += b->width) {
        t.b = b->data + j / b->width * b->step * attni_size_of(b->type);
        t.column = j;
        t.c = x->c + j;
        multiply_panel(&t, columns - j < b->width ? columns - j : b->width);
    }
}
