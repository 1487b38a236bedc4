/* SPDX-License-Identifier: BSD-3-Clause */
/* int4 weights in contexts of INT8 precision, against a double reference that quantises rows by definition; what others
 * store as libattn's; and what attn_quantize_weight_int4 makes. As operands of f32 they are in test_weights. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "support/layer.h"
#include "support/numbers.h"

enum { GROUP = 32, MOST_ROWS = 200 };
static const size_t ROWS[] = {1, 2, 3, 4, 5, 6, 7, 13, MOST_ROWS};

/* The sets of new_isa_contexts, and what only counts for products of integers. */
enum { SETS = 2 * ISAS };

static size_t new_contexts(size_t threads, attn_context *made[SETS]) {
    uint32_t isas[ISAS];
    const size_t n = list_isas(isas);
    for (size_t i = 0; i < n; i++) {
        made[2 * i] = new_precise(threads, isas[i], NULL, ATTN_PRECISION_INT8);
        made[2 * i + 1] = new_precise(threads, isas[i] | ATTN_ISA_AVX_VNNI | ATTN_ISA_AVX512_VNNI | ATTN_ISA_NEON_DOT,
                                      NULL, ATTN_PRECISION_INT8);
    }
    return 2 * n;
}

/* ---- rows that are quantised ---- */

/* Rows of which each group is whole once it is divided by its scale, a power of two, by which its largest is 127. */
static attn_tensor new_whole(size_t rows, size_t width) {
    const attn_tensor x = new_tensor(BHTD, 1, 1, rows, width);
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < width; i++) {
            const size_t last = width - i / GROUP * GROUP, size = last < GROUP ? last : GROUP;
            const float scale = (float)(1 << (r + i / GROUP) % 3);
            const bool most = i % GROUP == (r + i / GROUP) % size;
            *element_at(x, 0, 0, r, i) = scale * (most ? -127.0F : (float)random_below(255) - 127.0F);
        }
    return x;
}

static void quantizes_groups(void **state) {
    (void)state;
    static const size_t widths[][2] = {{1, 1},   {2, 17},  {31, 65},  {32, 16},   {33, 130}, {64, 5},
                                       {96, 33}, {200, 7}, {777, 40}, {1536, 34}, {2051, 24}};
    attn_context *contexts[SETS];
    const size_t n = new_contexts(2, contexts);
    seed(1);
    for (size_t c = 0; c < 3 * COUNT(widths) * n; c += every()) {
        const size_t *w = widths[c / 3 % COUNT(widths)];
        const attn_linear_params p = linear_of(ATTN_INT4, ATTN_OUT_IN, w[0], w[1], c % 2);
        const attn_tensor x = new_whole(random_pick(ROWS), w[0]);
        name_case("%zu rows, %zu to %zu, context %zu", x.size[2], w[0], w[1], c % n);
        const tolerance bound = {4 * 2e-6 * sqrt((double)w[0]) * 127, 1e-6};
        assert_near(run_linear(contexts[c % n], &p, x, c % 3 ? PADDED : BHTD),
                    reference_linear(&p, doubles_of(x), x.size[2]), bound);
        end_case();
    }
}

/* Whatever x is, half a step of each element at most, which is 1/254 of the largest of its group. */
static void error_of_quantizing(void **state) {
    (void)state;
    enum { IN = 300, OUT = 50 };
    attn_context *contexts[SETS];
    const size_t n = new_contexts(1, contexts);
    seed(2);
    for (size_t c = 0; c < n; c++) {
        const attn_linear_params p = linear_of(ATTN_INT4, ATTN_OUT_IN, IN, OUT, true);
        const attn_tensor x = new_normal(PADDED, 1, 1, MOST_ROWS, IN), y = run_linear(contexts[c], &p, x, BHTD);
        const double *want = reference_linear(&p, doubles_of(x), MOST_ROWS);
        double squares = 0, all = 0;
        for (size_t i = 0; i < element_count(y); i++) {
            squares += (value(y, i) - want[i]) * (value(y, i) - want[i]);
            all += want[i] * want[i];
        }
        assert_true(sqrt(squares / all) > 1e-4 && sqrt(squares / all) < 0.008);
        end_case();
    }
}

/* The largest sums of a group, of either sign, at any depth. */
static void extremes_do_not_overflow(void **state) {
    (void)state;
    enum { ROW_COUNT = 7, OUT = 20 };
    static const size_t depths[] = {32, 4096, 65536, 65536 + 3};
    attn_context *contexts[SETS];
    const size_t n = new_contexts(1, contexts);
    for (size_t c = 0; c < n * COUNT(depths); c += every()) {
        const size_t in = depths[c / n], groups = (in + GROUP - 1) / GROUP, row = (in + 1) / 2;
        attn_linear_params p;
        ATTN_INIT(&p);
        unsigned char *weight = (unsigned char *)new_bools(row * OUT);
        float *scale = new_floats(2 * groups * OUT);
        double *want = new_doubles((size_t)ROW_COUNT * OUT);
        const attn_tensor x = new_tensor(BHTD, 1, 1, ROW_COUNT, in);
        for (size_t o = 0; o < OUT; o++)
            memset(weight + o * row, o % 2 ? 0xFF : 0, row);
        for (size_t g = 0; g < groups * OUT; g++) {
            scale[2 * g] = 1;
            scale[2 * g + 1] = g / groups % 3 ? -8 : 0;
        }
        for (size_t i = 0; i < element_count(x); i++)
            *element(x, i) = i / in % 2 ? -127 : 127;
        for (size_t i = 0; i < (size_t)ROW_COUNT * OUT; i++)
            want[i] = ((i % OUT % 2 ? 15 : 0) - (i % OUT % 3 ? 8 : 0)) * (i / OUT % 2 ? -127.0 : 127.0) * (double)in;
        p.in_width = in;
        p.out_width = OUT;
        p.weight = weight;
        p.weight_dtype = ATTN_INT4;
        p.weight_scale = scale;
        name_case("depth %zu, context %zu", in, c % n);
        assert_near(run_linear(contexts[c % n], &p, x, BHTD), want, ((tolerance){0, 1e-5}));
        end_case();
    }
}

/* A row with Inf or NaN is NaN, one of next to nothing the bias, and the others do not know: in either precision. */
static void rows_that_are_not_numbers(void **state) {
    (void)state;
    enum { IN = 70, OUT = 33, ROW_COUNT = 9 };
    attn_context *contexts[SETS + ISAS];
    size_t n = new_contexts(1, contexts);
    const size_t quantising = n;
    n += new_isa_contexts(1, contexts + n);
    seed(3);
    for (size_t c = 0; c < n; c++) {
        const attn_linear_params p = linear_of(ATTN_INT4, ATTN_OUT_IN, IN, OUT, true);
        const attn_tensor x = new_normal(BHTD, 1, 1, ROW_COUNT, IN), plain = run_linear(contexts[c], &p, x, BHTD);
        *element_at(x, 0, 0, 1, IN - 1) = NAN;
        *element_at(x, 0, 0, 4, 0) = INFINITY;
        for (size_t i = 0; i < IN; i++) {
            *element_at(x, 0, 0, 2, i) = 0;
            *element_at(x, 0, 0, 7, i) = 1e-36F;
        }
        const attn_tensor y = run_linear(contexts[c], &p, x, BHTD);
        for (size_t r = 0; r < ROW_COUNT; r++)
            for (size_t o = 0; o < OUT; o++) {
                const float got = *element_at(y, 0, 0, r, o);
                if (r == 1)
                    assert_true(isnan(got));
                else if (r == 4)
                    assert_true(c < quantising ? isnan(got) : !isfinite(got));
                else
                    assert_true(got == (r == 2 || r == 7 ? p.bias[o] : *element_at(plain, 0, 0, r, o)));
            }
        end_case();
    }
}

/* The largest floats that have a finite product have it. */
static void huge_rows(void **state) {
    (void)state;
    enum { IN = 64, OUT = 9 };
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(1, contexts);
    seed(4);
    for (size_t c = 0; c < n; c++) {
        const attn_linear_params p = linear_of(ATTN_INT4, ATTN_OUT_IN, IN, OUT, false);
        const attn_tensor x = new_normal(BHTD, 1, 1, 5, IN);
        for (size_t i = 0; i < element_count(x); i++)
            *element(x, i) *= 1e37F;
        const double *want = reference_linear(&p, doubles_of(x), 5);
        assert_near(run_linear(contexts[c], &p, x, BHTD), want, ((tolerance){1e32, 1e-5}));
        end_case();
    }
}

/* Packed by a context of another precision, or of another instruction set, they are the same weights. */
static void weights_of_other_contexts(void **state) {
    (void)state;
    attn_context *contexts[SETS + ISAS];
    size_t n = new_isa_contexts(1, contexts);
    n += new_contexts(1, contexts + n);
    seed(5);
    const attn_linear_params p = linear_of(ATTN_INT4, ATTN_OUT_IN, 100, 150, true);
    const attn_tensor x = new_normal(BHTD, 1, 1, 9, 100), y = new_tensor(BHTD, 1, 1, 9, 150);
    for (size_t c = 0; c < n; c++) {
        attn_linear *linear = NULL;
        assert_ok(contexts[c], attn_linear_create(contexts[c], &p, &linear));
        for (size_t other = 0; other < n; other++) {
            assert_ok(contexts[other], attn_linear_forward(contexts[other], linear, &x, &y));
            assert_bits(y, run_linear(contexts[other], &p, x, BHTD));
        }
        attn_linear_destroy(linear);
    }
}

static void same_bits(void **state) {
    (void)state;
    seed(6);
    for (size_t n = 0; n < 4; n++) {
        const attn_precision precision = n % 2 ? ATTN_PRECISION_INT8 : ATTN_PRECISION_F32;
        attn_context *one = new_precise(1, 0, NULL, precision), *three = new_precise(3, 0, NULL, precision);
        const attn_linear_params p = linear_of(ATTN_INT4, ATTN_OUT_IN, n < 2 ? 900 : 1600, 150, n > 0);
        const attn_tensor x = new_normal(BHTD, 1, 1, MOST_ROWS, p.in_width);
        name_case("case %zu", n);
        check_linear_bits(one, three, &p, x, COUNT(ROWS), ROWS);
        end_case();
    }
}

/* In contexts of less than f32 precision they are as exact as in others, but where rows are quantised. */
static void other_precisions(void **state) {
    (void)state;
    attn_context *exact = new_precise(1, 0, NULL, ATTN_PRECISION_F32),
                 *bf16 = new_precise(1, 0, NULL, ATTN_PRECISION_BF16);
    const attn_linear_params p = linear_of(ATTN_INT4, ATTN_OUT_IN, 100, 40, true);
    const attn_tensor x = new_normal(BHTD, 1, 1, 9, 100);
    assert_bits(run_linear(exact, &p, x, BHTD), run_linear(bf16, &p, x, BHTD));
}

/* What a call says that it needs is what it takes, once. */
static void scratch(void **state) {
    (void)state;
    seed(7);
    for (size_t n = 0; n < 12; n++) {
        attn_context *context = new_precise(2, 0, NULL, (attn_precision)(n % 3));
        const attn_linear_params p = linear_of(ATTN_INT4, ATTN_OUT_IN, 1 + random_below(200), 40, true);
        const attn_tensor x = new_normal(BHTD, 1, 1, 1 + random_below(40), p.in_width);
        const attn_tensor y = new_tensor(BHTD, 1, 1, x.size[2], 40);
        attn_linear *linear = NULL;
        size_t bytes = 0;
        assert_ok(context, attn_linear_create(context, &p, &linear));
        assert_ok(context, attn_linear_scratch_size(context, linear, &x, &y, &bytes));
        assert_true(bytes <= x.size[2] * (p.in_width + 31) * 5 + 256);
        assert_ok(context, attn_linear_forward(context, linear, &x, &y));
        assert_int_equal(describe(context).scratch_bytes, bytes);
        attn_linear_destroy(linear);
        end_case();
    }
}

/* ---- what others store ---- */

/* A group of GGUF: [scale, (offset,)] f16, then 16 bytes, of which byte i has numbers i and i + 16. */
static void from_gguf(void **state) {
    (void)state;
    enum { IN = 96, OUT = 5, BYTES = GROUP / 2, GROUPS = IN / GROUP };
    attn_context *context = new_precise(1, 0, NULL, ATTN_PRECISION_F32);
    seed(8);
    for (size_t q4_1 = 0; q4_1 < 2; q4_1++) {
        attn_linear_params p = linear_of(ATTN_INT4, ATTN_OUT_IN, IN, OUT, false), f = p;
        unsigned char *numbers = (unsigned char *)new_bools((size_t)IN / 2 * OUT);
        float *pairs = new_floats((size_t)2 * GROUPS * OUT), *weight = new_floats((size_t)IN * OUT);
        for (size_t g = 0; g < (size_t)GROUPS * OUT; g++) {
            unsigned char block[BYTES];
            const double d = rounded_to(ATTN_F16, 0.01 * (double)random_normal());
            const double m = q4_1 ? rounded_to(ATTN_F16, 0.1 * (double)random_normal()) : -8 * d;
            for (size_t i = 0; i < BYTES; i++)
                block[i] = (unsigned char)random_below(256);
            pairs[2 * g] = (float)d;
            pairs[2 * g + 1] = (float)m;
            for (size_t i = 0; i < GROUP; i++) {
                const unsigned q = i < BYTES ? block[i] % 16U : block[i - BYTES] / 16U;
                numbers[g * BYTES + i / 2] |= (unsigned char)(i % 2 ? q * 16U : q);
                weight[g * GROUP + i] = (float)(d * q + m);
            }
        }
        p.weight = numbers;
        p.weight_scale = pairs;
        f.weight = weight;
        f.weight_dtype = ATTN_F32;
        f.weight_scale = NULL;
        const attn_tensor x = new_normal(BHTD, 1, 1, 3, IN);
        assert_near(run_linear(context, &p, x, BHTD), reference_linear(&f, doubles_of(x), 3), promised(1));
        end_case();
    }
}

/* ---- attn_quantize_weight_int4 ---- */

/* Weights of all magnitudes, groups of one number, of zeros, and of numbers far from 0. */
static float *weights_to_quantize(attn_weight_order order, size_t out, size_t in, double size) {
    float *w = new_floats(out * in);
    for (size_t o = 0; o < out; o++)
        for (size_t i = 0; i < in; i++) {
            const double far = o % 5 == 3 ? 20 : 0, spread = o % 5 == 1 ? 0 : o % 5 == 2 ? 1e-3 : 1;
            const double x = o % 5 == 4 ? 0 : far + spread * (double)random_normal() + (o % 5 == 1 ? -1 : 0);
            w[order == ATTN_OUT_IN ? o * in + i : i * out + o] = (float)(size * x);
        }
    return w;
}

/* The nearest of 16 steps from the least weight to the largest. */
static void assert_group(const float *w, size_t step, size_t n, const unsigned char *q, const float *pair, bool half) {
    double least = (double)w[0], most = least; /* no fmin or fmax, at which gcc 12 for Arm breaks down */
    for (size_t i = 0; i < n; i++) {
        const double x = (double)w[i * step];
        least = x < least ? x : least;
        most = x > most ? x : most;
    }
    const double scale = (double)pair[0], offset = (double)pair[1], slack = half ? 1e-3 : 1e-6;
    assert_true(isfinite(scale) && isfinite(offset));
    assert_true(fabs(offset - least) <= slack * fabs(least) + 1.3e-7 * half);
    assert_true(fabs(scale - (most - least) / 15) <= slack * ((most - least) / 15 + fabs(least)) + 1.3e-7 * half);
    for (size_t i = 0; i < n; i++) {
        const unsigned number = i % 2 ? q[i / 2] / 16U : q[i / 2] % 16U;
        const double rounding = 2e-7 * fmax(fabs(least), fabs(most));
        assert_true(fabs(scale * number + offset - (double)w[i * step]) <= 0.5001 * scale + rounding);
    }
}

static void check_quantize(attn_context *context, attn_weight_order order, size_t out, size_t in, double size) {
    const size_t groups = (in + GROUP - 1) / GROUP, row = (in + 1) / 2;
    const float *w = weights_to_quantize(order, out, in, size);
    unsigned char *q = (unsigned char *)new_bools(out * row);
    float *pairs = new_floats(2 * groups * out);
    double most = 0;
    name_case("quantize [%zu,%zu] of %g, order %d", out, in, size, (int)order);
    for (size_t i = 0; i < out * in; i++)
        most = fabs((double)w[i]) > most ? fabs((double)w[i]) : most;
    const bool half = 0x1p-8 <= most && most < 0x1p15;
    memset(q, 0xA5, out * row);
    assert_ok(context, attn_quantize_weight_int4(context, order, out, in, w, q, pairs));
    for (size_t g = 0; g < groups * out; g++) {
        const size_t o = g / groups, i = g % groups * GROUP, n = in - i < GROUP ? in - i : GROUP;
        const float *from = order == ATTN_OUT_IN ? w + o * in + i : w + i * out + o;
        assert_group(from, order == ATTN_OUT_IN ? 1 : out, n, q + o * row + i / 2, pairs + 2 * g, half);
        for (size_t k = 0; k < 2 && half; k++)
            assert_true((double)pairs[2 * g + k] == rounded_to(ATTN_F16, (double)pairs[2 * g + k]));
        if (in % 2)
            assert_int_equal(q[o * row + row - 1] / 16, 0);
    }
    end_case();
}

static void quantize(void **state) {
    (void)state;
    static const size_t widths[] = {1, 2, 15, 31, 32, 33, 70, 200};
    static const double sizes[] = {1, 1e-3, 0.02, 100, 1e-30, 1e30};
    attn_context *contexts[ISAS];
    const size_t isas = new_isa_contexts(1, contexts);
    seed(9);
    for (size_t n = 0; n < 12 * COUNT(widths) * COUNT(widths); n += every())
        check_quantize(contexts[n % isas], (attn_weight_order)(n % 2), widths[n / 12 % COUNT(widths)],
                       widths[n / 12 / COUNT(widths)], sizes[n % 12 / 2]);
}

/* What it makes is what attn_linear_create takes: near the f32 map as far as half a step of each weight allows. */
static void quantized_maps(void **state) {
    (void)state;
    enum { IN = 200, OUT = 90 };
    attn_context *context = new_context_of(1, 0);
    seed(10);
    const attn_linear_params wide = linear_of(ATTN_F32, ATTN_OUT_IN, IN, OUT, true);
    attn_linear_params narrow = wide;
    unsigned char *q = (unsigned char *)new_bools((size_t)OUT * IN / 2);
    float *pairs = new_floats((size_t)OUT * ((IN + 31) / 32) * 2);
    assert_ok(context, attn_quantize_weight_int4(context, ATTN_OUT_IN, OUT, IN, wide.weight, q, pairs));
    narrow.weight = q;
    narrow.weight_dtype = ATTN_INT4;
    narrow.weight_scale = pairs;
    const attn_tensor x = new_normal(BHTD, 1, 1, 20, IN);
    /* √IN · (step / √12) with steps of about 4.2/√IN/15, times 6 deviations of the rest */
    assert_near(run_linear(context, &narrow, x, BHTD), reference_linear(&wide, doubles_of(x), 20),
                ((tolerance){6 * 4.2 / 15 / 3.4, 0}));
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(quantizes_groups),
                                       TEST(error_of_quantizing),
                                       TEST(extremes_do_not_overflow),
                                       TEST(rows_that_are_not_numbers),
                                       TEST(huge_rows),
                                       TEST(weights_of_other_contexts),
                                       TEST(same_bits),
                                       TEST(other_precisions),
                                       TEST(scratch),
                                       TEST(from_gguf),
                                       TEST(quantize),
                                       TEST(quantized_maps)};
    return cmocka_run_group_tests_name("int4", tests, NULL, NULL);
}
