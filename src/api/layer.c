/* SPDX-License-Identifier: BSD-3-Clause */
#include "api/layer.h"

#include "api/parts.h"

attn_status attni_check_layer_cache(attn_context *context, const char *name, const attn_cache *cache,
                                    const attn_mha *mha, size_t N) {
    const attni_kept kept = attni_kept_of(mha);
    const struct {
        const char *field;
        size_t is, expected;
    } sizes[] = {{"batch", cache->B, N},
                 {"kv_heads", cache->pool->G, kept.G},
                 {"head_width", cache->pool->D, kept.D},
                 {"value_width", cache->pool->E, kept.E},
                 {"latent_width", cache->pool->form.latent ? cache->pool->E : 0, mha->L}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].is != sizes[i].expected)
            return attni_fail(context, ATTN_ERROR_SHAPE, "%s: %s is %zu, expected %zu", name, sizes[i].field,
                              sizes[i].is, sizes[i].expected);
    return ATTN_OK;
}

attn_status attni_check_latent(attn_context *context, const attn_mha *mha, const attni_turn *k, const attni_turn *v) {
    if (mha->L == 0)
        return ATTN_OK;
    if (k->normed)
        return attni_fail(context, ATTN_ERROR_VALUE, "params.qk_norm is set, but the layer has latent keys and values");
    if (attni_turns(v))
        return attni_fail(context, ATTN_ERROR_VALUE,
                          "params.rotary.rotate_values is set, but the layer has latent keys and values");
    if (k->pairs && k->offset < mha->D - mha->R)
        return attni_fail(context, ATTN_ERROR_SHAPE,
                          "params.rotary.offset is %zu, but %zu elements are not shared by the heads: expected no less",
                          k->offset, mha->D - mha->R);
    return ATTN_OK;
}

attn_status attni_check_layer_tensors(attn_context *context, const char *name, const attn_tensor *x,
                                      const char *out_name, const attn_tensor *out, bool reads_out, bool data,
                                      size_t M) {
    ATTNI_TRY(attni_check_typed(context, name, x, ATTNI_FLOATS, false, data));
    ATTNI_TRY(attni_check_typed(context, out_name, out, ATTNI_FLOATS, !reads_out, data));
    ATTNI_TRY(attni_check_size(context, name, x, 1, "1", 1));
    ATTNI_TRY(attni_check_size(context, name, x, 3, "model_width", M));
    ATTNI_TRY(attni_check_size(context, out_name, out, 0, "B", x->size[0]));
    ATTNI_TRY(attni_check_size(context, out_name, out, 1, "1", 1));
    ATTNI_TRY(attni_check_size(context, out_name, out, 2, "T", x->size[2]));
    return attni_check_size(context, out_name, out, 3, "model_width", M);
}

attn_status attni_check_tokens(attn_context *context, const char *name, const attn_tensor *x, attni_tokens *t) {
    const size_t T = x->size[2];
    size_t longest;
    t->N = t->starts ? t->given : x->size[0];
    if (t->given && !t->starts)
        return attni_fail(context, ATTN_ERROR_NULL, "inputs.starts is NULL, but inputs.sequences is %zu", t->given);
    if (t->starts && !t->given && T > 0)
        return attni_fail(context, ATTN_ERROR_VALUE, "inputs.sequences is 0, but there are %zu tokens", T);
    if (t->starts) {
        ATTNI_TRY(attni_check_size(context, name, x, 0, "1 with inputs.starts, B", 1));
        ATTNI_TRY(attni_check_starts(context, "inputs.starts", t->starts, t->given, T, &longest));
    }
    return attni_check_counts(context, "inputs.counts", t->counts, t->starts, t->N, T);
}

attni_mha_call attni_layer_call(const attn_mha *mha, size_t B, size_t T, size_t keys) {
    return (attni_mha_call){
        .mha = mha,
        .B = B,
        .Tq = T,
        .Tk = keys,
        .attention = {.B = B, .H = mha->H, .G = mha->G, .Tq = T, .Tk = keys, .D = mha->D, .E = mha->E}};
}

/* What tells of x is said once, in the inputs: so also of the keys that are made of it. */
static attn_status check_unsaid(attn_context *context, const attn_sdpa_params *p, const attni_tokens *t, bool of_x,
                                bool cached) {
    const struct {
        bool is_set;
        const char *field, *input;
    } said[] = {{p->query_lengths, "query_lengths", "counts"},
                {p->key_lengths && of_x && (cached || t->counts), "key_lengths", "counts"},
                {p->query_starts, "query_starts", "starts"},
                {p->key_starts && (of_x || !t->starts), "key_starts", "starts"},
                {p->sequences, "sequences", "sequences"}};
    for (size_t n = 0; n < sizeof said / sizeof *said; n++)
        if (said[n].is_set)
            return attni_fail(context, ATTN_ERROR_VALUE, "params.%s is set: which tokens x has is told by inputs.%s",
                              said[n].field, said[n].input);
    return ATTN_OK;
}

attn_status attni_check_layer_params(attn_context *context, const attn_mha *mha, const attn_sdpa_params *params,
                                     const attni_tokens *tokens, const attn_cache *cache, const attni_append *append,
                                     bool of_x, bool data, attni_sdpa *call, attni_extras *extras) {
    attn_sdpa_params p;
    size_t longest;
    ATTNI_TRY(attni_check_params(context, "params", params, sizeof p, &p));
    ATTNI_TRY(check_unsaid(context, &p, tokens, of_x, cache));
    p.query_lengths = tokens->counts;
    p.query_starts = tokens->starts;
    p.sequences = tokens->given;
    if (cache) {
        ATTNI_TRY(attni_check_cached(context, cache, append, &p, data, call, extras));
        return attni_check_latent(context, mha, &call->k_turn, &call->v_turn);
    }
    if (of_x && tokens->counts)
        p.key_lengths = tokens->counts;
    if (tokens->starts && !p.key_starts)
        ATTNI_TRY(attni_check_starts(context, "inputs.starts", tokens->starts, tokens->given, call->Tk, &longest));
    ATTNI_TRY(attni_check_sequences(context, &p, call));
    ATTNI_TRY(attni_check_attention(context, &p, data, call, extras));
    return attni_check_latent(context, mha, &call->k_turn, &call->v_turn);
}

static attn_status check_input(attn_context *context, const char *name, const attn_tensor *t, size_t B,
                               const char *letter, size_t width) {
    ATTNI_TRY(attni_check_typed(context, name, t, ATTNI_FLOATS, false, true));
    ATTNI_TRY(attni_check_size(context, name, t, 0, "B", B));
    ATTNI_TRY(attni_check_size(context, name, t, 1, "1", 1));
    return attni_check_size(context, name, t, 3, letter, width);
}

attn_status attni_layer_append(attn_context *context, const attn_mha *mha, const char *key_name, const attn_tensor *key,
                               const char *value_name, const attn_tensor *value, attn_cache *cache,
                               const attn_cache_append_params *params) {
    attn_cache_append_params p;
    attni_turn turns[2];
    ATTNI_TRY(attni_check_pointer(context, "cache", cache));
    ATTNI_TRY(attni_check_params(context, "params", params, sizeof p, &p));
    const size_t B = p.starts ? 1 : cache->B;
    ATTNI_TRY(check_input(context, key_name, key, B, "key_input_width", mha->k.in));
    ATTNI_TRY(check_input(context, value_name, value, B, "value_input_width", mha->v.in));
    ATTNI_TRY(attni_check_size(context, value_name, value, 2, "T", key->size[2]));
    ATTNI_TRY(attni_check_layer_cache(context, "cache", cache, mha, cache->B));
    attni_append append = {.cache = cache, .T = key->size[2], .starts = p.starts, .counts = p.counts};
    ATTNI_TRY(attni_check_append_params(context, &p, &(attni_kept){mha->G, mha->D, mha->E}, &append, turns));
    ATTNI_TRY(attni_check_latent(context, mha, &turns[0], &turns[1]));
    ATTNI_TRY(attni_check_projected(context, NULL, key_name, mha, B, 0, key->size[2], 2));
    attni_mha_call call = attni_layer_call(mha, B, 0, key->size[2]);
    call.key = attni_view_of(key);
    call.value = attni_view_of(value);
    call.cache = cache;
    call.starts = append.starts;
    call.counts = append.counts;
    call.attention.k_turn = turns[0];
    call.attention.v_turn = turns[1];
    ATTNI_TRY(attni_scratch_reserve(context, attni_mha_append_scratch(context, &call)));
    return attni_mha_append(context, &call, context->scratch);
}
