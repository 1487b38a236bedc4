/* SPDX-License-Identifier: BSD-3-Clause */
/* int8 weights with a scale for each output feature, and int4 weights with a scale and an offset for each group. */
#include <string.h>

#include "context/sizes.h"
#include "kernels/int4.h"
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

/* -- int4 -- */

/* The f16 numbers next to x, which lies in their range: the one that is no larger, or no smaller. */
static float half_beside(const attni_kernels *kernels, float x, bool below) {
    uint16_t half;
    float y;
    kernels->copy(1, 1, ATTN_F32, &x, 0, ATTN_F16, &half, 0);
    kernels->copy(1, 1, ATTN_F16, &half, 0, ATTN_F32, &y, 0);
    if (below ? y <= x : y >= x)
        return y;
    const bool away = below == (half >> 15 || (half & 0x7FFF) == 0); /* from zero */
    half = (half & 0x7FFF) == 0 ? (uint16_t)(below ? 0x8001 : 1) : (uint16_t)(away ? half + 1 : half - 1);
    kernels->copy(1, 1, ATTN_F16, &half, 0, ATTN_F32, &y, 0);
    return y;
}

/* Elements [i, i + n) of a feature, f32. */
static void read_group(const attni_weight *w, size_t o, size_t i, size_t n, float x[ATTNI_GROUP]) {
    const float *from = (const float *)w->data + o * w->stride_out + i * w->stride_in;
    for (size_t k = 0; k < n; k++)
        x[k] = from[k * w->stride_in];
}

/* From the least of n numbers, 15 steps reach the largest. */
static void find_scale(const attni_kernels *kernels, size_t n, const float *x, bool half, float pair[2]) {
    float least = x[0], most = x[0];
    for (size_t k = 1; k < n; k++) {
        least = x[k] < least ? x[k] : least;
        most = x[k] > most ? x[k] : most;
    }
    const float offset = half ? half_beside(kernels, least, true) : least;
    const float scale = most / 15 - offset / 15;
    pair[0] = half ? half_beside(kernels, scale, false) : scale;
    pair[1] = offset;
}

static void put_group(size_t n, const float *x, const float pair[2], uint8_t *out) {
    const double inverse = pair[0] > 0 ? 1 / (double)pair[0] : 0;
    memset(out, 0, attni_ceil_div(n, 2));
    for (size_t k = 0; k < n; k++) {
        const double step = ((double)x[k] - (double)pair[1]) * inverse + 0.5;
        const unsigned number = step < 0 ? 0U : step >= 16 ? 15U : (unsigned)step;
        out[k / 2] |= (uint8_t)(k % 2 ? number << 4 : number);
    }
}

/* Whether scales and offsets can be f16 at an error of less than 2^-14 of the largest weight. */
static bool suits_half(const attni_weight *w) {
    const float *x = w->data;
    float most = 0;
    for (size_t n = 0; n < w->out * w->in; n++)
        most = x[n] > most ? x[n] : -x[n] > most ? -x[n] : most;
    return 0x1p-8F <= most && most < 0x1p15F;
}

void attni_quantize_groups(const attni_kernels *kernels, const attni_weight *w, uint8_t *out, float *scales) {
    const bool half = suits_half(w);
    for (size_t o = 0; o < w->out; o++)
        for (size_t i = 0; i < w->in; i += ATTNI_GROUP, scales += 2) {
            const size_t n = attni_min(ATTNI_GROUP, w->in - i);
            float x[ATTNI_GROUP];
            read_group(w, o, i, n, x);
            find_scale(kernels, n, x, half, scales);
            put_group(n, x, scales, out + attni_weight_bytes(ATTN_INT4, o, w->in) + i / 2);
        }
}
