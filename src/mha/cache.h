/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ATTNI_CACHE_H
#define ATTNI_CACHE_H

#include "attn/cache.h"
#include "context/context.h"
#include "context/sizes.h"
#include "sdpa/sdpa.h"

/* Heads of keys and values, and their widths. */
typedef struct attni_kept {
    size_t G, D, E;
} attni_kept;

struct attn_cache_pool {
    attn_allocator allocator;
    size_t G, D, E;
    attni_page_form form;
    size_t pages, free;
    char *memory;
    uint32_t *users; /* [pages]: how many sequences a page belongs to */
    uint32_t *stack; /* [pages]: its first `free` elements are the free pages */
};

struct attn_cache {
    attn_allocator allocator;
    attn_cache_pool *pool, *own; /* `own` is the pool, where it is the cache's */
    size_t B, capacity, window, first_tokens;
    int64_t *lengths;  /* [B] */
    size_t *forgotten; /* [B]: tokens below, but for the first pages, have no pages any more; a multiple of the page
                        * size, beyond the first pages or 0 */
    uint32_t *table;   /* [B, pages.slots] */
    attni_pages pages; /* as the engine sees it */
    float *key_scales; /* [G, D], or NULL */
};

/* Tokens of the pages that hold first tokens, which are never forgotten. */
static inline size_t attni_first_pages(const attn_cache *cache) {
    const size_t P = cache->pages.form->tokens;
    return attni_ceil_div(cache->first_tokens, P) * P;
}

/* pool.c. The form of pages for a context's backend. NULL: no memory. The sizes are checked. */
attni_page_form attni_page_form_for(const attn_context *context, const attn_cache_pool_params *params);
attn_cache_pool *attni_pool_new(const attn_context *context, const attn_cache_pool_params *params);
void attni_pool_delete(attn_cache_pool *pool);
/* One more page, of which there must be one; one user less of a page, which may free it. */
uint32_t attni_pool_take(attn_cache_pool *pool);
void attni_pool_give(attn_cache_pool *pool, uint32_t page);

/* cache.c. NULL: no memory. */
attn_cache *attni_cache_new(const attn_context *context, const attn_cache_params *params, attn_cache_pool *pool);
void attni_cache_delete(attn_cache *cache);
void attni_cache_truncate(attn_cache *cache, size_t sequence, size_t length);
void attni_cache_fork(attn_cache *cache, size_t from, size_t to);
/* Sequence b becomes what from[b] was; with so many bytes of scratch. */
size_t attni_cache_reorder_scratch(const attn_cache *cache);
void attni_cache_reorder(attn_cache *cache, const int64_t *from, void *scratch);

/* Appending counts[b] tokens (NULL: all) to each sequence, of T tokens each, or of those from starts[b] to starts[b+1]
 * of T in all: how many pages that takes, less those that it frees; then the pages, and the tokens into them (store.c),
 * with so much scratch. */
typedef struct attni_append {
    attn_cache *cache;
    size_t T;
    const int64_t *starts, *counts;
    attni_view k, v;          /* stride_b = 0 with starts */
    const attni_turn *turn;   /* of the keys; positions go on from the length of the sequence; or NULL */
    const attni_turn *v_turn; /* of the values; or NULL */
} attni_append;
ptrdiff_t attni_append_pages(const attni_append *append);
size_t attni_append_scratch(const attn_context *context, const attni_append *append);
/* Fails, with nothing changed, only where the cache's int8 cannot hold what would be stored. */
attn_status attni_append_run(attn_context *context, const attni_append *append, void *scratch);

/* The first token of sequence b, and how many it has at most and gets. */
static inline size_t attni_append_first(const attni_append *a, size_t b) {
    return a->starts ? (size_t)a->starts[b] : 0;
}
static inline size_t attni_append_most(const attni_append *a, size_t b) {
    return a->starts ? (size_t)(a->starts[b + 1] - a->starts[b]) : a->T;
}
static inline size_t attni_append_count(const attni_append *a, size_t b) {
    return a->counts ? (size_t)a->counts[b] : attni_append_most(a, b);
}

/* Forgets tokens [begin, begin + count) of a sequence, whole pages, and rotates the keys behind by −count places. */
typedef struct attni_shift {
    attn_cache *cache;
    size_t sequence, begin, count;
    const attni_turn *turn; /* its tables; or NULL */
} attni_shift;
/* What the sequence's `forgotten` becomes. */
size_t attni_shift_forgotten(const attni_shift *shift);
/* How many more pages that takes than it frees; and its scratch. */
ptrdiff_t attni_shift_pages(const attni_shift *shift);
size_t attni_shift_scratch(const attn_context *context, const attni_shift *shift);
void attni_shift_run(attn_context *context, const attni_shift *shift, void *scratch);

/* store.c: rotates the keys from token `begin` on, once they are in their places. */
void attni_store_shifted(attn_context *context, const attni_shift *shift, void *scratch);

/* store.c: whether the type of the pages can hold the tokens; and writes them. The lengths are still those before. */
attn_status attni_store_check(attn_context *context, const attni_append *append, void *scratch);
void attni_store(attn_context *context, const attni_append *append, void *scratch);

#endif
