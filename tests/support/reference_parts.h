/* SPDX-License-Identifier: BSD-3-Clause */
/* Norms and activations, and their gradients, in double precision, as plain as their definitions. */
#ifndef ATTN_TESTS_REFERENCE_PARTS_H
#define ATTN_TESTS_REFERENCE_PARTS_H

#include <attn/attn.h>

/* p may be NULL: the defaults. The latter is what the activated gate is multiplied by. */
double reference_activation(attn_activation kind, const attn_activation_params *p, double x);
double reference_up(const attn_activation_params *p, double up);

/* Their derivatives. */
double reference_slope(attn_activation kind, const attn_activation_params *p, double x);
double reference_up_slope(const attn_activation_params *p, double up);

/* One row of n numbers. */
void reference_norm(const attn_norm_params *p, size_t n, const double *x, double *y);

/* dx, and what the row adds to d_weight and d_bias, which begin with 0. Returns the largest Σ |terms| of a dx: rounding
 * these is what errors come from. */
double reference_norm_backward(const attn_norm_params *p, size_t n, const double *x, const double *d_out, double *dx,
                               double *d_weight, double *d_bias);

/* The loss of one row of n logits, and its gradients. */
double reference_cross_entropy(size_t n, const double *x, size_t target, double smoothing, double *gradient);

#endif
