/* SPDX-License-Identifier: BSD-3-Clause */
/* Damages the files of a tiny model at random and loads them: fuzz SECONDS [SEED]. Nothing may crash, and what loads
 * must run. Meant for the asan build. */
#include <attn/attn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "encode.h"
#include "file.h"
#include "folder.h"
#include "model.h"
#include "tiny.h"

static uint64_t state;

static size_t below(size_t n) {
    state = state * 6364136223846793005 + 1442695040888963407;
    return (size_t)(state >> 33) % n;
}

typedef struct bytes {
    unsigned char *data;
    size_t size, room;
} bytes;

static bytes load(const char *folder, const char *name) {
    char path[128];
    mapping m;
    example_error e;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (!mapping_open(&m, path, &e))
        abort();
    bytes b = {.data = malloc(m.size + 64), .size = m.size, .room = m.size + 64};
    if (b.data == NULL)
        abort();
    memcpy(b.data, m.data, m.size);
    mapping_close(&m);
    return b;
}

static void change_digit(bytes *b, size_t at) {
    for (size_t i = at; i < b->size && i < at + 200; i++) {
        if (b->data[i] >= '0' && b->data[i] <= '9') {
            b->data[i] = (unsigned char)('0' + below(10));
            return;
        }
    }
}

static void insert(bytes *b, size_t at) {
    static const char *const text[] = {"9", "[", "{", "\"", "-", "e9", "\\u0000", "]", "0", ",", "\xff", "null"};
    const char *added = text[below(sizeof text / sizeof *text)];
    const size_t size = strlen(added);
    if (b->size + size > b->room)
        return;
    memmove(b->data + at + size, b->data + at, b->size - at);
    memcpy(b->data + at, added, size);
    b->size += size;
}

/* Half of the damage goes to the first bytes, where a header is. */
static void damage(bytes *b) {
    if (b->size == 0)
        return;
    const size_t at = below(below(2) == 0 || b->size < 16 ? b->size : b->size < 4096 ? b->size : 4096);
    switch (below(6)) {
    case 0:
        b->data[at] = (unsigned char)below(256);
        break;
    case 1:
        b->data[at] ^= (unsigned char)(1U << below(8));
        break;
    case 2:
        b->size = at;
        break;
    case 3:
        insert(b, at);
        break;
    case 4:
        memmove(b->data + at, b->data + at + 1, b->size - at - 1);
        b->size--;
        break;
    default:
        change_digit(b, at);
    }
}

/* Whether the files still load. */
static bool try_model(attn_context *context, const char *folder) {
    static const char text[] = "The cat sat on unaffable mats.";
    example_error e;
    model m;
    tokens t;
    float vector[4096];
    if (!model_open(&m, context, ATTN_F32, folder, &e))
        return false;
    if (m.width <= sizeof vector / sizeof *vector &&
        tokenize(&m.vocab, (slice){text, sizeof text - 1}, m.tokens_max, &t, &e)) {
        (void)encode(context, &m, &t, 1, vector, &e);
        tokens_free(&t);
    }
    model_close(&m);
    return true;
}

static void try_damaged(attn_context *context, const char *folder, const char *name, const bytes *whole,
                        size_t *loaded) {
    bytes b = {.data = malloc(whole->room), .size = whole->size, .room = whole->room};
    if (b.data == NULL)
        abort();
    memcpy(b.data, whole->data, whole->size);
    for (size_t n = 1 + below(4); n > 0; n--)
        damage(&b);
    if (tiny_put(folder, name, b.data, b.size))
        *loaded += try_model(context, folder) ? 1 : 0;
    free(b.data);
}

static const char json[] =
    "{\"normalizer\": {\"type\": \"BertNormalizer\", \"lowercase\": true, \"strip_accents\": null}, \"added_tokens\": "
    "[{\"id\": 1, \"content\": \"[UNK]\"}], \"model\": {\"type\": \"WordPiece\", \"max_input_chars_per_word\": 100, "
    "\"vocab\": {\"[PAD]\": 0, \"[UNK]\": 1, \"[CLS]\": 2, \"[SEP]\": 3, \"the\": 5, \"##s\": 12, \"un\": 18}}}";

static void run(attn_context *context, const char *folder, double seconds) {
    static const char *const names[] = {"model.safetensors", "config.json", "vocab.txt", "tokenizer.json"};
    bytes whole[4];
    size_t tried[4] = {0}, loaded[4] = {0};
    for (size_t i = 0; i < 4; i++)
        whole[i] = load(folder, names[i]);
    for (time_t end = time(NULL) + (time_t)seconds; time(NULL) <= end;) {
        const size_t i = below(2) == 0 ? 0 : below(4);
        try_damaged(context, folder, names[i], &whole[i], &loaded[i]);
        tried[i]++;
        if (!tiny_put(folder, names[i], whole[i].data, whole[i].size))
            abort();
    }
    for (size_t i = 0; i < 4; i++) {
        printf("%-18s %zu tried, %zu loaded\n", names[i], tried[i], loaded[i]);
        free(whole[i].data);
    }
}

int main(int argc, char **argv) {
    char folder[64];
    tiny_model m;
    attn_context *context;
    state = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    folder_make(folder);
    tiny_make(&m);
    if (!tiny_write(&m, folder, "F32", "") || !tiny_put(folder, "tokenizer.json", json, sizeof json - 1) ||
        attn_context_create(NULL, &context) != ATTN_OK)
        return EXIT_FAILURE;
    run(context, folder, argc > 1 ? strtod(argv[1], NULL) : 2);
    attn_context_destroy(context);
    tiny_free(&m);
    folder_remove(folder);
    return EXIT_SUCCESS;
}
