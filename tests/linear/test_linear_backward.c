/* SPDX-License-Identifier: BSD-3-Clause */
/* Gradients of linear maps against sums in double, and weights that are packed again. */
#include <string.h>

#include "support/layer.h"
#include "support/numbers.h"

enum { MOST_ROWS = 800 }; /* more than two stripes of a sum */

static attn_linear *new_linear(attn_context *context, const attn_linear_params *p) {
    attn_linear *linear = NULL;
    assert_ok(context, attn_linear_create(context, p, &linear));
    return linear;
}

static double *zeros(size_t n) {
    double *x = new_doubles(n);
    memset(x, 0, n * sizeof *x);
    return x;
}

/* What the map makes of the unit vectors is its weight, [in, out]. */
static const double *weight_of(const attn_linear_params *p) {
    attn_linear_params plain = *p;
    double *units = zeros(p->in_width * p->in_width);
    for (size_t i = 0; i < p->in_width; i++)
        units[i * p->in_width + i] = 1;
    plain.bias = NULL;
    return reference_linear(&plain, units, p->in_width);
}

/* The gradients, begun with what is there already, or with 0. */
typedef struct gradients {
    double *dx, *d_weight, *d_bias;
} gradients;

static gradients reference(const attn_linear_params *p, attn_tensor x, attn_tensor d_out, gradients g) {
    const size_t in = p->in_width, out = p->out_width;
    const double *w = weight_of(p), *from = doubles_of(x), *dy = doubles_of(d_out);
    for (size_t r = 0; r < x.size[2]; r++)
        for (size_t o = 0; o < out; o++) {
            const double d = dy[r * out + o];
            g.d_bias[o] += d;
            for (size_t i = 0; i < in; i++) {
                g.dx[r * in + i] += d * w[i * out + o];
                g.d_weight[p->order == ATTN_OUT_IN ? o * in + i : i * out + o] += d * from[r * in + i];
            }
        }
    return g;
}

typedef struct made {
    attn_tensor dx, d_weight, d_bias;
} made;

static made outputs_for(const attn_linear_params *p, size_t rows, enum layout layout, attn_dtype type, bool normal) {
    const made m = {normal ? new_normal_of(type, layout, 1, 1, rows, p->in_width)
                           : new_tensor_of(type, layout, 1, 1, rows, p->in_width),
                    normal ? new_normal(BHTD, 1, 1, p->out_width, p->in_width)
                           : new_tensor(BHTD, 1, 1, p->out_width, p->in_width),
                    normal ? new_normal(BHTD, 1, 1, 1, p->out_width) : new_tensor(BHTD, 1, 1, 1, p->out_width)};
    return m;
}

static gradients begin(const made *m, bool accumulate) {
    if (accumulate)
        return (gradients){doubles_of(m->dx), doubles_of(m->d_weight), doubles_of(m->d_bias)};
    return (gradients){zeros(element_count(m->dx)), zeros(element_count(m->d_weight)), zeros(element_count(m->d_bias))};
}

static void run(attn_context *context, const attn_linear_params *p, attn_tensor x, attn_tensor d_out, const made *to,
                bool accumulate) {
    attn_linear *linear = new_linear(context, p);
    attn_linear_gradients g;
    ATTN_INIT(&g);
    g.dx = &to->dx;
    g.d_weight = to->d_weight.data;
    g.d_bias = to->d_bias.data;
    g.accumulate = accumulate;
    assert_ok(context, attn_linear_backward(context, linear, &x, &d_out, &g));
    attn_linear_destroy(linear);
}

/* Sums of up to 800 products of N(0,1) are some 30, and so are the roundings of which each has that many. */
static void check(attn_context *context, const attn_linear_params *p, size_t rows, size_t n) {
    const enum layout layout = n % 2 ? PADDED : BHTD;
    const attn_dtype type = (attn_dtype)(n % 3);
    const bool accumulate = n % 4 > 1;
    const attn_tensor x = new_normal_of((attn_dtype)(n / 2 % 3), layout, 1, 1, rows, p->in_width);
    const attn_tensor d_out = new_normal_of(n % 5 == 4 ? ATTN_BF16 : ATTN_F32, layout, 1, 1, rows, p->out_width);
    made m = outputs_for(p, rows, layout, type, accumulate);
    const gradients want = reference(p, x, d_out, begin(&m, accumulate));
    name_case("%s type %d order %d, %zu to %zu, %zu rows, %zu", describe(context).isa, (int)p->weight_dtype,
              (int)p->order, p->in_width, p->out_width, rows, n);
    run(context, p, x, d_out, &m, accumulate);
    assert_gaps_untouched(m.dx);
    assert_near(m.dx, want.dx, promised(2));
    assert_near(m.d_weight, want.d_weight, promised(8));
    assert_near(m.d_bias, want.d_bias, promised(1));
}

static void every_type_and_width(void **state) {
    (void)state;
    static const size_t widths[][2] = {{1, 1}, {3, 65}, {96, 16}, {97, 130}, {200, 5}, {64, 128}, {70, 257}};
    static const size_t rows[] = {1, 2, 5, 17, 384, 385, MOST_ROWS};
    static const attn_dtype types[] = {ATTN_F32, ATTN_F16, ATTN_BF16, ATTN_INT8, ATTN_INT4};
    attn_context *contexts[ISAS];
    const size_t isas = new_isa_contexts(2, contexts);
    seed(1);
    for (size_t n = 0; n < COUNT(types) * COUNT(widths); n += every()) {
        const size_t *w = widths[n / COUNT(types)];
        const attn_dtype type = types[n % COUNT(types)];
        const attn_weight_order order = type == ATTN_INT4 ? ATTN_OUT_IN : (attn_weight_order)(n % 2);
        const attn_linear_params p = linear_of(type, order, w[0], w[1], n % 3 > 0);
        for (size_t i = 0; i < isas; i++)
            check(contexts[i], &p, rows[n % COUNT(rows)], n);
        end_case();
    }
}

/* Of no rows sums are 0, or what they were. */
static void no_rows(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    const attn_linear_params p = linear_of(ATTN_F32, ATTN_IN_OUT, 9, 7, true);
    const attn_tensor x = new_normal(BHTD, 1, 1, 0, 9), d_out = new_normal(BHTD, 1, 1, 0, 7);
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        made m = outputs_for(&p, 0, BHTD, ATTN_F32, accumulate);
        const gradients want = begin(&m, accumulate);
        run(context, &p, x, d_out, &m, accumulate);
        assert_near(m.d_weight, want.d_weight, (tolerance){0});
        assert_near(m.d_bias, want.d_bias, (tolerance){0});
    }
}

/* Rounded as the context has them, weights make dx; int8 as the scales say. */
static void in_precisions(void **state) {
    (void)state;
    enum { IN = 70, OUT = 50, ROWS = 40 };
    seed(3);
    for (size_t n = 0; n < 4; n++) {
        attn_context *context = new_precise(2, 0, NULL, n % 2 ? ATTN_PRECISION_BF16 : ATTN_PRECISION_INT8);
        const attn_linear_params p = linear_of(n < 2 ? ATTN_BF16 : ATTN_INT8, ATTN_OUT_IN, IN, OUT, true);
        check(context, &p, ROWS, 4 * n);
    }
}

static void same_bits(void **state) {
    (void)state;
    attn_context *one = new_context_of(1, 0), *three = new_context_of(3, 0);
    const attn_linear_params p = linear_of(ATTN_F32, ATTN_OUT_IN, 260, 150, true);
    const attn_tensor x = new_normal(BHTD, 1, 1, MOST_ROWS, 260), d_out = new_normal(BHTD, 1, 1, MOST_ROWS, 150);
    const made a = outputs_for(&p, MOST_ROWS, BHTD, ATTN_F32, false),
               b = outputs_for(&p, MOST_ROWS, BHTD, ATTN_F32, false);
    run(one, &p, x, d_out, &a, false);
    run(three, &p, x, d_out, &b, false);
    assert_bits(a.dx, b.dx);
    assert_bits(a.d_weight, b.d_weight);
    assert_bits(a.d_bias, b.d_bias);
}

/* Weights packed in the place of others do what they do when they are packed first. */
static void packed_again(void **state) {
    (void)state;
    static const attn_dtype types[] = {ATTN_F32, ATTN_F16, ATTN_BF16, ATTN_INT8, ATTN_INT4};
    attn_context *context = new_context_of(3, 0);
    for (size_t n = 0; n < 2 * COUNT(types); n++) {
        const attn_dtype type = types[n / 2];
        const attn_weight_order order = type == ATTN_INT4 ? ATTN_OUT_IN : (attn_weight_order)(n % 2);
        const attn_linear_params first = linear_of(type, order, 150, 170, n % 2);
        attn_linear_params then = linear_of(type, order, 150, 170, n % 2);
        then.weight_scale = type == ATTN_INT4 ? first.weight_scale : then.weight_scale;
        const attn_tensor x = new_normal(BHTD, 1, 1, 20, 150), out = new_tensor(BHTD, 1, 1, 20, 170);
        attn_linear *linear = new_linear(context, &first);
        name_case("type %d order %d", (int)type, (int)order);
        assert_ok(context, attn_linear_update(context, linear, &then));
        assert_ok(context, attn_linear_forward(context, linear, &x, &out));
        assert_bits(out, run_linear(context, &then, x, BHTD));
        attn_linear_destroy(linear);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(every_type_and_width), TEST(no_rows), TEST(in_precisions), TEST(same_bits),
                                       TEST(packed_again)};
    return cmocka_run_group_tests_name("linear_backward", tests, NULL, NULL);
}
