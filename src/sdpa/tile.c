/* SPDX-License-Identifier: BSD-3-Clause */
/* The tile loop: scores, online softmax, weighted sum, on dense blocks.
 * Source: Dao et al., "FlashAttention", 2022, algorithm 1. */
#include "context/sizes.h"
#include "sdpa/engine.h"

/* o += p · v for the keys of a run. */
static void weigh(const attni_engine *e, const attni_query_tile *t, const attni_sight *seen, const attni_left *p,
                  const attni_key_group *group, const attni_values *v) {
    const attni_panels from = attni_values_from(e, group, v, seen->begin);
    attni_multiply_left(e->context, t->rows, e->cut.o_width, seen->columns, 1.0F, p, 0, 0, &from, t->started, t->o,
                        e->cut.o_width);
}

/* Factors of the values' rows are as well factors of the weights' columns. */
static void scale_weights(const attni_engine *e, const attni_query_tile *t, const attni_sight *seen, const float *scale,
                          float *p) {
    static const attni_activation identity = {.kind = ATTN_IDENTITY};
    const ptrdiff_t ldp = (ptrdiff_t)e->cut.tile.keys;
    e->kernels->activate(&identity, t->rows, seen->columns, p, ldp, scale + seen->begin, 0, p, ldp);
}

/* Which scores are not masked, while they are still scores. */
static void note_alive(const attni_engine *e, const attni_query_tile *t, const attni_sight *seen, const float *s,
                       uint8_t *alive) {
    const size_t lds = e->cut.tile.keys;
    for (size_t r = 0; r < t->rows; r++) {
        const attni_range range = seen->range ? seen->range[r] : (attni_range){0, seen->columns};
        for (size_t j = 0; j < seen->columns; j++)
            alive[r * lds + j] = range.begin <= j && j < range.end && s[r * lds + j] != -INFINITY;
    }
}

/* Key j of the run, whose values in a panel are not finite, goes only into the rows of o that see it. */
static void weigh_visible(const attni_engine *e, const attni_query_tile *t, const attni_left *p, const uint8_t *alive,
                          size_t j, size_t columns, const float *v, float *o) {
    const size_t ldo = e->cut.o_width, lds = e->cut.tile.keys;
    for (size_t r = 0; r < t->rows; r++)
        if (alive[r * lds + j])
            e->kernels->mix(columns, o + r * ldo, 1.0F, v, attni_left_element(p, r, j));
}

/* p · v where v is not finite somewhere and something is masked: 0 · NaN must not leak from a masked value. What is
 * finite goes through the product, the rest only where it is seen. */
static void weigh_carefully(const attni_engine *e, const attni_query_tile *t, const attni_sight *seen,
                            const attni_left *p, const uint8_t *alive, const attni_key_group *group) {
    float v[ATTNI_WIDEST_PANEL];
    weigh(e, t, seen, p, group, &group->v_clean);
    for (size_t c = 0; c < e->cut.o_width; c += e->cut.tile.columns)
        for (size_t j = 0; j < seen->columns; j++) {
            const size_t columns = attni_read_values(e, group, c, seen->begin + j, v);
            if (!e->kernels->all_finite(1, columns, ATTN_F32, v, 0))
                weigh_visible(e, t, p, alive, j, columns, v, t->o + c);
        }
}

void attni_drop_out(const attni_engine *e, const attni_query_tile *t, size_t key, size_t keys, const float *p,
                    float *kept) {
    for (size_t r = 0; r < t->rows; r++) {
        const size_t i = t->token + r % t->tokens, h = t->head + r / t->tokens, at = r * e->cut.tile.keys;
        const uint32_t place[3] = {(uint32_t)i, (uint32_t)h, (uint32_t)t->batch};
        e->kernels->dropout(&e->call->dropout, place, key, keys, p + at, kept + at);
    }
}

/* One tile meets one run of blocks. */
static void step(const attni_engine *e, attni_query_tile *t, const attni_sight *seen, attni_desk *desk) {
    attni_key_group *group = &desk->group;
    float *s = desk->scores;
    attni_score(e, t, group, seen, ATTN_STAGE_PROBABILITIES, s);
    const bool careful = seen->partial && !attni_values_finite(e, group);
    if (careful)
        note_alive(e, t, seen, s, desk->alive);
    e->weight(t->rows, seen->columns, s, e->cut.tile.keys, seen->range, t->state, t->o, e->cut.o_width);
    if (e->call->dropout.threshold)
        attni_drop_out(e, t, group->begin + seen->begin, seen->columns, s, s);
    if (group->v_scale)
        scale_weights(e, t, seen, group->v_scale, s);
    const attni_left p =
        attni_left_made(e->context, e->weight_form, t->rows, seen->columns, s, e->cut.tile.keys, desk->parts);
    if (careful)
        weigh_carefully(e, t, seen, &p, desk->alive, group);
    else
        weigh(e, t, seen, &p, group, &group->v);
    t->started = true;
}

static void meet(const attni_engine *e, attni_query_tile *t, size_t tiles, attni_desk *desk) {
    attni_sight seen;
    for (size_t from = 0; from < desk->group.count && attni_next_run(e, t, &desk->group, from, &seen);
         from = seen.begin + seen.columns) {
        attni_pack_keys(e, tiles, &desk->group);
        step(e, t, &seen, desk);
    }
}

/* The keys that any of the tiles sees. */
static attni_range bounds_of(const attni_sdpa *call, const attni_query_tile *tiles, size_t count) {
    attni_range all = {SIZE_MAX, 0};
    for (size_t i = 0; i < count; i++) {
        const attni_range bounds = attni_bounds(call, &tiles[i]);
        all.begin = attni_min(all.begin, bounds.begin);
        all.end = attni_max(all.end, bounds.end);
    }
    return all;
}

/* While tile i computes on the last group, a part of what the next unit begins with is on its way. */
static void prefetch(const attni_engine *e, const attni_unit *next, size_t i, size_t count) {
    attni_prefetch_keys(e, next, i, count);
    if (i < next->count) {
        const attni_query_tile t = attni_tile_at(e, next->b, next->g, next->first + i);
        attni_prefetch_query(e, &t);
    }
}

/* The end of a segment: it goes into the total, and the next one begins from nothing. */
static void close_segment(const attni_engine *e, attni_query_tile *t) {
    e->kernels->merge(t->rows, e->cut.o_width, t->total, t->sum, t->o, t->state);
    attni_forget(t->state, t->rows);
    t->started = false;
}

void attni_walk(const attni_engine *e, const attni_unit *unit, const attni_unit *next, attni_desk *desk) {
    const attni_range all = bounds_of(e->call, desk->tiles, unit->count);
    const size_t end = attni_min(unit->end, all.end), keys = e->cut.tile.keys;
    for (size_t k = attni_max(unit->begin, all.begin / keys * keys); k < end; k += keys) {
        const bool last = k + keys >= end;
        attni_open_group(&desk->group, unit->b, unit->g, k, attni_min(keys, end - k));
        for (size_t i = 0; i < unit->count; i++) {
            if (next && last)
                prefetch(e, next, i, unit->count);
            meet(e, &desk->tiles[i], unit->count, desk);
            if (attni_merges(&e->cut) && (last || (k + keys) % ATTNI_SEGMENT == 0))
                close_segment(e, &desk->tiles[i]);
        }
    }
}
