/* SPDX-License-Identifier: BSD-3-Clause */
#include "support/reference.h"

#include <float.h>
#include <math.h>

#include "support/philox.h"
#include "support/support.h"

size_t visible_keys(const attn_sdpa_params *params, size_t b, size_t i, size_t Tq, size_t Tk) {
    int64_t offset = (int64_t)Tk;
    if (params->causal == ATTN_CAUSAL_TOP_LEFT)
        offset = 0;
    if (params->causal == ATTN_CAUSAL_BOTTOM_RIGHT)
        offset = (int64_t)Tk - (int64_t)Tq;
    if (params->causal == ATTN_CAUSAL_OFFSET)
        offset = params->causal_offset[b];
    if (offset >= (int64_t)Tk) /* and now i + 1 + offset cannot overflow */
        return Tk;
    const int64_t n = offset + (int64_t)i + 1;
    return n < 0 ? 0 : n > (int64_t)Tk ? Tk : (size_t)n;
}

double effective_scale(const attn_sdpa_params *params, size_t D) {
    return params->scale != 0 ? (double)params->scale : D > 0 ? 1 / sqrt((double)D) : 1;
}

/* Softmax of n scores and of the sink, which gets its share but no place in p. */
static double softmax(const double *scores, size_t n, double sink, double *p) {
    double max = sink, sum = 0;
    for (size_t j = 0; j < n; j++)
        max = fmax(max, scores[j]);
    for (size_t j = 0; j < n; j++) {
        p[j] = scores[j] == -INFINITY ? 0 : exp(scores[j] - max);
        sum += p[j];
    }
    if (sink != -INFINITY)
        sum += exp(sink - max);
    for (size_t j = 0; j < n; j++)
        p[j] = sum == 0 ? 0 : p[j] / sum;
    return sum == 0 ? -INFINITY : max + log(sum);
}

double reference_softmax(const double *scores, size_t visible, size_t n, double *p) {
    for (size_t j = visible; j < n; j++)
        p[j] = 0;
    return softmax(scores, visible, -INFINITY, p);
}

/* scale · q · k, which overflows as a float does. */
static double raw_score(const double *q, const double *k, size_t D, double scale) {
    double sum = 0;
    for (size_t d = 0; d < D; d++)
        sum += q[d] * k[d];
    sum *= scale;
    return fabs(sum) > (double)FLT_MAX ? copysign(INFINITY, sum) : sum;
}

/* One row: query i of head h of sequence n. */
struct row {
    const struct heads *a;
    const span *s;
    size_t n, h, i;
    double *stage[STAGES]; /* [Tk of the longest] */
};

/* Which row of [B, heads, T] token t of head h of the sequence is. */
static size_t row_index(const struct row *r, size_t heads, size_t h, size_t T, size_t t) {
    const size_t b = r->a->params->query_starts ? 0 : r->n;
    return (b * heads + h) * T + t;
}

static size_t query_row(const struct row *r) { return row_index(r, r->a->H, r->h, r->a->Tq, r->s->q_start + r->i); }

static size_t key_row(const struct row *r, size_t j) {
    return row_index(r, r->a->G, r->h / (r->a->H / r->a->G), r->a->Tk, r->s->k_start + j);
}

/* For callbacks. */
static float *floats_of(const double *x, size_t n, double factor, float *y) {
    for (size_t i = 0; i < n; i++)
        y[i] = (float)(x[i] * factor);
    return y;
}

static void score_row(struct row *r) {
    enum { MOST = 256 };
    float q_floats[MOST], k_floats[MOST];
    const struct heads *a = r->a;
    const double *q = a->q + query_row(r) * a->D, factor = query_factor(a->params, r->s, r->n, r->h, r->i);
    const double scale = effective_scale(a->params, a->D) * factor;
    const bool calls = a->params->score && a->D <= MOST;
    for (size_t j = 0; j < r->s->keys && r->i < r->s->queries; j++) {
        const double *k = a->k + key_row(r, j) * a->D, raw = raw_score(q, k, a->D, scale);
        const double capped = capped_score(a->params, raw);
        r->stage[ATTN_STAGE_RAW][j] = raw;
        r->stage[ATTN_STAGE_CAPPED][j] = capped;
        r->stage[ATTN_STAGE_BIASED][j] = biased_score(a->params, r->s, r->n, r->h, a->H, r->i, j, capped,
                                                      calls ? floats_of(q, a->D, factor, q_floats) : NULL,
                                                      calls ? floats_of(k, a->D, 1, k_floats) : NULL, a->D);
    }
}

/* Masked values are not read. */
static void weighted_sum(const struct row *r, double *out) {
    const attn_sdpa_params *params = r->a->params;
    const double kept = 1 / (1 - (double)params->dropout);
    for (size_t e = 0; e < r->a->E; e++)
        out[e] = 0;
    for (size_t j = 0; j < r->s->Tk; j++) {
        if (r->stage[ATTN_STAGE_BIASED][j] == -INFINITY)
            continue;
        const double p = r->stage[ATTN_STAGE_PROBABILITIES][j], *v = r->a->v + key_row(r, j) * r->a->E;
        const bool keeps =
            params->dropout == 0 || dropout_keeps(params->dropout, params->dropout_seed, r->n, r->h, r->i, j);
        /* Of the softmax a NaN makes the whole row NaN. */
        const double weight = params->sigmoid && !keeps ? 0 : p * (keeps ? kept : 0);
        for (size_t e = 0; e < r->a->E; e++)
            out[e] += weight * v[e];
    }
}

static void inspect_row(const struct row *r, answer *to) {
    const double *p = r->stage[ATTN_STAGE_PROBABILITIES], *score = r->stage[ATTN_STAGE_BIASED];
    double *entropy = to->entropy + (r->n * to->H + r->h) * to->Tq + r->i;
    *entropy = 0;
    for (size_t j = 0; j < r->s->Tk; j++) {
        to->key_mass[(r->n * to->H + r->h) * to->Tk + j] += p[j];
        *entropy -= p[j] == 0 ? 0 : p[j] * log(p[j]);
        to->largest[r->n * to->H + r->h] = fmax(to->largest[r->n * to->H + r->h], score[j]);
        if (p[j] > 1e-7 && fabs(score[j]) < 1e30)
            to->score_size = fmax(to->score_size, fabs(score[j]));
    }
}

/* In a row with NaN a key whose score is −∞, which counts as masked, still gets 0. */
static void clear_masked(const struct row *r) {
    for (size_t j = 0; j < r->s->Tk; j++)
        if (r->stage[ATTN_STAGE_BIASED][j] == -INFINITY)
            r->stage[ATTN_STAGE_PROBABILITIES][j] = 0;
}

static void weigh_by_sigmoid(const struct row *r) {
    for (size_t j = 0; j < r->s->Tk; j++)
        r->stage[ATTN_STAGE_PROBABILITIES][j] = 1 / (1 + exp(-r->stage[ATTN_STAGE_BIASED][j]));
}

static void attend_row(struct row *r, answer *to) {
    const struct heads *a = r->a;
    const size_t row = query_row(r);
    const double sink = a->params->sinks ? (double)a->params->sinks[r->h] : -INFINITY;
    score_row(r);
    to->lse[row] = softmax(r->stage[ATTN_STAGE_BIASED], r->s->Tk, sink, r->stage[ATTN_STAGE_PROBABILITIES]);
    if (a->params->sigmoid)
        weigh_by_sigmoid(r);
    clear_masked(r);
    weighted_sum(r, to->out + row * a->E);
    inspect_row(r, to);
}

static double *filled(size_t n, double x) {
    double *y = new_doubles(n);
    for (size_t i = 0; i < n; i++)
        y[i] = x;
    return y;
}

static answer new_answer(const struct heads *a) {
    const size_t N = sequences_of(a->params, a->B), rows = a->B * a->H * a->Tq;
    answer to = {.N = N, .H = a->H};
    for (size_t n = 0; n < N; n++) {
        const span s = span_of(a->params, n, a->Tq, a->Tk);
        to.Tq = s.Tq > to.Tq ? s.Tq : to.Tq;
        to.Tk = s.Tk > to.Tk ? s.Tk : to.Tk;
    }
    to.out = filled(rows * a->E, 0);
    to.lse = filled(rows, -INFINITY);
    for (size_t i = 0; i < STAGES; i++)
        to.stages[i] = filled(N * a->H * to.Tq * to.Tk, i == ATTN_STAGE_BIASED ? -INFINITY : 0);
    to.probabilities = to.stages[ATTN_STAGE_PROBABILITIES];
    to.key_mass = filled(N * a->H * to.Tk, 0);
    to.entropy = filled(N * a->H * to.Tq, 0);
    to.largest = filled(N * a->H, -INFINITY);
    return to;
}

answer reference_attend(const struct heads *a) {
    answer to = new_answer(a);
    for (size_t n = 0; n < to.N; n++) {
        const span s = span_of(a->params, n, a->Tq, a->Tk);
        for (size_t h = 0; h < a->H; h++)
            for (size_t i = 0; i < s.Tq; i++) {
                struct row r = {.a = a, .s = &s, .n = n, .h = h, .i = i};
                for (size_t stage = 0; stage < STAGES; stage++)
                    r.stage[stage] = to.stages[stage] + ((n * to.H + h) * to.Tq + i) * to.Tk;
                attend_row(&r, &to);
            }
    }
    return to;
}

double *doubles_of(attn_tensor t) {
    double *x = new_doubles(element_count(t));
    for (size_t n = 0; n < element_count(t); n++)
        x[n] = value(t, n);
    return x;
}

answer reference_sdpa(attn_tensor q, attn_tensor k, attn_tensor v, const attn_sdpa_params *params) {
    return reference_attend(&(struct heads){.B = q.size[0],
                                            .H = q.size[1],
                                            .G = k.size[1],
                                            .Tq = q.size[2],
                                            .Tk = k.size[2],
                                            .D = q.size[3],
                                            .E = v.size[3],
                                            .q = doubles_of(q),
                                            .k = doubles_of(k),
                                            .v = doubles_of(v),
                                            .params = params});
}

double *average_of_heads(const answer *a, attn_stage stage) {
    const size_t plane = a->Tq * a->Tk;
    double *mean = filled(a->N * plane, 0);
    for (size_t n = 0; n < a->N; n++)
        for (size_t h = 0; h < a->H; h++)
            for (size_t x = 0; x < plane; x++)
                mean[n * plane + x] += a->stages[stage][(n * a->H + h) * plane + x] / (double)a->H;
    return mean;
}

void reference_merge(size_t rows, size_t E, double *out, double *lse, const double *part, const double *part_lse) {
    for (size_t r = 0; r < rows; r++) {
        const double max = fmax(lse[r], part_lse[r]);
        const double a = lse[r] == -INFINITY ? 0 : exp(lse[r] - max);
        const double b = part_lse[r] == -INFINITY ? 0 : exp(part_lse[r] - max);
        for (size_t e = 0; e < E && a + b != 0; e++)
            out[r * E + e] = (a * out[r * E + e] + b * part[r * E + e]) / (a + b);
        lse[r] = a + b == 0 ? -INFINITY : max + log(a + b);
    }
}
