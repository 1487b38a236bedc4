/* SPDX-License-Identifier: BSD-3-Clause */
/* The parts of a block. */
#include "block/block.h"
#include "context/sizes.h"

attn_block *attni_block_new(const attn_context *context) {
    attn_block *block = attni_allocate(&context->allocator, sizeof *block);
    if (block)
        *block = (attn_block){.allocator = context->allocator};
    return block;
}

static void delete_linear(attn_linear *linear) {
    if (linear)
        attni_linear_delete(linear);
}

static void delete_mha(attn_mha *mha) {
    if (mha)
        attni_mha_delete(mha);
}

void attni_block_delete(attn_block *block) {
    const attn_allocator allocator = block->allocator;
    delete_mha(block->self);
    delete_mha(block->cross);
    delete_linear(block->feed.up);
    delete_linear(block->feed.gate);
    delete_linear(block->feed.down);
    attni_release(&allocator, block->feed.norm.memory);
    for (size_t i = 0; i < ATTNI_SUBLAYERS; i++) {
        attni_release(&allocator, block->rims[i].norm.memory);
        attni_release(&allocator, block->rims[i].output.memory);
        attni_release(&allocator, block->rims[i].scale);
    }
    attni_release(&allocator, block);
}

bool attni_own_norm(const attn_allocator *allocator, const attni_norm *norm, size_t M, attni_owned_norm *owned) {
    const size_t each = attni_round_up(M, 16), floats = (norm->weight ? each : 0) + (norm->bias ? each : 0);
    float *memory = attni_allocate(allocator, floats * sizeof *memory), *next = memory;
    if (!memory)
        return false;
    *owned = (attni_owned_norm){true, attni_keep_norm(norm, M, &next), memory};
    return true;
}

bool attni_own_scale(const attn_allocator *allocator, const float *scale, size_t M, float **owned) {
    float *memory = attni_allocate(allocator, attni_round_up(M, 16) * sizeof *memory), *next = memory;
    *owned = memory ? attni_keep(scale, M, &next) : NULL;
    return memory;
}
