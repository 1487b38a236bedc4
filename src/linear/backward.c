/* SPDX-License-Identifier: BSD-3-Clause */
/* Gradients of linear maps: products as the map itself is one, of panels that are made for the call. dx = dy · W wants
 * the panels of W the other way round; dW = dyᵀ · x, or its transpose, is summed over so many rows at a time, of which
 * one factor becomes panels and the other is turned. */
#include <string.h>

#include "context/sizes.h"
#include "linear/linear.h"

/* Rows of a sum, for which there is room. */
enum { STRIPE = 384 };

/* What a number that is moved takes, in the floating-point operations of a matrix product. */
enum { MOVE_FLOPS = 16 };

/* Panels [in, out] in f32, without memory. */
static attni_linear panels_for(const attn_context *context, size_t in, size_t out) {
    return (attni_linear){.out = out,
                          .in = in,
                          .depth = in,
                          .panel = attni_panel_for_weights(context, ATTN_F32),
                          .type = ATTN_F32,
                          .stride_out = 1,
                          .stride_in = out};
}

static size_t floats_of(const attni_linear *panels) { return panels->depth * attni_round_up(panels->out, 16); }

/* -- the weight, turned -- */

/* Numbers of the depth that are taken from panels together: whole groups of any type. */
enum { BLOCK = 32 };

typedef struct turning {
    const attn_context *context;
    const attni_linear *from, *to;
    attni_left identity; /* [BLOCK, BLOCK], in the form that panels of the type are multiplied by */
} turning;

static size_t width_at(const attni_linear *l, size_t first) {
    return attni_min(l->panel.width, attni_round_up(l->out - first, 16));
}

/* Inputs [k, k + count) of the panel that begins with feature o, in f32: where they are, or in room [BLOCK, width]. */
static const float *rows_of_panel(const turning *t, size_t o, size_t k, size_t count, float *room) {
    const attni_linear *from = t->from;
    const size_t width = width_at(from, o);
    const char *data = from->panels + attni_panel_bytes(from, o * from->depth + k * width);
    const attni_panels panels = {.type = from->type,
                                 .data = data,
                                 .width = width,
                                 .ld = width,
                                 .half = from->half,
                                 .scale = from->scale ? from->scale + o : NULL};
    if (from->type == ATTN_F32)
        return (const float *)(const void *)data;
    attni_multiply_left(t->context, count, width, count, 1.0F, &t->identity, 0, 0, &panels, false, room, width);
    return room;
}

/* Inputs [k, end), of one block, of all features, as columns of a panel [out, width]. */
static void turn_block(const turning *t, size_t k, size_t end, size_t width, float *panel) {
    enum { WIDEST = 128 };
    const attni_linear *from = t->from;
    const size_t step = from->panel.width, before = k % BLOCK;
    float room[BLOCK * WIDEST];
    for (size_t o = 0; o < from->out; o += step) {
        const size_t ld = width_at(from, o);
        const float *rows = rows_of_panel(t, o, k - before, before + end - k, room) + before * ld;
        t->context->kernels->transpose(ATTN_F32, end - k, attni_min(step, from->out - o), rows, (ptrdiff_t)ld,
                                       attni_round_up(end - k, 16), panel + o * width, width);
    }
}

/* Panel `unit` of the turned weight. */
static void turn_unit(void *arg, size_t unit, size_t worker) {
    const turning *t = arg;
    const size_t first = unit * t->to->panel.width, width = width_at(t->to, first);
    const size_t last = attni_min(first + width, t->from->in);
    float *panel = (float *)(void *)t->to->panels + first * t->to->depth;
    (void)worker;
    for (size_t k = first, end; k < last; k = end) {
        end = attni_min(last, k / BLOCK * BLOCK + BLOCK);
        turn_block(t, k, end, width, panel + k - first);
    }
}

static size_t identity_floats(const attn_context *context, const attni_linear *linear) {
    return BLOCK * BLOCK + attni_left_floats(context, attni_form_for(context, ATTN_F32, linear->type), BLOCK, BLOCK);
}

static attni_left identity_of(const attn_context *context, const attni_linear *linear, float *room) {
    const attni_form form = attni_form_for(context, ATTN_F32, linear->type);
    memset(room, 0, BLOCK * BLOCK * sizeof *room);
    for (size_t i = 0; i < BLOCK; i++)
        room[i * BLOCK + i] = 1;
    const attni_left left = attni_left_of(context, form, BLOCK, BLOCK, room, BLOCK, room + (size_t)BLOCK * BLOCK);
    if (form != ATTNI_PLAIN)
        attni_prepare(context, &left, 0, BLOCK, BLOCK, room, BLOCK);
    return left;
}

static void back_to_x(attn_context *context, const attni_linear_back *b, float *room) {
    const attni_linear *from = b->linear;
    attni_linear to = panels_for(context, from->out, from->in);
    const attni_product product = {.linear = &to, .x = b->dy, .y = b->dx, .residual = b->residual};
    turning t = {context, from, &to, identity_of(context, from, room)};
    to.panels = (char *)(room + identity_floats(context, from));
    attni_parallel(context, attni_ceil_div(to.out, to.panel.width), MOVE_FLOPS * (double)from->in * (double)from->out,
                   turn_unit, &t);
    attni_project(context, &product, 1);
}

/* -- the gradient of the weight -- */

/* y [left columns, right columns] is the sum over rows of left · right. */
typedef struct sum {
    const attn_context *context;
    attni_weight right; /* some of its rows, as a weight [in, out], */
    attni_linear panels;
    attni_matrix left; /* and as many of the other's */
    size_t columns;
    float *turned; /* [columns, STRIPE] */
} sum;

enum { STRIP = 16 };

static void pack_unit(void *arg, size_t unit, size_t worker) {
    const sum *s = arg;
    const size_t panels = attni_ceil_div(s->right.out, s->panels.panel.width), row = (unit - panels) * STRIP;
    (void)worker;
    if (unit < panels)
        attni_linear_pack_panel(s->context, &s->right, &s->panels, unit * s->panels.panel.width);
    else
        s->context->kernels->transpose(ATTN_F32, attni_min(STRIP, s->left.rows - row), s->columns,
                                       s->left.data + row * s->left.ld, (ptrdiff_t)s->left.ld, STRIP, s->turned + row,
                                       STRIPE);
}

static void pack_stripe(attn_context *context, sum *s) {
    const size_t units = attni_ceil_div(s->right.out, s->panels.panel.width) + attni_ceil_div(s->left.rows, STRIP);
    attni_parallel(context, units, MOVE_FLOPS * (double)s->left.rows * (double)(s->columns + s->right.out), pack_unit,
                   s);
}

static attni_matrix rows_from(const attni_matrix *x, size_t row) {
    return (attni_matrix){x->data + row * x->ld, attni_min(STRIPE, x->rows - row), x->ld};
}

/* y (+)= leftᵀ · right, both of as many rows. */
static void multiply_turned(attn_context *context, const attni_matrix *left, size_t columns, const attni_matrix *right,
                            size_t width, bool accumulate, const attni_matrix *y, float *room) {
    for (size_t row = 0; row < left->rows; row += STRIPE) {
        const attni_matrix of = rows_from(right, row);
        sum s = {.context = context,
                 .right = {.data = of.data, .stride_in = of.ld, .stride_out = 1, .in = of.rows, .out = width},
                 .panels = panels_for(context, of.rows, width),
                 .left = rows_from(left, row),
                 .columns = columns,
                 .turned = room};
        const attni_product product = {
            .linear = &s.panels, .x = {room, columns, STRIPE}, .y = *y, .residual = row || accumulate ? y : NULL};
        s.panels.panels = (char *)(room + columns * STRIPE);
        pack_stripe(context, &s);
        attni_project(context, &product, 1);
    }
}

static void back_to_weight(attn_context *context, const attni_linear_back *b, float *room) {
    const attni_linear *l = b->linear;
    const bool by_out = l->stride_in == 1;
    const attni_matrix y = {b->d_weight, by_out ? l->out : l->in, by_out ? l->stride_out : l->stride_in};
    if (by_out)
        multiply_turned(context, &b->dy, l->out, &b->x, l->in, b->accumulate, &y, room);
    else
        multiply_turned(context, &b->x, l->in, &b->dy, l->out, b->accumulate, &y, room);
    for (size_t r = 0; r < y.rows && b->x.rows == 0 && !b->accumulate; r++)
        memset(y.data + r * y.ld, 0, (by_out ? l->in : l->out) * sizeof *y.data);
}

/* -- sums over rows -- */

enum { COLUMNS = 64 };

typedef struct column_sums {
    const attni_matrix *x, *y;
    size_t width;
    double factor;
    bool add;
    float *to;
} column_sums;

static void sum_columns(void *arg, size_t unit, size_t worker) {
    const column_sums *s = arg;
    const size_t first = unit * COLUMNS, count = attni_min(COLUMNS, s->width - first);
    double sums[COLUMNS] = {0};
    (void)worker;
    for (size_t r = 0; r < s->x->rows; r++) {
        const float *x = s->x->data + r * s->x->ld + first, *y = s->y ? s->y->data + r * s->y->ld + first : NULL;
        for (size_t c = 0; c < count; c++)
            sums[c] += y ? (double)x[c] * (double)y[c] : (double)x[c];
    }
    for (size_t c = 0; c < count; c++)
        s->to[first + c] = (float)(s->factor * sums[c] + (s->add ? (double)s->to[first + c] : 0));
}

void attni_sum_columns(attn_context *context, const attni_matrix *x, const attni_matrix *y, size_t width, double factor,
                       bool add, float *to) {
    column_sums s = {x, y, width, factor, add, to};
    attni_parallel(context, attni_ceil_div(width, COLUMNS), MOVE_FLOPS * (double)x->rows * (double)width, sum_columns,
                   &s);
}

size_t attni_linear_back_floats(const attn_context *context, const attni_linear *l) {
    const attni_linear turned = panels_for(context, l->out, l->in);
    const size_t wider = attni_round_up(attni_max(l->in, l->out), 16);
    return attni_max(identity_floats(context, l) + floats_of(&turned), 2 * wider * STRIPE);
}

void attni_linear_back_run(attn_context *context, const attni_linear_back *back, float *room) {
    if (back->d_weight)
        back_to_weight(context, back, room);
    if (back->d_bias)
        attni_sum_columns(context, &back->dy, NULL, back->linear->out, 1, back->accumulate, back->d_bias);
    if (back->dx.data)
        back_to_x(context, back, room);
}
