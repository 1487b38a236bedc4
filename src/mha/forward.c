/* SPDX-License-Identifier: BSD-3-Clause */
/* Forward of the layer: project, attend, project. Heads are split and joined by views alone. */
#include <limits.h>

#include "context/sizes.h"
#include "mha/mha.h"

/* The buffers of a call, in floats from the start of the scratch; 0 floats where the caller's memory serves. */
typedef struct layout {
    size_t query, key, value, out; /* dense copies of inputs and output that a BLAS cannot use in place */
    size_t q, k, v, o;             /* projected heads, [B·T, H·D] and so on */
    size_t attention;              /* scratch of attention, to the end */
} layout;

/* Whether [B,1,T,width] is one matrix with B·T rows. */
static bool is_matrix(const attni_view *x, size_t B, size_t T, size_t width) {
    const bool plain = x->dtype == ATTN_F32 && x->stride_t >= (ptrdiff_t)width && x->stride_t <= INT_MAX;
    return plain && (B <= 1 || x->stride_b == (ptrdiff_t)T * x->stride_t);
}

static bool same(const attni_view *x, const attni_view *y) {
    return x->data == y->data && x->dtype == y->dtype && x->stride_b == y->stride_b && x->stride_t == y->stride_t;
}

static size_t reserve(size_t *used, size_t floats) {
    const size_t at = *used;
    *used += attni_round_up(floats, ATTNI_LINE / sizeof(float));
    return at;
}

static size_t copy_floats(const attni_view *x, size_t B, size_t T, size_t width) {
    return is_matrix(x, B, T, width) ? 0 : B * T * width;
}

static layout lay(const attni_mha_call *call) {
    const attn_mha *m = call->mha;
    const size_t B = call->B, Tq = call->Tq, Tk = call->Tk;
    size_t used = 0;
    layout at;
    at.query = reserve(&used, copy_floats(&call->query, B, Tq, m->M));
    at.key = reserve(&used, copy_floats(&call->key, B, Tk, m->k.in));
    at.value = reserve(&used, copy_floats(&call->value, B, Tk, m->v.in));
    at.out = reserve(&used, copy_floats(&call->out, B, Tq, m->M));
    at.q = reserve(&used, B * Tq * m->q.out);
    at.k = reserve(&used, B * Tk * m->k.out);
    at.v = reserve(&used, B * Tk * m->v.out);
    at.o = reserve(&used, B * Tq * m->out.in);
    at.attention = used;
    return at;
}

/* The view as a matrix: where it is, or in `room`. */
static attni_matrix matrix_of(const attni_view *x, size_t B, size_t T, size_t width, float *room) {
    if (is_matrix(x, B, T, width))
        return (attni_matrix){x->data, B * T, (size_t)x->stride_t};
    return (attni_matrix){room, B * T, width};
}

static attni_matrix read_input(const attn_context *context, const attni_view *x, size_t B, size_t T, size_t width,
                               float *room) {
    const attni_matrix m = matrix_of(x, B, T, width, room);
    for (size_t b = 0; b < B && m.data == room; b++)
        context->kernels->copy(T, width, x->dtype, attni_at(x, b, 0, 0), x->stride_t, ATTN_F32, room + b * T * width,
                               (ptrdiff_t)width);
    return m;
}

static void write_output(const attn_context *context, const attni_view *y, size_t B, size_t T, size_t width,
                         const float *room) {
    for (size_t b = 0; b < B && !is_matrix(y, B, T, width); b++)
        context->kernels->copy(T, width, ATTN_F32, room + b * T * width, (ptrdiff_t)width, y->dtype,
                               attni_at(y, b, 0, 0), y->stride_t);
}

/* Heads inside a projected matrix [B·T, heads·width]. Sequences of a ragged batch share one b. */
static attni_view heads_of(const attni_mha_call *call, float *data, size_t T, size_t heads, size_t width) {
    const ptrdiff_t row = (ptrdiff_t)(heads * width), batch = call->attention.query_starts ? 0 : (ptrdiff_t)T * row;
    return (attni_view){data, ATTN_F32, batch, (ptrdiff_t)width, row};
}

static attni_matrix dense(float *data, size_t rows, size_t width) { return (attni_matrix){data, rows, width}; }

static attni_sdpa attention_of(const attni_mha_call *call, const layout *at, float *scratch) {
    const attn_mha *m = call->mha;
    attni_sdpa s = call->attention;
    s.q = heads_of(call, scratch + at->q, call->Tq, m->H, m->D);
    s.k = heads_of(call, scratch + at->k, call->Tk, m->G, m->D);
    s.v = heads_of(call, scratch + at->v, call->Tk, m->G, m->E);
    s.out = heads_of(call, scratch + at->o, call->Tq, m->H, m->E);
    return s;
}

size_t attni_mha_scratch(const attn_context *context, const attni_mha_call *call) {
    const layout at = lay(call);
    return at.attention * sizeof(float) + attni_sdpa_scratch(context, &call->attention);
}

static void project_inputs(attn_context *context, const attni_mha_call *call, const layout *at, float *scratch) {
    const attn_mha *m = call->mha;
    const size_t B = call->B, Tq = call->Tq, Tk = call->Tk;
    const attni_matrix query = read_input(context, &call->query, B, Tq, m->M, scratch + at->query);
    const attni_matrix key = read_input(context, &call->key, B, Tk, m->k.in, scratch + at->key);
    const attni_matrix value = same(&call->value, &call->key) && m->v.in == m->k.in
                                   ? key
                                   : read_input(context, &call->value, B, Tk, m->v.in, scratch + at->value);
    const attni_product products[3] = {{&m->q, query, dense(scratch + at->q, B * Tq, m->q.out)},
                                       {&m->k, key, dense(scratch + at->k, B * Tk, m->k.out)},
                                       {&m->v, value, dense(scratch + at->v, B * Tk, m->v.out)}};
    attni_project(context, products, 3);
}

void attni_mha_run(attn_context *context, const attni_mha_call *call, float *scratch) {
    const attn_mha *m = call->mha;
    const size_t B = call->B, Tq = call->Tq;
    const layout at = lay(call);
    const attni_sdpa attention = attention_of(call, &at, scratch);
    const attni_matrix out = matrix_of(&call->out, B, Tq, m->M, scratch + at.out);
    const attni_product product = {&m->out, dense(scratch + at.o, B * Tq, m->out.in), out};
    project_inputs(context, call, &at, scratch);
    attni_sdpa_run(context, &attention, scratch + at.attention);
    attni_project(context, &product, 1);
    write_output(context, &call->out, B, Tq, m->M, scratch + at.out);
}
