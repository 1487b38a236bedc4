/* SPDX-License-Identifier: BSD-3-Clause */
/* The score program of include/attn/sdpa.h, one score at a time. */
#include <math.h>

#include "reference.h"
#include "support.h"

static size_t length_of(const int64_t *lengths, size_t n, size_t all) {
    return lengths && (size_t)lengths[n] < all ? (size_t)lengths[n] : all;
}

size_t sequences_of(const attn_sdpa_params *params, size_t B) { return params->query_starts ? params->sequences : B; }

span span_of(const attn_sdpa_params *params, size_t n, size_t Tq, size_t Tk) {
    span s = {.Tq = Tq, .Tk = Tk};
    if (params->query_starts) {
        const int64_t *q = params->query_starts, *k = params->key_starts ? params->key_starts : q;
        s.q_start = (size_t)q[n];
        s.k_start = (size_t)k[n];
        s.Tq = (size_t)(q[n + 1] - q[n]);
        s.Tk = (size_t)(k[n + 1] - k[n]);
    }
    s.queries = length_of(params->query_lengths, n, s.Tq);
    s.keys = length_of(params->key_lengths, n, s.Tk);
    return s;
}

/* Where query i stands among the keys; the offset can be any integer. */
static long double position(const attn_sdpa_params *params, const span *s, size_t n, size_t i) {
    if (params->causal == ATTN_CAUSAL_TOP_LEFT)
        return (long double)i;
    if (params->causal == ATTN_CAUSAL_OFFSET)
        return (long double)i + (long double)params->causal_offset[n];
    return (long double)i + (long double)s->keys - (long double)s->queries;
}

static bool in_reach(const attn_sdpa_params *params, long double p, size_t j) {
    const attn_window *w = params->window;
    if (params->causal != ATTN_CAUSAL_NONE && (long double)j > p)
        return false;
    if (w && w->left >= 0 && (long double)j < p - (long double)w->left)
        return false;
    return !(w && w->right >= 0 && (long double)j > p + (long double)w->right);
}

/* A boolean mask that may be NULL, or too short. */
static bool lets_pass(const attn_sdpa_params *params, const attn_tensor *mask, size_t n, size_t h, size_t i, size_t j) {
    if (!mask)
        return true;
    if (j >= mask->size[3])
        return false;
    return (value_at(*mask, n, h, i, j) != 0) == (params->polarity == ATTN_KEEP);
}

static bool is_masked(const attn_sdpa_params *params, const span *s, size_t n, size_t h, size_t i, size_t j) {
    if (i >= s->queries || j >= s->keys || !in_reach(params, position(params, s, n, i), j))
        return true;
    if (!lets_pass(params, params->mask, n, h, i, j) || !lets_pass(params, params->key_mask, n, h, i, j))
        return true;
    if (params->block_map && value_at(*params->block_map, n, h, i / params->block_queries, j / params->block_keys) == 0)
        return true;
    return params->bias && (j >= params->bias->size[3] || value_at(*params->bias, n, h, i, j) == -INFINITY);
}

/* Press, Smith and Lewis, "Train short, test long", 2022; their code for numbers of heads that are no power of two. */
double alibi_slope(const attn_sdpa_params *params, size_t h, size_t H) {
    size_t n = 1;
    if (params->alibi == ATTN_ALIBI_NONE)
        return 0;
    if (params->alibi == ATTN_ALIBI_SLOPES)
        return (double)params->alibi_slopes[h];
    while (2 * n <= H)
        n *= 2;
    return h < n ? exp2(-8 * (double)(h + 1) / (double)n) : exp2(-8 * (double)(2 * (h - n) + 1) / (double)(2 * n));
}

double capped_score(const attn_sdpa_params *params, double raw) {
    const double c = (double)params->softcap;
    return c > 0 ? c * tanh(raw / c) : raw;
}

/* The callback sees a float, in a tile of one. */
static double called_back(const attn_sdpa_params *params, size_t n, size_t h, size_t i, size_t j, double score) {
    float x = (float)score;
    const attn_score_tile tile = {n, h, i, 1, j, 1, &x, 1};
    if (!params->score)
        return score;
    params->score(params->score_data, &tile);
    return (double)x;
}

/* Sums are floats: −FLT_MAX + 3 is −FLT_MAX, by which a row of nothing but the smallest number is uniform. */
double biased_score(const attn_sdpa_params *params, const span *s, size_t n, size_t h, size_t H, size_t i, size_t j,
                    double capped) {
    double x = capped;
    if (is_masked(params, s, n, h, i, j))
        return -INFINITY;
    if (params->bias)
        x = (double)(float)(x + value_at(*params->bias, n, h, i, j));
    if (params->alibi != ATTN_ALIBI_NONE)
        x = (double)(float)(x - alibi_slope(params, h, H) * (double)fabsl(position(params, s, n, i) - (long double)j));
    return called_back(params, n, h, i, j, x);
}
