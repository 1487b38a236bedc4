/* SPDX-License-Identifier: BSD-3-Clause */
/* The door in: what is odd about Q, K and V ends here; behind it are dense f32 blocks. */
#include <string.h>

#include "context/sizes.h"
#include "kernels/together.h"
#include "sdpa/pack.h"

/* Where products may overflow that the scale would bring back, it goes to q. */
bool attni_scales_query(const attni_sdpa *call) { return fabsf(call->scale) < 0x1p-32F; }

/* Rows of several heads are one matrix only where the heads follow each other as the tokens do. */
static bool is_dense(const attni_sdpa *call, const attni_query_tile *t) {
    const ptrdiff_t D = (ptrdiff_t)call->D;
    return call->q.dtype == ATTN_F32 && call->q.stride_t == D &&
           (t->heads == 1 || call->q.stride_h == (ptrdiff_t)t->tokens * D);
}

static void copy_query(const attni_engine *e, const attni_query_tile *t, size_t h, float *room) {
    const attni_sdpa *call = e->call;
    const ptrdiff_t D = (ptrdiff_t)call->D;
    if (attni_turns(&call->q_turn))
        attni_turn_rows(e->kernels, &call->q_turn, &call->q, t->batch, h, t->token, t->tokens, call->D,
                        attni_first_position(call, t->batch), room);
    else
        e->kernels->copy(t->tokens, call->D, call->q.dtype, attni_at(&call->q, t->batch, h, t->token), call->q.stride_t,
                         ATTN_F32, room, D);
}

void attni_pack_query(const attni_engine *e, attni_query_tile *t, float *room) {
    const attni_sdpa *call = e->call;
    const bool scaled = attni_scales_query(call);
    const float *q = attni_at(&call->q, t->batch, t->head, t->token);
    const size_t ldq = attni_max(1, call->D);
    float *dense = room + t->rows * (e->cut.q_floats - call->D); /* behind the parts that are made of it */
    t->q = attni_left_at(q, ldq);
    if (is_dense(call, t) && !attni_turns(&call->q_turn) && !scaled && e->form == ATTNI_PLAIN)
        return;
    for (size_t h = 0; h < t->heads; h++)
        copy_query(e, t, t->head + h, dense + h * t->tokens * call->D);
    for (size_t n = 0; scaled && n < t->rows * call->D; n++)
        dense[n] *= call->scale;
    t->q = attni_left_made(e->context, e->form, t->rows, call->D, dense, ldq, room);
}

/* n keys as a block at `j` of k_room. */
static void pack_block(const attni_engine *e, const attni_view *k, const void *from, attni_key_group *group, size_t j,
                       size_t n) {
    const size_t W = e->cut.tile.width, D = e->call->D;
    const size_t columns = attni_round_up(attni_max(n, e->cut.least_keys), 16);
    uint16_t *pairs = (uint16_t *)(void *)group->k_room;
    if (e->form == ATTNI_PLAIN) {
        e->kernels->transpose(k->dtype, n, D, from, k->stride_t, columns, group->k_room + j * D, W);
        return;
    }
    e->kernels->transpose(k->dtype, n, D, from, k->stride_t, columns, group->f32_room, W);
    e->kernels->pair(D, columns, group->f32_room, (ptrdiff_t)W, columns, pairs + j * group->depth, W);
}

static void pack_k(const attni_engine *e, attni_key_group *group) {
    const attni_view *k = &e->call->k;
    const attni_turn *turn = &e->call->k_turn;
    const size_t W = e->cut.tile.width, D = e->call->D;
    const bool turns = attni_turns(turn);
    const attni_view turned = {group->turn_room, ATTN_F32, 0, 0, (ptrdiff_t)D};
    group->dtype = e->form == ATTNI_PLAIN ? ATTN_F32 : ATTN_BF16;
    group->depth = attni_round_up(D, attni_together(group->dtype));
    for (size_t j = 0; j < group->count; j += W) {
        const size_t n = attni_min(W, group->count - j);
        const attni_view *from = turns ? &turned : k;
        if (turns)
            attni_turn_rows(e->kernels, turn, k, group->b, group->g, group->begin + j, n, D, 0, group->turn_room);
        pack_block(e, from, turns ? turned.data : attni_at(k, group->b, group->g, group->begin + j), group, j, n);
    }
    group->k = (const char *)group->k_room;
    group->k_floats = group->k_room;
}

/* V is read where the caller has it if a panel would be the same there, in whole cache lines, if its rows follow each
 * other and are narrow enough for whoever multiplies, or if it is read about once: by one tile, and by few rows if
 * there are gaps between the rows of V. Else a copy in panels is faster, by up to a fifth. */
static bool values_in_place(const attni_engine *e, size_t tiles, const attni_key_group *group) {
    enum { FEW_ROWS = 16 };
    const attni_view *v = &e->call->v;
    const ptrdiff_t stride = v->stride_t, E = (ptrdiff_t)e->call->E;
    const bool plain = !attni_turns(&e->call->v_turn) && v->dtype == ATTN_F32 && e->call->E == e->cut.o_width &&
                       stride >= E && stride < ATTNI_MOST_STRIDE;
    const bool enough = group->count % e->cut.least_keys == 0;
    const bool panel = stride == E && e->call->E == e->cut.tile.columns && (uintptr_t)v->data % ATTNI_LINE == 0;
    const bool once = tiles == 1 && (stride == E || e->cut.tile.rows <= FEW_ROWS);
    const bool narrow = stride == E && e->call->E <= e->cut.tile.in_place;
    return plain && enough && (panel || narrow || once);
}

/* Zeros around a panel [rows, columns] with row stride ld, up to all_rows and all_columns. */
static void zero_margin(float *panel, size_t rows, size_t columns, size_t all_rows, size_t all_columns, size_t ld) {
    for (size_t r = 0; r < rows && columns < all_columns; r++)
        memset(panel + r * ld + columns, 0, (all_columns - columns) * sizeof *panel);
    for (size_t r = rows; r < all_rows; r++)
        memset(panel + r * ld, 0, all_columns * sizeof *panel);
}

/* Values `j` and following of a group as the caller has them, or turned, in turn_room. */
static attni_view values_from(const attni_engine *e, const attni_key_group *group, size_t j, size_t n) {
    const attni_sdpa *call = e->call;
    attni_view from = call->v;
    from.data = attni_at(&call->v, group->b, group->g, group->begin + j);
    if (!attni_turns(&call->v_turn))
        return from;
    attni_turn_rows(e->kernels, &call->v_turn, &call->v, group->b, group->g, group->begin + j, n, call->E, 0,
                    group->turn_room);
    return (attni_view){group->turn_room, ATTN_F32, 0, 0, (ptrdiff_t)call->E};
}

/* A panel of values from column c of the caller's on, a few rows at a time through f32. */
static void pair_v(const attni_engine *e, const attni_key_group *group, size_t c, uint16_t *panel) {
    const size_t width = attni_panel_width(e), columns = attni_real_columns(e, c),
                 all = attni_min(width, e->cut.o_width - c);
    const size_t W = e->cut.tile.width;
    for (size_t j = 0, n; j < group->count; j += n, panel += W * width) {
        n = attni_min(W, group->count - j);
        const attni_view v = values_from(e, group, j, n);
        const char *from = v.data;
        const bool direct = v.dtype == ATTN_F32;
        if (!direct)
            e->kernels->copy(n, columns, v.dtype, from + c * attni_size_of(v.dtype), v.stride_t, ATTN_F32,
                             group->f32_room, (ptrdiff_t)width);
        e->kernels->pair(n, columns, direct ? (const float *)(const void *)from + c : group->f32_room,
                         direct ? v.stride_t : (ptrdiff_t)width, all, panel, width);
    }
}

static void pair_values(const attni_engine *e, attni_key_group *group) {
    const size_t width = attni_panel_width(e), rows = attni_round_up(group->count, 2);
    group->v = (attni_values){(const char *)group->v_copy, width * rows, width};
    for (size_t c = 0; c < e->call->E; c += width)
        pair_v(e, group, c, (uint16_t *)(void *)group->v_copy + c * rows);
}

/* Values from row j on, n of them, to their rows of the panels. */
static void copy_panels(const attni_engine *e, size_t j, size_t n, const attni_key_group *group) {
    const size_t width = attni_panel_width(e);
    const attni_view v = values_from(e, group, j, n);
    const char *from = v.data;
    for (size_t c = 0; c < e->call->E; c += width)
        e->kernels->copy(n, attni_real_columns(e, c), v.dtype, from + c * attni_size_of(v.dtype), v.stride_t, ATTN_F32,
                         group->v_copy + c * attni_value_rows(e, group) + j * width, (ptrdiff_t)width);
}

static void place_v(const attni_engine *e, size_t tiles, attni_key_group *group) {
    const attni_view *view = &e->call->v;
    const size_t width = attni_panel_width(e), rows = attni_value_rows(e, group);
    const char *v = attni_at(view, group->b, group->g, group->begin);
    if (values_in_place(e, tiles, group)) {
        group->v = (attni_values){v, width, (size_t)view->stride_t};
        return;
    }
    group->v = (attni_values){(const char *)group->v_copy, width * rows, width};
    const size_t step = attni_turns(&e->call->v_turn) ? e->cut.tile.width : group->count; /* what turn_room holds */
    for (size_t j = 0; j < group->count; j += step)
        copy_panels(e, j, attni_min(step, group->count - j), group);
    for (size_t c = 0; c < e->call->E; c += width)
        zero_margin(group->v_copy + c * rows, group->count, attni_real_columns(e, c), rows,
                    attni_min(width, e->cut.o_width - c), width);
}

void attni_open_group(attni_key_group *group, size_t b, size_t g, size_t begin, size_t count) {
    group->b = b;
    group->g = g;
    group->begin = begin;
    group->count = count;
    group->packed = false;
    group->dtype = ATTN_F32;
    group->k_scale = group->v_scale = NULL;
    group->finite = ATTNI_UNKNOWN;
}

void attni_pack_keys(const attni_engine *e, size_t tiles, attni_key_group *group) {
    if (group->packed)
        return;
    if (e->call->pages) {
        attni_open_page(e, group);
    } else {
        pack_k(e, group);
        e->form == ATTNI_PLAIN ? place_v(e, tiles, group) : pair_values(e, group);
    }
    group->packed = true;
}

/* Columns of the panel that begins at column c. */
static size_t panel_columns(const attni_engine *e, size_t c) {
    return attni_min(attni_panel_width(e), e->cut.o_width - c);
}

size_t attni_read_values(const attni_engine *e, const attni_key_group *group, size_t c, size_t j,
                         float row[ATTNI_WIDEST_PANEL]) {
    const char *v = attni_panel_of(e, group, &group->v, c, j);
    const size_t columns = panel_columns(e, c);
    for (size_t n = 0; n < columns && group->dtype == ATTN_BF16; n++)
        row[n] = attni_number_of(ATTN_BF16, v, group->v.ld, j % 2, n);
    if (group->dtype != ATTN_BF16)
        e->kernels->copy(1, columns, group->dtype, v, 0, ATTN_F32, row, 0);
    return columns;
}

/* Zeros for key j's values in the panel at column c of v_clean. */
static void clear_values(const attni_engine *e, const attni_key_group *group, size_t c, size_t j) {
    const size_t together = attni_together(group->dtype), size = attni_size_of(group->dtype);
    char *v = (char *)group->v_clean_room + (attni_panel_of(e, group, &group->v_clean, c, j) - group->v_clean.data);
    for (size_t n = 0; n < panel_columns(e, c); n++)
        memset(v + (n * together + j % together) * size, 0, size);
}

/* A copy of the values with zeros for the rows of panels that are not finite. Pairs are copied whole. */
static void clean_values(const attni_engine *e, attni_key_group *group) {
    const size_t width = attni_panel_width(e), size = attni_size_of(group->dtype),
                 together = attni_together(group->dtype);
    const size_t rows = attni_value_rows(e, group), all = attni_round_up(rows, together);
    float row[ATTNI_WIDEST_PANEL];
    group->v_clean = (attni_values){(char *)group->v_clean_room, width * all, width};
    for (size_t c = 0; c < e->cut.o_width; c += width)
        for (size_t j = 0; j < all; j += 1) {
            const size_t columns = attni_read_values(e, group, c, j, row);
            char *to = (char *)group->v_clean_room + (c * all + j / together * together * width) * size;
            if (j % together == 0)
                memcpy(to, attni_panel_of(e, group, &group->v, c, j), columns * together * size);
            if (!e->kernels->all_finite(1, columns, ATTN_F32, row, 0))
                clear_values(e, group, c, j);
        }
}

/* Whether so many rows of the panel at column c are finite. */
static bool panel_finite(const attni_engine *e, const attni_key_group *group, size_t c, size_t rows) {
    const size_t together = attni_together(group->dtype), columns = panel_columns(e, c) * together;
    const ptrdiff_t ld = (ptrdiff_t)(group->v.ld * together);
    float row[ATTNI_WIDEST_PANEL];
    if (!e->kernels->all_finite(rows / together, columns, group->dtype, attni_panel_of(e, group, &group->v, c, 0), ld))
        return false;
    if (rows % together == 0)
        return true;
    return e->kernels->all_finite(1, attni_read_values(e, group, c, rows - 1, row), ATTN_F32, row, 0);
}

bool attni_values_finite(const attni_engine *e, attni_key_group *group) {
    if (group->finite != ATTNI_UNKNOWN)
        return group->finite == ATTNI_FINITE;
    group->finite = ATTNI_FINITE;
    for (size_t c = 0; c < e->cut.o_width && group->dtype != ATTN_INT8; c += attni_panel_width(e))
        if (!panel_finite(e, group, c, attni_value_rows(e, group)))
            group->finite = ATTNI_NOT_FINITE;
    if (group->finite == ATTNI_NOT_FINITE)
        clean_values(e, group);
    return group->finite == ATTNI_FINITE;
}

static void prefetch(const attni_engine *e, const attni_view *view, size_t b, size_t h, size_t t, size_t rows,
                     size_t width) {
    const size_t size = attni_size_of(view->dtype);
    e->kernels->prefetch(rows, width * size, attni_at(view, b, h, t), view->stride_t * (ptrdiff_t)size);
}

void attni_prefetch_keys(const attni_engine *e, const attni_unit *unit, size_t i, size_t n) {
    const attni_sdpa *call = e->call;
    const size_t keys = attni_min(e->cut.tile.keys, unit->end - unit->begin);
    const size_t from = unit->begin + keys * i / n, count = unit->begin + keys * (i + 1) / n - from;
    prefetch(e, &call->k, unit->b, unit->g, from, count, call->D);
    prefetch(e, &call->v, unit->b, unit->g, from, count, call->E);
}

void attni_prefetch_query(const attni_engine *e, const attni_query_tile *t) {
    for (size_t h = 0; h < t->heads; h++)
        prefetch(e, &e->call->q, t->batch, t->head + h, t->token, t->tokens, e->call->D);
}
