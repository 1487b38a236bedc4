/* SPDX-License-Identifier: BSD-3-Clause */
/* The backend: the one place that knows a BLAS. */
#ifndef ATTNI_BLAS_H
#define ATTNI_BLAS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "context/context.h"

typedef void (*attni_cblas_sgemm)(int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float *a,
                                  int lda, const float *b, int ldb, float beta, float *c, int ldc);

typedef void (*attni_cblas_sgemv)(int order, int trans, int m, int n, float alpha, const float *a, int lda,
                                  const float *x, int incx, float beta, float *y, int incy);

/* How far a library's "number of threads" setting reaches. */
typedef enum attni_reach {
    ATTNI_REACH_NONE,   /* it has no threads, or never starts any for products of our size */
    ATTNI_REACH_THREAD, /* of the calling thread */
    ATTNI_REACH_PROCESS
} attni_reach;

/* A library's own threading. Its integers may be int or long: both arrive in a register, and ours are small. */
typedef struct attni_threading {
    attni_reach reach;
    ptrdiff_t (*get)(void);              /* not NULL for ATTNI_REACH_PROCESS */
    ptrdiff_t (*set)(ptrdiff_t threads); /* returns the old setting where `get` is NULL */
    struct attni_hold *hold;             /* for ATTNI_REACH_PROCESS: who else holds the library at one thread */
} attni_threading;

/* A library, as far as libattn has to know it. */
typedef struct attni_blas {
    attn_sgemm_fn sgemm; /* NULL: there is none, libattn multiplies itself */
    void *sgemm_data;
    attni_cblas_sgemm cblas_sgemm; /* NULL: `sgemm` is the caller's */
    attni_cblas_sgemv cblas_sgemv; /* for products of few rows, which sgemm would pack for; NULL: sgemm does not pack */
    bool no_pack;                  /* small products run on kernels that pack nothing, lock nothing, start no threads */
    bool keeps_inside;             /* reads nothing behind the end of C */
    attni_threading threading;
    const char *name, *threads;
    char version[64], core[32], path[256];
    char choice[256]; /* why it is this one */
} attni_blas;

/* Who multiplies where nobody is named: "linked", or "builtin" where no BLAS is linked. */
extern const char attni_blas_default[];

/* Opens the caller's sgemm, or else the library of this name, as context->blas. */
attn_status attni_blas_open(attn_context *context, const attn_context_options *options, const char *name);

/* False where OpenBLAS has taken kernels for less than `isa`, the best ATTN_ISA_* of the CPU. What is not known fits.
 */
bool attni_blas_fits(const attni_blas *blas, uint32_t isa);

/* Whether these kernels are of the kind that OPENBLAS_CORETYPE asks for. OpenBLAS ignores a name that it does not know.
 */
bool attni_blas_is_wanted(const attni_blas *blas);

/* attni_parallel, on workers that may call the backend: it runs single-threaded in each of them. */
void attni_blas_parallel(attn_context *context, size_t units, double flops, attni_work work, void *arg);

/* C[M,N] = alpha · A[M,K] · B[K,N] + beta · C, row-major. Leading dimensions must fit an int. */
static inline void attni_sgemm(const attni_blas *blas, size_t M, size_t N, size_t K, float alpha, const float *A,
                               size_t lda, const float *B, size_t ldb, float beta, float *C, size_t ldc) {
    blas->sgemm(blas->sgemm_data, M, N, K, alpha, A, lda, B, ldb, beta, C, ldc);
}

/* Inside the room. */

/* Where a function of a library is, by name, or NULL. `data` is the finder's. */
typedef void (*attni_symbol)(void);
typedef attni_symbol (*attni_finder)(void *data, const char *name);

/* The linked library, and one loaded by name or path: each fills `blas` through attni_blas_identify. */
attn_status attni_blas_link(attn_context *context, attni_blas *blas);
attn_status attni_blas_load(attn_context *context, const char *name, attni_blas *blas);

/* Fills `blas` with what the library is; refuses one that would give wrong answers. */
attn_status attni_blas_identify(attn_context *context, attni_finder find, void *data, attni_blas *blas);

/* Whether it is an OpenBLAS with kernels for small matrices that pack nothing: on AVX-512, since 0.3.18. */
bool attni_blas_has_small_kernels(const attni_blas *blas);

/* Whether two symbols are of one library or program, as far as can be told. */
bool attni_same_object(attni_symbol a, attni_symbol b);

/* Multiplies a little with context->blas and refuses it where that comes out wrong. */
attn_status attni_blas_try(attn_context *context);

/* Finds out who else holds the library at one thread. False: there are too many libraries. */
bool attni_threading_share(attni_threading *threading);

/* Around each product of a library that has locks, which are not to be held while the process forks. */
void attni_blas_enter(const attni_threading *threading);
void attni_blas_leave(void);

#endif
