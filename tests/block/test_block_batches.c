/* SPDX-License-Identifier: BSD-3-Clause */
/* Blocks on sequences that differ in length, padded or ragged: each is as if it were alone. */
#include <math.h>

#include "support/block_case.h"
#include "support/meter.h"

/* Sequences one after the other in one tensor, and an encoder's, are each as if they were alone; what is before and
 * behind them attends to nothing. */
static void ragged(void **state) {
    (void)state;
    enum { M = 32, N = 5, T = 100, Te = 50 };
    static const int64_t starts[N + 1] = {2, 7, 7, 30, 95, 96}, encoded_starts[N + 1] = {0, 3, 20, 20, 41, 45};
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(2, contexts);
    for (size_t i = 0; i < 2 * n; i++) {
        struct block_case c;
        attn_sdpa_params self, cross;
        ATTN_INIT(&self);
        self.causal = ATTN_CAUSAL_BOTTOM_RIGHT;
        ATTN_INIT(&cross);
        cross.key_starts = encoded_starts;
        seed(13 + i % 2);
        init_block(&c, M, 4, 64, WHOLE);
        c.block.norm_place = (attn_norm_place)(i % 2);
        fill_block(&c, true);
        attn_block *block = new_block(contexts[i / 2], &c);
        const attn_tensor x = new_normal((enum layout)random_below(OUTPUT_LAYOUTS), 1, 1, T, M);
        const attn_tensor encoded = new_normal((enum layout)random_below(OUTPUT_LAYOUTS), 1, 1, Te, M);
        attn_block_inputs inputs = inputs_of(&encoded);
        inputs.self_params = &self;
        inputs.cross_params = &cross;
        inputs.sequences = N;
        inputs.starts = starts;
        const attn_tensor out =
            forward_block(contexts[i / 2], block, x, (enum layout)random_below(OUTPUT_LAYOUTS), &inputs);
        self.sequences = cross.sequences = N;
        self.query_starts = cross.query_starts = starts;
        assert_near(out, reference_block(&c, x, &encoded, &self, &cross), of_block());
        ATTN_INIT(&self);
        self.causal = ATTN_CAUSAL_BOTTOM_RIGHT;
        inputs.cross_params = NULL;
        inputs.sequences = 0;
        inputs.starts = NULL;
        for (size_t s = 0; s < N; s++) {
            const size_t first = (size_t)starts[s], count = (size_t)starts[s + 1] - first;
            const size_t first_key = (size_t)encoded_starts[s], keys = (size_t)encoded_starts[s + 1] - first_key;
            const attn_tensor some = tokens_of(encoded, first_key, keys);
            inputs.encoded = &some;
            name_case("sequence %zu with %s", s, describe(contexts[i / 2]).isa);
            const attn_tensor alone = forward_block(contexts[i / 2], block, tokens_of(x, first, count), BHTD, &inputs);
            assert_near(tokens_of(out, first, count), dense_doubles(alone), of_block());
        }
        attn_block_destroy(block);
        end_case();
    }
}

/* Sequences of a batch that have come to different lengths. */
static void uneven_cache(void **state) {
    (void)state;
    enum { M = 32, B = 2, T = 70, CUT = 33, MORE = 5 };
    attn_context *context = new_context_of(2, 0);
    struct block_case c;
    attn_sdpa_params causal;
    ATTN_INIT(&causal);
    causal.causal = ATTN_CAUSAL_BOTTOM_RIGHT;
    seed(12);
    init_block(&c, M, 4, 64, HAS_FEED | HAS_NORMS);
    fill_block(&c, true);
    attn_block *block = new_block(context, &c);
    attn_cache *cache = new_layer_cache(context, &c.self, B, T + MORE);
    attn_block_inputs inputs = inputs_of(NULL);
    inputs.self_params = &causal;
    inputs.cache = cache;
    const attn_tensor x = new_normal(BHTD, B, 1, T, M), more = new_normal(BHTD, B, 1, MORE, M);
    (void)forward_block(context, block, x, BHTD, &inputs);
    assert_ok(context, attn_cache_truncate(context, cache, 1, CUT));
    const attn_tensor out = forward_block(context, block, more, BHTD, &inputs);
    for (size_t b = 0; b < B; b++) {
        const size_t before = b ? CUT : T;
        const attn_tensor whole = new_tensor(BHTD, 1, 1, before + MORE, M);
        for (size_t n = 0; n < (before + MORE) * M; n++)
            *element(whole, n) =
                n < before * M ? *element_at(x, b, 0, n / M, n % M) : *element_at(more, b, 0, n / M - before, n % M);
        const double *want = reference_block(&c, whole, NULL, &causal, NULL);
        assert_near(sequence_of(out, b), want + before * M, of_block());
    }
    attn_cache_destroy(cache);
    attn_block_destroy(block);
}

/* A decoder's prompts of different lengths, padded or ragged: each sequence is as if it were alone, from its first
 * token. What is padding is NaN. */
enum { PROMPTS = 3 };

struct batch {
    size_t B, T; /* of x */
    int64_t counts[PROMPTS], starts[PROMPTS + 1];
};

static struct batch batch_of(bool ragged, size_t B, size_t T, const int64_t *counts) {
    struct batch p = {.B = ragged ? 1 : B, .T = T, .starts = {ragged ? 2 : 0}};
    for (size_t b = 0; b < B; b++) {
        p.counts[b] = counts[b];
        p.starts[b + 1] = p.starts[b] + counts[b];
    }
    p.T = ragged ? (size_t)p.starts[B] + 1 : T;
    return p;
}

/* A decoder that gets them, the same for each sequence alone, and what all that is about. */
struct prompts {
    attn_context *context;
    struct block_case c;
    attn_block *block;
    attn_cache *cache, *alone[PROMPTS], *encoded_cache;
    attn_tensor x, encoded;
    attn_sdpa_params params;
    bool ragged, plain; /* plain: as the reference can do it */
};

static const int64_t encoded_starts[PROMPTS + 1] = {1, 20, 25, 39};

static attn_tensor encoded_of(const struct prompts *p, size_t b) {
    return tokens_of(p->encoded, (size_t)encoded_starts[b], (size_t)(encoded_starts[b + 1] - encoded_starts[b]));
}

static void make_prompts(struct prompts *p, attn_dtype type, size_t window) {
    enum { M = 32, H = 4, T = 150, CAPACITY = 200 };
    const attn_cache_append_params of_encoded = {.struct_size = sizeof of_encoded, .starts = encoded_starts};
    attn_cache_params params = {.struct_size = sizeof params, .batch = PROMPTS, .capacity = CAPACITY, .kv_heads = 2};
    init_block(&p->c, M, H, 64, WHOLE);
    p->c.self.kv_heads = 2;
    fill_block(&p->c, true);
    p->block = new_block(p->context, &p->c);
    p->x = new_normal(BHTD, PROMPTS, 1, T, M);
    p->encoded = new_normal(BHTD, 1, 1, 40, M);
    p->encoded_cache = new_layer_cache(p->context, &p->c.cross, PROMPTS, T);
    assert_ok(p->context, attn_block_encode(p->context, p->block, &p->encoded, p->encoded_cache, &of_encoded));
    params.head_width = M / H;
    params.dtype = type;
    params.window = window;
    params.page_size = 128;
    assert_ok(p->context, attn_cache_create(p->context, &params, &p->cache));
    params.batch = 1;
    for (size_t b = 0; b < PROMPTS; b++)
        assert_ok(p->context, attn_cache_create(p->context, &params, &p->alone[b]));
}

static void end_prompts(struct prompts *p) {
    for (size_t b = 0; b < PROMPTS; b++)
        attn_cache_destroy(p->alone[b]);
    attn_cache_destroy(p->cache);
    attn_cache_destroy(p->encoded_cache);
    attn_block_destroy(p->block);
    end_case();
}

/* The tokens of sequence b in x or out of a batch. */
static attn_tensor prompt_of(const struct prompts *p, const struct batch *now, attn_tensor t, size_t b) {
    return tokens_of(p->ragged ? t : sequence_of(t, b), (size_t)now->starts[p->ragged ? b : 0], (size_t)now->counts[b]);
}

static attn_tensor run_batch(const struct prompts *p, const struct batch *now) {
    const size_t M = p->x.size[3];
    const attn_tensor x = new_tensor(BHTD, now->B, 1, now->T, M);
    attn_block_inputs inputs = inputs_of(NULL);
    for (size_t b = 0; b < PROMPTS; b++) {
        const attn_tensor to = prompt_of(p, now, x, b);
        for (size_t t = 0; t < to.size[2]; t++)
            for (size_t m = 0; m < M; m++)
                *element_at(to, 0, 0, t, m) = *element_at(p->x, b, 0, attn_cache_length(p->cache, b) + t, m);
    }
    inputs.self_params = &p->params;
    inputs.cache = p->cache;
    inputs.encoded_cache = p->encoded_cache;
    inputs.counts = p->ragged ? NULL : now->counts;
    inputs.sequences = p->ragged ? PROMPTS : 0;
    inputs.starts = p->ragged ? now->starts : NULL;
    return forward_block(p->context, p->block, x, BHTD, &inputs);
}

static void check_alone(const struct prompts *p, size_t b, attn_tensor got) {
    const size_t before = attn_cache_length(p->alone[b], 0), count = got.size[2];
    const attn_tensor x = sequence_of(p->x, b), encoded = encoded_of(p, b);
    attn_block_inputs inputs = inputs_of(&encoded);
    inputs.self_params = &p->params;
    inputs.cache = p->alone[b];
    const attn_tensor want = forward_block(p->context, p->block, tokens_of(x, before, count), BHTD, &inputs);
    assert_int_equal(attn_cache_length(p->cache, b), before + count);
    assert_near(got, dense_doubles(want), of_block());
    if (p->plain)
        assert_near(got,
                    reference_block(&p->c, tokens_of(x, 0, before + count), &encoded, &p->params, NULL) +
                        before * x.size[3],
                    of_block());
}

static void check_prompts(attn_context *context, bool ragged, attn_dtype type, size_t window, bool turns) {
    enum { POSITIONS = 200, WIDTH = 8, MOST = 70 };
    static const int64_t pieces[][PROMPTS] = {{70, 1, 33}, {1, 1, 1}, {0, 9, 2}, {3, 64, 0}, {1, 1, 1}};
    float cosines[POSITIONS * WIDTH / 2], sines[POSITIONS * WIDTH / 2];
    const attn_rotary rotary = {.struct_size = sizeof rotary, .positions = POSITIONS, .cos = cosines, .sin = sines};
    const attn_qk_norm norm = {.struct_size = sizeof norm};
    struct prompts p = {.context = context, .ragged = ragged, .plain = type == ATTN_F32 && !window && !turns};
    assert_ok(context, attn_rotary_tables(context, POSITIONS, WIDTH, NULL, cosines, sines));
    ATTN_INIT(&p.params);
    p.params.causal = ATTN_CAUSAL_BOTTOM_RIGHT;
    p.params.rotary = turns ? &rotary : NULL;
    p.params.qk_norm = turns ? &norm : NULL;
    seed(14);
    make_prompts(&p, type, window);
    for (size_t i = 0; i < COUNT(pieces); i++) {
        const struct batch now = batch_of(ragged, PROMPTS, MOST, pieces[i]);
        const attn_tensor out = run_batch(&p, &now);
        for (size_t b = 0; b < PROMPTS; b++) {
            name_case("prompts: ragged %d, type %d, window %zu, turned %d, piece %zu, sequence %zu", (int)ragged,
                      (int)type, window, (int)turns, i, b);
            check_alone(&p, b, prompt_of(&p, &now, out, b));
        }
    }
    end_prompts(&p);
}

/* An encoder's batch that is padded: keys are those of counts, too. */
static void padded(void **state) {
    (void)state;
    enum { M = 24, B = 3, T = 9 };
    static const int64_t counts[B] = {9, 0, 4};
    attn_context *context = new_context_of(2, 0);
    struct block_case c;
    attn_sdpa_params causal;
    seed(15);
    init_block(&c, M, 3, 40, HAS_FEED | HAS_NORMS);
    fill_block(&c, true);
    attn_block *block = new_block(context, &c);
    const attn_tensor x = new_normal(BHTD, B, 1, T, M);
    for (size_t b = 0; b < B; b++)
        for (size_t n = (size_t)counts[b] * M; n < (size_t)T * M; n++)
            *element_at(x, b, 0, n / M, n % M) = NAN;
    ATTN_INIT(&causal);
    for (int i = 0; i < CAUSALS - 1; i++) { /* but OFFSET */
        causal.causal = (attn_causal)i;
        attn_block_inputs inputs = inputs_of(NULL);
        inputs.self_params = &causal;
        inputs.counts = counts;
        const attn_tensor out = forward_block(context, block, x, BHTD, &inputs);
        for (size_t b = 0; b < B; b++) {
            const attn_tensor alone = tokens_of(sequence_of(x, b), 0, (size_t)counts[b]);
            name_case("padded: causal %d, sequence %zu", i, b);
            assert_near(tokens_of(sequence_of(out, b), 0, (size_t)counts[b]),
                        reference_block(&c, alone, NULL, &causal, NULL), of_block());
        }
    }
    attn_block_destroy(block);
}

/* Beyond the counts attention gives 0: what is left is the residual and the bias, through the feed-forward. */
static void beyond_counts(void **state) {
    (void)state;
    enum { M = 16, B = 2, T = 5 };
    static const int64_t counts[B] = {5, 2};
    attn_context *context = new_context_of(1, 0);
    struct block_case c;
    seed(16);
    init_block(&c, M, 2, 20, 0);
    fill_block(&c, true);
    attn_block *block = new_block(context, &c);
    attn_cache *cache = new_layer_cache(context, &c.self, B, T);
    const attn_tensor x = new_normal(BHTD, B, 1, T, M);
    attn_block_inputs inputs = inputs_of(NULL);
    inputs.counts = counts;
    for (int i = 0; i < 2; i++, inputs.cache = cache) {
        const attn_tensor out = forward_block(context, block, x, BHTD, &inputs);
        for (size_t n = (size_t)counts[1] * M; n < (size_t)T * M; n++)
            assert_true(fabsf(*element_at(out, 1, 0, n / M, n % M) - *element_at(x, 1, 0, n / M, n % M) -
                              c.self.out_bias[n % M]) < 1e-6F);
    }
    attn_cache_destroy(cache);
    attn_block_destroy(block);
}

/* Room is asked for what is appended, not for padding; without it nothing has changed. */
static void full(void **state) {
    (void)state;
    enum { M = 16, B = 2, T = 5, CAPACITY = 6 };
    int64_t counts[B] = {4, 5};
    attn_context *context = new_context_of(1, 0);
    struct block_case c;
    seed(17);
    init_block(&c, M, 2, 20, HAS_FEED);
    fill_block(&c, true);
    attn_block *block = new_block(context, &c);
    attn_cache *cache = new_layer_cache(context, &c.self, B, CAPACITY);
    const attn_tensor x = new_normal(BHTD, B, 1, T, M), out = new_tensor(BHTD, B, 1, T, M);
    attn_block_inputs inputs = inputs_of(NULL);
    inputs.cache = cache;
    inputs.counts = counts;
    (void)forward_block(context, block, x, BHTD, &inputs);
    counts[0] = counts[1] = 2;
    assert_status(context, attn_block_forward(context, block, &x, &out, &inputs), ATTN_ERROR_FULL);
    assert_mentions(attn_context_last_error(context), "sequence 1");
    assert_untouched(out);
    assert_int_equal(attn_cache_length(cache, 0), 4);
    assert_int_equal(attn_cache_length(cache, 1), 5);
    counts[1] = 1;
    (void)forward_block(context, block, x, BHTD, &inputs);
    assert_int_equal(attn_cache_length(cache, 0), CAPACITY);
    assert_int_equal(attn_cache_length(cache, 1), CAPACITY);
    attn_cache_destroy(cache);
    attn_block_destroy(block);
}

static void prompts_of_different_lengths(void **state) {
    (void)state;
    static const attn_dtype types[] = {ATTN_F32, ATTN_F16, ATTN_INT8};
    attn_context *context = new_context_of(2, 0);
    for (unsigned i = 0; i < 8 * COUNT(types); i++)
        check_prompts(context, i & 1, types[i / 8], i & 2 ? 20 : 0, i & 4);
}

/* So of batches that are padded or ragged. */
static void reserve_for_batches(void **state) {
    (void)state;
    enum { M = 48, B = 3, T = 65 };
    static const int64_t counts[][B] = {{3, 65, 0}, {60, 1, 65}, {65, 65, 65}};
    for (int ragged = 0; ragged < 2; ragged++) {
        struct meter m = {0};
        struct block_case c;
        size_t bytes = 0;
        seed(18);
        init_block(&c, M, 4, 100, HAS_FEED | HAS_NORMS);
        fill_block(&c, true);
        attn_context *context = new_metered(&m, 2);
        attn_block *block = new_block(context, &c);
        attn_cache *cache = new_layer_cache(context, &c.self, B, 3 * T);
        const struct batch largest = batch_of(ragged, B, T, counts[2]);
        const attn_tensor x = new_normal(PADDED, largest.B, 1, largest.T, M);
        const attn_tensor out = new_tensor(PADDED, largest.B, 1, largest.T, M);
        attn_block_inputs inputs = inputs_of(NULL);
        inputs.cache = cache;
        for (size_t i = 0; i < COUNT(counts); i++) { /* asked for the largest, with an empty cache */
            const struct batch now = batch_of(ragged, B, T, counts[COUNT(counts) - 1 - i]);
            const attn_tensor from = tokens_of(x, 0, now.T), to = tokens_of(out, 0, now.T);
            inputs.counts = ragged ? NULL : now.counts;
            inputs.sequences = ragged ? B : 0;
            inputs.starts = ragged ? now.starts : NULL;
            if (i == 0) {
                assert_ok(context, attn_block_scratch_size(context, block, &from, &to, &inputs, &bytes));
                assert_ok(context, attn_context_reserve(context, bytes));
            }
            const size_t calls = m.calls;
            assert_ok(context, attn_block_forward(context, block, &from, &to, &inputs));
            assert_int_equal(m.calls, calls);
        }
        attn_cache_destroy(cache);
        attn_block_destroy(block);
        attn_context_destroy(context);
        assert_int_equal(m.live, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(ragged),
                                       TEST(uneven_cache),
                                       TEST(padded),
                                       TEST(beyond_counts),
                                       TEST(full),
                                       TEST(prompts_of_different_lengths),
                                       TEST(reserve_for_batches)};
    return cmocka_run_group_tests_name("block_batches", tests, NULL, NULL);
}
