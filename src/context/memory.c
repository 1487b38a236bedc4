/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdint.h>

#include "context/context.h"

void *attni_allocate(const attn_allocator *allocator, size_t bytes) {
    return allocator->allocate(allocator->data, bytes);
}

void attni_release(const attn_allocator *allocator, void *pointer) {
    if (pointer)
        allocator->release(allocator->data, pointer);
}

float *attni_align(void *p) {
    return (float *)(((uintptr_t)p + ATTNI_LINE - 1) / ATTNI_LINE * ATTNI_LINE);
}

attn_status attni_scratch_reserve(attn_context *context, size_t bytes) {
    if (bytes <= context->scratch_bytes)
        return ATTN_OK;
    void *larger = attni_allocate(&context->allocator, bytes);
    if (!larger)
        return attni_fail(context, ATTN_ERROR_MEMORY, "scratch: %zu bytes could not be allocated", bytes);
    attni_release(&context->allocator, context->scratch);
    context->scratch = larger;
    context->scratch_bytes = bytes;
    return ATTN_OK;
}
