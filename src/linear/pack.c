/* SPDX-License-Identifier: BSD-3-Clause */
/* Weights are packed once into panels that the backend's products read as one stream. */
#include <string.h>

#include "context/sizes.h"
#include "linear/linear.h"

/* Floats of the panels (their width rounded up to whole vectors), of the scales and of the bias, each in whole cache
 * lines. */
static size_t panel_floats(const attni_weight *w) {
    return attni_round_up(attni_ceil_div(attni_round_up(w->out, 16) * w->in * attni_size_of(w->type), sizeof(float)),
                          16);
}
static size_t scale_floats(const attni_weight *w) { return w->scale ? attni_round_up(w->out, 16) : 0; }
static size_t bias_floats(const attni_weight *w) { return w->bias ? attni_round_up(w->out, 16) : 0; }

size_t attni_linear_floats(const attni_weight *w) { return panel_floats(w) + scale_floats(w) + bias_floats(w); }

/* to [columns, width] is the transpose of `from` [rows, columns], of elements of `size` bytes, a cache line's or two of
 * columns at a time; what is behind the rows stays as it is. */
static inline __attribute__((always_inline)) void turn(size_t size, size_t rows, size_t columns, const char *from,
                                                       size_t ld, size_t width, char *to) {
    enum { STEP = 64 };
    for (size_t begin = 0; begin < columns; begin += STEP)
        for (size_t r = 0; r < rows; r++)
            for (size_t c = begin; c < attni_min(begin + STEP, columns); c++)
                memcpy(to + (c * width + r) * size, from + (r * ld + c) * size, size);
}

static void pack_panel(const attni_kernels *kernels, const attni_weight *w, size_t first, size_t width, char *panel) {
    const size_t size = attni_size_of(w->type);
    const char *from = (const char *)w->data + first * w->stride_out * size;
    const size_t count = attni_min(w->out - first, width);
    if (count < width)
        memset(panel, 0, w->in * width * size);
    if (w->stride_in != 1)
        kernels->copy(w->in, count, w->type, from, (ptrdiff_t)w->stride_in, w->type, panel, (ptrdiff_t)width);
    else if (w->type == ATTN_F32)
        kernels->transpose(ATTN_F32, count, w->in, from, (ptrdiff_t)w->stride_out, width, (float *)(void *)panel,
                           width);
    else if (w->type == ATTN_INT8)
        turn(sizeof(int8_t), count, w->in, from, w->stride_out, width, panel);
    else
        turn(sizeof(uint16_t), count, w->in, from, w->stride_out, width, panel);
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
    const attni_panel panel = attni_panel_for_weights(context, w->type);
    attni_linear linear = {.out = w->out, .in = w->in, .panel = panel, .type = w->type, .panels = panels};
    for (size_t o = 0; o < w->out; o += linear.panel.width) {
        const size_t width = attni_min(attni_round_up(w->out - o, 16), linear.panel.width);
        pack_panel(context->kernels, w, o, width, panels + o * w->in * attni_size_of(w->type));
    }
    float *next = memory + panel_floats(w);
    linear.scale = attni_keep(w->scale, w->out, &next);
    linear.bias = attni_keep(w->bias, w->out, &next);
    return linear;
}

attn_linear *attni_linear_new(const attn_context *context, const attni_weight *w) {
    attn_linear *linear = attni_allocate(&context->allocator, sizeof *linear);
    float *memory = linear ? attni_allocate(&context->allocator, attni_linear_floats(w) * sizeof(float)) : NULL;
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
