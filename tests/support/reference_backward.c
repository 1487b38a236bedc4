/* SPDX-License-Identifier: BSD-3-Clause */
/* The gradients of attention, one score at a time: with P = softmax(S), O = P·V and D = Σ dO·O − dlse of each row,
 * dV = Pᵀ·dO, dP = dO·Vᵀ, dS = P·(dP − D), dQ = dS·K, dK = dSᵀ·Q. */
#include <math.h>

#include "support/philox.h"
#include "support/reference.h"
#include "support/support.h"

typedef struct pass {
    const struct heads *a;
    const double *d_out, *d_lse;
    double (*slope)(double score);
    answer forward;
    answer_back to;
    double *terms; /* Σ |terms| of dq, dk and dv, one after the other */
} pass;

/* Row i of head h of sequence n. */
typedef struct row {
    pass *p;
    span s;
    size_t n, h, i, query;
    double delta;
} row;

static double *zeros(size_t n) {
    double *x = new_doubles(n);
    for (size_t i = 0; i < n; i++)
        x[i] = 0;
    return x;
}

static size_t key_row(const row *r, size_t j) {
    const struct heads *a = r->p->a;
    const size_t b = a->params->query_starts ? 0 : r->n;
    return (b * a->G + r->h / (a->H / a->G)) * a->Tk + r->s.k_start + j;
}

static double at(const row *r, attn_stage stage, size_t j) {
    const answer *f = &r->p->forward;
    return f->stages[stage][((r->n * f->H + r->h) * f->Tq + r->i) * f->Tk + j];
}

/* What dropout makes of a weight of 1. */
static double kept(const row *r, size_t j) {
    const attn_sdpa_params *params = r->p->a->params;
    if (params->dropout == 0)
        return 1;
    return dropout_keeps(params->dropout, params->dropout_seed, r->n, r->h, r->i, j) ? 1 / (1 - (double)params->dropout)
                                                                                     : 0;
}

/* dO·v of key j, times what dropout leaves. */
static double weight_gradient(const row *r, size_t j) {
    const struct heads *a = r->p->a;
    double sum = 0;
    for (size_t e = 0; e < a->E; e++)
        sum += r->p->d_out[r->query * a->E + e] * a->v[key_row(r, j) * a->E + e];
    return sum * kept(r, j);
}

static bool is_seen(const row *r, size_t j) { return at(r, ATTN_STAGE_BIASED, j) != -INFINITY; }

static size_t bias_place(const row *r, size_t j) {
    const size_t *s = r->p->a->params->bias->size;
    const size_t b = s[0] == 1 ? 0 : r->n, h = s[1] == 1 ? 0 : r->h, i = s[2] == 1 ? 0 : r->i;
    return ((b * s[1] + h) * s[2] + i) * s[3] + j;
}

/* A score as the callback was given it. */
static double score_before(const row *r, size_t j) {
    attn_sdpa_params params = *r->p->a->params;
    params.score = NULL;
    return biased_score(&params, &r->s, r->n, r->h, r->p->a->H, r->i, j, at(r, ATTN_STAGE_CAPPED, j), NULL, NULL, 0);
}

/* From the gradient g of a score to that of its product, and what is met on the way. */
static double through_the_program(const row *r, size_t j, double g) {
    const attn_sdpa_params *params = r->p->a->params;
    const long double position = first_position(params, &r->s, r->n) + (long double)r->i;
    const double cap = (double)params->softcap;
    if (r->p->slope)
        g *= r->p->slope(score_before(r, j));
    r->p->to.d_slopes[r->h] -= g * (double)fabsl(position - (long double)j);
    if (params->relative_bias && relative_number(params->relative_bias, position, j) != SIZE_MAX)
        r->p->to.d_table[r->h * relative_width(params->relative_bias) +
                         relative_number(params->relative_bias, position, j)] += g;
    if (params->bias)
        r->p->to.d_bias[bias_place(r, j)] += g;
    return cap > 0 ? g * (1 - pow(at(r, ATTN_STAGE_CAPPED, j) / cap, 2)) : g;
}

static void add_term(pass *p, double *to, double *terms, double x) {
    *to += x;
    *terms += fabs(x);
    p->to.size = fmax(p->to.size, *terms);
}

static void add_products(row *r, size_t j, double weight, double g) {
    pass *p = r->p;
    const struct heads *a = p->a;
    const size_t key = key_row(r, j), queries = a->B * a->H * a->Tq * a->D, keys = a->B * a->G * a->Tk * a->D;
    const double scale = effective_scale(a->params, a->D) * query_factor(a->params, &r->s, r->n, r->h, r->i);
    for (size_t d = 0; d < a->D; d++) {
        const size_t x = r->query * a->D + d, y = key * a->D + d;
        add_term(p, &p->to.dq[x], &p->terms[x], scale * g * a->k[y]);
        add_term(p, &p->to.dk[y], &p->terms[queries + y], scale * g * a->q[x]);
    }
    for (size_t e = 0; e < a->E; e++)
        add_term(p, &p->to.dv[key * a->E + e], &p->terms[queries + keys + key * a->E + e],
                 weight * p->d_out[r->query * a->E + e]);
}

static void add_key(row *r, size_t j) {
    const double p = at(r, ATTN_STAGE_PROBABILITIES, j), g = weight_gradient(r, j);
    const double of_score = r->p->a->params->sigmoid ? p * (1 - p) * g : p * (g - r->delta);
    add_products(r, j, p * kept(r, j), p == 0 ? 0 : through_the_program(r, j, of_score));
}

static void add_row(row *r) {
    const attn_sdpa_params *params = r->p->a->params;
    r->delta = r->p->d_lse ? -r->p->d_lse[r->query] : 0;
    for (size_t j = 0; j < r->s.keys; j++)
        if (is_seen(r, j))
            r->delta += at(r, ATTN_STAGE_PROBABILITIES, j) * weight_gradient(r, j);
    for (size_t j = 0; j < r->s.keys; j++)
        if (is_seen(r, j))
            add_key(r, j);
    if (params->sinks && params->sinks[r->h] != -INFINITY)
        r->p->to.d_sinks[r->h] -= exp((double)params->sinks[r->h] - r->p->forward.lse[r->query]) * r->delta;
}

answer_back reference_backward(const struct heads *a, const double *d_out, const double *d_lse,
                               double (*slope)(double score)) {
    const size_t queries = a->B * a->H * a->Tq, keys = a->B * a->G * a->Tk;
    const attn_sdpa_params *params = a->params;
    pass p = {.a = a, .d_out = d_out, .d_lse = d_lse, .slope = slope, .forward = reference_attend(a)};
    p.to = (answer_back){.dq = zeros(queries * a->D),
                         .dk = zeros(keys * a->D),
                         .dv = zeros(keys * a->E),
                         .d_bias = zeros(params->bias ? element_count(*params->bias) : 0),
                         .d_sinks = zeros(a->H),
                         .d_slopes = zeros(a->H),
                         .d_table = zeros(params->relative_bias ? a->H * relative_width(params->relative_bias) : 0)};
    p.terms = zeros(queries * a->D + keys * (a->D + a->E));
    for (size_t n = 0; n < p.forward.N; n++) {
        row r = {.p = &p, .n = n, .s = span_of(params, n, a->Tq, a->Tk)};
        for (r.h = 0; r.h < a->H; r.h++)
            for (r.i = 0; r.i < r.s.Tq; r.i++) {
                r.query = ((params->query_starts ? 0 : n) * a->H + r.h) * a->Tq + r.s.q_start + r.i;
                add_row(&r);
            }
    }
    return p.to;
}
