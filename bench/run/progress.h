/* SPDX-License-Identifier: BSD-3-Clause */
/* One line on stderr, rewritten, that tells how far the run is. Silent where stderr is not a terminal. */
#ifndef ATTN_BENCH_PROGRESS_H
#define ATTN_BENCH_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>

typedef struct progress {
    bool shown;
    double begin;       /* clock_now() at the start */
    double done, total; /* expected work, in any unit */
} progress;

progress progress_start(double total);

/* `what` is at work now. */
void progress_show(const progress *p, size_t index, size_t count, const char *what);

void progress_end(const progress *p);

#endif
