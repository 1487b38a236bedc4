/* SPDX-License-Identifier: BSD-3-Clause */
/* The backward pass. A unit of work is a group of keys of one key/value head: all tiles of queries that see it walk by,
 * their scores are computed again, and the gradients of its keys and values grow on the desk. Those of a tile's queries
 * grow where they stay, group after group in one order: a tile that comes to a group waits until the group before has
 * passed it. Units begin in that order too, so that the first that is not done never waits.
 * Source: Dao, "FlashAttention-2", 2023, algorithm 2. */
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "context/await.h"
#include "context/sizes.h"
#include "sdpa/engine.h"

/* Rows that the caller has, or a copy of them. */
typedef struct matrix {
    const float *data;
    size_t ld;
} matrix;

/* What a call keeps beside the desks: rows are those of all query tokens, heads and sequences, one after the other. */
typedef struct layout {
    size_t q, d_out;         /* copies, [rows, width] */
    size_t lse, delta;       /* [rows] */
    size_t dq, dk, dv;       /* [rows, D], [rows, D] and [rows, E] */
    size_t passed;           /* [B,G,tiles]: how many groups of keys have passed each tile */
    size_t slopes, table;    /* sums */
    size_t desk, desks, all; /* bytes of a desk, where they begin, bytes of all */
} layout;

typedef struct backward {
    attni_engine e;
    const attni_gradients *gradients;
    attni_cut room; /* the largest that any sequence has */
    layout at;
    char *scratch;
    size_t tiles;                              /* of a key/value head, at most */
    size_t groups;                             /* of keys, at most */
    size_t ldq, ldo;                           /* of copies */
    bool whole_batch, whole_heads, whole_keys; /* a unit has all of them: they add to the same sums */
    atomic_bool odd;                           /* something of q or d_out is not finite */
} backward;

/* One sequence of the call, as a call of its own. */
typedef struct sequence {
    backward *w;
    attni_engine e;
    attni_sdpa call;
    attni_gradients gradients;
    size_t b, groups;
    size_t query_rows, key_rows; /* of the sequences before it */
    bool odd;
} sequence;

/* Scratch of one worker. */
typedef struct desk {
    attni_key_group group;
    float *k;       /* [keys, D] in panels, zeros where rows are not finite */
    float *v;       /* [keys/W][E][W] */
    float *dk, *dv; /* [keys, D] and [keys, E] */
    float *p, *g;   /* [rows, keys]: weights, and gradients of them and of scores */
    float *kept;    /* weights after dropout */
    float *capped, *uncalled;
    float *turned;      /* [keys, rows] */
    float *room;        /* rows on their way */
    attni_range *range; /* [rows], as is */
    attni_row *state;
} desk;

/* Rows of a copy: whole lines, and few of them in the same sets of the L1. A callback is promised dense ones. */
static size_t padded(const attni_sdpa *call, size_t width) {
    enum { NARROW = 96, LINE = 16 };
    const size_t lines = attni_ceil_div(width, LINE);
    return width <= NARROW || call->score ? width : (lines | 1) * LINE;
}

static size_t turned_step(const attni_cut *cut) { return attni_round_up(cut->tile.rows, 16) + 16; }

static attni_cut cut_call(const attn_context *context, const attni_sdpa *call) {
    attni_cut cut = {.tile = attni_tile_for_backward(context, call->D, call->E), .least_keys = 1, .segments = 1};
    attni_cut_rows(call, &cut);
    cut.o_width = call->E;
    return cut;
}

static size_t count_groups(const attni_cut *cut, size_t Tk) { return attni_max(1, attni_ceil_div(Tk, cut->tile.keys)); }

static size_t all_tokens(const attni_sdpa *call, bool keys) {
    if (call->query_starts)
        return keys ? call->ragged_keys : call->ragged_tokens;
    return call->B * (keys ? call->Tk : call->Tq);
}

/* -- scratch -- */

static void *take(char *base, size_t *used, size_t bytes) {
    const size_t at = attni_take(used, bytes, ATTNI_LINE);
    return base ? base + at : NULL;
}

static float *take_floats(char *base, size_t *used, size_t n) { return take(base, used, n * sizeof(float)); }

static size_t lay_desk(const attni_cut *cut, const attni_sdpa *call, char *base, desk *d) {
    const attni_tile *t = &cut->tile;
    const size_t scores = t->rows * t->keys, W = attni_round_up(t->keys, t->width);
    size_t used = 0;
    d->group.k_room = take_floats(base, &used, W * call->D);
    d->k = take_floats(base, &used, t->keys * attni_round_up(call->D, t->columns));
    d->v = take_floats(base, &used, W * call->E);
    d->dk = take_floats(base, &used, t->keys * call->D);
    d->dv = take_floats(base, &used, t->keys * call->E);
    d->p = take_floats(base, &used, scores);
    d->g = take_floats(base, &used, scores);
    d->kept = take_floats(base, &used, call->dropout.threshold ? scores : 0);
    d->capped = take_floats(base, &used, call->softcap > 0 ? scores : 0);
    d->uncalled = take_floats(base, &used, call->score ? scores : 0);
    d->turned = take_floats(base, &used, t->keys * turned_step(cut));
    d->room = take_floats(base, &used, attni_max(t->rows, t->keys) * attni_max(call->D, call->E)); /* 192 or more */
    d->range = take(base, &used, t->rows * sizeof *d->range);
    d->state = take(base, &used, t->rows * sizeof *d->state);
    return used;
}

static layout lay(const attn_context *context, const attni_sdpa *call, const attni_gradients *g, const attni_cut *cut) {
    const size_t rows = all_tokens(call, false) * call->H, keys = all_tokens(call, true) * call->G;
    const size_t tiles = call->B * call->G * cut->head_cuts * cut->token_cuts;
    layout at = {0};
    desk d;
    at.q = attni_take(&at.all, rows * padded(call, call->D) * sizeof(float), ATTNI_LINE);
    at.d_out = attni_take(&at.all, rows * padded(call, call->E) * sizeof(float), ATTNI_LINE);
    at.lse = attni_take(&at.all, rows * sizeof(float), ATTNI_LINE);
    at.delta = attni_take(&at.all, rows * sizeof(float), ATTNI_LINE);
    at.dq = attni_take(&at.all, rows * call->D * sizeof(float), ATTNI_LINE);
    at.dk = attni_take(&at.all, attni_turns(&call->k_turn) ? keys * call->D * sizeof(float) : 0, ATTNI_LINE);
    at.dv = attni_take(&at.all, attni_turns(&call->v_turn) ? keys * call->E * sizeof(float) : 0, ATTNI_LINE);
    at.passed = attni_take(&at.all, tiles * sizeof(atomic_size_t), ATTNI_LINE);
    at.slopes = attni_take(&at.all, g->d_slopes ? call->H * sizeof(double) : 0, ATTNI_LINE);
    at.table = attni_take(&at.all, g->d_table ? call->H * call->relative.width * sizeof(double) : 0, ATTNI_LINE);
    at.desk = lay_desk(cut, call, NULL, &d);
    at.desks = attni_take(&at.all, at.desk * context->threads, ATTNI_LINE);
    return at;
}

/* As large as that of any sequence, of which the longest has the most tiles. */
static attni_cut room_for(const attn_context *context, const attni_sdpa *call) {
    attni_cut cut = cut_call(context, call);
    const attni_tile rule = attni_tile_for_backward(context, call->D, call->E);
    if (attni_is_varied(call))
        cut.tile.rows = attni_max(1, attni_min(rule.rows, call->Tq * (call->H / attni_max(1, call->G))));
    return cut;
}

size_t attni_backward_scratch(const attn_context *context, const attni_sdpa *call, const attni_gradients *gradients) {
    if (call->B == 0 || call->H == 0)
        return 0;
    const attni_cut cut = room_for(context, call);
    return lay(context, call, gradients, &cut).all;
}

static float *floats_at(const backward *w, size_t at) { return (float *)(void *)(w->scratch + at); }

/* -- sequences -- */

static void advance(attni_view *view, const attni_sdpa *call, const int64_t *starts, size_t b) {
    if (starts && view->data && call->B)
        view->data = attni_at(view, 0, 0, (size_t)starts[b]);
}

static sequence sequence_at(backward *w, size_t b) {
    const attni_sdpa *call = w->e.call;
    sequence s = {.w = w, .e = w->e, .b = b, .gradients = *w->gradients, .odd = atomic_load(&w->odd)};
    s.call = attni_is_varied(call) ? attni_sequence_of(call, b) : *call;
    s.query_rows = call->H * (call->query_starts ? (size_t)call->query_starts[b] : b * call->Tq);
    s.key_rows = call->G * (call->query_starts ? (size_t)call->key_starts[b] : b * call->Tk);
    attni_view *const of_queries[] = {&s.gradients.d_out, &s.gradients.d_lse, &s.gradients.dq};
    for (size_t n = 0; n < sizeof of_queries / sizeof *of_queries; n++)
        advance(of_queries[n], call, call->query_starts, b);
    advance(&s.gradients.dk, call, call->key_starts, b);
    advance(&s.gradients.dv, call, call->key_starts, b);
    return s;
}

/* What points to what is in it, which must not move any more. */
static void connect(sequence *s) {
    s->e.call = &s->call;
    s->e.gradients = &s->gradients;
    s->e.cut = cut_call(s->e.context, &s->call);
    s->groups = count_groups(&s->e.cut, s->call.Tk);
}

/* Where row t of query head h is among all. */
static size_t row_of(const sequence *s, size_t h, size_t t) { return s->query_rows + h * s->call.Tq + t; }

/* Rows are read where the caller has them if they are dense there, as a tile's must be. */
static bool is_in_place(const sequence *s, const attni_view *view, size_t width) {
    const ptrdiff_t step = (ptrdiff_t)width;
    const bool heads = s->e.cut.heads == 1 || view->stride_h == step * (ptrdiff_t)s->call.Tq;
    return view->dtype == ATTN_F32 && view->stride_t == step && heads && padded(&s->call, width) == width && !s->odd;
}

static bool q_is_in_place(const sequence *s) {
    return is_in_place(s, &s->call.q, s->call.D) && !attni_turns(&s->call.q_turn) && !attni_scales_query(&s->call);
}

static matrix q_rows(const sequence *s, size_t h, size_t t) {
    if (q_is_in_place(s))
        return (matrix){attni_at(&s->call.q, s->b, h, t), s->call.D};
    return (matrix){floats_at(s->w, s->w->at.q) + row_of(s, h, t) * s->w->ldq, s->w->ldq};
}

static matrix d_out_rows(const sequence *s, size_t h, size_t t) {
    const attni_view *view = &s->gradients.d_out;
    if (is_in_place(s, view, s->call.E))
        return (matrix){attni_at(view, s->b, h, t), s->call.E};
    return (matrix){floats_at(s->w, s->w->at.d_out) + row_of(s, h, t) * s->w->ldo, s->w->ldo};
}

/* -- before the walk: what is known of each row -- */

enum { CHUNK = 64 };

/* Tokens [t, end) of head h; room for rows of q, d_out and out. */
typedef struct chunk {
    const sequence *s;
    size_t h, t, end;
    float *room;
} chunk;

static float *lse_at(const sequence *s, size_t h, size_t t) { return floats_at(s->w, s->w->at.lse) + row_of(s, h, t); }

static float *delta_at(const sequence *s, size_t h, size_t t) {
    return floats_at(s->w, s->w->at.delta) + row_of(s, h, t);
}

static float number_at(const attni_view *view, size_t b, size_t h, size_t t) {
    return view->data ? *(const float *)attni_at(view, b, h, t) : 0;
}

static bool all_finite(const chunk *c, const attni_view *view, size_t width) {
    return c->s->e.kernels->all_finite(c->end - c->t, width, view->dtype, attni_at(view, c->s->b, c->h, c->t),
                                       view->stride_t);
}

/* A row in f32, where the caller has it or in x. */
static const float *read_row(const chunk *c, const attni_view *view, size_t t, size_t width, float *x) {
    const void *row = attni_at(view, c->s->b, c->h, t);
    if (view->dtype == ATTN_F32)
        return row;
    c->s->e.kernels->copy(1, width, view->dtype, row, 0, ATTN_F32, x, 0);
    return x;
}

static void turn_query(const chunk *c, size_t t, float *x) {
    const attni_sdpa *call = &c->s->call;
    if (attni_turns(&call->q_turn))
        attni_turn_rows(c->s->e.kernels, &call->q_turn, &call->q, c->s->b, c->h, t, 1, call->D,
                        attni_first_position(call, c->s->b), x);
    else
        memcpy(x, read_row(c, &call->q, t, call->D, x + call->D), call->D * sizeof *x);
    for (size_t d = 0; attni_scales_query(call) && d < call->D; d++)
        x[d] *= call->scale;
}

/* A row into a copy, as zeros where it is not finite, which is told. */
static bool keep_row(const attni_kernels *kernels, const float *x, size_t width, float *copy) {
    const bool finite = kernels->all_finite(1, width, ATTN_F32, x, 0);
    if (finite)
        memcpy(copy, x, width * sizeof *x);
    else
        memset(copy, 0, width * sizeof *x);
    return finite;
}

/* delta = Σ out · d_out − d_lse. A row that is not finite has an lse of NaN, which makes of all that it sees NaN. */
static void note_row(const chunk *c, size_t t, const float *d_out, bool finite) {
    const sequence *s = c->s;
    const float *out = read_row(c, &s->call.out, t, s->call.E, c->room);
    const double sum = s->e.kernels->dot(s->call.E, out, d_out);
    *delta_at(s, c->h, t) = (float)(sum - (double)number_at(&s->gradients.d_lse, s->b, c->h, t));
    *lse_at(s, c->h, t) = finite ? number_at(&s->call.lse, s->b, c->h, t) : NAN;
}

/* Where rows are copied, or one of them is not finite. */
static void look_at_rows(const chunk *c) {
    const sequence *s = c->s;
    const size_t D = s->call.D, E = s->call.E;
    float *x = c->room + E, *zeros = x + 2 * D; /* which nobody reads */
    for (size_t t = c->t; t < c->end; t++) {
        float *q = floats_at(s->w, s->w->at.q) + row_of(s, c->h, t) * s->w->ldq;
        float *d_out = floats_at(s->w, s->w->at.d_out) + row_of(s, c->h, t) * s->w->ldo;
        turn_query(c, t, x);
        const bool good = keep_row(s->e.kernels, x, D, q_is_in_place(s) ? zeros : q);
        const float *from = read_row(c, &s->gradients.d_out, t, E, x);
        const bool fine = keep_row(s->e.kernels, from, E, is_in_place(s, &s->gradients.d_out, E) ? zeros : d_out);
        note_row(c, t, from, good && fine);
        if (!good || !fine)
            atomic_store(&s->w->odd, true);
    }
}

/* Where they are read as they are. */
static bool is_easy(const chunk *c) {
    const sequence *s = c->s;
    return q_is_in_place(s) && is_in_place(s, &s->gradients.d_out, s->call.E) && all_finite(c, &s->call.q, s->call.D) &&
           all_finite(c, &s->gradients.d_out, s->call.E);
}

static size_t chunks_of(const backward *w) { return attni_ceil_div(w->e.call->Tq, CHUNK); }

static void look_at_chunk(void *arg, size_t unit, size_t worker) {
    backward *w = arg;
    const size_t chunks = chunks_of(w), H = w->e.call->H, t = unit % chunks * CHUNK;
    sequence s = sequence_at(w, unit / chunks / H);
    desk d;
    connect(&s);
    lay_desk(&w->room, w->e.call, w->scratch + w->at.desks + worker * w->at.desk, &d);
    const chunk c = {&s, unit / chunks % H, t, attni_min(t + CHUNK, s.call.Tq), d.room};
    if (t >= s.call.Tq)
        return;
    const bool easy = is_easy(&c);
    for (size_t i = t; i < c.end && easy; i++)
        note_row(&c, i, attni_at(&s.gradients.d_out, s.b, c.h, i), true);
    if (!easy)
        look_at_rows(&c);
}

/* -- outputs -- */

/* Rows [count, width] of gradients, to the caller. */
static void put(const attni_kernels *kernels, const attni_view *to, size_t b, size_t h, size_t t, size_t count,
                size_t width, bool accumulate, const float *x, float *room) {
    if (!to->data)
        return;
    if (!accumulate) {
        kernels->copy(count, width, ATTN_F32, x, (ptrdiff_t)width, to->dtype, attni_at(to, b, h, t), to->stride_t);
        return;
    }
    for (size_t r = 0; r < count; r++) {
        void *row = attni_at(to, b, h, t + r);
        kernels->copy(1, width, to->dtype, row, 0, ATTN_F32, room, 0);
        kernels->mix(width, room, 1.0F, x + r * width, 1.0F);
        kernels->copy(1, width, ATTN_F32, room, 0, to->dtype, row, 0);
    }
}

static void put_queries(const sequence *s, const attni_query_tile *t, const float *dq, float *room) {
    for (size_t h = 0; h < t->heads && !attni_turns(&s->call.q_turn); h++)
        put(s->e.kernels, &s->gradients.dq, s->b, t->head + h, t->token, t->tokens, s->call.D, s->gradients.accumulate,
            dq + h * t->tokens * s->call.D, room);
}

/* To the caller, or where they are kept until they are turned back. */
static void put_keys(const sequence *s, const attni_key_group *group, const attni_turn *turn, const attni_view *to,
                     size_t kept, size_t width, const float *x, float *room) {
    const size_t row = s->key_rows + group->g * s->call.Tk + group->begin;
    if (attni_turns(turn))
        memcpy(floats_at(s->w, kept) + row * width, x, group->count * width * sizeof *x);
    else
        put(s->e.kernels, to, s->b, group->g, group->begin, group->count, width, s->gradients.accumulate, x, room);
}

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

static void bring_rows(const sequence *s, const attni_turn *turn, const attni_view *view, const attni_key_group *group,
                       size_t width, float *x) {
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

static void pack_group(const sequence *s, desk *d) {
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
static attni_panels panels_in(const attni_engine *e, matrix of) {
    return panels_of(of.data, e->cut.tile.columns, of.ld, e->cut.tile.columns);
}

/* y [columns, width] += factor · xᵀ · of, x [rows, columns] being weights or gradients of scores. */
static void multiply_turned(const attni_engine *e, const attni_query_tile *t, size_t columns, float factor,
                            const float *x, matrix of, size_t width, const desk *d, float *y) {
    const size_t step = turned_step(&e->cut);
    const attni_panels b = panels_in(e, of);
    e->kernels->transpose(ATTN_F32, t->rows, columns, x, (ptrdiff_t)e->cut.tile.keys, attni_round_up(t->rows, 16),
                          d->turned, step);
    attni_multiply(e->context, columns, width, t->rows, factor, d->turned, step, &b, true, y, width);
}

static void drop_out(const attni_engine *e, const attni_query_tile *t, size_t key, size_t keys, const float *p,
                     float *kept) {
    for (size_t r = 0; r < t->rows; r++) {
        const size_t i = t->token + r % t->tokens, h = t->head + r / t->tokens, at = r * e->cut.tile.keys;
        const uint32_t place[3] = {(uint32_t)i, (uint32_t)h, (uint32_t)t->batch};
        e->kernels->dropout(&e->call->dropout, place, key, keys, p + at, kept + at);
    }
}

/* p = the weights, d->p, and what dropout leaves of them. */
static const float *weigh(const sequence *s, const attni_query_tile *t, const attni_sight *seen, const desk *d) {
    const attni_engine *e = &s->e;
    const size_t lds = e->cut.tile.keys;
    attni_score(e, t, &d->group, seen, ATTN_STAGE_PROBABILITIES, d->p);
    if (s->call.sigmoid)
        e->kernels->sigmoid_step(t->rows, seen->columns, d->p, lds, seen->range, t->state, NULL, 0);
    else
        e->kernels->probabilities(t->rows, seen->columns, d->p, lds, seen->range, lse_at(s, t->head, t->token));
    if (!s->call.dropout.threshold)
        return d->p;
    drop_out(e, t, d->group.begin + seen->begin, seen->columns, d->p, d->kept);
    return d->kept;
}

/* d->g = gradients of the scores. */
static void score_back(const sequence *s, const attni_query_tile *t, const attni_sight *seen, matrix d_out,
                       const float *kept, const desk *d) {
    const attni_engine *e = &s->e;
    const size_t W = e->cut.tile.width, E = s->call.E, lds = e->cut.tile.keys;
    const attni_panels v = panels_of(d->v + seen->begin * E, W, W, W * E);
    attni_weight_back_fn *back = s->call.sigmoid ? e->kernels->sigmoid_back : e->kernels->softmax_back;
    attni_multiply(e->context, t->rows, attni_round_up(seen->columns, 16), E, 1.0F, d_out.data, d_out.ld, &v, false,
                   d->g, lds);
    back(t->rows, seen->columns, d->p, kept, d->g, lds, delta_at(s, t->head, t->token));
    attni_score_back(e, t, &d->group, seen, d->g);
}

/* One tile meets one run of blocks. */
static void step(const sequence *s, const attni_query_tile *t, const attni_sight *seen, float *dq, const desk *d) {
    const attni_engine *e = &s->e;
    const size_t D = s->call.D, E = s->call.E, columns = e->cut.tile.columns;
    const matrix q = q_rows(s, t->head, t->token), d_out = d_out_rows(s, t->head, t->token);
    const float *kept = weigh(s, t, seen, d);
    if (s->gradients.dv.data)
        multiply_turned(e, t, seen->columns, 1.0F, kept, d_out, E, d, d->dv + seen->begin * E);
    score_back(s, t, seen, d_out, kept, d);
    if (s->gradients.dk.data)
        multiply_turned(e, t, seen->columns, e->factor, d->g, q, D, d, d->dk + seen->begin * D);
    const attni_panels k = panels_of(d->k + seen->begin * columns, columns, columns, columns * e->cut.tile.keys);
    if (s->gradients.dq.data)
        attni_multiply(e->context, t->rows, D, seen->columns, s->call.scale, d->g, e->cut.tile.keys, &k, true, dq, D);
}

/* Tile n of the head, which all groups before have passed. */
static void meet(const sequence *s, size_t n, const desk *d) {
    const attni_key_group *group = &d->group;
    attni_query_tile t = attni_tile_at(&s->e, s->b, group->g, n);
    float *dq = floats_at(s->w, s->w->at.dq) + row_of(s, t.head, t.token) * s->call.D;
    atomic_size_t *passed =
        (atomic_size_t *)(void *)(s->w->scratch + s->w->at.passed) + (s->b * s->call.G + group->g) * s->w->tiles + n;
    const matrix q = q_rows(s, t.head, t.token);
    const size_t group_number = group->begin / s->e.cut.tile.keys;
    attni_sight seen;
    t.q = attni_left_at(s->e.context, ATTNI_PLAIN, q.data, q.ld);
    t.range = d->range;
    t.state = d->state;
    attni_await(passed, group_number);
    if (group_number == 0)
        memset(dq, 0, t.rows * s->call.D * sizeof *dq);
    for (size_t from = 0; from < group->count && attni_next_run(&s->e, &t, group, from, &seen);
         from = seen.begin + seen.columns)
        step(s, &t, &seen, dq, d);
    atomic_store_explicit(passed, group_number + 1, memory_order_release);
    if (group_number + 1 == s->groups)
        put_queries(s, &t, dq, d->room);
}

/* Group n of key/value head g of sequence b. */
static void walk_group(backward *w, size_t n, size_t b, size_t g, desk *d) {
    sequence s = sequence_at(w, b);
    connect(&s);
    if (n >= s.groups)
        return;
    const size_t keys = s.e.cut.tile.keys, tiles = s.e.cut.head_cuts * s.e.cut.token_cuts;
    s.e.capped = d->capped;
    s.e.uncalled = d->uncalled;
    s.e.weights = d->p;
    attni_open_group(&d->group, b, g, n * keys, attni_min(keys, s.call.Tk - n * keys));
    pack_group(&s, d);
    for (size_t i = 0; i < tiles; i++)
        meet(&s, i, d);
    put_keys(&s, &d->group, &s.call.k_turn, &s.gradients.dk, w->at.dk, s.call.D, d->dk, d->room);
    put_keys(&s, &d->group, &s.call.v_turn, &s.gradients.dv, w->at.dv, s.call.E, d->dv, d->room);
}

/* A range of one number, or of all. */
static attni_range share(bool whole, size_t n, size_t all) {
    return whole ? (attni_range){0, all} : (attni_range){n, n + 1};
}

static size_t parts_of(bool whole, size_t all) { return whole ? 1 : all; }

static void walk(void *arg, size_t unit, size_t worker) {
    backward *w = arg;
    const attni_sdpa *call = w->e.call;
    const size_t batches = parts_of(w->whole_batch, call->B), heads = parts_of(w->whole_heads, call->G);
    const attni_range of_keys = share(w->whole_keys, unit / (batches * heads), w->groups);
    const attni_range of_batch = share(w->whole_batch, unit / heads % batches, call->B);
    const attni_range of_heads = share(w->whole_heads, unit % heads, call->G);
    desk d = {0};
    lay_desk(&w->room, call, w->scratch + w->at.desks + worker * w->at.desk, &d);
    for (size_t n = of_keys.begin; n < of_keys.end; n++)
        for (size_t b = of_batch.begin; b < of_batch.end; b++)
            for (size_t g = of_heads.begin; g < of_heads.end; g++)
                walk_group(w, n, b, g, &d);
}

/* -- after the walk -- */

/* Gradients that were kept because rows were turned. */
static void turn_token(const sequence *s, const attni_turn *turn, const attni_view *x, const attni_view *to,
                       float *kept, size_t heads, size_t T, size_t t, size_t width, ptrdiff_t first, float *room) {
    float *g = kept + t * width;
    if (!attni_turns(turn) || !to->data || t >= T)
        return;
    attni_turn_back(s->e.kernels, turn, x, s->b, heads, t, width, first, g, T * width, room);
    for (size_t h = 0; h < heads; h++)
        put(s->e.kernels, to, s->b, h, t, 1, width, s->gradients.accumulate, g + h * T * width, room);
}

static void turn_back(void *arg, size_t unit, size_t worker) {
    backward *w = arg;
    const size_t tokens = attni_max(w->e.call->Tq, w->e.call->Tk), t = unit % tokens;
    sequence s = sequence_at(w, unit / tokens);
    const attni_sdpa *call = &s.call;
    desk d;
    connect(&s);
    lay_desk(&w->room, w->e.call, w->scratch + w->at.desks + worker * w->at.desk, &d);
    turn_token(&s, &call->q_turn, &call->q, &s.gradients.dq, floats_at(w, w->at.dq) + s.query_rows * call->D, call->H,
               call->Tq, t, call->D, attni_first_position(call, s.b), d.room);
    turn_token(&s, &call->k_turn, &call->k, &s.gradients.dk, floats_at(w, w->at.dk) + s.key_rows * call->D, call->G,
               call->Tk, t, call->D, 0, d.room);
    turn_token(&s, &call->v_turn, &call->v, &s.gradients.dv, floats_at(w, w->at.dv) + s.key_rows * call->E, call->G,
               call->Tk, t, call->E, 0, d.room);
}

/* Tokens [from, to) of a sequence that are beyond its end. */
static void blank(const attni_view *view, size_t b, size_t heads, size_t from, size_t to, size_t width) {
    for (size_t h = 0; h < heads && view->data; h++)
        for (size_t t = from; t < to && width; t++)
            memset(attni_at(view, b, h, t), 0, width * attni_size_of(view->dtype));
}

static size_t tokens_of(const int64_t *starts, size_t b, size_t all) {
    return starts ? (size_t)(starts[b + 1] - starts[b]) : all;
}

static void blank_beyond(void *arg, size_t b, size_t worker) {
    backward *w = arg;
    const attni_sdpa *call = w->e.call;
    const sequence s = sequence_at(w, b);
    const size_t Tq = tokens_of(call->query_starts, b, call->Tq), Tk = tokens_of(call->key_starts, b, call->Tk);
    (void)worker;
    blank(&s.gradients.dq, b, call->H, s.call.Tq, Tq, call->D);
    blank(&s.gradients.dk, b, call->G, s.call.Tk, Tk, call->D);
    blank(&s.gradients.dv, b, call->G, s.call.Tk, Tk, call->E);
}

static void add_to(float *sum, bool accumulate, double x) { *sum = (float)(accumulate ? (double)*sum + x : x); }

/* A sink takes its share of each row's weights, and has no value. It is the lse of queries beyond a sequence's end. */
static void add_sinks(void *arg, size_t h, size_t worker) {
    backward *w = arg;
    const float sink = w->e.call->sinks[h];
    double sum = 0;
    (void)worker;
    for (size_t b = 0; b < w->e.call->B && sink != -INFINITY; b++) {
        const sequence s = sequence_at(w, b);
        for (size_t t = 0; t < s.call.Tq; t++)
            sum -= exp((double)sink - (double)*lse_at(&s, h, t)) * (double)*delta_at(&s, h, t);
        for (size_t t = s.call.Tq; t < tokens_of(w->e.call->query_starts, b, w->e.call->Tq); t++)
            sum += (double)number_at(&s.gradients.d_lse, b, h, t);
    }
    add_to(&w->gradients->d_sinks[h], w->gradients->accumulate, sum);
}

static void write_sums(const backward *w, const double *sums, size_t n, float *to) {
    for (size_t i = 0; to && i < n; i++)
        add_to(&to[i], w->gradients->accumulate, sums[i]);
}

/* -- the whole -- */

static bool is_broadcast(ptrdiff_t stride, size_t size) { return stride == 0 && size > 1; }

static backward backward_of(attn_context *context, const attni_sdpa *call, const attni_gradients *g, char *scratch) {
    backward w = {.gradients = g, .room = room_for(context, call), .scratch = scratch};
    const bool shared = g->d_slopes || g->d_table;
    w.e = (attni_engine){.context = context, .call = call, .kernels = context->kernels, .form = ATTNI_PLAIN};
    w.e.factor = attni_scales_query(call) ? 1 : call->scale;
    w.at = lay(context, call, g, &w.room);
    w.e.slopes = g->d_slopes ? (double *)(void *)(scratch + w.at.slopes) : NULL;
    w.e.table = g->d_table ? (double *)(void *)(scratch + w.at.table) : NULL;
    w.tiles = w.room.head_cuts * w.room.token_cuts;
    w.groups = count_groups(&w.room, call->Tk);
    w.ldq = padded(call, call->D);
    w.ldo = padded(call, call->E);
    w.whole_batch = shared || (g->d_bias.data && is_broadcast(g->d_bias.stride_b, call->B));
    w.whole_heads = g->d_bias.data && is_broadcast(g->d_bias.stride_h, call->H);
    w.whole_keys = shared;
    attni_read_program(&w.e);
    return w;
}

static void zero_sums(backward *w) {
    const attni_sdpa *call = w->e.call;
    atomic_size_t *passed = (atomic_size_t *)(void *)(w->scratch + w->at.passed);
    for (size_t n = 0; n < call->B * call->G * w->tiles; n++)
        atomic_init(&passed[n], 0);
    for (size_t h = 0; w->e.slopes && h < call->H; h++)
        w->e.slopes[h] = 0;
    for (size_t n = 0; w->e.table && n < call->H * call->relative.width; n++)
        w->e.table[n] = 0;
}

/* Rows of the bias that are different ones. */
static void zero_bias(void *arg, size_t unit, size_t worker) {
    backward *w = arg;
    const attni_view *bias = &w->gradients->d_bias;
    const size_t Tq = w->e.call->Tq, t = unit % Tq, h = unit / Tq % w->e.call->H, b = unit / Tq / w->e.call->H;
    (void)worker;
    if ((t && !bias->stride_t) || (h && !bias->stride_h) || (b && !bias->stride_b))
        return;
    memset(attni_at(bias, b, h, t), 0, w->e.call->bias.keys * sizeof(float));
}

static void begin(attn_context *context, backward *w) {
    const attni_sdpa *call = w->e.call;
    const double floats = (double)call->B * (double)call->H * (double)call->Tq * (double)(call->D + 2 * call->E);
    const size_t chunks = call->B * call->H * chunks_of(w);
    zero_sums(w);
    if (w->gradients->d_bias.data && !w->gradients->accumulate)
        attni_parallel(context, call->B * call->H * call->Tq, 0, zero_bias, w);
    attni_parallel(context, chunks, 8 * floats, look_at_chunk, w);
    if (atomic_load(&w->odd)) /* now with copies of all rows */
        attni_parallel(context, chunks, 8 * floats, look_at_chunk, w);
    if (attni_is_varied(call) && !w->gradients->accumulate)
        attni_parallel(context, call->B, 0, blank_beyond, w);
}

static void end(attn_context *context, backward *w) {
    const attni_sdpa *call = w->e.call;
    const size_t tokens = attni_max(call->Tq, call->Tk);
    const double floats = (double)call->B * (double)call->H * (double)tokens * (double)call->D;
    if (attni_turns(&call->q_turn) || attni_turns(&call->k_turn) || attni_turns(&call->v_turn))
        attni_parallel(context, call->B * tokens, 40 * floats, turn_back, w);
    if (w->gradients->d_sinks)
        attni_parallel(context, call->H, 0, add_sinks, w);
    write_sums(w, w->e.slopes, call->H, w->gradients->d_slopes);
    write_sums(w, w->e.table, call->H * call->relative.width, w->gradients->d_table);
}

void attni_backward_run(attn_context *context, const attni_sdpa *call, const attni_gradients *gradients,
                        void *scratch) {
    if (call->B == 0 || call->H == 0)
        return;
    backward w = backward_of(context, call, gradients, scratch);
    const double scores = (double)call->B * (double)call->H * (double)call->Tq * (double)call->Tk;
    const size_t units =
        parts_of(w.whole_keys, w.groups) * parts_of(w.whole_batch, call->B) * parts_of(w.whole_heads, call->G);
    begin(context, &w);
    attni_blas_parallel(context, units, 2 * scores * (double)(3 * call->D + 2 * call->E), walk, &w);
    end(context, &w);
}
