/* SPDX-License-Identifier: BSD-3-Clause */
/* Attention to a cache. */
#include "api/cached.h"
#include "context/sizes.h"
#include "mha/cache.h"

static attn_status check_shapes(attn_context *context, const attn_cache *cache, const attn_tensor *q,
                                const attn_tensor *out, bool ragged, bool data) {
    const attn_cache_pool *pool = cache->pool;
    ATTNI_TRY(attni_check_typed(context, "q", q, ATTNI_FLOATS, false, data));
    ATTNI_TRY(attni_check_typed(context, "out", out, ATTNI_FLOATS, true, data));
    ATTNI_TRY(attni_check_size(context, "q", q, 0, ragged ? "1" : "B", ragged ? 1 : cache->B));
    ATTNI_TRY(attni_check_size(context, "q", q, 3, "D", pool->D));
    ATTNI_TRY(attni_check_size(context, "out", out, 0, "B", q->size[0]));
    ATTNI_TRY(attni_check_size(context, "out", out, 1, "H", q->size[1]));
    ATTNI_TRY(attni_check_size(context, "out", out, 2, "Tq", q->size[2]));
    ATTNI_TRY(attni_check_size(context, "out", out, 3, "E", pool->E));
    if (q->size[1] % pool->G == 0)
        return ATTN_OK;
    return attni_fail(context, ATTN_ERROR_SHAPE, "q.size[1] is H = %zu, which the cache's kv_heads, %zu, do not divide",
                      q->size[1], pool->G);
}

/* Tokens of a sequence once what is appended, or NULL, is in the cache. */
static size_t length_then(const attn_cache *cache, const attni_append *a, size_t b) {
    return (size_t)cache->lengths[b] + (a ? attni_append_count(a, b) : 0);
}

/* Those of the longest, and whether all have as many. */
static size_t longest_then(const attn_cache *cache, const attni_append *a, bool *even) {
    size_t longest = length_then(cache, a, 0);
    *even = true;
    for (size_t b = 1; b < cache->B; b++) {
        const size_t length = length_then(cache, a, b);
        *even = *even && length == longest;
        longest = attni_max(longest, length);
    }
    return longest;
}

/* Which sequences: the cache's, whose lengths may only be made shorter. */
static attn_status check_sequences(attn_context *context, const attn_cache *cache, const attni_append *a,
                                   const attn_sdpa_params *p, attni_sdpa *call) {
    ATTNI_TRY(attni_check_sequences(context, p, call));
    if (call->B != cache->B)
        return attni_fail(context, ATTN_ERROR_SHAPE, "params.sequences is %zu, but the cache has %zu", call->B,
                          cache->B);
    for (size_t b = 0; p->key_lengths && b < cache->B; b++)
        if (p->key_lengths[b] > (int64_t)length_then(cache, a, b))
            return attni_fail(context, ATTN_ERROR_VALUE, "params.key_lengths[%zu] is %lld, but the sequence has %zu", b,
                              (long long)p->key_lengths[b], length_then(cache, a, b));
    return ATTN_OK;
}

/* A rolling cache's window is the call's. */
static attn_status set_window(attn_context *context, const attn_cache *cache, const attn_sdpa_params *p,
                              attni_sdpa *call) {
    if (!cache->window)
        return ATTN_OK;
    if (p->window)
        return attni_fail(context, ATTN_ERROR_VALUE, "params.window is set, but the cache rolls by its own window, %zu",
                          cache->window);
    if (p->first_keys)
        return attni_fail(context, ATTN_ERROR_VALUE,
                          "params.first_keys is set, but the cache keeps its own first tokens, %zu",
                          cache->first_tokens);
    call->left = (ptrdiff_t)cache->window - 1;
    call->first_keys = cache->first_tokens;
    call->forgotten = cache->forgotten;
    return ATTN_OK;
}

/* Queries stand behind all that is in the cache then; keys behind what is in it before. */
static attn_status check_turns(attn_context *context, const attn_cache *cache, const attni_append *a,
                               const attn_sdpa_params *p, bool data, attni_sdpa *call, attni_extras *extras) {
    ATTNI_TRY(attni_check_turns(context, p, a ? a->T : 0, data, call, extras));
    if (call->k_turn.positions && !a)
        return attni_fail(context, ATTN_ERROR_VALUE,
                          "params.rotary.key_positions is set, but keys of a cache are as they were appended");
    for (size_t b = 0; b < cache->B && data; b++) {
        attni_sdpa one = attni_sequence_of(call, b);
        one.Tk = p->key_lengths ? (size_t)p->key_lengths[b] : length_then(cache, a, b);
        ATTNI_TRY(attni_check_positions(context, "params.rotary.query_positions", &one.q_turn, b, one.Tq,
                                        attni_first_position(&one, b)));
        ATTNI_TRY(attni_check_tree_fits(context, &one, b));
        ATTNI_TRY(a ? attni_check_key_positions(context, a, &call->k_turn, b) : ATTN_OK);
    }
    return ATTN_OK;
}

attn_status attni_check_cached(attn_context *context, const attn_cache *cache, const attni_append *a,
                               const attn_sdpa_params *p, bool data, attni_sdpa *call, attni_extras *extras) {
    bool even;
    call->pages = &cache->pages;
    call->Tk = longest_then(cache, a, &even);
    ATTNI_TRY(check_sequences(context, cache, a, p, call));
    ATTNI_TRY(attni_check_attention(context, p, data, call, extras));
    ATTNI_TRY(check_turns(context, cache, a, p, data, call, extras));
    ATTNI_TRY(set_window(context, cache, p, call));
    call->q_turn.channels = cache->key_scales;
    call->q_turn.sharers = call->H / call->G;
    if (!p->key_lengths && !even)
        call->key_lengths = cache->lengths;
    return ATTN_OK;
}

void attni_fill_cached(const attn_cache *cache, attni_sdpa *call) {
    call->Tk = cache->capacity;
    call->key_lengths = cache->lengths; /* as if they differed, which takes more */
}

static attn_status check(attn_context *context, const attn_cache *cache, const attn_tensor *q, const attn_tensor *out,
                         const attn_sdpa_params *params, bool data, attni_sdpa *call) {
    attni_extras extras;
    attn_sdpa_params p;
    ATTNI_TRY(attni_check_pointer(context, "cache", cache));
    ATTNI_TRY(attni_check_params(context, "params", params, sizeof p, &p));
    ATTNI_TRY(check_shapes(context, cache, q, out, p.query_starts != NULL, data));
    *call = (attni_sdpa){.B = q->size[0],
                         .H = q->size[1],
                         .G = cache->pool->G,
                         .Tq = q->size[2],
                         .D = cache->pool->D,
                         .E = cache->pool->E,
                         .q = attni_view_of(q),
                         .out = attni_view_of(out)};
    ATTNI_TRY(attni_check_cached(context, cache, NULL, &p, data, call, &extras));
    if (!data)
        return ATTN_OK;
    return attni_check_outputs(context, &extras, out, 1, (const char *const[]){"q"}, (const attn_tensor *const[]){q});
}

attn_status attn_cache_attend(attn_context *context, const attn_cache *cache, const attn_tensor *q,
                              const attn_tensor *out, const attn_sdpa_params *params) {
    attni_sdpa call;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(check(context, cache, q, out, params, true, &call));
    ATTNI_TRY(attni_scratch_reserve(context, attni_sdpa_scratch(context, &call)));
    attni_sdpa_run(context, &call, context->scratch);
    return ATTN_OK;
}

attn_status attn_cache_scratch_size(attn_context *context, const attn_cache *cache, const attn_tensor *q,
                                    const attn_tensor *out, const attn_sdpa_params *params, size_t *bytes) {
    attni_sdpa call;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_pointer(context, "bytes", bytes));
    ATTNI_TRY(check(context, cache, q, out, params, false, &call));
    attni_fill_cached(cache, &call);
    *bytes = attni_sdpa_scratch(context, &call);
    return ATTN_OK;
}
