/* SPDX-License-Identifier: BSD-3-Clause */
/* Blocks against the double reference, decoders against the whole sequence in one go. */
#include <math.h>
#include <string.h>

#include "support/block_case.h"
#include "support/meter.h"
#include "support/pools.h"

/* A block adds up to three sublayers of outputs N(0, 2) or so to its stream, and a post-norm divides by about as much:
 * a few times the errors of one attention. */
static tolerance of_block(void) { return promised(4); }

static attn_block_inputs inputs_of(const attn_tensor *encoded) {
    attn_block_inputs inputs;
    ATTN_INIT(&inputs);
    inputs.encoded = encoded;
    return inputs;
}

static attn_tensor run_block(attn_context *context, const attn_block *block, attn_tensor x, enum layout layout,
                             const attn_block_inputs *inputs) {
    const attn_tensor out = new_tensor(layout, x.size[0], 1, x.size[2], x.size[3]);
    assert_ok(context, attn_block_forward(context, block, &x, &out, inputs));
    assert_gaps_untouched(out);
    return out;
}

static void set_random_options(struct block_case *c) {
    c->block.norm_place = (attn_norm_place)random_below(2);
    c->self_norm.kind = (attn_norm_kind)random_below(2);
    c->cross_norm.kind = c->feed_norm.kind = c->self_norm.kind;
    c->self_norm.eps = random_below(2) ? 0 : 1e-3F;
    c->feed.activation = (attn_activation)random_below(ATTN_SIGMOID + 1);
    c->activation.beta = c->feed.activation == ATTN_SILU || c->feed.activation == ATTN_XIELU ? 1.3F : 0;
    c->activation.limit = random_below(2) ? 0 : 0.7F;
    c->activation.up_offset = c->feed.gate_weight && random_below(2) ? 1 : 0;
    c->feed.activation_params = random_below(2) ? &c->activation : NULL;
    c->feed.order = (attn_weight_order)random_below(2);
    c->hidden_norm.kind = (attn_norm_kind)random_below(2);
    c->feed.hidden_norm = random_below(4) ? NULL : &c->hidden_norm;
    c->self.order = (attn_weight_order)random_below(2);
    c->self.kv_heads = c->self.heads % 2 == 0 && random_below(2) ? c->self.heads / 2 : 0;
    c->cross.key_input_width = c->cross.value_input_width = random_below(2) ? 0 : 21;
    c->self_output_norm.kind = c->cross_output_norm.kind = c->feed_output_norm.kind = (attn_norm_kind)random_below(2);
    set_residual_form(c, (unsigned)random_below(RESIDUAL_FORMS));
    set_layer_form(&c->self, true, random_below(2) ? 0 : (unsigned)random_below(LAYER_FORMS));
    set_layer_form(&c->cross, false, random_below(2) ? 0 : (unsigned)random_below(LAYER_FORMS));
    if (c->block.feed_output_norm && c->feed.hidden_width == 1) /* its error would be made as large as itself */
        c->feed.hidden_width = 11;
}

static void check_random_block(attn_context *context) {
    static const size_t lengths[] = {0, 1, 2, 17, 70}, widths[] = {8, 24, 33, 48}, hidden[] = {1, 19, 64, 130};
    struct block_case c;
    const size_t heads = 1 + random_below(4), M = heads * random_pick(widths), B = 1 + random_below(3);
    const unsigned parts = (unsigned)random_below(WHOLE + 1);
    init_block(&c, M, heads, random_pick(hidden), parts);
    set_random_options(&c);
    fill_block(&c, random_below(2) > 0);
    const size_t T = random_pick(lengths), encoder_width = c.cross.key_input_width ? c.cross.key_input_width : M;
    const attn_tensor x = new_normal((enum layout)random_below(LAYOUTS), B, 1, T, M);
    const attn_tensor encoded =
        new_normal((enum layout)random_below(LAYOUTS), B, 1, random_pick(lengths), encoder_width);
    attn_block_inputs inputs = inputs_of(parts & HAS_CROSS ? &encoded : NULL);
    attn_sdpa_params causal;
    ATTN_INIT(&causal);
    causal.causal = random_below(2) ? ATTN_CAUSAL_TOP_LEFT : ATTN_CAUSAL_NONE;
    inputs.self_params = &causal;
    name_case(
        "block M=%zu H=%zu F=%zu parts=%u place=%d parallel=%d output=%d factor=%g scale=%d norm=%d act=%d,%d B=%zu "
        "T=%zu Te=%zu",
        M, heads, c.feed.hidden_width, parts, (int)c.block.norm_place, c.block.parallel,
        c.block.self_output_norm != NULL, (double)c.block.residual_factor, c.block.self_layer_scale != NULL,
        (int)c.self_norm.kind, (int)c.feed.activation, c.feed.activation_params != NULL, B, T, encoded.size[2]);
    attn_block *block = new_block(context, &c);
    const attn_tensor out = run_block(context, block, x, (enum layout)random_below(OUTPUT_LAYOUTS), &inputs);
    attn_block_destroy(block);
    assert_near(out, reference_block(&c, x, &encoded, &causal, NULL), of_block());
    end_case();
}

static void random_blocks(void **state) {
    (void)state;
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(2, contexts);
    for (size_t i = 0; i < n; i++) {
        seed(1);
        for (size_t k = 0; k < 120; k += every())
            check_random_block(contexts[i]);
    }
}

/* More rows than the feed-forward takes at a time, and more than a band of a projection. */
static void many_rows(void **state) {
    (void)state;
    enum { M = 16, B = 2, T = 500 };
    attn_context *context = new_context_of(2, 0);
    for (unsigned form = 0; form < RESIDUAL_FORMS; form += OUTPUT_NORMS + PARALLEL) {
        struct block_case c;
        seed(2);
        init_block(&c, M, 2, 40, HAS_FEED | HAS_GATE | HAS_NORMS);
        c.feed.activation = ATTN_SILU;
        set_residual_form(&c, form);
        fill_block(&c, true);
        const attn_tensor x = new_normal(BHTD, B, 1, T, M);
        attn_block *block = new_block(context, &c);
        name_case("many rows, residual form %u", form);
        assert_near(run_block(context, block, x, BHTD, NULL), reference_block(&c, x, NULL, NULL, NULL), of_block());
        attn_block_destroy(block);
        end_case();
    }
}

/* Every residual form of every set of norms. */
static void residual_forms(void **state) {
    (void)state;
    attn_context *context = new_context_of(2, 0);
    for (unsigned n = 0; n < 16 * RESIDUAL_FORMS; n++) {
        struct block_case c;
        const attn_sdpa_params causal = {.struct_size = sizeof causal, .causal = ATTN_CAUSAL_BOTTOM_RIGHT};
        seed(19);
        init_block(&c, 24, 3, 40, n / RESIDUAL_FORMS & 8 ? WHOLE : HAS_FEED | HAS_GATE | HAS_NORMS);
        c.block.norm_place = n / RESIDUAL_FORMS & 4 ? ATTN_POST_NORM : ATTN_PRE_NORM;
        c.block.self_norm = n / RESIDUAL_FORMS & 1 ? NULL : c.block.self_norm;
        c.block.feed_norm = n / RESIDUAL_FORMS & 2 ? NULL : c.block.feed_norm;
        set_residual_form(&c, n % RESIDUAL_FORMS);
        fill_block(&c, true);
        const attn_tensor x = new_normal(PADDED, 2, 1, 9, 24), encoded = new_normal(BHTD, 2, 1, 7, 24);
        attn_block_inputs inputs = inputs_of(c.block.cross_attention ? &encoded : NULL);
        inputs.self_params = &causal;
        attn_block *block = new_block(context, &c);
        name_case("residual form %u, norms %u", n % RESIDUAL_FORMS, n / RESIDUAL_FORMS);
        const double *want = reference_block(&c, x, &encoded, &causal, NULL);
        const attn_tensor out = run_block(context, block, x, BHTD, &inputs);
        assert_near(out, want, of_block());
        assert_ok(context, attn_block_forward(context, block, &x, &x, &inputs));
        assert_bits(x, out);
        attn_block_destroy(block);
        end_case();
    }
}

/* A stack runs in one buffer: the same bits as from one to the next. */
static void in_place(void **state) {
    (void)state;
    attn_context *context = new_context_of(2, 0);
    for (unsigned form = 0; form < 2 * RESIDUAL_FORMS; form++)
        for (enum layout layout = BHTD; layout < OUTPUT_LAYOUTS; layout++) {
            struct block_case c;
            seed(3);
            init_block(&c, 24, 3, 50, WHOLE);
            c.block.norm_place = (attn_norm_place)(form / RESIDUAL_FORMS);
            set_residual_form(&c, form % RESIDUAL_FORMS);
            fill_block(&c, true);
            const attn_tensor x = new_normal(layout, 2, 1, 19, 24), encoded = new_normal(BHTD, 2, 1, 7, 24);
            const attn_block_inputs inputs = inputs_of(&encoded);
            attn_block *block = new_block(context, &c);
            const attn_tensor want = run_block(context, block, x, BHTD, &inputs);
            name_case("in place, residual form %u, layout %d", form, (int)layout);
            assert_ok(context, attn_block_forward(context, block, &x, &x, &inputs));
            assert_bits(x, want);
            assert_gaps_untouched(x);
            attn_block_destroy(block);
            end_case();
        }
}

static attn_cache *new_cache(attn_context *context, const attn_mha_params *p, size_t B, size_t capacity) {
    attn_cache_params params;
    attn_cache *cache = NULL;
    ATTN_INIT(&params);
    params.batch = B;
    params.kv_heads = p->kv_heads ? p->kv_heads : p->heads;
    params.head_width = p->model_width / p->heads;
    params.capacity = capacity;
    assert_ok(context, attn_cache_create(context, &params, &cache));
    return cache;
}

/* A decoder block that gets its tokens bit by bit, and the encoder's output once. */
static void decoder(void **state) {
    (void)state;
    enum { M = 32, B = 2, T = 90, Te = 11 };
    static const size_t steps[] = {5, 1, 1, 60, 1, 22};
    attn_context *context = new_context_of(2, 0);
    struct block_case c;
    attn_sdpa_params causal;
    ATTN_INIT(&causal);
    causal.causal = ATTN_CAUSAL_BOTTOM_RIGHT;
    seed(4);
    init_block(&c, M, 4, 64, WHOLE);
    c.self.kv_heads = 2;
    fill_block(&c, true);
    const attn_tensor x = new_normal(BHTD, B, 1, T, M), encoded = new_normal(PADDED, B, 1, Te, M);
    const attn_tensor out = new_tensor(BHTD, B, 1, T, M);
    attn_block *block = new_block(context, &c);
    attn_cache *cache = new_cache(context, &c.self, B, T), *encoded_cache = new_cache(context, &c.cross, B, Te + 3);
    assert_ok(context, attn_block_encode(context, block, &encoded, encoded_cache, NULL));
    assert_int_equal(attn_cache_length(encoded_cache, 0), Te);
    attn_block_inputs inputs = inputs_of(NULL);
    inputs.self_params = &causal;
    inputs.cache = cache;
    inputs.encoded_cache = encoded_cache;
    for (size_t i = 0, begin = 0; i < COUNT(steps); begin += steps[i++]) {
        const attn_tensor part = tokens_of(x, begin, steps[i]), to = tokens_of(out, begin, steps[i]);
        assert_ok(context, attn_block_forward(context, block, &part, &to, &inputs));
        assert_int_equal(attn_cache_length(cache, 0), begin + steps[i]);
    }
    assert_near(out, reference_block(&c, x, &encoded, &causal, NULL), of_block());
    attn_cache_destroy(cache);
    attn_cache_destroy(encoded_cache);
    attn_block_destroy(block);
}

/* A layer on a cache gives what it gives of all tokens at once, and so, without appending, does one that reads the
 * cache of another whose keys and values are its own; of encoded inputs as well. */
static void check_layer_on_cache(attn_context *context, bool ragged, bool counted) {
    enum { M = 32, H = 4, N = 3, T = 40, STEPS = 4 };
    static const int64_t pieces[STEPS][N] = {{12, 1, 20}, {1, 1, 1}, {0, 9, 2}, {3, 4, 0}};
    const attn_sdpa_params causal = {.struct_size = sizeof causal, .causal = ATTN_CAUSAL_BOTTOM_RIGHT};
    attn_mha_params p = {.struct_size = sizeof p, .model_width = M, .heads = H, .kv_heads = 2};
    fill_layer(&p, false, ALL_BIASES);
    attn_mha *mha = new_layer(context, &p);
    attn_cache *cache = new_cache(context, &p, N, T);
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
    attn_cache *cache = new_cache(context, &p, B, Te);
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

/* A block that reads the cache of another, whose keys and values are those that it would make. */
static void shared_cache(void **state) {
    (void)state;
    enum { M = 32, B = 2, T = 21 };
    attn_context *context = new_context_of(2, 0);
    const attn_sdpa_params causal = {.struct_size = sizeof causal, .causal = ATTN_CAUSAL_BOTTOM_RIGHT};
    struct block_case c;
    size_t bytes = 0;
    seed(22);
    init_block(&c, M, 4, 40, HAS_FEED | HAS_NORMS);
    fill_block(&c, true);
    attn_block *block = new_block(context, &c);
    attn_cache *cache = new_cache(context, &c.self, B, T);
    const attn_tensor x = new_normal(BHTD, B, 1, T, M);
    attn_block_inputs inputs = inputs_of(NULL);
    inputs.self_params = &causal;
    inputs.cache = cache;
    const attn_tensor want = run_block(context, block, x, BHTD, &inputs);
    inputs.shared_cache = cache;
    assert_status(context, attn_block_forward(context, block, &x, &x, &inputs), ATTN_ERROR_VALUE);
    assert_mentions(attn_context_last_error(context), "shared_cache");
    inputs.cache = NULL;
    assert_ok(context, attn_block_scratch_size(context, block, &x, &x, &inputs, &bytes));
    assert_bits(run_block(context, block, x, BHTD, &inputs), want);
    assert_int_equal(attn_cache_length(cache, 0), T);
    attn_cache_destroy(cache);
    attn_block_destroy(block);
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
    attn_cache *cache = new_cache(context, &p, B, T);
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
            run_block(contexts[i / 2], block, x, (enum layout)random_below(OUTPUT_LAYOUTS), &inputs);
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
            const attn_tensor alone = run_block(contexts[i / 2], block, tokens_of(x, first, count), BHTD, &inputs);
            assert_near(tokens_of(out, first, count), dense_doubles(alone), of_block());
        }
        attn_block_destroy(block);
        end_case();
    }
}

/* The type of a view changes what is read and written, and nothing between. */
static void half_precision(void **state) {
    (void)state;
    static const attn_dtype types[] = {ATTN_F16, ATTN_BF16};
    enum { M = 24, B = 2, T = 13 };
    attn_context *context = new_context_of(2, 0);
    struct block_case c;
    seed(10);
    init_block(&c, M, 3, 40, HAS_FEED | HAS_NORMS);
    fill_block(&c, true);
    attn_block *block = new_block(context, &c);
    const attn_tensor x = new_normal(BHTD, B, 1, T, M), want = new_tensor(BHTD, B, 1, T, M);
    const attn_tensor got = new_tensor(BHTD, B, 1, T, M);
    for (size_t i = 0; i < COUNT(types); i++) {
        uint16_t half[B * T * M], half_out[B * T * M], half_want[B * T * M];
        const attn_tensor h = attn_tensor_btm(half, types[i], B, T, M),
                          o = attn_tensor_btm(half_out, types[i], B, T, M);
        const attn_tensor w = attn_tensor_btm(half_want, types[i], B, T, M);
        assert_ok(context, attn_tensor_copy(context, &x, &h));
        assert_ok(context, attn_tensor_copy(context, &h, &x)); /* now x is what a half can hold */
        assert_ok(context, attn_block_forward(context, block, &x, &want, NULL));
        assert_ok(context, attn_block_forward(context, block, &h, &got, NULL));
        assert_bits(got, want);
        assert_ok(context, attn_tensor_copy(context, &want, &w));
        assert_ok(context, attn_block_forward(context, block, &h, &o, NULL));
        assert_memory_equal(half_out, half_want, sizeof half_out);
        assert_ok(context, attn_block_forward(context, block, &h, &h, NULL));
        assert_memory_equal(half, half_want, sizeof half);
    }
    attn_block_destroy(block);
}

/* A cache of bytes cannot take NaN: nothing is appended or written. */
static void bytes_are_finite(void **state) {
    (void)state;
    enum { M = 16, B = 2, T = 3 };
    attn_context *context = new_context_of(1, 0);
    struct block_case c;
    attn_cache_params params;
    attn_cache *cache = NULL;
    ATTN_INIT(&params);
    params.batch = B;
    params.kv_heads = 2;
    params.head_width = M / 2;
    params.capacity = 2 * T;
    params.dtype = ATTN_INT8;
    seed(11);
    init_block(&c, M, 2, 20, HAS_FEED | HAS_NORMS);
    fill_block(&c, true);
    attn_block *block = new_block(context, &c);
    assert_ok(context, attn_cache_create(context, &params, &cache));
    attn_block_inputs inputs = inputs_of(NULL);
    inputs.cache = cache;
    for (enum layout layout = BHTD; layout <= REVERSED; layout++) {
        const attn_tensor x = new_normal(layout, B, 1, T, M), out = new_tensor(BHTD, B, 1, T, M);
        *element_at(x, 1, 0, 2, 3) = NAN;
        assert_status(context, attn_block_forward(context, block, &x, &out, &inputs), ATTN_ERROR_VALUE);
        assert_mentions(attn_context_last_error(context), "int8");
        assert_untouched(out);
        assert_int_equal(attn_cache_length(cache, 1), 0);
    }
    const attn_tensor x = new_normal(BHTD, B, 1, T, M), out = new_tensor(BHTD, B, 1, T, M);
    assert_ok(context, attn_block_forward(context, block, &x, &out, &inputs));
    /* a byte and its scale are within 1/254 of the largest element: 3 or so of keys that are N(0, 1) */
    const tolerance of_bytes = {0.3, 0};
    assert_near(out, reference_block(&c, x, NULL, NULL, NULL), of_bytes);
    attn_cache_destroy(cache);
    attn_block_destroy(block);
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
    attn_cache *cache = new_cache(context, &c.self, B, T + MORE);
    attn_block_inputs inputs = inputs_of(NULL);
    inputs.self_params = &causal;
    inputs.cache = cache;
    const attn_tensor x = new_normal(BHTD, B, 1, T, M), more = new_normal(BHTD, B, 1, MORE, M);
    (void)run_block(context, block, x, BHTD, &inputs);
    assert_ok(context, attn_cache_truncate(context, cache, 1, CUT));
    const attn_tensor out = run_block(context, block, more, BHTD, &inputs);
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
    p->encoded_cache = new_cache(p->context, &p->c.cross, PROMPTS, T);
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
    return run_block(p->context, p->block, x, BHTD, &inputs);
}

static void check_alone(const struct prompts *p, size_t b, attn_tensor got) {
    const size_t before = attn_cache_length(p->alone[b], 0), count = got.size[2];
    const attn_tensor x = sequence_of(p->x, b), encoded = encoded_of(p, b);
    attn_block_inputs inputs = inputs_of(&encoded);
    inputs.self_params = &p->params;
    inputs.cache = p->alone[b];
    const attn_tensor want = run_block(p->context, p->block, tokens_of(x, before, count), BHTD, &inputs);
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
        const attn_tensor out = run_block(context, block, x, BHTD, &inputs);
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
    attn_cache *cache = new_cache(context, &c.self, B, T);
    const attn_tensor x = new_normal(BHTD, B, 1, T, M);
    attn_block_inputs inputs = inputs_of(NULL);
    inputs.counts = counts;
    for (int i = 0; i < 2; i++, inputs.cache = cache) {
        const attn_tensor out = run_block(context, block, x, BHTD, &inputs);
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
    attn_cache *cache = new_cache(context, &c.self, B, CAPACITY);
    const attn_tensor x = new_normal(BHTD, B, 1, T, M), out = new_tensor(BHTD, B, 1, T, M);
    attn_block_inputs inputs = inputs_of(NULL);
    inputs.cache = cache;
    inputs.counts = counts;
    (void)run_block(context, block, x, BHTD, &inputs);
    counts[0] = counts[1] = 2;
    assert_status(context, attn_block_forward(context, block, &x, &out, &inputs), ATTN_ERROR_FULL);
    assert_mentions(attn_context_last_error(context), "sequence 1");
    assert_untouched(out);
    assert_int_equal(attn_cache_length(cache, 0), 4);
    assert_int_equal(attn_cache_length(cache, 1), 5);
    counts[1] = 1;
    (void)run_block(context, block, x, BHTD, &inputs);
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

/* lse and probabilities of both attentions. */
static void extra_outputs(void **state) {
    (void)state;
    enum { M = 16, H = 2, B = 2, T = 5, Te = 9 };
    attn_context *context = new_context_of(1, 0);
    struct block_case c;
    attn_sdpa_params self, cross;
    seed(5);
    init_block(&c, M, H, 1, HAS_CROSS);
    fill_block(&c, true);
    const attn_tensor x = new_normal(BHTD, B, 1, T, M), encoded = new_normal(BHTD, B, 1, Te, M);
    const attn_tensor self_p = new_tensor(BHTD, B, H, T, T), cross_p = new_tensor(BHTD, B, H, T, Te);
    ATTN_INIT(&self);
    ATTN_INIT(&cross);
    self.weights = &self_p;
    self.lse = new_floats((size_t)B * H * T);
    cross.weights = &cross_p;
    cross.lse = new_floats((size_t)B * H * T);
    attn_block_inputs inputs = inputs_of(&encoded);
    inputs.self_params = &self;
    inputs.cross_params = &cross;
    attn_block *block = new_block(context, &c);
    (void)run_block(context, block, x, BHTD, &inputs);
    const answer want = reference_mha(&c.self, x, x, x, &self);
    assert_near(self_p, want.probabilities, promised(2));
    assert_rows_sum_to_one(self_p, self.lse);
    assert_rows_sum_to_one(cross_p, cross.lse);
    attn_block_destroy(block);
}

static void any_number_of_threads(void **state) {
    (void)state;
    static const size_t threads[] = {1, 2, 3, 7};
    attn_tensor want = {0};
    seed(6);
    struct block_case c;
    init_block(&c, 96, 4, 300, WHOLE);
    set_residual_form(&c, RESIDUAL_FORMS - 1);
    fill_block(&c, true);
    const attn_tensor x = new_normal(BHTD, 2, 1, 210, 96), encoded = new_normal(BHTD, 2, 1, 50, 96);
    const attn_block_inputs inputs = inputs_of(&encoded);
    parallel_calls = 0;
    for (size_t i = 0; i < COUNT(threads); i++) {
        attn_context *context = new_context_on(run_on_pthreads, &threads[i]);
        attn_block *block = new_block(context, &c);
        const attn_tensor got = run_block(context, block, x, BHTD, &inputs);
        if (i > 0)
            assert_bits(got, want);
        else
            want = got;
        attn_block_destroy(block);
    }
    assert_true(parallel_calls > 0);
}

/* A token with NaN spoils the tokens that see it, and no other sequence. */
static void bad_numbers_stay_in_their_sequence(void **state) {
    (void)state;
    enum { M = 24, B = 3, T = 9 };
    attn_context *context = new_context_of(2, 0);
    struct block_case c;
    attn_sdpa_params causal;
    ATTN_INIT(&causal);
    causal.causal = ATTN_CAUSAL_TOP_LEFT;
    seed(7);
    init_block(&c, M, 3, 40, HAS_FEED | HAS_NORMS);
    fill_block(&c, true);
    const attn_tensor x = new_normal(BHTD, B, 1, T, M);
    attn_block_inputs inputs = inputs_of(NULL);
    inputs.self_params = &causal;
    attn_block *block = new_block(context, &c);
    const attn_tensor want = run_block(context, block, x, BHTD, &inputs);
    *element_at(x, 1, 0, 4, 2) = NAN;
    const attn_tensor got = run_block(context, block, x, BHTD, &inputs);
    for (size_t b = 0; b < B; b++)
        for (size_t t = 0; t < T; t++)
            for (size_t m = 0; m < M; m++) {
                const float is = *element_at(got, b, 0, t, m), was = *element_at(want, b, 0, t, m);
                assert_true(b == 1 && t >= 4 ? isnan(is) : is == was);
            }
    attn_block_destroy(block);
}

/* After reserve nothing is allocated; what was asked for is what a decoder with full caches needs. */
static void reserve_then_no_allocation(void **state) {
    (void)state;
    enum { M = 48, B = 2, T = 65, Te = 30 };
    struct meter m = {0};
    struct block_case c;
    size_t bytes = 0;
    seed(8);
    init_block(&c, M, 4, 100, WHOLE);
    set_residual_form(&c, RESIDUAL_FORMS - 1);
    fill_block(&c, true);
    attn_context *context = new_metered(&m, 2);
    attn_block *block = new_block(context, &c);
    attn_cache *cache = new_cache(context, &c.self, B, 3 * T);
    const attn_tensor x = new_normal(PADDED, B, 1, T, M), encoded = new_normal(REVERSED, B, 1, Te, M);
    attn_tensor out = new_tensor(PADDED, B, 1, T, M), empty = out;
    attn_block_inputs inputs = inputs_of(&encoded);
    inputs.cache = cache;
    empty.data = NULL;
    assert_ok(context, attn_block_scratch_size(context, block, &empty, &empty, &inputs, &bytes));
    assert_ok(context, attn_context_reserve(context, bytes));
    const size_t calls = m.calls;
    for (int i = 0; i < 3; i++)
        assert_ok(context, attn_block_forward(context, block, &x, &out, &inputs));
    assert_int_equal(m.calls, calls);
    attn_cache_destroy(cache);
    attn_block_destroy(block);
    attn_context_destroy(context);
    assert_int_equal(m.live, 0);
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
        attn_cache *cache = new_cache(context, &c.self, B, 3 * T);
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

/* Creation with an allocator that fails at each of its calls in turn leaves nothing behind. */
static void every_allocation_fails_once(void **state) {
    (void)state;
    struct block_case c;
    seed(9);
    init_block(&c, 16, 2, 20, WHOLE);
    set_residual_form(&c, OUTPUT_NORMS | LAYER_SCALES);
    fill_block(&c, true);
    for (size_t n = 3;; n++) { /* two make the context */
        struct meter m = {.fail_at = n};
        attn_block *block = (attn_block *)&c;
        attn_context *context = new_metered(&m, 1);
        const attn_status status = attn_block_create(context, &c.block, &block);
        name_case("allocation %zu fails", n);
        if (status != ATTN_OK) {
            assert_status(context, status, ATTN_ERROR_MEMORY);
            assert_null(block);
            assert_ok(context, attn_block_create(context, &c.block, &block));
        }
        attn_block_destroy(block);
        attn_context_destroy(context);
        assert_int_equal(m.live, 0);
        if (m.calls < n) {
            assert_true(n > 20); /* the block, two layers, three linear maps, six norms, three scales */
            break;
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(random_blocks),
                                       TEST(many_rows),
                                       TEST(residual_forms),
                                       TEST(in_place),
                                       TEST(decoder),
                                       TEST(layers_on_caches),
                                       TEST(layer_on_encoded),
                                       TEST(shared_cache),
                                       TEST(faults_of_attend),
                                       TEST(ragged),
                                       TEST(half_precision),
                                       TEST(bytes_are_finite),
                                       TEST(uneven_cache),
                                       TEST(padded),
                                       TEST(beyond_counts),
                                       TEST(full),
                                       TEST(prompts_of_different_lengths),
                                       TEST(extra_outputs),
                                       TEST(any_number_of_threads),
                                       TEST(bad_numbers_stay_in_their_sequence),
                                       TEST(reserve_then_no_allocation),
                                       TEST(reserve_for_batches),
                                       TEST(every_allocation_fails_once)};
    return cmocka_run_group_tests_name("block", tests, NULL, NULL);
}
