/* SPDX-License-Identifier: BSD-3-Clause */
/* Damages the files of a tiny model at random and loads them: fuzz SECONDS [SEED]. Nothing may crash, and what loads
 * must run. Meant for the asan build. */
#include <attn/attn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "encode.h"
#include "folder.h"
#include "model.h"
#include "support/damage.h"
#include "tiny.h"

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

static bytes load(const char *folder, const char *name) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return damage_load(path);
}

static void try_damaged(attn_context *context, const char *folder, const char *name, const bytes *whole,
                        size_t *loaded) {
    bytes b = damage_copy(whole);
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
        const size_t i = damage_below(2) == 0 ? 0 : damage_below(4);
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
    damage_seed(argc > 2 ? strtoull(argv[2], NULL, 10) : 1);
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
