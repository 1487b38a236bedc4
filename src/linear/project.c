/* SPDX-License-Identifier: BSD-3-Clause */
/* Projections: products with packed panels, in pieces that suit the backend, bias and residual being where each sum
 * begins. */
#include <string.h>

#include "context/sizes.h"
#include "linear/linear.h"

/* Rows of x that stay in the L2 while a panel goes by, at most, and the fewest for which it pays to read panels again.
 */
enum { BAND = 192, LEAST_BAND = 64 };

typedef struct job {
    const attn_context *context;
    const attni_product *products;
    size_t cuts;                          /* of what would be a band */
    attni_left left[ATTNI_MOST_PRODUCTS]; /* of each, x in its form; */
    bool same[ATTNI_MOST_PRODUCTS];       /* the one before may have made it already */
} job;

static size_t count_columns(const attni_product *p) { return attni_ceil_div(p->linear->out, p->linear->panel.unit); }

static size_t count_bands(const attni_product *p) { return attni_ceil_div(p->x.rows, BAND); }

/* Rows of the bands of a product. */
static size_t band_of(const job *j, const attni_product *p) {
    const size_t rows = attni_ceil_div(p->x.rows, count_bands(p) * j->cuts);
    return j->cuts == 1 ? BAND : attni_round_up(rows, 4);
}

static size_t count_units(const job *j, const attni_product *p) {
    return p->x.rows ? count_columns(p) * attni_ceil_div(p->x.rows, band_of(j, p)) : 0;
}

/* Threads come out more evenly with lower bands, where these change no bit. */
static size_t cuts_for(const attn_context *context, const attni_product *products, size_t count) {
    size_t units = 0, most = context->threads == 1 ? 1 : BAND / LEAST_BAND;
    for (const attni_product *p = products; p < products + count; p++) {
        const size_t bands = count_bands(p);
        units += count_columns(p) * bands;
        most = attni_min(most,
                         attni_rows_are_free(context, p->linear->type) && bands ? p->x.rows / (bands * LEAST_BAND) : 1);
    }
    return attni_even_shares(units, 1, most, context->threads);
}

size_t attni_gate_floats(const attn_context *context, const attni_linear *linear) {
    return context->threads * BAND * linear->panel.unit;
}

/* Columns [first, first + width) of rows [row, row + rows) of a product. */
typedef struct piece {
    size_t row, rows, first, width;
} piece;

/* What a sum begins with: residual + bias, either of which may be NULL. */
static void begin_row(size_t width, const float *residual, const float *bias, float *y) {
    const float *from = residual ? residual : bias;
    if (residual && bias)
        for (size_t j = 0; j < width; j++)
            y[j] = residual[j] + bias[j];
    else if (from && from != y)
        memcpy(y, from, width * sizeof *y);
}

/* Returns whether the piece holds something to add to. */
static bool begin(const piece *at, const attni_matrix *residual, const float *bias, float *y, size_t ldy) {
    for (size_t r = 0; r < at->rows && (residual || bias); r++)
        begin_row(at->width, residual ? residual->data + (at->row + r) * residual->ld + at->first : NULL,
                  bias ? bias + at->first : NULL, y + r * ldy);
    return residual || bias;
}

/* Integers are exact at any depth, and a panel of them is a quarter as large. */
static size_t depth_of(const attni_linear *linear, const attni_left *x) {
    return x->form == ATTNI_QUANTIZED ? 4 * linear->panel.depth : linear->panel.depth;
}

/* From one panel of so many columns to the next. */
static size_t panel_step(const attni_linear *linear, size_t width) {
    return linear->type == ATTN_INT4 ? attni_panel_bytes(linear, width * linear->depth) : width * linear->depth;
}

/* One product, from row r of the piece and input feature k on: y (+)= x · W. The last panel is as wide as it must
 * be. */
static void multiply_part(const attn_context *context, const attni_linear *linear, const attni_left *x, const piece *at,
                          size_t r, size_t k, bool add, float *y, size_t ldy) {
    const attni_panel *most = &linear->panel;
    const size_t rows = attni_min(most->rows, at->rows - r), depth = attni_min(depth_of(linear, x), linear->in - k);
    for (size_t j = 0, n; j < at->width; j += n) {
        const size_t first = at->first + j, last = attni_round_up(linear->out - first, 16);
        const size_t ld = attni_min(most->width, last);
        n = attni_min(at->width - j, ld < most->width ? ld : last / most->width * most->width);
        const attni_panels w = {.type = linear->type,
                                .data = linear->panels + attni_panel_bytes(linear, first * linear->depth + k * ld),
                                .width = ld,
                                .ld = ld,
                                .step = panel_step(linear, ld),
                                .half = linear->half,
                                .scale = linear->scale ? linear->scale + first : NULL};
        attni_multiply_left(context, rows, n, depth, 1.0F, x, at->row + r, k, &w, add, y + r * ldy + j, ldy);
    }
}

static void multiply(const attn_context *context, const attni_linear *linear, const attni_left *x, const piece *at,
                     const attni_matrix *residual, float *y, size_t ldy) {
    const bool begun = begin(at, residual, linear->bias, y, ldy);
    for (size_t k = 0; k < linear->in; k += depth_of(linear, x))
        for (size_t r = 0; r < at->rows; r += linear->panel.rows)
            multiply_part(context, linear, x, at, r, k, k || begun, y, ldy);
}

static void finish(const job *j, const attni_product *p, const attni_left *x, const piece *at, float *y, float *gate) {
    const ptrdiff_t ldy = (ptrdiff_t)p->y.ld, ldg = (ptrdiff_t)at->width;
    if (p->gate) {
        multiply(j->context, p->gate, x, at, NULL, gate, at->width);
        j->context->kernels->activate(p->activation, at->rows, at->width, gate, ldg, y, ldy, y, ldy);
    } else if (p->activation) {
        j->context->kernels->activate(p->activation, at->rows, at->width, y, ldy, NULL, 0, y, ldy);
    }
}

static void project_unit(void *arg, size_t unit, size_t worker) {
    const job *j = arg;
    const attni_product *p = j->products;
    const attni_left *x = j->left;
    for (; unit >= count_units(j, p); p++, x++)
        unit -= count_units(j, p);
    const size_t band = band_of(j, p), row = unit / count_columns(p) * band;
    const size_t first = unit % count_columns(p) * p->linear->panel.unit;
    const piece at = {row, attni_min(band, p->x.rows - row), first,
                      attni_min(p->linear->panel.unit, p->linear->out - first)};
    float *y = p->y.data + row * p->y.ld + first;
    multiply(j->context, p->linear, x, &at, p->residual, y, p->y.ld);
    finish(j, p, x, &at, y, p->gate ? p->gate_room + worker * BAND * p->linear->panel.unit : NULL);
}

/* -- x in its form -- */

size_t attni_product_floats(const attn_context *context, const attni_linear *linear, attn_dtype type, size_t rows) {
    return attni_left_floats(context, attni_form_for(context, type, linear->type), rows, linear->in);
}

/* Rows that are prepared as one unit. */
enum { TOGETHER = 16 };

static size_t count_preparations(const job *j, size_t i) {
    return j->same[i] || j->left[i].form == ATTNI_PLAIN ? 0 : attni_ceil_div(j->products[i].x.rows, TOGETHER);
}

static void prepare_unit(void *arg, size_t unit, size_t worker) {
    const job *j = arg;
    size_t i = 0;
    (void)worker;
    for (; unit >= count_preparations(j, i); i++)
        unit -= count_preparations(j, i);
    const attni_product *p = &j->products[i];
    attni_prepare(j->context, &j->left[i], unit * TOGETHER, attni_min(p->x.rows, (unit + 1) * TOGETHER), p->linear->in,
                  p->x.data, p->x.ld);
}

static bool same_rows(const attni_product *a, const attni_product *b) {
    return a->x.data == b->x.data && a->x.rows == b->x.rows && a->x.ld == b->x.ld && a->linear->in == b->linear->in &&
           a->linear->type == b->linear->type;
}

static void prepare(attn_context *context, job *j, size_t count) {
    enum { FLOPS = 16 }; /* as long as an element takes */
    size_t units = 0;
    double elements = 0;
    for (size_t i = 0; i < count; i++) {
        const attni_product *p = &j->products[i];
        j->same[i] = i > 0 && same_rows(p, p - 1);
        j->left[i] = j->same[i] ? j->left[i - 1]
                                : attni_left_of(context, attni_form_for(context, p->type, p->linear->type), p->x.rows,
                                                p->linear->in, p->x.data, p->x.ld, p->room);
        units += count_preparations(j, i);
        elements += count_preparations(j, i) ? (double)p->x.rows * (double)p->linear->in : 0;
    }
    attni_parallel(context, units, FLOPS * elements, prepare_unit, j);
}

void attni_project(attn_context *context, const attni_product *products, size_t count) {
    job j = {.context = context, .products = products, .cuts = cuts_for(context, products, count)};
    size_t units = 0;
    double flops = 0;
    for (size_t i = 0; i < count; i++) {
        const double maps = products[i].gate ? 2 : 1;
        units += count_units(&j, &products[i]);
        flops +=
            2 * maps * (double)products[i].x.rows * (double)products[i].linear->in * (double)products[i].linear->out;
    }
    prepare(context, &j, count);
    attni_blas_parallel(context, units, flops, project_unit, &j);
}
