/* SPDX-License-Identifier: BSD-3-Clause */
/* Forward of a block. The output is where the residual stream lives: each sublayer adds to it in place. */
#include "block/block.h"
#include "context/sizes.h"
#include "mha/matrix.h"
#include "mha/rows.h"

typedef struct layout {
    size_t stream;                  /* x and then the output, where either is no matrix */
    size_t inputs[ATTNI_SUBLAYERS]; /* of sublayers that do not read the stream itself */
    size_t sum;                     /* what an attention makes, before it is joined with the stream */
    size_t rest;                    /* scratch of the sublayers, which use it one after the other */
} layout;

bool attni_is_normed_first(const attn_block *block, attni_sublayer i) {
    return block->rims[i].norm.present && !block->post;
}

bool attni_has_sublayer(const attn_block *block, attni_sublayer i) {
    return i == ATTNI_SELF || (i == ATTNI_CROSS ? block->cross != NULL : block->feed.up != NULL);
}

attni_block_kept attni_block_lay_kept(const attni_block_call *call) {
    const attn_block *block = call->block;
    const size_t rows = call->B * call->T, floats = rows * block->M, F = block->feed.up ? block->feed.up->map.out : 0;
    size_t used = 0;
    attni_block_kept at = {0};
    for (attni_sublayer i = ATTNI_SELF; i < ATTNI_SUBLAYERS; i++) {
        const bool there = attni_has_sublayer(block, i);
        at.x[i] = block->parallel && i > 0 ? at.x[ATTNI_SELF] : attni_reserve(&used, there ? floats : 0);
        at.sum[i] = attni_reserve(&used, there && attni_is_joined(block, i) ? floats : 0);
        at.normed[i] = attni_reserve(&used, there && block->post && block->rims[i].norm.present ? floats : 0);
        if (i < ATTNI_FEED && there) {
            attni_mha_call attention = i == ATTNI_SELF ? call->self : call->cross;
            attention.keeps = true;
            at.attention[i] = attni_reserve(&used, attni_mha_lay_kept(&attention).end);
        }
    }
    at.up = attni_reserve(&used, rows * F);
    at.gate = attni_reserve(&used, block->feed.gate ? rows * F : 0);
    at.end = used;
    return at;
}

/* Whether a BLAS can use both x and the output as they are. */
static bool in_place(const attni_block_call *call) {
    const size_t B = call->B, T = call->T, M = call->block->M;
    return attni_matrix_floats(&call->x, B, T, M) + attni_matrix_floats(&call->out, B, T, M) == 0;
}

/* Sublayers side by side read what there was before the stream became the output: each has an input that is kept, or
 * reads that of the self-attention. */
static bool has_input(const attn_block *block, attni_sublayer i) {
    return attni_is_normed_first(block, i) || (block->parallel && i == ATTNI_SELF);
}

/* One after the other, attentions share a place, and the feed-forward has its own. */
static void lay_inputs(const attn_block *block, size_t floats, size_t *used, size_t inputs[ATTNI_SUBLAYERS]) {
    const bool shared = has_input(block, ATTNI_SELF) || has_input(block, ATTNI_CROSS);
    inputs[ATTNI_SELF] = attni_reserve(used, shared ? floats : 0);
    for (attni_sublayer i = ATTNI_CROSS; i < ATTNI_SUBLAYERS; i++)
        inputs[i] = block->parallel && has_input(block, i) ? attni_reserve(used, floats) : inputs[ATTNI_SELF];
}

static layout lay(const attni_block_call *call) {
    const attn_block *block = call->block;
    const size_t floats = call->B * call->T * block->M;
    const bool joined = attni_is_joined(block, ATTNI_SELF) || attni_is_joined(block, ATTNI_CROSS);
    layout at;
    size_t used = 0;
    at.stream = attni_reserve(&used, in_place(call) ? 0 : floats);
    lay_inputs(block, floats, &used, at.inputs);
    at.sum = attni_reserve(&used, joined ? floats : 0);
    at.rest = used;
    return at;
}

/* With the views that the run will set: dense matrices need no room. */
static size_t attention_scratch(const attn_context *context, const attni_block_call *call, attni_mha_call attention) {
    const attni_matrix m = {NULL, 0, call->block->M};
    attention.query = attention.out = attni_stream_view(&m, call->T);
    if (attention.mha == call->block->self)
        attention.key = attention.value = attention.query;
    return attni_mha_scratch(context, &attention);
}

attni_mha_call attni_block_attention(const attni_block_call *call, attni_sublayer i) {
    attni_mha_call attention = i == ATTNI_SELF ? call->self : call->cross;
    attention.keeps = call->keeps;
    attention.kept = call->kept ? call->kept + attni_block_lay_kept(call).attention[i] : NULL;
    return attention;
}

size_t attni_block_scratch(const attn_context *context, const attni_block_call *call) {
    const attn_block *block = call->block;
    const size_t self = attention_scratch(context, call, attni_block_attention(call, ATTNI_SELF));
    const size_t cross = block->cross ? attention_scratch(context, call, attni_block_attention(call, ATTNI_CROSS)) : 0;
    const size_t feed = attni_feed_scratch(context, block, call->B * call->T);
    return lay(call).rest * sizeof(float) + attni_max(self, attni_max(cross, feed));
}

typedef struct run {
    attn_context *context;
    const attni_block_call *call;
    attni_block_kept kept;
    attni_matrix x, y; /* what comes in, and the stream; the same from the first sublayer on */
    attni_matrix inputs[ATTNI_SUBLAYERS], sum;
    float *rest;
} run;

/* Rows [B·T, M] that are to be kept, one after the other. */
static void keep(const run *r, size_t at, const attni_matrix *x) {
    const size_t M = r->call->block->M;
    if (r->call->keeps)
        r->context->kernels->copy(x->rows, M, ATTN_F32, x->data, (ptrdiff_t)x->ld, ATTN_F32, r->call->kept + at,
                                  (ptrdiff_t)M);
}

static void keep_stream(const run *r, attni_sublayer i) {
    if (i == ATTNI_SELF || !r->call->block->parallel)
        keep(r, r->kept.x[i], &r->x);
}

/* What sublayer i reads, where it has an input of its own. */
static void make_input(run *r, attni_sublayer i) {
    const attn_block *block = r->call->block;
    if (attni_is_normed_first(block, i))
        attni_norm_matrix(r->context, &block->rims[i].norm.norm, block->M, &r->x, &r->inputs[i]);
    else
        r->context->kernels->copy(r->x.rows, block->M, ATTN_F32, r->x.data, (ptrdiff_t)r->x.ld, ATTN_F32,
                                  r->inputs[i].data, (ptrdiff_t)r->inputs[i].ld);
}

static const attni_matrix *input_of(run *r, attni_sublayer i) {
    const attn_block *block = r->call->block;
    if (!block->parallel && attni_is_normed_first(block, i))
        make_input(r, i);
    return block->parallel || attni_is_normed_first(block, i) ? &r->inputs[i] : &r->x;
}

static void finish(run *r, attni_sublayer i) {
    const attn_block *block = r->call->block;
    r->x = r->y;
    if (block->post && block->rims[i].norm.present) {
        keep(r, r->kept.normed[i], &r->y);
        attni_norm_matrix(r->context, &block->rims[i].norm.norm, block->M, &r->y, &r->y);
    }
}

static attn_status attend(run *r, attni_mha_call attention, attni_sublayer i) {
    const attn_block *block = r->call->block;
    const bool joined = attni_is_joined(block, i);
    keep_stream(r, i);
    attention.query = attni_stream_view(input_of(r, i), r->call->T);
    if (i == ATTNI_SELF)
        attention.key = attention.value = attention.query;
    attention.out = attni_stream_view(joined ? &r->sum : &r->y, r->call->T);
    attention.residual = joined ? NULL : &r->x;
    const attn_status status = attni_mha_run(r->context, &attention, r->rest);
    if (status != ATTN_OK)
        return status;
    if (joined) {
        keep(r, r->kept.sum[i], &r->sum);
        attni_join(r->context, block, i, &r->sum, &r->x, &r->y);
    }
    finish(r, i);
    return ATTN_OK;
}

/* One after the other, it norms its input bit by bit. */
static void feed(run *r) {
    const attn_block *block = r->call->block;
    const attni_matrix *x = block->parallel ? &r->inputs[ATTNI_FEED] : &r->y;
    const attni_norm *norm =
        !block->parallel && attni_is_normed_first(block, ATTNI_FEED) ? &block->rims[ATTNI_FEED].norm.norm : NULL;
    const bool keeps = r->call->keeps;
    float *from = r->call->kept;
    const attni_feed_kept kept = {keeps ? from + r->kept.up : NULL,
                                  keeps && block->feed.gate ? from + r->kept.gate : NULL,
                                  keeps && attni_is_joined(block, ATTNI_FEED) ? from + r->kept.sum[ATTNI_FEED] : NULL};
    keep_stream(r, ATTNI_FEED);
    attni_feed_run(r->context, block, norm, x, &r->y, &kept, r->rest);
    finish(r, ATTNI_FEED);
}

/* Copies between the caller's memory and the stream. */
static void copy(const attn_context *context, const attni_block_call *call, const attni_view *from,
                 const attni_view *to) {
    for (size_t b = 0; b < call->B; b++)
        context->kernels->copy(call->T, call->block->M, from->dtype, attni_at(from, b, 0, 0), from->stride_t, to->dtype,
                               attni_at(to, b, 0, 0), to->stride_t);
}

static attn_status run_sublayers(run *r) {
    const attn_block *block = r->call->block;
    for (attni_sublayer i = ATTNI_SELF; i < ATTNI_SUBLAYERS && block->parallel; i++)
        if (has_input(block, i))
            make_input(r, i);
    attn_status status = attend(r, attni_block_attention(r->call, ATTNI_SELF), ATTNI_SELF);
    if (status == ATTN_OK && block->cross)
        status = attend(r, attni_block_attention(r->call, ATTNI_CROSS), ATTNI_CROSS);
    if (status == ATTN_OK && block->feed.up)
        feed(r);
    return status;
}

attn_status attni_block_run(attn_context *context, const attni_block_call *call, float *scratch) {
    const size_t B = call->B, T = call->T, M = call->block->M;
    const layout at = lay(call);
    const attni_matrix stream = {scratch + at.stream, B * T, M};
    const attni_view stream_view = attni_stream_view(&stream, T);
    run r = {.context = context, .call = call, .x = stream, .y = stream, .rest = scratch + at.rest};
    if (call->keeps)
        r.kept = attni_block_lay_kept(call);
    for (size_t i = 0; i < ATTNI_SUBLAYERS; i++)
        r.inputs[i] = (attni_matrix){scratch + at.inputs[i], B * T, M};
    r.sum = (attni_matrix){scratch + at.sum, B * T, M};
    if (in_place(call)) {
        r.x = attni_matrix_of(&call->x, B, T, M, NULL);
        r.y = attni_matrix_of(&call->out, B, T, M, NULL);
        return run_sublayers(&r);
    }
    copy(context, call, &call->x, &stream_view);
    const attn_status status = run_sublayers(&r);
    if (status == ATTN_OK)
        copy(context, call, &stream_view, &call->out);
    return status;
}
