/* SPDX-License-Identifier: BSD-3-Clause */
/* The way back of a block. The gradient of the stream goes from sublayer to sublayer, each of which adds its own. */
#include <string.h>

#include "block/block.h"
#include "context/sizes.h"
#include "mha/matrix.h"
#include "mha/rows.h"

/* Rows of the hidden layer at a time. */
enum { ROWS = 8 * 384 };

/* In floats from the start of the scratch; matrices [B·T, M], but for the hidden ones. */
typedef struct layout {
    size_t kept;             /* what the forward pass did not keep */
    size_t d, total;         /* the gradient of the stream; in parallel, of the sublayers' sum and of what came in */
    size_t branch;           /* of what a sublayer makes, where that is normed or multiplied */
    size_t u, du;            /* what a sublayer reads, and its gradient; */
    size_t shared;           /* in parallel, that of what they read together */
    size_t hidden, d_hidden; /* [ROWS, F] */
    size_t d_up;
    size_t rest; /* scratch of the parts, to the end */
} layout;

static layout lay(const attni_block_back *b) {
    const attn_block *block = b->call.block;
    const size_t rows = b->call.B * b->call.T, floats = rows * block->M;
    const size_t hidden = block->feed.up ? attni_min(rows, ROWS) * block->feed.up->map.out : 0;
    size_t used = 0;
    layout at;
    at.kept = attni_reserve(&used, b->call.kept ? 0 : attni_block_lay_kept(&b->call).end);
    at.d = attni_reserve(&used, floats);
    at.total = block->parallel ? attni_reserve(&used, floats) : at.d;
    at.branch = attni_reserve(&used, floats);
    at.u = attni_reserve(&used, floats);
    at.du = attni_reserve(&used, floats);
    at.shared = attni_reserve(&used, block->parallel ? floats : 0);
    at.hidden = attni_reserve(&used, (block->feed.norm.present ? 2 : 1) * hidden);
    at.d_hidden = attni_reserve(&used, hidden);
    at.d_up = attni_reserve(&used, hidden);
    at.rest = used;
    return at;
}

typedef struct run {
    attn_context *context;
    const attni_block_back *back;
    const attn_block *block;
    attni_block_call call; /* with what is kept */
    attni_block_kept kept;
    attni_matrix d, total, branch, u, du, shared;
    bool shared_begun;
    float *hidden, *d_hidden, *d_up, *rest;
} run;

static attni_matrix kept_matrix(const run *r, size_t at) {
    return (attni_matrix){r->call.kept + at, r->d.rows, r->block->M};
}

/* -- norms -- */

static void norm_back(const run *r, const attni_norm *norm, const attni_matrix *x, const attni_matrix *d,
                      const attni_matrix *dx, attni_norm_sums sums, bool add_dx) {
    const attni_norm_rows_back rows = attni_norm_matrix_back(x->ld, x, d, dx, sums, add_dx, r->back->accumulate);
    attni_norm_backward(r->context, norm, &rows, r->rest);
}

/* -- the rim of a sublayer -- */

typedef struct scaling {
    const run *r;
    const float *scale; /* [M], or NULL: 1 */
} scaling;

/* branch = factor · scale ⊙ d. */
static void scale_rows(void *arg, size_t begin, size_t end) {
    const scaling *s = arg;
    const size_t M = s->r->block->M;
    for (size_t row = begin; row < end; row++)
        for (size_t c = 0; c < M; c++)
            s->r->branch.data[row * M + c] =
                s->r->block->factor * (s->scale ? s->scale[c] : 1) * s->r->d.data[row * M + c];
}

/* What the scale of sublayer i multiplied. */
static attni_matrix scaled_of(const run *r, attni_sublayer i, const attni_matrix *sum) {
    const attni_owned_norm *output = &r->block->rims[i].output;
    if (!output->present)
        return *sum;
    attni_norm_matrix(r->context, &output->norm, r->block->M, sum, &r->u);
    return r->u;
}

/* The gradient of what sublayer i made, before it was normed, multiplied and added to the stream. */
static const attni_matrix *back_to_branch(const run *r, attni_sublayer i) {
    enum { FLOPS = 16 }; /* as long as an element takes */
    const attni_rim *rim = &r->block->rims[i];
    const attni_matrix sum = kept_matrix(r, r->kept.sum[i]);
    scaling s = {r, rim->scale};
    if (!attni_is_joined(r->block, i))
        return &r->d;
    if (r->back->rims[i].scale) {
        const attni_matrix scaled = scaled_of(r, i, &sum);
        attni_sum_columns(r->context, &r->d, &scaled, r->block->M, (double)r->block->factor, r->back->accumulate,
                          r->back->rims[i].scale);
    }
    attni_share_rows(r->context, r->d.rows, r->block->M, FLOPS, scale_rows, &s);
    if (rim->output.present)
        norm_back(r, &rim->output.norm, &sum, &r->branch, &r->branch, r->back->rims[i].output, false);
    return &r->branch;
}

/* The sublayer whose norm makes what sublayer i reads. */
static attni_sublayer reads_of(const attn_block *block, attni_sublayer i) {
    return block->parallel && !attni_is_normed_first(block, i) ? ATTNI_SELF : i;
}

static attni_matrix input_of(const run *r, attni_sublayer i) {
    const attni_sublayer from = reads_of(r->block, i);
    const attni_matrix x = kept_matrix(r, r->kept.x[i]);
    if (!attni_is_normed_first(r->block, from))
        return x;
    attni_norm_matrix(r->context, &r->block->rims[from].norm.norm, r->block->M, &x, &r->u);
    return r->u;
}

/* Adds the gradient of what sublayer i reads to that of the stream. */
static void back_to_stream(const run *r, attni_sublayer i, const attni_matrix *du) {
    const attni_matrix x = kept_matrix(r, r->kept.x[i]);
    if (attni_is_normed_first(r->block, i))
        norm_back(r, &r->block->rims[i].norm.norm, &x, du, &r->total, r->back->rims[i].norm, true);
    else
        r->context->kernels->mix(du->rows * r->block->M, r->total.data, 1.0F, du->data, 1.0F);
}

/* -- sublayers -- */

static attni_mha_back attention_of(const attni_block_back *b, const attni_block_call *call, attni_sublayer i,
                                   const attni_matrix *u, const attni_matrix *d, const attni_matrix *du, bool add) {
    attni_mha_back a = b->attentions[i];
    a.call = attni_block_attention(call, i);
    a.call.query = attni_stream_view(u, call->T);
    a.d_out = attni_stream_view(d, call->T);
    a.d_query = attni_stream_view(du, call->T);
    a.add_query = add;
    a.self = i == ATTNI_SELF;
    a.same_value = true;
    if (a.self)
        a.call.key = a.call.value = a.call.query;
    else
        a.d_key = b->d_encoded;
    a.add_key = a.accumulate = b->accumulate;
    return a;
}

static void back_through_attention(const run *r, attni_sublayer i, const attni_matrix *u, const attni_matrix *d,
                                   const attni_matrix *du, bool add) {
    const attni_mha_back a = attention_of(r->back, &r->call, i, u, d, du, add);
    attni_mha_back_run(r->context, &a, r->rest);
}

static attni_matrix rows_of(const attni_matrix *m, size_t row) {
    return (attni_matrix){m->data + row * m->ld, attni_min(ROWS, m->rows - row), m->ld};
}

static void linear_back(const run *r, const attn_linear *linear, const attni_matrix *x, const attni_matrix *dy,
                        const attni_matrix *dx, const attni_matrix *residual, float *weight, float *bias, bool add) {
    const attni_linear_back b = {.linear = &linear->map,
                                 .x = *x,
                                 .dy = *dy,
                                 .dx = *dx,
                                 .residual = residual,
                                 .d_weight = weight,
                                 .d_bias = bias,
                                 .accumulate = add};
    attni_linear_back_run(r->context, &b, r->rest);
}

/* From the gradient of the hidden layer to those of up and gate, in place of it and in d_up. */
static void back_through_activation(const run *r, size_t rows, const attni_feed_kept *kept) {
    const size_t F = r->block->feed.up->map.out;
    const bool gated = r->block->feed.gate != NULL;
    const attni_matrix up = {kept->up, rows, F}, gate = {kept->gate, rows, F}, d = {r->d_hidden, rows, F},
                       d_up = {r->d_up, rows, F};
    const attni_activation_rows_back of = {.B = 1,
                                           .H = 1,
                                           .T = rows,
                                           .width = F,
                                           .x = attni_matrix_view(gated ? &gate : &up),
                                           .factor = gated ? attni_matrix_view(&up) : (attni_view){0},
                                           .d_out = attni_matrix_view(&d),
                                           .dx = attni_matrix_view(gated ? &d : &d_up),
                                           .d_factor = gated ? attni_matrix_view(&d_up) : (attni_view){0}};
    attni_activate_backward(r->context, &r->block->feed.activation, &of);
}

/* The hidden layer as `down` read it; and from the gradient of that back to what the activation made. */
static attni_matrix hidden_of(const run *r, size_t rows, const attni_feed_kept *kept) {
    const attni_feed *feed = &r->block->feed;
    const size_t F = feed->up->map.out;
    const attni_matrix hidden = {r->hidden, rows, F}, normed = {r->hidden + rows * F, rows, F};
    attni_feed_activate(r->context, feed, rows, kept, r->hidden);
    if (!feed->norm.present)
        return hidden;
    attni_norm_matrix(r->context, &feed->norm.norm, F, &hidden, &normed);
    return normed;
}

static void hidden_back(const run *r, const attni_matrix *d_hidden, bool add) {
    const attni_matrix hidden = {r->hidden, d_hidden->rows, d_hidden->ld};
    const attni_norm_rows_back rows =
        attni_norm_matrix_back(hidden.ld, &hidden, d_hidden, d_hidden, r->back->hidden, false, add);
    if (r->block->feed.norm.present)
        attni_norm_backward(r->context, &r->block->feed.norm.norm, &rows, r->rest);
}

static void back_through_feed(const run *r, const attni_matrix *u, const attni_matrix *d, const attni_matrix *du,
                              bool add) {
    const attni_feed *feed = &r->block->feed;
    const attni_block_back *b = r->back;
    const size_t F = feed->up->map.out;
    for (size_t row = 0; row == 0 || row < u->rows; row += ROWS) {
        const bool sums = row > 0 || b->accumulate;
        const attni_matrix x = rows_of(u, row), dy = rows_of(d, row), dx = rows_of(du, row);
        const attni_matrix d_hidden = {r->d_hidden, x.rows, F}, d_up = {r->d_up, x.rows, F};
        const attni_feed_kept kept = {r->call.kept + r->kept.up + row * F, r->call.kept + r->kept.gate + row * F, NULL};
        const attni_matrix hidden = hidden_of(r, x.rows, &kept);
        linear_back(r, feed->down, &hidden, &dy, &d_hidden, NULL, b->down_weight, b->down_bias, sums);
        hidden_back(r, &d_hidden, sums);
        back_through_activation(r, x.rows, &kept);
        linear_back(r, feed->up, &x, &d_up, &dx, add ? &dx : NULL, b->up_weight, b->up_bias, sums);
        if (feed->gate)
            linear_back(r, feed->gate, &x, &d_hidden, &dx, &dx, b->gate_weight, b->gate_bias, sums);
    }
}

static void back_through(run *r, attni_sublayer i) {
    const bool shares = r->block->parallel && reads_of(r->block, i) == ATTNI_SELF;
    const attni_rim *rim = &r->block->rims[i];
    if (r->block->post && rim->norm.present) {
        const attni_matrix z = kept_matrix(r, r->kept.normed[i]);
        norm_back(r, &rim->norm.norm, &z, &r->d, &r->d, r->back->rims[i].norm, false);
    }
    const attni_matrix *d = back_to_branch(r, i), *du = shares ? &r->shared : &r->du;
    const attni_matrix u = input_of(r, i);
    if (i == ATTNI_FEED)
        back_through_feed(r, &u, d, du, shares && r->shared_begun);
    else
        back_through_attention(r, i, &u, d, du, shares && r->shared_begun);
    r->shared_begun = r->shared_begun || shares;
    if (!shares || i == ATTNI_SELF)
        back_to_stream(r, i, du);
}

/* -- the whole -- */

static void put(const run *r) {
    const attni_view *dx = &r->back->dx;
    const size_t B = r->call.B, T = r->call.T, M = r->block->M;
    for (size_t b = 0; b < B && dx->data; b++) {
        float *from = r->total.data + b * T * M, *there = r->u.data;
        if (r->back->accumulate) {
            r->context->kernels->copy(T, M, dx->dtype, attni_at(dx, b, 0, 0), dx->stride_t, ATTN_F32, there,
                                      (ptrdiff_t)M);
            r->context->kernels->mix(T * M, from, 1.0F, there, 1.0F);
        }
        r->context->kernels->copy(T, M, ATTN_F32, from, (ptrdiff_t)M, dx->dtype, attni_at(dx, b, 0, 0), dx->stride_t);
    }
}

static size_t attention_scratch(const attn_context *context, const attni_block_back *b, attni_sublayer i) {
    const attni_matrix none = {NULL, 0, b->call.block->M};
    attni_block_call call = b->call;
    float placeholder = 0; /* is there, is not read */
    call.kept = &placeholder;
    const attni_mha_back a = attention_of(b, &call, i, &none, &none, &none, false);
    return attni_has_sublayer(b->call.block, i) ? attni_mha_back_scratch(context, &a) : 0;
}

static size_t feed_scratch(const attn_context *context, const attni_feed *feed) {
    const attn_linear *const maps[] = {feed->up, feed->gate, feed->down};
    size_t most = 0;
    for (size_t i = 0; i < sizeof maps / sizeof *maps; i++)
        if (maps[i])
            most = attni_max(most, attni_linear_back_floats(context, &maps[i]->map) * sizeof(float));
    return most;
}

size_t attni_block_back_scratch(const attn_context *context, const attni_block_back *b) {
    const attn_block *block = b->call.block;
    const size_t widest = attni_max(block->M, block->feed.up ? block->feed.up->map.out : 0);
    const attni_matrix x = {NULL, b->call.B * b->call.T, widest};
    float placeholder = 0;
    const attni_norm_rows_back norm =
        attni_norm_matrix_back(widest, &x, &x, &x, (attni_norm_sums){&placeholder, &placeholder}, false, false);
    size_t most = attni_max(attni_norm_backward_scratch(&norm), feed_scratch(context, &block->feed));
    most = attni_max(most, attention_scratch(context, b, ATTNI_SELF));
    most = attni_max(most, attention_scratch(context, b, ATTNI_CROSS));
    if (!b->call.kept)
        most = attni_max(most, attni_block_scratch(context, &b->call));
    return lay(b).rest * sizeof(float) + most;
}

static void keep_again(attn_context *context, run *r, float *kept) {
    r->call.out = attni_stream_view(&r->du, r->call.T);
    r->call.kept = kept;
    attni_block_run(context, &r->call, r->rest);
}

void attni_block_back_run(attn_context *context, const attni_block_back *b, float *scratch) {
    const attn_block *block = b->call.block;
    const size_t B = b->call.B, T = b->call.T, M = block->M;
    const layout at = lay(b);
    const attni_matrix m = {scratch, B * T, M};
    run r = {.context = context, .back = b, .block = block, .call = b->call, .kept = attni_block_lay_kept(&b->call)};
    attni_matrix *const matrices[] = {&r.d, &r.total, &r.branch, &r.u, &r.du, &r.shared};
    const size_t places[] = {at.d, at.total, at.branch, at.u, at.du, at.shared};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        *matrices[i] = (attni_matrix){scratch + places[i], m.rows, M};
    r.hidden = scratch + at.hidden;
    r.d_hidden = scratch + at.d_hidden;
    r.d_up = scratch + at.d_up;
    r.rest = scratch + at.rest;
    if (!b->call.kept)
        keep_again(context, &r, scratch + at.kept);
    for (size_t i = 0; i < B; i++)
        context->kernels->copy(T, M, b->d_out.dtype, attni_at(&b->d_out, i, 0, 0), b->d_out.stride_t, ATTN_F32,
                               r.d.data + i * T * M, (ptrdiff_t)M);
    if (block->parallel)
        memcpy(r.total.data, r.d.data, B * T * M * sizeof(float));
    for (attni_sublayer i = ATTNI_SUBLAYERS; i-- > ATTNI_SELF;)
        if (attni_has_sublayer(block, i))
            back_through(&r, i);
    put(&r);
}
