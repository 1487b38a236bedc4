/* SPDX-License-Identifier: BSD-3-Clause */
/* The tables of a cache: which pages its sequences have. */
#include "mha/cache.h"

#include <string.h>

#include "context/sizes.h"

attn_cache *attni_cache_new(const attn_context *context, const attn_cache_params *p, attn_cache_pool *pool) {
    const attn_allocator *allocator = &context->allocator;
    const size_t slots = attni_ceil_div(p->capacity, pool->form.tokens);
    const size_t lengths = p->batch * sizeof(int64_t), forgotten = p->batch * sizeof(size_t);
    const size_t table = p->batch * slots * sizeof(uint32_t), scales = p->key_scales ? pool->G * pool->D : 0;
    attn_cache *cache = attni_allocate(allocator, sizeof *cache);
    char *memory =
        cache ? attni_allocate(allocator, lengths + forgotten + table + scales * sizeof *p->key_scales) : NULL;
    if (!memory) {
        attni_release(allocator, cache);
        return NULL;
    }
    memset(memory, 0, lengths + forgotten);
    *cache = (attn_cache){.allocator = *allocator,
                          .pool = pool,
                          .B = p->batch,
                          .capacity = p->capacity,
                          .window = p->window,
                          .first_tokens = p->first_tokens,
                          .lengths = (int64_t *)(void *)memory,
                          .forgotten = (size_t *)(void *)(memory + lengths),
                          .table = (uint32_t *)(void *)(memory + lengths + forgotten)};
    cache->pages = (attni_pages){&pool->form, pool->memory, pool->pages, cache->table, slots};
    for (size_t n = 0; n < p->batch * slots; n++)
        cache->table[n] = ATTNI_NO_PAGE;
    if (scales) {
        cache->key_scales = (float *)(void *)(memory + lengths + forgotten + table);
        memcpy(cache->key_scales, p->key_scales, scales * sizeof *p->key_scales);
    }
    return cache;
}

void attni_cache_delete(attn_cache *cache) {
    const attn_allocator allocator = cache->allocator;
    for (size_t b = 0; b < cache->B; b++)
        attni_cache_truncate(cache, b, 0);
    if (cache->own)
        attni_pool_delete(cache->own);
    attni_release(&allocator, cache->lengths);
    attni_release(&allocator, cache);
}

static void give(attn_cache *cache, uint32_t *slot) {
    if (*slot != ATTNI_NO_PAGE)
        attni_pool_give(cache->pool, *slot);
    *slot = ATTNI_NO_PAGE;
}

void attni_cache_truncate(attn_cache *cache, size_t sequence, size_t length) {
    uint32_t *table = cache->table + sequence * cache->pages.slots;
    for (size_t n = attni_ceil_div(length, cache->pages.form->tokens); n < cache->pages.slots; n++)
        give(cache, &table[n]);
    cache->lengths[sequence] = (int64_t)length;
    cache->forgotten[sequence] = length > attni_first_pages(cache) ? cache->forgotten[sequence] : 0;
}

void attni_cache_fork(attn_cache *cache, size_t from, size_t to) {
    const uint32_t *source = cache->table + from * cache->pages.slots;
    uint32_t *target = cache->table + to * cache->pages.slots;
    if (from == to)
        return;
    attni_cache_truncate(cache, to, 0);
    for (size_t n = 0; n < cache->pages.slots; n++) {
        target[n] = source[n];
        if (source[n] != ATTNI_NO_PAGE)
            cache->pool->users[source[n]]++;
    }
    cache->lengths[to] = cache->lengths[from];
    cache->forgotten[to] = cache->forgotten[from];
}

/* Lengths, forgotten and table follow each other. */
size_t attni_cache_reorder_scratch(const attn_cache *cache) {
    return cache->B * (sizeof *cache->lengths + sizeof *cache->forgotten + cache->pages.slots * sizeof *cache->table);
}

/* All users come before any goes, so that no page is free in between. */
void attni_cache_reorder(attn_cache *cache, const int64_t *from, void *scratch) {
    const size_t B = cache->B, slots = cache->pages.slots;
    const int64_t *lengths = scratch;
    const size_t *forgotten = (const size_t *)(const void *)(lengths + B);
    const uint32_t *table = (const uint32_t *)(const void *)(forgotten + B);
    memcpy(scratch, cache->lengths, attni_cache_reorder_scratch(cache));
    for (size_t b = 0; b < B; b++) {
        const size_t source = (size_t)from[b];
        cache->lengths[b] = lengths[source];
        cache->forgotten[b] = forgotten[source];
        for (size_t n = 0; n < slots; n++) {
            const uint32_t page = cache->table[b * slots + n] = table[source * slots + n];
            if (page != ATTNI_NO_PAGE)
                cache->pool->users[page]++;
        }
    }
    for (size_t n = 0; n < B * slots; n++)
        if (table[n] != ATTNI_NO_PAGE)
            attni_pool_give(cache->pool, table[n]);
}

/* The pages of a sequence that no query of the tokens to come will see: [first, end). */
static attni_range unseen_pages(const attni_append *a, size_t b) {
    const attn_cache *cache = a->cache;
    const size_t P = cache->pages.form->tokens, length = (size_t)cache->lengths[b];
    const size_t first = attni_max(cache->forgotten[b], attni_first_pages(cache)) / P;
    const bool rolls = cache->window && attni_append_count(a, b) && length + 1 > cache->window;
    return (attni_range){first, attni_max(first, rolls ? (length + 1 - cache->window) / P : 0)};
}

/* Of the page that the next token goes to. */
static uint32_t *next_slot(const attn_cache *cache, size_t b) {
    return cache->table + b * cache->pages.slots + (size_t)cache->lengths[b] / cache->pages.form->tokens;
}

/* Whether that page is there and gets tokens. */
static bool continues(const attni_append *a, size_t b) {
    return (size_t)a->cache->lengths[b] % a->cache->pages.form->tokens && attni_append_count(a, b);
}

static size_t new_pages(const attni_append *a, size_t b) {
    const size_t P = a->cache->pages.form->tokens, length = (size_t)a->cache->lengths[b];
    return attni_ceil_div(length + attni_append_count(a, b), P) - attni_ceil_div(length, P);
}

/* What appending to sequence b does to the users of pages, and undoes: of a shared page that no sequence needs any more
 * the last to go frees it, and of those that append into one the last to part keeps it. */
static ptrdiff_t count_use(const attni_append *a, size_t b) {
    const attn_cache *cache = a->cache;
    const uint32_t *table = cache->table + b * cache->pages.slots;
    const attni_range unseen = unseen_pages(a, b);
    ptrdiff_t pages = (ptrdiff_t)new_pages(a, b);
    for (size_t n = unseen.begin; n < unseen.end; n++)
        pages -= --cache->pool->users[table[n]] == 0;
    return pages + (continues(a, b) && cache->pool->users[*next_slot(cache, b)]-- > 1);
}

static void undo_use(const attni_append *a, size_t b) {
    const attn_cache *cache = a->cache;
    const uint32_t *table = cache->table + b * cache->pages.slots;
    const attni_range unseen = unseen_pages(a, b);
    for (size_t n = unseen.begin; n < unseen.end; n++)
        cache->pool->users[table[n]]++;
    if (continues(a, b))
        cache->pool->users[*next_slot(cache, b)]++;
}

ptrdiff_t attni_append_pages(const attni_append *a) {
    ptrdiff_t pages = 0;
    for (size_t b = 0; b < a->cache->B; b++)
        pages += count_use(a, b);
    for (size_t b = 0; b < a->cache->B; b++)
        undo_use(a, b);
    return pages;
}

static void forget_unseen(const attni_append *a, size_t b) {
    attn_cache *cache = a->cache;
    const attni_range unseen = unseen_pages(a, b);
    for (size_t n = unseen.begin; n < unseen.end; n++)
        give(cache, &cache->table[b * cache->pages.slots + n]);
    if (unseen.end > unseen.begin)
        cache->forgotten[b] = unseen.end * cache->pages.form->tokens;
}

/* Copy on write. */
static void part(attn_cache *cache, uint32_t *slot) {
    const uint32_t page = attni_pool_take(cache->pool);
    for (size_t g = 0; g < cache->pool->G; g++)
        memcpy(attni_page_at(&cache->pages, page, g), attni_page_at(&cache->pages, *slot, g), cache->pages.form->bytes);
    attni_pool_give(cache->pool, *slot);
    *slot = page;
}

attn_status attni_append_run(attn_context *context, const attni_append *a, void *scratch) {
    attn_cache *cache = a->cache;
    const attn_status status = attni_store_check(context, a, scratch);
    if (status != ATTN_OK)
        return status;
    for (size_t b = 0; b < cache->B; b++)
        forget_unseen(a, b);
    for (size_t b = 0; b < cache->B; b++) {
        uint32_t *slot = next_slot(cache, b);
        if (continues(a, b) && cache->pool->users[*slot] > 1)
            part(cache, slot);
        slot += continues(a, b);
        for (size_t n = new_pages(a, b); n > 0; n--)
            *slot++ = attni_pool_take(cache->pool);
    }
    attni_store(context, a, scratch);
    for (size_t b = 0; b < cache->B; b++)
        cache->lengths[b] += (int64_t)attni_append_count(a, b);
    return ATTN_OK;
}

/* -- shifts -- */

/* Slots of a sequence that a shift drops, [begin, end), and the end of those behind. */
typedef struct slots {
    uint32_t *table;
    size_t begin, end, all;
} slots;

static slots slots_of(const attni_shift *s) {
    const attn_cache *cache = s->cache;
    const size_t P = cache->pages.form->tokens;
    return (slots){cache->table + s->sequence * cache->pages.slots, s->begin / P, (s->begin + s->count) / P,
                   attni_ceil_div((size_t)cache->lengths[s->sequence], P)};
}

/* Pages behind that are shared become copies, if their keys are rotated. */
ptrdiff_t attni_shift_pages(const attni_shift *s) {
    const slots of = slots_of(s);
    const uint32_t *users = s->cache->pool->users;
    ptrdiff_t pages = 0;
    for (size_t n = of.begin; n < of.end; n++)
        pages -= of.table[n] != ATTNI_NO_PAGE && users[of.table[n]] == 1;
    for (size_t n = of.end; n < of.all && s->turn; n++)
        pages += of.table[n] != ATTNI_NO_PAGE && users[of.table[n]] > 1;
    return pages;
}

size_t attni_shift_forgotten(const attni_shift *s) {
    const size_t now = s->cache->forgotten[s->sequence];
    const size_t then = now > s->begin ? now - attni_min(now - s->begin, s->count) : now;
    return then > attni_first_pages(s->cache) ? then : 0;
}

static void move_up(const attni_shift *s) {
    attn_cache *cache = s->cache;
    const slots of = slots_of(s);
    const size_t gone = of.end - of.begin;
    cache->forgotten[s->sequence] = attni_shift_forgotten(s);
    for (size_t n = of.begin; n < of.end; n++)
        give(cache, &of.table[n]);
    for (size_t n = of.end; n < of.all; n++) {
        of.table[n - gone] = of.table[n];
        of.table[n] = ATTNI_NO_PAGE;
    }
    cache->lengths[s->sequence] -= (int64_t)s->count;
}

void attni_shift_run(attn_context *context, const attni_shift *s, void *scratch) {
    move_up(s);
    if (!s->turn)
        return;
    const slots of = slots_of(s);
    for (size_t n = of.begin; n < of.all; n++)
        if (of.table[n] != ATTNI_NO_PAGE && s->cache->pool->users[of.table[n]] > 1)
            part(s->cache, &of.table[n]);
    attni_store_shifted(context, s, scratch);
}
