/* SPDX-License-Identifier: BSD-3-Clause */
/* The units of work of a call, handed out to the workers. */
#include "context/sizes.h"
#include "sdpa/engine.h"

/* All heads at one place before the next place, so that a causal super-block is even. */
attni_query_tile attni_tile_at(const attni_engine *e, const attni_unit *unit, size_t n) {
    const attni_sdpa *call = e->call;
    const attni_cut *cut = &e->cut;
    const size_t group_heads = call->H / call->G;
    const size_t head = n % cut->head_cuts * cut->heads, token = n / cut->head_cuts * cut->tokens;
    attni_query_tile t = {.batch = unit->b, .head = unit->g * group_heads + head, .token = token};
    t.heads = attni_min(cut->heads, group_heads - head);
    t.tokens = attni_min(cut->tokens, call->Tq - token);
    t.rows = t.heads * t.tokens;
    return t;
}

/* Results grow on the desk, or where they stay until they are merged. */
static void open_tile(const attni_engine *e, const attni_unit *unit, const attni_desk *desk, size_t i,
                      attni_query_tile *t) {
    const size_t rows = e->cut.tile.rows;
    t->o = desk->o + i * rows * e->cut.o_width;
    t->state = desk->state + i * rows;
    t->total_o = desk->total_o + i * rows * e->cut.o_width;
    t->total_state = desk->total_state + i * rows;
    t->range = desk->range;
    if (e->cut.apart) {
        attni_part_at(e, unit->b * e->call->G + unit->g, unit->segment, &t->o, &t->state);
        t->total_o = t->o;
        t->total_state = t->state;
    }
    attni_forget(t->state, t->rows);
    attni_forget(t->total_state, t->rows);
    attni_pack_query(e, t, desk->q + i * rows * e->call->D);
}

static size_t count_heads(const attni_engine *e) { return e->call->B * e->call->G; }
static size_t count_parts(const attni_engine *e) { return e->cut.apart ? e->cut.segments : 1; }
static size_t count_units(const attni_engine *e) { return count_heads(e) * e->cut.supers * count_parts(e); }

/* Units count down from the last super-block, which causal masks make the heaviest. */
static attni_unit unit_at(const attni_engine *e, size_t n) {
    const size_t heads = count_heads(e), tiles = e->cut.head_cuts * e->cut.token_cuts, parts = count_parts(e);
    const size_t super = e->cut.supers - 1 - n / (heads * parts), head = n / parts % heads;
    attni_unit unit = {.b = head / e->call->G, .g = head % e->call->G, .segment = n % parts, .end = e->call->Tk};
    unit.first = tiles * super / e->cut.supers;
    unit.count = tiles * (super + 1) / e->cut.supers - unit.first;
    unit.begin = unit.segment * ATTNI_SEGMENT;
    if (e->cut.apart)
        unit.end = attni_min(unit.end, unit.begin + ATTNI_SEGMENT);
    return unit;
}

static void finish(const attni_engine *e, const attni_unit *unit, attni_desk *desk) {
    for (size_t i = 0; i < unit->count; i++)
        attni_write_output(e, &desk->tiles[i]);
    if (e->call->wants_probabilities)
        attni_walk_probabilities(e, unit, desk);
}

static void super_block(void *arg, size_t n, size_t worker) {
    const attni_engine *e = arg;
    const attni_unit unit = unit_at(e, n);
    attni_desk desk;
    attni_desk_lay(&e->cut, e->call, e->scratch + worker * e->desk_floats, &desk);
    for (size_t i = 0; i < unit.count; i++) {
        desk.tiles[i] = attni_tile_at(e, &unit, unit.first + i);
        open_tile(e, &unit, &desk, i, &desk.tiles[i]);
    }
    if (e->far && n + e->workers < count_units(e)) {
        const attni_unit next = unit_at(e, n + e->workers);
        attni_walk(e, &unit, &next, &desk);
    } else {
        attni_walk(e, &unit, NULL, &desk);
    }
    if (!e->cut.apart)
        finish(e, &unit, &desk);
}

/* One head's segments become one, in the order of the keys. */
static void merge_head(void *arg, size_t head, size_t worker) {
    const attni_engine *e = arg;
    const attni_unit unit = {.b = head / e->call->G, .g = head % e->call->G};
    attni_query_tile t = attni_tile_at(e, &unit, 0);
    (void)worker;
    attni_part_at(e, head, 0, &t.total_o, &t.total_state);
    for (size_t segment = 1; segment < e->cut.segments; segment++) {
        attni_part_at(e, head, segment, &t.o, &t.state);
        e->kernels->merge(t.rows, e->cut.o_width, t.total_o, t.total_state, t.o, t.state);
    }
    attni_write_output(e, &t);
}

/* Whether the inputs are too large to be in the L2 cache already, and not read as one stream anyway. */
static bool is_far(const attni_sdpa *call) {
    const double q = (double)call->H * (double)call->Tq * (double)call->D;
    const double kv = (double)call->G * (double)call->Tk * (double)(call->D + call->E);
    return !call->blocks && (double)call->B * (q + kv) * sizeof(float) > 512 * 1024;
}

void attni_sdpa_run(attn_context *context, const attni_sdpa *call, float *scratch) {
    attni_desk desk;
    if (call->B == 0 || call->H == 0 || call->Tq == 0)
        return;
    attni_engine e = {.call = call,
                      .blas = context->blas,
                      .kernels = context->kernels,
                      .workers = context->threads,
                      .cut = attni_cut_call(context, call),
                      .far = is_far(call),
                      .scratch = scratch};
    e.desk_floats = attni_desk_lay(&e.cut, call, NULL, &desk);
    e.parts = scratch + e.desk_floats * context->threads;
    const double rows = (double)call->B * (double)call->H * (double)call->Tq;
    attni_blas_parallel(context, count_units(&e), 2 * rows * (double)call->Tk * (double)(call->D + call->E),
                        super_block, &e);
    if (e.cut.apart)
        attni_parallel(context, count_heads(&e), 8 * rows * (double)(e.cut.segments * call->E), merge_head, &e);
}
