/* SPDX-License-Identifier: BSD-3-Clause */
/* bf16 in F32, where products of bf16 are the instructions': here those of AMX with tiles in plain C, which f32 goes to
 * in parts; the same without parts, as AVX512_BF16 has none; and those that this CPU has. */
#include <math.h>
#include <stdatomic.h>

#include "context/context.h"
#include "kernels/narrow.h"
#include "support/layer.h"
#include "support/variants.h"

extern const attni_bf16 attni_bf16_tiles;

/* Products of bf16 by bf16, and of f32 by bf16, since the last look. */
static atomic_size_t products, wide;

static void count_and_multiply(size_t rows, size_t columns, size_t depth, float factor, const float *a, size_t lda,
                               const attni_panels *b, bool add, float *c, size_t ldc) {
    products++;
    attni_bf16_tiles.multiply(rows, columns, depth, factor, a, lda, b, add, c, ldc);
}

static const attni_kernels *real;
static void count_wide(size_t rows, size_t columns, size_t depth, float factor, const float *a, size_t lda,
                       const attni_panels *b, bool add, float *c, size_t ldc) {
    wide += b->type == ATTN_BF16;
    real->multiply(rows, columns, depth, factor, a, lda, b, add, c, ldc);
}

enum { PARTS, PAIRS, NATIVE, KINDS };

static attn_context *new_kind(int kind, size_t threads) {
    static attni_bf16 table[NATIVE];
    static attni_kernels kernels;
    attn_context *context = new_context_of(threads, 0);
    if (kind == NATIVE)
        return context;
    table[kind] = attni_bf16_tiles;
    table[kind].multiply = count_and_multiply;
    table[kind].split = kind == PARTS ? attni_bf16_tiles.split : NULL;
    context->bf16 = &table[kind];
    real = context->kernels;
    kernels = *real;
    kernels.multiply = count_wide;
    context->kernels = &kernels;
    return context;
}

static void new_contexts(attn_context *one[KINDS], attn_context *three[KINDS]) {
    for (int n = 0; n < KINDS; n++) {
        one[n] = new_kind(n, 1);
        three[n] = new_kind(n, 3);
    }
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

static attn_cache *new_cache(attn_context *context, attn_dtype dtype, size_t B, size_t G, size_t D, size_t E,
                             size_t capacity) {
    attn_cache_params params;
    attn_cache *cache = NULL;
    ATTN_INIT(&params);
    params.batch = B;
    params.kv_heads = G;
    params.head_width = D;
    params.value_width = E;
    params.capacity = capacity;
    params.dtype = dtype;
    assert_ok(context, attn_cache_create(context, &params, &cache));
    return cache;
}

static attn_cache *cache_of(attn_context *context, attn_dtype dtype, const struct sdpa_case *c) {
    const size_t *k = c->k.size;
    attn_cache *cache = new_cache(context, dtype, k[0], k[1], k[3], c->v.size[3], k[2]);
    assert_ok(context, attn_cache_append(context, cache, &c->k, &c->v, NULL));
    return cache;
}

/* Makes the call, near the reference, in a cache of a type or, for ATTN_BOOL, without one; whether any product was of
 * bf16 by bf16, and whether all were that had bf16 to multiply by. */
static bool attends(attn_context *context, attn_dtype cached, const struct sdpa_case *c, bool *wholly) {
    attn_top_keys top;
    const struct sdpa_result r = new_sdpa_result(c);
    const attn_sdpa_params params = params_for(c, &r, &top);
    name_sdpa(c);
    products = wide = 0;
    if (cached == ATTN_BOOL) {
        assert_ok(context, attn_sdpa(context, &c->q, &c->k, &c->v, &r.out, &params));
    } else {
        attn_cache *cache = cache_of(context, cached, c);
        assert_ok(context, attn_cache_attend(context, cache, &c->q, &r.out, &params));
        attn_cache_destroy(cache);
    }
    assert_sdpa_near(c, &r);
    *wholly = products > 0 && wide == 0;
    return products > 0;
}

static struct sdpa_case typed_case(attn_dtype q, attn_dtype k, attn_dtype v) {
    struct sdpa_case c = sdpa_case_of(2, 4, 2, 9, 150, 19, 35);
    c.q = new_copy_of(q, c.q);
    c.k = new_copy_of(k, new_copy_of(ATTN_BF16, c.k)); /* so that a cache of bf16 has just these */
    c.v = new_copy_of(v, new_copy_of(ATTN_BF16, c.v));
    c.params.causal = ATTN_CAUSAL_BOTTOM_RIGHT;
    return c;
}

/* Products of q by k where both are bf16, as the caller has them or in a cache. With parts all products with k and v
 * that are, whatever q is. */
static void where_it_is_bf16(void **state) {
    (void)state;
    static const attn_dtype types[] = {ATTN_F32, ATTN_F16, ATTN_BF16};
    attn_context *contexts[] = {new_kind(PARTS, 1), new_kind(PAIRS, 1)};
    bool wholly;
    seed(2);
    for (size_t i = 0; i < 54; i++) {
        const attn_dtype q = types[i / 2 % 3], k = types[i / 6 % 3], v = types[i / 18];
        const struct sdpa_case c = typed_case(q, k, v);
        const bool parts = i % 2 == PARTS, all = parts || q == ATTN_BF16, bf16 = k == ATTN_BF16 && v == ATTN_BF16;
        assert_int_equal(attends(contexts[i % 2], ATTN_BOOL, &c, &wholly), all && bf16);
        assert_int_equal(wholly, parts && bf16);
        assert_false(attends(contexts[i % 2], ATTN_F32, &c, &wholly));
        assert_int_equal(attends(contexts[i % 2], ATTN_BF16, &c, &wholly), all);
        assert_int_equal(wholly, parts);
        end_case();
    }
}

/* Where something is done to q on the way it is f32; where something looks at it, so is everything. */
static void where_it_changes(void **state) {
    (void)state;
    enum { PLAIN, SMALL_SCALE, MULTIPLIED, LOOKED_AT, CHANGES };
    static const attn_query_factor factor = {.amount = 0.5F, .period = 3};
    seed(3);
    for (int i = 0; i < NATIVE * CHANGES; i++) {
        const int kind = i % NATIVE, change = i / NATIVE;
        const bool made = change == PLAIN || (kind == PARTS && change != LOOKED_AT);
        attn_context *context = new_kind(kind, 1);
        struct sdpa_case c = typed_case(ATTN_BF16, ATTN_BF16, ATTN_BF16);
        bool wholly;
        c.params.scale = change == SMALL_SCALE ? 0x1p-40F : 0;
        c.params.score = change == LOOKED_AT ? lean : NULL;
        c.params.query_factor = change == MULTIPLIED ? &factor : NULL;
        assert_int_equal(attends(context, ATTN_BOOL, &c, &wholly), made);
        assert_int_equal(attends(context, ATTN_BF16, &c, &wholly), made);
        end_case();
    }
}

/* Means of ones are 1, and scores as exact as f32's, ten times more so than those of two parts. */
static void parts_lose_nothing(void **state) {
    (void)state;
    enum { OF = 9, KEYS = 300, D = 24, E = 19 };
    attn_context *context = new_kind(PARTS, 1);
    seed(6);
    struct sdpa_case c = sdpa_case_of(1, 1, 1, OF, KEYS, D, E);
    c.k = new_copy_of(ATTN_BF16, c.k);
    for (size_t i = 0; i < KEYS * E; i++)
        *element_at(c.v, 0, 0, i / E, i % E) = 1;
    c.v = new_copy_of(ATTN_BF16, c.v);
    const struct sdpa_result r = run_sdpa(context, &c);
    const answer want = reference_sdpa(c.q, c.k, c.v, &c.params);
    const tolerance close = {.absolute = 5e-7};
    assert_near(r.out, want.out, close);
    assert_near(r.lse, want.lse, close);
    const attn_linear_params p = linear_of(ATTN_BF16, ATTN_OUT_IN, D, E, false);
    const tolerance of_maps = {.absolute = 2e-6};
    assert_near(run_linear(context, &p, c.q, BHTD), reference_linear(&p, doubles_of(c.q), OF), of_maps);
    end_case();
}

/* A layer on a cache of bf16: a key besides them meets what q was before it was split. */
static attn_tensor with_extra_key(attn_context *context, const attn_mha_params *layer, attn_tensor x) {
    const attn_tensor out = new_tensor(BHTD, 1, 1, x.size[2], x.size[3]);
    attn_mha *mha = new_layer(context, layer);
    attn_mha_inputs inputs;
    ATTN_INIT(&inputs);
    inputs.cache = new_cache(context, ATTN_BF16, 1, layer->kv_heads, layer->head_width, layer->value_width, x.size[2]);
    assert_ok(context, attn_mha_attend(context, mha, &x, &out, &inputs));
    attn_cache_destroy(inputs.cache);
    attn_mha_destroy(mha);
    return out;
}

static void extra_keys(void **state) {
    (void)state;
    enum { M = 64, G = 2, D = 16, E = 16 };
    const tolerance close = {.absolute = 2e-6};
    seed(7);
    struct mha_case c = mha_case_of(M, 4, 1, 21);
    c.layer.kv_heads = G;
    c.layer.head_width = D;
    c.layer.value_width = E;
    fill_layer(&c.layer, false, ALL_BIASES);
    c.layer.extra_key = new_normal(BHTD, 1, 1, G, D).data;
    c.layer.extra_value = new_normal(BHTD, 1, 1, G, E).data;
    products = 0;
    const attn_tensor got = with_extra_key(new_kind(PARTS, 1), &c.layer, c.query);
    assert_true(products > 0);
    assert_near(got, doubles_of(with_extra_key(new_kind(NATIVE, 1), &c.layer, c.query)), close);
    end_case();
}

/* ---- linear maps ---- */

/* Those of x by weights where both are bf16, or can be in parts: near the reference, and the same bits for any rows. */
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
        assert_int_equal(products > 0,
                         weight == ATTN_BF16 && (i % KINDS == PARTS || (i % KINDS == PAIRS && type == ATTN_BF16)));
        if (weight == ATTN_BF16)
            check_linear_bits(one[i % KINDS], three[i % KINDS], &p, x, COUNT(rows), rows);
        end_case();
    }
}

/* Of a layer those of its inputs, each as it comes; what attention makes is f32. */
static void layers(void **state) {
    (void)state;
    attn_context *contexts[] = {new_kind(PARTS, 2), new_kind(PAIRS, 2)};
    seed(5);
    for (unsigned i = 0; i < 32; i += (unsigned)every()) {
        struct mha_case c = mha_case_of(64, 4, 2, 19);
        const attn_dtype query = i & 1 ? ATTN_BF16 : ATTN_F32, key = i & 2 ? ATTN_BF16 : ATTN_F32;
        const bool parts = i / 16 == PARTS;
        c.layer.weight_dtype = i & 4 ? ATTN_BF16 : ATTN_F32;
        set_layer_form(&c.layer, false, i & 8 ? GATED | LATENT_Q : 0);
        fill_layer(&c.layer, false, ALL_BIASES);
        c.query = new_copy_of(query, c.query);
        c.key = new_copy_of(key, new_normal(BHTD, 2, 1, 30, 64));
        products = wide = 0;
        check_mha(contexts[i / 16], &c);
        assert_int_equal(products > 0, i & 4 && (parts || query == ATTN_BF16 || key == ATTN_BF16));
        assert_false(parts && wide);
        end_case();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(with_any_options),   TEST(of_any_width), TEST(where_it_is_bf16), TEST(where_it_changes),
        TEST(parts_lose_nothing), TEST(extra_keys),   TEST(linear_maps),      TEST(layers),
    };
    return cmocka_run_group_tests_name("exact", tests, NULL, NULL);
}
