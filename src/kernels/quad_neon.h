/* SPDX-License-Identifier: BSD-3-Clause */
/* The operations of int4_int8.h in AArch64's Advanced SIMD, with the dot product of later CPUs or without. */
#include "kernels/simd_neon.h"

typedef int8x16_t Q;

static inline Q g_numbers(const uint8_t *p, int at) {
    const uint8x16_t x = vld1q_u8(p);
    return vreinterpretq_s8_u8(at ? vshrq_n_u8(x, 4) : vandq_u8(x, vdupq_n_u8(0xF)));
}
static inline Q g_quad(const int8_t *p) {
    int32_t quad;
    memcpy(&quad, p, sizeof quad);
    return vreinterpretq_s8_s32(vdupq_n_s32(quad));
}
#ifdef __ARM_FEATURE_DOTPROD
#define GROUP_ISA (ATTN_ISA_NEON | ATTN_ISA_NEON_DOT)
typedef int32x4_t S;
static inline S g_zero(void) { return vdupq_n_s32(0); }
static inline void g_add(S *sum, Q numbers, Q row) { *sum = vdotq_s32(*sum, numbers, row); }
static inline V g_float(S sum) { return vcvtq_f32_s32(sum); }
#else
#define GROUP_ISA ATTN_ISA_NEON
/* Elements of quads in 16 bits, which 8 products of 15 · 127 do not leave. */
typedef struct halves {
    int16x8_t low, high;
} S;
static inline S g_zero(void) { return (S){vdupq_n_s16(0), vdupq_n_s16(0)}; }
static inline void g_add(S *sum, Q numbers, Q row) {
    sum->low = vmlal_s8(sum->low, vget_low_s8(numbers), vget_low_s8(row));
    sum->high = vmlal_high_s8(sum->high, numbers, row);
}
static inline V g_float(S sum) { return vcvtq_f32_s32(vpaddq_s32(vpaddlq_s16(sum.low), vpaddlq_s16(sum.high))); }
#endif
