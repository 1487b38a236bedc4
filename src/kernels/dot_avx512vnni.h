/* SPDX-License-Identifier: BSD-3-Clause */
/* The operations of int8_body.h in AVX512_VNNI. */
#include <stdbool.h>
#include <string.h>

#include "kernels/simd_avx512.h"

typedef int8_t element;
typedef __m512i Q, S;
enum { PARTS = 1, BIAS = 128 };

static inline S s_zero(void) { return _mm512_setzero_si512(); }
static inline S s_read(const void *p) { return _mm512_loadu_si512(p); }
static inline Q s_load(const void *p, int part, bool last) {
    (void)last; /* beyond it rows are 0 */
    (void)part;
    return _mm512_loadu_si512(p);
}
static inline Q s_spread(const element *p, int part) {
    int quad;
    (void)part;
    memcpy(&quad, p, sizeof quad);
    return _mm512_set1_epi32(quad);
}
/* The sum keeps its register: where loops are unrolled, gcc 12 would move it about. */
static inline void s_add_dot(S *sum, Q bytes, Q row) {
    *sum = _mm512_dpbusd_epi32(*sum, bytes, row);
    __asm__("" : "+v"(*sum));
}
static inline V s_less(S sum, int32_t x) { return _mm512_cvtepi32_ps(_mm512_sub_epi32(sum, _mm512_set1_epi32(x))); }
static inline void s_store(element *y, V x) { v_store_quanta(y, x); }
