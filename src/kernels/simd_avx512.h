/* SPDX-License-Identifier: BSD-3-Clause */
/* The vector operations of body.h in AVX-512. */
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define SIMD_TABLE attni_kernels_avx512
#define SIMD_BF16 attni_bf16_avx512
#define SIMD_NAME "avx512"
#define SIMD_ISA ATTN_ISA_AVX512
#define VL 16 /* floats in a vector */

typedef __m512 V;

static inline __mmask16 first(size_t n) { return (__mmask16)((1U << n) - 1U); }

static inline V v_set(float x) { return _mm512_set1_ps(x); }
static inline V v_load(const float *p) { return _mm512_loadu_ps(p); }
static inline void v_store(float *p, V x) { _mm512_storeu_ps(p, x); }
/* The first n < VL elements; the rest of a load is `fill`. */
static inline V v_load_n(const float *p, size_t n, V fill) { return _mm512_mask_loadu_ps(fill, first(n), p); }
static inline void v_store_n(float *p, size_t n, V x) { _mm512_mask_storeu_ps(p, first(n), x); }

static inline V v_add(V a, V b) { return _mm512_add_ps(a, b); }
static inline V v_sub(V a, V b) { return _mm512_sub_ps(a, b); }
static inline V v_mul(V a, V b) { return _mm512_mul_ps(a, b); }
static inline V v_fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
static inline V v_mul_add(V a, V b, V c) { return v_fma(a, b, c); }
static inline V v_div(V a, V b) { return _mm512_div_ps(a, b); }
/* Keeps x in its register: the compiler orders what is on either side of it as it is written. */
static inline void v_pin(V *x) { __asm__("" : "+v"(*x)); }
static inline V v_abs(V a) { return _mm512_abs_ps(a); }
/* The larger one; b, or NaN, where either is NaN. */
static inline V v_max(V a, V b) { return _mm512_max_ps(a, b); }
/* In each 128-bit lane, element i of the result reduces four elements of a[i]; then the lanes are reduced. */
#define REDUCE_4(a, op, op_128)                                                                                        \
    const V ab = op(_mm512_unpacklo_ps((a)[0], (a)[1]), _mm512_unpackhi_ps((a)[0], (a)[1]));                           \
    const V cd = op(_mm512_unpacklo_ps((a)[2], (a)[3]), _mm512_unpackhi_ps((a)[2], (a)[3]));                           \
    const V abcd = op(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xEE));                               \
    const V half = op(abcd, _mm512_shuffle_f32x4(abcd, abcd, 0x4E));                                                   \
    const __m128 all = op_128(_mm512_castps512_ps128(half), _mm512_extractf32x4_ps(half, 1))
/* out[i] = the sum, or the largest element, of a[i]. */
static inline void v_sum_4(const V a[4], float out[4]) {
    REDUCE_4(a, _mm512_add_ps, _mm_add_ps);
    _mm_storeu_ps(out, all);
}
static inline void v_largest_4(const V a[4], float out[4]) {
    REDUCE_4(a, _mm512_max_ps, _mm_max_ps);
    _mm_storeu_ps(out, all);
}
static inline float v_first(V a) { return _mm512_cvtss_f32(a); }
static inline int v_any_not_finite(V a) { return _mm512_fpclass_ps_mask(a, 0x99) != 0; /* QNaN, ±Inf, SNaN */ }

/* 0, 1, 2, … */
static inline V v_iota(void) { return _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }
/* x where m[i] is not 0, y where it is; and y where key equals `value`, x elsewhere. */
static inline V v_where_bytes(const uint8_t *m, V x, V y) {
    const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)m);
    return _mm512_mask_blend_ps(_mm_test_epi8_mask(bytes, bytes), y, x);
}
static inline V v_where_equal(V key, float value, V x, V y) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(key, _mm512_set1_ps(value), _CMP_EQ_OQ), x, y);
}

/* Rounded to the nearest. */
static inline void v_store_quanta(int8_t *y, V x) {
    const __m512i whole = _mm512_cvt_roundps_epi32(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm_storeu_si128((__m128i *)(void *)y, _mm512_cvtsepi32_epi8(whole));
}

/* VL elements of the other types; stores round to the nearest, ties to even. */
static inline V v_load_f16(const uint16_t *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
static inline void v_store_f16(uint16_t *p, V x) {
    _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
static inline V v_load_bf16(const uint16_t *p) {
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
/* The upper half of each is the bf16 nearest to x, the lower half anything. */
static inline __m512i bf16_of(V x) {
    const __m512i u = _mm512_castps_si512(x), one = _mm512_set1_epi32(1);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), one);
    const __m512i rounded = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
    const __m512i nan = _mm512_or_si512(u, _mm512_set1_epi32(0x400000));
    return _mm512_mask_blend_epi32(_mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), rounded, nan);
}
static inline __m512i upper_half(void) { return _mm512_set1_epi32((int)0xFFFF0000); }
static inline void v_store_bf16(uint16_t *p, V x) {
    _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtepi32_epi16(_mm512_srli_epi32(bf16_of(x), 16)));
}
/* x rounded to bf16. */
static inline V v_round_bf16(V x) { return _mm512_castsi512_ps(_mm512_and_si512(bf16_of(x), upper_half())); }

/* VL pairs of bf16: the first and the second of each. */
static inline V v_load_first(const uint16_t *p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16));
}
static inline V v_load_second(const uint16_t *p) {
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(p), upper_half()));
}
static inline void v_store_pair(uint16_t *p, V first, V second) {
    _mm512_storeu_si512(
        p, _mm512_or_si512(_mm512_srli_epi32(bf16_of(first), 16), _mm512_and_si512(bf16_of(second), upper_half())));
}
/* Number `at` of each of VL quads of bytes, less 128. The byte is put into the fraction of 2^23. */
static inline V v_load_quad(const uint8_t *p, int at) {
    const __m512i byte =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, -1, -1, -1, 4, -1, -1, -1, 8, -1, -1, -1, 12, -1, -1, -1));
    const __m512i u = _mm512_shuffle_epi8(_mm512_loadu_si512(p), _mm512_add_epi32(byte, _mm512_set1_epi32(at)));
    const __m512i exponent = _mm512_set1_epi32(0x4B000000);
    return _mm512_sub_ps(_mm512_castsi512_ps(_mm512_or_si512(u, exponent)), _mm512_set1_ps(0x1p23F + 128));
}
/* VL words of 8 halves of bytes: number `at` of each, in the order of int4.h, by 16 to the power of the place where it
 * is in the word; by 1 at the last place. */
static inline uint32_t nibble_mask(int at) { return 0xFU << (at < 4 ? 8 * at : 8 * at - 28); }
static inline V v_load_nibble(const uint8_t *p, int at) {
    const __m512i x = _mm512_loadu_si512(p);
    return _mm512_cvtepi32_ps(at == 7 ? _mm512_srli_epi32(x, 28)
                                      : _mm512_and_si512(x, _mm512_set1_epi32((int)nibble_mask(at))));
}

/* The lower and the upper halves of VL bytes. */
static inline __m512i load_bytes(const uint8_t *p) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
}
static inline V v_load_lower(const uint8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_and_si512(load_bytes(p), _mm512_set1_epi32(0xF)));
}
static inline V v_load_upper(const uint8_t *p) { return _mm512_cvtepi32_ps(_mm512_srli_epi32(load_bytes(p), 4)); }

/* x − round(x), 0 for −∞. */
static inline V v_fraction(V x) { return _mm512_reduce_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
/* p · 2^round(x) for p in [½, 2], rounded once, also where the result is subnormal. */
static inline V v_scale(V p, V x) { return _mm512_scalef_ps(p, _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT)); }

/* The same where a result below 2^−126 may be 0. */
static inline V v_fraction_normal(V x) { return v_fraction(x); }
static inline V v_scale_normal(V p, V x) { return v_scale(p, x); }

/* The elements with even and with odd numbers of (a, b), and back. */
static inline void v_split(V a, V b, V *even, V *odd) {
    const __m512i at = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    *even = _mm512_permutex2var_ps(a, at, b);
    *odd = _mm512_permutex2var_ps(a, _mm512_add_epi32(at, _mm512_set1_epi32(1)), b);
}
static inline void v_join(V even, V odd, V *a, V *b) {
    const __m512i at = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    *a = _mm512_permutex2var_ps(even, at, odd);
    *b = _mm512_permutex2var_ps(even, _mm512_add_epi32(at, _mm512_set1_epi32(8)), odd);
}

/* Transposes a 16×16 block in registers: 4×4 blocks inside the 128-bit lanes, then the lanes. */
static inline void v_transpose(V r[VL]) {
    V t[VL];
    for (int i = 0; i < VL; i += 4) {
        const V a = _mm512_unpacklo_ps(r[i], r[i + 1]), b = _mm512_unpackhi_ps(r[i], r[i + 1]);
        const V c = _mm512_unpacklo_ps(r[i + 2], r[i + 3]), d = _mm512_unpackhi_ps(r[i + 2], r[i + 3]);
        t[i] = _mm512_shuffle_ps(a, c, 0x44), t[i + 1] = _mm512_shuffle_ps(a, c, 0xEE);
        t[i + 2] = _mm512_shuffle_ps(b, d, 0x44), t[i + 3] = _mm512_shuffle_ps(b, d, 0xEE);
    }
    for (int i = 0; i < 4; i++) {
        const V a = _mm512_shuffle_f32x4(t[i], t[i + 4], 0x88), b = _mm512_shuffle_f32x4(t[i], t[i + 4], 0xDD);
        const V c = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0x88),
                d = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0xDD);
        r[i] = _mm512_shuffle_f32x4(a, c, 0x88), r[i + 8] = _mm512_shuffle_f32x4(a, c, 0xDD);
        r[i + 4] = _mm512_shuffle_f32x4(b, d, 0x88), r[i + 12] = _mm512_shuffle_f32x4(b, d, 0xDD);
    }
}
