/* SPDX-License-Identifier: BSD-3-Clause */
/* Every way to call attn_sdpa_backward and attn_sdpa_backward_scratch_size wrongly; what is wrong with the arguments of
 * the forward pass is test_errors_sdpa's. */
#include <string.h>

#include "support/fault.h"

enum { B = 2, H = 4, G = 2, Tq = 3, Tk = 5, D = 8, E = 6, REACH = 2 };

typedef struct call {
    attn_context *context;
    attn_tensor q, k, v, out, d_out, bias, dq, dk, dv, d_bias;
    attn_relative_bias relative;
    attn_qk_norm norm;
    attn_sdpa_params params;
    WITH_TAIL(attn_sdpa_gradients) g;
    const attn_tensor *out_argument, *d_out_argument;
    const attn_sdpa_gradients *g_argument;
    float *sums;
} call;

static void score(void *data, const attn_score_tile *tile) {
    (void)data;
    (void)tile;
}

static void score_back(void *data, const attn_score_tile *tile, float *of) {
    (void)data;
    (void)tile;
    (void)of;
}

#define BACKWARD_FAULTS(X)                                                                                             \
    X(out_null, ATTN_ERROR_NULL, "out", c->out_argument = NULL)                                                        \
    X(d_out_null, ATTN_ERROR_NULL, "d_out", c->d_out_argument = NULL)                                                  \
    X(gradients_null, ATTN_ERROR_NULL, "gradients", c->g_argument = NULL)                                              \
    X(lse_null, ATTN_ERROR_NULL, "params.lse", c->params.lse = NULL; c->g.known.d_lse = NULL)                          \
    X(score_alone, ATTN_ERROR_NULL, "score_backward", c->params.score = score)                                         \
    X(d_out_dtype, ATTN_ERROR_DTYPE, "d_out", c->d_out.dtype = ATTN_BOOL)                                              \
    X(dq_dtype, ATTN_ERROR_DTYPE, "gradients.dq", c->dq.dtype = ATTN_BOOL)                                             \
    X(dk_dtype, ATTN_ERROR_DTYPE, "gradients.dk", c->dk.dtype = ATTN_BOOL)                                             \
    X(dv_dtype, ATTN_ERROR_DTYPE, "gradients.dv", c->dv.dtype = ATTN_BOOL)                                             \
    X(d_bias_dtype, ATTN_ERROR_DTYPE, "gradients.d_bias", c->d_bias.dtype = ATTN_F16)                                  \
    X(d_out_batch, ATTN_ERROR_SHAPE, "d_out", c->d_out.size[0] = 1)                                                    \
    X(d_out_width, ATTN_ERROR_SHAPE, "d_out", c->d_out.size[3] = E - 1)                                                \
    X(dq_heads, ATTN_ERROR_SHAPE, "gradients.dq", c->dq.size[1] = G)                                                   \
    X(dk_heads, ATTN_ERROR_SHAPE, "gradients.dk", c->dk.size[1] = 1)                                                   \
    X(dk_tokens, ATTN_ERROR_SHAPE, "gradients.dk", c->dk.size[2] = Tk - 1)                                             \
    X(dv_width, ATTN_ERROR_SHAPE, "gradients.dv", c->dv.size[3] = E - 1)                                               \
    X(d_bias_heads, ATTN_ERROR_SHAPE, "gradients.d_bias", c->d_bias.size[1] = 1)                                       \
    X(d_out_inner_stride, ATTN_ERROR_STRIDE, "d_out", c->d_out.stride[3] = 2)                                          \
    X(dq_same_tokens, ATTN_ERROR_STRIDE, "gradients.dq", c->dq.stride[2] = 0)                                          \
    X(dk_same_heads, ATTN_ERROR_STRIDE, "gradients.dk", c->dk.stride[1] = 0)                                           \
    X(dv_same_batches, ATTN_ERROR_STRIDE, "gradients.dv", c->dv.stride[0] = 0)                                         \
    X(d_bias_rows, ATTN_ERROR_STRIDE, "gradients.d_bias", c->d_bias.stride[2] = 1)                                     \
    X(d_bias_alone, ATTN_ERROR_VALUE, "d_bias", c->params.bias = NULL)                                                 \
    X(d_sinks_alone, ATTN_ERROR_VALUE, "d_sinks", c->params.sinks = NULL)                                              \
    X(d_slopes_alone, ATTN_ERROR_VALUE, "d_alibi_slopes", c->params.alibi = ATTN_ALIBI_NONE)                           \
    X(d_table_alone, ATTN_ERROR_VALUE, "d_relative_bias", c->params.relative_bias = NULL)                              \
    X(score_back_alone, ATTN_ERROR_VALUE, "score_backward", c->g.known.score_backward = score_back)                    \
    X(d_q_norm_alone, ATTN_ERROR_VALUE, "d_q_norm_weight", c->g.known.d_q_norm_weight = c->sums)                       \
    X(d_k_norm_alone, ATTN_ERROR_VALUE, "d_k_norm_weight", c->g.known.d_k_norm_weight = c->sums)                       \
    X(d_v_norm_alone, ATTN_ERROR_VALUE, "d_v_norm_weight", c->params.qk_norm = &c->norm;                               \
      c->g.known.d_v_norm_weight = c->sums)                                                                            \
    X(d_head_scales_alone, ATTN_ERROR_VALUE, "d_head_scales", c->g.known.d_head_scales = c->sums)                      \
    X(d_lse_alone, ATTN_ERROR_VALUE, "d_lse", c->params.lse = NULL)                                                    \
    X(causal, ATTN_ERROR_VALUE, "causal", c->params.causal = (attn_causal)9)                                           \
    X(not_initialised, ATTN_ERROR_STRUCT, "gradients.struct_size", c->g.known.struct_size = 0)                         \
    X(unknown, ATTN_ERROR_STRUCT, "gradients.struct_size", c->g.known.struct_size = sizeof c->g; c->g.tail[15] = 1)    \
    X(huge_stride, ATTN_ERROR_OVERFLOW, "gradients.dq", c->dq.stride[0] = PTRDIFF_MAX / 2)

#define BACKWARD_DATA_FAULTS(X)                                                                                        \
    X(d_out_data, ATTN_ERROR_NULL, "d_out", c->d_out.data = NULL)                                                      \
    X(dq_data, ATTN_ERROR_NULL, "gradients.dq", c->dq.data = NULL)                                                     \
    X(d_bias_data, ATTN_ERROR_NULL, "gradients.d_bias", c->d_bias.data = NULL)                                         \
    X(dq_is_q, ATTN_ERROR_ALIAS, "gradients.dq", c->dq.data = c->q.data)                                               \
    X(dq_is_out, ATTN_ERROR_ALIAS, "gradients.dq", c->dq.data = c->out.data)                                           \
    X(dk_is_v, ATTN_ERROR_ALIAS, "gradients.dk", c->dk.data = c->v.data)                                               \
    X(dk_is_dv, ATTN_ERROR_ALIAS, "gradients.dv", c->dk.data = c->dv.data)                                             \
    X(dv_in_d_out, ATTN_ERROR_ALIAS, "gradients.dv", c->dv.data = (float *)c->d_out.data + 1)                          \
    X(d_bias_is_bias, ATTN_ERROR_ALIAS, "gradients.d_bias", c->d_bias.data = c->bias.data)                             \
    X(d_sinks_are_sinks, ATTN_ERROR_ALIAS, "gradients.d_sinks",                                                        \
      c->g.known.d_sinks = (float *)(uintptr_t)c->params.sinks)                                                        \
    X(d_slopes_in_dq, ATTN_ERROR_ALIAS, "gradients.d_alibi_slopes", c->g.known.d_alibi_slopes = c->dq.data)            \
    X(d_table_in_lse, ATTN_ERROR_ALIAS, "gradients.d_relative_bias", c->g.known.d_relative_bias = c->params.lse)       \
    X(d_q_norm_in_dq, ATTN_ERROR_ALIAS, "gradients.d_q_norm_weight", c->params.qk_norm = &c->norm;                     \
      c->g.known.d_q_norm_weight = c->dq.data)                                                                         \
    X(d_k_norm_in_k, ATTN_ERROR_ALIAS, "gradients.d_k_norm_weight", c->params.qk_norm = &c->norm;                      \
      c->g.known.d_k_norm_weight = c->k.data)                                                                          \
    X(d_v_norm_in_d_q_norm, ATTN_ERROR_ALIAS, "gradients.d_v_norm_weight", c->params.qk_norm = &c->norm;               \
      c->norm.norm_values = 1; c->g.known.d_v_norm_weight = c->g.known.d_q_norm_weight = c->sums)                      \
    X(d_head_scales_in_dv, ATTN_ERROR_ALIAS, "gradients.d_head_scales", c->params.head_scales = c->params.sinks;       \
      c->g.known.d_head_scales = c->dv.data)                                                                           \
    X(dq_in_d_lse, ATTN_ERROR_ALIAS, "gradients.dq", c->dq.data = (float *)(uintptr_t)c->g.known.d_lse)

DEFINE_FAULTS(faults, BACKWARD_FAULTS);
DEFINE_FAULTS(data_faults, BACKWARD_DATA_FAULTS);

static float *random_row(size_t n) { return new_normal(BHTD, 1, 1, 1, n).data; }

static void make_valid(attn_context *context, call *c) {
    memset(c, 0, sizeof *c);
    c->context = context;
    c->q = new_normal(BHTD, B, H, Tq, D);
    c->k = new_normal(BHTD, B, G, Tk, D);
    c->v = new_normal(BHTD, B, G, Tk, E);
    c->out = new_normal(BHTD, B, H, Tq, E);
    c->d_out = new_normal(BHTD, B, H, Tq, E);
    c->bias = new_normal(BHTD, B, H, Tq, Tk);
    c->dq = new_tensor(BHTD, B, H, Tq, D);
    c->dk = new_tensor(BHTD, B, G, Tk, D);
    c->dv = new_tensor(BHTD, B, G, Tk, E);
    c->d_bias = new_tensor(BHTD, B, H, Tq, Tk);
    ATTN_INIT(&c->params);
    ATTN_INIT(&c->g.known);
    ATTN_INIT(&c->norm);
    c->sums = new_floats(H * D);
    c->relative = (attn_relative_bias){.table = random_row(H * (2 * REACH + 1)), .reach = REACH};
    c->params.bias = &c->bias;
    c->params.relative_bias = &c->relative;
    c->params.sinks = random_row(H);
    c->params.alibi = ATTN_ALIBI_STANDARD;
    c->params.lse = random_row((size_t)B * H * Tq);
    c->g.known.d_lse = random_row((size_t)B * H * Tq);
    c->g.known.dq = &c->dq;
    c->g.known.dk = &c->dk;
    c->g.known.dv = &c->dv;
    c->g.known.d_bias = &c->d_bias;
    c->g.known.d_sinks = new_floats(H);
    c->g.known.d_alibi_slopes = new_floats(H);
    c->g.known.d_relative_bias = new_floats(H * (2 * REACH + 1));
    c->out_argument = &c->out;
    c->d_out_argument = &c->d_out;
    c->g_argument = &c->g.known;
}

static attn_status run(const call *c) {
    return attn_sdpa_backward(c->context, &c->q, &c->k, &c->v, c->out_argument, c->d_out_argument, &c->params,
                              c->g_argument);
}

static attn_status ask_size(const call *c, size_t *bytes) {
    return attn_sdpa_backward_scratch_size(c->context, &c->q, &c->k, &c->v, c->out_argument, c->d_out_argument,
                                           &c->params, c->g_argument, bytes);
}

static void assert_nothing_written(const call *valid, const call *copies) {
    const attn_sdpa_gradients *g = &valid->g.known;
    assert_untouched(valid->dq);
    assert_untouched(valid->dk);
    assert_untouched(valid->dv);
    assert_untouched(valid->d_bias);
    assert_untouched(attn_tensor_bhtd(g->d_sinks, ATTN_F32, 1, 1, 1, H));
    assert_untouched(attn_tensor_bhtd(g->d_alibi_slopes, ATTN_F32, 1, 1, 1, H));
    assert_untouched(attn_tensor_bhtd(g->d_relative_bias, ATTN_F32, 1, 1, H, 2 * REACH + 1));
    assert_bits(valid->q, copies->q);
    assert_bits(valid->out, copies->out);
    assert_bits(valid->d_out, copies->d_out);
}

static call copies_of(const call *valid) {
    return (call){.q = new_copy(valid->q), .out = new_copy(valid->out), .d_out = new_copy(valid->d_out)};
}

#include "support/every_fault.h"

/* What the faults begin with is no fault; nor are other outputs of the forward pass, a struct of a newer library, or
 * arguments without memory to ask for a size. */
static void tolerated(void **state) {
    (void)state;
    call c;
    make_valid(new_context_of(1, 0), &c);
    c.params.entropy = c.q.data;
    c.params.weights = &c.q;
    c.g.known.struct_size = sizeof c.g;
    assert_ok(c.context, run(&c));
    c.q.data = c.k.data = c.v.data = c.out.data = c.d_out.data = c.dq.data = c.d_bias.data = NULL;
    check_asking(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(every_fault), TEST(tolerated)};
    return cmocka_run_group_tests_name("errors_backward", tests, NULL, NULL);
}
