/* SPDX-License-Identifier: BSD-3-Clause */
#include <math.h>

#include "numbers.h"
#include "reference.h"
#include "support.h"

/* y = x·W + bias; weight (o, i) of output o and input i stands at weight[o·out_step + i·in_step]. */
typedef struct linear {
    const void *weight;
    attn_dtype dtype;
    const float *scale, *bias;
    size_t out, in, out_step, in_step;
    size_t first; /* output feature of the matrix */
} linear;

static double int4_at(const linear *l, size_t o, size_t i) {
    const unsigned char byte = ((const unsigned char *)l->weight)[o * ((l->in + 1) / 2) + i / 2];
    const float *pair = l->scale + (o * ((l->in + 31) / 32) + i / 32) * 2;
    return (double)pair[0] * (i % 2 ? byte / 16 : byte % 16) + (double)pair[1];
}

static double weight_at(const linear *l, size_t o, size_t i) {
    if (l->dtype == ATTN_INT4)
        return int4_at(l, o, i);
    const char *at = (const char *)l->weight + (o * l->out_step + i * l->in_step) * type_size(l->dtype);
    return read_number(l->dtype, at) * (l->scale ? (double)l->scale[o] : 1);
}

/* y [rows, out], for x [rows, in]. */
static double *product(const linear *l, const double *x, size_t rows) {
    double *y = new_doubles(rows * l->out), *w = new_doubles(l->in);
    for (size_t o = 0; o < l->out; o++) {
        for (size_t i = 0; i < l->in; i++)
            w[i] = weight_at(l, l->first + o, i);
        for (size_t r = 0; r < rows; r++) {
            double sum = l->bias ? (double)l->bias[l->first + o] : 0;
            for (size_t i = 0; i < l->in; i++)
                sum += x[r * l->in + i] * w[i];
            y[r * l->out + o] = sum;
        }
    }
    return y;
}

double *reference_linear(const attn_linear_params *p, const double *x, size_t rows) {
    const bool out_in = p->order == ATTN_OUT_IN;
    const linear l = {p->weight,   p->weight_dtype,          p->weight_scale,           p->bias, p->out_width,
                      p->in_width, out_in ? p->in_width : 1, out_in ? 1 : p->out_width, 0};
    return product(&l, x, rows);
}

/* x dense [B, T, in] to y dense [B, heads, T, width], heads · width = out. */
static double *project(const linear *l, const double *x, size_t B, size_t T, size_t heads) {
    const size_t width = l->out / heads;
    const double *from = product(l, x, B * T);
    double *y = new_doubles(B * T * l->out);
    for (size_t row = 0; row < B * T; row++)
        for (size_t o = 0; o < l->out; o++)
            y[((row / T * heads + o / width) * T + row % T) * width + o % width] = from[row * l->out + o];
    return y;
}

static linear whole(const attn_mha_params *p, const void *weight, const float *scale, const float *bias, size_t out,
                    size_t in) {
    const bool out_in = p->order == ATTN_OUT_IN;
    return (linear){weight, p->weight_dtype, scale, bias, out, in, out_in ? in : 1, out_in ? 1 : out, 0};
}

/* The projection of `out` features, from feature `first` of all that in_weight has; or a matrix of its own. */
static linear input(const attn_mha_params *p, const void *weight, const float *scale, const float *bias, size_t out,
                    size_t in, size_t first, size_t all) {
    if (weight)
        return whole(p, weight, scale, bias, out, in);
    linear l = whole(p, p->in_weight, p->in_scale, p->in_bias, all, in);
    l.first = first;
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

/* One more key with score s for a row that has n probabilities; value NULL: zeros. */
static void add_key(double s, const float *value, size_t E, double *out, double *lse, size_t n, double *p) {
    const double max = fmax(*lse, s), before = exp(*lse - max), added = exp(s - max), sum = before + added;
    for (size_t e = 0; e < E; e++)
        out[e] = (out[e] * before + (value ? (double)value[e] : 0) * added) / sum;
    for (size_t j = 0; j < n; j++)
        p[j] *= before / sum;
    *lse = max + log(sum);
}

static void add_keys(const attn_mha_params *layer, const struct heads *h, answer *a) {
    for (size_t row = 0; row < h->B * h->H * h->Tq; row++) {
        const size_t g = row / h->Tq % h->H / (h->H / h->G);
        double s = 0, *out = a->out + row * h->E;
        double *p = a->stages[ATTN_STAGE_PROBABILITIES] + row * h->Tk;
        for (size_t d = 0; d < h->D && layer->extra_key; d++)
            s += h->q[row * h->D + d] * (double)layer->extra_key[g * h->D + d];
        s *= effective_scale(h->params, h->D);
        for (size_t e = 0; e < h->E && layer->extra_key && h->params->sigmoid; e++)
            out[e] += (double)layer->extra_value[g * h->E + e] / (1 + exp(-s));
        if (h->params->sigmoid) /* nor do zeros add anything */
            continue;
        if (layer->extra_key)
            add_key(s, layer->extra_value + g * h->E, h->E, out, &a->lse[row], h->Tk, p);
        if (layer->zero_key)
            add_key(0, NULL, h->E, out, &a->lse[row], h->Tk, p);
    }
}

answer reference_mha(const attn_mha_params *layer, attn_tensor query, attn_tensor key, attn_tensor value,
                     const attn_sdpa_params *params) {
    const size_t M = layer->model_width, H = layer->heads, G = or_default(layer->kv_heads, H);
    const size_t D = or_default(layer->head_width, M / H), E = or_default(layer->value_width, D);
    const size_t B = query.size[0], Tq = query.size[2], Tk = key.size[2], all = H * D + G * D + G * E;
    const linear q = input(layer, layer->q_weight, layer->q_scale, layer->q_bias, H * D, M, 0, all);
    const linear k = input(layer, layer->k_weight, layer->k_scale, layer->k_bias, G * D, key.size[3], H * D, all);
    const linear v =
        input(layer, layer->v_weight, layer->v_scale, layer->v_bias, G * E, value.size[3], H * D + G * D, all);
    const linear o = whole(layer, layer->out_weight, layer->out_scale, layer->out_bias, M, H * E);
    const struct heads heads = {B,
                                H,
                                G,
                                Tq,
                                Tk,
                                D,
                                E,
                                project(&q, doubles_of(query), B, Tq, H),
                                project(&k, doubles_of(key), B, Tk, G),
                                project(&v, doubles_of(value), B, Tk, G),
                                params};
    answer a = reference_attend(&heads);
    add_keys(layer, &heads, &a);
    a.out = project(&o, concatenated(a.out, B, H, Tq, E), B, Tq, 1);
    return a;
}
