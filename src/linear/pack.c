/* SPDX-License-Identifier: BSD-3-Clause */
/* Weights are packed once into panels that the backend's products read as one stream. */
#include <string.h>

#include "context/sizes.h"
#include "kernels/together.h"
#include "linear/linear.h"

/* Floats of the panels (their width rounded up to whole vectors), of the scales and of the bias, each in whole cache
 * lines. */
static size_t panel_floats(const attni_weight *w, attn_dtype kept) {
    const size_t depth = attni_round_up(w->in, attni_together(kept));
    return attni_round_up(attni_ceil_div(attni_round_up(w->out, 16) * depth * attni_size_of(kept), sizeof(float)), 16);
}
static size_t scale_floats(const attni_weight *w) { return w->scale ? attni_round_up(w->out, 16) : 0; }
static size_t bias_floats(const attni_weight *w) { return w->bias ? attni_round_up(w->out, 16) : 0; }

static attn_dtype kept_type(const attn_context *context, const attni_weight *w) {
    return context->precision != ATTN_PRECISION_F32 && w->type != ATTN_INT8 ? ATTN_BF16 : w->type;
}

size_t attni_linear_floats(const attn_context *context, const attni_weight *w) {
    return panel_floats(w, kept_type(context, w)) + scale_floats(w) + bias_floats(w);
}

/* to [columns, width] is the transpose of `from` [rows, columns], of 16 bits each, a cache line's or two of columns at
 * a time; what is behind the rows stays as it is. */
static void turn(size_t rows, size_t columns, const uint16_t *from, size_t ld, size_t width, uint16_t *to) {
    enum { STEP = 64 };
    for (size_t begin = 0; begin < columns; begin += STEP)
        for (size_t r = 0; r < rows; r++)
            for (size_t c = begin; c < attni_min(begin + STEP, columns); c++)
                to[c * width + r] = from[r * ld + c];
}

/* Features [first, first + count) of a weight. */
typedef struct some {
    const attni_kernels *kernels;
    const attni_weight *weight;
    size_t first, count;
} some;

/* Where input i of the first of them is. */
static const void *input_at(const some *s, size_t i) {
    const attni_weight *w = s->weight;
    return (const char *)w->data + (s->first * w->stride_out + i * w->stride_in) * attni_size_of(w->type);
}

/* A few inputs at a time are made rows of f32, and those pairs. */
static void pack_bf16(const some *s, size_t width, uint16_t *panel) {
    enum { ROWS = 16, WIDEST = 64 };
    const attni_weight *w = s->weight;
    float rows[ROWS * WIDEST];
    for (size_t i = 0; i < w->in; i += ROWS) {
        const size_t count = attni_min(ROWS, w->in - i);
        if (w->stride_in == 1)
            s->kernels->transpose(w->type, s->count, count, input_at(s, i), (ptrdiff_t)w->stride_out, width, rows,
                                  width);
        else
            s->kernels->copy(count, s->count, w->type, input_at(s, i), (ptrdiff_t)w->stride_in, ATTN_F32, rows,
                             (ptrdiff_t)width);
        s->kernels->pair(count, s->count, rows, (ptrdiff_t)width, width, panel + i * width, width);
    }
}

static void pack_panel(const some *s, attn_dtype kept, size_t width, char *panel) {
    const attni_weight *w = s->weight;
    if (s->count < width)
        memset(panel, 0, attni_round_up(w->in, attni_together(kept)) * width * attni_size_of(kept));
    if (kept == ATTN_BF16)
        pack_bf16(s, width, (uint16_t *)(void *)panel);
    else if (w->type == ATTN_INT8)
        attni_put_int8(w->in, s->count, input_at(s, 0), w->stride_in, w->stride_out, 0, (uint8_t *)panel, width);
    else if (w->stride_in != 1)
        s->kernels->copy(w->in, s->count, w->type, input_at(s, 0), (ptrdiff_t)w->stride_in, w->type, panel,
                         (ptrdiff_t)width);
    else if (w->type == ATTN_F32)
        s->kernels->transpose(ATTN_F32, s->count, w->in, input_at(s, 0), (ptrdiff_t)w->stride_out, width,
                              (float *)(void *)panel, width);
    else
        turn(s->count, w->in, input_at(s, 0), w->stride_out, width, (uint16_t *)(void *)panel);
}

float *attni_keep(const float *x, size_t n, float **next) {
    if (!x)
        return NULL;
    float *kept = *next;
    const size_t floats = attni_round_up(n, 16);
    memset(kept, 0, floats * sizeof *kept);
    memcpy(kept, x, n * sizeof *x);
    *next += floats;
    return kept;
}

attni_linear attni_linear_pack(const attn_context *context, const attni_weight *w, float *memory) {
    char *panels = (char *)memory;
    const attn_dtype kept = kept_type(context, w);
    const attni_panel panel = attni_panel_for_weights(context, kept);
    attni_linear linear = {.out = w->out, .in = w->in, .panel = panel, .type = kept, .panels = panels};
    linear.depth = attni_round_up(w->in, attni_together(kept));
    for (size_t o = 0; o < w->out; o += panel.width) {
        const size_t width = attni_min(attni_round_up(w->out - o, 16), panel.width);
        const some features = {context->kernels, w, o, attni_min(w->out - o, width)};
        pack_panel(&features, kept, width, panels + o * linear.depth * attni_size_of(kept));
    }
    float *next = memory + panel_floats(w, kept);
    linear.scale = attni_keep(w->scale, w->out, &next);
    linear.bias = attni_keep(w->bias, w->out, &next);
    return linear;
}

attn_linear *attni_linear_new(const attn_context *context, const attni_weight *w) {
    attn_linear *linear = attni_allocate(&context->allocator, sizeof *linear);
    float *memory =
        linear ? attni_allocate(&context->allocator, attni_linear_floats(context, w) * sizeof(float)) : NULL;
    if (!memory) {
        attni_release(&context->allocator, linear);
        return NULL;
    }
    *linear = (attn_linear){context->allocator, attni_linear_pack(context, w, memory)};
    return linear;
}

void attni_linear_delete(attn_linear *linear) {
    const attn_allocator allocator = linear->allocator;
    attni_release(&allocator, linear->map.panels);
    attni_release(&allocator, linear);
}
