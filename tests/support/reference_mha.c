/* SPDX-License-Identifier: BSD-3-Clause */
#include <math.h>

#include "support/block_case.h"
#include "support/numbers.h"
#include "support/reference.h"
#include "support/support.h"

/* y = x·W + bias; weight (o, i) of output o and input i stands at weight[o·out_step + i·in_step]. */
typedef struct linear {
    const void *weight;
    attn_dtype dtype;
    const float *scale, *bias;
    size_t out, in, out_step, in_step;
    size_t first;      /* output feature of the matrix */
    size_t run, pitch; /* features that follow each other, and from the first of them to the next first; 0: all do */
} linear;

static size_t feature(const linear *l, size_t o) {
    return l->first + (l->run ? o / l->run * l->pitch + o % l->run : o);
}

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
            w[i] = weight_at(l, feature(l, o), i);
        for (size_t r = 0; r < rows; r++) {
            double sum = l->bias ? (double)l->bias[feature(l, o)] : 0;
            for (size_t i = 0; i < l->in; i++)
                sum += x[r * l->in + i] * w[i];
            y[r * l->out + o] = sum;
        }
    }
    return y;
}

double *reference_linear(const attn_linear_params *p, const double *x, size_t rows) {
    const bool out_in = p->order == ATTN_OUT_IN;
    const linear l = {p->weight,
                      p->weight_dtype,
                      p->weight_scale,
                      p->bias,
                      p->out_width,
                      p->in_width,
                      out_in ? p->in_width : 1,
                      out_in ? 1 : p->out_width,
                      0,
                      0,
                      0};
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
    return (linear){weight, p->weight_dtype, scale, bias, out, in, out_in ? in : 1, out_in ? 1 : out, 0, 0, 0};
}

/* `out` features of a matrix of `all`, from `first` on, in runs. */
static linear some(linear l, size_t first, size_t out, size_t run, size_t pitch) {
    l.first = first;
    l.out = out;
    l.run = run;
    l.pitch = pitch;
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
        s = capped_score(h->params, s * effective_scale(h->params, h->D));
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

/* The linear maps of q, k, v and, where there is one, of the gate. */
struct maps {
    linear q, k, v, gate;
};

static struct maps maps_of(const attn_mha_params *p, size_t key_width, size_t value_width) {
    const size_t M = p->model_width, H = p->heads, G = or_default(p->kv_heads, H), D = or_default(p->head_width, M / H);
    const size_t E = or_default(p->value_width, D), of_group = H / G * D, group = of_group + D + E;
    const size_t of_gate = p->gate_per_head ? 1 : E, pitch = D + of_gate;
    const linear in = whole(p, p->in_weight, p->in_scale, p->in_bias, G * group, M);
    const linear q =
        whole(p, p->q_weight, p->q_scale, p->q_bias, p->gate_in_q ? H * pitch : H * D, or_default(p->q_latent, M));
    const linear gate = whole(p, p->gate_weight, p->gate_scale, p->gate_bias, H * of_gate, M);
    if (p->in_weight && p->qkv_order == ATTN_QKV_BY_GROUP)
        return (struct maps){some(in, 0, H * D, of_group, group), some(in, of_group, G * D, D, group),
                             some(in, of_group + D, G * E, E, group), gate};
    if (p->in_weight)
        return (struct maps){some(in, 0, H * D, 0, 0), some(in, H * D, G * D, 0, 0), some(in, (H + G) * D, G * E, 0, 0),
                             gate};
    return (struct maps){p->gate_in_q ? some(q, 0, H * D, D, pitch) : q,
                         whole(p, p->k_weight, p->k_scale, p->k_bias, G * D, key_width),
                         whole(p, p->v_weight, p->v_scale, p->v_bias, G * E, value_width),
                         p->gate_in_q ? some(q, D, H * of_gate, of_gate, pitch) : gate};
}

static double *clipped(const attn_mha_params *p, double *x, size_t n) {
    for (size_t i = 0; i < n && p->clip > 0; i++)
        x[i] = isnan(x[i]) ? x[i] : fmin(fmax(x[i], -(double)p->clip), (double)p->clip);
    return x;
}

/* o [rows, H·E], from the inputs x [rows, M]. */
static void finish(const attn_mha_params *p, const linear *gate, const double *x, size_t rows, size_t width,
                   double *o) {
    if (p->gate_weight || p->gate_in_q) {
        const double *g = product(gate, x, rows);
        for (size_t i = 0; i < rows * width; i++)
            o[i] /= 1 + exp(-g[i / (width / gate->out)]);
    }
    for (size_t r = 0; r < rows && p->out_norm; r++)
        reference_norm(p->out_norm, width, o + r * width, o + r * width);
}

/* Latents of rows x [rows, in]: their first `width` numbers normed. */
static double *latents_of(const linear *down, const attn_norm_params *norm, size_t width, const double *x,
                          size_t rows) {
    double *y = product(down, x, rows);
    for (size_t r = 0; r < rows && norm; r++)
        reference_norm(norm, width, y + r * down->out, y + r * down->out);
    return y;
}

static double *queries_of(const attn_mha_params *p, const struct maps *maps, const double *x, size_t B, size_t T) {
    const linear down = whole(p, p->q_down_weight, p->q_down_scale, p->q_down_bias, p->q_latent, p->model_width);
    return project(&maps->q, p->q_latent ? latents_of(&down, p->q_latent_norm, p->q_latent, x, B * T) : x, B, T,
                   p->heads);
}

/* Keys [B,H,T,D] and values [B,H,T,E] of latents, as heads. */
static void expand(const attn_mha_params *p, attn_tensor key, size_t D, size_t E, double *k, double *v) {
    const size_t L = p->kv_latent, R = p->shared_key_width, H = p->heads, N = D - R, B = key.size[0], T = key.size[2];
    const linear down = whole(p, p->kv_down_weight, p->kv_down_scale, p->kv_down_bias, L + R, key.size[3]);
    const linear up = whole(p, p->kv_up_weight, p->kv_up_scale, NULL, H * (N + E), L);
    const double *c = latents_of(&down, p->kv_latent_norm, L, doubles_of(key), B * T);
    double *only = new_doubles(B * T * L);
    for (size_t n = 0; n < B * T * L; n++)
        only[n] = c[n / L * (L + R) + n % L];
    const double *made = project(&up, only, B, T, H); /* [B,H,T,N + E] */
    for (size_t row = 0; row < B * H * T; row++) {
        const double *shared = c + (row / (H * T) * T + row % T) * (L + R) + L;
        for (size_t d = 0; d < D; d++)
            k[row * D + d] = d < N ? made[row * (N + E) + d] : shared[d - N];
        for (size_t e = 0; e < E; e++)
            v[row * E + e] = made[row * (N + E) + N + e];
    }
}

answer reference_mha(const attn_mha_params *layer, attn_tensor query, attn_tensor key, attn_tensor value,
                     const attn_sdpa_params *params) {
    const size_t M = layer->model_width, H = layer->heads, G = or_default(layer->kv_heads, H);
    const size_t D = or_default(layer->head_width, M / H), E = or_default(layer->value_width, D);
    const size_t B = query.size[0], Tq = query.size[2], Tk = key.size[2];
    const struct maps maps = maps_of(layer, key.size[3], value.size[3]);
    const linear o = whole(layer, layer->out_weight, layer->out_scale, layer->out_bias, M, H * E);
    const double *x = doubles_of(query);
    double *k, *v;
    if (layer->kv_latent) {
        k = new_doubles(B * H * Tk * D);
        v = new_doubles(B * H * Tk * E);
        expand(layer, key, D, E, k, v);
    } else {
        k = clipped(layer, project(&maps.k, doubles_of(key), B, Tk, G), B * G * Tk * D);
        v = clipped(layer, project(&maps.v, doubles_of(value), B, Tk, G), B * G * Tk * E);
    }
    const struct heads heads = {
        B, H, G, Tq, Tk, D, E, clipped(layer, queries_of(layer, &maps, x, B, Tq), B * H * Tq * D), k, v, params};
    answer a = reference_attend(&heads);
    add_keys(layer, &heads, &a);
    double *made = concatenated(a.out, B, H, Tq, E);
    finish(layer, &maps.gate, x, B * Tq, H * E, made);
    a.out = project(&o, made, B, Tq, 1);
    return a;
}
