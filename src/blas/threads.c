/* SPDX-License-Identifier: BSD-3-Clause */
/* A backend that would start threads of its own is held at one while libattn's workers call it, and then given back as
 * it was. Where the setting is the whole process's, the first call that starts sets it and the last that ends restores.
 */
#include <pthread.h>

#include "blas/blas.h"

typedef struct attni_hold {
    ptrdiff_t (*set)(ptrdiff_t); /* whose: one setter, one library */
    size_t users;
    ptrdiff_t before;
} attni_hold;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static attni_hold holds[16]; /* process state, as the settings are */

attni_hold *attni_hold_of(ptrdiff_t (*set)(ptrdiff_t)) {
    attni_hold *found = NULL;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < sizeof holds / sizeof *holds && !found; i++)
        if (holds[i].set == set || !holds[i].set)
            found = &holds[i];
    if (found)
        found->set = set;
    pthread_mutex_unlock(&lock);
    return found;
}

static ptrdiff_t exchange(const attni_threading *threading, ptrdiff_t threads) {
    if (!threading->get)
        return threading->set(threads);
    const ptrdiff_t before = threading->get();
    if (before != threads)
        threading->set(threads);
    return before;
}

static void take(const attni_threading *threading) {
    pthread_mutex_lock(&lock);
    if (threading->hold->users++ == 0)
        threading->hold->before = exchange(threading, 1);
    pthread_mutex_unlock(&lock);
}

static void give_back(const attni_threading *threading) {
    pthread_mutex_lock(&lock);
    if (--threading->hold->users == 0)
        exchange(threading, threading->hold->before);
    pthread_mutex_unlock(&lock);
}

typedef struct guarded {
    const attni_threading *threading;
    attni_work work;
    void *arg;
} guarded;

static void work_single_threaded(void *arg, size_t unit, size_t worker) {
    const guarded *g = arg;
    const ptrdiff_t before = exchange(g->threading, 1);
    g->work(g->arg, unit, worker);
    exchange(g->threading, before);
}

void attni_blas_parallel(attn_context *context, size_t units, double flops, attni_work work, void *arg) {
    const attni_threading *threading = &context->blas->threading;
    guarded g = {threading, work, arg};
    switch (threading->reach) {
    case ATTNI_REACH_NONE:
        attni_parallel(context, units, flops, work, arg);
        break;
    case ATTNI_REACH_THREAD:
        attni_parallel(context, units, flops, work_single_threaded, &g);
        break;
    case ATTNI_REACH_PROCESS:
        take(threading);
        attni_parallel(context, units, flops, work, arg);
        give_back(threading);
        break;
    }
}
