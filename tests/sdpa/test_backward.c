/* SPDX-License-Identifier: BSD-3-Clause */
/* The gradients of attention: the reference against differences of the forward one, libattn against the reference, for
 * any options, on one thread and three. */
#include <math.h>
#include <string.h>

#include "support/meter.h"
#include "support/turns.h"
#include "support/variants.h"

enum { SEED = 20261127 };

/* ---- the reference, by central differences ---- */

/* A loss: Σ d_out·out + Σ d_lse·lse. */
struct loss {
    struct heads a;
    double *d_out, *d_lse;
};

static double loss_of(const struct loss *l) {
    const answer f = reference_attend(&l->a);
    const size_t rows = l->a.B * l->a.H * l->a.Tq;
    double sum = 0;
    for (size_t n = 0; n < rows * l->a.E; n++)
        sum += l->d_out[n] * f.out[n];
    for (size_t n = 0; n < rows; n++)
        sum += l->d_lse && f.lse[n] != -INFINITY ? l->d_lse[n] * f.lse[n] : 0;
    return sum;
}

/* Scores with biases are floats: differences of them are no better than this. */
static void assert_close(const struct sdpa_case *c, const char *what, double got, double want) {
    if (!(fabs(got - want) <= 2e-4 + 2e-4 * fabs(want)))
        print_error("%s: %.9g, by differences %.9g in %s\n", what, got, want, c->name);
    assert_true(fabs(got - want) <= 2e-4 + 2e-4 * fabs(want));
}

/* Some elements of x [n]; floats are moved by what a float can be moved by. */
static void differ_doubles(const struct sdpa_case *c, const char *what, const struct loss *l, const double *input,
                           size_t n, const double *got) {
    double *x = (double *)(uintptr_t)input;
    const double h = 0x1p-9;
    for (size_t i = 0, at; i < 12 && n > 0; i++) {
        at = random_below(n);
        const double was = x[at];
        x[at] = was + h;
        const double above = loss_of(l);
        x[at] = was - h;
        const double below = loss_of(l);
        x[at] = was;
        assert_close(c, what, got[at], (above - below) / (2 * h));
    }
}

static void differ_floats(const struct sdpa_case *c, const char *what, const struct loss *l, const float *input,
                          size_t n, const double *got) {
    float *x = (float *)(uintptr_t)input;
    for (size_t i = 0, at; i < 8 && input && n > 0; i++) {
        at = random_below(n);
        const float was = x[at], up = was + 0x1p-8F, down = was - 0x1p-8F;
        x[at] = up;
        const double above = loss_of(l);
        x[at] = down;
        const double below = loss_of(l);
        x[at] = was;
        if (was != -INFINITY)
            assert_close(c, what, got[at], (above - below) / ((double)up - (double)down));
    }
}

static double *normal_doubles(size_t n) {
    double *x = new_doubles(n);
    for (size_t i = 0; i < n; i++)
        x[i] = (double)random_normal();
    return x;
}

static struct heads heads_of(const struct sdpa_case *c) {
    return (struct heads){.B = c->q.size[0],
                          .H = c->q.size[1],
                          .G = c->k.size[1],
                          .Tq = c->q.size[2],
                          .Tk = c->k.size[2],
                          .D = c->q.size[3],
                          .E = c->v.size[3],
                          .q = doubles_of(c->q),
                          .k = doubles_of(c->k),
                          .v = doubles_of(c->v),
                          .params = &c->params};
}

static void check_reference(const struct sdpa_case *c) {
    struct loss l = {.a = heads_of(c)};
    const size_t rows = l.a.B * l.a.H * l.a.Tq, keys = l.a.B * l.a.G * l.a.Tk;
    const attn_sdpa_params *p = &c->params;
    l.d_out = normal_doubles(rows * l.a.E);
    l.d_lse = p->sigmoid ? NULL : normal_doubles(rows);
    const answer_back g = reference_backward(&l.a, l.d_out, l.d_lse, NULL);
    differ_doubles(c, "dq", &l, l.a.q, rows * l.a.D, g.dq);
    differ_doubles(c, "dk", &l, l.a.k, keys * l.a.D, g.dk);
    differ_doubles(c, "dv", &l, l.a.v, keys * l.a.E, g.dv);
    if (p->bias && p->bias->dtype == ATTN_F32)
        differ_floats(c, "d_bias", &l, p->bias->data, element_count(*p->bias), g.d_bias);
    differ_floats(c, "d_sinks", &l, p->sinks, l.a.H, g.d_sinks);
    differ_floats(c, "d_slopes", &l, p->alibi_slopes, l.a.H, g.d_slopes);
    if (p->relative_bias)
        differ_floats(c, "d_table", &l, p->relative_bias->table, l.a.H * relative_width(p->relative_bias), g.d_table);
}

/* A random level of each option, half of them off, but for some. */
static struct levels random_levels(void) {
    static const enum option off[] = {NUMBERS, WEIGHTS, AVERAGED, WEIGHTS_TYPE, INSPECTION, LSE, INPUT_LAYOUT};
    struct levels levels;
    for (size_t o = 0; o < OPTIONS; o++)
        levels.of[o] = random_below(3) ? 0 : (unsigned)random_below(OPTION_LEVELS[o]);
    for (size_t n = 0; n < COUNT(off); n++)
        levels.of[off[n]] = 0;
    if (levels.of[BIAS] >= BIAS_MINUS_INFINITY)
        levels.of[BIAS] = 1;
    return levels;
}

static void reference_by_differences(void **state) {
    enum { CASES = 60 };
    static const struct shape shapes[] = {{2, 2, 1, 5, 7, 3, 4}, {1, 4, 2, 6, 6, 4, 2}, {2, 1, 1, 3, 9, 2, 3}};
    (void)state;
    for (size_t i = 0; i < CASES; i += every()) {
        char name[32];
        seed(SEED + i);
        snprintf(name, sizeof name, "differences, seed %zu", SEED + i);
        struct levels levels = random_levels();
        levels.of[CALLBACK] = levels.of[INPUT_TYPES] = levels.of[POISON] = 0;
        if (levels.of[ALIBI] && (levels.of[CAUSAL] == ATTN_CAUSAL_OFFSET || levels.of[ALIGNMENT] == ATTN_CAUSAL_OFFSET))
            levels.of[ALIBI] = 0; /* whose scores would be far away */
        const struct sdpa_case c = variant_of(name, &levels, &shapes[i % COUNT(shapes)]);
        name_sdpa(&c);
        check_reference(&c);
        end_case();
    }
}

/* ---- libattn ---- */

/* A callback that is no sum, and its derivative. */
static void bend(void *data, const attn_score_tile *t) {
    (void)data;
    for (size_t i = 0; i < t->queries; i++)
        for (size_t j = 0; j < t->keys; j++)
            t->scores[i * t->stride + j] *= 1 + 0.125F * t->scores[i * t->stride + j];
}

static double bend_slope(double score) { return 1 + 0.25 * score; }

static void bend_backward(void *data, const attn_score_tile *t, float *gradients) {
    (void)data;
    for (size_t i = 0; i < t->queries; i++)
        for (size_t j = 0; j < t->keys; j++)
            gradients[i * t->stride + j] *= 1 + 0.25F * t->scores[i * t->stride + j];
}

static void pass_on(void *data, const attn_score_tile *t, float *gradients) {
    (void)data;
    (void)t;
    (void)gradients;
}

/* What a call of attn_sdpa_backward has beside the case. */
struct backward_case {
    struct sdpa_case c;
    struct sdpa_result forward;
    attn_tensor d_out, d_lse;    /* d_lse without data: none */
    attn_dtype types[3];         /* of dq, dk and dv */
    bool accumulate, no_tensors; /* no dq, dk and dv */
};

struct backward_result {
    attn_tensor dq, dk, dv, d_bias, d_sinks, d_slopes, d_table;
    attn_tensor of_turns[4]; /* weights of the norms of q, k and v, head_scales */
};

static attn_tensor new_like(attn_dtype type, enum layout layout, attn_tensor x) {
    return new_tensor_of(type, layout, x.size[0], x.size[1], x.size[2], x.size[3]);
}

static attn_tensor new_row(size_t n) { return new_tensor(BHTD, 1, 1, 1, n); }

/* Weights of the norm of rows x. */
static size_t count_weights(const attn_qk_norm *p, attn_tensor x) {
    return (p->per_head || p->all_heads ? x.size[1] : 1) * x.size[3];
}

static struct backward_result new_backward_result(const struct backward_case *b) {
    const struct sdpa_case *c = &b->c;
    const attn_sdpa_params *p = &c->params;
    const size_t H = c->q.size[1];
    struct backward_result r = {.dq = new_like(b->types[0], c->out_layout, c->q),
                                .dk = new_like(b->types[1], c->out_layout, c->k),
                                .dv = new_like(b->types[2], c->out_layout, c->v)};
    if (p->bias)
        r.d_bias = new_like(ATTN_F32, c->out_layout, *p->bias);
    if (p->sinks)
        r.d_sinks = new_row(H);
    if (p->alibi)
        r.d_slopes = new_row(H);
    if (p->relative_bias)
        r.d_table = new_row(H * relative_width(p->relative_bias));
    if (p->qk_norm) {
        r.of_turns[0] = new_row(count_weights(p->qk_norm, c->q));
        r.of_turns[1] = new_row(count_weights(p->qk_norm, c->k));
    }
    if (p->qk_norm && p->qk_norm->norm_values)
        r.of_turns[2] = new_row(count_weights(p->qk_norm, c->v));
    if (p->head_scales)
        r.of_turns[3] = new_row(H);
    return r;
}

static void fill_all(const struct backward_result *r, double x) {
    const attn_tensor all[] = {r->dq,      r->dk,          r->dv,          r->d_bias,      r->d_sinks,    r->d_slopes,
                               r->d_table, r->of_turns[0], r->of_turns[1], r->of_turns[2], r->of_turns[3]};
    for (size_t i = 0; i < COUNT(all); i++)
        for (size_t n = 0; all[i].data && n < element_count(all[i]); n++)
            set_value(all[i], n, x);
}

enum { HELD = 3 }; /* what outputs hold that are added to */

static struct backward_result run_backward(attn_context *context, const struct backward_case *b) {
    const struct backward_result r = new_backward_result(b);
    attn_sdpa_params params = b->c.params;
    attn_sdpa_gradients g;
    size_t bytes;
    ATTN_INIT(&g);
    params.lse = b->forward.lse.data;
    g.d_lse = b->d_lse.data;
    g.dq = b->no_tensors ? NULL : &r.dq;
    g.dk = b->no_tensors ? NULL : &r.dk;
    g.dv = b->no_tensors ? NULL : &r.dv;
    g.d_bias = params.bias ? &r.d_bias : NULL;
    g.d_sinks = r.d_sinks.data;
    g.d_alibi_slopes = r.d_slopes.data;
    g.d_relative_bias = r.d_table.data;
    g.d_q_norm_weight = r.of_turns[0].data;
    g.d_k_norm_weight = r.of_turns[1].data;
    g.d_v_norm_weight = r.of_turns[2].data;
    g.d_head_scales = r.of_turns[3].data;
    g.accumulate = b->accumulate;
    g.score_backward = params.score == bend ? bend_backward : params.score ? pass_on : NULL;
    if (b->accumulate)
        fill_all(&r, HELD);
    assert_ok(context, attn_sdpa_backward_scratch_size(context, &b->c.q, &b->c.k, &b->c.v, &b->forward.out, &b->d_out,
                                                       &params, &g, &bytes));
    assert_ok(context, attn_sdpa_backward(context, &b->c.q, &b->c.k, &b->c.v, &b->forward.out, &b->d_out, &params, &g));
    const attn_tensor all[] = {r.dq, r.dk, r.dv, r.d_bias};
    for (size_t i = 0; i < COUNT(all); i++)
        assert_gaps_untouched(all[i]);
    return r;
}

/* The case with the forward pass done. */
static struct backward_case backward_case_of(attn_context *context, const struct sdpa_case *c) {
    struct backward_case b = {.c = *c};
    b.c.lse = !c->params.sigmoid;
    b.c.probabilities = b.c.key_mass = b.c.entropy = b.c.largest = false;
    b.c.top_keys = 0;
    b.forward = run_sdpa(context, &b.c);
    b.d_out = new_normal(c->out_layout, c->q.size[0], c->q.size[1], c->q.size[2], c->v.size[3]);
    if (!c->params.sigmoid && random_below(2))
        b.d_lse = new_normal(BHTD, c->q.size[0], c->q.size[1], c->q.size[2], 1);
    return b;
}

/* Tokens that belong to no sequence are as they were. */
static void adopt_tokens_between(const int64_t *starts, size_t sequences, attn_tensor got, double *want) {
    for (size_t n = 0; n < element_count(got) && starts; n++) {
        const size_t t = n / got.size[3] % got.size[2];
        bool between = true;
        for (size_t s = 0; s < sequences; s++)
            between = between && !(t >= (size_t)starts[s] && t < (size_t)starts[s + 1]);
        if (between)
            want[n] = value(got, n);
    }
}

static double *with_held(const struct backward_case *b, attn_tensor t, double *want) {
    for (size_t n = 0; n < element_count(t) && t.data && b->accumulate; n++)
        want[n] += HELD;
    return want;
}

/* Gradients of N(0,1) are promised within 2e-5 + 1e-5·|x|; sums of larger terms are that much less exact. */
static void assert_backward_near(const struct backward_case *b, const struct backward_result *r,
                                 const struct heads *a) {
    const attn_sdpa_params *p = &b->c.params;
    const answer_back g = reference_backward(a, doubles_of(b->d_out), b->d_lse.data ? doubles_of(b->d_lse) : NULL,
                                             p->score == bend ? bend_slope : NULL);
    static const double of_out[] = {[ATTN_F32] = 1, [ATTN_F16] = 100, [ATTN_BF16] = 800}; /* whose rounding is in D */
    const double size = fmax(1, g.size / 8) * b->c.score_size * of_out[b->c.out_type] *
                        (b->c.out_type == ATTN_F32 ? 1 : 1 / (1 - (double)p->dropout));
    const tolerance bound = {2e-5 * size, 1e-5 * size};
    const tolerance of_sums = {bound.absolute * sqrt((double)(a->Tq * a->B)) * 4, bound.relative};
    const tolerance of_slopes = {of_sums.absolute * (double)(1 + a->Tk + a->Tq), bound.relative};
    const int64_t *queries = p->query_starts, *keys = p->key_starts ? p->key_starts : p->query_starts;
    adopt_tokens_between(queries, p->sequences, r->dq, with_held(b, r->dq, g.dq));
    adopt_tokens_between(keys, p->sequences, r->dk, with_held(b, r->dk, g.dk));
    adopt_tokens_between(keys, p->sequences, r->dv, with_held(b, r->dv, g.dv));
    assert_near(r->dq, g.dq, bound);
    assert_near(r->dk, g.dk, bound);
    assert_near(r->dv, g.dv, bound);
    assert_near(r->d_bias, with_held(b, r->d_bias, g.d_bias), of_sums);
    assert_near(r->d_sinks, with_held(b, r->d_sinks, g.d_sinks), of_sums);
    if (!p->causal_offset)
        assert_near(r->d_slopes, with_held(b, r->d_slopes, g.d_slopes), of_slopes);
    assert_near(r->d_table, with_held(b, r->d_table, g.d_table), of_sums);
}

static void assert_same_gradients(const struct backward_result *got, const struct backward_result *want) {
    assert_bits(got->dq, want->dq);
    assert_bits(got->dk, want->dk);
    assert_bits(got->dv, want->dv);
    assert_bits(got->d_bias, want->d_bias);
    assert_bits(got->d_sinks, want->d_sinks);
    assert_bits(got->d_slopes, want->d_slopes);
    assert_bits(got->d_table, want->d_table);
    for (size_t i = 0; i < COUNT(got->of_turns); i++)
        assert_bits(got->of_turns[i], want->of_turns[i]);
}

static void check_backward(attn_context *one, attn_context *three, const struct backward_case *b) {
    const struct heads a = heads_of(&b->c);
    const struct backward_result want = run_backward(one, b), got = run_backward(three, b);
    assert_same_gradients(&got, &want);
    assert_backward_near(b, &want, &a);
}

static void plain(void **state) {
    (void)state;
    attn_context *one[ISAS], *three[ISAS];
    const size_t n = new_variant_contexts(one, three);
    for (size_t i = 0; i < SHAPES * n; i += every()) {
        const struct shape *s = &VARIANT_SHAPES[i / n];
        seed(SEED + i);
        const struct sdpa_case c = sdpa_case_of(s->B, s->H, s->G, s->Tq, s->Tk, s->D, s->E);
        const struct backward_case b = backward_case_of(one[i % n], &c);
        check_backward(one[i % n], three[i % n], &b);
        end_case();
    }
}

/* No batch, no heads, no width of keys or values. */
/* What rows share that are not there has gradients of 0. */
static void shared_by_none(void **state) {
    (void)state;
    attn_context *context = new_context_of(2, 0);
    for (size_t n = 0; n < 3; n++) {
        const size_t B = n > 0, H = n < 2 ? 2 : 0, Tq = n == 1 ? 0 : 3;
        const attn_tensor q = new_tensor(BHTD, B, H, Tq, 4), k = new_normal(BHTD, B, H, 5, 4);
        const attn_tensor d_weight = new_tensor(BHTD, 1, 1, 1, 4);
        attn_qk_norm norm;
        const attn_tensor bias = new_normal(BHTD, 1, 1, 1, 5), d_bias = new_tensor(BHTD, 1, 1, 1, 5);
        const attn_tensor d_sinks = new_tensor(BHTD, 1, 1, 1, H), zeros = new_tensor(BHTD, 1, 1, 1, 5);
        attn_sdpa_params p;
        attn_sdpa_gradients g;
        ATTN_INIT(&p);
        ATTN_INIT(&g);
        p.bias = &bias;
        ATTN_INIT(&norm);
        p.qk_norm = &norm;
        g.d_q_norm_weight = d_weight.data;
        p.sinks = new_normal(BHTD, 1, 1, 1, 2).data;
        g.d_bias = &d_bias;
        g.d_sinks = d_sinks.data;
        for (size_t i = 0; i < 5; i++)
            *element(zeros, i) = 0;
        assert_ok(context, attn_sdpa_backward(context, &q, &k, &k, &q, &q, &p, &g));
        assert_bits(d_bias, zeros);
        assert_bits(d_sinks, attn_tensor_bhtd(zeros.data, ATTN_F32, 1, 1, 1, H));
        assert_bits(d_weight, attn_tensor_bhtd(zeros.data, ATTN_F32, 1, 1, 1, 4));
    }
}

static void empty_sizes(void **state) {
    static const size_t sizes[][7] = {{0, 2, 1, 3, 4, 8, 8}, {2, 0, 0, 3, 4, 8, 8}, {1, 2, 1, 3, 4, 0, 8},
                                      {1, 2, 1, 3, 4, 8, 0}, {1, 2, 1, 0, 0, 8, 8}, {2, 2, 2, 5, 0, 8, 8}};
    (void)state;
    attn_context *one = new_context_of(1, 0), *three = new_context_of(3, 0);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        const size_t *s = sizes[i];
        const struct sdpa_case c = sdpa_case_of(s[0], s[1], s[2], s[3], s[4], s[5], s[6]);
        const struct backward_case b = backward_case_of(one, &c);
        check_backward(one, three, &b);
        end_case();
    }
}

static struct shape random_shape(void) {
    static const size_t lengths[] = {0, 1, 2, 3, 7, 16, 31, 64, 65, 100, 129, 200, 280, 400};
    static const size_t widths[] = {1, 3, 8, 16, 20, 40, 64, 72};
    const size_t G = 1 + random_below(3), H = G * (1 + random_below(3));
    return (struct shape){1 + random_below(3), H, G, random_pick(lengths), random_pick(lengths), random_pick(widths),
                          random_pick(widths)};
}

static void any_options(void **state) {
    enum { CASES = 300 };
    attn_context *one[ISAS], *three[ISAS];
    const size_t n = new_variant_contexts(one, three);
    (void)state;
    for (size_t i = 0; i < CASES; i += every()) {
        char name[32];
        seed(SEED + i);
        snprintf(name, sizeof name, "backward, seed %zu", SEED + i);
        const struct levels levels = random_levels();
        const struct shape shape = random_shape();
        struct sdpa_case c = variant_of(name, &levels, &shape);
        if (c.params.score && random_below(2) && !c.params.sigmoid)
            c.params.score = bend;
        struct backward_case b = backward_case_of(one[i % n], &c);
        b.accumulate = random_below(3) == 0;
        for (size_t x = 0; x < COUNT(b.types); x++)
            b.types[x] = random_below(2) ? ATTN_F32 : (attn_dtype)random_below(3);
        check_backward(one[i % n], three[i % n], &b);
        end_case();
    }
}

/* ---- what is special ---- */

/* The nth of what there is to want, alone, has the bits that it has beside the others. */
static void each_alone(void **state) {
    (void)state;
    attn_context *context = new_context_of(2, 0);
    const struct sdpa_case c = sdpa_case_of(2, 4, 2, 70, 210, 24, 16);
    const struct backward_case b = backward_case_of(context, &c);
    const struct backward_result all = run_backward(context, &b), alone = new_backward_result(&b);
    const attn_tensor *want[] = {&all.dq, &all.dk, &all.dv}, *to[] = {&alone.dq, &alone.dk, &alone.dv};
    attn_sdpa_params params = b.c.params;
    params.lse = b.forward.lse.data;
    for (size_t n = 0; n < COUNT(to); n++) {
        attn_sdpa_gradients g;
        ATTN_INIT(&g);
        g.d_lse = b.d_lse.data;
        *(n == 0 ? &g.dq : n == 1 ? &g.dk : &g.dv) = to[n];
        assert_ok(context, attn_sdpa_backward(context, &c.q, &c.k, &c.v, &b.forward.out, &b.d_out, &params, &g));
        assert_bits(*to[n], *want[n]);
    }
}

/* A row of q or of d_out that is not finite spoils the gradients of what it sees, and of nothing else. */
static void odd_rows(void **state) {
    enum { T = 150, ROW = 70 };
    const float odd[] = {NAN, INFINITY, -INFINITY};
    (void)state;
    attn_context *one = new_context_of(1, 0), *three = new_context_of(3, 0);
    for (size_t i = 0; i < 6; i++) {
        struct sdpa_case c = sdpa_case_of(1, 2, 2, T, T, 16, 16);
        c.params.causal = ATTN_CAUSAL_TOP_LEFT;
        snprintf(c.name, sizeof c.name, "row %d of %s is %g", ROW, i < 3 ? "q" : "d_out", (double)odd[i % 3]);
        struct backward_case b = backward_case_of(one, &c);
        b.d_lse = (attn_tensor){0};
        *element_at(i < 3 ? b.c.q : b.d_out, 0, 0, ROW, 5) = 0;
        b.forward = run_sdpa(one, &b.c);
        const struct backward_result clean = run_backward(one, &b);
        *element_at(i < 3 ? b.c.q : b.d_out, 0, 0, ROW, 5) = odd[i % 3];
        b.forward = run_sdpa(one, &b.c);
        const struct backward_result r = run_backward(one, &b), again = run_backward(three, &b);
        assert_same_gradients(&again, &r);
        for (size_t t = 0; t < T; t++) {
            assert_int_equal(isnan(*element_at(r.dq, 0, 0, t, 0)) != 0, t == ROW);
            assert_int_equal(isnan(*element_at(r.dk, 0, 0, t, 0)) != 0, t <= ROW);
            assert_int_equal(isnan(*element_at(r.dv, 0, 0, t, 0)) != 0, t <= ROW);
            assert_true(isfinite(*element_at(r.dk, 0, 1, t, 0)) != 0);
        }
        assert_bits(tokens_of(r.dk, ROW + 1, T - ROW - 1), tokens_of(clean.dk, ROW + 1, T - ROW - 1));
        end_case();
    }
}

/* Sigmoids have no log-sum-exp by which such rows are known. */
static void odd_rows_of_sigmoids(void **state) {
    (void)state;
    attn_context *context = new_context_of(2, 0);
    for (size_t i = 0; i < 2; i++) {
        struct sdpa_case c = sdpa_case_of(1, 1, 1, 9, 9, 8, 8);
        c.params.causal = ATTN_CAUSAL_TOP_LEFT;
        set_sigmoid(&c);
        const struct backward_case b = backward_case_of(context, &c);
        *element_at(i ? b.d_out : b.c.q, 0, 0, 5, 2) = NAN;
        const struct backward_result r = run_backward(context, &b);
        for (size_t t = 0; t < 9; t++) {
            assert_int_equal(isnan(*element_at(r.dq, 0, 0, t, 0)) != 0, t == 5);
            assert_int_equal(isnan(*element_at(r.dk, 0, 0, t, 0)) != 0, t <= 5);
            assert_int_equal(isnan(*element_at(r.dv, 0, 0, t, 0)) != 0, t <= 5);
        }
        end_case();
    }
}

/* NaN in a key that is masked, in values beside it, and in an empty row of q and of d_out: behind norms, and with
 * sinks. */
static void hidden_nan(void **state) {
    enum { T = 6, KEY = 2, ROW = 4 };
    (void)state;
    attn_context *context = new_context_of(2, 0);
    for (size_t kind = 0; kind < 6; kind++) {
        struct sdpa_case c = sdpa_case_of(1, 2, 2, T, T, 8, 8);
        const attn_tensor mask = new_tensor_of(ATTN_BOOL, BHTD, 1, 1, T, T);
        attn_qk_norm norm;
        ATTN_INIT(&norm);
        norm.kind = (attn_norm_kind)(kind % 3);
        norm.norm_values = 1;
        norm.all_heads = kind >= 3;
        for (size_t n = 0; n < T * T; n++)
            set_value(mask, n, n / T != ROW && n % T != KEY);
        c.params.mask = &mask;
        c.params.polarity = ATTN_KEEP;
        c.params.qk_norm = &norm;
        c.params.sinks = (const float[2]){0.5F, -1};
        struct backward_case b = backward_case_of(context, &c);
        const struct backward_result clean = run_backward(context, &b);
        for (size_t h = 0; h < 2; h++) {
            *element_at(c.k, 0, h, KEY, 1) = *element_at(c.v, 0, h, KEY, 3) = NAN;
            *element_at(c.q, 0, h, ROW, 0) = *element_at(b.d_out, 0, h, ROW, 5) = INFINITY;
        }
        const struct backward_result r = run_backward(context, &b);
        assert_same_gradients(&r, &clean);
        assert_true(*element_at(r.dk, 0, 1, KEY, 1) == 0 && *element_at(r.dq, 0, 0, ROW, 0) == 0);
        end_case();
    }
}

/* After the scratch is there, nothing is allocated; its size does not grow with Tq·Tk. */
static void memory(void **state) {
    (void)state;
    size_t bytes[2] = {0, 0};
    for (size_t n = 0; n < 2; n++) {
        struct meter m = {0};
        attn_context *context = new_metered(&m, 3);
        const size_t T = (size_t)1000 << n;
        const struct sdpa_case c = sdpa_case_of(1, 2, 1, T, T, 8, 8);
        const struct backward_case b = backward_case_of(context, &c);
        attn_sdpa_params params = c.params;
        attn_sdpa_gradients g;
        ATTN_INIT(&g);
        params.lse = b.forward.lse.data;
        assert_ok(context, attn_sdpa_backward_scratch_size(context, &c.q, &c.k, &c.v, &b.forward.out, &b.d_out, &params,
                                                           &g, &bytes[n]));
        assert_ok(context, attn_context_reserve(context, bytes[n]));
        const size_t calls = m.calls;
        (void)run_backward(context, &b);
        assert_int_equal(m.calls, calls);
        attn_context_destroy(context);
        end_case();
    }
    assert_true(bytes[1] < 2 * bytes[0]);
}

/* ---- rows that are normed and rotated ---- */

/* Some of the gradients of rows, from those of turned rows, dense, by differences of floats: no better than TURNED. The
 * others are what they are. */
static const tolerance TURNED = {1e-3, 1e-3};

static double *through_the_turn(attn_tensor x, const struct sdpa_case *c, enum turned which, const double *turned_back,
                                attn_tensor got) {
    double *want = doubles_of(got);
    for (size_t i = 0, n; i < 16 && element_count(x) > 0; i++) {
        n = random_below(element_count(x));
        const double was = value(x, n);
        set_value(x, n, was + 0x1p-8);
        const double up = value(x, n);
        const attn_tensor above = turned(x, c, which);
        set_value(x, n, was - 0x1p-8);
        const double down = value(x, n);
        const attn_tensor below = turned(x, c, which);
        set_value(x, n, was);
        want[n] = 0;
        for (size_t m = 0; m < element_count(x); m++)
            want[n] += turned_back[m] * (value(above, m) - value(below, m)) / (up - down);
    }
    return want;
}

/* Of the weights of a norm, from the gradients of turned rows; of one that has none they are 1. */
static double *to_weights(attn_tensor x, const struct sdpa_case *c, enum turned which, const double *turned_back,
                          const float **weights, size_t n) {
    float *w = new_floats(n);
    double *want = new_doubles(n);
    for (size_t i = 0; i < n; i++)
        w[i] = *weights ? (*weights)[i] : 1;
    *weights = w;
    for (size_t i = 0; i < n; i++) {
        const float was = w[i], up = was + 0x1p-8F, down = was - 0x1p-8F;
        w[i] = up;
        const attn_tensor above = turned(x, c, which);
        w[i] = down;
        const attn_tensor below = turned(x, c, which);
        w[i] = was;
        want[i] = 0;
        for (size_t m = 0; m < element_count(x); m++)
            want[i] += turned_back[m] * (value(above, m) - value(below, m)) / ((double)up - (double)down);
    }
    return want;
}

static double *to_scales(const struct sdpa_case *c, const double *turned_back) {
    const attn_tensor q = turned(c->q, c, TURNED_Q);
    const size_t H = c->q.size[1], head = c->q.size[2] * c->q.size[3];
    double *want = new_doubles(H);
    for (size_t h = 0; h < H; h++)
        want[h] = 0;
    for (size_t m = 0; m < element_count(q); m++)
        if (turned_back[m] != 0)
            want[m / head % H] += turned_back[m] * value(q, m) / (double)c->params.head_scales[m / head % H];
    return want;
}

/* The case's norm is written to, where it has no weights. */
static void check_sums_of_turns(attn_context *context, const struct backward_case *b, attn_qk_norm *norm,
                                const answer_back *g, const struct backward_result *r) {
    const struct sdpa_case *c = &b->c;
    struct backward_case other = *b;
    double *want[4] = {NULL};
    other.no_tensors = true;
    const struct backward_result alone = run_backward(context, &other);
    other.accumulate = true;
    const struct backward_result added = run_backward(context, &other);
    if (r->of_turns[0].data) {
        want[0] = to_weights(c->q, c, TURNED_Q, g->dq, &norm->q_weight, element_count(r->of_turns[0]));
        want[1] = to_weights(c->k, c, TURNED_K, g->dk, &norm->k_weight, element_count(r->of_turns[1]));
    }
    if (r->of_turns[2].data)
        want[2] = to_weights(c->v, c, TURNED_V, g->dv, &norm->v_weight, element_count(r->of_turns[2]));
    if (r->of_turns[3].data)
        want[3] = to_scales(c, g->dq);
    for (size_t i = 0; i < COUNT(want); i++) {
        assert_bits(alone.of_turns[i], r->of_turns[i]);
        assert_near(r->of_turns[i], want[i], TURNED);
        assert_near(added.of_turns[i], with_held(&other, added.of_turns[i], want[i]), TURNED);
    }
}

static void turned_rows(void **state) {
    enum { CASES = 60 };
    static const struct shape shapes[] = {{2, 4, 2, 5, 7, 8, 6}, {1, 2, 2, 9, 3, 6, 8}, {2, 3, 1, 4, 6, 4, 4}};
    attn_context *one[ISAS], *three[ISAS];
    const size_t isas = new_variant_contexts(one, three);
    (void)state;
    for (size_t i = 0; i < CASES; i += every()) {
        char name[32];
        struct turns turns;
        seed(SEED + i);
        snprintf(name, sizeof name, "turned, seed %zu", SEED + i);
        struct levels levels = {{0}};
        levels.of[CAUSAL] = ATTN_CAUSAL_TOP_LEFT;
        levels.of[RAGGED] = (unsigned)random_below(2);
        levels.of[QUERY_FACTOR] = (unsigned)random_below(OPTION_LEVELS[QUERY_FACTOR]);
        levels.of[HEAD_SCALES] = (unsigned)random_below(2);
        levels.of[KEY_LENGTHS] = (unsigned)random_below(2);
        struct sdpa_case c = variant_of(name, &levels, &shapes[i % COUNT(shapes)]);
        set_random_turns(one[i % isas], &c, &turns);
        const struct backward_case b = backward_case_of(one[i % isas], &c);
        const struct sdpa_case plain_case = turned_case(&c);
        const struct heads a = heads_of(&plain_case);
        const answer_back g =
            reference_backward(&a, doubles_of(b.d_out), b.d_lse.data ? doubles_of(b.d_lse) : NULL, NULL);
        const struct backward_result r = run_backward(one[i % isas], &b), again = run_backward(three[i % isas], &b);
        double *dq = through_the_turn(c.q, &c, TURNED_Q, g.dq, r.dq);
        double *dk = through_the_turn(c.k, &c, TURNED_K, g.dk, r.dk);
        double *dv = through_the_turn(c.v, &c, TURNED_V, g.dv, r.dv);
        adopt_tokens_between(c.params.query_starts, c.params.sequences, r.dq, dq);
        const int64_t *keys = c.params.key_starts ? c.params.key_starts : c.params.query_starts;
        adopt_tokens_between(keys, c.params.sequences, r.dk, dk);
        adopt_tokens_between(keys, c.params.sequences, r.dv, dv);
        assert_same_gradients(&again, &r);
        check_sums_of_turns(three[i % isas], &b, &turns.norm, &g, &r);
        assert_near(r.dq, dq, TURNED);
        assert_near(r.dk, dk, TURNED);
        assert_near(r.dv, dv, TURNED);
        end_case();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(reference_by_differences),
                                       TEST(plain),
                                       TEST(shared_by_none),
                                       TEST(empty_sizes),
                                       TEST(any_options),
                                       TEST(each_alone),
                                       TEST(odd_rows),
                                       TEST(odd_rows_of_sigmoids),
                                       TEST(hidden_nan),
                                       TEST(memory),
                                       TEST(turned_rows)};
    return cmocka_run_group_tests_name("backward", tests, NULL, NULL);
}
