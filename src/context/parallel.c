/* SPDX-License-Identifier: BSD-3-Clause */
/* Work on several threads: each takes the next unit until none is left. */
#include "context/context.h"
#include "context/crew.h"
#include "context/sizes.h"

static void drain(attni_job *job, size_t worker) {
    for (size_t unit; (unit = atomic_fetch_add(&job->next, 1)) < job->units;)
        job->work(job->arg, unit, worker);
    atomic_fetch_add(&job->finished, 1);
}

/* Whichever thread it is works in the mode of the one that calls, so that the bits are the same. */
static void worker(void *arg, size_t worker) {
    attni_job *job = arg;
    const attni_mode own = attni_mode_get();
    atomic_load(&job->next); /* behind which the mode is written */
    attni_mode_set(job->mode);
    drain(job, worker);
    attni_mode_set(own);
}

static void run(attn_context *context, size_t wanted) {
    attni_job *job = &context->job;
    const size_t workers = wanted > 1 && context->crew ? attni_crew_start(context->crew, wanted) : wanted;
    if (workers <= 1)
        drain(job, 0);
    else if (context->crew)
        attni_crew_run(context->crew, workers, worker, job);
    else
        context->parallel_for(context->parallel_for_data, workers, worker, job);
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
    job->mode = attni_mode_get();
    atomic_store(&job->finished, 0);
    atomic_store(&job->next, 0);
    run(context, count_workers(context, units, flops));
    atomic_load(&job->finished);
}

size_t attni_parallel_threads(const attn_context *context) {
    return context->crew ? attni_crew_size(context->crew) : context->threads;
}
