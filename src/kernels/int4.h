/* SPDX-License-Identifier: BSD-3-Clause */
/* Products by int4 weights, of rows of f32 or of rows quantised to int8: a table for each and each instruction set.
 * Both read the same panels, in which 32 rows of the depth are a group. */
#ifndef ATTNI_INT4_H
#define ATTNI_INT4_H

#include "kernels/kernels.h"

/* A group of a panel of `width` columns is
 *     scale [width], offset [width], f16 or f32, number [4][width] of 4 bytes:
 * the lower half of byte b of number[d][c] is number 8d + b of column c, and the upper half number 8d + 4 + b. A weight
 * is scale · number + offset; beyond the depth a number counts for nothing, as rows are 0 there. */
enum { ATTNI_GROUP = 32 };

/* Bytes of a column of a group. */
static inline size_t attni_group_bytes(bool half) {
    return ATTNI_GROUP / 2 + 2 * (half ? sizeof(uint16_t) : sizeof(float));
}

typedef struct attni_int4 {
    uint32_t isa; /* ATTN_ISA_*, of which all must be there */
    size_t width; /* of panels that it reads best, a multiple of 16 */
    size_t size;  /* bytes of an element of the left factor, on average over a group */

    /* Makes the left factor of x [n], in the table's own form, in whole groups. */
    void (*prepare)(size_t n, const float *x, void *y);

    /* c [rows, columns] = a [rows, depth] · b [depth, columns] (+ c where `add`). `a` is what prepare made, from any
     * group on, in rows that are lda bytes apart. The bits of an element do not depend on the other rows or columns. */
    void (*multiply)(size_t rows, size_t columns, size_t depth, const void *a, size_t lda, const attni_panels *b,
                     bool add, float *c, size_t ldc);
} attni_int4;

/* The best table that this CPU has among those in `mask` (ATTN_ISA_*; 0: all). */
const attni_int4 *attni_int4_select(uint32_t mask, bool quantised);

extern const attni_int4 attni_int4_f32_generic, attni_int4_int8_generic;
#if defined(__x86_64__)
extern const attni_int4 attni_int4_f32_avx2, attni_int4_f32_avx512;
extern const attni_int4 attni_int4_int8_avx2, attni_int4_int8_avxvnni, attni_int4_int8_avx512;
#elif defined(__aarch64__)
extern const attni_int4 attni_int4_f32_neon;
extern const attni_int4 attni_int4_int8_neon, attni_int4_int8_neon_dot;
#endif

#endif
