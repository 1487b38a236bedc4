/* SPDX-License-Identifier: BSD-3-Clause */
/* The key/value cache of a decoder: it keeps keys and values in the form that the engine computes on, so that a
 * decoding step packs nothing and reads memory as one stream. */
#ifndef ATTN_CACHE_H
#define ATTN_CACHE_H

#include <stddef.h>

#include "context.h"
#include "export.h"
#include "sdpa.h"
#include "status.h"
#include "tensor.h"

/* Keys and values of B sequences of the same length, f32. One thread at a time may append or truncate, and no other may
 * attend meanwhile; any number of threads, with a context each, may attend at the same time. */
typedef struct attn_cache attn_cache;

typedef struct attn_cache_params {
    size_t struct_size;
    size_t batch;       /* B. Required. */
    size_t kv_heads;    /* G. Required. */
    size_t head_width;  /* D. Required. */
    size_t value_width; /* E. 0: D. */
    size_t capacity;    /* tokens that each sequence can hold. Required. */
} attn_cache_params;

#ifdef __cplusplus
extern "C" {
#endif

/* Makes an empty cache, with all its memory, about 4·B·G·capacity·(D+E) bytes, from the allocator of `context` (which
 * must outlive the cache). On success *cache is the caller's, to be given to attn_cache_destroy; it may be used with
 * any context, fastest with those of the same backend. On failure *cache is NULL (if `cache` is not). Errors: NULL,
 * SHAPE, STRUCT, OVERFLOW, MEMORY. */
ATTN_API attn_status attn_cache_create(attn_context *context, const attn_cache_params *params, attn_cache **cache);

/* Frees a cache. NULL is allowed. No call may be using it. */
ATTN_API void attn_cache_destroy(attn_cache *cache);

/* Tokens that each sequence holds now. `cache` must not be NULL. */
ATTN_API size_t attn_cache_length(const attn_cache *cache);

/* Appends T tokens to each sequence: O(T), nothing is moved.
 *   k  [B,G,T,D]
 *   v  [B,G,T,E]
 * Errors: NULL, SHAPE (also: the capacity is too small), STRIDE, DTYPE, OVERFLOW; nothing is changed then. */
ATTN_API attn_status attn_cache_append(attn_context *context, attn_cache *cache, const attn_tensor *k,
                                       const attn_tensor *v);

/* Forgets the tokens from `length` on; 0 empties the cache. Errors: NULL, SHAPE (longer than it is). */
ATTN_API attn_status attn_cache_truncate(attn_context *context, attn_cache *cache, size_t length);

/* attn_sdpa of the queries over all tokens of the cache, Tk = attn_cache_length(cache). ATTN_CAUSAL_BOTTOM_RIGHT is the
 * mask of a decoder whose last Tq tokens were appended before.
 *   q    [B,H,Tq,D], H mod G = 0
 *   out  [B,H,Tq,E], output
 *   params  NULL: all defaults
 * Everything else, errors too, is as in attn_sdpa. How the tokens were appended changes no bit. */
ATTN_API attn_status attn_cache_attend(attn_context *context, const attn_cache *cache, const attn_tensor *q,
                                       const attn_tensor *out, const attn_sdpa_params *params);

/* Sets *bytes to the scratch that attn_cache_attend with the same arguments needs while the cache holds up to its
 * capacity. The data pointers may be NULL, and so may causal_offset. Errors as attn_cache_attend, but for those that
 * only the data show. */
ATTN_API attn_status attn_cache_scratch_size(attn_context *context, const attn_cache *cache, const attn_tensor *q,
                                             const attn_tensor *out, const attn_sdpa_params *params, size_t *bytes);

#ifdef __cplusplus
}
#endif

#endif
