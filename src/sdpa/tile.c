/* SPDX-License-Identifier: BSD-3-Clause */
/* The tile loop: scores, online softmax, weighted sum, on dense blocks.
 * Source: Dao et al., "FlashAttention", 2022, algorithm 1; scores are in base 2, log2 e being folded into the scale. */
#include "context/sizes.h"
#include "sdpa/engine.h"

#define LOG2_E 1.44269504088896340736

/* What of a group a tile sees: `columns` to compute, and per-row bounds in tile->range where the rows differ. */
typedef struct sight {
    size_t columns;
    const attni_range *range; /* NULL: every row sees all columns */
} sight;

/* The part of [0, columns) that is visible, seen from the first key of the group. */
static attni_range within(attni_range visible, size_t begin, size_t columns) {
    const size_t from = visible.begin > begin ? attni_min(visible.begin - begin, columns) : 0;
    const size_t to = visible.end > begin ? attni_min(visible.end - begin, columns) : 0;
    return (attni_range){attni_min(from, to), to};
}

/* Bounds move one way from token to token, so that the first and the last tell whether the rows differ. */
static sight look(const attni_engine *e, const attni_query_tile *t, const attni_key_group *group) {
    const attni_sdpa *call = e->call;
    const attni_range last = attni_visible(call, t->batch, t->token + t->tokens - 1);
    const size_t end = within(last, group->begin, group->count).end;
    const size_t columns = end ? attni_max(end, e->cut.least_keys) : 0;
    const attni_range first = within(attni_visible(call, t->batch, t->token), group->begin, columns);
    if (columns == 0 || (first.begin == 0 && first.end == columns))
        return (sight){columns, NULL};
    for (size_t i = 0; i < t->tokens; i++)
        for (size_t h = 0; h < t->heads; h++)
            t->range[h * t->tokens + i] = within(attni_visible(call, t->batch, t->token + i), group->begin, columns);
    return (sight){columns, t->range};
}

static void score(const attni_engine *e, const attni_query_tile *t, const attni_key_group *group, size_t columns,
                  float *s) {
    const size_t W = e->cut.tile.width, D = e->call->D, lds = e->cut.tile.keys;
    const float alpha = (float)((double)e->call->scale * LOG2_E);
    for (size_t j = 0; j < columns; j += W) {
        const size_t n = attni_min(W, attni_round_up(columns - j, 16));
        attni_sgemm(e->blas, t->rows, n, D, alpha, t->q, D ? D : 1, group->k + j * D, W, 0.0F, s + j, lds);
    }
}

static void weigh(const attni_engine *e, const attni_query_tile *t, size_t keys, const float *p,
                  const attni_values *v) {
    const size_t width = e->cut.o_width, step = e->cut.tile.columns;
    for (size_t c = 0; c < width; c += step)
        attni_sgemm(e->blas, t->rows, attni_min(step, width - c), keys, 1.0F, p, e->cut.tile.keys,
                    attni_panel_of(e, v, c), v->ld, t->started ? 1.0F : 0.0F, t->o + c, width);
}

/* Row j of a panel, which is not finite, goes only into the rows of o that see key j. */
static void weigh_visible(const attni_engine *e, const attni_query_tile *t, const float *p, const attni_range *range,
                          size_t j, size_t columns, const float *v, float *o) {
    const size_t ldo = e->cut.o_width, lds = e->cut.tile.keys;
    for (size_t r = 0; r < t->rows; r++)
        if (range[r].begin <= j && j < range[r].end)
            attni_sgemm(e->blas, 1, columns, 1, 1.0F, p + r * lds + j, 1, v, columns, 1.0F, o + r * ldo, ldo);
}

/* p · v where v is not finite somewhere and rows differ in what they see: 0 · NaN must not leak from a masked value.
 * What is finite goes through the product, the rest only where it is seen. */
static void weigh_carefully(const attni_engine *e, const attni_query_tile *t, size_t keys, const float *p,
                            const attni_range *range, const attni_key_group *group) {
    const size_t width = e->cut.o_width, step = e->cut.tile.columns;
    weigh(e, t, keys, p, &group->v_clean);
    for (size_t c = 0; c < width; c += step)
        for (size_t j = 0; j < keys; j++) {
            const float *v = attni_panel_of(e, &group->v, c) + j * group->v.ld;
            if (!e->kernels->all_finite(1, attni_min(step, width - c), v, 0))
                weigh_visible(e, t, p, range, j, attni_min(step, width - c), v, t->o + c);
        }
}

/* One tile meets one group. */
static void step(const attni_engine *e, attni_query_tile *t, attni_key_group *group, float *s) {
    const sight seen = look(e, t, group);
    if (seen.columns == 0)
        return;
    score(e, t, group, seen.columns, s);
    e->kernels->softmax_step(t->rows, seen.columns, s, e->cut.tile.keys, seen.range, t->state, t->o, e->cut.o_width);
    if (seen.range && !attni_values_finite(e, group))
        weigh_carefully(e, t, seen.columns, s, seen.range, group);
    else
        weigh(e, t, seen.columns, s, &group->v);
    t->started = true;
}

/* The end of the keys that any of the tiles sees. */
static size_t end_of_keys(const attni_sdpa *call, const attni_query_tile *tiles, size_t count) {
    size_t end = 0;
    for (size_t i = 0; i < count; i++) {
        const attni_range last = attni_visible(call, tiles[i].batch, tiles[i].token + tiles[i].tokens - 1);
        end = attni_max(end, last.end);
    }
    return end;
}

/* While tile i computes on the last group, a part of what the next unit begins with is on its way. */
static void prefetch(const attni_engine *e, const attni_unit *next, size_t i, size_t count) {
    attni_prefetch_keys(e, next, i, count);
    if (i < next->count) {
        const attni_query_tile t = attni_tile_at(e, next, next->first + i);
        attni_prefetch_query(e, &t);
    }
}

void attni_walk_probabilities(const attni_engine *e, const attni_unit *unit, attni_desk *desk) {
    for (size_t k = 0; k < e->call->Tk; k += e->cut.tile.keys) {
        attni_pack_keys(e, unit, k, attni_min(e->cut.tile.keys, e->call->Tk - k), &desk->group);
        for (size_t i = 0; i < unit->count; i++) {
            const sight seen = look(e, &desk->tiles[i], &desk->group);
            score(e, &desk->tiles[i], &desk->group, seen.columns, desk->scores);
            attni_write_probabilities(e, &desk->tiles[i], &desk->group, desk->scores, seen.columns, seen.range);
        }
    }
}

/* The end of a segment: it goes into the total, and the next one begins from nothing. */
static void close_segment(const attni_engine *e, attni_query_tile *t) {
    e->kernels->merge(t->rows, e->cut.o_width, t->total_o, t->total_state, t->o, t->state);
    attni_forget(t->state, t->rows);
    t->started = false;
}

void attni_walk(const attni_engine *e, const attni_unit *unit, const attni_unit *next, attni_desk *desk) {
    const size_t end = attni_min(unit->end, end_of_keys(e->call, desk->tiles, unit->count)), keys = e->cut.tile.keys;
    for (size_t k = unit->begin; k < end; k += keys) {
        const bool last = k + keys >= end;
        attni_pack_keys(e, unit, k, attni_min(keys, end - k), &desk->group);
        for (size_t i = 0; i < unit->count; i++) {
            if (next && last)
                prefetch(e, next, i, unit->count);
            step(e, &desk->tiles[i], &desk->group, desk->scores);
            if (desk->total_o != desk->o && (last || (k + keys) % ATTNI_SEGMENT == 0))
                close_segment(e, &desk->tiles[i]);
        }
    }
}
