/* SPDX-License-Identifier: BSD-3-Clause */
/* A backend that would start threads of its own is held at one while libattn's workers call it, and then given back as
 * it was. Where the setting is the whole process's, the first call that starts sets it and the last that ends restores.
 *
 * fork() copies both the setting and the locks inside the library, which only libattn knows to be in use. So fork()
 * waits for the products that are being computed, none begins before it is done, and meanwhile the setting is what it
 * was before libattn's calls: that is what the child gets, in which none of them goes on. */
#define _GNU_SOURCE /* usleep */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <unistd.h>

#include "blas/blas.h"

typedef struct attni_hold {
    ptrdiff_t (*set)(ptrdiff_t); /* whose: one setter, one library */
    ptrdiff_t (*get)(void);
    size_t users;
    ptrdiff_t before;
} attni_hold;

enum { HOLDS = 16, DOORS = 16 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static attni_hold holds[HOLDS]; /* process state, as the settings are */

/* How many products are being computed, by thread, more or less: one counter would be a bottleneck. */
static struct { _Alignas(ATTNI_LINE) atomic_size_t inside; } doors[DOORS];
static atomic_bool forking;

static void hold(attni_hold *h) {
    h->before = h->get();
    if (h->before != 1)
        h->set(1);
}

/* What the application set meanwhile counts. */
static void let_go(attni_hold *h) {
    if (h->get() == 1 && h->before != 1)
        h->set(h->before);
}

static void each_held(void (*change)(attni_hold *)) {
    for (size_t i = 0; i < HOLDS; i++)
        if (holds[i].users > 0)
            change(&holds[i]);
}

static void forget(attni_hold *h) { h->users = 0; }

static bool anyone_inside(void) {
    bool any = false;
    for (size_t i = 0; i < DOORS; i++)
        any |= atomic_load(&doors[i].inside) > 0;
    return any;
}

/* A product takes milliseconds at most; one that takes a second was interrupted by a signal whose handler forks. */
static void before_fork(void) {
    pthread_mutex_lock(&lock);
    atomic_store(&forking, true);
    for (int i = 0; i < 10000 && anyone_inside(); i++)
        usleep(50);
    each_held(let_go);
}

static void after_fork(void) {
    atomic_store(&forking, false);
    pthread_mutex_unlock(&lock);
}

static void after_fork_in_parent(void) {
    each_held(hold);
    after_fork();
}

static void after_fork_in_child(void) {
    each_held(forget);
    for (size_t i = 0; i < DOORS; i++)
        atomic_store(&doors[i].inside, 0);
    after_fork();
}

static void watch_forks(void) { pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child); }

static attni_hold *find_hold(const attni_threading *threading) {
    for (size_t i = 0; i < HOLDS; i++) {
        if (!holds[i].set)
            holds[i] = (attni_hold){.set = threading->set, .get = threading->get};
        if (holds[i].set == threading->set)
            return &holds[i];
    }
    return NULL;
}

bool attni_threading_share(attni_threading *threading) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (threading->reach != ATTNI_REACH_NONE)
        pthread_once(&once, watch_forks);
    if (threading->reach != ATTNI_REACH_PROCESS)
        return true;
    pthread_mutex_lock(&lock);
    threading->hold = find_hold(threading);
    pthread_mutex_unlock(&lock);
    return threading->hold != NULL;
}

static atomic_size_t *my_door(void) { return &doors[((uintptr_t)pthread_self() >> 12) % DOORS].inside; }

/* The application has set another number during a call: it gets it when the call ends. */
static void hold_again(attni_hold *h) {
    pthread_mutex_lock(&lock);
    if (h->users > 0 && h->get() != 1)
        hold(h);
    pthread_mutex_unlock(&lock);
}

void attni_blas_enter(const attni_threading *threading) {
    if (threading->hold && threading->hold->get() != 1)
        hold_again(threading->hold);
    while (atomic_fetch_add(my_door(), 1), atomic_load(&forking)) {
        atomic_fetch_sub(my_door(), 1);
        pthread_mutex_lock(&lock); /* until fork() is done */
        pthread_mutex_unlock(&lock);
    }
}

void attni_blas_leave(void) { atomic_fetch_sub(my_door(), 1); }

static ptrdiff_t exchange(const attni_threading *threading, ptrdiff_t threads) {
    if (!threading->get)
        return threading->set(threads);
    const ptrdiff_t before = threading->get();
    if (before != threads)
        threading->set(threads);
    return before;
}

static void take(attni_hold *h) {
    pthread_mutex_lock(&lock);
    if (h->users++ == 0)
        hold(h);
    pthread_mutex_unlock(&lock);
}

static void give_back(attni_hold *h) {
    pthread_mutex_lock(&lock);
    if (h->users > 0 && --h->users == 0) /* 0: a callback has forked, and this is the child */
        let_go(h);
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
        take(threading->hold);
        attni_parallel(context, units, flops, work, arg);
        give_back(threading->hold);
        break;
    }
}
