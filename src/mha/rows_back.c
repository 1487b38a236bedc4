/* SPDX-License-Identifier: BSD-3-Clause */
/* The gradients of what rows.c does. */
#include <string.h>

#include "context/sizes.h"
#include "mha/rows.h"

/* -- norms -- */

/* Rows come in blocks, whose number is bounded so that their sums stay small, and whose size is the shape's: sums of
 * weight and bias, [blocks, 2, width], are made in each and then added in their order. */
enum { MOST_BLOCKS = 64, LEAST_ELEMENTS = 16384 };

typedef struct norm_job {
    const attni_kernels *kernels;
    const attni_norm *norm;
    const attni_norm_rows_back *rows;
    size_t count, step, blocks;
    double *sums; /* or NULL */
} norm_job;

static size_t block_rows(size_t count, size_t width) {
    const size_t least = attni_ceil_div(LEAST_ELEMENTS, attni_max(1, width));
    return attni_round_up(attni_max(least, attni_ceil_div(count, MOST_BLOCKS)), 4);
}

static norm_job norm_job_of(const attni_norm_rows_back *r) {
    const size_t count = r->width ? r->B * r->H * r->T : 0, step = block_rows(count, r->width);
    return (norm_job){.rows = r, .count = count, .step = step, .blocks = attni_ceil_div(count, step)};
}

size_t attni_norm_backward_scratch(const attni_norm_rows_back *rows) {
    return rows->d_weight || rows->d_bias ? norm_job_of(rows).blocks * 2 * rows->width * sizeof(double) : 0;
}

/* Rows [begin, end) in the order of [B,H,T], as far as one head goes; returns how many. */
static size_t norm_piece(const norm_job *j, size_t begin, size_t end, double *sums) {
    const attni_norm_rows_back *r = j->rows;
    const size_t t = begin % r->T, h = begin / r->T % r->H, b = begin / r->T / r->H;
    const size_t count = attni_min(end - begin, r->T - t);
    const attni_norm_back back = {.x = attni_at(&r->x, b, h, t),
                                  .g = attni_at(&r->d_out, b, h, t),
                                  .dx = attni_at(&r->dx, b, h, t),
                                  .ldx = r->x.stride_t,
                                  .ldg = r->d_out.stride_t,
                                  .lddx = r->dx.stride_t,
                                  .add = r->add_dx,
                                  .d_weight = r->d_weight ? sums : NULL,
                                  .d_bias = r->d_bias ? sums + r->width : NULL};
    j->kernels->norm_back(j->norm, count, r->width, &back);
    return count;
}

static void norm_block(void *arg, size_t unit, size_t worker) {
    const norm_job *j = arg;
    const size_t end = attni_min(j->count, (unit + 1) * j->step);
    double *const sums = j->sums ? j->sums + unit * 2 * j->rows->width : NULL;
    (void)worker;
    if (sums)
        memset(sums, 0, 2 * j->rows->width * sizeof *sums);
    for (size_t begin = unit * j->step; begin < end;)
        begin += norm_piece(j, begin, end, sums);
}

static void put_sum(const norm_job *j, size_t at, float *to) {
    double sum = 0;
    for (size_t b = 0; b < j->blocks; b++)
        sum += j->sums[b * 2 * j->rows->width + at];
    *to = (float)(j->rows->add_weights ? sum + (double)*to : sum);
}

static void put_sums(void *arg, size_t begin, size_t end) {
    const norm_job *j = arg;
    for (size_t i = begin; i < end; i++) {
        if (j->rows->d_weight)
            put_sum(j, i, j->rows->d_weight + i);
        if (j->rows->d_bias)
            put_sum(j, j->rows->width + i, j->rows->d_bias + i);
    }
}

void attni_norm_backward(attn_context *context, const attni_norm *norm, const attni_norm_rows_back *rows,
                         void *scratch) {
    enum { FLOPS = 32, SUM_FLOPS = 4 };
    norm_job j = norm_job_of(rows);
    const bool sums = rows->d_weight || rows->d_bias;
    j.kernels = context->kernels;
    j.norm = norm;
    j.sums = sums ? scratch : NULL;
    attni_parallel(context, j.blocks, FLOPS * (double)j.count * (double)rows->width, norm_block, &j);
    if (sums)
        attni_share_rows(context, rows->width, 2 * j.blocks, SUM_FLOPS, put_sums, &j);
}

attni_norm_rows_back attni_norm_matrix_back(size_t width, const attni_matrix *x, const attni_matrix *d_out,
                                            const attni_matrix *dx, attni_norm_sums sums, bool add_dx, bool add_sums) {
    return (attni_norm_rows_back){.B = 1,
                                  .H = 1,
                                  .T = x->rows,
                                  .width = width,
                                  .x = attni_matrix_view(x),
                                  .d_out = attni_matrix_view(d_out),
                                  .dx = attni_matrix_view(dx),
                                  .d_weight = sums.weight,
                                  .d_bias = sums.bias,
                                  .add_dx = add_dx,
                                  .add_weights = add_sums};
}

/* -- activations -- */

typedef struct activation_job {
    const attni_kernels *kernels;
    const attni_activation *activation;
    const attni_activation_rows_back *rows;
} activation_job;

static void activation_rows(void *arg, size_t begin, size_t end) {
    const activation_job *j = arg;
    const attni_activation_rows_back *r = j->rows;
    for (; begin < end; begin++) {
        const size_t t = begin % r->T, h = begin / r->T % r->H, b = begin / r->T / r->H;
        j->kernels->activate_back(j->activation, r->width, attni_at(&r->x, b, h, t), attni_at(&r->factor, b, h, t),
                                  attni_at(&r->d_out, b, h, t), attni_at(&r->dx, b, h, t),
                                  attni_at(&r->d_factor, b, h, t));
    }
}

void attni_activate_backward(attn_context *context, const attni_activation *activation,
                             const attni_activation_rows_back *rows) {
    enum { FLOPS = 64 };
    activation_job j = {context->kernels, activation, rows};
    attni_share_rows(context, rows->B * rows->H * rows->T, rows->width, FLOPS, activation_rows, &j);
}
