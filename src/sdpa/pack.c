/* SPDX-License-Identifier: BSD-3-Clause */
/* The door in: what is odd about Q, K and V ends here; behind it are dense f32 blocks. */
#include <limits.h>
#include <string.h>

#include "sdpa/engine.h"

static size_t min(size_t a, size_t b) { return a < b ? a : b; }

/* Rows of several heads are one matrix only where the heads follow each other as the tokens do. */
static bool is_dense(const attni_sdpa *call, const attni_query_tile *t) {
    const ptrdiff_t D = (ptrdiff_t)call->D;
    return call->q.stride_t == D && (t->heads == 1 || call->q.stride_h == (ptrdiff_t)t->tokens * D);
}

void attni_pack_query(const attni_engine *e, attni_query_tile *t, float *room) {
    const attni_sdpa *call = e->call;
    const size_t D = call->D;
    t->q = attni_at(&call->q, t->batch, t->head, t->token);
    if (is_dense(call, t))
        return;
    for (size_t h = 0; h < t->heads; h++)
        e->kernels->copy(t->tokens, D, attni_at(&call->q, t->batch, t->head + h, t->token), call->q.stride_t,
                         room + h * t->tokens * D, (ptrdiff_t)D);
    t->q = room;
}

static size_t round_up(size_t n, size_t step) { return (n + step - 1) / step * step; }

static void pack_k(const attni_engine *e, const attni_unit *unit, attni_key_group *group) {
    const size_t W = e->cut.tile.width, D = e->call->D;
    for (size_t j = 0; j < group->count; j += W) {
        const size_t n = min(W, group->count - j);
        e->kernels->transpose(n, D, attni_at(&e->call->k, unit->b, unit->g, group->begin + j), e->call->k.stride_t,
                              round_up(n, 16), group->k + j * D, W);
    }
}

/* V is read where the caller has it only where it is read about once: by one tile, and by few rows if there are gaps
 * between the rows of V. Else a copy in panels is faster, by up to a fifth. */
static bool values_in_place(const attni_engine *e, const attni_unit *unit) {
    enum { FEW_ROWS = 16 };
    const ptrdiff_t stride = e->call->v.stride_t, E = (ptrdiff_t)e->call->E;
    const bool plain = stride >= E && stride >= 1 && stride <= INT_MAX;
    return unit->count == 1 && plain && (stride == E || e->cut.tile.rows <= FEW_ROWS);
}

static void place_v(const attni_engine *e, const attni_unit *unit, attni_key_group *group) {
    const size_t E = e->call->E, columns = min(e->cut.tile.columns, E);
    const ptrdiff_t stride = e->call->v.stride_t;
    const float *v = attni_at(&e->call->v, unit->b, unit->g, group->begin);
    group->finite = ATTNI_UNKNOWN;
    group->v = (attni_values){v, columns, (size_t)stride};
    if (values_in_place(e, unit))
        return;
    group->v = (attni_values){group->v_copy, columns * group->count, columns};
    for (size_t c = 0; c < E; c += columns)
        e->kernels->copy(group->count, min(columns, E - c), v + c, stride, group->v_copy + c * group->count,
                         (ptrdiff_t)columns);
}

void attni_pack_keys(const attni_engine *e, const attni_unit *unit, size_t begin, size_t count,
                     attni_key_group *group) {
    group->begin = begin;
    group->count = count;
    pack_k(e, unit, group);
    place_v(e, unit, group);
}

/* Copies a panel with zeros for the rows that are not finite. */
static void clean_panel(const attni_engine *e, size_t rows, size_t columns, const float *v, size_t ld, float *clean,
                        size_t ld_clean) {
    for (size_t j = 0; j < rows; j++, v += ld, clean += ld_clean)
        if (e->kernels->all_finite(1, columns, v, 0))
            memcpy(clean, v, columns * sizeof *v);
        else
            memset(clean, 0, columns * sizeof *v);
}

static void clean_values(const attni_engine *e, attni_key_group *group) {
    const size_t E = e->call->E, columns = min(e->cut.tile.columns, E);
    group->v_clean = (attni_values){group->v_clean_room, columns * group->count, columns};
    for (size_t c = 0; c < E; c += columns)
        clean_panel(e, group->count, min(columns, E - c), attni_panel_of(e, &group->v, c), group->v.ld,
                    group->v_clean_room + c * group->count, columns);
}

bool attni_values_finite(const attni_engine *e, attni_key_group *group) {
    const size_t E = e->call->E, columns = min(e->cut.tile.columns, E);
    if (group->finite != ATTNI_UNKNOWN)
        return group->finite == ATTNI_FINITE;
    group->finite = ATTNI_FINITE;
    for (size_t c = 0; c < E; c += columns)
        if (!e->kernels->all_finite(group->count, min(columns, E - c), attni_panel_of(e, &group->v, c),
                                    (ptrdiff_t)group->v.ld))
            group->finite = ATTNI_NOT_FINITE;
    if (group->finite == ATTNI_NOT_FINITE)
        clean_values(e, group);
    return group->finite == ATTNI_FINITE;
}

void attni_prefetch_keys(const attni_engine *e, const attni_unit *unit, size_t i, size_t n) {
    const attni_sdpa *call = e->call;
    const size_t keys = min(e->cut.tile.keys, unit->end - unit->begin);
    const size_t from = unit->begin + keys * i / n, count = unit->begin + keys * (i + 1) / n - from;
    e->kernels->prefetch(count, call->D, attni_at(&call->k, unit->b, unit->g, from), call->k.stride_t);
    e->kernels->prefetch(count, call->E, attni_at(&call->v, unit->b, unit->g, from), call->v.stride_t);
}

void attni_prefetch_query(const attni_engine *e, const attni_query_tile *t) {
    const attni_view *q = &e->call->q;
    for (size_t h = 0; h < t->heads; h++)
        e->kernels->prefetch(t->tokens, e->call->D, attni_at(q, t->batch, t->head + h, t->token), q->stride_t);
}
