/* SPDX-License-Identifier: BSD-3-Clause */
/* The context: scratch memory, worker threads and the BLAS backend that calls run on.
 *
 * One call at a time may use a context; threads of the caller that want to call at the same time have a context each.
 * After fork() the child may go on using its copy of a context (it gets worker threads of its own at its next call),
 * provided that no call was running on it at the time of the fork. Other threads may be inside calls on other
 * contexts: fork() waits for the matrix products that they are in, so that no lock of a BLAS is held in the child. Not
 * promised: what the application's own calls of the BLAS hold at that time, the threads of an OpenMP flavour in the
 * child, and, in the child of a callback that forks, anything but exec and _exit.
 *
 * A BLAS that would start threads (OpenBLAS where its kernels pack, BLIS) is held at one thread during calls. Where
 * that setting is the process's, products of the application's own that run meanwhile get one thread too, and a number
 * that the application sets meanwhile counts from the end of the last such call on; only 1 cannot be told from
 * libattn's own setting and is lost. */
#ifndef ATTN_CONTEXT_H
#define ATTN_CONTEXT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "export.h"
#include "status.h"

/* Prepares a parameter struct: all fields zero, which means their defaults, and struct_size set.
 * Every parameter struct must go through it once, before its fields are set:
 *     attn_sdpa_params params;
 *     ATTN_INIT(&params);
 *     params.causal = ATTN_CAUSAL_TOP_LEFT; */
#define ATTN_INIT(params) (memset((params), 0, sizeof *(params)), (void)((params)->struct_size = sizeof *(params)))

typedef struct attn_context attn_context;

/* Instruction sets, as bits of attn_context_options.isa. ATTN_ISA_GENERIC is plain C and always there. */
enum {
    ATTN_ISA_GENERIC = 1,
    ATTN_ISA_AVX2 = 2,   /* AVX2, FMA and F16C */
    ATTN_ISA_AVX512 = 4, /* AVX-512 F, BW, DQ and VL */
    ATTN_ISA_NEON = 8,   /* AArch64 */
    /* For products of bf16 by bf16 or of int8 by int8, each together with what it extends. */
    ATTN_ISA_AVX512_BF16 = 16, /* with AVX512 */
    ATTN_ISA_AVX512_VNNI = 32, /* with AVX512 */
    ATTN_ISA_AVX_VNNI = 64,    /* with AVX2 */
    ATTN_ISA_AMX_BF16 = 128, /* with AVX512_BF16; used where Linux permits, which a context asks for whose `isa` has it:
                                * alternate stacks for signals must then be as large as AT_MINSIGSTKSZ says */
    ATTN_ISA_AMX_INT8 = 256, /* with AVX512_VNNI, likewise */
    ATTN_ISA_NEON_DOT = 512, /* with NEON: the dot product of Armv8.2 */
    ATTN_ISA_NEON_BF16 = 1024, /* with NEON: FEAT_BF16's and */
    ATTN_ISA_NEON_I8MM = 2048  /* FEAT_I8MM's products of matrices */
};

/* What matrix products multiply. Sums, the softmax, norms, activations and residuals are f32 in all of them, and the
 * same inputs give the same bits on any number of threads.
 *   F32   Operands are as exact as they come; narrow ones are widened. The errors are those of f32 arithmetic: inputs
 *         N(0,1), |error| ≤ 1e-5 + 5e-6·|x|. Products of two bf16 numbers are exact in f32: where the CPU multiplies
 *         bf16, AVX512_BF16 or NEON_BF16, it does so with q and k of attention to which all of q, k and v (or what a
 *         cache keeps) come as bf16, and with x and the weights of linear maps, or the inputs and weights of attn_mha,
 *         that both come as bf16. AMX, faster still, multiplies f32 by bf16 too, in three parts that are f32 to
 *         the last bit: q and the weights of attention by k and v, or what a cache keeps, and x by weights. (Such
 *         instructions take numbers below 1.2e-38 as 0.)
 *   BF16  Operands are rounded to bf16 once, to the nearest, ties to even: q, k, v and the weights of attention, x
 *         and the weights of linear maps. Those of f32 and f16 are packed as bf16, in half the memory of f32; int8
 *         and int4 weights, caches of other types than bf16, and attention with a callback are multiplied as in F32.
 *         Measured on inputs N(0,1), against F32, as root mean squares of error over result: 0.0024 for a linear map of
 *         768 or 4096 features, 0.0027–0.0034 for attention to 128–2048 keys. What is beyond 3.39e38 becomes infinite.
 *   INT8  Rows that meet int8 weights are quantised as they come, each with a scale of its own (max |x| / 127), and
 *         multiplied in integers, whose sums are exact; a row with Inf or NaN gives NaN. With int4
 *         weights each group of 32 numbers of a row has a scale. Everything else is as in BF16. Measured as above,
 *         0.008–0.009 for the rows alone, 0.011–0.0125 with weights of attn_quantize_weight; with int4 weights 0.005
 *         for the rows alone, and 0.077, as in F32, with those of attn_quantize_weight_int4.
 * With BF16 and INT8 the bits of a row depend neither on other rows nor on the batch, on any backend, but where a cache
 * keeps f32, or weights were packed in F32 by another context. Without instructions for bf16, BF16 is as fast as
 * "builtin" in F32, of which it halves the memory; INT8 is 1.6 to 1.8 times as fast as F32 for many rows (AVX2). */
typedef enum attn_precision { ATTN_PRECISION_F32 = 0, ATTN_PRECISION_BF16 = 1, ATTN_PRECISION_INT8 = 2 } attn_precision;

/* Row-major single-precision product C[M,N] = alpha · A[M,K] · B[K,N] + beta · C, leading dimensions in elements.
 * With beta = 0, C is written without being read. Must be callable from several threads at the same time, and should
 * itself use one thread. M, N and K may be 0. `data` is the caller's. attn_context_create tries it on small products,
 * and refuses one that comes out wrong. */
typedef void (*attn_sgemm_fn)(void *data, size_t M, size_t N, size_t K, float alpha, const float *A, size_t lda,
                              const float *B, size_t ldb, float beta, float *C, size_t ldc);

/* Runs task(arg, i) once for every i in [0, n), in any order and on any threads, and returns when all have returned.
 * n is at most attn_context_options.threads. `data` is the caller's. */
typedef void (*attn_parallel_for_fn)(void *data, size_t n, void (*task)(void *arg, size_t i), void *arg);

/* Memory of the caller's: allocate returns `size` bytes (any alignment) or NULL; release gets what allocate returned.
 */
typedef struct attn_allocator {
    void *(*allocate)(void *data, size_t size);
    void (*release)(void *data, void *pointer);
    void *data;
} attn_allocator;

typedef struct attn_context_options {
    size_t struct_size;

    /* Threads a call may use, the calling one included. Each context has its own: two default ones in use at the same
     * time want all cores each, so share them out. 0: one for each CPU that the process may run on, or that the CPU
     * quotas of its cgroups amount to, rounded up, if they are fewer. At most 4096. */
    size_t threads;

    /* The BLAS to multiply with. NULL: the environment variable ATTN_BLAS if it is set and not empty, else "linked",
     * but "builtin" where the linked library took kernels older than this CPU and OPENBLAS_CORETYPE did not ask for
     * them, or where libattn was built without OpenBLAS: attn_context_info.blas_choice tells. "linked" is the OpenBLAS
     * that libattn.so was linked with, "builtin" libattn's own products, whose bits depend neither on other rows nor on
     * the batch. Other names:
     * "openblas-pthread", "openblas-openmp", "blis", "reference", "mkl". Anything with a '/' is the path of a shared
     * library that has cblas_sgemm (or scipy_cblas_sgemm, as PyPI's scipy-openblas32 has). A library that is
     * missing, has 64-bit integers, cannot be called from several threads or multiplies wrongly is refused. Where a
     * program has a cblas_sgemm of its own, or another BLAS before libattn, "linked" is that one, or is refused.
     * Without RTLD_DEEPBIND (musl) no second library with the names of the linked one is used. A library, once
     * loaded, stays loaded. */
    const char *blas;

    /* A matrix product of the caller's instead of a BLAS; `blas` must then be NULL. */
    attn_sgemm_fn sgemm;
    void *sgemm_data;

    /* Which instruction sets libattn's own kernels may use (ATTN_ISA_*); the best that the CPU has is taken. 0: all. */
    uint32_t isa;

    /* Where memory comes from. All zero: malloc and free. */
    attn_allocator allocator;

    /* The caller's threads instead of the context's own. NULL: own threads, started at the first call that needs them;
     * they sleep after some 20 ms without work. Where the system gives fewer (RLIMIT_NPROC, RLIMIT_AS,
     * pids.max), calls run on those, at the least on the calling one. (OpenBLAS itself does not bear every limit: where
     * its kernels pack, it looks for ever for 128 MB of address space a thread; "builtin" needs none.) */
    attn_parallel_for_fn parallel_for;
    void *parallel_for_data;

    attn_precision precision; /* of what is multiplied on the context, and of weights that are packed for it */
} attn_context_options;

/* What a context runs on. All strings live as long as the context. */
typedef struct attn_context_info {
    size_t struct_size;
    const char
        *blas; /* name: "openblas", "builtin", "blis", "mkl", "reference", "callback", or "cblas" for an unknown one */
    const char *blas_version; /* as the library tells it, or "" */
    const char *blas_core;    /* the CPU kernels that it chose, as "Haswell", or "" */
    const char *blas_threads; /* how it is threaded: "pthread", "openmp", "serial", or "" where it does not tell */
    const char *blas_path;    /* file that it was loaded from, or "" */
    const char *isa;          /* of libattn's kernels: "generic", "avx2", "avx512", "neon" */
    size_t threads;           /* as in the options, default resolved; fewer once the system has refused a thread */
    size_t scratch_bytes;     /* held by the context now */
    const char *blas_choice;  /* in a sentence: which backend, why, and what would change it or be faster */
    attn_precision precision; /* as in the options */
    const char *bf16_isa;     /* what multiplies bf16 by bf16: as `isa`, or "avx512_bf16", "amx_bf16", "neon_bf16" */
    const char *int8_isa;     /* what multiplies int8 by int8: "generic", "avx2", "avx_vnni", "avx512_vnni",
                               * "amx_int8", "neon", "neon_dot", "neon_i8mm" */
} attn_context_info;

#ifdef __cplusplus
extern "C" {
#endif

/* Makes a context. `options` may be NULL: all defaults. On success *context is the caller's, to be given to
 * attn_context_destroy. On failure *context is NULL (if `context` is not), and attn_context_last_error(NULL) tells why.
 * Errors: NULL, STRUCT, VALUE, MEMORY, BACKEND. May be called from any thread. */
ATTN_API attn_status attn_context_create(const attn_context_options *options, attn_context **context);

/* Ends a context and its threads and frees its memory. NULL is allowed. Objects made with it (attn_mha) live on. */
ATTN_API void attn_context_destroy(attn_context *context);

/* What was wrong with the last call on this context that failed: field, value and rule, in one line; "" if none did.
 * With NULL: about the last call in this thread that failed without a context, attn_context_create or one whose context
 * was NULL. Valid until the next call on the context (with NULL: until the next such failure in this thread). */
ATTN_API const char *attn_context_last_error(const attn_context *context);

/* Tells what the context runs on. `info` must have been through ATTN_INIT. Errors: NULL, STRUCT. */
ATTN_API attn_status attn_context_describe(attn_context *context, attn_context_info *info);

/* Makes the context hold at least `bytes` of scratch memory, so that calls whose *_scratch_size is no larger will not
 * allocate. Without it the first call that needs more grows the scratch once. Errors: NULL, MEMORY (nothing changed).
 */
ATTN_API attn_status attn_context_reserve(attn_context *context, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
