/* SPDX-License-Identifier: BSD-3-Clause */
#include "support/cache_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/numbers.h"

/* ---- pages ---- */

static size_t free_pages(const struct model_pool *p) {
    size_t n = 0;
    for (size_t i = 0; i < p->pages; i++)
        n += p->users[i] == 0;
    return n;
}

static void give(struct model_pool *p, int *page) {
    if (*page != NO_PAGE)
        p->users[*page]--;
    *page = NO_PAGE;
}

static bool take(struct model_pool *p, int *page) {
    for (size_t i = 0; i < p->pages; i++)
        if (p->users[i] == 0) {
            p->users[i] = 1;
            *page = (int)i;
            return true;
        }
    return false;
}

static struct model_pool new_pool(attn_context *context, struct model_pool pool) {
    attn_cache_pool_params params;
    ATTN_INIT(&params);
    params.pages = pool.pages;
    params.page_size = pool.page_size;
    params.dtype = pool.dtype;
    params.kv_heads = pool.G;
    params.head_width = pool.D;
    params.value_width = pool.latent ? 0 : pool.E;
    params.latent_width = pool.latent ? pool.E : 0;
    assert_ok(context, attn_cache_pool_create(context, &params, &pool.real));
    return pool;
}

struct model_pool new_model_pool(attn_context *context, size_t pages, size_t page_size, attn_dtype dtype, size_t G,
                                 size_t D, size_t E) {
    return new_pool(
        context, (struct model_pool){.dtype = dtype, .pages = pages, .page_size = page_size, .G = G, .D = D, .E = E});
}

struct model_pool new_latent_model_pool(attn_context *context, size_t pages, size_t page_size, attn_dtype dtype,
                                        size_t G, size_t D, size_t E) {
    return new_pool(
        context, (struct model_pool){
                     .dtype = dtype, .pages = pages, .page_size = page_size, .G = G, .D = D, .E = E, .latent = true});
}

/* ---- caches ---- */

static void forget_all(struct model_sequence *s) {
    s->length = s->forgotten = 0;
    for (size_t n = 0; n < MODEL_SLOTS; n++)
        s->pages[n] = NO_PAGE;
}

struct model_cache new_model_cache(attn_context *context, struct model_pool *pool, size_t B, size_t capacity,
                                   size_t window, size_t first_tokens) {
    return new_scaled_model_cache(context, pool, B, capacity, window, first_tokens, NULL);
}

struct model_cache new_scaled_model_cache(attn_context *context, struct model_pool *pool, size_t B, size_t capacity,
                                          size_t window, size_t first_tokens, const float *key_scales) {
    struct model_cache c = {.pool = pool, .B = B, .capacity = capacity, .window = window, .first_tokens = first_tokens};
    attn_cache_params params;
    ATTN_INIT(&params);
    params.batch = B;
    params.capacity = capacity;
    params.pool = pool->real;
    params.window = window;
    params.first_tokens = first_tokens;
    params.key_scales = c.key_scales = key_scales;
    assert_ok(context, attn_cache_create(context, &params, &c.real));
    for (size_t b = 0; b < B; b++) {
        forget_all(&c.of[b]);
        c.of[b].k = calloc(capacity * pool->G * pool->D, sizeof(float));
        c.of[b].v = calloc(capacity * pool->G * pool->E, sizeof(float));
    }
    return c;
}

/* Tokens of the pages that hold first tokens. */
static size_t first_pages(const struct model_cache *c) {
    const size_t P = c->pool->page_size;
    return (c->first_tokens + P - 1) / P * P;
}

/* Whether the token behind `length` ones will see all of its window, if those below `forgotten` are gone. */
static bool has_window(const struct model_cache *c, size_t forgotten, size_t length) {
    return forgotten <= first_pages(c) || length <= first_pages(c) || length + 1 >= forgotten + c->window;
}

static void drop(struct model_cache *c, size_t b, size_t length) {
    for (size_t n = (length + c->pool->page_size - 1) / c->pool->page_size; n < MODEL_SLOTS; n++)
        give(c->pool, &c->of[b].pages[n]);
    c->of[b].length = length;
    if (length <= first_pages(c))
        c->of[b].forgotten = 0;
}

void delete_model_cache(struct model_cache *c) {
    attn_cache_destroy(c->real);
    for (size_t b = 0; b < c->B; b++) {
        drop(c, b, 0);
        free(c->of[b].k);
        free(c->of[b].v);
    }
}

void check_model(attn_context *context, const struct model_cache *c) {
    attn_cache_pool_info info;
    ATTN_INIT(&info);
    assert_ok(context, attn_cache_pool_describe(context, c->pool->real, &info));
    assert_int_equal(info.free_pages, free_pages(c->pool));
    for (size_t b = 0; b < c->B; b++)
        assert_int_equal(attn_cache_length(c->real, b), c->of[b].length);
}

/* Whole multiples of a power of two: of int8 up to 127 times, of int4 from −8 to 7, both in each group. */
static double storable(attn_dtype stored, size_t at) {
    if (stored == ATTN_INT8)
        return (at == 0 ? 127 : (double)random_below(255) - 127) * 0x1p-6;
    if (stored == ATTN_INT4)
        return (at % 32 == 0 ? -8 : at % 32 == 1 ? 7 : (double)random_below(16) - 8) * 0x1p-2;
    return rounded_to(stored, (double)random_normal());
}

static void fill_storable(attn_tensor t, attn_dtype stored) {
    for (size_t n = 0; n < element_count(t); n++)
        set_value(t, n, storable(stored, n % t.size[3]));
}

attn_tensor new_storable(attn_dtype stored, enum layout layout, size_t B, size_t heads, size_t T, size_t width) {
    const bool narrow = (stored == ATTN_F16 || stored == ATTN_BF16) && random_below(2);
    const attn_tensor t = new_tensor_of(narrow ? stored : ATTN_F32, layout, B, heads, T, width);
    fill_storable(t, stored);
    return t;
}

/* ---- changing it ---- */

/* Tokens of sequence b, and where they begin. */
static size_t count_of(const struct model_tokens *t, size_t b) {
    const int64_t *starts = t->params.starts;
    return t->params.counts ? (size_t)t->params.counts[b] : starts ? (size_t)(starts[b + 1] - starts[b]) : t->k.size[2];
}

static size_t start_of(const struct model_tokens *t, size_t b) {
    return t->params.starts ? (size_t)t->params.starts[b] : 0;
}

/* Pages that the next token's query, the last token's `window` − 1 included, does not reach. */
static void forget(struct model_cache *c, size_t b) {
    struct model_sequence *s = &c->of[b];
    for (size_t n = 0; c->window && n < MODEL_SLOTS; n++) {
        const size_t first = n * c->pool->page_size, end = first + c->pool->page_size;
        if (first >= c->first_tokens && end + c->window <= s->length + 1) {
            give(c->pool, &s->pages[n]);
            s->forgotten = end;
        }
    }
}

static bool make_room(struct model_cache *c, size_t b, size_t count) {
    struct model_sequence *s = &c->of[b];
    const size_t P = c->pool->page_size;
    int *last = &s->pages[s->length / P];
    if (count && s->length % P && c->pool->users[*last] > 1) {
        give(c->pool, last);
        if (!take(c->pool, last))
            return false;
    }
    for (size_t n = (s->length + P - 1) / P; n < (s->length + count + P - 1) / P; n++)
        if (!take(c->pool, &s->pages[n]))
            return false;
    return true;
}

static bool append_pages(struct model_cache *c, const struct model_tokens *t) {
    for (size_t b = 0; b < c->B; b++)
        if (c->of[b].length + count_of(t, b) > c->capacity)
            return false;
    for (size_t b = 0; b < c->B; b++)
        if (count_of(t, b))
            forget(c, b);
    for (size_t b = 0; b < c->B; b++)
        if (!make_room(c, b, count_of(t, b)))
            return false;
    return true;
}

static void store(const struct model_sequence *s, float *to, size_t width, attn_tensor t, size_t b, size_t start,
                  size_t count) {
    const size_t G = t.size[1];
    for (size_t i = 0; i < count; i++)
        for (size_t g = 0; g < G; g++)
            for (size_t d = 0; d < width; d++)
                to[((s->length + i) * G + g) * width + d] = (float)value_at(t, b, g, start + i, d);
}

static void store_tokens(struct model_cache *c, const struct model_tokens *t) {
    const attn_tensor k = t->kept.data ? t->kept : t->k, v = c->pool->latent ? k : t->v;
    for (size_t b = 0; b < c->B; b++) {
        struct model_sequence *s = &c->of[b];
        store(s, s->k, c->pool->D, k, t->params.starts ? 0 : b, start_of(t, b), count_of(t, b));
        store(s, s->v, c->pool->E, v, t->params.starts ? 0 : b, start_of(t, b), count_of(t, b));
        s->length += count_of(t, b);
    }
}

attn_status model_append_as(attn_context *context, struct model_cache *c, const struct model_tokens *t) {
    const struct model_pool pool = *c->pool;
    const struct model_cache before = *c;
    const bool fits = append_pages(c, t);
    const attn_status want = fits ? ATTN_OK : ATTN_ERROR_FULL;
    const attn_status status = attn_cache_append(context, c->real, &t->k, c->pool->latent ? NULL : &t->v, &t->params);
    if (!(fits && t->starved && status == ATTN_ERROR_MEMORY))
        assert_status(context, status, want);
    if (status == ATTN_OK) {
        store_tokens(c, t);
    } else {
        *c = before;
        *c->pool = pool;
    }
    check_model(context, c);
    return status;
}

attn_status model_append(attn_context *context, struct model_cache *c, attn_tensor k, attn_tensor v,
                         const int64_t *counts) {
    return model_append_as(
        context, c,
        &(struct model_tokens){
            .k = k, .v = v, .params = {.struct_size = sizeof(attn_cache_append_params), .counts = counts}});
}

attn_status model_truncate(attn_context *context, struct model_cache *c, size_t sequence, size_t length) {
    const struct model_sequence *s = &c->of[sequence];
    const bool fits = length <= s->length && has_window(c, s->forgotten, length);
    const attn_status want = fits ? ATTN_OK : ATTN_ERROR_SHAPE;
    assert_status(context, attn_cache_truncate(context, c->real, sequence, length), want);
    if (want == ATTN_OK)
        drop(c, sequence, length);
    check_model(context, c);
    return want;
}

/* `to`, which is empty, becomes what `from` is. */
static void share(struct model_cache *c, const struct model_sequence *s, struct model_sequence *t) {
    const struct model_pool *pool = c->pool;
    memcpy(t->k, s->k, s->length * pool->G * pool->D * sizeof(float));
    memcpy(t->v, s->v, s->length * pool->G * pool->E * sizeof(float));
    memcpy(t->pages, s->pages, sizeof t->pages);
    t->length = s->length;
    t->forgotten = s->forgotten;
    for (size_t n = 0; n < MODEL_SLOTS; n++)
        if (t->pages[n] != NO_PAGE)
            c->pool->users[t->pages[n]]++;
}

void model_fork(attn_context *context, struct model_cache *c, size_t from, size_t to) {
    assert_ok(context, attn_cache_fork(context, c->real, from, to));
    if (from != to) {
        drop(c, to, 0);
        share(c, &c->of[from], &c->of[to]);
    }
    check_model(context, c);
}

void model_reorder(attn_context *context, struct model_cache *c, const int64_t *from) {
    struct model_sequence before[MODEL_BATCH];
    assert_ok(context, attn_cache_reorder(context, c->real, from));
    memcpy(before, c->of, sizeof before);
    for (size_t b = 0; b < c->B; b++) {
        c->of[b].k = calloc(c->capacity * c->pool->G * c->pool->D, sizeof(float));
        c->of[b].v = calloc(c->capacity * c->pool->G * c->pool->E, sizeof(float));
        share(c, &before[from[b]], &c->of[b]);
    }
    for (size_t b = 0; b < c->B; b++) {
        for (size_t n = 0; n < MODEL_SLOTS; n++)
            give(c->pool, &before[b].pages[n]);
        free(before[b].k);
        free(before[b].v);
    }
    check_model(context, c);
}

attn_status model_shift(attn_context *context, struct model_cache *c, size_t sequence, size_t begin, size_t count) {
    const size_t P = c->pool->page_size, kD = c->pool->G * c->pool->D, vE = c->pool->G * c->pool->E;
    struct model_sequence *s = &c->of[sequence];
    const size_t before = s->forgotten < begin ? 0 : s->forgotten - begin < count ? s->forgotten - begin : count;
    const bool fits = begin % P == 0 && count % P == 0 && begin + count <= s->length && begin >= c->first_tokens &&
                      has_window(c, s->forgotten - before, s->length - count);
    const attn_status want = fits ? ATTN_OK : ATTN_ERROR_SHAPE;
    assert_status(context, attn_cache_shift(context, c->real, sequence, begin, count, NULL), want);
    if (fits) {
        const size_t gone = count / P, left = s->length - begin - count;
        for (size_t n = begin / P; n < begin / P + gone; n++)
            give(c->pool, &s->pages[n]);
        memmove(s->pages + begin / P, s->pages + begin / P + gone, (MODEL_SLOTS - begin / P - gone) * sizeof *s->pages);
        for (size_t n = MODEL_SLOTS - gone; n < MODEL_SLOTS; n++)
            s->pages[n] = NO_PAGE;
        memmove(s->k + begin * kD, s->k + (begin + count) * kD, left * kD * sizeof *s->k);
        memmove(s->v + begin * vE, s->v + (begin + count) * vE, left * vE * sizeof *s->v);
        s->length -= count;
        s->forgotten = s->forgotten - before > first_pages(c) ? s->forgotten - before : 0;
    }
    check_model(context, c);
    return want;
}

void model_reset(attn_context *context, struct model_cache *c) {
    assert_ok(context, attn_cache_reset(context, c->real));
    for (size_t b = 0; b < c->B; b++)
        drop(c, b, 0);
    check_model(context, c);
}

/* ---- looking at it ---- */

size_t model_longest(const struct model_cache *c) {
    size_t longest = 0;
    for (size_t b = 0; b < c->B; b++)
        longest = c->of[b].length > longest ? c->of[b].length : longest;
    return longest;
}

size_t model_queries(const struct model_cache *c, size_t most) {
    for (size_t b = 0; b < c->B; b++) {
        const struct model_sequence *s = &c->of[b];
        const size_t there = s->length + 1 - (s->forgotten ? s->forgotten + c->window : 0);
        most = s->forgotten && there < most ? there : most;
    }
    return most;
}

attn_tensor model_tokens(const struct model_cache *c, bool values) {
    const size_t G = c->pool->G, width = values ? c->pool->E : c->pool->D, longest = model_longest(c);
    const attn_tensor t = new_tensor(BHTD, c->B, G, longest, width);
    for (size_t b = 0; b < c->B; b++)
        for (size_t g = 0; g < G; g++)
            for (size_t i = 0; i < longest; i++)
                for (size_t d = 0; d < width; d++)
                    *element_at(t, b, g, i, d) =
                        i < c->of[b].length ? (values ? c->of[b].v : c->of[b].k)[(i * G + g) * width + d] : NAN;
    return t;
}

const int64_t *model_lengths(const struct model_cache *c) {
    int64_t lengths[MODEL_BATCH];
    for (size_t b = 0; b < c->B; b++)
        lengths[b] = (int64_t)c->of[b].length;
    return new_integers(lengths, c->B);
}

/* Query i of the last `queries` ones of each sequence sees key j > p − window, p = i + length − queries. */
static const attn_tensor *window_mask(const struct model_cache *c, const size_t *queries, size_t Tq, size_t Tk) {
    const attn_tensor t = new_tensor_of(ATTN_BOOL, BHTD, c->B, 1, Tq, Tk);
    for (size_t b = 0; b < c->B; b++)
        for (size_t i = 0; i < Tq; i++)
            for (size_t j = 0; j < Tk; j++)
                set_value_at(t, b, 0, i, j, j < c->first_tokens || j + queries[b] + c->window > i + c->of[b].length);
    return new_view(t);
}

static void set_window(const struct model_cache *c, const size_t *queries, struct sdpa_case *of) {
    size_t Tq = 0;
    for (size_t b = 0; b < c->B; b++)
        Tq = queries[b] > Tq ? queries[b] : Tq;
    if (!c->window)
        return;
    of->params.mask = window_mask(c, queries, Tq, model_longest(c));
    of->params.polarity = ATTN_KEEP;
    of->params.first_keys = c->first_tokens;
}

struct sdpa_case model_case(const struct model_cache *c, size_t H, size_t Tq) {
    struct sdpa_case of = {.lse = true, .score_size = 1, .value_size = 2};
    ATTN_INIT(&of.params);
    of.k = model_tokens(c, false);
    of.v = model_tokens(c, true);
    of.q = new_normal(BHTD, c->B, H, Tq, c->pool->D);
    of.params.key_lengths = model_lengths(c);
    set_window(c, (const size_t[MODEL_BATCH]){Tq, Tq, Tq, Tq}, &of);
    return of;
}

/* N+1 starts of sequences, a token before each; *total in all. */
static const int64_t *starts_of(const size_t *tokens, size_t N, size_t *total) {
    int64_t starts[MODEL_BATCH + 1];
    *total = 1;
    for (size_t n = 0; n < N; n++) {
        starts[n] = (int64_t)*total;
        *total += tokens[n];
    }
    starts[N] = (int64_t)*total;
    ++*total;
    return new_integers(starts, N + 1);
}

/* Tokens of model_tokens one sequence after the other. */
static attn_tensor in_a_row(const struct model_cache *c, bool values, const int64_t *starts, size_t total) {
    const attn_tensor t = model_tokens(c, values), row = new_tensor(BHTD, 1, t.size[1], total, t.size[3]);
    for (size_t b = 0; b < c->B; b++)
        for (size_t g = 0; g < t.size[1]; g++)
            for (size_t i = 0; i < c->of[b].length; i++)
                for (size_t d = 0; d < t.size[3]; d++)
                    set_value_at(row, 0, g, (size_t)starts[b] + i, d, value_at(t, b, g, i, d));
    return row;
}

struct sdpa_case model_ragged_case(const struct model_cache *c, size_t H, const size_t *queries) {
    struct sdpa_case of = {.lse = true, .score_size = 1, .value_size = 2};
    size_t lengths[MODEL_BATCH] = {0}, tokens, keys;
    for (size_t b = 0; b < c->B; b++)
        lengths[b] = c->of[b].length;
    ATTN_INIT(&of.params);
    of.params.sequences = c->B;
    of.params.query_starts = starts_of(queries, c->B, &tokens);
    of.params.key_starts = starts_of(lengths, c->B, &keys);
    of.q = new_normal(BHTD, 1, H, tokens, c->pool->D);
    of.k = in_a_row(c, false, of.params.key_starts, keys);
    of.v = in_a_row(c, true, of.params.key_starts, keys);
    set_window(c, queries, &of);
    return of;
}

struct sdpa_result model_attend(attn_context *context, const struct model_cache *c, const struct sdpa_case *of) {
    const struct sdpa_result r = new_sdpa_result(of);
    attn_top_keys top;
    attn_sdpa_params params = params_for(of, &r, &top);
    bool own = params.key_lengths != NULL;
    for (size_t b = 0; b < c->B && own; b++)
        own = params.key_lengths[b] == (int64_t)c->of[b].length;
    params.key_lengths = own ? NULL : params.key_lengths;
    params.key_starts = NULL;
    if (c->window) {
        params.mask = NULL;
        params.first_keys = 0;
        params.polarity = params.key_mask ? params.polarity : ATTN_POLARITY_UNSET;
    }
    assert_ok(context, attn_cache_attend(context, c->real, &of->q, &r.out, &params));
    assert_gaps_untouched(r.out);
    assert_gaps_untouched(r.lse);
    return r;
}
