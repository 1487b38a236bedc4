/* SPDX-License-Identifier: BSD-3-Clause */
/* bf16 by AArch64's matrix products of it, which take subnormal numbers as 0. */
#include "kernels/mmla_neon.h"

#include "kernels/basics.h"

typedef uint16_t element;
typedef float32x4_t S;

static inline S s_zero(void) { return vdupq_n_f32(0); }
static inline void s_add_dots(S *sum, Q columns, Q rows) {
    *sum = vbfmmlaq_f32(*sum, vreinterpretq_bf16_u8(columns), vreinterpretq_bf16_u8(rows));
}
static inline S s_row(const S sum[2], size_t row) {
    return row ? vuzp2q_f32(sum[0], sum[1]) : vuzp1q_f32(sum[0], sum[1]);
}

/* A row, which may be rounded in place, in whole pairs. */
static inline void s_round_row(size_t n, const float *x, element *y) {
    for (size_t j = 0; j < n; j += VL) {
        const size_t left = n - j + n % 2;
        element rounded[VL];
        v_store_bf16(rounded, load_up_to(x + j, n - j, v_set(0.0F)));
        memcpy(y + j, rounded, (left < VL ? left : VL) * sizeof *y);
    }
}

#define DOT_TABLE attni_bf16_neon_mmla
#define DOT_NAME "neon_bf16"
#define DOT_ISA (ATTN_ISA_NEON | ATTN_ISA_NEON_BF16)
#define SPLIT NULL
#define PRODUCTS "kernels/mmla_body.h"
#include "kernels/bf16_body.h"
