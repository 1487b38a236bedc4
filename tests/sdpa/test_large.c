/* SPDX-License-Identifier: BSD-3-Clause */
/* Numbers at the ends of what their types have, and sums of many: scores, biases, options, positions. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "support/variants.h"

/* ---- the smallest finite number is no −∞ ---- */

/* A row whose biases are all the smallest number of their type is uniform over what the masks leave. */
static void rows_of_the_smallest_bias(void **state) {
    (void)state;
    static const double smallest[] = {[ATTN_F32] = -(double)FLT_MAX, [ATTN_F16] = -65504, [ATTN_BF16] = -0x1.fep127};
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(1, contexts);
    seed(7);
    for (size_t i = 0; i < 6 * n; i++) {
        const attn_dtype dtype = (attn_dtype)(i % 3);
        const size_t masked = i % 6 < 3 ? 0 : 53;
        struct sdpa_case c = sdpa_case_of(1, 2, 1, 33, 90, 16, 8);
        const attn_tensor mask = new_tensor_of(ATTN_BOOL, BHTD, 1, 1, 1, 90);
        for (size_t j = 0; j < 90; j++)
            set_value(mask, j, j < masked);
        c.params.mask = new_view(mask);
        c.params.polarity = ATTN_DROP;
        c.params.bias = new_filled(dtype, 1, 1, 33, 90, smallest[dtype]);
        const struct sdpa_result r = run_sdpa(contexts[i / 6], &c);
        if (dtype != ATTN_F16) /* −65504 leaves 1/256 of the scores */
            for (size_t x = 0; x < element_count(r.probabilities); x++)
                assert_true(fabs(value(r.probabilities, x) - (x % 90 < masked ? 0 : 1.0 / (double)(90 - masked))) <
                            1e-8);
        assert_sdpa_near(&c, &r);
        end_case();
    }
}

/* ---- large numbers ---- */

static void largest_products(void **state) {
    (void)state;
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(1, contexts);
    for (size_t i = 0; i < n; i++) {
        struct sdpa_case c = sdpa_case_of(1, 1, 1, 4, 2, 1, 1);
        c.params.scale = 1;
        *element(c.k, 0) = 1;
        *element(c.k, 1) = 0.5F;
        *element(c.q, 0) = 2.3e38F;
        *element(c.q, 1) = -2.3e38F;
        *element(c.q, 2) = -2.4e38F;
        *element(c.q, 3) = 2.4e38F;
        const struct sdpa_result r = run_sdpa(contexts[i], &c);
        static const double want[] = {1, 0, 0, 1, 0, 1, 1, 0};
        assert_near(r.probabilities, want, (tolerance){0});
        end_case();
    }
}

/* The difference of two scores is as exact as they are. */
static void differences_of_large_scores(void **state) {
    (void)state;
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(1, contexts);
    for (size_t i = 0; i < n; i++) {
        struct sdpa_case c = sdpa_case_of(1, 1, 1, 2, 2, 1, 1);
        c.params.scale = 1;
        *element(c.q, 0) = 1;
        *element(c.q, 1) = 10;
        *element(c.k, 0) = -1e5F;
        *element(c.k, 1) = -1e5F - 1;
        const struct sdpa_result r = run_sdpa(contexts[i], &c);
        const double p = 1 / (1 + exp(-1.0)), p10 = 1 / (1 + exp(-10.0)), want[] = {p, 1 - p, p10, 1 - p10};
        assert_near(r.probabilities, want, (tolerance){.absolute = 1e-7});
        end_case();
    }
}

/* Options at the ends of f32, as long as what comes of them is in it. One query and two keys of width 1. */
struct extreme {
    const char *name;
    float q, k[2], scale, softcap, bias[2], sink;
    bool biased, sunk, masked;
    double p[2], lse;
};

static void run_extreme(attn_context *context, const struct extreme *x) {
    struct sdpa_case c = sdpa_case_of(1, 1, 1, 1, 2, 1, 1);
    snprintf(c.name, sizeof c.name, "%s with %s", x->name, describe(context).isa);
    const attn_tensor bias = *new_filled(ATTN_F32, 1, 1, 1, 2, 0);
    c.params.scale = x->scale;
    c.params.softcap = x->softcap;
    c.params.sinks = x->sunk ? &x->sink : NULL;
    c.params.bias = x->biased ? new_view(bias) : NULL;
    c.params.polarity = x->masked ? ATTN_KEEP : (attn_polarity)0;
    c.params.mask = x->masked ? new_filled(ATTN_BOOL, 1, 1, 1, 2, 0) : NULL;
    *element(c.q, 0) = x->q;
    for (size_t j = 0; j < 2; j++) {
        *element(c.k, j) = x->k[j];
        set_value(bias, j, (double)x->bias[j]);
    }
    const struct sdpa_result r = run_sdpa(context, &c);
    const tolerance rounding = {.absolute = 1e-7, .relative = 1e-7};
    assert_near(r.probabilities, x->p, rounding);
    assert_near(r.lse, &x->lse, rounding);
    end_case();
}

static void options_at_the_ends_of_floats(void **state) {
    (void)state;
    const double ln2 = log(2.0), e = 1 / (1 + exp(-1.0));
    const struct extreme cases[] = {
        {.name = "small cap", .softcap = 2.9e-39F, .scale = 1, .p = {0.5, 0.5}, .lse = ln2},
        {.name = "large cap", .softcap = 2.4e38F, .scale = 1, .p = {0.5, 0.5}, .lse = ln2},
        {.name = "cap 1e38",
         .softcap = 1e38F,
         .scale = 1,
         .q = 1,
         .k = {1, 0},
         .p = {e, 1 - e},
         .lse = log(exp(1) + 1)},
        {.name = "cap 1e37",
         .softcap = 1e37F,
         .scale = 1,
         .q = 1,
         .k = {1, 0},
         .p = {e, 1 - e},
         .lse = log(exp(1) + 1)},
        {.name = "sink", .scale = 1, .sunk = true, .sink = 2.4e38F, .p = {0, 0}, .lse = (double)2.4e38F},
        {.name = "lone sink", .scale = 1, .sunk = true, .sink = -2.4e38F, .masked = true, .lse = (double)-2.4e38F},
        {.name = "low bias",
         .scale = 1,
         .biased = true,
         .bias = {-2.4e38F, -3.4e38F},
         .p = {1, 0},
         .lse = (double)-2.4e38F},
        {.name = "high bias", .scale = 1, .biased = true, .bias = {2.4e38F, 0}, .p = {1, 0}, .lse = (double)2.4e38F},
        {.name = "large scale",
         .scale = 0x1p100F,
         .q = 0x1p-98F,
         .k = {0.25F, -0.0F},
         .p = {e, 1 - e},
         .lse = log(exp(1) + 1)},
        {.name = "small scale",
         .scale = 0x1p-100F,
         .q = 0x1p39F,
         .k = {0x1p64F, 0x7p61F},
         .p = {e, 1 - e},
         .lse = 8 + log(1 + exp(-1))}};
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(1, contexts);
    for (size_t i = 0; i < n * COUNT(cases); i++)
        run_extreme(contexts[i % n], &cases[i / n]);
}

static void slopes_at_the_end_of_floats(void **state) {
    (void)state;
    const float slope = 2.4e38F;
    attn_context *context = new_context_of(1, 0);
    struct sdpa_case c = sdpa_case_of(1, 1, 1, 1, 1, 4, 4);
    c.params.alibi = ATTN_ALIBI_SLOPES;
    c.params.alibi_slopes = &slope;
    check_sdpa(context, &c);
}

/* Offsets and windows can be any integers: which keys are seen, and how far they are. */
static void positions_at_the_ends_of_integers(void **state) {
    (void)state;
    static const struct {
        attn_causal causal;
        int64_t offset;
        attn_window window;
    } cases[] = {{ATTN_CAUSAL_OFFSET, INT64_MAX, {INT64_MAX, -1}},
                 {ATTN_CAUSAL_OFFSET, INT64_MAX, {INT64_MAX / 2, -1}},
                 {ATTN_CAUSAL_OFFSET, INT64_MAX / 4 + 100, {INT64_MAX / 4 + 90, -1}},
                 {ATTN_CAUSAL_OFFSET, INT64_MAX, {-1, INT64_MAX}},
                 {ATTN_CAUSAL_OFFSET, INT64_MIN, {INT64_MAX, INT64_MAX}},
                 {ATTN_CAUSAL_OFFSET, INT64_MAX, {-1, -1}},
                 {ATTN_CAUSAL_NONE, 0, {INT64_MAX, INT64_MAX}}};
    attn_context *context = new_context_of(1, 0);
    seed(31);
    for (size_t i = 0; i < 2 * COUNT(cases); i++) {
        struct sdpa_case c = sdpa_case_of(1, 2, 1, 20, 30, 8, 8);
        set_causal(&c, cases[i / 2].causal, &cases[i / 2].offset);
        c.params.window = &cases[i / 2].window;
        c.params.alibi = i % 2 ? ATTN_ALIBI_STANDARD : ATTN_ALIBI_NONE;
        c.probabilities = i % 2 == 0; /* so far away they are rounded */
        check_sdpa(context, &c);
        end_case();
    }
}

/* ---- many keys ---- */

/* All keys and values are alike, so that rounding errors do not cancel. */
static void errors_do_not_grow_with_keys(void **state) {
    (void)state;
    enum { E = 8 };
    attn_context *contexts[] = {new_context_of(1, 0), new_context_of(2, 0)};
    for (size_t i = 0; i < 4; i++) {
        const size_t Tk = (size_t)1 << (i < 2 ? 11 : 23), size[4] = {1, 1, Tk, E};
        static float key[E], values[E] = {0.1F, 0.3F, 0.7F, 1.1F, 1.3F, -1.7F, 1.9F, -0.9F};
        attn_tensor k = attn_tensor_bhtd(key, ATTN_F32, 1, 1, Tk, E), v = k, out = new_tensor(BHTD, 1, 1, 1, E);
        const attn_tensor q = attn_tensor_bhtd(key, ATTN_F32, 1, 1, 1, E);
        double want[E];
        memcpy(k.size, size, sizeof size);
        k.stride[2] = v.stride[2] = 0;
        v.data = values;
        for (size_t c = 0; c < E; c++)
            want[c] = (double)values[c];
        assert_ok(contexts[i % 2], attn_sdpa(contexts[i % 2], &q, &k, &v, &out, NULL));
        name_case("%zu keys, %zu threads", Tk, 1 + i % 2);
        assert_near(out, want, (tolerance){.relative = 3e-6});
        end_case();
    }
}

/* Of no width, results are the log-sum-exp and the weights; over more than a segment too. */
static void values_without_width(void **state) {
    (void)state;
    attn_context *one = new_context_of(1, 0), *three = new_context_of(3, 0);
    seed(23);
    for (size_t i = 0; i < 4; i++) {
        struct sdpa_case c = sdpa_case_of(i < 2 ? 1 : 2, 2, 1, i % 2 ? 70 : 1, 5000, 8, 0);
        const int64_t lengths[] = {900, 5000};
        c.params.key_lengths = i < 2 ? NULL : new_integers(lengths, 2);
        check_variant(one, three, &c);
        end_case();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(rows_of_the_smallest_bias),    TEST(largest_products),
                                       TEST(differences_of_large_scores),  TEST(options_at_the_ends_of_floats),
                                       TEST(slopes_at_the_end_of_floats),  TEST(positions_at_the_ends_of_integers),
                                       TEST(errors_do_not_grow_with_keys), TEST(values_without_width)};
    return cmocka_run_group_tests_name("large", tests, NULL, NULL);
}
