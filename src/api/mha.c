/* SPDX-License-Identifier: BSD-3-Clause */
#include "attn/mha.h"

#include <math.h>

#include "api/layer.h"
#include "api/parts.h"
#include "mha/mha.h"

static attn_status fail(attn_context *context, attn_status status, const char *field, size_t value, const char *rule) {
    return attni_fail(context, status, "params.%s is %zu, expected %s", field, value, rule);
}

/* Puts the defaults where zeros are. */
static attn_status resolve(attn_context *context, attn_mha_params *p) {
    if (p->model_width == 0)
        return fail(context, ATTN_ERROR_SHAPE, "model_width", 0, "at least 1");
    if (p->heads == 0)
        return fail(context, ATTN_ERROR_SHAPE, "heads", 0, "at least 1");
    if (p->head_width == 0 && p->model_width % p->heads != 0)
        return fail(context, ATTN_ERROR_SHAPE, "heads", p->heads, "a divisor of model_width, or head_width set");
    p->kv_heads = p->kv_heads ? p->kv_heads : p->heads;
    if (p->heads % p->kv_heads != 0)
        return fail(context, ATTN_ERROR_SHAPE, "kv_heads", p->kv_heads, "a divisor of heads");
    p->head_width = p->head_width ? p->head_width : p->model_width / p->heads;
    p->value_width = p->value_width ? p->value_width : p->head_width;
    p->key_input_width = p->key_input_width ? p->key_input_width : p->model_width;
    p->value_input_width = p->value_input_width ? p->value_input_width
                           : p->kv_latent       ? p->key_input_width
                                                : p->model_width;
    if (p->order != ATTN_OUT_IN && p->order != ATTN_IN_OUT)
        return fail(context, ATTN_ERROR_VALUE, "order", (size_t)p->order, "ATTN_OUT_IN (0) or ATTN_IN_OUT (1)");
    if (!isfinite(p->clip) || p->clip < 0)
        return attni_fail(context, ATTN_ERROR_VALUE, "params.clip is %g, expected a finite number that is not negative",
                          (double)p->clip);
    return attni_check_weight_dtype(context, "params.weight_dtype", p->weight_dtype, "params.order", p->order);
}

/* Numbers of a head's gate. */
static size_t gate_width(const attn_mha_params *p) { return p->gate_per_head ? 1 : p->value_width; }

static attn_status check_gate(attn_context *context, const attn_mha_params *p) {
    const char *set = p->gate_weight ? "gate_weight" : p->gate_bias ? "gate_bias" : p->gate_scale ? "gate_scale" : NULL;
    if (p->gate_in_q && p->in_weight)
        return attni_fail(context, ATTN_ERROR_VALUE, "params.gate_in_q is set, but so is in_weight: expected q_weight");
    if (p->gate_in_q && p->q_latent)
        return attni_fail(context, ATTN_ERROR_VALUE, "params.gate_in_q is set, but q_weight reads q_latent");
    if (p->gate_in_q && set)
        return attni_fail(context, ATTN_ERROR_VALUE, "params.%s is set, but so is gate_in_q: expected either", set);
    if (set && !p->gate_weight)
        return attni_fail(context, ATTN_ERROR_VALUE, "params.%s is set, but gate_weight is not", set);
    if (p->gate_per_head && !p->gate_weight && !p->gate_in_q)
        return attni_fail(context, ATTN_ERROR_VALUE, "params.gate_per_head is set, but there is no gate");
    return ATTN_OK;
}

/* What belongs to a latent is there with it alone. */
static attn_status check_latent_fields(attn_context *context, const char *latent, size_t width, const char *weight_name,
                                       const void *weight, bool others) {
    if (width)
        return attni_check_pointer(context, weight_name, weight);
    if (weight || others)
        return attni_fail(context, ATTN_ERROR_VALUE, "%s is 0, but %s, or what belongs to it, is set", latent,
                          weight_name);
    return ATTN_OK;
}

static attn_status check_latents(attn_context *context, const attn_mha_params *p) {
    ATTNI_TRY(check_latent_fields(context, "params.q_latent", p->q_latent, "params.q_down_weight", p->q_down_weight,
                                  p->q_down_bias || p->q_down_scale || p->q_latent_norm));
    ATTNI_TRY(check_latent_fields(context, "params.kv_latent", p->kv_latent, "params.kv_down_weight", p->kv_down_weight,
                                  p->kv_down_bias || p->kv_down_scale || p->kv_latent_norm || p->shared_key_width));
    ATTNI_TRY(check_latent_fields(context, "params.kv_latent", p->kv_latent, "params.kv_up_weight", p->kv_up_weight,
                                  p->kv_up_scale));
    if (p->kv_latent == 0)
        return ATTN_OK;
    if (p->kv_heads != p->heads)
        return fail(context, ATTN_ERROR_SHAPE, "kv_heads", p->kv_heads, "heads with kv_latent, or 0");
    if (p->shared_key_width >= p->head_width)
        return fail(context, ATTN_ERROR_SHAPE, "shared_key_width", p->shared_key_width, "less than head_width");
    if (p->value_input_width != p->key_input_width)
        return fail(context, ATTN_ERROR_SHAPE, "value_input_width", p->value_input_width,
                    "key_input_width with kv_latent");
    if (p->clip > 0 || p->extra_key || p->zero_key)
        return attni_fail(context, ATTN_ERROR_VALUE, "params.%s is set, and kv_latent is %zu",
                          p->clip > 0    ? "clip"
                          : p->extra_key ? "extra_key"
                                         : "zero_key",
                          p->kv_latent);
    return ATTN_OK;
}

static attn_status check_qkv_order(attn_context *context, const attn_mha_params *p) {
    if (p->qkv_order != ATTN_QKV_STACKED && p->qkv_order != ATTN_QKV_BY_GROUP)
        return fail(context, ATTN_ERROR_VALUE, "qkv_order", (size_t)p->qkv_order,
                    "ATTN_QKV_STACKED (0) or ATTN_QKV_BY_GROUP (1)");
    if (p->qkv_order && !p->in_weight)
        return attni_fail(context, ATTN_ERROR_VALUE, "params.qkv_order is %d, but in_weight is not set",
                          (int)p->qkv_order);
    return ATTN_OK;
}

/* One matrix for all three projections goes with one input width, and excludes the three. */
static attn_status check_sources(attn_context *context, const attn_mha_params *p) {
    const bool pairs = p->k_weight || p->v_weight || p->k_bias || p->v_bias || p->k_scale || p->v_scale;
    const bool separate = pairs || p->q_weight || p->q_bias || p->q_scale || p->q_latent || p->kv_latent;
    ATTNI_TRY(attni_check_pointer(context, "params.out_weight", p->out_weight));
    if (!p->extra_key != !p->extra_value)
        return attni_fail(context, ATTN_ERROR_NULL, "params.%s is NULL, but params.%s is set",
                          p->extra_key ? "extra_value" : "extra_key", p->extra_key ? "extra_key" : "extra_value");
    if (p->in_weight && separate)
        return attni_fail(context, ATTN_ERROR_VALUE,
                          "params.in_weight is set, and so is one of q_weight … v_scale: expected either");
    if (p->in_weight && p->key_input_width != p->model_width)
        return fail(context, ATTN_ERROR_SHAPE, "key_input_width", p->key_input_width, "model_width with in_weight");
    if (p->in_weight && p->value_input_width != p->model_width)
        return fail(context, ATTN_ERROR_SHAPE, "value_input_width", p->value_input_width, "model_width with in_weight");
    if (p->in_weight)
        return ATTN_OK;
    if (p->in_bias)
        return attni_fail(context, ATTN_ERROR_VALUE, "params.in_bias is set, but params.in_weight is not");
    ATTNI_TRY(attni_check_pointer(context, "params.q_weight", p->q_weight));
    if (p->kv_latent)
        return pairs ? attni_fail(context, ATTN_ERROR_VALUE,
                                  "params.kv_latent is %zu, and so is one of k_weight … v_scale set: expected either",
                                  p->kv_latent)
                     : ATTN_OK;
    ATTNI_TRY(attni_check_pointer(context, "params.k_weight", p->k_weight));
    return attni_check_pointer(context, "params.v_weight", p->v_weight);
}

/* A matrix of the params, with what belongs to each of its `out` output features. */
typedef struct matrix {
    const void *data;
    const float *scale, *bias;
    size_t out, in;
} matrix;

/* `count` of the output features of a matrix, from `first` on, in runs of `run` that are `pitch` apart; run = 0: one
 * after the other. */
typedef struct part {
    size_t first, count, run, pitch;
} part;

static attni_mha_weight features(const attn_mha_params *p, const matrix *m, part of) {
    const attn_dtype type = p->weight_dtype;
    const size_t step = p->order == ATTN_IN_OUT ? 1 : m->in;
    const attni_weight weight = {.data = (const char *)m->data + attni_weight_bytes(type, of.first, step),
                                 .type = type,
                                 .scale = m->scale ? m->scale + attni_count_scales(type, of.first, m->in) : NULL,
                                 .bias = m->bias ? m->bias + of.first : NULL,
                                 .stride_out = step,
                                 .stride_in = p->order == ATTN_IN_OUT ? m->out : 1,
                                 .out = of.count,
                                 .in = m->in};
    return (attni_mha_weight){weight, {of.first, of.run, of.pitch, weight.stride_out, weight.stride_in}};
}

/* A side of a weight matrix and the other one: room for whole panels is included. */
static attn_status check_side(attn_context *context, const char *name, size_t side, size_t other) {
    size_t floats;
    ATTNI_TRY(attni_check_int(context, name, side));
    return attni_check_product(context, name, side + 64, other + 64, &floats);
}

/* The matrices of a layer. */
typedef struct matrices {
    matrix in, separate[3], out, gate, q_down, kv_up;
} matrices;

static attn_status check_scales(attn_context *context, const attn_mha_params *p, const matrices *m) {
    const struct {
        const char *name;
        const matrix *matrix;
    } all[] = {{"params.in_scale", &m->in},
               {"params.q_scale", &m->separate[ATTNI_W_Q]},
               {p->kv_latent ? "params.kv_down_scale" : "params.k_scale", &m->separate[ATTNI_W_K]},
               {"params.v_scale", &m->separate[ATTNI_W_V]},
               {"params.out_scale", &m->out},
               {"params.gate_scale", &m->gate},
               {"params.q_down_scale", &m->q_down},
               {"params.kv_up_scale", &m->kv_up}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        ATTNI_TRY(attni_check_scale(context, all[i].name, all[i].matrix->scale, all[i].matrix->data, p->weight_dtype,
                                    all[i].matrix->out, all[i].matrix->in));
    return ATTN_OK;
}

/* Widths of all heads together. */
typedef struct widths {
    size_t q, k, v, o, gate, kv_up;
} widths;

static attn_status check_widths(attn_context *context, const attn_mha_params *p, widths *w) {
    ATTNI_TRY(attni_check_product(context, "params.heads · head_width", p->heads, p->head_width, &w->q));
    ATTNI_TRY(attni_check_product(context, "params.kv_heads · head_width", p->kv_heads, p->head_width, &w->k));
    ATTNI_TRY(attni_check_product(context, "params.kv_heads · value_width", p->kv_heads, p->value_width, &w->v));
    ATTNI_TRY(attni_check_product(context, "params.heads · value_width", p->heads, p->value_width, &w->o));
    w->gate = p->gate_weight || p->gate_in_q ? p->heads * gate_width(p) : 0;
    w->kv_up = p->kv_latent ? w->q + w->o - p->heads * p->shared_key_width : 0;
    if (p->kv_latent) {
        ATTNI_TRY(check_side(context, "params.kv_latent", p->kv_latent, w->kv_up));
        w->k = p->kv_latent + p->shared_key_width;
        w->v = 0;
    }
    ATTNI_TRY(check_side(context, "params.q_latent", p->q_latent, p->q_latent ? w->q + p->model_width : 0));
    const size_t M = p->model_width;
    ATTNI_TRY(check_side(context, "params.model_width", M, M));
    ATTNI_TRY(check_side(context, "params.heads · head_width", w->q + w->k + w->v + w->gate, M));
    ATTNI_TRY(check_side(context, "params.heads · value_width", w->o, M));
    ATTNI_TRY(check_side(context, "params.key_input_width", p->key_input_width, w->k));
    return check_side(context, "params.value_input_width", p->value_input_width, w->v);
}

/* Which features of in_weight q, k and v are. */
static void cut_in_weight(const attn_mha_params *p, const widths *n, part parts[3]) {
    const size_t D = p->head_width, E = p->value_width, queries = p->heads / p->kv_heads * D, group = queries + D + E;
    if (p->qkv_order == ATTN_QKV_BY_GROUP) {
        parts[ATTNI_W_Q] = (part){0, n->q, queries, group};
        parts[ATTNI_W_K] = (part){queries, n->k, D, group};
        parts[ATTNI_W_V] = (part){queries + D, n->v, E, group};
    } else {
        parts[ATTNI_W_Q] = (part){0, n->q, 0, 0};
        parts[ATTNI_W_K] = (part){n->q, n->k, 0, 0};
        parts[ATTNI_W_V] = (part){n->q + n->k, n->v, 0, 0};
    }
}

static matrices matrices_of(const attn_mha_params *p, const widths *n) {
    const size_t M = p->model_width, key = p->key_input_width, inner = p->gate_in_q ? n->gate : 0;
    const bool latent = p->kv_latent > 0;
    return (matrices){.in = {p->in_weight, p->in_scale, p->in_bias, n->q + n->k + n->v, M},
                      .separate = {{p->q_weight, p->q_scale, p->q_bias, n->q + inner, p->q_latent ? p->q_latent : M},
                                   {latent ? p->kv_down_weight : p->k_weight, latent ? p->kv_down_scale : p->k_scale,
                                    latent ? p->kv_down_bias : p->k_bias, n->k, key},
                                   {p->v_weight, p->v_scale, p->v_bias, n->v, p->value_input_width}},
                      .out = {p->out_weight, p->out_scale, p->out_bias, M, n->o},
                      .gate = {p->gate_weight, p->gate_scale, p->gate_bias, n->gate, M},
                      .q_down = {p->q_down_weight, p->q_down_scale, p->q_down_bias, p->q_latent, M},
                      .kv_up = {p->kv_up_weight, p->kv_up_scale, NULL, n->kv_up, p->kv_latent}};
}

static attni_mha_weight whole(const attn_mha_params *p, const matrix *m) {
    return features(p, m, (part){0, m->out, 0, 0});
}

static attn_status describe(attn_context *context, const attn_mha_params *p, attni_mha_weight w[ATTNI_WEIGHTS]) {
    widths n;
    ATTNI_TRY(check_widths(context, p, &n));
    const size_t D = p->head_width, gate = gate_width(p);
    const matrices m = matrices_of(p, &n);
    part parts[] = {{0, n.q, 0, 0}, {0, n.k, 0, 0}, {0, n.v, 0, 0}};
    ATTNI_TRY(check_scales(context, p, &m));
    if (p->in_weight)
        cut_in_weight(p, &n, parts);
    if (p->gate_in_q)
        parts[ATTNI_W_Q] = (part){0, n.q, D, D + gate};
    for (size_t i = ATTNI_W_Q; i <= ATTNI_W_V; i++)
        w[i] = features(p, p->in_weight ? &m.in : &m.separate[i], parts[i]);
    w[ATTNI_W_OUT] = whole(p, &m.out);
    w[ATTNI_W_GATE] =
        p->gate_in_q ? features(p, &m.separate[ATTNI_W_Q], (part){D, n.gate, gate, D + gate}) : whole(p, &m.gate);
    w[ATTNI_W_Q_DOWN] = whole(p, &m.q_down);
    w[ATTNI_W_KV_UP] = whole(p, &m.kv_up);
    return ATTN_OK;
}

static const char *const norm_names[ATTNI_NORMS] = {"params.out_norm", "params.q_latent_norm", "params.kv_latent_norm"};

/* Makes the norms that there are, and points at them. */
static attn_status make_norms(attn_context *context, const attn_mha_params *p, attni_norm made[ATTNI_NORMS],
                              const attni_norm *norms[ATTNI_NORMS]) {
    const attn_norm_params *const given[ATTNI_NORMS] = {p->out_norm, p->q_latent_norm, p->kv_latent_norm};
    for (size_t i = 0; i < ATTNI_NORMS; i++) {
        norms[i] = given[i] ? &made[i] : NULL;
        if (given[i])
            ATTNI_TRY(attni_check_norm(context, norm_names[i], given[i], &made[i]));
    }
    return ATTN_OK;
}

/* A layer as its params describe it, all checked and resolved. */
typedef struct description {
    attn_mha_params params;
    attni_mha_weight weights[ATTNI_WEIGHTS];
    attni_norm made[ATTNI_NORMS];
    const attni_norm *norms[ATTNI_NORMS];
} description;

static attn_status check_layer(attn_context *context, const attn_mha_params *params, description *d) {
    attn_mha_params *p = &d->params;
    ATTNI_TRY(attni_check_pointer(context, "params", params));
    ATTNI_TRY(attni_check_params(context, "params", params, sizeof *p, p));
    ATTNI_TRY(resolve(context, p));
    ATTNI_TRY(check_sources(context, p));
    ATTNI_TRY(check_qkv_order(context, p));
    ATTNI_TRY(check_gate(context, p));
    ATTNI_TRY(check_latents(context, p));
    ATTNI_TRY(describe(context, p, d->weights));
    return make_norms(context, p, d->made, d->norms);
}

attn_status attn_mha_create(attn_context *context, const attn_mha_params *params, attn_mha **mha) {
    description d;
    if (mha)
        *mha = NULL;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_pointer(context, "mha", mha));
    ATTNI_TRY(check_layer(context, params, &d));
    *mha = attni_mha_new(context, &d.params, d.weights, d.norms);
    return *mha ? ATTN_OK : attni_fail(context, ATTN_ERROR_MEMORY, "mha: no memory for the packed weights");
}

/* By attni_role; q, k, v and the gate may come from any of several. */
static const char *const weight_names[ATTNI_WEIGHTS] = {"params, q",          "params, k",    "params, v",
                                                        "params.out_weight",  "params, gate", "params.q_down_weight",
                                                        "params.kv_up_weight"};

static attn_status check_fits(attn_context *context, const attn_mha *mha, const description *d) {
    ATTNI_TRY(attni_check_fits(context, "params", attni_mha_misfit(mha, &d->params)));
    for (attni_role i = 0; i < ATTNI_WEIGHTS; i++)
        ATTNI_TRY(attni_check_fits(context, weight_names[i],
                                   attni_mha_weight_misfit(context, mha, i, &d->weights[i], context->scratch)));
    for (attni_norm_of i = 0; i < ATTNI_NORMS; i++)
        ATTNI_TRY(attni_check_norm_fits(context, norm_names[i], d->norms[i],
                                        mha->norms[i].there ? &mha->norms[i].norm : NULL));
    return ATTN_OK;
}

attn_status attni_mha_renew(attn_context *context, attn_mha *mha, const attn_mha_params *params, bool writes) {
    description d;
    ATTNI_TRY(check_layer(context, params, &d));
    ATTNI_TRY(attni_scratch_reserve(context, attni_mha_repack_bytes(mha, d.weights)));
    ATTNI_TRY(check_fits(context, mha, &d));
    if (writes)
        attni_mha_repack(context, mha, &d.params, d.weights, d.norms, context->scratch);
    return ATTN_OK;
}

attn_status attn_mha_update(attn_context *context, attn_mha *mha, const attn_mha_params *params) {
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_pointer(context, "mha", mha));
    return attni_mha_renew(context, mha, params, true);
}

void attn_mha_destroy(attn_mha *mha) {
    if (mha)
        attni_mha_delete(mha);
}
