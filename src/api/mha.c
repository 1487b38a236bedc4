/* SPDX-License-Identifier: BSD-3-Clause */
#include "attn/mha.h"

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
    p->value_input_width = p->value_input_width ? p->value_input_width : p->model_width;
    if (p->order != ATTN_OUT_IN && p->order != ATTN_IN_OUT)
        return fail(context, ATTN_ERROR_VALUE, "order", (size_t)p->order, "ATTN_OUT_IN (0) or ATTN_IN_OUT (1)");
    return attni_check_weight_dtype(context, "params.weight_dtype", p->weight_dtype, "params.order", p->order);
}

/* One matrix for all three projections goes with one input width, and excludes the three. */
static attn_status check_sources(attn_context *context, const attn_mha_params *p) {
    const bool separate = p->q_weight || p->k_weight || p->v_weight || p->q_bias || p->k_bias || p->v_bias ||
                          p->q_scale || p->k_scale || p->v_scale;
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
    ATTNI_TRY(attni_check_pointer(context, "params.k_weight", p->k_weight));
    return attni_check_pointer(context, "params.v_weight", p->v_weight);
}

/* A matrix of the params, with what belongs to each of its `out` output features. */
typedef struct matrix {
    const void *data;
    const float *scale, *bias;
    size_t out, in;
} matrix;

/* `count` of the output features of a matrix, from `first` on. */
static attni_weight features(const attn_mha_params *p, const matrix *m, size_t first, size_t count) {
    const attn_dtype type = p->weight_dtype;
    const size_t step = p->order == ATTN_IN_OUT ? 1 : m->in;
    return (attni_weight){.data = (const char *)m->data + attni_weight_bytes(type, first, step),
                          .type = type,
                          .scale = m->scale ? m->scale + attni_count_scales(type, first, m->in) : NULL,
                          .bias = m->bias ? m->bias + first : NULL,
                          .stride_out = step,
                          .stride_in = p->order == ATTN_IN_OUT ? m->out : 1,
                          .out = count,
                          .in = m->in};
}

/* A side of a weight matrix and the other one: room for whole panels is included. */
static attn_status check_side(attn_context *context, const char *name, size_t side, size_t other) {
    size_t floats;
    ATTNI_TRY(attni_check_int(context, name, side));
    return attni_check_product(context, name, side + 64, other + 64, &floats);
}

static attn_status check_scales(attn_context *context, const attn_mha_params *p, const matrix *in,
                                const matrix separate[3], const matrix *out) {
    const struct {
        const char *name;
        const matrix *matrix;
    } all[] = {{"params.in_scale", in},
               {"params.q_scale", &separate[ATTNI_W_Q]},
               {"params.k_scale", &separate[ATTNI_W_K]},
               {"params.v_scale", &separate[ATTNI_W_V]},
               {"params.out_scale", out}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        ATTNI_TRY(attni_check_scale(context, all[i].name, all[i].matrix->scale, all[i].matrix->data, p->weight_dtype,
                                    all[i].matrix->out, all[i].matrix->in));
    return ATTN_OK;
}

static attn_status describe(attn_context *context, const attn_mha_params *p, attni_weight w[4]) {
    size_t q, k, v, o;
    ATTNI_TRY(attni_check_product(context, "params.heads · head_width", p->heads, p->head_width, &q));
    ATTNI_TRY(attni_check_product(context, "params.kv_heads · head_width", p->kv_heads, p->head_width, &k));
    ATTNI_TRY(attni_check_product(context, "params.kv_heads · value_width", p->kv_heads, p->value_width, &v));
    ATTNI_TRY(attni_check_product(context, "params.heads · value_width", p->heads, p->value_width, &o));
    const size_t M = p->model_width, all = q + k + v;
    ATTNI_TRY(check_side(context, "params.model_width", M, M));
    ATTNI_TRY(check_side(context, "params.heads · head_width", all, M));
    ATTNI_TRY(check_side(context, "params.heads · value_width", o, M));
    ATTNI_TRY(check_side(context, "params.key_input_width", p->key_input_width, k));
    ATTNI_TRY(check_side(context, "params.value_input_width", p->value_input_width, v));
    const matrix in = {p->in_weight, p->in_scale, p->in_bias, all, M};
    const matrix separate[] = {{p->q_weight, p->q_scale, p->q_bias, q, M},
                               {p->k_weight, p->k_scale, p->k_bias, k, p->key_input_width},
                               {p->v_weight, p->v_scale, p->v_bias, v, p->value_input_width}};
    const matrix out = {p->out_weight, p->out_scale, p->out_bias, M, o};
    size_t first = 0;
    for (size_t i = ATTNI_W_Q; i <= ATTNI_W_V; i++) {
        w[i] = features(p, p->in_weight ? &in : &separate[i], p->in_weight ? first : 0, separate[i].out);
        first += separate[i].out;
    }
    w[ATTNI_W_OUT] = features(p, &out, 0, M);
    return check_scales(context, p, &in, separate, &out);
}

attn_status attn_mha_create(attn_context *context, const attn_mha_params *params, attn_mha **mha) {
    attn_mha_params p;
    attni_weight weights[4];
    if (mha)
        *mha = NULL;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_pointer(context, "mha", mha));
    ATTNI_TRY(attni_check_pointer(context, "params", params));
    ATTNI_TRY(attni_check_params(context, "params", params, sizeof p, &p));
    ATTNI_TRY(resolve(context, &p));
    ATTNI_TRY(check_sources(context, &p));
    ATTNI_TRY(describe(context, &p, weights));
    *mha = attni_mha_new(context, &p, weights);
    return *mha ? ATTN_OK : attni_fail(context, ATTN_ERROR_MEMORY, "mha: no memory for the packed weights");
}

void attn_mha_destroy(attn_mha *mha) {
    if (mha)
        attni_mha_delete(mha);
}

/* The tensors of a call: what the caller left out filled in. */
typedef struct tensors {
    const attn_tensor *query, *key, *value, *out;
    const char *key_name, *value_name; /* of what the caller gave */
    bool self;
} tensors;

static tensors complete(const attn_tensor *query, const attn_tensor *key, const attn_tensor *value,
                        const attn_tensor *out) {
    tensors t = {query, key, value, out, "key", "value", !key};
    if (!key) {
        t.key = query;
        t.key_name = "query";
    }
    if (!value) {
        t.value = t.key;
        t.value_name = t.key_name;
    }
    return t;
}

static attn_status check_input(attn_context *context, const char *name, const attn_tensor *t, bool output, bool data,
                               const char *letter, size_t width) {
    ATTNI_TRY(attni_check_typed(context, name, t, ATTNI_FLOATS, output, data));
    ATTNI_TRY(attni_check_size(context, name, t, 1, "1", 1));
    return attni_check_size(context, name, t, 3, letter, width);
}

static attn_status check_tensors(attn_context *context, const attn_mha *mha, const tensors *t, bool data) {
    ATTNI_TRY(check_input(context, "query", t->query, false, data, "model_width", mha->M));
    ATTNI_TRY(check_input(context, t->key_name, t->key, false, data, "key_input_width", mha->k.in));
    ATTNI_TRY(check_input(context, t->value_name, t->value, false, data, "value_input_width", mha->v.in));
    ATTNI_TRY(check_input(context, "out", t->out, true, data, "model_width", mha->M));
    ATTNI_TRY(attni_check_size(context, t->key_name, t->key, 0, "B", t->query->size[0]));
    ATTNI_TRY(attni_check_size(context, t->value_name, t->value, 0, "B", t->query->size[0]));
    ATTNI_TRY(attni_check_size(context, t->value_name, t->value, 2, "Tk", t->key->size[2]));
    ATTNI_TRY(attni_check_size(context, "out", t->out, 0, "B", t->query->size[0]));
    return attni_check_size(context, "out", t->out, 2, "Tq", t->query->size[2]);
}

attn_status attni_check_projected(attn_context *context, const char *name, const char *key_name, const attn_mha *mha,
                                  size_t B, size_t T, size_t keys, size_t streams) {
    const char *longer = T > keys ? name : key_name;
    const size_t widest = mha->q.out + mha->k.out + mha->v.out + mha->out.in + streams * mha->M + mha->k.in + mha->v.in;
    size_t rows, floats;
    ATTNI_TRY(attni_check_product(context, longer, B, T > keys ? T : keys, &rows));
    return attni_check_product(context, longer, rows + 16, 4 * widest, &floats); /* with room for that of attention */
}

static attn_status check(attn_context *context, const attn_mha *mha, tensors t, const attn_sdpa_params *params,
                         bool data, attni_mha_call *call) {
    attni_extras extras;
    attn_sdpa_params p;
    ATTNI_TRY(attni_check_pointer(context, "mha", mha));
    ATTNI_TRY(check_tensors(context, mha, &t, data));
    ATTNI_TRY(attni_check_projected(context, "query", t.key_name, mha, t.query->size[0], t.query->size[2],
                                    t.key->size[2], 2));
    *call = (attni_mha_call){.mha = mha,
                             .B = t.query->size[0],
                             .Tq = t.query->size[2],
                             .Tk = t.key->size[2],
                             .query = attni_view_of(t.query),
                             .key = attni_view_of(t.key),
                             .value = attni_view_of(t.value),
                             .out = attni_view_of(t.out),
                             .attention = {.B = t.query->size[0],
                                           .H = mha->H,
                                           .G = mha->G,
                                           .Tq = t.query->size[2],
                                           .Tk = t.key->size[2],
                                           .D = mha->D,
                                           .E = mha->E}};
    ATTNI_TRY(attni_check_params(context, "params", params, sizeof p, &p));
    if (t.self && !p.key_lengths)
        p.key_lengths = p.query_lengths;
    ATTNI_TRY(attni_check_ragged(context, "query", t.query, &p));
    ATTNI_TRY(attni_check_sequences(context, &p, &call->attention));
    ATTNI_TRY(attni_check_attention(context, &p, data, &call->attention, &extras));
    if (!data)
        return ATTN_OK;
    return attni_check_outputs(context, &extras, t.out, 3, (const char *const[]){"query", t.key_name, t.value_name},
                               (const attn_tensor *const[]){t.query, t.key, t.value});
}

static size_t scratch_of(const attn_context *context, const attn_tensor *out, const attni_mha_call *call) {
    return attni_is_empty(out) && !attni_sdpa_writes(&call->attention) ? 0 : attni_mha_scratch(context, call);
}

attn_status attn_mha_forward(attn_context *context, const attn_mha *mha, const attn_tensor *query,
                             const attn_tensor *key, const attn_tensor *value, const attn_tensor *out,
                             const attn_sdpa_params *params) {
    attni_mha_call call;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(check(context, mha, complete(query, key, value, out), params, true, &call));
    const size_t scratch = scratch_of(context, out, &call);
    if (scratch == 0)
        return ATTN_OK;
    ATTNI_TRY(attni_scratch_reserve(context, scratch));
    return attni_mha_run(context, &call, context->scratch);
}

attn_status attn_mha_scratch_size(attn_context *context, const attn_mha *mha, const attn_tensor *query,
                                  const attn_tensor *key, const attn_tensor *value, const attn_tensor *out,
                                  const attn_sdpa_params *params, size_t *bytes) {
    attni_mha_call call;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_pointer(context, "bytes", bytes));
    ATTNI_TRY(check(context, mha, complete(query, key, value, out), params, false, &call));
    *bytes = scratch_of(context, out, &call);
    return ATTN_OK;
}
