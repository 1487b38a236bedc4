/* SPDX-License-Identifier: BSD-3-Clause */
/* A BLAS that misbehaves in its products as the environment variable ATTN_BENCH_FAKE says: "crash", "hang" or "lie".
 * The tests of the bench load it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

EXPORT float cblas_sasum(int n, const float *x, int stride);
EXPORT void cblas_sgemm(int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float *a, int lda,
                        const float *b, int ldb, float beta, float *c, int ldc);

/* What a caller probes the width of integers with. */
float cblas_sasum(int n, const float *x, int stride) {
    float sum = 0;
    for (int i = 0; i < n; i++)
        sum += x[i * stride] < 0 ? -x[i * stride] : x[i * stride];
    return sum;
}

static void misbehave(void) {
    const char *how = getenv("ATTN_BENCH_FAKE");
    if (how != NULL && strcmp(how, "crash") == 0) {
        fputs("fake BLAS: crashing as told\n", stderr);
        abort();
    }
    while (how != NULL && strcmp(how, "hang") == 0)
        sleep(1);
}

/* The answer is as wrong as can be without being infinite. */
void cblas_sgemm(int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float *a, int lda,
                 const float *b, int ldb, float beta, float *c, int ldc) {
    (void)order, (void)trans_a, (void)trans_b, (void)k, (void)alpha, (void)a, (void)lda, (void)b, (void)ldb, (void)beta;
    misbehave();
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++)
            c[i * ldc + j] = (float)(i + j);
}
