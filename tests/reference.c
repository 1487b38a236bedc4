/* SPDX-License-Identifier: BSD-3-Clause */
#include "reference.h"

#include <float.h>
#include <math.h>

#include "support.h"

/* Attention over dense arrays. */
struct heads {
    size_t B, H, G, Tq, Tk, D, E;
    const double *q, *k, *v; /* [B,H,Tq,D], [B,G,Tk,D], [B,G,Tk,E] */
    const attn_sdpa_params *params;
};

size_t visible_keys(const attn_sdpa_params *params, size_t b, size_t i, size_t Tq, size_t Tk) {
    int64_t offset = (int64_t)Tk;
    if (params->causal == ATTN_CAUSAL_TOP_LEFT)
        offset = 0;
    if (params->causal == ATTN_CAUSAL_BOTTOM_RIGHT)
        offset = (int64_t)Tk - (int64_t)Tq;
    if (params->causal == ATTN_CAUSAL_OFFSET)
        offset = params->causal_offset[b];
    if (offset >= (int64_t)Tk) /* and now i + 1 + offset cannot overflow */
        return Tk;
    const int64_t n = offset + (int64_t)i + 1;
    return n < 0 ? 0 : n > (int64_t)Tk ? Tk : (size_t)n;
}

double effective_scale(const attn_sdpa_params *params, size_t D) {
    return params->scale != 0 ? (double)params->scale : D > 0 ? 1 / sqrt((double)D) : 1;
}

double reference_softmax(const double *scores, size_t visible, size_t n, double *p) {
    double max = -INFINITY, sum = 0;
    for (size_t j = 0; j < visible; j++)
        max = fmax(max, scores[j]);
    for (size_t j = 0; j < n; j++)
        p[j] = j >= visible || scores[j] == -INFINITY ? 0 : exp(scores[j] - max);
    for (size_t j = 0; j < n; j++)
        sum += p[j];
    for (size_t j = 0; j < visible && sum != 0; j++)
        p[j] /= sum;
    return sum == 0 ? -INFINITY : max + log(sum);
}

/* scale · q · k, which overflows as a float does. */
static double score(const double *q, const double *k, size_t D, double scale) {
    double sum = 0;
    for (size_t d = 0; d < D; d++)
        sum += q[d] * k[d];
    sum *= scale;
    return fabs(sum) > (double)FLT_MAX ? copysign(INFINITY, sum) : sum;
}

static void weighted_sum(const double *p, size_t visible, const double *v, size_t E, double *out) {
    for (size_t e = 0; e < E; e++)
        out[e] = 0;
    for (size_t j = 0; j < visible; j++)
        for (size_t e = 0; e < E; e++)
            out[e] += p[j] * v[j * E + e];
}

/* Query i of head h of sequence b. */
static void attend_row(const struct heads *a, size_t b, size_t h, size_t i, double *scores, answer *to) {
    const size_t row = (b * a->H + h) * a->Tq + i, keys = (b * a->G + h / (a->H / a->G)) * a->Tk;
    const size_t visible = visible_keys(a->params, b, i, a->Tq, a->Tk);
    const double scale = effective_scale(a->params, a->D);
    double *p = to->probabilities + row * a->Tk;
    for (size_t j = 0; j < visible; j++)
        scores[j] = score(a->q + row * a->D, a->k + (keys + j) * a->D, a->D, scale);
    to->lse[row] = reference_softmax(scores, visible, a->Tk, p);
    weighted_sum(p, isinf(to->lse[row]) ? 0 : visible, a->v + keys * a->E, a->E, to->out + row * a->E);
}

static answer attend(const struct heads *a) {
    const size_t rows = a->B * a->H * a->Tq;
    answer to = {new_doubles(rows * a->E), new_doubles(rows), new_doubles(rows * a->Tk)};
    double *scores = new_doubles(a->Tk);
    for (size_t b = 0; b < a->B; b++)
        for (size_t h = 0; h < a->H; h++)
            for (size_t i = 0; i < a->Tq; i++)
                attend_row(a, b, h, i, scores, &to);
    return to;
}

static double *dense(attn_tensor t) {
    double *x = new_doubles(element_count(t));
    for (size_t n = 0; n < element_count(t); n++)
        x[n] = (double)*element(t, n);
    return x;
}

answer reference_sdpa(attn_tensor q, attn_tensor k, attn_tensor v, const attn_sdpa_params *params) {
    return attend(&(struct heads){.B = q.size[0],
                                  .H = q.size[1],
                                  .G = k.size[1],
                                  .Tq = q.size[2],
                                  .Tk = k.size[2],
                                  .D = q.size[3],
                                  .E = v.size[3],
                                  .q = dense(q),
                                  .k = dense(k),
                                  .v = dense(v),
                                  .params = params});
}

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
    answer a = attend(&(struct heads){B, H, G, Tq, Tk, D, E, project(&q, dense(query), B, Tq, H),
                                      project(&k, dense(key), B, Tk, G), project(&v, dense(value), B, Tk, G), params});
    a.out = project(&o, concatenated(a.out, B, H, Tq, E), B, Tq, 1);
    return a;
}
