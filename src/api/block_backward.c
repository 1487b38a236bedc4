/* SPDX-License-Identifier: BSD-3-Clause */
#include "api/gradients.h"
#include "api/parts.h"
#include "context/sizes.h"

static attn_status check_no_cache(attn_context *context, const attn_block_inputs *in) {
    const char *cache = in->cache           ? "cache"
                        : in->shared_cache  ? "shared_cache"
                        : in->encoded_cache ? "encoded_cache"
                                            : NULL;
    if (cache)
        return attni_fail(context, ATTN_ERROR_VALUE, "inputs.%s is set: there are no gradients of what a cache keeps",
                          cache);
    return ATTN_OK;
}

/* -- what is kept -- */

attn_status attn_block_kept_size(attn_context *context, const attn_block *block, size_t batch, size_t tokens,
                                 size_t encoded_tokens, size_t *bytes) {
    enum { STREAMS = 16 };
    size_t rows, floats;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_pointer(context, "block", block));
    ATTNI_TRY(attni_check_pointer(context, "bytes", bytes));
    const size_t F = block->feed.up ? block->feed.up->map.out : 0;
    ATTNI_TRY(attni_check_projected(context, "tokens", "tokens", block->self, batch, tokens, tokens, STREAMS));
    if (block->cross)
        ATTNI_TRY(attni_check_projected(context, "tokens", "encoded_tokens", block->cross, batch, tokens,
                                        encoded_tokens, STREAMS));
    ATTNI_TRY(attni_check_product(context, "tokens", batch, tokens, &rows));
    ATTNI_TRY(attni_check_product(context, "tokens", rows + 16, 4 * (2 * F + STREAMS * block->M), &floats));
    const attni_block_call call = {
        .block = block,
        .B = batch,
        .T = tokens,
        .self = attni_layer_call(block->self, batch, tokens, tokens),
        .cross = attni_layer_call(block->cross ? block->cross : block->self, batch, tokens, encoded_tokens),
        .keeps = true};
    *bytes = attni_block_lay_kept(&call).end * sizeof(float);
    return ATTN_OK;
}

static attn_tensor floats_of(const float *data, size_t n) { return attn_tensor_btm(data, ATTN_F32, 1, 1, n); }

/* An output that shares no memory with the tensors of the call. */
static attn_status check_kept_apart(attn_context *context, const attni_block_arguments *a, const float *kept,
                                    size_t floats) {
    const attn_tensor t = floats_of(kept, floats);
    ATTNI_TRY(attni_check_disjoint(context, "kept", &t, "x", a->x));
    ATTNI_TRY(attni_check_disjoint(context, "kept", &t, "out", a->out));
    return a->inputs.encoded ? attni_check_disjoint(context, "kept", &t, "inputs.encoded", a->inputs.encoded) : ATTN_OK;
}

attn_status attn_block_forward_keep(attn_context *context, const attn_block *block, const attn_tensor *x,
                                    const attn_tensor *out, const attn_block_inputs *inputs, void *kept,
                                    size_t kept_bytes) {
    attni_block_arguments a = {.block = block, .x = x, .out = out, .data = true};
    attni_block_call call;
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_block(context, &a, inputs, &call));
    ATTNI_TRY(check_no_cache(context, &a.inputs));
    call.keeps = true;
    const size_t floats = attni_block_lay_kept(&call).end;
    ATTNI_TRY(attni_check_kept(context, kept, kept_bytes, floats));
    ATTNI_TRY(check_kept_apart(context, &a, kept, floats));
    attni_add_floats(&a.self_extras, "kept", kept, floats);
    ATTNI_TRY(attni_check_block_outputs(context, &a));
    call.kept = kept;
    ATTNI_TRY(attni_scratch_reserve(context, attni_block_scratch(context, &call)));
    return floats == 0 ? ATTN_OK : attni_block_run(context, &call, context->scratch);
}

/* -- gradients -- */

typedef struct arguments {
    attni_block_arguments block;
    attn_block_gradients gradients;
    attni_written written;
} arguments;

/* A field that the gradient of what is not there is not to be set in. */
static attn_status check_belongs(attn_context *context, const char *name, const void *set, bool belongs) {
    return set && !belongs ? attni_fail(context, ATTN_ERROR_VALUE, "%s is set, but the block has no such part", name)
                           : ATTN_OK;
}

static attn_status check_attention(attn_context *context, arguments *a, attni_sublayer i, attni_block_back *b) {
    static const char *const names[] = {"gradients.self_attention", "gradients.cross_attention"};
    const attn_mha_gradients *given = i == ATTNI_SELF ? a->gradients.self_attention : a->gradients.cross_attention;
    const attn_sdpa_params *params = i == ATTNI_SELF ? a->block.inputs.self_params : a->block.inputs.cross_params;
    attn_mha_gradients g;
    attn_sdpa_params p;
    ATTNI_TRY(check_belongs(context, names[i], given, i == ATTNI_SELF || b->call.block->cross));
    if (i == ATTNI_CROSS && !b->call.block->cross)
        return ATTN_OK;
    ATTNI_TRY(attni_check_params(context, names[i], given, sizeof g, &g));
    ATTNI_TRY(attni_check_params(context, "params", params, sizeof p, &p));
    if (g.d_query || g.d_key || g.d_value || g.accumulate)
        return attni_fail(context, ATTN_ERROR_VALUE, "%s->%s is set, expected 0 in a block", names[i],
                          g.d_query   ? "d_query"
                          : g.d_key   ? "d_key"
                          : g.d_value ? "d_value"
                                      : "accumulate");
    g.accumulate = a->gradients.accumulate;
    b->attentions[i].call = attni_block_attention(&b->call, i);
    return attni_check_layer_gradients(context, i == ATTNI_SELF ? ATTNI_IN_SELF : ATTNI_IN_CROSS, &p, &g, a->block.data,
                                       &b->attentions[i], &a->written);
}

#define NORM(name)                                                                                                     \
    { "gradients." name, "gradients." name "->d_weight", "gradients." name "->d_bias" }

static attn_status check_rims(attn_context *context, arguments *a, attni_block_back *b) {
    static const char *const norms[][3] = {NORM("self_norm"), NORM("cross_norm"), NORM("feed_norm")};
    static const char *const outputs[][3] = {NORM("self_output_norm"), NORM("cross_output_norm"),
                                             NORM("feed_output_norm")};
    static const char *const scales[] = {"gradients.d_self_layer_scale", "gradients.d_cross_layer_scale",
                                         "gradients.d_feed_layer_scale"};
    const attn_block_gradients *g = &a->gradients;
    const attn_norm_gradients *const of_norms[] = {g->self_norm, g->cross_norm, g->feed_norm};
    const attn_norm_gradients *const of_outputs[] = {g->self_output_norm, g->cross_output_norm, g->feed_output_norm};
    float *const of_scales[] = {g->d_self_layer_scale, g->d_cross_layer_scale, g->d_feed_layer_scale};
    for (attni_sublayer i = ATTNI_SELF; i < ATTNI_SUBLAYERS; i++) {
        const attni_rim *rim = &b->call.block->rims[i];
        const size_t M = b->call.block->M;
        ATTNI_TRY(
            attni_check_norm_sums(context, norms[i], of_norms[i], rim->norm.present, M, &a->written, &b->rims[i].norm));
        ATTNI_TRY(attni_check_norm_sums(context, outputs[i], of_outputs[i], rim->output.present, M, &a->written,
                                        &b->rims[i].output));
        ATTNI_TRY(check_belongs(context, scales[i], of_scales[i], rim->scale));
        b->rims[i].scale = of_scales[i];
        attni_write_floats(&a->written, scales[i], of_scales[i], M);
    }
    return ATTN_OK;
}

static attn_status check_feed(attn_context *context, arguments *a, attni_block_back *b) {
    static const char *const hidden_norm[] = NORM("feed->hidden_norm");
    const attni_feed *feed = &b->call.block->feed;
    attn_feed_gradients g;
    ATTNI_TRY(check_belongs(context, "gradients.feed", a->gradients.feed, feed->up));
    ATTNI_TRY(attni_check_params(context, "gradients.feed", a->gradients.feed, sizeof g, &g));
    if (!feed->up)
        return ATTN_OK;
    const size_t M = b->call.block->M, F = feed->up->map.out;
    ATTNI_TRY(check_belongs(context, "gradients.feed->d_gate_weight", g.d_gate_weight, feed->gate));
    ATTNI_TRY(check_belongs(context, "gradients.feed->d_gate_bias", g.d_gate_bias, feed->gate));
    ATTNI_TRY(
        attni_check_norm_sums(context, hidden_norm, g.hidden_norm, feed->norm.present, F, &a->written, &b->hidden));
    b->up_weight = g.d_up_weight;
    b->up_bias = g.d_up_bias;
    b->gate_weight = g.d_gate_weight;
    b->gate_bias = g.d_gate_bias;
    b->down_weight = g.d_down_weight;
    b->down_bias = g.d_down_bias;
    attni_write_floats(&a->written, "gradients.feed->d_up_weight", g.d_up_weight, F * M);
    attni_write_floats(&a->written, "gradients.feed->d_up_bias", g.d_up_bias, F);
    attni_write_floats(&a->written, "gradients.feed->d_gate_weight", g.d_gate_weight, F * M);
    attni_write_floats(&a->written, "gradients.feed->d_gate_bias", g.d_gate_bias, F);
    attni_write_floats(&a->written, "gradients.feed->d_down_weight", g.d_down_weight, M * F);
    attni_write_floats(&a->written, "gradients.feed->d_down_bias", g.d_down_bias, M);
    return ATTN_OK;
}

static attn_status check_written(attn_context *context, const arguments *a, const attni_block_call *call) {
    static const attn_tensor none;
    const attn_block_inputs *in = &a->block.inputs;
    const attn_tensor kept = floats_of(call->kept, call->kept ? attni_block_lay_kept(call).end : 0);
    const char *const names[] = {"x", "d_out", "inputs.encoded", "kept"};
    const attn_tensor *const inputs[] = {a->block.x, a->block.out, in->encoded ? in->encoded : &none, &kept};
    ATTNI_TRY(attni_check_written(context, &a->written, &a->block.self_extras, 4, names, inputs));
    return attni_check_written(context, &a->written, &a->block.cross_extras, 0, NULL, NULL);
}

/* Params without what the forward pass writes, in `copy`. */
static attn_status forget_outputs(attn_context *context, const char *name, const attn_sdpa_params **params,
                                  attn_sdpa_params *copy) {
    if (!*params)
        return ATTN_OK;
    ATTNI_TRY(attni_check_params(context, name, *params, sizeof *copy, copy));
    *copy = attni_without_outputs(copy);
    copy->struct_size = sizeof *copy;
    *params = copy;
    return ATTN_OK;
}

static attn_status check(attn_context *context, arguments *a, const attn_block_inputs *inputs, const void *kept,
                         const attn_block_gradients *gradients, attni_block_back *b) {
    attn_sdpa_params self, cross;
    attn_block_inputs in;
    ATTNI_TRY(attni_check_params(context, "inputs", inputs, sizeof in, &in));
    in.struct_size = sizeof in;
    ATTNI_TRY(forget_outputs(context, "inputs.self_params", &in.self_params, &self));
    ATTNI_TRY(forget_outputs(context, "inputs.cross_params", &in.cross_params, &cross));
    ATTNI_TRY(attni_check_block(context, &a->block, &in, &b->call));
    ATTNI_TRY(check_no_cache(context, &in));
    ATTNI_TRY(attni_check_pointer(context, "gradients", gradients));
    ATTNI_TRY(attni_check_params(context, "gradients", gradients, sizeof a->gradients, &a->gradients));
    b->call.keeps = true;
    b->call.kept = (float *)(uintptr_t)kept; /* only read */
    b->d_out = b->call.out;
    b->accumulate = a->gradients.accumulate != 0;
    ATTNI_TRY(attni_check_input_gradient(context, "gradients.dx", a->gradients.dx, true, a->block.x, a->block.data,
                                         &b->dx, &a->written));
    ATTNI_TRY(attni_check_input_gradient(context, "gradients.d_encoded", a->gradients.d_encoded, in.encoded, in.encoded,
                                         a->block.data, &b->d_encoded, &a->written));
    ATTNI_TRY(check_attention(context, a, ATTNI_SELF, b));
    ATTNI_TRY(check_attention(context, a, ATTNI_CROSS, b));
    ATTNI_TRY(check_rims(context, a, b));
    ATTNI_TRY(check_feed(context, a, b));
    return a->block.data ? check_written(context, a, &b->call) : ATTN_OK;
}

attn_status attn_block_backward(attn_context *context, const attn_block *block, const attn_tensor *x,
                                const attn_tensor *d_out, const attn_block_inputs *inputs, const void *kept,
                                const attn_block_gradients *gradients) {
    arguments a = {.block = {.block = block, .x = x, .out = d_out, .data = true, .reads_out = true}};
    attni_block_back back = {0};
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(check(context, &a, inputs, kept, gradients, &back));
    ATTNI_TRY(attni_scratch_reserve(context, attni_block_back_scratch(context, &back)));
    attni_block_back_run(context, &back, context->scratch);
    return ATTN_OK;
}

attn_status attn_block_backward_scratch_size(attn_context *context, const attn_block *block, const attn_tensor *x,
                                             const attn_tensor *d_out, const attn_block_inputs *inputs,
                                             const void *kept, const attn_block_gradients *gradients, size_t *bytes) {
    arguments a = {.block = {.block = block, .x = x, .out = d_out, .reads_out = true}};
    attni_block_back back = {0};
    ATTNI_TRY(attni_check_pointer(NULL, "context", context));
    ATTNI_TRY(attni_check_pointer(context, "bytes", bytes));
    ATTNI_TRY(check(context, &a, inputs, kept, gradients, &back));
    *bytes = attni_block_back_scratch(context, &back);
    return ATTN_OK;
}
