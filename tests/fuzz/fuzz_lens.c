/* SPDX-License-Identifier: BSD-3-Clause */
/* The files of examples/lens, safetensors, JSON and vocabulary, and its tokenizer: one of a tiny model's files is
 * damaged, a text is cut into tokens, and what loads runs. Whole, it loads. */
#include <stdlib.h>
#include <unistd.h>

#include "encode.h"
#include "folder.h"
#include "fuzz.h"
#include "model.h"
#include "support/damage.h"
#include "tiny.h"

enum { FILES = 4, WIDEST = 4096 };

static const char *const names[FILES] = {"model.safetensors", "config.json", "vocab.txt", "tokenizer.json"};

static const char json[] =
    "{\"normalizer\": {\"type\": \"BertNormalizer\", \"lowercase\": true, \"strip_accents\": null}, \"added_tokens\": "
    "[{\"id\": 1, \"content\": \"[UNK]\"}], \"model\": {\"type\": \"WordPiece\", \"max_input_chars_per_word\": 100, "
    "\"vocab\": {\"[PAD]\": 0, \"[UNK]\": 1, \"[CLS]\": 2, \"[SEP]\": 3, \"the\": 5, \"##s\": 12, \"un\": 18}}}";

static void read_text(attn_context *context, const model *m, slice text) {
    example_error e;
    tokens t;
    float vector[WIDEST];
    if (m->width > WIDEST || !tokenize(&m->vocab, text, m->tokens_max, &t, &e))
        return;
    for (size_t i = 0; i < t.count; i++)
        assert_true(t.item[i].begin <= t.item[i].end && t.item[i].end <= text.size && t.item[i].id < m->vocab.count);
    (void)encode(context, m, &t, 1, vector, &e);
    tokens_free(&t);
}

/* Whether the files load. */
static bool try_model(attn_context *context, const char *folder, slice text) {
    example_error e;
    model m;
    if (!model_open(&m, context, ATTN_F32, folder, &e))
        return false;
    read_text(context, &m, text);
    model_close(&m);
    return true;
}

static void make_whole(bytes whole[FILES]) {
    char folder[64], path[128];
    tiny_model m;
    folder_make(folder);
    tiny_make(&m);
    assert_true(tiny_write(&m, folder, "F32", "") && tiny_put(folder, names[3], json, sizeof json - 1));
    for (size_t i = 0; i < FILES; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        whole[i] = damage_load(path);
    }
    tiny_free(&m);
    folder_remove(folder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const words[] = {"The", " ",     "cat",      "un",           "able", "mats",
                                        ".",   "[SEP]", "\xc3\xa9", "\xe6\x97\xa5", "\n"};
    static bytes whole[FILES];
    static attn_context *context;
    struct input in = {data, size};
    size_t length;
    char folder[64];
    bytes b;
    if (!context) {
        context = new_context_of(1, 0);
        make_whole(whole);
    }
    char *text = take_text(&in, words, COUNT(words), &length);
    const slice taken = {text, length};
    const bool by_json = take_below(&in, 2); /* or by vocab.txt */
    const size_t files = by_json ? FILES : FILES - 1, damaged = take_below(&in, files);
    const bool is_whole = damage_copy(&in, &whole[damaged], &b);
    folder_make(folder);
    for (size_t i = 0; i < files; i++) {
        const bytes *file = i == damaged ? &b : &whole[i];
        assert_true(tiny_put(folder, names[i], file->data, file->size));
    }
    assert_true(try_model(context, folder, taken) || !is_whole);
    folder_remove(folder);
    free(b.data);
    free(text);
    return 0;
}
