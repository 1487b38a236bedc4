/* SPDX-License-Identifier: BSD-3-Clause */
/* A BLAS that misbehaves as the environment variable ATTN_BENCH_FAKE says: "crash", "hang" or "lie" in its products,
 * "load" when it is loaded, "late" in the 50th product and those that follow, and otherwise is right and slow. Products
 * small enough to be those that libattn tries a backend with are right all the same, but for "misfit", which lies in
 * all. The tests of the bench load it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* M·N·K of the largest product that is right whatever is told. */
#define TRIAL 4096

#define EXPORT __attribute__((visibility("default")))

EXPORT float cblas_sasum(int n, const float *x, int stride);
EXPORT void cblas_sgemm(int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float *a, int lda,
                        const float *b, int ldb, float beta, float *c, int ldc);

static int told(const char *what) {
    const char *how = getenv("ATTN_BENCH_FAKE");
    return how != NULL && strcmp(how, what) == 0;
}

static void crash(void) {
    fputs("fake BLAS: crashing as told\n", stderr);
    abort();
}

__attribute__((constructor)) static void loaded(void) {
    if (told("load"))
        crash();
}

/* What a caller probes the width of integers with. */
float cblas_sasum(int n, const float *x, int stride) {
    float sum = 0;
    for (int i = 0; i < n; i++)
        sum += x[i * stride] < 0 ? -x[i * stride] : x[i * stride];
    return sum;
}

static void misbehave(void) {
    static int calls;
    if (told("crash") || (told("late") && ++calls >= 50))
        crash();
    while (told("hang"))
        sleep(1);
}

static float dot(int k, const float *a, const float *b, int ldb) {
    float sum = 0;
    for (int i = 0; i < k; i++)
        sum += a[i] * b[i * ldb];
    return sum;
}

/* Row-major without transposing, which is all that libattn asks for. A lie is wrong in one element of the product. */
void cblas_sgemm(int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float *a, int lda,
                 const float *b, int ldb, float beta, float *c, int ldc) {
    (void)order, (void)trans_a, (void)trans_b;
    const int small = m * n * k <= TRIAL;
    if (!small)
        misbehave();
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++)
            c[i * ldc + j] = alpha * dot(k, a + i * lda, b + j, ldb) + (beta == 0 ? 0 : beta * c[i * ldc + j]);
    if ((told("misfit") || (told("lie") && !small)) && m > 0 && n > 0)
        c[0] += 1;
}
