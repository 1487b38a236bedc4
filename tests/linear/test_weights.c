/* SPDX-License-Identifier: BSD-3-Clause */
/* Weights of f16, bf16, int8 and int4 against the double reference, which computes with the numbers that they stand
for. */
#include <fenv.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "support/block_case.h"
#include "support/meter.h"
#include "support/numbers.h"

static const attn_dtype NARROW[] = {ATTN_F16, ATTN_BF16, ATTN_INT8, ATTN_INT4};

static bool has_scales(attn_dtype dtype) { return dtype == ATTN_INT8 || dtype == ATTN_INT4; }

static attn_weight_order order_of(attn_dtype dtype, size_t n) {
    return dtype == ATTN_INT4 ? ATTN_OUT_IN : (attn_weight_order)(n % 2);
}

/* Rows that are few and many, more than a band of a projection. */
enum { MOST_ROWS = 200 };
static const size_t ROWS[] = {1, 2, 4, 5, 8, 9, 16, 17, MOST_ROWS};

static float *normal(size_t n) { return new_normal(BHTD, 1, 1, 1, n).data; }

static attn_linear *new_linear(attn_context *context, const attn_linear_params *p) {
    attn_linear *linear = NULL;
    assert_ok(context, attn_linear_create(context, p, &linear));
    assert_non_null(linear);
    return linear;
}

static double *reference(const attn_linear_params *p, attn_tensor x) {
    return reference_linear(p, doubles_of(x), x.size[2]);
}

static attn_tensor forward(attn_context *context, const attn_linear *linear, attn_tensor x, enum layout layout,
                           size_t out_width) {
    const attn_tensor out = new_tensor(layout, x.size[0], 1, x.size[2], out_width);
    assert_ok(context, attn_linear_forward(context, linear, &x, &out));
    assert_gaps_untouched(out);
    return out;
}

/* The first so many rows, for all the counts. */
static void check_rows(attn_context *context, const attn_linear_params *p, attn_tensor x, const double *want,
                       tolerance bound) {
    attn_linear *linear = new_linear(context, p);
    for (size_t i = 0; i < COUNT(ROWS); i++) {
        name_case("%s type %d order %d, %zu to %zu, %zu rows", describe(context).isa, (int)p->weight_dtype,
                  (int)p->order, p->in_width, p->out_width, ROWS[i]);
        const attn_tensor y = forward(context, linear, tokens_of(x, 0, ROWS[i]), i % 2 ? PADDED : BHTD, p->out_width);
        assert_near(y, want, bound);
    }
    attn_linear_destroy(linear);
}

static void every_type_and_width(void **state) {
    (void)state;
    static const size_t widths[][2] = {{1, 1},   {3, 65},   {96, 16},   {97, 130},
                                       {200, 5}, {64, 128}, {777, 129}, {300, 16 * 13 + 7}};
    attn_context *contexts[ISAS];
    const size_t isas = new_isa_contexts(2, contexts);
    seed(1);
    for (size_t n = 0; n < 2 * COUNT(NARROW) * COUNT(widths); n += every()) {
        const size_t *w = widths[n / (2 * COUNT(NARROW))];
        const attn_dtype type = NARROW[n / 2 % COUNT(NARROW)];
        const attn_linear_params p = linear_of(type, order_of(type, n), w[0], w[1], n % 3 > 0);
        const attn_tensor x = new_normal(n % 2 ? BHTD : PADDED, 1, 1, MOST_ROWS, w[0]);
        const double *want = reference(&p, x);
        for (size_t i = 0; i < isas; i++)
            check_rows(contexts[i], &p, x, want, promised(2));
        end_case();
    }
}

/* Weights that are all tiny, or all large: errors are relative to their size. */
static void check_size(attn_context *context, attn_dtype dtype, double size) {
    enum { IN = 70, OUT = 37 };
    attn_linear_params p = linear_of(dtype, ATTN_OUT_IN, IN, OUT, false);
    char *weight = (char *)(uintptr_t)p.weight;
    float *scale = (float *)(uintptr_t)p.weight_scale;
    for (size_t n = 0; n < (size_t)IN * OUT && !has_scales(dtype); n++) {
        char *at = weight + n * type_size(dtype);
        write_number(dtype, at, size * fmax(-1, fmin(1, 3 * read_number(dtype, at))));
    }
    for (size_t o = 0; o < OUT && dtype == ATTN_INT8; o++)
        scale[o] = (float)(o % 2 ? -size : size) / 127;
    for (size_t g = 0; g < (size_t)OUT * ((IN + 31) / 32) && dtype == ATTN_INT4; g++) {
        scale[2 * g] = (float)(g % 2 ? -size : size) / 8;
        scale[2 * g + 1] = -7.5F * scale[2 * g];
    }
    const attn_tensor x = new_normal(BHTD, 1, 1, MOST_ROWS, IN);
    const tolerance bound = {promised(sqrt((double)IN)).absolute * size + (double)FLT_TRUE_MIN * IN,
                             promised(1).relative};
    check_rows(context, &p, x, reference(&p, x), bound);
    end_case();
}

static void tiny_and_large_weights(void **state) {
    (void)state;
    attn_context *contexts[ISAS];
    const size_t isas = new_isa_contexts(1, contexts);
    seed(2);
    for (size_t i = 0; i < isas; i++) {
        check_size(contexts[i], ATTN_F16, 60e-6); /* subnormal, but for the largest */
        check_size(contexts[i], ATTN_F16, 65504);
        check_size(contexts[i], ATTN_BF16, 1e-37);
        check_size(contexts[i], ATTN_BF16, 1e36);
        check_size(contexts[i], ATTN_INT8, 1e-36);
        check_size(contexts[i], ATTN_INT8, 1e36);
        check_size(contexts[i], ATTN_INT4, 1e-36);
        check_size(contexts[i], ATTN_INT4, 1e36);
    }
}

static void write_weight(const attn_linear_params *p, size_t o, size_t i, double x) {
    char *weight = (char *)(uintptr_t)p->weight;
    write_number(p->weight_dtype, weight + (o * p->in_width + i) * type_size(p->weight_dtype), x);
}

/* Inf and NaN reach the outputs of their feature, as IEEE says, and nothing else. */
static void weights_that_are_not_finite(void **state) {
    (void)state;
    attn_context *contexts[ISAS];
    const size_t isas = new_isa_contexts(1, contexts);
    seed(3);
    for (size_t n = 0; n < 2 * isas; n++) {
        const attn_linear_params p = linear_of(n % 2 ? ATTN_F16 : ATTN_BF16, ATTN_OUT_IN, 130, 70, true);
        const attn_tensor x = new_normal(BHTD, 1, 1, MOST_ROWS, 130);
        write_weight(&p, 0, 129, (double)INFINITY);
        write_weight(&p, 17, 3, (double)-INFINITY);
        write_weight(&p, 33, 3, (double)INFINITY);
        write_weight(&p, 33, 90, (double)-INFINITY);
        write_weight(&p, 69, 0, (double)NAN);
        for (size_t r = 0; r < MOST_ROWS; r += 3)
            *element_at(x, 0, 0, r, 3) = 0; /* 0 · Inf is NaN */
        check_rows(contexts[n / 2], &p, x, reference(&p, x), promised(2));
        end_case();
    }
}

/* A feature of zeros is its bias; −128, which nothing of libattn's makes, is a number as any other. */
static void zeros_and_extremes(void **state) {
    (void)state;
    enum { IN = 33, OUT = 20 };
    attn_context *contexts[ISAS];
    const size_t isas = new_isa_contexts(1, contexts);
    seed(4);
    for (size_t n = 0; n < isas * COUNT(NARROW); n++) {
        const attn_linear_params p = linear_of(NARROW[n % COUNT(NARROW)], ATTN_OUT_IN, IN, OUT, true);
        char *weight = (char *)(uintptr_t)p.weight;
        const size_t row = weight_bytes(p.weight_dtype, 1, IN);
        memset(weight, 0, row);
        memset(weight + 16 * row, 0, row);
        if (p.weight_dtype == ATTN_INT8) {
            memset(weight + 3 * row, -128, row);
            ((float *)(uintptr_t)p.weight_scale)[5] = 0;
        }
        if (p.weight_dtype == ATTN_INT4) {
            memset(weight + 3 * row, 0xFF, row);
            memset((float *)(uintptr_t)p.weight_scale + 20, 0, 4 * sizeof(float));
        }
        const attn_tensor x = new_normal(BHTD, 1, 1, MOST_ROWS, IN);
        check_rows(contexts[n / COUNT(NARROW)], &p, x, reference(&p, x), promised(2));
        end_case();
    }
}

/* On any backend the bits of a row depend on that row alone. */
static void rows_are_independent(void **state) {
    (void)state;
    attn_context *context = new_context_of(2, 0);
    seed(13);
    for (size_t t = 0; t < COUNT(NARROW); t++) {
        const attn_linear_params p = linear_of(NARROW[t], ATTN_OUT_IN, 900, 150, t > 0);
        attn_linear *linear = new_linear(context, &p);
        const attn_tensor x = new_normal(BHTD, 1, 1, MOST_ROWS, 900), all = forward(context, linear, x, BHTD, 150);
        for (size_t i = 0; i < COUNT(ROWS); i++)
            for (size_t first = 0; first + ROWS[i] <= MOST_ROWS; first += 37) {
                name_case("type %d, %zu rows from %zu", (int)p.weight_dtype, ROWS[i], first);
                const attn_tensor some = forward(context, linear, tokens_of(x, first, ROWS[i]), PADDED, 150);
                assert_bits(some, tokens_of(all, first, ROWS[i]));
            }
        attn_linear_destroy(linear);
        end_case();
    }
}

static void same_bits_on_any_threads(void **state) {
    (void)state;
    static const size_t rows[] = {1, 3, 16, 17, 500};
    attn_context *contexts[3];
    for (size_t i = 0; i < COUNT(contexts); i++)
        contexts[i] = new_context_of(i + 1, 0);
    seed(5);
    for (size_t n = 0; n < COUNT(NARROW) * COUNT(rows); n++) {
        const attn_linear_params p =
            linear_of(NARROW[n % COUNT(NARROW)], order_of(NARROW[n % COUNT(NARROW)], 1), 300, 500, true);
        attn_linear *linear = new_linear(contexts[0], &p);
        const attn_tensor x = new_normal(BHTD, 1, 1, rows[n / COUNT(NARROW)], 300);
        name_case("type %d, %zu rows", (int)p.weight_dtype, x.size[2]);
        const attn_tensor want = forward(contexts[0], linear, x, BHTD, 500);
        for (size_t i = 1; i < COUNT(contexts); i++)
            assert_bits(forward(contexts[i], linear, x, BHTD, 500), want);
        attn_linear_destroy(linear);
        end_case();
    }
}

/* The packed weights take a half and a quarter of the memory; int4 20 bytes for 32 of them, or 24. */
static void memory_of_the_type(void **state) {
    (void)state;
    enum { IN = 300, OUT = 512, OVERHEAD = 1024 };
    struct meter m = {0};
    attn_context *context = new_metered(&m, 1);
    for (size_t t = 0; t < COUNT(NARROW); t++) {
        const attn_linear_params p = linear_of(NARROW[t], ATTN_OUT_IN, IN, OUT, false);
        const size_t before = m.bytes, least = weight_bytes(NARROW[t], OUT, IN);
        const size_t scales = NARROW[t] == ATTN_INT8 ? OUT * sizeof(float) : 0, groups = OUT * ((IN + 31) / 32);
        attn_linear *linear = new_linear(context, &p);
        if (NARROW[t] == ATTN_INT4)
            assert_true(m.bytes - before - 20 * groups <= OVERHEAD || m.bytes - before - 24 * groups <= OVERHEAD);
        else
            assert_in_range(m.bytes - before, least, least + scales + OVERHEAD);
        attn_linear_destroy(linear);
    }
    attn_context_destroy(context);
    assert_int_equal(m.live, 0);
}

static void check_layer(attn_context *context, size_t n) {
    struct mha_case c = mha_case_of(48, 4, 1 + n % 2, 1 + random_below(40));
    c.layer.weight_dtype = NARROW[n % COUNT(NARROW)];
    c.layer.order = random_order(c.layer.weight_dtype);
    c.layer.kv_heads = random_below(2) ? 2 : 0;
    c.layer.head_width = random_below(2) ? 9 : 0;
    c.layer.value_width = random_below(2) ? 21 : 0;
    const bool packed = random_below(2);
    if (!packed) {
        c.layer.key_input_width = 23;
        c.layer.value_input_width = random_below(2) ? 40 : 23;
        c.key = new_normal(BHTD, c.query.size[0], 1, 1 + random_below(40), 23);
        c.value = new_normal(BTHD, c.query.size[0], 1, c.key.size[2], c.layer.value_input_width);
    }
    set_layer_form(&c.layer, packed, random_below(2) ? 0 : (unsigned)random_below(LAYER_FORMS));
    if (c.layer.kv_latent)
        c.value = (attn_tensor){0};
    fill_layer(&c.layer, packed, (unsigned)random_below(ALL_BIASES + 1));
    check_mha(context, &c);
    end_case();
}

static void layers(void **state) {
    (void)state;
    attn_context *contexts[ISAS];
    const size_t isas = new_isa_contexts(2, contexts);
    seed(7);
    for (size_t n = 0; n < 60; n += every())
        check_layer(contexts[n % isas], n);
}

static void init_narrow(struct block_case *c, attn_dtype self, attn_dtype cross, attn_dtype feed, unsigned parts) {
    init_block(c, 48, 3, 150, parts);
    c->self.weight_dtype = self;
    c->cross.weight_dtype = cross;
    c->feed.weight_dtype = feed;
    c->self.order = random_order(self);
    c->feed.order = random_order(feed);
    c->feed.activation = (attn_activation)random_below(ATTN_SIGMOID + 1);
    c->block.norm_place = (attn_norm_place)random_below(2);
    fill_block(c, random_below(2) > 0);
}

/* Each sublayer has a type of its own, and the other context other threads. */
static void check_block(attn_context *context, attn_context *other, size_t n) {
    static const size_t lengths[] = {1, 5, 20, 230};
    static const attn_dtype types[] = {ATTN_F32, ATTN_F16, ATTN_BF16, ATTN_INT8, ATTN_INT4};
    struct block_case c;
    init_narrow(&c, types[n % 5], random_pick(types), types[n / 5 % 5], n % 3 ? WHOLE : WHOLE - HAS_GATE);
    const size_t T = random_pick(lengths);
    const attn_tensor x = new_normal(BHTD, 1, 1, T, 48), encoded = new_normal(BHTD, 1, 1, 7, 48);
    const attn_tensor y = new_tensor(BHTD, 1, 1, T, 48), again = new_tensor(PADDED, 1, 1, T, 48);
    attn_block_inputs inputs;
    ATTN_INIT(&inputs);
    inputs.encoded = &encoded;
    name_case("block %zu: types %d, %d, %d, %zu tokens", n, (int)c.self.weight_dtype, (int)c.cross.weight_dtype,
              (int)c.feed.weight_dtype, T);
    attn_block *block = new_block(context, &c);
    assert_ok(context, attn_block_forward(context, block, &x, &y, &inputs));
    assert_near(y, reference_block(&c, x, &encoded, NULL, NULL), promised(4));
    assert_ok(other, attn_block_forward(other, block, &x, &again, &inputs));
    assert_bits(again, y);
    attn_block_destroy(block);
    end_case();
}

static void blocks(void **state) {
    (void)state;
    attn_context *one = new_context_of(1, 0), *three = new_context_of(3, 0);
    seed(8);
    for (size_t n = 0; n < 50; n += every())
        check_block(n % 2 ? one : three, n % 2 ? three : one, n);
}

/* What a layer and a block say that they need is what they take, once. */
/* In any rounding mode an int8 is within ±127: −128 would change its sign in products. */
static void quantized_in_any_rounding_mode(void **state) {
    (void)state;
    static const int modes[] = {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
    enum { N = 97 };
    attn_context *context = new_context_of(1, 0);
    seed(31);
    for (size_t i = 0; i < 400; i++) {
        float *w = new_floats(N), scale;
        int8_t *q = (int8_t *)new_bools(N);
        for (size_t n = 0; n < N; n++)
            w[n] = random_normal();
        fesetround(modes[i % COUNT(modes)]);
        const attn_status status = attn_quantize_weight(context, ATTN_OUT_IN, 1, N, w, q, &scale);
        fesetround(FE_TONEAREST);
        assert_ok(context, status);
        for (size_t n = 0; n < N; n++) {
            assert_true(q[n] >= -127);
            assert_true(fabs((double)q[n] * (double)scale - (double)w[n]) <= 0.50001 * (double)scale);
        }
        end_case();
    }
}

static void scratch(void **state) {
    (void)state;
    seed(6);
    for (size_t t = 0; t < COUNT(NARROW); t++) {
        struct meter m = {0};
        struct block_case c;
        size_t of_layer = 0, of_block = 0;
        init_narrow(&c, NARROW[t], NARROW[t], NARROW[t], WHOLE - HAS_CROSS);
        attn_context *context = new_metered(&m, 2);
        attn_block *block = new_block(context, &c);
        attn_mha *mha = new_layer(context, &c.self);
        const attn_tensor x = new_normal(BHTD, 1, 1, 40, 48), out = new_tensor(BHTD, 1, 1, 40, 48);
        assert_ok(context, attn_mha_scratch_size(context, mha, &x, NULL, NULL, &out, NULL, &of_layer));
        assert_ok(context, attn_block_scratch_size(context, block, &x, &out, NULL, &of_block));
        assert_ok(context, attn_mha_forward(context, mha, &x, NULL, NULL, &out, NULL));
        assert_int_equal(describe(context).scratch_bytes, of_layer);
        assert_ok(context, attn_context_reserve(context, of_block));
        const size_t calls = m.calls;
        assert_ok(context, attn_block_forward(context, block, &x, &out, NULL));
        assert_int_equal(m.calls, calls);
        attn_mha_destroy(mha);
        attn_block_destroy(block);
        attn_context_destroy(context);
        assert_int_equal(m.live, 0);
    }
}

/* Only the keys and values of a cross-attention, into a cache: as from the encoder's output in the step itself. */
static void encoded_once(void **state) {
    (void)state;
    seed(12);
    for (size_t t = 0; t < COUNT(NARROW); t++) {
        struct block_case c;
        attn_cache_params params;
        attn_cache *cache = NULL;
        attn_context *context = new_context_of(2, 0);
        init_narrow(&c, NARROW[t], NARROW[t], NARROW[t], WHOLE);
        attn_block *block = new_block(context, &c);
        ATTN_INIT(&params);
        params.batch = 1;
        params.kv_heads = 3;
        params.head_width = 16;
        params.capacity = 40;
        assert_ok(context, attn_cache_create(context, &params, &cache));
        const attn_tensor x = new_normal(BHTD, 1, 1, 5, 48), encoded = new_normal(BHTD, 1, 1, 40, 48);
        const attn_tensor y = new_tensor(BHTD, 1, 1, 5, 48);
        attn_block_inputs inputs;
        ATTN_INIT(&inputs);
        inputs.encoded_cache = cache;
        assert_ok(context, attn_block_encode(context, block, &encoded, cache, NULL));
        assert_ok(context, attn_block_forward(context, block, &x, &y, &inputs));
        assert_near(y, reference_block(&c, x, &encoded, NULL, NULL), promised(4));
        attn_cache_destroy(cache);
        attn_block_destroy(block);
    }
}

/* ---- attn_quantize_weight ---- */

/* One feature: the scale is the largest magnitude over 127, and each integer the nearest. */
static void assert_quantized(const float *w, size_t step, size_t in, const int8_t *q, float scale) {
    double most = 0;
    for (size_t i = 0; i < in; i++)
        if (fabs((double)w[i * step]) > most)
            most = fabs((double)w[i * step]);
    const double want = most < 1e-34 ? 0 : most / 127;
    assert_true(fabs((double)scale - want) <= want * (double)FLT_EPSILON);
    for (size_t i = 0; i < in; i++) {
        const double error = (double)w[i * step] - (double)scale * q[i * step];
        assert_true(q[i * step] >= -127);
        assert_true(fabs(error) <= (double)scale * (0.5 + 1e-4) || scale == 0);
        assert_true(isfinite((float)q[i * step] * scale));
        assert_true(q[i * step] == 0 || scale != 0);
    }
}

/* Features of all magnitudes; the last one is zeros. */
static float *weights_to_quantize(attn_weight_order order, size_t out, size_t in) {
    static const double sizes[] = {1, 1e-3, 1e30, 1e-30, 1e-40};
    float *w = normal(out * in);
    for (size_t o = 0; o < out; o++)
        for (size_t i = 0; i < in; i++)
            w[order == ATTN_OUT_IN ? o * in + i : i * out + o] *=
                (float)(o + 1 == out && out > 1 ? 0 : sizes[o % COUNT(sizes)]);
    w[0] = FLT_MAX;
    return w;
}

static void check_quantize(attn_context *context, attn_weight_order order, size_t out, size_t in) {
    const float *w = weights_to_quantize(order, out, in);
    int8_t *q = (int8_t *)new_bools(out * in);
    float *scales = new_floats(out);
    name_case("quantize [%zu,%zu], order %d", out, in, (int)order);
    assert_ok(context, attn_quantize_weight(context, order, out, in, w, q, scales));
    for (size_t o = 0; o < out; o++) {
        const size_t first = order == ATTN_OUT_IN ? o * in : o;
        assert_quantized(w + first, order == ATTN_OUT_IN ? 1 : out, in, q + first, scales[o]);
    }
    end_case();
}

static void quantize(void **state) {
    (void)state;
    static const size_t widths[] = {1, 2, 15, 16, 17, 70, 200};
    attn_context *contexts[ISAS];
    const size_t isas = new_isa_contexts(1, contexts);
    seed(10);
    for (size_t n = 0; n < 2 * isas * COUNT(widths) * COUNT(widths); n += every())
        check_quantize(contexts[n / 2 % isas], (attn_weight_order)(n % 2), widths[n / (2 * isas) % COUNT(widths)],
                       widths[n / (2 * isas) / COUNT(widths)]);
}

/* What it makes is what attn_linear_create takes: near the f32 map as far as half a step of each weight allows. */
static void quantized_maps(void **state) {
    (void)state;
    enum { IN = 200, OUT = 90 };
    attn_context *context = new_context_of(1, 0);
    seed(11);
    for (attn_weight_order order = ATTN_OUT_IN; order <= ATTN_IN_OUT; order++) {
        const attn_linear_params wide = linear_of(ATTN_F32, order, IN, OUT, true);
        attn_linear_params narrow = wide;
        int8_t *q = (int8_t *)new_bools(IN * OUT);
        float *scales = new_floats(OUT);
        assert_ok(context, attn_quantize_weight(context, order, OUT, IN, wide.weight, q, scales));
        narrow.weight = q;
        narrow.weight_dtype = ATTN_INT8;
        narrow.weight_scale = scales;
        const attn_tensor x = new_normal(BHTD, 1, 1, 20, IN);
        attn_linear *linear = new_linear(context, &narrow);
        const attn_tensor y = forward(context, linear, x, BHTD, OUT);
        /* √IN · (step / √12) with steps of about 3.5/√IN/127, times 6 deviations of the rest */
        assert_near(y, reference(&wide, x), ((tolerance){6 * 3.5 / 127 / 3.4, 0}));
        attn_linear_destroy(linear);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(every_type_and_width),
                                       TEST(tiny_and_large_weights),
                                       TEST(weights_that_are_not_finite),
                                       TEST(zeros_and_extremes),
                                       TEST(rows_are_independent),
                                       TEST(same_bits_on_any_threads),
                                       TEST(memory_of_the_type),
                                       TEST(layers),
                                       TEST(blocks),
                                       TEST(quantized_in_any_rounding_mode),
                                       TEST(scratch),
                                       TEST(encoded_once),
                                       TEST(quantize),
                                       TEST(quantized_maps)};
    return cmocka_run_group_tests_name("weights", tests, NULL, NULL);
}
