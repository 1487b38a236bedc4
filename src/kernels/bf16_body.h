/* SPDX-License-Identifier: BSD-3-Clause */
/* Products of bf16 by bf16, by the body that PRODUCTS names; SPLIT is split_bf16 of split_body.h, or NULL. */
#include <string.h>

#include "attn/context.h"

#include "kernels/basics.h"
#include "kernels/narrow.h"

enum { GROUP = 2 };

typedef struct scaling {
    float factor;
} scaling;

static inline V value_of(const scaling *by, size_t row, S sum) {
    (void)by;
    (void)row;
    return sum;
}
static inline V factor_of(const scaling *by, size_t column, size_t n) {
    (void)column;
    (void)n;
    return v_set(by->factor);
}

#include PRODUCTS

static void multiply(size_t rows, size_t columns, size_t depth, float factor, const float *a, size_t lda,
                     const attni_panels *b, bool add, float *c, size_t ldc) {
    const task x = {.rows = rows,
                    .depth = depth,
                    .a = (const element *)(const void *)a,
                    .lda = 2 * lda,
                    .step = b->ld * GROUP_BYTES,
                    .by = {factor},
                    .add = add,
                    .c = c,
                    .ldc = ldc};
    multiply_panels(&x, columns, b);
}

/* The second element of an odd last pair is 0. */
static void round_bf16(size_t rows, size_t depth, const float *x, size_t ldx, float *y, size_t ldy) {
    for (size_t r = 0; r < rows; r++)
        s_round_row(depth, x + r * ldx, (element *)(void *)(y + r * ldy));
}

const attni_bf16 DOT_TABLE = {DOT_NAME, DOT_ISA, sizeof(element), round_bf16, SPLIT, multiply};
