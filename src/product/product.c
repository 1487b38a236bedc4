/* SPDX-License-Identifier: BSD-3-Clause */
#include "product/product.h"

#include "context/sizes.h"
#include "kernels/int4.h"
#include "kernels/narrow.h"

static void by_blas(const attni_blas *blas, size_t rows, size_t columns, size_t depth, float factor, const float *a,
                    size_t lda, const attni_panels *b, bool add, float *c, size_t ldc) {
    const float *panel = (const float *)(const void *)b->data;
    for (size_t j = 0; j < columns; j += b->width, panel += b->step)
        attni_sgemm(blas, rows, attni_min(b->width, columns - j), depth, factor, a, lda, panel, b->ld,
                    add ? 1.0F : 0.0F, c + j, ldc);
}

static bool is_own(const attn_context *context, attn_dtype type) { return type != ATTN_F32 || !context->blas->sgemm; }

bool attni_rows_are_free(const attn_context *context, attn_dtype type) {
    return is_own(context, type) || context->blas->no_pack;
}

void attni_multiply(const attn_context *context, size_t rows, size_t columns, size_t depth, float factor,
                    const float *a, size_t lda, const attni_panels *b, bool add, float *c, size_t ldc) {
    if (is_own(context, b->type))
        context->kernels->multiply(rows, columns, depth, factor, a, lda, b, add, c, ldc);
    else
        by_blas(context->blas, rows, columns, depth, factor, a, lda, b, add, c, ldc);
}

/* Without instructions for them, tables multiply f32. */
static bool has_pairs(const attn_context *context) { return context->bf16->size < sizeof(float); }

attni_form attni_form_for(const attn_context *context, attn_dtype left, attn_dtype right) {
    if (right == ATTN_INT4)
        return ATTNI_GROUPED;
    if (right == ATTN_INT8 && context->precision == ATTN_PRECISION_INT8)
        return ATTNI_QUANTIZED;
    if (right != ATTN_BF16)
        return ATTNI_PLAIN;
    if (context->precision != ATTN_PRECISION_F32 || (left == ATTN_BF16 && has_pairs(context)))
        return ATTNI_ROUNDED;
    return context->bf16->split ? ATTNI_SPLIT : ATTNI_PLAIN;
}

/* The smallest first, as the others round the sum. */
static void multiply_parts(const attni_bf16 *bf16, size_t rows, size_t columns, size_t depth, float factor,
                           const float *a, size_t lda, const attni_panels *b, bool add, float *c, size_t ldc) {
    for (size_t part = ATTNI_PARTS; part-- > 0; add = true)
        bf16->multiply(rows, columns, depth, factor, a + part * (lda / ATTNI_PARTS), lda, b, add, c, ldc);
}

void attni_multiply_left(const attn_context *context, size_t rows, size_t columns, size_t depth, float factor,
                         const attni_left *left, size_t row, size_t at, const attni_panels *b, bool add, float *c,
                         size_t ldc) {
    const char *a = left->data + row * left->step + at * left->size;
    const float *x = (const float *)(const void *)a;
    const size_t lda = left->step / sizeof *x;
    if (left->form == ATTNI_QUANTIZED)
        context->int8->multiply(rows, columns, depth, a, left->step, left->scale + row, b, add, c, ldc);
    else if (left->form == ATTNI_GROUPED)
        context->int4->multiply(rows, columns, depth, a, left->step, b, add, c, ldc);
    else if (left->form == ATTNI_SPLIT)
        multiply_parts(context->bf16, rows, columns, depth, factor, x, lda, b, add, c, ldc);
    else if (left->form == ATTNI_ROUNDED)
        context->bf16->multiply(rows, columns, depth, factor, x, lda, b, add, c, ldc);
    else
        attni_multiply(context, rows, columns, depth, factor, x, lda, b, add, c, ldc);
}
