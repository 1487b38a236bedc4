/* SPDX-License-Identifier: BSD-3-Clause */
/* Weights are packed once into panels that the backend's products read as one stream. */
#include <string.h>

#include "context/sizes.h"
#include "mha/mha.h"

/* Floats of the panels (their width rounded up to whole vectors) and of the bias, each in whole cache lines. */
static size_t panel_floats(const attni_weight *w) { return attni_round_up(w->out, 16) * w->in; }
static size_t bias_floats(const attni_weight *w) { return w->bias ? attni_round_up(w->out, 16) : 0; }

static void pack_panel(const attni_kernels *kernels, const attni_weight *w, size_t first, size_t width, float *panel) {
    const float *from = w->data + first * w->stride_out;
    const size_t count = attni_min(w->out - first, width);
    if (w->stride_in == 1)
        kernels->transpose(ATTN_F32, count, w->in, from, (ptrdiff_t)w->stride_out, width, panel, width);
    else
        kernels->copy(w->in, count, ATTN_F32, from, (ptrdiff_t)w->stride_in, ATTN_F32, panel, (ptrdiff_t)width);
}

static attni_linear pack(const attn_context *context, const attni_weight *w, float *memory) {
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

attn_mha *attni_mha_new(const attn_context *context, size_t H, size_t G, const attni_weight weights[4]) {
    size_t floats = 0;
    for (size_t i = 0; i < 4; i++)
        floats += panel_floats(&weights[i]) + bias_floats(&weights[i]);
    attn_mha *mha = attni_allocate(&context->allocator, sizeof *mha);
    void *memory = mha ? attni_allocate(&context->allocator, floats * sizeof(float)) : NULL;
    if (!memory) {
        attni_release(&context->allocator, mha);
        return NULL;
    }
    *mha = (attn_mha){.allocator = context->allocator, .memory = memory, .M = weights[ATTNI_W_OUT].out, .H = H, .G = G};
    mha->D = weights[ATTNI_W_Q].out / H;
    mha->E = weights[ATTNI_W_OUT].in / H;
    attni_linear *const linears[4] = {&mha->q, &mha->k, &mha->v, &mha->out};
    float *next = memory;
    for (size_t i = 0; i < 4; i++) {
        *linears[i] = pack(context, &weights[i], next);
        next += panel_floats(&weights[i]) + bias_floats(&weights[i]);
    }
    return mha;
}

void attni_mha_delete(attn_mha *mha) {
    const attn_allocator allocator = mha->allocator;
    attni_release(&allocator, mha->memory);
    attni_release(&allocator, mha);
}
