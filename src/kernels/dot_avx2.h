/* SPDX-License-Identifier: BSD-3-Clause */
/* The operations of int8_body.h in AVX2: bytes become 16 bits wide, since products of bytes would saturate. Of a quad
 * the even elements are multiplied first. */
#include <stdbool.h>
#include <string.h>

#include "kernels/simd_avx2.h"

#define DOT_TABLE attni_int8_avx2
#define DOT_NAME "avx2"
#define DOT_ISA ATTN_ISA_AVX2

/* An element of a quantised row; a quad is numbers 0, 2, 1, 3. */
typedef int16_t element;
typedef __m256i Q, S;
/* Parts of a quad; and what panel bytes are too large by. */
enum { PARTS = 2, BIAS = 128 };

static inline S s_zero(void) { return _mm256_setzero_si256(); }

/* A part of VL quads of panel bytes, and of one quad of a row in all lanes. */
static inline Q s_load(const void *p, int part, bool last) {
    (void)last; /* beyond it rows are 0 */
    const __m256i quads = load_integers(p);
    return part ? _mm256_srli_epi16(quads, 8) : _mm256_and_si256(quads, _mm256_set1_epi16(0xFF));
}
static inline Q s_spread(const element *p, int part) {
    int pair;
    memcpy(&pair, p + 2 * part, sizeof pair);
    return _mm256_set1_epi32(pair);
}
/* The sum keeps its register: else the compiler adds up the parts of many first, for which there are too few. */
static inline void s_add_dot(S *sum, Q bytes, Q row) {
    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(bytes, row));
    __asm__("" : "+x"(*sum));
}
static inline V s_less(S sum, int32_t x) { return _mm256_cvtepi32_ps(_mm256_sub_epi32(sum, _mm256_set1_epi32(x))); }

/* VL elements of a row. */
static inline void s_store(element *y, V x) {
    const __m256i whole = _mm256_cvtps_epi32(_mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    const __m256i quads = _mm256_shuffle_epi32(whole, 0xD8);
    const __m128i all = _mm_packs_epi32(_mm256_castsi256_si128(quads), _mm256_extracti128_si256(quads, 1));
    _mm_storeu_si128((__m128i *)(void *)y, all);
}
