/* SPDX-License-Identifier: BSD-3-Clause */
#include "machine/bandwidth.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "machine/affinity.h"

#define BYTES ((size_t)128 << 20)
#define PASSES 10
#define THREADS_MAX 256

typedef uint64_t lanes __attribute__((vector_size(64)));

typedef struct part {
    pthread_t thread;
    const lanes *from;
    size_t count, index;
    volatile uint64_t sum;
} part;

/* Eight sums, so that additions do not wait for one another. */
static void *read_part(void *argument) {
    part *p = argument;
    lanes sums[8];
    memset(sums, 0, sizeof sums);
    affinity_take(p->index, 1);
    for (size_t i = 0; i + 8 <= p->count; i += 8)
        for (size_t n = 0; n < 8; n++)
            sums[n] += p->from[i + n];
    for (size_t n = 1; n < 8; n++)
        sums[0] += sums[n];
    p->sum = sums[0][0];
    return NULL;
}

static double read_all(part *parts, size_t threads) {
    const double begin = clock_now();
    size_t started = 0;
    while (started < threads && pthread_create(&parts[started].thread, NULL, read_part, &parts[started]) == 0)
        started++;
    for (size_t i = 0; i < started; i++)
        pthread_join(parts[i].thread, NULL);
    return started == threads ? clock_now() - begin : 0;
}

double bandwidth_measure(size_t threads) {
    static part parts[THREADS_MAX];
    double best = 0;
    threads = threads > THREADS_MAX ? THREADS_MAX : threads;
    lanes *memory = aligned_alloc(64, BYTES);
    if (memory == NULL)
        return 0;
    memset(memory, 1, BYTES);
    const size_t each = BYTES / sizeof *memory / threads;
    for (size_t i = 0; i < threads; i++)
        parts[i] = (part){.from = memory + i * each, .count = each, .index = i};
    for (int pass = 0; pass < PASSES; pass++) {
        const double seconds = read_all(parts, threads);
        const double speed = seconds > 0 ? (double)(each * threads * sizeof *memory) / seconds / 1e9 : 0;
        best = speed > best ? speed : best;
    }
    free(memory);
    return best;
}
