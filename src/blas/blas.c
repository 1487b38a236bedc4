/* SPDX-License-Identifier: BSD-3-Clause */
#include "blas/blas.h"

#include <string.h>

static attn_status open_library(attn_context *context, const char *name, attni_blas *blas) {
    if (strcmp(name, "linked") == 0)
        return attni_blas_link(context, blas);
    return attni_blas_load(context, name, blas);
}

enum { ROW_MAJOR = 101, NO_TRANS = 111, TRANS = 112 };

/* Up to so many rows, a product is faster as that many by a vector than packed: by 4 for one row, by 2 for two. */
enum { FEW_ROWS = 2 };

/* C[1,N] as Bᵀ·A. Libraries disagree on whether 0 · y reads y, so it is made 0 here. */
static void call_sgemv(const attni_blas *blas, size_t N, size_t K, float alpha, const float *A, const float *B,
                       size_t ldb, float beta, float *C) {
    if (beta == 0)
        memset(C, 0, N * sizeof *C);
    blas->cblas_sgemv(ROW_MAJOR, TRANS, (int)K, (int)N, alpha, B, (int)ldb, A, 1, beta == 0 ? 1 : beta, C, 1);
}

static void call_cblas(void *data, size_t M, size_t N, size_t K, float alpha, const float *A, size_t lda,
                       const float *B, size_t ldb, float beta, float *C, size_t ldc) {
    const attni_blas *blas = data;
    if (M <= FEW_ROWS && K > 0 && blas->cblas_sgemv)
        for (size_t i = 0; i < M; i++)
            call_sgemv(blas, N, K, alpha, A + i * lda, B, ldb, beta, C + i * ldc);
    else
        blas->cblas_sgemm(ROW_MAJOR, NO_TRANS, NO_TRANS, (int)M, (int)N, (int)K, alpha, A, (int)lda, B, (int)ldb, beta,
                          C, (int)ldc);
}

attn_status attni_blas_open(attn_context *context, const attn_context_options *options, const char *name) {
    attni_blas *blas = attni_allocate(&context->allocator, sizeof *blas);
    if (!blas)
        return attni_fail(context, ATTN_ERROR_MEMORY, "context: no memory for the backend");
    *blas = (attni_blas){.name = "callback", .threads = ""};
    context->blas = blas;
    if (options->sgemm) {
        blas->sgemm = options->sgemm;
        blas->sgemm_data = options->sgemm_data;
        return attni_blas_try(context);
    }
    blas->sgemm = call_cblas;
    blas->sgemm_data = blas;
    const attn_status status = open_library(context, name, blas);
    return status == ATTN_OK ? attni_blas_try(context) : status;
}

void attni_blas_close(attn_context *context) {
    attni_release(&context->allocator, context->blas);
    context->blas = NULL;
}
