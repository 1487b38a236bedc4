/* SPDX-License-Identifier: BSD-3-Clause */
#include "peers/encoder.h"

#include <attn/attn.h>
#include <stdlib.h>

typedef struct encoder {
    attn_context *context;
    attn_block **blocks;
    encoder_shape shape;
} encoder;

/* The next n of the weights. */
static const float *take(const float **weights, int rows, int columns) {
    const float *w = *weights;
    *weights += (size_t)rows * (size_t)columns;
    return w;
}

static void take_norm(const encoder_shape *s, const float **weights, attn_norm_params *p) {
    ATTN_INIT(p);
    p->kind = (attn_norm_kind)s->rms;
    p->weight = take(weights, 1, s->width);
    p->bias = take(weights, 1, s->width);
    if (s->rms)
        p->bias = NULL;
}

static attn_block *make_block(attn_context *context, const encoder_shape *s, const float **weights) {
    attn_block_params p;
    attn_mha_params self;
    attn_norm_params norms[2];
    attn_feed_params feed;
    attn_block *block;
    ATTN_INIT(&p);
    ATTN_INIT(&self);
    ATTN_INIT(&feed);
    self.model_width = (size_t)s->width;
    self.heads = (size_t)s->heads;
    self.in_weight = take(weights, 3 * s->width, s->width);
    self.in_bias = take(weights, 3, s->width);
    self.out_weight = take(weights, s->width, s->width);
    self.out_bias = take(weights, 1, s->width);
    take_norm(s, weights, &norms[0]);
    take_norm(s, weights, &norms[1]);
    feed.hidden_width = (size_t)s->hidden;
    feed.activation = (attn_activation)s->activation;
    feed.gate_weight = s->gated ? take(weights, s->hidden, s->width) : NULL;
    feed.gate_bias = s->gated ? take(weights, 1, s->hidden) : NULL;
    feed.up_weight = take(weights, s->hidden, s->width);
    feed.up_bias = take(weights, 1, s->hidden);
    feed.down_weight = take(weights, s->width, s->hidden);
    feed.down_bias = take(weights, 1, s->width);
    p.norm_place = (attn_norm_place)s->post;
    p.self_attention = &self;
    p.self_norm = &norms[0];
    p.feed = &feed;
    p.feed_norm = &norms[1];
    return attn_block_create(context, &p, &block) == ATTN_OK ? block : NULL;
}

void encoder_free(void *encoder_) {
    encoder *e = encoder_;
    if (e == NULL)
        return;
    for (int i = 0; e->blocks && i < e->shape.layers; i++)
        attn_block_destroy(e->blocks[i]);
    free((void *)e->blocks);
    attn_context_destroy(e->context);
    free(e);
}

static int fill(encoder *e, const float *weights, int threads) {
    attn_context_options options;
    ATTN_INIT(&options);
    options.threads = (size_t)threads;
    if (e->blocks == NULL || attn_context_create(&options, &e->context) != ATTN_OK)
        return 0;
    for (int i = 0; i < e->shape.layers; i++)
        if ((e->blocks[i] = make_block(e->context, &e->shape, &weights)) == NULL)
            return 0;
    return 1;
}

void *encoder_new(const encoder_shape *shape, const float *weights, int threads) {
    encoder *e = calloc(1, sizeof *e);
    if (e == NULL)
        return NULL;
    e->shape = *shape;
    e->blocks = (attn_block **)calloc((size_t)shape->layers, sizeof *e->blocks);
    if (fill(e, weights, threads))
        return e;
    encoder_free(e);
    return NULL;
}

const char *encoder_choice(void *encoder_) {
    const encoder *e = encoder_;
    attn_context_info info;
    ATTN_INIT(&info);
    return attn_context_describe(e->context, &info) == ATTN_OK ? info.blas_choice : "";
}

int encoder_run(void *encoder_, const float *x, float *out) {
    const encoder *e = encoder_;
    const size_t B = (size_t)e->shape.batch, T = (size_t)e->shape.tokens, M = (size_t)e->shape.width;
    const attn_tensor from = attn_tensor_btm(x, ATTN_F32, B, T, M), to = attn_tensor_btm(out, ATTN_F32, B, T, M);
    attn_block_inputs inputs;
    attn_sdpa_params params;
    attn_status status = ATTN_OK;
    ATTN_INIT(&inputs);
    ATTN_INIT(&params);
    params.causal = e->shape.causal ? ATTN_CAUSAL_TOP_LEFT : ATTN_CAUSAL_NONE;
    inputs.self_params = &params;
    for (int i = 0; i < e->shape.layers && status == ATTN_OK; i++)
        status = attn_block_forward(e->context, e->blocks[i], i == 0 ? &from : &to, &to, &inputs);
    return (int)status;
}
