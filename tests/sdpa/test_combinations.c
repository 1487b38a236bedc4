/* SPDX-License-Identifier: BSD-3-Clause */
/* All options of attn_sdpa together: rows of levels that cover each pair of levels of each two options, and a random
 * walk over all of them; against the reference and on one thread and three. */
#include <stdlib.h>
#include <string.h>

#include "support/layer.h"
#include "support/numbers.h"
#include "support/variants.h"

/* ---- a covering array ---- */

/* Has the pair of level a of option o and level b of option p been met? Kept for o < p and p < o alike. */
typedef struct pairs {
    bool met[OPTIONS][MOST_LEVELS][OPTIONS][MOST_LEVELS];
    size_t left;
} pairs;

static pairs all;

static void start(void) {
    memset(&all, 0, sizeof all);
    for (size_t o = 0; o < OPTIONS; o++)
        for (size_t p = o + 1; p < OPTIONS; p++)
            all.left += OPTION_LEVELS[o] * OPTION_LEVELS[p];
}

/* How many pairs of option o at level a with the options that are chosen already have not been met. */
static size_t gain(const struct levels *row, const bool chosen[OPTIONS], size_t o, unsigned a) {
    size_t n = 0;
    for (size_t p = 0; p < OPTIONS; p++)
        n += chosen[p] && !all.met[o][a][p][row->of[p]];
    return n;
}

static unsigned best_level(const struct levels *row, const bool chosen[OPTIONS], size_t o) {
    const unsigned first = (unsigned)random_below(OPTION_LEVELS[o]);
    unsigned best = first;
    for (unsigned n = 1; n < OPTION_LEVELS[o]; n++) {
        const unsigned level = (first + n) % OPTION_LEVELS[o];
        if (gain(row, chosen, o, level) > gain(row, chosen, o, best))
            best = level;
    }
    return best;
}

/* A pair that has not been met, the next one from a random place. */
static void begin_row(struct levels *row, bool chosen[OPTIONS]) {
    const size_t first = random_below(OPTIONS * OPTIONS);
    for (size_t n = 0; n < OPTIONS * OPTIONS; n++) {
        const size_t o = (first + n) % (OPTIONS * OPTIONS) / OPTIONS, p = (first + n) % OPTIONS;
        for (unsigned x = 0; x < OPTION_LEVELS[o] * OPTION_LEVELS[p] && o != p; x++) {
            const unsigned a = x / OPTION_LEVELS[p], b = x % OPTION_LEVELS[p];
            if (!all.met[o][a][p][b]) {
                row->of[o] = a;
                row->of[p] = b;
                chosen[o] = chosen[p] = true;
                return;
            }
        }
    }
}

/* Greedy: the options one after the other, each at the level that meets most. */
static struct levels draw_row(void) {
    struct levels row = {{0}};
    bool chosen[OPTIONS] = {false};
    begin_row(&row, chosen);
    const size_t first = random_below(OPTIONS);
    for (size_t n = 0; n < OPTIONS; n++) {
        const size_t o = (first + n) % OPTIONS;
        if (!chosen[o])
            row.of[o] = best_level(&row, chosen, o);
        chosen[o] = true;
    }
    return row;
}

static void meet(const struct levels *row) {
    for (size_t o = 0; o < OPTIONS; o++)
        for (size_t p = 0; p < OPTIONS; p++) {
            bool *met = &all.met[o][row->of[o]][p][row->of[p]];
            all.left -= o < p && !*met;
            *met = true;
        }
}

static size_t gain_of_row(const struct levels *row) {
    size_t n = 0;
    for (size_t o = 0; o < OPTIONS; o++)
        for (size_t p = o + 1; p < OPTIONS; p++)
            n += !all.met[o][row->of[o]][p][row->of[p]];
    return n;
}

/* The best of some. */
static struct levels next_row(void) {
    struct levels best = draw_row();
    for (size_t n = 1; n < 20; n++) {
        const struct levels row = draw_row();
        if (gain_of_row(&row) > gain_of_row(&best))
            best = row;
    }
    meet(&best);
    return best;
}

/* ---- cases ---- */

enum { SEED = 20240607, MOST_ROWS = 200, SHAPES_A_ROW = 4 };

static void all_pairs(void **state) {
    (void)state;
    attn_context *one[ISAS], *three[ISAS];
    const size_t n = new_variant_contexts(one, three);
    static struct levels rows[MOST_ROWS];
    size_t count = 0;
    seed(SEED);
    start();
    while (all.left > 0 && count < MOST_ROWS)
        rows[count++] = next_row();
    print_message("%zu rows cover all pairs but %zu\n", count, all.left);
    assert_int_equal(all.left, 0);
    for (size_t i = 0; i < SHAPES_A_ROW * count; i += every()) {
        char name[32];
        seed(SEED + i);
        snprintf(name, sizeof name, "row %zu, seed %zu", i / SHAPES_A_ROW, SEED + i);
        const struct sdpa_case c = variant_of(name, &rows[i / SHAPES_A_ROW], &VARIANT_SHAPES[i % SHAPES]);
        check_variant(one[i % n], three[i % n], &c);
        end_case();
    }
}

static struct shape random_shape(void) {
    static const size_t lengths[] = {0, 1, 2, 3, 7, 16, 31, 64, 65, 100, 129, 200, 280};
    static const size_t widths[] = {1, 3, 8, 16, 20, 40, 64, 72};
    const size_t G = 1 + random_below(3), H = G * (1 + random_below(3));
    return (struct shape){1 + random_below(4), H, G, random_pick(lengths), random_pick(lengths), random_pick(widths),
                          random_pick(widths)};
}

/* Every case moves a few options from where the one before left them. */
static void random_walk(void **state) {
    (void)state;
    enum { CASES = 400, MOVES = 4 };
    attn_context *one[ISAS], *three[ISAS];
    const size_t n = new_variant_contexts(one, three);
    struct levels levels = {{0}};
    for (size_t i = 0; i < CASES; i += every()) {
        char name[32];
        seed(SEED + i);
        snprintf(name, sizeof name, "seed %zu", SEED + i);
        for (size_t m = 0; m < MOVES; m++) {
            const size_t o = random_below(OPTIONS);
            levels.of[o] = (unsigned)random_below(OPTION_LEVELS[o]);
        }
        const struct shape shape = random_shape();
        const struct sdpa_case c = variant_of(name, &levels, &shape);
        check_variant(one[i % n], three[i % n], &c);
        end_case();
    }
}

/* ---- the other doors ---- */

/* Any level of any option but of some. */
static struct levels random_levels(const enum option *without, size_t count) {
    struct levels levels;
    for (size_t o = 0; o < OPTIONS; o++)
        levels.of[o] = random_below(2) ? 0 : (unsigned)random_below(OPTION_LEVELS[o]);
    for (size_t n = 0; n < count; n++)
        levels.of[without[n]] = 0;
    return levels;
}

static void round_to_bf16(attn_tensor t) {
    for (size_t n = 0; n < element_count(t); n++)
        set_value(t, n, rounded_to(ATTN_BF16, value(t, n)));
}

/* Operands that are bf16 already are not rounded any more, but for the weights, by 2^−9 of each: scores, and so the
 * log-sum-exp, are as in F32. Not with factors of q, whose products are rounded. */
static void in_bf16(void **state) {
    (void)state;
    enum { CASES = 300, ROUNDED = 1000 }; /* as much larger are errors of outputs */
    static const enum option without[] = {NUMBERS, QUERY_FACTOR, HEAD_SCALES};
    attn_context *one = new_precise(1, 0, NULL, ATTN_PRECISION_BF16);
    attn_context *three = new_precise(3, 0, NULL, ATTN_PRECISION_BF16);
    for (size_t i = 0; i < CASES; i += every()) {
        char name[32];
        seed(SEED + i);
        snprintf(name, sizeof name, "bf16, seed %zu", SEED + i);
        const struct levels levels = random_levels(without, COUNT(without));
        const struct shape shape = random_shape();
        struct sdpa_case c = variant_of(name, &levels, &shape);
        round_to_bf16(c.q);
        round_to_bf16(c.k);
        round_to_bf16(c.v);
        const struct sdpa_result got = run_sdpa(one, &c), again = run_sdpa(three, &c);
        assert_same_result(&again, &got);
        c.value_size *= ROUNDED;
        assert_sdpa_near(&c, &got);
        end_case();
    }
}

static attn_cache *cache_of(attn_context *context, const struct sdpa_case *c) {
    attn_cache_params params;
    attn_cache *cache = NULL;
    ATTN_INIT(&params);
    params.batch = c->k.size[0];
    params.kv_heads = c->k.size[1];
    params.head_width = c->k.size[3];
    params.value_width = c->v.size[3];
    params.capacity = c->k.size[2] + 1;
    assert_ok(context, attn_cache_create(context, &params, &cache));
    assert_ok(context, attn_cache_append(context, cache, &c->k, &c->v, NULL));
    return cache;
}

/* Keys and values out of a cache: all but ragged batches. */
static void from_a_cache(void **state) {
    (void)state;
    enum { CASES = 120 };
    static const enum option without[] = {RAGGED};
    attn_context *one[ISAS], *three[ISAS];
    const size_t n = new_variant_contexts(one, three);
    for (size_t i = 0; i < CASES; i += every()) {
        char name[32];
        attn_top_keys top;
        seed(SEED + i);
        snprintf(name, sizeof name, "cache, seed %zu", SEED + i);
        const struct levels levels = random_levels(without, COUNT(without));
        const struct shape shape = random_shape();
        const struct sdpa_case c = variant_of(name, &levels, &shape);
        attn_context *context = i % 2 ? one[i % n] : three[i % n];
        attn_cache *cache = cache_of(context, &c);
        const struct sdpa_result r = new_sdpa_result(&c);
        const attn_sdpa_params params = params_for(&c, &r, &top);
        name_sdpa(&c);
        assert_ok(context, attn_cache_attend(context, cache, &c.q, &r.out, &params));
        attn_cache_destroy(cache);
        assert_sdpa_near(&c, &r);
        end_case();
    }
}

/* A layer over inputs as long as the case's, with as many heads; its queries, keys and values are projections. */
static struct mha_case layer_for(const struct sdpa_case *c, enum layout layout) {
    enum { M = 24 };
    struct mha_case layer = mha_case_of(M, c->q.size[1], 0, 0);
    layer.layer.kv_heads = c->k.size[1];
    layer.layer.head_width = c->q.size[3];
    layer.layer.value_width = c->v.size[3];
    set_layer_form(&layer.layer, false, random_below(2) ? 0 : (unsigned)random_below(LAYER_FORMS));
    fill_layer(&layer.layer, false, ALL_BIASES);
    layer.query = new_normal(layout, c->q.size[0], 1, c->q.size[2], M);
    layer.key = new_normal(layout, c->k.size[0], 1, c->k.size[2], M);
    return layer;
}

/* Projected queries, keys and values: all but what they are stored as. */
static void through_a_layer(void **state) {
    (void)state;
    enum { CASES = 120 };
    static const enum option without[] = {INPUT_TYPES, NUMBERS, INPUT_LAYOUT, OUT_TYPE, POISON};
    attn_context *one[ISAS], *three[ISAS];
    const size_t n = new_variant_contexts(one, three);
    for (size_t i = 0; i < CASES; i += every()) {
        char name[32];
        attn_top_keys top;
        seed(SEED + i);
        snprintf(name, sizeof name, "layer, seed %zu", SEED + i);
        const struct levels levels = random_levels(without, COUNT(without));
        const struct shape shape = random_shape();
        struct sdpa_case c = variant_of(name, &levels, &shape);
        const struct mha_case layer = layer_for(&c, (enum layout)levels.of[LAYOUT]);
        c.out = new_tensor(c.out_layout, c.q.size[0], 1, c.q.size[2], layer.layer.model_width);
        const struct sdpa_result r = new_sdpa_result(&c);
        const attn_sdpa_params params = params_for(&c, &r, &top);
        attn_context *context = i % 2 ? one[i % n] : three[i % n];
        attn_mha *mha = new_layer(context, &layer.layer);
        name_sdpa(&c);
        assert_ok(context, attn_mha_forward(context, mha, &layer.query, &layer.key, NULL, &c.out, &params));
        attn_mha_destroy(mha);
        assert_answer_near(&c, &r, reference_mha(&layer.layer, layer.query, layer.key, layer.key, &c.params));
        end_case();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(all_pairs), TEST(random_walk), TEST(in_bf16), TEST(from_a_cache),
                                       TEST(through_a_layer)};
    return cmocka_run_group_tests_name("combinations", tests, NULL, NULL);
}
