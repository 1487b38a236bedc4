/* SPDX-License-Identifier: BSD-3-Clause */
#include "product/product.h"

#include "context/sizes.h"

static void by_blas(const attni_blas *blas, size_t rows, size_t columns, size_t depth, float factor, const float *a,
                    size_t lda, const attni_panels *b, bool add, float *c, size_t ldc) {
    const float *panel = (const float *)(const void *)b->data;
    for (size_t j = 0; j < columns; j += b->width, panel += b->step)
        attni_sgemm(blas, rows, attni_min(b->width, columns - j), depth, factor, a, lda, panel, b->ld,
                    add ? 1.0F : 0.0F, c + j, ldc);
}

void attni_multiply(const attn_context *context, size_t rows, size_t columns, size_t depth, float factor,
                    const float *a, size_t lda, const attni_panels *b, bool add, float *c, size_t ldc) {
    if (b->type == ATTN_F32 && context->blas->sgemm)
        by_blas(context->blas, rows, columns, depth, factor, a, lda, b, add, c, ldc);
    else
        context->kernels->multiply(rows, columns, depth, factor, a, lda, b, add, c, ldc);
}
