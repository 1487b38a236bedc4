/* SPDX-License-Identifier: BSD-3-Clause */
/* ALiBi leaves out what is too far to matter, but only if something near remains; and distances beyond floats. */
#include <float.h>
#include <math.h>

#include "support/variants.h"

static void steep(struct sdpa_case *c) {
    c->params.alibi = ATTN_ALIBI_STANDARD;
    c->params.alibi_slopes = NULL;
}
static void far_key_scores_high(struct sdpa_case *c) {
    steep(c);
    for (size_t d = 0; d < c->k.size[3]; d++)
        *element_at(c->k, 0, 0, 3, d) *= 1000;
}
static void far_bias_is_high(struct sdpa_case *c) {
    const attn_tensor bias = *new_filled(ATTN_F32, 1, 1, 1, c->k.size[2], 0);
    steep(c);
    set_value(bias, 5, 1e4);
    c->params.bias = new_view(bias);
}
static void near_bias_is_low(struct sdpa_case *c) {
    const attn_tensor bias = *new_filled(ATTN_F32, 1, 1, 1, c->k.size[2], -(double)FLT_MAX);
    steep(c);
    for (size_t j = 0; j < 100; j++)
        set_value(bias, j, 0);
    c->params.bias = new_view(bias);
}
static void near_keys_are_masked(struct sdpa_case *c) {
    const attn_tensor mask = *new_filled(ATTN_BOOL, 1, 1, 1, c->k.size[2], 1);
    steep(c);
    for (size_t j = 0; j < 40; j++)
        set_value(mask, j, 0);
    c->params.mask = new_view(mask);
    c->params.polarity = ATTN_DROP;
}
static void near_blocks_are_masked(struct sdpa_case *c) {
    const attn_tensor map = *new_filled(ATTN_BOOL, 1, 1, 1, c->k.size[2] / 100, 0);
    steep(c);
    set_value(map, 1, 1);
    c->params.block_map = new_view(map);
    c->params.block_queries = c->q.size[2];
    c->params.block_keys = 100;
}
static void keep_the_first(void *data, const attn_score_tile *t) {
    (void)data;
    for (size_t i = 0; i < t->queries; i++)
        for (size_t j = 0; j < t->keys; j++)
            t->scores[i * t->stride + j] = t->key + j < 7 ? t->scores[i * t->stride + j] : -INFINITY;
}
static void near_keys_are_called_back(struct sdpa_case *c) {
    steep(c);
    c->params.score = keep_the_first;
}
static void lifts_the_first(void *data, const attn_score_tile *t) {
    (void)data;
    for (size_t i = 0; i < t->queries; i++)
        for (size_t j = 0; j < t->keys; j++)
            t->scores[i * t->stride + j] += t->key + j < 7 ? 5000 : 0;
}
static void far_keys_are_lifted(struct sdpa_case *c) {
    steep(c);
    c->params.score = lifts_the_first;
}
static void window_sees_far_only(struct sdpa_case *c) {
    steep(c);
    set_causal(c, ATTN_CAUSAL_OFFSET, new_same_integers((int64_t)c->k.size[2] + 2000, 1));
}
static void all_keys_are_ahead(struct sdpa_case *c) {
    steep(c);
    set_causal(c, ATTN_CAUSAL_OFFSET, NULL);
    set_causal(c, ATTN_CAUSAL_TOP_LEFT, NULL);
}
static void slopes_that_rise(struct sdpa_case *c) {
    float *slopes = new_floats(c->q.size[1]);
    for (size_t h = 0; h < c->q.size[1]; h++)
        slopes[h] = h % 2 ? -0.01F : 2;
    c->params.alibi = ATTN_ALIBI_SLOPES;
    c->params.alibi_slopes = slopes;
}
static void capped_scores(struct sdpa_case *c) {
    far_key_scores_high(c);
    c->params.softcap = 20;
}
static void with_sinks(struct sdpa_case *c) {
    float *sinks = new_floats(c->q.size[1]);
    for (size_t h = 0; h < c->q.size[1]; h++)
        sinks[h] = (float)h - 3;
    near_keys_are_masked(c);
    c->params.sinks = sinks;
}
static void scale_is_large(struct sdpa_case *c) {
    steep(c);
    c->params.scale = -30;
}
static void short_keys(struct sdpa_case *c) {
    steep(c);
    c->params.key_lengths = new_same_integers(700, 1);
    set_causal(c, ATTN_CAUSAL_OFFSET, new_same_integers(3000, 1));
}

static void distant_keys(void **state) {
    (void)state;
    void (*const settings[])(struct sdpa_case * c) = {steep,
                                                      far_key_scores_high,
                                                      far_bias_is_high,
                                                      near_bias_is_low,
                                                      near_keys_are_masked,
                                                      near_blocks_are_masked,
                                                      near_keys_are_called_back,
                                                      far_keys_are_lifted,
                                                      window_sees_far_only,
                                                      all_keys_are_ahead,
                                                      slopes_that_rise,
                                                      capped_scores,
                                                      with_sinks,
                                                      scale_is_large,
                                                      short_keys};
    attn_context *context = new_context_of(1, 0);
    seed(8);
    for (size_t i = 0; i < 2 * COUNT(settings); i++) {
        struct sdpa_case c = sdpa_case_of(1, 6, 2, i % 2 ? 40 : 1, 3000, 8, 8);
        snprintf(c.name, sizeof c.name, "distant %zu", i / 2);
        settings[i / 2](&c);
        c.probabilities = i % 2;
        check_sdpa(context, &c);
        end_case();
    }
}

/* What is too far to matter is not masked: its score is what it is. */
static void scores_of_distant_keys(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    seed(24);
    for (size_t i = 0; i < 4; i++) {
        struct sdpa_case c = sdpa_case_of(1, 6, 2, i % 2 ? 40 : 1, 3000, 8, 8);
        (i / 2 ? slopes_that_rise : steep)(&c);
        c.params.weights_stage = ATTN_STAGE_BIASED;
        check_sdpa(context, &c);
        end_case();
    }
}

/* A cap hides neither NaN nor Inf of a key or a value. */
static void capped_scores_that_are_not_finite(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    seed(25);
    for (size_t i = 0; i < 8; i++) {
        struct sdpa_case c = sdpa_case_of(1, 6, 2, 5, 1000, 8, 8);
        steep(&c);
        c.params.softcap = 20;
        *element_at(i / 4 ? c.v : c.k, 0, 1, i % 4 < 2 ? 990 : 3, 2) = i % 2 || i == 6 ? NAN : INFINITY; /* not 0 · ∞ */
        check_sdpa(context, &c);
        end_case();
    }
}

/* A float does not hold every distance beyond 2^24, but does hold the biases of slopes that small. Where a mask ends is
 * exact however far that is. */
static void distances_beyond_floats(void **state) {
    (void)state;
    enum { Tq = 70, Tk = 300 };
    static const int64_t offsets[] = {(1 << 24) - 100, (1 << 24) + 1, (1 << 26) + 3, (1 << 30) + 7};
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(2, contexts);
    seed(21);
    for (size_t i = 0; i < n * COUNT(offsets) * 2; i++) {
        const int64_t offset = offsets[i / 2 % COUNT(offsets)];
        const float slopes[] = {4 / (float)offset, 10 / (float)offset, -1 / (float)offset};
        const attn_window window = {offset - 1, -1}; /* sees the keys from i + 1 on */
        struct sdpa_case c = sdpa_case_of(1, 3, 1, Tq, Tk, 16, 24);
        set_causal(&c, ATTN_CAUSAL_OFFSET, &offset);
        c.params.alibi = ATTN_ALIBI_SLOPES;
        c.params.alibi_slopes = slopes;
        c.params.window = i % 2 ? &window : NULL;
        snprintf(c.name, sizeof c.name, "offset %lld with %s", (long long)offset, describe(contexts[i % n]).isa);
        check_sdpa(contexts[i % n], &c);
        end_case();
    }
}

/* Steep slopes over such distances leave numbers, if not the right ones: scores are floats. */
static void distances_beyond_everything(void **state) {
    (void)state;
    static const int64_t offsets[] = {(1 << 25) + 1, (int64_t)1 << 40, INT64_MAX};
    attn_context *context = new_context_of(2, 0);
    seed(22);
    for (size_t i = 0; i < COUNT(offsets); i++) {
        struct sdpa_case c = sdpa_case_of(1, 4, 2, 9, 300, 16, 24);
        steep(&c);
        set_causal(&c, ATTN_CAUSAL_OFFSET, &offsets[i]);
        const struct sdpa_result r = run_sdpa(context, &c);
        assert_rows_sum_to_one(r.probabilities, r.lse.data);
        for (size_t x = 0; x < element_count(r.out); x++)
            assert_true(isfinite(value(r.out, x)));
        end_case();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(distant_keys), TEST(scores_of_distant_keys),
                                       TEST(capped_scores_that_are_not_finite), TEST(distances_beyond_floats),
                                       TEST(distances_beyond_everything)};
    return cmocka_run_group_tests_name("alibi", tests, NULL, NULL);
}
