/* SPDX-License-Identifier: BSD-3-Clause */
/* What changes the tokens of a cache: appending, cutting off, forks and shifts. */
#include "api/cached.h"
#include "api/parts.h"
#include "context/sizes.h"
#include "mha/cache.h"

static attn_status check_appended(attn_context *context, const attni_append *a, const char *name, const attn_tensor *t,
                                  const char *letter, size_t width) {
    ATTNI_TRY(attni_check_typed(context, name, t, ATTNI_FLOATS, false, true));
    ATTNI_TRY(attni_check_size(context, name, t, 0, a->starts ? "1" : "B", a->starts ? 1 : a->cache->B));
    ATTNI_TRY(attni_check_size(context, name, t, 1, "G", a->cache->pool->G));
    return attni_check_size(context, name, t, 3, letter, width);
}

attn_status attni_check_counts(attn_context *context, const char *name, const int64_t *counts, const int64_t *starts,
                               size_t sequences, size_t T) {
    const attni_append a = {.T = T, .starts = starts};
    for (size_t b = 0; counts && b < sequences; b++)
        if (counts[b] < 0 || (uint64_t)counts[b] > attni_append_most(&a, b))
            return attni_fail(context, ATTN_ERROR_VALUE, "%s[%zu] is %lld, expected 0 to the sequence's %zu", name, b,
                              (long long)counts[b], attni_append_most(&a, b));
    return ATTN_OK;
}

static attn_status check_capacity(attn_context *context, const attni_append *a) {
    const attn_cache *cache = a->cache;
    for (size_t b = 0; b < cache->B; b++) {
        const size_t count = attni_append_count(a, b), length = (size_t)cache->lengths[b];
        if (count > cache->capacity - length)
            return attni_fail(context, ATTN_ERROR_FULL,
                              "%zu tokens for sequence %zu, but it has %zu, and the cache's capacity is %zu", count, b,
                              length, cache->capacity);
    }
    return ATTN_OK;
}

static attn_status check_pages(attn_context *context, const attni_append *a) {
    const ptrdiff_t needed = attni_append_pages(a);
    if (needed <= (ptrdiff_t)a->cache->pool->free)
        return ATTN_OK;
    return attni_fail(context, ATTN_ERROR_FULL, "%td more pages needed, but the pool has %zu free of its %zu", needed,
                      a->cache->pool->free, a->cache->pool->pages);
}

attn_status attni_check_room(attn_context *context, const attni_append *a) {
    ATTNI_TRY(check_capacity(context, a));
    return check_pages(context, a);
}

attn_status attni_check_key_positions(attn_context *context, const attni_append *a, const attni_turn *turn, size_t b) {
    attni_turn of = *turn;
    of.positions = of.positions ? of.positions + attni_append_first(a, b) : NULL;
    return attni_check_positions(context, "params.rotary.key_positions", &of, b, attni_append_count(a, b),
                                 (ptrdiff_t)a->cache->lengths[b]);
}

static attn_status check_append_turn(attn_context *context, const attn_cache_append_params *p, const attni_kept *heads,
                                     const attni_append *a, attni_turn turns[2]) {
    const attn_cache *cache = a->cache;
    const size_t G = heads->G;
    const attn_sdpa_params options = {.qk_norm = p->qk_norm, .rotary = p->rotary};
    attni_sdpa call = {.B = cache->B, .H = G, .G = G, .D = heads->D, .E = heads->E, .query_starts = a->starts};
    attni_extras extras = {0};
    ATTNI_TRY(attni_check_turns(context, &options, a->T, true, &call, &extras));
    turns[0] = call.k_turn;
    turns[1] = call.v_turn;
    if (attni_turns(&turns[1]) && cache->pages.form->latent)
        return attni_fail(context, ATTN_ERROR_VALUE,
                          "params.%s is set, but values are in the keys of this cache, as these are kept",
                          call.v_turn.pairs ? "rotary.rotate_values" : "qk_norm.norm_values");
    for (size_t b = 0; b < cache->B; b++)
        ATTNI_TRY(attni_check_key_positions(context, a, &turns[0], b));
    return ATTN_OK;
}

attn_status attni_check_append_params(attn_context *context, const attn_cache_append_params *p, const attni_kept *heads,
                                      attni_append *a, attni_turn turns[2]) {
    const size_t B = a->cache->B;
    size_t longest;
    if (a->starts)
        ATTNI_TRY(attni_check_starts(context, "params.starts", a->starts, B, a->T, &longest));
    ATTNI_TRY(attni_check_counts(context, "params.counts", a->counts, a->starts, B, a->T));
    ATTNI_TRY(attni_within(context, "cache", attni_check_room(context, a)));
    ATTNI_TRY(check_append_turn(context, p, heads, a, turns));
    a->turn = attni_turns(&turns[0]) ? &turns[0] : NULL;
    a->v_turn = attni_turns(&turns[1]) ? &turns[1] : NULL;
    return ATTN_OK;
}

static attn_status check_values(attn_context *context, const attni_append *a, const attn_tensor *v, size_t T) {
    if (!a->cache->pages.form->latent) {
        ATTNI_TRY(check_appended(context, a, "v", v, "E", a->cache->pool->E));
        return attni_check_size(context, "v", v, 2, "T", T);
    }
    return v ? attni_fail(context, ATTN_ERROR_VALUE, "v is set, but values are in the keys of this cache") : ATTN_OK;
}

static attni_view appended_view(const attni_append *a, const attn_tensor *t) {
    attni_view view = attni_view_of(t);
    view.stride_b = a->starts ? 0 : view.stride_b;
    return view;
}

attn_status attn_cache_append(attn_context *context, attn_cache *cache, const attn_tensor *k, const attn_tensor *v,
                              const attn_cache_append_params *params) {
    attn_cache_append_params p;
    attni_turn turns[2];
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_pointer(context, "cache", cache));
    ATTNI_TRY(attni_check_params(context, "params", params, sizeof p, &p));
    attni_append a = {.cache = cache, .starts = p.starts, .counts = p.counts};
    ATTNI_TRY(check_appended(context, &a, "k", k, "D", cache->pool->D));
    ATTNI_TRY(check_values(context, &a, v, k->size[2]));
    a.T = k->size[2];
    a.k = appended_view(&a, k);
    a.v = v ? appended_view(&a, v) : a.k;
    ATTNI_TRY(attni_check_append_params(context, &p, &(attni_kept){cache->pool->G, cache->pool->D, cache->pool->E}, &a,
                                        turns));
    ATTNI_TRY(attni_scratch_reserve(context, attni_append_scratch(context, &a)));
    return attni_append_run(context, &a, context->scratch);
}

static attn_status check_sequence(attn_context *context, const attn_cache *cache, const char *name, size_t sequence) {
    ATTNI_TRY(attni_check_pointer(context, "cache", cache));
    if (sequence < cache->B)
        return ATTN_OK;
    return attni_fail(context, ATTN_ERROR_SHAPE, "%s is %zu, but the cache has %zu sequences", name, sequence,
                      cache->B);
}

/* Whether a sequence of `length` tokens has all that the next one will see. */
static bool has_window(const attn_cache *cache, size_t forgotten, size_t length) {
    return forgotten == 0 || length <= attni_first_pages(cache) || length + 1 >= forgotten + cache->window;
}

attn_status attn_cache_truncate(attn_context *context, attn_cache *cache, size_t sequence, size_t length) {
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(check_sequence(context, cache, "sequence", sequence));
    const size_t now = (size_t)cache->lengths[sequence], forgotten = cache->forgotten[sequence];
    if (length > now)
        return attni_fail(context, ATTN_ERROR_SHAPE, "length is %zu, but sequence %zu has %zu tokens", length, sequence,
                          now);
    if (!has_window(cache, forgotten, length))
        return attni_fail(
            context, ATTN_ERROR_SHAPE,
            "length is %zu, but tokens before %zu have been forgotten: expected 0 to %zu, or %zu and more", length,
            forgotten, attni_first_pages(cache), forgotten + cache->window - 1);
    attni_cache_truncate(cache, sequence, length);
    return ATTN_OK;
}

attn_status attn_cache_reset(attn_context *context, attn_cache *cache) {
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_pointer(context, "cache", cache));
    for (size_t b = 0; b < cache->B; b++)
        attni_cache_truncate(cache, b, 0);
    return ATTN_OK;
}

attn_status attn_cache_fork(attn_context *context, attn_cache *cache, size_t from, size_t to) {
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(check_sequence(context, cache, "from", from));
    ATTNI_TRY(check_sequence(context, cache, "to", to));
    attni_cache_fork(cache, from, to);
    return ATTN_OK;
}

attn_status attn_cache_reorder(attn_context *context, attn_cache *cache, const int64_t *from) {
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_pointer(context, "cache", cache));
    ATTNI_TRY(attni_check_pointer(context, "from", from));
    for (size_t b = 0; b < cache->B; b++)
        if (from[b] < 0 || (uint64_t)from[b] >= cache->B)
            return attni_fail(context, ATTN_ERROR_VALUE, "from[%zu] is %lld, but the cache has %zu sequences", b,
                              (long long)from[b], cache->B);
    ATTNI_TRY(attni_scratch_reserve(context, attni_cache_reorder_scratch(cache)));
    attni_cache_reorder(cache, from, context->scratch);
    return ATTN_OK;
}

static attn_status check_pages_of(attn_context *context, const char *name, size_t tokens, size_t P) {
    return tokens % P == 0 ? ATTN_OK
                           : attni_fail(context, ATTN_ERROR_SHAPE,
                                        "%s is %zu, expected a multiple of the page size, %zu", name, tokens, P);
}

static attn_status check_shifted(attn_context *context, const attni_shift *s) {
    const attn_cache *cache = s->cache;
    const size_t P = cache->pages.form->tokens, first = attni_first_pages(cache);
    const size_t length = (size_t)cache->lengths[s->sequence];
    ATTNI_TRY(check_pages_of(context, "begin", s->begin, P));
    ATTNI_TRY(check_pages_of(context, "count", s->count, P));
    if (s->begin < first)
        return attni_fail(context, ATTN_ERROR_SHAPE, "begin is %zu, but pages up to %zu hold the first %zu tokens",
                          s->begin, first, cache->first_tokens);
    if (s->begin > length || s->count > length - s->begin)
        return attni_fail(context, ATTN_ERROR_SHAPE, "begin and count are %zu and %zu, but sequence %zu has %zu tokens",
                          s->begin, s->count, s->sequence, length);
    if (!has_window(cache, attni_shift_forgotten(s), length - s->count))
        return attni_fail(context, ATTN_ERROR_SHAPE,
                          "begin and count are %zu and %zu, but tokens before %zu have been forgotten: what is left of "
                          "those behind is less than the window, %zu",
                          s->begin, s->count, cache->forgotten[s->sequence], cache->window);
    return ATTN_OK;
}

attn_status attn_cache_shift(attn_context *context, attn_cache *cache, size_t sequence, size_t begin, size_t count,
                             const attn_rotary *rotary) {
    attni_turn turn = {0};
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(check_sequence(context, cache, "sequence", sequence));
    attni_shift shift = {.cache = cache, .sequence = sequence, .begin = begin, .count = count};
    ATTNI_TRY(check_shifted(context, &shift));
    if (rotary)
        ATTNI_TRY(attni_check_shift(context, rotary, cache->pool->D, count, &turn));
    if (count == 0)
        return ATTN_OK;
    shift.turn = turn.pairs ? &turn : NULL;
    const ptrdiff_t needed = attni_shift_pages(&shift);
    if (needed > (ptrdiff_t)cache->pool->free)
        return attni_fail(context, ATTN_ERROR_FULL, "%td more pages needed for copies, but the pool has %zu free",
                          needed, cache->pool->free);
    ATTNI_TRY(attni_scratch_reserve(context, attni_shift_scratch(context, &shift)));
    attni_shift_run(context, &shift, context->scratch);
    return ATTN_OK;
}
