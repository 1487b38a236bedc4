/* SPDX-License-Identifier: BSD-3-Clause */
/* The operations of bf16_body.h in AVX512_BF16, which takes subnormal numbers as 0. */
#include <stdbool.h>
#include <string.h>

#include "kernels/simd_avx512.h"

/* An element of a row; a pair of a row in all lanes, or VL pairs of a panel. */
typedef uint16_t element;
typedef __m512i Q;
typedef __m512 S;
enum { PARTS = 1 };

static inline S s_zero(void) { return _mm512_setzero_ps(); }
static inline S s_read(const void *p) { return _mm512_loadu_ps(p); }
static inline Q s_load(const void *p, int part, bool last) {
    const __m512i pairs = _mm512_loadu_si512(p);
    (void)part;
    return last ? _mm512_and_si512(pairs, _mm512_set1_epi32(0xFFFF)) : pairs;
}
static inline Q s_spread(const element *p, int part) {
    int pair;
    (void)part;
    memcpy(&pair, p, sizeof pair);
    return _mm512_set1_epi32(pair);
}
static inline void s_add_dot(S *sum, Q pairs, Q row) { *sum = _mm512_dpbf16_ps(*sum, (__m512bh)pairs, (__m512bh)row); }

/* A row, which may be rounded in place, in whole pairs. */
static inline void s_round_row(size_t n, const float *x, element *y) {
    size_t j = 0;
    for (; j + VL <= n; j += VL)
        _mm256_storeu_si256((__m256i *)(void *)(y + j), (__m256i)_mm512_cvtneps_pbh(v_load(x + j)));
    if (j < n)
        _mm256_mask_storeu_epi16(y + j, first(n - j + (n - j) % 2),
                                 (__m256i)_mm512_cvtneps_pbh(v_load_n(x + j, n - j, v_set(0.0F))));
}

/* The upper half of x, and of each number its elements: bf16 cut off. */
static inline V s_upper(V x) { return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(x), upper_half())); }
static inline void s_store_upper(element *y, V x) {
    _mm256_storeu_si256((__m256i *)(void *)y, _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_castps_si512(x), 16)));
}
