/* SPDX-License-Identifier: BSD-3-Clause */
/* Scales of a graph. */
#ifndef ATTN_BENCH_AXIS_H
#define ATTN_BENCH_AXIS_H

#include <stddef.h>

/* From 0 to `end`, in even steps of 1, 2 or 5 times a power of ten. */
typedef struct axis {
    double end, step;
} axis;

/* Reaches at least `value`, in at most 6 steps. */
axis axis_to(double value);

/* Where `value` lies between `low` and `high` by its logarithm: 0 to 1; 0.5 where low = high. */
double axis_log(double value, double low, double high);

#endif
