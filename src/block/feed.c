/* SPDX-License-Identifier: BSD-3-Clause */
/* The feed-forward, so many rows at a time that its memory does not grow with them. */
#include "block/block.h"
#include "block/rows.h"
#include "context/sizes.h"
#include "mha/matrix.h"

/* Whole bands of a projection; enough for many threads. */
enum { ROWS = 4 * 192 };

typedef struct layout {
    size_t normed, hidden, gate, end;
} layout;

static layout lay(const attn_context *context, const attni_feed *feed, size_t M, size_t rows) {
    layout at;
    size_t used = 0;
    rows = attni_min(rows, ROWS);
    at.normed = attni_reserve(&used, rows * M);
    at.hidden = attni_reserve(&used, rows * feed->up->map.out);
    at.gate = attni_reserve(&used, feed->gate ? attni_gate_floats(context, &feed->gate->map) : 0);
    at.end = used;
    return at;
}

size_t attni_feed_scratch(const attn_context *context, const attni_feed *feed, size_t M, size_t rows) {
    return feed->up ? lay(context, feed, M, rows).end * sizeof(float) : 0;
}

static attni_matrix normalised(attn_context *context, const attni_norm *norm, size_t M, const attni_matrix *y,
                               float *room) {
    if (!norm)
        return *y;
    const attni_rows rows = {
        1, 1, y->rows, M, {y->data, ATTN_F32, 0, 0, (ptrdiff_t)y->ld}, {room, ATTN_F32, 0, 0, (ptrdiff_t)M}};
    attni_norm_rows(context, norm, &rows);
    return (attni_matrix){room, y->rows, M};
}

static void run_chunk(attn_context *context, const attni_feed *feed, const attni_norm *norm, size_t M,
                      const attni_matrix *y, const layout *at, float *scratch) {
    const size_t F = feed->up->map.out;
    const attni_matrix x = normalised(context, norm, M, y, scratch + at->normed);
    const attni_matrix hidden = {scratch + at->hidden, y->rows, F};
    const attni_product up = {.linear = &feed->up->map,
                              .x = x,
                              .y = hidden,
                              .activation = &feed->activation,
                              .gate = feed->gate ? &feed->gate->map : NULL,
                              .gate_room = scratch + at->gate};
    const attni_product down = {.linear = &feed->down->map, .x = hidden, .y = *y, .residual = y};
    attni_project(context, &up, 1);
    attni_project(context, &down, 1);
}

void attni_feed_run(attn_context *context, const attni_feed *feed, const attni_norm *norm, size_t M,
                    const attni_matrix *y, float *scratch) {
    const layout at = lay(context, feed, M, y->rows);
    for (size_t r = 0; r < y->rows; r += ROWS) {
        const attni_matrix chunk = {y->data + r * y->ld, attni_min(ROWS, y->rows - r), y->ld};
        run_chunk(context, feed, norm, M, &chunk, &at, scratch);
    }
}
