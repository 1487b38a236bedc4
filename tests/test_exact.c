/* SPDX-License-Identifier: BSD-3-Clause */
/* bf16 tensors in F32, where products of bf16 are the instructions': here those of AMX with tiles in plain C, and those
 * that this CPU has. */
#include <stdatomic.h>

#include "context/context.h"
#include "kernels/narrow.h"
#include "layer.h"
#include "variants.h"

extern const attni_bf16 attni_bf16_tiles;

/* Products of bf16 by bf16 since the last look. */
static atomic_size_t products;

static void count_and_multiply(size_t rows, size_t columns, size_t depth, float factor, const float *a, size_t lda,
                               const attni_panels *b, bool add, float *c, size_t ldc) {
    products++;
    attni_bf16_tiles.multiply(rows, columns, depth, factor, a, lda, b, add, c, ldc);
}

static attn_context *with_tiles(attn_context *context) {
    static attni_bf16 table;
    table = attni_bf16_tiles;
    table.multiply = count_and_multiply;
    context->bf16 = &table;
    return context;
}

/* One thread and three, with tiles and with what the CPU has. */
enum { KINDS = 2 };
static void new_contexts(attn_context *one[KINDS], attn_context *three[KINDS]) {
    for (size_t n = 0; n < KINDS; n++) {
        one[n] = new_context_of(1, 0);
        three[n] = new_context_of(3, 0);
    }
    with_tiles(one[0]);
    with_tiles(three[0]);
}

static struct sdpa_case bf16_case(const char *name, size_t i) {
    struct levels levels;
    const struct shape *shape = &VARIANT_SHAPES[i % SHAPES];
    for (size_t o = 0; o < OPTIONS; o++)
        levels.of[o] = random_below(3) ? 0 : (unsigned)random_below(OPTION_LEVELS[o]);
    levels.of[INPUT_TYPES] = 2; /* bf16 */
    return variant_of(name, &levels, shape);
}

static void with_any_options(void **state) {
    (void)state;
    enum { CASES = 120 };
    attn_context *one[KINDS], *three[KINDS];
    new_contexts(one, three);
    for (size_t i = 0; i < CASES; i += every()) {
        char name[32];
        seed(i);
        snprintf(name, sizeof name, "seed %zu", i);
        const struct sdpa_case c = bf16_case(name, i / KINDS);
        check_variant(one[i % KINDS], three[i % KINDS], &c);
        end_case();
    }
}

/* Odd widths, scores that are sums of pieces, several segments. */
static void of_any_width(void **state) {
    (void)state;
    static const size_t shapes[][7] = {{1, 1, 1, 1, 1, 1, 1},      {2, 4, 2, 5, 33, 7, 9},
                                       {1, 2, 2, 70, 131, 64, 64}, {1, 3, 1, 40, 65, 81, 20},
                                       {1, 2, 1, 3, 4500, 32, 3},  {1, 1, 1, 17, 300, 451, 130}};
    attn_context *one[KINDS], *three[KINDS];
    new_contexts(one, three);
    seed(1);
    for (size_t i = 0; i < KINDS * COUNT(shapes); i++) {
        const size_t *s = shapes[i / KINDS];
        struct sdpa_case c = sdpa_case_of(s[0], s[1], s[2], s[3], s[4], s[5], s[6]);
        c.q = new_copy_of(ATTN_BF16, c.q);
        c.k = new_copy_of(ATTN_BF16, c.k);
        c.v = new_copy_of(ATTN_BF16, c.v);
        check_variant(one[i % KINDS], three[i % KINDS], &c);
        end_case();
    }
}

static attn_cache *cache_of(attn_context *context, attn_dtype dtype, const struct sdpa_case *c) {
    attn_cache_params params;
    attn_cache *cache = NULL;
    ATTN_INIT(&params);
    params.batch = c->k.size[0];
    params.kv_heads = c->k.size[1];
    params.head_width = c->k.size[3];
    params.value_width = c->v.size[3];
    params.capacity = c->k.size[2];
    params.dtype = dtype;
    assert_ok(context, attn_cache_create(context, &params, &cache));
    assert_ok(context, attn_cache_append(context, cache, &c->k, &c->v, NULL));
    return cache;
}

/* Products of bf16 that the call makes, near the reference, in a cache of a type or, for ATTN_BOOL, without one. */
static size_t count_products(attn_context *context, attn_dtype cached, const struct sdpa_case *c) {
    attn_top_keys top;
    const struct sdpa_result r = new_sdpa_result(c);
    const attn_sdpa_params params = params_for(c, &r, &top);
    name_sdpa(c);
    products = 0;
    if (cached == ATTN_BOOL) {
        assert_ok(context, attn_sdpa(context, &c->q, &c->k, &c->v, &r.out, &params));
    } else {
        attn_cache *cache = cache_of(context, cached, c);
        assert_ok(context, attn_cache_attend(context, cache, &c->q, &r.out, &params));
        attn_cache_destroy(cache);
    }
    assert_sdpa_near(c, &r);
    return products;
}

static struct sdpa_case typed_case(attn_dtype q, attn_dtype k, attn_dtype v) {
    struct sdpa_case c = sdpa_case_of(2, 4, 2, 9, 150, 19, 35);
    c.q = new_copy_of(q, c.q);
    c.k = new_copy_of(k, new_copy_of(ATTN_BF16, c.k)); /* so that a cache of bf16 has just these */
    c.v = new_copy_of(v, new_copy_of(ATTN_BF16, c.v));
    c.params.causal = ATTN_CAUSAL_BOTTOM_RIGHT;
    return c;
}

/* Those of q by k where both are bf16, as the caller has them or in a cache; those of weights, which are f32, by values
 * never. */
static void where_all_is_bf16(void **state) {
    (void)state;
    static const attn_dtype types[] = {ATTN_F32, ATTN_F16, ATTN_BF16};
    attn_context *context = with_tiles(new_context_of(1, 0));
    seed(2);
    for (size_t i = 0; i < 27; i++) {
        const attn_dtype q = types[i % 3], k = types[i / 3 % 3], v = types[i / 9];
        const struct sdpa_case c = typed_case(q, k, v);
        const size_t made = count_products(context, ATTN_BOOL, &c);
        assert_int_equal(made > 0, q == ATTN_BF16 && k == ATTN_BF16 && v == ATTN_BF16);
        assert_int_equal(count_products(context, ATTN_F32, &c), 0);
        assert_int_equal(count_products(context, ATTN_BF16, &c) > 0, q == ATTN_BF16);
        end_case();
    }
}

/* Not where something is done to them on the way, or looks at them in f32. */
static void not_where_they_change(void **state) {
    (void)state;
    enum { PLAIN, SMALL_SCALE, LOOKED_AT, MULTIPLIED, CHANGES };
    static const attn_query_factor factor = {.amount = 0.5F, .period = 3};
    attn_context *context = with_tiles(new_context_of(1, 0));
    seed(3);
    for (int change = PLAIN; change < CHANGES; change++) {
        struct sdpa_case c = typed_case(ATTN_BF16, ATTN_BF16, ATTN_BF16);
        c.params.scale = change == SMALL_SCALE ? 0x1p-40F : 0;
        c.params.score = change == LOOKED_AT ? lean : NULL;
        c.params.query_factor = change == MULTIPLIED ? &factor : NULL;
        assert_int_equal(count_products(context, ATTN_BOOL, &c) > 0, change == PLAIN);
        assert_int_equal(count_products(context, ATTN_BF16, &c) > 0, change == PLAIN);
        end_case();
    }
}

/* ---- linear maps ---- */

/* Those of x by weights where both are bf16: near the reference, and the same bits for any rows. */
static void linear_maps(void **state) {
    (void)state;
    static const attn_dtype types[] = {ATTN_F32, ATTN_F16, ATTN_BF16},
                            weights[] = {ATTN_F32, ATTN_F16, ATTN_BF16, ATTN_INT8, ATTN_INT4};
    static const size_t widths[][2] = {{1, 1}, {7, 70}, {800, 150}}, rows[] = {1, 5, 17, 40};
    attn_context *one[KINDS], *three[KINDS];
    new_contexts(one, three);
    seed(4);
    for (size_t i = 0; i < KINDS * COUNT(types) * COUNT(weights) * COUNT(widths); i += every()) {
        const attn_dtype type = types[i / KINDS % COUNT(types)];
        const size_t *w = widths[i / KINDS / COUNT(types) % COUNT(widths)];
        const attn_dtype weight = weights[i / KINDS / COUNT(types) / COUNT(widths)];
        const attn_linear_params p = linear_of(weight, ATTN_OUT_IN, w[0], w[1], i % 3);
        const attn_tensor x = new_copy_of(type, new_normal(PADDED, 1, 1, 40, w[0]));
        name_case("%zu to %zu, x %d, weights %d, context %zu", w[0], w[1], (int)type, (int)weight, i % KINDS);
        products = 0;
        assert_near(run_linear(one[i % KINDS], &p, x, PADDED), reference_linear(&p, doubles_of(x), 40), promised(1));
        assert_int_equal(products > 0, i % KINDS == 0 && type == ATTN_BF16 && weight == ATTN_BF16);
        if (weight == ATTN_BF16)
            check_linear_bits(one[i % KINDS], three[i % KINDS], &p, x, COUNT(rows), rows);
        end_case();
    }
}

/* Of a layer those of its inputs, each as it comes; what attention makes is f32. */
static void layers(void **state) {
    (void)state;
    attn_context *context = with_tiles(new_context_of(2, 0));
    seed(5);
    for (unsigned i = 0; i < 16; i += (unsigned)every()) {
        struct mha_case c = mha_case_of(64, 4, 2, 19);
        const attn_dtype query = i & 1 ? ATTN_BF16 : ATTN_F32, key = i & 2 ? ATTN_BF16 : ATTN_F32;
        c.layer.weight_dtype = i & 4 ? ATTN_BF16 : ATTN_F32;
        set_layer_form(&c.layer, false, i & 8 ? GATED | LATENT_Q : 0);
        fill_layer(&c.layer, false, ALL_BIASES);
        c.query = new_copy_of(query, c.query);
        c.key = new_copy_of(key, new_normal(BHTD, 2, 1, 30, 64));
        products = 0;
        check_mha(context, &c);
        assert_int_equal(products > 0, i & 4 && (query == ATTN_BF16 || key == ATTN_BF16));
        end_case();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(with_any_options),      TEST(of_any_width), TEST(where_all_is_bf16),
                                       TEST(not_where_they_change), TEST(linear_maps),  TEST(layers)};
    return cmocka_run_group_tests_name("exact", tests, NULL, NULL);
}
