/* SPDX-License-Identifier: BSD-3-Clause */
/* Every way to call the gradients of norms and activations wrongly; what is wrong with the arguments of the forward
 * functions is test_errors_parts's. */
#include <math.h>
#include <string.h>

#include "support/fault.h"

enum { B = 2, H = 2, T = 3, M = 12 };

typedef struct call {
    attn_context *context;
    attn_tensor x, up, d_out, dx, d_up;
    const attn_tensor *x_argument, *up_argument, *d_out_argument, *dx_argument, *d_up_argument;
    attn_norm_params norm;
    WITH_TAIL(attn_norm_gradients) g;
    const attn_norm_gradients *g_argument;
    attn_activation activation;
    attn_activation_params numbers;
} call;

static float *of(const float *constant) { return (float *)(uintptr_t)constant; }

#define NORM_FAULTS(X)                                                                                                 \
    X(x_null, ATTN_ERROR_NULL, "x", c->x_argument = NULL)                                                              \
    X(d_out_null, ATTN_ERROR_NULL, "d_out", c->d_out_argument = NULL)                                                  \
    X(gradients_null, ATTN_ERROR_NULL, "gradients", c->g_argument = NULL)                                              \
    X(x_dtype, ATTN_ERROR_DTYPE, "x", c->x.dtype = ATTN_F16)                                                           \
    X(d_out_dtype, ATTN_ERROR_DTYPE, "d_out", c->d_out.dtype = ATTN_BF16)                                              \
    X(dx_dtype, ATTN_ERROR_DTYPE, "gradients.dx", c->dx.dtype = ATTN_F16)                                              \
    X(d_out_tokens, ATTN_ERROR_SHAPE, "d_out", c->d_out.size[2] = T - 1)                                               \
    X(dx_width, ATTN_ERROR_SHAPE, "gradients.dx", c->dx.size[3] = M - 1)                                               \
    X(dx_heads, ATTN_ERROR_SHAPE, "gradients.dx", c->dx.size[1] = 1)                                                   \
    X(x_inner_stride, ATTN_ERROR_STRIDE, "x", c->x.stride[3] = 2)                                                      \
    X(d_out_inner_stride, ATTN_ERROR_STRIDE, "d_out", c->d_out.stride[3] = 0)                                          \
    X(dx_same_tokens, ATTN_ERROR_STRIDE, "gradients.dx", c->dx.stride[2] = 0)                                          \
    X(kind, ATTN_ERROR_VALUE, "params.kind", c->norm.kind = (attn_norm_kind)3)                                         \
    X(eps, ATTN_ERROR_VALUE, "params.eps", c->norm.eps = -1)                                                           \
    X(params_struct, ATTN_ERROR_STRUCT, "params.struct_size", c->norm.struct_size = 1)                                 \
    X(not_initialised, ATTN_ERROR_STRUCT, "gradients.struct_size", c->g.known.struct_size = 0)                         \
    X(unknown, ATTN_ERROR_STRUCT, "gradients.struct_size", c->g.known.struct_size = sizeof c->g; c->g.tail[15] = 1)    \
    X(huge_stride, ATTN_ERROR_OVERFLOW, "gradients.dx", c->dx.stride[0] = PTRDIFF_MAX / 2)                             \
    X(huge_width, ATTN_ERROR_OVERFLOW, "x.size[3]",                                                                    \
      c->x.size[3] = c->d_out.size[3] = c->dx.size[3] = PTRDIFF_MAX / 64;                                              \
      for (int i = 0; i < 3; i++) c->x.size[i] = c->d_out.size[i] = c->dx.size[i] = 1)

#define NORM_DATA_FAULTS(X)                                                                                            \
    X(x_data, ATTN_ERROR_NULL, "x", c->x.data = NULL)                                                                  \
    X(d_out_data, ATTN_ERROR_NULL, "d_out", c->d_out.data = NULL)                                                      \
    X(dx_data, ATTN_ERROR_NULL, "gradients.dx", c->dx.data = NULL)                                                     \
    X(dx_in_x, ATTN_ERROR_ALIAS, "gradients.dx", c->dx.data = (float *)c->x.data + 1)                                  \
    X(dx_in_d_out, ATTN_ERROR_ALIAS, "gradients.dx", c->dx.data = (float *)c->d_out.data + 1)                          \
    X(dx_added_to_x, ATTN_ERROR_ALIAS, "gradients.dx overlaps x", c->dx = c->x; c->g.known.accumulate = 1)             \
    X(dx_added_to_d_out, ATTN_ERROR_ALIAS, "gradients.dx overlaps d_out", c->dx = c->d_out; c->g.known.accumulate = 1) \
    X(dx_is_weight, ATTN_ERROR_ALIAS, "params.weight", c->norm.weight = c->dx.data)                                    \
    X(dx_is_bias, ATTN_ERROR_ALIAS, "params.bias", c->norm.bias = c->dx.data)                                          \
    X(d_weight_is_weight, ATTN_ERROR_ALIAS, "gradients.d_weight", c->g.known.d_weight = of(c->norm.weight))            \
    X(d_bias_is_weight, ATTN_ERROR_ALIAS, "gradients.d_bias", c->g.known.d_bias = of(c->norm.weight))                  \
    X(d_weight_in_dx, ATTN_ERROR_ALIAS, "gradients.d_weight", c->g.known.d_weight = c->dx.data)                        \
    X(d_bias_in_x, ATTN_ERROR_ALIAS, "gradients.d_bias", c->g.known.d_bias = c->x.data)                                \
    X(sums_meet, ATTN_ERROR_ALIAS, "gradients.d_bias", c->g.known.d_bias = c->g.known.d_weight + M - 1)

/* Of both outputs, */
#define GLU_FAULTS(X)                                                                                                  \
    X(glu_gate_null, ATTN_ERROR_NULL, "gate", c->x_argument = NULL)                                                    \
    X(glu_d_out_null, ATTN_ERROR_NULL, "d_out", c->d_out_argument = NULL)                                              \
    X(glu_gate_data, ATTN_ERROR_NULL, "gate", c->x.data = NULL)                                                        \
    X(glu_d_up_data, ATTN_ERROR_NULL, "d_up", c->d_up.data = NULL)                                                     \
    X(glu_activation, ATTN_ERROR_VALUE, "activation", c->activation = (attn_activation)(ATTN_SIGMOID + 1))             \
    X(glu_beta, ATTN_ERROR_VALUE, "params.beta", c->numbers.beta = NAN)                                                \
    X(glu_struct, ATTN_ERROR_STRUCT, "params.struct_size", c->numbers.struct_size = 3)                                 \
    X(glu_offset_alone, ATTN_ERROR_VALUE, "up_offset", c->up_argument = NULL; c->numbers.up_offset = 1)                \
    X(glu_d_up_alone, ATTN_ERROR_VALUE, "d_up", c->up_argument = NULL)                                                 \
    X(glu_up_dtype, ATTN_ERROR_DTYPE, "up", c->up.dtype = ATTN_F16)                                                    \
    X(glu_up_tokens, ATTN_ERROR_SHAPE, "up", c->up.size[2] = T - 1)                                                    \
    X(glu_d_out_width, ATTN_ERROR_SHAPE, "d_out", c->d_out.size[3] = M - 1)                                            \
    X(glu_d_gate_batch, ATTN_ERROR_SHAPE, "d_gate", c->dx.size[0] = 1)                                                 \
    X(glu_d_up_heads, ATTN_ERROR_SHAPE, "d_up", c->d_up.size[1] = 1)                                                   \
    X(glu_d_up_stride, ATTN_ERROR_STRIDE, "d_up", c->d_up.stride[1] = 0)                                               \
    X(glu_d_gate_in_gate, ATTN_ERROR_ALIAS, "d_gate overlaps gate", c->dx.data = (float *)c->x.data + 1)               \
    X(glu_d_gate_in_up, ATTN_ERROR_ALIAS, "d_gate overlaps up", c->dx.data = (float *)c->up.data + 1)                  \
    X(glu_d_up_in_d_out, ATTN_ERROR_ALIAS, "d_up overlaps d_out", c->d_up.data = (float *)c->d_out.data + 1)           \
    X(glu_outputs_meet, ATTN_ERROR_ALIAS, "d_gate overlaps d_up", c->d_up = c->dx)

/* and of one. */
#define ACTIVATE_FAULTS(X)                                                                                             \
    X(activate_x_null, ATTN_ERROR_NULL, "x", c->x_argument = NULL)                                                     \
    X(activate_d_out_null, ATTN_ERROR_NULL, "d_out", c->d_out_argument = NULL)                                         \
    X(activate_dx_null, ATTN_ERROR_NULL, "dx", c->dx_argument = NULL)                                                  \
    X(activate_kind, ATTN_ERROR_VALUE, "activation", c->activation = (attn_activation)-1)                              \
    X(activate_width, ATTN_ERROR_SHAPE, "dx", c->x.size[3] = M - 1)                                                    \
    X(activate_d_out_width, ATTN_ERROR_SHAPE, "dx", c->d_out.size[3] = M - 1)                                          \
    X(activate_dx_in_x, ATTN_ERROR_ALIAS, "dx overlaps x", c->dx.data = (float *)c->x.data + 1)                        \
    X(activate_dx_in_d_out, ATTN_ERROR_ALIAS, "dx overlaps d_out", c->dx.data = (float *)c->d_out.data + 1)

DEFINE_FAULTS(faults, NORM_FAULTS);
DEFINE_FAULTS(data_faults, NORM_DATA_FAULTS);
DEFINE_FAULTS(glu_faults, GLU_FAULTS);
DEFINE_FAULTS(activate_faults, ACTIVATE_FAULTS);

static float *random_row(size_t n) { return new_normal(BHTD, 1, 1, 1, n).data; }

static void make_valid(attn_context *context, call *c) {
    memset(c, 0, sizeof *c);
    c->context = context;
    c->x = new_normal(BHTD, B, H, T, M);
    c->up = new_normal(BHTD, B, H, T, M);
    c->d_out = new_normal(BHTD, B, H, T, M);
    c->dx = new_tensor(BHTD, B, H, T, M);
    c->d_up = new_tensor(BHTD, B, H, T, M);
    ATTN_INIT(&c->norm);
    ATTN_INIT(&c->g.known);
    ATTN_INIT(&c->numbers);
    c->activation = ATTN_SILU;
    c->norm.weight = random_row(M);
    c->norm.bias = random_row(M);
    c->norm.mean = c->x.data; /* which is not looked at */
    c->g.known.dx = &c->dx;
    c->g.known.d_weight = new_floats(M);
    c->g.known.d_bias = new_floats(M);
    c->x_argument = &c->x;
    c->up_argument = &c->up;
    c->d_out_argument = &c->d_out;
    c->dx_argument = &c->dx;
    c->d_up_argument = &c->d_up;
    c->g_argument = &c->g.known;
}

static attn_status run(const call *c) {
    return attn_norm_backward(c->context, c->x_argument, c->d_out_argument, &c->norm, c->g_argument);
}

static attn_status ask_size(const call *c, size_t *bytes) {
    return attn_norm_backward_scratch_size(c->context, c->x_argument, c->d_out_argument, &c->norm, c->g_argument,
                                           bytes);
}

static attn_status run_glu(const call *c) {
    return attn_glu_backward(c->context, c->activation, &c->numbers, c->x_argument, c->up_argument, c->d_out_argument,
                             c->dx_argument, c->d_up_argument);
}

static attn_status run_activate(const call *c) {
    return attn_activate_backward(c->context, c->activation, c->x_argument, c->d_out_argument, c->dx_argument);
}

static void assert_nothing_written(const call *valid, const call *copies) {
    assert_untouched(valid->dx);
    assert_untouched(valid->d_up);
    assert_untouched(attn_tensor_bhtd(valid->g.known.d_weight, ATTN_F32, 1, 1, 1, M));
    assert_untouched(attn_tensor_bhtd(valid->g.known.d_bias, ATTN_F32, 1, 1, 1, M));
    assert_bits(valid->x, copies->x);
    assert_bits(valid->up, copies->up);
    assert_bits(valid->d_out, copies->d_out);
}

static call copies_of(const call *valid) {
    return (call){.x = new_copy(valid->x), .up = new_copy(valid->up), .d_out = new_copy(valid->d_out)};
}

#include "support/every_fault.h"

/* The tables of functions that need no scratch. */
#define CHECK_FAULTS(faults, run_it)                                                                                   \
    for (size_t i = 0; i < COUNT(faults); i++) {                                                                       \
        call c;                                                                                                        \
        make_valid(context, &c);                                                                                       \
        const call valid = c, copies = copies_of(&valid);                                                              \
        name_case("%s", (faults)[i].name);                                                                             \
        (faults)[i].spoil(&c);                                                                                         \
        assert_status(context, run_it(&c), (faults)[i].status);                                                        \
        assert_mentions(attn_context_last_error(context), (faults)[i].field);                                          \
        assert_nothing_written(&valid, &copies);                                                                       \
        end_case();                                                                                                    \
    }

static void every_fault_of_activations(void **state) {
    (void)state;
    attn_context *context = new_context_of(2, 0);
    CHECK_FAULTS(glu_faults, run_glu)
    CHECK_FAULTS(activate_faults, run_activate)
}

/* What the faults begin with is no fault; nor are a struct of a newer library, arguments without memory to ask for a
 * size, and sizes of 0. */
static void tolerated(void **state) {
    (void)state;
    call c;
    size_t bytes = 0;
    make_valid(new_context_of(1, 0), &c);
    c.g.known.struct_size = sizeof c.g;
    assert_ok(c.context, run(&c));
    assert_ok(c.context, run_glu(&c));
    assert_ok(c.context, run_activate(&c));
    c.x.data = c.d_out.data = c.dx.data = c.up.data = c.d_up.data = NULL;
    assert_ok(c.context, ask_size(&c, &bytes));
    assert_true(bytes > 0);
    assert_status(c.context, ask_size(&c, NULL), ATTN_ERROR_NULL);
    assert_mentions(attn_context_last_error(c.context), "bytes");
    c.x.size[3] = c.d_out.size[3] = c.dx.size[3] = c.up.size[3] = c.d_up.size[3] = 0;
    assert_ok(c.context, run(&c));
    assert_ok(c.context, run_glu(&c));
    assert_ok(c.context, run_activate(&c));
    c.context = NULL;
    assert_int_equal(run(&c), ATTN_ERROR_NULL);
    assert_int_equal(ask_size(&c, &bytes), ATTN_ERROR_NULL);
    assert_int_equal(run_glu(&c), ATTN_ERROR_NULL);
    assert_int_equal(run_activate(&c), ATTN_ERROR_NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(every_fault), TEST(every_fault_of_activations), TEST(tolerated)};
    return cmocka_run_group_tests_name("errors_backward_parts", tests, NULL, NULL);
}
