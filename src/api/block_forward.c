/* SPDX-License-Identifier: BSD-3-Clause */
#include "api/layer.h"
#include "api/parts.h"

/* Rows of the model's width that a call keeps beside the projected heads. */
enum { STREAMS = 8 };

static attn_status check_options(attn_context *context, attni_block_arguments *a, const attn_cache *cache,
                                 const attni_append *append, bool self, attni_sdpa *call) {
    return attni_check_layer_params(context, self ? a->block->self : a->block->cross,
                                    self ? a->inputs.self_params : a->inputs.cross_params, &a->tokens, cache, append,
                                    self, a->data, call, self ? &a->self_extras : &a->cross_extras);
}

static attn_status check_self(attn_context *context, const attn_block *block, attni_block_arguments *a,
                              attni_mha_call *call) {
    const attn_block_inputs *in = &a->inputs;
    const size_t B = a->x->size[0], T = a->x->size[2];
    const attn_cache *cache = in->cache ? in->cache : in->shared_cache;
    const bool appends = !in->shared_cache;
    const attni_append append = {.cache = in->cache, .T = T, .starts = in->starts, .counts = in->counts};
    if (in->cache && in->shared_cache)
        return attni_fail(context, ATTN_ERROR_VALUE, "inputs.cache and inputs.shared_cache are set: expected either");
    *call = attni_layer_call(block->self, B, T, appends ? T : 0);
    call->cache = in->cache;
    call->starts = append.starts;
    call->counts = append.counts;
    ATTNI_TRY(attni_check_projected(context, "x", "x", block->self, B, T, T, STREAMS));
    if (cache)
        ATTNI_TRY(attni_check_layer_cache(context, in->cache ? "inputs.cache" : "inputs.shared_cache", cache,
                                          block->self, a->tokens.N));
    if (in->cache && a->data)
        ATTNI_TRY(attni_within(context, "inputs.cache", attni_check_room(context, &append)));
    return attni_within(context, "inputs.self_params",
                        check_options(context, a, cache, appends ? &append : NULL, true, &call->attention));
}

static attn_status check_encoded(attn_context *context, const char *name, const attn_tensor *encoded,
                                 const attn_mha *mha, size_t B, bool data) {
    ATTNI_TRY(attni_check_typed(context, name, encoded, ATTNI_FLOATS, false, data));
    ATTNI_TRY(attni_check_size(context, name, encoded, 0, "B", B));
    ATTNI_TRY(attni_check_size(context, name, encoded, 1, "1", 1));
    return attni_check_size(context, name, encoded, 3, "key_input_width", mha->k.in);
}

static attn_status check_no_cross(attn_context *context, const attn_block_inputs *inputs) {
    if (!inputs->encoded && !inputs->encoded_cache && !inputs->cross_params)
        return ATTN_OK;
    return attni_fail(context, ATTN_ERROR_VALUE, "inputs.%s is set, but the block has no cross-attention",
                      inputs->encoded         ? "encoded"
                      : inputs->encoded_cache ? "encoded_cache"
                                              : "cross_params");
}

static attn_status check_sources(attn_context *context, const attn_block_inputs *inputs) {
    if (inputs->encoded && inputs->encoded_cache)
        return attni_fail(context, ATTN_ERROR_VALUE,
                          "inputs.encoded and inputs.encoded_cache are set: expected either");
    if (inputs->encoded_cache && inputs->encoded_cache == inputs->cache)
        return attni_fail(context, ATTN_ERROR_VALUE, "inputs.encoded_cache is inputs.cache: expected another");
    if (!inputs->encoded && !inputs->encoded_cache)
        return attni_fail(context, ATTN_ERROR_NULL,
                          "inputs.encoded is NULL, and so is inputs.encoded_cache: the block has cross-attention");
    return ATTN_OK;
}

static attn_status check_cross(attn_context *context, const attn_block *block, attni_block_arguments *a,
                               attni_mha_call *call) {
    const attn_block_inputs *in = &a->inputs;
    const size_t B = a->x->size[0], T = a->x->size[2];
    if (!block->cross)
        return check_no_cross(context, in);
    ATTNI_TRY(check_sources(context, in));
    if (in->encoded) {
        ATTNI_TRY(check_encoded(context, "inputs.encoded", in->encoded, block->cross, B, a->data));
        *call = attni_layer_call(block->cross, B, T, in->encoded->size[2]);
        call->key = call->value = attni_view_of(in->encoded);
    } else {
        ATTNI_TRY(
            attni_check_layer_cache(context, "inputs.encoded_cache", in->encoded_cache, block->cross, a->tokens.N));
        *call = attni_layer_call(block->cross, B, T, 0);
    }
    ATTNI_TRY(attni_check_projected(context, "x", "inputs.encoded", block->cross, B, T, call->Tk, STREAMS));
    return attni_within(context, "inputs.cross_params",
                        check_options(context, a, in->encoded_cache, NULL, false, &call->attention));
}

/* No output of one attention is one of the other's, or an input. */
static attn_status check_apart(attn_context *context, const attni_extras *one, const attni_extras *other) {
    for (size_t n = 0; n < ATTNI_EXTRA_OUTPUTS && one->output_names[n]; n++) {
        for (size_t i = 0; i < ATTNI_EXTRA_INPUTS && other->input_names[i]; i++)
            ATTNI_TRY(attni_check_disjoint(context, one->output_names[n], &one->outputs[n], other->input_names[i],
                                           &other->inputs[i]));
        for (size_t i = 0; i < ATTNI_EXTRA_OUTPUTS && other->output_names[i]; i++)
            ATTNI_TRY(attni_check_disjoint(context, one->output_names[n], &one->outputs[n], other->output_names[i],
                                           &other->outputs[i]));
    }
    return ATTN_OK;
}

/* Outputs are out and the extra ones of both attentions. x may be out. */
attn_status attni_check_block_outputs(attn_context *context, const attni_block_arguments *a) {
    enum { INPUTS = 4 };
    static const attni_extras no_extras;
    static const attn_tensor none;
    static const char *const names[INPUTS] = {"x", "inputs.encoded", "inputs.counts", "inputs.starts"};
    const attn_block_inputs *in = &a->inputs;
    const attn_tensor counts = attn_tensor_btm(in->counts, ATTN_F32, 1, a->tokens.N, 2);
    const attn_tensor starts = attn_tensor_btm(in->starts, ATTN_F32, 1, a->tokens.N + 1, 2);
    const attn_tensor *const inputs[INPUTS] = {attni_same_view(a->x, a->out) ? &none : a->x,
                                               in->encoded ? in->encoded : &none, &counts, &starts};
    ATTNI_TRY(attni_check_outputs(context, &no_extras, a->out, INPUTS, names, inputs));
    ATTNI_TRY(attni_within(context, "inputs.self_params",
                           attni_check_outputs(context, &a->self_extras, a->out, INPUTS, names, inputs)));
    ATTNI_TRY(attni_within(context, "inputs.cross_params",
                           attni_check_outputs(context, &a->cross_extras, a->out, INPUTS, names, inputs)));
    ATTNI_TRY(attni_within(context, "inputs.self_params and cross_params",
                           check_apart(context, &a->self_extras, &a->cross_extras)));
    return attni_within(context, "inputs.cross_params and self_params",
                        check_apart(context, &a->cross_extras, &a->self_extras));
}

attn_status attni_check_block(attn_context *context, attni_block_arguments *a, const attn_block_inputs *inputs,
                              attni_block_call *call) {
    const attn_block *block = a->block;
    const attn_tensor *x = a->x;
    *call = (attni_block_call){.block = block};
    ATTNI_TRY(attni_check_pointer(context, "block", block));
    ATTNI_TRY(attni_check_params(context, "inputs", inputs, sizeof a->inputs, &a->inputs));
    ATTNI_TRY(attni_check_layer_tensors(context, "x", x, a->reads_out ? "d_out" : "out", a->out, a->reads_out, a->data,
                                        block->M));
    a->tokens = (attni_tokens){.counts = a->inputs.counts, .starts = a->inputs.starts, .given = a->inputs.sequences};
    ATTNI_TRY(attni_check_tokens(context, "x", x, &a->tokens));
    call->B = x->size[0];
    call->T = x->size[2];
    call->x = attni_view_of(x);
    call->out = attni_view_of(a->out);
    ATTNI_TRY(check_self(context, block, a, &call->self));
    return check_cross(context, block, a, &call->cross);
}

static attn_status check(attn_context *context, const attn_block *block, const attn_tensor *x, const attn_tensor *out,
                         const attn_block_inputs *inputs, bool data, attni_block_call *call) {
    attni_block_arguments a = {.block = block, .x = x, .out = out, .data = data};
    ATTNI_TRY(attni_check_block(context, &a, inputs, call));
    return data ? attni_check_block_outputs(context, &a) : ATTN_OK;
}

attn_status attn_block_forward(attn_context *context, const attn_block *block, const attn_tensor *x,
                               const attn_tensor *out, const attn_block_inputs *inputs) {
    attni_block_call call;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(check(context, block, x, out, inputs, true, &call));
    if (attni_is_empty(out) && !attni_sdpa_writes(&call.self.attention) && !attni_sdpa_writes(&call.cross.attention))
        return ATTN_OK;
    ATTNI_TRY(attni_scratch_reserve(context, attni_block_scratch(context, &call)));
    return attni_block_run(context, &call, context->scratch);
}

attn_status attn_block_scratch_size(attn_context *context, const attn_block *block, const attn_tensor *x,
                                    const attn_tensor *out, const attn_block_inputs *inputs, size_t *bytes) {
    attni_block_call call;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_pointer(context, "bytes", bytes));
    ATTNI_TRY(check(context, block, x, out, inputs, false, &call));
    if (call.self.attention.pages)
        attni_fill_cached(inputs->cache ? inputs->cache : inputs->shared_cache, &call.self.attention);
    if (inputs && inputs->encoded_cache)
        attni_fill_cached(inputs->encoded_cache, &call.cross.attention);
    *bytes = attni_block_scratch(context, &call);
    return ATTN_OK;
}

attn_status attn_block_encode(attn_context *context, const attn_block *block, const attn_tensor *encoded,
                              attn_cache *cache, const attn_cache_append_params *params) {
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_pointer(context, "block", block));
    if (!block->cross)
        return attni_fail(context, ATTN_ERROR_VALUE, "block: it has no cross-attention");
    return attni_layer_append(context, block->cross, "encoded", encoded, "encoded", encoded, cache, params);
}
