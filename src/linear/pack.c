/* SPDX-License-Identifier: BSD-3-Clause */
/* Weights are packed once into panels that the backend's products read as one stream. */
#include <string.h>

#include "context/sizes.h"
#include "linear/linear.h"

/* Floats of the panels (their width rounded up to whole vectors) and of the bias, each in whole cache lines. */
static size_t panel_floats(const attni_weight *w) { return attni_round_up(w->out, 16) * w->in; }
static size_t bias_floats(const attni_weight *w) { return w->bias ? attni_round_up(w->out, 16) : 0; }

size_t attni_linear_floats(const attni_weight *w) { return panel_floats(w) + bias_floats(w); }

static void pack_panel(const attni_kernels *kernels, const attni_weight *w, size_t first, size_t width, float *panel) {
    const float *from = w->data + first * w->stride_out;
    const size_t count = attni_min(w->out - first, width);
    if (w->stride_in == 1)
        kernels->transpose(ATTN_F32, count, w->in, from, (ptrdiff_t)w->stride_out, width, panel, width);
    else
        kernels->copy(w->in, count, ATTN_F32, from, (ptrdiff_t)w->stride_in, ATTN_F32, panel, (ptrdiff_t)width);
}

attni_linear attni_linear_pack(const attn_context *context, const attni_weight *w, float *memory) {
    attni_linear linear = {w->out, w->in, attni_panel_for_projection(context->blas), memory, NULL};
    for (size_t o = 0; o < w->out; o += linear.panel.width) {
        const size_t width = attni_min(attni_round_up(w->out - o, 16), linear.panel.width);
        pack_panel(context->kernels, w, o, width, memory + o * w->in);
    }
    if (w->bias) {
        linear.bias = memory + panel_floats(w);
        memcpy(linear.bias, w->bias, w->out * sizeof *w->bias);
    }
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
