/* SPDX-License-Identifier: BSD-3-Clause */
/* Gradients against differences of a loss in double: of some elements of each, and along a direction that has all. */
#ifndef ATTN_TESTS_SLOPE_H
#define ATTN_TESTS_SLOPE_H

#include "support.h"

/* A number of steps that a float has exactly is added to parameters on the grid of these steps. */
#define SLOPE_STEP 0x1p-10

/* Rounds parameters to the grid. */
void put_on_grid(const float *x, size_t n);

/* A gradient and the parameters that it is of, which the loss reads. */
typedef struct slope {
    const char *name;
    const float *of; /* written while the loss is asked for */
    const float *gradient;
    size_t n;
} slope;

typedef double (*loss_fn)(const void *arg);

/* |got − want| ≤ bound · (1 + |want|), for the direction times the root of its length. */
void check_slopes(const slope *slopes, size_t count, loss_fn loss, const void *arg, double bound);

#endif
