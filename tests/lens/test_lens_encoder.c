/* SPDX-License-Identifier: BSD-3-Clause */
/* The encoder on a tiny random model: against double precision, and files that do not fit. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bert.h"
#include "encode.h"
#include "folder.h"
#include "support/support.h"
#include "tiny.h"
#include "words.h"

static char folder[64];
static tiny_model weights;

static int set_up(void **state) {
    (void)state;
    folder_make(folder);
    tiny_make(&weights);
    return 0;
}

static int tear_down(void **state) {
    tiny_free(&weights);
    folder_remove(folder);
    return end_test(state);
}

static void load_weights(model *m, attn_context *context, attn_dtype type, const char *dtype, const char *root) {
    example_error e = {""};
    assert_true(tiny_write(&weights, folder, dtype, root));
    if (!model_open(m, context, type, folder, &e))
        fail_msg("%s", e.text);
}

static void load_model(model *m, attn_context *context, const char *dtype, const char *root) {
    load_weights(m, context, ATTN_F32, dtype, root);
}

static tokens read_tokens(const model *m, const char *text) {
    example_error e = {""};
    tokens t;
    if (!tokenize(&m->vocab, (slice){text, strlen(text)}, m->tokens_max, &t, &e))
        fail_msg("%s", e.text);
    return t;
}

static const char *const sentences[] = {"The cat sat on the mat.",
                                        "",
                                        "unaffable dogs",
                                        "it is raining, a house",
                                        "Cat sitting? blue mat, blue cat. unaffable house rain",
                                        "the dog sat on the mat.",
                                        "zzz"};

/* Two layers of sums of up to 40 products of size 1, each normalised: some 100 roundings. */
static const tolerance CLOSE = {.absolute = 1e-5, .relative = 1e-5};

static void check_sentence(attn_context *context, const model *m, const tokens *sentence, double *vector) {
    const size_t T = sentence->count;
    size_t ids[TINY_POSITIONS];
    example_error e = {""};
    trace t;
    double *hidden = new_doubles((TINY_LAYERS + 1) * T * TINY_WIDTH);
    double *attention = new_doubles(TINY_LAYERS * TINY_HEADS * T * T);
    for (size_t i = 0; i < T; i++)
        ids[i] = sentence->item[i].id;
    bert_run(&weights, ids, T, hidden, attention);
    bert_pool(hidden, T, vector);
    assert_true(trace_make(&t, context, m, sentence, &e));
    assert_near(attn_tensor_bhtd(t.hidden, ATTN_F32, 1, TINY_LAYERS + 1, T, TINY_WIDTH), hidden, CLOSE);
    assert_near(attn_tensor_bhtd(t.attention, ATTN_F32, TINY_LAYERS, TINY_HEADS, T, T), attention, CLOSE);
    trace_free(&t);
}

/* One by one with all that is in between, then all at once: a ragged batch. */
static void test_is_bert(void **state) {
    attn_context *context = new_context_of(2, 0);
    tokens all[COUNT(sentences)];
    double *want = new_doubles(COUNT(sentences) * TINY_WIDTH);
    float *got = new_floats(COUNT(sentences) * TINY_WIDTH);
    example_error e = {""};
    model m;
    (void)state;
    load_model(&m, context, "F32", "");
    for (size_t i = 0; i < COUNT(sentences); i++) {
        name_case("%s", sentences[i]);
        all[i] = read_tokens(&m, sentences[i]);
        check_sentence(context, &m, &all[i], want + i * TINY_WIDTH);
    }
    assert_true(encode(context, &m, all, COUNT(sentences), got, &e));
    assert_near(attn_tensor_btm(got, ATTN_F32, 1, COUNT(sentences), TINY_WIDTH), want, CLOSE);
    assert_true(encode(context, &m, all, 0, NULL, &e));
    for (size_t i = 0; i < COUNT(sentences); i++)
        tokens_free(&all[i]);
    model_close(&m);
}

/* Enough for many batches and threads. */
static void test_many(void **state) {
    enum { COPIES = 100, ALL = COPIES * COUNT(sentences) };
    static tokens all[ALL];
    attn_context *context = new_context_of(3, 0);
    float *one_by_one = new_floats(COUNT(sentences) * TINY_WIDTH), *got = new_floats(ALL * TINY_WIDTH);
    double *want = new_doubles(ALL * TINY_WIDTH);
    example_error e = {""};
    model m;
    (void)state;
    load_model(&m, context, "F32", "");
    for (size_t i = 0; i < ALL; i++)
        all[i] = read_tokens(&m, sentences[i % COUNT(sentences)]);
    for (size_t i = 0; i < COUNT(sentences); i++)
        assert_true(encode(context, &m, &all[i], 1, one_by_one + i * TINY_WIDTH, &e));
    for (size_t i = 0; i < ALL * TINY_WIDTH; i++)
        want[i] = (double)one_by_one[i % (COUNT(sentences) * TINY_WIDTH)];
    assert_true(encode(context, &m, all, ALL, got, &e));
    assert_near(attn_tensor_btm(got, ATTN_F32, 1, ALL, TINY_WIDTH), want, CLOSE);
    for (size_t i = 0; i < ALL; i++)
        tokens_free(&all[i]);
    model_close(&m);
}

/* The weights are such that all types hold them: the same bits come out, whatever the file's names begin with. */
static void test_types(void **state) {
    attn_context *context = new_context_of(1, 0);
    float *want = new_floats(TINY_WIDTH), *got = new_floats(TINY_WIDTH);
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        example_error e = {""};
        model m;
        load_model(&m, context, (const char *const[]){"F32", "F16", "BF16"}[i], i == 1 ? "bert." : "");
        tokens t = read_tokens(&m, sentences[0]);
        assert_true(encode(context, &m, &t, 1, i == 0 ? want : got, &e));
        if (i > 0)
            assert_memory_equal(got, want, TINY_WIDTH * sizeof *got);
        tokens_free(&t);
        model_close(&m);
    }
}

static void rename_tensors(const char *end, const char *new_end) {
    for (size_t i = 0; i < weights.count; i++) {
        char *at = strstr(weights.tensor[i].name, end);
        if (at != NULL)
            snprintf(at, 24, "%s", new_end);
    }
}

/* The first files of BERT's weights call the weight and bias of a norm gamma and beta: the same bits come out. */
static void test_first_names(void **state) {
    attn_context *context = new_context_of(1, 0);
    float *want = new_floats(TINY_WIDTH), *got = new_floats(TINY_WIDTH);
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        example_error e = {""};
        model m;
        load_model(&m, context, "F32", i == 1 ? "bert." : "");
        tokens t = read_tokens(&m, sentences[0]);
        assert_true(encode(context, &m, &t, 1, i == 0 ? want : got, &e));
        tokens_free(&t);
        model_close(&m);
        rename_tensors("LayerNorm.weight", "LayerNorm.gamma");
        rename_tensors("LayerNorm.bias", "LayerNorm.beta");
    }
    assert_memory_equal(got, want, TINY_WIDTH * sizeof *got);
}

static void refused(const char *why) {
    attn_context *context = new_context_of(1, 0);
    example_error e = {""};
    model m;
    if (model_open(&m, context, ATTN_F32, folder, &e) || strstr(e.text, why) == NULL)
        fail_msg("expected '%s', got '%s'", why, e.text);
}

static void test_refuses_weights(void **state) {
    float *value = &tiny_find(&weights, "encoder.layer.1.output.dense.weight")->data[7];
    tiny_tensor *bias = tiny_find(&weights, "encoder.layer.0.output.dense.bias");
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        *value = i == 1 ? -INFINITY : NAN;
        assert_true(tiny_write(&weights, folder, (const char *const[]){"F32", "F16", "BF16"}[i], ""));
        refused("'encoder.layer.1.output.dense.weight': element 7 is not finite");
    }
    *value = 0;
    bias->shape[0]--;
    assert_true(tiny_write(&weights, folder, "F32", ""));
    refused("'encoder.layer.0.output.dense.bias': its shape must be [24]");
    bias->shape[0]++;
    bias->name[0] = 'E';
    assert_true(tiny_write(&weights, folder, "F32", ""));
    refused("there is no tensor 'encoder.layer.0.output.dense.bias'");
}

static void put(const char *name, const char *text) { assert_true(tiny_put(folder, name, text, strlen(text))); }

#define CONFIG(width, heads, act, eps)                                                                                 \
    "{\"hidden_size\": " width ", \"num_hidden_layers\": 2, \"num_attention_heads\": " heads                           \
    ", \"intermediate_size\": 40, \"vocab_size\": 28, \"max_position_embeddings\": 40, \"type_vocab_size\": 2, "       \
    "\"hidden_act\": \"" act "\", \"layer_norm_eps\": " eps "}"

static void test_refuses_config(void **state) {
    (void)state;
    refused("config.json: line");
    assert_true(tiny_write(&weights, folder, "F32", ""));
    put("config.json", "{");
    refused("config.json: line 1");
    put("config.json", CONFIG("0", "3", "gelu", "1e-12"));
    refused("hidden_size must be a whole number from 1");
    put("config.json", CONFIG("24.5", "3", "gelu", "1e-12"));
    refused("hidden_size must be a whole number");
    put("config.json", CONFIG("24", "5", "gelu", "1e-12"));
    refused("no multiple of num_attention_heads");
    put("config.json", CONFIG("24", "3", "tanh", "1e-12"));
    refused("hidden_act 'tanh' is unknown");
    put("config.json", CONFIG("24", "3", "gelu", "-1"));
    refused("layer_norm_eps");
    put("config.json", CONFIG("24", "3", "gelu", "1e-300"));
    refused("layer_norm_eps");
    put("config.json", CONFIG("48", "3", "gelu", "1e-12"));
    refused("its shape must be [28, 48]");
    put("config.json", "{\"model_type\": \"gpt2\", \"layer_norm_eps\": 1e-5}");
    refused("model_type is 'gpt2', only 'bert' is known");
}

static void test_refuses_overflow(void **state) {
    attn_context *context = new_context_of(1, 0);
    tiny_tensor *bias = tiny_find(&weights, "encoder.layer.1.output.LayerNorm.bias");
    example_error e = {""};
    float vector[TINY_WIDTH];
    model m;
    (void)state;
    for (size_t i = 0; i < TINY_WIDTH; i++)
        bias->data[i] = 3e38F;
    load_model(&m, context, "F32", "");
    tokens t = read_tokens(&m, sentences[0]);
    assert_false(encode(context, &m, &t, 1, vector, &e));
    assert_non_null(strstr(e.text, "not finite"));
    tokens_free(&t);
    model_close(&m);
}

static float *vectors_in(attn_precision precision, attn_dtype type, size_t threads) {
    attn_context_options options;
    ATTN_INIT(&options);
    options.threads = threads;
    options.precision = precision;
    attn_context *context = new_context(&options);
    float *vectors = new_floats(COUNT(sentences) * TINY_WIDTH);
    tokens all[COUNT(sentences)];
    example_error e = {""};
    model m;
    load_weights(&m, context, type, "F32", "");
    for (size_t i = 0; i < COUNT(sentences); i++)
        all[i] = read_tokens(&m, sentences[i]);
    assert_true(encode(context, &m, all, COUNT(sentences), vectors, &e));
    for (size_t i = 0; i < COUNT(sentences); i++)
        tokens_free(&all[i]);
    model_close(&m);
    return vectors;
}

/* Near to what f32 gives, but not the same; on several threads the same. */
static void test_precisions(void **state) {
    (void)state;
    static const attn_precision precisions[] = {ATTN_PRECISION_BF16, ATTN_PRECISION_INT8, ATTN_PRECISION_INT8};
    static const attn_dtype types[] = {ATTN_F32, ATTN_INT8, ATTN_INT4};
    const float *exact = vectors_in(ATTN_PRECISION_F32, ATTN_F32, 1);
    for (size_t n = 0; n < COUNT(types); n++) {
        const float *got = vectors_in(precisions[n], types[n], 1), *again = vectors_in(precisions[n], types[n], 3);
        for (size_t i = 0; i < COUNT(sentences); i++) {
            double cosine = 0;
            for (size_t j = i * TINY_WIDTH; j < (i + 1) * TINY_WIDTH; j++)
                cosine += (double)exact[j] * (double)got[j];
            assert_true(cosine > (types[n] == ATTN_INT4 ? 0.9 : 0.99));
        }
        assert_memory_not_equal(exact, got, COUNT(sentences) * TINY_WIDTH * sizeof *got);
        assert_memory_equal(again, got, COUNT(sentences) * TINY_WIDTH * sizeof *got);
    }
}

/* Attention of a made-up model of one layer and two heads, over [CLS] un ##aff ##able cat [SEP]. */
static void test_words(void **state) {
    enum { T = 6, W = 4 };
    attn_context *context = new_context_of(1, 0);
    float *attention = new_floats(2 * T * T);
    example_error e = {""};
    model m;
    words w;
    (void)state;
    load_model(&m, context, "F32", "");
    const char *text = "Unaffable CAT";
    tokens t = read_tokens(&m, text);
    assert_int_equal(t.count, T);
    assert_true(words_make(&w, &m.vocab, &t, (slice){text, strlen(text)}, &e));
    assert_int_equal(w.count, W);
    const char *const labels[W] = {"[CLS]", "Unaffable", "CAT", "[SEP]"};
    for (size_t i = 0; i < W; i++)
        assert_string_equal(w.label[i], labels[i]);
    for (size_t i = 0; i < 2 * T * T; i++) /* head 1: all alike; head 2: each token to the next */
        attention[i] = i < T * T ? 1.0F / T : (i - T * T) % T == ((i - T * T) / T + 1) % T ? 1 : 0;
    const size_t layers = m.layers, heads = m.heads;
    const trace made = {.tokens = T, .attention = attention};
    m.layers = 1;
    m.heads = 2;
    float scores[W * W];
    const tolerance exact = {.absolute = 1e-6};
    /* [CLS] to its next; a third of the long word stays inside twice and leaves once; and so on */
    const double head2[W * W] = {0, 1, 0, 0, 0, 2.0 / 3, 1.0 / 3, 0, 0, 0, 0, 1, 1, 0, 0, 0};
    assert_true(words_attend(&w, &m, &made, &(view){.layer = 1, .head = 2, .keep_special = true}, scores, &e));
    assert_near(attn_tensor_btm(scores, ATTN_F32, 1, W, W), head2, exact);
    double mixed[W * W], flow[W * W], words_only[W * W] = {0};
    const double size[W] = {1, 3, 1, 1};
    for (size_t i = 0; i < W * W; i++) {
        mixed[i] = (size[i % W] / T + head2[i]) / 2;
        flow[i] = (mixed[i] + (i % W == i / W ? 1 : 0)) / 2;
    }
    for (size_t i = 1; i <= 2; i++)
        for (size_t j = 1; j <= 2; j++)
            words_only[i * W + j] = mixed[i * W + j] / (mixed[i * W + 1] + mixed[i * W + 2]);
    assert_true(words_attend(&w, &m, &made, &(view){.keep_special = true}, scores, &e));
    assert_near(attn_tensor_btm(scores, ATTN_F32, 1, W, W), mixed, exact);
    assert_true(words_attend(&w, &m, &made, &(view){.rollout = true, .keep_special = true}, scores, &e));
    assert_near(attn_tensor_btm(scores, ATTN_F32, 1, W, W), flow, exact);
    assert_true(words_attend(&w, &m, &made, &(view){0}, scores, &e));
    assert_near(attn_tensor_btm(scores, ATTN_F32, 1, W, W), words_only, exact);
    m.layers = layers;
    m.heads = heads;
    words_free(&w);
    tokens_free(&t);
    model_close(&m);
}

#define MODEL_TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        MODEL_TEST(test_is_bert),         MODEL_TEST(test_many),
        MODEL_TEST(test_types),           MODEL_TEST(test_first_names),
        MODEL_TEST(test_refuses_weights), MODEL_TEST(test_refuses_config),
        MODEL_TEST(test_words),           MODEL_TEST(test_refuses_overflow),
        MODEL_TEST(test_precisions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
