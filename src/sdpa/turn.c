/* SPDX-License-Identifier: BSD-3-Clause */
/* Queries and keys on their way in: normed, then rotated, then multiplied. */
#include <math.h>

#include "context/sizes.h"
#include "sdpa/sdpa.h"

static void norm(const attni_kernels *kernels, const attni_turn *turn, size_t h, size_t rows, size_t D, float *x) {
    attni_norm of_head = turn->norm;
    of_head.weight = of_head.weight ? of_head.weight + h * turn->head_weights : NULL;
    kernels->norm(&of_head, rows, D, x, (ptrdiff_t)D, x, (ptrdiff_t)D);
}

static float factor_at(const attn_query_factor *factor, size_t position) {
    if (factor->table)
        return factor->table[attni_min(position, factor->positions - 1)];
    const size_t periods = (position + factor->shift) / factor->period;
    return (float)(1 + (double)factor->amount * log1p((double)periods));
}

static void multiply(const attni_turn *turn, size_t h, ptrdiff_t position, size_t D, float *x) {
    const float of_head = turn->head_factors ? turn->head_factors[h] : 1;
    const float factor =
        attni_has_factor(turn) ? of_head * factor_at(&turn->factor, position > 0 ? (size_t)position : 0) : of_head;
    for (size_t d = 0; d < D; d++)
        x[d] *= factor;
}

void attni_turn_rows(const attni_kernels *kernels, const attni_turn *turn, const attni_view *view, size_t b, size_t h,
                     size_t t, size_t rows, size_t D, ptrdiff_t first, float *x) {
    const int64_t *positions = turn->positions ? turn->positions + b * turn->stride + t : NULL;
    kernels->copy(rows, D, view->dtype, attni_at(view, b, h, t), view->stride_t, ATTN_F32, x, (ptrdiff_t)D);
    if (turn->normed)
        norm(kernels, turn, h, rows, D, x);
    for (size_t r = 0; r < rows && turn->pairs; r++) {
        const size_t position = positions ? (size_t)positions[r] : (size_t)(first + (ptrdiff_t)(t + r));
        const size_t at = position * turn->pairs;
        kernels->rotate(turn->kind, turn->pairs, x + r * D, turn->cos + at, turn->sin + at);
    }
    for (size_t r = 0; r < rows && (turn->head_factors || attni_has_factor(turn)); r++)
        multiply(turn, h, positions ? (ptrdiff_t)positions[r] : attni_add(first, (ptrdiff_t)(t + r)), D, x + r * D);
}

/* -- rows of the caller's -- */

/* Tokens of a unit of work. */
enum { UNIT = 16 };

typedef struct rotate_job {
    const attni_kernels *kernels;
    const attni_turn *turn;
    const attni_view *x, *out;
    const size_t *size;
    size_t units; /* of a head */
    char *scratch;
    size_t room; /* bytes of it for a worker */
} rotate_job;

static size_t room_bytes(size_t D) { return attni_round_up(D, 16) * UNIT * sizeof(float); }

size_t attni_rotate_scratch(const attn_context *context, size_t D) { return room_bytes(D) * context->threads; }

static void rotate_unit(void *arg, size_t unit, size_t worker) {
    const rotate_job *j = arg;
    const size_t t = unit % j->units * UNIT, h = unit / j->units % j->size[1], b = unit / j->units / j->size[1];
    const size_t rows = attni_min(UNIT, j->size[2] - t), D = j->size[3];
    float *room = (float *)(void *)(j->scratch + worker * j->room);
    attni_turn_rows(j->kernels, j->turn, j->x, b, h, t, rows, D, 0, room);
    j->kernels->copy(rows, D, ATTN_F32, room, (ptrdiff_t)D, j->out->dtype, attni_at(j->out, b, h, t), j->out->stride_t);
}

void attni_rotate_run(attn_context *context, const attni_turn *turn, const attni_view *x, const attni_view *out,
                      const size_t size[4], void *scratch) {
    enum { FLOPS = 24 }; /* as long as an element takes */
    const size_t units = attni_ceil_div(size[2], UNIT), heads = size[0] * size[1];
    rotate_job job = {context->kernels, turn, x, out, size, units, scratch, room_bytes(size[3])};
    attni_parallel(context, size[3] ? heads * units : 0, FLOPS * (double)heads * (double)size[2] * (double)size[3],
                   rotate_unit, &job);
}
