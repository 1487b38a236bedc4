/* SPDX-License-Identifier: BSD-3-Clause */
/* Checks of what appends to a cache and attends to it. */
#ifndef ATTNI_CACHED_H
#define ATTNI_CACHED_H

#include "api/check.h"
#include "mha/cache.h"

/* The counts, and whether there is room. */
attn_status attni_check_append(attn_context *context, const attni_append *append);

/* The params of a call that appends, whose `cache` and T are set: puts the counts, and what `turn` then tells of, into
 * `append`, and checks it. */
attn_status attni_check_append_params(attn_context *context, const attn_cache_append_params *params,
                                      attni_append *append, attni_turn *turn);

/* The options of a call that attends to a cache once `appended` more tokens of each sequence are in it, and what the
 * cache says: Tk, pages, lengths, window. B, H … E of the call are set. */
attn_status attni_check_cached(attn_context *context, const attn_cache *cache, size_t appended,
                               const attn_sdpa_params *p, bool data, attni_sdpa *call, attni_extras *extras);

/* As if the cache were full, to ask for scratch. */
void attni_fill_cached(const attn_cache *cache, attni_sdpa *call);

#endif
