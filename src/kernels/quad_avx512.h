/* SPDX-License-Identifier: BSD-3-Clause */
/* The operations of int4_int8.h in AVX512_VNNI. */
#include <string.h>

#include "kernels/simd_avx512.h"

#define GROUP_ISA (ATTN_ISA_AVX512 | ATTN_ISA_AVX512_VNNI)

typedef __m512i S, Q;

static inline S g_zero(void) { return _mm512_setzero_si512(); }
static inline Q g_numbers(const uint8_t *p, int at) {
    const __m512i x = _mm512_loadu_si512(p);
    return _mm512_and_si512(at ? _mm512_srli_epi16(x, 4) : x, _mm512_set1_epi8(0xF));
}
static inline Q g_quad(const int8_t *p) {
    int quad;
    memcpy(&quad, p, sizeof quad);
    return _mm512_set1_epi32(quad);
}
static inline void g_add(S *sum, Q numbers, Q row) { *sum = _mm512_dpbusd_epi32(*sum, numbers, row); }
static inline V g_float(S sum) { return _mm512_cvtepi32_ps(sum); }
