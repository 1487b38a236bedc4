/* SPDX-License-Identifier: BSD-3-Clause */
/* Sizes of 0: each public call with each size 0, data NULL where there is none, strides that are not 0 all the same
 * (the sanitizers look at what is done with such pointers), and 2^40 beside the 0. What writes nothing returns at
 * once: an alarm ends a test that does not. */
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "support/support.h"

enum { MODEL = 8, SECONDS = 20 };
static const size_t HUGE_SIZE = (size_t)1 << 40;

static int start(void **state) {
    (void)state;
    alarm(UNDER_TSAN || UNDER_ASAN ? 4 * SECONDS : SECONDS);
    return 0;
}

/* Rows dense but for a gap, heads inside tokens; data only where there are elements. */
static attn_tensor strided(const size_t size[4], float *data) {
    const bool empty = size[0] == 0 || size[1] == 0 || size[2] == 0 || size[3] == 0;
    const attn_tensor t = {.data = empty ? NULL : data,
                           .dtype = ATTN_F32,
                           .size = {size[0], size[1], size[2], size[3]},
                           .stride = {64, 16, 32, 1}};
    return t;
}

/* Views that repeat one row, as inputs may. */
static attn_tensor repeated(const size_t size[4], float *row) {
    attn_tensor t = strided(size, row);
    t.stride[0] = t.stride[1] = t.stride[2] = 0;
    return t;
}

static attn_tensor empty_of(const size_t size[4], attn_dtype dtype) {
    return attn_tensor_bthd(NULL, dtype, size[0], size[2], size[1], size[3]);
}

/* -- attention -- */

enum { B, H, TQ, TK, D, E, SIZES };

/* A call with all that it can write. */
typedef struct attention {
    attn_tensor q, k, v, out, bias, mask, weights;
    attn_sdpa_params p;
    attn_top_keys top;
    attn_rotary rotary;
} attention;

static void set_attention(attention *a, const size_t n[SIZES], bool averaged) {
    const size_t G = n[H] ? 1 : 0, heads = averaged ? 1 : n[H];
    a->q = strided((const size_t[]){n[B], n[H], n[TQ], n[D]}, new_floats(256));
    a->k = strided((const size_t[]){n[B], G, n[TK], n[D]}, new_floats(256));
    a->v = strided((const size_t[]){n[B], G, n[TK], n[E]}, new_floats(256));
    a->out = strided((const size_t[]){n[B], n[H], n[TQ], n[E]}, new_floats(256));
    a->bias = strided((const size_t[]){n[B], 1, n[TQ], n[TK]}, new_floats(256));
    a->weights = strided((const size_t[]){n[B], heads, n[TQ], n[TK]}, new_floats(256));
    fill_normal(a->q), fill_normal(a->k), fill_normal(a->v), fill_normal(a->bias);
    ATTN_INIT(&a->p);
    a->p.bias = &a->bias;
    a->p.weights = &a->weights;
    a->p.lse = new_floats(64);
    a->p.entropy = new_floats(64);
    a->p.largest_scores = new_floats(64);
    a->p.key_mass = new_floats(64);
    a->top = (attn_top_keys){2, (int64_t *)(void *)new_doubles(64), new_floats(64)};
    a->p.top_keys = &a->top;
}

static void check_attention(const attention *a, const size_t n[SIZES]) {
    const size_t rows = n[B] * n[H] * n[TQ];
    for (size_t i = 0; i < element_count(a->out); i++)
        assert_true(n[TK] ? isfinite(value(a->out, i)) : value(a->out, i) == 0);
    for (size_t i = 0; i < rows; i++)
        assert_true(n[TK] ? isfinite(a->p.lse[i]) : a->p.lse[i] == -INFINITY);
    for (size_t i = 0; i < rows; i++)
        assert_true(n[TK] ? isfinite(a->p.entropy[i]) : a->p.entropy[i] == 0);
    for (size_t i = 0; i < n[B] * n[H] * n[TK]; i++)
        assert_true(n[TQ] ? a->p.key_mass[i] > 0 : a->p.key_mass[i] == 0);
    for (size_t i = 0; i < element_count(a->weights); i++)
        assert_true(n[H] ? value(a->weights, i) > 0 : value(a->weights, i) == 0);
}

static void test_attention_with_a_size_of_0(void **state) {
    attn_context *context = new_context_of(2, 0);
    (void)state;
    for (size_t zero = 0; zero < SIZES; zero++)
        for (size_t averaged = 0; averaged < 2; averaged++) {
            size_t n[SIZES] = {2, 2, 2, 3, 4, 4}, bytes;
            attention a;
            n[zero] = 0;
            set_attention(&a, n, averaged);
            name_case("size %zu is 0, %zu", zero, averaged);
            assert_ok(context, attn_sdpa_scratch_size(context, &a.q, &a.k, &a.v, &a.out, &a.p, &bytes));
            assert_ok(context, attn_sdpa(context, &a.q, &a.k, &a.v, &a.out, &a.p));
            check_attention(&a, n);
            end_case();
        }
}

static void test_attention_with_a_size_of_0_and_a_huge_one(void **state) {
    attn_context *context = new_context_of(2, 0);
    attn_rotary rotary;
    attn_sdpa_params p;
    (void)state;
    ATTN_INIT(&rotary);
    rotary.positions = 8;
    rotary.cos = rotary.sin = new_floats(16);
    ATTN_INIT(&p);
    p.rotary = &rotary;
    for (size_t zero = 0; zero < SIZES; zero++)
        for (size_t huge = 0; huge < SIZES; huge++) {
            size_t n[SIZES] = {2, 2, 2, 3, 4, 4}, bytes;
            if (zero == TK || zero == D || huge == zero || huge >= D)
                continue;
            n[zero] = 0;
            n[huge] = HUGE_SIZE;
            const size_t G = n[H] ? 1 : 0;
            float *row = new_floats(16);
            const attn_tensor q = repeated((const size_t[]){n[B], n[H], n[TQ], n[D]}, row);
            const attn_tensor k = repeated((const size_t[]){n[B], G, n[TK], n[D]}, row);
            const attn_tensor v = repeated((const size_t[]){n[B], G, n[TK], n[E]}, row);
            const attn_tensor out = empty_of((const size_t[]){n[B], n[H], n[TQ], n[E]}, ATTN_F32);
            name_case("size %zu is 0, size %zu is 2^40", zero, huge);
            p.rotary = zero == B ? &rotary : NULL;
            assert_ok(context, attn_sdpa(context, &q, &k, &v, &out, &p));
            p.rotary = huge == B && zero != E ? &rotary : NULL;
            assert_ok(context, attn_sdpa(context, &q, &k, &v, &out, &p));
            assert_ok(context, attn_sdpa_scratch_size(context, &q, &k, &v, &out, NULL, &bytes));
            assert_int_equal(bytes, 0);
        }
    const size_t none[] = {HUGE_SIZE, 1, 1, 0};
    const attn_tensor x = empty_of(none, ATTN_F32);
    assert_ok(context, attn_sdpa(context, &x, &x, &x, &x, NULL));
}

/* The average over no heads. */
static void test_weights_of_no_heads_are_0(void **state) {
    attn_context *context = new_context_of(1, 0);
    const attn_stage stages[] = {ATTN_STAGE_PROBABILITIES, ATTN_STAGE_RAW, ATTN_STAGE_CAPPED, ATTN_STAGE_BIASED};
    (void)state;
    for (size_t i = 0; i < COUNT(stages); i++) {
        attention a;
        const size_t n[SIZES] = {2, 0, 2, 3, 4, 4};
        set_attention(&a, n, true);
        a.p.weights_stage = stages[i];
        assert_ok(context, attn_sdpa(context, &a.q, &a.k, &a.v, &a.out, &a.p));
        check_attention(&a, n);
    }
}

/* A mask of no columns masks every key, wherever its data is, also where ALiBi might end. */
static void test_masks_of_no_columns_mask_all(void **state) {
    attn_context *context = new_context_of(1, 0);
    const size_t size[] = {1, 1, 2, 4}, none[] = {1, 1, 1, 0};
    const attn_tensor bias = empty_of(none, ATTN_F32), mask = empty_of(none, ATTN_BOOL);
    (void)state;
    for (size_t which = 0; which < 6; which++) {
        float lse[2];
        attn_sdpa_params p;
        ATTN_INIT(&p);
        const attn_tensor x = strided(size, new_floats(256)), out = strided(size, new_floats(256));
        fill_normal(x);
        p.lse = lse;
        p.pad_masks = 1;
        p.polarity = ATTN_DROP;
        p.alibi = which >= 3 ? ATTN_ALIBI_STANDARD : ATTN_ALIBI_NONE;
        p.bias = which % 3 == 0 ? &bias : NULL;
        p.mask = which % 3 == 1 ? &mask : NULL;
        p.key_mask = which % 3 == 2 ? &mask : NULL;
        name_case("mask %zu", which);
        assert_ok(context, attn_sdpa(context, &x, &x, &x, &out, &p));
        for (size_t i = 0; i < element_count(out); i++)
            assert_true(value(out, i) == 0);
        assert_true(lse[0] == -INFINITY && lse[1] == -INFINITY);
    }
}

/* -- layers -- */

static float *normal(size_t n) {
    float *x = new_floats(n);
    for (size_t i = 0; i < n; i++)
        x[i] = random_normal();
    return x;
}

static attn_linear_params linear_params(void) {
    attn_linear_params p;
    ATTN_INIT(&p);
    p.in_width = p.out_width = MODEL;
    p.weight = normal(MODEL * MODEL);
    return p;
}

static attn_mha_params mha_params(void) {
    attn_mha_params p;
    ATTN_INIT(&p);
    p.model_width = MODEL;
    p.heads = 2;
    p.in_weight = normal((size_t)3 * MODEL * MODEL);
    p.out_weight = normal((size_t)MODEL * MODEL);
    return p;
}

/* Sequences, tokens: huge, and none of the other. */
static void pick(size_t which, size_t *sequences, size_t *tokens) {
    *sequences = which == 0 ? HUGE_SIZE : which == 1 ? 0 : 2;
    *tokens = which == 1 ? HUGE_SIZE : 0;
}

static void test_linear_of_nothing(void **state) {
    attn_context *context = new_context_of(2, 0);
    const attn_linear_params params = linear_params();
    attn_linear *linear;
    (void)state;
    assert_ok(context, attn_linear_create(context, &params, &linear));
    for (size_t which = 0; which < 3; which++) {
        size_t N, T, bytes;
        pick(which, &N, &T);
        const attn_tensor x = attn_tensor_btm(NULL, ATTN_BF16, N, T, MODEL),
                          out = attn_tensor_btm(NULL, ATTN_F16, N, T, MODEL);
        assert_ok(context, attn_linear_forward(context, linear, &x, &out));
        assert_ok(context, attn_linear_scratch_size(context, linear, &x, &out, &bytes));
    }
    attn_linear_destroy(linear);
}

static void test_layers_of_nothing(void **state) {
    attn_context *context = new_context_of(2, 0);
    const attn_mha_params params = mha_params();
    attn_block_params block_params;
    attn_mha *mha;
    attn_block *block;
    (void)state;
    ATTN_INIT(&block_params);
    block_params.self_attention = block_params.cross_attention = &params;
    assert_ok(context, attn_mha_create(context, &params, &mha));
    assert_ok(context, attn_block_create(context, &block_params, &block));
    for (size_t which = 0; which < 3; which++) {
        size_t N, T, bytes;
        attn_block_inputs inputs;
        pick(which, &N, &T);
        const attn_tensor x = attn_tensor_btm(NULL, ATTN_BF16, N, T, MODEL);
        const attn_tensor keys = repeated((const size_t[]){N, 1, 3, MODEL}, new_floats(16));
        ATTN_INIT(&inputs);
        inputs.encoded = &keys;
        name_case("case %zu", which);
        assert_ok(context, attn_mha_forward(context, mha, &x, NULL, NULL, &x, NULL));
        assert_ok(context, attn_mha_forward(context, mha, &x, &keys, &keys, &x, NULL));
        assert_ok(context, attn_mha_scratch_size(context, mha, &x, &keys, &keys, &x, NULL, &bytes));
        assert_int_equal(bytes, 0);
        assert_ok(context, attn_block_forward(context, block, &x, &x, &inputs));
    }
    attn_block_destroy(block);
    attn_mha_destroy(mha);
}

/* No keys: each row of the layer is its bias, 0 here. */
static void test_layers_without_keys(void **state) {
    attn_context *context = new_context_of(2, 0);
    const attn_mha_params params = mha_params();
    attn_block_params block_params;
    attn_block_inputs inputs;
    attn_sdpa_params p;
    attn_mha *mha;
    attn_block *block;
    (void)state;
    ATTN_INIT(&block_params);
    ATTN_INIT(&inputs);
    ATTN_INIT(&p);
    block_params.self_attention = block_params.cross_attention = &params;
    assert_ok(context, attn_mha_create(context, &params, &mha));
    assert_ok(context, attn_block_create(context, &block_params, &block));
    attn_tensor none = strided((const size_t[]){2, 1, 0, MODEL}, NULL);
    const attn_tensor x = strided((const size_t[]){2, 1, 2, MODEL}, new_floats(256));
    const attn_tensor out = strided((const size_t[]){2, 1, 2, MODEL}, new_floats(256));
    fill_normal(x);
    for (size_t dtype = ATTN_F32; dtype <= ATTN_BF16; dtype++) {
        none.dtype = (attn_dtype)dtype;
        inputs.encoded = &none;
        assert_ok(context, attn_mha_forward(context, mha, &x, &none, &none, &out, NULL));
        for (size_t i = 0; i < element_count(out); i++)
            assert_true(value(out, i) == 0);
        assert_ok(context, attn_block_forward(context, block, &x, &out, &inputs));
        for (size_t i = 0; i < element_count(out); i++)
            assert_true(isfinite(value(out, i)));
        p.key_mass = new_floats(2 * 2 * 2);
        assert_ok(context, attn_mha_forward(context, mha, &none, &x, &x, &none, &p));
        for (size_t i = 0; i < 8; i++)
            assert_true(p.key_mass[i] == 0);
    }
    attn_block_destroy(block);
    attn_mha_destroy(mha);
}

static void test_caches_and_nothing(void **state) {
    attn_context *context = new_context_of(2, 0);
    attn_cache_params params;
    attn_cache_append_params append;
    attn_cache *cache;
    (void)state;
    ATTN_INIT(&params);
    params.batch = 2, params.capacity = 8, params.kv_heads = 2, params.head_width = 4;
    ATTN_INIT(&append);
    append.counts = new_integers((const int64_t[]){0, 0}, 2);
    assert_ok(context, attn_cache_create(context, &params, &cache));
    const attn_tensor none = empty_of((const size_t[]){2, 2, 0, 4}, ATTN_BF16);
    const attn_tensor many = repeated((const size_t[]){2, 2, HUGE_SIZE, 4}, new_floats(4));
    const attn_tensor heads = empty_of((const size_t[]){2, HUGE_SIZE, 0, 4}, ATTN_F32);
    assert_ok(context, attn_cache_append(context, cache, &none, &none, NULL));
    assert_ok(context, attn_cache_append(context, cache, &many, &many, &append));
    assert_ok(context, attn_cache_attend(context, cache, &none, &none, NULL));
    assert_ok(context, attn_cache_attend(context, cache, &heads, &heads, NULL));
    const attn_tensor q = strided((const size_t[]){2, 2, 2, 4}, new_floats(256));
    const attn_tensor out = strided((const size_t[]){2, 2, 2, 4}, new_floats(256));
    fill_normal(q);
    assert_ok(context, attn_cache_attend(context, cache, &q, &out, NULL));
    for (size_t i = 0; i < element_count(out); i++)
        assert_true(value(out, i) == 0);
    attn_cache_destroy(cache);
}

/* -- what works on rows -- */

static void map_nothing(attn_context *context, const size_t size[4]) {
    const attn_tensor x = empty_of(size, ATTN_F32), mask = empty_of(size, ATTN_BOOL);
    attn_rotary rotary;
    ATTN_INIT(&rotary);
    rotary.positions = 1;
    rotary.cos = rotary.sin = new_floats(8);
    assert_ok(context, attn_tensor_copy(context, &x, &x));
    assert_ok(context, attn_split_heads(context, size[0], size[2], size[1], size[3], NULL, NULL));
    assert_ok(context, attn_concat_heads(context, size[0], size[2], size[1], size[3], NULL, NULL));
    assert_ok(context, attn_norm(context, &x, &x, NULL));
    assert_ok(context, attn_activate(context, ATTN_GELU, &x, &x));
    assert_ok(context, attn_dropout_mask(context, 0.5F, 1, &mask));
    if (size[3] <= 16)
        assert_ok(context, attn_rotate(context, &x, &x, &rotary, NULL));
    if (size[3])
        assert_ok(context, attn_merge(context, &x, NULL, &x, NULL));
}

static void embed_nothing(attn_context *context, size_t N, size_t T, size_t M) {
    const attn_tensor out = attn_tensor_btm(NULL, ATTN_F32, N, T, M);
    const int64_t id = -1;
    attn_norm_params norm;
    attn_embed_params p;
    ATTN_INIT(&norm);
    ATTN_INIT(&p);
    p.positions = ATTN_POSITIONS_SINUSOIDAL;
    p.norm = &norm;
    p.ids = &id;
    assert_ok(context, attn_embed(context, &p, &out));
    p.ids = NULL;
    p.vectors = &out;
    assert_ok(context, attn_embed(context, &p, &out));
}

static void test_maps_of_nothing(void **state) {
    attn_context *context = new_context_of(2, 0);
    (void)state;
    for (size_t zero = 0; zero < 4; zero++)
        for (size_t huge = 0; huge < 4; huge++) {
            size_t size[4] = {2, 2, 2, 4};
            size[huge] = HUGE_SIZE;
            size[zero] = 0;
            name_case("size %zu is 0, size %zu is 2^40", zero, huge);
            map_nothing(context, size);
            if (zero != 1)
                embed_nothing(context, size[0], size[2], size[3]);
        }
}

static void test_merge_of_no_columns(void **state) {
    attn_context *context = new_context_of(1, 0);
    const attn_tensor x = strided((const size_t[]){1, 1, 2, 0}, NULL);
    float lse[2] = {0, -INFINITY}, part[2] = {0, 1};
    (void)state;
    assert_ok(context, attn_merge(context, &x, lse, &x, part));
    assert_true(fabsf(lse[0] - logf(2)) < 1e-6F && lse[1] == 1);
}

static void test_patches_of_nothing(void **state) {
    attn_context *context = new_context_of(1, 0);
    const size_t images[][4] = {{HUGE_SIZE, 0, 2, 2}, {HUGE_SIZE, 1, 0, 2}, {0, 1, HUGE_SIZE, 2}, {2, 0, HUGE_SIZE, 2}};
    (void)state;
    for (size_t i = 0; i < COUNT(images); i++) {
        const size_t *n = images[i];
        const attn_tensor image = attn_tensor_bhtd(NULL, ATTN_F32, n[0], n[1], n[2], n[3]);
        const attn_tensor out = attn_tensor_btm(NULL, ATTN_F32, n[0], n[2] / 2, n[1] * 4);
        assert_ok(context, attn_patchify(context, &image, 2, 2, &out));
    }
}

static void test_softmax_of_no_columns(void **state) {
    attn_context *context = new_context_of(2, 0);
    float lse[3] = {0, 0, 0};
    (void)state;
    assert_ok(context, attn_softmax(context, HUGE_SIZE, 0, NULL, 0, NULL, 0, NULL));
    assert_ok(context, attn_softmax(context, 0, HUGE_SIZE, NULL, HUGE_SIZE, NULL, HUGE_SIZE, NULL));
    assert_ok(context, attn_softmax(context, 3, 0, NULL, 5, NULL, 7, lse));
    assert_true(lse[0] == -INFINITY && lse[1] == -INFINITY && lse[2] == -INFINITY);
}

/* -- options at the ends of their range -- */

static void test_positions_do_not_wrap(void **state) {
    attn_context *context = new_context_of(1, 0);
    attn_embed_params p;
    float vector[2 * MODEL] = {0}, out[2 * MODEL] = {0};
    const attn_tensor x = attn_tensor_btm(vector, ATTN_F32, 1, 2, MODEL),
                      y = attn_tensor_btm(out, ATTN_F32, 1, 2, MODEL);
    const attn_positions kinds[] = {ATTN_POSITIONS_SINUSOIDAL, ATTN_POSITIONS_SIN_COS};
    (void)state;
    ATTN_INIT(&p);
    p.vectors = &x;
    for (size_t i = 0; i < COUNT(kinds); i++) {
        p.positions = kinds[i];
        p.first_position = SIZE_MAX;
        assert_status(context, attn_embed(context, &p, &y), ATTN_ERROR_VALUE);
        assert_mentions(attn_context_last_error(context), "params.first_position");
        p.first_position = (size_t)INT64_MAX - 1;
        assert_status(context, attn_embed(context, &p, &y), ATTN_ERROR_VALUE);
        p.first_position = (size_t)INT64_MAX - 2;
        assert_ok(context, attn_embed(context, &p, &y));
    }
}

static void test_positions_at_the_ends(void **state) {
    attn_context *context = new_context_of(1, 0);
    const int64_t ends[] = {INT64_MIN,     INT64_MIN + 1, -PTRDIFF_MAX / 4 - 1, -1, PTRDIFF_MAX / 4,
                            INT64_MAX - 1, INT64_MAX};
    const attn_tensor x = new_normal(BHTD, 1, 1, 3, 4), out = new_tensor(BHTD, 1, 1, 3, 4);
    (void)state;
    for (size_t n = 0; n < COUNT(ends); n++)
        for (size_t left = 0; left < COUNT(ends); left++)
            for (size_t alibi = 0; alibi < 2; alibi++) {
                attn_sdpa_params p;
                const attn_window window = {ends[left], ends[left]};
                ATTN_INIT(&p);
                p.causal = ATTN_CAUSAL_OFFSET;
                p.causal_offset = &ends[n];
                p.window = &window;
                p.alibi = alibi ? ATTN_ALIBI_STANDARD : ATTN_ALIBI_NONE;
                assert_ok(context, attn_sdpa(context, &x, &x, &x, &out, &p));
                for (size_t i = 0; i < element_count(out); i++)
                    assert_true(ends[n] < -2 ? value(out, i) == 0 : isfinite(value(out, i)));
            }
}

/* Every number of the tables' parameters at the ends of its range: tables are finite, or the field is named. */
static void test_rotary_tables_are_finite(void **state) {
    enum { POSITIONS = 3 };
    const double ends[] = {5e-324, 1e-310, 1e-300, 1e-30, 1 + 1e-15, 1e30, 3.4e38, 3.5e38, 1e300, 1.7e308};
    const size_t widths[] = {2, 4, 64}, lengths[] = {1, 2, 4096, SIZE_MAX};
    attn_context *context = new_context_of(1, 0);
    size_t made = 0;
    (void)state;
    for (int scaling = ATTN_ROTARY_PLAIN; scaling <= ATTN_ROTARY_LLAMA3; scaling++)
        for (size_t field = 0; field < 7; field++)
            for (size_t n = 0; n < COUNT(ends) * COUNT(widths) * COUNT(lengths); n++) {
                float cosines[POSITIONS * 32], sines[POSITIONS * 32];
                const size_t width = widths[n / COUNT(ends) % COUNT(widths)];
                attn_rotary_tables_params p;
                ATTN_INIT(&p);
                double *const fields[] = {&p.base,      &p.factor,     &p.beta_fast,       &p.beta_slow,
                                          &p.low_turns, &p.high_turns, &p.attention_factor};
                p.scaling = (attn_rotary_scaling)scaling;
                p.factor = scaling == ATTN_ROTARY_PLAIN ? 0 : 4;
                p.original_positions = scaling >= ATTN_ROTARY_DYNAMIC ? lengths[n / COUNT(ends) / COUNT(widths)] : 0;
                *fields[field] = ends[n % COUNT(ends)];
                if (attn_rotary_tables(context, POSITIONS, width, &p, cosines, sines) != ATTN_OK) {
                    const char *message = attn_context_last_error(context);
                    assert_true(strstr(message, "params.") || strncmp(message, "width", 5) == 0);
                    continue;
                }
                made++;
                for (size_t i = 0; i < POSITIONS * width / 2; i++)
                    assert_true(isfinite(cosines[i]) && isfinite(sines[i]));
            }
    assert_true(made > 300);
}

/* What is computed without cancellation: no longer than the original length, nothing is scaled. */
static void test_dynamic_scaling_by_a_huge_factor(void **state) {
    attn_context *context = new_context_of(1, 0);
    float plain[2][3 * 4], scaled[2][3 * 4];
    attn_rotary_tables_params p;
    (void)state;
    ATTN_INIT(&p);
    assert_ok(context, attn_rotary_tables(context, 3, 8, &p, plain[0], plain[1]));
    p.scaling = ATTN_ROTARY_DYNAMIC;
    p.factor = 1e30;
    p.original_positions = 4;
    assert_ok(context, attn_rotary_tables(context, 3, 8, &p, scaled[0], scaled[1]));
    assert_memory_equal(plain, scaled, sizeof plain);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_attention_with_a_size_of_0, start, end_test),
        cmocka_unit_test_setup_teardown(test_attention_with_a_size_of_0_and_a_huge_one, start, end_test),
        TEST(test_weights_of_no_heads_are_0),
        TEST(test_masks_of_no_columns_mask_all),
        cmocka_unit_test_setup_teardown(test_linear_of_nothing, start, end_test),
        cmocka_unit_test_setup_teardown(test_layers_of_nothing, start, end_test),
        TEST(test_layers_without_keys),
        cmocka_unit_test_setup_teardown(test_caches_and_nothing, start, end_test),
        cmocka_unit_test_setup_teardown(test_maps_of_nothing, start, end_test),
        cmocka_unit_test_setup_teardown(test_patches_of_nothing, start, end_test),
        cmocka_unit_test_setup_teardown(test_softmax_of_no_columns, start, end_test),
        TEST(test_merge_of_no_columns),
        TEST(test_positions_do_not_wrap),
        TEST(test_positions_at_the_ends),
        TEST(test_rotary_tables_are_finite),
        TEST(test_dynamic_scaling_by_a_huge_factor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
