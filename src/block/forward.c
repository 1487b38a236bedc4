/* SPDX-License-Identifier: BSD-3-Clause */
/* Forward of a block. The output is where the residual stream lives: each sublayer adds to it in place. */
#include "block/block.h"
#include "block/rows.h"
#include "context/sizes.h"
#include "mha/matrix.h"

typedef struct layout {
    size_t stream; /* x and then the output, where either is no matrix */
    size_t normed; /* input of an attention after a pre-norm */
    size_t rest;   /* scratch of the sublayers, which use it one after the other */
} layout;

static bool pre(const attn_block *block, const attni_owned_norm *norm) { return norm->present && !block->post; }

/* Whether a BLAS can use both x and the output as they are. */
static bool in_place(const attni_block_call *call) {
    const size_t B = call->B, T = call->T, M = call->block->M;
    return attni_matrix_floats(&call->x, B, T, M) + attni_matrix_floats(&call->out, B, T, M) == 0;
}

static layout lay(const attni_block_call *call) {
    const attn_block *block = call->block;
    const size_t rows = call->B * call->T;
    layout at;
    size_t used = 0;
    at.stream = attni_reserve(&used, in_place(call) ? 0 : rows * block->M);
    at.normed =
        attni_reserve(&used, pre(block, &block->self_norm) || pre(block, &block->cross_norm) ? rows * block->M : 0);
    at.rest = used;
    return at;
}

static attni_view view_of(const attni_matrix *m, size_t T) {
    return (attni_view){m->data, ATTN_F32, (ptrdiff_t)(T * m->ld), 0, (ptrdiff_t)m->ld};
}

/* With the views that the run will set: dense matrices need no room. */
static size_t attention_scratch(const attn_context *context, const attni_block_call *call, attni_mha_call attention) {
    const attni_matrix m = {NULL, 0, call->block->M};
    attention.query = attention.out = view_of(&m, call->T);
    if (attention.mha == call->block->self)
        attention.key = attention.value = attention.query;
    return attni_mha_scratch(context, &attention);
}

size_t attni_block_scratch(const attn_context *context, const attni_block_call *call) {
    const attn_block *block = call->block;
    const size_t self = attention_scratch(context, call, call->self);
    const size_t cross = block->cross ? attention_scratch(context, call, call->cross) : 0;
    const size_t feed = attni_feed_scratch(context, &block->feed, block->M, call->B * call->T);
    return lay(call).rest * sizeof(float) + attni_max(self, attni_max(cross, feed));
}

static void normalise(attn_context *context, const attni_owned_norm *norm, size_t M, const attni_matrix *x,
                      const attni_matrix *y) {
    const attni_rows rows = {
        1, 1, x->rows, M, {x->data, ATTN_F32, 0, 0, (ptrdiff_t)x->ld}, {y->data, ATTN_F32, 0, 0, (ptrdiff_t)y->ld}};
    attni_norm_rows(context, &norm->norm, &rows);
}

typedef struct run {
    attn_context *context;
    const attni_block_call *call;
    attni_matrix x, y; /* what comes in, and the stream; the same from the first sublayer on */
    attni_matrix normed;
    float *rest;
} run;

static attn_status attend(run *r, attni_mha_call attention, const attni_owned_norm *norm) {
    const attn_block *block = r->call->block;
    const attni_matrix *input = pre(block, norm) ? &r->normed : &r->x;
    if (pre(block, norm))
        normalise(r->context, norm, block->M, &r->x, &r->normed);
    attention.query = view_of(input, r->call->T);
    if (attention.mha == block->self)
        attention.key = attention.value = attention.query;
    attention.out = view_of(&r->y, r->call->T);
    attention.residual = &r->x;
    const attn_status status = attni_mha_run(r->context, &attention, r->rest);
    if (status != ATTN_OK)
        return status;
    r->x = r->y;
    if (block->post && norm->present)
        normalise(r->context, norm, block->M, &r->y, &r->y);
    return ATTN_OK;
}

static void feed(const run *r) {
    const attn_block *block = r->call->block;
    const attni_owned_norm *norm = &block->feed_norm;
    attni_feed_run(r->context, &block->feed, pre(block, norm) ? &norm->norm : NULL, block->M, &r->y, r->rest);
    if (block->post && norm->present)
        normalise(r->context, norm, block->M, &r->y, &r->y);
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
    attn_status status = attend(r, r->call->self, &block->self_norm);
    if (status == ATTN_OK && block->cross)
        status = attend(r, r->call->cross, &block->cross_norm);
    if (status == ATTN_OK && block->feed.up)
        feed(r);
    return status;
}

attn_status attni_block_run(attn_context *context, const attni_block_call *call, float *scratch) {
    const size_t B = call->B, T = call->T, M = call->block->M;
    const layout at = lay(call);
    const attni_matrix stream = {scratch + at.stream, B * T, M}, normed = {scratch + at.normed, B * T, M};
    const attni_view stream_view = view_of(&stream, T);
    run r = {context, call, stream, stream, normed, scratch + at.rest};
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
