/* SPDX-License-Identifier: BSD-3-Clause */
/* How a call is cut, and how much scratch that takes. */
#include "context/sizes.h"
#include "sdpa/engine.h"

/* Enough super-blocks that the threads end at about the same time, few enough that tiles share what they read: four for
 * each thread where masks make them differ, else two or more, so that they come out even. What is kept as their size
 * does not depend on how evenly the tiles come out. */
static size_t shares_for(const attn_context *context, const attni_sdpa *call, size_t tiles) {
    const size_t heads = call->B * call->G, threads = context->threads;
    const size_t most = attni_min(tiles, attni_ceil_div(4 * threads, heads));
    const size_t least = attni_is_bounded(call) ? most : attni_min(tiles, attni_ceil_div(2 * threads, heads));
    return threads == 1 ? 1 : attni_even_shares(heads, least, most, threads);
}

static void share_out(const attn_context *context, const attni_sdpa *call, attni_cut *cut) {
    const size_t tiles = attni_max(1, cut->head_cuts * cut->token_cuts), shares = shares_for(context, call, tiles);
    cut->supers = attni_max(attni_ceil_div(tiles, cut->tile.tiles), shares);
    cut->tile.tiles = attni_min(cut->tile.tiles, attni_ceil_div(tiles, shares));
}

/* A decoding step has few rows and many keys: threads that would be idle share the keys of a head. */
static bool segments_apart(const attn_context *context, const attni_sdpa *call, const attni_cut *cut) {
    const bool one_tile = cut->head_cuts * cut->token_cuts == 1;
    return one_tile && cut->segments > 1 && call->B * call->G < 2 * context->threads && context->threads > 1;
}

/* An odd number of columns is summed in a way that depends on the rows. */
size_t attni_output_width(size_t E) { return attni_round_up(E, 4); }

static bool is_bf16(const attni_view *view, const attni_turn *turn) {
    return view->dtype == ATTN_BF16 && !attni_turns(turn);
}

/* Whether the door makes K or V of what is there. */
static bool packs(const attni_sdpa *call) {
    return !call->pages || call->pages->form->latent || call->pages->form->dtype == ATTN_INT4;
}

/* What K and V may be behind the door. Pages have them as they must be. */
static attn_dtype key_type(const attn_context *context, const attni_sdpa *call) {
    if (call->pages)
        return call->pages->form->dtype;
    const bool bf16 = is_bf16(&call->k, &call->k_turn) && is_bf16(&call->v, &call->v_turn);
    return bf16 || context->precision != ATTN_PRECISION_F32 ? ATTN_BF16 : ATTN_F32;
}

attni_form attni_query_form(const attn_context *context, const attni_sdpa *call) {
    const bool bf16 = is_bf16(&call->q, &call->q_turn) && !attni_scales_query(call);
    const attn_dtype keys = key_type(context, call);
    if (call->score || keys != ATTN_BF16)
        return ATTNI_PLAIN;
    return attni_form_for(context, bf16 ? ATTN_BF16 : ATTN_F32, keys);
}

attni_form attni_weight_form(const attn_context *context, attni_form of_query) {
    return of_query == ATTNI_PLAIN ? ATTNI_PLAIN : attni_form_for(context, ATTN_F32, ATTN_BF16);
}

/* Whether K and V are bf16 behind the door. */
static bool has_pairs(const attn_context *context, const attni_sdpa *call) {
    return attni_query_form(context, call) != ATTNI_PLAIN;
}

static attni_tile rule_for(const attn_context *context, const attni_sdpa *call, size_t longest) {
    if (has_pairs(context, call) && !call->pages)
        return attni_tile_for_pairs(context, call->D, call->E, longest, attni_is_bounded(call));
    attni_tile tile =
        attni_tile_for_attention(context, call->D, call->E, longest, attni_is_bounded(call), call->pages != NULL);
    if (call->pages) { /* whose sizes are powers of two, and divide a segment */
        tile.width = call->pages->form->width;
        tile.columns = call->pages->form->panel;
        tile.keys = attni_min(tile.keys, call->pages->form->tokens);
    }
    if (call->lists.keys && packs(call)) /* no other blocks */
        tile.keys = attni_max(tile.width, 64);
    return tile;
}

void attni_cut_rows(const attni_sdpa *call, attni_cut *cut) {
    const size_t heads = call->H / call->G, Tq = attni_max(1, call->Tq),
                 rows = attni_max(1, attni_min(cut->tile.rows, Tq * heads));
    cut->tokens = attni_min(rows, Tq);
    cut->heads = cut->tokens == Tq ? rows / Tq : 1;
    cut->tile.rows = cut->heads * cut->tokens;
    cut->head_cuts = attni_ceil_div(heads, cut->heads);
    cut->token_cuts = attni_ceil_div(call->Tq, cut->tokens);
}

attni_cut attni_cut_call(const attn_context *context, const attni_sdpa *call, size_t longest) {
    attni_cut cut = {.tile = rule_for(context, call, longest)};
    const attni_form form = attni_query_form(context, call);
    attni_cut_rows(call, &cut);
    cut.tile.keys = attni_min(cut.tile.keys, attni_round_up(attni_max(1, call->Tk), cut.tile.width));
    cut.q_floats = call->D + attni_split_floats(context, form, call->D);
    cut.part_floats = attni_split_floats(context, attni_weight_form(context, form), cut.tile.keys);
    share_out(context, call, &cut);
    cut.o_width = attni_output_width(call->E);
    cut.packs_pairs = form != ATTNI_PLAIN && !call->pages;
    cut.least_keys = form != ATTNI_PLAIN ? 1 : attni_least_depth(context, cut.o_width);
    cut.segments = attni_max(1, attni_ceil_div(call->Tk, ATTNI_SEGMENT));
    cut.apart = segments_apart(context, call, &cut);
    return cut;
}

attni_cut attni_cut_longest(const attn_context *context, const attni_sdpa *call) {
    const attni_tile rule = rule_for(context, call, call->Tk);
    attni_cut cut = attni_cut_call(context, call, call->Tk);
    cut.tile.rows = attni_max(1, attni_min(rule.rows, call->Tq * (call->H / call->G)));
    cut.tile.tiles = attni_min(rule.tiles, attni_max(1, cut.head_cuts * cut.token_cuts)); /* shorter ones share less */
    return cut;
}

static void lay_inspection(const attni_cut *cut, const attni_sdpa *call, char *base, size_t *used, attni_desk *desk) {
    const attni_tile *t = &cut->tile;
    const size_t slots = call->H * t->rows, sums = attni_max(2 * slots, call->H / call->G * t->keys);
    if (!attni_inspects(call))
        return;
    desk->weights = attni_piece(base, used, t->rows * t->keys * sizeof(float));
    desk->average = attni_piece(base, used, t->rows * t->keys * sizeof(float));
    desk->sums = attni_piece(base, used, sums * sizeof *desk->sums);
    desk->best = attni_piece(base, used, slots * call->inspection.top.k * sizeof *desk->best);
    desk->found = attni_piece(base, used, slots * sizeof *desk->found);
}

/* Of rows that are turned on their way in. */
static size_t turned_width(const attni_sdpa *call) {
    const size_t k = attni_turns(&call->k_turn) ? call->D : 0, v = attni_turns(&call->v_turn) ? call->E : 0;
    return attni_max(k, v);
}

size_t attni_desk_lay(const attni_cut *cut, const attni_sdpa *call, char *base, attni_desk *desk) {
    const attni_tile *t = &cut->tile;
    const size_t rows = t->tiles * t->rows, o = rows * cut->o_width * sizeof(float), states = rows * sizeof(attni_row);
    const size_t values = attni_round_up(t->keys, cut->least_keys) * attni_ceil_div(cut->o_width, t->columns) *
                          attni_min(t->columns, cut->o_width) * sizeof(float);
    const bool totals = cut->segments > 1;
    size_t used = 0;
    desk->tiles = attni_piece(base, &used, t->tiles * sizeof *desk->tiles);
    desk->group.k_room = attni_piece(base, &used, t->keys * call->D * sizeof(float));
    desk->group.turn_room = attni_piece(base, &used, t->width * turned_width(call) * sizeof(float));
    desk->group.f32_room =
        attni_piece(base, &used, cut->packs_pairs ? t->width * attni_max(call->D, t->columns) * sizeof(float) : 0);
    desk->group.v_copy = attni_piece(base, &used, values);
    desk->group.v_clean_room = attni_piece(base, &used, values);
    desk->q = attni_piece(base, &used, rows * cut->q_floats * sizeof(float));
    desk->o = attni_piece(base, &used, o);
    desk->scores = attni_piece(base, &used, t->rows * t->keys * sizeof(float));
    desk->parts = attni_piece(base, &used, t->rows * cut->part_floats * sizeof(float));
    desk->alive = attni_piece(base, &used, t->rows * t->keys);
    desk->state = attni_piece(base, &used, states);
    desk->total = attni_piece(base, &used, totals ? rows * cut->o_width * sizeof *desk->total : 0);
    desk->sum = attni_piece(base, &used, totals ? states : 0);
    desk->range = attni_piece(base, &used, t->rows * sizeof *desk->range);
    lay_inspection(cut, call, base, &used, desk);
    return used;
}

/* A part: o [rows, o_width] and state [rows]. */
static size_t part_bytes(const attni_cut *cut, char *base, float **o, attni_row **state) {
    size_t used = 0;
    *o = attni_piece(base, &used, cut->tile.rows * cut->o_width * sizeof **o);
    *state = attni_piece(base, &used, cut->tile.rows * sizeof **state);
    return used;
}

size_t attni_parts_bytes(const attni_cut *cut, const attni_sdpa *call) {
    float *o;
    attni_row *state;
    return cut->apart ? call->B * call->G * cut->segments * part_bytes(cut, NULL, &o, &state) : 0;
}

void attni_part_at(const attni_engine *e, size_t head, size_t segment, float **o, attni_row **state) {
    const size_t bytes = part_bytes(&e->room, NULL, o, state);
    part_bytes(&e->room, e->parts + (head * e->room.segments + segment) * bytes, o, state);
}
