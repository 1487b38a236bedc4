/* SPDX-License-Identifier: BSD-3-Clause */
#include "sdpa_case.h"

#include <math.h>

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
    name_case("sdpa B=%zu H=%zu G=%zu Tq=%zu Tk=%zu D=%zu E=%zu causal=%d offset=%lld scale=%g", q[0], q[1], v[1], q[2],
              v[2], q[3], v[3], (int)c->params.causal,
              c->params.causal_offset ? (long long)c->params.causal_offset[0] : 0LL, (double)c->params.scale);
}

struct sdpa_result new_sdpa_result(const struct sdpa_case *c) {
    const size_t B = c->q.size[0], H = c->q.size[1], Tq = c->q.size[2], Tk = c->k.size[2];
    struct sdpa_result r = {.out = c->out};
    if (!r.out.data)
        r.out = new_tensor(c->out_layout, B, H, Tq, c->v.size[3]);
    if (c->lse)
        r.lse = new_tensor(BHTD, B, H, Tq, 1);
    if (c->probabilities)
        r.probabilities = new_tensor(c->out_layout, B, H, Tq, Tk);
    return r;
}

struct sdpa_result run_sdpa(attn_context *context, const struct sdpa_case *c) {
    const struct sdpa_result r = new_sdpa_result(c);
    attn_sdpa_params params = c->params;
    params.lse = r.lse.data;
    params.weights = c->probabilities ? &r.probabilities : NULL;
    name_sdpa(c);
    assert_ok(context, attn_sdpa(context, &c->q, &c->k, &c->v, &r.out, &params));
    assert_gaps_untouched(r.out);
    assert_gaps_untouched(r.lse);
    assert_gaps_untouched(r.probabilities);
    return r;
}

/* An error δ of a score moves its weight by δ, relative, so the output by 2δ·|v| at most and the lse by δ. δ grows with
 * the scores: by default they are N(0,1), and with another scale that much larger. The smallest values that a float can
 * have are 1.4e-45 apart: sums of them are that coarse. */
void assert_sdpa_near(const struct sdpa_case *c, const struct sdpa_result *r) {
    const answer want = reference_sdpa(c->q, c->k, c->v, &c->params);
    const double relative_scale = fabs(effective_scale(&c->params, c->q.size[3])) * sqrt((double)c->q.size[3]);
    const double factor = fmax(1, relative_scale) * c->score_size;
    tolerance of_out = promised(factor);
    of_out.absolute = of_out.absolute * c->value_size + 1e-43;
    assert_near(r->out, want.out, of_out);
    assert_near(r->lse, want.lse, promised(factor));
    /* Weights are as small as 1/Tk and less: 1e-5 of the weight itself, and what underflows. */
    const tolerance of_weights = {.absolute = 1e-9, .relative = promised(factor).absolute};
    assert_near(r->probabilities, want.probabilities, of_weights);
    if (c->lse && c->probabilities)
        assert_rows_sum_to_one(r->probabilities, r->lse.data);
}

void assert_same_result(const struct sdpa_result *got, const struct sdpa_result *want) {
    assert_bits(got->out, want->out);
    assert_bits(got->lse, want->lse);
    assert_bits(got->probabilities, want->probabilities);
}

void check_sdpa(attn_context *context, const struct sdpa_case *c) {
    const struct sdpa_result r = run_sdpa(context, c);
    assert_sdpa_near(c, &r);
}
