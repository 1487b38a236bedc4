/* SPDX-License-Identifier: BSD-3-Clause */
/* Random appends, truncations, forks, resets and attentions over several caches that share one small pool, against
 * recomputation from scratch.  test_cache_fuzz [STEPS [SEED]] */
#include <stdlib.h>

#include "cache_model.h"

enum { CACHES = 3, CAPACITY = 700 };

static size_t steps = 700;
static uint64_t only_seed;

struct world {
    attn_context *contexts[ISAS];
    size_t isas;
    uint64_t seed;
    struct model_pool pool;
    struct model_cache caches[CACHES];
    bool tall; /* a cache whose sequences are longer than a segment */
};

static attn_context *any_context(const struct world *w) { return w->contexts[random_below(w->isas)]; }

static struct model_cache random_cache(struct world *w) {
    static const size_t windows[] = {1, 5, 100, 128, 129, 200, 256, 300}, firsts[] = {0, 1, 4, 127, 128, 130, 300};
    const size_t window = random_below(3) ? 0 : random_pick(windows), first = window ? random_pick(firsts) : 0;
    const size_t B = 1 + random_below(MODEL_BATCH), capacity = 1 + random_below(w->tall ? 5000 : CAPACITY);
    return new_model_cache(any_context(w), &w->pool, B, capacity, window, first);
}

static void new_world(struct world *w, uint64_t number, attn_dtype dtype) {
    static const size_t widths[] = {1, 3, 8, 24, 40, 64, 70, 136}, page_sizes[] = {128, 128, 256, 2048};
    seed(number);
    w->seed = number;
    w->tall = number % 8 == 0 && steps > 100;
    const size_t page_size = random_pick(page_sizes), pages = (w->tall ? 40 : 6) + random_below(16);
    w->pool = new_model_pool(any_context(w), pages, page_size, dtype, 1 + random_below(3), random_pick(widths),
                             random_pick(widths));
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

static void append(struct world *w, struct model_cache *c) {
    static const size_t most[] = {2, 2, 20, 70, 200, 800};
    const struct model_pool *p = &w->pool;
    const size_t T = random_below(random_pick(most));
    const attn_tensor k = new_storable(p->dtype, (enum layout)random_below(OUTPUT_LAYOUTS), c->B, p->G, T, p->D);
    const attn_tensor v = new_storable(p->dtype, (enum layout)random_below(OUTPUT_LAYOUTS), c->B, p->G, T, p->E);
    int64_t counts[MODEL_BATCH];
    for (size_t b = 0; b < c->B; b++)
        counts[b] = (int64_t)(random_below(4) ? random_below(T + 1) : random_below(2) * T);
    (void)model_append(any_context(w), c, k, v, random_below(2) ? counts : NULL);
}

static void truncate_one(struct world *w, struct model_cache *c) {
    const size_t b = random_below(c->B), length = c->of[b].length, back = random_below(random_below(2) ? 10 : 400);
    const size_t to = random_below(20) == 0 ? length + 1 : length > back ? length - back : 0;
    (void)model_truncate(any_context(w), c, b, to);
}

/* Options that agree with any cache; those of the keys' places only where the cache has no window of its own. */
static void add_options(const struct model_cache *c, struct sdpa_case *of) {
    const size_t *q = of->q.size, Tk = of->k.size[2];
    static const attn_window windows[] = {{5, 0}, {100, 3}, {-1, 10}, {150, -1}};
    of->params.causal = random_below(3) ? ATTN_CAUSAL_BOTTOM_RIGHT : ATTN_CAUSAL_NONE;
    of->params.softcap = random_below(4) ? 0 : 5;
    if (random_below(4) == 0)
        of->params.bias = new_view(new_normal(BHTD, 1, q[1], random_below(2) ? q[2] : 1, Tk));
    if (random_below(4) == 0)
        of->params.alibi = ATTN_ALIBI_STANDARD;
    if (random_below(4) == 0) {
        float *sinks = new_floats(q[1]);
        for (size_t h = 0; h < q[1]; h++)
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
    if (c->window)
        return;
    if (random_below(4) == 0)
        of->params.causal = ATTN_CAUSAL_TOP_LEFT;
    if (random_below(3) == 0)
        of->params.window = &windows[random_below(COUNT(windows))];
    if (random_below(3) == 0) {
        int64_t *lengths = new_integers(of->params.key_lengths, c->B);
        for (size_t b = 0; b < c->B; b++)
            lengths[b] = (int64_t)random_below((size_t)lengths[b] + 1);
        of->params.key_lengths = lengths;
    }
}

/* The same tokens in fresh pages, appended at once. */
static struct model_cache fresh_copy(struct world *w, const struct model_cache *c, struct model_pool *pool) {
    const struct model_pool *p = &w->pool;
    const size_t pages = c->B * (model_longest(c) + p->page_size - 1) / p->page_size + c->B;
    attn_context *context = w->contexts[0];
    *pool = new_model_pool(context, pages, p->page_size, p->dtype, p->G, p->D, p->E);
    struct model_cache copy = new_model_cache(context, pool, c->B, c->capacity, c->window, c->first_tokens);
    const attn_tensor k = model_tokens(c, false), v = model_tokens(c, true);
    assert_int_equal(model_append(context, &copy, k, v, model_lengths(c)), ATTN_OK);
    return copy;
}

static void attend(struct world *w, const struct model_cache *c) {
    static const size_t most[] = {1, 1, 4, 70};
    const size_t Tq = model_queries(c, random_pick(most)), H = w->pool.G * (1 + random_below(4));
    attn_context *context = any_context(w);
    struct model_pool pool;
    struct sdpa_case of = model_case(c, H, Tq);
    add_options(c, &of);
    const struct sdpa_result got = model_attend(context, c, &of);
    assert_sdpa_near(&of, &got);
    struct model_cache copy = fresh_copy(w, c, &pool);
    const struct sdpa_result same = model_attend(context, &copy, &of);
    assert_same_result(&got, &same);
    delete_model_cache(&copy);
    attn_cache_pool_destroy(pool.real);
}

static void replace(struct world *w, struct model_cache *c) {
    delete_model_cache(c);
    *c = random_cache(w);
}

static void step(struct world *w, size_t number) {
    struct model_cache *c = &w->caches[random_below(CACHES)];
    const size_t choice = random_below(100);
    name_case(
        "cache fuzz %zu %llu: step %zu, choice %zu, cache %td, type %d, D=%zu E=%zu page %zu window %zu first %zu",
        steps, (unsigned long long)w->seed, number, choice, c - w->caches, (int)w->pool.dtype, w->pool.D, w->pool.E,
        w->pool.page_size, c->window, c->first_tokens);
    if (choice < 45)
        append(w, c);
    else if (choice < 60)
        truncate_one(w, c);
    else if (choice < 75)
        model_fork(any_context(w), c, random_below(c->B), random_below(c->B));
    else if (choice < 77)
        model_reset(any_context(w), c);
    else if (choice < 79)
        replace(w, c);
    else
        attend(w, c);
    end_case();
}

static void fuzz(attn_dtype dtype) {
    enum { WORLDS = 16 };
    struct world w;
    w.isas = new_isa_contexts(2, w.contexts);
    for (uint64_t n = 0; n < WORLDS; n++) {
        new_world(&w, only_seed ? only_seed : 100 * (uint64_t)dtype + n, dtype);
        for (size_t i = 0; i < steps / WORLDS; i += every())
            step(&w, i);
        end_world(&w);
    }
}

static void f32(void **state) {
    (void)state;
    fuzz(ATTN_F32);
}

static void f16(void **state) {
    (void)state;
    fuzz(ATTN_F16);
}

static void bf16(void **state) {
    (void)state;
    fuzz(ATTN_BF16);
}

static void int8(void **state) {
    (void)state;
    fuzz(ATTN_INT8);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {TEST(f32), TEST(f16), TEST(bf16), TEST(int8)};
    if (argc > 1)
        steps = strtoul(argv[1], NULL, 10);
    if (argc > 2)
        only_seed = strtoull(argv[2], NULL, 10);
    return cmocka_run_group_tests_name("cache_fuzz", tests, NULL, NULL);
}
