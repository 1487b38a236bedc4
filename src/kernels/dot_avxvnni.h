/* SPDX-License-Identifier: BSD-3-Clause */
/* The operations of int8_body.h in AVX-VNNI. */
#include <stdbool.h>
#include <string.h>

#include "kernels/simd_avx2.h"

#define DOT_TABLE attni_int8_avxvnni
#define DOT_NAME "avx_vnni"
#define DOT_ISA (ATTN_ISA_AVX2 | ATTN_ISA_AVX_VNNI)

typedef int8_t element;
typedef __m256i Q, S;
enum { PARTS = 1, BIAS = 128 };

static inline S s_zero(void) { return _mm256_setzero_si256(); }
static inline Q s_load(const void *p, int part, bool last) {
    (void)last; /* beyond it rows are 0 */
    (void)part;
    return load_integers(p);
}
static inline Q s_spread(const element *p, int part) {
    int quad;
    (void)part;
    memcpy(&quad, p, sizeof quad);
    return _mm256_set1_epi32(quad);
}
/* The sum keeps its register: where loops are unrolled, gcc 12 would move it about. */
static inline void s_add_dot(S *sum, Q bytes, Q row) {
    *sum = _mm256_dpbusd_avx_epi32(*sum, bytes, row);
    __asm__("" : "+x"(*sum));
}
static inline V s_less(S sum, int32_t x) { return _mm256_cvtepi32_ps(_mm256_sub_epi32(sum, _mm256_set1_epi32(x))); }
static inline void s_store(element *y, V x) { v_store_quanta(y, x); }
