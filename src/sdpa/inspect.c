/* SPDX-License-Identifier: BSD-3-Clause */
/* Looks at the scores and probabilities themselves, once each row's maximum and sum are known. Two walks: over the keys
 * of some query tokens of all heads (weights, entropy, the most probable keys), and over the queries of some keys
 * (mass). Everything is added up in one order. */
#include <string.h>

#include "context/sizes.h"
#include "sdpa/engine.h"

static bool wants_rows(const attni_inspection *in) {
    return in->weights_wanted || in->entropy || in->top.k || in->largest;
}

bool attni_inspects(const attni_sdpa *call) { return wants_rows(&call->inspection) || call->inspection.key_mass; }

static const attni_row *state_of(const attni_engine *e, const attni_query_tile *t, size_t h) {
    return e->states + (t->batch * e->call->H + t->head + h) * e->states_tokens + t->token;
}

/* Tile n of a key/value head, ready to be scored. */
static attni_query_tile open_tile(const attni_engine *e, size_t b, size_t g, size_t n, attni_desk *desk) {
    attni_query_tile t = attni_tile_at(e, b, g, n);
    t.range = desk->range;
    attni_pack_query(e, &t, desk->q);
    return t;
}

/* In a row with a NaN the probabilities are NaN, but for those of masked keys. The state may be of scores that were
 * summed otherwise: where they are huge, exp(s − max) is then beyond 1. */
static void mend_weights(const attni_query_tile *t, const attni_row *state, size_t columns, size_t lds, const float *s,
                         float *p) {
    for (size_t i = 0; i < t->tokens; i++, s += lds, p += lds)
        for (size_t j = 0; j < columns; j++)
            p[j] = s[j] == -INFINITY && isnan(state[i].sum) ? 0 : p[j] > 1 ? 1 : p[j];
}

static void final_weights(const attni_engine *e, const attni_query_tile *t, size_t h, const attni_range *range,
                          attni_desk *desk) {
    const size_t lds = e->cut.tile.keys, columns = desk->group.count;
    const float *s = desk->scores + h * t->tokens * lds;
    float *p = desk->weights + h * t->tokens * lds;
    if (e->call->sigmoid) {
        e->kernels->copy(t->tokens, columns, ATTN_F32, s, (ptrdiff_t)lds, ATTN_F32, p, (ptrdiff_t)lds);
        e->weight(t->tokens, columns, p, lds, range, desk->state, NULL, 0);
        return;
    }
    e->kernels->softmax_final(t->tokens, columns, s, lds, range, state_of(e, t, h), p, (ptrdiff_t)lds);
    mend_weights(t, state_of(e, t, h), columns, lds, s, p);
}

/* The largest of each row's scores so far. */
static void note_tops(const attni_engine *e, const attni_query_tile *t, const attni_range *range,
                      const attni_desk *desk) {
    for (size_t r = 0; r < t->rows; r++) {
        const attni_range seen = range ? range[r] : (attni_range){0, desk->group.count};
        float *top = e->tops + (state_of(e, t, r / t->tokens) - e->states) + r % t->tokens;
        for (size_t j = seen.begin; j < attni_min(seen.end, desk->group.count); j++) {
            const float s = desk->scores[r * e->cut.tile.keys + j];
            *top = s > *top ? s : *top;
        }
    }
}

/* desk->scores and desk->weights, the probabilities, of a tile and a group. Returns the ranges of the rows. */
static const attni_range *find_probabilities(const attni_engine *e, const attni_query_tile *t, attni_desk *desk) {
    const attni_sight all = attni_see_all(e, t, &desk->group);
    attni_score(e, t, &desk->group, &all, ATTN_STAGE_PROBABILITIES, desk->scores);
    for (size_t h = 0; h < t->heads; h++)
        final_weights(e, t, h, all.range ? all.range + h * t->tokens : NULL, desk);
    return all.range;
}

/* desk->weights = the scores of another stage. */
static void find_scores(const attni_engine *e, const attni_query_tile *t, attn_stage stage, attni_desk *desk) {
    const attni_sight all = attni_see_all(e, t, &desk->group);
    const size_t lds = e->cut.tile.keys;
    attni_score(e, t, &desk->group, &all, stage, desk->weights);
    for (size_t r = 0; r < t->rows; r++)
        for (size_t j = 0; j < desk->group.count; j++) {
            const bool hidden = all.range && (j < all.range[r].begin || j >= all.range[r].end);
            if (hidden && stage == ATTN_STAGE_BIASED)
                desk->weights[r * lds + j] = -INFINITY;
        }
}

static void write_weights(const attni_engine *e, const attni_query_tile *t, size_t h, const float *x,
                          const attni_desk *desk) {
    const attni_view *view = &e->call->inspection.weights;
    char *y = attni_at(view, t->batch, h, t->token);
    e->kernels->copy(t->tokens, desk->group.count, ATTN_F32, x, (ptrdiff_t)e->cut.tile.keys, view->dtype,
                     y + desk->group.begin * attni_size_of(view->dtype), view->stride_t);
}

static void add_to_average(const attni_engine *e, const attni_query_tile *t, const float *x, const attni_desk *desk) {
    const size_t lds = e->cut.tile.keys;
    const float share = 1 / (float)e->call->H;
    for (size_t i = 0; i < t->tokens; i++)
        for (size_t j = 0; j < desk->group.count; j++)
            desk->average[i * lds + j] += share * x[i * lds + j];
}

/* One head's entropies so far. */
static void add_entropy(const attni_engine *e, const attni_query_tile *t, size_t h, attni_desk *desk) {
    const size_t lds = e->cut.tile.keys, row = h * t->tokens;
    const attni_row *state = state_of(e, t, h);
    double *sums = desk->sums + (t->head + h) * e->cut.tile.rows * 2;
    for (size_t i = 0; i < t->tokens; i++)
        e->kernels->entropy(desk->group.count, desk->scores + (row + i) * lds, desk->weights + (row + i) * lds,
                            state[i].max, &sums[2 * i], &sums[2 * i + 1]);
}

/* −Σ p·ln p, ln p being s − max − ln sum. */
static void write_entropy(const attni_engine *e, const attni_query_tile *t, size_t h, const attni_desk *desk) {
    const attni_row *state = state_of(e, t, h);
    const double *sums = desk->sums + (t->head + h) * e->cut.tile.rows * 2;
    float *y = e->call->inspection.entropy + (t->batch * e->call->H + t->head + h) * e->states_tokens + t->token;
    for (size_t i = 0; i < t->tokens; i++)
        y[i] = state[i].sum == 0 ? 0.0F : (float)(sums[2 * i] * log(state[i].sum) - sums[2 * i + 1]);
}

/* Puts key into a list that is sorted already, of equal ones behind those that are there. */
static void insert(size_t k, int64_t *keys, float *best, size_t *count, int64_t key, float p) {
    size_t at = *count < k ? (*count)++ : k - 1;
    for (; at > 0 && best[at - 1] < p; at--) {
        keys[at] = keys[at - 1];
        best[at] = best[at - 1];
    }
    keys[at] = key;
    best[at] = p;
}

static void add_top_keys(const attni_engine *e, const attni_query_tile *t, size_t h, attni_desk *desk) {
    const attn_top_keys *top = &e->call->inspection.top;
    const size_t lds = e->cut.tile.keys, k = top->k;
    for (size_t i = 0; i < t->tokens; i++) {
        const size_t slot = (t->head + h) * e->cut.tile.rows + i;
        int64_t *keys = top->keys + ((t->batch * e->call->H + t->head + h) * e->states_tokens + t->token + i) * k;
        const float *p = desk->weights + (h * t->tokens + i) * lds;
        float *best = desk->best + slot * k;
        for (size_t j = 0; j < desk->group.count; j++)
            if (p[j] > (desk->found[slot] < k ? 0 : best[k - 1]))
                insert(k, keys, best, &desk->found[slot], (int64_t)(desk->group.begin + j), p[j]);
    }
}

static void write_top_keys(const attni_engine *e, const attni_query_tile *t, size_t h, const attni_desk *desk) {
    const attn_top_keys *top = &e->call->inspection.top;
    for (size_t i = 0; i < t->tokens; i++) {
        const size_t slot = (t->head + h) * e->cut.tile.rows + i;
        const size_t at = ((t->batch * e->call->H + t->head + h) * e->states_tokens + t->token + i) * top->k;
        for (size_t n = 0; n < top->k; n++) {
            const bool found = n < desk->found[slot];
            top->keys[at + n] = found ? top->keys[at + n] : -1;
            if (top->probabilities)
                top->probabilities[at + n] = found ? desk->best[slot * top->k + n] : 0;
        }
    }
}

/* One tile meets one group, for all that is wanted of its rows. */
static void inspect_rows(const attni_engine *e, const attni_query_tile *t, attni_desk *desk) {
    const attni_inspection *in = &e->call->inspection;
    const bool probabilities = in->stage == ATTN_STAGE_PROBABILITIES;
    const attni_range *range = NULL;
    if (probabilities || in->entropy || in->top.k || in->largest)
        range = find_probabilities(e, t, desk);
    if (in->largest)
        note_tops(e, t, range, desk);
    for (size_t h = 0; h < t->heads; h++) {
        if (in->entropy)
            add_entropy(e, t, h, desk);
        if (in->top.k)
            add_top_keys(e, t, h, desk);
    }
    if (in->weights_wanted && !probabilities)
        find_scores(e, t, in->stage, desk);
    for (size_t h = 0; h < t->heads && in->weights_wanted; h++) {
        const float *x = desk->weights + h * t->tokens * e->cut.tile.keys;
        if (in->averaged)
            add_to_average(e, t, x, desk);
        else
            write_weights(e, t, t->head + h, x, desk);
    }
}

/* Tile n, counted over all key/value heads, of those that begin with query token `cut`. */
static attni_query_tile tile_of_all_heads(const attni_engine *e, size_t b, size_t cut, size_t n, attni_desk *desk) {
    const size_t cuts = e->cut.head_cuts;
    return open_tile(e, b, n / cuts, cut * cuts + n % cuts, desk);
}

static void walk_keys(const attni_engine *e, size_t b, size_t cut, attni_desk *desk) {
    const attni_inspection *in = &e->call->inspection;
    const size_t tiles = e->call->G * e->cut.head_cuts, keys = e->cut.tile.keys;
    attni_query_tile t = attni_tile_at(e, b, 0, cut * e->cut.head_cuts);
    for (size_t k = 0; k < e->call->Tk; k += keys) {
        memset(desk->average, 0, t.rows * keys * sizeof *desk->average);
        for (size_t n = 0; n < tiles; n++) {
            if (n % e->cut.head_cuts == 0)
                attni_open_group(&desk->group, b, n / e->cut.head_cuts, k, attni_min(keys, e->call->Tk - k));
            attni_pack_keys(e, tiles, &desk->group);
            t = tile_of_all_heads(e, b, cut, n, desk);
            inspect_rows(e, &t, desk);
        }
        if (in->weights_wanted && in->averaged)
            write_weights(e, &t, 0, desk->average, desk);
    }
}

static void write_sums(const attni_engine *e, size_t b, size_t cut, const attni_desk *desk) {
    const size_t cuts = e->cut.head_cuts;
    for (size_t n = 0; n < e->call->G * cuts; n++) {
        const attni_query_tile t = attni_tile_at(e, b, n / cuts, cut * cuts + n % cuts);
        for (size_t h = 0; h < t.heads; h++) {
            if (e->call->inspection.entropy)
                write_entropy(e, &t, h, desk);
            if (e->call->inspection.top.k)
                write_top_keys(e, &t, h, desk);
        }
    }
}

static void inspect_tokens(void *arg, size_t unit, size_t worker) {
    const attni_engine *whole = arg;
    attni_engine local;
    attni_sdpa one;
    attni_desk desk = {0};
    const size_t b = unit / whole->cut.token_cuts, cut = unit % whole->cut.token_cuts;
    const attni_engine *e = attni_engine_of(whole, b, &local, &one);
    const size_t slots = e->call->H * e->cut.tile.rows;
    if (cut >= e->cut.token_cuts)
        return;
    attni_desk_lay(&e->room, whole->call, whole->desks + worker * whole->desk_bytes, &desk);
    memset(desk.sums, 0, 2 * slots * sizeof *desk.sums);
    memset(desk.found, 0, slots * sizeof *desk.found);
    walk_keys(e, b, cut, &desk);
    write_sums(e, b, cut, &desk);
}

/* The mass of the keys of one group, from all queries of its key/value head: desk->sums [H/G, keys]. */
static void add_mass(const attni_engine *e, attni_desk *desk) {
    const attni_key_group *group = &desk->group;
    const size_t heads = e->call->H / e->call->G, tiles = e->cut.head_cuts * e->cut.token_cuts, lds = e->cut.tile.keys;
    memset(desk->sums, 0, heads * lds * sizeof *desk->sums);
    for (size_t n = 0; n < tiles; n++) {
        const attni_query_tile t = open_tile(e, group->b, group->g, n, desk);
        find_probabilities(e, &t, desk);
        for (size_t r = 0; r < t.rows; r++) {
            double *sums = desk->sums + (t.head - group->g * heads + r / t.tokens) * lds;
            for (size_t j = 0; j < group->count; j++)
                sums[j] += (double)desk->weights[r * lds + j];
        }
    }
}

static void write_mass(const attni_engine *e, size_t Tk, const attni_desk *desk) {
    const attni_key_group *group = &desk->group;
    const size_t heads = e->call->H / e->call->G, lds = e->cut.tile.keys;
    for (size_t h = 0; h < heads; h++)
        for (size_t j = 0; j < group->count; j++)
            e->call->inspection.key_mass[(group->b * e->call->H + group->g * heads + h) * Tk + group->begin + j] =
                (float)desk->sums[h * lds + j];
}

/* Unit: the largest possible group of keys, which may be several of a shorter sequence. */
static void inspect_keys(void *arg, size_t unit, size_t worker) {
    const attni_engine *whole = arg;
    attni_engine local;
    attni_sdpa one;
    attni_desk desk = {0};
    const size_t Tk = whole->call->Tk, keys = whole->room.tile.keys, groups = attni_ceil_div(Tk, keys);
    const size_t b = unit / groups / whole->call->G, g = unit / groups % whole->call->G, k = unit % groups * keys;
    const attni_engine *e = attni_engine_of(whole, b, &local, &one);
    const size_t end = attni_min(e->call->Tk, k + keys), step = e->cut.tile.keys;
    attni_desk_lay(&e->room, whole->call, whole->desks + worker * whole->desk_bytes, &desk);
    for (size_t first = k; first < end; first += step) {
        attni_open_group(&desk.group, b, g, first, attni_min(step, end - first));
        attni_pack_keys(e, e->cut.head_cuts * e->cut.token_cuts, &desk.group);
        add_mass(e, &desk);
        write_mass(e, Tk, &desk);
    }
}

/* Of each head, over its rows. */
static void write_largest(const attni_engine *e) {
    const attni_sdpa *call = e->call;
    for (size_t head = 0; head < call->B * call->H; head++) {
        float *largest = &call->inspection.largest[head];
        *largest = -INFINITY;
        for (size_t i = 0; i < e->states_tokens; i++)
            *largest = fmaxf(*largest, e->tops[head * e->states_tokens + i]);
    }
}

void attni_inspect(attn_context *context, attni_engine *e) {
    const attni_sdpa *call = e->call;
    for (size_t n = 0; n < call->B * call->H * e->states_tokens && call->inspection.largest; n++)
        e->tops[n] = -INFINITY;
    const double flops =
        2 * (double)call->B * (double)call->H * (double)call->Tq * (double)call->Tk * (double)(call->D + 16);
    if (wants_rows(&call->inspection))
        attni_blas_parallel(context, call->B * e->cut.token_cuts, flops, inspect_tokens, e);
    if (call->inspection.largest)
        write_largest(e);
    if (call->inspection.key_mass)
        attni_blas_parallel(context, call->B * call->G * attni_ceil_div(call->Tk, e->room.tile.keys), flops,
                            inspect_keys, e);
}
