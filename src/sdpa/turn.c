/* SPDX-License-Identifier: BSD-3-Clause */
/* Queries, keys and values on their way in: normed, then rotated, then multiplied. */
#include <math.h>
#include <string.h>

#include "context/sizes.h"
#include "sdpa/sdpa.h"

/* Rows of a view: those of head h of sequence b from token t on, which stands at `first` + t. */
typedef struct head_rows {
    const attni_kernels *kernels;
    const attni_turn *turn;
    const attni_view *view;
    size_t b, h, t, D;
    ptrdiff_t first;
} head_rows;

static const float *weight_of(const attni_turn *turn, size_t h) {
    return turn->norm.weight ? turn->norm.weight + h * turn->head_weights : NULL;
}

/* Cosines and sines are brought together, some at a time: for pairs whose positions differ, [axis], and to turn back,
 * by a sign of −1. */
static void rotate_pieces(const head_rows *of, const int64_t *positions, size_t position, float sign, float *x) {
    enum { SOME = 64 };
    const attni_turn *turn = of->turn;
    float cosines[SOME], sines[SOME];
    for (size_t d = 0; d < turn->pairs; d += SOME) {
        const size_t n = attni_min(SOME, turn->pairs - d);
        for (size_t i = 0; i < n; i++) {
            const size_t axis = turn->axis ? (size_t)turn->axis[d + i] * turn->axis_stride : 0;
            const size_t at = (positions ? (size_t)positions[axis] : position) * turn->pairs + d + i;
            cosines[i] = turn->cos[at];
            sines[i] = sign * turn->sin[at];
        }
        of->kernels->rotate(turn->kind, n, turn->pairs, x + (turn->kind == ATTN_ROTARY_HALF ? d : 2 * d), cosines,
                            sines);
    }
}

static void rotate_by(const head_rows *of, size_t count, float sign, float *x) {
    const attni_turn *turn = of->turn;
    const int64_t *positions = turn->positions ? turn->positions + of->b * turn->stride + of->t : NULL;
    for (size_t r = 0; r < count && turn->pairs; r++, x += of->D) {
        const size_t position = positions ? (size_t)positions[r] : (size_t)(of->first + (ptrdiff_t)(of->t + r));
        const size_t at = position * turn->pairs;
        if ((turn->axis && positions) || sign < 0)
            rotate_pieces(of, positions ? positions + r : NULL, position, sign, x + turn->offset);
        else
            of->kernels->rotate(turn->kind, turn->pairs, turn->pairs, x + turn->offset, turn->cos + at, turn->sin + at);
    }
}

static void rotate(const head_rows *of, size_t count, float *x) { rotate_by(of, count, 1, x); }

/* The rows as they are before the norm. */
static void prepare(const head_rows *of, size_t count, float *x) {
    of->kernels->copy(count, of->D, of->view->dtype, attni_at(of->view, of->b, of->h, of->t), of->view->stride_t,
                      ATTN_F32, x, (ptrdiff_t)of->D);
    if (of->turn->after)
        rotate(of, count, x);
}

/* Of a token's rows in all heads, over which a norm runs: moments, and centre; x [D] is room. */
static attni_moments moments_of(head_rows of, float around, float *x) {
    attni_moments sum = {0, 0};
    for (of.h = 0; of.h < of.turn->heads; of.h++) {
        prepare(&of, 1, x);
        const attni_moments m = of.kernels->moments(of.turn->norm.kind, of.D, x, around);
        sum.first += m.first;
        sum.second += m.second;
    }
    return sum;
}

static attni_centre centre_of(head_rows of, float *x) {
    const attni_norm *norm = &of.turn->norm;
    const size_t n = of.turn->heads * of.D;
    attni_moments m = moments_of(of, 0.0F, x);
    float around = 0;
    if (norm->kind == ATTN_LAYER_NORM) {
        around = (float)(m.first / (double)n);
        m = moments_of(of, around, x);
    }
    return attni_centre_of(norm, n, &m, around);
}

static void norm_over_heads(head_rows of, float *x) {
    const attni_centre centre = centre_of(of, x);
    prepare(&of, 1, x);
    of.kernels->shift(of.D, x, &centre, weight_of(of.turn, of.h), x);
}

static void norm_rows(const head_rows *of, size_t count, float *x) {
    attni_norm norm = of->turn->norm;
    norm.weight = weight_of(of->turn, of->h);
    prepare(of, count, x);
    of->kernels->norm(&norm, count, of->D, x, (ptrdiff_t)of->D, x, (ptrdiff_t)of->D);
}

static void norm_all_heads(head_rows of, size_t count, float *x) {
    for (size_t r = 0; r < count; r++, of.t++)
        norm_over_heads(of, x + r * of.D);
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

static void multiply_channels(const attni_turn *turn, size_t h, size_t count, size_t D, float *x) {
    const float *factors = turn->channels + h / turn->sharers * D;
    for (size_t r = 0; r < count; r++, x += D)
        for (size_t d = 0; d < D; d++)
            x[d] *= factors[d];
}

static void multiply_rows(const head_rows *of, size_t count, float *x) {
    const attni_turn *turn = of->turn;
    const int64_t *positions = turn->positions ? turn->positions + of->b * turn->stride + of->t : NULL;
    for (size_t r = 0; r < count && (turn->head_factors || attni_has_factor(turn)); r++)
        multiply(turn, of->h, positions ? (ptrdiff_t)positions[r] : attni_add(of->first, (ptrdiff_t)(of->t + r)), of->D,
                 x + r * of->D);
}

void attni_turn_rows(const attni_kernels *kernels, const attni_turn *turn, const attni_view *view, size_t b, size_t h,
                     size_t t, size_t count, size_t D, ptrdiff_t first, float *x) {
    const head_rows of = {kernels, turn, view, b, h, t, D, first};
    if (!turn->normed)
        prepare(&of, count, x);
    else if (turn->heads)
        norm_all_heads(of, count, x);
    else
        norm_rows(&of, count, x);
    if (!turn->after)
        rotate(&of, count, x);
    multiply_rows(&of, count, x);
    if (turn->channels)
        multiply_channels(turn, h, count, D, x);
}

/* -- back -- */

/* Whether any gradient is not 0: those of masked rows are, whatever the rows are. */
static bool any_gradient(size_t heads, size_t D, const float *g, size_t stride) {
    for (size_t h = 0; h < heads; h++)
        for (size_t d = 0; d < D; d++)
            if (g[h * stride + d] != 0)
                return true;
    return false;
}

/* n heads of a token from of.h on, over whose rows a norm runs, the first one's gradients at g; room [2, n, D]. */
static void norm_back(head_rows of, size_t n, float *g, size_t stride, double *sums, float *room) {
    const size_t first = of.h, D = of.D;
    float *d = room + n * D;
    attni_norm norm = of.turn->norm;
    const attni_norm_back back = {
        .x = room, .g = d, .dx = d, .d_weight = sums ? sums + first * of.turn->head_weights : NULL};
    if (!any_gradient(n, D, g, stride))
        return;
    norm.weight = weight_of(of.turn, first);
    for (size_t i = 0; i < n; i++) {
        of.h = first + i;
        prepare(&of, 1, room + i * D);
        memcpy(d + i * D, g + i * stride, D * sizeof *d);
    }
    of.kernels->norm_back(&norm, 1, n * D, &back);
    for (size_t i = 0; i < n; i++)
        memcpy(g + i * stride, d + i * D, D * sizeof *d);
}

/* Adds the product of a row's gradients and the row as it would be without the head's factor; room [D]. */
static void factor_back(const head_rows *of, const float *g, double *sums, float *room) {
    attni_turn turn = *of->turn;
    turn.head_factors = NULL;
    if (!any_gradient(1, of->D, g, 0))
        return;
    attni_turn_rows(of->kernels, &turn, of->view, of->b, of->h, of->t, 1, of->D, of->first, room);
    sums[of->h] += of->kernels->dot(of->D, g, room);
}

void attni_turn_back(const attni_kernels *kernels, const attni_turn *turn, const attni_view *view, size_t b,
                     size_t heads, size_t t, size_t D, ptrdiff_t first, float *g, size_t stride, attni_turn_sums sums,
                     float *room) {
    head_rows of = {kernels, turn, view, b, 0, t, D, first};
    for (of.h = 0; of.h < heads; of.h++) {
        if (sums.factors)
            factor_back(&of, g + of.h * stride, sums.factors, room);
        multiply_rows(&of, 1, g + of.h * stride);
        if (!turn->after)
            rotate_by(&of, 1, -1, g + of.h * stride);
    }
    const size_t together = turn->heads ? heads : 1;
    for (of.h = 0; turn->normed && of.h < heads; of.h += together)
        norm_back(of, together, g + of.h * stride, stride, sums.weights, room);
    for (of.h = 0; turn->after && of.h < heads; of.h++)
        rotate_by(&of, 1, -1, g + of.h * stride);
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
