/* SPDX-License-Identifier: BSD-3-Clause */
/* Views [B,1,T,width] as matrices of B·T rows: where they are, if a BLAS can use them in place, or dense in `room`. */
#ifndef ATTNI_MATRIX_H
#define ATTNI_MATRIX_H

#include "linear/linear.h"
#include "sdpa/sdpa.h"

static inline attni_matrix attni_dense(float *data, size_t rows, size_t width) {
    return (attni_matrix){data, rows, width};
}

/* Floats of room that a view needs: none where it is one matrix. */
size_t attni_matrix_floats(const attni_view *x, size_t B, size_t T, size_t width);

/* The matrix; attni_matrix_read fills it where it is in `room`, attni_matrix_write takes it from there. */
attni_matrix attni_matrix_of(const attni_view *x, size_t B, size_t T, size_t width, float *room);
attni_matrix attni_matrix_read(const attn_context *context, const attni_view *x, size_t B, size_t T, size_t width,
                               float *room);
void attni_matrix_write(const attn_context *context, const attni_view *y, size_t B, size_t T, size_t width,
                        const float *room);

/* The next `floats` of a scratch, in whole cache lines: returns where they begin. */
size_t attni_reserve(size_t *used, size_t floats);

#endif
