/* SPDX-License-Identifier: BSD-3-Clause */
/* Norms, activations and linear maps against their definitions in double. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "support/block_case.h"
#include "support/meter.h"

static const size_t WIDTHS[] = {0, 1, 2, 15, 16, 17, 64, 100, 768, 3000};

/* Rows are centred and divided by their own size, so that results are of size 1 whatever the input's: some 10
 * roundings, of which the mean's and the variance's are in double. */
static const tolerance OF_NORM = {10 * (double)FLT_EPSILON, 10 * (double)FLT_EPSILON};

static double *reference_of(attn_tensor x, const attn_norm_params *p) {
    const size_t M = x.size[3];
    double *from = dense_doubles(x), *to = new_doubles(element_count(x));
    for (size_t r = 0; r + 1 <= element_count(x) / (M ? M : 1) && M; r++)
        reference_norm(p, M, from + r * M, to + r * M);
    return to;
}

static void fill(attn_tensor x, double mean, double size) {
    for (size_t n = 0; n < element_count(x); n++)
        *element(x, n) = (float)(mean + size * (double)random_normal());
}

static float *normal(size_t n) {
    float *x = new_floats(n);
    for (size_t i = 0; i < n; i++)
        x[i] = random_normal();
    return x;
}

/* What is taken away from each row, and what that is multiplied by then. */
static void check_outputs_of_norm(const attn_norm_params *p, const double *x, size_t rows, size_t M) {
    for (size_t r = 0; r < rows && M; r++, x += M) {
        double mean = 0, square = 0;
        for (size_t i = 0; i < M && p->kind == ATTN_LAYER_NORM; i++)
            mean += x[i] / (double)M;
        for (size_t i = 0; i < M; i++)
            square += (x[i] - mean) * (x[i] - mean) / (double)M;
        const double factor = 1 / sqrt(square + (p->eps > 0 ? (double)p->eps : (double)1e-5F));
        assert_true(fabs((double)p->mean[r] - mean) <= 2 * (double)FLT_EPSILON * (fabs(mean) + sqrt(square)));
        assert_true(fabs((double)p->inverse_deviation[r] - factor) <= 4 * (double)FLT_EPSILON * factor);
    }
}

static void check_norm(attn_context *context, attn_norm_kind kind, size_t M, double mean, double size) {
    attn_norm_params p;
    ATTN_INIT(&p);
    p.kind = kind;
    p.eps = size < 1e-3 ? FLT_MIN : 0;
    p.weight = random_below(3) ? normal(M) : NULL;
    p.bias = random_below(3) ? normal(M) : NULL;
    p.mean = random_below(2) ? new_floats(2 * 3 * 5) : NULL;
    p.inverse_deviation = p.mean ? new_floats(2 * 3 * 5) : NULL;
    const attn_tensor x = new_tensor((enum layout)random_below(OUTPUT_LAYOUTS), 2, 3, 5, M);
    const attn_tensor out = new_tensor((enum layout)random_below(OUTPUT_LAYOUTS), 2, 3, 5, M);
    fill(x, mean, size);
    name_case("norm %d, M=%zu, mean %g, size %g", (int)kind, M, mean, size);
    const double *want = reference_of(x, &p);
    assert_ok(context, attn_norm(context, &x, &out, &p));
    assert_near(out, want, OF_NORM);
    assert_gaps_untouched(out);
    if (p.mean)
        check_outputs_of_norm(&p, dense_doubles(x), 2 * 3 * 5, M);
    assert_ok(context, attn_norm(context, &x, &x, &p));
    assert_bits(x, out);
    end_case();
}

/* Also far from 0, where a sum of squares alone would cancel, and where squares leave the range of a float. */
static void norms(void **state) {
    (void)state;
    static const double means[] = {0, 3, -1e4, 1e6}, sizes[] = {1, 1e-6, 1e15, 1e30};
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(2, contexts);
    for (size_t i = 0; i < n; i++) {
        seed(1);
        for (size_t w = 0; w < COUNT(WIDTHS); w++)
            for (int kind = 0; kind < 2; kind++)
                for (size_t k = 0; k < COUNT(means); k++) {
                    check_norm(contexts[i], (attn_norm_kind)kind, WIDTHS[w], means[k], 1);
                    check_norm(contexts[i], (attn_norm_kind)kind, WIDTHS[w], 0, sizes[k]);
                }
    }
}

static void defaults_of_norm(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    attn_norm_params p;
    ATTN_INIT(&p);
    seed(2);
    const attn_tensor x = new_normal(BHTD, 1, 1, 4, 30), out = new_tensor(BHTD, 1, 1, 4, 30);
    assert_ok(context, attn_norm(context, &x, &out, NULL));
    assert_near(out, reference_of(x, &p), OF_NORM);
}

/* A constant row has no variance: 0, or the bias. */
static void constant_rows(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    attn_norm_params p;
    ATTN_INIT(&p);
    float x[20], bias[20], y[20];
    for (int i = 0; i < 20; i++) {
        x[i] = 12345.678F;
        bias[i] = (float)i;
    }
    p.bias = bias;
    const attn_tensor from = attn_tensor_btm(x, ATTN_F32, 1, 1, 20), to = attn_tensor_btm(y, ATTN_F32, 1, 1, 20);
    assert_ok(context, attn_norm(context, &from, &to, &p));
    for (int i = 0; i < 20; i++)
        assert_true(y[i] == (float)i);
}

static void bad_rows_of_norm(void **state) {
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(1, contexts);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < 2 * COUNT(bad); k++) {
            attn_norm_params p;
            ATTN_INIT(&p);
            p.kind = (attn_norm_kind)(k % 2);
            seed(3);
            const attn_tensor x = new_normal(BHTD, 1, 1, 3, 37);
            const attn_tensor want = new_tensor(BHTD, 1, 1, 3, 37), got = new_tensor(BHTD, 1, 1, 3, 37);
            assert_ok(contexts[i], attn_norm(contexts[i], &x, &want, &p));
            *element_at(x, 0, 0, 1, 5) = bad[k / 2];
            assert_ok(contexts[i], attn_norm(contexts[i], &x, &got, &p));
            for (size_t e = 0; e < 3 * 37; e++)
                assert_true(e / 37 == 1 ? isnan(*element(got, e)) : *element(got, e) == *element(want, e));
            end_case();
        }
}

/* Everything around 0, the tails, and the ends of the range. */
static attn_tensor arguments(void) {
    enum { N = 4003 };
    static const float special[] = {0.0F,       -0.0F,   FLT_MIN, -FLT_MIN, 1e-45F,   -1e-45F,  1e10F,
                                    -1e10F,     3e15F,   -3e15F,  FLT_MAX,  -FLT_MAX, INFINITY, -INFINITY,
                                    (float)NAN, -14.99F, -15.01F, -88.0F,   -104.0F};
    const attn_tensor x = new_tensor(BHTD, 1, 1, 1, N + COUNT(special));
    for (size_t i = 0; i < N; i++)
        *element(x, i) = (float)((double)i / 100 - 20);
    for (size_t i = 0; i < COUNT(special); i++)
        *element(x, N + i) = special[i];
    return x;
}

/* One rounding of the result, and of the tail that is taken from x an error of some 2e-6 of itself: for x = −14 the
 * argument of the exponential is −98, and rounded to 4e-6. */
static void activations(void **state) {
    (void)state;
    const tolerance bound = {FLT_MIN, 2e-5};
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(1, contexts);
    for (size_t i = 0; i < n; i++)
        for (int kind = 0; kind <= ATTN_SIGMOID; kind += kind + 1 == ATTN_XIELU ? 2 : 1) {
            const attn_tensor x = arguments(), out = new_tensor(PADDED, 1, 1, 1, x.size[3]);
            double *want = new_doubles(element_count(x));
            for (size_t e = 0; e < element_count(x); e++)
                want[e] = reference_activation((attn_activation)kind, NULL, (double)*element(x, e));
            name_case("activation %d with %s", kind, describe(contexts[i]).isa);
            assert_ok(contexts[i], attn_activate(contexts[i], (attn_activation)kind, &x, &out));
            assert_near(out, want, bound);
            assert_gaps_untouched(out);
            assert_ok(contexts[i], attn_activate(contexts[i], (attn_activation)kind, &x, &x));
            assert_near(x, want, bound);
            end_case();
        }
}

/* Where it is used, GELU is as good as the rounding of its result. */
static void gelu_is_accurate(void **state) {
    (void)state;
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(1, contexts);
    for (size_t i = 0; i < n; i++)
        for (float x = -5; x < 5; x += 0.0009765625F) {
            float y = 0;
            const attn_tensor from = attn_tensor_btm(&x, ATTN_F32, 1, 1, 1),
                              to = attn_tensor_btm(&y, ATTN_F32, 1, 1, 1);
            assert_ok(contexts[i], attn_activate(contexts[i], ATTN_GELU, &from, &to));
            const double want = reference_activation(ATTN_GELU, NULL, (double)x);
            assert_true(fabs((double)y - want) <= 8 * (double)FLT_EPSILON * fabs(want) + FLT_MIN);
        }
}

/* Its negative part is a difference that may be 0 far from 0, where errors are those of its parts. */
static void xielu(void **state) {
    (void)state;
    static const float betas[] = {0, 0.3F, 2}, alphas[] = {0, 0.4F, 3};
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(1, contexts);
    for (size_t i = 0; i < n * COUNT(betas); i++) {
        const attn_activation_params p = {.struct_size = sizeof p,
                                          .beta = betas[i % COUNT(betas)],
                                          .alpha_p = alphas[(i + 1) % COUNT(alphas)],
                                          .alpha_n = alphas[i % COUNT(alphas)]};
        attn_context *context = contexts[i / COUNT(betas)];
        const attn_tensor x = arguments(), out = new_tensor(PADDED, 1, 1, 1, x.size[3]);
        assert_ok(context, attn_glu(context, ATTN_XIELU, &p, &x, NULL, &out));
        for (size_t e = 0; e < element_count(x); e++) {
            const double from = (double)*element(x, e), got = (double)*element(out, e);
            const double want = reference_activation(ATTN_XIELU, &p, from);
            const double size = from > -0.5 ? fabs(want) : fmax(fabs(want), (double)p.alpha_n + 4 * fabs(from));
            name_case("xIELU of %g with beta %g, alpha_n %g: %g for %g", from, (double)p.beta, (double)p.alpha_n, got,
                      want);
            if (isnan(want) || fabs(want) > (double)FLT_MAX)
                assert_true(isnan(want) ? isnan(got) : fabs(got) >= (double)FLT_MAX && got * want > 0);
            else
                assert_true(fabs(got - want) <= 8 * (double)FLT_EPSILON * size + (double)FLT_MIN);
        }
        end_case();
    }
}

/* Every activation with every number of its own, gated and not, clamped and not, wherever the result goes. */
static void gated(void **state) {
    (void)state;
    enum { WIDTH = 601 }; /* three pieces of a clamped row */
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(2, contexts);
    for (size_t i = 0; i < n; i++) {
        seed(6);
        for (unsigned k = 0; k < 16 * (ATTN_SIGMOID + 1); k++) {
            const attn_activation kind = (attn_activation)(k / 16);
            const bool has_up = k & 1;
            const attn_activation_params p = {.struct_size = sizeof p,
                                              .beta = k & 2 && (kind == ATTN_SILU || kind == ATTN_XIELU) ? 1.702F : 0,
                                              .limit = k & 4 ? 1.5F : 0,
                                              .up_offset = has_up && k & 8 ? 1 : 0};
            const attn_tensor gate = new_normal((enum layout)random_below(OUTPUT_LAYOUTS), 2, 2, 3, WIDTH);
            const attn_tensor up = new_normal((enum layout)random_below(OUTPUT_LAYOUTS), 2, 2, 3, WIDTH);
            const attn_tensor out = new_tensor((enum layout)random_below(OUTPUT_LAYOUTS), 2, 2, 3, WIDTH);
            double *want = new_doubles(element_count(gate));
            *element(gate, 5) = *element(up, 700) = NAN;
            *element(gate, 300) = INFINITY;
            for (size_t e = 0; e < element_count(gate); e++)
                want[e] = reference_activation(kind, &p, (double)*element(gate, e)) *
                          (has_up ? reference_up(&p, (double)*element(up, e)) : 1);
            name_case("gated: activation %d, case %u with %s", (int)kind, k % 16, describe(contexts[i]).isa);
            assert_ok(contexts[i], attn_glu(contexts[i], kind, &p, &gate, has_up ? &up : NULL, &out));
            assert_near(out, want, promised(0.1));
            assert_gaps_untouched(out);
            const attn_tensor in_place = has_up && k & 2 ? up : gate;
            assert_ok(contexts[i], attn_glu(contexts[i], kind, &p, &gate, has_up ? &up : NULL, &in_place));
            assert_bits(in_place, out);
            end_case();
        }
    }
}

/* ---- linear maps ---- */

static void check_linear(attn_context *context, size_t in, size_t out_width, size_t T, attn_weight_order order) {
    attn_linear_params p;
    attn_linear *linear = NULL;
    ATTN_INIT(&p);
    p.in_width = in;
    p.out_width = out_width;
    p.order = order;
    p.weight = normal(in * out_width);
    p.bias = random_below(2) ? normal(out_width) : NULL;
    const attn_tensor x = new_normal((enum layout)random_below(LAYOUTS), 2, 1, T, in);
    const attn_tensor out = new_tensor((enum layout)random_below(OUTPUT_LAYOUTS), 2, 1, T, out_width);
    name_case("linear %zu to %zu, T=%zu, order %d", in, out_width, T, (int)order);
    assert_ok(context, attn_linear_create(context, &p, &linear));
    assert_ok(context, attn_linear_forward(context, linear, &x, &out));
    assert_near(out, reference_linear(&p, dense_doubles(x), 2 * T), promised(sqrt((double)in)));
    assert_gaps_untouched(out);
    attn_linear_destroy(linear);
    end_case();
}

static void linear_maps(void **state) {
    (void)state;
    static const size_t widths[] = {1, 3, 16, 65, 200}, lengths[] = {0, 1, 2, 50, 110};
    attn_context *context = new_context_of(2, 0);
    seed(4);
    for (size_t i = 0; i < COUNT(widths); i++)
        for (size_t o = 0; o < COUNT(widths); o++)
            for (size_t t = 0; t < COUNT(lengths); t++)
                check_linear(context, widths[i], widths[o], lengths[t], (attn_weight_order)((i + o + t) % 2));
}

static void scratch_of_linear(void **state) {
    (void)state;
    struct meter m = {0};
    attn_linear_params p;
    attn_linear *linear = NULL;
    size_t bytes = 4321;
    seed(5);
    ATTN_INIT(&p);
    p.in_width = 30;
    p.out_width = 40;
    p.weight = normal(30 * 40);
    attn_context *context = new_metered(&m, 2);
    assert_ok(context, attn_linear_create(context, &p, &linear));
    const attn_tensor dense = new_normal(BHTD, 2, 1, 9, 30), dense_out = new_tensor(BHTD, 2, 1, 9, 40);
    assert_ok(context, attn_linear_scratch_size(context, linear, &dense, &dense_out, &bytes));
    assert_int_equal(bytes, 0);
    const attn_tensor x = new_normal(REVERSED, 2, 1, 9, 30), out = new_tensor(REVERSED, 2, 1, 9, 40);
    assert_ok(context, attn_linear_scratch_size(context, linear, &x, &out, &bytes));
    assert_ok(context, attn_context_reserve(context, bytes));
    const size_t calls = m.calls;
    assert_ok(context, attn_linear_forward(context, linear, &x, &out));
    assert_int_equal(m.calls, calls);
    attn_linear_destroy(linear);
    attn_context_destroy(context);
    assert_int_equal(m.live, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(norms),       TEST(defaults_of_norm), TEST(constant_rows), TEST(bad_rows_of_norm),
        TEST(activations), TEST(gelu_is_accurate), TEST(xielu),         TEST(gated),
        TEST(linear_maps), TEST(scratch_of_linear)};
    return cmocka_run_group_tests_name("norm", tests, NULL, NULL);
}
