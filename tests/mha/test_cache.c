/* SPDX-License-Identifier: BSD-3-Clause */
/* The key/value cache against the reference, however its tokens came in. */
#include <math.h>

#include "support/meter.h"
#include "support/sdpa_case.h"

static attn_cache *new_cache_of(attn_context *context, const struct sdpa_case *c, size_t capacity, attn_dtype dtype) {
    attn_cache_params params;
    attn_cache *cache = NULL;
    ATTN_INIT(&params);
    params.batch = c->k.size[0];
    params.kv_heads = c->k.size[1];
    params.head_width = c->k.size[3];
    params.value_width = c->v.size[3];
    params.capacity = capacity;
    params.dtype = dtype;
    assert_ok(context, attn_cache_create(context, &params, &cache));
    return cache;
}

static attn_cache *new_cache(attn_context *context, const struct sdpa_case *c, size_t capacity) {
    return new_cache_of(context, c, capacity, ATTN_F32);
}

static attn_tensor tokens(attn_tensor t, size_t begin, size_t count) {
    t.data = count ? element_at(t, 0, 0, begin, 0) : NULL;
    t.size[2] = count;
    return t;
}

static void append(attn_context *context, attn_cache *cache, const struct sdpa_case *c, size_t count) {
    const size_t begin = attn_cache_length(cache, 0);
    const attn_tensor k = tokens(c->k, begin, count), v = tokens(c->v, begin, count);
    assert_ok(context, attn_cache_append(context, cache, &k, &v, NULL));
    assert_int_equal(attn_cache_length(cache, 0), begin + count);
}

/* Appends all tokens of the case, up to `most` at a time. */
static void append_all(attn_context *context, attn_cache *cache, const struct sdpa_case *c, size_t most) {
    for (size_t left; (left = c->k.size[2] - attn_cache_length(cache, 0)) > 0;)
        append(context, cache, c, left < most ? left : 1 + random_below(most));
}

static struct sdpa_result attend(attn_context *context, const attn_cache *cache, const struct sdpa_case *c) {
    const struct sdpa_result r = new_sdpa_result(c);
    attn_sdpa_params params = c->params;
    params.lse = r.lse.data;
    params.weights = c->probabilities ? &r.probabilities : NULL;
    name_sdpa(c);
    assert_ok(context, attn_cache_attend(context, cache, &c->q, &r.out, &params));
    assert_gaps_untouched(r.out);
    assert_gaps_untouched(r.lse);
    assert_gaps_untouched(r.probabilities);
    return r;
}

static struct sdpa_case random_case(const int64_t *offsets) {
    static const size_t lengths[] = {0, 1, 2, 15, 16, 17, 31, 33, 63, 64, 65, 127, 200, 300};
    static const size_t widths[] = {1, 3, 8, 24, 40, 64, 70, 96, 128};
    const size_t G = 1 + random_below(3), H = G * (1 + random_below(3)), B = 1 + random_below(3);
    const size_t Tq = random_below(3) ? 1 + random_below(3) : random_pick(lengths), Tk = random_pick(lengths);
    struct sdpa_case c = sdpa_case_of(B, H, G, Tq, Tk, random_pick(widths), random_pick(widths));
    c.k = new_normal((enum layout)random_below(LAYOUTS), B, G, Tk, c.k.size[3]);
    c.v = new_normal((enum layout)random_below(LAYOUTS), B, G, Tk, c.v.size[3]);
    set_causal(&c, (attn_causal)random_below(CAUSALS), offsets);
    c.probabilities = random_below(2) > 0;
    return c;
}

/* In every instruction set; the same bits whether token by token, in pieces or at once. */
static void any_shape_and_any_pieces(void **state) {
    (void)state;
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(2, contexts);
    seed(1);
    for (size_t i = 0; i < 120; i += every()) {
        const int64_t offsets[3] = {random_pick(OFFSETS), random_pick(OFFSETS), random_pick(OFFSETS)};
        const struct sdpa_case c = random_case(offsets);
        attn_context *context = contexts[i % n];
        attn_cache *once = new_cache(context, &c, c.k.size[2] + 1), *pieces = new_cache(context, &c, 1000);
        append(context, once, &c, c.k.size[2]);
        append_all(context, pieces, &c, i % 3 ? 40 : 1);
        const struct sdpa_result got = attend(context, once, &c), same = attend(context, pieces, &c);
        assert_sdpa_near(&c, &got);
        assert_same_result(&same, &got);
        attn_cache_destroy(once);
        attn_cache_destroy(pieces);
        end_case();
    }
}

/* What was truncated away, NaN too, is as if it had never been there. */
static void truncated_tokens_leave_nothing(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    static const size_t lengths[] = {0, 5, 20, 64, 100};
    seed(2);
    for (size_t i = 0; i < COUNT(lengths) * 2; i++) {
        struct sdpa_case c = sdpa_case_of(1, 4, 2, 2, lengths[i / 2], 16, i % 2 ? 24 : 40);
        struct sdpa_case spoilt = sdpa_case_of(1, 4, 2, 2, 150, 16, c.v.size[3]);
        attn_cache *clean = new_cache(context, &c, 200), *dirty = new_cache(context, &c, 200);
        for (size_t n = 0; n < element_count(spoilt.k); n++)
            *element(spoilt.k, n) = NAN;
        for (size_t n = 0; n < element_count(spoilt.v); n++)
            *element(spoilt.v, n) = INFINITY;
        append(context, dirty, &spoilt, 150);
        assert_ok(context, attn_cache_reset(context, dirty));
        append_all(context, dirty, &c, 100);
        append_all(context, clean, &c, 100);
        const struct sdpa_result want = attend(context, clean, &c), got = attend(context, dirty, &c);
        assert_same_result(&got, &want);
        assert_sdpa_near(&c, &got);
        attn_cache_destroy(clean);
        attn_cache_destroy(dirty);
        end_case();
    }
}

/* A masked key or value that is not finite changes no bit, and a visible one only its column of the rows that see it.
 */
static void check_not_finite(attn_context *context, attn_dtype dtype, size_t last) {
    enum { T = 140, E = 100 };
    struct sdpa_case c = sdpa_case_of(1, 2, 1, T, T, 8, E);
    c.probabilities = false;
    set_causal(&c, ATTN_CAUSAL_TOP_LEFT, NULL);
    attn_cache *clean = new_cache_of(context, &c, T, dtype), *dirty = new_cache_of(context, &c, T, dtype);
    append(context, clean, &c, T);
    *element_at(c.v, 0, 0, last, E - 1) = INFINITY;
    for (size_t j = last + 1; j < T; j++) {
        *element_at(c.k, 0, 0, j, 1) = NAN;
        *element_at(c.v, 0, 0, j, 2) = NAN;
    }
    append(context, dirty, &c, T);
    c.q = tokens(c.q, 0, last + 1);
    const struct sdpa_result want = attend(context, clean, &c), got = attend(context, dirty, &c);
    assert_bits(got.lse, want.lse);
    for (size_t h = 0; h < 2; h++)
        for (size_t e = 0; e < E; e++) {
            assert_true(last == 0 || value_at(got.out, 0, h, last - 1, e) == value_at(want.out, 0, h, last - 1, e));
            const double x = value_at(got.out, 0, h, last, e), y = value_at(want.out, 0, h, last, e);
            assert_true(e == E - 1 ? x == INFINITY : fabs(x - y) <= 1e-6 * fmax(1, fabs(y)));
        }
    attn_cache_destroy(clean);
    attn_cache_destroy(dirty);
    end_case();
}

static void values_that_are_not_finite(void **state) {
    (void)state;
    static const attn_dtype types[] = {ATTN_F32, ATTN_F16, ATTN_BF16};
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(1, contexts);
    seed(3);
    for (size_t last = 0; last < 140; last += 23)
        for (size_t i = 0; i < n * COUNT(types); i++)
            check_not_finite(contexts[i % n], types[i / n], last);
}

/* Decoding steps of few heads over many keys, which threads share. */
static void any_number_of_threads(void **state) {
    (void)state;
    static const size_t threads[] = {1, 2, 3, 7};
    seed(4);
    struct sdpa_case c = sdpa_case_of(1, 4, 1, 1, 6500, 32, 32);
    c.probabilities = false;
    struct sdpa_result first = {.out = {0}};
    attn_context *maker = new_context_of(2, 0);
    attn_cache *cache = new_cache(maker, &c, 7000);
    append_all(maker, cache, &c, 3000);
    for (size_t i = 0; i < COUNT(threads); i++) {
        const struct sdpa_result r = attend(new_context_of(threads[i], 0), cache, &c);
        if (i == 0) {
            assert_sdpa_near(&c, &r);
            first = r;
        }
        assert_same_result(&r, &first);
    }
    attn_cache_destroy(cache);
    end_case();
}

/* A cache that was made for one backend serves another, whose own blocks are of another width. */
static void any_backend(void **state) {
    (void)state;
    attn_context_options options;
    ATTN_INIT(&options);
    options.sgemm = plain_sgemm;
    attn_context *contexts[2] = {new_context_of(1, 0), new_context(&options)};
    seed(6);
    for (size_t i = 0; i < 8; i++) {
        struct sdpa_case c = sdpa_case_of(1, 4, 2, i < 4 ? 1 : 70, 300, 16, i % 4 < 2 ? 24 : 200);
        set_causal(&c, i % 4 ? ATTN_CAUSAL_BOTTOM_RIGHT : ATTN_CAUSAL_NONE, NULL);
        attn_cache *cache = new_cache(contexts[i % 2], &c, 300);
        append_all(contexts[i % 2], cache, &c, 100);
        const struct sdpa_result r = attend(contexts[1 - i % 2], cache, &c);
        assert_sdpa_near(&c, &r);
        attn_cache_destroy(cache);
        end_case();
    }
}

/* Decoding steps of a decoder over what an encoder put there once. */
static void cross_attention(void **state) {
    (void)state;
    enum { STEPS = 6 };
    attn_context *context = new_context_of(2, 0);
    seed(7);
    struct sdpa_case c = sdpa_case_of(2, 6, 3, STEPS, 333, 24, 40);
    attn_cache *cache = new_cache(context, &c, 333);
    append(context, cache, &c, 333);
    const struct sdpa_result whole = attend(context, cache, &c);
    assert_sdpa_near(&c, &whole);
    for (size_t i = 0; i < STEPS; i++) {
        struct sdpa_case step = c;
        step.q = tokens_of(c.q, i, 1);
        const struct sdpa_result r = attend(context, cache, &step);
        assert_sdpa_near(&step, &r);
    }
    attn_cache_destroy(cache);
}

/* ---- memory ---- */

static void memory_is_the_allocators(void **state) {
    (void)state;
    struct meter m = {0};
    size_t bytes = 0;
    seed(5);
    const struct sdpa_case c = sdpa_case_of(1, 4, 2, 1, 100, 16, 16);
    attn_context *context = new_metered(&m, 1);
    attn_cache *cache = new_cache(context, &c, 5000);
    const struct sdpa_result r = new_sdpa_result(&c);
    attn_sdpa_params params;
    ATTN_INIT(&params);
    assert_ok(context, attn_cache_scratch_size(context, cache, &c.q, &r.out, &params, &bytes));
    assert_ok(context, attn_context_reserve(context, bytes));
    const size_t calls = m.calls;
    append_all(context, cache, &c, 50);
    assert_ok(context, attn_cache_attend(context, cache, &c.q, &r.out, &params));
    assert_int_equal(m.calls, calls);
    attn_cache_destroy(cache);
    for (size_t fail = 1; fail <= 2; fail++) {
        attn_cache_params small = {
            .struct_size = sizeof small, .batch = 1, .kv_heads = 1, .head_width = 1, .capacity = 1};
        const size_t live = m.live;
        m.fail_at = m.calls + fail;
        assert_status(context, attn_cache_create(context, &small, &cache), ATTN_ERROR_MEMORY);
        assert_null(cache);
        assert_int_equal(m.live, live);
    }
    attn_context_destroy(context);
    assert_int_equal(m.live, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(any_shape_and_any_pieces),
                                       TEST(truncated_tokens_leave_nothing),
                                       TEST(values_that_are_not_finite),
                                       TEST(any_number_of_threads),
                                       TEST(any_backend),
                                       TEST(cross_attention),
                                       TEST(memory_is_the_allocators)};
    return cmocka_run_group_tests_name("cache", tests, NULL, NULL);
}
