/* SPDX-License-Identifier: BSD-3-Clause */
/* Products of quantised rows and int8 panels in integers, on panels as they lie, over the operations of the dot_*.h
 * included before. As in product_body.h, sums stay in registers. */
#include <string.h>

#include "attn/context.h"

#include "kernels/basics.h"
#include "kernels/narrow.h"

/* Rows that are too many for one pass are cut into passes of 3 at least, which all take as many vectors. */
enum { MOST_ROWS = 6, MOST_VECTORS = VL == 1 ? 2 : 4, QUAD = 4 };

/* So many bytes ahead of what is read are fetched meanwhile. */
enum { AHEAD = 32768 };

static inline __attribute__((always_inline)) size_t vectors_for(size_t rows) { return rows > 2 ? 2 : MOST_VECTORS; }

/* Quantised rows by some columns of a panel, and where they go. */
typedef struct task {
    size_t rows, depth;
    const quantum *a;
    size_t lda;
    const int32_t *excess; /* [rows], by which sums are too large */
    const float *scale;
    const uint8_t *b;
    size_t step; /* bytes from one row of quads to the next */
    const float *b_scale;
    bool add;
    float *c;
    size_t ldc;
} task;

/* sum [R, N] of R rows and N vectors. R and N are constants wherever this is inlined. */
static inline __attribute__((always_inline)) void sum_quads(size_t R, size_t N, const task *of, const quantum *a,
                                                            S sum[MOST_ROWS][MOST_VECTORS]) {
    const task x = *of; /* in registers */
#pragma GCC unroll 6
    for (size_t r = 0; r < R; r++)
#pragma GCC unroll 4
        for (size_t j = 0; j < N; j++)
            sum[r][j] = s_zero();
    const uint8_t *b = x.b;
    for (size_t k = 0; k < x.depth; k += QUAD, b += x.step) {
#pragma GCC unroll 4
        for (size_t at = 0; at < N * VL * QUAD; at += 64)
            fetch(b, at + AHEAD);
#pragma GCC unroll 4
        for (int part = 0; part < PARTS; part++) {
            Q bytes[MOST_VECTORS];
#pragma GCC unroll 4
            for (size_t j = 0; j < N; j++)
                bytes[j] = s_bytes(b + j * VL * QUAD, part);
#pragma GCC unroll 6
            for (size_t r = 0; r < R; r++) {
                const Q row = s_spread(a + r * x.lda + k, part);
#pragma GCC unroll 4
                for (size_t j = 0; j < N; j++)
                    s_add_dot(&sum[r][j], bytes[j], row);
            }
        }
    }
}

/* R rows from `row` on and N vectors of columns, of which `columns` are there. */
static inline __attribute__((always_inline)) void quad_tile(size_t R, size_t N, const task *x, size_t row,
                                                            size_t columns) {
    const V zero = v_set(0.0F);
    S sum[MOST_ROWS][MOST_VECTORS];
    sum_quads(R, N, x, x->a + row * x->lda, sum);
#pragma GCC unroll 4
    for (size_t j = 0; j < N; j++) {
        const size_t n = N > 1 ? VL : columns;
        const V b_scale = load_up_to(x->b_scale + j * VL, n, zero);
        float *c = x->c + row * x->ldc + j * VL;
#pragma GCC unroll 6
        for (size_t r = 0; r < R; r++, c += x->ldc) {
            const V scaled = v_mul(s_less(sum[r][j], BIAS != 0 ? x->excess[row + r] : 0), v_set(x->scale[row + r]));
            store_up_to(c, n, v_fma(scaled, b_scale, x->add ? load_up_to(c, n, zero) : zero));
        }
    }
}

/* R rows by the vectors that fit, N of them or one. */
static inline __attribute__((always_inline)) void quad_rows(size_t R, size_t N, const task *x, size_t row,
                                                            size_t columns) {
    if (N == 1)
        quad_tile(R, 1, x, row, columns);
    else
        quad_tile(R, vectors_for(R), x, row, columns);
}

/* All rows, as evenly cut as can be, by N > 1 or one vector of columns. */
static inline __attribute__((always_inline)) void quad_stripe(size_t N, const task *x, size_t columns) {
    const size_t passes = (x->rows + MOST_ROWS - 1) / MOST_ROWS;
    for (size_t pass = 0, row = 0, some; pass < passes; pass++, row += some) {
        some = (x->rows - 1 - pass) / passes + 1;
        switch (some) {
        case 1:
            quad_rows(1, N, x, row, columns);
            break;
        case 2:
            quad_rows(2, N, x, row, columns);
            break;
        case 3:
            quad_rows(3, N, x, row, columns);
            break;
        case 4:
            quad_rows(4, N, x, row, columns);
            break;
        case 5:
            quad_rows(5, N, x, row, columns);
            break;
        default:
            quad_rows(MOST_ROWS, N, x, row, columns);
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
        t.b = x->b + j * QUAD;
        t.b_scale = x->b_scale + j;
        t.c = x->c + j;
        if (n == wide)
            quad_stripe(MOST_VECTORS, &t, n);
        else
            quad_stripe(1, &t, n);
    }
}

static int32_t sum_row(size_t n, const quantum *a) {
    int32_t sum = 0;
    for (size_t k = 0; k < n; k++)
        sum += a[k];
    return sum;
}

/* Up to ROWS rows: they share the sums that panel bytes make too large. */
enum { ROWS = 192 };

static void multiply_some(const task *x, size_t columns, const attni_panels *b) {
    int32_t excess[ROWS];
    task t = *x;
    t.excess = excess;
    for (size_t r = 0; r < x->rows && BIAS != 0; r++)
        excess[r] = BIAS * sum_row((x->depth + QUAD - 1) / QUAD * QUAD, x->a + r * x->lda);
    for (size_t j = 0; j < columns; j += b->width) {
        t.b = (const uint8_t *)b->data + j / b->width * b->step;
        t.b_scale = b->scale + j;
        t.c = x->c + j;
        multiply_panel(&t, columns - j < b->width ? columns - j : b->width);
    }
}

static void multiply(size_t rows, size_t columns, size_t depth, const void *a, size_t lda, const float *a_scale,
                     const attni_panels *b, bool add, float *c, size_t ldc) {
    task x = {.depth = depth, .lda = lda / sizeof(quantum), .step = b->ld * QUAD, .add = add, .ldc = ldc};
    for (size_t r = 0; r < rows; r += ROWS) {
        x.rows = rows - r < ROWS ? rows - r : ROWS;
        x.a = (const quantum *)a + r * x.lda;
        x.scale = a_scale + r;
        x.c = c + r * ldc;
        multiply_some(&x, columns, b);
    }
}

/* The largest |x|, NaN where an x is not finite. */
static float largest(size_t n, const float *x) {
    const V zero = v_set(0.0F);
    V most = zero, rest = zero;
    float lanes[VL], all = 0.0F;
    for (size_t j = 0; j < n; j += VL) {
        const V v = load_up_to(x + j, n - j, zero);
        most = v_max(v_abs(v), most);
        rest = v_fma(v, zero, rest);
    }
    v_store(lanes, most);
    for (size_t i = 0; i < VL; i++)
        all = lanes[i] > all ? lanes[i] : all;
    return v_any_not_finite(rest) ? NAN : all;
}

static float quantize(size_t n, const float *x, void *y) {
    enum { WHOLE = 64 };
    const float scale = scale_for(largest(n, x)), inverse = scale > 0 ? 1 / scale : 0.0F;
    const V factor = v_set(inverse), zero = v_set(0.0F);
    for (size_t j = 0; j < (n + WHOLE - 1) / WHOLE * WHOLE; j += VL)
        s_store((quantum *)y + j, j < n && inverse > 0 ? v_mul(load_up_to(x + j, n - j, zero), factor) : zero);
    return scale;
}

const attni_int8 DOT_TABLE = {DOT_NAME, DOT_ISA, sizeof(quantum), quantize, multiply};
