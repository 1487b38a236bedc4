/* SPDX-License-Identifier: BSD-3-Clause */
#include "support/block_case.h"

#include <math.h>
#include <string.h>

void init_block(struct block_case *c, size_t M, size_t heads, size_t F, unsigned parts) {
    ATTN_INIT(&c->block);
    ATTN_INIT(&c->self);
    ATTN_INIT(&c->cross);
    ATTN_INIT(&c->self_norm);
    ATTN_INIT(&c->cross_norm);
    ATTN_INIT(&c->feed_norm);
    ATTN_INIT(&c->self_output_norm);
    ATTN_INIT(&c->cross_output_norm);
    ATTN_INIT(&c->feed_output_norm);
    ATTN_INIT(&c->feed);
    ATTN_INIT(&c->activation);
    ATTN_INIT(&c->hidden_norm);
    c->hidden_norm.eps = 0.04F; /* errors become no more than five times as large */
    c->self.model_width = c->cross.model_width = M;
    c->self.heads = c->cross.heads = heads;
    c->feed.hidden_width = F;
    c->block.self_attention = &c->self;
    c->block.cross_attention = parts & HAS_CROSS ? &c->cross : NULL;
    c->block.feed = parts & HAS_FEED ? &c->feed : NULL;
    c->feed.gate_weight = parts & HAS_GATE ? c : NULL; /* fill_block makes it */
    c->block.self_norm = parts & HAS_NORMS ? &c->self_norm : NULL;
    c->block.cross_norm = (parts & HAS_NORMS) && (parts & HAS_CROSS) ? &c->cross_norm : NULL;
    c->block.feed_norm = (parts & HAS_NORMS) && (parts & HAS_FEED) ? &c->feed_norm : NULL;
}

void set_residual_form(struct block_case *c, unsigned form) {
    attn_block_params *p = &c->block;
    const float *fill_me = (const float *)c; /* fill_block makes them */
    p->parallel = (form & PARALLEL) && p->norm_place == ATTN_PRE_NORM;
    p->residual_factor = form & FACTOR ? 0.22F : 0;
    p->self_output_norm = form & OUTPUT_NORMS ? &c->self_output_norm : NULL;
    p->cross_output_norm = form & OUTPUT_NORMS && p->cross_attention ? &c->cross_output_norm : NULL;
    p->feed_output_norm = form & OUTPUT_NORMS && p->feed ? &c->feed_output_norm : NULL;
    p->self_layer_scale = form & LAYER_SCALES ? fill_me : NULL;
    p->cross_layer_scale = form & LAYER_SCALES && p->cross_attention ? fill_me : NULL;
    p->feed_layer_scale = form & LAYER_SCALES && p->feed ? fill_me : NULL;
}

static float *normal(size_t n, double size) {
    float *x = new_floats(n);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)size * random_normal();
    return x;
}

static void fill_norm(attn_norm_params *p, size_t M, bool biases) {
    float *weight = normal(M, 0.2);
    for (size_t i = 0; i < M; i++)
        weight[i] += 1;
    p->weight = weight;
    p->bias = biases ? normal(M, 0.2) : NULL;
}

static void fill_feed(attn_feed_params *p, size_t M, bool biases) {
    const size_t F = p->hidden_width;
    p->up_weight = new_weights(p->weight_dtype, F, M, &p->up_scale);
    p->down_weight = new_weights(p->weight_dtype, M, F, &p->down_scale);
    p->gate_weight = p->gate_weight ? new_weights(p->weight_dtype, F, M, &p->gate_scale) : NULL;
    p->up_bias = biases ? normal(F, 1) : NULL;
    p->down_bias = biases ? normal(M, 1) : NULL;
    p->gate_bias = biases && p->gate_weight ? normal(F, 1) : NULL;
}

void fill_block(struct block_case *c, bool biases) {
    const size_t M = c->self.model_width;
    fill_layer(&c->self, true, biases ? ALL_BIASES : 0);
    fill_layer(&c->cross, false, biases ? ALL_BIASES : 0);
    fill_feed(&c->feed, M, biases);
    fill_norm(&c->hidden_norm, c->feed.hidden_width, biases);
    fill_norm(&c->self_norm, M, biases);
    fill_norm(&c->cross_norm, M, biases);
    fill_norm(&c->feed_norm, M, biases);
    fill_norm(&c->self_output_norm, M, biases);
    fill_norm(&c->cross_output_norm, M, biases);
    fill_norm(&c->feed_output_norm, M, biases);
    c->block.self_layer_scale = c->block.self_layer_scale ? normal(M, 1) : NULL;
    c->block.cross_layer_scale = c->block.cross_layer_scale ? normal(M, 1) : NULL;
    c->block.feed_layer_scale = c->block.feed_layer_scale ? normal(M, 1) : NULL;
}

attn_block *new_block(attn_context *context, const struct block_case *c) {
    attn_block *block = NULL;
    assert_ok(context, attn_block_create(context, &c->block, &block));
    assert_non_null(block);
    return block;
}

attn_tensor rounded(const double *x, size_t B, size_t T, size_t M) {
    const attn_tensor t = new_tensor(BHTD, B, 1, T, M);
    for (size_t n = 0; n < element_count(t); n++)
        *element(t, n) = (float)x[n];
    return t;
}

double *dense_doubles(attn_tensor x) {
    double *y = new_doubles(element_count(x));
    for (size_t n = 0; n < element_count(x); n++)
        y[n] = (double)*element(x, n);
    return y;
}

/* A sublayer, and what is around it. */
struct rim {
    const attn_norm_params *norm, *output;
    const float *scale;
};

struct stream {
    const attn_block_params *p;
    size_t B, T, M;
    double *x;
    const double *first; /* what the block got */
};

static double *normed(const struct stream *s, const attn_norm_params *norm, const double *x) {
    double *y = new_doubles(s->B * s->T * s->M);
    memcpy(y, x, s->B * s->T * s->M * sizeof *y);
    for (size_t r = 0; r < s->B * s->T && norm; r++)
        reference_norm(norm, s->M, x + r * s->M, y + r * s->M);
    return y;
}

static double *input_of(const struct stream *s, const struct rim *rim) {
    if (s->p->parallel)
        return normed(s, rim->norm ? rim->norm : s->p->self_norm, s->first);
    return normed(s, s->p->norm_place == ATTN_POST_NORM ? NULL : rim->norm, s->x);
}

static void add(struct stream *s, const double *y, const struct rim *rim) {
    const double factor = s->p->residual_factor != 0 ? (double)s->p->residual_factor : 1;
    y = normed(s, rim->output, y);
    for (size_t i = 0; i < s->B * s->T * s->M; i++)
        s->x[i] += factor * (rim->scale ? (double)rim->scale[i % s->M] : 1) * y[i];
    if (s->p->norm_place == ATTN_POST_NORM)
        s->x = normed(s, rim->norm, s->x);
}

static void attend(struct stream *s, const attn_mha_params *layer, const struct rim *rim, const attn_tensor *encoded,
                   const attn_sdpa_params *params) {
    attn_sdpa_params defaults;
    ATTN_INIT(&defaults);
    const attn_tensor query = rounded(input_of(s, rim), s->B, s->T, s->M), key = encoded ? *encoded : query;
    add(s, reference_mha(layer, query, key, key, params ? params : &defaults).out, rim);
}

static double *map(const attn_feed_params *p, const void *weight, const float *scale, const float *bias,
                   const double *x, size_t rows, size_t in, size_t out) {
    attn_linear_params l;
    ATTN_INIT(&l);
    l.in_width = in;
    l.out_width = out;
    l.order = p->order;
    l.weight = weight;
    l.bias = bias;
    l.weight_dtype = p->weight_dtype;
    l.weight_scale = scale;
    return reference_linear(&l, x, rows);
}

static void feed(struct stream *s, const attn_feed_params *p, const struct rim *rim) {
    const size_t rows = s->B * s->T, F = p->hidden_width;
    const double *x = input_of(s, rim), *gate = NULL;
    double *hidden = map(p, p->up_weight, p->up_scale, p->up_bias, x, rows, s->M, F);
    if (p->gate_weight)
        gate = map(p, p->gate_weight, p->gate_scale, p->gate_bias, x, rows, s->M, F);
    for (size_t i = 0; i < rows * F; i++)
        hidden[i] = gate ? reference_activation(p->activation, p->activation_params, gate[i]) *
                               reference_up(p->activation_params, hidden[i])
                         : reference_activation(p->activation, p->activation_params, hidden[i]);
    for (size_t r = 0; r < rows && p->hidden_norm; r++)
        reference_norm(p->hidden_norm, F, hidden + r * F, hidden + r * F);
    add(s, map(p, p->down_weight, p->down_scale, p->down_bias, hidden, rows, F, s->M), rim);
}

double *reference_block(const struct block_case *c, attn_tensor x, const attn_tensor *encoded,
                        const attn_sdpa_params *self, const attn_sdpa_params *cross) {
    const attn_block_params *p = &c->block;
    const struct rim of_self = {p->self_norm, p->self_output_norm, p->self_layer_scale};
    const struct rim of_cross = {p->cross_norm, p->cross_output_norm, p->cross_layer_scale};
    const struct rim of_feed = {p->feed_norm, p->feed_output_norm, p->feed_layer_scale};
    struct stream s = {p, x.size[0], x.size[2], x.size[3], dense_doubles(x), dense_doubles(x)};
    attend(&s, p->self_attention, &of_self, NULL, self);
    if (p->cross_attention)
        attend(&s, p->cross_attention, &of_cross, encoded, cross);
    if (p->feed)
        feed(&s, p->feed, &of_feed);
    return s.x;
}

tolerance of_block(void) { return promised(4); }

attn_block_inputs inputs_of(const attn_tensor *encoded) {
    attn_block_inputs inputs;
    ATTN_INIT(&inputs);
    inputs.encoded = encoded;
    return inputs;
}

attn_tensor forward_block(attn_context *context, const attn_block *block, attn_tensor x, enum layout layout,
                          const attn_block_inputs *inputs) {
    const attn_tensor out = new_tensor(layout, x.size[0], 1, x.size[2], x.size[3]);
    assert_ok(context, attn_block_forward(context, block, &x, &out, inputs));
    assert_gaps_untouched(out);
    return out;
}

attn_cache *new_layer_cache(attn_context *context, const attn_mha_params *p, size_t B, size_t capacity) {
    attn_cache_params params;
    attn_cache *cache = NULL;
    ATTN_INIT(&params);
    params.batch = B;
    params.kv_heads = p->kv_heads ? p->kv_heads : p->heads;
    params.head_width = p->model_width / p->heads;
    params.capacity = capacity;
    assert_ok(context, attn_cache_create(context, &params, &cache));
    return cache;
}
