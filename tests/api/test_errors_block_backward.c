/* SPDX-License-Identifier: BSD-3-Clause */
/* Every way to call attn_block_backward, attn_block_backward_scratch_size and attn_block_forward_keep wrongly; what is
 * wrong with the arguments of the forward pass is test_errors_block's, with attention's test_errors_mha_backward's. */
#include <string.h>

#include "support/block_case.h"
#include "support/fault.h"

enum { B = 2, T = 3, Te = 4, M = 12, HEADS = 3, HIDDEN = 10 };

typedef struct call {
    attn_context *context;
    const attn_block *block;
    attn_tensor x, d_out, encoded, dx, d_encoded;
    attn_block_inputs inputs;
    attn_mha_gradients self, cross;
    attn_feed_gradients feed;
    attn_norm_gradients norm;
    WITH_TAIL(attn_block_gradients) g;
    const attn_tensor *x_argument, *d_out_argument;
    const attn_block_gradients *g_argument;
} call;

static attn_block *whole, *alone; /* of everything but a gate and scales; of self-attention */
static attn_cache *cache;

#define BLOCK_FAULTS(X)                                                                                                \
    X(block_null, ATTN_ERROR_NULL, "block", c->block = NULL)                                                           \
    X(x_null, ATTN_ERROR_NULL, "x", c->x_argument = NULL)                                                              \
    X(d_out_null, ATTN_ERROR_NULL, "d_out", c->d_out_argument = NULL)                                                  \
    X(gradients_null, ATTN_ERROR_NULL, "gradients", c->g_argument = NULL)                                              \
    X(d_out_dtype, ATTN_ERROR_DTYPE, "d_out", c->d_out.dtype = ATTN_BOOL)                                              \
    X(dx_dtype, ATTN_ERROR_DTYPE, "gradients.dx", c->dx.dtype = ATTN_BOOL)                                             \
    X(d_out_tokens, ATTN_ERROR_SHAPE, "d_out", c->d_out.size[2] = T - 1)                                               \
    X(dx_width, ATTN_ERROR_SHAPE, "gradients.dx", c->dx.size[3] = M - 1)                                               \
    X(d_encoded_tokens, ATTN_ERROR_SHAPE, "gradients.d_encoded", c->d_encoded.size[2] = T)                             \
    X(dx_stride, ATTN_ERROR_STRIDE, "gradients.dx", c->dx.stride[2] = 0)                                               \
    X(cross_alone, ATTN_ERROR_VALUE, "gradients.d_encoded", c->block = alone; c->inputs.encoded = NULL)                \
    X(cross_gradients, ATTN_ERROR_VALUE, "gradients.cross_attention", c->block = alone; c->inputs.encoded = NULL;      \
      c->g.known.d_encoded = NULL)                                                                                     \
    X(feed_alone, ATTN_ERROR_VALUE, "gradients.feed", c->block = alone; c->inputs.encoded = NULL;                      \
      c->g.known.d_encoded = NULL; c->g.known.cross_attention = NULL; c->g.known.feed_norm = NULL)                     \
    X(output_norm, ATTN_ERROR_VALUE, "gradients.self_output_norm", c->g.known.self_output_norm = &c->norm)             \
    X(scale, ATTN_ERROR_VALUE, "gradients.d_feed_layer_scale", c->g.known.d_feed_layer_scale = c->norm.d_weight)       \
    X(hidden_norm, ATTN_ERROR_VALUE, "gradients.feed->hidden_norm", c->feed.hidden_norm = &c->norm)                    \
    X(gate, ATTN_ERROR_VALUE, "gradients.feed->d_gate_bias", c->feed.d_gate_bias = c->norm.d_weight)                   \
    X(d_query, ATTN_ERROR_VALUE, "gradients.self_attention->d_query", c->self.d_query = &c->dx)                        \
    X(self_accumulate, ATTN_ERROR_VALUE, "gradients.self_attention->accumulate", c->self.accumulate = 1)               \
    X(q_weight, ATTN_ERROR_VALUE, "gradients.self_attention.d_q_weight", c->self.d_q_weight = c->norm.d_weight)        \
    X(norm_dx, ATTN_ERROR_VALUE, "gradients.feed_norm->dx", c->norm.dx = &c->dx)                                       \
    X(cached, ATTN_ERROR_VALUE, "inputs.cache", c->inputs.cache = cache)                                               \
    X(out_norm, ATTN_ERROR_VALUE, "gradients.self_attention.out_norm", c->self.out_norm = &c->norm)                    \
    X(extra_key, ATTN_ERROR_VALUE, "gradients.self_attention.d_extra_key", c->self.d_extra_key = c->norm.d_weight)     \
    X(not_initialised, ATTN_ERROR_STRUCT, "gradients.struct_size", c->g.known.struct_size = 0)                         \
    X(feed_struct, ATTN_ERROR_STRUCT, "gradients.feed.struct_size", c->feed.struct_size = 3)                           \
    X(unknown, ATTN_ERROR_STRUCT, "gradients.struct_size", c->g.known.struct_size = sizeof c->g; c->g.tail[15] = 1)

#define BLOCK_DATA_FAULTS(X)                                                                                           \
    X(d_out_data, ATTN_ERROR_NULL, "d_out", c->d_out.data = NULL)                                                      \
    X(dx_data, ATTN_ERROR_NULL, "gradients.dx", c->dx.data = NULL)                                                     \
    X(dx_is_x, ATTN_ERROR_ALIAS, "gradients.dx", c->dx.data = c->x.data)                                               \
    X(d_encoded_in_d_out, ATTN_ERROR_ALIAS, "gradients.d_encoded", c->d_encoded.data = c->d_out.data)                  \
    X(norm_in_up, ATTN_ERROR_ALIAS, "gradients.feed_norm->d_weight", c->norm.d_weight = c->feed.d_up_weight)           \
    X(down_in_self, ATTN_ERROR_ALIAS, "gradients.feed->d_down_bias", c->feed.d_down_bias = c->self.d_in_weight)

DEFINE_FAULTS(faults, BLOCK_FAULTS);
DEFINE_FAULTS(data_faults, BLOCK_DATA_FAULTS);

static void make_valid(attn_context *context, call *c) {
    memset(c, 0, sizeof *c);
    c->context = context;
    c->block = whole;
    c->x = new_normal(BHTD, B, 1, T, M);
    c->d_out = new_normal(BHTD, B, 1, T, M);
    c->encoded = new_normal(BHTD, B, 1, Te, M);
    c->dx = new_tensor(BHTD, B, 1, T, M);
    c->d_encoded = new_tensor(BHTD, B, 1, Te, M);
    ATTN_INIT(&c->inputs);
    ATTN_INIT(&c->self);
    ATTN_INIT(&c->cross);
    ATTN_INIT(&c->feed);
    ATTN_INIT(&c->norm);
    ATTN_INIT(&c->g.known);
    c->inputs.encoded = &c->encoded;
    c->self.d_in_weight = new_floats(3 * M * M);
    c->feed.d_up_weight = new_floats((size_t)HIDDEN * M);
    c->feed.d_down_bias = new_floats(M);
    c->norm.d_weight = new_floats(M);
    c->g.known.dx = &c->dx;
    c->g.known.d_encoded = &c->d_encoded;
    c->g.known.self_attention = &c->self;
    c->g.known.cross_attention = &c->cross;
    c->g.known.feed = &c->feed;
    c->g.known.feed_norm = &c->norm;
    c->x_argument = &c->x;
    c->d_out_argument = &c->d_out;
    c->g_argument = &c->g.known;
}

static attn_status run(const call *c) {
    return attn_block_backward(c->context, c->block, c->x_argument, c->d_out_argument, &c->inputs, NULL, c->g_argument);
}

static attn_status ask_size(const call *c, size_t *bytes) {
    return attn_block_backward_scratch_size(c->context, c->block, c->x_argument, c->d_out_argument, &c->inputs, NULL,
                                            c->g_argument, bytes);
}

static void assert_nothing_written(const call *valid, const call *copies) {
    assert_untouched(valid->dx);
    assert_untouched(valid->d_encoded);
    assert_untouched(attn_tensor_btm(valid->self.d_in_weight, ATTN_F32, 1, 3 * M, M));
    assert_untouched(attn_tensor_btm(valid->feed.d_up_weight, ATTN_F32, 1, HIDDEN, M));
    assert_untouched(attn_tensor_btm(valid->norm.d_weight, ATTN_F32, 1, 1, M));
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
    c.x.data = c.d_out.data = c.encoded.data = c.dx.data = c.d_encoded.data = NULL;
    check_asking(&c);
}

/* -- attn_block_forward_keep -- */

static void keeping(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    call c;
    size_t bytes = 1;
    make_valid(context, &c);
    const attn_tensor out = new_tensor(BHTD, B, 1, T, M);
    assert_int_equal(attn_block_kept_size(NULL, whole, B, T, Te, &bytes), ATTN_ERROR_NULL);
    assert_status(context, attn_block_kept_size(context, NULL, B, T, Te, &bytes), ATTN_ERROR_NULL);
    assert_status(context, attn_block_kept_size(context, whole, B, T, Te, NULL), ATTN_ERROR_NULL);
    assert_status(context, attn_block_kept_size(context, whole, SIZE_MAX / 4, T, Te, &bytes), ATTN_ERROR_OVERFLOW);
    assert_int_equal(bytes, 1);
    assert_ok(context, attn_block_kept_size(context, whole, B, T, Te, &bytes));
    float *kept = new_floats(bytes / sizeof(float));
    const struct {
        const attn_block *block;
        void *kept;
        size_t bytes;
        attn_cache *cache;
        attn_status status;
        const char *field;
    } wrong[] = {{NULL, kept, bytes, NULL, ATTN_ERROR_NULL, "block"},
                 {whole, NULL, bytes, NULL, ATTN_ERROR_NULL, "kept"},
                 {whole, kept, bytes - 1, NULL, ATTN_ERROR_SHAPE, "kept_bytes"},
                 {whole, kept, bytes, cache, ATTN_ERROR_VALUE, "inputs.cache"},
                 {whole, out.data, bytes, NULL, ATTN_ERROR_ALIAS, "kept"},
                 {whole, c.x.data, bytes, NULL, ATTN_ERROR_ALIAS, "kept"}};
    for (size_t n = 0; n < COUNT(wrong); n++) {
        c.inputs.cache = wrong[n].cache;
        assert_status(
            context,
            attn_block_forward_keep(context, wrong[n].block, &c.x, &out, &c.inputs, wrong[n].kept, wrong[n].bytes),
            wrong[n].status);
        assert_mentions(attn_context_last_error(context), wrong[n].field);
        assert_untouched(out);
        assert_untouched(attn_tensor_btm(kept, ATTN_F32, 1, 1, bytes / sizeof(float)));
    }
    assert_int_equal(attn_block_forward_keep(NULL, whole, &c.x, &out, &c.inputs, kept, bytes), ATTN_ERROR_NULL);
}

/* What was kept is read. */
static void kept_is_read(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    call c;
    size_t bytes;
    make_valid(context, &c);
    const attn_tensor out = new_tensor(BHTD, B, 1, T, M);
    assert_ok(context, attn_block_kept_size(context, whole, B, T, Te, &bytes));
    float *kept = new_floats(bytes / sizeof(float));
    assert_ok(context, attn_block_forward_keep(context, whole, &c.x, &out, &c.inputs, kept, bytes));
    c.feed.d_down_bias = kept + bytes / sizeof(float) - M;
    assert_status(context, attn_block_backward(context, whole, &c.x, &c.d_out, &c.inputs, kept, c.g_argument),
                  ATTN_ERROR_ALIAS);
    assert_mentions(attn_context_last_error(context), "gradients.feed->d_down_bias");
}

/* -- the blocks -- */

static attn_block *make_block(attn_context *context, unsigned parts) {
    struct block_case c;
    init_block(&c, M, HEADS, HIDDEN, parts);
    fill_block(&c, true);
    return new_block(context, &c);
}

static int make_blocks(void **state) {
    attn_context *context = new_context_of(1, 0);
    attn_cache_params p;
    ATTN_INIT(&p);
    p.batch = B;
    p.kv_heads = HEADS;
    p.head_width = M / HEADS;
    p.capacity = 16;
    assert_ok(context, attn_cache_create(context, &p, &cache));
    whole = make_block(context, HAS_CROSS | HAS_FEED | HAS_NORMS);
    alone = make_block(context, HAS_NORMS);
    return end_test(state);
}

static int destroy_blocks(void **state) {
    (void)state;
    attn_block_destroy(whole);
    attn_block_destroy(alone);
    attn_cache_destroy(cache);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(every_fault), TEST(tolerated), TEST(keeping), TEST(kept_is_read)};
    return cmocka_run_group_tests_name("errors_block_backward", tests, make_blocks, destroy_blocks);
}
