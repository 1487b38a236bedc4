/* SPDX-License-Identifier: BSD-3-Clause */
#include "support/pools.h"

#include <pthread.h>

enum { MOST = 16 };

size_t parallel_calls;

static void count_call(const void *data, size_t n) {
    parallel_calls += n > 1;
    assert_true(n <= *(const size_t *)data && n <= MOST);
}

void run_in_order(void *data, size_t n, void (*task)(void *arg, size_t i), void *arg) {
    count_call(data, n);
    for (size_t i = 0; i < n; i++)
        task(arg, i);
}

void run_backwards(void *data, size_t n, void (*task)(void *arg, size_t i), void *arg) {
    count_call(data, n);
    for (size_t i = n; i > 0; i--)
        task(arg, i - 1);
}

struct errand {
    void (*task)(void *arg, size_t i);
    void *arg;
    size_t i;
};

static void *run_errand(void *arg) {
    const struct errand *errand = arg;
    errand->task(errand->arg, errand->i);
    return NULL;
}

void run_on_pthreads(void *data, size_t n, void (*task)(void *arg, size_t i), void *arg) {
    pthread_t threads[MOST];
    struct errand errands[MOST];
    count_call(data, n);
    for (size_t i = 0; i < n; i++) {
        errands[i] = (struct errand){task, arg, i};
        assert_int_equal(pthread_create(&threads[i], NULL, run_errand, &errands[i]), 0);
    }
    for (size_t i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
}

attn_context *new_context_on(attn_parallel_for_fn parallel_for, const size_t *threads) {
    attn_context_options options;
    ATTN_INIT(&options);
    options.threads = *threads;
    options.parallel_for = parallel_for;
    options.parallel_for_data = (void *)(uintptr_t)threads;
    return new_context(&options);
}
