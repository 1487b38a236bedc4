/* SPDX-License-Identifier: BSD-3-Clause */
/* Work on several threads: Debian's pthreadpool wakes them, and each takes the next unit until none is left. */
#include <pthreadpool.h>
#include <unistd.h>

#include "context/context.h"
#include "context/sizes.h"

static void worker(void *arg, size_t worker) {
    attni_job *job = arg;
    for (size_t unit; (unit = atomic_fetch_add(&job->next, 1)) < job->units;)
        job->work(job->arg, unit, worker);
    atomic_fetch_add(&job->finished, 1);
}

/* A forked child has none of its parent's threads: it leaves their pool alone and makes its own. */
static bool has_pool(attn_context *context) {
    const pid_t self = getpid();
    if (context->pool && context->pool_owner == self)
        return true;
    context->pool = pthreadpool_create(context->threads);
    context->pool_owner = self;
    return context->pool != NULL;
}

static void run(attn_context *context, size_t workers) {
    attni_job *job = &context->job;
    if (workers > 1 && context->parallel_for)
        context->parallel_for(context->parallel_for_data, workers, worker, job);
    else if (workers > 1 && has_pool(context))
        pthreadpool_parallelize_1d(context->pool, worker, job, workers, 0);
    else
        worker(job, 0);
}

/* About as long as it takes to wake a thread that slept a moment only. */
static const double worker_flops = 5e5;

static size_t count_workers(const attn_context *context, size_t units, double flops) {
    const size_t most = attni_min(units, context->threads);
    return flops >= worker_flops * (double)most ? most : 1 + (size_t)(flops / worker_flops);
}

void attni_parallel(attn_context *context, size_t units, double flops, attni_work work, void *arg) {
    attni_job *job = &context->job;
    job->work = work;
    job->arg = arg;
    job->units = units;
    atomic_store(&job->finished, 0);
    atomic_store(&job->next, 0);
    run(context, count_workers(context, units, flops));
    atomic_load(&job->finished);
}

void attni_parallel_stop(attn_context *context) {
    if (context->pool && context->pool_owner == getpid())
        pthreadpool_destroy(context->pool);
    context->pool = NULL;
}
