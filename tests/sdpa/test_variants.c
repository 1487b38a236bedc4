/* SPDX-License-Identifier: BSD-3-Clause */
/* Each option of attn_sdpa alone: against the reference, on any number of threads, in every instruction set; and what
 * does nothing. */
#include <math.h>
#include <string.h>

#include "support/variants.h"

/* ---- against the reference ---- */

static struct levels only(enum option option, unsigned level) {
    struct levels levels = {{0}};
    levels.of[option] = level;
    if (option == AVERAGED || option == WEIGHTS_TYPE)
        levels.of[WEIGHTS] = 1;
    if (option == POLARITY || option == PAD_MASKS)
        levels.of[MASK] = levels.of[BIAS] = 1;
    return levels;
}

static void each_option_alone(void **state) {
    (void)state;
    attn_context *one[ISAS], *three[ISAS];
    const size_t n = new_variant_contexts(one, three);
    size_t i = 0;
    seed(1);
    for (size_t o = 0; o < OPTIONS; o++)
        for (unsigned level = 0; level < OPTION_LEVELS[o]; level++)
            for (size_t s = i % every(); s < SHAPES; s += every(), i++) {
                const struct levels levels = only((enum option)o, level);
                const struct sdpa_case c = variant_of("alone", &levels, &VARIANT_SHAPES[s]);
                check_variant(one[i % n], three[i % n], &c);
                end_case();
            }
}

/* ---- options that do nothing ---- */

enum { N = 3, Hs = 4, Gs = 2, Queries = 70, Keys = 150 }; /* of the plain call */

static struct sdpa_case plain(void) {
    struct sdpa_case c = sdpa_case_of(N, Hs, Gs, Queries, Keys, 24, 40);
    c.key_mass = c.entropy = true;
    c.top_keys = 3;
    return c;
}

static void window_of(struct sdpa_case *c, int64_t left, int64_t right) {
    c->params.window = (const attn_window *)(const void *)new_integers((const int64_t[]){left, right}, 2);
}

static void unbounded_window(struct sdpa_case *c) { window_of(c, -1, -1); }
static void wide_window(struct sdpa_case *c) { window_of(c, Queries + Keys, Queries + Keys); }
static void widest_window(struct sdpa_case *c) { window_of(c, INT64_MAX, INT64_MAX); }
static void far_offset(struct sdpa_case *c) { set_causal(c, ATTN_CAUSAL_OFFSET, new_same_integers(INT64_MAX, N)); }
static void whole_keys(struct sdpa_case *c) { c->params.key_lengths = new_same_integers(Keys, N); }
static void whole_queries(struct sdpa_case *c) { c->params.query_lengths = new_same_integers(Queries, N); }
static void no_dropout(struct sdpa_case *c) { c->params.dropout_seed = 99; }
static void no_softcap(struct sdpa_case *c) { c->params.softcap = -0.0F; }
static void padded_by_nothing(struct sdpa_case *c) { c->params.pad_masks = 1; }
static void unused_polarity(struct sdpa_case *c) { c->params.polarity = ATTN_DROP; }
static void keep_all(struct sdpa_case *c) {
    c->params.mask = new_filled(ATTN_BOOL, N, Hs, Queries, Keys, 255);
    c->params.key_mask = new_filled(ATTN_BOOL, N, 1, 1, Keys, 2);
    c->params.polarity = ATTN_KEEP;
}
static void drop_none(struct sdpa_case *c) {
    c->params.mask = new_filled(ATTN_BOOL, 1, 1, 1, Keys, 0);
    c->params.key_mask = new_filled(ATTN_BOOL, 1, 1, 1, Keys, 0);
    c->params.polarity = ATTN_DROP;
}
static void all_blocks(struct sdpa_case *c) {
    c->params.block_map = new_filled(ATTN_BOOL, 1, Hs, 7, 5, 1);
    c->params.block_queries = 11;
    c->params.block_keys = 37;
}
static void zero_bias(struct sdpa_case *c) { c->params.bias = new_filled(ATTN_F32, N, 1, 1, Keys, 0); }
static void zero_half_bias(struct sdpa_case *c) { c->params.bias = new_filled(ATTN_F16, 1, Hs, Queries, Keys, 0); }
static void flat_slopes(struct sdpa_case *c) {
    float *slopes = new_floats(Hs);
    memset(slopes, 0, Hs * sizeof *slopes);
    c->params.alibi = ATTN_ALIBI_SLOPES;
    c->params.alibi_slopes = slopes;
}
static void empty_sinks(struct sdpa_case *c) {
    float *sinks = new_floats(Hs);
    for (size_t h = 0; h < Hs; h++)
        sinks[h] = -INFINITY;
    c->params.sinks = sinks;
}

/* As if they were off: the same bits. */
static void options_that_do_nothing(void **state) {
    (void)state;
    void (*const options[])(struct sdpa_case * c) = {
        unbounded_window, wide_window, widest_window, far_offset,        whole_keys,     whole_queries,
        no_dropout,       no_softcap,  keep_all,      drop_none,         all_blocks,     zero_bias,
        zero_half_bias,   flat_slopes, empty_sinks,   padded_by_nothing, unused_polarity};
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(1, contexts);
    for (size_t i = 0; i < n * COUNT(options); i++) {
        seed(2);
        struct sdpa_case c = plain();
        const struct sdpa_result want = run_sdpa(contexts[i % n], &c);
        snprintf(c.name, sizeof c.name, "that does nothing %zu, context %zu", i / n, i % n);
        options[i / n](&c);
        const struct sdpa_result got = run_sdpa(contexts[i % n], &c);
        assert_same_result(&got, &want);
        end_case();
    }
}

/* ---- one meaning in two forms: the same bits ---- */

/* Sequences of the same length one after the other are a batch. */
static void ragged_is_a_batch(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    seed(3);
    for (size_t causal = 0; causal < ATTN_CAUSAL_OFFSET; causal++) {
        int64_t *q = new_integers((const int64_t[N + 1]){0}, N + 1),
                *k = new_integers((const int64_t[N + 1]){0}, N + 1);
        const attn_tensor query = new_normal(BTHD, N, Hs, Queries, 24), out = new_tensor(BTHD, N, Hs, Queries, 40);
        struct sdpa_case c = plain();
        c.q = query;
        c.k = new_normal(BTHD, N, Gs, Keys, 24);
        c.v = new_normal(BTHD, N, Gs, Keys, 40);
        c.out = out;
        c.lse = false;
        set_causal(&c, (attn_causal)causal, NULL);
        const struct sdpa_result want = run_sdpa(context, &c);
        const attn_tensor batch = new_copy(want.out);
        for (size_t n = 0; n <= N; n++) {
            q[n] = (int64_t)(n * Queries);
            k[n] = (int64_t)(n * Keys);
        }
        attn_tensor *const tensors[] = {&c.q, &c.k, &c.v, &c.out};
        for (size_t t = 0; t < COUNT(tensors); t++) { /* [N,T,H,D] as [1,N·T,H,D] */
            tensors[t]->size[2] *= N;
            tensors[t]->size[0] = 1;
        }
        c.params.sequences = N;
        c.params.query_starts = q;
        c.params.key_starts = k;
        struct sdpa_result got = run_sdpa(context, &c);
        got.out = out;
        assert_bits(got.out, batch);
        got.out = want.out;
        assert_same_result(&got, &want);
        end_case();
    }
}

/* The values of small types are floats. */
static void small_types_are_floats(void **state) {
    (void)state;
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(1, contexts);
    seed(4);
    for (size_t i = 0; i < 4 * n; i++) {
        const attn_dtype dtype = i % 2 ? ATTN_F16 : ATTN_BF16;
        const size_t Tq = i % 4 < 2 ? 1 : 65;
        struct sdpa_case c = sdpa_case_of(2, 4, 2, Tq, 150, 24, 40);
        c.q = new_normal_of(dtype, BTHD, 2, 4, Tq, 24);
        c.k = new_normal_of(dtype, PADDED, 2, 2, 150, 24);
        c.v = new_normal_of(dtype, BTHD, 2, 2, 150, 40);
        c.params.bias = new_view(new_normal_of(dtype, BHTD, 1, 4, 1, 150));
        const struct sdpa_result got = run_sdpa(contexts[i / 4], &c);
        c.q = new_copy_of(ATTN_F32, c.q);
        c.k = new_copy_of(ATTN_F32, c.k);
        c.v = new_copy_of(ATTN_F32, c.v);
        c.params.bias = new_view(new_copy_of(ATTN_F32, *c.params.bias));
        const struct sdpa_result want = run_sdpa(contexts[i / 4], &c);
        assert_same_result(&got, &want);
        end_case();
    }
}

/* Outputs of small types are the floats, rounded. */
static void small_outputs_are_rounded(void **state) {
    (void)state;
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(1, contexts);
    seed(5);
    for (size_t i = 0; i < 2 * n; i++) {
        struct sdpa_case c = sdpa_case_of(2, 3, 1, 37, 90, 16, 21);
        const struct sdpa_result whole = run_sdpa(contexts[i / 2], &c);
        c.out_type = c.weights_type = i % 2 ? ATTN_F16 : ATTN_BF16;
        const struct sdpa_result rounded = run_sdpa(contexts[i / 2], &c);
        assert_bits(rounded.out, new_copy_of(c.out_type, whole.out));
        assert_bits(rounded.probabilities, new_copy_of(c.out_type, whole.probabilities));
        end_case();
    }
}

/* A mask that is broadcast and one that is written out; KEEP and DROP. */
static void masks_of_one_meaning(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    seed(6);
    for (size_t i = 0; i < 8; i++) {
        const attn_tensor mask =
            new_tensor_of(ATTN_BOOL, BHTD, i & 1 ? N : 1, i & 2 ? Hs : 1, i & 4 ? Queries : 1, Keys);
        const attn_tensor whole = new_tensor_of(ATTN_BOOL, BHTD, N, Hs, Queries, Keys);
        for (size_t n = 0; n < element_count(mask); n++)
            set_value(mask, n, (double)random_below(2));
        for (size_t n = 0; n < element_count(whole); n++) {
            const size_t row = n / Keys;
            set_value(whole, n, value_at(mask, row / (Hs * Queries), row / Queries % Hs, row % Queries, n % Keys) == 0);
        }
        struct sdpa_case c = plain();
        c.params.mask = new_view(mask);
        c.params.polarity = ATTN_KEEP;
        const struct sdpa_result want = run_sdpa(context, &c);
        c.params.mask = new_view(whole);
        c.params.polarity = ATTN_DROP;
        const struct sdpa_result got = run_sdpa(context, &c);
        assert_same_result(&got, &want);
        end_case();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(each_option_alone),         TEST(options_that_do_nothing),
                                       TEST(ragged_is_a_batch),         TEST(small_types_are_floats),
                                       TEST(small_outputs_are_rounded), TEST(masks_of_one_meaning)};
    return cmocka_run_group_tests_name("variants", tests, NULL, NULL);
}
