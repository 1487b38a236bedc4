/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ATTN_BENCH_STATS_H
#define ATTN_BENCH_STATS_H

#include <stddef.h>

typedef struct stats {
    double median, low, high; /* quartiles, linearly interpolated */
    double mean, stddev;      /* of the sample: divided by n - 1 */
} stats;

/* Sorts the values. All zero for n = 0. */
stats stats_of(double *values, size_t n);

#endif
