/* SPDX-License-Identifier: BSD-3-Clause */
/* The gradients of what is done row by row: the references against differences of the forward ones, libattn against the
 * references, on one thread and three. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "support/meter.h"
#include "support/reference_parts.h"
#include "support/support.h"

/* The gradients of N(0,1) that are promised. */
static const tolerance PROMISED = {2e-5, 1e-5};

static float *normal(size_t n) {
    float *x = new_floats(n);
    for (size_t i = 0; i < n; i++)
        x[i] = random_normal();
    return x;
}

static double *normal_doubles(size_t n) {
    double *x = new_doubles(n);
    for (size_t i = 0; i < n; i++)
        x[i] = (double)random_normal();
    return x;
}

static double *zeros(size_t n) {
    double *x = new_doubles(n);
    memset(x, 0, n * sizeof *x);
    return x;
}

static double *doubles(attn_tensor t) {
    double *x = new_doubles(element_count(t));
    for (size_t n = 0; n < element_count(t); n++)
        x[n] = value(t, n);
    return x;
}

static attn_tensor new_row(size_t n) { return new_tensor(BHTD, 1, 1, 1, n); }

static void fill(attn_tensor t, float x) {
    for (size_t n = 0; n < element_count(t); n++)
        *element(t, n) = x;
}

static enum layout any_layout(void) { return (enum layout)random_below(OUTPUT_LAYOUTS); }

/* One context and another of three threads, for each instruction set. */
static size_t new_pairs(attn_context *one[ISAS], attn_context *three[ISAS]) {
    new_isa_contexts(1, one);
    return new_isa_contexts(3, three);
}

/* ---- references, by central differences ---- */

static void assert_close(const char *what, double got, double want) {
    if (!(fabs(got - want) <= 1e-6 + 1e-6 * fabs(want)))
        print_error("%s: %.12g, by differences %.12g\n", what, got, want);
    assert_true(fabs(got - want) <= 1e-6 + 1e-6 * fabs(want));
}

static double loss_of_norm(const attn_norm_params *p, size_t n, const double *x, const double *g) {
    double *y = new_doubles(n), sum = 0;
    reference_norm(p, n, x, y);
    for (size_t i = 0; i < n; i++)
        sum += g[i] * y[i];
    return sum;
}

static void differ_norm(const attn_norm_params *p, size_t n, double *x) {
    const double *g = normal_doubles(n), h = 0x1p-16;
    double *dx = zeros(n), *d_weight = zeros(n), *d_bias = zeros(n);
    float *const parameters[] = {(float *)(uintptr_t)p->weight, (float *)(uintptr_t)p->bias};
    reference_norm_backward(p, n, x, g, dx, d_weight, d_bias);
    for (size_t i = 0; i < n; i++) {
        const double was = x[i];
        x[i] = was + h;
        const double above = loss_of_norm(p, n, x, g);
        x[i] = was - h;
        assert_close("dx", dx[i], (above - loss_of_norm(p, n, x, g)) / (2 * h));
        x[i] = was;
        for (size_t k = 0; k < 2; k++) {
            float *const at = parameters[k] + i, held = *at;
            *at = 1;
            const double up = loss_of_norm(p, n, x, g);
            *at = 0;
            assert_close(k ? "d_bias" : "d_weight", k ? d_bias[i] : d_weight[i], up - loss_of_norm(p, n, x, g));
            *at = held;
        }
    }
}

static void norms_by_differences(void **state) {
    (void)state;
    for (int i = 0; i < 30; i++) {
        const size_t n = 1 + random_below(9);
        attn_norm_params p;
        seed(20 + (uint64_t)i);
        ATTN_INIT(&p);
        p.kind = (attn_norm_kind)(i % 3);
        p.eps = i % 2 ? 0.1F : i % 4 ? 8 : 0; /* the last but one also where L2 norm divides by it */
        p.weight = normal(n);
        p.bias = normal(n);
        differ_norm(&p, n, normal_doubles(n));
        end_case();
    }
}

static void slopes_by_differences(void **state) {
    (void)state;
    for (unsigned i = 0; i < 8 * (ATTN_SIGMOID + 1); i++) {
        const attn_activation kind = (attn_activation)(i / 8);
        const bool numbers = kind == ATTN_SILU || kind == ATTN_XIELU;
        const attn_activation_params p = {.struct_size = sizeof p,
                                          .beta = i & 1 && numbers ? 1.702F : 0,
                                          .alpha_n = i & 2 && kind == ATTN_XIELU ? 0.4F : 0,
                                          .limit = i & 4 ? 1.5F : 0};
        const double h = 0x1p-18;
        for (double x = -6.0107; x < 6; x += 0.37) {
            assert_close("slope", reference_slope(kind, &p, x),
                         (reference_activation(kind, &p, x + h) - reference_activation(kind, &p, x - h)) / (2 * h));
            assert_close("slope of up", reference_up_slope(&p, x),
                         (reference_up(&p, x + h) - reference_up(&p, x - h)) / (2 * h));
        }
    }
}

/* ---- norms ---- */

enum { HELD = 3 }; /* what outputs hold that are added to */

struct norm_case {
    attn_norm_params p;
    attn_tensor x, d_out;
    bool accumulate;
};

struct norm_result {
    attn_tensor dx, d_weight, d_bias;
};

static attn_tensor new_like(attn_tensor x) {
    return new_tensor(any_layout(), x.size[0], x.size[1], x.size[2], x.size[3]);
}

static struct norm_result run_norm_on(attn_context *context, const struct norm_case *c, attn_tensor dx) {
    const struct norm_result r = {dx, new_row(c->x.size[3]), new_row(c->x.size[3])};
    attn_norm_gradients g;
    size_t bytes;
    ATTN_INIT(&g);
    g.dx = &r.dx;
    g.d_weight = r.d_weight.data;
    g.d_bias = r.d_bias.data;
    g.accumulate = c->accumulate;
    for (size_t i = 0; i < 3 && c->accumulate; i++)
        fill(i == 0 ? r.dx : i == 1 ? r.d_weight : r.d_bias, HELD);
    assert_ok(context, attn_norm_backward_scratch_size(context, &c->x, &c->d_out, &c->p, &g, &bytes));
    assert_ok(context, attn_norm_backward(context, &c->x, &c->d_out, &c->p, &g));
    return r;
}

static struct norm_result run_norm(attn_context *context, const struct norm_case *c) {
    const struct norm_result r = run_norm_on(context, c, new_like(c->x));
    assert_gaps_untouched(r.dx);
    return r;
}

static void assert_same(const struct norm_result *got, const struct norm_result *want) {
    assert_bits(got->dx, want->dx);
    assert_bits(got->d_weight, want->d_weight);
    assert_bits(got->d_bias, want->d_bias);
}

/* The promise for N(0,1), and where terms are of another size some 24 roundings of them. */
static void assert_norm_near(const struct norm_case *c, const struct norm_result *r, double size_of_out) {
    const size_t M = c->x.size[3], rows = M ? element_count(c->x) / M : 0;
    double *dx = zeros(element_count(c->x)), *d_weight = zeros(M), *d_bias = zeros(M), size = 0;
    const double *x = doubles(c->x), *d_out = doubles(c->d_out), held = c->accumulate ? HELD : 0;
    for (size_t i = 0; i < rows; i++)
        size = fmax(size, reference_norm_backward(&c->p, M, x + i * M, d_out + i * M, dx + i * M, d_weight, d_bias));
    const tolerance of_terms = {24 * (double)FLT_EPSILON * (size + held), 1e-5};
    const tolerance of_sums = {PROMISED.absolute * size_of_out, PROMISED.relative};
    for (size_t n = 0; n < element_count(c->x); n++)
        dx[n] += held;
    for (size_t i = 0; i < M; i++) {
        d_weight[i] += held;
        d_bias[i] += held;
    }
    assert_near(r->dx, dx, of_terms);
    assert_near(r->d_weight, d_weight, of_sums);
    assert_near(r->d_bias, d_bias, of_sums);
}

static void check_norm(attn_context *one, attn_context *three, const struct norm_case *c, double size_of_out) {
    const struct norm_result want = run_norm(one, c), got = run_norm(three, c);
    assert_same(&got, &want);
    assert_norm_near(c, &want, size_of_out);
    for (int i = 0; i < 2 && !c->accumulate; i++) {
        const attn_tensor copy = new_copy(i ? c->d_out : c->x);
        const struct norm_case in_place = {c->p, i ? c->x : copy, i ? copy : c->d_out, false};
        const struct norm_result again = run_norm_on(one, &in_place, copy);
        assert_same(&again, &want);
    }
}

static void check_sizes(attn_context *one, attn_context *three, attn_norm_kind kind, size_t M, const double *sizes) {
    struct norm_case c = {.x = new_tensor(any_layout(), 1, 2, 5, M), .d_out = new_tensor(any_layout(), 1, 2, 5, M)};
    ATTN_INIT(&c.p);
    c.p.kind = kind;
    c.p.eps = sizes[1] < 1e-3 ? FLT_MIN : 0;
    c.p.weight = random_below(3) ? normal(M) : NULL;
    c.p.bias = random_below(2) ? normal(M) : NULL;
    c.accumulate = sizes[2] <= 1 && random_below(3) == 0;
    for (size_t n = 0; n < element_count(c.x); n++) {
        *element(c.x, n) = (float)(sizes[0] + sizes[1] * (double)random_normal());
        *element(c.d_out, n) = (float)(sizes[2] * (double)random_normal());
        if (sizes[2] > 1e30)
            *element(c.d_out, n) = fabsf(*element(c.d_out, n)); /* whose sum is larger than any float */
    }
    name_case("norm %d, M=%zu, mean %g, size %g, gradients of %g with %s", (int)kind, M, sizes[0], sizes[1], sizes[2],
              describe(one).isa);
    check_norm(one, three, &c, sizes[2]);
    end_case();
}

/* Also far from 0, and where sums leave the range of a float. */
static void norms(void **state) {
    (void)state;
    static const size_t widths[] = {0, 1, 2, 7, 17, 64, 257, 768, 1100};
    static const double sizes[][3] = {{0, 1, 1},    {0, 1, 1},    {3, 1, 1},     {-1e4, 1, 1},  {0, 1e-6, 1},
                                      {0, 1e15, 1}, {0, 1e30, 1}, {0, 1, 1e-30}, {0, 1e3, 1e36}};
    attn_context *one[ISAS], *three[ISAS];
    const size_t n = new_pairs(one, three);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < COUNT(widths) * COUNT(sizes) * 3; k += every()) {
            seed(k);
            check_sizes(one[i], three[i], (attn_norm_kind)(k % 3), widths[k / 3 % COUNT(widths)],
                        sizes[k / 3 / COUNT(widths)]);
        }
}

/* Sums over many rows are as good as those of one, and use all threads. */
static void many_rows(void **state) {
    enum { ROWS = 100000, M = 12 };
    (void)state;
    attn_context *one = new_context_of(1, 0), *three = new_context_of(3, 0);
    struct norm_case c = {.x = new_tensor(BHTD, 1, 1, ROWS, M), .d_out = new_tensor(BHTD, 1, 1, ROWS, M)};
    ATTN_INIT(&c.p);
    seed(4);
    fill_normal(c.x);
    fill_normal(c.d_out);
    for (size_t n = 0; n < element_count(c.d_out); n++)
        *element(c.d_out, n) += (float)(n % M) / M; /* some sums are near 0 and some large */
    const struct norm_result want = run_norm(one, &c), got = run_norm(three, &c);
    assert_same(&got, &want);
    assert_norm_near(&c, &want, 1);
}

/* Below eps a length is a constant, and a row without variance has no infinite slope. */
static void short_and_constant_rows(void **state) {
    (void)state;
    attn_context *one = new_context_of(1, 0), *three = new_context_of(3, 0);
    for (int i = 0; i < 6; i++) {
        struct norm_case c = {.x = new_tensor(BHTD, 1, 1, 3, 40), .d_out = new_normal(BHTD, 1, 1, 3, 40)};
        ATTN_INIT(&c.p);
        c.p.kind = (attn_norm_kind)(i % 3);
        c.p.eps = i < 3 ? 0.25F : 0;
        for (size_t n = 0; n < 3 * 40; n++)
            *element(c.x, n) = n < 40 ? 0.01F * random_normal() : n < 80 ? 0 : i < 3 ? -2.5F : random_normal();
        check_norm(one, three, &c, i == 5 ? 1e12 : 1);
        end_case();
    }
}

/* A row that is not finite spoils its own dx, and the sums of weight that it adds to. */
static void bad_rows_of_norm(void **state) {
    enum { M = 37, ROWS = 5 };
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    (void)state;
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(1, contexts);
    for (size_t k = 0; k < 9 * n; k++) {
        struct norm_case c = {.x = new_normal(BHTD, 1, 1, ROWS, M), .d_out = new_normal(BHTD, 1, 1, ROWS, M)};
        ATTN_INIT(&c.p);
        c.p.kind = (attn_norm_kind)(k % 3);
        const struct norm_result want = run_norm(contexts[k / 9], &c);
        *element_at(c.x, 0, 0, 1, 5) = bad[k / 3 % 3];
        const struct norm_result got = run_norm(contexts[k / 9], &c);
        for (size_t e = 0; e < (size_t)ROWS * M; e++)
            assert_true(e / M == 1 ? isnan(*element(got.dx, e)) : *element(got.dx, e) == *element(want.dx, e));
        for (size_t j = 0; j < M; j++)
            assert_true(isnan(*element(got.d_weight, j)));
        assert_bits(got.d_bias, want.d_bias);
        end_case();
    }
}

/* Without rows the sums are 0, or what they were; without width there is nothing. */
static void nothing_to_norm(void **state) {
    (void)state;
    attn_context *context = new_context_of(2, 0);
    for (int i = 0; i < 6; i++) {
        struct norm_case c = {.accumulate = i >= 3};
        c.x = new_tensor(BHTD, i % 3 == 0 ? 0 : 2, i % 3 == 1 ? 0 : 2, i % 3 == 2 ? 0 : 2, 9);
        c.d_out = c.x;
        ATTN_INIT(&c.p);
        const struct norm_result r = run_norm(context, &c);
        for (size_t j = 0; j < 9; j++)
            assert_true(*element(r.d_weight, j) == (c.accumulate ? HELD : 0) &&
                        *element(r.d_bias, j) == (c.accumulate ? HELD : 0));
        end_case();
    }
}

/* Each gradient alone has the bits that it has beside the others; with scratch, nothing is allocated. */
static void each_alone(void **state) {
    (void)state;
    struct meter m = {0};
    attn_context *context = new_metered(&m, 2);
    seed(7);
    struct norm_case c = {.x = new_normal(PADDED, 2, 2, 90, 150), .d_out = new_normal(BTHD, 2, 2, 90, 150)};
    ATTN_INIT(&c.p);
    const struct norm_result all = run_norm(context, &c), alone = {new_like(c.x), new_row(150), new_row(150)};
    const size_t calls = m.calls;
    for (int i = 0; i < 3; i++) {
        attn_norm_gradients g;
        size_t bytes;
        ATTN_INIT(&g);
        g.dx = i == 0 ? &alone.dx : NULL;
        g.d_weight = i == 1 ? alone.d_weight.data : NULL;
        g.d_bias = i == 2 ? alone.d_bias.data : NULL;
        assert_ok(context, attn_norm_backward_scratch_size(context, &c.x, &c.d_out, NULL, &g, &bytes));
        assert_true((bytes > 0) == (i > 0));
        assert_ok(context, attn_norm_backward(context, &c.x, &c.d_out, NULL, &g));
    }
    assert_int_equal(m.calls, calls);
    assert_same(&alone, &all);
    attn_context_destroy(context);
}

/* ---- activations ---- */

/* Everything around 0, the tails, and the ends of the range. */
static attn_tensor arguments(void) {
    enum { N = 4003 };
    static const float special[] = {0.0F,     -0.0F,     FLT_MIN,    -FLT_MIN, 1e-45F,  -1e-45F, 1e10F,
                                    -1e10F,   3e15F,     -3e15F,     1e20F,    -1e20F,  FLT_MAX, -FLT_MAX,
                                    INFINITY, -INFINITY, (float)NAN, -14.99F,  -15.01F, -88.0F,  -104.0F};
    const attn_tensor x = new_tensor(BHTD, 1, 1, 1, N + COUNT(special));
    for (size_t i = 0; i < N; i++)
        *element(x, i) = (float)((double)i / 100 - 20);
    for (size_t i = 0; i < COUNT(special); i++)
        *element(x, N + i) = special[i];
    return x;
}

/* Slopes are of size 1, or grow as x does; those of xIELU are of the size of alpha. */
static void slopes(void **state) {
    (void)state;
    const tolerance bound = {1e-6, 1e-6};
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(1, contexts);
    for (size_t i = 0; i < n; i++)
        for (int kind = 0; kind <= ATTN_SIGMOID; kind++) {
            const attn_tensor x = arguments(), g = new_like(x), dx = new_tensor(PADDED, 1, 1, 1, x.size[3]);
            double *want = new_doubles(element_count(x));
            fill(g, 1);
            for (size_t e = 0; e < element_count(x); e++)
                want[e] = reference_slope((attn_activation)kind, NULL, (double)*element(x, e));
            name_case("slopes of activation %d with %s", kind, describe(contexts[i]).isa);
            assert_ok(contexts[i], attn_activate_backward(contexts[i], (attn_activation)kind, &x, &g, &dx));
            assert_near(dx, want, bound);
            assert_gaps_untouched(dx);
            assert_ok(contexts[i], attn_activate_backward(contexts[i], (attn_activation)kind, &x, &g, &g));
            assert_bits(g, dx);
            fill(g, 1);
            assert_ok(contexts[i], attn_activate_backward(contexts[i], (attn_activation)kind, &x, &g, &x));
            assert_bits(x, dx);
            end_case();
        }
}

struct glu_case {
    attn_activation kind;
    attn_activation_params p;
    attn_tensor gate, up, d_out; /* up without data: none */
};

static void run_glu(attn_context *context, const struct glu_case *c, const attn_tensor *d_gate,
                    const attn_tensor *d_up) {
    assert_ok(context, attn_glu_backward(context, c->kind, &c->p, &c->gate, c->up.data ? &c->up : NULL, &c->d_out,
                                         d_gate, d_up));
}

static void assert_glu_near(const struct glu_case *c, attn_tensor d_gate, attn_tensor d_up) {
    double *of_gate = new_doubles(element_count(c->gate)), *of_up = new_doubles(element_count(c->gate));
    for (size_t e = 0; e < element_count(c->gate); e++) {
        const double x = value(c->gate, e), g = value(c->d_out, e), up = c->up.data ? value(c->up, e) : 1;
        of_gate[e] = g * reference_slope(c->kind, &c->p, x) * (c->up.data ? reference_up(&c->p, up) : 1);
        of_up[e] = g * reference_activation(c->kind, &c->p, x) * reference_up_slope(&c->p, up);
    }
    assert_near(d_gate, of_gate, PROMISED);
    if (c->up.data)
        assert_near(d_up, of_up, PROMISED);
}

/* Into every place that is allowed: gate, up, d_out. */
static void check_places(attn_context *context, const struct glu_case *c, attn_tensor d_gate, attn_tensor d_up) {
    const size_t places = c->up.data ? 3 : 1;
    for (size_t i = 0; i < places * places; i++) {
        struct glu_case copy = *c;
        copy.gate = new_copy(c->gate);
        copy.d_out = new_copy(c->d_out);
        copy.up = c->up.data ? new_copy(c->up) : c->up;
        const attn_tensor at[] = {copy.d_out, copy.gate, copy.up};
        if (i % places == i / places && c->up.data)
            continue;
        run_glu(context, &copy, &at[i % places], c->up.data ? &at[i / places] : NULL);
        assert_bits(at[i % places], d_gate);
        if (c->up.data)
            assert_bits(at[i / places], d_up);
    }
}

static struct glu_case glu_case_of(unsigned k) {
    enum { WIDTH = 601 }; /* three pieces of a clamped row */
    struct glu_case c = {.kind = (attn_activation)(k / 16), .gate = new_normal(any_layout(), 2, 1, 2, WIDTH)};
    const bool has_up = k & 1;
    c.d_out = new_normal(any_layout(), 2, 1, 2, WIDTH);
    c.up = has_up ? new_normal(any_layout(), 2, 1, 2, WIDTH) : (attn_tensor){0};
    c.p = (attn_activation_params){.struct_size = sizeof c.p,
                                   .beta = k & 2 && (c.kind == ATTN_SILU || c.kind == ATTN_XIELU) ? 1.702F : 0,
                                   .limit = k & 4 ? 1.5F : 0,
                                   .up_offset = has_up && k & 8 ? 1 : 0};
    *element(c.gate, 5) = NAN;
    *element(c.gate, 7) = 1.5F; /* the limit is within */
    *element(c.gate, 8) = 0;
    if (has_up) {
        *element(c.up, 9) = -1.5F;
        *element(c.up, 10) = 1.5F;
        *element(c.up, 700) = NAN;
    }
    return c;
}

/* Every activation with every number of its own, gated and not, clamped and not. */
static void gated(void **state) {
    (void)state;
    attn_context *one[ISAS], *three[ISAS];
    const size_t n = new_pairs(one, three);
    for (size_t i = 0; i < n; i++)
        for (unsigned k = 0; k < 16 * (ATTN_SIGMOID + 1); k++) {
            seed(k);
            const struct glu_case c = glu_case_of(k);
            const attn_tensor *const none = NULL;
            const attn_tensor d_gate = new_like(c.gate), d_up = new_like(c.gate), alone = new_like(c.gate);
            name_case("gated: activation %d, case %u with %s", (int)c.kind, k % 16, describe(one[i]).isa);
            run_glu(one[i], &c, &d_gate, c.up.data ? &d_up : NULL);
            assert_gaps_untouched(d_gate);
            assert_glu_near(&c, d_gate, d_up);
            check_places(three[i], &c, d_gate, d_up);
            if (c.up.data) {
                run_glu(three[i], &c, none, &alone);
                assert_bits(alone, d_up);
            }
            run_glu(three[i], &c, &alone, none);
            assert_bits(alone, d_gate);
            end_case();
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(norms_by_differences),
                                       TEST(slopes_by_differences),
                                       TEST(norms),
                                       TEST(many_rows),
                                       TEST(short_and_constant_rows),
                                       TEST(bad_rows_of_norm),
                                       TEST(nothing_to_norm),
                                       TEST(each_alone),
                                       TEST(slopes),
                                       TEST(gated)};
    return cmocka_run_group_tests_name("backward_parts", tests, NULL, NULL);
}
