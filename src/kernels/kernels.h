/* SPDX-License-Identifier: BSD-3-Clause */
/* SIMD kernels: one body (body.h), compiled once for each instruction set over the same few vector operations
 * (simd_*.h). Each compilation is one constant table; a context picks one when it is created. All matrices are
 * row-major f32. */
#ifndef ATTNI_KERNELS_H
#define ATTNI_KERNELS_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attn/norm.h"
#include "attn/rotary.h"
#include "attn/tensor.h"

/* Bytes of an element. */
static inline size_t attni_size_of(attn_dtype dtype) { return dtype == ATTN_F32 ? 4 : dtype <= ATTN_BF16 ? 2 : 1; }

/* Rows of a panel or block that lie together, each column's elements one after the other: pairs of bf16 and quads of
 * int8, which is what the instructions for them read; and the groups of int4 (int4.h). */
static inline size_t attni_together(attn_dtype dtype) {
    return dtype == ATTN_BF16 ? 2 : dtype == ATTN_INT8 ? 4 : dtype == ATTN_INT4 ? 32 : 1;
}

/* A normalisation, defaults resolved. */
typedef struct attni_norm {
    attn_norm_kind kind;
    float eps;
    const float *weight, *bias;      /* or NULL */
    float *mean, *inverse_deviation; /* [rows], outputs, or NULL */
} attni_norm;

/* Σ (x − around) and Σ (x − around)². */
typedef struct attni_moments {
    double first, second;
} attni_moments;

/* What is taken away from a row, and what it is multiplied by then. */
typedef struct attni_centre {
    double mean, factor;
} attni_centre;

/* Of a row of n numbers; `around` was about the mean for LAYER_NORM, and 0 for the others. */
static inline attni_centre attni_centre_of(const attni_norm *norm, size_t n, const attni_moments *m, float around) {
    const double eps = (double)norm->eps, first = m->first / (double)n, second = m->second / (double)n;
    if (norm->kind == ATTN_LAYER_NORM)
        return (attni_centre){(double)around + first, 1 / sqrt(second - first * first + eps)};
    if (norm->kind == ATTN_RMS_NORM)
        return (attni_centre){second * 0, 1 / sqrt(second + eps)};
    return (attni_centre){second * 0, 1 / fmax(sqrt(m->second), eps)};
}

/* An activation, defaults resolved. */
typedef struct attni_activation {
    attn_activation kind;
    float beta, alpha_p, alpha_n;
    bool clamped; /* activation(min(x, limit)) · (min(max(factor, −limit), limit) + offset) */
    float limit, offset;
    bool clips; /* nothing but min(max(x, −limit), limit) */
} attni_activation;

/* What a norm makes of its rows x, and gradients g of that: those of x, and sums of those of weight and bias. */
typedef struct attni_norm_back {
    const float *x, *g;
    float *dx; /* or NULL; may be x or g */
    ptrdiff_t ldx, ldg, lddx;
    bool add;                  /* to dx */
    double *d_weight, *d_bias; /* [width], added to, or NULL */
} attni_norm_back;

/* What a row of logits x comes to: Σ e^(x − max), and of those that are not −∞ the sum and the number. */
typedef struct attni_logits {
    float max;
    double sum, total, unmasked;
} attni_logits;

/* The columns [begin, end) of a row that are visible; the others are masked. begin ≤ end ≤ columns. */
typedef struct attni_range {
    size_t begin, end;
} attni_range;

/* The running state of the online softmax of one row: p = e^(s - max), sum = Σ p. `max` may lag behind the true maximum
 * by up to ATTNI_MAX_LAG, which saves nearly all rescaling and costs no accuracy; −∞ before the first visible score. */
typedef struct attni_row {
    double sum;
    float max;
} attni_row;

#define ATTNI_MAX_LAG 5.5F

/* From scores s [rows, columns] to weights, in place, with what they do to the state and to o [rows, width]. */
typedef void attni_weight_fn(size_t rows, size_t columns, float *s, size_t lds, const attni_range *range,
                             attni_row *state, float *o, size_t width);

enum { ATTNI_SEEN_FALSE = 1, ATTNI_SEEN_TRUE = 2 };

/* A weight is dropped where its random word is below `threshold`. */
typedef struct attni_dropout {
    uint64_t seed, threshold;
    float scale; /* of the others */
} attni_dropout;

/* The right factor of a product, [depth, columns], in panels of `width` columns: each [depth, width] with row stride
 * `ld`, and `step` elements after the one before. Rows of bf16 and int8 lie together in pairs and quads: with n of them
 * element (k, c) is number (k/n·width + c)·n + k mod n, so that every nth row begins where it would otherwise. What is
 * beyond the depth in the last pair or quad may be anything. A byte of int8 is the number plus 128: one factor of the
 * instructions is unsigned. */
typedef struct attni_panels {
    attn_dtype type;
    const char *data;
    size_t width, ld, step; /* of int4: bytes of a panel */
    const float *scale;     /* factors of the columns, or NULL */
    bool half;              /* of int4, which only int4.h multiplies: its scales and offsets are f16 */
} attni_panels;

/* From gradients of weights to those of scores, in g [rows, columns]: p are the weights, `kept` what dropout made of
 * them. Where p is 0, which is where a key is masked, the result is. */
typedef void attni_weight_back_fn(size_t rows, size_t columns, const float *p, const float *kept, float *g, size_t ld,
                                  const float *delta);

typedef struct attni_kernels {
    const char *name;
    uint32_t isa; /* ATTN_ISA_* */

    /* Transposes x [rows, depth], f32, f16 or bf16, with row stride ldx (any sign) into block[d·ldb + r]. Columns up to
     * `columns`, a multiple of 16 and at least `rows`, are filled with zeros. */
    void (*transpose)(attn_dtype type, size_t rows, size_t depth, const void *x, ptrdiff_t ldx, size_t columns,
                      float *block, size_t ldb);

    /* y[r,:] = x[r,:] for [rows, columns], between f32, f16 and bf16, or from any type to itself. */
    void (*copy)(size_t rows, size_t columns, attn_dtype from, const void *x, ptrdiff_t ldx, attn_dtype to, void *y,
                 ptrdiff_t ldy);

    /* Rows of x [rows, columns], rounded to bf16, in pairs from the first row of a panel of `width` columns on. Columns
     * up to `all`, and what an odd last row is paired with, are filled with zeros. */
    void (*pair)(size_t rows, size_t columns, const float *x, ptrdiff_t ldx, size_t all, uint16_t *y, size_t width);

    /* c [rows, columns] = factor · a [rows, depth] · b [depth, columns] (+ c where `add`). Narrow panels are
     * readable up to a multiple of 16 columns. For few rows it fetches ahead, as b is one part of a stream. The bits
     * of an element do not depend on the other rows or columns. */
    void (*multiply)(size_t rows, size_t columns, size_t depth, float factor, const float *a, size_t lda,
                     const attni_panels *b, bool add, float *c, size_t ldc);

    /* The width of panels that it reads best: a multiple of 16. */
    size_t panel_width;

    /* y = x / scale, rounded, x [n], with the smallest scale that makes |y| ≤ 127; returns the scale. */
    float (*quantize)(size_t n, const float *x, int8_t *y);

    /* What caches keep as int4: groups of 32 numbers of 0 to 15, with a scale and an offset of bf16. Of `width` columns
     * a group is
     *     scale [width], offset [width], byte [16][width]:
     * the lower half of byte[k][c] is number k of column c, the upper half number 16 + k; a number stands for scale ·
     * number + offset. The group of x [n], n ≤ 32, finite, beyond ±2^126 as that: the numbers in bytes, zeros behind;
     * y [rows, width], the first rows of a group; and of groups of one column that follow each other the first
     * `columns` numbers as rows, ldy apart: 16 of them in `lower`, and those behind in `upper`. */
    void (*quantize_group)(size_t n, const float *x, uint16_t *scale, uint16_t *offset, uint8_t *numbers);
    void (*widen_columns)(size_t rows, size_t width, const void *group, float *y);
    void (*widen_rows)(size_t rows, size_t columns, const char *groups, float *lower, float *upper, size_t ldy);

    /* Begins to bring rows of so many bytes, `stride` bytes apart, into the L2 cache. */
    void (*prefetch)(size_t rows, size_t bytes, const void *x, ptrdiff_t stride);

    /* One step of the online softmax: s [rows, columns], scores, becomes p = e^(s - max), 0 where masked.
     * `range` [rows] tells what is visible; NULL: everything. Where a row's max moves that was not −∞ before, its sum
     * and its row of o [rows, width] are rescaled. */
    attni_weight_fn *softmax_step;

    /* s becomes 1 / (1 + e^-s), 0 where masked, and the state that of sums that are not to be divided. */
    attni_weight_fn *sigmoid_step;

    /* The probabilities once the state is final: y = e^(s - max) / sum, 0 where masked. */
    void (*softmax_final)(size_t rows, size_t columns, const float *s, size_t lds, const attni_range *range,
                          const attni_row *state, float *y, ptrdiff_t ldy);

    /* Adds o [rows, width] and its state to `total`, that of the same rows over other keys. There may be thousands of
     * them, hence double. What has seen no key is not read. */
    void (*merge)(size_t rows, size_t width, double *total, attni_row *sum, const float *o, const attni_row *state);

    /* x = x · a + y · b. */
    void (*mix)(size_t n, float *x, float a, const float *y, float b);

    /* y[r,:] = o[r,:] / state[r].sum for [rows, width], 0 where the sum is 0; y is f32, f16 or bf16. May use o. */
    void (*normalize)(size_t rows, size_t width, float *o, size_t ldo, const attni_row *state, attn_dtype to, void *y,
                      ptrdiff_t ldy);

    /* Softmax of one row of n scores in base e, x = y allowed. Returns its log-sum-exp. */
    float (*softmax_row)(size_t n, const float *x, float *y);

    /* y[j] = e^x[j] for x ≤ 0, within 1 ULP. */
    void (*exp)(size_t n, const float *x, float *y);

    /* True if no element of x [rows, columns], f32, f16 or bf16, is Inf or NaN. */
    bool (*all_finite)(size_t rows, size_t columns, attn_dtype type, const void *x, ptrdiff_t ldx);

    /* The score program, on n scores of one row. */
    void (*cap)(size_t n, float *s, float most); /* s = most · tanh(s / most), 2^−100 ≤ most ≤ 2^100 */
    /* s = s + bias, −∞ where the bias is, whatever s is; f32, f16 or bf16. */
    void (*add_bias)(size_t n, float *s, attn_dtype type, const void *bias);
    void (*add_slope)(size_t n, float *s, float slope, float distance); /* s[j] = s[j] − slope · |distance + j| */
    void (*mask)(size_t n, float *s, const uint8_t *m, bool keep);      /* s = −∞ where (m ≠ 0) ≠ keep */
    /* ATTNI_SEEN_*: what elements there are in m [rows, n]. */
    unsigned (*seen)(size_t rows, size_t n, const uint8_t *m, ptrdiff_t ldm);

    /* y = p · scale where a weight is kept, 0 where it is dropped; `place` is (i, h, b), and `first`, a multiple of 4,
     * the first key. */
    void (*dropout)(const attni_dropout *dropout, const uint32_t place[3], size_t first, size_t n, const float *p,
                    float *y);

    /* Adds Σ p and Σ p·(s − max) to *mass and *moment, p the probabilities of the scores s. */
    void (*entropy)(size_t n, const float *s, const float *p, float max, double *mass, double *moment);

    /* y[r,:] = activation(x[r,:]) · factor[r,:] for [rows, columns]; factor may be NULL: 1. y = x is allowed. */
    void (*activate)(const attni_activation *activation, size_t rows, size_t columns, const float *x, ptrdiff_t ldx,
                     const float *factor, ptrdiff_t ldf, float *y, ptrdiff_t ldy);

    /* Normalises each row of x [rows, width]. y = x is allowed. */
    void (*norm)(const attni_norm *norm, size_t rows, size_t width, const float *x, ptrdiff_t ldx, float *y,
                 ptrdiff_t ldy);

    /* A norm in its parts, for rows that are in pieces: their moments, and y = (x − mean) · factor · weight; weight may
     * be NULL, y = x is allowed. */
    attni_moments (*moments)(attn_norm_kind kind, size_t n, const float *x, float around);
    void (*shift)(size_t n, const float *x, const attni_centre *centre, const float *weight, float *y);

    /* Rotates n pairs by the angles whose cosines and sines are given, [n]: x[d] and x[half + d], or x[2d] and
     * x[2d + 1]. */
    void (*rotate)(attn_rotary_kind kind, size_t n, size_t half, float *x, const float *cosines, const float *sines);

    /* Gradients. The weights that the softmax made of scores, in place: p = e^(s − lse), 0 where s is −∞, whatever lse
     * is, and out of range. */
    void (*probabilities)(size_t rows, size_t columns, float *s, size_t lds, const attni_range *range,
                          const float *lse);
    attni_weight_back_fn *softmax_back;                                    /* g = kept · g − p · delta[row] */
    attni_weight_back_fn *sigmoid_back;                                    /* g = kept · (1 − p) · g */
    void (*cap_back)(size_t n, const float *capped, float most, float *g); /* g = g · (1 − (capped / most)²) */
    double (*dot)(size_t n, const float *x, const float *y);

    /* Of y = activation(x) · factor, n numbers, from g, the gradients of y: dx and d_factor, either of which may be
     * NULL, or in the place of any of the others. Not of an activation that clips. */
    void (*activate_back)(const attni_activation *activation, size_t n, const float *x, const float *factor,
                          const float *g, float *dx, float *d_factor);

    /* What y = norm(x) [rows, width] means for x, weight and bias. */
    void (*norm_back)(const attni_norm *norm, size_t rows, size_t width, const attni_norm_back *back);

    /* Those of a row of n; the last two only where `unmasked`. */
    attni_logits (*logits)(size_t n, const float *x, bool unmasked);
    /* y = e^(x − max) · factor − less, without the latter where x is −∞; y = x is allowed. */
    void (*logits_back)(size_t n, const float *x, float max, float factor, float less, float *y);
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
