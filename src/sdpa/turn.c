/* SPDX-License-Identifier: BSD-3-Clause */
/* Queries, keys and values on their way in: normed, then rotated, then multiplied. */
#include <math.h>

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

/* Of a token's rows in heads [h, end), over all of which a norm runs: moments, and centre; x [D] is room. */
static attni_moments moments_of(head_rows of, size_t h, size_t end, float around, float *x) {
    attni_moments sum = {0, 0};
    for (of.h = h; of.h < end; of.h++) {
        prepare(&of, 1, x);
        const attni_moments m = of.kernels->moments(of.turn->norm.kind, of.D, x, around);
        sum.first += m.first;
        sum.second += m.second;
    }
    return sum;
}

static attni_centre centre_of(head_rows of, size_t h, size_t end, float *x) {
    const attni_norm *norm = &of.turn->norm;
    const size_t n = (end - h) * of.D;
    attni_moments m = moments_of(of, h, end, 0.0F, x);
    float around = 0;
    if (norm->kind == ATTN_LAYER_NORM) {
        around = (float)(m.first / (double)n);
        m = moments_of(of, h, end, around, x);
    }
    return attni_centre_of(norm, n, &m, around);
}

static void norm_over_heads(head_rows of, float *x) {
    const attni_centre centre = centre_of(of, 0, of.turn->heads, x);
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

/* What a norm's derivative needs of the rows that it runs over: Σ of the gradients, times the weights, alone and times
 * the normed numbers. */
typedef struct norm_sums {
    double alone, times;
} norm_sums;

/* Element d of the row x as it is normed, without weights. */
static double normed(const attni_centre *c, const float *x, size_t d) { return ((double)x[d] - c->mean) * c->factor; }

static double weighted(const float *weight, const float *g, size_t d) {
    return weight ? (double)g[d] * (double)weight[d] : (double)g[d];
}

static void add_sums(const attni_centre *c, const float *weight, size_t D, const float *x, const float *g,
                     norm_sums *sums) {
    for (size_t d = 0; d < D; d++) {
        sums->alone += weighted(weight, g, d);
        sums->times += weighted(weight, g, d) * normed(c, x, d);
    }
}

/* The sums as they are taken off each element, of rows of n numbers; a length below eps is a constant. */
static norm_sums shares_of(const attni_norm *norm, size_t n, const attni_centre *c, norm_sums sums) {
    const bool constant = norm->kind == ATTN_L2_NORM && c->factor >= 1 / (double)norm->eps;
    return (norm_sums){.alone = norm->kind == ATTN_LAYER_NORM ? sums.alone / (double)n : 0,
                       .times = constant                     ? 0
                                : norm->kind == ATTN_L2_NORM ? sums.times
                                                             : sums.times / (double)n};
}

static void norm_back(const attni_centre *c, const float *weight, norm_sums shares, size_t D, const float *x,
                      float *g) {
    for (size_t d = 0; d < D; d++)
        g[d] = (float)(c->factor * (weighted(weight, g, d) - shares.alone - normed(c, x, d) * shares.times));
}

/* Whether any gradient is not 0: those of masked rows are, whatever the rows are. */
static bool any_gradient(size_t heads, size_t D, const float *g, size_t stride) {
    for (size_t h = 0; h < heads; h++)
        for (size_t d = 0; d < D; d++)
            if (g[h * stride + d] != 0)
                return true;
    return false;
}

/* Heads [h, end) of a token, over whose rows a norm runs; head h's gradients are at g. */
static void norm_heads_back(head_rows of, size_t h, size_t end, float *g, size_t stride, float *x) {
    if (!any_gradient(end - h, of.D, g, stride))
        return;
    const attni_centre c = centre_of(of, h, end, x);
    norm_sums sums = {0, 0};
    for (of.h = h; of.h < end; of.h++) {
        prepare(&of, 1, x);
        add_sums(&c, weight_of(of.turn, of.h), of.D, x, g + (of.h - h) * stride, &sums);
    }
    sums = shares_of(&of.turn->norm, (end - h) * of.D, &c, sums);
    for (of.h = h; of.h < end; of.h++) {
        prepare(&of, 1, x);
        norm_back(&c, weight_of(of.turn, of.h), sums, of.D, x, g + (of.h - h) * stride);
    }
}

void attni_turn_back(const attni_kernels *kernels, const attni_turn *turn, const attni_view *view, size_t b,
                     size_t heads, size_t t, size_t D, ptrdiff_t first, float *g, size_t stride, float *room) {
    head_rows of = {kernels, turn, view, b, 0, t, D, first};
    for (of.h = 0; of.h < heads; of.h++) {
        multiply_rows(&of, 1, g + of.h * stride);
        if (!turn->after)
            rotate_by(&of, 1, -1, g + of.h * stride);
    }
    for (size_t h = 0, n = turn->heads ? heads : 1; turn->normed && h < heads; h += n)
        norm_heads_back(of, h, h + n, g + h * stride, stride, room);
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
