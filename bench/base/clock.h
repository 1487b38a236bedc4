/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ATTN_BENCH_CLOCK_H
#define ATTN_BENCH_CLOCK_H

#include <time.h>

static inline double clock_read(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds since some fixed moment. */
static inline double clock_now(void) { return clock_read(CLOCK_MONOTONIC); }

/* Processor seconds of all threads of this process. */
static inline double clock_cpu(void) { return clock_read(CLOCK_PROCESS_CPUTIME_ID); }

static inline void clock_sleep(double seconds) {
    struct timespec t = {.tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&t, NULL);
}

#endif
