/* SPDX-License-Identifier: BSD-3-Clause */
/* libattn's own products, on blocks and panels as they lie: sums stay in registers, narrow types are widened there, and
 * nothing is packed or copied. Few rows go at the pace of memory, many at that of the multiplier. Every element is one
 * sum in the order of the depth, whatever rows and columns are computed beside it. */

/* Sums that the registers hold at once: up to so many rows of up to so many vectors; and so many rows of b are one turn
 * of the loop. Of which rows and turns they are changes no bit. Sanitizers would make all of them so large that they
 * take minutes to compile. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { MOST_ROWS = 2, TURN = 1 };
#else
enum { MOST_ROWS = 6, TURN = VL == 1 ? 1 : 4 };
#endif
enum { MOST_VECTORS = VL == 1 ? 2 : 4 };

/* So many bytes ahead of what is read are fetched meanwhile. */
enum { AHEAD = 32768 };

/* AVX2 has 16 registers, where the others have 32. */
static inline __attribute__((always_inline)) size_t vectors_for(size_t rows) {
    return VL == 8 && rows > 2 && MOST_ROWS > 2 ? 2 : MOST_VECTORS;
}

/* a [rows, depth] · some columns of b. */
typedef struct factors {
    size_t rows, depth;
    const float *a;
    size_t lda;
    const char *low, *high; /* the first and the second half of the columns, */
    size_t step;            /* whose rows are so many bytes apart */
} factors;

/* Where a product goes: c = factor · scale[column] · sum (+ c). */
typedef struct target {
    float factor;
    const float *scale; /* or NULL: 1 */
    bool add;
    float *c;
    size_t ldc;
} target;

/* Vector j of N of b's row k. The caller's f32 ends where its columns end; narrow panels have room for whole
 * vectors. */
static inline __attribute__((always_inline)) V load_factor(attn_dtype type, const factors *x, size_t N, size_t j,
                                                           size_t k, size_t columns) {
    const size_t half = N / 2, size = attni_size_of(type);
    const char *from = N > 1 && j >= half ? x->high + (j - half) * VL * size : x->low + j * VL * size;
    const void *p = from + k * x->step;
    if (type == ATTN_F32)
        return N > 1 ? v_load(p) : load_up_to(p, columns, v_set(0.0F));
    return v_load_f16(p);
}

/* Begins to fetch what comes AHEAD bytes after row k of b, whose columns, of N vectors, have so many bytes. */
static inline __attribute__((always_inline)) void fetch_ahead(size_t N, size_t bytes, const factors *x, size_t k) {
    enum { LINE = 64 };
    const size_t half = (N + 1) / 2 * VL * bytes;
#pragma GCC unroll 4
    for (size_t at = 0; at < half; at += LINE) {
        fetch(x->low + k * x->step, at + AHEAD);
        if (N > 1 && half >= LINE) /* else both halves are in one line */
            fetch(x->high + k * x->step, at + AHEAD);
    }
}

#include "kernels/narrow_body.h"

/* sum [R, N] of R rows and N vectors. R, N, the type and whether b is fetched ahead are constants wherever this is
 * inlined. */
static inline __attribute__((always_inline)) void sum_products(size_t R, size_t N, bool ahead, attn_dtype type,
                                                               const factors *of, const float *a, size_t columns,
                                                               V sum[MOST_ROWS][MOST_VECTORS]) {
    const factors x = *of; /* in registers */
#pragma GCC unroll 6
    for (size_t r = 0; r < R; r++)
#pragma GCC unroll 4
        for (size_t j = 0; j < N; j++)
            sum[r][j] = v_set(0.0F);
    if (type == ATTN_BF16 || type == ATTN_INT8) {
        sum_together(R, N, ahead, type, of, a, sum);
        return;
    }
#pragma GCC unroll TURN
    for (size_t k = 0; k < x.depth; k++) {
        V v[MOST_VECTORS];
#pragma GCC unroll 4
        for (size_t j = 0; j < N; j++)
            v[j] = load_factor(type, &x, N, j, k, columns);
        if (ahead)
            fetch_ahead(N, attni_size_of(type), &x, k);
#pragma GCC unroll 6
        for (size_t r = 0; r < R; r++) {
            const V f = v_set(a[r * x.lda + k]);
#pragma GCC unroll 4
            for (size_t j = 0; j < N; j++)
                sum[r][j] = v_mul_add(f, v[j], sum[r][j]);
        }
    }
}

/* c = factor · scale · sum (+ c), from `column` on. */
static inline __attribute__((always_inline)) void store_products(size_t R, size_t N, bool add, const target *to,
                                                                 size_t row, size_t column, size_t columns,
                                                                 V sum[MOST_ROWS][MOST_VECTORS]) {
    const V zero = v_set(0.0F), factor = v_set(to->factor);
    const size_t ldc = to->ldc, n = N > 1 ? VL : columns;
    float *c = to->c + row * ldc + column;
#pragma GCC unroll 4
    for (size_t j = 0; j < N; j++) {
        const V f = to->scale ? v_mul(load_up_to(to->scale + column + j * VL, n, zero), factor) : factor;
#pragma GCC unroll 6
        for (size_t r = 0; r < R; r++) {
            float *const at = c + r * ldc + j * VL;
            store_up_to(at, n, v_fma(sum[r][j], f, add ? load_up_to(at, n, zero) : zero));
        }
    }
}

/* R rows from `row` on and N vectors of columns from `column` on, of which `columns` are there. */
static inline __attribute__((always_inline)) void product_tile(size_t R, size_t N, bool ahead, attn_dtype type,
                                                               const factors *x, const target *to, size_t row,
                                                               size_t column, size_t columns) {
    V sum[MOST_ROWS][MOST_VECTORS];
    sum_products(R, N, ahead, type, x, x->a + row * x->lda, columns, sum);
    if (to->add)
        store_products(R, N, true, to, row, column, columns, sum);
    else
        store_products(R, N, false, to, row, column, columns, sum);
}

/* Rows from `row` on, R of them, by the vectors that fit. */
static inline __attribute__((always_inline)) void product_rows(size_t R, size_t N, bool ahead, attn_dtype type,
                                                               const factors *x, const target *to, size_t row,
                                                               size_t column, size_t columns) {
    if (N == 1)
        product_tile(R, 1, ahead, type, x, to, row, column, columns);
    else
        product_tile(R, vectors_for(R), ahead, type, x, to, row, column, columns);
}

/* All rows, as evenly cut as can be, by N > 1 or one vector of columns. */
static inline __attribute__((always_inline)) void product_stripe(size_t N, attn_dtype type, const factors *x,
                                                                 const target *to, size_t column, size_t columns) {
    const size_t passes = (x->rows + MOST_ROWS - 1) / MOST_ROWS;
    for (size_t pass = 0, row = 0, some; pass < passes; pass++, row += some) {
        some = (x->rows - 1 - pass) / passes + 1;
        switch (some) {
        case 1:
            product_rows(1, N, true, type, x, to, row, column, columns);
            break;
        case 2:
            product_rows(2, N, true, type, x, to, row, column, columns);
            break;
        case 3:
            if (MOST_ROWS > 3)
                product_rows(3, N, true, type, x, to, row, column, columns);
            break;
        case 4:
            if (MOST_ROWS > 4)
                product_rows(4, N, true, type, x, to, row, column, columns);
            break;
        case 5:
            if (MOST_ROWS > 5)
                product_rows(5, N, true, type, x, to, row, column, columns);
            break;
        default:
            if (pass == 0)
                product_rows(MOST_ROWS, N, true, type, x, to, row, column, columns);
            else /* what comes next is on its way */
                product_rows(MOST_ROWS, N, false, type, x, to, row, column, columns);
            break;
        }
    }
}

/* Where column c of b begins. */
static inline const char *column_of(const attni_panels *b, size_t c) {
    return b->data + (c / b->width * b->step + c % b->width * attni_together(b->type)) * attni_size_of(b->type);
}

/* As many vectors at a time as the registers hold, if each half of them lies in one panel. */
static inline __attribute__((always_inline)) void product_of(attn_dtype type, size_t columns, const attni_panels *b,
                                                             factors *x, const target *to) {
    const size_t N = vectors_for(x->rows), half = N / 2 * VL, wide = b->width % half == 0 ? 2 * half : SIZE_MAX;
    size_t j = 0;
    for (; wide <= columns - j; j += wide) {
        x->low = column_of(b, j);
        x->high = column_of(b, j + half);
        product_stripe(N, type, x, to, j, wide);
    }
    for (size_t n; j < columns; j += n) {
        const size_t left = columns - j, rest = b->width - j % b->width, some = left < rest ? left : rest;
        n = some < VL ? some : VL;
        x->low = column_of(b, j);
        product_stripe(1, type, x, to, j, n);
    }
}

static void product_of_f32(size_t columns, const attni_panels *b, factors *x, const target *to) {
    product_of(ATTN_F32, columns, b, x, to);
}
static void product_of_f16(size_t columns, const attni_panels *b, factors *x, const target *to) {
    product_of(ATTN_F16, columns, b, x, to);
}
static void product_of_bf16(size_t columns, const attni_panels *b, factors *x, const target *to) {
    product_of(ATTN_BF16, columns, b, x, to);
}
static void product_of_int8(size_t columns, const attni_panels *b, factors *x, const target *to) {
    product_of(ATTN_INT8, columns, b, x, to);
}

/* Where registers are few and rows many, int8 is widened once for all of them, and stays in the L1. Panels are of whole
 * WIDE columns, or there is one. */
enum { WIDENS = VL == 8, MANY_ROWS = 12, MOST_DEPTH = 384, WIDE = 16 };

static void product_of_widened(size_t columns, const attni_panels *b, const factors *x, const target *to) {
    float wide[MOST_DEPTH * WIDE];
    const attni_panels panel = {.type = ATTN_F32, .data = (const char *)wide, .width = WIDE, .ld = WIDE};
    target t = *to;
    for (size_t j = 0; j < columns; j += WIDE) {
        factors f = *x;
        f.low = column_of(b, j);
        for (size_t k = 0; k < x->depth; k++)
            for (size_t i = 0; i < WIDE / VL; i++)
                v_store(wide + k * WIDE + i * VL, load_together(ATTN_INT8, &f, 1, i, k / 4 * 4, k % 4));
        f.step = WIDE * sizeof *wide;
        t.c = to->c + j;
        t.scale = to->scale ? to->scale + j : NULL;
        product_of_f32(columns - j < WIDE ? columns - j : WIDE, &panel, &f, &t);
    }
}

static void multiply(size_t rows, size_t columns, size_t depth, float factor, const float *a, size_t lda,
                     const attni_panels *b, bool add, float *c, size_t ldc) {
    factors x = {.rows = rows, .depth = depth, .a = a, .lda = lda, .step = b->ld * attni_size_of(b->type)};
    const target to = {factor, b->scale, add, c, ldc};
    if (b->type == ATTN_F32)
        product_of_f32(columns, b, &x, &to);
    else if (b->type == ATTN_F16)
        product_of_f16(columns, b, &x, &to);
    else if (b->type == ATTN_BF16)
        product_of_bf16(columns, b, &x, &to);
    else if (WIDENS && rows >= MANY_ROWS && depth <= MOST_DEPTH)
        product_of_widened(columns, b, &x, &to);
    else
        product_of_int8(columns, b, &x, &to);
}
