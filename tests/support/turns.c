/* SPDX-License-Identifier: BSD-3-Clause */
#include "support/turns.h"

#include <math.h>

/* What rows [n] of this root mean square are divided by. */
static double divisor(const attn_qk_norm *p, size_t n, double size) {
    const double eps = p->eps > 0 ? (double)p->eps : p->kind == ATTN_L2_NORM ? 1e-12 : 1e-5;
    return p->kind == ATTN_L2_NORM ? fmax(size * sqrt((double)n), eps) : sqrt(size * size + eps);
}

/* x [n] of which a head has D: the norm runs over all, or it is the head alone. */
static void norm_row(const attn_qk_norm *p, const float *weight, size_t n, double *x) {
    double mean = 0, square = 0;
    for (size_t d = 0; d < n && p->kind == ATTN_LAYER_NORM; d++)
        mean += x[d] / (double)n;
    for (size_t d = 0; d < n; d++)
        square += (x[d] - mean) * (x[d] - mean);
    const double size = divisor(p, n, sqrt(square / (double)n));
    const double good = isfinite(square) ? 1 : (double)NAN; /* NaN or Inf spoils the row */
    for (size_t d = 0; d < n; d++)
        x[d] = good * (x[d] - mean) / size * (weight ? (double)weight[d] : 1);
}

static void rotate_row(const attn_rotary *p, const struct place *at, size_t D, double *x) {
    const size_t width = p->width ? p->width : D, pairs = width / 2;
    x += p->offset;
    for (size_t d = 0; d < pairs; d++) {
        const size_t axis = p->axes > 1 ? (size_t)p->pair_axis[d] : 0;
        const size_t position = at->positions ? (size_t)at->positions[axis * at->axis_stride] : at->position;
        const double c = (double)p->cos[position * pairs + d], s = (double)p->sin[position * pairs + d];
        double *a = p->kind == ATTN_ROTARY_HALF ? &x[d] : &x[2 * d];
        double *b = p->kind == ATTN_ROTARY_HALF ? &x[d + pairs] : &x[2 * d + 1];
        const double was = *a;
        *a = was * c - *b * s;
        *b = *b * c + was * s;
    }
}

static void turn_head(const attn_qk_norm *norm, const float *weight, const attn_rotary *rotary, const struct place *at,
                      size_t D, double *x) {
    if (norm && !norm->after_rotary)
        norm_row(norm, weight, D, x);
    if (rotary)
        rotate_row(rotary, at, D, x);
    if (norm && norm->after_rotary)
        norm_row(norm, weight, D, x);
}

/* The heads side by side: what is done to each of them before the norm, the norm, what is done after it. */
static void turn_all_heads(attn_tensor x, size_t b, size_t h, size_t t, const attn_qk_norm *norm, const float *weight,
                           const attn_rotary *rotary, const struct place *at, double *row) {
    const size_t H = x.size[1], D = x.size[3];
    double *all = new_doubles(H * D);
    for (size_t n = 0; n < H * D; n++)
        all[n] = value_at(x, b, n / D, t, n % D);
    for (size_t i = 0; i < H && rotary && norm->after_rotary; i++)
        rotate_row(rotary, at, D, all + i * D);
    norm_row(norm, weight, H * D, all);
    for (size_t i = 0; i < H && rotary && !norm->after_rotary; i++)
        rotate_row(rotary, at, D, all + i * D);
    for (size_t d = 0; d < D; d++)
        row[d] = all[h * D + d];
}

void turn_row(attn_tensor x, size_t b, size_t h, size_t t, const attn_qk_norm *norm, const float *weight,
              const attn_rotary *rotary, const struct place *at, double *row) {
    const size_t D = x.size[3];
    if (norm && norm->all_heads) {
        turn_all_heads(x, b, h, t, norm, weight, rotary, at, row);
        return;
    }
    for (size_t d = 0; d < D; d++)
        row[d] = value_at(x, b, h, t, d);
    turn_head(norm, weight && norm->per_head ? weight + h * D : weight, rotary, at, D, row);
}

static const float *weight_of(const attn_qk_norm *norm, enum turned which) {
    return !norm ? NULL : which == TURNED_Q ? norm->q_weight : which == TURNED_K ? norm->k_weight : norm->v_weight;
}

attn_tensor turned(attn_tensor x, const struct sdpa_case *c, enum turned which) {
    const attn_sdpa_params *p = &c->params;
    const bool is_q = which == TURNED_Q, is_v = which == TURNED_V;
    const attn_rotary *rotary = is_v && p->rotary && !p->rotary->rotate_values ? NULL : p->rotary;
    attn_rotary of_values;
    attn_qk_norm alone;
    const attn_qk_norm *norm = is_v && p->qk_norm && !p->qk_norm->norm_values ? NULL : p->qk_norm;
    const size_t N = sequences_of(p, c->q.size[0]), T = x.size[2], D = x.size[3];
    const attn_tensor y = new_tensor(BHTD, x.size[0], x.size[1], T, D);
    double *row = new_doubles(D);
    if (rotary && is_v && !rotary->width) { /* that of keys */
        of_values = *rotary;
        of_values.width = c->k.size[3];
        rotary = of_values.width ? &of_values : NULL;
    }
    if (norm && is_v && norm->all_heads) { /* values by themselves, whose weights are as if per head */
        alone = *norm;
        alone.all_heads = 0;
        alone.per_head = 1;
        norm = &alone;
    }
    for (size_t n = 0; n < element_count(x); n++)
        set_value(y, n, value(x, n));
    for (size_t n = 0; n < N; n++) {
        const span s = span_of(p, n, c->q.size[2], c->k.size[2]);
        const size_t b = p->query_starts ? 0 : n, start = is_q ? s.q_start : s.k_start;
        const int64_t *positions = !rotary ? NULL : is_q ? rotary->query_positions : rotary->key_positions;
        const int64_t first = rotary && is_q ? (int64_t)first_position(p, &s, n) : 0;
        for (size_t h = 0; h < x.size[1]; h++)
            for (size_t i = 0; i < (is_q ? s.queries : s.keys); i++) {
                const struct place at = {positions ? positions + b * T + start + i : NULL, x.size[0] * T,
                                         (size_t)first + i};
                turn_row(x, b, h, start + i, norm, weight_of(norm, which), rotary, &at, row);
                for (size_t d = 0; d < D; d++)
                    set_value_at(y, b, h, start + i, d, row[d]);
            }
    }
    return y;
}

struct sdpa_case turned_case(const struct sdpa_case *c) {
    struct sdpa_case plain = *c; /* with the positions of its rotary embedding, which factors go by */
    const attn_qk_norm *norm = c->params.qk_norm;
    if (norm && norm->norm_values) /* whose weights are below 2 */
        plain.value_size *= 2 / divisor(norm, c->v.size[3], c->value_size);
    plain.params.qk_norm = NULL;
    plain.q = turned(c->q, c, TURNED_Q);
    plain.k = turned(c->k, c, TURNED_K);
    plain.v = turned(c->v, c, TURNED_V);
    return plain;
}

attn_rotary rotary_of(attn_context *context, attn_rotary_kind kind, size_t width, size_t D, size_t positions) {
    const size_t used = width ? width : D;
    attn_rotary p;
    ATTN_INIT(&p);
    float *cosines = new_floats(positions * used / 2), *sines = new_floats(positions * used / 2);
    assert_ok(context, attn_rotary_tables(context, positions, used, NULL, cosines, sines));
    p.kind = kind;
    p.width = width;
    p.positions = positions;
    p.cos = cosines;
    p.sin = sines;
    return p;
}

int64_t *random_positions(size_t n, size_t table) {
    int64_t *x = (int64_t *)(void *)new_doubles(n);
    for (size_t i = 0; i < n; i++)
        x[i] = (int64_t)random_below(table);
    return x;
}

const float *random_weights(size_t n) {
    float *x = new_floats(n);
    for (size_t i = 0; i < n; i++)
        x[i] = 1 + 0.2F * random_normal();
    return x;
}

static const int32_t *random_axes(size_t pairs, size_t axes) {
    int32_t *axis = (int32_t *)(void *)new_floats(pairs);
    for (size_t d = 0; d < pairs; d++)
        axis[d] = (int32_t)random_below(axes);
    return axis;
}

static void set_random_rotary(attn_context *context, const struct sdpa_case *c, size_t width, attn_rotary *p) {
    const size_t B = c->q.size[0], Tq = c->q.size[2], Tk = c->k.size[2], D = c->q.size[3], E = c->v.size[3];
    const size_t rotated = width ? width : D;
    *p = rotary_of(context, (attn_rotary_kind)random_below(2), width, D, TABLE);
    p->offset = random_below(2) ? 0 : random_below(D - rotated + 1);
    p->axes = random_below(2) ? random_below(2) : 3;
    p->pair_axis = p->axes > 1 ? random_axes(rotated / 2, p->axes) : NULL;
    p->rotate_values = random_below(2) && p->offset + rotated <= E;
    const size_t axes = p->axes > 1 ? p->axes : 1;
    if (random_below(2))
        p->query_positions = random_positions(axes * B * Tq, TABLE);
    if (random_below(2))
        p->key_positions = random_positions(axes * B * Tk, TABLE);
}

void set_random_turns(attn_context *context, struct sdpa_case *c, struct turns *turns) {
    const size_t H = c->q.size[1], G = c->k.size[1], D = c->q.size[3], E = c->v.size[3];
    const size_t width = random_below(2) && D % 2 == 0 ? 0 : D / 4 * 2;
    const unsigned which = 1 + (unsigned)random_below(3);
    const bool rotates = width || D % 2 == 0;
    if (rotates)
        set_random_rotary(context, c, width, &turns->rotary);
    ATTN_INIT(&turns->norm);
    turns->norm.kind = (attn_norm_kind)random_below(3);
    turns->norm.per_head = (int)random_below(2);
    turns->norm.q_weight = random_below(2) ? random_weights(H * D) : NULL;
    turns->norm.k_weight = random_below(2) ? random_weights(G * D) : NULL;
    turns->norm.all_heads = random_below(3) == 0;
    turns->norm.after_rotary = random_below(3) == 0;
    turns->norm.norm_values = random_below(3) == 0;
    turns->norm.v_weight = turns->norm.norm_values && random_below(2) ? random_weights(G * E) : NULL;
    c->params.rotary = rotates && which & 1 ? &turns->rotary : NULL;
    c->params.qk_norm = which & 2 ? &turns->norm : NULL;
}
