/* SPDX-License-Identifier: BSD-3-Clause */
/* The four linear maps of a layer, in one piece of memory. */
#include "mha/mha.h"

attn_mha *attni_mha_new(const attn_context *context, size_t H, size_t G, const attni_weight weights[4]) {
    size_t floats = 0;
    for (size_t i = 0; i < 4; i++)
        floats += attni_linear_floats(&weights[i]);
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
        *linears[i] = attni_linear_pack(context, &weights[i], next);
        next += attni_linear_floats(&weights[i]);
    }
    return mha;
}

void attni_mha_delete(attn_mha *mha) {
    const attn_allocator allocator = mha->allocator;
    attni_release(&allocator, mha->memory);
    attni_release(&allocator, mha);
}
