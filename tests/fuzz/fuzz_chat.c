/* SPDX-License-Identifier: BSD-3-Clause */
/* GGUF files and the tokenizer of examples/chat: a tiny model's file is damaged, a text is cut into tokens, and what
 * loads runs. Its numbers may be any; whole, it loads. */
#include <stdlib.h>

#include "bpe.h"
#include "decoder.h"
#include "fuzz.h"
#include "tiny.h"

static bool read_tokens(const gguf *g, slice text, bool special) {
    example_error e;
    id_list list = {0};
    bpe *b = bpe_open(g, &e);
    const bool good = b != NULL && bpe_encode(b, text, special, &list, &e);
    for (size_t i = 0; good && i < list.count; i++)
        assert_true(list.item[i] >= 0 && (size_t)list.item[i] < bpe_size(b));
    id_list_free(&list);
    bpe_close(b);
    return good;
}

static bool run_model(attn_context *context, const gguf *g) {
    static const int64_t tokens[] = {1, 7, 3, 9, 4};
    const size_t count = COUNT(tokens);
    example_error e;
    model m;
    decoder d;
    if (!model_open(&m, context, g, ATTN_INT4, TINY_CONTEXT, &e))
        return false;
    if (m.vocabulary > 9 && decoder_open(&d, context, &m, 1, ATTN_F16, &e)) {
        (void)decoder_run(&d, tokens, &count, &e);
        decoder_close(&d);
    }
    model_close(&m);
    return true;
}

/* Whether the file loads. */
static bool try_file(attn_context *context, const bytes *b, slice text, bool special) {
    example_error e;
    gguf *g = tiny_open(b, &e);
    if (g == NULL)
        return false;
    const bool tokens = read_tokens(g, text, special), runs = run_model(context, g);
    gguf_close(g);
    return tokens && runs;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const words[] = {"the", "user", "'s", " cat", ", ",      "<|im_end|>",
                                        "12",  "\n\n", "  ", "st",   "\xc3\xa9"};
    static bytes whole;
    static attn_context *context;
    struct input in = {data, size};
    size_t length;
    bytes b;
    if (!context) {
        context = new_context_of(1, 0);
        whole = tiny_make(GGUF_Q4_1, GGUF_Q4_K);
    }
    const bool special = take_below(&in, 2);
    char *text = take_text(&in, words, COUNT(words), &length);
    const slice taken = {text, length};
    const bool is_whole = damage_copy(&in, &whole, &b);
    assert_true(try_file(context, &b, taken, special) || !is_whole);
    free(b.data);
    free(text);
    return 0;
}
