/* SPDX-License-Identifier: BSD-3-Clause */
/* The score program of include/attn/sdpa.h, one score at a time. */
#include <math.h>

#include "support/reference.h"
#include "support/support.h"

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

long double first_position(const attn_sdpa_params *params, const span *s, size_t n) {
    const attn_causal alignment = params->causal ? params->causal : params->alignment;
    if (alignment == ATTN_CAUSAL_TOP_LEFT)
        return 0;
    if (alignment == ATTN_CAUSAL_OFFSET)
        return (long double)params->causal_offset[n];
    return (long double)s->keys - (long double)s->queries;
}

static long double position(const attn_sdpa_params *params, const span *s, size_t n, size_t i) {
    return (long double)i + first_position(params, s, n);
}

static bool same_block(long double p, long double j, size_t c) {
    return floorl(p / (long double)c) == floorl(j / (long double)c);
}

/* The span of sequence n that holds p, or NULL. */
static const int64_t *span_at(const attn_spans *spans, size_t n, long double p) {
    for (int64_t m = spans ? spans->starts[n] : 0; spans && m < spans->starts[n + 1]; m++)
        if ((long double)spans->bounds[2 * m] <= p && p < (long double)spans->bounds[2 * m + 1])
            return spans->bounds + 2 * m;
    return NULL;
}

/* Key j does not come too late for a query at p, or too early. */
static bool is_early_enough(const attn_sdpa_params *params, size_t n, long double p, size_t j) {
    const int64_t *document = span_at(params->documents, n, p), *whole = span_at(params->spans, n, p);
    const size_t block = params->causal_block > 1 ? params->causal_block : 1;
    const bool later = (long double)j > p;
    if (whole && (int64_t)j < whole[1])
        return true;
    if (params->causal && later && !same_block(p, (long double)j, block))
        return false;
    if (params->chunk && later && !same_block(p, (long double)j, params->chunk))
        return false;
    if (document && (int64_t)j >= document[1])
        return false;
    const int64_t right = params->window ? params->window->right : -1;
    return right == -1 || (long double)j <= p + (long double)right;
}

static bool is_late_enough(const attn_sdpa_params *params, size_t n, long double p, size_t j) {
    const int64_t *document = span_at(params->documents, n, p), *whole = span_at(params->spans, n, p);
    if (j < params->first_keys || (whole && (int64_t)j >= whole[0]))
        return true;
    if (params->chunk && (long double)j < p && !same_block(p, (long double)j, params->chunk))
        return false;
    if (document && (int64_t)j < document[0])
        return false;
    const int64_t left = params->window ? params->window->left : -1;
    return left == -1 || (long double)j >= p - (long double)left;
}

static bool in_reach(const attn_sdpa_params *params, size_t n, long double p, size_t j) {
    return is_early_enough(params, n, p, j) && is_late_enough(params, n, p, j);
}

/* Rows of the tree are those of the tensor of queries: of a ragged batch, of all sequences. */
static bool in_tree(const attn_sdpa_params *params, const span *s, size_t n, size_t i, size_t j) {
    const attn_tree *tree = params->tree;
    if (!tree || j + tree->tokens < s->keys)
        return true;
    const size_t bit = j + tree->tokens - s->keys, words = (tree->tokens + 63) / 64;
    const size_t row = params->query_starts ? s->q_start + i : n * s->Tq + i;
    return tree->ancestors[row * words + bit / 64] >> bit % 64 & 1;
}

/* A boolean mask that may be NULL, or too short. */
static bool lets_pass(const attn_sdpa_params *params, const attn_tensor *mask, size_t n, size_t h, size_t i, size_t j) {
    if (!mask)
        return true;
    if (j >= mask->size[3])
        return false;
    return (value_at(*mask, n, h, i, j) != 0) == (params->polarity == ATTN_KEEP);
}

/* Lists are [batch, heads, rows, count], with the rows of the longest sequence. */
static bool is_listed(const attn_sdpa_params *params, const span *s, size_t n, size_t h, size_t H, size_t i, size_t j) {
    const attn_key_lists *l = params->key_lists;
    size_t Tq = s->Tq;
    bool found = false;
    for (size_t m = 0; params->query_starts && m < params->sequences; m++) {
        const size_t tokens = (size_t)(params->query_starts[m + 1] - params->query_starts[m]);
        Tq = tokens > Tq ? tokens : Tq;
    }
    if (!l)
        return true;
    const size_t rows = Tq / l->queries + (Tq % l->queries != 0);
    const size_t head = (l->batch == 1 ? 0 : n) * l->heads + h * l->heads / H;
    const int64_t *list = l->blocks + (head * rows + i / l->queries) * l->count;
    for (size_t m = 0; m < l->count && list[m] >= 0; m++)
        found = found || (size_t)list[m] == j / l->keys;
    return found;
}

static bool is_masked(const attn_sdpa_params *params, const span *s, size_t n, size_t h, size_t i, size_t j) {
    if (i >= s->queries || j >= s->keys || !in_reach(params, n, position(params, s, n, i), j) ||
        !in_tree(params, s, n, i, j))
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

double query_factor(const attn_sdpa_params *params, const span *s, size_t n, size_t h, size_t i) {
    const attn_query_factor *f = params->query_factor;
    const int64_t *given = params->rotary ? params->rotary->query_positions : NULL;
    const double of_head = params->head_scales ? (double)params->head_scales[h] : 1;
    long double p = position(params, s, n, i);
    if (given)
        p = (long double)given[(params->query_starts ? s->q_start : n * s->Tq) + i];
    p = p > 0 ? p : 0;
    if (!f)
        return of_head;
    if (f->table)
        return of_head * (double)f->table[p < (long double)f->positions ? (size_t)p : f->positions - 1];
    return of_head *
           (1 + (double)f->amount * (double)logl(1 + floorl((p + (long double)f->shift) / (long double)f->period)));
}

/* The callback sees floats, in a tile of one. */
static double called_back(const attn_sdpa_params *params, attn_score_tile tile, double score) {
    float x = (float)score;
    if (!params->score)
        return score;
    tile.scores = &x;
    params->score(params->score_data, &tile);
    return (double)x;
}

/* Which number of a head's table it is for a distance, or for places in a window: SIZE_MAX, none. */
static size_t by_distance(const attn_relative_bias *r, long double d) {
    const long double reach = (long double)r->reach;
    return r->reach + (size_t)(ptrdiff_t)(d < -reach ? -reach : d > reach ? reach : d);
}

static size_t by_place(const attn_relative_bias *r, long double p, size_t j) {
    const size_t N = (2 * r->rows - 1) * (2 * r->columns - 1), end = r->prefix + r->rows * r->columns;
    if (p < 0 || p >= (long double)end || j >= end)
        return SIZE_MAX;
    const size_t i = (size_t)p, a = i - r->prefix, b = j - r->prefix;
    if (i < r->prefix || j < r->prefix)
        return N + (i >= r->prefix ? 1 : j >= r->prefix ? 0 : 2);
    const size_t dy = r->rows - 1 + b / r->columns - a / r->columns;
    const size_t dx = r->columns - 1 + b % r->columns - a % r->columns;
    return dy * (2 * r->columns - 1) + dx;
}

size_t relative_width(const attn_relative_bias *r) {
    return r->rows ? (2 * r->rows - 1) * (2 * r->columns - 1) + (r->prefix ? 3 : 0) : 2 * r->reach + 1;
}

size_t relative_number(const attn_relative_bias *r, long double p, size_t j) {
    return r->rows ? by_place(r, p, j) : by_distance(r, (long double)j - p);
}

static double relative_bias(const attn_relative_bias *r, long double p, size_t h, size_t j) {
    const size_t n = relative_number(r, p, j);
    return n == SIZE_MAX ? 0 : (double)r->table[h * relative_width(r) + n];
}

/* Sums are floats: −FLT_MAX + 3 is −FLT_MAX, by which a row of nothing but the smallest number is uniform. */
double biased_score(const attn_sdpa_params *params, const span *s, size_t n, size_t h, size_t H, size_t i, size_t j,
                    double capped, const float *q, const float *k, size_t D) {
    double x = capped;
    const attn_score_tile tile = {.batch = n,
                                  .head = h,
                                  .query = i,
                                  .queries = 1,
                                  .key = j,
                                  .keys = 1,
                                  .stride = 1,
                                  .q = q,
                                  .k = k,
                                  .width = D,
                                  .block = 1,
                                  .factor = (float)effective_scale(params, D)};
    if (is_masked(params, s, n, h, i, j) || !is_listed(params, s, n, h, H, i, j))
        return -INFINITY;
    if (params->bias)
        x = (double)(float)(x + value_at(*params->bias, n, h, i, j));
    if (params->relative_bias)
        x = (double)(float)(x + relative_bias(params->relative_bias, position(params, s, n, i), h, j));
    if (params->alibi != ATTN_ALIBI_NONE)
        x = (double)(float)(x - alibi_slope(params, h, H) * (double)fabsl(position(params, s, n, i) - (long double)j));
    return called_back(params, tile, x);
}

bool sees(const attn_sdpa_params *params, const span *s, size_t n, size_t h, size_t H, size_t i, size_t j) {
    return biased_score(params, s, n, h, H, i, j, 0, NULL, NULL, 0) != -INFINITY;
}
