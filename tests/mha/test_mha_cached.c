/* SPDX-License-Identifier: BSD-3-Clause */
/* Layers on caches against what they give of all tokens at once. */
#include "support/block_case.h"

/* A layer on a cache gives what it gives of all tokens at once, and so, without appending, does one that reads the
 * cache of another whose keys and values are its own; of encoded inputs as well. */
static void check_layer_on_cache(attn_context *context, bool ragged, bool counted) {
    enum { M = 32, H = 4, N = 3, T = 40, STEPS = 4 };
    static const int64_t pieces[STEPS][N] = {{12, 1, 20}, {1, 1, 1}, {0, 9, 2}, {3, 4, 0}};
    const attn_sdpa_params causal = {.struct_size = sizeof causal, .causal = ATTN_CAUSAL_BOTTOM_RIGHT};
    attn_mha_params p = {.struct_size = sizeof p, .model_width = M, .heads = H, .kv_heads = 2};
    fill_layer(&p, false, ALL_BIASES);
    attn_mha *mha = new_layer(context, &p);
    attn_cache *cache = new_layer_cache(context, &p, N, T);
    const attn_tensor x = new_normal(BHTD, N, 1, T, M);
    attn_mha_inputs appends = {.struct_size = sizeof appends, .params = &causal, .cache = cache};
    for (size_t i = 0; i < STEPS; i++) {
        int64_t counts[N], starts[N + 1] = {ragged ? 1 : 0};
        size_t longest = 0;
        for (size_t b = 0; b < N; b++) {
            counts[b] = ragged || counted ? pieces[i][b] : pieces[i][0];
            starts[b + 1] = starts[b] + counts[b];
            longest = (size_t)counts[b] > longest ? (size_t)counts[b] : longest;
        }
        const attn_tensor part = new_normal(PADDED, ragged ? 1 : N, 1, ragged ? (size_t)starts[N] + 2 : longest, M);
        const attn_tensor out = new_tensor(BHTD, part.size[0], 1, part.size[2], M);
        const attn_tensor same = new_tensor(BHTD, part.size[0], 1, part.size[2], M);
        for (size_t b = 0; b < N; b++)
            for (size_t n = 0; n < (size_t)counts[b] * M; n++)
                *element_at(part, ragged ? 0 : b, 0, (size_t)(ragged ? starts[b] : 0) + n / M, n % M) =
                    *element_at(x, b, 0, attn_cache_length(cache, b) + n / M, n % M);
        appends.counts = !ragged && counted ? counts : NULL;
        appends.starts = ragged ? starts : NULL;
        appends.sequences = ragged ? N : 0;
        attn_mha_inputs shares = appends;
        shares.cache = NULL;
        shares.shared_cache = cache;
        assert_ok(context, attn_mha_attend(context, mha, &part, &out, &appends));
        assert_ok(context, attn_mha_attend(context, mha, &part, &same, &shares));
        assert_bits(same, out);
        for (size_t b = 0; b < N; b++) {
            const size_t length = attn_cache_length(cache, b), count = (size_t)counts[b];
            const attn_tensor alone = tokens_of(sequence_of(x, b), 0, length);
            const attn_tensor got =
                tokens_of(ragged ? out : sequence_of(out, b), (size_t)(ragged ? starts[b] : 0), count);
            name_case("layer on a cache, ragged %d, counted %d, step %zu, sequence %zu", ragged, counted, i, b);
            assert_near(got, reference_mha(&p, alone, alone, alone, &causal).out + (length - count) * M, promised(2));
        }
    }
    attn_cache_destroy(cache);
    attn_mha_destroy(mha);
    end_case();
}

static void layers_on_caches(void **state) {
    (void)state;
    attn_context *context = new_context_of(2, 0);
    seed(20);
    for (int i = 0; i < 3; i++)
        check_layer_on_cache(context, i == 2, i == 1);
}

/* An encoder's output in a cache, keys and values of inputs of their own widths; as it is without one. */
static void layer_on_encoded(void **state) {
    (void)state;
    enum { M = 24, B = 2, T = 5, Te = 9, KEY = 10, VALUE = 7 };
    attn_context *context = new_context_of(2, 0);
    const attn_sdpa_params plain = {.struct_size = sizeof plain};
    attn_mha_params p = {.struct_size = sizeof p, .model_width = M, .heads = 3, .key_input_width = KEY};
    p.value_input_width = VALUE;
    seed(21);
    fill_layer(&p, false, ALL_BIASES);
    attn_mha *mha = new_layer(context, &p);
    attn_cache *cache = new_layer_cache(context, &p, B, Te);
    const attn_tensor x = new_normal(BHTD, B, 1, T, M), out = new_tensor(PADDED, B, 1, T, M);
    const attn_tensor key = new_normal(PADDED, B, 1, Te, KEY), value = new_normal(BHTD, B, 1, Te, VALUE);
    attn_mha_inputs inputs = {.struct_size = sizeof inputs, .shared_cache = cache};
    size_t bytes = 0;
    assert_ok(context, attn_mha_append(context, mha, &key, &value, cache, NULL));
    assert_ok(context, attn_mha_attend_scratch_size(context, mha, &x, &out, &inputs, &bytes));
    assert_ok(context, attn_mha_attend(context, mha, &x, &out, &inputs));
    assert_near(out, reference_mha(&p, x, key, value, &plain).out, promised(2));
    assert_gaps_untouched(out);
    inputs.shared_cache = NULL;
    inputs.cache = cache;
    assert_status(context, attn_mha_attend(context, mha, &x, &out, &inputs), ATTN_ERROR_SHAPE);
    assert_mentions(attn_context_last_error(context), "key_input_width");
    attn_cache_destroy(cache);
    attn_mha_destroy(mha);
}

/* What is wrong with a call of a layer on a cache, and nothing is written. */
static void faults_of_attend(void **state) {
    (void)state;
    enum { M = 16, B = 2, T = 3 };
    attn_context *context = new_context_of(1, 0);
    attn_mha_params p = {.struct_size = sizeof p, .model_width = M, .heads = 2};
    int64_t counts[B] = {1, 2};
    seed(23);
    fill_layer(&p, true, 0);
    attn_mha *mha = new_layer(context, &p);
    attn_cache *cache = new_layer_cache(context, &p, B, T);
    const attn_sdpa_params lengths = {.struct_size = sizeof lengths, .key_lengths = counts};
    const attn_tensor x = new_normal(BHTD, B, 1, T, M), out = new_tensor(BHTD, B, 1, T, M);
    const attn_tensor one = sequence_of(x, 0), one_out = sequence_of(out, 0), wide = new_tensor(BHTD, B, 1, T + 1, M);
    const attn_mha_inputs good = {.struct_size = sizeof good, .cache = cache};
    attn_mha_inputs bad[5] = {good, good, good, good, good};
    static const char *const fields[] = {"inputs.cache", "shared_cache", "key_lengths", "inputs.starts", "struct_size"};
    bad[0].cache = NULL;
    bad[1].shared_cache = cache;
    bad[2].params = &lengths;
    bad[3].sequences = 2;
    bad[4].struct_size = 1;
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_not_equal(attn_mha_attend(context, mha, &x, &out, &bad[i]), ATTN_OK);
        assert_mentions(attn_context_last_error(context), fields[i]);
    }
    size_t bytes = 0;
    assert_status(context, attn_mha_attend(context, mha, &x, &out, NULL), ATTN_ERROR_NULL);
    assert_status(context, attn_mha_attend(context, NULL, &x, &out, &good), ATTN_ERROR_NULL);
    assert_status(context, attn_mha_attend(context, mha, NULL, &out, &good), ATTN_ERROR_NULL);
    assert_status(context, attn_mha_attend(context, mha, &x, &wide, &good), ATTN_ERROR_SHAPE);
    assert_status(context, attn_mha_attend(context, mha, &one, &one_out, &good), ATTN_ERROR_SHAPE);
    assert_status(context, attn_mha_attend(context, mha, &x, &x, &good), ATTN_ERROR_ALIAS);
    assert_status(context, attn_mha_attend_scratch_size(context, mha, &x, &out, &good, NULL), ATTN_ERROR_NULL);
    assert_int_equal(attn_mha_attend(NULL, mha, &x, &out, &good), ATTN_ERROR_NULL);
    assert_int_equal(attn_mha_attend_scratch_size(NULL, mha, &x, &out, &good, &bytes), ATTN_ERROR_NULL);
    assert_int_equal(attn_mha_append(NULL, mha, &x, NULL, cache, NULL), ATTN_ERROR_NULL);
    assert_status(context, attn_mha_append(context, NULL, &x, NULL, cache, NULL), ATTN_ERROR_NULL);
    assert_status(context, attn_mha_append(context, mha, NULL, NULL, cache, NULL), ATTN_ERROR_NULL);
    assert_status(context, attn_mha_append(context, mha, &x, &wide, cache, NULL), ATTN_ERROR_SHAPE);
    assert_mentions(attn_context_last_error(context), "value");
    assert_untouched(out);
    assert_int_equal(attn_cache_length(cache, 0), 0);
    assert_ok(context, attn_mha_append(context, mha, &x, NULL, cache, NULL));
    assert_status(context, attn_mha_attend(context, mha, &x, &out, &good), ATTN_ERROR_FULL);
    assert_untouched(out);
    attn_cache_destroy(cache);
    attn_mha_destroy(mha);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(layers_on_caches), TEST(layer_on_encoded), TEST(faults_of_attend)};
    return cmocka_run_group_tests_name("mha_cached", tests, NULL, NULL);
}
