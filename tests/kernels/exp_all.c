/* SPDX-License-Identifier: BSD-3-Clause */
/* attn_exp_all: the exponential of every instruction set that this CPU has, on every float in [−104, −0]. Prints the
 * largest errors; fails if one is above 1 ULP. Takes all cores, for about a minute of one core. */
#include "exp_check.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

enum { MOST_THREADS = 64, RANGE = 1 << 22 };

/* What the threads share: `done` floats are taken, from EXP_FIRST on. */
static struct {
    pthread_mutex_t lock;
    uint64_t done;
    const attni_kernels *kernels[EXP_ISAS];
    struct exp_error errors[EXP_ISAS];
    size_t isas;
} shared = {.lock = PTHREAD_MUTEX_INITIALIZER};

static const uint64_t ALL = (uint64_t)EXP_LAST - EXP_FIRST + 1;

static void show_progress(uint64_t done) {
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r%3u %%%s", (unsigned)(100 * done / ALL), done < ALL ? "" : "\r     \r");
}

/* The first of the next RANGE floats, as its bits; false if none are left. */
static bool take_range(uint32_t *first, uint32_t *last) {
    pthread_mutex_lock(&shared.lock);
    const uint64_t begin = shared.done, end = begin + RANGE < ALL ? begin + RANGE : ALL;
    shared.done = end;
    if (begin < end)
        show_progress(end);
    pthread_mutex_unlock(&shared.lock);
    *first = (uint32_t)(EXP_FIRST + begin);
    *last = (uint32_t)(EXP_FIRST + end - 1);
    return begin < end;
}

static void *check_ranges(void *unused) {
    struct exp_error errors[EXP_ISAS] = {{0}};
    uint32_t first, last;
    while (take_range(&first, &last))
        exp_check(shared.kernels, shared.isas, first, last, 1, errors);
    pthread_mutex_lock(&shared.lock);
    exp_add(shared.errors, errors, shared.isas);
    pthread_mutex_unlock(&shared.lock);
    return unused;
}

/* On all cores; those threads that cannot be started are not missed. */
static void check_all(void) {
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    pthread_t threads[MOST_THREADS];
    size_t started = 0;
    while (started < MOST_THREADS && (long)started + 1 < cores &&
           pthread_create(&threads[started], NULL, check_ranges, NULL) == 0)
        started++;
    check_ranges(NULL);
    for (size_t i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
}

int main(void) {
    int status = 0;
    shared.isas = exp_kernels(shared.kernels);
    check_all();
    for (size_t i = 0; i < shared.isas; i++) {
        const struct exp_error *e = &shared.errors[i];
        printf("%-8s %.4f ULP at most, at %a (%.9g): %a; %" PRIu64 " floats\n", shared.kernels[i]->name, e->ulps,
               (double)e->x, (double)e->x, (double)e->got, e->count);
        if (!(e->ulps <= 1) || e->count != ALL)
            status = 1;
    }
    return status;
}
