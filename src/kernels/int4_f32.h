/* SPDX-License-Identifier: BSD-3-Clause */
/* The operations of int4_body.h for rows of f32, over the vector operations of the simd_*.h included before. Numbers
 * are not shifted to the end of their word but stay 16^i too large, which the row makes up for. */
#include "kernels/int4.h"

#define GROUP_ISA SIMD_ISA

/* A group of a row, in units that let no sum of numbers become infinite. */
#define UNIT 0x1p9F
typedef struct part {
    float x[ATTNI_GROUP];
    float sum; /* of it */
    float none[7];
} part;

typedef V S, Q;
/* One row takes two groups at a time, as a sum of one is a chain of 32 operations. Where
 * registers are few, masks and words come from memory for each pass over the rows: many rows share them. */
enum { PARTS = 8, TOGETHER = 2, WIDENS = VL == 8 };

static inline S g_zero(void) { return v_set(0.0F); }

static inline Q g_numbers(const uint8_t *p, int at) { return v_load_nibble(p, at); }
static inline Q g_spread(const part *a, size_t d, int at) { return v_set(a->x[8 * d + (size_t)at]); }
static inline void g_add(S *sum, Q numbers, Q row) {
    *sum = v_mul_add(numbers, row, *sum);
    v_pin(sum);
}
static inline V g_value(S sum, const part *a) {
    (void)a;
    return sum;
}

static inline void prepare_group(const float *x, part *y) {
#define EIGHT 0x1p-9F, 0x1p-17F, 0x1p-25F, 0x1p-33F, 0x1p-13F, 0x1p-21F, 0x1p-29F, 0x1p-9F
    static const float factor[ATTNI_GROUP] = {EIGHT, EIGHT, EIGHT, EIGHT};
#undef EIGHT
    V sum = v_set(0.0F);
    float lanes[VL];
    for (size_t k = 0; k < ATTNI_GROUP; k += VL) {
        sum = v_add(sum, v_load(x + k));
        v_store(y->x + k, v_mul(v_load(x + k), v_load(factor + k)));
    }
    v_store(lanes, v_mul(sum, v_set(1 / UNIT)));
    for (size_t n = VL / 2; n > 0; n /= 2)
        for (size_t i = 0; i < n; i++)
            lanes[i] += lanes[i + n];
    y->sum = lanes[0];
}
