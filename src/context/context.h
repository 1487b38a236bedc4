/* SPDX-License-Identifier: BSD-3-Clause */
/* The context: where memory, threads and messages come from. */
#ifndef ATTNI_CONTEXT_H
#define ATTNI_CONTEXT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "attn/context.h"
#include "context/mode.h"
#include "kernels/kernels.h"

/* Work that is being handed out. The counters stay at one place and are only ever touched as atomics, so that they
 * order memory between the caller and the workers in a way that ThreadSanitizer sees: a caller's threads may not be
 * built with it. */
typedef void (*attni_work)(void *arg, size_t unit, size_t worker);
typedef struct attni_job {
    attni_work work;
    void *arg;
    size_t units;
    attni_mode mode; /* of the thread that calls */
    atomic_size_t next, finished;
} attni_job;

struct attni_blas;
struct attni_bf16;
struct attni_crew;
struct attni_int4;
struct attni_int8;

struct attn_context {
    attn_allocator allocator;
    const attni_kernels *kernels;
    attn_precision precision;
    const struct attni_bf16 *bf16; /* set by src/product, used by the rooms above */
    const struct attni_int8 *int8;
    const struct attni_int4 *int4; /* by the precision */
    struct attni_blas *blas;       /* opened and closed by src/product, used by the rooms above */
    size_t threads;
    attn_parallel_for_fn parallel_for; /* the caller's, or NULL: `crew` */
    void *parallel_for_data;
    struct attni_crew *crew; /* NULL: one thread, or the caller's */
    attni_job job;
    void *scratch;
    size_t scratch_bytes;
    char error[256];
};

enum { ATTNI_MOST_THREADS = 4096 };

/* A context without a backend, from options that are already validated and have no defaults left but threads = 0.
 * NULL: no memory. */
attn_context *attni_context_new(const attn_context_options *options, const attni_kernels *kernels);
void attni_context_delete(attn_context *context);

/* Keeps the message, printf style, for attn_context_last_error, and returns `status`. context = NULL: for this thread.
 */
__attribute__((format(printf, 3, 4))) attn_status attni_fail(attn_context *context, attn_status status,
                                                             const char *format, ...);
const char *attni_thread_error(void);

/* Memory of the allocator that begins a cache line. attni_allocate returns NULL when there is none. */
enum { ATTNI_LINE = 64 };
void *attni_allocate(const attn_allocator *allocator, size_t bytes);
void attni_release(const attn_allocator *allocator, void *piece);

/* Makes the scratch at least `bytes` large. */
attn_status attni_scratch_reserve(attn_context *context, size_t bytes);

/* Runs work(arg, unit, worker) once for every unit in [0, units), the lower ones first, on up to `threads` workers;
 * worker < threads tells them apart. Returns when all is done. `flops` is what all the units cost together, in
 * floating-point operations of a matrix product or their like: too little work is not worth waking a thread for. */
void attni_parallel(attn_context *context, size_t units, double flops, attni_work work, void *arg);

/* The threads that there are to work on: fewer than `threads` once the system has refused one. */
size_t attni_parallel_threads(const attn_context *context);

/* The CPUs that the process may use, at least 1. `root` is where /proc and /sys are: "" but in tests. */
size_t attni_count_cpus(const char *root);

#endif
