/* SPDX-License-Identifier: BSD-3-Clause */
#include <math.h>

#include "reference.h"
#include "support.h"

/* y = x·W + bias; weight (o, i) of output o and input i stands at weight[o·out_step + i·in_step]. */
typedef struct linear {
    const float *weight, *bias;
    size_t out, in, out_step, in_step;
} linear;

static double project_one(const linear *l, const double *x, size_t o) {
    double sum = l->bias ? (double)l->bias[o] : 0;
    for (size_t i = 0; i < l->in; i++)
        sum += x[i] * (double)l->weight[o * l->out_step + i * l->in_step];
    return sum;
}

/* x dense [B, T, in] to y dense [B, heads, T, width], heads · width = out. */
static double *project(const linear *l, const double *x, size_t B, size_t T, size_t heads) {
    const size_t width = l->out / heads;
    double *y = new_doubles(B * T * l->out);
    for (size_t b = 0; b < B; b++)
        for (size_t t = 0; t < T; t++)
            for (size_t o = 0; o < l->out; o++)
                y[((b * heads + o / width) * T + t) * width + o % width] = project_one(l, x + (b * T + t) * l->in, o);
    return y;
}

static linear whole(const attn_mha_params *p, const float *weight, const float *bias, size_t out, size_t in) {
    const bool out_in = p->order == ATTN_OUT_IN;
    return (linear){weight, bias, out, in, out_in ? in : 1, out_in ? 1 : out};
}

/* The projection of `out` features, from feature `first` of all that in_weight has; or a matrix of its own. */
static linear input(const attn_mha_params *p, const float *weight, const float *bias, size_t out, size_t in,
                    size_t first, size_t all) {
    if (weight)
        return whole(p, weight, bias, out, in);
    linear l = whole(p, p->in_weight, p->in_bias, all, in);
    l.weight += first * l.out_step;
    l.bias = l.bias ? l.bias + first : NULL;
    l.out = out;
    return l;
}

/* [B,H,T,E] to [B,T,H·E] */
static double *concatenated(const double *x, size_t B, size_t H, size_t T, size_t E) {
    double *y = new_doubles(B * H * T * E);
    for (size_t row = 0; row < B * H * T; row++)
        for (size_t e = 0; e < E; e++)
            y[((row / (H * T) * T + row % T) * H + row / T % H) * E + e] = x[row * E + e];
    return y;
}

static size_t or_default(size_t size, size_t otherwise) { return size ? size : otherwise; }

answer reference_mha(const attn_mha_params *layer, attn_tensor query, attn_tensor key, attn_tensor value,
                     const attn_sdpa_params *params) {
    const size_t M = layer->model_width, H = layer->heads, G = or_default(layer->kv_heads, H);
    const size_t D = or_default(layer->head_width, M / H), E = or_default(layer->value_width, D);
    const size_t B = query.size[0], Tq = query.size[2], Tk = key.size[2], all = H * D + G * D + G * E;
    const linear q = input(layer, layer->q_weight, layer->q_bias, H * D, M, 0, all);
    const linear k = input(layer, layer->k_weight, layer->k_bias, G * D, key.size[3], H * D, all);
    const linear v = input(layer, layer->v_weight, layer->v_bias, G * E, value.size[3], H * D + G * D, all);
    const linear o = whole(layer, layer->out_weight, layer->out_bias, M, H * E);
    answer a = reference_attend(&(struct heads){B, H, G, Tq, Tk, D, E, project(&q, doubles_of(query), B, Tq, H),
                                                project(&k, doubles_of(key), B, Tk, G),
                                                project(&v, doubles_of(value), B, Tk, G), params});
    a.out = project(&o, concatenated(a.out, B, H, Tq, E), B, Tq, 1);
    return a;
}
