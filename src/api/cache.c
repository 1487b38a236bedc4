/* SPDX-License-Identifier: BSD-3-Clause */
#include "attn/cache.h"

#include <math.h>

#include "api/cached.h"
#include "api/parts.h"
#include "context/sizes.h"
#include "mha/cache.h"

static attn_status check_at_least_one(attn_context *context, const char *name, size_t size) {
    return size ? ATTN_OK : attni_fail(context, ATTN_ERROR_SHAPE, "params.%s is 0, expected at least 1", name);
}

/* -- pools -- */

/* A power of two that blocks of K and segments of keys are multiples and divisors of. */
static attn_status check_page_size(attn_context *context, attn_cache_pool_params *p) {
    enum { LEAST = 128, DEFAULT = 256, MOST = 2048 };
    p->page_size = p->page_size ? p->page_size : DEFAULT;
    if (p->page_size >= LEAST && p->page_size <= MOST && (p->page_size & (p->page_size - 1)) == 0)
        return ATTN_OK;
    return attni_fail(context, ATTN_ERROR_SHAPE, "params.page_size is %zu, expected a power of two from 128 to 2048",
                      p->page_size);
}

/* `pages` names what their number comes from. */
static attn_status check_pool(attn_context *context, const char *pages, attn_cache_pool_params *p) {
    size_t product;
    ATTNI_TRY(check_at_least_one(context, "kv_heads", p->kv_heads));
    ATTNI_TRY(check_at_least_one(context, "head_width", p->head_width));
    if (p->latent_width > p->head_width)
        return attni_fail(context, ATTN_ERROR_SHAPE, "params.latent_width is %zu, expected up to head_width, %zu",
                          p->latent_width, p->head_width);
    if (p->latent_width && p->value_width && p->value_width != p->latent_width)
        return attni_fail(context, ATTN_ERROR_SHAPE, "params.value_width is %zu, expected 0 or latent_width, %zu",
                          p->value_width, p->latent_width);
    p->value_width = p->value_width ? p->value_width : p->latent_width ? p->latent_width : p->head_width;
    if (p->dtype < ATTN_F32 || p->dtype > ATTN_INT4 || p->dtype == ATTN_BOOL)
        return attni_fail(context, ATTN_ERROR_DTYPE,
                          "params.dtype is %d, expected ATTN_F32 (0), ATTN_F16 (1), ATTN_BF16 (2), ATTN_INT8 (4) or "
                          "ATTN_INT4 (5)",
                          (int)p->dtype);
    ATTNI_TRY(check_page_size(context, p));
    ATTNI_TRY(attni_check_int(context, pages, p->pages));
    ATTNI_TRY(attni_check_int(context, "params.head_width", p->head_width));
    ATTNI_TRY(attni_check_int(context, "params.value_width", p->value_width));
    ATTNI_TRY(attni_check_product(context, pages, p->pages, 2 * p->page_size, &product));
    ATTNI_TRY(attni_check_product(context, "params.kv_heads", product, p->kv_heads, &product));
    return attni_check_product(context, "params.head_width", product, p->head_width + p->value_width + 256, &product);
}

attn_status attn_cache_pool_create(attn_context *context, const attn_cache_pool_params *params,
                                   attn_cache_pool **pool) {
    attn_cache_pool_params p;
    if (pool)
        *pool = NULL;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_pointer(context, "pool", pool));
    ATTNI_TRY(attni_check_pointer(context, "params", params));
    ATTNI_TRY(attni_check_params(context, "params", params, sizeof p, &p));
    ATTNI_TRY(check_at_least_one(context, "pages", p.pages));
    ATTNI_TRY(check_pool(context, "params.pages", &p));
    *pool = attni_pool_new(context, &p);
    return *pool ? ATTN_OK : attni_fail(context, ATTN_ERROR_MEMORY, "pool: no memory for %zu pages", p.pages);
}

void attn_cache_pool_destroy(attn_cache_pool *pool) {
    if (pool)
        attni_pool_delete(pool);
}

attn_status attn_cache_pool_describe(attn_context *context, const attn_cache_pool *pool, attn_cache_pool_info *info) {
    attn_cache_pool_info known;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_pointer(context, "pool", pool));
    ATTNI_TRY(attni_check_pointer(context, "info", info));
    ATTNI_TRY(attni_check_params(context, "info", info, sizeof known, &known));
    known = (attn_cache_pool_info){.pages = pool->pages,
                                   .free_pages = pool->free,
                                   .page_size = pool->form.tokens,
                                   .page_bytes = pool->G * pool->form.bytes};
    attni_give(info, &known, sizeof known);
    return ATTN_OK;
}

/* -- caches -- */

/* What says the shape of a cache must be 0 or the pool's. */
static attn_status check_same(attn_context *context, const char *name, size_t given, size_t of_pool) {
    if (given == 0 || given == of_pool)
        return ATTN_OK;
    return attni_fail(context, ATTN_ERROR_SHAPE, "params.%s is %zu, but that of params.pool is %zu", name, given,
                      of_pool);
}

static attn_status check_given_pool(attn_context *context, const attn_cache_params *p, attn_cache_pool_params *pool) {
    pool->kv_heads = p->pool->G;
    pool->head_width = p->pool->D;
    pool->latent_width = p->pool->form.latent ? p->pool->E : 0;
    pool->dtype = p->pool->form.dtype;
    ATTNI_TRY(check_same(context, "kv_heads", p->kv_heads, p->pool->G));
    ATTNI_TRY(check_same(context, "head_width", p->head_width, p->pool->D));
    ATTNI_TRY(check_same(context, "value_width", p->value_width, p->pool->E));
    ATTNI_TRY(check_same(context, "latent_width", p->latent_width, p->pool->form.latent ? p->pool->E : 0));
    ATTNI_TRY(check_same(context, "page_size", p->page_size, p->pool->form.tokens));
    if (p->dtype == ATTN_F32 || p->dtype == p->pool->form.dtype)
        return ATTN_OK;
    return attni_fail(context, ATTN_ERROR_DTYPE, "params.dtype is %d, but that of params.pool is %d", (int)p->dtype,
                      (int)p->pool->form.dtype);
}

/* Pages that a sequence may need: all, or the first ones, the window and as much again for what is appended at once. */
static size_t pages_of_sequence(const attn_cache_params *p, size_t P) {
    const size_t all = attni_ceil_div(p->capacity, P);
    const size_t rolling = attni_ceil_div(p->first_tokens, P) + 2 * attni_ceil_div(p->window, P) + 1;
    return p->window ? attni_min(all, rolling) : all;
}

static attn_status describe_own_pool(attn_context *context, const attn_cache_params *p, attn_cache_pool_params *pool) {
    ATTN_INIT(pool);
    pool->kv_heads = p->kv_heads;
    pool->head_width = p->head_width;
    pool->value_width = p->value_width;
    pool->page_size = p->page_size;
    pool->dtype = p->dtype;
    pool->latent_width = p->latent_width;
    ATTNI_TRY(check_page_size(context, pool));
    ATTNI_TRY(
        attni_check_product(context, "params.batch", p->batch, pages_of_sequence(p, pool->page_size), &pool->pages));
    return check_pool(context, "params.batch", pool);
}

static attn_status check_cache(attn_context *context, const attn_cache_params *p) {
    size_t product;
    ATTNI_TRY(check_at_least_one(context, "batch", p->batch));
    ATTNI_TRY(check_at_least_one(context, "capacity", p->capacity));
    ATTNI_TRY(attni_check_int(context, "params.capacity", p->capacity));
    ATTNI_TRY(attni_check_int(context, "params.window", p->window));
    ATTNI_TRY(attni_check_int(context, "params.first_tokens", p->first_tokens));
    if (p->first_tokens && !p->window)
        return attni_fail(context, ATTN_ERROR_VALUE, "params.first_tokens is %zu, but params.window is 0",
                          p->first_tokens);
    return attni_check_product(context, "params.batch", p->batch, p->capacity + 64, &product);
}

static attn_status check_key_scales(attn_context *context, const float *scales, const attn_cache_pool_params *pool) {
    if (scales && pool->dtype != ATTN_INT8)
        return attni_fail(context, ATTN_ERROR_VALUE, "params.key_scales is set, but dtype is %d, not ATTN_INT8 (4)",
                          (int)pool->dtype);
    if (scales && pool->latent_width)
        return attni_fail(context, ATTN_ERROR_VALUE, "params.key_scales is set, and latent_width is %zu",
                          pool->latent_width);
    for (size_t n = 0; scales && n < pool->kv_heads * pool->head_width; n++)
        if (!(0x1p-100F <= scales[n] && scales[n] <= 0x1p100F))
            return attni_fail(context, ATTN_ERROR_VALUE,
                              "params.key_scales[%zu] is %g, expected a number between 2^-100 and 2^100", n,
                              (double)scales[n]);
    return ATTN_OK;
}

attn_status attn_cache_create(attn_context *context, const attn_cache_params *params, attn_cache **cache) {
    attn_cache_params p;
    attn_cache_pool_params of_own;
    if (cache)
        *cache = NULL;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_pointer(context, "cache", cache));
    ATTNI_TRY(attni_check_pointer(context, "params", params));
    ATTNI_TRY(attni_check_params(context, "params", params, sizeof p, &p));
    ATTNI_TRY(check_cache(context, &p));
    ATTNI_TRY(p.pool ? check_given_pool(context, &p, &of_own) : describe_own_pool(context, &p, &of_own));
    ATTNI_TRY(check_key_scales(context, p.key_scales, &of_own));
    attn_cache_pool *own = p.pool ? NULL : attni_pool_new(context, &of_own);
    *cache = p.pool || own ? attni_cache_new(context, &p, own ? own : p.pool) : NULL;
    if (*cache) {
        (*cache)->own = own;
        return ATTN_OK;
    }
    attn_cache_pool_destroy(own);
    return attni_fail(context, ATTN_ERROR_MEMORY, "cache: no memory for its tables or its pages");
}

void attn_cache_destroy(attn_cache *cache) {
    if (cache)
        attni_cache_delete(cache);
}

size_t attn_cache_length(const attn_cache *cache, size_t sequence) { return (size_t)cache->lengths[sequence]; }

attn_cache_pool *attn_cache_pool_of(const attn_cache *cache) { return cache->pool; }

/* -- changing a cache -- */

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

/* Keys stand behind those that are there, if they have no positions of their own. */
static attn_status check_key_positions(attn_context *context, const attni_append *a, const attni_turn *turn, size_t b) {
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
        ATTNI_TRY(check_key_positions(context, a, &turns[0], b));
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

/* -- attending to it -- */

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
        ATTNI_TRY(a ? check_key_positions(context, a, &call->k_turn, b) : ATTN_OK);
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
