/* SPDX-License-Identifier: BSD-3-Clause */
/* Every way to make and to call a layer wrongly. */
#include <math.h>
#include <string.h>

#include "support/fault.h"
#include "support/layer.h"

enum { B = 2, Tq = 3, Tk = 5, M = 12, H = 4, KEY = 10, VALUE = 6 };

typedef struct call {
    attn_context *context;
    WITH_TAIL(attn_mha_params) layer;
    attn_norm_params norm;
    attn_mha *mha;
    attn_tensor query, key, value, out, probabilities;
    attn_sdpa_params params;
    const attn_tensor *query_argument, *out_argument;
} call;

#define CREATE_FAULTS(X)                                                                                               \
    X(not_initialised, ATTN_ERROR_STRUCT, "struct_size", c->layer.known.struct_size = 0)                               \
    X(too_small, ATTN_ERROR_STRUCT, "struct_size", c->layer.known.struct_size -= 1)                                    \
    X(garbage, ATTN_ERROR_STRUCT, "struct_size", c->layer.known.struct_size = SIZE_MAX)                                \
    X(unknown_option, ATTN_ERROR_STRUCT, "struct_size", c->layer.known.struct_size = sizeof c->layer;                  \
      c->layer.tail[0] = 1)                                                                                            \
    X(no_model_width, ATTN_ERROR_SHAPE, "model_width", c->layer.known.model_width = 0)                                 \
    X(no_heads, ATTN_ERROR_SHAPE, "heads", c->layer.known.heads = 0)                                                   \
    X(heads_do_not_divide, ATTN_ERROR_SHAPE, "heads", c->layer.known.heads = 5)                                        \
    X(kv_heads_do_not_divide, ATTN_ERROR_SHAPE, "kv_heads", c->layer.known.kv_heads = 3)                               \
    X(more_kv_heads, ATTN_ERROR_SHAPE, "kv_heads", c->layer.known.kv_heads = 2 * H)                                    \
    X(unknown_order, ATTN_ERROR_VALUE, "order", c->layer.known.order = (attn_weight_order)2)                           \
    X(negative_order, ATTN_ERROR_VALUE, "order", c->layer.known.order = (attn_weight_order)-1)                         \
    X(no_q_weight, ATTN_ERROR_NULL, "q_weight", c->layer.known.q_weight = NULL)                                        \
    X(no_k_weight, ATTN_ERROR_NULL, "k_weight", c->layer.known.k_weight = NULL)                                        \
    X(no_v_weight, ATTN_ERROR_NULL, "v_weight", c->layer.known.v_weight = NULL)                                        \
    X(no_out_weight, ATTN_ERROR_NULL, "out_weight", c->layer.known.out_weight = NULL)                                  \
    X(extra_key_alone, ATTN_ERROR_NULL, "extra_value", c->layer.known.extra_key = c->layer.known.q_bias)               \
    X(extra_value_alone, ATTN_ERROR_NULL, "extra_key", c->layer.known.extra_value = c->layer.known.q_bias)             \
    X(in_bias_alone, ATTN_ERROR_VALUE, "in_bias", c->layer.known.in_bias = c->layer.known.q_bias)                      \
    X(both_kinds, ATTN_ERROR_VALUE, "in_weight", c->layer.known.in_weight = c->layer.known.q_weight)                   \
    X(in_weight_and_v_bias, ATTN_ERROR_VALUE, "in_weight", use_in_weight(c);                                           \
      c->layer.known.v_bias = c->layer.known.out_bias)                                                                 \
    X(in_weight_and_k_weight, ATTN_ERROR_VALUE, "in_weight", use_in_weight(c);                                         \
      c->layer.known.k_weight = c->layer.known.out_weight)                                                             \
    X(in_weight_and_v_weight, ATTN_ERROR_VALUE, "in_weight", use_in_weight(c);                                         \
      c->layer.known.v_weight = c->layer.known.out_weight)                                                             \
    X(in_weight_and_q_bias, ATTN_ERROR_VALUE, "in_weight", use_in_weight(c);                                           \
      c->layer.known.q_bias = c->layer.known.out_bias)                                                                 \
    X(in_weight_and_k_bias, ATTN_ERROR_VALUE, "in_weight", use_in_weight(c);                                           \
      c->layer.known.k_bias = c->layer.known.out_bias)                                                                 \
    X(in_weight_and_key_width, ATTN_ERROR_SHAPE, "key_input_width", use_in_weight(c);                                  \
      c->layer.known.key_input_width = KEY)                                                                            \
    X(in_weight_and_value_width, ATTN_ERROR_SHAPE, "value_input_width", use_in_weight(c);                              \
      c->layer.known.value_input_width = VALUE)                                                                        \
    X(unknown_qkv_order, ATTN_ERROR_VALUE, "qkv_order", c->layer.known.qkv_order = (attn_qkv_order)2)                  \
    X(qkv_order_of_three, ATTN_ERROR_VALUE, "qkv_order", c->layer.known.qkv_order = ATTN_QKV_BY_GROUP)                 \
    X(negative_clip, ATTN_ERROR_VALUE, "clip", c->layer.known.clip = -1)                                               \
    X(nan_clip, ATTN_ERROR_VALUE, "clip", c->layer.known.clip = NAN)                                                   \
    X(infinite_clip, ATTN_ERROR_VALUE, "clip", c->layer.known.clip = INFINITY)                                         \
    X(gate_bias_alone, ATTN_ERROR_VALUE, "gate_bias", c->layer.known.gate_bias = c->layer.known.q_bias)                \
    X(gate_scale_alone, ATTN_ERROR_VALUE, "gate_scale", c->layer.known.gate_scale = c->layer.known.q_bias)             \
    X(per_head_alone, ATTN_ERROR_VALUE, "gate_per_head", c->layer.known.gate_per_head = 1)                             \
    X(two_gates, ATTN_ERROR_VALUE, "gate_weight", c->layer.known.gate_in_q = 1;                                        \
      c->layer.known.gate_weight = c->layer.known.q_weight)                                                            \
    X(gate_in_in_weight, ATTN_ERROR_VALUE, "gate_in_q", use_in_weight(c); c->layer.known.gate_in_q = 1)                \
    X(no_gate_scale, ATTN_ERROR_NULL, "gate_scale", use_int8(c, true);                                                 \
      c->layer.known.gate_weight = c->layer.known.out_weight)                                                          \
    X(f32_with_gate_scale, ATTN_ERROR_VALUE, "gate_scale", c->layer.known.gate_weight = c->layer.known.q_weight;       \
      c->layer.known.gate_scale = c->layer.known.q_bias)                                                               \
    X(gate_in_latent_q, ATTN_ERROR_VALUE, "gate_in_q", use_latents(c); c->layer.known.gate_in_q = 1)                   \
    X(no_q_down, ATTN_ERROR_NULL, "q_down_weight", use_latents(c); c->layer.known.q_down_weight = NULL)                \
    X(no_kv_down, ATTN_ERROR_NULL, "kv_down_weight", use_latents(c); c->layer.known.kv_down_weight = NULL)             \
    X(no_kv_up, ATTN_ERROR_NULL, "kv_up_weight", use_latents(c); c->layer.known.kv_up_weight = NULL)                   \
    X(q_down_alone, ATTN_ERROR_VALUE, "q_latent", use_latents(c); c->layer.known.q_latent = 0)                         \
    X(kv_down_alone, ATTN_ERROR_VALUE, "kv_down_weight", c->layer.known.kv_down_weight = c->layer.known.k_weight)      \
    X(kv_up_alone, ATTN_ERROR_VALUE, "kv_up_weight", c->layer.known.kv_up_weight = c->layer.known.k_weight)            \
    X(shared_alone, ATTN_ERROR_VALUE, "kv_latent", c->layer.known.shared_key_width = 1)                                \
    X(shared_whole, ATTN_ERROR_SHAPE, "shared_key_width", use_latents(c); c->layer.known.shared_key_width = M / H)     \
    X(latent_and_k, ATTN_ERROR_VALUE, "kv_latent", use_latents(c); c->layer.known.k_weight = c->layer.known.q_weight)  \
    X(latent_in_weight, ATTN_ERROR_VALUE, "in_weight", use_latents(c);                                                 \
      c->layer.known.in_weight = c->layer.known.out_weight; c->layer.known.q_weight = NULL)                            \
    X(latent_kv_heads, ATTN_ERROR_SHAPE, "kv_heads", use_latents(c); c->layer.known.kv_heads = 2)                      \
    X(latent_inputs, ATTN_ERROR_SHAPE, "value_input_width", use_latents(c); c->layer.known.value_input_width = 5)      \
    X(latent_clip, ATTN_ERROR_VALUE, "clip", use_latents(c); c->layer.known.clip = 1)                                  \
    X(latent_zero_key, ATTN_ERROR_VALUE, "zero_key", use_latents(c); c->layer.known.zero_key = 1)                      \
    X(latent_extra_key, ATTN_ERROR_VALUE, "extra_key", use_latents(c);                                                 \
      c->layer.known.extra_key = c->layer.known.extra_value = c->layer.known.out_bias)                                 \
    X(huge_latent, ATTN_ERROR_OVERFLOW, "kv_latent", use_latents(c); c->layer.known.kv_latent = SIZE_MAX / 2)          \
    X(huge_q_latent, ATTN_ERROR_OVERFLOW, "q_latent", use_latents(c); c->layer.known.q_latent = SIZE_MAX / 2)          \
    X(latent_norm_kind, ATTN_ERROR_VALUE, "kv_latent_norm", use_latents(c); c->norm.kind = (attn_norm_kind)7;          \
      c->layer.known.kv_latent_norm = &c->norm)                                                                        \
    X(out_norm_kind, ATTN_ERROR_VALUE, "out_norm", c->norm.kind = (attn_norm_kind)7;                                   \
      c->layer.known.out_norm = &c->norm)                                                                              \
    X(out_norm_struct, ATTN_ERROR_STRUCT, "out_norm", c->norm.struct_size = 1; c->layer.known.out_norm = &c->norm)     \
    X(huge_heads, ATTN_ERROR_OVERFLOW, "heads", c->layer.known.heads = SIZE_MAX / 2; c->layer.known.head_width = 4)    \
    X(huge_head_width, ATTN_ERROR_OVERFLOW, "head_width", c->layer.known.head_width = SIZE_MAX / 2)                    \
    X(huge_value_width, ATTN_ERROR_OVERFLOW, "value_width", c->layer.known.value_width = SIZE_MAX / 2)                 \
    X(huge_model_width, ATTN_ERROR_OVERFLOW, "model_width", c->layer.known.model_width = SIZE_MAX / 64 * 4)            \
    X(huge_key_width, ATTN_ERROR_OVERFLOW, "key_input_width", c->layer.known.key_input_width = SIZE_MAX / 2)           \
    X(huge_value_input, ATTN_ERROR_OVERFLOW, "value_input_width", c->layer.known.value_input_width = SIZE_MAX / 2)     \
    X(bool_weights, ATTN_ERROR_DTYPE, "weight_dtype", c->layer.known.weight_dtype = ATTN_BOOL)                         \
    X(unknown_weights, ATTN_ERROR_DTYPE, "weight_dtype", c->layer.known.weight_dtype = (attn_dtype)6)                  \
    X(negative_type, ATTN_ERROR_DTYPE, "weight_dtype", c->layer.known.weight_dtype = (attn_dtype)-1)                   \
    X(f32_with_q_scale, ATTN_ERROR_VALUE, "q_scale", c->layer.known.q_scale = c->layer.known.q_bias)                   \
    X(f32_with_out_scale, ATTN_ERROR_VALUE, "out_scale", c->layer.known.out_scale = c->layer.known.out_bias)           \
    X(f16_with_k_scale, ATTN_ERROR_VALUE, "k_scale", c->layer.known.weight_dtype = ATTN_F16;                           \
      c->layer.known.k_scale = c->layer.known.k_bias)                                                                  \
    X(no_q_scale, ATTN_ERROR_NULL, "q_scale", use_int8(c, false); c->layer.known.q_scale = NULL)                       \
    X(no_k_scale, ATTN_ERROR_NULL, "k_scale", use_int8(c, false); c->layer.known.k_scale = NULL)                       \
    X(no_v_scale, ATTN_ERROR_NULL, "v_scale", use_int8(c, false); c->layer.known.v_scale = NULL)                       \
    X(no_in_scale, ATTN_ERROR_NULL, "in_scale", use_int8(c, true); c->layer.known.in_scale = NULL)                     \
    X(no_out_scale, ATTN_ERROR_NULL, "out_scale", use_int8(c, true); c->layer.known.out_scale = NULL)                  \
    X(int4_order, ATTN_ERROR_VALUE, "params.order is 1", use_int8(c, false); c->layer.known.weight_dtype = ATTN_INT4;  \
      c->layer.known.order = ATTN_IN_OUT)                                                                              \
    X(in_scale_alone, ATTN_ERROR_VALUE, "in_scale", use_int8(c, false);                                                \
      c->layer.known.in_scale = c->layer.known.q_scale)                                                                \
    X(in_weight_and_q_scale, ATTN_ERROR_VALUE, "in_weight", use_int8(c, true);                                         \
      c->layer.known.q_scale = c->layer.known.in_scale)                                                                \
    X(in_weight_and_k_scale, ATTN_ERROR_VALUE, "in_weight", use_int8(c, true);                                         \
      c->layer.known.k_scale = c->layer.known.in_scale)                                                                \
    X(in_weight_and_v_scale, ATTN_ERROR_VALUE, "in_weight", use_int8(c, true);                                         \
      c->layer.known.v_scale = c->layer.known.in_scale)                                                                \
    X(nan_scale, ATTN_ERROR_VALUE, "v_scale[11]", use_int8(c, false); spoil_scale(c->layer.known.v_scale, 11, NAN))    \
    X(inf_scale, ATTN_ERROR_VALUE, "in_scale[35]", use_int8(c, true);                                                  \
      spoil_scale(c->layer.known.in_scale, 35, -INFINITY))                                                             \
    X(nan_out_scale, ATTN_ERROR_VALUE, "out_scale[0]", use_int8(c, true); spoil_scale(c->layer.known.out_scale, 0, NAN))

#define FORWARD_FAULTS(X)                                                                                              \
    X(mha_null, ATTN_ERROR_NULL, "mha", c->mha = NULL)                                                                 \
    X(query_null, ATTN_ERROR_NULL, "query", c->query_argument = NULL)                                                  \
    X(out_null, ATTN_ERROR_NULL, "out", c->out_argument = NULL)                                                        \
    X(query_dtype, ATTN_ERROR_DTYPE, "query", c->query.dtype = ATTN_BOOL)                                              \
    X(key_dtype, ATTN_ERROR_DTYPE, "key", c->key.dtype = ATTN_BOOL)                                                    \
    X(value_dtype, ATTN_ERROR_DTYPE, "value", c->value.dtype = ATTN_BOOL)                                              \
    X(out_dtype, ATTN_ERROR_DTYPE, "out", c->out.dtype = ATTN_BOOL)                                                    \
    X(query_heads, ATTN_ERROR_SHAPE, "query", c->query.size[1] = 2)                                                    \
    X(key_heads, ATTN_ERROR_SHAPE, "key", c->key.size[1] = 0)                                                          \
    X(value_heads, ATTN_ERROR_SHAPE, "value", c->value.size[1] = 0)                                                    \
    X(out_heads, ATTN_ERROR_SHAPE, "out", c->out.size[1] = 0)                                                          \
    X(query_width, ATTN_ERROR_SHAPE, "query", c->query.size[3] = M - 1)                                                \
    X(key_width, ATTN_ERROR_SHAPE, "key", c->key.size[3] = KEY - 1)                                                    \
    X(value_width, ATTN_ERROR_SHAPE, "value", c->value.size[3] = VALUE - 1)                                            \
    X(out_width, ATTN_ERROR_SHAPE, "out", c->out.size[3] = M - 1)                                                      \
    X(key_batch, ATTN_ERROR_SHAPE, "key", c->key.size[0] = 1)                                                          \
    X(value_batch, ATTN_ERROR_SHAPE, "value", c->value.size[0] = 1)                                                    \
    X(out_batch, ATTN_ERROR_SHAPE, "out", c->out.size[0] = 1)                                                          \
    X(value_tokens, ATTN_ERROR_SHAPE, "value", c->value.size[2] = Tk - 1)                                              \
    X(out_tokens, ATTN_ERROR_SHAPE, "out", c->out.size[2] = Tq - 1)                                                    \
    X(probabilities_shape, ATTN_ERROR_SHAPE, "weights", c->probabilities.size[3] = Tk - 1)                             \
    X(query_inner_stride, ATTN_ERROR_STRIDE, "query", c->query.stride[3] = -1)                                         \
    X(key_inner_stride, ATTN_ERROR_STRIDE, "key", c->key.stride[3] = 0)                                                \
    X(value_inner_stride, ATTN_ERROR_STRIDE, "value", c->value.stride[3] = 2)                                          \
    X(out_rows_overlap, ATTN_ERROR_STRIDE, "out", c->out.stride[2] = M - 1)                                            \
    X(out_same_batches, ATTN_ERROR_STRIDE, "out", c->out.stride[0] = 0)                                                \
    X(params_struct, ATTN_ERROR_STRUCT, "struct_size", c->params.struct_size = 3)                                      \
    X(params_scale, ATTN_ERROR_VALUE, "scale", c->params.scale = NAN)                                                  \
    X(params_causal, ATTN_ERROR_VALUE, "causal", c->params.causal = (attn_causal)9)                                    \
    X(huge_batch, ATTN_ERROR_OVERFLOW, "query",                                                                        \
      c->query.size[0] = c->key.size[0] = c->value.size[0] = c->out.size[0] = c->probabilities.size[0] = SIZE_MAX / 2) \
    X(huge_tokens, ATTN_ERROR_OVERFLOW, "key", c->key.size[2] = c->value.size[2] = c->probabilities.size[3] = SIZE_MAX)

#define FORWARD_DATA_FAULTS(X)                                                                                         \
    X(query_data_null, ATTN_ERROR_NULL, "query", c->query.data = NULL)                                                 \
    X(key_data_null, ATTN_ERROR_NULL, "key", c->key.data = NULL)                                                       \
    X(value_data_null, ATTN_ERROR_NULL, "value", c->value.data = NULL)                                                 \
    X(out_data_null, ATTN_ERROR_NULL, "out", c->out.data = NULL)                                                       \
    X(offset_missing, ATTN_ERROR_NULL, "causal_offset", c->params.causal = ATTN_CAUSAL_OFFSET)                         \
    X(out_is_query, ATTN_ERROR_ALIAS, "out", c->out.data = c->query.data)                                              \
    X(out_in_key, ATTN_ERROR_ALIAS, "out", c->out.data = (float *)c->key.data + 1)                                     \
    X(out_in_value, ATTN_ERROR_ALIAS, "out", c->out.data = (float *)c->value.data + 1)                                 \
    X(lse_in_out, ATTN_ERROR_ALIAS, "lse", c->params.lse = (float *)c->out.data + 1)                                   \
    X(probabilities_in_key, ATTN_ERROR_ALIAS, "weights", c->probabilities.data = c->key.data)

static void use_in_weight(call *c);
static void use_latents(call *c);
static void use_int8(call *c, bool in_weight);
static void spoil_scale(const float *scale, size_t n, float x) { ((float *)(uintptr_t)scale)[n] = x; }

DEFINE_FAULTS(create_faults, CREATE_FAULTS);
DEFINE_FAULTS(forward_faults, FORWARD_FAULTS);
DEFINE_FAULTS(forward_data_faults, FORWARD_DATA_FAULTS);

static attn_mha_params *make_valid_layer(attn_context *context, call *c) {
    attn_mha_params *layer = &c->layer.known;
    memset(c, 0, sizeof *c);
    c->context = context;
    ATTN_INIT(layer);
    ATTN_INIT(&c->norm);
    layer->model_width = M;
    layer->heads = H;
    layer->key_input_width = KEY;
    layer->value_input_width = VALUE;
    fill_layer(layer, false, ALL_BIASES);
    return layer;
}

/* Makes it a layer with one matrix for Q, K and V, which is right too. */
static void use_in_weight(call *c) {
    attn_mha_params *p = &c->layer.known;
    ATTN_INIT(p);
    p->model_width = M;
    p->heads = H;
    fill_layer(p, true, ALL_BIASES);
}

/* Makes it a layer of latents, which is right too. */
static void use_latents(call *c) {
    attn_mha_params *p = &c->layer.known;
    ATTN_INIT(p);
    p->model_width = M;
    p->heads = H;
    set_layer_form(p, false, LATENT_Q | LATENT_KV);
    fill_layer(p, false, ALL_BIASES);
}

/* Makes it a layer of int8, with one matrix or with three, which is right too. */
static void use_int8(call *c, bool in_weight) {
    attn_mha_params *p = &c->layer.known;
    ATTN_INIT(p);
    p->model_width = M;
    p->heads = H;
    p->weight_dtype = ATTN_INT8;
    fill_layer(p, in_weight, ALL_BIASES);
}

static void make_valid_call(attn_context *context, attn_mha *mha, call *c) {
    memset(c, 0, sizeof *c);
    c->context = context;
    c->mha = mha;
    c->query = new_normal(BHTD, B, 1, Tq, M);
    c->key = new_normal(BHTD, B, 1, Tk, KEY);
    c->value = new_normal(BHTD, B, 1, Tk, VALUE);
    c->out = new_tensor(BHTD, B, 1, Tq, M);
    c->probabilities = new_tensor(BHTD, B, H, Tq, Tk);
    ATTN_INIT(&c->params);
    c->params.lse = new_floats((size_t)B * H * Tq);
    c->params.weights = &c->probabilities;
    c->query_argument = &c->query;
    c->out_argument = &c->out;
}

static attn_status run(const call *c) {
    return attn_mha_forward(c->context, c->mha, c->query_argument, &c->key, &c->value, c->out_argument, &c->params);
}

static attn_status ask_size(const call *c, size_t *bytes) {
    return attn_mha_scratch_size(c->context, c->mha, c->query_argument, &c->key, &c->value, c->out_argument, &c->params,
                                 bytes);
}

static void every_fault_of_create(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    for (size_t i = 0; i < COUNT(create_faults); i++) {
        call c;
        attn_mha *mha = (attn_mha *)&c;
        const attn_mha_params *layer = make_valid_layer(context, &c);
        create_faults[i].spoil(&c);
        name_case("create: %s", create_faults[i].name);
        assert_status(context, attn_mha_create(context, layer, &mha), create_faults[i].status);
        assert_mentions(attn_context_last_error(context), create_faults[i].field);
        assert_null(mha);
        end_case();
    }
}

static void missing_arguments_of_create(void **state) {
    (void)state;
    call c;
    attn_context *context = new_context_of(1, 0);
    attn_mha *mha = (attn_mha *)&c;
    const attn_mha_params *layer = make_valid_layer(context, &c);
    assert_int_equal(attn_mha_create(NULL, layer, &mha), ATTN_ERROR_NULL);
    assert_null(mha);
    mha = (attn_mha *)&c;
    assert_status(context, attn_mha_create(context, NULL, &mha), ATTN_ERROR_NULL);
    assert_mentions(attn_context_last_error(context), "params");
    assert_null(mha);
    assert_status(context, attn_mha_create(context, layer, NULL), ATTN_ERROR_NULL);
    assert_mentions(attn_context_last_error(context), "mha");
    attn_mha_destroy(NULL);
}

static void assert_no_output(const call *valid) {
    assert_untouched(valid->out);
    assert_untouched(valid->probabilities);
    assert_untouched(attn_tensor_bhtd(valid->params.lse, ATTN_F32, B, H, Tq, 1));
}

static void check_forward_fault(attn_context *context, attn_mha *mha, void (*spoil)(call *c), attn_status status,
                                const char *field, bool in_size_too) {
    call c;
    size_t bytes = 4321;
    make_valid_call(context, mha, &c);
    const call valid = c;
    const attn_tensor query = new_copy(c.query), key = new_copy(c.key), value = new_copy(c.value);
    spoil(&c);
    assert_status(context, run(&c), status);
    assert_mentions(attn_context_last_error(context), field);
    assert_no_output(&valid);
    assert_bits(valid.query, query);
    assert_bits(valid.key, key);
    assert_bits(valid.value, value);
    if (in_size_too) {
        assert_status(context, ask_size(&c, &bytes), status);
        assert_mentions(attn_context_last_error(context), field);
        assert_int_equal(bytes, 4321);
    }
    end_case();
}

static void every_fault_of_forward(void **state) {
    (void)state;
    call c;
    attn_context *context = new_context_of(2, 0);
    attn_mha *mha = new_layer(context, make_valid_layer(context, &c));
    for (size_t i = 0; i < COUNT(forward_faults); i++) {
        name_case("forward: %s", forward_faults[i].name);
        check_forward_fault(context, mha, forward_faults[i].spoil, forward_faults[i].status, forward_faults[i].field,
                            true);
    }
    for (size_t i = 0; i < COUNT(forward_data_faults); i++) {
        name_case("forward: %s", forward_data_faults[i].name);
        check_forward_fault(context, mha, forward_data_faults[i].spoil, forward_data_faults[i].status,
                            forward_data_faults[i].field, false);
    }
    attn_mha_destroy(mha);
}

/* What is left out is another argument, or another field: the message names that one. */
static void names_are_the_callers(void **state) {
    (void)state;
    const int64_t longer[B] = {Tq, Tq + 1};
    call c;
    attn_context *context = new_context_of(1, 0);
    attn_mha *mha = new_layer(context, make_valid_layer(context, &c));
    make_valid_call(context, mha, &c);
    assert_status(context, attn_mha_forward(context, mha, &c.query, NULL, &c.value, &c.out, NULL), ATTN_ERROR_SHAPE);
    assert_mentions(attn_context_last_error(context), "query.size[3] is 12, expected key_input_width");
    c.query.size[0] = c.key.size[0] = c.out.size[0] = 1;
    assert_status(context, attn_mha_forward(context, mha, &c.query, &c.key, NULL, &c.out, NULL), ATTN_ERROR_SHAPE);
    assert_mentions(attn_context_last_error(context), "key.size[3] is 10, expected value_input_width");
    attn_mha_destroy(mha);
    use_in_weight(&c);
    mha = new_layer(context, &c.layer.known);
    make_valid_call(context, mha, &c);
    c.params.weights = NULL;
    c.params.query_lengths = longer;
    assert_status(context, attn_mha_forward(context, mha, &c.query, NULL, NULL, &c.out, &c.params), ATTN_ERROR_VALUE);
    assert_mentions(attn_context_last_error(context), "params.query_lengths[1] is 4");
    int64_t *lengths = new_integers((const int64_t[]){1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, 12);
    c.params.query_lengths = lengths;
    c.params.lse = (float *)(void *)lengths;
    assert_status(context, attn_mha_forward(context, mha, &c.query, NULL, NULL, &c.out, &c.params), ATTN_ERROR_ALIAS);
    assert_mentions(attn_context_last_error(context), "params.lse overlaps params.query_lengths");
    c.params.query_lengths = NULL;
    c.params.lse = NULL;
    c.params.query_starts = (const int64_t[]){0, 1};
    c.params.sequences = 1;
    assert_status(context, attn_mha_forward(context, mha, &c.query, NULL, NULL, &c.out, &c.params), ATTN_ERROR_SHAPE);
    assert_mentions(attn_context_last_error(context), "query.size[0] is 2, expected 1 with params.query_starts");
    c.params.sequences = 0;
    c.query.size[0] = c.out.size[0] = 1;
    assert_status(context, attn_mha_forward(context, mha, &c.query, NULL, NULL, &c.out, &c.params), ATTN_ERROR_VALUE);
    assert_mentions(attn_context_last_error(context), "params.sequences is 0");
    assert_untouched(c.out);
    attn_mha_destroy(mha);
}

static void no_fault(void **state) {
    (void)state;
    call c;
    size_t bytes = 4321;
    attn_context *context = new_context_of(1, 0);
    attn_mha *mha = new_layer(context, make_valid_layer(context, &c));
    make_valid_call(context, mha, &c);
    assert_ok(context, run(&c));
    assert_status(context, ask_size(&c, NULL), ATTN_ERROR_NULL);
    assert_mentions(attn_context_last_error(context), "bytes");
    c.query.data = c.key.data = c.value.data = c.out.data = c.probabilities.data = NULL;
    assert_ok(context, ask_size(&c, &bytes));
    c.context = NULL;
    assert_int_equal(run(&c), ATTN_ERROR_NULL);
    assert_int_equal(ask_size(&c, &bytes), ATTN_ERROR_NULL);
    attn_mha_destroy(mha);
}

static void tolerated(void **state) {
    (void)state;
    call c;
    attn_context *context = new_context_of(1, 0);
    attn_mha_params *layer = make_valid_layer(context, &c);
    layer->struct_size = sizeof c.layer;
    attn_mha_destroy(new_layer(context, layer));
    use_in_weight(&c);
    layer->kv_heads = H;
    layer->key_input_width = layer->value_input_width = M;
    attn_mha_destroy(new_layer(context, layer));
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(no_fault),
                                       TEST(every_fault_of_create),
                                       TEST(missing_arguments_of_create),
                                       TEST(every_fault_of_forward),
                                       TEST(names_are_the_callers),
                                       TEST(tolerated)};
    return cmocka_run_group_tests_name("errors_mha", tests, NULL, NULL);
}
