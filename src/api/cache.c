/* SPDX-License-Identifier: BSD-3-Clause */
#include "attn/cache.h"

#include "api/check.h"
#include "mha/cache.h"

static attn_status check_sizes(attn_context *context, attn_cache_params *p) {
    const struct {
        const char *name;
        size_t size;
    } required[] = {
        {"batch", p->batch}, {"kv_heads", p->kv_heads}, {"head_width", p->head_width}, {"capacity", p->capacity}};
    size_t product;
    for (size_t i = 0; i < sizeof required / sizeof *required; i++)
        if (required[i].size == 0)
            return attni_fail(context, ATTN_ERROR_SHAPE, "params.%s is 0, expected at least 1", required[i].name);
    p->value_width = p->value_width ? p->value_width : p->head_width;
    ATTNI_TRY(attni_check_int(context, "params.head_width", p->head_width));
    ATTNI_TRY(attni_check_int(context, "params.value_width", p->value_width));
    ATTNI_TRY(attni_check_int(context, "params.capacity", p->capacity));
    ATTNI_TRY(attni_check_product(context, "params.kv_heads", p->batch, p->kv_heads, &product));
    ATTNI_TRY(attni_check_product(context, "params.capacity", product, p->capacity + 256, &product));
    return attni_check_product(context, "params.capacity", product, p->head_width + p->value_width + 256, &product);
}

attn_status attn_cache_create(attn_context *context, const attn_cache_params *params, attn_cache **cache) {
    attn_cache_params p;
    if (cache)
        *cache = NULL;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_pointer(context, "cache", cache));
    ATTNI_TRY(attni_check_pointer(context, "params", params));
    ATTNI_TRY(attni_check_params(context, "params", params, sizeof p, &p));
    ATTNI_TRY(check_sizes(context, &p));
    *cache = attni_cache_new(context, &p);
    return *cache ? ATTN_OK : attni_fail(context, ATTN_ERROR_MEMORY, "cache: no memory for its capacity");
}

void attn_cache_destroy(attn_cache *cache) {
    if (cache)
        attni_cache_delete(cache);
}

size_t attn_cache_length(const attn_cache *cache) { return cache->length; }

static attn_status check_appended(attn_context *context, const attn_cache *cache, const char *name,
                                  const attn_tensor *t, const char *letter, size_t width) {
    ATTNI_TRY(attni_check_typed(context, name, t, ATTNI_FLOATS, false, true));
    ATTNI_TRY(attni_check_size(context, name, t, 0, "B", cache->B));
    ATTNI_TRY(attni_check_size(context, name, t, 1, "G", cache->G));
    return attni_check_size(context, name, t, 3, letter, width);
}

attn_status attn_cache_append(attn_context *context, attn_cache *cache, const attn_tensor *k, const attn_tensor *v) {
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_pointer(context, "cache", cache));
    ATTNI_TRY(check_appended(context, cache, "k", k, "D", cache->D));
    ATTNI_TRY(check_appended(context, cache, "v", v, "E", cache->E));
    ATTNI_TRY(attni_check_size(context, "v", v, 2, "T", k->size[2]));
    if (k->size[2] > cache->capacity - cache->length)
        return attni_fail(context, ATTN_ERROR_SHAPE, "k.size[2] is %zu, but the cache holds %zu of its %zu tokens",
                          k->size[2], cache->length, cache->capacity);
    const attni_view keys = attni_view_of(k), values = attni_view_of(v);
    attni_cache_append(context, cache, k->size[2], &keys, &values);
    return ATTN_OK;
}

attn_status attn_cache_truncate(attn_context *context, attn_cache *cache, size_t length) {
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_pointer(context, "cache", cache));
    if (length > cache->length)
        return attni_fail(context, ATTN_ERROR_SHAPE, "length is %zu, but the cache holds %zu tokens", length,
                          cache->length);
    cache->length = length;
    return ATTN_OK;
}

static attn_status check_shapes(attn_context *context, const attn_cache *cache, const attn_tensor *q,
                                const attn_tensor *out, bool data) {
    ATTNI_TRY(attni_check_typed(context, "q", q, ATTNI_FLOATS, false, data));
    ATTNI_TRY(attni_check_typed(context, "out", out, ATTNI_FLOATS, true, data));
    ATTNI_TRY(attni_check_size(context, "q", q, 0, "B", cache->B));
    ATTNI_TRY(attni_check_size(context, "q", q, 3, "D", cache->D));
    ATTNI_TRY(attni_check_size(context, "out", out, 0, "B", cache->B));
    ATTNI_TRY(attni_check_size(context, "out", out, 1, "H", q->size[1]));
    ATTNI_TRY(attni_check_size(context, "out", out, 2, "Tq", q->size[2]));
    ATTNI_TRY(attni_check_size(context, "out", out, 3, "E", cache->E));
    if (q->size[1] % cache->G == 0)
        return ATTN_OK;
    return attni_fail(context, ATTN_ERROR_SHAPE, "q.size[1] is H = %zu, which the cache's kv_heads, %zu, do not divide",
                      q->size[1], cache->G);
}

static attn_status check(attn_context *context, const attn_cache *cache, const attn_tensor *q, const attn_tensor *out,
                         const attn_sdpa_params *params, bool data, attni_sdpa *call) {
    attni_extras extras;
    attn_sdpa_params p;
    ATTNI_TRY(attni_check_pointer(context, "cache", cache));
    ATTNI_TRY(check_shapes(context, cache, q, out, data));
    *call = (attni_sdpa){.B = cache->B,
                         .H = q->size[1],
                         .G = cache->G,
                         .Tq = q->size[2],
                         .Tk = cache->length,
                         .D = cache->D,
                         .E = cache->E,
                         .q = attni_view_of(q),
                         .out = attni_view_of(out),
                         .blocks = &cache->blocks};
    ATTNI_TRY(attni_check_params(context, "params", params, sizeof p, &p));
    ATTNI_TRY(attni_check_sequences(context, &p, false, call));
    ATTNI_TRY(attni_check_attention(context, &p, data, call, &extras));
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
    call.Tk = cache->capacity;
    *bytes = attni_sdpa_scratch(context, &call);
    return ATTN_OK;
}
