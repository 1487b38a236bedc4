/* SPDX-License-Identifier: BSD-3-Clause */
/* How a call is cut, and how much scratch that takes. */
#include "context/sizes.h"
#include "sdpa/engine.h"

/* Enough super-blocks that the threads end at about the same time, few enough that tiles share what they read. */
static size_t count_supers(const attn_context *context, const attni_sdpa *call, const attni_cut *cut) {
    const size_t tiles = cut->head_cuts * cut->token_cuts;
    const size_t wanted = context->threads == 1 ? 1 : 4 * context->threads;
    return attni_min(tiles,
                     attni_max(attni_ceil_div(tiles, cut->tile.tiles), attni_ceil_div(wanted, call->B * call->G)));
}

/* A decoding step has few rows and many keys: threads that would be idle share the keys of a head. */
static bool segments_apart(const attn_context *context, const attni_sdpa *call, const attni_cut *cut) {
    const bool one_tile = cut->head_cuts * cut->token_cuts == 1;
    return one_tile && cut->segments > 1 && call->B * call->G < 2 * context->threads && context->threads > 1 &&
           !call->wants_probabilities;
}

/* OpenBLAS's small kernels treat up to 8 columns left over from 16 in one way for up to 31 keys and in another for
 * more. */
static size_t least_keys(size_t o_width) {
    const size_t left = o_width % 16;
    return 1 <= left && left <= 8 ? 32 : 1;
}

/* An odd number of columns is summed in a way that depends on the rows. */
size_t attni_output_width(size_t E) { return attni_round_up(E, 4); }

attni_cut attni_cut_call(const attn_context *context, const attni_sdpa *call) {
    attni_cut cut = {.tile =
                         attni_tile_for_attention(context->blas, call->D, call->E, call->causal != ATTN_CAUSAL_NONE)};
    if (call->blocks) {
        cut.tile.width = call->blocks->width;
        cut.tile.columns = call->blocks->panel;
    }
    const size_t heads = call->H / call->G, rows = attni_min(cut.tile.rows, call->Tq * heads);
    cut.tokens = attni_min(rows, call->Tq);
    cut.heads = cut.tokens == call->Tq ? attni_max(1, rows / cut.tokens) : 1;
    cut.tile.rows = cut.heads * cut.tokens;
    cut.tile.keys = attni_min(cut.tile.keys, attni_round_up(call->Tk, cut.tile.width));
    cut.head_cuts = attni_ceil_div(heads, cut.heads);
    cut.token_cuts = attni_ceil_div(call->Tq, cut.tokens);
    cut.supers = count_supers(context, call, &cut);
    cut.tile.tiles = attni_ceil_div(cut.head_cuts * cut.token_cuts, cut.supers);
    cut.o_width = attni_output_width(call->E);
    cut.least_keys = least_keys(cut.o_width);
    cut.segments = attni_max(1, attni_ceil_div(call->Tk, ATTNI_SEGMENT));
    cut.apart = segments_apart(context, call, &cut);
    return cut;
}

/* Hands out the pieces of a desk one after the other. */
static float *take(float *base, size_t *used, size_t floats) {
    float *piece = base ? base + *used : NULL;
    *used += attni_round_up(floats, ATTNI_LINE / sizeof(float));
    return piece;
}

static size_t floats_of(size_t bytes) { return attni_ceil_div(bytes, sizeof(float)); }

size_t attni_desk_lay(const attni_cut *cut, const attni_sdpa *call, float *base, attni_desk *desk) {
    const attni_tile *t = &cut->tile;
    const size_t rows = t->tiles * t->rows, o = rows * cut->o_width, states = floats_of(rows * sizeof *desk->state);
    const size_t values = attni_max(t->keys, cut->least_keys) * attni_ceil_div(cut->o_width, t->columns) *
                          attni_min(t->columns, cut->o_width);
    const bool totals = cut->segments > 1 && !cut->apart;
    size_t used = 0;
    desk->tiles = (attni_query_tile *)(void *)take(base, &used, floats_of(t->tiles * sizeof *desk->tiles));
    desk->group.k_room = take(base, &used, t->keys * call->D);
    desk->group.v_copy = take(base, &used, values);
    desk->group.v_clean_room = take(base, &used, values);
    desk->q = take(base, &used, rows * call->D);
    desk->o = take(base, &used, o);
    desk->total_o = totals ? take(base, &used, o) : desk->o;
    desk->scores = take(base, &used, t->rows * t->keys);
    desk->state = (attni_row *)(void *)take(base, &used, states);
    desk->total_state = totals ? (attni_row *)(void *)take(base, &used, states) : desk->state;
    desk->range = (attni_range *)(void *)take(base, &used, floats_of(t->rows * sizeof *desk->range));
    return used;
}

/* A part: o [rows, o_width] and state [rows]. */
static size_t part_floats(const attni_cut *cut, float *base, float **o, attni_row **state) {
    size_t used = 0;
    *o = take(base, &used, cut->tile.rows * cut->o_width);
    *state = (attni_row *)(void *)take(base, &used, floats_of(cut->tile.rows * sizeof **state));
    return used;
}

size_t attni_parts_floats(const attni_cut *cut, const attni_sdpa *call) {
    float *o;
    attni_row *state;
    return cut->apart ? call->B * call->G * cut->segments * part_floats(cut, NULL, &o, &state) : 0;
}

void attni_part_at(const attni_engine *e, size_t head, size_t segment, float **o, attni_row **state) {
    const size_t floats = part_floats(&e->cut, NULL, o, state);
    part_floats(&e->cut, e->parts + (head * e->cut.segments + segment) * floats, o, state);
}

size_t attni_sdpa_scratch(const attn_context *context, const attni_sdpa *call) {
    attni_desk desk;
    if (call->B == 0 || call->H == 0 || call->Tq == 0)
        return 0;
    const attni_cut cut = attni_cut_call(context, call);
    const size_t desks = attni_desk_lay(&cut, call, NULL, &desk) * context->threads;
    return (desks + attni_parts_floats(&cut, call)) * sizeof(float);
}
