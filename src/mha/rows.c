/* SPDX-License-Identifier: BSD-3-Clause */
#include "mha/rows.h"

#include "context/sizes.h"

/* Elements of a unit of work: a few microseconds. */
enum { UNIT = 16384 };

typedef struct share {
    size_t count, step;
    attni_row_work work;
    void *arg;
} share;

static void share_unit(void *arg, size_t unit, size_t worker) {
    const share *s = arg;
    (void)worker;
    s->work(s->arg, unit * s->step, attni_min(s->count, (unit + 1) * s->step));
}

void attni_share_rows(attn_context *context, size_t count, size_t width, double flops, attni_row_work work, void *arg) {
    share s = {count, attni_max(1, UNIT / attni_max(1, width)), work, arg};
    attni_parallel(context, attni_ceil_div(count, s.step), flops * (double)count * (double)width, share_unit, &s);
}

typedef struct job {
    const attni_kernels *kernels;
    const attni_rows *rows;
    const attni_norm *norm; /* or NULL: */
    const attni_activation *activation;
} job;

/* A norm whose outputs are those of rows from `begin` on. */
static attni_norm norm_from(const attni_norm *norm, size_t begin) {
    attni_norm n = *norm;
    n.mean = n.mean ? n.mean + begin : NULL;
    n.inverse_deviation = n.inverse_deviation ? n.inverse_deviation + begin : NULL;
    return n;
}

/* Rows [begin, end) in the order of [B,H,T], as far as one head goes; returns how many. */
static size_t run_piece(const job *j, size_t begin, size_t end) {
    const attni_rows *r = j->rows;
    const size_t t = begin % r->T, h = begin / r->T % r->H, b = begin / r->T / r->H;
    const size_t count = attni_min(end - begin, r->T - t);
    const float *x = attni_at(&r->x, b, h, t);
    float *y = attni_at(&r->y, b, h, t);
    if (j->norm) {
        const attni_norm norm = norm_from(j->norm, begin);
        j->kernels->norm(&norm, count, r->width, x, r->x.stride_t, y, r->y.stride_t);
    } else {
        j->kernels->activate(j->activation, count, r->width, x, r->x.stride_t, attni_at(&r->factor, b, h, t),
                             r->factor.stride_t, y, r->y.stride_t);
    }
    return count;
}

static void run_rows(void *arg, size_t begin, size_t end) {
    while (begin < end)
        begin += run_piece(arg, begin, end);
}

/* What an element takes, in the floating-point operations of a matrix product. */
enum { NORM_FLOPS = 16, ACTIVATION_FLOPS = 48 };

void attni_norm_rows(attn_context *context, const attni_norm *norm, const attni_rows *rows) {
    job j = {context->kernels, rows, norm, NULL};
    attni_share_rows(context, rows->B * rows->H * rows->T, rows->width, NORM_FLOPS, run_rows, &j);
}

void attni_norm_matrix(attn_context *context, const attni_norm *norm, size_t width, const attni_matrix *x,
                       const attni_matrix *y) {
    const attni_rows rows = {
        .B = 1, .H = 1, .T = x->rows, .width = width, .x = attni_matrix_view(x), .y = attni_matrix_view(y)};
    attni_norm_rows(context, norm, &rows);
}

void attni_activate_rows(attn_context *context, const attni_activation *activation, const attni_rows *rows) {
    job j = {context->kernels, rows, NULL, activation};
    attni_share_rows(context, rows->B * rows->H * rows->T, rows->width, ACTIVATION_FLOPS, run_rows, &j);
}
