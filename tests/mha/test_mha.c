/* SPDX-License-Identifier: BSD-3-Clause */
/* The layer against the double reference. */
#include <math.h>
#include <pthread.h>
#include <string.h>

#include "support/layer.h"

static const size_t LENGTHS[] = {0, 1, 2, 17, 70, 130};
static const int64_t OFFSETS[3] = {-3, 4, 0};

/* Sizes at random, the defaults among them. */
static attn_mha_params random_sizes(bool packed) {
    const size_t widths[] = {5, 8, 16, 33}, factors[] = {1, 2, 3};
    attn_mha_params p;
    ATTN_INIT(&p);
    p.kv_heads = random_pick(factors);
    p.heads = p.kv_heads * random_pick(factors);
    p.kv_heads = p.kv_heads == p.heads ? 0 : p.kv_heads;
    p.model_width = p.heads * random_pick(widths);
    p.head_width = random_below(2) ? 0 : random_pick(widths);
    p.value_width = random_below(2) ? 0 : random_pick(widths);
    p.key_input_width = packed || random_below(2) ? 0 : random_pick(widths);
    p.value_input_width = packed || random_below(2) ? 0 : random_pick(widths);
    p.order = (attn_weight_order)random_below(2);
    return p;
}

static enum layout output_layout(void) { return (enum layout)random_below(OUTPUT_LAYOUTS); }

static struct mha_case random_case(void) {
    const bool packed = random_below(2) > 0;
    const attn_mha_params p = random_sizes(packed);
    const size_t B = 1 + random_below(3), Tq = random_pick(LENGTHS), Tk = random_pick(LENGTHS);
    const size_t key_width = p.key_input_width ? p.key_input_width : p.model_width;
    struct mha_case c = mha_case_of(p.model_width, p.heads, B, Tq);
    c.layer = p;
    set_layer_form(&c.layer, packed, random_below(2) ? 0 : (unsigned)random_below(LAYER_FORMS));
    fill_layer(&c.layer, packed, (unsigned)random_below(ALL_BIASES + 1));
    const size_t value_width = p.value_input_width ? p.value_input_width
                               : c.layer.kv_latent ? key_width
                                                   : p.model_width;
    c.query = new_normal((enum layout)random_below(LAYOUTS), B, 1, Tq, p.model_width);
    if (key_width != p.model_width || random_below(2))
        c.key = new_normal((enum layout)random_below(LAYOUTS), B, 1, Tk, key_width);
    if (value_width != key_width || (random_below(2) && !c.layer.kv_latent))
        c.value = new_normal((enum layout)random_below(LAYOUTS), B, 1, c.key.size[3] ? Tk : Tq, value_width);
    c.out_layout = output_layout();
    c.params.causal = (attn_causal)random_below(4);
    c.params.causal_offset = c.params.causal == ATTN_CAUSAL_OFFSET ? OFFSETS : NULL;
    c.lse = random_below(2) > 0;
    c.probabilities = random_below(2) > 0;
    return c;
}

static void random_layers(void **state) {
    (void)state;
    attn_context *contexts[2 * ISAS];
    size_t n = new_isa_contexts(1, contexts);
    n += new_isa_contexts(3, contexts + n);
    seed(1);
    for (size_t i = 0; i < 150; i += every()) {
        const struct mha_case c = random_case();
        check_mha(contexts[random_below(n)], &c);
        end_case();
    }
}

static float *normal_floats(size_t n) { return new_normal(BHTD, 1, 1, 1, n).data; }

/* PyTorch's bias_k and bias_v, and add_zero_attn, also where a mask leaves nothing else; one tile and several segments.
 */
static void extra_keys(void **state) {
    (void)state;
    attn_context *contexts[] = {new_context_of(1, 0), new_context_of(3, 0)};
    const size_t tokens[] = {1, 70, 4200};
    seed(12);
    for (size_t i = 0; i < 12 * COUNT(tokens); i++) {
        const size_t T = tokens[i % COUNT(tokens)], Tq = T > 1000 ? 2 : T;
        struct mha_case c = mha_case_of(24, 6, 1 + i % 2, Tq);
        c.layer.kv_heads = 2;
        c.layer.value_width = 5;
        fill_layer(&c.layer, false, ALL_BIASES);
        c.key = new_normal(BTHD, 1 + i % 2, 1, T, 24);
        c.layer.extra_key = i & 1 ? normal_floats(2 * 4) : NULL;
        c.layer.extra_value = i & 1 ? normal_floats(2 * 5) : NULL;
        c.layer.zero_key = i & 2 || !(i & 1);
        c.params.causal = i & 4 ? ATTN_CAUSAL_OFFSET : ATTN_CAUSAL_NONE;
        c.params.causal_offset = i & 4 ? OFFSETS : NULL;
        check_mha(contexts[i / 2 % 2], &c);
        /* Scores vary, so that the sums of weights would exceed 1 by far, and the errors what is promised for 1. */
        const float share = -logf((float)T) - 4, shares[] = {share, share, share, share, share, share};
        const attn_relative_bias bias = {.table = shares};
        c.params.relative_bias = &bias;
        c.params.sigmoid = 1;
        c.lse = false;
        check_mha(contexts[i / 2 % 2], &c);
        end_case();
    }
}

/* Each bias alone, none, and all; from one matrix and from three; in both orders. */
static void every_bias(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    seed(2);
    for (unsigned i = 0; i < 4 * (ALL_BIASES + 1); i++) {
        struct mha_case c = mha_case_of(24, 3, 2, 9);
        c.layer.order = i & 1 ? ATTN_OUT_IN : ATTN_IN_OUT;
        fill_layer(&c.layer, i & 2, i / 4);
        check_mha(context, &c);
        end_case();
    }
}

/* Each form with each other one, from one matrix and from three, in both orders. */
static void every_form(void **state) {
    (void)state;
    attn_context *contexts[] = {new_context_of(1, 0), new_context_of(3, 0)};
    seed(13);
    for (unsigned i = 0; i < 4 * LAYER_FORMS; i++) {
        struct mha_case c = mha_case_of(24, 6, 2, 9);
        c.layer.kv_heads = i / 4 & LATENT_KV ? 0 : 1 + i % 3;
        c.layer.value_width = i % 2 ? 7 : 0;
        c.layer.order = i & 1 ? ATTN_OUT_IN : ATTN_IN_OUT;
        set_layer_form(&c.layer, i & 2, i / 4);
        fill_layer(&c.layer, i & 2, i % 5 ? ALL_BIASES : 0);
        c.params.causal = ATTN_CAUSAL_TOP_LEFT;
        check_mha(contexts[i % 2], &c);
        end_case();
    }
}

/* Wider than any panel or block that weights are packed into. */
static void wide_layers(void **state) {
    (void)state;
    attn_context *contexts[ISAS];
    const size_t n = new_isa_contexts(2, contexts);
    seed(3);
    for (size_t i = 0; i < 2 * n; i++) {
        struct mha_case c = mha_case_of(520, 4, 2, i < n ? 3 : 20);
        c.layer.order = (attn_weight_order)(i % 2);
        fill_layer(&c.layer, i / 2 % 2, ALL_BIASES);
        c.params.causal = ATTN_CAUSAL_TOP_LEFT;
        check_mha(contexts[i % n], &c);
        end_case();
    }
}

static void cross_attention(void **state) {
    (void)state;
    attn_context *context = new_context_of(2, 0);
    seed(4);
    for (size_t i = 0; i < COUNT(LENGTHS) * COUNT(LENGTHS); i++) {
        const size_t Tq = LENGTHS[i % COUNT(LENGTHS)], Tk = LENGTHS[i / COUNT(LENGTHS)];
        struct mha_case c = mha_case_of(32, 4, 2, Tq);
        c.layer.key_input_width = 20;
        c.layer.value_input_width = 12;
        fill_layer(&c.layer, false, ALL_BIASES);
        c.key = new_normal(BHTD, 2, 1, Tk, 20);
        c.value = new_normal(PADDED, 2, 1, Tk, 12);
        check_mha(context, &c);
        end_case();
    }
}

/* Weights are read at creation and not kept. */
static void weights_are_not_kept(void **state) {
    (void)state;
    attn_context *context = new_context_of(1, 0);
    seed(5);
    struct mha_case c = mha_case_of(24, 2, 1, 10);
    fill_layer(&c.layer, false, ALL_BIASES);
    attn_mha *mha = new_layer(context, &c.layer);
    const struct mha_result before = run_mha(context, mha, &c);
    memset((float *)(uintptr_t)c.layer.q_weight, 0xff, 24 * 24 * sizeof(float));
    memset((float *)(uintptr_t)c.layer.out_weight, 0xff, 24 * 24 * sizeof(float));
    memset((float *)(uintptr_t)c.layer.v_bias, 0xff, 24 * sizeof(float));
    const struct mha_result after = run_mha(context, mha, &c);
    attn_mha_destroy(mha);
    assert_bits(after.out, before.out);
}

/* A NaN in one token's input stays in what that token is seen by. */
static void masked_tokens_change_no_bit(void **state) {
    (void)state;
    enum { T = 70, M = 24, TOKEN = 40 };
    attn_context *context = new_context_of(1, 0);
    seed(6);
    struct mha_case c = mha_case_of(M, 2, 1, T);
    fill_layer(&c.layer, true, ALL_BIASES);
    c.params.causal = ATTN_CAUSAL_TOP_LEFT;
    attn_mha *mha = new_layer(context, &c.layer);
    const struct mha_result clean = run_mha(context, mha, &c);
    *element_at(c.query, 0, 0, TOKEN, 5) = NAN;
    const struct mha_result got = run_mha(context, mha, &c);
    attn_mha_destroy(mha);
    for (size_t n = TOKEN * M; n < T * M; n++) {
        assert_true(isnan(*element(got.out, n)));
        *element(clean.out, n) = *element(got.out, n);
    }
    assert_bits(got.out, clean.out);
}

static void any_number_of_threads(void **state) {
    (void)state;
    const size_t threads[] = {1, 2, 3, 7};
    seed(7);
    struct mha_case c = mha_case_of(96, 6, 2, 210);
    c.layer.kv_heads = 3;
    fill_layer(&c.layer, true, ALL_BIASES);
    attn_mha *mha = new_layer(new_context_of(1, 0), &c.layer);
    struct mha_result want = {0};
    for (size_t i = 0; i < COUNT(threads); i++) {
        const struct mha_result got = run_mha(new_context_of(threads[i], 0), mha, &c);
        want = i == 0 ? got : want;
        assert_bits(got.out, want.out);
        assert_bits(got.lse, want.lse);
        assert_bits(got.probabilities, want.probabilities);
    }
    attn_mha_destroy(mha);
}

/* One layer, several threads, a context each. No assertion in the threads: cmocka's jump. */
enum { SHARERS = 4, ROUNDS = 5 };

struct sharer {
    attn_context *context;
    const attn_mha *mha;
    const struct mha_case *c;
    attn_tensor out;
    attn_status status;
};

static void *share(void *arg) {
    struct sharer *s = arg;
    for (int i = 0; i < ROUNDS && s->status == ATTN_OK; i++)
        s->status = attn_mha_forward(s->context, s->mha, &s->c->query, NULL, NULL, &s->out, NULL);
    return NULL;
}

static void shared_by_threads(void **state) {
    (void)state;
    pthread_t threads[SHARERS];
    struct sharer sharers[SHARERS];
    seed(8);
    struct mha_case c = mha_case_of(64, 4, 2, 50);
    fill_layer(&c.layer, false, ALL_BIASES);
    attn_context *maker = new_context_of(1, 0);
    attn_mha *mha = new_layer(maker, &c.layer);
    const struct mha_result want = run_mha(maker, mha, &c);
    for (size_t i = 0; i < SHARERS; i++)
        sharers[i] = (struct sharer){new_context_of(1 + i % 2, 0), mha, &c, new_tensor(BHTD, 2, 1, 50, 64), ATTN_OK};
    for (size_t i = 0; i < SHARERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, share, &sharers[i]), 0);
    for (size_t i = 0; i < SHARERS; i++)
        pthread_join(threads[i], NULL);
    attn_mha_destroy(mha);
    for (size_t i = 0; i < SHARERS; i++) {
        assert_ok(sharers[i].context, sharers[i].status);
        assert_bits(sharers[i].out, want.out);
    }
}

/* Tokens beyond query_lengths are no keys either where query and key are one. */
static void padded(void **state) {
    (void)state;
    enum { B = 3, T = 7 };
    static const int64_t lengths[B] = {7, 2, 0};
    attn_context *context = new_context_of(1, 0);
    seed(10);
    for (int causal = 0; causal < ATTN_CAUSAL_OFFSET; causal++) {
        struct mha_case c = mha_case_of(24, 3, B, T);
        fill_layer(&c.layer, true, ALL_BIASES);
        c.params.causal = (attn_causal)causal;
        c.params.query_lengths = lengths;
        attn_mha *mha = new_layer(context, &c.layer);
        const struct mha_result r = run_mha(context, mha, &c);
        attn_mha_destroy(mha);
        c.params.key_lengths = lengths;
        assert_mha_near(&c, &r);
        end_case();
    }
}

/* A layer lives on when the context that made it is gone. */
static void outlives_its_context(void **state) {
    (void)state;
    attn_context *maker = NULL, *user = new_context_of(1, ATTN_ISA_GENERIC);
    seed(9);
    struct mha_case c = mha_case_of(40, 5, 1, 20);
    fill_layer(&c.layer, true, 0);
    assert_ok(NULL, attn_context_create(NULL, &maker));
    attn_mha *mha = new_layer(maker, &c.layer);
    attn_context_destroy(maker);
    const struct mha_result r = run_mha(user, mha, &c);
    attn_mha_destroy(mha);
    assert_mha_near(&c, &r);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(random_layers),
                                       TEST(extra_keys),
                                       TEST(every_bias),
                                       TEST(every_form),
                                       TEST(wide_layers),
                                       TEST(cross_attention),
                                       TEST(weights_are_not_kept),
                                       TEST(masked_tokens_change_no_bit),
                                       TEST(any_number_of_threads),
                                       TEST(shared_by_threads),
                                       TEST(padded),
                                       TEST(outlives_its_context)};
    return cmocka_run_group_tests_name("mha", tests, NULL, NULL);
}
