/* SPDX-License-Identifier: BSD-3-Clause */
/* What the headers show or say in passing: the listing of cache.h as it stands there, and single sentences. */
#include "support/reference.h"
#include "support/support.h"

enum { G = 2, H = 4, D = 16, P = 300, STEPS = 5, TOKENS = P + STEPS };

/* -- the head of cache.h -- */

static attn_tensor every_q, every_k, every_v; /* [8,…,TOKENS,D] */
static size_t made;

static void project(size_t T, attn_tensor *q, attn_tensor *k, attn_tensor *v) {
    *q = tokens_of(every_q, made, T);
    *k = tokens_of(every_k, made, T);
    *v = tokens_of(every_v, made, T);
    made += T;
}

/* All sequences get the prefix of the first one. */
static attn_tensor with_prefix(size_t heads) {
    const attn_tensor t = new_normal(BHTD, 8, heads, TOKENS, D);
    for (size_t n = 0; n < element_count(t); n++)
        if (n / D % TOKENS < P)
            *element(t, n) = *element(t, n % (heads * TOKENS * D));
    return t;
}

static void run_listing(attn_context *context, const attn_tensor out[STEPS]) {
    const int steps = STEPS;
    attn_tensor q, k, v;
#define check(status) assert_ok(context, status)
#include "listing.inc"
#undef check
}

static void a_decoder(void **state) {
    (void)state;
    attn_context *context = new_context_of(2, 0);
    attn_tensor out[STEPS];
    attn_sdpa_params params;
    seed(1);
    every_q = with_prefix(H);
    every_k = with_prefix(G);
    every_v = with_prefix(G);
    made = 0;
    for (size_t n = 0; n < STEPS; n++)
        out[n] = new_tensor(BTHD, 8, H, 1, D);
    run_listing(context, out);

    const attn_tensor want = new_tensor(BHTD, 8, H, STEPS, D), q = tokens_of(every_q, P, STEPS);
    ATTN_INIT(&params);
    params.causal = ATTN_CAUSAL_BOTTOM_RIGHT;
    assert_ok(context, attn_sdpa(context, &q, &every_k, &every_v, &want, &params));
    for (size_t n = 0; n < STEPS; n++)
        assert_near(out[n], doubles_of(new_copy(tokens_of(want, n, 1))), promised(1));
}

/* -- mha.h -- */

enum { B = 3, T = 5, M = 8 };

static attn_mha *new_torch_layer(attn_context *context, const float *out_bias) {
    attn_mha_params params;
    attn_mha *mha;
    ATTN_INIT(&params);
    params.model_width = M;
    params.heads = 2;
    params.in_weight = new_normal(BHTD, 1, 1, 3 * M, M).data;
    params.out_weight = new_normal(BHTD, 1, 1, M, M).data;
    params.out_bias = out_bias;
    assert_ok(context, attn_mha_create(context, &params, &mha));
    return mha;
}

static attn_tensor tokens_first(attn_tensor btm) {
    const attn_tensor copy = new_tensor(BHTD, 1, 1, B * T, M);
    const attn_tensor view = {copy.data, ATTN_F32, {B, 1, T, M}, {M, 0, B * M, 1}};
    for (size_t n = 0; n < element_count(btm); n++)
        *element(view, n) = *element(btm, n);
    return view;
}

/* PyTorch's batch_first=False, in and out; and rows that see no key. */
static void a_layer(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    seed(2);
    const float *out_bias = new_normal(BHTD, 1, 1, 1, M).data;
    attn_mha *mha = new_torch_layer(context, out_bias);
    const attn_tensor x = new_normal(BHTD, B, 1, T, M), out = new_tensor(BHTD, B, 1, T, M);
    const attn_tensor turned = tokens_first(x), turned_out = tokens_first(x);
    assert_ok(context, attn_mha_forward(context, mha, &x, NULL, NULL, &out, NULL));
    assert_ok(context, attn_mha_forward(context, mha, &turned, NULL, NULL, &turned_out, NULL));
    assert_near(turned_out, doubles_of(out), promised(1));

    const int64_t lengths[B] = {T, 0, 1};
    attn_sdpa_params params;
    ATTN_INIT(&params);
    params.key_lengths = lengths;
    assert_ok(context, attn_mha_forward(context, mha, &x, NULL, NULL, &out, &params));
    for (size_t n = 0; n < T * M; n++)
        assert_true(*element_at(out, 1, 0, n / M, n % M) == out_bias[n % M]);
    attn_mha_destroy(mha);
}

/* -- sdpa.h, norm.h -- */

static void no_width(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    seed(3);
    const attn_tensor q = new_tensor(BHTD, 1, 2, 4, 0), k = new_tensor(BHTD, 1, 2, 70, 0);
    const attn_tensor v = new_normal(BHTD, 1, 2, 70, 9), out = new_tensor(BHTD, 1, 2, 4, 9);
    double *mean = new_doubles(element_count(out));
    for (size_t n = 0; n < element_count(out); n++) {
        mean[n] = 0;
        for (size_t j = 0; j < 70; j++)
            mean[n] += (double)*element_at(v, 0, n / 36, j, n % 9) / 70;
    }
    assert_ok(context, attn_sdpa(context, &q, &k, &v, &out, NULL));
    assert_near(out, mean, promised(1));
}

/* f32 only. */
static void types_of_norm(void **state) {
    (void)state;
    static const attn_dtype types[] = {ATTN_F32, ATTN_F16, ATTN_BF16};
    attn_context *context = new_context_of(1, 0);
    seed(4);
    for (size_t i = 0; i < COUNT(types) * COUNT(types); i++) {
        const attn_tensor x = new_normal_of(types[i % 3], BHTD, 1, 2, 3, M);
        const attn_tensor out = new_tensor_of(types[i / 3], BHTD, 1, 2, 3, M);
        const attn_status want = i ? ATTN_ERROR_DTYPE : ATTN_OK;
        assert_int_equal(attn_norm(context, &x, &out, NULL), want);
        assert_int_equal(attn_activate(context, ATTN_GELU, &x, &out), want);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(a_decoder), TEST(a_layer), TEST(no_width), TEST(types_of_norm)};
    return cmocka_run_group_tests_name("manual", tests, NULL, NULL);
}
