/* SPDX-License-Identifier: BSD-3-Clause */
/* int8 by AArch64's matrix products of 8-bit integers. */
#include "kernels/mmla_neon.h"

typedef int8_t element;
typedef int32x4_t S;
enum { BIAS = 128 };

static inline S s_zero(void) { return vdupq_n_s32(0); }
static inline void s_add_dots(S *sum, Q columns, Q rows) {
    *sum = vusmmlaq_s32(*sum, columns, vreinterpretq_s8_u8(rows));
}
static inline S s_row(const S sum[2], size_t row) {
    return row ? vuzp2q_s32(sum[0], sum[1]) : vuzp1q_s32(sum[0], sum[1]);
}
static inline V s_less(S sum, int32_t x) { return vcvtq_f32_s32(vsubq_s32(sum, vdupq_n_s32(x))); }
static inline void s_store(element *y, V x) { v_store_quanta(y, x); }

#define DOT_TABLE attni_int8_neon_i8mm
#define DOT_NAME "neon_i8mm"
#define DOT_ISA (ATTN_ISA_NEON | ATTN_ISA_NEON_I8MM)
#define PRODUCTS "kernels/mmla_body.h"
#include "kernels/int8_body.h"
