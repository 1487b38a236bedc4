/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ATTNI_CACHE_H
#define ATTNI_CACHE_H

#include "attn/cache.h"
#include "context/context.h"
#include "sdpa/sdpa.h"

struct attn_cache {
    attn_allocator allocator;
    size_t B, G, D, E;
    size_t length, capacity; /* as the caller sees it; that of the blocks is rounded up */
    attni_blocks blocks;
};

/* NULL: no memory. The sizes are checked. */
attn_cache *attni_cache_new(const attn_context *context, const attn_cache_params *params);
void attni_cache_delete(attn_cache *cache);

/* Appends T tokens, which fit. */
void attni_cache_append(attn_context *context, attn_cache *cache, size_t T, const attni_view *k, const attni_view *v);

#endif
