/* SPDX-License-Identifier: BSD-3-Clause */
#include "api/cached.h"
#include "api/parts.h"
#include "attn/block.h"
#include "block/block.h"

/* A call of the block: the tensors, and what the attentions write besides. */
typedef struct arguments {
    const attn_tensor *x, *out;
    attn_block_inputs inputs;
    size_t sequences;
    attni_extras self_extras, cross_extras;
    bool data;
} arguments;

static attn_status check_cache(attn_context *context, const char *name, const attn_cache *cache, const attn_mha *mha,
                               size_t B) {
    const struct {
        const char *field;
        size_t is, expected;
    } sizes[] = {{"batch", cache->B, B},
                 {"kv_heads", cache->pool->G, mha->G},
                 {"head_width", cache->pool->D, mha->D},
                 {"value_width", cache->pool->E, mha->E}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].is != sizes[i].expected)
            return attni_fail(context, ATTN_ERROR_SHAPE, "%s: %s is %zu, expected %zu", name, sizes[i].field,
                              sizes[i].is, sizes[i].expected);
    return ATTN_OK;
}

/* Rows of the model's width that a call keeps beside the projected heads. */
enum { STREAMS = 8 };

static attni_mha_call attention_call(const attn_mha *mha, size_t B, size_t T, size_t keys) {
    return (attni_mha_call){
        .mha = mha,
        .B = B,
        .Tq = T,
        .Tk = keys,
        .attention = {.B = B, .H = mha->H, .G = mha->G, .Tq = T, .Tk = keys, .D = mha->D, .E = mha->E}};
}

/* What tells of x is said once, in the inputs: so also of the keys that are made of it, those of `self`. */
static attn_status check_unsaid(attn_context *context, const attn_sdpa_params *p, const attn_block_inputs *in,
                                bool self) {
    const bool known = in->cache || in->counts;
    const struct {
        bool is_set;
        const char *field, *input;
    } said[] = {{p->query_lengths, "query_lengths", "counts"},
                {p->key_lengths && self && known, "key_lengths", "counts"},
                {p->query_starts, "query_starts", "starts"},
                {p->key_starts && (self || !in->starts), "key_starts", "starts"},
                {p->sequences, "sequences", "sequences"}};
    for (size_t n = 0; n < sizeof said / sizeof *said; n++)
        if (said[n].is_set)
            return attni_fail(context, ATTN_ERROR_VALUE, "params.%s is set: which tokens x has is told by inputs.%s",
                              said[n].field, said[n].input);
    return ATTN_OK;
}

/* The options of one attention, to a cache, where there is one, with what is appended to it. */
static attn_status check_options(attn_context *context, arguments *a, const attn_cache *cache,
                                 const attni_append *append, attni_sdpa *call) {
    const attn_block_inputs *in = &a->inputs;
    const bool self = append != NULL;
    attni_extras *extras = self ? &a->self_extras : &a->cross_extras;
    attn_sdpa_params p;
    size_t longest;
    ATTNI_TRY(attni_check_params(context, "params", self ? in->self_params : in->cross_params, sizeof p, &p));
    ATTNI_TRY(check_unsaid(context, &p, in, self));
    p.query_lengths = in->counts;
    p.query_starts = in->starts;
    p.sequences = in->sequences;
    if (cache)
        return attni_check_cached(context, cache, append, &p, a->data, call, extras);
    if (self && in->counts)
        p.key_lengths = in->counts;
    if (in->starts && !p.key_starts)
        ATTNI_TRY(attni_check_starts(context, "inputs.starts", in->starts, in->sequences, call->Tk, &longest));
    ATTNI_TRY(attni_check_sequences(context, &p, call));
    return attni_check_attention(context, &p, a->data, call, extras);
}

static attn_status check_self(attn_context *context, const attn_block *block, arguments *a, attni_mha_call *call) {
    attn_cache *cache = a->inputs.cache;
    const size_t B = a->x->size[0], T = a->x->size[2];
    const attni_append append = {.cache = cache, .T = T, .starts = a->inputs.starts, .counts = a->inputs.counts};
    *call = attention_call(block->self, B, T, T);
    call->cache = cache;
    call->starts = append.starts;
    call->counts = append.counts;
    ATTNI_TRY(attni_check_projected(context, "x", "x", block->self, B, T, T, STREAMS));
    if (cache)
        ATTNI_TRY(check_cache(context, "inputs.cache", cache, block->self, a->sequences));
    if (cache && a->data)
        ATTNI_TRY(attni_within(context, "inputs.cache", attni_check_room(context, &append)));
    return attni_within(context, "inputs.self_params", check_options(context, a, cache, &append, &call->attention));
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

static attn_status check_cross(attn_context *context, const attn_block *block, arguments *a, attni_mha_call *call) {
    const attn_block_inputs *in = &a->inputs;
    const size_t B = a->x->size[0], T = a->x->size[2];
    if (!block->cross)
        return check_no_cross(context, in);
    ATTNI_TRY(check_sources(context, in));
    if (in->encoded) {
        ATTNI_TRY(check_encoded(context, "inputs.encoded", in->encoded, block->cross, B, a->data));
        *call = attention_call(block->cross, B, T, in->encoded->size[2]);
        call->key = call->value = attni_view_of(in->encoded);
    } else {
        ATTNI_TRY(check_cache(context, "inputs.encoded_cache", in->encoded_cache, block->cross, a->sequences));
        *call = attention_call(block->cross, B, T, 0);
    }
    ATTNI_TRY(attni_check_projected(context, "x", "inputs.encoded", block->cross, B, T, call->Tk, STREAMS));
    return attni_within(context, "inputs.cross_params",
                        check_options(context, a, in->encoded_cache, NULL, &call->attention));
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
static attn_status check_aliases(attn_context *context, const arguments *a) {
    enum { INPUTS = 4 };
    static const attni_extras no_extras;
    static const attn_tensor none;
    static const char *const names[INPUTS] = {"x", "inputs.encoded", "inputs.counts", "inputs.starts"};
    const attn_block_inputs *in = &a->inputs;
    const attn_tensor counts = attn_tensor_btm(in->counts, ATTN_F32, 1, a->sequences, 2);
    const attn_tensor starts = attn_tensor_btm(in->starts, ATTN_F32, 1, a->sequences + 1, 2);
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

static attn_status check_tensors(attn_context *context, const attn_block *block, const arguments *a) {
    ATTNI_TRY(attni_check_typed(context, "x", a->x, ATTNI_FLOATS, false, a->data));
    ATTNI_TRY(attni_check_typed(context, "out", a->out, ATTNI_FLOATS, true, a->data));
    ATTNI_TRY(attni_check_size(context, "x", a->x, 1, "1", 1));
    ATTNI_TRY(attni_check_size(context, "x", a->x, 3, "model_width", block->M));
    ATTNI_TRY(attni_check_size(context, "out", a->out, 0, "B", a->x->size[0]));
    ATTNI_TRY(attni_check_size(context, "out", a->out, 1, "1", 1));
    ATTNI_TRY(attni_check_size(context, "out", a->out, 2, "T", a->x->size[2]));
    return attni_check_size(context, "out", a->out, 3, "model_width", block->M);
}

/* Which sequences x has. */
static attn_status check_sequences(attn_context *context, arguments *a) {
    const attn_block_inputs *in = &a->inputs;
    const size_t T = a->x->size[2];
    size_t longest;
    a->sequences = in->starts ? in->sequences : a->x->size[0];
    if (in->sequences && !in->starts)
        return attni_fail(context, ATTN_ERROR_NULL, "inputs.starts is NULL, but inputs.sequences is %zu",
                          in->sequences);
    if (in->starts) {
        ATTNI_TRY(attni_check_size(context, "x", a->x, 0, "1 with inputs.starts, B", 1));
        ATTNI_TRY(attni_check_starts(context, "inputs.starts", in->starts, in->sequences, T, &longest));
    }
    return attni_check_counts(context, "inputs.counts", in->counts, in->starts, a->sequences, T);
}

static attn_status check(attn_context *context, const attn_block *block, const attn_tensor *x, const attn_tensor *out,
                         const attn_block_inputs *inputs, bool data, attni_block_call *call) {
    arguments a = {.x = x, .out = out, .data = data};
    *call = (attni_block_call){.block = block};
    ATTNI_TRY(attni_check_pointer(context, "block", block));
    ATTNI_TRY(attni_check_params(context, "inputs", inputs, sizeof a.inputs, &a.inputs));
    ATTNI_TRY(check_tensors(context, block, &a));
    ATTNI_TRY(check_sequences(context, &a));
    call->B = x->size[0];
    call->T = x->size[2];
    call->x = attni_view_of(x);
    call->out = attni_view_of(out);
    ATTNI_TRY(check_self(context, block, &a, &call->self));
    ATTNI_TRY(check_cross(context, block, &a, &call->cross));
    return data ? check_aliases(context, &a) : ATTN_OK;
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
    if (inputs && inputs->cache)
        attni_fill_cached(inputs->cache, &call.self.attention);
    if (inputs && inputs->encoded_cache)
        attni_fill_cached(inputs->encoded_cache, &call.cross.attention);
    *bytes = attni_block_scratch(context, &call);
    return ATTN_OK;
}

attn_status attn_block_encode(attn_context *context, const attn_block *block, const attn_tensor *encoded,
                              attn_cache *cache, const attn_cache_append_params *params) {
    attn_cache_append_params p;
    attni_turn turns[2];
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_pointer(context, "block", block));
    ATTNI_TRY(attni_check_pointer(context, "cache", cache));
    ATTNI_TRY(attni_check_params(context, "params", params, sizeof p, &p));
    if (!block->cross)
        return attni_fail(context, ATTN_ERROR_VALUE, "block: it has no cross-attention");
    const size_t B = p.starts ? 1 : cache->B;
    ATTNI_TRY(check_encoded(context, "encoded", encoded, block->cross, B, true));
    ATTNI_TRY(check_cache(context, "cache", cache, block->cross, cache->B));
    attni_append append = {.cache = cache, .T = encoded->size[2], .starts = p.starts, .counts = p.counts};
    ATTNI_TRY(attni_check_append_params(context, &p, &append, turns));
    ATTNI_TRY(attni_check_projected(context, NULL, "encoded", block->cross, B, 0, encoded->size[2], STREAMS));
    attni_mha_call call = attention_call(block->cross, B, 0, encoded->size[2]);
    call.key = call.value = attni_view_of(encoded);
    call.cache = cache;
    call.starts = append.starts;
    call.counts = append.counts;
    call.attention.k_turn = turns[0];
    call.attention.v_turn = turns[1];
    ATTNI_TRY(attni_scratch_reserve(context, attni_mha_append_scratch(context, &call)));
    return attni_mha_append(context, &call, context->scratch);
}
