/* SPDX-License-Identifier: BSD-3-Clause */
/* Attention on what a plain reference normed and rotated in double; layers and decoders with QK-norm and rotary
 * embedding. */
#include "support/block_case.h"
#include "support/turns.h"

/* Of any types, layouts and lengths, with either option or both. */
static struct sdpa_case random_case(attn_context *context, struct turns *turns) {
    static const size_t lengths[] = {0, 1, 2, 17, 70, 150}, widths[] = {2, 8, 33, 64, 65, 128};
    const size_t G = 1 + random_below(2), H = G * (1 + random_below(3)), Tq = random_pick(lengths);
    const size_t Tk = Tq + random_below(100), D = random_pick(widths), B = 1 + random_below(3);
    struct sdpa_case c = sdpa_case_of(B, H, G, Tq, Tk, D, 24);
    c.q = new_normal_of((attn_dtype)random_below(3), (enum layout)random_below(LAYOUTS), B, H, Tq, D);
    c.k = new_normal_of((attn_dtype)random_below(3), (enum layout)random_below(LAYOUTS), B, G, Tk, D);
    c.score_size = 8;
    set_random_turns(context, &c, turns);
    return c;
}

static void set_random_program(struct sdpa_case *c) {
    static const int64_t offsets[] = {0, 3, 200};
    const size_t B = c->q.size[0], Tq = c->q.size[2], Tk = c->k.size[2];
    int64_t keys[3] = {(int64_t)Tk, (int64_t)Tq, (int64_t)Tk}, queries[3] = {(int64_t)Tq, (int64_t)Tq / 2, 0};
    set_causal(c, (attn_causal)random_below(CAUSALS), new_integers(offsets, 3));
    c->params.alibi = random_below(3) ? ATTN_ALIBI_NONE : ATTN_ALIBI_STANDARD;
    if (random_below(2))
        c->params.key_lengths = new_integers(keys, B);
    if (random_below(2))
        c->params.query_lengths = new_integers(queries, B);
    if (B == 1 && random_below(2)) {
        const int64_t starts[4] = {0, (int64_t)Tq / 3, (int64_t)Tq / 3, (int64_t)Tq};
        const int64_t key_starts[4] = {1 < Tk ? 1 : 0, (int64_t)Tk / 2, (int64_t)Tk / 2, (int64_t)Tk};
        c->params.key_lengths = c->params.query_lengths = NULL;
        c->params.sequences = 3;
        c->params.query_starts = new_integers(starts, 4);
        c->params.key_starts = new_integers(key_starts, 4);
        if (c->params.causal == ATTN_CAUSAL_NONE || c->params.causal == ATTN_CAUSAL_BOTTOM_RIGHT)
            set_causal(c, ATTN_CAUSAL_TOP_LEFT, NULL); /* keys may be fewer than queries */
    }
}

static void attention(void **state) {
    (void)state;
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(2, contexts);
    for (size_t i = 0; i < n; i++) {
        seed(2);
        for (int k = 0; k < 300; k += (int)every()) {
            struct turns turns;
            struct sdpa_case c = random_case(contexts[i], &turns);
            set_random_program(&c);
            snprintf(c.name, sizeof c.name, "turned %d, norm %d of %d, all heads %d, after %d, case %d",
                     c.params.rotary != NULL, c.params.qk_norm != NULL, (int)turns.norm.kind, turns.norm.all_heads,
                     turns.norm.after_rotary, k);
            const struct sdpa_result r = run_sdpa(contexts[i], &c);
            const struct sdpa_case plain = turned_case(&c);
            assert_sdpa_near(&plain, &r);
            end_case();
        }
    }
}

/* What ALiBi proves too far by the norms of q and k as they come in is not too far once they are normed to 30 times as
 * much: scores up to 1800 outweigh slope 1 at any distance here. Their errors are as large as they are. */
static void norm_outweighs_alibi(void **state) {
    (void)state;
    attn_context *context = new_context_of(2, 0);
    static const float slopes[] = {1, 1}, weight[] = {30, 30, 30, 30};
    attn_qk_norm norm;
    seed(9);
    ATTN_INIT(&norm);
    norm.kind = ATTN_RMS_NORM;
    norm.q_weight = norm.k_weight = weight;
    struct sdpa_case c = sdpa_case_of(1, 2, 2, 300, 300, 4, 4);
    c.params.alibi = ATTN_ALIBI_SLOPES;
    c.params.alibi_slopes = slopes;
    c.params.qk_norm = &norm;
    const struct sdpa_result r = run_sdpa(context, &c);
    struct sdpa_case plain = turned_case(&c);
    plain.score_size = 1800;
    assert_sdpa_near(&plain, &r);
}

/* A rotation by nothing is none. */
static void no_angle(void **state) {
    (void)state;
    attn_context *context = new_context_of(2, 0);
    for (int kind = 0; kind < 2; kind++) {
        seed(3);
        struct sdpa_case c = sdpa_case_of(2, 4, 2, 70, 130, 64, 64);
        const struct sdpa_result want = run_sdpa(context, &c);
        attn_rotary rotary = rotary_of(context, (attn_rotary_kind)kind, 0, 64, 1);
        rotary.query_positions = random_positions((size_t)2 * 70, 1);
        rotary.key_positions = random_positions((size_t)2 * 130, 1);
        c.params.rotary = &rotary;
        const struct sdpa_result got = run_sdpa(context, &c);
        assert_same_result(&got, &want);
        end_case();
    }
}

static void any_number_of_threads(void **state) {
    (void)state;
    attn_context *one = new_context_of(1, 0), *more = new_context_of(4, 0);
    seed(4);
    for (int k = 0; k < 40; k += (int)every()) {
        struct turns turns;
        struct sdpa_case c = random_case(one, &turns);
        set_random_program(&c);
        const struct sdpa_result want = run_sdpa(one, &c), got = run_sdpa(more, &c);
        assert_same_result(&got, &want);
        end_case();
    }
}

/* A layer that projects by the identity is attention. */
static void layer(void **state) {
    (void)state;
    enum { M = 64, H = 2, B = 2, T = 50 };
    attn_context *context = new_context_of(2, 0);
    struct turns turns;
    seed(5);
    float *identity = new_floats((size_t)M * M);
    for (size_t i = 0; i < (size_t)M * M; i++)
        identity[i] = i / M == i % M ? 1.0F : 0.0F;
    attn_mha_params p;
    ATTN_INIT(&p);
    p.model_width = M;
    p.heads = H;
    p.q_weight = p.k_weight = p.v_weight = p.out_weight = identity;
    attn_mha *mha = new_layer(context, &p);
    const attn_tensor x = new_normal(BHTD, B, 1, T, M), out = new_tensor(BHTD, B, 1, T, M);
    const attn_tensor heads = attn_tensor_bthd(x.data, ATTN_F32, B, T, H, M / H);
    const attn_tensor want = new_tensor(BTHD, B, H, T, M / H);
    attn_sdpa_params params;
    ATTN_INIT(&params);
    ATTN_INIT(&turns.norm);
    turns.rotary = rotary_of(context, ATTN_ROTARY_HALF, 16, M / H, T);
    turns.norm.kind = ATTN_RMS_NORM;
    turns.norm.q_weight = random_weights(M / H);
    params.rotary = &turns.rotary;
    params.qk_norm = &turns.norm;
    params.causal = ATTN_CAUSAL_BOTTOM_RIGHT;
    assert_ok(context, attn_mha_forward(context, mha, &x, NULL, NULL, &out, &params));
    assert_ok(context, attn_sdpa(context, &heads, &heads, &heads, &want, &params));
    attn_mha_destroy(mha);
    assert_bits(out, attn_tensor_btm(want.data, ATTN_F32, B, T, M));
}

/* A decoder's keys are normed and rotated as they enter its cache, by where they stand in the sequence. */
static void decoder(void **state) {
    (void)state;
    enum { M = 64, B = 2, T = 90 };
    static const size_t steps[] = {5, 1, 1, 60, 1, 22};
    attn_context *context = new_context_of(2, 0);
    struct block_case c;
    struct turns turns;
    for (attn_dtype type = ATTN_F32; type <= ATTN_F16; type++) {
        attn_block_inputs inputs;
        attn_sdpa_params params;
        attn_cache_params of_cache;
        attn_cache *cache = NULL;
        seed(6);
        init_block(&c, M, 2, 40, HAS_NORMS);
        fill_block(&c, true);
        attn_block *block = new_block(context, &c);
        const attn_tensor x = new_normal(BHTD, B, 1, T, M);
        const attn_tensor want = new_tensor(BHTD, B, 1, T, M), out = new_tensor(BHTD, B, 1, T, M);
        ATTN_INIT(&params);
        ATTN_INIT(&inputs);
        ATTN_INIT(&of_cache);
        ATTN_INIT(&turns.norm);
        turns.norm.kind = ATTN_RMS_NORM;
        turns.norm.k_weight = random_weights(M / 2);
        turns.rotary = rotary_of(context, ATTN_ROTARY_INTERLEAVED, 0, M / 2, T);
        params.rotary = &turns.rotary;
        params.qk_norm = &turns.norm;
        params.causal = ATTN_CAUSAL_BOTTOM_RIGHT;
        inputs.self_params = &params;
        assert_ok(context, attn_block_forward(context, block, &x, &want, &inputs));
        of_cache.batch = B, of_cache.kv_heads = 2, of_cache.head_width = M / 2, of_cache.capacity = T + 1;
        of_cache.dtype = type;
        assert_ok(context, attn_cache_create(context, &of_cache, &cache));
        inputs.cache = cache;
        for (size_t i = 0, t = 0; i < COUNT(steps); t += steps[i++]) {
            const attn_tensor part = tokens_of(x, t, steps[i]), to = tokens_of(out, t, steps[i]);
            assert_ok(context, attn_block_forward(context, block, &part, &to, &inputs));
        }
        name_case("decoder, cache of type %d", (int)type);
        const tolerance of_half = {0.01, 0.01}; /* keys and values with 11 bits */
        assert_near(out, dense_doubles(want), type == ATTN_F32 ? promised(4) : of_half);
        const attn_tensor one = tokens_of(x, 0, 1), to = new_tensor(BHTD, B, 1, 1, M);
        assert_status(context, attn_block_forward(context, block, &one, &to, &inputs), ATTN_ERROR_VALUE);
        assert_untouched(to);
        assert_int_equal(attn_cache_length(cache, 0), T);
        attn_cache_destroy(cache);
        attn_block_destroy(block);
        end_case();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(attention), TEST(norm_outweighs_alibi),
                                       TEST(no_angle),  TEST(any_number_of_threads),
                                       TEST(layer),     TEST(decoder)};
    return cmocka_run_group_tests_name("rotary_attention", tests, NULL, NULL);
}
