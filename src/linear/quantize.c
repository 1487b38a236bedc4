/* SPDX-License-Identifier: BSD-3-Clause */
/* int8 weights with a scale for each output feature. */
#include "context/sizes.h"
#include "linear/linear.h"

/* Features of a matrix [in, out] are made rows so many at a time: those of a cache line. */
enum { TOGETHER = 16 };

static size_t row_floats(const attni_weight *w) { return attni_round_up(w->in, 16); }

size_t attni_quantize_floats(const attni_weight *w) {
    return w->stride_in == 1 ? 0 : TOGETHER * row_floats(w) + attni_ceil_div(w->in, sizeof(float));
}

static void quantize_columns(const attni_kernels *kernels, const attni_weight *w, size_t first, int8_t *out,
                             float *scales, float *room) {
    const size_t count = attni_min(TOGETHER, w->out - first), ld = row_floats(w);
    int8_t *row = (int8_t *)(room + TOGETHER * ld);
    kernels->transpose(ATTN_F32, w->in, count, (const float *)w->data + first, (ptrdiff_t)w->stride_in, ld, room, ld);
    for (size_t o = 0; o < count; o++) {
        scales[first + o] = kernels->quantize(w->in, room + o * ld, row);
        for (size_t i = 0; i < w->in; i++)
            out[i * w->stride_in + first + o] = row[i];
    }
}

void attni_quantize(const attni_kernels *kernels, const attni_weight *w, int8_t *out, float *scales, float *room) {
    const float *rows = w->data;
    if (w->stride_in == 1)
        for (size_t o = 0; o < w->out; o++)
            scales[o] = kernels->quantize(w->in, rows + o * w->in, out + o * w->in);
    else
        for (size_t o = 0; o < w->out; o += TOGETHER)
            quantize_columns(kernels, w, o, out, scales, room);
}
