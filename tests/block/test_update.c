/* SPDX-License-Identifier: BSD-3-Clause */
/* Layers and blocks whose weights are packed again: they give the bits of new ones; what does not fit changes none. */
#include "support/block_case.h"
#include "support/layer.h"

enum { M = 24, F = 37, T = 9 };

static attn_tensor run_layer(attn_context *context, const attn_mha *mha, const struct mha_case *c) {
    return run_mha(context, mha, c).out;
}

static attn_tensor run_block(attn_context *context, const attn_block *block, const attn_tensor *x, bool crosses) {
    const attn_tensor out = new_tensor(BHTD, x->size[0], 1, x->size[2], M);
    attn_block_inputs inputs;
    ATTN_INIT(&inputs);
    inputs.encoded = crosses ? x : NULL;
    assert_ok(context, attn_block_forward(context, block, x, &out, &inputs));
    return out;
}

/* -- what fits -- */

static void fill(struct mha_case *c, unsigned n) {
    set_layer_form(&c->layer, n % 2, n / 2);
    fill_layer(&c->layer, n % 2, n % 5 ? ALL_BIASES : 0);
}

/* Other numbers, and the same norms. */
static void refill(struct mha_case *c, unsigned n) {
    const attn_mha_params first = c->layer;
    do {
        fill(c, n);
    } while (!c->layer.q_latent_norm != !first.q_latent_norm || !c->layer.kv_latent_norm != !first.kv_latent_norm);
    c->layer.clip *= 0.5F;
}

static void layers(void **state) {
    (void)state;
    static const attn_dtype types[] = {ATTN_F32, ATTN_BF16, ATTN_INT8};
    attn_context *contexts[] = {new_context_of(1, 0), new_context_of(3, 0)};
    seed(3);
    for (unsigned n = 0; n < 2 * LAYER_FORMS; n += (unsigned)every()) {
        struct mha_case c = mha_case_of(M, 6, 2, T);
        c.layer.weight_dtype = types[n % COUNT(types)];
        c.layer.kv_heads = n / 2 & LATENT_KV ? 0 : 1 + n % 3;
        name_case("form %u type %d", n, (int)c.layer.weight_dtype);
        fill(&c, n);
        attn_mha *mha = new_layer(contexts[0], &c.layer);
        refill(&c, n);
        assert_ok(contexts[n % 2], attn_mha_update(contexts[n % 2], mha, &c.layer));
        attn_mha *new = new_layer(contexts[0], &c.layer);
        assert_bits(run_layer(contexts[0], mha, &c), run_layer(contexts[0], new, &c));
        attn_mha_destroy(mha);
        attn_mha_destroy(new);
        end_case();
    }
}

static void init(struct block_case *c, unsigned n) {
    init_block(c, M, 6, F, n % (WHOLE + 1));
    c->block.norm_place = n / 3 % 2 ? ATTN_POST_NORM : ATTN_PRE_NORM;
    c->feed.hidden_norm = n % 7 && c->block.feed ? &c->hidden_norm : NULL;
    set_residual_form(c, n / (WHOLE + 1));
}

static void blocks(void **state) {
    (void)state;
    attn_context *context = new_context_of(2, 0);
    seed(4);
    for (unsigned n = 0; n < (WHOLE + 1) * RESIDUAL_FORMS; n += (unsigned)every()) {
        const attn_tensor x = new_normal(BHTD, 2, 1, T, M);
        struct block_case c;
        name_case("form %u", n);
        init(&c, n);
        fill_block(&c, n % 5);
        attn_block *block = new_block(context, &c);
        fill_block(&c, n % 5);
        c.feed.activation = ATTN_RELU;
        c.block.residual_factor *= 1.5F;
        assert_ok(context, attn_block_update(context, block, &c.block));
        attn_block *new = new_block(context, &c);
        assert_bits(run_block(context, block, &x, n % 2), run_block(context, new, &x, n % 2));
        attn_block_destroy(block);
        attn_block_destroy(new);
        end_case();
    }
}

/* -- what does not -- */

static void refuse_layer(attn_context *context, attn_mha *mha, const struct mha_case *valid, const attn_mha_params *p,
                         attn_status status, const char *field) {
    const attn_tensor before = run_layer(context, mha, valid);
    name_case("%s", field);
    assert_status(context, attn_mha_update(context, mha, p), status);
    assert_mentions(attn_context_last_error(context), field);
    assert_bits(before, run_layer(context, mha, valid));
}

static struct mha_case plain_case(attn_dtype type, size_t heads, size_t M_of, bool packed, unsigned biases,
                                  unsigned form) {
    struct mha_case c = mha_case_of(M_of, heads, 2, T);
    c.layer.weight_dtype = type;
    set_layer_form(&c.layer, packed, form);
    fill_layer(&c.layer, packed, biases);
    return c;
}

static void other_layers(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    const struct mha_case c = plain_case(ATTN_F32, 6, M, true, ALL_BIASES, 0);
    attn_mha *mha = new_layer(context, &c.layer);
    const struct {
        struct mha_case other;
        const char *field;
    } cases[] = {{plain_case(ATTN_F32, 3, M, true, ALL_BIASES, 0), "heads"},
                 {plain_case(ATTN_F32, 6, M + 6, true, ALL_BIASES, 0), "width"},
                 {plain_case(ATTN_F32, 6, M, false, ALL_BIASES, 0), "matrices"},
                 {plain_case(ATTN_F32, 6, M, true, OUT_BIAS, 0), "params, q: whether there is a bias"},
                 {plain_case(ATTN_F32, 6, M, true, Q_BIAS, 0), "params.out_weight: whether there is a bias"},
                 {plain_case(ATTN_F16, 6, M, true, ALL_BIASES, 0), "weight_dtype"},
                 {plain_case(ATTN_F32, 6, M, true, ALL_BIASES, BY_GROUP), "qkv_order"},
                 {plain_case(ATTN_F32, 6, M, true, ALL_BIASES, GATED), "params, gate"},
                 {plain_case(ATTN_F32, 6, M, true, ALL_BIASES, OUT_NORM), "params.out_norm"}};
    attn_mha_params p = c.layer;
    for (size_t i = 0; i < COUNT(cases); i++)
        refuse_layer(context, mha, &c, &cases[i].other.layer, ATTN_ERROR_VALUE, cases[i].field);
    p.order = ATTN_IN_OUT;
    refuse_layer(context, mha, &c, &p, ATTN_ERROR_VALUE, "order");
    p = c.layer;
    p.zero_key = 1;
    refuse_layer(context, mha, &c, &p, ATTN_ERROR_VALUE, "zero_key");
    p = c.layer;
    p.out_weight = NULL;
    refuse_layer(context, mha, &c, &p, ATTN_ERROR_NULL, "params.out_weight");
    refuse_layer(context, mha, &c, NULL, ATTN_ERROR_NULL, "params");
    assert_status(context, attn_mha_update(context, NULL, &c.layer), ATTN_ERROR_NULL);
    assert_int_equal(attn_mha_update(NULL, mha, &c.layer), ATTN_ERROR_NULL);
    attn_mha_destroy(mha);
}

/* What tells whether int4 fits are the scales of a map's own features, wherever they are among the caller's: those of k
 * are f16 numbers here, those of q are not. */
static void own_scales(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    struct mha_case c = mha_case_of(64, 2, 1, T);
    c.layer.weight_dtype = ATTN_INT4;
    c.layer.order = ATTN_OUT_IN;
    set_layer_form(&c.layer, true, BY_GROUP);
    fill_layer(&c.layer, true, 0);
    const size_t head = 32, each = 2 * 64 / 32,
                 group = 3 * head * each; /* scales and offsets of a feature, of a head */
    float *scales = new_tensor(BHTD, 1, 1, 1, 2 * group).data;
    for (size_t i = 0; i < 2 * group; i++)
        scales[i] = i % group / (head * each) == 1 ? 0.125F : 0.1F + (float)(i % 7) * 1e-6F;
    c.layer.in_scale = scales;
    attn_mha *mha = new_layer(context, &c.layer);
    assert_ok(context, attn_mha_update(context, mha, &c.layer));
    attn_mha *new = new_layer(context, &c.layer);
    assert_bits(run_layer(context, mha, &c), run_layer(context, new, &c));
    for (size_t i = 0; i < 2 * group; i++)
        scales[i] = i % group / (head * each) == 0 ? 0.125F : 0.1F + (float)(i % 7) * 1e-6F;
    refuse_layer(context, mha, &c, &c.layer, ATTN_ERROR_VALUE, "params, k");
    attn_mha_destroy(mha);
    attn_mha_destroy(new);
}

/* The q and kv latents, their norms, and the maps of the heads. */
static void other_latents(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    const struct mha_case c = plain_case(ATTN_F32, 6, M, false, ALL_BIASES, LATENT_Q | LATENT_KV);
    attn_mha *mha = new_layer(context, &c.layer);
    const struct mha_case without = plain_case(ATTN_F32, 6, M, false, ALL_BIASES, LATENT_Q);
    attn_mha_params p = c.layer;
    attn_norm_params norm;
    ATTN_INIT(&norm);
    refuse_layer(context, mha, &c, &without.layer, ATTN_ERROR_VALUE, "width");
    p.kv_latent_norm = p.kv_latent_norm ? NULL : &norm;
    refuse_layer(context, mha, &c, &p, ATTN_ERROR_VALUE, "params.kv_latent_norm");
    attn_mha_destroy(mha);
}

static void other_blocks(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    const attn_tensor x = new_normal(BHTD, 2, 1, T, M);
    struct block_case valid, c;
    init_block(&valid, M, 6, F, WHOLE);
    set_residual_form(&valid, OUTPUT_NORMS | LAYER_SCALES);
    valid.feed.hidden_norm = &valid.hidden_norm;
    fill_block(&valid, true);
    attn_block *block = new_block(context, &valid);
    const attn_tensor before = run_block(context, block, &x, true);
    fill_block(&valid, true); /* with other numbers */
    attn_norm_params plain;
    attn_mha_params other = valid.cross;
    other.out_bias = NULL;
    ATTN_INIT(&plain);
#define REFUSE(status, field, ...)                                                                                     \
    do {                                                                                                               \
        name_case("%s", field);                                                                                        \
        c = valid;                                                                                                     \
        c.block.feed = &c.feed;                                                                                        \
        __VA_ARGS__;                                                                                                   \
        assert_status(context, attn_block_update(context, block, &c.block), status);                                   \
        assert_mentions(attn_context_last_error(context), field);                                                      \
        assert_bits(before, run_block(context, block, &x, true));                                                      \
    } while (0)
    REFUSE(ATTN_ERROR_NULL, "params.self_attention", c.block.self_attention = NULL);
    REFUSE(ATTN_ERROR_VALUE, "params.cross_attention: params.out_weight", c.block.cross_attention = &other);
    REFUSE(ATTN_ERROR_VALUE, "params.cross_attention: whether it is there", c.block.cross_attention = NULL,
           c.block.cross_norm = c.block.cross_output_norm = NULL, c.block.cross_layer_scale = NULL);
    REFUSE(ATTN_ERROR_VALUE, "params.feed: whether it is there", c.block.feed = NULL,
           c.block.feed_norm = c.block.feed_output_norm = NULL, c.block.feed_layer_scale = NULL);
    REFUSE(ATTN_ERROR_VALUE, "params.feed.gate_weight", c.feed.gate_weight = NULL, c.feed.gate_bias = NULL);
    REFUSE(ATTN_ERROR_VALUE, "params.feed.up_weight: whether there is a bias", c.feed.up_bias = NULL);
    REFUSE(ATTN_ERROR_VALUE, "params.feed.up_weight: the sizes", c.feed.hidden_width = F - 1);
    REFUSE(ATTN_ERROR_VALUE, "params.feed.hidden_norm", c.feed.hidden_norm = NULL);
    REFUSE(ATTN_ERROR_VALUE, "params.feed.activation", c.feed.activation = (attn_activation)99);
    REFUSE(ATTN_ERROR_VALUE, "params.self_norm", c.block.self_norm = &plain);
    REFUSE(ATTN_ERROR_VALUE, "params.feed_output_norm", c.block.feed_output_norm = NULL);
    REFUSE(ATTN_ERROR_VALUE, "params.feed_layer_scale", c.block.feed_layer_scale = NULL);
    REFUSE(ATTN_ERROR_VALUE, "params.norm_place", c.block.norm_place = (attn_norm_place)2);
    assert_status(context, attn_block_update(context, block, NULL), ATTN_ERROR_NULL);
    assert_status(context, attn_block_update(context, NULL, &valid.block), ATTN_ERROR_NULL);
    assert_int_equal(attn_block_update(NULL, block, &valid.block), ATTN_ERROR_NULL);
    attn_block_destroy(block);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(layers),     TEST(blocks),        TEST(other_layers),
                                       TEST(own_scales), TEST(other_latents), TEST(other_blocks)};
    return cmocka_run_group_tests_name("update", tests, NULL, NULL);
}
