/* SPDX-License-Identifier: BSD-3-Clause */
/* Latent attention on caches against the double reference of its plain form. */
#include <math.h>

#include "support/block_case.h"
#include "support/numbers.h"
#include "support/turns.h"

enum { M = 40, H = 5, D = 12, E = 9, B = 3, MOST = 400 };

static attn_mha_params latent_layer(attn_dtype weights) {
    attn_mha_params p;
    ATTN_INIT(&p);
    p.model_width = M;
    p.heads = H;
    p.head_width = D;
    p.value_width = E;
    p.weight_dtype = weights;
    p.order = random_order(weights);
    set_layer_form(&p, false, LATENT_KV | (random_below(2) ? LATENT_Q : 0) | (random_below(2) ? GATED : 0));
    fill_layer(&p, false, ALL_BIASES);
    return p;
}

static attn_cache *latent_cache(attn_context *context, const attn_mha_params *p, attn_dtype dtype, size_t window) {
    attn_cache_params params;
    attn_cache *cache;
    ATTN_INIT(&params);
    params.batch = B;
    params.capacity = MOST;
    params.kv_heads = 1;
    params.head_width = p->kv_latent + p->shared_key_width;
    params.latent_width = p->kv_latent;
    params.page_size = 128;
    params.dtype = dtype;
    params.window = window;
    assert_ok(context, attn_cache_create(context, &params, &cache));
    return cache;
}

/* Of the first Tq tokens of each sequence, as they are in one go. */
static double *whole(const attn_mha_params *p, attn_tensor x, const attn_sdpa_params *causal) {
    return reference_mha(p, x, x, x, causal).out;
}

/* Outputs of tokens from `begin` on are those of the whole. */
static void assert_part(attn_tensor out, const double *want, size_t begin, size_t T, double size) {
    for (size_t b = 0; b < out.size[0]; b++)
        for (size_t t = 0; t < out.size[2]; t++)
            for (size_t m = 0; m < M; m++) {
                const double got = value_at(out, b, 0, t, m), x = want[(b * T + begin + t) * M + m];
                if (!(fabs(got - x) <= promised(size).absolute * (1 + fabs(x))))
                    fail_msg("sequence %zu, token %zu, number %zu: got %.9g, want %.9g", b, begin + t, m, got, x);
            }
}

static attn_tensor step(attn_context *context, const attn_mha *mha, attn_cache *cache, attn_tensor x,
                        const attn_sdpa_params *params) {
    const attn_tensor out = new_tensor((enum layout)random_below(OUTPUT_LAYOUTS), B, 1, x.size[2], M);
    attn_mha_inputs inputs = {.struct_size = sizeof inputs, .params = params, .cache = cache};
    size_t bytes;
    assert_ok(context, attn_mha_attend_scratch_size(context, mha, &x, &out, &inputs, &bytes));
    assert_ok(context, attn_context_reserve(context, bytes));
    assert_ok(context, attn_mha_attend(context, mha, &x, &out, &inputs));
    assert_gaps_untouched(out);
    return out;
}

/* A prompt, whose attention is plain, and uneven steps, which are absorbed; a rolling cache with a window. */
static void decoders(void **state) {
    (void)state;
    static const size_t steps[] = {1, 2, 17, 70, 130};
    static const attn_dtype weights[] = {ATTN_F32, ATTN_F16, ATTN_BF16, ATTN_INT8, ATTN_INT4};
    attn_context *contexts[2 * ISAS];
    size_t n = new_isa_contexts(1, contexts);
    n += new_isa_contexts(3, contexts + n);
    seed(1);
    for (size_t i = 0; i < 40; i += every()) {
        attn_context *context = contexts[i % n];
        const attn_mha_params p = latent_layer(weights[i % 5]);
        const attn_window near = {149, 0};
        const bool rolls = i % 3 == 0;
        attn_sdpa_params causal = {.struct_size = sizeof causal, .causal = ATTN_CAUSAL_BOTTOM_RIGHT}, all = causal;
        causal.softcap = all.softcap = i % 5 ? 0 : 3;
        all.window = rolls ? &near : NULL;
        const size_t T = 200 + random_below(100);
        const attn_tensor x = new_normal((enum layout)random_below(LAYOUTS), B, 1, T, M);
        const double *want = whole(&p, x, &all);
        attn_mha *mha = new_layer(context, &p);
        attn_cache *cache = latent_cache(context, &p, ATTN_F32, rolls ? 150 : 0);
        name_case("latent decoder %zu: weights %d, rolling %d, T=%zu", i, (int)p.weight_dtype, rolls, T);
        for (size_t at = 0; at < T;) {
            const size_t some = random_pick(steps), count = some < T - at ? some : T - at;
            assert_part(step(context, mha, cache, tokens_of(x, at, count), &causal), want, at, T, 20);
            at += count;
        }
        attn_cache_destroy(cache);
        attn_mha_destroy(mha);
        end_case();
    }
}

/* Narrow caches: errors are those of what they keep. */
static void narrow_caches(void **state) {
    (void)state;
    static const struct {
        attn_dtype dtype;
        double most;
    } types[] = {{ATTN_F16, 0.02}, {ATTN_BF16, 0.1}, {ATTN_INT8, 0.1}, {ATTN_INT4, 1}};
    enum { T = 150 };
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(2, contexts);
    seed(2);
    for (size_t i = 0; i < n * COUNT(types); i++) {
        const attn_sdpa_params causal = {.struct_size = sizeof causal, .causal = ATTN_CAUSAL_BOTTOM_RIGHT};
        attn_mha_params p = latent_layer(ATTN_F32);
        const attn_tensor x = new_normal(BHTD, B, 1, T, M);
        const double *want = whole(&p, x, &causal);
        attn_mha *mha = new_layer(contexts[i % n], &p);
        attn_cache *cache = latent_cache(contexts[i % n], &p, types[i / n].dtype, 0);
        name_case("latents of type %d", (int)types[i / n].dtype);
        for (size_t at = 0; at < T; at += 50) {
            const attn_tensor out = step(contexts[i % n], mha, cache, tokens_of(x, at, 50), &causal);
            for (size_t e = 0; e < element_count(out); e++) {
                const size_t b = e / M / 50, t = at + e / M % 50;
                if (!(fabs(value(out, e) - want[(b * T + t) * M + e % M]) <= types[i / n].most))
                    fail_msg("got %g, want %g", value(out, e), want[(b * T + t) * M + e % M]);
            }
        }
        attn_cache_destroy(cache);
        attn_mha_destroy(mha);
        end_case();
    }
}

/* With rotary embedding of the shared part of a key: absorbed as plain. Interleaved, as in DeepSeek's. */
static void rotated(void **state) {
    (void)state;
    enum { T = 60 };
    attn_context *context = new_context_of(2, 0);
    seed(3);
    for (size_t i = 0; i < 8; i++) {
        attn_mha_params p = latent_layer(i % 2 ? ATTN_INT8 : ATTN_F32);
        attn_rotary rotary = rotary_of(context, (attn_rotary_kind)(i / 2 % 2), p.shared_key_width, D, 2 * T);
        rotary.offset = D - p.shared_key_width;
        int64_t positions[B * T];
        for (size_t n = 0; n < COUNT(positions); n++)
            positions[n] = (int64_t)(n % T + n / T % 2 * (i / 4));
        rotary.query_positions = rotary.key_positions = i / 4 ? positions : NULL;
        const attn_sdpa_params causal = {
            .struct_size = sizeof causal, .rotary = &rotary, .causal = ATTN_CAUSAL_BOTTOM_RIGHT};
        const attn_tensor x = new_normal(BHTD, B, 1, T, M), out = new_tensor(BHTD, B, 1, T, M);
        attn_mha *mha = new_layer(context, &p);
        attn_cache *cache = latent_cache(context, &p, ATTN_F32, 0);
        assert_ok(context, attn_mha_forward(context, mha, &x, NULL, NULL, &out, &causal));
        const attn_tensor first = step(context, mha, cache, x, &causal); /* a prompt: plain as well */
        assert_bits(first, out);
        if (!i || i / 4 == 0)
            for (size_t b = 0; b < B; b++)
                assert_ok(context, attn_cache_truncate(context, cache, b, 20));
        for (size_t t = 20; t < T && i / 4 == 0; t += 8) {
            const attn_tensor part = step(context, mha, cache, tokens_of(x, t, 8), &causal);
            for (size_t e = 0; e < element_count(part); e++) {
                const double want = value_at(out, e / M / 8, 0, t + e / M % 8, e % M);
                if (!(fabs(value(part, e) - want) <= 3e-5 * (1 + fabs(want))))
                    fail_msg("token %zu: got %.9g, want %.9g", t + e / M % 8, value(part, e), want);
            }
        }
        attn_cache_destroy(cache);
        attn_mha_destroy(mha);
        end_case();
    }
}

/* Sequences of their own lengths, padded and ragged, prompts and steps; and the cache of another layer. */
static void uneven(void **state) {
    (void)state;
    enum { T = 33, STEPS = 3 };
    static const int64_t counts[STEPS][B] = {{33, 0, 8}, {1, 17, 3}, {5, 4, 33}};
    attn_context *context = new_context_of(2, 0);
    seed(4);
    for (size_t ragged = 0; ragged < 2; ragged++) {
        const attn_sdpa_params causal = {.struct_size = sizeof causal, .causal = ATTN_CAUSAL_BOTTOM_RIGHT};
        attn_mha_params p = latent_layer(ATTN_F32);
        attn_mha *mha = new_layer(context, &p);
        attn_cache *cache = latent_cache(context, &p, ATTN_F32, 0), *one[B];
        for (size_t b = 0; b < B; b++)
            one[b] = latent_cache(context, &p, ATTN_F32, 0);
        for (size_t s = 0; s < STEPS; s++) {
            const int64_t starts[B + 1] = {2, 2 + counts[s][0], 2 + counts[s][0] + counts[s][1],
                                           2 + counts[s][0] + counts[s][1] + counts[s][2]};
            const size_t total = (size_t)starts[B] + 1;
            const attn_tensor x = ragged ? new_normal(BHTD, 1, 1, total, M) : new_normal(PADDED, B, 1, T, M);
            const attn_tensor out = new_tensor(BHTD, x.size[0], 1, x.size[2], M), again = new_copy(out);
            attn_mha_inputs inputs = {.struct_size = sizeof inputs, .params = &causal, .cache = cache};
            inputs.counts = ragged ? NULL : counts[s];
            inputs.starts = ragged ? starts : NULL;
            inputs.sequences = ragged ? B : 0;
            assert_ok(context, attn_mha_attend(context, mha, &x, &out, &inputs));
            for (size_t b = 0; b < B; b++) { /* alone, as the first of a batch of three */
                const size_t n = (size_t)counts[s][b], from = ragged ? (size_t)starts[b] : 0;
                const attn_tensor alone = new_normal(BHTD, B, 1, n, M), got = new_tensor(BHTD, B, 1, n, M);
                for (size_t e = 0; e < n * M; e++)
                    set_value(alone, e, value_at(x, ragged ? 0 : b, 0, from + e / M, e % M));
                attn_mha_inputs of_one = {.struct_size = sizeof of_one, .params = &causal, .cache = one[b]};
                assert_ok(context, attn_mha_attend(context, mha, &alone, &got, &of_one));
                for (size_t e = 0; e < n * M; e++) {
                    const double y = value_at(out, ragged ? 0 : b, 0, from + e / M, e % M);
                    name_case("step %zu, sequence %zu, ragged %zu: %.9g for %.9g", s, b, ragged, y, value(got, e));
                    assert_true(fabs(y - value(got, e)) <= 3e-5 * (1 + fabs(y)));
                }
            }
            inputs.shared_cache = cache;
            inputs.cache = NULL;
            assert_ok(context, attn_mha_attend(context, mha, &x, &again, &inputs));
            for (size_t e = 0; e < element_count(out); e++)
                assert_true(fabs(value(out, e) - value(again, e)) <= 3e-5 * (1 + fabs(value(out, e))));
        }
        attn_cache_destroy(cache);
        for (size_t b = 0; b < B; b++)
            attn_cache_destroy(one[b]);
        attn_mha_destroy(mha);
        end_case();
    }
}

/* Cross-attention of a block on what an encoder's latents left in a cache, and self-attention on its own. */
static void blocks(void **state) {
    (void)state;
    enum { T = 20, TE = 30 };
    attn_context *context = new_context_of(2, 0);
    seed(5);
    for (size_t i = 0; i < 4; i++) {
        struct block_case c;
        const attn_sdpa_params causal = {.struct_size = sizeof causal, .causal = ATTN_CAUSAL_BOTTOM_RIGHT};
        init_block(&c, M, H, 30, WHOLE);
        c.self = latent_layer(ATTN_F32);
        fill_block(&c, true);
        const attn_mha_params self = latent_layer(ATTN_F32), cross = latent_layer(ATTN_F32);
        c.self = self;
        c.cross = cross;
        const attn_tensor x = new_normal(BHTD, B, 1, T, M), encoded = new_normal(BHTD, B, 1, TE, M);
        const double *want = reference_block(&c, x, &encoded, &causal, NULL);
        attn_block *block = new_block(context, &c);
        attn_cache *cache = latent_cache(context, &self, ATTN_F32, 0),
                   *kept = latent_cache(context, &cross, ATTN_F32, 0);
        assert_ok(context, attn_block_encode(context, block, &encoded, kept, NULL));
        for (size_t t = 0; t < T; t += 5) {
            const attn_tensor part = tokens_of(x, t, 5), out = new_tensor(BHTD, B, 1, 5, M);
            attn_block_inputs inputs = {.struct_size = sizeof inputs, .self_params = &causal, .cache = cache};
            inputs.encoded = i % 2 ? &encoded : NULL;
            inputs.encoded_cache = i % 2 ? NULL : kept;
            assert_ok(context, attn_block_forward(context, block, &part, &out, &inputs));
            assert_part(out, want, t, T, 20);
        }
        attn_cache_destroy(cache);
        attn_cache_destroy(kept);
        attn_block_destroy(block);
        end_case();
    }
}

/* What does not go with latents is told. */
static void faults(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    seed(6);
    const attn_mha_params p = latent_layer(ATTN_F32);
    attn_mha_params other_params;
    ATTN_INIT(&other_params);
    other_params.model_width = M;
    other_params.heads = H;
    fill_layer(&other_params, true, 0);
    attn_mha *mha = new_layer(context, &p), *other = new_layer(context, &other_params);
    attn_cache *cache = latent_cache(context, &p, ATTN_INT8, 0);
    const attn_tensor x = new_normal(BHTD, B, 1, 4, M), y = new_copy(x), out = new_tensor(BHTD, B, 1, 4, M);
    const size_t width = p.kv_latent + p.shared_key_width;
    attn_tensor k = new_normal(BHTD, B, 1, 4, width);
    attn_rotary rotary = rotary_of(context, ATTN_ROTARY_HALF, 4, D, 20);
    const attn_qk_norm norm = {.struct_size = sizeof norm};
    attn_sdpa_params params = {.struct_size = sizeof params};
    attn_mha_inputs inputs = {.struct_size = sizeof inputs, .params = &params, .cache = cache};
    attn_cache_append_params append = {.struct_size = sizeof append};
    assert_status(context, attn_mha_forward(context, mha, &x, &x, &y, &out, NULL), ATTN_ERROR_VALUE);
    assert_mentions(attn_context_last_error(context), "value");
    assert_status(context, attn_mha_append(context, mha, &x, &y, cache, NULL), ATTN_ERROR_VALUE);
    assert_mentions(attn_context_last_error(context), "value");
    assert_status(context, attn_cache_append(context, cache, &k, &k, NULL), ATTN_ERROR_VALUE);
    assert_mentions(attn_context_last_error(context), "v is set");
    params.rotary = &rotary;
    rotary.offset = D - p.shared_key_width - 1;
    assert_status(context, attn_mha_attend(context, mha, &x, &out, &inputs), ATTN_ERROR_SHAPE);
    assert_mentions(attn_context_last_error(context), "rotary.offset");
    assert_status(context, attn_mha_forward(context, mha, &x, NULL, NULL, &out, &params), ATTN_ERROR_SHAPE);
    append.rotary = &rotary;
    assert_status(context, attn_mha_append(context, mha, &x, NULL, cache, &append), ATTN_ERROR_SHAPE);
    rotary.offset = 0;
    rotary.rotate_values = 1;
    assert_status(context, attn_cache_append(context, cache, &k, NULL, &append), ATTN_ERROR_VALUE);
    assert_mentions(attn_context_last_error(context), "rotate_values");
    rotary.offset = D - p.shared_key_width;
    rotary.rotate_values = 0;
    params.qk_norm = &norm;
    assert_status(context, attn_mha_attend(context, mha, &x, &out, &inputs), ATTN_ERROR_VALUE);
    assert_mentions(attn_context_last_error(context), "qk_norm");
    params = (attn_sdpa_params){.struct_size = sizeof params};
    assert_status(context, attn_mha_attend(context, other, &x, &out, &inputs), ATTN_ERROR_SHAPE);
    assert_untouched(out);
    assert_int_equal(attn_cache_length(cache, 0), 0);
    *element(k, 5) = NAN;
    assert_status(context, attn_cache_append(context, cache, &k, NULL, NULL), ATTN_ERROR_VALUE);
    assert_mentions(attn_context_last_error(context), "k has");
    attn_cache_destroy(cache);
    attn_mha_destroy(other);
    attn_mha_destroy(mha);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(decoders), TEST(narrow_caches), TEST(rotated),
                                       TEST(uneven),   TEST(blocks),        TEST(faults)};
    return cmocka_run_group_tests_name("latent", tests, NULL, NULL);
}
