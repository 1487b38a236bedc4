/* SPDX-License-Identifier: BSD-3-Clause */
/* Gradients against differences of a loss in double: of some elements of each, and along a direction that has all. */
#ifndef ATTN_TESTS_SLOPE_H
#define ATTN_TESTS_SLOPE_H

#include "support.h"

/* Rounds parameters to a grid, so that the steps of the differences are exact. */
void put_on_grid(const float *x, size_t n);

/* A gradient and the parameters that it is of, which the loss reads. */
typedef struct slope {
    const char *name;
    const float *of; /* written while the loss is asked for */
    const float *gradient;
    size_t n;
} slope;

typedef double (*loss_fn)(const void *arg);

/* Where the loss has corners, differences across them may be anything: a third of all may miss.
 * |got − want| ≤ bound · (1 + |want|), where elements of the direction are ±1/8, times the root of how many. */
void check_slopes(const slope *slopes, size_t count, loss_fn loss, const void *arg, double bound, bool has_corners);

#endif
