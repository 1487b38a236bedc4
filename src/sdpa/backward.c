/* SPDX-License-Identifier: BSD-3-Clause */
/* The backward pass. A unit of work is a group of keys of one key/value head: all tiles of queries that see it walk by,
 * their scores are computed again, and the gradients of its keys and values grow on the desk. Those of a tile's queries
 * grow where they stay, group after group in one order: a tile that comes to a group waits until the group before has
 * passed it. Units begin in that order too, so that the first that is not done never waits.
 * Source: Dao, "FlashAttention-2", 2023, algorithm 2. */
#include <math.h>
#include <string.h>

#include "context/await.h"
#include "sdpa/backward.h"

/* -- the walk -- */

/* Keys and values of a group, as factors: K transposed in blocks, and as it is in panels, V transposed. */
static void pack_panels(const attni_engine *e, const float *x, size_t count, float *panels) {
    const size_t width = e->cut.tile.columns, D = e->call->D;
    for (size_t c = 0; c < D; c += width)
        e->kernels->copy(count, attni_min(width, D - c), ATTN_F32, x + c, (ptrdiff_t)D, ATTN_F32,
                         panels + c * e->cut.tile.keys, (ptrdiff_t)width);
}

static void zero_odd_rows(const attni_kernels *kernels, size_t count, size_t width, float *x) {
    for (size_t r = 0; r < count; r++, x += width)
        if (!kernels->all_finite(1, width, ATTN_F32, x, 0))
            memset(x, 0, width * sizeof *x);
}

static void bring_rows(const attni_back_sequence *s, const attni_turn *turn, const attni_view *view,
                       const attni_key_group *group, size_t width, float *x) {
    const attni_kernels *kernels = s->e.kernels;
    if (attni_turns(turn))
        attni_turn_rows(kernels, turn, view, s->b, group->g, group->begin, group->count, width, 0, x);
    else
        kernels->copy(group->count, width, view->dtype, attni_at(view, s->b, group->g, group->begin), view->stride_t,
                      ATTN_F32, x, (ptrdiff_t)width);
}

static void pack_blocks(const attni_engine *e, const float *x, size_t count, size_t width, float *blocks) {
    const size_t W = e->cut.tile.width;
    for (size_t j = 0; j < count; j += W) {
        const size_t n = attni_min(W, count - j);
        e->kernels->transpose(ATTN_F32, n, width, x + j * width, (ptrdiff_t)width, attni_round_up(n, 16),
                              blocks + j * width, W);
    }
}

static void pack_group(const attni_back_sequence *s, attni_back_desk *d) {
    attni_key_group *group = &d->group;
    const attni_sdpa *call = &s->call;
    bring_rows(s, &call->v_turn, &call->v, group, call->E, d->room);
    pack_blocks(&s->e, d->room, group->count, call->E, d->v);
    bring_rows(s, &call->k_turn, &call->k, group, call->D, d->room);
    pack_blocks(&s->e, d->room, group->count, call->D, group->k_room);
    if (!s->e.kernels->all_finite(group->count, call->D, ATTN_F32, d->room, (ptrdiff_t)call->D))
        zero_odd_rows(s->e.kernels, group->count, call->D, d->room);
    pack_panels(&s->e, d->room, group->count, d->k);
    group->dtype = ATTN_F32;
    group->depth = call->D;
    group->k = (const char *)group->k_room;
    group->k_floats = group->k_room;
    memset(d->dk, 0, group->count * call->D * sizeof *d->dk);
    memset(d->dv, 0, group->count * call->E * sizeof *d->dv);
}

static attni_panels panels_of(const float *data, size_t width, size_t ld, size_t step) {
    return (attni_panels){.type = ATTN_F32, .data = (const char *)data, .width = width, .ld = ld, .step = step};
}

/* Rows that follow each other, in panels of the width that is read best. */
static attni_panels panels_in(const attni_engine *e, attni_back_matrix of) {
    return panels_of(of.data, e->cut.tile.columns, of.ld, e->cut.tile.columns);
}

/* y [columns, width] += factor · xᵀ · of, x [rows, columns] being weights or gradients of scores. */
static void multiply_turned(const attni_engine *e, const attni_query_tile *t, size_t columns, float factor,
                            const float *x, attni_back_matrix of, size_t width, const attni_back_desk *d, float *y) {
    const size_t step = attni_back_turned_step(&e->cut);
    const attni_panels b = panels_in(e, of);
    e->kernels->transpose(ATTN_F32, t->rows, columns, x, (ptrdiff_t)e->cut.tile.keys, attni_round_up(t->rows, 16),
                          d->turned, step);
    attni_multiply(e->context, columns, width, t->rows, factor, d->turned, step, &b, true, y, width);
}

/* The log-sum-exp of a row that is not finite is NaN, of which sigmoids know nothing. */
static void spoil_rows(const attni_back_sequence *s, const attni_query_tile *t, size_t columns, float *p) {
    const float *lse = attni_back_lse(s, t->head, t->token);
    for (size_t r = 0; r < t->rows; r++, p += s->e.cut.tile.keys)
        for (size_t j = 0; j < columns && isnan(lse[r]); j++)
            p[j] = p[j] == 0 ? 0 : NAN;
}

/* p = the weights, d->p, and what dropout leaves of them. */
static const float *weigh(const attni_back_sequence *s, const attni_query_tile *t, const attni_sight *seen,
                          const attni_back_desk *d) {
    const attni_engine *e = &s->e;
    const size_t lds = e->cut.tile.keys;
    attni_score(e, t, &d->group, seen, ATTN_STAGE_PROBABILITIES, d->p);
    if (s->call.sigmoid) {
        e->kernels->sigmoid_step(t->rows, seen->columns, d->p, lds, seen->range, t->state, NULL, 0);
        spoil_rows(s, t, seen->columns, d->p);
    } else {
        e->kernels->probabilities(t->rows, seen->columns, d->p, lds, seen->range, attni_back_lse(s, t->head, t->token));
    }
    if (!s->call.dropout.threshold)
        return d->p;
    attni_drop_out(e, t, d->group.begin + seen->begin, seen->columns, d->p, d->kept);
    return d->kept;
}

/* d->g = gradients of the scores. */
static void score_back(const attni_back_sequence *s, const attni_query_tile *t, const attni_sight *seen,
                       attni_back_matrix d_out, const float *kept, const attni_back_desk *d) {
    const attni_engine *e = &s->e;
    const size_t W = e->cut.tile.width, E = s->call.E, lds = e->cut.tile.keys;
    const attni_panels v = panels_of(d->v + seen->begin * E, W, W, W * E);
    attni_weight_back_fn *back = s->call.sigmoid ? e->kernels->sigmoid_back : e->kernels->softmax_back;
    attni_multiply(e->context, t->rows, attni_round_up(seen->columns, 16), E, 1.0F, d_out.data, d_out.ld, &v, false,
                   d->g, lds);
    back(t->rows, seen->columns, d->p, kept, d->g, lds, attni_back_delta(s, t->head, t->token));
    attni_score_back(e, t, &d->group, seen, d->g);
}

/* One tile meets one run of blocks. */
static void step(const attni_back_sequence *s, const attni_query_tile *t, const attni_sight *seen, float *dq,
                 const attni_back_desk *d) {
    const attni_engine *e = &s->e;
    const size_t D = s->call.D, E = s->call.E, columns = e->cut.tile.columns;
    const attni_back_matrix q = attni_back_q_rows(s, t->head, t->token),
                            d_out = attni_back_d_out_rows(s, t->head, t->token);
    const float *kept = weigh(s, t, seen, d);
    if (attni_back_wants_v(&s->gradients))
        multiply_turned(e, t, seen->columns, 1.0F, kept, d_out, E, d, d->dv + seen->begin * E);
    score_back(s, t, seen, d_out, kept, d);
    if (attni_back_wants_k(&s->gradients))
        multiply_turned(e, t, seen->columns, e->factor, d->g, q, D, d, d->dk + seen->begin * D);
    const attni_panels k = panels_of(d->k + seen->begin * columns, columns, columns, columns * e->cut.tile.keys);
    if (attni_back_wants_q(&s->gradients))
        attni_multiply(e->context, t->rows, D, seen->columns, s->call.scale, d->g, e->cut.tile.keys, &k, true, dq, D);
}

/* Tile n of the head, which all groups before have passed. */
static void meet(const attni_back_sequence *s, size_t n, const attni_back_desk *d) {
    const attni_key_group *group = &d->group;
    attni_query_tile t = attni_tile_at(&s->e, s->b, group->g, n);
    float *dq = attni_back_floats(s->w, s->w->at.dq) + attni_back_row(s, t.head, t.token) * s->call.D;
    atomic_size_t *passed =
        (atomic_size_t *)(void *)(s->w->scratch + s->w->at.passed) + (s->b * s->call.G + group->g) * s->w->tiles + n;
    const attni_back_matrix q = attni_back_q_rows(s, t.head, t.token);
    const size_t group_number = group->begin / s->e.cut.tile.keys;
    attni_sight seen;
    t.q = attni_left_at(q.data, q.ld);
    t.range = d->range;
    t.state = d->state;
    attni_await(passed, group_number);
    if (group_number == 0)
        attni_back_begin_queries(s, &t, dq);
    else /* from the cache of another core, before it is needed */
        s->e.kernels->prefetch(1, t.rows * s->call.D * sizeof *dq, dq, 0);
    for (size_t from = 0; from < group->count && attni_next_run(&s->e, &t, group, from, &seen);
         from = seen.begin + seen.columns)
        step(s, &t, &seen, dq, d);
    atomic_store_explicit(passed, group_number + 1, memory_order_release);
    if (group_number + 1 == s->groups)
        attni_back_put_queries(s, &t, dq, d->room);
}

/* Group n of key/value head g of sequence b. */
static void walk_group(attni_backward *w, size_t n, size_t b, size_t g, attni_back_desk *d) {
    attni_back_sequence s;
    attni_back_sequence_of(w, b, &s);
    if (n >= s.groups)
        return;
    const size_t keys = s.e.cut.tile.keys, tiles = s.e.cut.head_cuts * s.e.cut.token_cuts;
    s.e.capped = d->capped;
    s.e.uncalled = d->uncalled;
    s.e.weights = d->p;
    attni_open_group(&d->group, b, g, n * keys, attni_min(keys, s.call.Tk - n * keys));
    pack_group(&s, d);
    for (size_t i = tiles; i-- > 0;) /* behind a causal mask all groups have the last tiles in common */
        meet(&s, i, d);
    attni_back_put_keys(&s, &d->group, &s.call.k_turn, &s.gradients.dk, w->at.dk, s.call.D, d->dk, d->room);
    attni_back_put_keys(&s, &d->group, &s.call.v_turn, &s.gradients.dv, w->at.dv, s.call.E, d->dv, d->room);
}

/* A range of one number, or of all. */
static attni_range share(bool whole, size_t n, size_t all) {
    return whole ? (attni_range){0, all} : (attni_range){n, n + 1};
}

static size_t parts_of(bool whole, size_t all) { return whole ? 1 : all; }

/* As many heads walk at a time as there are threads: the rows of one head fit the caches, those of all may not. */
static void walk(void *arg, size_t unit, size_t worker) {
    attni_backward *w = arg;
    const attni_sdpa *call = w->e.call;
    const size_t groups = parts_of(w->whole_keys, w->groups), heads = parts_of(w->whole_heads, call->G);
    const size_t all = parts_of(w->whole_batch, call->B) * heads, threads = w->e.context->threads;
    const size_t first = unit / (threads * groups) * threads, together = attni_min(threads, all - first);
    const size_t head = first + (unit - first * groups) % together;
    const attni_range of_keys = share(w->whole_keys, (unit - first * groups) / together, w->groups);
    const attni_range of_batch = share(w->whole_batch, head / heads, call->B);
    const attni_range of_heads = share(w->whole_heads, head % heads, call->G);
    attni_back_desk d = attni_back_desk_of(w, worker);
    for (size_t n = of_keys.begin; n < of_keys.end; n++)
        for (size_t b = of_batch.begin; b < of_batch.end; b++)
            for (size_t g = of_heads.begin; g < of_heads.end; g++)
                walk_group(w, n, b, g, &d);
}

/* -- the whole -- */

static bool is_broadcast(ptrdiff_t stride, size_t size) { return stride == 0 && size > 1; }

static attni_backward backward_of(attn_context *context, const attni_sdpa *call, const attni_gradients *g,
                                  char *scratch) {
    attni_backward w = {.gradients = g, .room = attni_back_room_for(context, call), .scratch = scratch};
    const bool shared = g->d_slopes || g->d_table;
    w.e = (attni_engine){.context = context, .call = call, .kernels = context->kernels, .form = ATTNI_PLAIN};
    w.e.factor = attni_scales_query(call) ? 1 : call->scale;
    w.at = attni_back_lay(context, call, g, &w.room);
    w.e.slopes = g->d_slopes ? (double *)(void *)(scratch + w.at.slopes) : NULL;
    w.e.table = g->d_table ? (double *)(void *)(scratch + w.at.table) : NULL;
    w.sums = attni_back_lay_sums(call, g);
    w.tiles = w.room.head_cuts * w.room.token_cuts;
    w.groups = attni_back_count_groups(&w.room, call->Tk);
    w.ldq = attni_back_padded(call, call->D);
    w.ldo = attni_back_padded(call, call->E);
    w.whole_batch = shared || (g->d_bias.data && is_broadcast(g->d_bias.stride_b, call->B));
    w.whole_heads = g->d_bias.data && is_broadcast(g->d_bias.stride_h, call->H);
    w.whole_keys = shared;
    attni_read_program(&w.e);
    return w;
}

void attni_backward_run(attn_context *context, const attni_sdpa *call, const attni_gradients *gradients,
                        void *scratch) {
    attni_backward w = {.e = {.call = call}, .gradients = gradients};
    attni_back_clear(context, &w);
    if (call->B == 0 || call->H == 0)
        return;
    w = backward_of(context, call, gradients, scratch);
    const double scores = (double)call->B * (double)call->H * (double)call->Tq * (double)call->Tk;
    const size_t units =
        parts_of(w.whole_keys, w.groups) * parts_of(w.whole_batch, call->B) * parts_of(w.whole_heads, call->G);
    attni_back_begin(context, &w);
    attni_blas_parallel(context, units, 2 * scores * (double)(3 * call->D + 2 * call->E), walk, &w);
    attni_back_end(context, &w);
}
