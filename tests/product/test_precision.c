/* SPDX-License-Identifier: BSD-3-Clause */
/* Contexts of BF16 and INT8 precision, against double references that round or quantise operands by definition. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "support/block_case.h"
#include "support/layer.h"
#include "support/numbers.h"
#include "support/sdpa_case.h"

/* Rows of a product: few and many, more than a band. */
enum { MOST_ROWS = 200 };
static const size_t ROWS[] = {1, 2, 3, 4, 5, 6, 7, 13, MOST_ROWS};

/* The sets that multiply int8 and bf16: those of new_isa_contexts, and theirs that only count for this. */
enum { SETS = 4 * ISAS };

static bool multiplies_alike(attn_context *a, attn_context *b) {
    const attn_context_info x = describe(a), y = describe(b);
    return strcmp(x.bf16_isa, y.bf16_isa) == 0 && strcmp(x.int8_isa, y.int8_isa) == 0;
}

static size_t new_contexts(size_t threads, attn_precision precision, attn_context *made[SETS]) {
    static const uint32_t more[] = {ATTN_ISA_AVX_VNNI | ATTN_ISA_NEON_DOT,
                                    ATTN_ISA_AVX512_BF16 | ATTN_ISA_AVX512_VNNI | ATTN_ISA_NEON_BF16 |
                                        ATTN_ISA_NEON_I8MM,
                                    ATTN_ISA_AMX_BF16 | ATTN_ISA_AMX_INT8};
    uint32_t isas[ISAS];
    const size_t n = list_isas(isas);
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        made[count++] = new_precise(threads, isas[i], NULL, precision);
        for (size_t m = 0; m < COUNT(more); m++) {
            made[count] = new_precise(threads, isas[i] |= more[m], "builtin", precision);
            if (m == 0 || !multiplies_alike(made[count], made[count - 1]))
                count++;
        }
    }
    return count;
}

/* ---- what it tells ---- */

static void describes_precision(void **state) {
    (void)state;
    for (int n = 0; n <= ATTN_PRECISION_INT8; n++) {
        const attn_context_info info = describe(new_precise(1, ATTN_ISA_GENERIC, NULL, (attn_precision)n));
        assert_int_equal(info.precision, n);
        assert_string_equal(info.bf16_isa, "generic");
        assert_string_equal(info.int8_isa, "generic");
    }
    assert_int_equal(describe(new_context(NULL)).precision, ATTN_PRECISION_F32);
}

/* ---- linear maps ---- */

/* x and weights as bf16. */
static double *rounded_reference(const attn_linear_params *p, attn_tensor x) {
    attn_linear_params r = *p;
    double *rows = doubles_of(x);
    float *weight = new_floats(p->in_width * p->out_width);
    for (size_t n = 0; n < element_count(x); n++)
        rows[n] = rounded_to(ATTN_BF16, rows[n]);
    for (size_t n = 0; n < p->in_width * p->out_width; n++) {
        const char *at = (const char *)p->weight + n * type_size(p->weight_dtype);
        weight[n] = (float)rounded_to(ATTN_BF16, read_number(p->weight_dtype, at));
    }
    r.weight = weight;
    r.weight_dtype = ATTN_F32;
    return reference_linear(&r, rows, x.size[2]);
}

static void rounds_once(void **state) {
    (void)state;
    static const size_t widths[][2] = {{1, 1}, {3, 65}, {97, 130}, {200, 5}, {64, 128}, {777, 129}};
    static const attn_dtype types[] = {ATTN_F32, ATTN_F16, ATTN_BF16};
    attn_context *contexts[2 * SETS];
    size_t n = new_contexts(2, ATTN_PRECISION_BF16, contexts);
    n += new_contexts(1, ATTN_PRECISION_INT8, contexts + n);
    seed(1);
    for (size_t c = 0; c < 3 * COUNT(widths) * n; c += every()) {
        const size_t *w = widths[c / 3 % COUNT(widths)];
        const attn_linear_params p = linear_of(types[c % 3], (attn_weight_order)random_below(2), w[0], w[1], c % 2);
        const attn_tensor x = new_normal(c % 2 ? BHTD : PADDED, 1, 1, random_pick(ROWS), w[0]);
        name_case("%zu rows, %zu to %zu, type %d, context %zu", x.size[2], w[0], w[1], (int)p.weight_dtype, c % n);
        assert_near(run_linear(contexts[c % n], &p, x, c % 3 ? PADDED : BHTD), rounded_reference(&p, x), promised(2));
        end_case();
    }
}

/* Rows as int8: the scale, a float, of each in scale [rows], the numbers instead of x. */
static double *quantized(attn_tensor x, double *scale) {
    const size_t width = x.size[3];
    double *q = doubles_of(x);
    for (size_t r = 0; r < x.size[2]; r++) {
        float most = 0;
        for (size_t i = 0; i < width; i++)
            most = fmaxf(most, (float)fabs(q[r * width + i]));
        const float factor = most / 127;
        scale[r] = (double)factor;
        for (size_t i = 0; i < width; i++)
            q[r * width + i] = factor > 0 ? rint(q[r * width + i] / (double)factor) : 0;
    }
    return q;
}

/* Numbers that are whole once they are divided by the scale, of which the largest is 127. */
static attn_tensor new_whole(size_t rows, size_t width) {
    const attn_tensor x = new_tensor(BHTD, 1, 1, rows, width);
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < width; i++)
            *element_at(x, 0, 0, r, i) = i == r % width ? -127.0F : (float)random_below(255) - 127.0F;
    return x;
}

static double *quantized_reference(const attn_linear_params *p, attn_tensor x) {
    double *scale = new_doubles(x.size[2]), *q = quantized(x, scale);
    for (size_t n = 0; n < element_count(x); n++)
        q[n] *= scale[n / x.size[3]];
    return reference_linear(p, q, x.size[2]);
}

static void quantizes_rows(void **state) {
    (void)state;
    static const size_t widths[][2] = {{1, 1},   {2, 17},  {3, 65},   {96, 16},  {97, 130},
                                       {200, 5}, {64, 33}, {777, 40}, {2051, 24}};
    attn_context *contexts[SETS];
    const size_t n = new_contexts(2, ATTN_PRECISION_INT8, contexts);
    seed(2);
    for (size_t c = 0; c < 3 * COUNT(widths) * n; c += every()) {
        const size_t *w = widths[c / 3 % COUNT(widths)];
        const attn_linear_params p = linear_of(ATTN_INT8, (attn_weight_order)random_below(2), w[0], w[1], c % 2);
        const attn_tensor x = new_whole(random_pick(ROWS), w[0]);
        name_case("%zu rows, %zu to %zu, %s", x.size[2], w[0], w[1], describe(contexts[c % n]).int8_isa);
        const tolerance bound = {2e-6 * sqrt((double)w[0]) * 127, 1e-6};
        assert_near(run_linear(contexts[c % n], &p, x, c % 3 ? PADDED : BHTD), quantized_reference(&p, x), bound);
        end_case();
    }
}

/* Whatever x is, half a step of each element at most. */
static void error_of_quantizing(void **state) {
    (void)state;
    enum { IN = 300, OUT = 50 };
    attn_context *contexts[SETS];
    const size_t n = new_contexts(1, ATTN_PRECISION_INT8, contexts);
    seed(3);
    for (size_t c = 0; c < n; c++) {
        const attn_linear_params p = linear_of(ATTN_INT8, ATTN_OUT_IN, IN, OUT, true);
        const attn_tensor x = new_normal(PADDED, 1, 1, MOST_ROWS, IN);
        const attn_tensor y = run_linear(contexts[c], &p, x, BHTD);
        const double *want = reference_linear(&p, doubles_of(x), MOST_ROWS);
        double squares = 0, all = 0;
        for (size_t i = 0; i < element_count(y); i++) {
            squares += (value(y, i) - want[i]) * (value(y, i) - want[i]);
            all += want[i] * want[i];
        }
        assert_true(sqrt(squares / all) > 1e-4 && sqrt(squares / all) < 0.012);
        assert_near(y, quantized_reference(&p, x), ((tolerance){0.03, 0}));
        end_case();
    }
}

/* The largest sums, of either sign, and −128, at the greatest depth that is one sum and beyond it. */
static void extremes_do_not_overflow(void **state) {
    (void)state;
    enum { ROW_COUNT = 7, OUT = 20 };
    static const size_t depths[] = {4096, 65536, 65536 + 3, 140001};
    attn_context *contexts[SETS];
    const size_t n = new_contexts(1, ATTN_PRECISION_INT8, contexts);
    for (size_t c = 0; c < n * COUNT(depths); c += every()) {
        const size_t in = depths[c / n];
        attn_linear_params p;
        ATTN_INIT(&p);
        int8_t *weight = (int8_t *)new_floats((in * OUT + 3) / 4);
        float *scale = new_floats(OUT);
        double *want = new_doubles((size_t)ROW_COUNT * OUT);
        const attn_tensor x = new_tensor(BHTD, 1, 1, ROW_COUNT, in);
        for (size_t o = 0; o < OUT; o++) {
            memset(weight + o * in, o % 3 == 0 ? 127 : o % 3 == 1 ? -127 : -128, in);
            scale[o] = 1;
        }
        for (size_t i = 0; i < element_count(x); i++)
            *element(x, i) = i / in % 2 ? -127 : 127;
        for (size_t i = 0; i < (size_t)ROW_COUNT * OUT; i++)
            want[i] = (double)weight[i % OUT * in] * (i / OUT % 2 ? -127 : 127) * (double)in;
        p.in_width = in;
        p.out_width = OUT;
        p.weight = weight;
        p.weight_dtype = ATTN_INT8;
        p.weight_scale = scale;
        name_case("depth %zu, %s", in, describe(contexts[c % n]).int8_isa);
        assert_near(run_linear(contexts[c % n], &p, x, BHTD), want, ((tolerance){0, 1e-6}));
        end_case();
    }
}

/* A row with Inf or NaN is NaN, one of next to nothing the bias, and the others do not know. */
static void rows_that_are_not_numbers(void **state) {
    (void)state;
    enum { IN = 70, OUT = 33, ROW_COUNT = 9 };
    attn_context *contexts[SETS];
    const size_t n = new_contexts(1, ATTN_PRECISION_INT8, contexts);
    seed(5);
    for (size_t c = 0; c < n; c++) {
        const attn_linear_params p = linear_of(ATTN_INT8, ATTN_IN_OUT, IN, OUT, true);
        const attn_tensor x = new_normal(BHTD, 1, 1, ROW_COUNT, IN);
        const attn_tensor plain = run_linear(contexts[c], &p, x, BHTD);
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
                if (r == 1 || r == 4)
                    assert_true(isnan(got));
                else
                    assert_true(got == (r == 2 || r == 7 ? p.bias[o] : *element_at(plain, 0, 0, r, o)));
            }
        end_case();
    }
}

/* int8 weights are multiplied in f32 unless INT8 is asked for; and the weights of a context of another precision, too.
 */
static void weights_of_other_contexts(void **state) {
    (void)state;
    attn_context *exact = new_context_of(1, 0), *bf16 = new_precise(1, 0, NULL, ATTN_PRECISION_BF16);
    const attn_linear_params p = linear_of(ATTN_INT8, ATTN_OUT_IN, 100, 40, true),
                             f = linear_of(ATTN_F32, 0, 100, 40, true);
    const attn_tensor x = new_normal(BHTD, 1, 1, 9, 100), y = new_tensor(BHTD, 1, 1, 9, 40);
    attn_linear *linear = NULL;
    assert_bits(run_linear(exact, &p, x, BHTD), run_linear(bf16, &p, x, BHTD));
    assert_ok(exact, attn_linear_create(exact, &f, &linear));
    assert_ok(bf16, attn_linear_forward(bf16, linear, &x, &y));
    assert_near(y, reference_linear(&f, doubles_of(x), 9), promised(2));
    attn_linear_destroy(linear);
    assert_ok(bf16, attn_linear_create(bf16, &f, &linear));
    assert_ok(exact, attn_linear_forward(exact, linear, &x, &y));
    assert_near(y, reference_linear(&f, doubles_of(x), 9), ((tolerance){0.15, 0}));
    attn_linear_destroy(linear);
}

/* ---- bits ---- */

static void same_bits(void **state) {
    (void)state;
    seed(6);
    for (size_t n = 0; n < 4; n++) {
        const attn_precision precision = n % 2 ? ATTN_PRECISION_INT8 : ATTN_PRECISION_BF16;
        attn_context *one = new_precise(1, 0, NULL, precision), *three = new_precise(3, 0, NULL, precision);
        const attn_linear_params p = linear_of(n < 2 ? ATTN_INT8 : ATTN_F32, ATTN_OUT_IN, 900, 150, n > 0);
        const attn_tensor x = new_normal(BHTD, 1, 1, MOST_ROWS, 900);
        name_case("case %zu", n);
        check_linear_bits(one, three, &p, x, COUNT(ROWS), ROWS);
        end_case();
    }
}

/* ---- attention ---- */

static void round_all(attn_tensor t) {
    for (size_t n = 0; n < element_count(t); n++)
        set_value(t, n, rounded_to(ATTN_BF16, value(t, n)));
}

/* Products of rounded q and k are exact but for their sums; weights are rounded, by 2^−9 of each. */
static void attention_of_rounded_operands(void **state) {
    (void)state;
    static const size_t shapes[][7] = {{1, 1, 1, 1, 1, 1, 1},      {2, 4, 2, 5, 33, 7, 9},
                                       {1, 2, 2, 70, 131, 64, 64}, {1, 3, 1, 40, 65, 81, 20},
                                       {1, 2, 1, 1, 2500, 32, 3},  {1, 1, 1, 17, 300, 250, 130}};
    attn_context *contexts[SETS];
    const size_t n = new_contexts(2, ATTN_PRECISION_BF16, contexts);
    seed(7);
    for (size_t c = 0; c < n * COUNT(shapes) * 2; c += every()) {
        const size_t *s = shapes[c / n % COUNT(shapes)];
        const attn_dtype type = c % 3 == 0 ? ATTN_F32 : c % 3 == 1 ? ATTN_F16 : ATTN_BF16;
        struct sdpa_case x = sdpa_case_of(s[0], s[1], s[2], s[3], s[4], s[5], s[6]);
        x.q = new_copy_of(type, x.q);
        x.k = new_copy_of(type, x.k);
        x.v = new_copy_of(type, x.v);
        x.params.causal = c % 2 ? ATTN_CAUSAL_BOTTOM_RIGHT : ATTN_CAUSAL_NONE;
        const attn_tensor out = new_tensor(PADDED, s[0], s[1], s[3], s[6]);
        const attn_tensor raw = new_tensor(BHTD, s[0], s[1], s[3], s[4]);
        attn_sdpa_params params = x.params;
        params.weights = &raw;
        params.weights_stage = ATTN_STAGE_RAW;
        name_case("shape %zu, type %d, context %zu", c / n % COUNT(shapes), (int)type, c % n);
        assert_ok(contexts[c % n], attn_sdpa(contexts[c % n], &x.q, &x.k, &x.v, &out, &params));
        round_all(x.q);
        round_all(x.k);
        round_all(x.v);
        const answer want = reference_sdpa(x.q, x.k, x.v, &x.params);
        assert_near(out, want.out, ((tolerance){0.008, 0.004}));
        if (c % 2 == 0)
            assert_near(raw, want.stages[ATTN_STAGE_RAW], promised(1 + want.score_size));
        end_case();
    }
}

/* A score of 0 for each key makes weights of 1, which bf16 has: only sums are left to round. */
static void exact_weights(void **state) {
    (void)state;
    attn_context *contexts[SETS];
    const size_t n = new_contexts(1, ATTN_PRECISION_BF16, contexts);
    seed(8);
    for (size_t c = 0; c < n; c++) {
        struct sdpa_case x = sdpa_case_of(1, 2, 1, 9, 301, 24, 37);
        for (size_t i = 0; i < element_count(x.q); i++)
            set_value(x.q, i, 0);
        const attn_tensor out = new_tensor(BHTD, 1, 2, 9, 37);
        assert_ok(contexts[c], attn_sdpa(contexts[c], &x.q, &x.k, &x.v, &out, &x.params));
        round_all(x.v);
        assert_near(out, reference_sdpa(x.q, x.k, x.v, &x.params).out, promised(1));
        end_case();
    }
}

/* A cache of bf16 holds what the door makes of k and v, so that both give the same; one of another type is multiplied
 * as in F32. */
static attn_tensor attend_to(attn_context *context, attn_dtype dtype, const struct sdpa_case *x) {
    attn_cache_params p;
    attn_cache *cache = NULL;
    const attn_tensor out = new_tensor(BHTD, x->q.size[0], x->q.size[1], x->q.size[2], x->v.size[3]);
    ATTN_INIT(&p);
    p.batch = x->q.size[0];
    p.capacity = 1000;
    p.kv_heads = x->k.size[1];
    p.head_width = x->k.size[3];
    p.value_width = x->v.size[3];
    p.dtype = dtype;
    assert_ok(context, attn_cache_create(context, &p, &cache));
    for (size_t t = 0, some; t < x->k.size[2]; t += some) {
        some = t + 1 + t % 5 < x->k.size[2] ? 1 + t % 5 : x->k.size[2] - t;
        const attn_tensor k = tokens_of(x->k, t, some), v = tokens_of(x->v, t, some);
        assert_ok(context, attn_cache_append(context, cache, &k, &v, NULL));
    }
    assert_ok(context, attn_cache_attend(context, cache, &x->q, &out, &x->params));
    attn_cache_destroy(cache);
    return out;
}

static void caches(void **state) {
    (void)state;
    static const attn_dtype others[] = {ATTN_F32, ATTN_F16, ATTN_INT8, ATTN_INT4};
    attn_context *contexts[SETS];
    const size_t n = new_contexts(1, ATTN_PRECISION_BF16, contexts);
    seed(9);
    for (size_t c = 0; c < COUNT(others) * n; c++) {
        struct sdpa_case x = sdpa_case_of(2, 4, 2, 1 + 6 * (c % 3), 61 + c, 19 + c, 35);
        attn_context *exact = new_context_of(1, 0);
        x.params.causal = ATTN_CAUSAL_BOTTOM_RIGHT;
        name_case("case %zu", c);
        const attn_tensor got = attend_to(contexts[c % n], ATTN_BF16, &x);
        assert_near(attend_to(contexts[c % n], others[c / n], &x), doubles_of(attend_to(exact, others[c / n], &x)),
                    promised(4));
        round_all(x.q);
        round_all(x.k);
        round_all(x.v);
        assert_near(got, reference_sdpa(x.q, x.k, x.v, &x.params).out, ((tolerance){0.008, 0.004}));
        end_case();
    }
}

/* What is masked stays so, whatever it is; what is seen and not finite reaches whom it must. */
static void masked_values(void **state) {
    (void)state;
    attn_context *contexts[SETS];
    const size_t n = new_contexts(1, ATTN_PRECISION_BF16, contexts);
    seed(10);
    for (size_t c = 0; c < 4 * n; c++) {
        struct sdpa_case x = sdpa_case_of(1, 2, 1, 50, 91, 16, 21);
        x.params.causal = ATTN_CAUSAL_TOP_LEFT;
        const attn_tensor clean = new_tensor(BHTD, 1, 2, 50, 21), got = new_tensor(BHTD, 1, 2, 50, 21);
        const size_t bad = 30 + c / n;
        assert_ok(contexts[c % n], attn_sdpa(contexts[c % n], &x.q, &x.k, &x.v, &clean, &x.params));
        *element_at(x.v, 0, 0, bad, 3) = c % 2 ? NAN : INFINITY;
        assert_ok(contexts[c % n], attn_sdpa(contexts[c % n], &x.q, &x.k, &x.v, &got, &x.params));
        for (size_t h = 0; h < 2; h++)
            for (size_t i = 0; i < 50; i++)
                for (size_t e = 0; e < 21; e++) {
                    const float y = *element_at(got, 0, h, i, e), z = *element_at(clean, 0, h, i, e);
                    if (i < bad)
                        assert_true(y == z);
                    else
                        assert_true(e == 3 ? (c % 2 ? isnan(y) : isinf(y)) : fabsf(y - z) < 1e-6F);
                }
        end_case();
    }
}

/* ---- layers and blocks ---- */

/* Errors of one layer, relative to the largest output: about 2^−8 for rounding, 1/127 for quantising. */
static void layers(void **state) {
    (void)state;
    static const attn_dtype types[] = {ATTN_F32, ATTN_BF16, ATTN_INT8, ATTN_INT4};
    attn_context *contexts[2 * SETS];
    size_t n = new_contexts(2, ATTN_PRECISION_BF16, contexts);
    n += new_contexts(1, ATTN_PRECISION_INT8, contexts + n);
    seed(11);
    for (size_t c = 0; c < 8 * n; c += every()) {
        struct mha_case x = mha_case_of(48, 4, 1 + c % 2, 1 + random_below(40));
        x.layer.weight_dtype = types[c / n % 4];
        fill_layer(&x.layer, c % 2, (unsigned)random_below(ALL_BIASES + 1));
        const attn_tensor out = new_tensor(PADDED, x.query.size[0], 1, x.query.size[2], 48);
        attn_mha *mha = NULL;
        size_t bytes = 0;
        name_case("layer %zu", c);
        assert_ok(contexts[c % n], attn_mha_create(contexts[c % n], &x.layer, &mha));
        assert_ok(contexts[c % n],
                  attn_mha_scratch_size(contexts[c % n], mha, &x.query, NULL, NULL, &out, &x.params, &bytes));
        assert_ok(contexts[c % n], attn_context_reserve(contexts[c % n], bytes));
        const size_t held = describe(contexts[c % n]).scratch_bytes;
        assert_ok(contexts[c % n], attn_mha_forward(contexts[c % n], mha, &x.query, NULL, NULL, &out, &x.params));
        assert_int_equal(describe(contexts[c % n]).scratch_bytes, held);
        attn_mha_destroy(mha);
        const answer want = reference_mha(&x.layer, x.query, x.query, x.query, &x.params);
        double most = 0;
        for (size_t i = 0; i < element_count(out); i++)
            most = fmax(most, fabs(want.out[i]));
        assert_near(out, want.out, ((tolerance){0.05 * most, 0}));
        end_case();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(describes_precision),
        TEST(rounds_once),
        TEST(quantizes_rows),
        TEST(error_of_quantizing),
        TEST(extremes_do_not_overflow),
        TEST(rows_that_are_not_numbers),
        TEST(weights_of_other_contexts),
        TEST(same_bits),
        TEST(attention_of_rounded_operands),
        TEST(exact_weights),
        TEST(caches),
        TEST(masked_values),
        TEST(layers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
