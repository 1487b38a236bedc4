/* SPDX-License-Identifier: BSD-3-Clause */
/* The four linear maps of a layer, in one piece of memory. */
#include "context/sizes.h"
#include "mha/mha.h"

attn_mha *attni_mha_new(const attn_context *context, const attn_mha_params *p, const attni_weight weights[4]) {
    const size_t key = p->kv_heads * p->head_width, value = p->kv_heads * p->value_width;
    size_t floats = attni_round_up(key, 16) + attni_round_up(value, 16);
    for (size_t i = 0; i < 4; i++)
        floats += attni_linear_floats(context, &weights[i]);
    attn_mha *mha = attni_allocate(&context->allocator, sizeof *mha);
    void *memory = mha ? attni_allocate(&context->allocator, floats * sizeof(float)) : NULL;
    if (!memory) {
        attni_release(&context->allocator, mha);
        return NULL;
    }
    *mha = (attn_mha){.allocator = context->allocator,
                      .memory = memory,
                      .M = p->model_width,
                      .H = p->heads,
                      .G = p->kv_heads,
                      .D = p->head_width,
                      .E = p->value_width,
                      .zero_key = p->zero_key != 0};
    attni_linear *const linears[4] = {&mha->q, &mha->k, &mha->v, &mha->out};
    float *next = memory;
    for (size_t i = 0; i < 4; i++) {
        *linears[i] = attni_linear_pack(context, &weights[i], next);
        next += attni_linear_floats(context, &weights[i]);
    }
    mha->extra_key = attni_keep(p->extra_key, key, &next);
    mha->extra_value = attni_keep(p->extra_value, value, &next);
    return mha;
}

void attni_mha_delete(attn_mha *mha) {
    const attn_allocator allocator = mha->allocator;
    attni_release(&allocator, mha->memory);
    attni_release(&allocator, mha);
}
