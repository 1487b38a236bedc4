/* SPDX-License-Identifier: BSD-3-Clause */
#include "mha/matrix.h"

#include "context/sizes.h"

static bool is_matrix(const attni_view *x, size_t B, size_t T, size_t width) {
    const bool plain = x->dtype == ATTN_F32 && x->stride_t >= (ptrdiff_t)width && x->stride_t < ATTNI_MOST_STRIDE;
    return plain && (B <= 1 || x->stride_b == (ptrdiff_t)T * x->stride_t);
}

size_t attni_matrix_floats(const attni_view *x, size_t B, size_t T, size_t width) {
    return is_matrix(x, B, T, width) ? 0 : B * T * width;
}

attni_matrix attni_matrix_of(const attni_view *x, size_t B, size_t T, size_t width, float *room) {
    if (is_matrix(x, B, T, width))
        return (attni_matrix){x->data, B * T, (size_t)x->stride_t};
    return (attni_matrix){room, B * T, width};
}

attni_matrix attni_matrix_read(const attn_context *context, const attni_view *x, size_t B, size_t T, size_t width,
                               float *room) {
    const attni_matrix m = attni_matrix_of(x, B, T, width, room);
    for (size_t b = 0; b < B && m.data == room; b++)
        context->kernels->copy(T, width, x->dtype, attni_at(x, b, 0, 0), x->stride_t, ATTN_F32, room + b * T * width,
                               (ptrdiff_t)width);
    return m;
}

void attni_matrix_write(const attn_context *context, const attni_view *y, size_t B, size_t T, size_t width,
                        const float *room) {
    for (size_t b = 0; b < B && !is_matrix(y, B, T, width); b++)
        context->kernels->copy(T, width, ATTN_F32, room + b * T * width, (ptrdiff_t)width, y->dtype,
                               attni_at(y, b, 0, 0), y->stride_t);
}

size_t attni_reserve(size_t *used, size_t floats) { return attni_take(used, floats, ATTNI_LINE / sizeof(float)); }
