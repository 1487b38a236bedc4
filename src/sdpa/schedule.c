/* SPDX-License-Identifier: BSD-3-Clause */
/* The units of work of a call, handed out to the workers. */
#include "context/sizes.h"
#include "sdpa/engine.h"

/* All heads at one place before the next place, so that a causal super-block is even. */
attni_query_tile attni_tile_at(const attni_engine *e, size_t b, size_t g, size_t n) {
    const attni_sdpa *call = e->call;
    const attni_cut *cut = &e->cut;
    const size_t group_heads = call->H / call->G;
    const size_t head = n % cut->head_cuts * cut->heads, token = n / cut->head_cuts * cut->tokens;
    attni_query_tile t = {.batch = b, .head = g * group_heads + head, .token = token};
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
    t->range = desk->range;
    if (e->cut.apart)
        attni_part_at(e, unit->b * e->call->G + unit->g, unit->segment, &t->o, &t->state);
    attni_forget(t->state, t->rows);
    if (attni_merges(&e->cut)) {
        t->total = desk->total + i * rows * e->cut.o_width;
        t->sum = desk->sum + i * rows;
        attni_forget(t->sum, t->rows);
    }
    attni_pack_query(e, t, desk->q + i * rows * e->cut.q_floats);
}

static size_t count_parts(const attni_cut *cut) { return cut->apart ? cut->segments : 1; }

static size_t count_units(const attni_engine *e) {
    const size_t B = e->call->B;
    return e->varied ? e->starts[B] : B * e->call->G * e->cut.supers * count_parts(&e->cut);
}

/* Unit n of so many heads. Units count down from the last super-block, which causal masks make the heaviest. */
static attni_unit unit_of(const attni_engine *e, size_t heads, size_t n) {
    const size_t tiles = e->cut.head_cuts * e->cut.token_cuts, parts = count_parts(&e->cut);
    const size_t super = e->cut.supers - 1 - n / (heads * parts), head = n / parts % heads;
    attni_unit unit = {.b = head / e->call->G, .g = head % e->call->G, .segment = n % parts, .end = e->call->Tk};
    unit.first = tiles * super / e->cut.supers;
    unit.count = tiles * (super + 1) / e->cut.supers - unit.first;
    unit.begin = unit.segment * ATTNI_SEGMENT;
    if (e->cut.apart)
        unit.end = attni_min(unit.end, unit.begin + ATTNI_SEGMENT);
    return unit;
}

/* The last of the sequences that begin at or before unit n: those without units are passed over. */
static size_t sequence_at(const attni_engine *e, size_t n) {
    size_t low = 0, high = e->call->B;
    while (high - low > 1) {
        const size_t middle = low + (high - low) / 2;
        if (e->starts[middle] <= n)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static void run_unit(const attni_engine *e, const attni_unit *unit, const attni_unit *next, attni_desk *desk) {
    for (size_t i = 0; i < unit->count; i++) {
        desk->tiles[i] = attni_tile_at(e, unit->b, unit->g, unit->first + i);
        open_tile(e, unit, desk, i, &desk->tiles[i]);
    }
    attni_walk(e, unit, next, desk);
    for (size_t i = 0; i < unit->count && !e->cut.apart; i++) {
        if (attni_merges(&e->cut))
            attni_settle(e, &desk->tiles[i]);
        attni_write_output(e, &desk->tiles[i]);
    }
}

static void super_block(void *arg, size_t n, size_t worker) {
    const attni_engine *e = arg;
    attni_desk desk;
    attni_desk_lay(&e->room, e->call, e->desks + worker * e->desk_bytes, &desk);
    if (e->varied) {
        attni_engine local;
        attni_sdpa one;
        const size_t b = sequence_at(e, n);
        attni_unit unit = unit_of(attni_engine_of(e, b, &local, &one), e->call->G, n - e->starts[b]);
        unit.b = b;
        run_unit(&local, &unit, NULL, &desk);
        return;
    }
    const size_t heads = e->call->B * e->call->G, following = n + e->context->threads;
    const attni_unit unit = unit_of(e, heads, n);
    const bool ahead = e->far && following < count_units(e);
    const attni_unit next = ahead ? unit_of(e, heads, following) : unit;
    run_unit(e, &unit, ahead ? &next : NULL, &desk);
}

/* One head's segments become one, in the order of the keys. */
static void merge_head(void *arg, size_t head, size_t worker) {
    attni_engine local;
    attni_sdpa one;
    const size_t b = head / ((attni_engine *)arg)->call->G, g = head % ((attni_engine *)arg)->call->G;
    const attni_engine *e = attni_engine_of(arg, b, &local, &one);
    attni_desk desk;
    if (e->call->Tq == 0)
        return;
    attni_query_tile t = attni_tile_at(e, b, g, 0);
    attni_desk_lay(&e->room, e->call, e->desks + worker * e->desk_bytes, &desk);
    attni_pack_query(e, &t, desk.q);
    t.total = desk.total;
    t.sum = desk.sum;
    attni_forget(t.sum, t.rows);
    for (size_t segment = 0; segment < e->cut.segments; segment++) {
        attni_part_at(e, head, segment, &t.o, &t.state);
        e->kernels->merge(t.rows, e->cut.o_width, t.total, t.sum, t.o, t.state);
    }
    attni_settle(e, &t);
    attni_write_output(e, &t);
}

/* Whether the inputs are too large to be in the L2 cache already, and not read as one stream anyway. */
static bool is_far(const attni_sdpa *call) {
    const double q = (double)call->H * (double)call->Tq * (double)call->D;
    const double kv = (double)call->G * (double)call->Tk * (double)(call->D + call->E);
    return !call->pages && (double)call->B * (q + kv) * sizeof(float) > 512 * 1024;
}

static void count_starts(attni_engine *e) {
    attni_engine local;
    attni_sdpa one;
    e->starts[0] = 0;
    for (size_t b = 0; b < e->call->B; b++) {
        const attni_cut *cut = &attni_engine_of(e, b, &local, &one)->cut;
        const size_t units = one.Tq ? e->call->G * cut->supers * count_parts(cut) : 0;
        e->starts[b + 1] = e->starts[b] + units;
    }
}

/* What a call keeps beside the desks, one after the other. Returns the size of all. */
typedef struct layout {
    size_t desk, desks, parts, states, tops, starts, reach, norms, all;
} layout;

static layout lay(const attn_context *context, const attni_sdpa *call, const attni_cut *cut) {
    const size_t rows = call->B * call->H * call->Tq;
    const bool ends = attni_alibi_ends(call);
    attni_desk desk = {0};
    layout at = {.desk = attni_desk_lay(cut, call, NULL, &desk)};
    at.desks = attni_take(&at.all, at.desk * context->threads, ATTNI_LINE);
    at.parts = attni_take(&at.all, attni_parts_bytes(cut, call), ATTNI_LINE);
    at.states = attni_take(&at.all, attni_inspects(call) ? rows * sizeof(attni_row) : 0, ATTNI_LINE);
    at.tops = attni_take(&at.all, call->inspection.largest ? rows * sizeof(float) : 0, ATTNI_LINE);
    at.starts = attni_take(&at.all, attni_is_varied(call) ? (call->B + 1) * sizeof(size_t) : 0, ATTNI_LINE);
    at.reach = attni_take(&at.all, ends ? call->B * call->H * sizeof(size_t) : 0, ATTNI_LINE);
    at.norms = attni_take(&at.all, ends ? call->B * call->G * sizeof(float) : 0, ATTNI_LINE);
    return at;
}

static attni_cut room_for(const attn_context *context, const attni_sdpa *call) {
    return attni_is_varied(call) ? attni_cut_longest(context, call) : attni_cut_call(context, call, call->Tk);
}

static bool has_rows(const attni_sdpa *call) { return call->B && call->H && call->Tq; }

bool attni_sdpa_writes(const attni_sdpa *call) {
    const attni_inspection *in = &call->inspection;
    const bool of_rows = call->E || call->lse.data || in->entropy || in->top.k;
    const bool weights = in->weights_wanted && call->B && (call->H || in->averaged) && call->Tq && call->Tk;
    return (of_rows && has_rows(call)) || weights || (in->key_mass && call->B && call->H && call->Tk) ||
           (in->largest && call->B && call->H);
}

size_t attni_sdpa_scratch(const attn_context *context, const attni_sdpa *call) {
    if (!has_rows(call) || !attni_sdpa_writes(call))
        return 0;
    const attni_cut cut = room_for(context, call);
    return lay(context, call, &cut).all;
}

static attni_engine engine_of(attn_context *context, const attni_sdpa *call, const attni_cut *room, const layout *at,
                              char *scratch) {
    attni_engine e = {.context = context,
                      .call = call,
                      .kernels = context->kernels,
                      .form = attni_query_form(context, call),
                      .room = *room,
                      .varied = attni_is_varied(call),
                      .far = is_far(call),
                      .desks = scratch + at->desks,
                      .desk_bytes = at->desk,
                      .parts = scratch + at->parts,
                      .starts = (size_t *)(void *)(scratch + at->starts),
                      .states_tokens = call->Tq};
    e.cut = e.varied ? attni_cut_call(context, call, call->Tk) : *room;
    e.weight_form = attni_weight_form(context, e.form);
    e.factor = attni_scales_query(call) ? 1 : call->scale;
    e.weight = call->sigmoid ? e.kernels->sigmoid_step : e.kernels->softmax_step;
    e.states = attni_inspects(call) ? (attni_row *)(void *)(scratch + at->states) : NULL;
    e.tops = (float *)(void *)(scratch + at->tops);
    attni_read_program(&e);
    return e;
}

static void run(attn_context *context, attni_engine *e) {
    const attni_sdpa *call = e->call;
    const double rows = (double)call->B * (double)call->H * (double)call->Tq;
    if (e->varied) {
        attni_blank_beyond(context, call);
        count_starts(e);
    }
    attni_blas_parallel(context, count_units(e), 2 * rows * (double)call->Tk * (double)(call->D + call->E), super_block,
                        e);
    if (e->room.apart)
        attni_parallel(context, call->B * call->G, 8 * rows * (double)(e->room.segments * call->E), merge_head, e);
    if (attni_inspects(call))
        attni_inspect(context, e);
}

/* The call with what ALiBi ends known. */
static attni_sdpa bound(attn_context *context, const attni_sdpa *call, const layout *at, char *scratch) {
    size_t *reach = (size_t *)(void *)(scratch + at->reach);
    attni_sdpa bounded = *call;
    attni_alibi_reach(context, call, reach, (float *)(void *)(scratch + at->norms));
    bounded.reach = reach;
    return bounded;
}

void attni_sdpa_run(attn_context *context, const attni_sdpa *call, void *scratch) {
    if (!attni_sdpa_writes(call))
        return;
    if (!has_rows(call)) {
        attni_blank_beyond(context, call);
        return;
    }
    const attni_cut room = room_for(context, call);
    const layout at = lay(context, call, &room);
    attni_sdpa bounded;
    if (attni_alibi_ends(call)) {
        bounded = bound(context, call, &at, scratch);
        call = &bounded;
    }
    attni_engine e = engine_of(context, call, &room, &at, scratch);
    run(context, &e);
}
