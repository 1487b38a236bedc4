/* SPDX-License-Identifier: BSD-3-Clause */
/* Products of two narrow factors, by instruction sets that come in more combinations than those of kernels.h: a table
 * for each of them, and a context has one of either kind. */
#ifndef ATTNI_NARROW_H
#define ATTNI_NARROW_H

#include "kernels/kernels.h"

/* bf16 by bf16, sums in f32. An f32 has 24 bits, three times those of a bf16. */
enum { ATTNI_PARTS = 3 };
typedef struct attni_bf16 {
    const char *name;
    uint32_t isa; /* ATTN_ISA_*, of which all must be there */
    size_t size;  /* bytes of an element of the left factor */

    /* Makes the left factor of rows of f32: y = x rounded to bf16, to the nearest, ties to even, in the table's own
     * form, in rows that are ldy floats apart as well. y = x is allowed. */
    void (*round)(size_t rows, size_t depth, const float *x, size_t ldx, float *y, size_t ldy);

    /* The same of rows in parts whose sum is x (but for what is below 2^−126), where products of all of them take less
     * time than those of f32: in tiles, not by AVX512_BF16, which is twice as fast as FMA. Else NULL. Part n of a row
     * begins n · ldy / ATTNI_PARTS floats after it, and is written up to a multiple of 32 elements. */
    void (*split)(size_t rows, size_t depth, const float *x, size_t ldx, float *y, size_t ldy);

    /* As attni_kernels.multiply; `a` is what round made, or a part, and b's type is bf16. It may begin at any even
     * column of that. */
    void (*multiply)(size_t rows, size_t columns, size_t depth, float factor, const float *a, size_t lda,
                     const attni_panels *b, bool add, float *c, size_t ldc);
} attni_bf16;

/* Quantised rows by int8, sums in int32, which are exact up to a depth of ATTNI_MOST_EXACT. */
enum { ATTNI_MOST_EXACT = 65536 };
typedef struct attni_int8 {
    const char *name;
    uint32_t isa;
    size_t size; /* bytes of an element of a quantised row */

    /* y = x / scale rounded to the nearest, x [n], in the table's own form, and zeros up to a multiple of 64 elements.
     * Returns the smallest scale that makes |y| ≤ 127: NaN where x is not finite, 0 where it is below 1e-34. */
    float (*quantize)(size_t n, const float *x, void *y);

    /* c [rows, columns] = a_scale[row] · b_scale[column] · a [rows, depth] · b [depth, columns] (+ c where `add`). Rows
     * of `a` are lda bytes apart. The bits of an element do not depend on the other rows or columns. */
    void (*multiply)(size_t rows, size_t columns, size_t depth, const void *a, size_t lda, const float *a_scale,
                     const attni_panels *b, bool add, float *c, size_t ldc);
} attni_int8;

/* The best tables that this CPU has among those in `mask` (ATTN_ISA_*; 0: all), which has a base. */
const attni_bf16 *attni_bf16_select(uint32_t mask);
const attni_int8 *attni_int8_select(uint32_t mask);

extern const attni_bf16 attni_bf16_generic;
extern const attni_int8 attni_int8_generic;
#if defined(__x86_64__)
extern const attni_bf16 attni_bf16_avx2, attni_bf16_avx512, attni_bf16_avx512_bf16, attni_bf16_amx;
extern const attni_int8 attni_int8_avx2, attni_int8_avxvnni, attni_int8_avx512, attni_int8_amx;
#elif defined(__aarch64__)
extern const attni_bf16 attni_bf16_neon, attni_bf16_neon_mmla;
extern const attni_int8 attni_int8_neon, attni_int8_neon_dot, attni_int8_neon_i8mm;
#endif

#endif
