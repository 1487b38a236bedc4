/* SPDX-License-Identifier: BSD-3-Clause */
/* Blocks against the double reference, decoders against the whole sequence in one go. */
#include <math.h>

#include "support/block_case.h"
#include "support/meter.h"
#include "support/pools.h"

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
    const attn_tensor out = forward_block(context, block, x, (enum layout)random_below(OUTPUT_LAYOUTS), &inputs);
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
        assert_near(forward_block(context, block, x, BHTD, NULL), reference_block(&c, x, NULL, NULL, NULL), of_block());
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
        const attn_tensor out = forward_block(context, block, x, BHTD, &inputs);
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
            const attn_tensor want = forward_block(context, block, x, BHTD, &inputs);
            name_case("in place, residual form %u, layout %d", form, (int)layout);
            assert_ok(context, attn_block_forward(context, block, &x, &x, &inputs));
            assert_bits(x, want);
            assert_gaps_untouched(x);
            attn_block_destroy(block);
            end_case();
        }
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
    attn_cache *cache = new_layer_cache(context, &c.self, B, T),
               *encoded_cache = new_layer_cache(context, &c.cross, B, Te + 3);
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
    attn_cache *cache = new_layer_cache(context, &c.self, B, T);
    const attn_tensor x = new_normal(BHTD, B, 1, T, M);
    attn_block_inputs inputs = inputs_of(NULL);
    inputs.self_params = &causal;
    inputs.cache = cache;
    const attn_tensor want = forward_block(context, block, x, BHTD, &inputs);
    inputs.shared_cache = cache;
    assert_status(context, attn_block_forward(context, block, &x, &x, &inputs), ATTN_ERROR_VALUE);
    assert_mentions(attn_context_last_error(context), "shared_cache");
    inputs.cache = NULL;
    assert_ok(context, attn_block_scratch_size(context, block, &x, &x, &inputs, &bytes));
    assert_bits(forward_block(context, block, x, BHTD, &inputs), want);
    assert_int_equal(attn_cache_length(cache, 0), T);
    attn_cache_destroy(cache);
    attn_block_destroy(block);
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
    (void)forward_block(context, block, x, BHTD, &inputs);
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
        const attn_tensor got = forward_block(context, block, x, BHTD, &inputs);
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
    const attn_tensor want = forward_block(context, block, x, BHTD, &inputs);
    *element_at(x, 1, 0, 4, 2) = NAN;
    const attn_tensor got = forward_block(context, block, x, BHTD, &inputs);
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
    attn_cache *cache = new_layer_cache(context, &c.self, B, 3 * T);
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
                                       TEST(shared_cache),
                                       TEST(half_precision),
                                       TEST(bytes_are_finite),
                                       TEST(extra_outputs),
                                       TEST(any_number_of_threads),
                                       TEST(bad_numbers_stay_in_their_sequence),
                                       TEST(reserve_then_no_allocation),
                                       TEST(every_allocation_fails_once)};
    return cmocka_run_group_tests_name("block", tests, NULL, NULL);
}
