/* SPDX-License-Identifier: BSD-3-Clause */
/* The operations of int4_int8.h in plain C. */
#include "kernels/simd_generic.h"

#include "kernels/basics.h"

#define GROUP_ISA ATTN_ISA_GENERIC

/* VL sums, and VL quads of numbers, or one of a row in all lanes. */
typedef int32_t S;
typedef struct quad {
    int8_t x[4];
} Q;

static inline S g_zero(void) { return 0; }
static inline Q g_numbers(const uint8_t *p, int at) {
    Q q;
    for (int i = 0; i < 4; i++)
        q.x[i] = (int8_t)(at ? p[i] >> 4 : p[i] & 0xF);
    return q;
}
static inline Q g_quad(const int8_t *p) {
    Q q;
    memcpy(q.x, p, sizeof q.x);
    return q;
}
static inline void g_add(S *sum, Q numbers, Q row) {
    for (int i = 0; i < 4; i++)
        *sum += numbers.x[i] * row.x[i];
}
static inline V g_float(S sum) { return (float)sum; }

/* VL elements of a row, rounded to the nearest. */
static inline void v_store_quanta(int8_t *y, V x) { *y = quantum_of(x); }
