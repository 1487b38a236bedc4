/* SPDX-License-Identifier: BSD-3-Clause */
/* Every way to call attn_linear_backward, attn_linear_backward_scratch_size and attn_linear_update wrongly. */
#include <string.h>

#include "support/fault.h"
#include "support/layer.h"

enum { ROWS = 5, IN = 20, OUT = 12 };

typedef struct call {
    attn_context *context;
    const attn_linear *linear;
    attn_tensor x, d_out, dx;
    WITH_TAIL(attn_linear_gradients) g;
    const attn_tensor *x_argument, *d_out_argument;
    const attn_linear_gradients *g_argument;
} call;

static attn_linear *map; /* of all calls */

#define LINEAR_FAULTS(X)                                                                                               \
    X(linear_null, ATTN_ERROR_NULL, "linear", c->linear = NULL)                                                        \
    X(x_null, ATTN_ERROR_NULL, "x", c->x_argument = NULL)                                                              \
    X(d_out_null, ATTN_ERROR_NULL, "d_out", c->d_out_argument = NULL)                                                  \
    X(gradients_null, ATTN_ERROR_NULL, "gradients", c->g_argument = NULL)                                              \
    X(x_dtype, ATTN_ERROR_DTYPE, "x", c->x.dtype = ATTN_INT8)                                                          \
    X(d_out_dtype, ATTN_ERROR_DTYPE, "d_out", c->d_out.dtype = ATTN_BOOL)                                              \
    X(dx_dtype, ATTN_ERROR_DTYPE, "gradients.dx", c->dx.dtype = ATTN_BOOL)                                             \
    X(x_width, ATTN_ERROR_SHAPE, "x", c->x.size[3] = IN - 1)                                                           \
    X(x_heads, ATTN_ERROR_SHAPE, "x", c->x.size[1] = 2)                                                                \
    X(d_out_rows, ATTN_ERROR_SHAPE, "d_out", c->d_out.size[2] = ROWS - 1)                                              \
    X(d_out_width, ATTN_ERROR_SHAPE, "d_out", c->d_out.size[3] = OUT + 1)                                              \
    X(dx_batch, ATTN_ERROR_SHAPE, "gradients.dx", c->dx.size[0] = 2)                                                   \
    X(dx_width, ATTN_ERROR_SHAPE, "gradients.dx", c->dx.size[3] = OUT)                                                 \
    X(d_out_stride, ATTN_ERROR_STRIDE, "d_out", c->d_out.stride[3] = 2)                                                \
    X(dx_rows, ATTN_ERROR_STRIDE, "gradients.dx", c->dx.stride[2] = 0)                                                 \
    X(too_many, ATTN_ERROR_OVERFLOW, "x", c->x.size[0] = c->d_out.size[0] = c->dx.size[0] = SIZE_MAX / 8;              \
      c->x.stride[0] = c->d_out.stride[0] = 0; c->g.known.dx = NULL)                                                   \
    X(not_initialised, ATTN_ERROR_STRUCT, "gradients.struct_size", c->g.known.struct_size = 0)                         \
    X(unknown, ATTN_ERROR_STRUCT, "gradients.struct_size", c->g.known.struct_size = sizeof c->g; c->g.tail[15] = 1)

#define LINEAR_DATA_FAULTS(X)                                                                                          \
    X(x_data, ATTN_ERROR_NULL, "x", c->x.data = NULL)                                                                  \
    X(dx_data, ATTN_ERROR_NULL, "gradients.dx", c->dx.data = NULL)                                                     \
    X(dx_is_x, ATTN_ERROR_ALIAS, "gradients.dx", c->dx.data = c->x.data)                                               \
    X(weight_in_d_out, ATTN_ERROR_ALIAS, "gradients.d_weight", c->g.known.d_weight = c->d_out.data)                    \
    X(bias_in_weight, ATTN_ERROR_ALIAS, "gradients.d_bias", c->g.known.d_bias = c->g.known.d_weight + 1)

DEFINE_FAULTS(faults, LINEAR_FAULTS);
DEFINE_FAULTS(data_faults, LINEAR_DATA_FAULTS);

static void make_valid(attn_context *context, call *c) {
    memset(c, 0, sizeof *c);
    c->context = context;
    c->linear = map;
    c->x = new_normal(BHTD, 1, 1, ROWS, IN);
    c->d_out = new_normal(BHTD, 1, 1, ROWS, OUT);
    c->dx = new_tensor(BHTD, 1, 1, ROWS, IN);
    ATTN_INIT(&c->g.known);
    c->g.known.dx = &c->dx;
    c->g.known.d_weight = new_floats((size_t)OUT * IN);
    c->g.known.d_bias = new_floats(OUT);
    c->x_argument = &c->x;
    c->d_out_argument = &c->d_out;
    c->g_argument = &c->g.known;
}

static attn_status run(const call *c) {
    return attn_linear_backward(c->context, c->linear, c->x_argument, c->d_out_argument, c->g_argument);
}

static attn_status ask_size(const call *c, size_t *bytes) {
    return attn_linear_backward_scratch_size(c->context, c->linear, c->x_argument, c->d_out_argument, c->g_argument,
                                             bytes);
}

static void assert_nothing_written(const call *valid, const call *copies) {
    assert_untouched(valid->dx);
    assert_untouched(attn_tensor_btm(valid->g.known.d_weight, ATTN_F32, 1, OUT, IN));
    assert_untouched(attn_tensor_btm(valid->g.known.d_bias, ATTN_F32, 1, 1, OUT));
    assert_bits(valid->x, copies->x);
    assert_bits(valid->d_out, copies->d_out);
}

static call copies_of(const call *valid) { return (call){.x = new_copy(valid->x), .d_out = new_copy(valid->d_out)}; }

#include "support/every_fault.h"

static void tolerated(void **state) {
    (void)state;
    call c;
    make_valid(new_context_of(1, 0), &c);
    assert_ok(c.context, run(&c));
    ATTN_INIT(&c.g.known); /* nothing is wanted */
    assert_ok(c.context, run(&c));
    make_valid(c.context, &c);
    c.x.data = c.d_out.data = c.dx.data = NULL;
    check_asking(&c);
}

/* -- attn_linear_update -- */

static void refuse(attn_context *context, attn_linear *linear, const attn_linear_params *p, attn_status status,
                   const char *field) {
    const attn_tensor x = new_normal(BHTD, 1, 1, ROWS, IN), before = new_tensor(BHTD, 1, 1, ROWS, OUT),
                      after = new_tensor(BHTD, 1, 1, ROWS, OUT);
    assert_ok(context, attn_linear_forward(context, map, &x, &before));
    assert_status(context, attn_linear_update(context, linear, p), status);
    assert_mentions(attn_context_last_error(context), field);
    assert_ok(context, attn_linear_forward(context, map, &x, &after));
    assert_bits(before, after);
}

static void updates(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    const attn_linear_params valid = linear_of(ATTN_F32, ATTN_OUT_IN, IN, OUT, true);
    attn_linear_params p = valid;
    assert_int_equal(attn_linear_update(NULL, map, &valid), ATTN_ERROR_NULL);
    refuse(context, NULL, &valid, ATTN_ERROR_NULL, "linear");
    refuse(context, map, NULL, ATTN_ERROR_NULL, "params");
    p.weight = NULL;
    refuse(context, map, &p, ATTN_ERROR_NULL, "params.weight");
    p = valid;
    p.in_width = IN - 1;
    refuse(context, map, &p, ATTN_ERROR_VALUE, "sizes");
    p = valid;
    p.bias = NULL;
    refuse(context, map, &p, ATTN_ERROR_VALUE, "bias");
    p = valid;
    p.order = ATTN_IN_OUT;
    refuse(context, map, &p, ATTN_ERROR_VALUE, "order");
    p = linear_of(ATTN_F16, ATTN_OUT_IN, IN, OUT, true);
    refuse(context, map, &p, ATTN_ERROR_VALUE, "weight_dtype");
    assert_ok(context, attn_linear_update(context, map, &valid));
}

static int make_map(void **state) {
    attn_context *context = new_context_of(1, 0);
    const attn_linear_params p = linear_of(ATTN_F32, ATTN_OUT_IN, IN, OUT, true);
    assert_ok(context, attn_linear_create(context, &p, &map));
    return end_test(state);
}

static int destroy_map(void **state) {
    (void)state;
    attn_linear_destroy(map);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(every_fault), TEST(tolerated), TEST(updates)};
    return cmocka_run_group_tests_name("errors_linear_backward", tests, make_map, destroy_map);
}
