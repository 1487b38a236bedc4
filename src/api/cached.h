/* SPDX-License-Identifier: BSD-3-Clause */
/* Checks of what appends to a cache and attends to it. */
#ifndef ATTNI_CACHED_H
#define ATTNI_CACHED_H

#include "api/check.h"
#include "mha/cache.h"

/* Counts of so many sequences, which have T tokens each, or those of `starts`; NULL is allowed for both. */
attn_status attni_check_counts(attn_context *context, const char *name, const int64_t *counts, const int64_t *starts,
                               size_t sequences, size_t T);

/* Whether there is room for what is appended. */
attn_status attni_check_room(attn_context *context, const attni_append *append);

/* Keys of sequence b stand behind those that are there, if they have no positions of their own. */
attn_status attni_check_key_positions(attn_context *context, const attni_append *append, const attni_turn *turn,
                                      size_t b);

/* All but the views of a call that appends as the params tell, a copy from attni_check_params: the starts and counts,
 * which are in `append` already, the room, and what is done to keys and values of these heads, which is put into it,
 * too. */
attn_status attni_check_append_params(attn_context *context, const attn_cache_append_params *p, const attni_kept *heads,
                                      attni_append *append, attni_turn turns[2]);

/* The options of a call that attends to a cache once that which is appended, or NULL, is in it, and what the cache
 * says: Tk, pages, lengths, window. B, H … E of the call are set. */
attn_status attni_check_cached(attn_context *context, const attn_cache *cache, const attni_append *append,
                               const attn_sdpa_params *p, bool data, attni_sdpa *call, attni_extras *extras);

/* As if the cache were full, to ask for scratch. */
void attni_fill_cached(const attn_cache *cache, attni_sdpa *call);

#endif
