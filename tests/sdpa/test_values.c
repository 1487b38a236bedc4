/* SPDX-License-Identifier: BSD-3-Clause */
/* attn_sdpa on adversarial values, against the double reference: scores of every kind, what is masked, what is not
 * finite. */
#include <float.h>
#include <math.h>

#include "support/sdpa_case.h"

/* ---- adversarial values ---- */

enum { SCORES = 300 };

/* One head, 40 queries, q = (1, 0, 0, ...) and k[j] = (score[j], 0, ...), with scale 1: exactly these
 * scores, however large. */
static struct sdpa_case case_of_scores(const float scores[SCORES]) {
    struct sdpa_case c = sdpa_case_of(1, 1, 1, 40, SCORES, 8, 16);
    c.params.scale = 1;
    for (size_t n = 0; n < element_count(c.q); n++)
        *element(c.q, n) = n % 8 ? 0 : 1;
    for (size_t n = 0; n < element_count(c.k); n++)
        *element(c.k, n) = n % 8 ? 0 : scores[n / 8];
    return c;
}

/* Scores that are a power of two times small integers are exact in f32, up to the factor log2(e) that an engine in base
 * 2 folds in, whose rounding is eps·|score|: harmless where |score| is small, and where it is huge all scores but the
 * largest have no weight. So the promise for N(0,1) holds. */
static void check_scores(const float scores[SCORES]) {
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(1, contexts);
    for (size_t i = 0; i < n * CAUSALS; i++) {
        const int64_t offset = 100;
        struct sdpa_case c = case_of_scores(scores);
        set_causal(&c, (attn_causal)(i % CAUSALS), &offset);
        check_sdpa(contexts[i / CAUSALS], &c);
        end_case();
    }
}

static float huge(size_t j) { return 0x1p100F * (float)(j * 7 % 300); }
static float huge_negative(size_t j) { return -0x1p100F * (float)(1 + j * 7 % 300); }
static float huge_ties(size_t j) { return 0x1p90F * (float)(j % 5); }
static float one_dominates(size_t j) { return j == 123 ? 0x1p20F : 0; }
static float one_is_far_below(size_t j) { return j == 123 ? -0x1p20F : 0; }
static float all_equal(size_t j) {
    (void)j;
    return 8;
}
static float all_zero(size_t j) {
    (void)j;
    return 0;
}
static float minus_infinity(size_t j) {
    (void)j;
    return -INFINITY;
}
static float rises(size_t j) { return (float)j / 4; }
static float rises_steeply(size_t j) { return (float)(16 * j); }
static float falls(size_t j) { return -(float)j / 4; }
static float alternates(size_t j) { return j % 2 ? 60 : -60; }
static float denormal(size_t j) { return FLT_MIN / 64 * (float)(j % 64); }
static float minus_infinity_first(size_t j) { return j < 200 ? -INFINITY : (float)(j % 3); }
static float minus_infinity_last(size_t j) { return j > 100 ? -INFINITY : (float)(j % 3); }
static float minus_infinity_here_and_there(size_t j) { return j % 3 ? -INFINITY : (float)(j % 4); }
static float plus_infinity_once(size_t j) { return j == 120 ? INFINITY : (float)(j % 3); }
static float plus_and_minus_infinity(size_t j) { return j % 2 ? INFINITY : -INFINITY; }
static float nan_once(size_t j) { return j == 120 ? NAN : (float)(j % 3); }
static float nan_among_minus_infinity(size_t j) { return j == 120 ? NAN : -INFINITY; }

static void score_patterns(void **state) {
    (void)state;
    float (*const patterns[])(size_t j) = {huge,
                                           huge_negative,
                                           huge_ties,
                                           one_dominates,
                                           one_is_far_below,
                                           all_equal,
                                           all_zero,
                                           rises,
                                           rises_steeply,
                                           falls,
                                           alternates,
                                           denormal,
                                           minus_infinity,
                                           minus_infinity_first,
                                           minus_infinity_last,
                                           nan_once,
                                           plus_infinity_once,
                                           minus_infinity_here_and_there,
                                           plus_and_minus_infinity,
                                           nan_among_minus_infinity};
    seed(14);
    for (size_t p = 0; p < COUNT(patterns); p++) {
        float scores[SCORES];
        for (size_t j = 0; j < SCORES; j++)
            scores[j] = patterns[p](j);
        check_scores(scores);
        end_test(NULL);
    }
}

/* Products that overflow although the inputs are finite: +∞ makes its row NaN, −∞ is no weight. */
static void scores_that_overflow(void **state) {
    (void)state;
    float scores[SCORES];
    seed(15);
    for (int sign = -1; sign <= 1; sign += 2) {
        for (size_t j = 0; j < SCORES; j++)
            scores[j] = j == 105 ? (float)sign * 0x1p100F : 0;
        struct sdpa_case c = case_of_scores(scores);
        for (size_t i = 0; i < 40; i++)
            *element_at(c.q, 0, 0, i, 0) = i % 2 ? 0x1p60F : 1;
        set_causal(&c, ATTN_CAUSAL_OFFSET, (const int64_t[]){100});
        check_sdpa(new_context_of(1, 0), &c);
        end_test(NULL);
    }
}

/* Random scores as large as 1e4. The f32 sum of D products has an error of about eps·√D·|q||k|·scale, so it grows with
 * the size of the scores, and so does the tolerance. */
static void large_random_scores(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    seed(16);
    for (float size = 10; size <= 1e4F; size *= 10) {
        struct sdpa_case c = sdpa_case_of(1, 2, 1, 60, 200, 64, 32);
        for (size_t n = 0; n < element_count(c.q); n++)
            *element(c.q, n) *= size;
        c.score_size = (double)size;
        check_sdpa(context, &c);
        end_case();
    }
}

/* Values of every magnitude come out in proportion: nothing in between is flushed to zero, nor overflows as long as a
 * plain sum of the values would not. */
static void magnitudes_of_values(void **state) {
    (void)state;
    const float sizes[] = {1e-39F, 1e-30F, 1e10F, 1e30F};
    attn_context *context = new_context_of(1, 0);
    seed(17);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        struct sdpa_case c = sdpa_case_of(1, 1, 1, 40, 300, 16, 16);
        for (size_t n = 0; n < element_count(c.v); n++)
            *element(c.v, n) *= sizes[i];
        c.value_size = (double)sizes[i];
        check_sdpa(context, &c);
        end_case();
    }
}

/* ---- what is masked is not read into a result; what is not finite stays in its rows ---- */

/* Spoils one token in `t`, as a whole or one element. */
static void spoil(attn_tensor t, size_t token, float poison, bool whole) {
    for (size_t h = 0; h < t.size[1]; h++)
        for (size_t d = whole ? 0 : t.size[3] / 2; d < t.size[3]; d += whole ? 1 : t.size[3])
            *element_at(t, 0, h, token, d) = poison;
}

/* Rows that do not see key `token` have the same bits in both tensors. */
static void assert_blind_rows_equal(const struct sdpa_case *c, attn_tensor got, attn_tensor clean, size_t token) {
    for (size_t i = 0; i < c->q.size[2]; i++)
        if (visible_keys(&c->params, 0, i, c->q.size[2], c->k.size[2]) <= token) {
            attn_tensor row = got, clean_row = clean;
            row.size[2] = clean_row.size[2] = 1;
            row.data = element_at(got, 0, 0, i, 0);
            clean_row.data = element_at(clean, 0, 0, i, 0);
            assert_bits(row, clean_row);
        }
}

static void check_poisoned_token(attn_context *context, struct sdpa_case c, bool in_key, size_t token, float poison) {
    const struct sdpa_result clean = run_sdpa(context, &c);
    attn_tensor *t = in_key ? &c.k : &c.v;
    *t = new_copy(*t);
    spoil(*t, token, poison, token % 2);
    const struct sdpa_result got = run_sdpa(context, &c);
    name_case("%g in %s token %zu, causal %d", (double)poison, in_key ? "key" : "value", token, (int)c.params.causal);
    assert_blind_rows_equal(&c, got.out, clean.out, token);
    assert_blind_rows_equal(&c, got.lse, clean.lse, token);
    assert_blind_rows_equal(&c, got.probabilities, clean.probabilities, token);
    assert_sdpa_near(&c, &got);
}

static void check_poison(attn_context *context, attn_causal causal, float poison) {
    const size_t tokens[] = {0, 1, 15, 64, 127, 150, 255, 256, 259};
    for (size_t i = 0; i < 2 * COUNT(tokens); i += every()) {
        const int64_t offset = (int64_t)(i * 5) - 40;
        struct sdpa_case c = sdpa_case_of(1, 2, 1, 130, 260, 8, i % 4 < 2 ? 24 : 150);
        set_causal(&c, causal, &offset);
        check_poisoned_token(context, c, i % 2, tokens[i / 2], poison);
        end_case();
    }
}

static void masked_tokens_change_no_bit(void **state) {
    (void)state;
    const float poisons[] = {NAN, INFINITY, -INFINITY};
    attn_context *context = new_context_of(1, 0);
    seed(18);
    for (size_t i = 0; i < COUNT(poisons); i++)
        for (int causal = ATTN_CAUSAL_NONE; causal <= ATTN_CAUSAL_OFFSET; causal++)
            check_poison(context, (attn_causal)causal, poisons[i]);
}

/* All that no query sees may be NaN, in every instruction set; as much as the whole input. */
static void all_masked_tokens_are_nan(void **state) {
    (void)state;
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(1, contexts);
    seed(19);
    for (size_t i = 0; i < n * 6; i++) {
        const int64_t offset = (const int64_t[]){-5, 1, 20, 63, 64, INT64_MIN}[i % 6];
        struct sdpa_case c = sdpa_case_of(1, 1, 1, 40, 200, 16, 16);
        set_causal(&c, ATTN_CAUSAL_OFFSET, &offset);
        const struct sdpa_result clean = run_sdpa(contexts[i / 6], &c);
        for (size_t j = visible_keys(&c.params, 0, 39, 40, 200); j < 200; j++) {
            spoil(c.k, j, NAN, true);
            spoil(c.v, j, NAN, true);
        }
        const struct sdpa_result got = run_sdpa(contexts[i / 6], &c);
        assert_same_result(&got, &clean);
        end_case();
    }
}

static void query_that_is_not_finite(void **state) {
    (void)state;
    const float poisons[] = {NAN, INFINITY, -INFINITY};
    attn_context *context = new_context_of(1, 0);
    seed(20);
    for (size_t i = 0; i < COUNT(poisons) * CAUSALS; i++) {
        struct sdpa_case c = sdpa_case_of(1, 1, 1, 70, 70, 16, 16);
        set_causal(&c, (attn_causal)(i % CAUSALS), (const int64_t[]){5});
        const struct sdpa_result clean = run_sdpa(context, &c);
        const size_t row = random_below(70);
        spoil(c.q, row, poisons[i / CAUSALS], i % 2);
        const struct sdpa_result got = run_sdpa(context, &c);
        assert_sdpa_near(&c, &got);
        for (size_t n = 0; n < element_count(clean.out); n++)
            if (n / 16 == row)
                *element(clean.out, n) = *element(got.out, n);
        assert_bits(got.out, clean.out);
        end_case();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(score_patterns),          TEST(scores_that_overflow),        TEST(large_random_scores),
        TEST(magnitudes_of_values),    TEST(masked_tokens_change_no_bit), TEST(all_masked_tokens_are_nan),
        TEST(query_that_is_not_finite)};
    return cmocka_run_group_tests_name("values", tests, NULL, NULL);
}
