/* SPDX-License-Identifier: BSD-3-Clause */
/* The operations of int4_int8.h in AVX2, and in AVX-VNNI. */
#include <string.h>

#include "kernels/simd_avx2.h"

typedef __m256i S, Q;

static inline S g_zero(void) { return _mm256_setzero_si256(); }
static inline Q g_numbers(const uint8_t *p, int at) {
    const __m256i x = load_integers(p);
    return _mm256_and_si256(at ? _mm256_srli_epi16(x, 4) : x, _mm256_set1_epi8(0xF));
}
static inline Q g_quad(const int8_t *p) {
    int quad;
    memcpy(&quad, p, sizeof quad);
    return _mm256_set1_epi32(quad);
}
#ifdef __AVXVNNI__
#define GROUP_ISA (ATTN_ISA_AVX2 | ATTN_ISA_AVX_VNNI)
#else
#define GROUP_ISA ATTN_ISA_AVX2
#endif
/* Quads; without AVX-VNNI halves of them in 16 bits, which 8 products of 15 · 127 + 15 · 127 do not leave. Each
 * function is written once, since the coverage report knows it by its line. */
static inline void g_add(S *sum, Q numbers, Q row) {
#ifdef __AVXVNNI__
    *sum = _mm256_dpbusd_avx_epi32(*sum, numbers, row);
#else
    *sum = _mm256_add_epi16(*sum, _mm256_maddubs_epi16(numbers, row));
    __asm__("" : "+x"(*sum));
#endif
}
static inline V g_float(S sum) {
#ifdef __AVXVNNI__
    return _mm256_cvtepi32_ps(sum);
#else
    return _mm256_cvtepi32_ps(_mm256_madd_epi16(sum, _mm256_set1_epi16(1)));
#endif
}
