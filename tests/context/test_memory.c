/* SPDX-License-Identifier: BSD-3-Clause */
/* Where memory comes from, how much, and what happens when there is none. */
#include <stdlib.h>
#include <string.h>

#include "support/block_case.h"
#include "support/layer.h"
#include "support/meter.h"
#include "support/sdpa_case.h"

static struct sdpa_case small_case(void) { return sdpa_case_of(2, 4, 2, 70, 130, 16, 24); }

static size_t sdpa_scratch(attn_context *context, const struct sdpa_case *c, const struct sdpa_result *r) {
    size_t bytes = 0;
    attn_sdpa_params params = c->params;
    params.lse = r->lse.data;
    params.weights = &r->probabilities;
    assert_ok(context, attn_sdpa_scratch_size(context, &c->q, &c->k, &c->v, &r->out, &params, &bytes));
    return bytes;
}

/* After reserve there is no allocation, and nobody but the allocator gives memory. */
static void reserve_then_no_allocation(void **state) {
    (void)state;
    struct meter m = {0};
    seed(1);
    const struct sdpa_case c = small_case();
    const struct sdpa_result want = run_sdpa(new_context_of(1, 0), &c);
    attn_context *context = new_metered(&m, 2);
    assert_ok(context, attn_context_reserve(context, sdpa_scratch(context, &c, &want)));
    const size_t calls = m.calls;
    for (int i = 0; i < 3; i++) {
        const struct sdpa_result got = run_sdpa(context, &c);
        assert_same_result(&got, &want);
    }
    assert_int_equal(m.calls, calls);
    attn_context_destroy(context);
    assert_int_equal(m.live, 0);
}

static void reserve_for_a_layer(void **state) {
    (void)state;
    struct meter m = {0};
    size_t bytes = 0;
    seed(2);
    struct mha_case c = mha_case_of(48, 4, 2, 65);
    fill_layer(&c.layer, true, ALL_BIASES);
    c.lse = c.probabilities = false;
    attn_context *context = new_metered(&m, 2);
    attn_mha *mha = new_layer(context, &c.layer);
    const attn_tensor out = new_tensor(BHTD, 2, 1, 65, 48);
    assert_ok(context, attn_mha_scratch_size(context, mha, &c.query, NULL, NULL, &out, &c.params, &bytes));
    assert_true(bytes >= 4 * sizeof(float) * 2 * 65 * 48); /* Q, K, V and the heads' output */
    assert_ok(context, attn_context_reserve(context, bytes));
    const size_t calls = m.calls;
    const struct mha_result r = run_mha(context, mha, &c);
    assert_int_equal(m.calls, calls);
    attn_context_destroy(context);
    attn_mha_destroy(mha);
    assert_int_equal(m.live, 0);
    assert_mha_near(&c, &r);
}

/* The first call grows the scratch once; smaller and equal ones find it there. */
static void grows_once(void **state) {
    (void)state;
    struct meter m = {0};
    seed(3);
    const struct sdpa_case c = small_case(), smaller = sdpa_case_of(1, 1, 1, 3, 5, 8, 8);
    attn_context *context = new_metered(&m, 1);
    (void)run_sdpa(context, &c);
    const size_t calls = m.calls, held = describe(context).scratch_bytes;
    (void)run_sdpa(context, &smaller);
    (void)run_sdpa(context, &c);
    assert_int_equal(m.calls, calls);
    assert_ok(context, attn_context_reserve(context, 1));
    assert_int_equal(describe(context).scratch_bytes, held);
    attn_context_destroy(context);
    assert_int_equal(m.live, 0);
}

/* Memory does not grow with Tq·Tk, nor with Tk alone: at most 3 MB a thread. */
static void memory_is_of_a_tile(void **state) {
    (void)state;
    static const size_t widths[] = {16, 64, 96, 128, 256};
    attn_context *context = new_context_of(1, 0);
    for (size_t n = 0; n < COUNT(widths); n++) {
        size_t bytes[2] = {0};
        for (size_t i = 0; i < 2; i++) {
            const size_t T = i ? 1 << 20 : 1 << 16;
            const attn_tensor x = attn_tensor_bhtd(NULL, ATTN_F32, 1, 8, T, widths[n]);
            assert_ok(context, attn_sdpa_scratch_size(context, &x, &x, &x, &x, NULL, &bytes[i]));
        }
        assert_int_equal(bytes[1], bytes[0]);
        assert_true(bytes[1] <= 3 << 20);
    }
}

/* Sequences of different lengths need what the longest does, and a little to tell them apart. */
static void lengths_take_little(void **state) {
    (void)state;
    static const size_t tokens[] = {1, 7, 70, 1000, 40000};
    attn_context *context = new_context_of(2, 0);
    for (size_t i = 0; i < COUNT(tokens); i++) {
        const int64_t lengths[2] = {(int64_t)tokens[i], 1};
        const attn_tensor x = attn_tensor_bhtd(NULL, ATTN_F32, 2, 6, tokens[i], 64);
        size_t even = 0, varied = 0;
        attn_sdpa_params p = {.struct_size = sizeof p};
        assert_ok(context, attn_sdpa_scratch_size(context, &x, &x, &x, &x, &p, &even));
        p.query_lengths = p.key_lengths = lengths;
        assert_ok(context, attn_sdpa_scratch_size(context, &x, &x, &x, &x, &p, &varied));
        name_case("%zu tokens: %zu bytes, of different lengths %zu", tokens[i], even, varied);
        assert_true(varied <= even + even / 4 + 1024);
        end_case();
    }
}

/* What is asked for has a size or other that is larger each time. */
typedef attn_status size_question(attn_context *context, size_t n, size_t *bytes);

static attn_status ask_rows(attn_context *context, size_t B, size_t H, size_t Tq, size_t Tk, size_t k, size_t *bytes) {
    float entropy = 0;
    int64_t keys = 0;
    const attn_top_keys top = {.k = k, .keys = &keys};
    const attn_tensor q = attn_tensor_bhtd(NULL, ATTN_F32, B, H, Tq, 1),
                      x = attn_tensor_bhtd(NULL, ATTN_F32, B, 1, Tk, 1);
    const attn_sdpa_params p = {.struct_size = sizeof p, .entropy = k ? NULL : &entropy, .top_keys = &top};
    return attn_sdpa_scratch_size(context, &q, &x, &x, &q, &p, bytes);
}

static attn_status of_batch(attn_context *context, size_t n, size_t *bytes) {
    return ask_rows(context, n, 1, 1, 1, 0, bytes);
}

static attn_status of_heads(attn_context *context, size_t n, size_t *bytes) {
    return ask_rows(context, 1, n, 1, 1, 0, bytes);
}

static attn_status of_queries(attn_context *context, size_t n, size_t *bytes) {
    return ask_rows(context, 1, 1, n, 1, 0, bytes);
}

static attn_status of_keys(attn_context *context, size_t n, size_t *bytes) {
    return ask_rows(context, 1, 1, 1, n, 0, bytes);
}

static attn_status of_top_keys(attn_context *context, size_t n, size_t *bytes) {
    return ask_rows(context, 1, 3, 5, 1, n, bytes);
}

static attn_status of_layer(attn_context *context, size_t n, size_t *bytes) {
    struct mha_case c = mha_case_of(6, 2, 1, 1);
    fill_layer(&c.layer, true, 0);
    attn_mha *mha = new_layer(context, &c.layer);
    const attn_tensor x = attn_tensor_btm(NULL, ATTN_F32, n, 3, 6);
    const attn_status status = attn_mha_scratch_size(context, mha, &x, NULL, NULL, &x, NULL, bytes);
    attn_mha_destroy(mha);
    return status;
}

static attn_status of_linear(attn_context *context, size_t n, size_t *bytes) {
    static const float weight[6];
    const attn_linear_params p = {.struct_size = sizeof p, .in_width = 2, .out_width = 3, .weight = weight};
    const attn_tensor x = {NULL, ATTN_F32, {3, 1, n, 2}, {1, 0, 6, 1}}, y = attn_tensor_btm(NULL, ATTN_F32, 3, n, 3);
    attn_linear *linear;
    assert_ok(context, attn_linear_create(context, &p, &linear));
    const attn_status status = attn_linear_scratch_size(context, linear, &x, &y, bytes);
    attn_linear_destroy(linear);
    return status;
}

/* Up to a size that is refused, more never takes less; beyond, everything is refused. */
static void sizes_never_wrap(void **state) {
    (void)state;
    static size_question *const questions[] = {of_batch,    of_heads, of_queries, of_keys,
                                               of_top_keys, of_layer, of_linear};
    attn_context *context = new_context_of(1000, 0);
    for (size_t i = 0; i < COUNT(questions); i++) {
        size_t bytes = 0, largest = 0;
        attn_status status = ATTN_OK;
        for (unsigned bit = 0; bit < 8 * sizeof(size_t); bit++) {
            const attn_status before = status;
            name_case("question %zu, 2^%u", i, bit);
            status = questions[i](context, (size_t)1 << bit, &bytes);
            assert_true(status == ATTN_ERROR_OVERFLOW || (status == ATTN_OK && before == ATTN_OK && bytes >= largest));
            largest = bytes;
            end_case();
        }
        assert_int_equal(status, ATTN_ERROR_OVERFLOW);
    }
}

/* The answer is the same with the data and without, whatever is asked for: here a step whose keys threads could share.
 */
static void sizes_without_data(void **state) {
    (void)state;
    attn_context *context = new_context_of(3, 0);
    const struct sdpa_case c = sdpa_case_of(1, 1, 1, 1, 2100, 64, 64);
    struct sdpa_result r = new_sdpa_result(&c);
    const size_t with_data = sdpa_scratch(context, &c, &r);
    r.probabilities.data = NULL;
    assert_int_equal(sdpa_scratch(context, &c, &r), with_data);
    end_case();
}

/* All that libattn does with memory, step by step, until the first that fails. Steps that have succeeded are not done
 * again: once the allocator gives memory again, the next call goes on. */
struct life {
    const struct sdpa_case *sdpa;
    const struct mha_case *layer;
    attn_context_options options;
    attn_context *context;
    attn_mha *mha;
    attn_tensor sdpa_out, mha_out;
    size_t step;
};

static attn_status live(struct life *l) {
    attn_status status = ATTN_OK;
    for (; l->step < 4; l->step++) {
        if (l->step == 0)
            status = attn_context_create(&l->options, &l->context);
        if (l->step == 1)
            status = attn_sdpa(l->context, &l->sdpa->q, &l->sdpa->k, &l->sdpa->v, &l->sdpa_out, &l->sdpa->params);
        if (l->step == 2)
            status = attn_mha_create(l->context, &l->layer->layer, &l->mha);
        if (l->step == 3)
            status = attn_mha_forward(l->context, l->mha, &l->layer->query, NULL, NULL, &l->mha_out, NULL);
        if (status != ATTN_OK)
            break;
    }
    return status;
}

static void assert_nothing_happened(const struct life *l) {
    assert_true(strlen(attn_context_last_error(l->context)) > 0);
    if (l->step == 0)
        assert_null(l->context);
    if (l->step <= 1)
        assert_untouched(l->sdpa_out);
    if (l->step <= 2)
        assert_null(l->mha);
    assert_untouched(l->mha_out);
}

/* Returns whether the allocator got as far as to fail. */
static bool check_failing(size_t fail_at, const struct sdpa_case *sdpa, const struct mha_case *layer) {
    struct meter m = {.fail_at = fail_at};
    struct life l = {.sdpa = sdpa, .layer = layer, .options = metered(&m, 2)};
    l.sdpa_out = new_tensor(BHTD, 2, 4, 70, 24);
    l.mha_out = new_tensor(BHTD, 4, 1, 90, 32);
    name_case("allocation %zu fails", fail_at);
    const attn_status first = live(&l);
    if (first != ATTN_OK) {
        assert_status(l.context, first, ATTN_ERROR_MEMORY);
        assert_nothing_happened(&l);
        assert_ok(l.context, live(&l));
    }
    const answer want = reference_sdpa(sdpa->q, sdpa->k, sdpa->v, &sdpa->params);
    assert_near(l.sdpa_out, want.out, promised(1));
    attn_mha_destroy(l.mha);
    attn_context_destroy(l.context);
    assert_int_equal(m.live, 0);
    return m.calls >= fail_at;
}

static void every_allocation_fails_once(void **state) {
    (void)state;
    seed(4);
    const struct sdpa_case sdpa = small_case();
    struct mha_case layer = mha_case_of(32, 2, 4, 90);
    fill_layer(&layer.layer, false, ALL_BIASES);
    size_t n = 1;
    while (check_failing(n, &sdpa, &layer))
        n++;
    assert_true(n > 4); /* a context, its scratch, a layer, more scratch */
}

/* Calls that want scratch, and cannot have it at first. */
struct wanting {
    attn_context *context;
    attn_linear *linear;
    attn_block *block;
    attn_cache *cache;
    attn_rotary rotary;
    attn_tensor x, halves, out;
};

enum { WIDTH = 24, TOKENS = 5, CALLS = 5 };

static attn_status project(const struct wanting *w) {
    return attn_linear_forward(w->context, w->linear, &w->halves, &w->out);
}

static attn_status quantize(const struct wanting *w) {
    int8_t bytes[WIDTH * TOKENS];
    return attn_quantize_weight(w->context, ATTN_IN_OUT, WIDTH, TOKENS, w->x.data, bytes, w->out.data);
}

static attn_status rotate(const struct wanting *w) { return attn_rotate(w->context, &w->x, &w->out, &w->rotary, NULL); }

static attn_status run_block(const struct wanting *w) {
    attn_block_inputs inputs;
    ATTN_INIT(&inputs);
    inputs.encoded = &w->x;
    return attn_block_forward(w->context, w->block, &w->x, &w->out, &inputs);
}

static attn_status encode(const struct wanting *w) {
    return attn_block_encode(w->context, w->block, &w->x, w->cache, NULL);
}

static void want(struct wanting *w) {
    struct block_case parts;
    attn_linear_params p = {.struct_size = sizeof p, .in_width = WIDTH, .out_width = WIDTH};
    const attn_cache_params of_cache = {
        .struct_size = sizeof of_cache, .batch = 1, .capacity = 9, .kv_heads = 2, .head_width = WIDTH / 2};
    init_block(&parts, WIDTH, 2, 2 * WIDTH, WHOLE);
    fill_block(&parts, true);
    p.weight = parts.self.out_weight;
    w->x = new_normal(BHTD, 1, 1, TOKENS, WIDTH);
    w->halves = new_copy_of(ATTN_F16, w->x);
    w->out = new_tensor(BHTD, 1, 1, TOKENS, WIDTH);
    w->rotary = (attn_rotary){.struct_size = sizeof w->rotary, .positions = TOKENS, .cos = w->x.data, .sin = w->x.data};
    w->block = new_block(w->context, &parts);
    assert_ok(w->context, attn_linear_create(w->context, &p, &w->linear));
    assert_ok(w->context, attn_cache_create(w->context, &of_cache, &w->cache));
}

typedef attn_status wanting_call(const struct wanting *w);

static void reserves_that_fail(void **state) {
    (void)state;
    static wanting_call *const calls[CALLS] = {project, quantize, rotate, run_block, encode};
    seed(6);
    for (size_t i = 0; i < CALLS; i++) {
        struct meter m = {0};
        struct wanting w = {.context = new_metered(&m, 1)};
        want(&w);
        m.fail_at = m.calls + 1;
        name_case("call %zu", i);
        assert_status(w.context, calls[i](&w), ATTN_ERROR_MEMORY);
        assert_int_equal(m.calls, m.fail_at);
        assert_untouched(w.out);
        assert_int_equal(attn_cache_length(w.cache, 0), 0);
        assert_ok(w.context, calls[i](&w));
        attn_cache_destroy(w.cache);
        attn_block_destroy(w.block);
        attn_linear_destroy(w.linear);
        attn_context_destroy(w.context);
        assert_int_equal(m.live, 0);
        end_case();
    }
}

/* The allocator may give any alignment. */
static void any_alignment(void **state) {
    (void)state;
    seed(5);
    const struct sdpa_case c = small_case();
    struct mha_case layer = mha_case_of(32, 2, 1, 20);
    fill_layer(&layer.layer, true, ALL_BIASES);
    for (size_t skew = 1; skew <= 8; skew *= 2) {
        struct meter m = {.skew = skew};
        attn_context *context = new_metered(&m, 2);
        check_sdpa(context, &c);
        check_mha(context, &layer);
        attn_context_destroy(context);
        assert_int_equal(m.live, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(reserve_then_no_allocation),
                                       TEST(reserve_for_a_layer),
                                       TEST(grows_once),
                                       TEST(memory_is_of_a_tile),
                                       TEST(lengths_take_little),
                                       TEST(sizes_never_wrap),
                                       TEST(sizes_without_data),
                                       TEST(every_allocation_fails_once),
                                       TEST(reserves_that_fail),
                                       TEST(any_alignment)};
    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
