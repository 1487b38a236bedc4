/* SPDX-License-Identifier: BSD-3-Clause */
/* Every way to call attn_sdpa and attn_sdpa_scratch_size wrongly. */
#include <math.h>
#include <string.h>

#include "support/fault.h"

enum { B = 2, H = 4, G = 2, Tq = 3, Tk = 5, D = 8, E = 6 };

typedef struct call {
    attn_context *context;
    attn_tensor q, k, v, out, probabilities;
    WITH_TAIL(attn_sdpa_params) params;
    const attn_tensor *q_argument, *k_argument, *v_argument, *out_argument;
    int64_t offsets[B];
} call;

/* What both functions refuse. */
#define SDPA_FAULTS(X)                                                                                                 \
    X(q_null, ATTN_ERROR_NULL, "q", c->q_argument = NULL)                                                              \
    X(k_null, ATTN_ERROR_NULL, "k", c->k_argument = NULL)                                                              \
    X(v_null, ATTN_ERROR_NULL, "v", c->v_argument = NULL)                                                              \
    X(out_null, ATTN_ERROR_NULL, "out", c->out_argument = NULL)                                                        \
    X(q_dtype, ATTN_ERROR_DTYPE, "q", c->q.dtype = ATTN_BOOL)                                                          \
    X(k_dtype, ATTN_ERROR_DTYPE, "k", c->k.dtype = (attn_dtype)-1)                                                     \
    X(v_dtype, ATTN_ERROR_DTYPE, "v", c->v.dtype = (attn_dtype)1000)                                                   \
    X(out_dtype, ATTN_ERROR_DTYPE, "out", c->out.dtype = ATTN_BOOL)                                                    \
    X(probabilities_dtype, ATTN_ERROR_DTYPE, "weights", c->probabilities.dtype = ATTN_BOOL)                            \
    X(k_batch, ATTN_ERROR_SHAPE, "k", c->k.size[0] = 1)                                                                \
    X(v_batch, ATTN_ERROR_SHAPE, "v", c->v.size[0] = 1)                                                                \
    X(out_batch, ATTN_ERROR_SHAPE, "out", c->out.size[0] = 1)                                                          \
    X(q_heads, ATTN_ERROR_SHAPE, "q", c->q.size[1] = c->out.size[1] = c->probabilities.size[1] = 3)                    \
    X(more_groups_than_heads, ATTN_ERROR_SHAPE, "k", c->k.size[1] = c->v.size[1] = 8)                                  \
    X(no_groups, ATTN_ERROR_SHAPE, "k", c->k.size[1] = c->v.size[1] = 0)                                               \
    X(v_heads, ATTN_ERROR_SHAPE, "v", c->v.size[1] = 1)                                                                \
    X(out_heads, ATTN_ERROR_SHAPE, "out", c->out.size[1] = G)                                                          \
    X(v_tokens, ATTN_ERROR_SHAPE, "v", c->v.size[2] = Tk - 1)                                                          \
    X(out_tokens, ATTN_ERROR_SHAPE, "out", c->out.size[2] = Tq - 1)                                                    \
    X(k_width, ATTN_ERROR_SHAPE, "k", c->k.size[3] = D - 1)                                                            \
    X(out_width, ATTN_ERROR_SHAPE, "out", c->out.size[3] = E - 1)                                                      \
    X(probabilities_batch, ATTN_ERROR_SHAPE, "weights", c->probabilities.size[0] = 1)                                  \
    X(probabilities_heads, ATTN_ERROR_SHAPE, "weights", c->probabilities.size[1] = 3)                                  \
    X(probabilities_rows, ATTN_ERROR_SHAPE, "weights", c->probabilities.size[2] = Tq - 1)                              \
    X(probabilities_columns, ATTN_ERROR_SHAPE, "weights", c->probabilities.size[3] = Tk - 1)                           \
    X(q_inner_stride, ATTN_ERROR_STRIDE, "q", c->q.stride[3] = 2)                                                      \
    X(k_inner_stride, ATTN_ERROR_STRIDE, "k", c->k.stride[3] = 0)                                                      \
    X(v_inner_stride, ATTN_ERROR_STRIDE, "v", c->v.stride[3] = -1)                                                     \
    X(out_inner_stride, ATTN_ERROR_STRIDE, "out", c->out.stride[3] = 2)                                                \
    X(probabilities_inner_stride, ATTN_ERROR_STRIDE, "weights", c->probabilities.stride[3] = 0)                        \
    X(out_same_batches, ATTN_ERROR_STRIDE, "out", c->out.stride[0] = 0)                                                \
    X(out_same_heads, ATTN_ERROR_STRIDE, "out", c->out.stride[1] = 0)                                                  \
    X(out_same_tokens, ATTN_ERROR_STRIDE, "out", c->out.stride[2] = 0)                                                 \
    X(out_rows_overlap, ATTN_ERROR_STRIDE, "out", c->out.stride[2] = E - 1)                                            \
    X(out_rows_overlap_backwards, ATTN_ERROR_STRIDE, "out", c->out.stride[2] = 1 - E)                                  \
    X(out_heads_overlap, ATTN_ERROR_STRIDE, "out", c->out.stride[1] = Tq * E - 1)                                      \
    X(out_batches_overlap, ATTN_ERROR_STRIDE, "out", c->out.stride[0] = E)                                             \
    X(probabilities_rows_overlap, ATTN_ERROR_STRIDE, "weights", c->probabilities.stride[2] = 1)                        \
    X(unknown_causal, ATTN_ERROR_VALUE, "causal", c->params.known.causal = (attn_causal)4)                             \
    X(negative_causal, ATTN_ERROR_VALUE, "causal", c->params.known.causal = (attn_causal)-1)                           \
    X(scale_nan, ATTN_ERROR_VALUE, "scale", c->params.known.scale = NAN)                                               \
    X(scale_infinite, ATTN_ERROR_VALUE, "scale", c->params.known.scale = INFINITY)                                     \
    X(scale_large, ATTN_ERROR_VALUE, "scale", c->params.known.scale = -0x1.000002p100F)                                \
    X(scale_small, ATTN_ERROR_VALUE, "scale", c->params.known.scale = 0x1.fffffep-101F)                                \
    X(scale_minus_infinite, ATTN_ERROR_VALUE, "scale", c->params.known.scale = -INFINITY)                              \
    X(offset_without_causal, ATTN_ERROR_VALUE, "causal_offset", c->params.known.causal_offset = c->offsets)            \
    X(offset_with_top_left, ATTN_ERROR_VALUE, "causal_offset", c->params.known.causal = ATTN_CAUSAL_TOP_LEFT;          \
      c->params.known.causal_offset = c->offsets)                                                                      \
    X(offset_with_bottom_right, ATTN_ERROR_VALUE, "causal_offset", c->params.known.causal = ATTN_CAUSAL_BOTTOM_RIGHT;  \
      c->params.known.causal_offset = c->offsets)                                                                      \
    X(not_initialised, ATTN_ERROR_STRUCT, "struct_size", c->params.known.struct_size = 0)                              \
    X(too_small, ATTN_ERROR_STRUCT, "struct_size", c->params.known.struct_size -= 1)                                   \
    X(half, ATTN_ERROR_STRUCT, "struct_size", c->params.known.struct_size = sizeof(size_t))                            \
    X(garbage, ATTN_ERROR_STRUCT, "struct_size", c->params.known.struct_size = SIZE_MAX)                               \
    X(unknown_option, ATTN_ERROR_STRUCT, "struct_size", c->params.known.struct_size = sizeof c->params;                \
      c->params.tail[15] = 1)                                                                                          \
    X(huge_batch, ATTN_ERROR_OVERFLOW, "q",                                                                            \
      c->q.size[0] = c->k.size[0] = c->v.size[0] = c->out.size[0] = c->probabilities.size[0] = SIZE_MAX / 2)           \
    X(huge_tokens, ATTN_ERROR_OVERFLOW, "k", c->k.size[2] = c->v.size[2] = c->probabilities.size[3] = SIZE_MAX)        \
    X(huge_width, ATTN_ERROR_OVERFLOW, "q", c->q.size[3] = c->k.size[3] = SIZE_MAX / 8)                                \
    X(huge_value_width, ATTN_ERROR_OVERFLOW, "v", c->v.size[3] = c->out.size[3] = SIZE_MAX / 4)                        \
    X(width_beyond_int, ATTN_ERROR_OVERFLOW, "q", c->q.size[3] = c->k.size[3] = (size_t)1 << 31)                       \
    X(value_width_beyond_int, ATTN_ERROR_OVERFLOW, "v", c->v.size[3] = (size_t)1 << 31; c->out.size[3] = c->v.size[3]; \
      c->out.stride[2] = (ptrdiff_t)1 << 31; c->out.stride[1] = (ptrdiff_t)1 << 34;                                    \
      c->out.stride[0] = (ptrdiff_t)1 << 37)                                                                           \
    X(huge_stride, ATTN_ERROR_OVERFLOW, "k", c->k.stride[2] = PTRDIFF_MAX)                                             \
    X(huge_negative_stride, ATTN_ERROR_OVERFLOW, "v", c->v.stride[0] = PTRDIFF_MIN)                                    \
    X(huge_strides_together, ATTN_ERROR_OVERFLOW, "q", c->q.stride[0] = PTRDIFF_MAX / 8;                               \
      c->q.stride[1] = PTRDIFF_MAX / 16)                                                                               \
    X(huge_output_stride, ATTN_ERROR_OVERFLOW, "out", c->out.stride[0] = PTRDIFF_MAX / 2)

/* What only the function that uses the memory can see. */
#define SDPA_DATA_FAULTS(X)                                                                                            \
    X(q_data_null, ATTN_ERROR_NULL, "q", c->q.data = NULL)                                                             \
    X(k_data_null, ATTN_ERROR_NULL, "k", c->k.data = NULL)                                                             \
    X(v_data_null, ATTN_ERROR_NULL, "v", c->v.data = NULL)                                                             \
    X(out_data_null, ATTN_ERROR_NULL, "out", c->out.data = NULL)                                                       \
    X(probabilities_data_null, ATTN_ERROR_NULL, "weights", c->probabilities.data = NULL)                               \
    X(offset_missing, ATTN_ERROR_NULL, "causal_offset", c->params.known.causal = ATTN_CAUSAL_OFFSET)                   \
    X(out_is_q, ATTN_ERROR_ALIAS, "out", c->out.data = c->q.data)                                                      \
    X(out_ends_in_k, ATTN_ERROR_ALIAS, "out", c->out.data = (float *)c->k.data - 1)                                    \
    X(out_begins_in_v, ATTN_ERROR_ALIAS, "out", c->out.data = (float *)c->v.data + B * G * Tk * E - 1)                 \
    X(probabilities_are_k, ATTN_ERROR_ALIAS, "weights", c->probabilities.data = c->k.data)                             \
    X(probabilities_are_out, ATTN_ERROR_ALIAS, "weights", c->probabilities.data = c->out.data)                         \
    X(lse_in_q, ATTN_ERROR_ALIAS, "lse", c->params.known.lse = (float *)c->q.data + 3)                                 \
    X(lse_in_out, ATTN_ERROR_ALIAS, "lse", c->params.known.lse = (float *)c->out.data + 3)                             \
    X(lse_in_probabilities, ATTN_ERROR_ALIAS, "lse", c->params.known.lse = (float *)c->probabilities.data + 3)

DEFINE_FAULTS(faults, SDPA_FAULTS);
DEFINE_FAULTS(data_faults, SDPA_DATA_FAULTS);

/* A call that is right, as long as the caller leaves `c` where it is. */
static void make_valid(attn_context *context, call *c) {
    memset(c, 0, sizeof *c);
    c->context = context;
    c->q = new_normal(BHTD, B, H, Tq, D);
    c->k = new_normal(BHTD, B, G, Tk, D);
    c->v = new_normal(BHTD, B, G, Tk, E);
    c->out = new_tensor(BHTD, B, H, Tq, E);
    c->probabilities = new_tensor(BHTD, B, H, Tq, Tk);
    ATTN_INIT(&c->params.known);
    c->params.known.lse = new_floats((size_t)B * H * Tq);
    c->params.known.weights = &c->probabilities;
    c->q_argument = &c->q;
    c->k_argument = &c->k;
    c->v_argument = &c->v;
    c->out_argument = &c->out;
}

static attn_status run(const call *c) {
    return attn_sdpa(c->context, c->q_argument, c->k_argument, c->v_argument, c->out_argument, &c->params.known);
}

static attn_status ask_size(const call *c, size_t *bytes) {
    return attn_sdpa_scratch_size(c->context, c->q_argument, c->k_argument, c->v_argument, c->out_argument,
                                  &c->params.known, bytes);
}

static void assert_nothing_written(const call *valid, const call *copies) {
    assert_untouched(valid->out);
    assert_untouched(valid->probabilities);
    assert_untouched(attn_tensor_bhtd(valid->params.known.lse, ATTN_F32, B, H, Tq, 1));
    assert_bits(valid->q, copies->q);
    assert_bits(valid->k, copies->k);
    assert_bits(valid->v, copies->v);
}

static call copies_of(const call *valid) {
    return (call){.q = new_copy(valid->q), .k = new_copy(valid->k), .v = new_copy(valid->v)};
}

#include "support/every_fault.h"

/* What the faults begin with is no fault. */
static void no_fault(void **state) {
    (void)state;
    call c;
    size_t bytes = 0;
    make_valid(new_context_of(1, 0), &c);
    assert_ok(c.context, run(&c));
    assert_ok(c.context, ask_size(&c, &bytes));
}

static void no_context(void **state) {
    (void)state;
    call c;
    size_t bytes = 4321;
    make_valid(NULL, &c);
    assert_int_equal(run(&c), ATTN_ERROR_NULL);
    assert_int_equal(ask_size(&c, &bytes), ATTN_ERROR_NULL);
    assert_int_equal(bytes, 4321);
    assert_untouched(c.out);
}

static void no_bytes(void **state) {
    (void)state;
    call c;
    make_valid(new_context_of(1, 0), &c);
    assert_status(c.context, ask_size(&c, NULL), ATTN_ERROR_NULL);
    assert_mentions(attn_context_last_error(c.context), "bytes");
}

/* A caller that was compiled against a newer library, and uses nothing new; one without params; no memory to ask for a
 * size. */
static void tolerated(void **state) {
    (void)state;
    call c;
    size_t bytes = 0;
    make_valid(new_context_of(1, 0), &c);
    c.params.known.struct_size = sizeof c.params;
    assert_ok(c.context, run(&c));
    assert_ok(c.context, attn_sdpa(c.context, &c.q, &c.k, &c.v, &c.out, NULL));
    c.q.data = c.k.data = c.v.data = c.out.data = c.probabilities.data = NULL;
    assert_ok(c.context, ask_size(&c, &bytes));
}

/* Outputs next to inputs in memory, and inputs over one another, are no overlap. */
static void neighbours_are_no_alias(void **state) {
    (void)state;
    call c;
    make_valid(new_context_of(1, 0), &c);
    float *all = new_floats(2 * B * H * Tq * D);
    memset(all, 0, 2 * sizeof(float) * B * H * Tq * D);
    c.q.data = all;
    c.out.data = all + B * H * Tq * D;
    c.k.data = all;
    c.k.size[2] = c.v.size[2] = c.probabilities.size[3] = Tk - 2;
    assert_ok(c.context, run(&c));
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(no_fault), TEST(every_fault), TEST(no_context),
                                       TEST(no_bytes), TEST(tolerated),   TEST(neighbours_are_no_alias)};
    return cmocka_run_group_tests_name("errors_sdpa", tests, NULL, NULL);
}
