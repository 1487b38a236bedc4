/* SPDX-License-Identifier: BSD-3-Clause */
/* A cache as its header tells of it, kept beside a real one: the tokens as plain rows, and who has which page. */
#ifndef ATTN_TESTS_CACHE_MODEL_H
#define ATTN_TESTS_CACHE_MODEL_H

#include "support/sdpa_case.h"

enum { MODEL_PAGES = 256, MODEL_BATCH = 4, MODEL_SLOTS = 64, NO_PAGE = -1 };

/* How many sequences have each page. */
struct model_pool {
    attn_cache_pool *real;
    attn_dtype dtype;
    size_t pages, page_size, G, D, E;
    bool latent; /* values are the first E elements of keys */
    unsigned users[MODEL_PAGES];
};

struct model_sequence {
    size_t length, forgotten; /* tokens below `forgotten`, but for the first, may have no pages any more */
    int pages[MODEL_SLOTS];
    float *k, *v; /* [capacity, G, D] and [capacity, G, E] */
};

struct model_cache {
    attn_cache *real;
    struct model_pool *pool;
    size_t B, capacity, window, first_tokens;
    const float *key_scales; /* [G, D], powers of two, or NULL */
    struct model_sequence of[MODEL_BATCH];
};

struct model_pool new_model_pool(attn_context *context, size_t pages, size_t page_size, attn_dtype dtype, size_t G,
                                 size_t D, size_t E);
struct model_pool new_latent_model_pool(attn_context *context, size_t pages, size_t page_size, attn_dtype dtype,
                                        size_t G, size_t D, size_t E);
struct model_cache new_model_cache(attn_context *context, struct model_pool *pool, size_t B, size_t capacity,
                                   size_t window, size_t first_tokens);
struct model_cache new_scaled_model_cache(attn_context *context, struct model_pool *pool, size_t B, size_t capacity,
                                          size_t window, size_t first_tokens, const float *key_scales);
void delete_model_cache(struct model_cache *c);

/* Tokens that the pool's type holds without rounding: [B,heads,T,width] of f32 or, sometimes, of that type. */
attn_tensor new_storable(attn_dtype stored, enum layout layout, size_t B, size_t heads, size_t T, size_t width);

/* What is appended: k and v as they are given; k as it is kept, where that is normed and rotated, and otherwise without
 * data. On a context without memory nothing may happen. */
struct model_tokens {
    attn_tensor k, v, kept;
    attn_cache_append_params params;
    bool starved;
};

/* Each does the same to both and checks that both say the same, of the free pages too. */
attn_status model_append(attn_context *context, struct model_cache *c, attn_tensor k, attn_tensor v,
                         const int64_t *counts);
attn_status model_append_as(attn_context *context, struct model_cache *c, const struct model_tokens *tokens);
attn_status model_truncate(attn_context *context, struct model_cache *c, size_t sequence, size_t length);
void model_fork(attn_context *context, struct model_cache *c, size_t from, size_t to);
void model_reorder(attn_context *context, struct model_cache *c, const int64_t *from);
/* Without rotary embedding. */
attn_status model_shift(attn_context *context, struct model_cache *c, size_t sequence, size_t begin, size_t count);
void model_reset(attn_context *context, struct model_cache *c);
void check_model(attn_context *context, const struct model_cache *c);

size_t model_longest(const struct model_cache *c);
/* The most last query tokens whose windows are all there, up to `most`. */
size_t model_queries(const struct model_cache *c, size_t most);

/* Its tokens as tensors [B,G,longest,D or E], NaN beyond a sequence's length, and the lengths. */
attn_tensor model_tokens(const struct model_cache *c, bool values);
const int64_t *model_lengths(const struct model_cache *c);

/* The last tokens of each, as attn_sdpa is asked about them: q is N(0,1), the lengths are key_lengths, a rolling
 * window is the mask. */
struct sdpa_case model_case(const struct model_cache *c, size_t H, size_t Tq);

/* The same of so many last tokens of each: a ragged batch, with something between the sequences. */
struct sdpa_case model_ragged_case(const struct model_cache *c, size_t H, const size_t *queries);

/* What attn_cache_attend makes of it, without what the cache knows itself: its key_lengths if they are its own, its
 * key_starts, and the mask if that is its window. */
struct sdpa_result model_attend(attn_context *context, const struct model_cache *c, const struct sdpa_case *of);

#endif
