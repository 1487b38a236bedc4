/* SPDX-License-Identifier: BSD-3-Clause */
/* Embeddings and patches against their definitions in double. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/block_case.h"

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

/* ---- gradients ---- */

enum { HELD = 3 }; /* what outputs hold that are added to */

struct gradients {
    attn_tensor tokens, vectors, positions, types, weight, bias; /* without data: not wanted */
};

static double *zeros(size_t n) {
    double *x = new_doubles(n);
    memset(x, 0, n * sizeof *x);
    return x;
}

/* The numbers that a result may have, in its order. */
struct gradients_in_double {
    double *tokens, *vectors, *positions, *types, *weight, *bias;
};

static void add_row(double *to, size_t row, size_t M, double scale, const double *dx) {
    for (size_t j = 0; j < M; j++)
        to[row * M + j] += scale * dx[j];
}

static struct gradients_in_double reference_back(const attn_embed_params *p, const double *d_out, size_t B, size_t T,
                                                 size_t M) {
    const struct gradients_in_double g = {zeros(V * M),     zeros(B * T * M), zeros(P * M),
                                          zeros(TYPES * M), zeros(M),         zeros(M)};
    const double scale = p->scale != 0 ? (double)p->scale : 1;
    attn_embed_params sum = *p;
    double *dx = new_doubles(M);
    sum.norm = NULL;
    const double *rows = reference(&sum, B, T, M);
    for (size_t r = 0; r < B * T; r++) {
        memcpy(dx, d_out + r * M, M * sizeof *dx);
        if (p->norm)
            reference_norm_backward(p->norm, M, rows + r * M, d_out + r * M, dx, g.weight, g.bias);
        add_row(g.vectors, r, M, scale, dx);
        if (p->ids)
            add_row(g.tokens, (size_t)p->ids[r], M, scale, dx);
        if (p->positions == ATTN_POSITIONS_TABLE)
            add_row(g.positions, p->position_ids ? (size_t)p->position_ids[r] : p->first_position + r % T, M, 1, dx);
        if (p->type_table)
            add_row(g.types, p->type_ids ? (size_t)p->type_ids[r] : 0, M, 1, dx);
    }
    return g;
}

/* A loss: Σ d_out · out. */
static double loss_of(const attn_embed_params *p, const double *d_out, size_t B, size_t T, size_t M) {
    const double *out = reference(p, B, T, M);
    double sum = 0;
    for (size_t n = 0; n < B * T * M; n++)
        sum += d_out[n] * out[n];
    return sum;
}

static void gradients_by_differences(void **state) {
    enum { B = 2, T = 4, M = 5 };
    (void)state;
    for (uint64_t i = 0; i < 30; i++) {
        attn_embed_params p;
        attn_norm_params norm;
        ATTN_INIT(&norm);
        seed(40 + i);
        set_random(&p, B, T, M);
        norm.kind = (attn_norm_kind)(i % 3);
        norm.eps = 0.25F;
        norm.weight = normal(M);
        norm.bias = normal(M);
        p.norm = i % 2 ? &norm : NULL;
        const double *d_out = dense_doubles(new_normal(BHTD, B, 1, T, M));
        const struct gradients_in_double g = reference_back(&p, d_out, B, T, M);
        const struct {
            const float *table;
            const double *gradients;
            size_t n;
        } inputs[] = {{p.token_table, g.tokens, V * M},
                      {p.position_table, g.positions, P * M},
                      {p.type_table, g.types, TYPES * M},
                      {p.norm ? norm.weight : NULL, g.weight, M},
                      {p.norm ? norm.bias : NULL, g.bias, M}};
        for (size_t k = 0; k < COUNT(inputs); k++)
            for (size_t e = 0; inputs[k].table && e < inputs[k].n; e += 3) {
                float *const x = (float *)(uintptr_t)inputs[k].table + e, was = *x;
                *x = was + 0x1p-8F;
                const double up = (double)*x, above = loss_of(&p, d_out, B, T, M);
                *x = was - 0x1p-8F;
                const double slope = (above - loss_of(&p, d_out, B, T, M)) / (up - (double)*x);
                *x = was;
                assert_true(fabs(inputs[k].gradients[e] - slope) <= 1e-3 * (1 + fabs(slope)));
            }
        end_case();
    }
}

static struct gradients new_gradients(const attn_embed_params *p, attn_tensor d_out) {
    const size_t M = d_out.size[3];
    struct gradients g = {.vectors = {0}};
    if (p->ids)
        g.tokens = new_tensor(BHTD, 1, 1, V, M);
    if (p->vectors)
        g.vectors = new_tensor((enum layout)random_below(OUTPUT_LAYOUTS), d_out.size[0], 1, d_out.size[2], M);
    if (p->position_table)
        g.positions = new_tensor(BHTD, 1, 1, P, M);
    if (p->type_table)
        g.types = new_tensor(BHTD, 1, 1, TYPES, M);
    if (p->norm) {
        g.weight = new_tensor(BHTD, 1, 1, 1, M);
        g.bias = new_tensor(BHTD, 1, 1, 1, M);
    }
    return g;
}

static attn_embed_gradients wanted(const struct gradients *g, bool accumulate) {
    const attn_tensor all[] = {g->tokens, g->vectors, g->positions, g->types, g->weight, g->bias};
    attn_embed_gradients w;
    ATTN_INIT(&w);
    for (size_t i = 0; i < COUNT(all); i++)
        for (size_t n = 0; n < element_count(all[i]) && all[i].data && accumulate; n++)
            set_value(all[i], n, HELD);
    w.d_token_table = g->tokens.data;
    w.d_vectors = g->vectors.data ? &g->vectors : NULL;
    w.d_position_table = g->positions.data;
    w.d_type_table = g->types.data;
    w.d_norm_weight = g->weight.data;
    w.d_norm_bias = g->bias.data;
    w.accumulate = accumulate;
    return w;
}

static struct gradients run_back(attn_context *context, const attn_embed_params *p, attn_tensor d_out,
                                 bool accumulate) {
    const struct gradients g = new_gradients(p, d_out);
    const attn_embed_gradients w = wanted(&g, accumulate);
    size_t bytes;
    assert_ok(context, attn_embed_backward_scratch_size(context, p, &d_out, &w, &bytes));
    assert_ok(context, attn_embed_backward(context, p, &d_out, &w));
    if (g.vectors.data)
        assert_gaps_untouched(g.vectors);
    return g;
}

static double *held(double *x, size_t n, bool accumulate) {
    for (size_t i = 0; i < n && accumulate; i++)
        x[i] += HELD;
    return x;
}

static void check_back(attn_context *one, attn_context *three, const attn_embed_params *p, attn_tensor d_out,
                       bool accumulate) {
    const size_t B = d_out.size[0], T = d_out.size[2], M = d_out.size[3];
    const tolerance bound = {4e-5, 1e-5}; /* rows of size 3, and norms of rows of size 0.1 */
    const struct gradients got = run_back(one, p, d_out, accumulate), again = run_back(three, p, d_out, accumulate);
    const struct gradients_in_double want = reference_back(p, dense_doubles(d_out), B, T, M);
    const struct {
        attn_tensor got, again;
        double *want;
    } all[] = {{got.tokens, again.tokens, want.tokens},          {got.vectors, again.vectors, want.vectors},
               {got.positions, again.positions, want.positions}, {got.types, again.types, want.types},
               {got.weight, again.weight, want.weight},          {got.bias, again.bias, want.bias}};
    for (size_t i = 0; i < COUNT(all); i++) {
        if (!all[i].got.data)
            continue;
        assert_bits(all[i].again, all[i].got);
        assert_near(all[i].got, held(all[i].want, element_count(all[i].got), accumulate), bound);
    }
}

/* Tokens or vectors, no tokens too, with a norm and without. */
static void gradients(void **state) {
    (void)state;
    static const size_t widths[] = {0, 1, 2, 7, 32, 65, 200};
    attn_context *one = new_context_of(1, 0), *three = new_context_of(3, 0);
    for (uint64_t i = 0; i < 200; i += every()) {
        attn_embed_params p;
        attn_norm_params norm;
        seed(50 + i);
        const size_t B = random_below(4), T = random_below(P), M = random_pick(widths);
        const attn_tensor x = new_normal((enum layout)random_below(OUTPUT_LAYOUTS), B, 1, T, M);
        const attn_tensor d_out = new_normal((enum layout)random_below(LAYOUTS), B, 1, T, M);
        ATTN_INIT(&norm);
        norm.kind = (attn_norm_kind)random_below(3);
        norm.eps = 0.1F;
        norm.weight = random_below(2) ? normal(M) : NULL;
        set_random(&p, B, T, M);
        if (random_below(3) == 0) {
            p.ids = NULL;
            p.token_table = NULL;
            p.vectors = &x;
        }
        p.norm = random_below(2) ? &norm : NULL;
        name_case("gradients of embed, seed %d: B=%zu T=%zu M=%zu", (int)(50 + i), B, T, M);
        check_back(one, three, &p, d_out, random_below(3) == 0);
        end_case();
    }
}

/* Many tokens of few types: sums in double. And the vectors' gradients in the place of d_out. */
static void many_tokens(void **state) {
    enum { T = 30000, M = 10 };
    (void)state;
    attn_context *one = new_context_of(1, 0), *three = new_context_of(3, 0);
    attn_embed_params p;
    attn_embed_gradients w;
    ATTN_INIT(&p);
    ATTN_INIT(&w);
    seed(9);
    const attn_tensor x = new_normal(BHTD, 1, 1, T, M), d_out = new_normal(BHTD, 1, 1, T, M);
    p.vectors = &x;
    p.scale = 1.5F;
    p.type_table = normal((size_t)TYPES * M);
    p.type_count = TYPES;
    p.type_ids = random_ids(T, TYPES);
    check_back(one, three, &p, d_out, false);
    const struct gradients apart = run_back(one, &p, d_out, false);
    w.d_vectors = &d_out;
    w.d_type_table = apart.types.data;
    assert_ok(three, attn_embed_backward(three, &p, &d_out, &w));
    assert_bits(d_out, apart.vectors);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(tokens),    TEST(vectors),    TEST(far_positions), TEST(patches), TEST(gradients_by_differences),
        TEST(gradients), TEST(many_tokens)};
    return cmocka_run_group_tests_name("embed", tests, NULL, NULL);
}
