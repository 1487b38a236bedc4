/* SPDX-License-Identifier: BSD-3-Clause */
/* The vector operations of body.h in plain C, on vectors of one float; simd_avx512.h says what they mean. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SIMD_TABLE attni_kernels_generic
#define SIMD_BF16 attni_bf16_generic
#define SIMD_NAME "generic"
#define SIMD_ISA ATTN_ISA_GENERIC
#define VL 1

typedef float V;

static inline V v_set(float x) { return x; }
static inline V v_load(const float *p) { return *p; }
static inline void v_store(float *p, V x) { *p = x; }
static inline V v_load_n(const float *p, size_t n, V fill) { return n ? *p : fill; }
static inline void v_store_n(float *p, size_t n, V x) {
    if (n)
        *p = x;
}

static inline V v_add(V a, V b) { return a + b; }
static inline V v_sub(V a, V b) { return a - b; }
static inline V v_mul(V a, V b) { return a * b; }
/* The product of two floats is exact in double: this rounds almost as fmaf does, and is fast without hardware FMA. */
static inline V v_fma(V a, V b, V c) { return (float)((double)a * (double)b + (double)c); }
static inline V v_mul_add(V a, V b, V c) { return a * b + c; }
static inline V v_max(V a, V b) { return a > b ? a : b; }
static inline V v_div(V a, V b) { return a / b; }
static inline void v_pin(V *x) { (void)x; }
static inline V v_abs(V a) { return fabsf(a); }
static inline void v_sum_4(const V a[4], float out[4]) {
    for (int i = 0; i < 4; i++)
        out[i] = a[i];
}
static inline void v_largest_4(const V a[4], float out[4]) { v_sum_4(a, out); }
static inline float v_first(V a) { return a; }
static inline int v_any_not_finite(V a) { return !isfinite(a); }

static inline V v_iota(void) { return 0.0F; }
static inline V v_where_bytes(const uint8_t *m, V x, V y) { return *m ? x : y; }
static inline V v_where_equal(V key, float value, V x, V y) { return key == value ? y : x; }

static inline uint32_t bits_of(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}
static inline float float_of(uint32_t u) {
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* In neither direction is a single subnormal on the way, since the CPU may take those for 0. A half's exponent and
 * fraction as a single's, the exponent 224 larger, are 2^112 too large; a subnormal one is a multiple of 2^−24, which
 * is the last bit of what begins at ½. */
static inline V v_load_f16(const uint16_t *p) {
    const uint32_t half = *p & 0x7FFFU, sign = (uint32_t)(*p & 0x8000U) << 16;
    const float normal = float_of((half << 13) + (224U << 23)) * 0x1p-112F;
    const float subnormal = float_of(half | 126U << 23) - 0.5F;
    return float_of(sign | bits_of(half < 0x400U ? subnormal : normal));
}
/* Adding 2^(e + 13) rounds to the multiples of 2^(e − 10) that a half with exponent e, or −14, can have, and leaves how
 * many there are in the last bits. */
static inline void v_store_f16(uint16_t *p, V x) {
    const uint32_t u = bits_of(x), sign = (u >> 16) & 0x8000U, magnitude = u & 0x7FFFFFFFU;
    const uint32_t exponent = magnitude >> 23 < 113 ? 113 : magnitude >> 23;
    const uint32_t sum = bits_of(float_of(magnitude) + float_of((exponent + 13) << 23));
    const uint32_t finite = ((exponent - 113) << 10) + (sum & 0xFFFU),
                   other = magnitude > 0x7F800000U ? 0x7E00U : 0x7C00U;
    *p = (uint16_t)(sign | (magnitude < 0x477FF000U ? finite : other)); /* below 65520 */
}
static inline V v_load_bf16(const uint16_t *p) { return float_of((uint32_t)*p << 16); }
static inline uint32_t bf16_of(V x) {
    const uint32_t u = bits_of(x);
    return x == x ? u + 0x7FFFU + (u >> 16 & 1U) : u | 0x400000U;
}
static inline void v_store_bf16(uint16_t *p, V x) { *p = (uint16_t)(bf16_of(x) >> 16); }
static inline V v_round_bf16(V x) { return float_of(bf16_of(x) & 0xFFFF0000U); }

static inline V v_load_first(const uint16_t *p) { return v_load_bf16(p); }
static inline V v_load_second(const uint16_t *p) { return v_load_bf16(p + 1); }
static inline void v_store_pair(uint16_t *p, V first, V second) {
    v_store_bf16(p, first);
    v_store_bf16(p + 1, second);
}
static inline V v_load_quad(const uint8_t *p, int at) { return (float)(p[at] - 128); }
static inline V v_load_nibble(const uint8_t *p, int at) {
    uint32_t word;
    memcpy(&word, p, sizeof word);
    return (float)(at == 7 ? word >> 28 : word & 0xFU << (at < 4 ? 8 * at : 8 * at - 28));
}

static inline V v_load_lower(const uint8_t *p) { return (float)(*p & 0xF); }
static inline V v_load_upper(const uint8_t *p) { return (float)(*p >> 4); }

/* Below −160, 2^x is 0: clamping keeps −∞ and the exponent arithmetic in range. NaN stays NaN. */
static inline V clamp(V x) { return x < -160.0F ? -160.0F : x; }
/* Adding 1.5·2^23 rounds to an integer, which the subtraction leaves alone. */
static inline V nearest(V x) { return (clamp(x) + 0x1.8p23F) - 0x1.8p23F; }
static inline V v_fraction(V x) { return clamp(x) - nearest(x); }
/* 2^(n + 64) is normal for every n that matters, so only the last product rounds. */
static inline V v_scale(V p, V x) {
    const V n = nearest(x);
    union {
        uint32_t bits;
        float value;
    } power = {(uint32_t)(n == n ? (int)n + 127 + 64 : 0) << 23};
    return p * power.value * 0x1p-64F;
}

static inline V v_fraction_normal(V x) { return v_fraction(x); }
static inline V v_scale_normal(V p, V x) { return v_scale(p, x); }

static inline void v_transpose(V r[VL]) { (void)r; }

static inline void v_split(V a, V b, V *even, V *odd) {
    *even = a;
    *odd = b;
}
static inline void v_join(V even, V odd, V *a, V *b) { v_split(even, odd, a, b); }
