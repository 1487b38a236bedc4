/* SPDX-License-Identifier: BSD-3-Clause */
/* Keys and values, put once where the engine will read them. */
#include "mha/cache.h"

#include <string.h>

#include "blas/blas.h"
#include "context/sizes.h"

static attni_blocks blocks_of(const attn_context *context, const attn_cache_params *p) {
    const attni_tile tile = attni_tile_for_attention(context->blas, p->head_width, p->value_width, true);
    const size_t width = attni_output_width(p->value_width), panel = attni_min(tile.columns, width);
    attni_blocks blocks = {.width = tile.width, .panel = panel, .capacity = attni_round_up(p->capacity, tile.width)};
    blocks.k_head = blocks.capacity * p->head_width;
    blocks.v_head = blocks.capacity * attni_round_up(width, panel);
    return blocks;
}

attn_cache *attni_cache_new(const attn_context *context, const attn_cache_params *p) {
    attni_blocks blocks = blocks_of(context, p);
    const size_t heads = p->batch * p->kv_heads, floats = heads * (blocks.k_head + blocks.v_head);
    attn_cache *cache = attni_allocate(&context->allocator, sizeof *cache);
    blocks.k = cache ? attni_allocate(&context->allocator, floats * sizeof *blocks.k) : NULL;
    if (!blocks.k) {
        attni_release(&context->allocator, cache);
        return NULL;
    }
    memset(blocks.k, 0, floats * sizeof *blocks.k);
    blocks.v = blocks.k + heads * blocks.k_head;
    *cache = (attn_cache){.allocator = context->allocator,
                          .B = p->batch,
                          .G = p->kv_heads,
                          .D = p->head_width,
                          .E = p->value_width,
                          .capacity = p->capacity,
                          .blocks = blocks};
    return cache;
}

void attni_cache_delete(attn_cache *cache) {
    const attn_allocator allocator = cache->allocator;
    attni_release(&allocator, cache->blocks.k);
    attni_release(&allocator, cache);
}

typedef struct append_job {
    const attni_kernels *kernels;
    attn_cache *cache;
    size_t T;
    const attni_view *k, *v;
} append_job;

/* Up to n tokens into the columns of a block from `column` on, whole vectors at once where they fit; returns how many.
 */
static size_t append_columns(const append_job *j, const void *k, size_t n, float *block, size_t column) {
    enum { VECTOR = 16 };
    const size_t D = j->cache->D, W = j->cache->blocks.width, room = attni_min(n, W - column);
    if (room >= VECTOR) {
        const size_t whole = room / VECTOR * VECTOR;
        j->kernels->transpose(j->k->dtype, whole, D, k, j->k->stride_t, whole, block + column, W);
        return whole;
    }
    j->kernels->copy(D, 1, j->k->dtype, k, 1, ATTN_F32, block + column, (ptrdiff_t)W);
    return 1;
}

static void append_k(const append_job *j, size_t b, size_t g) {
    const attni_blocks *blocks = &j->cache->blocks;
    float *head = blocks->k + (b * j->cache->G + g) * blocks->k_head;
    for (size_t t = 0; t < j->T;) {
        const size_t at = j->cache->length + t, column = at % blocks->width;
        t += append_columns(j, attni_at(j->k, b, g, t), j->T - t, head + (at - column) * j->cache->D, column);
    }
}

static void append_v(const append_job *j, size_t b, size_t g) {
    const attni_blocks *blocks = &j->cache->blocks;
    const size_t E = j->cache->E, panel = blocks->panel;
    float *head = blocks->v + (b * j->cache->G + g) * blocks->v_head + j->cache->length * panel;
    const char *v = attni_at(j->v, b, g, 0);
    for (size_t c = 0; c < E; c += panel)
        j->kernels->copy(j->T, attni_min(panel, E - c), j->v->dtype, v + c * attni_size_of(j->v->dtype), j->v->stride_t,
                         ATTN_F32, head + c * blocks->capacity, (ptrdiff_t)panel);
}

static void append_head(void *arg, size_t unit, size_t worker) {
    const append_job *j = arg;
    (void)worker;
    append_k(j, unit / j->cache->G, unit % j->cache->G);
    append_v(j, unit / j->cache->G, unit % j->cache->G);
}

void attni_cache_append(attn_context *context, attn_cache *cache, size_t T, const attni_view *k, const attni_view *v) {
    enum { FLOPS = 16 }; /* as long as an element takes */
    append_job job = {context->kernels, cache, T, k, v};
    const double elements = (double)cache->B * (double)cache->G * (double)T * (double)(cache->D + cache->E);
    attni_parallel(context, T ? cache->B * cache->G : 0, FLOPS * elements, append_head, &job);
    cache->length += T;
}
