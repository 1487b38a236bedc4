/* SPDX-License-Identifier: BSD-3-Clause */
/* Forward of the layer: project, attend, project. Heads are split and joined by views alone. */
#include <string.h>

#include "context/sizes.h"
#include "mha/matrix.h"
#include "mha/mha.h"

/* The buffers of a call, in floats from the start of the scratch; 0 floats where the caller's memory serves. */
typedef struct layout {
    size_t query, key, value, out; /* dense copies of inputs and output that a BLAS cannot use in place */
    size_t q, k, v, o;             /* projected heads, [B·T, H·D] and so on */
    size_t rest;                   /* scratch of the cache, then of attention, to the end */
} layout;

static bool same(const attni_view *x, const attni_view *y) {
    return x->data == y->data && x->dtype == y->dtype && x->stride_b == y->stride_b && x->stride_t == y->stride_t;
}

static layout lay(const attni_mha_call *call) {
    const attn_mha *m = call->mha;
    const size_t B = call->B, Tq = call->Tq, Tk = call->Tk;
    size_t used = 0;
    layout at;
    at.query = attni_reserve(&used, attni_matrix_floats(&call->query, B, Tq, m->M));
    at.key = attni_reserve(&used, attni_matrix_floats(&call->key, B, Tk, m->k.in));
    at.value = attni_reserve(&used, attni_matrix_floats(&call->value, B, Tk, m->v.in));
    at.out = attni_reserve(&used, attni_matrix_floats(&call->out, B, Tq, m->M));
    at.q = attni_reserve(&used, B * Tq * m->q.out);
    at.k = attni_reserve(&used, B * Tk * m->k.out);
    at.v = attni_reserve(&used, B * Tk * m->v.out);
    at.o = attni_reserve(&used, B * Tq * m->out.in);
    at.rest = used;
    return at;
}

/* Heads inside a projected matrix [B·T, heads·width]. Sequences of a ragged batch share one b. */
static attni_view heads_of(const attni_mha_call *call, float *data, size_t T, size_t heads, size_t width) {
    const bool ragged = call->attention.query_starts || call->starts;
    const ptrdiff_t row = (ptrdiff_t)(heads * width);
    return (attni_view){data, ATTN_F32, ragged ? 0 : (ptrdiff_t)T * row, (ptrdiff_t)width, row};
}

static attni_matrix dense(float *data, size_t rows, size_t width) { return (attni_matrix){data, rows, width}; }

static attni_sdpa attention_of(const attni_mha_call *call, const layout *at, float *scratch) {
    const attn_mha *m = call->mha;
    attni_sdpa s = call->attention;
    s.extra_key = m->extra_key;
    s.extra_value = m->extra_value;
    s.zero_key = m->zero_key;
    s.q = heads_of(call, scratch + at->q, call->Tq, m->H, m->D);
    s.k = heads_of(call, scratch + at->k, call->Tk, m->G, m->D);
    s.v = heads_of(call, scratch + at->v, call->Tk, m->G, m->E);
    s.out = heads_of(call, scratch + at->o, call->Tq, m->H, m->E);
    return s;
}

static attni_append append_of(const attni_mha_call *call, const attni_sdpa *attention) {
    const attni_turn *turn = &attention->k_turn, *v_turn = &attention->v_turn;
    return (attni_append){.cache = call->cache,
                          .T = call->Tk,
                          .starts = call->starts,
                          .counts = call->counts,
                          .k = attention->k,
                          .v = attention->v,
                          .turn = attni_turns(turn) ? turn : NULL,
                          .v_turn = attni_turns(v_turn) ? v_turn : NULL};
}

/* What the products make of their inputs lies where attention will work, or has worked. */
static size_t input_floats(const attn_context *context, const attni_mha_call *call) {
    const attn_mha *m = call->mha;
    return attni_product_floats(context, &m->q, call->B * call->Tq) +
           attni_product_floats(context, &m->k, call->B * call->Tk) +
           attni_product_floats(context, &m->v, call->B * call->Tk);
}

static size_t product_scratch(const attn_context *context, const attni_mha_call *call) {
    const size_t out = attni_product_floats(context, &call->mha->out, call->B * call->Tq);
    return attni_max(input_floats(context, call), out) * sizeof(float);
}

static size_t append_scratch(const attn_context *context, const attni_mha_call *call) {
    const attni_append append = append_of(call, &call->attention);
    return call->cache ? attni_append_scratch(context, &append) : 0;
}

size_t attni_mha_append_scratch(const attn_context *context, const attni_mha_call *call) {
    return lay(call).rest * sizeof(float) + attni_max(append_scratch(context, call), product_scratch(context, call));
}

size_t attni_mha_scratch(const attn_context *context, const attni_mha_call *call) {
    const size_t attention = attni_sdpa_scratch(context, &call->attention);
    const size_t others = attni_max(append_scratch(context, call), product_scratch(context, call));
    return lay(call).rest * sizeof(float) + attni_max(attention, others);
}

static void project_inputs(attn_context *context, const attni_mha_call *call, const layout *at, float *scratch) {
    const attn_mha *m = call->mha;
    const size_t B = call->B, Tq = call->Tq, Tk = call->Tk;
    const attni_matrix query = attni_matrix_read(context, &call->query, B, Tq, m->M, scratch + at->query);
    const attni_matrix key = attni_matrix_read(context, &call->key, B, Tk, m->k.in, scratch + at->key);
    const attni_matrix value = same(&call->value, &call->key) && m->v.in == m->k.in
                                   ? key
                                   : attni_matrix_read(context, &call->value, B, Tk, m->v.in, scratch + at->value);
    float *q_room = scratch + at->rest, *k_room = q_room + attni_product_floats(context, &m->q, B * Tq),
          *v_room = k_room + attni_product_floats(context, &m->k, B * Tk);
    const attni_product products[3] = {
        {.linear = &m->q, .x = query, .y = dense(scratch + at->q, B * Tq, m->q.out), .room = q_room},
        {.linear = &m->k, .x = key, .y = dense(scratch + at->k, B * Tk, m->k.out), .room = k_room},
        {.linear = &m->v, .x = value, .y = dense(scratch + at->v, B * Tk, m->v.out), .room = v_room}};
    attni_project(context, products, 3);
}

static attn_status append(attn_context *context, const attni_mha_call *call, const layout *at,
                          const attni_sdpa *attention, float *scratch) {
    const attni_append append = append_of(call, attention);
    return call->cache ? attni_append_run(context, &append, scratch + at->rest) : ATTN_OK;
}

attn_status attni_mha_append(attn_context *context, const attni_mha_call *call, float *scratch) {
    const layout at = lay(call);
    const attni_sdpa attention = attention_of(call, &at, scratch);
    project_inputs(context, call, &at, scratch);
    return append(context, call, &at, &attention, scratch);
}

/* Tokens before and behind the sequences of a ragged batch, which attention does not write. */
static void clear_outside(const attni_mha_call *call, float *o) {
    const int64_t *starts = call->attention.query_starts;
    const size_t width = call->mha->out.in;
    if (!starts)
        return;
    const size_t first = (size_t)starts[0], end = (size_t)starts[call->attention.B];
    memset(o, 0, first * width * sizeof *o);
    memset(o + end * width, 0, (call->Tq - end) * width * sizeof *o);
}

attn_status attni_mha_run(attn_context *context, const attni_mha_call *call, float *scratch) {
    const attn_mha *m = call->mha;
    const size_t B = call->B, Tq = call->Tq;
    const layout at = lay(call);
    const attni_sdpa attention = attention_of(call, &at, scratch);
    const attni_matrix out = attni_matrix_of(&call->out, B, Tq, m->M, scratch + at.out);
    const attni_product product = {.linear = &m->out,
                                   .x = dense(scratch + at.o, B * Tq, m->out.in),
                                   .y = out,
                                   .residual = call->residual,
                                   .room = scratch + at.rest};
    project_inputs(context, call, &at, scratch);
    const attn_status status = append(context, call, &at, &attention, scratch);
    if (status != ATTN_OK)
        return status;
    clear_outside(call, scratch + at.o);
    attni_sdpa_run(context, &attention, scratch + at.rest);
    attni_project(context, &product, 1);
    attni_matrix_write(context, &call->out, B, Tq, m->M, scratch + at.out);
    return ATTN_OK;
}
