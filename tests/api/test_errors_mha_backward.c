/* SPDX-License-Identifier: BSD-3-Clause */
/* Every way to call attn_mha_backward, attn_mha_backward_scratch_size and attn_mha_forward_keep wrongly; what is wrong
 * with the arguments of the forward pass is test_errors_mha's. */
#include <string.h>

#include "support/fault.h"
#include "support/layer.h"

enum { B = 2, Tq = 3, Tk = 5, M = 12, H = 4 };

typedef struct call {
    attn_context *context;
    const attn_mha *mha;
    attn_tensor query, key, d_out, bias, d_query, d_key, d_bias;
    attn_sdpa_params params;
    attn_sdpa_gradients shared;
    attn_qk_norm qk_norm;
    attn_norm_gradients norm;
    float *sums; /* room for any gradient of parameters */
    WITH_TAIL(attn_mha_gradients) g;
    const attn_tensor *query_argument, *key_argument, *d_out_argument;
    const attn_mha_gradients *g_argument;
} call;

static attn_mha *layer; /* of all calls, with a matrix for each of q, k and v, and no gate */
static attn_mha *normed, *latent;

#define MHA_FAULTS(X)                                                                                                  \
    X(mha_null, ATTN_ERROR_NULL, "mha", c->mha = NULL)                                                                 \
    X(query_null, ATTN_ERROR_NULL, "query", c->query_argument = NULL)                                                  \
    X(d_out_null, ATTN_ERROR_NULL, "d_out", c->d_out_argument = NULL)                                                  \
    X(gradients_null, ATTN_ERROR_NULL, "gradients", c->g_argument = NULL)                                              \
    X(d_out_dtype, ATTN_ERROR_DTYPE, "d_out", c->d_out.dtype = ATTN_BOOL)                                              \
    X(d_query_dtype, ATTN_ERROR_DTYPE, "gradients.d_query", c->d_query.dtype = ATTN_BOOL)                              \
    X(d_out_tokens, ATTN_ERROR_SHAPE, "d_out", c->d_out.size[2] = Tq - 1)                                              \
    X(d_query_width, ATTN_ERROR_SHAPE, "gradients.d_query", c->d_query.size[3] = M - 1)                                \
    X(d_key_tokens, ATTN_ERROR_SHAPE, "gradients.d_key", c->d_key.size[2] = Tq)                                        \
    X(d_bias_heads, ATTN_ERROR_SHAPE, "d_bias", c->d_bias.size[1] = 1)                                                 \
    X(d_query_stride, ATTN_ERROR_STRIDE, "gradients.d_query", c->d_query.stride[2] = 0)                                \
    X(d_value_alone, ATTN_ERROR_VALUE, "gradients.d_value", c->g.known.d_value = &c->d_key)                            \
    X(d_key_alone, ATTN_ERROR_VALUE, "gradients.d_key", c->key_argument = NULL; c->bias.size[3] = Tq)                  \
    X(in_weight, ATTN_ERROR_VALUE, "gradients.d_in_weight", c->g.known.d_in_weight = c->g.known.d_q_weight)            \
    X(gate, ATTN_ERROR_VALUE, "gradients.d_gate_bias", c->g.known.d_gate_bias = c->g.known.d_q_weight)                 \
    X(dq, ATTN_ERROR_VALUE, "gradients.attention->dq", c->shared.dq = &c->d_query)                                     \
    X(d_lse, ATTN_ERROR_VALUE, "gradients.attention->d_lse", c->shared.d_lse = c->params.sinks)                        \
    X(accumulate_twice, ATTN_ERROR_VALUE, "gradients.attention->accumulate", c->shared.accumulate = 1)                 \
    X(sinks_alone, ATTN_ERROR_VALUE, "d_sinks", c->params.sinks = NULL)                                                \
    X(extra_key, ATTN_ERROR_VALUE, "gradients.d_extra_key", c->g.known.d_extra_key = c->sums)                          \
    X(extra_value, ATTN_ERROR_VALUE, "gradients.d_extra_value", c->g.known.d_extra_value = c->sums)                    \
    X(q_down_weight, ATTN_ERROR_VALUE, "gradients.d_q_down_weight", c->g.known.d_q_down_weight = c->sums)              \
    X(q_down_bias, ATTN_ERROR_VALUE, "gradients.d_q_down_bias", c->g.known.d_q_down_bias = c->sums)                    \
    X(kv_down_weight, ATTN_ERROR_VALUE, "gradients.d_kv_down_weight", c->g.known.d_kv_down_weight = c->sums)           \
    X(kv_down_bias, ATTN_ERROR_VALUE, "gradients.d_kv_down_bias", c->g.known.d_kv_down_bias = c->sums)                 \
    X(kv_up_weight, ATTN_ERROR_VALUE, "gradients.d_kv_up_weight", c->g.known.d_kv_up_weight = c->sums)                 \
    X(q_norm_weight, ATTN_ERROR_VALUE, "d_q_norm_weight", c->shared.d_q_norm_weight = c->sums)                         \
    X(v_norm_weight, ATTN_ERROR_VALUE, "d_v_norm_weight", c->shared.d_v_norm_weight = c->sums)                         \
    X(head_scales, ATTN_ERROR_VALUE, "d_head_scales", c->shared.d_head_scales = c->sums)                               \
    X(out_norm, ATTN_ERROR_VALUE, "gradients.out_norm", c->g.known.out_norm = &c->norm)                                \
    X(q_latent_norm, ATTN_ERROR_VALUE, "gradients.q_latent_norm", c->g.known.q_latent_norm = &c->norm)                 \
    X(kv_latent_norm, ATTN_ERROR_VALUE, "gradients.kv_latent_norm", c->g.known.kv_latent_norm = &c->norm)              \
    X(norm_dx, ATTN_ERROR_VALUE, "gradients.out_norm->dx", c->mha = normed; c->g.known.out_norm = &c->norm;            \
      c->norm.dx = &c->d_query)                                                                                        \
    X(k_of_latents, ATTN_ERROR_VALUE, "gradients.d_k_weight", c->mha = latent; c->g.known.d_k_weight = c->sums)        \
    X(v_of_latents, ATTN_ERROR_VALUE, "gradients.d_v_bias", c->mha = latent; c->g.known.d_v_bias = c->sums)            \
    X(norm_struct, ATTN_ERROR_STRUCT, "gradients.out_norm.struct_size", c->mha = normed;                               \
      c->g.known.out_norm = &c->norm; c->norm.struct_size = 3)                                                         \
    X(causal, ATTN_ERROR_VALUE, "causal", c->params.causal = (attn_causal)9)                                           \
    X(not_initialised, ATTN_ERROR_STRUCT, "gradients.struct_size", c->g.known.struct_size = 0)                         \
    X(shared_struct, ATTN_ERROR_STRUCT, "gradients.attention.struct_size", c->shared.struct_size = 3)                  \
    X(unknown, ATTN_ERROR_STRUCT, "gradients.struct_size", c->g.known.struct_size = sizeof c->g; c->g.tail[15] = 1)

#define MHA_DATA_FAULTS(X)                                                                                             \
    X(d_out_data, ATTN_ERROR_NULL, "d_out", c->d_out.data = NULL)                                                      \
    X(d_query_data, ATTN_ERROR_NULL, "gradients.d_query", c->d_query.data = NULL)                                      \
    X(d_query_is_query, ATTN_ERROR_ALIAS, "gradients.d_query", c->d_query.data = c->query.data)                        \
    X(d_key_in_d_out, ATTN_ERROR_ALIAS, "gradients.d_key", c->d_key.data = c->d_out.data)                              \
    X(bias_in_weight, ATTN_ERROR_ALIAS, "gradients.d_q_bias", c->g.known.d_q_bias = c->g.known.d_q_weight)             \
    X(sinks_in_weight, ATTN_ERROR_ALIAS, "d_sinks", c->shared.d_sinks = c->g.known.d_q_weight)                         \
    X(d_bias_is_bias, ATTN_ERROR_ALIAS, "d_bias", c->d_bias.data = c->bias.data)                                       \
    X(norm_in_weight, ATTN_ERROR_ALIAS, "gradients.out_norm->d_bias", c->mha = normed; c->g.known.out_norm = &c->norm; \
      c->norm.d_bias = c->g.known.d_q_weight)                                                                          \
    X(up_in_down, ATTN_ERROR_ALIAS, "gradients.d_kv_up_weight", c->mha = latent;                                       \
      c->g.known.d_kv_up_weight = c->g.known.d_kv_down_weight = c->sums)                                               \
    X(scales_in_weight, ATTN_ERROR_ALIAS, "gradients.attention->d_head_scales",                                        \
      c->params.head_scales = c->params.sinks;                                                                         \
      c->shared.d_head_scales = c->g.known.d_q_weight)                                                                 \
    X(q_norm_in_k_norm, ATTN_ERROR_ALIAS, "gradients.attention->d_k_norm_weight", c->params.qk_norm = &c->qk_norm;     \
      c->shared.d_q_norm_weight = c->shared.d_k_norm_weight = c->sums)                                                 \
    X(v_norm_in_weight, ATTN_ERROR_ALIAS, "gradients.attention->d_v_norm_weight", c->params.qk_norm = &c->qk_norm;     \
      c->qk_norm.norm_values = 1; c->shared.d_v_norm_weight = c->g.known.d_q_weight)

DEFINE_FAULTS(faults, MHA_FAULTS);
DEFINE_FAULTS(data_faults, MHA_DATA_FAULTS);

static void make_valid(attn_context *context, call *c) {
    memset(c, 0, sizeof *c);
    c->context = context;
    c->mha = layer;
    c->query = new_normal(BHTD, B, 1, Tq, M);
    c->key = new_normal(BHTD, B, 1, Tk, M);
    c->d_out = new_normal(BHTD, B, 1, Tq, M);
    c->bias = new_normal(BHTD, B, H, Tq, Tk);
    c->d_query = new_tensor(BHTD, B, 1, Tq, M);
    c->d_key = new_tensor(BHTD, B, 1, Tk, M);
    c->d_bias = new_tensor(BHTD, B, H, Tq, Tk);
    ATTN_INIT(&c->params);
    ATTN_INIT(&c->shared);
    ATTN_INIT(&c->norm);
    ATTN_INIT(&c->qk_norm);
    ATTN_INIT(&c->g.known);
    c->params.bias = &c->bias;
    c->params.sinks = new_normal(BHTD, 1, 1, 1, H).data;
    c->shared.d_bias = &c->d_bias;
    c->shared.d_sinks = new_floats(H);
    c->g.known.attention = &c->shared;
    c->g.known.d_query = &c->d_query;
    c->g.known.d_key = &c->d_key;
    c->g.known.d_q_weight = new_floats((size_t)M * M);
    c->g.known.d_q_bias = new_floats(M);
    c->sums = new_floats(1000);
    c->query_argument = &c->query;
    c->key_argument = &c->key;
    c->d_out_argument = &c->d_out;
    c->g_argument = &c->g.known;
}

static attn_status run(const call *c) {
    return attn_mha_backward(c->context, c->mha, c->query_argument, c->key_argument, NULL, c->d_out_argument,
                             &c->params, NULL, c->g_argument);
}

static attn_status ask_size(const call *c, size_t *bytes) {
    return attn_mha_backward_scratch_size(c->context, c->mha, c->query_argument, c->key_argument, NULL,
                                          c->d_out_argument, &c->params, NULL, c->g_argument, bytes);
}

static void assert_nothing_written(const call *valid, const call *copies) {
    assert_untouched(valid->d_query);
    assert_untouched(valid->d_key);
    assert_untouched(valid->d_bias);
    assert_untouched(attn_tensor_btm(valid->g.known.d_q_weight, ATTN_F32, 1, M, M));
    assert_untouched(attn_tensor_btm(valid->shared.d_sinks, ATTN_F32, 1, 1, H));
    assert_bits(valid->query, copies->query);
    assert_bits(valid->d_out, copies->d_out);
}

static call copies_of(const call *valid) {
    return (call){.query = new_copy(valid->query), .d_out = new_copy(valid->d_out)};
}

#include "support/every_fault.h"

static void tolerated(void **state) {
    (void)state;
    call c;
    make_valid(new_context_of(1, 0), &c);
    c.params.entropy = c.query.data; /* an output, not looked at */
    assert_ok(c.context, run(&c));
    c.query.data = c.key.data = c.d_out.data = c.d_query.data = NULL;
    check_asking(&c);
}

/* -- attn_mha_forward_keep -- */

static void keeping(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    const attn_tensor x = new_normal(BHTD, B, 1, Tq, M), out = new_tensor(BHTD, B, 1, Tq, M);
    size_t bytes = 1;
    assert_int_equal(attn_mha_kept_size(NULL, layer, B, Tq, Tq, &bytes), ATTN_ERROR_NULL);
    assert_status(context, attn_mha_kept_size(context, NULL, B, Tq, Tq, &bytes), ATTN_ERROR_NULL);
    assert_status(context, attn_mha_kept_size(context, layer, B, Tq, Tq, NULL), ATTN_ERROR_NULL);
    assert_status(context, attn_mha_kept_size(context, layer, SIZE_MAX / 4, Tq, Tq, &bytes), ATTN_ERROR_OVERFLOW);
    assert_int_equal(bytes, 1);
    assert_ok(context, attn_mha_kept_size(context, layer, B, Tq, Tq, &bytes));
    float *kept = new_floats(bytes / sizeof(float));
    const attn_tensor all = attn_tensor_btm(kept, ATTN_F32, 1, 1, bytes / sizeof(float));
    const struct {
        const attn_mha *mha;
        void *kept;
        size_t bytes;
        attn_status status;
        const char *field;
    } wrong[] = {{NULL, kept, bytes, ATTN_ERROR_NULL, "mha"},
                 {layer, NULL, bytes, ATTN_ERROR_NULL, "kept"},
                 {layer, kept, bytes - 1, ATTN_ERROR_SHAPE, "kept_bytes"},
                 {layer, out.data, bytes, ATTN_ERROR_ALIAS, "kept"},
                 {layer, x.data, bytes, ATTN_ERROR_ALIAS, "kept"}};
    for (size_t n = 0; n < COUNT(wrong); n++) {
        assert_status(
            context,
            attn_mha_forward_keep(context, wrong[n].mha, &x, NULL, NULL, &out, NULL, wrong[n].kept, wrong[n].bytes),
            wrong[n].status);
        assert_mentions(attn_context_last_error(context), wrong[n].field);
        assert_untouched(out);
        assert_untouched(all);
    }
    assert_int_equal(attn_mha_forward_keep(NULL, layer, &x, NULL, NULL, &out, NULL, kept, bytes), ATTN_ERROR_NULL);
}

/* What was kept is read. */
static void kept_is_read(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    call c;
    size_t bytes;
    make_valid(context, &c);
    const attn_tensor out = new_tensor(BHTD, B, 1, Tq, M);
    assert_ok(context, attn_mha_kept_size(context, layer, B, Tq, Tk, &bytes));
    float *kept = new_floats(bytes / sizeof(float));
    assert_ok(context, attn_mha_forward_keep(context, layer, &c.query, &c.key, NULL, &out, &c.params, kept, bytes));
    c.g.known.d_q_bias = kept + bytes / sizeof(float) - M;
    assert_status(context,
                  attn_mha_backward(context, layer, &c.query, &c.key, NULL, &c.d_out, &c.params, kept, c.g_argument),
                  ATTN_ERROR_ALIAS);
    assert_mentions(attn_context_last_error(context), "gradients.d_q_bias");
}

/* -- the layers -- */

static attn_mha *make_layer(attn_context *context, unsigned form) {
    attn_mha_params p = mha_case_of(M, H, 1, 1).layer;
    set_layer_form(&p, false, form);
    fill_layer(&p, false, ALL_BIASES);
    return new_layer(context, &p);
}

static int make_layers(void **state) {
    attn_context *context = new_context_of(1, 0);
    layer = make_layer(context, 0);
    normed = make_layer(context, OUT_NORM);
    latent = make_layer(context, LATENT_KV);
    return end_test(state);
}

static int destroy_layers(void **state) {
    (void)state;
    attn_mha_destroy(layer);
    attn_mha_destroy(normed);
    attn_mha_destroy(latent);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(every_fault), TEST(tolerated), TEST(keeping), TEST(kept_is_read)};
    return cmocka_run_group_tests_name("errors_mha_backward", tests, make_layers, destroy_layers);
}
