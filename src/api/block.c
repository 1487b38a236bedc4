/* SPDX-License-Identifier: BSD-3-Clause */
#include "attn/block.h"

#include <math.h>

#include "api/parts.h"
#include "block/block.h"

static const char self[] = "params.self_attention", cross[] = "params.cross_attention",
                  hidden_norm[] = "params.feed.hidden_norm";

static attn_status no_memory(attn_context *context) {
    return attni_fail(context, ATTN_ERROR_MEMORY, "block: no memory for its weights");
}

static attn_status make_norm(attn_context *context, const char *name, const attn_norm_params *params, size_t M,
                             attni_owned_norm *owned) {
    attni_norm norm;
    if (!params)
        return ATTN_OK;
    ATTNI_TRY(attni_check_norm(context, name, params, &norm));
    return attni_own_norm(&context->allocator, &norm, M, owned) ? ATTN_OK : no_memory(context);
}

/* Keys and values come from one input: x in self-attention, the encoder's output in cross-attention. */
static attn_status check_widths(attn_context *context, const char *name, const attn_mha *mha, size_t M, size_t input) {
    const struct {
        const char *field;
        size_t is, expected;
    } widths[] = {
        {"model_width", mha->M, M}, {"key_input_width", mha->k.in, input}, {"value_input_width", mha->v.in, input}};
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
        if (widths[i].is != widths[i].expected)
            return attni_fail(context, ATTN_ERROR_SHAPE, "%s.%s is %zu, expected %zu", name, widths[i].field,
                              widths[i].is, widths[i].expected);
    return ATTN_OK;
}

static attn_status make_attentions(attn_context *context, const attn_block_params *p, attn_block *block) {
    ATTNI_TRY(attni_within(context, self, attn_mha_create(context, p->self_attention, &block->self)));
    block->M = block->self->M;
    ATTNI_TRY(check_widths(context, self, block->self, block->M, block->M));
    if (!p->cross_attention)
        return ATTN_OK;
    ATTNI_TRY(attni_within(context, cross, attn_mha_create(context, p->cross_attention, &block->cross)));
    return check_widths(context, cross, block->cross, block->M, block->cross->k.in);
}

static attni_weight weight(const attn_feed_params *p, const void *data, const float *scale, const float *bias,
                           size_t out, size_t in) {
    return (attni_weight){data, p->weight_dtype, scale, bias, .out = out, .in = in};
}

static attn_status check_feed_scales(attn_context *context, const attn_feed_params *p, size_t M) {
    const size_t F = p->hidden_width;
    const attn_dtype type = p->weight_dtype;
    ATTNI_TRY(attni_check_scale(context, "params.feed.up_scale", p->up_scale, p->up_weight, type, F, M));
    ATTNI_TRY(attni_check_scale(context, "params.feed.gate_scale", p->gate_scale, p->gate_weight, type, F, M));
    return attni_check_scale(context, "params.feed.down_scale", p->down_scale, p->down_weight, type, M, F);
}

static attn_status check_feed(attn_context *context, const attn_feed_params *p, size_t M, attni_weight w[3]) {
    static const char width[] = "params.feed.hidden_width";
    const size_t F = p->hidden_width;
    ATTNI_TRY(attni_check_order(context, "params.feed.order", p->order));
    ATTNI_TRY(
        attni_check_weight_dtype(context, "params.feed.weight_dtype", p->weight_dtype, "params.feed.order", p->order));
    ATTNI_TRY(attni_check_pointer(context, "params.feed.up_weight", p->up_weight));
    ATTNI_TRY(attni_check_pointer(context, "params.feed.down_weight", p->down_weight));
    if (p->gate_bias && !p->gate_weight)
        return attni_fail(context, ATTN_ERROR_VALUE, "params.feed.gate_bias is set, but gate_weight is not");
    w[0] = weight(p, p->up_weight, p->up_scale, p->up_bias, F, M);
    w[1] = weight(p, p->gate_weight, p->gate_scale, p->gate_bias, F, M);
    w[2] = weight(p, p->down_weight, p->down_scale, p->down_bias, M, F);
    ATTNI_TRY(attni_check_weight(context, "model_width", width, p->order, &w[0]));
    ATTNI_TRY(attni_check_weight(context, "model_width", width, p->order, &w[1]));
    ATTNI_TRY(attni_check_weight(context, width, "model_width", p->order, &w[2]));
    return check_feed_scales(context, p, M);
}

/* A feed-forward as its params describe it: weights of up, gate and down. */
typedef struct feed {
    attn_feed_params params;
    attni_activation activation;
    attni_weight weights[3];
} feed;

static attn_status read_feed(attn_context *context, const attn_feed_params *params, size_t M, feed *f) {
    attn_feed_params *p = &f->params;
    ATTNI_TRY(attni_check_params(context, "params.feed", params, sizeof *p, p));
    ATTNI_TRY(attni_check_activation(context, "params.feed.activation", p->activation, "params.feed.activation_params",
                                     p->activation_params, p->gate_weight, &f->activation));
    return check_feed(context, p, M, f->weights);
}

static attn_status make_feed(attn_context *context, const attn_feed_params *params, size_t M, attni_feed *made) {
    feed f;
    if (!params)
        return ATTN_OK;
    ATTNI_TRY(read_feed(context, params, M, &f));
    ATTNI_TRY(make_norm(context, hidden_norm, f.params.hidden_norm, f.params.hidden_width, &made->norm));
    made->activation = f.activation;
    made->up = attni_linear_new(context, &f.weights[0]);
    made->gate = f.params.gate_weight ? attni_linear_new(context, &f.weights[1]) : NULL;
    made->down = attni_linear_new(context, &f.weights[2]);
    return made->up && made->down && (made->gate || !f.params.gate_weight) ? ATTN_OK : no_memory(context);
}

/* What the params have around a sublayer. */
typedef struct rim {
    const char *sublayer, *norm_name, *output_name, *scale_name;
    bool there;
    const attn_norm_params *norm, *output;
    const float *scale;
} rim;

static void read_rims(const attn_block_params *p, rim rims[ATTNI_SUBLAYERS]) {
    rims[ATTNI_SELF] =
        (rim){"self_attention", "params.self_norm",  "params.self_output_norm", "params.self_layer_scale", true,
              p->self_norm,     p->self_output_norm, p->self_layer_scale};
    rims[ATTNI_CROSS] =
        (rim){"cross_attention",          "params.cross_norm", "params.cross_output_norm", "params.cross_layer_scale",
              p->cross_attention != NULL, p->cross_norm,       p->cross_output_norm,       p->cross_layer_scale};
    rims[ATTNI_FEED] = (rim){"feed",          "params.feed_norm", "params.feed_output_norm", "params.feed_layer_scale",
                             p->feed != NULL, p->feed_norm,       p->feed_output_norm,       p->feed_layer_scale};
}

static attn_status check_rim(attn_context *context, const rim *r) {
    const char *set = r->norm ? r->norm_name : r->output ? r->output_name : r->scale ? r->scale_name : NULL;
    if (r->there || !set)
        return ATTN_OK;
    return attni_fail(context, ATTN_ERROR_VALUE, "%s is set, but %s is not", set, r->sublayer);
}

static attn_status make_rim(attn_context *context, const rim *r, size_t M, attni_rim *made) {
    ATTNI_TRY(make_norm(context, r->norm_name, r->norm, M, &made->norm));
    ATTNI_TRY(make_norm(context, r->output_name, r->output, M, &made->output));
    return !r->scale || attni_own_scale(&context->allocator, r->scale, M, &made->scale) ? ATTN_OK : no_memory(context);
}

static attn_status check_params(attn_context *context, const attn_block_params *params, attn_block_params *p) {
    rim rims[ATTNI_SUBLAYERS];
    ATTNI_TRY(attni_check_pointer(context, "params", params));
    ATTNI_TRY(attni_check_params(context, "params", params, sizeof *p, p));
    if (p->norm_place != ATTN_PRE_NORM && p->norm_place != ATTN_POST_NORM)
        return attni_fail(context, ATTN_ERROR_VALUE,
                          "params.norm_place is %d, expected ATTN_PRE_NORM (0) or ATTN_POST_NORM (1)",
                          (int)p->norm_place);
    if (p->parallel && p->norm_place == ATTN_POST_NORM)
        return attni_fail(context, ATTN_ERROR_VALUE, "params.parallel is set, but norm_place is ATTN_POST_NORM (1)");
    if (!isfinite(p->residual_factor))
        return attni_fail(context, ATTN_ERROR_VALUE, "params.residual_factor is %g, expected a finite number",
                          (double)p->residual_factor);
    read_rims(p, rims);
    for (size_t i = 0; i < ATTNI_SUBLAYERS; i++)
        ATTNI_TRY(check_rim(context, &rims[i]));
    return attni_check_pointer(context, "params.self_attention", p->self_attention);
}

static void set_form(const attn_block_params *p, attn_block *block) {
    block->post = p->norm_place == ATTN_POST_NORM;
    block->parallel = p->parallel != 0;
    block->factor = p->residual_factor != 0 ? p->residual_factor : 1.0F;
}

static attn_status make_parts(attn_context *context, const attn_block_params *p, attn_block *block) {
    rim rims[ATTNI_SUBLAYERS];
    read_rims(p, rims);
    set_form(p, block);
    ATTNI_TRY(make_attentions(context, p, block));
    ATTNI_TRY(make_feed(context, p->feed, block->M, &block->feed));
    for (size_t i = 0; i < ATTNI_SUBLAYERS; i++)
        ATTNI_TRY(make_rim(context, &rims[i], block->M, &block->rims[i]));
    return ATTN_OK;
}

attn_status attn_block_create(attn_context *context, const attn_block_params *params, attn_block **block) {
    attn_block_params p;
    if (block)
        *block = NULL;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_pointer(context, "block", block));
    ATTNI_TRY(check_params(context, params, &p));
    attn_block *made = attni_block_new(context);
    if (!made)
        return no_memory(context);
    const attn_status status = make_parts(context, &p, made);
    if (status == ATTN_OK)
        *block = made;
    else
        attni_block_delete(made);
    return status;
}

/* -- other weights in the place of those -- */

static attn_status check_present(attn_context *context, const char *name, bool given, bool there) {
    return attni_check_fits(context, name, given == there ? NULL : "whether it is there");
}

static attn_status renew_attention(attn_context *context, const char *name, const attn_mha_params *params,
                                   attn_mha *mha, bool writes) {
    ATTNI_TRY(check_present(context, name, params, mha));
    return mha ? attni_within(context, name, attni_mha_renew(context, mha, params, writes)) : ATTN_OK;
}

static attn_status renew_norm(attn_context *context, const char *name, const attn_norm_params *params, size_t M,
                              attni_owned_norm *owned, bool writes) {
    attni_norm norm;
    if (params)
        ATTNI_TRY(attni_check_norm(context, name, params, &norm));
    ATTNI_TRY(attni_check_norm_fits(context, name, params ? &norm : NULL, owned->present ? &owned->norm : NULL));
    if (params && writes)
        attni_norm_renew(&norm, M, &owned->norm);
    return ATTN_OK;
}

static attn_status renew_feed(attn_context *context, const attn_feed_params *params, size_t M, attni_feed *made,
                              bool writes) {
    static const char *const names[] = {"params.feed.up_weight", "params.feed.gate_weight", "params.feed.down_weight"};
    attn_linear *const linears[] = {made->up, made->gate, made->down};
    feed f;
    ATTNI_TRY(check_present(context, "params.feed", params, made->up));
    if (!params)
        return ATTN_OK;
    ATTNI_TRY(read_feed(context, params, M, &f));
    ATTNI_TRY(check_present(context, names[1], f.params.gate_weight, made->gate));
    for (size_t i = 0; i < 3; i++) {
        if (!linears[i])
            continue;
        ATTNI_TRY(attni_check_fits(context, names[i], attni_linear_misfit(context, &f.weights[i], &linears[i]->map)));
        if (writes)
            attni_linear_repack(context, &f.weights[i], &linears[i]->map);
    }
    ATTNI_TRY(renew_norm(context, hidden_norm, f.params.hidden_norm, f.params.hidden_width, &made->norm, writes));
    if (writes)
        made->activation = f.activation;
    return ATTN_OK;
}

static attn_status renew_rim(attn_context *context, const rim *r, size_t M, attni_rim *made, bool writes) {
    float *scale = made->scale;
    ATTNI_TRY(check_present(context, r->scale_name, r->scale, scale));
    ATTNI_TRY(renew_norm(context, r->norm_name, r->norm, M, &made->norm, writes));
    ATTNI_TRY(renew_norm(context, r->output_name, r->output, M, &made->output, writes));
    if (writes)
        attni_keep(r->scale, M, &scale);
    return ATTN_OK;
}

/* All checks are made in a first round that writes nothing. */
static attn_status renew_parts(attn_context *context, const attn_block_params *p, attn_block *block, bool writes) {
    rim rims[ATTNI_SUBLAYERS];
    read_rims(p, rims);
    ATTNI_TRY(renew_attention(context, self, p->self_attention, block->self, writes));
    ATTNI_TRY(renew_attention(context, cross, p->cross_attention, block->cross, writes));
    ATTNI_TRY(renew_feed(context, p->feed, block->M, &block->feed, writes));
    for (size_t i = 0; i < ATTNI_SUBLAYERS; i++)
        ATTNI_TRY(renew_rim(context, &rims[i], block->M, &block->rims[i], writes));
    return ATTN_OK;
}

attn_status attn_block_update(attn_context *context, attn_block *block, const attn_block_params *params) {
    attn_block_params p;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_pointer(context, "block", block));
    ATTNI_TRY(check_params(context, params, &p));
    ATTNI_TRY(renew_parts(context, &p, block, false));
    ATTNI_TRY(renew_parts(context, &p, block, true));
    set_form(&p, block);
    return ATTN_OK;
}

void attn_block_destroy(attn_block *block) {
    if (block)
        attni_block_delete(block);
}
