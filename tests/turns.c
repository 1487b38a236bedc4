/* SPDX-License-Identifier: BSD-3-Clause */
#include "turns.h"

#include <math.h>

static void norm_row(const attn_qk_norm *p, const float *weight, size_t D, double *x) {
    const double eps = p->eps > 0 ? (double)p->eps : p->kind == ATTN_L2_NORM ? 1e-12 : 1e-5;
    double mean = 0, square = 0;
    for (size_t d = 0; d < D && p->kind == ATTN_LAYER_NORM; d++)
        mean += x[d] / (double)D;
    for (size_t d = 0; d < D; d++)
        square += (x[d] - mean) * (x[d] - mean);
    const double size = p->kind == ATTN_L2_NORM ? fmax(sqrt(square), eps) : sqrt(square / (double)D + eps);
    for (size_t d = 0; d < D; d++)
        x[d] = (x[d] - mean) / size * (weight ? (double)weight[d] : 1);
}

static void rotate_row(const attn_rotary *p, size_t position, size_t D, double *x) {
    const size_t width = p->width ? p->width : D, pairs = width / 2;
    for (size_t d = 0; d < pairs; d++) {
        const double c = (double)p->cos[position * pairs + d], s = (double)p->sin[position * pairs + d];
        double *a = p->kind == ATTN_ROTARY_HALF ? &x[d] : &x[2 * d];
        double *b = p->kind == ATTN_ROTARY_HALF ? &x[d + pairs] : &x[2 * d + 1];
        const double was = *a;
        *a = was * c - *b * s;
        *b = *b * c + was * s;
    }
}

void turn_row(attn_tensor x, size_t b, size_t h, size_t t, const attn_qk_norm *norm, const float *weight,
              const attn_rotary *rotary, size_t position, double *row) {
    const size_t D = x.size[3];
    for (size_t d = 0; d < D; d++)
        row[d] = value_at(x, b, h, t, d);
    if (norm)
        norm_row(norm, weight ? weight + (norm->per_head ? h * D : 0) : NULL, D, row);
    if (rotary)
        rotate_row(rotary, position, D, row);
}

attn_tensor turned(attn_tensor x, const struct sdpa_case *c, bool is_q) {
    const attn_sdpa_params *p = &c->params;
    const attn_rotary *rotary = p->rotary;
    const size_t N = sequences_of(p, c->q.size[0]), T = x.size[2], D = x.size[3];
    const attn_tensor y = new_tensor(BHTD, x.size[0], x.size[1], T, D);
    double *row = new_doubles(D);
    for (size_t n = 0; n < element_count(x); n++)
        set_value(y, n, value(x, n));
    for (size_t n = 0; n < N; n++) {
        const span s = span_of(p, n, c->q.size[2], c->k.size[2]);
        const size_t b = p->query_starts ? 0 : n, start = is_q ? s.q_start : s.k_start;
        const int64_t *positions = !rotary ? NULL : is_q ? rotary->query_positions : rotary->key_positions;
        const int64_t first = rotary && is_q ? (int64_t)first_position(p, &s, n) : 0;
        for (size_t h = 0; h < x.size[1]; h++)
            for (size_t i = 0; i < (is_q ? s.queries : s.keys); i++) {
                const size_t at = positions ? (size_t)positions[b * T + start + i] : (size_t)first + i;
                const float *weight = !p->qk_norm ? NULL : is_q ? p->qk_norm->q_weight : p->qk_norm->k_weight;
                turn_row(x, b, h, start + i, p->qk_norm, weight, rotary, at, row);
                for (size_t d = 0; d < D; d++)
                    set_value_at(y, b, h, start + i, d, row[d]);
            }
    }
    return y;
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

void set_random_turns(attn_context *context, struct sdpa_case *c, struct turns *turns) {
    const size_t B = c->q.size[0], H = c->q.size[1], G = c->k.size[1], Tq = c->q.size[2], Tk = c->k.size[2];
    const size_t D = c->q.size[3], width = random_below(2) && D % 2 == 0 ? 0 : D / 4 * 2;
    const unsigned which = 1 + (unsigned)random_below(3);
    const bool rotates = width || D % 2 == 0;
    if (rotates)
        turns->rotary = rotary_of(context, (attn_rotary_kind)random_below(2), width, D, TABLE);
    if (random_below(2))
        turns->rotary.query_positions = random_positions(B * Tq, TABLE);
    if (random_below(2))
        turns->rotary.key_positions = random_positions(B * Tk, TABLE);
    ATTN_INIT(&turns->norm);
    turns->norm.kind = (attn_norm_kind)random_below(3);
    turns->norm.per_head = (int)random_below(2);
    turns->norm.q_weight = random_below(2) ? random_weights(H * D) : NULL;
    turns->norm.k_weight = random_below(2) ? random_weights(G * D) : NULL;
    c->params.rotary = rotates && which & 1 ? &turns->rotary : NULL;
    c->params.qk_norm = which & 2 ? &turns->norm : NULL;
}
