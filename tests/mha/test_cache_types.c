/* SPDX-License-Identifier: BSD-3-Clause */
/* What a cache stores of a token in each type, element by element. */
#include <float.h>
#include <math.h>

#include "support/numbers.h"
#include "support/sdpa_case.h"

static attn_cache *new_scaled_cache(attn_context *context, attn_dtype dtype, size_t G, size_t D, size_t E,
                                    const float *key_scales) {
    attn_cache_params params;
    attn_cache *cache;
    ATTN_INIT(&params);
    params.batch = 1;
    params.capacity = 300;
    params.kv_heads = G;
    params.head_width = D;
    params.value_width = E;
    params.dtype = dtype;
    params.key_scales = key_scales;
    assert_ok(context, attn_cache_create(context, &params, &cache));
    return cache;
}

static attn_cache *new_cache(attn_context *context, attn_dtype dtype, size_t G, size_t D, size_t E) {
    return new_scaled_cache(context, dtype, G, D, E, NULL);
}

/* What is stored of the values [1,G,T,E]: each token's output where it is the only one seen. */
static attn_tensor stored_values(attn_context *context, const attn_cache *cache, size_t G, size_t T, size_t D,
                                 size_t E) {
    const attn_tensor q = new_tensor(BHTD, 1, G, T, D), out = new_tensor(BHTD, 1, G, T, E);
    const attn_window itself = {0, 0};
    attn_sdpa_params params;
    ATTN_INIT(&params);
    params.causal = ATTN_CAUSAL_TOP_LEFT;
    params.window = &itself;
    for (size_t n = 0; n < element_count(q); n++)
        *element(q, n) = 0;
    assert_ok(context, attn_cache_attend(context, cache, &q, &out, &params));
    return out;
}

/* What is stored of the keys, [1,G,D,T]: the raw scores of the unit vectors. */
static attn_tensor stored_keys(attn_context *context, const attn_cache *cache, size_t G, size_t T, size_t D, size_t E) {
    const attn_tensor q = new_tensor(BHTD, 1, G, D, D), out = new_tensor(BHTD, 1, G, D, E);
    const attn_tensor scores = new_tensor(BHTD, 1, G, D, T);
    attn_sdpa_params params;
    ATTN_INIT(&params);
    params.scale = 1;
    params.softcap = 0;
    params.weights = &scores;
    params.weights_stage = ATTN_STAGE_RAW;
    for (size_t n = 0; n < element_count(q); n++)
        *element(q, n) = n / D % D == n % D ? 1 : 0;
    assert_ok(context, attn_cache_attend(context, cache, &q, &out, &params));
    return scores;
}

/* Rows of another size each: 10^n, and an outlier in every third. */
static void spread(attn_tensor t, int lowest, int highest) {
    for (size_t n = 0; n < element_count(t); n++) {
        const size_t row = n / t.size[3];
        const double size = pow(10, lowest + (int)(row % (size_t)(highest - lowest + 1)));
        const double outlier = row % 3 == 0 && n % t.size[3] == 1 ? 50 : 1;
        set_value(t, n, row % 11 == 7 ? 0 : (double)random_normal() * size * outlier);
    }
}

static void append(attn_context *context, attn_cache *cache, attn_tensor k, attn_tensor v) {
    static const size_t pieces[] = {1, 3, 16, 17, 40, 100};
    for (size_t at = 0; at < k.size[2];) {
        const size_t left = k.size[2] - at, piece = random_pick(pieces), n = piece < left ? piece : left;
        const attn_tensor some_k = tokens_of(k, at, n), some_v = tokens_of(v, at, n);
        assert_ok(context, attn_cache_append(context, cache, &some_k, &some_v, NULL));
        at += n;
    }
}

/* The largest of the absolute values of a row of width elements. */
static double largest(attn_tensor t, size_t row) {
    double most = 0;
    for (size_t d = 0; d < t.size[3]; d++)
        most = fmax(most, fabs(value(t, row * t.size[3] + d)));
    return most;
}

/* A group of 32 elements of a row, or what is left of it, as int4: `offset`, a bf16 not above the least, and 15 steps
 * to the largest, a step being no smaller bf16, or 0. */
struct steps {
    double offset, step;
};

static double bf16_beside(double x, bool below) {
    const double near = rounded_to(ATTN_BF16, x);
    if (below ? near <= x : near >= x)
        return near;
    const double bit = ldexp(1, (ilogb(x) < -126 ? -126 : ilogb(x)) - 8); /* half of the last one */
    return rounded_to(ATTN_BF16, below ? x - bit : x + bit);
}

static double within_int4(double x) { return fmin(fmax(x, -0x1p126), 0x1p126); }

static struct steps steps_of(attn_tensor t, size_t row, size_t d) {
    double least = INFINITY, most = -INFINITY;
    for (size_t n = d / 32 * 32; n < d / 32 * 32 + 32 && n < t.size[3]; n++) {
        const double x = within_int4(value(t, row * t.size[3] + n));
        least = fmin(least, x);
        most = fmax(most, x);
    }
    const double offset = bf16_beside(least, true), step = (double)(((float)most - (float)offset) / 15);
    return (struct steps){offset, step < 0x1p-126 ? 0 : bf16_beside(step, false)};
}

/* One of 16 numbers, the nearest. */
static void assert_int4(attn_tensor t, size_t row, size_t d, double got) {
    const double x = within_int4(value(t, row * t.size[3] + d));
    const struct steps s = steps_of(t, row, d);
    const double number = s.step > 0 ? round((got - s.offset) / s.step) : 0;
    const double ulp = 0x1p-22 * fmax(fabs(s.offset), 15 * s.step), least = s.step > 0 ? 0 : 0x1p-122;
    if (!(0 <= number && number <= 15 && fabs(s.offset + number * s.step - got) <= ulp &&
          fabs(got - x) <= s.step * 0.50001 + ulp + least))
        fail_msg("row %zu, element %zu: %.9g is stored as %.9g: %g + %g · %g", row, d, x, got, s.offset, number,
                 s.step);
}

/* int8: at most half a step away, a step being 1/127 of the row's largest. An int8 is a product of floats: an
 * ulp or two more. */
static void assert_stored(attn_dtype stored, attn_tensor t, size_t row, size_t d, double got) {
    const double x = value(t, row * t.size[3] + d);
    if (stored == ATTN_INT4) {
        assert_int4(t, row, d, got);
        return;
    }
    if (stored == ATTN_INT8) {
        const double most = largest(t, row);
        if (!(fabs(got - x) <= most / 254 * 1.0001 + most * 1e-6))
            fail_msg("row %zu, element %zu: %.9g is stored as %.9g; the largest is %.9g", row, d, x, got, most);
    } else if (!(fabs(got - rounded_to(stored, x)) <= 0x1p-22 * fabs(x))) {
        fail_msg("row %zu, element %zu: %.9g is stored as %.9g, want %.9g", row, d, x, got, rounded_to(stored, x));
    }
}

static void check_type(attn_context *context, attn_dtype stored, attn_dtype given, size_t G, size_t D, size_t E) {
    enum { T = 150 };
    const bool half = stored == ATTN_F16 || given == ATTN_F16;
    const int low = half ? -8 : -30, high = half ? 2 : 30;
    attn_cache *cache = new_cache(context, stored, G, D, E);
    const attn_tensor k = new_tensor_of(given, (enum layout)random_below(OUTPUT_LAYOUTS), 1, G, T, D);
    const attn_tensor v = new_tensor_of(given, (enum layout)random_below(OUTPUT_LAYOUTS), 1, G, T, E);
    spread(k, low, high);
    spread(v, low, high);
    append(context, cache, k, v);
    const attn_tensor keys = stored_keys(context, cache, G, T, D, E);
    const attn_tensor values = stored_values(context, cache, G, T, D, E);
    for (size_t row = 0; row < G * T; row++) {
        for (size_t d = 0; d < D; d++)
            assert_stored(stored, k, row, d, value_at(keys, 0, row / T, d, row % T));
        for (size_t e = 0; e < E; e++)
            assert_stored(stored, v, row, e, value(values, row * E + e));
    }
    attn_cache_destroy(cache);
    end_case();
}

/* In every instruction set, from every type into every type. */
static void every_element(void **state) {
    (void)state;
    static const size_t widths[][2] = {{64, 64}, {3, 5}, {24, 70}, {130, 17}, {1, 33}};
    static const attn_dtype types[] = {ATTN_F32, ATTN_F16, ATTN_BF16, ATTN_INT8, ATTN_INT4};
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(2, contexts);
    seed(1);
    for (size_t i = 0; i < n * 3 * COUNT(types); i++) {
        const size_t *w = random_pick(widths);
        const attn_dtype stored = types[i / n % COUNT(types)], given = types[i / n / COUNT(types)];
        name_case("%s: type %d from type %d, D=%zu E=%zu", describe(contexts[i % n]).isa, (int)stored, (int)given, w[0],
                  w[1]);
        check_type(contexts[i % n], stored, given, 1 + random_below(2), w[0], w[1]);
    }
}

/* The extremes of an int8's row: what is too small for a scale is 0, the largest floats come back as they were. */
static void extremes(void **state) {
    (void)state;
    static const float sizes[] = {FLT_MAX, 1e38F, 1e-35F, 1e-38F, FLT_TRUE_MIN, 0};
    attn_context *context = new_context_of(1, 0);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        attn_cache *cache = new_cache(context, ATTN_INT8, 1, 4, 4);
        const attn_tensor k = new_normal(BHTD, 1, 1, 1, 4), v = new_tensor(BHTD, 1, 1, 1, 4);
        for (size_t d = 0; d < 4; d++)
            *element(v, d) = d % 2 ? sizes[i] : -sizes[i];
        assert_ok(context, attn_cache_append(context, cache, &k, &v, NULL));
        const attn_tensor got = stored_values(context, cache, 1, 1, 4, 4);
        for (size_t d = 0; d < 4; d++) {
            const double x = (double)*element(v, d), y = value(got, d);
            if (!(fabs(y - x) <= 1e-6 * fabs(x) || (fabs(x) < 0x1p-112 && y == 0)))
                fail_msg("%g is stored as %g", x, y);
        }
        attn_cache_destroy(cache);
        end_case();
    }
}

/* What 15 steps of a group cannot span is the nearest that they can; and what is less than the least step is none. */
static void extremes_of_int4(void **state) {
    (void)state;
    static const float sizes[] = {FLT_MAX, 0x1p126F, 1e38F, 1e-35F, 1e-37F, 1e-38F, FLT_TRUE_MIN, 0};
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(1, contexts);
    for (size_t i = 0; i < n * COUNT(sizes); i++) {
        attn_cache *cache = new_cache(contexts[i % n], ATTN_INT4, 1, 4, 40);
        const attn_tensor k = new_normal(BHTD, 1, 1, 1, 4), v = new_tensor(BHTD, 1, 1, 1, 40);
        for (size_t d = 0; d < 40; d++) /* the second group is one number */
            *element(v, d) = d % 2 || d > 31 ? sizes[i / n] : -sizes[i / n];
        assert_ok(contexts[i % n], attn_cache_append(contexts[i % n], cache, &k, &v, NULL));
        const attn_tensor got = stored_values(contexts[i % n], cache, 1, 1, 4, 40);
        for (size_t d = 0; d < 40; d++)
            assert_int4(v, 0, d, value(got, d));
        attn_cache_destroy(cache);
        end_case();
    }
}

/* Attention is to what is stored, whatever the widths, the masks and who multiplies. */
static void check_attends(attn_context *context, size_t n) {
    static const size_t widths[] = {1, 7, 31, 32, 33, 64, 70, 96, 128, 130}, tokens[] = {1, 2, 7, 60};
    static const attn_window window = {40, 0};
    enum { T = 170 };
    const size_t G = 1 + random_below(2), H = G * (1 + random_below(4));
    struct sdpa_case c = sdpa_case_of(1, H, G, random_pick(tokens), T, random_pick(widths), random_pick(widths));
    const size_t D = c.k.size[3], E = c.v.size[3];
    attn_cache *cache = new_cache(context, ATTN_INT4, G, D, E);
    if (n % 3)
        set_causal(&c, ATTN_CAUSAL_BOTTOM_RIGHT, NULL);
    if (n % 3 == 2)
        c.params.window = &window;
    append(context, cache, c.k, c.v);
    const attn_tensor keys = stored_keys(context, cache, G, T, D, E),
                      values = stored_values(context, cache, G, T, D, E);
    const attn_tensor k = new_tensor(BHTD, 1, G, T, D), out = new_tensor(BHTD, 1, H, c.q.size[2], E);
    for (size_t i = 0; i < element_count(k); i++)
        set_value(k, i, value_at(keys, 0, i / D / T, i % D, i / D % T));
    assert_ok(context, attn_cache_attend(context, cache, &c.q, &out, &c.params));
    assert_near(out, reference_sdpa(c.q, k, values, &c.params).out, promised(1));
    attn_cache_destroy(cache);
}

static void int4_is_attended_to(void **state) {
    (void)state;
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(2, contexts);
    seed(8);
    for (size_t i = 0; i < n * 20; i += every()) {
        name_case("case %zu", i);
        check_attends(contexts[i % n], i / n);
        end_case();
    }
}

/* Too large for f16 is infinity, and NaN stays NaN, as in tensors of f16. */
static void not_finite(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    for (size_t i = 0; i < 2; i++) {
        attn_cache *cache = new_cache(context, i ? ATTN_BF16 : ATTN_F16, 1, 4, 4);
        const attn_tensor k = new_normal(BHTD, 1, 1, 1, 4), v = new_normal(BHTD, 1, 1, 1, 4);
        *element(v, 0) = 1e30F;
        *element(v, 1) = -INFINITY;
        *element(v, 2) = NAN;
        assert_ok(context, attn_cache_append(context, cache, &k, &v, NULL));
        const attn_tensor got = stored_values(context, cache, 1, 1, 4, 4);
        assert_true(i ? fabs(value(got, 0) / 1e30 - 1) < 0x1p-8 : value(got, 0) == INFINITY);
        assert_true(value(got, 1) == -INFINITY);
        assert_true(isnan(value(got, 2)));
        assert_true(isfinite(value(got, 3)));
        attn_cache_destroy(cache);
        end_case();
    }
}

/* Of all scores of N(0,1) queries, the largest error. */
static double score_error(attn_context *context, attn_cache *cache, attn_tensor k, attn_tensor q) {
    const size_t G = k.size[1], T = k.size[2], D = k.size[3], Tq = q.size[2];
    const attn_tensor v = new_normal(BHTD, 1, G, T, 4), out = new_tensor(BHTD, 1, q.size[1], Tq, 4);
    const attn_tensor scores = new_tensor(BHTD, 1, q.size[1], Tq, T);
    const attn_sdpa_params params = {.struct_size = sizeof params, .weights = &scores, .weights_stage = ATTN_STAGE_RAW};
    double most = 0;
    append(context, cache, k, v);
    assert_ok(context, attn_cache_attend(context, cache, &q, &out, &params));
    for (size_t n = 0; n < element_count(scores); n++) {
        const size_t h = n / T / Tq, g = h / (q.size[1] / G);
        double s = 0;
        for (size_t d = 0; d < D; d++)
            s += value_at(q, 0, h, n / T % Tq, d) * value_at(k, 0, g, n % T, d);
        most = fmax(most, fabs(value(scores, n) - s / sqrt((double)D)));
    }
    attn_cache_destroy(cache);
    return most;
}

/* A channel 30 times as large takes the digits of the others, but for a scale of its own, whatever the head. */
static void channels_of_keys(void **state) {
    (void)state;
    enum { G = 2, H = 6, T = 200, D = 64, OUTLIER = 5 };
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(2, contexts);
    for (size_t i = 0; i < 2 * n; i++) {
        seed(7);
        float *scales = new_floats((size_t)G * D);
        const attn_tensor k = new_normal(BTHD, 1, G, T, D), q = new_normal(BTHD, 1, H, i % 2 ? 1 : 20, D);
        for (size_t c = 0; c < (size_t)G * D; c++) {
            const size_t g = c / D, d = c % D;
            scales[c] = d == OUTLIER + g ? 30 : 1 + 0.1F * (float)(d % 3);
            for (size_t t = 0; t < T; t++)
                *element_at(k, 0, g, t, d) *= scales[c];
        }
        const double plain = score_error(contexts[i / 2], new_cache(contexts[i / 2], ATTN_INT8, G, D, 4), k, q);
        const double scaled =
            score_error(contexts[i / 2], new_scaled_cache(contexts[i / 2], ATTN_INT8, G, D, 4, scales), k, q);
        name_case("errors of scores: %g, with scales of channels %g", plain, scaled);
        assert_true(plain > 0.1 && scaled < plain / 3);
        end_case();
    }
}

/* The root mean square of errors beside that of numbers from N(0,1), as cache.h says. */
static void error_of_int4(void **state) {
    (void)state;
    enum { T = 250, D = 128, E = 64 };
    attn_context *context = new_context_of(1, 0);
    attn_cache *cache = new_cache(context, ATTN_INT4, 1, D, E);
    seed(5);
    const attn_tensor k = new_normal(BHTD, 1, 1, T, D), v = new_normal(BHTD, 1, 1, T, E);
    double error = 0, all = 0;
    append(context, cache, k, v);
    const attn_tensor keys = stored_keys(context, cache, 1, T, D, E),
                      values = stored_values(context, cache, 1, T, D, E);
    for (size_t t = 0; t < T; t++)
        for (size_t d = 0; d < D + E; d++) {
            const double x = d < D ? value_at(k, 0, 0, t, d) : value_at(v, 0, 0, t, d - D);
            const double y = d < D ? value_at(keys, 0, 0, d, t) : value_at(values, 0, 0, t, d - D);
            error += (x - y) * (x - y);
            all += x * x;
        }
    name_case("%g of the numbers", sqrt(error / all));
    assert_true(fabs(sqrt(error / all) - 0.08) < 0.002);
    attn_cache_destroy(cache);
}

/* What a scale makes infinite is told. */
static void divided_beyond_floats(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    const float scales[] = {1, 1e-30F, 1, 1};
    attn_cache *cache = new_scaled_cache(context, ATTN_INT8, 1, 4, 4, scales);
    const attn_tensor k = new_normal(BHTD, 1, 1, 3, 4);
    *element_at(k, 0, 0, 2, 1) = 1e30F;
    assert_status(context, attn_cache_append(context, cache, &k, &k, NULL), ATTN_ERROR_VALUE);
    assert_mentions(attn_context_last_error(context), "token 2");
    assert_int_equal(attn_cache_length(cache, 0), 0);
    attn_cache_destroy(cache);
}

/* The sizes are as small as the types. */
static void page_bytes(void **state) {
    (void)state;
    enum { P = 256, G = 3, D = 64 };
    static const size_t element[] = {[ATTN_F32] = 4, [ATTN_F16] = 2, [ATTN_BF16] = 2, [ATTN_INT8] = 1};
    static const attn_dtype types[] = {ATTN_F32, ATTN_F16, ATTN_BF16, ATTN_INT8, ATTN_INT4};
    attn_context *context = new_context_of(1, 0);
    for (size_t i = 0; i < COUNT(types); i++) {
        attn_cache_pool_info info;
        ATTN_INIT(&info);
        attn_cache *cache = new_cache(context, types[i], G, D, D);
        assert_ok(context, attn_cache_pool_describe(context, attn_cache_pool_of(cache), &info));
        const size_t scales = types[i] == ATTN_INT8 ? sizeof(float) : 0;
        const size_t bytes = types[i] == ATTN_INT4 ? D / 32 * 20 : D * element[types[i]] + scales;
        assert_int_equal(info.page_size, P);
        assert_int_equal(info.page_bytes, 2 * P * G * bytes);
        assert_int_equal(info.pages, 2);
        attn_cache_destroy(cache);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(every_element), TEST(extremes),   TEST(extremes_of_int4), TEST(int4_is_attended_to),
        TEST(error_of_int4), TEST(not_finite), TEST(channels_of_keys), TEST(divided_beyond_floats),
        TEST(page_bytes)};
    return cmocka_run_group_tests_name("cache_types", tests, NULL, NULL);
}
