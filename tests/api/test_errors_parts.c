/* SPDX-License-Identifier: BSD-3-Clause */
/* Every way to call embeddings, norms, activations, linear maps and patches wrongly. */
#include <math.h>
#include <string.h>

#include "support/fault.h"
#include "support/support.h"

enum { B = 2, T = 3, M = 12, V = 7 };

typedef struct call {
    attn_tensor x, out;
    const attn_tensor *x_argument, *out_argument;
    attn_embed_params embed;
    attn_norm_params norm;
    attn_linear_params linear;
    attn_embed_gradients back;
    attn_tensor other;
    size_t height, width;
    struct {
        attn_weight_order order;
        size_t out_width, in_width;
        float *weight, *scales;
        int8_t *out;
    } quantize;
} call;

static float *normal(size_t n) { return new_normal(BHTD, 1, 1, 1, n).data; }

#define EMBED_FAULTS(X)                                                                                                \
    X(embed_params_struct, ATTN_ERROR_STRUCT, "struct_size", c->embed.struct_size = 9)                                 \
    X(embed_out_null, ATTN_ERROR_NULL, "out", c->out_argument = NULL)                                                  \
    X(embed_out_heads, ATTN_ERROR_SHAPE, "out", c->out.size[1] = 0)                                                    \
    X(embed_scale, ATTN_ERROR_VALUE, "scale", c->embed.scale = INFINITY)                                               \
    X(embed_no_ids, ATTN_ERROR_NULL, "ids", c->embed.ids = NULL)                                                       \
    X(embed_no_table, ATTN_ERROR_NULL, "token_table", c->embed.token_table = NULL)                                     \
    X(embed_no_tokens, ATTN_ERROR_SHAPE, "token_count", c->embed.token_count = 0)                                      \
    X(embed_huge_table, ATTN_ERROR_OVERFLOW, "token_count", c->embed.token_count = SIZE_MAX / 8)                       \
    X(embed_id_too_large, ATTN_ERROR_VALUE, "ids[1,2]", ((int64_t *)c->embed.ids)[5] = V)                              \
    X(embed_id_negative, ATTN_ERROR_VALUE, "ids[0,1]", ((int64_t *)c->embed.ids)[1] = -1)                              \
    X(embed_id_huge, ATTN_ERROR_VALUE, "ids[0,0]", ((int64_t *)c->embed.ids)[0] = INT64_MIN)                           \
    X(embed_norm_output, ATTN_ERROR_VALUE, "inverse_deviation", c->norm.inverse_deviation = (float *)c->x.data;        \
      c->embed.norm = &c->norm)                                                                                        \
    X(embed_both_sources, ATTN_ERROR_VALUE, "vectors", c->embed.vectors = &c->x)                                       \
    X(embed_positions, ATTN_ERROR_VALUE, "positions", c->embed.positions = (attn_positions)5)                          \
    X(embed_table_unused, ATTN_ERROR_VALUE, "position_table", c->embed.positions = ATTN_POSITIONS_SINUSOIDAL)          \
    X(embed_no_position_table, ATTN_ERROR_NULL, "position_table", c->embed.position_table = NULL)                      \
    X(embed_too_many_tokens, ATTN_ERROR_VALUE, "params.position_count", c->embed.position_count = T - 1)               \
    X(embed_too_far, ATTN_ERROR_VALUE, "first_position", c->embed.first_position = SIZE_MAX)                           \
    X(embed_position_out, ATTN_ERROR_VALUE, "position_ids[1,0]", c->embed.position_ids = c->embed.ids;                 \
      ((int64_t *)c->embed.ids)[3] = 5)                                                                                \
    X(embed_position_twice, ATTN_ERROR_VALUE, "position_ids", c->embed.position_ids = c->embed.ids;                    \
      c->embed.first_position = 1)                                                                                     \
    X(embed_position_unused, ATTN_ERROR_VALUE, "first_position", c->embed.positions = ATTN_POSITIONS_NONE;             \
      c->embed.position_table = NULL; c->embed.first_position = 1)                                                     \
    X(embed_position_ids_unused, ATTN_ERROR_VALUE, "position_ids", c->embed.positions = ATTN_POSITIONS_NONE;           \
      c->embed.position_table = NULL; c->embed.position_ids = c->embed.ids)                                            \
    X(embed_huge_positions, ATTN_ERROR_OVERFLOW, "position_count", c->embed.position_count = SIZE_MAX / 8)             \
    X(embed_huge_types, ATTN_ERROR_OVERFLOW, "type_count", c->embed.type_count = SIZE_MAX / 8)                         \
    X(embed_types_unused, ATTN_ERROR_VALUE, "type_ids", c->embed.type_table = NULL; c->embed.type_ids = c->embed.ids)  \
    X(embed_type_out, ATTN_ERROR_VALUE, "type_ids[0,2]", c->embed.type_ids = c->embed.ids;                             \
      ((int64_t *)c->embed.ids)[2] = 3)                                                                                \
    X(embed_norm, ATTN_ERROR_VALUE, "norm", c->embed.norm = &c->norm; c->norm.kind = (attn_norm_kind)3)                \
    X(embed_out_in_table, ATTN_ERROR_ALIAS, "params.token_table", c->out.data = (float *)(void *)c->embed.token_table) \
    X(embed_out_in_ids, ATTN_ERROR_ALIAS, "params.ids", c->out.data = (void *)c->embed.ids)

/* Of its gradients: x is d_out, and the outputs are in one piece of floats. */
#define EMBED_BACK_FAULTS(X)                                                                                           \
    X(back_d_out_null, ATTN_ERROR_NULL, "d_out", c->x_argument = NULL)                                                 \
    X(back_d_out_heads, ATTN_ERROR_SHAPE, "d_out", c->x.size[1] = 2)                                                   \
    X(back_d_out_type, ATTN_ERROR_DTYPE, "d_out", c->x.dtype = ATTN_F16)                                               \
    X(back_scale, ATTN_ERROR_VALUE, "params.scale", c->embed.scale = NAN)                                              \
    X(back_id, ATTN_ERROR_VALUE, "params.ids[1,2]", ((int64_t *)c->embed.ids)[5] = V)                                  \
    X(back_norm, ATTN_ERROR_VALUE, "params.norm.eps", c->norm.eps = -1)                                                \
    X(back_struct, ATTN_ERROR_STRUCT, "gradients.struct_size", c->back.struct_size = 0)                                \
    X(back_vectors_alone, ATTN_ERROR_VALUE, "d_vectors", c->back.d_vectors = &c->out)                                  \
    X(back_tokens_alone, ATTN_ERROR_VALUE, "d_token_table", c->embed.ids = NULL; c->embed.vectors = &c->x)             \
    X(back_positions_alone, ATTN_ERROR_VALUE, "d_position_table", c->embed.positions = ATTN_POSITIONS_NONE;            \
      c->embed.position_table = NULL)                                                                                  \
    X(back_types_alone, ATTN_ERROR_VALUE, "d_type_table", c->embed.type_table = NULL)                                  \
    X(back_norm_alone, ATTN_ERROR_VALUE, "d_norm_weight", c->embed.norm = NULL)                                        \
    X(back_bias_alone, ATTN_ERROR_VALUE, "d_norm_bias", c->embed.norm = NULL; c->back.d_norm_weight = NULL)            \
    X(back_vectors_shape, ATTN_ERROR_SHAPE, "params.vectors", c->embed.ids = NULL; c->back.d_token_table = NULL;       \
      c->other = c->x; c->other.size[2]--; c->embed.vectors = &c->other)                                               \
    X(back_d_vectors_shape, ATTN_ERROR_SHAPE, "gradients.d_vectors", c->embed.ids = NULL;                              \
      c->back.d_token_table = NULL; c->embed.vectors = &c->x; c->other = c->out; c->other.size[2]--;                   \
      c->back.d_vectors = &c->other)                                                                                   \
    X(back_d_vectors_added, ATTN_ERROR_ALIAS, "gradients.d_vectors overlaps d_out", c->embed.ids = NULL;               \
      c->back.d_token_table = NULL; c->embed.vectors = c->back.d_vectors = &c->x; c->back.accumulate = 1)              \
    X(back_huge_table, ATTN_ERROR_OVERFLOW, "token_count", c->embed.token_count = SIZE_MAX / 8)                        \
    X(back_table_is_table, ATTN_ERROR_ALIAS, "gradients.d_token_table",                                                \
      c->back.d_token_table = (float *)(uintptr_t)c->embed.token_table)                                                \
    X(back_table_in_ids, ATTN_ERROR_ALIAS, "params.ids", c->back.d_type_table = (float *)(uintptr_t)c->embed.ids)      \
    X(back_in_d_out, ATTN_ERROR_ALIAS, "gradients.d_norm_bias", c->back.d_norm_bias = c->x.data)                       \
    X(back_in_weight, ATTN_ERROR_ALIAS, "params.norm.weight",                                                          \
      c->back.d_norm_weight = (float *)(uintptr_t)c->norm.weight)                                                      \
    X(back_tables_meet, ATTN_ERROR_ALIAS, "gradients.d_position_table",                                                \
      c->back.d_position_table = c->back.d_token_table + 1)

#define NORM_FAULTS(X)                                                                                                 \
    X(norm_x_null, ATTN_ERROR_NULL, "x", c->x_argument = NULL)                                                         \
    X(norm_out_null, ATTN_ERROR_NULL, "out", c->out_argument = NULL)                                                   \
    X(norm_x_data, ATTN_ERROR_NULL, "x", c->x.data = NULL)                                                             \
    X(norm_sizes, ATTN_ERROR_SHAPE, "out", c->out.size[2] = T - 1)                                                     \
    X(norm_overlap, ATTN_ERROR_ALIAS, "out", c->out.data = (float *)c->x.data + 1)                                     \
    X(norm_other_strides, ATTN_ERROR_ALIAS, "out", c->out.data = c->x.data; c->out.stride[2] += 1;                     \
      c->out.stride[0] += 3)                                                                                           \
    X(norm_stride, ATTN_ERROR_STRIDE, "x", c->x.stride[3] = -1)                                                        \
    X(norm_kind, ATTN_ERROR_VALUE, "kind", c->norm.kind = (attn_norm_kind)-1)                                          \
    X(norm_mean_in_x, ATTN_ERROR_ALIAS, "params.mean overlaps x", c->norm.mean = (float *)c->x.data + 1)               \
    X(norm_deviation_in_out, ATTN_ERROR_ALIAS, "inverse_deviation",                                                    \
      c->norm.inverse_deviation = (float *)c->out.data + 1)                                                            \
    X(norm_mean_in_weight, ATTN_ERROR_ALIAS, "weight", c->norm.weight = c->norm.mean = normal(B * T * M))              \
    X(norm_mean_in_bias, ATTN_ERROR_ALIAS, "bias", c->norm.bias = c->norm.mean = normal(B * T * M))                    \
    X(norm_outputs_meet, ATTN_ERROR_ALIAS, "params.mean overlaps params.inverse_deviation",                            \
      c->norm.mean = normal(2 * B * T);                                                                                \
      c->norm.inverse_deviation = c->norm.mean + 1)                                                                    \
    X(norm_eps, ATTN_ERROR_VALUE, "eps", c->norm.eps = INFINITY)                                                       \
    X(norm_params, ATTN_ERROR_STRUCT, "struct_size", c->norm.struct_size = 1)

#define LINEAR_FAULTS(X)                                                                                               \
    X(linear_params, ATTN_ERROR_STRUCT, "struct_size", c->linear.struct_size = 1)                                      \
    X(linear_no_in, ATTN_ERROR_SHAPE, "in_width", c->linear.in_width = 0)                                              \
    X(linear_no_out, ATTN_ERROR_SHAPE, "out_width", c->linear.out_width = 0)                                           \
    X(linear_huge_in, ATTN_ERROR_OVERFLOW, "in_width", c->linear.in_width = SIZE_MAX / 4)                              \
    X(linear_huge_both, ATTN_ERROR_OVERFLOW, "out_width", c->linear.out_width = c->linear.in_width = INT32_MAX - 99)   \
    X(linear_order, ATTN_ERROR_VALUE, "order", c->linear.order = (attn_weight_order)7)                                 \
    X(linear_no_weight, ATTN_ERROR_NULL, "weight", c->linear.weight = NULL)                                            \
    X(linear_bools, ATTN_ERROR_DTYPE, "weight_dtype", c->linear.weight_dtype = ATTN_BOOL)                              \
    X(linear_type, ATTN_ERROR_DTYPE, "weight_dtype", c->linear.weight_dtype = (attn_dtype)6)                           \
    X(linear_scale, ATTN_ERROR_VALUE, "weight_scale", c->linear.weight_scale = c->embed.token_table)                   \
    X(linear_bf16_scale, ATTN_ERROR_VALUE, "weight_scale", c->linear.weight_dtype = ATTN_BF16;                         \
      c->linear.weight_scale = c->embed.token_table)                                                                   \
    X(linear_no_scale, ATTN_ERROR_NULL, "weight_scale", c->linear.weight_dtype = ATTN_INT8)                            \
    X(linear_nan_scale, ATTN_ERROR_VALUE, "weight_scale[6]", c->linear.weight_dtype = ATTN_INT8;                       \
      c->linear.weight_scale = c->embed.token_table; ((float *)(uintptr_t)c->embed.token_table)[6] = NAN)              \
    X(linear_inf_scale, ATTN_ERROR_VALUE, "weight_scale[0]", c->linear.weight_dtype = ATTN_INT8;                       \
      c->linear.weight_scale = c->embed.token_table; ((float *)(uintptr_t)c->embed.token_table)[0] = INFINITY)         \
    X(linear_int4_no_scale, ATTN_ERROR_NULL, "ATTN_INT4 (5)", c->linear.weight_dtype = ATTN_INT4)                      \
    X(linear_int4_order, ATTN_ERROR_VALUE, "params.order is 1", c->linear.weight_dtype = ATTN_INT4;                    \
      c->linear.weight_scale = c->embed.token_table; c->linear.order = ATTN_IN_OUT)                                    \
    X(linear_int4_last, ATTN_ERROR_VALUE, "weight_scale[13]", c->linear.weight_dtype = ATTN_INT4;                      \
      c->linear.weight_scale = c->embed.token_table; ((float *)(uintptr_t)c->embed.token_table)[13] = NAN)

/* Of either type, */
#define QUANTIZE_FAULTS(X)                                                                                             \
    X(quantize_no_weight, ATTN_ERROR_NULL, "weight", c->quantize.weight = NULL)                                        \
    X(quantize_no_out, ATTN_ERROR_NULL, "out", c->quantize.out = NULL)                                                 \
    X(quantize_no_scales, ATTN_ERROR_NULL, "scales", c->quantize.scales = NULL)                                        \
    X(quantize_order, ATTN_ERROR_VALUE, "order", c->quantize.order = (attn_weight_order)2)                             \
    X(quantize_no_in, ATTN_ERROR_SHAPE, "in_width", c->quantize.in_width = 0)                                          \
    X(quantize_no_features, ATTN_ERROR_SHAPE, "out_width", c->quantize.out_width = 0)                                  \
    X(quantize_huge_in, ATTN_ERROR_OVERFLOW, "in_width", c->quantize.in_width = SIZE_MAX / 2)                          \
    X(quantize_huge, ATTN_ERROR_OVERFLOW, "out_width", c->quantize.in_width = c->quantize.out_width = INT32_MAX - 99)  \
    X(quantize_nan, ATTN_ERROR_VALUE, "weight[6,11]", c->quantize.weight[V * M - 1] = NAN)                             \
    X(quantize_inf, ATTN_ERROR_VALUE, "weight[0,1]", c->quantize.weight[1] = -INFINITY)                                \
    X(quantize_inf_turned, ATTN_ERROR_VALUE, "weight[1,0]", c->quantize.weight[V] = INFINITY;                          \
      c->quantize.order = ATTN_IN_OUT)                                                                                 \
    X(quantize_last_turned, ATTN_ERROR_VALUE, "weight[11,6]", c->quantize.weight[V * M - 1] = NAN;                     \
      c->quantize.order = ATTN_IN_OUT)                                                                                 \
    X(quantize_in_place, ATTN_ERROR_ALIAS, "out", c->quantize.out = (int8_t *)c->quantize.weight)                      \
    X(quantize_scales_in, ATTN_ERROR_ALIAS, "scales", c->quantize.scales = c->quantize.weight + V * M - 1)

/* and the last byte of `out` where the scales begin, or the other way round. */
#define INT8_FAULTS(X)                                                                                                 \
    X(quantize_scales_out, ATTN_ERROR_ALIAS, "scales", c->quantize.out = (int8_t *)c->quantize.scales - V * M + 1)

#define INT4_FAULTS(X)                                                                                                 \
    X(int4_scales_out, ATTN_ERROR_ALIAS, "scales", c->quantize.out = (int8_t *)c->quantize.scales - V * (M / 2) + 1)   \
    X(int4_scales_first, ATTN_ERROR_ALIAS, "scales", c->quantize.out = (int8_t *)(c->quantize.scales + 2 * V) - 1)

#define PATCH_FAULTS(X)                                                                                                \
    X(patch_image_null, ATTN_ERROR_NULL, "image", c->x_argument = NULL)                                                \
    X(patch_out_null, ATTN_ERROR_NULL, "out", c->out_argument = NULL)                                                  \
    X(patch_height_zero, ATTN_ERROR_SHAPE, "height", c->height = 0)                                                    \
    X(patch_width, ATTN_ERROR_SHAPE, "width", c->width = 5)                                                            \
    X(patch_count, ATTN_ERROR_SHAPE, "out", c->out.size[2] = 2)                                                        \
    X(patch_elements, ATTN_ERROR_SHAPE, "out", c->out.size[3] = 3)                                                     \
    X(patch_batch, ATTN_ERROR_SHAPE, "out", c->out.size[0] = 1)                                                        \
    X(patch_heads, ATTN_ERROR_SHAPE, "out", c->out.size[1] = 0)                                                        \
    X(patch_overlap, ATTN_ERROR_ALIAS, "image", c->out.data = c->x.data)

DEFINE_FAULTS(embed_faults, EMBED_FAULTS);
DEFINE_FAULTS(embed_back_faults, EMBED_BACK_FAULTS);
DEFINE_FAULTS(norm_faults, NORM_FAULTS);
DEFINE_FAULTS(linear_faults, LINEAR_FAULTS);
DEFINE_FAULTS(quantize_faults, QUANTIZE_FAULTS);
DEFINE_FAULTS(int8_faults, INT8_FAULTS);
DEFINE_FAULTS(int4_faults, INT4_FAULTS);
DEFINE_FAULTS(patch_faults, PATCH_FAULTS);

static void missing_arguments(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    attn_linear_destroy(NULL);
    const attn_tensor x = new_normal(BHTD, 1, 1, 2, 3), out = new_tensor(BHTD, 1, 1, 2, 3);
    assert_int_equal(attn_norm(NULL, &x, &out, NULL), ATTN_ERROR_NULL);
    assert_int_equal(attn_activate(NULL, ATTN_RELU, &x, &out), ATTN_ERROR_NULL);
    assert_int_equal(attn_embed(NULL, NULL, &out), ATTN_ERROR_NULL);
    assert_int_equal(attn_patchify(NULL, &x, 1, 1, &out), ATTN_ERROR_NULL);
    assert_status(context, attn_embed(context, NULL, &out), ATTN_ERROR_NULL);
    assert_mentions(attn_context_last_error(context), "params");
    assert_status(context, attn_activate(context, (attn_activation)-1, &x, &out), ATTN_ERROR_VALUE);
    assert_mentions(attn_context_last_error(context), "activation");
    assert_status(context, attn_linear_forward(context, NULL, &x, &out), ATTN_ERROR_NULL);
    assert_mentions(attn_context_last_error(context), "linear");
    assert_untouched(out);
}

/* Each number that is wrong, and tensors that are. */
static void faults_of_glu(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    const attn_tensor x = new_normal(BHTD, 1, 1, 2, 3), out = new_tensor(BHTD, 1, 1, 2, 3);
    const attn_tensor small = new_normal(BHTD, 1, 1, 2, 2);
    attn_activation_params p;
    ATTN_INIT(&p);
    float *const numbers[] = {&p.beta, &p.limit, &p.beta, &p.alpha_p, &p.alpha_n, &p.limit, &p.up_offset};
    static const char *const names[] = {"beta", "limit", "beta", "alpha_p", "alpha_n", "limit", "up_offset"};
    for (size_t i = 0; i < COUNT(numbers); i++) {
        *numbers[i] = i < 2 ? -1 : INFINITY;
        assert_status(context, attn_glu(context, ATTN_SILU, &p, &x, &x, &out), ATTN_ERROR_VALUE);
        assert_mentions(attn_context_last_error(context), names[i]);
        *numbers[i] = 0;
    }
    p.up_offset = 1;
    assert_status(context, attn_glu(context, ATTN_SILU, &p, &x, NULL, &out), ATTN_ERROR_VALUE);
    assert_mentions(attn_context_last_error(context), "up_offset");
    p.up_offset = 0;
    float *const own[] = {&p.beta, &p.alpha_p, &p.alpha_n};
    static const char *const own_names[] = {"beta", "alpha_p", "alpha_n"};
    for (size_t i = 0; i < COUNT(own); i++) {
        *own[i] = 1;
        assert_status(context, attn_glu(context, i == 0 ? ATTN_GELU_SIGMOID : ATTN_SILU, &p, &x, &x, &out),
                      ATTN_ERROR_VALUE);
        assert_mentions(attn_context_last_error(context), own_names[i]);
        *own[i] = 0;
    }
    assert_status(context, attn_glu(context, (attn_activation)(ATTN_SIGMOID + 1), &p, &x, &x, &out), ATTN_ERROR_VALUE);
    assert_status(context, attn_glu(context, ATTN_SILU, &p, &x, &small, &out), ATTN_ERROR_SHAPE);
    assert_status(context, attn_glu(context, ATTN_SILU, &p, NULL, &x, &out), ATTN_ERROR_NULL);
    assert_mentions(attn_context_last_error(context), "gate");
    p.struct_size = 3;
    assert_status(context, attn_glu(context, ATTN_SILU, &p, &x, &x, &out), ATTN_ERROR_STRUCT);
    assert_int_equal(attn_glu(NULL, ATTN_SILU, NULL, &x, &x, &out), ATTN_ERROR_NULL);
    assert_untouched(out);
}

static void make_valid_embed(call *c) {
    memset(c, 0, sizeof *c);
    ATTN_INIT(&c->embed);
    ATTN_INIT(&c->norm);
    int64_t *ids = (int64_t *)(void *)new_doubles((size_t)B * T);
    for (int i = 0; i < B * T; i++)
        ids[i] = i % 3;
    c->embed.ids = ids;
    c->embed.token_table = normal((size_t)V * M);
    c->embed.token_count = V;
    c->embed.positions = ATTN_POSITIONS_TABLE;
    c->embed.position_table = normal((size_t)5 * M);
    c->embed.position_count = 5;
    c->embed.type_table = normal((size_t)3 * M);
    c->embed.type_count = 3;
    c->x = new_normal(BHTD, B, 1, T, M);
    c->out = new_tensor(BHTD, B, 1, T, M);
    c->x_argument = &c->x;
    c->out_argument = &c->out;
}

/* Runs a table whose calls write one output. */
#define CHECK_FAULTS(faults, make_valid, call_it)                                                                      \
    for (size_t i = 0; i < COUNT(faults); i++) {                                                                       \
        call c;                                                                                                        \
        make_valid(&c);                                                                                                \
        const attn_tensor out = c.out;                                                                                 \
        name_case(#faults ": %s", (faults)[i].name);                                                                   \
        (faults)[i].spoil(&c);                                                                                         \
        assert_status(context, call_it, (faults)[i].status);                                                           \
        assert_mentions(attn_context_last_error(context), (faults)[i].field);                                          \
        assert_untouched(out);                                                                                         \
        end_case();                                                                                                    \
    }

static void every_fault_of_embed(void **state) {
    (void)state;
    call valid;
    attn_context *context = new_context_of(1, 0);
    make_valid_embed(&valid);
    assert_ok(context, attn_embed(context, &valid.embed, &valid.out));
    CHECK_FAULTS(embed_faults, make_valid_embed, attn_embed(context, &c.embed, c.out_argument))
}

static void make_valid_embed_back(call *c) {
    make_valid_embed(c);
    ATTN_INIT(&c->back);
    c->out = new_tensor(BHTD, 1, 1, V + 5 + 3 + 2, M);
    float *const at = c->out.data;
    c->back.d_token_table = at;
    c->back.d_position_table = at + (size_t)V * M;
    c->back.d_type_table = at + (size_t)(V + 5) * M;
    c->back.d_norm_weight = at + (size_t)(V + 8) * M;
    c->back.d_norm_bias = at + (size_t)(V + 9) * M;
    c->norm.weight = normal(M);
    c->embed.norm = &c->norm;
}

static attn_status run_embed_back(attn_context *context, const call *c) {
    return attn_embed_backward(context, &c->embed, c->x_argument, &c->back);
}

static void every_fault_of_embed_backward(void **state) {
    (void)state;
    call valid;
    size_t bytes = 0;
    attn_context *context = new_context_of(1, 0);
    CHECK_FAULTS(embed_back_faults, make_valid_embed_back, run_embed_back(context, &c))
    make_valid_embed_back(&valid);
    assert_ok(context, run_embed_back(context, &valid));
    assert_int_equal(run_embed_back(NULL, &valid), ATTN_ERROR_NULL);
    assert_status(context, attn_embed_backward(context, NULL, &valid.x, &valid.back), ATTN_ERROR_NULL);
    assert_mentions(attn_context_last_error(context), "params");
    assert_status(context, attn_embed_backward(context, &valid.embed, &valid.x, NULL), ATTN_ERROR_NULL);
    assert_mentions(attn_context_last_error(context), "gradients");
    valid.x.data = NULL;
    assert_ok(context, attn_embed_backward_scratch_size(context, &valid.embed, &valid.x, &valid.back, &bytes));
    assert_true(bytes > 0);
    assert_status(context, attn_embed_backward_scratch_size(context, &valid.embed, &valid.x, &valid.back, NULL),
                  ATTN_ERROR_NULL);
    assert_status(context, run_embed_back(context, &valid), ATTN_ERROR_NULL);
    assert_int_equal(attn_embed_backward_scratch_size(NULL, &valid.embed, &valid.x, &valid.back, &bytes),
                     ATTN_ERROR_NULL);
}

static void every_fault_of_norm(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    CHECK_FAULTS(norm_faults, make_valid_embed, attn_norm(context, c.x_argument, c.out_argument, &c.norm))
}

static void make_valid_linear(call *c) {
    make_valid_embed(c);
    ATTN_INIT(&c->linear);
    c->linear.in_width = M;
    c->linear.out_width = V;
    c->linear.weight = c->embed.token_table;
}

static attn_status create_linear(attn_context *context, const call *c) {
    attn_linear *linear = (attn_linear *)context;
    const attn_status status = attn_linear_create(context, &c->linear, &linear);
    assert_null(linear);
    return status;
}

static void every_fault_of_linear(void **state) {
    (void)state;
    call valid;
    attn_linear *linear = NULL;
    size_t bytes = 0;
    attn_context *context = new_context_of(1, 0);
    CHECK_FAULTS(linear_faults, make_valid_linear, create_linear(context, &c))
    make_valid_linear(&valid);
    assert_status(context, attn_linear_create(context, &valid.linear, NULL), ATTN_ERROR_NULL);
    assert_mentions(attn_context_last_error(context), "linear");
    linear = (attn_linear *)context;
    assert_status(context, attn_linear_create(context, NULL, &linear), ATTN_ERROR_NULL);
    assert_mentions(attn_context_last_error(context), "params");
    assert_null(linear);
    assert_int_equal(attn_linear_create(NULL, &valid.linear, &linear), ATTN_ERROR_NULL);
    assert_ok(context, attn_linear_create(context, &valid.linear, &linear));
    const attn_tensor out = new_tensor(BHTD, B, 1, T, V), wide = new_tensor(BHTD, B, 1, T, V + 1);
    assert_status(context, attn_linear_forward(context, linear, &out, &out), ATTN_ERROR_SHAPE);
    assert_mentions(attn_context_last_error(context), "x");
    assert_status(context, attn_linear_forward(context, linear, &valid.x, &wide), ATTN_ERROR_SHAPE);
    assert_mentions(attn_context_last_error(context), "out");
    attn_tensor inside = out;
    inside.data = valid.x.data;
    assert_status(context, attn_linear_forward(context, linear, &valid.x, &inside), ATTN_ERROR_ALIAS);
    for (size_t axis = 0; axis < 3; axis++) {
        attn_tensor other = out;
        other.size[axis]--;
        assert_status(context, attn_linear_forward(context, linear, &valid.x, &other), ATTN_ERROR_SHAPE);
        assert_mentions(attn_context_last_error(context), "out");
    }
    attn_tensor no_heads = valid.x;
    no_heads.size[1] = 0;
    assert_status(context, attn_linear_forward(context, linear, &no_heads, &out), ATTN_ERROR_SHAPE);
    assert_mentions(attn_context_last_error(context), "x");
    assert_int_equal(attn_linear_forward(NULL, linear, &valid.x, &out), ATTN_ERROR_NULL);
    assert_status(context, attn_linear_scratch_size(context, linear, &valid.x, &wide, &bytes), ATTN_ERROR_SHAPE);
    assert_int_equal(attn_linear_scratch_size(NULL, linear, &valid.x, &out, &bytes), ATTN_ERROR_NULL);
    assert_status(context, attn_linear_scratch_size(context, linear, &valid.x, &out, NULL), ATTN_ERROR_NULL);
    assert_untouched(out);
    assert_untouched(wide);
    attn_linear_destroy(linear);
}

/* Of the two outputs, `out` is the scales. */
static void make_valid_quantize(call *c) {
    memset(c, 0, sizeof *c);
    c->out = new_tensor(BHTD, 1, 1, 1, V);
    c->quantize.out_width = V;
    c->quantize.in_width = M;
    c->quantize.weight = normal((size_t)V * M);
    c->quantize.scales = c->out.data;
    c->quantize.out = (int8_t *)new_bools((size_t)V * M);
}

static attn_status run_quantize(attn_context *context, const call *c) {
    return attn_quantize_weight(context, c->quantize.order, c->quantize.out_width, c->quantize.in_width,
                                c->quantize.weight, c->quantize.out, c->quantize.scales);
}

/* Its outputs lie where the others do: 7 rows of 6 bytes, and 7 pairs. */
static void make_valid_int4(call *c) {
    make_valid_quantize(c);
    c->out = new_tensor(BHTD, 1, 1, 1, 2 * V);
    c->quantize.scales = c->out.data;
}

static attn_status run_int4(attn_context *context, const call *c) {
    return attn_quantize_weight_int4(context, c->quantize.order, c->quantize.out_width, c->quantize.in_width,
                                     c->quantize.weight, (uint8_t *)c->quantize.out, c->quantize.scales);
}

static void every_fault_of_quantize(void **state) {
    (void)state;
    call valid;
    attn_context *context = new_context_of(1, 0);
    CHECK_FAULTS(quantize_faults, make_valid_quantize, run_quantize(context, &c))
    CHECK_FAULTS(int8_faults, make_valid_quantize, run_quantize(context, &c))
    CHECK_FAULTS(quantize_faults, make_valid_int4, run_int4(context, &c))
    CHECK_FAULTS(int4_faults, make_valid_int4, run_int4(context, &c))
    make_valid_int4(&valid);
    assert_int_equal(run_int4(NULL, &valid), ATTN_ERROR_NULL);
    assert_ok(context, run_int4(context, &valid));
    make_valid_quantize(&valid);
    assert_int_equal(run_quantize(NULL, &valid), ATTN_ERROR_NULL);
    valid.quantize.weight[0] = NAN;
    memset(valid.quantize.out, 99, (size_t)V * M);
    assert_status(context, run_quantize(context, &valid), ATTN_ERROR_VALUE);
    for (size_t i = 0; i < (size_t)V * M; i++)
        assert_int_equal(valid.quantize.out[i], 99);
    assert_untouched(valid.out);
    valid.quantize.weight[0] = 0;
    assert_ok(context, run_quantize(context, &valid));
}

static void make_valid_patches(call *c) {
    make_valid_embed(c);
    c->x = new_normal(BHTD, B, 3, 4, 6);
    c->out = new_tensor(BHTD, B, 1, 4, 18);
    c->height = 2;
    c->width = 3;
}

static void every_fault_of_patchify(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    CHECK_FAULTS(patch_faults, make_valid_patches,
                 attn_patchify(context, c.x_argument, c.height, c.width, c.out_argument))
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(missing_arguments),
                                       TEST(faults_of_glu),
                                       TEST(every_fault_of_embed),
                                       TEST(every_fault_of_norm),
                                       TEST(every_fault_of_embed_backward),
                                       TEST(every_fault_of_linear),
                                       TEST(every_fault_of_quantize),
                                       TEST(every_fault_of_patchify)};
    return cmocka_run_group_tests_name("errors_parts", tests, NULL, NULL);
}
