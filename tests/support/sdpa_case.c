/* SPDX-License-Identifier: BSD-3-Clause */
#include "support/sdpa_case.h"

#include <math.h>
#include <stdlib.h>

const int64_t OFFSETS[14] = {0,          -1,        1,   5, -16, 17, 63, -64, INT64_MIN, INT64_MAX, INT64_MAX - 2,
                             -100000000, 100000000, -200};

struct sdpa_case sdpa_case_of(size_t B, size_t H, size_t G, size_t Tq, size_t Tk, size_t D, size_t E) {
    struct sdpa_case c = {.lse = true, .probabilities = true, .score_size = 1, .value_size = 1};
    c.q = new_normal(BHTD, B, H, Tq, D);
    c.k = new_normal(BHTD, B, G, Tk, D);
    c.v = new_normal(BHTD, B, G, Tk, E);
    ATTN_INIT(&c.params);
    return c;
}

void set_causal(struct sdpa_case *c, attn_causal causal, const int64_t *offsets) {
    c->params.causal = causal;
    c->params.causal_offset = causal == ATTN_CAUSAL_OFFSET ? offsets : NULL;
}

void name_sdpa(const struct sdpa_case *c) {
    const size_t *q = c->q.size, *v = c->v.size;
    const int64_t *offset = sequences_of(&c->params, q[0]) ? c->params.causal_offset : NULL;
    name_case("sdpa %s B=%zu H=%zu G=%zu Tq=%zu Tk=%zu D=%zu E=%zu causal=%d offset=%lld scale=%g", c->name, q[0], q[1],
              v[1], q[2], v[2], q[3], v[3], (int)c->params.causal, offset ? (long long)*offset : 0LL,
              (double)c->params.scale);
}

/* ---- outputs ---- */

/* Sequences, and the longest of them. */
struct extent {
    size_t N, Tq, Tk;
};

static struct extent extent_of(const struct sdpa_case *c) {
    struct extent all = {.N = sequences_of(&c->params, c->q.size[0])};
    for (size_t n = 0; n < all.N; n++) {
        const span s = span_of(&c->params, n, c->q.size[2], c->k.size[2]);
        all.Tq = s.Tq > all.Tq ? s.Tq : all.Tq;
        all.Tk = s.Tk > all.Tk ? s.Tk : all.Tk;
    }
    if (!c->params.query_starts) { /* also without any batch */
        all.Tq = c->q.size[2];
        all.Tk = c->k.size[2];
    }
    return all;
}

/* int64_t, each as two floats. */
static attn_tensor new_integer_rows(size_t B, size_t H, size_t T, size_t k) {
    const size_t keys = B * H * T * k;
    attn_tensor t = attn_tensor_bhtd(NULL, ATTN_F32, B, H, T, 2 * k);
    t.data = new_floats(2 * keys);
    return t;
}

struct sdpa_result new_sdpa_result(const struct sdpa_case *c) {
    const size_t B = c->q.size[0], H = c->q.size[1], T = c->q.size[2];
    const struct extent all = extent_of(c);
    struct sdpa_result r = {.out = c->out};
    if (!r.out.data)
        r.out = new_tensor_of(c->out_type, c->out_layout, B, H, T, c->v.size[3]);
    if (c->lse)
        r.lse = new_tensor(BHTD, B, H, T, 1);
    if (c->probabilities)
        r.probabilities = new_tensor_of(c->weights_type, c->out_layout, all.N, c->averaged ? 1 : H, all.Tq, all.Tk);
    if (c->key_mass)
        r.key_mass = new_tensor(BHTD, all.N, H, all.Tk, 1);
    if (c->entropy)
        r.entropy = new_tensor(BHTD, all.N, H, all.Tq, 1);
    if (c->largest)
        r.largest = new_tensor(BHTD, all.N, H, 1, 1);
    if (c->top_keys) {
        r.top_keys = new_integer_rows(all.N, H, all.Tq, c->top_keys);
        r.top_probabilities = new_tensor(BHTD, all.N, H, all.Tq, c->top_keys);
    }
    return r;
}

attn_sdpa_params params_for(const struct sdpa_case *c, const struct sdpa_result *r, attn_top_keys *top) {
    attn_sdpa_params params = c->params;
    *top = (attn_top_keys){c->top_keys, r->top_keys.data, r->top_probabilities.data};
    params.lse = r->lse.data;
    params.weights = c->probabilities ? &r->probabilities : NULL;
    params.key_mass = r->key_mass.data;
    params.entropy = r->entropy.data;
    params.largest_scores = r->largest.data;
    params.top_keys = c->top_keys ? top : NULL;
    return params;
}

/* Tokens that belong to no sequence, in out and in lse, are as new memory is. */
static void assert_tokens_between_untouched(const struct sdpa_case *c, const struct sdpa_result *r) {
    const size_t T = c->q.size[2];
    const struct sdpa_result fresh = new_sdpa_result(c);
    size_t end = 0;
    for (size_t n = 0; n <= c->params.sequences; n++) {
        const size_t begin = n < c->params.sequences ? (size_t)c->params.query_starts[n] : T;
        if (begin > end)
            assert_bits(tokens_of(r->out, end, begin - end), tokens_of(fresh.out, end, begin - end));
        if (begin > end && c->lse)
            assert_bits(tokens_of(r->lse, end, begin - end), tokens_of(fresh.lse, end, begin - end));
        end = n < c->params.sequences ? (size_t)c->params.query_starts[n + 1] : T;
    }
}

struct sdpa_result run_sdpa(attn_context *context, const struct sdpa_case *c) {
    const struct sdpa_result r = new_sdpa_result(c);
    attn_top_keys top;
    const attn_sdpa_params params = params_for(c, &r, &top);
    const attn_tensor all[] = {r.out,     r.lse,     r.probabilities, r.key_mass,
                               r.entropy, r.largest, r.top_keys,      r.top_probabilities};
    name_sdpa(c);
    assert_ok(context, attn_sdpa(context, &c->q, &c->k, &c->v, &r.out, &params));
    for (size_t i = 0; i < COUNT(all); i++)
        assert_gaps_untouched(all[i]);
    if (c->params.query_starts)
        assert_tokens_between_untouched(c, &r);
    return r;
}

/* ---- comparison ---- */

/* For what belongs to no sequence: nothing to compare. */
static void adopt_tokens_between(const struct sdpa_case *c, attn_tensor got, double *want) {
    for (size_t n = 0; n < element_count(got); n++) {
        const size_t t = n / got.size[3] % got.size[2];
        bool between = true;
        for (size_t s = 0; s < c->params.sequences; s++)
            between = between && !(t >= (size_t)c->params.query_starts[s] && t < (size_t)c->params.query_starts[s + 1]);
        if (between)
            want[n] = value(got, n);
    }
}

/* Row r lists keys that are visible, each once, with their probabilities, none smaller than one that is missing. */
static void assert_top_row(const struct sdpa_result *got, const answer *want, size_t r, tolerance bound) {
    const size_t k = got->top_probabilities.size[3], Tk = want->Tk;
    const double *p = want->probabilities + r * Tk;
    const int64_t *keys = (const int64_t *)got->top_keys.data + r * k;
    const float *listed = (const float *)got->top_probabilities.data + r * k;
    bool *taken = calloc(Tk + 1, sizeof *taken);
    double least = INFINITY;
    bool good = taken != NULL;
    for (size_t n = 0; n < k && good; n++) {
        const bool none = keys[n] == -1;
        good = none || (keys[n] >= 0 && (size_t)keys[n] < Tk && !taken[keys[n]] && p[keys[n]] > 0);
        const double probability = good && !none ? p[keys[n]] : 0;
        const double slack = bound.absolute + bound.relative * probability;
        good = good && fabs((double)listed[n] - probability) <= slack && (n == 0 || listed[n] <= listed[n - 1]);
        least = fmin(least, probability);
        if (good && !none)
            taken[keys[n]] = true;
    }
    for (size_t j = 0; j < Tk && k > 0 && good; j++)
        good = taken[j] || p[j] <= least + 2 * (bound.absolute + bound.relative * p[j]);
    free(taken);
    if (!good)
        print_error("top keys of row %zu\n", r);
    assert_true(good);
}

static bool has_nan(const double *x, size_t n) {
    bool found = false;
    for (size_t i = 0; i < n; i++)
        found = found || isnan(x[i]);
    return found;
}

static void assert_top_keys_near(const struct sdpa_result *got, const answer *want, tolerance bound) {
    const size_t *size = got->top_probabilities.size;
    for (size_t r = 0; r < size[0] * size[1] * size[2] && got->top_keys.data; r++)
        if (!has_nan(want->probabilities + r * want->Tk, want->Tk))
            assert_top_row(got, want, r, bound);
}

/* As all are, whatever the scores were rounded to. */
static void assert_at_most_one(attn_tensor weights) {
    const double *w = doubles_of(weights);
    for (size_t i = 0; i < element_count(weights); i++)
        assert_false(w[i] > 1);
}

/* The weights, of whatever stage. Weights are as small as 1/Tk and less: so much of the weight itself, and what
 * underflows. Scores are as exact as lse. */
static void assert_weights_near(const struct sdpa_case *c, const struct sdpa_result *r, const answer *want,
                                tolerance of_weights, tolerance of_scores) {
    const attn_stage stage = c->params.weights_stage;
    const double *all = c->averaged ? average_of_heads(want, stage) : want->stages[stage];
    assert_near(r->probabilities, all, stage == ATTN_STAGE_PROBABILITIES ? of_weights : of_scores);
    if (c->lse && c->probabilities && stage == ATTN_STAGE_PROBABILITIES && c->weights_type == ATTN_F32 &&
        !c->averaged && !c->params.sinks && !c->params.query_starts)
        assert_rows_sum_to_one(r->probabilities, r->lse.data);
}

/* An error δ of a score moves its weight by δ, relative, so the output by 2δ·|v| at most and the lse by δ. δ grows with
 * the scores: by default they are N(0,1), and with another scale that much larger; beyond 16 their own rounding, of a
 * few ulps, counts. The smallest values that a float can have are 1.4e-45 apart: sums of them are that coarse. Sums of
 * Tq weights, and the entropy, whose terms are δ·(1 + |ln p|), have a few times the error. Few values are beyond 5.
 * Where δ may be 1, the second walk of inspections may make anything of weights: a BLAS may sum otherwise there. */
void assert_answer_near(const struct sdpa_case *c, const struct sdpa_result *r, answer want) {
    const double relative_scale = fabs(effective_scale(&c->params, c->q.size[3])) * sqrt((double)c->q.size[3]);
    const double narrow = 2 * 5 * c->score_error / promised(1).absolute;
    const double factor = fmax(fmax(1, relative_scale) * c->score_size, want.score_size / 16) + narrow;
    const tolerance of_weights = {.absolute = 1e-9, .relative = promised(factor).absolute};
    const tolerance of_mass = {.absolute = promised(factor).absolute, .relative = promised(factor).absolute};
    tolerance of_out = promised(factor);
    of_out.absolute += 5 * c->weight_error;
    of_out.relative += c->weight_error; /* values that are alike, weights that round alike */
    of_out.absolute = of_out.absolute * c->value_size / (1 - (double)c->params.dropout) + 1e-43;
    if (c->params.query_starts) {
        adopt_tokens_between(c, r->out, want.out);
        if (c->lse)
            adopt_tokens_between(c, r->lse, want.lse);
    }
    assert_near(r->out, want.out, of_out);
    assert_near(r->lse, want.lse, promised(factor));
    assert_near(r->largest, want.largest, promised(factor));
    if (c->params.weights_stage == ATTN_STAGE_PROBABILITIES && c->params.dropout == 0)
        assert_at_most_one(r->probabilities);
    assert_at_most_one(r->top_probabilities);
    if (of_weights.relative < 1 || c->params.weights_stage != ATTN_STAGE_PROBABILITIES)
        assert_weights_near(c, r, &want, of_weights, promised(factor));
    if (of_weights.relative >= 1)
        return;
    assert_near(r->key_mass, want.key_mass, of_mass);
    assert_near(r->entropy, want.entropy, promised(4 * factor));
    assert_top_keys_near(r, &want, of_weights);
}

void assert_sdpa_near(const struct sdpa_case *c, const struct sdpa_result *r) {
    assert_answer_near(c, r, reference_sdpa(c->q, c->k, c->v, &c->params));
}

void assert_same_result(const struct sdpa_result *got, const struct sdpa_result *want) {
    assert_bits(got->out, want->out);
    assert_bits(got->lse, want->lse);
    assert_bits(got->probabilities, want->probabilities);
    assert_bits(got->key_mass, want->key_mass);
    assert_bits(got->entropy, want->entropy);
    assert_bits(got->largest, want->largest);
    assert_bits(got->top_keys, want->top_keys);
    assert_bits(got->top_probabilities, want->top_probabilities);
}

void check_sdpa(attn_context *context, const struct sdpa_case *c) {
    const struct sdpa_result r = run_sdpa(context, c);
    assert_sdpa_near(c, &r);
}
