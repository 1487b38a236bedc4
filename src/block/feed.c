/* SPDX-License-Identifier: BSD-3-Clause */
/* The feed-forward, so many rows at a time that its memory does not grow with them. */
#include <string.h>

#include "block/block.h"
#include "context/sizes.h"
#include "mha/matrix.h"
#include "mha/rows.h"

/* Whole bands of a projection; enough for many threads. */
enum { ROWS = 4 * 192 };

typedef struct layout {
    size_t normed, hidden, gate, sum, product, end;
} layout;

static layout lay(const attn_context *context, const attn_block *block, size_t rows) {
    const attni_feed *feed = &block->feed;
    layout at;
    size_t used = 0;
    rows = attni_min(rows, ROWS);
    at.normed = attni_reserve(&used, rows * block->M);
    at.hidden = attni_reserve(&used, rows * feed->up->map.out);
    at.gate = attni_reserve(&used, feed->gate ? attni_gate_floats(context, &feed->gate->map) : 0);
    at.sum = attni_reserve(&used, attni_is_joined(block, ATTNI_FEED) ? rows * block->M : 0);
    at.product = attni_reserve(&used, attni_max(attni_product_floats(context, &feed->up->map, ATTN_F32, rows),
                                                attni_product_floats(context, &feed->down->map, ATTN_F32, rows)));
    at.end = used;
    return at;
}

size_t attni_feed_scratch(const attn_context *context, const attn_block *block, size_t rows) {
    return block->feed.up ? lay(context, block, rows).end * sizeof(float) : 0;
}

static attni_matrix normalised(attn_context *context, const attni_norm *norm, size_t M, const attni_matrix *x,
                               float *room) {
    const attni_matrix y = {room, x->rows, M};
    if (!norm)
        return *x;
    attni_norm_matrix(context, norm, M, x, &y);
    return y;
}

/* hidden = activation(gate) · up, of products that are kept. */
static void project_kept(attn_context *context, const attni_feed *feed, const attni_matrix *x,
                         const attni_feed_kept *kept, const attni_matrix *hidden, float *room) {
    const size_t F = hidden->ld;
    const attni_product products[] = {
        {.linear = &feed->up->map, .x = *x, .y = {kept->up, x->rows, F}, .room = room},
        {.linear = feed->gate ? &feed->gate->map : NULL, .x = *x, .y = {kept->gate, x->rows, F}, .room = room}};
    for (size_t i = 0; i < (feed->gate ? 2 : 1); i++)
        attni_project(context, &products[i], 1);
    attni_feed_activate(context, feed, hidden->rows, kept, hidden->data);
}

void attni_feed_activate(attn_context *context, const attni_feed *feed, size_t rows, const attni_feed_kept *kept,
                         float *hidden) {
    const size_t F = feed->up->map.out;
    const attni_matrix up = {kept->up, rows, F}, gate = {kept->gate, rows, F}, y = {hidden, rows, F};
    const attni_rows of = {.B = 1,
                           .H = 1,
                           .T = rows,
                           .width = F,
                           .x = attni_matrix_view(feed->gate ? &gate : &up),
                           .y = attni_matrix_view(&y),
                           .factor = feed->gate ? attni_matrix_view(&up) : (attni_view){0}};
    attni_activate_rows(context, &feed->activation, &of);
}

/* The input is normed already. */
static void run_chunk(attn_context *context, const attn_block *block, const attni_matrix *x, const attni_matrix *y,
                      const attni_feed_kept *kept, const layout *at, float *scratch) {
    const attni_feed *feed = &block->feed;
    const bool joined = attni_is_joined(block, ATTNI_FEED);
    const attni_matrix hidden = {scratch + at->hidden, y->rows, feed->up->map.out};
    const attni_matrix sum = {scratch + at->sum, y->rows, block->M};
    const attni_product up = {.linear = &feed->up->map,
                              .x = *x,
                              .y = hidden,
                              .activation = &feed->activation,
                              .gate = feed->gate ? &feed->gate->map : NULL,
                              .gate_room = scratch + at->gate,
                              .room = scratch + at->product};
    const attni_product down = {.linear = &feed->down->map,
                                .x = hidden,
                                .y = joined ? sum : *y,
                                .residual = joined ? NULL : y,
                                .room = scratch + at->product};
    if (kept->up)
        project_kept(context, feed, x, kept, &hidden, scratch + at->product);
    else
        attni_project(context, &up, 1);
    if (feed->norm.present)
        attni_norm_matrix(context, &feed->norm.norm, feed->up->map.out, &hidden, &hidden);
    attni_project(context, &down, 1);
    if (!joined)
        return;
    if (kept->sum)
        memcpy(kept->sum, sum.data, sum.rows * sum.ld * sizeof *sum.data);
    attni_join(context, block, ATTNI_FEED, &sum, y, y);
}

static attni_matrix chunk_of(const attni_matrix *m, size_t row) {
    return (attni_matrix){m->data + row * m->ld, attni_min(ROWS, m->rows - row), m->ld};
}

void attni_feed_run(attn_context *context, const attn_block *block, const attni_norm *norm, const attni_matrix *x,
                    const attni_matrix *y, const attni_feed_kept *kept, float *scratch) {
    const size_t F = block->feed.up->map.out;
    const layout at = lay(context, block, y->rows);
    for (size_t r = 0; r < y->rows; r += ROWS) {
        const attni_matrix from = chunk_of(x, r), to = chunk_of(y, r);
        const attni_matrix input = normalised(context, norm, block->M, &from, scratch + at.normed);
        const attni_feed_kept some = {kept->up ? kept->up + r * F : NULL, kept->gate ? kept->gate + r * F : NULL,
                                      kept->sum ? kept->sum + r * block->M : NULL};
        run_chunk(context, block, &input, &to, &some, &at, scratch);
    }
}
