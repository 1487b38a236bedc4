/* SPDX-License-Identifier: BSD-3-Clause */
/* A backend is tried before it is believed: small products of whole numbers, which are exact in any order. What no
 * product may read is NaN (what lies between the rows of A and B, C where beta is 0), what none may
 * write is OUTSIDE. */
#include <math.h>

#include "blas/blas.h"

enum { MOST_M = 7, MOST_N = 19, MOST_K = 21, GAP = 3 };

static const float OUTSIDE = 12345;

typedef struct trial {
    size_t M, N, K;
    float alpha, beta;
} trial;

static const trial trials[] = {
    {1, 19, 5, 1, 0},  {1, 7, 21, -2, 1}, {2, 17, 9, 1, 0}, {3, 1, 1, 1, 1}, {4, 16, 16, 0.5F, 0},
    {7, 19, 21, 1, 1}, {7, 19, 21, 2, 0}, {6, 18, 0, 1, 0}, {5, 3, 0, 1, 1},
};

typedef struct desk {
    const attni_blas *blas;
    const trial *now;
    float A[MOST_M * (MOST_K + GAP)], B[MOST_K * (MOST_N + GAP)];
    float C[(MOST_M + 2) * (MOST_N + GAP)]; /* a row before and a row behind */
} desk;

static float whole(size_t i, size_t j) { return (float)((i * 3 + j * 5) % 7) - 3; }

static void fill(float *x, size_t rows, size_t columns, float gap) {
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns + GAP; j++)
            x[i * (columns + GAP) + j] = j < columns ? whole(i, j) : gap;
}

static float product(const trial *t, size_t i, size_t j) {
    float sum = 0;
    for (size_t k = 0; k < t->K; k++)
        sum += whole(i, k) * whole(k, j);
    return t->alpha * sum + (t->beta == 0 ? 0 : t->beta * whole(i, j));
}

static void multiply(void *arg, size_t unit, size_t worker) {
    desk *d = arg;
    const trial *t = d->now;
    const size_t lda = t->K + GAP, ldb = t->N + GAP;
    float *C = d->C + ldb;
    (void)unit, (void)worker;
    fill(d->A, t->M, t->K, NAN);
    fill(d->B, t->K, t->N, NAN);
    for (size_t n = 0; n < sizeof d->C / sizeof *d->C; n++)
        d->C[n] = OUTSIDE;
    fill(C, t->M, t->N, OUTSIDE);
    for (size_t n = 0; t->beta == 0 && n < t->M * t->N; n++)
        C[n / t->N * ldb + n % t->N] = NAN;
    attni_sgemm(d->blas, t->M, t->N, t->K, t->alpha, d->A, lda, d->B, ldb, t->beta, C, ldb);
}

static attn_status refuse(attn_context *context, const trial *t, const char *what) {
    const attni_blas *blas = context->blas;
    return attni_fail(context, ATTN_ERROR_BACKEND,
                      "%s%s cannot be used: its product of M=%zu, N=%zu, K=%zu, alpha=%g, beta=%g %s",
                      blas->cblas_sgemm ? "blas: " : "options.sgemm", blas->path, t->M, t->N, t->K, (double)t->alpha,
                      (double)t->beta, what);
}

static attn_status compare(attn_context *context, const desk *d) {
    const trial *t = d->now;
    const size_t ldc = t->N + GAP;
    for (size_t n = 0; n < sizeof d->C / sizeof *d->C; n++) {
        const size_t i = n / ldc - 1, j = n % ldc; /* i wraps in the row before */
        const bool inside = i < t->M && j < t->N;
        if (!inside && d->C[n] != OUTSIDE)
            return refuse(context, t, "writes outside of C");
        if (inside && isnan(d->C[n]))
            return refuse(context, t, "leaves NaN of C, of which beta=0 reads nothing, or of what lies between rows");
        if (inside && d->C[n] != product(t, i, j))
            return refuse(context, t, "is wrong");
    }
    return ATTN_OK;
}

attn_status attni_blas_try(attn_context *context) {
    desk d = {.blas = context->blas};
    for (size_t i = 0; i < sizeof trials / sizeof *trials; i++) {
        d.now = &trials[i];
        attni_blas_parallel(context, 1, 0, multiply, &d);
        const attn_status status = compare(context, &d);
        if (status != ATTN_OK)
            return status;
    }
    return ATTN_OK;
}
