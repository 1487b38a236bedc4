/* SPDX-License-Identifier: BSD-3-Clause */
/* Gradients of the block against differences of the reference in double. */
#include <string.h>

#include "support/block_case.h"
#include "support/slope.h"

enum { M = 12, HEADS = 3, HIDDEN = 10, ENCODED = 5 };

typedef struct train_case {
    struct block_case c;
    attn_tensor x, encoded, d_out, dx, d_encoded;
    attn_sdpa_params self, cross;
    attn_block_inputs inputs;
    attn_mha_gradients of_self, of_cross;
    attn_feed_gradients of_feed;
    attn_norm_gradients norms[7];
    attn_block_gradients g;
    slopes slopes;
} train_case;

static double loss(const void *arg) {
    const train_case *t = arg;
    const double *out =
        reference_block(&t->c, t->x, t->c.block.cross_attention ? &t->encoded : NULL, &t->self, &t->cross);
    double sum = 0;
    for (size_t n = 0; n < element_count(t->d_out); n++)
        sum += out[n] * value(t->d_out, n);
    return sum;
}

static const attn_norm_gradients *add_norm(train_case *t, size_t at, const attn_norm_params *norm, size_t width) {
    attn_norm_gradients *g = &t->norms[at];
    if (!norm)
        return NULL;
    ATTN_INIT(g);
    g->d_weight = add_slope(&t->slopes, "norm weight", norm->weight, width);
    g->d_bias = add_slope(&t->slopes, "norm bias", norm->bias, width);
    return g;
}

/* Of a layer with in_weight, or with three matrices. */
static void add_attention(train_case *t, const attn_mha_params *p, attn_mha_gradients *g) {
    ATTN_INIT(g);
    g->d_in_weight = add_slope(&t->slopes, "in_weight", p->in_weight, 3 * M * M);
    g->d_in_bias = add_slope(&t->slopes, "in_bias", p->in_bias, 3 * M);
    g->d_q_weight = add_slope(&t->slopes, "q_weight", p->q_weight, M * M);
    g->d_k_weight = add_slope(&t->slopes, "k_weight", p->k_weight, M * ENCODED);
    g->d_v_weight = add_slope(&t->slopes, "v_weight", p->v_weight, M * ENCODED);
    g->d_q_bias = add_slope(&t->slopes, "q_bias", p->q_bias, M);
    g->d_k_bias = add_slope(&t->slopes, "k_bias", p->k_bias, M);
    g->d_v_bias = add_slope(&t->slopes, "v_bias", p->v_bias, M);
    g->d_out_weight = add_slope(&t->slopes, "out_weight", p->out_weight, M * M);
    g->d_out_bias = add_slope(&t->slopes, "out_bias", p->out_bias, M);
}

static void add_feed(train_case *t) {
    const attn_feed_params *p = &t->c.feed;
    attn_feed_gradients *g = &t->of_feed;
    ATTN_INIT(g);
    g->d_up_weight = add_slope(&t->slopes, "up_weight", p->up_weight, HIDDEN * M);
    g->d_up_bias = add_slope(&t->slopes, "up_bias", p->up_bias, HIDDEN);
    g->d_gate_weight = add_slope(&t->slopes, "gate_weight", p->gate_weight, HIDDEN * M);
    g->d_gate_bias = add_slope(&t->slopes, "gate_bias", p->gate_bias, HIDDEN);
    g->d_down_weight = add_slope(&t->slopes, "down_weight", p->down_weight, M * HIDDEN);
    g->d_down_bias = add_slope(&t->slopes, "down_bias", p->down_bias, M);
    g->hidden_norm = add_norm(t, 6, p->hidden_norm, HIDDEN);
}

static void add_all(train_case *t) {
    const attn_block_params *p = &t->c.block;
    attn_block_gradients *g = &t->g;
    ATTN_INIT(g);
    t->dx = add_slopes_of(&t->slopes, "x", t->x);
    g->dx = &t->dx;
    add_attention(t, &t->c.self, &t->of_self);
    g->self_attention = &t->of_self;
    if (p->cross_attention) {
        t->d_encoded = add_slopes_of(&t->slopes, "encoded", t->encoded);
        g->d_encoded = &t->d_encoded;
        add_attention(t, &t->c.cross, &t->of_cross);
        g->cross_attention = &t->of_cross;
    }
    if (p->feed) {
        add_feed(t);
        g->feed = &t->of_feed;
    }
    g->self_norm = add_norm(t, 0, p->self_norm, M);
    g->cross_norm = add_norm(t, 1, p->cross_norm, M);
    g->feed_norm = add_norm(t, 2, p->feed_norm, M);
    g->self_output_norm = add_norm(t, 3, p->self_output_norm, M);
    g->cross_output_norm = add_norm(t, 4, p->cross_output_norm, M);
    g->feed_output_norm = add_norm(t, 5, p->feed_output_norm, M);
    g->d_self_layer_scale = add_slope(&t->slopes, "self_layer_scale", p->self_layer_scale, M);
    g->d_cross_layer_scale = add_slope(&t->slopes, "cross_layer_scale", p->cross_layer_scale, M);
    g->d_feed_layer_scale = add_slope(&t->slopes, "feed_layer_scale", p->feed_layer_scale, M);
}

/* eps keeps norms from making errors, and differences, much larger. */
static void soften(train_case *t) {
    attn_norm_params *const norms[] = {&t->c.self_norm,        &t->c.cross_norm,        &t->c.feed_norm,
                                       &t->c.self_output_norm, &t->c.cross_output_norm, &t->c.feed_output_norm,
                                       &t->c.hidden_norm};
    for (size_t i = 0; i < COUNT(norms); i++) {
        norms[i]->kind = (attn_norm_kind)random_below(2);
        norms[i]->eps = 0.2F;
    }
}

static void make_case(train_case *t, size_t n) {
    static const attn_activation smooth[] = {ATTN_GELU, ATTN_GELU_TANH, ATTN_SILU, ATTN_SIGMOID, ATTN_IDENTITY};
    static const unsigned parts[] = {WHOLE, HAS_FEED | HAS_NORMS, HAS_NORMS | HAS_FEED | HAS_GATE, HAS_CROSS | HAS_FEED,
                                     0};
    const size_t B = 1 + random_below(2), T = 1 + random_below(4), Te = 1 + random_below(4);
    init_block(&t->c, M, HEADS, HIDDEN, parts[n % COUNT(parts)]);
    t->c.block.norm_place = n % 3 ? ATTN_PRE_NORM : ATTN_POST_NORM;
    set_residual_form(&t->c, (unsigned)(n / 2 % RESIDUAL_FORMS));
    t->c.feed.activation = smooth[n % COUNT(smooth)];
    t->c.feed.order = random_order(ATTN_F32);
    t->c.feed.hidden_norm = n % 4 ? NULL : &t->c.hidden_norm;
    t->c.cross.key_input_width = t->c.cross.value_input_width = ENCODED;
    t->c.self.zero_key = n % 4 == 1;
    soften(t);
    fill_block(&t->c, n % 3 < 2);
    if (n % 7 == 3 && t->c.block.parallel) /* reads what self_norm makes */
        t->c.block.feed_norm = NULL;
    ATTN_INIT(&t->self);
    ATTN_INIT(&t->cross);
    ATTN_INIT(&t->inputs);
    t->self.causal = n % 2 ? ATTN_CAUSAL_BOTTOM_RIGHT : ATTN_CAUSAL_NONE;
    t->x = new_normal(BHTD, B, 1, T, M);
    t->encoded = new_normal(BHTD, B, 1, Te, ENCODED);
    t->d_out = new_normal(BHTD, B, 1, T, M);
    t->inputs.self_params = &t->self;
    t->inputs.encoded = t->c.block.cross_attention ? &t->encoded : NULL;
}

static float *keep(attn_context *context, const attn_block *block, const train_case *t) {
    const size_t B = t->x.size[0], T = t->x.size[2];
    const attn_tensor out = new_tensor(PADDED, B, 1, T, M), same = new_tensor(BHTD, B, 1, T, M);
    size_t bytes = 0;
    assert_ok(context, attn_block_kept_size(context, block, B, T, t->inputs.encoded ? t->encoded.size[2] : 0, &bytes));
    float *kept = new_floats(bytes / sizeof(float));
    assert_ok(context, attn_block_forward_keep(context, block, &t->x, &out, &t->inputs, kept, bytes));
    assert_ok(context, attn_block_forward(context, block, &t->x, &same, &t->inputs));
    assert_bits(out, same);
    return kept;
}

/* The same without what was kept, on more threads; and twice as large where they are added. */
static void check_again(attn_context *const contexts[2], const attn_block *block, train_case *t) {
    attn_tensor first[MOST_SLOPES];
    copy_slopes(&t->slopes, first);
    assert_ok(contexts[1], attn_block_backward(contexts[1], block, &t->x, &t->d_out, &t->inputs, NULL, &t->g));
    assert_same_slopes(&t->slopes, first);
    t->g.accumulate = 1;
    assert_ok(contexts[0], attn_block_backward(contexts[0], block, &t->x, &t->d_out, &t->inputs, NULL, &t->g));
    assert_twice_slopes(&t->slopes, first);
}

static void random_blocks(void **state) {
    (void)state;
    enum { CASES = 20 };
    attn_context *const contexts[] = {new_context_of(1, 0), new_context_of(3, 0)};
    seed(5);
    for (size_t n = 0; n < CASES; n += every()) {
        train_case t = {0};
        name_case("case %zu", n);
        make_case(&t, n);
        add_all(&t);
        attn_block *block = new_block(contexts[0], &t.c);
        const float *kept = keep(contexts[0], block, &t);
        assert_ok(contexts[0], attn_block_backward(contexts[0], block, &t.x, &t.d_out, &t.inputs, kept, &t.g));
        check_slopes(&t.slopes, loss, &t, 1e-4, false);
        check_again(contexts, block, &t);
        attn_block_destroy(block);
        end_case();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(random_blocks)};
    return cmocka_run_group_tests_name("block_backward", tests, NULL, NULL);
}
