/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdint.h>
#include <string.h>

#include "context/context.h"

/* Behind a piece of memory stands where it really begins, which is what the caller's allocator wants back. */
void *attni_allocate(const attn_allocator *allocator, size_t bytes) {
    const size_t margin = sizeof(void *) + ATTNI_LINE;
    char *start = bytes < SIZE_MAX - margin ? allocator->allocate(allocator->data, bytes + margin) : NULL;
    if (!start)
        return NULL;
    char *piece = start + margin - (uintptr_t)(start + margin) % ATTNI_LINE;
    memcpy(piece - sizeof start, &start, sizeof start);
    return piece;
}

void attni_release(const attn_allocator *allocator, void *piece) {
    char *start;
    if (!piece)
        return;
    memcpy(&start, (char *)piece - sizeof start, sizeof start);
    allocator->release(allocator->data, start);
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
