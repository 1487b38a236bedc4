/* SPDX-License-Identifier: BSD-3-Clause */
/* The door in: what is odd about Q, K and V ends here; behind it are dense f32 blocks. */
#include <limits.h>
#include <string.h>

#include "sdpa/engine.h"

/* A matrix that a BLAS can read in place. */
static bool is_plain(ptrdiff_t stride, size_t width) { return stride >= (ptrdiff_t)width && stride <= INT_MAX; }

/* Rows of several heads are one matrix only where the heads follow each other as the tokens do. */
static bool query_in_place(const attni_sdpa *call, const attni_query_tile *t) {
    const ptrdiff_t stride = call->q.stride_t;
    const bool dense = stride == (ptrdiff_t)call->D || (t->rows == 1 && is_plain(stride, call->D));
    return dense && (t->heads == 1 || call->q.stride_h == (ptrdiff_t)t->tokens * stride);
}

void attni_pack_query(const attni_engine *e, attni_query_tile *t, float *room) {
    const attni_sdpa *call = e->call;
    const size_t D = call->D;
    t->q = attni_at(&call->q, t->batch, t->head, t->token);
    t->ldq = D ? D : 1;
    if (query_in_place(call, t))
        return;
    for (size_t h = 0; h < t->heads; h++)
        e->kernels->copy(t->tokens, D, attni_at(&call->q, t->batch, t->head + h, t->token), call->q.stride_t,
                         room + h * t->tokens * D, (ptrdiff_t)D);
    t->q = room;
}

static size_t round_up(size_t n, size_t step) { return (n + step - 1) / step * step; }

static void pack_k(const attni_engine *e, size_t b, size_t g, attni_key_group *group) {
    const size_t W = e->cut.tile.width, D = e->call->D;
    for (size_t j = 0; j < group->count; j += W) {
        const size_t n = group->count - j < W ? group->count - j : W;
        e->kernels->transpose(n, D, attni_at(&e->call->k, b, g, group->begin + j), e->call->k.stride_t, round_up(n, 16),
                              group->k + j * D, W);
    }
}

/* V is read where the caller has it, if the BLAS can. */
static void place_v(const attni_engine *e, size_t b, size_t g, attni_key_group *group) {
    const size_t E = e->call->E;
    const ptrdiff_t stride = e->call->v.stride_t;
    group->v = attni_at(&e->call->v, b, g, group->begin);
    group->ldv = (size_t)stride;
    group->values = ATTNI_UNKNOWN;
    if (is_plain(stride, E ? E : 1))
        return;
    e->kernels->copy(group->count, E, group->v, stride, group->v_copy, (ptrdiff_t)E);
    group->v = group->v_copy;
    group->ldv = E ? E : 1;
}

void attni_pack_keys(const attni_engine *e, size_t b, size_t g, size_t begin, size_t count, attni_key_group *group) {
    group->begin = begin;
    group->count = count;
    pack_k(e, b, g, group);
    place_v(e, b, g, group);
}

static void clean_values(const attni_engine *e, attni_key_group *group) {
    const size_t E = e->call->E;
    for (size_t j = 0; j < group->count; j++) {
        const float *row = group->v + j * group->ldv;
        if (e->kernels->all_finite(1, E, row, 0))
            memcpy(group->v_clean + j * E, row, E * sizeof *row);
        else
            memset(group->v_clean + j * E, 0, E * sizeof *row);
    }
}

bool attni_values_finite(const attni_engine *e, attni_key_group *group) {
    if (group->values == ATTNI_UNKNOWN) {
        const bool finite = e->kernels->all_finite(group->count, e->call->E, group->v, (ptrdiff_t)group->ldv);
        group->values = finite ? ATTNI_FINITE : ATTNI_NOT_FINITE;
        if (!finite)
            clean_values(e, group);
    }
    return group->values == ATTNI_FINITE;
}

void attni_prefetch_keys(const attni_engine *e, const attni_unit *unit, size_t begin, size_t i, size_t n) {
    const attni_sdpa *call = e->call;
    const size_t left = begin < call->Tk ? call->Tk - begin : 0,
                 keys = left < e->cut.tile.keys ? left : e->cut.tile.keys;
    const size_t from = begin + keys * i / n, count = begin + keys * (i + 1) / n - from;
    e->kernels->prefetch(count, call->D, attni_at(&call->k, unit->b, unit->g, from), call->k.stride_t);
    e->kernels->prefetch(count, call->E, attni_at(&call->v, unit->b, unit->g, from), call->v.stride_t);
}

void attni_prefetch_query(const attni_engine *e, const attni_query_tile *t) {
    const attni_view *q = &e->call->q;
    for (size_t h = 0; h < t->heads; h++)
        e->kernels->prefetch(t->tokens, e->call->D, attni_at(q, t->batch, t->head + h, t->token), q->stride_t);
}
