/* SPDX-License-Identifier: BSD-3-Clause */
/* Dropout: which weights go depends on (seed, b, h, i, j) alone, as attn_dropout_mask tells, and their share is right.
 */
#include <math.h>

#include "support/philox.h"
#include "support/variants.h"

static const float RATES[] = {0, 0.1F, 0.5F, 0.999F, 0x1p-32F, 0x1.fffffep-1F};

static void check_mask(attn_context *context, float dropout, uint64_t seed_of, enum layout layout, size_t B, size_t H,
                       size_t Tq, size_t Tk) {
    const attn_tensor mask = new_tensor_of(ATTN_BOOL, layout, B, H, Tq, Tk);
    name_case("mask of p=%g, seed %llx, %zu keys", (double)dropout, (unsigned long long)seed_of, Tk);
    assert_ok(context, attn_dropout_mask(context, dropout, seed_of, &mask));
    assert_gaps_untouched(mask);
    for (size_t n = 0; n < element_count(mask); n++) {
        const size_t j = n % Tk, i = n / Tk % Tq, h = n / Tk / Tq % H, b = n / Tk / Tq / H;
        assert_int_equal(value(mask, n), dropout_keeps(dropout, seed_of, b, h, i, j));
    }
    end_case();
}

static void mask_is_philox(void **state) {
    (void)state;
    static const uint64_t seeds[] = {0, 1, UINT64_MAX, 0x123456789abcdef0U, (uint64_t)1 << 32};
    static const size_t keys[] = {0, 1, 3, 4, 17, 64, 255, 256, 257, 1030};
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(2, contexts);
    for (size_t i = 0; i < COUNT(keys) * COUNT(RATES); i++)
        check_mask(contexts[i % n], RATES[i % COUNT(RATES)], seeds[i % COUNT(seeds)], (enum layout)(i % OUTPUT_LAYOUTS),
                   2, 3, 5, keys[i / COUNT(RATES)]);
}

static void share_is_right(void **state) {
    (void)state;
    enum { T = 500 };
    attn_context *context = new_context_of(2, 0);
    for (size_t i = 0; i < 12; i++) {
        const float p = (const float[]){0.1F, 0.5F, 0.9F}[i % 3];
        const attn_tensor mask = new_tensor_of(ATTN_BOOL, BHTD, 1, 2, T, T);
        double kept = 0;
        assert_ok(context, attn_dropout_mask(context, p, i, &mask));
        for (size_t n = 0; n < element_count(mask); n++)
            kept += value(mask, n);
        const double N = (double)element_count(mask), sigma = sqrt(N * (double)p * (1 - (double)p));
        assert_true(fabs(kept - N * (1 - (double)p)) < 5 * sigma);
        end_case();
    }
}

/* Values that tell which weights came through: V is the identity, so out[i][j] is the weight that was used. */
static void attention_drops_what_the_mask_says(void **state) {
    (void)state;
    static const size_t sizes[][5] = {{2, 4, 2, 70, 150}, {1, 2, 1, 1, 300}, {3, 2, 2, 33, 64}, {1, 6, 2, 130, 37}};
    attn_context *contexts[ISAS + 1];
    size_t contexts_made = new_isa_contexts(1, contexts);
    contexts[contexts_made++] = new_context_of(3, 0);
    seed(1);
    for (size_t n = 0; n < COUNT(sizes) * contexts_made; n++) {
        const size_t *s = sizes[n % COUNT(sizes)], Tk = s[4];
        struct sdpa_case c = sdpa_case_of(s[0], s[1], s[2], s[3], Tk, 8, Tk);
        for (size_t x = 0; x < element_count(c.v); x++)
            *element(c.v, x) = x / Tk % Tk == x % Tk ? 1.0F : 0.0F;
        c.params.dropout = 0.3F;
        c.params.dropout_seed = n;
        const attn_tensor mask = new_tensor_of(ATTN_BOOL, BHTD, s[0], s[1], s[3], Tk);
        attn_context *context = contexts[n / COUNT(sizes)];
        const struct sdpa_result r = run_sdpa(context, &c);
        assert_ok(context, attn_dropout_mask(context, 0.3F, n, &mask));
        for (size_t x = 0; x < element_count(mask); x++) {
            const double weight = value(r.probabilities, x) / (1 - (double)0.3F);
            assert_true(value(mask, x) != 0 ? fabs(value(r.out, x) - weight) <= 1e-5 * weight : value(r.out, x) == 0);
        }
        end_case();
    }
}

/* Over many seeds the output is what it is without dropout; lse and weights are that in each. */
static void mean_is_right(void **state) {
    (void)state;
    enum { SEEDS = 2000, Tq = 4, Tk = 60, E = 4 };
    attn_context *context = new_context_of(1, 0);
    seed(2);
    struct sdpa_case c = sdpa_case_of(1, 1, 1, Tq, Tk, 8, E);
    const struct sdpa_result want = run_sdpa(context, &c);
    double sum[Tq * E] = {0}, square[Tq * E] = {0};
    c.params.dropout = 0.4F;
    for (uint64_t i = 0; i < SEEDS; i++) {
        c.params.dropout_seed = i * 0x9e3779b97f4a7c15U;
        const struct sdpa_result r = run_sdpa(context, &c);
        assert_bits(r.lse, want.lse);
        assert_bits(r.probabilities, want.probabilities);
        for (size_t n = 0; n < (size_t)Tq * E; n++) {
            sum[n] += value(r.out, n);
            square[n] += value(r.out, n) * value(r.out, n);
        }
    }
    for (size_t n = 0; n < (size_t)Tq * E; n++) {
        const double mean = sum[n] / SEEDS, sigma = sqrt((square[n] / SEEDS - mean * mean) / SEEDS);
        assert_true(fabs(mean - value(want.out, n)) < 5 * sigma);
    }
}

/* A head and a sequence keep their weights' fate whatever else is in the call. */
static void independent_of_other_options(void **state) {
    (void)state;
    attn_context *context = new_context_of(2, 0);
    seed(3);
    struct sdpa_case c = sdpa_case_of(2, 4, 2, 40, 90, 8, 90);
    for (size_t x = 0; x < element_count(c.v); x++)
        *element(c.v, x) = x / 90 % 90 == x % 90 ? 1.0F : 0.0F;
    c.params.dropout = 0.5F;
    c.params.dropout_seed = 7;
    for (size_t option = 0; option < 6; option++) {
        struct sdpa_case other = c;
        const attn_window window = {30, 30};
        other.params.causal = option == 1 ? ATTN_CAUSAL_BOTTOM_RIGHT : ATTN_CAUSAL_NONE;
        other.params.window = option == 2 ? &window : NULL;
        other.params.alibi = option == 3 ? ATTN_ALIBI_STANDARD : ATTN_ALIBI_NONE;
        other.params.softcap = option == 4 ? 1 : 0;
        other.params.key_lengths = option == 5 ? (const int64_t[]){90, 61} : NULL;
        const struct sdpa_result r = run_sdpa(context, &other);
        for (size_t x = 0; x < element_count(r.out); x++) {
            const bool kept = dropout_keeps(0.5F, 7, x / 90 / 40 / 4, x / 90 / 40 % 4, x / 90 % 40, x % 90);
            assert_true((value(r.out, x) != 0) == (kept && value(r.probabilities, x) != 0));
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(mask_is_philox), TEST(share_is_right),
                                       TEST(attention_drops_what_the_mask_says), TEST(mean_is_right),
                                       TEST(independent_of_other_options)};
    return cmocka_run_group_tests_name("dropout", tests, NULL, NULL);
}
