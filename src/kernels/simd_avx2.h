/* SPDX-License-Identifier: BSD-3-Clause */
/* The vector operations of body.h in AVX2, FMA and F16C; simd_avx512.h says what they mean. */
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define SIMD_TABLE attni_kernels_avx2
#define SIMD_BF16 attni_bf16_avx2
#define SIMD_NAME "avx2"
#define SIMD_ISA ATTN_ISA_AVX2
#define VL 8

typedef __m256 V;

static inline __m256i first(size_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static inline V v_set(float x) { return _mm256_set1_ps(x); }
static inline V v_load(const float *p) { return _mm256_loadu_ps(p); }
static inline void v_store(float *p, V x) { _mm256_storeu_ps(p, x); }
static inline V v_load_n(const float *p, size_t n, V fill) {
    const __m256i m = first(n);
    return _mm256_blendv_ps(fill, _mm256_maskload_ps(p, m), _mm256_castsi256_ps(m));
}
static inline void v_store_n(float *p, size_t n, V x) { _mm256_maskstore_ps(p, first(n), x); }

static inline V v_add(V a, V b) { return _mm256_add_ps(a, b); }
static inline V v_sub(V a, V b) { return _mm256_sub_ps(a, b); }
static inline V v_mul(V a, V b) { return _mm256_mul_ps(a, b); }
static inline V v_fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
/* As an instruction: where loops are unrolled, gcc 12 would keep sums in memory. */
static inline V v_mul_add(V a, V b, V c) {
    __asm__("vfmadd231ps %2, %1, %0" : "+x"(c) : "x"(a), "x"(b));
    return c;
}
static inline V v_max(V a, V b) { return _mm256_max_ps(a, b); }
static inline V v_div(V a, V b) { return _mm256_div_ps(a, b); }
static inline void v_pin(V *x) { __asm__("" : "+x"(*x)); }
static inline V v_abs(V a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0F), a); }

#define REDUCE_4(a, op, op_128)                                                                                        \
    const V ab = op(_mm256_unpacklo_ps((a)[0], (a)[1]), _mm256_unpackhi_ps((a)[0], (a)[1]));                           \
    const V cd = op(_mm256_unpacklo_ps((a)[2], (a)[3]), _mm256_unpackhi_ps((a)[2], (a)[3]));                           \
    const V abcd = op(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xEE));                               \
    const __m128 all = op_128(_mm256_castps256_ps128(abcd), _mm256_extractf128_ps(abcd, 1))
static inline void v_sum_4(const V a[4], float out[4]) {
    REDUCE_4(a, _mm256_add_ps, _mm_add_ps);
    _mm_storeu_ps(out, all);
}
static inline void v_largest_4(const V a[4], float out[4]) {
    REDUCE_4(a, _mm256_max_ps, _mm_max_ps);
    _mm_storeu_ps(out, all);
}
static inline float v_first(V a) { return _mm256_cvtss_f32(a); }
static inline int v_any_not_finite(V a) { /* a − a is NaN exactly there */
    const V zero = _mm256_sub_ps(a, a);
    return _mm256_movemask_ps(_mm256_cmp_ps(zero, zero, _CMP_UNORD_Q)) != 0;
}

static inline V v_iota(void) { return _mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7); }
static inline V v_where_bytes(const uint8_t *m, V x, V y) {
    const __m256i wide = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)m));
    return _mm256_blendv_ps(x, y, _mm256_castsi256_ps(_mm256_cmpeq_epi32(wide, _mm256_setzero_si256())));
}
static inline V v_where_equal(V key, float value, V x, V y) {
    return _mm256_blendv_ps(x, y, _mm256_cmp_ps(key, _mm256_set1_ps(value), _CMP_EQ_OQ));
}

/* Rounded to the nearest. */
static inline void v_store_quanta(int8_t *y, V x) {
    const __m256i whole = _mm256_cvtps_epi32(_mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
    _mm_storel_epi64((__m128i *)(void *)y, _mm_packs_epi16(words, words));
}

static inline V v_load_f16(const uint16_t *p) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}
static inline void v_store_f16(uint16_t *p, V x) {
    _mm_storeu_si128((__m128i *)(void *)p, _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
static inline V v_load_bf16(const uint16_t *p) {
    const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
static inline __m256i bf16_of(V x) {
    const __m256i u = _mm256_castps_si256(x), one = _mm256_set1_epi32(1);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), one);
    const __m256i rounded = _mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF)));
    const __m256i nan = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
    return _mm256_blendv_epi8(rounded, nan, _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q)));
}
static inline __m256i upper_half(void) { return _mm256_set1_epi32((int)0xFFFF0000); }
static inline void v_store_bf16(uint16_t *p, V x) {
    const __m256i high = _mm256_srli_epi32(bf16_of(x), 16);
    const __m128i all = _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
    _mm_storeu_si128((__m128i *)(void *)p, all);
}
static inline V v_round_bf16(V x) { return _mm256_castsi256_ps(_mm256_and_si256(bf16_of(x), upper_half())); }

static inline __m256i load_integers(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
static inline V v_load_first(const uint16_t *p) { return _mm256_castsi256_ps(_mm256_slli_epi32(load_integers(p), 16)); }
/* Shifted twice, as a mask would need a register that product_body.h does not have. */
static inline V v_load_second(const uint16_t *p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_srli_epi32(load_integers(p), 16), 16));
}
static inline void v_store_pair(uint16_t *p, V first, V second) {
    const __m256i pair =
        _mm256_or_si256(_mm256_srli_epi32(bf16_of(first), 16), _mm256_and_si256(bf16_of(second), upper_half()));
    _mm256_storeu_si256((__m256i *)(void *)p, pair);
}
static inline V v_load_quad(const uint8_t *p, int at) {
    const __m256i byte =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, -1, -1, -1, 4, -1, -1, -1, 8, -1, -1, -1, 12, -1, -1, -1));
    const __m256i u = _mm256_shuffle_epi8(load_integers(p), _mm256_add_epi32(byte, _mm256_set1_epi32(at)));
    const __m256i exponent = _mm256_set1_epi32(0x4B000000);
    return _mm256_sub_ps(_mm256_castsi256_ps(_mm256_or_si256(u, exponent)), _mm256_set1_ps(0x1p23F + 128));
}
/* Masks and words stay in memory, as the sums need the registers. */
static inline V v_load_nibble(const uint8_t *p, int at) {
#define EIGHT(x)                                                                                                       \
    { x, x, x, x, x, x, x, x }
    static const uint32_t masks[7][8] __attribute__((aligned(32))) = {
        EIGHT(0xF), EIGHT(0xF00), EIGHT(0xF0000), EIGHT(0xF000000), EIGHT(0xF0), EIGHT(0xF000), EIGHT(0xF00000)};
#undef EIGHT
    const struct words { uint8_t x[32]; } *words = (const void *)p;
    __m256i x;
    if (at == 7)
        return _mm256_cvtepi32_ps(_mm256_srli_epi32(load_integers(p), 28));
    __asm__("vmovdqa %2, %0\n\tvpand %1, %0, %0" : "=&x"(x) : "m"(*words), "m"(masks[at]));
    return _mm256_cvtepi32_ps(x);
}

static inline __m256i load_bytes(const uint8_t *p) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p));
}
static inline V v_load_lower(const uint8_t *p) {
    return _mm256_cvtepi32_ps(_mm256_and_si256(load_bytes(p), _mm256_set1_epi32(0xF)));
}
static inline V v_load_upper(const uint8_t *p) { return _mm256_cvtepi32_ps(_mm256_srli_epi32(load_bytes(p), 4)); }

/* Below −160, 2^x is 0: clamping keeps −∞ and the exponent arithmetic in range. NaN stays NaN. */
static inline V clamp(V x) { return _mm256_max_ps(_mm256_set1_ps(-160.0F), x); }
static inline V nearest(V x) { return _mm256_round_ps(clamp(x), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
static inline V v_fraction(V x) { return _mm256_sub_ps(clamp(x), nearest(x)); }
/* 2^(n + 64) is normal for every n that matters, so only the last product rounds. */
static inline V v_scale(V p, V x) {
    const __m256i n = _mm256_cvtps_epi32(nearest(x));
    const __m256i bits = _mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127 + 64)), 23);
    return _mm256_mul_ps(_mm256_mul_ps(p, _mm256_castsi256_ps(bits)), _mm256_set1_ps(0x1p-64F));
}

/* Below −126.5 the power is 0. */
static inline V clamp_normal(V x) { return _mm256_max_ps(_mm256_set1_ps(-127.0F), x); }
static inline V nearest_normal(V x) {
    return _mm256_round_ps(clamp_normal(x), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline V v_fraction_normal(V x) { return _mm256_sub_ps(clamp_normal(x), nearest_normal(x)); }
static inline V v_scale_normal(V p, V x) {
    const __m256i n = _mm256_cvtps_epi32(nearest_normal(x));
    return _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23)));
}

/* Transposes an 8×8 block in registers. */
static inline void v_transpose(V r[VL]) {
    V t[VL];
    for (int i = 0; i < VL; i += 4) {
        const V a = _mm256_unpacklo_ps(r[i], r[i + 1]), b = _mm256_unpackhi_ps(r[i], r[i + 1]);
        const V c = _mm256_unpacklo_ps(r[i + 2], r[i + 3]), d = _mm256_unpackhi_ps(r[i + 2], r[i + 3]);
        t[i] = _mm256_shuffle_ps(a, c, 0x44), t[i + 1] = _mm256_shuffle_ps(a, c, 0xEE);
        t[i + 2] = _mm256_shuffle_ps(b, d, 0x44), t[i + 3] = _mm256_shuffle_ps(b, d, 0xEE);
    }
    for (int i = 0; i < 4; i++) {
        r[i] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x20);
        r[i + 4] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x31);
    }
}

static inline void v_split(V a, V b, V *even, V *odd) {
    const V low = _mm256_permute2f128_ps(a, b, 0x20), high = _mm256_permute2f128_ps(a, b, 0x31);
    *even = _mm256_shuffle_ps(low, high, 0x88);
    *odd = _mm256_shuffle_ps(low, high, 0xDD);
}
static inline void v_join(V even, V odd, V *a, V *b) {
    const V low = _mm256_unpacklo_ps(even, odd), high = _mm256_unpackhi_ps(even, odd);
    *a = _mm256_permute2f128_ps(low, high, 0x20);
    *b = _mm256_permute2f128_ps(low, high, 0x31);
}
