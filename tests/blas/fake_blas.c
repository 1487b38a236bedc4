/* SPDX-License-Identifier: BSD-3-Clause */
/* Libraries for test_backends to load: a plain BLAS with integers of type FAKE_INT, with FAKE_SCIPY the names of
 * PyPI's scipy-openblas32, with FAKE_OPENBLAS the marks of an OpenBLAS whose openblas_get_parallel returns that, and
 * whose core is named by the environment variable FAKE_CORE, with FAKE_MKL those of MKL. With FAKE_LONE there is sgemm
 * alone. With FAKE_FORBIDDEN a product ends the program, with FAKE_MKL one in a thread that was not told to use one. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#ifndef FAKE_INT
#define FAKE_INT int
#endif
#ifdef FAKE_SCIPY
#define FAKE_NAME(name) scipy_##name
#else
#define FAKE_NAME(name) name
#endif

enum { TRANS = 112 };

float FAKE_NAME(cblas_sasum)(FAKE_INT n, const float *x, FAKE_INT step);
void FAKE_NAME(cblas_sgemm)(int order, int trans_a, int trans_b, FAKE_INT M, FAKE_INT N, FAKE_INT K, float alpha,
                            const float *A, FAKE_INT lda, const float *B, FAKE_INT ldb, float beta, float *C,
                            FAKE_INT ldc);

#ifndef FAKE_LONE
float FAKE_NAME(cblas_sasum)(FAKE_INT n, const float *x, FAKE_INT step) {
    float sum = 0;
    for (FAKE_INT i = 0; i < n; i++)
        sum += x[i * step] < 0 ? -x[i * step] : x[i * step];
    return sum;
}
#endif

#ifdef FAKE_MKL
void mkl_get_version_string(char *text, int size);
int MKL_Set_Num_Threads_Local(int threads);

static _Thread_local int own_threads; /* 0: as many as the process has */

void mkl_get_version_string(char *text, int size) {
    snprintf(text, (size_t)size, "Intel(R) oneAPI Math Kernel Library Version 2024.1-Product Build 20240215");
}

int MKL_Set_Num_Threads_Local(int threads) {
    const int before = own_threads;
    own_threads = threads;
    return before;
}
#endif

static float product(FAKE_INT K, const float *a, FAKE_INT a_step, const float *b, FAKE_INT b_step) {
    float sum = 0;
#ifdef FAKE_FORBIDDEN
    abort();
#endif
#ifdef FAKE_MKL
    if (own_threads != 1)
        abort();
#endif
    for (FAKE_INT k = 0; k < K; k++)
        sum += a[k * a_step] * b[k * b_step];
    return sum;
}

/* Row-major only. */
void FAKE_NAME(cblas_sgemm)(int order, int trans_a, int trans_b, FAKE_INT M, FAKE_INT N, FAKE_INT K, float alpha,
                            const float *A, FAKE_INT lda, const float *B, FAKE_INT ldb, float beta, float *C,
                            FAKE_INT ldc) {
    const FAKE_INT a_row = trans_a == TRANS ? 1 : lda, a_step = trans_a == TRANS ? lda : 1;
    const FAKE_INT b_column = trans_b == TRANS ? ldb : 1, b_step = trans_b == TRANS ? 1 : ldb;
    (void)order;
    for (FAKE_INT i = 0; i < M; i++)
        for (FAKE_INT j = 0; j < N; j++) {
            const float sum = alpha * product(K, A + i * a_row, a_step, B + j * b_column, b_step);
            C[i * ldc + j] = beta != 0 ? sum + beta * C[i * ldc + j] : sum;
        }
}

#ifdef FAKE_OPENBLAS
const char *openblas_get_config(void);
const char *openblas_get_corename(void);
int openblas_get_parallel(void);
int openblas_get_num_threads(void);
void openblas_set_num_threads(int threads);

const char *openblas_get_config(void) { return "OpenBLAS 0.3.99 NO_AFFINITY"; }
const char *openblas_get_corename(void) { return getenv("FAKE_CORE") ? getenv("FAKE_CORE") : "Fake"; }
int openblas_get_parallel(void) { return FAKE_OPENBLAS; }
int openblas_get_num_threads(void) { return 1; }
void openblas_set_num_threads(int threads) { (void)threads; }
#endif
