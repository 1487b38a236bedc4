/* SPDX-License-Identifier: BSD-3-Clause */
/* The operations of int4_body.h for rows that are quantised, each group of 32 with a scale of its own, over the
 * operations on quads of the quad_*.h included before. */
#include "kernels/basics.h"
#include "kernels/int4.h"

/* A group of a row: integers of ±127, which are x / scale, and scale · their sum. */
#define UNIT 1.0F
typedef struct part {
    int8_t x[ATTNI_GROUP];
    float scale, sum;
    char none[24];
} part;

enum { PARTS = 2, TOGETHER = 1, WIDENS = 0 };

static inline Q g_spread(const part *a, size_t d, int at) { return g_quad(a->x + 8 * d + 4 * (size_t)at); }
static inline V g_value(S sum, const part *a) { return v_mul(g_float(sum), v_set(a->scale)); }

/* Of the largest |x|: NaN where an x is not finite. */
static inline float scale_of_group(const float *x) {
    const V zero = v_set(0.0F);
    V most = zero, rest = zero;
    float lanes[VL], all = 0.0F;
    for (size_t j = 0; j < ATTNI_GROUP; j += VL) {
        most = v_max(v_abs(v_load(x + j)), most);
        rest = v_fma(v_load(x + j), zero, rest);
    }
    v_store(lanes, most);
    for (size_t i = 0; i < VL; i++)
        all = lanes[i] > all ? lanes[i] : all;
    return v_any_not_finite(rest) ? NAN : scale_for(all);
}

static inline void prepare_group(const float *x, part *y) {
    const float scale = scale_of_group(x), inverse = scale > 0 ? 1 / scale : 0.0F;
    int sum = 0;
    for (size_t j = 0; j < ATTNI_GROUP; j += VL)
        v_store_quanta(y->x + j, inverse > 0 ? v_mul(v_load(x + j), v_set(inverse)) : v_set(0.0F));
    for (size_t k = 0; k < ATTNI_GROUP; k++)
        sum += y->x[k];
    y->scale = scale;
    y->sum = scale * (float)sum;
}
