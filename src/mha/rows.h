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

#endif
