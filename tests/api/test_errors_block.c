/* SPDX-License-Identifier: BSD-3-Clause */
/* Every way to make and to call a block wrongly. */
#include <math.h>
#include <string.h>

#include "support/block_case.h"
#include "support/fault.h"

enum { B = 2, T = 3, Te = 5, M = 12, H = 2, F = 20, KEY = 10, CAPACITY = 8 };

typedef struct call {
    attn_context *context;
    struct block_case parts;
    WITH_TAIL(attn_block_params) block_params;
    attn_block *block;
    attn_tensor x, out, encoded, self_probabilities, cross_probabilities;
    attn_sdpa_params self_params, cross_params;
    attn_cache *cache, *encoded_cache;
    WITH_TAIL(attn_block_inputs) inputs;
    attn_tensor bias;
    int64_t counts[3];
    const attn_tensor *x_argument, *out_argument;
} call;

#define BLOCK c->block_params.known
#define INPUTS c->inputs.known

#define CREATE_FAULTS(X)                                                                                               \
    X(not_initialised, ATTN_ERROR_STRUCT, "struct_size", BLOCK.struct_size = 0)                                        \
    X(unknown_option, ATTN_ERROR_STRUCT, "struct_size", BLOCK.struct_size = sizeof c->block_params;                    \
      c->block_params.tail[3] = 1)                                                                                     \
    X(norm_place, ATTN_ERROR_VALUE, "norm_place", BLOCK.norm_place = (attn_norm_place)2)                               \
    X(no_self, ATTN_ERROR_NULL, "self_attention", BLOCK.self_attention = NULL)                                         \
    X(bad_self, ATTN_ERROR_SHAPE, "self_attention", c->parts.self.heads = 5)                                           \
    X(bad_self_field, ATTN_ERROR_SHAPE, "heads", c->parts.self.heads = 5)                                              \
    X(wide_self_key, ATTN_ERROR_SHAPE, "key_input_width", c->parts.self = c->parts.cross)                              \
    X(bad_cross, ATTN_ERROR_NULL, "cross_attention", c->parts.cross.q_weight = NULL)                                   \
    X(cross_width, ATTN_ERROR_SHAPE, "cross_attention", c->parts.cross.model_width = M - 2)                            \
    X(cross_inputs, ATTN_ERROR_SHAPE, "value_input_width", c->parts.cross.value_input_width = KEY - 1)                 \
    X(cross_norm_alone, ATTN_ERROR_VALUE, "cross_norm", BLOCK.cross_attention = NULL)                                  \
    X(feed_norm_alone, ATTN_ERROR_VALUE, "feed_norm", BLOCK.feed = NULL)                                               \
    X(cross_output_norm_alone, ATTN_ERROR_VALUE, "cross_output_norm", BLOCK.cross_attention = NULL;                    \
      BLOCK.cross_norm = NULL; BLOCK.cross_output_norm = &c->parts.feed_norm)                                          \
    X(feed_scale_alone, ATTN_ERROR_VALUE, "feed_layer_scale", BLOCK.feed = NULL; BLOCK.feed_norm = NULL;               \
      BLOCK.feed_layer_scale = c->parts.feed.up_bias)                                                                  \
    X(output_norm_kind, ATTN_ERROR_VALUE, "params.self_output_norm.kind",                                              \
      BLOCK.self_output_norm = &c->parts.self_output_norm;                                                             \
      c->parts.self_output_norm.kind = (attn_norm_kind)3)                                                              \
    X(parallel_post, ATTN_ERROR_VALUE, "parallel", BLOCK.norm_place = ATTN_POST_NORM; BLOCK.parallel = 1)              \
    X(factor_inf, ATTN_ERROR_VALUE, "residual_factor", BLOCK.residual_factor = INFINITY)                               \
    X(factor_nan, ATTN_ERROR_VALUE, "residual_factor", BLOCK.residual_factor = NAN)                                    \
    X(norm_struct, ATTN_ERROR_STRUCT, "self_norm", c->parts.self_norm.struct_size = 1)                                 \
    X(norm_kind, ATTN_ERROR_VALUE, "kind", c->parts.cross_norm.kind = (attn_norm_kind)3)                               \
    X(norm_eps, ATTN_ERROR_VALUE, "eps", c->parts.feed_norm.eps = -1e-5F)                                              \
    X(norm_eps_nan, ATTN_ERROR_VALUE, "eps", c->parts.feed_norm.eps = NAN)                                             \
    X(feed_struct, ATTN_ERROR_STRUCT, "feed", c->parts.feed.struct_size = 1)                                           \
    X(no_hidden, ATTN_ERROR_SHAPE, "hidden_width", c->parts.feed.hidden_width = 0)                                     \
    X(huge_hidden, ATTN_ERROR_OVERFLOW, "hidden_width", c->parts.feed.hidden_width = SIZE_MAX / 2)                     \
    X(activation, ATTN_ERROR_VALUE, "activation", c->parts.feed.activation = (attn_activation)(ATTN_SIGMOID + 1))      \
    X(activation_limit, ATTN_ERROR_VALUE, "limit", c->parts.feed.activation_params = &c->parts.activation;             \
      c->parts.activation.limit = -1)                                                                                  \
    X(hidden_norm, ATTN_ERROR_VALUE, "params.feed.hidden_norm.kind",                                                   \
      c->parts.feed.hidden_norm = &c->parts.hidden_norm;                                                               \
      c->parts.hidden_norm.kind = (attn_norm_kind)9)                                                                   \
    X(ungated_offset, ATTN_ERROR_VALUE, "up_offset", c->parts.feed.activation_params = &c->parts.activation;           \
      c->parts.activation.up_offset = 1; c->parts.feed.gate_weight = c->parts.feed.gate_bias = NULL)                   \
    X(norm_output, ATTN_ERROR_VALUE, "params.self_norm.mean", c->parts.self_norm.mean = (float *)(void *)c)            \
    X(feed_order, ATTN_ERROR_VALUE, "order", c->parts.feed.order = (attn_weight_order)2)                               \
    X(no_up, ATTN_ERROR_NULL, "up_weight", c->parts.feed.up_weight = NULL)                                             \
    X(no_down, ATTN_ERROR_NULL, "down_weight", c->parts.feed.down_weight = NULL)                                       \
    X(gate_bias_alone, ATTN_ERROR_VALUE, "gate_bias", c->parts.feed.gate_weight = NULL)                                \
    X(feed_bools, ATTN_ERROR_DTYPE, "params.feed.weight_dtype", c->parts.feed.weight_dtype = ATTN_BOOL)                \
    X(feed_unknown, ATTN_ERROR_DTYPE, "weight_dtype", c->parts.feed.weight_dtype = (attn_dtype)-1)                     \
    X(self_unknown, ATTN_ERROR_DTYPE, "self_attention", c->parts.self.weight_dtype = (attn_dtype)99)                   \
    X(f32_with_scale, ATTN_ERROR_VALUE, "up_scale", c->parts.feed.up_scale = c->parts.feed.up_bias)                    \
    X(no_up_scale, ATTN_ERROR_NULL, "up_scale", use_int8(c); c->parts.feed.up_scale = NULL)                            \
    X(no_gate_scale, ATTN_ERROR_NULL, "gate_scale", use_int8(c); c->parts.feed.gate_scale = NULL)                      \
    X(no_down_scale, ATTN_ERROR_NULL, "down_scale", use_int8(c); c->parts.feed.down_scale = NULL)                      \
    X(gate_scale_alone, ATTN_ERROR_VALUE, "gate_scale", use_int8(c);                                                   \
      c->parts.feed.gate_weight = c->parts.feed.gate_bias = NULL)                                                      \
    X(nan_scale, ATTN_ERROR_VALUE, "down_scale[3]", use_int8(c);                                                       \
      ((float *)(uintptr_t)c->parts.feed.down_scale)[3] = NAN)                                                         \
    X(cross_scale, ATTN_ERROR_VALUE, "cross_attention", c->parts.cross.out_scale = c->parts.cross.out_bias)

#define FORWARD_FAULTS(X)                                                                                              \
    X(block_null, ATTN_ERROR_NULL, "block", c->block = NULL)                                                           \
    X(x_null, ATTN_ERROR_NULL, "x", c->x_argument = NULL)                                                              \
    X(out_null, ATTN_ERROR_NULL, "out", c->out_argument = NULL)                                                        \
    X(inputs_struct, ATTN_ERROR_STRUCT, "inputs", INPUTS.struct_size = 2)                                              \
    X(inputs_tail, ATTN_ERROR_STRUCT, "inputs", INPUTS.struct_size = sizeof c->inputs; c->inputs.tail[0] = 1)          \
    X(x_width, ATTN_ERROR_SHAPE, "x", c->x.size[3] = M - 1)                                                            \
    X(x_heads, ATTN_ERROR_SHAPE, "x", c->x.size[1] = 0)                                                                \
    X(x_stride, ATTN_ERROR_STRIDE, "x", c->x.stride[3] = 2)                                                            \
    X(x_dtype, ATTN_ERROR_DTYPE, "x", c->x.dtype = (attn_dtype)77)                                                     \
    X(out_dtype, ATTN_ERROR_DTYPE, "out", c->out.dtype = (attn_dtype)77)                                               \
    X(out_tokens, ATTN_ERROR_SHAPE, "out", c->out.size[2] = T - 1)                                                     \
    X(out_batch, ATTN_ERROR_SHAPE, "out", c->out.size[0] = B - 1)                                                      \
    X(out_width, ATTN_ERROR_SHAPE, "out", c->out.size[3] = M - 1)                                                      \
    X(out_rows_overlap, ATTN_ERROR_STRIDE, "out", c->out.stride[2] = M - 1)                                            \
    X(self_struct, ATTN_ERROR_STRUCT, "self_params", c->self_params.struct_size = 3)                                   \
    X(self_scale, ATTN_ERROR_VALUE, "self_params", c->self_params.scale = NAN)                                         \
    X(cross_causal, ATTN_ERROR_VALUE, "cross_params", c->cross_params.causal = (attn_causal)9)                         \
    X(self_probabilities, ATTN_ERROR_SHAPE, "self_params", c->self_probabilities.size[3] = T - 1)                      \
    X(no_encoded, ATTN_ERROR_NULL, "encoded", INPUTS.encoded = NULL)                                                   \
    X(encoded_twice, ATTN_ERROR_VALUE, "encoded_cache", INPUTS.encoded_cache = c->encoded_cache)                       \
    X(encoded_width, ATTN_ERROR_SHAPE, "inputs.encoded.size[3]", c->encoded.size[3] = KEY - 1)                         \
    X(encoded_batch, ATTN_ERROR_SHAPE, "encoded", c->encoded.size[0] = 1)                                              \
    X(encoded_heads, ATTN_ERROR_SHAPE, "encoded", c->encoded.size[1] = 0)                                              \
    X(same_cache, ATTN_ERROR_VALUE, "encoded_cache", INPUTS.encoded = NULL; INPUTS.cache = c->cache;                   \
      INPUTS.encoded_cache = c->cache; c->self_params.weights = NULL)                                                  \
    X(wrong_cache, ATTN_ERROR_SHAPE, "kv_heads", INPUTS.cache = c->encoded_cache)                                      \
    X(wrong_encoded_cache, ATTN_ERROR_SHAPE, "kv_heads", INPUTS.encoded = NULL; INPUTS.encoded_cache = c->cache)       \
    X(counts_negative, ATTN_ERROR_VALUE, "inputs.counts[1]", INPUTS.counts = c->counts; c->counts[1] = -1)             \
    X(counts_above, ATTN_ERROR_VALUE, "inputs.counts[0]", INPUTS.counts = c->counts; c->counts[0] = T + 1)             \
    X(sequences_alone, ATTN_ERROR_NULL, "inputs.starts", INPUTS.sequences = 2)                                         \
    X(starts_alone, ATTN_ERROR_VALUE, "inputs.sequences is 0", INPUTS.starts = c->counts)                              \
    X(ragged_x, ATTN_ERROR_SHAPE, "x", INPUTS.sequences = 2; INPUTS.starts = c->counts)                                \
    X(self_query_lengths, ATTN_ERROR_VALUE, "query_lengths", c->self_params.query_lengths = c->counts)                 \
    X(cross_query_lengths, ATTN_ERROR_VALUE, "cross_params", c->cross_params.query_lengths = c->counts)                \
    X(self_query_starts, ATTN_ERROR_VALUE, "inputs.starts", c->self_params.query_starts = c->counts)                   \
    X(cross_sequences, ATTN_ERROR_VALUE, "inputs.sequences", c->cross_params.sequences = 1)                            \
    X(self_key_starts, ATTN_ERROR_VALUE, "key_starts", c->self_params.key_starts = c->counts)                          \
    X(cross_key_starts, ATTN_ERROR_VALUE, "key_starts", c->cross_params.key_starts = c->counts)                        \
    X(two_lengths, ATTN_ERROR_VALUE, "key_lengths", INPUTS.counts = c->self_params.key_lengths = c->counts)            \
    X(cached_lengths, ATTN_ERROR_VALUE, "key_lengths", INPUTS.cache = c->cache; c->self_params.weights = NULL;         \
      c->self_params.key_lengths = c->counts)                                                                          \
    X(huge_batch, ATTN_ERROR_OVERFLOW, "x", c->x.size[0] = c->out.size[0] = c->encoded.size[0] = SIZE_MAX / 2)

#define FORWARD_DATA_FAULTS(X)                                                                                         \
    X(x_data_null, ATTN_ERROR_NULL, "x", c->x.data = NULL)                                                             \
    X(out_data_null, ATTN_ERROR_NULL, "out", c->out.data = NULL)                                                       \
    X(encoded_data_null, ATTN_ERROR_NULL, "inputs.encoded.data", c->encoded.data = NULL)                               \
    X(offset_missing, ATTN_ERROR_NULL, "causal_offset", c->self_params.causal = ATTN_CAUSAL_OFFSET)                    \
    X(out_is_counts, ATTN_ERROR_ALIAS, "out overlaps inputs.counts", INPUTS.counts = c->counts;                        \
      c->out.data = c->counts)                                                                                         \
    X(lse_is_counts, ATTN_ERROR_ALIAS, "self_params: params.lse overlaps inputs.counts", INPUTS.counts = c->counts;    \
      c->self_params.lse = (float *)(void *)&c->counts[1])                                                             \
    X(cross_lse_is_counts, ATTN_ERROR_ALIAS, "inputs.counts", INPUTS.counts = c->counts;                               \
      c->cross_params.lse = (float *)(void *)&c->counts[1])                                                            \
    X(out_is_starts, ATTN_ERROR_ALIAS, "out overlaps inputs.starts", use_starts(c); c->out.data = c->counts)           \
    X(encoded_shorter, ATTN_ERROR_SHAPE, "inputs.starts[1] is 4", use_starts(c); c->counts[1] = 4;                     \
      c->x.size[2] = c->out.size[2] = 4; c->encoded.size[2] = 3)                                                       \
    X(out_half_x, ATTN_ERROR_ALIAS, "out", c->out.data = (float *)c->x.data + M)                                       \
    X(out_in_encoded, ATTN_ERROR_ALIAS, "out overlaps inputs.encoded", c->out.data = (float *)c->encoded.data + 1)     \
    X(lse_in_x, ATTN_ERROR_ALIAS, "lse", c->self_params.lse = (float *)c->x.data + 1)                                  \
    X(lse_in_shared_x, ATTN_ERROR_ALIAS, "lse", c->out.data = c->x.data; c->cross_params.lse = (float *)c->x.data + 1) \
    X(two_lse, ATTN_ERROR_ALIAS, "self_params and cross_params: params.lse overlaps",                                  \
      c->cross_params.lse = c->self_params.lse)                                                                        \
    X(lse_in_probabilities, ATTN_ERROR_ALIAS, "lse", c->cross_params.lse = c->self_probabilities.data)                 \
    X(probabilities_in_encoded, ATTN_ERROR_ALIAS, "weights", c->cross_probabilities.data = c->encoded.data)            \
    X(lse_in_other_bias, ATTN_ERROR_ALIAS, "params.lse overlaps params.bias", use_bias(c);                             \
      c->self_params.lse = (float *)c->bias.data + 1)                                                                  \
    X(full_cache, ATTN_ERROR_FULL, "cache", INPUTS.cache = c->cache; c->self_params.weights = NULL; fill_cache(c))

static void fill_cache(call *c);

/* Gives the cross-attention a bias, which is right too. */
static void use_bias(call *c) {
    c->bias = new_normal(BHTD, B, H, T, Te);
    c->cross_params.bias = &c->bias;
}

/* Makes it a ragged batch of one sequence of 2 tokens. */
static void use_starts(call *c) {
    INPUTS.starts = c->counts;
    INPUTS.sequences = 1;
    c->counts[1] = 2;
    c->x.size[0] = c->out.size[0] = c->encoded.size[0] = 1;
    c->self_params.weights = c->cross_params.weights = NULL;
}

/* Makes the matrices of the feed-forward int8, which is right too. */
static void use_int8(call *c) {
    attn_feed_params *p = &c->parts.feed;
    p->weight_dtype = ATTN_INT8;
    p->up_weight = new_weights(ATTN_INT8, F, M, &p->up_scale);
    p->gate_weight = new_weights(ATTN_INT8, F, M, &p->gate_scale);
    p->down_weight = new_weights(ATTN_INT8, M, F, &p->down_scale);
}

DEFINE_FAULTS(create_faults, CREATE_FAULTS);
DEFINE_FAULTS(forward_faults, FORWARD_FAULTS);
DEFINE_FAULTS(forward_data_faults, FORWARD_DATA_FAULTS);

static const attn_block_params *make_valid_block(call *c) {
    memset(c, 0, sizeof *c);
    init_block(&c->parts, M, H, F, WHOLE);
    c->parts.cross.kv_heads = 1;
    c->parts.cross.key_input_width = c->parts.cross.value_input_width = KEY;
    fill_block(&c->parts, true);
    c->block_params.known = c->parts.block;
    return &c->block_params.known;
}

static attn_cache *new_cache(attn_context *context, size_t heads) {
    attn_cache_params p;
    attn_cache *cache = NULL;
    ATTN_INIT(&p);
    p.batch = B;
    p.kv_heads = heads;
    p.head_width = M / H;
    p.capacity = CAPACITY;
    assert_ok(context, attn_cache_create(context, &p, &cache));
    return cache;
}

static void fill_cache(call *c) {
    const attn_tensor k = new_normal(BHTD, B, H, CAPACITY - T + 1, M / H);
    assert_ok(c->context, attn_cache_append(c->context, c->cache, &k, &k, NULL));
}

static void make_valid_call(attn_context *context, attn_block *block, attn_cache *const caches[2], call *c) {
    memset(c, 0, sizeof *c);
    c->context = context;
    c->block = block;
    c->cache = caches[0];
    c->encoded_cache = caches[1];
    c->x = new_normal(BHTD, B, 1, T, M);
    c->encoded = new_normal(BHTD, B, 1, Te, KEY);
    c->out = new_tensor(BHTD, B, 1, T, M);
    c->self_probabilities = new_tensor(BHTD, B, H, T, T);
    c->cross_probabilities = new_tensor(BHTD, B, H, T, Te);
    ATTN_INIT(&c->self_params);
    ATTN_INIT(&c->cross_params);
    ATTN_INIT(&INPUTS);
    c->self_params.lse = new_floats((size_t)B * H * T);
    c->cross_params.lse = new_floats((size_t)B * H * T);
    c->self_params.weights = &c->self_probabilities;
    c->cross_params.weights = &c->cross_probabilities;
    INPUTS.self_params = &c->self_params;
    INPUTS.cross_params = &c->cross_params;
    INPUTS.encoded = &c->encoded;
    c->x_argument = &c->x;
    c->out_argument = &c->out;
}

static attn_status run(const call *c) {
    return attn_block_forward(c->context, c->block, c->x_argument, c->out_argument, &INPUTS);
}

static attn_status ask_size(const call *c, size_t *bytes) {
    return attn_block_scratch_size(c->context, c->block, c->x_argument, c->out_argument, &INPUTS, bytes);
}

static void every_fault_of_create(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    for (size_t i = 0; i < COUNT(create_faults); i++) {
        call c;
        attn_block *block = (attn_block *)&c;
        const attn_block_params *params = make_valid_block(&c);
        create_faults[i].spoil(&c);
        name_case("create: %s", create_faults[i].name);
        assert_status(context, attn_block_create(context, params, &block), create_faults[i].status);
        assert_mentions(attn_context_last_error(context), create_faults[i].field);
        assert_null(block);
        end_case();
    }
}

static void missing_arguments(void **state) {
    (void)state;
    call c;
    attn_context *context = new_context_of(1, 0);
    attn_block *block = (attn_block *)&c;
    const attn_block_params *params = make_valid_block(&c);
    assert_int_equal(attn_block_create(NULL, params, &block), ATTN_ERROR_NULL);
    assert_null(block);
    assert_status(context, attn_block_create(context, NULL, &block), ATTN_ERROR_NULL);
    assert_mentions(attn_context_last_error(context), "params");
    assert_status(context, attn_block_create(context, params, NULL), ATTN_ERROR_NULL);
    assert_mentions(attn_context_last_error(context), "block");
    attn_block_destroy(NULL);
}

static void assert_no_output(const call *valid) {
    assert_untouched(valid->out);
    assert_untouched(valid->self_probabilities);
    assert_untouched(valid->cross_probabilities);
    assert_untouched(attn_tensor_bhtd(valid->self_params.lse, ATTN_F32, B, H, T, 1));
    assert_untouched(attn_tensor_bhtd(valid->cross_params.lse, ATTN_F32, B, H, T, 1));
}

static void check_forward_fault(attn_context *context, attn_block *block, void (*spoil)(call *c), attn_status status,
                                const char *field, bool in_size_too) {
    call c;
    size_t bytes = 4321;
    attn_cache *const caches[2] = {new_cache(context, H), new_cache(context, 1)};
    make_valid_call(context, block, caches, &c);
    const call valid = c;
    const attn_tensor x = new_copy(c.x), encoded = new_copy(c.encoded);
    spoil(&c);
    const size_t length = attn_cache_length(c.cache, 0);
    assert_status(context, run(&c), status);
    assert_mentions(attn_context_last_error(context), field);
    assert_no_output(&valid);
    assert_bits(valid.x, x);
    assert_bits(valid.encoded, encoded);
    assert_int_equal(attn_cache_length(c.cache, 0), length);
    if (in_size_too) {
        assert_status(context, ask_size(&c, &bytes), status);
        assert_mentions(attn_context_last_error(context), field);
        assert_int_equal(bytes, 4321);
    }
    attn_cache_destroy(caches[0]);
    attn_cache_destroy(caches[1]);
    end_case();
}

static void every_fault_of_forward(void **state) {
    (void)state;
    call c;
    attn_context *context = new_context_of(2, 0);
    make_valid_block(&c);
    attn_block *block = new_block(context, &c.parts);
    for (size_t i = 0; i < COUNT(forward_faults); i++) {
        name_case("forward: %s", forward_faults[i].name);
        check_forward_fault(context, block, forward_faults[i].spoil, forward_faults[i].status, forward_faults[i].field,
                            true);
    }
    for (size_t i = 0; i < COUNT(forward_data_faults); i++) {
        name_case("forward: %s", forward_data_faults[i].name);
        check_forward_fault(context, block, forward_data_faults[i].spoil, forward_data_faults[i].status,
                            forward_data_faults[i].field, false);
    }
    attn_block_destroy(block);
}

static void no_fault(void **state) {
    (void)state;
    call c;
    size_t bytes = 4321;
    attn_context *context = new_context_of(1, 0);
    make_valid_block(&c);
    attn_block *block = new_block(context, &c.parts);
    attn_cache *const caches[2] = {new_cache(context, H), new_cache(context, 1)};
    make_valid_call(context, block, caches, &c);
    assert_ok(context, run(&c));
    c.self_params.weights = NULL;
    c.inputs.known.cache = c.cache;
    assert_ok(context, attn_block_encode(context, block, &c.encoded, c.encoded_cache, NULL));
    c.inputs.known.encoded = NULL;
    c.inputs.known.encoded_cache = c.encoded_cache;
    assert_ok(context, run(&c));
    assert_status(context, ask_size(&c, NULL), ATTN_ERROR_NULL);
    assert_mentions(attn_context_last_error(context), "bytes");
    c.context = NULL;
    assert_int_equal(run(&c), ATTN_ERROR_NULL);
    assert_int_equal(ask_size(&c, &bytes), ATTN_ERROR_NULL);
    assert_int_equal(attn_block_encode(NULL, block, &c.encoded, c.encoded_cache, NULL), ATTN_ERROR_NULL);
    c.context = context;
    c.x.data = c.out.data = NULL;
    assert_ok(context, ask_size(&c, &bytes));
    attn_block_destroy(block);
    attn_cache_destroy(caches[0]);
    attn_cache_destroy(caches[1]);
}

static void faults_of_encode(void **state) {
    (void)state;
    struct block_case parts;
    call c;
    attn_context *context = new_context_of(1, 0);
    make_valid_block(&c);
    attn_block *block = new_block(context, &c.parts);
    attn_cache *const caches[2] = {new_cache(context, H), new_cache(context, 1)};
    attn_tensor encoded = new_normal(BHTD, B, 1, Te, KEY);
    assert_status(context, attn_block_encode(context, block, &encoded, caches[0], NULL), ATTN_ERROR_SHAPE);
    assert_mentions(attn_context_last_error(context), "kv_heads");
    assert_status(context, attn_block_encode(context, block, &encoded, NULL, NULL), ATTN_ERROR_NULL);
    assert_status(context, attn_block_encode(context, block, NULL, caches[1], NULL), ATTN_ERROR_NULL);
    assert_status(context, attn_block_encode(context, NULL, &encoded, caches[1], NULL), ATTN_ERROR_NULL);
    const int64_t counts[B] = {Te, Te + 1};
    attn_rotary rotary = {0};
    attn_cache_append_params params = {.struct_size = sizeof params, .counts = counts};
    assert_status(context, attn_block_encode(context, block, &encoded, caches[1], &params), ATTN_ERROR_VALUE);
    assert_mentions(attn_context_last_error(context), "counts[1]");
    params.counts = NULL;
    params.rotary = &rotary;
    assert_status(context, attn_block_encode(context, block, &encoded, caches[1], &params), ATTN_ERROR_STRUCT);
    ATTN_INIT(&rotary);
    assert_status(context, attn_block_encode(context, block, &encoded, caches[1], &params), ATTN_ERROR_VALUE);
    assert_mentions(attn_context_last_error(context), "key_positions");
    assert_int_equal(attn_cache_length(caches[1], 0), 0);
    assert_ok(context, attn_block_encode(context, block, &encoded, caches[1], NULL));
    assert_status(context, attn_block_encode(context, block, &encoded, caches[1], NULL), ATTN_ERROR_FULL);
    assert_int_equal(attn_cache_length(caches[1], 0), Te);
    encoded.size[3] = KEY - 1;
    assert_status(context, attn_block_encode(context, block, &encoded, caches[1], NULL), ATTN_ERROR_SHAPE);
    attn_block_destroy(block);
    init_block(&parts, M, H, F, HAS_FEED);
    fill_block(&parts, false);
    block = new_block(context, &parts);
    assert_status(context, attn_block_encode(context, block, &encoded, caches[1], NULL), ATTN_ERROR_VALUE);
    const attn_tensor x = new_normal(BHTD, B, 1, T, M), out = new_tensor(BHTD, B, 1, T, M);
    attn_block_inputs inputs;
    ATTN_INIT(&inputs);
    inputs.encoded = &encoded;
    assert_status(context, attn_block_forward(context, block, &x, &out, &inputs), ATTN_ERROR_VALUE);
    assert_mentions(attn_context_last_error(context), "encoded");
    inputs.encoded = NULL;
    inputs.encoded_cache = caches[1];
    assert_status(context, attn_block_forward(context, block, &x, &out, &inputs), ATTN_ERROR_VALUE);
    assert_mentions(attn_context_last_error(context), "encoded_cache");
    inputs.encoded_cache = NULL;
    inputs.cross_params = &(const attn_sdpa_params){.struct_size = sizeof(attn_sdpa_params)};
    assert_status(context, attn_block_forward(context, block, &x, &out, &inputs), ATTN_ERROR_VALUE);
    assert_mentions(attn_context_last_error(context), "cross_params");
    assert_untouched(out);
    attn_block_destroy(block);
    attn_cache_destroy(caches[0]);
    attn_cache_destroy(caches[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(no_fault), TEST(every_fault_of_create), TEST(missing_arguments),
                                       TEST(every_fault_of_forward), TEST(faults_of_encode)};
    return cmocka_run_group_tests_name("errors_block", tests, NULL, NULL);
}
