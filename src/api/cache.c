/* SPDX-License-Identifier: BSD-3-Clause */
#include "attn/cache.h"

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
