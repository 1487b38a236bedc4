/* SPDX-License-Identifier: BSD-3-Clause */
/* What the answers should be, written plainly. */
#include "work/reference.h"

#include <math.h>
#include <stdlib.h>

#include "inside/inside.h"

/* Multiplications that a check may take, and rows. */
#define WORK_MAX 2e7
#define ROWS_MAX 200

/* Row i of head h of sequence b of the output, as it is and as it should be. */
typedef struct row {
    const work *w;
    size_t b, h, i;
    double *scores; /* [keys] */
    double *wide;   /* [M], for layers */
    double *truth;  /* [width of the output] */
} row;

static double get(const work *w, const attn_tensor *t, size_t i) {
    return dtype_get(&dtype_table[w->what.dtype], t->data, i);
}

/* Scores of keys [low, high) become probabilities. */
static void softmax(double *scores, key_range range) {
    double most = -(double)INFINITY, sum = 0;
    for (size_t j = range.low; j < range.high; j++)
        most = fmax(most, scores[j]);
    for (size_t j = range.low; j < range.high; j++)
        sum += scores[j] = exp(scores[j] - most);
    for (size_t j = range.low; j < range.high; j++)
        scores[j] /= sum;
}

static double varied(const row *r, const variant_spec *variant, double s, size_t j) {
    return variant->score != NULL ? variant->score(s, r->h, r->w->what.H, r->i, j) : s;
}

/* The scaled product of the row's query, whose first element is `q`, and a key. */
static double product(const row *r, size_t q, size_t key) {
    double s = 0;
    for (size_t d = 0; d < r->w->what.D; d++)
        s += get(r->w, &r->w->q, q + d) * get(r->w, &r->w->k, key + d);
    return s / sqrt((double)r->w->what.D);
}

static void attend(const row *r, const variant_spec *variant, size_t Tq) {
    const bench_case *c = &r->w->what;
    const size_t D = c->D, q = ((r->b * c->H + r->h) * Tq + r->i) * D;
    const size_t keys = (r->b * c->G + r->h / (c->H / c->G)) * c->T * D;
    const key_range range = variant->sees(r->i, c->T);
    for (size_t j = range.low; j < range.high; j++)
        r->scores[j] = varied(r, variant, product(r, q, keys + j * D), j);
    softmax(r->scores, range);
    for (size_t d = 0; d < D; d++) {
        r->truth[d] = 0;
        for (size_t j = range.low; j < range.high; j++)
            r->truth[d] += r->scores[j] * get(r->w, &r->w->v, keys + j * D + d);
    }
}

/* A row of dq: Σ p·(d_out·v − d_out·out)·slope·k / √D. */
static void attend_back(const row *r, const variant_spec *variant) {
    const work *w = r->w;
    const bench_case *c = &w->what;
    const size_t D = c->D, q = ((r->b * c->H + r->h) * c->T + r->i) * D;
    const size_t keys = (r->b * c->G + r->h / (c->H / c->G)) * c->T * D;
    const key_range range = variant->sees(r->i, c->T);
    double along = 0;
    attend(r, variant, c->T);
    for (size_t d = 0; d < D; d++) {
        along += get(w, &w->d_attended, q + d) * r->truth[d];
        r->truth[d] = 0;
    }
    for (size_t j = range.low; j < range.high; j++) {
        const double slope = variant->slope != NULL ? variant->slope(product(r, q, keys + j * D)) : 1;
        double ds = -along;
        for (size_t d = 0; d < D; d++)
            ds += get(w, &w->d_attended, q + d) * get(w, &w->v, keys + j * D + d);
        for (size_t d = 0; d < D; d++)
            r->truth[d] += r->scores[j] * ds * slope * get(w, &w->k, keys + j * D + d) / sqrt((double)D);
    }
}

static double dot(const float *a, const float *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

/* One head of a layer for one token, without ever projecting a key: q·(Wk x + bk) = (Wkᵀ q)·x + q·bk, and
 * Σ p (Wv x + bv) = Wv (Σ p x) + bv, as the p sum to 1. x [T, M] of one sequence. `to` [D]. */
static void attend_projected(const row *r, const float *x, size_t h, double *to) {
    const bench_case *c = &r->w->what;
    const layer_weights *weights = &r->w->weights;
    const variant_spec *variant = &variant_table[c->variant];
    const size_t D = c->D, M = c->H * D, g = h / (c->H / c->G);
    const key_range range = variant->sees(r->i, c->T);
    double bias = 0;
    for (size_t m = 0; m < M; m++)
        r->wide[m] = 0;
    for (size_t d = 0; d < D; d++) {
        const size_t f = h * D + d, key = g * D + d;
        const double q = dot(weights->q + f * M, x + r->i * M, M) + (double)weights->q_bias[f];
        bias += q * (double)weights->k_bias[key];
        for (size_t m = 0; m < M; m++)
            r->wide[m] += q * (double)weights->k[key * M + m];
    }
    for (size_t j = range.low; j < range.high; j++) {
        double s = bias;
        for (size_t m = 0; m < M; m++)
            s += r->wide[m] * (double)x[j * M + m];
        r->scores[j] = varied(r, variant, s / sqrt((double)D), j);
    }
    softmax(r->scores, range);
    for (size_t m = 0; m < M; m++)
        r->wide[m] = 0;
    for (size_t j = range.low; j < range.high; j++)
        for (size_t m = 0; m < M; m++)
            r->wide[m] += r->scores[j] * (double)x[j * M + m];
    for (size_t d = 0; d < D; d++) {
        to[d] = (double)weights->v_bias[g * D + d];
        for (size_t m = 0; m < M; m++)
            to[d] += (double)weights->v[(g * D + d) * M + m] * r->wide[m];
    }
}

/* What comes before the output projection: attention, or for projections alone q itself. `joined` [M]. */
static void layer(const row *r) {
    const bench_case *c = &r->w->what;
    const layer_weights *weights = &r->w->weights;
    const size_t M = c->H * c->D;
    const float *x = (const float *)r->w->q.data + r->b * c->T * M;
    double *joined = r->truth + M;
    for (size_t f = 0; c->op == OP_PROJECTIONS && f < M; f++)
        joined[f] = dot(weights->q + f * M, x + r->i * M, M) + (double)weights->q_bias[f];
    for (size_t h = 0; c->op == OP_LAYER && h < c->H; h++)
        attend_projected(r, x, h, joined + h * c->D);
    for (size_t m = 0; m < M; m++) {
        r->truth[m] = (double)weights->out_bias[m];
        for (size_t f = 0; f < M; f++)
            r->truth[m] += (double)weights->out[m * M + f] * joined[f];
    }
}

static void softmax_row(const row *r) {
    const bench_case *c = &r->w->what;
    const float *x = (const float *)r->w->q.data + ((r->b * c->H + r->h) * SOFTMAX_ROWS + r->i) * c->T;
    for (size_t j = 0; j < c->T; j++)
        r->truth[j] = (double)x[j];
    softmax(r->truth, (key_range){0, c->T});
}

/* As many times as inside_tile does it: each adds the same, scaled by 1 / (INSIDE_REPEAT · INSIDE_KEYS) by the caller.
 */
static void tile_row(const row *r) {
    const work *w = r->w;
    const size_t D = w->what.D;
    const inside_widths widths = inside_widths_of(w->context, D);
    const size_t W = widths.block, C = widths.panel;
    for (size_t j = 0; j < INSIDE_KEYS; j++) {
        const float *block = (const float *)w->k.data + j / W * W * D + j % W;
        r->scores[j] = 0;
        for (size_t d = 0; d < D; d++)
            r->scores[j] += get(w, &w->q, r->i * D + d) * (double)block[d * W];
    }
    for (size_t d = 0; d < D; d++) {
        r->truth[d] = 0;
        for (size_t j = 0; j < INSIDE_KEYS; j++)
            r->truth[d] += INSIDE_REPEAT * r->scores[j] * get(w, &w->v, d / C * C * INSIDE_KEYS + j * C + d % C);
    }
}

static void compute(const row *r) {
    switch (r->w->what.op) {
    case OP_SDPA:
        attend(r, &variant_table[r->w->what.variant], r->w->what.T);
        break;
    case OP_BACKWARD:
        attend_back(r, &variant_table[r->w->what.variant]);
        break;
    case OP_DECODE:
        attend(r, &variant_table[0], 1);
        break;
    case OP_LAYER:
    case OP_PROJECTIONS:
        layer(r);
        break;
    case OP_SOFTMAX:
        softmax_row(r);
        break;
    case OP_SGEMM:
        tile_row(r);
        break;
    }
}

static double row_work(const work *w) {
    const bench_case *c = &w->what;
    const double M = (double)c->H * (double)c->D, T = (double)c->T, H = (double)c->H;
    switch (c->op) {
    case OP_LAYER:
        return H * M * (3 * (double)c->D + 2 * T) + M * M;
    case OP_PROJECTIONS:
        return 2 * M * M;
    case OP_BACKWARD:
        return 10 * T * (double)c->D;
    case OP_SOFTMAX:
        return 20 * T;
    case OP_SGEMM:
        return 4 * INSIDE_KEYS * (double)c->D;
    default:
        return 4 * T * (double)c->D;
    }
}

/* Of a sum of many products of deviation 1, differences grow with the sum; those of narrow products are in proportion
 * to the row. */
static double scale_of(const row *r, size_t width) {
    double squares = 0;
    if (r->w->what.precision == 0)
        return r->w->what.op == OP_SGEMM ? INSIDE_REPEAT * sqrt((double)INSIDE_KEYS * (double)r->w->what.D) : 1;
    for (size_t d = 0; d < width; d++)
        squares += r->truth[d] * r->truth[d];
    return sqrt(squares / (double)width);
}

static double row_difference(const row *r, size_t at) {
    const size_t width = r->w->out.size[3];
    double worst = 0;
    compute(r);
    const double scale = scale_of(r, width);
    for (size_t d = 0; d < width; d++) {
        const double x = get(r->w, &r->w->out, at * width + d);
        worst = fmax(worst, fabs(x - r->truth[d]) / (scale + fabs(r->truth[d])));
    }
    return worst;
}

static size_t count_of(const attn_tensor *t) { return t->size[0] * t->size[1] * t->size[2] * t->size[3]; }

static bool all_finite(const work *w) {
    for (size_t i = 0; i < count_of(&w->out); i++)
        if (!isfinite(get(w, &w->out, i)))
            return false;
    return true;
}

/* Σ x·y; *squares grows by Σ (x·y)². */
static double sum_products(const work *w, const attn_tensor *x, const attn_tensor *y, double *squares) {
    double sum = 0;
    for (size_t i = 0; i < count_of(x); i++) {
        const double each = get(w, x, i) * get(w, y, i);
        sum += each;
        *squares += each * each;
    }
    return sum;
}

/* Of dk and dv sums alone are compared: Σ k·dk = Σ q·dq, and Σ v·dv = Σ out·d_out. Rounding makes a difference in
 * proportion to the root of the squares, and so does a wrong number, but of its own size. */
static double key_difference(const work *w) {
    double squares = 1;
    const double dk = sum_products(w, &w->k, &w->dk, &squares), dq = sum_products(w, &w->q, &w->out, &squares);
    const double dv = sum_products(w, &w->v, &w->dv, &squares),
                 out = sum_products(w, &w->attended, &w->d_attended, &squares);
    return fmax(fabs(dk - dq), fabs(dv - out)) / sqrt(squares);
}

double reference_difference(const work *w) {
    const attn_tensor *t = &w->out;
    const size_t rows = t->size[0] * t->size[1] * t->size[2];
    const size_t M = w->what.H * w->what.D, longest = w->what.T > INSIDE_KEYS ? w->what.T : INSIDE_KEYS;
    const double fit = fmin(fmax(2, WORK_MAX / row_work(w)), ROWS_MAX);
    const size_t count = (double)rows < fit ? rows : (size_t)fit;
    double *room = calloc(longest + M + 2 * M + w->what.D + longest, sizeof *room), worst = 0;
    if (room == NULL || !all_finite(w)) {
        free(room);
        return (double)INFINITY;
    }
    row r = {.w = w, .scores = room, .wide = room + longest, .truth = room + longest + M};
    for (size_t n = 0; n < count; n++) {
        const size_t at = count > 1 ? n * (rows - 1) / (count - 1) : 0;
        r.i = at % t->size[2];
        r.h = at / t->size[2] % t->size[1];
        r.b = at / t->size[2] / t->size[1];
        worst = fmax(worst, row_difference(&r, at));
    }
    free(room);
    if (w->what.op != OP_BACKWARD)
        return worst;
    const double of_keys = key_difference(w);
    return isfinite(of_keys) ? fmax(worst, of_keys) : (double)INFINITY;
}
