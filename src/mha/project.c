/* SPDX-License-Identifier: BSD-3-Clause */
/* Projections: products with packed panels, in pieces that suit the backend, the bias being where each sum begins. */
#include <string.h>

#include "context/sizes.h"
#include "mha/mha.h"

/* Rows of x that stay in the L2 while a panel goes by. */
enum { BAND = 192 };

static size_t count_units(const attni_product *p) {
    return attni_ceil_div(p->linear->out, p->linear->panel.width) * attni_ceil_div(p->x.rows, BAND);
}

static void fill_bias(const attni_linear *linear, size_t first, size_t width, const attni_matrix *y, size_t row,
                      size_t rows) {
    for (size_t r = row; r < row + rows; r++)
        memcpy(y->data + r * y->ld + first, linear->bias + first, width * sizeof(float));
}

/* Rows [row, row + rows) of y, columns of the panel that begins at `first`. */
static void project_piece(const attni_blas *blas, const attni_product *p, size_t first, size_t row, size_t rows) {
    const attni_linear *linear = p->linear;
    const size_t width = attni_min(linear->panel.width, linear->out - first),
                 ldb = attni_min(linear->panel.width, attni_round_up(linear->out - first, 16));
    const float *panel = linear->panels + first * linear->in;
    float *y = p->y.data + first;
    if (linear->bias)
        fill_bias(linear, first, width, &p->y, row, rows);
    for (size_t k = 0; k < linear->in; k += linear->panel.depth)
        for (size_t r = row; r < row + rows; r += linear->panel.rows)
            attni_sgemm(blas, attni_min(linear->panel.rows, row + rows - r), width,
                        attni_min(linear->panel.depth, linear->in - k), 1.0F, p->x.data + r * p->x.ld + k, p->x.ld,
                        panel + k * ldb, ldb, k || linear->bias ? 1.0F : 0.0F, y + r * p->y.ld, p->y.ld);
}

typedef struct job {
    const attni_blas *blas;
    const attni_product *products;
} job;

static void project_unit(void *arg, size_t unit, size_t worker) {
    const job *j = arg;
    const attni_product *p = j->products;
    (void)worker;
    for (; unit >= count_units(p); p++)
        unit -= count_units(p);
    const size_t panels = attni_ceil_div(p->linear->out, p->linear->panel.width), row = unit / panels * BAND;
    project_piece(j->blas, p, unit % panels * p->linear->panel.width, row, attni_min(BAND, p->x.rows - row));
}

void attni_project(attn_context *context, const attni_product *products, size_t count) {
    size_t units = 0;
    double flops = 0;
    for (size_t i = 0; i < count; i++) {
        units += count_units(&products[i]);
        flops += 2 * (double)products[i].x.rows * (double)products[i].linear->in * (double)products[i].linear->out;
    }
    job j = {context->blas, products};
    attni_blas_parallel(context, units, flops, project_unit, &j);
}
