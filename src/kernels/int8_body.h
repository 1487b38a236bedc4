/* SPDX-License-Identifier: BSD-3-Clause */
/* Products of quantised rows and int8 panels in integers, by the body that PRODUCTS names. */
#include <string.h>

#include "attn/context.h"

#include "kernels/basics.h"
#include "kernels/narrow.h"

enum { GROUP = 4 };

typedef struct scaling {
    const int32_t *excess; /* [rows], by which sums are too large */
    const float *rows, *columns;
} scaling;

static inline V value_of(const scaling *by, size_t row, S sum) {
    return v_mul(s_less(sum, BIAS != 0 ? by->excess[row] : 0), v_set(by->rows[row]));
}
static inline V factor_of(const scaling *by, size_t column, size_t n) {
    return load_up_to(by->columns + column, n, v_set(0.0F));
}

#include PRODUCTS

static int32_t sum_row(size_t n, const element *a) {
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
    t.by.excess = excess;
    for (size_t r = 0; r < x->rows && BIAS != 0; r++)
        excess[r] = BIAS * sum_row((x->depth + GROUP - 1) / GROUP * GROUP, x->a + r * x->lda);
    multiply_panels(&t, columns, b);
}

static void multiply(size_t rows, size_t columns, size_t depth, const void *a, size_t lda, const float *a_scale,
                     const attni_panels *b, bool add, float *c, size_t ldc) {
    task x = {.depth = depth, .lda = lda / sizeof(element), .step = b->ld * GROUP_BYTES, .add = add, .ldc = ldc};
    x.by.columns = b->scale;
    for (size_t r = 0; r < rows; r += ROWS) {
        x.rows = rows - r < ROWS ? rows - r : ROWS;
        x.a = (const element *)a + r * x.lda;
        x.by.rows = a_scale + r;
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
        s_store((element *)y + j, j < n && inverse > 0 ? v_mul(load_up_to(x + j, n - j, zero), factor) : zero);
    return scale;
}

const attni_int8 DOT_TABLE = {DOT_NAME, DOT_ISA, sizeof(element), quantize, multiply};
