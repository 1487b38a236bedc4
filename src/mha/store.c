/* SPDX-License-Identifier: BSD-3-Clause */
/* Keys and values, put once where the engine will read them, in the type of the pages. */
#include <string.h>

#include "context/sizes.h"
#include "kernels/together.h"
#include "mha/cache.h"

/* Tokens that are transposed at once. */
enum { VECTOR = 16 };

typedef struct store_job {
    const attni_kernels *kernels;
    const attni_append *append;
    char *scratch;
    size_t room; /* bytes of it for a worker */
} store_job;

/* A worker's room: tokens as rows, transposed, and quantised. */
typedef struct space {
    float *rows, *columns; /* [VECTOR, D or E], [D, VECTOR] */
    void *narrow;          /* [D or E], int8 or bf16 */
} space;

static size_t widest(const attn_cache_pool *pool) { return attni_round_up(attni_max(pool->D, pool->E), VECTOR); }

static size_t room_bytes(const attn_cache_pool *pool) { return widest(pool) * (2 * VECTOR * sizeof(float) + 64); }

/* Keys that go into f32 as they are need none. */
static bool is_direct(const attni_append *a) { return a->cache->pages.form->dtype == ATTN_F32 && !a->turn; }

size_t attni_append_scratch(const attn_context *context, const attni_append *a) {
    return is_direct(a) ? 0 : room_bytes(a->cache->pool) * context->threads;
}

static space space_of(const store_job *j, size_t worker) {
    const size_t width = widest(j->append->cache->pool);
    if (is_direct(j->append))
        return (space){0};
    float *base = (float *)(void *)(j->scratch + worker * j->room);
    return (space){base, base + width * VECTOR, base + 2 * width * VECTOR};
}

/* The page of token `at` of sequence b and what is in it of head g. */
static char *page_at(const attn_cache *cache, size_t b, size_t g, size_t at) {
    const attni_page_form *form = cache->pages.form;
    return attni_page_at(&cache->pages, cache->table[b * cache->pages.slots + at / form->tokens], g);
}

/* Where key number `at` of a page begins in its block. */
static char *column_at(const attn_cache *cache, char *page, size_t at) {
    const attni_page_form *form = cache->pages.form;
    const size_t W = form->width, element = at / W * W * form->depth + at % W * attni_together(form->dtype);
    return page + element * attni_size_of(form->dtype);
}

static float *scales_of(const attni_page_form *form, char *page) { return (float *)(void *)(page + form->scales); }

/* Tokens from t on of a head, and where they go: place `at` of a page. */
typedef struct batch {
    size_t b, g, t, count, at;
    char *page;
} batch;

/* One row as int8 in own->narrow; returns the scale. The row may be in own->rows already. */
static float quantize(const store_job *j, attn_dtype type, const void *row, size_t width, const space *own) {
    if (row != own->rows)
        j->kernels->copy(1, width, type, row, 0, ATTN_F32, own->rows, 0);
    return j->kernels->quantize(width, own->rows, own->narrow);
}

/* Keys from token t on as the caller has them, or turned; rows `stride` elements apart. */
typedef struct keys {
    const void *data;
    attn_dtype dtype;
    ptrdiff_t stride;
} keys;

static keys keys_at(const store_job *j, const batch *x, size_t i, size_t rows, const space *own) {
    const attni_append *a = j->append;
    const size_t b = x->b, g = x->g, start = attni_append_first(a, b), t = start + x->t + i;
    const size_t D = a->cache->pool->D;
    if (!a->turn)
        return (keys){attni_at(&a->k, b, g, t), a->k.dtype, a->k.stride_t};
    attni_turn_rows(j->kernels, a->turn, &a->k, b, g, t, rows, D, (ptrdiff_t)a->cache->lengths[b] - (ptrdiff_t)start,
                    own->rows);
    return (keys){own->rows, ATTN_F32, (ptrdiff_t)D};
}

/* One key. */
static void store_key(const store_job *j, const keys *k, char *page, size_t at, char *column, const space *own) {
    const attni_page_form *form = j->append->cache->pages.form;
    const size_t D = j->append->cache->pool->D;
    if (form->dtype == ATTN_INT8) {
        scales_of(form, page)[at] = quantize(j, k->dtype, k->data, D, own);
        attni_put_int8(D, 1, own->narrow, 1, 0, 0, (uint8_t *)column, form->width);
    } else if (form->dtype == ATTN_BF16) {
        j->kernels->copy(1, D, k->dtype, k->data, 0, ATTN_BF16, own->narrow, 0);
        attni_put_bf16(D, 1, own->narrow, 1, 0, 0, (uint16_t *)(void *)column, form->width);
    } else {
        j->kernels->copy(D, 1, k->dtype, k->data, 1, form->dtype, column, (ptrdiff_t)form->width);
    }
}

/* How many of so many keys go at once: whole vectors, or one. */
static size_t keys_at_once(const store_job *j, size_t fit) {
    if (fit < VECTOR || j->append->cache->pages.form->dtype == ATTN_INT8)
        return 1;
    return is_direct(j->append) ? fit / VECTOR * VECTOR : VECTOR;
}

/* Key i of a batch and, where whole vectors fit into its block, those that follow; returns how many. */
static size_t store_keys(const store_job *j, const batch *x, size_t i, const space *own) {
    const attn_cache *cache = j->append->cache;
    const attni_page_form *form = cache->pages.form;
    const size_t D = cache->pool->D, W = form->width, at = x->at + i;
    const size_t count = keys_at_once(j, attni_min(x->count - i, W - at % W));
    const keys k = keys_at(j, x, i, count, own);
    char *column = column_at(cache, x->page, at);
    if (count == 1) {
        store_key(j, &k, x->page, at, column, own);
    } else if (form->dtype == ATTN_F32) {
        j->kernels->transpose(k.dtype, count, D, k.data, k.stride, count, (float *)(void *)column, W);
    } else {
        j->kernels->transpose(k.dtype, VECTOR, D, k.data, k.stride, VECTOR, own->columns, VECTOR);
        if (form->dtype == ATTN_BF16)
            j->kernels->pair(D, VECTOR, own->columns, VECTOR, VECTOR, (uint16_t *)(void *)column, W);
        else
            j->kernels->copy(D, VECTOR, ATTN_F32, own->columns, VECTOR, form->dtype, column, (ptrdiff_t)W);
    }
    return count;
}

/* Values [rows, columns] to places from `at` on of a panel. Of bf16 whole pairs are f32, and single rows bf16. */
static void store_panel(const store_job *j, attn_dtype type, const void *from, ptrdiff_t stride, size_t rows,
                        size_t columns, char *panel, size_t at) {
    const attni_page_form *form = j->append->cache->pages.form;
    const size_t width = form->panel;
    char *row = panel + at * width * attni_size_of(form->dtype);
    if (form->dtype == ATTN_INT8)
        attni_put_int8(1, columns, from, 0, 1, at, (uint8_t *)panel, width);
    else if (form->dtype != ATTN_BF16)
        j->kernels->copy(rows, columns, type, from, stride, form->dtype, row, (ptrdiff_t)width);
    else if (type == ATTN_BF16)
        attni_put_bf16(1, columns, from, 0, 1, at, (uint16_t *)(void *)panel, width);
    else
        j->kernels->pair(rows, columns, from, stride, columns, (uint16_t *)(void *)row, width);
}

/* Values [rows, E] to places from `at` on. */
static void store_panels(const store_job *j, attn_dtype type, const char *from, ptrdiff_t stride, size_t rows,
                         char *page, size_t at) {
    const attn_cache *cache = j->append->cache;
    const attni_page_form *form = cache->pages.form;
    const size_t E = cache->pool->E, panel = form->panel;
    for (size_t c = 0; c < E; c += panel)
        store_panel(j, type, from + c * attni_size_of(type), stride, rows, attni_min(panel, E - c),
                    page + form->values + c * form->tokens * attni_size_of(form->dtype), at);
}

/* Value i of a batch as the caller has it. */
static const void *value_at(const attni_append *a, const batch *x, size_t i) {
    return attni_at(&a->v, x->b, x->g, attni_append_first(a, x->b) + x->t + i);
}

static void store_int8_value(const store_job *j, const batch *x, size_t i, const space *own) {
    const attni_page_form *form = j->append->cache->pages.form;
    scales_of(form, x->page)[form->tokens + x->at + i] =
        quantize(j, j->append->v.dtype, value_at(j->append, x, i), j->append->cache->pool->E, own);
    store_panels(j, ATTN_INT8, own->narrow, 0, 1, x->page, x->at + i);
}

/* Value i of a batch and, where whole pairs fit, those that follow; returns how many. */
static size_t store_bf16_values(const store_job *j, const batch *x, size_t i, const space *own) {
    const attni_view *v = &j->append->v;
    const size_t E = j->append->cache->pool->E, left = x->count - i;
    const bool single = (x->at + i) % 2 || left == 1;
    const size_t rows = single ? 1 : attni_min(left / 2 * 2, VECTOR);
    if (single)
        j->kernels->copy(1, E, v->dtype, value_at(j->append, x, i), 0, ATTN_BF16, own->narrow, 0);
    else
        j->kernels->copy(rows, E, v->dtype, value_at(j->append, x, i), v->stride_t, ATTN_F32, own->rows, (ptrdiff_t)E);
    store_panels(j, single ? ATTN_BF16 : ATTN_F32, single ? own->narrow : (const void *)own->rows, (ptrdiff_t)E, rows,
                 x->page, x->at + i);
    return rows;
}

static void store_values(const store_job *j, const batch *x, const space *own) {
    const attni_page_form *form = j->append->cache->pages.form;
    const attni_view *v = &j->append->v;
    if (form->dtype != ATTN_INT8 && form->dtype != ATTN_BF16) {
        store_panels(j, v->dtype, value_at(j->append, x, 0), v->stride_t, x->count, x->page, x->at);
        return;
    }
    for (size_t i = 0; i < x->count && form->dtype == ATTN_INT8; i++)
        store_int8_value(j, x, i, own);
    for (size_t i = 0; i < x->count && form->dtype == ATTN_BF16;)
        i += store_bf16_values(j, x, i, own);
}

static void store_head(void *arg, size_t unit, size_t worker) {
    const store_job *j = arg;
    const attn_cache *cache = j->append->cache;
    const size_t b = unit / cache->pool->G, g = unit % cache->pool->G, P = cache->pages.form->tokens;
    const size_t length = (size_t)cache->lengths[b], count = attni_append_count(j->append, b);
    const space own = space_of(j, worker);
    for (size_t t = 0; t < count;) {
        const size_t at = (length + t) % P;
        const batch x = {b, g, t, attni_min(count - t, P - at), at, page_at(cache, b, g, length + t)};
        store_values(j, &x, &own);
        for (size_t i = 0; i < x.count;)
            i += store_keys(j, &x, i, &own);
        t += x.count;
    }
}

/* -- int8 -- */

static attn_status check_token(attn_context *context, const store_job *j, size_t b, size_t g, size_t t,
                               const space *own) {
    const attni_append *a = j->append;
    const batch x = {.b = b, .g = g, .t = t};
    const keys k = keys_at(j, &x, 0, 1, own);
    const bool holds_key = j->kernels->all_finite(1, a->cache->pool->D, k.dtype, k.data, 0);
    if (holds_key && j->kernels->all_finite(1, a->cache->pool->E, a->v.dtype, value_at(a, &x, 0), 0))
        return ATTN_OK;
    return attni_fail(context, ATTN_ERROR_VALUE,
                      "%s has Inf or NaN in sequence %zu, head %zu, token %zu%s, which int8 cannot hold",
                      holds_key ? "v" : "k", b, g, t, a->turn && !holds_key ? ", normalised and rotated" : "");
}

attn_status attni_store_check(attn_context *context, const attni_append *a, void *scratch) {
    const store_job job = {context->kernels, a, scratch, 0};
    const space own = space_of(&job, 0);
    attn_status status = ATTN_OK;
    if (a->cache->pages.form->dtype != ATTN_INT8)
        return ATTN_OK;
    for (size_t b = 0; b < a->cache->B; b++)
        for (size_t g = 0; g < a->cache->pool->G; g++)
            for (size_t t = 0; t < attni_append_count(a, b) && status == ATTN_OK; t++)
                status = check_token(context, &job, b, g, t, &own);
    return status;
}

/* Of all sequences. */
static double tokens_of(const attni_append *a) {
    double tokens = 0;
    for (size_t b = 0; b < a->cache->B; b++)
        tokens += (double)attni_append_count(a, b);
    return tokens;
}

void attni_store(attn_context *context, const attni_append *a, void *scratch) {
    enum { FLOPS = 16 }; /* as long as an element takes */
    const attn_cache *cache = a->cache;
    store_job job = {context->kernels, a, scratch, room_bytes(cache->pool)};
    const double elements = tokens_of(a) * (double)cache->pool->G * (double)(cache->pool->D + cache->pool->E);
    attni_parallel(context, a->T ? cache->B * cache->pool->G : 0, FLOPS * elements, store_head, &job);
}
