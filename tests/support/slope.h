/* SPDX-License-Identifier: BSD-3-Clause */
/* Gradients against differences of a loss in double: of some elements of each, and along a direction that has all. */
#ifndef ATTN_TESTS_SLOPE_H
#define ATTN_TESTS_SLOPE_H

#include "support/support.h"

/* A gradient and the parameters that it is of, which the loss reads. */
typedef struct slope {
    const char *name;
    const float *of; /* written while the loss is asked for */
    float *gradient;
    size_t n;
} slope;

enum { MOST_SLOPES = 48 };
typedef struct slopes {
    slope all[MOST_SLOPES];
    size_t count;
} slopes;

/* Adds parameters, dense, rounded to a grid, so that the steps of the differences are exact; returns where their
 * gradients go. NULL, or none: nothing, NULL. */
float *add_slope(slopes *s, const char *name, const float *of, size_t n);
attn_tensor add_slopes_of(slopes *s, const char *name, attn_tensor x);

typedef double (*loss_fn)(const void *arg);

/* Where the loss has corners, differences across them may be anything: a third of all may miss.
 * |got − want| ≤ bound · (1 + |want|), where elements of the direction are ±1/8, times the root of how many. */
void check_slopes(const slopes *s, loss_fn loss, const void *arg, double bound, bool has_corners);

/* Copies of the gradients, that they have the same bits, and that they are twice those. */
void copy_slopes(const slopes *s, attn_tensor copies[MOST_SLOPES]);
void assert_same_slopes(const slopes *s, const attn_tensor copies[MOST_SLOPES]);
void assert_twice_slopes(const slopes *s, const attn_tensor copies[MOST_SLOPES]);

#endif
