/* SPDX-License-Identifier: BSD-3-Clause */
/* Forward of the layer: project, attend, project. Heads are split and joined by views alone. */
#include "mha/matrix.h"
#include "mha/mha.h"

/* The buffers of a call, in floats from the start of the scratch; 0 floats where the caller's memory serves. */
typedef struct layout {
    size_t query, key, value, out; /* dense copies of inputs and output that a BLAS cannot use in place */
    size_t q, k, v, o;             /* projected heads, [B·T, H·D] and so on */
    size_t attention;              /* scratch of attention, to the end */
} layout;

static bool same(const attni_view *x, const attni_view *y) {
    return x->data == y->data && x->stride_b == y->stride_b && x->stride_t == y->stride_t;
}

static layout lay(const attni_mha_call *call) {
    const attn_mha *m = call->mha;
    const size_t B = call->attention.B, Tq = call->attention.Tq, Tk = call->keys;
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
    at.attention = used;
    return at;
}

/* Heads inside a projected matrix [B·T, heads·width]. */
static attni_view heads_of(float *data, size_t T, size_t heads, size_t width) {
    const ptrdiff_t row = (ptrdiff_t)(heads * width);
    return (attni_view){data, (ptrdiff_t)T * row, (ptrdiff_t)width, row};
}

static attni_matrix dense(float *data, size_t rows, size_t width) { return (attni_matrix){data, rows, width}; }

static attni_sdpa attention_of(const attni_mha_call *call, const layout *at, float *scratch) {
    const attn_mha *m = call->mha;
    attni_sdpa s = call->attention;
    s.q = heads_of(scratch + at->q, s.Tq, m->H, m->D);
    s.k = heads_of(scratch + at->k, call->keys, m->G, m->D);
    s.v = heads_of(scratch + at->v, call->keys, m->G, m->E);
    s.out = heads_of(scratch + at->o, s.Tq, m->H, m->E);
    return s;
}

size_t attni_mha_scratch(const attn_context *context, const attni_mha_call *call) {
    const layout at = lay(call);
    return at.attention * sizeof(float) + attni_sdpa_scratch(context, &call->attention);
}

static void project_inputs(attn_context *context, const attni_mha_call *call, const layout *at, float *scratch) {
    const attn_mha *m = call->mha;
    const size_t B = call->attention.B, Tq = call->attention.Tq, Tk = call->keys;
    const attni_matrix query = attni_matrix_read(context, &call->query, B, Tq, m->M, scratch + at->query);
    const attni_matrix key = attni_matrix_read(context, &call->key, B, Tk, m->k.in, scratch + at->key);
    const attni_matrix value = same(&call->value, &call->key) && m->v.in == m->k.in
                                   ? key
                                   : attni_matrix_read(context, &call->value, B, Tk, m->v.in, scratch + at->value);
    const attni_product products[3] = {{.linear = &m->q, .x = query, .y = dense(scratch + at->q, B * Tq, m->q.out)},
                                       {.linear = &m->k, .x = key, .y = dense(scratch + at->k, B * Tk, m->k.out)},
                                       {.linear = &m->v, .x = value, .y = dense(scratch + at->v, B * Tk, m->v.out)}};
    attni_project(context, products, 3);
}

static void append(attn_context *context, const attni_mha_call *call, const attni_sdpa *attention) {
    if (call->cache)
        attni_cache_append(context, call->cache, call->keys, &attention->k, &attention->v);
}

size_t attni_mha_append_scratch(const attni_mha_call *call) { return lay(call).attention * sizeof(float); }

void attni_mha_append(attn_context *context, const attni_mha_call *call, float *scratch) {
    const layout at = lay(call);
    const attni_sdpa attention = attention_of(call, &at, scratch);
    project_inputs(context, call, &at, scratch);
    append(context, call, &attention);
}

void attni_mha_run(attn_context *context, const attni_mha_call *call, float *scratch) {
    const attn_mha *m = call->mha;
    const size_t B = call->attention.B, Tq = call->attention.Tq;
    const layout at = lay(call);
    const attni_sdpa attention = attention_of(call, &at, scratch);
    const attni_matrix out = attni_matrix_of(&call->out, B, Tq, m->M, scratch + at.out);
    const attni_product product = {
        .linear = &m->out, .x = dense(scratch + at.o, B * Tq, m->out.in), .y = out, .residual = call->residual};
    project_inputs(context, call, &at, scratch);
    append(context, call, &attention);
    attni_sdpa_run(context, &attention, scratch + at.attention);
    attni_project(context, &product, 1);
    attni_matrix_write(context, &call->out, B, Tq, m->M, scratch + at.out);
}
