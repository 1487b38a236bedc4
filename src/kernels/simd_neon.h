/* SPDX-License-Identifier: BSD-3-Clause */
/* The vector operations of body.h in AArch64's Advanced SIMD; simd_avx512.h says what they mean. */
#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SIMD_TABLE attni_kernels_neon
#define SIMD_BF16 attni_bf16_neon
#define SIMD_NAME "neon"
#define SIMD_ISA ATTN_ISA_NEON
#define VL 4

typedef float32x4_t V;

static inline V v_set(float x) { return vdupq_n_f32(x); }
static inline V v_load(const float *p) { return vld1q_f32(p); }
static inline void v_store(float *p, V x) { vst1q_f32(p, x); }
static inline V v_load_n(const float *p, size_t n, V fill) {
    memcpy(&fill, p, n * sizeof *p);
    return fill;
}
static inline void v_store_n(float *p, size_t n, V x) { memcpy(p, &x, n * sizeof *p); }

static inline V v_add(V a, V b) { return vaddq_f32(a, b); }
static inline V v_sub(V a, V b) { return vsubq_f32(a, b); }
static inline V v_mul(V a, V b) { return vmulq_f32(a, b); }
static inline V v_fma(V a, V b, V c) { return vfmaq_f32(c, a, b); }
static inline V v_mul_add(V a, V b, V c) { return v_fma(a, b, c); }
static inline V v_div(V a, V b) { return vdivq_f32(a, b); }
static inline void v_pin(V *x) { __asm__("" : "+w"(*x)); }
static inline V v_abs(V a) { return vabsq_f32(a); }
/* NaN where either is NaN, which suits body.h as well. */
static inline V v_max(V a, V b) { return vmaxq_f32(a, b); }
static inline void v_sum_4(const V a[4], float out[4]) {
    vst1q_f32(out, vpaddq_f32(vpaddq_f32(a[0], a[1]), vpaddq_f32(a[2], a[3])));
}
static inline void v_largest_4(const V a[4], float out[4]) {
    vst1q_f32(out, vpmaxq_f32(vpmaxq_f32(a[0], a[1]), vpmaxq_f32(a[2], a[3])));
}
static inline float v_first(V a) { return vgetq_lane_f32(a, 0); }
static inline int v_any_not_finite(V a) { /* a − a is NaN exactly there */
    const V zero = vsubq_f32(a, a);
    return vminvq_u32(vceqq_f32(zero, zero)) == 0;
}

static inline V v_iota(void) { return (V){0, 1, 2, 3}; }
static inline V v_where_bytes(const uint8_t *m, V x, V y) {
    const uint32x4_t wide = {m[0], m[1], m[2], m[3]};
    return vbslq_f32(vceqzq_u32(wide), y, x);
}
static inline V v_where_equal(V key, float value, V x, V y) {
    return vbslq_f32(vceqq_f32(key, vdupq_n_f32(value)), y, x);
}

static inline V v_load_f16(const uint16_t *p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
static inline void v_store_f16(uint16_t *p, V x) { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(x))); }
static inline V v_load_bf16(const uint16_t *p) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16)); }
static inline uint32x4_t bf16_of(V x) {
    const uint32x4_t u = vreinterpretq_u32_f32(x), odd = vandq_u32(vshrq_n_u32(u, 16), vdupq_n_u32(1));
    const uint32x4_t rounded = vaddq_u32(u, vaddq_u32(odd, vdupq_n_u32(0x7FFF)));
    const uint32x4_t nan = vorrq_u32(u, vdupq_n_u32(0x400000));
    return vbslq_u32(vceqq_f32(x, x), rounded, nan);
}
static inline uint32x4_t upper_half(uint32x4_t u) { return vandq_u32(u, vdupq_n_u32(0xFFFF0000)); }
static inline void v_store_bf16(uint16_t *p, V x) { vst1_u16(p, vshrn_n_u32(bf16_of(x), 16)); }
static inline V v_round_bf16(V x) { return vreinterpretq_f32_u32(upper_half(bf16_of(x))); }

static inline uint32x4_t load_integers(const void *p) { return vreinterpretq_u32_u8(vld1q_u8(p)); }
static inline V v_load_first(const uint16_t *p) { return vreinterpretq_f32_u32(vshlq_n_u32(load_integers(p), 16)); }
static inline V v_load_second(const uint16_t *p) { return vreinterpretq_f32_u32(upper_half(load_integers(p))); }
static inline void v_store_pair(uint16_t *p, V first, V second) {
    const uint32x4_t pair = vorrq_u32(vshrq_n_u32(bf16_of(first), 16), upper_half(bf16_of(second)));
    vst1q_u16(p, vreinterpretq_u16_u32(pair));
}
static inline void v_store_quanta(int8_t *p, V x) {
    const int16x4_t words = vmovn_s32(vcvtnq_s32_f32(x));
    const int8x8_t bytes = vmovn_s16(vcombine_s16(words, words));
    memcpy(p, &bytes, VL);
}
static inline V v_load_quad(const uint8_t *p, int at) {
    static const uint8_t bytes[16] = {0, 255, 255, 255, 4, 255, 255, 255, 8, 255, 255, 255, 12, 255, 255, 255};
    const uint32x4_t byte = vaddq_u32(vreinterpretq_u32_u8(vld1q_u8(bytes)), vdupq_n_u32((uint32_t)at));
    const uint8x16_t u = vqtbl1q_u8(vld1q_u8(p), vreinterpretq_u8_u32(byte));
    const V shifted = vreinterpretq_f32_u32(vorrq_u32(vreinterpretq_u32_u8(u), vdupq_n_u32(0x4B000000)));
    return vsubq_f32(shifted, vdupq_n_f32(0x1p23F + 128));
}
static inline V v_load_nibble(const uint8_t *p, int at) {
    const uint32x4_t x = load_integers(p), mask = vdupq_n_u32(0xFU << (at < 4 ? 8 * at : 8 * at - 28));
    return vcvtq_f32_u32(at == 7 ? vshrq_n_u32(x, 28) : vandq_u32(x, mask));
}

static inline uint32x4_t load_bytes(const uint8_t *p) {
    uint32_t four;
    memcpy(&four, p, sizeof four);
    return vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(four))));
}
static inline V v_load_lower(const uint8_t *p) { return vcvtq_f32_u32(vandq_u32(load_bytes(p), vdupq_n_u32(0xF))); }
static inline V v_load_upper(const uint8_t *p) { return vcvtq_f32_u32(vshrq_n_u32(load_bytes(p), 4)); }

/* Below −160, 2^x is 0: clamping keeps −∞ and the exponent arithmetic in range. NaN stays NaN. */
static inline V clamp(V x) { return vmaxq_f32(vdupq_n_f32(-160.0F), x); }
static inline V v_fraction(V x) { return vsubq_f32(clamp(x), vrndnq_f32(clamp(x))); }
/* 2^(n + 64) is normal for every n that matters, so only the last product rounds. */
static inline V v_scale(V p, V x) {
    const int32x4_t n = vcvtnq_s32_f32(clamp(x));
    const V power = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n, vdupq_n_s32(127 + 64)), 23));
    return vmulq_f32(vmulq_f32(p, power), vdupq_n_f32(0x1p-64F));
}

static inline V v_fraction_normal(V x) { return v_fraction(x); }
static inline V v_scale_normal(V p, V x) { return v_scale(p, x); }

static inline void v_transpose(V r[VL]) {
    const V a = vtrn1q_f32(r[0], r[1]), b = vtrn2q_f32(r[0], r[1]);
    const V c = vtrn1q_f32(r[2], r[3]), d = vtrn2q_f32(r[2], r[3]);
    r[0] = vcombine_f32(vget_low_f32(a), vget_low_f32(c));
    r[1] = vcombine_f32(vget_low_f32(b), vget_low_f32(d));
    r[2] = vcombine_f32(vget_high_f32(a), vget_high_f32(c));
    r[3] = vcombine_f32(vget_high_f32(b), vget_high_f32(d));
}

static inline void v_split(V a, V b, V *even, V *odd) {
    *even = vuzp1q_f32(a, b);
    *odd = vuzp2q_f32(a, b);
}
static inline void v_join(V even, V odd, V *a, V *b) {
    *a = vzip1q_f32(even, odd);
    *b = vzip2q_f32(even, odd);
}
