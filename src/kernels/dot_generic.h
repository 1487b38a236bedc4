/* SPDX-License-Identifier: BSD-3-Clause */
/* The operations of int8_body.h in plain C. */
#include "kernels/simd_generic.h"

#include "kernels/basics.h"

#define DOT_TABLE attni_int8_generic
#define DOT_NAME "generic"
#define DOT_ISA ATTN_ISA_GENERIC

typedef int8_t element;
typedef int32_t Q, S;
enum { PARTS = 4, BIAS = 0 };

static inline S s_zero(void) { return 0; }
static inline Q s_load(const void *p, int part, bool last) {
    (void)last; /* beyond it rows are 0 */
    return ((const uint8_t *)p)[part] - 128;
}
static inline Q s_spread(const element *p, int part) { return p[part]; }
static inline void s_add_dot(S *sum, Q bytes, Q row) { *sum += bytes * row; }
static inline V s_less(S sum, int32_t x) { return (float)(sum - x); }

static inline void s_store(element *y, V x) { *y = quantum_of(x); }
