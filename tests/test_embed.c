/* SPDX-License-Identifier: BSD-3-Clause */
/* Embeddings and patches against their definitions in double. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "block_case.h"

enum { V = 11, P = 40, TYPES = 3 };

/* A sum of three terms of size 1, and perhaps a norm of it, which can enlarge a row of size 0.1. */
static const tolerance BOUND = {32 * (double)FLT_EPSILON, 32 * (double)FLT_EPSILON};

static float *normal(size_t n) {
    float *x = new_floats(n);
    for (size_t i = 0; i < n; i++)
        x[i] = random_normal();
    return x;
}

static int64_t *random_ids(size_t n, size_t below) {
    int64_t *ids = (int64_t *)(void *)new_doubles(n);
    for (size_t i = 0; i < n; i++)
        ids[i] = (int64_t)random_below(below);
    return ids;
}

static double sinusoid(attn_positions kind, double position, size_t j, size_t M) {
    const bool fairseq = kind == ATTN_POSITIONS_FAIRSEQ, apart = fairseq || kind == ATTN_POSITIONS_SIN_COS;
    const size_t half = fairseq ? M / 2 : (M + 1) / 2;
    if (fairseq && j == 2 * half)
        return 0;
    const bool cosine = apart ? j >= half : j % 2 == 1;
    const double i = (double)(apart ? j % half : j / 2), steps = fairseq ? (double)half - 1 : (double)M / 2;
    const double angle = position / (i > 0 ? pow(10000, i / steps) : 1);
    return cosine ? cos(angle) : sin(angle);
}

static double position_term(const attn_embed_params *p, size_t row, size_t t, size_t j, size_t M) {
    const size_t position = p->position_ids ? (size_t)p->position_ids[row] : p->first_position + t;
    if (p->positions == ATTN_POSITIONS_TABLE)
        return (double)p->position_table[position * M + j];
    return p->positions == ATTN_POSITIONS_NONE ? 0 : sinusoid(p->positions, (double)position, j, M);
}

static double *reference(const attn_embed_params *p, size_t B, size_t T, size_t M) {
    double *y = new_doubles(B * T * M), *row = new_doubles(M),
           *vectors = p->vectors ? dense_doubles(*p->vectors) : NULL;
    for (size_t r = 0; r < B * T; r++) {
        for (size_t j = 0; j < M; j++) {
            const double token = vectors ? vectors[r * M + j] : (double)p->token_table[(size_t)p->ids[r] * M + j];
            row[j] = (p->scale != 0 ? (double)p->scale : 1) * token + position_term(p, r, r % T, j, M);
            if (p->type_table)
                row[j] += (double)p->type_table[(p->type_ids ? (size_t)p->type_ids[r] : 0) * M + j];
        }
        if (p->norm)
            reference_norm(p->norm, M, row, y + r * M);
        else
            memcpy(y + r * M, row, M * sizeof *row);
    }
    return y;
}

static void set_random(attn_embed_params *p, size_t B, size_t T, size_t M) {
    ATTN_INIT(p);
    p->ids = random_ids(B * T, V);
    p->token_table = normal((size_t)V * M);
    p->token_count = V;
    p->scale = random_below(2) ? 0 : 2.5F;
    p->positions = (attn_positions)random_below(ATTN_POSITIONS_FAIRSEQ + 1);
    if (p->positions == ATTN_POSITIONS_TABLE) {
        p->position_table = normal((size_t)P * M);
        p->position_count = P;
    }
    if (p->positions != ATTN_POSITIONS_NONE && random_below(2))
        p->position_ids = random_ids(B * T, P);
    else if (p->positions != ATTN_POSITIONS_NONE)
        p->first_position = random_below(P - T + 1);
    p->type_table = random_below(2) ? normal((size_t)TYPES * M) : NULL;
    p->type_count = TYPES;
    p->type_ids = p->type_table && random_below(2) ? random_ids(B * T, TYPES) : NULL;
}

static void tokens(void **state) {
    (void)state;
    static const size_t widths[] = {1, 2, 3, 7, 32, 65};
    attn_context *context = new_context_of(2, 0);
    seed(1);
    for (int i = 0; i < 200; i++) {
        const size_t B = 1 + random_below(3), T = random_below(P), M = random_pick(widths);
        attn_embed_params p;
        attn_norm_params norm;
        ATTN_INIT(&norm);
        norm.eps = 0.1F;
        set_random(&p, B, T, M);
        p.norm = random_below(2) ? &norm : NULL;
        const attn_tensor out = new_tensor((enum layout)random_below(OUTPUT_LAYOUTS), B, 1, T, M);
        name_case("embed B=%zu T=%zu M=%zu positions=%d", B, T, M, (int)p.positions);
        assert_ok(context, attn_embed(context, &p, &out));
        assert_near(out, reference(&p, B, T, M), BOUND);
        assert_gaps_untouched(out);
        end_case();
    }
}

/* Positions and types on top of vectors, in place and not. */
static void vectors(void **state) {
    (void)state;
    enum { B = 2, T = 9, M = 20 };
    attn_context *context = new_context_of(2, 0);
    seed(2);
    for (enum layout layout = BHTD; layout < OUTPUT_LAYOUTS; layout++) {
        attn_embed_params p;
        set_random(&p, B, T, M);
        p.ids = NULL;
        p.token_table = NULL;
        const attn_tensor x = new_normal(layout, B, 1, T, M), out = new_tensor(BHTD, B, 1, T, M);
        p.vectors = &x;
        const double *want = reference(&p, B, T, M);
        assert_ok(context, attn_embed(context, &p, &out));
        assert_near(out, want, BOUND);
        assert_ok(context, attn_embed(context, &p, &x));
        assert_bits(x, out);
        end_case();
    }
}

/* A million tokens in, the sine is still that of the position. */
static void far_positions(void **state) {
    (void)state;
    enum { M = 16 };
    attn_context *context = new_context_of(1, 0);
    const float zeros[M] = {0};
    const int64_t id = 0;
    attn_embed_params p;
    ATTN_INIT(&p);
    p.ids = &id;
    p.token_table = zeros;
    p.token_count = 1;
    p.positions = ATTN_POSITIONS_SINUSOIDAL;
    p.first_position = 1000000;
    const attn_tensor out = new_tensor(BHTD, 1, 1, 1, M);
    assert_ok(context, attn_embed(context, &p, &out));
    assert_near(out, reference(&p, 1, 1, M), BOUND);
}

static void patches(void **state) {
    (void)state;
    static const size_t heights[] = {1, 2, 5}, widths[] = {1, 3, 4};
    attn_context *context = new_context_of(2, 0);
    seed(3);
    for (int i = 0; i < 60; i++) {
        const size_t B = random_below(3), C = 1 + random_below(3), h = random_pick(heights), w = random_pick(widths);
        const size_t Y = random_below(4), X = 1 + random_below(4);
        const attn_tensor image = new_normal((enum layout)random_below(LAYOUTS), B, C, Y * h, X * w);
        const attn_tensor out = new_tensor((enum layout)random_below(OUTPUT_LAYOUTS), B, 1, Y * X, C * h * w);
        name_case("patches of %zux%zu", h, w);
        assert_ok(context, attn_patchify(context, &image, h, w, &out));
        for (size_t n = 0; n < element_count(out); n++) {
            const size_t e = n % (C * h * w), t = n / (C * h * w) % (Y * X), b = n / (C * h * w) / (Y * X);
            const size_t c = e / (h * w), y = t / X * h + e / w % h, x = t % X * w + e % w;
            assert_true(*element(out, n) == *element_at(image, b, c, y, x));
        }
        assert_gaps_untouched(out);
        end_case();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(tokens), TEST(vectors), TEST(far_positions), TEST(patches)};
    return cmocka_run_group_tests_name("embed", tests, NULL, NULL);
}
