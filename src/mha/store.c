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

/* What goes into f32 as it is needs none. */
static bool is_direct(const attni_append *a) {
    return a->cache->pages.form->dtype == ATTN_F32 && !a->turn && !a->v_turn;
}

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

/* Where key number `at` of a page begins in its block; of int4 the block. */
static char *column_at(const attn_cache *cache, char *page, size_t at) {
    const attni_page_form *form = cache->pages.form;
    const size_t W = form->width, block = at / W * W * form->depth, column = at % W * attni_together(form->dtype);
    if (form->dtype == ATTN_INT4)
        return page + attni_page_bytes(ATTN_INT4, block);
    return page + (block + column) * attni_size_of(form->dtype);
}

static float *scales_of(const attni_page_form *form, char *page) { return (float *)(void *)(page + form->scales); }

/* Tokens from t on of a head, and where they go: place `at` of a page. */
typedef struct batch {
    size_t b, g, t, count, at;
    char *page;
} batch;

/* Keys or values as the caller has them, or turned; rows `stride` elements apart. */
typedef struct rows_given {
    const void *data;
    attn_dtype dtype;
    ptrdiff_t stride;
} rows_given;

/* Numbers [0, n) of column c of groups of `width` columns, `step` bytes apart. */
static void put_groups(const store_job *j, size_t n, const float *x, char *groups, size_t step, size_t width,
                       size_t c) {
    uint8_t numbers[ATTNI_GROUP];
    for (size_t i = 0; i < n; i += ATTNI_GROUP, groups += step) {
        uint16_t *scale = (uint16_t *)(void *)groups, *offset = scale + width;
        uint8_t *bytes = (uint8_t *)(offset + width) + c;
        j->kernels->quantize_group(attni_min(ATTNI_GROUP, n - i), x + i, scale + c, offset + c, numbers);
        for (size_t k = 0; k < ATTNI_GROUP / 2; k++)
            bytes[k * width] = (uint8_t)(numbers[k] | numbers[ATTNI_GROUP / 2 + k] << 4);
    }
}

/* One row as f32. */
static const float *floats_of(const store_job *j, const rows_given *x, size_t width, const space *own) {
    if (x->dtype == ATTN_F32)
        return x->data;
    j->kernels->copy(1, width, x->dtype, x->data, 0, ATTN_F32, own->rows, 0);
    return own->rows;
}

/* One row as int8 in own->narrow; returns the scale. */
static float quantize(const store_job *j, const rows_given *x, size_t width, const space *own) {
    return j->kernels->quantize(width, floats_of(j, x, width, own), own->narrow);
}

/* Token i of a batch and those that follow, `count` of them. */
static rows_given tokens_at(const store_job *j, const attni_view *view, const attni_turn *turn, size_t width,
                            const batch *x, size_t i, size_t count, const space *own) {
    const attni_append *a = j->append;
    const size_t b = x->b, g = x->g, start = attni_append_first(a, b), t = start + x->t + i;
    if (!turn)
        return (rows_given){attni_at(view, b, g, t), view->dtype, view->stride_t};
    attni_turn_rows(j->kernels, turn, view, b, g, t, count, width, (ptrdiff_t)a->cache->lengths[b] - (ptrdiff_t)start,
                    own->rows);
    return (rows_given){own->rows, ATTN_F32, (ptrdiff_t)width};
}

/* What keys of int8 are quantised from: divided by the scales of their channels. */
static rows_given divided(const store_job *j, const rows_given *k, const float *scales, const space *own) {
    const size_t D = j->append->cache->pool->D;
    if (k->data != own->rows)
        j->kernels->copy(1, D, k->dtype, k->data, 0, ATTN_F32, own->rows, 0);
    for (size_t d = 0; d < D; d++)
        own->rows[d] /= scales[d];
    return (rows_given){own->rows, ATTN_F32, (ptrdiff_t)D};
}

static rows_given keys_at(const store_job *j, const batch *x, size_t i, size_t count, const space *own) {
    const attn_cache *cache = j->append->cache;
    const rows_given k = tokens_at(j, &j->append->k, j->append->turn, cache->pool->D, x, i, count, own);
    return cache->key_scales ? divided(j, &k, cache->key_scales + x->g * cache->pool->D, own) : k;
}

static rows_given values_at(const store_job *j, const batch *x, size_t i, size_t count, const space *own) {
    return tokens_at(j, &j->append->v, j->append->v_turn, j->append->cache->pool->E, x, i, count, own);
}

/* One key. */
static void store_key(const store_job *j, const rows_given *k, char *page, size_t at, char *column, const space *own) {
    const attni_page_form *form = j->append->cache->pages.form;
    const size_t D = j->append->cache->pool->D;
    if (form->dtype == ATTN_INT8) {
        scales_of(form, page)[at] = quantize(j, k, D, own);
        attni_put_int8(D, 1, own->narrow, 1, 0, 0, (uint8_t *)column, form->width);
    } else if (form->dtype == ATTN_INT4) {
        put_groups(j, D, floats_of(j, k, D, own), column, form->width * attni_group_bytes(true), form->width,
                   at % form->width);
    } else if (form->dtype == ATTN_BF16) {
        j->kernels->copy(1, D, k->dtype, k->data, 0, ATTN_BF16, own->narrow, 0);
        attni_put_bf16(D, 1, own->narrow, 1, 0, 0, (uint16_t *)(void *)column, form->width);
    } else {
        j->kernels->copy(D, 1, k->dtype, k->data, 1, form->dtype, column, (ptrdiff_t)form->width);
    }
}

/* How many of so many keys go at once: whole vectors, or one. */
static size_t keys_at_once(const store_job *j, size_t fit) {
    const attn_dtype type = j->append->cache->pages.form->dtype;
    if (fit < VECTOR || type == ATTN_INT8 || type == ATTN_INT4)
        return 1;
    return type == ATTN_F32 && !j->append->turn ? fit / VECTOR * VECTOR : VECTOR;
}

/* Key i of a batch and, where whole vectors fit into its block, those that follow; returns how many. */
static size_t store_keys(const store_job *j, const batch *x, size_t i, const space *own) {
    const attn_cache *cache = j->append->cache;
    const attni_page_form *form = cache->pages.form;
    const size_t D = cache->pool->D, W = form->width, at = x->at + i;
    const size_t count = keys_at_once(j, attni_min(x->count - i, W - at % W));
    const rows_given k = keys_at(j, x, i, count, own);
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

/* How many of so many values from place `at` on go at once: whole pairs of bf16, what fits into the room, one that is
 * quantised. */
static size_t values_at_once(const store_job *j, size_t at, size_t left) {
    const attn_dtype type = j->append->cache->pages.form->dtype;
    if (type == ATTN_INT8 || type == ATTN_INT4 || (type == ATTN_BF16 && (at % 2 || left == 1)))
        return 1;
    if (type == ATTN_BF16)
        return attni_min(left / 2 * 2, VECTOR);
    return j->append->v_turn ? attni_min(left, VECTOR) : left;
}

static void store_int8_value(const store_job *j, const rows_given *v, char *page, size_t at, const space *own) {
    const attni_page_form *form = j->append->cache->pages.form;
    scales_of(form, page)[form->tokens + at] = quantize(j, v, j->append->cache->pool->E, own);
    store_panels(j, ATTN_INT8, own->narrow, 0, 1, page, at);
}

static void store_int4_value(const store_job *j, const rows_given *v, char *page, size_t at, const space *own) {
    const attni_page_form *form = j->append->cache->pages.form;
    const size_t E = j->append->cache->pool->E, bytes = attni_group_bytes(true);
    put_groups(j, E, floats_of(j, v, E, own), page + form->values + at * bytes, form->tokens * bytes, 1, 0);
}

/* One, or whole pairs. */
static void store_bf16_values(const store_job *j, const rows_given *v, size_t count, char *page, size_t at,
                              const space *own) {
    const size_t E = j->append->cache->pool->E;
    if (count == 1)
        j->kernels->copy(1, E, v->dtype, v->data, 0, ATTN_BF16, own->narrow, 0);
    else if (v->data != own->rows)
        j->kernels->copy(count, E, v->dtype, v->data, v->stride, ATTN_F32, own->rows, (ptrdiff_t)E);
    store_panels(j, count == 1 ? ATTN_BF16 : ATTN_F32, count == 1 ? own->narrow : (const void *)own->rows, (ptrdiff_t)E,
                 count, page, at);
}

/* Value i of a batch and those that go with it; returns how many. */
static size_t store_values(const store_job *j, const batch *x, size_t i, const space *own) {
    const attn_dtype type = j->append->cache->pages.form->dtype;
    const size_t at = x->at + i, count = values_at_once(j, at, x->count - i);
    const rows_given v = values_at(j, x, i, count, own);
    if (type == ATTN_INT8)
        store_int8_value(j, &v, x->page, at, own);
    else if (type == ATTN_INT4)
        store_int4_value(j, &v, x->page, at, own);
    else if (type == ATTN_BF16)
        store_bf16_values(j, &v, count, x->page, at, own);
    else
        store_panels(j, v.dtype, v.data, v.stride, count, x->page, at);
    return count;
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
        for (size_t i = 0; i < x.count && !cache->pages.form->latent;)
            i += store_values(j, &x, i, &own);
        for (size_t i = 0; i < x.count;)
            i += store_keys(j, &x, i, &own);
        t += x.count;
    }
}

/* -- what is quantised -- */

static attn_status check_token(attn_context *context, const store_job *j, size_t b, size_t g, size_t t,
                               const space *own) {
    const attni_append *a = j->append;
    const batch x = {.b = b, .g = g, .t = t};
    const rows_given k = keys_at(j, &x, 0, 1, own);
    const bool holds_key = j->kernels->all_finite(1, a->cache->pool->D, k.dtype, k.data, 0);
    if (holds_key && a->cache->pages.form->latent)
        return ATTN_OK;
    const rows_given v = values_at(j, &x, 0, 1, own);
    if (holds_key && j->kernels->all_finite(1, a->cache->pool->E, v.dtype, v.data, 0))
        return ATTN_OK;
    return attni_fail(
        context, ATTN_ERROR_VALUE, "%s has Inf or NaN in sequence %zu, head %zu, token %zu%s, which %s cannot hold",
        holds_key ? "v" : "k", b, g, t, (holds_key ? a->v_turn : a->turn) ? ", normalised and rotated" : "",
        a->cache->pages.form->dtype == ATTN_INT8 ? "int8" : "int4");
}

attn_status attni_store_check(attn_context *context, const attni_append *a, void *scratch) {
    const store_job job = {context->kernels, a, scratch, 0};
    const space own = space_of(&job, 0);
    attn_status status = ATTN_OK;
    if (a->cache->pages.form->dtype != ATTN_INT8 && a->cache->pages.form->dtype != ATTN_INT4)
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

/* -- keys that stand elsewhere from now on -- */

typedef struct shift_job {
    store_job store;
    const attni_shift *shift;
    const float *cosines, *sines; /* [pairs], of the way back */
} shift_job;

/* Column c of groups of `width` columns. */
static void read_groups(size_t n, const char *groups, size_t width, size_t c, float *x) {
    for (size_t i = 0; i < n; i += ATTNI_GROUP, groups += width * attni_group_bytes(true)) {
        const uint16_t *scales = (const uint16_t *)(const void *)groups;
        const float scale = attni_float_of_bf16(scales[c]), offset = attni_float_of_bf16(scales[width + c]);
        const uint8_t *bytes = (const uint8_t *)(scales + 2 * width) + c;
        for (size_t k = 0; k < attni_min(ATTNI_GROUP, n - i); k++) {
            const unsigned byte = bytes[k % (ATTNI_GROUP / 2) * width];
            x[i + k] = scale * (float)(k < ATTNI_GROUP / 2 ? byte & 0xFU : byte >> 4) + offset;
        }
    }
}

/* Key number `at` of a page as f32. */
static void read_key(const store_job *j, char *page, size_t at, size_t g, float *row) {
    const attn_cache *cache = j->append->cache;
    const attni_page_form *form = cache->pages.form;
    const size_t D = cache->pool->D, W = form->width;
    const char *column = column_at(cache, page, at);
    if (form->dtype == ATTN_F32 || form->dtype == ATTN_F16) {
        j->kernels->copy(D, 1, form->dtype, column, (ptrdiff_t)W, ATTN_F32, row, 1);
        return;
    }
    if (form->dtype == ATTN_INT4) {
        read_groups(D, column, W, at % W, row);
        return;
    }
    for (size_t d = 0; d < D; d++)
        row[d] = attni_number_of(form->dtype, column, W, d, 0);
    for (size_t d = 0; d < D && form->dtype == ATTN_INT8; d++)
        row[d] *= scales_of(form, page)[at] * (cache->key_scales ? cache->key_scales[g * D + d] : 1.0F);
}

/* Of one head, the keys of a page. */
static void shift_page(void *arg, size_t unit, size_t worker) {
    const shift_job *j = arg;
    const attn_cache *cache = j->shift->cache;
    const attni_turn *turn = j->shift->turn;
    const size_t G = cache->pool->G, D = cache->pool->D, P = cache->pages.form->tokens, g = unit % G;
    const size_t first = j->shift->begin + unit / G * P, b = j->shift->sequence;
    const size_t count = attni_min(P, (size_t)cache->lengths[b] - first);
    const uint32_t number = cache->table[b * cache->pages.slots + first / P];
    const space own = space_of(&j->store, worker);
    const rows_given row = {own.rows, ATTN_F32, (ptrdiff_t)D};
    for (size_t at = 0; at < count && number != ATTNI_NO_PAGE; at++) {
        char *page = attni_page_at(&cache->pages, number, g);
        read_key(&j->store, page, at, g, own.rows);
        j->store.kernels->rotate(turn->kind, turn->pairs, turn->pairs, own.rows + turn->offset, j->cosines, j->sines);
        const rows_given k = cache->key_scales ? divided(&j->store, &row, cache->key_scales + g * D, &own) : row;
        store_key(&j->store, &k, page, at, column_at(cache, page, at), &own);
    }
}

size_t attni_shift_scratch(const attn_context *context, const attni_shift *s) {
    const size_t angles = s->turn ? 2 * attni_round_up(s->turn->pairs, VECTOR) * sizeof(float) : 0;
    return s->turn ? angles + room_bytes(s->cache->pool) * context->threads : 0;
}

void attni_store_shifted(attn_context *context, const attni_shift *s, void *scratch) {
    enum { FLOPS = 64 }; /* as long as an element takes */
    const attn_cache *cache = s->cache;
    const attni_turn *turn = s->turn;
    const size_t P = cache->pages.form->tokens, tokens = (size_t)cache->lengths[s->sequence] - s->begin;
    const attni_append append = {.cache = s->cache, .turn = turn};
    float *cosines = scratch, *sines = cosines + attni_round_up(turn->pairs, VECTOR);
    for (size_t d = 0; d < turn->pairs; d++) { /* the tables may have a factor, which keys have already */
        cosines[d] = turn->cos[s->count * turn->pairs + d] / turn->cos[d];
        sines[d] = -turn->sin[s->count * turn->pairs + d] / turn->cos[d];
    }
    shift_job job = {.shift = s, .cosines = cosines, .sines = sines};
    job.store = (store_job){context->kernels, &append, (char *)(sines + attni_round_up(turn->pairs, VECTOR)),
                            room_bytes(cache->pool)};
    attni_parallel(context, attni_ceil_div(tokens, P) * cache->pool->G,
                   FLOPS * (double)tokens * (double)(cache->pool->G * cache->pool->D), shift_page, &job);
}
