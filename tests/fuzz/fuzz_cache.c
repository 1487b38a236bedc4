/* SPDX-License-Identifier: BSD-3-Clause */
/* Random appends, truncations, forks, resets and attentions over several caches that share one small pool, padded and
 * ragged, with and without memory, against recomputation from scratch. */
#include <math.h>
#include <stdlib.h>

#include "fuzz.h"
#include "support/cache_model.h"
#include "support/meter.h"
#include "support/turns.h"
#include "support/variants.h"

enum { CACHES = 3 };

struct world {
    attn_context *contexts[FUZZ_CONTEXTS];
    size_t count;
    attn_context *maker; /* of the pool, whose blocks are as wide as its backend likes them */
    struct model_pool pool;
    struct model_cache caches[CACHES];
    bool tall;  /* a cache whose sequences are longer than a segment */
    bool turns; /* keys are normed and rotated as they come */
    struct turns turn;
};

static attn_context *any_context(const struct world *w) { return w->contexts[random_below(w->count)]; }

/* One that has no memory but its own. */
static attn_context *starved_context(const struct world *w, struct meter *meter) {
    attn_context_options options = fuzz_options(random_below(w->count), 1);
    attn_context *context = NULL;
    *meter = (struct meter){0};
    options.allocator = metered(meter, 1).allocator;
    assert_ok(NULL, attn_context_create(&options, &context));
    meter->fail_at = meter->calls + 1;
    return context;
}

/* ---- a world ---- */

/* Powers of two, so that storable keys times these are storable. They live as long as the caches. */
static const float *random_scales(const struct model_pool *p) {
    float *scales = new_floats(p->G * p->D);
    for (size_t n = 0; n < p->G * p->D; n++)
        scales[n] = ldexpf(1, (int)random_below(3) - 1);
    return scales;
}

static struct model_cache random_cache(struct world *w) {
    static const size_t windows[] = {1, 5, 100, 128, 129, 200, 256, 300}, firsts[] = {0, 1, 4, 127, 128, 130, 300};
    const size_t window = random_below(3) ? 0 : random_pick(windows), first = window ? random_pick(firsts) : 0;
    const size_t B = 1 + random_below(MODEL_BATCH), capacity = 1 + random_below(w->tall ? 5000 : w->turns ? 380 : 600);
    const float *scales =
        w->pool.dtype == ATTN_INT8 && !w->pool.latent && random_below(2) ? random_scales(&w->pool) : NULL;
    return new_scaled_model_cache(any_context(w), &w->pool, B, capacity, window, first, scales);
}

static const float *weights_or_none(size_t n) { return random_below(2) ? random_weights(n) : NULL; }

static void make_turns(struct world *w) {
    const size_t D = w->pool.D, width = random_below(2) && D % 2 == 0 ? 0 : D / 4 * 2;
    w->turn.rotary = rotary_of(w->contexts[0], (attn_rotary_kind)random_below(2), width, D, TABLE);
    ATTN_INIT(&w->turn.norm);
    w->turn.norm.kind = (attn_norm_kind)random_below(3);
    w->turn.norm.all_heads = random_below(3) == 0;
    w->turn.norm.after_rotary = random_below(3) == 0;
    w->turn.norm.k_weight = weights_or_none(w->pool.G * D);
    w->turn.norm.q_weight = w->turn.norm.all_heads ? NULL : weights_or_none(D);
    w->turn.rotary.offset = random_below(D - (width ? width : D) + 1);
}

static void new_world(struct world *w, struct input *in) {
    static const size_t widths[] = {1, 3, 8, 8, 16, 24, 40, 64, 70}, page_sizes[] = {128, 128, 256, 2048};
    static const attn_dtype types[] = {ATTN_F32, ATTN_F16, ATTN_BF16, ATTN_INT8, ATTN_INT4};
    const attn_dtype dtype = take_pick(in, types);
    w->tall = take_below(in, 128) == 1;
    const size_t page_size = take_pick(in, page_sizes), pages = (w->tall ? 40 : 6) + take_below(in, 16);
    w->maker = any_context(w);
    const size_t G = 1 + take_below(in, 2), D = take_pick(in, widths), E = take_pick(in, widths);
    w->pool = E <= D && take_below(in, 3) == 0 ? new_latent_model_pool(w->maker, pages, page_size, dtype, G, D, E)
                                               : new_model_pool(w->maker, pages, page_size, dtype, G, D, E);
    w->turns = dtype == ATTN_F32 && !w->tall && w->pool.D > 3 && take_below(in, 2);
    if (w->turns)
        make_turns(w);
    for (size_t n = 0; n < CACHES; n++)
        w->caches[n] = random_cache(w);
}

static void end_world(struct world *w) {
    attn_cache_pool_info info;
    ATTN_INIT(&info);
    for (size_t n = 0; n < CACHES; n++)
        delete_model_cache(&w->caches[n]);
    assert_ok(w->contexts[0], attn_cache_pool_describe(w->contexts[0], w->pool.real, &info));
    assert_int_equal(info.free_pages, info.pages);
    assert_int_equal(info.pages, w->pool.pages);
    attn_cache_pool_destroy(w->pool.real);
}

/* ---- appending ---- */

/* Sequences of up to `most` tokens, or some of them none; something may be before them and between them and the end. */
static const int64_t *random_starts(size_t B, size_t most, size_t *total) {
    int64_t starts[MODEL_BATCH + 1];
    *total = random_below(3);
    for (size_t b = 0; b <= B; b++) {
        starts[b] = (int64_t)*total;
        *total += b < B ? random_below(most + 1) : random_below(3);
    }
    return new_integers(starts, B + 1);
}

static const int64_t *random_counts(const struct model_cache *c, const int64_t *starts, size_t T) {
    int64_t counts[MODEL_BATCH];
    for (size_t b = 0; b < c->B; b++) {
        const size_t most = starts ? (size_t)(starts[b + 1] - starts[b]) : T;
        counts[b] = (int64_t)(random_below(4) ? random_below(most + 1) : random_below(2) * most);
    }
    return new_integers(counts, c->B);
}

/* The keys as they are kept, each where attn_cache_append puts it. */
static attn_tensor turned_keys(const struct world *w, const struct model_cache *c, const struct model_tokens *t) {
    const size_t *size = t->k.size;
    const attn_tensor kept = new_tensor(BHTD, size[0], size[1], size[2], size[3]);
    double *row = new_doubles(size[3]);
    for (size_t b = 0; b < c->B; b++) {
        const int64_t *starts = t->params.starts;
        const size_t start = starts ? (size_t)starts[b] : 0, at = starts ? 0 : b;
        const size_t most = starts ? (size_t)(starts[b + 1] - starts[b]) : size[2];
        for (size_t i = 0; i < most && c->of[b].length + i < TABLE; i++)
            for (size_t g = 0; g < size[1]; g++) {
                const struct place place = {.position = c->of[b].length + i};
                turn_row(t->k, at, g, start + i, &w->turn.norm, w->turn.norm.k_weight, &w->turn.rotary, &place, row);
                for (size_t d = 0; d < size[3]; d++)
                    set_value_at(kept, at, g, start + i, d, row[d]);
            }
    }
    return kept;
}

static struct model_tokens random_tokens(const struct world *w, const struct model_cache *c) {
    static const size_t most[] = {2, 2, 2, 20, 20, 70, 200, 400};
    const struct model_pool *p = &w->pool;
    struct model_tokens t = {.starved = false};
    size_t T = random_below(random_pick(most)), B = c->B;
    ATTN_INIT(&t.params);
    if (random_below(3) == 0) {
        t.params.starts = random_starts(B, T, &T);
        B = 1;
    }
    t.k = new_storable(p->dtype, (enum layout)random_below(OUTPUT_LAYOUTS), B, p->G, T, p->D);
    for (size_t n = 0; n < element_count(t.k) && c->key_scales; n++)
        set_value(t.k, n, value(t.k, n) * (double)c->key_scales[n / p->D / T % p->G * p->D + n % p->D]);
    t.v = new_storable(p->dtype, (enum layout)random_below(OUTPUT_LAYOUTS), B, p->G, T, p->E);
    if (random_below(2))
        t.params.counts = random_counts(c, t.params.starts, T);
    if (w->turns) {
        t.params.qk_norm = &w->turn.norm;
        t.params.rotary = &w->turn.rotary;
        t.kept = turned_keys(w, c, &t);
    }
    return t;
}

/* What failed for want of memory is done again with it. */
static void append(struct world *w, struct model_cache *c) {
    struct model_tokens t = random_tokens(w, c);
    struct meter meter;
    t.starved = random_below(8) == 0;
    attn_context *context = t.starved ? starved_context(w, &meter) : any_context(w);
    const attn_status status = model_append_as(context, c, &t);
    if (!t.starved)
        return;
    attn_context_destroy(context);
    assert_int_equal(meter.live, 0);
    t.starved = false;
    if (status == ATTN_ERROR_MEMORY)
        (void)model_append_as(any_context(w), c, &t);
}

static void truncate_one(struct world *w, struct model_cache *c) {
    const size_t b = random_below(c->B), length = c->of[b].length, back = random_below(random_below(2) ? 10 : 400);
    const size_t to = random_below(20) == 0 ? length + 1 : length > back ? length - back : 0;
    (void)model_truncate(any_context(w), c, b, to);
}

/* ---- attending ---- */

/* Options that agree with any cache; those of the keys' places only where the cache has no window of its own. Tq is the
 * most queries of a sequence. */
static void add_options(const struct model_cache *c, struct sdpa_case *of, size_t Tq) {
    const size_t H = of->q.size[1], Tk = model_longest(c);
    static const attn_window windows[] = {{5, 0}, {100, 3}, {-1, 10}, {150, -1}};
    of->params.causal = random_below(3) ? ATTN_CAUSAL_BOTTOM_RIGHT : ATTN_CAUSAL_NONE;
    of->params.softcap = random_below(4) ? 0 : 5;
    if (random_below(4) == 0)
        of->params.bias = new_view(new_normal(BHTD, 1, H, random_below(2) ? Tq : 1, Tk));
    if (random_below(4) == 0)
        of->params.alibi = ATTN_ALIBI_STANDARD;
    if (random_below(4) == 0) {
        float *sinks = new_floats(H);
        for (size_t h = 0; h < H; h++)
            sinks[h] = random_normal();
        of->params.sinks = sinks;
    }
    if (random_below(4) == 0) {
        const attn_tensor mask = new_tensor_of(ATTN_BOOL, BHTD, c->B, 1, 1, Tk);
        for (size_t n = 0; n < element_count(mask); n++)
            set_value(mask, n, (double)random_below(2));
        of->params.key_mask = new_view(mask);
        of->params.polarity = ATTN_KEEP;
    }
    if (random_below(4) == 0)
        of->params.chunk = 1 + random_below(150);
    if (of->params.causal && random_below(4) == 0)
        of->params.causal_block = random_below(40);
    if (random_below(4) == 0)
        of->params.documents = new_spans(c->B, Tk, random_below(2));
    if (random_below(4) == 0)
        of->params.spans = new_spans(c->B, Tk, random_below(2));
    if (random_below(4) == 0 && !c->key_scales) /* which its q and k would show */
        of->params.score = lean;
    if (random_below(6) == 0)
        set_sigmoid(of);
    if (random_below(4) == 0)
        of->params.key_lists = new_key_lists((attn_key_lists){.batch = c->B,
                                                              .heads = random_below(2) ? 1 : H,
                                                              .count = random_below(5),
                                                              .queries = 1 + random_below(20),
                                                              .keys = 1 + random_below(100)},
                                             Tq, Tk);
    if (c->window)
        return;
    if (random_below(4) == 0)
        of->params.first_keys = random_below(140);
    if (random_below(4) == 0 && of->params.causal_block < 2)
        of->params.causal = ATTN_CAUSAL_NONE, of->params.alignment = ATTN_CAUSAL_TOP_LEFT;
    else if (random_below(4) == 0)
        of->params.causal = ATTN_CAUSAL_TOP_LEFT;
    if (random_below(3) == 0)
        of->params.window = &windows[random_below(COUNT(windows))];
    if (random_below(3) == 0) {
        int64_t *lengths = new_integers(model_lengths(c), c->B);
        for (size_t b = 0; b < c->B; b++)
            lengths[b] = (int64_t)random_below((size_t)lengths[b] + 1);
        of->params.key_lengths = lengths;
    }
}

/* No tree is larger than a sequence. */
static void add_tree(const struct model_cache *c, struct sdpa_case *of) {
    const size_t fewest = fewest_keys(&of->params, c->B, of->q.size[2], of->k.size[2]);
    if (random_below(4) == 0 && fewest > 0)
        of->params.tree = new_tree(1 + random_below(fewest < 80 ? fewest : 80), of->q.size[0] * of->q.size[2]);
}

/* Each query has a place in the tables. */
static bool positions_fit(const struct model_cache *c, const struct sdpa_case *of) {
    for (size_t b = 0; b < c->B; b++) {
        const span s = span_of(&of->params, b, of->q.size[2], of->k.size[2]);
        if (first_position(&of->params, &s, b) < 0)
            return false;
    }
    return true;
}

/* The same tokens in fresh pages, appended at once. */
static struct model_cache fresh_copy(struct world *w, const struct model_cache *c, struct model_pool *pool) {
    const struct model_pool *p = &w->pool;
    const size_t pages = c->B * (model_longest(c) + p->page_size - 1) / p->page_size + c->B;
    attn_context *context = w->maker;
    *pool = p->latent ? new_latent_model_pool(context, pages, p->page_size, p->dtype, p->G, p->D, p->E)
                      : new_model_pool(context, pages, p->page_size, p->dtype, p->G, p->D, p->E);
    struct model_cache copy =
        new_scaled_model_cache(context, pool, c->B, c->capacity, c->window, c->first_tokens, c->key_scales);
    const attn_tensor k = model_tokens(c, false), v = model_tokens(c, true);
    assert_int_equal(model_append(context, &copy, k, v, model_lengths(c)), ATTN_OK);
    return copy;
}

/* Which pages tokens are in, and how they came, changes no bit. */
static void check_pages(struct world *w, attn_context *context, const struct model_cache *c, const struct sdpa_case *of,
                        const struct sdpa_result *got) {
    struct model_pool pool;
    struct model_cache copy = fresh_copy(w, c, &pool);
    const struct sdpa_result same = model_attend(context, &copy, of);
    assert_same_result(got, &same);
    delete_model_cache(&copy);
    attn_cache_pool_destroy(pool.real);
}

static void check_starved(const struct world *w, const struct model_cache *c, const struct sdpa_case *of) {
    struct meter meter;
    attn_context *context = starved_context(w, &meter);
    const attn_tensor out = new_sdpa_result(of).out;
    attn_sdpa_params params = of->params;
    params.key_starts = NULL;
    if (c->window) {
        params.mask = NULL;
        params.first_keys = 0;
        params.polarity = params.key_mask ? params.polarity : ATTN_POLARITY_UNSET;
    }
    const attn_status status = attn_cache_attend(context, c->real, &of->q, &out, &params);
    assert_true(status == ATTN_OK || status == ATTN_ERROR_MEMORY);
    if (status != ATTN_OK)
        assert_untouched(out);
    attn_context_destroy(context);
    assert_int_equal(meter.live, 0);
}

static struct sdpa_case random_attend(const struct world *w, const struct model_cache *c) {
    static const size_t most[] = {1, 1, 1, 4, 4, 17, 70};
    const size_t Tq = model_queries(c, random_pick(most)), H = w->pool.G * (1 + random_below(3));
    size_t queries[MODEL_BATCH] = {0}, longest = 0;
    for (size_t b = 0; b < c->B; b++) {
        queries[b] = random_below(Tq + 1);
        longest = queries[b] > longest ? queries[b] : longest;
    }
    const bool ragged = random_below(3) == 0;
    struct sdpa_case of = ragged ? model_ragged_case(c, H, queries) : model_case(c, H, Tq);
    add_options(c, &of, ragged ? longest : Tq);
    add_tree(c, &of);
    return of;
}

static void attend(struct world *w, const struct model_cache *c) {
    attn_context *context = any_context(w);
    struct sdpa_case of = random_attend(w, c);
    struct sdpa_case plain = of;
    if (random_below(8) == 0)
        check_starved(w, c, &of);
    if (w->turns) {
        of.params.qk_norm = &w->turn.norm;
        of.params.rotary = positions_fit(c, &of) ? &w->turn.rotary : NULL;
        plain.q = turned(of.q, &of, TURNED_Q);
        plain.score_size = 8;
    }
    if (w->pool.dtype == ATTN_BF16 && !of.params.score && describe(context).precision != ATTN_PRECISION_F32)
        fuzz_round(&plain);
    const struct sdpa_result got = model_attend(context, c, &of);
    assert_sdpa_near(&plain, &got);
    if (!w->turns && random_below(2))
        check_pages(w, context, c, &of, &got);
}

/* ---- an input ---- */

static void replace(struct world *w, struct model_cache *c) {
    delete_model_cache(c);
    *c = random_cache(w);
}

static void reorder(struct world *w, struct model_cache *c) {
    int64_t from[MODEL_BATCH];
    for (size_t b = 0; b < c->B; b++)
        from[b] = (int64_t)random_below(c->B);
    model_reorder(any_context(w), c, from);
}

/* By whole pages, mostly. What is shifted would have to be turned again. */
static void shift(struct world *w, struct model_cache *c) {
    const size_t b = random_below(c->B), P = w->pool.page_size, pages = c->of[b].length / P;
    const size_t begin = random_below(pages + 1) * P, count = random_below(pages + 2) * P;
    if (!w->turns)
        (void)model_shift(any_context(w), c, b, begin + (random_below(20) == 0), count + (random_below(20) == 0));
}

static void step(struct world *w, size_t number, struct input *in) {
    struct model_cache *c = &w->caches[take_below(in, CACHES)];
    const size_t choice = take_below(in, 100);
    name_case(
        "cache: step %zu, choice %zu, cache %td, type %d, D=%zu E=%zu page %zu window %zu first %zu turns %d latent %d",
        number, choice, c - w->caches, (int)w->pool.dtype, w->pool.D, w->pool.E, w->pool.page_size, c->window,
        c->first_tokens, w->turns, w->pool.latent);
    if (choice < 45)
        append(w, c);
    else if (choice < 60)
        truncate_one(w, c);
    else if (choice < 63)
        reorder(w, c);
    else if (choice < 68)
        shift(w, c);
    else if (choice < 75)
        model_fork(any_context(w), c, random_below(c->B), random_below(c->B));
    else if (choice < 77)
        model_reset(any_context(w), c);
    else if (choice < 79)
        replace(w, c);
    else
        attend(w, c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static attn_context *one[FUZZ_CONTEXTS], *three[FUZZ_CONTEXTS];
    struct input in = {data, size};
    struct world w = {.count = fuzz_contexts(one, 1)};
    (void)fuzz_contexts(three, 3);
    seed(take_bits(&in));
    for (size_t i = 0; i < w.count; i++)
        w.contexts[i] = take_below(&in, 4) ? one[i] : three[i];
    new_world(&w, &in);
    for (size_t i = 0, steps = 8 + take_below(&in, 24); i < steps; i++)
        step(&w, i, &in);
    end_world(&w);
    end_case();
    return 0;
}
