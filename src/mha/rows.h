/* SPDX-License-Identifier: BSD-3-Clause */
/* What is done row by row, shared out to the threads. */
#ifndef ATTNI_ROWS_H
#define ATTNI_ROWS_H

#include "context/context.h"
#include "linear/linear.h"
#include "sdpa/sdpa.h"

/* Rows of a view [B,H,T,width], and where the results go, which may be the same place. */
typedef struct attni_rows {
    size_t B, H, T, width;
    attni_view x, y;
    attni_view factor; /* of the activated; data = NULL: 1 */
} attni_rows;

void attni_norm_rows(attn_context *context, const attni_norm *norm, const attni_rows *rows);
/* y = norm(x), both of `width` columns; y may be x. */
void attni_norm_matrix(attn_context *context, const attni_norm *norm, size_t width, const attni_matrix *x,
                       const attni_matrix *y);
void attni_activate_rows(attn_context *context, const attni_activation *activation, const attni_rows *rows);

/* Calls work(arg, [begin, end)) on pieces of the rows 0 … count, each of `width` elements that take about `flops`. */
typedef void (*attni_row_work)(void *arg, size_t begin, size_t end);
void attni_share_rows(attn_context *context, size_t count, size_t width, double flops, attni_row_work work, void *arg);

/* A matrix as a view [1,1,rows,width]. */
static inline attni_view attni_matrix_view(const attni_matrix *m) {
    return (attni_view){m->data, ATTN_F32, 0, 0, (ptrdiff_t)m->ld};
}

/* -- the way back (rows_back.c); data = NULL: not wanted -- */

/* dx may be x or d_out. Sums over all rows are made block by block: the bits are the same for any number of threads. */
typedef struct attni_norm_rows_back {
    size_t B, H, T, width;
    attni_view x, d_out, dx;
    float *d_weight, *d_bias; /* [width] */
    bool add_dx, add_weights; /* to what is there */
} attni_norm_rows_back;
size_t attni_norm_backward_scratch(const attni_norm_rows_back *rows); /* bytes */
void attni_norm_backward(attn_context *context, const attni_norm *norm, const attni_norm_rows_back *rows,
                         void *scratch);

/* Gradients of the parameters of a norm, and the rows of attni_norm_matrix on their way back. */
typedef struct attni_norm_sums {
    float *weight, *bias;
} attni_norm_sums;
attni_norm_rows_back attni_norm_matrix_back(size_t width, const attni_matrix *x, const attni_matrix *d_out,
                                            const attni_matrix *dx, attni_norm_sums sums, bool add_dx, bool add_sums);

/* Of activation(x) · factor; dx and d_factor may be any of the others. */
typedef struct attni_activation_rows_back {
    size_t B, H, T, width;
    attni_view x, factor, d_out, dx, d_factor; /* factor.data = NULL: 1 */
} attni_activation_rows_back;
void attni_activate_backward(attn_context *context, const attni_activation *activation,
                             const attni_activation_rows_back *rows);

#endif
