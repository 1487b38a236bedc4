/* SPDX-License-Identifier: BSD-3-Clause */
/* The kernels, written once over the vector operations of the simd_*.h included before. kernels.h says what they do. */
#include "kernels/kernels.h"

#include <math.h>
#include <string.h>

#include "attn/context.h"

#include "kernels/basics.h"
#include "kernels/int4.h"
#include "kernels/narrow.h"
#include "kernels/together.h"

/* Up to VL elements of another type than f32; beyond n they are 0. */
static inline __attribute__((always_inline)) V load_half(attn_dtype type, const uint16_t *p, size_t n) {
    uint16_t part[VL] = {0};
    if (n < VL) {
        memcpy(part, p, n * sizeof *p);
        p = part;
    }
    return type == ATTN_F16 ? v_load_f16(p) : v_load_bf16(p);
}

static inline __attribute__((always_inline)) V load_from(attn_dtype type, const void *p, size_t n, V fill) {
    return type == ATTN_F32 ? load_up_to(p, n, fill) : load_half(type, p, n);
}

static void row_load(attn_dtype from, size_t n, const void *x, float *y) {
    const uint16_t *half = x;
    for (size_t j = 0; j < n; j += VL) {
        const V v = from == ATTN_F16 ? load_half(ATTN_F16, half + j, n - j) : load_half(ATTN_BF16, half + j, n - j);
        store_up_to(y + j, n - j, v);
    }
}

static inline void store_half(attn_dtype type, uint16_t *p, V x) {
    type == ATTN_F16 ? v_store_f16(p, x) : v_store_bf16(p, x);
}

static void row_store(attn_dtype to, size_t n, const float *x, uint16_t *y) {
    size_t j = 0;
    for (; j + VL <= n; j += VL)
        store_half(to, y + j, v_load(x + j));
    if (j < n) {
        uint16_t part[VL];
        store_half(to, part, v_load_n(x + j, n - j, v_set(0.0F)));
        memcpy(y + j, part, (n - j) * sizeof *y);
    }
}

/* From any type to one that is not f32, in pieces. */
static void row_convert(attn_dtype from, size_t n, const void *x, attn_dtype to, void *y) {
    enum { PIECE = 256 };
    float piece[PIECE];
    for (size_t j = 0; j < n; j += PIECE) {
        const size_t count = n - j < PIECE ? n - j : PIECE;
        if (from == ATTN_F32)
            row_store(to, count, (const float *)x + j, (uint16_t *)y + j);
        else {
            row_load(from, count, (const uint16_t *)x + j, piece);
            row_store(to, count, piece, (uint16_t *)y + j);
        }
    }
}

/* p with 2^r = 1 + p·r. The polynomial of degree 6 is fitted to 2^r on [−½, ½] for the least relative error (3e-9) by
 * reweighted least squares, one coefficient after the other rounded to f32 and the rest fitted again, from the constant
 * term up; that one is 1, so that 2^0 is exactly 1. */
static inline V exp2_slope(V r) {
    V p = v_set(0x1.416b5p-13F);
    p = v_fma(p, r, v_set(0x1.5f082ep-10F));
    p = v_fma(p, r, v_set(0x1.3b2dep-7F));
    p = v_fma(p, r, v_set(0x1.c6af7cp-5F));
    p = v_fma(p, r, v_set(0x1.ebfbdcp-3F));
    return v_fma(p, r, v_set(0x1.62e43p-1F));
}

/* 2^x, r being x − round(x), perhaps with more bits than x has room for. */
static inline V exp2_from(V r, V x) { return v_scale(v_fma(exp2_slope(r), r, v_set(1.0F)), x); }

/* e^x for x ≤ 0: 2^(x·log2 e), the product kept to about 48 bits. Below −110 the result is 0, which spares −∞ from ∞ −
 * ∞. */
static inline V v_exp(V x) {
    const V bounded = v_max(v_set(-110.0F), x); /* x where x is NaN */
    const V log2e = v_set(0x1.715476p+0F), rest = v_set(0x1.4ae0cp-26F);
    const V hi = v_mul(bounded, log2e);
    const V lo = v_fma(bounded, rest, v_fma(bounded, log2e, v_sub(v_set(0.0F), hi)));
    return exp2_from(v_add(v_fraction(hi), lo), hi);
}

/* The maximum of a row, spread over a vector. */
static inline V row_max(size_t n, const float *x) {
    V a = v_set(-INFINITY), b = a, c = a, d = a;
    size_t j = 0;
    for (; j + 4 * VL <= n; j += 4 * VL) {
        a = v_max(v_load(x + j), a);
        b = v_max(v_load(x + j + VL), b);
        c = v_max(v_load(x + j + 2 * VL), c);
        d = v_max(v_load(x + j + 3 * VL), d);
    }
    for (; j + VL <= n; j += VL)
        a = v_max(v_load(x + j), a);
    if (j < n)
        b = v_max(v_load_n(x + j, n - j, a), b);
    return v_max(v_max(a, b), v_max(c, d));
}

/* e^x, the product with log2 e rounded once: for x that are rounded themselves. Below 2^−126 it may be 0. */
static inline V v_exp_rounded(V x) {
    const V y = v_mul(x, v_set(0x1.715476p+0F)), r = v_fraction_normal(y);
    return v_scale_normal(v_fma(exp2_slope(r), r, v_set(1.0F)), y);
}

/* y = e^(x − max); returns the sum, spread over a vector. */
static inline V row_exp(size_t n, const float *x, float max, float *y) {
    const V m = v_set(max);
    V a = v_set(0.0F), b = a;
    size_t j = 0;
    for (; j + 2 * VL <= n; j += 2 * VL) {
        const V p = v_exp(v_sub(v_load(x + j), m)), q = v_exp(v_sub(v_load(x + j + VL), m));
        v_store(y + j, p);
        v_store(y + j + VL, q);
        a = v_add(a, p);
        b = v_add(b, q);
    }
    for (; j < n; j += VL) {
        const V p = v_exp(v_sub(load_up_to(x + j, n - j, v_set(-INFINITY)), m));
        store_up_to(y + j, n - j, p);
        a = v_add(a, p);
    }
    return v_add(a, b);
}

static inline void row_scale(size_t n, const float *x, float factor, float *y) {
    const V f = v_set(factor);
    size_t j = 0;
    for (; j + VL <= n; j += VL)
        v_store(y + j, v_mul(v_load(x + j), f));
    if (j < n)
        v_store_n(y + j, n - j, v_mul(v_load_n(x + j, n - j, f), f));
}

static inline void zero(size_t n, float *y) {
    for (size_t j = 0; j < n; j += VL)
        store_up_to(y + j, n - j, v_set(0.0F));
}

/* What to subtract from scores whose maximum is `max`: where all are −∞, 0 gives e^−∞ = 0 and not NaN. */
static inline float origin(float max) { return max == -INFINITY ? 0.0F : max; }

static void rescale(attni_row *state, float max, float *o, size_t width) {
    const float factor = v_first(v_exp(v_set(state->max - max)));
    state->max = max;
    state->sum *= (double)factor;
    row_scale(width, o, factor, o);
}

static inline void raise_max(attni_row *state, float max, float *o, size_t width) {
    if (state->max == -INFINITY)
        state->max = max;
    else
        rescale(state, max, o, width);
}

static inline attni_range range_of(const attni_range *range, size_t r, size_t columns) {
    return range ? range[r] : (attni_range){0, columns};
}

/* The visible part of up to four rows of scores: `together` columns, in whole vectors, of all of them, and the rest. */
typedef struct four_rows {
    float *x[4];
    size_t n[4], together;
} four_rows;

static inline __attribute__((always_inline)) four_rows see_rows(size_t rows, size_t columns, float *s, size_t lds,
                                                                const attni_range *range) {
    four_rows seen = {.together = columns / VL * VL};
#pragma GCC unroll 4
    for (size_t r = 0; r < rows; r++) {
        const attni_range v = range_of(range, r, columns);
        seen.x[r] = s + r * lds + v.begin;
        seen.n[r] = v.end - v.begin;
        seen.together = seen.n[r] < seen.together ? seen.n[r] / VL * VL : seen.together;
    }
    return seen;
}

/* The maxima of rows, each spread over a vector. */
static inline __attribute__((always_inline)) void rows_max(size_t rows, const four_rows *seen, V max[4]) {
    for (size_t j = 0; j < seen->together; j += VL) {
#pragma GCC unroll 4
        for (size_t r = 0; r < rows; r++)
            max[r] = v_max(v_load(seen->x[r] + j), max[r]);
    }
#pragma GCC unroll 4
    for (size_t r = 0; r < rows; r++)
        for (size_t j = seen->together; j < seen->n[r]; j += VL)
            max[r] = v_max(load_up_to(seen->x[r] + j, seen->n[r] - j, v_set(-INFINITY)), max[r]);
}

/* Each row becomes e^(x − max); adds the sums, spread over vectors. */
static inline __attribute__((always_inline)) void rows_exp(size_t rows, const four_rows *seen, const V max[4],
                                                           V sum[4]) {
    for (size_t j = 0; j < seen->together; j += VL) {
#pragma GCC unroll 4
        for (size_t r = 0; r < rows; r++) {
            const V p = v_exp_rounded(v_sub(v_load(seen->x[r] + j), max[r]));
            v_store(seen->x[r] + j, p);
            sum[r] = v_add(sum[r], p);
        }
    }
#pragma GCC unroll 4
    for (size_t r = 0; r < rows; r++)
        for (size_t j = seen->together; j < seen->n[r]; j += VL) {
            const size_t n = seen->n[r] - j;
            const V p = v_exp_rounded(v_sub(load_up_to(seen->x[r] + j, n, v_set(-INFINITY)), max[r]));
            store_up_to(seen->x[r] + j, n, p);
            sum[r] = v_add(sum[r], p);
        }
}

/* Four rows side by side: one loop for all, and reducing vectors to numbers costs as much for four as for one. */
static inline __attribute__((always_inline)) void softmax_step_4(size_t rows, size_t columns, float *s, size_t lds,
                                                                 const attni_range *range, attni_row *state, float *o,
                                                                 size_t width) {
    const four_rows seen = see_rows(rows, columns, s, lds, range);
    V max[4] = {v_set(-INFINITY), v_set(-INFINITY), v_set(-INFINITY), v_set(-INFINITY)};
    V spread[4] = {v_set(0.0F), v_set(0.0F), v_set(0.0F), v_set(0.0F)};
    float of[4];
    rows_max(rows, &seen, max);
    v_largest_4(max, of);
#pragma GCC unroll 4
    for (size_t r = 0; r < rows; r++) {
        if (of[r] > state[r].max + ATTNI_MAX_LAG)
            raise_max(&state[r], of[r], o + r * width, width);
        max[r] = v_set(origin(state[r].max));
    }
    rows_exp(rows, &seen, max, spread);
    v_sum_4(spread, of);
#pragma GCC unroll 4
    for (size_t r = 0; r < rows; r++)
        state[r].sum += (double)of[r];
}

static void mask_rows(size_t rows, size_t columns, float *s, size_t lds, const attni_range *range) {
    for (size_t r = 0; r < rows; r++, s += lds) {
        zero(range[r].begin, s);
        zero(columns - range[r].end, s + range[r].end);
    }
}

static void softmax_step(size_t rows, size_t columns, float *s, size_t lds, const attni_range *range, attni_row *state,
                         float *o, size_t width) {
    size_t r = 0;
    for (; r + 4 <= rows; r += 4)
        softmax_step_4(4, columns, s + r * lds, lds, range ? range + r : NULL, state + r, o + r * width, width);
    if (r < rows)
        softmax_step_4(rows - r, columns, s + r * lds, lds, range ? range + r : NULL, state + r, o + r * width, width);
    if (range)
        mask_rows(rows, columns, s, lds, range);
}

static void softmax_final(size_t rows, size_t columns, const float *s, size_t lds, const attni_range *range,
                          const attni_row *state, float *y, ptrdiff_t ldy) {
    for (size_t r = 0; r < rows; r++, s += lds, y += ldy) {
        const attni_range v = range_of(range, r, columns);
        zero(v.begin, y);
        zero(columns - v.end, y + v.end);
        row_exp(v.end - v.begin, s + v.begin, origin(state[r].max), y + v.begin);
        if (state[r].sum != 0)
            row_scale(v.end - v.begin, y + v.begin, (float)(1 / state[r].sum), y + v.begin);
    }
}

static void mix(size_t n, float *x, float a, const float *y, float b) {
    const V va = v_set(a), vb = v_set(b);
    size_t j = 0;
    for (; j + VL <= n; j += VL)
        v_store(x + j, v_fma(v_load(x + j), va, v_mul(v_load(y + j), vb)));
    if (j < n)
        v_store_n(x + j, n - j, v_fma(v_load_n(x + j, n - j, va), va, v_mul(v_load_n(y + j, n - j, vb), vb)));
}

static void merge_row(size_t n, double *total, double a, const float *o, double b) {
    for (size_t j = 0; j < n; j++)
        total[j] = total[j] * a + (double)o[j] * b;
}

static void begin_row(size_t n, double *total, const float *o) {
    for (size_t j = 0; j < n; j++)
        total[j] = (double)o[j];
}

static void merge(size_t rows, size_t width, double *total, attni_row *sum, const float *o, const attni_row *state) {
    for (size_t r = 0; r < rows; r++, total += width, o += width, sum++, state++) {
        if (state->max == -INFINITY && state->sum == 0)
            continue;
        if (sum->max == -INFINITY && sum->sum == 0) {
            begin_row(width, total, o);
            *sum = *state;
            continue;
        }
        const float max = sum->max > state->max ? sum->max : state->max;
        const double a = (double)v_first(v_exp(v_set(sum->max - max)));
        const double b = (double)v_first(v_exp(v_set(state->max - max)));
        merge_row(width, total, a, o, b);
        *sum = (attni_row){.sum = sum->sum * a + state->sum * b, .max = max};
    }
}

static void normalize(size_t rows, size_t width, float *o, size_t ldo, const attni_row *state, attn_dtype to, void *y,
                      ptrdiff_t ldy) {
    if (width == 0) /* y may be NULL */
        return;
    for (size_t r = 0; r < rows; r++) {
        const ptrdiff_t at = (ptrdiff_t)r * ldy;
        if (state[r].sum == 0) { /* o may be NULL */
            memset((char *)y + at * (ptrdiff_t)attni_size_of(to), 0, width * attni_size_of(to));
            continue;
        }
        float *const row = o + r * ldo;
        row_scale(width, row, (float)(1 / state[r].sum), to == ATTN_F32 ? (float *)y + at : row);
        if (to != ATTN_F32)
            row_store(to, width, row, (uint16_t *)y + at);
    }
}

static float largest(V a) {
    const V all[4] = {a, a, a, a};
    float out[4];
    v_largest_4(all, out);
    return out[0];
}

static float sum_of(V a) {
    const V all[4] = {a, a, a, a};
    float out[4];
    v_sum_4(all, out);
    return out[0];
}

/* Long rows are summed in pieces, and the pieces in double: the error does not grow with n. */
static float softmax_row(size_t n, const float *x, float *y) {
    enum { PIECE = 1024 };
    const float max = largest(row_max(n, x));
    double sum = 0;
    for (size_t j = 0; j < n; j += PIECE)
        sum += (double)sum_of(row_exp(n - j < PIECE ? n - j : PIECE, x + j, origin(max), y + j));
    if (sum == 0)
        return -INFINITY;
    row_scale(n, y, (float)(1 / sum), y);
    return (float)((double)max + log(sum));
}

static void exp_many(size_t n, const float *x, float *y) { row_exp(n, x, 0.0F, y); }

/* Begins to bring the line at x + bytes, which need not exist, into the L2 cache; offsets wrap around as strides do. */

/* Reading many rows side by side defeats the hardware's prefetching: the rows that come AHEAD rows later, in this call
 * or the next, are fetched meanwhile, a line at a time. */
static inline __attribute__((always_inline)) void fetch_rows(const char *x, size_t stride, size_t from, size_t column) {
    enum { AHEAD = 64, LINE = 64 };
    if (column % LINE == 0)
        for (size_t i = 0; i < VL; i++)
            fetch(x, (from + i + AHEAD) * stride + column);
}

/* VL columns of x, of which `rows` are there, from VL rows of block, of which `depth` are written. */
static inline __attribute__((always_inline)) void
transpose_square(attn_dtype type, size_t rows, size_t depth, const char *x, size_t stride, float *block, size_t ldb) {
    V t[VL];
    for (size_t i = 0; i < VL; i++)
        t[i] = i < rows ? load_from(type, x + i * stride, depth, v_set(0.0F)) : v_set(0.0F);
    v_transpose(t);
    for (size_t i = 0; i < VL && i < depth; i++)
        v_store(block + i * ldb, t[i]);
}

static inline __attribute__((always_inline)) void transpose_from(attn_dtype type, size_t rows, size_t depth,
                                                                 const char *x, ptrdiff_t ldx, size_t columns,
                                                                 float *block, size_t ldb) {
    const size_t size = attni_size_of(type), stride = (size_t)ldx * size;
    for (size_t j = 0; j < columns; j += VL) {
        const size_t there = j < rows ? rows - j : 0;
        size_t d = 0;
        for (; there >= VL && d + VL <= depth; d += VL) {
            fetch_rows(x, stride, j, d * size);
            transpose_square(type, VL, VL, x + j * stride + d * size, stride, block + d * ldb + j, ldb);
        }
        for (; d < depth; d += VL) {
            fetch_rows(x, stride, j, d * size);
            transpose_square(type, there, depth - d, x + j * stride + d * size, stride, block + d * ldb + j, ldb);
        }
    }
}

static void transpose(attn_dtype type, size_t rows, size_t depth, const void *x, ptrdiff_t ldx, size_t columns,
                      float *block, size_t ldb) {
    if (type == ATTN_F32)
        transpose_from(ATTN_F32, rows, depth, x, ldx, columns, block, ldb);
    else if (type == ATTN_F16)
        transpose_from(ATTN_F16, rows, depth, x, ldx, columns, block, ldb);
    else
        transpose_from(ATTN_BF16, rows, depth, x, ldx, columns, block, ldb);
}

/* Rows are short: those of a panel have 16 columns or 64. */
static inline void row_copy(size_t n, const float *x, float *y) {
    size_t j = 0;
    for (; j + VL <= n; j += VL)
        v_store(y + j, v_load(x + j));
    if (j < n)
        v_store_n(y + j, n - j, v_load_n(x + j, n - j, v_set(0.0F)));
}

static void copy(size_t rows, size_t columns, attn_dtype from, const void *x, ptrdiff_t ldx, attn_dtype to, void *y,
                 ptrdiff_t ldy) {
    const ptrdiff_t in = (ptrdiff_t)attni_size_of(from), out = (ptrdiff_t)attni_size_of(to);
    if (columns == 0) /* x and y may be NULL */
        return;
    for (ptrdiff_t r = 0; r < (ptrdiff_t)rows; r++) {
        const char *source = (const char *)x + r * ldx * in;
        char *target = (char *)y + r * ldy * out;
        if (from == ATTN_F32 && to == ATTN_F32)
            row_copy(columns, (const float *)(const void *)source, (float *)(void *)target);
        else if (from == to)
            memcpy(target, source, columns * (size_t)in);
        else if (to == ATTN_F32)
            row_load(from, columns, source, (float *)(void *)target);
        else
            row_convert(from, columns, source, to, target);
    }
}

static float quantize(size_t n, const float *x, int8_t *y) {
    float most = 0;
    for (size_t j = 0; j < n; j++)
        most = fabsf(x[j]) > most ? fabsf(x[j]) : most;
    const float scale = scale_for(most), inverse = scale == 0 ? 0.0F : 1 / scale;
    for (size_t j = 0; j < n; j++)
        y[j] = quantum_of(x[j] * inverse);
    return scale;
}

static void prefetch(size_t rows, size_t bytes, const void *x, ptrdiff_t stride) {
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < bytes; j += 64)
            fetch(x, r * (size_t)stride + j);
}

/* Σ 0 · x is not finite where an x is not. */
static inline __attribute__((always_inline)) bool all_finite_in(attn_dtype type, size_t rows, size_t columns,
                                                                const char *x, ptrdiff_t ldx) {
    const size_t size = attni_size_of(type);
    const V none = v_set(0.0F);
    V a = none, b = none;
    for (size_t r = 0; r < rows; r++, x += ldx * (ptrdiff_t)size) {
        size_t j = 0;
        for (; j + 2 * VL <= columns; j += 2 * VL) {
            a = v_fma(none, load_from(type, x + j * size, VL, none), a);
            b = v_fma(none, load_from(type, x + (j + VL) * size, VL, none), b);
        }
        for (; j < columns; j += VL)
            a = v_fma(none, load_from(type, x + j * size, columns - j, none), a);
    }
    return !v_any_not_finite(v_add(a, b));
}

static bool all_finite(size_t rows, size_t columns, attn_dtype type, const void *x, ptrdiff_t ldx) {
    return type == ATTN_F32   ? all_finite_in(ATTN_F32, rows, columns, x, ldx)
           : type == ATTN_F16 ? all_finite_in(ATTN_F16, rows, columns, x, ldx)
                              : all_finite_in(ATTN_BF16, rows, columns, x, ldx);
}

#include "kernels/back_body.h"
#include "kernels/groups_body.h"
#include "kernels/layer_body.h"
#include "kernels/logits_body.h"
#include "kernels/product_body.h"
#include "kernels/score_body.h"
#include "kernels/turn_body.h"

#include "kernels/layer_back_body.h"

const attni_bf16 SIMD_BF16 = {SIMD_NAME, SIMD_ISA, sizeof(float), round_bf16, NULL, multiply};

const attni_kernels SIMD_TABLE = {.name = SIMD_NAME,
                                  .isa = SIMD_ISA,
                                  .transpose = transpose,
                                  .copy = copy,
                                  .pair = pair,
                                  .multiply = multiply,
                                  .panel_width = VL == 16 ? 64 : 16,
                                  .quantize = quantize,
                                  .quantize_group = quantize_group,
                                  .widen_columns = widen_columns,
                                  .widen_rows = widen_rows,
                                  .prefetch = prefetch,
                                  .softmax_step = softmax_step,
                                  .sigmoid_step = sigmoid_step,
                                  .softmax_final = softmax_final,
                                  .merge = merge,
                                  .mix = mix,
                                  .normalize = normalize,
                                  .softmax_row = softmax_row,
                                  .exp = exp_many,
                                  .all_finite = all_finite,
                                  .cap = cap,
                                  .add_bias = add_bias,
                                  .add_slope = add_slope,
                                  .mask = mask,
                                  .seen = seen,
                                  .dropout = dropout,
                                  .entropy = entropy,
                                  .activate = activate,
                                  .norm = norm_rows,
                                  .moments = norm_moments,
                                  .shift = shift,
                                  .rotate = rotate,
                                  .probabilities = probabilities,
                                  .softmax_back = softmax_back,
                                  .sigmoid_back = sigmoid_back,
                                  .cap_back = cap_back,
                                  .dot = dot,
                                  .activate_back = activate_back,
                                  .norm_back = norm_back,
                                  .logits = logits,
                                  .logits_back = logits_back};
