/* SPDX-License-Identifier: BSD-3-Clause */
/* Cutting a call into units of work and handing them out. */
#include <math.h>

#include "sdpa/engine.h"

static size_t min(size_t a, size_t b) { return a < b ? a : b; }
static size_t max(size_t a, size_t b) { return a > b ? a : b; }
static size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }

/* Enough super-blocks that the threads end at about the same time, few enough that tiles share what they read. */
static size_t count_supers(const attn_context *context, const attni_sdpa *call, const attni_cut *cut) {
    const size_t tiles = cut->head_cuts * cut->token_cuts;
    const size_t wanted = context->threads == 1 ? 1 : 4 * context->threads;
    return min(tiles, max(ceil_div(tiles, cut->tile.tiles), ceil_div(wanted, call->B * call->G)));
}

attni_cut attni_cut_call(const attn_context *context, const attni_sdpa *call) {
    attni_cut cut = {.tile = attni_tile_for_attention(context->blas, call->D, call->E)};
    const size_t heads = call->H / call->G, rows = min(cut.tile.rows, call->Tq * heads);
    cut.tokens = min(rows, call->Tq);
    cut.heads = cut.tokens == call->Tq ? max(1, rows / cut.tokens) : 1;
    cut.tile.rows = cut.heads * cut.tokens;
    cut.tile.keys = min(cut.tile.keys, ceil_div(call->Tk, cut.tile.width) * cut.tile.width);
    cut.head_cuts = ceil_div(heads, cut.heads);
    cut.token_cuts = ceil_div(call->Tq, cut.tokens);
    cut.supers = count_supers(context, call, &cut);
    cut.tile.tiles = ceil_div(cut.head_cuts * cut.token_cuts, cut.supers);
    return cut;
}

/* Hands out the pieces of a desk one after the other. */
static float *take(float *base, size_t *used, size_t floats) {
    float *piece = base ? base + *used : NULL;
    *used += ceil_div(floats, ATTNI_LINE / sizeof(float)) * (ATTNI_LINE / sizeof(float));
    return piece;
}

static size_t floats_of(size_t bytes) { return ceil_div(bytes, sizeof(float)); }

size_t attni_desk_lay(const attni_cut *cut, const attni_sdpa *call, float *base, attni_desk *desk) {
    const attni_tile *t = &cut->tile;
    const size_t rows = t->tiles * t->rows, D = call->D, E = call->E;
    size_t used = 0;
    desk->tiles = (attni_query_tile *)(void *)take(base, &used, floats_of(t->tiles * sizeof *desk->tiles));
    desk->group.k = take(base, &used, t->keys * D);
    desk->group.v_copy = take(base, &used, t->keys * E);
    desk->group.v_clean_room = take(base, &used, t->keys * E);
    desk->q = take(base, &used, rows * D);
    desk->o = take(base, &used, rows * E);
    desk->scores = take(base, &used, t->rows * t->keys);
    desk->state = (attni_row *)(void *)take(base, &used, floats_of(rows * sizeof *desk->state));
    desk->range = (attni_range *)(void *)take(base, &used, floats_of(t->rows * sizeof *desk->range));
    return used;
}

size_t attni_sdpa_scratch(const attn_context *context, const attni_sdpa *call) {
    attni_desk desk;
    if (call->B == 0 || call->H == 0 || call->Tq == 0)
        return 0;
    const attni_cut cut = attni_cut_call(context, call);
    return attni_desk_lay(&cut, call, NULL, &desk) * sizeof(float) * context->threads;
}

/* All heads at one place before the next place, so that a causal super-block is even. */
attni_query_tile attni_tile_at(const attni_engine *e, const attni_unit *unit, size_t n) {
    const attni_sdpa *call = e->call;
    const attni_cut *cut = &e->cut;
    const size_t group_heads = call->H / call->G;
    const size_t head = n % cut->head_cuts * cut->heads, token = n / cut->head_cuts * cut->tokens;
    attni_query_tile t = {.batch = unit->b, .head = unit->g * group_heads + head, .token = token};
    t.heads = min(cut->heads, group_heads - head);
    t.tokens = min(cut->tokens, call->Tq - token);
    t.rows = t.heads * t.tokens;
    return t;
}

static void open_tile(const attni_engine *e, const attni_desk *desk, size_t i, attni_query_tile *t) {
    const size_t rows = e->cut.tile.rows;
    t->o = desk->o + i * rows * e->call->E;
    t->state = desk->state + i * rows;
    t->range = desk->range;
    for (size_t r = 0; r < t->rows; r++)
        t->state[r] = (attni_row){0, -INFINITY};
    attni_pack_query(e, t, desk->q + i * rows * e->call->D);
}

static size_t count_units(const attni_engine *e) { return e->call->B * e->call->G * e->cut.supers; }

/* Units count down from the last super-block, which causal masks make the heaviest. */
static attni_unit unit_at(const attni_engine *e, size_t n) {
    const size_t heads = e->call->B * e->call->G, tiles = e->cut.head_cuts * e->cut.token_cuts;
    const size_t super = e->cut.supers - 1 - n / heads;
    attni_unit unit = {.b = n % heads / e->call->G, .g = n % e->call->G};
    unit.first = tiles * super / e->cut.supers;
    unit.count = tiles * (super + 1) / e->cut.supers - unit.first;
    return unit;
}

static void super_block(void *arg, size_t n, size_t worker) {
    const attni_engine *e = arg;
    const attni_unit unit = unit_at(e, n);
    attni_desk desk;
    attni_desk_lay(&e->cut, e->call, e->scratch + worker * e->desk_floats, &desk);
    for (size_t i = 0; i < unit.count; i++) {
        desk.tiles[i] = attni_tile_at(e, &unit, unit.first + i);
        open_tile(e, &desk, i, &desk.tiles[i]);
    }
    if (n + e->workers < count_units(e)) {
        const attni_unit next = unit_at(e, n + e->workers);
        attni_walk(e, &unit, &next, &desk);
    } else {
        attni_walk(e, &unit, NULL, &desk);
    }
}

void attni_sdpa_run(attn_context *context, const attni_sdpa *call, float *scratch) {
    attni_desk desk;
    if (call->B == 0 || call->H == 0 || call->Tq == 0)
        return;
    attni_engine e = {call, context->blas, context->kernels, attni_cut_call(context, call), context->threads, scratch,
                      0};
    e.desk_floats = attni_desk_lay(&e.cut, call, NULL, &desk);
    const double rows = (double)call->B * (double)call->H * (double)call->Tq;
    attni_blas_parallel(context, count_units(&e), 2 * rows * (double)call->Tk * (double)(call->D + call->E),
                        super_block, &e);
}
