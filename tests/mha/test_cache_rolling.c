/* SPDX-License-Identifier: BSD-3-Clause */
/* Rolling caches, forks and the pool: what is seen, and which pages that takes. */
#include <math.h>

#include "support/cache_model.h"

static size_t free_pages(attn_context *context, const struct model_pool *pool) {
    attn_cache_pool_info info;
    ATTN_INIT(&info);
    assert_ok(context, attn_cache_pool_describe(context, pool->real, &info));
    return info.free_pages;
}

static void append_random(attn_context *context, struct model_cache *c, size_t T, const int64_t *counts) {
    const struct model_pool *p = c->pool;
    const attn_tensor k = new_storable(p->dtype, BTHD, c->B, p->G, T, p->D);
    const attn_tensor v = new_storable(p->dtype, BTHD, c->B, p->G, T, p->E);
    assert_int_equal(model_append(context, c, k, v, counts), ATTN_OK);
}

/* The last Tq tokens see what they should. */
static void check_last(attn_context *context, const struct model_cache *c, size_t Tq) {
    struct sdpa_case of = model_case(c, 2 * c->pool->G, Tq);
    set_causal(&of, ATTN_CAUSAL_BOTTOM_RIGHT, NULL);
    const struct sdpa_result r = model_attend(context, c, &of);
    assert_sdpa_near(&of, &r);
}

struct rolling {
    size_t page_size, window, first_tokens, length;
};

static const struct rolling ROLLING[] = {{128, 1, 0, 400},      {128, 100, 0, 700},    {128, 128, 4, 800},
                                         {128, 129, 128, 900},  {128, 300, 200, 1700}, {256, 256, 1, 1500},
                                         {256, 700, 300, 2600}, {2048, 500, 4, 5000},  {2048, 2049, 0, 6500}};

/* In chunks of any size up to the window; of which the pages in use are no more than the window, the first tokens and
 * what the chunk itself takes. */
static void long_sequences(void **state) {
    (void)state;
    static const size_t chunks[] = {1, 7, 64, 200, 1000};
    attn_context *context = new_context_of(2, 0);
    seed(1);
    for (size_t i = 0; i < COUNT(ROLLING); i++) {
        const struct rolling *r = &ROLLING[i];
        const size_t P = r->page_size, spare = (r->window + P - 1) / P + 1;
        const size_t kept = (r->first_tokens + P - 1) / P + spare;
        struct model_pool pool = new_model_pool(context, kept + (1000 + P - 1) / P, P, ATTN_F32, 1, 8, 12);
        struct model_cache c = new_model_cache(context, &pool, 1, r->length + 1, r->window, r->first_tokens);
        for (size_t T; (T = r->length - c.of[0].length) > 0;) {
            const size_t most = random_pick(chunks), n = T < most ? T : most;
            name_case("rolling %zu: %zu tokens, and %zu", i, c.of[0].length, n);
            append_random(context, &c, n, NULL);
            if (n > 1 || random_below(30) == 0)
                check_last(context, &c, n < 70 ? n : 70);
            assert_true(free_pages(context, &pool) + kept + (n + P - 1) / P >= pool.pages);
            end_case();
        }
        append_random(context, &c, 1, NULL);
        check_last(context, &c, 1);
        assert_true(free_pages(context, &pool) + kept >= pool.pages);
        assert_true(c.of[0].forgotten > 0);
        delete_model_cache(&c);
        attn_cache_pool_destroy(pool.real);
    }
}

/* A rolling cache's own pool is enough, for any length, if what is appended at once is up to the window. */
static void own_pool_is_enough(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    seed(2);
    for (size_t i = 0; i < COUNT(ROLLING); i++) {
        const struct rolling *r = &ROLLING[i];
        attn_cache_params params;
        attn_cache *cache;
        ATTN_INIT(&params);
        params.batch = 2;
        params.capacity = 20000;
        params.kv_heads = params.head_width = 1;
        params.page_size = r->page_size;
        params.window = r->window;
        params.first_tokens = r->first_tokens;
        assert_ok(context, attn_cache_create(context, &params, &cache));
        const attn_tensor k = new_normal(BHTD, 2, 1, r->window, 1);
        while (attn_cache_length(cache, 0) < 20000 - r->window && attn_cache_length(cache, 0) < 20 * r->window) {
            const attn_tensor some = tokens_of(k, 0, 1 + random_below(r->window));
            assert_ok(context, attn_cache_append(context, cache, &some, &some, NULL));
        }
        attn_cache_destroy(cache);
        end_case();
    }
}

/* Truncation goes back as far as the next token's window is there, and no further but to 0. */
static void truncation_has_limits(void **state) {
    (void)state;
    enum { P = 128, WINDOW = 100, FIRST = 4 };
    attn_context *context = new_context_of(1, 0);
    seed(3);
    struct model_pool pool = new_model_pool(context, 20, P, ATTN_F32, 2, 8, 8);
    struct model_cache c = new_model_cache(context, &pool, 1, 2000, WINDOW, FIRST);
    append_random(context, &c, 700, NULL);
    append_random(context, &c, 1, NULL); /* forgets what tokens 700 on do not see, but for the first page */
    assert_int_equal(c.of[0].forgotten, 4 * P);
    assert_int_equal(free_pages(context, &pool), 20 - 3);
    const size_t least = 4 * P + WINDOW - 1;
    assert_int_equal(model_truncate(context, &c, 0, least - 1), ATTN_ERROR_SHAPE);
    assert_mentions(attn_context_last_error(context), "length");
    assert_int_equal(model_truncate(context, &c, 0, P + 1), ATTN_ERROR_SHAPE);
    check_last(context, &c, 2);
    assert_int_equal(model_truncate(context, &c, 0, least), ATTN_OK);
    append_random(context, &c, 3, NULL);
    check_last(context, &c, 3);
    assert_int_equal(model_truncate(context, &c, 0, P), ATTN_OK); /* all of the first page is there */
    append_random(context, &c, 150, NULL);
    check_last(context, &c, 150);
    assert_int_equal(model_truncate(context, &c, 0, 0), ATTN_OK);
    assert_int_equal(free_pages(context, &pool), 20);
    append_random(context, &c, 90, NULL);
    check_last(context, &c, 90);
    delete_model_cache(&c);
    attn_cache_pool_destroy(pool.real);
}

/* A shift leaves the next token its window: what is forgotten does not come back, what the first pages hold is there.
 */
static void shifts_have_limits(void **state) {
    (void)state;
    enum { P = 128, WINDOW = 100, FIRST = 4, FORGOTTEN = 3 * P };
    static const struct {
        size_t first, length, begin, count;
        attn_status status;
    } shifts[] = {{0, FORGOTTEN + P + 8, FORGOTTEN, P, ATTN_ERROR_SHAPE},
                  {0, FORGOTTEN + P + WINDOW - 2, FORGOTTEN, P, ATTN_ERROR_SHAPE},
                  {0, FORGOTTEN + P + WINDOW - 1, FORGOTTEN, P, ATTN_OK},
                  {0, FORGOTTEN + P + 8, FORGOTTEN - P, 2 * P, ATTN_ERROR_SHAPE},
                  {0, FORGOTTEN + P + 8, P, P, ATTN_OK},
                  {0, FORGOTTEN + P + 8, 0, FORGOTTEN + P, ATTN_OK},
                  {FIRST, FORGOTTEN + P + 8, 2 * P, 2 * P, ATTN_ERROR_SHAPE},
                  {FIRST, FORGOTTEN + P + 8, P, FORGOTTEN, ATTN_OK},
                  {FIRST, FORGOTTEN + P + 8, P, P, ATTN_OK}};
    attn_context *context = new_context_of(1, 0);
    seed(9);
    for (size_t i = 0; i < COUNT(shifts); i++) {
        struct model_pool pool = new_model_pool(context, 8, P, ATTN_F32, 1, 8, 8);
        struct model_cache c = new_model_cache(context, &pool, 1, 1000, WINDOW, shifts[i].first);
        name_case("shift %zu", i);
        append_random(context, &c, FORGOTTEN + WINDOW, NULL);
        append_random(context, &c, shifts[i].length - FORGOTTEN - WINDOW, NULL);
        assert_int_equal(c.of[0].forgotten, FORGOTTEN);
        assert_int_equal(model_shift(context, &c, 0, shifts[i].begin, shifts[i].count), shifts[i].status);
        if (shifts[i].status != ATTN_OK)
            assert_mentions(attn_context_last_error(context), "tokens before 384 have been forgotten");
        append_random(context, &c, 3, NULL);
        check_last(context, &c, 3);
        delete_model_cache(&c);
        attn_cache_pool_destroy(pool.real);
        end_case();
    }
}

/* Forks of a rolling sequence go their own ways, and the pages that neither sees go back once. */
static void forks_roll(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    seed(4);
    for (size_t first = 0; first < 200; first += 130) {
        struct model_pool pool = new_model_pool(context, 12, 128, ATTN_F32, 1, 16, 8);
        struct model_cache c = new_model_cache(context, &pool, 3, 3000, 150, first);
        append_random(context, &c, 300, (const int64_t[]){300, 0, 0});
        for (size_t i = 0; i < 25; i++) {
            if (i % 6 == 0)
                model_fork(context, &c, i % 3, (i + 1) % 3);
            append_random(context, &c, 60, (const int64_t[]){60, i % 2 ? 60 : 13, (int64_t)i});
            check_last(context, &c, model_queries(&c, 5));
        }
        delete_model_cache(&c);
        assert_int_equal(free_pages(context, &pool), 12);
        attn_cache_pool_destroy(pool.real);
        end_case();
    }
}

/* A cache's own pool has room for all its sequences, also where they begin as forks: the last one to append into a
 * shared page keeps it. */
static void beams_need_no_spare_page(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    attn_cache_params params;
    attn_cache *cache;
    attn_cache_pool_info info;
    const attn_cache_append_params first = {.struct_size = sizeof first, .counts = (const int64_t[]){10, 0, 0, 0}};
    ATTN_INIT(&info);
    ATTN_INIT(&params);
    params.batch = 4;
    params.capacity = params.page_size = 128;
    params.kv_heads = params.head_width = 1;
    assert_ok(context, attn_cache_create(context, &params, &cache));
    const attn_tensor k = new_normal(BHTD, 4, 1, 10, 1);
    assert_ok(context, attn_cache_append(context, cache, &k, &k, &first));
    for (size_t b = 1; b < 4; b++)
        assert_ok(context, attn_cache_fork(context, cache, 0, b));
    assert_ok(context, attn_cache_pool_describe(context, attn_cache_pool_of(cache), &info));
    assert_int_equal(info.free_pages, 3);
    assert_ok(context, attn_cache_append(context, cache, &k, &k, NULL));
    assert_ok(context, attn_cache_pool_describe(context, attn_cache_pool_of(cache), &info));
    assert_int_equal(info.free_pages, 0);
    attn_cache_destroy(cache);
}

/* A search that goes on from the best beams, in rolling caches too; the pool has room for what is kept alone. */
static void beams_are_reordered(void **state) {
    (void)state;
    static const int64_t orders[][3] = {{2, 0, 1}, {1, 1, 1}, {0, 1, 2}, {2, 1, 0}, {0, 2, 2}};
    attn_context *context = new_context_of(2, 0);
    seed(8);
    for (size_t window = 0; window < 200; window += 100) {
        struct model_pool pool = new_model_pool(context, 12, 128, ATTN_F16, 2, 8, 5);
        struct model_cache c = new_model_cache(context, &pool, 3, 600, window, window / 50);
        append_random(context, &c, 140, (const int64_t[]){140, 3, 0});
        for (size_t i = 0; i < COUNT(orders); i++) {
            model_reorder(context, &c, orders[i]);
            append_random(context, &c, 70, (const int64_t[]){70, 1, 30});
            check_last(context, &c, 1);
            end_case();
        }
        delete_model_cache(&c);
        attn_cache_pool_destroy(pool.real);
    }
}

/* Pages that forks share are free for them once none needs them any more. */
static void the_last_fork_frees_a_page(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    seed(5);
    struct model_pool pool = new_model_pool(context, 4, 128, ATTN_F32, 1, 4, 4);
    struct model_cache c = new_model_cache(context, &pool, 2, 3000, 64, 0);
    append_random(context, &c, 256, (const int64_t[]){256, 0});
    model_fork(context, &c, 0, 1);
    append_random(context, &c, 128, NULL); /* the first page goes, both get one: none of 4 is left but that one */
    assert_int_equal(free_pages(context, &pool), 1);
    append_random(context, &c, 128, NULL); /* takes two, and needs the page that both give back */
    check_last(context, &c, 128);
    delete_model_cache(&c);
    attn_cache_pool_destroy(pool.real);
}

/* A sequence that gets no token forgets none: its last query still sees all of its window. */
static void no_tokens_forget_nothing(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    seed(6);
    struct model_pool pool = new_model_pool(context, 12, 128, ATTN_F32, 1, 4, 4);
    struct model_cache c = new_model_cache(context, &pool, 2, 3000, 65, 0);
    append_random(context, &c, 128 + 64, NULL); /* the next query would not see the first page */
    append_random(context, &c, 1, (const int64_t[]){1, 0});
    check_last(context, &c, 1);
    delete_model_cache(&c);
    attn_cache_pool_destroy(pool.real);
}

/* Nothing of a page's former owner comes out of the scores of tokens that are gone. */
static void forgotten_tokens_score_nothing(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    seed(7);
    for (size_t dtype = 0; dtype < 2; dtype++) {
        struct model_pool pool = new_model_pool(context, 12, 128, (attn_dtype)dtype, 1, 8, 8);
        struct model_cache other = new_model_cache(context, &pool, 1, 128, 0, 0);
        struct model_cache c = new_model_cache(context, &pool, 1, 3000, 50, 0);
        append_random(context, &other, 128, NULL);
        append_random(context, &c, 300, NULL);
        append_random(context, &c, 1, NULL);
        struct sdpa_case of = model_case(&c, 1, 1);
        of.probabilities = true;
        of.params.weights_stage = ATTN_STAGE_RAW;
        const struct sdpa_result r = model_attend(context, &c, &of);
        for (size_t j = 0; j < c.of[0].forgotten; j++)
            assert_true(value(r.probabilities, j) == 0);
        delete_model_cache(&c);
        delete_model_cache(&other);
        attn_cache_pool_destroy(pool.real);
        end_case();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(long_sequences),
                                       TEST(own_pool_is_enough),
                                       TEST(truncation_has_limits),
                                       TEST(shifts_have_limits),
                                       TEST(forks_roll),
                                       TEST(beams_need_no_spare_page),
                                       TEST(the_last_fork_frees_a_page),
                                       TEST(beams_are_reordered),
                                       TEST(no_tokens_forget_nothing),
                                       TEST(forgotten_tokens_score_nothing)};
    return cmocka_run_group_tests_name("cache_rolling", tests, NULL, NULL);
}
