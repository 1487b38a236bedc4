/* SPDX-License-Identifier: BSD-3-Clause */
/* The decoder on a tiny model: logits beside double precision, chunks, forks, sampling, and models that lie. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "decoder.h"
#include "llama.h"
#include "sampler.h"
#include "support/support.h"
#include "tiny.h"

enum { TOKENS = 37 };

static gguf *file;
static attn_context *context;
static model m;
static int64_t text[TOKENS];

static void open_model(gguf_type type, gguf_type wide, attn_precision precision, attn_dtype weights) {
    example_error e = {""};
    attn_context_options how;
    ATTN_INIT(&how);
    how.precision = precision;
    how.threads = 2;
    bytes b = tiny_make(type, wide);
    file = tiny_open(&b, &e);
    free(b.data);
    assert_int_equal(attn_context_create(&how, &context), ATTN_OK);
    if (file == NULL || !model_open(&m, context, file, weights, TINY_CONTEXT, &e))
        fail_msg("%s", e.text);
    for (size_t i = 0; i < TOKENS; i++)
        text[i] = (int64_t)tiny_below(m.vocabulary);
}

static void close_model(void) {
    model_close(&m);
    attn_context_destroy(context);
    gguf_close(file);
}

static void open_decoder(decoder *d, size_t sequences, attn_dtype cache) {
    example_error e = {""};
    if (!decoder_open(d, context, &m, sequences, cache, &e))
        fail_msg("%s", e.text);
}

static void run(decoder *d, const int64_t *ids, size_t first, size_t second) {
    const size_t counts[] = {first, second};
    example_error e = {""};
    if (!decoder_run(d, ids, counts, &e))
        fail_msg("%s", e.text);
}

/* The largest difference of the logits of the decoder's rows from `want`, by the largest of these. */
static double error_of(decoder *d, size_t rows, const double *want) {
    const size_t count = rows * m.vocabulary;
    float *got = malloc(count * sizeof *got);
    double error = 0, largest = 0;
    example_error e = {""};
    assert_non_null(got);
    assert_true(decoder_logits(d, d->x, rows, got, &e));
    for (size_t i = 0; i < count; i++) {
        const double off = fabs((double)got[i] - want[i]);
        error = off <= error ? error : off; /* NaN stays */
        largest = fmax(largest, fabs(want[i]));
    }
    free(got);
    return error / largest;
}

static void check_types(gguf_type type, gguf_type wide, attn_precision precision, attn_dtype weights, attn_dtype cache,
                        double bound) {
    decoder d;
    open_model(type, wide, precision, weights);
    open_decoder(&d, 1, cache);
    double *want = llama_logits(file, text, TOKENS, m.vocabulary);
    run(&d, text, TOKENS, 0);
    const double error = error_of(&d, TOKENS, want);
    if (!(error <= bound))
        fail_msg("type %d, wide %d, precision %d, weights %d, cache %d: error %.2g", (int)type, (int)wide,
                 (int)precision, (int)weights, (int)cache, error);
    free(want);
    decoder_close(&d);
    close_model();
}

static void test_logits(void **state) {
    static const gguf_type all[] = {GGUF_F32, GGUF_F16, GGUF_BF16, GGUF_Q4_0, GGUF_Q4_1, GGUF_Q8_0};
    (void)state;
    for (size_t i = 0; i < COUNT(all); i++)
        check_types(all[i], i % 2 != 0 ? GGUF_Q4_K : GGUF_Q6_K, ATTN_PRECISION_F32, ATTN_F32, ATTN_F32, 1e-5);
    check_types(GGUF_Q4_1, GGUF_Q4_1, ATTN_PRECISION_F32, ATTN_INT4, ATTN_F32, 0.02); /* but for the head exact */
    check_types(GGUF_Q4_1, GGUF_Q4_1, ATTN_PRECISION_F32, ATTN_F32, ATTN_F16, 0.002);
    check_types(GGUF_Q4_0, GGUF_Q4_1, ATTN_PRECISION_BF16, ATTN_F32, ATTN_F16, 0.03);
    check_types(GGUF_Q4_0, GGUF_Q8_0, ATTN_PRECISION_INT8, ATTN_INT8, ATTN_INT8, 0.06);
    check_types(GGUF_F16, GGUF_Q4_0, ATTN_PRECISION_INT8, ATTN_INT4, ATTN_INT4, 0.3);
}

static void test_chunks_and_forks(void **state) {
    example_error e = {""};
    decoder d;
    (void)state;
    open_model(GGUF_Q4_1, GGUF_Q6_K, ATTN_PRECISION_F32, ATTN_F32);
    double *want = llama_logits(file, text, TOKENS, m.vocabulary);
    open_decoder(&d, 2, ATTN_F32);
    run(&d, text, 20, 0);
    assert_true(decoder_fork(&d, &e));
    for (size_t i = 20; i < TOKENS; i++) { /* the second goes on with what the first began with */
        const int64_t both[] = {text[i], text[i - 20]};
        run(&d, both, 1, 1);
    }
    const size_t counts[] = {1, 1};
    assert_int_equal(decoder_last(&d, counts), 2);
    assert_true(error_of(&d, 1, want + (TOKENS - 1) * m.vocabulary) < 1e-5);
    free(want);
    int64_t other[TOKENS];
    memcpy(other, text, 20 * sizeof *text);
    memcpy(other + 20, text, (TOKENS - 20) * sizeof *text);
    want = llama_logits(file, other, TOKENS, m.vocabulary);
    memcpy(d.x, d.last + m.width, m.width * sizeof *d.x);
    assert_true(error_of(&d, 1, want + (TOKENS - 1) * m.vocabulary) < 1e-5);
    free(want);
    decoder_close(&d);
    close_model();
}

static void test_attention(void **state) {
    example_error e = {""};
    decoder d;
    float attention[TINY_LAYERS * TINY_HEADS][TOKENS];
    (void)state;
    open_model(GGUF_Q4_1, GGUF_Q6_K, ATTN_PRECISION_F32, ATTN_F32);
    double *want = llama_logits(file, text, TOKENS, m.vocabulary);
    open_decoder(&d, 1, ATTN_F16);
    run(&d, text, TOKENS, 0);
    assert_true(decoder_truncate(&d, TOKENS - 1, &e));
    assert_int_equal(decoder_length(&d, 0), TOKENS - 1);
    if (!decoder_watch(&d, text[TOKENS - 1], attention[0], TOKENS, &e))
        fail_msg("%s", e.text);
    assert_true(error_of(&d, 1, want + (TOKENS - 1) * m.vocabulary) < 0.002);
    for (size_t row = 0; row < COUNT(attention); row++) {
        double sum = 0;
        for (size_t i = 0; i < TOKENS; i++)
            sum += (double)attention[row][i];
        assert_true(fabs(sum - 1) < 1e-5);
    }
    const size_t rest = TINY_CONTEXT - TOKENS + 1;
    int64_t *many = calloc(rest, sizeof *many);
    assert_false(decoder_run(&d, many, &rest, &e));
    assert_non_null(strstr(e.text, "the context of 512 tokens is full"));
    free(many);
    free(want);
    decoder_close(&d);
    close_model();
}

static void test_sampling(void **state) {
    static const float logits[] = {1, 3, 2, -1, 3.5F, -INFINITY};
    example_error e = {""};
    size_t counts[COUNT(logits)] = {0};
    int64_t id;
    (void)state;
    sampler greedy = {.temperature = 0};
    assert_true(sampler_pick(&greedy, logits, COUNT(logits), &id, &e) && id == 4);
    sampler one = {.temperature = 5, .top_k = 1, .top_p = 1, .state = 9};
    sampler narrow = {.temperature = 1, .top_k = 0, .top_p = 0.5, .state = 9};
    sampler some = {.temperature = 1, .top_k = 3, .top_p = 1, .state = 9};
    for (size_t i = 0; i < 20000; i++) {
        assert_true(sampler_pick(&one, logits, COUNT(logits), &id, &e) && id == 4);
        assert_true(sampler_pick(&narrow, logits, COUNT(logits), &id, &e) && id == 4); /* it alone has 0.53 */
        assert_true(sampler_pick(&some, logits, COUNT(logits), &id, &e));
        counts[id]++;
    }
    assert_int_equal(counts[0] + counts[3] + counts[5], 0);
    const double sum = exp(3) + exp(2) + exp(3.5);
    assert_true(fabs((double)counts[4] / 20000 - exp(3.5) / sum) < 0.02);
    assert_true(fabs((double)counts[2] / 20000 - exp(2) / sum) < 0.02);
}

/* The tiny model with `from` made `to`, of the same length. */
static void refused(const char *from, const char *to, size_t size, const char *why) {
    example_error e = {""};
    bytes b = tiny_changed(from, to, size);
    file = tiny_open(&b, &e);
    free(b.data);
    assert_int_equal(attn_context_create(NULL, &context), ATTN_OK);
    const bool opened = file != NULL && model_open(&m, context, file, ATTN_F32, TINY_CONTEXT, &e);
    close_model();
    if (opened || strstr(e.text, why) == NULL)
        fail_msg("expected '%s', got '%s'", why, e.text);
}

/* Numbers that overflow are no answer. */
static void test_overflow(void **state) {
    example_error e = {""};
    decoder d;
    (void)state;
    open_model(GGUF_Q4_1, GGUF_Q6_K, ATTN_PRECISION_F32, ATTN_F32);
    open_decoder(&d, 1, ATTN_F32);
    float *rows = calloc(m.width, sizeof *rows), *logits = calloc(m.vocabulary, sizeof *logits);
    assert_true(rows != NULL && logits != NULL);
    rows[1] = INFINITY;
    assert_false(decoder_logits(&d, rows, 1, logits, &e));
    assert_non_null(strstr(e.text, "overflow"));
    free(rows);
    free(logits);
    decoder_close(&d);
    close_model();
}

#define U32(key, from, to, why) refused(key "\4\0\0\0" from, key "\4\0\0\0" to, sizeof key + 5, why)

static void test_refuses(void **state) {
    (void)state;
    refused("llama\21", "llamb\21", 6, "the architecture is 'llamb', expected llama");
    U32("block_count", "\2", "\3", "there is no tensor 'blk.2.attn_q.weight'");
    U32("block_count", "\2", "\0", "llama.block_count: 0 is wrong: expected 1 to 1024");
    U32("embedding_length", "\100", "\101", "4 heads, 2 of them for keys, do not fit a width of 65");
    U32("embedding_length", "\100", "\110", "tensor 'token_embd.weight': its shape must be");
    U32("head_count", "\4", "\5", "do not fit a width of 64");
    U32("head_count_kv", "\2", "\3", "do not fit a width of 64");
    U32("feed_forward_length", "\0\1", "\0\2", "tensor 'blk.0.ffn_gate.weight': its shape must be [512, 64]");
    refused("rope.freq_base", "rope.freq_bass", 14, "there is no 'llama.rope.freq_base'");
    refused("freq_base\6\0\0\0\0\100\34\106", "freq_base\6\0\0\0\0\0\0\0", 17,
            "llama.rope.freq_base: 0 is wrong: expected more than 0"); /* of 10000 */
    refused("blk.0.attn_q.weight", "blk.0.attn_q.bias\0\0", 19, "there is no tensor 'blk.0.attn_q.weight'");
    refused("output_norm", "rope_freqs.", 11, "there is no tensor 'output_norm.weight'");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_logits),   TEST(test_chunks_and_forks), TEST(test_attention),
        TEST(test_sampling), TEST(test_refuses),          TEST(test_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
