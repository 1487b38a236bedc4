/* SPDX-License-Identifier: BSD-3-Clause */
/* Where the backward pass has what: its scratch, and the sequences of a call. */
#include "sdpa/backward.h"

/* Rows of a copy: whole lines, and few of them in the same sets of the L1. A callback is promised dense ones. */
size_t attni_back_padded(const attni_sdpa *call, size_t width) {
    enum { NARROW = 96, LINE = 16 };
    const size_t lines = attni_ceil_div(width, LINE);
    return width <= NARROW || call->score ? width : (lines | 1) * LINE;
}

size_t attni_back_turned_step(const attni_cut *cut) { return attni_round_up(cut->tile.rows, 16) + 16; }

static attni_cut cut_call(const attn_context *context, const attni_sdpa *call) {
    attni_cut cut = {.tile = attni_tile_for_backward(context, call->D, call->E), .least_keys = 1, .segments = 1};
    attni_cut_rows(call, &cut);
    cut.o_width = call->E;
    return cut;
}

size_t attni_back_count_groups(const attni_cut *cut, size_t Tk) {
    return attni_max(1, attni_ceil_div(Tk, cut->tile.keys));
}

static size_t all_tokens(const attni_sdpa *call, bool keys) {
    if (call->query_starts)
        return keys ? call->ragged_keys : call->ragged_tokens;
    return call->B * (keys ? call->Tk : call->Tq);
}

/* -- scratch -- */

static float *take_floats(char *base, size_t *used, size_t n) { return attni_piece(base, used, n * sizeof(float)); }

size_t attni_back_lay_desk(const attni_cut *cut, const attni_sdpa *call, char *base, attni_back_desk *d) {
    const attni_tile *t = &cut->tile;
    const size_t scores = t->rows * t->keys, W = attni_round_up(t->keys, t->width);
    const size_t rows_of_room = attni_max(attni_max(t->rows, t->keys), 2 * call->H);
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
    d->turned = take_floats(base, &used, t->keys * attni_back_turned_step(cut));
    d->room = take_floats(base, &used, rows_of_room * attni_max(call->D, call->E)); /* 128 or more */
    d->range = attni_piece(base, &used, t->rows * sizeof *d->range);
    d->state = attni_piece(base, &used, t->rows * sizeof *d->state);
    return used;
}

size_t attni_back_chunks(const attni_sdpa *call) {
    return call->B * attni_ceil_div(attni_max(call->Tq, call->Tk), ATTNI_BACK_CHUNK);
}

size_t attni_back_blocks(const attni_sdpa *call, const attni_back_sums *sums) {
    enum { MOST = 64 };
    const size_t chunks = attni_back_chunks(call);
    return sums->all ? attni_min(chunks, MOST) : chunks;
}

attni_back_sums attni_back_lay_sums(const attni_sdpa *call, const attni_gradients *g) {
    attni_back_sums sums = {
        .of = {[ATTNI_Q_WEIGHT] = {g->d_q_weight, attni_count_weights(&call->q_turn, call->H, call->D), 0},
               [ATTNI_K_WEIGHT] = {g->d_k_weight, attni_count_weights(&call->k_turn, call->G, call->D), 0},
               [ATTNI_V_WEIGHT] = {g->d_v_weight, attni_count_weights(&call->v_turn, call->G, call->E), 0},
               [ATTNI_HEAD_FACTORS] = {g->d_head_factors, call->H, 0},
               [ATTNI_EXTRA_KEY] = {g->d_extra_key, call->G * call->D, 0},
               [ATTNI_EXTRA_VALUE] = {g->d_extra_value, call->G * call->E, 0}}};
    for (size_t i = 0; i < ATTNI_BACK_SUMS; i++)
        sums.of[i].at = attni_take(&sums.all, sums.of[i].to ? sums.of[i].count : 0, 1);
    return sums;
}

attni_back_layout attni_back_lay(const attn_context *context, const attni_sdpa *call, const attni_gradients *g,
                                 const attni_cut *cut) {
    const size_t rows = all_tokens(call, false) * call->H, keys = all_tokens(call, true) * call->G;
    const size_t tiles = call->B * call->G * cut->head_cuts * cut->token_cuts;
    const attni_back_sums sums = attni_back_lay_sums(call, g);
    attni_back_layout at = {0};
    attni_back_desk d;
    at.q = attni_take(&at.all, rows * attni_back_padded(call, call->D) * sizeof(float), ATTNI_LINE);
    at.d_out = attni_take(&at.all, rows * attni_back_padded(call, call->E) * sizeof(float), ATTNI_LINE);
    at.lse = attni_take(&at.all, rows * sizeof(float), ATTNI_LINE);
    at.delta = attni_take(&at.all, rows * sizeof(float), ATTNI_LINE);
    at.dq = attni_take(&at.all, rows * call->D * sizeof(float), ATTNI_LINE);
    at.dk = attni_take(&at.all, attni_turns(&call->k_turn) ? keys * call->D * sizeof(float) : 0, ATTNI_LINE);
    at.dv = attni_take(&at.all, attni_turns(&call->v_turn) ? keys * call->E * sizeof(float) : 0, ATTNI_LINE);
    at.passed = attni_take(&at.all, tiles * sizeof(atomic_size_t), ATTNI_LINE);
    at.slopes = attni_take(&at.all, g->d_slopes ? call->H * sizeof(double) : 0, ATTNI_LINE);
    at.table = attni_take(&at.all, g->d_table ? call->H * call->relative.width * sizeof(double) : 0, ATTNI_LINE);
    at.blocks = attni_take(&at.all, attni_back_blocks(call, &sums) * sums.all * sizeof(double), ATTNI_LINE);
    at.desk = attni_back_lay_desk(cut, call, NULL, &d);
    at.desks = attni_take(&at.all, at.desk * context->threads, ATTNI_LINE);
    return at;
}

attni_back_desk attni_back_desk_of(const attni_backward *w, size_t worker) {
    attni_back_desk d = {0};
    attni_back_lay_desk(&w->room, w->e.call, w->scratch + w->at.desks + worker * w->at.desk, &d);
    return d;
}

/* As large as that of any sequence, of which the longest has the most tiles. */
attni_cut attni_back_room_for(const attn_context *context, const attni_sdpa *call) {
    attni_cut cut = cut_call(context, call);
    const attni_tile rule = attni_tile_for_backward(context, call->D, call->E);
    if (attni_is_varied(call))
        cut.tile.rows = attni_max(1, attni_min(rule.rows, call->Tq * (call->H / attni_max(1, call->G))));
    return cut;
}

size_t attni_backward_scratch(const attn_context *context, const attni_sdpa *call, const attni_gradients *gradients) {
    if (call->B == 0 || call->H == 0)
        return 0;
    const attni_cut cut = attni_back_room_for(context, call);
    return attni_back_lay(context, call, gradients, &cut).all;
}

/* -- sequences -- */

void attni_back_sequence_of(attni_backward *w, size_t b, attni_back_sequence *s) {
    const attni_sdpa *call = w->e.call;
    *s = (attni_back_sequence){.w = w, .e = w->e, .b = b, .gradients = *w->gradients, .odd = atomic_load(&w->odd)};
    s->call = attni_is_varied(call) ? attni_sequence_of(call, b) : *call;
    size_t q, k;
    attni_tokens_of(call->query_starts, NULL, b, call->Tq, &q);
    attni_tokens_of(call->key_starts, NULL, b, call->Tk, &k);
    s->query_rows = call->H * (call->query_starts ? q : b * call->Tq);
    s->key_rows = call->G * (call->key_starts ? k : b * call->Tk);
    attni_advance(&s->gradients.d_out, q);
    attni_advance(&s->gradients.d_lse, q);
    attni_advance(&s->gradients.dq, q);
    attni_advance(&s->gradients.dk, k);
    attni_advance(&s->gradients.dv, k);
    s->e.call = &s->call;
    s->e.gradients = &s->gradients;
    s->e.cut = cut_call(s->e.context, &s->call);
    s->groups = attni_back_count_groups(&s->e.cut, s->call.Tk);
}

/* Rows are read where the caller has them if they are dense there, as a tile's must be. */
bool attni_back_is_in_place(const attni_back_sequence *s, const attni_view *view, size_t width) {
    const ptrdiff_t step = (ptrdiff_t)width;
    const bool heads = s->e.cut.heads == 1 || view->stride_h == step * (ptrdiff_t)s->call.Tq;
    return view->dtype == ATTN_F32 && view->stride_t == step && heads && attni_back_padded(&s->call, width) == width &&
           !s->odd;
}

bool attni_back_q_is_in_place(const attni_back_sequence *s) {
    return attni_back_is_in_place(s, &s->call.q, s->call.D) && !attni_turns(&s->call.q_turn) &&
           !attni_scales_query(&s->call);
}

attni_back_matrix attni_back_q_rows(const attni_back_sequence *s, size_t h, size_t t) {
    if (attni_back_q_is_in_place(s))
        return (attni_back_matrix){attni_at(&s->call.q, s->b, h, t), s->call.D};
    return (attni_back_matrix){attni_back_floats(s->w, s->w->at.q) + attni_back_row(s, h, t) * s->w->ldq, s->w->ldq};
}

attni_back_matrix attni_back_d_out_rows(const attni_back_sequence *s, size_t h, size_t t) {
    const attni_view *view = &s->gradients.d_out;
    if (attni_back_is_in_place(s, view, s->call.E))
        return (attni_back_matrix){attni_at(view, s->b, h, t), s->call.E};
    return (attni_back_matrix){attni_back_floats(s->w, s->w->at.d_out) + attni_back_row(s, h, t) * s->w->ldo,
                               s->w->ldo};
}
