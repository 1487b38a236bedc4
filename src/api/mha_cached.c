/* SPDX-License-Identifier: BSD-3-Clause */
/* Layers on caches. */
#include "api/layer.h"
#include "api/parts.h"
#include "attn/mha.h"

static attn_status check_inputs(attn_context *context, const attn_mha *mha, const attn_mha_inputs *in) {
    if (!in->cache && !in->shared_cache)
        return attni_fail(context, ATTN_ERROR_NULL, "inputs.cache is NULL, and so is inputs.shared_cache");
    if (in->cache && in->shared_cache)
        return attni_fail(context, ATTN_ERROR_VALUE, "inputs.cache and inputs.shared_cache are set: expected either");
    if (in->cache && (mha->k.in != mha->M || mha->v.in != mha->M))
        return attni_fail(context, ATTN_ERROR_SHAPE,
                          "mha: key_input_width and value_input_width are %zu and %zu, but tokens that are appended to "
                          "inputs.cache are model_width, %zu, wide",
                          mha->k.in, mha->v.in, mha->M);
    return ATTN_OK;
}

/* Outputs are not what is read. */
static attn_status check_aliases(attn_context *context, const attn_tensor *query, const attn_tensor *out,
                                 const attni_tokens *tokens, const attni_extras *extras) {
    enum { INPUTS = 3 };
    static const char *const names[INPUTS] = {"query", "inputs.counts", "inputs.starts"};
    const attn_tensor counts = attn_tensor_btm(tokens->counts, ATTN_F32, 1, tokens->N, 2);
    const attn_tensor starts = attn_tensor_btm(tokens->starts, ATTN_F32, 1, tokens->N + 1, 2);
    return attni_check_outputs(context, extras, out, INPUTS, names,
                               (const attn_tensor *const[INPUTS]){query, &counts, &starts});
}

static attn_status check(attn_context *context, const attn_mha *mha, const attn_tensor *query, const attn_tensor *out,
                         const attn_mha_inputs *inputs, bool data, attni_mha_call *call) {
    attn_mha_inputs in;
    attni_extras extras;
    ATTNI_TRY(attni_check_pointer(context, "mha", mha));
    ATTNI_TRY(attni_check_params(context, "inputs", inputs, sizeof in, &in));
    ATTNI_TRY(check_inputs(context, mha, &in));
    ATTNI_TRY(attni_check_layer_tensors(context, "query", query, "out", out, false, data, mha->M));
    attni_tokens tokens = {.counts = in.counts, .starts = in.starts, .given = in.sequences};
    ATTNI_TRY(attni_check_tokens(context, "query", query, &tokens));
    const size_t B = query->size[0], T = query->size[2];
    const attn_cache *cache = in.cache ? in.cache : in.shared_cache;
    const attni_append append = {.cache = in.cache, .T = T, .starts = in.starts, .counts = in.counts};
    *call = attni_layer_call(mha, B, T, in.cache ? T : 0);
    call->query = call->key = call->value = attni_view_of(query);
    call->out = attni_view_of(out);
    call->cache = in.cache;
    call->starts = in.starts;
    call->counts = in.counts;
    ATTNI_TRY(attni_check_projected(context, "query", "query", mha, B, T, T, 2));
    ATTNI_TRY(
        attni_check_layer_cache(context, in.cache ? "inputs.cache" : "inputs.shared_cache", cache, mha, tokens.N));
    if (in.cache && data)
        ATTNI_TRY(attni_within(context, "inputs.cache", attni_check_room(context, &append)));
    ATTNI_TRY(attni_within(context, "inputs.params",
                           attni_check_layer_params(context, mha, in.params, &tokens, cache, in.cache ? &append : NULL,
                                                    in.cache != NULL, data, &call->attention, &extras)));
    return data ? check_aliases(context, query, out, &tokens, &extras) : ATTN_OK;
}

attn_status attn_mha_attend(attn_context *context, const attn_mha *mha, const attn_tensor *query,
                            const attn_tensor *out, const attn_mha_inputs *inputs) {
    attni_mha_call call;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(check(context, mha, query, out, inputs, true, &call));
    if (attni_is_empty(out) && !attni_sdpa_writes(&call.attention))
        return ATTN_OK;
    ATTNI_TRY(attni_scratch_reserve(context, attni_mha_scratch(context, &call)));
    return attni_mha_run(context, &call, context->scratch);
}

attn_status attn_mha_attend_scratch_size(attn_context *context, const attn_mha *mha, const attn_tensor *query,
                                         const attn_tensor *out, const attn_mha_inputs *inputs, size_t *bytes) {
    attni_mha_call call;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_pointer(context, "bytes", bytes));
    ATTNI_TRY(check(context, mha, query, out, inputs, false, &call));
    attni_fill_cached(inputs->cache ? inputs->cache : inputs->shared_cache, &call.attention);
    *bytes = attni_mha_scratch(context, &call);
    return ATTN_OK;
}

attn_status attn_mha_append(attn_context *context, const attn_mha *mha, const attn_tensor *key,
                            const attn_tensor *value, attn_cache *cache, const attn_cache_append_params *params) {
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_pointer(context, "mha", mha));
    if (mha->L && value)
        return attni_fail(context, ATTN_ERROR_VALUE, "value is set, but the layer makes values of the key's latents");
    return attni_layer_append(context, mha, "key", key, value ? "value" : "key", value ? value : key, cache, params);
}
