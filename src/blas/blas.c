/* SPDX-License-Identifier: BSD-3-Clause */
#include "blas/blas.h"

#include <string.h>

#include "context/sizes.h"

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

/* Rows of C that end within a cache line of its end, and not with a whole one: with beta = 1, BLIS reads whole vectors
 * there. Other libraries are not known not to. */
static size_t exposed_rows(const attni_blas *blas, size_t M, size_t N, float beta, size_t ldc) {
    enum { LINE = ATTNI_LINE / sizeof(float) };
    if (blas->keeps_inside || beta == 0 || N % LINE == 0)
        return 0;
    return attni_min(M, 1 + (LINE - 1) / ldc);
}

static void call_cblas(void *data, size_t M, size_t N, size_t K, float alpha, const float *A, size_t lda,
                       const float *B, size_t ldb, float beta, float *C, size_t ldc) {
    const attni_blas *blas = data;
    const size_t last = M <= FEW_ROWS ? M : exposed_rows(blas, M, N, beta, ldc);
    const size_t rows = K > 0 && blas->cblas_sgemv ? M - last : M;
    if (rows > 0)
        blas->cblas_sgemm(ROW_MAJOR, NO_TRANS, NO_TRANS, (int)rows, (int)N, (int)K, alpha, A, (int)lda, B, (int)ldb,
                          beta, C, (int)ldc);
    for (size_t i = rows; i < M; i++)
        call_sgemv(blas, N, K, alpha, A + i * lda, B, ldb, beta, C + i * ldc);
}

static void call_library_with_locks(void *data, size_t M, size_t N, size_t K, float alpha, const float *A, size_t lda,
                                    const float *B, size_t ldb, float beta, float *C, size_t ldc) {
    const attni_blas *blas = data;
    attni_blas_enter(&blas->threading);
    call_cblas(data, M, N, K, alpha, A, lda, B, ldb, beta, C, ldc);
    attni_blas_leave();
}

attn_status attni_blas_open(attn_context *context, const attn_context_options *options, const char *name) {
    attni_blas *blas = context->blas;
    *blas = (attni_blas){.name = "callback", .threads = ""};
    if (options->sgemm) {
        blas->sgemm = options->sgemm;
        blas->sgemm_data = options->sgemm_data;
        return attni_blas_try(context);
    }
    blas->sgemm = call_cblas;
    blas->sgemm_data = blas;
    const attn_status status = open_library(context, name, blas);
    if (blas->threading.reach != ATTNI_REACH_NONE)
        blas->sgemm = call_library_with_locks;
    return status == ATTN_OK ? attni_blas_try(context) : status;
}
