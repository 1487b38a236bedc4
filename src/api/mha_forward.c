/* SPDX-License-Identifier: BSD-3-Clause */
/* Calls of the layer. */
#include "api/layer.h"
#include "api/parts.h"

attni_layer_tensors attni_complete(const attn_tensor *query, const attn_tensor *key, const attn_tensor *value,
                                   const attn_tensor *out) {
    attni_layer_tensors t = {query, key, value, out, "key", "value", "out", !key, !value, false};
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

static attn_status check_tensors(attn_context *context, const attn_mha *mha, const attni_layer_tensors *t, bool data) {
    if (mha->L && t->value != t->key)
        return attni_fail(context, ATTN_ERROR_VALUE, "value is set, but the layer makes values of the key's latents");
    ATTNI_TRY(check_input(context, "query", t->query, false, data, "model_width", mha->M));
    ATTNI_TRY(check_input(context, t->key_name, t->key, false, data, "key_input_width", mha->k.in));
    ATTNI_TRY(check_input(context, t->value_name, t->value, false, data, "value_input_width", mha->v.in));
    ATTNI_TRY(check_input(context, t->out_name, t->out, !t->reads_out, data, "model_width", mha->M));
    ATTNI_TRY(attni_check_size(context, t->key_name, t->key, 0, "B", t->query->size[0]));
    ATTNI_TRY(attni_check_size(context, t->value_name, t->value, 0, "B", t->query->size[0]));
    ATTNI_TRY(attni_check_size(context, t->value_name, t->value, 2, "Tk", t->key->size[2]));
    ATTNI_TRY(attni_check_size(context, t->out_name, t->out, 0, "B", t->query->size[0]));
    return attni_check_size(context, t->out_name, t->out, 2, "Tq", t->query->size[2]);
}

attn_status attni_check_projected(attn_context *context, const char *name, const char *key_name, const attn_mha *mha,
                                  size_t B, size_t T, size_t keys, size_t streams) {
    const char *longer = T > keys ? name : key_name;
    const size_t widest = mha->q.out + mha->k.out + mha->v.out + mha->out.in + mha->gate.out + mha->q_down.out +
                          (mha->L ? mha->H * (mha->D + mha->E + 2 * mha->L + mha->R) : 0) + streams * mha->M +
                          mha->k.in + mha->v.in;
    size_t rows, floats;
    ATTNI_TRY(attni_check_product(context, longer, B, T > keys ? T : keys, &rows));
    return attni_check_product(context, longer, rows + 16, 4 * widest, &floats); /* with room for that of attention */
}

attn_status attni_check_mha(attn_context *context, const attn_mha *mha, const attni_layer_tensors *t,
                            const attn_sdpa_params *params, bool data, attni_mha_call *call, attni_extras *extras) {
    attn_sdpa_params p;
    ATTNI_TRY(attni_check_pointer(context, "mha", mha));
    ATTNI_TRY(check_tensors(context, mha, t, data));
    ATTNI_TRY(attni_check_projected(context, "query", t->key_name, mha, t->query->size[0], t->query->size[2],
                                    t->key->size[2], 2));
    *call = (attni_mha_call){.mha = mha,
                             .B = t->query->size[0],
                             .Tq = t->query->size[2],
                             .Tk = t->key->size[2],
                             .query = attni_view_of(t->query),
                             .key = attni_view_of(t->key),
                             .value = attni_view_of(t->value),
                             .out = attni_view_of(t->out),
                             .attention = {.B = t->query->size[0],
                                           .H = mha->H,
                                           .G = mha->G,
                                           .Tq = t->query->size[2],
                                           .Tk = t->key->size[2],
                                           .D = mha->D,
                                           .E = mha->E}};
    ATTNI_TRY(attni_check_params(context, "params", params, sizeof p, &p));
    if (t->self && !p.key_lengths)
        p.key_lengths = p.query_lengths;
    ATTNI_TRY(attni_check_ragged(context, "query", t->query, &p));
    ATTNI_TRY(attni_check_sequences(context, &p, &call->attention));
    ATTNI_TRY(attni_check_attention(context, &p, data, &call->attention, extras));
    return attni_check_latent(context, mha, &call->attention.k_turn, &call->attention.v_turn);
}

static attn_status check(attn_context *context, const attn_mha *mha, const attni_layer_tensors *t,
                         const attn_sdpa_params *params, bool data, attni_mha_call *call) {
    attni_extras extras;
    ATTNI_TRY(attni_check_mha(context, mha, t, params, data, call, &extras));
    if (!data)
        return ATTN_OK;
    return attni_check_outputs(context, &extras, t->out, 3, (const char *const[]){"query", t->key_name, t->value_name},
                               (const attn_tensor *const[]){t->query, t->key, t->value});
}

static size_t scratch_of(const attn_context *context, const attn_tensor *out, const attni_mha_call *call) {
    return attni_is_empty(out) && !attni_sdpa_writes(&call->attention) ? 0 : attni_mha_scratch(context, call);
}

attn_status attn_mha_forward(attn_context *context, const attn_mha *mha, const attn_tensor *query,
                             const attn_tensor *key, const attn_tensor *value, const attn_tensor *out,
                             const attn_sdpa_params *params) {
    const attni_layer_tensors t = attni_complete(query, key, value, out);
    attni_mha_call call;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(check(context, mha, &t, params, true, &call));
    const size_t scratch = scratch_of(context, out, &call);
    if (scratch == 0)
        return ATTN_OK;
    ATTNI_TRY(attni_scratch_reserve(context, scratch));
    return attni_mha_run(context, &call, context->scratch);
}

attn_status attn_mha_scratch_size(attn_context *context, const attn_mha *mha, const attn_tensor *query,
                                  const attn_tensor *key, const attn_tensor *value, const attn_tensor *out,
                                  const attn_sdpa_params *params, size_t *bytes) {
    const attni_layer_tensors t = attni_complete(query, key, value, out);
    attni_mha_call call;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_pointer(context, "bytes", bytes));
    ATTNI_TRY(check(context, mha, &t, params, false, &call));
    *bytes = scratch_of(context, out, &call);
    return ATTN_OK;
}
