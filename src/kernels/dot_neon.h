/* SPDX-License-Identifier: BSD-3-Clause */
/* The operations of int8_body.h in AArch64's Advanced SIMD, with the dot product of later CPUs or without. Panel bytes
 * are made signed again. */
#include <stdbool.h>

#include "kernels/simd_neon.h"

typedef int8_t element;
enum { PARTS = 1, BIAS = 0 };

static inline int8x16_t quads_of(const uint8_t *p) {
    return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(p), vdupq_n_u8(0x80)));
}
static inline int8x16_t quad_of(const element *p) {
    int32_t quad;
    memcpy(&quad, p, sizeof quad);
    return vreinterpretq_s8_s32(vdupq_n_s32(quad));
}
static inline void s_store(element *y, V x) { v_store_quanta(y, x); }

#ifdef __ARM_FEATURE_DOTPROD
#define DOT_TABLE attni_int8_neon_dot
#define DOT_NAME "neon_dot"
#define DOT_ISA (ATTN_ISA_NEON | ATTN_ISA_NEON_DOT)
typedef int8x16_t Q;
typedef int32x4_t S;
static inline S s_zero(void) { return vdupq_n_s32(0); }
static inline void s_add_dot(S *sum, Q bytes, Q row) { *sum = vdotq_s32(*sum, bytes, row); }
static inline V s_less(S sum, int32_t x) { return vcvtq_f32_s32(vsubq_s32(sum, vdupq_n_s32(x))); }
#else
#define DOT_TABLE attni_int8_neon
#define DOT_NAME "neon"
#define DOT_ISA ATTN_ISA_NEON
typedef int8x16_t Q;
/* Halves of quads. */
typedef struct halves {
    int32x4_t low, high;
} S;
static inline S s_zero(void) { return (S){vdupq_n_s32(0), vdupq_n_s32(0)}; }
static inline void s_add_dot(S *sum, Q bytes, Q row) {
    sum->low = vpadalq_s16(sum->low, vmull_s8(vget_low_s8(bytes), vget_low_s8(row)));
    sum->high = vpadalq_s16(sum->high, vmull_high_s8(bytes, row));
}
static inline V s_less(S sum, int32_t x) {
    return vcvtq_f32_s32(vsubq_s32(vpaddq_s32(sum.low, sum.high), vdupq_n_s32(x)));
}
#endif
static inline Q s_load(const void *p, int part, bool last) {
    (void)last; /* beyond it rows are 0 */
    (void)part;
    return quads_of(p);
}
static inline Q s_spread(const element *p, int part) {
    (void)part;
    return quad_of(p);
}
